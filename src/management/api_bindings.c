// api_bindings.c: bindings over the HTTP API.
//
// A binding is named by a *properties key*: its routing key, percent-encoded, and after a '~' a digest of its arguments when it has
// any; "~" alone when it has neither. The digest is ours; clients take the key from a listing or from Location, and give it back.
#include <openssl/evp.h>
#include <xxhash.h>

#include "amqp/wire/table.h"
#include "src/base/mem.h"
#include "src/management/api_list.h"
#include "src/management/http_server.h"

// api_list_key.number: the kind of destination, and the length of the key << 1; extra: key, arguments.
enum { TO_EXCHANGE, TO_QUEUE };

static void
put_key(struct buf *out, struct slice key, struct slice arguments)
{
    api_put_escaped(out, key);
    if (key.len == 0 || arguments.len > 0)
        buf_append_u8(out, '~');
    if (arguments.len == 0)
        return;
    // The normal form, so that the order of arguments makes no other name. Base-64 of four bytes, without its padding.
    struct buf canonical = BUF_INIT;
    uint8_t text[16];
    bool is_canonical = table_canonical(arguments, &canonical) == 0;
    uint32_t digest =
        is_canonical ? XXH32(canonical.ptr, canonical.len, 0) : XXH32(arguments.ptr, arguments.len, 0);
    const uint8_t bytes[4] = {(uint8_t)(digest >> 24), (uint8_t)(digest >> 16), (uint8_t)(digest >> 8),
                              (uint8_t)digest};
    EVP_EncodeBlock(text, bytes, sizeof bytes);
    for (int i = 0; i < 6; i++)
        buf_append_u8(out, text[i] == '+' ? '-' : text[i] == '/' ? '_' : text[i]);
    buf_fini(&canonical);
}

// --- lists --------------------------------------------------------------------------------------------------------------------------

// What the list is about; empty parts are any.
struct wanted {
    bool is_between; // source and destination are given: …/e/SOURCE/q/DESTINATION
    bool has_source, has_destination;
    struct slice source, destination;
    int kind; // of the destination
};

static struct wanted
wanted_of(const struct api_request *r)
{
    struct wanted w = {.kind = TO_QUEUE};
    struct slice word = api_segment(r, 1), last = api_segment(r, 5);
    if (slice_eq_str(word, "bindings") && api_segment_count(r) >= 7) {
        w = (struct wanted){.is_between = true,
                            .has_source = true,
                            .has_destination = true,
                            .source = api_segment(r, 4),
                            .destination = api_segment(r, 6),
                            .kind = slice_eq_str(api_segment(r, 5), "q") ? TO_QUEUE : TO_EXCHANGE};
    } else if (slice_eq_str(word, "queues")) {
        w.has_destination = true;
        w.destination = api_segment(r, 3);
    } else if (slice_eq_str(word, "exchanges") && slice_eq_str(last, "source")) {
        w.has_source = true;
        w.source = api_segment(r, 3);
    } else if (slice_eq_str(word, "exchanges")) {
        w.has_destination = true;
        w.destination = api_segment(r, 3);
        w.kind = TO_EXCHANGE;
    }
    if (slice_eq_str(w.source, "amq.default"))
        w.source = SLICE_EMPTY;
    if (slice_eq_str(w.destination, "amq.default"))
        w.destination = SLICE_EMPTY;
    return w;
}

static uint32_t
number_of(int kind, struct slice key)
{
    return (uint32_t)kind | (uint32_t)key.len << 1;
}

struct walk {
    struct api_list *list;
    const struct vhost *vhost;
    struct wanted wanted;
    struct buf extra;
};

static void
add(struct walk *w, struct slice source, struct slice destination, int kind, struct slice key,
    struct slice arguments)
{
    buf_reset(&w->extra);
    buf_append_slice(&w->extra, key);
    buf_append_slice(&w->extra, arguments);
    if (w->extra.failed)
        w->list->request->has_failed = true;
    else
        api_list_add(w->list, &(struct api_list_key){.vhost = w->vhost->name,
                                                     .source = source,
                                                     .name = destination,
                                                     .extra = buf_slice(&w->extra),
                                                     .number = number_of(kind, key)});
}

static bool
visit_binding(const struct binding *b, void *ctx)
{
    struct walk *w = ctx;
    int kind = b->dest == BINDING_TO_QUEUE ? TO_QUEUE : TO_EXCHANGE;
    if (!w->wanted.has_destination ||
        (kind == w->wanted.kind && slice_eq(b->dest_name, w->wanted.destination)))
        add(w, b->source_name, b->dest_name, kind, b->key, b->arguments);
    return true;
}

// Every queue is bound to the default exchange by its name; RabbitMQ shows it of a queue that does not exist, too.
static void
add_default(struct walk *w)
{
    struct pmap_iter it;
    if (w->wanted.has_source && w->wanted.source.len > 0)
        return;
    if (w->wanted.has_destination) {
        if (w->wanted.kind == TO_QUEUE &&
            (!w->wanted.is_between || vhost_queue(w->vhost, w->wanted.destination) != NULL))
            add(w, SLICE_EMPTY, w->wanted.destination, TO_QUEUE, w->wanted.destination, SLICE_EMPTY);
        return;
    }
    pmap_iter_init(&it, &w->vhost->queues);
    for (const struct queue_def *def; (def = pmap_iter_next(&it)) != NULL;)
        add(w, SLICE_EMPTY, def->name, TO_QUEUE, def->name, SLICE_EMPTY);
}

static void
collect_vhost(struct api_list *l, const struct vhost *v)
{
    struct pmap_iter it;
    struct walk w = {.list = l, .vhost = v, .wanted = wanted_of(l->request)};
    add_default(&w);
    if (w.wanted.has_source) {
        const struct exchange *x = vhost_exchange(v, w.wanted.source);
        if (x != NULL)
            router_each(&x->router, visit_binding, &w);
    } else {
        pmap_iter_init(&it, &v->exchanges);
        for (const struct exchange *x; (x = pmap_iter_next(&it)) != NULL;)
            router_each(&x->router, visit_binding, &w);
    }
    buf_fini(&w.extra);
}

static void
collect(struct api_list *l)
{
    api_list_vhosts(l, collect_vhost);
    api_list_collected(l);
}

static void
take_extra(const struct api_list_key *k, struct slice *ret_key, struct slice *ret_arguments)
{
    size_t len = k->number >> 1;
    *ret_key = slice_head(k->extra, len);
    *ret_arguments = slice_from(k->extra, len);
}

static bool
put(struct api_list *l, size_t i, struct api_out *o)
{
    const struct api_list_key *k = &l->batch[i];
    struct slice key, arguments;
    struct buf properties = BUF_INIT;
    take_extra(k, &key, &arguments);
    put_key(&properties, key, arguments);
    api_out_object(o, NULL);
    api_out_slice(o, "source", k->source);
    api_out_slice(o, "vhost", k->vhost);
    api_out_slice(o, "destination", k->name);
    api_out_str(o, "destination_type", (k->number & 1) == TO_QUEUE ? "queue" : "exchange");
    api_out_slice(o, "routing_key", key);
    api_out_table(o, "arguments", arguments);
    api_out_slice(o, "properties_key", buf_slice(&properties));
    api_out_end(o);
    buf_fini(&properties);
    return true;
}

static const struct api_list_source bindings = {.collect = collect, .put = put};

// "e" and "q" or "e" in the path; false after answering 404.
static bool
check_kind(struct api_request *r)
{
    struct slice kind = api_segment(r, 5);
    bool is_good =
        slice_eq_str(api_segment(r, 3), "e") && (slice_eq_str(kind, "q") || slice_eq_str(kind, "e"));
    if (!is_good)
        api_not_found(r);
    return is_good;
}

static void
get_bindings(struct api_request *r)
{
    if (api_segment_count(r) < 7 || check_kind(r))
        api_list(r, &bindings);
}

// --- one binding --------------------------------------------------------------------------------------------------------------------

struct search {
    struct slice wanted; // properties key
    struct wanted between;
    struct buf key, extra;
    uint32_t number;
    bool is_found;
};

static bool
visit_searched(const struct binding *b, void *ctx)
{
    struct search *s = ctx;
    bool is_queue = b->dest == BINDING_TO_QUEUE;
    if (is_queue != (s->between.kind == TO_QUEUE) || !slice_eq(b->dest_name, s->between.destination))
        return true;
    buf_reset(&s->key);
    put_key(&s->key, b->key, b->arguments);
    if (!slice_eq(buf_slice(&s->key), s->wanted))
        return true;
    s->number = number_of(s->between.kind, b->key);
    buf_append_slice(&s->extra, b->key);
    buf_append_slice(&s->extra, b->arguments);
    s->is_found = !s->extra.failed;
    return false;
}

// The binding of the path, with its key and arguments in s->extra; false after answering 404.
static bool
find_binding(struct api_request *r, struct search *s)
{
    const struct vhost *v = check_kind(r) ? api_vhost(r, 2) : NULL;
    if (v == NULL)
        return false;
    s->wanted = api_segment(r, 7);
    s->between = wanted_of(r);
    const struct exchange *x = vhost_exchange(v, s->between.source);
    if (x != NULL)
        router_each(&x->router, visit_searched, s);
    if (s->between.source.len == 0 && s->between.kind == TO_QUEUE &&
        vhost_queue(v, s->between.destination) != NULL) {
        api_put_escaped(&s->key, s->between.destination);
        s->is_found = slice_eq(buf_slice(&s->key), s->wanted);
        s->number = number_of(TO_QUEUE, s->between.destination);
        buf_append_slice(&s->extra, s->between.destination);
    }
    if (!s->is_found)
        api_not_found(r);
    return s->is_found;
}

static void
search_fini(struct search *s)
{
    buf_fini(&s->key);
    buf_fini(&s->extra);
}

static void
get_binding(struct api_request *r)
{
    struct search s = {0};
    if (find_binding(r, &s))
        api_list_one(r, &bindings,
                     &(struct api_list_key){.vhost = api_segment(r, 2),
                                            .source = s.between.source,
                                            .name = s.between.destination,
                                            .extra = buf_slice(&s.extra),
                                            .number = s.number});
    search_fini(&s);
}

// --- changes ------------------------------------------------------------------------------------------------------------------------

static void
bound(struct api_request *r, const struct session_result *result)
{
    struct fault f = result->fault;
    api_channel_close(r);
    if (f.code != FAULT_NONE)
        api_fault(r, &f);
    else
        api_reply(r, r->method == API_DELETE ? 204 : 201);
}

static void
bound_unchecked(struct topology_request *change)
{
    struct api_request *r = change->ctx;
    struct fault f = change->fault;
    topology_request_free(change);
    if (f.code != FAULT_NONE)
        api_fault(r, &f);
    else
        api_reply(r, r->method == API_DELETE ? 204 : 201);
}

static void
change(struct api_request *r, const struct session_bind_args *a)
{
    bool is_unbind = r->method == API_DELETE;
    struct topology_request args = {
        .change = is_unbind ? CHANGE_UNBIND : CHANGE_BIND,
        .vhost = api_segment(r, 2),
        .name = a->source,
        .dest_name = a->destination,
        .key = a->key,
        .arguments = a->arguments,
        .flags = (a->is_dest_queue ? (unsigned)CHANGE_DEST_IS_QUEUE : 0) | CHANGE_INTERNAL_CALLER,
    };
    if (r->is_control) {
        if (api_vhost(r, 2) != NULL)
            api_change_then(r, &args, bound_unchecked);
    } else if (api_channel_open(r, args.vhost, bound)) {
        if (is_unbind)
            session_unbind(api_channel_session(r), a);
        else
            session_bind(api_channel_session(r), a);
    }
}

// The routing key of the body; a number is taken for its text, as RabbitMQ does.
static bool
take_routing_key(struct api_request *r, struct buf *room, struct slice *ret)
{
    const json_t *key = json_object_get(r->json, "routing_key");
    if (json_is_integer(key)) {
        buf_printf(room, "%lld", (long long)json_integer_value(key));
        *ret = buf_slice(room);
    } else if (key != NULL && !api_take_string(r, "routing_key", ret)) {
        return false;
    }
    if (ret->len <= 255)
        return true;
    api_error(r, 400, "bad_request", "routing_key should be less than 255 bytes, actually was %zu\n",
              ret->len);
    return false;
}

// POST {"routing_key":…,"arguments":{…}}; DELETE with the same body takes it away (ours: RabbitMQ wants the properties key).
static void
change_binding(struct api_request *r)
{
    struct buf arguments = BUF_INIT, room = BUF_INIT, location = BUF_INIT;
    struct wanted w = wanted_of(r);
    struct session_bind_args a = {
        .source = w.source, .destination = w.destination, .is_dest_queue = w.kind == TO_QUEUE};
    if (check_kind(r) && take_routing_key(r, &room, &a.key) && api_take_arguments(r, &arguments)) {
        a.arguments = buf_slice(&arguments);
        if (r->method == API_POST) {
            // Relative to the request's path, and encoded once more, as RabbitMQ does.
            struct buf properties = BUF_INIT;
            put_key(&properties, a.key, a.arguments);
            api_put_escaped(&location, api_segment(r, 6));
            buf_append_u8(&location, '/');
            for (size_t i = 0; i < properties.len; i++)
                buf_printf(&location, properties.ptr[i] == '%' ? "%%25" : "%c", properties.ptr[i]);
            r->location = mem_xstrdup(buf_cstr(&location));
            buf_fini(&properties);
        }
        change(r, &a);
    }
    buf_fini(&arguments);
    buf_fini(&room);
    buf_fini(&location);
}

static void
delete_binding(struct api_request *r)
{
    struct search s = {0};
    if (find_binding(r, &s)) {
        struct api_list_key k = {.extra = buf_slice(&s.extra), .number = s.number};
        struct session_bind_args a = {.source = s.between.source,
                                      .destination = s.between.destination,
                                      .is_dest_queue = s.between.kind == TO_QUEUE};
        take_extra(&k, &a.key, &a.arguments);
        change(r, &a);
    }
    search_fini(&s);
}

const struct api_route api_routes_bindings[] = {
    {API_GET, "/api/bindings", get_bindings, API_FOR_MANAGEMENT, 0},
    {API_GET, "/api/bindings/*", get_bindings, API_FOR_MANAGEMENT, 2},
    {API_GET, "/api/bindings/*/*/?/*/*", get_bindings, API_FOR_MANAGEMENT, 2},
    {API_POST, "/api/bindings/*/*/?/*/*", change_binding, API_FOR_MANAGEMENT, 2},
    {API_DELETE | API_CONTROL, "/api/bindings/*/*/?/*/*", change_binding, API_FOR_MANAGEMENT, 2},
    {API_GET, "/api/bindings/*/*/?/*/*/*", get_binding, API_FOR_MANAGEMENT, 2},
    {API_DELETE, "/api/bindings/*/*/?/*/*/*", delete_binding, API_FOR_MANAGEMENT, 2},
    {API_GET, "/api/queues/*/*/bindings", get_bindings, API_FOR_MANAGEMENT, 2},
    {API_GET, "/api/exchanges/*/?/bindings/source", get_bindings, API_FOR_MANAGEMENT, 2},
    {API_GET, "/api/exchanges/*/?/bindings/destination", get_bindings, API_FOR_MANAGEMENT, 2},
    {0, NULL, NULL, 0, 0},
};
