#!/bin/sh
# Training steps of furlong beside PyTorch's, in turn, fp32, AdamW, random weights and ids: a table in Markdown, with
# medians, peak resident memory, what PyTorch did best with, and the ratio of each pair from lowest to highest.
#
#   bench/training.sh table                                   every row that has a target
#   bench/training.sh SHAPE BATCH LENGTH [SHAPE BATCH LENGTH]...
#
# Shapes: a, a llama of 15.2M with tied head (width 288, 6 layers, 6 heads of 48); gpt2, of 124M. From the environment:
#   PYTHON         a Python with torch (python3); "none" measures furlong alone
#   TORCH_PRELOAD  a library that PyTorch is started with, such as an allocator, or what makes its products take AVX-512
#   TORCH_TRY      words after STEPS of train_torch.py, one set a line (none, which is fused attention; plain)
#   BUILD          folder of furlong and bench_train (build)
#   PAIRS          3;  STEPS  by size;  THREADS  2
set -eu
here=$(cd "$(dirname "$0")" && pwd)
build=${BUILD:-$here/../build}
export OMP_NUM_THREADS="${THREADS:-2}"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM

usage() {
    sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" >&2
    exit 2
}

cat >"$folder/a.json" <<'CONFIG'
{"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 288, "num_hidden_layers": 6,
 "num_attention_heads": 6, "num_key_value_heads": 6, "intermediate_size": 768, "vocab_size": 32000,
 "max_position_embeddings": 16384, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true,
 "hidden_act": "silu", "bos_token_id": 1, "eos_token_id": 2}
CONFIG
cat >"$folder/gpt2.json" <<'CONFIG'
{"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "n_embd": 768, "n_layer": 12, "n_head": 12,
 "n_positions": 1024, "vocab_size": 50257, "layer_norm_epsilon": 1e-5, "activation_function": "gelu_new",
 "bos_token_id": 50256, "eos_token_id": 50256}
CONFIG

asked() { # SHAPE BATCH LENGTH
    case "$*" in
    'a 8 256') echo 1.6 ;;
    'a 4 1024') echo 1.7 ;;
    'a 1 4096') echo 2.5 ;;
    'gpt2 1 1024') echo 1.4 ;;
    'gpt2 4 1024') echo 1.6 ;;
    esac
}

steps_of() { # SHAPE BATCH LENGTH
    if [ -n "${STEPS:-}" ]; then
        echo "$STEPS"
    elif [ "$1 $2" = 'gpt2 4' ]; then
        echo 1
    elif [ "$1" = gpt2 ] || [ "$3" -gt 2048 ]; then
        echo 2
    else
        echo 4
    fi
}

# "SPEED MEMORY" of either program, whose lines end in "N tokens/s, peak resident M MB".
figures() {
    "$@" | sed -n 's|.* \([0-9]*\) tokens/s, peak resident \([0-9]*\) MB$|\1 \2|p'
}

# PyTorch with each set of words, each as the C library allocates by itself and with room that is kept between steps.
ways() { # MODEL BATCH LENGTH STEPS
    kept='MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=18000000000 MALLOC_TOP_PAD_=536870912'
    # A line of no words is a set, too.
    printf '%s\n' "${TORCH_TRY-
plain}" | while read -r words; do
        for settings in '' "$kept"; do
            echo "$0 figures env $settings ${TORCH_PRELOAD:+LD_PRELOAD=$TORCH_PRELOAD} ${PYTHON:-python3} $here/train_torch.py $* $words"
        done
    done
}

row() { # SHAPE BATCH LENGTH
    model=$folder/$1
    [ -e "$model" ] || "$build/furlong" init --config "$model.json" -o "$model" >/dev/null
    steps=$(steps_of "$@")
    ours="$0 figures $build/bench_train $model $2 $3 $steps $OMP_NUM_THREADS"
    title="($1) $2 x $3"
    if [ "${PYTHON:-}" = none ]; then
        sh -c "$ours" | awk -v title="$title" '{ printf "| %s | %s | %s | | | | |\n", title, $1, $2 }'
        return
    fi
    theirs=$(ways "$model" "$2" "$3" "$steps")
    "$here/in-turn.sh" "${PAIRS:-3}" "$ours" "$theirs" speed +memory >"$folder/turns"
    theirs=$theirs awk -v title="$title" -v asked="$(asked "$@")" -v pairs="${PAIRS:-3}" '
        BEGIN { split(ENVIRON["theirs"], ways, "\n") }
        { middle[$1 $2] = $5 }
        $1 $2 == "speedB" {
            way = (ways[$3] ~ / plain/ ? "plain" : "fused") (ways[$3] ~ / compile/ ? ", compiled" : "") \
                  (ways[$3] ~ /MALLOC/ ? ", memory kept" : "")
        }
        $1 $2 == "speedA/B" { ratio = sprintf("**%.2f** (%.2f to %.2f, %d)", $5, $7, $9, pairs) }
        END {
            printf "| %s | %.0f | %.0f | %.0f (%s) | %.0f | %s | %s |\n", title, middle["speedA"], middle["memoryA"],
                   middle["speedB"], way, middle["memoryB"], ratio, asked
        }' "$folder/turns"
}

rows() {
    [ $(($# % 3)) -eq 0 ] || usage
    echo '| step | furlong, tokens/s | peak, MB | PyTorch, tokens/s (way) | peak, MB | ratio (pairs) | asked |'
    echo '|---|---|---|---|---|---|---|'
    while [ $# -gt 0 ]; do
        row "$1" "$2" "$3"
        shift 3
    done
}

case ${1:-} in
figures) "$@" ;; # what in-turn.sh calls
table)
    rows a 8 256 a 4 1024 a 1 4096 gpt2 1 1024 gpt2 4 1024
    PYTHON=none STEPS=1 row a 1 16384
    ;;
a | gpt2) rows "$@" ;;
*) usage ;;
esac
