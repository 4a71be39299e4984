#!/bin/sh
# Is it full attention? One token of a book, at position 121, is changed, and the loss of the last 64 of 32768 tokens is
# compared, to the last digit: with full causal attention (base 1e8, tuned 100 steps at 1024 by law.sh) it changes, with
# StreamingLLM, which has forgotten the token, not a bit does. "differs from" is the first and "to" the last position of ranges
# of 64 tokens whose loss differs. Each of 6 layers of a stream hands a token on by at most 252 places: 121 + 6 * 252 = 1633.
RATE=5e-4
. "$(dirname "$0")/arms.sh"
LENGTH=${LENGTH:-32768}
text=$WORK/proof to=results/stretch/million-proof.jsonl
mkdir -p "$text"
zstd -dcq $BOOKS | sed -n 2p >"$text/as it is.jsonl"
sed 's/opportunity to thank/opportunity to tell/' "$text/as it is.jsonl" >"$text/changed.jsonl"

losses() { # FILE MODEL FLAGS...
    file=$1 read=$2
    shift 2
    "$FURLONG" eval position -m "$read" -f "$file" --length "$LENGTH" --bins $((LENGTH / 64)) --windows 1 --seed 1 \
        -t "$THREADS" --overflow extend --json "$@" | tr -d ' ,' | awk -F: '$1 == "\"end\"" { end = $2 } $1 == "\"nll\"" { print end, $2 }'
}
proof() { # LABEL MODEL FLAGS...
    label=$1 model=$2
    shift 2
    [ -f $to ] && grep -q "\"label\":\"$label\"" $to && return
    losses "$text/as it is.jsonl" "$model" "$@" >"$text/a"
    losses "$text/changed.jsonl" "$model" "$@" >"$text/b"
    paste -d ' ' "$text/a" "$text/b" | awk -v label="$label" '
        $2 "" != $4 "" { if (!first) first = $1 - 64; last = $1 } { end = $1; was = $2; is = $4 }
        END { if (!end) exit 1
              printf "{\"label\":\"%s\",\"tokens\":%d,\"differs from\":%d,\"to\":%d,\"last 64 as they are\":\"%s\",\"changed\":\"%s\"}\n",
                  label, end, first, last, was, is }' >>$to
}
proof "stream (256 tokens kept)" $MODEL --overflow stream --sinks 4 --window 252
proof "full attention, base 1e8" "$WORK/law-100000000-1024-100"
