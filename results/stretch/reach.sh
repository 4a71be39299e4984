#!/bin/sh
# Position Interpolation to 2, 8, 16 and 32 times the window, direct tuning at 8 and 32 times, beside a control tuned at the old
# window with as many tokens: steps of 8192 tokens of books (rate 5e-4), 100 up to 2048 tokens, 40 beyond, where steps
# cost most. nll of the same 48 blocks of 128 tokens, in nats, read with 256 tokens and with the arm's own window, the gain
# of the longer one with its interval (bootstrap over documents), in how many of the 6 held-out books it is above 0.
# A shorter window is read as the end of one of 8192.
# reach-far.jsonl: the gain of the arm's window over 256 on its own blocks, with the context beyond 256 tokens as it
# is, of another book, and in random order. reach-passkey.jsonl: keys at 32 distances in texts of the arm's window.
# Seen on one seed: extrapolation to 32 windows costs 1.3 nat, and tuned interpolation is flat over its window at every factor, as
# published, at a price that grows with it (0.01 nat at 2, 0.55 at 32 after 40 steps). Not replicated: that reading more gains (0.004
# nat at most, for base-s uses little beyond 128 tokens), that interpolation beats the control by 0.02 nat (it is above it everywhere), and
# that direct tuning lags behind (it is ahead at 4, 8 and 32, where its own window still loses 0.08 nat). The far context is read all the same: of another book it costs 0.03 nat.
# No arm keeps keys but the control.
RATE=5e-4
. "$(dirname "$0")/arms.sh"
table=results/stretch/reach.jsonl far=results/stretch/reach-far.jsonl keys=results/stretch/reach-passkey.jsonl
BLOCKS=${BLOCKS:-8} TRIALS=${TRIALS:-1}

gains() { # TABLE LABEL ROW MODEL LENGTHS FLAGS...: nll at the first and the last length and what the last one gains
    to=$1 label=$2 row=$3 judged=$4 contexts=$5
    shift 5
    [ -f "$to" ] && grep -q "\"label\":\"$label\",$row" "$to" && return
    "$FURLONG" eval ppl -m "$judged" -f $BOOKS --protocol matched --lengths "$contexts" --score 128 --blocks "$BLOCKS" \
        --seed 1 -t "$THREADS" --overflow extend --json "$@" | tr -d ' \n' | tr '{}' '\n\n' |
        sed 's/"interval":\[[^]]*\],//; s/"gain_interval":\[\([^],]*\),\([^]]*\)\]/"low":\1,"high":\2/' | tr ',' '\n' |
        awk -F: -v label="$label" -v row="$row" '
        $1 == "\"length\"" { n++; inside = 1 } $1 == "\"per_document\"" || $1 == "\"document\"" { inside = 0 }
        $1 == "\"nll\"" && inside { nll[n] = $2 }
        $1 == "\"gain\"" { gain = $2 } $1 == "\"low\"" { low = $2 } $1 == "\"high\"" { high = $2 }
        $1 == "\"gain_documents\"" { above = $2 }
        END { if (n < 1) exit 1
              printf "{\"label\":\"%s\",%s,\"nll at 256\":%.3f,\"nll at the window\":%.3f,\"gain\":\"%.3f (%.3f to %.3f)\",\"books\":%d}\n",
                  label, row, nll[1], nll[n], gain, low, high, above }' >>"$to"
}
arm() { # LABEL STEPS WINDOW MODEL FLAGS...
    label=$1 steps=$2 window=$3 read=$4
    shift 4
    row="\"steps\":$steps,\"window\":$window"
    if [ "$window" = 8192 ]; then
        gains $table "$label" "$row" "$read" 256,8192 "$@"
    else
        gains $table "$label" "$row" "$read" 256,8192 --far drop --near "$window" "$@"
    fi
    passkeys $keys "$label" "$read" "$window" "$@"
}
tune methods-linear 100 1024 8 --rope-scaling linear --rope-scale 4
tune methods-none 100 1024 8 --ctx-size 1024
tune methods-control 100 256 32
arm control 100 256 "$WORK/methods-control-100"
arm "pi 4" 100 1024 "$WORK/methods-linear-100"
arm "direct 4" 100 1024 "$WORK/methods-none-100"
for control in keep other shuffle; do
    gains $far "pi 4" "\"far\":\"$control\"" "$WORK/methods-linear-100" 256,1024 --far $control
    gains $far "direct 4" "\"far\":\"$control\"" "$WORK/methods-none-100" 256,1024 --far $control
done
for factor in 2 8 16 32; do
    window=$((WINDOW * factor)) steps=100
    [ $factor -le 8 ] || steps=40
    tune reach-pi-$factor $steps $window $((8192 / window)) --rope-scaling linear --rope-scale $factor
    arm "pi $factor" $steps $window "$WORK/reach-pi-$factor-$steps"
    [ $factor = 8 ] || continue
    tune reach-direct-8 100 2048 4 --ctx-size 2048
    arm "direct 8" 100 2048 "$WORK/reach-direct-8-100"
done
for control in keep other shuffle; do
    gains $far "pi 32" "\"far\":\"$control\"" "$WORK/reach-pi-32-40" 256,8192 --far $control
done
gains $table untouched '"steps":0,"window":8192' $MODEL 256,8192
gains $table "pi 32" '"steps":0,"window":8192' $MODEL 256,8192 --rope-scaling linear --rope-scale 32
tune reach-direct-32 40 8192 1 --ctx-size 8192
arm "direct 32" 40 8192 "$WORK/reach-direct-32-40"
