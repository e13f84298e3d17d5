/* tests/reliability/txns.h -- the workload of tests/cf/workload.h through public transactions.
 *
 * Four kinds of transaction t, each one commit:
 *
 *     commit    a batch or a transaction, optimistic or with locks, perhaps after a savepoint; sometimes
 *               with a second one under way that must be refused and leave nothing
 *     prepare   what it writes and claims follows from t alone; its name is "p" and t
 *     commit,   of an earlier prepared one, through its handle or found by name
 *     rollback
 *
 * The last two leave no number in the counter. Which of them are there is told by the names that are
 * listed: each prepare adds one, and only such are resolved as were prepared before the last commit that
 * counted, so no list comes twice between two of those.
 *
 * What a prepared transaction holds back is predicted, too: a commit that meets it is expected to be
 * refused.
 */
#ifndef TEST_RELIABILITY_TXNS_H
#define TEST_RELIABILITY_TXNS_H

#include "tests/cf/workload.h"

extern const struct workload_upper txns_upper;

/* Does the library list what is prepared in `at`, and nothing else? */
bool txns_are_listed(struct odb_db *db, const struct state *at, char *why);
/* Commit every other one and roll back the others, and do the same to `at`. Before that, what they hold
 * must be held, and their writes be seen through them. */
bool txns_resolve(struct odb_db *db, struct state *at, char *why);

#endif
