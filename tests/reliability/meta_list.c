/* tests/reliability/meta_list.c -- lists of operations: made by chance, as text, and parts of them.
 *
 * A list is made for one of several temperaments, chosen by its seed: few keys or many, short values or
 * long, few deletes or half of all writes; and of each group of operations (batches, iterators, snapshots,
 * families, upkeep, transactions) a random half is left out, so that what hides behind another group's
 * noise is met without it.
 */
#include "tests/reliability/meta.h"

#include <ctype.h>
#include <stdlib.h>

const char *const meta_kind_name[META_KIND_COUNT] = {
#define META_NAME(name, fields) #name,
    META_KINDS(META_NAME)
#undef META_NAME
};

const char *const meta_kind_fields[META_KIND_COUNT] = {
#define META_FIELDS(name, fields) fields,
    META_KINDS(META_FIELDS)
#undef META_FIELDS
};

/* The first two are there from the beginning. */
const char *const meta_family_name[META_FAMILIES] = {"default", "records", "meta-a", "meta-b",
                                                     "meta-c"};

static void *meta_grow(void *p, size_t size)
{
    void *q = realloc(p, size ? size : 1);

    if (!q)
        abort();
    return q;
}

const uint8_t *meta_pool(void)
{
    static uint8_t pool[META_POOL];
    uint64_t x = 88172645463325252u;

    for (size_t i = 0; !pool[0] && i < META_POOL; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        pool[META_POOL - 1 - i] = (uint8_t)((x >> 40) % 4 ? 'a' + (x >> 33) % 5 : (x >> 50) | 1);
    }
    return pool;
}

/* ---- keys ---- */

static int by_bytes(const void *a, const void *b)
{
    return odb_slice_compare(*(const odb_slice *)a, *(const odb_slice *)b);
}

static void keys_add(struct meta_list *l, odb_slice key)
{
    uint8_t *copy = meta_grow(NULL, key.size);

    if (key.size)
        memcpy(copy, key.data, key.size);
    l->key = meta_grow(l->key, ((size_t)l->key_count + 1) * sizeof *l->key);
    l->key[l->key_count++] = odb_bytes(copy, key.size);
}

/* In order, each once, with their hashes. */
static void keys_settle(struct meta_list *l)
{
    int32_t kept = 0;

    qsort(l->key, (size_t)l->key_count, sizeof *l->key, by_bytes);
    for (int32_t i = 0; i < l->key_count; i++)
        if (kept && odb_slice_equal(l->key[i], l->key[kept - 1]))
            free((void *)(uintptr_t)l->key[i].data);
        else
            l->key[kept++] = l->key[i];
    l->key_count = kept;
    l->key_hash = meta_grow(l->key_hash, (size_t)kept * sizeof *l->key_hash);
    for (int32_t i = 0; i < kept; i++)
        l->key_hash[i] = hash64(l->key[i].data, l->key[i].size);
}

static int32_t keys_find(const struct meta_list *l, odb_slice key)
{
    const odb_slice *at = bsearch(&key, l->key, (size_t)l->key_count, sizeof *l->key, by_bytes);

    return at ? (int32_t)(at - l->key) : -1;
}

/* ---- making one ---- */

struct maker {
    struct meta_list *l;
    uint64_t dice;
    unsigned groups; /* bits: those that are in */
    uint32_t deletes, value_max, walk_max;
    uint32_t families;
    bool is_skewed;
    bool has_iter[META_ITERS], has_snapshot[META_SNAPSHOTS], has_txn[META_TXNS];
    uint32_t pending; /* operations in the batch */
};

enum group {
    G_BATCH = 1,
    G_ITER = 2,
    G_SNAPSHOT = 4,
    G_FAMILY = 8,
    G_UPKEEP = 16,
    G_TXN = 32,
    G_REOPEN = 64
};

static uint64_t roll(struct maker *m, uint64_t sides)
{
    m->dice ^= m->dice << 13;
    m->dice ^= m->dice >> 7;
    m->dice ^= m->dice << 17;
    return sides ? (m->dice >> 11) % sides : 0;
}

static void make_keys(struct maker *m)
{
    static const uint32_t sizes[] = {8, 24, 100, 400, 700, 700, 2000, 5000};
    static const char *const shape[] = {
        "%03u", "user/%05u/name", "a shared prefix of some length/%u", "\xff\xff%u", "user%012u"};
    static const char *const prefix[] = {"user/",    "user/00", "a shared", "\xff",
                                         "\xff\xff", "user0",   "0"};
    uint32_t count = sizes[roll(m, 8)];
    unsigned only = (unsigned)roll(m, 10); /* half of the lists have keys of one shape */
    char room[1100];

    keys_add(m->l, odb_s(""));
    for (size_t i = 0; i < sizeof prefix / sizeof prefix[0]; i++)
        keys_add(m->l, odb_s(prefix[i]));
    for (unsigned i = 0; i < count; i++) {
        int n = snprintf(room, sizeof room, shape[only < 5 ? only : i % 5], i);

        if (i % 97 == 96) { /* a few are long, and differ at their end only */
            memset(room, 'L', 1000);
            n = 1000 + snprintf(room + 1000, sizeof room - 1000, "%u", i);
        }
        keys_add(m->l, odb_bytes(room, (size_t)n));
    }
    keys_settle(m->l);
}

static struct meta_op *add(struct maker *m, enum meta_kind kind)
{
    struct meta_list *l = m->l;

    if (l->count == l->cap) {
        l->cap = l->cap ? l->cap * 2 : 1024;
        l->op = meta_grow(l->op, l->cap * sizeof *l->op);
    }
    l->op[l->count] =
        (struct meta_op){.kind = (uint8_t)kind, .key = -1, .lower = -1, .upper = -1, .prefix = -1};
    return &l->op[l->count++];
}

static int32_t roll_key(struct maker *m)
{
    uint64_t k = (uint64_t)m->l->key_count;

    if (m->is_skewed && roll(m, 3))
        return (int32_t)((roll(m, 1 + roll(m, k)) * 7919) %
                         k); /* some are hot, wherever they lie */
    return (int32_t)roll(m, k);
}

static uint8_t roll_family(struct maker *m)
{
    return (uint8_t)(roll(m, 2) ? 0 : roll(m, m->families));
}

static uint8_t roll_at(struct maker *m)
{
    uint64_t i = roll(m, 3) ? 0 : roll(m, META_AT_TXN + META_TXNS);

    if (i == 0 || (i < META_AT_TXN && !(m->groups & G_SNAPSHOT)) ||
        (i >= META_AT_TXN && !(m->groups & G_TXN)))
        return 0;
    return (uint8_t)i;
}

static void roll_value(struct maker *m, struct meta_op *op)
{
    static const uint32_t share[] = {0, 8, 60, 300, 1000};
    uint32_t most = share[roll(m, 5)];

    if (roll(m, 400) == 0)
        most = META_VALUE_MAX;
    else if (most > m->value_max)
        most = m->value_max;
    op->len = (uint32_t)roll(m, most + 1);
    op->off = (uint32_t)roll(m, META_POOL - META_VALUE_MAX);
}

static void roll_range(struct maker *m, struct meta_op *op)
{
    if (roll(m, 3) == 0)
        op->lower = roll_key(m);
    if (roll(m, 3) == 0)
        op->upper = roll_key(m);
}

static uint8_t roll_durability(struct maker *m)
{
    return (uint8_t)(roll(m, 64) ? roll(m, 3) : ODB_DURABLE_FULL);
}

static void make_write(struct maker *m)
{
    bool is_delete = roll(m, 100) < m->deletes;
    struct meta_op *op = add(m, is_delete ? META_delete : META_put);

    op->family = roll_family(m);
    op->key = roll_key(m);
    op->durability = roll_durability(m);
    if (!is_delete)
        roll_value(m, op);
}

static void make_batch(struct maker *m)
{
    struct meta_op *op;

    for (uint64_t n = roll(m, 3) ? roll(m, 8) : roll(m, 60); n > 0; n--) {
        bool is_delete = roll(m, 100) < m->deletes;

        op = add(m, is_delete ? META_batch_delete : META_batch_put);
        op->family = roll_family(m);
        op->key = roll_key(m);
        if (!is_delete)
            roll_value(m, op);
    }
    op = add(m, META_batch_commit);
    op->durability = roll_durability(m);
    if (roll(m, 10))
        (void)add(m, META_batch_clear); /* else it is committed once more, with more in it */
}

static void make_read(struct maker *m)
{
    static const uint8_t kind[] = {META_get, META_get, META_get, META_get_into, META_exists};
    uint8_t at = roll_at(m), family = roll_family(m);
    struct meta_op *op;
    uint32_t n;

    if (roll(m, 12)) {
        op = add(m, (enum meta_kind)kind[roll(m, 5)]);
        op->key = roll_key(m);
        op->n = (uint32_t)roll(m, 200);
    } else {
        struct meta_list *l = m->l;

        n = (uint32_t)(1 + (roll(m, 4) ? roll(m, 12) : roll(m, 80)));
        op = add(m, META_multiget);
        op->n = n;
        op->off = (uint32_t)l->many_count;
        if (l->many_count + n > l->many_cap) {
            l->many_cap = 2 * l->many_cap + n;
            l->many = meta_grow(l->many, l->many_cap * sizeof *l->many);
        }
        for (uint32_t i = 0; i < n; i++)
            l->many[l->many_count++] = roll_key(m);
    }
    op->at = at;
    op->family = family;
}

static void make_iter(struct maker *m)
{
    uint8_t slot = (uint8_t)roll(m, META_ITERS);
    struct meta_op *op;

    if (!m->has_iter[slot] || roll(m, 12) == 0) {
        op = add(m, META_iter_new);
        op->slot = slot;
        op->at = roll_at(m);
        op->family = roll_family(m);
        op->flags =
            (uint8_t)((roll(m, 8) == 0 ? META_KEYS_ONLY : 0) | (roll(m, 4) == 0 ? META_LONG : 0));
        roll_range(m, op);
        if (roll(m, 4) == 0)
            op->prefix = roll_key(m);
        m->has_iter[slot] = true;
        return;
    }
    switch (roll(m, 16)) {
    case 0: op = add(m, META_iter_first); break;
    case 1: op = add(m, META_iter_last); break;
    case 2:
    case 3:
    case 4: op = add(m, META_iter_seek); break;
    case 5:
    case 6: op = add(m, META_iter_seek_for_prev); break;
    case 7:
        op = add(m, META_iter_refresh);
        op->at = roll_at(m);
        break;
    case 8:
        op = add(m, META_iter_free);
        m->has_iter[slot] = false;
        break;
    case 9:
    case 10: op = add(m, META_iter_zigzag); break;
    case 11:
    case 12:
    case 13: op = add(m, META_iter_walk_back); break;
    default: op = add(m, META_iter_walk);
    }
    op->slot = slot;
    op->key = roll_key(m);
    op->flags = (uint8_t)roll(m, 256);
    op->n = (uint32_t)(1 + (roll(m, 4) ? roll(m, 6) : roll(m, m->walk_max)));
}

static void make_snapshot(struct maker *m)
{
    uint8_t slot = (uint8_t)roll(m, META_SNAPSHOTS);
    bool frees = m->has_snapshot[slot] && roll(m, 2);

    add(m, frees ? META_snapshot_free : META_snapshot_new)->slot = slot;
    m->has_snapshot[slot] = !frees;
}

static void make_txn(struct maker *m)
{
    uint8_t slot = (uint8_t)roll(m, META_TXNS);
    enum meta_kind kind = META_txn_begin;
    struct meta_op *op;

    if (m->has_txn[slot]) {
        uint64_t pick = roll(m, 32);

        kind = pick < 10   ? META_txn_put
               : pick < 14 ? META_txn_delete
               : pick < 17 ? META_txn_get_for_update
               : pick < 18 ? META_txn_claim
               : pick < 20 ? META_txn_save
               : pick < 22 ? META_txn_rollback_to
               : pick < 23 ? META_txn_release
               : pick < 28 ? META_txn_commit
               : pick < 29 ? META_txn_rollback
               : pick < 30 ? META_txn_reset
               : pick < 31 ? META_txn_free
                           : META_txn_begin;
    }
    op = add(m, kind);
    op->slot = slot;
    op->family = roll_family(m);
    op->key = roll_key(m);
    op->durability = roll_durability(m);
    op->flags = (uint8_t)(kind == META_txn_begin ? roll(m, 4) : 0);
    op->n = (uint32_t)roll(m, 3);
    if (kind == META_txn_put)
        roll_value(m, op);
    if (kind == META_txn_claim)
        roll_range(m, op);
    if (kind == META_txn_begin)
        m->has_txn[slot] = true;
    if (kind == META_txn_free)
        m->has_txn[slot] = false;
    if (kind == META_txn_commit && roll(m, 2)) { /* an ended one is no longer good for much */
        add(m, META_txn_reset)->slot = slot;
    }
}

static void make_family(struct maker *m)
{
    uint64_t pick = roll(m, 8);
    struct meta_op *op = add(m, pick == 0  ? META_cf_list
                                : pick < 4 ? META_cf_drop
                                           : META_cf_create);

    op->family = (uint8_t)(roll(m, 12) ? 2 + roll(m, META_FAMILIES - 2) : roll(m, 2));
}

static void make_upkeep(struct maker *m)
{
    static const uint8_t kind[] = {META_flush,   META_flush,   META_flush, META_flush_all,
                                   META_compact, META_compact, META_sync,  META_wait_idle,
                                   META_verify,  META_scan};
    struct meta_op *op = add(m, (enum meta_kind)kind[roll(m, 10)]);

    op->family = roll_family(m);
    if (op->kind == META_scan)
        op->at = roll_at(m);
    if (op->kind == META_compact)
        roll_range(m, op);
}

void meta_list_make(struct meta_list *l, uint64_t seed, size_t steps)
{
    static const uint32_t values[] = {8, 60, 300, 300, 1000};
    static const uint32_t deletes[] = {2, 20, 30, 50};
    struct maker m = {.l = l, .dice = hash_mix(seed, 0x6d657461) | 1};

    *l = (struct meta_list){0};
    for (int i = 0; i < 8; i++)
        (void)roll(&m, 2);
    for (unsigned g = G_BATCH; g <= G_REOPEN; g <<= 1)
        m.groups |= roll(&m, 2) ? g : 0;
    m.deletes = deletes[roll(&m, 4)];
    m.value_max = values[roll(&m, 5)];
    m.walk_max = roll(&m, 3) ? 30 : 400;
    m.is_skewed = roll(&m, 2);
    m.families = m.groups & G_FAMILY ? META_FAMILIES : 1 + (uint32_t)roll(&m, 2);
    make_keys(&m);
    if (m.groups & G_TXN)
        l->uses |= META_USES_TXN;
    while (l->count < steps) {
        uint64_t pick = roll(&m, 2000);

        if (pick < 760)
            make_write(&m);
        else if (pick < 1200)
            make_read(&m);
        else if (pick < 1250 && m.groups & G_BATCH)
            make_batch(&m);
        else if (pick < 1600 && m.groups & G_ITER)
            make_iter(&m);
        else if (pick < 1640 && m.groups & G_SNAPSHOT)
            make_snapshot(&m);
        else if (pick < 1980 && m.groups & G_TXN)
            make_txn(&m);
        else if (pick < 1985 && m.groups & G_FAMILY)
            make_family(&m);
        else if (pick < 1996 && m.groups & G_UPKEEP)
            make_upkeep(&m);
        else if (pick == 1999 && m.groups & G_REOPEN) {
            (void)add(&m, META_reopen);
            memset(m.has_iter, 0, sizeof m.has_iter);
            memset(m.has_snapshot, 0, sizeof m.has_snapshot);
            memset(m.has_txn, 0, sizeof m.has_txn);
        }
    }
    if (l->count > steps)
        l->count = steps;
    for (uint8_t f = 0; f < m.families && l->count < META_STEPS_MAX + META_FAMILIES; f++)
        add(&m, META_scan)->family = f;
}

void meta_list_release(struct meta_list *l)
{
    for (int32_t i = 0; i < l->key_count; i++)
        free((void *)(uintptr_t)l->key[i].data);
    free(l->key);
    free(l->key_hash);
    free(l->many);
    free(l->op);
    *l = (struct meta_list){0};
}

void meta_list_part(const struct meta_list *l, const bool *keep, struct meta_list *out)
{
    *out = *l;
    out->op = meta_grow(NULL, l->count * sizeof *l->op);
    out->count = 0;
    for (size_t i = 0; i < l->count; i++)
        if (!keep || keep[i])
            out->op[out->count++] = l->op[i];
}

/* ---- as text ---- */

void answer_spell(FILE *to, odb_slice bytes)
{
    const uint8_t *p = bytes.data;

    (void)fputs(" \"", to);
    for (size_t i = 0; i < bytes.size && i < 2000; i++)
        if (p[i] < 0x20 || p[i] > 0x7e || p[i] == '"' || p[i] == '\\')
            (void)fprintf(to, "\\x%02x", (unsigned)p[i]);
        else
            (void)fputc(p[i], to);
    (void)fprintf(to, "\"%s", bytes.size > 2000 ? "..." : "");
}

static void write_key(const struct meta_list *l, int32_t key, FILE *to)
{
    if (key < 0)
        (void)fputs(" -", to);
    else
        answer_spell(to, l->key[key]);
}

void meta_op_write(const struct meta_list *l, const struct meta_op *op, FILE *to)
{
    (void)fputs(meta_kind_name[op->kind], to);
    for (const char *f = meta_kind_fields[op->kind]; *f; f++)
        switch (*f) {
        case 'f': (void)fprintf(to, " %u", (unsigned)op->family); break;
        case 'a': (void)fprintf(to, " %u", (unsigned)op->at); break;
        case 's': (void)fprintf(to, " %u", (unsigned)op->slot); break;
        case 'g': (void)fprintf(to, " %u", (unsigned)op->flags); break;
        case 'd': (void)fprintf(to, " %u", (unsigned)op->durability); break;
        case 'n': (void)fprintf(to, " %lu", (unsigned long)op->n); break;
        case 'v':
            (void)fprintf(to, " %lu@%lu", (unsigned long)op->len, (unsigned long)op->off);
            break;
        case 'k': write_key(l, op->key, to); break;
        case 'l': write_key(l, op->lower, to); break;
        case 'u': write_key(l, op->upper, to); break;
        case 'p': write_key(l, op->prefix, to); break;
        default:
            for (uint32_t i = 0; i < op->n; i++)
                write_key(l, l->many[op->off + i], to);
        }
    (void)fputc('\n', to);
}

void meta_list_write(const struct meta_list *l, FILE *to)
{
    for (size_t i = 0; i < l->count; i++)
        meta_op_write(l, &l->op[i], to);
}

struct word {
    char *text;
    size_t len;
    bool is_key; /* it stood in quotes, and its bytes are now as they are */
};

/* Cut the next word out of a line, in place. False at the end, and where a quote is missing. */
static bool next_word(char **at, struct word *out)
{
    char *p = *at + strspn(*at, " "), *to;

    *out = (struct word){p + (*p == '"'), 0, *p == '"'};
    if (!out->is_key) {
        out->len = strcspn(p, " \n");
        *at = p + out->len + (p[out->len] != 0);
        p[out->len] = 0;
        return out->len > 0;
    }
    for (to = ++p; *p && *p != '"'; to++)
        if (*p == '\\' && p[1] == 'x' && isxdigit((unsigned char)p[2]) &&
            isxdigit((unsigned char)p[3])) {
            char hex[3] = {p[2], p[3], 0};

            *to = (char)strtoul(hex, NULL, 16);
            p += 4;
        } else
            *to = *p++;
    if (*p != '"')
        return false;
    out->len = (size_t)(to - out->text);
    *at = p + 1;
    return true;
}

/* A key, or "-" for none. In the first pass over a file keys are gathered, in the second they are found. */
static bool read_key(struct meta_list *l, const struct word *w, bool only_keys, int32_t *out)
{
    if (!w->is_key)
        return strcmp(w->text, "-") == 0;
    if (only_keys)
        keys_add(l, odb_bytes(w->text, w->len));
    else
        *out = keys_find(l, odb_bytes(w->text, w->len));
    return true;
}

static bool read_number(struct meta_op *op, char field, const struct word *w)
{
    char *end;
    unsigned long value = strtoul(w->text, &end, 10), limit = 256;

    switch (field) {
    case 'f':
        op->family = (uint8_t)value;
        limit = META_FAMILIES;
        break;
    case 'a':
        op->at = (uint8_t)value;
        limit = META_AT_TXN + META_TXNS;
        break;
    case 's':
        op->slot = (uint8_t)value;
        limit = META_ITERS;
        break;
    case 'g': op->flags = (uint8_t)value; break;
    case 'd':
        op->durability = (uint8_t)value;
        limit = ODB_DURABLE_FULL + 1;
        break;
    case 'n':
        op->n = (uint32_t)value;
        limit = 1000000;
        break;
    default:
        op->len = (uint32_t)value;
        limit = META_VALUE_MAX + 1;
        if (*end != '@')
            return false;
        op->off = (uint32_t)strtoul(end + 1, &end, 10);
        if (op->off > META_POOL - META_VALUE_MAX)
            return false;
    }
    return !w->is_key && value < limit && *end == 0;
}

static bool read_line(struct meta_list *l, char *line, bool only_keys, struct meta_op *op)
{
    struct word w;
    bool ok = next_word(&line, &w);

    *op = (struct meta_op){
        .kind = META_KIND_COUNT, .key = -1, .lower = -1, .upper = -1, .prefix = -1};
    for (uint8_t k = 0; ok && k < META_KIND_COUNT; k++)
        if (strcmp(w.text, meta_kind_name[k]) == 0)
            op->kind = k;
    if (op->kind == META_KIND_COUNT)
        return false;
    for (const char *f = meta_kind_fields[op->kind]; *f && ok; f++) {
        if (*f == 'm')
            op->off = (uint32_t)l->many_count;
        for (; *f == 'm' && next_word(&line, &w) && ok; op->n++) {
            l->many = meta_grow(l->many, (l->many_count + 1) * sizeof *l->many);
            l->many[l->many_count] = -1;
            ok = w.is_key && read_key(l, &w, only_keys, &l->many[l->many_count++]);
        }
        if (*f == 'm')
            return ok && op->n <= META_MANY_MAX;
        ok = next_word(&line, &w);
        if (!ok)
            break;
        switch (*f) {
        case 'k': ok = w.is_key && read_key(l, &w, only_keys, &op->key); break;
        case 'l': ok = read_key(l, &w, only_keys, &op->lower); break;
        case 'u': ok = read_key(l, &w, only_keys, &op->upper); break;
        case 'p': ok = read_key(l, &w, only_keys, &op->prefix); break;
        default: ok = read_number(op, *f, &w);
        }
    }
    return ok;
}

bool meta_list_read(struct meta_list *l, FILE *from, char *options, size_t options_size)
{
    static char line[1 << 18], copy[1 << 18];
    struct maker m = {.l = l};
    struct meta_op op;

    *l = (struct meta_list){0};
    for (int pass = 0; pass < 2; pass++) {
        unsigned number = 0;

        rewind(from);
        l->many_count = 0;
        while (fgets(line, sizeof line, from)) {
            number++;
            if (strncmp(line, "options", 7) == 0 && options) {
                (void)snprintf(options, options_size, "%s", line);
                continue;
            }
            if (*line == '#' || *line == '\n')
                continue;
            memcpy(copy, line, strlen(line) + 1);
            if (!read_line(l, line, pass == 0, &op) || l->count >= 2 * META_STEPS_MAX) {
                printf("line %u is not an operation: %s", number, copy);
                return false;
            }
            if (pass == 0)
                continue;
            if (op.kind >= META_txn_begin || op.at >= META_AT_TXN)
                l->uses |= META_USES_TXN;
            *add(&m, (enum meta_kind)op.kind) = op;
        }
        if (pass == 0) {
            keys_add(l, odb_s(""));
            keys_settle(l);
        }
    }
    return true;
}
