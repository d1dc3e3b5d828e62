// death.c: see death.h.
//
// Of `x-death` there is one table for each pair of queue and reason, the newest in front. A second death of a pair moves its table to the front and
// counts in it; all else in it is of the first. Tables of headers come out sorted by key, as RabbitMQ's do; but the first death of all is written
// in another order there, and so it is here. A number is what any integer type says; whatever else stands for a count is none.
#include "src/broker/death.h"

#include <stdlib.h>

#include "amqp/wire/props.h"
#include "amqp/wire/table.h"
#include "src/base/mem.h"

static const char *const reasons[DEATH_REASON_COUNT] = {
    [DEATH_REJECTED] = "rejected",
    [DEATH_EXPIRED] = "expired",
    [DEATH_MAXLEN] = "maxlen",
    [DEATH_DELIVERY_LIMIT] = "delivery_limit",
};

const char *
death_reason_text(enum death_reason reason)
{
    return reasons[reason];
}

static int
compare(struct slice a, struct slice b)
{
    size_t len = LV_MIN(a.len, b.len);
    int order = len > 0 ? memcmp(a.ptr, b.ptr, len) : 0;
    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

// --- tables, sorted ---

struct entry {
    struct slice key, item; // item: key, type and value as they are on the wire
};

static int
by_key(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    int order = compare(x->key, y->key);
    // Those of one key keep their order: it is that of their addresses, within one table.
    return order != 0 ? order : (x->item.ptr > y->item.ptr) - (x->item.ptr < y->item.ptr);
}

// Appends `table` without the keys that `fresh` has (and without `removed`), and `fresh`, sorted.
static void
put_merged(struct buf *out, struct slice table, struct slice fresh, const char *removed)
{
    struct slice key;
    struct field f;
    size_t count = 0;
    struct entry *entries = mem_alloc((table_count(table) + table_count(fresh) + 1) * sizeof(*entries));
    if (entries == NULL) {
        out->failed = true;
        return;
    }
    for (struct table_iter it = table_iter_of(table); table_iter_next(&it, &key, &f);) {
        if (!table_find(fresh, key, NULL) && (removed == NULL || !slice_eq_str(key, removed)))
            entries[count++] = (struct entry){key, it.item};
    }
    for (struct table_iter it = table_iter_of(fresh); table_iter_next(&it, &key, &f);)
        entries[count++] = (struct entry){key, it.item};
    qsort(entries, count, sizeof(*entries), by_key);
    for (size_t i = 0; i < count; i++)
        buf_append_slice(out, entries[i].item);
    mem_free(entries);
}

// --- deaths ---

static bool
is_text(const struct field *f)
{
    return f->type == FIELD_LONGSTR || f->type == FIELD_BINARY;
}

static bool
text_is(struct slice table, const char *name, struct slice text)
{
    struct field f;
    return table_find(table, slice_str(name), &f) && is_text(&f) && slice_eq(f.bytes, text);
}

static bool
is_same_death(const struct field *item, const struct death *d)
{
    return item->type == FIELD_TABLE && text_is(item->table, "queue", d->queue) &&
           text_is(item->table, "reason", slice_str(reasons[d->reason]));
}

struct dead {
    const struct message *msg;
    const struct death *death;
    struct amqp_basic_props props; // of msg
};

// The keys it was published with; BCC has been taken out then.
static void
put_keys(struct table_writer *w, const struct dead *d)
{
    struct field cc, item;
    table_begin_array(w, SLICE_LIT("routing-keys"));
    array_put_longstr(w, message_routing_key(d->msg));
    if (table_find(d->props.headers, SLICE_LIT("CC"), &cc) && cc.type == FIELD_ARRAY) {
        for (struct array_iter it = array_iter_of(cc.array); array_iter_next(&it, &item);) {
            if (item.type == FIELD_LONGSTR)
                array_put_longstr(w, item.bytes);
        }
    }
    table_writer_end(w);
}

static void
put_expiration(struct table_writer *w, const struct dead *d)
{
    if (amqp_props_has(&d->props, AMQP_PROP_EXPIRATION))
        table_put_longstr(w, SLICE_LIT("original-expiration"), d->props.expiration);
}

// A death that was not there before.
static void
put_death(struct table_writer *w, const struct dead *d, bool is_sorted)
{
    const struct death *death = d->death;
    struct slice exchange = message_exchange(d->msg);
    array_begin_table(w);
    table_put_i64(w, SLICE_LIT("count"), 1);
    if (is_sorted) {
        table_put_longstr(w, SLICE_LIT("exchange"), exchange);
        put_expiration(w, d);
        table_put_longstr(w, SLICE_LIT("queue"), death->queue);
        table_put_str(w, SLICE_LIT("reason"), reasons[death->reason]);
        put_keys(w, d);
        table_put_timestamp(w, SLICE_LIT("time"), (uint64_t)death->time_s);
    } else {
        table_put_str(w, SLICE_LIT("reason"), reasons[death->reason]);
        table_put_longstr(w, SLICE_LIT("queue"), death->queue);
        table_put_timestamp(w, SLICE_LIT("time"), (uint64_t)death->time_s);
        table_put_longstr(w, SLICE_LIT("exchange"), exchange);
        put_keys(w, d);
        put_expiration(w, d);
    }
    table_writer_end(w);
}

// One that was there counts once more.
static void
put_death_again(struct table_writer *w, struct slice old)
{
    struct buf counted = BUF_INIT, table = BUF_INIT;
    struct table_writer count_writer = table_writer_of(&counted);
    int64_t count = 0;
    struct field f;
    if (table_find(old, SLICE_LIT("count"), &f) && field_is_integer(&f))
        count = f.i64;
    table_put_i64(&count_writer, SLICE_LIT("count"), count < INT64_MAX ? count + 1 : count);
    put_merged(&table, old, buf_slice(&counted), NULL);
    array_put_table(w, buf_slice(&table));
    if (counted.failed || table.failed)
        w->buf->failed = true;
    buf_fini(&counted);
    buf_fini(&table);
}

// What tells a circle, and counts, of a death that is too long to be carried on as it is.
static void
put_death_short(struct table_writer *w, struct slice old)
{
    struct field queue, reason, count;
    if (!table_find(old, SLICE_LIT("queue"), &queue) || !is_text(&queue) || queue.bytes.len > UINT8_MAX ||
        !table_find(old, SLICE_LIT("reason"), &reason) || !is_text(&reason) || reason.bytes.len > UINT8_MAX)
        return;
    array_begin_table(w);
    if (table_find(old, SLICE_LIT("count"), &count) && field_is_integer(&count))
        table_put(w, SLICE_LIT("count"), &count);
    table_put(w, SLICE_LIT("queue"), &queue);
    table_put(w, SLICE_LIT("reason"), &reason);
    table_writer_end(w);
}

static void
put_others(struct table_writer *w, const struct dead *d, struct slice earlier)
{
    size_t bytes = 0, count = 0;
    struct field item;
    for (struct array_iter it = array_iter_of(earlier);
         count < DEATH_EARLIER_MAX && array_iter_next(&it, &item);) {
        if (is_same_death(&item, d->death))
            continue;
        count++;
        if (bytes + it.item.len <= DEATH_EARLIER_BYTES) {
            bytes += it.item.len;
            table_put_raw(w, it.item);
        } else if (item.type == FIELD_TABLE) {
            put_death_short(w, item.table);
        }
    }
}

// `earlier`: what is in the header already; its type is not FIELD_ARRAY: it is replaced; NULL: there is none.
static void
put_deaths(struct table_writer *w, const struct dead *d, const struct field *earlier)
{
    bool has_array = earlier != NULL && earlier->type == FIELD_ARRAY, is_again = false;
    struct field item;
    table_begin_array(w, SLICE_LIT("x-death"));
    if (has_array) {
        for (struct array_iter it = array_iter_of(earlier->array);
             !is_again && array_iter_next(&it, &item);) {
            is_again = is_same_death(&item, d->death);
            if (is_again)
                put_death_again(w, item.table);
        }
    }
    if (!is_again)
        put_death(w, d, has_array);
    if (has_array)
        put_others(w, d, earlier->array);
    table_writer_end(w);
}

static void
put_headers(struct buf *out, const struct dead *d)
{
    struct buf fresh = BUF_INIT;
    struct table_writer w = table_writer_of(&fresh);
    struct field earlier;
    struct slice exchange = message_exchange(d->msg), headers = d->props.headers;
    const char *reason = reasons[d->death->reason];
    bool has_died = table_find(headers, SLICE_LIT("x-death"), &earlier);
    put_deaths(&w, d, has_died ? &earlier : NULL);
    if (!has_died) {
        table_put_longstr(&w, SLICE_LIT("x-first-death-exchange"), exchange);
        table_put_longstr(&w, SLICE_LIT("x-first-death-queue"), d->death->queue);
        table_put_str(&w, SLICE_LIT("x-first-death-reason"), reason);
    }
    table_put_longstr(&w, SLICE_LIT("x-last-death-exchange"), exchange);
    table_put_longstr(&w, SLICE_LIT("x-last-death-queue"), d->death->queue);
    table_put_str(&w, SLICE_LIT("x-last-death-reason"), reason);
    put_merged(out, headers, buf_slice(&fresh), d->death->key != NULL ? "CC" : NULL);
    out->failed |= fresh.failed;
    buf_fini(&fresh);
}

struct message *
death_message(const struct message *msg, const struct death *death)
{
    struct dead d = {.msg = msg, .death = death};
    struct buf headers = BUF_INIT, encoded = BUF_INIT;
    struct message *letter = NULL;
    if (amqp_props_decode_trusted(message_properties(msg), &d.props) != 0)
        d.props = (struct amqp_basic_props){0}; // as it does not come from us: without them
    put_headers(&headers, &d);
    struct amqp_basic_props props = d.props;
    props.headers = buf_slice(&headers);
    props.flags = (uint16_t)((props.flags | AMQP_PROP_HEADERS) & ~(unsigned)AMQP_PROP_EXPIRATION);
    amqp_props_encode(&encoded, &props);
    if (!headers.failed && !encoded.failed)
        letter = message_new(death->exchange, death->key != NULL ? *death->key : message_routing_key(msg),
                             buf_slice(&encoded), msg->body_len);
    if (letter != NULL) {
        if (msg->body_len > 0)
            memcpy(message_body_mut(letter), message_body(msg).ptr, msg->body_len);
        letter->flags = (uint8_t)(msg->flags & ~(unsigned)MESSAGE_HAS_EXPIRY);
        letter->priority = msg->priority;
    }
    buf_fini(&headers);
    buf_fini(&encoded);
    return letter;
}

// --- the trail ---

static int
by_name(const void *a, const void *b)
{
    return compare(*(const struct slice *)a, *(const struct slice *)b);
}

bool
death_trail_init(struct death_trail *t, struct slice headers)
{
    struct field deaths, item, queue;
    *t = (struct death_trail){0};
    if (!table_find(headers, SLICE_LIT("x-death"), &deaths) || deaths.type != FIELD_ARRAY)
        return true;
    t->names = mem_alloc((array_count(deaths.array) + 1) * sizeof(*t->names));
    if (t->names == NULL)
        return false;
    for (struct array_iter it = array_iter_of(deaths.array); array_iter_next(&it, &item);) {
        // A client's hand shows: what lies behind did not come about by itself.
        if (item.type != FIELD_TABLE || text_is(item.table, "reason", SLICE_LIT("rejected")))
            break;
        if (table_find(item.table, SLICE_LIT("queue"), &queue) && is_text(&queue))
            t->names[t->count++] = queue.bytes;
    }
    qsort(t->names, t->count, sizeof(*t->names), by_name);
    return true;
}

bool
death_trail_has(const struct death_trail *t, struct slice queue)
{
    return t->count > 0 && bsearch(&queue, t->names, t->count, sizeof(*t->names), by_name) != NULL;
}

void
death_trail_fini(struct death_trail *t)
{
    mem_free(t->names);
    *t = (struct death_trail){0};
}
