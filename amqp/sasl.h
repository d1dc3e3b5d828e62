// sasl.h: what a client answers to the mechanisms PLAIN and AMQPLAIN (AMQP 0-9-1 §1.4.2.2; RabbitMQ,
// authentication).
//
// Pure parsing: who the user is and whether the password is right is the caller's matter. Slices point into
// the response. Any thread.
#pragma once

#include "src/base/lv.h"
#include "src/base/slice.h"

enum sasl_mechanism { SASL_NONE, SASL_PLAIN, SASL_AMQPLAIN };

// SASL_NONE for a name that is not known. Names are compared as they are, as RabbitMQ does.
enum sasl_mechanism sasl_mechanism_of(struct slice name);
const char *sasl_mechanism_name(enum sasl_mechanism mechanism); // "PLAIN"; "" for SASL_NONE

// 0, or -LE_SYNTAX when the response is malformed or lacks one of the two.
LV_MUST_USE int sasl_parse(enum sasl_mechanism mechanism, struct slice response, struct slice *ret_user,
                           struct slice *ret_password);

// Whether `name` is one of the words of a list separated by spaces.
bool sasl_is_offered(struct slice mechanisms, struct slice name);
