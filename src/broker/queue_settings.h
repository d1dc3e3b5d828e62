// queue_settings.h: from the arguments of a queue and the policies that are for it to the rules its owner keeps. Pure; any thread.
//
// Numbers: the smallest of argument, policy and operator policy. Everything else: the queue's own argument, else the operator
// policy's, else the policy's.
#pragma once

#include "queue/queue_rules.h"
#include "src/broker/policy.h"

// LIMIT: what quorum queues allow when neither argument nor policy says a number.
enum { QUORUM_DELIVERY_LIMIT = 20 };

// What policies know a queue as.
enum policy_object queue_settings_object(const struct queue_def *def);
// The rules that come of the arguments (checked before), the policies (NULL: none) and the type. On the heap;
// NULL when every limit is off.
LV_MUST_USE struct queue_rules *queue_settings_rules(const struct queue_def *def,
                                                     const struct policy_pair *policies);
