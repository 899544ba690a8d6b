#!/usr/bin/env bash
# The CPU kernels for 64-bit Arm, run in an emulator on any system: matrix products, windows and random
# row programs of the crate `cpu`, on a processor with matrix instructions for bf16 and dot
# products of bytes, and on one that has neither.
#
# With --install, what is missing is installed where that is possible: for root, on Debian.
set -euo pipefail
cd "$(dirname "$0")/.."

target=aarch64-unknown-linux-gnu
linker=aarch64-linux-gnu-gcc
not_checked() { echo "NOT CHECKED: the kernels for NEON, because $*"; exit 0; }

rustup target add "$target" >/dev/null 2>&1 || not_checked "the target $target cannot be installed here"
emulator() { command -v qemu-aarch64-static || command -v qemu-aarch64; }
complete() { command -v "$linker" >/dev/null && emulator >/dev/null; }
if ! complete && [ "${1:-}" = --install ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo 'installing qemu-user-static and a linker for 64-bit Arm'
    { apt-get update -q && apt-get install -qy --no-install-recommends \
        qemu-user-static gcc-aarch64-linux-gnu libc6-dev-arm64-cross; } >/dev/null 2>&1 || true
fi
complete || not_checked "there is no $linker or no qemu-aarch64 (Debian: gcc-aarch64-linux-gnu, libc6-dev-arm64-cross, qemu-user-static)"

export CARGO_TARGET_DIR=target/neon CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=$linker
run() {
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="$(emulator) -L /usr/aarch64-linux-gnu -cpu $1"
    shift
    cargo test --locked --target "$target" -p anemone-cpu --lib -- --quiet "$@"
}
run max isa gemm window bf16_tests measure rows::tests::random
run cortex-a72 isa gemm
