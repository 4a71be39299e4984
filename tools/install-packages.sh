#!/bin/sh
# Installs the Debian packages that furlong is built and tested with, those that are missing. Quiet when none is.
# As root it installs them; as another user it prints the command and fails. With --check it never installs. With
# --aarch64 also the cross-compiler and the emulator of tools/aarch64.sh.
set -eu

packages='
cmake
make
pkg-config
libjansson-dev
libutf8proc-dev
libpcre2-dev
libzstd-dev
libcmocka-dev
gnuplot-nox
'

check=
for argument; do
    case $argument in
    --check) check=1 ;;
    --aarch64) packages="$packages gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static" ;;
    *)
        echo "usage: $0 [--check] [--aarch64]" >&2
        exit 2
        ;;
    esac
done

# Elsewhere CMake says what it cannot find.
command -v dpkg-query >/dev/null || exit 0

missing=
for package in $packages; do
    case $(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null) in
    installed) continue ;;
    esac
    # Another package may offer the same program: pkgconf for pkg-config, gnuplot-qt for gnuplot-nox.
    case $package in
    cmake | make | pkg-config) command -v "$package" >/dev/null && continue ;;
    gnuplot-nox) command -v gnuplot >/dev/null && continue ;;
    esac
    missing="$missing $package"
done
if ! command -v cc >/dev/null && ! command -v gcc >/dev/null; then
    missing="$missing gcc libc6-dev"
fi
[ -n "$missing" ] || exit 0

if [ -n "$check" ] || [ "$(id -u)" -ne 0 ]; then
    echo "furlong needs packages that are not installed:" >&2
    echo "    sudo apt-get install --no-install-recommends$missing" >&2
    exit 1
fi
echo "installing$missing" >&2
export DEBIAN_FRONTEND=noninteractive
apt-get update -q >&2
# The list is split into words on purpose.
# shellcheck disable=SC2086
apt-get install -q -y --no-install-recommends $missing >&2
