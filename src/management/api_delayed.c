// api_delayed.c: /api/exchanges/VHOST/NAME/delayed (ours): the messages that wait at a delayed exchange, page by page, and taking one of them out.
//
// Who comes over TCP asks through a session: read permission on the exchange to look, write permission to cancel. The control socket asks the queue that
// has them itself.
#include "src/broker/delayed.h"
#include "src/management/api.h"
#include "src/management/http_server.h"

enum { PAGE_SIZE_DEFAULT = 100 };

static void
put_message(struct api_out *o, const struct browsed_message *m)
{
    api_out_object(o, NULL);
    api_out_int(o, "id", (int64_t)m->seq);
    api_out_int(o, "due", m->at_ms);
    api_out_str(o, "state", m->is_leaving ? "leaving" : "waiting");
    api_out_int(o, "payload_bytes", m->body_len);
    if (m->msg != NULL) {
        api_out_slice(o, "exchange", message_exchange(m->msg));
        api_out_slice(o, "routing_key", message_routing_key(m->msg));
        api_put_properties(o, m->msg);
    }
    api_out_end(o);
}

// The page as other lists have it, with the exchange's own order: that of the publishes.
static void
make_page(struct api_request *r, const struct queue_browse *b)
{
    struct api_answer a;
    uint64_t size = (uint64_t)r->detail, total = b != NULL ? b->total : 0;
    if (!api_answer_begin(r, &a))
        return; // not here: the columns were looked at before
    api_out_object(&a.out, NULL);
    api_out_array(&a.out, "items");
    for (size_t i = 0; b != NULL && i < b->count; i++)
        put_message(&a.out, &b->items[i]);
    api_out_end(&a.out);
    api_out_int(&a.out, "filtered_count", (int64_t)total);
    api_out_int(&a.out, "item_count", b != NULL ? (int64_t)b->count : 0);
    api_out_int(&a.out, "page", b != NULL ? (int64_t)(b->skip / size) + 1 : 1);
    api_out_int(&a.out, "page_count", (int64_t)((total + size - 1) / size));
    api_out_int(&a.out, "page_size", (int64_t)size);
    api_out_int(&a.out, "total_count", (int64_t)total);
    api_out_end(&a.out);
}

// --- as a user ----------------------------------------------------------------------------------------------------------------

static void
session_looked(struct api_request *r, const struct session_result *result)
{
    struct fault f = result->fault;
    if (f.code == FAULT_NONE)
        make_page(r, result->browse);
    api_channel_close(r);
    if (f.code != FAULT_NONE)
        api_fault(r, &f);
    else
        api_reply(r, 200);
}

// --- over the control socket --------------------------------------------------------------------------------------------------

static void
looked(struct queue_request *q)
{
    make_page(q->ctx, q->outcome == QUEUE_OK ? q->browse : NULL);
    api_reply(q->ctx, 200);
    queue_request_free(q);
}

static void
cancelled(struct queue_request *q)
{
    struct api_request *r = q->ctx;
    struct fault f;
    delayed_cancel_fault(q, api_segment(r, 3), api_segment(r, 2), &f);
    queue_request_free(q);
    if (f.code != FAULT_NONE)
        api_fault(r, &f);
    else
        api_reply(r, 204);
}

static void
ask(struct api_request *r, struct queue_request *q, void (*done)(struct queue_request *))
{
    q->ctx = r;
    q->done = done;
    queue_request_send(q);
}

// --- the requests -------------------------------------------------------------------------------------------------------------

static bool
number_of(struct slice text, uint64_t *ret)
{
    uint64_t n = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9' || __builtin_mul_overflow(n, UINT64_C(10), &n) ||
            __builtin_add_overflow(n, (uint64_t)(text.ptr[i] - '0'), &n))
            return false;
    }
    *ret = n;
    return text.len > 0;
}

// ?page=1&page_size=100. False after answering 400.
static bool
take_page(struct api_request *r, uint64_t *ret_skip)
{
    struct slice page = api_query_find(&r->query, "page"), size = api_query_find(&r->query, "page_size");
    uint64_t number = 1, count = PAGE_SIZE_DEFAULT;
    bool is_good =
        (page.ptr == NULL || number_of(page, &number)) && (size.ptr == NULL || number_of(size, &count));
    if (!is_good || number < 1 || number > UINT32_MAX || count < 1 || count > DELAYED_LOOK_MAX) {
        api_error(r, 400, "invalid_pagination_parameters",
                  "Invalid pagination parameters: page number %.*s, page size %.*s", SLICE_FMT(page),
                  SLICE_FMT(size));
        return false;
    }
    r->detail = (int)count;
    *ret_skip = (number - 1) * count;
    return true;
}

static void
get_delayed(struct api_request *r)
{
    const struct vhost *v = api_vhost(r, 2);
    struct slice exchange = api_segment(r, 3);
    struct fault f;
    struct api_answer a;
    uint64_t skip;
    if (v == NULL || !take_page(r, &skip) || !api_answer_begin(r, &a))
        return;
    if (!r->is_control) {
        if (api_channel_open(r, v->name, session_looked))
            session_delayed(api_channel_session(r), exchange, skip, (size_t)r->detail);
        return;
    }
    struct queue_request *q = delayed_look(v, exchange, skip, (size_t)r->detail, &f);
    if (q != NULL)
        ask(r, q, looked);
    else if (f.code != FAULT_NONE)
        api_fault(r, &f);
    else {
        make_page(r, NULL);
        api_reply(r, 200);
    }
}

static void
delete_delayed(struct api_request *r)
{
    const struct vhost *v = api_vhost(r, 2);
    struct slice exchange = api_segment(r, 3), text = api_segment(r, 5);
    struct fault f;
    uint64_t number;
    if (v == NULL)
        return;
    if (!number_of(text, &number)) {
        fault_set(&f, FAULT_NOT_FOUND, "no delayed message '%.*s'", SLICE_FMT(text));
        api_fault(r, &f);
        return;
    }
    if (!r->is_control) {
        if (api_channel_open(r, v->name, api_channel_answer))
            session_delayed_cancel(api_channel_session(r), exchange, number);
        return;
    }
    struct queue_request *q = delayed_cancel(v, exchange, number, &f);
    if (q != NULL)
        ask(r, q, cancelled);
    else
        api_fault(r, &f);
}

const struct api_route api_routes_delayed[] = {
    {API_GET, "/api/exchanges/*/*/delayed", get_delayed, API_FOR_MANAGEMENT, 2},
    {API_DELETE, "/api/exchanges/*/*/delayed/*", delete_delayed, API_FOR_MANAGEMENT, 2},
    {0, NULL, NULL, 0, 0},
};
