// ctl_store_dump.c: `store dump`: messages one by one, as they were published.
//
// In JSON the members are those of the HTTP API's get (exchange, routing_key, properties, payload, payload_encoding "string" or "base64"),
// and where the message lies; one message a line, in an array. Bodies are cut at --truncate bytes.
#include "src/cli/ctl_store.h"

#include <errno.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <time.h>

#include "amqp/wire/props.h"
#include "amqp/wire/table.h"
#include "src/base/err.h"
#include "src/base/utf8.h"
#include "src/cli/leveretctl_value.h"

enum { LIMIT_DEFAULT = 100, TRUNCATE_DEFAULT = 50000 };

struct dump {
    struct ctl_store *s;
    uint64_t first_seq, last_seq;
    uint64_t left;    // messages that may still be shown
    uint64_t skipped; // that were not, for want of that
    size_t body_max;
    uint64_t shown;
};

// --- values as JSON ---------------------------------------------------------------------------------------------------------------

static json_t *table_value(struct slice table, unsigned depth);

static json_t *
field_value(const struct field *f, unsigned depth)
{
    struct field item;
    switch (f->type) {
    case FIELD_BOOL: return json_boolean(f->i64 != 0);
    case FIELD_FLOAT:
    case FIELD_DOUBLE: {
        json_t *real = json_real(f->f64); // NULL: JSON has no infinities
        return real != NULL ? real : json_null();
    }
    case FIELD_DECIMAL: {
        double value = f->decimal.value;
        for (unsigned n = 0; n < f->decimal.scale; n++)
            value /= 10;
        return json_real(value);
    }
    case FIELD_LONGSTR:
    case FIELD_BINARY: return ctl_store_text(f->bytes);
    case FIELD_TABLE: return depth > 0 ? table_value(f->table, depth - 1) : json_null();
    case FIELD_ARRAY: {
        json_t *all = json_array();
        for (struct array_iter it = array_iter_of(f->array); depth > 0 && array_iter_next(&it, &item);)
            json_array_append_new(all, field_value(&item, depth - 1));
        return all;
    }
    case FIELD_VOID: return json_null();
    default: return json_integer((json_int_t)f->i64);
    }
}

static json_t *
table_value(struct slice table, unsigned depth)
{
    json_t *object = json_object();
    struct slice key;
    struct field f;
    for (struct table_iter it = table_iter_of(table); table_iter_next(&it, &key, &f);) {
        json_t *name = ctl_store_text(key);
        json_object_set_new(object, json_string_value(name), field_value(&f, depth));
        json_decref(name);
    }
    return object;
}

static json_t *
properties_value(struct slice properties)
{
    json_t *object = json_object();
    struct amqp_basic_props p;
    if (amqp_props_decode(properties, &p) != 0)
        return object;
    const struct {
        enum amqp_prop prop;
        const char *name;
        struct slice value;
    } texts[] = {
        {AMQP_PROP_CONTENT_TYPE, "content_type", p.content_type},
        {AMQP_PROP_CONTENT_ENCODING, "content_encoding", p.content_encoding},
        {AMQP_PROP_CORRELATION_ID, "correlation_id", p.correlation_id},
        {AMQP_PROP_REPLY_TO, "reply_to", p.reply_to},
        {AMQP_PROP_EXPIRATION, "expiration", p.expiration},
        {AMQP_PROP_MESSAGE_ID, "message_id", p.message_id},
        {AMQP_PROP_TYPE, "type", p.type},
        {AMQP_PROP_USER_ID, "user_id", p.user_id},
        {AMQP_PROP_APP_ID, "app_id", p.app_id},
        {AMQP_PROP_CLUSTER_ID, "cluster_id", p.cluster_id},
    };
    for (size_t n = 0; n < LV_ARRAY_LEN(texts); n++)
        if (amqp_props_has(&p, texts[n].prop))
            json_object_set_new(object, texts[n].name, ctl_store_text(texts[n].value));
    if (amqp_props_has(&p, AMQP_PROP_DELIVERY_MODE))
        json_object_set_new(object, "delivery_mode", json_integer(p.delivery_mode));
    if (amqp_props_has(&p, AMQP_PROP_PRIORITY))
        json_object_set_new(object, "priority", json_integer(p.priority));
    if (amqp_props_has(&p, AMQP_PROP_TIMESTAMP))
        json_object_set_new(object, "timestamp", ctl_store_number(p.timestamp));
    if (amqp_props_has(&p, AMQP_PROP_HEADERS))
        json_object_set_new(object, "headers", table_value(p.headers, TABLE_DEPTH_MAX));
    return object;
}

// The bytes as they are when they are text, else in base64.
static const char *
encode_body(struct buf *out, struct slice body)
{
    if (utf8_is_valid(body) && (body.len == 0 || memchr(body.ptr, 0, body.len) == NULL)) {
        buf_append_slice(out, body);
        return "string";
    }
    size_t room = (body.len + 2) / 3 * 4 + 1;
    if (body.len < INT32_MAX / 2 && buf_reserve(out, room))
        out->len += (size_t)EVP_EncodeBlock(out->ptr + out->len, body.ptr, (int)body.len);
    return "base64";
}

// A cut in the middle of a character would make a binary of a text.
static struct slice
cut_body(const struct dump *d, struct slice body)
{
    size_t len = LV_MIN(body.len, d->body_max);
    struct slice cut = slice_head(body, len);
    for (size_t back = 1; back < 4 && len < body.len && back < len && !utf8_is_valid(cut); back++)
        cut = slice_head(body, len - back);
    return len < body.len && !utf8_is_valid(cut) ? slice_head(body, len) : cut;
}

// --- one message ------------------------------------------------------------------------------------------------------------------

static void
put_time(struct buf *out, int64_t ms)
{
    time_t seconds = (time_t)(ms / 1000);
    struct tm tm;
    char text[64];
    if (ms <= 0 || gmtime_r(&seconds, &tm) == NULL ||
        strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm) == 0)
        buf_printf(out, "%" PRId64 " ms", ms);
    else
        buf_printf(out, "%s.%03dZ", text, (int)(ms % 1000));
}

static int
print_message_json(struct dump *d, const struct inspect_message *m)
{
    struct buf text = BUF_INIT;
    struct slice body = m->result == 0 ? cut_body(d, m->content.body) : SLICE_EMPTY;
    const char *encoding = encode_body(&text, body);
    const struct inspect_queue *q = m->queue;
    json_t *object = json_pack("{s:o?, s:o?, s:I, s:I, s:I, s:I, s:s, s:I}", "vhost",
                               q->is_known ? ctl_store_text(q->vhost) : NULL, "queue",
                               q->is_known ? ctl_store_text(q->name) : NULL, "queue_id", (json_int_t)q->id,
                               "seq", (json_int_t)m->seq, "epoch", (json_int_t)m->epoch, "flags",
                               (json_int_t)m->flags, "file", m->file, "offset", (json_int_t)m->offset);
    if (m->large_file != 0)
        json_object_set_new(object, "large_file", json_sprintf("large/%016" PRIx64 ".body", m->large_file));
    if (q->lost_folder != NULL)
        json_object_set_new(object, "lost_found", json_string(q->lost_folder));
    if (m->expires_ms != 0)
        json_object_set_new(object, "expires_ms", json_integer((json_int_t)m->expires_ms));
    if (m->result != 0) {
        json_object_set_new(object, "error", json_string(err_text(m->result)));
    } else {
        json_object_set_new(object, "published_ms", json_integer((json_int_t)m->fixed.published_ms));
        json_object_set_new(object, "exchange", ctl_store_text(m->content.exchange));
        json_object_set_new(object, "routing_key", ctl_store_text(m->content.routing_key));
        json_object_set_new(object, "properties", properties_value(m->content.properties));
        json_object_set_new(object, "payload_bytes", ctl_store_number(m->content.body.len));
        json_object_set_new(object, "payload_encoding", json_string(encoding));
        json_object_set_new(object, "payload",
                            json_stringn(text.len > 0 ? (const char *)text.ptr : "", text.len));
        if (body.len < m->content.body.len)
            json_object_set_new(object, "truncated", json_true());
    }
    buf_fini(&text);
    fputs(d->shown > 0 ? "," : "", d->s->c->out);
    return ctl_print_json(d->s->c, d->s->c->out, object);
}

// Text that no byte of can move a terminal's cursor; line ends and tabs stay when it is a body.
static void
put_shown(struct buf *out, struct slice text, const char *kept)
{
    for (size_t n = 0; n < text.len; n++) {
        uint8_t c = text.ptr[n];
        if ((c >= 0x20 && c != 0x7f) || (c != 0 && strchr(kept, c) != NULL))
            buf_append_u8(out, c);
        else
            buf_printf(out, "\\x%02x", c);
    }
}

static int
print_message_words(struct dump *d, const struct inspect_message *m)
{
    struct buf out = BUF_INIT, text = BUF_INIT, properties = BUF_INIT;
    ctl_store_put_queue(&out, m->queue);
    buf_printf(&out, ", message %" PRIu64 ": %s at %" PRIu32, m->seq, m->file, m->offset);
    if (m->large_file != 0)
        buf_printf(&out, ", large/%016" PRIx64 ".body", m->large_file);
    if (m->result != 0) {
        buf_printf(&out, "\n  cannot be read: %s\n", err_text(m->result));
    } else {
        struct slice body = cut_body(d, m->content.body);
        const char *encoding = encode_body(&text, body);
        json_t *object = properties_value(m->content.properties);
        json_text_put(&properties, object);
        json_decref(object);
        buf_append_str(&out, "\n  exchange '");
        put_shown(&out, m->content.exchange, "");
        buf_append_str(&out, "', routing key '");
        put_shown(&out, m->content.routing_key, "");
        buf_append_str(&out, "', published ");
        put_time(&out, m->fixed.published_ms);
        if (m->expires_ms != 0) {
            buf_append_str(&out, ", expires ");
            put_time(&out, m->expires_ms);
        }
        buf_append_str(&out, "\n  properties ");
        put_shown(&out, buf_slice(&properties), "");
        buf_printf(&out, "\n  body of %zu bytes%s%s\n", m->content.body.len,
                   strcmp(encoding, "base64") == 0 ? ", in base64" : "",
                   body.len < m->content.body.len ? ", cut" : "");
        put_shown(&out, buf_slice(&text), "\n\t");
        buf_append_str(&out, "\n");
    }
    fwrite(out.ptr, 1, out.len, d->s->c->out);
    buf_fini(&out);
    buf_fini(&text);
    buf_fini(&properties);
    return 0;
}

static int
show(void *ctx, const struct inspect_message *m)
{
    struct dump *d = ctx;
    if (d->left == 0)
        return 1; // enough
    d->left--;
    int err = d->s->is_json ? print_message_json(d, m) : print_message_words(d, m);
    d->shown++;
    return err;
}

// --- the choice -------------------------------------------------------------------------------------------------------------------

static bool
parse_seq(const char *text, uint64_t *ret_first, uint64_t *ret_last)
{
    char *end;
    errno = 0;
    unsigned long long first = strtoull(text, &end, 10), last = first;
    bool is_good = end != text && text[0] != '-';
    if (is_good && *end == '-' && end[1] == '\0') {
        last = UINT64_MAX;
        end++;
    } else if (is_good && *end == '-') {
        const char *second = end + 1;
        last = strtoull(second, &end, 10);
        is_good = end != second && second[0] >= '0' && second[0] <= '9';
    }
    if (!is_good || *end != '\0' || errno != 0 || last < first)
        return false;
    *ret_first = first;
    *ret_last = last;
    return true;
}

int
ctl_store_dump(struct ctl_store *s)
{
    const struct ctl_options *o = &s->c->options;
    struct inspect *i = &s->inspect;
    int64_t limit = o->limit >= 0 ? o->limit : LIMIT_DEFAULT;
    struct dump d = {.s = s,
                     .last_seq = UINT64_MAX,
                     .left = limit == 0 ? UINT64_MAX : (uint64_t)limit,
                     .body_max = o->truncate >= 0 ? (size_t)o->truncate : TRUNCATE_DEFAULT};
    bool is_found = o->queue == NULL;
    int err = 0;
    if (o->seq != NULL && !parse_seq(o->seq, &d.first_seq, &d.last_seq))
        return ctl_fail(s->c, CTL_DATA,
                        "--seq takes a sequence number, or the first and last of several: 17, 17-42, 17-");
    if (s->is_json)
        fputs("[\n", s->c->out);
    const struct inspect_queue *q;
    for (size_t n = 0; err == 0 && (q = ctl_store_next(s, &n)) != NULL;) {
        is_found = true;
        err = inspect_each_message(i, q, d.first_seq, d.last_seq, show, &d);
    }
    if (s->is_json)
        fputs("]\n", s->c->out);
    if (err < 0)
        return ctl_store_failed(s, err);
    if (err > 0 && !s->is_json)
        fprintf(s->c->out, "(there are more: --limit shows more than %" PRId64 ")\n", limit);
    if (!is_found)
        return ctl_fail(s->c, CTL_DATA, "there is no queue '%s'", o->queue);
    return CTL_OK;
}
