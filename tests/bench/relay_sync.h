// relay_sync.h: group commit reduced to its least: bytes gather while those before them are written and synced by a thread.
//
// One thread uses it; the thread behind it sees only the group that was handed over. A failed write or sync ends the process: a
// yardstick that did not write measures nothing.
#pragma once

#include "src/base/lv.h"

struct relay_sync;

// The file is written full of zeros first and used round and round, so that a sync has no new blocks or sizes to record. Ends the process
// when that fails.
struct relay_sync *relay_sync_new(const char *path, uint64_t ring_bytes);
int relay_sync_fd(const struct relay_sync *s); // readable: a group is done
// Joins the group that gathers. Waits when that is too large: the disk does not keep up.
void relay_sync_add(struct relay_sync *s, const void *bytes, size_t len);
// True, once, when the group that was handed over is on disk.
bool relay_sync_is_done(struct relay_sync *s);
// Hands over what gathered, when there is something and the thread is free: true.
bool relay_sync_start(struct relay_sync *s);
