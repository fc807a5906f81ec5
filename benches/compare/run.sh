#!/usr/bin/env bash
# Measures recorded calls beside what a user would take instead, from nothing: installs and builds what that takes, measures,
# and writes tables and picture into docs/. See docs/performance.md.
#
#   benches/compare/run.sh                                     everything: hours
#   benches/compare/run.sh --streams 200,500 --modes srtp      about half an hour
#   benches/compare/run.sh --help                              what else can be said
set -euo pipefail
cd "$(dirname "$0")/../.."

pipelines/bootstrap.sh test
target=${CARGO_TARGET_DIR:-target}
cargo build --locked --release -p gst-plugin-siprec
cargo build --locked --release -p siprec-compare --example compare
# Not to be had everywhere; then its rows are left out.
if cargo build --release --manifest-path benches/compare/threadshare/Cargo.toml --target-dir "$target/threadshare"; then
    mkdir -p "$target/release/threadshare"
    cp "$target/threadshare/release/libgstthreadshare.so" "$target/release/threadshare/"
else
    echo "run.sh: the thread-sharing elements cannot be built: no rows of theirs" >&2
fi

samples=$target/compare/samples.tsv
mkdir -p "$(dirname "$samples")"
[ ! -e "$samples" ] || mv "$samples" "$samples.$(date +%s)"
"$target/release/examples/compare" run --samples "$samples" "$@"
"$target/release/examples/compare" report "$samples" --into docs
