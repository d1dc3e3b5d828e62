// leveretctl_node.h: what status, checks and listeners share: the node's listeners and alarms as rabbitmqctl words them.
#pragma once

#include "src/cli/leveretctl.h"

// The listeners as a JSON array {interface, node, port, protocol, purpose}; a new reference. ctl_overview first.
json_t *node_listeners(struct ctl *c);
// "Interface: 127.0.0.1, port: 5672, protocol: amqp, purpose: …"
void node_put_listener(struct buf *out, const json_t *listener);
// The alarms in effect as an array of sentences, a new reference; NULL: they could not be asked for, *ret_status says why (told).
json_t *node_alarms(struct ctl *c, int *ret_status);
// GET /api/nodes/NAME, a new reference; NULL as above.
json_t *node_details(struct ctl *c, int *ret_status);
