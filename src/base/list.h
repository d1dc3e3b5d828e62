// list.h: intrusive doubly linked circular list.
//
// A head and a node are both `struct list`; an initialised node that is in no list points at itself, so
// list_remove is harmless on it and list_is_linked tells. Iteration that removes the current element uses
// LV_LIST_EACH_SAFE; nobody removes another's element.
#pragma once

#include "src/base/lv.h"

struct list {
    struct list *next;
    struct list *prev;
};

static inline void
list_init(struct list *l)
{
    l->next = l->prev = l;
}

static inline bool
list_is_empty(const struct list *head)
{
    return head->next == head;
}

static inline bool
list_is_linked(const struct list *node)
{
    return node->next != node;
}

static inline void
list_insert_before(struct list *where, struct list *node)
{
    LV_ASSERT_HOT(node->next == node);
    node->next = where;
    node->prev = where->prev;
    where->prev->next = node;
    where->prev = node;
}

static inline void
list_push_back(struct list *head, struct list *node)
{
    list_insert_before(head, node);
}

static inline void
list_push_front(struct list *head, struct list *node)
{
    list_insert_before(head->next, node);
}

static inline void
list_remove(struct list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    node->next = node->prev = node;
}

static inline struct list *
list_first(struct list *head)
{
    return list_is_empty(head) ? NULL : head->next;
}

static inline struct list *
list_pop_front(struct list *head)
{
    struct list *node = list_first(head);
    if (node != NULL)
        list_remove(node);
    return node;
}

// Moves all of `from` to the end of `to`; `from` is empty afterwards.
static inline void
list_splice_back(struct list *to, struct list *from)
{
    if (list_is_empty(from))
        return;
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    list_init(from);
}

#define LV_LIST_EACH(it, head) for (struct list *it = (head)->next; it != (head); it = it->next)
#define LV_LIST_EACH_SAFE(it, head)                                                                          \
    for (struct list *it = (head)->next, *it##_next = it->next; it != (head);                                \
         it = it##_next, it##_next = it->next)
