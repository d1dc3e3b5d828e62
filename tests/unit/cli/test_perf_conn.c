// test_perf_conn.c: the input buffer of a client connection when the broker is faster than we are.
#include "perf_test.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "src/base/buf.h"
#include "src/base/mem.h"
#include "src/cli/perf_conn.h"

static struct perf_conn c;
static int peer;

static int
setup(void **state)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    c = PERF_CONN_INIT;
    c.fd = fds[0];
    peer = fds[1];
    c.frame_max = 4096;
    c.in_cap = PERF_CONN_IN_MIN;
    c.in = mem_alloc(c.in_cap);
    assert_non_null(c.in);
    return 0;
}

static int
teardown(void **state)
{
    perf_conn_abort(&c);
    close(peer);
    return 0;
}

// Heartbeats enough for two buffers, then close-ok.
static void
fill(void)
{
    struct buf b = BUF_INIT;
    while (b.len < 2 * c.in_cap)
        buf_append(&b, "\x08\0\0\0\0\0\0\xce", 8);
    amqp_frame_connection_close_ok(&b, 0);
    assert_false(b.failed);
    assert_int_equal(write(peer, b.ptr, b.len), b.len);
    buf_fini(&b);
}

static void
a_full_buffer_asks_for_its_frames_to_be_taken(void **state)
{
    fill();
    assert_int_equal(perf_conn_read(&c), c.in_cap);
    assert_int_equal(perf_conn_read(&c), 0);
    struct frame f;
    assert_int_equal(perf_conn_frame(&c, &f), 1);
    assert_int_equal(perf_conn_read(&c), f.size);
}

static void
closing_with_a_full_buffer_reads_on_to_the_answer(void **state)
{
    fill();
    assert_int_equal(perf_conn_read(&c), c.in_cap);
    perf_conn_close(&c);
    assert_int_equal(c.fd, -1);
    uint8_t sent[64];
    assert_true(read(peer, sent, sizeof sent) > 11);
    assert_int_equal(wire_get_u32(sent + 7), AMQP_CONNECTION_CLOSE);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_full_buffer_asks_for_its_frames_to_be_taken, setup, teardown),
        cmocka_unit_test_setup_teardown(closing_with_a_full_buffer_reads_on_to_the_answer, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
