// api_stats.c: see api_stats.h.
#include "src/management/api_stats.h"

#include "src/base/clock.h"
#include "src/management/http_server.h"

// LIMIT: samples of one number in an answer.
enum { SAMPLES_MAX = 500 };

// --- ranges -----------------------------------------------------------------------------------------------------------------------

static bool
number_of(struct slice text, int64_t *ret)
{
    int64_t n = 0;
    if (text.len == 0 || text.len > 9)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9')
            return false;
        n = n * 10 + (text.ptr[i] - '0');
    }
    *ret = n;
    return true;
}

bool
api_take_ranges(struct api_request *r)
{
    static const char *const names[API_RANGE_COUNT][2] = {
        [API_RANGE_LENGTHS] = {"lengths_age", "lengths_incr"},
        [API_RANGE_MESSAGES] = {"msg_rates_age", "msg_rates_incr"},
        [API_RANGE_DATA] = {"data_rates_age", "data_rates_incr"},
        [API_RANGE_NODE] = {"node_stats_age", "node_stats_incr"},
    };
    for (int i = 0; i < API_RANGE_COUNT; i++) {
        int64_t age, step;
        if (!number_of(api_query_find(&r->query, names[i][0]), &age) ||
            !number_of(api_query_find(&r->query, names[i][1]), &step))
            continue; // RabbitMQ takes what is no number, and one without the other, for nothing
        if (age == 0 || step == 0 || age / step > SAMPLES_MAX) {
            api_error(r, 400, "invalid_range_parameters", "Invalid range parameters: age %lld, incr %lld",
                      (long long)age, (long long)step);
            return false;
        }
        r->ranges[i] = (struct api_range){.age_s = (uint32_t)age, .step_s = (uint32_t)step};
    }
    return true;
}

bool
api_wants_samples(const struct api_request *r)
{
    bool wants = false;
    for (int i = 0; i < API_RANGE_COUNT; i++)
        wants |= r->ranges[i].step_s > 0;
    return wants;
}

// --- sampled numbers ----------------------------------------------------------------------------------------------------------------

static uint64_t
sum_at(const struct api_sampled *s, int64_t time_ms)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < s->series_count; i++)
        sum += samples_at(s->samples, s->series[i], time_ms);
    return sum;
}

static void
put_samples(struct api_out *o, const struct api_sampled *s, const struct api_range *range)
{
    int64_t step_ms = (int64_t)range->step_s * 1000, now_ms = clock_wall_ms();
    int64_t newest = now_ms / step_ms * step_ms;
    uint32_t count = range->age_s / range->step_s + 1;
    double sum = 0;
    api_out_array(o, "samples");
    for (uint32_t i = 0; i < count; i++) {
        int64_t at = newest - (int64_t)i * step_ms;
        uint64_t value = sum_at(s, at);
        sum += (double)value;
        api_out_object(o, NULL);
        api_out_int(o, "sample", (int64_t)value);
        api_out_int(o, "timestamp", at);
        api_out_end(o);
    }
    api_out_end(o);
    int64_t oldest = newest - (int64_t)(count - 1) * step_ms;
    double change = (double)(int64_t)(sum_at(s, newest) - sum_at(s, oldest));
    api_out_double(o, "avg", sum / count);
    api_out_double(o, "avg_rate", count > 1 ? change * 1000.0 / (double)(newest - oldest) : 0.0);
}

void
api_put_sampled(struct api_request *r, struct api_out *o, const char *key, int64_t value,
                const struct api_sampled *s)
{
    char details[64];
    const struct api_range *range = &r->ranges[s->kind];
    snprintf(details, sizeof details, "%s_details", key);
    api_out_int(o, key, value);
    if (!http_server_config(r->server)->has_rates)
        return;
    api_out_object(o, details);
    api_out_double(o, "rate", s->rate);
    if (range->step_s > 0 && api_out_wants(o, "samples"))
        put_samples(o, s, range);
    api_out_end(o);
}

// --- queues -------------------------------------------------------------------------------------------------------------------------

static void
put_of_queue(struct api_request *r, struct api_out *o, const char *key, uint64_t value,
             const struct queue_request *q, struct api_sampled s)
{
    s.samples = q->samples;
    for (unsigned i = 0; i < s.series_count; i++)
        s.rate += q->stats.rates[s.series[i]];
    api_put_sampled(r, o, key, (int64_t)value, &s);
}

void
api_put_queue_length(struct api_request *r, struct api_out *o, const char *key, const struct queue_request *q)
{
    const struct queue_stats *n = &q->stats;
    struct api_sampled both = {
        .kind = API_RANGE_LENGTHS, .series = {QUEUE_SERIES_READY, QUEUE_SERIES_UNACKED}, .series_count = 2};
    struct api_sampled ready = {.kind = API_RANGE_LENGTHS, .series = {QUEUE_SERIES_READY}, .series_count = 1};
    struct api_sampled unacked = {
        .kind = API_RANGE_LENGTHS, .series = {QUEUE_SERIES_UNACKED}, .series_count = 1};
    if (strcmp(key, "messages") == 0)
        put_of_queue(r, o, key, n->ready + n->unacked, q, both);
    else if (strcmp(key, "messages_ready") == 0)
        put_of_queue(r, o, key, n->ready, q, ready);
    else
        put_of_queue(r, o, key, n->unacked, q, unacked);
}

void
api_put_queue_message_stats(struct api_request *r, struct api_out *o, const struct queue_request *q)
{
    const struct queue_stats *n = &q->stats;
    const struct {
        const char *key;
        uint64_t value;
        struct api_sampled s;
    } rows[] = {
        {"publish", n->published, {.series = {QUEUE_SERIES_PUBLISHED}, .series_count = 1}},
        {"deliver", n->delivered, {.series = {QUEUE_SERIES_DELIVERED}, .series_count = 1}},
        {"deliver_no_ack",
         n->delivered_no_ack,
         {.series = {QUEUE_SERIES_DELIVERED_NO_ACK}, .series_count = 1}},
        {"get", n->got, {.series = {QUEUE_SERIES_GOT}, .series_count = 1}},
        {"get_no_ack", n->got_no_ack, {.series = {QUEUE_SERIES_GOT_NO_ACK}, .series_count = 1}},
        {"redeliver", n->redelivered, {.series = {QUEUE_SERIES_REDELIVERED}, .series_count = 1}},
        {"ack", n->acked, {.series = {QUEUE_SERIES_ACKED}, .series_count = 1}},
    };
    uint64_t all = n->delivered + n->delivered_no_ack + n->got + n->got_no_ack;
    struct api_sampled deliver_get = {.kind = API_RANGE_MESSAGES};
    api_out_object(o, "message_stats");
    for (size_t i = 0; i < LV_ARRAY_LEN(rows); i++) {
        struct api_sampled s = rows[i].s;
        s.kind = API_RANGE_MESSAGES;
        put_of_queue(r, o, rows[i].key, rows[i].value, q, s);
    }
    deliver_get.rate = n->rates[QUEUE_SERIES_DELIVERED] + n->rates[QUEUE_SERIES_DELIVERED_NO_ACK] +
                       n->rates[QUEUE_SERIES_GOT] + n->rates[QUEUE_SERIES_GOT_NO_ACK];
    deliver_get.samples = q->samples;
    deliver_get.series[0] = QUEUE_SERIES_DELIVERED;
    deliver_get.series[1] = QUEUE_SERIES_DELIVERED_NO_ACK;
    deliver_get.series[2] = QUEUE_SERIES_GOT;
    deliver_get.series[3] = QUEUE_SERIES_GOT_NO_ACK;
    deliver_get.series_count = 4;
    api_put_sampled(r, o, "deliver_get", (int64_t)all, &deliver_get);
    api_out_end(o);
}

// --- consumers ----------------------------------------------------------------------------------------------------------------------

void
api_mark_consumer(const struct api_request *r, json_t *consumer, const struct queue_request *q,
                  bool is_single)
{
    uint64_t session = (uint64_t)json_integer_value(json_object_get(consumer, "session_handle"));
    uint64_t id = (uint64_t)json_integer_value(json_object_get(consumer, "consumer_id"));
    bool is_active = true;
    for (uint64_t i = 0; q != NULL && q->consumers != NULL && i < q->stats.consumers; i++) {
        if (q->consumers[i].session == session && q->consumers[i].consumer_id == id)
            is_active = q->consumers[i].is_active;
    }
    json_object_del(consumer, "session_handle");
    json_object_del(consumer, "consumer_id");
    json_object_set_new(json_object_get(consumer, "channel_details"), "node",
                        json_string(http_server_node(r->server)->node_name));
    json_object_set_new(consumer, "active", json_boolean(is_active));
    json_object_set_new(consumer, "activity_status",
                        json_string(!is_single  ? "up"
                                    : is_active ? "single_active"
                                                : "waiting"));
}
