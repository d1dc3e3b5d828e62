// mailbox.c: a ring with free-running indices, split over three groups of cache lines.
//
// Happy path: push writes the slot at tail (plain memory), publish stores tail once a turn, drain handles the
// slots up to the tail it saw and stores head once at its end. Push reads head only when the ring looks full
// by the last value seen.
//
// A full ring: mails go to the spill list and stay behind everything in the ring; publish moves them. While
// the sender is held back (spill, or too much weight on the way) its flag `is_waiting` is up, and the
// receiver wakes it after a drain.
//
// No lost wake-ups, by Dekker's pattern twice (all seq_cst): the sender stores tail, then reads the
// receiver's sleep flag, while the receiver stores its sleep flag, then reads tail; the receiver stores head
// and handled, then reads is_waiting and the sender's sleep flag, while the sender stores those two, then
// reads head and handled. The sleep flags are worker.c's.
#include <string.h>

#include "src/base/mailbox.h"
#include "src/base/mem.h"

// LIMIT: mails in one block of the spill list (the list itself is bounded by back-pressure: a congested
// sender reads no publishers).
enum { SPILL_BLOCK_MAILS = 255 };

struct spill_block {
    struct spill_block *next;
    struct mail mails[SPILL_BLOCK_MAILS];
};

struct mailbox {
    // Never changes.
    struct mail *slots;
    size_t mask; // capacity - 1

    // The sender's own.
    __attribute__((aligned(LV_CACHE_LINE)))
    size_t tail;                     // next slot to fill; ahead of tail_shared by what is not published
    size_t head_seen;                // last value read of head
    uint64_t sent;                   // weight pushed, ever
    uint64_t handled_seen;           // last value read of handled
    struct spill_block *spill_first; // oldest mails here, NULL when there is no spill
    struct spill_block *spill_last;
    struct spill_block
        *spill_spare;   // one empty block kept, so that a ring at its limit does not malloc for each burst
    size_t spill_read;  // next mail in spill_first
    size_t spill_write; // next free place in spill_last
    size_t spill_count;

    // Written by the sender, read by the receiver.
    __attribute__((aligned(LV_CACHE_LINE))) atomic_size_t tail_shared; // partner: mailbox_drain
    atomic_bool is_waiting;                                            // partner: mailbox_is_sender_waiting

    // Written by the receiver, read by the sender.
    __attribute__((aligned(LV_CACHE_LINE))) atomic_size_t head_shared; // partner: ring_room
    _Atomic(uint64_t) handled_shared;                                  // partner: weight_is_over

    // The receiver's own.
    __attribute__((aligned(LV_CACHE_LINE))) size_t head; // next mail to handle
    uint64_t handled;                                    // weight handled, ever
    unsigned depth;                                      // calls of mailbox_drain on the stack
};

struct mailbox *
mailbox_new(size_t capacity)
{
    LV_ASSERT(capacity > 0 && (capacity & (capacity - 1)) == 0);
    struct mailbox *mb = mem_aligned(LV_CACHE_LINE, sizeof *mb);
    LV_ASSERT(mb != NULL);
    memset(mb, 0, sizeof *mb);
    mb->mask = capacity - 1;
    // Not zeroed: pages of a ring that is never used are never touched.
    mb->slots = mem_aligned(LV_CACHE_LINE, capacity * sizeof *mb->slots);
    LV_ASSERT(mb->slots != NULL);
    return mb;
}

size_t
mailbox_depth(const struct mailbox *mb)
{
    // The head first: it never passes a tail that is read later.
    size_t head = atomic_load_explicit(&mb->head_shared, memory_order_acquire);
    return atomic_load_explicit(&mb->tail_shared, memory_order_relaxed) - head;
}

void
mailbox_free(struct mailbox *mb)
{
    if (mb == NULL)
        return;
    for (struct spill_block *b = mb->spill_first; b != NULL;) {
        struct spill_block *next = b->next;
        mem_free(b);
        b = next;
    }
    mem_free(mb->spill_spare);
    mem_free(mb->slots);
    mem_free(mb);
}

// Sender: whether a slot is free; reads the receiver's cache line only when there seems to be none.
static inline bool
ring_room(struct mailbox *mb)
{
    if (LV_LIKELY(mb->tail - mb->head_seen <= mb->mask))
        return true;
    mb->head_seen = atomic_load_explicit(&mb->head_shared, memory_order_acquire);
    return mb->tail - mb->head_seen <= mb->mask;
}

static struct mail *
spill_push(struct mailbox *mb)
{
    if (mb->spill_first == NULL || mb->spill_write == SPILL_BLOCK_MAILS) {
        struct spill_block *b = mb->spill_spare != NULL ? mb->spill_spare : mem_xalloc(sizeof *b);
        mb->spill_spare = NULL;
        b->next = NULL;
        if (mb->spill_first == NULL) {
            mb->spill_first = b;
            mb->spill_read = 0;
        } else {
            mb->spill_last->next = b;
        }
        mb->spill_last = b;
        mb->spill_write = 0;
    }
    mb->spill_count++;
    return &mb->spill_last->mails[mb->spill_write++];
}

// The oldest mail of the spill goes into the ring, which has room.
static void
spill_shift(struct mailbox *mb)
{
    struct spill_block *b = mb->spill_first;
    mb->slots[mb->tail++ & mb->mask] = b->mails[mb->spill_read++];
    mb->spill_count--;
    if (mb->spill_count > 0 && mb->spill_read < SPILL_BLOCK_MAILS)
        return;
    LV_ASSERT_HOT(mb->spill_count > 0 || b == mb->spill_last);
    mb->spill_first = b->next;
    mb->spill_read = 0;
    if (mb->spill_spare == NULL)
        mb->spill_spare = b;
    else
        mem_free(b);
}

void
mailbox_push(struct mailbox *mb, mail_fn fn, const void *payload, size_t len, uint64_t weight)
{
    LV_ASSERT(len <= MAIL_PAYLOAD_BYTES);
    struct mail *m;
    if (LV_LIKELY(mb->spill_count == 0 && ring_room(mb)))
        m = &mb->slots[mb->tail++ & mb->mask];
    else
        m = spill_push(mb);
    m->fn = fn;
    m->weight = weight;
    memset(m->payload, 0, sizeof m->payload);
    if (len > 0)
        memcpy(m->payload, payload, len);
    mb->sent += weight;
}

// Sender: more weight on the way than allowed. What was seen handled earlier is a lower bound, enough for
// most calls.
static bool
weight_is_over(const struct mailbox *mb)
{
    return mb->sent - mb->handled_seen > MAILBOX_WEIGHT_MAX &&
           mb->sent - atomic_load(&mb->handled_shared) > MAILBOX_WEIGHT_MAX;
}

bool
mailbox_publish(struct mailbox *mb)
{
    while (mb->spill_count > 0 && ring_room(mb))
        spill_shift(mb);
    bool has_to_wake = false;
    size_t published = atomic_load_explicit(&mb->tail_shared, memory_order_relaxed);
    if (mb->tail != published) {
        atomic_store(&mb->tail_shared, mb->tail);
        mb->head_seen = atomic_load(&mb->head_shared);
        has_to_wake = mb->head_seen == published;
    }
    mb->handled_seen = atomic_load_explicit(&mb->handled_shared, memory_order_relaxed);
    // The flag only asks for a wake-up; whether there is progress to make now is asked again before sleep.
    bool waits = mailbox_is_congested(mb);
    if (waits != atomic_load_explicit(&mb->is_waiting, memory_order_relaxed))
        atomic_store(&mb->is_waiting, waits);
    return has_to_wake;
}

bool
mailbox_is_congested(const struct mailbox *mb)
{
    return mb->spill_count > 0 || weight_is_over(mb);
}

size_t
mailbox_spill_count(const struct mailbox *mb)
{
    return mb->spill_count;
}

bool
mailbox_can_progress(const struct mailbox *mb)
{
    if (mb->tail != atomic_load_explicit(&mb->tail_shared, memory_order_relaxed))
        return true;
    if (mb->spill_count > 0)
        return mb->tail - atomic_load(&mb->head_shared) <= mb->mask;
    return atomic_load_explicit(&mb->is_waiting, memory_order_relaxed) && !weight_is_over(mb);
}

bool
mailbox_is_sender_waiting(const struct mailbox *mb)
{
    return atomic_load(&mb->is_waiting);
}

size_t
mailbox_drain(struct mailbox *mb, struct worker *to, size_t budget)
{
    // What comes in meanwhile waits for the next call, so that a handler which posts to itself cannot hold
    // the turn.
    size_t end = atomic_load_explicit(&mb->tail_shared, memory_order_acquire);
    if (mb->head == end)
        return 0;
    size_t done = 0;
    mb->depth++;
    // A handler may drain this very ring (worker_drain_from): head moves on before each call, and slots are
    // given back only when no call that still reads one is on the stack.
    while ((ptrdiff_t)(end - mb->head) > 0 && done < budget) {
        struct mail *m = &mb->slots[mb->head++ & mb->mask];
        uint64_t weight = m->weight;
        m->fn(to, m->payload);
        mb->handled += weight;
        done++;
    }
    if (--mb->depth == 0) {
        if (mb->handled != atomic_load_explicit(&mb->handled_shared, memory_order_relaxed))
            atomic_store(&mb->handled_shared, mb->handled);
        atomic_store(&mb->head_shared, mb->head);
    }
    return done;
}

static void
ignore_mail(struct worker *to, void *payload)
{
}

static void
discard(struct mail *m, mail_fn fn, void (*drop)(void *payload))
{
    if (m->fn != fn)
        return;
    drop(m->payload);
    m->fn = ignore_mail;
}

void
mailbox_discard(struct mailbox *mb, mail_fn fn, void (*drop)(void *payload))
{
    for (size_t i = mb->head; i != mb->tail; i++)
        discard(&mb->slots[i & mb->mask], fn, drop);
    for (struct spill_block *b = mb->spill_first; b != NULL; b = b->next) {
        size_t end = b == mb->spill_last ? mb->spill_write : SPILL_BLOCK_MAILS;
        for (size_t i = b == mb->spill_first ? mb->spill_read : 0; i < end; i++)
            discard(&b->mails[i], fn, drop);
    }
}

bool
mailbox_has_mail(const struct mailbox *mb)
{
    return mb->head != atomic_load(&mb->tail_shared);
}
