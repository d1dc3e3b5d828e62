// daemon_stages.c: the stages of the process itself: log, limits, data directory, crew, listeners.
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/daemon.h"

static int
status_of_errno(int errno_value, int otherwise)
{
    return errno_value == EACCES || errno_value == EPERM || errno_value == EROFS ? (int)DAEMON_NOPERM
                                                                                 : otherwise;
}

static const char *
errno_text(int errno_value, char *text, size_t size)
{
    return strerror_r(errno_value, text, size);
}

// ---- Log --------------------

static int
log_start(struct daemon *d, struct buf *problem)
{
    int error = log_configure(&d->config->log);
    if (error == 0) {
        daemon_log_lines(LOG_WARNING, d->warnings, "configuration: ");
        for (size_t i = 0; i < d->config->file_count; i++)
            log_info(LOG_DEFAULT, "configuration: read %s", d->config->files[i]);
        return 0;
    }
    buf_printf(problem, "log.file: %s cannot be opened: %s", d->config->log.file, err_text(error));
    return error == -LE_ACCESS ? (int)DAEMON_NOPERM : (int)DAEMON_CANTCREAT;
}

// Reopens the file too, also when nothing has changed: logrotate has moved it away.
static void
log_reload(struct daemon *d, const struct config *old)
{
    int error = log_configure(&d->config->log);
    if (error != 0)
        log_error(LOG_DEFAULT, "log.file: %s cannot be opened: %s; logging goes on as before",
                  d->config->log.file, err_text(error));
}

const struct daemon_stage daemon_stage_log = {.name = "log", .start = log_start, .reload = log_reload};

// ---- File descriptors --------------------

// A connection is one descriptor. A start with few works, and ends badly under load: say it now.
enum { FILES_WANTED = 65536, FILES_ENOUGH = 1048576 };

static int
limits_start(struct daemon *d, struct buf *problem)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        log_warn(LOG_DEFAULT, "limits: the number of file descriptors is unknown");
        return 0;
    }
    struct rlimit wanted = {.rlim_cur = FILES_ENOUGH,
                            .rlim_max = LV_MAX(limit.rlim_max, (rlim_t)FILES_ENOUGH)};
    // Only a privileged process may raise the hard limit; any may go up to it.
    if (limit.rlim_max >= FILES_ENOUGH || setrlimit(RLIMIT_NOFILE, &wanted) != 0) {
        wanted = (struct rlimit){.rlim_cur = limit.rlim_max, .rlim_max = limit.rlim_max};
        (void)setrlimit(RLIMIT_NOFILE, &wanted); // what it came to is asked below
    }
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        if (limit.rlim_cur < FILES_WANTED)
            log_warn(LOG_DEFAULT,
                     "limits: only %" PRIu64
                     " file descriptors (LimitNOFILE, ulimit -n): about as many connections are "
                     "possible; %d or more are recommended",
                     (uint64_t)limit.rlim_cur, FILES_WANTED);
        else
            log_info(LOG_DEFAULT, "limits: %" PRIu64 " file descriptors", (uint64_t)limit.rlim_cur);
    }
    return 0;
}

const struct daemon_stage daemon_stage_limits = {.name = "limits", .start = limits_start};

// ---- Data directory --------------------

static int
make_data_dir(const char *dir, struct buf *problem)
{
    char reason[128];
    struct stat st;
    if (mkdir(dir, 0700) != 0 && errno != EEXIST) {
        int saved = errno;
        buf_printf(problem, "data directory %s cannot be made: %s", dir,
                   errno_text(saved, reason, sizeof reason));
        return status_of_errno(saved, DAEMON_CANTCREAT);
    }
    if (stat(dir, &st) != 0) {
        int saved = errno;
        buf_printf(problem, "data directory %s cannot be looked at: %s", dir,
                   errno_text(saved, reason, sizeof reason));
        return status_of_errno(saved, DAEMON_CANTCREAT);
    }
    if (!S_ISDIR(st.st_mode)) {
        buf_printf(problem, "data directory %s is not a directory", dir);
        return DAEMON_CANTCREAT;
    }
    if (st.st_uid != geteuid() && geteuid() != 0) {
        buf_printf(problem, "data directory %s belongs to user %u, not to the one leveretd runs as (%u)", dir,
                   (unsigned)st.st_uid, (unsigned)geteuid());
        return DAEMON_NOPERM;
    }
    // Password hashes and messages are in it.
    if ((st.st_mode & 077) != 0) {
        if (chmod(dir, 0700) == 0)
            log_notice(LOG_DEFAULT, "data directory %s: was open to others (mode %04o), is 0700 now", dir,
                       (unsigned)(st.st_mode & 07777));
        else
            log_warn(LOG_DEFAULT, "data directory %s: is open to others (mode %04o)", dir,
                     (unsigned)(st.st_mode & 07777));
    }
    return 0;
}

// The process that holds the lock wrote its id into the file.
static long
lock_holder(int fd)
{
    char text[32] = "";
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    return n > 0 ? strtol(text, NULL, 10) : 0;
}

static int
lock_failed(int fd, const char *dir, int errno_value, struct buf *problem)
{
    char reason[128];
    if (errno_value != EWOULDBLOCK) {
        buf_printf(problem, "data directory %s cannot be locked: %s", dir,
                   errno_text(errno_value, reason, sizeof reason));
        return status_of_errno(errno_value, DAEMON_CANTCREAT);
    }
    long holder = lock_holder(fd);
    if (holder > 0)
        buf_printf(problem, "data directory %s is in use by process %ld", dir, holder);
    else
        buf_printf(problem, "data directory %s is in use by another process", dir);
    return DAEMON_TEMPFAIL;
}

static int
lock_data_dir(struct daemon *d, const char *dir, struct buf *problem)
{
    char path[4200];
    char pid[32];
    snprintf(path, sizeof path, "%s/lock", dir);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        int saved = errno;
        return lock_failed(-1, dir, saved == EWOULDBLOCK ? EIO : saved, problem);
    }
    // The lock is the kernel's: it goes with the process however it ends, a file left behind locks nobody
    // out.
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        int status = lock_failed(fd, dir, errno, problem);
        close(fd);
        return status;
    }
    int len = snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
    if (ftruncate(fd, 0) != 0 || pwrite(fd, pid, (size_t)len, 0) != len) {
        int status = lock_failed(fd, dir, errno == EWOULDBLOCK ? EIO : errno, problem);
        close(fd);
        return status;
    }
    d->lock_fd = fd;
    return 0;
}

static int
data_dir_start(struct daemon *d, struct buf *problem)
{
    int status = make_data_dir(d->config->data_dir, problem);
    return status != 0 ? status : lock_data_dir(d, d->config->data_dir, problem);
}

static void
data_dir_stop(struct daemon *d)
{
    // The file stays: removing it could remove the lock of a successor that has it open.
    if (ftruncate(d->lock_fd, 0) != 0)
        log_warn(LOG_DEFAULT, "data directory %s: the lock file cannot be emptied", d->config->data_dir);
    close(d->lock_fd);
    d->lock_fd = -1;
}

const struct daemon_stage daemon_stage_data_dir = {
    .name = "data directory", .start = data_dir_start, .stop = data_dir_stop};

// ---- Crew --------------------

static void
crew_stage_stop(struct daemon *d)
{
    acceptor_free(d->acceptor);
    d->acceptor = NULL;
    crew_free(d->crew);
    d->crew = NULL;
    d->main = NULL;
}

static int
crew_stage_start(struct daemon *d, struct buf *problem)
{
    d->crew = crew_new(&(struct crew_config){
        .n_workers = d->config->workers,
        .chaos_seed = d->config->test_mailbox_delay_seed,
    });
    d->main = crew_extra_member(d->crew, CREW_MAIN);
    // Addresses are bound before the modules start: a port in use is told at once, not after a long recovery.
    d->acceptor = acceptor_new(d->main, d->config);
    if (d->acceptor == NULL) {
        crew_stage_stop(d);
        buf_append_str(problem, "out of memory");
        return DAEMON_SOFTWARE;
    }
    int error = acceptor_bind(d->acceptor, problem);
    if (error != 0)
        crew_stage_stop(d);
    switch (error) {
    case 0: return 0;
    case -LE_ACCESS: return DAEMON_NOPERM;
    case -LE_INUSE:
    case -LE_NOTFOUND: return DAEMON_UNAVAILABLE;
    default: return DAEMON_OSERR;
    }
}

const struct daemon_stage daemon_stage_crew = {
    .name = "crew", .start = crew_stage_start, .stop = crew_stage_stop};

// ---- Listeners --------------------

static int
listeners_run(struct daemon *d, struct buf *problem)
{
    // A daemon without a protocol module has nothing to listen for.
    if (d->sink == NULL)
        return 0;
    int error = acceptor_listen(d->acceptor, d->sink, problem);
    if (error != 0)
        return error == -LE_ACCESS ? (int)DAEMON_NOPERM : (int)DAEMON_UNAVAILABLE;
    for (int i = 0; i < acceptor_listener_count(d->acceptor); i++)
        log_info(LOG_CONNECTION, "listener %s: accepting AMQP 0-9-1 connections",
                 acceptor_address(d->acceptor, i));
    return 0;
}

static void
listeners_drain(struct daemon *d)
{
    acceptor_close(d->acceptor);
}

// Connections count from the moment they were accepted until their worker has let go of them.
static bool
listeners_is_drained(struct daemon *d)
{
    if (d->sink == NULL)
        return true;
    uint64_t count = acceptor_on_the_way(d->acceptor);
    for (int i = 0; i < d->crew->n_workers; i++)
        count += d->sink->load(d->crew->members[i]);
    return count == 0;
}

const struct daemon_stage daemon_stage_listeners = {
    .name = "listeners", .run = listeners_run, .drain = listeners_drain, .is_drained = listeners_is_drained};
