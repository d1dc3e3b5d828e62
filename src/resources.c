// resources.c: reads /proc and the control groups' files. What cannot be read is no limit: the machine's memory is the answer then.
#include "src/resources.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "src/base/err.h"

// LIMIT: bytes of /proc/self/cgroup that are looked at; a line is some 60 bytes, and there are a dozen.
enum { TABLE_BYTES_MAX = 16 * 1024 };

// The number in a file; UINT64_MAX for "max", and when there is none.
static uint64_t
number_in(const char *path)
{
    char text[64] = "";
    char *end = text;
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return UINT64_MAX;
    uint64_t number = fgets(text, sizeof text, f) != NULL ? strtoull(text, &end, 10) : UINT64_MAX;
    fclose(f);
    return end != text ? number : UINT64_MAX; // too large a number is UINT64_MAX too
}

// The least limit of a group and all above it. In a container the table may name groups that are not mounted there: the way up
// ends at the mount, which is the container's own group.
static uint64_t
group_limit(const char *mount, const char *group, size_t len, const char *file)
{
    char path[PATH_MAX];
    uint64_t limit = UINT64_MAX;
    for (;;) {
        int n = snprintf(path, sizeof path, "%s%.*s/%s", mount, (int)len, group, file);
        if (n > 0 && (size_t)n < sizeof path)
            limit = LV_MIN(limit, number_in(path));
        if (len == 0)
            return limit;
        while (len > 0 && group[len - 1] != '/')
            len--;
        if (len > 0)
            len--; // the slash
    }
}

// "a" is in "a,b,c".
static bool
is_in_list(const char *list, size_t len, const char *word)
{
    size_t word_len = strlen(word);
    for (size_t start = 0; start < len;) {
        const char *comma = memchr(list + start, ',', len - start);
        size_t end = comma != NULL ? (size_t)(comma - list) : len;
        if (end - start == word_len && memcmp(list + start, word, word_len) == 0)
            return true;
        start = end + 1;
    }
    return false;
}

// A line is ID:CONTROLLERS:/GROUP; version 2 has ID 0 and no controllers.
static uint64_t
line_limit(const char *line, size_t len, const char *mount)
{
    char sub[PATH_MAX];
    const char *first = memchr(line, ':', len);
    const char *second = first != NULL ? memchr(first + 1, ':', len - (size_t)(first + 1 - line)) : NULL;
    if (second == NULL || second[1] != '/')
        return UINT64_MAX;
    const char *group = second + 1;
    size_t group_len = len - (size_t)(group - line);
    if (group_len == 1)
        group_len = 0; // the root
    if (group_len > PATH_MAX / 2 || strlen(mount) > PATH_MAX / 4)
        return UINT64_MAX;
    if (second == first + 1) {
        // Beside version 1 ("hybrid") it is mounted a step lower.
        snprintf(sub, sizeof sub, "%s/unified", mount);
        return LV_MIN(group_limit(mount, group, group_len, "memory.max"),
                      group_limit(sub, group, group_len, "memory.max"));
    }
    if (!is_in_list(first + 1, (size_t)(second - first - 1), "memory"))
        return UINT64_MAX;
    snprintf(sub, sizeof sub, "%s/memory", mount);
    return group_limit(sub, group, group_len, "memory.limit_in_bytes");
}

uint64_t
resources_cgroup_limit(const char *table, const char *mount)
{
    uint64_t limit = UINT64_MAX;
    while (*table != '\0') {
        size_t len = strcspn(table, "\n");
        limit = LV_MIN(limit, line_limit(table, len, mount));
        table += len + (table[len] == '\n' ? 1 : 0);
    }
    return limit;
}

uint64_t
resources_total_bytes(void)
{
    static const char mount[] = "/sys/fs/cgroup";
    char table[TABLE_BYTES_MAX];
    long pages = sysconf(_SC_PHYS_PAGES), page_size = sysconf(_SC_PAGESIZE);
    uint64_t total = pages > 0 && page_size > 0 ? (uint64_t)pages * (uint64_t)page_size : UINT64_MAX;
    FILE *f = fopen("/proc/self/cgroup", "re");
    if (f == NULL)
        return total;
    table[fread(table, 1, sizeof table - 1, f)] = '\0';
    fclose(f);
    return LV_MIN(total, resources_cgroup_limit(table, mount));
}

uint64_t
resources_resident_bytes(void)
{
    char text[128] = "";
    FILE *f = fopen("/proc/self/statm", "re");
    if (f == NULL)
        return 0;
    const char *got = fgets(text, sizeof text, f);
    fclose(f);
    const char *second = got != NULL ? strchr(text, ' ') : NULL; // pages: size, resident, …
    return second != NULL ? strtoull(second, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

int
resources_disk_free(const char *path, uint64_t *ret_bytes)
{
    struct statvfs fs;
    int rc;
    do
        rc = statvfs(path, &fs);
    while (rc != 0 && errno == EINTR);
    if (rc != 0)
        return err_from_errno(errno);
    *ret_bytes = (uint64_t)fs.f_bavail * (uint64_t)fs.f_frsize;
    return 0;
}
