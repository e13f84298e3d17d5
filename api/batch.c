/* api/batch.c -- batches as users hold them: the bytes of cf/batch.h and the database they belong to.
 *
 * 1. All families named in a batch belong to one database, and the batch is committed to no other.
 *    Numbers would else mean another family there. A batch that names only "default", or came from
 *    bytes, belongs to nobody and may go anywhere.
 *
 * Threads: one at a time per batch.
 */
#include "api/db_priv.h"

odb_status odb_batch_new(odb_batch **out)
{
    odb_batch *b;

    if (!out)
        return api_refuse_null("the place for the batch");
    b = mem_zalloc(1, sizeof *b);
    if (!b)
        return err_set(ODB_NOMEM, "no memory for a batch");
    *out = b;
    return ODB_OK;
}

void odb_batch_free(odb_batch *b)
{
    if (!b)
        return;
    batch_release(&b->ops);
    mem_free(b);
}

/* Invariant 1, and the sizes. */
static odb_status batch_check_op(odb_batch *b, const odb_cf *cf, odb_slice key, odb_slice value)
{
    odb_status st = b ? ODB_OK : api_refuse_null("the batch");

    if (st == ODB_OK && cf) {
        if (b->db && b->db != cf->db)
            return api_refuse_cf(b->db, cf);
        if (atomic_load_explicit(&cf->is_dropped, memory_order_relaxed))
            return api_refuse_cf(cf->db, cf);
    }
    if (st == ODB_OK)
        st = api_check_key(key);
    if (st == ODB_OK)
        st = api_check_value(value);
    return st;
}

odb_status odb_batch_put(odb_batch *b, odb_cf *cf, odb_slice key, odb_slice value)
{
    odb_status st = batch_check_op(b, cf, key, value);

    if (st == ODB_OK)
        st = batch_put(&b->ops, odb_cf_id(cf), key, value);
    if (st == ODB_OK && cf)
        b->db = cf->db;
    return st;
}

odb_status odb_batch_delete(odb_batch *b, odb_cf *cf, odb_slice key)
{
    odb_status st = batch_check_op(b, cf, key, odb_bytes(NULL, 0));

    if (st == ODB_OK)
        st = batch_delete(&b->ops, odb_cf_id(cf), key);
    if (st == ODB_OK && cf)
        b->db = cf->db;
    return st;
}

odb_status odb_commit(odb_db *db, const odb_batch *b, const odb_write *how)
{
    odb_status st = api_check_db(db);

    if (st == ODB_OK && !b)
        st = api_refuse_null("the batch");
    if (st == ODB_OK && b->db && b->db != db)
        st = err_set(ODB_INVALID, "the batch names families of another database handle");
    if (!how)
        how = &api_write_default;
    else if (st == ODB_OK)
        st = api_check_write(how);
    if (st != ODB_OK)
        return st;
    return b->ops.count ? db->ops.write_batch(db->self, b, how) : ODB_OK;
}

void odb_batch_clear(odb_batch *b)
{
    if (!b)
        return;
    batch_clear(&b->ops);
    b->db = NULL;
}

uint32_t odb_batch_count(const odb_batch *b)
{
    return b ? b->ops.count : 0;
}

odb_slice odb_batch_bytes(const odb_batch *b)
{
    return b ? buf_slice(&b->ops.ops) : odb_bytes(NULL, 0);
}

odb_status odb_batch_set_bytes(odb_batch *b, odb_slice bytes)
{
    odb_status st;

    if (!b)
        return api_refuse_null("the batch");
    if (!bytes.data && bytes.size)
        return api_refuse_bytes("batch", bytes, SIZE_MAX);
    st = batch_from_bytes(&b->ops, bytes);
    if (st == ODB_OK)
        b->db = NULL;
    return st;
}

void odb_batch_each(const odb_batch *b, bool (*each)(void *arg, const odb_op *op), void *arg)
{
    struct batch_op op;
    struct dec d;

    if (!b || !each)
        return;
    d = dec_from(buf_slice(&b->ops.ops));
    while (batch_next(&d, &op)) {
        odb_op shown = {op.kind == KIND_DELETE, op.family, op.key, op.value};

        if (!each(arg, &shown))
            return;
    }
}
