// sim_log_check.c: is what a start of the commit log recovered what the model of sim_log.c says? See there.
#include <stdlib.h>

#include "src/base/crc.h"
#include "src/base/mem.h"
#include "tests/sim/sim_log.h"

bool
sim_has_files(void *ctx, uint64_t queue)
{
    return queue % 3 == 0;
}

size_t
sim_make_content(uint64_t id, struct msglog_content *c, uint8_t **ret_bytes)
{
    struct rng r;
    rng_init(&r, id);
    uint64_t kind = rng_below(&r, 20);
    size_t len = kind == 0  ? 4000 + rng_below(&r, 5000)
                 : kind < 4 ? rng_below(&r, 3000)
                            : 8 + rng_below(&r, 200);
    uint8_t *bytes = mem_xalloc(len + 16);
    for (size_t i = 0; i < len + 16; i++)
        bytes[i] = (uint8_t)rng_next(&r);
    *c = (struct msglog_content){.flags = 1,
                                 .priority = (uint8_t)kind,
                                 .route_bytes = 6,
                                 .header_bytes = 10,
                                 .body_bytes = (uint32_t)len,
                                 .expiry_ms = (uint32_t)id,
                                 .published_ms = (int64_t)id,
                                 .bytes = bytes};
    *ret_bytes = bytes;
    return len + 16;
}

bool
sim_is_content_right(struct sim *s, const struct msglog_live_entry *e, uint64_t id)
{
    struct msglog_content want;
    uint8_t *bytes;
    struct msglog_record got;
    size_t len = sim_make_content(id, &want, &bytes);
    bool is_right = core_read(&s->core, &e->place, &got) == 0;
    if (is_right) {
        is_right = memcmp(got.content.bytes, bytes, len) == 0 && got.content.body_bytes == want.body_bytes &&
                   got.content.expiry_ms == want.expiry_ms && got.content.published_ms == want.published_ms;
        mem_free(got.buffer);
    }
    mem_free(bytes);
    return is_right && e->epoch == 7;
}

static bool
is_gone_by_log(const struct sim *s, unsigned q, uint64_t seq)
{
    const struct msglog_live_queue *known = inttab_get(&s->live.queues, q);
    uint64_t first, end;
    msglog_live_next_gone(&s->live, q, seq, &first, &end);
    return first <= seq || (known != NULL && known->is_deleted);
}

// It was recovered: it lies in the log, or in a file and nothing says that it is gone.
static bool
is_alive(const struct sim *s, unsigned q, uint64_t seq)
{
    const struct message *m = &s->messages[q][seq];
    return msglog_live_find(&s->live, q, seq) != NULL ||
           (m->is_filed && !m->is_stated && !is_gone_by_log(s, q, seq));
}

// Its large body must be there too.
static bool
is_filed_content_right(struct sim *s, const struct message *m)
{
    struct msglog_content want;
    uint8_t *bytes;
    size_t len = sim_make_content(m->id, &want, &bytes);
    uint8_t *got = mem_xalloc(len);
    bool is_right = m->large_file == 0 ||
                    large_read(&s->core, m->large_file, (uint32_t)len, crc32c(0, bytes, len), got) == 0;
    mem_free(got);
    mem_free(bytes);
    return is_right;
}

// All parts of an undecided transaction came back, or none.
static void
check_txs(struct sim *s)
{
    uint32_t there[TXS] = {0}, away[TXS] = {0};
    for (unsigned q = 1; q <= s->next_queue; q++)
        for (uint64_t seq = 1; seq <= s->next_seq[q]; seq++) {
            const struct message *m = &s->messages[q][seq];
            bool is_there = is_alive(s, q, seq);
            if (m->tx != 0)
                *(is_there ? &there[m->tx] : &away[m->tx]) += 1;
            if (m->ack_tx != 0 && m->state == SURE && !m->is_either && !m->is_weak)
                *(is_there ? &away[m->ack_tx] : &there[m->ack_tx]) += 1;
            // Committed without a sync: all or nothing too, once the power was cut. Not told by what went another way since.
            if (m->soft_tx != 0 && m->is_either && !m->is_weak && !m->is_dying)
                *(is_there ? &there[m->soft_tx] : &away[m->soft_tx]) += 1;
            if (m->soft_ack_tx != 0 && m->is_either && !m->is_weak && !m->is_relaxed && !m->is_stated)
                *(is_there ? &away[m->soft_ack_tx] : &there[m->soft_ack_tx]) += 1;
        }
    for (uint32_t t = 1; t <= s->tx_count; t++)
        CHECK(s, there[t] == 0 || away[t] == 0, "half a transaction came back");
}

// How often it was delivered, as far as recovery knows, and its owner's file.
static uint32_t
recovered_count(const struct sim *s, unsigned q, uint64_t seq, const struct msglog_live_entry *e)
{
    const struct msglog_live_queue *known = inttab_get(&s->live.queues, q);
    const struct message *m = &s->messages[q][seq];
    uint32_t count = known != NULL ? (uint32_t)(uintptr_t)inttab_get(&known->counts, seq) : 0;
    if (e != NULL)
        count = LV_MAX(count, e->flags >> 16);
    return m->is_filed ? LV_MAX(count, m->count_filed) : count;
}

static void
compare_count(struct sim *s, unsigned q, uint64_t seq, struct msglog_live_entry *e)
{
    struct message *m = &s->messages[q][seq];
    uint32_t count = recovered_count(s, q, seq, e);
    CHECK(s, count >= m->count_told || m->is_weak, "a delivery count went down");
    CHECK(s, count <= m->count, "a delivery is counted that never was");
    if (e != NULL)
        e->flags = count << 16; // as its owner takes it over
    m->count = count;
    m->count_told = m->count_synced = m->is_count_weak ? LV_MIN(m->count_synced, count) : count;
}

void
sim_compare(struct sim *s)
{
    uint64_t count = 0;
    check_txs(s);
    for (unsigned q = 1; q <= s->next_queue && s->failure == NULL; q++)
        for (uint64_t seq = 1; seq <= s->next_seq[q]; seq++) {
            struct message *m = &s->messages[q][seq];
            struct msglog_live_entry *e = msglog_live_find(&s->live, q, seq);
            bool is_loose = m->is_either || m->is_weak;
            bool is_sure = m->state == SURE && m->ack_tx == 0 && !is_loose;
            bool is_there = is_alive(s, q, seq);
            CHECK(s, is_there || !is_sure, "a durable message is lost");
            CHECK(s, !is_there || m->state == OPEN || m->state == SURE || (is_loose && m->state == GONE),
                  "a message came back");
            CHECK(s, !is_sure || !is_gone_by_log(s, q, seq), "a message is said to be gone that is not");
            CHECK(s, e == NULL || m->is_weak || sim_is_content_right(s, e, m->id),
                  "a message cannot be read as it was written");
            CHECK(s, e != NULL || !is_there || m->is_weak || is_filed_content_right(s, m),
                  "a large body is lost");
            if (e == NULL && is_there && m->large_file != 0 && large_hold(&s->core, m->large_file) != 0)
                abort();
            if (is_there)
                compare_count(s, q, seq, e);
            m->state = is_there ? SURE : GONE;
            m->large_file = e != NULL ? e->large_file : is_there ? m->large_file : 0;
            m->gone_file = 0; // anywhere: its queue writes it down when it is asked next
            m->is_dying = !is_there;
            m->tx = m->ack_tx = m->soft_tx = m->soft_ack_tx = 0;
            m->is_either = false;
            count += e != NULL;
        }
    CHECK(s, count == s->live.count, "there are messages that nobody published");
    for (uint32_t t = 1; t <= s->tx_count; t++)
        s->txs[t].is_open = false;
    s->recovered += count;
    s->soft_count = 0;
}
