/* cf/reserve.c -- space kept back, so that a full disk can be emptied again (P7).
 *
 *      KEPT  --a flush, a merge or a delete finds the disk full: RESERVE is cut to nothing-->  SPENT
 *      SPENT --after a flush, with a put or by cf_resume, when there is space: taken again-->   KEPT
 *
 * Deleting needs space before it gives any: a log record, a table of tombstones, the output of the merge
 * that at last removes its inputs. The file RESERVE holds that space: what a log segment, a flush and a
 * merge take, but no more than an eighth of the tables and cf_set_options.disk_reserve. It is taken when a
 * flush has succeeded and the disk has plenty.
 *
 * 1. While it is spent, commits that put anything are refused with ODB_NOSPACE: what was given up for
 *    deletes must not be eaten by puts.
 * 2. Nothing depends on the file: it holds zeros, is never read, never synced, and whatever a crash
 *    leaves of it is right. An open that finds the disk full removes it and tries once more.
 *
 * Threads: any; `reserve*` under manifest_lock, the state read without.
 */
#include "cf/set_priv.h"

#define RESERVE_NAME  "RESERVE"
#define RESERVE_SHARE 8
#define RESERVE_LEAST ((uint64_t)64 << 10) /* less helps nobody */
#define RESERVE_LOG   ((uint64_t)256 << 10)
#define RESERVE_MERGE 8 /* tables */

static bool reserve_is(struct cf_set *s, enum reserve_state state)
{
    return atomic_load_explicit(&s->reserve_state, memory_order_relaxed) == (int)state;
}

static void reserve_become(struct cf_set *s, enum reserve_state state)
{
    atomic_store_explicit(&s->reserve_state, (int)state, memory_order_relaxed);
}

bool reserve_spend(void *set)
{
    struct cf_set *s = set;
    bool is_spent = false;

    os_mutex_lock(&s->manifest_lock);
    if (reserve_is(s, RESERVE_KEPT) && os_truncate(s->reserve, 0) == ODB_OK) {
        reserve_become(s, RESERVE_SPENT);
        is_spent = true;
    }
    os_mutex_unlock(&s->manifest_lock);
    if (is_spent)
        set_note(s, "the disk is full: %llu bytes kept back are given to deletes and merges",
                 (unsigned long long)s->reserve_size);
    return is_spent;
}

/* Have RESERVE of `size` bytes. Under manifest_lock. */
static odb_status reserve_take(struct cf_set *s, uint64_t size)
{
    uint64_t have = 0;
    odb_status st = ODB_OK;

    if (!s->reserve) {
        st = os_open(s->dir, RESERVE_NAME, OS_WRITE, &s->reserve);
        if (st == ODB_ABSENT)
            st = os_open(s->dir, RESERVE_NAME, OS_WRITE | OS_CREATE, &s->reserve);
    }
    if (st == ODB_OK)
        st = os_size(s->reserve, &have);
    if (st == ODB_OK && have < size)
        st = os_reserve(s->reserve, have, size - have, false);
    if (st == ODB_OK) {
        s->reserve_size = size;
        reserve_become(s, RESERVE_KEPT);
    } else if (s->reserve && !reserve_is(s, RESERVE_KEPT)) {
        err_ignore(os_truncate(s->reserve, 0)); /* all or nothing */
    }
    return st;
}

void reserve_keep(struct cf_set *s)
{
    const struct lsm_options *o = &s->opt.family;
    uint64_t need = RESERVE_LOG + o->write_buffer + RESERVE_MERGE * o->target_file_size;
    uint64_t size = set_sizes(s).tables / RESERVE_SHARE, have, room;

    if (size > need)
        size = need;
    if (size > s->opt.disk_reserve)
        size = s->opt.disk_reserve;
    if (size < RESERVE_LEAST)
        return;
    os_mutex_lock(&s->manifest_lock);
    have = reserve_is(s, RESERVE_KEPT) ? s->reserve_size : 0;
    if (reserve_is(s, RESERVE_SPENT) && size < s->reserve_size)
        size = s->reserve_size;
    room = os_dir_free_bytes(s->dir);
    if (size > have + have / 4 && room / 4 > size - have)
        (void)reserve_take(s, size); /* without one all goes on, but for a full disk */
    os_mutex_unlock(&s->manifest_lock);
}

odb_status reserve_admit(struct cf_set *s)
{
    odb_status st = ODB_OK;

    os_mutex_lock(&s->manifest_lock);
    if (reserve_is(s, RESERVE_SPENT) && (os_dir_free_bytes(s->dir) / 2 < s->reserve_size ||
                                         reserve_take(s, s->reserve_size) != ODB_OK))
        st =
            err_set(ODB_NOSPACE,
                    "the disk is full; what was kept back is for deletes and merges, and puts wait "
                    "until there is space for it again (%llu bytes)",
                    (unsigned long long)s->reserve_size);
    os_mutex_unlock(&s->manifest_lock);
    return st;
}

bool reserve_give_up(struct os_dir *dir)
{
    return os_remove(dir, RESERVE_NAME) == ODB_OK;
}
