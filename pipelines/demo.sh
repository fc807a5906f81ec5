#!/usr/bin/env bash
# The main job, from nothing: two people talk through a GStreamer relay, and the recorder gets the call.
#
#   pipelines/demo.sh [--srtp] [FOLDER]      the recording goes to FOLDER (default: out/demo, with --srtp out/demo-srtp)
#
#   phone A ──RTP──▶ ┌──────────────┐ ──RTP──▶ phone B
#   phone A ◀──RTP── │ relay+siprec │ ◀──RTP── phone B
#                    └──────┬───────┘
#                     INVITE + RTP of both
#
# With --srtp the call is SRTP under keys of the phones, and the recording SRTP under keys of its own, which are negotiated over
# TLS with certificates made on the spot.
#
#                           ▼
#                    siprec recorder ──▶ session.wav  session.json  ladder.txt  session.png
set -euo pipefail
cd "$(dirname "$0")/.."

srtp=
folder=out/demo
if [ "${1:-}" = --srtp ]; then srtp=yes folder=out/demo-srtp; shift; fi
case $#:${1:-} in
    0: | 1:[!-]*) ;;
    *) echo "usage: pipelines/demo.sh [--srtp] [FOLDER]" >&2; exit 2 ;;
esac
out=$(mkdir -p "${1:-$folder}" && cd "${1:-$folder}" && pwd)
work=$(mktemp -d)
jobs_started=()
finish() {
    for pid in "${jobs_started[@]}"; do kill "$pid" 2> /dev/null || true; done
    wait
    rm -rf "$work"
}
trap finish EXIT
die() { printf 'demo: %s\n' "$1" >&2; shift; for log in "$@"; do tail -n 20 "$log" >&2; done; exit 1; }

echo "== 1. System packages, plugin and program"
pipelines/bootstrap.sh run
cargo build --locked --quiet --package gst-plugin-siprec --package siprec
target=${CARGO_TARGET_DIR:-target}/debug
siprec=$target/siprec
export GST_PLUGIN_PATH=$PWD/$target GST_REGISTRY=$work/registry.bin
case $target in /*) GST_PLUGIN_PATH=$target ;; esac

echo "== 2. A dialogue of two voices"
# Each line: who speaks, at which second, what.
script='A  0.3 Good morning, this is the service desk, Ada speaking. How can I help you?
B  4.6 Hello. I would like to know whether my transfer has arrived.
A  8.0 One moment please. Yes, it came in yesterday at noon.
B 11.6 That is wonderful news. Thank you very much for your help.
A 15.2 You are welcome. This call was recorded. Goodbye.
B 18.6 Goodbye.'
length=20.5
say() { # voice pitch file text
    espeak-ng -v "$1" -p "$2" -s 165 -w "$work/raw.wav" "$4"
    sox -q "$work/raw.wav" -r 8000 -c 1 -b 16 "$3" norm -6
}
parts_A=() parts_B=() number=0
while read -r who at text; do
    number=$((number + 1))
    if [ "$who" = A ]; then say en-gb+f3 60 "$work/line.wav" "$text"; else say en-us+m3 35 "$work/line.wav" "$text"; fi
    sox -V1 -q "$work/line.wav" "$work/turn$number.wav" pad "$at" "$length" trim 0 "$length"
    if [ "$who" = A ]; then parts_A+=("$work/turn$number.wav"); else parts_B+=("$work/turn$number.wav"); fi
done <<< "$script"
for who in A B; do
    declare -n parts=parts_$who
    # Turns do not overlap, so they are added at full volume.
    # shellcheck disable=SC2046 # words of sox
    sox -q -m $(printf -- '-v 1 %s ' "${parts[@]}") "$work/$who.wav"
done

echo "== 3. The recorder"
tls=()
if [ -n "$srtp" ]; then
    # An authority, and the recorder's certificate from it: for the address that the recorder is reached at.
    certificate() { openssl req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256 -days 2 "$@" 2> "$work/openssl.log" \
        || die "no certificate" "$work/openssl.log"; }
    certificate -subj '/CN=demo authority' -keyout "$work/ca.key" -out "$work/ca.pem"
    certificate -subj '/CN=recorder' -addext 'subjectAltName=IP:127.0.0.1' -addext 'basicConstraints=critical,CA:FALSE' \
        -CA "$work/ca.pem" -CAkey "$work/ca.key" -keyout "$work/recorder.key" -out "$work/recorder.pem"
    tls=(--srtp require --listen-tls 127.0.0.1:0 --certificate "$work/recorder.pem" --key "$work/recorder.key")
fi
rm -rf "$out/recordings"
touch "$work/recorder.log"
"$siprec" recorder --listen 127.0.0.1:0 "${tls[@]}" --output "$out/recordings" > "$work/recorder.log" 2>&1 &
recorder_pid=$! jobs_started+=($!)
for _ in $(seq 100); do grep -q '^listening' "$work/recorder.log" && break; sleep 0.1; done
way=udp; [ -z "$srtp" ] || way=tls
recorder=$(sed -n "s/^listening .*$way=\([^ ]*\).*/\1/p" "$work/recorder.log")
[ -n "$recorder" ] || die "the recorder does not start" "$work/recorder.log"
if [ -n "$srtp" ]; then
    recorder="sips:$recorder"
    secured=(recorder-tls="tls,ca=(string)\"$work/ca.pem\"")
else
    recorder="sip:$recorder"
    secured=()
fi
echo "   $recorder"

echo "== 4. The call, $length s"
# Ports that were free a moment ago.
ports() { python3 -c 'import socket
s=[socket.socket(socket.AF_INET,socket.SOCK_DGRAM) for _ in range(4)]
[x.bind(("127.0.0.1",0)) for x in s]
print(*(x.getsockname()[1] for x in s))'; }
read -r relay_a relay_b phone_a phone_b < <(ports)
what="media=audio,encoding-name=PCMU,clock-rate=8000,payload=0"
rtp_of_A="application/x-rtp,$what" rtp_of_B="application/x-rtp,$what"
ssrc_A=1001 ssrc_B=1002
lock_A=() lock_B=() unlock=()
if [ -n "$srtp" ]; then
    # What the phones' own signalling would have agreed: a key for each direction. A real application gives keys by
    # request-key or set-party-sdp instead: caps are printed by gst-launch-1.0 -v.
    key_A=$(openssl rand -hex 30) key_B=$(openssl rand -hex 30)
    suite="srtp-cipher=aes-128-icm,srtp-auth=hmac-sha1-80,srtcp-cipher=aes-128-icm,srtcp-auth=hmac-sha1-80"
    # srtpdec takes a key in caps for the source that they name.
    rtp_of_A="application/x-srtp,$what,$suite,ssrc=(uint)$ssrc_A,srtp-key=(buffer)$key_A"
    rtp_of_B="application/x-srtp,$what,$suite,ssrc=(uint)$ssrc_B,srtp-key=(buffer)$key_B"
    lock_A=(! srtpenc "key=$key_A") lock_B=(! srtpenc "key=$key_B") unlock=(! srtpdec)
fi

gst-launch-1.0 --quiet --eos-on-shutdown \
    siprec name=rec recorder="$recorder" "${secured[@]}" call-uuid=DEMO-CALL-1 dn=1001 other-dn=1002 \
    udpsrc address=127.0.0.1 port="$relay_a" caps="$rtp_of_A" ! rec.sink_0 \
    rec.src_0 ! udpsink host=127.0.0.1 port="$phone_b" sync=false async=false \
    udpsrc address=127.0.0.1 port="$relay_b" caps="$rtp_of_B" ! rec.sink_1 \
    rec.src_1 ! udpsink host=127.0.0.1 port="$phone_a" sync=false async=false > "$work/relay.log" 2>&1 &
relay_pid=$! jobs_started+=($!)

talk=() # one pipeline for both phones: they pick up at the same moment, however busy the machine is
phone() { # who, the other, port of the relay, own port
    declare -n lock=lock_$1 ssrc=ssrc_$1 heard=rtp_of_$2
    talk+=(filesrc location="$work/$1.wav" ! wavparse ! mulawenc ! rtppcmupay ssrc="$ssrc" max-ptime=20000000 min-ptime=20000000
        "${lock[@]}" ! udpsink host=127.0.0.1 port="$3")
    # What this phone hears; ended when the call is over.
    gst-launch-1.0 --quiet --eos-on-shutdown udpsrc address=127.0.0.1 port="$4" caps="$heard" \
        "${unlock[@]}" ! rtpjitterbuffer ! rtppcmudepay ! mulawdec ! wavenc ! filesink location="$out/heard-by-$1.wav" \
        > "$work/ear-$1.log" 2>&1 &
    jobs_started+=($!)
}
listens() { grep -q "$(printf '0100007F:%04X' "$1")" /proc/net/udp; }
phone A B "$relay_a" "$phone_a"; ear_a_pid=${jobs_started[-1]}
phone B A "$relay_b" "$phone_b"; ear_b_pid=${jobs_started[-1]}
for _ in $(seq 300); do
    listens "$relay_a" && listens "$relay_b" && listens "$phone_a" && listens "$phone_b" && break
    sleep 0.1
done
gst-launch-1.0 --quiet "${talk[@]}" > "$work/phones.log" 2>&1 || die "the phones failed" "$work/phones.log" "$work/relay.log"

kill -INT "$relay_pid"
wait "$relay_pid" || die "the relay failed" "$work/relay.log"
kill -INT "$ear_a_pid" "$ear_b_pid"
wait "$ear_a_pid" "$ear_b_pid" || die "a phone failed" "$work/ear-A.log" "$work/ear-B.log"

echo "== 5. The recording"
for _ in $(seq 100); do session=$(echo "$out"/recordings/*/session.json); [ -f "$session" ] && break; sleep 0.1; done
[ -f "$session" ] || die "no recording" "$work/recorder.log" "$work/relay.log"
folder=$(dirname "$session")
kill -INT "$recorder_pid"
wait "$recorder_pid" || die "the recorder failed" "$work/recorder.log"
"$siprec" picture "$folder" "$folder/session.png"

# Both parties must be there: in the middle of each turn its speaker is loud, and the other channel is not.
loudness() { sox "$@" stat 2>&1 | sed -n 's/^RMS *amplitude: *//p'; }
failed=0
printf '   %6s  %-10s %-10s\n' second "1001 (A)" "1002 (B)"
while read -r who at _; do
    middle=$(awk "BEGIN { print $at + 0.2 }")
    left=$(loudness "$folder/session.wav" -n remix 1 trim "$middle" 1)
    right=$(loudness "$folder/session.wav" -n remix 2 trim "$middle" 1)
    printf '   %6s  %-10s %-10s\n' "$middle" "$left" "$right"
    if [ "$who" = A ]; then loud=$left quiet=$right; else loud=$right quiet=$left; fi
    awk "BEGIN { exit !($loud > 0.02 && $quiet < 0.002) }" || failed=1
done <<< "$script"
[ "$failed" = 0 ] || die "the recording does not hold both parties' speech"

# The call itself: each phone has heard the other. How much of it in time is the machine's business, so half is enough.
for who in A B; do
    heard=$(soxi -D "$out/heard-by-$who.wav" || true) loud=$(loudness "$out/heard-by-$who.wav" -n)
    printf '   %s heard %s s, %s\n' "$who" "$heard" "$loud"
    awk -v heard="$heard" -v loud="$loud" -v whole="$length" 'BEGIN { exit !(heard > whole / 2 && loud > 0.01) }' ||
        die "$who has not heard the other" "$work/ear-$who.log"
done

if [ -n "$srtp" ]; then
    python3 - "$session" << 'END' || die "the recording was not secured" "$session"
import json, sys
streams = json.load(open(sys.argv[1]))["streams"]
for stream in streams:
    print(f'   {stream["dn"]}: SRTP by', stream["srtp"]["suite"] if stream.get("srtp") else "nothing")
sys.exit(not (len(streams) == 2 and all(stream.get("srtp") for stream in streams)))
END
    if grep -qriE "$key_A|$key_B" "$folder"; then die "a key of the call is in the recording's files"; fi
fi

cat <<EOF

$(cat "$work/recorder.log" | grep -v '^listening')

   sound     $folder/session.wav
   picture   $folder/session.png
   facts     $folder/session.json
   dialog    $folder/ladder.txt
   the call  $out/heard-by-A.wav  $out/heard-by-B.wav
EOF
