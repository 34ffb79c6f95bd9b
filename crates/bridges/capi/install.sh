#!/usr/bin/env bash
# Build the library and put it where C's tools look for it.
#
# usage: install.sh [--prefix DIR] [--libdir DIR] (default: /usr/local, and lib below that)
# DESTDIR in the environment stands before both, as packagers have it.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
prefix=/usr/local
libdir=
while (($#)); do
    case $1 in
        --prefix) prefix=${2:?--prefix needs a folder}; shift 2 ;;
        --libdir) libdir=${2:?--libdir needs a folder}; shift 2 ;;
        *) sed -n '2,5s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
    esac
done
libdir=${libdir:-$prefix/lib}

cargo build --locked --release --manifest-path "$here/../Cargo.toml" --package bedside-capi
built=${CARGO_TARGET_DIR:-$here/../target}/release
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$here/../Cargo.toml" | head -1)
# Before 1.0, a new minor version may take something away.
case $version in
    0.*) abi=${version%.*} ;;
    *) abi=${version%%.*} ;;
esac
soname=libbedside.so.$abi
system=$(sed -n 's/^Libs.private: //p' "$here/bedside.pc.in")

lib=${DESTDIR-}$libdir include=${DESTDIR-}$prefix/include
install -d "$lib/pkgconfig" "$include"
install -m 644 "$here/include/bedside.h" "$here/include/bedside.hpp" "$include"
# rustc versions no symbols, and lets nobody else: so the linker makes the shared library of the static one.
${CC:-cc} -shared -o "$lib/libbedside.so.$version" -Wl,-soname,"$soname" -Wl,--gc-sections -Wl,-z,noexecstack,-z,relro,-z,now \
    -Wl,--version-script=<(printf 'BEDSIDE_%s { global: bedside_*; local: *; };\n' "$abi") \
    -Wl,--whole-archive "$built/libbedside.a" -Wl,--no-whole-archive $system
install -m 644 "$built/libbedside.a" "$lib"
strip --strip-debug "$lib/libbedside.so.$version" "$lib/libbedside.a"
ln -sf "libbedside.so.$version" "$lib/$soname"
ln -sf "$soname" "$lib/libbedside.so"
sed "s|@prefix@|$prefix|; s|@libdir@|$libdir|; s|@version@|$version|" "$here/bedside.pc.in" \
    >"$lib/pkgconfig/bedside.pc"
echo "installed $lib/libbedside.so.$version, libbedside.a, bedside.pc, and $include/bedside.h, bedside.hpp"
