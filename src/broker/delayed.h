// delayed.h: the messages that wait at a delayed exchange, as requests to the queue that holds them (delay.h); what sessions and the HTTP API share.
//
// Any crew member that reads the topology.
#pragma once

#include "queue/ops.h"
#include "src/broker/fault.h"
#include "src/broker/topology.h"

// LIMIT: messages of one look.
enum { DELAYED_LOOK_MAX = 500 };

// The request, to be sent (queue_request_send); its done, ctx and session are the caller's to fill. NULL with the fault: 404 without such an
// exchange; NULL without a fault: the exchange delays nothing.
LV_MUST_USE struct queue_request *delayed_look(const struct vhost *v, struct slice exchange, uint64_t skip,
                                               size_t wanted, struct fault *ret_fault);
LV_MUST_USE struct queue_request *delayed_cancel(const struct vhost *v, struct slice exchange,
                                                 uint64_t number, struct fault *ret_fault);
// What the answer to a cancel means.
void delayed_cancel_fault(const struct queue_request *r, struct slice exchange, struct slice vhost,
                          struct fault *ret_fault);
