// stages.h: the stages of the broker's modules, between the process's own (daemon.h) in main.c's order.
#pragma once

#include "src/daemon.h"

extern const struct daemon_stage stage_broker;     // topology and metadata, queues and sessions of every worker
extern const struct daemon_stage stage_amqp;       // connections; gives the acceptor its sink
extern const struct daemon_stage stage_management; // the control socket
extern const struct daemon_stage stage_alarms;     // the memory watermark

// What the alarms' last look found: enum-like bits, 1 memory; and the watermark it compared with. Any thread.
unsigned stage_alarms_now(void);
uint64_t stage_alarms_watermark_bytes(void);

// Sends a mail to every worker. Main thread, or any other crew member.
void stages_post_workers(struct crew *crew, mail_fn fn, const void *payload, size_t len);
