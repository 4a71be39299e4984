#!/bin/sh
# Three seeds of the order of the data: interpolation and direct tuning at four times the window, 100 steps of 8192 tokens of
# books at 5e-4 (seed 1 is methods.sh's). nll of the same tokens of held-out books at 256, 1024 and 2048 tokens of context;
# the last rows are mean and sample standard deviation over the seeds. base-s itself was trained once.
# Seen: direct tuning is ahead of interpolation at every length by at least 4 times the spread between seeds.
RATE=5e-4
. "$(dirname "$0")/arms.sh"
table=results/stretch/seeds.jsonl spread=results/stretch/seeds-spread.jsonl lengths=256,1024,2048
for seed in 1 2 3; do
    for arm in linear none; do
        case $arm in
        linear) flags="--rope-scaling linear --rope-scale 4" label="pi, seed $seed" ;;
        none) flags="--ctx-size 1024" label="direct, seed $seed" ;;
        esac
        name=methods-$arm
        [ $seed = 1 ] || name=seeds-$arm-$seed
        # shellcheck disable=SC2086
        tune $name 100 1024 8 $flags --seed $seed
        judge $table "$label" "$WORK/$name-100" $BOOKS $lengths
    done
done
rm -f $spread
for arm in pi direct; do
    grep "\"label\":\"$arm, " $table | tr -d '{}"' | tr ',' '\n' | awk -F: -v arm="$arm" '
        $1 == "length" { at = $2 } $1 == "nll" { n[at]++; sum[at] += $2; square[at] += $2 * $2; if (n[at] == 1) order[++k] = at }
        END { printf "{\"arm\":\"%s\",\"seeds\":%d", arm, n[order[1]]
              for (i = 1; i <= k; i++) { l = order[i]; m = sum[l] / n[l]; v = square[l] / n[l] - m * m
                  printf ",\"nll at %d\":\"%.4f (sd %.4f)\"", l, m, sqrt((v > 0 ? v : 0) * n[l] / (n[l] - 1)) }
              print "}" }' >>$spread
done
