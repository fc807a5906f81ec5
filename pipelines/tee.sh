#!/bin/sh
# Taps one RTP stream with siprectee and sends the copy to a second address, without SIP: one gst-launch line.
#
#   pipelines/tee.sh IN_PORT  HOST:PORT  COPY_HOST:PORT
#
# The call's packets go on untouched; the copy has sequence numbers of its own. PCMU at 8 kHz.
set -eu
[ $# -eq 3 ] || { sed -n 's/^# \{0,1\}//; 2,6p' "$0" >&2; exit 2; }
caps="application/x-rtp,media=audio,encoding-name=PCMU,clock-rate=8000,payload=0"

exec gst-launch-1.0 \
    udpsrc address=127.0.0.1 port="$1" caps="$caps" ! siprectee name=tap \
    tap.src ! udpsink host="${2%:*}" port="${2##*:}" sync=false \
    tap.rec_0 ! queue ! udpsink host="${3%:*}" port="${3##*:}" sync=false async=false
