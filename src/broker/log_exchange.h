// log_exchange.h: lines of the log, as messages of the exchange amq.rabbitmq.log (log.exchange = true).
//
// A topic exchange, durable and internal, of the default vhost; the routing key is the level (info, warning, error …), the body the line as
// the other sinks have it; content type text/plain, a time, and header node. Whoever logs, on whatever thread, puts the line into a bounded
// list and wakes the first worker, which publishes what is there once a turn: logging never waits for the broker, nor the broker
// for a log. Lines beyond the bound are left out and counted in the next one that is not. What is logged by publishing lines is not
// published.
#pragma once

#include "src/base/log.h"
#include "src/base/slice.h"
#include "src/base/worker.h"

#define LOG_EXCHANGE "amq.rabbitmq.log"

// After broker_worker_init of that worker and topology_start, before crew_start. `vhost` has to live until the end.
void log_exchange_start(struct worker *first, struct slice vhost, enum log_level level);
// The threads have ended. Harmless without a start.
void log_exchange_stop(void);
