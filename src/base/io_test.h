// io_test.h: calls of the system's I/O table that fail by plan, in test builds: what a disk does at the worst moment, for a whole daemon.
//
// A plan is text: `CALL:N:COUNT:ERROR[@FILE]`, several with commas between. From its N-th CALL on (1: the next), COUNT calls in a row
// (0: for ever) do not do their work but give ERROR. CALL is open, close, read, write, fdatasync, fsync, truncate, allocate, size,
// rename, unlink, mkdir, sync_dir, list, space, `changes` (what a full or broken disk can refuse), `syncs` or `any`; ERROR is EIO,
// ENOSPC, EDQUOT, ENOMEM, EACCES, short (a write takes half of it, a read gives half) or slowN (done, N ms later). With @FILE the plan
// sleeps, and does not count, while no such file exists.
// The table may be used by any thread; the plan is made before the first of them starts.
#pragma once

#include "src/base/io.h"

#ifdef LV_TEST_HOOKS
LV_MUST_USE int io_test_plan(const char *plan); // 0 or -LE_SYNTAX; "" is no plan
// The table in front of `real` when there is a plan, else `real`.
const struct io *io_test_table(const struct io *real);
#endif
