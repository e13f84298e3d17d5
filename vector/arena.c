#include "vector/arena.h"

#include "base/alloc.h"
#include "base/hash.h"

#define CODE_CHUNK  ((size_t)2 << 20) /* at least so many bytes: whole huge pages */
#define TABLE_MAX   ((size_t)1 << 18)
#define PAGE_UNIT   ((size_t)64 << 10)
#define LINE        64
#define LINES_AHEAD 8
#define ROWS_AHEAD  4 /* rows asked for while as many are compared */

static size_t round_pages(size_t size)
{
    return (size + PAGE_UNIT - 1) & ~(PAGE_UNIT - 1);
}

static size_t code_chunk_bytes(const struct vec_arena *a)
{
    return round_pages(a->stride << a->code_bits);
}

static size_t link_chunk_bytes(const struct vec_arena *a)
{
    return round_pages(((size_t)2 * a->space.m * sizeof(vec_link)) << VEC_NODE_BITS);
}

static size_t node_chunk_bytes(void)
{
    return round_pages(sizeof(struct vec_node) << VEC_NODE_BITS);
}

static size_t row_stride(const struct vec_space *space)
{
    size_t bytes = vec_row_bytes(space->form, space->dim);
    size_t unit = space->form != VEC_I8 && bytes >= 8 * LINE ? LINE : 16;

    return (bytes + unit - 1) / unit * unit;
}

/* How many chunks of so many slots there may be, and the bytes of a table of them. */
static size_t table_len(const struct vec_arena *a, unsigned bits)
{
    return ((size_t)a->slots_max >> bits) + 1;
}

static size_t table_bytes(const struct vec_arena *a, unsigned bits)
{
    return round_pages(table_len(a, bits) * sizeof(struct vec_chunk));
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
    arena_init(&a->pool);
    a->codes = mem_pages_alloc(table_bytes(a, a->code_bits));
    a->links = mem_pages_alloc(table_bytes(a, VEC_NODE_BITS));
    a->nodes = mem_pages_alloc(table_bytes(a, VEC_NODE_BITS));
    a->row_lock = mem_array(VEC_ROW_LOCKS, sizeof *a->row_lock);
    if (!a->codes || !a->links || !a->nodes || !a->row_lock) {
        mem_free(a->row_lock);
        a->row_lock = NULL;
        vec_arena_release(a);
        return err_set(ODB_NOMEM, "vector index: no memory for its tables");
    }
    for (size_t i = 0; i < VEC_ROW_LOCKS; i++)
        os_mutex_init(&a->row_lock[i], RANK_VEC_ROW);
    return ODB_OK;
}

static void free_chunks(struct vec_arena *a)
{
    for (size_t i = 0; a->nodes && i < table_len(a, VEC_NODE_BITS); i++) {
        struct vec_node *chunk = atomic_load_explicit(&a->nodes[i].p, memory_order_relaxed);

        if (!chunk)
            continue;
        for (size_t k = 0; k < (size_t)1 << VEC_NODE_BITS; k++)
            mem_free(atomic_load_explicit(&chunk[k].id, memory_order_relaxed));
        mem_pages_free(chunk, node_chunk_bytes());
    }
    for (size_t i = 0; a->links && i < table_len(a, VEC_NODE_BITS); i++) {
        vec_link *chunk = atomic_load_explicit(&a->links[i].p, memory_order_relaxed);

        if (!chunk)
            continue;
        mem_pages_free(chunk, link_chunk_bytes(a));
    }
    for (size_t i = 0; a->codes && i < table_len(a, a->code_bits); i++) {
        uint8_t *chunk = atomic_load_explicit(&a->codes[i].p, memory_order_relaxed);

        if (!chunk)
            continue;
        mem_pages_free(chunk, code_chunk_bytes(a));
    }
}

void vec_arena_release(struct vec_arena *a)
{
    free_chunks(a);
    mem_pages_free(a->codes, table_bytes(a, a->code_bits));
    mem_pages_free(a->links, table_bytes(a, VEC_NODE_BITS));
    mem_pages_free(a->nodes, table_bytes(a, VEC_NODE_BITS));
    for (size_t i = 0; a->row_lock && i < VEC_ROW_LOCKS; i++)
        os_mutex_destroy(&a->row_lock[i]);
    mem_free(a->row_lock);
    arena_release(&a->pool);
    memset((void *)a, 0, sizeof *a);
}

static odb_status refuse_memory(size_t bytes)
{
    return err_set(ODB_NOMEM, "vector index: no memory for a chunk of %zu bytes", bytes);
}

static odb_status grow_nodes(struct vec_arena *a, size_t chunk)
{
    struct vec_node *nodes;
    vec_link *links;

    if (atomic_load_explicit(&a->nodes[chunk].p, memory_order_relaxed))
        return ODB_OK;
    links = atomic_load_explicit(&a->links[chunk].p, memory_order_relaxed);
    if (!links) { /* else an earlier try got so far */
        links = mem_pages_alloc(link_chunk_bytes(a));
        if (!links)
            return refuse_memory(link_chunk_bytes(a));
        atomic_store_explicit(&a->links[chunk].p, links, memory_order_release);
        a->footprint += link_chunk_bytes(a);
    }
    nodes = mem_pages_alloc(node_chunk_bytes());
    if (!nodes)
        return refuse_memory(node_chunk_bytes());
    a->footprint += node_chunk_bytes();
    for (size_t i = 0; i < (size_t)1 << VEC_NODE_BITS; i++)
        atomic_init(&nodes[i].begin, VEC_NEVER);
    atomic_store_explicit(&a->nodes[chunk].p, nodes, memory_order_release);
    return ODB_OK;
}

odb_status vec_arena_grow(struct vec_arena *a, uint32_t slot)
{
    size_t code_chunk = slot >> a->code_bits;
    unsigned level = vec_level_of(&a->space, slot);
    odb_status st;

    if (slot >= a->slots_max)
        return err_set(ODB_LIMIT, "vector index: more than %u vectors", a->slots_max);
    st = grow_nodes(a, slot >> VEC_NODE_BITS);
    if (st != ODB_OK)
        return st;
    if (!atomic_load_explicit(&a->codes[code_chunk].p, memory_order_relaxed)) {
        uint8_t *codes = mem_pages_alloc(code_chunk_bytes(a));

        if (!codes)
            return refuse_memory(code_chunk_bytes(a));
        atomic_store_explicit(&a->codes[code_chunk].p, codes, memory_order_release);
        a->footprint += code_chunk_bytes(a);
    }
    if (level && !atomic_load_explicit(&vec_node(a, slot)->upper, memory_order_relaxed)) {
        size_t bytes = level * (size_t)(1 + a->space.m) * sizeof(vec_link);
        void *upper = arena_grow(&a->pool, (bytes + 7) & ~(size_t)7);

        if (!upper)
            return refuse_memory(bytes);
        atomic_store_explicit(&vec_node(a, slot)->upper, upper, memory_order_release);
    }
    return ODB_OK;
}

uint64_t vec_arena_bytes(const struct vec_arena *a)
{
    return a->footprint + arena_footprint(&a->pool);
}

uint64_t vec_arena_estimate(const struct vec_space *space, uint64_t count, size_t id_len)
{
    uint64_t each = row_stride(space) + 2 * (uint64_t)space->m * sizeof(vec_link) +
                    sizeof(struct vec_node) + ((sizeof(struct vec_id) + id_len + 8 + 15) & ~15u);

    each +=
        (1 + (uint64_t)space->m) * sizeof(vec_link) / (space->m - 1); /* upper rows, on average */
    return each * count;
}

struct vec_id *vec_id_new(odb_slice id)
{
    struct vec_id *copy = mem_alloc(sizeof *copy + id.size);

    if (copy) {
        copy->len = (uint16_t)id.size;
        memcpy(copy->bytes, id.data, id.size);
    }
    return copy;
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
