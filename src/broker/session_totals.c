// session_totals.c: what each vhost's clients did and what its queues hold, added up on one worker (see session.h).
//
// Sessions and closed sessions are in counters.h; queues are walked, some thousand slots a part. A record is a name with its length
// u16 in front, and TOTAL_COUNT numbers u64.
#include <uthash.h>

#include "src/base/mem.h"
#include "src/broker/session_impl.h"

// LIMIT: slots of queues looked at in a part.
enum { SLOTS_A_PART = 8192 };

struct part_vhost {
    UT_hash_handle hh;
    uint64_t totals[TOTAL_COUNT];
    size_t name_len;
    uint8_t name[];
};

struct part {
    struct part_vhost *vhosts;
    bool has_failed;
};

// NULL: out of memory.
static uint64_t *
totals_of(struct part *p, struct slice name)
{
    struct part_vhost *v;
    HASH_FIND(hh, p->vhosts, name.ptr, name.len, v);
    if (v == NULL) {
        v = mem_calloc(1, sizeof *v + name.len);
        p->has_failed |= v == NULL;
        if (v == NULL)
            return NULL;
        v->name_len = name.len;
        if (name.len > 0)
            memcpy(v->name, name.ptr, name.len);
        HASH_ADD_KEYPTR(hh, p->vhosts, v->name, v->name_len, v);
    }
    return v->totals;
}

static void
add_counts(struct part *p, struct slice vhost, const struct session_counts *n)
{
    uint64_t *totals = totals_of(p, vhost);
    if (totals == NULL)
        return;
    totals[TOTAL_PUBLISHED] += n->published;
    totals[TOTAL_CONFIRMED] += n->confirmed;
    totals[TOTAL_RETURNED] += n->returned;
    totals[TOTAL_DROPPED] += n->dropped;
    totals[TOTAL_DELIVERED] += n->delivered;
    totals[TOTAL_DELIVERED_NO_ACK] += n->delivered_no_ack;
    totals[TOTAL_GOT] += n->got;
    totals[TOTAL_GOT_NO_ACK] += n->got_no_ack;
    totals[TOTAL_GOT_EMPTY] += n->got_empty;
    totals[TOTAL_REDELIVERED] += n->redelivered;
    totals[TOTAL_ACKED] += n->acked;
}

static void
add_client(struct part *p, const struct client *c)
{
    uint64_t *totals = totals_of(p, c->vhost);
    if (totals == NULL)
        return;
    totals[TOTAL_CONNECTIONS]++;
    if (c->traffic != NULL) {
        uint64_t received = 0, sent = 0;
        c->traffic(c->ctx, &received, &sent);
        totals[TOTAL_RECEIVED] += received;
        totals[TOTAL_SENT] += sent;
    }
    LV_LIST_EACH (it, &c->sessions) {
        totals[TOTAL_CHANNELS]++;
        add_counts(p, c->vhost, &LV_CONTAINER_OF(it, struct session, node)->stats);
    }
}

static void
add_sessions(struct broker_worker *b, struct part *p)
{
    size_t cursor = 0;
    uint64_t key;
    void *value;
    counters_purge(&b->counters, topology_of(b->worker));
    while (inttab_next(&b->counters.vhosts, &cursor, &key, &value)) {
        const struct vhost_counts *v = value;
        uint64_t *totals = totals_of(p, v->name);
        add_counts(p, v->name, &v->closed);
        if (totals != NULL) {
            totals[TOTAL_RECEIVED] += v->received;
            totals[TOTAL_SENT] += v->sent;
        }
    }
    LV_LIST_EACH (it, &b->clients)
        add_client(p, LV_CONTAINER_OF(it, struct client, node));
}

static void
add_queue(void *ctx, const struct queue_def *def, const struct queue_totals *t)
{
    uint64_t *totals = totals_of(ctx, def->vhost);
    if (totals == NULL)
        return;
    totals[TOTAL_READY] += t->ready;
    totals[TOTAL_UNACKED] += t->unacked;
    totals[TOTAL_CONSUMERS] += t->consumers;
}

uint32_t
broker_totals(struct worker *w, uint32_t from, struct buf *out)
{
    struct part p = {0};
    struct part_vhost *v, *next;
    if (from == 0)
        add_sessions(broker_of(w), &p);
    queue_worker_each(w, &from, SLOTS_A_PART, add_queue, &p);
    HASH_ITER(hh, p.vhosts, v, next)
    {
        buf_append_u16be(out, (uint16_t)v->name_len);
        buf_append(out, v->name, v->name_len);
        for (int i = 0; i < TOTAL_COUNT; i++)
            buf_append_u64be(out, v->totals[i]);
        HASH_DEL(p.vhosts, v);
        mem_free(v);
    }
    out->failed |= p.has_failed;
    return from;
}

bool
broker_total_next(struct slice *records, struct slice *ret_vhost, uint64_t ret_totals[static TOTAL_COUNT])
{
    if (records->len < 2)
        return false;
    size_t name_len = (size_t)(records->ptr[0] << 8 | records->ptr[1]);
    size_t size = 2 + name_len + 8 * (size_t)TOTAL_COUNT;
    if (records->len < size)
        return false;
    *ret_vhost = slice_of(records->ptr + 2, name_len);
    const uint8_t *at = records->ptr + 2 + name_len;
    for (int i = 0; i < TOTAL_COUNT; i++, at += 8) {
        ret_totals[i] = 0;
        for (int k = 0; k < 8; k++)
            ret_totals[i] = ret_totals[i] << 8 | at[k];
    }
    *records = slice_from(*records, size);
    return true;
}
