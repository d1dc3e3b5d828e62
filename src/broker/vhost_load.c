// vhost_load.c: see vhost_load.h.
#include "src/broker/vhost_load.h"

#include <pthread.h>
#include <stdatomic.h>
#include <uthash.h>

#include "src/base/mem.h"
#include "src/base/worker.h"

struct vhost_load {
    UT_hash_handle hh;
    // Partners: set and state on every worker; relaxed is enough, nothing else hangs on them.
    _Atomic int64_t limits[2];                // messages, bytes; -1: none
    _Atomic uint64_t held[2];                 // of all members
    _Atomic uint64_t of_members[CREW_MAX][2]; // each written by its member alone
    uint64_t version, users;                  // guarded by loads_mutex
    size_t name_len;
    char name[];
};

static pthread_mutex_t loads_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct vhost_load *loads; // guarded by loads_mutex

static struct vhost_load *
load_new(struct slice vhost)
{
    struct vhost_load *l = mem_calloc(1, sizeof *l + vhost.len);
    if (l == NULL)
        return NULL;
    l->name_len = vhost.len;
    if (vhost.len > 0)
        memcpy(l->name, vhost.ptr, vhost.len);
    HASH_ADD(hh, loads, name, l->name_len, l);
    return l;
}

struct vhost_load *
vhost_load_get(struct slice vhost, const struct content_limit *limit, uint64_t version)
{
    struct vhost_load *l;
    pthread_mutex_lock(&loads_mutex);
    HASH_FIND(hh, loads, vhost.ptr, vhost.len, l);
    if (l == NULL)
        l = load_new(vhost);
    if (l != NULL) {
        l->users++;
        if (version >= l->version) {
            l->version = version;
            atomic_store_explicit(&l->limits[0], limit->messages, memory_order_relaxed);
            atomic_store_explicit(&l->limits[1], limit->memory_bytes, memory_order_relaxed);
        }
    }
    pthread_mutex_unlock(&loads_mutex);
    return l;
}

void
vhost_load_put(struct vhost_load *l)
{
    if (l == NULL)
        return;
    pthread_mutex_lock(&loads_mutex);
    LV_ASSERT(l->users > 0);
    bool is_last = --l->users == 0;
    if (is_last)
        HASH_DEL(loads, l);
    pthread_mutex_unlock(&loads_mutex);
    if (is_last)
        mem_free(l);
}

void
vhost_load_set(struct vhost_load *l, int member, uint64_t messages, uint64_t memory_bytes)
{
    const uint64_t now[2] = {messages, memory_bytes};
    for (int i = 0; i < 2; i++) {
        uint64_t before = atomic_load_explicit(&l->of_members[member][i], memory_order_relaxed);
        atomic_store_explicit(&l->of_members[member][i], now[i], memory_order_relaxed);
        atomic_fetch_add_explicit(&l->held[i], now[i] - before, memory_order_relaxed); // wraps round to less
    }
}

static bool
is_over(const struct vhost_load *l, int which)
{
    int64_t limit = atomic_load_explicit(&l->limits[which], memory_order_relaxed);
    return limit >= 0 && atomic_load_explicit(&l->held[which], memory_order_relaxed) > (uint64_t)limit;
}

enum load_state
vhost_load_state(const struct vhost_load *l)
{
    return is_over(l, 0) ? LOAD_MESSAGES : is_over(l, 1) ? LOAD_MEMORY : LOAD_FINE;
}

void
vhost_load_describe(const struct vhost_load *l, enum load_state state, struct buf *out)
{
    int64_t limit = atomic_load_explicit(&l->limits[state == LOAD_MEMORY], memory_order_relaxed);
    buf_printf(out, "limit of %lld %s in vhost '%.*s' is reached", (long long)limit,
               state == LOAD_MEMORY ? "bytes of memory" : "messages", (int)l->name_len, l->name);
}
