#!/bin/sh
# The methods on the larger model, base-m: perplexity of the same 32 tokens of held-out books by length of context, and keys found in
# texts of the old window and of four times that, untuned and after 60 steps of 8192 tokens of books (rate 5e-4).
# larger-windows.jsonl: the scaling law's bases 10000, 50000 and 1e6, tuned 60 steps of 4096 tokens at the old window, and the
# window measured as in law.sh.
# Seen on one seed: untuned YaRN reads 1024 tokens as well as the old window is read and finds 60 of 64 keys, Self-Extend the same and 55.
# Interpolation finds none, tuned or not, as on base-s, and direct tuning is ahead of it at every length, which the papers
# do not say; its keys hold inside the old window alone. Predicted windows 256, 509 and 1721, measured 308, 678 and 2690: in the right order,
# reaching 1.2 to 1.6 times further.
RATE=5e-4 MODEL=models/base-m
. "$(dirname "$0")/arms.sh"
table=results/stretch/larger.jsonl keys=results/stretch/larger-passkey.jsonl windows=results/stretch/larger-windows.jsonl
lengths=64,256,512,1024,2048 BLOCKS=${BLOCKS:-20} TRIALS=${TRIALS:-2}
[ -f $MODEL/config.json ] || { echo "$MODEL is missing" >&2; exit 2; }

both() { # LABEL MODEL FLAGS...
    arm=$1 which=$2
    shift 2
    judge $table "$arm" "$which" $BOOKS $lengths "$@"
    passkeys $keys "$arm" "$which" 256 "$@"
    passkeys $keys "$arm" "$which" 1024 "$@"
}
both untouched $MODEL
both "yarn" $MODEL --rope-scaling yarn --rope-scale 4
both "dynamic-yarn" $MODEL --rope-scaling dynamic-yarn --rope-scale 4
both "self-extend" $MODEL --grp-attn-n 8 --grp-attn-w 64
both "pi" $MODEL --rope-scaling linear --rope-scale 4
tune larger-pi 60 1024 8 --rope-scaling linear --rope-scale 4
both "pi, tuned" "$WORK/larger-pi-60"
tune larger-direct 60 1024 8 --ctx-size 1024
both "direct, tuned" "$WORK/larger-direct-60"
rm -f $windows
for base in 10000 50000 1000000; do
    tune larger-law-$base 60 256 16 --rope-freq-base $base
    judge $table "base $base" "$WORK/larger-law-$base-60" $BOOKS 256,512,1024,2048,4096
    printf '{"base":%d,"law":%.0f,"measured":"%s"}\n' $base \
        "$(awk -v base=$base 'BEGIN { print (base > 10000 ? 8 * atan2(1, 1) * exp(log(base) * 26 / 64) : 256) }')" \
        "$(window $table "base $base" $WINDOW 0.1)" >>$windows
done
