// sim_cluster.h: a cluster of nodes that each have a replica of one queue, in one thread and in simulated time: their disks, clocks, links, and a coordinator.
//
// A disk keeps the operations in order; a power cut leaves a prefix that holds at least what was said to be durable. Links deliver in order while they are up; a
// blocked direction holds what was sent until the link is given up. The coordinator carries out each request at some later moment, or never, and
// its answer may be lost: also after the node was told that there is none. Everything random comes from one seed.
#pragma once

#include "mirror/replica.h"
#include "src/base/rng.h"

enum { SIM_NODES_MAX = 5, SIM_SEQ_MAX = 1 << 12 };

struct sim_item {
    uint64_t epoch, ref;
    bool is_live, is_known; // known: it was here once; remembered for publishers that ask
};

struct sim_op {
    struct replica_op op;
    struct epochs epochs;
    struct replica_item *items; // owned
};

struct sim_node {
    int index;
    bool is_up, is_serving;
    struct store_id store;
    struct replica r;
    uint64_t life; // events of an earlier one are stale
    struct sim_op *ops;
    uint64_t op_count, op_cap, durable_ops;
    uint64_t op_base; // operations before this life
    struct sim_item items[SIM_SEQ_MAX];
    uint64_t top; // highest number ever used
    int64_t flush_at, slow_until, paused_until;
    double clock_rate;
    int64_t clock_base, clock_since; // what its clock showed when
    bool is_cut_off;                 // from the coordinator
    uint64_t pending[SIM_SEQ_MAX];   // ref that waits for the confirm of this number; 0: none
    uint64_t asked_to;               // the highest of them
};

struct sim_link {       // of a pair
    bool is_blocked[2]; // from the lower node to the higher one, and back
    bool is_connected;
    bool knows_up[2]; // what each end was told
    uint64_t session;
    int64_t last_ms[2];            // delivery, of each direction
    uint64_t sent[2], received[2]; // messages of this session
    int64_t give_up_at;
};

struct sim_hooks {
    void (*confirmed)(uint64_t ref);
    bool (*is_confirmed)(uint64_t ref);
    void (*lost_contact)(
        int node); // the node does not serve any more, or is dead: what was open there is unknown
};

extern struct sim_node sim_nodes[SIM_NODES_MAX];
extern int sim_node_count;
extern int64_t sim_now;
extern struct rng sim_rng;
extern struct record sim_record; // the coordinator's
extern uint64_t sim_revision;
extern uint64_t sim_promotions, sim_messages;
// Confirmed messages that a store which the coordinator has as in sync put aside or forgot: never under when-synced.
extern uint64_t sim_broken;

void sim_begin(uint64_t seed, int nodes, const struct replica_config *config, const struct sim_hooks *hooks);
void sim_end(void);
// One event; false: none is left before `until`.
bool sim_run_one(int64_t until);
uint64_t sim_dice(uint64_t limit);

void sim_crash(int node, bool is_power_cut);
void sim_start(int node);
void sim_block(int from, int to, bool is_blocked);
void sim_cut_off(int node, bool is_cut_off); // from the coordinator
void sim_coordinator_down(bool is_down);
void sim_pause(int node, int64_t for_ms);
void sim_slow_disk(int node, int64_t for_ms);
void sim_clock(int node, double rate);
void sim_place(int node, const int *nodes, int count); // on that node's replica
void sim_heal(void);
