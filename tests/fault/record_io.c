// record_io.c: loaded in front of the C library (LD_PRELOAD): writes down what a daemon and its SQLite ask of the file system.
//
// RECORD_DIR is the data directory; other files are let through unseen. RECORD_FILE is where the calls go (record.h), none: they are only
// counted. RECORD_KILL is CALLS:PART:N: the process ends as by SIGKILL right after the N-th call of these kinds (letters, see `letters`) on
// a path that has PART in it (*: any). A call and its record are one step under a lock, so that the order of the records is a true order: what is
// recorded behind a sync was not covered by it. What SQLite does through a mapping (-shm) is not seen: it is made anew at every start.
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tests/fault/record.h"

enum { FDS_MAX = 65536, PATH_BYTES = 1024 };

// By kind: (c)reate, -, (w)rite, (t)runcate, (a)llocate, (s)ync, (s)ync, (s)ync, (r)ename, (u)nlink, (m)kdir.
static const char letters[] = "?c?wtasssrum";

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char dir[PATH_BYTES], kill_letters[16], kill_part[64];
static size_t dir_len;
static int record_fd = -1;
static unsigned long kill_at; // 0: never
static char *paths[FDS_MAX];  // of what is open below `dir`, relative to it; under the lock

static void *
next(const char *name)
{
    void *fn = dlsym(RTLD_NEXT, name);
    if (fn == NULL)
        abort();
    return fn;
}

#define REAL(name)       ((__typeof__(&name))(uintptr_t)next(NAME_OF(name)))
#define NAME_OF(name)    SYMBOL_##name
#define SYMBOL_open      "open64"
#define SYMBOL_close     "close"
#define SYMBOL_write     "write"
#define SYMBOL_pwrite    "pwrite64"
#define SYMBOL_pwritev   "pwritev64"
#define SYMBOL_ftruncate "ftruncate64"
#define SYMBOL_fallocate "fallocate64"
#define SYMBOL_fdatasync "fdatasync"
#define SYMBOL_fsync     "fsync"
#define SYMBOL_syncfs    "syncfs"
#define SYMBOL_rename    "rename"
#define SYMBOL_unlink    "unlink"
#define SYMBOL_remove    "remove"
#define SYMBOL_rmdir     "rmdir"
#define SYMBOL_mkdir     "mkdir"

static void __attribute__((constructor)) begin(void)
{
    const char *data = getenv("RECORD_DIR"), *file = getenv("RECORD_FILE"), *plan = getenv("RECORD_KILL");
    if (data == NULL)
        return;
    dir_len = (size_t)snprintf(dir, sizeof dir, "%s", data);
    if (file != NULL)
        record_fd = REAL(open)(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (plan != NULL && sscanf(plan, "%15[a-z]:%63[^:]:%lu", kill_letters, kill_part, &kill_at) != 3)
        abort();
    if (strcmp(kill_part, "*") == 0)
        kill_part[0] = '\0';
}

// NULL: not below the data directory.
static const char *
below(const char *path)
{
    if (dir_len == 0 || strncmp(path, dir, dir_len) != 0 || (path[dir_len] != '/' && path[dir_len] != '\0'))
        return NULL;
    path += dir_len;
    return path + strspn(path, "/");
}

// Under the lock, after the call. `path` is what the plan looks at.
static void
put(const struct record *r, const char *path, const struct iovec *text, int count)
{
    struct iovec head = {.iov_base = (void *)(uintptr_t)r, .iov_len = sizeof *r};
    uint64_t left = r->len;
    if (record_fd >= 0 && REAL(write)(record_fd, head.iov_base, head.iov_len) != (ssize_t)sizeof *r)
        abort();
    for (int i = 0; i < count && record_fd >= 0 && left > 0; i++) {
        size_t len = text[i].iov_len < left ? text[i].iov_len : (size_t)left;
        for (size_t done = 0; done < len;) {
            ssize_t n = REAL(write)(record_fd, (const char *)text[i].iov_base + done, len - done);
            if (n <= 0)
                abort();
            done += (size_t)n;
        }
        left -= len;
    }
    bool is_meant =
        kill_at != 0 && strchr(kill_letters, letters[r->kind]) != NULL && strstr(path, kill_part) != NULL;
    if (is_meant && --kill_at == 0)
        raise(SIGKILL);
}

static void
put_text(enum record_kind kind, int fd, const char *path)
{
    struct record r = {.kind = (uint32_t)kind, .fd = (uint32_t)fd, .len = strlen(path)};
    put(&r, path, &(struct iovec){.iov_base = (void *)(uintptr_t)path, .iov_len = r.len}, 1);
}

static void
put_plain(enum record_kind kind, int fd, uint64_t offset, uint64_t size)
{
    put(&(struct record){.kind = (uint32_t)kind, .fd = (uint32_t)fd, .offset = offset, .size = size},
        paths[fd], NULL, 0);
}

static const char *
path_of(int fd)
{
    return fd >= 0 && fd < FDS_MAX ? paths[fd] : NULL;
}

// --- descriptors ---

int
open(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    mode_t mode = (flags & O_CREAT) != 0 ? va_arg(args, mode_t) : 0;
    va_end(args);
    pthread_mutex_lock(&lock);
    int fd = REAL(open)(path, flags, mode), saved = errno;
    const char *name = below(path);
    if (fd >= 0 && fd < FDS_MAX && name != NULL) {
        struct stat st;
        free(paths[fd]);
        paths[fd] = strdup(name);
        // Folders are only synced.
        if (paths[fd] == NULL || (flags & O_TRUNC) != 0)
            abort();
        if (fstat(fd, &st) != 0 || !S_ISDIR(st.st_mode)) // a disk that is gone says nothing
            put_text(RECORD_OPEN, fd, name);
    }
    pthread_mutex_unlock(&lock);
    errno = saved;
    return fd;
}

int
close(int fd)
{
    pthread_mutex_lock(&lock);
    if (path_of(fd) != NULL) {
        put_plain(RECORD_CLOSE, fd, 0, 0);
        free(paths[fd]);
        paths[fd] = NULL;
    }
    int rc = REAL(close)(fd), saved = errno;
    pthread_mutex_unlock(&lock);
    errno = saved;
    return rc;
}

// --- bytes ---

static void
wrote(int fd, ssize_t n, uint64_t offset, const struct iovec *parts, int count)
{
    struct record r = {.kind = RECORD_WRITE, .fd = (uint32_t)fd, .offset = offset, .len = (uint64_t)n};
    if (n > 0)
        put(&r, paths[fd], parts, count);
}

ssize_t
write(int fd, const void *bytes, size_t len)
{
    if (path_of(fd) == NULL) // the log, sockets
        return REAL(write)(fd, bytes, len);
    pthread_mutex_lock(&lock);
    off_t offset = lseek(fd, 0, SEEK_CUR);
    ssize_t n = REAL(write)(fd, bytes, len);
    int saved = errno;
    wrote(fd, n, (uint64_t)offset, &(struct iovec){.iov_base = (void *)(uintptr_t)bytes, .iov_len = len}, 1);
    pthread_mutex_unlock(&lock);
    errno = saved;
    return n;
}

ssize_t
pwrite(int fd, const void *bytes, size_t len, off_t offset)
{
    pthread_mutex_lock(&lock);
    ssize_t n = REAL(pwrite)(fd, bytes, len, offset);
    int saved = errno;
    if (path_of(fd) != NULL)
        wrote(fd, n, (uint64_t)offset, &(struct iovec){.iov_base = (void *)(uintptr_t)bytes, .iov_len = len},
              1);
    pthread_mutex_unlock(&lock);
    errno = saved;
    return n;
}

ssize_t
pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
    pthread_mutex_lock(&lock);
    ssize_t n = REAL(pwritev)(fd, parts, count, offset);
    int saved = errno;
    if (path_of(fd) != NULL)
        wrote(fd, n, (uint64_t)offset, parts, count);
    pthread_mutex_unlock(&lock);
    errno = saved;
    return n;
}

// The end of a call that worked or did not, its record between.
#define CALLED(call, record)                                                                                 \
    pthread_mutex_lock(&lock);                                                                               \
    int rc = (call), saved = errno;                                                                          \
    if (rc == 0)                                                                                             \
        record;                                                                                              \
    pthread_mutex_unlock(&lock);                                                                             \
    errno = saved;                                                                                           \
    return rc

#define IF_SEEN(fd, record)                                                                                  \
    do {                                                                                                     \
        if (path_of(fd) != NULL)                                                                             \
            record;                                                                                          \
    } while (0)

int
ftruncate(int fd, off_t size)
{
    CALLED(REAL(ftruncate)(fd, size), IF_SEEN(fd, put_plain(RECORD_TRUNCATE, fd, (uint64_t)size, 0)));
}

int
fallocate(int fd, int mode, off_t offset, off_t size)
{
    CALLED(REAL(fallocate)(fd, mode, offset, size),
           IF_SEEN(fd, put_plain(RECORD_ALLOCATE, fd, (uint64_t)offset, (uint64_t)size)));
}

static void
synced(int fd)
{
    struct stat st;
    if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode))
        put_text(RECORD_SYNC_DIR, fd, paths[fd]);
    else
        put_plain(RECORD_SYNC, fd, 0, 0);
}

int
fdatasync(int fd)
{
    CALLED(REAL(fdatasync)(fd), IF_SEEN(fd, synced(fd)));
}

int
fsync(int fd)
{
    CALLED(REAL(fsync)(fd), IF_SEEN(fd, synced(fd)));
}

int
syncfs(int fd)
{
    CALLED(REAL(syncfs)(fd), IF_SEEN(fd, put_plain(RECORD_SYNC_ALL, fd, 0, 0)));
}

// --- names ---

static void
renamed(const char *from, const char *to)
{
    struct record r = {.kind = RECORD_RENAME, .len = strlen(from) + 1 + strlen(to)};
    struct iovec text[] = {{.iov_base = (void *)(uintptr_t)from, .iov_len = strlen(from) + 1},
                           {.iov_base = (void *)(uintptr_t)to, .iov_len = strlen(to)}};
    put(&r, to, text, 2);
}

int
rename(const char *from, const char *to)
{
    const char *a = below(from), *b = below(to);
    CALLED(REAL(rename)(from, to), if (a != NULL && b != NULL) renamed(a, b));
}

int
unlink(const char *path)
{
    const char *name = below(path);
    CALLED(REAL(unlink)(path), if (name != NULL) put_text(RECORD_UNLINK, -1, name));
}

int
rmdir(const char *path)
{
    const char *name = below(path);
    CALLED(REAL(rmdir)(path), if (name != NULL) put_text(RECORD_UNLINK, -1, name));
}

int
remove(const char *path)
{
    const char *name = below(path);
    CALLED(REAL(remove)(path), if (name != NULL) put_text(RECORD_UNLINK, -1, name));
}

int
mkdir(const char *path, mode_t mode)
{
    const char *name = below(path);
    CALLED(REAL(mkdir)(path, mode), if (name != NULL) put_text(RECORD_MKDIR, -1, name));
}
