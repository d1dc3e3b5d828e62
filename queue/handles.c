// handles.c: arrays that double; the free numbers are a FIFO chained through the array itself.
#include "queue/handles.h"

#include "src/base/err.h"
#include "src/base/mem.h"

enum { GENERATION_MASK = 0xffffff, FIRST_CAP = 64 };

// The capacity after growing from `cap` so that `index` fits; 0 when it cannot.
static uint32_t
grown_cap(uint32_t cap, uint32_t index)
{
    uint64_t want = cap == 0 ? FIRST_CAP : cap;
    while (want <= index)
        want *= 2;
    return want > UINT32_MAX ? 0 : (uint32_t)want;
}

void
handle_numbers_fini(struct handle_numbers *n)
{
    mem_free(n->items);
    *n = (struct handle_numbers){0};
}

static int
take_new(struct handle_numbers *n)
{
    if (n->count < n->cap)
        return 0;
    uint32_t cap = grown_cap(n->cap, n->count);
    if (cap == 0)
        return -LE_NOMEM;
    struct handle_number *items = mem_realloc(n->items, (size_t)cap * sizeof(*items));
    if (items == NULL)
        return -LE_NOMEM;
    n->items = items;
    n->cap = cap;
    return 0;
}

int
handle_numbers_take(struct handle_numbers *n, unsigned worker, lv_handle *ret_handle)
{
    uint32_t index;
    if (n->free_head != 0) {
        index = n->free_head - 1;
        n->free_head = n->items[index].next_free;
        if (n->free_head == 0)
            n->free_tail = 0;
    } else {
        int rc = take_new(n);
        if (rc < 0)
            return rc;
        index = n->count++;
        n->items[index].generation = 0;
    }
    struct handle_number *item = &n->items[index];
    item->generation = (item->generation + 1) & GENERATION_MASK;
    if (item->generation == 0)
        item->generation = 1;
    item->next_free = 0;
    *ret_handle = handle_make(worker, item->generation, index);
    return 0;
}

void
handle_numbers_give(struct handle_numbers *n, lv_handle h)
{
    uint32_t index = handle_index(h);
    LV_ASSERT(index < n->count && n->items[index].generation == handle_generation(h));
    LV_ASSERT_HOT(n->items[index].next_free == 0 && n->free_tail != index + 1);
    if (n->free_tail == 0)
        n->free_head = index + 1;
    else
        n->items[n->free_tail - 1].next_free = index + 1;
    n->free_tail = index + 1;
}

void
handle_slots_fini(struct handle_slots *s)
{
    mem_free(s->items);
    *s = (struct handle_slots){0};
}

int
handle_slots_reserve(struct handle_slots *s, lv_handle h)
{
    uint32_t index = handle_index(h);
    if (index < s->cap)
        return 0;
    uint32_t cap = grown_cap(s->cap, index);
    if (cap == 0)
        return -LE_NOMEM;
    struct handle_slot *items = mem_realloc(s->items, (size_t)cap * sizeof(*items));
    if (items == NULL)
        return -LE_NOMEM;
    memset(items + s->cap, 0, (size_t)(cap - s->cap) * sizeof(*items));
    s->items = items;
    s->cap = cap;
    return 0;
}

void
handle_slots_put(struct handle_slots *s, lv_handle h, void *object)
{
    struct handle_slot *slot = &s->items[handle_index(h)];
    LV_ASSERT(handle_index(h) < s->cap && slot->object == NULL && handle_generation(h) != 0);
    slot->object = object;
    slot->generation = handle_generation(h);
}

void
handle_slots_remove(struct handle_slots *s, lv_handle h)
{
    LV_ASSERT(handle_slots_find(s, h) != NULL);
    s->items[handle_index(h)].object = NULL; // the generation stays: it tells gone from not yet there
}

bool
handle_slots_is_newer(const struct handle_slots *s, lv_handle h)
{
    uint32_t index = handle_index(h);
    uint32_t known = index < s->cap ? s->items[index].generation : 0;
    uint32_t ahead = (handle_generation(h) - known) & GENERATION_MASK;
    return handle_generation(h) != 0 && ahead != 0 && ahead <= GENERATION_MASK / 2;
}
