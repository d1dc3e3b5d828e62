// samples.c: see samples.h. One ring a step; a ring doubles until it has its full length.
#include "src/base/samples.h"

#include <string.h>

#include "src/base/mem.h"

enum { RINGS_MAX = 4, ROOM_FIRST = 2 };

static const struct {
    int64_t step_ms; // least distance of two samples
    uint32_t count;  // kept
} lengths[RINGS_MAX] = {{0, 125}, {60 * 1000, 61}, {600 * 1000, 49}, {1800 * 1000, 49}};

struct ring {
    uint32_t room, head, count; // head: the oldest
    int64_t *times;             // room of them
    uint64_t *values;           // room * series
};

struct samples {
    uint32_t series, rings, unchanged;
    uint32_t fine_count; // samples of the first ring
    struct ring ring[RINGS_MAX];
};

struct samples *
samples_new(unsigned series, enum samples_reach reach)
{
    LV_ASSERT(series > 0 && series <= SAMPLES_SERIES_MAX);
    struct samples *s = mem_calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    s->series = series;
    s->rings = reach == SAMPLES_GLOBAL ? 4 : reach == SAMPLES_BASIC ? 2 : 1;
    s->fine_count = reach == SAMPLES_RATE ? 2 : lengths[0].count;
    return s;
}

void
samples_free(struct samples *s)
{
    for (unsigned i = 0; s != NULL && i < s->rings; i++) {
        mem_free(s->ring[i].times);
        mem_free(s->ring[i].values);
    }
    mem_free(s);
}

// Makes the ring `room` long and puts the oldest first; false when out of memory (nothing has changed).
static bool
ring_resize(const struct samples *s, const struct ring *from, struct ring *to, uint32_t room)
{
    struct ring fresh = {.room = room, .count = from->count};
    fresh.times = mem_alloc(room * sizeof *fresh.times);
    fresh.values = mem_alloc((size_t)room * s->series * sizeof *fresh.values);
    if (fresh.times == NULL || fresh.values == NULL) {
        mem_free(fresh.times);
        mem_free(fresh.values);
        return false;
    }
    for (uint32_t i = 0; i < from->count; i++) {
        uint32_t at = (from->head + i) % from->room;
        fresh.times[i] = from->times[at];
        memcpy(fresh.values + (size_t)i * s->series, from->values + (size_t)at * s->series,
               s->series * sizeof *fresh.values);
    }
    *to = fresh;
    return true;
}

struct samples *
samples_copy(const struct samples *s)
{
    struct samples *copy = s != NULL ? mem_alloc(sizeof *copy) : NULL;
    if (copy == NULL)
        return NULL;
    *copy = *s;
    memset(copy->ring, 0, sizeof copy->ring);
    for (unsigned i = 0; i < s->rings; i++) {
        if (s->ring[i].count > 0 && !ring_resize(s, &s->ring[i], &copy->ring[i], s->ring[i].count)) {
            samples_free(copy);
            return NULL;
        }
    }
    return copy;
}

static uint32_t
place_of(const struct ring *r, uint32_t index)
{
    return (r->head + index) % r->room;
}

static const uint64_t *
last_values(const struct samples *s, const struct ring *r)
{
    return r->values + (size_t)place_of(r, r->count - 1) * s->series;
}

static void
ring_add(struct samples *s, struct ring *r, uint32_t count_max, int64_t time_ms, const uint64_t *values)
{
    if (r->count == r->room && r->room < count_max) {
        uint32_t room = LV_MIN(LV_MAX(2 * r->room, (uint32_t)ROOM_FIRST), count_max);
        struct ring old = *r;
        if (!ring_resize(s, &old, r, room))
            return;
        mem_free(old.times);
        mem_free(old.values);
    }
    LV_ASSERT(r->room > 0);
    if (r->count == r->room) { // the oldest makes room
        r->head = (r->head + 1) % r->room;
        r->count--;
    }
    uint32_t at = place_of(r, r->count++);
    r->times[at] = time_ms;
    memcpy(r->values + (size_t)at * s->series, values, s->series * sizeof *values);
}

void
samples_add(struct samples *s, int64_t time_ms, const uint64_t *values)
{
    const struct ring *fine = &s->ring[0];
    if (fine->count > 0 && time_ms <= fine->times[place_of(fine, fine->count - 1)])
        return;
    bool is_same = fine->count > 0 && memcmp(last_values(s, fine), values, s->series * sizeof *values) == 0;
    s->unchanged = is_same ? s->unchanged + 1 : 0;
    for (unsigned i = 0; i < s->rings; i++) {
        struct ring *r = &s->ring[i];
        if (r->count == 0 || time_ms - r->times[place_of(r, r->count - 1)] >= lengths[i].step_ms)
            ring_add(s, r, i == 0 ? s->fine_count : lengths[i].count, time_ms, values);
    }
}

unsigned
samples_unchanged(const struct samples *s)
{
    return s->unchanged;
}

double
samples_rate(const struct samples *s, unsigned series, int64_t now_ms, int64_t stale_ms)
{
    const struct ring *r = s != NULL ? &s->ring[0] : NULL;
    if (r == NULL || r->count < 2)
        return 0;
    uint32_t last = place_of(r, r->count - 1), before = place_of(r, r->count - 2);
    if (now_ms - r->times[last] > stale_ms)
        return 0;
    int64_t change = (int64_t)(r->values[(size_t)last * s->series + series] -
                               r->values[(size_t)before * s->series + series]);
    return (double)change * 1000.0 / (double)(r->times[last] - r->times[before]);
}

uint64_t
samples_at(const struct samples *s, unsigned series, int64_t time_ms)
{
    for (unsigned i = 0; s != NULL && i < s->rings; i++) {
        const struct ring *r = &s->ring[i];
        if (r->count == 0 || r->times[r->head] > time_ms)
            continue;                      // a coarser one may reach back
        uint32_t low = 0, high = r->count; // the last one in [low, high) that is not younger
        while (high - low > 1) {
            uint32_t middle = low + (high - low) / 2;
            if (r->times[place_of(r, middle)] <= time_ms)
                low = middle;
            else
                high = middle;
        }
        return r->values[(size_t)place_of(r, low) * s->series + series];
    }
    return 0;
}

size_t
samples_bytes(const struct samples *s)
{
    size_t bytes = s != NULL ? sizeof *s : 0;
    for (unsigned i = 0; s != NULL && i < s->rings; i++)
        bytes += s->ring[i].room * (sizeof(int64_t) + s->series * sizeof(uint64_t));
    return bytes;
}
