// levels.c: see levels.h. Levels are found by a bitmap of those made: a level's place in the array is the number of lower ones.
#include "queue/levels.h"

#include "src/base/mem.h"

enum { MADE_FIRST_CAP = 4 };

struct levels *
levels_new(uint8_t max)
{
    struct levels *l = mem_calloc(1, sizeof(*l));
    if (l != NULL)
        l->max = max;
    return l;
}

void
levels_free(struct levels *l)
{
    if (l == NULL)
        return;
    for (size_t i = 0; i < l->made_count; i++) {
        ready_fini(&l->of[i]->ready);
        mem_free(l->of[i]);
    }
    mem_free(l->of);
    mem_free(l);
}

static inline uint64_t
bit_of(uint8_t number)
{
    return UINT64_C(1) << (number % 64);
}

// How many levels below it are made.
static size_t
rank_of(const struct levels *l, uint8_t number)
{
    size_t rank = 0;
    for (int i = 0; i < number / 64; i++)
        rank += (size_t)__builtin_popcountll(l->made[i]);
    return rank + (size_t)__builtin_popcountll(l->made[number / 64] & (bit_of(number) - 1));
}

static bool
make_room(struct levels *l)
{
    if (l->made_count < l->made_cap)
        return true;
    uint16_t cap = l->made_cap == 0 ? MADE_FIRST_CAP : (uint16_t)(l->made_cap * 2);
    struct level **of = mem_realloc(l->of, cap * sizeof(struct level *));
    if (of == NULL)
        return false;
    l->of = of;
    l->made_cap = cap;
    return true;
}

struct level *
levels_get(struct levels *l, uint8_t number)
{
    if (LV_LIKELY(l->top != NULL && l->top->number == number))
        return l->top;
    size_t rank = rank_of(l, number);
    if (LV_LIKELY((l->made[number / 64] & bit_of(number)) != 0))
        return l->of[rank];
    struct level *fresh = make_room(l) ? mem_calloc(1, sizeof(*fresh)) : NULL;
    if (fresh == NULL)
        return NULL;
    fresh->number = number;
    memmove(l->of + rank + 1, l->of + rank, (l->made_count - rank) * sizeof(struct level *));
    l->of[rank] = fresh;
    l->made_count++;
    l->made[number / 64] |= bit_of(number);
    return fresh;
}

void
levels_added(struct levels *l, struct level *at)
{
    l->count++;
    l->filled[at->number / 64] |= bit_of(at->number);
    if (l->top == NULL || at->number > l->top->number)
        l->top = at;
}

static struct level *
highest(const struct levels *l)
{
    for (int i = 3; i >= 0; i--)
        if (l->filled[i] != 0)
            return l->of[rank_of(l, (uint8_t)(i * 64 + 63 - __builtin_clzll(l->filled[i])))];
    return NULL;
}

struct level *
levels_lowest(const struct levels *l)
{
    for (int i = 0; i < 4; i++)
        if (l->filled[i] != 0)
            return l->of[rank_of(l, (uint8_t)(i * 64 + __builtin_ctzll(l->filled[i])))];
    return NULL;
}

void
levels_removed(struct levels *l, struct level *at)
{
    LV_ASSERT(l->count > 0);
    l->count--;
    if (LV_LIKELY(at->ready.count > 0))
        return;
    l->filled[at->number / 64] &= ~bit_of(at->number);
    if (at == l->top)
        l->top = highest(l);
}

void
levels_emptied(struct levels *l)
{
    l->count = 0;
    memset(l->filled, 0, sizeof l->filled);
    l->top = NULL;
}

size_t
levels_memory(const struct levels *l)
{
    size_t bytes = sizeof(*l) + l->made_cap * sizeof(struct level *);
    for (size_t i = 0; i < l->made_count; i++)
        bytes += sizeof(struct level) + ready_memory(&l->of[i]->ready);
    return bytes;
}
