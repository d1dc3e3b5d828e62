// sim_log.c: the commit log against a model, under power cuts, kills, failing and short writes, failing syncs and full disks.
//
//     sim_log [first seed] [count] [planted bugs, as a number]
//
// A seed is a story of several lives of one data directory. In each life three writers publish to queues (small and large bodies, one
// or several queues), ack, purge, delete and use transactions, while faults come by plan; then the process dies, by itself or with
// the power. After each start the recovered set is compared with the model: what was reported durable is there with its content;
// what was gone durably is not; what was open is there or not, transactions as a whole, and stays so from then on; nothing else is
// there. Every third queue keeps what it has to move in a backlog file, of which the log knows only the acks: recovery has to name them.
// The status is 1 at the first seed that fails, which is printed.
#include <stdlib.h>

#include "src/base/crc.h"
#include "src/base/err.h"
#include "src/base/mem.h"
#include "src/store/log_core.h"
#include "tests/sim/powercut.h"

enum { WRITERS = 3, QUEUES = 6, SEQS = 600, TXS = 200, QUEUE_IDS = 40 };

enum state { NEVER, OPEN, SURE, GONE }; // OPEN: a crash may keep it or not

struct message {
    enum state state;
    uint64_t id;        // makes the content
    uint32_t tx;        // index of the transaction that published it and is not decided, or 0
    uint32_t ack_tx;    // that acks it
    bool is_dying;      // acked, purged or deleted, durably or not
    bool is_filed;      // it lies in a backlog file; the log knows its acks alone
    bool is_stated;     // that it is gone is known without the log
    uint64_t gone_file; // segment in which the log says that it is gone
    uint64_t large_file;
};

struct tx {
    uint64_t id;
    bool is_open; // not decided
};

struct job { // an entry and what it means
    struct msglog_entry e;
    struct msglog_content content;
    uint8_t *bytes; // owned by the last job of a publish
    unsigned writer;
    uint32_t tx;
    struct job *next;
};

struct sim {
    struct powercut *disk;
    struct rng rng;
    struct core core;
    struct msglog_live live; // what the owners know
    struct message messages[QUEUE_IDS + 1][SEQS + 1];
    uint64_t next_seq[QUEUE_IDS + 1];
    unsigned queues[QUEUES], next_queue;
    struct tx txs[TXS];
    uint32_t tx_count;
    struct job *jobs, *last; // waiting to be added, in order
    struct job *flying;      // added, not settled
    uint64_t next_id, vacating, seed;
    const char *failure;
    uint64_t durable, recovered, refused, cuts, outs, moved, filed;
};

#define CHECK(s, x, text) ((x) || ((s)->failure != NULL) ? (void)0 : (void)((s)->failure = (text)))

static uint64_t
chance(struct sim *s, uint64_t n)
{
    return rng_below(&s->rng, n);
}

// Queues that put into a backlog file what they have to move. The files are beside the simulated disk: what is put there is safe.
static bool
has_files(void *ctx, uint64_t queue)
{
    return queue % 3 == 0;
}

// The content of a message follows from its number.
static size_t
make_content(uint64_t id, struct msglog_content *c, uint8_t **ret_bytes)
{
    struct rng r;
    rng_init(&r, id);
    uint64_t kind = rng_below(&r, 20);
    size_t len = kind == 0  ? 4000 + rng_below(&r, 5000)
                 : kind < 4 ? rng_below(&r, 3000)
                            : 8 + rng_below(&r, 200);
    uint8_t *bytes = mem_xalloc(len + 16);
    for (size_t i = 0; i < len + 16; i++)
        bytes[i] = (uint8_t)rng_next(&r);
    *c = (struct msglog_content){.flags = 1,
                                 .priority = (uint8_t)kind,
                                 .route_bytes = 6,
                                 .header_bytes = 10,
                                 .body_bytes = (uint32_t)len,
                                 .expiry_ms = (uint32_t)id,
                                 .published_ms = (int64_t)id,
                                 .bytes = bytes};
    *ret_bytes = bytes;
    return len + 16;
}

// --- what the writers do ---

static struct job *
push(struct sim *s, enum msglog_kind kind, unsigned writer)
{
    struct job *j = mem_xcalloc(1, sizeof(*j));
    j->e.kind = (uint8_t)kind;
    j->writer = writer;
    if (s->last != NULL)
        s->last->next = j;
    else
        s->jobs = j;
    s->last = j;
    return j;
}

static unsigned
pick_queue(struct sim *s)
{
    return s->queues[chance(s, QUEUES)];
}

static void
publish(struct sim *s, uint32_t tx)
{
    struct msglog_content content;
    uint8_t *bytes;
    uint64_t id = s->next_id++;
    make_content(id, &content, &bytes);
    struct job *last = NULL;
    uint64_t refs = chance(s, 3) == 0 ? 1 + chance(s, 4) : 1;
    for (uint64_t i = 0; i < refs; i++) {
        unsigned q = pick_queue(s);
        if (s->next_seq[q] >= SEQS)
            continue;
        struct job *j = push(s, MSGLOG_MESSAGE, q % WRITERS);
        j->content = content;
        last = j;
        j->e.content = &j->content;
        j->e.queue = q;
        j->e.seq = ++s->next_seq[q];
        j->e.epoch = 7;
        j->tx = tx;
        j->e.tx = tx != 0 ? s->txs[tx].id : 0;
        s->messages[q][j->e.seq] = (struct message){.state = OPEN, .id = id, .tx = tx};
    }
    if (last != NULL)
        last->bytes = bytes; // settled after the others
    else
        mem_free(bytes); // no queue took it
}

// From the submission on the owner has forgotten the message: whatever happens, it will not be moved.
static void
forget(struct sim *s, unsigned q, uint64_t seq)
{
    struct message *m = &s->messages[q][seq];
    m->is_dying = true;
    msglog_live_ack(&s->live, q, seq, 1);
}

// Durably gone: now its large body may go too.
static void
is_gone(struct sim *s, unsigned q, struct message *m)
{
    m->state = GONE;
    if (m->large_file != 0)
        push(s, MSGLOG_RELEASE, q % WRITERS)->e.large_file = m->large_file;
    m->large_file = 0;
}

static void
ack(struct sim *s, uint32_t tx)
{
    unsigned q = pick_queue(s);
    uint64_t seq = 1 + chance(s, s->next_seq[q] + 1), end = seq + 1 + chance(s, 20);
    for (; seq < end && seq <= s->next_seq[q]; seq++) {
        struct message *m = &s->messages[q][seq];
        bool is_there = msglog_live_find(&s->live, q, seq) != NULL || m->is_filed;
        if (m->is_dying || !is_there || m->tx != 0)
            continue;
        struct job *j = push(s, MSGLOG_ACK, q % WRITERS);
        j->e.queue = q;
        j->e.seq = seq;
        j->e.count = 1;
        j->tx = tx;
        j->e.tx = tx != 0 ? s->txs[tx].id : 0;
        m->ack_tx = tx;
        if (tx == 0)
            forget(s, q, seq);
        else
            m->is_dying = true; // forgotten when it is committed
    }
}

static void
transaction(struct sim *s)
{
    if (s->tx_count + 1 >= TXS)
        return;
    uint32_t tx = ++s->tx_count;
    s->txs[tx] = (struct tx){.id = s->core.next_tx++, .is_open = true};
    bool is_abort = chance(s, 5) == 0, is_early = chance(s, 2) == 0;
    struct job *verdict = is_early ? push(s, is_abort ? MSGLOG_ABORT : MSGLOG_COMMIT, 0) : NULL;
    for (uint64_t n = 1 + chance(s, 6); n > 0; n--) {
        if (chance(s, 3) == 0)
            ack(s, tx);
        else
            publish(s, tx);
    }
    for (unsigned w = 0; w < WRITERS; w++) {
        struct job *part = push(s, MSGLOG_PART, w);
        part->e.tx = s->txs[tx].id;
    }
    if (verdict == NULL)
        verdict = push(s, is_abort ? MSGLOG_ABORT : MSGLOG_COMMIT, 1);
    verdict->e.tx = s->txs[tx].id;
    verdict->e.count = WRITERS;
    verdict->tx = tx;
}

static bool
has_open_tx(const struct sim *s)
{
    for (uint32_t i = 1; i <= s->tx_count; i++)
        if (s->txs[i].is_open)
            return true;
    return false;
}

static void
purge_or_delete(struct sim *s)
{
    unsigned slot = (unsigned)chance(s, QUEUES), q = s->queues[slot];
    bool is_delete = chance(s, 2) == 0 && s->next_queue < QUEUE_IDS;
    if (has_open_tx(s))
        return;
    struct job *j = push(s, is_delete ? MSGLOG_DELETE : MSGLOG_PURGE, q % WRITERS);
    j->e.queue = q;
    j->e.seq = s->next_seq[q];
    for (uint64_t seq = 1; seq <= s->next_seq[q]; seq++)
        if (!s->messages[q][seq].is_dying)
            forget(s, q, seq);
    if (is_delete)
        s->queues[slot] = ++s->next_queue;
}

static int
move_one(void *ctx, uint64_t queue, struct msglog_live_entry *e)
{
    struct sim *s = ctx;
    struct job *j = push(s, MSGLOG_MOVE, (unsigned)queue % WRITERS);
    j->e.queue = queue;
    j->e.seq = e->seq;
    j->e.epoch = e->epoch;
    j->e.flags = e->flags;
    j->e.expires_ms = e->expires_ms;
    j->e.place = e->place;
    return 0;
}

// What lives there goes into the queue's file, and what acks in there said about files is written elsewhere.
static void
file_away(struct sim *s, unsigned q)
{
    for (uint64_t seq = 1; seq <= s->next_seq[q]; seq++) {
        struct message *m = &s->messages[q][seq];
        const struct msglog_live_entry *e = msglog_live_find(&s->live, q, seq);
        if (e != NULL && e->place.file <= s->vacating) {
            m->is_filed = true;
            msglog_live_ack(&s->live, q, seq, 1);
            s->filed++;
        }
        if (m->is_filed && m->state == GONE && m->gone_file <= s->vacating)
            m->is_stated = true;
    }
}

static void
vacate(struct sim *s)
{
    uint64_t wanted = core_vacate_wanted(&s->core);
    s->vacating = wanted != 0 ? wanted : s->vacating;
    if (s->vacating == 0 || has_open_tx(s))
        return;
    for (unsigned q = 1; q <= s->next_queue; q++)
        if (has_files(NULL, q))
            file_away(s, q);
    if (msglog_live_each(&s->live, s->vacating, move_one, s) != 0)
        abort();
    for (unsigned w = 0; w < WRITERS; w++)
        push(s, MSGLOG_VACATED, w)->e.place.file = s->vacating;
    s->vacating = 0;
}

// --- results ---

static void
message_done(struct sim *s, const struct job *j)
{
    struct message *m = &s->messages[j->e.queue][j->e.seq];
    if (j->e.result != 0) {
        s->refused++;
        m->tx = 0;
        m->is_dying = true; // its publisher was told; nobody delivers it
        return;
    }
    m->large_file = j->e.large_file;
    if (j->tx == 0 && m->state == OPEN) {
        m->state = SURE;
        s->durable++;
    }
    struct msglog_live_entry e = {
        .seq = j->e.seq, .place = j->e.place, .large_file = j->e.large_file, .epoch = j->e.epoch};
    if (!m->is_dying && msglog_live_put(&s->live, j->e.queue, &e) != 0)
        abort();
}

static void
each_of_tx(struct sim *s, uint32_t tx, bool is_committed)
{
    for (unsigned q = 1; q <= s->next_queue; q++)
        for (uint64_t seq = 1; seq <= s->next_seq[q]; seq++) {
            struct message *m = &s->messages[q][seq];
            if (m->tx == tx) {
                m->tx = 0;
                m->state = is_committed ? SURE : m->state;
                m->is_dying |= !is_committed;
                if (!is_committed)
                    msglog_live_ack(&s->live, q, seq, 1);
            }
            if (m->ack_tx == tx) {
                m->ack_tx = 0;
                m->is_dying = is_committed;
                if (is_committed) {
                    forget(s, q, seq);
                    is_gone(s, q, m);
                }
            }
        }
}

static void
job_done(struct sim *s, struct job *j)
{
    const struct msglog_entry *e = &j->e;
    struct message *m = e->queue != 0 ? &s->messages[e->queue][e->seq] : NULL;
    switch (e->kind) {
    case MSGLOG_MESSAGE: message_done(s, j); break;
    case MSGLOG_MOVE: {
        struct msglog_live_entry *known = msglog_live_find(&s->live, e->queue, e->seq);
        CHECK(s, e->result == 0 || e->result == -LE_NOSPACE || e->result == -LE_IO,
              "a message cannot be moved");
        if (e->result == 0 && known != NULL) {
            struct msglog_live_entry moved = *known;
            moved.place = e->place;
            if (msglog_live_put(&s->live, e->queue, &moved) != 0)
                abort();
        }
        s->moved += e->result == 0;
        break;
    }
    case MSGLOG_ACK:
        m->gone_file = e->place.file;
        if (j->tx == 0 && e->result == 0)
            is_gone(s, (unsigned)e->queue, m);
        else if (j->tx == 0)
            m->state = OPEN;
        break;
    case MSGLOG_PURGE:
    case MSGLOG_DELETE:
        for (uint64_t seq = 1; seq <= e->seq; seq++) {
            m = &s->messages[e->queue][seq];
            if (m->state != GONE && m->state != NEVER && e->result == 0) {
                m->gone_file = e->place.file;
                is_gone(s, (unsigned)e->queue, m);
            } else if (m->state == SURE)
                m->state = OPEN;
        }
        break;
    case MSGLOG_COMMIT:
    case MSGLOG_ABORT:
        if (e->result != 0 && e->kind == MSGLOG_COMMIT)
            break; // open: a crash decides, and until then nothing of it is delivered
        each_of_tx(s, j->tx, e->kind == MSGLOG_COMMIT);
        s->txs[j->tx].is_open = false;
        break;
    default: break;
    }
}

// A message that was published by a transaction which was refused stays OPEN until the next start.
static void
settle_jobs(struct sim *s)
{
    struct job *held = NULL, **tail = &held;
    for (struct job *j = s->flying, *next; j != NULL; j = next) {
        next = j->next;
        if (j->e.result == CORE_HELD) {
            j->next = NULL;
            *tail = j;
            tail = &j->next;
            continue;
        }
        job_done(s, j);
        mem_free(j->bytes);
        mem_free(j);
    }
    s->flying = held;
}

static void
flush(struct sim *s)
{
    (void)core_flush(&s->core);
    settle_jobs(s);
    if (chance(s, 2) == 0)
        core_prepare(&s->core);
}

static void
add_jobs(struct sim *s)
{
    while (s->jobs != NULL && !powercut_is_off(s->disk)) {
        struct job *j = s->jobs;
        int err = core_add(&s->core, j->writer, &j->e);
        if (err == -LE_AGAIN) {
            flush(s);
            continue;
        }
        s->jobs = j->next;
        if (s->jobs == NULL)
            s->last = NULL;
        struct job **end = &s->flying;
        while (*end != NULL)
            end = &(*end)->next;
        *end = j;
        j->next = NULL;
    }
}

static void
drop_jobs(struct sim *s)
{
    struct job *lists[] = {s->jobs, s->flying};
    for (int i = 0; i < 2; i++)
        for (struct job *j = lists[i], *next; j != NULL; j = next) {
            next = j->next;
            if (j->e.kind == MSGLOG_ACK && j->tx == 0)
                s->messages[j->e.queue][j->e.seq].state = OPEN;
            if (j->e.kind == MSGLOG_PURGE || j->e.kind == MSGLOG_DELETE)
                for (uint64_t seq = 1; seq <= j->e.seq; seq++)
                    if (s->messages[j->e.queue][seq].state == SURE)
                        s->messages[j->e.queue][seq].state = OPEN;
            mem_free(j->bytes);
            mem_free(j);
        }
    s->jobs = s->last = s->flying = NULL;
}

// --- lives ---

static void
plan_faults(struct sim *s)
{
    struct powercut_fault f = {.calls = CUT_CHANGES, .at = 1 + chance(s, 150), .count = 1};
    switch (chance(s, 8)) {
    case 0: break;
    case 1:
        f.calls = CUT_FDATASYNC;
        f.error = -LE_IO;
        f.at = 1 + chance(s, 40);
        powercut_plan(s->disk, &f);
        break;
    case 2:
        f.calls = CUT_WRITE;
        f.error = -LE_IO;
        powercut_plan(s->disk, &f);
        break;
    case 3:
        f.error = -LE_NOSPACE;
        f.count = 1 + chance(s, 20);
        powercut_plan(s->disk, &f);
        break;
    case 4:
        f.calls = CUT_WRITE;
        f.count = 0;
        powercut_plan(s->disk, &f);
        break; // short for ever
    case 5:
        f.error = -LE_IO;
        f.count = 2 + chance(s, 4);
        powercut_plan(s->disk, &f);
        break;
    case 6: powercut_set_capacity(s->disk, 16384 * (2 + chance(s, 5)) + chance(s, 9000)); break;
    default:
        f.calls = CUT_FSYNC | CUT_SYNC_DIR;
        f.error = -LE_IO;
        f.at = 1 + chance(s, 8);
        powercut_plan(s->disk, &f);
        break;
    }
    if (chance(s, 3) != 0)
        powercut_plan(s->disk,
                      &(struct powercut_fault){.calls = CUT_ANY, .at = 1 + chance(s, 200), .is_off = true});
}

static void
live_on(struct sim *s)
{
    for (uint64_t turn = 0; turn < 40 && !powercut_is_off(s->disk) && s->failure == NULL && !s->core.is_out;
         turn++) {
        for (uint64_t n = chance(s, 8); n > 0; n--)
            publish(s, 0);
        for (uint64_t n = chance(s, 4); n > 0; n--)
            ack(s, 0);
        if (chance(s, 4) == 0)
            transaction(s);
        if (chance(s, 15) == 0)
            purge_or_delete(s);
        vacate(s);
        add_jobs(s);
        if (!powercut_is_off(s->disk))
            flush(s);
        if (turn == 25)
            powercut_set_capacity(s->disk, UINT64_MAX / 2); // space comes back
    }
    s->outs += s->core.is_out;
}

static bool
is_content_right(struct sim *s, const struct msglog_live_entry *e, uint64_t id)
{
    struct msglog_content want;
    uint8_t *bytes;
    struct msglog_record got;
    size_t len = make_content(id, &want, &bytes);
    bool is_right = core_read(&s->core, &e->place, &got) == 0;
    if (is_right) {
        is_right = memcmp(got.content.bytes, bytes, len) == 0 && got.content.body_bytes == want.body_bytes &&
                   got.content.expiry_ms == want.expiry_ms && got.content.published_ms == want.published_ms;
        mem_free(got.buffer);
    }
    mem_free(bytes);
    return is_right && e->epoch == 7;
}

static bool
is_gone_by_log(const struct sim *s, unsigned q, uint64_t seq)
{
    const struct msglog_live_queue *known = inttab_get(&s->live.queues, q);
    uint64_t first, end;
    msglog_live_next_gone(&s->live, q, seq, &first, &end);
    return first <= seq || (known != NULL && known->is_deleted);
}

// It was recovered: it lies in the log, or in a file and nothing says that it is gone.
static bool
is_alive(const struct sim *s, unsigned q, uint64_t seq)
{
    const struct message *m = &s->messages[q][seq];
    return msglog_live_find(&s->live, q, seq) != NULL ||
           (m->is_filed && !m->is_stated && !is_gone_by_log(s, q, seq));
}

// Its large body must be there too.
static bool
is_filed_content_right(struct sim *s, const struct message *m)
{
    struct msglog_content want;
    uint8_t *bytes;
    size_t len = make_content(m->id, &want, &bytes);
    uint8_t *got = mem_xalloc(len);
    bool is_right = m->large_file == 0 ||
                    large_read(&s->core, m->large_file, (uint32_t)len, crc32c(0, bytes, len), got) == 0;
    mem_free(got);
    mem_free(bytes);
    return is_right;
}

// All parts of an undecided transaction came back, or none.
static void
check_txs(struct sim *s)
{
    uint32_t there[TXS] = {0}, away[TXS] = {0};
    for (unsigned q = 1; q <= s->next_queue; q++)
        for (uint64_t seq = 1; seq <= s->next_seq[q]; seq++) {
            const struct message *m = &s->messages[q][seq];
            bool is_there = is_alive(s, q, seq);
            if (m->tx != 0)
                *(is_there ? &there[m->tx] : &away[m->tx]) += 1;
            if (m->ack_tx != 0 && m->state == SURE)
                *(is_there ? &away[m->ack_tx] : &there[m->ack_tx]) += 1;
        }
    for (uint32_t t = 1; t <= s->tx_count; t++)
        CHECK(s, there[t] == 0 || away[t] == 0, "half a transaction came back");
}

static void
compare(struct sim *s)
{
    uint64_t count = 0;
    check_txs(s);
    for (unsigned q = 1; q <= s->next_queue && s->failure == NULL; q++)
        for (uint64_t seq = 1; seq <= s->next_seq[q]; seq++) {
            struct message *m = &s->messages[q][seq];
            const struct msglog_live_entry *e = msglog_live_find(&s->live, q, seq);
            bool is_sure = m->state == SURE && m->ack_tx == 0;
            bool is_there = is_alive(s, q, seq);
            CHECK(s, is_there || !is_sure, "a durable message is lost");
            CHECK(s, !is_there || m->state == OPEN || m->state == SURE, "a message came back");
            CHECK(s, !is_sure || !is_gone_by_log(s, q, seq), "a message is said to be gone that is not");
            CHECK(s, e == NULL || is_content_right(s, e, m->id),
                  "a message cannot be read as it was written");
            CHECK(s, e != NULL || !is_there || is_filed_content_right(s, m), "a large body is lost");
            if (e == NULL && is_there && m->large_file != 0 && large_hold(&s->core, m->large_file) != 0)
                abort();
            m->state = is_there ? SURE : GONE;
            m->large_file = e != NULL ? e->large_file : is_there ? m->large_file : 0;
            m->gone_file = 0; // anywhere: its queue writes it down when it is asked next
            m->is_dying = !is_there;
            m->tx = m->ack_tx = 0;
            count += e != NULL;
        }
    CHECK(s, count == s->live.count, "there are messages that nobody published");
    for (uint32_t t = 1; t <= s->tx_count; t++)
        s->txs[t].is_open = false;
    s->recovered += count;
}

static bool
start(struct sim *s)
{
    struct msglog_report report;
    struct msglog_config config = {.io = powercut_io(s->disk),
                                   .dir = "/d",
                                   .segment_bytes = 16384,
                                   .segment_max = 7,
                                   .seed = rng_next(&s->rng),
                                   .writer_count = WRITERS,
                                   .wants_gone = has_files};
    int err = core_open(&s->core, &config, &s->live, &report);
    if (err != 0) {
        CHECK(s, powercut_is_off(s->disk), "the log does not open");
        return false;
    }
    CHECK(s, (report.bad_spots == 0 && report.missing_segments == 0) || powercut_is_off(s->disk),
          "damage is reported where there is none");
    return true;
}

static void
one_life(struct sim *s)
{
    powercut_set_capacity(s->disk, UINT64_MAX / 2);
    if (chance(s, 4) == 0) // dies while it starts
        powercut_plan(s->disk,
                      &(struct powercut_fault){.calls = CUT_ANY, .at = 1 + chance(s, 60), .is_off = true});
    bool is_open = start(s);
    if (is_open && !powercut_is_off(s->disk)) {
        powercut_clear_plan(s->disk);
        compare(s);
        if (chance(s, 8) == 0) // dies while it sweeps
            powercut_plan(s->disk,
                          &(struct powercut_fault){.calls = CUT_ANY, .at = 1 + chance(s, 4), .is_off = true});
        CHECK(s, core_start(&s->core) == 0 || powercut_is_off(s->disk), "the log does not start");
        powercut_clear_plan(s->disk);
        if (!powercut_is_off(s->disk)) {
            plan_faults(s);
            s->vacating = 0;
            live_on(s);
        }
    }
    if (is_open) {
        if (chance(s, 4) == 0 && !powercut_is_off(s->disk) && s->jobs == NULL)
            (void)core_mark_end(&s->core);
        drop_jobs(s);
        core_fini(&s->core);
        msglog_live_fini(&s->live);
    }
    if (chance(s, 4) == 0)
        powercut_kill(s->disk);
    else
        powercut_cut(s->disk);
    s->cuts++;
}

static const char *
run_seed(struct sim *s, uint64_t seed)
{
    memset(s, 0, offsetof(struct sim, failure));
    s->failure = NULL;
    s->seed = seed;
    rng_init(&s->rng, seed);
    s->disk = powercut_new(seed ^ 0x5eed);
    s->next_id = seed * 100000;
    for (unsigned i = 0; i < QUEUES; i++)
        s->queues[i] = ++s->next_queue;
    const struct io *io = powercut_io(s->disk);
    if (io->mkdir(io->ctx, "/d") != 0 || io->sync_dir(io->ctx, "/") != 0)
        abort();
    for (uint64_t lives = 2 + chance(s, 5); lives > 0 && s->failure == NULL; lives--)
        one_life(s);
    if (s->failure == NULL && start(s)) {
        compare(s);
        core_fini(&s->core);
        msglog_live_fini(&s->live);
    }
    powercut_free(s->disk);
    return s->failure;
}

int
main(int argc, char **argv)
{
    uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 10) : 1,
             count = argc > 2 ? strtoull(argv[2], NULL, 10) : 1000;
#ifdef LV_PLANTED_BUGS
    msglog_planted_bugs = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 0) : 0;
#endif
    struct sim *s = mem_xcalloc(1, sizeof(*s));
    int status = 0;
    for (uint64_t seed = first; seed < first + count && status == 0; seed++) {
        const char *failure = run_seed(s, seed);
        if (failure != NULL) {
            printf("seed %llu: %s\n", (unsigned long long)seed, failure);
            status = 1;
        }
    }
    printf("%llu durable, %llu recovered, %llu refused, %llu moved, %llu filed, %llu deaths, %llu out of "
           "service\n",
           (unsigned long long)s->durable, (unsigned long long)s->recovered, (unsigned long long)s->refused,
           (unsigned long long)s->moved, (unsigned long long)s->filed, (unsigned long long)s->cuts,
           (unsigned long long)s->outs);
    mem_free(s);
    return status;
}
