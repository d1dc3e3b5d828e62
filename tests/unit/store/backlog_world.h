// backlog_world.h: what the tests of backlog files share: a simulated disk with one queue, messages whose content follows from their number,
// a new life of the queue.
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "src/base/crc.h"
#include "src/base/err.h"
#include "src/base/mem.h"
#include "src/base/rng.h"
#include "src/store/backlog_format.h"
#include "src/store/log_core.h"
#include "tests/sim/powercut.h"

enum { QUEUE = 0x2a, SEQS = 4096 };

LV_UNUSED static const char dir[] = "/";
LV_UNUSED static const char file_1[] = "/queues/000000000000002a/00000001.blg";

// Messages do not expire: their blocks have no tables.
LV_UNUSED static bool is_timeless;

static inline int64_t
expires_of(uint64_t seq)
{
    return is_timeless ? 0 : (int64_t)seq * 5;
}

struct world {
    struct powercut *disk;
    const struct io *io;
    struct backlog b;
};

static inline void
world_init(struct world *w)
{
    w->disk = powercut_new(1);
    w->io = powercut_io(w->disk);
    backlog_init(&w->b);
    assert_int_equal(backlog_prepare_dirs(w->io, dir), 0);
}

static inline void
world_fini(struct world *w)
{
    assert_int_equal(powercut_open_count(w->disk), 0);
    backlog_fini(&w->b);
    powercut_free(w->disk);
}

// The content of a message follows from its number; the n-th has n % 7 == 3: not persistent.
static inline void
content_of(uint64_t seq, uint32_t body, uint8_t *bytes, struct msglog_content *ret)
{
    for (uint32_t i = 0; i < body + 14; i++)
        bytes[i] = (uint8_t)(seq * 31 + i);
    *ret = (struct msglog_content){.flags = seq % 7 != 3,
                                   .priority = (uint8_t)seq,
                                   .route_bytes = 4,
                                   .header_bytes = 10,
                                   .body_bytes = body,
                                   .expiry_ms = (uint32_t)seq,
                                   .published_ms = (int64_t)seq * 1000,
                                   .bytes = bytes};
}

static inline uint32_t
body_of(uint64_t seq)
{
    return (uint32_t)(seq * 37 % 900);
}

static inline void
sum_up(uint64_t first, uint64_t last, struct backlog_wait *ret)
{
    *ret = (struct backlog_wait){0};
    for (uint64_t seq = first; seq <= last; seq++) {
        ret->count++;
        ret->body_bytes += body_of(seq);
        ret->persistent += seq % 7 != 3;
    }
}

// Appends [first, last], all of which wait from `from` on.
static inline int
append_from(struct world *w, uint8_t kind, uint64_t first, uint64_t last, uint64_t from,
            struct backlog_append *ret)
{
    size_t count = (size_t)(last - first + 1);
    struct backlog_item *items = mem_xcalloc(count, sizeof(*items));
    struct msglog_content *contents = mem_xcalloc(count, sizeof(*contents));
    uint8_t *bytes = mem_xalloc(count * 1024);
    struct backlog_append a = {.queue = QUEUE, .items = items, .count = count, .kind = kind};
    for (size_t i = 0; i < count; i++) {
        content_of(first + i, body_of(first + i), bytes + i * 1024, &contents[i]);
        items[i] = (struct backlog_item){.seq = first + i,
                                         .expires_ms = expires_of(first + i),
                                         .epoch = 3,
                                         .flags = (uint32_t)(first + i) % 5,
                                         .content = &contents[i]};
    }
    assert_int_equal(backlog_begin_append(&w->b, &a), 0);
    int err = backlog_append(w->io, dir, NULL, &a);
    struct backlog_wait wait;
    sum_up(LV_MAX(first, from), last, &wait);
    if (err == 0)
        assert_int_equal(backlog_appended(&w->b, a.blocks, a.block_count, from, &wait), 0);
    else
        backlog_append_failed(&w->b, a.file);
    mem_free(contents);
    mem_free(bytes);
    if (ret != NULL) {
        *ret = a;
    } else {
        mem_free(a.blocks);
        mem_free(items);
    }
    return err;
}

static inline void
append(struct world *w, uint8_t kind, uint64_t first, uint64_t last)
{
    assert_int_equal(append_from(w, kind, first, last, first, NULL), 0);
}

static inline void
check_record(const struct backlog_record *r, uint64_t seq)
{
    uint8_t bytes[1024];
    struct msglog_content c;
    content_of(seq, body_of(seq), bytes, &c);
    assert_int_equal(r->seq, seq);
    assert_int_equal(r->expires_ms, expires_of(seq));
    assert_int_equal(r->epoch, 3);
    assert_int_equal(r->flags, seq % 5);
    assert_int_equal(r->content.flags, c.flags);
    assert_int_equal(r->content.priority, c.priority);
    assert_int_equal(r->content.published_ms, c.published_ms);
    assert_int_equal(r->content.expiry_ms, c.expiry_ms);
    assert_int_equal(r->content.body_bytes, c.body_bytes);
    if (r->content.bytes != NULL)
        assert_memory_equal(r->content.bytes, bytes, body_of(seq) + 14);
}

// Takes what waits, block by block, from `first` on; the numbers in between that are not there are said by `is_there`.
static inline uint64_t
drain(struct world *w, uint64_t first, uint64_t *ret_bad)
{
    uint64_t count = 0;
    *ret_bad = 0;
    for (const struct backlog_block *block; (block = backlog_peek(&w->b)) != NULL;) {
        uint8_t *bytes;
        uint32_t at = 0;
        struct backlog_record r;
        assert_int_equal(backlog_read_block(w->io, dir, QUEUE, false, block, &bytes), 0);
        for (int got; (got = backlog_block_next(bytes, block, &at, &r)) != 0;) {
            *ret_bad += got < 0;
            if (got < 0 || r.seq < w->b.cursor || backlog_is_dead(&w->b, block, r.offset))
                continue;
            assert_true(r.seq >= first);
            check_record(&r, r.seq);
            backlog_taken(&w->b, r.seq, r.content.body_bytes, r.content.flags & 1);
            count++;
        }
        struct backlog_wait lost;
        backlog_advance(&w->b, &lost);
        mem_free(bytes);
    }
    assert_int_equal(w->b.count + w->b.body_bytes + w->b.persistent, 0);
    return count;
}

struct range {
    uint64_t first, end;
};

struct gone {
    const struct range *ranges;
    size_t count;
};

static inline void
next_gone(void *ctx, uint64_t from, uint64_t *ret_first, uint64_t *ret_end)
{
    const struct gone *g = ctx;
    *ret_first = *ret_end = UINT64_MAX;
    for (size_t i = 0; i < g->count; i++)
        if (g->ranges[i].end > from) {
            *ret_first = g->ranges[i].first;
            *ret_end = g->ranges[i].end;
            return;
        }
}

struct opened {
    struct backlog_kept *kept;
    size_t kept_count;
    struct backlog_report report;
};

// A new life: the picture comes from the files.
static inline int
reopen_gone(struct world *w, struct opened *o, const struct gone *gone)
{
    backlog_fini(&w->b);
    memset(o, 0, sizeof(*o));
    return backlog_open(w->io, dir, QUEUE, gone != NULL ? next_gone : NULL, (void *)(uintptr_t)gone, &w->b,
                        &o->kept, &o->kept_count, &o->report);
}

static inline void
reopen(struct world *w, struct opened *o)
{
    assert_int_equal(reopen_gone(w, o, NULL), 0);
}

static inline void
opened_fini(struct opened *o)
{
    mem_free(o->kept);
    mem_free(o->report.large);
}

static inline uint64_t
persistent_in(uint64_t first, uint64_t last)
{
    struct backlog_wait wait;
    sum_up(first, last, &wait);
    return wait.persistent;
}

// Two blocks in two appends, and a third: 10 persistent ones each.
static inline void
three_blocks(struct world *w, uint32_t *ret_second)
{
    world_init(w);
    append(w, BACKLOG_CHAIN, 4, 9);
    *ret_second = w->b.files[0].bytes;
    append(w, BACKLOG_CHAIN, 11, 16);
    append(w, BACKLOG_CHAIN, 18, 23);
}

static inline struct backlog_state
state_of(const struct world *w, uint64_t cursor, const uint64_t *kept, size_t kept_count)
{
    struct backlog_state s;
    assert_int_equal(backlog_snapshot(&w->b, &s), 0);
    s.cursor = cursor;
    s.kept = kept;
    s.kept_count = kept_count;
    return s;
}

// The argument of a build with planted bugs: which of them.
static inline void
plant_bugs(int argc, char **argv)
{
#ifdef LV_PLANTED_BUGS
    backlog_planted_bugs = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 0;
#endif
}
