#!/bin/sh
# Properties of pre-training: models of base-s's shape from the same random weights, trained from nothing on the same 0.6
# million tokens of books (300 steps of 8 windows of 256 at 1e-3, the same order), which differ in their positions alone; learned
# positions are a GPT-2 of the same width and depth. Perplexity of the same 32 tokens of held-out books by length of context, inside the
# window of 256 and beyond it. xpos reads in blocks (BCA) by itself; "rotary, bca" is rotary read in blocks of 256. None is a
# switch on a rotary checkpoint: furlong refuses that by name.
# Seen on one seed, weakly trained (base-s read 39.2 million tokens): ALiBi learns fastest and stays as flat as possible to eight windows; xPos in
# blocks stays flat as published, but rotary in blocks does so too, so the blocks do it and not the decay; no positions at all lose
# nothing inside nor beyond; rotary rises from two windows on, log-n in training less than half as much; sinusoidal falls apart at
# once (and learns slowest). Learned positions have none beyond the window and are refused there; their targets end earlier, so that this
# row compares along itself only.
. "$(dirname "$0")/arms.sh"
table=results/stretch/positions.jsonl lengths=64,128,256,512,1024,2048 BLOCKS=${BLOCKS:-20} STEPS=${STEPS:-300}
words=$MODEL/tokenizer.model

scratch() { # NAME TYPE FLAGS...: pre-train; the configuration is base-s's with the positions named
    name=positions-$1 type=$2
    shift 2
    [ -f "$WORK/$name/config.json" ] && return
    mkdir -p "$WORK/$name-init"
    if [ "$type" = learned ]; then
        cat >"$WORK/$name-init.json" <<EOF
{"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "vocab_size": 4096, "n_embd": 128, "n_layer": 6, "n_head": 2,
 "n_inner": 512, "n_positions": 256, "n_ctx": 256, "layer_norm_epsilon": 1e-5, "activation_function": "gelu_new",
 "initializer_range": 0.06, "tie_word_embeddings": true, "bos_token_id": 1, "eos_token_id": 2}
EOF
    else
        case $type in rotary | xpos) without='rope_scaling' ;; *) without='rope_scaling\|rope_theta' ;; esac
        sed "s/\"model_type\": \"llama\"/\"model_type\": \"furlong_llama\", \"position_embedding_type\": \"$type\", \"initializer_range\": 0.06/; /rope_parameters/,/}/d; /$without/d; s/LlamaForCausalLM/FurlongLlamaForCausalLM/" \
            $MODEL/config.json >"$WORK/$name-init.json"
    fi
    "$FURLONG" init --config "$WORK/$name-init.json" -o "$WORK/$name-init" --seed 1
    "$FURLONG" train -m "$WORK/$name-init" --tokenizer $words -f $TUNE -o "$WORK/$name" --length $WINDOW --batch 8 \
        --steps "$STEPS" --lr 1e-3 --warmup 50 --schedule cosine --lr-end 0.1 --beta2 0.98 --seed 1 -t "$THREADS" \
        --log "$WORK/$name.jsonl" --state "$WORK/$name.state" --save-every 100 --resume "$@"
}
for type in rotary alibi xpos sinusoidal none; do
    scratch $type $type
    judge $table $type "$WORK/positions-$type" $BOOKS $lengths --tokenizer $words
done
judge $table "rotary, bca" "$WORK/positions-rotary" $BOOKS $lengths --tokenizer $words --blockwise 256
scratch logn rotary --logn everywhere
judge $table "rotary, log-n in training" "$WORK/positions-logn" $BOOKS $lengths --tokenizer $words
scratch learned learned
judge $table learned "$WORK/positions-learned" $BOOKS 64,128,256 --tokenizer $words --overflow error
