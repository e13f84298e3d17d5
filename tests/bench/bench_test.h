/* tests/bench/bench_test.h -- what the tests of bench/ share. */
#ifndef BENCH_TEST_H
#define BENCH_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#endif
