#!/bin/sh
# test_packages.sh PACKAGES ODB STATUS: the example on the sample that comes with the source, killed half
# way and run again.
set -eu
packages=$1 odb=$2 status=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "FAIL: $*"; exit 1; }

want=$(grep -c '^Package: ' "$status")
"$packages" import "$work/db" "$status" >"$work/names" || fail "import"
[ "$(wc -l <"$work/names")" -eq "$want" ] || fail "names of what was stored"
[ "$("$packages" count "$work/db")" -eq "$want" ] || fail "count"
"$packages" import "$work/db" "$status" >/dev/null || fail "import again"
[ "$("$packages" count "$work/db")" -eq "$want" ] || fail "an import repeated adds nothing"
"$packages" ask "$work/db" >"$work/answers" || fail "ask"
grep -q '^What does gcc pull in' "$work/answers" || fail "questions: $(cat "$work/answers")"
grep -q 'gcc --depends_on--> .*--depends_on--> libgmp10' "$work/answers" || fail "a path: $(cat "$work/answers")"
"$odb" verify "$work/db" --namespaces >"$work/sound" || fail "namespaces: $(cat "$work/sound")"

# Killed after some packages: those, whole, and no half of another. Thirty times as many, so that there is
# time to.
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30; do
    sed "s/^Package: /Package: v$i-/" "$status"
done >"$work/many"
: >"$work/killed" # empty before the child, not by it
"$packages" import "$work/second" "$work/many" >"$work/killed" &
pid=$!
n=0
while [ "$(wc -l <"$work/killed")" -lt 20 ] && kill -0 $pid 2>/dev/null && [ $n -lt 2000 ]; do
    sleep 0.01
    n=$((n + 1))
done
kill -9 $pid 2>/dev/null || true
wait $pid 2>/dev/null || true
got=$("$packages" count "$work/second")
named=$(wc -l <"$work/killed")
[ "$named" -lt $((want * 30)) ] || fail "it was done before it was killed"
[ "$got" -ge "$named" ] && [ "$got" -le $((named + 1)) ] || fail "$named stored, $got found"
"$odb" verify "$work/second" --namespaces >"$work/sound" || fail "after the kill: $(cat "$work/sound")"
"$packages" import "$work/second" "$work/many" >/dev/null || fail "going on"
[ "$("$packages" count "$work/second")" -eq $((want * 30)) ] || fail "all there in the end"
"$packages" nonsense 2>/dev/null && fail "nonsense is no command"
echo "packages: $want packages, killed after $named"
