// topology_writer.h: the inside of the topology writer: its entries, the turn's journal, and what its files share.
//
// Inside src/broker/topology*.c only. Everything but `published` and `readers` belongs to the writer's thread.
//
// A *version* (struct topology, struct vhost, struct exchange, maps, bindings, definitions) is never changed once published. The
// *draft* is the version being made in this turn: vhosts and exchanges in it are copies made on the first change of the turn
// (vhost_edit, exchange_edit), maps are changed under the turn's one pmap_edit. *Entries* (vhost_entry, exchange_entry,
// queue_entry) are the writer's own notes on an object over all its versions: they hold its names and live from its creation
// until no version shows it.
//
// What can be undone goes through the *journal* (draft.c): when the store refuses the commit, the changes of the turn's requests
// are undone in reverse order, and the requests are carried out again with durable changes refused (541).
#pragma once

#include <stdatomic.h>

#include "src/base/inttab.h"
#include "src/broker/topology.h"
#include "src/store/meta.h"

// LIMIT: requests carried out, and deletions settled, in one turn: bounds the time until a version is out.
enum { TOPOLOGY_BATCH_MAX = 4096 };
// Ids are reserved in the store in steps, so that they are never used twice, also across restarts.
enum { TOPOLOGY_ID_STEP = 10000, TOPOLOGY_IDS_A_TASK = 16 };
// LIMIT: names and keys are shortstrs on the wire.
enum { TOPOLOGY_NAME_MAX = 255 };

struct topology_key {
    struct slice part[3]; // (user, vhost), (user, vhost, exchange) or (component, vhost, name)
};

// One crew member as a reader.
struct topology_reader {
    const struct topology *now; // member's own: the version it has adopted
    bool is_reader;             // set at start-up
    _Atomic uint64_t adopted;   // partner: adopt_hook (release) with the writer (acquire)
    _Atomic uint64_t
        pinned; // oldest of `pins`, UINT64_MAX: none; partner: topology_pin (release) with the writer (acquire)
    const struct topology *pins[TOPOLOGY_PINS_MAX]; // member's own
} __attribute__((aligned(LV_CACHE_LINE)));

// A request under way; what topology_request_new really makes.
struct task {
    struct list
        node; // inbox, turn.tasks, turn.done, a deletion's or group's waiting list, version_record.answers
    struct list conn_node;            // waiting declare of an exclusive queue: conn_entry.waiting
    bool is_final;                    // its answer stands whatever becomes of the commit
    bool is_row_owed;                 // final delete of a kept queue: 541 when the commit fails
    bool is_emptied;                  // vhost delete: the queues are gone
    bool is_vhost_gone, is_user_gone; // call back once the version is adopted
    bool is_policy_set;               // once it is adopted, the owners of queues are told first
    struct topology_request req;
    uint8_t bytes[]; // of its slices
};

// Several deletions that one request waits for.
struct group {
    struct task *task;         // CHANGE_CONNECTION_GONE or CHANGE_VHOST_DELETE; NULL once nothing is pending
    struct vhost_entry *vhost; // of the latter
    size_t pending;            // deletions not settled
    struct list waiting;       // tasks to be carried out afterwards
};

enum { GROUP_CONN, GROUP_VHOST, GROUP_COUNT };

// A conditional removal under way at the queue's owner. While there is one, all other requests on that queue wait.
struct deletion {
    struct list node; // writer.deletions, then writer.settled, then turn.facts
    struct queue_entry *queue;
    struct queue_request *request; // at the owner, or back from it
    struct task *asker;            // CHANGE_QUEUE_DELETE to be answered; NULL: nobody
    struct group *groups[GROUP_COUNT];
    struct list waiting;  // struct task.node, in order of arrival
    bool is_unused_again; // the queue said unused meanwhile: ask once more if this fails
};

// QUEUE_REQUEST_CREATE on its way, so that topology_stop can free it.
struct creation {
    struct list node; // writer.creations
    struct queue_entry *queue;
    struct queue_request *request;
};

// QUEUE_REQUEST_RULES on its way.
struct telling {
    struct list node; // writer.tellings
    struct policy_sweep *sweep;
    struct queue_request *request;
};

// A walk over all exchanges and queues of a vhost whose policies have changed (topology_writer_policy.c).
struct policy_sweep {
    struct list node;          // writer.sweeps
    struct vhost_entry *vhost; // NULL: it is gone
    struct list exchange_mark; // in vhost->exchange_list: what is in front of it is done
    struct list queue_mark;    // in vhost->queue_list
    struct list lap_tasks;     // to be answered at the end of this lap
    struct list next_tasks;    // came during it: another lap
    unsigned telling;          // struct telling under way
};

struct vhost_version {
    uint64_t turn; // in which it was made
    struct vhost_entry *entry;
    struct vhost v;
};

struct vhost_settings {
    struct slice description, tags, default_queue_type; // bytes behind this struct
    bool is_tracing;
    int64_t max_connections, max_queues;
    struct rate_limit rate;
    struct content_limit content;
};

struct vhost_entry {
    struct vhost_version *now; // newest version, or the draft's
    struct vhost_settings *settings;
    struct group *deleting;     // not NULL: being deleted; no new objects
    struct policy_sweep *sweep; // not NULL: its policies have changed
    struct list queue_list;     // struct queue_entry.vhost_node
    struct list exchange_list;  // struct exchange_entry.vhost_node
    struct slice name;          // bytes behind this struct
};

struct exchange_version {
    uint64_t turn;
    struct exchange x;
    uint8_t alternate[]; // bytes of x.alternate when a policy gives it
};

struct exchange_entry {
    struct exchange_version *now; // newest version, or the draft's
    struct vhost_entry *vhost;
    struct list incoming;      // struct binding.dest_node
    struct list vhost_node;    // vhost_entry.exchange_list
    bool has_own_alternate;    // by its arguments: no policy changes it
    struct queue_entry *delay; // its queue of delayed messages; NULL: none
};

struct queue_entry {
    struct list bindings;   // struct binding.dest_node
    struct list conn_node;  // exclusive: conn_entry.queues
    struct list vhost_node; // vhost_entry.queue_list
    struct vhost_entry *vhost;
    struct exchange_entry *delays; // QUEUE_DELAY: the exchange it belongs to; NULL once that is gone
    struct deletion *deletion;     // NULL: none under way
    uint32_t told[POLICY_KINDS];   // serials of the policies its owner lives by; 0: none
    bool is_new;                   // made in this turn: its owner has not heard of it
    struct queue_def def;          // last: its bytes are behind
};

struct conn_entry {
    uint64_t id;
    struct list queues;  // struct queue_entry.conn_node
    struct list waiting; // struct task.conn_node
};

// --- the journal ------------------------------------------------------------------------------------------------------

enum swap_map { SWAP_USER, SWAP_PERMISSION, SWAP_TOPIC_PERMISSION, SWAP_PARAMETER, SWAP_COUNT };

enum journal_kind {
    JOURNAL_SWAP,          // a: new value or NULL, b: old value or NULL, map
    JOURNAL_VHOST_NEW,     // a: struct vhost_entry
    JOURNAL_VHOST_GONE,    // a
    JOURNAL_VHOST_SETTING, // a: struct vhost_entry, b: old struct vhost_settings
    JOURNAL_EXCHANGE_NEW,  // a: struct exchange_entry
    JOURNAL_EXCHANGE_GONE, // a
    JOURNAL_QUEUE_NEW,     // a: struct queue_entry
    JOURNAL_QUEUE_GONE,    // a; a fact, never undone
    JOURNAL_BOUND,         // a: struct exchange_entry (source), b: struct binding
    JOURNAL_UNBOUND,       // a, b
    JOURNAL_POLICY,        // a: struct vhost_entry, b: struct policy_change
    JOURNAL_KIND_COUNT,
};

// What CHANGE_PARAMETER_… of a policy did to its vhost.
struct policy_change {
    enum policy_kind kind;
    const struct policy_list *old_list; // NULL: none
    struct policy *old, *new;           // NULL: none
};

struct journal_record {
    struct slice user; // whose request it is; empty: nobody's that is known. Good until the turn ends
    enum journal_kind kind;
    enum swap_map map;
    void *a, *b;
};

// Events (event.h) that wait for a version.
struct event_list {
    struct message **items;
    size_t count, cap;
};

struct journal {
    struct journal_record *records;
    size_t count, cap;
};

enum retired_kind {
    RETIRED_BLOCK, // mem_free: copies of versions, settings, users, parameters
    RETIRED_VHOST, // struct vhost_entry with all its exchanges
    RETIRED_EXCHANGE,
    RETIRED_QUEUE,
    RETIRED_BINDING,
    RETIRED_PERMISSION,
    RETIRED_POLICY,
    RETIRED_TOPIC_PERMISSION,
};

struct retired_item {
    enum retired_kind kind;
    void *object;
};

struct retire_list {
    struct retired_item *items;
    size_t count, cap;
};

// A published version until all have adopted it.
struct version_record {
    struct list node; // writer.history or .kept, oldest first
    const struct topology *topology;
    struct list answers;        // struct task.node: to be answered when all have adopted it
    struct retire_list retired; // not reachable from this version on
    struct pmap_retired *nodes; // the same for nodes of maps and routers
    struct event_list events;   // to be told when all have adopted it
};

// Rows whose deletion could not be committed although the object is gone.
struct owed_row {
    uint64_t id;
    bool is_queue; // otherwise an exchange
};

// --- the writer -------------------------------------------------------------------------------------------------------

// What one turn works on.
struct turn {
    uint64_t number;
    struct topology draft;
    struct pmap_edit edit;
    bool has_changed; // the draft differs from the newest version
    bool has_auth_changed;
    struct journal journal;
    struct slice user;        // of the request at hand: for events
    struct event_list events; // of the changes that stand
    struct retire_list retired;
    struct list tasks; // to be carried out
    struct list done;  // carried out, in order; their answers are in the requests
    bool is_cut;       // the task must wait for the next turn, and all behind it
    // The store.
    bool is_in_transaction;
    bool is_durable_refused;    // second attempt after a failed commit
    int store_error;            // 0 or the first -LE_xxx
    struct owed_row *gone_rows; // rows of exchanges and queues removed in this turn
    size_t gone_count, gone_cap;
};

struct topology_writer {
    struct crew *crew;
    struct worker *worker;
    enum queue_placement placement;
    struct topology_limits limits;
    const struct vhost_defaults *vhost_defaults;
    int64_t exchange_count; // in the draft, all vhosts
    _Atomic uint64_t queues_made, queues_gone; // since the start; readers: topology_queue_churn, relaxed
    void (*vhost_deleted)(void *ctx, struct slice name);
    void (*user_deleted)(void *ctx, struct slice name);
    void *callback_ctx;
    struct slice event_vhost; // empty: no events
    struct slice log_vhost;   // has amq.rabbitmq.log; empty: none
    bool has_swept;           // delay_sweep was done
    bool is_ending;           // topology_stop: the workers' tables are gone
    struct meta *meta;        // NULL: nothing is kept
    struct list inbox;        // struct task.node
    struct list settled;      // struct deletion.node: answered by the owner
    struct list deletions;    // struct deletion.node: at the owner
    struct list creations;    // struct creation.node: at the owner
    struct list sweeps;       // struct policy_sweep.node
    struct list tellings;     // struct telling.node: at the owner
    unsigned telling_count;
    uint32_t policy_serial; // last one given
    struct policy_matcher *matcher;
    struct default_policy *default_policies; // topology_writer_defaults.c
    size_t default_policy_count;
    struct list history;            // struct version_record.node: published, not adopted by all
    struct list kept;               // adopted by all, but older versions are pinned
    struct version_record *pending; // made, to be published when the rings have taken all creations
    struct inttab conns;            // connection id → struct conn_entry
    struct owed_row *owed;
    size_t owed_count, owed_cap;
    uint64_t id_last, id_ceiling; // last id given; highest one reserved in the store
    uint32_t *free_slots;         // stack of queue_def.slot to be used again
    size_t free_slot_count, free_slot_cap;
    uint32_t slot_count;                  // slots ever given
    uint64_t queues_of[CREW_WORKERS_MAX]; // queues placed on each worker
    int place_next;                       // where the search for the least loaded starts
    struct turn turn;
    const struct topology *newest;              // last version made; published, or in `pending`
    _Atomic(const struct topology *) published; // partner: adopt_hook
    struct topology_reader readers[CREW_MAX];
};

static inline struct queue_entry *
queue_entry_of(const struct queue_def *def)
{
    return LV_CONTAINER_OF(def, struct queue_entry, def);
}

static inline struct exchange_entry *
exchange_entry_of(const struct exchange *x)
{
    return (struct exchange_entry *)(uintptr_t)x->owner;
}

static inline bool
queue_is_kept(const struct queue_def *def)
{
    return (def->flags & (QUEUE_DURABLE | QUEUE_EXCLUSIVE)) == QUEUE_DURABLE;
}

// topology.c
struct topology_writer *topology_writer_of(const struct crew *crew);
uint64_t topology_hash_id(uint64_t id);
uint64_t topology_hash_key(const struct topology_key *key);
bool topology_eq_vhost(const void *value, const void *key);
bool topology_eq_user(const void *value, const void *key);
bool topology_eq_exchange(const void *value, const void *key);
bool topology_eq_exchange_id(const void *value, const void *key);
bool topology_eq_queue(const void *value, const void *key);
bool topology_eq_queue_id(const void *value, const void *key);
bool topology_eq_permission(const void *value, const void *key);
bool topology_eq_topic_permission(const void *value, const void *key);
bool topology_eq_parameter(const void *value, const void *key);
void topology_answer(struct task *task);
// The threads have ended: frees the answers that nobody took out of the rings.
void topology_answers_drop(struct topology_writer *tw);

// topology_writer.c
struct topology_writer *topology_writer_new(struct crew *crew);
void
topology_writer_free(struct topology_writer *tw); // all of it, the newest version too; the threads have ended
bool topology_writer_work(struct worker *w, void *ctx);    // PHASE_LOG
bool topology_writer_publish(struct worker *w, void *ctx); // PHASE_REAP
void turn_begin(struct topology_writer *tw);
// Ends the changes of a turn: makes the next version of them, in tw->pending.
void turn_finish(struct topology_writer *tw);
bool ids_are_short(const struct topology_writer *tw); // fewer left than one request may need
// The task is done: its answer goes out with this turn's version.
void task_done(struct topology_writer *tw, struct task *task);
// The task, and all behind it, must wait for the next turn.
void task_cut(struct topology_writer *tw, struct task *task);
void version_record_free(struct topology_writer *tw, struct version_record *r);
void tasks_free(struct list *tasks);

// topology_writer_draft.c
void *array_grow(void *items, size_t count, size_t *cap, size_t item_size); // room for one more
struct vhost *vhost_edit(struct topology_writer *tw, struct vhost_entry *e);
struct exchange *exchange_edit(struct topology_writer *tw, struct exchange_entry *e);
void journal_add(struct topology_writer *tw, enum journal_kind kind, void *a, void *b);
// Puts `value` (or removes what is at key when it is NULL) in one of the plain maps.
void swap_value(struct topology_writer *tw, enum swap_map map, const struct topology_key *key, void *value);
void journal_undo(struct topology_writer *tw, size_t down_to);
void journal_finish(struct topology_writer *tw); // the changes stand: what is gone goes to turn.retired
void retire(struct topology_writer *tw, enum retired_kind kind, void *object);
void retire_list_free(struct topology_writer *tw, struct retire_list *l);
struct vhost_entry *vhost_entry_find(struct topology_writer *tw, struct slice name);
void vhost_entry_free(struct topology_writer *tw,
                      struct vhost_entry *e); // with its exchanges and their bindings
void vhost_apply_settings(struct vhost *v, const struct vhost_settings *s);
void exchange_unmap(struct topology_writer *tw, struct exchange_entry *e); // takes it out of the draft's maps
// A new version of it with the alternate exchange that a policy gives it.
void exchange_set_alternate(struct topology_writer *tw, struct exchange_entry *e, struct slice alternate);
struct pmap *swap_map_of(struct topology *t, enum swap_map map);
void swap_map_free(struct topology_writer *tw, struct topology *t, enum swap_map map,
                   struct pmap_edit *edit); // values too
struct topology_key swap_key_of(enum swap_map map, const void *value);
uint64_t id_take(struct topology_writer *tw); // 0: none left

// topology_writer_store.c
// Durable changes of a request are asked for before anything is changed; false: refused, the fault is set.
bool store_may_change(struct topology_writer *tw, struct task *task);
// True: a transaction is open and the row is to be written; the result goes to store_note.
bool store_is_open(struct topology_writer *tw);
void store_note(struct topology_writer *tw, int result);
void store_drop_row(struct topology_writer *tw, uint64_t id, bool is_queue);
bool store_commit(struct topology_writer *tw);        // false: nothing of this turn's transaction is kept
void store_owe_gone_rows(struct topology_writer *tw); // after a failed commit: what is gone all the same
LV_MUST_USE int store_raise_ceiling(struct topology_writer *tw);
void store_reserve_ids(struct topology_writer *tw);
void store_pay_owed(struct topology_writer *tw); // at the end: tries once more

// topology_writer_queue.c
void task_queue_declare(struct topology_writer *tw, struct task *task);
void task_queue_delete(struct topology_writer *tw, struct task *task);
void task_connection_gone(struct topology_writer *tw, struct task *task);
void deletion_want_unused(struct topology_writer *tw, struct queue_entry *q);
void deletion_join(struct topology_writer *tw, struct queue_entry *q, struct group *g, int kind);
void deletion_settle(struct topology_writer *tw, struct deletion *d);
void group_free(struct group *g);
void creations_send(struct topology_writer *tw);
// Makes the task wait when the queue is being deleted.
bool queue_must_wait(struct topology_writer *tw, struct queue_entry *q, struct task *task);
// A vhost that goes: begins to delete its queues. True: there is none (any more).
bool vhost_empty(struct topology_writer *tw, struct vhost_entry *ve, struct task *task);
bool vhost_has_new_queue(const struct vhost_entry *ve);
bool queue_is_locked_for(const struct queue_def *def, uint64_t conn);
void fault_set_locked(struct fault *f, const struct queue_def *def);
struct queue_args {
    uint64_t id;
    struct vhost_entry *vhost;
    struct slice name, arguments, user;
    uint32_t flags;
    enum queue_type type;
    uint64_t owner_conn;
    int64_t created_ms;
    struct worker *home; // the declarer's worker, or NULL
};
// Where a vhost shows a queue: clients' queues by name, those of delayed exchanges by id.
void queue_map(struct topology_writer *tw, struct vhost *v, struct queue_entry *q);
void queue_unmap(struct topology_writer *tw, struct vhost *v, struct queue_entry *q);
void queue_store(struct topology_writer *tw, const struct queue_def *def);
// Removes it with what is in it; nobody is told.
void queue_drop(struct topology_writer *tw, struct queue_entry *q);
struct queue_entry *queue_entry_add(struct topology_writer *tw, const struct queue_args *args);
void queue_entry_free(struct topology_writer *tw, struct queue_entry *q);
void queue_entry_unlink(struct topology_writer *tw, struct queue_entry *q); // from its connection and worker
struct conn_entry *conn_entry_get(struct topology_writer *tw, uint64_t id);
void conn_entry_put(struct topology_writer *tw, struct conn_entry *c); // drops it when it is empty

// topology_writer_exchange.c
void task_exchange_declare(struct topology_writer *tw, struct task *task);
void task_exchange_delete(struct topology_writer *tw, struct task *task);
void task_bind(struct topology_writer *tw, struct task *task);
void task_unbind(struct topology_writer *tw, struct task *task);
struct exchange_args {
    uint64_t id;
    struct vhost_entry *vhost;
    struct slice name, arguments, user;
    enum exchange_type type;
    bool is_durable, is_auto_delete, is_internal;
};
struct exchange_entry *exchange_entry_add(struct topology_writer *tw, const struct exchange_args *args);
void exchange_entry_free(struct exchange_entry *e); // with its router and bindings
// The vhost's predeclared exchanges that are missing. Enough ids must be left (ids_are_short).
void exchange_add_system(struct topology_writer *tw, struct vhost_entry *v);
// False (and freed) when it is there already.
bool binding_add(struct topology_writer *tw, struct exchange_entry *source, struct binding *b);
// Where bindings to the same destination are listed.
struct list *binding_dest_list(struct vhost_entry *v, const struct binding *b);
// Removes all bindings of a list (a destination that goes), and auto-delete exchanges left without any.
void bindings_remove_all(struct topology_writer *tw, struct vhost_entry *v, struct list *bindings);

// topology_writer_delay.c
// Of a new exchange that delays, or one that begins to by policy: makes its queue, if it has none. `id`: id_take; 0: none is to
// be had, it delays nothing.
void delay_begin(struct topology_writer *tw, struct exchange_entry *e, uint64_t id);
// At the start: makes the queues that a vhost's exchanges lack.
void delay_complete(struct topology_writer *tw, struct vhost_entry *ve);
// Policies say another thing about delaying than before: it begins or ends with a request of the writer's own, for which `t` waits.
bool delay_is_to_change(struct topology_writer *tw, const struct exchange_entry *e);
void delay_change(const struct exchange_entry *e, struct telling *t);
void telling_done(struct topology_writer *tw, struct telling *t);        // topology_writer_policy.c
void task_exchange_delay(struct topology_writer *tw, struct task *task); // CHANGE_EXCHANGE_DELAY
// The exchange is gone for good: what waits is dropped.
void delay_exchange_gone(struct topology_writer *tw, struct exchange_entry *e);
void delay_queue_gone(struct topology_writer *tw, struct queue_entry *q);
// A queue from the store is one of these; *ret_exchange: the id of its exchange.
bool delay_is_queue(struct slice name, uint64_t *ret_exchange);
void delay_attach(struct topology_writer *tw, struct exchange_entry *e, struct queue_entry *q);
// After a start: queues whose exchange was deleted just before the end.
void delay_sweep(struct topology_writer *tw);

// topology_writer_event.c
bool events_are_heard(const struct topology_writer *tw);
void event_of_change(struct topology_writer *tw, const struct journal_record *r); // to turn.events
void events_send(struct topology_writer *tw, struct event_list *l);
void events_free(struct event_list *l);

// topology_writer_access.c
void task_vhost_put(struct topology_writer *tw, struct task *task);
// Gives a new vhost the limits that the configuration has for its name.
void vhost_settings_default(const struct topology_writer *tw, struct slice name, struct vhost_settings *s);
void task_vhost_delete(struct topology_writer *tw, struct task *task);
void task_vhost_limits(struct topology_writer *tw, struct task *task);
void task_user_put(struct topology_writer *tw, struct task *task);
void task_user_delete(struct topology_writer *tw, struct task *task);
void task_user_limits(struct topology_writer *tw, struct task *task);
void task_permission(struct topology_writer *tw, struct task *task);
void task_topic_permission(struct topology_writer *tw, struct task *task);
void task_parameter(struct topology_writer *tw, struct task *task);
struct vhost_entry *vhost_entry_add(struct topology_writer *tw, uint64_t id, struct slice name,
                                    const struct vhost_settings *settings);
// Puts a copy of the user, tag_flags made from tags; a parameter.
void user_put(struct topology_writer *tw, const struct user *args);
void parameter_put(struct topology_writer *tw, const struct topology_key *key, struct slice value);
void vhost_store(struct topology_writer *tw, const struct vhost *v);
void user_store(struct topology_writer *tw, const struct user *u);
void permission_store(struct topology_writer *tw, const struct permission *p);
// A vhost named by an administrator; the tools print it in different quotes. NULL with the fault.
struct vhost_entry *vhost_named(struct topology_writer *tw, struct task *task, struct slice name,
                                const char *quote);
// Makes the task wait while the vhost is being deleted.
bool vhost_must_wait(struct vhost_entry *e, struct task *task);
// The vhost for a request on an object in it; NULL with 530 when it is not there or going.
struct vhost_entry *vhost_for_task(struct topology_writer *tw, struct task *task);

// topology_writer_defaults.c
// -LE_INVAL with a sentence (heap) when one of them is no policy.
LV_MUST_USE int default_policies_init(struct topology_writer *tw, const struct topology_config *config,
                                      char **ret_error);
void default_policies_fini(struct topology_writer *tw);
void default_policies_apply(struct topology_writer *tw, struct vhost_entry *e); // a vhost that was just made

// topology_writer_policy.c
// CHANGE_PARAMETER_PUT or _DELETE of a policy; the vhost is not being deleted.
void task_policy(struct topology_writer *tw, struct task *task, enum policy_kind kind);
// Puts a policy that is checked, with its parameter and row.
void policy_add(struct topology_writer *tw, struct vhost_entry *e, struct policy *p);
// A policy from the store; -LE_INVAL with the reason when it is none any more.
LV_MUST_USE int policy_load(struct topology_writer *tw, const struct policy_args *args, struct buf *reason);
void policy_undo(struct topology_writer *tw, struct vhost_entry *e, struct policy_change *change);
void policy_finish(struct topology_writer *tw, struct policy_change *change);
void policy_lists_free(struct vhost_entry *e); // with the policies in them
// The rules of a queue by the draft's policies, and a note of which these are. NULL: none. Out of memory aborts.
struct queue_rules *policy_queue_rules(struct topology_writer *tw, struct queue_entry *q);
// Whether policies make it delay messages.
bool policy_delays(struct topology_writer *tw, const struct vhost_entry *ve, const struct exchange *x);
// The alternate exchange that policies give an exchange; empty: none.
struct slice policy_alternate(struct topology_writer *tw, const struct vhost_entry *ve,
                              const struct exchange *x);
// Whoever waits for task's version has it: its answer waits until queues and exchanges live by the policies. False: nothing to
// wait for.
bool sweep_join(struct topology_writer *tw, struct task *task);
bool sweep_has_work(const struct topology_writer *tw);
void sweep_run(struct topology_writer *tw);                           // a part of it: at the start of a turn
void sweep_forget(struct topology_writer *tw, struct vhost_entry *e); // the vhost is freed
void sweeps_free(struct topology_writer *tw);                         // the writer ends
