// pool.c: a stack of free blocks; with LV_POOL_DEBUG none is kept and every object is malloc'ed and freed by
// itself.
#include <string.h>

#include "src/base/mem.h"
#include "src/base/pool.h"

void
pool_init(struct pool *p, size_t object_size, size_t free_max)
{
    *p = (struct pool){.object_size = LV_MAX(object_size, sizeof(void *)), .free_max = free_max};
}

void
pool_fini(struct pool *p)
{
    LV_ASSERT(p->live_count == 0);
    while (p->free_list != NULL) {
        void *object = p->free_list;
        memcpy(&p->free_list, object, sizeof(void *));
        mem_free(object);
    }
    p->free_count = 0;
}

void *
pool_take(struct pool *p)
{
    void *object = p->free_list;
    if (object != NULL) {
        memcpy(&p->free_list, object, sizeof(void *));
        p->free_count--;
    } else {
        object = mem_alloc(p->object_size);
        if (object == NULL)
            return NULL;
    }
    p->live_count++;
    return object;
}

void
pool_give(struct pool *p, void *object)
{
    LV_ASSERT_HOT(object != NULL && p->live_count > 0);
    p->live_count--;
#ifndef LV_POOL_DEBUG
    if (p->free_count < p->free_max) {
        memcpy(object, &p->free_list, sizeof(void *));
        p->free_list = object;
        p->free_count++;
        return;
    }
#endif
    mem_free(object);
}
