/* bench/hnswlib.cc -- the only C++ in the tree: an adapter for the library vector/ is measured by.
 * Compiled for this very processor, as its users are told to. */
#include <hnswlib/hnswlib.h>

#include <memory>

#include "bench/hnswlib.h"

struct bench_hnswlib {
    std::unique_ptr<hnswlib::SpaceInterface<float>> space;
    std::unique_ptr<hnswlib::HierarchicalNSW<float>> index;
};

bench_hnswlib *bench_hnswlib_new(size_t dim, size_t max, size_t m, size_t ef_construction, int dot)
{
    try {
        std::unique_ptr<bench_hnswlib> h(new bench_hnswlib);
        if (dot)
            h->space.reset(new hnswlib::InnerProductSpace(dim));
        else
            h->space.reset(new hnswlib::L2Space(dim));
        h->index.reset(
            new hnswlib::HierarchicalNSW<float>(h->space.get(), max, m, ef_construction));
        return h.release();
    } catch (...) {
        return nullptr;
    }
}

void bench_hnswlib_free(bench_hnswlib *h)
{
    delete h;
}

int bench_hnswlib_add(bench_hnswlib *h, const float *x, size_t label)
{
    try {
        h->index->addPoint(x, label);
        return 0;
    } catch (...) {
        return -1;
    }
}

size_t bench_hnswlib_search(bench_hnswlib *h, const float *q, size_t k, size_t ef, size_t *labels)
{
    try {
        h->index->setEf(ef);
        auto found = h->index->searchKnn(q, k);
        size_t n = found.size();
        for (size_t i = n; i-- > 0; found.pop())
            labels[i] = found.top().second;
        return n;
    } catch (...) {
        return 0;
    }
}

size_t bench_hnswlib_element(const bench_hnswlib *h)
{
    return h->index->size_data_per_element_;
}
