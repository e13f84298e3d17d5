/* tests/api/slots.h -- what a writer of numbered steps leaves in three families, and the check of it: which
 * step wrote a slot says what must be in it. */
#ifndef TEST_API_SLOTS_H
#define TEST_API_SLOTS_H

#include "tests/api/fixture.h"

#define FAMILIES   3
#define VALUE_MAX  500
#define VALUE_ROOM (VALUE_MAX + 32)

static const char *const family_name[FAMILIES] = {"default", "graph_forward", "vector_data"};

struct slot_write {
    size_t family, slot;
    bool is_delete;
};

static inline uint64_t mix(uint64_t x)
{
    x ^= x >> 31;
    x *= 0x9e3779b97f4a7c15u;
    x ^= x >> 29;
    x *= 0xbf58476d1ce4e5b9u;
    return x ^ x >> 32;
}

static inline odb_slice slot_key(size_t slot, char room[32])
{
    (void)snprintf(room, 32, "slot-%04zu", slot);
    return odb_s(room);
}

/* What step i writes into a slot. */
static inline odb_slice slot_value(uint64_t i, size_t slot, char room[VALUE_ROOM])
{
    uint64_t x = mix(i * 1000 + slot);
    size_t len = (size_t)(x % VALUE_MAX);
    size_t head = (size_t)snprintf(room, 32, "%llu:", (unsigned long long)i);

    for (size_t at = head; at < len; at++)
        room[at] = (char)(x >> at % 50);
    return odb_bytes(room, len > head ? len : head);
}

/* The level of step i: `level`, or, where that is DEFAULT, what its die says. */
static inline odb_durability step_level(odb_durability level, uint64_t i)
{
    return level ? level : (odb_durability)(ODB_DURABLE_NONE + mix(i) % 32 / 15);
}

/* The number a step wrote into the key "counter"; 0: none has. */
static inline uint64_t read_counter(odb_db *db)
{
    char text[32] = "";
    size_t size;
    odb_status st = odb_get_into(odb_now(db), NULL, odb_s("counter"), text, sizeof text - 1, &size);

    if (st == ODB_ABSENT)
        return 0;
    assert_ok(st);
    assert_true(size < sizeof text);
    return strtoull(text, NULL, 10);
}

/* After `steps` the family holds what `model` says, and nothing else but the counter. By slot, which step wrote
 * it; 0: absent. */
static inline void expect_slots(odb_db *db, size_t f, const uint64_t *model, size_t slots,
                                uint64_t steps)
{
    char key[32], value[VALUE_ROOM];
    odb_range range = {.prefix = odb_s("slot-")};
    odb_iter *it;
    odb_cf *cf;
    bool ok;

    assert_ok(odb_cf_open(db, family_name[f], &cf));
    assert_ok(odb_iter_new(odb_now(db), cf, &range, &it));
    ok = odb_iter_first(it);
    for (size_t s = 0; s < slots; s++) {
        uint64_t i = model[s];

        if (i == 0)
            continue;
        if (!ok || !odb_slice_equal(odb_iter_key(it), slot_key(s, key)))
            fail_msg("after %llu steps, family %s has lost slot %zu of step %llu (%s)",
                     (unsigned long long)steps, family_name[f], s, (unsigned long long)i,
                     odb_status_name(odb_iter_status(it)));
        if (!odb_slice_equal(odb_iter_value(it), slot_value(i, s, value)))
            fail_msg("after %llu steps, family %s has in slot %zu not the value of step %llu but "
                     "'%.20s'",
                     (unsigned long long)steps, family_name[f], s, (unsigned long long)i,
                     (const char *)odb_iter_value(it).data);
        ok = odb_iter_next(it);
    }
    if (ok)
        fail_msg("after %llu steps, family %s has a slot too many: %.9s", (unsigned long long)steps,
                 family_name[f], (const char *)odb_iter_key(it).data);
    assert_ok(odb_iter_status(it));
    odb_iter_free(it);
}

#endif
