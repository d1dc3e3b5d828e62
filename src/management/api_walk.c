// api_walk.c: walking through the messages of a queue: to show those that match, to move them, or to send dead letters back.
//
// Happy path: a session of who asks takes the messages one after the other (basic.get, without acknowledging) and looks at each. Shown ones are
// kept out; moved ones are published as mandatory with confirms on, and acknowledged when the confirm has come: at least once. At the end the
// session closes, and all that was not acknowledged comes back to its place as if it had never been out (session_only_looks).
// Failure modes: a target that does not exist, refuses, or may not be written ends the walk; what was moved until then is moved, and
// the answer says why it ended. A crash in between leaves a message in both places.
//
// LIMITs: messages looked at and bytes of bodies held by one walk; time it may take; bytes of a body that are searched; conditions.
#include <stdio.h>

#include "amqp/wire/table.h"
#include "src/base/clock.h"
#include "src/base/mem.h"
#include "src/broker/auth.h"
#include "src/management/api.h"

enum {
    EXAMINE_MAX = 10000,
    EXAMINE_DEFAULT = 1000,
    SHOW_DEFAULT = 100,
    CONDITIONS_MAX = 16,
    TRUNCATE_DEFAULT = 50000
};
enum {
    HELD_BYTES_MAX = 64 * 1024 * 1024,
    ANSWER_BYTES_MAX = 16 * 1024 * 1024,
    SEARCHED_BYTES_MAX = 1024 * 1024
};
#define WALK_TIME_NS (UINT64_C(30) * 1000 * 1000 * 1000)

enum purpose { BROWSE, MOVE, REDRIVE };

// One thing that a message must have.
struct condition {
    enum { IN_BODY, IN_HEADER, IN_ROUTE_EXCHANGE, IN_ROUTE_KEY, IN_PROPERTY } where;
    size_t at;          // IN_PROPERTY: in struct amqp_basic_props
    enum amqp_prop has; // IN_PROPERTY
    struct slice name;  // IN_HEADER
    struct slice value; // into the request
};

struct walk {
    enum purpose purpose;
    struct condition conditions[CONDITIONS_MAX];
    size_t condition_count;
    struct slice exchange, key; // MOVE
    bool keeps_key, is_base64;
    int64_t truncate;
    uint64_t skip, examine, want;      // left
    uint64_t examined, matched, moved; // so far
    uint64_t held_bytes, end_ns, tag;
    bool has_begun, is_confirming, has_more;
    char why[320]; // the walk ended before its time; empty: it did not
};

// --- conditions -------------------------------------------------------------------------------------------------------------------------

static const struct {
    const char *name;
    enum amqp_prop flag;
    size_t at;
} properties[] = {
    {"message_id", AMQP_PROP_MESSAGE_ID, offsetof(struct amqp_basic_props, message_id)},
    {"correlation_id", AMQP_PROP_CORRELATION_ID, offsetof(struct amqp_basic_props, correlation_id)},
    {"type", AMQP_PROP_TYPE, offsetof(struct amqp_basic_props, type)},
    {"app_id", AMQP_PROP_APP_ID, offsetof(struct amqp_basic_props, app_id)},
    {"user_id", AMQP_PROP_USER_ID, offsetof(struct amqp_basic_props, user_id)},
    {"reply_to", AMQP_PROP_REPLY_TO, offsetof(struct amqp_basic_props, reply_to)},
    {"content_type", AMQP_PROP_CONTENT_TYPE, offsetof(struct amqp_basic_props, content_type)},
};

// Takes name and value as a condition. False: the name is none.
static bool
condition_of(struct slice name, struct slice value, struct condition *ret)
{
    *ret = (struct condition){.value = value};
    if (slice_eq_str(name, "body"))
        ret->where = IN_BODY;
    else if (slice_eq_str(name, "exchange"))
        ret->where = IN_ROUTE_EXCHANGE;
    else if (slice_eq_str(name, "routing_key"))
        ret->where = IN_ROUTE_KEY;
    else if (slice_has_prefix(name, SLICE_LIT("header."))) {
        ret->where = IN_HEADER;
        ret->name = slice_from(name, 7);
    } else {
        for (size_t i = 0; i < LV_ARRAY_LEN(properties); i++) {
            if (!slice_eq_str(name, properties[i].name))
                continue;
            ret->where = IN_PROPERTY;
            ret->at = properties[i].at;
            ret->has = properties[i].flag;
            return true;
        }
        return false;
    }
    return true;
}

// False after answering 400.
static bool
add_condition(struct api_request *r, struct walk *w, struct slice name, struct slice value)
{
    struct condition c;
    if (!condition_of(name, value, &c)) {
        api_error(r, 400, "bad_request", "unknown filter: %.*s", SLICE_FMT(name));
        return false;
    }
    if (w->condition_count == CONDITIONS_MAX) {
        api_error(r, 400, "bad_request", "more than %d filters", CONDITIONS_MAX);
        return false;
    }
    w->conditions[w->condition_count++] = c;
    return true;
}

static bool
header_matches(struct slice headers, const struct condition *c)
{
    struct field f;
    struct slice text;
    int64_t number;
    bool flag;
    char room[24];
    if (!table_find(headers, c->name, &f))
        return false;
    if (table_find_longstr(headers, c->name, &text))
        return slice_eq(text, c->value);
    if (table_find_integer(headers, c->name, &number)) {
        snprintf(room, sizeof room, "%lld", (long long)number);
        return slice_eq_str(c->value, room);
    }
    return table_find_bool(headers, c->name, &flag) && slice_eq_str(c->value, flag ? "true" : "false");
}

static bool
matches(const struct walk *w, const struct message *msg)
{
    struct amqp_basic_props p;
    bool has_props = amqp_props_decode_trusted(message_properties(msg), &p) == 0;
    for (size_t i = 0; i < w->condition_count; i++) {
        const struct condition *c = &w->conditions[i];
        struct slice body =
            slice_head(message_body(msg), LV_MIN((size_t)msg->body_len, (size_t)SEARCHED_BYTES_MAX));
        bool is_good = false;
        switch (c->where) {
        case IN_BODY:
            is_good = c->value.len == 0 ||
                      (body.len > 0 && memmem(body.ptr, body.len, c->value.ptr, c->value.len) != NULL);
            break;
        case IN_HEADER:
            is_good = has_props && amqp_props_has(&p, AMQP_PROP_HEADERS) && header_matches(p.headers, c);
            break;
        case IN_ROUTE_EXCHANGE: is_good = slice_eq(message_exchange(msg), c->value); break;
        case IN_ROUTE_KEY: is_good = slice_eq(message_routing_key(msg), c->value); break;
        case IN_PROPERTY:
            is_good = has_props && amqp_props_has(&p, c->has) &&
                      slice_eq(*(const struct slice *)(const void *)((const char *)&p + c->at), c->value);
            break;
        }
        if (!is_good)
            return false;
    }
    return true;
}

// --- the end ----------------------------------------------------------------------------------------------------------------------------

static void
walk_end(struct api_request *r)
{
    const struct walk *w = r->state;
    api_channel_close(r); // gives back all that was not acknowledged
    if (w->purpose == BROWSE) {
        json_drop_comma(&r->out);
        buf_append_str(&r->out, "],");
    } else {
        buf_append_u8(&r->out, '{');
        json_put_member_int(&r->out, "moved", (int64_t)w->moved);
    }
    json_put_member_int(&r->out, "examined", (int64_t)w->examined);
    json_put_member_int(&r->out, "matched", (int64_t)w->matched);
    json_put_member_bool(&r->out, "more", w->has_more);
    if (w->why[0] != '\0')
        json_put_member_string(&r->out, "stopped", slice_str(w->why));
    json_drop_comma(&r->out);
    buf_append_u8(&r->out, '}');
    api_reply(r, 200);
}

static void
walk_fault(struct api_request *r, const struct fault *f)
{
    struct walk *w = r->state;
    if (w->moved > 0) { // something has happened: say what
        snprintf(w->why, sizeof w->why, "%s", f->text);
        w->has_more = true;
        walk_end(r);
        return;
    }
    struct fault kept = *f;
    api_channel_close(r);
    buf_reset(&r->out);
    api_fault(r, &kept);
}

// --- moving -----------------------------------------------------------------------------------------------------------------------------

// The queue that the first entry of x-death names: where it died last. False: it is no dead letter.
static bool
came_from(const struct message *msg, struct slice *ret_queue)
{
    struct amqp_basic_props p;
    struct field deaths, last;
    if (amqp_props_decode_trusted(message_properties(msg), &p) != 0 ||
        !amqp_props_has(&p, AMQP_PROP_HEADERS) || !table_find(p.headers, SLICE_LIT("x-death"), &deaths) ||
        deaths.type != FIELD_ARRAY)
        return false;
    struct array_iter it = array_iter_of(deaths.array);
    return array_iter_next(&it, &last) && last.type == FIELD_TABLE &&
           table_find_longstr(last.table, SLICE_LIT("queue"), ret_queue) && ret_queue->len <= 255;
}

// The same message to somewhere else; a reference that is the caller's. NULL: out of memory.
static struct message *
copy_of(const struct message *msg, struct slice exchange, struct slice key)
{
    struct message *copy = message_new(exchange, key, message_properties(msg), msg->body_len);
    if (copy == NULL)
        return NULL;
    if (msg->body_len > 0)
        memcpy(message_body_mut(copy), message_body(msg).ptr, msg->body_len);
    copy->published_ms = clock_wall_ms();
    return copy;
}

static void next_message(struct api_request *r);

// Published: its confirm goes on. False: it stays where it is, and so does the walk.
static void
move_message(struct api_request *r, const struct message *msg)
{
    struct walk *w = r->state;
    struct session *s = api_channel_session(r);
    struct slice exchange = w->exchange, key = w->keeps_key ? message_routing_key(msg) : w->key;
    struct amqp_basic_props props;
    struct fault f = {0};
    if (w->purpose == REDRIVE) {
        exchange = SLICE_EMPTY;
        if (!came_from(msg, &key)) { // no dead letter: it stays
            next_message(r);
            return;
        }
    }
    struct message *copy = copy_of(msg, exchange, key);
    bool is_good = copy != NULL && amqp_props_decode(message_properties(copy), &props) == 0;
    if (!is_good) {
        message_unref(copy);
        fault_set(&f, FAULT_RESOURCE_ERROR, "out of memory");
        walk_fault(r, &f);
        return;
    }
    w->matched++;
    w->is_confirming = true;
    (void)api_channel_take_returned(r);
    if (!session_publish(s, copy, &props, true, &f))
        walk_fault(r, &f);
}

static void
moved(struct api_request *r, const struct session_result *result)
{
    struct walk *w = r->state;
    struct fault f = {0};
    w->is_confirming = false;
    if (result->message_count != 0 || api_channel_take_returned(r)) {
        fault_set(&f, FAULT_PRECONDITION_FAILED, "%s",
                  result->message_count != 0 ? "the target refused a message"
                                             : "there is no queue that a message would go to");
        walk_fault(r, &f);
        return;
    }
    // DURABLE: the target has it as durably as it promises; only now it leaves the source.
    if (!session_settle(api_channel_session(r), w->tag, false, SETTLE_ACK, &f)) {
        walk_fault(r, &f);
        return;
    }
    w->moved++;
    w->want--;
    next_message(r);
}

// --- the walk ---------------------------------------------------------------------------------------------------------------------------

static void
show_message(struct api_request *r, const struct session_result *result)
{
    struct walk *w = r->state;
    struct api_out o;
    const struct api_shown how = {
        .is_redelivered = result->is_redelivered, .is_base64 = w->is_base64, .truncate = w->truncate};
    w->matched++;
    w->want--;
    api_out_init(&o, &r->out, NULL);
    api_out_object(&o, NULL);
    api_out_int(&o, "position", (int64_t)w->examined - 1);
    api_out_int(&o, "published_at", result->msg->published_ms);
    api_put_message(&o, result->msg, &how);
    api_out_end(&o);
    buf_append_u8(&r->out, ',');
}

static void
next_message(struct api_request *r)
{
    struct walk *w = r->state;
    bool is_over = w->examine == 0 || w->want == 0;
    bool is_full = w->held_bytes > HELD_BYTES_MAX || r->out.len > ANSWER_BYTES_MAX || r->out.failed;
    bool is_late = clock_mono_ns() > w->end_ns;
    if (!is_over && !is_full && !is_late) {
        session_get(api_channel_session(r), api_segment(r, 3), false);
        return;
    }
    if (!is_over)
        snprintf(w->why, sizeof w->why, "%s", is_late ? "out of time" : "too many bytes to hold");
    walk_end(r);
}

static void
walked(struct api_request *r, const struct session_result *result)
{
    struct walk *w = r->state;
    if (result->fault.code != FAULT_NONE) {
        walk_fault(r, &result->fault);
    } else if (w->is_confirming) {
        moved(r, result);
    } else if (result->msg == NULL) {
        w->has_more = false;
        walk_end(r);
    } else {
        // What comes in meanwhile, moved messages too, is not looked at.
        if (!w->has_begun)
            w->examine = LV_MIN(w->examine, result->message_count + 1);
        w->has_begun = true;
        w->has_more = result->message_count > 0;
        w->examine--;
        w->examined++;
        w->held_bytes += result->msg->body_len;
        w->tag = result->delivery_tag;
        bool is_wanted = w->skip == 0 && matches(w, result->msg);
        w->skip -= w->skip > 0;
        if (is_wanted && w->purpose != BROWSE) {
            move_message(r, result->msg);
            return;
        }
        if (is_wanted)
            show_message(r, result);
        next_message(r);
    }
}

static void
walk_start(struct api_request *r, const struct walk *template)
{
    struct fault f = {0};
    struct walk *w = mem_alloc(sizeof *w);
    if (w == NULL) {
        api_no_memory(r);
        return;
    }
    *w = *template;
    w->end_ns = clock_mono_ns() + WALK_TIME_NS;
    r->state = w;
    r->state_free = mem_free;
    if (!api_channel_open(r, api_segment(r, 2), walked))
        return;
    session_only_looks(api_channel_session(r));
    if (w->purpose != BROWSE && !session_confirm_select(api_channel_session(r), &f)) {
        walk_fault(r, &f);
        return;
    }
    if (w->purpose == BROWSE)
        buf_append_str(&r->out, "{\"messages\":[");
    next_message(r);
}

// --- requests ---------------------------------------------------------------------------------------------------------------------------

// "12"; false: it is no number.
static bool
number_of(struct slice text, uint64_t *ret)
{
    uint64_t n = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9' || text.len > 9)
            return false;
        n = n * 10 + (uint64_t)(text.ptr[i] - '0');
    }
    *ret = n;
    return text.len > 0;
}

// A parameter that is a number; false: it is another one. *ret_bad: it is one of these, and no number.
static bool
take_number(struct walk *w, struct slice key, struct slice value, bool *ret_bad)
{
    uint64_t truncate = 0, *to = slice_eq_str(key, "offset")     ? &w->skip
                                 : slice_eq_str(key, "count")    ? &w->want
                                 : slice_eq_str(key, "examine")  ? &w->examine
                                 : slice_eq_str(key, "truncate") ? &truncate
                                                                 : NULL;
    if (to == NULL)
        return false;
    *ret_bad = !number_of(value, to);
    if (to == &truncate)
        w->truncate = (int64_t)truncate;
    return true;
}

static bool
is_within(struct api_request *r, const struct walk *w)
{
    if (w->want > 0 && w->examine > 0 && w->examine <= EXAMINE_MAX && w->skip < w->examine)
        return true;
    api_error(r, 400, "bad_request", "count and examine are at least 1, examine at most %d, offset below it",
              EXAMINE_MAX);
    return false;
}

// GET …/messages?offset=0&count=100&examine=1000&truncate=50000&encoding=auto, and filters: message_id, header.NAME, body …
static void
get_messages(struct api_request *r)
{
    struct walk w = {
        .purpose = BROWSE, .want = SHOW_DEFAULT, .examine = EXAMINE_DEFAULT, .truncate = TRUNCATE_DEFAULT};
    for (size_t i = 0; i < r->query.parameter_count; i++) {
        struct slice key = r->query.parameters[i].key, value = r->query.parameters[i].value;
        bool is_bad = false;
        if (slice_eq_str(key, "encoding"))
            w.is_base64 = slice_eq_str(value, "base64");
        else if (!take_number(&w, key, value, &is_bad) && !add_condition(r, &w, key, value))
            return;
        if (is_bad) {
            api_error(r, 400, "bad_request", "%.*s is no number", SLICE_FMT(key));
            return;
        }
    }
    if (is_within(r, &w))
        walk_start(r, &w);
}

// "filter": {"message_id": …, "headers": {…}, "body": …}. False after answering 400.
static bool
take_filter(struct api_request *r, struct walk *w)
{
    json_t *filter = json_object_get(r->json, "filter"), *value;
    const char *key;
    if (filter != NULL && !json_is_object(filter)) {
        api_error(r, 400, "bad_request", "filter must be an object");
        return false;
    }
    json_object_foreach(filter, key, value)
    {
        if (!json_is_string(value)) {
            api_error(r, 400, "bad_request", "filter: %s must be a string", key);
            return false;
        }
        if (!add_condition(r, w, slice_str(key),
                           slice_of(json_string_value(value), json_string_length(value))))
            return false;
    }
    return true;
}

// False after answering 400.
static bool
take_counts(struct api_request *r, struct walk *w)
{
    static const char *const names[] = {"count", "examine"};
    uint64_t *const to[] = {&w->want, &w->examine};
    for (size_t i = 0; i < LV_ARRAY_LEN(names); i++) {
        const json_t *value = json_object_get(r->json, names[i]);
        if (value == NULL)
            continue;
        if (!json_is_integer(value) || json_integer_value(value) < 1) {
            api_error(r, 400, "bad_request", "%s must be a positive integer", names[i]);
            return false;
        }
        *to[i] = (uint64_t)json_integer_value(value);
    }
    return take_filter(r, w) && is_within(r, w);
}

// POST …/messages/move {"queue": …} or {"exchange": …, "routing_key": …}, {"filter": {…}, "count": …, "examine": …}
static void
post_move(struct api_request *r)
{
    struct walk w = {.purpose = MOVE, .want = EXAMINE_MAX, .examine = EXAMINE_MAX};
    struct slice queue;
    bool has_queue = api_string(r, "queue", &queue), has_exchange = api_string(r, "exchange", &w.exchange);
    w.keeps_key = has_exchange && !api_string(r, "routing_key", &w.key);
    if (has_queue)
        w.key = queue;
    if (has_queue == has_exchange)
        api_error(r, 400, "bad_request", "either queue or exchange says where to");
    else if (w.key.len > 255 || w.exchange.len > 255)
        api_error(r, 400, "bad_request", "names have at most 255 bytes");
    else if (has_queue && slice_eq(queue, api_segment(r, 3)))
        api_error(r, 400, "bad_request", "source and target are the same queue");
    else if (take_counts(r, &w) && !api_is_alarmed(r))
        walk_start(r, &w);
}

// POST …/messages/redrive {"filter": {…}, "count": …, "examine": …}: dead letters back to the queues where they died last.
static void
post_redrive(struct api_request *r)
{
    struct walk w = {.purpose = REDRIVE, .want = EXAMINE_MAX, .examine = EXAMINE_MAX};
    if (take_counts(r, &w) && !api_is_alarmed(r))
        walk_start(r, &w);
}

const struct api_route api_routes_walk[] = {
    {API_GET, "/api/queues/*/*/messages", get_messages, API_FOR_MANAGEMENT, 2},
    {API_POST, "/api/queues/*/*/messages/move", post_move, API_FOR_MANAGEMENT, 2},
    {API_POST, "/api/queues/*/*/messages/redrive", post_redrive, API_FOR_MANAGEMENT, 2},
    {0, NULL, NULL, 0, 0},
};
