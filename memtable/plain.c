/* memtable/plain.c -- the skiplist of the textbook (Pugh, CACM 33, 1990): one key per node, a node
 * in four on the next level, no concurrency. Slow and plain: it is right by inspection, so that the
 * other one can be compared with it.
 *
 *     head --------------------> n ----------> NULL
 *     head ------> n ----------> n ----------> NULL
 *     head -> n -> n -> n -> n -> n -> n ----> NULL
 *
 * 1. On each level nodes rise strictly in internal order (base/ikey.h).
 * Threads: one.
 */
#include "memtable/plain.h"

#include "base/arena.h"

#include "base/alloc.h"

#define PLAIN_HEIGHT 12

struct plain_node {
    uint64_t trailer;
    uint32_t key_len;
    uint32_t value_len;
    const uint8_t *bytes; /* key, then value */
    struct plain_node *next[];
};

struct plain {
    struct arena arena;
    uint64_t dice;
    size_t bytes;
    int top;
    struct plain_node *head;
};

static void *plain_take(struct plain *l, size_t size)
{
    l->bytes += size;
    return arena_grow(&l->arena, size);
}

struct plain *plain_new(void)
{
    struct plain *l = mem_zalloc(1, sizeof *l);

    if (!l)
        return NULL;
    arena_init(&l->arena);
    l->dice = 1;
    l->head = plain_take(l, sizeof *l->head + PLAIN_HEIGHT * sizeof l->head->next[0]);
    if (!l->head) {
        plain_free(l);
        return NULL;
    }
    return l;
}

void plain_free(struct plain *l)
{
    if (!l)
        return;
    arena_release(&l->arena);
    mem_free(l);
}

/* Fill `left` with the last node before (key, trailer) on each level. */
static void plain_find(const struct plain *l, odb_slice key, uint64_t trailer,
                       struct plain_node **left)
{
    struct plain_node *n = l->head;

    for (int level = PLAIN_HEIGHT - 1; level > l->top; level--)
        left[level] = n;
    for (int level = l->top; level >= 0; level--) {
        for (;;) {
            struct plain_node *next = n->next[level];

            if (!next || ikey_compare(next->bytes, next->key_len, next->trailer, key.data, key.size,
                                      trailer) >= 0)
                break;
            n = next;
        }
        left[level] = n;
    }
}

odb_status plain_insert(struct plain *l, odb_slice key, odb_slice value, uint64_t trailer)
{
    struct plain_node *left[PLAIN_HEIGHT], *n;
    int height = 1;
    uint8_t *bytes;
    size_t links;

    /* xorshift64 */
    l->dice ^= l->dice << 13;
    l->dice ^= l->dice >> 7;
    l->dice ^= l->dice << 17;
    while (height < PLAIN_HEIGHT && (l->dice >> (2 * height) & 3) == 0)
        height++;
    links = (size_t)height * sizeof n->next[0];
    n = plain_take(l, sizeof *n + links + key.size + value.size);
    if (!n)
        return err_set(ODB_NOMEM, "out of memory for an entry");
    bytes = (uint8_t *)n + sizeof *n + links;
    if (key.size)
        memcpy(bytes, key.data, key.size);
    if (value.size)
        memcpy(bytes + key.size, value.data, value.size);
    n->trailer = trailer;
    n->key_len = (uint32_t)key.size;
    n->value_len = (uint32_t)value.size;
    n->bytes = bytes;
    plain_find(l, key, trailer, left);
    for (int level = 0; level < height; level++) {
        n->next[level] = left[level]->next[level];
        left[level]->next[level] = n;
    }
    if (l->top < height - 1)
        l->top = height - 1;
    return ODB_OK;
}

const struct plain_node *plain_seek(const struct plain *l, odb_slice key, uint64_t trailer)
{
    struct plain_node *left[PLAIN_HEIGHT];

    plain_find(l, key, trailer, left);
    return left[0]->next[0];
}

const struct plain_node *plain_seek_before(const struct plain *l, odb_slice key, uint64_t trailer)
{
    struct plain_node *left[PLAIN_HEIGHT];

    plain_find(l, key, trailer, left);
    return left[0] == l->head ? NULL : left[0];
}

const struct plain_node *plain_first(const struct plain *l)
{
    return l->head->next[0];
}

const struct plain_node *plain_last(const struct plain *l)
{
    const struct plain_node *n = l->head;

    for (int level = l->top; level >= 0; level--)
        while (n->next[level])
            n = n->next[level];
    return n == l->head ? NULL : n;
}

const struct plain_node *plain_next(const struct plain_node *n)
{
    return n->next[0];
}

struct entry plain_entry(const struct plain_node *n)
{
    return (struct entry){n->bytes, n->bytes + n->key_len, n->key_len, n->value_len, n->trailer};
}

bool plain_get(const struct plain *l, odb_slice key, uint64_t trailer, struct entry *out)
{
    const struct plain_node *n = plain_seek(l, key, trailer);

    if (!n || key_compare(n->bytes, n->key_len, key.data, key.size) != 0)
        return false;
    *out = plain_entry(n);
    return true;
}

size_t plain_bytes(const struct plain *l)
{
    return l->bytes;
}
