#!/bin/sh
# Full causal attention over 131072 tokens of one book by a model of window 256: no window, no sinks, only positions
# changed. Loss by position and accuracy for a large base (tuned 100 steps at 1024 by law.sh) and for YaRN by 512, untuned, and apart
# from them StreamingLLM, which keeps 256 tokens.
RATE=5e-4
. "$(dirname "$0")/arms.sh"
LENGTH=${LENGTH:-131072}
bins() { # LABEL MODEL FLAGS...
    label=$1 read=$2
    shift 2
    to=results/stretch/million.jsonl
    [ -f $to ] && grep -q "\"label\":\"$label\"" $to && return
    "$FURLONG" eval position -m "$read" -f $BOOKS --length $LENGTH --bins 8 --windows 1 --seed 1 -t "$THREADS" \
        --overflow extend --json "$@" | tr -d ' ,' | awk -F: -v label="$label" '
        $1 == "\"end\"" { end = $2 } $1 == "\"nll\"" { row = row sprintf(",\"nll to %d\":%.3f", end, $2) }
        $1 == "\"cumulative_accuracy\"" { accuracy = $2 }
        END { if (row == "") exit 1; printf "{\"label\":\"%s\"%s,\"accuracy\":%.4f}\n", label, row, accuracy }' >>$to
}
bins "stream (256 tokens kept)" $MODEL --overflow stream --sinks 4 --window 252
bins "base 1e8" "$WORK/law-100000000-1024-100"
bins "yarn by 512" $MODEL --rope-scaling yarn --rope-scale 512
