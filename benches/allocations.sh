#!/usr/bin/env bash
# Counts the heap allocations of one packet through `tee` and `siprectee`, with and without a branch that decrypts and
# encrypts it: the difference between a long and a short run, so that what is allocated once does not count.
#
#   benches/allocations.sh
set -euo pipefail
cd "$(dirname "$0")/.."

counter=$(mktemp --suffix=.so)
trap 'rm -f "$counter"' EXIT
cc -O2 -shared -fPIC -o "$counter" benches/allocations.c
program=$(cargo bench -p gst-plugin-siprec --bench secured --no-run 2>&1 | sed -n 's/.*(\(.*secured-[0-9a-f]*\)).*/\1/p')

count() { # row packets
    LD_PRELOAD="$counter" G_SLICE=always-malloc "$program" --allocations "$1" "$2" 2>&1 | sed -n 's/^allocations //p'
}

for row in tee siprectee own stock; do
    short=$(count "$row" 5000) long=$(count "$row" 25000)
    awk -v row="$row" -v n=$((long - short)) 'BEGIN { printf "%-10s %6.2f allocations a packet\n", row, n / 20000 }'
done
