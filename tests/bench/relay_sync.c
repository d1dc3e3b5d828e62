// relay_sync.c: two buffers change places: one gathers, the other is with the thread from relay_sync_start to relay_sync_is_done.
#include "tests/bench/relay_sync.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "src/base/buf.h"
#include "src/base/mem.h"

enum { GROUP_BYTES_MAX = 64 << 20 };

struct relay_sync {
    int fd, done_fd, work_fd; // eventfds: the thread → the loop, and back
    uint64_t ring_bytes, offset;
    struct buf gathering, writing;
    bool is_writing; // the thread has `writing`
    bool is_done;    // and gave it back
};

static void
die(const char *what)
{
    fprintf(stderr, "relay: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void
write_all(struct relay_sync *s, const uint8_t *bytes, size_t len)
{
    while (len > 0) {
        size_t part = LV_MIN(len, (size_t)(s->ring_bytes - s->offset));
        ssize_t n = pwrite(s->fd, bytes, part, (off_t)s->offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            die("writing");
        bytes += n;
        len -= (size_t)n;
        s->offset = (s->offset + (uint64_t)n) % s->ring_bytes;
    }
}

static void
wait_for(int fd)
{
    uint64_t count;
    while (read(fd, &count, sizeof count) != sizeof count)
        if (errno != EINTR)
            die("eventfd");
}

static void
signal_to(int fd)
{
    uint64_t one = 1;
    if (write(fd, &one, sizeof one) != sizeof one)
        die("eventfd");
}

static void *
thread_main(void *ctx)
{
    struct relay_sync *s = ctx;
    for (;;) {
        wait_for(s->work_fd);
        write_all(s, s->writing.ptr, s->writing.len);
        if (fdatasync(s->fd) != 0)
            die("fdatasync");
        signal_to(s->done_fd);
    }
    return NULL;
}

struct relay_sync *
relay_sync_new(const char *path, uint64_t ring_bytes)
{
    static const uint8_t zeros[1 << 20];
    struct relay_sync *s = mem_xcalloc(1, sizeof *s);
    pthread_t thread;
    s->ring_bytes = ring_bytes;
    s->fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    s->done_fd = eventfd(0, EFD_CLOEXEC);
    s->work_fd = eventfd(0, EFD_CLOEXEC);
    if (s->fd < 0 || s->done_fd < 0 || s->work_fd < 0)
        die(path);
    for (uint64_t at = 0; at < ring_bytes; at += sizeof zeros)
        write_all(s, zeros, sizeof zeros);
    if (fsync(s->fd) != 0)
        die("fsync");
    if (pthread_create(&thread, NULL, thread_main, s) != 0)
        die("pthread_create");
    pthread_detach(thread);
    return s;
}

int
relay_sync_fd(const struct relay_sync *s)
{
    return s->done_fd;
}

static void
take_back(struct relay_sync *s)
{
    wait_for(s->done_fd);
    s->is_writing = false;
    s->is_done = true;
}

void
relay_sync_add(struct relay_sync *s, const void *bytes, size_t len)
{
    if (s->gathering.len + len > GROUP_BYTES_MAX && s->is_writing)
        take_back(s); // told by the next relay_sync_is_done
    buf_append(&s->gathering, bytes, len);
    if (s->gathering.failed)
        die("memory");
}

bool
relay_sync_is_done(struct relay_sync *s)
{
    struct pollfd ready = {.fd = s->done_fd, .events = POLLIN};
    if (s->is_writing && poll(&ready, 1, 0) == 1)
        take_back(s);
    bool is_done = s->is_done;
    s->is_done = false;
    return is_done;
}

bool
relay_sync_start(struct relay_sync *s)
{
    if (s->is_writing || s->is_done || s->gathering.len == 0)
        return false;
    struct buf empty = s->writing;
    s->writing = s->gathering;
    s->gathering = empty;
    buf_reset(&s->gathering);
    s->is_writing = true;
    signal_to(s->work_fd);
    return true;
}
