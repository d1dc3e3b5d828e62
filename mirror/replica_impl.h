// replica_impl.h: between the parts of the replica: replica.c (what all share, and events), replica_lead.c (master), replica_follow.c (member), replica_elect.c (candidate).
#pragma once

#include "mirror/replica.h"

// --- replica.c ---
uint64_t replica_store(struct replica *r, const struct replica_op *op); // and notes what is whole then
void replica_send(struct replica *r, struct store_id to, const struct replica_msg *msg);
struct replica_peer *replica_peer_of(struct replica *r, struct store_id store); // NULL: never linked
void replica_promise(struct replica *r, uint64_t epoch);
bool replica_has_promised(const struct replica *r); // durably
bool replica_can_propose(const struct replica *r);
void replica_propose(struct replica *r, struct record *record); // gives it a token
void replica_become_follower(struct replica *r);
void replica_step(struct replica *r); // whatever can be done now

// --- replica_lead.c ---
void replica_lead_begin(struct replica *r);
void replica_lead_end(struct replica *r);
void replica_lead_step(struct replica *r);
void replica_lead_receive(struct replica *r, struct replica_peer *p, const struct replica_msg *msg);
void replica_lead_link_down(struct replica_peer *p);

// --- replica_follow.c ---
void replica_follow_lead(struct replica *r, struct store_id from, uint64_t epoch);
void replica_follow_receive(struct replica *r, const struct replica_msg *msg);
void replica_follow_step(struct replica *r);
void replica_follow_stop(struct replica *r);

// --- replica_elect.c ---
void replica_elect_begin(struct replica *r, uint64_t above, bool is_forced);
void replica_elect_step(struct replica *r);
void replica_elect_receive(struct replica *r, struct replica_peer *p, const struct replica_msg *msg);
