// test_output.c: order, partial writes, references and memory of struct output, against a plain byte buffer.
#include "amqp_fixture.h"

static struct pool pool;
static struct buf sink;
static struct rng rng;
static size_t room; // what the transport takes at once

static ssize_t
fake_write(struct transport *t, const struct iovec *iov, int count)
{
    size_t done = 0;
    for (int i = 0; i < count && done < room; i++) {
        size_t n = LV_MIN(iov[i].iov_len, room - done);
        assert_true(iov[i].iov_len > 0);
        buf_append(&sink, iov[i].iov_base, n);
        done += n;
    }
    return done == 0 ? -LE_AGAIN : (ssize_t)done;
}

static const struct transport_ops fake_ops = {.write = fake_write};
static struct transport fake = {.ops = &fake_ops};

static void
add(struct output *o, struct buf *expected, struct message *msg)
{
    static uint8_t bytes[70000];
    size_t len = rng_below(&rng, 10) == 0 ? rng_below(&rng, sizeof bytes) : rng_below(&rng, 300);
    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)rng_next(&rng);
    if (rng_below(&rng, 3) == 0) {
        struct slice body = message_body(msg);
        size_t from = rng_below(&rng, body.len);
        struct slice part = slice_of(body.ptr + from, rng_below(&rng, body.len - from + 1));
        output_append_message(o, msg, part);
        buf_append_slice(expected, part);
    } else {
        output_append(o, slice_of(bytes, len));
        buf_append(expected, bytes, len);
    }
}

static void
test_against_a_buffer(void **state)
{
    pool_init(&pool, OUTPUT_CHUNK_BYTES, 4);
    rng_init(&rng, 1);
    for (int round = 0; round < 60; round++) {
        struct output o;
        struct buf expected = BUF_INIT;
        struct message *msg = message_new(SLICE_LIT("x"), SLICE_LIT("k"), SLICE_LIT("\0\0"), 5000);
        for (size_t i = 0; i < 5000; i++)
            message_body_mut(msg)[i] = (uint8_t)(i * 31);
        output_init(&o, &pool);
        sink = BUF_INIT;
        for (int i = 0; i < 200; i++) {
            add(&o, &expected, msg);
            assert_int_equal(output_size(&o) + sink.len, expected.len);
            room = rng_below(&rng, 4) == 0 ? rng_below(&rng, 60000) : 0;
            ssize_t n = output_write(&o, &fake);
            assert_true(n == -LE_AGAIN || n >= 0);
        }
        room = SIZE_MAX;
        if (round % 2 == 0) {
            while (output_size(&o) > 0)
                assert_true(output_write(&o, &fake) > 0);
            assert_int_equal(pool.live_count, 0); // nothing is held while there is nothing to send
            assert_int_equal(output_write(&o, &fake), 0);
            assert_int_equal(atomic_load(&msg->refs), 1);
        }
        assert_memory_equal(sink.ptr, expected.ptr, sink.len);
        assert_int_equal(sink.len + output_size(&o), expected.len);
        output_clear(&o);
        assert_int_equal(atomic_load(&msg->refs), 1);
        message_unref(msg);
        buf_fini(&sink);
        buf_fini(&expected);
    }
    pool_fini(&pool);
}

static void
test_no_memory(void **state)
{
    for (uint64_t n = 1; n < 12; n++) {
        struct output o;
        struct buf expected = BUF_INIT;
        struct message *msg = message_new(SLICE_LIT("x"), SLICE_LIT("k"), SLICE_LIT("\0\0"), 5000);
        memset(message_body_mut(msg), 1, 5000);
        pool_init(&pool, OUTPUT_CHUNK_BYTES, 0);
        output_init(&o, &pool);
        mem_test_fail_after(n);
        for (int i = 0; i < 100 && !o.failed; i++) {
            output_append(&o, slice_of("0123456789", 10));
            output_append_message(&o, msg, message_body(msg));
            output_append(&o, slice_of(msg->bytes, 4000));
        }
        mem_test_fail_after(0);
        assert_true(o.failed);
        assert_null(output_reserve(&o, 1000000));
        output_clear(&o);
        assert_true(o.failed);
        assert_int_equal(atomic_load(&msg->refs), 1);
        message_unref(msg);
        buf_fini(&expected);
        pool_fini(&pool);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_against_a_buffer),
                                       cmocka_unit_test(test_no_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
