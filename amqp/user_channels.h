// user_channels.h: how many channels each user has open, over all workers, for the user limit max-channels.
//
// A counted object a user, found by name once a connection; channels count on it without a lock. Any thread.
#pragma once

#include "src/base/lv.h"
#include "src/base/slice.h"

struct user_channels;

// The object of that user, with a reference; NULL when out of memory.
LV_MUST_USE struct user_channels *user_channels_get(struct slice user);
void user_channels_put(struct user_channels *u); // accepts NULL
// Counts one more unless there are `limit` already (negative: no limit).
LV_MUST_USE bool user_channels_add(struct user_channels *u, int64_t limit);
void user_channels_remove(struct user_channels *u, uint32_t count);
