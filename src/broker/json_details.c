// json_details.c: see json_details.h.
#include "src/broker/json_details.h"

static uint64_t
sum_at(const struct json_details *d, int64_t time_ms)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < d->series_count; i++)
        sum += samples_at(d->samples, d->series[i], time_ms);
    return sum;
}

static void
put_samples(struct buf *out, const struct json_details *d, int64_t now_ms)
{
    int64_t step_ms = (int64_t)d->range.step_s * 1000, newest = now_ms / step_ms * step_ms;
    uint32_t count = d->range.age_s / d->range.step_s + 1;
    double sum = 0;
    buf_append_str(out, ",\"samples\":[");
    for (uint32_t i = 0; i < count; i++) {
        int64_t at = newest - (int64_t)i * step_ms;
        uint64_t value = sum_at(d, at);
        sum += (double)value;
        buf_printf(out, "%s{\"sample\":%llu,\"timestamp\":%lld}", i > 0 ? "," : "", (unsigned long long)value,
                   (long long)at);
    }
    int64_t oldest = newest - (int64_t)(count - 1) * step_ms;
    double change = (double)(int64_t)(sum_at(d, newest) - sum_at(d, oldest));
    double rate = count > 1 ? change * 1000.0 / (double)(newest - oldest) : 0.0;
    buf_printf(out, "],\"avg\":%.4f,\"avg_rate\":%.4f", sum / count, rate);
}

void
json_put_details(struct buf *out, const struct json_details *d, int64_t now_ms)
{
    buf_printf(out, "\"%s_details\":{\"rate\":%.1f", d->key, d->rate);
    if (d->range.step_s > 0)
        put_samples(out, d, now_ms);
    buf_append_str(out, "},");
}
