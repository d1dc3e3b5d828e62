// topic.c: topic exchanges: how the trie changes. How it matches: topic_match.c. See topic_node.h.
//
// Bind: look the node of the key up; if it has the binding, done. Otherwise go down from the root once more,
// and copy (or make) each node on the way; put the binding into the last one's set. Unbind: go down without
// changing anything and remember the last node on the way that has to stay in any case. If the last node of
// the key becomes empty, the branch below the one that stays is cut off and retired; otherwise all nodes down
// to it are copied and it loses the binding. So there is no node without a binding at or below it.
#include "exchange/topic_node.h"
#include "src/base/mem.h"

static uint64_t
hash_word(const void *key)
{
    struct topic_word *word = (struct topic_word *)key;
    if (!word->has_hash) {
        word->hash = slice_hash(word->text);
        word->has_hash = true;
    }
    return word->hash;
}

static uint64_t
hash_node(const void *item)
{
    const struct topic_node *node = item;
    return slice_hash(slice_of(node->word, node->word_len));
}

static bool
eq_word(const void *item, const void *key)
{
    return topic_word_eq(item, key);
}

const struct pset_type topic_children_type = {hash_word, hash_node, eq_word};

// --- words of a pattern ---

enum word_kind { WORD_LITERAL, WORD_STAR, WORD_HASH };

static enum word_kind
word_kind(struct slice word)
{
    if (word.len != 1)
        return WORD_LITERAL;
    return word.ptr[0] == '*' ? WORD_STAR : word.ptr[0] == '#' ? WORD_HASH : WORD_LITERAL;
}

struct pattern {
    struct topic_words words;
    struct topic_word word; // the one at hand
    enum word_kind kind;    // of it
};

static struct pattern
pattern_of(struct slice key)
{
    return (struct pattern){.words = topic_words_of(key)};
}

// The next word; a '#' after a '#' says nothing new and is skipped.
static bool
pattern_next(struct pattern *p)
{
    enum word_kind last = p->kind;
    p->word = (struct topic_word){0};
    while (topic_words_next(&p->words, &p->word.text)) {
        p->kind = word_kind(p->word.text);
        if (p->kind != WORD_HASH || last != WORD_HASH)
            return true;
    }
    return false;
}

// --- nodes ---

static struct topic_node *
node_new(struct pmap_edit *e, struct slice word)
{
    LV_ASSERT(word.len <= UINT8_MAX);
    struct topic_node *node = mem_xcalloc(1, offsetof(struct topic_node, word) + word.len);
    node->edit_id = e->id;
    node->word_len = (uint8_t)word.len;
    if (word.len != 0)
        memcpy(node->word, word.ptr, word.len);
    return node;
}

// The node itself or a copy that this edit may change. The caller puts it into its parent.
static struct topic_node *
node_edit(struct topic_node *old, struct pmap_edit *e)
{
    if (old->edit_id == e->id)
        return old;
    size_t size = offsetof(struct topic_node, word) +
                  old->word_len; // less than sizeof for short words: there are many nodes
    struct topic_node *node = mem_xalloc(size);
    memcpy(node, old, size);
    node->edit_id = e->id;
    pmap_edit_retire(e, old);
    return node;
}

static struct topic_node *
node_child(const struct topic_node *node, const struct pattern *p)
{
    if (p->kind == WORD_STAR)
        return node->star;
    if (p->kind == WORD_HASH)
        return node->hash;
    return pset_find(node->children, &topic_children_type, &p->word);
}

// Puts the child into a node that the edit may change.
static void
node_set_child(struct topic_node *node, struct pmap_edit *e, const struct pattern *p,
               struct topic_node *child)
{
    if (p->kind == WORD_STAR)
        node->star = child;
    else if (p->kind == WORD_HASH)
        node->hash = child;
    else
        pset_put(&node->children, &topic_children_type, e, &p->word, child);
}

static void
node_drop_child(struct topic_node *node, struct pmap_edit *e, const struct pattern *p)
{
    if (p->kind == WORD_STAR)
        node->star = NULL;
    else if (p->kind == WORD_HASH)
        node->hash = NULL;
    else
        pset_remove(&node->children, &topic_children_type, e, &p->word);
}

static uint64_t
node_child_count(const struct topic_node *node)
{
    return pset_count(node->children) + (uint64_t)(node->star != NULL) + (uint64_t)(node->hash != NULL);
}

// The child of a node that the edit may change, such that the edit may change it too; made when there is
// none.
static struct topic_node *
node_child_edit(struct topic_node *node, struct pmap_edit *e, const struct pattern *p)
{
    struct topic_node *old = node_child(node, p);
    struct topic_node *child =
        old == NULL ? node_new(e, p->kind == WORD_LITERAL ? p->word.text : SLICE_EMPTY) : node_edit(old, e);
    if (child != old)
        node_set_child(node, e, p, child);
    return child;
}

static struct topic_node *
root_edit(struct router *r, struct pmap_edit *e)
{
    struct topic_node *root =
        r->root == NULL ? node_new(e, SLICE_EMPTY) : node_edit((struct topic_node *)r->root, e);
    r->root = root;
    return root;
}

// --- changes ---

static const struct topic_node *
topic_lookup(const struct router *r, struct slice key)
{
    const struct topic_node *node = r->root;
    for (struct pattern p = pattern_of(key); node != NULL && pattern_next(&p);)
        node = node_child(node, &p);
    return node;
}

bool
topic_bind(struct router *r, struct pmap_edit *e, const struct binding *b)
{
    const struct topic_node *there = topic_lookup(r, b->key);
    if (there != NULL && pset_find(there->bindings, &binding_pset_type, b) != NULL)
        return false;
    struct topic_node *node = root_edit(r, e);
    for (struct pattern p = pattern_of(b->key); pattern_next(&p);)
        node = node_child_edit(node, e, &p);
    pset_put(&node->bindings, &binding_pset_type, e, b, (void *)b);
    return true;
}

// Retires the nodes of a branch and its sets. As deep as a key has words.
static void branch_retire(struct topic_node *node, struct pmap_edit *e);

static bool
branch_retire_visit(void *value, void *ctx)
{
    branch_retire(value, ctx);
    return true;
}

static void
branch_retire(struct topic_node *node, struct pmap_edit *e)
{
    if (node->star != NULL)
        branch_retire(node->star, e);
    if (node->hash != NULL)
        branch_retire(node->hash, e);
    pset_each(node->children, branch_retire_visit, e);
    // The node may be shown by older versions: its sets are retired by way of copies of their words.
    struct pset children = node->children, bindings = node->bindings;
    pset_clear(&children, e);
    pset_clear(&bindings, e);
    pmap_edit_retire(e, node);
}

// Cuts off what is below the node that is `depth` words down the key.
static void
topic_cut(struct router *r, struct pmap_edit *e, struct slice key, size_t depth)
{
    struct topic_node *node = root_edit(r, e);
    struct pattern p = pattern_of(key);
    for (bool is_there = pattern_next(&p);; is_there = pattern_next(&p)) {
        LV_ASSERT(is_there);
        if (depth-- == 0)
            break;
        node = node_child_edit(node, e, &p);
    }
    struct topic_node *branch = node_child(node, &p);
    node_drop_child(node, e, &p);
    branch_retire(branch, e);
}

void
topic_clear(struct router *r, struct pmap_edit *e)
{
    if (r->root != NULL)
        branch_retire((struct topic_node *)r->root, e);
    r->root = NULL;
}

const struct binding *
topic_unbind(struct router *r, struct pmap_edit *e, const struct binding *b)
{
    const struct topic_node *node = r->root;
    size_t depth = 0, keep_depth = 0; // of the node at hand; of the last one above the key's own that stays
    for (struct pattern p = pattern_of(b->key); node != NULL && pattern_next(&p); depth++) {
        if (!pset_is_empty(node->bindings) || node_child_count(node) > 1)
            keep_depth = depth;
        node = node_child(node, &p);
    }
    const struct binding *there = node == NULL ? NULL : pset_find(node->bindings, &binding_pset_type, b);
    if (there == NULL)
        return NULL;
    if (r->count == 1) {
        topic_clear(r, e);
        return there;
    }
    if (depth > 0 && node_child_count(node) == 0 && pset_count(node->bindings) == 1) {
        topic_cut(r, e, b->key, keep_depth);
        return there;
    }
    struct topic_node *last = root_edit(r, e);
    for (struct pattern p = pattern_of(b->key); pattern_next(&p);)
        last = node_child_edit(last, e, &p);
    pset_remove(&last->bindings, &binding_pset_type, e, b);
    return there;
}

struct branch_each_call {
    pmap_visit_fn visit;
    void *ctx;
};

static bool
branch_each(void *value, void *ctx)
{
    const struct topic_node *node = value;
    const struct branch_each_call *call = ctx;
    return pset_each(node->bindings, call->visit, call->ctx) &&
           (node->star == NULL || branch_each(node->star, ctx)) &&
           (node->hash == NULL || branch_each(node->hash, ctx)) &&
           pset_each(node->children, branch_each, ctx);
}

bool
topic_each(const struct router *r, pmap_visit_fn visit, void *ctx)
{
    struct branch_each_call call = {visit, ctx};
    return r->root == NULL || branch_each((void *)r->root, &call);
}
