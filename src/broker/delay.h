// delay.h: delayed messages: how long, and what is parked and let go (x-delayed-message exchanges, policy delayed-message).
//
// A delayed exchange has a queue of its own that no client sees (topology_writer_delay.c). A message with a positive x-delay that comes to
// the exchange is put into that queue, as it is, with the delay for its time to live; when that is over it leaves as a dead letter does
// (dead_letter.c), but as published: routed by the exchange's own type, exchange and key unchanged, no x-death, x-delay made
// negative (the facts are those of RabbitMQ's plugin rabbitmq_delayed_message_exchange). Pure functions; any thread.
#pragma once

#include "amqp/wire/props.h"
#include "queue/message.h"

// The delay of a message in milliseconds, 1 … 2^32-1; 0: none. Header x-delay: an integer, a number with a point (cut), a string of digits;
// what is negative, above that or anything else is no delay.
uint32_t delay_of(struct slice headers);

// A copy of a message to wait so long, when the message itself goes elsewhere too. NULL: no memory.
LV_MUST_USE struct message *delay_parked(const struct message *msg, uint32_t delay_ms);
// What goes out when the time has come: x-delay negated, so that no exchange on its way delays it again; no BCC. Its time
// to live, if it has one, begins now. NULL: no memory.
LV_MUST_USE struct message *delay_released(const struct message *parked);
