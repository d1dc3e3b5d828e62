// fuzz_recover: segment files out of nothing, or of a real log with bytes changed; the commit log opens them, reads all that lives, goes on
// writing, and opens again.
//
// Input: a byte of mode. Mode 0 describes segments, groups and records field by field, and checksums are made to fit (so that what is
// behind them is reached); small numbers, so that they meet. Mode 1 begins with a log that was written by the log itself: bytes are
// changed in its files, each change three bytes of place and one of value; mode 2 mends the checksums of headers afterwards.
// Held against it: no crash, leak or endless memory; a record that recovery found without damage anywhere can be read; what is
// published after it is there at the next start.
#include "src/base/crc.h"
#include "src/base/err.h"
#include "src/base/mem.h"
#include "src/store/log_core.h"
#include "tests/sim/powercut.h"

enum { SEGMENT = 16384, SEGMENTS = 4, GROUPS_MAX = 24, RECORDS_MAX = 16 };

struct input {
    const uint8_t *at, *end;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t
take(struct input *in)
{
    return in->at < in->end ? *in->at++ : 0;
}

// Small numbers mostly; a few that try the ends of the scale.
static uint64_t
number(struct input *in)
{
    uint8_t b = take(in);
    return b < 240 ? b % 24 : b < 250 ? UINT64_MAX - (b - 240u) : (uint64_t)1 << (b - 250u) * 10;
}

static uint64_t
place(struct input *in)
{
    uint8_t b = take(in);
    return b < 250 ? (uint64_t)(b % 33) * 512 : number(in);
}

// --- mode 0 ---

static uint32_t
message(struct input *in, uint8_t *to)
{
    uint8_t shape = take(in), refs = take(in) % 4, len = take(in);
    struct message_fixed m = {.tx = shape % 2 == 0 ? 0 : number(in),
                              .ref_count = refs,
                              .content_bytes = len,
                              .route_bytes = len / 4,
                              .body_bytes = len - len / 4u,
                              .large_file = shape % 16 == 15 ? number(in) : 0};
    if (shape / 16 == 15)
        m.ref_count = (uint32_t)number(in);
    if (shape / 16 == 14)
        m.content_bytes = (uint32_t)number(in);
    message_fixed_encode(&m, to);
    uint8_t *at = to + MESSAGE_FIXED_BYTES;
    for (unsigned i = 0; i < refs; i++, at += MESSAGE_REF_BYTES)
        message_ref_encode(&(struct message_ref){number(in), number(in), 0, 1, 0}, at);
    memset(at, 'x', len);
    return (uint32_t)(at - to) + (m.large_file == 0 ? len : 0);
}

static uint32_t
payload(struct input *in, uint16_t type, uint8_t *to)
{
    if (type == RECORD_MESSAGE)
        return message(in, to);
    if (type == RECORD_ACK) {
        uint8_t ranges = take(in) % 5;
        put_u64(to, take(in) % 2 == 0 ? 0 : number(in));
        put_u64(to + 8, number(in));
        put_u32(to + 16, ranges);
        put_u32(to + 20, 0);
        for (unsigned i = 0; i < ranges; i++) {
            put_u64(to + ACK_FIXED_BYTES + i * ACK_RANGE_BYTES, number(in));
            put_u64(to + ACK_FIXED_BYTES + i * ACK_RANGE_BYTES + 8, number(in));
        }
        return ACK_FIXED_BYTES + (uint32_t)ranges * ACK_RANGE_BYTES;
    }
    if (type == RECORD_COUNT) {
        uint8_t ranges = take(in) % 5;
        put_u64(to, number(in));
        put_u32(to + 8, ranges);
        put_u32(to + 12, 0);
        for (unsigned i = 0; i < ranges; i++) {
            put_u64(to + COUNT_FIXED_BYTES + i * COUNT_RANGE_BYTES, number(in));
            put_u32(to + COUNT_FIXED_BYTES + i * COUNT_RANGE_BYTES + 8, (uint32_t)number(in));
            put_u32(to + COUNT_FIXED_BYTES + i * COUNT_RANGE_BYTES + 12, (uint32_t)number(in));
        }
        return COUNT_FIXED_BYTES + (uint32_t)ranges * COUNT_RANGE_BYTES;
    }
    put_u64(to, number(in));
    put_u64(to + 8, number(in));
    return 16;
}

// One group at `offset`; returns where it ends.
static uint32_t
group(struct input *in, const struct segment_header *s, uint64_t number_of, uint32_t offset, uint32_t *prev,
      uint8_t *segment)
{
    static uint8_t bytes[GROUP_HEADER_BYTES + RECORDS_MAX * 1024];
    uint8_t odd = take(in), count = take(in) % RECORDS_MAX;
    struct group_header g = {.generation = s->generation,
                             .salt = s->salt,
                             .number = number_of,
                             .offset = offset,
                             .prev_crc = odd % 16 == 1 ? 7 : *prev,
                             .synced = odd % 4 == 0 ? offset : (uint32_t)place(in)};
    uint32_t at = GROUP_HEADER_BYTES;
    memset(bytes, 0, sizeof bytes);
    for (unsigned i = 0; i < count; i++) {
        uint16_t type = (uint16_t)(take(in) % 9);
        struct record_header h = {.type = type};
        h.payload_bytes = payload(in, type, bytes + at + RECORD_HEADER_BYTES);
        h.payload_crc = crc32c(0, bytes + at + RECORD_HEADER_BYTES, h.payload_bytes);
        if (odd % 16 == 2)
            h.payload_bytes = (uint32_t)number(in);
        record_header_encode(&h, record_place(s->generation, offset + at), bytes + at);
        g.records_crc = crc32c(g.records_crc, bytes + at, RECORD_HEADER_BYTES);
        at += align_up(RECORD_HEADER_BYTES + h.payload_bytes % 1000, RECORD_ALIGN_BYTES);
    }
    g.record_count = odd % 16 == 3 ? count + 1u : count;
    g.payload_bytes = odd % 16 == 5 ? (uint32_t)number(in) : at - GROUP_HEADER_BYTES;
    group_header_encode(&g, bytes);
    *prev = g.crc;
    if (odd % 16 == 6)
        bytes[5] ^= 1;
    memcpy(segment + offset, bytes, LV_MIN(at, SEGMENT - offset));
    return offset + align_up(at, MSGLOG_SECTOR_BYTES);
}

static void
put_file(const struct io *io, uint32_t slot, const uint8_t *bytes)
{
    char path[32];
    int fd;
    snprintf(path, sizeof path, "/d/log/%05u.seg", slot);
    struct iovec part = {(void *)(uintptr_t)bytes, SEGMENT};
    if (io->open(io->ctx, path, IO_WRITE | IO_CREATE, &fd) != 0 || io_write_all(io, fd, &part, 1, 0) != 0 ||
        io->close(io->ctx, fd) != 0)
        abort();
}

static void
describe(struct input *in, const struct io *io)
{
    static uint8_t bytes[SEGMENT];
    uint64_t group_number = 1;
    if (io->mkdir(io->ctx, "/d/log") != 0)
        abort();
    for (uint32_t slot = 0; slot < SEGMENTS && in->at < in->end; slot++) {
        uint8_t odd = take(in);
        struct segment_header h = {.generation = odd % 8 == 0 ? number(in) : slot + 1u,
                                   .salt = slot,
                                   .segment_bytes = SEGMENT,
                                   .prev_generation = odd % 8 == 1 ? number(in) : slot,
                                   .prev_end = place(in),
                                   .prev_synced = place(in),
                                   .first_generation = odd % 8 == 2 ? number(in) : 1,
                                   .first_number = group_number};
        h.base_generation = odd % 8 == 3 ? number(in) : h.prev_generation;
        h.base_end = odd % 8 == 3 ? place(in) : h.prev_end;
        h.base_synced = odd % 8 == 3 ? place(in) : h.prev_synced;
        memset(bytes, 0, sizeof bytes);
        segment_header_encode(&h, bytes);
        if (odd / 8 == 31)
            bytes[100] ^= 1;
        uint32_t at = SEGMENT_HEADER_BYTES, prev = h.crc;
        for (unsigned n = take(in) % GROUPS_MAX; n > 0 && at < SEGMENT - MSGLOG_SECTOR_BYTES; n--) {
            at = group(in, &h, group_number, at, &prev, bytes);
            uint8_t gap = take(in);
            group_number += gap % 8 == 7 ? number(in) : 1;
            at += gap / 8 == 3 ? MSGLOG_SECTOR_BYTES : 0;
        }
        put_file(io, slot, bytes);
    }
}

// --- a real log ---

static struct msglog_config
configuration(struct powercut *p)
{
    return (struct msglog_config){.io = powercut_io(p),
                                  .dir = "/d",
                                  .segment_bytes = SEGMENT,
                                  .segment_max = 6,
                                  .seed = 3,
                                  .writer_count = 1};
}

static bool
wants_all(void *ctx, uint64_t queue)
{
    return true;
}

static void
add(struct core *c, struct msglog_entry *e)
{
    int err = core_add(c, 0, e);
    if (err == -LE_AGAIN) {
        (void)core_flush(c);
        err = core_add(c, 0, e);
    }
    LV_ASSERT(err != -LE_AGAIN); // other errors are in its result
}

static void
write_log(struct core *c)
{
    static const uint8_t bytes[4300];
    struct msglog_content contents[40];
    struct msglog_entry e[160];
    unsigned n = 0;
    for (unsigned i = 0; i < 40; i++) {
        contents[i] = (struct msglog_content){.body_bytes = i % 13 == 12 ? 4200 : 50 + i, .bytes = bytes + i};
        uint64_t tx = i % 7 == 3 ? i : 0;
        e[n] = (struct msglog_entry){.kind = MSGLOG_MESSAGE,
                                     .is_relaxed = i % 3 != 0,
                                     .queue = 1 + i % 3,
                                     .seq = 1 + i / 3,
                                     .tx = tx,
                                     .content = &contents[i]};
        add(c, &e[n++]);
        if (tx != 0) {
            e[n] = (struct msglog_entry){.kind = MSGLOG_COMMIT, .tx = tx};
            add(c, &e[n++]);
        }
        if (i % 5 == 4) {
            e[n] = (struct msglog_entry){
                .kind = MSGLOG_ACK, .is_relaxed = i % 2 == 0, .queue = 1 + i % 3, .seq = i / 4, .count = 1};
            add(c, &e[n++]);
        }
        if (i % 4 == 3)
            (void)core_flush(c);
    }
    e[n] = (struct msglog_entry){.kind = MSGLOG_PURGE, .queue = 2, .seq = 3};
    add(c, &e[n++]);
    e[n] = (struct msglog_entry){.kind = MSGLOG_DELETE, .queue = 9};
    add(c, &e[n++]);
    (void)core_flush(c);
}

// Headers get checksums that fit what they say now.
static void
mend(uint8_t *bytes)
{
    put_u32(bytes + SEGMENT_HEADER_BYTES - 4, crc32c(0, bytes, SEGMENT_HEADER_BYTES - 4));
    for (uint32_t at = SEGMENT_HEADER_BYTES; at < SEGMENT; at += MSGLOG_SECTOR_BYTES) {
        uint8_t *g = bytes + at;
        uint64_t generation = get_u64(g + 8), end = (uint64_t)at + GROUP_HEADER_BYTES + get_u32(g + 36);
        uint32_t crc = 0;
        uint64_t r = at + GROUP_HEADER_BYTES;
        if (memcmp(g, "LGRP", 4) != 0)
            continue;
        while (r + RECORD_HEADER_BYTES <= LV_MIN(end, (uint64_t)SEGMENT)) {
            uint32_t len = get_u32(bytes + r);
            if (r + RECORD_HEADER_BYTES + len > SEGMENT)
                break;
            put_u32(bytes + r + 8, crc32c(0, bytes + r + RECORD_HEADER_BYTES, len));
            put_u32(bytes + r + 12, crc32c(record_place(generation, (uint32_t)r), bytes + r, 12));
            crc = crc32c(crc, bytes + r, RECORD_HEADER_BYTES);
            r += align_up(RECORD_HEADER_BYTES + len, RECORD_ALIGN_BYTES);
        }
        put_u32(g + 44, crc);
        put_u32(g + 4, crc32c(0, g + 8, GROUP_HEADER_BYTES - 8));
    }
}

static void
change_files(struct input *in, const struct io *io, bool is_mended)
{
    static uint8_t bytes[SEGMENT];
    for (unsigned slot = 0; slot < 6; slot++) {
        struct input changes = *in;
        char path[32];
        size_t n = 0;
        int fd;
        snprintf(path, sizeof path, "/d/log/%05u.seg", slot);
        if (io->open(io->ctx, path, IO_WRITE, &fd) != 0)
            continue;
        if (io_read_all(io, fd, bytes, SEGMENT, 0, &n) != 0)
            abort();
        while (changes.at < changes.end) {
            unsigned which = take(&changes);
            unsigned at = (unsigned)(take(&changes) << 8 | take(&changes)) % SEGMENT;
            uint8_t value = take(&changes);
            if (which % 6 == slot)
                bytes[at] ^= value;
        }
        if (is_mended)
            mend(bytes);
        struct iovec part = {bytes, SEGMENT};
        if (io_write_all(io, fd, &part, 1, 0) != 0 || io->close(io->ctx, fd) != 0)
            abort();
    }
}

// --- what has to hold ---

struct reading {
    struct core *c;
    uint64_t good, bad;
};

static int
read_one(void *ctx, uint64_t queue, struct msglog_live_entry *e)
{
    struct reading *r = ctx;
    struct msglog_record record;
    int err = core_read(r->c, &e->place, &record);
    if (err == 0)
        mem_free(record.buffer);
    else
        r->bad += e->large_file == 0;
    r->good += err == 0;
    return 0;
}

static bool
has_twins(const struct core *c)
{
    for (size_t i = 0; i < c->ring.count; i++)
        for (size_t k = 0; k < i; k++)
            if (c->ring.segments[i]->generation == c->ring.segments[k]->generation)
                return true;
    return false;
}

// No input names it.
enum { NEW_QUEUE = 77777777 };

// Opens, reads, publishes one message, and says whether that was promised.
static bool
one_life(struct powercut *p, uint64_t seq)
{
    struct msglog_config config = configuration(p);
    struct msglog_live live;
    struct msglog_report report;
    struct core *c = mem_xcalloc(1, sizeof(*c));
    static const uint8_t bytes[64];
    struct msglog_content content = {.body_bytes = 60, .bytes = bytes};
    struct msglog_entry e = {
        .kind = MSGLOG_MESSAGE, .queue = NEW_QUEUE, .seq = seq, .content = &content, .result = -1};
    config.wants_gone = wants_all;
    if (core_open(c, &config, &live, &report) == 0) {
        struct reading r = {.c = c};
        LV_ASSERT(msglog_live_each(&live, UINT64_MAX, read_one, &r) == 0);
        LV_ASSERT(r.bad == 0 || report.bad_spots > 0 || has_twins(c));
        LV_ASSERT(seq == 1 || msglog_live_find(&live, NEW_QUEUE, seq - 1) != NULL);
        uint64_t first = 0, end = 0;
        msglog_live_next_gone(&live, 1, 0, &first, &end);
        if (core_start(c) == 0)
            add(c, &e);
        (void)core_flush(c);
        core_fini(c);
        msglog_live_fini(&live);
    }
    mem_free(c);
    return e.result == 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, data + LV_MIN(size, (size_t)4096)};
    struct powercut *p = powercut_new(1);
    const struct io *io = powercut_io(p);
    if (io->mkdir(io->ctx, "/d") != 0 || io->sync_dir(io->ctx, "/") != 0)
        abort();
    unsigned mode = take(&in) % 3;
    if (mode == 0) {
        describe(&in, io);
    } else {
        struct msglog_config config = configuration(p);
        struct msglog_live live;
        struct msglog_report report;
        struct core *c = mem_xcalloc(1, sizeof(*c));
        if (core_open(c, &config, &live, &report) != 0)
            abort();
        write_log(c);
        core_fini(c);
        mem_free(c);
        msglog_live_fini(&live);
        powercut_kill(p);
        change_files(&in, io, mode == 2);
    }
    powercut_kill(p);
    bool is_promised = one_life(p, 1);
    powercut_kill(p);
    if (is_promised) {
        (void)one_life(p, 2);
        powercut_cut(p);
    }
    powercut_free(p);
    return 0;
}
