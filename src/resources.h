// resources.h: what the machine has: memory (the control group's limit included), the process's use of it, free disk.
//
// Everything is asked anew at each call: limits of control groups change while the process runs. Any thread; short file reads.
#pragma once

#include "src/base/lv.h"

// Bytes of memory this process may use: the machine's, or less where a control group (version 1 or 2, the process's own or one
// above it) says so.
uint64_t resources_total_bytes(void);
// Resident set size of this process; 0: unknown.
uint64_t resources_resident_bytes(void);
// Bytes free to us in the file system of `path`. 0 or -LE_xxx.
LV_MUST_USE int resources_disk_free(const char *path, uint64_t *ret_bytes);

// The least limit that control groups give: `table` is the text of /proc/self/cgroup, `mount` the folder /sys/fs/cgroup.
// UINT64_MAX: none. For resources_total_bytes, and for tests.
uint64_t resources_cgroup_limit(const char *table, const char *mount);
