// dead_letter.h: the sink of dead letters: from a queue to the queues its dead-letter exchange leads to, whichever workers they are on.
//
// Invariant: each call of dead_letter_offer is answered once by queue_dead_done, when all targets have answered. Nothing here waits for credit:
// the owner of a target always takes the message or refuses it; how many are under way is the source's to bound (queue/dying.h). Permissions play no part
// (they are checked when the queue is declared), nor does it matter whether the exchange is internal. On the thread of the source's owner.
#pragma once

#include "queue/ops.h"

// queue_client.dead.
unsigned dead_letter_offer(struct worker *owner, const struct dead_letter *d);

// Who asks for the publishes of dead letters, in place of a session.
static inline lv_handle
dead_letter_asker(const struct worker *w)
{
    return handle_make((unsigned)w->index, 0, UINT32_MAX); // no session has this index, nor this generation
}

// queue_client.published for that asker.
void dead_letter_published(struct worker *w, uint64_t number, unsigned refused);

uint64_t dead_letters_open(const struct worker *w); // how many are under way; any thread
void dead_letters_end(struct worker *w);            // the process ends: nobody waits for an answer any more
