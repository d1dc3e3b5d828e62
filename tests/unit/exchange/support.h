// support.h: makers of bindings, queues and tables for the tests of exchange/.
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "amqp/wire/table.h"
#include "exchange/route.h"
#include "src/base/mem.h"
#include "src/base/rng.h"

// A queue definition with this slot, on this worker. Freed with mem_free.
static inline struct queue_def *
queue_make(uint32_t slot, unsigned worker, const char *name)
{
    size_t len = strlen(name);
    struct queue_def *q = mem_xcalloc(1, sizeof *q + len + 1);
    memcpy(q + 1, name, len);
    q->id = slot + 1;
    q->slot = slot;
    q->handle = handle_make(worker, 1, slot);
    q->name = slice_of(q + 1, len);
    return q;
}

static inline struct binding *
binding_make(uint64_t source, const struct queue_def *q, struct slice key, struct slice arguments)
{
    struct binding *b = binding_new(&(struct binding_args){.source_id = source,
                                                           .dest_id = q->id,
                                                           .dest = BINDING_TO_QUEUE,
                                                           .queue = q,
                                                           .key = key,
                                                           .arguments = arguments,
                                                           .source_name = SLICE_LIT("x"),
                                                           .dest_name = q->name});
    assert_non_null(b);
    return b;
}

static inline struct binding *
binding_make_to_exchange(uint64_t source, uint64_t dest, struct slice key)
{
    struct binding *b = binding_new(&(struct binding_args){.source_id = source,
                                                           .dest_id = dest,
                                                           .dest = BINDING_TO_EXCHANGE,
                                                           .key = key,
                                                           .source_name = SLICE_LIT("x"),
                                                           .dest_name = SLICE_LIT("y")});
    assert_non_null(b);
    return b;
}

// Bind and unbind with an edit of their own; what is retired is freed at once: no older version is looked at.
static inline bool
bind_now(struct router *r, const struct binding *b)
{
    struct pmap_edit e;
    pmap_edit_begin(&e);
    bool is_new = router_bind(r, &e, b);
    pmap_retired_free(pmap_edit_end(&e));
    return is_new;
}

static inline const struct binding *
unbind_now(struct router *r, const struct binding *b)
{
    struct pmap_edit e;
    pmap_edit_begin(&e);
    const struct binding *removed = router_unbind(r, &e, b);
    pmap_retired_free(pmap_edit_end(&e));
    return removed;
}

static inline void
clear_now(struct router *r)
{
    struct pmap_edit e;
    pmap_edit_begin(&e);
    router_clear(r, &e);
    pmap_retired_free(pmap_edit_end(&e));
}

static inline bool
set_has(const struct binding_set *s, const struct binding *b)
{
    for (size_t i = 0; i < s->count; i++) {
        if (s->items[i] == b)
            return true;
    }
    return false;
}
