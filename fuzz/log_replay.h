/* fuzz/log_replay.h -- replay what lies on a disk, and hold the outcome against what wal/wal.h
 * promises: records in order and without gaps, nothing changed, the same again. */
#ifndef FUZZ_LOG_REPLAY_H
#define FUZZ_LOG_REPLAY_H

#include "fuzz/seal.h"
#include "wal/record.h"

struct log_seen {
    uint64_t from;
    uint64_t records;
    uint64_t marks;     /* of those */
    uint64_t end_lsn;   /* of the record before */
    uint64_t last_seq;  /* of any */
    uint64_t batch_seq; /* of a batch */
    unsigned sum;
};

static inline odb_status log_see_record(void *arg, const struct wal_record *rec)
{
    struct log_seen *seen = arg;

    FUZZ_REQUIRE((rec->type == WAL_BATCH || rec->type == WAL_MARK) && rec->lsn >= seen->from);
    FUZZ_REQUIRE(seen->records == 0 || rec->first_seq >= seen->last_seq);
    FUZZ_REQUIRE(seen->records == 0 || rec->lsn == seen->end_lsn);
    FUZZ_REQUIRE(rec->end_lsn - rec->lsn == wal_record_size(rec->payload.size));
    seen->sum += fuzz_touch(rec->payload);
    seen->end_lsn = rec->end_lsn;
    seen->last_seq = rec->first_seq;
    seen->records++;
    if (rec->type == WAL_MARK)
        seen->marks++;
    else
        seen->batch_seq = rec->first_seq;
    return ODB_OK;
}

static inline void log_replay_check(struct fuzz_disk *d, const uint64_t *no, size_t count,
                                    uint64_t from)
{
    struct log_seen first = {.from = from}, second = {.from = from};
    struct wal_replay_result res = {0}, again = {0};
    uint64_t mutations = sim_mutations(d->os);
    odb_status st = wal_replay(d->dir, FUZZ_DB, no, count, WAL_LSN_UNKNOWN, from, WAL_LSN_UNKNOWN,
                               log_see_record, &first, &res);

    FUZZ_REQUIRE(fuzz_is_verdict(st));
    FUZZ_REQUIRE(sim_mutations(d->os) == mutations);
    if (st == ODB_OK) {
        FUZZ_REQUIRE(res.records == first.records - first.marks);
        FUZZ_REQUIRE(first.records == 0 || res.end_lsn == first.end_lsn);
        FUZZ_REQUIRE(res.seq_floor >= first.batch_seq);
    }
    FUZZ_REQUIRE(wal_replay(d->dir, FUZZ_DB, no, count, WAL_LSN_UNKNOWN, from, WAL_LSN_UNKNOWN,
                            log_see_record, &second, &again) == st);
    FUZZ_REQUIRE(second.records == first.records && second.sum == first.sum);
    FUZZ_REQUIRE(again.end_lsn == res.end_lsn && again.seq_floor == res.seq_floor);
}

#endif
