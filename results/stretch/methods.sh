#!/bin/sh
# Methods at four times the window on one model and the same tokens: perplexity by length of context and keys found,
# untuned and after 100 steps of 8192 tokens on books (rate 5e-4, half of what the model was trained with: one fifteenth
# moves a model of this size too little).
# Seen on one seed: untuned, interpolation keeps its loss flat and loses every key, also inside the window; YaRN is flat and finds most;
# Self-Extend finds all at no cost inside the window; streaming is flat and finds what its cache holds alone. Tuning on books, which
# ask for nothing, lowers losses everywhere and costs keys. LongRoPE's factors are searched on the tuning books (168 lists); untuned and
# tuned it is on a par with YaRN. (Rows up to "base, tuned" by build fb9fb89, the five after them by 71cf262, LongRoPE and babble by 9d17460.)
# methods-babble.jsonl: 12 greedy continuations of 256 tokens behind 256 of held-out books: the share of different n-grams, how many
# end in a loop, and nll by the same arm in windows of 256 tokens, beside the text that really follows.
# Searched factors are as good as YaRN's, not better. All arms babble alike: greedy writing of a model of this size repeats itself with any method
# (distinct-2 of 0.06 to 0.17 where the text has 0.93), most of all after tuning on books, so that this measure tells methods apart by
# nothing. (To "base, tuned" by build fb9fb89, the next five by 71cf262, LongRoPE and all babble by 9d17460; LongRoPE is not tuned yet.)
RATE=5e-4
. "$(dirname "$0")/arms.sh"
table=results/stretch/methods.jsonl keys=results/stretch/methods-passkey.jsonl lengths=64,256,512,1024,2048
babble=results/stretch/methods-babble.jsonl

writes() { # LABEL MODEL FLAGS...
    label=$1 read=$2
    shift 2
    [ -f $babble ] && grep -q "\"label\":\"$label\"" $babble && return
    "$FURLONG" eval babble -m "$read" -f $BOOKS --count 12 -n 256 --prompt-tokens $WINDOW --near $WINDOW --seed 1 -t "$THREADS" \
        --overflow extend --json "$@" | tr -d ' \n' | sed 's/\[\([^,]*\),\([^,]*\),[^,]*,\([^]]*\)\]/\1 \2 \3/g' | tr '{,}' '\n\n\n' |
        awk -F: -v label="$label" '
        { at[$1] = $2 }
        function row(name, distinct, nll, loops) {
            split(at[distinct], d, " ")
            printf "{\"label\":\"%s\",\"distinct-1\":%.3f,\"distinct-2\":%.3f,\"distinct-4\":%.3f,\"nll in window\":%.3f,\"loops\":\"%s\"}\n",
                name, d[1], d[2], d[3], at[nll], loops }
        END { if (at["\"items\""] + 0 == 0) exit 1
              if (label == "none") row("the text", "\"text_distinct\"", "\"text_nll\"", "-")
              row(label, "\"distinct\"", "\"nll\"", sprintf("%.2f", at["\"looping\""])) }' >>$babble
}
both() { # LABEL MODEL FLAGS...
    arm=$1 which=$2
    shift 2
    judge $table "$arm" "$which" $BOOKS $lengths "$@"
    passkeys $keys "$arm" "$which" 256 "$@"
    passkeys $keys "$arm" "$which" 1024 "$@"
    writes "$arm" "$which" "$@"
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
factors=$WORK/longrope.json
[ -f "$factors" ] || {
    "$FURLONG" search -m $MODEL -f $TUNE --to 1024 --population 24 --rounds 12 --samples 4 -s 1 -t "$THREADS" -o "$factors.new"
    mv "$factors.new" "$factors"
}
both "longrope" $MODEL --longrope-factors "$factors"
tuned longrope --longrope-factors "$factors"
