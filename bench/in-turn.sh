#!/bin/sh
# Two commands in turn, A B A B ..., each printing one number (its speed) as the last word of its output: medians, spread
# and the ratio A / B of each pair, so that a machine whose speed drifts still gives a fair answer.
#   bench/in-turn.sh PAIRS 'command A' 'command B'
set -eu
[ $# -eq 3 ] || {
    sed -n '2,4p' "$0" >&2
    exit 2
}
pairs=$1
for i in $(seq "$pairs"); do
    a=$(sh -c "$2" | awk '{ last = $NF } END { print last }')
    b=$(sh -c "$3" | awk '{ last = $NF } END { print last }')
    echo "$a $b"
    printf 'pair %d of %d: A %s, B %s\n' "$i" "$pairs" "$a" "$b" >&2
done | awk '
    { a[NR] = $1; b[NR] = $2; r[NR] = $1 / $2 }
    function show(name, v,  i, j, t) {
        for (i = 2; i <= NR; i++)
            for (j = i; j > 1 && v[j] < v[j - 1]; j--) { t = v[j]; v[j] = v[j - 1]; v[j - 1] = t }
        printf "%-10s  median %10.3f   lowest %10.3f   highest %10.3f\n", name, v[int((NR + 1) / 2)], v[1], v[NR]
    }
    END { show("A", a); show("B", b); show("A / B", r) }'
