#!/usr/bin/env bash
# Run the tests of bedside-kernels as several ARM processors, under qemu's user emulation.
# See README.md beside this file.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly target=aarch64-unknown-linux-gnu
readonly sysroot=${SYSROOT:-/usr/aarch64-linux-gnu}
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=${CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER:-aarch64-linux-gnu-gcc}
export CC_aarch64_unknown_linux_gnu=${CC_aarch64_unknown_linux_gnu:-$CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER}
export PROPTEST_CASES=${PROPTEST_CASES:-8}

skip() {
    echo "skipped: $*" >&2
    exit 0
}

# The best kernels of each processor, as `BEDSIDE_CPU` names them.
readonly processors=(
    cortex-a53=neon
    cortex-a55=neon+dot
    cortex-a72=neon
    cortex-a76=neon+dot
    neoverse-n1=neon+dot
    neoverse-v1=neon+dot+i8mm
    cortex-a710=neon+dot+i8mm
    max=neon+dot+i8mm
)

qemu=${QEMU:-$(command -v qemu-aarch64-static || command -v qemu-aarch64 || true)}
[[ -n $qemu ]] || skip "no qemu-aarch64; hint: install qemu-user-static, or name it in QEMU"
command -v "$CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER" >/dev/null ||
    skip "no $CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER; hint: install gcc-aarch64-linux-gnu"
compgen -G "$(rustc --print target-libdir --target $target)/libstd-*" >/dev/null ||
    skip "no standard library for $target; hint: rustup target add $target, or RUSTUP_TOOLCHAIN"

tests=$(cargo test --release -p bedside-kernels --lib --target $target --no-run --message-format json "$@" |
    sed -n 's/.*"executable":"\([^"]*\)".*/\1/p')

failed=()
for processor in "${processors[@]}"; do
    cpu=${processor%=*} expected=${processor#*=}
    if ! "$qemu" -cpu help | grep -qw -- "$cpu"; then
        echo "$cpu: skipped: $qemu does not know it" >&2
        continue
    fi
    run=("$qemu" -cpu "$cpu" -L "$sysroot" "$tests")
    tested=$("${run[@]}" --exact tests::the_best_supported_is_picked --nocapture | sed -n 's/^tested: //p')
    echo "== $cpu: $tested"
    if [[ ${tested##*, } != "$expected" ]]; then
        echo "expected $expected to be the best" >&2
        failed+=("$cpu")
    fi
    "${run[@]}" --quiet || failed+=("$cpu")
done
if ((${#failed[@]})); then
    echo "failed: ${failed[*]}" >&2
    exit 1
fi
