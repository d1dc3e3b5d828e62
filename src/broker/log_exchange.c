// log_exchange.c: see log_exchange.h.
#include "src/broker/log_exchange.h"

#include <pthread.h>
#include <stdatomic.h>

#include "amqp/wire/table.h"
#include "src/base/clock.h"
#include "src/base/mem.h"
#include "src/broker/announce.h"
#include "src/broker/session_impl.h"

// LIMIT: lines that wait for the worker, of at most 8 KiB each (log.c), and those published in a turn.
enum { LINES_MAX = 1024, LINES_A_TURN = 128 };

struct log_line {
    struct list node;
    enum log_level level;
    size_t len;
    uint8_t bytes[];
};

// The log is the process's, and so is this sink of it. `lines`, `count` and `lost` are guarded by mutex (rank: below the log's own).
static struct {
    pthread_mutex_t mutex;
    struct list lines; // struct log_line.node
    size_t count;
    uint64_t lost;
    _Atomic size_t waiting; // partner: publish_lines; a hint
    struct worker *worker;  // NULL: not started
    struct slice vhost;
} state = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static _Thread_local bool is_publishing;

// Under the log's mutex: must not log.
static void
tap(enum log_level level, struct slice line)
{
    if (is_publishing)
        return;
    if (line.len > 0 && line.ptr[line.len - 1] == '\n')
        line.len--;
    struct log_line *l = mem_alloc(sizeof *l + line.len);
    if (l != NULL) {
        *l = (struct log_line){.level = level, .len = line.len};
        memcpy(l->bytes, line.ptr, line.len);
        list_init(&l->node);
    }
    pthread_mutex_lock(&state.mutex);
    bool is_taken = l != NULL && state.count < LINES_MAX;
    if (is_taken) {
        list_push_back(&state.lines, &l->node);
        atomic_store_explicit(&state.waiting, ++state.count, memory_order_relaxed);
    } else {
        state.lost++;
    }
    pthread_mutex_unlock(&state.mutex);
    if (is_taken)
        ev_async_send(state.worker->loop, &state.worker->wake);
    else
        mem_free(l);
}

static struct log_line *
take_line(uint64_t *ret_lost)
{
    struct log_line *l = NULL;
    pthread_mutex_lock(&state.mutex);
    struct list *it = list_pop_front(&state.lines);
    if (it != NULL) {
        l = LV_CONTAINER_OF(it, struct log_line, node);
        atomic_store_explicit(&state.waiting, --state.count, memory_order_relaxed);
        *ret_lost = state.lost;
        state.lost = 0;
    }
    pthread_mutex_unlock(&state.mutex);
    return l;
}

static struct message *
message_of(struct broker_worker *b, const struct log_line *l, uint64_t lost)
{
    LV_CLEANUP(buf_fini) struct buf headers = BUF_INIT;
    struct table_writer w = table_writer_of(&headers);
    table_put_longstr(&w, SLICE_LIT("node"), b->config.node_name);
    if (lost > 0)
        table_put_i64(&w, SLICE_LIT("lines_left_out"), (int64_t)lost); // in front of this one
    struct amqp_basic_props props = {
        .flags = AMQP_PROP_HEADERS | AMQP_PROP_CONTENT_TYPE | AMQP_PROP_TIMESTAMP,
        .headers = buf_slice(&headers),
        .content_type = SLICE_LIT("text/plain"),
        .timestamp = (uint64_t)clock_wall_ms() / 1000,
    };
    if (headers.failed)
        return NULL;
    return announce_message(LOG_EXCHANGE, slice_str(log_level_text(l->level)), &props,
                            slice_of(l->bytes, l->len));
}

static bool
publish_lines(struct worker *w, void *ctx)
{
    struct broker_worker *b = ctx;
    struct log_line *l;
    uint64_t lost = 0;
    if (LV_LIKELY(atomic_load_explicit(&state.waiting, memory_order_relaxed) == 0))
        return false;
    is_publishing = true;
    for (int i = 0; i < LINES_A_TURN && (l = take_line(&lost)) != NULL; i++) {
        const struct vhost *v = topology_vhost(topology_of(w), state.vhost);
        if (v != NULL && announce_is_heard(vhost_exchange(v, SLICE_LIT(LOG_EXCHANGE))))
            announce(b, v, message_of(b, l, lost));
        mem_free(l);
    }
    is_publishing = false;
    return atomic_load_explicit(&state.waiting, memory_order_relaxed) > 0;
}

void
log_exchange_start(struct worker *first, struct slice vhost, enum log_level level)
{
    LV_ASSERT(state.worker == NULL);
    list_init(&state.lines);
    state.worker = first;
    state.vhost = vhost;
    worker_add_hook(first, PHASE_COMPLETE, publish_lines, first->broker_state);
    log_set_tap(tap, level);
}

void
log_exchange_stop(void)
{
    if (state.worker == NULL)
        return;
    log_set_tap(NULL, LOG_NONE);
    for (struct list *it; (it = list_pop_front(&state.lines)) != NULL;)
        mem_free(LV_CONTAINER_OF(it, struct log_line, node));
    state.count = 0;
    state.lost = 0;
    atomic_store_explicit(&state.waiting, 0, memory_order_relaxed);
    state.worker = NULL;
}
