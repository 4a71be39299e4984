#!/bin/sh
# Builds furlong for aarch64 on an x86-64 Debian and runs the tests in an emulator: the plain kernels, on a machine with
# neither AVX nor the byte layout of x86's registers.
#   tools/aarch64.sh [FOLDER [CTEST ARGUMENTS...]]      build/aarch64; every test but those that start other programs
# Needs gcc-aarch64-linux-gnu and qemu-user-static (tools/install-packages.sh --aarch64). The libraries of aarch64 are
# unpacked into FOLDER/root, nothing is installed.
set -eu
source=$(cd "$(dirname "$0")/.." && pwd)
folder=${1:-$source/build/aarch64}
[ $# -eq 0 ] || shift
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)

for program in aarch64-linux-gnu-gcc qemu-aarch64-static; do
    command -v $program >/dev/null || {
        echo "$program is missing: tools/install-packages.sh --aarch64" >&2
        exit 1
    }
done

if [ ! -e "$folder/root/usr" ]; then
    apt=$folder/apt
    mkdir -p "$apt/state/lists/partial" "$apt/cache/archives/partial" "$apt/packages"
    : >"$apt/status"
    fetch() {
        apt-get -q -o APT::Architecture=arm64 -o APT::Architectures::=arm64 -o Dir::State="$apt/state" \
            -o Dir::State::status="$apt/status" -o Dir::Cache="$apt/cache" -o APT::Sandbox::User=root "$@" >&2
    }
    fetch update
    (cd "$apt/packages" && fetch download libjansson-dev libjansson4 libutf8proc-dev libutf8proc2 libpcre2-dev \
        libpcre2-8-0 libzstd-dev libzstd1 libcmocka-dev libcmocka0)
    for package in "$apt"/packages/*.deb; do
        dpkg-deb -x "$package" "$folder/root.new"
    done
    mv "$folder/root.new" "$folder/root"
fi

export PKG_CONFIG_LIBDIR="$folder/root/usr/lib/aarch64-linux-gnu/pkgconfig"
export PKG_CONFIG_SYSROOT_DIR="$folder/root"
# Not vectorised: gcc 12 for aarch64 ends in an internal error over one of the tests.
cmake -S "$source" -B "$folder" -DCMAKE_TOOLCHAIN_FILE="$source/cmake/aarch64.cmake" -DFL_AARCH64_ROOT="$folder/root" \
    -DCMAKE_BUILD_TYPE=Emulated -DCMAKE_C_FLAGS_EMULATED='-O2 -g1 -fno-tree-vectorize'
cmake --build "$folder" -j"${JOBS:-$(nproc)}"
[ $# -gt 0 ] || set -- -E '^cli/|^library/'
ctest --test-dir "$folder" --output-on-failure "$@"
