#!/usr/bin/env bash
# Runs every test once and closes with the sums on a line of their own: "N passed, N failed". Exits as cargo does.
set -uo pipefail
cd "$(dirname "$0")/.."
export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"

# Where setup.sh has installed the software Vulkan driver, a test that finds no device is a failure, not a test that is skipped.
if [ -n "$(find -L /usr/share/vulkan/icd.d /etc/vulkan/icd.d -name 'lvp_icd*.json' -print -quit 2>/dev/null)" ] &&
    /sbin/ldconfig -p 2>/dev/null | grep -q 'libvulkan\.so\.1'; then
    export SHARPWAVE_REQUIRE_GPU="${SHARPWAVE_REQUIRE_GPU-1}"
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
# With the Python package, whose module then shares what is compiled here.
cargo test --workspace --no-fail-fast "$@" 2>&1 | tee "$log"
status=${PIPESTATUS[0]}
# A simulation alone, without transformers, HDF5, plots, network and command line.
if [ $# -eq 0 ]; then
    if cargo check --lib --no-default-features --quiet; then
        echo "test result: ok. 1 passed; 0 failed; the library without its features" | tee -a "$log"
    else
        echo "test result: FAILED. 0 passed; 1 failed; the library without its features" | tee -a "$log"
        status=1
    fi
    scripts/test_python.sh 2>&1 | tee -a "$log"
    [ "${PIPESTATUS[0]}" -eq 0 ] || status=1
fi

sum() { awk -v what="$1" '/^test result: / { for (i = 2; i <= NF; i++) if (index($i, what) == 1) n += $(i - 1) } END { print n + 0 }' "$log"; }
passed=$(sum passed) failed=$(sum failed)
echo
# A test that finds its device or data missing says so in a line "skipped: ...".
grep -o 'skipped: .*' "$log" | sort | uniq -c
if [ "$status" -ne 0 ] && [ "$failed" -eq 0 ]; then
    echo "cargo failed ($status) without a failed test: a test program did not build or was cut off; it counts as one failure."
    failed=1
fi
if [ "$status" -eq 0 ] && [ "$passed" -eq 0 ]; then
    echo "No test ran; that counts as one failure."
    failed=1 status=1
fi
echo "$passed passed, $failed failed"
exit "$status"
