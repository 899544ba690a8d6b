#!/bin/sh
# Builds the C library and installs it with its headers and its pkg-config file.
#
#   scripts/install-capi.sh PREFIX [LIBRARIES]
#
# writes PREFIX/lib/libanemone.* (shared and static), PREFIX/include/{anemone,ane_bridge}.h and
# PREFIX/lib/pkgconfig/anemone.pc. With LIBRARIES, a folder that holds the two libraries, nothing is
# built. DESTDIR, if set, stands before every path that is written to, and in none of the files.
# The shared library's name carries the version, because until 1.0 every minor version may change
# what programs were compiled against.
set -eu
if [ $# -lt 1 ] || [ $# -gt 2 ]; then
    echo "usage: $0 PREFIX [LIBRARIES]" >&2
    exit 2
fi
case $1 in
    /*) prefix=${1%/} ;;
    *) prefix=$(pwd)/${1%/} ;;
esac
built=${2-}
[ -z "$built" ] || built=$(cd "$built" && pwd)
cd "$(dirname "$0")/.."

version=$(sed -n '/^\[workspace\.package\]/,/^\[/s/^version = "\(.*\)"$/\1/p' Cargo.toml)
minor=${version%.*}
private=
case $(uname -s) in
    Darwin)
        shared=libanemone.dylib
        versioned=libanemone.$minor.dylib
        name_option=-Wl,-install_name,$prefix/lib/$versioned
        ;;
    *)
        shared=libanemone.so
        versioned=libanemone.so.$minor
        name_option=-Wl,-soname,$versioned
        # What programs that link the static library need of the system.
        private='-lgcc_s -lpthread -lm -ldl -lc'
        ;;
esac

if [ -z "$built" ]; then
    built=$(pwd)/target/capi
    cargo rustc --locked --release -p anemone-capi --lib --crate-type cdylib,staticlib \
        --target-dir "$built" -- -C "link-arg=$name_option"
    built=$built/release
fi

root=${DESTDIR-}$prefix
mkdir -p "$root/lib/pkgconfig" "$root/include"
# What is built is called so that it is not taken for the library for Rust.
cp "$built/libanemone_c.${shared##*.}" "$root/lib/$versioned"
ln -sf "$versioned" "$root/lib/$shared"
cp "$built/libanemone_c.a" "$root/lib/libanemone.a"
cp crates/capi/include/anemone.h crates/capi/include/ane_bridge.h "$root/include/"
escaped=$(printf '%s' "$prefix" | sed 's/[\\&|]/\\&/g')
sed -e "s|@PREFIX@|$escaped|" -e "s|@VERSION@|$version|" -e "s|@PRIVATE@|$private|" \
    crates/capi/anemone.pc.in > "$root/lib/pkgconfig/anemone.pc"
echo "installed anemone $version in $root"
