// session_commit.c: tx.commit: everything of a transaction at once, or nothing of it (queue/tx.h).
//
// Routing happens at commit: an exchange that has gone by then routes nowhere. The messages go to their owners, who hold them; so do the acks, as
// words for the log. When all have answered the verdict is asked for; with it come the settles, then commit-ok. A session that is closed meanwhile takes the transaction back
// as long as the verdict was not asked for; after that what was decided happens without it.
//
// No room in the log: nothing of it happened, and it is made once more, as often as it takes: what is published without a transaction waits too. Meanwhile the
// transaction is the session's again, as before the commit.
#include "src/base/err.h"
#include "src/base/mem.h"
#include "src/broker/session_impl.h"

// Publishes whose memory is kept for the next transaction.
enum { TX_KEEP_MAX = 4096 };
// Between two tries of commits without room. LIMIT: tries (five minutes): what never fits is refused.
enum { AGAIN_MS = 250, AGAIN_MAX = 1200 };

struct commit {
    struct queue_tx t;
    struct broker_worker *broker;
    lv_handle session;
    struct tx_settle *settles;
    size_t settle_count;
    struct tx_publish *publishes; // kept for another try; those that went nowhere have no message any more
    size_t publish_count, publish_cap;
};

// Settles what was kept, runs of one kind together.
static void
settle_all(const struct commit *c, struct session *s, bool is_committed)
{
    struct unacked run[64];
    size_t len = 0;
    for (size_t i = 0; i < c->settle_count; i++) {
        const struct tx_settle *it = &c->settles[i];
        enum settle_kind kind = is_committed ? it->kind : SETTLE_REQUEUE;
        if (s == NULL) {
            queue_settle(it->entry.queue, kind, &it->entry.seq, 1);
            continue;
        }
        run[len++] = it->entry;
        session_count_settle(s, kind);
        bool is_same = i + 1 < c->settle_count && (!is_committed || c->settles[i + 1].kind == it->kind);
        if (len < LV_ARRAY_LEN(run) && is_same)
            continue;
        session_settle_entries(s, run, len, kind);
        len = 0;
    }
}

static void
commit_free(struct commit *c)
{
    for (size_t i = 0; i < c->publish_count; i++)
        message_unref(c->publishes[i].msg);
    mem_free(c->publishes);
    mem_free(c->settles);
    mem_free(c);
}

// The room for publishes is the next transaction's.
static void
give_room_back(struct commit *c, struct session *s)
{
    if (s == NULL || s->is_closed || s->tx.publishes != NULL || c->publish_cap > TX_KEEP_MAX)
        return;
    for (size_t i = 0; i < c->publish_count; i++)
        message_unref(c->publishes[i].msg);
    s->tx.publishes = c->publishes;
    s->tx.publish_cap = c->publish_cap;
    c->publishes = NULL;
    c->publish_count = 0;
}

// The transaction is as it was before the commit, but for what went nowhere, and waits.
static void
commit_later(struct commit *c, struct session *s)
{
    struct tx_state *tx = &s->tx;
    struct broker_worker *b = c->broker;
    LV_ASSERT(tx->publishes == NULL && tx->settles == NULL);
    tx->publishes = c->publishes;
    tx->publish_count = c->publish_count;
    tx->publish_cap = c->publish_cap;
    tx->settles = c->settles;
    tx->settle_count = tx->settle_cap = c->settle_count;
    mem_free(c);
    tx->tries++;
    list_push_back(&b->commits, &tx->again_node);
    if (!ev_is_active(&b->commit_timer))
        ev_timer_again(b->worker->loop, &b->commit_timer);
}

static void
commit_done(struct queue_tx *t)
{
    struct commit *c = LV_CONTAINER_OF(t, struct commit, t);
    struct session *s = session_by_handle(c->broker, c->session);
    bool is_committed = t->result == 0 && !t->is_abort;
    struct fault f;
    if (t->result == -LE_NOSPACE && !t->is_abort && s != NULL && s->op == OP_COMMIT && !s->is_closed &&
        s->tx.tries < AGAIN_MAX) {
        commit_later(c, s);
        return;
    }
    settle_all(c, s, is_committed);
    give_room_back(c, s);
    commit_free(c);
    if (s == NULL || s->op != OP_COMMIT)
        return;
    if (is_committed) {
        session_answer_ok(s);
        return;
    }
    fault_set(&f, FAULT_PRECONDITION_FAILED, "partial tx completion");
    session_answer_fault(s, &f);
}

static void
commit_lost(struct queue_tx *t)
{
    commit_free(LV_CONTAINER_OF(t, struct commit, t));
}

// Asks for the verdict.
static void
commit_end(struct session *s)
{
    struct commit *c = s->tx.commit;
    s->tx.commit = NULL;
    c->t.is_abort = s->tx.is_refused;
    queue_tx_end(&c->t);
}

void
commit_abandon(struct session *s)
{
    s->tx.is_refused = true;
    commit_end(s);
}

void
tx_published(struct session *s, unsigned refused)
{
    if (s->tx.commit == NULL)
        return;
    LV_ASSERT(s->tx.outstanding > 0);
    s->tx.outstanding--;
    s->tx.is_refused |= refused > 0;
    if (s->tx.outstanding == 0)
        commit_end(s);
}

void
commit_publish(struct session *s, struct message *msg, const lv_handle *queues, unsigned count)
{
    struct queue_tx *t = &s->tx.commit->t;
    t->workers |= UINT64_C(1) << handle_worker(queues[0]);
    t->is_logged |= (msg->flags & MESSAGE_PERSISTENT) != 0;
    queue_tx_publish(t->tx, msg, queues, count, s->handle, TX_NUMBER);
}

void
commit_set_logged(struct session *s)
{
    s->tx.commit->t.is_logged = true;
}

// Routes and sends one message of the transaction. One that goes nowhere is done with.
static void
commit_one(struct session *s, struct tx_publish *tp)
{
    struct fault ignored;
    struct amqp_basic_props props = {0};
    struct publish_keys keys;
    struct publish p = {.msg = message_ref(tp->msg),
                        .props = &props,
                        .keys = &keys,
                        .is_mandatory = tp->is_mandatory,
                        .number = TX_NUMBER};
    const struct vhost *v = client_vhost(s->client, &ignored);
    const struct exchange *x = v != NULL ? vhost_exchange(v, message_exchange(tp->msg)) : NULL;
    p.is_nowhere = x == NULL;
    if (x == NULL)
        publish_note_unroutable(s, &p);
    else if (amqp_props_decode_trusted(message_properties(tp->msg), &props) != 0 ||
             !publish_keys_of(tp->msg, props.headers, &keys, &ignored) ||
             publish_distribute(s, v, x, &p) != 0)
        s->sync_refused++;
    publish_return(s, &p);
    publish_fini(&p);
    if (p.is_nowhere) {
        message_unref(tp->msg);
        tp->msg = NULL;
    }
}

// The words for the log of what is settled for good.
static void
commit_acks(struct commit *c)
{
    uint64_t seqs[64];
    size_t len = 0;
    for (size_t i = 0; i < c->settle_count; i++) {
        const struct tx_settle *it = &c->settles[i], *next = i + 1 < c->settle_count ? it + 1 : NULL;
        if (it->kind == SETTLE_ACK || it->kind == SETTLE_REJECT)
            seqs[len++] = it->entry.seq;
        bool is_same = next != NULL && next->entry.queue == it->entry.queue && next->kind == it->kind;
        if (len == 0 || (is_same && len < LV_ARRAY_LEN(seqs)))
            continue;
        c->t.workers |= UINT64_C(1) << handle_worker(it->entry.queue);
        c->t.is_logged = true;
        queue_tx_ack(c->t.tx, it->entry.queue, it->kind, seqs, len);
        len = 0;
    }
}

// Sends the messages; false when a handler closed the session meanwhile.
static bool
send_publishes(struct session *s)
{
    struct tx_state *tx = &s->tx;
    // Taken out of the session: the handler of a return may close it.
    struct tx_publish *publishes = tx->publishes;
    size_t count = tx->publish_count, cap = tx->publish_cap;
    tx->publishes = NULL;
    tx->publish_count = tx->publish_cap = 0;
    tx->publish_bytes = 0;
    publish_begin(s);
    for (size_t i = 0; i < count && !s->is_closed; i++)
        if (publishes[i].msg != NULL)
            commit_one(s, &publishes[i]);
    s->is_sending = false;
    if (!s->is_closed) {
        tx->commit->publishes = publishes;
        tx->commit->publish_count = count;
        tx->commit->publish_cap = cap;
        return true;
    }
    for (size_t i = 0; i < count; i++)
        message_unref(publishes[i].msg);
    mem_free(publishes);
    return false;
}

static void
commit_start(struct session *s)
{
    struct tx_state *tx = &s->tx;
    struct commit *c = mem_calloc(1, sizeof(*c));
    if (c == NULL) {
        session_answer_no_memory(s);
        return;
    }
    c->t = (struct queue_tx){.tx = queue_tx_new(), .done = commit_done, .abandon = commit_lost};
    c->broker = s->client->broker;
    c->session = s->handle;
    c->settles = tx->settles;
    c->settle_count = tx->settle_count;
    tx->settles = NULL;
    tx->settle_count = tx->settle_cap = 0;
    tx->commit = c;
    tx->is_refused = false;
    tx->outstanding = 0;
    s->op = OP_COMMIT;
    if (!send_publishes(s))
        return; // closing it took the transaction back
    commit_acks(c);
    tx->outstanding = s->sync_left;
    tx->is_refused = s->sync_refused > 0;
    if (tx->outstanding == 0)
        commit_end(s);
}

void
session_tx_commit(struct session *s)
{
    struct fault f;
    LV_ASSERT(s->op == OP_NONE);
    s->tx.tries = 0;
    if (tx_check(s, &f))
        commit_start(s);
    else
        session_answer_fault(s, &f);
}

// --- once more ------------------------------------------------------------------------------------------------------------

static void
on_commit_timer(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct broker_worker *b = timer->data;
    b->has_commit_turn = true; // the turn that follows does the work
}

static bool
commits_hook(struct worker *w, void *ctx)
{
    struct broker_worker *b = ctx;
    struct list due;
    if (LV_LIKELY(!b->has_commit_turn))
        return false;
    b->has_commit_turn = false;
    list_init(&due);
    list_splice_back(&due, &b->commits);
    for (struct list *it; (it = list_pop_front(&due)) != NULL;)
        commit_start(LV_CONTAINER_OF(it, struct session, tx.again_node));
    if (list_is_empty(&b->commits))
        ev_timer_stop(w->loop, &b->commit_timer);
    return false;
}

void
commits_init(struct broker_worker *b)
{
    list_init(&b->commits);
    ev_timer_init(&b->commit_timer, on_commit_timer, 0., AGAIN_MS / 1000.0);
    b->commit_timer.data = b;
    worker_add_hook(b->worker, PHASE_TIMERS, commits_hook, b);
}

void
commits_fini(struct broker_worker *b)
{
    ev_timer_stop(b->worker->loop, &b->commit_timer);
}
