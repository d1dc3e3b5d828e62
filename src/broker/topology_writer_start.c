// topology_writer_start.c: version 1: from the store, or from nothing; and the end.
//
// Start: everything in the store is loaded into the draft of turn 1, missing system exchanges and (in a new store) the default
// vhost and user are added and written, the queues are created directly on their workers, whose threads do not run yet.
// Rows that refer to something missing are skipped with a line in the log: they can only come from rows still owed when the
// process was killed, or from a damaged store.
#include "src/base/buf.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/broker/arguments.h"
#include "src/broker/auth.h"
#include "src/broker/topology_writer.h"

struct load {
    struct topology_writer *tw;
    struct inttab exchanges; // id → struct exchange_entry
    struct inttab queues;    // id → struct queue_entry
};

static int
remember(struct load *l, struct inttab *table, uint64_t id, void *entry)
{
    l->tw->id_last = LV_MAX(l->tw->id_last, id);
    return inttab_put(table, id, entry);
}

static int
load_vhost(void *ctx, const struct meta_vhost *row)
{
    struct load *l = ctx;
    struct vhost_settings settings = {
        .description = row->description,
        .tags = row->tags,
        .default_queue_type = row->default_queue_type,
        .is_tracing = row->is_tracing,
        .max_connections = row->max_connections,
        .max_queues = row->max_queues,
        .rate = {row->max_publish_rate, row->max_publish_bytes_rate},
        .content = {row->max_messages, row->max_memory_bytes},
    };
    vhost_entry_add(l->tw, 0, row->name, &settings); // ids of vhosts are given below, each start anew
    return 0;
}

static int
load_user(void *ctx, const struct meta_user *row)
{
    struct load *l = ctx;
    uint8_t hash[PASSWORD_HASH_MAX];
    size_t hash_len = 0;
    if (row->password_hash.len > 0 && base64_decode(row->password_hash, hash, sizeof hash, &hash_len) < 0) {
        log_warn(LOG_STORE,
                 "user '%.*s': unreadable password hash in the metadata store: no log-in by password",
                 SLICE_FMT(row->name));
        hash_len = 0;
    }
    struct user u = {
        .name = row->name,
        .password_hash = slice_of(hash, hash_len),
        .hashing = row->hashing,
        .tags = row->tags,
        .max_connections = row->max_connections,
        .max_channels = row->max_channels,
        .rate = {row->max_publish_rate, row->max_publish_bytes_rate},
    };
    user_put(l->tw, &u);
    return 0;
}

static bool
is_owner_known(struct load *l, struct slice user, struct slice vhost, const char *what)
{
    if (topology_user(&l->tw->turn.draft, user) != NULL && topology_vhost(&l->tw->turn.draft, vhost) != NULL)
        return true;
    log_warn(LOG_STORE, "%s of user '%.*s' in vhost '%.*s': one of them does not exist: skipping", what,
             SLICE_FMT(user), SLICE_FMT(vhost));
    return false;
}

static void
log_bad_regex(const char *what, struct slice user, struct slice vhost, char *error)
{
    log_warn(LOG_STORE, "%s of user '%.*s' in vhost '%.*s': %s: skipping", what, SLICE_FMT(user),
             SLICE_FMT(vhost), error != NULL ? error : "invalid regular expression");
    mem_free(error);
}

static int
load_permission(void *ctx, const struct meta_permission *row)
{
    struct load *l = ctx;
    const struct slice pattern[3] = {
        [ACCESS_CONFIGURE] = row->configure, [ACCESS_WRITE] = row->write, [ACCESS_READ] = row->read};
    struct permission *p;
    char *error = NULL;
    if (!is_owner_known(l, row->user, row->vhost, "permission"))
        return 0;
    if (permission_new(row->user, row->vhost, pattern, &p, &error) < 0) {
        log_bad_regex("permission", row->user, row->vhost, error);
        return 0;
    }
    struct topology_key key = swap_key_of(SWAP_PERMISSION, p);
    swap_value(l->tw, SWAP_PERMISSION, &key, p);
    return 0;
}

static int
load_topic_permission(void *ctx, const struct meta_topic_permission *row)
{
    struct load *l = ctx;
    const struct slice pattern[3] = {[ACCESS_WRITE] = row->write, [ACCESS_READ] = row->read};
    struct topic_permission *p;
    char *error = NULL;
    if (!is_owner_known(l, row->user, row->vhost, "topic permission"))
        return 0;
    if (topic_permission_new(row->user, row->vhost, row->exchange, pattern, &p, &error) < 0) {
        log_bad_regex("topic permission", row->user, row->vhost, error);
        return 0;
    }
    struct topology_key key = swap_key_of(SWAP_TOPIC_PERMISSION, p);
    swap_value(l->tw, SWAP_TOPIC_PERMISSION, &key, p);
    return 0;
}

static int
load_parameter(void *ctx, const struct meta_parameter *row)
{
    struct load *l = ctx;
    struct topology_key key = {{row->component, row->vhost, row->name}};
    struct policy_args args = {.vhost = row->vhost, .name = row->name, .json = row->value};
    parameter_put(l->tw, &key, row->value);
    if (!policy_kind_parse(row->component, &args.kind))
        return 0;
    struct buf reason = BUF_INIT;
    if (policy_load(l->tw, &args, &reason) < 0)
        log_warn(LOG_STORE, "%.*s '%.*s' in vhost '%.*s': %s: it has no effect", SLICE_FMT(row->component),
                 SLICE_FMT(row->name), SLICE_FMT(row->vhost), buf_cstr(&reason));
    buf_fini(&reason);
    return 0;
}

static struct vhost_entry *
load_vhost_of(struct load *l, const char *kind, struct slice name, struct slice vhost)
{
    struct vhost_entry *e = vhost_entry_find(l->tw, vhost);
    if (e == NULL)
        log_warn(LOG_STORE, "%s '%.*s': its vhost '%.*s' does not exist: skipping", kind, SLICE_FMT(name),
                 SLICE_FMT(vhost));
    return e;
}

static int
load_exchange(void *ctx, const struct meta_exchange *row)
{
    struct load *l = ctx;
    enum exchange_type type;
    struct vhost_entry *v = load_vhost_of(l, "exchange", row->name, row->vhost);
    if (v == NULL)
        return 0;
    if (exchange_type_parse(row->type, &type) != 0 || vhost_exchange(&v->now->v, row->name) != NULL) {
        log_warn(LOG_STORE, "exchange '%.*s' in vhost '%.*s': unknown type '%.*s' or stored twice: skipping",
                 SLICE_FMT(row->name), SLICE_FMT(row->vhost), SLICE_FMT(row->type));
        return 0;
    }
    struct exchange_args args = {
        .id = row->id,
        .vhost = v,
        .name = row->name,
        .arguments = row->arguments,
        .user = row->user,
        .type = type,
        .is_durable = true,
        .is_auto_delete = row->is_auto_delete,
        .is_internal = row->is_internal,
    };
    return remember(l, &l->exchanges, row->id, exchange_entry_add(l->tw, &args));
}

static int
load_queue(void *ctx, const struct meta_queue *row)
{
    struct load *l = ctx;
    struct fault fault = {0};
    struct queue_properties p = {.is_durable = true, .is_auto_delete = row->is_auto_delete};
    struct queue_args args = {
        .id = row->id,
        .name = row->name,
        .arguments = row->arguments,
        .user = row->user,
        .created_ms = row->created_ms,
    };
    args.vhost = load_vhost_of(l, "queue", row->name, row->vhost);
    if (args.vhost == NULL)
        return 0;
    if (vhost_queue(&args.vhost->now->v, row->name) != NULL) {
        log_warn(LOG_STORE, "queue '%.*s' in vhost '%.*s': stored twice: skipping", SLICE_FMT(row->name),
                 SLICE_FMT(row->vhost));
        return 0;
    }
    uint64_t exchange_id = 0;
    bool is_delay = delay_is_queue(row->name, &exchange_id);
    // Rules may have become stricter since it was declared: that is no reason to lose it.
    if (!arguments_check_queue(row->vhost, row->name, row->arguments, &p, &args.type, &args.flags, &fault)) {
        log_warn(LOG_STORE, "queue '%.*s' in vhost '%.*s': %s: keeping it as a classic queue",
                 SLICE_FMT(row->name), SLICE_FMT(row->vhost), fault.text);
        args.type = QUEUE_CLASSIC;
        args.flags = 0;
    }
    args.flags |= (uint32_t)QUEUE_DURABLE | (row->is_auto_delete ? (uint32_t)QUEUE_AUTO_DELETE : 0);
    if (is_delay)
        args.flags |= QUEUE_DELAY;
    struct queue_entry *q = queue_entry_add(l->tw, &args);
    struct exchange_entry *delays = is_delay ? inttab_get(&l->exchanges, exchange_id) : NULL;
    if (delays != NULL && delays->delay == NULL)
        delay_attach(l->tw, delays, q);
    return remember(l, &l->queues, row->id, q);
}

static int
load_binding(void *ctx, const struct meta_binding *row)
{
    struct load *l = ctx;
    struct exchange_entry *source = inttab_get(&l->exchanges, row->source_id);
    struct exchange_entry *dest = row->is_dest_queue ? NULL : inttab_get(&l->exchanges, row->dest_id);
    struct queue_entry *queue = row->is_dest_queue ? inttab_get(&l->queues, row->dest_id) : NULL;
    struct vhost_entry *v = queue != NULL ? queue->vhost : dest != NULL ? dest->vhost : NULL;
    if (source == NULL || v == NULL || source->vhost != v) {
        log_warn(
            LOG_STORE,
            "binding from exchange %llu to %s %llu with key '%.*s': one of them does not exist: skipping",
            (unsigned long long)row->source_id, row->is_dest_queue ? "queue" : "exchange",
            (unsigned long long)row->dest_id, SLICE_FMT(row->key));
        return 0;
    }
    struct binding_args args = {
        .source_id = row->source_id,
        .dest_id = row->dest_id,
        .dest = queue != NULL ? BINDING_TO_QUEUE : BINDING_TO_EXCHANGE,
        .is_durable = true,
        .queue = queue != NULL ? &queue->def : NULL,
        .key = row->key,
        .arguments = row->arguments,
        .source_name = source->now->x.name,
        .dest_name = queue != NULL ? queue->def.name : dest->now->x.name,
    };
    struct binding *b = binding_new(&args);
    if (b == NULL)
        return -LE_NOMEM;
    list_init(&b->dest_node);
    binding_add(l->tw, source, b);
    return 0;
}

// --- what a new store gets --------------------------------------------------------------------------------------------

static void
make_vhost(struct topology_writer *tw, struct slice name)
{
    if (name.len == 0 || vhost_entry_find(tw, name) != NULL)
        return;
    struct vhost_settings settings = {
        .max_connections = -1,
        .max_queues = -1,
        .rate = rate_unlimited,
        .content = content_unlimited,
        .description = SLICE_LIT("Default virtual host"),
    };
    vhost_settings_default(tw, name, &settings);
    struct vhost_entry *e = vhost_entry_add(tw, 0, name, &settings);
    vhost_store(tw, &e->now->v);
    default_policies_apply(tw, e);
}

static int
make_default_permission(const struct topology_config *config, struct permission **ret, char **ret_error)
{
    struct slice pattern[3];
    for (int i = 0; i < 3; i++)
        pattern[i] = config->default_user_permission[i].ptr != NULL ? config->default_user_permission[i]
                                                                    : SLICE_LIT(".*");
    int result = permission_new(config->default_user, config->default_vhost, pattern, ret, ret_error);
    if (result < 0 && *ret_error != NULL) {
        struct buf b = BUF_INIT;
        buf_printf(&b, "default_permissions: %s", *ret_error);
        mem_free(*ret_error);
        *ret_error = mem_xstrdup(buf_cstr(&b));
        buf_fini(&b);
    }
    return result;
}

static bool
is_password_good(const struct topology_config *config, char **ret_error)
{
    struct buf reason = BUF_INIT;
    buf_append_str(&reason, "default_pass: ");
    bool is_good = config->default_user.len == 0 ||
                   password_rule_allows(config->password_rule, config->default_pass, &reason);
    if (!is_good)
        *ret_error = mem_xstrdup(buf_cstr(&reason));
    buf_fini(&reason);
    return is_good;
}

static int
make_user(struct topology_writer *tw, const struct topology_config *config)
{
    static const struct slice hashing = SLICE_LIT("rabbit_password_hashing_sha256");
    uint8_t hash[PASSWORD_HASH_MAX];
    size_t hash_len = 0;
    struct permission *p;
    if (config->default_user.len == 0)
        return 0;
    int result = password_hash_make(config->default_pass, hashing, hash, &hash_len);
    if (result < 0)
        return result;
    struct user u = {
        .name = config->default_user,
        .password_hash = slice_of(hash, hash_len),
        .hashing = hashing,
        .tags =
            config->default_user_tags.ptr != NULL ? config->default_user_tags : SLICE_LIT("administrator"),
        .max_connections = -1,
        .max_channels = -1,
        .rate = rate_unlimited,
    };
    user_put(tw, &u);
    user_store(tw, &u);
    if (config->default_vhost.len == 0)
        return 0;
    char *error = NULL;
    result = make_default_permission(config, &p, &error); // start_writer has tried it
    mem_free(error);
    if (result < 0)
        return result;
    struct topology_key key = swap_key_of(SWAP_PERMISSION, p);
    swap_value(tw, SWAP_PERMISSION, &key, p);
    permission_store(tw, p);
    return 0;
}

// Ids and system exchanges of all vhosts.
static int
complete_vhosts(struct topology_writer *tw)
{
    struct vhost_entry **all = NULL;
    size_t count = 0, cap = 0;
    int result = 0;
    struct pmap_iter it;
    pmap_iter_init(&it, &tw->turn.draft.vhosts);
    for (const struct vhost *v; (v = pmap_iter_next(&it)) != NULL;) {
        all = array_grow(all, count, &cap, sizeof(struct vhost_entry *));
        all[count++] = LV_CONTAINER_OF(v, struct vhost_version, v)->entry;
    }
    for (size_t i = 0; i < count && result == 0; i++) {
        if (ids_are_short(tw)) { // ends the transaction so far; each piece of it is good alone
            result = store_commit(tw) ? store_raise_ceiling(tw) : tw->turn.store_error;
            if (result < 0)
                break;
        }
        vhost_edit(tw, all[i])->id = id_take(tw);
        exchange_add_system(tw, all[i]);
        delay_complete(tw, all[i]);
    }
    mem_free(all);
    return result;
}

// --- start ------------------------------------------------------------------------------------------------------------

static char *
sentence(const char *what, int error)
{
    struct buf b = BUF_INIT;
    buf_printf(&b, "%s: %s", what, err_text(error));
    char *text = mem_xstrdup(buf_cstr(&b));
    buf_fini(&b);
    return text;
}

static int
load_all(struct topology_writer *tw)
{
    static const struct meta_loader loader = {
        .vhost = load_vhost,
        .user = load_user,
        .permission = load_permission,
        .topic_permission = load_topic_permission,
        .parameter = load_parameter,
        .exchange = load_exchange,
        .queue = load_queue,
        .binding = load_binding,
    };
    struct load l = {.tw = tw};
    inttab_init(&l.exchanges);
    inttab_init(&l.queues);
    int result = meta_load(tw->meta, &loader, &l);
    inttab_fini(&l.exchanges);
    inttab_fini(&l.queues);
    return result;
}

// In one transaction with what a new store gets: a start that is killed in between leaves a new store.
static void
reserve_first_ids(struct topology_writer *tw)
{
    tw->id_ceiling = TOPOLOGY_ID_STEP;
    if (store_is_open(tw))
        store_note(tw, meta_put_id_ceiling(tw->meta, tw->id_ceiling));
}

static int
build_first(struct topology_writer *tw, const struct topology_config *config, char **ret_error)
{
    int result = 0;
    bool is_new = true;
    if (tw->meta != NULL) {
        result = meta_get_id_ceiling(tw->meta, &tw->id_last);
        is_new = tw->id_last == 0;
        if (result == 0)
            result = load_all(tw);
        if (result == 0 && !is_new)
            result = store_raise_ceiling(tw);
        if (result < 0) {
            *ret_error = sentence("cannot read the metadata store", result);
            return result;
        }
    }
    if (is_new) {
        if (!is_password_good(config, ret_error))
            return -LE_INVAL;
        reserve_first_ids(tw);
        make_vhost(tw, config->default_vhost);
        result = make_user(tw, config);
    }
    if (result == 0)
        result = complete_vhosts(tw);
    if (!store_commit(tw) && result == 0)
        result = tw->turn.store_error;
    if (result < 0)
        *ret_error = sentence("cannot set up the default vhost and user in the metadata store", result);
    return result;
}

static void
created_at_start(struct queue_request *r)
{
    if (r->outcome != QUEUE_OK)
        *(bool *)r->ctx = true;
    queue_request_free(r);
}

// The workers do not run yet: this thread is each of them in turn. False: out of memory.
static bool
create_queues(struct topology_writer *tw)
{
    struct worker *before = worker_self;
    bool has_failed = false;
    for (size_t i = 0; i < tw->turn.journal.count; i++) {
        if (tw->turn.journal.records[i].kind != JOURNAL_QUEUE_NEW)
            continue;
        struct queue_entry *q = tw->turn.journal.records[i].a;
        struct queue_request *r = queue_request_new(QUEUE_REQUEST_CREATE, q->def.handle);
        if (r == NULL) {
            has_failed = true;
            continue;
        }
        r->def = &q->def;
        r->rules = policy_queue_rules(tw, q);
        r->done = created_at_start;
        r->ctx = &has_failed;
        q->is_new = false;
        worker_self = tw->crew->members[handle_worker(q->def.handle)];
        queue_request_send(r); // on the owner itself: a plain call
    }
    worker_self = before;
    return !has_failed;
}

static int
start_writer(struct topology_writer *tw, const struct topology_config *config, char **ret_error)
{
    struct permission *p;
    int result = make_default_permission(config, &p, ret_error);
    if (result == 0)
        permission_free(p);
    if (result == 0)
        result = default_policies_init(tw, config, ret_error);
    if (result == 0 && config->data_dir != NULL)
        result = meta_open(config->data_dir, &tw->meta, ret_error);
    if (result < 0)
        return result;
    turn_begin(tw);
    result = build_first(tw, config, ret_error);
    if (result == 0 && !create_queues(tw)) {
        result = -LE_NOMEM;
        *ret_error = sentence("cannot create the queues", result);
    }
    turn_finish(tw);
    return result;
}

int
topology_start(struct crew *crew, const struct topology_config *config, char **ret_error)
{
    for (int i = 0; i < crew->n_workers; i++)
        LV_ASSERT(crew->members[i]->queue_state != NULL); // queues are created here
    struct topology_writer *tw = topology_writer_new(crew);
    tw->placement = config->placement;
    tw->event_vhost = config->event_vhost;
    tw->log_vhost = config->log_vhost;
    tw->vhost_defaults = config->vhost_defaults;
    tw->limits = config->limits != NULL ? *config->limits : (struct topology_limits){-1, -1, -1};
    tw->vhost_deleted = config->vhost_deleted;
    tw->user_deleted = config->user_deleted;
    tw->callback_ctx = config->ctx;
    *ret_error = NULL;
    int result = start_writer(tw, config, ret_error);
    if (result < 0) {
        topology_writer_free(tw);
        return result;
    }
    if (tw->pending != NULL)
        version_record_free(tw, tw->pending);
    tw->pending = NULL;
    atomic_store_explicit(&tw->published, tw->newest, memory_order_release);
    tw->worker->extra_state = tw;
    worker_add_hook(tw->worker, PHASE_LOG, topology_writer_work, tw);
    worker_add_hook(tw->worker, PHASE_REAP, topology_writer_publish, tw);
    return 0;
}

static void
take_limits(struct worker *w, void *payload)
{
    ((struct topology_writer *)w->extra_state)->limits = *(const struct topology_limits *)payload;
}

void
topology_set_limits(struct crew *crew, const struct topology_limits *limits)
{
    worker_post(crew_extra_member(crew, CREW_TOPOLOGY), take_limits, limits, sizeof *limits, 0);
}

// What is still in the rings to the writer comes out, so that it can be freed.
static void
drain_rings(struct topology_writer *tw)
{
    struct worker *before = worker_self;
    worker_self = tw->worker;
    for (int i = 0; i < tw->crew->n_members; i++) {
        struct mailbox *ring = tw->crew->members[i]->out[tw->worker->index];
        do {
            (void)mailbox_publish(ring);
            worker_drain_from(tw->worker, tw->crew->members[i]);
        } while (mailbox_spill_count(ring) > 0);
    }
    worker_self = before;
}

void
topology_stop(struct crew *crew)
{
    struct topology_writer *tw = topology_writer_of(crew);
    if (tw == NULL)
        return;
    drain_rings(tw);
    store_pay_owed(tw);
    topology_answers_drop(tw);
    tw->worker->extra_state = NULL;
    topology_writer_free(tw);
}
