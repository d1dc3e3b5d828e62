// pmap.c: a hash array mapped trie. Level l of 0 … 12 looks at five bits of the hash from the top (the last
// level at four), so that a walk in slot order is a walk in hash order; level 13 holds values whose hashes
// are wholly equal.
//
// A node is a bitmap of the places in use and a dense array of their slots; a second bitmap tells which slots
// are children. No node is empty, and none but the root holds a single value alone: a removal that leaves one
// pulls the value up. So the shape hangs on the content only, not on the history.
//
// A node made in the running edit (its edit_id) is nobody else's yet: it is changed in place and freed at
// once. Any other may be in the hands of readers: it is copied, and the original goes to the retire list.
// Readers never look at edit_id, whose place the list uses. There is one line of versions: an edit always
// starts from the newest root.
#include <stdatomic.h>
#include <string.h>

#include "src/base/mem.h"
#include "src/base/pmap.h"

enum { LEVEL_BITS = 5, LEVEL_HASH_END = 13 };

struct pmap_retired {
    struct pmap_retired *next;
};

struct slot {
    union {
        uint64_t hash;           // of the value
        struct pmap_node *child; // when the bit in child_map is set
    };
    void *value; // unused beside a child
};

struct pmap_node {
    union {
        uint64_t edit_id;            // edit that made the node; the editing thread only
        struct pmap_retired retired; // once it is replaced
    };
    uint32_t bitmap; // places in use; 0 in a node of equal hashes
    union {
        uint32_t child_map; // subset of bitmap
        uint32_t count;     // of a node of equal hashes
    };
    struct slot slots[]; // by rising place
};

// One call of put or remove on its way down and up.
struct change {
    struct pmap_edit *edit;
    uint64_t hash;
    pmap_eq_fn eq;
    const void *key;
    void *value;    // put: what is to be stored
    void *previous; // what was there
};

static _Atomic(uint64_t) last_edit_id; // partner: pmap_edit_begin of any thread

static inline uint32_t
bit_at(uint64_t hash, int level)
{
    unsigned shift = 64 - LEVEL_BITS * (unsigned)(level + 1);
    // The last level has four bits left.
    uint64_t place = level < LEVEL_HASH_END - 1 ? hash >> shift : hash;
    return UINT32_C(1) << (place & (level < LEVEL_HASH_END - 1 ? 31 : 15));
}

static inline unsigned
index_of(const struct pmap_node *n, uint32_t bit)
{
    return (unsigned)__builtin_popcount(n->bitmap & (bit - 1));
}

static inline unsigned
count_of(const struct pmap_node *n)
{
    return n->bitmap != 0 ? (unsigned)__builtin_popcount(n->bitmap) : n->count;
}

static inline bool
is_child(const struct pmap_node *n, uint32_t bit)
{
    return (n->child_map & bit) != 0;
}

// --- nodes ---

static size_t
node_bytes(unsigned count)
{
    return sizeof(struct pmap_node) + count * sizeof(struct slot);
}

static struct pmap_node *
node_new(const struct pmap_edit *e, unsigned count)
{
    LV_ASSERT(e->id != 0);
    struct pmap_node *n = mem_xalloc(node_bytes(count));
    n->edit_id = e->id;
    return n;
}

// The node is in no newer version any more.
static void
node_drop(struct pmap_edit *e, struct pmap_node *n)
{
    if (n->edit_id == e->id) {
        mem_free(n);
        return;
    }
    n->retired.next = e->retired;
    e->retired = &n->retired;
}

// The node itself when this edit made it, otherwise a copy.
static struct pmap_node *
node_own(struct pmap_edit *e, struct pmap_node *n)
{
    if (n->edit_id == e->id)
        return n;
    unsigned count = count_of(n);
    struct pmap_node *copy = node_new(e, count);
    copy->bitmap = n->bitmap;
    copy->child_map = n->child_map;
    memcpy(copy->slots, n->slots, count * sizeof(struct slot));
    node_drop(e, n);
    return copy;
}

// An owned node like n with a hole at slot `at` (bitmaps not yet changed).
static struct pmap_node *
node_open_slot(struct pmap_edit *e, struct pmap_node *n, unsigned at)
{
    unsigned count = count_of(n);
    if (n->edit_id == e->id) {
        n = mem_xrealloc(n, node_bytes(count + 1));
        memmove(&n->slots[at + 1], &n->slots[at], (count - at) * sizeof(struct slot));
        return n;
    }
    struct pmap_node *copy = node_new(e, count + 1);
    copy->bitmap = n->bitmap;
    copy->child_map = n->child_map;
    memcpy(copy->slots, n->slots, at * sizeof(struct slot));
    memcpy(&copy->slots[at + 1], &n->slots[at], (count - at) * sizeof(struct slot));
    node_drop(e, n);
    return copy;
}

// An owned node like n without slot `at` (bitmaps not yet changed). Its memory shrinks with the next copy.
static struct pmap_node *
node_close_slot(struct pmap_edit *e, struct pmap_node *n, unsigned at)
{
    unsigned count = count_of(n);
    n = node_own(e, n);
    memmove(&n->slots[at], &n->slots[at + 1], (count - at - 1) * sizeof(struct slot));
    return n;
}

// --- find ---

void *
pmap_find(const struct pmap *m, uint64_t hash, pmap_eq_fn eq, const void *key)
{
    const struct pmap_node *n = m->root;
    if (n == NULL)
        return NULL;
    for (int level = 0; level < LEVEL_HASH_END; level++) {
        uint32_t bit = bit_at(hash, level);
        if ((n->bitmap & bit) == 0)
            return NULL;
        const struct slot *s = &n->slots[index_of(n, bit)];
        if (!is_child(n, bit))
            return s->hash == hash && eq(s->value, key) ? s->value : NULL;
        n = s->child;
    }
    for (unsigned i = 0; i < n->count; i++) {
        if (eq(n->slots[i].value, key))
            return n->slots[i].value;
    }
    return NULL;
}

// --- put ---

// A subtree for two values whose hashes agree above `level`.
static struct pmap_node *
node_of_two(struct pmap_edit *e, struct slot a, struct slot b, int level)
{
    struct pmap_node *n;
    if (level == LEVEL_HASH_END) {
        n = node_new(e, 2);
        n->bitmap = 0;
        n->count = 2;
        n->slots[0] = a;
        n->slots[1] = b;
        return n;
    }
    uint32_t bit_a = bit_at(a.hash, level);
    uint32_t bit_b = bit_at(b.hash, level);
    if (bit_a == bit_b) {
        n = node_new(e, 1);
        n->bitmap = bit_a;
        n->child_map = bit_a;
        n->slots[0] = (struct slot){.child = node_of_two(e, a, b, level + 1)};
        return n;
    }
    n = node_new(e, 2);
    n->bitmap = bit_a | bit_b;
    n->child_map = 0;
    n->slots[bit_a > bit_b] = a;
    n->slots[bit_b > bit_a] = b;
    return n;
}

static struct pmap_node *
put_equal(struct change *c, struct pmap_node *n)
{
    for (unsigned i = 0; i < n->count; i++) {
        if (!c->eq(n->slots[i].value, c->key))
            continue;
        c->previous = n->slots[i].value;
        n = node_own(c->edit, n);
        n->slots[i].value = c->value;
        return n;
    }
    unsigned at = n->count;
    n = node_open_slot(c->edit, n, at);
    n->slots[at] = (struct slot){.hash = c->hash, .value = c->value};
    n->count++;
    return n;
}

// Returns the node that takes n's place. Recursive in the levels (at most 14).
static struct pmap_node *
put_in(struct change *c, struct pmap_node *n, int level)
{
    if (level == LEVEL_HASH_END)
        return put_equal(c, n);
    struct slot fresh = {.hash = c->hash, .value = c->value};
    uint32_t bit = bit_at(c->hash, level);
    unsigned at = index_of(n, bit);
    if ((n->bitmap & bit) == 0) {
        n = node_open_slot(c->edit, n, at);
        n->bitmap |= bit;
        n->slots[at] = fresh;
        return n;
    }
    if (is_child(n, bit)) {
        struct pmap_node *child = put_in(c, n->slots[at].child, level + 1);
        if (child == n->slots[at].child)
            return n; // changed in place: made in this edit, and so is all above it
        n = node_own(c->edit, n);
        n->slots[at].child = child;
        return n;
    }
    struct slot there = n->slots[at];
    n = node_own(c->edit, n);
    if (there.hash == c->hash && c->eq(there.value, c->key)) {
        c->previous = there.value;
        n->slots[at].value = c->value;
    } else {
        n->slots[at] = (struct slot){.child = node_of_two(c->edit, there, fresh, level + 1)};
        n->child_map |= bit;
    }
    return n;
}

void *
pmap_put(struct pmap *m, struct pmap_edit *e, uint64_t hash, pmap_eq_fn eq, const void *key, void *value)
{
    LV_ASSERT(value != NULL && e->id != 0);
    struct change c = {.edit = e, .hash = hash, .eq = eq, .key = key, .value = value};
    if (m->root == NULL) {
        struct pmap_node *n = node_new(e, 1);
        n->bitmap = bit_at(hash, 0);
        n->child_map = 0;
        n->slots[0] = (struct slot){.hash = hash, .value = value};
        m->root = n;
    } else {
        m->root = put_in(&c, (struct pmap_node *)m->root, 0);
    }
    if (c.previous == NULL)
        m->count++;
    return c.previous;
}

// --- remove ---

static struct pmap_node *
remove_equal(struct change *c, struct pmap_node *n)
{
    for (unsigned i = 0; i < n->count; i++) {
        if (!c->eq(n->slots[i].value, c->key))
            continue;
        c->previous = n->slots[i].value;
        n = node_close_slot(c->edit, n, i);
        n->count--;
        return n;
    }
    return n;
}

// The only value of a node, if it holds one and no child.
static const struct slot *
single_value(const struct pmap_node *n)
{
    bool has_child = n->bitmap != 0 && n->child_map != 0;
    return !has_child && count_of(n) == 1 ? &n->slots[0] : NULL;
}

// Returns the node that takes n's place, n itself when the key is not there, NULL when nothing is left.
static struct pmap_node *
remove_in(struct change *c, struct pmap_node *n, int level)
{
    if (level == LEVEL_HASH_END)
        return remove_equal(c, n);
    uint32_t bit = bit_at(c->hash, level);
    if ((n->bitmap & bit) == 0)
        return n;
    unsigned at = index_of(n, bit);
    if (is_child(n, bit)) {
        struct pmap_node *child = remove_in(c, n->slots[at].child, level + 1);
        if (c->previous == NULL)
            return n;
        const struct slot *last = single_value(child);
        if (last == NULL && child == n->slots[at].child)
            return n;
        n = node_own(c->edit, n);
        if (last == NULL) {
            n->slots[at].child = child;
        } else {
            n->slots[at] = *last;
            n->child_map &= ~bit;
            node_drop(c->edit, child);
        }
        return n;
    }
    const struct slot *s = &n->slots[at];
    if (s->hash != c->hash || !c->eq(s->value, c->key))
        return n;
    c->previous = s->value;
    if (n->bitmap == bit) { // only the root can hold one value alone
        LV_ASSERT(level == 0);
        node_drop(c->edit, n);
        return NULL;
    }
    n = node_close_slot(c->edit, n, at);
    n->bitmap &= ~bit;
    return n;
}

void *
pmap_remove(struct pmap *m, struct pmap_edit *e, uint64_t hash, pmap_eq_fn eq, const void *key)
{
    LV_ASSERT(e->id != 0);
    if (m->root == NULL)
        return NULL;
    struct change c = {.edit = e, .hash = hash, .eq = eq, .key = key};
    m->root = remove_in(&c, (struct pmap_node *)m->root, 0);
    if (c.previous != NULL)
        m->count--;
    return c.previous;
}

// --- edits ---

void
pmap_edit_begin(struct pmap_edit *e)
{
    e->id = atomic_fetch_add_explicit(&last_edit_id, 1, memory_order_relaxed) + 1;
    e->retired = NULL;
}

struct pmap_retired *
pmap_edit_end(struct pmap_edit *e)
{
    struct pmap_retired *retired = e->retired;
    *e = (struct pmap_edit){0}; // a change without a new begin is then caught
    return retired;
}

void
pmap_edit_retire(struct pmap_edit *e, void *block)
{
    static_assert(offsetof(struct pmap_node, edit_id) == 0 && offsetof(struct pmap_node, retired) == 0,
                  "as in pmap.h");
    LV_ASSERT(e->id != 0);
    node_drop(e, block);
}

void
pmap_retired_free(struct pmap_retired *r)
{
    while (r != NULL) {
        struct pmap_retired *next = r->next;
        mem_free(LV_CONTAINER_OF(r, struct pmap_node, retired));
        r = next;
    }
}

static void
drop_tree(struct pmap_edit *e, struct pmap_node *n)
{
    unsigned at = 0;
    for (uint32_t bits = n->bitmap; bits != 0; bits &= bits - 1, at++) {
        if (is_child(n, bits & -bits))
            drop_tree(e, n->slots[at].child);
    }
    node_drop(e, n);
}

void
pmap_clear(struct pmap *m, struct pmap_edit *e)
{
    LV_ASSERT(e->id != 0);
    if (m->root != NULL)
        drop_tree(e, (struct pmap_node *)m->root);
    *m = (struct pmap){0};
}

// --- walks ---

void
pmap_iter_init(struct pmap_iter *it, const struct pmap *m)
{
    it->depth = 0;
    if (m->root == NULL)
        return;
    it->path[0] = m->root;
    it->pos[0] = 0;
    it->depth = 1;
}

void *
pmap_iter_next(struct pmap_iter *it)
{
    while (it->depth > 0) {
        const struct pmap_node *n = it->path[it->depth - 1];
        uint32_t *pos = &it->pos[it->depth - 1];
        // `pos` is the next place of a bitmap node, the next slot of a node of equal hashes.
        if (n->bitmap == 0) {
            if (*pos < n->count)
                return n->slots[(*pos)++].value;
            it->depth--;
            continue;
        }
        uint32_t left = *pos < 32 ? n->bitmap >> *pos << *pos : 0;
        if (left == 0) {
            it->depth--;
            continue;
        }
        uint32_t bit = left & -left;
        *pos = (uint32_t)__builtin_ctz(left) + 1;
        const struct slot *s = &n->slots[index_of(n, bit)];
        if (!is_child(n, bit))
            return s->value;
        LV_ASSERT(it->depth < (int)LV_ARRAY_LEN(it->path));
        it->path[it->depth] = s->child;
        it->pos[it->depth] = 0;
        it->depth++;
    }
    return NULL;
}

bool
pmap_each(const struct pmap *m, pmap_visit_fn visit, void *ctx)
{
    struct pmap_iter it;
    pmap_iter_init(&it, m);
    for (void *value; (value = pmap_iter_next(&it)) != NULL;) {
        if (!visit(value, ctx))
            return false;
    }
    return true;
}
