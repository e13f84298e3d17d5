/* api/options.c -- from what the user said to what the engine runs with.
 *
 *     user's struct (any size, zeros)  ->  a copy of today's size  ->  every default filled in
 *                                                                  ->  checked, or ODB_INVALID
 *
 * With a memory budget B the parts are sized from it, for those who set nothing else:
 *
 *     write buffer   B/16, from 64 KiB to 128 MiB      (cf/ holds those of all families to B/4)
 *     cache          B/2 less 7 MiB (at least B/4), which merges and the rest of the process need
 *     workers        two below 64 MiB, and merges are not split
 *     tables         half a write buffer, 256 KiB to 64 MiB; the first level holds four of them
 *     open tables    four for each MiB, 16 to 512
 *     ring           B/64 rounded down to a power of two, 64 KiB to 1 MiB
 *     log            segments of B/16, 256 KiB to 64 MiB; kept up to 4 B, 4 MiB to 1 GiB
 */
#include "api/db_priv.h"

#define KB (UINT64_C(1) << 10)
#define MB (UINT64_C(1) << 20)
#define GB (UINT64_C(1) << 30)

const char *const api_standard_families[API_STANDARD_FAMILIES] = {
    ODB_FAMILY_DEFAULT,        ODB_FAMILY_RECORDS,     ODB_FAMILY_GRAPH_FORWARD,
    ODB_FAMILY_GRAPH_BACKWARD, ODB_FAMILY_VECTOR_DATA, ODB_FAMILY_VECTOR_INDEX,
    ODB_FAMILY_METADATA,
};

static uint64_t clamp_u64(uint64_t v, uint64_t low, uint64_t high)
{
    return v < low ? low : v > high ? high : v;
}

/* The greatest power of two that is at most v; v is at least 1. */
static uint64_t floor_pow2(uint64_t v)
{
    while (v & (v - 1))
        v &= v - 1;
    return v;
}

static void default_u64(uint64_t *field, uint64_t value)
{
    if (*field == 0)
        *field = value;
}

static void default_u32(uint32_t *field, uint64_t value)
{
    if (*field == 0)
        *field = (uint32_t)value;
}

static odb_status option_refuse(const char *field, uint64_t got, const char *expected)
{
    return err_set(ODB_INVALID, "option %s is %llu; it has to be %s", field,
                   (unsigned long long)got, expected);
}

/* What a user may have set, within reason. 0 is always fine: the default comes later. */
static odb_status options_check(const odb_options *o)
{
    if (o->memory_budget && o->memory_budget < MB)
        return option_refuse("memory_budget", o->memory_budget, "at least 1 MiB");
    if ((unsigned)o->durability > ODB_DURABLE_FULL)
        return option_refuse("durability", (uint64_t)o->durability, "an odb_durability");
    if (o->must_exist && o->must_be_new)
        return err_set(ODB_INVALID, "options must_exist and must_be_new exclude each other");
    if (o->is_readonly && o->must_be_new)
        return err_set(ODB_INVALID, "options is_readonly and must_be_new exclude each other");
    if (o->family_count && !o->families)
        return err_set(ODB_INVALID, "option families is NULL but family_count is %lu",
                       (unsigned long)o->family_count);
    if (o->family_count > 1024)
        return option_refuse("family_count", o->family_count, "at most 1024");
    if (o->write_buffer_size && o->write_buffer_size < 64 * KB)
        return option_refuse("write_buffer_size", o->write_buffer_size, "at least 64 KiB");
    if (o->write_buffers == 1 || o->write_buffers > 64)
        return option_refuse("write_buffers", o->write_buffers, "2 to 64");
    if (o->target_file_size && o->target_file_size < 16 * KB)
        return option_refuse("target_file_size", o->target_file_size, "at least 16 KiB");
    if (o->level_base_size && o->level_base_size < 16 * KB)
        return option_refuse("level_base_size", o->level_base_size, "at least 16 KiB");
    if (o->level_multiplier == 1 || o->level_multiplier > 100)
        return option_refuse("level_multiplier", o->level_multiplier, "2 to 100");
    if (o->block_size && (o->block_size < 512 || o->block_size > MB))
        return option_refuse("block_size", o->block_size, "512 to 1048576");
    if ((unsigned)o->compression > ODB_COMPRESSION_LZ4)
        return option_refuse("compression", (uint64_t)o->compression, "an odb_compression");
    if (o->compression == ODB_COMPRESSION_LZ4 && !lz4_available())
        return err_set(ODB_UNSUPPORTED, "this build has no LZ4; leave option compression at 0");
    if (o->lz4_acceleration > 64)
        return option_refuse("lz4_acceleration", o->lz4_acceleration, "1 to 64");
    if (o->filter_bits < -1 || o->filter_bits > 64)
        return err_set(ODB_INVALID, "option filter_bits is %ld; it has to be -1 to 64",
                       (long)o->filter_bits);
    if (o->ring_size && (o->ring_size < 64 * KB || (o->ring_size & (o->ring_size - 1))))
        return option_refuse("ring_size", o->ring_size, "a power of two, at least 65536");
    if (o->log_segment_size && o->log_segment_size < 64 * KB)
        return option_refuse("log_segment_size", o->log_segment_size, "at least 64 KiB");
    if (o->open_tables && o->open_tables < 8)
        return option_refuse("open_tables", o->open_tables, "at least 8");
    if (o->background_jobs > 256)
        return option_refuse("background_jobs", o->background_jobs, "at most 256");
    return ODB_OK;
}

/* The parts of a budget, where the user set none. */
static void options_divide(odb_options *o)
{
    uint64_t b = o->memory_budget;

    if (!b)
        return;
    default_u64(&o->write_buffer_size, clamp_u64(b / 16, 64 * KB, 128 * MB));
    default_u64(&o->cache_size, b / 2 - (b / 4 < 7 * MB ? b / 4 : 7 * MB));
    default_u64(&o->target_file_size, clamp_u64(o->write_buffer_size / 2, 256 * KB, 64 * MB));
    default_u64(&o->level_base_size, 4 * o->target_file_size);
    default_u32(&o->ring_size, clamp_u64(floor_pow2(b / 64), 64 * KB, MB));
    default_u64(&o->log_segment_size, clamp_u64(b / 16, 256 * KB, 64 * MB));
    default_u64(&o->log_limit, clamp_u64(4 * b, 4 * MB, GB));
    default_u32(&o->open_tables, clamp_u64(b / MB * 4, 16, 512));
    if (b < 64 * MB) {
        default_u32(&o->background_jobs, 2);
        default_u32(&o->merge_split, 1);
    }
}

/* The caps of what one process can address keep sums in size_t on small machines. */
static void options_cap(odb_options *o)
{
    const uint64_t most = SIZE_MAX / 4;

    o->memory_budget = clamp_u64(o->memory_budget, 0, most);
    o->write_buffer_size = clamp_u64(o->write_buffer_size, 0, most / 4);
    o->cache_size = clamp_u64(o->cache_size, 0, most);
}

odb_status options_resolve(struct os *os, const odb_options *opt, odb_options *out)
{
    odb_options o = odb_options_default();
    unsigned cpus = os_cpu_count(os);
    odb_status st;

    if (opt) {
        if (opt->size < offsetof(odb_options, memory_budget) + sizeof opt->memory_budget)
            return err_set(ODB_INVALID, "odb_options.size is %zu; use odb_options_default()",
                           opt->size);
        memcpy(&o, opt, opt->size < sizeof o ? opt->size : sizeof o);
        o.size = sizeof o;
    }
    st = options_check(&o);
    if (st != ODB_OK)
        return st;
    options_divide(&o);
    if (!o.families) {
        o.families = api_standard_families;
        o.family_count = API_STANDARD_FAMILIES;
    }
    if (o.durability == ODB_DURABLE_DEFAULT)
        o.durability = ODB_DURABLE_OS;
    default_u32(&o.background_jobs, clamp_u64(cpus, 2, 4)); /* a flush must not wait for a merge */
    default_u64(&o.write_buffer_size, 128 * MB);
    default_u32(&o.write_buffers, 3);
    default_u32(&o.l0_trigger, 4);
    default_u64(&o.target_file_size, 64 * MB);
    default_u64(&o.level_base_size, 256 * MB);
    default_u32(&o.level_multiplier, 10);
    default_u32(&o.block_size, 4096);
    if (o.compression == ODB_COMPRESSION_DEFAULT)
        o.compression = lz4_available() ? ODB_COMPRESSION_LZ4 : ODB_COMPRESSION_NONE;
    default_u32(&o.lz4_acceleration, 1);
    if (o.filter_bits == 0)
        o.filter_bits = 10;
    default_u32(&o.merge_split, 4);
    default_u64(&o.cache_size, 64 * MB);
    default_u32(&o.open_tables, 512);
    default_u32(&o.ring_size, MB);
    default_u64(&o.log_segment_size, 64 * MB);
    default_u64(&o.log_limit, GB);
    default_u64(&o.disk_reserve, 16 * MB);
    default_u64(&o.event_log_size, 2 * MB);
    options_cap(&o);
    *out = o;
    return ODB_OK;
}

odb_status options_resolve_cf(const odb_options *base, const odb_cf_options *opt, odb_options *out)
{
    odb_cf_options f = odb_cf_options_default();
    odb_options o = *base;
    odb_status st;

    if (opt) {
        memcpy(&f, opt, opt->size < sizeof f ? opt->size : sizeof f);
        o.write_buffer_size = f.write_buffer_size;
        o.write_buffers = f.write_buffers;
        o.l0_trigger = f.l0_trigger;
        o.target_file_size = f.target_file_size;
        o.level_base_size = f.level_base_size;
        o.level_multiplier = f.level_multiplier;
        o.block_size = f.block_size;
        o.compression = f.compression;
        o.lz4_acceleration = f.lz4_acceleration;
        o.filter_bits = f.filter_bits;
        o.merge_split = f.merge_split;
        st = options_check(&o);
        if (st != ODB_OK)
            return st;
        o.no_auto_compact = f.no_auto_compact || base->no_auto_compact;
    }
    default_u64(&o.write_buffer_size, base->write_buffer_size);
    default_u32(&o.write_buffers, base->write_buffers);
    default_u32(&o.l0_trigger, base->l0_trigger);
    default_u64(&o.target_file_size, base->target_file_size);
    default_u64(&o.level_base_size, base->level_base_size);
    default_u32(&o.level_multiplier, base->level_multiplier);
    default_u32(&o.block_size, base->block_size);
    if (o.compression == ODB_COMPRESSION_DEFAULT)
        o.compression = base->compression;
    default_u32(&o.lz4_acceleration, base->lz4_acceleration);
    if (o.filter_bits == 0)
        o.filter_bits = base->filter_bits;
    default_u32(&o.merge_split, base->merge_split);
    options_cap(&o);
    *out = o;
    return ODB_OK;
}
