#include "vector/arena.h"

#include "base/alloc.h"
#include "base/hash.h"

#define CODE_CHUNK  ((size_t)16 << 20) /* at least so many bytes of address space */
#define TABLE_MAX   ((size_t)1 << 18)
#define NAME_BLOCKS ((size_t)1 << 16)
#define PAGE_UNIT   ((size_t)64 << 10)
#define HUGE_UNIT   ((size_t)2 << 20)
#define SMALL_PAGE  ((size_t)4 << 10)
#define NODE_SLOTS  ((size_t)1 << VEC_NODE_BITS)
#define ENDED_PARTS 32 /* of a chunk of ends: a page each */
#define LINE        64
#define LINES_AHEAD 8
#define ROWS_AHEAD  4 /* rows asked for while as many are compared */

static size_t round_to(size_t size, size_t unit)
{
    return (size + unit - 1) / unit * unit;
}

static size_t code_chunk_bytes(const struct vec_arena *a)
{
    return round_to(a->stride << a->code_bits, PAGE_UNIT);
}

static size_t link_row_bytes(const struct vec_space *space)
{
    return 2 * (size_t)space->m * sizeof(vec_link);
}

static size_t link_chunk_bytes(const struct vec_arena *a)
{
    return round_to(link_row_bytes(&a->space) << VEC_NODE_BITS, PAGE_UNIT);
}

static size_t moment_chunk_bytes(void)
{
    return round_to(sizeof(vec_moment) << VEC_NODE_BITS, PAGE_UNIT);
}

static size_t name_chunk_bytes(void)
{
    return round_to(sizeof(vec_link) << VEC_NODE_BITS, PAGE_UNIT);
}

static size_t upper_rows_bytes(const struct vec_arena *a, size_t rows)
{
    return rows * (1 + (size_t)a->space.m) * sizeof(vec_link);
}

static size_t row_stride(const struct vec_space *space)
{
    size_t bytes = vec_row_bytes(space->form, space->dim);
    size_t unit = space->form == VEC_I8 ? VEC_I8_HEAD : bytes >= 8 * LINE ? LINE : 16;

    return (bytes + unit - 1) / unit * unit;
}

/* How many chunks of so many slots there may be, and the bytes of a table of them. */
static size_t table_len(const struct vec_arena *a, unsigned bits)
{
    return ((size_t)a->slots_max >> bits) + 1;
}

static size_t table_bytes(const struct vec_arena *a, unsigned bits)
{
    return round_to(table_len(a, bits) * sizeof(struct vec_chunk), PAGE_UNIT);
}

static size_t ended_bytes(const struct vec_arena *a)
{
    return round_to(table_len(a, VEC_NODE_BITS) * sizeof *a->ended, PAGE_UNIT);
}

static size_t heap_table_bytes(void)
{
    return round_to(NAME_BLOCKS * sizeof(struct vec_chunk), PAGE_UNIT);
}

static void *chunk_of(const struct vec_chunk *table, size_t i)
{
    return atomic_load_explicit(&table[i].p, memory_order_relaxed);
}

odb_status vec_arena_init(struct vec_arena *a, const struct vec_space *space,
                          const struct vec_kernel *kernel)
{
    uint64_t slots;

    memset((void *)a, 0, sizeof *a);
    a->space = *space;
    a->kernel = kernel;
    a->dist = (space->metric == VEC_L2 ? kernel->l2 : kernel->dot)[space->form];
    a->stride = row_stride(space);
    while ((a->stride << a->code_bits) < CODE_CHUNK)
        a->code_bits++;
    slots = (uint64_t)TABLE_MAX << (a->code_bits < VEC_NODE_BITS ? a->code_bits : VEC_NODE_BITS);
    a->slots_max = slots < VEC_SLOTS_MAX ? (uint32_t)slots : VEC_SLOTS_MAX;
    atomic_init(&a->entry, VEC_NEVER);
    a->heap.next = 1;
    a->codes = mem_pages_reserve(table_bytes(a, a->code_bits));
    a->links = mem_pages_reserve(table_bytes(a, VEC_NODE_BITS));
    a->begun = mem_pages_reserve(table_bytes(a, VEC_NODE_BITS));
    a->ends = mem_pages_reserve(table_bytes(a, VEC_NODE_BITS));
    a->ended = mem_pages_reserve(ended_bytes(a));
    a->names = mem_pages_reserve(table_bytes(a, VEC_NODE_BITS));
    a->upper = mem_pages_reserve(table_bytes(a, VEC_NODE_BITS));
    a->heap.block = mem_pages_reserve(heap_table_bytes());
    a->row_lock = mem_array(VEC_ROW_LOCKS, sizeof *a->row_lock);
    if (!a->codes || !a->links || !a->begun || !a->ends || !a->ended || !a->names || !a->upper ||
        !a->heap.block || !a->row_lock) {
        mem_free(a->row_lock);
        a->row_lock = NULL;
        vec_arena_release(a);
        return err_set(ODB_NOMEM, "vector index: no memory for its tables");
    }
    for (size_t i = 0; i < VEC_ROW_LOCKS; i++)
        os_mutex_init(&a->row_lock[i], RANK_VEC_ROW);
    return ODB_OK;
}

static void free_table(struct vec_chunk *table, size_t count, size_t chunk_bytes, size_t table_size)
{
    for (size_t i = 0; table && i < count; i++)
        if (chunk_of(table, i))
            mem_pages_free(chunk_of(table, i), chunk_bytes);
    mem_pages_free(table, table_size);
}

static void upper_free(const struct vec_arena *a, struct vec_upper *u)
{
    if (u)
        mem_pages_free(u->rows, round_to(upper_rows_bytes(a, u->row_count), PAGE_UNIT));
    mem_free(u);
}

void vec_arena_release(struct vec_arena *a)
{
    size_t count = table_len(a, VEC_NODE_BITS), size = table_bytes(a, VEC_NODE_BITS);

    free_table(a->begun, count, moment_chunk_bytes(), size);
    free_table(a->ends, count, moment_chunk_bytes(), size);
    mem_pages_free(a->ended, ended_bytes(a));
    free_table(a->names, count, name_chunk_bytes(), size);
    free_table(a->links, count, link_chunk_bytes(a), size);
    free_table(a->codes, table_len(a, a->code_bits), code_chunk_bytes(a),
               table_bytes(a, a->code_bits));
    for (size_t i = 0; a->upper && i < count; i++)
        upper_free(a, chunk_of(a->upper, i));
    mem_pages_free(a->upper, size);
    free_table(a->heap.block, NAME_BLOCKS, VEC_NAME_UNITS * VEC_NAME_UNIT, heap_table_bytes());
    for (size_t i = 0; a->row_lock && i < VEC_ROW_LOCKS; i++)
        os_mutex_destroy(&a->row_lock[i]);
    mem_free(a->row_lock);
    memset((void *)a, 0, sizeof *a);
}

static odb_status refuse_memory(size_t bytes)
{
    return err_set(ODB_NOMEM, "vector index: no memory for a chunk of %zu bytes", bytes);
}

/* A chunk of `count` slots at this place of a table. */
static odb_status grow_table(struct vec_arena *a, struct vec_chunk *table, size_t i, size_t count,
                             size_t bytes)
{
    void *p;

    if (chunk_of(table, i)) /* an earlier try got so far */
        return ODB_OK;
    p = (i + 1) * count <= a->expected ? mem_pages_alloc(bytes) : mem_pages_reserve(bytes);
    if (!p)
        return refuse_memory(bytes);
    atomic_store_explicit(&table[i].p, p, memory_order_release);
    return ODB_OK;
}

/* Who of a chunk stands above follows from the numbers. */
static odb_status grow_upper(struct vec_arena *a, size_t chunk)
{
    uint32_t rank = 0, rows = 0, base = (uint32_t)(chunk << VEC_NODE_BITS);
    uint8_t level[NODE_SLOTS];
    struct vec_upper *u;
    size_t bytes;

    if (chunk_of(a->upper, chunk))
        return ODB_OK;
    for (uint32_t i = 0; i < NODE_SLOTS; i++) {
        level[i] = (uint8_t)vec_level_of(&a->space, base + i);
        rank += level[i] > 0;
        rows += level[i];
    }
    u = mem_zalloc(1, sizeof *u + (rank + 1) * sizeof *u->first);
    bytes = round_to(upper_rows_bytes(a, rows), PAGE_UNIT);
    if (u)
        u->rows = mem_pages_reserve(bytes);
    if (!u || !u->rows) {
        mem_free(u);
        return refuse_memory(bytes);
    }
    u->row_count = rows;
    rank = rows = 0;
    for (uint32_t i = 0; i < NODE_SLOTS; i++) {
        if (i % 64 == 0)
            u->rank[i / 64] = (uint16_t)rank;
        if (!level[i])
            continue;
        u->stands[i / 64] |= (uint64_t)1 << (i % 64);
        u->first[rank++] = rows;
        rows += level[i];
    }
    u->first[rank] = rows;
    atomic_store_explicit(&a->upper[chunk].p, u, memory_order_release);
    return ODB_OK;
}

odb_status vec_arena_grow(struct vec_arena *a, uint32_t slot)
{
    size_t chunk = slot >> VEC_NODE_BITS;
    odb_status st = ODB_OK;

    if (slot >= a->slots_max)
        return err_set(ODB_LIMIT, "vector index: more than %u vectors", a->slots_max);
    if (!chunk_of(a->codes, slot >> a->code_bits))
        st = grow_table(a, a->codes, slot >> a->code_bits, (size_t)1 << a->code_bits,
                        code_chunk_bytes(a));
    if (st != ODB_OK || chunk_of(a->begun, chunk))
        return st;
    st = grow_table(a, a->links, chunk, NODE_SLOTS, link_chunk_bytes(a));
    if (st == ODB_OK)
        st = grow_table(a, a->names, chunk, NODE_SLOTS, name_chunk_bytes());
    if (st == ODB_OK)
        st = grow_upper(a, chunk);
    if (st == ODB_OK)
        st = grow_table(a, a->ends, chunk, NODE_SLOTS, moment_chunk_bytes());
    if (st == ODB_OK) /* last: whoever finds it finds the others */
        st = grow_table(a, a->begun, chunk, NODE_SLOTS, moment_chunk_bytes());
    return st;
}

/* ---- pages ---- */

/* Pieces of 2 MiB below `slots`, as far as chunks go into pieces. */
static void settle_table(const struct vec_chunk *table, unsigned bits, size_t row_bytes,
                         uint32_t slots, size_t *settled)
{
    size_t each = (row_bytes << bits) / HUGE_UNIT; /* pieces of a chunk */

    for (; each; (*settled)++) {
        size_t chunk = *settled / each, end = (*settled % each + 1) * HUGE_UNIT;
        uint8_t *p;

        if (chunk > slots >> bits || ((size_t)slots - (chunk << bits)) * row_bytes < end)
            return;
        p = atomic_load_explicit(&table[chunk].p, memory_order_acquire);
        if (p)
            mem_pages_settle(p + end - HUGE_UNIT, HUGE_UNIT);
    }
}

void vec_arena_settle(struct vec_arena *a)
{
    uint32_t slots = atomic_load_explicit(&a->slot_count, memory_order_acquire);

    settle_table(a->codes, a->code_bits, a->stride, slots, &a->settled_codes);
    settle_table(a->links, VEC_NODE_BITS, link_row_bytes(&a->space), slots, &a->settled_links);
}

/* What `slots` rows take, the last page whole. */
static uint64_t touched_bytes(const struct vec_chunk *table, unsigned bits, size_t row_bytes,
                              size_t chunk_bytes, uint32_t slots)
{
    uint64_t sum = 0;

    for (size_t i = 0; i <= slots >> bits; i++) {
        size_t here = (size_t)slots - (i << bits);

        if (chunk_of(table, i))
            sum += here >> bits ? chunk_bytes : round_to(here * row_bytes, SMALL_PAGE);
    }
    return sum;
}

uint64_t vec_arena_bytes(const struct vec_arena *a)
{
    uint32_t slots = atomic_load_explicit(&a->slot_count, memory_order_relaxed);
    uint64_t sum = round_to((size_t)a->heap.next * VEC_NAME_UNIT, SMALL_PAGE);

    sum += touched_bytes(a->codes, a->code_bits, a->stride, code_chunk_bytes(a), slots);
    sum += touched_bytes(a->links, VEC_NODE_BITS, link_row_bytes(&a->space), link_chunk_bytes(a),
                         slots);
    sum += touched_bytes(a->begun, VEC_NODE_BITS, sizeof(vec_moment), moment_chunk_bytes(), slots);
    sum += touched_bytes(a->names, VEC_NODE_BITS, sizeof(vec_link), name_chunk_bytes(), slots);
    for (size_t i = 0; i <= slots >> VEC_NODE_BITS; i++) {
        const struct vec_upper *u = chunk_of(a->upper, i);
        size_t here = (size_t)slots - (i << VEC_NODE_BITS);

        sum += vec_bits_set(atomic_load_explicit(&a->ended[i].v, memory_order_relaxed)) *
               (moment_chunk_bytes() / ENDED_PARTS);
        if (!u)
            continue;
        sum += sizeof *u + (u->rank[NODE_SLOTS / 64 - 1] + 65) * sizeof *u->first;
        sum += round_to(upper_rows_bytes(a, here < NODE_SLOTS ? vec_upper_row(u, (uint32_t)here)
                                                              : u->row_count),
                        SMALL_PAGE);
    }
    return sum;
}

uint64_t vec_arena_estimate(const struct vec_space *space, uint64_t count, size_t id_len)
{
    uint64_t each = row_stride(space) + link_row_bytes(space) + sizeof(vec_moment) +
                    sizeof(vec_link) + round_to(sizeof(struct vec_id) + id_len, VEC_NAME_UNIT);

    each += (1 + (uint64_t)space->m) * sizeof(vec_link) / (space->m - 1) +
            1;                 /* upper rows, on average */
    return (each + 8) * count; /* and the table of ids */
}

/* ---- names ---- */

static uint8_t *name_at(const struct vec_arena *a, uint64_t ref)
{
    uint8_t *block = chunk_of(a->heap.block, (size_t)(ref / VEC_NAME_UNITS));

    return block + (size_t)(ref % VEC_NAME_UNITS) * VEC_NAME_UNIT;
}

static uint32_t name_units(size_t id_len)
{
    return (uint32_t)((sizeof(struct vec_id) + id_len + VEC_NAME_UNIT - 1) / VEC_NAME_UNIT);
}

/* So many units from the end of the heap; no name goes over the end of a block. */
static odb_status take_units(struct vec_arena *a, uint32_t units, uint64_t *out)
{
    struct vec_names *h = &a->heap;
    uint64_t at = h->next;
    size_t block;

    if (at % VEC_NAME_UNITS + units > VEC_NAME_UNITS)
        at = (at / VEC_NAME_UNITS + 1) * VEC_NAME_UNITS;
    block = (size_t)(at / VEC_NAME_UNITS);
    if (block >= NAME_BLOCKS)
        return err_set(ODB_LIMIT, "vector index: ids of more than %zu MiB",
                       NAME_BLOCKS * VEC_NAME_UNITS * VEC_NAME_UNIT >> 20);
    if (!chunk_of(h->block, block)) {
        void *p = mem_pages_reserve(VEC_NAME_UNITS * VEC_NAME_UNIT);

        if (!p)
            return refuse_memory(VEC_NAME_UNITS * VEC_NAME_UNIT);
        atomic_store_explicit(&h->block[block].p, p, memory_order_release);
    }
    h->next = at + units;
    *out = at;
    return ODB_OK;
}

odb_status vec_name_add(struct vec_arena *a, odb_slice id, uint32_t *out)
{
    uint32_t units = name_units(id.size), *spare = &a->heap.spare[units];
    struct vec_id head = {.len = (uint16_t)id.size};
    uint64_t ref = *spare;
    uint8_t *p;

    if (ref) {
        memcpy(spare, name_at(a, ref), sizeof *spare);
    } else {
        odb_status st = take_units(a, units, &ref);

        if (st != ODB_OK)
            return st;
    }
    p = name_at(a, ref);
    memcpy(p, &head, sizeof head);
    memcpy(p + sizeof head, id.data, id.size);
    *out = (uint32_t)ref;
    return ODB_OK;
}

void vec_name_drop(struct vec_arena *a, uint32_t ref)
{
    struct vec_id head;
    uint32_t *spare;

    if (ref == 0)
        return;
    memcpy(&head, name_at(a, ref), sizeof head);
    spare = &a->heap.spare[name_units(head.len)];
    memcpy(name_at(a, ref), spare, sizeof *spare);
    *spare = ref;
}

uint32_t vec_name_set(struct vec_arena *a, uint32_t slot, uint32_t ref)
{
    vec_link *chunk = chunk_of(a->names, slot >> VEC_NODE_BITS);

    return atomic_exchange_explicit(&chunk[slot & (NODE_SLOTS - 1)].v, ref, memory_order_acq_rel);
}

/* Whoever sees the bit sees the end; who reads at that moment or later has been told of it since. */
void vec_end_set(struct vec_arena *a, uint32_t slot, uint64_t end)
{
    vec_link *ended = &a->ended[slot >> VEC_NODE_BITS];
    uint32_t part = 1u << (slot % NODE_SLOTS / (NODE_SLOTS / ENDED_PARTS));

    if (!(atomic_load_explicit(&ended->v, memory_order_relaxed) & part))
        atomic_fetch_or_explicit(&ended->v, part, memory_order_relaxed);
    atomic_store_explicit(&vec_moment_in(a->ends, slot)->v, end, memory_order_release);
    atomic_fetch_or_explicit(&vec_moment_in(a->begun, slot)->v, VEC_ENDED, memory_order_release);
}

/* One in m slots stands on level 1 too, one of m of those on level 2, and so on. Integers only: the
 * same on every machine. */
unsigned vec_level_of(const struct vec_space *space, uint32_t slot)
{
    uint64_t h = hash_mix(hash_mix(0x6f6462766563u, space->seed), slot);
    unsigned level = 0;

    while (level < VEC_LEVEL_MAX && h % space->m == 0) {
        h = hash_mix(h, level);
        level++;
    }
    return level;
}

/* The first lines; those behind them follow by themselves, as the processor sees where this goes. */
static inline void ask_for(const uint8_t *row, size_t bytes)
{
    for (size_t at = 0; at < bytes && at < LINES_AHEAD * LINE; at += LINE)
        ODB_PREFETCH(row + at);
}

void vec_distances(const struct vec_arena *a, const void *q, const uint32_t *slots, size_t n,
                   float *out)
{
    const void *row[4 * ROWS_AHEAD];
    const size_t window = sizeof row / sizeof *row;
    size_t known = 0, bytes = a->stride;

    for (size_t i = 0; i < n; i += ROWS_AHEAD) {
        size_t some = n - i < ROWS_AHEAD ? n - i : ROWS_AHEAD;

        for (; known < n && known < i + 2 * ROWS_AHEAD; known++) {
            row[known % window] = vec_row(a, slots[known]);
            ask_for(row[known % window], bytes);
        }
        a->dist(q, row + i % window, some, a->space.dim, out + i);
    }
    if (a->space.metric != VEC_L2)
        for (size_t i = 0; i < n; i++)
            out[i] = vec_distance_of(a, out[i]);
}
