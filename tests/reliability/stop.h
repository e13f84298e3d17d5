/* tests/reliability/stop.h -- an exploration that is told to end (SIGINT, SIGTERM) ends as when its time is
 * over, with its summary: what was explored until then counts. */
#ifndef TEST_RELIABILITY_STOP_H
#define TEST_RELIABILITY_STOP_H

#include <signal.h>
#include <stdbool.h>

static volatile sig_atomic_t stop_was_asked;

static inline void stop_note(int sig)
{
    (void)sig;
    stop_was_asked = 1;
}

static inline void stop_when_told(void)
{
    (void)signal(SIGINT, stop_note);
    (void)signal(SIGTERM, stop_note);
}

static inline bool stop_is_asked(void)
{
    return stop_was_asked != 0;
}

#endif
