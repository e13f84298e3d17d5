/* What a link costs does not depend on how many edges its node has (W18). In a database that already holds
 * some edges, so that it has left the fastest caches behind, a hub and a ring of as many nodes grow side by
 * side. The ring, whose nodes have one edge each, is the yardstick: at the end a link of the hub costs at
 * most half as much again as one of the ring, and it has grown dearer by at most half more than that of the
 * ring has, which is the part that the size of the database and other programs on the machine account for.
 *
 * Time is that of this thread on the processor. Of each tenth the median of many short stretches counts,
 * so that a stretch which was interrupted does not.
 *
 * ODB_TEST_EDGES=N: a hub of N edges (100000; the stress suite runs a million).
 */
#include <time.h>

#include "tests/api/fixture.h"

#define STRETCHES 200 /* in all; a tenth has 20 */

static double cpu_us(void)
{
    struct timespec t;

    assert_int_equal(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t), 0);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

/* Edges of no concern, twice as many as the hub will have. */
static void fill(odb_db *db, uint64_t edges)
{
    char a[32], b[32];

    for (uint64_t i = 0; i < 2 * edges;) {
        odb_batch *batch = NULL;

        assert_ok(odb_batch_new(&batch));
        for (int k = 0; k < 1000; k++, i++) {
            odb_edge e;

            (void)snprintf(a, sizeof a, "fill%08llx",
                           (unsigned long long)(i * 2654435761u & 0xffffffffu));
            (void)snprintf(b, sizeof b, "fill%08llx",
                           (unsigned long long)((i + 1) * 2654435761u & 0xffffffffu));
            e = odb_edge_of(odb_s(a), odb_s("has"), odb_s(b));
            assert_ok(odb_batch_link(db, batch, &e, NULL, 0, 0));
        }
        assert_ok(odb_commit(db, batch, NULL));
        odb_batch_free(batch);
    }
}

static double median_of_tenth(const double *us, size_t tenth)
{
    double sorted[STRETCHES / 10];

    memcpy(sorted, us + tenth * (STRETCHES / 10), sizeof sorted);
    qsort(sorted, STRETCHES / 10, sizeof sorted[0], by_size);
    return sorted[STRETCHES / 20];
}

static void w18_hub_links_at_the_price_of_any_other(void **state)
{
    const char *given = getenv("ODB_TEST_EDGES");
    uint64_t edges = given ? strtoull(given, NULL, 10) : 100000, per = edges / STRETCHES, no = 0;
    double hub[STRETCHES], ring[STRETCHES], first, last, ring_first, ring_last;
    odb_slice hub_id = odb_s("hub"), rel = odb_s("has");
    odb_options o = odb_options_default();
    char dir[64], a[32], b[32];
    uint64_t degree = 0;
    odb_db *db = NULL;

    (void)state;
    fixture_make_dir(dir, sizeof dir);
    assert_ok(odb_open(dir, &o, &db));
    fill(db, edges);
    for (size_t s = 0; s < STRETCHES; s++) {
        double start = cpu_us();

        for (uint64_t i = 0; i < per; i++) { /* in no order */
            (void)snprintf(b, sizeof b, "leaf%08llx",
                           (unsigned long long)((no + i) * 2654435761u & 0xffffffffu));
            assert_ok(odb_link(db, NULL, hub_id, rel, odb_s(b)));
        }
        hub[s] = (cpu_us() - start) / (double)per;
        start = cpu_us();
        for (uint64_t i = 0; i < per; i++) {
            (void)snprintf(a, sizeof a, "ring%08llx",
                           (unsigned long long)((no + i) * 2654435761u & 0xffffffffu));
            (void)snprintf(b, sizeof b, "ring%08llx",
                           (unsigned long long)((no + i + 1) * 2654435761u & 0xffffffffu));
            assert_ok(odb_link(db, NULL, odb_s(a), rel, odb_s(b)));
        }
        ring[s] = (cpu_us() - start) / (double)per;
        no += per;
    }
    first = median_of_tenth(hub, 0);
    last = median_of_tenth(hub, 9);
    ring_first = median_of_tenth(ring, 0);
    ring_last = median_of_tenth(ring, 9);
    printf("%llu edges: of the hub the first tenth %.2f us each, the last %.2f us; of the ring "
           "%.2f us "
           "and %.2f us\n",
           (unsigned long long)no, first, last, ring_first, ring_last);
    assert_true(last <= 1.5 * ring_last);
    assert_true(last / first <= 1.5 * (ring_last / ring_first));
    assert_ok(odb_degree(odb_now(db), hub_id, NULL, &degree));
    assert_int_equal(degree, no);
    assert_ok(odb_close(db));
    fixture_remove_dir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(w18_hub_links_at_the_price_of_any_other)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
