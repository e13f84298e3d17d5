/* tests/api/isolation.h -- a checker of histories: was there an order that explains what was read?
 *
 * Every value is a list of numbers, every write appends a number of its own. So each read tells which
 * writes came before it, and in which order, and the dependencies can be read off (as Elle does):
 *
 *     ww   whose number follows whose in a list
 *     wr   whose number was the last one read
 *     rw   whose number would have been the next one: the reader came before that writer
 *     rt   who had committed before whom began
 *
 *     anomaly        a cycle of
 *     G0             ww
 *     G1c            ww, wr
 *     G-single       those and one rw
 *     G-nonadjacent  those and several rw, no two of them neighbours
 *     G2             those and rw, two of them neighbours: write skew, phantoms
 *
 * and each may be closed by rt edges, since order is real-time. Not cycles: a read of what was never
 * committed (G1a), of something in between (G1b), a lost or doubled append, a list that is no beginning
 * of the final one, a transaction that does not see its own writes.
 *
 * SNAPSHOT forbids all but G2, SERIALIZABLE all. The first is looked for in the graph whose nodes
 * are (transaction, came here by rw): from one that did no rw edge leads on.
 *
 * Not reentrant: one check at a time.
 */
#ifndef TEST_API_ISOLATION_H
#define TEST_API_ISOLATION_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ISO_OPS     32 /* of one transaction */
#define ISO_APPENDS 8  /* numbers of one transaction */

enum iso_state { ISO_NONE, ISO_BEGUN, ISO_COMMITTED, ISO_ABORTED };

struct iso_op {
    uint32_t key;
    uint32_t id;   /* what was appended; 0: only read */
    uint32_t len;  /* of the list, as read before the append */
    uint32_t hash; /* of its numbers, iso_hash() */
};

struct iso_txn {
    uint64_t begin, end; /* ticks of one clock for all */
    uint32_t process;
    uint8_t state;
    uint8_t op_count;
    struct iso_op op[ISO_OPS];
};

/* The lists as they are in the end. */
struct iso_list {
    uint32_t *id;
    uint32_t count;
};

struct iso_history {
    struct iso_txn *txn;
    uint32_t txn_count;
    struct iso_list *list;
    uint32_t key_count;
};

enum iso_anomaly {
    ISO_FINE,
    ISO_G2,
    ISO_G_NONADJACENT,
    ISO_G_SINGLE,
    ISO_G1C,
    ISO_G0,
    ISO_G1B,
    ISO_G1A,
    ISO_LOST,
    ISO_INTERNAL,
    ISO_INCOMPATIBLE
};

static inline const char *iso_name(enum iso_anomaly a)
{
    static const char *const name[] = {"none",        "G2",       "G-nonadjacent", "G-single",
                                       "G1c",         "G0",       "G1b",           "G1a",
                                       "lost append", "internal", "incompatible"};

    return name[a];
}

static inline uint32_t iso_hash(uint32_t h, uint32_t id)
{
    return (h ^ id) * 2654435761u + 1;
}

/* Numbers tell their transaction: no table is needed. */
static inline uint32_t iso_id(uint32_t txn, uint32_t nth)
{
    return txn * ISO_APPENDS + nth + 1;
}

static inline uint32_t iso_txn_of(uint32_t id)
{
    return (id - 1) / ISO_APPENDS;
}

/* ---- graphs ---- */

enum iso_edge_kind { ISO_WW = 1, ISO_WR = 2, ISO_RW = 4, ISO_RT = 8 };

struct iso_edge {
    uint32_t from, to;
    uint32_t kind;
};

struct iso_graph {
    struct iso_edge *edge;
    size_t edge_count, edge_cap;
    uint32_t node_count;
};

static inline void iso_add(struct iso_graph *g, uint32_t from, uint32_t to, enum iso_edge_kind kind)
{
    if (from == to)
        return;
    if (g->edge_count == g->edge_cap) {
        g->edge_cap = g->edge_cap ? g->edge_cap * 2 : 4096;
        g->edge = realloc(g->edge, g->edge_cap * sizeof *g->edge);
        if (!g->edge)
            abort();
    }
    g->edge[g->edge_count++] = (struct iso_edge){from, to, kind};
}

/* Is there a cycle of edges of these kinds? `apart`: in which no two rw edges are neighbours. */
static inline bool iso_has_cycle(const struct iso_graph *g, unsigned kinds, bool apart)
{
    uint32_t n = apart ? g->node_count * 2 : g->node_count, left = n, *queue;
    uint32_t *first = calloc((size_t)n + 1, sizeof *first), *into = calloc(n, sizeof *into);
    uint32_t *to = malloc((g->edge_count * 2 + 1) * sizeof *to), head = 0, tail = 0;

    queue = malloc(((size_t)n + 1) * sizeof *queue);
    if (!first || !into || !to || !queue)
        abort();
    /* Two passes over the edges: how many leave each node, then where they go. */
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < g->edge_count; i++) {
            const struct iso_edge *e = &g->edge[i];
            bool is_rw = e->kind == ISO_RW;

            if (!(e->kind & kinds))
                continue;
            for (uint32_t came = 0; came < (apart && !is_rw ? 2u : 1u); came++) {
                uint32_t a = apart ? e->from * 2 + came : e->from;
                uint32_t b = apart ? e->to * 2 + is_rw : e->to;

                if (pass == 0) {
                    first[a + 1]++;
                } else {
                    to[first[a]++] = b;
                    into[b]++;
                }
            }
        }
        for (uint32_t i = 0; pass == 0 && i < n; i++)
            first[i + 1] += first[i];
    }
    /* `first[a]` is now the end of a's edges. Take away nodes nothing leads to; a cycle remains. */
    for (uint32_t i = 0; i < n; i++)
        if (into[i] == 0)
            queue[tail++] = i;
    while (head < tail) {
        uint32_t a = queue[head++];

        left--;
        for (uint32_t i = a ? first[a - 1] : 0; i < first[a]; i++)
            if (--into[to[i]] == 0)
                queue[tail++] = to[i];
    }
    free(first);
    free(into);
    free(to);
    free(queue);
    return left != 0;
}

/* A cycle with exactly one rw edge? Only asked when something is wrong: it is slow. */
static inline bool iso_has_single(const struct iso_graph *g)
{
    uint8_t *seen = malloc(g->node_count);
    bool found = false;

    for (size_t i = 0; i < g->edge_count && !found && seen; i++) {
        bool grows = true;

        if (g->edge[i].kind != ISO_RW)
            continue;
        memset(seen, 0, g->node_count);
        seen[g->edge[i].to] = 1;
        while (grows && !found) {
            grows = false;
            for (size_t k = 0; k < g->edge_count; k++) {
                const struct iso_edge *e = &g->edge[k];

                if (e->kind == ISO_RW || !seen[e->from] || seen[e->to])
                    continue;
                seen[e->to] = 1;
                grows = true;
            }
            found = seen[g->edge[i].from];
        }
    }
    free(seen);
    return found;
}

/* ---- the checks ---- */

static inline const struct iso_txn *iso_writer(const struct iso_history *h, uint32_t id)
{
    return id && iso_txn_of(id) < h->txn_count ? &h->txn[iso_txn_of(id)] : NULL;
}

/* Every number in a final list was appended by who committed, once; and all of those are there. */
static inline enum iso_anomaly iso_check_lists(const struct iso_history *h)
{
    uint64_t appended = 0, found = 0;

    for (uint32_t i = 0; i < h->txn_count; i++)
        for (uint32_t k = 0; k < h->txn[i].op_count && h->txn[i].state == ISO_COMMITTED; k++)
            appended += h->txn[i].op[k].id != 0;
    for (uint32_t k = 0; k < h->key_count; k++)
        for (uint32_t i = 0; i < h->list[k].count; i++) {
            const struct iso_txn *w = iso_writer(h, h->list[k].id[i]);
            bool is_there = false;

            if (!w || w->state != ISO_COMMITTED)
                return ISO_G1A;
            for (uint32_t o = 0; o < w->op_count; o++)
                is_there |= w->op[o].key == k && w->op[o].id == h->list[k].id[i];
            for (uint32_t o = 0; o < i; o++)
                is_there &= h->list[k].id[o] != h->list[k].id[i];
            if (!is_there)
                return ISO_LOST; /* doubled, or in the wrong list */
            found++;
        }
    return found == appended ? ISO_FINE : ISO_LOST;
}

/* The read that could not be: for whoever looks for the reason. */
static uint32_t iso_bad_txn, iso_bad_op;

static inline enum iso_anomaly iso_check_reads(const struct iso_history *h)
{
    for (uint32_t i = 0; i < h->txn_count; i++) {
        const struct iso_txn *t = &h->txn[i];

        for (uint32_t k = 0; k < t->op_count && t->state == ISO_COMMITTED; k++) {
            const struct iso_op *op = &t->op[k], *before = NULL;
            const struct iso_list *l = &h->list[op->key];
            uint32_t hash = 0;

            iso_bad_txn = i;
            iso_bad_op = k;
            for (uint32_t o = 0; o < k; o++)
                if (t->op[o].key == op->key)
                    before = &t->op[o];
            if (before) { /* itself: what it saw or made of it last time */
                hash = before->id ? iso_hash(before->hash, before->id) : before->hash;
                if (op->len != before->len + (before->id != 0) || op->hash != hash)
                    return ISO_INTERNAL;
                continue;
            }
            if (op->len > l->count)
                return ISO_INCOMPATIBLE;
            for (uint32_t n = 0; n < op->len; n++)
                hash = iso_hash(hash, l->id[n]);
            if (hash != op->hash)
                return ISO_INCOMPATIBLE;
            if (op->len && op->len < l->count && iso_txn_of(l->id[op->len - 1]) != i &&
                iso_txn_of(l->id[op->len - 1]) == iso_txn_of(l->id[op->len]))
                return ISO_G1B;
        }
    }
    return ISO_FINE;
}

static inline void iso_build(const struct iso_history *h, struct iso_graph *g)
{
    uint64_t first = UINT64_MAX, last = 0;
    uint32_t ticks;

    g->edge_count = 0;
    for (uint32_t i = 0; i < h->txn_count; i++)
        if (h->txn[i].state == ISO_COMMITTED) {
            first = h->txn[i].begin < first ? h->txn[i].begin : first;
            last = h->txn[i].end > last ? h->txn[i].end : last;
        }
    ticks = first < last ? (uint32_t)(last - first + 1) : 0;
    g->node_count = h->txn_count + ticks;
    for (uint32_t t = 0; t + 1 < ticks; t++)
        iso_add(g, h->txn_count + t, h->txn_count + t + 1, ISO_RT);
    for (uint32_t k = 0; k < h->key_count; k++)
        for (uint32_t i = 1; i < h->list[k].count; i++)
            iso_add(g, iso_txn_of(h->list[k].id[i - 1]), iso_txn_of(h->list[k].id[i]), ISO_WW);
    for (uint32_t i = 0; i < h->txn_count; i++) {
        const struct iso_txn *t = &h->txn[i];

        if (t->state != ISO_COMMITTED)
            continue;
        iso_add(g, h->txn_count + (uint32_t)(t->begin - first), i, ISO_RT);
        iso_add(g, i, h->txn_count + (uint32_t)(t->end - first), ISO_RT);
        for (uint32_t k = 0; k < t->op_count; k++) {
            const struct iso_op *op = &t->op[k];
            const struct iso_list *l = &h->list[op->key];
            bool is_first = true;

            for (uint32_t o = 0; o < k; o++)
                is_first &= t->op[o].key != op->key;
            if (is_first && op->len)
                iso_add(g, iso_txn_of(l->id[op->len - 1]), i, ISO_WR);
            if (is_first && op->len < l->count)
                iso_add(g, i, iso_txn_of(l->id[op->len]), ISO_RW);
        }
    }
}

/* The worst anomaly there is. */
static inline enum iso_anomaly iso_check(const struct iso_history *h)
{
    static struct iso_graph g;
    enum iso_anomaly a = iso_check_lists(h);

    if (a == ISO_FINE)
        a = iso_check_reads(h);
    if (a != ISO_FINE)
        return a;
    iso_build(h, &g);
    if (!iso_has_cycle(&g, ISO_WW | ISO_WR | ISO_RW | ISO_RT, false))
        return ISO_FINE;
    if (!iso_has_cycle(&g, ISO_WW | ISO_WR | ISO_RW | ISO_RT, true))
        return ISO_G2;
    if (iso_has_cycle(&g, ISO_WW | ISO_RT, false))
        return ISO_G0;
    if (iso_has_cycle(&g, ISO_WW | ISO_WR | ISO_RT, false))
        return ISO_G1C;
    return iso_has_single(&g) ? ISO_G_SINGLE : ISO_G_NONADJACENT;
}

/* ---- histories for Elle (EDN; model list-append) ---- */

/* A list that somebody has made: `id` behind a list of that length and hash. */
struct iso_made {
    uint32_t key, len, hash; /* 0: free; else of the list with `id` */
    uint32_t before, id;     /* the hash without */
};

struct iso_lists {
    struct iso_made *made;
    uint32_t mask;
};

static inline struct iso_made *iso_made_at(const struct iso_lists *l, uint32_t key, uint32_t len,
                                           uint32_t hash)
{
    uint32_t i = (hash ^ key * 40503u ^ len) & l->mask;

    while (l->made[i].len &&
           (l->made[i].key != key || l->made[i].len != len || l->made[i].hash != hash))
        i = (i + 1) & l->mask;
    return &l->made[i];
}

/* Every list that was read and is not empty was made by an append, whose transaction says behind what:
 * so the numbers come back from lengths and hashes, also where the end shows none of them. */
static inline struct iso_lists iso_lists_of(const struct iso_history *h)
{
    struct iso_lists l = {NULL, 1024};

    while (l.mask < h->txn_count * 2 * ISO_APPENDS)
        l.mask *= 2;
    l.made = calloc(l.mask, sizeof *l.made);
    if (!l.made)
        abort();
    l.mask--;
    for (uint32_t i = 0; i < h->txn_count; i++)
        for (uint32_t k = 0; k < h->txn[i].op_count; k++) {
            const struct iso_op *op = &h->txn[i].op[k];
            uint32_t hash = iso_hash(op->hash, op->id);

            if (op->id)
                *iso_made_at(&l, op->key, op->len + 1, hash) =
                    (struct iso_made){op->key, op->len + 1, hash, op->hash, op->id};
        }
    return l;
}

/* The numbers of a list, or nil for one that nobody made. */
static inline void iso_dump_list(const struct iso_lists *l, const struct iso_op *op, FILE *out)
{
    uint32_t *id = calloc((size_t)op->len + 1, sizeof *id), hash = op->hash;
    bool is_known = id != NULL;

    for (uint32_t n = op->len; n > 0 && is_known; n--) {
        const struct iso_made *made = iso_made_at(l, op->key, n, hash);

        is_known = made->len != 0;
        id[n - 1] = made->id;
        hash = made->before;
    }
    fprintf(out, "[:r %u ", op->key);
    for (uint32_t n = 0; n < op->len && is_known; n++)
        fprintf(out, "%s%u", n ? " " : "[", id[n]);
    fprintf(out, "%s]", !is_known ? "nil" : op->len ? "]" : "[]");
    free(id);
}

/* One event of one transaction. Before it ended nobody knows what its reads will say. */
static inline void iso_dump_event(const struct iso_lists *l, const struct iso_txn *t,
                                  uint32_t process, bool is_end, uint32_t index, FILE *out)
{
    fprintf(out, "{:index %u :time %llu :type %s :process %u :f :txn :value [", index,
            (unsigned long long)(is_end ? t->end : t->begin),
            !is_end                     ? ":invoke"
            : t->state == ISO_COMMITTED ? ":ok"
                                        : ":fail",
            process);
    for (uint32_t k = 0; k < t->op_count; k++) {
        const struct iso_op *op = &t->op[k];

        fprintf(out, "%s", k ? " " : "");
        if (is_end && t->state == ISO_COMMITTED)
            iso_dump_list(l, op, out);
        else
            fprintf(out, "[:r %u nil]", op->key);
        if (op->id)
            fprintf(out, " [:append %u %u]", op->key, op->id);
    }
    fprintf(out, "]}\n");
}

struct iso_event {
    uint64_t tick;
    uint32_t txn;
    bool is_end;
};

static inline int iso_event_order(const void *a, const void *b)
{
    const struct iso_event *x = a, *y = b;

    return x->tick < y->tick ? -1 : x->tick > y->tick;
}

/* One event a line, in the order of time, begin and end of each transaction. A process has one
 * transaction at a time there, so that a thread with several is several processes; at last a reader of
 * its own sees the lists as they are in the end. */
static inline void iso_dump(const struct iso_history *h, FILE *out)
{
    struct iso_lists lists = iso_lists_of(h);
    struct iso_event *event = malloc(((size_t)h->txn_count * 2 + 1) * sizeof *event);
    uint32_t *process = calloc((size_t)h->txn_count + 1, sizeof *process);
    uint8_t *is_busy = calloc((size_t)h->txn_count + 1, 1);
    uint32_t count = 0;
    uint64_t last = 0;

    if (!event || !process || !is_busy)
        abort();
    for (uint32_t i = 0; i < h->txn_count; i++)
        if (h->txn[i].state != ISO_NONE) {
            event[count++] = (struct iso_event){h->txn[i].begin, i, false};
            if (h->txn[i].state != ISO_BEGUN) /* else nobody was told how it ended */
                event[count++] = (struct iso_event){h->txn[i].end, i, true};
        }
    qsort(event, count, sizeof *event, iso_event_order);
    for (uint32_t e = 0; e < count; e++) {
        uint32_t i = event[e].txn;

        if (!event[e].is_end)
            while (is_busy[process[i]])
                process[i]++;
        is_busy[process[i]] = !event[e].is_end;
        iso_dump_event(&lists, &h->txn[i], process[i], event[e].is_end, e, out);
        last = event[e].tick;
    }
    for (int is_end = 0; is_end < 2; is_end++) {
        fprintf(out, "{:index %u :time %llu :type %s :process %u :f :txn :value [",
                count + (uint32_t)is_end, (unsigned long long)last + 1 + (unsigned)is_end,
                is_end ? ":ok" : ":invoke", h->txn_count);
        for (uint32_t k = 0; k < h->key_count; k++) {
            fprintf(out, "%s[:r %u %s", k ? " " : "", k, is_end ? "[" : "nil");
            for (uint32_t n = 0; is_end && n < h->list[k].count; n++)
                fprintf(out, "%s%u", n ? " " : "", h->list[k].id[n]);
            fprintf(out, "%s]", is_end ? "]" : "");
        }
        fprintf(out, "]}\n");
    }
    free(lists.made);
    free(event);
    free(process);
    free(is_busy);
}

#endif
