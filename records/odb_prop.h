/* records/odb_prop.h -- properties: named, typed values that records and edges carry.
 *
 *     odb_prop props[] = {
 *         odb_prop_text("lang", "en"),
 *         odb_prop_int("pages", 672),
 *         odb_prop_real("price", 59.9),
 *     };
 *
 * Names are 1 to 255 bytes of UTF-8 and differ within one set; sets are stored in the order of their
 * names. A text is UTF-8, a real is finite, a JSON text is checked when it is written.
 */
#ifndef ODB_PROP_H
#define ODB_PROP_H

#include "base/odb_types.h"

#ifdef __cplusplus
extern "C" {
#endif

#define ODB_PROP_NAME_MAX 255   /* bytes of a name */
#define ODB_PROP_MAX      65535 /* properties of one record or edge */

/* Stored: a number that has shipped keeps its meaning. */
typedef enum odb_prop_type {
    ODB_PROP_NULL = 0,
    ODB_PROP_BOOL = 1,
    ODB_PROP_INT = 2,
    ODB_PROP_REAL = 3,
    ODB_PROP_TEXT = 4,
    ODB_PROP_BYTES = 5,
    ODB_PROP_JSON = 6, /* one JSON document, as text */
} odb_prop_type;

typedef struct odb_prop_value {
    odb_prop_type type;
    union {
        bool boolean;
        int64_t integer;
        double real;
        odb_slice bytes; /* TEXT, BYTES, JSON; lent by whoever made it */
    } u;
} odb_prop_value;

typedef struct odb_prop {
    odb_slice name;
    odb_prop_value value;
} odb_prop;

static inline odb_prop odb_prop_null(const char *name)
{
    odb_prop p;

    memset(&p, 0, sizeof p);
    p.name = odb_s(name);
    return p;
}

static inline odb_prop odb_prop_bool(const char *name, bool value)
{
    odb_prop p = odb_prop_null(name);

    p.value.type = ODB_PROP_BOOL;
    p.value.u.boolean = value;
    return p;
}

static inline odb_prop odb_prop_int(const char *name, int64_t value)
{
    odb_prop p = odb_prop_null(name);

    p.value.type = ODB_PROP_INT;
    p.value.u.integer = value;
    return p;
}

static inline odb_prop odb_prop_real(const char *name, double value)
{
    odb_prop p = odb_prop_null(name);

    p.value.type = ODB_PROP_REAL;
    p.value.u.real = value;
    return p;
}

static inline odb_prop odb_prop_text(const char *name, const char *text)
{
    odb_prop p = odb_prop_null(name);

    p.value.type = ODB_PROP_TEXT;
    p.value.u.bytes = odb_s(text);
    return p;
}

static inline odb_prop odb_prop_bytes(const char *name, odb_slice bytes)
{
    odb_prop p = odb_prop_null(name);

    p.value.type = ODB_PROP_BYTES;
    p.value.u.bytes = bytes;
    return p;
}

static inline odb_prop odb_prop_json(const char *name, const char *text)
{
    odb_prop p = odb_prop_text(name, text);

    p.value.type = ODB_PROP_JSON;
    return p;
}

#ifdef __cplusplus
}
#endif
#endif
