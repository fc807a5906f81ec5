#!/usr/bin/env bash
# Every check and every test, from nothing: installs what is missing, builds, checks, tests, prints one summary.
#
#   tests/run.sh            everything
#   tests/run.sh STEP ...   only these steps, e.g. `tests/run.sh fmt clippy`
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

steps=(bootstrap fmt clippy doc build test libsrtp doctest counts demo)
logs=${CARGO_TARGET_DIR:-target}/run-logs
# Everything is built once; what would make a second build faster costs as much disk as the first.
export CARGO_INCREMENTAL=${CARGO_INCREMENTAL:-0}
mkdir -p "$logs"

step_bootstrap() { pipelines/bootstrap.sh test; }
step_fmt() { cargo fmt --all --check; }
step_clippy() { cargo clippy --locked --workspace --all-targets -- -D warnings; }
step_doc() { RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps; }
# What the system tests start as programs or load as a plugin.
step_build() { cargo build --locked --workspace --all-targets; }
step_test() {
    if cargo nextest --version > /dev/null 2>&1; then
        cargo nextest run --locked --workspace --no-fail-fast
    else
        # In one process, tests that share its one agent, or count its memory, take turns.
        cargo test --locked --workspace --no-fail-fast --lib --bins --tests -- --test-threads=1
    fi
}
# The second backend of SRTP, each test on both and across both.
step_libsrtp() {
    local media=(--locked -p siprec-media --features libsrtp)
    cargo clippy "${media[@]}" --all-targets -- -D warnings || return
    if cargo nextest --version > /dev/null 2>&1; then
        cargo nextest run "${media[@]}" --no-fail-fast
    else
        cargo test "${media[@]}" --no-fail-fast --lib --tests -- --test-threads=1
    fi
}
step_doctest() { cargo test --locked --workspace --doc; }
# Instructions and allocations of packet path and session core, held to benches/counts/counts.txt.
step_counts() { cargo run --locked --release -p siprec-counts; }
# Twice in a row: the second run must not stumble over what the first one left. And the encrypted call.
step_demo() { pipelines/demo.sh && pipelines/demo.sh && pipelines/demo.sh --srtp; }

if [ $# -gt 0 ]; then
    for wanted in "$@"; do
        if ! declare -F "step_$wanted" > /dev/null; then
            echo "run.sh: no step '$wanted'; there are: ${steps[*]}" >&2
            exit 2
        fi
    done
    steps=("$@")
fi

passed=0 failed=0 summary=
for step in "${steps[@]}"; do
    printf -- '---- %s\n' "$step"
    started=$SECONDS
    if "step_$step" 2>&1 | tee "$logs/$step.log"; then
        result=ok passed=$((passed + 1))
    else
        result=FAILED failed=$((failed + 1))
    fi
    # What the step itself counted: the last summary line of its test runner, if it has one.
    counted=$(grep -aE 'tests? run:|^test result:' "$logs/$step.log" | tail -n 1 | sed 's/\x1b\[[0-9;]*m//g; s/^ *//')
    summary+=$(printf '%-10s %-7s %4d s  %s' "$step" "$result" $((SECONDS - started)) "$counted")$'\n'
    # Tests that passed at their second try only: to be looked into.
    flaky=$(sed 's/\x1b\[[0-9;]*m//g' "$logs/$step.log" | sed -n 's/^ *FLAKY [^]]*\] *\(([^)]*) *\)\{0,1\}//p' | sort -u)
    [ -n "$flaky" ] && summary+=$(sed 's/^/           second try: /' <<< "$flaky")$'\n'
    # Nothing after a missing system package means anything.
    [ "$step" = bootstrap ] && [ "$result" = FAILED ] && break
done

printf '\n==== summary (%d s)\n%s' "$SECONDS" "$summary"
printf 'steps: %d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
