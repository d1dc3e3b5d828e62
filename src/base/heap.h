// heap.h: binary min-heap of pointers ordered by a uint64_t key kept beside them. One thread.
#pragma once

#include "src/base/lv.h"

struct heap_item {
    uint64_t key;
    void *value;
};

struct heap {
    struct heap_item *items;
    size_t count;
    size_t cap;
};

void heap_init(struct heap *h);
void heap_fini(struct heap *h);
LV_MUST_USE int heap_push(struct heap *h, uint64_t key, void *value); // 0 or -LE_NOMEM
const struct heap_item *heap_peek(const struct heap *h);              // smallest key, NULL when empty
bool heap_pop(struct heap *h, struct heap_item *ret_item);
