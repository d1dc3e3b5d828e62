// dry_run.c: see dry_run.h.
//
// As in route.c a list of exchanges to visit starts with the one published to. Each has the step that led to it, so that the way to a
// queue can be told by going back from step to step.
#include "src/broker/dry_run.h"

#include "amqp/wire/table.h"
#include "src/base/mem.h"
#include "src/broker/arguments.h"
#include "src/broker/json.h"
#include "src/broker/session_impl.h"

#define NO_STEP SIZE_MAX
// LIMIT: exchanges visited: a message goes through each once.
enum { EXCHANGES_MAX = 1000 };
// LIMIT: bytes of the way to a queue in words, of all steps together.
enum { PATH_BYTES_MAX = 2048, STEPS_BYTES_MAX = 4 * 1024 * 1024 };

struct visit {
    const struct exchange *exchange;
    size_t step; // that led to it; NO_STEP: it is the one published to
};

struct walk {
    const struct dry_run_args *args;
    const struct vhost *vhost;
    struct dry_run *result;
    struct router_scratch *scratch;
    struct binding_set found;
    struct slice keys[SESSION_KEYS_MAX];
    size_t key_count;
    struct visit visits[EXCHANGES_MAX];
    size_t visit_count;
    struct { // of each step
        size_t from;
        struct slice label; // "exchange 'x'", where it leads to; in the topology
        bool is_queue;
    } steps[DRY_RUN_STEPS_MAX];
    struct inttab seen_exchanges, seen_queues; // ids
    int err;
};

// --- steps ----------------------------------------------------------------------------------------------------------------------

struct step {
    const char *kind;
    size_t from;
    struct slice exchange;
    const struct binding *binding; // NULL: none
    struct slice destination;
    bool is_queue; // the destination
    struct slice key;
};

static struct slice
shown_name(struct slice exchange)
{
    return exchange.len > 0 ? exchange : SLICE_LIT("amq.default");
}

// Writes a step down; its number, or NO_STEP when there are too many.
static size_t
add_step(struct walk *w, const struct step *s, struct buf *text)
{
    struct dry_run *d = w->result;
    struct buf *out = &d->steps;
    size_t number = d->step_count;
    if (number == DRY_RUN_STEPS_MAX || out->len > STEPS_BYTES_MAX) {
        d->is_truncated = true;
        buf_fini(text);
        return NO_STEP;
    }
    w->steps[number].from = s->from;
    w->steps[number].label = s->destination;
    w->steps[number].is_queue = s->is_queue;
    d->step_count++;
    buf_append_u8(out, '{');
    json_put_member_int(out, "step", (int64_t)number);
    if (s->from == NO_STEP)
        buf_append_str(out, "\"from\":null,");
    else
        json_put_member_int(out, "from", (int64_t)s->from);
    json_put_member_string(out, "kind", slice_str(s->kind));
    json_put_member_string(out, "exchange", s->exchange);
    if (s->key.ptr != NULL)
        json_put_member_string(out, "routing_key", s->key);
    if (s->destination.ptr != NULL) {
        json_put_member_string(out, "destination", s->destination);
        json_put_member_string(out, "destination_type", slice_str(s->is_queue ? "queue" : "exchange"));
    }
    if (s->binding != NULL) {
        json_put_member_string(out, "binding_key", s->binding->key);
        buf_append_str(out, "\"binding_arguments\":");
        json_put_table(out, s->binding->arguments);
        buf_append_u8(out, ',');
    }
    json_put_member_string(out, "text", buf_slice(text));
    json_drop_comma(out);
    buf_append_str(out, "},");
    buf_fini(text);
    return number;
}

// "exchange 'a' -> exchange 'b' -> queue 'q'"; NULL: out of memory.
static char *
path_to(const struct walk *w, size_t step)
{
    size_t way[DRY_RUN_STEPS_MAX], count = 0;
    struct buf text = BUF_INIT;
    for (size_t at = step; at != NO_STEP && count < DRY_RUN_STEPS_MAX; at = w->steps[at].from)
        way[count++] = at;
    buf_printf(&text, "exchange '%.*s'", SLICE_FMT(shown_name(w->args->exchange)));
    while (count-- > 0) {
        if (text.len > PATH_BYTES_MAX) {
            buf_append_str(&text, " -> ...");
            break;
        }
        if (w->steps[way[count]].label.ptr != NULL)
            buf_printf(&text, " -> %s '%.*s'", w->steps[way[count]].is_queue ? "queue" : "exchange",
                       SLICE_FMT(w->steps[way[count]].label));
    }
    char *path = text.failed ? NULL : mem_alloc(text.len + 1);
    if (path != NULL)
        memcpy(path, buf_cstr(&text), text.len + 1);
    buf_fini(&text);
    return path;
}

// --- what is found --------------------------------------------------------------------------------------------------------------

// 1: new, 0: seen before, or no memory (w->err).
static bool
is_new(struct walk *w, struct inttab *seen, uint64_t id)
{
    if (inttab_get(seen, id) != NULL)
        return false;
    if (inttab_put(seen, id, w) == 0)
        return true;
    w->err = -LE_NOMEM;
    return false;
}

static void
found_queue(struct walk *w, const struct queue_def *q, size_t step)
{
    struct dry_run *d = w->result;
    if (!is_new(w, &w->seen_queues, q->id))
        return;
    d->found_count++;
    if (d->queue_count == DRY_RUN_QUEUES_MAX || step == NO_STEP) {
        d->is_truncated = true;
        return;
    }
    struct dry_run_queue *to = &d->queues[d->queue_count];
    *to = (struct dry_run_queue){.handle = q->handle, .step = step, .name_len = q->name.len};
    to->name = mem_alloc(q->name.len + 1);
    to->path = path_to(w, step);
    d->queue_count++;
    if (to->name == NULL || to->path == NULL) {
        w->err = -LE_NOMEM;
        return;
    }
    if (q->name.len > 0)
        memcpy(to->name, q->name.ptr, q->name.len);
    to->name[q->name.len] = '\0';
}

static void
found_exchange(struct walk *w, const struct exchange *x, size_t step)
{
    struct buf text = BUF_INIT;
    if (x == NULL)
        return;
    if (!is_new(w, &w->seen_exchanges, x->id)) {
        buf_printf(&text, "exchange '%.*s' has had this message already: it goes through each exchange once",
                   SLICE_FMT(shown_name(x->name)));
        add_step(w, &(struct step){.kind = "visited", .from = step, .exchange = x->name}, &text);
        return;
    }
    if (w->visit_count == EXCHANGES_MAX) {
        w->result->is_truncated = true;
        return;
    }
    w->visits[w->visit_count++] = (struct visit){x, step};
}

// --- exchanges ------------------------------------------------------------------------------------------------------------------

static void
visit_default(struct walk *w, const struct visit *v)
{
    for (size_t i = 0; i < w->key_count && w->err == 0; i++) {
        struct buf text = BUF_INIT;
        struct slice key = w->keys[i];
        const struct queue_def *q = vhost_queue(w->vhost, key);
        struct step step = {.kind = "default", .from = v->step, .exchange = v->exchange->name, .key = key};
        if (q != NULL) {
            buf_printf(&text,
                       "the default exchange takes the routing key '%.*s' for the name of a queue, and there "
                       "is one",
                       SLICE_FMT(key));
            step.destination = q->name;
            step.is_queue = true;
            found_queue(w, q, add_step(w, &step, &text));
            continue;
        }
        step.kind = "no_match";
        if (reply_to_is_token(key))
            buf_printf(&text,
                       "'%.*s' is the address of a direct reply: it goes to the requester, if it is "
                       "still there",
                       SLICE_FMT(key));
        else
            buf_printf(&text,
                       "the default exchange takes the routing key '%.*s' for the name of a queue, and there "
                       "is none in vhost '%.*s'",
                       SLICE_FMT(key), SLICE_FMT(w->vhost->name));
        add_step(w, &step, &text);
    }
}

// Why a binding matches.
static void
put_why(struct buf *text, const struct exchange *x, const struct binding *b, struct slice key)
{
    const char *type = exchange_type_name(x->type);
    struct slice how = SLICE_LIT("all");
    switch (x->router.type) {
    case EXCHANGE_CONSISTENT_HASH:
    case EXCHANGE_MODULUS_HASH:
        buf_printf(text, "exchange '%.*s' (%s) picks one of its %llu bindings by a hash of the message",
                   SLICE_FMT(x->name), type, (unsigned long long)x->router.count);
        break;
    case EXCHANGE_RANDOM:
    case EXCHANGE_LOCAL_RANDOM:
        buf_printf(text,
                   "exchange '%.*s' (%s) picks one of its %llu bindings at random, for each message anew",
                   SLICE_FMT(x->name), type, (unsigned long long)x->router.count);
        break;
    case EXCHANGE_FANOUT:
        buf_printf(text, "exchange '%.*s' (%s) gives every message to all that is bound to it",
                   SLICE_FMT(x->name), type);
        break;
    case EXCHANGE_HEADERS:
        (void)table_find_longstr(b->arguments, SLICE_LIT("x-match"), &how);
        buf_printf(text, "the headers match a binding of exchange '%.*s' (%s, x-match %.*s)",
                   SLICE_FMT(x->name), type, SLICE_FMT(how));
        break;
    default:
        buf_printf(text, "routing key '%.*s' matches binding key '%.*s' of exchange '%.*s' (%s)",
                   SLICE_FMT(key), SLICE_FMT(b->key), SLICE_FMT(x->name), type);
        break;
    }
}

static void
follow_binding(struct walk *w, const struct visit *v, const struct binding *b, struct slice key)
{
    struct buf text = BUF_INIT;
    bool is_queue = b->dest == BINDING_TO_QUEUE;
    put_why(&text, v->exchange, b, key);
    buf_printf(&text, ": to %s '%.*s'", is_queue ? "queue" : "exchange", SLICE_FMT(b->dest_name));
    struct step step = {
        .kind = "binding",
        .from = v->step,
        .exchange = v->exchange->name,
        .binding = b,
        .destination = b->dest_name,
        .is_queue = is_queue,
        .key = key,
    };
    size_t number = add_step(w, &step, &text);
    if (is_queue)
        found_queue(w, b->queue, number);
    else
        found_exchange(w, vhost_exchange_by_id(w->vhost, b->dest_id), number);
}

static void
no_match(struct walk *w, const struct visit *v)
{
    const struct exchange *x = v->exchange;
    struct buf text = BUF_INIT;
    struct step step = {.kind = "no_match", .from = v->step, .exchange = x->name, .key = w->keys[0]};
    if (x->router.count == 0)
        buf_printf(&text, "exchange '%.*s' (%s) has no bindings", SLICE_FMT(x->name),
                   exchange_type_name(x->type));
    else
        buf_printf(&text, "none of the %llu bindings of exchange '%.*s' (%s) matches %s'%.*s'",
                   (unsigned long long)x->router.count, SLICE_FMT(x->name), exchange_type_name(x->type),
                   x->type == EXCHANGE_HEADERS ? "the headers; routing key " : "routing key ",
                   SLICE_FMT(w->keys[0]));
    size_t number = add_step(w, &step, &text);
    if (x->alternate.len == 0)
        return;
    const struct exchange *alternate = vhost_exchange(w->vhost, x->alternate);
    text = (struct buf)BUF_INIT;
    step.kind = alternate != NULL ? "alternate" : "no_alternate";
    step.from = number;
    step.destination = x->alternate;
    if (alternate != NULL)
        buf_printf(&text, "nothing matched: its alternate exchange '%.*s' gets the message",
                   SLICE_FMT(x->alternate));
    else
        buf_printf(&text, "its alternate exchange '%.*s' does not exist", SLICE_FMT(x->alternate));
    number = add_step(w, &step, &text);
    found_exchange(w, alternate, number);
}

static void
visit(struct walk *w, const struct visit *v)
{
    const struct exchange *x = v->exchange;
    enum exchange_type type = x->router.type;
    bool is_keyed = type == EXCHANGE_DIRECT || type == EXCHANGE_TOPIC, has_match = false;
    uint8_t number[8];
    if (x->is_default) {
        visit_default(w, v);
        return;
    }
    for (size_t i = 0; i < (is_keyed ? w->key_count : 1) && w->err == 0; i++) {
        w->found.count = 0;
        struct slice key = is_keyed ? w->keys[i]
                           : exchange_type_picks(type)
                               ? hash_on_value(&x->hash_on, w->keys[0], &w->args->props, number)
                               : SLICE_EMPTY;
        w->err = router_match(&x->router, w->scratch, key, w->args->props.headers, &w->found);
        has_match |= w->found.count > 0;
        for (size_t j = 0; j < w->found.count && w->err == 0; j++)
            follow_binding(w, v, w->found.items[j], w->keys[i]);
    }
    if (!has_match && w->err == 0)
        no_match(w, v);
}

// --- before it is routed ----------------------------------------------------------------------------------------------------------

static void
refuse(struct walk *w, const char *kind, struct slice text)
{
    struct buf copy = BUF_INIT;
    w->result->outcome = DRY_RUN_REFUSED;
    buf_append_slice(&copy, text);
    buf_append_slice(&w->result->text, text);
    add_step(w, &(struct step){.kind = kind, .from = NO_STEP, .exchange = w->args->exchange}, &copy);
}

// The exchange, if a publish would come as far as to be routed.
static const struct exchange *
check(struct walk *w, struct worker *worker)
{
    const struct dry_run_args *a = w->args;
    const struct topology *t = topology_of(worker);
    struct auth_cache *cache = broker_of(worker)->auth_cache;
    struct fault f = {0};
    size_t more = 0;
    bool has_bcc = false;
    const struct exchange *x = vhost_exchange(w->vhost, a->exchange);
    if (a->user.len > 0 &&
        !auth_check(cache, t, a->user, a->vhost, "exchange", a->exchange, ACCESS_WRITE, &f)) {
        refuse(w, "no_permission", slice_str(f.text));
    } else if (x == NULL) {
        fault_set(&f, FAULT_NOT_FOUND, "no exchange '%.*s' in vhost '%.*s'", SLICE_FMT(a->exchange),
                  SLICE_FMT(a->vhost));
        refuse(w, "no_exchange", slice_str(f.text));
    } else if (x->is_internal) {
        fault_set(&f, FAULT_ACCESS_REFUSED, "cannot publish to internal exchange '%.*s' in vhost '%.*s'",
                  SLICE_FMT(a->exchange), SLICE_FMT(a->vhost));
        refuse(w, "internal_exchange", slice_str(f.text));
    } else if (a->user.len > 0 && x->type == EXCHANGE_TOPIC &&
               !auth_check_topic(cache, t, a->user, a->vhost, a->exchange, a->key, ACCESS_WRITE, &f)) {
        refuse(w, "no_topic_permission", slice_str(f.text));
    } else if (a->props.headers.len > 0 &&
               !arguments_sender_selected(a->props.headers, w->keys + 1, SESSION_KEYS_MAX - 1, &more,
                                          &has_bcc, &f)) {
        refuse(w, "bad_property", slice_str(f.text));
    } else {
        w->keys[0] = a->key;
        w->key_count = 1 + more;
        return x;
    }
    return NULL;
}

static void
conclude(struct walk *w)
{
    struct dry_run *d = w->result;
    if (d->outcome == DRY_RUN_REFUSED)
        return;
    if (d->found_count > 0) {
        d->outcome = DRY_RUN_ROUTED;
        buf_printf(&d->text, "the message goes to %zu queue%s", d->found_count,
                   d->found_count == 1 ? "" : "s");
        return;
    }
    d->outcome = DRY_RUN_UNROUTABLE;
    buf_printf(&d->text, "the message goes to no queue: it is %s",
               w->args->is_mandatory ? "returned (312 NO_ROUTE), then confirmed" : "dropped, and confirmed");
}

static int
run(struct walk *w, struct worker *worker)
{
    const struct exchange *x = check(w, worker);
    if (x != NULL)
        found_exchange(w, x, NO_STEP);
    for (size_t i = 0; i < w->visit_count && w->err == 0; i++) {
        struct visit v = w->visits[i];
        visit(w, &v);
    }
    conclude(w);
    if (w->result->steps.failed || w->result->text.failed)
        w->err = -LE_NOMEM;
    return w->err;
}

int
dry_run(struct worker *worker, const struct dry_run_args *a, struct dry_run **ret)
{
    const struct vhost *v = topology_vhost(topology_of(worker), a->vhost);
    if (v == NULL)
        return -LE_NOTFOUND;
    struct walk *w = mem_calloc(1, sizeof *w);
    struct dry_run *d = mem_calloc(1, sizeof *d);
    int err = -LE_NOMEM;
    if (w == NULL || d == NULL)
        goto out;
    w->args = a;
    w->vhost = v;
    w->result = d;
    inttab_init(&w->seen_exchanges);
    inttab_init(&w->seen_queues);
    w->scratch = router_scratch_new();
    d->queues = mem_calloc(DRY_RUN_QUEUES_MAX, sizeof *d->queues);
    if (w->scratch != NULL && d->queues != NULL)
        err = run(w, worker);
    router_scratch_free(w->scratch);
    binding_set_fini(&w->found);
    inttab_fini(&w->seen_exchanges);
    inttab_fini(&w->seen_queues);
out:
    mem_free(w);
    if (err == 0)
        *ret = d;
    else
        dry_run_free(d);
    return err;
}

void
dry_run_free(struct dry_run *d)
{
    if (d == NULL)
        return;
    for (size_t i = 0; i < d->queue_count; i++) {
        mem_free(d->queues[i].name);
        mem_free(d->queues[i].path);
    }
    mem_free(d->queues);
    buf_fini(&d->steps);
    buf_fini(&d->text);
    mem_free(d);
}
