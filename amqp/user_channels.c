// user_channels.c: a table by name under a mutex (rank: leaf), touched once at the start and end of a
// connection.
#include "amqp/user_channels.h"

#include <pthread.h>
#include <stdatomic.h>
#include <uthash.h>

#include "src/base/mem.h"

struct user_channels {
    UT_hash_handle hh;
    uint32_t refs;         // guarded by table_mutex
    _Atomic int64_t count; // partner: add and remove of all workers; only the number matters, so relaxed
    size_t name_len;
    uint8_t name[];
};

static pthread_mutex_t table_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct user_channels *table; // guarded by table_mutex

struct user_channels *
user_channels_get(struct slice user)
{
    struct user_channels *u;
    pthread_mutex_lock(&table_mutex);
    HASH_FIND(hh, table, user.ptr, user.len, u);
    if (u == NULL && (u = mem_calloc(1, sizeof *u + user.len)) != NULL) {
        u->name_len = user.len;
        if (user.len > 0)
            memcpy(u->name, user.ptr, user.len);
        HASH_ADD_KEYPTR(hh, table, u->name, u->name_len, u);
    }
    if (u != NULL)
        u->refs++;
    pthread_mutex_unlock(&table_mutex);
    return u;
}

void
user_channels_put(struct user_channels *u)
{
    if (u == NULL)
        return;
    pthread_mutex_lock(&table_mutex);
    LV_ASSERT(u->refs > 0);
    bool is_last = --u->refs == 0;
    if (is_last)
        HASH_DEL(table, u);
    pthread_mutex_unlock(&table_mutex);
    if (is_last)
        mem_free(u);
}

bool
user_channels_add(struct user_channels *u, int64_t limit)
{
    int64_t before = atomic_fetch_add_explicit(&u->count, 1, memory_order_relaxed);
    if (limit < 0 || before < limit)
        return true;
    atomic_fetch_sub_explicit(&u->count, 1, memory_order_relaxed);
    return false;
}

void
user_channels_remove(struct user_channels *u, uint32_t count)
{
    int64_t before = atomic_fetch_sub_explicit(&u->count, count, memory_order_relaxed);
    LV_ASSERT(before >= (int64_t)count);
}
