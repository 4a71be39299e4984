#!/bin/sh
# results/run.sh [PATTERN...]: make the tables whose family/name matches a shell pattern (all without one), one after
# another. A table that was made by the script as it is now is left alone; one that was stopped goes on, since each
# script skips what its files already hold. A table that fails does not stop the others; the exit status tells.
#   FURLONG  the command (build/furlong)   WORK  trained models and logs (build/results)   THREADS  (all cores)
set -u
root=$(cd "$(dirname "$0")/.." && pwd) || exit 2
cd "$root" || exit 2
export FURLONG="${FURLONG:-build/furlong}" WORK="${WORK:-build/results}" THREADS="${THREADS:-$(nproc)}"
[ -x "$FURLONG" ] || { echo "results: $FURLONG is not there: make first" >&2; exit 2; }
mkdir -p "$WORK/log" || exit 2
exec 9>"$WORK/lock"
flock -n 9 || { echo "results: another run has $WORK" >&2; exit 1; }

matches() { # NAME PATTERN...
    name=$1
    shift
    [ $# -gt 0 ] || return 0
    for pattern; do
        # The pattern is one on purpose.
        # shellcheck disable=SC2254
        case $name in $pattern) return 0 ;; esac
    done
    return 1
}

checksum() { cksum <"$1" | tr ' ' -; }
machine() { sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo | head -n 1 | tr -d '"\134'; }

# What made the table, for its page: written when it is whole.
record() { # SCRIPT RUN SECONDS
    printf '{"script":"%s","commit":"%s","machine":"%s","threads":%s,"seconds":%s}\n' "$(checksum "$1")" \
        "$(git rev-parse --short HEAD 2>/dev/null || echo unknown)" "$(machine)" "$THREADS" "$3" >"$2"
}

tables='' count=0
for script in results/*/*.sh; do
    [ -x "$script" ] || continue # a file that tables share
    name=${script#results/}
    matches "${name%.sh}" "$@" || continue
    tables="$tables $script" count=$((count + 1))
done
[ $count -gt 0 ] || { echo "results: no table of that name" >&2; exit 2; }

number=0 failed=0
# The script and what it runs are a group of their own, which ends as one: trained models are saved on the way.
stop() {
    [ -z "$child" ] || { kill -s TERM -- "-$child" 2>/dev/null; wait "$child"; }
    echo "results: stopped; the same command goes on" >&2
    exit 130
}
child=''
trap stop INT TERM
for script in $tables; do
    number=$((number + 1))
    name=${script#results/} name=${name%.sh} run=${script%.sh}.run
    log=$WORK/log/$(echo "$name" | tr / -).log
    if [ -f "$run" ] && grep -q "\"script\":\"$(checksum "$script")\"" "$run"; then
        echo "[$number/$count] $name: made already" >&2
        continue
    fi
    echo "[$number/$count] $name: running, log in $log" >&2
    started=$(date +%s)
    setsid nice -n 19 "$script" >>"$log" 2>&1 9>&- &
    child=$!
    if wait "$child"; then
        child=''
        record "$script" "$run" $(($(date +%s) - started))
        echo "[$number/$count] $name: done in $(($(date +%s) - started)) s" >&2
    else
        child=''
        failed=$((failed + 1))
        echo "[$number/$count] $name: failed; the end of $log:" >&2
        tail -n 5 "$log" | sed 's/^/    /' >&2
    fi
done
[ $failed -eq 0 ] || { echo "results: $failed of $count tables failed" >&2; exit 1; }
