#!/usr/bin/env bash
# Build the microcontroller's firmware for each board and tell its size.
# See README.md beside this file.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../firmware-host/mcu"

readonly target=thumbv7em-none-eabihf
readonly out=${CARGO_TARGET_DIR:-$PWD/target}/$target/release

skip() {
    echo "skipped: $*" >&2
    exit 77
}

sysroot=$(rustc --print sysroot)
options=(--release --target "$target")
if ! compgen -G "$(rustc --print target-libdir --target "$target")/libcore-*" >/dev/null; then
    [[ -d $sysroot/lib/rustlib/src/rust/library/core ]] ||
        skip "no core library for $target; hint: rustup target add $target, or a toolchain with Rust's sources"
    # Built from these sources, which a stable compiler does when it is told that it may.
    export RUSTC_BOOTSTRAP=1
    options+=(-Zbuild-std=core -Zbuild-std-features=compiler-builtins-mem)
fi
# rustup's toolchains bring the linker for this target along, Debian's do not.
if ! compgen -G "$sysroot/lib/rustlib/*/bin/rust-lld" >/dev/null; then
    command -v arm-none-eabi-ld >/dev/null || skip "no linker; hint: install binutils-arm-none-eabi"
    export CARGO_TARGET_THUMBV7EM_NONE_EABIHF_LINKER=arm-none-eabi-ld
fi

# One by one: cargo would give the crates of both boards the features of either.
boards=(bedside-mcu-mps2 bedside-mcu-stm32f4)
for board in "${boards[@]}"; do
    cargo build "${options[@]}" --package "$board" "$@"
done
size=$(command -v arm-none-eabi-size || command -v size)
"$size" "${boards[@]/#/$out/}"
