// inspect_io.h: a table of I/O functions that reads through another one and refuses everything else with -LE_ACCESS.
#pragma once

#include "src/base/io.h"

// `ret` refers to `under`, which outlives it.
void inspect_io_init(struct io *ret, const struct io *under);
