// counters.c: see counters.h.
#include "src/broker/counters.h"

#include "src/base/mem.h"
#include "src/broker/json.h"

enum { PURGE_FIRST = 256 };

void
counters_init(struct counters *c)
{
    *c = (struct counters){.purge_at = PURGE_FIRST};
    inttab_init(&c->vhosts);
    inttab_init(&c->exchanges);
}

static void
free_values(struct inttab *t)
{
    size_t cursor = 0;
    uint64_t key;
    void *value;
    while (inttab_next(t, &cursor, &key, &value))
        mem_free(value);
    inttab_fini(t);
}

void
counters_fini(struct counters *c)
{
    free_values(&c->vhosts);
    free_values(&c->exchanges);
}

void
session_counts_add(struct session_counts *to, const struct session_counts *from)
{
    static_assert(sizeof *to % sizeof(uint64_t) == 0, "counters only");
    uint64_t *a = (uint64_t *)to;
    const uint64_t *b = (const uint64_t *)from;
    for (size_t i = 0; i < sizeof *to / sizeof *a; i++)
        a[i] += b[i];
}

void
session_counts_put(const struct session_counts *s, struct buf *out)
{
    uint64_t deliver_get = s->delivered + s->delivered_no_ack + s->got + s->got_no_ack;
    json_put_member_int(out, "publish", (int64_t)s->published);
    json_put_member_int(out, "confirm", (int64_t)s->confirmed);
    json_put_member_int(out, "return_unroutable", (int64_t)s->returned);
    json_put_member_int(out, "drop_unroutable", (int64_t)s->dropped);
    json_put_member_int(out, "deliver", (int64_t)s->delivered);
    json_put_member_int(out, "deliver_no_ack", (int64_t)s->delivered_no_ack);
    json_put_member_int(out, "get", (int64_t)s->got);
    json_put_member_int(out, "get_no_ack", (int64_t)s->got_no_ack);
    json_put_member_int(out, "get_empty", (int64_t)s->got_empty);
    json_put_member_int(out, "redeliver", (int64_t)s->redelivered);
    json_put_member_int(out, "ack", (int64_t)s->acked);
    json_put_member_int(out, "deliver_get", (int64_t)deliver_get);
    // Ours: what RabbitMQ does not count.
    json_put_member_int(out, "nack", (int64_t)s->nacked);
    json_put_member_int(out, "reject", (int64_t)s->rejected);
    json_put_member_int(out, "requeue", (int64_t)s->requeued);
}

// --- by vhost -----------------------------------------------------------------------------------------------------------------

struct vhost_counts *
counters_vhost(struct counters *c, uint64_t id, struct slice name)
{
    struct vhost_counts *v = inttab_get(&c->vhosts, id);
    if (v != NULL)
        return v;
    v = mem_calloc(1, sizeof *v + name.len);
    if (v == NULL || inttab_put(&c->vhosts, id, v) != 0) {
        mem_free(v);
        return &c->gone;
    }
    v->id = id;
    v->name = slice_of(v + 1, name.len);
    if (name.len > 0)
        memcpy(v + 1, name.ptr, name.len);
    return v;
}

// --- by exchange --------------------------------------------------------------------------------------------------------------

static bool
is_exchange_gone(const struct topology *t, const struct exchange_counts *x)
{
    const struct vhost *v = topology_vhost(t, x->vhost);
    return v == NULL || vhost_exchange_by_id(v, x->id) == NULL;
}

static bool
is_vhost_gone(const struct topology *t, const struct vhost_counts *counts)
{
    const struct vhost *v = topology_vhost(t, counts->name);
    return v == NULL || v->id != counts->id;
}

// Taking one out moves others in the table, so what has gone is chained first.
static void
purge_exchanges(struct counters *c, const struct topology *t)
{
    struct exchange_counts *found = NULL;
    size_t cursor = 0;
    uint64_t key;
    void *value;
    while (inttab_next(&c->exchanges, &cursor, &key, &value)) {
        struct exchange_counts *x = value;
        if (!is_exchange_gone(t, x))
            continue;
        x->next = found;
        found = x;
    }
    for (struct exchange_counts *x = found, *next; x != NULL; x = next) {
        next = x->next;
        c->none.in += x->in;
        c->none.out += x->out;
        (void)inttab_take(&c->exchanges, x->id);
        mem_free(x);
    }
}

static void
purge_vhosts(struct counters *c, const struct topology *t)
{
    struct vhost_counts *found = NULL;
    size_t cursor = 0;
    uint64_t key;
    void *value;
    while (inttab_next(&c->vhosts, &cursor, &key, &value)) {
        struct vhost_counts *v = value;
        if (!is_vhost_gone(t, v))
            continue;
        v->next = found;
        found = v;
    }
    for (struct vhost_counts *v = found, *next; v != NULL; v = next) {
        next = v->next;
        session_counts_add(&c->gone.closed, &v->closed);
        c->gone.received += v->received;
        c->gone.sent += v->sent;
        (void)inttab_take(&c->vhosts, v->id);
        mem_free(v);
    }
}

void
counters_purge(struct counters *c, const struct topology *t)
{
    purge_exchanges(c, t);
    purge_vhosts(c, t);
    c->purge_at = LV_MAX(2 * c->exchanges.count, (size_t)PURGE_FIRST);
}

struct exchange_counts *
counters_exchange(struct counters *c, const struct topology *t, const struct exchange *x)
{
    struct exchange_counts *e = inttab_get(&c->exchanges, x->id);
    if (LV_LIKELY(e != NULL))
        return e;
    if (c->exchanges.count >= c->purge_at)
        counters_purge(c, t);
    e = mem_calloc(1, sizeof *e + x->vhost.len + x->name.len);
    if (e == NULL || inttab_put(&c->exchanges, x->id, e) != 0) {
        mem_free(e);
        return &c->none;
    }
    uint8_t *bytes = (uint8_t *)(e + 1);
    e->id = x->id;
    e->vhost = slice_of(bytes, x->vhost.len);
    e->name = slice_of(bytes + x->vhost.len, x->name.len);
    if (x->vhost.len > 0)
        memcpy(bytes, x->vhost.ptr, x->vhost.len);
    if (x->name.len > 0)
        memcpy(bytes + x->vhost.len, x->name.ptr, x->name.len);
    return e;
}
