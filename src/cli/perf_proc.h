// perf_proc.h: what a process and its descendants use, from /proc: CPU time and memory; and what a disk was given to write.
#pragma once

#include <sys/types.h>

#include "src/base/lv.h"

struct perf_proc {
    double cpu_s;        // user and system time since the start; the kernel counts in ticks, mostly of 10 ms
    uint64_t rss_bytes;  // resident memory
    uint64_t anon_bytes; // of it, what is no file: heap and stacks
};

// -LE_NOTFOUND: there is no such process (any more). A descendant that ends meanwhile is left out.
LV_MUST_USE int perf_proc_sample(pid_t pid, struct perf_proc *ret);
// Bytes that the disk under a folder was given to write since the machine started, by everybody. (What /proc/PID/io says of one process counts whole
// folios of the page cache, up to 2 MiB for a sector.) -LE_NOTFOUND: no disk, or it does not tell.
LV_MUST_USE int perf_disk_written(const char *dir, uint64_t *ret);
// CPU time of this process, all threads, in seconds.
double perf_own_cpu_s(void);
// Lifts the limit of open files as far as allowed; returns what it is now.
uint64_t perf_raise_nofile(void);
