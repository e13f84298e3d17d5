/* tests/reliability/images.h -- all the disks that one crash may leave, numbered.
 *
 *     struct image_plan plan;
 *     images_plan(os, kind, &plan);                       how many there are at this moment
 *     for (i = 0; i < plan.count; i++)
 *         if (images_make(os, &plan, salt, i, &image))    the i-th of them
 *             ...
 *
 * A number means the same disk whenever the run is repeated, so that "operation 812, image 17" is a
 * complete description of a failure.
 *
 *   0-3    process death; inside the operation; a random mixture inside it; one beside it
 *   4-14   nothing pending kept; torn inside the operation; mixtures; journalled metadata; spoiled blocks
 *   15-    every prefix of what is pending; each piece lost by itself; each piece kept by itself;
 *          every pair kept, or 64 random subsets where there are more than 12 pieces
 */
#ifndef TEST_RELIABILITY_IMAGES_H
#define TEST_RELIABILITY_IMAGES_H

#include "os/sim.h"

enum image_kind {
    IMAGES_ALL,
    IMAGES_FEW,     /* inside recoveries: subsets only where there are few pieces */
    IMAGES_CHEAP,   /* nothing but rings changed since the last moment: 0 to 3 */
    IMAGES_SAMPLED, /* of large histories: 0 to 14 */
};

struct image_plan {
    enum image_kind kind;
    bool is_inside; /* the operation about to begin is a write */
    uint32_t pieces;
    uint32_t prefixes;
    uint32_t subsets;
    uint32_t count;
};

/* `is_inside`: the fault hook is being asked about a write or a ring store. */
void images_plan(struct os *os, enum image_kind kind, bool is_inside, struct image_plan *out);
/* False: number `i` means nothing here (nothing is being written). *model tells what was promised. */
bool images_make(struct os *os, const struct image_plan *plan, uint64_t salt, uint32_t i,
                 struct os **out, enum sim_model *model);

#endif
