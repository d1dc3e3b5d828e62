// pick.c: exchanges that give each message to one binding: x-consistent-hash, x-modulus-hash, x-random,
// x-local-random.
//
// Consistent hash: weighted rendezvous hashing. Each binding draws from the message's hash and its own a number
// u in (0, 1), the same at all times, and bids -ln(u) / weight; the lowest bid wins. That is a race of
// exponential clocks, so a binding wins exactly weight / (sum of weights) of the hashes, and a binding that
// comes or goes changes nothing between the others: only what it wins, or won, moves. A weight is a number in a
// node, so one of 10^18 costs what one of 1 does, and a bind O(log n).
// Rejected: points on a ring (RabbitMQ before 3.8: uneven with few points, memory and binds of a weight's
// size); jump hashing over buckets (RabbitMQ since: a weight of 10^9 takes all memory; who leaves makes others
// move); a tree of rendezvous by subtree weights (O(log n) a message, but more than its share moves).
// Price: a message looks at every binding; but the logarithm is taken only of those that can win (about ln n),
// as 1 - x <= exp(-x) rules out the others.
//
// Modulus: the binding whose rank is hash mod n. Random: any. Ranks come from names (ranked.h): the same after
// a restart.
#include "exchange/router_impl.h"

#include <math.h>

bool
pick_bind(struct router *r, struct pmap_edit *e, const struct binding *b)
{
    if (ranked_find(r->ranked, b) != NULL)
        return false;
    ranked_insert(&r->ranked, e, b);
    return true;
}

const struct binding *
pick_unbind(struct router *r, struct pmap_edit *e, const struct binding *b)
{
    const struct binding *found = ranked_find(r->ranked, b);
    if (found != NULL)
        ranked_remove(&r->ranked, e, b);
    return found;
}

// The race of one message.
struct race {
    uint64_t hash; // of the message
    double best;   // lowest bid
    const struct binding *winner;
};

// The finalizer of MurmurHash3.
static inline uint64_t
mix(uint64_t h)
{
    h ^= h >> 33;
    h *= UINT64_C(0xff51afd7ed558ccd);
    h ^= h >> 33;
    h *= UINT64_C(0xc4ceb9fe1a85ec53);
    return h ^ h >> 33;
}

static void
race_run(struct race *race, const struct ranked_node *n)
{
    for (; n != NULL; n = n->right) {
        double u = ((double)(mix(race->hash ^ n->hash) >> 11) + 0.5) * 0x1p-53;
        if (u > 1 - race->best * n->weight) {
            double bid = -log(u) / n->weight;
            if (bid < race->best) {
                race->best = bid;
                race->winner = n->binding;
            }
        }
        race_run(race, n->left);
    }
}

static const struct binding *
pick(const struct router *r, struct router_scratch *scratch, struct slice key)
{
    switch (r->type) {
    case EXCHANGE_CONSISTENT_HASH: {
        struct race race = {.hash = slice_hash_fixed(key, 0), .best = INFINITY};
        race_run(&race, r->ranked);
        return race.winner;
    }
    case EXCHANGE_MODULUS_HASH: return ranked_at(r->ranked, slice_hash_fixed(key, 0) % r->count);
    default: return ranked_at(r->ranked, rng_below(&scratch->rng, r->count));
    }
}

int
pick_match(const struct router *r, struct router_scratch *scratch, struct slice key,
           struct binding_set *found)
{
    return r->count == 0 ? 0 : binding_set_add(found, pick(r, scratch, key));
}
