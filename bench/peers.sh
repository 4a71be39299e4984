#!/bin/sh
# furlong beside llama.cpp or a program with its flags, in turn on the same file: a table in Markdown, with medians, the
# flags that each did best with, and the ratio of each pair from lowest to highest.
#
#   bench/peers.sh SHAPE TYPE DEPTH [SHAPE TYPE DEPTH]...     reading DEPTH tokens at once, generating behind them
#   bench/peers.sh table                                      every row that has a target
#   bench/peers.sh memory                                     (b) with 32768 tokens held, beside weights and cache
#   bench/peers.sh third                                      generating beside a third thread that never rests
#
# Shapes: (a) 24M, heads of 48; (b) 110M, heads of 64; (c) 1.1B, grouped queries. DEPTH 0 generates only. From the
# environment:
#   MODELS        folder of a-q8_0.gguf, b-f32.gguf, ... (shape and type; whatever weights)
#   PEER          folder of the peer's llama-batched-bench
#   PEER_TRY      flags of the peer, one set a line: for each figure the best goes on. Without it what suits the depth
#   FURLONG       program (build/furlong)
#   FURLONG_TRY   types of keys and values (q8_0 f16 f32; a head of 48 has no q8_0)
#   PAIRS         3; 1 where a run takes minutes
#   LIMIT         900 seconds for a run of the peer
#   THREADS       2
set -eu
here=$(cd "$(dirname "$0")" && pwd)
export FURLONG="${FURLONG:-$here/../build/furlong}" THREADS="${THREADS:-2}" MODELS="${MODELS:-models}" PEER="${PEER:-.}"

usage() {
    sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" >&2
    exit 2
}

# ---- one run: "READ GENERATE" in tokens a second; what is not measured is 1 -----------------------------------------

repeats() { # of DEPTH
    if [ "$1" -le 512 ]; then echo 5; elif [ "$1" -le 2048 ]; then echo 3; else echo 1; fi
}

generated() { # behind DEPTH
    if [ "$1" -le 2048 ]; then echo 64; elif [ "$1" -le 8192 ]; then echo 32; else echo 16; fi
}

run_furlong() { # FILE DEPTH TYPE
    read=1
    [ "$2" -eq 0 ] || read=$(bench_furlong "$1" "$3" -d 0 -p "$2" -n 1 -r "$(repeats "$2")" | awk 'END { print $2 }')
    bench_furlong "$1" "$3" -d "$2" -p 16 -n "$(generated "$2")" -r 3 | awk -v read="$read" 'END { print read, $4 }'
}

bench_furlong() { # FILE TYPE FLAGS...
    file=$1 type=$2
    shift 2
    # What positions mean beyond the trained window is not measured here.
    "$FURLONG" bench -m "$file" -t "$THREADS" -ctk "$type" -ctv "$type" "$@" 2>/dev/null
}

# Its table has a row for each of the -npp: the prompt's length, then in its sixth and eighth column the speeds.
run_peer() { # FILE DEPTH FLAGS...
    file=$1 depth=$2
    shift 2
    prompt=$((depth > 0 ? depth : 1))
    lengths=$(seq "$(repeats "$depth")" | awk -v prompt="$prompt" '{ printf "%s%s", (NR > 1 ? "," : ""), prompt }')
    bench_peer "$file" $((depth + 128)) -npp "$lengths" -ntg "$(generated "$depth")" "$@" | tr -d ' ' |
        awk -F'|' -v prompt="$prompt" -v depth="$depth" '
            function median(v,  i, j, t) {
                for (i = 2; i <= n; i++)
                    for (j = i; j > 1 && v[j] < v[j - 1]; j--) { t = v[j]; v[j] = v[j - 1]; v[j - 1] = t }
                return v[int((n + 1) / 2)]
            }
            NF > 9 && $2 == prompt { n++; read[n] = $7 + 0; generate[n] = $9 + 0 }
            END { print (depth ? median(read) : 1), median(generate) }'
}

bench_peer() { # FILE CONTEXT FLAGS...
    file=$1 context=$2
    shift 2
    timeout "${LIMIT:-900}" "$PEER/llama-batched-bench" -m "$file" -t "$THREADS" -tb "$THREADS" -c "$context" -b 2048 -ub 512 -npl 1 "$@" 2>&1
}

# ---- rows ---------------------------------------------------------------------------------------------------------

# Where a run takes minutes only what did best at smaller depths is tried.
slow() { # SHAPE DEPTH
    [ "$2" -gt 8192 ] || { [ "$1" = c ] && [ "$2" -gt 2048 ]; }
}

tries() { # SHAPE DEPTH
    if [ -n "${PEER_TRY:-}" ]; then
        printf '%s\n' "$PEER_TRY"
    elif ! slow "$@"; then
        printf '%s\n' '-fa off' '-fa on' '-fa on -ctk q8_0 -ctv q8_0'
    elif [ "$1" = a ]; then
        printf '%s\n' '-fa off' '-fa on'
    else
        echo '-fa on'
    fi
}

types_for() { # SHAPE DEPTH
    if ! slow "$@"; then echo q8_0 f16 f32; elif [ "$1" = a ]; then echo f16; else echo q8_0; fi
}

asked() { # SHAPE TYPE DEPTH read|generate
    awk -v row="$*" '$1 " " $2 " " $3 " " $4 == row { print $5; found = 1 } END { if (!found) print "" }' <<'ROWS'
b q8_0 512 read 2.2
b q8_0 2048 read 1.8
b q8_0 8192 read 1.6
b q8_0 32768 read 1.6
b f32 512 read 1.3
b f32 8192 read 1.5
b q4_0 512 read 2
a q8_0 512 read 2.2
a q8_0 8192 read 4
a q8_0 32768 read 6
c q8_0 512 read 2
c q8_0 8192 read 1.8
b q8_0 0 generate 1.1
b q8_0 2048 generate 2
b q8_0 8192 generate 2.4
b q8_0 32768 generate 4
a q8_0 0 generate 1.3
a q8_0 8192 generate 2
a q8_0 32768 generate 5
c q8_0 0 generate 1.15
c q8_0 8192 generate 1.35
c q4_0 0 generate 1.3
ROWS
}

head_of_table() {
    echo "| work | furlong, tokens/s | $1, tokens/s | ratio (pairs) | asked |"
    echo '|---|---|---|---|---|'
}

row() { # SHAPE TYPE DEPTH
    file=$MODELS/$1-$2.gguf
    [ -r "$file" ] || {
        echo "$file: not there" >&2
        return 0
    }
    pairs=${PAIRS:-$(if slow "$1" "$3"; then echo 1; else echo 3; fi)}
    types=$(echo "${FURLONG_TRY:-$(types_for "$1" "$3")}" | tr ' ' '\n')
    flags=$(tries "$1" "$3")
    "$here/in-turn.sh" "$pairs" "$(echo "$types" | sed "s|^|$0 run_furlong $file $3 |")" \
        "$(echo "$flags" | sed "s|^|$0 run_peer $file $3 |")" read generate >"$folder/turns"
    for figure in read generate; do
        [ "$3 $figure" = '0 read' ] ||
            types=$types flags=$flags awk -v figure=$figure -v shape="$1" -v type="$2" -v depth="$3" -v pairs="$pairs" \
                -v asked="$(asked "$1" "$2" "$3" $figure)" '
                BEGIN { split(ENVIRON["types"], ours, "\n"); split(ENVIRON["flags"], theirs, "\n") }
                $1 == figure && $2 == "A" { a = sprintf("%.*f (%s)", $5 < 100, $5, ours[$3]) }
                $1 == figure && $2 == "B" { b = sprintf("%.*f (`%s`)", $5 < 100, $5, theirs[$3]) }
                $1 == figure && $2 == "A/B" {
                    printf "| (%s) %s, %s %d | %s | %s | **%.2f** (%.2f to %.2f, %d) | %s |\n", shape, toupper(type),
                           figure == "read" ? "read" : "generate at", depth, a, b, $5, $7, $9, pairs, asked
                }' "$folder/turns"
    done
}

rows() { # SHAPE TYPE DEPTH ...
    [ $(($# % 3)) -eq 0 ] || usage
    echo '| work | furlong, tokens/s (cache) | peer, tokens/s (flags) | ratio (pairs) | asked |'
    echo '|---|---|---|---|---|'
    while [ $# -gt 0 ]; do
        row "$1" "$2" "$3"
        shift 3
    done
}

# ---- what else is asked -------------------------------------------------------------------------------------------

# The same model as a file that is converted on opening, and packed, used in place.
memory() { # DEPTH
    file=$MODELS/b-q8_0.gguf
    "$FURLONG" convert -m "$file" --pack -o "$folder/b.packed" >/dev/null
    echo '| file | peak, MB | weights | keys and values | rest | asked |'
    echo '|---|---|---|---|---|---|'
    for model in "$file" "$folder/b.packed"; do
        bench_furlong "$model" q8_0 -d "$1" -p 16 -n 4 -r 1 --json | tr -d ' ,' |
            awk -F: -v weights="$(wc -c <"$model")" -v name="${model##*.}" '
                /"kv_bytes"/ { kv = $2 }
                /"peak_bytes"/ { peak = $2 }
                END { printf "| %s | %.0f | %.0f | %.0f | %.0f | 64 |\n", name, peak / 1e6, weights / 1e6, kv / 1e6,
                             (peak - weights - kv) / 1e6 }'
    done
}

# Speed kept when another program takes a core: half is asked.
third() {
    file=$MODELS/b-q8_0.gguf
    quiet_ours=$(run_furlong "$file" 0 q8_0) quiet_theirs=$(run_peer "$file" 0 -fa on)
    (while :; do :; done) &
    busy=$!
    trap 'kill $busy; rm -rf "$folder"' EXIT
    echo "$quiet_ours $(run_furlong "$file" 0 q8_0)
$quiet_theirs $(run_peer "$file" 0 -fa on)" | awk '
        BEGIN { print "| program | generate at 0, tokens/s | beside a third thread | kept | asked |\n|---|---|---|---|---|" }
        { printf "| %s | %.1f | %.1f | %.2f | %s |\n", NR == 1 ? "furlong" : "peer", $2, $4, $4 / $2, NR == 1 ? "0.5" : "" }'
}

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM
case ${1:-} in
run_furlong | run_peer) "$@" ;; # what in-turn.sh calls
table)
    rows b q8_0 0 b q8_0 512 b q8_0 2048 b q8_0 8192 b q4_0 512 b f32 512 a q8_0 0 a q8_0 512 a q8_0 8192 c q8_0 0 \
        c q4_0 0 c q8_0 512 a q8_0 32768 c q8_0 8192 b f32 8192 b q8_0 32768
    ;;
memory) memory "${2:-32768}" ;;
third) third ;;
[abc]) rows "$@" ;;
*) usage ;;
esac
