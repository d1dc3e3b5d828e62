// perf_proc.h: what a process and its descendants use, from /proc: CPU time and resident memory.
#pragma once

#include <sys/types.h>

#include "src/base/lv.h"

struct perf_proc {
    double cpu_s;       // user and system time since the start; the kernel counts in ticks, mostly of 10 ms
    uint64_t rss_bytes; // resident memory
};

// -LE_NOTFOUND: there is no such process (any more). A descendant that ends meanwhile is left out.
LV_MUST_USE int perf_proc_sample(pid_t pid, struct perf_proc *ret);
// CPU time of this process, all threads, in seconds.
double perf_own_cpu_s(void);
// Lifts the limit of open files as far as allowed; returns what it is now.
uint64_t perf_raise_nofile(void);
