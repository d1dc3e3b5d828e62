// config_value.h: the text of a configuration value to its typed form. Pure; any thread.
#pragma once

#include "src/config/config_keys.h"

struct config_datum {
    uint64_t number; // integers, sizes, durations in ms, booleans, indexes of choices, log levels
    double fraction;
    char host[64]; // of TYPE_LISTENER, TYPE_IP: numeric address, "" for every address
    uint16_t port;
};

// 0, or -LE_INVAL with what was expected in `why` ("an integer from 0 to 65535").
LV_MUST_USE int config_value_parse(const struct config_key *row, struct slice text,
                                   struct config_datum *ret_datum, char *why, size_t why_size);
