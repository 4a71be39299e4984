#!/bin/sh
# Methods at four times the window on one model and the same tokens: perplexity by length of context and keys found,
# untuned and after 100 steps of 8192 tokens on books (rate 5e-4, half of what the model was trained with: one fifteenth
# moves a model of this size too little).
# Seen on one seed: untuned, interpolation keeps its loss flat and loses every key, also inside the window; YaRN is flat and finds most;
# Self-Extend finds all at no cost inside the window; streaming is flat and finds what its cache holds alone. Tuning on books, which
# ask for nothing, lowers losses everywhere and costs keys.
RATE=5e-4
. "$(dirname "$0")/arms.sh"
table=results/stretch/methods.jsonl keys=results/stretch/methods-passkey.jsonl lengths=64,256,512,1024,2048

both() { # LABEL MODEL FLAGS...
    arm=$1 which=$2
    shift 2
    judge $table "$arm" "$which" $BOOKS $lengths "$@"
    passkeys $keys "$arm" "$which" 256 "$@"
    passkeys $keys "$arm" "$which" 1024 "$@"
}
tuned() { # NAME FLAGS...
    method=$1
    shift
    tune methods-$method 100 1024 8 "$@"
    both "$method, tuned" "$WORK/methods-$method-100"
}

both "none" $MODEL
both "linear" $MODEL --rope-scaling linear --rope-scale 4
both "yarn" $MODEL --rope-scaling yarn --rope-scale 4
both "ntk" $MODEL --rope-scaling ntk --rope-scale 4
both "ntk 25" $MODEL --rope-scaling ntk --rope-scale 25
both "llama3" $MODEL --rope-scaling llama3 --rope-scale 4
both "dynamic" $MODEL --rope-scaling dynamic --rope-scale 4
tuned none --ctx-size 1024
tuned linear --rope-scaling linear --rope-scale 4
tuned yarn --rope-scaling yarn --rope-scale 4
tuned ntk --rope-scaling ntk --rope-scale 4
tuned base --rope-freq-base 278752 --ctx-size 1024
both "dynamic-yarn" $MODEL --rope-scaling dynamic-yarn --rope-scale 4
both "self-extend" $MODEL --grp-attn-n 8 --grp-attn-w 64
both "rerope" $MODEL --rope-scaling rerope
both "dual-chunk" $MODEL --rope-scaling dual-chunk
both "stream" $MODEL --overflow stream --sinks 4 --window 252
