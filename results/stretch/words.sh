#!/bin/sh
# What a longer window costs inside the old one, and what it buys on questions and summaries: base-s untouched, by YaRN
# untuned, and after 100 steps of 8192 tokens on books: at the old window (the control of equal tokens), directly at four
# times the window, and by interpolation. words.jsonl: shares right in per cent with intervals of 95 %; cloze chooses
# the next 32 tokens of a held-out book among 4 (chance 25), the questions (zero examples, at most 256 tokens with
# their answers) come from BoolQ, PIQA, ARC easy and challenge (chance 50, 50, 25, 25), by log-likelihood, and per letter.
# words-summary.jsonl: ROUGE (F, per cent) of summaries of at most 200 tokens (temperature 0.5, top-p 0.95), of the first 700 tokens of reports of
# GovReport (L-Eval) and meetings of QMSum. DATA names a folder with the sets, which are not part of this repository:
# boolq.jsonl (validation), piqa.jsonl, piqa.lst (validation), arc-easy.jsonl, arc-challenge.jsonl (tests), govreport.jsonl
# (L-Eval's gov_report_summ), qmsum.jsonl (test, ALL).
# Seen on one seed: inside the old window no arm differs from the control by more than its interval, so stretching costs nothing that
# these measures see; with 1024 tokens the cloze of stretched arms stays at 43 to 45 % where untouched and control fall to 36 and 37
# (intervals of 200 items just overlap). BoolQ is answered alike throughout, PIQA and ARC are at chance: a model of this size has
# no such knowledge, and they decide nothing here. Summaries are poor from all; longer windows gain on QMSum (15.6 and 15.2 against 14.2 of
# the control and 12.6), nothing on the 8 reports. (Cloze of the first three arms by build 8cfcaf0; the time is that of the last part.)
RATE=5e-4
. "$(dirname "$0")/arms.sh"
table=results/stretch/words.jsonl summaries=results/stretch/words-summary.jsonl
[ -f "${DATA:?names the folder with the question sets}/boolq.jsonl" ] || { echo "$DATA/boolq.jsonl is missing" >&2; exit 2; }

have() { [ -f "$1" ] && grep -q "\"label\":\"$2\",\"task\":\"$3\"" "$1"; }
flat() { tr -d ' \n"' | tr '{,' '\n\n' | tr -d '}]'; }

share() { # LABEL TASK COMMAND...: one row of shares
    label=$1 task=$2
    shift 2
    have $table "$label" "$task" && return
    "$@" --json -t "$THREADS" | flat | awk -F: -v label="$label" -v task="$task" '
        $1 == "items" { items = $2 } $1 == "skipped" { skipped = $2 } $1 == "accuracy_normalised" { n = 1 }
        $1 == "accuracy" && $2 != "" { share[0] = $2 } $1 == "share" { share[n + 0] = $2 }
        $1 == "low" { low[n + 0] = $2 } $1 == "high" { high[n + 0] = $2 }
        function with(i) { return share[i] == "" ? "-" : sprintf("%.1f (%.1f to %.1f)", 100 * share[i], 100 * low[i], 100 * high[i]) }
        END { if (!items) exit 1
              printf "{\"label\":\"%s\",\"task\":\"%s\",\"items\":%d,\"left out\":%d,\"right\":\"%s\",\"per letter\":\"%s\"}\n",
                  label, task, items, skipped, with(0), with(1) }' >>$table
}
rouge() { # LABEL TASK FILE MODEL FLAGS...
    label=$1 task=$2 file=$3 read=$4
    shift 4
    have $summaries "$label" "$task" && return
    "$FURLONG" eval summary -m "$read" -f "$file" --count 8 --input-tokens 700 --length 1024 -n 200 --seed 1 \
        -t "$THREADS" --overflow extend --json "$@" | flat | awk -F: -v label="$label" -v task="$task" '
        $1 == "items" { items = $2 } $1 ~ /^ROUGE/ { name = $1 } $1 == "f" { f[name] = $2 } $1 == "low" { low[name] = $2 }
        $1 == "high" { high[name] = $2 }
        function with(k) { return sprintf("%.1f (%.1f to %.1f)", 100 * f[k], 100 * low[k], 100 * high[k]) }
        END { if (!items) exit 1
              printf "{\"label\":\"%s\",\"task\":\"%s\",\"items\":%d,\"ROUGE-1\":\"%s\",\"ROUGE-2\":\"%s\",\"ROUGE-L\":\"%s\"}\n",
                  label, task, items, with("ROUGE-1"), with("ROUGE-2"), with("ROUGE-L") }' >>$summaries
}
all() { # LABEL MODEL FLAGS...
    arm=$1 model=$2
    shift 2
    share "$arm" "cloze at 256" "$FURLONG" eval cloze -m "$model" -f $BOOKS --length 256 --count 600 --seed 1 --overflow extend "$@"
    share "$arm" "cloze at 1024" "$FURLONG" eval cloze -m "$model" -f $BOOKS --length 1024 --count 200 --seed 1 --overflow extend "$@"
    share "$arm" boolq "$FURLONG" eval choice -m "$model" --task boolq -f "$DATA/boolq.jsonl" --length 256 --count 1000 "$@"
    share "$arm" piqa "$FURLONG" eval choice -m "$model" --task piqa -f "$DATA/piqa.jsonl" --labels "$DATA/piqa.lst" --length 256 --count 1000 "$@"
    share "$arm" "arc easy" "$FURLONG" eval choice -m "$model" --task arc -f "$DATA/arc-easy.jsonl" --length 256 --count 1000 "$@"
    share "$arm" "arc challenge" "$FURLONG" eval choice -m "$model" --task arc -f "$DATA/arc-challenge.jsonl" --length 256 --count 1000 "$@"
    rouge "$arm" govreport "$DATA/govreport.jsonl" "$model" "$@"
    rouge "$arm" qmsum "$DATA/qmsum.jsonl" "$model" "$@"
}
tune methods-linear 100 1024 8 --rope-scaling linear --rope-scale 4
tune methods-none 100 1024 8 --ctx-size 1024
all untouched $MODEL
all "yarn, untuned" $MODEL --rope-scaling yarn --rope-scale 4
all "direct" "$WORK/methods-none-100"
all "pi" "$WORK/methods-linear-100"
tune methods-control 100 256 32
all control "$WORK/methods-control-100"
