/* memory/odb_memory.h -- memories: a record, its vector and its edges as one thing; documents and their
 * chunks; and the calls of the original OpenDB under the names its documents use.
 *
 *     float e[3] = {1, 0, 0};
 *     odb_memory m = odb_memory_make("user_17/note_3", "prefers short answers");
 *     odb_similar_list near;
 *
 *     m.embedding = e;
 *     m.dim = 3;
 *     m.importance = 0.8f;
 *     st = odb_insert_memory(db, &m);                        // record, index rows, vector: one commit
 *     st = odb_search_similar(db, query, 3, 10, &near);
 *     st = odb_memory_delete(db, NULL, m.id, ODB_CASCADE_EDGES);
 *
 * A memory is stored as a record (records/odb_record.h) and, when it has an embedding, as a vector of the
 * same id (vector/odb_vector.h); edges (graph/odb_graph.h) may lead from and to it. All the parts of a
 * write are one commit: no crash and no reader ever meets a record without its vector or an edge of one
 * side. Where more is asked for than these calls give, use those of the parts: they work on the same
 * data.
 *
 * Writes take a transaction, or NULL: then they commit by themselves, and try again when somebody else got
 * there first, before they answer ODB_CONFLICT. Reads say where they look (odb_now, odb_asof, odb_in).
 */
#ifndef ODB_MEMORY_H
#define ODB_MEMORY_H

#include "graph/odb_graph.h"
#include "records/odb_scan.h"
#include "vector/odb_vector.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ==== memories ==== */

/* A memory as it shall be written. Made by odb_memory_make(), then changed; everything is borrowed. */
typedef struct odb_memory {
    size_t size;            /* sizeof(odb_memory) */
    odb_slice id;           /* 1 to ODB_RECORD_ID_MAX bytes */
    odb_slice content;      /* any bytes */
    const float *embedding; /* `dim` finite numbers */
    uint32_t dim;      /* as the vectors of the database have; 0: not to be searched by likeness */
    float importance;  /* brought to 0..1; not-a-number is ODB_INVALID. Default 0.5 */
    int64_t timestamp; /* microseconds since 1970. Default ODB_TIME_NOW */
    const odb_prop *props; /* the original's metadata: any names, each once */
    size_t prop_count;
} odb_memory;

static inline odb_memory odb_memory_make(const char *id, const char *content)
{
    odb_memory m;

    memset(&m, 0, sizeof m);
    m.size = sizeof m;
    m.id = odb_s(id);
    m.content = odb_s(content);
    m.importance = 0.5f;
    m.timestamp = ODB_TIME_NOW;
    return m;
}

/* Write a memory, new or in place of another of that id: its record, and its vector or, with dim 0, no
 * vector. `flags` as in odb_record_put. Everything is checked before anything is written. ODB_INVALID
 * (the text tells what; a wrong dimension is one), and as odb_record_put. */
ODB_API ODB_MUST_CHECK odb_status odb_memory_put(odb_db *db, odb_txn *txn, const odb_memory *m,
                                                 unsigned flags);

/* Of odb_memory_delete and odb_document_delete, besides those of odb_record_delete: */
#define ODB_CASCADE_EDGES 0x100u /* and every edge from it and to it */

/* Delete a memory with its vector; its edges stay unless the flag says otherwise. One that is not there is
 * ODB_OK, unless ODB_MUST_EXIST. A cascade over very many edges makes a large transaction: ODB_TOO_LARGE
 * when it passes the limit of transactions; unlink in pieces then (odb_unlink_node). */
ODB_API ODB_MUST_CHECK odb_status odb_memory_delete(odb_db *db, odb_txn *txn, odb_slice id,
                                                    unsigned flags);

/* ==== documents ==== */

/* Stored: a number that has shipped keeps its meaning. */
typedef enum odb_file_type {
    ODB_FILE_UNKNOWN = 0,
    ODB_FILE_TEXT = 1,
    ODB_FILE_PDF = 2,
    ODB_FILE_DOCX = 3,
    ODB_FILE_AUDIO = 4,
    ODB_FILE_VIDEO = 5,
    ODB_FILE_IMAGE = 6,
} odb_file_type;

/* By the extension, without its dot, large or small letters: "pdf" is ODB_FILE_PDF. */
ODB_API odb_file_type odb_file_type_of(odb_slice extension);
/* "PDF document"; "Unknown file type" for numbers that mean nothing. Static. */
ODB_API const char *odb_file_type_name(odb_file_type type);

/* How far a document has come. Stored. */
typedef enum odb_document_status {
    ODB_DOCUMENT_QUEUED = 0,
    ODB_DOCUMENT_PROCESSING = 1,
    ODB_DOCUMENT_COMPLETED = 2,
    ODB_DOCUMENT_FAILED = 3,
} odb_document_status;

/* The relation from a document to each of its chunks. */
#define ODB_REL_HAS_CHUNK "has_chunk"

/* Made by odb_document_make(), then changed; everything is borrowed. */
typedef struct odb_document {
    size_t size; /* sizeof(odb_document) */
    odb_memory
        memory; /* id, the extracted text as content, embedding, importance, time, properties */
    odb_slice filename;
    odb_file_type file_type;
    uint64_t file_size; /* bytes */
    odb_document_status status;
} odb_document;

/* A document whose type follows from the name of its file. Status ODB_DOCUMENT_COMPLETED. */
ODB_API odb_document odb_document_make(const char *id, const char *filename, uint64_t file_size,
                                       const char *text);

/* A piece of a document. Made by odb_chunk_make(). */
typedef struct odb_chunk {
    size_t size;       /* sizeof(odb_chunk) */
    odb_memory memory; /* id, content, embedding, properties */
    uint64_t
        start;    /* the first character of the document's text that it holds, and the one behind */
    uint64_t end; /* the last; counted in characters as the original does, not in bytes */
} odb_chunk;

static inline odb_chunk odb_chunk_make(const char *id, const char *content, uint64_t start,
                                       uint64_t end)
{
    odb_chunk c;

    memset(&c, 0, sizeof c);
    c.size = sizeof c;
    c.memory = odb_memory_make(id, content);
    c.start = start;
    c.end = end;
    return c;
}

/* Store a document, its chunks, their vectors and an edge has_chunk to each, of weight 1 + its place (so
 * that chunks come back in order): one commit. Chunks of an older version of the document that are not
 * among the new ones are deleted with it. `flags`: ODB_INSERT_ONLY or ODB_UPDATE_ONLY, of the document's
 * record. ODB_INVALID also for a chunk whose end is before its start, or whose id is the document's. */
ODB_API ODB_MUST_CHECK odb_status odb_document_put(odb_db *db, odb_txn *txn,
                                                   const odb_document *doc, const odb_chunk *chunks,
                                                   size_t count, unsigned flags);

/* Delete a document, its chunks, their vectors and the edges between them; with ODB_CASCADE_EDGES all
 * other edges of the document and the chunks too. ODB_MUST_EXIST as in odb_record_delete. */
ODB_API ODB_MUST_CHECK odb_status odb_document_delete(odb_db *db, odb_txn *txn, odb_slice id,
                                                      unsigned flags);

typedef struct odb_record_list {
    odb_record **record; /* good until the release */
    size_t count;
    uint64_t damaged; /* passed over: what is stored there cannot be read as a record */
} odb_record_list;

/* The chunks of a document, in order. Release the list with odb_record_list_release(). */
ODB_API ODB_MUST_CHECK odb_status odb_document_chunks(odb_at at, odb_slice id,
                                                      odb_record_list *out);

/* NULL and an empty list are fine. */
ODB_API void odb_record_list_release(odb_record_list *list);

/* ---- cutting a text ---- */

typedef enum odb_chunking {
    ODB_CHUNK_CHARS =
        0, /* pieces of `target` characters, each beginning `overlap` before the end of
                                 the one before */
    ODB_CHUNK_PARAGRAPHS =
        1, /* whole paragraphs (an empty line ends one), as many as fit into `target`;
                                 one that is longer than that is cut by characters */
} odb_chunking;

/* Called for each piece, in order; the slice lends bytes of the text. Returning false ends it:
 * ODB_CANCELLED. */
typedef bool odb_chunk_each(void *arg, odb_slice piece, uint64_t start, uint64_t end);

/* Cut UTF-8 into pieces of at most `target` characters (at least 1; `overlap` below it). Nothing of the
 * text is left out, but for the white space between paragraphs. ODB_INVALID: the text is not UTF-8, or
 * the numbers make no sense; no piece was given. */
ODB_API ODB_MUST_CHECK odb_status odb_chunk_text(odb_slice text, size_t target, size_t overlap,
                                                 odb_chunking how, odb_chunk_each *each, void *arg);

/* ==== checking ==== */

typedef struct odb_memory_report {
    size_t size;             /* sizeof(odb_memory_report), set by the caller */
    uint64_t records;        /* looked at */
    uint64_t lost_vectors;   /* records that say they have a vector, and have none */
    uint64_t unsaid_vectors; /* records that have one and say they have none */
    uint64_t
        lost_chunks; /* chunks their document does not lead to, documents that say another number */
    uint64_t bare_vectors; /* vectors of no record: allowed, so not a fault */
} odb_memory_report;

/* Compare records, vectors and the chunks of documents, at one moment. `each` (may be NULL) is called
 * with every fault. ODB_OK: it was compared; whether all is well the report says. Any other status: it
 * could not be compared to the end. */
ODB_API ODB_MUST_CHECK odb_status odb_memories_check(odb_at at, odb_memory_report *out,
                                                     void (*each)(void *arg, odb_slice id,
                                                                  const char *fault),
                                                     void *arg);

/* ==== the original's calls ====
 *
 * What the documents of OpenDB call insert_memory, get_related and so on. Each is the call named beside
 * it, looking at this moment and committing by itself. The others have names of their own already: odb_put,
 * odb_get, odb_delete, odb_exists, odb_link, odb_unlink, odb_txn_begin, odb_flush. Edges come sorted by
 * relation and node, not in the order in which they were made. */

ODB_API ODB_MUST_CHECK odb_status odb_insert_memory(odb_db *db,
                                                    const odb_memory *m); /* odb_memory_put */
ODB_API ODB_MUST_CHECK odb_status odb_get_memory(odb_db *db, odb_slice id,
                                                 odb_record **out); /* odb_record_get */
ODB_API ODB_MUST_CHECK odb_status
odb_delete_memory(odb_db *db, odb_slice id); /* odb_memory_delete; edges stay */

/* Ids that begin with `prefix` (empty: all), in order; no record is read. Release the list. */
typedef struct odb_id_list {
    odb_slice *id; /* good until the release */
    size_t count;
    void *memory; /* the library's */
} odb_id_list;
ODB_API ODB_MUST_CHECK odb_status odb_list_memory_ids(odb_db *db, odb_slice prefix,
                                                      odb_id_list *out);
ODB_API void odb_id_list_release(odb_id_list *list);

/* Their records. One that is damaged is counted and passed over. */
ODB_API ODB_MUST_CHECK odb_status odb_list_memories(odb_db *db, odb_slice prefix,
                                                    odb_record_list *out);

ODB_API ODB_MUST_CHECK odb_status odb_get_related(odb_db *db, odb_slice id, odb_slice relation,
                                                  odb_id_list *out);
ODB_API ODB_MUST_CHECK odb_status odb_get_outgoing(odb_db *db, odb_slice id,
                                                   odb_edge_list *out); /* odb_outgoing */
ODB_API ODB_MUST_CHECK odb_status odb_get_incoming(odb_db *db, odb_slice id,
                                                   odb_edge_list *out); /* odb_incoming */

typedef struct odb_similar {
    odb_slice id;
    float distance;     /* by the metric of the database; the original's is ODB_METRIC_L2 */
    odb_record *record; /* the list's */
} odb_similar;

typedef struct odb_similar_list {
    odb_similar *hit; /* nearest first, ids of equal distance in order; good until the release */
    size_t count;
} odb_similar_list;

/* The `k` memories whose embeddings are nearest to `query`, with their records, at one moment. Vectors
 * without a record are left out and take nobody's place. Fewer when there are not so many. Release the
 * list. ODB_INVALID: another dimension than the stored ones, k = 0. */
ODB_API ODB_MUST_CHECK odb_status odb_search_similar(odb_db *db, const float *query, uint32_t dim,
                                                     uint32_t k, odb_similar_list *out);
/* NULL and an empty list are fine. */
ODB_API void odb_similar_list_release(odb_similar_list *list);

/* Never needed: the index follows every commit. odb_vec_rebuild, with everything as it is. */
ODB_API ODB_MUST_CHECK odb_status odb_rebuild_vector_index(odb_db *db);

#ifdef __cplusplus
}
#endif
#endif
