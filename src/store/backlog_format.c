// backlog_format.c: encoding and decoding of block headers and of the state. Offsets and the rules of validity are in docs/formats.md.
#include "src/store/backlog_format.h"
#include "src/base/crc.h"
#include "src/base/err.h"
#include "src/base/mem.h"

#define FILE_MAGIC  0x454c49464f474c42ull // "BLGOFILE"
#define BLOCK_MAGIC 0x4b434c424f474c42ull // "BLGOBLCK"
#define STATE_MAGIC 0x455441545347424cull // "LBGSTATE"

// LIMIT: ranges of kept numbers that a state may hold: 1 GiB of them.
enum { STATE_RANGES_MAX = 1 << 26 };
// LIMIT: kept numbers that a state may mean, whatever its ranges say.
#define STATE_KEPT_MAX (1ull << 32)
// LIMIT: ranges of delivery counts that a state may hold.
enum { STATE_COUNTS_MAX = 1 << 24 };
// LIMIT: files that a state may list.
enum { STATE_ENDS_MAX = 1 << 26 };
// LIMIT: bytes of what is dead: of half a terabyte of blocks.
enum { STATE_DEAD_MAX = 1 << 30 };

#ifdef LV_PLANTED_BUGS
unsigned backlog_planted_bugs;
#endif

void
file_header_encode(const struct file_header *h, uint8_t to[FILE_HEADER_BYTES])
{
    memset(to, 0, FILE_HEADER_BYTES);
    put_u64(to, FILE_MAGIC);
    put_u32(to + 8, BACKLOG_FORMAT_VERSION);
    put_u32(to + 12, MSGLOG_SECTOR_BYTES);
    put_u64(to + 16, h->queue);
    put_u32(to + 24, h->file);
    put_u64(to + 32, h->salt);
    put_u32(to + MSGLOG_SECTOR_BYTES - 4, crc32c(0, to, MSGLOG_SECTOR_BYTES - 4));
    memcpy(to + MSGLOG_SECTOR_BYTES, to, MSGLOG_SECTOR_BYTES);
}

int
file_header_decode(const uint8_t from[FILE_HEADER_BYTES], uint64_t queue, uint32_t file, uint64_t *ret_salt)
{
    for (int copy = 0; copy < 2; copy++, from += MSGLOG_SECTOR_BYTES) {
        if (get_u64(from) != FILE_MAGIC ||
            get_u32(from + MSGLOG_SECTOR_BYTES - 4) != crc32c(0, from, MSGLOG_SECTOR_BYTES - 4))
            continue;
        if (get_u32(from + 8) > BACKLOG_FORMAT_VERSION)
            return -LE_UNSUPPORTED;
        if (get_u64(from + 16) != queue || get_u32(from + 24) != file)
            continue;
        *ret_salt = get_u64(from + 32);
        return 0;
    }
    return -LE_NOTFOUND;
}

void
block_header_encode(const struct block_header *h, uint8_t to[BLOCK_HEADER_BYTES])
{
    memset(to, 0, BLOCK_HEADER_BYTES);
    put_u64(to, BLOCK_MAGIC);
    put_u64(to + 8, h->salt);
    put_u64(to + 16, h->queue);
    put_u64(to + 24, h->number);
    put_u64(to + 32, h->append);
    put_u64(to + 40, h->first_seq);
    put_u64(to + 48, h->last_seq);
    put_u64(to + 56, h->body_bytes);
    put_u64(to + 64, h->persistent_bytes);
    put_u32(to + 72, h->file);
    put_u32(to + 76, h->offset);
    put_u32(to + 80, h->payload_bytes);
    put_u32(to + 84, h->count);
    put_u32(to + 88, h->persistent);
    put_u32(to + 92, h->large);
    put_u32(to + 96, h->kind);
    put_u64(to + 104, h->reported_end);
    put_u32(to + 112, h->due_s);
    put_u32(to + 116, h->table);
    put_u32(to + BLOCK_HEADER_BYTES - 4, crc32c(0, to, BLOCK_HEADER_BYTES - 4));
}

static bool
is_sane(const struct block_header *h)
{
    return (h->kind == BACKLOG_CHAIN || h->kind == BACKLOG_LOOSE) && h->count > 0 && h->append > 0 &&
           h->append <= h->number && h->reported_end > 0 && h->reported_end <= h->append &&
           h->first_seq <= h->last_seq && h->count - 1 <= h->last_seq - h->first_seq &&
           h->persistent <= h->count && h->large <= h->count && h->persistent_bytes <= h->body_bytes &&
           h->table <= h->payload_bytes && (h->payload_bytes - h->table) / BLOCK_RECORD_BYTES >= h->count &&
           (h->table == 0 || h->table == table_bytes(h->count)) &&
           h->payload_bytes <=
               (h->count == 1 ? BLOCK_RECORD_MAX : BACKLOG_BLOCK_BYTES - BLOCK_HEADER_BYTES) &&
           h->payload_bytes <= UINT32_MAX - BLOCK_HEADER_BYTES - MSGLOG_SECTOR_BYTES - h->offset;
}

int
block_header_decode(const uint8_t from[BLOCK_HEADER_BYTES], const struct file_header *file, uint32_t offset,
                    struct block_header *ret)
{
    uint32_t crc = get_u32(from + BLOCK_HEADER_BYTES - 4);
    if (get_u64(from) != BLOCK_MAGIC ||
        (crc != crc32c(0, from, BLOCK_HEADER_BYTES - 4) && !BACKLOG_BUG(BLG_BUG_IGNORE_CRC)))
        return -LE_NOTFOUND;
    struct block_header h = {
        .queue = get_u64(from + 16),
        .salt = get_u64(from + 8),
        .number = get_u64(from + 24),
        .append = get_u64(from + 32),
        .first_seq = get_u64(from + 40),
        .last_seq = get_u64(from + 48),
        .body_bytes = get_u64(from + 56),
        .persistent_bytes = get_u64(from + 64),
        .file = get_u32(from + 72),
        .offset = get_u32(from + 76),
        .payload_bytes = get_u32(from + 80),
        .count = get_u32(from + 84),
        .persistent = get_u32(from + 88),
        .large = get_u32(from + 92),
        .kind = (uint8_t)get_u32(from + 96),
        .reported_end = get_u64(from + 104),
        .due_s = get_u32(from + 112),
        .table = get_u32(from + 116),
    };
    if (h.queue != file->queue || h.file != file->file || h.salt != file->salt || h.offset != offset ||
        !is_sane(&h))
        return -LE_NOTFOUND;
    *ret = h;
    return 0;
}

void
block_of_header(const struct block_header *h, struct backlog_block *ret)
{
    *ret = (struct backlog_block){
        .number = h->number,
        .first_seq = h->first_seq,
        .last_seq = h->last_seq,
        .body_bytes = h->body_bytes,
        .count = h->count,
        .persistent = h->persistent,
        .table = h->table,
        .large = (uint16_t)LV_MIN(h->large, (uint32_t)UINT16_MAX),
        .file = h->file,
        .offset = h->offset,
        .bytes = BLOCK_HEADER_BYTES + h->payload_bytes,
        .kind = h->kind,
        .due_s = h->table > 0 ? h->due_s : 0,
    };
}

// --- tables ---

void
table_entry_encode(const struct backlog_due *d, uint8_t to[TABLE_ENTRY_BYTES])
{
    put_u64(to, d->seq);
    put_u64(to + 8, (uint64_t)d->at_ms);
    put_u32(to + 16, d->offset);
    put_u32(to + 20, d->body_bytes);
    put_u64(to + 24, d->where);
}

int
table_decode(const uint8_t *from, const struct backlog_block *block, uint32_t count, struct backlog_due *to)
{
    uint64_t seq = block->first_seq, at = block->offset + BLOCK_HEADER_BYTES;
    uint64_t end = (uint64_t)block->offset + block->bytes - block->table;
    for (uint32_t i = 0; i < count; i++, from += TABLE_ENTRY_BYTES) {
        struct backlog_due *d = &to[i];
        *d = (struct backlog_due){.seq = get_u64(from),
                                  .at_ms = (int64_t)get_u64(from + 8),
                                  .offset = get_u32(from + 16),
                                  .body_bytes = get_u32(from + 20),
                                  .where = get_u64(from + 24)};
        bool is_good = d->seq >= seq && d->seq <= block->last_seq && d->at_ms >= 0 && d->offset >= at &&
                       d->offset % RECORD_ALIGN_BYTES == 0 && backlog_due_len(d) >= BLOCK_RECORD_BYTES &&
                       (uint64_t)d->offset + backlog_due_len(d) <= end;
        if (!is_good)
            return -LE_CORRUPT;
        seq = d->seq + 1;
        at = (uint64_t)d->offset + backlog_due_len(d);
    }
    return 0;
}

uint32_t
backlog_due_len(const struct backlog_due *d)
{
    return (d->where & BACKLOG_DUE_LARGE) != 0 ? (uint32_t)BLOCK_RECORD_BYTES : (uint32_t)d->where;
}

// --- state ---

// Neighbours with the same count are one range. Returns how many ranges there are; writes them if `to` is not NULL.
static size_t
count_ranges(const struct backlog_state *s, uint8_t *to)
{
    size_t ranges = 0;
    for (size_t i = 0, end; i < s->count_count; i = end, ranges++) {
        const struct backlog_count *c = &s->counts[i];
        for (end = i + 1; end < s->count_count && end - i < COUNT_RANGE_MAX; end++)
            if (s->counts[end].seq != c->seq + (end - i) || s->counts[end].count != c->count)
                break;
        if (to != NULL)
            count_range_encode(&(struct count_range){c->seq, (uint32_t)(end - i), c->count},
                               to + ranges * COUNT_RANGE_BYTES);
    }
    return ranges;
}

int
state_encode(uint64_t queue, const struct backlog_state *s, uint8_t **ret, size_t *ret_len)
{
    size_t ranges = 0;
    for (size_t i = 0; i < s->kept_count; i++)
        ranges += i == 0 || s->kept[i] != s->kept[i - 1] + 1;
    if (s->ends == NULL)
        return -LE_INVAL;
    if (ranges > STATE_RANGES_MAX || s->end_count > STATE_ENDS_MAX)
        return -LE_LIMIT;
    size_t counts = count_ranges(s, NULL);
    if (counts > STATE_COUNTS_MAX)
        return -LE_LIMIT;
    if (s->dead_bytes > STATE_DEAD_MAX)
        return -LE_LIMIT;
    size_t len = STATE_HEADER_BYTES + ranges * STATE_RANGE_BYTES + s->end_count * STATE_END_BYTES +
                 counts * COUNT_RANGE_BYTES + s->dead_bytes + 4;
    uint8_t *bytes = mem_calloc(1, len), *at;
    if (bytes == NULL)
        return -LE_NOMEM;
    put_u64(bytes, STATE_MAGIC);
    put_u32(bytes + 8, BACKLOG_FORMAT_VERSION);
    put_u32(bytes + 12, STATE_HEADER_BYTES);
    put_u64(bytes + 16, queue);
    put_u64(bytes + 24, s->block_end);
    put_u64(bytes + 32, s->cursor);
    put_u64(bytes + 40, ranges);
    put_u64(bytes + 48, s->end_count);
    put_u64(bytes + 56, counts);
    put_u64(bytes + 64, s->dead_count);
    put_u64(bytes + 72, s->dead_bytes);
    at = bytes + STATE_HEADER_BYTES;
    for (size_t i = 0, end; i < s->kept_count; i = end, at += STATE_RANGE_BYTES) {
        for (end = i + 1; end < s->kept_count && s->kept[end] == s->kept[end - 1] + 1;)
            end++;
        put_u64(at, s->kept[i]);
        put_u64(at + 8, end - i);
    }
    for (size_t i = 0; i < s->end_count; i++, at += STATE_END_BYTES) {
        put_u32(at, s->ends[i].file);
        put_u32(at + 4, s->ends[i].bytes);
    }
    (void)count_ranges(s, at);
    at += counts * COUNT_RANGE_BYTES;
    if (s->dead_bytes > 0)
        memcpy(at, s->dead, s->dead_bytes);
    at += s->dead_bytes;
    put_u32(at, crc32c(0, bytes, len - 4));
    *ret = bytes;
    *ret_len = len;
    return 0;
}

// The sum of what the ranges mean; UINT64_MAX: they do not ascend, or mean too much.
static uint64_t
count_kept(const uint8_t *at, uint64_t ranges)
{
    uint64_t sum = 0, end = 0;
    for (uint64_t i = 0; i < ranges; i++, at += STATE_RANGE_BYTES) {
        uint64_t first = get_u64(at), count = get_u64(at + 8);
        if (first < end || count == 0 || count > STATE_KEPT_MAX - sum || first > UINT64_MAX - count)
            return UINT64_MAX;
        sum += count;
        end = first + count;
    }
    return sum;
}

// 0, -LE_CORRUPT, -LE_NOMEM. *ret is left alone when there are none.
static int
decode_counts(const uint8_t *at, uint64_t ranges, struct backlog_count **ret, size_t *ret_count)
{
    struct count_range r;
    size_t sum = 0, n = 0;
    for (uint64_t i = 0; i < ranges; i++, sum += r.numbers)
        if (count_range_decode(at + i * COUNT_RANGE_BYTES, &r) != 0)
            return -LE_CORRUPT;
    if (sum == 0)
        return 0;
    struct backlog_count *counts = mem_alloc(sum * sizeof(*counts));
    if (counts == NULL)
        return -LE_NOMEM;
    for (uint64_t i = 0; i < ranges; i++) {
        if (count_range_decode(at + i * COUNT_RANGE_BYTES, &r) != 0)
            break; // it was good above
        for (uint32_t k = 0; k < r.numbers; k++)
            counts[n++] = (struct backlog_count){r.first + k, r.count};
    }
    *ret = counts;
    *ret_count = n;
    return 0;
}

// What follows the header of a state, and how much of it.
struct state_shape {
    uint64_t ranges, ends, counts, dead_count, dead_bytes;
    const uint8_t *kept_at, *ends_at, *counts_at, *dead_at;
};

static int
state_shape_of(struct slice bytes, uint64_t queue, struct state_shape *ret)
{
    if (bytes.len < STATE_HEADER_1_BYTES + 4 || get_u64(bytes.ptr) != STATE_MAGIC ||
        (get_u32(bytes.ptr + bytes.len - 4) != crc32c(0, bytes.ptr, bytes.len - 4) &&
         !BACKLOG_BUG(BLG_BUG_IGNORE_CRC)))
        return -LE_CORRUPT;
    uint32_t version = get_u32(bytes.ptr + 8),
             header = version < 2 ? STATE_HEADER_1_BYTES : STATE_HEADER_BYTES;
    if (version > BACKLOG_FORMAT_VERSION)
        return -LE_UNSUPPORTED;
    struct state_shape s = {.ranges = get_u64(bytes.ptr + 40),
                            .ends = get_u64(bytes.ptr + 48),
                            .counts = get_u64(bytes.ptr + 56)};
    if (bytes.len < header + 4u || get_u64(bytes.ptr + 16) != queue || s.ranges > STATE_RANGES_MAX ||
        s.ends > STATE_ENDS_MAX || s.counts > STATE_COUNTS_MAX)
        return -LE_CORRUPT;
    if (version >= 2) {
        s.dead_count = get_u64(bytes.ptr + 64);
        s.dead_bytes = get_u64(bytes.ptr + 72);
    }
    s.kept_at = bytes.ptr + header;
    s.ends_at = s.kept_at + s.ranges * STATE_RANGE_BYTES;
    s.counts_at = s.ends_at + s.ends * STATE_END_BYTES;
    s.dead_at = s.counts_at + s.counts * COUNT_RANGE_BYTES;
    uint64_t len = (uint64_t)(s.dead_at - bytes.ptr) + s.dead_bytes + 4;
    if (s.dead_bytes > STATE_DEAD_MAX || bytes.len != len)
        return -LE_CORRUPT;
    *ret = s;
    return 0;
}

int
state_decode(struct slice bytes, uint64_t queue, struct backlog_state *ret)
{
    struct state_shape s;
    int err = state_shape_of(bytes, queue, &s);
    uint64_t sum = err == 0 ? count_kept(s.kept_at, s.ranges) : 0;
    if (err != 0 || sum == UINT64_MAX)
        return err != 0 ? err : -LE_CORRUPT;
    uint64_t *kept = mem_alloc(LV_MAX(sum, 1u) * sizeof(*kept));
    struct backlog_end *list = kept != NULL ? mem_alloc(LV_MAX(s.ends, 1u) * sizeof(*list)) : NULL;
    uint8_t *dead = list != NULL && s.dead_bytes > 0 ? mem_alloc(s.dead_bytes) : NULL;
    struct backlog_count *counted = NULL;
    size_t counted_count = 0, count = 0;
    err = list == NULL || (s.dead_bytes > 0 && dead == NULL)
              ? -LE_NOMEM
              : decode_counts(s.counts_at, s.counts, &counted, &counted_count);
    if (err != 0) {
        mem_free(kept);
        mem_free(list);
        mem_free(dead);
        return err;
    }
    for (uint64_t i = 0; i < s.ranges; i++)
        for (uint64_t n = 0; n < get_u64(s.kept_at + i * STATE_RANGE_BYTES + 8); n++)
            kept[count++] = get_u64(s.kept_at + i * STATE_RANGE_BYTES) + n;
    for (uint64_t i = 0; i < s.ends; i++)
        list[i] = (struct backlog_end){get_u32(s.ends_at + i * STATE_END_BYTES),
                                       get_u32(s.ends_at + i * STATE_END_BYTES + 4)};
    if (dead != NULL)
        memcpy(dead, s.dead_at, s.dead_bytes);
    *ret = (struct backlog_state){
        .block_end = get_u64(bytes.ptr + 24),
        .cursor = get_u64(bytes.ptr + 32),
        .ends = list,
        .end_count = s.ends,
        .kept = kept,
        .kept_count = count,
        .counts = counted,
        .count_count = counted_count,
        .dead = dead,
        .dead_bytes = s.dead_bytes,
        .dead_count = s.dead_count,
    };
    return 0;
}

void
state_fini(struct backlog_state *s)
{
    mem_free((void *)(uintptr_t)s->kept);
    mem_free((void *)(uintptr_t)s->counts);
    mem_free(s->ends);
    mem_free(s->dead);
    *s = (struct backlog_state){0};
}

// --- names ---

static int
fits(int n)
{
    return n > 0 && n < IO_PATH_MAX ? 0 : -LE_LIMIT;
}

int
backlog_dir_path(const char *data_dir, bool is_transient, char *to)
{
    return fits(snprintf(to, IO_PATH_MAX, "%s/%s", data_dir, is_transient ? "transient" : "queues"));
}

int
backlog_queue_path(const char *data_dir, uint64_t queue, bool is_transient, char *to)
{
    return fits(snprintf(to, IO_PATH_MAX, "%s/%s/%016llx", data_dir, is_transient ? "transient" : "queues",
                         (unsigned long long)queue));
}

int
backlog_file_path(const char *data_dir, uint64_t queue, bool is_transient, uint32_t file, char *to)
{
    return fits(snprintf(to, IO_PATH_MAX, "%s/%s/%016llx/%08u.blg", data_dir,
                         is_transient ? "transient" : "queues", (unsigned long long)queue, file));
}

int
backlog_state_path(const char *data_dir, uint64_t queue, const char *name, char *to)
{
    return fits(snprintf(to, IO_PATH_MAX, "%s/queues/%016llx/%s", data_dir, (unsigned long long)queue, name));
}

bool
backlog_parse_file(const char *name, uint32_t *ret_file)
{
    // 8 digits or more: the number is 32 bits wide
    size_t digits = strspn(name, "0123456789");
    if (digits < 8 || digits > 10 || strcmp(name + digits, ".blg") != 0)
        return false;
    unsigned long long file = strtoull(name, NULL, 10);
    char again[32];
    snprintf(again, sizeof again, "%08llu.blg", file);
    if (file == 0 || file > UINT32_MAX - 1 || strcmp(again, name) != 0)
        return false;
    *ret_file = (uint32_t)file;
    return true;
}

bool
backlog_parse_queue(const char *name, uint64_t *ret_queue)
{
    if (strspn(name, "0123456789abcdef") != 16 || name[16] != '\0')
        return false;
    *ret_queue = strtoull(name, NULL, 16);
    return *ret_queue != 0;
}
