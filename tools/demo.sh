#!/bin/sh
# The main job on the bundled model: a story; perplexity by length past the trained window of 512 tokens for plain
# extrapolation, Position Interpolation untuned, and after a short tuning; a table and a picture.
set -eu
cd "$(dirname "$0")/.."
furlong=${FURLONG:-build/furlong}
model=models/stories260K/stories260K.bin
held_out=models/stories260K/sample-stories.txt
out=build/demo
lengths=256,512,1024,2048

rm -rf "$out"
mkdir -p "$out"

step() { printf '\n== %s\n\n' "$1"; }
evaluate() { # label, model, flags...
    label=$1 evaluated=$2
    shift 2
    "$furlong" eval ppl -m "$evaluated" -f $held_out \
        --protocol matched --lengths $lengths --score 128 --blocks 24 --seed 1 --label "$label" \
        --out "$out/results.jsonl" "$@" >/dev/null
}

step "A story by a model of 260 thousand parameters"
"$furlong" generate -m $model -p "Once upon a time" -n 150 --temp 0.7 --seed 4
echo

step "Reading past the trained window of 512 tokens"
echo "plain extrapolation ..."
evaluate "plain extrapolation" $model
echo "Position Interpolation by 4, untuned ..."
evaluate "interpolation, untuned" $model --rope-scaling linear --rope-scale 4
echo "Position Interpolation by 4, tuned for 60 steps of 4096 tokens ..."
"$furlong" train -m $model --rope-scaling linear --rope-scale 4 --data models/stories260K/tune-stories.txt --length 2048 \
    --batch 2 --steps 60 --lr 1e-3 --warmup 6 --seed 1 -o "$out/stretched" --log "$out/train.jsonl" >/dev/null
evaluate "interpolation, 60 steps" "$out/stretched"

step "Perplexity of the same held-out tokens, by length of the context they are read with"
"$furlong" report "$out/results.jsonl" --svg "$out/perplexity.svg" --window 512 \
    --title "stories260K: the same tokens read with more context"
printf '\nThe picture: %s\nThe model:   %s (a Hugging Face folder; its config carries the stretched positions)\n' \
    "$out/perplexity.svg" "$out/stretched"
