// queue_def.h: what a queue *is* (name, flags, arguments, where it lives), immutable and shared by all
// threads.
//
// Made by the topology writer, published in a topology version, freed by the writer once no version and no
// owner shows it. The running queue (messages, consumers) is struct queue, owned by one worker and found by
// `handle`.
#pragma once

#include "src/base/lv.h"
#include "src/base/slice.h"

// Names a slot in one worker's table: worker (8 bits) | generation (24 bits) | index (32 bits). 0 is no
// handle. The generation is checked on arrival, so a handle of something that is gone is harmless. Used for
// queues, consumers and sessions.
typedef uint64_t lv_handle;

static inline lv_handle
handle_make(unsigned worker, uint32_t generation, uint32_t index)
{
    return ((uint64_t)(worker & 0xffu) << 56) | ((uint64_t)(generation & 0xffffffu) << 32) | index;
}

static inline unsigned
handle_worker(lv_handle h)
{
    return (unsigned)(h >> 56);
}

static inline uint32_t
handle_generation(lv_handle h)
{
    return (uint32_t)(h >> 32) & 0xffffffu; // never 0 in a valid handle
}

static inline uint32_t
handle_index(lv_handle h)
{
    return (uint32_t)h;
}

enum queue_flags {
    QUEUE_DURABLE = 1u << 0,
    QUEUE_EXCLUSIVE = 1u << 1,
    QUEUE_AUTO_DELETE = 1u << 2,
    QUEUE_SINGLE_ACTIVE = 1u << 3,  // x-single-active-consumer
    QUEUE_RELAXED_OS = 1u << 4,     // x-durability: os
    QUEUE_RELAXED_MEMORY = 1u << 5, // x-durability: memory
    QUEUE_DELAY = 1u << 8,          // of a delayed exchange: what waits in it goes out when its time has come
};

enum queue_type { QUEUE_CLASSIC, QUEUE_QUORUM, QUEUE_STREAM };

struct queue_def {
    uint64_t id;      // never reused, also across restarts
    lv_handle handle; // owner worker and slot
    uint32_t slot;    // dense number among the queues that exist, for per-worker stamp arrays
    uint32_t flags;   // enum queue_flags
    enum queue_type type;
    uint64_t owner_conn;    // connection id of an exclusive queue, 0 otherwise
    struct slice name;      // bytes behind this struct
    struct slice vhost;     // vhost name, bytes behind this struct
    struct slice arguments; // field table without its length, validated; behind this struct
    struct slice user;      // who declared it
    int64_t created_ms;     // wall clock
};
