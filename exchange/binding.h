// binding.h: one binding, immutable: from an exchange to a queue or another exchange, by key and arguments.
//
// Made by the topology writer, shared by all threads through topology versions, freed by the writer when no
// version shows it. Identity: (source, destination, key, arguments), arguments compared in canonical form
// (AMQP 0-9-1 §1.7.2.3, queue.bind).
#pragma once

#include "queue/queue_def.h"
#include "src/base/list.h"
#include "src/base/slice.h"

// LIMIT: a binding key is a shortstr.
#define BINDING_KEY_MAX 255

enum binding_dest { BINDING_TO_QUEUE, BINDING_TO_EXCHANGE };

struct binding {
    uint64_t source_id; // exchange id
    uint64_t dest_id;   // queue id or exchange id
    enum binding_dest dest;
    bool is_durable;               // both ends are durable
    const struct queue_def *queue; // when dest is BINDING_TO_QUEUE; lives as long as the binding does
    uint64_t hash;                 // of the identity
    struct slice key;              // routing (binding) key; bytes behind this struct
    struct slice arguments;   // field table as the client gave it, without its length; behind this struct
    struct slice canonical;   // the same with keys sorted; behind this struct
    struct slice source_name; // names for listings; behind this struct
    struct slice dest_name;
    // The topology writer's own: all bindings of one destination; set up by it, read by no other.
    struct list dest_node;
};

struct binding_args {
    uint64_t source_id, dest_id;
    enum binding_dest dest;
    bool is_durable;
    const struct queue_def *queue;
    struct slice key, arguments, source_name, dest_name;
};

// NULL when out of memory, also when the key is longer than BINDING_KEY_MAX (which the caller has refused
// before).
LV_MUST_USE struct binding *binding_new(const struct binding_args *args);
void binding_free(struct binding *b);
bool binding_same(const struct binding *a, const struct binding *b); // same identity
// A key as a weight (x-consistent-hash): an integer as Erlang's list_to_integer reads it, digits with or without
// a sign; false for anything else. A double holds the 255 digits that a key may have.
bool binding_weight(struct slice key, double *ret_weight);
