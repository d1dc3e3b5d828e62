// test_small_parts.c: the timer wheel, SASL responses, channel counts of users, TCP as a transport.
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "amqp/user_channels.h"
#include "amqp_fixture.h"

// --- wheel: against a list of times ------------------------------------------------------------------------

enum { ITEMS = 300 };

static void
test_wheel(void **state)
{
    struct wheel w;
    struct wheel_item items[ITEMS];
    uint64_t due[ITEMS];
    struct rng rng;
    uint64_t now = 12345 * WHEEL_TICK_NS + 77;
    rng_init(&rng, 3);
    wheel_init(&w, now);
    assert_true(wheel_next_ns(&w) == WHEEL_NEVER);
    for (size_t i = 0; i < ITEMS; i++) {
        wheel_item_init(&items[i]);
        due[i] = WHEEL_NEVER;
    }
    for (int step = 0; step < 5000; step++) {
        size_t i = rng_below(&rng, ITEMS);
        due[i] = rng_below(&rng, 8) == 0
                     ? WHEEL_NEVER
                     : now + rng_below(&rng, (rng_below(&rng, 4) == 0 ? 5000 : 50) * WHEEL_TICK_NS);
        wheel_set(&w, &items[i], due[i]);
        uint64_t soonest = WHEEL_NEVER;
        for (size_t k = 0; k < ITEMS; k++)
            soonest = LV_MIN(soonest, due[k]);
        if (soonest < now + 500 * WHEEL_TICK_NS) // nearer than a round: told, never late by more than a tick
            assert_true(wheel_next_ns(&w) <= soonest + WHEEL_TICK_NS);
        now += rng_below(&rng, 20) == 0 ? rng_below(&rng, 900 * WHEEL_TICK_NS)
                                        : rng_below(&rng, 2 * WHEEL_TICK_NS);
        struct list fired;
        list_init(&fired);
        wheel_advance(&w, now, &fired);
        for (struct list *it; (it = list_pop_front(&fired)) != NULL;) {
            size_t k = (size_t)(LV_CONTAINER_OF(it, struct wheel_item, node) - items);
            assert_true(due[k] <= now); // never early
            due[k] = WHEEL_NEVER;
        }
        for (size_t k = 0; k < ITEMS; k++)
            assert_true(due[k] > now || due[k] + WHEEL_TICK_NS >= now - now % WHEEL_TICK_NS); // nor late
    }
    for (size_t i = 0; i < ITEMS; i++)
        wheel_clear(&items[i]);
    wheel_advance(&w, now + WHEEL_SLOTS * WHEEL_TICK_NS, &(struct list){0});
}

// --- SASL --------------------------------------------------------------------------------------------------

static void
test_sasl_plain(void **state)
{
    static const struct {
        struct slice response;
        int rc;
        const char *user, *password;
    } cases[] = {
        {SLICE_LIT("\0guest\0guest"), 0, "guest", "guest"},
        {SLICE_LIT("\0a\0"), 0, "a", ""},
        {SLICE_LIT("\0\0"), 0, "", ""},
        {SLICE_LIT(""), -LE_SYNTAX, 0, 0},
        {SLICE_LIT("\0"), -LE_SYNTAX, 0, 0},
        {SLICE_LIT("\0guest"), -LE_SYNTAX, 0, 0},
        {SLICE_LIT("a\0guest\0guest"), -LE_SYNTAX, 0, 0},
        {SLICE_LIT("\0a\0b\0"), -LE_SYNTAX, 0, 0},
    };
    for (size_t i = 0; i < LV_ARRAY_LEN(cases); i++) {
        struct slice user = SLICE_LIT("untouched"), password;
        assert_int_equal(sasl_parse(SASL_PLAIN, cases[i].response, &user, &password), cases[i].rc);
        assert_true(slice_eq_str(user, cases[i].rc == 0 ? cases[i].user : "untouched"));
        if (cases[i].rc == 0)
            assert_true(slice_eq_str(password, cases[i].password));
    }
}

static void
test_sasl_amqplain(void **state)
{
    struct buf b = BUF_INIT;
    struct slice user, password;
    struct table_writer w = table_writer_of(&b);
    table_put_str(&w, SLICE_LIT("LOGIN"), "me");
    assert_int_equal(sasl_parse(SASL_AMQPLAIN, buf_slice(&b), &user, &password), -LE_SYNTAX);
    table_put_i32(&w, SLICE_LIT("other"), 1);
    table_put_str(&w, SLICE_LIT("PASSWORD"), "secret");
    assert_int_equal(sasl_parse(SASL_AMQPLAIN, buf_slice(&b), &user, &password), 0);
    assert_true(slice_eq_str(user, "me") && slice_eq_str(password, "secret"));
    assert_int_equal(sasl_parse(SASL_AMQPLAIN, slice_head(buf_slice(&b), b.len - 1), &user, &password),
                     -LE_SYNTAX);
    assert_int_equal(sasl_parse(SASL_NONE, buf_slice(&b), &user, &password), -LE_SYNTAX);
    buf_fini(&b);
    assert_int_equal(sasl_mechanism_of(SLICE_LIT("PLAIN")), SASL_PLAIN);
    assert_int_equal(sasl_mechanism_of(SLICE_LIT("AMQPLAIN")), SASL_AMQPLAIN);
    assert_int_equal(sasl_mechanism_of(SLICE_LIT("")), SASL_NONE);
    assert_true(sasl_is_offered(SLICE_LIT("PLAIN AMQPLAIN"), SLICE_LIT("AMQPLAIN")));
    assert_false(sasl_is_offered(SLICE_LIT("PLAIN AMQPLAIN"), SLICE_LIT("AMQ")));
    assert_false(sasl_is_offered(SLICE_LIT("  AMQPLAIN "), SLICE_LIT("PLAIN")));
    assert_false(sasl_is_offered(SLICE_LIT(""), SLICE_LIT("")));
}

// --- channels of users -------------------------------------------------------------------------------------

static void
test_user_channels(void **state)
{
    struct user_channels *a = user_channels_get(SLICE_LIT("a")), *again = user_channels_get(SLICE_LIT("a"));
    struct user_channels *b = user_channels_get(SLICE_LIT("b"));
    assert_ptr_equal(a, again);
    assert_ptr_not_equal(a, b);
    assert_true(user_channels_add(a, 2));
    assert_true(user_channels_add(again, 2));
    assert_false(user_channels_add(a, 2));
    assert_true(user_channels_add(a, -1));
    assert_false(user_channels_add(b, 0));
    user_channels_remove(a, 3);
    user_channels_put(again);
    user_channels_put(a);
    user_channels_put(b);
    user_channels_put(NULL);
}

// --- TCP ---------------------------------------------------------------------------------------------------

static unsigned told;

static void
on_ready(void *ctx, unsigned events)
{
    told |= events;
}

static unsigned
poll_once(struct ev_loop *loop)
{
    told = 0;
    ev_run(loop, EVRUN_NOWAIT);
    return told;
}

static void
test_tcp(void **state)
{
    int fds[2];
    char text[16];
    struct ev_loop *loop = ev_loop_new(0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    struct transport *t = transport_tcp_new(loop, fds[0]);
    struct iovec in[2] = {{text, 2}, {text + 2, 10}};
    struct iovec out = {"hello", 5};
    t->ready = on_ready;
    assert_int_equal(poll_once(loop), 0);
    assert_int_equal(t->ops->read(t, in, 2), -LE_AGAIN);
    t->ops->want(t, TRANSPORT_READ);
    assert_int_equal(poll_once(loop), 0);
    assert_int_equal(write(fds[1], "abcd", 4), 4);
    assert_int_equal(poll_once(loop), TRANSPORT_READ);
    assert_int_equal(poll_once(loop), TRANSPORT_READ); // level triggered
    t->ops->want(t, TRANSPORT_WRITE);
    assert_int_equal(poll_once(loop), TRANSPORT_WRITE);
    t->ops->want(t, 0);
    assert_int_equal(poll_once(loop), 0);
    assert_int_equal(t->ops->read(t, in, 2), 4);
    assert_memory_equal(text, "abcd", 4);
    assert_int_equal(t->ops->write(t, &out, 1), 5);
    t->ops->shut(t);
    assert_int_equal(read(fds[1], text, sizeof text), 5);
    assert_int_equal(read(fds[1], text, sizeof text), 0);
    shutdown(fds[1], SHUT_WR);
    t->ops->want(t, TRANSPORT_READ);
    assert_int_equal(poll_once(loop), TRANSPORT_READ);
    assert_int_equal(t->ops->read(t, in, 2), 0);
    close(fds[1]);
    t->ops->close(t);
    assert_int_equal(fcntl(fds[0], F_GETFD), -1);
    ev_loop_destroy(loop);
}

// Two ends of a TCP connection over the loopback.
static void
tcp_pair(int ret_fds[static 2])
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    ret_fds[1] = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(listener >= 0 && ret_fds[1] >= 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &size), 0);
    assert_int_equal(connect(ret_fds[1], (struct sockaddr *)&address, sizeof address), 0);
    ret_fds[0] = accept(listener, NULL, NULL);
    assert_true(ret_fds[0] >= 0);
    close(listener);
}

// A peer that has gone is seen though what it sent before lies unread.
static void
test_tcp_peer_gone(void **state)
{
    struct ev_loop *loop = ev_loop_new(0);
    for (int is_reset = 0; is_reset < 2; is_reset++) {
        int fds[2];
        tcp_pair(fds);
        struct transport *t = transport_tcp_new(loop, fds[0]);
        assert_false(t->ops->is_peer_gone(t));
        assert_int_equal(write(fds[1], "abcd", 4), 4);
        assert_false(t->ops->is_peer_gone(t));
        struct linger now = {.l_onoff = is_reset};
        assert_int_equal(setsockopt(fds[1], SOL_SOCKET, SO_LINGER, &now, sizeof now), 0);
        close(fds[1]);
        assert_true(t->ops->is_peer_gone(t));
        t->ops->close(t);
    }
    ev_loop_destroy(loop);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wheel),         cmocka_unit_test(test_sasl_plain),
        cmocka_unit_test(test_sasl_amqplain), cmocka_unit_test(test_user_channels),
        cmocka_unit_test(test_tcp),           cmocka_unit_test(test_tcp_peer_gone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
