// topic_match.c: the bindings of a topic exchange that match a key.
//
// The trie is read as a non-deterministic automaton: a *set of active nodes* goes through the key word by
// word.
//   1. Active at the start: the root. Whenever a node becomes active, so does its '#' child ('#' matches no
//      word at all).
//   2. A word makes active: of each active node the child of that word and the '*' child; an active '#' node
//      stays active.
//   3. After the last word the bindings of all active nodes match.
// A node other than a '#' node has one parent and one way in, so it is met at most once a word; a '#' node
// can be reached again while it is active and is looked up in scratch->met. So the cost is at most words ×
// nodes of the trie, whatever the patterns, and nothing is written into shared nodes. `now` and `next` hold
// no '#' nodes; those are all in `loops`.
#include "exchange/topic_node.h"
#include "src/base/mem.h"

static int
list_add(struct node_list *l, const struct topic_node *node)
{
    if (LV_UNLIKELY(l->count == l->cap)) {
        size_t cap = LV_MAX(l->cap * 2, (size_t)16);
        const struct topic_node **items = mem_realloc((void *)l->items, cap * sizeof *items);
        if (items == NULL)
            return -LE_NOMEM;
        l->items = items;
        l->cap = cap;
    }
    l->items[l->count++] = node;
    return 0;
}

static int
node_enter(struct router_scratch *s, struct node_list *l, const struct topic_node *node)
{
    int r = list_add(l, node);
    if (r < 0 || node->hash == NULL)
        return r;
    LV_ASSERT_HOT(node->hash->hash == NULL);
    r = stamps_add(&s->met, (uint64_t)(uintptr_t)node->hash);
    return r == 1 ? list_add(&s->loops, node->hash) : r;
}

static int
node_step(struct router_scratch *s, const struct topic_node *node, const struct topic_word *word)
{
    const struct topic_node *child = pset_find(node->children, &topic_children_type, word);
    int r = child == NULL ? 0 : node_enter(s, &s->next, child);
    if (r == 0 && node->star != NULL)
        r = node_enter(s, &s->next, node->star);
    return r;
}

static int
set_step(struct router_scratch *s, struct slice text)
{
    struct topic_word word = {.text = text};
    size_t loops_count = s->loops.count; // those active before this word
    int r = 0;
    s->next.count = 0;
    for (size_t i = 0; r == 0 && i < s->now.count; i++)
        r = node_step(s, s->now.items[i], &word);
    for (size_t i = 0; r == 0 && i < loops_count; i++)
        r = node_step(s, s->loops.items[i], &word);
    struct node_list swap = s->now;
    s->now = s->next;
    s->next = swap;
    return r;
}

int
topic_match(const struct router *r, struct router_scratch *s, struct slice key, struct binding_set *found)
{
    if (r->root == NULL)
        return 0;
    stamps_reset(&s->met);
    s->now.count = s->loops.count = 0;
    int ret = node_enter(s, &s->now, r->root);
    struct slice text;
    for (struct topic_words words = topic_words_of(key); ret == 0 && topic_words_next(&words, &text);) {
        ret = set_step(s, text);
        if (s->now.count == 0 && s->loops.count == 0)
            return ret;
    }
    for (size_t i = 0; ret == 0 && i < s->now.count; i++)
        ret = binding_set_add_all(found, s->now.items[i]->bindings);
    for (size_t i = 0; ret == 0 && i < s->loops.count; i++)
        ret = binding_set_add_all(found, s->loops.items[i]->bindings);
    return ret;
}
