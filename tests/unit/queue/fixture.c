// fixture.c: see fixture.h.
#include "fixture.h"

#include "src/base/mem.h"

struct fx *fx;

static struct fx_session *
session_of(lv_handle h)
{
    assert_in_range(handle_index(h), 0, FX_SESSIONS - 1);
    struct fx_session *s = &fx->sessions[handle_index(h)];
    assert_true(s->handle == h);
    assert_ptr_equal(worker_self, fx_member(s->worker));
    return s;
}

static void
on_published(struct worker *w, lv_handle session, uint64_t number, unsigned accepted, unsigned refused)
{
    struct fx_session *s = session_of(session);
    if (fx->has_crashed)
        return; // nobody is there to hear it
    if (fx->on_published != NULL)
        fx->on_published(session, number, accepted, refused);
    s->published_calls++;
    s->accepted += accepted;
    s->refused += refused;
    s->last_number = number;
}

static void
on_deliver(struct worker *w, const struct delivery *d)
{
    if (fx->has_crashed) {
        message_unref(d->msg);
        return;
    }
    if (fx->on_deliver != NULL) {
        fx->on_deliver(w, d);
        return;
    }
    struct fx_session *s = session_of(d->session);
    if (s->count == s->cap) {
        s->cap = s->cap == 0 ? 64 : s->cap * 2;
        s->deliveries = mem_xrealloc(s->deliveries, s->cap * sizeof(*s->deliveries));
    }
    s->deliveries[s->count++] = (struct fx_delivery){
        .queue = d->queue,
        .seq = d->seq,
        .id = fx_message_id(d->msg),
        .consumer_id = d->consumer_id,
        .delivery_count = d->delivery_count,
        .is_redelivered = d->is_redelivered,
    };
    message_unref(d->msg);
}

static void
on_ready(struct worker *w, lv_handle session, uint32_t consumer_id, lv_handle consumer)
{
    if (fx->on_ready != NULL) {
        fx->on_ready(w, session, consumer_id, consumer);
        return;
    }
    struct fx_session *s = session_of(session);
    s->ready_calls++;
    s->ready_consumer = consumer;
}

static void
on_unused(struct worker *w, lv_handle session, uint32_t consumer_id, uint32_t count)
{
    if (fx->on_unused != NULL)
        fx->on_unused(w, session, consumer_id, count);
    else
        session_of(session)->unused += count;
}

static void
on_cancelled(struct worker *w, lv_handle session, uint32_t consumer_id, const char *reason)
{
    struct fx_session *s = session_of(session);
    s->cancelled++;
    s->cancelled_consumer = consumer_id;
    s->reason = reason;
}

static void
on_is_unused(struct worker *owner, const struct queue_def *def)
{
    assert_ptr_equal(worker_self, owner);
    assert_int_equal(handle_worker(def->handle), owner->index);
    fx->unused_calls++;
    fx->unused_id = def->id;
}

static unsigned
on_dead(struct worker *owner, const struct dead_letter *d)
{
    assert_ptr_equal(worker_self, owner);
    assert_int_equal(handle_worker(d->queue), owner->index);
    fx->dead_calls++;
    if (fx->has_crashed)
        return 1;
    if (fx->on_dead != NULL)
        return fx->on_dead(owner, d);
    queue_dead_done(d->queue, d->seq, DEAD_TAKEN, NULL);
    return 1;
}

static const struct queue_client client = {
    .published = on_published,
    .deliver = on_deliver,
    .ready = on_ready,
    .unused = on_unused,
    .cancelled = on_cancelled,
    .is_unused = on_is_unused,
    .dead = on_dead,
};

int
fx_try_open(const struct fx_config *config)
{
    fx = NULL; // an earlier test that failed may have left one
    fx = mem_xcalloc(1, sizeof(*fx));
    fx->crew = crew_new(&(struct crew_config){.n_workers = config->workers,
                                              .chaos_seed = config->chaos_seed,
                                              .mailbox_capacity = config->mailbox_capacity});
    int err = config->store_seed != 0 ? fx_store_open(config) : 0;
    if (err != 0)
        return err;
    for (int i = 0; i < fx->crew->n_members; i++) {
        bool is_stored = config->store_seed != 0 && i < config->workers;
        queue_worker_init(fx_member(i), &(struct queue_worker_config){
                                            .client = &client, .durable = is_stored ? &fx->durable : NULL});
        queue_worker_of(fx_member(i))->is_untimed = is_stored;
    }
    for (int i = 0; i < FX_SESSIONS; i++)
        fx_session_on(i, 0);
    fx_as(fx_member(0));
    return config->store_seed != 0 && !config->is_restart ? fx_recovered() : 0;
}

void
fx_open(const struct fx_config *config)
{
    assert_int_equal(fx_try_open(config), 0);
}

void
fx_open_plain(int workers)
{
    fx_open(&(struct fx_config){.workers = workers});
}

static void
end(bool is_orderly)
{
    worker_self = NULL;
    if (fx->durable.log != NULL)
        fx_store_stop(is_orderly);
    for (int i = 0; i < fx->crew->n_members; i++)
        queue_worker_fini(fx_member(i));
    fx_store_close();
    crew_free(fx->crew);
    for (int i = 0; i < FX_SESSIONS; i++)
        mem_free(fx->sessions[i].deliveries);
    for (size_t i = 0; i < fx->def_count; i++)
        mem_free(fx->defs[i]);
    mem_free(fx);
    fx = NULL;
}

void
fx_close(void)
{
    fx_quiet();
    end(true);
}

void
fx_crash(enum fx_death death)
{
    struct powercut *disk = fx->disk;
    assert_true(disk != NULL && !fx->is_own_disk);
    powercut_clear_plan(disk);
    powercut_plan(disk, &(struct powercut_fault){.calls = CUT_ANY, .at = 1, .is_off = true});
    fx->has_crashed = true; // from here on nothing reaches the disk, nor anybody
    for (int i = 0; i < fx->crew->n_workers; i++)
        fx_durable(i)->is_ending = true;
    fx_quiet();
    end(false);
    if (death == FX_KILL)
        powercut_kill(disk);
    else
        powercut_cut(disk);
}

struct worker *
fx_member(int index)
{
    return fx->crew->members[index];
}

struct worker *
fx_writer(void)
{
    return crew_extra_member(fx->crew, CREW_TOPOLOGY);
}

void
fx_as(struct worker *w)
{
    worker_self = w;
}

// The members behind the writer have no part in the tests.
void
fx_turns(int rounds)
{
    int last = fx_writer()->index;
    while (rounds-- > 0) {
        for (int i = 0; i <= last; i++)
            worker_turn(fx_member(i));
        if (fx->durable.log != NULL)
            fx_store_step();
    }
}

static bool
is_all_idle(void)
{
    int last = fx_writer()->index;
    for (int i = 0; i <= last; i++) {
        struct worker *w = fx_member(i);
        const struct queue_worker *qw = queue_worker_of(w);
        if (!list_is_empty(&qw->runnable) || !list_is_empty(&qw->dead) || !list_is_empty(&qw->purged) ||
            (!list_is_empty(&qw->limited) && !fx->has_crashed))
            return false;
        for (int k = 0; k <= last; k++) {
            if (mailbox_has_mail(w->out[k]) || mailbox_can_progress(w->out[k]))
                return false;
        }
    }
    return true;
}

static bool
is_quiet(void)
{
    return is_all_idle() && (fx->durable.log == NULL || fx_store_is_quiet());
}

void
fx_mail(void)
{
    int last = fx_writer()->index;
    for (int n = 0; n < 100 && (n < 2 || !is_all_idle()); n++) {
        for (int i = 0; i <= last; i++)
            worker_turn(fx_member(i));
    }
}

bool
fx_is_quiet(void)
{
    return is_quiet();
}

void
fx_quiet(void)
{
    for (int i = 0; !is_quiet(); i++) {
        assert_true(i < 100000);
        fx_turns(1);
    }
}

void
fx_session_on(int session, int worker)
{
    fx->sessions[session].worker = worker;
    fx->sessions[session].handle = handle_make((unsigned)worker, 1, (uint32_t)session);
}

static void
request_done(struct queue_request *r)
{
    assert_ptr_equal(worker_self, r->requester);
    *(bool *)r->ctx = true;
}

struct queue_request *
fx_request(int session, struct queue_request *r)
{
    bool is_done = false;
    r->done = request_done;
    r->ctx = &is_done;
    if (session >= 0)
        r->session = fx->sessions[session].handle;
    fx_as(session < 0 ? fx_writer() : fx_member(fx->sessions[session].worker));
    queue_request_send(r);
    int rounds = 0;
    while (!is_done) {
        assert_true(rounds++ < 10000);
        fx_turns(1);
    }
    return r;
}

static struct queue_request *
new_request(enum queue_request_kind kind, lv_handle queue)
{
    struct queue_request *r = queue_request_new(kind, queue);
    assert_non_null(r);
    return r;
}

enum queue_outcome
fx_simple(int session, enum queue_request_kind kind, lv_handle queue, uint64_t *ret_messages)
{
    struct queue_request *r = fx_request(session, new_request(kind, queue));
    enum queue_outcome outcome = r->outcome;
    if (ret_messages != NULL)
        *ret_messages = r->message_count;
    queue_request_free(r);
    return outcome;
}

static struct queue_def *
new_def(int worker, uint32_t flags, uint64_t id)
{
    struct queue_def *def = mem_xcalloc(1, sizeof(*def));
    assert_true(fx->def_count < LV_ARRAY_LEN(fx->defs));
    fx->defs[fx->def_count++] = def;
    fx_as(fx_writer());
    def->id = id;
    def->handle = queue_handle_alloc(fx_member(worker));
    def->flags = flags | fx->queue_flags;
    def->name = SLICE_LIT("q");
    def->vhost = SLICE_LIT("/");
    return def;
}

lv_handle
fx_queue_back(int worker, uint32_t flags, uint64_t id)
{
    struct queue_def *def = new_def(worker, flags, id);
    fx->next_id = LV_MAX(fx->next_id, id + 1);
    fx_as(fx_member(worker));
    bool is_done = false;
    struct queue_request *r = new_request(QUEUE_REQUEST_CREATE, def->handle);
    r->def = def;
    r->rules = fx->rules != NULL ? queue_rules_copy(fx->rules) : NULL;
    r->done = request_done;
    r->ctx = &is_done;
    queue_request_send(r); // carried out at once: no thread runs yet
    assert_true(is_done);
    enum queue_outcome outcome = r->outcome;
    queue_request_free(r);
    return outcome == QUEUE_OK ? def->handle : 0;
}

uint64_t
fx_queue_id(lv_handle queue)
{
    return fx_queue_of(queue)->def->id;
}

struct queue *
fx_queue_of(lv_handle queue)
{
    struct queue *q =
        handle_slots_find(&queue_worker_of(fx_member((int)handle_worker(queue)))->queues, queue);
    assert_non_null(q);
    return q;
}

lv_handle
fx_queue(int worker, uint32_t flags)
{
    struct queue_def *def = new_def(worker, flags, LV_MAX(fx->next_id, (uint64_t)1));
    fx->next_id = def->id + 1;
    struct queue_request *r = new_request(QUEUE_REQUEST_CREATE, def->handle);
    r->def = def;
    r->rules = fx->rules != NULL ? queue_rules_copy(fx->rules) : NULL;
    r = fx_request(-1, r);
    assert_int_equal(r->outcome, QUEUE_OK);
    queue_request_free(r);
    return def->handle;
}

void
fx_rules(lv_handle queue, const struct queue_rules *rules)
{
    struct queue_request *r = queue_request_new(QUEUE_REQUEST_RULES, queue);
    r->rules = rules != NULL ? queue_rules_copy(rules) : NULL;
    r = fx_request(-1, r);
    assert_int_equal(r->outcome, QUEUE_OK);
    queue_request_free(r);
}

void
fx_delete(lv_handle queue)
{
    assert_int_equal(fx_simple(-1, QUEUE_REQUEST_DELETE, queue, NULL), QUEUE_OK);
    fx_as(fx_writer());
    queue_handle_release(queue);
}

enum queue_outcome
fx_try_consume(const struct fx_consume *c, lv_handle *ret_consumer)
{
    struct queue_request *r = new_request(QUEUE_REQUEST_CONSUME, c->queue);
    r->consumer_id = c->id;
    r->consumer_flags = c->flags;
    r->prefetch = c->prefetch;
    r->priority = c->priority;
    r->window_count = c->window_count != 0 ? c->window_count : UINT32_MAX;
    r->window_bytes = c->window_bytes != 0 ? c->window_bytes : UINT32_MAX;
    r = fx_request(c->session, r);
    enum queue_outcome outcome = r->outcome;
    *ret_consumer = r->consumer;
    queue_request_free(r);
    return outcome;
}

lv_handle
fx_consumer(const struct fx_consume *c)
{
    lv_handle consumer;
    assert_int_equal(fx_try_consume(c, &consumer), QUEUE_OK);
    assert_true(consumer != 0);
    return consumer;
}

enum queue_outcome
fx_cancel(int session, lv_handle queue, lv_handle consumer)
{
    struct queue_request *r = new_request(QUEUE_REQUEST_CANCEL, queue);
    r->consumer = consumer;
    r = fx_request(session, r);
    enum queue_outcome outcome = r->outcome;
    queue_request_free(r);
    return outcome;
}

uint64_t
fx_get(int session, lv_handle queue, bool is_no_ack, struct fx_delivery *ret)
{
    struct queue_request *r = new_request(QUEUE_REQUEST_GET, queue);
    r->is_no_ack = is_no_ack;
    r = fx_request(session, r);
    uint64_t id = 0;
    if (r->outcome == QUEUE_OK) {
        id = fx_message_id(r->msg);
        if (ret != NULL)
            *ret = (struct fx_delivery){.queue = queue,
                                        .seq = r->seq,
                                        .id = id,
                                        .delivery_count = r->delivery_count,
                                        .is_redelivered = r->is_redelivered};
    } else {
        assert_int_equal(r->outcome, QUEUE_EMPTY);
        assert_null(r->msg);
    }
    queue_request_free(r);
    return id;
}

struct queue_stats
fx_stats(lv_handle queue)
{
    struct queue_request *r = fx_request(-1, new_request(QUEUE_REQUEST_STATS, queue));
    assert_int_equal(r->outcome, QUEUE_OK);
    struct queue_stats stats = r->stats;
    queue_request_free(r);
    return stats;
}

struct message *
fx_message(uint64_t id, uint32_t body_len)
{
    assert_true(body_len >= sizeof(id));
    struct message *m =
        message_new(SLICE_LIT("x"), SLICE_LIT("key"), slice_of((const uint8_t[2]){0, 0}, 2), body_len);
    if (m == NULL)
        return NULL;
    // All of it follows from the number, so that a message can be checked wherever it comes from.
    uint8_t *body = message_body_mut(m);
    memcpy(body, &id, sizeof(id));
    for (uint32_t i = sizeof(id); i < body_len; i++)
        body[i] = (uint8_t)(id * 31 + i * 7 + (i >> 8));
    m->flags = fx != NULL ? fx->message_flags : 0;
    m->priority = fx_priority_of(id);
    return m;
}

uint8_t
fx_priority_of(uint64_t id)
{
    uint64_t mixed = id * UINT64_C(0x9E3779B97F4A7C15) >> 40;
    return (uint8_t)(fx != NULL && fx->priorities > 0 ? mixed % fx->priorities : 0);
}

uint64_t
fx_message_id(const struct message *m)
{
    uint64_t id;
    const uint8_t *body = message_body(m).ptr;
    memcpy(&id, body, sizeof(id));
    for (uint32_t i = sizeof(id); i < m->body_len; i++)
        if (body[i] != (uint8_t)(id * 31 + i * 7 + (i >> 8)))
            fail_msg("message %llu is not what was published", (unsigned long long)id);
    return id;
}

void
fx_publish(int session, lv_handle queue, uint64_t id)
{
    fx_as(fx_member(fx->sessions[session].worker));
    struct message *m = fx_message(id, 16);
    queue_publish(m, &queue, 1, fx->sessions[session].handle, id);
    message_unref(m);
}

void
fx_settle(int session, lv_handle queue, enum settle_kind kind, uint64_t seq)
{
    fx_as(fx_member(fx->sessions[session].worker));
    queue_settle(queue, kind, &seq, 1);
}

void
fx_window(int session, lv_handle consumer, uint32_t count)
{
    fx_as(fx_member(fx->sessions[session].worker));
    consumer_grant_window(consumer, count, 0);
}

void
fx_forget(int session)
{
    struct fx_session *s = &fx->sessions[session];
    struct fx_session fresh = {
        .handle = s->handle, .worker = s->worker, .deliveries = s->deliveries, .cap = s->cap};
    *s = fresh;
}

void
fx_placed(void (*test_case)(void))
{
    for (int worker = 0; worker <= 1; worker++) {
        fx_open_plain(1 + 2 * worker);
        for (int i = 0; i < FX_SESSIONS; i++)
            fx_session_on(i, worker);
        test_case();
        fx_close();
    }
}
