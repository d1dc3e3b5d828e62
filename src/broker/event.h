// event.h: what happens in the broker, as messages: the exchange amq.rabbitmq.event (plugin rabbitmq_event_exchange of RabbitMQ).
//
// On when event_exchange.enabled says so; the topic exchange lies in event_exchange.vhost (the default vhost otherwise). Keys: vhost.created,
// queue.deleted, connection.closed, user.authentication.failure … (docs/compatibility.md); the facts are in the headers, named as RabbitMQ names
// them, with timestamp_in_ms and user_who_performed_action; the body is empty. Off, or with nothing bound to the exchange, an event costs
// a comparison or two. Changes of the topology are told when all workers have adopted them (topology_writer_event.c), everything else at
// once by the worker where it happens. Events of events are not made: what the broker publishes makes none.
#pragma once

#include "amqp/wire/table.h"
#include "queue/message.h"
#include "src/broker/topology.h"

#define EVENT_EXCHANGE "amq.rabbitmq.event"

// The headers of one that is being made.
struct event {
    struct buf headers;
    struct table_writer w;
};

struct event *event_begin(struct event *e); // returns e
// The message; ends e. `user`: who did it; empty: the broker itself. NULL: no memory.
LV_MUST_USE struct message *event_end(struct event *e, const char *key, struct slice user);

struct client;
struct session;
struct session_consumer;
struct broker_worker;
// All of these on the worker it happens on.
void event_connection(const struct client *c, bool is_created);
void event_channel(const struct session *s, bool is_created);
void event_consumer(const struct session *s, const struct session_consumer *c, bool is_created);
void event_alarm(struct broker_worker *b, const char *alarm, bool is_set);
struct event_login {
    struct slice user, connection, peer_host, mechanism;
    uint16_t peer_port;
    const char *error; // NULL: success
};
void event_login(struct worker *w, const struct event_login *login);
