// trace.h: the firehose: while a vhost is traced (rabbitmqctl trace_on), a copy of each message that is published in it, and of each that
// is delivered, goes to the exchange amq.rabbitmq.trace of that vhost, with the keys publish.EXCHANGE and deliver.QUEUE.
//
// Body: the message's. Headers: exchange_name, routing_keys, properties (a table), node, vhost, connection, channel, user; of a publish
// routed_queues, of a delivery redelivered (0 or 1): those of RabbitMQ 3.10 (rabbit_trace). What comes from the trace exchange itself is not
// traced, so it cannot feed itself. Without tracing, or with nothing bound to the exchange, it costs a comparison. Differences: an empty
// message is made when no queue is bound to the exchange in RabbitMQ; what would make the header too large for a frame is left out.
#pragma once

#include "src/broker/session_impl.h"

// Whether any vhost is traced. Looked up once for each change of vhosts.
bool trace_is_on_slow(struct broker_worker *b, const struct topology *t);
static inline bool
trace_is_on(struct broker_worker *b)
{
    const struct topology *t = topology_of(b->worker);
    return LV_LIKELY(t->auth_version == b->trace_version) ? b->is_tracing : trace_is_on_slow(b, t);
}

// The copy of a publish that goes to these queues; NULL: none is wanted. To be given to announce when the message was sent.
struct message *trace_publish(struct session *s, const struct vhost *v, const struct publish *p,
                              const struct queue_def *const *queues, size_t count);
// A delivery, or the answer to a get, of that queue.
void trace_deliver(struct session *s, struct slice queue, struct message *msg, bool is_redelivered);
