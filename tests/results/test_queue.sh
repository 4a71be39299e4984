#!/bin/sh
# The queue of results in a tree of its own: order, skipping, failing, going on, and pages of what exists.
set -u
tree=$(mktemp -d) || exit 1
trap 'rm -rf "$tree"' EXIT
number=0
check() { # TEXT COMMAND...
    number=$((number + 1))
    text=$1
    shift
    if "$@" >"$tree/out" 2>&1; then
        echo "ok $number - $text"
    else
        echo "not ok $number - $text"
        sed 's/^/# /' "$tree/out" "$tree/run" 2>/dev/null
    fi
}

mkdir -p "$tree/results/one" "$tree/results/two"
cp "$FL_SOURCE/results/run.sh" "$FL_SOURCE/results/pages.sh" "$FL_SOURCE/results/flat.awk" "$tree/results/"
export FURLONG="$FL_BUILD/furlong" WORK="$tree/work"
table() { # FAMILY/NAME BODY
    printf '#!/bin/sh\n# What %s shows,\n# in two lines.\n%s\n' "$1" "$2" >"$tree/results/$1.sh"
    chmod +x "$tree/results/$1.sh"
}
ppl='{"label":"plain","protocol":"single","length":64,"tokens":63,"nll":1.5,"ppl":4.4817,"stderr":0.1}'
table one/first "echo '$ppl' >>results/one/first.jsonl"
table one/second 'cat results/one/absent'
table two/third 'echo "{\"arm\":\"a|b\",\"hits\":3,\"share\":0.123456789,\"list\":[{\"x\":1},\"]\"],\"last\":true}" >results/two/third.jsonl'
printf 'exit 1\n' >"$tree/results/two/shared.sh" # not executable: no table

"$tree/results/run.sh" >"$tree/run" 2>&1
check "a failed table fails the run" test $? -eq 1
check "but not the tables after it" test -s "$tree/results/two/third.jsonl"
check "which tells how it failed" grep -q "results/one/absent" "$tree/run"
table one/second 'cp results/two/third.jsonl results/one/second-more.jsonl'
"$tree/results/run.sh" >"$tree/run" 2>&1
check "the next run does what is left" test $? -eq 0
check "and leaves what is made" test "$(wc -l <"$tree/results/one/first.jsonl")" -eq 1
check "as it says" grep -q "one/first: made already" "$tree/run"
"$tree/results/run.sh" 'two/*' >"$tree/run" 2>&1
check "a pattern chooses tables" sh -c "! grep -q one/first '$tree/run' && grep -q two/third '$tree/run'"
"$tree/results/run.sh" 'three/*' >"$tree/run" 2>&1
check "a pattern without a table is wrong usage" test $? -eq 2
rm "$tree/results/two/third.run"
check "pages are written" "$tree/results/pages.sh"
check "with perplexity by length" grep -q "^plain  *4.48" "$tree/docs/results/one.md"
check "the description and the origin" sh -c "grep -q '^What one/first shows,' '$tree/docs/results/one.md' &&
    grep -q 'Made by \[results/one/first.sh\].* at commit' '$tree/docs/results/one.md'"
check "other lines as a table" grep -q '^| a\\|b | 3 | 0.12346 | true |$' "$tree/docs/results/two.md"
check "and what is not finished" grep -q "rows may be missing" "$tree/docs/results/two.md"

# The script's own child must end with it.
table one/slow 'echo $$ >results/one/pid; sleep 61 & wait'
"$tree/results/run.sh" one/slow >"$tree/run" 2>&1 &
runner=$!
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    [ -s "$tree/results/one/pid" ] && break
    sleep 0.5
done
kill -TERM $runner
wait $runner
check "a stopped run says so" test $? -eq 130
# A process that was told to end is gone a moment later on a busy machine.
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    kill -s 0 -- "-$(cat "$tree/results/one/pid")" 2>/dev/null || break
    sleep 0.5
done
check "and leaves no process behind" sh -c "! kill -s 0 -- -$(cat "$tree/results/one/pid") 2>/dev/null"
echo "1..$number"
