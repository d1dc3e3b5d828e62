// backlog_read.c: blocks and single records back from backlog files.
//
// A record is valid by itself: its header's checksum holds its place, its own that of the payload. So a damaged block header costs nothing
// here, a damaged record header costs the way to the next valid one (at multiples of 8), a damaged payload that record.
#include "src/base/crc.h"
#include "src/base/err.h"
#include "src/base/mem.h"
#include "src/store/backlog_format.h"
#include "src/store/log_window.h"

enum { QUEUE_AT = 16, SALT_AT = 8 }; // in a block header

int
backlog_read_salt(const struct io *io, int fd, uint64_t queue, uint32_t file, uint64_t *ret_salt)
{
    uint8_t bytes[FILE_HEADER_BYTES] = {0};
    size_t n = 0;
    int err = io_read_all(io, fd, bytes, sizeof bytes, 0, &n);
    return err == 0 ? file_header_decode(bytes, queue, file, ret_salt) : err;
}

// Opens the file and reads so much of the block.
static int
read_part(const struct io *io, const char *path, uint64_t queue, const struct backlog_block *block,
          uint32_t from, uint8_t *to, size_t len, uint64_t *ret_salt)
{
    size_t n = 0;
    int fd, err = io->open(io->ctx, path, IO_READ, &fd);
    if (err != 0)
        return err;
    err = backlog_read_salt(io, fd, queue, block->file, ret_salt);
    if (err == 0)
        err = io_read_all(io, fd, to, len, (uint64_t)block->offset + from, &n);
    else if (err == -LE_NOTFOUND)
        err = -LE_CORRUPT;
    (void)io->close(io->ctx, fd); // only read from
    if (err == 0)
        memset(to + n, 0, len - n); // a file that was cut short: what is not there is damaged
    return err;
}

int
backlog_read_block(const struct io *io, const char *data_dir, uint64_t queue, bool is_transient,
                   const struct backlog_block *block, uint8_t **ret)
{
    char path[IO_PATH_MAX];
    uint64_t salt = 0;
    int err = backlog_file_path(data_dir, queue, is_transient, block->file, path);
    if (err != 0)
        return err;
    if (block->bytes < BLOCK_HEADER_BYTES || block->bytes > BLOCK_HEADER_BYTES + BLOCK_RECORD_MAX)
        return -LE_CORRUPT;
    uint8_t *bytes = mem_alloc(block->bytes);
    if (bytes == NULL)
        return -LE_NOMEM;
    err = read_part(io, path, queue, block, 0, bytes, block->bytes, &salt);
    if (err != 0) {
        mem_free(bytes);
        return err;
    }
    put_u64(bytes + QUEUE_AT, queue); // for backlog_block_next, whatever the header became
    put_u64(bytes + SALT_AT, salt);
    *ret = bytes;
    return 0;
}

// A message record that lies there whole, by its header.
static bool
is_record_at(const uint8_t *bytes, const struct backlog_block *block, uint32_t at, struct record_header *ret)
{
    uint32_t left = block->bytes - block->table - at;
    uint32_t place = block_record_place(get_u64(bytes + SALT_AT), block->offset + at);
    return left >= RECORD_HEADER_BYTES && record_header_decode(bytes + at, place, ret) == 0 &&
           ret->type == RECORD_MESSAGE && ret->payload_bytes <= left - RECORD_HEADER_BYTES;
}

static int
decode(const uint8_t *bytes, const struct backlog_block *block, uint32_t at, const struct record_header *h,
       struct backlog_record *ret)
{
    const uint8_t *payload = bytes + at + RECORD_HEADER_BYTES;
    struct message_fixed m;
    struct message_ref ref;
    if (crc32c(0, payload, h->payload_bytes) != h->payload_crc && !BACKLOG_BUG(BLG_BUG_IGNORE_CRC))
        return -LE_CORRUPT;
    if (message_fixed_decode(slice_of(payload, h->payload_bytes), &m) != 0 || m.ref_count != 1)
        return -LE_CORRUPT;
    message_ref_decode(payload + MESSAGE_FIXED_BYTES, &ref);
    if (ref.queue != get_u64(bytes + QUEUE_AT) || ref.seq < block->first_seq || ref.seq > block->last_seq)
        return -LE_CORRUPT;
    *ret = (struct backlog_record){
        .seq = ref.seq,
        .expires_ms = ref.expires_ms,
        .epoch = ref.epoch,
        .flags = ref.flags,
        .content = {m.flags, m.priority, m.route_bytes, m.header_bytes, m.body_bytes, m.expiry_ms,
                    m.published_ms,
                    m.large_file == 0 ? payload + MESSAGE_FIXED_BYTES + MESSAGE_REF_BYTES : NULL},
        .large_file = m.large_file,
        .large_crc = m.large_crc,
        .offset = block->offset + at,
        .len = RECORD_HEADER_BYTES + h->payload_bytes,
    };
    return 1;
}

int
backlog_block_next(const uint8_t *bytes, const struct backlog_block *block, uint32_t *at,
                   struct backlog_record *ret)
{
    struct record_header h;
    uint32_t here = LV_MAX(*at, (uint32_t)BLOCK_HEADER_BYTES);
    uint32_t end = block->bytes - block->table;
    if (here >= end)
        return 0;
    if (is_record_at(bytes, block, here, &h)) {
        *at = here + align_up(RECORD_HEADER_BYTES + h.payload_bytes, RECORD_ALIGN_BYTES);
        return decode(bytes, block, here, &h, ret);
    }
    do
        here += RECORD_ALIGN_BYTES;
    while (here < end && !is_record_at(bytes, block, here, &h));
    *at = here;
    return -LE_CORRUPT;
}

static int
check_table(const uint8_t *bytes, const struct backlog_block *block, uint64_t salt)
{
    struct record_header h;
    uint32_t place = block_record_place(salt, block->offset + block->bytes - block->table);
    bool is_good = record_header_decode(bytes, place, &h) == 0 && h.type == RECORD_TABLE &&
                   h.payload_bytes == block->table - RECORD_HEADER_BYTES &&
                   crc32c(0, bytes + RECORD_HEADER_BYTES, h.payload_bytes) == h.payload_crc;
    return is_good ? 0 : -LE_CORRUPT;
}

int
backlog_read_table(const struct io *io, const char *data_dir, uint64_t queue, bool is_transient,
                   const struct backlog_block *block, struct backlog_due **ret, uint32_t *ret_count)
{
    char path[IO_PATH_MAX];
    uint64_t salt = 0;
    uint32_t count = (block->table - RECORD_HEADER_BYTES) / TABLE_ENTRY_BYTES;
    int err = backlog_file_path(data_dir, queue, is_transient, block->file, path);
    if (err != 0 || block->table < table_bytes(1) || block->table > block->bytes - BLOCK_HEADER_BYTES)
        return err != 0 ? err : -LE_NOTFOUND;
    uint8_t *bytes = mem_alloc(block->table);
    struct backlog_due *entries = bytes != NULL ? mem_alloc(count * sizeof(*entries)) : NULL;
    err = entries == NULL
              ? -LE_NOMEM
              : read_part(io, path, queue, block, block->bytes - block->table, bytes, block->table, &salt);
    if (err == 0)
        err = check_table(bytes, block, salt);
    if (err == 0)
        err = table_decode(bytes + RECORD_HEADER_BYTES, block, count, entries);
    mem_free(bytes);
    if (err != 0) {
        mem_free(entries);
        return err;
    }
    *ret = entries;
    *ret_count = count;
    return 0;
}

static bool
the_place(const void *items, size_t n, struct msglog_place *ret_place, bool *ret_is_from_backlog)
{
    *ret_place = *(const struct msglog_place *)items;
    *ret_is_from_backlog = true;
    return true;
}

int
backlog_read(const struct io *io, const char *data_dir, struct msglog *log, uint64_t queue, bool is_transient,
             const struct msglog_place *place, struct msglog_record *ret)
{
    struct window w;
    window_init(&w, io, data_dir, log, queue, is_transient);
    int err = window_take(&w, place, 1, 0, the_place, ret);
    window_fini(&w);
    return err;
}
