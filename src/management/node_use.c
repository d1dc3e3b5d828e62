// node_use.c: see node_use.h.
#include "src/management/node_use.h"

#include <dirent.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "src/base/log.h"

uint64_t
node_use_resident_bytes(void)
{
    unsigned long long size = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (f == NULL)
        return 0;
    // NOLINTNEXTLINE(cert-err34-c): the kernel's numbers fit
    if (fscanf(f, "%llu %llu", &size, &resident) != 2)
        resident = 0;
    fclose(f);
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

// Entries of a folder of /proc/self: open files, threads.
static uint64_t
count_entries(const char *path)
{
    uint64_t count = 0;
    DIR *dir = opendir(path);
    if (dir == NULL)
        return 0;
    for (const struct dirent *entry; (entry = readdir(dir)) != NULL;)
        count += entry->d_name[0] != '.';
    closedir(dir);
    return count;
}

void
node_use_look(const char *data_dir, struct node_use *ret)
{
    struct rlimit files = {0}, threads = {0};
    struct statvfs disk = {0};
    if (getrlimit(RLIMIT_NOFILE, &files) != 0 || getrlimit(RLIMIT_NPROC, &threads) != 0 ||
        statvfs(data_dir, &disk) != 0)
        log_debug(LOG_HTTP, "node: not all resources can be looked at");
    *ret = (struct node_use){
        .resident_bytes = node_use_resident_bytes(),
        .fd_used = count_entries("/proc/self/fd"),
        .fd_max = (uint64_t)LV_MIN(files.rlim_cur, (rlim_t)INT64_MAX),
        .threads = count_entries("/proc/self/task"),
        .threads_max = (uint64_t)LV_MIN(threads.rlim_cur, (rlim_t)INT32_MAX),
        .disk_free_bytes = (uint64_t)disk.f_bavail * disk.f_frsize,
    };
}
