/* api/info.c -- OPENDB_INFO and OPTIONS: two files for people.
 *
 *     OPENDB_INFO   what this directory is, written once, when the database is made
 *     OPTIONS       what the database was last opened with, one `name = value` a line
 *
 * Neither is ever read by the engine but to see whether it would be written the same again. Each is
 * replaced in one step by a rename, unsynced: after a power cut it may be missing or old, and the
 * next open repairs that.
 */
#include "api/db_priv.h"

#include <stdarg.h>
#include <stdio.h>

#define INFO_NAME     "OPENDB_INFO"
#define OPTIONS_NAME  "OPTIONS"
#define INFO_TMP_NAME "OPTIONS.tmp"

static odb_status info_print(struct buf *out, const char *fmt, ...) ODB_PRINTF(2, 3);

static odb_status info_print(struct buf *out, const char *fmt, ...)
{
    char line[1024];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    return buf_append(out, line, strlen(line));
}

static odb_status info_text(const odb_options *opt, struct buf *out)
{
    odb_status st = info_print(
        out,
        "This directory is an OpenDB database, made by release %s.\n"
        "Format: 1. Documentation: docs/format.md in the source tree.\n"
        "\n"
        "It belongs to one process at a time. Do not change, move or delete single files;\n"
        "copy the directory only while no process has it open.\n"
        "\n"
        "  CURRENT, MANIFEST-*  which tables make up the database\n"
        "  *.sst                sorted tables        *.log, RING  writes not yet in tables\n"
        "  LOG                  what the engine did  OPTIONS      what it was last opened with\n"
        "\n"
        "  odb stats DIR        figures              odb verify DIR   check every byte\n"
        "  odb tree DIR         a picture            odb dump DIR     all keys and values\n"
        "\n"
        "Column families at the beginning:",
        odb_version());

    for (uint32_t i = 0; st == ODB_OK && i < opt->family_count; i++)
        st = info_print(out, " %s", opt->families[i]);
    return st == ODB_OK ? info_print(out, "\n") : st;
}

static odb_status options_text(const odb_options *o, struct buf *out)
{
    static const char *const durability[] = {"default", "none", "os", "full"};
    static const char *const compression[] = {"default", "none", "lz4"};
    const struct {
        const char *name;
        uint64_t value;
    } line[] = {
        {"memory_budget", o->memory_budget},
        {"background_jobs", o->no_threads ? 0 : o->background_jobs},
        {"write_buffer_size", o->write_buffer_size},
        {"write_buffers", o->write_buffers},
        {"l0_trigger", o->l0_trigger},
        {"target_file_size", o->target_file_size},
        {"level_base_size", o->level_base_size},
        {"level_multiplier", o->level_multiplier},
        {"block_size", o->block_size},
        {"lz4_acceleration", o->lz4_acceleration},
        {"filter_bits", o->filter_bits > 0 ? (uint64_t)o->filter_bits : 0},
        {"merge_split", o->merge_split},
        {"auto_compact", !o->no_auto_compact},
        {"cache_size", o->cache_size},
        {"open_tables", o->open_tables},
        {"ring_size", o->ring_size},
        {"log_segment_size", o->log_segment_size},
        {"log_limit", o->log_limit},
        {"disk_reserve", o->disk_reserve},
        {"event_log_size", o->event_log_size},
    };
    odb_status st =
        info_print(out,
                   "# what release %s last opened this database with; not read back\n"
                   "durability = %s\ncompression = %s\n",
                   odb_version(), durability[o->durability], compression[o->compression]);

    for (size_t i = 0; st == ODB_OK && i < sizeof line / sizeof line[0]; i++)
        st = info_print(out, "%s = %llu\n", line[i].name, (unsigned long long)line[i].value);
    return st;
}

/* Whether file `name` is there and, with `text`, holds just that. */
static bool info_is_there(struct os_dir *dir, const char *name, const struct buf *text)
{
    struct os_file *f = NULL;
    struct buf have = {0};
    uint64_t size = 0;
    size_t got = 0;
    bool same = false;

    if (os_open(dir, name, OS_SEQUENTIAL, &f) != ODB_OK)
        return false;
    if (!text)
        same = true;
    else if (os_size(f, &size) == ODB_OK && size == text->len &&
             buf_reserve(&have, text->len) == ODB_OK &&
             os_read(f, 0, have.p, text->len, &got) == ODB_OK && got == text->len)
        same = memcmp(have.p, text->p, text->len) == 0;
    os_close(f);
    buf_release(&have);
    return same;
}

static odb_status info_replace(struct os_dir *dir, const char *name, const struct buf *text)
{
    struct os_file *f = NULL;
    odb_status st;

    err_ignore(os_remove(dir, INFO_TMP_NAME)); /* left behind by a crash, if at all */
    st = os_open(dir, INFO_TMP_NAME, OS_WRITE | OS_CREATE, &f);
    if (st == ODB_OK)
        st = os_write(f, 0, text->p, text->len);
    os_close(f);
    return st == ODB_OK ? os_rename(dir, INFO_TMP_NAME, name) : st;
}

odb_status info_write(struct os *os, const char *path, const odb_options *opt)
{
    struct os_dir *dir = NULL;
    struct buf text = {0};
    odb_status st = os_dir_open(os, path, 0, &dir);

    if (st != ODB_OK)
        return st;
    if (!info_is_there(dir, INFO_NAME, NULL)) {
        st = info_text(opt, &text);
        if (st == ODB_OK)
            st = info_replace(dir, INFO_NAME, &text);
    }
    buf_reset(&text);
    if (st == ODB_OK)
        st = options_text(opt, &text);
    if (st == ODB_OK && !info_is_there(dir, OPTIONS_NAME, &text))
        st = info_replace(dir, OPTIONS_NAME, &text);
    buf_release(&text);
    os_dir_close(dir);
    return st;
}
