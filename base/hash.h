/* base/hash.h -- the door to XXH3 (the xxhash package). */
#ifndef ODB_BASE_HASH_H
#define ODB_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

/* XXH3, 64 bits, no seed: the hash of keys in filters and blocks. Part of the file format. */
uint64_t hash64(const void *data, size_t len);

/* Fold one more word into a hash. Part of the file format. */
static inline uint64_t hash_mix(uint64_t h, uint64_t word)
{
    h ^= word + 0x9e3779b97f4a7c15u + (h << 6) + (h >> 2);
    h ^= h >> 32;
    h *= 0xd6e8feb86659fd93u;
    h ^= h >> 32;
    return h;
}

/* A checksum that is right in one place only: `salt` stands for the file (see salt_for_file),
 * `pos` for the place in it. A block moved, swapped or left over from another file fails. */
static inline uint64_t hash_salted(const void *data, size_t len, uint64_t salt, uint64_t pos)
{
    return hash_mix(hash_mix(hash64(data, len), salt), pos);
}

/* The salt of a file, from the database it belongs to and its never reused number. */
static inline uint64_t salt_for_file(uint64_t db_id, uint64_t file_no)
{
    return hash_mix(hash_mix(0x4f70656e44420a01u, db_id), file_no);
}

#endif
