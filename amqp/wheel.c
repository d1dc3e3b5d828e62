// wheel.c: see wheel.h. `occupied` bits are cleared lazily, when their slot is found empty.
#include "amqp/wheel.h"

void
wheel_init(struct wheel *w, uint64_t now_ns)
{
    *w = (struct wheel){.now_tick = now_ns / WHEEL_TICK_NS};
    for (size_t i = 0; i < WHEEL_SLOTS; i++)
        list_init(&w->slots[i]);
}

void
wheel_item_init(struct wheel_item *item)
{
    list_init(&item->node);
    item->due_tick = 0;
}

void
wheel_clear(struct wheel_item *item)
{
    list_remove(&item->node);
}

void
wheel_set(struct wheel *w, struct wheel_item *item, uint64_t due_ns)
{
    list_remove(&item->node);
    if (due_ns == WHEEL_NEVER)
        return;
    uint64_t tick = due_ns / WHEEL_TICK_NS + 1; // the first tick that is not before due_ns
    item->due_tick = LV_MAX(tick, w->now_tick + 1);
    size_t slot = item->due_tick % WHEEL_SLOTS;
    list_push_back(&w->slots[slot], &item->node);
    w->occupied[slot / 64] |= UINT64_C(1) << (slot % 64);
}

static void
take_due(struct wheel *w, size_t slot, struct list *due)
{
    LV_LIST_EACH_SAFE (it, &w->slots[slot]) {
        struct wheel_item *item = LV_CONTAINER_OF(it, struct wheel_item, node);
        if (item->due_tick > w->now_tick)
            continue;
        list_remove(it);
        list_push_back(due, it);
    }
    if (list_is_empty(&w->slots[slot]))
        w->occupied[slot / 64] &= ~(UINT64_C(1) << (slot % 64));
}

void
wheel_advance(struct wheel *w, uint64_t now_ns, struct list *due)
{
    uint64_t tick = now_ns / WHEEL_TICK_NS;
    if (tick <= w->now_tick)
        return;
    uint64_t first = w->now_tick + 1;
    uint64_t count = LV_MIN(tick - w->now_tick, (uint64_t)WHEEL_SLOTS);
    w->now_tick = tick;
    for (uint64_t i = 0; i < count; i++) {
        size_t slot = (first + i) % WHEEL_SLOTS;
        if ((w->occupied[slot / 64] >> (slot % 64) & 1) != 0)
            take_due(w, slot, due);
    }
}

uint64_t
wheel_next_ns(const struct wheel *w)
{
    for (uint64_t i = 1; i <= WHEEL_SLOTS; i++) {
        size_t slot = (w->now_tick + i) % WHEEL_SLOTS;
        if (slot % 64 == 0 && w->occupied[slot / 64] == 0) {
            i += 63;
            continue;
        }
        if ((w->occupied[slot / 64] >> (slot % 64) & 1) != 0)
            return (w->now_tick + i) * WHEEL_TICK_NS;
    }
    return WHEEL_NEVER;
}
