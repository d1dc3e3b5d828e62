// stages.h: the stages of the broker's modules, between the process's own (daemon.h) in main.c's order.
#pragma once

#include "src/daemon.h"

struct durable_config;
struct password_rule;

#ifdef LV_TEST_HOOKS
extern const struct daemon_stage stage_hooks; // planned faults, planted bugs; before anything is opened
#endif
extern const struct daemon_stage stage_store;       // message log and backlog files, read
extern const struct daemon_stage stage_store_ready; // the same, behind the broker: running
extern const struct daemon_stage stage_broker; // topology and metadata, queues and sessions of every worker
extern const struct daemon_stage stage_amqp;   // connections; gives the acceptor its sink
extern const struct daemon_stage stage_management;  // the control socket
extern const struct daemon_stage stage_definitions; // files that load_definitions names
extern const struct daemon_stage stage_alarms;      // memory watermark, free disk limit

// What the alarms' last look found, and the limits it compared with. Any thread. The bits are those of broker_set_alarms.
// As enum broker_alarm.
enum { STAGE_ALARM_MEMORY = 1, STAGE_ALARM_DISK = 2, STAGE_ALARM_LOG = 4 };
unsigned stage_alarms_now(void); // the bits
uint64_t stage_alarms_watermark_bytes(void);
uint64_t stage_alarms_watermark_of(const struct config *c); // what a configuration makes it
uint64_t stage_alarms_disk_limit_bytes(void);

// For the workers' queues; NULL before stage_store has started.
const struct durable_config *stage_store_config(void);
bool stage_store_is_full(const struct daemon *d); // the log has no room for messages

// The HTTP member's imports; from the stage management's start on.
struct definitions_queue;
struct definitions_queue *stage_management_definitions(void);

// Which passwords users may be given; NULL: all. From the stage broker's start to its stop, constant.
const struct password_rule *stages_password_rule(void);

// Sends a mail to every worker. Main thread, or any other crew member.
void stages_post_workers(struct crew *crew, mail_fn fn, const void *payload, size_t len);
