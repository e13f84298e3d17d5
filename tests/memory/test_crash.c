/* Records, edges, vectors, documents and metadata on a simulated disk that dies.
 *
 * A history of operations runs, each of them one commit over several namespaces. Before sampled calls of
 * the machine, and inside sampled writes, images of the disk are taken under all crash models. Each is
 * then opened as the next process would, and must hold exactly the state after the first k operations, for
 * one k that is not below what was promised (every acknowledged one when the process died, every synced
 * one when the power went), and the namespaces must agree with each other. Then it must go on working;
 * and for some, recovery dies too and the next one must find the same.
 *
 * Linked with --wrap=os_posix: whoever asks for the machine gets the simulated one, up to the public calls.
 *
 *   ODB_TEST_SEED    another history
 *   ODB_TEST_STRIDE  look at every so many calls (1: all)
 */
#include "os/sim.h"
#include "tests/base/random.h"
#include "tests/lib/test_alloc.h"
#include "tests/memory/fixture.h"

#define DIR         "/db"
#define STEPS       72
#define MEMORIES    6
#define CHUNKS      4
#define WINDOW      60 /* moments whose images are held at once */
#define IMAGES      8
#define NEVER       0 /* steps count from 1: nothing is from none */
#define REASON_MAX  400
#define NEST_EVERY  25
#define GO_ON_EVERY 5

/* ---- the machine ---- */

struct os *__real_os_posix(void);
struct os *__wrap_os_posix(void);

static struct os *disk; /* NULL: the real one */

struct os *__wrap_os_posix(void)
{
    return disk ? disk : __real_os_posix();
}

/* ---- what is done, and what is there afterwards ---- */

enum deed {
    PUT_MEMORY, /* with its edge to the document and a metadata document: one transaction */
    DELETE_MEMORY,
    PUT_DOCUMENT, /* with step % CHUNKS chunks */
    DELETE_DOCUMENT,
    RELINK, /* an edge of a memory leads to another, one transaction */
    DEED_COUNT,
};

struct step {
    enum deed deed;
    uint32_t which; /* memory */
};

/* The step each thing is from. */
struct world {
    uint32_t memory[MEMORIES];
    uint32_t document;
    uint32_t mood[MEMORIES]; /* where the edge "likes" leads: to node "mood/STEP" */
    uint32_t note;           /* what the metadata document says */
};

static struct step script[STEPS + 1];    /* from 1 */
static struct world after[STEPS + 1];    /* the first k steps */
static uint32_t started, acked, durable; /* steps */
static bool has_opened;                  /* odb_open returned */
static uint64_t seed_used, judged, doubles, nested;

static void write_script(struct rnd *rnd)
{
    memset(after, 0, sizeof after);
    for (uint32_t k = 1; k <= STEPS; k++) {
        struct step *s = &script[k];
        struct world *w = &after[k];
        uint32_t dice = rnd_below(rnd, 100);

        *w = after[k - 1];
        s->which = rnd_below(rnd, MEMORIES);
        s->deed = dice < 50   ? PUT_MEMORY
                  : dice < 65 ? DELETE_MEMORY
                  : dice < 80 ? PUT_DOCUMENT
                  : dice < 85 ? DELETE_DOCUMENT
                              : RELINK;
        switch (s->deed) {
        case PUT_MEMORY: w->memory[s->which] = w->note = k; break;
        case DELETE_MEMORY: w->memory[s->which] = w->mood[s->which] = NEVER; break;
        case PUT_DOCUMENT: w->document = k; break;
        case DELETE_DOCUMENT: w->document = NEVER; break;
        default: w->mood[s->which] = k; break;
        }
    }
}

struct names {
    char memory[16], content[16], mood[16], old_mood[16], chunk[CHUNKS][16];
};

static void name_all(struct names *n, uint32_t k, uint32_t which)
{
    (void)snprintf(n->memory, sizeof n->memory, "m%u", which);
    (void)snprintf(n->content, sizeof n->content, "%u", k);
    (void)snprintf(n->mood, sizeof n->mood, "mood/%u", k);
    (void)snprintf(n->old_mood, sizeof n->old_mood, "mood/%u", after[k - 1].mood[which]);
    for (int i = 0; i < CHUNKS; i++)
        (void)snprintf(n->chunk[i], sizeof n->chunk[i], "doc/%d", i);
}

static odb_memory memory_from(const char *id, const struct names *n, const float *e)
{
    odb_memory m = odb_memory_make(id, n->content);

    m.embedding = e;
    m.dim = 3;
    return m;
}

static odb_status put_memory(odb_db *db, odb_txn *t, const struct names *n, const float *e)
{
    odb_memory m = memory_from(n->memory, n, e);
    odb_status st = odb_memory_put(db, t, &m, 0);

    if (st == ODB_OK)
        st = odb_link(db, t, m.id, odb_s("about"), odb_s("doc"));
    return st == ODB_OK ? odb_meta_put(db, t, "user.note", odb_s(n->content)) : st;
}

static odb_status put_document(odb_db *db, const struct names *n, const float *e, uint32_t k)
{
    odb_document d = odb_document_make("doc", "doc.txt", 1, n->content);
    odb_chunk chunks[CHUNKS];

    d.memory.embedding = e;
    d.memory.dim = 3;
    for (size_t i = 0; i < k % CHUNKS; i++) {
        chunks[i] = odb_chunk_make(n->chunk[i], n->content, i, i + 1);
        chunks[i].memory.embedding = e;
        chunks[i].memory.dim = 3;
    }
    return odb_document_put(db, NULL, &d, chunks, k % CHUNKS, 0);
}

static odb_status do_in_txn(odb_db *db, const struct names *n, const float *e, uint32_t k)
{
    odb_txn *t;
    odb_status st = odb_txn_begin(db, NULL, &t);

    if (st != ODB_OK)
        return st;
    if (script[k].deed == PUT_MEMORY) {
        st = put_memory(db, t, n, e);
    } else {
        st = odb_unlink(db, t, odb_s(n->memory), odb_s("likes"), odb_s(n->old_mood));
        if (st == ODB_OK)
            st = odb_link(db, t, odb_s(n->memory), odb_s("likes"), odb_s(n->mood));
    }
    if (st == ODB_OK)
        st = odb_txn_commit(t, NULL);
    odb_txn_free(t);
    return st;
}

static odb_status do_step(odb_db *db, uint32_t k)
{
    const float e[3] = {(float)k, 1, (float)script[k].which};
    struct names n;

    name_all(&n, k, script[k].which);
    switch (script[k].deed) {
    case PUT_MEMORY:
    case RELINK: return do_in_txn(db, &n, e, k);
    case DELETE_MEMORY: return odb_memory_delete(db, NULL, odb_s(n.memory), ODB_CASCADE_EDGES);
    case PUT_DOCUMENT: return put_document(db, &n, e, k);
    case DELETE_DOCUMENT: return odb_document_delete(db, NULL, odb_s("doc"), 0);
    case DEED_COUNT: break;
    }
    return ODB_INVALID;
}

static odb_options crash_options(void)
{
    odb_options o = fixture_options();

    o.no_threads = true;
    o.write_buffer_size = 64 << 10;
    o.log_segment_size = 64 << 10;
    o.ring_size = 64 << 10;
    o.disk_reserve = 1; /* none */
    return o;
}

/* The graph of the vectors is stored every few nodes, so that a crash falls between. */
static odb_status open_vectors(odb_db *db)
{
    odb_vec_config c = {.size = sizeof c, .dim = 3, .mode = ODB_VEC_MANUAL};

    c.flush_every = 4;
    return odb_vec_open(db, &c);
}

static odb_status keep_house(odb_db *db, uint32_t k)
{
    odb_status st = ODB_OK;

    if (k % 3 == 0)
        while (odb_vec_work(db)) {
        }
    if (k % 20 == 0)
        st = odb_flush(db, NULL);
    if (st == ODB_OK && k % 33 == 0)
        st = odb_compact(db, NULL, NULL, NULL, NULL);
    while (odb_work(db)) {
    }
    return st;
}

static void expect_state(odb_db *db, uint32_t k);

/* On `disk`, to the end or until it fails; `checked`: the state after each step is the one foretold. */
static odb_status run_script(bool checked)
{
    odb_options o = crash_options();
    odb_db *db = NULL;
    odb_status st;

    started = acked = durable = 0;
    has_opened = false;
    st = odb_open(DIR, &o, &db);
    if (st != ODB_OK)
        return st;
    has_opened = true;
    st = open_vectors(db);
    for (uint32_t k = 1; k <= STEPS && st == ODB_OK; k++) {
        started = k;
        st = do_step(db, k);
        if (st == ODB_OK) {
            acked = k;
            if (checked)
                expect_state(db, k);
            st = keep_house(db, k);
        }
        if (st == ODB_OK && k % 7 == 0 && (st = odb_sync(db)) == ODB_OK)
            durable = k;
    }
    if (st == ODB_OK)
        st = odb_close(db);
    else
        (void)odb_close(db);
    if (st == ODB_OK)
        durable = acked;
    return st;
}

/* ---- what the next process finds ---- */

static bool say(char *why, const char *what, odb_status st)
{
    (void)snprintf(why, REASON_MAX, "%s: %s: %.200s", what, odb_status_name(st), odb_error_text());
    return false;
}

/* The step a record is from; its vector must be from the same. */
static bool step_of(odb_db *db, const char *id, uint32_t *out, char *why)
{
    odb_record *r = NULL;
    char content[16];
    float e[3] = {0, 0, 0};
    uint32_t dim = 0;
    odb_status st = odb_record_get(odb_now(db), odb_s(id), &r);
    odb_status of_vector = odb_vec_get(odb_now(db), odb_s(id), e, 3, &dim);

    *out = NEVER;
    if (st == ODB_ABSENT && of_vector == ODB_ABSENT)
        return true;
    if (st == ODB_OK) {
        (void)snprintf(content, sizeof content, "%.*s", (int)odb_record_content(r).size,
                       (const char *)odb_record_content(r).data);
        *out = (uint32_t)strtoul(content, NULL, 10);
        odb_record_free(r);
    }
    if (st == ODB_OK && of_vector == ODB_OK && dim == 3 && e[0] == (float)*out)
        return true;
    (void)snprintf(why, REASON_MAX, "%s: the record says %s (step %u), the vector %s (step %.0f)",
                   id, odb_status_name(st), *out, odb_status_name(of_vector), (double)e[0]);
    return false;
}

static bool read_mood(odb_db *db, uint32_t which, uint32_t *out, char *why)
{
    odb_edge_list list;
    char id[16];
    odb_status st;

    (void)snprintf(id, sizeof id, "m%u", which);
    st = odb_related(odb_now(db), odb_s(id), odb_s("likes"), &list);
    if (st != ODB_OK)
        return say(why, "edges", st);
    *out = NEVER;
    if (list.count > 1)
        (void)snprintf(why, REASON_MAX, "%s likes %zu things", id, list.count);
    if (list.count == 1) {
        (void)snprintf(id, sizeof id, "%.*s", (int)list.edge[0].to.size,
                       (const char *)list.edge[0].to.data);
        *out = (uint32_t)strtoul(id + strlen("mood/"), NULL, 10);
    }
    odb_edge_list_release(&list);
    return !why[0];
}

static bool read_world(odb_db *db, struct world *w, char *why)
{
    char id[16];
    odb_value note;
    odb_status st;

    memset(w, 0, sizeof *w);
    for (uint32_t i = 0; i < MEMORIES; i++) {
        (void)snprintf(id, sizeof id, "m%u", i);
        if (!step_of(db, id, &w->memory[i], why) || !read_mood(db, i, &w->mood[i], why))
            return false;
    }
    if (!step_of(db, "doc", &w->document, why))
        return false;
    for (uint32_t i = 0; i < CHUNKS; i++) {
        uint32_t from, want = i < w->document % CHUNKS ? w->document : NEVER;

        (void)snprintf(id, sizeof id, "doc/%u", i);
        if (!step_of(db, id, &from, why))
            return false;
        if (from != want) {
            (void)snprintf(why, REASON_MAX, "%s is from step %u, its document from step %u", id,
                           from, w->document);
            return false;
        }
    }
    st = odb_meta_get(odb_now(db), "user.note", &note);
    if (st == ODB_OK) {
        (void)snprintf(id, sizeof id, "%.*s", (int)note.size, (const char *)note.data);
        w->note = (uint32_t)strtoul(id, NULL, 10);
        odb_value_release(&note);
    } else if (st != ODB_ABSENT) {
        return say(why, "metadata", st);
    }
    return true;
}

/* What `odb verify --namespaces` asks. */
static bool namespaces_agree(odb_db *db, char *why)
{
    odb_records_report records = {.size = sizeof records};
    odb_graph_check graph = {.size = sizeof graph};
    odb_memory_report memories = {.size = sizeof memories};
    odb_vec_report vectors = {.size = sizeof vectors};
    odb_status st = odb_records_check(odb_now(db), &records, NULL, NULL);

    if (st != ODB_OK)
        return say(why, "checking records", st);
    if ((st = odb_graph_verify(odb_now(db), &graph)) != ODB_OK)
        return say(why, "checking edges", st);
    if ((st = odb_memories_check(odb_now(db), &memories, NULL, NULL)) != ODB_OK)
        return say(why, "checking memories", st);
    st = odb_vec_verify(db, 1, &vectors);
    if (st == ODB_CORRUPT || (st == ODB_OK && vectors.unreachable)) {
        (void)snprintf(why, REASON_MAX,
                       "vectors: of %" PRIu64 " rows %" PRIu64 " bad, of %" PRIu64 " nodes %" PRIu64
                       " bad, %" PRIu64 " missing, %" PRIu64 " orphans, %" PRIu64
                       " doubles, %" PRIu64 " unreachable",
                       vectors.rows, vectors.bad_rows, vectors.nodes, vectors.bad_nodes,
                       vectors.missing, vectors.orphans, vectors.doubles, vectors.unreachable);
        return false;
    }
    if (st != ODB_OK)
        return say(why, "checking vectors", st);
    if (records.damaged + records.missing_rows + records.stray_rows + memories.lost_vectors +
        memories.unsaid_vectors + memories.lost_chunks) {
        (void)snprintf(why, REASON_MAX,
                       "%" PRIu64 " records damaged, %" PRIu64 " index rows missing, %" PRIu64
                       " stray, %" PRIu64 " vectors lost, %" PRIu64 " unsaid, %" PRIu64
                       " chunks lost",
                       records.damaged, records.missing_rows, records.stray_rows,
                       memories.lost_vectors, memories.unsaid_vectors, memories.lost_chunks);
        return false;
    }
    return true;
}

struct promise {
    uint32_t least, most;
    bool has_opened;
};

static void say_difference(char *why, struct promise p, const struct world *w)
{
    size_t at = (size_t)snprintf(why, REASON_MAX,
                                 "not the state after any of %u to %u steps:", p.least, p.most);

    for (uint32_t i = 0; i < MEMORIES && at < REASON_MAX; i++)
        at += (size_t)snprintf(why + at, REASON_MAX - at, " %u/%u", w->memory[i], w->mood[i]);
    if (at < REASON_MAX)
        (void)snprintf(why + at, REASON_MAX - at, ", document %u, note %u", w->document, w->note);
}

static void expect_state(odb_db *db, uint32_t k)
{
    char why[REASON_MAX] = "";
    struct world w;

    if (!read_world(db, &w, why))
        fail_msg("after step %u: %s", k, why);
    if (memcmp(&w, &after[k], sizeof w) != 0) {
        say_difference(why, (struct promise){k, k, true}, &w);
        fail_msg("without a crash: %s", why);
    }
}

/* One more of each kind, and all still agree. */
static bool goes_on(odb_db *db, char *why)
{
    const float e[3] = {STEPS, 1, 2};
    struct names n;
    odb_status st;

    name_all(&n, STEPS, 0);
    st = put_memory(db, NULL, &n, e);
    if (st == ODB_OK)
        st = put_document(db, &n, e, STEPS - 1);
    if (st == ODB_OK)
        st = odb_vec_wait(db);
    if (st == ODB_OK)
        st = odb_verify(db, NULL, NULL);
    if (st != ODB_OK)
        return say(why, "going on", st);
    return namespaces_agree(db, why);
}

/* *k: how many steps are there. */
static bool judge(struct os *image, struct promise p, bool go_on, uint32_t *k, char *why)
{
    odb_options o = crash_options();
    struct world w;
    odb_db *db = NULL;
    bool ok = false;
    odb_status st;

    why[0] = 0;
    disk = image;
    o.must_exist = p.has_opened;
    st = odb_open(DIR, &o, &db);
    if (st == ODB_OK)
        st = open_vectors(db);
    if (st != ODB_OK)
        (void)say(why, "open", st);
    else
        ok = namespaces_agree(db, why) && read_world(db, &w, why);
    if (ok) {
        for (*k = p.least; *k <= p.most && memcmp(&after[*k], &w, sizeof w) != 0; ++*k) {
        }
        ok = *k <= p.most;
        if (!ok)
            say_difference(why, p, &w);
    }
    if (ok && go_on)
        ok = goes_on(db, why);
    st = odb_close(db);
    if (ok && st != ODB_OK)
        ok = say(why, "close", st);
    return ok;
}

/* Recovery dies here and there; the next one finds the same. */
static bool judge_nested(struct os *image, struct promise p, uint32_t k, uint64_t salt, char *why)
{
    static const enum sim_model models[] = {SIM_M0, SIM_M1, SIM_M4};
    uint32_t found;

    p.least = p.most = k;
    for (uint64_t at = 1 + salt % 9;; at += 9) {
        struct os *first = sim_image(image, SIM_M1, 0), *next;
        odb_options o = crash_options();
        odb_db *db = NULL;
        bool is_dead, ok;

        disk = first;
        sim_crash_at(first, at);
        if (odb_open(DIR, &o, &db) == ODB_OK) {
            (void)open_vectors(db);
            (void)odb_close(db);
        }
        is_dead = sim_is_dead(first);
        next = sim_image(first, models[at % 3], salt + at);
        ok = judge(next, p, false, &found, why);
        disk = NULL;
        sim_free(first);
        sim_free(next);
        if (!ok || !is_dead)
            return ok;
        nested++;
    }
}

/* ---- moments ---- */

struct moment {
    uint64_t op_no;
    uint32_t started, acked, durable;
    bool has_opened;
    struct os *image[IMAGES];
    enum sim_model model[IMAGES];
    bool is_inside[IMAGES];
    int count;
};

static struct moment moments[WINDOW];
static int moment_count;
static uint64_t stride, window_from;
static uint64_t *seen;
static size_t seen_count, seen_cap;

static void add_image(struct moment *m, struct os *image, enum sim_model model, bool is_inside)
{
    m->model[m->count] = model;
    m->is_inside[m->count] = is_inside;
    m->image[m->count++] = image;
}

/* Asked before every call of the machine. */
static odb_status watch(void *arg, enum sim_op op, const char *name, uint64_t op_no)
{
    uint64_t salt = op_no * 1000003 + seed_used;
    struct moment *m;

    (void)arg;
    (void)name;
    if (op_no < window_from || op_no % stride || moment_count == WINDOW)
        return ODB_OK;
    m = &moments[moment_count++];
    *m = (struct moment){.op_no = op_no,
                         .started = started,
                         .acked = acked,
                         .durable = durable,
                         .has_opened = has_opened};
    for (int i = 0; i < SIM_MODELS; i++)
        add_image(m, sim_image(disk, (enum sim_model)i, salt), (enum sim_model)i, false);
    if (op == SIM_WRITE || op == SIM_RING_STORE) {
        add_image(m, sim_image_inside(disk, SIM_M1, salt), SIM_M1, true);
        add_image(m, sim_image_inside(disk, SIM_M4, salt), SIM_M4, true);
    }
    return ODB_OK;
}

static bool is_new(struct os *image, struct promise p)
{
    uint64_t h = ((sim_hash(image) * 31 + p.least) * 31 + p.most) * 31 + p.has_opened;

    for (size_t i = 0; i < seen_count; i++)
        if (seen[i] == h)
            return false;
    if (seen_count == seen_cap) {
        seen_cap = seen_cap ? 2 * seen_cap : 4096;
        seen = realloc(seen, seen_cap * sizeof *seen);
        assert_non_null(seen);
    }
    seen[seen_count++] = h;
    return true;
}

static void judge_moment(struct moment *m)
{
    for (int i = 0; i < m->count; i++) {
        struct promise p = {m->model[i] == SIM_M1 ? m->acked : m->durable, m->started,
                            m->has_opened};
        struct os *copy;
        char why[REASON_MAX];
        uint32_t k;
        bool ok;

        if (!is_new(m->image[i], p)) {
            doubles++;
            continue;
        }
        copy = sim_image(m->image[i], SIM_M1, 0);
        ok = judge(copy, p, judged % GO_ON_EVERY == 0, &k, why);
        disk = NULL;
        sim_free(copy);
        if (ok && judged++ % NEST_EVERY == 0)
            ok = judge_nested(m->image[i], p, k, m->op_no, why);
        if (!ok)
            fail_msg("ODB_TEST_SEED=%" PRIu64 ", dead %s call %" PRIu64 ", M%d: %s (%u started, "
                     "%u acknowledged, %u synced)",
                     seed_used, m->is_inside[i] ? "inside" : "before", m->op_no, (int)m->model[i],
                     why, m->started, m->acked, m->durable);
    }
}

static uint64_t run_on_new_disk(bool watched)
{
    uint64_t ops;
    odb_status st;

    disk = sim_new(7);
    if (watched)
        sim_set_fault(disk, watch, NULL);
    st = run_script(!watched);
    ops = sim_op_count(disk);
    sim_set_fault(disk, NULL, NULL);
    sim_free(disk);
    disk = NULL;
    assert_ok(st); /* nothing failed yet */
    return ops;
}

static void no_crash_parts_what_one_commit_wrote(void **state)
{
    struct rnd rnd = rnd_start("memory_crash");
    const char *given = getenv("ODB_TEST_STRIDE");
    uint64_t ops;

    (void)state;
    seed_used = rnd.state;
    write_script(&rnd);
    ops = run_on_new_disk(false);
    stride = given ? strtoull(given, NULL, 0) : ops / 150 + 1;
    assert_true(stride > 0);
    for (window_from = 1; window_from <= ops;) {
        moment_count = 0;
        (void)run_on_new_disk(true);
        if (moment_count == 0)
            break;
        window_from = moments[moment_count - 1].op_no + 1;
        for (int i = 0; i < moment_count; i++) {
            judge_moment(&moments[i]);
            for (int j = 0; j < moments[i].count; j++)
                sim_free(moments[i].image[j]);
        }
    }
    print_message("%" PRIu64 " calls, every %" PRIu64 "th; %" PRIu64 " disks judged, %" PRIu64
                  " were the same as another, %" PRIu64 " recoveries died\n",
                  ops, stride, judged, doubles, nested);
    assert_true(judged > 100 && nested > 10);
    free(seen);
    assert_int_equal(test_alloc_alive(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_crash_parts_what_one_commit_wrote),
    };

    return cmocka_run_group_tests_name("all namespaces and a dying disk", tests, NULL, NULL);
}
