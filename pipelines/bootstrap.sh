#!/bin/sh
# Installs the system packages that gst-siprec needs, by apt, where they are missing.
#
#   pipelines/bootstrap.sh run     what building and the demo need (the default)
#   pipelines/bootstrap.sh test    that, and what the tests need
#   pipelines/bootstrap.sh faults  that, and what tests/faults.sh needs
#
# Does nothing, and needs no root, when everything is there. What the tests need of PyPI (tests/requirements.txt) goes into
# the target folder, for Debian's own Python.
set -eu

run_packages="
    build-essential pkg-config meson ninja-build
    libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev
    gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-libav
    espeak-ng sox openssl"
test_packages="
    libssl-dev libclang-dev
    gir1.2-gstreamer-1.0 gir1.2-gst-plugins-base-1.0 python3-gi python3-pip
    sip-tester baresip-core rtpengine-daemon tshark dnsmasq-base kamailio kamailio-tls-modules valgrind"

faults_packages="iproute2 util-linux mount faketime"

case "${1:-run}" in
    run) packages=$run_packages ;;
    test) packages="$run_packages $test_packages" ;;
    faults) packages="$run_packages $test_packages $faults_packages" ;;
    *) echo "bootstrap.sh: unknown set '$1' (run, test or faults)" >&2; exit 2 ;;
esac

if ! command -v cargo > /dev/null; then
    echo "bootstrap.sh: cargo is missing. Install Rust 1.95 or later (https://rustup.rs), then run this again." >&2
    exit 1
fi

if ! command -v dpkg-query > /dev/null || ! command -v apt-get > /dev/null; then
    # Good enough to go on with: what a build cannot do without.
    pkg-config --exists 'gstreamer-1.0 >= 1.22' 'gstreamer-rtp-1.0 >= 1.22' && exit 0
    echo "bootstrap.sh: no apt here. Install these (Debian names) with your own package manager:" >&2
    # shellcheck disable=SC2086 # one word a package
    echo $packages >&2
    exit 1
fi

wanted=
for package in $packages; do
    dpkg-query -W -f '${db:Status-Status}\n' "$package" 2> /dev/null | grep -q '^installed$' || wanted="$wanted $package"
done
python_packages() {
    [ "${1:-run}" = run ] && return 0
    root=$(dirname "$0")/..
    folder=${CARGO_TARGET_DIR:-$root/target}/python
    # Made anew when the list has changed.
    cmp -s "$root/tests/requirements.txt" "$folder/requirements.txt" && return
    echo "bootstrap.sh: installing the Python packages of the tests"
    rm -rf "$folder"
    /usr/bin/python3 -m pip install -q --disable-pip-version-check --no-warn-script-location --root-user-action=ignore \
        --require-hashes --target "$folder" -r "$root/tests/requirements.txt" \
        && cp "$root/tests/requirements.txt" "$folder/"
}

if [ -z "$wanted" ]; then
    python_packages "$@"
    exit
fi

if [ "$(id -u)" -eq 0 ]; then
    as_root=
elif command -v sudo > /dev/null && sudo -n true 2> /dev/null; then
    as_root=sudo
else
    echo "bootstrap.sh: these packages are missing, and this is not root. Run" >&2
    echo "    sudo apt-get install --no-install-recommends$wanted" >&2
    exit 1
fi

echo "bootstrap.sh: installing$wanted"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt() {
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y "$@" > "$log" 2>&1 && return
    echo "bootstrap.sh: apt-get $1 failed:" >&2
    tail -n 20 "$log" >&2
    exit 1
}
apt update
# shellcheck disable=SC2086 # one word a package
apt install --no-install-recommends $wanted
python_packages "$@"
