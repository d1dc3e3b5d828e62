// session_confirm.c: publisher confirms of a session (RabbitMQ documentation, "Publisher Confirms").
//
// Numbers count from 1. `floor` is the number up to which all is settled and sent. A publish that is complete when
// session_publish returns, with nothing older outstanding, only moves `done`; anything else has an entry in the ring. In
// PHASE_COMPLETE one ack(multiple) goes out for everything up to the first number outstanding, nacks one by one, and single acks
// for what is complete behind a gap ("islands"). This is the only place that sends confirms.
//
// Memory is taken before a publish is sent (confirm_reserve); from then on nothing here can fail.
#include "src/base/clock.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/broker/session_impl.h"

static struct confirm_entry *
entry_at(struct confirm_window *cw, size_t i)
{
    return &cw->entries[(cw->head + i) & (cw->cap - 1)];
}

static void
confirm_due(struct session *s)
{
    if (!list_is_linked(&s->confirm_node))
        list_push_back(&s->client->broker->confirming, &s->confirm_node);
}

// Islands get room for twice the window: those of the window as it was when sending began, and those of publishes made by the
// handlers of the events sent.
static int
window_grow(struct confirm_window *cw)
{
    size_t cap = cw->cap == 0 ? 16 : cw->cap * 2;
    uint64_t *islands = mem_realloc(cw->islands, 2 * cap * sizeof(*islands));
    if (islands == NULL)
        return -LE_NOMEM;
    cw->islands = islands;
    struct confirm_entry *ring = mem_alloc(cap * sizeof(*ring));
    if (ring == NULL)
        return -LE_NOMEM;
    for (size_t i = 0; i < cw->count; i++)
        ring[i] = *entry_at(cw, i);
    mem_free(cw->entries);
    cw->entries = ring;
    cw->head = 0;
    cw->cap = cap;
    return 0;
}

int
confirm_reserve(struct session *s)
{
    return LV_LIKELY(s->confirm.count < s->confirm.cap) ? 0 : window_grow(&s->confirm);
}

void
confirm_note(struct session *s, uint64_t number, uint64_t outstanding, bool is_refused)
{
    struct confirm_window *cw = &s->confirm;
    confirm_due(s);
    if (cw->timed == 0) {
        cw->timed = number;
        cw->timed_ns = s->client->broker->worker->now_ns;
    }
    if (LV_LIKELY(outstanding == 0 && !is_refused && cw->count == 0)) {
        cw->done = number;
        return;
    }
    LV_ASSERT(cw->done + cw->count + 1 == number && cw->count < cw->cap && outstanding <= UINT32_MAX);
    *entry_at(cw, cw->count) =
        (struct confirm_entry){.outstanding = (uint32_t)outstanding, .is_refused = is_refused};
    cw->count++;
    if (outstanding == 0)
        confirm_published(s, number, 0);
}

void
confirm_published(struct session *s, uint64_t number, unsigned refused)
{
    struct confirm_window *cw = &s->confirm;
    LV_ASSERT(number > cw->done && number <= cw->done + cw->count);
    struct confirm_entry *e = entry_at(cw, (size_t)(number - cw->done - 1));
    e->is_refused |= refused > 0;
    if (e->outstanding > 0)
        e->outstanding--;
    if (e->outstanding == 0) {
        LV_ASSERT(cw->island_count < 2 * cw->cap);
        cw->islands[cw->island_count++] = number;
        confirm_due(s);
    }
}

static void
send_one(struct session *s, uint64_t number, bool is_multiple, bool is_nack)
{
    if (!s->is_closed)
        s->events->confirmed(s->ctx, number, is_multiple, is_nack);
}

// Acks floor+1 … upto as one.
static void
send_run(struct session *s, uint64_t upto)
{
    struct confirm_window *cw = &s->confirm;
    if (upto <= cw->floor)
        return;
    s->stats.confirmed += upto - cw->floor;
    send_one(s, upto, upto - cw->floor > 1, false);
    cw->floor = upto;
}

// Everything complete up to the first number outstanding.
static void
send_front(struct session *s)
{
    struct confirm_window *cw = &s->confirm;
    for (size_t left = cw->count; left > 0 && entry_at(cw, 0)->outstanding == 0; left--) {
        struct confirm_entry e = *entry_at(cw, 0);
        uint64_t number = cw->done + 1;
        if (e.is_refused || e.is_sent) {
            send_run(s, number - 1);
            if (e.is_refused && !e.is_sent) {
                s->stats.nacked++;
                send_one(s, number, false, true);
            }
            cw->floor = number;
        }
        cw->done = number;
        cw->head = (cw->head + 1) & (cw->cap - 1);
        cw->count--;
    }
    send_run(s, cw->done);
}

// One publish of a session at a time is timed, from the turn that took it to the sending of its confirm: a sample, so that others cost
// a comparison.
static void
note_latency(struct broker_worker *b, struct confirm_window *cw)
{
    if (cw->timed == 0 || cw->floor < cw->timed)
        return;
    histogram_add(&b->confirm_latency, clock_mono_ns() - cw->timed_ns, HISTOGRAM_TIME_NS);
    cw->timed = 0;
}

// An event's handler may publish: what that adds is sent the next time, so that both loops end.
void
confirm_send(struct session *s)
{
    struct confirm_window *cw = &s->confirm;
    struct broker_worker *b = s->client->broker; // a handler may close the client
    size_t islands = cw->island_count;
    send_front(s);
    note_latency(b, cw);
    for (size_t i = 0; i < islands; i++) {
        uint64_t number = cw->islands[i];
        if (number <= cw->done)
            continue;
        struct confirm_entry *e = entry_at(cw, (size_t)(number - cw->done - 1));
        LV_ASSERT(e->outstanding == 0 && !e->is_sent);
        e->is_sent = true;
        s->stats.confirmed += !e->is_refused;
        s->stats.nacked += e->is_refused;
        send_one(s, number, false, e->is_refused);
    }
    cw->island_count -= islands;
    if (cw->island_count > 0)
        memmove(cw->islands, cw->islands + islands, cw->island_count * sizeof(*cw->islands));
    if (cw->count == 0 && cw->island_count == 0 && cw->cap > 65536) { // a burst is over
        confirm_free(s);
        cw->entries = NULL;
        cw->islands = NULL;
        cw->cap = cw->head = 0;
    }
}

void
confirm_free(struct session *s)
{
    mem_free(s->confirm.entries);
    mem_free(s->confirm.islands);
}

bool
session_confirm_select(struct session *s, struct fault *ret_fault)
{
    if (s->tx.is_on) {
        fault_set(ret_fault, FAULT_PRECONDITION_FAILED, "cannot switch from tx to confirm mode");
        return false;
    }
    s->confirm.is_on = true;
    return true;
}
