#!/usr/bin/env bash
# Tests the Python package, and closes with a line as cargo does: "test result: …". With no argument the module is built in the
# development profile, from what `cargo test --workspace` has compiled; with a wheel, that is installed and tested. SHARPWAVE_TEST_VENV names
# another virtual environment to test in, such as one with torch.
set -uo pipefail
cd "$(dirname "$0")/.."
export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"

skip() { echo "skipped: the Python package ($1)"; exit 0; }
python=${SHARPWAVE_PYTHON:-python3}
command -v "$python" >/dev/null || skip "there is no $python"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || skip "$("$python" --version 2>&1) is older than 3.11"

# What the tests need beside the package, through pip, once.
venv=${SHARPWAVE_TEST_VENV:-target/python}
if [ ! -e "$venv/ready" ]; then
    { "$python" -m venv "$venv" && "$venv/bin/pip" install --quiet --retries 1 --timeout 60 numpy pandas matplotlib pytest nbclient ipykernel; } \
        >target/python.log 2>&1 || skip "numpy, pandas, matplotlib, pytest, nbclient and ipykernel cannot be installed, why: target/python.log"
    touch "$venv/ready"
fi
venv=$PWD/$venv

if [ $# -gt 0 ]; then
    "$venv/bin/pip" install --quiet --force-reinstall --no-deps "$1" || exit 1
    package=
    unset SHARPWAVE_PROGRAM
else
    # The targets that cargo test has, so that their libraries have the same features and are compiled once.
    cargo build --workspace --lib --bins --tests --examples || exit 1
    package=$PWD/target/python-package
    rm -rf "$package"
    mkdir -p "$package"
    cp -r python/sharpwave "$package/"
    export SHARPWAVE_PROGRAM=$PWD/target/debug/sharpwave
    for built in target/debug/lib_sharpwave.so target/debug/lib_sharpwave.dylib; do
        [ ! -e "$built" ] || cp "$built" "$package/sharpwave/_sharpwave.abi3.so"
    done
fi

report=$(mktemp)
trap 'rm -f "$report"' EXIT
# Subprocesses and kernels of notebooks find the package in the same place.
PYTHONPATH=$package PATH="$venv/bin:$PATH" "$venv/bin/python" -m pytest python/tests --rootdir python -p no:cacheprovider -q -rs \
    --junit-xml "$report"
status=$?
"$venv/bin/python" - "$report" <<'PY'
import sys, xml.etree.ElementTree as xml

try:
    suite = xml.parse(sys.argv[1]).getroot().find("testsuite")
    count = {name: int(suite.get(name)) for name in ("tests", "failures", "errors", "skipped")}
except (xml.ParseError, AttributeError):
    count = {"tests": 1, "failures": 1, "errors": 0, "skipped": 0}
failed = count["failures"] + count["errors"]
passed = count["tests"] - failed - count["skipped"]
word = "ok" if failed == 0 else "FAILED"
print(f"test result: {word}. {passed} passed; {failed} failed; {count['skipped']} ignored; the Python package")
PY
exit $status
