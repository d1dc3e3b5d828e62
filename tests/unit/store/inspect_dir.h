// inspect_dir.h: a small data directory that the log and the metadata store really wrote, for those who look at one; and whether it was changed.
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
// cmocka wants those before it.
#include <cmocka.h>

#include "src/base/crc.h"
#include "src/base/err.h"
#include "src/base/mem.h"
#include "src/store/backlog.h"
#include "src/store/log_core.h"
#include "src/store/meta.h"

enum { SEGMENT = 16 << 10, SEGMENTS = 8, BODY = 40, MESSAGES = 64, LARGE_BYTES = 9000 };
enum { QUEUE_ORDERS = 101, QUEUE_MAIL = 102, QUEUE_GONE = 103 };

struct dir {
    char path[64];
    struct core core;
    struct msglog_live live;
};

static void
entry_path(const struct dir *d, const char *name, char to[256])
{
    snprintf(to, 256, "%s/%s", d->path, name);
}

static void remove_tree(const char *path);

static int
remove_name(void *ctx, const char *name)
{
    char path[512];
    struct stat st;
    snprintf(path, sizeof path, "%s/%s", (const char *)ctx, name);
    if (lstat(path, &st) == 0 && S_ISDIR(st.st_mode))
        remove_tree(path);
    else
        (void)unlink(path);
    return 0;
}

static void
remove_tree(const char *path)
{
    (void)io_system()->list(NULL, path, remove_name, (void *)(uintptr_t)path);
    (void)rmdir(path);
}

static void
dir_remove(struct dir *d)
{
    remove_tree(d->path);
}

// --- writing ---

// Route, header and body as a publish makes them.
static void
make_content(struct buf *bytes, struct msglog_content *c, const char *key, const char *properties,
             size_t properties_len, size_t body)
{
    buf_reset(bytes);
    buf_append_u8(bytes, 9);
    buf_append_str(bytes, "amq.topic");
    buf_append_u8(bytes, (uint8_t)strlen(key));
    buf_append_str(bytes, key);
    c->route_bytes = (uint16_t)bytes->len;
    buf_append_u16be(bytes, 60);
    buf_append_u16be(bytes, 0);
    buf_append_u64be(bytes, body);
    buf_append(bytes, properties, properties_len);
    c->header_bytes = (uint32_t)bytes->len - c->route_bytes;
    for (size_t i = 0; i < body; i++)
        buf_append_u8(bytes, (uint8_t)('a' + i % 26));
    c->body_bytes = (uint32_t)body;
    c->published_ms = 1700000000000;
    c->flags = 1;
    c->bytes = bytes->ptr;
}

static void
add(struct dir *d, struct msglog_entry *e)
{
    int err = core_add(&d->core, 0, e);
    if (err == -LE_AGAIN) {
        assert_int_equal(core_flush(&d->core), 0);
        err = core_add(&d->core, 0, e);
    }
    assert_int_equal(err, 0);
}

static void
publish(struct dir *d, uint64_t queue, uint64_t seq, const char *key, size_t body)
{
    static const char persistent[] = "\x10\x00\x02";
    struct buf bytes = BUF_INIT;
    struct msglog_content c = {0};
    make_content(&bytes, &c, key, persistent, 3, body);
    struct msglog_entry e = {.kind = MSGLOG_MESSAGE, .queue = queue, .seq = seq, .epoch = 1, .content = &c};
    add(d, &e);
    assert_int_equal(core_flush(&d->core), 0);
    assert_int_equal(e.result, 0);
    buf_fini(&bytes);
}

static void
put_queue(struct meta *m, uint64_t id, const char *name)
{
    struct meta_queue q = {.id = id, .vhost = SLICE_LIT("/"), .name = slice_str(name)};
    assert_int_equal(meta_put_queue(m, &q), 0);
}

static void
open_log(struct dir *d)
{
    struct msglog_report report;
    struct msglog_config config = {.io = io_system(),
                                   .dir = d->path,
                                   .segment_bytes = SEGMENT,
                                   .segment_max = SEGMENTS,
                                   .seed = 7,
                                   .writer_count = 1};
    assert_int_equal(core_open(&d->core, &config, &d->live, &report), 0);
}

static void
close_log(struct dir *d)
{
    core_fini(&d->core);
    msglog_live_fini(&d->live);
}

// Queue orders: 64 messages, the first 20 acked; mail: one large; a queue that the metadata does not know: one; a transaction without an end.
static void
dir_make(struct dir *d)
{
    struct meta *m;
    char *problem;
    memset(d, 0, sizeof(*d));
    snprintf(d->path, sizeof d->path, "/tmp/leveret-inspect-XXXXXX");
    assert_non_null(mkdtemp(d->path));
    assert_int_equal(meta_open(d->path, &m, &problem), 0);
    assert_int_equal(meta_begin(m), 0);
    assert_int_equal(
        meta_put_vhost(m,
                       &(struct meta_vhost){.name = SLICE_LIT("/"), .max_connections = -1, .max_queues = -1}),
        0);
    put_queue(m, QUEUE_ORDERS, "orders");
    put_queue(m, QUEUE_MAIL, "mail");
    assert_int_equal(meta_put_id_ceiling(m, 200), 0);
    assert_int_equal(meta_commit(m), 0);
    meta_close(m);
    open_log(d);
    for (uint64_t seq = 1; seq <= MESSAGES; seq++)
        publish(d, QUEUE_ORDERS, seq, "order.new", BODY);
    struct msglog_entry ack = {.kind = MSGLOG_ACK, .queue = QUEUE_ORDERS, .seq = 1, .count = 20};
    add(d, &ack);
    assert_int_equal(core_flush(&d->core), 0);
    publish(d, QUEUE_MAIL, 1, "mail", LARGE_BYTES);
    publish(d, QUEUE_GONE, 5, "gone", BODY);
    close_log(d);
}

// A block of messages first … last of a queue, appended to its backlog files. LOOSE ones stand for themselves.
static void
add_block(struct dir *d, struct backlog *b, uint64_t queue, uint8_t kind, uint64_t first, uint64_t last)
{
    static const char persistent[] = "\x10\x00\x02";
    struct backlog_item items[64] = {0};
    struct backlog_append a = {.queue = queue,
                               .first_block = b->next_block,
                               .items = items,
                               .count = (size_t)(last - first + 1),
                               .kind = kind};
    struct msglog_content c = {0};
    struct buf bytes = BUF_INIT;
    make_content(&bytes, &c, "order.new", persistent, 3, BODY);
    assert_true(a.count <= LV_ARRAY_LEN(items));
    for (size_t n = 0; n < a.count; n++)
        items[n] = (struct backlog_item){.seq = first + n, .epoch = 1, .content = &c};
    assert_int_equal(backlog_begin_append(b, &a), 0);
    assert_int_equal(backlog_append(io_system(), d->path, NULL, &a), 0);
    struct backlog_wait wait = {a.count, a.count * BODY, a.count};
    if (kind == BACKLOG_LOOSE)
        wait = (struct backlog_wait){0};
    assert_int_equal(backlog_appended(b, a.blocks, a.block_count, first, &wait), 0);
    mem_free(a.blocks);
    buf_fini(&bytes);
}

// --- did it change anything? ---

struct trace {
    const char *path;
    uint32_t crc;
};

static uint32_t trace_tree(const char *path);

static int
trace_name(void *ctx, const char *name)
{
    struct trace *t = ctx;
    char path[512];
    struct stat st;
    snprintf(path, sizeof path, "%s/%s", t->path, name);
    assert_int_equal(stat(path, &st), 0);
    uint32_t sum = crc32c(0, name, strlen(name));
    sum = crc32c(sum, &st.st_mtim, sizeof st.st_mtim);
    sum = crc32c(sum, &st.st_size, sizeof st.st_size);
    if (S_ISDIR(st.st_mode))
        sum ^= trace_tree(path);
    if (S_ISREG(st.st_mode)) {
        FILE *f = fopen(path, "rb");
        uint8_t bytes[4096];
        size_t n;
        assert_non_null(f);
        while ((n = fread(bytes, 1, sizeof bytes, f)) > 0)
            sum = crc32c(sum, bytes, n);
        fclose(f);
    }
    t->crc += sum; // whatever the order
    return 0;
}

static uint32_t
trace_tree(const char *path)
{
    struct trace t = {.path = path};
    assert_int_equal(io_system()->list(NULL, path, trace_name, &t), 0);
    return t.crc;
}

static uint32_t
trace_dir(const struct dir *d)
{
    return trace_tree(d->path);
}

static void
flip(const struct dir *d, const char *name, long offset)
{
    char path[256];
    entry_path(d, name, path);
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    fseek(f, offset, SEEK_SET);
    int c = fgetc(f);
    fseek(f, offset, SEEK_SET);
    fputc(c ^ 0x40, f);
    fclose(f);
}
