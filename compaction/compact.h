/* compaction/compact.h -- the merge itself: ordered inputs in, tables out, nothing else touched.
 *
 * Flush and merge are the same work: walk cursors in order, keep of each user key the versions that
 * somebody can still see, write the rest of them out. The job is told everything it needs and
 * returns what it wrote; only lsm/ edits the tree. compaction/compact.c draws what is kept.
 *
 * Threads: a job runs in one thread; split merges are several jobs over disjoint key ranges.
 */
#ifndef ODB_COMPACTION_COMPACT_H
#define ODB_COMPACTION_COMPACT_H

#include "base/merge.h"
#include "sstable/sst.h"

struct compact_job {
    /* Inputs. Owned by the caller, positioned by the job. All keys share `skip` leading bytes. */
    struct cursor **inputs;
    uint32_t input_count;
    size_t skip;

    /* Only user keys in [begin, end); a NULL data pointer means open on that side. */
    odb_slice begin;
    odb_slice end;

    /* Sequence numbers somebody reads at, ascending, the present (visible) one last; at least that
     * one. Versions that none of these sees are dropped; versions newer than the present are for
     * readers to come and stay. */
    const uint64_t *snapshots;
    uint32_t snapshot_count;

    /* May an older version of `key` lie below the output? A tombstone is dropped only when not, and
     * only when every reader sees it. NULL: always yes. Keys are asked in rising order. */
    bool (*older_below)(void *arg, odb_slice key);
    void *older_below_arg;
    /* Nothing at all lies below the output: older_below is not asked, and what every reader sees may
     * forget its sequence number (compact.c, 5). Not for flushes: level 0 is ordered by it. */
    bool is_bottom;

    /* Where to cut the output: after target_size bytes, and before `cuts` (ascending user keys, the
     * fences of the level below) when the output overlaps too much of it: see compact.c. A user
     * key's versions are never split across tables (C30). */
    uint64_t target_size;
    const struct compact_fence *cuts;
    uint32_t cut_count;
    uint64_t max_overlap; /* bytes of the level below one output may overlap; 0: no limit */

    struct sst_writer_options writer;
    uint64_t (*new_file_no)(void *arg);
    void *new_file_no_arg;

    /* Looked at between blocks: true stops the job with ODB_CANCELLED. NULL: never. */
    bool (*is_cancelled)(void *arg);
    void *is_cancelled_arg;
};

/* A table of the level below the output, for compact_job.cuts. */
struct compact_fence {
    odb_slice largest;
    uint64_t size;
};

struct compact_result {
    struct sst_meta *tables; /* in key order; compact_result_release frees */
    uint32_t count;
    uint64_t entries_in;
    uint64_t entries_out;
    uint64_t dropped_versions;
    uint64_t dropped_deletes;
    uint64_t bytes_out; /* file bytes */
};

/* Run it. On ODB_OK every table in `out` is written and synced (directory entries are not). On any
 * other status no table is left behind and `out` is empty: what could not be read is never dropped
 * (P8). */
ODB_MUST_CHECK odb_status compact_run(const struct compact_job *job, struct compact_result *out);
void compact_result_release(struct compact_result *r);

#endif
