// node_use.h: what this process uses of the machine, and may use: memory, files, threads, disk. Short reads of /proc; any thread.
#pragma once

#include "src/base/lv.h"

struct node_use {
    uint64_t resident_bytes;
    uint64_t fd_used, fd_max;
    uint64_t threads, threads_max;
    uint64_t disk_free_bytes; // in the file system of the data directory
};

// What cannot be found out is 0.
void node_use_look(const char *data_dir, struct node_use *ret);
uint64_t node_use_resident_bytes(void);
