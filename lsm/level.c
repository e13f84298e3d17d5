/* lsm/level.c -- the disjoint tables of one level, walked as one source.
 *
 *     files:  [a..f]  [g..k]  [m..z]        one table cursor at a time; its run is handed out as
 *                       ^ at                the level's own, so a step costs what a table's does
 *
 * 1. `table` is the open cursor over files[at], or NULL when the level cursor stands nowhere.
 * 2. While valid, run, at and count are those of `table`: they are taken from it before, and written
 *    back to it (its position within the run) ahead of every call into it.
 *
 * Threads: one at a time. The files are kept for the cursor's life, by references of its own or by the
 * version that the caller holds, so it needs no epoch. The table cursors, one after the other, live in
 * memory that follows the level cursor.
 */
#include "base/alloc.h"
#include "lsm/version.h"

struct level_cursor {
    struct cursor c; /* first */
    struct sst_store *store;
    struct cursor *table;
    uint32_t file; /* index of the table that is open */
    uint32_t file_count;
    unsigned flags;
    bool is_lent;                  /* memory and files are the caller's */
    bool is_aimed;                 /* the table that is open is the one the seek to come will ask */
    const struct lsm_level *level; /* which files are part of, from files[0] on; NULL: unknown */
    struct lsm_file *const *files;
};

/* Where the table cursor lives. */
static void *level_room(struct level_cursor *l)
{
    return l + 1;
}

static struct level_cursor *level_of(struct cursor *c)
{
    return (struct level_cursor *)(void *)c;
}

/* Show the table's position as our own. */
static bool level_adopt(struct level_cursor *l)
{
    struct cursor *t = l->table;

    if (!cursor_valid(t))
        return cursor_stop(&l->c, t->status);
    l->c.run = t->run;
    l->c.at = t->at;
    l->c.count = t->count;
    l->c.newest = t->newest;
    l->c.is_plain = t->is_plain;
    l->c.status = ODB_OK;
    return true;
}

/* Make files[i] the open table; false (and stopped) when that fails. */
static bool level_open_file(struct level_cursor *l, uint32_t i)
{
    odb_status st;

    if (l->table && l->file == i)
        return true;
    cursor_free(l->table);
    l->table = NULL;
    st = sst_cursor_init(level_room(l), l->store, &l->files[i]->ref, l->flags, &l->table);
    if (st != ODB_OK)
        return cursor_stop(&l->c, st);
    l->file = i;
    return true;
}

/* From the start of files[i] on, past empty ones. */
static bool level_forward_from(struct level_cursor *l, uint32_t i)
{
    for (; i < l->file_count; i++) {
        if (!level_open_file(l, i))
            return false;
        if (l->table->ops->first(l->table) || l->table->status != ODB_OK)
            return level_adopt(l);
    }
    return cursor_stop(&l->c, ODB_OK);
}

/* From the end of files[i-1] backward. */
static bool level_backward_from(struct level_cursor *l, uint32_t i)
{
    while (i > 0) {
        if (!level_open_file(l, --i))
            return false;
        if (l->table->ops->last(l->table) || l->table->status != ODB_OK)
            return level_adopt(l);
    }
    return cursor_stop(&l->c, ODB_OK);
}

static bool level_first(struct cursor *c)
{
    return level_forward_from(level_of(c), 0);
}

static bool level_last(struct cursor *c)
{
    struct level_cursor *l = level_of(c);

    return level_backward_from(l, l->file_count);
}

/* The first file whose largest key is at or after `key`. */
static uint32_t level_find_file(const struct level_cursor *l, odb_slice key)
{
    uint32_t lo = 0, n = l->file_count;

    if (l->level) {
        uint32_t first = (uint32_t)(l->files - l->level->files);

        lo = level_search(l->level, key);
        lo = lo > first ? lo - first : 0;
        return lo < n ? lo : n;
    }
    while (n > 0) {
        uint32_t half = n / 2;

        if (odb_slice_compare(file_largest(l->files[lo + half]), key) < 0) {
            lo += half + 1;
            n -= half + 1;
        } else {
            n = half;
        }
    }
    return lo;
}

static void level_aim(struct cursor *c, odb_slice key, uint64_t trailer)
{
    struct level_cursor *l = level_of(c);

    if (!l->is_aimed) {
        uint32_t i = level_find_file(l, key);

        if (i == l->file_count || !level_open_file(l, i)) /* should it fail, the seek will tell */
            return;
    }
    l->is_aimed = !l->is_aimed;
    l->table->ops->aim(l->table, key, trailer);
}

static bool level_seek(struct cursor *c, odb_slice key, uint64_t trailer)
{
    struct level_cursor *l = level_of(c);
    uint32_t i = level_find_file(l, key);

    l->is_aimed = false;
    if (i == l->file_count)
        return cursor_stop(c, ODB_OK);
    if (!level_open_file(l, i))
        return false;
    if (l->table->ops->seek(l->table, key, trailer) || l->table->status != ODB_OK)
        return level_adopt(l);
    return level_forward_from(l, i + 1); /* all versions of the last key were newer */
}

static bool level_seek_for_prev(struct cursor *c, odb_slice key, uint64_t trailer)
{
    struct level_cursor *l = level_of(c);
    uint32_t i = level_find_file(l, key);

    l->is_aimed = false;
    if (i == l->file_count)
        return level_backward_from(l, i);
    if (!level_open_file(l, i))
        return false;
    if (l->table->ops->seek_for_prev(l->table, key, trailer) || l->table->status != ODB_OK)
        return level_adopt(l);
    return level_backward_from(l, i);
}

static bool level_next_run(struct cursor *c)
{
    struct level_cursor *l = level_of(c);

    l->table->at = c->at;
    if (l->table->ops->next_run(l->table) || l->table->status != ODB_OK)
        return level_adopt(l);
    return level_forward_from(l, l->file + 1);
}

static bool level_prev_run(struct cursor *c)
{
    struct level_cursor *l = level_of(c);

    l->table->at = c->at;
    if (l->table->ops->prev_run(l->table) || l->table->status != ODB_OK)
        return level_adopt(l);
    return level_backward_from(l, l->file);
}

static void level_free(struct cursor *c)
{
    struct level_cursor *l = level_of(c);

    cursor_free(l->table);
    if (l->is_lent)
        return;
    for (uint32_t i = 0; i < l->file_count; i++)
        file_unref(l->files[i]);
    mem_free(l);
}

static const struct cursor_ops level_ops = {
    level_first,    level_last,     level_seek, level_seek_for_prev,
    level_next_run, level_prev_run, level_free, level_aim,
};

size_t level_cursor_size(void)
{
    return sizeof(struct level_cursor) + sst_cursor_size();
}

static void level_fill(struct level_cursor *l, struct sst_store *store, uint32_t count,
                       unsigned flags)
{
    *l = (struct level_cursor){.store = store, .file_count = count, .flags = flags};
    l->c.ops = &level_ops;
}

struct cursor *level_cursor_init(void *memory, struct sst_store *store,
                                 const struct lsm_level *level, uint32_t first, uint32_t count,
                                 unsigned flags)
{
    struct level_cursor *l = memory;

    level_fill(l, store, count, flags);
    l->is_lent = true;
    l->level = level;
    l->files = level->files + first;
    return &l->c;
}

odb_status level_cursor_new(struct sst_store *store, struct lsm_file *const *files, uint32_t count,
                            unsigned flags, struct cursor **out)
{
    size_t size = level_cursor_size();
    struct level_cursor *l = mem_alloc(size + count * sizeof(struct lsm_file *));
    struct lsm_file **kept;

    if (!l)
        return err_set(ODB_NOMEM, "out of memory for a cursor over %u tables", count);
    level_fill(l, store, count, flags);
    kept = (struct lsm_file **)(void *)((uint8_t *)l + size);
    for (uint32_t i = 0; i < count; i++) {
        kept[i] = files[i];
        file_ref(files[i]);
    }
    l->files = kept;
    *out = &l->c;
    return ODB_OK;
}
