// samples.h: what a few counters were at regular times: the last minutes finely, the last hour (or day) coarsely.
//
// For rates and for plots. A value is what a counter showed at that moment (a total, or a number of things there are). Memory grows
// with the samples there are, up to some kilobytes a counter. One thread at a time; a copy may travel.
#pragma once

#include "src/base/lv.h"

// LIMIT: counters kept together.
enum { SAMPLES_SERIES_MAX = 20 };
// How far back: RATE the last two alone; BASIC ten minutes and an hour; GLOBAL eight hours and a day as well.
enum samples_reach { SAMPLES_RATE, SAMPLES_BASIC, SAMPLES_GLOBAL };

struct samples;

LV_MUST_USE struct samples *samples_new(unsigned series, enum samples_reach reach); // NULL: out of memory
void samples_free(struct samples *s);                                               // accepts NULL
// NULL: out of memory, or `s` is NULL.
LV_MUST_USE struct samples *samples_copy(const struct samples *s);
// Takes one; times only grow (an earlier one is left out). Without memory the sample is left out.
void samples_add(struct samples *s, int64_t time_ms, const uint64_t *values);
// How many of the last samples in a row are equal in every counter.
unsigned samples_unchanged(const struct samples *s);
// Change of a counter per second over the last two samples; 0 with fewer, or when the last is older than `stale_ms`.
double samples_rate(const struct samples *s, unsigned series, int64_t now_ms, int64_t stale_ms);
// What it was at that time: the last sample not younger; 0 when there is none. `s` may be NULL.
uint64_t samples_at(const struct samples *s, unsigned series, int64_t time_ms);
size_t samples_bytes(const struct samples *s); // of memory
