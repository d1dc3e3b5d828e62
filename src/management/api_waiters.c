// api_waiters.c: see api_waiters.h.
#include "src/management/api_waiters.h"

#include "src/base/mem.h"

struct waiter {
    struct list node; // api_waiters.waiting or served
    struct api_request *request;
    void (*then)(struct api_request *r);
};

void
api_waiters_init(struct api_waiters *w)
{
    list_init(&w->waiting);
    list_init(&w->served);
}

static void
free_all(struct list *list)
{
    for (struct list *it; (it = list_pop_front(list)) != NULL;)
        mem_free(LV_CONTAINER_OF(it, struct waiter, node));
}

void
api_waiters_fini(struct api_waiters *w)
{
    free_all(&w->waiting);
    free_all(&w->served);
}

bool
api_waiters_add(struct api_waiters *w, struct api_request *r, void (*then)(struct api_request *r))
{
    struct waiter *waiter = mem_calloc(1, sizeof *waiter);
    if (waiter == NULL) {
        api_no_memory(r);
        return false;
    }
    list_init(&waiter->node);
    waiter->request = r;
    waiter->then = then;
    list_push_back(&w->waiting, &waiter->node);
    return true;
}

void
api_waiters_begin(struct api_waiters *w)
{
    list_splice_back(&w->served, &w->waiting);
}

void
api_waiters_serve(struct api_waiters *w, bool has_failed)
{
    for (struct list *it; (it = list_pop_front(&w->served)) != NULL;) {
        struct waiter *waiter = LV_CONTAINER_OF(it, struct waiter, node);
        waiter->request->has_failed |= has_failed;
        waiter->then(waiter->request);
        mem_free(waiter);
    }
}
