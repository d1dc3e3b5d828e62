// sim_log.c: the commit log against a model, under power cuts, kills, failing and short writes, failing syncs and full disks.
//
//     sim_log [first seed] [count] [planted bugs, as a number]
//
// A seed is a story of several lives of one data directory. In each life three writers publish to queues (small and large bodies, one
// or several queues), ack, purge, delete and use transactions, while faults come by plan; then the process dies, by itself or with
// the power. After each start the recovered set is compared with the model: what was reported durable is there with its content;
// what was gone durably is not; what was open is there or not, transactions as a whole, and stays so from then on; nothing else is
// there, and a delivery count that was reported does not go down. What was relaxed survives a kill, and may be gone after a power cut as long as no sync covered it. Every third queue keeps what
// it has to move in a backlog file, of which the log knows only the acks: recovery has to name them. The status is 1 at the first seed
// that fails, which is printed.
#include <stdlib.h>

#include "src/base/err.h"
#include "src/base/mem.h"
#include "tests/sim/sim_log.h"

static uint64_t
chance(struct sim *s, uint64_t n)
{
    return rng_below(&s->rng, n);
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

// In some lives nearly everything is relaxed, so that many groups in a row are.
static bool
pick_relaxed(struct sim *s, uint32_t tx)
{
    return (tx != 0 && s->txs[tx].is_relaxed) || chance(s, 100) < s->relaxed_percent;
}

static void
publish(struct sim *s, uint32_t tx)
{
    struct msglog_content content;
    uint8_t *bytes;
    uint64_t id = s->next_id++;
    sim_make_content(id, &content, &bytes);
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
        j->e.is_relaxed = pick_relaxed(s, tx);
        s->messages[q][j->e.seq] =
            (struct message){.state = OPEN, .id = id, .tx = tx, .is_relaxed = j->e.is_relaxed};
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
        j->e.is_relaxed = pick_relaxed(s, tx);
        m->ack_tx = tx;
        if (tx == 0)
            forget(s, q, seq);
        else
            m->is_dying = true; // forgotten when it is committed
    }
}

// Messages came back from a client: their owner counts it.
static void
count(struct sim *s)
{
    unsigned q = pick_queue(s);
    uint64_t seq = 1 + chance(s, s->next_seq[q] + 1), end = seq + 1 + chance(s, 20);
    for (; seq < end && seq <= s->next_seq[q]; seq++) {
        struct message *m = &s->messages[q][seq];
        struct msglog_live_entry *e = msglog_live_find(&s->live, q, seq);
        if (m->is_dying || (e == NULL && !m->is_filed) || m->tx != 0 || m->ack_tx != 0)
            continue;
        m->count++;
        if (e != NULL)
            e->flags = m->count << 16;
        struct job *j = push(s, MSGLOG_COUNT, q % WRITERS);
        j->e.queue = q;
        j->e.seq = seq;
        j->e.count = 1;
        j->e.flags = m->count;
        j->e.is_relaxed = chance(s, 4) != 0;
    }
}

static void
transaction(struct sim *s)
{
    if (s->tx_count + 1 >= TXS)
        return;
    uint32_t tx = ++s->tx_count;
    s->txs[tx] = (struct tx){
        .id = s->core.next_tx++, .is_open = true, .is_relaxed = chance(s, 100) < s->relaxed_percent};
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
    verdict->e.is_relaxed = s->txs[tx].is_relaxed;
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
    j->e.is_relaxed = s->messages[queue][e->seq].is_relaxed;
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
        if (m->is_filed)
            m->count_filed = m->count;
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
        if (sim_has_files(NULL, q))
            file_away(s, q);
    if (msglog_live_each(&s->live, s->vacating, move_one, s) != 0)
        abort();
    for (unsigned w = 0; w < WRITERS; w++)
        push(s, MSGLOG_VACATED, w)->e.place.file = s->vacating;
    s->vacating = 0;
}

// --- results ---

// The entry was reported, and may be undone by a power cut until it is synced.
static void
add_soft(struct sim *s, uint64_t queue, uint64_t seq, bool is_move, uint32_t count)
{
    if (s->soft_count == s->soft_cap) {
        s->soft_cap = s->soft_cap == 0 ? 256 : s->soft_cap * 2;
        s->softs = mem_xrealloc(s->softs, s->soft_cap * sizeof(*s->softs));
    }
    s->softs[s->soft_count++] =
        (struct soft){queue, seq, s->core.ring.prev_generation, s->core.ring.prev_end, is_move, count};
    s->relaxed++;
}

// After each flush and sync: what is durable by now is as good as any other; what lies in a segment that is closed and was not synced
// never will be.
static void
promote(struct sim *s)
{
    size_t kept = 0;
    for (size_t i = 0; i < s->soft_count; i++) {
        const struct soft *soft = &s->softs[i];
        struct message *m = &s->messages[soft->queue][soft->seq];
        const struct segment *in = ring_find(&s->core.ring, soft->generation);
        if (soft->count != 0 && in != NULL && in->synced >= soft->end) {
            m->count_synced = LV_MAX(m->count_synced, soft->count);
            m->is_count_weak = false;
        } else if (soft->count != 0 && (in == NULL || in != s->core.ring.current)) {
            m->is_count_weak |= in != NULL; // NULL: it may be gone, or lie elsewhere by now
        } else if (soft->count != 0) {
            s->softs[kept++] = *soft;
        } else if (in != NULL && in->synced >= soft->end) {
            m->soft_tx = m->soft_ack_tx = 0;
            s->promoted++;
        } else if (in == NULL || in != s->core.ring.current) {
            m->is_weak = true;
        } else {
            s->softs[kept++] = *soft;
        }
    }
    s->soft_count = kept;
}

static void
undo_softs(struct sim *s)
{
    for (size_t i = 0; i < s->soft_count; i++)
        if (!s->softs[i].is_move && s->softs[i].count == 0) // the message lies where it came from, too
            s->messages[s->softs[i].queue][s->softs[i].seq].is_either = true;
}

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
    if (j->e.is_relaxed && j->tx == 0)
        add_soft(s, j->e.queue, j->e.seq, false, 0);
    if (j->e.is_relaxed && chance(s, 8) == 0 && core_is_unsynced(&s->core))
        CHECK(s, sim_is_content_right(s, &e, m->id) || powercut_is_off(s->disk),
              "what is not synced cannot be read");
    if (!m->is_dying && msglog_live_put(&s->live, j->e.queue, &e) != 0)
        abort();
}

static void
each_of_tx(struct sim *s, uint32_t tx, bool is_committed, bool is_soft)
{
    for (unsigned q = 1; q <= s->next_queue; q++)
        for (uint64_t seq = 1; seq <= s->next_seq[q]; seq++) {
            struct message *m = &s->messages[q][seq];
            if (is_soft && (m->tx == tx || m->ack_tx == tx))
                add_soft(s, q, seq, false, 0);
            if (m->tx == tx) {
                m->tx = 0;
                m->soft_tx = is_soft ? tx : 0;
                m->state = is_committed ? SURE : m->state;
                m->is_dying |= !is_committed;
                if (!is_committed)
                    msglog_live_ack(&s->live, q, seq, 1);
            }
            if (m->ack_tx == tx) {
                m->ack_tx = 0;
                m->soft_ack_tx = is_soft ? tx : 0;
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
        if (e->result == 0 && e->is_relaxed)
            add_soft(s, e->queue, e->seq, true, 0);
        s->moved += e->result == 0;
        break;
    }
    case MSGLOG_ACK:
        m->gone_file = e->place.file;
        if (j->tx == 0 && e->result == 0) {
            if (e->is_relaxed)
                add_soft(s, e->queue, e->seq, false, 0);
            is_gone(s, (unsigned)e->queue, m);
        } else if (j->tx == 0)
            m->state = OPEN;
        break;
    case MSGLOG_COUNT:
        if (e->result == 0) {
            m->count_told = LV_MAX(m->count_told, e->flags);
            add_soft(s, e->queue, e->seq, false, e->flags);
            s->counted++;
        }
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
        each_of_tx(s, j->tx, e->kind == MSGLOG_COMMIT, e->kind == MSGLOG_COMMIT && e->is_relaxed);
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
    promote(s);
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
        if (chance(s, 2) == 0)
            count(s);
        if (chance(s, 4) == 0)
            transaction(s);
        if (chance(s, 15) == 0)
            purge_or_delete(s);
        vacate(s);
        add_jobs(s);
        if (chance(s, 8) == 0 && !powercut_is_off(s->disk)) { // the log is idle for a moment
            (void)core_sync(&s->core);
            promote(s);
        }
        if (!powercut_is_off(s->disk))
            flush(s);
        if (turn == 25)
            powercut_set_capacity(s->disk, UINT64_MAX / 2); // space comes back
    }
    s->outs += s->core.is_out;
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
                                   .wants_gone = sim_has_files};
    int err = core_open(&s->core, &config, &s->live, &report);
    if (err != 0) {
        CHECK(s, powercut_is_off(s->disk), "the log does not open");
        return false;
    }
    CHECK(s, (report.bad_spots == 0 && report.missing_segments == 0) || powercut_is_off(s->disk),
          "damage is reported where there is none");
    return true;
}

// Of what was reported only what was synced is left.
static void
undo_counts(struct sim *s)
{
    for (unsigned q = 1; q <= s->next_queue; q++)
        for (uint64_t seq = 1; seq <= s->next_seq[q]; seq++)
            s->messages[q][seq].count_told = s->messages[q][seq].count_synced;
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
        sim_compare(s);
        if (chance(s, 8) == 0) // dies while it sweeps
            powercut_plan(s->disk,
                          &(struct powercut_fault){.calls = CUT_ANY, .at = 1 + chance(s, 4), .is_off = true});
        CHECK(s, core_start(&s->core) == 0 || powercut_is_off(s->disk), "the log does not start");
        powercut_clear_plan(s->disk);
        if (!powercut_is_off(s->disk)) {
            plan_faults(s);
            s->vacating = 0;
            s->core.unsynced_max = 2048u << chance(s, 4);
            s->relaxed_percent = chance(s, 3) == 0 ? 0 : chance(s, 2) == 0 ? 30 : 97;
            live_on(s);
        }
    }
    if (is_open) {
        if (chance(s, 4) == 0 && !powercut_is_off(s->disk) && s->jobs == NULL)
            (void)core_mark_end(&s->core);
        if (!powercut_is_off(s->disk))
            promote(s);
        drop_jobs(s);
        core_fini(&s->core);
        msglog_live_fini(&s->live);
    }
    if (chance(s, 4) == 0) {
        powercut_kill(s->disk);
    } else {
        powercut_cut(s->disk);
        undo_softs(s);
        undo_counts(s);
    }
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
        sim_compare(s);
        core_fini(&s->core);
        msglog_live_fini(&s->live);
    }
    mem_free(s->softs);
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
    printf("%llu durable, %llu relaxed (%llu synced later), %llu recovered, %llu refused, %llu moved, %llu "
           "filed, "
           "%llu deaths, %llu out of service, %llu counts\n",
           (unsigned long long)s->durable, (unsigned long long)s->relaxed, (unsigned long long)s->promoted,
           (unsigned long long)s->recovered, (unsigned long long)s->refused, (unsigned long long)s->moved,
           (unsigned long long)s->filed, (unsigned long long)s->cuts, (unsigned long long)s->outs,
           (unsigned long long)s->counted);
    mem_free(s);
    return status;
}
