/* nearest.c -- texts as vectors, the nearest of them, and how they are linked.
 *
 * The embedding is made here: three-letter pieces of a text, hashed into 64 numbers. There is no model in it;
 * texts are near when they are spelled alike. A program puts in what its model gives.
 *
 *     cc nearest.c $(pkg-config --cflags --libs opendb)
 */
#include <opendb.h>
#include <stdio.h>

#define DIM 64

static const char *const texts[][2] = {
    {"btree", "ordered maps on disk with wide nodes"},
    {"lsm", "ordered maps on disk written as sorted runs"},
    {"skiplist", "ordered maps in memory with towers of links"},
    {"hnsw", "nearest neighbours in a graph with towers of links"},
    {"bloom", "membership in a set with few bits"},
};

static void embed(const char *text, float *out)
{
    memset(out, 0, DIM * sizeof *out);
    for (; text[0] && text[1] && text[2]; text++) {
        uint32_t h = 2166136261u;

        for (int i = 0; i < 3; i++)
            h = (h ^ (unsigned char)text[i]) * 16777619u;
        out[h % DIM] += h >> 31 ? 1 : -1;
    }
}

static odb_status run(odb_db *db)
{
    odb_vec_config config = {.size = sizeof config, .dim = DIM, .metric = ODB_METRIC_COSINE};
    odb_vec_search how = {.size = sizeof how, .k = 2};
    odb_vec_hits *hits;
    float x[DIM];
    odb_status st = odb_vec_open(db, &config);

    for (size_t i = 0; st == ODB_OK && i < sizeof texts / sizeof *texts; i++) {
        embed(texts[i][1], x);
        st = odb_vec_put(db, NULL, odb_s(texts[i][0]), x, DIM);
    }
    if (st == ODB_OK)
        st = odb_vec_find_like(odb_now(db), odb_s("lsm"), &how, &hits);
    if (st != ODB_OK)
        return st;
    for (size_t i = 0; i < odb_vec_hits_count(hits); i++) {
        odb_vec_hit hit = odb_vec_hits_at(hits, i);

        printf("%.*s is %.2f away from lsm\n", (int)hit.id.size, (const char *)hit.id.data,
               (double)hit.distance);
    }
    odb_vec_hits_free(hits);
    return ODB_OK;
}

int main(void)
{
    odb_db *db = NULL;
    odb_status st = odb_open("nearest.db", NULL, &db);

    if (st == ODB_OK)
        st = run(db);
    if (st != ODB_OK)
        fprintf(stderr, "%s: %s\n", odb_status_text(st), odb_error_text());
    (void)odb_close(db);
    return st != ODB_OK;
}
