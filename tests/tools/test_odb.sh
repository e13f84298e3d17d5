#!/bin/sh
# tests/tools/test_odb.sh ODB -- every subcommand of the odb command, and every exit code.
set -u
odb=$1
work=$(mktemp -d "${TMPDIR:-/tmp}/opendb-tool.XXXXXX")
holder=
trap '[ -z "$holder" ] || kill "$holder" 2>/dev/null; rm -rf "$work"' EXIT
db=$work/db failed=0 checks=0
LC_ALL=C export LC_ALL

# expect CODE COMMAND...: run it, output into $work/out and $work/err, check the exit code.
expect() {
    want=$1
    shift
    "$odb" "$@" >"$work/out" 2>"$work/err" </dev/null
    code=$?
    checks=$((checks + 1))
    [ "$code" = "$want" ] && return
    failed=$((failed + 1))
    echo "odb $*: exit code $code, not $want"
    sed 's/^/    /' "$work/err"
}

# output TEXT: what the last command printed.
output() {
    checks=$((checks + 1))
    printf '%s\n' "$1" >"$work/want"
    # a value comes without a line end
    [ "$(cat "$work/out")" = "$(cat "$work/want")" ] && return
    failed=$((failed + 1))
    echo "expected:"
    sed 's/^/    /' "$work/want"
    echo "but got:"
    sed 's/^/    /' "$work/out"
}

# says TEXT: the last command's messages or output contain it.
says() {
    checks=$((checks + 1))
    grep -qF -- "$1" "$work/out" "$work/err" && return
    failed=$((failed + 1))
    echo "nowhere said: $1"
    sed 's/^/    /' "$work/out" "$work/err"
}

# ---- directories of other engines ----
other=$work/other
mkdir "$other"
printf 'MANIFEST-000005\n' >"$other/CURRENT"
expect 2 get "$other" k; says "a database of LevelDB, which odb does not read"
printf '5e7b8f0c-2a4d-4d0a-9f3e-0123456789ab' >"$other/IDENTITY"
expect 2 get "$other" k; says "a database of RocksDB; --backend=rocksdb reads it"
expect 2 put "$other" k v; says "RocksDB"
expect 2 verify "$other"; says "RocksDB"
[ "$(ls "$other" | wc -l)" = 2 ] || { echo "wrote into a directory of another engine"; failed=$((failed + 1)); }
printf '0123456789abcdef0123456789abcdef fedcba9876543210\n' >"$other/IDENTITY" # ours, and CURRENT cut short
expect 4 get "$other" k; says "corrupt"
rm "$other/CURRENT" "$other/IDENTITY"
: >"$other/data.mdb"
expect 2 put "$other" k v; says "a database of LMDB; --backend=lmdb reads it"
rm -r "$other"

# ---- help and usage ----
expect 0 --help; says "Exit codes"; says "A first walk"
for g in graph record vector; do
    expect 0 "$g" --help; says "Usage: odb $g COMMAND"; says "odb $g COMMAND --help"
    expect 0 help "$g"; says "Usage: odb $g COMMAND"
done
expect 0 --version; says "odb 0."
for c in put get delete exists scan batch load dump cf stats tree compact flush verify; do
    expect 0 "$c" --help; says "Usage: odb $c"; says "odb $c "
    expect 0 help "$c"; says "Usage: odb $c"
    expect 2 "$c"
done
expect 2; says "--help"
expect 2 frobnicate; says "unknown command 'frobnicate'"
expect 2 help frobnicate
expect 2 get "$db"; says "usage: odb get"
expect 2 get "$db" a b c
expect 2 get "$db" k --wrong; says "--wrong"
expect 2 get "$db" --cf
expect 2 put "$db" k v --memory lots; says "--memory"
expect 2 put "$db" k v --memory 1000; says "memory_budget"
expect 2 put "$db" k v --durability sometimes
expect 2 put "$db" 0xabc v; says "hexadecimal"
expect 2 put "$db" k --base64 v

# ---- no database ----
rm -rf "$db"
expect 1 get "$db" k; says "no database in"
expect 1 verify "$db"
expect 1 delete "$db" k
expect 1 put "$work/no/such/parent/db" k v; says "mkdir -p"

# ---- keys ----
expect 0 put "$db" k value
expect 0 get "$db" k; output value
expect 0 get "$db" 0x6b; output value
expect 0 get "$db" --hex 6b; output 76616c7565
expect 0 get "$db" --base64 aw==; output dmFsdWU=
expect 0 get "$db" k --json; output '{"key":"k","value":"value"}'
expect 1 get "$db" nothing; says "no key 'nothing'"
expect 0 exists "$db" k
expect 1 exists "$db" nothing
expect 0 put "$db" 0x00ff "tab	and \"quotes\""
expect 0 scan "$db"; says '\x00\xff'
expect 0 scan "$db" --json; says '{"key64":"AP8=","value":"tab\u0009and \"quotes\""}'
expect 0 put "$db" --cf records k other --durability full
expect 0 get "$db" k --cf records; output other
expect 1 get "$db" k --cf nowhere; says "nowhere"
expect 0 put "$db" -- --dash x
expect 0 get "$db" -- --dash; output x
printf 'from\0stdin' >"$work/in"
"$odb" put "$db" piped - <"$work/in" && "$odb" get "$db" piped >"$work/out" && cmp -s "$work/in" "$work/out" ||
    { failed=$((failed + 1)); echo "a value from standard input changed on the way"; }
expect 0 delete "$db" piped
expect 0 delete "$db" piped
expect 1 exists "$db" piped
expect 2 put "$db" k v --read-only; says "--read-only"

# ---- scan ----
for n in 1 2 3 4 5; do expect 0 put "$db" "n/$n" "v$n"; done
expect 0 scan "$db" --prefix n/ --keys; output "n/1
n/2
n/3
n/4
n/5"
expect 0 scan "$db" --from n/2 --to n/4; output "n/2	v2
n/3	v3"
expect 0 scan "$db" --prefix n/ --reverse --limit 2 --keys; output "n/5
n/4"
expect 0 scan "$db" --from n/9; output ""

# ---- batch ----
cat >"$work/batch" <<'J'
{"cf":"graph_forward","key":"a>b","value":"knows"}
{"cf":"graph_backward","key":"b<a","value":"knows"}
{"key":"n/1","delete":true}

{"key64":"AP8=","value64":"/wA="}
J
expect 0 batch "$db" "$work/batch"; says "4 operations"
expect 0 get "$db" --cf graph_forward 'a>b'; output knows
expect 1 exists "$db" n/1
expect 0 get "$db" --hex 00ff; output ff00
bad() { # TEXT COMPLAINT: a line that must be refused, with a reason; nothing of the batch is applied
    printf '{"key":"x","value":"y"}\n%s\n' "$1" >"$work/bad"
    expect 6 batch "$db" "$work/bad"; says "line 2, column"; says "$2"
    expect 1 exists "$db" x
}
bad '{"key":"a"}' 'no value'
bad '{"value":"a"}' 'no key'
bad '{"key":"a","value":"b","delete":true}' 'a deletion has no value'
bad '{"key":"a","value":1}' 'a string in quotes'
bad '{"key":"a","value":"b"' 'closing brace'
bad '{"key":"a","value":"b"} x' 'behind the object'
bad '{"key":"a","value":"b","more":"c"}' 'a member other than'
bad '{"key":"a","key":"b","value":"c"}' 'twice'
bad '{"key":"\ud800","value":"c"}' 'surrogate'
bad '{"key":"\x","value":"c"}' 'escape'
bad '{"key64":"AP8","value":"c"}' 'base64'
bad 'nonsense' 'braces'
expect 5 batch "$db" "$work/not-there"; says "cannot read"

# ---- load, dump ----
awk 'BEGIN { for (i = 0; i < 5000; i++) printf "key%05d\tvalue %d\n", i, i }' >"$work/rows.tsv"
expect 0 load "$db" "$work/rows.tsv" --tsv --cf records --batch 100 --ack-file "$work/ack" --memory 1M
says "5,000 rows loaded"
[ "$(cat "$work/ack")" = 00000000000000005000 ] || { failed=$((failed + 1)); echo "wrong ack file"; }
expect 0 load "$db" "$work/rows.tsv" --tsv --cf records --check; says "5,000 rows compared, 0 differ"
expect 0 put "$db" --cf records key00007 other
expect 0 delete "$db" --cf records key00008
expect 4 load "$db" "$work/rows.tsv" --tsv --cf records --check; says "2 differ"; says "is missing"
expect 0 load "$db" "$work/rows.tsv" --tsv --cf records --check --limit 5; says "5 rows compared"
expect 6 load "$db" "$work/batch" --tsv; says "tabulator"
expect 0 dump "$db"; cp "$work/out" "$work/dump"
expect 0 load "$work/copy" "$work/dump" --stats; says "amplified"
expect 0 dump "$work/copy"
cmp -s "$work/dump" "$work/out" || { failed=$((failed + 1)); echo "a dump of a loaded dump differs"; }
expect 0 dump "$db" --cf graph_forward; output '{"cf":"graph_forward","key":"a>b","value":"knows"}'
expect 0 load "$work/json" "$work/dump" --json; says '"rows":'

# ---- families ----
expect 0 cf "$db"; says "vector_index"
expect 0 cf "$db" extra --create
expect 5 cf "$db" extra --create; says "already"
expect 0 put "$db" --cf extra k v
expect 0 cf "$db" --json; says '{"cf":"extra"}'
expect 0 cf "$db" extra --drop
expect 1 cf "$db" extra --drop
expect 1 get "$db" --cf extra k
expect 2 cf "$db" extra
expect 2 cf "$db" --drop
expect 2 cf "$db" default --drop

# ---- upkeep, looking in ----
expect 0 flush "$db"
expect 0 compact "$db" --cf records --from key00100 --to key00200
expect 0 compact "$db"
expect 0 verify "$db"; says "sound:"
expect 0 verify "$db" --json; says '"sound":true'
expect 0 stats "$db" --live; says "per byte alive"
expect 0 stats "$db" --json; says '"levels":['
expect 0 tree "$db"; says "family records"; says "##"
expect 0 tree "$db" --cf records --json; says '"smallest":"key00000"'
if LC_ALL=C.UTF-8 locale charmap 2>/dev/null | grep -q UTF-8; then
    LC_ALL=C.UTF-8 expect 0 tree "$db"; says "█"
fi

# ---- vectors ----
if "$odb" --help | grep -q 'vector bulk'; then
    vec=$work/vec
    for c in search stats verify rebuild bulk; do
        expect 0 vector $c --help; says "Usage: odb vector $c"; says "odb vector $c "
        expect 2 vector $c
    done
    printf 'a\t1 0 0\nb\t0.9, 0.1, 0\nc\t[0 1 0]\n' >"$work/vectors"
    expect 0 vector bulk "$vec" "$work/vectors"
    expect 0 vector search "$vec" a --limit 1; output '0.141421	b'
    expect 0 vector search "$vec" '[0,1,0]' --limit 1 --json; output '{"id":"c","distance":0}'
    expect 2 vector search "$vec" '[0,1]'; says "dimension 2"
    expect 1 vector search "$vec" nobody
    expect 0 vector verify "$vec"; says "recall@10 1.0000"
    expect 0 vector stats "$vec" --json; says '"live":3'
    expect 0 vector verify "$vec" --ef 500 --limit 2; says "from 2 searches"
    expect 0 vector search "$vec" '[0,1,0]' --limit 2 --diverse --ef 50; says "c"
    for n in 0 -1 none 1000001 99999999999999999999; do # neither ten, as without, nor cut to what fits
        for o in --limit --ef; do
            expect 2 vector search "$vec" a $o $n; says "$o"; output ""
            expect 2 vector verify "$vec" $o $n; says "$o"; output ""
        done
        for o in --m --ef-construction; do
            expect 2 vector rebuild "$vec" $o $n; says "$o"
            expect 2 vector bulk "$vec" "$work/vectors" $o $n; says "$o"
        done
    done
    expect 2 vector search "$vec" a --limit 0; says "1 to 1000000"
    expect 2 vector search "$vec" a --limit; says "--limit needs a number"
    expect 2 vector rebuild "$vec" --ef-construction 4097; says "4096"
    expect 0 vector search "$vec" a --limit 1000000; says "0.141421	b"
    expect 0 vector rebuild "$vec"
    expect 0 vector rebuild "$vec" --form i8 --m 8 --ef-construction 50
    expect 0 vector stats "$vec" --json; says '"form":"i8","m":8,"ef_construction":50'
    expect 2 vector rebuild "$vec" --form i9; says "--form is f32"
    expect 2 vector rebuild "$vec" --m 65; says "4 to 64"
    expect 2 vector rebuild "$vec" --metric dot; says "cannot be changed"
    expect 0 vector bulk "$work/cosine" "$work/vectors" --metric cosine --form f16
    expect 0 vector stats "$work/cosine" --json; says '"metric":"cosine","form":"f16"'
    expect 2 vector bulk "$work/cosine" "$work/vectors" --metric l2; says "another metric"
    expect 2 vector bulk "$work/cosine" "$work/vectors" --metric l3; says "--metric is l2"
    printf 'd\t1 2\n' >"$work/vectors"
    expect 6 vector bulk "$vec" "$work/vectors"; says "line 1"
    printf 'd 1 2 3\n' >"$work/vectors"
    expect 6 vector bulk "$vec" "$work/vectors"; says "line 1"
    expect 0 delete "$vec" --cf vector_index M
    expect 0 vector verify "$vec"
    expect 0 verify "$vec" --namespaces; says "vectors: 3, 0 problems"
    expect 0 put "$vec" --cf vector_data --hex 62 0102
    expect 4 verify "$vec" --namespaces; says "vectors: 3, "; says "odb vector verify"
fi

# ---- records and metadata ----
if "$odb" --help | grep -q 'record put'; then
    rec=$work/rec
    for c in put get list query delete index check; do
        expect 0 record $c --help; says "Usage: odb record $c"; says "odb record $c "
        expect 0 help record $c
        expect 2 record $c
    done
    for c in put get list delete; do expect 0 meta $c --help; says "odb meta $c "; done
    expect 2 record; says "put get list"
    expect 2 record frobnicate; says "not 'frobnicate'"
    expect 2 meta; says "list delete"
    expect 1 record list "$rec"; says "no database in"
    cat >"$work/records" <<'END'
{"id":"user_1","ts":1000,"importance":0.8,"content":"a \u00e9 \"q\"","props":{"lang":"en","n":1,"r":1.5,"t":true,"z":null,"b":{"base64":"AP8="},"j":[1,{"x":2}],"k":{"json":5}}}
{"id":"user_1/a","ts":2000,"importance":0.2,"kind":3,"fields":{"parent":"user_1","start":0,"end":9,"16390":"mine"},"props":{"lang":"de"}}

{"id64":"/w==","ts":3000,"content64":"AP8=","has_vector":true}
{"id":"user_10","ts":4000,"importance":1,"content":""}
END
    expect 0 record put "$rec" "$work/records"
    expect 0 record get "$rec" user_1
    output '{"id":"user_1","kind":1,"ts":1000,"importance":0.8,"content":"a é \"q\"","props":{"b":{"base64":"AP8="},"j":[1,{"x":2}],"k":{"json":5},"lang":"en","n":1,"r":1.5,"t":true,"z":null}}'
    expect 0 record get "$rec" user_1/a 0xff
    output '{"id":"user_1/a","kind":3,"ts":2000,"importance":0.2,"content":"","props":{"lang":"de"},"fields":{"parent":"user_1","start":0,"end":9,"16390":"mine"}}
{"id64":"/w==","kind":1,"ts":3000,"importance":0.5,"content64":"AP8=","has_vector":true}'
    expect 1 record get "$rec" nobody user_1; says '"user_1"'
    expect 0 record list "$rec" --keys; output 'user_1
user_1/a
user_10
\xff'
    expect 0 record list "$rec" --keys --prefix user_1 --segment / --json; output '{"id":"user_1"}
{"id":"user_1/a"}'
    expect 0 record list "$rec" --keys --order time --reverse --limit 2; output 'user_10
\xff'
    expect 0 record list "$rec" --keys --order importance --to v; output 'user_1/a
user_1
user_10'
    expect 5 record list "$rec" --order prop:lang; says "not indexed by 'lang'"
    expect 0 record index "$rec" lang n
    expect 0 record list "$rec" --keys --order prop:lang; output 'user_1/a
user_1'
    expect 0 record query "$rec" 'importance >= 0.8 && id ^= "user_"' --keys --order id; output 'user_1
user_10'
    expect 0 record query "$rec" 'field(parent) == "user_1"' --keys; output user_1/a
    expect 2 record query "$rec" 'importance >= '; says "at byte 14"
    expect 2 record list "$rec" --order sideways; says "--order"
    expect 2 record list "$rec" --prefix u --segment xx
    # what was written is read back the same
    "$odb" record list "$rec" | "$odb" record put "$work/rec2"
    "$odb" record list "$rec" >"$work/one"
    "$odb" record list "$work/rec2" >"$work/two"
    expect 0 version
    checks=$((checks + 1))
    cmp -s "$work/one" "$work/two" || { failed=$((failed + 1)); echo "a copy of the records differs"; }
    for bad in '{' '{"content":"x"}' '{"id":5}' '{"id":"a","id64":"YQ=="}' '{"id":"a","kind":0}' '{"id":"a","ts":1.5}' \
        '{"id":"a","importance":"x"}' '{"id":"a","props":[]}' '{"id":"a","fields":{"nope":1}}' \
        '{"id":"a","fields":{"status":300}}' '{"id":"a","nope":1}' '{"id":"a","content64":"?"}' '{"id":""}' '[]'; do
        printf '%s\n' "$bad" >"$work/bad"
        expect 6 record put "$rec" "$work/bad"; says "line 1"
    done
    printf '{"id":"new"}\n{"id":"user_1"}\n' >"$work/new"
    expect 6 record put "$rec" "$work/new" --insert-only; says "line 2"
    expect 1 record get "$rec" new
    expect 6 record put "$rec" "$work/new" --update-only; says "line 1"
    expect 0 record delete "$rec" user_10 nobody
    expect 1 record get "$rec" user_10
    expect 0 record check "$rec"; says "3 records"
    expect 0 put "$rec" --cf records user_1 junk
    expect 4 record get "$rec" user_1; says "corrupt"
    expect 4 record list "$rec"; says '"/w=="'; says "1 records cannot be read"
    expect 4 record check "$rec"; says "1 damaged"
    expect 0 delete "$rec" --cf records user_1
    expect 4 record check "$rec"; says "4 stray"
    expect 0 record check "$rec" --mend; says "mended"
    expect 0 record check "$rec"

    expect 0 meta put "$rec" user.agent '{ "name": "Ann", "rounds": 3.0 }'
    expect 0 meta get "$rec" user.agent; output '{"name":"Ann","rounds":3.0}'
    expect 2 meta put "$rec" user.bad '{"a":1,"a":2}'; says "name twice"
    expect 2 meta put "$rec" odb.format '{}'; says "belong to the library"
    expect 0 meta list "$rec" --prefix user.; output 'user.agent	{"name":"Ann","rounds":3.0}'
    expect 0 meta list "$rec" --json; says '{"name":"odb.schema","value":{"version":1}}'
    expect 0 meta delete "$rec" user.agent
    expect 1 meta get "$rec" user.agent
fi

# ---- graph ----
if "$odb" --help | grep -q 'graph link'; then
    net=$work/net
    for c in link unlink out in walk path degree common rank histogram prune import export; do
        expect 0 graph "$c" --help; says "Usage: odb graph $c"; says "odb graph $c "
        expect 0 help graph "$c"; says "Usage: odb graph $c"
        expect 2 graph "$c"
    done
    expect 2 graph; says "link unlink out"
    expect 2 graph frobnicate; says "not 'frobnicate'"
    expect 1 graph out "$net" ann; says "no database"
    expect 0 graph link "$net" ann knows bob --weight 0.5 --prop since=1999 --prop why=work --time 5
    expect 0 graph link "$net" bob knows carl --both-ways --time 6
    expect 0 graph link "$net" ann 0x00ff bob --time 7
    expect 2 graph link "$net" ann knows bob --weight heavy; says "heavy"
    expect 2 graph link "$net" ann knows bob --prop nonsense; says "name=value"
    expect 2 graph link "$net" ann knows ""; says "1 to 1024"
    expect 1 graph link "$net" ann knows zoe --require; says "has no record"
    expect 0 graph out "$net" ann --rel knows
    output 'ann --knows--> bob  weight 0.5  since=1999  why=work'
    expect 0 graph out "$net" ann --json
    output '{"from":"ann","rel64":"AP8=","to":"bob","weight":1.0,"time":7}
{"from":"ann","rel":"knows","to":"bob","weight":0.5,"time":5,"props":{"since":1999,"why":"work"}}'
    expect 0 graph in "$net" bob --rel knows --min-weight 0.75; output 'carl --knows--> bob'
    expect 0 graph in "$net" bob --limit 1 --since 6; output 'ann --\x00\xff--> bob'
    expect 0 graph degree "$net" bob --both; output 4
    expect 0 graph walk "$net" ann --rel knows
    output 'ann
  bob   <-- knows -- ann
    carl   <-- knows -- bob'
    expect 0 graph walk "$net" ann --depth 1 --json; says "held back by --depth"
    says '{"id":"bob","depth":1,"by":"ann","rel64":"AP8=","backward":false}'
    expect 0 graph walk "$net" carl --in --dot; says 'digraph'; says 'n1 -> n0 [label="knows"];'
    expect 0 graph path "$net" ann carl --by-weight
    output 'ann --\x00\xff--> bob
bob --knows--> carl'
    expect 1 graph path "$net" carl ann; says "no way"
    expect 0 graph common "$net" ann carl; output bob
    expect 0 graph rank "$net" ann --limit 1; says "bob"
    expect 0 graph histogram "$net"; output '3  knows
1  \x00\xff'
    expect 0 verify "$net" --namespaces; says "4 edges, 0 problems; 4 with an end"
    expect 0 graph export "$net"; cp "$work/out" "$work/edges"
    expect 0 graph import "$work/net2" "$work/edges"; says "4 edges"
    expect 0 graph export "$work/net2"; output "$(cat "$work/edges")"
    echo '{"from":"a","rel":"r"}' >"$work/bad"
    expect 6 graph import "$work/net2" "$work/bad"; says "line 1"; says "needs from, rel and to"
    echo '{"from":"a","rel":"r","to":"b","weight":"x"}' >"$work/bad"
    expect 6 graph import "$work/net2" "$work/bad"; says "no number"
    expect 0 graph prune "$net" --dry-run; says "4 dangling"
    expect 0 graph unlink "$net" bob --both --rel knows; output "3 edges removed"
    expect 0 graph unlink "$net" ann 0x00ff bob
    expect 0 verify "$net" --namespaces --json; says '{"edges":0,"problems":0,"without_record":0}'
    expect 0 put "$net" --cf graph_forward --hex 61000172000162 01000000803f0000000000000000
    expect 4 verify "$net" --namespaces; says "missing in the other direction"
fi

# ---- busy ----
mkfifo "$work/pipe"
"$odb" load "$db" "$work/pipe" --tsv >/dev/null 2>&1 &
holder=$!
exec 9>"$work/pipe"
printf 'held\topen\n' >&9
tries=0
while "$odb" put "$db" probe x >/dev/null 2>&1 && [ $tries -lt 100 ]; do tries=$((tries + 1)); sleep 0.05; done
expect 3 put "$db" k v; says "somebody else"
exec 9>&-
wait "$holder"
holder=
expect 0 get "$db" held; output open

# ---- damage ----
table=$(ls "$db"/*.sst | head -n 1)
cp "$table" "$work/table"
printf 'XXXXXXXX' | dd of="$table" bs=1 seek=100 conv=notrunc 2>/dev/null
expect 4 verify "$db"; says "${table##*/}"; says "offset"
cp "$work/table" "$table"
expect 0 verify "$db"

if [ $failed = 0 ]; then echo "$checks checks passed"; else echo "$failed of $checks checks failed"; fi
[ $failed = 0 ]
