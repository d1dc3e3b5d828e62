// test_http_server.c: the control socket: more connections than it holds.
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "src/base/mem.h"
#include "src/management/http_server.h"

enum { LIMIT = 256 }; // CONNECTIONS_MAX of http_server.c

static struct world {
    struct crew *crew;
    struct api_server *server;
    char dir[32], path[64];
} z;

static int
setup(void **state)
{
    struct crew_config config = {.n_workers = 1};
    struct api_node node = {.node_name = "test"};
    char *error = NULL;
    snprintf(z.dir, sizeof z.dir, "/tmp/leveret-http-XXXXXX");
    assert_non_null(mkdtemp(z.dir));
    snprintf(z.path, sizeof z.path, "%s/control.sock", z.dir);
    z.crew = crew_new(&config);
    struct http_config http = {.control_socket = z.path};
    assert_int_equal(http_server_start(z.crew, &http, &node, &z.server, &error), 0);
    return 0;
}

static int
teardown(void **state)
{
    http_server_stop(z.server);
    crew_free(z.crew);
    rmdir(z.dir);
    return 0;
}

static void
turns(int n)
{
    for (int i = 0; i < n; i++)
        worker_turn(crew_extra_member(z.crew, CREW_HTTP));
}

// A connection that has been accepted.
static int
client(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    memcpy(address.sun_path, z.path, strlen(z.path) + 1);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    turns(3);
    return fd;
}

static bool
is_ended(int fd)
{
    char byte;
    ssize_t n = recv(fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK);
    return n == 0 || (n < 0 && errno != EAGAIN);
}

static void
send_text(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
    turns(4);
}

static void
ask(int fd)
{
    char answer[512] = "";
    send_text(fd, "GET /api/nothing HTTP/1.1\r\nHost: x\r\n\r\n");
    ssize_t n = recv(fd, answer, sizeof answer - 1, MSG_DONTWAIT);
    assert_true(n > 0);
    answer[n] = '\0';
    assert_non_null(strstr(answer, "HTTP/1.1 404"));
}

// Whoever comes when it is full is let in; who has been silent longest goes.
static void
test_idle_connections_keep_nobody_out(void **state)
{
    int fds[LIMIT], more[200];
    for (int i = 0; i < LIMIT; i++)
        fds[i] = client();
    ask(fds[0]);
    send_text(fds[1], "GET /api/users HTTP/1.1\r\nHo"); // a request that never ends is none
    send_text(fds[2], "PUT /api/users/a HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{");
    for (int i = 0; i < LIMIT; i++)
        assert_false(is_ended(fds[i]));
    for (int i = 0; i < 200; i++) {
        more[i] = client();
        ask(more[i]);
    }
    assert_true(is_ended(fds[1]));
    for (int i = 3; i < 200; i++)
        assert_true(is_ended(fds[i]));
    for (int i = 210; i < LIMIT; i++)
        assert_false(is_ended(fds[i]));
    ask(fds[0]); // it was not the one, as it had asked something
    assert_false(is_ended(fds[2]));
    for (int i = 0; i < LIMIT; i++)
        close(fds[i]);
    for (int i = 0; i < 200; i++) {
        ask(more[i]);
        close(more[i]);
    }
    turns(10);
    int last = client();
    ask(last);
    close(last);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_idle_connections_keep_nobody_out, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
