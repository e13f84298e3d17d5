/* graph/set.c -- strings as small numbers; see set.h. */
#include "graph/set.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/coding.h"
#include "base/hash.h"
#include "base/status.h"

#define CHUNK_MIN ((size_t)4 << 10)
#define CHUNK_MAX ((size_t)256 << 10)
#define SLOTS_MIN 64u

struct graph_chunk {
    struct graph_chunk *next;
    size_t len;
    uint8_t bytes[];
};

void graph_set_release(struct graph_set *s)
{
    struct graph_chunk *c, *next;

    for (c = s->chunks; c; c = next) {
        next = c->next;
        mem_free(c);
    }
    mem_free(s->item);
    mem_free(s->slots);
    memset(s, 0, sizeof *s);
}

static uint32_t set_hash(odb_slice key)
{
    return (uint32_t)(hash64(key.data, key.size) >> 16);
}

static bool set_is(const struct graph_set *s, uint64_t slot, uint32_t hash, odb_slice key)
{
    const struct graph_item *item;

    if ((uint32_t)(slot >> 32) != hash)
        return false;
    item = &s->item[(uint32_t)slot - 1];
    return item->len == key.size && memcmp(item->p, key.data, key.size) == 0;
}

/* The slot that holds `key`, or the free one where it belongs. */
static uint32_t set_slot(const struct graph_set *s, uint32_t hash, odb_slice key)
{
    uint32_t at = hash & s->mask;

    while (s->slots[at] && !set_is(s, s->slots[at], hash, key))
        at = (at + 1) & s->mask;
    return at;
}

uint32_t graph_set_find(const struct graph_set *s, odb_slice key)
{
    uint64_t slot;

    if (s->count == 0)
        return GRAPH_NONE;
    slot = s->slots[set_slot(s, set_hash(key), key)];
    return slot ? (uint32_t)slot - 1 : GRAPH_NONE;
}

static odb_status set_grow_slots(struct graph_set *s)
{
    size_t count = s->slots ? ((size_t)s->mask + 1) * 2 : SLOTS_MIN;
    uint64_t *slots = count <= UINT32_MAX ? mem_zalloc(count, sizeof *slots) : NULL;
    uint32_t mask = (uint32_t)(count - 1);

    if (!slots)
        return err_set(ODB_NOMEM, "no memory for the %zu slots of a set of nodes", count);
    for (uint32_t i = 0; i < s->count; i++) {
        uint32_t at = s->item[i].hash & mask;

        while (slots[at])
            at = (at + 1) & mask;
        slots[at] = (uint64_t)s->item[i].hash << 32 | (i + 1);
    }
    mem_free(s->slots);
    s->slots = slots;
    s->mask = mask;
    return ODB_OK;
}

static odb_status set_grow_items(struct graph_set *s)
{
    uint32_t cap = s->cap ? s->cap * 2 : 32;
    struct graph_item *item;

    item = cap > s->cap ? mem_realloc(s->item, (size_t)cap * sizeof *item) : NULL;
    if (!item)
        return err_set(ODB_NOMEM, "no memory for %u nodes of a set", cap);
    s->item = item;
    s->cap = cap;
    return ODB_OK;
}

/* `len` bytes that stay where they are. */
static uint8_t *set_take(struct graph_set *s, size_t len)
{
    uint8_t *p;

    if (len > s->free_len) {
        size_t size = s->chunks ? s->chunks->len * 2 : CHUNK_MIN;
        struct graph_chunk *c;

        size = size > CHUNK_MAX ? CHUNK_MAX : size;
        size = size < len ? len : size;
        c = mem_alloc(sizeof *c + size);
        if (!c)
            return NULL;
        c->len = size;
        c->next = s->chunks;
        s->chunks = c;
        s->free_p = c->bytes;
        s->free_len = size;
    }
    p = s->free_p;
    s->free_p += len;
    s->free_len -= len;
    return p;
}

odb_status graph_set_add(struct graph_set *s, odb_slice key, uint32_t *out, bool *is_new)
{
    uint32_t hash = set_hash(key), at;
    odb_status st = ODB_OK;
    uint8_t *p;

    if (!s->slots || ((uint64_t)s->count + 1) * 8 > ((uint64_t)s->mask + 1) * 5)
        st = set_grow_slots(s);
    if (st == ODB_OK && s->count == s->cap)
        st = set_grow_items(s);
    if (st != ODB_OK)
        return st;
    at = set_slot(s, hash, key);
    if (s->slots[at]) {
        *out = (uint32_t)s->slots[at] - 1;
        *is_new = false;
        return ODB_OK;
    }
    p = key.size <= UINT32_MAX ? set_take(s, key.size) : NULL;
    if (!p)
        return err_set(ODB_NOMEM, "no memory for the name of a node, %zu bytes", key.size);
    memcpy(p, key.data, key.size);
    s->item[s->count] = (struct graph_item){p, (uint32_t)key.size, hash};
    s->slots[at] = (uint64_t)hash << 32 | (s->count + 1);
    *out = s->count++;
    *is_new = true;
    return ODB_OK;
}

/* ---- order ---- */

/* The first eight bytes decide nearly always, and comparing them needs no look at the string. */
struct set_rank {
    uint64_t head;
    uint32_t number;
    uint32_t len;
    const uint8_t *p;
};

static uint64_t set_head(const struct graph_item *item)
{
    uint8_t head[8] = {0};

    if (item->len >= sizeof head)
        return get_u64_be(item->p);
    memcpy(head, item->p, item->len);
    return get_u64_be(head);
}

static int set_rank_compare(const void *a, const void *b)
{
    const struct set_rank *x = a, *y = b;

    if (x->head != y->head)
        return x->head < y->head ? -1 : 1;
    return odb_slice_compare(odb_bytes(x->p, x->len), odb_bytes(y->p, y->len));
}

odb_status graph_set_sort(const struct graph_set *s, uint32_t *numbers, size_t count)
{
    struct set_rank *rank;

    if (count < 2)
        return ODB_OK;
    rank = mem_array(count, sizeof *rank);
    if (!rank)
        return err_set(ODB_NOMEM, "no memory to put %zu nodes in order", count);
    for (size_t i = 0; i < count; i++) {
        const struct graph_item *item = &s->item[numbers[i]];

        rank[i] = (struct set_rank){set_head(item), numbers[i], item->len, item->p};
    }
    qsort(rank, count, sizeof *rank, set_rank_compare);
    for (size_t i = 0; i < count; i++)
        numbers[i] = rank[i].number;
    mem_free(rank);
    return ODB_OK;
}
