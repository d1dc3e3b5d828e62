// store_double.c: a table from location to message, and a list of fetches that count turns down.
//
// While fetches are open one mail circulates from the worker to itself; each arrival is a turn. A fetch keeps
// its own reference, so that a forget meanwhile does not matter.
#include "queue/store_double.h"

#include "src/base/inttab.h"
#include "src/base/list.h"
#include "src/base/mem.h"

struct fetch_job {
    struct list node;
    uint64_t token;
    struct message *msg; // a reference, or NULL: lost
    uint32_t turns;      // left
};

struct store_double {
    struct worker *w;
    struct store_double_config config;
    struct queue_store store;
    struct rng rng;
    struct inttab messages; // location → message (a reference)
    struct list jobs;
    uint64_t next_location;
    uint64_t fetches;
    bool is_ticking; // the mail is under way
};

static bool
happens(struct store_double *d, uint32_t percent)
{
    return rng_below(&d->rng, 100) < percent;
}

static uint64_t
double_page_out(void *ctx, struct message *msg)
{
    struct store_double *d = ctx;
    if (!happens(d, d->config.page_percent))
        return 0;
    uint64_t location = d->next_location;
    if (inttab_put(&d->messages, location, msg) < 0)
        return 0;
    d->next_location++;
    message_ref(msg);
    return location;
}

static void tick_arrived(struct worker *to, void *payload);

static void
tick(struct store_double *d)
{
    if (d->is_ticking || list_is_empty(&d->jobs))
        return;
    d->is_ticking = true;
    worker_post(d->w, tick_arrived, &(struct store_double *){d}, sizeof(d), 0);
}

static void
tick_arrived(struct worker *to, void *payload)
{
    struct store_double *d = *(struct store_double **)payload;
    d->is_ticking = false;
    struct list due; // an answer may start the next fetch
    list_init(&due);
    LV_LIST_EACH_SAFE (it, &d->jobs) {
        struct fetch_job *job = LV_CONTAINER_OF(it, struct fetch_job, node);
        if (--job->turns > 0)
            continue;
        list_remove(it);
        list_push_back(&due, it);
    }
    for (struct list *it; (it = list_pop_front(&due)) != NULL;) {
        struct fetch_job *job = LV_CONTAINER_OF(it, struct fetch_job, node);
        d->fetches++;
        queue_store_fetched(to, job->token, job->msg);
        mem_free(job);
    }
    tick(d);
}

static void
double_fetch(void *ctx, uint64_t location, uint64_t token)
{
    struct store_double *d = ctx;
    struct message *msg = inttab_get(&d->messages, location);
    LV_ASSERT(msg != NULL);
    struct fetch_job *job = mem_xalloc(sizeof(*job));
    *job = (struct fetch_job){.token = token, .turns = 1 + (uint32_t)rng_below(&d->rng, d->config.delay_max)};
    if (!happens(d, d->config.lose_percent))
        job->msg = message_ref(msg);
    list_init(&job->node);
    list_push_back(&d->jobs, &job->node);
    tick(d);
}

static void
double_forget(void *ctx, uint64_t location)
{
    struct store_double *d = ctx;
    struct message *msg = inttab_take(&d->messages, location);
    LV_ASSERT(msg != NULL);
    message_unref(msg);
}

struct store_double *
store_double_new(struct worker *w, const struct store_double_config *config)
{
    LV_ASSERT(config->seed != 0 && config->delay_max > 0);
    struct store_double *d = mem_xcalloc(1, sizeof(*d));
    d->w = w;
    d->config = *config;
    d->store = (struct queue_store){double_page_out, double_fetch, double_forget, d};
    d->next_location = 1;
    rng_init(&d->rng, config->seed);
    inttab_init(&d->messages);
    list_init(&d->jobs);
    return d;
}

void
store_double_free(struct store_double *d)
{
    if (d == NULL)
        return;
    LV_ASSERT(d->messages.count == 0);
    for (struct list *it; (it = list_pop_front(&d->jobs)) != NULL;) {
        struct fetch_job *job = LV_CONTAINER_OF(it, struct fetch_job, node);
        message_unref(job->msg);
        mem_free(job);
    }
    inttab_fini(&d->messages);
    mem_free(d);
}

const struct queue_store *
store_double_store(struct store_double *d)
{
    return &d->store;
}

size_t
store_double_held(const struct store_double *d)
{
    return d->messages.count;
}

uint64_t
store_double_fetches(const struct store_double *d)
{
    return d->fetches;
}
