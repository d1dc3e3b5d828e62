// topology_writer_access.c: vhosts, users, permissions, topic permissions, parameters.
//
// Texts are those the command line tool prints. Changes here are rare: where one has to find all rows of a vhost or user it
// looks through the whole map.
#include "src/base/mem.h"
#include "src/broker/arguments.h"
#include "src/broker/auth.h"
#include "src/broker/topology_writer.h"
#include "src/broker/vhost_defaults.h"

// --- vhosts -----------------------------------------------------------------------------------------------------------

static struct vhost_settings *
settings_copy(const struct vhost_settings *s)
{
    struct vhost_settings *copy =
        mem_xalloc(sizeof *copy + s->description.len + s->tags.len + s->default_queue_type.len);
    uint8_t *at = (uint8_t *)(copy + 1);
    *copy = *s;
    copy->description = slice_place(&at, s->description);
    copy->tags = slice_place(&at, s->tags);
    copy->default_queue_type = slice_place(&at, s->default_queue_type);
    return copy;
}

void
vhost_apply_settings(struct vhost *v, const struct vhost_settings *s)
{
    v->description = s->description;
    v->tags = s->tags;
    v->default_queue_type = s->default_queue_type;
    v->is_tracing = s->is_tracing;
    v->max_connections = s->max_connections;
    v->max_queues = s->max_queues;
    v->rate = s->rate;
    v->content = s->content;
}

struct vhost_entry *
vhost_entry_add(struct topology_writer *tw, uint64_t id, struct slice name,
                const struct vhost_settings *settings)
{
    struct vhost_entry *e = mem_xalloc(sizeof *e + name.len);
    struct vhost_version *version = mem_xalloc(sizeof *version);
    uint8_t *at = (uint8_t *)(e + 1);
    *e = (struct vhost_entry){
        .now = version, .settings = settings_copy(settings), .name = slice_place(&at, name)};
    list_init(&e->queue_list);
    list_init(&e->exchange_list);
    *version = (struct vhost_version){.turn = tw->turn.number, .entry = e, .v = {.id = id, .name = e->name}};
    vhost_apply_settings(&version->v, e->settings);
    pmap_put(&tw->turn.draft.vhosts, &tw->turn.edit, slice_hash(e->name), topology_eq_vhost, &e->name,
             &version->v);
    journal_add(tw, JOURNAL_VHOST_NEW, e, NULL);
    tw->turn.has_auth_changed = true;
    return e;
}

static void
settings_change(struct topology_writer *tw, struct vhost_entry *e, const struct vhost_settings *settings)
{
    struct vhost_settings *old = e->settings;
    e->settings = settings_copy(settings);
    vhost_apply_settings(vhost_edit(tw, e), e->settings);
    journal_add(tw, JOURNAL_VHOST_SETTING, e, old);
    tw->turn.has_auth_changed = true;
}

void
vhost_store(struct topology_writer *tw, const struct vhost *v)
{
    if (!store_is_open(tw))
        return;
    struct meta_vhost row = {
        .name = v->name,
        .description = v->description,
        .tags = v->tags,
        .default_queue_type = v->default_queue_type,
        .is_tracing = v->is_tracing,
        .max_connections = v->max_connections,
        .max_queues = v->max_queues,
        .max_publish_rate = v->rate.messages,
        .max_publish_bytes_rate = v->rate.bytes,
        .max_messages = v->content.messages,
        .max_memory_bytes = v->content.memory_bytes,
    };
    store_note(tw, meta_put_vhost(tw->meta, &row));
}

struct vhost_entry *
vhost_for_task(struct topology_writer *tw, struct task *task)
{
    struct vhost_entry *e = vhost_entry_find(tw, task->req.vhost);
    if (e != NULL && e->deleting == NULL)
        return e;
    fault_set(&task->req.fault, FAULT_NOT_ALLOWED, "vhost %.*s not found", SLICE_FMT(task->req.vhost));
    return NULL;
}

struct vhost_entry *
vhost_named(struct topology_writer *tw, struct task *task, struct slice name, const char *quote)
{
    struct vhost_entry *e = vhost_entry_find(tw, name);
    if (e == NULL)
        fault_set(&task->req.fault, FAULT_NOT_FOUND, "Virtual host %s%.*s%s does not exist", quote,
                  SLICE_FMT(name), quote);
    return e;
}

bool
vhost_must_wait(struct vhost_entry *e, struct task *task)
{
    if (e == NULL || e->deleting == NULL)
        return false;
    list_push_back(&e->deleting->waiting, &task->node);
    return true;
}

static bool
check_name(struct topology_request *r, const char *what)
{
    if (r->name.len > 0 && r->name.len <= TOPOLOGY_NAME_MAX)
        return true;
    fault_set(&r->fault, FAULT_PRECONDITION_FAILED, "a %s name has 1 to %d bytes", what, TOPOLOGY_NAME_MAX);
    return false;
}

static struct vhost_settings
settings_of_request(const struct topology_request *r, const struct vhost_settings *old)
{
    struct vhost_settings s = old != NULL ? *old
                                          : (struct vhost_settings){.max_connections = -1,
                                                                    .max_queues = -1,
                                                                    .rate = rate_unlimited,
                                                                    .content = content_unlimited};
    if (r->text.ptr != NULL)
        s.description = r->text;
    if (r->tags.ptr != NULL)
        s.tags = r->tags;
    if (r->default_queue_type.ptr != NULL)
        s.default_queue_type = r->default_queue_type;
    if ((r->flags & (CHANGE_TRACING_ON | CHANGE_TRACING_OFF)) != 0)
        s.is_tracing = (r->flags & CHANGE_TRACING_ON) != 0;
    return s;
}

void
vhost_settings_default(const struct topology_writer *tw, struct slice name, struct vhost_settings *s)
{
    const struct vhost_default *d = vhost_defaults_find(tw->vhost_defaults, name);
    if (d == NULL)
        return;
    s->max_connections = d->max_connections;
    s->max_queues = d->max_queues;
    s->rate = d->rate;
}

static void
vhost_create(struct topology_writer *tw, struct task *task)
{
    struct topology_request *r = &task->req;
    struct vhost_settings settings = settings_of_request(r, NULL);
    vhost_settings_default(tw, r->name, &settings);
    if ((r->flags & CHANGE_ONLY_EXISTING) != 0) {
        vhost_named(tw, task, r->name, "'");
        return;
    }
    if (!check_name(r, "virtual host"))
        return;
    if (tw->limits.vhosts >= 0 && tw->turn.draft.vhosts.count >= (uint64_t)tw->limits.vhosts) {
        fault_set(&r->fault, FAULT_PRECONDITION_FAILED,
                  "cannot create vhost '%.*s': vhost limit of %lld is reached", SLICE_FMT(r->name),
                  (long long)tw->limits.vhosts);
        return;
    }
    if (!store_may_change(tw, task))
        return;
    if (ids_are_short(tw)) {
        fault_set(&r->fault, FAULT_INTERNAL_ERROR, "the metadata store gave no object id");
        return;
    }
    struct vhost_entry *e = vhost_entry_add(tw, id_take(tw), r->name, &settings);
    vhost_store(tw, &e->now->v);
    exchange_add_system(tw, e);
    default_policies_apply(tw, e);
    r->is_created = true;
}

void
task_vhost_put(struct topology_writer *tw, struct task *task)
{
    struct topology_request *r = &task->req;
    struct vhost_entry *e = vhost_entry_find(tw, r->name);
    if (vhost_must_wait(e, task))
        return;
    if (r->default_queue_type.len > 0 && !arguments_is_queue_type(r->default_queue_type)) {
        fault_set(&r->fault, FAULT_PRECONDITION_FAILED, "unsupported queue type '%.*s'",
                  SLICE_FMT(r->default_queue_type));
    } else if (e == NULL) {
        vhost_create(tw, task);
    } else if ((r->flags & CHANGE_ONLY_NEW) != 0) {
        fault_set(&r->fault, FAULT_PRECONDITION_FAILED, "Virtual host '%.*s' already exists",
                  SLICE_FMT(r->name));
    } else if (store_may_change(tw, task)) {
        struct vhost_settings settings = settings_of_request(r, e->settings);
        settings_change(tw, e, &settings);
        vhost_store(tw, &e->now->v);
    }
    task_done(tw, task);
}

// The two limits that a request may set, each; every negative number means none.
static void
set_limits(const struct topology_request *r, int64_t *first, int64_t *second)
{
    if (r->number != INT64_MIN)
        *first = LV_MAX(r->number, -1);
    if (r->number2 != INT64_MIN)
        *second = LV_MAX(r->number2, -1);
}

void
task_vhost_limits(struct topology_writer *tw, struct task *task)
{
    struct topology_request *r = &task->req;
    struct vhost_entry *e = vhost_named(tw, task, r->name, "'");
    if (vhost_must_wait(e, task))
        return;
    if (e != NULL && store_may_change(tw, task)) {
        struct vhost_settings settings = *e->settings;
        if ((r->flags & CHANGE_RATE_LIMITS) != 0)
            set_limits(r, &settings.rate.messages, &settings.rate.bytes);
        else if ((r->flags & CHANGE_CONTENT_LIMITS) != 0)
            set_limits(r, &settings.content.messages, &settings.content.memory_bytes);
        else
            set_limits(r, &settings.max_connections, &settings.max_queues);
        settings_change(tw, e, &settings);
        vhost_store(tw, &e->now->v);
    }
    task_done(tw, task);
}

// All values of a map in whose key the given part is `name`.
static void
swap_out_all(struct topology_writer *tw, enum swap_map map, unsigned part, struct slice name)
{
    struct topology_key *keys = NULL;
    size_t count = 0, cap = 0;
    struct pmap_iter it;
    pmap_iter_init(&it, swap_map_of(&tw->turn.draft, map));
    for (const void *value; (value = pmap_iter_next(&it)) != NULL;) {
        struct topology_key key = swap_key_of(map, value);
        if (!slice_eq(key.part[part], name))
            continue;
        keys = array_grow(keys, count, &cap, sizeof *keys);
        keys[count++] = key; // slices of the value, which lives until the next version is adopted
    }
    for (size_t i = 0; i < count; i++)
        swap_value(tw, map, &keys[i], NULL);
    mem_free(keys);
}

static void
vhost_remove(struct topology_writer *tw, struct vhost_entry *e)
{
    swap_out_all(tw, SWAP_PERMISSION, 1, e->name);
    swap_out_all(tw, SWAP_TOPIC_PERMISSION, 1, e->name);
    swap_out_all(tw, SWAP_PARAMETER, 1, e->name);
    void *there =
        pmap_remove(&tw->turn.draft.vhosts, &tw->turn.edit, slice_hash(e->name), topology_eq_vhost, &e->name);
    LV_ASSERT(there == &e->now->v && e->now->v.queues.count == 0);
    tw->exchange_count -= (int64_t)e->now->v.exchanges.count;
    journal_add(tw, JOURNAL_VHOST_GONE, e, NULL);
    tw->turn.has_auth_changed = true;
    if (store_is_open(tw))
        store_note(tw, meta_delete_vhost(tw->meta, e->name));
}

// First the queues go, each at its owner; the task comes back with is_emptied when none is left.
void
task_vhost_delete(struct topology_writer *tw, struct task *task)
{
    struct vhost_entry *e = vhost_named(tw, task, task->req.name, "'");
    if (e == NULL) {
        task_done(tw, task);
        return;
    }
    if (!task->is_emptied) {
        if (vhost_must_wait(e, task))
            return;
        if (vhost_has_new_queue(e)) {
            task_cut(tw, task);
            return;
        }
        if (!vhost_empty(tw, e, task))
            return;
        task->is_emptied = true;
    }
    if (store_may_change(tw, task)) {
        vhost_remove(tw, e);
        task->is_vhost_gone = true;
    }
    if (e->deleting != NULL) {
        struct group *g = e->deleting;
        list_splice_back(&tw->turn.tasks, &g->waiting);
        group_free(g);
    }
    task_done(tw, task);
}

// --- users ------------------------------------------------------------------------------------------------------------

void
user_put(struct topology_writer *tw, const struct user *args)
{
    struct user *u =
        mem_xalloc(sizeof *u + args->name.len + args->password_hash.len + args->hashing.len + args->tags.len);
    uint8_t *at = (uint8_t *)(u + 1);
    *u = *args;
    u->name = slice_place(&at, args->name);
    u->password_hash = slice_place(&at, args->password_hash);
    u->hashing = slice_place(&at, args->hashing);
    u->tags = slice_place(&at, args->tags);
    u->tag_flags = user_tags_parse(u->tags);
    struct topology_key key = {{u->name}};
    swap_value(tw, SWAP_USER, &key, u);
}

void
user_store(struct topology_writer *tw, const struct user *u)
{
    char hash[(PASSWORD_HASH_MAX + 2) / 3 * 4 + 1] = "";
    if (!store_is_open(tw))
        return;
    if (u->password_hash.len > 0)
        base64_encode(u->password_hash, hash, sizeof hash);
    struct meta_user row = {
        .name = u->name,
        .password_hash = slice_str(hash),
        .hashing = u->hashing,
        .tags = u->tags,
        .max_connections = u->max_connections,
        .max_channels = u->max_channels,
        .max_publish_rate = u->rate.messages,
        .max_publish_bytes_rate = u->rate.bytes,
    };
    store_note(tw, meta_put_user(tw->meta, &row));
}

static const struct user *
user_named(struct topology_writer *tw, struct task *task, struct slice name, const char *quote)
{
    const struct user *u = topology_user(&tw->turn.draft, name);
    if (u == NULL)
        fault_set(&task->req.fault, FAULT_NOT_FOUND, "User %s%.*s%s does not exist", quote, SLICE_FMT(name),
                  quote);
    return u;
}

// Puts what `u` says; its slices may point into the present user.
static void
user_change(struct topology_writer *tw, const struct user *u)
{
    user_put(tw, u);
    user_store(tw, topology_user(&tw->turn.draft, u->name));
}

void
task_user_put(struct topology_writer *tw, struct task *task)
{
    struct topology_request *r = &task->req;
    const struct user *old = topology_user(&tw->turn.draft, r->name);
    if (old == NULL && (r->flags & CHANGE_ONLY_EXISTING) != 0) {
        user_named(tw, task, r->name, "\"");
    } else if (old != NULL && (r->flags & CHANGE_ONLY_NEW) != 0) {
        fault_set(&r->fault, FAULT_PRECONDITION_FAILED, "User \"%.*s\" already exists", SLICE_FMT(r->name));
    } else if (r->password_hash.len > PASSWORD_HASH_MAX) {
        fault_set(&r->fault, FAULT_PRECONDITION_FAILED, "a password hash has at most %d bytes",
                  PASSWORD_HASH_MAX);
    } else if (check_name(r, "user") && store_may_change(tw, task)) {
        struct user u = old != NULL ? *old
                                    : (struct user){
                                          .name = r->name,
                                          .max_connections = -1,
                                          .max_channels = -1,
                                          .rate = rate_unlimited,
                                      };
        if ((r->flags & CHANGE_HAS_PASSWORD) != 0) {
            u.password_hash = r->password_hash;
            u.hashing = r->hashing;
        }
        if (u.hashing.len == 0)
            u.hashing = SLICE_LIT("rabbit_password_hashing_sha256");
        if ((r->flags & CHANGE_HAS_TAGS) != 0)
            u.tags = r->tags;
        user_change(tw, &u);
        r->is_created = old == NULL;
    }
    task_done(tw, task);
}

void
task_user_limits(struct topology_writer *tw, struct task *task)
{
    struct topology_request *r = &task->req;
    const struct user *old = user_named(tw, task, r->name, "\"");
    if (old != NULL && store_may_change(tw, task)) {
        struct user u = *old;
        bool is_rate = (r->flags & CHANGE_RATE_LIMITS) != 0;
        set_limits(r, is_rate ? &u.rate.messages : &u.max_connections,
                   is_rate ? &u.rate.bytes : &u.max_channels);
        user_change(tw, &u);
    }
    task_done(tw, task);
}

void
task_user_delete(struct topology_writer *tw, struct task *task)
{
    struct topology_request *r = &task->req;
    const struct user *u = user_named(tw, task, r->name, "\"");
    if (u != NULL && store_may_change(tw, task)) {
        struct topology_key key = {{r->name}};
        swap_out_all(tw, SWAP_PERMISSION, 0, r->name);
        swap_out_all(tw, SWAP_TOPIC_PERMISSION, 0, r->name);
        swap_value(tw, SWAP_USER, &key, NULL);
        if (store_is_open(tw))
            store_note(tw, meta_delete_user(tw->meta, r->name));
        task->is_user_gone = true;
    }
    task_done(tw, task);
}

// --- permissions ------------------------------------------------------------------------------------------------------

static bool
check_user_and_vhost(struct topology_writer *tw, struct task *task)
{
    return vhost_named(tw, task, task->req.vhost, "") != NULL &&
           user_named(tw, task, task->req.user, "") != NULL;
}

static void
fault_set_regex(struct fault *f, char *error)
{
    fault_set(f, FAULT_PRECONDITION_FAILED, "%s", error != NULL ? error : "invalid regular expression");
    mem_free(error);
}

void
permission_store(struct topology_writer *tw, const struct permission *p)
{
    if (!store_is_open(tw))
        return;
    struct meta_permission row = {
        .user = p->user,
        .vhost = p->vhost,
        .configure = p->pattern[ACCESS_CONFIGURE],
        .write = p->pattern[ACCESS_WRITE],
        .read = p->pattern[ACCESS_READ],
    };
    store_note(tw, meta_put_permission(tw->meta, &row));
}

static void
permission_set(struct topology_writer *tw, struct task *task)
{
    struct topology_request *r = &task->req;
    const struct slice pattern[3] = {
        [ACCESS_CONFIGURE] = r->configure, [ACCESS_WRITE] = r->write, [ACCESS_READ] = r->read};
    struct permission *p;
    char *error = NULL;
    if (!store_may_change(tw, task))
        return;
    if (permission_new(r->user, r->vhost, pattern, &p, &error) < 0) {
        fault_set_regex(&r->fault, error);
        return;
    }
    struct topology_key key = {{p->user, p->vhost}};
    r->is_created = topology_permission(&tw->turn.draft, r->user, r->vhost) == NULL;
    swap_value(tw, SWAP_PERMISSION, &key, p);
    permission_store(tw, p);
}

void
task_permission(struct topology_writer *tw, struct task *task)
{
    struct topology_request *r = &task->req;
    if (vhost_must_wait(vhost_entry_find(tw, r->vhost), task))
        return;
    if (check_user_and_vhost(tw, task)) {
        if (r->change == CHANGE_PERMISSION_SET) {
            permission_set(tw, task);
        } else if (store_may_change(tw, task)) {
            struct topology_key key = {{r->user, r->vhost}};
            swap_value(tw, SWAP_PERMISSION, &key, NULL);
            if (store_is_open(tw))
                store_note(tw, meta_delete_permission(tw->meta, r->user, r->vhost));
        }
    }
    task_done(tw, task);
}

static void
topic_permission_set(struct topology_writer *tw, struct task *task)
{
    struct topology_request *r = &task->req;
    const struct slice pattern[3] = {[ACCESS_WRITE] = r->write, [ACCESS_READ] = r->read};
    struct topic_permission *p;
    char *error = NULL;
    if (!store_may_change(tw, task))
        return;
    if (topic_permission_new(r->user, r->vhost, r->name, pattern, &p, &error) < 0) {
        fault_set_regex(&r->fault, error);
        return;
    }
    struct topology_key key = {{p->user, p->vhost, p->exchange}};
    r->is_created = topology_topic_permission(&tw->turn.draft, r->user, r->vhost, r->name) == NULL;
    swap_value(tw, SWAP_TOPIC_PERMISSION, &key, p);
    if (!store_is_open(tw))
        return;
    struct meta_topic_permission row = {
        .user = p->user, .vhost = p->vhost, .exchange = p->exchange, .write = r->write, .read = r->read};
    store_note(tw, meta_put_topic_permission(tw->meta, &row));
}

// One exchange's, or all of the user in the vhost when no exchange is named.
static void
topic_permission_clear(struct topology_writer *tw, struct task *task)
{
    struct topology_request *r = &task->req;
    struct topology_key *keys = NULL;
    size_t count = 0, cap = 0;
    struct pmap_iter it;
    if (!store_may_change(tw, task))
        return;
    pmap_iter_init(&it, &tw->turn.draft.topic_permissions);
    for (const struct topic_permission *p; (p = pmap_iter_next(&it)) != NULL;) {
        if (!slice_eq(p->user, r->user) || !slice_eq(p->vhost, r->vhost) ||
            (r->name.len > 0 && !slice_eq(p->exchange, r->name)))
            continue;
        keys = array_grow(keys, count, &cap, sizeof *keys);
        keys[count++] = swap_key_of(SWAP_TOPIC_PERMISSION, p);
    }
    for (size_t i = 0; i < count; i++) {
        swap_value(tw, SWAP_TOPIC_PERMISSION, &keys[i], NULL);
        if (store_is_open(tw))
            store_note(tw, meta_delete_topic_permission(tw->meta, r->user, r->vhost, keys[i].part[2]));
    }
    mem_free(keys);
}

void
task_topic_permission(struct topology_writer *tw, struct task *task)
{
    if (vhost_must_wait(vhost_entry_find(tw, task->req.vhost), task))
        return;
    if (check_user_and_vhost(tw, task)) {
        if (task->req.change == CHANGE_TOPIC_PERMISSION_SET)
            topic_permission_set(tw, task);
        else
            topic_permission_clear(tw, task);
    }
    task_done(tw, task);
}

// --- parameters -------------------------------------------------------------------------------------------------------

void
parameter_put(struct topology_writer *tw, const struct topology_key *key, struct slice value)
{
    struct parameter *p =
        mem_xalloc(sizeof *p + key->part[0].len + key->part[1].len + key->part[2].len + value.len);
    uint8_t *at = (uint8_t *)(p + 1);
    p->component = slice_place(&at, key->part[0]);
    p->vhost = slice_place(&at, key->part[1]);
    p->name = slice_place(&at, key->part[2]);
    p->value = slice_place(&at, value);
    struct topology_key own = swap_key_of(SWAP_PARAMETER, p);
    swap_value(tw, SWAP_PARAMETER, &own, p);
}

void
task_parameter(struct topology_writer *tw, struct task *task)
{
    struct topology_request *r = &task->req;
    struct topology_key key = {{r->component, r->vhost, r->name}};
    const struct parameter *old = topology_parameter(&tw->turn.draft, r->component, r->vhost, r->name);
    enum policy_kind kind;
    if (r->vhost.len > 0 && vhost_must_wait(vhost_entry_find(tw, r->vhost), task))
        return;
    if (r->vhost.len > 0 && vhost_named(tw, task, r->vhost, "'") == NULL) {
        // the fault is set
    } else if (policy_kind_parse(r->component, &kind)) {
        task_policy(tw, task, kind);
    } else if (r->change == CHANGE_PARAMETER_DELETE && old == NULL) {
        fault_set(&r->fault, FAULT_NOT_FOUND, "Parameter does not exist");
    } else if (store_may_change(tw, task) && r->change == CHANGE_PARAMETER_DELETE) {
        swap_value(tw, SWAP_PARAMETER, &key, NULL);
        if (store_is_open(tw))
            store_note(tw, meta_delete_parameter(tw->meta, r->component, r->vhost, r->name));
    } else if (r->fault.code == FAULT_NONE) {
        parameter_put(tw, &key, r->text);
        r->is_created = old == NULL;
        struct meta_parameter row = {
            .component = r->component, .vhost = r->vhost, .name = r->name, .value = r->text};
        if (store_is_open(tw))
            store_note(tw, meta_put_parameter(tw->meta, &row));
    }
    task_done(tw, task);
}
