// mover.c: two lanes, each a thread with a list of jobs, and ports through which results go back.
//
// A job travels as a pointer, as batches do in log.c: the lane's list takes any number, is emptied as a whole and turned round, so the jobs of
// a port stay in order; a port's list brings them back. A lane that has nothing to do sleeps on a condition until somebody submits;
// `is_asleep` spares the lock while it is awake. Stopping: what was submitted before mover_stop is done first.
// Failure modes: a job's own, in its result; a job comes back in every case.
#include <pthread.h>
#include <stdatomic.h>

#include "src/base/err.h"
#include "src/base/mem.h"
#include "src/store/log_window.h"
#include "src/store/mover.h"

// LIMIT: ports of a mover: one a worker.
enum { PORTS_MAX = 64 };
enum { LANE_WRITE, LANE_READ, LANES };
// LIMIT: messages of appends that go together, so that the first of them does not wait for long.
enum { GROUP_ITEMS = 65536 };
// LIMIT: states that go together.
enum { GROUP_STATES = 1024 };

struct lane {
    struct mover *mover;
    _Atomic(struct mover_job *) submitted; // partner: take_all on the lane's thread
    pthread_t thread;
    bool has_thread;
    pthread_mutex_t lock; // rank: leaf; only around the sleep
    pthread_cond_t work;
    atomic_bool is_asleep; // partner: wake_lane, after its push (seq_cst both)
};

struct mover_port {
    struct mover *mover;
    void (*wake)(void *ctx);
    void *ctx;
    _Atomic(struct mover_job *) returned; // partner: take_all on the worker's thread
    uint64_t open;                        // the worker's
};

struct mover {
    struct mover_config config;
    struct lane lanes[LANES];
    struct mover_port *ports[PORTS_MAX];
    unsigned port_count;
    atomic_bool is_stopping; // partner: lane_thread
};

// --- lists of jobs ---

// True when the list was empty.
static bool
push_job(_Atomic(struct mover_job *) *list, struct mover_job *j)
{
    struct mover_job *head = atomic_load_explicit(list, memory_order_relaxed);
    do
        j->next = head;
    while (!atomic_compare_exchange_weak(list, &head, j));
    return head == NULL;
}

// All of them, oldest first.
static struct mover_job *
take_all(_Atomic(struct mover_job *) *list)
{
    struct mover_job *in_order = NULL, *j = atomic_exchange(list, NULL);
    while (j != NULL) {
        struct mover_job *next = j->next;
        j->next = in_order;
        in_order = j;
        j = next;
    }
    return in_order;
}

// --- jobs ---

static bool
read_place(const void *items, size_t n, struct msglog_place *ret_place, bool *ret_is_from_backlog)
{
    const struct mover_read *r = (const struct mover_read *)items + n;
    *ret_place = r->place;
    *ret_is_from_backlog = r->is_from_backlog;
    return true;
}

// Each has its own result.
static void
read_all(const struct mover_config *c, struct mover_job *j)
{
    struct window w;
    window_init(&w, c->io, c->data_dir, c->log, j->queue, j->is_transient);
    for (size_t i = 0; i < j->reads.count; i++) {
        struct mover_read *r = &j->reads.items[i];
        r->result = window_take(&w, j->reads.items, j->reads.count, i, read_place, &r->record);
    }
    window_fini(&w);
}

static int
take_due(struct mover_job *j, struct mover_table *t, const struct backlog_due *all, uint32_t count)
{
    int64_t from_ms = t->block.due_s > 1 ? (int64_t)t->block.due_s * 1000 : 0;
    int64_t next_ms = INT64_MAX;
    if (j->tables.due_count + count > j->tables.due_cap) {
        size_t cap = LV_MAX(j->tables.due_count + count, j->tables.due_cap * 2);
        struct backlog_due *due = mem_realloc(j->tables.due, cap * sizeof(*due));
        if (due == NULL)
            return -LE_NOMEM;
        j->tables.due = due;
        j->tables.due_cap = cap;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (all[i].at_ms == 0 || all[i].at_ms < from_ms)
            continue;
        if (all[i].at_ms < j->tables.until_ms)
            j->tables.due[j->tables.due_count++] = all[i];
        else
            next_ms = LV_MIN(next_ms, all[i].at_ms);
    }
    t->due_s = next_ms == INT64_MAX ? 0 : (uint32_t)LV_MIN(next_ms / 1000, (int64_t)UINT32_MAX);
    return 0;
}

static void
read_tables(const struct mover_config *c, struct mover_job *j)
{
    for (size_t i = 0; i < j->tables.count; i++) {
        struct mover_table *t = &j->tables.items[i];
        struct backlog_due *all = NULL;
        uint32_t count = 0;
        t->due_s = t->block.due_s;
        t->result = 0;
        t->is_left = j->tables.due_count > MOVER_DUE_MAX;
        if (t->is_left)
            continue;
        t->result =
            backlog_read_table(c->io, c->data_dir, j->queue, j->is_transient, &t->block, &all, &count);
        if (t->result == 0)
            t->result = take_due(j, t, all, count);
        mem_free(all);
    }
}

static int
run(const struct mover_config *c, struct mover_job *j)
{
    switch ((enum mover_kind)j->kind) {
    case MOVER_UNLINK: return backlog_unlink(c->io, c->data_dir, j->queue, j->is_transient, j->file);
    case MOVER_REMOVE: return backlog_remove(c->io, c->data_dir, j->queue, j->is_transient);
    case MOVER_BLOCK:
        return backlog_read_block(c->io, c->data_dir, j->queue, j->is_transient, &j->block.block,
                                  &j->block.bytes);
    case MOVER_READ: read_all(c, j); return 0;
    case MOVER_TABLES: read_tables(c, j); return 0;
    default: return -LE_INVAL;
    }
}

static void
give_back(struct mover_job *j)
{
    struct mover_port *p = j->port;
    if (push_job(&p->returned, j)) // from here on it is the port's
        p->wake(p->ctx);
}

// Appends that follow each other go together: a queue has one under way at the most. Returns what comes behind them, and how many they were.
static struct mover_job *
run_appends(const struct mover_config *c, struct mover_job *j, size_t *ret_count)
{
    struct mover_job *jobs[BACKLOG_APPENDS_MAX];
    struct backlog_append *appends[BACKLOG_APPENDS_MAX];
    size_t count = 0, items = 0;
    do {
        jobs[count] = j;
        appends[count++] = &j->append;
        items += j->append.count;
        j = j->next;
    } while (j != NULL && j->kind == MOVER_APPEND && count < BACKLOG_APPENDS_MAX && items < GROUP_ITEMS);
    backlog_append_all(c->io, c->data_dir, c->log, appends, count, c->sync_all_min);
    for (size_t i = 0; i < count; i++) {
        jobs[i]->result = appends[i]->result;
        give_back(jobs[i]);
    }
    *ret_count = count;
    return j;
}

// States that follow each other likewise; a queue has one under way at the most.
static struct mover_job *
run_states(const struct mover_config *c, struct mover_job *j, size_t *ret_count)
{
    struct backlog_state_write writes[GROUP_STATES];
    struct mover_job *last = j, *next = NULL;
    size_t count = 0;
    for (; last != NULL && last->kind == MOVER_STATE && count < GROUP_STATES; last = last->next)
        writes[count++] = (struct backlog_state_write){.queue = last->queue, .state = &last->state};
    backlog_write_states(c->io, c->data_dir, writes, count, c->sync_all_min);
    for (size_t i = 0; i < count; i++, j = next) {
        next = j->next;
        j->result = writes[i].result;
        give_back(j);
    }
    *ret_count = count;
    return last;
}

static size_t
run_all(struct lane *lane)
{
    const struct mover_config *c = &lane->mover->config;
    size_t sum = 0, count = 1;
    for (struct mover_job *j = take_all(&lane->submitted), *next; j != NULL; j = next, sum += count) {
        if (j->kind == MOVER_APPEND || j->kind == MOVER_STATE) {
            next = j->kind == MOVER_APPEND ? run_appends(c, j, &count) : run_states(c, j, &count);
            continue;
        }
        next = j->next;
        count = 1;
        j->result = run(c, j);
        give_back(j);
    }
    return sum;
}

// --- threads ---

static void
sleep_until_work(struct lane *lane)
{
    pthread_mutex_lock(&lane->lock);
    atomic_store(&lane->is_asleep, true);
    while (atomic_load(&lane->submitted) == NULL && !atomic_load(&lane->mover->is_stopping))
        pthread_cond_wait(&lane->work, &lane->lock);
    atomic_store(&lane->is_asleep, false);
    pthread_mutex_unlock(&lane->lock);
}

static void *
lane_thread(void *arg)
{
    struct lane *lane = arg;
    for (;;) {
        bool is_stopping =
            atomic_load(&lane->mover->is_stopping); // before taking: earlier submissions are seen
        if (run_all(lane) > 0)
            continue;
        if (is_stopping)
            return NULL;
        sleep_until_work(lane);
    }
}

static void
wake_lane(struct lane *lane)
{
    if (!atomic_load(&lane->is_asleep))
        return;
    pthread_mutex_lock(&lane->lock);
    pthread_cond_signal(&lane->work);
    pthread_mutex_unlock(&lane->lock);
}

// --- the outside ---

struct mover *
mover_new(const struct mover_config *config)
{
    LV_ASSERT(config->port_count >= 1 && config->port_count <= PORTS_MAX);
    struct mover *m = mem_xcalloc(1, sizeof(*m));
    m->config = *config;
    m->config.data_dir = mem_xstrdup(config->data_dir);
    for (int i = 0; i < LANES; i++) {
        m->lanes[i].mover = m;
        pthread_mutex_init(&m->lanes[i].lock, NULL);
        pthread_cond_init(&m->lanes[i].work, NULL);
    }
    return m;
}

struct mover_port *
mover_port_new(struct mover *m, void (*wake)(void *ctx), void *ctx)
{
    LV_ASSERT(!m->lanes[0].has_thread && m->port_count < m->config.port_count);
    struct mover_port *p = mem_xcalloc(1, sizeof(*p));
    p->mover = m;
    p->wake = wake;
    p->ctx = ctx;
    m->ports[m->port_count++] = p;
    return p;
}

int
mover_start(struct mover *m)
{
    LV_ASSERT(m->port_count == m->config.port_count);
    for (int i = 0; i < LANES; i++) {
        int rc = pthread_create(&m->lanes[i].thread, NULL, lane_thread, &m->lanes[i]);
        m->lanes[i].has_thread = rc == 0;
        if (rc != 0) {
            mover_stop(m);
            return err_from_errno(rc);
        }
    }
    return 0;
}

size_t
mover_step(struct mover *m)
{
    LV_ASSERT(!m->lanes[0].has_thread);
    size_t count = 0;
    for (int i = 0; i < LANES; i++)
        count += run_all(&m->lanes[i]);
    return count;
}

void
mover_stop(struct mover *m)
{
    atomic_store(&m->is_stopping, true);
    for (int i = 0; i < LANES; i++) {
        struct lane *lane = &m->lanes[i];
        if (!lane->has_thread)
            continue;
        pthread_mutex_lock(&lane->lock);
        pthread_cond_signal(&lane->work);
        pthread_mutex_unlock(&lane->lock);
        pthread_join(lane->thread, NULL);
        lane->has_thread = false;
    }
}

void
mover_free(struct mover *m)
{
    if (m == NULL)
        return;
    mover_stop(m);
    for (int i = 0; i < LANES; i++) {
        LV_ASSERT(atomic_load(&m->lanes[i].submitted) == NULL); // nobody submits after mover_stop
        pthread_mutex_destroy(&m->lanes[i].lock);
        pthread_cond_destroy(&m->lanes[i].work);
    }
    for (unsigned i = 0; i < m->port_count; i++)
        mem_free(m->ports[i]);
    mem_free((void *)(uintptr_t)m->config.data_dir);
    mem_free(m);
}

void
mover_submit(struct mover_port *p, struct mover_job *job)
{
    bool is_read = job->kind == MOVER_BLOCK || job->kind == MOVER_READ || job->kind == MOVER_TABLES;
    struct lane *lane = &p->mover->lanes[is_read ? LANE_READ : LANE_WRITE];
    job->port = p;
    p->open++;
    if (push_job(&lane->submitted, job))
        wake_lane(lane);
}

size_t
mover_port_poll(struct mover_port *p)
{
    size_t count = 0;
    for (struct mover_job *j = take_all(&p->returned), *next; j != NULL; j = next, count++) {
        next = j->next;
        p->open--;
        j->done(j); // it may be gone now
    }
    return count;
}

uint64_t
mover_port_open(const struct mover_port *p)
{
    return p->open;
}
