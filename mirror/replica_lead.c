// replica_lead.c: see replica.h. The master: takes messages, brings members to its log, confirms, and keeps the record true.
#include "mirror/replica_impl.h"

// --- confirms ---

static void
lower(struct replica *r, struct store_id store, uint64_t *floor)
{
    if (store_id_eq(store, r->self))
        return;
    const struct replica_peer *p = replica_peer_of(r, store);
    if (REPLICA_BUG(REPLICA_BUG_TRUST_CLOCK) &&
        (p == NULL || (!p->is_linked && r->now_ms - p->since_ms > r->config.suspect_ms)))
        return;
    if (REPLICA_BUG(REPLICA_BUG_DROP_BEFORE_CAS) && r->is_proposing &&
        !record_is_in_sync(&r->proposal, store))
        return;
    *floor = LV_MIN(*floor, p != NULL ? p->durable : 0);
}

static void
lower_by_set(struct replica *r, const struct record *set, uint64_t *floor)
{
    for (uint32_t i = 0; i < set->count; i++)
        if (set->members[i].is_in_sync)
            lower(r, set->members[i].store, floor);
}

// Up to where everybody who counts, or may count, has the log.
static uint64_t
safe_to(struct replica *r)
{
    uint64_t floor = r->durable;
    lower_by_set(r, &r->record, &floor);
    lower_by_set(r, &r->maybe, &floor);
    if (r->is_proposing && !REPLICA_BUG(REPLICA_BUG_COUNT_LATE))
        lower_by_set(r, &r->proposal, &floor);
    for (uint32_t i = 0; i < r->peer_count; i++)
        if (r->peers[i].is_counted)
            lower(r, r->peers[i].store, &floor);
    return floor;
}

bool
replica_is_open(const struct replica *r)
{
    return r->role == REPLICA_MASTER &&
           (r->confirmed >= r->inherited || REPLICA_BUG(REPLICA_BUG_CONFIRM_INHERITED));
}

static void
confirm(struct replica *r)
{
    uint64_t floor = safe_to(r);
    if (REPLICA_BUG(REPLICA_BUG_CONFIRM_INHERITED))
        floor = LV_MAX(floor, r->inherited);
    if (floor < r->inherited || (floor <= r->confirmed && r->has_confirmed))
        return;
    r->has_confirmed = true;
    r->confirmed = floor;
    r->env.confirmed(r->env.ctx, r->epoch, floor);
}

// --- members ---

static bool
is_in_record(const struct replica *r, const struct replica_peer *p)
{
    return record_find(&r->record, p->store) != NULL;
}

static void
forget(struct replica_peer *p)
{
    p->is_led = p->is_following = p->is_counted = p->has_synced = p->is_asked = p->is_below = false;
}

void
replica_lead_link_down(struct replica_peer *p)
{
    forget(p); // what it said to be durable stays so
}

// A range of the master's live items from p->next on: at most so many, at most up to `end`.
static uint32_t
range(struct replica *r, uint64_t lo, uint64_t end, uint64_t *ret_hi, struct replica_item *items)
{
    uint32_t count = 0;
    uint64_t from = lo;
    *ret_hi = end;
    while (r->env.next(r->env.ctx, from, &items[count]) && items[count].seq <= end) {
        from = items[count].seq + 1;
        if (++count == r->config.range_items) {
            *ret_hi = from - 1;
            break;
        }
    }
    return count;
}

static void
ask(struct replica *r, struct replica_peer *p, uint64_t end)
{
    struct replica_item items[RANGE_ITEMS_MAX];
    struct replica_msg msg = {.kind = REPLICA_MSG_DIGEST, .epoch = r->epoch, .lo = p->next};
    (void)range(r, p->next, end, &msg.hi, items);
    msg.sum = r->env.digest(r->env.ctx, msg.lo, msg.hi);
    p->is_asked = true;
    replica_send(r, p->store, &msg);
}

static bool
may_sync(struct replica *r, const struct replica_peer *p)
{
    struct replica_item first;
    return !r->config.is_manual || r->is_commanded || record_is_in_sync(&r->record, p->store) ||
           !r->env.next(r->env.ctx, 1, &first) || first.seq > p->cut;
}

// The hole first, then what lies below it: there only settles were missed.
static void
synchronise(struct replica *r, struct replica_peer *p)
{
    if (!p->is_following || p->is_asked || p->is_below)
        return;
    if (!p->has_synced) {
        if (p->next <= p->cut) {
            if (may_sync(r, p))
                ask(r, p, p->cut);
            return;
        }
        struct replica_msg msg = {.kind = REPLICA_MSG_SYNCED, .epoch = r->epoch, .epochs = r->saved.epochs};
        replica_send(r, p->store, &msg);
        p->has_synced = true;
        p->next = p->first;
    }
    if (p->next != 0 && p->next <= p->agreed)
        ask(r, p, p->agreed);
    else
        p->is_below = true;
}

static void
on_state(struct replica *r, struct replica_peer *p, const struct replica_msg *msg)
{
    if (p->is_following || !epochs_are_valid(&msg->epochs))
        return;
    struct replica_item first;
    p->agreed = LV_MIN(epochs_common(&msg->epochs, msg->hi, &r->saved.epochs, r->saved.end), msg->hi);
    p->agreed = LV_MIN(p->agreed, r->saved.end);
    p->cut = r->saved.end;
    p->first = msg->lo;
    if (r->env.next(r->env.ctx, 1, &first))
        p->first = p->first == 0 ? first.seq : LV_MIN(p->first, first.seq);
    p->is_following = true;
    p->has_synced = p->agreed == p->cut; // no hole
    p->next = p->has_synced ? p->first : p->agreed + 1;
    p->moved_ms = r->now_ms;
    struct replica_msg follow = {.kind = REPLICA_MSG_FOLLOW,
                                 .epoch = r->epoch,
                                 .lo = p->agreed,
                                 .hi = p->cut,
                                 .epochs = r->saved.epochs};
    replica_send(r, p->store, &follow);
}

static void
on_differs(struct replica *r, struct replica_peer *p, const struct replica_msg *msg)
{
    struct replica_item items[RANGE_ITEMS_MAX];
    struct replica_msg answer = {.kind = REPLICA_MSG_RANGE, .epoch = r->epoch, .lo = msg->lo, .items = items};
    answer.item_count = range(r, msg->lo, msg->hi, &answer.hi, items);
    replica_send(r, p->store, &answer);
}

void
replica_lead_receive(struct replica *r, struct replica_peer *p, const struct replica_msg *msg)
{
    switch (msg->kind) {
    case REPLICA_MSG_STATE: on_state(r, p, msg); break;
    case REPLICA_MSG_SAME:
    case REPLICA_MSG_DIFFERS:
        if (!p->is_following || !p->is_asked || msg->lo != p->next || msg->hi < msg->lo)
            return;
        if (msg->kind == REPLICA_MSG_DIFFERS)
            on_differs(r, p, msg);
        p->is_asked = false;
        p->next = msg->hi + 1;
        break;
    case REPLICA_MSG_DURABLE:
        if (!p->is_following || msg->lo > r->saved.end)
            return;
        if (msg->lo > p->durable) {
            p->durable = msg->lo;
            p->moved_ms = r->now_ms;
        }
        break;
    default: break;
    }
}

// --- the record ---

static bool
is_silent(const struct replica *r, struct store_id store)
{
    for (uint32_t i = 0; i < r->peer_count; i++) {
        const struct replica_peer *p = &r->peers[i];
        if (store_id_eq(p->store, store))
            return r->now_ms - (p->is_linked ? p->moved_ms + r->config.suspect_ms : p->since_ms) >
                   r->config.suspect_ms;
    }
    return r->now_ms - r->began_ms > r->config.suspect_ms; // never linked
}

// A joiner is counted before it is proposed: from then on confirms wait for it.
static void
count_joiner(struct replica *r, struct replica_peer *p)
{
    if (p->is_counted || !p->is_following || !p->has_synced || !is_in_record(r, p) ||
        record_is_in_sync(&r->record, p->store))
        return;
    p->is_counted = !REPLICA_BUG(REPLICA_BUG_COUNT_LATE);
    p->count_mark = LV_MAX(r->confirmed, r->inherited);
}

static bool
has_joined(const struct replica *r, const struct replica_peer *p)
{
    if (REPLICA_BUG(REPLICA_BUG_COUNT_LATE) && p->has_synced)
        return p->is_following && p->durable >= p->count_mark;
    return p->is_counted && (p->durable >= p->count_mark || REPLICA_BUG(REPLICA_BUG_JOIN_SHORT));
}

static void
place(const struct replica *r, struct record *wanted)
{
    if (r->place_count == 0)
        return;
    for (uint32_t i = 0; i < wanted->count;) {
        struct store_id store = wanted->members[i].store;
        bool is_wanted = store_id_eq(store, r->self);
        for (uint32_t j = 0; j < r->place_count; j++)
            is_wanted |= store_id_eq(store, r->place[j]);
        if (is_wanted)
            i++;
        else
            record_drop(wanted, store);
    }
    for (uint32_t j = 0; j < r->place_count; j++)
        if (record_find(wanted, r->place[j]) == NULL)
            (void)record_put(wanted, r->place[j], false);
}

static void
propose(struct replica *r)
{
    if (!replica_can_propose(r))
        return;
    struct record wanted = r->record;
    for (uint32_t i = 0; i < wanted.count; i++) {
        struct record_member *m = &wanted.members[i];
        if (m->is_in_sync && !store_id_eq(m->store, r->self) && is_silent(r, m->store))
            m->is_in_sync = false;
    }
    for (uint32_t i = 0; i < r->peer_count; i++)
        if (has_joined(r, &r->peers[i]) && record_find(&wanted, r->peers[i].store) != NULL)
            (void)record_put(&wanted, r->peers[i].store, true);
    place(r, &wanted);
    bool is_same = wanted.count == r->record.count;
    for (uint32_t i = 0; is_same && i < wanted.count; i++)
        is_same = store_id_eq(wanted.members[i].store, r->record.members[i].store) &&
                  wanted.members[i].is_in_sync == r->record.members[i].is_in_sync;
    // What may be committed is settled by the next one that is.
    if (!is_same || r->maybe.count > 0)
        replica_propose(r, &wanted);
}

// --- the whole ---

void
replica_lead_begin(struct replica *r)
{
    if (REPLICA_BUG(REPLICA_BUG_ANSWER_OLD)) {
        replica_follow_stop(r);
        if (r->start != 0 && r->start <= r->saved.end)
            (void)replica_store(r, &(struct replica_op){.kind = REPLICA_OP_CUT, .lo = r->start - 1});
    }
    r->role = REPLICA_MASTER;
    r->epoch = r->target;
    r->inherited = r->saved.end;
    r->confirmed = 0;
    r->has_confirmed = false;
    r->began_ms = r->now_ms;
    for (uint32_t i = 0; i < r->peer_count; i++) {
        forget(&r->peers[i]);
        r->peers[i].durable = 0;
        r->peers[i].moved_ms = r->now_ms;
    }
    if (!REPLICA_BUG(REPLICA_BUG_KEEP_EPOCH) || r->start != 0)
        (void)replica_store(
            r, &(struct replica_op){.kind = REPLICA_OP_EPOCH, .epoch = r->epoch, .lo = r->start});
    r->env.serves(r->env.ctx, true, r->epoch);
}

void
replica_lead_end(struct replica *r)
{
    for (uint32_t i = 0; i < r->peer_count; i++)
        forget(&r->peers[i]);
    r->env.serves(r->env.ctx, false, r->epoch);
}

void
replica_lead_step(struct replica *r)
{
    for (uint32_t i = 0; i < r->peer_count; i++) {
        struct replica_peer *p = &r->peers[i];
        if (!p->is_linked || !is_in_record(r, p))
            continue;
        if (!p->is_led) {
            p->is_led = true;
            replica_send(r, p->store, &(struct replica_msg){.kind = REPLICA_MSG_LEAD, .epoch = r->epoch});
        }
        if (p->durable >= r->durable)
            p->moved_ms = r->now_ms;
        synchronise(r, p);
        count_joiner(r, p);
    }
    confirm(r);
    propose(r);
}

uint64_t
replica_publish(struct replica *r, uint64_t ref)
{
    if (r->role != REPLICA_MASTER)
        return 0;
    struct replica_item item = {r->epoch, r->saved.end + 1, ref};
    (void)replica_store(r, &(struct replica_op){.kind = REPLICA_OP_APPEND, .items = &item, .item_count = 1});
    struct replica_msg msg = {.kind = REPLICA_MSG_APPEND, .epoch = r->epoch, .items = &item, .item_count = 1};
    for (uint32_t i = 0; i < r->peer_count; i++)
        if (r->peers[i].is_following)
            replica_send(r, r->peers[i].store, &msg);
    return item.seq;
}

bool
replica_settle(struct replica *r, uint64_t epoch, uint64_t seq)
{
    if (r->role != REPLICA_MASTER || (epoch != r->epoch && !REPLICA_BUG(REPLICA_BUG_STALE_SETTLE)))
        return false;
    (void)replica_store(r, &(struct replica_op){.kind = REPLICA_OP_SETTLE, .lo = seq});
    struct replica_msg msg = {.kind = REPLICA_MSG_SETTLE, .epoch = r->epoch, .lo = seq};
    for (uint32_t i = 0; i < r->peer_count; i++)
        if (r->peers[i].is_following)
            replica_send(r, r->peers[i].store, &msg);
    return true;
}

void
replica_synchronise(struct replica *r)
{
    r->is_commanded = true;
    replica_step(r);
}
