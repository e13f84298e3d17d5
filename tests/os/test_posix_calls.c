/* tests/os/test_posix_calls.c -- each call that os/posix_*.c makes of the kernel fails once.
 *
 * The same C files as in the product, compiled so that their system calls go through kernel.c. A short
 * life of a directory touches every function of os.h; it is lived again and again, and call 0, 1, 2, ...
 * fails each time. Then: a failure is told, with a status and words, or it is one that may be borne;
 * nothing leaks; and no interrupted call (EINTR) is ever told.
 */
#define KERNEL_IS_REAL
#include "tests/os/kernel.h"
#include "tests/os/os_test.h"

#include "os/os_thread.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define RING  ((size_t)131072)
#define BYTES ((size_t)300000)

static char path[200], inner[240];
static uint8_t data[BYTES];

static void remove_all(void)
{
    static const char *const names[] = {"a", "b", "LOCK", "RING", "RING.new", "SPARSE"};
    char full[600];

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        (void)snprintf(full, sizeof full, "%s/%s", inner, names[i]);
        (void)unlink(full);
    }
    (void)rmdir(inner);
}

static int setup(void **state)
{
    const char *tmp = getenv("TMPDIR");

    (void)state;
    (void)snprintf(path, sizeof path, "%s/odb-calls-XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(path))
        return -1;
    (void)snprintf(inner, sizeof inner, "%s/in", path);
    for (size_t i = 0; i < BYTES; i++)
        data[i] = (uint8_t)(i * 7 + 1);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    (void)kernel_heal(NULL);
    remove_all();
    (void)rmdir(path);
    assert_int_equal(test_alloc_alive(), 0);
    return 0;
}

/* ---- a short life ---- */

static bool see(void *arg, const char *name)
{
    (void)name;
    ++*(int *)arg;
    return true;
}

static odb_status live_file(struct os_dir *dir)
{
    static uint8_t back[BYTES];
    struct os_file *f;
    odb_status st = os_open(dir, "a", OS_WRITE | OS_CREATE | OS_SEQUENTIAL, &f);
    uint64_t size = 0;
    size_t got = 0;

    if (st != ODB_OK)
        return st;
    if ((st = os_reserve(f, 0, 65536, false)) == ODB_OK &&
        (st = os_write(f, 0, data, BYTES)) == ODB_OK &&
        (st = os_reserve(f, BYTES, 65536, true)) == ODB_OK && (st = os_sync(f)) == ODB_OK &&
        (st = os_truncate(f, BYTES)) == ODB_OK && (st = os_size(f, &size)) == ODB_OK &&
        (st = os_read(f, 0, back, BYTES, &got)) == ODB_OK) {
        os_write_behind(f, 0, BYTES);
        os_read_ahead(f, 0, BYTES);
        assert_int_equal(size, BYTES);
        assert_int_equal(got, BYTES);
        assert_memory_equal(back, data, BYTES);
    }
    os_close(f);
    return st;
}

/* A ring that is made, one that is there, and one that came as a copy with holes. */
static odb_status live_rings(struct os_dir *dir)
{
    struct os_ring *r;
    struct os_file *f;
    odb_status st;

    for (int i = 0; i < 2; i++) {
        if ((st = os_ring_open(dir, "RING", RING, &r)) != ODB_OK)
            return st;
        os_ring_write(r, 5, "ring", 4);
        os_ring_close(r);
    }
    if ((st = os_open(dir, "SPARSE", OS_WRITE | OS_CREATE, &f)) != ODB_OK)
        return st;
    st = os_truncate(f, RING);
    os_close(f);
    if (st != ODB_OK || (st = os_ring_open(dir, "SPARSE", RING, &r)) != ODB_OK)
        return st;
    os_ring_close(r);
    return ODB_OK;
}

static odb_status live(void)
{
    struct os *os = os_posix();
    struct os_dir *dir, *reader;
    struct os_lock *lock;
    uint8_t chance[600];
    odb_status st = os_dir_open(os, inner, OS_DIR_CREATE, &dir);
    int n = 0;

    if (st != ODB_OK)
        return st;
    if ((st = os_lock(dir, "LOCK", &lock)) == ODB_OK) {
        if ((st = live_file(dir)) == ODB_OK && (st = live_rings(dir)) == ODB_OK &&
            (st = os_rename(dir, "a", "b")) == ODB_OK && (st = os_dir_sync(dir)) == ODB_OK &&
            (st = os_dir_list(dir, see, &n)) == ODB_OK &&
            (st = os_random(os, chance, sizeof chance)) == ODB_OK) {
            assert_int_equal(n, 4); /* b, LOCK, RING, SPARSE */
            assert_true(os_dir_free_bytes(dir) > 0);
            assert_true(os_cpu_count(os) >= 1);
            st = os_remove(dir, "b");
        }
        os_unlock(lock);
    }
    os_dir_close(dir);
    if (st != ODB_OK || (st = os_dir_open(os, inner, OS_DIR_READONLY, &reader)) != ODB_OK)
        return st;
    st = os_lock(reader, "LOCK", &lock);
    if (st == ODB_OK)
        os_unlock(lock);
    os_dir_close(reader);
    return st;
}

static int lowest_free_fd(void)
{
    int fd = dup(0);

    assert_true(fd >= 0);
    (void)close(fd);
    return fd;
}

/* ---- each call fails ---- */

/* Calls whose failure changes nothing that was promised. */
static bool may_be_borne(const char *call)
{
    static const char *const calls[] = {
        "fstatvfs",
        "sched_getaffinity",
        "sysconf",
        "getrlimit",
        /* unlocking: closing does it, too; clearing up after another: a test of its own */ "fcntl",
        "unlinkat"};

    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++)
        if (strcmp(calls[i], call) == 0)
            return true;
    return false;
}

static void every_call_fails(int err, int times, bool must_be_borne)
{
    const char *call;
    int fd = lowest_free_fd(), n = 0;

    for (;; n++) {
        odb_status st;

        remove_all();
        kernel_fail(n, NULL, err, times);
        st = live();
        if (kernel_heal(&call) == 0)
            break;
        if (must_be_borne ? st != ODB_OK : st == ODB_OK && !may_be_borne(call))
            fail_msg("call %d, %s, failed with %s: %s (%s)", n, call, strerror(err),
                     odb_status_name(st), odb_error_text());
        if (st != ODB_OK)
            assert_true(strlen(odb_error_text()) > 0);
        assert_int_equal(test_alloc_alive(), 0);
        assert_int_equal(lowest_free_fd(), fd);
    }
    assert_true(n > 60); /* the life was lived to its end, and was not a short one */
    remove_all();
    assert_ok(live()); /* and what failed left nothing that stands in the way */
}

static void every_call_may_fail_once(void **state)
{
    static const int errs[] = {EIO, ENOSPC, EMFILE, ENOMEM, EDQUOT};

    (void)state;
    for (size_t i = 0; i < sizeof errs / sizeof errs[0]; i++)
        every_call_fails(errs[i], 1, false);
}

static void every_call_may_fail_for_ever(void **state)
{
    (void)state;
    every_call_fails(EROFS, 1 << 30, false);
}

/* Only some calls can be interrupted. */
static void an_interrupted_call_is_made_again(void **state)
{
    static const char *const calls[] = {"openat",    "pread", "pwrite",    "fsync",    "fdatasync",
                                        "fallocate", "fcntl", "ftruncate", "getrandom"};

    (void)state;
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++)
        for (int n = 0;; n++) {
            remove_all();
            kernel_fail(n, calls[i], EINTR, 2);
            assert_ok(live());
            if (kernel_heal(NULL) == 0) {
                assert_true(n > 0); /* it was made at all */
                break;
            }
        }
}

/* ---- errors by name ---- */

static void an_error_has_its_status_and_a_hint(void **state)
{
    static const struct {
        int err;
        odb_status st;
        const char *hint;
    } cases[] = {
        {ENOENT, ODB_ABSENT, ""},          {EEXIST, ODB_EXISTS, ""},
        {ENOSPC, ODB_NOSPACE, ""},         {EDQUOT, ODB_NOSPACE, ""},
        {EFBIG, ODB_NOSPACE, "ulimit -f"}, {EACCES, ODB_DENIED, ""},
        {EPERM, ODB_DENIED, ""},           {EROFS, ODB_DENIED, ""},
        {EMFILE, ODB_LIMIT, "ulimit -n"},  {ENFILE, ODB_LIMIT, "ulimit -n"},
        {ENOMEM, ODB_NOMEM, ""},           {ENOTDIR, ODB_INVALID, ""},
        {ENAMETOOLONG, ODB_INVALID, ""},   {EIO, ODB_IO, ""},
    };
    struct os_dir *dir;

    (void)state;
    assert_ok(os_dir_open(os_posix(), inner, OS_DIR_CREATE, &dir));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        kernel_fail(0, "unlinkat", cases[i].err, 1);
        assert_status(os_remove(dir, "nothing"), cases[i].st);
        assert_int_equal(kernel_heal(NULL), 1);
        assert_non_null(strstr(odb_error_text(), "nothing"));
        assert_non_null(strstr(odb_error_text(), strerror(cases[i].err)));
        assert_non_null(strstr(odb_error_text(), cases[i].hint));
    }
    os_dir_close(dir);
}

/* ---- systems that lack something ---- */

/* Has to be the first test: the page is made once in a process. */
static void forks_are_noticed_without_the_kernels_help(void **state)
{
    struct os *os;

    (void)state;
    kernel_fail(0, "mmap", ENOMEM, 1);
    os = os_posix();
    assert_int_equal(kernel_heal(NULL), 1);
    assert_int_equal(os_fork_count(os), getpid());
    kernel_fail(0, "madvise", EINVAL, 1); /* Linux before 4.14 */
    os = os_posix();
    assert_int_equal(kernel_heal(NULL), 1);
    assert_int_equal(os_fork_count(os), getpid());
    os = os_posix();
    assert_true(os_fork_count(os) != (uint64_t)getpid());
}

static void processors_are_counted_in_other_ways(void **state)
{
    (void)state;
    kernel_fail(0, "sched_getaffinity", ENOSYS, 1);
    assert_true(os_cpu_count(os_posix()) >= 1);
    assert_int_equal(kernel_heal(NULL), 1);
    kernel_fail(0, NULL, ENOSYS, 2);
    assert_int_equal(os_cpu_count(os_posix()), 1);
    assert_int_equal(kernel_heal(NULL), 2);
}

static void a_file_system_without_locks(void **state)
{
    struct os_dir *dir;
    struct os_lock *lock;

    (void)state;
    assert_ok(os_dir_open(os_posix(), inner, OS_DIR_CREATE, &dir));
    kernel_fail(0, "fcntl", EINVAL, 1); /* no locks of open files: the classic ones */
    assert_ok(os_lock(dir, "LOCK", &lock));
    assert_int_equal(kernel_heal(NULL), 1);
    os_unlock(lock);
    kernel_fail(0, "fcntl", ENOLCK, 1);
    assert_status(os_lock(dir, "LOCK", &lock), ODB_UNSUPPORTED);
    (void)kernel_heal(NULL);
    os_dir_close(dir);
    assert_ok(os_dir_open(os_posix(), inner, OS_DIR_READONLY, &dir));
    kernel_fail(0, "fcntl", ENOLCK, 1); /* a reader goes without */
    assert_ok(os_lock(dir, "LOCK", &lock));
    assert_int_equal(kernel_heal(NULL), 1);
    os_unlock(lock);
    os_dir_close(dir);
}

static void a_lock_that_cannot_be_had_is_told(void **state)
{
    static const char *const calls[] = {"fcntl", "fstatat", "fstat", "openat"};
    struct os_dir *dir;
    struct os_lock *lock;

    (void)state;
    assert_ok(os_dir_open(os_posix(), inner, OS_DIR_CREATE, &dir));
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        kernel_fail(0, calls[i], EIO, 1 << 30);
        assert_status(os_lock(dir, "LOCK", &lock), ODB_IO);
        assert_true(kernel_heal(NULL) > 0);
    }
    assert_ok(os_lock(dir, "LOCK", &lock)); /* nothing is left of them */
    os_unlock(lock);
    os_dir_close(dir);
}

static void remove_lock_file(void)
{
    char full[300];

    (void)snprintf(full, sizeof full, "%s/LOCK", inner);
    assert_int_equal(unlink(full), 0);
}

static void a_lock_file_that_was_replaced_is_locked_again(void **state)
{
    struct os_dir *dir;
    struct os_lock *lock;

    (void)state;
    assert_ok(os_dir_open(os_posix(), inner, OS_DIR_CREATE, &dir));
    kernel_before(0, "fcntl", remove_lock_file); /* between opening and locking it */
    assert_ok(os_lock(dir, "LOCK", &lock));
    assert_true(os_test_exists(dir, "LOCK"));
    os_unlock(lock);
    os_dir_close(dir);
}

static void a_file_system_that_is_not_trusted_has_no_ring(void **state)
{
    struct os_dir *dir;
    struct os_ring *r;

    (void)state;
    assert_ok(os_dir_open(os_posix(), inner, OS_DIR_CREATE, &dir));
    kernel_fail(0, "fstatfs", 0, 1); /* 0, a magic number that nobody has */
    assert_status(os_ring_open(dir, "RING", RING, &r), ODB_UNSUPPORTED);
    assert_int_equal(kernel_heal(NULL), 1);
    os_dir_close(dir);
}

static _Atomic int runs;

static void run_once(void *arg)
{
    (void)arg;
    runs++;
}

static void a_thread_that_cannot_be_started_is_a_status(void **state)
{
    struct os_thread *t;

    (void)state;
    kernel_fail(0, "pthread_create", EAGAIN, 1);
    assert_status(os_thread_start("late", run_once, NULL, &t), ODB_LIMIT);
    assert_int_equal(kernel_heal(NULL), 1);
    assert_non_null(strstr(odb_error_text(), "late"));
    assert_int_equal(test_alloc_alive(), 0);
    assert_ok(os_thread_start("in time", run_once, NULL, &t));
    os_thread_join(t);
    assert_int_equal(runs, 1);
}

/* Sleeping goes on behind an interruption; a clock that is not there stands still. */
static void clocks_that_fail_are_no_harm(void **state)
{
    struct os *os = os_posix();
    uint64_t before = os_now_ns(os);

    (void)state;
    kernel_fail(0, "nanosleep", EINTR, 3);
    os_thread_sleep(2000000);
    assert_int_equal(kernel_heal(NULL), 3);
    assert_true(os_now_ns(os) - before >= 2000000);
    kernel_fail(0, "clock_gettime", EINVAL, 2);
    assert_int_equal(os_now_ns(os), 0);
    assert_int_equal(os_thread_cpu_ns(), 0);
    assert_int_equal(kernel_heal(NULL), 2);
    assert_true(os_now_ns(os) > before);
}

/* Where nothing can be reserved, a ring with holes is written over, piece by piece: that takes a little
 * memory. */
static void a_ring_with_holes_needs_memory(void **state)
{
    struct os_dir *dir;
    struct os_file *f;
    struct os_ring *r;
    odb_status st = ODB_NOMEM;
    long n = 0;

    (void)state;
    remove_all();
    assert_ok(os_dir_open(os_posix(), inner, OS_DIR_CREATE, &dir));
    assert_ok(os_open(dir, "SPARSE", OS_WRITE | OS_CREATE, &f));
    assert_ok(os_truncate(f, RING));
    os_close(f);
    kernel_fail(0, "fallocate", EOPNOTSUPP, 1 << 30);
    for (; st == ODB_NOMEM; n++) {
        long alive = test_alloc_alive();

        test_alloc_fail(n, 0);
        st = os_ring_open(dir, "SPARSE", RING, &r);
        test_alloc_fail(-1, 0);
        if (st == ODB_OK)
            os_ring_close(r);
        else
            assert_non_null(strstr(odb_error_text(), "SPARSE"));
        assert_int_equal(test_alloc_alive(), alive);
    }
    assert_ok(st);
    assert_true(kernel_heal(NULL) > 0);
    assert_true(n > 2); /* the ring's own, and what it copies through */
    os_dir_close(dir);
    remove_all();
}

/* As on ext3: rings and segments are written full of zeros instead. */
static void a_file_system_that_reserves_nothing(void **state)
{
    static const int errs[] = {EOPNOTSUPP, ENOSYS, EINVAL};

    (void)state;
    for (size_t i = 0; i < sizeof errs / sizeof errs[0]; i++) {
        static const char *const rings[] = {"RING", "SPARSE"};

        remove_all();
        kernel_fail(0, "fallocate", errs[i], 1 << 30);
        assert_ok(live());
        assert_true(kernel_heal(NULL) > 0);
        for (size_t k = 0; k < 2; k++) {
            char full[600];
            struct stat s;

            (void)snprintf(full, sizeof full, "%s/%s", inner, rings[k]);
            assert_int_equal(stat(full, &s), 0);
            assert_true((uint64_t)s.st_blocks * 512 >= RING);
        }
    }
    remove_all();
}

/* A process with its standard input closed: the next descriptor would be 0. */
static void no_descriptor_below_three_is_kept(void **state)
{
    struct os_dir *dir;
    struct os_file *f;
    int saved = dup(0), fd;

    (void)state;
    assert_true(saved > 2);
    assert_ok(os_dir_open(os_posix(), inner, OS_DIR_CREATE, &dir));
    assert_int_equal(close(0), 0);
    assert_ok(os_open(dir, "a", OS_WRITE | OS_CREATE, &f));
    fd = dup(saved); /* 0 is still free */
    kernel_fail(0, "fcntl", EMFILE, 1);
    assert_int_equal(close(0), 0);
    assert_status(os_remove(dir, "a"), ODB_OK);
    os_close(f);
    assert_status(os_open(dir, "b", OS_WRITE | OS_CREATE, &f), ODB_LIMIT);
    assert_int_equal(kernel_heal(NULL), 1);
    os_dir_close(dir);
    assert_int_equal(dup2(saved, 0), 0);
    (void)close(saved);
    assert_int_equal(fd, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forks_are_noticed_without_the_kernels_help),
        cmocka_unit_test(every_call_may_fail_once),
        cmocka_unit_test(every_call_may_fail_for_ever),
        cmocka_unit_test(an_interrupted_call_is_made_again),
        cmocka_unit_test(an_error_has_its_status_and_a_hint),
        cmocka_unit_test(processors_are_counted_in_other_ways),
        cmocka_unit_test(a_file_system_without_locks),
        cmocka_unit_test(a_lock_that_cannot_be_had_is_told),
        cmocka_unit_test(a_lock_file_that_was_replaced_is_locked_again),
        cmocka_unit_test(a_file_system_that_is_not_trusted_has_no_ring),
        cmocka_unit_test(a_thread_that_cannot_be_started_is_a_status),
        cmocka_unit_test(clocks_that_fail_are_no_harm),
        cmocka_unit_test(a_ring_with_holes_needs_memory),
        cmocka_unit_test(a_file_system_that_reserves_nothing),
        cmocka_unit_test(no_descriptor_below_three_is_kept),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
