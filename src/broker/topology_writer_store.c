// topology_writer_store.c: the durable side of a turn: one SQLite transaction, its failure, and rows still owed.
//
// Happy path: the first durable change of a turn opens the transaction, each writes its rows at once, store_commit ends it before
// the version is published.
// Failure of any call: the transaction is rolled back as a whole; the writer undoes the requests of the turn and carries them out
// again with durable changes refused. What cannot be undone is the removal of a queue that its owner has already carried out,
// and what followed from it (auto-delete exchanges): these stay removed, and their rows are *owed*: deleted by the next
// transaction that succeeds. Until then a restart would bring them back, empty.
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/broker/topology_writer.h"

bool
store_may_change(struct topology_writer *tw, struct task *task)
{
    if (!tw->turn.is_durable_refused)
        return true;
    fault_set(&task->req.fault, FAULT_INTERNAL_ERROR,
              "the change could not be written to the metadata store: %s", err_text(tw->turn.store_error));
    return false;
}

static void
drop_owed_rows(struct topology_writer *tw)
{
    for (size_t i = 0; i < tw->owed_count && tw->turn.store_error == 0; i++) {
        const struct owed_row *row = &tw->owed[i];
        store_note(tw, row->is_queue ? meta_delete_queue(tw->meta, row->id)
                                     : meta_delete_exchange(tw->meta, row->id));
    }
}

bool
store_is_open(struct topology_writer *tw)
{
    struct turn *t = &tw->turn;
    if (tw->meta == NULL || t->is_durable_refused || t->store_error != 0)
        return false;
    if (t->is_in_transaction)
        return true;
    store_note(tw, meta_begin(tw->meta));
    if (t->store_error != 0)
        return false;
    t->is_in_transaction = true;
    drop_owed_rows(tw);
    return t->store_error == 0;
}

void
store_note(struct topology_writer *tw, int result)
{
    if (result < 0 && tw->turn.store_error == 0)
        tw->turn.store_error = result;
}

void
store_drop_row(struct topology_writer *tw, uint64_t id, bool is_queue)
{
    struct turn *t = &tw->turn;
    if (tw->meta == NULL)
        return;
    t->gone_rows = array_grow(t->gone_rows, t->gone_count, &t->gone_cap, sizeof *t->gone_rows);
    t->gone_rows[t->gone_count++] = (struct owed_row){id, is_queue};
    if (store_is_open(tw))
        store_note(tw, is_queue ? meta_delete_queue(tw->meta, id) : meta_delete_exchange(tw->meta, id));
}

bool
store_commit(struct topology_writer *tw)
{
    struct turn *t = &tw->turn;
    if (!t->is_in_transaction && t->store_error == 0)
        return true;
    if (t->store_error == 0)
        store_note(tw, meta_commit(tw->meta));
    if (t->store_error == 0) {
        t->is_in_transaction = false;
        t->gone_count = 0;
        tw->owed_count = 0;
        return true;
    }
    if (t->is_in_transaction)
        meta_rollback(tw->meta);
    t->is_in_transaction = false;
    log_error(LOG_STORE, "metadata store: commit failed: %s: refusing the durable changes of this moment",
              err_text(t->store_error));
    return false;
}

void
store_owe_gone_rows(struct topology_writer *tw)
{
    struct turn *t = &tw->turn;
    for (size_t i = 0; i < t->gone_count; i++) {
        tw->owed = array_grow(tw->owed, tw->owed_count, &tw->owed_cap, sizeof *tw->owed);
        tw->owed[tw->owed_count++] = t->gone_rows[i];
    }
    t->gone_count = 0;
}

int
store_raise_ceiling(struct topology_writer *tw)
{
    uint64_t ceiling = tw->id_last + TOPOLOGY_ID_STEP;
    int result = meta_begin(tw->meta);
    if (result < 0)
        return result;
    result = meta_put_id_ceiling(tw->meta, ceiling);
    if (result == 0)
        result = meta_commit(tw->meta);
    if (result < 0)
        meta_rollback(tw->meta);
    else
        tw->id_ceiling = ceiling;
    return result;
}

void
store_reserve_ids(struct topology_writer *tw)
{
    if (tw->meta == NULL || tw->id_ceiling - tw->id_last >= TOPOLOGY_ID_STEP / 2)
        return;
    int result = store_raise_ceiling(tw);
    if (result < 0)
        log_error(
            LOG_STORE,
            "metadata store: reserving object ids failed: %s: %llu left, trying again with the next change",
            err_text(result), (unsigned long long)(tw->id_ceiling - tw->id_last));
}

void
store_pay_owed(struct topology_writer *tw)
{
    if (tw->meta == NULL || tw->owed_count == 0)
        return;
    tw->turn.store_error = 0;
    tw->turn.is_durable_refused = false;
    (void)store_is_open(tw);
    if (!store_commit(tw))
        log_error(
            LOG_STORE,
            "metadata store: %zu deleted queues and exchanges may come back, empty, with the next start",
            tw->owed_count);
}
