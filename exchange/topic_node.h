// topic_node.h: the trie of a topic exchange and its words. Private to exchange/topic*.c.
//
// A node is a word of binding keys; the path from the root to it is the pattern of its bindings. `*` and `#`
// hang apart from the literal words, so that a `*` in a message's key is a word like any other. Of
// neighbouring `#` only the first has a node.
#pragma once

#include "exchange/router_impl.h"

struct topic_node {
    uint64_t edit_id;        // first: see pmap_edit_retire. The edit that may change it in place
    struct topic_node *star; // child for '*', or NULL
    struct topic_node *hash; // child for '#', or NULL
    struct pset bindings;    // struct binding: those whose pattern ends here
    struct pset children;    // struct topic_node by literal word
    uint8_t word_len;        // bytes
    uint8_t word[];          // its own word; of the root, '*' and '#' nodes: none
};

// A word looked for. The hash is made when a map asks for it, once for all nodes.
struct topic_word {
    struct slice text;
    uint64_t hash;
    bool has_hash;
};

extern const struct pset_type topic_children_type; // key: struct topic_word

// The words of a key, one after the other: split by '.'; the empty key has none, all others one more than
// they have dots.
struct topic_words {
    struct slice left;
    bool is_done;
};

static inline struct topic_words
topic_words_of(struct slice key)
{
    return (struct topic_words){key, key.len == 0};
}

static inline bool
topic_words_next(struct topic_words *w, struct slice *ret_word)
{
    if (w->is_done)
        return false;
    size_t len = 0;
    while (len < w->left.len && w->left.ptr[len] != '.')
        len++;
    *ret_word = slice_head(w->left, len);
    w->is_done = len == w->left.len;
    w->left = slice_from(w->left, w->is_done ? len : len + 1);
    return true;
}

static inline bool
topic_word_eq(const struct topic_node *node, const struct topic_word *word)
{
    return node->word_len == word->text.len && memcmp(node->word, word->text.ptr, node->word_len) == 0;
}
