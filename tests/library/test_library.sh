#!/bin/sh
# libfurlong as others meet it: its header, its exported names, its installation.
set -u
count=0
folder=$(mktemp -d) || exit 2
trap 'rm -rf "$folder"' EXIT
cache=$FL_BUILD/CMakeCache.txt
cc=$(sed -n 's/^CMAKE_C_COMPILER:[A-Z]*=//p' "$cache")

check() { # name, command...
    count=$((count + 1))
    name=$1
    shift
    if "$@" >"$folder/log" 2>&1; then
        echo "ok $count - $name"
    else
        echo "not ok $count - $name"
        sed 's/^/# /' "$folder/log"
    fi
}

echo 1..7

header_stands_alone() {
    printf '#include "furlong.h"\nint main(void) { return fl_version() == 0; }\n' >"$folder/alone.c"
    "$cc" -std=c11 -pedantic-errors -Wall -Wextra -Werror -I"$FL_SOURCE/include" -c "$folder/alone.c" -o "$folder/alone.o"
}
check header_is_c11_on_its_own header_stands_alone

header_is_cplusplus() {
    command -v c++ || return 0
    c++ -std=c++11 -pedantic-errors -Wall -Wextra -Werror -I"$FL_SOURCE/include" -fsyntax-only -x c++ "$folder/alone.c"
}
check header_is_cplusplus11 header_is_cplusplus

# Names a program can link with: those that furlong.h marks FL_API, all of them and no other.
sed -e 's://.*::' "$FL_SOURCE/include/furlong.h" | tr '\n' ' ' | sed 's:/\*[^*]*\*\+\([^/*][^*]*\*\+\)*/: :g' |
    grep -o 'FL_API [^;({]*[ *]fl_[a-z0-9_]*(' | grep -o 'fl_[a-z0-9_]*($' | tr -d '(' | sort -u >"$folder/declared"
nm -D --defined-only "$FL_BUILD/libfurlong.so" | awk '$2 ~ /[TDBR]/ { print $3 }' | sort -u >"$folder/exported"

exported_are_declared() {
    [ -s "$folder/exported" ] && ! comm -13 "$folder/declared" "$folder/exported" | grep .
}
check nothing_else_is_exported exported_are_declared

declared_are_exported() {
    ! comm -23 "$folder/declared" "$folder/exported" | grep .
}
check all_that_is_declared_is_exported declared_are_exported

program_links() { # shared|static
    rm -rf "$folder/root"
    DESTDIR=$folder/root cmake --install "$FL_BUILD" --prefix /opt/furlong || return 1
    libdir=$(dirname "$(find "$folder/root" -name libfurlong.a)")
    [ -n "$libdir" ] || return 1
    export PKG_CONFIG_PATH="$libdir/pkgconfig"
    sanitize=$(sed -n 's/^FL_SANITIZE:STRING=\(.\)/-fsanitize=\1/p' "$cache")
    case $1 in
    shared) libraries=$(pkg-config --libs furlong) ;;
    # Only furlong itself comes from its archive; the system's libraries need not have one.
    static) libraries="$libdir/libfurlong.a $(pkg-config --libs --static furlong | sed 's/-lfurlong//')" ;;
    esac
    # Flags are words.
    # shellcheck disable=SC2046,SC2086
    "$cc" $(pkg-config --cflags furlong) $sanitize "$folder/alone.c" -o "$folder/program" $libraries || return 1
    LD_LIBRARY_PATH=$libdir "$folder/program"
}
check installed_shared_library_links_and_runs program_links shared
check installed_static_library_links_and_runs program_links static

# The last installation's manual page and completion, whole and without what groff would warn of.
manual_is_installed() {
    share=$folder/root/opt/furlong/share
    grep -q '^\.SS furlong train' "$share/man/man1/furlong.1" || return 1
    grep -q '^complete -F _furlong furlong' "$share/bash-completion/completions/furlong" || return 1
    [ -s "$share/zsh/site-functions/_furlong" ] && [ -s "$share/fish/vendor_completions.d/furlong.fish" ] || return 1
    command -v groff >/dev/null || return 0
    groff -man -ww -z "$share/man/man1/furlong.1" 2>"$folder/groff" && ! [ -s "$folder/groff" ]
}
check manual_and_completion_are_installed manual_is_installed
