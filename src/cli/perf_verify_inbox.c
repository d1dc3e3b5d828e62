// perf_verify_inbox.c: frames to messages, messages to facts, and only then acknowledgements.
#include "src/base/err.h"
#include "src/cli/perf_verify.h"

// LIMIT: bytes of a message that is put together; larger ones are none of ours.
enum { BODY_MAX = 128 << 20 };

static int
take_deliver(struct verify_inbox *in, struct perf_conn *c, const struct frame *f)
{
    struct amqp_basic_deliver m;
    if (in->is_header_due || in->is_body_due || amqp_decode_basic_deliver(slice_from(f->payload, 4), &m) < 0)
        return perf_conn_fail(c, -LE_SYNTAX,
                              "the broker's basic.deliver cannot be read, or comes within a message");
    in->tag = m.delivery_tag;
    in->is_redelivered = m.redelivered;
    in->is_header_due = true;
    return 0;
}

int
verify_inbox_take(struct verify_inbox *in, struct perf_conn *c, const struct frame *f)
{
    if (perf_method_id(f) == AMQP_BASIC_DELIVER)
        return take_deliver(in, c, f);
    if (f->type == FRAME_HEADER && in->is_header_due) {
        struct content_header h;
        if (content_header_decode(f->payload, &h) < 0 || h.body_size > BODY_MAX)
            return perf_conn_fail(c, -LE_SYNTAX,
                                  "the broker's content header cannot be read, or is of a message too large");
        buf_reset(&in->body);
        in->left = h.body_size;
        in->is_header_due = false;
        in->is_body_due = in->left > 0;
        return !in->is_body_due;
    }
    if (f->type == FRAME_BODY && in->is_body_due && f->payload.len <= in->left) {
        buf_append_slice(&in->body, f->payload);
        in->left -= f->payload.len;
        in->is_body_due = in->left > 0;
        if (in->body.failed)
            return perf_conn_fail(c, -LE_NOMEM, "out of memory");
        return !in->is_body_due;
    }
    return perf_conn_unasked(c, f);
}

static int
write_facts(struct verify_receiver *r)
{
    verify_log_write(r->log, r->facts, r->fact_count);
    int rc = 0;
    for (size_t i = 0; rc == 0 && r->fact != NULL && i < r->fact_count; i++)
        rc = r->fact(r->ctx, &r->facts[i]);
    r->fact_count = 0;
    return rc;
}

static int
add_fact(struct verify_receiver *r, const struct verify_fact *f)
{
    // A producer's messages to one of n queues are n apart: they make one fact only where there is one queue.
    struct verify_fact *last = r->fact_count > 0 ? &r->facts[r->fact_count - 1] : NULL;
    if (last != NULL && f->kind == FACT_RECEIVED && last->kind == FACT_RECEIVED &&
        last->producer == f->producer && last->is_redelivered == f->is_redelivered &&
        last->last + 1 == f->first) {
        last->last = f->last;
        return 0;
    }
    int rc = r->fact_count == LV_ARRAY_LEN(r->facts) ? write_facts(r) : 0;
    r->facts[r->fact_count++] = *f;
    return rc;
}

int
verify_receiver_take(struct verify_receiver *r, const struct frame *f)
{
    int rc = verify_inbox_take(&r->inbox, r->conn, f);
    if (rc <= 0)
        return rc;
    struct verify_message m;
    struct verify_fact fact = {
        .kind = FACT_RECEIVED, .queue = r->queue, .is_redelivered = r->inbox.is_redelivered};
    rc = verify_message_decode(buf_slice(&r->inbox.body), &m);
    if (rc == -LE_CORRUPT) {
        fact.kind = FACT_CORRUPTED;
    } else if (rc < 0 || m.run != r->run || m.sequence == 0 || m.sequence > VERIFY_SEQUENCE_MAX) {
        fact.kind = FACT_UNEXPECTED;
    } else {
        fact.producer = m.producer;
        fact.first = fact.last = m.sequence;
    }
    r->received++;
    r->unacked_tag = r->inbox.tag;
    return add_fact(r, &fact);
}

int
verify_receiver_settle(struct verify_receiver *r)
{
    if (r->unacked_tag == 0)
        return 0;
    int rc = write_facts(r);
    if (rc < 0)
        return perf_conn_fail(r->conn, rc, "what was received does not fit the log: %s", err_text(rc));
    amqp_frame_basic_ack(&r->conn->out, 1,
                         &(struct amqp_basic_ack){.delivery_tag = r->unacked_tag, .multiple = true});
    r->unacked_tag = 0;
    return perf_conn_flush(r->conn);
}
