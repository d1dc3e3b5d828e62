// replica_follow.c: see replica.h. A member follows whoever leads with the epoch that it promised.
//
// LEAD → the promise is stored → STATE says what is here → FOLLOW says how far both logs agree: what contradicts is set aside, and between that and the master's end there may
// be a hole → ranges fill it, while appends and settles come in already → SYNCED closes it.
#include "mirror/replica_impl.h"

void
replica_follow_stop(struct replica *r)
{
    if (r->lead_epoch != 0)
        r->led_ms = r->now_ms;
    r->lead_epoch = 0;
    r->is_state_due = r->is_following = false;
}

void
replica_follow_lead(struct replica *r, struct store_id from, uint64_t epoch)
{
    bool is_deaf = REPLICA_BUG(REPLICA_BUG_ANSWER_OLD) && r->role == REPLICA_CANDIDATE;
    if (epoch < r->saved.promised && !is_deaf) {
        replica_send(r, from, &(struct replica_msg){.kind = REPLICA_MSG_REFUSE, .epoch = r->saved.promised});
        return;
    }
    if ((r->role == REPLICA_MASTER && r->epoch >= epoch) || epoch == 0)
        return;
    // Who leads was committed: neither master nor candidate goes on below.
    if (r->role == REPLICA_MASTER || (r->role == REPLICA_CANDIDATE && !is_deaf))
        replica_become_follower(r);
    replica_promise(r, epoch);
    r->leader = from;
    r->lead_epoch = epoch;
    r->is_state_due = true;
    r->is_following = false;
}

static void
follow(struct replica *r, const struct replica_msg *msg)
{
    const struct replica_saved *s = &r->saved;
    if (r->is_following || r->is_state_due || msg->lo > s->whole_to || msg->lo > msg->hi ||
        !epochs_are_valid(&msg->epochs))
        return;
    struct replica_op op = {.kind = REPLICA_OP_FOLLOW, .lo = msg->lo, .hi = msg->hi, .epochs = &msg->epochs};
    if (REPLICA_BUG(REPLICA_BUG_NO_CUT))
        op.lo = LV_MIN(s->whole_to, msg->hi);
    (void)replica_store(r, &op);
    if (REPLICA_BUG(REPLICA_BUG_HOLE_IS_WHOLE))
        (void)replica_store(r, &(struct replica_op){.kind = REPLICA_OP_WHOLE, .epochs = &msg->epochs});
    r->is_following = true;
    r->told_durable = 0;
}

static void
compare(struct replica *r, const struct replica_msg *msg)
{
    struct replica_sum here = r->env.digest(r->env.ctx, msg->lo, msg->hi);
    bool is_same = here.hash == msg->sum.hash && here.count == msg->sum.count;
    replica_send(r, r->leader,
                 &(struct replica_msg){.kind = is_same ? REPLICA_MSG_SAME : REPLICA_MSG_DIFFERS,
                                       .epoch = r->lead_epoch,
                                       .lo = msg->lo,
                                       .hi = msg->hi});
}

void
replica_follow_receive(struct replica *r, const struct replica_msg *msg)
{
    const struct replica_saved *s = &r->saved;
    if (msg->kind == REPLICA_MSG_FOLLOW) {
        follow(r, msg);
        return;
    }
    if (!r->is_following)
        return;
    struct replica_op op = {.lo = msg->lo, .hi = msg->hi, .items = msg->items, .item_count = msg->item_count};
    switch (msg->kind) {
    case REPLICA_MSG_APPEND:
        if (msg->item_count != 1 || msg->items[0].seq != s->end + 1) {
            replica_follow_stop(r); // nonsense; a new link begins anew
            return;
        }
        op.kind = REPLICA_OP_APPEND;
        break;
    case REPLICA_MSG_SETTLE: op.kind = REPLICA_OP_SETTLE; break;
    case REPLICA_MSG_DIGEST: compare(r, msg); return;
    case REPLICA_MSG_RANGE:
        if (msg->lo > msg->hi || msg->item_count > RANGE_ITEMS_MAX)
            return;
        op.kind = REPLICA_OP_RANGE;
        break;
    case REPLICA_MSG_SYNCED:
        if (!replica_has_hole(s) || !epochs_are_valid(&msg->epochs))
            return;
        op.kind = REPLICA_OP_WHOLE;
        op.epochs = &msg->epochs;
        break;
    default: return;
    }
    (void)replica_store(r, &op);
}

static bool
is_time_to_stand(const struct replica *r, bool *ret_is_forced)
{
    const struct record *rec = &r->record;
    if (r->role != REPLICA_FOLLOWER || r->lead_epoch != 0 || store_id_eq(rec->master, r->self))
        return false;
    int64_t wait_ms = r->config.suspect_ms;
    for (uint32_t i = 0; i < rec->count && !store_id_eq(rec->members[i].store, r->self); i++)
        if (!store_id_eq(rec->members[i].store, rec->master))
            wait_ms += r->config.stagger_ms;
    bool is_linked = false, in_sync_linked = false;
    for (uint32_t i = 0; i < r->peer_count; i++) {
        const struct replica_peer *p = &r->peers[i];
        is_linked |= p->is_linked && store_id_eq(p->store, rec->master);
        in_sync_linked |= p->is_linked && record_is_in_sync(rec, p->store);
    }
    if (is_linked) // it is there, but does not lead: it has trouble of its own, or has not come to it
        wait_ms *= 3;
    *ret_is_forced = !record_is_in_sync(rec, r->self);
    if (*ret_is_forced && !REPLICA_BUG(REPLICA_BUG_ANYONE)) {
        if (r->config.is_when_synced || in_sync_linked)
            return false;
        wait_ms += r->config.always_after_ms;
    }
    return r->now_ms - r->led_ms >= wait_ms;
}

void
replica_follow_step(struct replica *r)
{
    bool is_forced = false;
    if (is_time_to_stand(r, &is_forced)) {
        replica_elect_begin(r, r->record.epoch, is_forced);
        return;
    }
    if (r->lead_epoch == 0)
        return;
    if (r->is_state_due && replica_has_promised(r)) {
        struct replica_item first = {0};
        bool has_first = r->env.next(r->env.ctx, 1, &first);
        struct replica_msg state = {.kind = REPLICA_MSG_STATE,
                                    .epoch = r->lead_epoch,
                                    .lo = has_first ? first.seq : 0,
                                    .hi = r->saved.whole_to,
                                    .epochs = r->saved.epochs};
        r->is_state_due = false;
        replica_send(r, r->leader, &state);
    }
    uint64_t durable = REPLICA_BUG(REPLICA_BUG_RECEIVED_IS_DURABLE) ? r->saved.whole_to : r->durable;
    if (r->is_following && durable > r->told_durable) {
        r->told_durable = durable;
        // DURABLE: the master counts on it.
        replica_send(
            r, r->leader,
            &(struct replica_msg){.kind = REPLICA_MSG_DURABLE, .epoch = r->lead_epoch, .lo = durable});
    }
}
