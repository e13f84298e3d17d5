/* tools/progress.c -- a bar for whoever waits.
 *
 *     load  ██████████████░░░░░░░░░░  58 %   71.3 of 123 MiB   24.1 MiB/s   2 s left
 *
 * Drawn at most ten times a second, on standard error, and only where that is a terminal.
 */
#include "tool.h"

#include <time.h>
#include <unistd.h>

#define BAR_WIDTH 24

uint64_t now_ns(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

void progress_begin(struct progress *p, const struct tool *t, const char *what)
{
    *p = (struct progress){what, now_ns(), 0, isatty(2) == 1, t->is_utf8, false};
}

static void draw_bar(const struct progress *p, uint64_t done, uint64_t total)
{
    int full = (int)((double)done * BAR_WIDTH / (double)total);

    for (int i = 0; i < BAR_WIDTH; i++)
        fputs(i < full ? (p->is_utf8 ? "\xe2\x96\x88" : "#") : (p->is_utf8 ? "\xe2\x96\x91" : "."),
              stderr);
    fprintf(stderr, " %3d %%  ", (int)((double)done * 100 / (double)total));
}

void progress_show(struct progress *p, uint64_t done, uint64_t total)
{
    uint64_t now, rate;
    double secs;

    if (!p->is_on)
        return;
    now = now_ns();
    if (now - p->shown_ns < 100000000u && done != total)
        return;
    if (total && done > total)
        total = done;
    p->shown_ns = now;
    p->was_shown = true;
    secs = (double)(now - p->started_ns) / 1e9 + 1e-9;
    rate = (uint64_t)((double)done / secs);
    fprintf(stderr, "\r%-10s ", p->what);
    if (total) {
        draw_bar(p, done, total);
        fprintf(stderr, "%s of %s", show_bytes(done), show_bytes(total));
    } else {
        fprintf(stderr, "%s", show_bytes(done));
    }
    fprintf(stderr, "  %s/s", show_bytes(rate));
    if (total && rate && done < total)
        fprintf(stderr, "  %.0f s left", (double)(total - done) / (double)rate);
    fputs("\x1b[K", stderr); /* wipe what a longer line left behind */
    (void)fflush(stderr);
}

void progress_end(struct progress *p)
{
    if (p->was_shown)
        fputc('\n', stderr);
    p->was_shown = false;
}

bool progress_report(void *arg, const char *what, uint64_t done, uint64_t total)
{
    struct progress *p = arg;

    if (what)
        p->what = what;
    progress_show(p, done, total);
    return true;
}
