// topology_writer_event.c: events (event.h) of what was declared, set, deleted.
//
// Happy path: when the changes of a turn stand, journal_finish shows each record to event_of_change, which makes messages of it; they
// wait with the version being made, and go to the first worker by mail when all have adopted that, so that whoever hears of a queue can use
// it. The worker publishes them.
// Without memory an event is not made: nobody waits for one.
#include <inttypes.h>

#include "src/base/mem.h"
#include "src/broker/announce.h"
#include "src/broker/event.h"
#include "src/broker/session_impl.h"
#include "src/broker/topology_writer.h"

// --- sending ------------------------------------------------------------------------------------------------------------------

struct event_mail {
    struct message *msg;
};

static void
event_arrived(struct worker *w, void *payload)
{
    struct broker_worker *b = broker_of(w);
    struct message *msg = ((struct event_mail *)payload)->msg;
    const struct vhost *v = topology_vhost(topology_of(w), b->config.event_vhost);
    if (v != NULL)
        announce(b, v, msg);
    else
        message_unref(msg);
}

void
events_send(struct topology_writer *tw, struct event_list *l)
{
    for (size_t i = 0; i < l->count; i++) {
        struct event_mail mail = {l->items[i]};
        worker_post(tw->crew->members[0], event_arrived, &mail, sizeof mail, message_weight(mail.msg));
    }
    l->count = 0;
    events_free(l);
}

void
events_free(struct event_list *l)
{
    for (size_t i = 0; i < l->count; i++)
        message_unref(l->items[i]);
    mem_free(l->items);
    *l = (struct event_list){0};
}

bool
events_are_heard(const struct topology_writer *tw)
{
    if (LV_LIKELY(tw->event_vhost.len == 0) || tw->worker->extra_state != tw) // not while starting
        return false;
    const struct vhost *v = topology_vhost(&tw->turn.draft, tw->event_vhost);
    return v != NULL && announce_is_heard(vhost_exchange(v, SLICE_LIT(EVENT_EXCHANGE)));
}

static void
end(struct topology_writer *tw, struct event *e, const char *key, struct slice user)
{
    struct event_list *l = &tw->turn.events;
    struct message *m = event_end(e, key, user);
    if (m == NULL)
        return;
    l->items = array_grow(l->items, l->count, &l->cap, sizeof(struct message *));
    l->items[l->count++] = m;
}

// --- objects ------------------------------------------------------------------------------------------------------------------

static void
put_named(struct event *e, struct slice name, struct slice vhost)
{
    table_put_longstr(&e->w, SLICE_LIT("name"), name);
    table_put_longstr(&e->w, SLICE_LIT("vhost"), vhost);
}

static void
exchange_event(struct topology_writer *tw, const struct exchange *x, bool is_created, struct slice user)
{
    struct event e;
    put_named(event_begin(&e), x->name, x->vhost);
    if (is_created) {
        table_put_str(&e.w, SLICE_LIT("type"), exchange_type_name(x->type));
        table_put_bool(&e.w, SLICE_LIT("durable"), x->is_durable);
        table_put_bool(&e.w, SLICE_LIT("auto_delete"), x->is_auto_delete);
        table_put_bool(&e.w, SLICE_LIT("internal"), x->is_internal);
        table_put_table(&e.w, SLICE_LIT("arguments"), x->arguments);
    }
    end(tw, &e, is_created ? "exchange.created" : "exchange.deleted", user);
}

static void
queue_event(struct topology_writer *tw, const struct queue_def *q, bool is_created, struct slice user)
{
    struct event e;
    if ((q->flags & QUEUE_DELAY) != 0)
        return;
    put_named(event_begin(&e), q->name, q->vhost);
    if (is_created) {
        table_put_bool(&e.w, SLICE_LIT("durable"), (q->flags & QUEUE_DURABLE) != 0);
        table_put_bool(&e.w, SLICE_LIT("auto_delete"), (q->flags & QUEUE_AUTO_DELETE) != 0);
        table_put_bool(&e.w, SLICE_LIT("exclusive"), (q->flags & QUEUE_EXCLUSIVE) != 0);
        table_put_table(&e.w, SLICE_LIT("arguments"), q->arguments);
    }
    end(tw, &e, is_created ? "queue.created" : "queue.deleted", user);
}

static void
binding_event(struct topology_writer *tw, const struct binding *b, struct slice vhost, bool is_created,
              struct slice user)
{
    struct event e;
    event_begin(&e);
    table_put_longstr(&e.w, SLICE_LIT("source_name"), b->source_name);
    table_put_str(&e.w, SLICE_LIT("source_kind"), "exchange");
    table_put_longstr(&e.w, SLICE_LIT("destination_name"), b->dest_name);
    table_put_str(&e.w, SLICE_LIT("destination_kind"), b->dest == BINDING_TO_QUEUE ? "queue" : "exchange");
    table_put_longstr(&e.w, SLICE_LIT("routing_key"), b->key);
    table_put_table(&e.w, SLICE_LIT("arguments"), b->arguments);
    table_put_longstr(&e.w, SLICE_LIT("vhost"), vhost);
    end(tw, &e, is_created ? "binding.created" : "binding.deleted", user);
}

struct each_gone {
    struct topology_writer *tw;
    struct slice vhost, user;
};

static bool
binding_gone(const struct binding *b, void *ctx)
{
    const struct each_gone *g = ctx;
    binding_event(g->tw, b, g->vhost, false, g->user);
    return true;
}

static void
exchange_gone(struct topology_writer *tw, const struct exchange *x, struct slice user)
{
    struct each_gone g = {tw, x->vhost, user};
    router_each(&x->router, binding_gone, &g);
    exchange_event(tw, x, false, user);
}

static void
vhost_event(struct topology_writer *tw, const struct vhost *v, bool is_created, struct slice user)
{
    struct event e;
    struct pmap_iter it;
    if (!is_created) {
        pmap_iter_init(&it, &v->exchanges);
        for (const struct exchange *x; (x = pmap_iter_next(&it)) != NULL;)
            exchange_gone(tw, x, user);
    }
    event_begin(&e);
    table_put_longstr(&e.w, SLICE_LIT("name"), v->name);
    if (is_created) {
        table_put_longstr(&e.w, SLICE_LIT("description"), v->description);
        table_put_longstr(&e.w, SLICE_LIT("tags"), v->tags);
        table_put_bool(&e.w, SLICE_LIT("tracing"), v->is_tracing);
    }
    end(tw, &e, is_created ? "vhost.created" : "vhost.deleted", user);
}

static void
limits_event(struct topology_writer *tw, const struct vhost_entry *ve, const struct vhost_settings *old,
             struct slice user)
{
    const struct vhost_settings *now = ve->settings;
    struct event e;
    if (now->max_connections == old->max_connections && now->max_queues == old->max_queues)
        return;
    event_begin(&e);
    table_put_str(&e.w, SLICE_LIT("name"), "limits");
    table_put_longstr(&e.w, SLICE_LIT("vhost"), ve->name);
    if (now->max_connections >= 0)
        table_put_i64(&e.w, SLICE_LIT("max-connections"), now->max_connections);
    if (now->max_queues >= 0)
        table_put_i64(&e.w, SLICE_LIT("max-queues"), now->max_queues);
    bool is_any = now->max_connections >= 0 || now->max_queues >= 0;
    end(tw, &e, is_any ? "vhost.limits.set" : "vhost.limits.cleared", user);
}

// --- users, permissions, parameters -------------------------------------------------------------------------------------------

static void
user_end(struct topology_writer *tw, const struct user *u, const char *key)
{
    struct event e;
    event_begin(&e);
    table_put_longstr(&e.w, SLICE_LIT("name"), u->name);
    table_put_longstr(&e.w, SLICE_LIT("tags"), u->tags);
    end(tw, &e, key, SLICE_EMPTY);
}

static void
user_event(struct topology_writer *tw, const struct user *new, const struct user *old)
{
    if (new == NULL || old == NULL) {
        user_end(tw, new != NULL ? new : old, new != NULL ? "user.created" : "user.deleted");
        return;
    }
    if (!slice_eq(new->password_hash, old->password_hash))
        user_end(tw, new, new->password_hash.len > 0 ? "user.password.changed" : "user.password.cleared");
    if (!slice_eq(new->tags, old->tags))
        user_end(tw, new, "user.tags.set");
    if (new->max_connections != old->max_connections || new->max_channels != old->max_channels)
        user_end(tw, new,
                 new->max_connections < 0 && new->max_channels < 0 ? "user.limits.cleared"
                                                                   : "user.limits.set");
}

static void
permission_event(struct topology_writer *tw, const struct permission *new, const struct permission *old)
{
    const struct permission *p = new != NULL ? new : old;
    struct event e;
    event_begin(&e);
    table_put_longstr(&e.w, SLICE_LIT("user"), p->user);
    table_put_longstr(&e.w, SLICE_LIT("vhost"), p->vhost);
    if (new != NULL) {
        table_put_longstr(&e.w, SLICE_LIT("configure"), p->pattern[ACCESS_CONFIGURE]);
        table_put_longstr(&e.w, SLICE_LIT("write"), p->pattern[ACCESS_WRITE]);
        table_put_longstr(&e.w, SLICE_LIT("read"), p->pattern[ACCESS_READ]);
    }
    end(tw, &e, new != NULL ? "permission.created" : "permission.deleted", SLICE_EMPTY);
}

static void
topic_permission_event(struct topology_writer *tw, const struct topic_permission *new,
                       const struct topic_permission *old)
{
    const struct topic_permission *p = new != NULL ? new : old;
    struct event e;
    event_begin(&e);
    table_put_longstr(&e.w, SLICE_LIT("user"), p->user);
    table_put_longstr(&e.w, SLICE_LIT("vhost"), p->vhost);
    table_put_longstr(&e.w, SLICE_LIT("exchange"), p->exchange);
    if (new != NULL) {
        table_put_longstr(&e.w, SLICE_LIT("write"), p->pattern[ACCESS_WRITE]);
        table_put_longstr(&e.w, SLICE_LIT("read"), p->pattern[ACCESS_READ]);
    }
    end(tw, &e, new != NULL ? "topic.permission.created" : "topic.permission.deleted", SLICE_EMPTY);
}

static void
parameter_event(struct topology_writer *tw, const struct parameter *new, const struct parameter *old)
{
    const struct parameter *p = new != NULL ? new : old;
    bool is_policy = slice_eq_str(p->component, "policy") || slice_eq_str(p->component, "operator_policy");
    struct event e;
    put_named(event_begin(&e), p->name, p->vhost);
    table_put_longstr(&e.w, SLICE_LIT("component"), p->component);
    if (new != NULL)
        table_put_longstr(&e.w, SLICE_LIT("value"), p->value);
    end(tw, &e,
        is_policy ? (new != NULL ? "policy.set" : "policy.cleared")
                  : (new != NULL ? "parameter.set" : "parameter.cleared"),
        SLICE_EMPTY);
}

void
event_of_change(struct topology_writer *tw, const struct journal_record *r)
{
    switch (r->kind) {
    case JOURNAL_SWAP:
        switch (r->map) {
        case SWAP_USER: user_event(tw, r->a, r->b); break;
        case SWAP_PERMISSION: permission_event(tw, r->a, r->b); break;
        case SWAP_TOPIC_PERMISSION: topic_permission_event(tw, r->a, r->b); break;
        case SWAP_PARAMETER: parameter_event(tw, r->a, r->b); break;
        case SWAP_COUNT: break;
        }
        break;
    case JOURNAL_VHOST_NEW: vhost_event(tw, &((struct vhost_entry *)r->a)->now->v, true, r->user); break;
    case JOURNAL_VHOST_GONE: vhost_event(tw, &((struct vhost_entry *)r->a)->now->v, false, r->user); break;
    case JOURNAL_VHOST_SETTING: limits_event(tw, r->a, r->b, r->user); break;
    case JOURNAL_EXCHANGE_NEW:
        exchange_event(tw, &((struct exchange_entry *)r->a)->now->x, true, r->user);
        break;
    case JOURNAL_EXCHANGE_GONE: exchange_gone(tw, &((struct exchange_entry *)r->a)->now->x, r->user); break;
    case JOURNAL_QUEUE_NEW: queue_event(tw, &((struct queue_entry *)r->a)->def, true, r->user); break;
    case JOURNAL_QUEUE_GONE: queue_event(tw, &((struct queue_entry *)r->a)->def, false, r->user); break;
    case JOURNAL_BOUND:
    case JOURNAL_UNBOUND:
        binding_event(tw, r->b, ((struct exchange_entry *)r->a)->vhost->name, r->kind == JOURNAL_BOUND,
                      r->user);
        break;
    case JOURNAL_POLICY: // is a parameter too
    case JOURNAL_KIND_COUNT: break;
    }
}
