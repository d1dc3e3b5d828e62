// api_stats.h: numbers with their rates and histories, and consumers, as several parts of the API show them.
//
// "messages":5,"messages_details":{"rate":0.2}: with ?lengths_age=60&lengths_incr=5 (msg_rates_, data_rates_ for other kinds) the
// details hold samples, newest first, their average and the average rate.
#pragma once

#include "src/base/samples.h"
#include "src/management/api.h"

// Reads the ages and steps of the query into r->ranges. False after answering 400.
LV_MUST_USE bool api_take_ranges(struct api_request *r);
bool api_wants_samples(const struct api_request *r);

// A number that was sampled. `kind` says which of the ranges it follows; NULL samples: none are kept.
struct api_sampled {
    const struct samples *samples;
    unsigned series[4]; // added up
    unsigned series_count;
    double rate;
    enum api_range_kind kind;
};
void api_put_sampled(struct api_request *r, struct api_out *o, const char *key, int64_t value,
                     const struct api_sampled *s);
// A count of a queue: messages there are (length), or messages that came and went (rate).
void api_put_queue_length(struct api_request *r, struct api_out *o, const char *key,
                          const struct queue_request *q);
void api_put_queue_message_stats(struct api_request *r, struct api_out *o, const struct queue_request *q);

// --- exchanges (api_exchange_stats.c) -------------------------------------------------------------------------------------------

// Takes what all workers have counted now, of all exchanges or of one, then calls `then` (r->has_failed: there was no memory for it).
void api_take_exchange_stats(struct api_request *r, void (*then)(struct api_request *r));
void api_take_exchange_stats_of(struct api_request *r, uint64_t id, void (*then)(struct api_request *r));
// "message_stats" as of then; nothing where nothing was counted.
void api_put_exchange_stats(struct api_request *r, struct api_out *o, uint64_t id);

// --- totals of the node and its vhosts (api_totals.c) ---------------------------------------------------------------------------

// Adds up what all workers know now, then calls `then` (r->has_failed: there was no memory for it).
void api_take_totals(struct api_request *r, void (*then)(struct api_request *r));
void api_put_vhost_totals(struct api_request *r, struct api_out *o, struct slice vhost);
// Somebody looks at the node: its samples (NULL: none yet), which are taken from now on.
const struct samples *api_look_at_node(struct api_request *r);
struct api_object_counts {
    uint64_t exchanges, queues, vhosts, users;
};
void api_put_node_totals(struct api_request *r, struct api_out *o, const struct api_object_counts *counts);

// --- the node's own numbers (api_node_stats.c) ----------------------------------------------------------------------------------

void api_node_sample(const struct api_server *s, struct samples **samples, int64_t now_ms);
void api_put_churn(struct api_request *r,
                   struct api_out *o); // "channel_created":… into the object that is open
void api_put_node_use(struct api_request *r, struct api_out *o); // "mem_used", "io_read_count" … with details

// Completes a consumer as a session listed it (its handles go), by what the queue says of it.
void api_mark_consumer(const struct api_request *r, json_t *consumer, const struct queue_request *q,
                       bool is_single);
