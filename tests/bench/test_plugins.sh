#!/bin/sh
# tests/bench/test_plugins.sh ODB DIR NAME... -- the odb command over other engines, whose modules are in DIR.
set -u
odb=$1 dir=$2
shift 2
work=$(mktemp -d "${TMPDIR:-/tmp}/opendb-plugins.XXXXXX")
trap 'rm -rf "$work"' EXIT
failed=0

# expect CODE OUTPUT COMMAND...
expect() {
    code=$1 want=$2
    shift 2
    got=$("$odb" "$@" 2>"$work/err")
    is=$?
    [ "$is" = "$code" ] && [ "$got" = "$want" ] && return
    failed=1
    echo "odb $*: $is, '$got'; expected $code, '$want'"
    sed 's/^/    /' "$work/err"
}

ODB_BACKENDS=$dir
export ODB_BACKENDS
for name in "$@"; do
    db=$work/$name
    expect 1 "" get "$db" k --backend="$name" # nothing there, and nothing made
    expect 0 "" put "$db" k "in $name" --backend="$name"
    expect 0 "" put "$db" j other --backend "$name" --cf records --durability full
    expect 0 "in $name" get "$db" k --backend="$name"
    expect 0 "other" get "$db" j --backend="$name" --cf records
    expect 1 "" get "$db" j --backend="$name"
    expect 0 "$(printf 'k\tin %s' "$name")" scan "$db" --backend="$name"
    expect 0 "" delete "$db" k --backend="$name"
    expect 0 "" scan "$db" --backend="$name"
    expect 2 "" get "$db" k # says whose it is, and writes nothing into it
    grep -q -- "--backend=$name reads it" "$work/err" || { echo "does not say whose $db is"; failed=1; }
    expect 2 "" put "$db" k v
    [ ! -e "$db/OPENDB_INFO" ] || { echo "wrote into a directory of $name"; failed=1; }
done
expect 5 "" get "$work" k --backend=nobody
grep -q "no plug-in" "$work/err" || { echo "does not say that there is no such plug-in"; failed=1; }
expect 5 "" get "$work" k --backend=../x
exit $failed
