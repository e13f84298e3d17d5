/* tests/api/txn_fixture.h -- what the tests of transactions have in common, beside the database of fixture.h. */
#ifndef TEST_API_TXN_FIXTURE_H
#define TEST_API_TXN_FIXTURE_H

#include "tests/api/fixture.h"

static const odb_txn_options serializable = {.size = sizeof serializable,
                                             .isolation = ODB_SERIALIZABLE};
static const odb_txn_options pessimistic = {.size = sizeof pessimistic, .is_pessimistic = true};

static inline odb_txn *begin(struct fixture *f, const odb_txn_options *opt)
{
    odb_txn *t = NULL;

    assert_ok(odb_txn_begin(f->db, opt, &t));
    return t;
}

/* `value` NULL: delete it. */
static inline void txn_text(odb_txn *t, const char *key, const char *value)
{
    if (value)
        assert_ok(odb_txn_put(t, NULL, odb_s(key), odb_s(value)));
    else
        assert_ok(odb_txn_delete(t, NULL, odb_s(key)));
}

#endif
