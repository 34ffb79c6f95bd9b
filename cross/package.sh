#!/usr/bin/env bash
# The command and the daemon for a target, stripped and static, with all that belongs beside it: as a Debian package where
# dpkg-deb is there, and as an archive to unpack below /usr/local anywhere else.
#
# usage: cross/package.sh [aarch64|x86_64] [FOLDER]    (default: this machine's, <target folder>/package)
#
# It takes RUSTUP_TOOLCHAIN if that is set, rustup's default if that can build for the target, else a
# toolchain of Debian's packages (cross/debian-toolchain.sh).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly machine=${1:-$(uname -m)} target_folder=${CARGO_TARGET_DIR:-$PWD/target}
readonly folder=${2:-$target_folder/package} triple=$machine-unknown-linux-gnu
case $machine in
aarch64) architecture=arm64 ;;
x86_64) architecture=amd64 ;;
*) echo "no $machine; hint: aarch64 or x86_64" >&2 && exit 2 ;;
esac

builds() {
    local libraries
    libraries=$(rustc "$@" --print target-libdir --target "$triple" 2>/dev/null) && compgen -G "$libraries/libstd-*" >/dev/null
}
if [[ -z ${RUSTUP_TOOLCHAIN:-} ]] && ! builds; then
    echo "this toolchain can't build for $triple: taking Debian's (or: rustup target add $triple)"
    cross/debian-toolchain.sh
    export RUSTUP_TOOLCHAIN=debian
fi
strip=strip run=()
if [[ $machine != "$(uname -m)" ]]; then
    tools=$machine-linux-gnu
    strip=$tools-strip
    if ! command -v "$tools-gcc" "$tools-g++" >/dev/null; then
        echo "no $tools-gcc; hint: apt-get install g++-$tools" >&2
        exit 77
    fi
    export "CARGO_TARGET_${machine^^}_UNKNOWN_LINUX_GNU_LINKER=$tools-gcc" \
        "CC_${machine}_unknown_linux_gnu=$tools-gcc" "CXX_${machine}_unknown_linux_gnu=$tools-g++" \
        "AR_${machine}_unknown_linux_gnu=$tools-ar"
    run=("qemu-$machine-static")
fi

# Static: one file for every distribution and every glibc.
export "CARGO_TARGET_${machine^^}_UNKNOWN_LINUX_GNU_RUSTFLAGS=-C target-feature=+crt-static"
cargo build --release --locked --package bedside-cli --package bedsided --target "$triple"
version=$(cargo pkgid --locked --package bedside-cli | sed 's/.*[#@]//')

tree=$folder/bedside_${version}_$architecture
rm -rf "$tree"
install -D -t "$tree/usr/bin" "$target_folder/$triple/release"/{bedside,bedsided}
"$strip" "$tree"/usr/bin/*
# The daemon, which runs once an administrator has told it what to do.
install -D -m 644 firmware-host/bedsided.service -t "$tree/usr/lib/systemd/system"
install -D -m 644 firmware-host/70-bedside-panel.rules -t "$tree/usr/lib/udev/rules.d"
install -D -m 644 firmware-host/bedsided.toml -t "$tree/usr/share/bedside"
install -D -m 644 models/edge/edge.bedside -t "$tree/usr/share/bedside"
readonly doc=$tree/usr/share/doc/bedside
install -D -m 644 README.md docs/{cli,device,live,result-log,update}.md models/edge/model-card.md -t "$doc"
install -D -m 644 LICENSE "$doc/copyright"
.ci/release "$doc" >/dev/null
# Of the command itself, so that they say what it does.
bedside() { "${run[@]}" "$tree/usr/bin/bedside" "$@"; }
if command -v "${run[0]:-true}" >/dev/null; then
    bedside man "$tree/usr/share/man/man1"
    gzip --no-name --best "$tree"/usr/share/man/man1/*
    install -d "$tree"/usr/share/{bash-completion/completions,zsh/vendor-completions,fish/vendor_completions.d}
    bedside completions bash >"$tree/usr/share/bash-completion/completions/bedside"
    bedside completions zsh >"$tree/usr/share/zsh/vendor-completions/_bedside"
    bedside completions fish >"$tree/usr/share/fish/vendor_completions.d/bedside.fish"
else
    echo "without manual pages and completions; hint: apt-get install qemu-user-static" >&2
fi
find "$tree" -type d -exec chmod 755 {} +

tar --create --gzip --owner=0 --group=0 --numeric-owner --sort=name --file "$tree.tar.gz" --directory "$tree/usr" .
if command -v dpkg-deb >/dev/null; then
    install -d "$tree/DEBIAN"
    cat >"$tree/DEBIAN/control" <<END
Package: bedside
Version: $version
Architecture: $architecture
Maintainer: the authors of bedside <$(sed -n 's/^repository = "\(.*\)"/\1/p' Cargo.toml)>
Installed-Size: $(du -sk "$tree/usr" | cut -f1)
Section: science
Priority: optional
Homepage: $(sed -n 's/^repository = "\(.*\)"/\1/p' Cargo.toml)
Description: text-prompted biomedical segmentation on the device
 You name what to look for on an ultrasound, endoscopy or other medical frame;
 bedside outlines it, says how sure it is, and says when it is not there.
 No network, no cloud. Research use only: not a medical device.
END
    dpkg-deb --root-owner-group -Zxz --build "$tree" "$folder" >/dev/null
fi
ls -l "$tree/usr/bin" "$folder"
