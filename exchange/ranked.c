// ranked.c: see ranked.h.
//
// Balance: no subtree has more than DELTA times the nodes of its sibling (both plus one); single and double
// rotations by GAMMA. With (3, 2) every insert and removal restores it (Hirai and Yamamoto, 2011), so the
// depth is below 2.41 · log2 n, about 100 for anything that fits in memory: recursion is safe whatever
// names clients choose.
#include "exchange/ranked.h"

#include "src/base/mem.h"

enum { DELTA = 3, GAMMA = 2 };

uint64_t
ranked_hash(const struct binding *b)
{
    uint64_t hash = slice_hash_fixed(b->dest_name, (uint64_t)b->dest);
    hash = slice_hash_fixed(b->key, hash);
    return b->canonical.len == 0 ? hash : slice_hash_fixed(b->canonical, hash);
}

// --- order ------------------------------------------------------------------------------------------------

// What is looked for.
struct wanted {
    const struct binding *binding;
    uint64_t hash;
};

static int
order_numbers(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

// 0 for the same binding alone.
static int
order(const struct wanted *a, const struct ranked_node *n)
{
    const struct binding *b = n->binding;
    int ret = order_numbers(a->hash, n->hash);
    if (ret == 0)
        ret = order_numbers(a->binding->dest, b->dest);
    if (ret == 0)
        ret = slice_cmp(a->binding->dest_name, b->dest_name);
    if (ret == 0)
        ret = slice_cmp(a->binding->key, b->key);
    if (ret == 0)
        ret = slice_cmp(a->binding->canonical, b->canonical);
    return ret != 0 ? ret : order_numbers(a->binding->dest_id, b->dest_id);
}

static struct wanted
wanted_of(const struct binding *b)
{
    return (struct wanted){b, ranked_hash(b)};
}

const struct binding *
ranked_find(const struct ranked_node *root, const struct binding *b)
{
    struct wanted wanted = wanted_of(b);
    while (root != NULL) {
        int o = order(&wanted, root);
        if (o == 0)
            return root->binding;
        root = o < 0 ? root->left : root->right;
    }
    return NULL;
}

const struct binding *
ranked_at(const struct ranked_node *root, uint64_t rank)
{
    LV_ASSERT(rank < ranked_count(root));
    for (;;) {
        uint64_t before = ranked_count(root->left);
        if (rank == before)
            return root->binding;
        root = rank < before ? root->left : root->right;
        rank -= rank < before ? 0 : before + 1;
    }
}

// --- changes ----------------------------------------------------------------------------------------------

// The node in memory that this edit may change.
static struct ranked_node *
own(struct pmap_edit *e, const struct ranked_node *n)
{
    if (n->edit_id == e->id)
        return (struct ranked_node *)(uintptr_t)n;
    struct ranked_node *copy = mem_xalloc(sizeof *copy);
    *copy = *n;
    copy->edit_id = e->id;
    pmap_edit_retire(e, (void *)(uintptr_t)n);
    return copy;
}

static void
recount(struct ranked_node *n)
{
    n->count = 1 + ranked_count(n->left) + ranked_count(n->right);
}

static struct ranked_node *
rotate_left(struct pmap_edit *e, struct ranked_node *n)
{
    struct ranked_node *top = own(e, n->right);
    n->right = top->left;
    top->left = n;
    recount(n);
    recount(top);
    return top;
}

static struct ranked_node *
rotate_right(struct pmap_edit *e, struct ranked_node *n)
{
    struct ranked_node *top = own(e, n->left);
    n->left = top->right;
    top->right = n;
    recount(n);
    recount(top);
    return top;
}

// Of a node whose subtrees are balanced and one of which has changed by one.
static struct ranked_node *
balance(struct pmap_edit *e, struct ranked_node *n)
{
    uint64_t left = ranked_count(n->left) + 1, right = ranked_count(n->right) + 1;
    if (right > DELTA * left) {
        if (ranked_count(n->right->left) + 1 >= GAMMA * (ranked_count(n->right->right) + 1))
            n->right = rotate_right(e, own(e, n->right));
        return rotate_left(e, n);
    }
    if (left > DELTA * right) {
        if (ranked_count(n->left->right) + 1 >= GAMMA * (ranked_count(n->left->left) + 1))
            n->left = rotate_left(e, own(e, n->left));
        return rotate_right(e, n);
    }
    recount(n);
    return n;
}

static struct ranked_node *
insert(struct pmap_edit *e, const struct ranked_node *at, const struct wanted *item)
{
    if (at == NULL) {
        struct ranked_node *leaf = mem_xalloc(sizeof *leaf);
        *leaf = (struct ranked_node){
            .edit_id = e->id, .binding = item->binding, .hash = item->hash, .weight = 1, .count = 1};
        // A row of the store that is no number (RabbitMQ never took it, we neither) counts once.
        if (!binding_weight(item->binding->key, &leaf->weight) || leaf->weight < 1)
            leaf->weight = 1;
        return leaf;
    }
    struct ranked_node *n = own(e, at);
    int o = order(item, n);
    LV_ASSERT(o != 0);
    if (o < 0)
        n->left = insert(e, n->left, item);
    else
        n->right = insert(e, n->right, item);
    return balance(e, n);
}

// Takes the first node of a subtree out of it; what is left is returned.
static const struct ranked_node *
take_first(struct pmap_edit *e, const struct ranked_node *at, const struct ranked_node **ret_first)
{
    if (at->left == NULL) {
        *ret_first = at;
        return at->right;
    }
    struct ranked_node *n = own(e, at);
    n->left = take_first(e, n->left, ret_first);
    return balance(e, n);
}

static const struct ranked_node *
without(struct pmap_edit *e, const struct ranked_node *at, const struct wanted *item)
{
    LV_ASSERT(at != NULL);
    int o = order(item, at);
    if (o == 0) {
        const struct ranked_node *left = at->left, *right = at->right;
        pmap_edit_retire(e, (void *)(uintptr_t)at);
        if (left == NULL || right == NULL)
            return left == NULL ? right : left;
        const struct ranked_node *first;
        right = take_first(e, right, &first);
        struct ranked_node *n = own(e, first);
        n->left = left;
        n->right = right;
        return balance(e, n);
    }
    struct ranked_node *n = own(e, at);
    if (o < 0)
        n->left = without(e, n->left, item);
    else
        n->right = without(e, n->right, item);
    return balance(e, n);
}

void
ranked_insert(const struct ranked_node **root, struct pmap_edit *e, const struct binding *b)
{
    struct wanted item = wanted_of(b);
    *root = insert(e, *root, &item);
}

void
ranked_remove(const struct ranked_node **root, struct pmap_edit *e, const struct binding *b)
{
    struct wanted item = wanted_of(b);
    *root = without(e, *root, &item);
}

void
ranked_clear(const struct ranked_node **root, struct pmap_edit *e)
{
    const struct ranked_node *n = *root;
    if (n == NULL)
        return;
    const struct ranked_node *left = n->left, *right = n->right;
    ranked_clear(&left, e);
    ranked_clear(&right, e);
    pmap_edit_retire(e, (void *)(uintptr_t)n);
    *root = NULL;
}

bool
ranked_each(const struct ranked_node *root, pmap_visit_fn visit, void *ctx)
{
    return root == NULL ||
           (ranked_each(root->left, visit, ctx) && visit((void *)(uintptr_t)root->binding, ctx) &&
            ranked_each(root->right, visit, ctx));
}
