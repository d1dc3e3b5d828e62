// client.c: connections without a wire: opening a vhost, limits, alarms, closing.
//
// Connection counts of vhosts and users are kept for the whole process in one small table under a mutex (rank: leaf): opening
// and closing a connection is the only place that touches it.
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <uthash.h>

#include "src/base/clock.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/broker/event.h"
#include "src/broker/session_impl.h"

struct open_count {
    UT_hash_handle hh;
    int64_t count;
    size_t key_len;
    uint8_t key[]; // 'v' or 'u' and the name
};

static pthread_mutex_t counts_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct open_count *counts; // guarded by counts_mutex
// Partner: none; only uniqueness matters.
static _Atomic uint64_t last_client_id;

// Adds `delta` to the count of a vhost or user, unless it would pass `limit` (-1: none).
static int
count_add(char kind, struct slice name, int delta, int64_t limit)
{
    uint8_t key[256];
    size_t len = LV_MIN(name.len, sizeof key - 1);
    key[0] = (uint8_t)kind;
    memcpy(key + 1, name.ptr, len);
    len++;
    int result = 0;
    pthread_mutex_lock(&counts_mutex);
    struct open_count *entry;
    HASH_FIND(hh, counts, key, len, entry);
    if (entry == NULL && delta > 0) {
        entry = mem_calloc(1, sizeof(*entry) + len);
        if (entry == NULL) {
            result = -LE_NOMEM;
            goto out;
        }
        entry->key_len = len;
        memcpy(entry->key, key, len);
        HASH_ADD(hh, counts, key, len, entry);
    }
    if (entry == NULL)
        goto out;
    if (delta > 0 && limit >= 0 && entry->count >= limit)
        result = -LE_LIMIT;
    else
        entry->count += delta;
    if (entry->count <= 0) {
        HASH_DEL(counts, entry);
        mem_free(entry);
    }
out:
    pthread_mutex_unlock(&counts_mutex);
    return result;
}

// In RabbitMQ's order: the vhost, its limit, the user's limit, the permission. Counts the connection when it is true.
static bool
open_check(struct worker *w, const struct client_args *args, const struct vhost **ret_vhost, struct fault *f)
{
    const struct topology *t = topology_of(w);
    const struct vhost *v = topology_vhost(t, args->vhost);
    const struct user *u = topology_user(t, args->user);
    if (v == NULL) {
        fault_set(f, FAULT_NOT_ALLOWED, "vhost %.*s not found", SLICE_FMT(args->vhost));
        return false;
    }
    int64_t user_limit = u != NULL ? u->max_connections : -1;
    int err = count_add('v', args->vhost, 1, v->max_connections);
    if (err == -LE_LIMIT) {
        fault_set(f, FAULT_NOT_ALLOWED,
                  "access to vhost '%.*s' refused for user '%.*s': connection limit (%" PRId64 ") is reached",
                  SLICE_FMT(args->vhost), SLICE_FMT(args->user), v->max_connections);
        f->reason = REASON_REFUSED_VHOST_CONNECTIONS;
        return false;
    }
    if (err == 0 && (err = count_add('u', args->user, 1, user_limit)) != 0) {
        count_add('v', args->vhost, -1, -1);
        if (err == -LE_LIMIT) {
            fault_set(f, FAULT_NOT_ALLOWED,
                      "connection refused for user '%.*s': user connection limit (%" PRId64 ") is reached",
                      SLICE_FMT(args->user), user_limit);
            f->reason = REASON_REFUSED_USER_CONNECTIONS;
            return false;
        }
    }
    if (err != 0) {
        fault_set(f, FAULT_RESOURCE_ERROR, "out of memory");
        f->is_connection = true;
        return false;
    }
    if (u == NULL || topology_permission(t, args->user, args->vhost) == NULL) {
        count_add('v', args->vhost, -1, -1);
        count_add('u', args->user, -1, -1);
        fault_set(f, FAULT_NOT_ALLOWED, "access to vhost '%.*s' refused for user '%.*s'",
                  SLICE_FMT(args->vhost), SLICE_FMT(args->user));
        f->reason = REASON_REFUSED_VHOST_ACCESS;
        return false;
    }
    *ret_vhost = v;
    return true;
}

static bool
client_copy_names(struct client *c, const struct client_args *args)
{
    struct slice parts[4] = {args->user, args->vhost, args->name, args->protocol};
    struct slice *fields[4] = {&c->user, &c->vhost, &c->name, &c->protocol};
    size_t total = 1;
    for (int i = 0; i < 4; i++)
        total += parts[i].len;
    c->names = mem_alloc(total);
    if (c->names == NULL)
        return false;
    char *at = c->names;
    for (int i = 0; i < 4; i++) {
        if (parts[i].len > 0)
            memcpy(at, parts[i].ptr, parts[i].len);
        *fields[i] = slice_of(at, parts[i].len);
        at += parts[i].len;
    }
    return true;
}

struct client *
client_open(struct worker *w, const struct client_args *args, struct fault *ret_fault)
{
    struct broker_worker *b = broker_of(w);
    const struct vhost *v = NULL;
    if (!open_check(w, args, &v, ret_fault))
        return NULL;
    struct client *c = mem_calloc(1, sizeof(*c));
    if (c != NULL)
        c->id = atomic_fetch_add_explicit(&last_client_id, 1, memory_order_relaxed) + 1;
    if (c == NULL || !client_copy_names(c, args) || inttab_put(&b->clients_by_id, c->id, c) != 0) {
        if (c != NULL)
            mem_free(c->names);
        mem_free(c);
        count_add('v', args->vhost, -1, -1);
        count_add('u', args->user, -1, -1);
        fault_set(ret_fault, FAULT_RESOURCE_ERROR, "out of memory");
        return NULL;
    }
    c->broker = b;
    c->events = args->events;
    c->ctx = args->ctx;
    c->describe = args->describe;
    c->traffic = args->traffic;
    c->vhost_id = v->id;
    c->has_publish_work = b->has_interceptors;
    c->rate_version = UINT64_MAX; // looked at when it is first asked whether it must wait
    c->connected_ms = clock_wall_ms();
    list_init(&c->node);
    list_init(&c->sessions);
    list_init(&c->owing);
    list_push_back(&b->clients, &c->node);
    client_load_init(c);
    event_connection(c, true);
    return c;
}

uint64_t
client_id(const struct client *c)
{
    return c->id;
}

// What close waits for, made when the first exclusive queue is declared, so that the end cannot fail: the writer's answer that the exclusive queues are gone.
struct closing {
    void (*done)(void *ctx);
    void *ctx;
};

static void
exclusive_gone(struct topology_request *r)
{
    struct closing *closing = r->ctx;
    if (closing->done != NULL)
        closing->done(closing->ctx);
    mem_free(closing);
    topology_request_free(r);
}

bool
client_prepare_exclusive(struct client *c)
{
    if (c->gone != NULL)
        return true;
    struct topology_request args = {
        .change = CHANGE_CONNECTION_GONE, .owner_conn = c->id, .vhost = c->vhost, .done = exclusive_gone};
    struct closing *closing = args.ctx = mem_alloc(sizeof(*closing));
    c->gone = closing != NULL ? topology_request_new(&args) : NULL;
    if (c->gone == NULL)
        mem_free(closing);
    return c->gone != NULL;
}

// Everything its sessions had is back in its queues.
static void
client_end(struct client *c)
{
    client_rate_free(c);
    if (c->gone != NULL) {
        struct closing *closing = c->gone->ctx;
        *closing = (struct closing){.done = c->done, .ctx = c->done_ctx};
        topology_submit(c->gone);
    } else if (c->done != NULL) {
        c->done(c->done_ctx);
    }
    mem_free(c->names);
    mem_free(c);
}

void
client_close(struct client *c, void (*done)(void *ctx), void *ctx)
{
    LV_ON_WORKER(c->broker->worker);
    LV_LIST_EACH_SAFE (it, &c->sessions)
        session_close(LV_CONTAINER_OF(it, struct session, node));
    event_connection(c, false);
    count_add('v', c->vhost, -1, -1);
    count_add('u', c->user, -1, -1);
    list_remove(&c->node);
    inttab_take(&c->broker->clients_by_id, c->id);
    samples_free(c->samples);
    c->samples = NULL;
    if (c->traffic != NULL) {
        struct vhost_counts *v = counters_vhost(&c->broker->counters, c->vhost_id, c->vhost);
        uint64_t received = 0, sent = 0;
        c->traffic(c->ctx, &received, &sent);
        v->received += received;
        v->sent += sent;
    }
    c->is_closed = true;
    c->done = done;
    c->done_ctx = ctx;
    if (c->jobs == 0)
        client_end(c);
}

void
client_job_done(struct client *c)
{
    LV_ASSERT(c->jobs > 0);
    if (--c->jobs == 0 && c->is_closed)
        client_end(c);
}

void
client_forget(struct client *c)
{
    client_rate_free(c);
    if (c->gone != NULL) {
        mem_free(c->gone->ctx);
        topology_request_free(c->gone);
    }
    mem_free(c->names);
    mem_free(c);
}

const struct vhost *
client_vhost(struct client *c, struct fault *ret_fault)
{
    const struct topology *t = topology_of(c->broker->worker);
    if (LV_UNLIKELY(c->vhost_version != t->version)) {
        const struct vhost *v = topology_vhost(t, c->vhost);
        c->vhost_now = v != NULL && v->id == c->vhost_id ? v : NULL;
        c->vhost_version = t->version;
    }
    if (LV_UNLIKELY(c->vhost_now == NULL))
        fault_set(ret_fault, FAULT_NOT_ALLOWED, "vhost %.*s not found", SLICE_FMT(c->vhost));
    return c->vhost_now;
}

bool
client_may(struct client *c, const char *kind, struct slice name, enum access access, struct fault *ret_fault)
{
    struct broker_worker *b = c->broker;
    return auth_check(b->auth_cache, topology_of(b->worker), c->user, c->vhost, kind, name, access,
                      ret_fault);
}

void
client_output_drained(struct client *c)
{
    LV_ON_WORKER(c->broker->worker);
    // Granting may deliver at once and put a consumer back into the list it is taken from: only what is owed now counts.
    struct list sessions;
    list_init(&sessions);
    list_splice_back(&sessions, &c->owing);
    for (struct list *it; (it = list_pop_front(&sessions)) != NULL;) {
        struct session *s = LV_CONTAINER_OF(it, struct session, owing_node);
        struct list consumers;
        list_init(&consumers);
        list_splice_back(&consumers, &s->owing_consumers);
        for (struct list *node; (node = list_pop_front(&consumers)) != NULL;) {
            struct session_consumer *consumer = LV_CONTAINER_OF(node, struct session_consumer, owing_node);
            uint32_t count = consumer->owed_count, bytes = consumer->owed_bytes;
            consumer->owed_count = consumer->owed_bytes = 0;
            if (consumer->consumer != 0)
                consumer_grant_window(consumer->consumer, count, bytes);
        }
    }
}

bool
client_must_wait(struct client *c)
{
    const struct broker_worker *b = c->broker;
    return client_rate_must_wait(c) || worker_is_congested(b->worker) ||
           ((b->alarms != 0 || c->vhost_load != LOAD_FINE) && c->has_published);
}

static const char *
alarm_text(unsigned alarms)
{
    static const char *const texts[4] = {NULL, "low on memory", "low on disk", "low on memory & low on disk"};
    return texts[alarms & ALARMS_TOLD];
}

void
client_blocked_text(const struct client *c, struct buf *out)
{
    const char *alarm = alarm_text(c->broker->alarms);
    if (alarm != NULL)
        buf_append_str(out, alarm);
    else
        (void)client_load_describe(c, out);
}

static enum reason_kind
blocked_kind(const struct client *c)
{
    unsigned alarms = c->broker->alarms;
    return (alarms & ALARM_MEMORY) != 0     ? REASON_BLOCKED_MEMORY
           : (alarms & ALARM_DISK) != 0     ? REASON_BLOCKED_DISK
           : c->vhost_load == LOAD_MESSAGES ? REASON_BLOCKED_VHOST_MESSAGES
                                            : REASON_BLOCKED_VHOST_MEMORY;
}

void
client_tell_alarm(struct client *c)
{
    bool is_alarm = (c->broker->alarms & ALARMS_TOLD) != 0 || c->vhost_load != LOAD_FINE;
    bool is_blocked = is_alarm && c->has_published;
    if (is_blocked == c->is_blocked)
        return;
    c->is_blocked = is_blocked;
    LV_CLEANUP(buf_fini) struct buf text = BUF_INIT;
    if (is_blocked) {
        client_blocked_text(c, &text);
        reason_note(c->broker->worker, &(struct reason){.kind = blocked_kind(c),
                                                        .object_kind = "user",
                                                        .object = c->user,
                                                        .vhost = c->vhost});
    }
    c->events->blocked(c->ctx, !is_blocked   ? NULL
                               : text.failed ? "no memory for the reason"
                                             : buf_cstr(&text));
}

void
broker_set_rates(struct worker *w, const struct rate_limit rates[static RATE_SCOPES])
{
    struct broker_config *config = &broker_of(w)->config;
    memcpy(config->rates, rates, sizeof config->rates);
    config->rate_number++; // clients look at it when they are next asked whether they must wait
}

void
broker_set_alarms(struct worker *w, unsigned alarms)
{
    struct broker_worker *b = broker_of(w);
    unsigned changed = b->worker->index == 0 ? (alarms ^ b->alarms) & ALARMS_TOLD : 0; // one tells
    b->alarms = alarms;
    if ((changed & ALARM_MEMORY) != 0)
        event_alarm(b, "memory", (alarms & ALARM_MEMORY) != 0);
    if ((changed & ALARM_DISK) != 0)
        event_alarm(b, "disk", (alarms & ALARM_DISK) != 0);
    LV_LIST_EACH_SAFE (it, &b->clients)
        client_tell_alarm(LV_CONTAINER_OF(it, struct client, node));
}

void
broker_close_clients(struct worker *w, struct slice vhost, struct slice user, uint64_t id,
                     const struct fault *fault)
{
    struct broker_worker *b = broker_of(w);
    LV_LIST_EACH_SAFE (it, &b->clients) {
        struct client *c = LV_CONTAINER_OF(it, struct client, node);
        if ((vhost.len > 0 && !slice_eq(vhost, c->vhost)) || (user.len > 0 && !slice_eq(user, c->user)) ||
            (id != 0 && id != c->id))
            continue;
        c->events->close(c->ctx, fault);
    }
}

bool
broker_close_named(struct worker *w, struct slice name, const struct fault *fault)
{
    struct broker_worker *b = broker_of(w);
    LV_LIST_EACH_SAFE (it, &b->clients) {
        struct client *c = LV_CONTAINER_OF(it, struct client, node);
        if (slice_eq(name, c->name)) {
            c->events->close(c->ctx, fault);
            return true;
        }
    }
    return false;
}
