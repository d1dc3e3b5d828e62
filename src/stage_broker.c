// stage_broker.c: starts topology (with the metadata store) and the broker's part of every worker and of the HTTP member.
//
// A vhost or user that is deleted closes its connections: the topology writer tells every worker.
#include <stdio.h>

#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/broker/session.h"
#include "src/broker/topology.h"
#include "src/stages.h"
#ifdef LV_TEST_HOOKS
#include "queue/store_double.h"

// Test builds: bodies leave memory at random and come back in a later turn. One for each worker.
static struct store_double *store_doubles[CREW_MAX];
static uint64_t page_out_seed;

static const struct queue_store *
test_store_for(struct worker *w)
{
    struct store_double_config config = {.seed = page_out_seed + (uint64_t)w->index, .page_percent = 30, .delay_max = 4};
    store_doubles[w->index] = store_double_new(w, &config);
    return store_double_store(store_doubles[w->index]);
}
#endif

void
stages_post_workers(struct crew *crew, mail_fn fn, const void *payload, size_t len)
{
    for (int i = 0; i < crew->n_workers; i++)
        worker_post(crew->members[i], fn, payload, len, 0);
}

// --- deletions ----------------------------------------------------------------------------------------------------------------

struct close_mail {
    char *name;  // heap copy, one for each worker
    size_t len;
    bool is_vhost;
};

static void
close_on_worker(struct worker *w, void *payload)
{
    struct close_mail *mail = payload;
    struct fault f;
    struct slice name = slice_of(mail->name, mail->len);
    if (mail->is_vhost)
        fault_set(&f, FAULT_CONNECTION_FORCED, "vhost '%.*s' is deleted", SLICE_FMT(name));
    else
        fault_set(&f, FAULT_CONNECTION_FORCED, "user '%.*s' is deleted", SLICE_FMT(name));
    broker_close_clients(w, mail->is_vhost ? name : SLICE_EMPTY, mail->is_vhost ? SLICE_EMPTY : name, 0, &f);
    mem_free(mail->name);
}

static void
close_everywhere(struct daemon *d, struct slice name, bool is_vhost)
{
    // The nameless vhost cannot exist, so an empty name would close everything: never sent.
    if (name.len == 0)
        return;
    for (int i = 0; i < d->crew->n_workers; i++) {
        struct close_mail mail = {.name = mem_xslice_dup(name), .len = name.len, .is_vhost = is_vhost};
        worker_post(d->crew->members[i], close_on_worker, &mail, sizeof mail, 0);
    }
}

static void
vhost_deleted(void *ctx, struct slice name)
{
    close_everywhere(ctx, name, true);
}

static void
user_deleted(void *ctx, struct slice name)
{
    close_everywhere(ctx, name, false);
}

// --- the stage ------------------------------------------------------------------------------------------------------------------

static enum queue_placement
placement_of(const struct config *c)
{
    return c->test_placement == PLACEMENT_REMOTE  ? PLACE_REMOTE
           : c->test_placement == PLACEMENT_LOCAL ? PLACE_LOCAL
                                                  : PLACE_BALANCED;
}

static void
members_fini(struct daemon *d)
{
    for (int i = 0; i < d->crew->n_workers; i++)
        broker_worker_fini(d->crew->members[i]);
    broker_worker_fini(crew_extra_member(d->crew, CREW_HTTP));
#ifdef LV_TEST_HOOKS
    for (int i = 0; i < d->crew->n_workers; i++) {
        if (store_doubles[i] != NULL)
            store_double_free(store_doubles[i]);
        store_doubles[i] = NULL;
    }
#endif
}

static int
broker_start(struct daemon *d, struct buf *problem)
{
    const struct config *c = d->config;
    struct broker_config broker = {.default_prefetch = 0};
    struct topology_config topology = {
        .data_dir = c->data_dir,
        .default_vhost = slice_str(c->default_vhost),
        .default_user = slice_str(c->default_user),
        .default_pass = slice_str(c->default_pass),
        .placement = placement_of(c),
        .vhost_deleted = vhost_deleted,
        .user_deleted = user_deleted,
        .ctx = d,
    };
    struct worker *http = crew_extra_member(d->crew, CREW_HTTP);
    char *error = NULL;
#ifdef LV_TEST_HOOKS
    page_out_seed = c->test_page_out_seed;
    if (page_out_seed != 0)
        broker.store_for = test_store_for;
#endif
    for (int i = 0; i < d->crew->n_workers; i++)
        broker_worker_init(d->crew->members[i], &broker);
    broker.store_for = NULL;
    broker_worker_init(http, &broker);
    int err = topology_start(d->crew, &topology, &error);
    if (err < 0) {
        buf_printf(problem, "%s", error != NULL ? error : err_text(err));
        mem_free(error);
        members_fini(d);
        return err == -LE_ACCESS ? DAEMON_NOPERM : DAEMON_CANTCREAT;
    }
    for (int i = 0; i < d->crew->n_workers; i++)
        topology_worker_init(d->crew->members[i]);
    topology_worker_init(http);
    return 0;
}

static void
broker_stop(struct daemon *d)
{
    members_fini(d);
    topology_stop(d->crew);
}

const struct daemon_stage stage_broker = {.name = "broker", .start = broker_start, .stop = broker_stop};
