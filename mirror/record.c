// record.c: see record.h.
#include "mirror/record.h"

const struct record_member *
record_find(const struct record *r, struct store_id store)
{
    for (uint32_t i = 0; i < r->count; i++)
        if (store_id_eq(r->members[i].store, store))
            return &r->members[i];
    return NULL;
}

bool
record_is_in_sync(const struct record *r, struct store_id store)
{
    const struct record_member *m = record_find(r, store);
    return m != NULL && m->is_in_sync;
}

bool
record_is_valid(const struct record *r)
{
    if (r->epoch == 0 || r->count == 0 || r->count > RECORD_MEMBERS_MAX || !record_is_in_sync(r, r->master))
        return false;
    for (uint32_t i = 0; i < r->count; i++)
        if (!store_id_is_set(r->members[i].store) || record_find(r, r->members[i].store) != &r->members[i])
            return false;
    return true;
}

bool
record_put(struct record *r, struct store_id store, bool is_in_sync)
{
    for (uint32_t i = 0; i < r->count; i++)
        if (store_id_eq(r->members[i].store, store)) {
            r->members[i].is_in_sync = is_in_sync;
            return true;
        }
    if (r->count == RECORD_MEMBERS_MAX)
        return false;
    r->members[r->count++] = (struct record_member){store, is_in_sync};
    return true;
}

void
record_drop(struct record *r, struct store_id store)
{
    for (uint32_t i = 0; i < r->count; i++)
        if (store_id_eq(r->members[i].store, store)) {
            memmove(&r->members[i], &r->members[i + 1], (r->count - i - 1) * sizeof(r->members[0]));
            r->count--;
            return;
        }
}

uint32_t
record_in_sync_count(const struct record *r)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < r->count; i++)
        count += r->members[i].is_in_sync;
    return count;
}
