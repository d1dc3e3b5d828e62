// test_handshake.c: the protocol header, SASL, tune, open, close, heartbeats and time limits of a connection.
#include "amqp_fixture.h"

static int
setup(void **state)
{
    af_open(&af_worlds[0]);
    return 0;
}

static int
teardown(void **state)
{
    af_close();
    return 0;
}

static struct af_conn *
greeted(void)
{
    struct af_conn *c = af_connect();
    af_send(c, protocol_header());
    af_expect(c, 0, CONNECTION_START);
    return c;
}

static void
drop(struct af_conn *c)
{
    memory_peer_shut(c->peer);
    af_rounds(3);
    af_free(c);
}

static void
test_login(void **state)
{
    struct af_conn *c = greeted();
    struct amqp_connection_start m = c->m.connection_start;
    struct field f;
    struct slice key;
    assert_int_equal(m.version_major, 0);
    assert_int_equal(m.version_minor, 9);
    assert_true(slice_eq_str(m.mechanisms, "PLAIN AMQPLAIN"));
    assert_true(slice_eq_str(m.locales, "en_US"));
    static const char *const keys[] = {"capabilities", "cluster_name", "copyright", "information",
                                       "platform",     "product",      "version",   "leveret"};
    struct table_iter it = table_iter_of(m.server_properties);
    for (size_t i = 0; i < LV_ARRAY_LEN(keys); i++) {
        assert_true(table_iter_next(&it, &key, &f));
        assert_true(slice_eq_str(key, keys[i]));
        if (i == 0)
            assert_int_equal(table_count(f.table), 9);
    }
    assert_false(table_iter_next(&it, &key, &f));
    assert_int_equal(af_stats().unauthenticated, 1);
    af_start_ok(c, "guest", "guest", "");
    af_tune_and_open(c, 2047, 131072, 60);
    assert_int_equal(af_stats().unauthenticated, 0);
    af_channel(c, 1);
    af_channel(c, 65535);
    assert_int_equal(af_stats().channels, 2);
    af_bye(c);
    assert_int_equal(af_stats().channels, 0);
    assert_int_equal(af_stats().connections, 0);
}

static void
test_everything_in_one_packet(void **state)
{
    struct af_conn *c = af_connect();
    struct buf b = BUF_INIT;
    buf_append_slice(&b, protocol_header());
    amqp_frame_connection_start_ok(
        &b, 0,
        &(struct amqp_connection_start_ok){.mechanism = SLICE_LIT("PLAIN"),
                                           .response = SLICE_LIT("\0guest\0guest")});
    amqp_frame_connection_tune_ok(&b, 0,
                                  &(struct amqp_connection_tune_ok){.channel_max = 100, .frame_max = 8192});
    amqp_frame_connection_open(&b, 0, &(struct amqp_connection_open){.virtual_host = SLICE_LIT("/")});
    amqp_frame_channel_open(&b, 3);
    af_send_buf(c, &b);
    af_expect(c, 0, CONNECTION_START);
    af_expect(c, 0, CONNECTION_TUNE);
    af_expect(c, 0, CONNECTION_OPEN_OK);
    af_expect(c, 3, CHANNEL_OPEN_OK);
    af_bye(c);
}

static void
test_bad_protocol_headers(void **state)
{
    static const struct slice headers[] = {
        SLICE_LIT("AMQP\0\0\x09\0"),         SLICE_LIT("AMQP\1\1\0\x0a"), SLICE_LIT("AMQP\0\1\0\0"),
        SLICE_LIT("GET / HTTP/1.1\r\n\r\n"), SLICE_LIT("\x16\x03\x01"),
    };
    for (size_t i = 0; i < LV_ARRAY_LEN(headers); i++) {
        struct af_conn *c = af_connect();
        af_send(c, headers[i]);
        af_expect_end(c);
        assert_int_equal(c->in.len, PROTOCOL_HEADER_SIZE);
        assert_memory_equal(c->in.ptr, "AMQP\0\0\x09\x01", 8);
        assert_false(
            memory_peer_is_closed(c->peer)); // input is read on, so that no reset destroys the answer
        memory_peer_shut(c->peer);
        af_expect_closed(c);
        af_free(c);
    }
}

static void
test_old_protocol_headers(void **state)
{
    static const struct slice headers[] = {SLICE_LIT("AMQP\1\1\x09\1"), SLICE_LIT("AMQP\1\1\x08\0"),
                                           SLICE_LIT("AMQP\1\1\0\x09")};
    for (size_t i = 0; i < LV_ARRAY_LEN(headers); i++) {
        struct af_conn *c = af_connect();
        struct field f;
        bool is_old = i < 2;
        af_send(c, headers[i]);
        af_expect(c, 0, CONNECTION_START);
        assert_int_equal(c->m.connection_start.version_major, is_old ? 8 : 0);
        assert_int_equal(c->m.connection_start.version_minor, is_old ? 0 : 9);
        assert_true(table_find(c->m.connection_start.server_properties, SLICE_LIT("capabilities"), &f));
        assert_int_equal(table_count(f.table), is_old ? 0 : 9);
        drop(c);
    }
}

// --- SASL --------------------------------------------------------------------------------------------------

#define REFUSED_TEXT                                                                                         \
    "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For details see the broker "   \
    "logfile."

static void
test_wrong_password_with_the_capability(void **state)
{
    static const char *const wrong[][2] = {{"guest", "wrong"}, {"nobody", "guest"}, {"", ""}, {"guest", ""}};
    for (size_t i = 0; i < LV_ARRAY_LEN(wrong); i++) {
        struct af_conn *c = greeted();
        af_start_ok(c, wrong[i][0], wrong[i][1], AF_ALL_CAPABILITIES);
        af_expect_close(c, 0, 403, 0, REFUSED_TEXT);
        af_do0(c, 0, CONNECTION_CLOSE_OK);
        af_expect_end(c);
        drop(c);
    }
    assert_int_equal(af_stats().refused, 4);
}

static void
test_wrong_password_without_it(void **state)
{
    struct af_conn *c = greeted();
    af_start_ok(c, "guest", "wrong", "");
    af_pass_ms(800);
    assert_false(af_take(c));
    assert_false(memory_peer_is_closed(c->peer)); // a second of silence …
    af_pass_ms(500);
    assert_true(memory_peer_is_closed(c->peer)); // … and the end
    assert_int_equal(c->in.len, 0);
    af_free(c);
}

static void
test_guest_comes_from_loopback_only(void **state)
{
    static const char *const ips[] = {"127.8.8.8", "10.0.0.1"};
    for (size_t i = 0; i < 2; i++) {
        struct af_conn *c = af_connect_with(ips[i], AF_CAPACITY);
        af_send(c, protocol_header());
        af_expect(c, 0, CONNECTION_START);
        af_start_ok(c, "guest", "guest", AF_ALL_CAPABILITIES);
        if (i == 0)
            af_expect(c, 0, CONNECTION_TUNE);
        else
            af_expect_close(c, 0, 403, 0, REFUSED_TEXT);
        drop(c);
    }
}

static void
test_bad_mechanisms_and_responses(void **state)
{
    static const struct {
        const char *mechanism;
        struct slice response;
        uint16_t code;
    } cases[] = {
        {"EXTERNAL", SLICE_LIT(""), 503},
        {"", SLICE_LIT(""), 503},
        {"plain", SLICE_LIT("\0guest\0guest"), 503},
        {"PLAIN", SLICE_LIT("guest"), 502},
        {"PLAIN", SLICE_LIT("\0guest"), 502},
        {"PLAIN", SLICE_LIT("\0a\0b\0c"), 502},
        {"AMQPLAIN", SLICE_LIT(""), 502},
        {"AMQPLAIN", SLICE_LIT("\xff\xff"), 502},
    };
    for (size_t i = 0; i < LV_ARRAY_LEN(cases); i++) {
        struct af_conn *c = greeted();
        af_do(c, 0, CONNECTION_START_OK, connection_start_ok, .mechanism = slice_str(cases[i].mechanism),
              .response = cases[i].response);
        af_expect(c, 0, CONNECTION_CLOSE);
        assert_int_equal(c->m.connection_close.reply_code, cases[i].code);
        drop(c);
    }
}

static void
test_amqplain(void **state)
{
    struct af_conn *c = greeted();
    struct buf response = BUF_INIT;
    struct table_writer w = table_writer_of(&response);
    table_put_str(&w, SLICE_LIT("LOGIN"), "guest");
    table_put_str(&w, SLICE_LIT("PASSWORD"), "guest");
    af_do(c, 0, CONNECTION_START_OK, connection_start_ok, .mechanism = SLICE_LIT("AMQPLAIN"),
          .response = buf_slice(&response));
    af_expect(c, 0, CONNECTION_TUNE);
    buf_fini(&response);
    drop(c);
}

// --- tune, open, order -------------------------------------------------------------------------------------

static struct af_conn *
tuned(void)
{
    struct af_conn *c = greeted();
    af_start_ok(c, "guest", "guest", AF_ALL_CAPABILITIES);
    af_expect(c, 0, CONNECTION_TUNE);
    return c;
}

static void
test_tune_values(void **state)
{
    static const struct {
        uint16_t channel_max;
        uint32_t frame_max;
        const char *text;
    } cases[] = {
        {2047, 4095,
         "NOT_ALLOWED - negotiated frame_max = 4095 is lower than the minimum allowed value (4096)"},
        {2047, 200000,
         "NOT_ALLOWED - negotiated frame_max = 200000 is higher than the maximum allowed value (131072)"},
        {2047, 0, "NOT_ALLOWED - negotiated frame_max = 0 is higher than the maximum allowed value (131072)"},
        {0, 131072,
         "NOT_ALLOWED - negotiated channel_max = 0 (no limit) is higher than the maximum allowed value "
         "(2047)"},
        {2048, 131072,
         "NOT_ALLOWED - negotiated channel_max = 2048 is higher than the maximum allowed value (2047)"},
    };
    for (size_t i = 0; i < LV_ARRAY_LEN(cases); i++) {
        struct af_conn *c = tuned();
        af_do(c, 0, CONNECTION_TUNE_OK, connection_tune_ok, .channel_max = cases[i].channel_max,
              .frame_max = cases[i].frame_max);
        af_expect_close(c, 0, 530, AMQP_CONNECTION_TUNE_OK, cases[i].text);
        drop(c);
    }
}

static void
test_unknown_vhost(void **state)
{
    struct af_conn *c = tuned();
    af_do(c, 0, CONNECTION_TUNE_OK, connection_tune_ok, .channel_max = 1, .frame_max = 4096);
    af_do(c, 0, CONNECTION_OPEN, connection_open, .virtual_host = SLICE_LIT("nosuch"));
    af_expect_close(c, 0, 530, AMQP_CONNECTION_OPEN, "NOT_ALLOWED - vhost nosuch not found");
    af_do0(c, 0, CONNECTION_CLOSE_OK);
    af_expect_end(c);
    drop(c);
}

static void
test_methods_out_of_order(void **state)
{
    struct af_conn *c = greeted();
    af_do(c, 0, CONNECTION_OPEN, connection_open, .virtual_host = SLICE_LIT("/"));
    af_expect_close(c, 0, 504, AMQP_CONNECTION_OPEN,
                    "CHANNEL_ERROR - unexpected method in connection state starting");
    drop(c);
    c = greeted();
    af_do0(c, 1, CHANNEL_OPEN);
    af_expect_close(c, 0, 505, 0, "UNEXPECTED_FRAME - type 1, all octets = <<0,20,0,10,0>>");
    drop(c);
    c = tuned();
    af_do(c, 0, CONNECTION_TUNE_OK, connection_tune_ok, .channel_max = 1, .frame_max = 4096);
    af_do(c, 0, CONNECTION_CLOSE, connection_close, .reply_code = 200);
    af_expect(c, 0, CONNECTION_CLOSE_OK);
    af_expect_end(c);
    drop(c);
    c = af_login();
    af_do(c, 0, CONNECTION_OPEN, connection_open, .virtual_host = SLICE_LIT("/"));
    af_expect_close(c, 0, 504, AMQP_CONNECTION_OPEN,
                    "CHANNEL_ERROR - unexpected method in connection state running");
    drop(c);
    c = af_login();
    af_do(c, 0, CONNECTION_UPDATE_SECRET, connection_update_secret, .reason = SLICE_LIT("r"));
    af_expect(c, 0, CONNECTION_UPDATE_SECRET_OK);
    af_bye(c);
}

// --- bounds before log-in ----------------------------------------------------------------------------------

static void
test_frames_are_small_before_tune(void **state)
{
    struct af_conn *c = greeted();
    af_send(c, SLICE_LIT("\1\0\0\xff\xff\xff\xff"));
    af_expect_close(c, 0, 501, 0,
                    "FRAME_ERROR - type 1, all octets = <<>>: {frame_too_large,4294967295,4088}");
    af_expect_end(c);
    drop(c);
}

static void
test_handshake_timeout(void **state)
{
    static const struct slice sent[] = {SLICE_LIT(""), SLICE_LIT("AMQ"),
                                        SLICE_LIT("AMQP\0\0\x09\1\1\0\0\0\0\x07\xd0")};
    for (size_t i = 0; i < LV_ARRAY_LEN(sent); i++) {
        struct af_conn *c = af_connect();
        af_send(c, sent[i]);
        for (int k = 0; k < 19; k++) {
            if (i == 2)
                af_send(c, SLICE_LIT("\0")); // a byte now and then buys no time
            af_pass_ms(500);
        }
        assert_false(memory_peer_is_closed(c->peer));
        af_pass_ms(700);
        assert_true(memory_peer_is_closed(c->peer));
        af_free(c);
    }
}

static void
test_unauthenticated_are_bounded(void **state)
{
    enum { MORE = 20 };
    struct af_conn *all[100 + MORE];
    for (size_t i = 0; i < LV_ARRAY_LEN(all); i++) {
        all[i] = af_connect();
        if (i % 2 == 0)
            af_send(all[i], protocol_header());
    }
    af_rounds(3);
    for (size_t i = 0; i < LV_ARRAY_LEN(all); i++)
        assert_int_equal(memory_peer_is_closed(all[i]->peer), i < MORE);
    assert_int_equal(af_stats().unauthenticated, 100);
    for (size_t i = 0; i < LV_ARRAY_LEN(all); i++)
        drop(all[i]);
}

// --- heartbeats --------------------------------------------------------------------------------------------

static void
test_heartbeats_are_sent(void **state)
{
    struct af_conn *c = af_login_with(10, 4096, 4);
    int beats = 0;
    for (int i = 0; i < 30; i++) {
        af_pass_ms(1000);
        af_send_frame(c, FRAME_HEARTBEAT, 0, SLICE_EMPTY);
        while (af_take(c)) {
            assert_int_equal(c->frame.type, FRAME_HEARTBEAT);
            beats++;
        }
    }
    assert_in_range(beats, 12, 16);
    af_bye(c);
}

static void
test_a_silent_client_is_dropped(void **state)
{
    struct af_conn *c = af_login_with(10, 4096, 4);
    af_pass_ms(7800);
    assert_false(memory_peer_is_closed(c->peer));
    af_pass_ms(500);
    assert_true(memory_peer_is_closed(c->peer));
    af_free(c);
}

static void
test_no_heartbeats_when_zero(void **state)
{
    struct af_conn *c = af_login_with(10, 4096, 0);
    af_pass_ms(100 * 1000);
    assert_false(af_take(c));
    af_bye(c);
}

// --- ends --------------------------------------------------------------------------------------------------

static void
test_close_waits_for_close_ok(void **state)
{
    struct af_conn *c = af_ready();
    af_send_frame(c, 9, 1, SLICE_LIT("abc"));
    for (int i = 0; i < 50; i++)
        af_do(c, 1, QUEUE_DECLARE, queue_declare, .queue = SLICE_LIT("victim"), .durable = true);
    af_expect_close(c, 0, 501, 0, "FRAME_ERROR - type 9, all octets = <<\"abc\">>: unknown_frame");
    af_expect_nothing(c);
    assert_false(memory_peer_is_at_end(c->peer));
    af_do(c, 0, CONNECTION_CLOSE, connection_close, .reply_code = 200); // both at once
    af_expect(c, 0, CONNECTION_CLOSE_OK);
    af_do0(c, 0, CONNECTION_CLOSE_OK);
    af_expect_end(c);
    drop(c);
}

static void
test_close_does_not_wait_for_ever(void **state)
{
    struct af_conn *c = af_ready();
    af_send_frame(c, 9, 1, SLICE_LIT("abc"));
    af_expect(c, 0, CONNECTION_CLOSE);
    af_pass_ms(11000);
    assert_true(memory_peer_is_closed(c->peer));
    af_free(c);
}

static void
test_abrupt_end_in_every_state(void **state)
{
    for (int stage = 0; stage < 6; stage++) {
        struct af_conn *c = stage == 0   ? af_connect()
                            : stage == 1 ? greeted()
                            : stage == 2 ? tuned()
                                         : af_login();
        if (stage >= 4) {
            af_channel(c, 1);
            af_do(c, 1, QUEUE_DECLARE, queue_declare, .queue = SLICE_LIT("mine"), .exclusive = true);
        }
        if (stage == 5)
            af_do(c, 0, CONNECTION_CLOSE, connection_close, .reply_code = 200);
        memory_peer_shut(c->peer);
        af_expect_closed(c);
        af_free(c);
    }
    af_rounds(30);
    assert_int_equal(af_stats().connections, 0);
}

static unsigned drained;

static void
on_drained(void *ctx)
{
    drained++;
}

static void
test_drain(void **state)
{
    struct af_conn *open = af_ready(), *early = greeted(), *stubborn = af_ready();
    struct fault f;
    fault_set(&f, FAULT_CONNECTION_FORCED, "broker forced connection closure with reason 'shutdown'");
    drained = 0;
    worker_self = af.w;
    amqp_worker_drain(af.w, &f, on_drained, NULL);
    worker_self = NULL;
    af_expect_close(open, 0, 320, 0,
                    "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'");
    af_do0(open, 0, CONNECTION_CLOSE_OK);
    af_expect_end(open);
    drop(open);
    af_expect_closed(early);
    drop(early);
    assert_int_equal(drained, 0);
    struct af_conn *late = af_connect();
    assert_true(memory_peer_is_closed(late->peer));
    af_free(late);
    af_pass_ms(11000);
    assert_int_equal(drained, 1);
    af_free(stubborn);
}

static void
test_describe(void **state)
{
    struct af_conn *c = af_ready();
    struct buf out = BUF_INIT;
    worker_self = af.w;
    broker_list(af.w, LIST_CONNECTIONS, &out);
    worker_self = NULL;
    const char *text = buf_cstr(&out);
    static const char *const parts[] = {
        "\"peer_host\":\"127.0.0.1\"",
        "\"peer_port\":4000",
        "\"port\":5672",
        "\"auth_mechanism\":\"PLAIN\"",
        "\"frame_max\":131072",
        "\"channel_max\":2047",
        "\"timeout\":0",
        "\"ssl\":false",
        "\"user_provided_name\":\"af\"",
        "\"channels\":1",
        "\"name\":\"127.0.0.1:4000 -> 127.0.0.1:5672\"",
        "\"connection.blocked\":true",
    };
    for (size_t i = 0; i < LV_ARRAY_LEN(parts); i++) {
        if (strstr(text, parts[i]) == NULL)
            fail_msg("no %s in %s", parts[i], text);
    }
    buf_fini(&out);
    af_bye(c);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(test_login),
        T(test_everything_in_one_packet),
        T(test_bad_protocol_headers),
        T(test_old_protocol_headers),
        T(test_wrong_password_with_the_capability),
        T(test_wrong_password_without_it),
        T(test_guest_comes_from_loopback_only),
        T(test_bad_mechanisms_and_responses),
        T(test_amqplain),
        T(test_tune_values),
        T(test_unknown_vhost),
        T(test_methods_out_of_order),
        T(test_frames_are_small_before_tune),
        T(test_handshake_timeout),
        T(test_unauthenticated_are_bounded),
        T(test_heartbeats_are_sent),
        T(test_a_silent_client_is_dropped),
        T(test_no_heartbeats_when_zero),
        T(test_close_waits_for_close_ok),
        T(test_close_does_not_wait_for_ever),
        T(test_abrupt_end_in_every_state),
        T(test_drain),
        T(test_describe),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
