// perf_verify_check.c: the checker: one byte for each message of each producer, and for each producer and queue the highest
// number that came.
//
// Order is checked on what comes for the first time. Live, a message marked redelivered may come at any place (its first delivery
// went to a connection that broke). While a queue is drained in peace it must be in order altogether.
#include "src/base/err.h"
#include "src/base/mem.h"
#include "src/cli/perf_verify.h"

enum {
    MARK_CONFIRMED = 1,
    MARK_NACKED = 2,
    MARK_RECEIVED = 4,
};

struct producer {
    uint8_t *marks; // [1 … sent]
    uint64_t sent;
    size_t cap;
};

struct verify_checker {
    struct verify_head head;
    struct producer *producers;
    uint64_t *highest; // [producer * queues + queue], of first receptions since the start of the phase
    bool is_draining;
    struct verify_found found;
    struct buf examples;
    uint64_t example_counts[4];
};

enum example { EXAMPLE_LOST, EXAMPLE_DUPLICATED, EXAMPLE_UNEXPECTED, EXAMPLE_ORDER };

struct verify_checker *
verify_checker_new(const struct verify_head *head)
{
    struct verify_checker *c = mem_xcalloc(1, sizeof *c);
    c->head = *head;
    c->producers = mem_xcalloc((size_t)head->producers + 1, sizeof *c->producers);
    c->highest = mem_xcalloc((size_t)head->producers * head->queues + 1, sizeof *c->highest);
    return c;
}

void
verify_checker_free(struct verify_checker *c)
{
    if (c == NULL)
        return;
    for (uint32_t i = 0; i < c->head.producers; i++)
        mem_free(c->producers[i].marks);
    mem_free(c->producers);
    mem_free(c->highest);
    buf_fini(&c->examples);
    mem_free(c);
}

static void
example(struct verify_checker *c, enum example kind, const char *what, uint32_t producer, uint64_t sequence)
{
    if (c->example_counts[kind]++ < VERIFY_EXAMPLES_MAX)
        buf_printf(&c->examples, "  %s: message %llu of producer %u\n", what, (unsigned long long)sequence,
                   producer);
}

// Lines of a log come in any state of a crash: several may say the same, none may shrink.
static int
add_sent(struct verify_checker *c, uint32_t producer, uint64_t last)
{
    struct producer *p = &c->producers[producer];
    if (last > VERIFY_SEQUENCE_MAX)
        return -LE_LIMIT;
    if (last <= p->sent)
        return 0;
    if (last >= p->cap) {
        size_t cap = LV_MAX((size_t)last + 1, p->cap * 2);
        uint8_t *grown = mem_realloc(p->marks, cap);
        if (grown == NULL)
            return -LE_NOMEM;
        memset(grown + p->cap, 0, cap - p->cap);
        p->marks = grown;
        p->cap = cap;
    }
    p->sent = last;
    return 0;
}

static int
add_answer(struct verify_checker *c, const struct verify_fact *f)
{
    struct producer *p = &c->producers[f->producer];
    if (f->first == 0 || f->first > f->last || f->last > p->sent)
        return -LE_LIMIT;
    for (uint64_t s = f->first; s <= f->last; s++)
        p->marks[s] |= f->kind == FACT_CONFIRMED ? MARK_CONFIRMED : MARK_NACKED;
    return 0;
}

static void
receive(struct verify_checker *c, const struct verify_fact *f, uint64_t sequence)
{
    struct producer *p = &c->producers[f->producer];
    uint64_t *highest = &c->highest[(size_t)f->producer * c->head.queues + f->queue];
    if ((p->marks[sequence] & MARK_RECEIVED) != 0) {
        if (f->is_redelivered) {
            c->found.duplicated_redelivered++;
        } else {
            c->found.duplicated_unexplained++;
            example(c, EXAMPLE_DUPLICATED, "came again as if new", f->producer, sequence);
        }
        return;
    }
    p->marks[sequence] |= MARK_RECEIVED;
    if (f->is_redelivered && !c->is_draining)
        return;
    if (sequence < *highest) {
        c->found.out_of_order++;
        example(c, EXAMPLE_ORDER, "came behind a later one", f->producer, sequence);
    } else {
        *highest = sequence;
    }
}

static int
add_received(struct verify_checker *c, const struct verify_fact *f)
{
    if (f->first == 0 || f->first > f->last || f->last > VERIFY_SEQUENCE_MAX)
        return -LE_LIMIT;
    for (uint64_t s = f->first; s <= f->last; s++) {
        // Each number belongs to one queue: (producer + sequence) modulo their number.
        bool is_ours = f->producer < c->head.producers && s <= c->producers[f->producer].sent;
        if (is_ours && (f->producer + s) % c->head.queues == f->queue) {
            receive(c, f, s);
            continue;
        }
        c->found.unexpected++;
        example(c, EXAMPLE_UNEXPECTED, is_ours ? "came out of the wrong queue" : "was never sent",
                f->producer, s);
    }
    return 0;
}

int
verify_checker_add(struct verify_checker *c, const struct verify_fact *f)
{
    bool is_of_producer = f->kind == FACT_SENT || f->kind == FACT_CONFIRMED || f->kind == FACT_NACKED;
    if ((is_of_producer && f->producer >= c->head.producers) ||
        (!is_of_producer && f->queue >= c->head.queues))
        return -LE_LIMIT;
    switch (f->kind) {
    case FACT_SENT: return add_sent(c, f->producer, f->last);
    case FACT_CONFIRMED:
    case FACT_NACKED: return add_answer(c, f);
    case FACT_RECEIVED: return add_received(c, f);
    case FACT_CORRUPTED: c->found.corrupted++; return 0;
    case FACT_UNEXPECTED: c->found.unexpected++; return 0;
    case FACT_DRAIN:
        c->is_draining = true;
        // What is drained may be older than what was received live: a consumer died with it.
        memset(c->highest, 0, (size_t)c->head.producers * c->head.queues * sizeof *c->highest);
        return 0;
    }
    return -LE_INVAL;
}

void
verify_checker_finish(struct verify_checker *c, struct verify_found *ret, struct buf *examples)
{
    for (uint32_t i = 0; i < c->head.producers; i++) {
        struct producer *p = &c->producers[i];
        c->found.sent += p->sent;
        for (uint64_t s = 1; s <= p->sent; s++) {
            bool is_confirmed = (p->marks[s] & MARK_CONFIRMED) != 0,
                 is_received = (p->marks[s] & MARK_RECEIVED) != 0;
            c->found.confirmed += is_confirmed;
            c->found.nacked += (p->marks[s] & MARK_NACKED) != 0;
            c->found.received += is_received;
            c->found.in_doubt_received += is_received && !is_confirmed;
            if (is_confirmed && !is_received) {
                c->found.lost++;
                example(c, EXAMPLE_LOST, "LOST, it was confirmed", i, s);
            }
        }
    }
    *ret = c->found;
    buf_append_slice(examples, buf_slice(&c->examples));
}
