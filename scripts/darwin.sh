#!/usr/bin/env bash
# The code for macOS, checked on any system: lints for arm64 macOS, then a link of `anemone`
# against stub libraries that list the symbols we admit, then what the file says of itself.
# Nothing is run: this shows that it compiles and links, not that it works on a Mac.
#
# A new symbol of the system is a link error until it is listed in scripts/darwin/*.txt.
set -euo pipefail
cd "$(dirname "$0")/.."

target=aarch64-apple-darwin
fail() { echo "darwin.sh: $*" >&2; exit 1; }

if ! rustup target add "$target" >/dev/null 2>&1; then
    echo "NOT CHECKED: the code for macOS, because the target $target cannot be installed here"
    exit 0
fi
rustup component add llvm-tools >/dev/null 2>&1 || true
tools=$(rustc --print sysroot)/lib/rustlib/$(rustc -vV | sed -n 's/^host: //p')/bin

# The helper that catches Objective-C exceptions is compiled by Apple's tools alone; with DOCS_RS
# its build script leaves it out, which is enough to check types.
export CARGO_TARGET_DIR=target/darwin
DOCS_RS=1 cargo clippy --locked --target "$target" \
    -p anemone-surface -p anemone-ane -p anemone-apple -- -D warnings
# Without the features that bring C, which no compiler here makes for macOS: their own Rust code
# asks for no system and is linted with the rest of the workspace.
DOCS_RS=1 cargo clippy --locked --target "$target" \
    -p anemone-cli --no-default-features --features exceptions -- -D warnings

# $1: path below the SDK, $2: name by which it is found when run, $3: list of symbols.
stub() {
    mkdir -p "$sdk/$(dirname "$1")"
    {
        printf -- '--- !tapi-tbd\ntbd-version: 4\ntargets: [ arm64-macos ]\n'
        printf "install-name: '%s'\nexports:\n  - targets: [ arm64-macos ]\n    symbols: [ " "$2"
        sed '/^#/d' "$3" | paste -sd, | sed 's/,/, /g'
        printf '    ]\n...\n'
    } >"$sdk/$1"
}
sdk=$PWD/$CARGO_TARGET_DIR/sdk
rm -rf "$sdk"
for library in System c m; do
    stub "usr/lib/lib$library.tbd" /usr/lib/libSystem.B.dylib scripts/darwin/System.txt
done
stub usr/lib/libobjc.tbd /usr/lib/libobjc.A.dylib scripts/darwin/objc.txt
stub usr/lib/libiconv.tbd /usr/lib/libiconv.2.dylib scripts/darwin/none.txt
foundation=System/Library/Frameworks/Foundation.framework
stub "$foundation/Foundation.tbd" "/$foundation/Versions/C/Foundation" scripts/darwin/none.txt

# Unoptimised: only the link is of interest. Without `exceptions`, as there is no helper, and without
# the features that bring C.
SDKROOT=$sdk MACOSX_DEPLOYMENT_TARGET=14.0 \
CARGO_TARGET_AARCH64_APPLE_DARWIN_LINKER=rust-lld \
CARGO_TARGET_AARCH64_APPLE_DARWIN_RUSTFLAGS='-Clinker-flavor=ld64.lld -Cdebuginfo=0' \
    cargo build --locked --target "$target" -p anemone-cli --no-default-features \
    --config 'profile.dev.package."*".opt-level=0'

binary=$CARGO_TARGET_DIR/$target/debug/anemone
if [ ! -x "$tools/llvm-objdump" ]; then
    echo 'NOT CHECKED: the load commands, because llvm-objdump cannot be installed here'
    exit 0
fi
headers=$("$tools/llvm-objdump" --macho --private-headers "$binary")
expect() { grep -Eq "$1" <<<"$headers" || fail "$binary: $2"; }
expect 'MH_MAGIC_64 +ARM64 .* EXECUTE' 'is no arm64 executable'
expect 'cmd LC_BUILD_VERSION' 'does not say what it is built for'
expect '^ *platform macos' 'is not for macOS'
expect '^ *minos 14\.0' 'does not say that it runs on macOS 14.0'
expect 'cmd LC_CODE_SIGNATURE' 'has no signature'
libraries=$(sed -nE '/cmd LC_(LOAD|LOAD_WEAK|REEXPORT|LAZY_LOAD)_DYLIB/,/name/s/^ *name (.*) \(offset.*/\1/p' <<<"$headers")
[ -n "$libraries" ] || fail "$binary: loads no library at all"
while read -r library; do
    case $library in
        /usr/lib/*.dylib | /System/Library/Frameworks/*) ;;
        *) fail "$binary: loads $library, which is neither public nor the system's" ;;
    esac
done <<<"$libraries"
echo "$binary: arm64, macOS 14.0, signed, loads" $libraries
