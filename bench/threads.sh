#!/bin/sh
# Two threads beside one, in turn: reading, training and generating, and what the machine itself gains by the second: a
# table in Markdown. Work bound by products should come near 2, generating as near as reading memory does.
#
#   bench/threads.sh
#
# From the environment:
#   MODEL     a model file (b-q8_0.gguf of bench/peers.sh);  CACHE  type of its keys and values (q8_0)
#   TRAINED   folder of a model to train, 8 x 256 tokens a step; without it nothing is trained
#   BUILD     folder of furlong, bench_roof and bench_train (build)
#   LENGTHS   tokens to read (512 8192)
#   PAIRS     5
set -eu
here=$(cd "$(dirname "$0")" && pwd)
export BUILD="${BUILD:-$here/../build}" MODEL="${MODEL:-b-q8_0.gguf}" CACHE="${CACHE:-q8_0}"

bench() { # THREADS FLAGS...
    threads=$1
    shift
    "$BUILD/furlong" bench -m "$MODEL" -t "$threads" -ctk "$CACHE" -ctv "$CACHE" "$@" 2>/dev/null
}

turns() { # FIGURES WORK...; "FIGURE MEDIAN2 MEDIAN1 RATIO LOW HIGH" for each
    figures=$1
    shift
    # The names of figures are words.
    # shellcheck disable=SC2086
    "$here/in-turn.sh" "${PAIRS:-5}" "$0 $1 2 ${2:-}" "$0 $1 1 ${2:-}" $figures | awk '
        $2 == "A" { two = $5 }
        $2 == "B" { one = $5 }
        $2 == "A/B" { print $1, two, one, $5, $7, $9 }'
}

row() { # WORK ASKED; a line of turns
    awk -v work="$1" -v asked="$2" -v pairs="${PAIRS:-5}" '{
        printf "| %s | %.1f | %.1f | **%.2f** (%.2f to %.2f, %d) | %s |\n", work, $3, $2, $4, $5, $6, pairs, asked }'
}

case ${1:-} in
roof) "$BUILD/bench_roof" "$2" $((($(wc -c <"$MODEL") + 999999) / 1000000)) ;;
read) bench "$2" -p "$3" -n 1 -r 3 | awk 'END { print $2 }' ;;
generate) bench "$2" -d 0 -p 16 -n 64 -r 5 | awk 'END { print $4 }' ;;
train) "$BUILD/bench_train" "$TRAINED" 8 256 3 "$2" | sed -n 's|.* \([0-9]*\) tokens/s.*|\1|p' ;;
'')
    echo '| work | one thread | two | ratio (pairs) | asked |'
    echo '|---|---|---|---|---|'
    roof=$(turns 'multiply-adds bytes reading' roof)
    echo "$roof" | sed -n 1p | row 'fp32 products on registers, GFLOP/s' ''
    echo "$roof" | sed -n 2p | row 'byte products on registers, GOP/s' ''
    echo "$roof" | sed -n 3p | row "reading memory as large as the model, GB/s" ''
    for length in ${LENGTHS:-512 8192}; do
        turns speed read "$length" | row "read $length, tokens/s" 1.9
    done
    [ -z "${TRAINED:-}" ] || turns speed train | row 'train 8 x 256, tokens/s' 1.9
    turns speed generate | row 'generate at 0, tokens/s' "$(echo "$roof" | awk 'NR == 3 { printf "%.2f", 0.95 * $4 }')"
    ;;
*)
    sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
