// unacked.c: the open-addressing table of unacked.h. Deletion shifts later records of the run back, so there
// are no tombstones.
#include "queue/unacked.h"

#include "src/base/mem.h"

enum { KEEP_TABLES = 1024 }; // LIMIT: small tables kept for reuse by a worker (512 bytes each)

void
unacked_pool_init(struct pool *p)
{
    pool_init(p, UNACKED_FIRST_CAP * sizeof(struct unacked_record), KEEP_TABLES);
}

static inline uint32_t
home_of(const struct unacked *u, uint64_t seq)
{
    return (uint32_t)((seq * 0x9E3779B97F4A7C15ull) >> (64 - __builtin_ctz(u->cap)));
}

static void
free_slots(struct unacked_record *slots, uint32_t cap, struct pool *p)
{
    if (cap == UNACKED_FIRST_CAP)
        pool_give(p, slots);
    else
        mem_free(slots);
}

static void
place(struct unacked *u, const struct unacked_record *record)
{
    uint32_t mask = u->cap - 1;
    uint32_t at = home_of(u, record->entry.seq);
    while (u->slots[at].entry.seq != 0) {
        LV_ASSERT_HOT(u->slots[at].entry.seq != record->entry.seq);
        at = (at + 1) & mask;
    }
    u->slots[at] = *record;
    u->count++;
}

static bool
resize(struct unacked *u, struct pool *p, uint32_t cap)
{
    struct unacked_record *slots =
        cap == UNACKED_FIRST_CAP ? pool_take(p) : mem_alloc((size_t)cap * sizeof(struct unacked_record));
    if (slots == NULL)
        return false;
    memset(slots, 0, (size_t)cap * sizeof(*slots));
    struct unacked old = *u;
    *u = (struct unacked){.slots = slots, .cap = cap};
    for (uint32_t i = 0; i < old.cap; i++) {
        if (old.slots[i].entry.seq != 0)
            place(u, &old.slots[i]);
    }
    if (old.slots != NULL)
        free_slots(old.slots, old.cap, p);
    return true;
}

bool
unacked_grow(struct unacked *u, struct pool *p)
{
    if (u->cap > UINT32_MAX / 2)
        return false;
    return resize(u, p, u->cap == 0 ? UNACKED_FIRST_CAP : u->cap * 2);
}

void
unacked_put(struct unacked *u, const struct ready_entry *e, lv_handle owner)
{
    LV_ASSERT_HOT(e->seq != 0 && (u->count + 1) * 2ull <= u->cap);
    place(u, &(struct unacked_record){.entry = *e, .owner = owner});
}

struct unacked_record *
unacked_find(const struct unacked *u, uint64_t seq)
{
    if (u->count == 0 || seq == 0)
        return NULL;
    uint32_t mask = u->cap - 1;
    uint32_t at = home_of(u, seq);
    while (u->slots[at].entry.seq != 0) {
        if (u->slots[at].entry.seq == seq)
            return &u->slots[at];
        at = (at + 1) & mask;
    }
    return NULL;
}

static void
close_gap(struct unacked *u, uint32_t gap)
{
    uint32_t mask = u->cap - 1;
    for (uint32_t at = (gap + 1) & mask; u->slots[at].entry.seq != 0; at = (at + 1) & mask) {
        uint32_t home = home_of(u, u->slots[at].entry.seq);
        // It may move into the gap if its home does not lie cyclically in (gap, at].
        if (((at - home) & mask) >= ((at - gap) & mask)) {
            u->slots[gap] = u->slots[at];
            gap = at;
        }
    }
    u->slots[gap].entry.seq = 0;
}

void
unacked_remove(struct unacked *u, struct pool *p, struct unacked_record *record)
{
    close_gap(u, (uint32_t)(record - u->slots));
    u->count--;
    if (u->count == 0 && u->cap == UNACKED_FIRST_CAP)
        unacked_fini(u, p);
    else if (u->cap > UNACKED_FIRST_CAP && u->count < u->cap / 16)
        (void)!resize(u, p, u->cap / 2); // without memory for the smaller table the larger one stays
}

struct unacked_record *
unacked_next(const struct unacked *u, size_t *cursor)
{
    while (*cursor < u->cap) {
        struct unacked_record *record = &u->slots[(*cursor)++];
        if (record->entry.seq != 0)
            return record;
    }
    return NULL;
}

void
unacked_fini(struct unacked *u, struct pool *p)
{
    if (u->slots != NULL)
        free_slots(u->slots, u->cap, p);
    *u = (struct unacked){0};
}
