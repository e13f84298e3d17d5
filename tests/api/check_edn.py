#!/usr/bin/env python3
"""Dumps of test_isolation, read as Elle would read them, and checked by other means than the dumper's.

    check_edn.py PROGRAM       runs it, and expects a clean history and one of an engine that checks nothing
    check_edn.py --file FILE   reports on one dump

What Elle's list-append model asks for: one EDN map an event, with :index (counting), :type, :process,
:f and :value; an :invoke, and at most one :ok, :fail or :info of the same process before its next one;
reads [:r k [numbers]] (nil while nobody knows), appends [:append k number], each number once a key.

The orders of versions come from the longest read alone, not from the dumper's knowledge; cycles are
strong components of the graph of ww, wr, rw and real-time edges.
"""
import os
import re
import subprocess
import sys
import tempfile

TOKEN = re.compile(r"\s*(?:([\[\]{}])|(:[a-z-]+)|(-?\d+)|(nil))")


def parse(text, at=0):
    """One EDN value of text from `at`, and where it ends."""
    m = TOKEN.match(text, at)
    if not m:
        raise ValueError("not EDN: %r" % text[at:at + 40])
    at = m.end()
    bracket, keyword, number, _ = m.groups()
    if keyword or number:
        return (keyword or int(number)), at
    if bracket in ("[", "{"):
        items, close = [], "]" if bracket == "[" else "}"
        while True:
            m = TOKEN.match(text, at)
            if m and m.group(1) == close:
                break
            item, at = parse(text, at)
            items.append(item)
        if bracket == "[":
            return items, m.end()
        if len(items) % 2:
            raise ValueError("a map with a key and no value")
        return dict(zip(items[::2], items[1::2])), m.end()
    if bracket:
        raise ValueError("%s closes nothing" % bracket)
    return None, at


def shape(ops):
    return [(op[0], op[1]) + (() if op[0] == ":r" else (op[2],)) for op in ops]


def read_history(lines):
    """Transactions as (begin, end or None, type, operations), with everything about the form checked."""
    open_by_process, txns = {}, []
    for i, line in enumerate(lines):
        event, end = parse(line)
        assert not line[end:].strip(), "line %d: something behind the map" % i
        assert event[":index"] == i, "line %d: index %r" % (i, event[":index"])
        assert event[":f"] == ":txn" and isinstance(event[":time"], int)
        ops, process = event[":value"], event[":process"]
        for op in ops:
            assert len(op) == 3 and isinstance(op[1], int)
            assert (op[0] == ":append" and isinstance(op[2], int)) or (
                op[0] == ":r" and (op[2] is None or all(isinstance(n, int) for n in op[2])))
        if event[":type"] == ":invoke":
            assert process not in open_by_process, "line %d: two at once in a process" % i
            open_by_process[process] = len(txns)
            txns.append([i, None, ":info", ops])
        else:
            assert event[":type"] in (":ok", ":fail", ":info")
            txn = txns[open_by_process.pop(process)]
            assert shape(ops) == shape(txn[3]), "line %d: it ended as another one" % i
            txn[1:] = [i, event[":type"], ops]
    return txns


def inside(ops):
    """Each read of a key that the transaction has met before is what it knows already; what is left is
    the first read of each key, unless appends came before it."""
    known, first = {}, {}
    for f, k, v in ops:
        if f == ":append":
            if k in known:
                known[k] = known[k] + [v]
            else:
                first.setdefault(k, None)
        else:
            if k in known and known[k] != v:
                return None
            if k not in known and k not in first:
                first[k] = v
            known[k] = v
    return {k: v for k, v in first.items() if v is not None}


def components(edges, count):
    """Strong components with more than one node (Kosaraju), each a set."""
    back = [[] for _ in range(count)]
    for a in range(count):
        for b in edges[a]:
            back[b].append(a)
    seen, order = [False] * count, []
    for root in range(count):
        stack = [] if seen[root] else [(root, iter(edges[root]))]
        seen[root] = True
        while stack:
            node, rest = stack[-1]
            for b in rest:
                if not seen[b]:
                    seen[b] = True
                    stack.append((b, iter(edges[b])))
                    break
            else:
                order.append(node)
                stack.pop()
    taken, found = [False] * count, []
    for root in reversed(order):
        if taken[root]:
            continue
        part, stack = {root}, [root]
        taken[root] = True
        while stack:
            for b in back[stack.pop()]:
                if not taken[b]:
                    taken[b] = True
                    part.add(b)
                    stack.append(b)
        if len(part) > 1:
            found.append(part)
    return found


def anomalies(txns):
    """The names of what should not be."""
    found, writer, longest = set(), {}, {}
    done = [t for t in txns if t[2] == ":ok"]
    for t in txns:
        for f, k, v in t[3]:
            if f == ":append":
                if (k, v) in writer:
                    found.add("doubled append")
                writer[k, v] = t
            elif v is not None and len(v) > len(longest.get(k, [])):
                longest[k] = v
    reads = []
    for t in done:
        first = inside(t[3])
        if first is None:
            found.add("internal")
        for k, v in (first or {}).items():
            reads.append((t, k, v))
            if longest.get(k, [])[:len(v)] != v:
                found.add("incompatible order")
            for n in v:
                if writer.get((k, n), [0, 0, ":fail"])[2] == ":fail":
                    found.add("G1a")
    for t in done:
        for f, k, v in t[3]:
            if f == ":append" and v not in longest.get(k, []):
                found.add("lost append")

    # Nodes: events of the history, in a chain of time; transactions behind them.
    index = {id(t): i for i, t in enumerate(txns)}
    events = max([t[0] for t in txns] + [t[1] or 0 for t in txns]) + 1
    edges = [[] for _ in range(len(txns) + events)]
    for e in range(events - 1):
        edges[len(txns) + e].append(len(txns) + e + 1)
    for t in done:
        edges[len(txns) + t[0]].append(index[id(t)])
        edges[index[id(t)]].append(len(txns) + t[1])

    def edge(a, b):
        if a is not b and a[2] == ":ok" and b[2] == ":ok":
            edges[index[id(a)]].append(index[id(b)])

    for k, v in longest.items():
        for a, b in zip(v, v[1:]):
            if (k, a) in writer and (k, b) in writer:
                edge(writer[k, a], writer[k, b])
    for t, k, v in reads:
        order = longest.get(k, [])
        if v and (k, v[-1]) in writer:
            edge(writer[k, v[-1]], t)
        if len(v) < len(order) and order[:len(v)] == v and (k, order[len(v)]) in writer:
            edge(t, writer[k, order[len(v)]])
    if components(edges, len(edges)):
        found.add("cycle")
    return found


def report(file):
    with open(file) as f:
        txns = read_history(f.read().splitlines())
    bad = anomalies(txns)
    kinds = [t[2] for t in txns]
    print("%s: %d transactions, %d committed, %d refused: %s" % (
        os.path.basename(file), len(txns), kinds.count(":ok"), kinds.count(":fail"),
        ", ".join(sorted(bad)) or "no anomaly"))
    return txns, bad


def check_the_checker():
    """It must see what is there, and only that."""
    skew = ['{:index 0 :time 0 :type :invoke :process 0 :f :txn :value [[:r 1 nil] [:append 2 1]]}',
            '{:index 1 :time 1 :type :invoke :process 1 :f :txn :value [[:r 2 nil] [:append 1 2]]}',
            '{:index 2 :time 2 :type :ok :process 0 :f :txn :value [[:r 1 []] [:append 2 1]]}',
            '{:index 3 :time 3 :type :ok :process 1 :f :txn :value [[:r 2 %s] [:append 1 2]]}',
            '{:index 4 :time 4 :type :invoke :process 2 :f :txn :value [[:r 1 nil] [:r 2 nil]]}',
            '{:index 5 :time 5 :type :ok :process 2 :f :txn :value [[:r 1 [2]] [:r 2 [1]]]}']
    text = "\n".join(skew)
    assert anomalies(read_history((text % "[]").splitlines())) == {"cycle"}
    assert anomalies(read_history((text % "[1]").splitlines())) == set()
    assert "G1a" in anomalies(read_history((text % "[1]").replace(":ok :process 0", ":fail :process 0").splitlines()))
    late = (text % "[1]").replace("[:r 1 [2]]", "[:r 1 []]")  # a real-time order that was not kept
    assert anomalies(read_history(late.splitlines())) & {"lost append", "cycle"}


def main():
    if sys.argv[1] == "--file":
        sys.exit(1 if report(sys.argv[2])[1] else 0)
    check_the_checker()
    with tempfile.TemporaryDirectory() as d:
        file = os.path.join(d, "history.edn")
        env = dict(os.environ, ODB_ISOLATION_DUMP=file, ODB_ISOLATION_TXNS="4000", ODB_ISOLATION_KILLS="2")
        # Whether it succeeds is a test of its own: so few transactions need not show any write skew.
        subprocess.run([sys.argv[1]], env=env, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        txns, bad = report(file)
        assert len(txns) > 1000 and sum(t[2] == ":ok" for t in txns) > 500
        assert not bad, "a history that the first checker let pass: %s" % bad
        txns, bad = report(file + ".control")
        assert bad, "an engine that checks nothing looks clean"


main()
