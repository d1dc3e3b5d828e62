// queue_settings.h: from the arguments of a queue (and the policies that match it) to the rules its owner keeps. Pure; any thread.
#pragma once

#include "queue/queue_rules.h"

// LIMIT: what quorum queues allow when neither argument nor policy says a number.
enum { QUORUM_DELIVERY_LIMIT = 20 };

// The rules that come of the arguments (checked before) and the type. *ret: heap, NULL when every limit is off. -LE_NOMEM.
LV_MUST_USE int queue_settings_rules(const struct queue_def *def, struct queue_rules **ret);
