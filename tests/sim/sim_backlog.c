// sim_backlog.c: backlog files of queues against a model, under power cuts, kills, failing and short writes, failing syncs and full disks.
//
//     sim_backlog [first seed] [count] [planted bugs, as a number]
//
// A seed is a story of several lives of one data directory with two queues. The commit log is part of the model: messages and acks are safe
// in it until the owner, relying on a result 0, lets it forget them: a message when an append has come back, acks when a state has. In
// each life the owner publishes, moves what waits to chain blocks and what is out to loose ones, reads blocks, acks, purges,
// writes states, unlinks and removes, while faults come by plan; then the process dies, by itself or with the power. After each start
// what open reports is compared with the model: what was reported durable and not acked is there once, with its content, and in
// order; what was acked is not; the sums are right. The status is 1 at the first seed that fails, which is printed.
#include <stdlib.h>

#include "src/base/err.h"
#include "src/base/mem.h"
#include "src/base/rng.h"
#include "src/store/backlog_format.h"
#include "tests/sim/powercut.h"

enum { QUEUES = 2, SEQS = 400, ITEMS_MAX = 120, BODY_MAX = 3000 };

enum where {
    NOWHERE,
    IN_LOG,
    WAITS,
    KEPT
}; // IN_LOG: in memory and in the log; WAITS: in the chain; KEPT: in memory by its place

struct message {
    enum where where;
    struct msglog_place place; // KEPT
    bool is_out;
    bool is_sure;     // an append with it came back
    bool was_tried;   // it may be in a file
    bool has_failed;  // an append with it failed: what is found of it may be in the page cache alone
    bool is_gone;     // acked or purged
    bool is_gone_log; // the log still says so
};

struct queue {
    uint64_t id, next_seq;
    struct backlog b;
    struct message messages[SEQS + 1];
};

struct sim {
    struct powercut *disk;
    const struct io *io;
    struct rng rng;
    struct queue queues[QUEUES];
    uint64_t next_id, seed;
    bool has_faults; // of this life: errors, other than the power
    bool had_faults; // of any life
    const char *failure;
    uint64_t appended, failed, delivered, kept, deaths, states, removed, adopted;
};

static const char dir[] = "/";

#define CHECK(s, x, text) ((x) || ((s)->failure != NULL) ? (void)0 : (void)((s)->failure = (text)))

static uint64_t
chance(struct sim *s, uint64_t n)
{
    return rng_below(&s->rng, n);
}

// The content of a message follows from its name. Every ninth is not persistent.
static void
make_content(uint64_t queue, uint64_t seq, struct msglog_content *c, uint8_t bytes[BODY_MAX + 32])
{
    struct rng r;
    rng_init(&r, queue * 1000 + seq);
    uint32_t body = (uint32_t)(rng_below(&r, 8) == 0 ? rng_below(&r, BODY_MAX) : rng_below(&r, 200));
    for (uint32_t i = 0; i < body + 9; i++)
        bytes[i] = i % 8 == 0 ? (uint8_t)rng_next(&r) : (uint8_t)(bytes[i - 1] * 5 + 1);
    *c = (struct msglog_content){.flags = seq % 9 != 4,
                                 .priority = (uint8_t)seq,
                                 .route_bytes = 4,
                                 .header_bytes = 5,
                                 .body_bytes = body,
                                 .published_ms = (int64_t)seq,
                                 .bytes = bytes};
}

static bool
is_persistent(uint64_t seq)
{
    return seq % 9 != 4;
}

static bool
is_content(uint64_t queue, uint64_t seq, const struct msglog_content *got)
{
    uint8_t bytes[BODY_MAX + 32];
    struct msglog_content c;
    make_content(queue, seq, &c, bytes);
    return got->bytes != NULL && got->body_bytes == c.body_bytes && got->flags == c.flags &&
           got->priority == c.priority && got->published_ms == c.published_ms &&
           memcmp(got->bytes, bytes, c.body_bytes + 9u) == 0;
}

// --- what the owner does ---

static void
publish(struct sim *s, struct queue *q)
{
    for (uint64_t n = 1 + chance(s, 30); n > 0 && q->next_seq < SEQS; n--)
        q->messages[++q->next_seq] = (struct message){.where = IN_LOG};
}

static void
unkeep(struct queue *q, struct message *m)
{
    if (m->where == KEPT)
        backlog_unkeep(&q->b, (uint32_t)m->place.file);
}

static void
let_go(struct queue *q, struct message *m)
{
    unkeep(q, m);
    m->where = NOWHERE;
    m->is_gone = m->is_gone_log = true;
}

static void
ack(struct sim *s, struct queue *q)
{
    uint64_t seq = 1 + chance(s, q->next_seq + 1), one_in = 1 + chance(s, 3);
    for (uint64_t n = 1 + chance(s, 40); n > 0 && seq <= q->next_seq; n--, seq++) {
        struct message *m = &q->messages[seq];
        if ((m->where == IN_LOG || m->where == KEPT) && chance(s, one_in) == 0)
            let_go(q, m);
    }
}

static void
hand_out(struct sim *s, struct queue *q)
{
    for (uint64_t n = chance(s, 20); n > 0 && q->next_seq > 0; n--) {
        struct message *m = &q->messages[1 + chance(s, q->next_seq)];
        m->is_out = !m->is_out;
    }
}

struct move {
    struct backlog_append a;
    struct backlog_item items[ITEMS_MAX];
    struct msglog_content contents[ITEMS_MAX];
    uint8_t bytes[ITEMS_MAX][BODY_MAX + 32];
};

static void
add_item(struct queue *q, struct move *m, uint64_t seq)
{
    size_t i = m->a.count++;
    const struct message *message = &q->messages[seq];
    m->items[i] = (struct backlog_item){.seq = seq, .epoch = 9, .flags = (uint32_t)seq};
    if (message->where == KEPT) {
        m->items[i].from = message->place;
        m->items[i].is_from_backlog = true;
    } else {
        make_content(q->id, seq, &m->contents[i], m->bytes[i]);
        m->items[i].content = &m->contents[i];
    }
}

// What waits at the end, behind what the chain has.
static void
pick_chain(struct sim *s, struct queue *q, struct move *m)
{
    uint64_t first = LV_MAX(q->b.cursor, backlog_last_seq(&q->b) + 1);
    first += chance(s, 3) == 0 ? chance(s, 5) : 0;
    for (uint64_t seq = first; seq <= q->next_seq && m->a.count < ITEMS_MAX; seq++)
        if (q->messages[seq].where == IN_LOG && !q->messages[seq].is_out)
            add_item(q, m, seq);
}

// What is out, or from an older file.
static void
pick_loose(struct sim *s, struct queue *q, struct move *m)
{
    uint64_t one_in = 1 + chance(s, 4);
    for (uint64_t seq = 1 + chance(s, q->next_seq + 1); seq <= q->next_seq && m->a.count < ITEMS_MAX; seq++) {
        const struct message *message = &q->messages[seq];
        bool is_old = message->where == KEPT && message->place.file + 1 < q->b.next_file;
        if (((message->where == IN_LOG && message->is_out) || is_old) && chance(s, one_in) == 0)
            add_item(q, m, seq);
    }
}

static void
append_done(struct sim *s, struct queue *q, struct move *m, uint64_t from)
{
    struct backlog_wait wait = {0};
    for (size_t i = 0; i < m->a.count; i++) {
        const struct backlog_item *it = &m->items[i];
        uint8_t bytes[BODY_MAX + 32];
        struct msglog_content c;
        make_content(q->id, it->seq, &c, bytes);
        if (it->result == 0 && it->seq >= from) {
            wait.count++;
            wait.body_bytes += c.body_bytes;
            wait.persistent += is_persistent(it->seq);
        }
    }
    if (backlog_appended(&q->b, m->a.blocks, m->a.block_count, from, &wait) != 0)
        abort();
    for (size_t i = 0; i < m->a.count; i++) {
        const struct backlog_item *it = &m->items[i];
        struct message *message = &q->messages[it->seq];
        CHECK(s, it->result == 0 || s->has_faults || powercut_is_off(s->disk),
              "a message cannot be read that is there");
        if (it->result != 0)
            continue;
        unkeep(q, message);
        message->is_sure = true;
        message->where = m->a.kind == BACKLOG_CHAIN && it->seq >= from ? WAITS : KEPT;
        message->place = (struct msglog_place){.file = m->a.file, .offset = it->offset, .len = it->len};
        if (message->where == KEPT && backlog_keep(&q->b, m->a.file, 1) != 0)
            abort();
        s->appended++;
    }
}

static void
append(struct sim *s, struct queue *q, enum backlog_kind kind)
{
    struct move *m = mem_xcalloc(1, sizeof(*m));
    struct backlog_append *a = &m->a;
    *a = (struct backlog_append){.queue = q->id, .items = m->items, .kind = (uint8_t)kind};
    if (kind == BACKLOG_CHAIN)
        pick_chain(s, q, m);
    else
        pick_loose(s, q, m);
    if (a->count == 0) {
        mem_free(m);
        return;
    }
    if (chance(s, 6) == 0 && q->b.file_count > 0 && q->b.files[q->b.file_count - 1].bytes > FILE_HEADER_BYTES)
        q->b.files[q->b.file_count - 1].is_closed = true; // as if it were full
    if (backlog_begin_append(&q->b, a) != 0)
        abort();
    for (size_t i = 0; i < a->count; i++)
        q->messages[m->items[i].seq].was_tried = true;
    int err = backlog_append(s->io, dir, NULL, a);
    // Some may have been taken while the append was on its way; only when nothing waited before.
    uint64_t from = m->items[0].seq;
    if (kind == BACKLOG_CHAIN && backlog_peek(&q->b) == NULL && chance(s, 3) == 0)
        from = m->items[chance(s, a->count)].seq + chance(s, 2);
    if (err == 0) {
        append_done(s, q, m, from);
    } else {
        for (size_t i = 0; i < a->count && s->has_faults; i++)
            if (!q->messages[m->items[i].seq].is_sure)
                q->messages[m->items[i].seq].has_failed = true;
        backlog_append_failed(&q->b, a->file);
        s->failed++;
    }
    mem_free(a->blocks);
    mem_free(m);
}

static void
deliver(struct sim *s, struct queue *q)
{
    const struct backlog_block *block = backlog_peek(&q->b);
    uint8_t *bytes;
    uint32_t at = 0;
    struct backlog_record r;
    struct backlog_wait lost;
    if (block == NULL)
        return;
    int err = backlog_read_block(s->io, dir, q->id, false, block, &bytes);
    CHECK(s, err == 0 || s->has_faults || powercut_is_off(s->disk), "a block cannot be read");
    if (err != 0)
        return;
    for (int got; (got = backlog_block_next(bytes, block, &at, &r)) != 0;) {
        CHECK(s, got == 1 && r.seq <= q->next_seq, "a record cannot be read");
        if (got != 1 || r.seq > q->next_seq || r.seq < q->b.cursor)
            continue;
        struct message *m = &q->messages[r.seq];
        if (m->where != WAITS) {
            CHECK(s, m->is_gone && !is_persistent(r.seq), "a block holds what does not wait in it");
            continue;
        }
        CHECK(s, is_content(q->id, r.seq, &r.content), "a message waits with another content");
        m->where = KEPT;
        m->place = (struct msglog_place){.file = block->file, .offset = r.offset, .len = r.len};
        if (backlog_keep(&q->b, block->file, 1) != 0)
            abort();
        backlog_taken(&q->b, r.seq, r.content.body_bytes, is_persistent(r.seq));
        s->delivered++;
    }
    backlog_advance(&q->b, &lost);
    CHECK(s, lost.count + lost.body_bytes + lost.persistent == 0, "the sums of a block are wrong");
    mem_free(bytes);
}

static void
read_one(struct sim *s, struct queue *q)
{
    struct msglog_record record;
    uint64_t seq = 1 + chance(s, q->next_seq + 1);
    const struct message *m = &q->messages[LV_MIN(seq, q->next_seq)];
    if (m->where != KEPT)
        return;
    int err = backlog_read(s->io, dir, NULL, q->id, false, &m->place, &record);
    CHECK(s, err == 0 || s->has_faults || powercut_is_off(s->disk), "a kept message cannot be read");
    if (err != 0)
        return;
    CHECK(s, is_content(q->id, LV_MIN(seq, q->next_seq), &record.content),
          "a kept message has another content");
    mem_free(record.buffer);
}

static void
write_state(struct sim *s, struct queue *q)
{
    uint64_t kept[SEQS];
    size_t count = 0;
    for (uint64_t seq = 1; seq <= q->next_seq; seq++)
        if (q->messages[seq].where == KEPT)
            kept[count++] = seq;
    struct backlog_state state;
    if (backlog_snapshot(&q->b, &state) != 0)
        abort();
    state.kept = kept;
    state.kept_count = count;
    int err = backlog_write_state(s->io, dir, q->id, &state);
    mem_free(state.ends);
    mem_free(state.dead);
    if (err != 0)
        return;
    s->states++;
    for (uint64_t seq = 1; seq <= q->next_seq; seq++)
        q->messages[seq].is_gone_log = false; // the ring came round
}

static void
unlink_unneeded(struct sim *s, struct queue *q)
{
    for (uint32_t file; (file = backlog_take_unneeded(&q->b)) != 0;)
        if (backlog_unlink(s->io, dir, q->id, false, file) != 0)
            break; // a name that stays does no harm
}

static void
queue_reset(struct sim *s, struct queue *q)
{
    backlog_fini(&q->b);
    memset(q, 0, sizeof(*q));
    q->id = s->next_id++;
    backlog_init(&q->b);
}

static void
purge_or_remove(struct sim *s, struct queue *q)
{
    for (uint64_t seq = 1; seq <= q->next_seq; seq++)
        if (q->messages[seq].where != NOWHERE)
            let_go(q, &q->messages[seq]);
    backlog_drop_chain(&q->b, q->next_seq + 1);
    if (chance(s, 3) != 0)
        return;
    for (uint64_t seq = 1; seq <= q->next_seq; seq++)
        q->messages[seq].is_gone_log =
            true; // the log has its DELETE: a part of the folder may be gone, `state` with it
    if (backlog_remove(s->io, dir, q->id, false) == 0) {
        s->removed++;
        queue_reset(s, q);
    }
}

// --- lives ---

static void
plan_faults(struct sim *s)
{
    static const int errors[] = {-LE_IO, -LE_NOSPACE, 0};
    static const unsigned calls[] = {CUT_WRITE,
                                     CUT_FDATASYNC | CUT_FSYNC,
                                     CUT_SYNC_DIR,
                                     CUT_OPEN,
                                     CUT_RENAME | CUT_UNLINK,
                                     CUT_CHANGES,
                                     CUT_ANY,
                                     CUT_READ};
    s->has_faults = false;
    for (uint64_t n = chance(s, 3); n > 0; n--) {
        struct powercut_fault f = {.calls = calls[chance(s, LV_ARRAY_LEN(calls))],
                                   .at = 1 + chance(s, 120),
                                   .count = chance(s, 6),
                                   .error = errors[chance(s, 3)]};
        powercut_plan(s->disk, &f);
        s->has_faults |= f.error != 0;
    }
    if (chance(s, 2) == 0) {
        struct powercut_fault off = {.calls = CUT_ANY, .at = 1 + chance(s, 400), .is_off = true};
        powercut_plan(s->disk, &off);
    }
    bool is_full = chance(s, 8) == 0;
    powercut_set_capacity(s->disk, is_full ? 20000 + chance(s, 60000) : UINT64_MAX / 2);
    s->has_faults |= is_full;
    s->had_faults |= s->has_faults;
}

static void
live(struct sim *s)
{
    plan_faults(s);
    for (uint64_t n = 10 + chance(s, 60); n > 0 && !powercut_is_off(s->disk) && s->failure == NULL; n--) {
        struct queue *q = &s->queues[chance(s, QUEUES)];
        switch (chance(s, 16)) {
        case 0:
        case 1:
        case 2: publish(s, q); break;
        case 3:
        case 4:
        case 5: append(s, q, BACKLOG_CHAIN); break;
        case 6:
        case 7: append(s, q, BACKLOG_LOOSE); break;
        case 8:
        case 9: deliver(s, q); break;
        case 10:
        case 11: ack(s, q); break;
        case 12: hand_out(s, q); break;
        case 13: write_state(s, q); break;
        case 14: unlink_unneeded(s, q); break;
        default: chance(s, 6) == 0 ? purge_or_remove(s, q) : read_one(s, q); break;
        }
    }
    if (chance(s, 3) == 0)
        powercut_kill(s->disk);
    else
        powercut_cut(s->disk);
    powercut_clear_plan(s->disk);
    powercut_set_capacity(s->disk, UINT64_MAX / 2);
    s->deaths++;
    s->has_faults = false;
}

// --- the start ---

static void
next_gone(void *ctx, uint64_t from, uint64_t *ret_first, uint64_t *ret_end)
{
    const struct queue *q = ctx;
    *ret_first = *ret_end = UINT64_MAX;
    while (from <= q->next_seq && !q->messages[from].is_gone_log)
        from++;
    if (from > q->next_seq)
        return;
    *ret_first = from;
    while (from <= q->next_seq && q->messages[from].is_gone_log)
        from++;
    *ret_end = from;
}

struct seen {
    unsigned count[SEQS + 1];
    bool waits[SEQS + 1];
    struct msglog_place place[SEQS + 1];
};

static void
see_waiting(struct sim *s, struct queue *q, struct seen *seen)
{
    uint64_t last = 0, count = 0, body_bytes = 0;
    for (size_t i = q->b.first; i < q->b.end; i++) {
        const struct backlog_block *block = &q->b.chain[i];
        uint8_t *bytes;
        uint32_t at = 0;
        struct backlog_record r;
        if (backlog_read_block(s->io, dir, q->id, false, block, &bytes) != 0) {
            s->failure = "a block that waits cannot be read";
            return;
        }
        for (int got; (got = backlog_block_next(bytes, block, &at, &r)) != 0;) {
            CHECK(s, got == 1 && r.seq <= q->next_seq && r.seq > last && r.seq >= q->b.cursor,
                  "the chain is not in order");
            if (s->failure != NULL || !is_persistent(r.seq))
                continue;
            last = r.seq;
            count++;
            body_bytes += r.content.body_bytes;
            seen->count[r.seq]++;
            seen->waits[r.seq] = true;
            CHECK(s, is_content(q->id, r.seq, &r.content), "a message waits with another content");
        }
        mem_free(bytes);
    }
    CHECK(s, count == q->b.count && count == q->b.persistent && body_bytes == q->b.body_bytes,
          "the sums are wrong");
}

static void
see_kept(struct sim *s, struct queue *q, const struct backlog_kept *kept, size_t count, struct seen *seen)
{
    for (size_t i = 0; i < count; i++) {
        const struct backlog_record *r = &kept[i].record;
        struct msglog_place place = {.file = kept[i].file, .offset = r->offset, .len = r->len};
        struct msglog_record record;
        CHECK(s, r->seq <= q->next_seq && is_persistent(r->seq), "a message is kept that never was");
        if (s->failure != NULL)
            return;
        seen->count[r->seq]++;
        seen->place[r->seq] = place;
        if (backlog_read(s->io, dir, NULL, q->id, false, &place, &record) != 0) {
            s->failure = "a message that is kept cannot be read";
            return;
        }
        CHECK(s, is_content(q->id, r->seq, &record.content) && r->epoch == 9 && r->flags == r->seq,
              "a message is kept with another content");
        mem_free(record.buffer);
        s->kept++;
    }
}

static void
compare(struct sim *s, struct queue *q, const struct seen *seen)
{
    for (uint64_t seq = 1; seq <= q->next_seq && s->failure == NULL; seq++) {
        struct message *m = &q->messages[seq];
        if (!is_persistent(seq)) { // it ends with the process
            m->is_gone_log |= m->where != NOWHERE;
            m->is_gone = true;
            m->where = NOWHERE;
            continue;
        }
        bool is_there = seen->count[seq] > 0;
        CHECK(s, seen->count[seq] <= 1, "a message is there twice");
        CHECK(s, !is_there || !m->is_gone, "a message came back");
        CHECK(s, !is_there || m->was_tried, "a message is there that nobody moved");
        CHECK(s, is_there || m->is_gone || !m->is_sure, "a durable message is lost");
        if (m->is_gone)
            continue;
        s->adopted += is_there && !m->is_sure;
        // Found though its append never came back: the owner relies on it, unless writing it had failed.
        m->is_sure |= is_there && !m->has_failed;
        m->where = !is_there ? IN_LOG : seen->waits[seq] ? WAITS : KEPT;
        m->place = seen->place[seq];
        m->is_out = false;
    }
}

static void
gone_of(void *ctx, uint64_t id, uint64_t from, uint64_t *ret_first, uint64_t *ret_end)
{
    struct sim *s = ctx;
    for (int i = 0; i < QUEUES; i++)
        if (s->queues[i].id == id)
            next_gone(&s->queues[i], from, ret_first, ret_end);
}

// All queues together; true when none of them failed.
static bool
open_all(struct sim *s, struct backlog_opened *opened)
{
    bool is_good = true;
    for (int i = 0; i < QUEUES; i++)
        opened[i] = (struct backlog_opened){.queue = s->queues[i].id};
    backlog_open_all(&(struct backlog_open_all){.io = s->io,
                                                .data_dir = dir,
                                                .queues = opened,
                                                .count = QUEUES,
                                                .gone = gone_of,
                                                .ctx = s,
                                                .sync_all_min = 1 + s->seed % (QUEUES + 1)});
    for (int i = 0; i < QUEUES; i++)
        is_good &= opened[i].result == 0;
    return is_good;
}

static void
start(struct sim *s, struct queue *q, struct backlog_opened *o)
{
    struct seen *seen = mem_xcalloc(1, sizeof(*seen));
    backlog_fini(&q->b);
    q->b = o->backlog;
    backlog_init(&o->backlog);
    CHECK(s, o->report.bad_records + o->report.bad_states == 0, "something is damaged");
    CHECK(s, o->report.bad_blocks == 0 || s->had_faults, "a block is damaged");
    see_kept(s, q, o->kept, o->kept_count, seen);
    see_waiting(s, q, seen);
    compare(s, q, seen);
    CHECK(s, powercut_open_count(s->disk) == 0, "a file is left open");
    mem_free(seen);
}

static void
start_all(struct sim *s)
{
    struct backlog_opened opened[QUEUES];
    if (chance(s, 2) == 0) { // a start that fails changes nothing
        struct powercut_fault f = {
            .calls = CUT_ANY, .at = 1 + chance(s, 30 * QUEUES), .count = 1, .error = -LE_IO};
        powercut_plan(s->disk, &f);
    }
    bool is_good = open_all(s, opened);
    powercut_clear_plan(s->disk);
    if (!is_good) {
        for (int i = 0; i < QUEUES; i++)
            backlog_opened_fini(&opened[i]);
        is_good = open_all(s, opened);
    }
    if (!is_good)
        s->failure = "the files cannot be opened";
    for (int i = 0; i < QUEUES; i++) {
        if (s->failure == NULL)
            start(s, &s->queues[i], &opened[i]);
        backlog_opened_fini(&opened[i]);
    }
}

static int
is_known(void *ctx, uint64_t id)
{
    struct sim *s = ctx;
    bool is_one = false;
    for (int i = 0; i < QUEUES; i++)
        is_one |= s->queues[i].id == id;
    CHECK(s, is_one, "a queue that was removed came back");
    return 0;
}

static bool
story(struct sim *s, uint64_t seed)
{
    s->disk = powercut_new(seed);
    s->io = powercut_io(s->disk);
    s->seed = seed;
    s->failure = NULL;
    s->next_id = 1;
    s->had_faults = false;
    rng_init(&s->rng, seed);
    for (int i = 0; i < QUEUES; i++)
        queue_reset(s, &s->queues[i]);
    for (uint64_t lives = 2 + chance(s, 5); lives > 0 && s->failure == NULL; lives--) {
        if (backlog_prepare_dirs(s->io, dir) != 0 || backlog_each_queue(s->io, dir, is_known, s) != 0)
            s->failure = "the folders cannot be made";
        if (s->failure == NULL)
            start_all(s);
        if (s->failure == NULL && lives > 1)
            live(s);
    }
    for (int i = 0; i < QUEUES; i++)
        backlog_fini(&s->queues[i].b);
    powercut_free(s->disk);
    if (s->failure != NULL)
        printf("seed %llu: %s\n", (unsigned long long)seed, s->failure);
    return s->failure == NULL;
}

int
main(int argc, char **argv)
{
    uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 10) : 1,
             count = argc > 2 ? strtoull(argv[2], NULL, 10) : 1000;
#ifdef LV_PLANTED_BUGS
    backlog_planted_bugs = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) : 0;
#endif
    struct sim *s = mem_xcalloc(1, sizeof(*s));
    int status = 0;
    for (uint64_t seed = first; seed < first + count && status == 0; seed++)
        status = story(s, seed) ? 0 : 1;
    printf("%llu appended, %llu appends failed, %llu delivered, %llu kept at starts, %llu adopted, %llu "
           "states, %llu removed, "
           "%llu deaths\n",
           (unsigned long long)s->appended, (unsigned long long)s->failed, (unsigned long long)s->delivered,
           (unsigned long long)s->kept, (unsigned long long)s->adopted, (unsigned long long)s->states,
           (unsigned long long)s->removed, (unsigned long long)s->deaths);
    mem_free(s);
    return status;
}
