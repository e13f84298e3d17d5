/* tests/os/test_posix.c -- the POSIX implementation, in a fresh directory under $TMPDIR. */
#include "tests/lib/child.h"
#include "tests/os/os_test.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define RING_SIZE ((size_t)65536)

static char path[200];
static struct os *os;
static struct os_dir *dir;

static int setup(void **state)
{
    const char *tmp = getenv("TMPDIR");

    (void)state;
    (void)snprintf(path, sizeof path, "%s/odb-os-XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(path))
        return -1;
    os = os_posix();
    assert_ok(os_dir_open(os, path, 0, &dir));
    return 0;
}

static bool remove_each(void *arg, const char *name)
{
    char full[600];

    (void)arg;
    (void)snprintf(full, sizeof full, "%s/%s", path, name);
    if (unlink(full) != 0)
        (void)rmdir(full);
    return true;
}

static int teardown(void **state)
{
    (void)state;
    assert_ok(os_dir_list(dir, remove_each, NULL));
    os_dir_close(dir);
    (void)rmdir(path);
    assert_int_equal(test_alloc_alive(), 0);
    return 0;
}

static const char *inside(const char *name)
{
    static char full[300];

    (void)snprintf(full, sizeof full, "%s/%s", path, name);
    return full;
}

/* Run `body` in a child; its return value, or 1000 plus the signal that ended it. */
static int in_child(int (*body)(void))
{
    int status = 0;
    pid_t pid;

    (void)fflush(NULL);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        test_exit_child(body());
    while (waitpid(pid, &status, 0) < 0)
        assert_int_equal(errno, EINTR);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

/* ---- files ---- */

static void what_is_written_is_read_back(void **state)
{
    struct os_file *f = NULL;
    char got_text[16] = "";
    uint64_t size = 0;
    size_t got = 0;
    struct stat s;

    (void)state;
    assert_ok(os_open(dir, "a", OS_WRITE | OS_CREATE | OS_SEQUENTIAL, &f));
    assert_string_equal(os_file_name(f), "a");
    assert_ok(os_write(f, 3, "hello", 5));
    assert_ok(os_size(f, &size));
    assert_int_equal(size, 8);
    assert_ok(os_read(f, 1, got_text, sizeof got_text, &got));
    assert_int_equal(got, 7);
    assert_memory_equal(got_text, "\0\0hello", 7);
    assert_ok(os_read(f, 8, got_text, 1, &got));
    assert_int_equal(got, 0);
    os_write_behind(f, 0, 8);
    os_read_ahead(f, 0, 8);
    assert_ok(os_sync(f));
    assert_ok(os_truncate(f, 4));
    assert_ok(os_size(f, &size));
    assert_int_equal(size, 4);
    os_close(f);
    assert_ok(os_dir_sync(dir));
    assert_int_equal(stat(inside("a"), &s), 0);
    assert_int_equal(s.st_mode & 077, 0);
}

static void statuses_tell_what_happened(void **state)
{
    struct os_file *f = NULL;
    struct os_dir *d = NULL;

    (void)state;
    assert_status(os_open(dir, "none", 0, &f), ODB_ABSENT);
    assert_non_null(strstr(odb_error_text(), "none"));
    assert_status(os_remove(dir, "none"), ODB_ABSENT);
    assert_status(os_rename(dir, "none", "x"), ODB_ABSENT);
    os_test_put(dir, "a", "1", false);
    assert_status(os_open(dir, "a", OS_WRITE | OS_CREATE, &f), ODB_EXISTS);
    assert_status(os_dir_open(os, inside("none"), 0, &d), ODB_ABSENT);
    assert_status(os_dir_open(os, inside("a"), 0, &d), ODB_INVALID);
    assert_status(os_dir_open(os, inside("none/deeper"), OS_DIR_CREATE, &d), ODB_ABSENT);
    assert_null(f);
    assert_null(d);
}

static void rename_replaces_and_remove_removes(void **state)
{
    char text[8];

    (void)state;
    os_test_put(dir, "a", "new", false);
    os_test_put(dir, "b", "old", false);
    assert_int_equal(os_test_entries(dir), 2);
    assert_ok(os_rename(dir, "a", "b"));
    assert_int_equal(os_test_get(dir, "b", text, sizeof text), 3);
    assert_memory_equal(text, "new", 3);
    assert_int_equal(os_test_entries(dir), 1);
    assert_ok(os_remove(dir, "b"));
    assert_int_equal(os_test_entries(dir), 0);
}

static void test_P17_only_regular_files_are_opened(void **state)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    struct os_file *f = NULL;
    struct os_ring *r = NULL;
    struct os_lock *l = NULL;
    const char *names[] = {"link", "dangling", "dir", "fifo", "socket"};
    int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)state;
    os_test_put(dir, "target", "x", false);
    assert_int_equal(symlink("target", inside("link")), 0);
    assert_int_equal(symlink("nowhere", inside("dangling")), 0);
    assert_int_equal(mkdir(inside("dir"), 0700), 0);
    assert_int_equal(mkfifo(inside("fifo"), 0600), 0);
    (void)snprintf(sa.sun_path, sizeof sa.sun_path, "%.90s/socket", path);
    assert_int_equal(bind(sock, (struct sockaddr *)&sa, sizeof sa), 0);
    (void)close(sock);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        assert_status(os_open(dir, names[i], 0, &f), ODB_CORRUPT);
        assert_status(os_open(dir, names[i], OS_WRITE, &f), ODB_CORRUPT);
        assert_status(os_open(dir, names[i], OS_WRITE | OS_CREATE, &f), ODB_EXISTS);
        assert_status(os_ring_open(dir, names[i], RING_SIZE, &r), ODB_CORRUPT);
        assert_status(os_lock(dir, names[i], &l), ODB_CORRUPT);
    }
    assert_null(f);
}

static void reserved_bytes_are_zeros_and_old_ones_stay(void **state)
{
    struct os_file *f = NULL;
    uint8_t *bytes = mem_alloc(300000);
    uint64_t size = 0;
    size_t got = 0;
    struct stat s;

    (void)state;
    assert_ok(os_open(dir, "a", OS_WRITE | OS_CREATE, &f));
    assert_ok(os_write(f, 0, "abc", 3));
    assert_ok(os_reserve(f, 0, 100000, false));
    assert_ok(os_size(f, &size));
    assert_int_equal(size, 100000);
    assert_ok(os_reserve(f, 50000, 250000, true));
    assert_ok(os_reserve(f, 0, 10, true)); /* inside: nothing to do, nothing harmed */
    assert_ok(os_size(f, &size));
    assert_int_equal(size, 300000);
    assert_ok(os_read(f, 0, bytes, 300000, &got));
    assert_int_equal(got, 300000);
    assert_memory_equal(bytes, "abc", 3);
    for (size_t i = 3; i < 300000; i++)
        assert_int_equal(bytes[i], 0);
    assert_int_equal(stat(inside("a"), &s), 0);
    assert_true(s.st_blocks * 512 >= 300000);
    os_close(f);
    mem_free(bytes);
}

static int child_over_the_file_limit(void)
{
    struct rlimit r = {8192, RLIM_INFINITY};
    struct os_file *f = NULL;
    char block[4096] = "";
    uint64_t size = 0;

    if (os_open(dir, "limited", OS_WRITE | OS_CREATE, &f) != ODB_OK ||
        setrlimit(RLIMIT_FSIZE, &r) != 0)
        return 1;
    if (os_write(f, 0, block, 4096) != ODB_OK || os_write(f, 4096, block, 4096) != ODB_OK)
        return 2;
    if (os_write(f, 8192, block, 1) != ODB_NOSPACE || os_write(f, 6000, block, 4096) != ODB_NOSPACE)
        return 3;
    if (os_reserve(f, 8000, 200, false) != ODB_NOSPACE ||
        os_reserve(f, 0, 8193, true) != ODB_NOSPACE)
        return 4;
    if (os_truncate(f, 8193) != ODB_NOSPACE)
        return 5;
    if (os_size(f, &size) != ODB_OK || size != 8192)
        return 6;
    if (os_truncate(f, 100) != ODB_OK || os_reserve(f, 0, 8192, true) != ODB_OK)
        return 7;
    return 0;
}

static int child_whose_limit_comes_down(void)
{
    struct rlimit r = {100, RLIM_INFINITY};
    struct os_file *f = NULL;
    static char block[65536];

    if (os_open(dir, "limited", OS_WRITE | OS_CREATE, &f) != ODB_OK ||
        os_write(f, 0, block, 200) != ODB_OK || os_sync(f) != ODB_OK)
        return 1;
    if (setrlimit(RLIMIT_FSIZE, &r) != 0 || os_write(f, 200, block, 1) != ODB_NOSPACE)
        return 2;
    r.rlim_cur = RLIM_INFINITY;
    if (setrlimit(RLIMIT_FSIZE, &r) != 0 || os_write(f, 200, block, 100) != ODB_OK)
        return 3;
    r.rlim_cur = 65536; /* inside a window that was found free before */
    if (setrlimit(RLIMIT_FSIZE, &r) != 0 || os_write(f, 300, block, sizeof block) != ODB_NOSPACE)
        return 4;
    return 0;
}

static void test_P07_a_limit_that_comes_down_is_noticed(void **state)
{
    (void)state;
    assert_int_equal(in_child(child_whose_limit_comes_down), 0);
}

static void test_P07_a_file_size_limit_is_a_status_and_no_signal(void **state)
{
    (void)state;
    assert_int_equal(in_child(child_over_the_file_limit), 0);
}

static void test_P07_a_full_file_system_is_a_status(void **state)
{
    struct os_dir *small = NULL;
    struct os_file *f = NULL;
    struct os_ring *r = NULL;
    char block[4096] = "";
    odb_status st = ODB_OK;
    uint64_t off = 0;

    (void)state;
    assert_int_equal(mkdir(inside("small"), 0700), 0);
    if (mount("tmpfs", inside("small"), "tmpfs", 0, "size=256k") != 0) {
        print_message("no right to mount a tmpfs: %s\n", strerror(errno));
        skip();
    }
    assert_ok(os_dir_open(os, inside("small"), 0, &small));
    assert_in_range(os_dir_free_bytes(small), 1, 256 << 10);
    assert_ok(os_ring_open(small, "RING", RING_SIZE, &r)); /* a file system that may have one */
    assert_ok(os_open(small, "a", OS_WRITE | OS_CREATE, &f));
    assert_status(os_reserve(f, 0, 1 << 20, false), ODB_NOSPACE);
    assert_status(os_reserve(f, 0, 1 << 20, true), ODB_NOSPACE);
    assert_ok(os_truncate(f, 0));
    for (; st == ODB_OK; off += sizeof block)
        st = os_write(f, off, block, sizeof block);
    assert_int_equal(st, ODB_NOSPACE);
    for (uint64_t pos = 0; pos < 2 * RING_SIZE; pos += sizeof block)
        os_ring_write(r, pos, block, sizeof block); /* no block is asked for: no SIGBUS */
    os_ring_close(r);
    assert_status(os_ring_open(small, "OTHER", RING_SIZE, &r), ODB_NOSPACE);
    assert_status(os_remove(small, "OTHER.new"), ODB_ABSENT);
    os_close(f);
    os_dir_close(small);
    assert_int_equal(umount(inside("small")), 0);
}

static int child_without_standard_streams(void)
{
    struct os_dir *d = NULL;
    struct os_file *f = NULL;
    struct os_lock *l = NULL;

    (void)close(0);
    (void)close(1);
    (void)close(2);
    if (os_dir_open(os, path, 0, &d) != ODB_OK ||
        os_open(d, "f", OS_WRITE | OS_CREATE, &f) != ODB_OK || os_lock(d, "LOCK", &l) != ODB_OK)
        return 1;
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) != -1)
            return 2;
    return os_test_entries(d) == 2 ? 0 : 3;
}

static void descriptors_stay_above_the_standard_streams(void **state)
{
    (void)state;
    assert_int_equal(in_child(child_without_standard_streams), 0);
}

static int child_without_descriptors(void)
{
    struct rlimit r = {3, 3};
    struct os_file *f = NULL;

    return setrlimit(RLIMIT_NOFILE, &r) == 0 && os_open(dir, "f", 0, &f) == ODB_LIMIT ? 0 : 1;
}

static void test_P16_running_out_of_descriptors_is_a_status(void **state)
{
    (void)state;
    os_test_put(dir, "f", "x", false);
    assert_int_equal(in_child(child_without_descriptors), 0);
}

/* ---- directories ---- */

static void a_directory_is_made_when_asked(void **state)
{
    struct os_dir *d = NULL;
    struct stat s;

    (void)state;
    for (int i = 0; i < 2; i++) { /* the second time it is there */
        assert_ok(os_dir_open(os, inside("sub"), OS_DIR_CREATE, &d));
        assert_string_equal(os_dir_path(d), inside("sub"));
        assert_ok(os_dir_sync(d));
        os_dir_close(d);
    }
    assert_int_equal(stat(inside("sub"), &s), 0);
    assert_int_equal(s.st_mode & 0777, 0700);
}

static void a_held_directory_is_followed_when_it_moves(void **state)
{
    struct os_dir *d = NULL;
    struct os_file *f = NULL;
    char to[300];

    (void)state;
    assert_ok(os_dir_open(os, inside("one"), OS_DIR_CREATE, &d));
    (void)snprintf(to, sizeof to, "%s/two", path);
    assert_int_equal(rename(inside("one"), to), 0);
    assert_int_equal(mkdir(inside("one"), 0700), 0); /* an impostor */
    assert_ok(os_open(d, "f", OS_WRITE | OS_CREATE, &f));
    os_close(f);
    assert_int_equal(access(inside("two/f"), F_OK), 0);
    assert_int_equal(access(inside("one/f"), F_OK), -1);
    assert_ok(os_remove(d, "f"));
    os_dir_close(d);
}

static bool stop_at_once(void *arg, const char *name)
{
    (void)name;
    ++*(int *)arg;
    return false;
}

static void listing_stops_when_told(void **state)
{
    int n = 0;

    (void)state;
    os_test_put(dir, "a", "", false);
    os_test_put(dir, "b", "", false);
    assert_ok(os_dir_list(dir, stop_at_once, &n));
    assert_int_equal(n, 1);
    assert_int_equal(os_test_entries(dir), 2); /* from the start again */
}

/* ---- the lock ---- */

static void test_P15_a_second_handle_of_this_process_is_refused(void **state)
{
    struct os_dir *again = NULL, *reader = NULL;
    struct os_lock *l = NULL, *second = NULL;
    int fd;

    (void)state;
    assert_ok(os_dir_open(os, path, 0, &again));
    assert_ok(os_dir_open(os, path, OS_DIR_READONLY, &reader));
    assert_ok(os_lock(dir, "LOCK", &l));
    assert_status(os_lock(again, "LOCK", &second), ODB_BUSY);
    assert_status(os_lock(reader, "LOCK", &second), ODB_BUSY);
    fd = open(inside("LOCK"), O_RDWR | O_CLOEXEC); /* what makes a classic lock go away */
    (void)close(fd);
    assert_status(os_lock(again, "LOCK", &second), ODB_BUSY);
    os_unlock(l);
    assert_ok(os_lock(again, "LOCK", &second));
    os_unlock(second);
    os_dir_close(again);
    os_dir_close(reader);
}

static int child_wants_to_write(void)
{
    struct os_dir *d = NULL;
    struct os_lock *l = NULL;

    if (os_dir_open(os, path, 0, &d) != ODB_OK)
        return 100;
    return (int)os_lock(d, "LOCK", &l);
}

static int child_wants_to_read(void)
{
    struct os_dir *d = NULL;
    struct os_lock *l = NULL;

    if (os_dir_open(os, path, OS_DIR_READONLY, &d) != ODB_OK)
        return 100;
    return (int)os_lock(d, "LOCK", &l);
}

static void test_P15_a_second_process_is_refused(void **state)
{
    struct os_lock *l = NULL;

    (void)state;
    assert_ok(os_lock(dir, "LOCK", &l));
    assert_int_equal(in_child(child_wants_to_write), ODB_BUSY);
    assert_int_equal(in_child(child_wants_to_read), ODB_BUSY);
    os_unlock(l);
    assert_int_equal(in_child(child_wants_to_write), ODB_OK);
}

static void readers_share_and_keep_writers_out(void **state)
{
    struct os_dir *reader = NULL;
    struct os_lock *none = NULL, *l = NULL, *second = NULL, *writer = NULL;

    (void)state;
    assert_ok(os_dir_open(os, path, OS_DIR_READONLY, &reader));
    assert_ok(os_lock(reader, "LOCK", &none)); /* nothing to lock, and nothing made */
    assert_int_equal(os_test_entries(dir), 0);
    os_unlock(none);
    os_test_put(dir, "LOCK", "", false);
    assert_ok(os_lock(reader, "LOCK", &l));
    assert_ok(os_lock(reader, "LOCK", &second));
    assert_status(os_lock(dir, "LOCK", &writer), ODB_BUSY);
    assert_int_equal(in_child(child_wants_to_read), ODB_OK);
    assert_int_equal(in_child(child_wants_to_write), ODB_BUSY);
    os_unlock(l);
    assert_status(os_lock(dir, "LOCK", &writer), ODB_BUSY);
    os_unlock(second);
    assert_ok(os_lock(dir, "LOCK", &writer));
    os_unlock(writer);
    os_dir_close(reader);
}

static int child_dies_with_lock(void)
{
    struct os_lock *l = NULL;

    if (os_lock(dir, "LOCK", &l) != ODB_OK)
        return 1;
    (void)raise(SIGKILL);
    return 2;
}

static void test_P15_the_lock_dies_with_its_process(void **state)
{
    struct os_lock *l = NULL;

    (void)state;
    assert_int_equal(in_child(child_dies_with_lock), 1000 + SIGKILL);
    assert_ok(os_lock(dir, "LOCK", &l));
    os_unlock(l);
}

static struct os_lock *inherited;

static int child_gives_up_what_it_inherited(void)
{
    os_unlock(inherited);
    return 0;
}

static void test_P15_a_child_cannot_give_the_lock_away(void **state)
{
    (void)state;
    assert_ok(os_lock(dir, "LOCK", &inherited));
    assert_int_equal(in_child(child_gives_up_what_it_inherited), 0);
    assert_int_equal(in_child(child_wants_to_write), ODB_BUSY);
    os_unlock(inherited);
}

static void a_child_does_not_keep_what_the_parent_unlocks(void **state)
{
    struct os_lock *l = NULL;
    int status = 0;
    pid_t pid;

    (void)state;
    assert_ok(os_lock(dir, "LOCK", &l));
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)pause(); /* holds a copy of the descriptor */
        test_exit_child(0);
    }
    os_unlock(l);
    assert_ok(os_lock(dir, "LOCK", &l));
    os_unlock(l);
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, &status, 0);
}

/* ---- forks ---- */

static uint64_t parents_count;

static int grandchild_looks(void)
{
    return os_fork_count(os) != parents_count;
}

static int child_looks(void)
{
    uint64_t mine = os_fork_count(os);

    if (mine == parents_count || mine != os_fork_count(os))
        return 1;
    parents_count = mine;
    return in_child(grandchild_looks) == 1 ? 0 : 2;
}

static void test_P15_the_fork_count_differs_in_every_child(void **state)
{
    (void)state;
    parents_count = os_fork_count(os);
    assert_int_equal(in_child(child_looks), 0);
    assert_int_equal(os_fork_count(os), parents_count);
    assert_int_not_equal(parents_count, 0);
}

/* ---- the ring ---- */

static int child_stores_and_dies(void)
{
    struct os_ring *r = NULL;

    if (os_ring_open(dir, "RING", RING_SIZE, &r) != ODB_OK)
        return 1;
    os_ring_write(r, RING_SIZE - 3, "survivor", 8); /* around the end */
    (void)raise(SIGKILL);
    return 2;
}

static void test_P02_the_ring_survives_sigkill(void **state)
{
    struct os_ring *r = NULL;
    char text[9] = "", bytes[8];
    struct os_file *f = NULL;
    size_t got = 0;

    (void)state;
    assert_int_equal(in_child(child_stores_and_dies), 1000 + SIGKILL);
    assert_ok(os_open(dir, "RING", 0, &f)); /* an ordinary file to whoever only looks */
    assert_ok(os_read(f, RING_SIZE - 3, bytes, 8, &got));
    assert_int_equal(got, 3);
    assert_memory_equal(bytes, "sur", 3);
    os_close(f);
    assert_ok(os_ring_open(dir, "RING", RING_SIZE, &r));
    assert_int_equal(os_ring_size(r), RING_SIZE);
    os_ring_read(r, RING_SIZE - 3, text, 8);
    assert_string_equal(text, "survivor");
    os_ring_close(r);
    assert_int_equal(os_test_entries(dir), 1);
}

static void a_ring_of_another_size_is_replaced(void **state)
{
    struct os_ring *r = NULL;
    struct os_file *f = NULL;
    uint64_t size = 0;
    char c = 'x';

    (void)state;
    os_test_put(dir, "RING.new", "left by a crash", false);
    assert_ok(os_ring_open(dir, "RING", RING_SIZE, &r));
    os_ring_write(r, 0, &c, 1);
    os_ring_close(r);
    assert_ok(os_ring_open(dir, "RING", 2 * RING_SIZE, &r));
    os_ring_read(r, 0, &c, 1);
    assert_int_equal(c, 0);
    os_ring_close(r);
    assert_ok(os_open(dir, "RING", 0, &f));
    assert_ok(os_size(f, &size));
    assert_int_equal(size, 2 * RING_SIZE);
    os_close(f);
    assert_int_equal(os_test_entries(dir), 1);
}

static void a_sparse_ring_gets_its_blocks_before_it_is_mapped(void **state)
{
    struct os_file *f = NULL;
    struct os_ring *r = NULL;
    struct stat s;
    char c = 0;

    (void)state;
    assert_ok(os_open(dir, "RING", OS_WRITE | OS_CREATE, &f));
    assert_ok(os_write(f, 100, "x", 1));
    assert_ok(os_truncate(f, RING_SIZE));
    os_close(f);
    assert_ok(os_ring_open(dir, "RING", RING_SIZE, &r));
    os_ring_read(r, 100, &c, 1);
    assert_int_equal(c, 'x');
    os_ring_close(r);
    assert_int_equal(stat(inside("RING"), &s), 0);
    assert_true((uint64_t)s.st_blocks * 512 >= RING_SIZE);
}

/* A copy may have a hole although it has as many blocks as bytes: some lie behind its end (or hold the
 * addresses of the others, as on ext3). */
static void a_ring_with_one_hole_gets_its_block_before_it_is_mapped(void **state)
{
    static char bytes[RING_SIZE];
    int fd = open(inside("RING"), O_RDWR | O_CREAT | O_EXCL, 0600);
    struct stat before, after;
    struct os_ring *r = NULL;
    char c[2] = "";

    (void)state;
    assert_true(fd >= 0);
    memset(bytes, 'r', sizeof bytes);
    assert_int_equal(pwrite(fd, bytes, sizeof bytes, 0), sizeof bytes);
    if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, RING_SIZE / 2, 8192) != 0 ||
        fallocate(fd, FALLOC_FL_KEEP_SIZE, RING_SIZE, 8192) != 0) {
        print_message("no holes here: %s\n", strerror(errno));
        (void)close(fd);
        skip();
    }
    assert_int_equal(fsync(fd), 0);
    assert_int_equal(fstat(fd, &before), 0);
    assert_int_equal(before.st_size, RING_SIZE);
    assert_true((uint64_t)before.st_blocks * 512 >= RING_SIZE);
    assert_ok(os_ring_open(dir, "RING", RING_SIZE, &r));
    assert_int_equal(fstat(fd, &after), 0);
    assert_true(after.st_blocks >= before.st_blocks + 8192 / 512);
    os_ring_read(r, RING_SIZE / 2 - 1, c, 2);
    assert_int_equal(c[0], 'r');
    assert_int_equal(c[1], 0);
    os_ring_close(r);
    (void)close(fd);
}

static int child_may_not_lock_memory(void)
{
    struct rlimit none = {0, 0};
    struct os_ring *r = NULL;

    if (setrlimit(RLIMIT_MEMLOCK, &none) != 0 || (getuid() == 0 && setuid(65534) != 0))
        return 100;
    if (mlock(path, 1) == 0)
        return 101; /* sanitizers put a mlock in its place that does nothing */
    return (int)os_ring_open(dir, "RING", RING_SIZE, &r);
}

static void without_locked_memory_there_is_no_ring(void **state)
{
    int how;

    (void)state;
    assert_int_equal(chmod(path, 0777), 0);
    how = in_child(child_may_not_lock_memory);
    if (how == 101) {
        print_message("mlock takes no notice of its limit here\n");
        skip();
    }
    assert_int_equal(how, ODB_UNSUPPORTED);
    assert_int_equal(os_test_entries(dir), 0); /* nor what was begun */
}

static struct os_ring *mapped;

static int child_touches_the_ring(void)
{
    struct rlimit none = {0, 0};

    (void)setrlimit(RLIMIT_CORE, &none);
    (void)signal(SIGSEGV, SIG_DFL);
    (void)signal(SIGBUS, SIG_DFL);
    os_ring_write(mapped, 0, "child", 5);
    return 0;
}

static void a_child_has_no_ring(void **state)
{
    char c = 1;
    int how;

    (void)state;
    assert_ok(os_ring_open(dir, "RING", RING_SIZE, &mapped));
    how = in_child(child_touches_the_ring);
    assert_int_not_equal(how, 0);
    os_ring_read(mapped, 0, &c, 1);
    assert_int_equal(c, 0);
    os_ring_close(mapped);
}

/* ---- the rest ---- */

static void clocks_and_chance_answer(void **state)
{
    uint64_t a = os_now_ns(os), b = os_now_ns(os);
    uint8_t x[600] = {0}, y[600] = {0};

    (void)state;
    assert_true(b >= a && a > 0);
    assert_true(os_wall_us(os) > 1577836800000000U); /* 2020 */
    assert_ok(os_random(os, x, sizeof x));
    assert_ok(os_random(os, y, sizeof y));
    assert_memory_not_equal(x, y, sizeof x);
    assert_memory_not_equal(x + 500, y + 500, 100);
    assert_true(os_cpu_count(os) >= 1);
    assert_true(os_dir_free_bytes(dir) > 0);
}

/* One of everything, closed again. */
static odb_status open_one_of_each(void)
{
    struct os_dir *d = NULL;
    struct os_file *f = NULL;
    struct os_lock *l = NULL;
    struct os_ring *r = NULL;
    odb_status st = os_dir_open(os, inside("oom"), OS_DIR_CREATE, &d);

    if (st == ODB_OK)
        st = os_lock(d, "LOCK", &l);
    if (st == ODB_OK)
        st = os_open(d, "LOCK", OS_WRITE, &f);
    if (st == ODB_OK)
        st = os_reserve(f, 0, 10000, true);
    if (st == ODB_OK)
        st = os_ring_open(d, "RING", RING_SIZE, &r);
    os_ring_close(r);
    os_close(f);
    os_unlock(l);
    if (d) {
        (void)unlinkat(AT_FDCWD, inside("oom/RING"), 0);
        (void)unlinkat(AT_FDCWD, inside("oom/LOCK"), 0);
    }
    os_dir_close(d);
    return st;
}

static void test_P16_running_out_of_memory_is_a_status_and_leaks_nothing(void **state)
{
    (void)state;
    os_test_every_request_refused(open_one_of_each);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(what_is_written_is_read_back),
        T(statuses_tell_what_happened),
        T(rename_replaces_and_remove_removes),
        T(test_P17_only_regular_files_are_opened),
        T(reserved_bytes_are_zeros_and_old_ones_stay),
        T(test_P07_a_file_size_limit_is_a_status_and_no_signal),
        T(test_P07_a_limit_that_comes_down_is_noticed),
        T(test_P07_a_full_file_system_is_a_status),
        T(descriptors_stay_above_the_standard_streams),
        T(test_P16_running_out_of_descriptors_is_a_status),
        T(a_directory_is_made_when_asked),
        T(a_held_directory_is_followed_when_it_moves),
        T(listing_stops_when_told),
        T(test_P15_a_second_handle_of_this_process_is_refused),
        T(test_P15_a_second_process_is_refused),
        T(readers_share_and_keep_writers_out),
        T(test_P15_the_lock_dies_with_its_process),
        T(test_P15_a_child_cannot_give_the_lock_away),
        T(a_child_does_not_keep_what_the_parent_unlocks),
        T(test_P15_the_fork_count_differs_in_every_child),
        T(test_P02_the_ring_survives_sigkill),
        T(a_ring_of_another_size_is_replaced),
        T(a_sparse_ring_gets_its_blocks_before_it_is_mapped),
        T(a_ring_with_one_hole_gets_its_block_before_it_is_mapped),
        T(without_locked_memory_there_is_no_ring),
        T(a_child_has_no_ring),
        T(clocks_and_chance_answer),
        T(test_P16_running_out_of_memory_is_a_status_and_leaks_nothing),
    };

    return cmocka_run_group_tests_name("posix", tests, NULL, NULL);
}
