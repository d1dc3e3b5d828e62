// inspect_io.h: a table of I/O functions that reads through another one. What would change something is refused with -LE_ACCESS; a sync, which changes
// nothing, does nothing.
#pragma once

#include "src/base/io.h"

struct inspect_io {
    struct io io; // to be handed on; refers to this struct
    const struct io *under;
    // Paths that begin with `from` are looked for under `to` instead: a folder of lost+found where its code expects it. Empty: none.
    char from[IO_PATH_MAX], to[IO_PATH_MAX];
};

// Stays where it is as long as it is used. `under` outlives it.
void inspect_io_init(struct inspect_io *r, const struct io *under);
