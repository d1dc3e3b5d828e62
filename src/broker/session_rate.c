// session_rate.c: the rate limits of a client: which meters it is charged on, and when it may go on.
#include "src/base/mem.h"
#include "src/broker/session_impl.h"

static void
rates_put(struct client_rate *r)
{
    if (r == NULL)
        return;
    for (int i = 0; i < RATE_SCOPES; i++)
        rate_meter_put(r->meters[i]);
    mem_free(r);
}

void
client_rate_free(struct client *c)
{
    rates_put(c->rate);
    c->rate = NULL;
}

// A limit of its own wins over the configured one, member by member.
static struct rate_limit
limit_or(const struct rate_limit *own, const struct rate_limit *configured)
{
    return (struct rate_limit){
        .messages = own != NULL && own->messages >= 0 ? own->messages : configured->messages,
        .bytes = own != NULL && own->bytes >= 0 ? own->bytes : configured->bytes,
    };
}

// Without memory what is in force stays, and it is tried again.
static void
rate_refresh(struct client *c)
{
    struct broker_worker *b = c->broker;
    const struct topology *t = topology_of(b->worker);
    const struct rate_limit *configured = b->config.rates;
    const struct vhost *v = topology_vhost(t, c->vhost);
    const struct user *u = topology_user(t, c->user);
    char number[24];
    snprintf(number, sizeof number, "%llu", (unsigned long long)c->id);
    const struct slice names[RATE_SCOPES] = {c->vhost, c->user, slice_str(number)};
    const struct rate_limit limits[RATE_SCOPES] = {
        [RATE_VHOST] = limit_or(v != NULL ? &v->rate : NULL, &configured[RATE_VHOST]),
        [RATE_USER] = limit_or(u != NULL ? &u->rate : NULL, &configured[RATE_USER]),
        [RATE_CONNECTION] = configured[RATE_CONNECTION],
    };
    struct client_rate *fresh = NULL;
    for (int i = 0; i < RATE_SCOPES; i++) {
        if (!rate_is_limited(&limits[i]))
            continue;
        if (fresh == NULL && (fresh = mem_calloc(1, sizeof *fresh)) == NULL)
            return;
        // The configured limits have versions of their own: both only grow, and so does their sum.
        fresh->meters[i] =
            rate_meter_get((enum rate_scope)i, names[i], &limits[i], t->auth_version + b->config.rate_number);
        if (fresh->meters[i] == NULL) {
            rates_put(fresh);
            return;
        }
    }
    client_rate_free(c);
    c->rate = fresh;
    c->has_publish_work = fresh != NULL || b->has_interceptors;
    c->rate_version = t->auth_version;
    c->rate_number = b->config.rate_number;
}

static void
on_rate_timer(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct broker_worker *b = timer->data; // the turn that follows asks client_must_wait again
    ev_timer_stop(loop, timer);
    b->rate_due_ns = 0;
}

void
rates_init(struct broker_worker *b)
{
    ev_init(&b->rate_timer, on_rate_timer);
    b->rate_timer.data = b;
}

void
rates_fini(struct broker_worker *b)
{
    ev_timer_stop(b->worker->loop, &b->rate_timer);
}

static void
wake_in(struct broker_worker *b, uint64_t wait_ns)
{
    uint64_t due_ns = b->worker->now_ns + wait_ns;
    if (b->rate_due_ns != 0 && b->rate_due_ns <= due_ns)
        return;
    b->rate_due_ns = due_ns;
    ev_timer_stop(b->worker->loop, &b->rate_timer);
    ev_timer_set(&b->rate_timer, (double)wait_ns * 1e-9, 0.);
    ev_timer_start(b->worker->loop, &b->rate_timer);
}

// The limit that holds it longest; RATE_SCOPES: none does.
static enum rate_scope
held_by(const struct client *c, uint64_t *ret_wait_ns)
{
    enum rate_scope scope = RATE_SCOPES;
    *ret_wait_ns = 0;
    for (int i = 0; i < RATE_SCOPES && c->rate != NULL; i++) {
        const struct rate_meter *m = c->rate->meters[i];
        uint64_t wait_ns = m != NULL ? rate_meter_wait_ns(m, c->broker->worker->now_ns) : 0;
        if (wait_ns > *ret_wait_ns) {
            *ret_wait_ns = wait_ns;
            scope = (enum rate_scope)i;
        }
    }
    return scope;
}

bool
client_rate_must_wait(struct client *c)
{
    struct broker_worker *b = c->broker;
    uint64_t wait_ns;
    if (LV_UNLIKELY(c->rate_version != topology_of(b->worker)->auth_version ||
                    c->rate_number != b->config.rate_number))
        rate_refresh(c);
    if (LV_LIKELY(c->rate == NULL) || held_by(c, &wait_ns) == RATE_SCOPES)
        return false;
    if (wait_ns != UINT64_MAX) // a limit of nothing ends with a new topology version, which wakes everybody
        wake_in(b, wait_ns);
    return true;
}

void
client_rate_charge(struct client *c, size_t bytes)
{
    uint64_t now_ns = c->broker->worker->now_ns;
    bool is_over = false;
    for (int i = 0; i < RATE_SCOPES; i++) {
        if (c->rate->meters[i] != NULL)
            is_over |= rate_meter_charge(c->rate->meters[i], now_ns, bytes);
    }
    if (is_over && c->events->hold != NULL)
        c->events->hold(c->ctx);
}

// "publish rate of user 'alice' (100 messages/s)". False: no rate holds it.
bool
client_rate_describe(const struct client *c, struct buf *out, enum reason_kind *ret_kind)
{
    static const char *const words[RATE_SCOPES] = {"virtual host", "user", "connection"};
    static const enum reason_kind kinds[RATE_SCOPES] = {REASON_HELD_VHOST_RATE, REASON_HELD_USER_RATE,
                                                        REASON_HELD_CONNECTION_RATE};
    const struct slice names[RATE_SCOPES] = {c->vhost, c->user, c->name};
    uint64_t wait_ns;
    enum rate_scope scope = held_by(c, &wait_ns);
    if (scope == RATE_SCOPES)
        return false;
    buf_printf(out, "publish rate of %s '%.*s' (", words[scope], SLICE_FMT(names[scope]));
    rate_meter_describe(c->rate->meters[scope], c->broker->worker->now_ns, out);
    buf_append_str(out, ")");
    *ret_kind = kinds[scope];
    return true;
}

void
client_note_held(struct client *c)
{
    struct reason reason = {.object_kind = "user", .object = c->user, .vhost = c->vhost};
    struct buf text = BUF_INIT;
    buf_append_str(&text, "publisher held: ");
    if (client_rate_describe(c, &text, &reason.kind)) {
        reason.text = buf_slice(&text);
        reason_note(c->broker->worker, &reason);
    }
    buf_fini(&text);
}
