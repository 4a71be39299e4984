# JSON lines as a Markdown table: a column for each key whose values are numbers, words or truths, in the order in which
# keys appear; lists and objects are left to the file. For lines that furlong wrote: one object each, on one line.
function value_end(line, at,    depth, c, quoted) { # where the value that begins at `at` ends
    for (depth = 0; at <= length(line); at++) {
        c = substr(line, at, 1)
        if (quoted) {
            if (c == "\\") at++
            else if (c == "\"") quoted = 0
        } else if (c == "\"") quoted = 1
        else if (c == "[" || c == "{") depth++
        else if ((c == "]" || c == "}" || c == ",") && depth == 0) return at
        else if (c == "]" || c == "}") depth--
    }
    return at
}
function shown(value) {
    if (value ~ /^"/) { value = substr(value, 2, length(value) - 2); gsub(/\\"/, "\"", value) }
    else if (value ~ /[.eE]/ && value ~ /^-?[0-9]/) value = sprintf("%.5g", value)
    gsub(/\|/, "\\|", value)
    return value
}
/^\{/ {
    rows++
    for (at = 2; match(substr(line = $0, at), /^[ ,]*"[^"]*" *: */); at = end) {
        key = substr(line, at, RLENGTH)
        sub(/^[ ,]*"/, "", key); sub(/" *: *$/, "", key)
        at += RLENGTH
        end = value_end(line, at)
        value = substr(line, at, end - at)
        if (value ~ /^[[{]/) continue
        if (!(key in column)) { column[key] = ++columns; title[columns] = key }
        cell[rows, column[key]] = shown(value)
    }
}
END {
    if (!columns) exit
    for (c = 1; c <= columns; c++) printf "| %s ", title[c]
    print "|"
    for (c = 1; c <= columns; c++) printf "|---"
    print "|"
    for (r = 1; r <= rows; r++) {
        for (c = 1; c <= columns; c++) printf "| %s ", cell[r, c]
        print "|"
    }
}
