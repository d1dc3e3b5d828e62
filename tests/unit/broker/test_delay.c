// test_delay.c: what x-delay says, and what is parked and released.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "amqp/wire/table.h"
#include "src/base/mem.h"
#include "src/broker/delay.h"

static uint32_t
delay_of_field(struct field f)
{
    LV_CLEANUP(buf_fini) struct buf b = BUF_INIT;
    struct table_writer w = table_writer_of(&b);
    table_put_str(&w, SLICE_LIT("other"), "1");
    table_put(&w, SLICE_LIT("x-delay"), &f);
    return delay_of(buf_slice(&b));
}

static uint32_t
delay_of_text(const char *text)
{
    return delay_of_field(field_longstr(slice_str(text)));
}

static void
test_delay_of(void **state)
{
    assert_int_equal(delay_of(SLICE_EMPTY), 0);
    assert_int_equal(delay_of_field(field_i32(1)), 1);
    assert_int_equal(delay_of_field(field_i32(0)), 0);
    assert_int_equal(delay_of_field(field_i32(-5000)), 0);
    assert_int_equal(delay_of_field(field_i64(UINT32_MAX)), UINT32_MAX);
    assert_int_equal(delay_of_field(field_i64((int64_t)UINT32_MAX + 1)), 0);
    assert_int_equal(delay_of_field(field_i64(INT64_MIN)), 0);
    assert_int_equal(delay_of_field((struct field){.type = FIELD_U8, .i64 = 200}), 200);
    assert_int_equal(delay_of_field((struct field){.type = FIELD_DOUBLE, .f64 = 1500.9}), 1500);
    assert_int_equal(delay_of_field((struct field){.type = FIELD_DOUBLE, .f64 = -1}), 0);
    assert_int_equal(delay_of_field((struct field){.type = FIELD_DOUBLE, .f64 = 1e300}), 0);
    assert_int_equal(delay_of_field((struct field){.type = FIELD_DOUBLE, .f64 = __builtin_nan("")}), 0);
    assert_int_equal(delay_of_field((struct field){.type = FIELD_DECIMAL, .decimal = {1, 155}}), 15);
    assert_int_equal(delay_of_field((struct field){.type = FIELD_DECIMAL, .decimal = {255, 155}}), 0);
    assert_int_equal(delay_of_field((struct field){.type = FIELD_VOID}), 0);
    assert_int_equal(delay_of_field(field_bool(true)), 0);
    assert_int_equal(delay_of_field(field_timestamp(5)), 0);
    assert_int_equal(delay_of_text("1000"), 1000);
    assert_int_equal(delay_of_text("+7"), 7);
    assert_int_equal(delay_of_text("-7"), 0);
    assert_int_equal(delay_of_text(""), 0);
    assert_int_equal(delay_of_text("-"), 0);
    assert_int_equal(delay_of_text("12x"), 0);
    assert_int_equal(delay_of_text("99999999999999999999999999"), 0);
}

static struct message *
make(struct slice headers, const char *expiration, const char *body)
{
    LV_CLEANUP(buf_fini) struct buf b = BUF_INIT;
    struct amqp_basic_props p = {.flags = AMQP_PROP_HEADERS | AMQP_PROP_APP_ID | AMQP_PROP_DELIVERY_MODE,
                                 .headers = headers,
                                 .delivery_mode = 2,
                                 .app_id = SLICE_LIT("app")};
    if (expiration != NULL) {
        p.flags |= AMQP_PROP_EXPIRATION;
        p.expiration = slice_str(expiration);
    }
    amqp_props_encode(&b, &p);
    struct message *m = message_new(SLICE_LIT("x"), SLICE_LIT("key"), buf_slice(&b), (uint32_t)strlen(body));
    assert_non_null(m);
    memcpy(message_body_mut(m), body, strlen(body));
    m->flags = MESSAGE_PERSISTENT;
    m->priority = 3;
    m->published_ms = 12345;
    return m;
}

static void
check_released(struct field delay, int64_t expected, uint8_t expected_type, const char *expiration)
{
    LV_CLEANUP(buf_fini) struct buf b = BUF_INIT;
    struct table_writer w = table_writer_of(&b);
    table_put_str(&w, SLICE_LIT("a"), "1");
    table_put(&w, SLICE_LIT("x-delay"), &delay);
    table_put_str(&w, SLICE_LIT("z"), "2");
    struct message *m = make(buf_slice(&b), expiration, "the body");
    struct message *parked = delay_parked(m, 5000);
    assert_true(parked->flags == (MESSAGE_PERSISTENT | MESSAGE_HAS_EXPIRY) && parked->expiry_ms == 5000);
    assert_true(slice_eq(message_properties(parked), message_properties(m)));
    struct message *out = delay_released(parked);
    struct amqp_basic_props p;
    struct slice key;
    struct field f;
    static const char *const keys[] = {"a", "x-delay", "z"};
    size_t n = 0;
    assert_int_equal(amqp_props_decode(message_properties(out), &p), 0);
    for (struct table_iter it = table_iter_of(p.headers); table_iter_next(&it, &key, &f); n++) {
        assert_true(slice_eq_str(key, keys[n]));
        if (n == 1)
            assert_true(f.type == expected_type && f.i64 == expected);
    }
    assert_int_equal(n, 3);
    assert_int_equal(delay_of(p.headers), 0);
    assert_true(slice_eq_str(p.app_id, "app") && p.delivery_mode == 2);
    assert_true(slice_eq_str(message_body(out), "the body"));
    assert_true(slice_eq(message_route(out), message_route(m)));
    assert_true(out->priority == 3 && out->published_ms == 12345);
    assert_int_equal(out->flags, MESSAGE_PERSISTENT | (expiration != NULL ? MESSAGE_HAS_EXPIRY : 0));
    assert_int_equal(out->expiry_ms, expiration != NULL ? 777 : 0);
    message_unref(m);
    message_unref(parked);
    message_unref(out);
}

static void
test_released(void **state)
{
    check_released(field_i32(5000), -5000, FIELD_I32, NULL);
    check_released(field_i32(5000), -5000, FIELD_I32, "777");
    check_released(field_i64(UINT32_MAX), -(int64_t)UINT32_MAX, FIELD_I64, NULL);
    check_released(field_longstr(SLICE_LIT("20")), -20, FIELD_I32, NULL);
    check_released((struct field){.type = FIELD_DOUBLE, .f64 = 1.5}, -1, FIELD_I32, "777");
}

static void
test_no_memory(void **state)
{
    LV_CLEANUP(buf_fini) struct buf b = BUF_INIT;
    struct table_writer w = table_writer_of(&b);
    table_put_i32(&w, SLICE_LIT("x-delay"), 9);
    struct message *m = make(buf_slice(&b), NULL, ""), *out = NULL;
    for (uint64_t n = 1; out == NULL && n < 20; n++) {
        mem_test_fail_after(n);
        out = delay_released(m);
        mem_test_fail_after(0);
        assert_true(out != NULL || n < 10);
    }
    assert_non_null(out);
    message_unref(out);
    message_unref(m);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_delay_of),
        cmocka_unit_test(test_released),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
