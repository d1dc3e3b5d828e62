// store_fixture.c: see store_fixture.h.
#include <stdio.h>
#include <stdlib.h>

#include "src/base/err.h"
#include "src/base/mem.h"
#include "tests/fault/store_fixture.h"

enum { WRITERS = 2, MAX_SEGMENTS = 12, NEW_QUEUE = 77 };

static struct msglog_config
config_of(const struct io *io, uint32_t segment_bytes, uint64_t seed)
{
    return (struct msglog_config){.io = io,
                                  .dir = "/d",
                                  .segment_bytes = segment_bytes,
                                  .segment_max = MAX_SEGMENTS,
                                  .seed = seed,
                                  .writer_count = WRITERS};
}

// The bytes of a message follow from its queue and number.
static size_t
make_content(uint64_t queue, uint64_t seq, bool is_large, uint32_t segment_bytes, struct msglog_content *ret,
             uint8_t **ret_bytes)
{
    struct rng r;
    rng_init(&r, queue * 1000003 + seq);
    size_t len = is_large ? segment_bytes / 2 : 40 + rng_below(&r, rng_below(&r, 8) == 0 ? 3000 : 400);
    uint8_t *bytes = mem_xalloc(len);
    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)rng_next(&r);
    *ret = (struct msglog_content){.flags = 1,
                                   .route_bytes = 5,
                                   .header_bytes = 14,
                                   .body_bytes = (uint32_t)(len - 19),
                                   .expiry_ms = (uint32_t)seq,
                                   .published_ms = (int64_t)(queue * seq),
                                   .bytes = bytes};
    *ret_bytes = bytes;
    return len;
}

// --- making it ---

struct maker {
    struct fixture *f;
    struct core *core;
    struct rng rng;
    struct msglog_entry entries[64];
    struct msglog_content contents[64];
    uint8_t *bytes[64];
    struct fixture_message *messages[64];
    unsigned count;
    uint64_t next_seq[FIXTURE_QUEUES + 1];
};

static void
add(struct maker *m)
{
    if (core_add(m->core, 0, &m->entries[m->count]) != 0)
        abort();
    m->count++;
}

static void
add_message(struct maker *m, bool is_large)
{
    struct fixture *f = m->f;
    uint64_t queue = 1 + rng_below(&m->rng, FIXTURE_QUEUES), seq = ++m->next_seq[queue];
    struct msglog_entry *e = &m->entries[m->count];
    make_content(queue, seq, is_large, f->segment_bytes, &m->contents[m->count], &m->bytes[m->count]);
    *e = (struct msglog_entry){
        .kind = MSGLOG_MESSAGE, .queue = queue, .seq = seq, .epoch = 3, .content = &m->contents[m->count]};
    LV_ASSERT(f->message_count < FIXTURE_MESSAGES_MAX);
    m->messages[m->count] = &f->messages[f->message_count++];
    *m->messages[m->count] = (struct fixture_message){.queue = queue, .seq = seq, .is_large = is_large};
    add(m);
}

static void
add_ack(struct maker *m)
{
    struct fixture *f = m->f;
    if (f->message_count < 20)
        return;
    struct fixture_message *message = &f->messages[rng_below(&m->rng, f->message_count - 10)];
    if (message->is_acked || message->group_number == 0 || message->is_large)
        return;
    message->is_acked = true;
    m->messages[m->count] = message;
    m->entries[m->count] =
        (struct msglog_entry){.kind = MSGLOG_ACK, .queue = message->queue, .seq = message->seq, .count = 1};
    add(m);
}

// Writes the group, and notes where everything came to lie.
static void
flush(struct maker *m)
{
    struct fixture *f = m->f;
    if (core_flush(m->core) != 0)
        abort();
    const struct segment *at = m->core->ring.current;
    f->last_group = m->core->ring.next_number - 1;
    for (unsigned i = 0; i < m->count; i++) {
        const struct msglog_entry *e = &m->entries[i];
        struct fixture_message *message = m->messages[i];
        if (e->result != 0)
            abort();
        mem_free(m->bytes[i]);
        m->bytes[i] = NULL;
        if (e->kind == MSGLOG_ACK) {
            message->acked_in_group = f->last_group;
            continue;
        }
        message->generation = e->place.file;
        message->at = e->place.offset;
        message->end = e->place.offset + e->place.len;
        message->group_number = f->last_group;
        message->padded_end = at->end;
    }
    m->count = 0;
    f->newest = atomic_load(&at->generation);
    f->newest_end = at->end;
    core_prepare(m->core);
}

static int
take_file(void *ctx, const char *name)
{
    struct maker *m = ctx;
    struct fixture_file *file = &m->f->files[m->f->file_count++];
    const struct io *io = m->core->io;
    char path[128];
    int fd;
    size_t n;
    snprintf(file->name, sizeof file->name, "%s", name);
    snprintf(path, sizeof path, "/d/log/%s", name);
    if (io->open(io->ctx, path, IO_READ, &fd) != 0 || io->size(io->ctx, fd, &file->size) != 0)
        abort();
    file->bytes = mem_xalloc(file->size);
    if (io_read_all(io, fd, file->bytes, file->size, 0, &n) != 0 || n != file->size)
        abort();
    (void)io->close(io->ctx, fd);
    struct segment_header h;
    file->generation =
        file->size >= SEGMENT_HEADER_BYTES && segment_header_decode(file->bytes, &h) == 0 ? h.generation : 0;
    return 0;
}

static int
take_large(void *ctx, const char *name)
{
    struct maker *m = ctx;
    const struct io *io = m->core->io;
    char path[128];
    int fd;
    size_t n;
    snprintf(m->f->large_name, sizeof m->f->large_name, "%s", name);
    snprintf(path, sizeof path, "/d/large/%s", name);
    if (m->f->large != NULL || io->open(io->ctx, path, IO_READ, &fd) != 0 ||
        io->size(io->ctx, fd, &m->f->large_size) != 0)
        abort();
    m->f->large = mem_xalloc(m->f->large_size);
    if (io_read_all(io, fd, m->f->large, m->f->large_size, 0, &n) != 0)
        abort();
    return io->close(io->ctx, fd);
}

// Where each message's group begins and ends, from the bytes.
static void
note_groups(struct fixture *f)
{
    for (size_t i = 0; i < f->message_count; i++) {
        struct fixture_message *m = &f->messages[i];
        const struct fixture_file *file = fixture_by_generation(f, m->generation);
        for (uint64_t at = SEGMENT_HEADER_BYTES; file != NULL && at <= m->at; at += MSGLOG_SECTOR_BYTES) {
            struct group_header g;
            if (group_header_decode(file->bytes + at, &g) == 0 && g.generation == m->generation &&
                g.offset == at) {
                m->group_at = at;
                m->group_end = at + GROUP_HEADER_BYTES + g.payload_bytes;
            }
        }
        LV_ASSERT(m->group_at != 0 && m->group_end <= m->padded_end);
    }
}

struct fixture *
fixture_new(uint64_t seed, uint32_t segment_bytes, unsigned groups)
{
    struct fixture *f = mem_xcalloc(1, sizeof(*f));
    struct maker *m = mem_xcalloc(1, sizeof(*m));
    struct powercut *p = powercut_new(seed);
    struct msglog_config config = config_of(powercut_io(p), segment_bytes, seed);
    struct msglog_live live;
    struct msglog_report report;
    m->f = f;
    m->core = mem_xcalloc(1, sizeof(*m->core));
    f->segment_bytes = segment_bytes;
    rng_init(&m->rng, seed);
    if (config.io->mkdir(config.io->ctx, "/d") != 0 || core_open(m->core, &config, &live, &report) != 0)
        abort();
    for (unsigned i = 0; i < groups; i++) {
        for (uint64_t n = 1 + rng_below(&m->rng, 4); n > 0; n--)
            add_message(m, i == groups / 2 && n == 1);
        if (i % 3 == 2)
            add_ack(m);
        flush(m);
    }
    if (config.io->list(config.io->ctx, "/d/log", take_file, m) != 0 ||
        config.io->list(config.io->ctx, "/d/large", take_large, m) != 0)
        abort();
    note_groups(f);
    core_fini(m->core);
    msglog_live_fini(&live);
    powercut_free(p);
    mem_free(m->core);
    mem_free(m);
    return f;
}

void
fixture_free(struct fixture *f)
{
    for (size_t i = 0; i < f->file_count; i++)
        mem_free(f->files[i].bytes);
    mem_free(f->large);
    mem_free(f);
}

struct fixture_file *
fixture_by_generation(struct fixture *f, uint64_t generation)
{
    for (size_t i = 0; i < f->file_count; i++)
        if (f->files[i].generation == generation)
            return &f->files[i];
    return NULL;
}

struct fixture_file *
fixture_newest(struct fixture *f)
{
    return fixture_by_generation(f, f->newest);
}

// --- using it ---

static void
put_file(const struct io *io, const char *path, uint8_t *bytes, uint64_t size)
{
    int fd;
    struct iovec part = {bytes, size};
    if (io->open(io->ctx, path, IO_WRITE | IO_CREATE, &fd) != 0 ||
        (size > 0 && io_write_all(io, fd, &part, 1, 0) != 0) || io->fsync(io->ctx, fd) != 0 ||
        io->close(io->ctx, fd) != 0)
        abort();
}

struct powercut *
fixture_disk(const struct fixture *f, uint64_t seed)
{
    struct powercut *p = powercut_new(seed);
    const struct io *io = powercut_io(p);
    static const char *const dirs[] = {"/d", "/d/log", "/d/large"};
    char path[128];
    for (size_t i = 0; i < LV_ARRAY_LEN(dirs); i++)
        if (io->mkdir(io->ctx, dirs[i]) != 0)
            abort();
    for (size_t i = 0; i < f->file_count; i++) {
        snprintf(path, sizeof path, "/d/log/%s", f->files[i].name);
        put_file(io, path, f->files[i].bytes, f->files[i].size);
    }
    snprintf(path, sizeof path, "/d/large/%s", f->large_name);
    if (f->large != NULL)
        put_file(io, path, f->large, f->large_size);
    for (size_t i = LV_ARRAY_LEN(dirs); i > 0; i--)
        if (io->sync_dir(io->ctx, dirs[i - 1]) != 0)
            abort();
    if (io->sync_dir(io->ctx, "/") != 0)
        abort();
    return p;
}

static enum fate
look_at(const struct fixture *f, const struct core *c, const struct msglog_live *live,
        const struct fixture_message *m, const char **ret_wrong)
{
    const struct msglog_live_entry *e = msglog_live_find(live, m->queue, m->seq);
    if (e == NULL)
        return FATE_LOST;
    struct msglog_record got;
    int err = core_read(c, &e->place, &got);
    if (err != 0)
        return FATE_DETECTED;
    struct msglog_content want;
    uint8_t *bytes;
    size_t len = make_content(m->queue, m->seq, m->is_large, f->segment_bytes, &want, &bytes);
    if (got.content.body_bytes != want.body_bytes || memcmp(got.content.bytes, bytes, len) != 0 ||
        got.content.expiry_ms != want.expiry_ms || got.content.published_ms != want.published_ms ||
        got.content.flags != want.flags || e->epoch != 3)
        *ret_wrong = "a message is not what was written";
    mem_free(bytes);
    mem_free(got.buffer);
    return FATE_KEPT;
}

static void
look(const struct fixture *f, const struct core *c, const struct msglog_live *live, uint64_t extra,
     struct fixture_verdict *v)
{
    uint64_t listed = 0;
    v->kept = v->lost = v->detected = 0;
    for (size_t i = 0; i < f->message_count; i++) {
        v->fates[i] = look_at(f, c, live, &f->messages[i], &v->wrong);
        *(v->fates[i] == FATE_KEPT ? &v->kept : v->fates[i] == FATE_LOST ? &v->lost : &v->detected) += 1;
        listed += v->fates[i] != FATE_LOST;
    }
    if (listed + extra != live->count)
        v->wrong = "there are messages that nobody wrote";
}

// One more message; it has to be there at the next start.
static void
publish_one(const struct fixture *f, struct core *c, struct fixture_verdict *v)
{
    struct msglog_content content;
    uint8_t *bytes;
    make_content(NEW_QUEUE, 1, false, f->segment_bytes, &content, &bytes);
    struct msglog_entry e = {
        .kind = MSGLOG_MESSAGE, .queue = NEW_QUEUE, .seq = 1, .epoch = 3, .content = &content};
    if (core_add(c, 1, &e) != 0 || core_flush(c) != 0 || e.result != 0)
        v->wrong = "the log takes no new message";
    mem_free(bytes);
}

static bool
second_start(const struct fixture *f, struct powercut *disk, struct core *c, struct fixture_verdict *first)
{
    struct msglog_config config = config_of(powercut_io(disk), f->segment_bytes, 8);
    struct fixture_verdict *again = mem_xcalloc(1, sizeof(*again));
    struct msglog_live live;
    powercut_cut(disk);
    int err = core_open(c, &config, &live, &again->report);
    if (err != 0) {
        mem_free(again);
        return false;
    }
    look(f, c, &live, 1, again);
    bool is_same = again->wrong == NULL && msglog_live_find(&live, NEW_QUEUE, 1) != NULL;
    for (size_t i = 0; i < f->message_count; i++)
        is_same &= again->fates[i] == first->fates[i];
    core_fini(c);
    msglog_live_fini(&live);
    mem_free(again);
    return is_same;
}

void
fixture_judge(const struct fixture *f, struct powercut *disk, struct fixture_verdict *ret)
{
    struct msglog_config config = config_of(powercut_io(disk), f->segment_bytes, 7);
    struct core *c = mem_xcalloc(1, sizeof(*c));
    struct msglog_live live;
    memset(ret, 0, sizeof(*ret));
    ret->error = core_open(c, &config, &live, &ret->report);
    if (ret->error == 0 && core_start(c) != 0)
        ret->wrong = "the log opens and does not start";
    if (ret->error == 0) {
        look(f, c, &live, 0, ret);
        if (ret->wrong == NULL)
            publish_one(f, c, ret);
        core_fini(c);
        msglog_live_fini(&live);
        if (ret->wrong == NULL && !second_start(f, disk, c, ret))
            ret->wrong = "the second start finds something else than the first";
    }
    mem_free(c);
}
