#!/bin/sh
# Relays a two-party call over UDP and records it: one gst-launch line.
#
#   pipelines/relay.sh RECORDER  A_IN A_HOST:PORT  B_IN B_HOST:PORT
#
#   RECORDER     SIP URI of the recorder, e.g. sip:127.0.0.1:5060
#   A_IN, B_IN   local ports on which the media of party A and of party B comes in
#   HOST:PORT    where party A and party B listen
#
# PCMU at 8 kHz. Ends the recording in order when interrupted (Ctrl-C). With async=false a party that is silent at first
# holds up nobody: else gst-launch waits until every sink has had a packet.
set -eu
[ $# -eq 5 ] || { sed -n 's/^# \{0,1\}//; 2,9p' "$0" >&2; exit 2; }
caps="application/x-rtp,media=audio,encoding-name=PCMU,clock-rate=8000,payload=0"

exec gst-launch-1.0 --messages \
    siprec name=rec recorder="$1" call-uuid="CALL-$$" dn=1001 other-dn=1002 \
    udpsrc address=127.0.0.1 port="$2" caps="$caps" ! rec.sink_0  rec.src_0 ! udpsink host="${5%:*}" port="${5##*:}" sync=false async=false \
    udpsrc address=127.0.0.1 port="$4" caps="$caps" ! rec.sink_1  rec.src_1 ! udpsink host="${3%:*}" port="${3##*:}" sync=false async=false
