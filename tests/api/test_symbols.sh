#!/bin/sh
# tests/api/test_symbols.sh SOURCE SO ARCHIVE HEADER... -- every call the public headers declare is
# exported, and nothing else is: from the shared library and from the archive.
set -eu
src=$1 so=$2 archive=$3
shift 3
declared=$({ cat "$@"; cd "$src" && cat api/opendb.h api/odb_*.h base/odb_types.h; } |
    sed -n '/^ODB_API/,/;/p' | tr '\n' ' ' | tr ';' '\n' |
    sed -n 's/.*ODB_API[^(]*[ *]\(odb_[a-z0-9_]*\)(.*/\1/p' | sort -u)
[ "$(echo "$declared" | wc -l)" -gt 60 ] || { echo "the headers could not be read"; exit 1; }
bad=0
for lib in "$so" "$archive"; do
    case $lib in *.a) dynamic= ;; *) dynamic=-D ;; esac
    found=$(nm $dynamic -g --defined-only "$lib" | awk 'NF == 3 { sub(/@.*/, "", $3); print $3 }' |
        grep -vE '^(__asan|__odr_asan|__ubsan|__tsan|__gcov|__llvm|_init$|_fini$)' | sort -u)
    if [ "$declared" != "$found" ]; then
        bad=1
        echo "${lib##*/}:"
        echo "$declared" >"${TMPDIR:-/tmp}/opendb-declared.$$"
        echo "$found" | diff "${TMPDIR:-/tmp}/opendb-declared.$$" - |
            sed -n 's/^</  declared, but not there:/p; s/^>/  there, but not declared:/p'
        rm -f "${TMPDIR:-/tmp}/opendb-declared.$$"
    fi
done
[ $bad = 0 ] && echo "$(echo "$declared" | wc -l) calls declared, as many exported"
exit $bad
