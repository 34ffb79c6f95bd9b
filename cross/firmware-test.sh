#!/usr/bin/env bash
# Run the microcontroller's firmware in qemu, with the real host at the other end of its line.
# See README.md beside this file.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly here mcu=$here/../firmware-host/mcu
readonly firmware=${CARGO_TARGET_DIR:-$mcu/target}/thumbv7em-none-eabihf/release/bedside-mcu-mps2

if ! command -v "${QEMU:-qemu-system-arm}" >/dev/null; then
    echo "skipped: no qemu-system-arm; hint: install it, or name it in QEMU" >&2
    exit 77
fi
"$here/firmware.sh" "$@"
cargo run --release --manifest-path "$mcu/Cargo.toml" --package bedside-mcu-drill "$@" -- "$firmware"
