// expiry_index.c: see expiry_index.h.
//
// A slot is in one of three states: SLOT_RUN, SLOT_HEAP, or SLOT_POPPED. The run is what is SLOT_RUN, all of it at or behind run_seq: new numbers join it
// while they come behind all others and are due no earlier than the last one that joined. The heap has four children a node and lies in
// pages, so that growing it copies nothing; an entry counts when there is a slot of its number that says SLOT_HEAP.
#include "queue/expiry_index.h"

#include "src/base/mem.h"

// LIMIT: slots of a leaf, entries of a page: 4 KiB each. The first of each begin small: many queues have few messages.
enum {
    LEAF_SLOTS = 255,
    LEAF_FIRST_SLOTS = 7,
    PAGE_BITS = 8,
    PAGE_ENTRIES = 1 << PAGE_BITS,
    PAGE_FIRST_ENTRIES = 8
};
// Neighbours with fewer slots than this together become one.
enum { LEAF_MERGE_SLOTS = LEAF_SLOTS / 2 };
// Stale entries of the heap that are left alone.
enum { STALE_MIN = 64, SWEEP_STEPS = 2 };

enum slot_state { SLOT_RUN = 0, SLOT_HEAP = 1, SLOT_POPPED = 2 };

struct slot {
    uint64_t seq;
    uint64_t packed; // level << 56 | instant << 2 | enum slot_state
};

struct expiry_leaf {
    uint16_t start, end, cap; // slots[start] … slots[end - 1]
    struct slot slots[];
};

static int64_t
slot_at_ms(const struct slot *s)
{
    return (int64_t)(s->packed << 8 >> 10);
}

static enum slot_state
slot_state(const struct slot *s)
{
    return (enum slot_state)(s->packed & 3);
}

static void
slot_set_state(struct slot *s, enum slot_state state)
{
    s->packed = (s->packed & ~UINT64_C(3)) | state;
}

// --- leaves ---

static size_t
leaf_bytes(uint32_t cap)
{
    return sizeof(struct expiry_leaf) + cap * sizeof(struct slot);
}

static struct expiry_leaf *
leaf_new(struct expiry_index *x, uint32_t cap)
{
    struct expiry_leaf *leaf = mem_alloc(leaf_bytes(cap));
    if (leaf == NULL)
        return NULL;
    leaf->start = leaf->end = 0;
    leaf->cap = (uint16_t)cap;
    x->leaf_bytes += leaf_bytes(cap);
    return leaf;
}

static void
leaf_free(struct expiry_index *x, struct expiry_leaf *leaf)
{
    x->leaf_bytes -= leaf_bytes(leaf->cap);
    mem_free(leaf);
}

// Room for one more reference at `at`; it is open then.
static bool
refs_open(struct expiry_index *x, size_t at)
{
    if (x->end == x->cap && x->first > x->cap / 4) {
        size_t count = x->end - x->first;
        memmove(x->leaves, x->leaves + x->first, count * sizeof(*x->leaves));
        at -= x->first;
        x->first = 0;
        x->end = count;
    } else if (x->end == x->cap) {
        size_t cap = x->cap == 0 ? 2 : x->cap * 2;
        struct expiry_leaf_ref *leaves = mem_realloc(x->leaves, cap * sizeof(*leaves));
        if (leaves == NULL)
            return false;
        x->leaves = leaves;
        x->cap = cap;
    }
    memmove(x->leaves + at + 1, x->leaves + at, (x->end - at) * sizeof(*x->leaves));
    x->end++;
    return true;
}

static void
refs_close(struct expiry_index *x, size_t at)
{
    leaf_free(x, x->leaves[at].leaf);
    if (at == x->first) {
        x->first++;
    } else {
        x->end--;
        memmove(x->leaves + at, x->leaves + at + 1, (x->end - at) * sizeof(*x->leaves));
    }
    if (x->first == x->end) {
        mem_free(x->leaves);
        x->leaves = NULL;
        x->first = x->end = x->cap = 0;
    }
}

// The leaf that has a number, if any has; there is one.
static size_t
leaf_of(const struct expiry_index *x, uint64_t seq)
{
    size_t low = x->first, high = x->end;
    if (x->leaves[high - 1].first_seq <= seq)
        return high - 1;
    while (low + 1 < high) {
        size_t middle = low + (high - low) / 2;
        if (x->leaves[middle].first_seq <= seq)
            low = middle;
        else
            high = middle;
    }
    return low;
}

// The first slot with this number or a higher one.
static uint32_t
slot_of(const struct expiry_leaf *leaf, uint64_t seq)
{
    uint32_t low = leaf->start, high = leaf->end;
    if (seq <= leaf->slots[low].seq)
        return low;
    // Without gaps it would be just there; with some it is before.
    uint64_t guess = low + (seq - leaf->slots[low].seq);
    if (guess < high) {
        if (leaf->slots[guess].seq == seq)
            return (uint32_t)guess;
        high = (uint32_t)guess;
    }
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (leaf->slots[middle].seq < seq)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct slot *
find(const struct expiry_index *x, uint64_t seq)
{
    if (x->count == 0)
        return NULL;
    LV_ASSERT(x->leaves != NULL);
    struct expiry_leaf *leaf = x->leaves[leaf_of(x, seq)].leaf;
    uint32_t at = slot_of(leaf, seq);
    return at < leaf->end && leaf->slots[at].seq == seq ? &leaf->slots[at] : NULL;
}

// A full leaf: one that ends the index gets a neighbour, the others are cut in two. False: no memory.
static bool
make_room(struct expiry_index *x, size_t at, uint64_t seq)
{
    struct expiry_leaf *leaf = x->leaves[at].leaf;
    uint32_t count = (uint32_t)(leaf->end - leaf->start);
    bool is_end = at + 1 == x->end && seq > leaf->slots[leaf->end - 1].seq;
    // A move to the front has to be worth it: what comes at the end and goes at the front would do it for each.
    if (leaf->start > leaf->cap / 4 || (leaf->start > 0 && !is_end && leaf->cap == LEAF_SLOTS)) {
        memmove(leaf->slots, leaf->slots + leaf->start, count * sizeof(*leaf->slots));
        leaf->start = 0;
        leaf->end = (uint16_t)count;
        return true;
    }
    if (leaf->cap < LEAF_SLOTS) {
        uint32_t cap = LV_MIN((uint32_t)leaf->cap * 4 + 3, (uint32_t)LEAF_SLOTS);
        struct expiry_leaf *larger = leaf_new(x, cap);
        if (larger == NULL)
            return false;
        memcpy(larger->slots, leaf->slots + leaf->start, count * sizeof(*leaf->slots));
        larger->end = (uint16_t)count;
        leaf_free(x, leaf);
        x->leaves[at].leaf = larger;
        return true;
    }
    uint32_t kept = is_end ? leaf->end : leaf->end / 2; // in the middle it starts at 0
    struct expiry_leaf *next = leaf_new(x, LEAF_SLOTS);
    size_t before = x->first;
    if (next == NULL || !refs_open(x, at + 1)) {
        if (next != NULL)
            leaf_free(x, next);
        return false;
    }
    at -= before - x->first;
    memcpy(next->slots, leaf->slots + kept, (leaf->end - kept) * sizeof(*leaf->slots));
    next->end = (uint16_t)(leaf->end - kept);
    leaf->end = (uint16_t)kept;
    x->leaves[at + 1] = (struct expiry_leaf_ref){is_end ? seq : next->slots[0].seq, next};
    return true;
}

static bool
insert(struct expiry_index *x, const struct slot *s)
{
    if (x->first == x->end) {
        struct expiry_leaf *leaf = leaf_new(x, LEAF_FIRST_SLOTS);
        if (leaf == NULL || !refs_open(x, x->end)) {
            if (leaf != NULL)
                leaf_free(x, leaf);
            return false;
        }
        x->leaves[x->first] = (struct expiry_leaf_ref){s->seq, leaf};
    }
    size_t at = leaf_of(x, s->seq);
    if (x->leaves[at].leaf->end == x->leaves[at].leaf->cap) {
        if (!make_room(x, at, s->seq))
            return false;
        at = leaf_of(x, s->seq);
    }
    struct expiry_leaf *leaf = x->leaves[at].leaf;
    uint32_t to = leaf->start == leaf->end ? leaf->end : slot_of(leaf, s->seq);
    LV_ASSERT(to == leaf->end || leaf->slots[to].seq != s->seq);
    memmove(leaf->slots + to + 1, leaf->slots + to, (leaf->end - to) * sizeof(*leaf->slots));
    leaf->slots[to] = *s;
    leaf->end++;
    x->leaves[at].first_seq = LV_MIN(x->leaves[at].first_seq, s->seq);
    x->count++;
    return true;
}

// Two small neighbours become one: what is removed at random leaves no row of nearly empty leaves.
static void
merge_with_next(struct expiry_index *x, size_t at)
{
    if (at < x->first || at + 1 >= x->end)
        return;
    struct expiry_leaf *to = x->leaves[at].leaf, *from = x->leaves[at + 1].leaf;
    uint32_t count = (uint32_t)(to->end - to->start), more = (uint32_t)(from->end - from->start);
    if (count + more > LEAF_MERGE_SLOTS || count + more > to->cap)
        return;
    memmove(to->slots, to->slots + to->start, count * sizeof(*to->slots));
    memcpy(to->slots + count, from->slots + from->start, more * sizeof(*to->slots));
    to->start = 0;
    to->end = (uint16_t)(count + more);
    refs_close(x, at + 1);
}

static void
take_out(struct expiry_index *x, size_t leaf_at, uint32_t at)
{
    struct expiry_leaf *leaf = x->leaves[leaf_at].leaf;
    x->count--;
    if (at == leaf->start) {
        leaf->start++;
    } else {
        leaf->end--;
        memmove(leaf->slots + at, leaf->slots + at + 1, (leaf->end - at) * sizeof(*leaf->slots));
    }
    if (leaf->start == leaf->end) {
        refs_close(x, leaf_at);
    } else if (leaf->end - leaf->start < LEAF_MERGE_SLOTS / 2 && leaf_at > x->first) {
        merge_with_next(x, leaf_at); // the front is drained anyway
        merge_with_next(x, leaf_at - 1);
    }
}

// --- the heap ---

static struct expiry_timed *
timed(const struct expiry_index *x, uint32_t at)
{
    return &x->pages[at >> PAGE_BITS][at & (PAGE_ENTRIES - 1)];
}

static bool
heap_reserve(struct expiry_index *x)
{
    if (x->heap_count < x->heap_room)
        return true;
    if (x->heap_room > UINT32_MAX - 2 * PAGE_ENTRIES)
        return false;                        // LIMIT: 4 billion
    size_t page = x->heap_room >> PAGE_BITS; // the one that is to grow, or to be made
    if (page == x->page_cap) {
        size_t cap = page == 0 ? 1 : page * 2;
        struct expiry_timed **pages = mem_realloc(x->pages, cap * sizeof(*pages));
        if (pages == NULL)
            return false;
        memset(pages + page, 0, (cap - page) * sizeof(*pages));
        x->pages = pages;
        x->page_cap = cap;
    }
    uint32_t room = page > 0            ? PAGE_ENTRIES
                    : x->heap_room == 0 ? PAGE_FIRST_ENTRIES
                                        : LV_MIN(x->heap_room * 4, (uint32_t)PAGE_ENTRIES);
    struct expiry_timed *entries = mem_realloc(x->pages[page], room * sizeof(*entries));
    if (entries == NULL)
        return false;
    x->pages[page] = entries;
    x->heap_room = (uint32_t)page * PAGE_ENTRIES + room;
    return true;
}

// Gives back what is not needed, but for a page to spare.
static void
heap_trim(struct expiry_index *x)
{
    uint32_t spare = x->heap_count + PAGE_ENTRIES;
    while (x->heap_room > PAGE_ENTRIES && x->heap_room - PAGE_ENTRIES >= spare) {
        size_t page = (x->heap_room - 1) >> PAGE_BITS;
        mem_free(x->pages[page]);
        x->pages[page] = NULL;
        x->heap_room = (uint32_t)page * PAGE_ENTRIES;
    }
}

static void
sift_up(struct expiry_index *x, uint32_t at, struct expiry_timed t)
{
    while (at > 0) {
        uint32_t parent = (at - 1) / 4;
        if (timed(x, parent)->at_ms <= t.at_ms)
            break;
        *timed(x, at) = *timed(x, parent);
        at = parent;
    }
    *timed(x, at) = t;
}

static uint32_t
least_child(const struct expiry_index *x, uint32_t at)
{
    uint64_t first = (uint64_t)at * 4 + 1;
    uint32_t least = 0;
    for (uint64_t child = first; child < first + 4 && child < x->heap_count; child++)
        if (least == 0 || timed(x, (uint32_t)child)->at_ms < timed(x, least)->at_ms)
            least = (uint32_t)child;
    return least;
}

static void
heap_take_out(struct expiry_index *x, uint32_t at)
{
    struct expiry_timed last = *timed(x, --x->heap_count);
    if (at == x->heap_count) {
        heap_trim(x);
        return;
    }
    if (at > 0 && timed(x, (at - 1) / 4)->at_ms > last.at_ms) {
        sift_up(x, at, last);
        return;
    }
    for (uint32_t child; (child = least_child(x, at)) != 0 && timed(x, child)->at_ms < last.at_ms; at = child)
        *timed(x, at) = *timed(x, child);
    *timed(x, at) = last;
    heap_trim(x);
}

// The slot that an entry stands for; NULL: it is stale.
static struct slot *
slot_of_timed(const struct expiry_index *x, const struct expiry_timed *t)
{
    struct slot *s = find(x, t->seq);
    return s != NULL && slot_state(s) == SLOT_HEAP && slot_at_ms(s) == t->at_ms ? s : NULL;
}

// Looks at some entries when too many are stale. From the end to the front: what takes the place of one was looked at before.
static void
sweep(struct expiry_index *x)
{
    for (int i = 0; i < SWEEP_STEPS && x->heap_count - x->heap_live > x->heap_live + STALE_MIN; i++) {
        x->sweep = x->sweep == 0 || x->sweep > x->heap_count ? x->heap_count - 1 : x->sweep - 1;
        if (slot_of_timed(x, timed(x, x->sweep)) == NULL)
            heap_take_out(x, x->sweep);
    }
}

// --- the whole ---

void
expiry_index_fini(struct expiry_index *x)
{
    for (size_t i = x->first; i < x->end; i++)
        mem_free(x->leaves[i].leaf);
    mem_free(x->leaves);
    for (size_t page = 0; page < x->page_cap; page++)
        mem_free(x->pages[page]);
    mem_free(x->pages);
    *x = (struct expiry_index){0};
}

bool
expiry_index_put(struct expiry_index *x, uint64_t seq, uint8_t level, int64_t at_ms)
{
    at_ms = LV_MAX(INT64_C(1), LV_MIN(at_ms, EXPIRY_MAX_MS));
    const struct expiry_leaf *last = x->count > 0 ? x->leaves[x->end - 1].leaf : NULL;
    bool is_last = last == NULL || last->slots[last->end - 1].seq < seq;
    bool is_run = is_last && (x->run_count == 0 || (uint64_t)at_ms >= x->run_last);
    struct slot s = {.seq = seq, .packed = (uint64_t)level << 56 | (uint64_t)at_ms << 2};
    slot_set_state(&s, is_run ? SLOT_RUN : SLOT_HEAP);
    if ((!is_run && !heap_reserve(x)) || !insert(x, &s))
        return false;
    if (is_run) {
        if (x->run_count++ == 0)
            x->run_seq = seq;
        x->run_last = (uint64_t)at_ms;
    } else {
        sift_up(x, x->heap_count++, (struct expiry_timed){at_ms, seq});
        x->heap_live++;
    }
    return true;
}

int64_t
expiry_index_get(const struct expiry_index *x, uint64_t seq)
{
    const struct slot *s = find(x, seq);
    return s != NULL ? slot_at_ms(s) : 0;
}

bool
expiry_index_remove(struct expiry_index *x, uint64_t seq)
{
    if (x->count == 0)
        return false;
    size_t leaf_at = leaf_of(x, seq);
    struct expiry_leaf *leaf = x->leaves[leaf_at].leaf;
    uint32_t at = slot_of(leaf, seq);
    if (at == leaf->end || leaf->slots[at].seq != seq)
        return false;
    enum slot_state state = slot_state(&leaf->slots[at]);
    x->run_count -= state == SLOT_RUN;
    x->heap_live -= state == SLOT_HEAP;
    take_out(x, leaf_at, at);
    if (x->count == 0) {
        expiry_index_fini(x);
        return true;
    }
    sweep(x);
    return true;
}

bool
expiry_index_each(const struct expiry_index *x, uint64_t from, struct expiry_due *ret)
{
    if (x->count == 0)
        return false;
    size_t leaf_at = leaf_of(x, from);
    const struct expiry_leaf *leaf = x->leaves[leaf_at].leaf;
    uint32_t at = slot_of(leaf, from);
    if (at == leaf->end) {
        if (++leaf_at == x->end)
            return false;
        leaf = x->leaves[leaf_at].leaf;
        at = leaf->start;
    }
    const struct slot *s = &leaf->slots[at];
    *ret = (struct expiry_due){s->seq, slot_at_ms(s), (uint8_t)(s->packed >> 56)};
    return true;
}

bool
expiry_index_nth(const struct expiry_index *x, uint64_t n, struct expiry_due *ret)
{
    if (n >= x->count)
        return false;
    size_t leaf_at = x->first;
    const struct expiry_leaf *leaf = x->leaves[leaf_at].leaf;
    while (n >= (uint64_t)(leaf->end - leaf->start)) {
        n -= (uint64_t)(leaf->end - leaf->start);
        LV_ASSERT(leaf_at + 1 < x->end);
        leaf = x->leaves[++leaf_at].leaf;
    }
    const struct slot *s = &leaf->slots[leaf->start + n];
    *ret = (struct expiry_due){s->seq, slot_at_ms(s), (uint8_t)(s->packed >> 56)};
    return true;
}

// The next of the run; the cursor comes to stand on it. NULL: the run is empty.
static struct slot *
run_front(struct expiry_index *x)
{
    if (x->run_count == 0)
        return NULL;
    size_t leaf_at = leaf_of(x, x->run_seq);
    struct expiry_leaf *leaf = x->leaves[leaf_at].leaf;
    for (uint32_t at = slot_of(leaf, x->run_seq);; at++) {
        if (at == leaf->end) {
            LV_ASSERT(leaf_at + 1 < x->end);
            leaf = x->leaves[++leaf_at].leaf;
            at = leaf->start;
        }
        if (slot_state(&leaf->slots[at]) == SLOT_RUN) {
            x->run_seq = leaf->slots[at].seq;
            return &leaf->slots[at];
        }
    }
}

// The next of the heap; NULL: it is empty.
static struct slot *
heap_front(struct expiry_index *x)
{
    while (x->heap_count > 0) {
        struct slot *s = slot_of_timed(x, timed(x, 0));
        if (s != NULL)
            return s;
        heap_take_out(x, 0);
    }
    return NULL;
}

int64_t
expiry_index_next(struct expiry_index *x)
{
    const struct slot *run = run_front(x), *heap = heap_front(x);
    int64_t next = run != NULL ? slot_at_ms(run) : INT64_MAX;
    return heap != NULL ? LV_MIN(next, slot_at_ms(heap)) : next;
}

bool
expiry_index_pop(struct expiry_index *x, int64_t now_ms, struct expiry_due *ret)
{
    struct slot *run = run_front(x), *heap = heap_front(x);
    bool is_heap = heap != NULL && (run == NULL || slot_at_ms(heap) < slot_at_ms(run));
    struct slot *s = is_heap ? heap : run;
    if (s == NULL || slot_at_ms(s) > now_ms)
        return false;
    *ret = (struct expiry_due){s->seq, slot_at_ms(s), (uint8_t)(s->packed >> 56)};
    slot_set_state(s, SLOT_POPPED);
    if (is_heap) {
        x->heap_live--;
        heap_take_out(x, 0);
    } else {
        x->run_count--;
        x->run_seq = s->seq + 1;
    }
    return true;
}

void
expiry_index_rearm(struct expiry_index *x, uint64_t seq)
{
    struct slot *s = find(x, seq);
    if (s == NULL || slot_state(s) != SLOT_POPPED)
        return;
    if (heap_reserve(x)) {
        slot_set_state(s, SLOT_HEAP);
        sift_up(x, x->heap_count++, (struct expiry_timed){slot_at_ms(s), seq});
        x->heap_live++;
        return;
    }
    // Without memory the run goes back to it: what lies between was popped too, or is in the heap.
    slot_set_state(s, SLOT_RUN);
    x->run_seq = x->run_count > 0 ? LV_MIN(x->run_seq, seq) : seq;
    if (x->run_count++ == 0)
        x->run_last = (uint64_t)slot_at_ms(s);
}

size_t
expiry_index_memory(const struct expiry_index *x)
{
    return x->leaf_bytes + x->cap * sizeof(*x->leaves) + x->page_cap * sizeof(struct expiry_timed *) +
           (size_t)x->heap_room * sizeof(struct expiry_timed);
}
