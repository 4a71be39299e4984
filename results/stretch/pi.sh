#!/bin/sh
# Position Interpolation beside direct fine-tuning at four times the window, after 0 to 200 steps of 8192 tokens on
# books the model has not seen, with a control tuned as long at the old window. Perplexity of the same tokens by length
# of context, on books and on technical text, and how far back a key is found.
# Seen on one seed: interpolation is flat to four windows at once and falls with tuning, as published; that direct tuning lags behind
# is not replicated at this size (it is ahead from 100 steps on), nor does any arm find keys in 1024 tokens.
. "$(dirname "$0")/arms.sh"
table=results/stretch/pi.jsonl keys=results/stretch/pi-passkey.jsonl tech=results/stretch/pi-tech.jsonl
inside=256,1024 lengths=64,256,512,1024,2048

judge $table "untouched" $MODEL $BOOKS $lengths
judge $table "pi 0" $MODEL $BOOKS $lengths --rope-scaling linear --rope-scale 4
passkeys $keys "untouched" $MODEL 1024
passkeys $keys "pi 0" $MODEL 1024 --rope-scaling linear --rope-scale 4
for steps in 10 30 100 200; do
    [ $steps = 200 ] && inside=$lengths
    for arm in pi direct control; do
        case $arm in
        control) tune control $steps 256 32 ;;
        direct) tune direct $steps 1024 8 --ctx-size 1024 ;;
        pi) tune pi $steps 1024 8 --rope-scaling linear --rope-scale 4 ;;
        esac
        judge $table "$arm $steps" "$WORK/$arm-$steps" $BOOKS $inside
        passkeys $keys "$arm $steps" "$WORK/$arm-$steps" 1024
    done
done
judge $tech "untouched" $MODEL $TECH $lengths
for arm in pi direct control; do
    judge $tech "$arm 200" "$WORK/$arm-200" $TECH $lengths
done
