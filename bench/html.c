/* bench/html.c -- the look of the pages. */
#include "bench/html.h"

static const char style[] =
    ":root{--ink:#1c2330;--soft:#5b6575;--line:#d9dee6;--paper:#fff;--panel:#f6f8fb;"
    "--c0:#1f6feb;--c1:#d9822b;--c2:#2a9d6f;--c3:#8f5bd6;--c4:#c2415a;--c5:#0f8ea3;--c6:#7a7f1e;"
    "--c7:#555}\n"
    "@media(prefers-color-scheme:dark){:root{--ink:#e4e8ee;--soft:#9aa5b4;--line:#343c48;"
    "--paper:#14181f;--panel:#1b212a;--c0:#5aa0ff;--c1:#f0a35a;--c2:#57c99a;--c3:#b592f0;"
    "--c4:#ec7f93;--c5:#4fc3d6;--c6:#c0c65a;--c7:#aaa}}\n"
    "body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);"
    "max-width:1000px;margin:2em auto;padding:0 1.2em}\n"
    "h1{font-size:1.7em;margin:0}h2{margin:2em 0 .4em;font-size:1.25em}"
    "h3{margin:1.8em 0 .3em;font-size:1.05em}\n"
    "p{margin:.5em 0}.soft{color:var(--soft)}.warn{color:var(--c4)}\n"
    "pre{background:var(--panel);border:1px solid var(--line);border-radius:6px;padding:.7em .9em;"
    "white-space:pre-wrap;overflow-wrap:anywhere;font-size:13px}\n"
    "table{border-collapse:collapse;font-size:13px;margin:.6em 0;width:100%}"
    "th,td{text-align:left;padding:.3em .6em;border-bottom:1px solid var(--line);"
    "vertical-align:top}\n"
    "td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}td.n{white-space:nowrap}\n"
    "th{font-weight:600}th span{font-weight:400}tr.first td{background:var(--panel)}\n"
    "svg{display:block;width:100%;height:auto;margin:.4em 0}"
    "svg text{font:12px system-ui,sans-serif;fill:var(--ink)}svg .s{fill:var(--soft);"
    "font-size:11px}"
    "svg .e{text-anchor:end}svg .m{text-anchor:middle}\n"
    "svg .grid{stroke:var(--line);stroke-width:1}svg .one{stroke:var(--ink);stroke-width:1}"
    "svg .spread{stroke:var(--ink);stroke-width:1.5}"
    "svg path{fill:none;stroke-width:1.8}\n"
    "@media(max-width:700px){table,.chart{display:block;overflow-x:auto}.chart svg{width:700px}}\n"
    ".key span{display:inline-block;margin-right:1.2em}.key i{display:inline-block;width:.8em;"
    "height:.8em;border-radius:2px;margin-right:.4em}\n";

void bench_html_text(FILE *to, const char *text)
{
    for (; *text; text++) {
        switch (*text) {
        case '<': (void)fputs("&lt;", to); break;
        case '>': (void)fputs("&gt;", to); break;
        case '&': (void)fputs("&amp;", to); break;
        case '"': (void)fputs("&quot;", to); break;
        default: (void)fputc(*text, to);
        }
    }
}

void bench_html_begin(FILE *to, const char *title)
{
    (void)fputs("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
                "<meta name=\"viewport\" content=\"width=device-width\">\n<title>",
                to);
    bench_html_text(to, title);
    (void)fprintf(to, "</title>\n<style>\n%s</style></head><body>\n", style);
}

void bench_html_end(FILE *to)
{
    (void)fputs("</body></html>\n", to);
}
