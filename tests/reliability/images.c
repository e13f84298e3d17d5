#include "tests/reliability/images.h"

#define FIXED      15
#define CHEAP      4
#define PREFIX_MAX 48
#define SINGLE_MAX 64
#define PAIRS_MAX  12
#define SUBSETS    64
#define FEW_PIECES 6

static bool keep_nothing(void *arg, const struct sim_piece *piece)
{
    (void)piece;
    ++*(uint32_t *)arg;
    return false;
}

static uint32_t count_pieces(struct os *os)
{
    uint32_t n = 0;

    sim_free(sim_image_keep(os, keep_nothing, &n));
    return n;
}

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

void images_plan(struct os *os, enum image_kind kind, bool is_inside, struct image_plan *out)
{
    uint64_t pending;

    *out = (struct image_plan){.kind = kind, .is_inside = is_inside, .count = FIXED};
    if (kind == IMAGES_CHEAP)
        out->count = CHEAP;
    if (kind == IMAGES_CHEAP || kind == IMAGES_SAMPLED)
        return;
    out->pieces = count_pieces(os);
    pending = sim_pending(os);
    if (kind == IMAGES_FEW && out->pieces > FEW_PIECES)
        return;
    out->prefixes = pending > 1 ? least((uint32_t)pending - 1, PREFIX_MAX) : 0;
    if (out->pieces > 1 && out->pieces <= PAIRS_MAX)
        out->subsets = out->pieces * (out->pieces - 1) / 2;
    else if (out->pieces > PAIRS_MAX)
        out->subsets = SUBSETS;
    out->count = FIXED + out->prefixes + 2 * least(out->pieces, SINGLE_MAX) + out->subsets;
}

/* ---- subsets ---- */

struct subset {
    enum { ALL_BUT, ONLY, PAIR, RANDOM } how;
    uint32_t a, b;
    uint32_t at;
    uint64_t chance;
};

static bool keep_subset(void *arg, const struct sim_piece *piece)
{
    struct subset *s = arg;
    uint32_t at = s->at++;

    (void)piece;
    switch (s->how) {
    case ALL_BUT: return at != s->a;
    case ONLY: return at == s->a;
    case PAIR: return at == s->a || at == s->b;
    case RANDOM: break;
    }
    s->chance ^= s->chance << 13;
    s->chance ^= s->chance >> 7;
    s->chance ^= s->chance << 17;
    return s->chance >> 33 & 1;
}

static struct os *make_subset(struct os *os, const struct image_plan *plan, uint64_t salt,
                              uint32_t i)
{
    uint32_t singles = least(plan->pieces, SINGLE_MAX);
    uint32_t step = plan->pieces > SINGLE_MAX ? plan->pieces / SINGLE_MAX : 1;
    struct subset s = {.how = RANDOM, .chance = salt * 0x9e3779b97f4a7c15u + i + 1};

    if (i < singles) {
        s.how = ALL_BUT;
        s.a = i * step;
    } else if (i < 2 * singles) {
        s.how = ONLY;
        s.a = (i - singles) * step;
    } else if (plan->pieces <= PAIRS_MAX) {
        s.how = PAIR;
        i -= 2 * singles;
        for (s.a = 0; i >= plan->pieces - 1 - s.a; s.a++)
            i -= plan->pieces - 1 - s.a;
        s.b = s.a + 1 + i;
    }
    return sim_image_keep(os, keep_subset, &s);
}

bool images_make(struct os *os, const struct image_plan *plan, uint64_t salt, uint32_t i,
                 struct os **out, enum sim_model *model)
{
    static const struct {
        enum sim_model model;
        bool inside;
    } fixed[FIXED] = {{SIM_M1, 0}, {SIM_M1, 1}, {SIM_M4, 1}, {SIM_M4, 0}, {SIM_M0, 0},
                      {SIM_M4, 1}, {SIM_M4, 1}, {SIM_M4, 1}, {SIM_M4, 0}, {SIM_M4, 0},
                      {SIM_M4, 0}, {SIM_M3, 0}, {SIM_M3, 0}, {SIM_M5, 0}, {SIM_M5, 0}};
    uint64_t seed = salt * 1000003 + (uint64_t)i * 7919;

    if (i < FIXED) {
        *model = fixed[i].model;
        if (*model == SIM_M5)
            seed = (seed & ~UINT64_C(1)) | (i & 1);
        if (fixed[i].inside && !plan->is_inside)
            return false;
        *out = fixed[i].inside ? sim_image_inside(os, *model, seed) : sim_image(os, *model, seed);
        return true;
    }
    i -= FIXED;
    *model = SIM_M2;
    if (i < plan->prefixes) {
        uint64_t pending = sim_pending(os), k = 1 + i * (pending - 1) / plan->prefixes;

        *out = sim_image(os, SIM_M2, k + (pending + 1) * (salt % 1000));
        return true;
    }
    *model = SIM_M4;
    *out = make_subset(os, plan, salt, i - plan->prefixes);
    return true;
}
