/* bench/workload_models.c -- what is measured of records, edges and memories, through the typed calls of
 * engines that have them (models.h). One commit each; ids and names are text, as users have them.
 *
 *     records     num of them, ids "user_017/note_000004711", contents of 300 bytes
 *     ring, hub   num nodes in a circle; num leaves of one node. Each run's edges are new ones
 *     graph       num edges: num / 10 nodes, ten edges from each to nodes at random
 *     stars       200 nodes with 100 edges each, into the same nodes
 *     memories    records with a vector of 384 numbers
 *
 * The graph and the stars are made, not timed, by the first workload that reads them.
 */
#include "bench/run.h"

#include "bench/models.h"

#include <stdlib.h>

#define CONTENT 300
#define TEXT    32 /* of an id */
#define DEGREE  10
#define STARS   200
#define RAYS    100
#define DIM     384

/* ---- names ---- */

/* `n` in `digits` digits. */
static void write_digits(char *to, uint64_t n, int digits)
{
    while (digits-- > 0) {
        to[digits] = (char)('0' + n % 10);
        n /= 10;
    }
}

static odb_slice record_id(char text[TEXT], uint64_t n)
{
    memcpy(text, "user_000/note_000000000", 23);
    write_digits(text + 5, n % 500, 3);
    write_digits(text + 14, n, 9);
    return odb_bytes(text, 23);
}

static odb_slice numbered(char text[TEXT], const char *name, uint64_t n)
{
    size_t len = strlen(name);

    memcpy(text, name, len);
    write_digits(text + len, n, 9);
    return odb_bytes(text, len + 9);
}

/* A relation of this run only, so that its edges are new: "ring3". */
static odb_slice relation(const struct bench_worker *w, char text[TEXT], const char *name)
{
    return odb_bytes(text, (size_t)snprintf(text, TEXT, "%s%u", name, w->run->graph.runs));
}

/* ---- what every workload begins with ---- */

/* False, with a note and no operation counted, when the engine has no such thing. */
static bool has_models(struct bench_worker *w)
{
    if (!w->e->models)
        (void)snprintf(w->note, sizeof w->note, "%s has no records and no edges", w->e->name);
    return w->e->models;
}

static void prepare_models(struct bench_worker *w)
{
    if (!w->e->models)
        return;
    w->e->models->ready(w->session);
    w->run->graph.runs++;
}

static uint64_t graph_nodes(const struct bench_worker *w)
{
    return w->s->num < 2 * DEGREE ? 2 : w->s->num / DEGREE;
}

static uint64_t node_by_chance(struct bench_worker *w, struct bench_rng *r)
{
    return bench_rng_next(r) % graph_nodes(w);
}

/* Edge `i` of the graph. */
static void link_graph(struct bench_worker *w, struct bench_rng *r, uint64_t i)
{
    char from[TEXT], to[TEXT];

    w->e->models->link(w->session, numbered(from, "node", i / DEGREE % graph_nodes(w)),
                       odb_s("depends_on"), numbered(to, "node", node_by_chance(w, r)));
}

/* The same edges whichever workload makes them. */
static void prepare_graph(struct bench_worker *w)
{
    struct bench_rng r;

    prepare_models(w);
    if (!w->e->models || w->run->graph.is_made)
        return;
    bench_rng_init(&r, w->s->seed);
    for (uint64_t i = 0; i < graph_nodes(w) * DEGREE; i++)
        link_graph(w, &r, i);
    w->run->graph.is_made = true;
}

/* The threads of linkrandom are about to make it. */
static void prepare_linkrandom(struct bench_worker *w)
{
    prepare_models(w);
    w->run->graph.is_made = true;
}

static void prepare_stars(struct bench_worker *w)
{
    struct bench_rng r;
    char from[TEXT], to[TEXT];

    prepare_models(w);
    if (!w->e->models || w->run->graph.has_stars)
        return;
    bench_rng_init(&r, w->s->seed + 1);
    for (uint64_t i = 0; i < STARS; i++)
        for (uint64_t k = 0; k < RAYS; k++)
            w->e->models->link(w->session, numbered(from, "star", i), odb_s("shines_on"),
                               numbered(to, "planet", k * 1000000 + bench_rng_next(&r) % 1000000));
    w->run->graph.has_stars = true;
}

/* ---- records ---- */

static struct bench_record record_numbered(struct bench_worker *w, char text[TEXT], uint64_t n)
{
    static const char *const category[] = {"docs", "faq", "chat", "code", "mail"};

    return (struct bench_record){
        .id = record_id(text, n),
        .content = bench_value(&w->values),
        .category = category[n % 5],
        .version = (int64_t)(n % 7),
        .time_us = 1700000000000000 + (int64_t)n * 1000,
        .importance = (double)(bench_mix(n) % 1000) / 1000,
    };
}

static void put_record(struct bench_worker *w, uint64_t n)
{
    char text[TEXT];
    struct bench_record r = record_numbered(w, text, n);

    w->e->models->record_put(w->session, &r);
    w->user_bytes += r.id.size + r.content.size;
    w->bytes += r.id.size + r.content.size;
    bench_did(w, 1);
}

static void do_recordput(struct bench_worker *w)
{
    uint64_t stretch = w->s->num / w->count, first = w->index * stretch;

    if (!has_models(w))
        return;
    w->values.size = CONTENT;
    while (bench_more(w)) /* scattered: 7919 is a prime */
        put_record(w, w->ops < stretch ? first + w->ops * 7919 % stretch : w->ops % w->s->num);
}

static void do_recordreplace(struct bench_worker *w)
{
    if (!has_models(w))
        return;
    w->values.size = CONTENT;
    while (bench_more(w))
        put_record(w, bench_rng_next(&w->rng) % w->s->num);
}

static void do_recordget(struct bench_worker *w)
{
    if (!has_models(w))
        return;
    while (bench_more(w)) {
        char text[TEXT];
        odb_slice id = record_id(text, bench_rng_next(&w->rng) % w->s->num);

        w->found += w->e->models->record_get(w->session, id, &w->bytes);
        bench_did(w, 1);
    }
}

/* ---- edges ---- */

static void do_linkring(struct bench_worker *w)
{
    uint64_t first = w->index * (w->s->num / w->count);
    char rel[TEXT];
    odb_slice ring;

    if (!has_models(w))
        return;
    ring = relation(w, rel, "ring");
    while (bench_more(w)) {
        char from[TEXT], to[TEXT];
        uint64_t n = first + w->ops;

        w->e->models->link(w->session, numbered(from, "node", n % w->s->num), ring,
                           numbered(to, "node", (n + 1) % w->s->num));
        bench_did(w, 1);
    }
}

static void do_linkhub(struct bench_worker *w)
{
    uint64_t first = w->index * (w->s->num / w->count);
    char rel[TEXT];
    odb_slice has;

    if (!has_models(w))
        return;
    has = relation(w, rel, "has");
    while (bench_more(w)) {
        char leaf[TEXT];

        w->e->models->link(w->session, odb_s("hub"), has,
                           numbered(leaf, "leaf", (first + w->ops) * 7919 % w->s->num));
        bench_did(w, 1);
    }
}

static void do_linkrandom(struct bench_worker *w)
{
    uint64_t first = w->index * (w->s->num / w->count);

    if (!has_models(w))
        return;
    while (bench_more(w)) {
        link_graph(w, &w->rng, first + w->ops);
        bench_did(w, 1);
    }
}

static void do_outgoing(struct bench_worker *w)
{
    if (!has_models(w))
        return;
    while (bench_more(w)) {
        char star[TEXT];

        w->found += w->e->models->edges(
            w->session, numbered(star, "star", bench_rng_next(&w->rng) % STARS), false, &w->bytes);
        bench_did(w, 1);
    }
}

static void do_neighbours(struct bench_worker *w)
{
    if (!has_models(w))
        return;
    while (bench_more(w)) {
        char text[TEXT];
        odb_slice node = numbered(text, "node", node_by_chance(w, &w->rng));

        w->found += w->e->models->edges(w->session, node, false, &w->bytes) +
                    w->e->models->edges(w->session, node, true, &w->bytes);
        bench_did(w, 1);
    }
}

static void do_walk3(struct bench_worker *w)
{
    if (!has_models(w))
        return;
    if (w->goal != UINT64_MAX)
        w->goal = (w->goal + 99) / 100; /* one of them takes a thousand times as long as a get */
    while (bench_more(w)) {
        char text[TEXT];

        w->found +=
            w->e->models->walk(w->session, numbered(text, "node", node_by_chance(w, &w->rng)), 3);
        bench_did(w, 1);
    }
}

/* ---- memories ---- */

static void prepare_memories(struct bench_worker *w, bool graph)
{
    prepare_models(w);
    if (w->e->models)
        w->run->graph.has_vectors = w->e->models->vectors(w->session, DIM, graph);
}

static void prepare_memoryput(struct bench_worker *w)
{
    prepare_memories(w, false);
}

static void prepare_memoryputgraph(struct bench_worker *w)
{
    prepare_memories(w, true);
}

static void do_memoryput(struct bench_worker *w)
{
    uint64_t first = w->index * (w->s->num / w->count);
    float v[DIM];

    if (!has_models(w))
        return;
    if (!w->run->graph.has_vectors) {
        (void)snprintf(w->note, sizeof w->note, "%s has no graph of vectors", w->e->name);
        return;
    }
    w->values.size = CONTENT;
    while (bench_more(w)) {
        char text[TEXT];
        struct bench_record r = record_numbered(w, text, first + w->ops);

        for (size_t i = 0; i < DIM; i++)
            v[i] = (float)bench_rng_real(&w->rng);
        w->e->models->memory_put(w->session, &r, v, DIM);
        w->user_bytes += r.id.size + r.content.size + sizeof v;
        w->bytes += r.id.size + r.content.size + sizeof v;
        bench_did(w, 1);
    }
}

#define FILLS (BENCH_FRESH | BENCH_WRITES | BENCH_SAME)

const struct bench_workload bench_workloads_of_models[] = {
    {"recordput", "put records: an id, 300 bytes, time, importance, two properties", FILLS,
     prepare_models, do_recordput},
    {"recordreplace", "put records in place of those of recordput", BENCH_WRITES, prepare_models,
     do_recordreplace},
    {"recordget", "get records of recordput by id", BENCH_CHECKED, prepare_models, do_recordget},
    {"linkring", "link nodes in a circle", BENCH_WRITES, prepare_models, do_linkring},
    {"linkhub", "link one node with many", BENCH_WRITES, prepare_models, do_linkhub},
    {"linkrandom", "link ten nodes at random with each of num / 10 nodes", FILLS,
     prepare_linkrandom, do_linkrandom},
    {"outgoing", "all edges from a node that has a hundred", BENCH_CHECKED, prepare_stars,
     do_outgoing},
    {"neighbours", "all edges from and to a node with ten of each", BENCH_CHECKED, prepare_graph,
     do_neighbours},
    {"walk3", "all nodes within three hops, about a thousand; reads / 100 times", BENCH_CHECKED,
     prepare_graph, do_walk3},
    {"memoryput", "put records with a vector of 384 numbers, to be searched one by one", FILLS,
     prepare_memoryput, do_memoryput},
    {"memoryputgraph", "the same, and a graph is built behind the writer", FILLS,
     prepare_memoryputgraph, do_memoryput},
    {NULL, NULL, 0, NULL, NULL},
};
