// rate.c: see rate.h.
#include "src/broker/rate.h"

#include <pthread.h>
#include <stdatomic.h>
#include <uthash.h>

#include "src/base/mem.h"

enum { NS_PER_S = 1000000000 };
#define BURST_NS (UINT64_C(1000000) * RATE_BURST_MS)
// Who was held goes on when this much of the burst is free again: fewer, larger steps.
#define RESUME_NS (UINT64_C(5) * 1000000)
// LIMIT: what one may owe: a limit that is lowered under a large message does not stop a publisher for days.
#define DEBT_MAX_NS (UINT64_C(3600) * NS_PER_S)

enum { METER_MESSAGES, METER_BYTES, METER_COUNT };

struct rate_meter {
    UT_hash_handle hh;
    // Partners: charge and wait on every worker; relaxed is enough, nothing else hangs on them.
    _Atomic int64_t limit[METER_COUNT];    // a second; -1: none
    _Atomic uint64_t paid_ns[METER_COUNT]; // monotonic time up to which what was taken is paid for
    uint64_t version;                      // guarded by meters_mutex, like `users`
    uint64_t users;
    size_t key_len;
    uint8_t key[]; // scope and name
};

static pthread_mutex_t meters_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct rate_meter *meters; // guarded by meters_mutex

static struct rate_meter *
meter_new(const uint8_t *key, size_t len)
{
    struct rate_meter *m = mem_calloc(1, sizeof *m + len);
    if (m == NULL)
        return NULL;
    m->key_len = len;
    memcpy(m->key, key, len);
    atomic_init(&m->limit[METER_MESSAGES], -1);
    atomic_init(&m->limit[METER_BYTES], -1);
    HASH_ADD(hh, meters, key, len, m);
    return m;
}

static void
set_limit(struct rate_meter *m, int which, int64_t limit)
{
    if (atomic_load_explicit(&m->limit[which], memory_order_relaxed) == limit)
        return;
    atomic_store_explicit(&m->paid_ns[which], 0, memory_order_relaxed);
    atomic_store_explicit(&m->limit[which], limit, memory_order_relaxed);
}

struct rate_meter *
rate_meter_get(enum rate_scope scope, struct slice name, const struct rate_limit *limit, uint64_t version)
{
    uint8_t key[256];
    size_t len = LV_MIN(name.len, sizeof key - 1);
    struct rate_meter *m;
    key[0] = (uint8_t)scope;
    if (len > 0)
        memcpy(key + 1, name.ptr, len);
    pthread_mutex_lock(&meters_mutex);
    HASH_FIND(hh, meters, key, len + 1, m);
    if (m == NULL)
        m = meter_new(key, len + 1);
    if (m != NULL) {
        m->users++;
        if (version >= m->version) {
            m->version = version;
            set_limit(m, METER_MESSAGES, limit->messages);
            set_limit(m, METER_BYTES, limit->bytes);
        }
    }
    pthread_mutex_unlock(&meters_mutex);
    return m;
}

void
rate_meter_put(struct rate_meter *m)
{
    if (m == NULL)
        return;
    pthread_mutex_lock(&meters_mutex);
    LV_ASSERT(m->users > 0);
    bool is_last = --m->users == 0;
    if (is_last)
        HASH_DEL(meters, m);
    pthread_mutex_unlock(&meters_mutex);
    if (is_last)
        mem_free(m);
}

// How far ahead of the clock it is, in nanoseconds.
static uint64_t
debt_of(const struct rate_meter *m, int which, uint64_t now_ns)
{
    uint64_t paid_ns = atomic_load_explicit(&m->paid_ns[which], memory_order_relaxed);
    return paid_ns > now_ns ? paid_ns - now_ns : 0;
}

static bool
charge(struct rate_meter *m, int which, uint64_t now_ns, uint64_t units)
{
    int64_t limit = atomic_load_explicit(&m->limit[which], memory_order_relaxed);
    if (limit <= 0)
        return limit == 0;
    uint64_t cost_ns = units * NS_PER_S / (uint64_t)limit; // units: below 2^32, bytes of one message
    uint64_t before = atomic_load_explicit(&m->paid_ns[which], memory_order_relaxed), after;
    do {
        after = LV_MAX(before, now_ns) + cost_ns;
        after = LV_MIN(after, now_ns + DEBT_MAX_NS);
    } while (!atomic_compare_exchange_weak_explicit(&m->paid_ns[which], &before, after, memory_order_relaxed,
                                                    memory_order_relaxed));
    return after > now_ns + BURST_NS;
}

bool
rate_meter_charge(struct rate_meter *m, uint64_t now_ns, size_t bytes)
{
    bool is_over = charge(m, METER_MESSAGES, now_ns, 1);
    return charge(m, METER_BYTES, now_ns, (uint32_t)bytes) || is_over;
}

static uint64_t
wait_of(const struct rate_meter *m, int which, uint64_t now_ns)
{
    int64_t limit = atomic_load_explicit(&m->limit[which], memory_order_relaxed);
    if (limit <= 0)
        return limit == 0 ? UINT64_MAX : 0;
    uint64_t debt_ns = debt_of(m, which, now_ns);
    return debt_ns > BURST_NS - RESUME_NS ? debt_ns - (BURST_NS - RESUME_NS) : 0;
}

uint64_t
rate_meter_wait_ns(const struct rate_meter *m, uint64_t now_ns)
{
    uint64_t messages_ns = wait_of(m, METER_MESSAGES, now_ns), bytes_ns = wait_of(m, METER_BYTES, now_ns);
    return LV_MAX(messages_ns, bytes_ns);
}

void
rate_meter_describe(const struct rate_meter *m, uint64_t now_ns, struct buf *out)
{
    static const char *const units[METER_COUNT] = {"messages", "bytes"};
    int which =
        wait_of(m, METER_BYTES, now_ns) > wait_of(m, METER_MESSAGES, now_ns) ? METER_BYTES : METER_MESSAGES;
    buf_printf(out, "%lld %s/s", (long long)atomic_load_explicit(&m->limit[which], memory_order_relaxed),
               units[which]);
}
