// test_acceptor.c: listeners, the choice of a worker, what accepted sockets look like, and running out of
// file descriptors.
//
// One thread drives all members of the crew turn by turn; clients are blocking sockets to 127.0.0.1.
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "src/acceptor.h"
#include "src/base/clock.h"
#include "tests/unit/main/config_world.h"

enum { WORKERS = 3, DELIVERED_MAX = 256 };

static struct {
    uint32_t load[WORKERS];
    unsigned delivered[WORKERS];
    int fds[DELIVERED_MAX];
    unsigned count;
    struct sockaddr_storage peer;
    struct sockaddr_storage local;
    int listener_index;
} seen;

static void
deliver(struct worker *to, int fd, const struct sockaddr_storage *peer, const struct sockaddr_storage *local,
        int listener_index)
{
    assert_ptr_equal(worker_self, to);
    assert_true(seen.count < DELIVERED_MAX);
    seen.fds[seen.count++] = fd;
    seen.delivered[to->index]++;
    seen.load[to->index]++;
    seen.peer = *peer;
    seen.local = *local;
    seen.listener_index = listener_index;
}

static uint32_t
load(struct worker *w)
{
    return seen.load[w->index];
}

static const struct acceptor_sink sink = {.deliver = deliver, .load = load};

struct fixture {
    struct crew *crew;
    struct worker *main;
    struct config *config;
    struct acceptor *acceptor;
};

static struct config *
config_of(const char *text)
{
    struct outcome o = world_load_text(text);
    if (o.error != 0)
        fail_msg("%s", buf_cstr(&o.problems));
    buf_fini(&o.problems);
    buf_fini(&o.warnings);
    return o.config;
}

// A port that nobody has: bound, read, let go. (Release builds do not take port 0 in a configuration.)
static uint16_t
free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    close(fd);
    return ntohs(address.sin_port);
}

static void
fixture_open(struct fixture *f, const char *host, const char *more)
{
    char text[512];
    struct buf problem = BUF_INIT;
    memset(&seen, 0, sizeof seen);
    snprintf(text, sizeof text, "listeners.tcp.default = %s%s%u\n%s", host, host[0] != '\0' ? ":" : "",
             free_port(), more);
    f->config = config_of(text);
    f->crew = crew_new(&(struct crew_config){.n_workers = WORKERS});
    f->main = crew_extra_member(f->crew, CREW_MAIN);
    f->acceptor = acceptor_new(f->main, f->config);
    if (acceptor_bind(f->acceptor, &problem) != 0 || acceptor_listen(f->acceptor, &sink, &problem) != 0)
        fail_msg("%s", buf_cstr(&problem));
    buf_fini(&problem);
}

static void
fixture_close(struct fixture *f)
{
    for (unsigned i = 0; i < seen.count; i++)
        close(seen.fds[i]);
    acceptor_free(f->acceptor);
    crew_free(f->crew);
    config_unref(f->config);
}

static void
turn(struct fixture *f)
{
    for (int i = f->crew->n_members - 1; i >= 0; i--)
        worker_turn(f->crew->members[i]);
}

static void
turn_until_delivered(struct fixture *f, unsigned count)
{
    uint64_t deadline = clock_mono_ns() + UINT64_C(10000000000);
    while (seen.count < count) {
        turn(f);
        if (clock_mono_ns() > deadline)
            fail_msg("%u of %u connections were delivered", seen.count, count);
    }
}

static int
connect_to(uint16_t port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static void
test_connections_go_round(void **state)
{
    struct fixture f;
    int clients[9];
    fixture_open(&f, "127.0.0.1", "");
    // All at once: the workers have counted none when the last is handed over.
    for (size_t i = 0; i < LV_ARRAY_LEN(clients); i++)
        clients[i] = connect_to(acceptor_port(f.acceptor, 0));
    turn_until_delivered(&f, LV_ARRAY_LEN(clients));
    for (int i = 0; i < WORKERS; i++)
        assert_int_equal(seen.delivered[i], 3);
    assert_int_equal(acceptor_accepted(f.acceptor), 9);
    assert_int_equal(acceptor_on_the_way(f.acceptor), 0);
    for (size_t i = 0; i < LV_ARRAY_LEN(clients); i++)
        close(clients[i]);
    fixture_close(&f);
}

static void
test_least_loaded_worker_is_chosen(void **state)
{
    struct fixture f;
    int clients[6];
    fixture_open(&f, "127.0.0.1", "");
    seen.load[0] = 100;
    seen.load[1] = 4;
    seen.load[2] = 2;
    for (size_t i = 0; i < LV_ARRAY_LEN(clients); i++)
        clients[i] = connect_to(acceptor_port(f.acceptor, 0));
    turn_until_delivered(&f, LV_ARRAY_LEN(clients));
    assert_int_equal(seen.load[0], 100);
    assert_int_equal(seen.load[1], 6);
    assert_int_equal(seen.load[2], 6);
    for (size_t i = 0; i < LV_ARRAY_LEN(clients); i++)
        close(clients[i]);
    fixture_close(&f);
}

static int
option_of(int fd, int level, int name)
{
    int value = -1;
    socklen_t len = sizeof value;
    assert_int_equal(getsockopt(fd, level, name, &value, &len), 0);
    return value;
}

static void
test_accepted_sockets_have_the_options(void **state)
{
    struct fixture f;
    fixture_open(&f, "127.0.0.1",
                 "tcp_listen_options.keepalive = true\ntcp_listen_options.sndbuf = 32768\n"
                 "tcp_listen_options.recbuf = 40000\n");
    int client = connect_to(acceptor_port(f.acceptor, 0));
    turn_until_delivered(&f, 1);
    int fd = seen.fds[0];
    assert_int_equal(option_of(fd, IPPROTO_TCP, TCP_NODELAY), 1);
    assert_int_equal(option_of(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
    assert_int_equal(option_of(fd, SOL_SOCKET, SO_SNDBUF), 2 * 32768); // Linux doubles it
    assert_int_equal(option_of(fd, SOL_SOCKET, SO_RCVBUF), 2 * 40000);
    assert_true((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
    assert_true((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    close(client);
    fixture_close(&f);
    fixture_open(&f, "127.0.0.1", "tcp_listen_options.nodelay = false\n");
    client = connect_to(acceptor_port(f.acceptor, 0));
    turn_until_delivered(&f, 1);
    assert_int_equal(option_of(seen.fds[0], IPPROTO_TCP, TCP_NODELAY), 0);
    close(client);
    fixture_close(&f);
}

// A port without address takes IPv6 and IPv4; the IPv4 peer looks like one.
static void
test_dual_stack(void **state)
{
    struct fixture f;
    fixture_open(&f, "", "");
    int client = connect_to(acceptor_port(f.acceptor, 0));
    turn_until_delivered(&f, 1);
    const struct sockaddr_in *peer = (const struct sockaddr_in *)(const void *)&seen.peer;
    const struct sockaddr_in *local = (const struct sockaddr_in *)(const void *)&seen.local;
    struct sockaddr_in mine;
    socklen_t len = sizeof mine;
    assert_int_equal(getsockname(client, (struct sockaddr *)&mine, &len), 0);
    assert_int_equal(peer->sin_family, AF_INET);
    assert_int_equal(peer->sin_addr.s_addr, htonl(INADDR_LOOPBACK));
    assert_int_equal(peer->sin_port, mine.sin_port);
    assert_int_equal(local->sin_family, AF_INET);
    assert_int_equal(ntohs(local->sin_port), acceptor_port(f.acceptor, 0));
    close(client);
    fixture_close(&f);
}

static int
bind_only(struct crew *crew, const char *text, struct buf *problem)
{
    struct config *config = config_of(text);
    struct acceptor *a = acceptor_new(crew_extra_member(crew, CREW_MAIN), config);
    config_unref(config); // the acceptor has its own reference
    int error = acceptor_bind(a, problem);
    acceptor_free(a);
    return error;
}

static void
test_addresses_that_cannot_be_had(void **state)
{
    struct fixture f;
    struct buf problem = BUF_INIT;
    char text[128];
    char want[160];
    fixture_open(&f, "127.0.0.1", "");
    unsigned port = acceptor_port(f.acceptor, 0);
    snprintf(text, sizeof text, "listeners.tcp.mine = 127.0.0.1:%u\n", port);
    assert_int_equal(bind_only(f.crew, text, &problem), -LE_INUSE);
    snprintf(want, sizeof want, "listeners.tcp.mine: address 127.0.0.1:%u is in use by another process",
             port);
    assert_string_equal(buf_cstr(&problem), want);
    buf_reset(&problem);
    assert_int_equal(bind_only(f.crew, "listeners.tcp.far = 192.0.2.1:5672\n", &problem), -LE_NOTFOUND);
    assert_string_equal(buf_cstr(&problem),
                        "listeners.tcp.far: 192.0.2.1:5672 is not an address of this machine");
    buf_fini(&problem);
    fixture_close(&f);
}

static void
test_ipv4_and_ipv6_on_one_port(void **state)
{
    struct buf problem = BUF_INIT;
    struct crew *crew = crew_new(&(struct crew_config){.n_workers = 1});
    char text[128];
    unsigned port = free_port();
    snprintf(text, sizeof text, "listeners.tcp.a = 0.0.0.0:%u\nlisteners.tcp.b = [::]:%u\n", port, port);
    struct config *config = config_of(text);
    struct acceptor *a = acceptor_new(crew_extra_member(crew, CREW_MAIN), config);
    // Two sockets may be bound to one address; listening is where they would be in each other's way.
    if (acceptor_bind(a, &problem) != 0 || acceptor_listen(a, &sink, &problem) != 0)
        fail_msg("%s", buf_cstr(&problem));
    acceptor_free(a);
    config_unref(config);
    buf_fini(&problem);
    crew_free(crew);
}

static void
test_no_listener(void **state)
{
    struct buf problem = BUF_INIT;
    struct crew *crew = crew_new(&(struct crew_config){.n_workers = 1});
    assert_int_equal(bind_only(crew, "listeners.tcp = none\n", &problem), 0);
    buf_fini(&problem);
    crew_free(crew);
}

static void
test_after_close_nobody_is_let_in(void **state)
{
    struct fixture f;
    fixture_open(&f, "127.0.0.1", "");
    int client = connect_to(acceptor_port(f.acceptor, 0));
    turn_until_delivered(&f, 1);
    uint16_t port = acceptor_port(f.acceptor, 0);
    acceptor_close(f.acceptor);
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int late = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(late, (struct sockaddr *)&address, sizeof address), -1);
    assert_int_equal(errno, ECONNREFUSED);
    close(late);
    close(client);
    fixture_close(&f);
}

static bool
is_closed_by_peer(int fd)
{
    char byte;
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, 0) == 1 && recv(fd, &byte, 1, 0) <= 0;
}

// Gives a client's descriptor back first, so that the new one has a place.
static int
connect_to_reusing(int *old, uint16_t port)
{
    close(*old);
    *old = -1;
    return connect_to(port);
}

// With no descriptor left a waiting client is turned away, the loop does not spin, and later everything works
// again.
static void
test_out_of_file_descriptors(void **state)
{
    struct fixture f;
    struct rlimit before;
    int clients[3];
    int fillers[64];
    size_t filler_count = 0;
    fixture_open(&f, "127.0.0.1", "");
    for (size_t i = 0; i < LV_ARRAY_LEN(clients); i++)
        clients[i] = connect_to(acceptor_port(f.acceptor, 0));
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    int probe = dup(0);
    struct rlimit few = {.rlim_cur = (rlim_t)probe + 20, .rlim_max = before.rlim_max};
    close(probe);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    for (int fd; filler_count < LV_ARRAY_LEN(fillers) && (fd = dup(0)) >= 0;)
        fillers[filler_count++] = fd;
    assert_true(filler_count < LV_ARRAY_LEN(fillers));

    turn(&f);
    turn(&f);
    assert_int_equal(acceptor_shed(f.acceptor), 3);
    assert_int_equal(seen.count, 0);
    for (size_t i = 0; i < LV_ARRAY_LEN(clients); i++)
        assert_true(is_closed_by_peer(clients[i]));
    // The next client waits in the backlog: while the listeners rest no turn touches it, although it makes
    // them readable.
    int waiting_in_backlog = connect_to_reusing(&clients[0], acceptor_port(f.acceptor, 0));
    for (int i = 0; i < 100; i++)
        turn(&f);
    assert_int_equal(acceptor_shed(f.acceptor), 3);
    assert_false(is_closed_by_peer(waiting_in_backlog));

    for (size_t i = 0; i < filler_count; i++)
        close(fillers[i]);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    turn_until_delivered(&f, 1);
    assert_int_equal(acceptor_shed(f.acceptor), 3);
    close(waiting_in_backlog);
    close(clients[1]);
    close(clients[2]);
    fixture_close(&f);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_connections_go_round),
        cmocka_unit_test(test_least_loaded_worker_is_chosen),
        cmocka_unit_test(test_accepted_sockets_have_the_options),
        cmocka_unit_test(test_dual_stack),
        cmocka_unit_test(test_addresses_that_cannot_be_had),
        cmocka_unit_test(test_ipv4_and_ipv6_on_one_port),
        cmocka_unit_test(test_no_listener),
        cmocka_unit_test(test_after_close_nobody_is_let_in),
        cmocka_unit_test(test_out_of_file_descriptors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
