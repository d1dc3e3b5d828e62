// definitions_write.c: a version of the topology as a definitions file (definitions_export.h).
#include "src/base/mem.h"
#include "src/broker/auth.h"
#include "src/broker/json.h"
#include "src/management/definitions_export.h"

struct walk {
    const struct topology *topology;
    const struct definitions_export_args *args;
    const struct vhost *vhost; // at hand
    struct buf *out;
    bool is_first;
    int (*flush)(void *ctx);
    void *ctx;
    int error;
};

// Between two elements. False: it ends here.
static bool
next(struct walk *w)
{
    if (w->error == 0 && w->out->failed)
        w->error = -LE_NOMEM;
    if (w->error == 0 && w->out->len >= EXPORT_PART_BYTES)
        w->error = w->flush(w->ctx);
    if (w->error != 0)
        return false;
    buf_append_str(w->out, w->is_first ? "" : ",");
    w->is_first = false;
    return true;
}

static bool
is_of_vhost(const struct walk *w)
{
    return w->args->vhost.ptr != NULL;
}

// A member "vhost", where it is said.
static void
put_vhost(const struct walk *w, struct slice name)
{
    if (!is_of_vhost(w))
        json_put_member_string(w->out, "vhost", name);
}

static void
close_object(struct walk *w)
{
    json_drop_comma(w->out);
    buf_append_u8(w->out, '}');
}

static void
put_tags(struct walk *w, struct slice tags)
{
    buf_append_str(w->out, "\"tags\":[");
    for (size_t start = 0; start < tags.len;) {
        size_t end = start;
        while (end < tags.len && tags.ptr[end] != ',')
            end++;
        while (start < end && tags.ptr[start] == ' ')
            start++;
        if (start < end) {
            json_put_string(w->out, slice_of(tags.ptr + start, end - start));
            buf_append_u8(w->out, ',');
        }
        start = end + 1;
    }
    json_drop_comma(w->out);
    buf_append_str(w->out, "],");
}

static void
put_limit(struct walk *w, const char *name, int64_t limit)
{
    if (limit >= 0)
        json_put_member_int(w->out, name, limit);
}

static void
put_limits(struct walk *w, int64_t connections, const char *others_name, int64_t others,
           const struct rate_limit *rate, const struct content_limit *content)
{
    buf_append_u8(w->out, '{');
    put_limit(w, "max-connections", connections);
    put_limit(w, others_name, others);
    put_limit(w, "max-publish-rate", rate->messages);
    put_limit(w, "max-publish-bytes-rate", rate->bytes);
    put_limit(w, "max-messages", content->messages);
    put_limit(w, "max-memory-bytes", content->memory_bytes);
    json_drop_comma(w->out);
    buf_append_u8(w->out, '}');
}

// --- users, vhosts, permissions ---------------------------------------------------------------------------------------------------

static void
write_users(struct walk *w)
{
    struct pmap_iter it;
    char hash[2 * PASSWORD_HASH_MAX];
    pmap_iter_init(&it, &w->topology->users);
    for (const struct user *u; (u = pmap_iter_next(&it)) != NULL && next(w);) {
        size_t len = base64_encode(u->password_hash, hash, sizeof hash);
        buf_append_u8(w->out, '{');
        json_put_member_string(w->out, "name", u->name);
        json_put_member_string(w->out, "password_hash", slice_of(hash, len));
        json_put_member_string(w->out, "hashing_algorithm", u->hashing);
        put_tags(w, u->tags);
        buf_append_str(w->out, "\"limits\":");
        put_limits(w, u->max_connections, "max-channels", u->max_channels, &u->rate, &content_unlimited);
        buf_append_u8(w->out, '}');
    }
    mem_wipe(hash, sizeof hash);
}

static void
write_vhosts(struct walk *w)
{
    struct pmap_iter it;
    pmap_iter_init(&it, &w->topology->vhosts);
    for (const struct vhost *v; (v = pmap_iter_next(&it)) != NULL && next(w);) {
        buf_append_u8(w->out, '{');
        json_put_member_string(w->out, "name", v->name);
        if (v->description.len > 0 || v->tags.len > 0 || v->default_queue_type.len > 0) {
            buf_append_str(w->out, "\"metadata\":{");
            json_put_member_string(w->out, "description", v->description);
            put_tags(w, v->tags);
            if (v->default_queue_type.len > 0)
                json_put_member_string(w->out, "default_queue_type", v->default_queue_type);
            json_drop_comma(w->out);
            buf_append_str(w->out, "},");
        }
        if (v->is_tracing)
            json_put_member_bool(w->out, "tracing", true);
        close_object(w);
    }
}

static void
write_permissions(struct walk *w)
{
    struct pmap_iter it;
    pmap_iter_init(&it, &w->topology->permissions);
    for (const struct permission *p; (p = pmap_iter_next(&it)) != NULL && next(w);) {
        buf_append_u8(w->out, '{');
        json_put_member_string(w->out, "user", p->user);
        json_put_member_string(w->out, "vhost", p->vhost);
        json_put_member_string(w->out, "configure", p->pattern[ACCESS_CONFIGURE]);
        json_put_member_string(w->out, "write", p->pattern[ACCESS_WRITE]);
        json_put_member_string(w->out, "read", p->pattern[ACCESS_READ]);
        close_object(w);
    }
}

static void
write_topic_permissions(struct walk *w)
{
    struct pmap_iter it;
    pmap_iter_init(&it, &w->topology->topic_permissions);
    for (const struct topic_permission *p; (p = pmap_iter_next(&it)) != NULL && next(w);) {
        buf_append_u8(w->out, '{');
        json_put_member_string(w->out, "user", p->user);
        json_put_member_string(w->out, "vhost", p->vhost);
        json_put_member_string(w->out, "exchange", p->exchange);
        json_put_member_string(w->out, "write", p->pattern[ACCESS_WRITE]);
        json_put_member_string(w->out, "read", p->pattern[ACCESS_READ]);
        close_object(w);
    }
}

// --- parameters, policies -----------------------------------------------------------------------------------------------------------

static bool
is_wanted_vhost(const struct walk *w, struct slice vhost)
{
    return vhost.len > 0 && (!is_of_vhost(w) || slice_eq(vhost, w->args->vhost));
}

// The value is JSON already.
static void
put_parameter(struct walk *w, struct slice value, struct slice vhost, struct slice component,
              struct slice name)
{
    buf_append_str(w->out, "{\"value\":");
    buf_append_slice(w->out, value);
    buf_append_u8(w->out, ',');
    if (vhost.len > 0)
        json_put_member_string(w->out, "vhost", vhost);
    if (component.len > 0)
        json_put_member_string(w->out, "component", component);
    json_put_member_string(w->out, "name", name);
    close_object(w);
}

// Limits of vhosts are a parameter in a file.
static void
write_vhost_limits(struct walk *w)
{
    struct pmap_iter it;
    pmap_iter_init(&it, &w->topology->vhosts);
    for (const struct vhost *v; (v = pmap_iter_next(&it)) != NULL;) {
        if (!is_wanted_vhost(w, v->name) || (v->max_connections < 0 && v->max_queues < 0 &&
                                             !rate_is_limited(&v->rate) && !content_is_limited(&v->content)))
            continue;
        if (!next(w))
            return;
        buf_append_str(w->out, "{\"value\":");
        put_limits(w, v->max_connections, "max-queues", v->max_queues, &v->rate, &v->content);
        buf_append_u8(w->out, ',');
        json_put_member_string(w->out, "vhost", v->name);
        buf_append_str(w->out, "\"component\":\"vhost-limits\",\"name\":\"limits\"}");
    }
}

static void
write_parameters(struct walk *w)
{
    struct pmap_iter it;
    write_vhost_limits(w);
    pmap_iter_init(&it, &w->topology->parameters);
    for (const struct parameter *p; (p = pmap_iter_next(&it)) != NULL;) {
        if (!is_wanted_vhost(w, p->vhost) || slice_eq_str(p->component, "policy"))
            continue;
        if (!next(w))
            return;
        put_parameter(w, p->value, p->vhost, p->component, p->name);
    }
}

static void
write_global_parameters(struct walk *w)
{
    struct pmap_iter it;
    pmap_iter_init(&it, &w->topology->parameters);
    for (const struct parameter *p; (p = pmap_iter_next(&it)) != NULL;) {
        if (!slice_eq_str(p->component, "global"))
            continue;
        if (!next(w))
            return;
        buf_append_u8(w->out, '{');
        json_put_member_string(w->out, "name", p->name);
        buf_append_str(w->out, "\"value\":");
        buf_append_slice(w->out, p->value);
        buf_append_u8(w->out, '}');
    }
}

static void
write_policies_of(struct walk *w)
{
    const struct policy_list *l = w->vhost->policies[POLICY_USER];
    for (size_t i = 0; l != NULL && i < l->count && next(w); i++) {
        const struct policy *p = l->items[i];
        buf_append_u8(w->out, '{');
        json_put_member_string(w->out, "vhost", p->vhost); // PROTOCOL: also in the file of one vhost
        json_put_member_string(w->out, "name", p->name);
        json_put_member_string(w->out, "pattern", p->pattern);
        json_put_member_string(w->out, "apply-to", p->apply_to);
        buf_append_str(w->out, "\"definition\":");
        policy_put_definition(w->out, p);
        buf_append_str(w->out, ",\"priority\":");
        buf_append_slice(w->out, p->priority_json);
        buf_append_u8(w->out, '}');
    }
}

// --- queues, exchanges, bindings ----------------------------------------------------------------------------------------------------

static bool
is_reserved(struct slice name)
{
    return name.len == 0 || slice_has_prefix(name, SLICE_LIT("amq."));
}

static bool
is_exported_queue(const struct queue_def *q)
{
    return (q->flags & (QUEUE_EXCLUSIVE | QUEUE_DELAY)) == 0 && !is_reserved(q->name);
}

static void
write_queues_of(struct walk *w)
{
    struct pmap_iter it;
    pmap_iter_init(&it, &w->vhost->queues);
    for (const struct queue_def *q; (q = pmap_iter_next(&it)) != NULL;) {
        if (!is_exported_queue(q))
            continue;
        if (!next(w))
            return;
        buf_append_u8(w->out, '{');
        json_put_member_string(w->out, "name", q->name);
        put_vhost(w, q->vhost);
        json_put_member_bool(w->out, "durable", (q->flags & QUEUE_DURABLE) != 0);
        json_put_member_bool(w->out, "auto_delete", (q->flags & QUEUE_AUTO_DELETE) != 0);
        buf_append_str(w->out, "\"arguments\":");
        json_put_table(w->out, q->arguments);
        buf_append_u8(w->out, '}');
    }
}

static void
write_exchanges_of(struct walk *w)
{
    struct pmap_iter it;
    pmap_iter_init(&it, &w->vhost->exchanges);
    for (const struct exchange *x; (x = pmap_iter_next(&it)) != NULL;) {
        if (is_reserved(x->name))
            continue;
        if (!next(w))
            return;
        buf_append_u8(w->out, '{');
        json_put_member_string(w->out, "name", x->name);
        put_vhost(w, x->vhost);
        json_put_member_string(w->out, "type", slice_str(exchange_type_name(x->type)));
        json_put_member_bool(w->out, "durable", x->is_durable);
        json_put_member_bool(w->out, "auto_delete", x->is_auto_delete);
        json_put_member_bool(w->out, "internal", x->is_internal);
        buf_append_str(w->out, "\"arguments\":");
        json_put_table(w->out, x->arguments);
        buf_append_u8(w->out, '}');
    }
}

static bool
write_binding(const struct binding *b, void *ctx)
{
    struct walk *w = ctx;
    bool is_queue = b->dest == BINDING_TO_QUEUE;
    if (is_queue && !is_exported_queue(b->queue))
        return true;
    if (!next(w))
        return false;
    buf_append_u8(w->out, '{');
    json_put_member_string(w->out, "source", b->source_name);
    put_vhost(w, w->vhost->name);
    json_put_member_string(w->out, "destination", b->dest_name);
    json_put_member_string(w->out, "destination_type", is_queue ? SLICE_LIT("queue") : SLICE_LIT("exchange"));
    json_put_member_string(w->out, "routing_key", b->key);
    buf_append_str(w->out, "\"arguments\":");
    json_put_table(w->out, b->arguments);
    buf_append_u8(w->out, '}');
    return true;
}

static void
write_bindings_of(struct walk *w)
{
    struct pmap_iter it;
    pmap_iter_init(&it, &w->vhost->exchanges);
    for (const struct exchange *x; w->error == 0 && (x = pmap_iter_next(&it)) != NULL;) {
        if (!x->is_default)
            router_each(&x->router, write_binding, w);
    }
}

// --- the whole ----------------------------------------------------------------------------------------------------------------------

static void
write_section(struct walk *w, const char *name, void (*write)(struct walk *w), bool is_each_vhost)
{
    struct pmap_iter it;
    if (w->error != 0)
        return;
    buf_append_str(w->out, ",\"");
    buf_append_str(w->out, name);
    buf_append_str(w->out, "\":[");
    w->is_first = true;
    if (!is_each_vhost) {
        write(w);
    } else if (is_of_vhost(w)) {
        w->vhost = topology_vhost(w->topology, w->args->vhost);
        if (w->vhost != NULL)
            write(w);
    } else {
        pmap_iter_init(&it, &w->topology->vhosts);
        while (w->error == 0 && (w->vhost = pmap_iter_next(&it)) != NULL)
            write(w);
    }
    buf_append_u8(w->out, ']');
}

int
definitions_export_write(const struct topology *t, const struct definitions_export_args *args,
                         struct buf *out, int (*flush)(void *ctx), void *ctx)
{
    struct walk w = {.topology = t, .args = args, .out = out, .flush = flush, .ctx = ctx};
    buf_append_u8(out, '{');
    json_put_member_string(out, "rabbit_version", slice_str(args->product_version));
    if (!is_of_vhost(&w)) {
        json_put_member_string(out, "rabbitmq_version", slice_str(args->product_version));
        json_put_member_string(out, "product_name", slice_str(args->product_name));
        json_put_member_string(out, "product_version", slice_str(args->product_version));
    }
    json_drop_comma(out);
    if (!is_of_vhost(&w)) {
        write_section(&w, "users", write_users, false);
        write_section(&w, "vhosts", write_vhosts, false);
        write_section(&w, "permissions", write_permissions, false);
        write_section(&w, "topic_permissions", write_topic_permissions, false);
    }
    write_section(&w, "parameters", write_parameters, false);
    if (!is_of_vhost(&w))
        write_section(&w, "global_parameters", write_global_parameters, false);
    write_section(&w, "policies", write_policies_of, true);
    write_section(&w, "queues", write_queues_of, true);
    write_section(&w, "exchanges", write_exchanges_of, true);
    write_section(&w, "bindings", write_bindings_of, true);
    buf_append_u8(out, '}');
    return w.error == 0 && out->failed ? -LE_NOMEM : w.error;
}
