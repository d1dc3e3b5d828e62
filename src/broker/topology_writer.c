// topology_writer.c: the writer's turn: requests in, one transaction, one version out, answers when all have adopted it.
//
// Happy path of a turn:
//   1. versions that all readers have adopted: answer their requests, free what only older versions reached
//   2. deletions answered by their owners (facts) are carried out; what waited for them comes first among the requests
//      and exchanges and queues whose policies have changed get what these say, some of them (topology_writer_policy.c)
//   3. requests, at most TOPOLOGY_BATCH_MAX: applied to the draft, rows written in one transaction
//   4. commit; then QUEUE_REQUEST_CREATE to the owners of new queues
//   5. after the rings went out (PHASE_REAP), and only when none of them has spilled: publish, wake everybody. So whoever sees a
//      queue's handle can be sure that its creation is in the ring to its owner, who drains that ring for handles it does not know
// The next turn does not wait for adoption, only for 5.
// Failure modes: the commit fails: topology_writer_store.c. A reader that never turns: its requests are not answered.
#include "src/broker/topology_writer.h"
#include "src/base/log.h"
#include "src/base/mem.h"

struct topology_writer *
topology_writer_new(struct crew *crew)
{
    struct topology_writer *tw = mem_aligned(LV_CACHE_LINE, sizeof *tw);
    struct topology *empty = mem_xcalloc(1, sizeof *empty);
    LV_ASSERT(tw != NULL);
    memset(tw, 0, sizeof *tw);
    tw->crew = crew;
    tw->worker = crew_extra_member(crew, CREW_TOPOLOGY);
    tw->newest = empty;
    list_init(&tw->inbox);
    list_init(&tw->settled);
    list_init(&tw->deletions);
    list_init(&tw->creations);
    list_init(&tw->sweeps);
    list_init(&tw->tellings);
    tw->matcher = policy_matcher_new();
    LV_ASSERT(tw->matcher != NULL);
    list_init(&tw->history);
    list_init(&tw->kept);
    list_init(&tw->turn.tasks);
    list_init(&tw->turn.done);
    inttab_init(&tw->conns);
    return tw;
}

// --- one turn ---------------------------------------------------------------------------------------------------------

void
turn_begin(struct topology_writer *tw)
{
    struct turn *t = &tw->turn;
    LV_ASSERT(tw->pending == NULL && t->journal.count == 0 && t->retired.count == 0 && !t->is_in_transaction);
    LV_ASSERT(list_is_empty(&t->tasks) && list_is_empty(&t->done));
    t->number++;
    t->draft = *tw->newest;
    t->has_changed = t->has_auth_changed = false;
    t->is_cut = false;
    t->is_durable_refused = false;
    t->store_error = 0;
    t->gone_count = 0;
    pmap_edit_begin(&t->edit);
}

void
task_done(struct topology_writer *tw, struct task *task)
{
    list_push_back(&tw->turn.done, &task->node);
}

void
task_cut(struct topology_writer *tw, struct task *task)
{
    tw->turn.is_cut = true;
    list_push_front(&tw->turn.tasks, &task->node);
}

bool
ids_are_short(const struct topology_writer *tw)
{
    return tw->meta != NULL && tw->id_ceiling - tw->id_last < TOPOLOGY_IDS_A_TASK;
}

// Who asks, where the request says so.
static struct slice
acting_user(const struct topology_request *r)
{
    switch (r->change) {
    case CHANGE_EXCHANGE_DECLARE:
    case CHANGE_EXCHANGE_DELETE:
    case CHANGE_QUEUE_DECLARE:
    case CHANGE_QUEUE_DELETE:
    case CHANGE_BIND:
    case CHANGE_UNBIND: return r->user;
    default: return SLICE_EMPTY; // there it is the user that the change is about
    }
}

static void
task_apply(struct topology_writer *tw, struct task *task)
{
    tw->turn.user = acting_user(&task->req);
    switch (task->req.change) {
    case CHANGE_VHOST_PUT: task_vhost_put(tw, task); return;
    case CHANGE_VHOST_DELETE: task_vhost_delete(tw, task); return;
    case CHANGE_VHOST_LIMITS: task_vhost_limits(tw, task); return;
    case CHANGE_USER_PUT: task_user_put(tw, task); return;
    case CHANGE_USER_DELETE: task_user_delete(tw, task); return;
    case CHANGE_USER_LIMITS: task_user_limits(tw, task); return;
    case CHANGE_PERMISSION_SET:
    case CHANGE_PERMISSION_CLEAR: task_permission(tw, task); return;
    case CHANGE_TOPIC_PERMISSION_SET:
    case CHANGE_TOPIC_PERMISSION_CLEAR: task_topic_permission(tw, task); return;
    case CHANGE_PARAMETER_PUT:
    case CHANGE_PARAMETER_DELETE: task_parameter(tw, task); return;
    case CHANGE_EXCHANGE_DECLARE: task_exchange_declare(tw, task); return;
    case CHANGE_EXCHANGE_DELETE: task_exchange_delete(tw, task); return;
    case CHANGE_EXCHANGE_DELAY: task_exchange_delay(tw, task); return;
    case CHANGE_QUEUE_DECLARE: task_queue_declare(tw, task); return;
    case CHANGE_QUEUE_DELETE: task_queue_delete(tw, task); return;
    case CHANGE_BIND: task_bind(tw, task); return;
    case CHANGE_UNBIND: task_unbind(tw, task); return;
    case CHANGE_CONNECTION_GONE: task_connection_gone(tw, task); return;
    }
    lv_assert_failed("a known kind of change", __FILE__, __LINE__, __func__);
}

// Carries out turn.tasks; what has to wait for the next turn goes back to the front of the inbox.
static void
turn_apply(struct topology_writer *tw)
{
    struct turn *t = &tw->turn;
    bool was_short = ids_are_short(tw); // the store did not give more: go on, creations are then refused
    while (!t->is_cut && !list_is_empty(&t->tasks)) {
        struct task *task = LV_CONTAINER_OF(list_pop_front(&t->tasks), struct task, node);
        if (task->is_final)
            task_done(tw, task);
        else if (!was_short && ids_are_short(tw))
            task_cut(tw, task);
        else
            task_apply(tw, task);
    }
    list_splice_back(&t->tasks, &tw->inbox);
    list_splice_back(&tw->inbox, &t->tasks);
    t->is_cut = false;
}

// The commit failed: everything is undone but the facts, and carried out again without durable changes.
static void
turn_repeat(struct topology_writer *tw, size_t facts_end, size_t fact_rows)
{
    struct turn *t = &tw->turn;
    journal_undo(tw, facts_end);
    t->gone_count = fact_rows;
    t->is_durable_refused = true;
    list_splice_back(&t->tasks, &t->done);
    LV_LIST_EACH (it, &t->tasks) {
        struct task *task = LV_CONTAINER_OF(it, struct task, node);
        if (task->is_row_owed)
            store_may_change(tw, task); // sets the fault
        if (task->is_final)
            continue;
        task->req.fault.code = FAULT_NONE;
        task->req.is_created = false;
        task->is_vhost_gone = task->is_user_gone = task->is_policy_set = false;
    }
    turn_apply(tw);
    store_owe_gone_rows(tw);
}

static void
turn_run(struct topology_writer *tw)
{
    struct turn *t = &tw->turn;
    turn_begin(tw);
    tw->turn.user = SLICE_EMPTY;
    store_reserve_ids(tw);
    for (int i = 0; i < TOPOLOGY_BATCH_MAX && !list_is_empty(&tw->settled); i++)
        deletion_settle(tw, LV_CONTAINER_OF(list_pop_front(&tw->settled), struct deletion, node));
    sweep_run(tw);
    size_t facts_end = t->journal.count;
    size_t fact_rows = t->gone_count;
    for (int i = 0; i < TOPOLOGY_BATCH_MAX && !list_is_empty(&tw->inbox); i++)
        list_push_back(&t->tasks, list_pop_front(&tw->inbox));
    turn_apply(tw);
    if (!store_commit(tw))
        turn_repeat(tw, facts_end, fact_rows);
    creations_send(tw);
    turn_finish(tw);
}

// --- versions ---------------------------------------------------------------------------------------------------------

static void
answer_all(struct topology_writer *tw, struct list *answers, uint64_t version)
{
    for (struct list *it; (it = list_pop_front(answers)) != NULL;) {
        struct task *task = LV_CONTAINER_OF(it, struct task, node);
        task->req.version = version;
        if (task->is_policy_set && sweep_join(tw, task))
            continue;
        if (task->is_vhost_gone && tw->vhost_deleted != NULL)
            tw->vhost_deleted(tw->callback_ctx, task->req.name);
        if (task->is_user_gone && tw->user_deleted != NULL)
            tw->user_deleted(tw->callback_ctx, task->req.name);
        topology_answer(task);
    }
}

void
turn_finish(struct topology_writer *tw)
{
    struct turn *t = &tw->turn;
    journal_finish(tw);
    struct pmap_retired *nodes = pmap_edit_end(&t->edit);
    if (!t->has_changed) {
        LV_ASSERT(nodes == NULL && t->retired.count == 0);
        // Nothing new to see; but what is there already must have been seen by all.
        struct list *last = list_is_empty(&tw->history) ? NULL : tw->history.prev;
        if (last != NULL)
            list_splice_back(&LV_CONTAINER_OF(last, struct version_record, node)->answers, &t->done);
        else
            answer_all(tw, &t->done, tw->newest->version);
        return;
    }
    struct topology *topology = mem_xalloc(sizeof *topology);
    *topology = t->draft;
    topology->version = tw->newest->version + 1;
    if (t->has_auth_changed)
        topology->auth_version = topology->version;
    retire(tw, RETIRED_BLOCK, (void *)(uintptr_t)tw->newest);
    struct version_record *record = mem_xalloc(sizeof *record);
    *record = (struct version_record){
        .topology = topology, .retired = t->retired, .nodes = nodes, .events = t->events};
    t->events = (struct event_list){0};
    list_init(&record->node);
    list_init(&record->answers);
    list_splice_back(&record->answers, &t->done);
    t->retired = (struct retire_list){0};
    tw->newest = topology;
    tw->pending = record;
}

void
version_record_free(struct topology_writer *tw, struct version_record *r)
{
    events_free(&r->events);
    retire_list_free(tw, &r->retired);
    pmap_retired_free(r->nodes);
    mem_free(r);
}

static bool
has_spilled(const struct topology_writer *tw)
{
    for (int i = 0; i < tw->crew->n_workers; i++) {
        if (mailbox_spill_count(tw->worker->out[i]) > 0)
            return true;
    }
    return false;
}

// A ring that has spilled wakes the writer when its receiver has made room.
static void
publish_pending(struct topology_writer *tw)
{
    if (tw->pending == NULL || has_spilled(tw))
        return;
    atomic_store_explicit(&tw->published, tw->pending->topology, memory_order_release);
    list_push_back(&tw->history, &tw->pending->node);
    tw->pending = NULL;
    for (int i = 0; i < tw->crew->n_members; i++) {
        if (tw->readers[i].is_reader)
            ev_async_send(tw->crew->members[i]->loop, &tw->crew->members[i]->wake);
    }
}

// What only versions older than that of a record reached is freed with it, once nobody has pinned such a version.
static void
free_kept(struct topology_writer *tw)
{
    uint64_t pinned = UINT64_MAX;
    if (list_is_empty(&tw->kept))
        return;
    for (int i = 0; i < tw->crew->n_members; i++) {
        if (!tw->readers[i].is_reader)
            continue;
        uint64_t one = atomic_load_explicit(&tw->readers[i].pinned, memory_order_acquire);
        pinned = LV_MIN(pinned, one);
    }
    for (struct list *it; (it = list_first(&tw->kept)) != NULL;) {
        struct version_record *r = LV_CONTAINER_OF(it, struct version_record, node);
        if (r->topology->version > pinned)
            break;
        list_remove(it);
        version_record_free(tw, r);
    }
}

static void
settle_adopted(struct topology_writer *tw)
{
    if (list_is_empty(&tw->history)) {
        free_kept(tw);
        return;
    }
    uint64_t adopted = UINT64_MAX;
    for (int i = 0; i < tw->crew->n_members; i++) {
        if (!tw->readers[i].is_reader)
            continue;
        // Loaded once: LV_MIN looks at its arguments twice, and the second look might see a version that others have not adopted.
        uint64_t one = atomic_load_explicit(&tw->readers[i].adopted, memory_order_acquire);
        adopted = LV_MIN(adopted, one);
    }
    for (struct list *it; (it = list_first(&tw->history)) != NULL;) {
        struct version_record *r = LV_CONTAINER_OF(it, struct version_record, node);
        if (r->topology->version > adopted)
            break;
        list_remove(it);
        answer_all(tw, &r->answers, r->topology->version);
        events_send(tw, &r->events);
        list_push_back(&tw->kept, &r->node);
    }
    free_kept(tw);
}

static bool
has_work(const struct topology_writer *tw)
{
    return tw->pending == NULL &&
           (!list_is_empty(&tw->inbox) || !list_is_empty(&tw->settled) || sweep_has_work(tw));
}

bool
topology_writer_work(struct worker *w, void *ctx)
{
    struct topology_writer *tw = ctx;
    settle_adopted(tw);
    if (!tw->has_swept)
        delay_sweep(tw);
    if (has_work(tw))
        turn_run(tw);
    return false;
}

bool
topology_writer_publish(struct worker *w, void *ctx)
{
    struct topology_writer *tw = ctx;
    publish_pending(tw);
    settle_adopted(tw);
    return has_work(tw);
}

// --- the end ----------------------------------------------------------------------------------------------------------

void
tasks_free(struct list *tasks)
{
    for (struct list *it; (it = list_pop_front(tasks)) != NULL;) {
        struct task *task = LV_CONTAINER_OF(it, struct task, node);
        list_remove(&task->conn_node);
        topology_request_free(&task->req);
    }
}

// A group is freed with the last of its deletions.
static void
free_deletions(struct list *deletions)
{
    for (struct list *it; (it = list_pop_front(deletions)) != NULL;) {
        struct deletion *d = LV_CONTAINER_OF(it, struct deletion, node);
        tasks_free(&d->waiting);
        for (int i = 0; i < GROUP_COUNT; i++) {
            if (d->groups[i] != NULL && --d->groups[i]->pending == 0)
                group_free(d->groups[i]);
        }
        if (d->asker != NULL)
            topology_request_free(&d->asker->req);
        queue_request_free(d->request);
        mem_free(d);
    }
}

static void
free_creations(struct topology_writer *tw)
{
    for (struct list *it; (it = list_pop_front(&tw->creations)) != NULL;) {
        struct creation *c = LV_CONTAINER_OF(it, struct creation, node);
        queue_request_free(c->request);
        mem_free(c);
    }
}

static void
free_record(struct topology_writer *tw, struct version_record *r)
{
    tasks_free(&r->answers);
    version_record_free(tw, r);
}

static void
free_connections(struct topology_writer *tw)
{
    size_t cursor = 0;
    uint64_t id;
    void *conn;
    while (inttab_next(&tw->conns, &cursor, &id, &conn))
        mem_free(conn);
    inttab_fini(&tw->conns);
}

static void
free_newest(struct topology_writer *tw)
{
    struct topology *t = (struct topology *)(uintptr_t)tw->newest;
    struct pmap_edit edit;
    struct pmap_iter it, queues;
    pmap_edit_begin(&edit);
    pmap_iter_init(&it, &t->vhosts);
    for (struct vhost *v; (v = pmap_iter_next(&it)) != NULL;) {
        const struct pmap *maps[] = {&v->queues, &v->delay_queues};
        for (size_t i = 0; i < LV_ARRAY_LEN(maps); i++) {
            pmap_iter_init(&queues, maps[i]);
            for (struct queue_def *def; (def = pmap_iter_next(&queues)) != NULL;)
                mem_free(queue_entry_of(def));
        }
        vhost_entry_free(tw, LV_CONTAINER_OF(v, struct vhost_version, v)->entry);
    }
    pmap_clear(&t->vhosts, &edit);
    for (int map = 0; map < SWAP_COUNT; map++)
        swap_map_free(tw, t, (enum swap_map)map, &edit);
    pmap_retired_free(pmap_edit_end(&edit));
    mem_free(t);
}

void
topology_writer_free(struct topology_writer *tw)
{
    tw->is_ending = true;
    tasks_free(&tw->inbox);
    tasks_free(&tw->turn.tasks);
    tasks_free(&tw->turn.done);
    free_deletions(&tw->deletions);
    free_deletions(&tw->settled);
    free_creations(tw);
    sweeps_free(tw);
    for (struct list *it; (it = list_pop_front(&tw->history)) != NULL;)
        free_record(tw, LV_CONTAINER_OF(it, struct version_record, node));
    for (struct list *it; (it = list_pop_front(&tw->kept)) != NULL;)
        free_record(tw, LV_CONTAINER_OF(it, struct version_record, node));
    if (tw->pending != NULL)
        free_record(tw, tw->pending);
    free_newest(tw);
    free_connections(tw);
    LV_ASSERT(tw->turn.retired.count == 0);
    mem_free(tw->turn.retired.items);
    mem_free(tw->turn.journal.records);
    mem_free(tw->turn.gone_rows);
    mem_free(tw->owed);
    mem_free(tw->free_slots);
    policy_matcher_free(tw->matcher);
    default_policies_fini(tw);
    if (tw->meta != NULL)
        meta_close(tw->meta);
    mem_free(tw);
}
