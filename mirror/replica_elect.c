// replica_elect.c: see replica.h. A candidate: promises a higher epoch, fixes the end of its log, asks who has more, and proposes itself.
//
// From the moment of its promise it refuses all lower epochs, so it is of no use to its old master any more: that one meets the promise, and
// proposes itself with a higher epoch still.
#include "mirror/replica_impl.h"

void
replica_elect_begin(struct replica *r, uint64_t above, bool is_forced)
{
    if (r->role == REPLICA_MASTER)
        replica_lead_end(r);
    r->role = REPLICA_CANDIDATE;
    r->target = LV_MAX(above, r->saved.promised) + 1;
    r->candidate_ms = r->now_ms;
    r->is_asking = r->is_fixed = false;
    r->is_forced = is_forced;
    for (uint32_t i = 0; i < r->peer_count; i++)
        r->peers[i].has_answered = r->peers[i].is_longer = false;
    if (!REPLICA_BUG(REPLICA_BUG_ANSWER_OLD))
        replica_follow_stop(r);
    replica_promise(r, r->target);
}

static void
fix_end(struct replica *r)
{
    if (r->is_fixed)
        return;
    const struct replica_saved *s = &r->saved;
    r->is_fixed = true;
    r->start = s->end + 1;
    if (!replica_has_hole(s))
        return;
    r->start = s->whole_to + 1;
    struct replica_op op = {.kind = r->is_forced ? REPLICA_OP_FORCE : REPLICA_OP_CUT, .lo = s->whole_to};
    (void)replica_store(r, &op);
}

static void
query(struct replica *r)
{
    r->is_asking = true;
    for (uint32_t i = 0; i < r->peer_count; i++)
        if (r->peers[i].is_linked && record_is_in_sync(&r->record, r->peers[i].store))
            replica_send(r, r->peers[i].store,
                         &(struct replica_msg){.kind = REPLICA_MSG_QUERY, .epoch = r->target});
}

// Whether it is its turn: all that can be asked have answered, or had their time; one that has more has had longer.
static bool
is_its_turn(const struct replica *r)
{
    bool is_longer = false, has_all = true;
    for (uint32_t i = 0; i < r->peer_count; i++) {
        const struct replica_peer *p = &r->peers[i];
        if (!p->is_linked || !record_is_in_sync(&r->record, p->store))
            continue;
        is_longer |= p->is_longer;
        has_all &= p->has_answered;
    }
    int64_t waited_ms = r->now_ms - r->candidate_ms;
    return is_longer ? waited_ms >= r->config.defer_ms : has_all || waited_ms >= r->config.suspect_ms;
}

void
replica_elect_step(struct replica *r)
{
    if (r->record.epoch == 0 || !replica_has_promised(r))
        return;
    if (!r->is_asking)
        query(r);
    if (REPLICA_BUG(REPLICA_BUG_ANSWER_OLD))
        fix_end(r);
    if (!replica_can_propose(r) || !is_its_turn(r))
        return;
    bool may_stand =
        record_is_in_sync(&r->record, r->self) || r->is_forced || REPLICA_BUG(REPLICA_BUG_ANYONE);
    if (!may_stand || record_find(&r->record, r->self) == NULL) {
        replica_become_follower(r);
        return;
    }
    if (r->record.epoch >= r->target) {
        replica_elect_begin(r, r->record.epoch, r->is_forced);
        return;
    }
    fix_end(r);
    struct record wanted = r->record;
    wanted.epoch = r->target;
    wanted.master = r->self;
    for (uint32_t i = 0; r->is_forced && i < wanted.count; i++)
        wanted.members[i].is_in_sync = false;
    (void)record_put(&wanted, r->self, true);
    if (REPLICA_BUG(REPLICA_BUG_NO_CAS)) {
        r->record = wanted;
        replica_lead_begin(r);
        return;
    }
    replica_propose(r, &wanted);
}

void
replica_elect_receive(struct replica *r, struct replica_peer *p, const struct replica_msg *msg)
{
    const struct replica_saved *s = &r->saved;
    uint64_t epoch = epochs_last(&s->epochs);
    if (msg->kind == REPLICA_MSG_QUERY) {
        replica_send(r, p->store,
                     &(struct replica_msg){
                         .kind = REPLICA_MSG_END, .epoch = msg->epoch, .lo = epoch, .hi = s->whole_to});
        return;
    }
    if (r->role != REPLICA_CANDIDATE || msg->epoch != r->target)
        return;
    p->has_answered = true;
    p->is_longer = msg->lo > epoch || (msg->lo == epoch && msg->hi > s->whole_to);
}
