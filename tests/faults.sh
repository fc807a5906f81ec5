#!/usr/bin/env bash
# What faults do to a call and to its recording, measured in a real run.
#
#   tests/faults.sh             every fault, and writes the table in docs/faults.md; takes a quarter of an hour
#   tests/faults.sh FAULT ...   only these, and prints their rows
#
# It runs in namespaces of its own (network, processes, mounts), which the system takes away with all that is in them when it
# ends, however it does: nothing stays behind, and no port is anybody else's. PROFILE=release measures what a user installs.
set -euo pipefail
cd "$(dirname "$0")/.."

pipelines/bootstrap.sh faults
profile=${PROFILE:-dev}
cargo build --locked --profile "$profile" --workspace --lib --bins --examples
folder=${CARGO_TARGET_DIR:-target}/$([ "$profile" = dev ] && echo debug || echo "$profile")

apart=(unshare --net --mount --pid --fork --mount-proc --kill-child)
if ! refused=$("${apart[@]}" true 2>&1); then
    # Who is not root may have namespaces all the same.
    apart+=(--map-root-user)
    if ! "${apart[@]}" true 2> /dev/null; then
        echo "faults.sh: needs root, or a system that lets users have namespaces (user, network, processes, mounts): $refused" >&2
        exit 1
    fi
fi
# What else the machine does is not to be measured, where that is permitted.
[ "$(id -u)" -ne 0 ] || apart=(nice -n -15 "${apart[@]}")
# More time than it ever takes. When the script is ended, so is all of it.
"${apart[@]}" timeout --kill-after=10 1800 sh -c 'ip link set lo up && exec "$@"' sh "$folder/examples/faults" "$@" &
# Whose end was waited for is not there any more.
trap 'kill -KILL $! 2> /dev/null || true' EXIT
trap 'exit 1' INT TERM
wait $!
