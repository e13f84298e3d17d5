/* What replay makes of damage: of every bit, every length, and whole files in the wrong place. */
#include "tests/wal/fixture.h"

#include "base/coding.h"
#include "tests/lib/test_alloc.h"
#include "wal/record.h"
#include "wal/segment.h"

#define SMALL_SEGMENT 1500

/* Three or four small segments; synced after each fifth record, the last five never. What a flip must
 * not lose is what a later record says was synced. */
static uint64_t write_small_log(struct log_fx *fx, bool keep_ring)
{
    uint64_t witnessed = 0;

    log_init_posix(fx);
    assert_int_equal(log_open(fx, 4096, SMALL_SEGMENT), ODB_OK);
    while (fx->appended < 40) {
        log_append_many(fx, 5);
        if (fx->appended < 40) {
            assert_int_equal(wal_sync(fx->wal, fx->last_end), ODB_OK);
            witnessed = fx->appended; /* by the records that follow */
        }
    }
    assert_int_equal(wal_drain(fx->wal), ODB_OK);
    assert_int_equal(wal_close(fx->wal), ODB_OK);
    if (!keep_ring)
        assert_int_equal(os_remove(fx->dir, WAL_RING_NAME), ODB_OK);
    log_expect_all(fx);
    return witnessed;
}

/* The three outcomes damage may have: nothing lost, refused, or a prefix with all that is proven. */
static void expect_no_lie(struct log_fx *fx, uint64_t witnessed)
{
    odb_status st = log_replay_files(fx, 0);

    assert_false(fx->is_wrong);
    if (st == ODB_CORRUPT) {
        assert_non_null(strstr(odb_error_text(), "offset"));
        return;
    }
    assert_int_equal(st, ODB_OK);
    assert_true(fx->seen >= witnessed && fx->seen <= fx->appended);
}

static void flip_every_bit(struct log_fx *fx, const char *name, uint64_t witnessed)
{
    uint64_t size = log_file_size(fx, name);

    for (uint64_t off = 0; off < size; off++) {
        bool is_padding =
            name[0] == '0' && ((off >= 56 && off < WAL_LINK_AT - 8) ||
                               (off >= WAL_LINK_AT + WAL_LINK && off < WAL_SEGMENT_HEADER));
        uint8_t byte, flipped;

        assert_int_equal(log_peek(fx, name, off, &byte, 1), 1);
        for (unsigned bit = is_padding ? (unsigned)off % 8 : 0; bit < 8;
             bit += is_padding ? 8 : 1) {
            if (is_padding && off % 16 != 0)
                break;
            flipped = (uint8_t)(byte ^ 1u << bit);
            log_poke(fx, name, off, &flipped, 1);
            expect_no_lie(fx, witnessed);
        }
        log_poke(fx, name, off, &byte, 1);
    }
}

static void P09_no_flipped_bit_changes_what_is_proven(void **state)
{
    struct log_fx fx;
    uint64_t witnessed = write_small_log(&fx, false);

    (void)state;
    assert_true(fx.file_count >= 3 && witnessed == 35);
    for (size_t i = 0; i < fx.file_count; i++) {
        char name[WAL_NAME_MAX];

        wal_segment_name(name, fx.files[i]);
        flip_every_bit(&fx, name, witnessed);
    }
    log_expect_all(&fx);
    log_release_posix(&fx);
}

static void no_flipped_bit_of_the_ring_changes_what_is_in_segments(void **state)
{
    struct log_fx fx;

    (void)state;
    write_small_log(&fx, true);
    flip_every_bit(&fx, WAL_RING_NAME, fx.appended);
    log_release_posix(&fx);
}

static void truncate_file(struct log_fx *fx, const char *name, uint64_t size)
{
    struct os_file *f;

    assert_int_equal(os_open(fx->dir, name, OS_WRITE, &f), ODB_OK);
    assert_int_equal(os_truncate(f, size), ODB_OK);
    os_close(f);
}

static void no_length_changes_what_is_proven(void **state)
{
    static uint8_t bytes[64 << 10];
    struct log_fx fx;
    uint64_t witnessed = write_small_log(&fx, false);

    (void)state;
    for (size_t i = 0; i < fx.file_count; i++) {
        char name[WAL_NAME_MAX];
        uint64_t size;

        wal_segment_name(name, fx.files[i]);
        size = log_file_size(&fx, name);
        assert_int_equal(log_peek(&fx, name, 0, bytes, sizeof bytes), size);
        for (uint64_t len = size; len-- > 0;) {
            if (len < WAL_SEGMENT_HEADER && len % 64 != 0)
                continue;
            truncate_file(&fx, name, len);
            /* Cut short, the last synced group of the last segment has no witness left: the one
             * loss that no log can tell from a torn write (P9). Earlier segments have theirs. */
            expect_no_lie(&fx, i + 1 < fx.file_count ? witnessed : 0);
            if (len < WAL_SEGMENT_HEADER)
                assert_true(log_replay_files(&fx, 0) == ODB_CORRUPT);
        }
        log_poke(&fx, name, 0, bytes, size);
    }
    log_expect_all(&fx);
    log_release_posix(&fx);
}

static void a_missing_middle_segment_is_noticed(void **state)
{
    struct log_fx fx;

    (void)state;
    write_small_log(&fx, false);
    for (size_t gone = 1; gone + 1 < fx.file_count; gone++) {
        uint64_t no = fx.files[gone];

        memmove(&fx.files[gone], &fx.files[gone + 1],
                (fx.file_count - gone - 1) * sizeof fx.files[0]);
        fx.file_count--;
        assert_int_equal(log_replay_files(&fx, 0), ODB_CORRUPT);
        assert_non_null(strstr(odb_error_text(), "missing"));
        memmove(&fx.files[gone + 1], &fx.files[gone], (fx.file_count - gone) * sizeof fx.files[0]);
        fx.files[gone] = no;
        fx.file_count++;
    }
    log_expect_all(&fx);
    log_release_posix(&fx);
}

/* Also where nothing was ever synced by a commit. */
static void a_missing_middle_segment_is_noticed_without_syncs(void **state)
{
    struct log_fx fx;

    (void)state;
    log_init_posix(&fx);
    assert_int_equal(log_open(&fx, 4096, SMALL_SEGMENT), ODB_OK);
    log_append_many(&fx, 80);
    log_expect_all(&fx);
    assert_true(fx.file_count > 3);
    memmove(&fx.files[1], &fx.files[2], (fx.file_count - 2) * sizeof fx.files[0]);
    fx.file_count--;
    assert_int_equal(log_replay_files(&fx, 0), ODB_CORRUPT);
    assert_int_equal(wal_close(fx.wal), ODB_OK);
    log_release_posix(&fx);
}

static void swapped_segments_are_noticed(void **state)
{
    struct log_fx fx;
    char a[WAL_NAME_MAX], b[WAL_NAME_MAX];

    (void)state;
    write_small_log(&fx, false);
    wal_segment_name(a, fx.files[0]);
    wal_segment_name(b, fx.files[1]);
    assert_int_equal(os_rename(fx.dir, a, "swap"), ODB_OK);
    assert_int_equal(os_rename(fx.dir, b, a), ODB_OK);
    assert_int_equal(os_rename(fx.dir, "swap", b), ODB_OK);
    assert_int_equal(log_replay(&fx), ODB_CORRUPT);
    assert_int_equal(fx.seen, 0);
    log_release_posix(&fx);
}

static void a_segment_of_another_database_is_noticed(void **state)
{
    static uint8_t bytes[64 << 10];
    struct log_fx fx, other;
    struct wal_options opt;
    size_t len;

    (void)state;
    write_small_log(&fx, false);
    log_init_posix(&other);
    opt = log_options(&other, 4096, SMALL_SEGMENT);
    opt.db_id = LOG_DB + 1;
    assert_int_equal(wal_open(&opt, 0, 0, &other.wal), ODB_OK);
    log_append_many(&other, 3);
    assert_int_equal(wal_close(other.wal), ODB_OK);
    len = log_peek(&other, "000001.log", 0, bytes, sizeof bytes);
    truncate_file(&fx, "000001.log", len);
    log_poke(&fx, "000001.log", 0, bytes, len);
    assert_int_equal(log_replay(&fx), ODB_CORRUPT);
    assert_non_null(strstr(odb_error_text(), "another database"));
    log_release_posix(&other);
    log_release_posix(&fx);
}

/* A segment that an earlier life of the database left under the same number: other salt. */
static void a_stale_segment_does_not_fit_between_its_neighbours(void **state)
{
    static uint8_t bytes[64 << 10];
    struct log_fx fx, old;
    size_t len;

    (void)state;
    write_small_log(&old, false);
    write_small_log(&fx, false);
    len = log_peek(&old, "000002.log", 0, bytes, sizeof bytes);
    truncate_file(&fx, "000002.log", len);
    log_poke(&fx, "000002.log", 0, bytes, len);
    assert_int_equal(log_replay(&fx), ODB_CORRUPT);
    log_release_posix(&old);
    log_release_posix(&fx);
}

/* Segment 999 as a spare: no link, and `len` bytes of something behind the header. */
static void put_spare(struct log_fx *fx, size_t len)
{
    static uint8_t bytes[WAL_SEGMENT_HEADER + WAL_PAGE];
    struct wal_header h = {.db_id = LOG_DB, .file_no = 999, .salt = 5};
    struct os_file *f;

    memset(bytes, 0x5a, sizeof bytes);
    wal_header_encode(bytes, &h);
    memset(bytes + WAL_LINK_AT, 0, WAL_LINK);
    err_ignore(os_remove(fx->dir, "000999.log"));
    assert_int_equal(os_open(fx->dir, "000999.log", OS_WRITE | OS_CREATE, &f), ODB_OK);
    assert_int_equal(os_write(f, 0, bytes, WAL_SEGMENT_HEADER + len), ODB_OK);
    os_close(f);
}

/* Its first block names the one before it: link or not, that must be there. */
static void a_segment_missing_before_a_lost_link_is_noticed(void **state)
{
    static const uint8_t zeros[WAL_LINK];
    char name[WAL_NAME_MAX];
    struct log_fx fx;

    (void)state;
    write_small_log(&fx, false);
    assert_true(fx.file_count >= 3);
    wal_segment_name(name, fx.files[fx.file_count - 1]);
    log_poke(&fx, name, WAL_LINK_AT, zeros, sizeof zeros);
    log_expect_all(&fx);
    wal_segment_name(name, fx.files[fx.file_count - 2]);
    assert_int_equal(os_remove(fx.dir, name), ODB_OK);
    assert_int_equal(log_replay(&fx), ODB_CORRUPT);
    assert_non_null(strstr(odb_error_text(), "the log segment before it is missing"));
    for (size_t i = 0; i + 2 < fx.file_count; i++) { /* nor may all before it be */
        wal_segment_name(name, fx.files[i]);
        err_ignore(os_remove(fx.dir, name));
    }
    assert_int_equal(log_replay(&fx), ODB_CORRUPT);
    log_release_posix(&fx);
}

static void a_segment_never_begun_is_passed_over(void **state)
{
    static const uint8_t zeros[WAL_LINK_AT];
    uint8_t one = 1;
    struct log_fx fx;

    (void)state;
    write_small_log(&fx, false);
    put_spare(&fx, 0);
    log_expect_all(&fx);
    assert_int_equal(fx.files[fx.file_count - 1], 999);
    put_spare(&fx, 500); /* what a crash leaves where nothing was written yet */
    log_expect_all(&fx);
    log_poke(&fx, "000999.log", WAL_LINK_AT + 3, &one, 1); /* or where writing the link failed */
    log_expect_all(&fx);
    put_spare(&fx, 0);
    log_poke(&fx, "000999.log", 0, zeros, sizeof zeros); /* nor leaves the name without this */
    assert_int_equal(log_replay(&fx), ODB_CORRUPT);
    log_release_posix(&fx);
}

/* Where each segment begins can be seen from its records, but for the first: that the manifest tells. */
static void P03_links_that_a_power_cut_took_are_not_needed(void **state)
{
    static const uint8_t zeros[WAL_LINK];
    struct log_fx fx;
    uint64_t witnessed = write_small_log(&fx, false);

    (void)state;
    for (size_t i = fx.file_count; i-- > 1;) { /* one, two, all but the first */
        char name[WAL_NAME_MAX];

        wal_segment_name(name, fx.files[i]);
        log_poke(&fx, name, WAL_LINK_AT, zeros, sizeof zeros);
        log_expect_all(&fx);
    }
    log_poke(&fx, "000001.log", WAL_LINK_AT, zeros, sizeof zeros);
    fx.seen = 0;
    assert_int_equal(wal_replay(fx.dir, LOG_DB, fx.files, fx.file_count, 0, 0, WAL_LSN_UNKNOWN,
                                log_see, &fx, &fx.result),
                     ODB_OK);
    assert_int_equal(fx.seen, fx.appended);
    assert_int_equal(log_replay_files(&fx, 0), ODB_OK); /* nobody tells */
    assert_int_equal(fx.seen, 0);
    assert_true(witnessed > 0);
    log_release_posix(&fx);
}

/* Two that know where the log begins have to agree, though no record was synced and proves a loss. */
static void a_first_link_that_contradicts_the_manifest_is_damage(void **state)
{
    struct log_fx fx;

    (void)state;
    log_init_posix(&fx);
    assert_int_equal(log_open(&fx, 4096, SMALL_SEGMENT), ODB_OK);
    log_append_many(&fx, 5);
    assert_int_equal(wal_drain(fx.wal), ODB_OK);
    assert_int_equal(wal_close(fx.wal), ODB_OK);
    assert_int_equal(os_remove(fx.dir, WAL_RING_NAME), ODB_OK);
    log_expect_all(&fx);
    for (uint64_t lsn = 0; lsn <= 8; lsn += 8) {
        fx.seen = 0;
        assert_int_equal(wal_replay(fx.dir, LOG_DB, fx.files, fx.file_count, lsn, 0,
                                    WAL_LSN_UNKNOWN, log_see, &fx, &fx.result),
                         lsn == 0 ? ODB_OK : ODB_CORRUPT);
        assert_int_equal(fx.seen, lsn == 0 ? fx.appended : 0);
    }
    log_release_posix(&fx);
}

/* A hole before a segment without a link: nothing behind it is handed out, and where a record that can be
 * read proves the loss, it is told. */
static void nothing_is_handed_out_behind_a_hole_and_a_lost_link(void **state)
{
    static const uint8_t zeros[WAL_LINK];
    char name[WAL_NAME_MAX];
    struct log_fx fx;

    (void)state;
    write_small_log(&fx, false);
    assert_true(fx.file_count >= 3);
    wal_segment_name(name, fx.files[1]);
    log_poke(&fx, name, WAL_LINK_AT, zeros, sizeof zeros);
    log_poke(&fx, name, WAL_SEGMENT_HEADER + 64, zeros, sizeof zeros); /* in its first records */
    expect_no_lie(&fx, fx.appended); /* so that it must be ODB_CORRUPT */
    log_release_posix(&fx);
}

/* ---- lies under good checksums ---- */

/* Write record `head` at LSN `lsn` of the only segment, sealed with the segment's own salt. */
static void forge(struct log_fx *fx, uint64_t lsn, struct wal_record_head head, const void *payload)
{
    uint8_t bytes[WAL_RECORD_HEADER], salt[8];

    log_peek(fx, "000001.log", 40, salt, sizeof salt);
    head.check = wal_record_check(&head, hash64(payload, head.length), get_u64(salt), lsn);
    wal_record_encode(bytes, &head);
    log_poke(fx, "000001.log", WAL_SEGMENT_HEADER + lsn, bytes, sizeof bytes);
    log_poke(fx, "000001.log", WAL_SEGMENT_HEADER + lsn + sizeof bytes, payload, head.length);
}

static void one_segment(struct log_fx *fx, uint64_t records)
{
    log_init_posix(fx);
    assert_int_equal(log_open(fx, 4096, 1 << 20), ODB_OK);
    log_append_many(fx, records);
    assert_int_equal(wal_close(fx->wal), ODB_OK);
    assert_int_equal(os_remove(fx->dir, WAL_RING_NAME), ODB_OK);
    assert_int_equal(log_list(fx), ODB_OK);
}

static void records_that_lie_are_refused(void **state)
{
    const struct wal_record_head good = {
        .length = 9, .behind = WAL_CLAIMS_NOTHING, .seq = 5000, .type = WAL_BATCH};
    struct wal_record_head lie;
    struct log_fx fx;

    (void)state;
    one_segment(&fx, 10);
    lie = good;
    lie.type = 3;
    forge(&fx, fx.last_end, lie, "some text");
    assert_int_equal(log_replay_files(&fx, 0), ODB_CORRUPT);
    lie = good;
    lie.behind = (uint32_t)fx.last_end + 1;
    forge(&fx, fx.last_end, lie, "some text");
    assert_int_equal(log_replay_files(&fx, 0), ODB_CORRUPT);
    lie = good;
    lie.seq = 3;
    forge(&fx, fx.last_end, lie, "some text");
    assert_int_equal(log_replay_files(&fx, 0), ODB_CORRUPT);
    forge(&fx, fx.last_end, good, "some text");
    assert_int_equal(log_replay_files(&fx, 0), ODB_OK);
    assert_int_equal(fx.seen, 11);
    log_release_posix(&fx);
}

/* Segment 2, behind the only one, with header `h` and `records` records of its own. */
static void forge_segment(struct log_fx *fx, struct wal_header h, unsigned records)
{
    uint8_t bytes[WAL_SEGMENT_HEADER + 2 * WAL_PAGE] = {0};
    uint64_t lsn = h.first_lsn;
    struct os_file *f;

    h.db_id = LOG_DB;
    h.file_no = 2;
    h.salt = 99;
    wal_header_encode(bytes, &h);
    for (unsigned i = 0; i < records; i++, lsn += WAL_RECORD_HEADER + 8) {
        struct wal_record_head head = {
            .length = 8, .behind = WAL_CLAIMS_NOTHING, .seq = 5000 + i, .type = WAL_BATCH};
        uint8_t *at = bytes + wal_offset(h.first_lsn, lsn);

        head.check = wal_record_check(&head, hash64("8 octets", 8), h.salt, lsn);
        wal_record_encode(at, &head);
        memcpy(at + WAL_RECORD_HEADER, "8 octets", 8);
    }
    err_ignore(os_remove(fx->dir, "000002.log"));
    assert_int_equal(os_open(fx->dir, "000002.log", OS_WRITE | OS_CREATE, &f), ODB_OK);
    assert_int_equal(os_write(f, 0, bytes, sizeof bytes), ODB_OK);
    os_close(f);
    assert_int_equal(log_list(fx), ODB_OK);
    assert_int_equal(fx->file_count, 2);
}

static void expect_refusal(struct log_fx *fx, odb_status want, const char *says)
{
    odb_status st = log_replay_files(fx, 0);

    if (st != want || !strstr(odb_error_text(), says))
        fail_msg("%s: \"%s\" does not say \"%s\"", odb_status_name(st), odb_error_text(), says);
    assert_true(fx->seen <= fx->appended + 3); /* what the forged ones hold */
}

/* The check of the last record: it lies behind `fx->appended - 1` others. */
static uint64_t last_record_check(struct log_fx *fx)
{
    uint64_t lsn = 0;
    uint8_t check[8];

    for (uint64_t i = 0; i + 1 < fx->appended; i++)
        lsn += wal_record_size(log_payload_len(fx, i));
    assert_int_equal(lsn + wal_record_size(log_payload_len(fx, fx->appended - 1)), fx->last_end);
    log_peek(fx, "000001.log", WAL_SEGMENT_HEADER + lsn, check, sizeof check);
    return get_u64(check);
}

static void segments_that_lie_are_refused(void **state)
{
    struct wal_header good = {.next_seq = 5000, .prev_no = 1}, lie;
    uint8_t head[WAL_SEGMENT_HEADER];
    struct log_fx fx;
    size_t last;

    (void)state;
    one_segment(&fx, 10);
    good.first_lsn = good.prev_end = fx.last_end;
    good.prev_check = last_record_check(&fx);
    forge_segment(&fx, good, 3);
    assert_int_equal(log_replay_files(&fx, 0), ODB_OK);
    assert_int_equal(fx.seen, 13);
    lie = good;
    lie.prev_check++;
    forge_segment(&fx, lie, 3);
    expect_refusal(&fx, ODB_CORRUPT, "ends with another record");
    lie = good; /* it begins inside the last record of the one before */
    last = wal_record_size(log_payload_len(&fx, fx.appended - 1));
    lie.first_lsn = lie.prev_end = good.first_lsn - last + 8;
    forge_segment(&fx, lie, 3);
    expect_refusal(&fx, ODB_CORRUPT, "000002.log");
    lie = good;
    lie.durable = 8; /* not a lie: it says less than there is */
    forge_segment(&fx, lie, 0);
    assert_int_equal(log_replay_files(&fx, 0), ODB_OK);
    assert_int_equal(fx.seen, 10);
    lie = (struct wal_header){.first_lsn = good.first_lsn + 4096, .next_seq = 5000};
    forge_segment(&fx, lie, 3);
    expect_refusal(&fx, ODB_CORRUPT, "begins where the log before it does not end");
    forge_segment(&fx, lie, 0); /* nothing proves that it was ever used */
    assert_int_equal(log_replay_files(&fx, 0), ODB_OK);
    assert_int_equal(fx.seen, 10);
    forge_segment(&fx, good, 3); /* a release to come wrote it */
    log_peek(&fx, "000002.log", 0, head, sizeof head);
    head[8]++;
    enc_u64(head + WAL_LINK_AT - 8, hash_salted(head, WAL_LINK_AT - 8, 0, 0));
    log_poke(&fx, "000002.log", 0, head, sizeof head);
    expect_refusal(&fx, ODB_VERSION, "000002.log: log segment of a newer release");
    log_release_posix(&fx);
}

/* A third one that names the first, behind which the second stands already. */
static void two_segments_never_follow_the_same_one(void **state)
{
    uint8_t bytes[WAL_SEGMENT_HEADER + WAL_PAGE] = {0};
    struct wal_header h = {
        .db_id = LOG_DB, .file_no = 3, .salt = 7, .next_seq = 5001, .prev_no = 1};
    struct log_fx fx;
    struct os_file *f;

    (void)state;
    one_segment(&fx, 10);
    h.first_lsn = h.prev_end = fx.last_end;
    h.prev_check = last_record_check(&fx);
    forge_segment(&fx,
                  (struct wal_header){.next_seq = 5000,
                                      .prev_no = 1,
                                      .first_lsn = fx.last_end,
                                      .prev_end = fx.last_end,
                                      .prev_check = h.prev_check},
                  1);
    assert_int_equal(log_replay_files(&fx, 0), ODB_OK);
    h.first_lsn = h.prev_end = fx.last_end + WAL_RECORD_HEADER + 8;
    wal_header_encode(bytes, &h);
    assert_int_equal(os_open(fx.dir, "000003.log", OS_WRITE | OS_CREATE, &f), ODB_OK);
    assert_int_equal(os_write(f, 0, bytes, sizeof bytes), ODB_OK);
    os_close(f);
    assert_int_equal(log_list(&fx), ODB_OK);
    expect_refusal(&fx, ODB_CORRUPT, "two log segments follow the same one");
    fx.files[0] = 3; /* and they must be given in order */
    fx.files[2] = 1;
    assert_int_equal(log_replay_files(&fx, 0), ODB_INVALID);
    assert_int_equal(log_list(&fx), ODB_OK);
    log_release_posix(&fx);
}

static void the_tail_is_searched_for_numbers_and_witnesses(void **state)
{
    struct wal_record_head rec = {
        .length = 9, .behind = WAL_CLAIMS_NOTHING, .seq = 5000, .type = WAL_BATCH};
    struct log_fx fx;
    uint64_t at;

    (void)state;
    one_segment(&fx, 10);
    at = fx.last_end + 128;
    forge(&fx, at, rec, "some text");
    assert_int_equal(log_replay_files(&fx, 0), ODB_OK);
    assert_int_equal(fx.seen, 10);
    assert_int_equal(fx.result.seq_floor, 5009); /* nine bytes are at most nine numbers */
    rec.behind = 128;
    forge(&fx, at, rec, "some text"); /* durable up to the stop: nothing is missing */
    assert_int_equal(log_replay_files(&fx, 0), ODB_OK);
    rec.behind = 120;
    forge(&fx, at, rec, "some text");
    assert_int_equal(log_replay_files(&fx, 0), ODB_CORRUPT);
    log_release_posix(&fx);
}

/* A mark is handed out like a batch, bears witness like one, but counts and numbers nothing. */
static void marks_are_records_that_use_no_numbers(void **state)
{
    struct wal_record_head rec = {
        .length = 9, .behind = WAL_CLAIMS_NOTHING, .seq = 5000, .type = WAL_MARK};
    struct log_fx fx;
    uint64_t at, floor_before;

    (void)state;
    one_segment(&fx, 10);
    at = fx.last_end;
    assert_int_equal(log_replay_files(&fx, 0), ODB_OK);
    floor_before = fx.result.seq_floor;
    forge(&fx, at, rec, "some text");
    assert_int_equal(log_replay_files(&fx, 0), ODB_OK);
    assert_int_equal(fx.seen, 11);
    assert_int_equal(fx.result.records, 10);
    assert_int_equal(fx.result.end_lsn, at + wal_record_size(9));
    assert_int_equal(fx.result.seq_floor, floor_before);
    rec.behind = 80; /* durable up to here, behind the first mark */
    forge(&fx, at + 128, rec, "some text");
    assert_int_equal(log_replay_files(&fx, 0), ODB_CORRUPT);
    log_release_posix(&fx);
}

/* Replay a segment of so many records and, behind them, a mebibyte of a word that reads as the length of a record
 * and then as its sequence number and type: at every eighth byte there seems to be a head. */
static odb_status replay_before_heads(struct log_fx *fx, uint64_t records, uint64_t word)
{
    enum { BYTES = 1 << 20 };
    uint8_t *bytes = malloc(BYTES);
    odb_status st;

    assert_non_null(bytes);
    one_segment(fx, records);
    for (size_t i = 0; i < BYTES; i += 8)
        enc_u64(bytes + i, word);
    log_poke(fx, "000001.log", WAL_SEGMENT_HEADER + fx->last_end, bytes, BYTES);
    st = log_replay_files(fx, 0);
    free(bytes);
    return st;
}

/* Every eighth byte promises a record of the whole rest: refused, and soon. */
static void false_records_cannot_cost_more_than_the_file_is_long(void **state)
{
    struct log_fx fx;

    (void)state;
    assert_int_equal(replay_before_heads(&fx, 1, 0x70001), ODB_CORRUPT);
    log_release_posix(&fx);
}

/* What is left in a ring looks like heads of records in many places, by chance, as many small operations do.
 * Numbers that no batch can have had give it away. */
static void heads_by_chance_are_no_damage(void **state)
{
    struct log_fx fx;

    (void)state;
    assert_int_equal(replay_before_heads(&fx, 3, UINT64_C(0x3333300070001)), ODB_OK);
    assert_int_equal(fx.seen, 3);
    log_release_posix(&fx);
}

/* ---- the ring ---- */

static void replay_goes_on_in_the_ring(void **state)
{
    struct log_fx fx;

    (void)state;
    log_init_posix(&fx);
    assert_int_equal(log_open(&fx, 4096, SMALL_SEGMENT), ODB_OK);
    for (int i = 0; i < 300; i++) { /* as after a kill: nothing is drained for us */
        assert_int_equal(log_append(&fx), ODB_OK);
        log_expect_all(&fx);
    }
    assert_true(fx.result.used_ring);
    assert_int_equal(wal_close(fx.wal), ODB_OK);
    log_expect_all(&fx);
    assert_false(fx.result.used_ring);
    log_release_posix(&fx);
}

static void a_torn_drain_is_completed_from_the_ring(void **state)
{
    static const uint8_t zeros[700];
    struct log_fx fx;

    (void)state;
    log_init_posix(&fx);
    assert_int_equal(log_open(&fx, 4096, 1 << 20), ODB_OK);
    log_append_many(&fx, 20);
    assert_int_equal(wal_drain(fx.wal), ODB_OK);
    log_poke(&fx, "000001.log", WAL_SEGMENT_HEADER + 300, zeros, sizeof zeros);
    log_expect_all(&fx);
    assert_true(fx.result.used_ring);
    assert_int_equal(wal_close(fx.wal), ODB_OK);
    log_release_posix(&fx);
}

static void from_skips_what_is_older(void **state)
{
    struct log_fx fx;
    uint64_t from;

    (void)state;
    log_init_posix(&fx);
    assert_int_equal(log_open(&fx, 4096, SMALL_SEGMENT), ODB_OK);
    log_append_many(&fx, 33);
    from = fx.last_end;
    log_append_many(&fx, 11);
    assert_int_equal(wal_close(fx.wal), ODB_OK);
    assert_int_equal(log_list(&fx), ODB_OK);
    fx.base = 33;
    assert_int_equal(log_replay_files(&fx, from), ODB_OK);
    assert_false(fx.is_wrong);
    assert_int_equal(fx.seen, 11);
    assert_int_equal(fx.result.records, 11);
    assert_int_equal(fx.result.bytes, fx.last_end - from);
    fx.file_count = 0;
    assert_int_equal(log_replay_files(&fx, 808), ODB_OK);
    assert_int_equal(fx.result.end_lsn, 808);
    log_release_posix(&fx);
}

static odb_status stop_at_third(void *arg, const struct wal_record *rec)
{
    (void)rec;
    return ++*(int *)arg == 3 ? ODB_CANCELLED : ODB_OK;
}

static void the_callback_can_stop_it(void **state)
{
    struct wal_replay_result out = {.records = 77};
    struct log_fx fx;
    int n = 0;

    (void)state;
    write_small_log(&fx, false);
    assert_int_equal(wal_replay(fx.dir, LOG_DB, fx.files, fx.file_count, WAL_LSN_UNKNOWN, 0,
                                WAL_LSN_UNKNOWN, stop_at_third, &n, &out),
                     ODB_CANCELLED);
    assert_int_equal(n, 3);
    assert_int_equal(out.records, 77);
    log_release_posix(&fx);
}

/* Somebody else cuts the segment while it is read; its length was taken for granted before. */
static odb_status cut_at_first(void *arg, const struct wal_record *rec)
{
    struct log_fx *fx = arg;
    struct os_file *f;

    (void)rec;
    if (fx->seen++ > 0)
        return ODB_OK;
    assert_int_equal(os_open(fx->dir, "000001.log", OS_WRITE, &f), ODB_OK);
    assert_int_equal(os_truncate(f, 1 << 16), ODB_OK);
    os_close(f);
    return ODB_OK;
}

static void a_segment_that_shrinks_meanwhile_is_an_error(void **state)
{
    struct wal_replay_result out = {.records = 77};
    struct log_fx fx;

    (void)state;
    log_init_posix(&fx);
    assert_int_equal(log_open(&fx, 1 << 16, 1 << 22), ODB_OK);
    while (fx.last_end < (3 << 20)) /* it is read in pieces of one MiB */
        log_append_many(&fx, 100);
    assert_int_equal(wal_close(fx.wal), ODB_OK);
    assert_int_equal(log_list(&fx), ODB_OK);
    assert_int_equal(fx.file_count, 1);
    fx.seen = 0;
    assert_int_equal(wal_replay(fx.dir, LOG_DB, fx.files, fx.file_count, WAL_LSN_UNKNOWN, 0,
                                WAL_LSN_UNKNOWN, cut_at_first, &fx, &out),
                     ODB_IO);
    assert_non_null(strstr(odb_error_text(), "000001.log shrank"));
    assert_true(fx.seen > 0);
    assert_int_equal(out.records, 77);
    log_release_posix(&fx);
}

static void running_out_of_memory_is_a_status(void **state)
{
    struct log_fx fx;
    long alive, failed;

    (void)state;
    write_small_log(&fx, true);
    alive = test_alloc_alive();
    for (long n = 0;; n++) {
        odb_status st;

        test_alloc_fail(n, 1);
        st = log_replay_files(&fx, 0);
        failed = test_alloc_failed();
        test_alloc_fail(-1, 0);
        assert_int_equal(test_alloc_alive(), alive);
        assert_int_equal(st, failed ? ODB_NOMEM : ODB_OK);
        if (!failed)
            break;
    }
    assert_int_equal(fx.seen, fx.appended);
    log_release_posix(&fx);
}

/* A log closed in good order, then reopened and written again: both parts come back in one go. */
static void logs_of_two_lives_are_one(void **state)
{
    struct log_fx fx;

    (void)state;
    log_init_posix(&fx);
    for (int life = 0; life < 4; life++) {
        assert_int_equal(log_open(&fx, 4096, SMALL_SEGMENT), ODB_OK);
        log_append_many(&fx, (uint64_t)life * 13); /* the first life writes nothing */
        assert_int_equal(wal_close(fx.wal), ODB_OK);
        log_expect_all(&fx);
    }
    log_release_posix(&fx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(P09_no_flipped_bit_changes_what_is_proven),
        cmocka_unit_test(no_flipped_bit_of_the_ring_changes_what_is_in_segments),
        cmocka_unit_test(no_length_changes_what_is_proven),
        cmocka_unit_test(a_missing_middle_segment_is_noticed),
        cmocka_unit_test(a_missing_middle_segment_is_noticed_without_syncs),
        cmocka_unit_test(swapped_segments_are_noticed),
        cmocka_unit_test(a_segment_of_another_database_is_noticed),
        cmocka_unit_test(a_stale_segment_does_not_fit_between_its_neighbours),
        cmocka_unit_test(a_segment_never_begun_is_passed_over),
        cmocka_unit_test(a_segment_missing_before_a_lost_link_is_noticed),
        cmocka_unit_test(P03_links_that_a_power_cut_took_are_not_needed),
        cmocka_unit_test(a_first_link_that_contradicts_the_manifest_is_damage),
        cmocka_unit_test(nothing_is_handed_out_behind_a_hole_and_a_lost_link),
        cmocka_unit_test(records_that_lie_are_refused),
        cmocka_unit_test(segments_that_lie_are_refused),
        cmocka_unit_test(two_segments_never_follow_the_same_one),
        cmocka_unit_test(the_tail_is_searched_for_numbers_and_witnesses),
        cmocka_unit_test(marks_are_records_that_use_no_numbers),
        cmocka_unit_test(false_records_cannot_cost_more_than_the_file_is_long),
        cmocka_unit_test(heads_by_chance_are_no_damage),
        cmocka_unit_test(replay_goes_on_in_the_ring),
        cmocka_unit_test(a_torn_drain_is_completed_from_the_ring),
        cmocka_unit_test(from_skips_what_is_older),
        cmocka_unit_test(the_callback_can_stop_it),
        cmocka_unit_test(a_segment_that_shrinks_meanwhile_is_an_error),
        cmocka_unit_test(running_out_of_memory_is_a_status),
        cmocka_unit_test(logs_of_two_lives_are_one),
    };
    if (getenv("ODB_TEST_ONLY"))
        cmocka_set_test_filter(getenv("ODB_TEST_ONLY"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
