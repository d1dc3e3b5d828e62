// cut_image.c: what a power cut leaves of a data directory: BEFORE RECORD SEED AFTER.
//
// BEFORE is the directory as it was when everything in it was durable, RECORD what was done since (record.h), AFTER the directory that
// is made: BEFORE with RECORD carried out on the disk of tests/sim/powercut.h, which then loses power. SEED says what is lost, and torn;
// `none`: nothing, so that AFTER has to be what the daemon left behind.
// Prints a line that says how much was recorded. Status 0, or 2 when something about it cannot be.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/base/err.h"
#include "src/base/mem.h"
#include "tests/fault/record.h"
#include "tests/sim/powercut.h"

enum { FDS_MAX = 65536, PATH_BYTES = 2048 };

static struct powercut *disk;
static const struct io *io;
static int fds[FDS_MAX]; // of the disk + 1, by the daemon's number; 0: not open

static void __attribute__((noreturn, format(printf, 1, 2))) die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
    exit(2);
}

static void
must(int err, const char *what)
{
    if (err != 0)
        die("%s: %s", what, err_text(err));
}

// --- into the disk ---

static void
load_file(const char *from, const char *to)
{
    struct stat st;
    int fd = open(from, O_RDONLY | O_CLOEXEC), copy;
    if (fd < 0 || fstat(fd, &st) != 0)
        die("%s cannot be read", from);
    char *bytes = mem_xalloc((size_t)st.st_size + 1);
    if (read(fd, bytes, (size_t)st.st_size) != st.st_size)
        die("%s is shorter than it was", from);
    close(fd);
    must(io->open(io->ctx, to, IO_WRITE | IO_CREATE, &copy), to);
    struct iovec part = {.iov_base = bytes, .iov_len = (size_t)st.st_size};
    if (st.st_size > 0)
        must(io_write_all(io, copy, &part, 1, 0), to);
    must(io->fsync(io->ctx, copy), to);
    must(io->close(io->ctx, copy), to);
    mem_free(bytes);
}

static void
load_folder(const char *from, const char *to)
{
    DIR *folder = opendir(from);
    if (folder == NULL)
        die("%s cannot be listed", from);
    for (struct dirent *e; (e = readdir(folder)) != NULL;) {
        char path[PATH_BYTES], copy[PATH_BYTES];
        struct stat st;
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        snprintf(path, sizeof path, "%s/%s", from, e->d_name);
        snprintf(copy, sizeof copy, "%s%s%s", to, *to != '\0' ? "/" : "", e->d_name);
        if (lstat(path, &st) != 0)
            die("%s is gone", path);
        if (S_ISDIR(st.st_mode)) {
            must(io->mkdir(io->ctx, copy), copy);
            load_folder(path, copy);
        } else if (S_ISREG(st.st_mode)) {
            load_file(path, copy);
        }
    }
    closedir(folder);
    must(io->sync_dir(io->ctx, to), to);
}

// --- the record ---

static int
fd_of(const struct record *r)
{
    if (r->fd >= FDS_MAX || fds[r->fd] == 0)
        die("descriptor %u is not open", r->fd);
    return fds[r->fd] - 1;
}

static void
replay_open(const struct record *r, const char *path)
{
    int fd;
    if (r->fd >= FDS_MAX)
        die("descriptor %u", r->fd);
    int err = io->open(io->ctx, path, IO_WRITE, &fd);
    if (err == -LE_NOTFOUND)
        err = io->open(io->ctx, path, IO_WRITE | IO_CREATE, &fd);
    must(err, path);
    fds[r->fd] = fd + 1;
}

static void
replay(const struct record *r, char *text)
{
    struct iovec part = {.iov_base = text, .iov_len = r->len};
    switch ((enum record_kind)r->kind) {
    case RECORD_OPEN: replay_open(r, text); break;
    case RECORD_CLOSE:
        if (r->fd < FDS_MAX && fds[r->fd] != 0) { // a folder's is not recorded
            must(io->close(io->ctx, fds[r->fd] - 1), "close");
            fds[r->fd] = 0;
        }
        break;
    case RECORD_WRITE: must(io_write_all(io, fd_of(r), &part, 1, r->offset), "write"); break;
    case RECORD_TRUNCATE: must(io->truncate(io->ctx, fd_of(r), r->offset), "truncate"); break;
    case RECORD_ALLOCATE: must(io->allocate(io->ctx, fd_of(r), r->offset, r->size), "allocate"); break;
    case RECORD_SYNC: must(io->fsync(io->ctx, fd_of(r)), "sync"); break;
    case RECORD_SYNC_ALL: {
        int fd; // the daemon's may be a folder's
        int err = io->open(io->ctx, "lock", IO_READ, &fd);
        must(err, "lock");
        must(io->sync_all(io->ctx, fd), "sync all");
        must(io->close(io->ctx, fd), "close");
        break;
    }
    case RECORD_SYNC_DIR: must(io->sync_dir(io->ctx, text), text); break;
    case RECORD_RENAME: must(io->rename(io->ctx, text, text + strlen(text) + 1), text); break;
    case RECORD_UNLINK: {
        int err = io->unlink(io->ctx, text);
        if (err != -LE_NOTFOUND) // a socket
            must(err, text);
        break;
    }
    case RECORD_MKDIR: must(io->mkdir(io->ctx, text), text); break;
    default: die("record of kind %u", r->kind);
    }
}

static void
replay_all(const char *path)
{
    FILE *f = fopen(path, "rbe");
    struct record r;
    uint64_t counts[16] = {0}, bytes = 0;
    if (f == NULL)
        die("%s cannot be read", path);
    while (fread(&r, sizeof r, 1, f) == 1) {
        if (r.kind >= LV_ARRAY_LEN(counts) || r.len > (uint64_t)1 << 32)
            die("record of kind %u with %llu bytes", r.kind, (unsigned long long)r.len);
        char *text = mem_xalloc((size_t)r.len + 1);
        text[r.len] = '\0';
        bool is_whole = fread(text, 1, (size_t)r.len, f) == r.len; // otherwise the kill came in between
        if (is_whole) {
            replay(&r, text);
            counts[r.kind]++;
            bytes += r.kind == RECORD_WRITE ? r.len : 0;
        }
        mem_free(text);
        if (!is_whole)
            break;
    }
    fclose(f);
    printf("%llu writes, %llu bytes, %llu syncs\n", (unsigned long long)counts[RECORD_WRITE],
           (unsigned long long)bytes,
           (unsigned long long)(counts[RECORD_SYNC] + counts[RECORD_SYNC_DIR] + counts[RECORD_SYNC_ALL]));
}

// --- out of the disk ---

struct folder {
    const char *from, *to;
};

static void
save_file(const char *from, const char *to)
{
    uint64_t size;
    size_t len;
    int fd;
    must(io->open(io->ctx, from, IO_READ, &fd), from);
    must(io->size(io->ctx, fd, &size), from);
    char *bytes = mem_xalloc((size_t)size + 1);
    must(io_read_all(io, fd, bytes, (size_t)size, 0, &len), from);
    int copy = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    for (size_t done = 0; done < len;) {
        ssize_t n = write(copy, bytes + done, len - done);
        if (n <= 0)
            die("%s cannot be written: %s", to, strerror(errno));
        done += (size_t)n;
    }
    close(copy);
    must(io->close(io->ctx, fd), from);
    mem_free(bytes);
}

static int
save_name(void *ctx, const char *name)
{
    const struct folder *f = ctx;
    char from[PATH_BYTES], to[PATH_BYTES];
    snprintf(from, sizeof from, "%s%s%s", f->from, *f->from != '\0' ? "/" : "", name);
    snprintf(to, sizeof to, "%s/%s", f->to, name);
    struct folder below = {from, to};
    int fd;
    // There is no other way to ask whether it is a folder.
    int err = io->open(io->ctx, from, IO_READ, &fd);
    if (err == 0) {
        must(io->close(io->ctx, fd), from);
        save_file(from, to);
        return 0;
    }
    if (mkdir(to, 0700) != 0)
        die("%s cannot be made", to);
    return io->list(io->ctx, from, save_name, &below);
}

int
main(int argc, char **argv)
{
    if (argc != 5)
        die("usage: cut_image BEFORE RECORD SEED AFTER");
    disk = powercut_new(strtoull(argv[3], NULL, 10));
    io = powercut_io(disk);
    load_folder(argv[1], "");
    replay_all(argv[2]);
    if (strcmp(argv[3], "none") != 0)
        powercut_cut(disk);
    if (mkdir(argv[4], 0700) != 0)
        die("%s cannot be made", argv[4]);
    must(io->list(io->ctx, "", save_name, &(struct folder){"", argv[4]}), argv[4]);
    powercut_free(disk);
    return 0;
}
