#!/usr/bin/env bash
# Builds one stripped binary with HDF5 inside, target/bundle/sharpwave, for bare Linux machines with nothing but a GPU driver:
#     ./sharpwave bench --engine gpu --engine cpu --json report.json
# It runs wherever the C library is as new as this machine's. Installs CMake through pip where the system's is older than 3.26.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
scripts/setup.sh

new_enough() { [ "$(printf '%s\n' 3.26 "$("$1" --version 2>/dev/null | awk 'NR == 1 { print $3 }')" | sort -V | head -n1)" = 3.26 ]; }
if ! new_enough cmake; then
    tools=target/bundle-tools
    [ -x "$tools/bin/cmake" ] || { python3 -m venv "$tools" && "$tools/bin/pip" install --quiet cmake; }
    PATH="$PWD/$tools/bin:$PATH"
fi

cargo build --release --features hdf5-static
mkdir -p target/bundle
cp target/release/sharpwave target/bundle/sharpwave
strip target/bundle/sharpwave

bytes=$(stat -c %s target/bundle/sharpwave)
needs=$(ldd target/bundle/sharpwave | awk '{ print $1 }' | grep -v 'linux-vdso\|ld-linux' | tr '\n' ' ')
printf 'target/bundle/sharpwave: %s MiB, needs %s\n' "$(awk -v b="$bytes" 'BEGIN { printf "%.1f", b / 1048576 }')" "$needs"
if [ "$bytes" -gt $((40 * 1048576)) ]; then
    echo "bundle: larger than 40 MiB" >&2
    exit 1
fi
if echo "$needs" | grep -q hdf5; then
    echo "bundle: HDF5 is not inside" >&2
    exit 1
fi
