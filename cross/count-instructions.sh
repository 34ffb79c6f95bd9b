#!/usr/bin/env bash
# Instructions that a frame takes on ARM processors, by function, under qemu's user emulation.
# See README.md beside this file.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly target=aarch64-unknown-linux-gnu
readonly sysroot=${SYSROOT:-/usr/aarch64-linux-gnu}
readonly qemu=${QEMU:-qemu-aarch64}
readonly program=${BEDSIDE:-${CARGO_TARGET_DIR:-target}/$target/release/bedside}
readonly bundle=${BUNDLE:-models/edge/edge.bedside}
readonly precision=${PRECISION:-int8}
readonly most=${FUNCTIONS:-20}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cc -O2 -shared -fPIC -o "$work/count.so" cross/count.c
# Addresses and names of functions, in order.
nm --defined-only --demangle "$program" | awk '$2 ~ /^[tTwW]$/ { at = $1; $1 = $2 = ""; print at, "f", substr($0, 3) }' \
    >"$work/functions"

# On one core: counters are not locked.
bench() {
    local cpu=$1 frames=$2
    taskset -c 0 "$qemu" -cpu "$cpu" -L "$sysroot" "${@:3}" "$program" --threads 1 --cache "$work/cache" \
        --bundle "$bundle" --precision "$precision" bench --frames "$frames" --prompt polyp --against none >/dev/null
}

# Counts of a run with so many frames, each times a factor.
run() {
    local cpu=$1 frames=$2 factor=$3
    bench "$cpu" "$frames" -plugin "file=$work/count.so,out=$work/blocks"
    awk -v factor="$factor" '{ printf "%s n %.0f\n", substr("0000000000000000" $1, length($1) + 1), factor * $2 * $3 }' \
        "$work/blocks"
}

for cpu in "${@:-cortex-a76}"; do
    # The first run tests the bundle, the others find that it passed.
    bench "$cpu" 1
    { run "$cpu" 3 1; run "$cpu" 1 -1; } >"$work/counts"
    echo "== $cpu, $precision: millions of instructions a frame"
    sort "$work/functions" "$work/counts" | awk '
        $2 == "f" { name = $3; for (i = 4; i <= NF; i++) name = name " " $i }
        $2 == "n" { sum[name] += $3 / 2e6; all += $3 / 2e6 }
        END { printf "%8.2f in all\n", all; for (n in sum) printf "%8.2f %s\n", sum[n], n }' | sort -rn | head -n $((most + 1))
done
