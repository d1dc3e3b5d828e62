// replica.c: see replica.h. What all roles share: the durable state and what of it is durable, links, proposals, and the record, which says what this replica is.
#include "mirror/replica.h"

#include "mirror/replica_impl.h"
#include "src/base/mem.h"

#ifdef LV_PLANTED_BUGS
uint32_t replica_bugs;
#endif

// --- the durable state ---

void
replica_apply(struct replica_saved *s, const struct replica_op *op)
{
    switch (op->kind) {
    case REPLICA_OP_PROMISE: s->promised = LV_MAX(s->promised, op->epoch); break;
    case REPLICA_OP_EPOCH:
        epochs_cut(&s->epochs, op->lo - 1);
        epochs_add(&s->epochs, op->epoch, op->lo);
        break;
    case REPLICA_OP_APPEND:
        s->end = op->items[0].seq;
        if (!replica_has_hole(s))
            s->whole_to = s->end;
        break;
    case REPLICA_OP_SETTLE:
    case REPLICA_OP_RANGE: break;
    case REPLICA_OP_FOLLOW:
        s->whole_to = op->lo;
        s->hole_to = s->end = op->hi;
        s->epochs = *op->epochs;
        epochs_cut(&s->epochs, op->lo);
        break;
    case REPLICA_OP_WHOLE:
        s->whole_to = s->end;
        s->hole_to = 0;
        s->epochs = *op->epochs;
        break;
    case REPLICA_OP_CUT:
        s->whole_to = s->end = op->lo;
        s->hole_to = 0;
        epochs_cut(&s->epochs, op->lo);
        break;
    case REPLICA_OP_FORCE:
        s->whole_to = s->end;
        s->hole_to = 0;
        break;
    }
}

static void
note_mark(struct replica *r, uint64_t op)
{
    uint64_t whole_to = r->saved.whole_to;
    struct replica_mark *last = r->mark_count > 0 ? &r->marks[r->mark_first + r->mark_count - 1] : NULL;
    uint64_t before = last != NULL ? last->whole_to : r->durable;
    if (whole_to == before)
        return;
    if (whole_to < before) { // what it takes back was never to be counted on
        while (r->mark_count > 0 && r->marks[r->mark_first + r->mark_count - 1].whole_to >= whole_to)
            r->mark_count--;
        r->durable = LV_MIN(r->durable, whole_to);
        if (r->durable == whole_to)
            return;
    }
    if (r->mark_first + r->mark_count == r->mark_cap) {
        if (r->mark_first > r->mark_cap / 2) {
            memmove(r->marks, r->marks + r->mark_first, r->mark_count * sizeof(*r->marks));
        } else {
            r->mark_cap = r->mark_cap == 0 ? 16 : r->mark_cap * 2;
            struct replica_mark *marks = mem_xalloc(r->mark_cap * sizeof(*marks));
            if (r->mark_count > 0)
                memcpy(marks, r->marks + r->mark_first, r->mark_count * sizeof(*marks));
            mem_free(r->marks);
            r->marks = marks;
        }
        r->mark_first = 0;
    }
    r->marks[r->mark_first + r->mark_count++] = (struct replica_mark){op, whole_to};
}

uint64_t
replica_store(struct replica *r, const struct replica_op *op)
{
    uint64_t number = r->env.store(r->env.ctx, op);
    replica_apply(&r->saved, op);
    note_mark(r, number);
    return number;
}

void
replica_stored(struct replica *r, uint64_t op)
{
    r->stored_op = LV_MAX(r->stored_op, op);
    while (r->mark_count > 0 && r->marks[r->mark_first].op <= r->stored_op) {
        r->durable = r->marks[r->mark_first].whole_to;
        r->mark_first++;
        r->mark_count--;
    }
    if (r->mark_count == 0)
        r->mark_first = 0;
    replica_step(r);
}

void
replica_promise(struct replica *r, uint64_t epoch)
{
    if (epoch <= r->saved.promised)
        return;
    if (REPLICA_BUG(REPLICA_BUG_PROMISE_IN_MEMORY)) {
        r->saved.promised = epoch;
        return;
    }
    r->promise_op = replica_store(r, &(struct replica_op){.kind = REPLICA_OP_PROMISE, .epoch = epoch});
}

bool
replica_has_promised(const struct replica *r)
{
    return r->stored_op >= r->promise_op;
}

// --- links ---

struct replica_peer *
replica_peer_of(struct replica *r, struct store_id store)
{
    for (uint32_t i = 0; i < r->peer_count; i++)
        if (store_id_eq(r->peers[i].store, store))
            return &r->peers[i];
    return NULL;
}

void
replica_send(struct replica *r, struct store_id to, const struct replica_msg *msg)
{
    r->env.send(r->env.ctx, to, msg);
}

void
replica_link_up(struct replica *r, struct store_id peer)
{
    struct replica_peer *p = replica_peer_of(r, peer);
    if (p == NULL) {
        if (r->peer_count == REPLICA_PEERS_MAX)
            return;
        p = &r->peers[r->peer_count++];
        *p = (struct replica_peer){.store = peer};
    }
    p->is_linked = true;
    p->since_ms = p->moved_ms = r->now_ms;
    replica_step(r);
}

void
replica_link_down(struct replica *r, struct store_id peer)
{
    struct replica_peer *p = replica_peer_of(r, peer);
    if (p == NULL || !p->is_linked)
        return;
    p->is_linked = false;
    p->since_ms = r->now_ms;
    p->has_answered = p->is_longer = false;
    replica_lead_link_down(p);
    if (store_id_eq(peer, r->leader))
        replica_follow_stop(r);
    replica_step(r);
}

void
replica_receive(struct replica *r, struct store_id from, const struct replica_msg *msg)
{
    struct replica_peer *p = replica_peer_of(r, from);
    if (p == NULL || !p->is_linked)
        return;
    switch (msg->kind) {
    case REPLICA_MSG_LEAD: replica_follow_lead(r, from, msg->epoch); break;
    case REPLICA_MSG_FOLLOW:
    case REPLICA_MSG_APPEND:
    case REPLICA_MSG_SETTLE:
    case REPLICA_MSG_DIGEST:
    case REPLICA_MSG_RANGE:
    case REPLICA_MSG_SYNCED:
        if (r->lead_epoch != 0 && msg->epoch == r->lead_epoch && store_id_eq(from, r->leader))
            replica_follow_receive(r, msg);
        break;
    case REPLICA_MSG_STATE:
    case REPLICA_MSG_DURABLE:
    case REPLICA_MSG_SAME:
    case REPLICA_MSG_DIFFERS:
        if (r->role == REPLICA_MASTER && msg->epoch == r->epoch && p->is_led)
            replica_lead_receive(r, p, msg);
        break;
    case REPLICA_MSG_REFUSE:
        if (r->role == REPLICA_MASTER && msg->epoch > r->epoch)
            replica_elect_begin(r, msg->epoch, false);
        break;
    case REPLICA_MSG_QUERY:
    case REPLICA_MSG_END: replica_elect_receive(r, p, msg); break;
    }
    replica_step(r);
}

// --- the record ---

bool
replica_can_propose(const struct replica *r)
{
    return !r->is_proposing && !r->is_reading && r->now_ms >= r->propose_at_ms && r->record.epoch != 0;
}

void
replica_propose(struct replica *r, struct record *record)
{
    record->token = r->env.token(r->env.ctx);
    LV_ASSERT(record_is_valid(record) && replica_can_propose(r));
    r->proposal = *record;
    r->is_proposing = true;
    r->env.propose(r->env.ctx, r->revision, record);
}

void
replica_become_follower(struct replica *r)
{
    if (r->role == REPLICA_MASTER)
        replica_lead_end(r);
    r->role = record_find(&r->record, r->self) != NULL ? REPLICA_FOLLOWER : REPLICA_IDLE;
    r->led_ms = r->now_ms;
}

// The record is new: what is this replica now?
static void
look_at_record(struct replica *r)
{
    bool is_mine = store_id_eq(r->record.master, r->self);
    switch (r->role) {
    case REPLICA_MASTER:
        if (is_mine && r->record.epoch == r->epoch)
            return;
        r->maybe.count = 0; // made for a revision that is gone
        replica_become_follower(r);
        break;
    case REPLICA_CANDIDATE:
        if (is_mine || (r->is_forced && r->record.epoch < r->target))
            break;
        // Somebody else changed it, so the master lives, or there is another one.
        replica_become_follower(r);
        break;
    case REPLICA_IDLE:
    case REPLICA_FOLLOWER: replica_become_follower(r); break;
    }
    if (!is_mine || (r->role == REPLICA_CANDIDATE && r->record.epoch < r->target) ||
        r->lead_epoch > r->record.epoch)
        return;
    if (REPLICA_BUG(REPLICA_BUG_KEEP_EPOCH) && epochs_last(&r->saved.epochs) == r->record.epoch &&
        r->saved.promised == r->record.epoch && !replica_has_hole(&r->saved)) {
        r->target = r->record.epoch;
        r->start = 0;
        replica_lead_begin(r);
        return;
    }
    // It was master, or may have become it without hearing so: it begins anew, above all that was ever promised.
    replica_elect_begin(r, r->record.epoch, false);
}

static void
adopt(struct replica *r, const struct record *record, uint64_t revision)
{
    if (revision <= r->revision || !record_is_valid(record))
        return;
    r->record = *record;
    r->revision = revision;
    look_at_record(r);
}

void
replica_record(struct replica *r, const struct record *record, uint64_t revision)
{
    if (r->is_reading && REPLICA_BUG(REPLICA_BUG_SETTLE_BY_READ))
        r->maybe.count = 0;
    r->is_reading = false;
    adopt(r, record, revision);
    replica_step(r);
}

static void
committed(struct replica *r, uint64_t revision)
{
    // Whatever was proposed before was made for an older revision: it cannot happen any more.
    r->maybe.count = 0;
    if (revision <= r->revision)
        return; // and it is history already
    r->record = r->proposal;
    r->revision = revision;
    if (r->role == REPLICA_CANDIDATE && r->record.epoch == r->target)
        replica_lead_begin(r);
    else
        look_at_record(r);
}

void
replica_cas_done(struct replica *r, enum cas_outcome outcome, const struct record *record, uint64_t revision)
{
    LV_ASSERT(r->is_proposing);
    r->is_proposing = false;
    switch (outcome) {
    case CAS_COMMITTED: committed(r, revision); break;
    case CAS_REFUSED:
        r->propose_at_ms = r->now_ms + r->config.cas_wait_ms;
        adopt(r, record, revision);
        break;
    case CAS_UNKNOWN:
        if (r->role == REPLICA_MASTER)
            for (uint32_t i = 0; i < r->proposal.count; i++)
                if (r->proposal.members[i].is_in_sync)
                    (void)record_put(&r->maybe, r->proposal.members[i].store, true);
        r->propose_at_ms = r->now_ms + r->config.cas_wait_ms;
        r->is_reading = true;
        r->env.read(r->env.ctx);
        break;
    }
    replica_step(r);
}

void
replica_place(struct replica *r, const struct store_id *stores, uint32_t count)
{
    r->place_count = LV_MIN(count, (uint32_t)RECORD_MEMBERS_MAX);
    memcpy(r->place, stores, r->place_count * sizeof(*stores));
    replica_step(r);
}

// --- the whole ---

void
replica_init(struct replica *r, const struct replica_env *env, const struct replica_config *config,
             struct store_id self, const struct replica_saved *saved, int64_t now_ms)
{
    *r = (struct replica){.env = *env, .config = *config, .self = self, .saved = *saved, .now_ms = now_ms};
    LV_ASSERT(config->range_items > 0 && config->range_items <= RANGE_ITEMS_MAX);
    r->durable = saved->whole_to;
    r->led_ms = now_ms;
}

void
replica_fini(struct replica *r)
{
    mem_free(r->marks);
    r->marks = NULL;
}

void
replica_step(struct replica *r)
{
    switch (r->role) {
    case REPLICA_MASTER: replica_lead_step(r); break;
    case REPLICA_CANDIDATE: replica_elect_step(r); break;
    case REPLICA_IDLE:
    case REPLICA_FOLLOWER: break;
    }
    replica_follow_step(r);
    replica_check(r);
}

void
replica_tick(struct replica *r, int64_t now_ms)
{
    LV_ASSERT(now_ms >= r->now_ms);
    r->now_ms = now_ms;
    replica_step(r);
}

void
replica_check(const struct replica *r)
{
    const struct replica_saved *s = &r->saved;
    LV_ASSERT_HOT(s->whole_to <= s->end && (replica_has_hole(s) || s->whole_to == s->end));
    LV_ASSERT_HOT(epochs_are_valid(&s->epochs) && r->durable <= s->whole_to);
    LV_ASSERT_HOT(r->role != REPLICA_MASTER || (r->epoch == epochs_last(&s->epochs) && !replica_has_hole(s) &&
                                                r->epoch <= s->promised && r->lead_epoch == 0));
    LV_ASSERT_HOT(r->role != REPLICA_CANDIDATE || r->target <= s->promised);
    (void)s;
}
