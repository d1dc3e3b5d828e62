// perf_proc.c: /proc/PID/status by the names of its lines; /proc/PID/stat, field by field from the last parenthesis on (the name before it may hold anything), and the
// children from /proc/PID/task/TID/children.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "src/base/err.h"
#include "src/cli/perf_proc.h"

// LIMIT: depth of descendants looked at.
enum { DEPTH_MAX = 8 };

// Reads a small file of /proc whole, NUL-terminated; returns its length or -LE_NOTFOUND.
static int
read_small(const char *path, char *buf, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -LE_NOTFOUND;
    size_t len = 0;
    ssize_t n;
    while (len < size - 1 && (n = read(fd, buf + len, size - 1 - len)) > 0)
        len += (size_t)n;
    close(fd);
    buf[len] = '\0';
    return len == 0 ? -LE_NOTFOUND : (int)len;
}

// The number behind a name of "Name: 12 kB" lines; 0 when there is none.
static uint64_t
number_of(const char *text, const char *name)
{
    const char *at = strstr(text, name);
    return at != NULL ? strtoull(at + strlen(name), NULL, 10) : 0;
}

static void
add_heap(pid_t pid, struct perf_proc *sum)
{
    char path[64], text[4096];
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    if (read_small(path, text, sizeof text) > 0)
        sum->anon_bytes += number_of(text, "\nRssAnon:") * 1024;
}

// Adds one process without its children.
static int
add_one(pid_t pid, struct perf_proc *sum)
{
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    if (read_small(path, text, sizeof text) < 0)
        return -LE_NOTFOUND;
    const char *rest = strrchr(text, ')');
    uint64_t user = 0, system_ticks = 0;
    int64_t pages = 0;
    // State is field 3, utime and stime are 14 and 15, rss is 24.
    // NOLINTNEXTLINE(cert-err34-c): the kernel's numbers fit
    if (rest == NULL || sscanf(rest + 1,
                               " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %" SCNu64 " %" SCNu64
                               " %*d %*d %*d %*d %*d %*d %*u %*u %" SCNd64,
                               &user, &system_ticks, &pages) != 3)
        return -LE_NOTFOUND;
    sum->cpu_s += (double)(user + system_ticks) / (double)sysconf(_SC_CLK_TCK);
    sum->rss_bytes += (uint64_t)LV_MAX(pages, 0) * (uint64_t)sysconf(_SC_PAGESIZE);
    add_heap(pid, sum);
    return 0;
}

// One at a time, breadth is small: a broker has few children.
static void
add_children(pid_t pid, struct perf_proc *sum, unsigned depth)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *dir = depth < DEPTH_MAX ? opendir(path) : NULL;
    if (dir == NULL)
        return;
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        char file[384], text[4096];
        if (e->d_name[0] == '.')
            continue;
        snprintf(file, sizeof file, "%s/%s/children", path, e->d_name);
        if (read_small(file, text, sizeof text) < 0)
            continue;
        for (char *pos = text, *end;; pos = end) {
            long child = strtol(pos, &end, 10);
            if (end == pos)
                break;
            if (add_one((pid_t)child, sum) == 0)
                add_children((pid_t)child, sum, depth + 1);
        }
    }
    closedir(dir);
}

int
perf_proc_sample(pid_t pid, struct perf_proc *ret)
{
    struct perf_proc sum = {0};
    int rc = add_one(pid, &sum);
    if (rc < 0)
        return rc;
    add_children(pid, &sum, 0);
    *ret = sum;
    return 0;
}

int
perf_disk_written(const char *dir, uint64_t *ret)
{
    char path[96], text[512];
    struct stat st;
    uint64_t sectors = 0;
    if (stat(dir, &st) != 0)
        return -LE_NOTFOUND;
    snprintf(path, sizeof path, "/sys/dev/block/%u:%u/stat", major(st.st_dev), minor(st.st_dev));
    if (read_small(path, text, sizeof text) < 0)
        return -LE_NOTFOUND;
    // reads, merged, sectors, ms, writes, merged, sectors
    const char *at = text;
    for (int field = 1; field <= 7; field++) {
        char *end;
        sectors = strtoull(at, &end, 10);
        if (end == at)
            return -LE_NOTFOUND;
        at = end;
    }
    *ret = sectors * 512;
    return 0;
}

double
perf_own_cpu_s(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

uint64_t
perf_raise_nofile(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 0;
    if (limit.rlim_cur != limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &limit) != 0 && getrlimit(RLIMIT_NOFILE, &limit) != 0)
            return 0;
    }
    return limit.rlim_cur;
}
