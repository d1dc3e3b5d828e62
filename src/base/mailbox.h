// mailbox.h: single-producer single-consumer ring of fixed-size mails between two threads, with a spill list
// at the sender.
//
// FIFO. The sender writes mails and publishes them together (mailbox_publish, once a turn); the receiver
// drains. A push never fails and never blocks: what exceeds the ring goes to the sender's ordered spill list,
// which publish moves into the ring as room appears. While spill is not empty or too many bytes are on the
// way the mailbox is congested: the sending worker then reads no publishers (DESIGN: credit). Sender-side and
// receiver-side fields live on their own cache lines.
#pragma once

#include <stdatomic.h>

#include "src/base/lv.h"

struct worker;

enum { MAIL_PAYLOAD_BYTES = 48 };

// Runs on the receiving thread. `payload` is only valid during the call.
typedef void (*mail_fn)(struct worker *to, void *payload);

struct mail {
    mail_fn fn;
    uint64_t weight; // bytes (message bodies) this mail keeps alive; counted for the pair until handled
    uint8_t payload[MAIL_PAYLOAD_BYTES] __attribute__((aligned(8)));
};
static_assert(sizeof(struct mail) == 64, "one mail is one cache line");

struct mailbox;

LV_MUST_USE struct mailbox *mailbox_new(size_t capacity); // power of two; aborts when out of memory
void mailbox_free(struct mailbox *mb);

// Sender. Copies `len` ≤ MAIL_PAYLOAD_BYTES; the rest of the payload is zeros.
void mailbox_push(struct mailbox *mb, mail_fn fn, const void *payload, size_t len, uint64_t weight);
// Sender: makes all pushed mails visible (as far as the ring has room). True when the receiver has to be
// woken: it had nothing to read before.
bool mailbox_publish(struct mailbox *mb);
// Sender: spill not empty, or more than MAILBOX_WEIGHT_MAX bytes sent and not yet handled.
bool mailbox_is_congested(const struct mailbox *mb);
size_t mailbox_spill_count(const struct mailbox *mb); // sender
size_t mailbox_depth(const struct mailbox *mb);       // published and not handled; any thread
// Sender, before it sleeps: a publish now would send something, or end the congestion. (seq_cst: after the
// sleep flag.)
bool mailbox_can_progress(const struct mailbox *mb);

// Receiver: handles up to `budget` mails; returns how many it did.
size_t mailbox_drain(struct mailbox *mb, struct worker *to, size_t budget);
bool mailbox_has_mail(const struct mailbox *mb); // receiver (seq_cst: after the sleep flag)
// Receiver, after a drain: the sender was congested when it last published; wake it if it sleeps.
bool mailbox_is_sender_waiting(const struct mailbox *mb);

// No thread runs any more: gives the payload of each mail of `fn` that was never handled to `drop`; such a mail does nothing when it is handled after all.
// Others stay.
void mailbox_discard(struct mailbox *mb, mail_fn fn, void (*drop)(void *payload));

// LIMIT: bytes of message bodies on the way between two workers before the sender stops reading publishers.
enum { MAILBOX_WEIGHT_MAX = 16 * 1024 * 1024 };
