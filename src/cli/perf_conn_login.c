// perf_conn_login.c: from a URI to an open connection: TCP, protocol header, PLAIN, tune, open.
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "amqp/wire/table.h"
#include "src/base/clock.h"
#include "src/base/err.h"
#include "src/base/mem.h"
#include "src/cli/perf_conn.h"

// One address; the descriptor or a negative errno.
static int
connect_address(const struct addrinfo *a, uint64_t timeout_ns)
{
    int fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    int one = 1, error = 0;
    socklen_t len = sizeof error;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(fd, a->ai_addr, a->ai_addrlen) != 0) {
        error = errno;
        if (error == EINPROGRESS) {
            struct pollfd p = {.fd = fd, .events = POLLOUT};
            error = ETIMEDOUT;
            if (poll(&p, 1, (int)(timeout_ns / 1000000)) > 0)
                (void)getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len);
        }
    }
    if (error != 0) {
        close(fd);
        return -error;
    }
    return fd;
}

static int
connect_uri(struct perf_conn *c, const struct perf_uri *uri)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *list = NULL;
    int rc = getaddrinfo(uri->host, uri->port, &hints, &list);
    if (rc != 0)
        return perf_conn_fail(c, -LE_NETWORK, "%s: %s", uri->host, gai_strerror(rc));
    int fd = -1;
    for (const struct addrinfo *a = list; a != NULL && fd < 0; a = a->ai_next)
        fd = connect_address(a, c->timeout_ns);
    freeaddrinfo(list);
    if (fd < 0)
        return perf_conn_fail(c, -LE_NETWORK, "%s:%s: %s", uri->host, uri->port, strerror(-fd));
    c->fd = fd;
    return 0;
}

static void
append_start_ok(struct perf_conn *c, const struct perf_uri *uri, const char *name)
{
    struct buf properties = BUF_INIT, response = BUF_INIT;
    struct table_writer w = table_writer_of(&properties);
    table_put_str(&w, SLICE_LIT("product"), "leveret-perf");
    table_put_str(&w, SLICE_LIT("version"), LEVERET_VERSION);
    table_put_str(&w, SLICE_LIT("connection_name"), name);
    table_begin_table(&w, SLICE_LIT("capabilities"));
    table_put_bool(&w, SLICE_LIT("publisher_confirms"), true);
    table_put_bool(&w, SLICE_LIT("basic.nack"), true);
    table_put_bool(&w, SLICE_LIT("consumer_cancel_notify"), true);
    table_put_bool(&w, SLICE_LIT("connection.blocked"), true);
    table_put_bool(&w, SLICE_LIT("authentication_failure_close"), true);
    table_writer_end(&w);
    buf_append_u8(&response, 0);
    buf_append_str(&response, uri->user);
    buf_append_u8(&response, 0);
    buf_append_str(&response, uri->password);
    amqp_frame_connection_start_ok(
        &c->out, 0,
        &(struct amqp_connection_start_ok){.client_properties = buf_slice(&properties),
                                           .mechanism = SLICE_LIT("PLAIN"),
                                           .response = buf_slice(&response),
                                           .locale = SLICE_LIT("en_US")});
    if (response.ptr != NULL)
        mem_wipe(response.ptr, response.len);
    buf_fini(&response);
    buf_fini(&properties);
}

// 0 means "no limit" on both sides.
static uint32_t
smaller_limit(uint32_t a, uint32_t b)
{
    return a == 0 ? b : b == 0 ? a : LV_MIN(a, b);
}

static int
tune(struct perf_conn *c, const struct amqp_connection_tune *m, const struct perf_conn_options *o)
{
    c->channel_max = (uint16_t)smaller_limit(m->channel_max, UINT16_MAX);
    c->frame_max = smaller_limit(m->frame_max, (uint32_t)o->frame_max);
    if (c->frame_max < FRAME_MIN_SIZE)
        return perf_conn_fail(c, -LE_SYNTAX, "the broker asks for frames of %u bytes", c->frame_max);
    // We decide: the log-in of a load generator that asks for none shall not be ended by a missing heartbeat.
    c->heartbeat_s = o->heartbeat_s;
    amqp_frame_connection_tune_ok(&c->out, 0,
                                  &(struct amqp_connection_tune_ok){.channel_max = c->channel_max,
                                                                    .frame_max = c->frame_max,
                                                                    .heartbeat = c->heartbeat_s});
    return 0;
}

static int
log_in(struct perf_conn *c, const struct perf_uri *uri, const struct perf_conn_options *o)
{
    union amqp_method m;
    buf_append_slice(&c->out, protocol_header());
    int rc = perf_conn_wait(c, 0, AMQP_CONNECTION_START, NULL);
    if (rc < 0)
        return rc;
    append_start_ok(c, uri, o->name);
    rc = perf_conn_wait(c, 0, AMQP_CONNECTION_TUNE, &m);
    if (rc < 0)
        return rc;
    rc = tune(c, &m.connection_tune, o);
    if (rc < 0)
        return rc;
    m.connection_open = (struct amqp_connection_open){.virtual_host = slice_str(uri->vhost)};
    return perf_conn_call(c, 0, AMQP_CONNECTION_OPEN, &m, NULL);
}

static int
open_one(struct perf_conn *c, const struct perf_uri *uri, const struct perf_conn_options *o)
{
    *c = PERF_CONN_INIT;
    c->timeout_ns = (uint64_t)(o->timeout_s * 1e9);
    c->frame_max = (uint32_t)o->frame_max;
    c->in_cap = LV_MAX(o->in_cap, (size_t)PERF_CONN_IN_MIN);
    c->in = mem_alloc(c->in_cap);
    if (c->in == NULL)
        return perf_conn_fail(c, -LE_NOMEM, "out of memory");
    int rc = connect_uri(c, uri);
    if (rc == 0)
        rc = log_in(c, uri, o);
    if (rc < 0)
        perf_conn_abort(c);
    return rc;
}

int
perf_conn_open(struct perf_conn *c, const struct perf_uris *uris, size_t first,
               const struct perf_conn_options *o)
{
    LV_ASSERT(uris->count > 0);
    int rc = 0;
    for (size_t i = 0; i < uris->count; i++) {
        rc = open_one(c, &uris->items[(first + i) % uris->count], o);
        if (rc == 0)
            return 0;
    }
    return rc;
}
