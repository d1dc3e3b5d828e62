// log_filler.h: a thread that fills new segments with zeros, so that no group waits for it.
//
// One file at a time: filler_start hands it over, filler_result takes it back. The thread is made with the first file and sleeps
// between files; it touches nothing but the descriptor and the folder. Owner of everything else: the log thread.
#pragma once

#include "src/base/io.h"

struct filler;

// Of the folder `dir`, which has to outlive it. NULL: out of memory.
LV_MUST_USE struct filler *filler_new(const struct io *io, const char *dir);
// Waits for the file under way, ends the thread; accepts NULL.
void filler_free(struct filler *f);

// Fills the file from its beginning and makes it durable, name and bytes. 0, or the reason why there is no thread.
LV_MUST_USE int filler_start(struct filler *f, int fd, uint64_t bytes);
// -LE_AGAIN: not ready yet (never when it may wait); otherwise how it ended, once for each start.
LV_MUST_USE int filler_result(struct filler *f, bool may_wait);

// The same work on the caller's thread, in parts: zeros into [from, from + bytes); then makes the file durable.
LV_MUST_USE int filler_zeros(const struct io *io, int fd, uint64_t from, uint64_t bytes);
LV_MUST_USE int filler_secure(const struct io *io, int fd, const char *dir);
