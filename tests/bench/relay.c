// relay.c: the least that anything which speaks AMQP 0-9-1 must do: the yardstick of `./dev bench`.
//
// One thread, one epoll. It lets everybody in, answers every declare, bind and qos, hands each message published with a queue's
// name as its routing key to one consumer of that queue, and counts confirms. It keeps nothing: no queue (a message without a
// consumer is dropped), no acknowledgement (read and thrown away), no prefetch, no permissions, no exchanges. Nothing a broker
// must not do, and of what it must do only what touches each byte: read, find the frames, find the consumer, write a
// basic.deliver and the message's own header and body frames with another channel number, write.
//
// A consumer whose socket is full stops the reading of publishers until it has taken half of what waits for it.
//
// With --sync it is the least of a durable broker: every byte that came with publishes is written to a file, and their confirms wait for
// the fdatasync. While one group is on its way to the disk the next one gathers (relay_sync.h); messages are handed on meanwhile.
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "amqp/wire/bytes.h"
#include "amqp/wire/frame.h"
#include "amqp/wire/methods.h"
#include "amqp/wire/table.h"
#include "src/base/buf.h"
#include "src/base/mem.h"
#include "tests/bench/relay_sync.h"

enum {
    FRAME_MAX = 131072,
    IN_BYTES = 4 * FRAME_MAX,
    OUT_FULL_BYTES = 4 << 20, // waiting for one consumer: publishers are not read any more
    EVENTS = 256,
    CONFIRM_CHANNELS = 64, // LIMIT: channels of a connection with confirms
    CONSUMERS = 16,        // LIMIT: of a queue
    BUCKETS = 4096,        // of the table of queues
};

struct conn;

struct queue {
    struct queue *next, *next_in_bucket;
    struct consumer {
        struct conn *conn;
        uint16_t channel;
        uint64_t tag;       // last delivery tag
        size_t deliver_len; // bytes of `deliver`: a whole basic.deliver frame, up to date but for the tag
        size_t tag_at;      // offset of the delivery tag in it
        uint8_t deliver[1024];
    } consumers[CONSUMERS];
    size_t consumer_count, turn; // consumers[turn] is next
    size_t name_len;
    uint8_t name[255];
};

struct conn {
    struct conn *next; // of all
    int fd;
    bool is_closing;   // after what is in `out`
    bool has_header;   // the protocol header came
    bool is_out_armed; // EPOLLOUT is asked for
    struct buf out;
    size_t out_sent;
    uint8_t *in; // IN_BYTES, of connections that published or sent half a frame
    size_t in_len;
    struct queue *target; // of the publish whose frames are coming
    uint16_t target_channel;
    uint64_t body_left; // UINT64_MAX: its header is yet to come
    struct {
        uint16_t channel;
        uint64_t count, told;      // published; confirmed
        uint64_t writing, durable; // with --sync: up to here in the group on its way; on disk
    } confirms[CONFIRM_CHANNELS];
    size_t confirm_count;
    bool has_published; // in this read
};

static struct relay {
    int epoll_fd, listen_fd;
    struct conn *conns;
    struct queue *queues, *last; // last: found for the message before
    struct queue *buckets[BUCKETS];
    struct relay_sync *sync; // NULL: nothing is written
    struct conn *full;       // its `out` is full; NULL: publishers are read
    uint64_t consumer_names;
    uint8_t scratch[IN_BYTES];
} relay;

static void
die(const char *what)
{
    fprintf(stderr, "relay: %s: %s\n", what, strerror(errno));
    exit(1);
}

static struct queue **
bucket_of(struct slice name)
{
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < name.len; i++)
        hash = (hash ^ name.ptr[i]) * 16777619u;
    return &relay.buckets[(hash ^ hash >> 15) % BUCKETS];
}

static struct queue *
queue_get(struct slice name)
{
    struct queue *q = relay.last;
    if (LV_LIKELY(q != NULL && q->name_len == name.len && memcmp(q->name, name.ptr, name.len) == 0))
        return q;
    for (q = *bucket_of(name); q != NULL; q = q->next_in_bucket)
        if (q->name_len == name.len && memcmp(q->name, name.ptr, name.len) == 0)
            return relay.last = q;
    return NULL;
}

static void
queue_add(struct slice name)
{
    if (queue_get(name) != NULL)
        return;
    struct queue *q = mem_xcalloc(1, sizeof *q);
    struct queue **bucket = bucket_of(name);
    q->name_len = name.len;
    memcpy(q->name, name.ptr, name.len);
    q->next = relay.queues;
    relay.queues = q;
    q->next_in_bucket = *bucket;
    *bucket = q;
}

static void
conn_arm(struct conn *c)
{
    bool is_writing = c->out_sent < c->out.len;
    bool is_reading = relay.full == NULL || c->target == NULL; // consumers are always read
    struct epoll_event e = {.events =
                                (is_reading ? (uint32_t)EPOLLIN : 0) | (is_writing ? (uint32_t)EPOLLOUT : 0),
                            .data.ptr = c};
    c->is_out_armed = is_writing;
    epoll_ctl(relay.epoll_fd, EPOLL_CTL_MOD, c->fd, &e);
}

static void
arm_all(void)
{
    for (struct conn *c = relay.conns; c != NULL; c = c->next)
        conn_arm(c);
}

static void
conn_free(struct conn *c)
{
    for (struct queue *q = relay.queues; q != NULL; q = q->next)
        for (size_t i = q->consumer_count; i-- > 0;)
            if (q->consumers[i].conn == c) {
                q->consumers[i] = q->consumers[--q->consumer_count];
                q->turn = 0;
            }
    for (struct conn **p = &relay.conns; *p != NULL; p = &(*p)->next)
        if (*p == c) {
            *p = c->next;
            break;
        }
    close(c->fd);
    buf_fini(&c->out);
    mem_free(c->in);
    if (relay.full == c) {
        relay.full = NULL;
        arm_all();
    }
    mem_free(c);
}

// Writes what the socket takes. False: the connection is gone.
static bool
conn_flush(struct conn *c)
{
    while (c->out_sent < c->out.len) {
        ssize_t n = send(c->fd, c->out.ptr + c->out_sent, c->out.len - c->out_sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN)
            break;
        if (n < 0)
            return false;
        c->out_sent += (size_t)n;
    }
    size_t left = c->out.len - c->out_sent;
    if (left == 0) {
        buf_reset(&c->out);
        c->out_sent = 0;
        if (c->is_closing)
            return false;
    } else if (c->out_sent > OUT_FULL_BYTES / 2) {
        buf_drop_front(&c->out, c->out_sent);
        c->out_sent = 0;
    }
    bool was_full = relay.full == c;
    if (left > OUT_FULL_BYTES && relay.full == NULL)
        relay.full = c;
    else if (was_full && left < OUT_FULL_BYTES / 2)
        relay.full = NULL;
    if (was_full != (relay.full == c))
        arm_all();
    else if ((left > 0) != c->is_out_armed)
        conn_arm(c);
    return true;
}

// --- methods that are not publish ---

static void
send_start(struct conn *c)
{
    struct buf properties = BUF_INIT;
    struct table_writer w = table_writer_of(&properties);
    table_put_str(&w, SLICE_LIT("product"), "relay");
    amqp_frame_connection_start(&c->out, 0,
                                &(struct amqp_connection_start){.version_major = 0,
                                                                .version_minor = 9,
                                                                .server_properties = buf_slice(&properties),
                                                                .mechanisms = SLICE_LIT("PLAIN"),
                                                                .locales = SLICE_LIT("en_US")});
    buf_fini(&properties);
}

static void
on_consume(struct conn *c, uint16_t channel, struct slice args)
{
    struct amqp_basic_consume m;
    if (amqp_decode_basic_consume(args, &m) < 0)
        return;
    queue_add(m.queue);
    struct queue *q = queue_get(m.queue);
    char made[40]; // as long as a broker's
    struct slice tag = m.consumer_tag;
    if (tag.len == 0)
        tag = slice_of(made, (size_t)snprintf(made, sizeof made, "amq.ctag-%022llu",
                                              (unsigned long long)++relay.consumer_names));
    if (!m.nowait)
        amqp_frame_basic_consume_ok(&c->out, channel, &(struct amqp_basic_consume_ok){.consumer_tag = tag});
    if (q->consumer_count == CONSUMERS)
        return;
    struct consumer *k = &q->consumers[q->consumer_count++];
    struct buf frame = BUF_INIT;
    amqp_frame_basic_deliver(
        &frame, channel,
        &(struct amqp_basic_deliver){.consumer_tag = tag, .routing_key = slice_of(q->name, q->name_len)});
    k->conn = c;
    k->channel = channel;
    k->tag = 0;
    k->deliver_len = frame.len;
    k->tag_at = FRAME_HEADER_SIZE + 4 + 1 + tag.len;
    memcpy(k->deliver, frame.ptr, frame.len);
    buf_fini(&frame);
}

static void
on_declare(struct conn *c, uint16_t channel, struct slice args)
{
    struct amqp_queue_declare m;
    if (amqp_decode_queue_declare(args, &m) < 0)
        return;
    queue_add(m.queue);
    if (!m.nowait)
        amqp_frame_queue_declare_ok(&c->out, channel, &(struct amqp_queue_declare_ok){.queue = m.queue});
}

static void
on_confirm_select(struct conn *c, uint16_t channel)
{
    if (c->confirm_count < CONFIRM_CHANNELS) {
        memset(&c->confirms[c->confirm_count], 0, sizeof c->confirms[0]);
        c->confirms[c->confirm_count++].channel = channel;
    }
    amqp_frame_confirm_select_ok(&c->out, channel);
}

static void
on_method(struct conn *c, uint16_t channel, uint32_t id, struct slice args)
{
    const struct amqp_method_info *info = amqp_method_info(id);
    static const union amqp_method nothing;
    switch (id) {
    case AMQP_CONNECTION_START_OK:
        amqp_frame_connection_tune(
            &c->out, 0, &(struct amqp_connection_tune){.channel_max = 2047, .frame_max = FRAME_MAX});
        break;
    case AMQP_CONNECTION_CLOSE:
        amqp_frame_connection_close_ok(&c->out, 0);
        c->is_closing = true;
        break;
    case AMQP_CHANNEL_CLOSE:
        for (size_t i = 0; i < c->confirm_count; i++)
            if (c->confirms[i].channel == channel)
                c->confirms[i] = c->confirms[--c->confirm_count];
        amqp_frame_channel_close_ok(&c->out, channel);
        break;
    case AMQP_QUEUE_DECLARE: on_declare(c, channel, args); break;
    case AMQP_BASIC_CONSUME: on_consume(c, channel, args); break;
    case AMQP_CONFIRM_SELECT: on_confirm_select(c, channel); break;
    case AMQP_BASIC_GET: amqp_frame_basic_get_empty(&c->out, channel); break;
    default:
        // Everything else that waits for an answer gets its emptiest one; the rest (acks, tune-ok) is thrown away.
        if (info != NULL && info->is_sync && info->answers[0] != 0)
            amqp_method_frame(&c->out, channel, info->answers[0], &nothing);
        break;
    }
}

// --- messages ---

static void
count_confirm(struct conn *c, uint16_t channel)
{
    for (size_t i = 0; i < c->confirm_count; i++)
        if (c->confirms[i].channel == channel)
            c->confirms[i].count++;
}

static void
send_confirms(struct conn *c)
{
    for (size_t i = 0; i < c->confirm_count; i++) {
        uint64_t due = relay.sync != NULL ? c->confirms[i].durable : c->confirms[i].count;
        if (due == c->confirms[i].told)
            continue;
        c->confirms[i].told = due;
        amqp_frame_basic_ack(&c->out, c->confirms[i].channel,
                             &(struct amqp_basic_ack){.delivery_tag = due, .multiple = true});
    }
}

// basic.publish at p: the queue its routing key names, which the next frames are for.
static void
on_publish(struct conn *c, const uint8_t *p, uint32_t size)
{
    struct wire_reader r = wire_reader_of(slice_of(p + FRAME_HEADER_SIZE + 6, size - 6));
    (void)wire_read_shortstr(&r);
    struct slice key = wire_read_shortstr(&r);
    c->target = r.is_bad ? NULL : queue_get(key);
    c->target_channel = wire_get_u16(p + 1);
    c->body_left = UINT64_MAX;
    c->has_published = true;
    if (c->confirm_count != 0)
        count_confirm(c, c->target_channel);
}

// A header or body frame, whole, goes to the queue's consumer whose turn it is.
static void
on_content(struct conn *c, uint8_t *p, size_t total)
{
    bool is_header = c->body_left == UINT64_MAX;
    if (is_header)
        c->body_left = wire_get_u64(p + 11);
    else
        c->body_left -= LV_MIN(c->body_left, (uint64_t)(total - FRAME_OVERHEAD));
    struct queue *q = c->target;
    if (q == NULL || q->consumer_count == 0)
        return;
    struct consumer *k = &q->consumers[q->turn];
    struct buf *out = &k->conn->out;
    if (is_header) {
        wire_put_u64(k->deliver + k->tag_at, ++k->tag);
        buf_append(out, k->deliver, k->deliver_len);
    }
    wire_put_u16(p + 1, k->channel);
    buf_append(out, p, total);
    if (c->body_left == 0 && ++q->turn >= q->consumer_count)
        q->turn = 0;
}

// A message of one header frame and one body frame behind each other, which nearly all are: one copy.
static bool
on_small_message(struct conn *c, uint8_t *p, size_t avail, size_t *ret_total)
{
    struct queue *q = c->target;
    size_t header = (size_t)wire_get_u32(p + 3) + FRAME_OVERHEAD;
    if (q == NULL || q->consumer_count == 0 || avail < header + FRAME_OVERHEAD || p[0] != FRAME_HEADER)
        return false;
    uint8_t *body = p + header;
    uint32_t size = wire_get_u32(body + 3);
    size_t total = header + size + FRAME_OVERHEAD;
    if (avail < total || wire_get_u64(p + 11) != size || body[0] != FRAME_BODY)
        return false;
    struct consumer *k = &q->consumers[q->turn];
    struct buf *out = &k->conn->out;
    wire_put_u16(p + 1, k->channel);
    wire_put_u16(body + 1, k->channel);
    if (out->cap - out->len < k->deliver_len + total && !buf_reserve(out, k->deliver_len + total))
        return false;
    memcpy(out->ptr + out->len, k->deliver, k->deliver_len);
    wire_put_u64(out->ptr + out->len + k->tag_at, ++k->tag);
    memcpy(out->ptr + out->len + k->deliver_len, p, total);
    out->len += k->deliver_len + total;
    if (++q->turn >= q->consumer_count)
        q->turn = 0;
    c->body_left = 0;
    *ret_total = total;
    return true;
}

// All whole frames; returns the bytes used, or SIZE_MAX when this is not AMQP.
static size_t
on_input(struct conn *c, uint8_t *in, size_t len)
{
    size_t pos = 0;
    if (!c->has_header) {
        if (len < PROTOCOL_HEADER_SIZE)
            return 0;
        if (protocol_header_parse(in, len) != PROTOCOL_0_9_1)
            return SIZE_MAX;
        c->has_header = true;
        send_start(c);
        pos = PROTOCOL_HEADER_SIZE;
    }
    while (len - pos >= FRAME_OVERHEAD) {
        uint8_t *p = in + pos;
        uint32_t size = wire_get_u32(p + 3);
        size_t total = (size_t)size + FRAME_OVERHEAD;
        if (size > FRAME_MAX - FRAME_OVERHEAD)
            return SIZE_MAX;
        if (len - pos < total)
            break;
        if (p[total - 1] != FRAME_END)
            return SIZE_MAX;
        uint32_t id = p[0] == FRAME_METHOD && size >= 4 ? wire_get_u32(p + FRAME_HEADER_SIZE) : 0;
        if (LV_LIKELY(id == AMQP_BASIC_PUBLISH && size >= 9)) {
            on_publish(c, p, size);
            size_t message = 0;
            if (on_small_message(c, p + total, len - pos - total, &message))
                total += message;
        } else if (id != 0) {
            on_method(c, wire_get_u16(p + 1), id, slice_of(p + FRAME_HEADER_SIZE + 4, size - 4));
        } else if (p[0] == FRAME_BODY || (p[0] == FRAME_HEADER && size >= 14)) {
            on_content(c, p, total);
        }
        pos += total;
    }
    return pos;
}

// --- the loop ---

static bool
conn_read(struct conn *c)
{
    // What was left of a frame lies in c->in; a connection without one reads into the common buffer.
    uint8_t *in = relay.scratch;
    if (c->in_len > 0)
        memcpy(in, c->in, c->in_len);
    ssize_t n = recv(c->fd, in + c->in_len, IN_BYTES - c->in_len, 0);
    if (n <= 0)
        return n < 0 && errno == EAGAIN;
    bool was_inside = c->body_left != 0; // of a message that began in an earlier read
    size_t len = c->in_len + (size_t)n, used = on_input(c, in, len);
    if (used == SIZE_MAX)
        return false;
    if (relay.sync != NULL && (c->has_published || was_inside) && used > 0)
        relay_sync_add(relay.sync, in, used);
    c->has_published = false;
    c->in_len = len - used;
    if (c->in_len > 0) {
        if (c->in == NULL)
            c->in = mem_xalloc(IN_BYTES);
        memcpy(c->in, in + used, c->in_len);
    }
    send_confirms(c);
    return true;
}

// Between two rounds: what is on disk is confirmed, and what gathered goes there.
static void
sync_turn(void)
{
    if (relay_sync_is_done(relay.sync)) {
        for (struct conn *c = relay.conns; c != NULL; c = c->next) {
            for (size_t i = 0; i < c->confirm_count; i++)
                c->confirms[i].durable = c->confirms[i].writing;
            send_confirms(c);
        }
    }
    if (relay_sync_start(relay.sync))
        for (struct conn *c = relay.conns; c != NULL; c = c->next)
            for (size_t i = 0; i < c->confirm_count; i++) {
                bool is_half = c->body_left != 0 && c->confirms[i].channel == c->target_channel;
                c->confirms[i].writing = c->confirms[i].count - is_half;
            }
}

// Whoever got something in this round; there are few consumers, and most rounds touch one.
static void
flush_consumers(void)
{
    for (struct conn *c = relay.conns, *next; c != NULL; c = next) {
        next = c->next;
        if (c->out.len > c->out_sent && !c->is_out_armed && !conn_flush(c))
            conn_free(c);
    }
}

static void
accept_all(void)
{
    int fd, one = 1;
    while ((fd = accept4(relay.listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct conn *c = mem_xcalloc(1, sizeof *c);
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        c->fd = fd;
        c->next = relay.conns;
        relay.conns = c;
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
        if (epoll_ctl(relay.epoll_fd, EPOLL_CTL_ADD, fd, &e) != 0)
            die("epoll_ctl");
    }
}

static void
listen_on(uint16_t port)
{
    int one = 1;
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    relay.listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    relay.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (relay.listen_fd < 0 || relay.epoll_fd < 0)
        die("socket");
    setsockopt(relay.listen_fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(relay.listen_fd, (struct sockaddr *)&a, sizeof a) != 0 || listen(relay.listen_fd, 1024) != 0)
        die("listening");
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(relay.epoll_fd, EPOLL_CTL_ADD, relay.listen_fd, &e);
}

static void
run_loop(void)
{
    static char is_sync; // its address in data.ptr
    if (relay.sync != NULL) {
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = &is_sync};
        epoll_ctl(relay.epoll_fd, EPOLL_CTL_ADD, relay_sync_fd(relay.sync), &e);
    }
    for (;;) {
        struct epoll_event events[EVENTS];
        int n = epoll_wait(relay.epoll_fd, events, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            struct conn *c = events[i].data.ptr;
            if (c == NULL) {
                accept_all();
                continue;
            }
            if (events[i].data.ptr == &is_sync)
                continue; // see sync_turn
            bool is_alive = true;
            if ((events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0)
                is_alive = conn_read(c);
            if (is_alive && (events[i].events & EPOLLOUT) != 0)
                is_alive = conn_flush(c);
            if (!is_alive)
                conn_free(c);
        }
        if (relay.sync != NULL)
            sync_turn();
        flush_consumers();
    }
}

int
main(int argc, char **argv)
{
    bool is_sync = argc == 5 && strcmp(argv[2], "--sync") == 0;
    unsigned long port = argc == 2 || is_sync ? strtoul(argv[1], NULL, 10) : 0;
    unsigned long ring_mib = is_sync ? strtoul(argv[4], NULL, 10) : 0;
    if (port == 0 || port > UINT16_MAX || (is_sync && (ring_mib < 1 || ring_mib > 65536))) {
        fputs("usage: relay PORT [--sync FILE MIB]\n"
              "Listens on 127.0.0.1 until it is killed. With --sync what is published is written round and "
              "round a FILE of so\n"
              "many MiB, and confirmed after an fdatasync.\n",
              stderr);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    if (is_sync)
        relay.sync = relay_sync_new(argv[3], (uint64_t)ring_mib << 20);
    listen_on((uint16_t)port);
    printf("relay on 127.0.0.1:%lu, pid %d\n", port, (int)getpid());
    fflush(stdout);
    run_loop();
}
