// api_waiters.h: requests that wait for a round of questions to all workers (api_totals.c, api_exchange_stats.c): who comes while one is under way is served by the
// next. HTTP thread.
#pragma once

#include "src/base/list.h"
#include "src/management/api.h"

struct api_waiters {
    struct list waiting; // for the next round
    struct list served;  // by the round under way
};

void api_waiters_init(struct api_waiters *w);
void api_waiters_fini(struct api_waiters *w);
// False after answering 500.
LV_MUST_USE bool api_waiters_add(struct api_waiters *w, struct api_request *r,
                                 void (*then)(struct api_request *r));
void api_waiters_begin(struct api_waiters *w); // a round: it serves all who wait
void api_waiters_serve(struct api_waiters *w, bool has_failed);

static inline bool
api_waiters_are_any(const struct api_waiters *w)
{
    return !list_is_empty(&w->waiting);
}
