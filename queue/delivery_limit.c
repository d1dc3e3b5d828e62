// delivery_limit.c: see delivery_limit.h.
//
// Without memory for its log entry a count is kept in memory alone, as are those of messages that are not stored.
#include "queue/delivery_limit.h"

#include "queue/durable.h"
#include "queue/dying.h"
#include "queue/queue_worker.h"
#include "queue/tx.h"
#include "src/base/log.h"

bool
delivery_limit_is_on(const struct queue *q)
{
    return q->def->type == QUEUE_QUORUM || QUEUE_RULES(q)->delivery_limit != RULE_NONE;
}

// The first, second, fourth … of a queue: a flood of them is some twenty lines, without a clock.
static void
log_limited(struct queue *q, uint64_t limit)
{
    uint32_t count = ++q->counters.delivery_limited;
    if ((count & (count - 1)) != 0)
        return;
    struct slice policy = QUEUE_RULES(q)->policy;
    bool has_policy = policy.len > 0;
    log_info(LOG_QUEUE,
             "queue '%.*s' in vhost '%.*s': a message came back more than %llu times, its delivery "
             "limit%s%.*s%s, and leaves (%u so "
             "far)",
             SLICE_FMT(q->def->name), SLICE_FMT(q->def->vhost), (unsigned long long)limit,
             has_policy ? " (policy '" : "", SLICE_FMT(policy), has_policy ? "')" : "", count);
}

bool
delivery_limit_returned(struct queue_worker *qw, struct queue *q, struct unacked_record *record)
{
    struct ready_entry e = record->entry;
    bool is_stored = ready_entry_is(&e, READY_STORED);
    uint64_t limit = QUEUE_RULES(q)->delivery_limit;
    if (is_stored)
        durable_log_count(qw, q, e.seq, ready_entry_count(&e));
    // LIMIT: counts end at 65,535: a limit of so much or more is none.
    if (ready_entry_count(&e) <= limit + (QUEUE_BUG(QUEUE_BUG_LIMIT_LATE) && limit != RULE_NONE ? 1 : 0))
        return false;
    if (is_stored && stored_is(e.stored, STORED_TX_ACKED))
        tx_ack_void(q, e.stored);
    if (dying_is_wanted(qw, q)) {
        if (!dying_add_record(qw, q, record, DEATH_DELIVERY_LIMIT))
            return false; // no memory: it is delivered once more, and not lost for that
    } else {
        const struct message *msg = ready_entry_message(&e);
        sum_sub(&q->unacked_sum, &e, msg != NULL ? message_weight(msg) : 0);
        unacked_remove(&q->unacked, &qw->unacked_tables, record);
        queue_bury_entry(qw, q, &e, DEATH_DELIVERY_LIMIT);
    }
    log_limited(q, limit);
    return true;
}
