// definitions_plan_put.c: one item of a plan as JSON and as text (definitions_plan.h). Values and hashes are not shown.
#include "src/broker/json.h"
#include "src/management/definitions_plan.h"

static const char *
kind_of(const struct topology_request *r)
{
    switch (r->change) {
    case CHANGE_USER_PUT:
    case CHANGE_USER_DELETE: return "user";
    case CHANGE_USER_LIMITS: return "user-limits";
    case CHANGE_VHOST_PUT:
    case CHANGE_VHOST_DELETE: return "vhost";
    case CHANGE_VHOST_LIMITS: return "vhost-limits";
    case CHANGE_PERMISSION_SET:
    case CHANGE_PERMISSION_CLEAR: return "permission";
    case CHANGE_TOPIC_PERMISSION_SET:
    case CHANGE_TOPIC_PERMISSION_CLEAR: return "topic-permission";
    case CHANGE_QUEUE_DECLARE:
    case CHANGE_QUEUE_DELETE: return "queue";
    case CHANGE_EXCHANGE_DECLARE:
    case CHANGE_EXCHANGE_DELETE: return "exchange";
    case CHANGE_BIND:
    case CHANGE_UNBIND: return "binding";
    default: return slice_eq_str(r->component, "policy") ? "policy" : "parameter";
    }
}

static bool
is_binding(const struct topology_request *r)
{
    return r->change == CHANGE_BIND || r->change == CHANGE_UNBIND;
}

static struct slice
destination_type(const struct topology_request *r)
{
    return (r->flags & CHANGE_DEST_IS_QUEUE) != 0 ? SLICE_LIT("queue") : SLICE_LIT("exchange");
}

void
plan_put_json(struct buf *out, const struct plan_item *item)
{
    const struct topology_request *r = item->request;
    buf_append_u8(out, '{');
    json_put_member_string(out, "action", slice_str(plan_verb_names[item->verb]));
    json_put_member_string(out, "kind", slice_str(kind_of(r)));
    if (r->vhost.len > 0)
        json_put_member_string(out, "vhost", r->vhost);
    if (r->user.len > 0)
        json_put_member_string(out, "user", r->user);
    if (r->component.len > 0)
        json_put_member_string(out, "component", r->component);
    if (r->name.len > 0)
        json_put_member_string(out, is_binding(r) ? "source" : "name", r->name);
    if (is_binding(r)) {
        json_put_member_string(out, "destination", r->dest_name);
        json_put_member_string(out, "destination_type", destination_type(r));
        json_put_member_string(out, "routing_key", r->key);
        buf_append_str(out, "\"arguments\":");
        json_put_table(out, r->arguments);
        buf_append_u8(out, ',');
    }
    if (item->why != NULL)
        json_put_member_string(out, "reason", slice_str(item->why));
    json_drop_comma(out);
    buf_append_u8(out, '}');
}

// Names with their control bytes escaped, as in JSON.
static void
put_name(struct buf *out, const char *before, struct slice name)
{
    if (name.len == 0)
        return;
    buf_append_str(out, before);
    json_put_string(out, name);
}

void
plan_put_text(struct buf *out, const struct plan_item *item)
{
    static const char signs[PLAN_VERBS] = {'+', '~', '!', '?', '-', '='};
    const struct topology_request *r = item->request;
    buf_printf(out, "%c %s", signs[item->verb], kind_of(r));
    put_name(out, " ", r->component);
    put_name(out, is_binding(r) ? " from exchange " : " ", r->name);
    if (is_binding(r)) {
        buf_printf(out, " to %.*s", SLICE_FMT(destination_type(r)));
        put_name(out, " ", r->dest_name);
        put_name(out, " with key ", r->key);
    }
    put_name(out, " of user ", r->user);
    put_name(out, " in vhost ", r->vhost);
    if (item->why != NULL)
        buf_printf(out, ": %s", item->why);
    buf_append_u8(out, '\n');
}
