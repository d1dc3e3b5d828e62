// replica.h: one replica of a mirrored queue on one node: master, mirror, joiner or candidate, as a state machine without a thread, a clock, a socket or a disk.
//
// Events and the time come in by the functions below, actions go out through struct replica_env, which must not call back into the replica. The rules that make the loss
// of a confirmed message impossible (reasons: README.md) use no clock: time decides only when somebody is suspected.
//
//  - The record (record.h) changes by compare-and-swap alone. A proposal without an answer is settled only by a later one of our own that was
//    committed; until then both outcomes are honoured (`maybe`).
//  - A promise of an epoch is durable before anything of that epoch is accepted; lower ones are refused for ever.
//  - DURABLE s says: everything live up to s is on this disk, without a gap.
//  - The master confirms s when it, every in-sync member of the committed record and of every proposal that may be committed, and every counted joiner have
//    said DURABLE s in its epoch, and never before all of them have its whole inherited log.
//  - A joiner is counted first; it is proposed when it has said DURABLE of all that was confirmed at that moment.
//  - Only a member of the committed in-sync set becomes master: it promises a higher epoch durably, fixes the end of its log, then proposes itself. A master that meets a
//    higher promise proposes itself with a still higher epoch.
//  - A settle carries the epoch of its delivery; that of an older one is discarded.
//
// The log. Items have numbers that the master gives in order, and the epoch they were given in: that is a message's name. A replica is *whole* up to `whole_to`. One that
// follows a master agrees with it up to the common end of both logs (epochs.h), takes what the master appends from then on, and has a *hole* between until ranges of the
// master's live items have filled it (digests are compared first, so that only differences are sent). Settled items simply are not there.
// What contradicts the master's log is set aside, never deleted.
//
// Durable state is what replica_apply makes of the operations given to env.store, in order; a crash leaves a prefix of them.
#pragma once

#include "mirror/epochs.h"
#include "mirror/record.h"

struct replica_item {
    uint64_t epoch, seq;
    uint64_t ref; // the message; means something to env alone
};

// LIMIT: items of one range; nodes of a cluster.
enum { RANGE_ITEMS_MAX = 256, REPLICA_PEERS_MAX = 64 };

// --- what is stored ---

enum replica_op_kind {
    REPLICA_OP_PROMISE, // epoch
    REPLICA_OP_EPOCH,   // epoch: this replica is its master; lo: from this number on
    REPLICA_OP_APPEND,  // items[0]
    REPLICA_OP_SETTLE,  // lo: the number
    REPLICA_OP_FOLLOW, // agrees up to lo; the master's log ends with hi; set aside: what lies above lo and is not of the epoch that `epochs` says, or above hi
    REPLICA_OP_RANGE,  // of lo … hi there is what `items` says and nothing else
    REPLICA_OP_WHOLE,  // the hole is filled: the log is the master's, and so is its list of epochs
    REPLICA_OP_CUT,    // whole up to lo, what lies above is set aside
    REPLICA_OP_FORCE,  // what is here is taken for the whole (promotion of one that is not in sync)
};

struct replica_op {
    enum replica_op_kind kind;
    uint64_t epoch, lo, hi;
    const struct epochs *epochs; // borrowed for the call
    const struct replica_item *items;
    uint32_t item_count;
};

struct replica_saved {
    uint64_t promised; // no lower epoch is accepted
    uint64_t whole_to; // everything live up to it is here
    uint64_t hole_to;  // above whole_to: up to here things may be missing; else no hole
    uint64_t end;      // the highest number taken; whole_to where there is no hole
    struct epochs epochs;
};

void replica_apply(struct replica_saved *s, const struct replica_op *op);
static inline bool
replica_has_hole(const struct replica_saved *s)
{
    return s->hole_to > s->whole_to;
}

// --- what goes from node to node: in order while a link is up, else not at all ---

enum replica_msg_kind {
    REPLICA_MSG_LEAD,    // master → member: I am master of `epoch`
    REPLICA_MSG_STATE,   // back: promised; whole_to is `hi`, its first live number `lo` (0: none), `epochs`
    REPLICA_MSG_FOLLOW,  // we agree up to lo, my log ends with hi, `epochs`
    REPLICA_MSG_APPEND,  // items[0]
    REPLICA_MSG_SETTLE,  // lo
    REPLICA_MSG_DIGEST,  // of what is live in lo … hi
    REPLICA_MSG_SAME,    // it is the same here
    REPLICA_MSG_DIFFERS, // it is not
    REPLICA_MSG_RANGE,   // what is live in lo … hi
    REPLICA_MSG_SYNCED,  // the hole is filled
    REPLICA_MSG_DURABLE, // member → master: lo
    REPLICA_MSG_REFUSE,  // member → master: `epoch` has been promised, which is higher
    REPLICA_MSG_QUERY,   // candidate → in-sync member
    REPLICA_MSG_END,     // back: whole up to hi, in `epoch`
};

struct replica_sum {
    uint64_t hash, count;
};

struct replica_msg {
    enum replica_msg_kind kind;
    uint64_t epoch, lo, hi;
    struct replica_sum sum;
    struct epochs epochs;
    struct replica_item *items; // borrowed for the call
    uint32_t item_count;
};

// --- the world ---

enum replica_role {
    REPLICA_IDLE,      // no record, or not a member
    REPLICA_FOLLOWER,  // a member that is not master
    REPLICA_CANDIDATE, // wants to be master; still answers, but promises
    REPLICA_MASTER,
};

enum cas_outcome { CAS_COMMITTED, CAS_REFUSED, CAS_UNKNOWN };

struct replica_env {
    void *ctx;
    // Returns the operation's number: 1, 2, …; replica_stored comes when it and all before it are durable.
    uint64_t (*store)(void *ctx, const struct replica_op *op);
    void (*send)(void *ctx, struct store_id to, const struct replica_msg *msg);
    // Exactly one replica_cas_done follows.
    void (*propose)(void *ctx, uint64_t revision, const struct record *record);
    void (*read)(void *ctx); // replica_record follows, if the coordinator can be reached
    // All of this epoch up to `seq` is safe. DURABLE: publishers may be told.
    void (*confirmed)(void *ctx, uint64_t epoch, uint64_t seq);
    // The replica begins or ends to be the one that clients speak to.
    void (*serves)(void *ctx, bool is_serving, uint64_t epoch);
    // Items above the end, or not of this history, are no longer of this queue.
    struct replica_sum (*digest)(void *ctx, uint64_t lo, uint64_t hi);
    bool (*next)(void *ctx, uint64_t from, struct replica_item *ret); // the first live one at or above
    uint64_t (*token)(void *ctx);                                     // for a proposal: never twice
};

struct replica_config {
    bool is_when_synced;     // ha-promote-on-failure; false: always
    bool is_manual;          // ha-sync-mode
    uint32_t range_items;    // at most RANGE_ITEMS_MAX
    int64_t suspect_ms;      // of silence
    int64_t stagger_ms;      // between candidates, by their place in the record
    int64_t defer_ms;        // for a candidate whose log is longer
    int64_t cas_wait_ms;     // between proposals that came to nothing
    int64_t always_after_ms; // until one that is not in sync is promoted, under `always`
};

struct replica_peer {
    struct store_id store;
    bool is_linked;
    int64_t since_ms; // that it is linked, or not
    // of a master:
    bool is_led; // LEAD was sent over this link in this epoch
    bool is_following;
    bool is_counted;  // a joiner that confirms wait for
    bool has_synced;  // SYNCED was sent over this link
    bool is_asked;    // a DIGEST is out
    bool is_below;    // past the hole: what lies under it
    uint64_t agreed;  // up to here at FOLLOW
    uint64_t cut;     // the master's end at FOLLOW
    uint64_t first;   // the member's first live number then
    uint64_t next;    // of the next range
    uint64_t durable; // in this epoch
    uint64_t count_mark;
    int64_t moved_ms; // durable rose, or there was nothing to wait for
    // of a candidate:
    bool has_answered, is_longer;
};

struct replica_mark {
    uint64_t op, whole_to;
};

struct replica {
    struct replica_env env;
    struct replica_config config;
    struct store_id self;
    int64_t now_ms;
    enum replica_role role;
    struct replica_saved saved; // with all operations given to env.store
    uint64_t stored_op;         // durable up to it
    uint64_t promise_op;        // of the last promise
    uint64_t durable;           // `whole_to` of what is durable
    struct replica_mark *marks; // ascending; owned
    size_t mark_first, mark_count, mark_cap;
    struct replica_peer peers[REPLICA_PEERS_MAX];
    uint32_t peer_count;
    struct store_id place[RECORD_MEMBERS_MAX]; // who the members are to be
    uint32_t place_count;
    // The coordinator's side.
    struct record record; // as last heard of or committed; epoch 0: none
    uint64_t revision;
    bool is_proposing; // one is out
    struct record proposal;
    uint64_t proposal_revision;
    struct record
        maybe;       // who is in sync by proposals without an answer, all together; count 0: there is none
    bool is_reading; // before the next proposal
    int64_t propose_at_ms; // not before
    // A follower's.
    struct store_id leader; // whose epoch it follows
    int64_t led_ms;         // when it was last led, or began to wait for that
    uint64_t lead_epoch;    // of `leader`; 0: none over the present link
    bool is_state_due;      // STATE is sent when the promise is durable
    bool is_following;
    uint64_t told_durable;
    // A candidate's.
    uint64_t target;      // the epoch that it wants
    uint64_t start;       // the first number that is of its epoch
    int64_t candidate_ms; // since when
    bool is_asking;       // QUERY was sent
    bool is_fixed;        // the end of the log
    bool is_forced;       // not in sync, under `always`
    // A master's.
    uint64_t epoch;
    uint64_t inherited; // the end of the log when the epoch began
    uint64_t confirmed; // in this epoch
    bool has_confirmed; // anything, if only what was inherited
    bool is_commanded;  // joiners are synchronised, whatever ha-sync-mode says
    int64_t began_ms;
};

void replica_init(struct replica *r, const struct replica_env *env, const struct replica_config *config,
                  struct store_id self, const struct replica_saved *saved, int64_t now_ms);
void replica_fini(struct replica *r);

// --- events ---
void replica_tick(struct replica *r, int64_t now_ms); // each stagger_ms or so
void replica_stored(struct replica *r, uint64_t op);
void replica_link_up(struct replica *r, struct store_id peer);
void replica_link_down(struct replica *r, struct store_id peer);
// Whatever it says, from whomever: what makes no sense is dropped.
void replica_receive(struct replica *r, struct store_id from, const struct replica_msg *msg);
void replica_record(struct replica *r, const struct record *record, uint64_t revision); // heard or read
// `record`, `revision`: what is there now (committed, refused); NULL: unknown.
void replica_cas_done(struct replica *r, enum cas_outcome outcome, const struct record *record,
                      uint64_t revision);
// Who the members are to be (by policy); the master proposes it. In order of preference, the master may be missing.
void replica_place(struct replica *r, const struct store_id *stores, uint32_t count);

// --- the queue's side, on the master ---
// The message's number; 0: this is not the master.
uint64_t replica_publish(struct replica *r, uint64_t ref);
// False: stale, and nothing happened.
bool replica_settle(struct replica *r, uint64_t epoch, uint64_t seq);
// Its log is everywhere in sync: questions about earlier publishes can be answered.
bool replica_is_open(const struct replica *r);

// Joiners get the older messages too, although ha-sync-mode is manual (until the end of the epoch).
void replica_synchronise(struct replica *r);

// What must always be true of a replica by itself.
void replica_check(const struct replica *r);

// --- planted bugs: the simulator links a build of this folder in which they can be switched on, to see that it finds them ---
#ifdef LV_PLANTED_BUGS
enum replica_bug {
    REPLICA_BUG_DROP_BEFORE_CAS = 1u << 0,   // confirms do not wait for a member whose removal was proposed
    REPLICA_BUG_PROMISE_IN_MEMORY = 1u << 1, // a promise is not stored
    REPLICA_BUG_COUNT_LATE = 1u << 2,        // a joiner is counted when it is in the record
    REPLICA_BUG_JOIN_SHORT = 1u << 3,        // … and proposed without the earlier confirms
    REPLICA_BUG_ANSWER_OLD =
        1u << 4, // a candidate goes on in the old epoch, although the end of its log is fixed
    REPLICA_BUG_CONFIRM_INHERITED = 1u << 5, // confirms do not wait for the inherited log
    REPLICA_BUG_SETTLE_BY_READ =
        1u << 6, // a proposal without an answer is forgotten when a read shows another value
    REPLICA_BUG_STALE_SETTLE = 1u << 7,         // settles of older epochs count
    REPLICA_BUG_TRUST_CLOCK = 1u << 8,          // a member that was silent for long is not waited for
    REPLICA_BUG_ANYONE = 1u << 9,               // a member that is not in sync promotes itself
    REPLICA_BUG_NO_CUT = 1u << 10,              // what contradicts the master's log stays
    REPLICA_BUG_HOLE_IS_WHOLE = 1u << 11,       // DURABLE over a hole
    REPLICA_BUG_KEEP_EPOCH = 1u << 12,          // a restarted master goes on in its epoch
    REPLICA_BUG_RECEIVED_IS_DURABLE = 1u << 13, // DURABLE before it is stored
    REPLICA_BUG_NO_CAS = 1u << 14,              // a candidate is master without the record
};
extern uint32_t replica_bugs;
#define REPLICA_BUG(bug) ((replica_bugs & (bug)) != 0)
#else
#define REPLICA_BUG(bug) false
#endif
