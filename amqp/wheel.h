// wheel.h: coarse timers for many connections: setting and clearing cost a list operation, and whoever is
// quiet costs nothing.
//
// A ring of slots, one a tick of 100 ms; an item lies in the slot of its tick and is looked at once a round
// (51.2 s) until its time has come. Items fire at most one tick late and never early. One thread.
#pragma once

#include "src/base/list.h"
#include "src/base/lv.h"

#define WHEEL_TICK_NS (UINT64_C(100) * 1000 * 1000)
#define WHEEL_NEVER   UINT64_MAX
enum { WHEEL_SLOTS = 512 };

struct wheel_item {
    struct list node;
    uint64_t due_tick; // valid while linked
};

struct wheel {
    struct list slots[WHEEL_SLOTS];
    uint64_t occupied[WHEEL_SLOTS / 64]; // bit i: slots[i] may hold items
    uint64_t now_tick;                   // everything due up to here has fired
};

void wheel_init(struct wheel *w, uint64_t now_ns);
void wheel_item_init(struct wheel_item *item);
// (Re)sets the item to fire at due_ns or up to a tick later; WHEEL_NEVER clears it.
void wheel_set(struct wheel *w, struct wheel_item *item, uint64_t due_ns);
void wheel_clear(struct wheel_item *item);
// Moves on to now_ns; items that are due are moved to `due`, in which the caller finds them by their node.
void wheel_advance(struct wheel *w, uint64_t now_ns, struct list *due);
// When wheel_advance should be called next at the latest; WHEEL_NEVER when it is empty.
uint64_t wheel_next_ns(const struct wheel *w);
