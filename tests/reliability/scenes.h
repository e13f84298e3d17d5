/* tests/reliability/scenes.h -- the scenes that schedules.c explores. */
#ifndef TEST_RELIABILITY_SCENES_H
#define TEST_RELIABILITY_SCENES_H

#include "tests/reliability/explore.h"

extern const struct scene scenes[];
extern const unsigned scene_count;

#endif
