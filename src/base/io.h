// io.h: the I/O shim: everything the store asks of a file system, as a table of functions, so that a simulator can take its place.
//
// Every function returns 0 or a negative -LE_xxx (errno is read here and nowhere else); outputs are untouched on failure. Paths are
// NUL-terminated and at most IO_PATH_MAX bytes. `read` and `write` may do less than asked without an error (a short count); what goes on
// after one is io_read_all and io_write_all, which the store uses. A name that was created, renamed or unlinked is durable only after
// sync_dir of its folder, bytes and size only after fdatasync or fsync of the file. A failed fdatasync or fsync may have dropped
// the dirty pages: nobody calls it again in the hope that it helps.
// Interrupted calls (EINTR) are repeated inside. The real table may be used by any thread, a descriptor by any thread as in POSIX.
#pragma once

#include <sys/uio.h>

#include "src/base/lv.h"

// LIMIT: bytes of a path, the NUL included.
enum { IO_PATH_MAX = 1024 };
// LIMIT: parts of one write; the kernel's IOV_MAX.
enum { IO_PARTS_MAX = 1024 };

enum io_open_flags {
    IO_READ = 0,         // every file can be read
    IO_WRITE = 1u << 0,  // and written
    IO_CREATE = 1u << 1, // made; -LE_EXISTS when the name is there already
};

struct io_space {
    uint64_t free_bytes; // what this user may still allocate
    uint64_t total_bytes;
};

// One name of a folder, "." and ".." left out; another result than 0 ends the listing and is its result.
typedef int (*io_name_fn)(void *ctx, const char *name);

struct io {
    void *ctx; // the first argument of each
    int (*open)(void *ctx, const char *path, unsigned flags, int *ret_fd);
    int (*close)(void *ctx, int fd);
    int (*read)(void *ctx, int fd, void *to, size_t len, uint64_t offset,
                size_t *ret_len); // 0 bytes: the end
    int (*write)(void *ctx, int fd, const struct iovec *parts, int count, uint64_t offset, size_t *ret_len);
    int (*fdatasync)(void *ctx, int fd);
    int (*fsync)(void *ctx, int fd);
    // The whole file system on which `fd` lies: bytes, sizes and names of all that was written on it before. For many files at once; `fd` has
    // been opened before they were written (Linux 5.8 and later then report their errors).
    int (*sync_all)(void *ctx, int fd);
    int (*truncate)(void *ctx, int fd, uint64_t size);
    int (*allocate)(void *ctx, int fd, uint64_t offset, uint64_t len); // reserves blocks and grows the file
    int (*size)(void *ctx, int fd, uint64_t *ret_size);
    int (*rename)(void *ctx, const char *from, const char *to);
    int (*unlink)(void *ctx, const char *path); // a file, or a folder that is empty
    int (*mkdir)(void *ctx, const char *path);
    int (*sync_dir)(void *ctx, const char *path);
    int (*list)(void *ctx, const char *path, io_name_fn fn, void *fn_ctx);
    int (*space)(void *ctx, const char *path, struct io_space *ret_space);
};

// The operating system's.
const struct io *io_system(void);

// What the system's table has done since the process began. Any thread.
struct io_work {
    uint64_t calls, bytes, time_ns;
};
struct io_stats {
    struct io_work reads, writes, syncs;
};
void io_system_stats(struct io_stats *ret);

// Writes all of it, going on after short counts; a call that writes nothing is -LE_IO. `parts` is used up.
LV_MUST_USE int io_write_all(const struct io *io, int fd, struct iovec *parts, int count, uint64_t offset);
// Reads until `len` bytes are there or the file ends; *ret_len says how many.
LV_MUST_USE int io_read_all(const struct io *io, int fd, void *to, size_t len, uint64_t offset,
                            size_t *ret_len);

#ifdef LV_TEST_HOOKS
// crash-at: the process ends as by SIGKILL right after the n-th next call of the system's table (0: off). What it wrote stays.
void io_test_crash_at(uint64_t n);
uint64_t io_test_calls(void); // made so far
#endif
