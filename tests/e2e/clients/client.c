// The flows of flows.md (without publish/subscribe's second subscriber) with rabbitmq-c. Usage: client HOST PORT USER PASSWORD
#include <amqp.h>
#include <amqp_tcp_socket.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static amqp_connection_state_t conn;

static void
check(bool condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "failed: %s\n", what);
        exit(1);
    }
}

static void
check_reply(const char *what)
{
    amqp_rpc_reply_t reply = amqp_get_rpc_reply(conn);
    if (reply.reply_type == AMQP_RESPONSE_SERVER_EXCEPTION && reply.reply.id == AMQP_CHANNEL_CLOSE_METHOD) {
        amqp_channel_close_t *close = reply.reply.decoded;
        fprintf(stderr, "%d %.*s\n", close->reply_code, (int)close->reply_text.len,
                (char *)close->reply_text.bytes);
    }
    check(reply.reply_type == AMQP_RESPONSE_NORMAL, what);
}

static bool
is_text(amqp_bytes_t bytes, const char *text)
{
    return bytes.len == strlen(text) && memcmp(bytes.bytes, text, bytes.len) == 0;
}

static void
publish(amqp_channel_t channel, const char *exchange, const char *key, bool mandatory,
        amqp_basic_properties_t *props, amqp_bytes_t body)
{
    check(amqp_basic_publish(conn, channel, amqp_cstring_bytes(exchange), amqp_cstring_bytes(key), mandatory,
                             0, props, body) == 0,
          "publish");
}

static void
open_channel(amqp_channel_t channel)
{
    amqp_channel_open(conn, channel);
    check_reply("channel.open");
}

// The next method frame on any channel.
static amqp_frame_t
next_method(void)
{
    amqp_frame_t frame;
    struct timeval limit = {.tv_sec = 20};
    do
        check(amqp_simple_wait_frame_noblock(conn, &frame, &limit) == AMQP_STATUS_OK, "a frame within 20 s");
    while (frame.frame_type != AMQP_FRAME_METHOD);
    return frame;
}

static amqp_envelope_t
next_delivery(void)
{
    amqp_envelope_t envelope;
    struct timeval limit = {.tv_sec = 20};
    amqp_maybe_release_buffers(conn);
    amqp_rpc_reply_t reply = amqp_consume_message(conn, &envelope, &limit, 0);
    check(reply.reply_type == AMQP_RESPONSE_NORMAL, "a delivery within 20 s");
    return envelope;
}

static void
consume(amqp_channel_t channel, amqp_bytes_t queue, const char *tag, bool no_ack)
{
    amqp_basic_consume(conn, channel, queue, amqp_cstring_bytes(tag), 0, no_ack, 0, amqp_empty_table);
    check_reply("basic.consume");
}

static void
work_queue(void)
{
    char text[16];
    amqp_basic_properties_t props = {._flags = AMQP_BASIC_DELIVERY_MODE_FLAG, .delivery_mode = 2};
    open_channel(1);
    amqp_confirm_select(conn, 1);
    check_reply("confirm.select");
    amqp_queue_declare(conn, 1, amqp_cstring_bytes("e2e.c.work"), 0, 1, 0, 0, amqp_empty_table);
    check_reply("queue.declare");
    for (int i = 0; i < 1000; i++) {
        snprintf(text, sizeof(text), "%d", i);
        publish(1, "", "e2e.c.work", false, &props, amqp_cstring_bytes(text));
    }
    for (uint64_t confirmed = 0; confirmed < 1000;) {
        amqp_frame_t frame = next_method();
        check(frame.payload.method.id == AMQP_BASIC_ACK_METHOD, "basic.ack");
        amqp_basic_ack_t *ack = frame.payload.method.decoded;
        confirmed = ack->multiple ? ack->delivery_tag : confirmed + 1;
    }
    open_channel(2);
    amqp_basic_qos(conn, 2, 0, 10, 0);
    check_reply("basic.qos");
    consume(2, amqp_cstring_bytes("e2e.c.work"), "worker", false);
    for (int i = 0; i < 1000; i++) {
        amqp_envelope_t envelope = next_delivery();
        snprintf(text, sizeof(text), "%d", i);
        check(is_text(envelope.message.body, text), "order");
        check(amqp_basic_ack(conn, 2, envelope.delivery_tag, 0) == 0, "ack");
        amqp_destroy_envelope(&envelope);
    }
    amqp_queue_delete(conn, 1, amqp_cstring_bytes("e2e.c.work"), 0, 0);
    check_reply("queue.delete");
}

static amqp_bytes_t
own_queue(amqp_channel_t channel)
{
    amqp_queue_declare_ok_t *ok =
        amqp_queue_declare(conn, channel, amqp_empty_bytes, 0, 0, 1, 0, amqp_empty_table);
    check_reply("queue.declare");
    return amqp_bytes_malloc_dup(ok->queue);
}

static void
publish_subscribe(void)
{
    static const char *const keys[] = {"db.error", "web.access", "web.error", "db.info"};
    open_channel(3);
    amqp_exchange_declare(conn, 3, amqp_cstring_bytes("e2e.c.topic"), amqp_cstring_bytes("topic"), 0, 0, 1, 0,
                          amqp_empty_table);
    check_reply("exchange.declare");
    amqp_bytes_t queue = own_queue(3);
    amqp_queue_bind(conn, 3, queue, amqp_cstring_bytes("e2e.c.topic"), amqp_cstring_bytes("*.error"),
                    amqp_empty_table);
    check_reply("queue.bind");
    for (int i = 0; i < 4; i++)
        publish(3, "e2e.c.topic", keys[i], false, NULL, amqp_cstring_bytes(keys[i]));
    consume(3, queue, "subscriber", true);
    for (int i = 0; i < 4; i += 2) {
        amqp_envelope_t envelope = next_delivery();
        check(is_text(envelope.message.body, keys[i]) && is_text(envelope.routing_key, keys[i]),
              "subscriber");
        amqp_destroy_envelope(&envelope);
    }
    amqp_bytes_free(queue);
}

static void
rpc(void)
{
    open_channel(4);
    open_channel(5);
    amqp_bytes_t requests = own_queue(4);
    char *queue = strndup(requests.bytes, requests.len);
    consume(4, requests, "server", true);
    consume(5, amqp_cstring_bytes("amq.rabbitmq.reply-to"), "client", true);
    for (int i = 0; i < 20; i++) {
        amqp_basic_properties_t props = {._flags = AMQP_BASIC_REPLY_TO_FLAG,
                                         .reply_to = amqp_cstring_bytes("amq.rabbitmq.reply-to")};
        publish(5, "", queue, false, &props, amqp_cstring_bytes("question"));
        amqp_envelope_t question = next_delivery();
        check(question.channel == 4 && is_text(question.message.body, "question"), "question");
        amqp_bytes_t to = question.message.properties.reply_to;
        check(amqp_basic_publish(conn, 4, amqp_empty_bytes, to, 0, 0, NULL, amqp_cstring_bytes("answer")) ==
                  0,
              "answering");
        amqp_envelope_t answer = next_delivery();
        check(answer.channel == 5 && is_text(answer.message.body, "answer"), "answer");
        amqp_destroy_envelope(&question);
        amqp_destroy_envelope(&answer);
    }
    free(queue);
    amqp_bytes_free(requests);
}

static void
sizes(void)
{
    static const size_t lengths[] = {0, 1, 131063, 131064, 131065, 3u << 20};
    open_channel(6);
    amqp_bytes_t queue = own_queue(6);
    char *name = strndup(queue.bytes, queue.len);
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        amqp_bytes_t body = amqp_bytes_malloc(lengths[i] ? lengths[i] : 1);
        body.len = lengths[i];
        memset(body.bytes, 'z', body.len);
        publish(6, "", name, false, NULL, body);
        amqp_rpc_reply_t reply = amqp_basic_get(conn, 6, queue, 1);
        check(reply.reply_type == AMQP_RESPONSE_NORMAL && reply.reply.id == AMQP_BASIC_GET_OK_METHOD,
              "get-ok");
        amqp_message_t message;
        reply = amqp_read_message(conn, 6, &message, 0);
        check(reply.reply_type == AMQP_RESPONSE_NORMAL, "reading the message");
        check(message.body.len == body.len && memcmp(message.body.bytes, body.bytes, body.len) == 0, "body");
        amqp_destroy_message(&message);
        amqp_bytes_free(body);
    }
    free(name);
    amqp_bytes_free(queue);
}

static void
returns_and_errors(void)
{
    open_channel(7);
    publish(7, "amq.direct", "nowhere", true, NULL, amqp_cstring_bytes("x"));
    amqp_frame_t frame = next_method();
    check(frame.payload.method.id == AMQP_BASIC_RETURN_METHOD, "basic.return");
    check(((amqp_basic_return_t *)frame.payload.method.decoded)->reply_code == 312, "code of the return");
    amqp_message_t message;
    check(amqp_read_message(conn, 7, &message, 0).reply_type == AMQP_RESPONSE_NORMAL,
          "content of the return");
    amqp_destroy_message(&message);
    amqp_queue_declare(conn, 7, amqp_cstring_bytes("nosuch-queue"), 1, 0, 0, 0, amqp_empty_table);
    amqp_rpc_reply_t reply = amqp_get_rpc_reply(conn);
    check(reply.reply_type == AMQP_RESPONSE_SERVER_EXCEPTION && reply.reply.id == AMQP_CHANNEL_CLOSE_METHOD,
          "channel.close");
    check(((amqp_channel_close_t *)reply.reply.decoded)->reply_code == 404, "code of a missing queue");
    amqp_channel_close_ok_t close_ok = {0};
    check(amqp_send_method(conn, 7, AMQP_CHANNEL_CLOSE_OK_METHOD, &close_ok) == 0, "close-ok");
    open_channel(7);
}

int
main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } flows[] = {{"work_queue", work_queue},
                 {"publish_subscribe", publish_subscribe},
                 {"rpc", rpc},
                 {"sizes", sizes},
                 {"returns_and_errors", returns_and_errors}};
    check(argc == 5, "usage: client HOST PORT USER PASSWORD");
    conn = amqp_new_connection();
    amqp_socket_t *socket = amqp_tcp_socket_new(conn);
    check(socket && amqp_socket_open(socket, argv[1], atoi(argv[2])) == 0, "connect");
    amqp_rpc_reply_t login = amqp_login(conn, "/", 0, 131072, 0, AMQP_SASL_METHOD_PLAIN, argv[3], argv[4]);
    check(login.reply_type == AMQP_RESPONSE_NORMAL, "login");
    for (size_t i = 0; i < sizeof(flows) / sizeof(flows[0]); i++) {
        flows[i].run();
        printf("ok %s\n", flows[i].name);
    }
    check(amqp_connection_close(conn, AMQP_REPLY_SUCCESS).reply_type == AMQP_RESPONSE_NORMAL,
          "connection.close");
    amqp_destroy_connection(conn);
    return 0;
}
