/* api/locks.c -- who may touch a key now, who is next, and who waits in a circle.
 *
 *     bucket[hash]  -->  A has 'k' alone  -->  B waits for 'k'          keys
 *     ranges        -->  C shares ['a','m')                            ranges
 *     first .. last      B, D, E                                       who waits, in order
 *
 * A request is granted when no lock of somebody else is in its way, and nobody who came earlier waits
 * for something that would be: so readers who come one after the other cannot keep a writer out for
 * ever. The exception is who holds a lock there already and wants a stronger one: it goes first, since
 * whoever waits there waits for it anyway.
 *
 * Who is not granted at once waits for all that are in its way, and the search for a circle starts
 * there and then: every new circle passes through the newcomer. Of those in the circle the youngest
 * yields; its text names the circle. The age of a transaction that lost stays with its handle, so
 * that the next try is older than others and will win.
 *
 * 1. In every queue for one place the order of grants is the order of arrivals, but for upgrades.
 * 2. Whenever a lock or a request goes away, everyone who waits is looked at again, in order: no
 *    wake-up is lost.
 *
 * Threads: any; everything under one mutex, held for a few dozen instructions where nobody waits. A
 * range is compared with every lock in the table.
 * Crash: nothing of it is kept. Not here: what a lock means for a commit (api/txn.c).
 */
#include "api/locks.h"

#include <assert.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "os/os.h"

#define LOCK_BUCKETS_MIN 64

struct lock_request {
    struct lock_request *next;   /* in its bucket, or of the ranges */
    struct lock_request *other;  /* of the same locker */
    struct lock_request *behind; /* in the queue of those who wait */
    struct locker *owner;
    const char *family_name;
    uint64_t hash;
    uint64_t arrival;
    size_t lower_len, upper_len;
    uint32_t family;
    bool is_range, has_upper;
    bool is_exclusive;
    bool is_granted;
    bool is_upgrade;
    uint8_t bytes[]; /* lower, upper */
};

void locks_init(struct lock_table *t)
{
    memset(t, 0, sizeof *t);
    os_mutex_init(&t->lock, RANK_LOCKS);
}

void locks_release(struct lock_table *t)
{
    mem_free(t->bucket);
    os_mutex_destroy(&t->lock);
}

void locker_init(struct locker *l)
{
    os_cond_init(&l->wake);
}

void locker_release(struct locker *l)
{
    os_cond_destroy(&l->wake);
}

/* ---- requests ---- */

static odb_slice request_lower(const struct lock_request *r)
{
    return odb_bytes(r->bytes, r->lower_len);
}

static bool request_covers(const struct lock_request *r, odb_slice key)
{
    return odb_slice_compare(key, request_lower(r)) >= 0 &&
           (!r->has_upper ||
            odb_slice_compare(key, odb_bytes(r->bytes + r->lower_len, r->upper_len)) < 0);
}

static bool requests_meet(const struct lock_request *a, const struct lock_request *b)
{
    if (a->family != b->family)
        return false;
    if (!a->is_range && !b->is_range)
        return a->hash == b->hash && odb_slice_equal(request_lower(a), request_lower(b));
    if (a->is_range && request_covers(a, request_lower(b)))
        return true;
    return b->is_range && request_covers(b, request_lower(a));
}

/* `other` keeps `r` from being granted. */
static bool request_blocks(const struct lock_request *other, const struct lock_request *r)
{
    if (other->owner == r->owner || !(other->is_exclusive || r->is_exclusive))
        return false;
    if (!other->is_granted && (r->is_upgrade || other->arrival > r->arrival))
        return other->is_upgrade && !r->is_upgrade && requests_meet(other, r);
    return requests_meet(other, r);
}

static struct lock_request *request_new(struct locker *l, const struct lock_claim *c)
{
    struct lock_request *r = mem_zalloc(1, sizeof *r + c->lower.size + c->upper.size);

    if (!r)
        return NULL;
    r->owner = l;
    r->family = c->family;
    r->family_name = c->family_name;
    r->is_range = c->is_range;
    r->is_exclusive = c->is_exclusive;
    r->has_upper = c->upper.data != NULL;
    r->lower_len = c->lower.size;
    r->upper_len = c->upper.size;
    if (c->lower.size)
        memcpy(r->bytes, c->lower.data, c->lower.size);
    if (c->upper.size)
        memcpy(r->bytes + c->lower.size, c->upper.data, c->upper.size);
    if (!c->is_range)
        r->hash = hash_mix(hash64(c->lower.data, c->lower.size), c->family);
    return r;
}

/* Call for every request that may meet `r`: its bucket and the ranges, or everything. */
static bool requests_each(const struct lock_table *t, const struct lock_request *r,
                          bool (*each)(void *arg, struct lock_request *other), void *arg)
{
    size_t from = r->is_range ? 0 : (size_t)r->hash & (t->bucket_count - 1);
    size_t to = r->is_range ? t->bucket_count : from + 1;
    struct lock_request *other;

    for (other = t->ranges; other; other = other->next)
        if (!each(arg, other))
            return false;
    for (; from < to; from++)
        for (other = t->bucket[from]; other; other = other->next)
            if (!each(arg, other))
                return false;
    return true;
}

static bool is_no_obstacle(void *arg, struct lock_request *other)
{
    return !request_blocks(other, arg);
}

static bool note_upgrade(void *arg, struct lock_request *other)
{
    struct lock_request *r = arg;

    if (other->owner == r->owner && other->is_granted && requests_meet(other, r))
        r->is_upgrade = true;
    return !r->is_upgrade;
}

static struct lock_request **request_home(struct lock_table *t, const struct lock_request *r)
{
    return r->is_range ? &t->ranges : &t->bucket[r->hash & (t->bucket_count - 1)];
}

/* More buckets than keys, where memory allows. False: there are none at all. */
static bool buckets_grow(struct lock_table *t)
{
    size_t count = t->bucket_count ? t->bucket_count * 2 : LOCK_BUCKETS_MIN;
    struct lock_request **old = t->bucket, **grown;

    if (t->key_count < t->bucket_count)
        return true;
    grown = mem_zalloc(count, sizeof *grown);
    if (!grown)
        return old != NULL;
    for (size_t i = 0; i < t->bucket_count; i++)
        while (old[i]) {
            struct lock_request *r = old[i];

            old[i] = r->next;
            r->next = grown[r->hash & (count - 1)];
            grown[r->hash & (count - 1)] = r;
        }
    t->bucket = grown;
    t->bucket_count = count;
    mem_free(old);
    return true;
}

static void request_remove(struct lock_table *t, struct lock_request *r)
{
    struct lock_request **at = request_home(t, r);

    while (*at != r)
        at = &(*at)->next;
    *at = r->next;
    t->key_count -= !r->is_range;
}

/* ---- those who wait ---- */

static void queue_add(struct lock_table *t, struct lock_request *r)
{
    r->behind = NULL;
    if (t->last)
        t->last->behind = r;
    else
        t->first = r;
    t->last = r;
    r->owner->waits_for = r;
}

static void queue_remove(struct lock_table *t, struct lock_request *r)
{
    struct lock_request **at = &t->first, *before = NULL;

    while (*at != r) {
        before = *at;
        at = &before->behind;
    }
    *at = r->behind;
    if (t->last == r)
        t->last = before;
    r->owner->waits_for = NULL;
}

static void request_grant(struct lock_request *r)
{
    r->is_granted = true;
    r->other = r->owner->held;
    r->owner->held = r;
}

/* Something went away (2). */
static void queue_review(struct lock_table *t)
{
    struct lock_request *r = t->first;

    assert(os_mutex_held(&t->lock));
    while (r) {
        struct lock_request *next = r->behind;

        if (requests_each(t, r, is_no_obstacle, r)) {
            queue_remove(t, r);
            request_grant(r);
            os_cond_signal(&r->owner->wake);
        }
        r = next;
    }
}

/* ---- circles ---- */

struct circle_search {
    struct lock_table *t;
    struct locker *start;
    struct locker *at;  /* whose obstacles are looked at */
    struct locker *end; /* the last one of the circle, when there is one */
};

static bool circle_step(void *arg, struct lock_request *other);

static bool circle_search(struct circle_search *s, struct locker *at)
{
    struct locker *before = s->at;
    bool go_on;

    s->at = at;
    go_on = requests_each(s->t, at->waits_for, circle_step, s);
    s->at = before;
    return go_on;
}

/* False: found, stop. */
static bool circle_step(void *arg, struct lock_request *other)
{
    struct circle_search *s = arg;
    struct locker *next = other->owner;

    if (!request_blocks(other, s->at->waits_for))
        return true;
    if (next == s->start) {
        s->end = s->at;
        return false;
    }
    if (next->searched == s->t->searches || !next->waits_for)
        return true;
    next->searched = s->t->searches;
    next->path = s->at;
    return circle_search(s, next);
}

/* "7 waits for 'k' in default, held by 9; 9 waits for ..." */
static void circle_describe(const struct circle_search *s, char *out, size_t room)
{
    size_t len = 0;
    const struct locker *l = s->end, *next = s->start;

    for (;; next = l, l = l->path) {
        const struct lock_request *r = l->waits_for;
        size_t shown = r->lower_len < 16 ? r->lower_len : 16;
        char key[17];

        for (size_t i = 0; i < shown; i++)
            key[i] = r->bytes[i] >= 0x20 && r->bytes[i] < 0x7f ? (char)r->bytes[i] : '.';
        key[shown] = 0;
        len += (size_t)snprintf(out + len, room - len,
                                "%s%llu waits for %llu to let go of %s'%s' in %s", len ? "; " : "",
                                (unsigned long long)l->age, (unsigned long long)next->age,
                                r->is_range ? "the range from " : "", key, r->family_name);
        if (len >= room || l == s->start)
            return;
    }
}

/* While waiting would never end, the youngest in the circle loses. True: that is `l`. */
static bool circle_break(struct lock_table *t, struct locker *l)
{
    for (;;) {
        struct circle_search s = {t, l, NULL, NULL};
        struct locker *youngest = l;

        t->searches++;
        if (circle_search(&s, l))
            return false;
        for (struct locker *p = s.end; p != l; p = p->path)
            if (p->age > youngest->age)
                youngest = p;
        circle_describe(&s, youngest->circle, sizeof youngest->circle);
        if (youngest == l)
            return true;
        youngest->has_lost = true;
        queue_remove(t, youngest->waits_for); /* its request is in nobody's way from here on: */
        os_cond_signal(&youngest->wake);      /* it lies with its owner until that wakes up */
    }
}

/* ---- the calls ---- */

static odb_status lock_wait(struct lock_table *t, struct locker *l, struct lock_request *r,
                            uint64_t wait_ns) ODB_REQUIRES(t->lock);
static odb_status lock_wait(struct lock_table *t, struct locker *l, struct lock_request *r,
                            uint64_t wait_ns)
{
    uint64_t now = os_now_ns(os_posix()),
             end = wait_ns > UINT64_MAX - now ? UINT64_MAX : now + wait_ns;

    queue_add(t, r);
    if (circle_break(t, l)) {
        l->has_lost = true;
        queue_remove(t, r);
        return ODB_DEADLOCK;
    }
    queue_review(t); /* somebody may have lost just now */
    while (!r->is_granted && !l->has_lost && now < end) {
#ifdef ODB_WITH_THREADS
        (void)os_cond_wait_for(&l->wake, &t->lock, end - now);
        now = os_now_ns(os_posix());
#else
        break; /* nobody else is there to let go */
#endif
    }
    if (r->is_granted)
        return ODB_OK;
    if (l->has_lost)
        return ODB_DEADLOCK;
    queue_remove(t, r);
    return ODB_TIMEOUT;
}

static odb_status lock_request(struct lock_table *t, struct locker *l, struct lock_request *r,
                               uint64_t wait_ns) ODB_REQUIRES(t->lock);
static odb_status lock_request(struct lock_table *t, struct locker *l, struct lock_request *r,
                               uint64_t wait_ns)
{
    struct lock_request **home;
    odb_status st = ODB_OK;

    if (!buckets_grow(t))
        return err_set(ODB_NOMEM, "no memory for a lock");
    r->arrival = ++t->arrivals;
    (void)requests_each(t, r, note_upgrade, r);
    home = request_home(t, r);
    r->next = *home;
    *home = r;
    t->key_count += !r->is_range;
    l->has_lost = false;
    if (requests_each(t, r, is_no_obstacle, r))
        request_grant(r);
    else
        st = wait_ns ? lock_wait(t, l, r, wait_ns) : ODB_TIMEOUT;
    if (st != ODB_OK) {
        request_remove(t, r);
        queue_review(t);
    }
    return st;
}

odb_status locks_take(struct lock_table *t, struct locker *l, const struct lock_claim *claim,
                      uint64_t wait_ns)
{
    struct lock_request *r = request_new(l, claim);
    odb_status st;

    if (!r)
        return err_set(ODB_NOMEM, "no memory for a lock");
    os_mutex_lock(&t->lock);
    st = lock_request(t, l, r, wait_ns);
    os_mutex_unlock(&t->lock);
    if (st == ODB_OK)
        return st;
    if (st == ODB_TIMEOUT)
        st = err_set(st, "another transaction has %s in '%s'; waited %llu ms",
                     claim->is_range ? "keys of this range" : "this key", claim->family_name,
                     (unsigned long long)(wait_ns / 1000000));
    if (st == ODB_DEADLOCK)
        st = err_set(st, "transactions wait in a circle: %s; this one was the youngest", l->circle);
    mem_free(r);
    return st;
}

void locks_drop(struct lock_table *t, struct locker *l)
{
    struct lock_request *r, *next;

    if (!l->held)
        return;
    os_mutex_lock(&t->lock);
    for (r = l->held; r; r = r->other)
        request_remove(t, r);
    if (t->first)
        queue_review(t);
    os_mutex_unlock(&t->lock);
    for (r = l->held; r; r = next) {
        next = r->other;
        mem_free(r);
    }
    l->held = NULL;
}
