// levels.h: the messages of a queue with priorities (x-max-priority): a struct ready for each level that was ever used, made when it is.
//
// The next message is the first of the highest level that holds one. A level that no message had costs nothing, and a queue without priorities has no
// struct levels at all. A message's level is min(its priority, max), kept in the priority bits of count_flags, on disk too; it returns to its level at
// its number. Such a queue is never split: its messages have an entry in memory each, whatever is on disk (durable_vacate.c).
// Invariants: `count` is the sum over the levels; a bit of `filled` is set while its level holds something; `top` is the highest of those.
// Whoever puts something into a level, or takes it out, says so (levels_added, levels_removed). Levels do not go before the queue does, so pointers to
// them stay. One thread: the owner of the queue.
#pragma once

#include "queue/ready.h"

struct level {
    struct ready ready;
    uint8_t number;
    // For durable_vacate.c. In the FIFO all messages below this number live in backlog files or are not to be stored:
    uint64_t kept_below;
    // and those below this one were looked at in round `round` of it.
    uint64_t looked_below, round;
};

struct levels {
    struct level **of;           // those made, ascending
    struct level *top;           // NULL: empty
    uint64_t count;              // messages
    uint64_t made[4], filled[4]; // bit n % 64 of word n / 64: level n
    uint16_t made_count, made_cap;
    uint8_t max; // highest level
};

struct levels *levels_new(uint8_t max); // NULL: out of memory
void levels_free(struct levels *l);     // the messages have gone; accepts NULL

// Made when it is not there; NULL when out of memory.
LV_MUST_USE struct level *levels_get(struct levels *l, uint8_t number);
void levels_added(struct levels *l, struct level *at);
void levels_removed(struct levels *l, struct level *at);
// The lowest that holds something; NULL: none.
struct level *levels_lowest(const struct levels *l);
// Their messages have been taken away, all of them.
void levels_emptied(struct levels *l);
// The n-th, highest first, whether it holds something or not; NULL: there are no more.
static inline struct level *
levels_row(const struct levels *l, size_t n)
{
    return n < l->made_count ? l->of[l->made_count - 1 - n] : NULL;
}

static inline uint8_t
levels_of_priority(const struct levels *l, uint8_t priority)
{
    return LV_MIN(priority, l->max);
}

// A message came into the FIFO whose number was given earlier.
static inline void
level_came_late(struct level *at, uint64_t seq)
{
    at->kept_below = LV_MIN(at->kept_below, seq);
    at->looked_below = LV_MIN(at->looked_below, seq);
}

// Bytes of memory held, the struct included.
size_t levels_memory(const struct levels *l);
