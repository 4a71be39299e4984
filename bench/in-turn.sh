#!/bin/sh
# Two commands in turn, A B A B ..., each printing its speed as the last word of its output: medians, spread and the
# ratio A/B of each pair, so that a machine whose speed drifts still gives a fair answer.
#   bench/in-turn.sh PAIRS 'command A' 'command B' [FIGURE...]
# With names of figures the last line ends in as many numbers. A figure is better when larger and is what a command is
# chosen by, unless its name begins with "+": that one only goes along with the figure before it.
# A and B may each be several commands, one a line: each is tried once, and for every figure the best of A and the best
# of B take turns. Their numbers stand in the third column.
set -eu
[ $# -ge 3 ] || {
    sed -n '2,8p' "$0" >&2
    exit 2
}
pairs=$1 a=$2 b=$3
shift 3
[ $# -gt 0 ] || set -- speed
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM

# The figures of the N-th line of $1, or nothing with a message.
figures() {
    command=$(printf '%s\n' "$1" | sed -n "$2p")
    sh -c "$command" | awk -v count="$3" -v command="$command" '
        NF { fields = NF; for (i = 0; i < count; i++) last[i] = $(NF - count + 1 + i) }
        END {
            for (i = 0; i < count; i++) {
                if (fields < count || last[i] + 0 <= 0) { print "no figures from: " command >"/dev/stderr"; exit 1 }
                printf "%s ", last[i]
            }
        }'
}

# The best line of $1 for each figure, as "1 2 2".
choose() {
    commands=$1
    alternatives=$(printf '%s\n' "$commands" | wc -l)
    shift
    for i in $(seq "$alternatives"); do
        if [ "$alternatives" -eq 1 ]; then
            echo "1 $(printf '1 %.0s' "$@")"
        elif found=$(figures "$commands" "$i" $#); then
            printf 'trial of %s: %s\n' "$(printf '%s\n' "$commands" | sed -n "${i}p")" "$found" >&2
            echo "$i $found"
        fi
    done | awk -v names="$*" '
        BEGIN { count = split(names, name, " ") }
        { for (j = 1; j <= count; j++) if ($(j + 1) > most[j]) { most[j] = $(j + 1); best[j] = $1 } }
        END {
            if (!NR) exit 1
            for (j = 1; j <= count; j++) printf "%d ", best[name[j] ~ /^[+]/ ? j - 1 : j]
        }'
}

best_a=$(choose "$a" "$@")
best_b=$(choose "$b" "$@")
place=0
for name; do
    place=$((place + 1))
    i=$(echo "$best_a" | cut -d' ' -f$place)
    j=$(echo "$best_b" | cut -d' ' -f$place)
    file=$folder/$i-$j
    [ -e "$file" ] || for pair in $(seq "$pairs"); do
        of_a=$(figures "$a" "$i" $#)
        of_b=$(figures "$b" "$j" $#)
        echo "$of_a $of_b" >>"$file"
        printf 'pair %d of %d: A %s, B %s\n' "$pair" "$pairs" "$of_a" "$of_b" >&2
    done
    awk -v place="$place" -v count=$# -v name="${name#+}" -v i="$i" -v j="$j" '
        { a[NR] = $place; b[NR] = $(place + count); r[NR] = a[NR] / b[NR] }
        function show(who, which, v,  i, j, t) {
            for (i = 2; i <= NR; i++)
                for (j = i; j > 1 && v[j] < v[j - 1]; j--) { t = v[j]; v[j] = v[j - 1]; v[j - 1] = t }
            printf "%-10s %-4s %2s  median %10.3f   lowest %10.3f   highest %10.3f\n", name, who, which,
                   (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2, v[1], v[NR]
        }
        END { show("A", i, a); show("B", j, b); show("A/B", "-", r) }' "$file"
done
