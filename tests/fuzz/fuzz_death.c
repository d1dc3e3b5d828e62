// fuzz_death: dead-lettering of messages whose properties, `x-death` among them, come from clients.
//
// Input: a byte of options (1: the letter gets a key; 2: the rest is the content of x-death; 4, 8: reason), then flags and list of the properties, or the
// content of x-death. Checked: what went in valid comes out valid; the death is the first of x-death; a second one counts on; nothing else is lost but what was
// to be.
#include "amqp/wire/props.h"
#include "amqp/wire/table.h"
#include "src/base/mem.h"
#include "src/broker/death.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int64_t
count_of_first(struct slice headers, const struct death *d)
{
    struct field deaths, first, f;
    struct slice queue, reason;
    LV_ASSERT(table_find(headers, SLICE_LIT("x-death"), &deaths) && deaths.type == FIELD_ARRAY);
    struct array_iter it = array_iter_of(deaths.array);
    LV_ASSERT(array_iter_next(&it, &first) && first.type == FIELD_TABLE);
    LV_ASSERT(table_find(first.table, SLICE_LIT("queue"), &f));
    queue = f.bytes;
    LV_ASSERT(table_find(first.table, SLICE_LIT("reason"), &f));
    reason = f.bytes;
    LV_ASSERT(slice_eq(queue, d->queue) && slice_eq_str(reason, death_reason_text(d->reason)));
    LV_ASSERT(table_find(first.table, SLICE_LIT("count"), &f) && f.type == FIELD_I64);
    return f.i64;
}

static struct amqp_basic_props
check(const struct message *letter, const struct death *d)
{
    struct amqp_basic_props p;
    LV_ASSERT(amqp_props_decode(message_properties(letter), &p) == 0);
    LV_ASSERT(amqp_props_has(&p, AMQP_PROP_HEADERS) && !amqp_props_has(&p, AMQP_PROP_EXPIRATION));
    LV_ASSERT(slice_eq(message_exchange(letter), d->exchange) && slice_eq_str(message_body(letter), "body"));
    LV_ASSERT(d->key == NULL || (slice_eq(message_routing_key(letter), *d->key) &&
                                 !table_find(p.headers, SLICE_LIT("CC"), NULL)));
    LV_ASSERT(table_find(p.headers, SLICE_LIT("x-last-death-queue"), NULL));
    struct death_trail trail;
    LV_ASSERT(death_trail_init(&trail, p.headers));
    LV_ASSERT(death_trail_has(&trail, d->queue) == (d->reason != DEATH_REJECTED));
    (void)death_trail_has(&trail, SLICE_LIT("other"));
    death_trail_fini(&trail);
    return p;
}

static void
run(struct slice properties, uint8_t options)
{
    static const struct slice key = SLICE_LIT("dead");
    struct death d = {.queue = SLICE_LIT("q"),
                      .reason = (enum death_reason)(options >> 2 & 3),
                      .time_s = 1,
                      .exchange = SLICE_LIT("x"),
                      .key = (options & 1) != 0 ? &key : NULL};
    struct amqp_basic_props before;
    if (amqp_props_decode(properties, &before) != 0)
        return;
    struct message *m = message_new(SLICE_LIT("from"), SLICE_LIT("key"), properties, 4);
    LV_ASSERT(m != NULL);
    memcpy(message_body_mut(m), "body", 4);
    struct message *once = death_message(m, &d);
    LV_ASSERT(once != NULL);
    struct amqp_basic_props p = check(once, &d);
    LV_ASSERT((p.flags | AMQP_PROP_EXPIRATION) == (before.flags | AMQP_PROP_HEADERS | AMQP_PROP_EXPIRATION));
    int64_t first = count_of_first(p.headers, &d);
    struct message *twice = death_message(once, &d);
    LV_ASSERT(twice != NULL);
    p = check(twice, &d);
    int64_t second = count_of_first(p.headers, &d);
    LV_ASSERT(first == INT64_MAX || second == first + 1);
    // The third of another kind comes in front of them.
    d.queue = SLICE_LIT("r");
    struct message *other = death_message(twice, &d);
    LV_ASSERT(other != NULL);
    (void)check(other, &d);
    message_unref(other);
    message_unref(twice);
    message_unref(once);
    message_unref(m);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    struct slice rest = slice_of(data + 1, size - 1);
    if ((data[0] & 2) == 0) {
        run(rest, data[0]);
        return 0;
    }
    if (array_validate(rest, TABLE_DEPTH_MAX - 1) != 0)
        return 0;
    struct buf headers = BUF_INIT, properties = BUF_INIT;
    struct table_writer w = table_writer_of(&headers);
    table_put_array(&w, SLICE_LIT("x-death"), rest);
    struct amqp_basic_props p = {.flags = AMQP_PROP_HEADERS, .headers = buf_slice(&headers)};
    amqp_props_encode(&properties, &p);
    LV_ASSERT(!headers.failed && !properties.failed);
    run(buf_slice(&properties), data[0]);
    buf_fini(&headers);
    buf_fini(&properties);
    return 0;
}
