# Sourced by the tables of this folder: where the model and texts are, and how an arm is trained and judged.
#   FURLONG  the command (build/furlong)    WORK  where trained models go (build/results)    THREADS  (2)
set -eu
cd "$(dirname "$0")/../.."
FURLONG=${FURLONG:-build/furlong} WORK=${WORK:-build/results} THREADS=${THREADS:-2}
MODEL=${MODEL:-models/base-s} TEXTS=models/base-s
TUNE=$TEXTS/tune.jsonl.zst BOOKS=$TEXTS/books.jsonl.zst TECH=$TEXTS/tech.jsonl.zst
WINDOW=256
RATE=${RATE:-7e-5} # a fifteenth of the rate the model was trained with
mkdir -p "$WORK"

# tune NAME STEPS LENGTH BATCH FLAGS...: 8192 tokens a step if LENGTH * BATCH says so. Goes on from the steps it has.
tune() {
    name=$1 steps=$2 length=$3 batch=$4
    shift 4
    [ -f "$WORK/$name-$steps/config.json" ] && return
    "$FURLONG" train -m "$MODEL" -f "$TUNE" -o "$WORK/$name-$steps" --length "$length" --batch "$batch" \
        --steps "$steps" --lr $RATE --warmup 20 --beta2 0.95 --seed 1 -t "$THREADS" --log "$WORK/$name.jsonl" \
        --state "$WORK/$name.state" --resume "$@"
}

# judge TABLE LABEL MODEL TEXT LENGTHS FLAGS...: the same 32 tokens of every block read with each length of context
judge() {
    to=$1 label=$2 judged=$3 text=$4 contexts=$5
    shift 5
    [ -f "$to" ] && grep -q "\"label\":\"$label\"" "$to" && return
    "$FURLONG" eval ppl -m "$judged" -f "$text" --protocol matched --lengths "$contexts" --score 32 \
        --blocks "${BLOCKS:-40}" --seed 1 -t "$THREADS" --overflow extend --label "$label" --out "$to" "$@"
}

# passkeys TABLE LABEL MODEL LENGTH FLAGS...: the literal protocol at 32 distances: the longest distance up to which 20 %
# and 80 % are found, and how many of all
passkeys() {
    to=$1 label=$2 judged=$3 tokens=$4
    shift 4
    [ -f "$to" ] && grep -q "\"label\":\"$label\",\"length\":$tokens," "$to" && return
    "$FURLONG" eval passkey -m "$judged" --length "$tokens" --distances 32 --trials "${TRIALS:-5}" --seed 1 \
        -t "$THREADS" --overflow extend --json "$@" | tr -d ' \n' | tr '{,}' '\n\n\n' | awk -F: -v label="$label" -v tokens="$tokens" '
        $1 == "\"k_max\"" { k20 = $2 } $1 == "\"k_max_80\"" { k80 = $2 }
        $1 == "\"hits\"" { hits += $2 } $1 == "\"trials\"" { trials += $2 }
        END { if (!trials) exit 1
              printf "{\"label\":\"%s\",\"length\":%d,\"k_max_20\":%d,\"k_max_80\":%d,\"found\":%d,\"of\":%d}\n",
                  label, tokens, k20, k80, hits, trials }' >>"$to"
}

# window TABLE LABEL LENGTH RISE: the context, between those read, at which the loss has risen by RISE above that at LENGTH
window() {
    tr -d ' {}"' <"$1" | tr ',' '\n' | awk -F: -v label="$(echo "$2" | tr -d ' ')" -v from="$3" -v rise="$4" '
        $1 == "label" { mine = $2 == label } $1 == "length" { at = $2 } mine && $1 == "nll" { nll[at] = $2; order[n++] = at }
        END { reach = from
              for (i = 0; i < n; i++) { l = order[i]; if (l <= from) continue
                  if (nll[l] > nll[from] + rise) {
                      printf "%.0f", exp(log(reach) + (nll[from] + rise - nll[reach]) / (nll[l] - nll[reach]) * log(l / reach)); exit }
                  reach = l }
              printf ">%d", reach }'
}
