#!/bin/sh
# The main job on the bundled model, whose window is 256 tokens: plan a window of 1024, stretch it by YaRN, and by Position
# Interpolation with 60 steps of tuning beside direct tuning, and measure what came of it: perplexity by length, keys found, a picture.
set -eu
cd "$(dirname "$0")/.."
furlong=${FURLONG:-build/furlong}
model=models/base-m
texts=models/base-s
books=$texts/books.jsonl.zst
out=build/demo

rm -rf "$out"
mkdir -p "$out"

step() { printf '\n== %s\n\n' "$1"; }
tune() { # name, flags...
    name=$1
    shift
    "$furlong" train -m $model -f $texts/tune.jsonl.zst --length 1024 --batch 4 --steps 60 --lr 5e-4 --warmup 6 --seed 1 \
        -o "$out/$name" --log "$out/$name.jsonl" "$@" >/dev/null
}
evaluate() { # label, model, flags...
    label=$1 evaluated=$2
    shift 2
    echo "$label ..."
    "$furlong" eval ppl -m "$evaluated" -f $books --protocol matched --lengths 256,512,1024,2048 --score 128 --blocks 4 --seed 1 \
        --overflow extend --label "$label" --out "$out/results.jsonl" "$@" >/dev/null
}
keys() { # label, model, flags...
    label=$1 asked=$2
    shift 2
    found=$("$furlong" eval passkey -m "$asked" --length 1024 --distances 16 --trials 5 --seed 1 --overflow extend "$@" |
        tail -1)
    printf '%-26s %s\n' "$label" "${found#*hits: }"
}

step "A model of 6.9 million parameters, trained on 256 tokens"
"$furlong" generate -m $model -p "The old man looked at the sea and" -n 80 --temp 0.7 --seed 3
echo

step "What would a window of 1024 tokens take?"
"$furlong" plan -m $model --to 1024

step "Stretching by YaRN, which needs no tuning at this factor"
"$furlong" extend -m $model --rope-scaling yarn --to 1024 -o "$out/yarn"

step "Tuning for 60 steps of 4096 tokens, with positions as they are and interpolated"
tune direct --ctx-size 1024
tune interpolated --rope-scaling linear --rope-scale 4

step "Reading the same held-out tokens with more and more context"
evaluate "as it is" $model
evaluate "tuned directly" "$out/direct"
evaluate "interpolated, untuned" $model --rope-scaling linear --rope-scale 4
evaluate "interpolated, 60 steps" "$out/interpolated"
evaluate "yarn, untuned" "$out/yarn"
evaluate "self-extend, untuned" $model --grp-attn-n 8 --grp-attn-w 64
"$furlong" report "$out/results.jsonl" --svg "$out/perplexity.svg" --window 256 \
    --title "base-m: the same tokens read with more context"

step "A key hidden in 1024 tokens: k_max, up to which distance from the end 20 % of them are found"
keys "as it is" $model
keys "tuned directly" "$out/direct"
keys "interpolated, 60 steps" "$out/interpolated"
keys "yarn, untuned" "$out/yarn"
keys "self-extend, untuned" $model --grp-attn-n 8 --grp-attn-w 64

printf '\nThe picture: %s\nThe model:   %s (a Hugging Face folder; its config carries the stretched positions)\n' \
    "$out/perplexity.svg" "$out/yarn"
