#!/usr/bin/env bash
# A Rust toolchain for aarch64 and bare Cortex-M out of Debian 12's packages alone, for machines that can
# reach a Debian mirror and not Rust's own servers. The packages are unpacked into a folder, nothing of
# them is installed, no foreign architecture is added to the system; the folder becomes a toolchain of
# rustup's, which `cargo +NAME` uses.
#
# usage: cross/debian-toolchain.sh [FOLDER [NAME]]    (default: ~/.cache/bedside-toolchain, debian)
set -euo pipefail
readonly folder=${1:-$HOME/.cache/bedside-toolchain} name=${2:-debian}
sources=(/etc/apt/sources.list.d/debian.sources /etc/apt/sources.list)

for tool in apt-get dpkg rustup; do
    command -v "$tool" >/dev/null || { echo "$tool is not there; hint: this needs Debian 12 and rustup" >&2; exit 77; }
done
if rustc "+$name" -V 2>/dev/null; then
    exit
fi
mkdir -p "$folder"/apt/{lists/partial,archives/partial,sources} "$folder/packages"
: >"$folder/apt/status"
for file in "${sources[@]}"; do
    [[ -f $file ]] && cp "$file" "$folder/apt/sources/"
done
# An apt of its own, which sees both architectures and thinks that nothing is installed.
cat >"$folder/apt/conf" <<END
APT::Architecture "$(dpkg --print-architecture)";
APT::Architectures { "$(dpkg --print-architecture)"; "arm64"; };
APT::Sandbox::User "";
Acquire::Languages "none";
Dir::State::Lists "$folder/apt/lists";
Dir::State::Status "$folder/apt/status";
Dir::Cache "$folder/apt";
Dir::Etc::SourceList "/dev/null";
Dir::Etc::SourceParts "$folder/apt/sources";
END
export APT_CONFIG=$folder/apt/conf
apt-get --quiet=2 update
version=$(apt-cache madison rustc-web | awk 'NR == 1 { print $3 }')
[[ -n $version ]] || { echo "no package rustc-web; hint: Debian 12 with its updates has it" >&2; exit 77; }
depends() { apt-cache show "$1=$version" | sed -n "s/^Depends: //p" | tr ',|' '\n\n' | grep -o "$2" | head -n 1; }
standard=$(depends libstd-rust-web-dev 'libstd-rust-web-[0-9.]*')
llvm=$(depends "$standard" 'libllvm[0-9]*')
git=$(depends cargo-web 'libgit2-[0-9.]*')
cd "$folder/packages"
rm -f -- *.deb
apt-get --quiet=2 download {rustc,cargo}-web="$version" rust-web-src="$version" "$standard=$version" \
    libstd-rust-web-dev{,:arm64}="$version" "$llvm" "$git" libmbedcrypto7 libmbedx509-1 libmbedtls14 \
    libhttp-parser2.9
rm -rf "$folder/unpacked"
for package in *.deb; do
    dpkg --extract "$package" "$folder/unpacked"
done
rm -f -- *.deb
# Rustup has programs look for their libraries in the toolchain's lib.
for library in "$folder"/unpacked/usr/lib/"$(uname -m)"-linux-gnu/*.so*; do
    ln -sf "$library" "$folder/unpacked/usr/lib/"
done
rustup toolchain link "$name" "$folder/unpacked/usr"
rustc "+$name" -V
