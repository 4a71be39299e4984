#!/bin/sh
# Does the scaling law of RoPE extrapolation predict the window? The base is changed, the model tuned at one window or
# four, and the window measured. Predictions are written before anything is trained.
. "$(dirname "$0")/arms.sh"
table=results/stretch/law.jsonl
STEPS=${STEPS:-100}
bases="41 163 1000 10000 50000 400000 4000000 100000000"
for tuned in 256 1024; do
    for base in $bases; do
        plan=results/stretch/law-$base-$tuned.plan.json
        [ -f $plan ] || "$FURLONG" plan --head-dim 64 --window $WINDOW --base $base --to 4096 --tune-length $tuned --json >$plan
    done
done
for tuned in 256 1024; do
    for base in $bases; do
        tune law-$base-$tuned $STEPS $tuned $((4096 / tuned)) --rope-freq-base $base --ctx-size $tuned
        judge $table "$base at $tuned" "$WORK/law-$base-$tuned-$STEPS" $BOOKS 64,128,256,512,1024,2048,4096
    done
done
