#!/bin/sh
# results/pages.sh: write docs/results/<family>.md from the files in results/<family>/. A table appears when its files
# exist; one that was not finished says so. Nothing is made up here: numbers come from the files alone.
set -eu
cd "$(dirname "$0")/.."
furlong=${FURLONG:-build/furlong}

# The comment at the top of a script, without marks.
describe() { awk 'NR == 1 && /^#!/ { next } !/^#/ { exit } { sub(/^# ?/, ""); print }' "$1"; }

table_of() { # FILE.jsonl: perplexity by label and length, or the lines as they are
    if head -n 1 "$1" | grep -q '"ppl":'; then
        echo '```' && "$furlong" report "$1" && echo '```'
    else
        awk -f results/flat.awk "$1"
    fi
}

field() { sed -n "s/.*\"$2\":\"*\([^\",}]*\).*/\1/p" "$1"; }

origin() { # SCRIPT RUN
    echo
    if [ -f "$2" ]; then
        seconds=$(field "$2" seconds) # not known of a table made in pieces
        echo "Made by [$1](../../$1) at commit $(field "$2" commit) on $(field "$2" machine), $(field "$2" threads)" \
            "threads${seconds:+, in $seconds seconds}."
    else
        echo "Made by [$1](../../$1), without a record that it ran to its end: rows may be missing."
    fi
}

files_of() { # SCRIPT: its files, without those that belong to a script with a longer name
    stem=${1%.sh}
    for file in "$stem".jsonl "$stem"-*.jsonl "$stem".txt "$stem"-*.txt "$stem".svg "$stem"-*.svg; do
        [ -s "$file" ] || continue
        owner=$stem
        for other in "$stem"-*.sh; do
            [ -x "$other" ] && case $file in "${other%.sh}"[.-]*) owner=$other ;; esac
        done
        [ "$owner" = "$stem" ] && echo "$file"
    done
}

show() { # FILE
    case $1 in
    *.jsonl) table_of "$1" ;;
    *.txt) echo '```' && cat "$1" && echo '```' ;;
    *.svg) echo "![$(basename "$1" .svg)](../../$1)" ;;
    esac
}

for folder in results/*/; do
    family=$(basename "$folder") page=''
    for script in "$folder"*.sh; do
        [ -x "$script" ] || continue
        files=$(files_of "${folder}$(basename "$script")")
        [ -n "$files" ] || continue
        if [ -z "$page" ]; then
            mkdir -p docs/results
            page=docs/results/$family.md
            printf '# Results: %s\n\nWritten by results/pages.sh; do not edit.\n' "$family" >"$page.new"
        fi
        {
            printf '\n## %s\n\n' "$(basename "$script" .sh)"
            describe "$script"
            for file in $files; do
                [ "$(basename "$file")" = "$(basename "$script" .sh).jsonl" ] || printf '\n%s\n' "$(basename "$file")"
                echo
                show "$file"
            done
            origin "$(echo "$script" | tr -s /)" "${script%.sh}.run"
        } >>"$page.new"
    done
    [ -z "$page" ] || { mv "$page.new" "$page" && echo "$page"; }
done
