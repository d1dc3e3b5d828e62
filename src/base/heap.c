// heap.c: the classic array heap: children of i are 2i+1 and 2i+2.
#include "src/base/heap.h"
#include "src/base/err.h"
#include "src/base/mem.h"

void
heap_init(struct heap *h)
{
    *h = (struct heap){0};
}

void
heap_fini(struct heap *h)
{
    mem_free(h->items);
    *h = (struct heap){0};
}

int
heap_push(struct heap *h, uint64_t key, void *value)
{
    if (h->count == h->cap) {
        size_t cap = h->cap == 0 ? 16 : h->cap * 2;
        size_t bytes;
        if (__builtin_mul_overflow(cap, sizeof *h->items, &bytes))
            return -LE_NOMEM;
        struct heap_item *items = mem_realloc(h->items, bytes);
        if (items == NULL)
            return -LE_NOMEM;
        h->items = items;
        h->cap = cap;
    }
    size_t i = h->count++;
    while (i > 0) {
        size_t parent = (i - 1) / 2;
        if (h->items[parent].key <= key)
            break;
        h->items[i] = h->items[parent];
        i = parent;
    }
    h->items[i] = (struct heap_item){key, value};
    return 0;
}

const struct heap_item *
heap_peek(const struct heap *h)
{
    return h->count == 0 ? NULL : &h->items[0];
}

bool
heap_pop(struct heap *h, struct heap_item *ret_item)
{
    if (h->count == 0)
        return false;
    *ret_item = h->items[0];
    struct heap_item last = h->items[--h->count];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= h->count)
            break;
        if (child + 1 < h->count && h->items[child + 1].key < h->items[child].key)
            child++;
        if (last.key <= h->items[child].key)
            break;
        h->items[i] = h->items[child];
        i = child;
    }
    if (h->count > 0)
        h->items[i] = last;
    return true;
}
