// epochs.c: see epochs.h.
#include "mirror/epochs.h"

bool
epochs_are_valid(const struct epochs *e)
{
    if (e->count > EPOCHS_MAX)
        return false;
    for (uint32_t i = 1; i < e->count; i++)
        if (e->at[i].epoch <= e->at[i - 1].epoch || e->at[i].start < e->at[i - 1].start)
            return false;
    return true;
}

void
epochs_add(struct epochs *e, uint64_t epoch, uint64_t start)
{
    LV_ASSERT(e->count == 0 || (e->at[e->count - 1].epoch < epoch && e->at[e->count - 1].start <= start));
    if (e->count == EPOCHS_MAX) {
        memmove(&e->at[0], &e->at[1], (EPOCHS_MAX - 1) * sizeof(e->at[0]));
        e->count--;
    }
    e->at[e->count++] = (struct epoch_start){epoch, start};
}

void
epochs_cut(struct epochs *e, uint64_t end)
{
    while (e->count > 0 && e->at[e->count - 1].start > end + 1)
        e->count--;
}

uint64_t
epochs_of(const struct epochs *e, uint64_t seq)
{
    for (uint32_t i = e->count; i > 0; i--)
        if (e->at[i - 1].start <= seq)
            return e->at[i - 1].epoch;
    return 0;
}

uint64_t
epochs_last(const struct epochs *e)
{
    return e->count == 0 ? 0 : e->at[e->count - 1].epoch;
}

// The last number that the log has of its i-th epoch.
static uint64_t
end_of(const struct epochs *e, uint32_t i, uint64_t end)
{
    return i + 1 < e->count ? e->at[i + 1].start - 1 : end;
}

uint64_t
epochs_common(const struct epochs *a, uint64_t end_a, const struct epochs *b, uint64_t end_b)
{
    for (uint32_t i = a->count, j = b->count; i > 0 && j > 0;) {
        const struct epoch_start *x = &a->at[i - 1], *y = &b->at[j - 1];
        if (x->epoch > y->epoch) {
            i--;
        } else if (y->epoch > x->epoch) {
            j--;
        } else if (x->start != y->start) {
            return 0; // never, unless a list was made up: then nothing is believed
        } else {
            uint64_t ends = LV_MIN(end_of(a, i - 1, end_a), end_of(b, j - 1, end_b));
            return ends;
        }
    }
    return 0;
}
