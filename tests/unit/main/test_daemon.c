// test_daemon.c: start-up order, what goes wrong at start-up, signals, draining and reload.
//
// The daemon runs in a child process, with stages of the test's own behind those of the process; it tells
// what happens through a pipe, a line each. Nothing sleeps: the test waits for lines, with a deadline.
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "src/base/clock.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/daemon.h"

enum { DEADLINE_MS = 20000 };

static char dir[64];      // of this test
static char conf[80];     // its configuration file
static char data_dir[80]; // not made yet
static int tell_fd;       // in the child
static int line_fd;       // in the parent
static atomic_int connections[CREW_WORKERS_MAX];
static bool is_stubborn; // connections do not go at draining

static void tell(const char *fmt, ...) LV_PRINTF(1, 2);

static void
tell(const char *fmt, ...)
{
    char line[256];
    va_list ap;
    va_start(ap, fmt);
    int len = vsnprintf(line, sizeof line - 1, fmt, ap);
    va_end(ap);
    line[len] = '\n';
    if (write(tell_fd, line, (size_t)len + 1) != len + 1)
        _exit(99);
}

// ---- A module --------------------

static atomic_int open_fds[64]; // 0: none; partner: workers store, the main thread closes
static atomic_int open_count;

static void
deliver(struct worker *to, int fd, const struct sockaddr_storage *peer, const struct sockaddr_storage *local,
        int index)
{
    atomic_fetch_add(&connections[to->index], 1);
    atomic_store(&open_fds[atomic_fetch_add(&open_count, 1)], fd);
    tell("delivered");
}

static uint32_t
load(struct worker *w)
{
    return (uint32_t)atomic_load(&connections[w->index]);
}

static const struct acceptor_sink sink = {deliver, load};

static int
module_start(struct daemon *d, struct buf *problem)
{
    assert_non_null(d->crew);
    assert_false(d->is_running);
    d->sink = &sink;
    tell("start");
    return 0;
}

static int
module_run(struct daemon *d, struct buf *problem)
{
    assert_true(d->is_running);
    tell("run");
    return 0;
}

static void
module_reload(struct daemon *d, const struct config *old)
{
    tell("reload %u -> %u, workers %d", old->heartbeat_s, d->config->heartbeat_s, d->config->workers);
}

// A real module's workers close what they have; here the main thread does.
static void
module_drain(struct daemon *d)
{
    tell("drain");
    if (is_stubborn)
        return;
    for (int i = 0; i < atomic_load(&open_count); i++)
        close(atomic_load(&open_fds[i]));
    for (int i = 0; i < CREW_WORKERS_MAX; i++)
        atomic_store(&connections[i], 0);
}

static void
module_stop(struct daemon *d)
{
    assert_false(d->is_running);
    tell("stop");
}

static int
failing_start(struct daemon *d, struct buf *problem)
{
    buf_append_str(problem, "this module never starts");
    return DAEMON_OSERR;
}

static int
listening_run(struct daemon *d, struct buf *problem)
{
    tell("port %u", acceptor_port(d->acceptor, 0));
    return 0;
}

// ---- Child and parent --------------------

enum variant { VARIANT_WHOLE, VARIANT_FAILING };

static _Noreturn void
child(const char *const *options, size_t option_count, enum variant variant)
{
    const struct daemon_stage module = {.name = "module",
                                        .start = module_start,
                                        .run = module_run,
                                        .reload = module_reload,
                                        .drain = module_drain,
                                        .stop = module_stop};
    const struct daemon_stage failing = {.name = "failing", .start = failing_start};
    const struct daemon_stage told = {.name = "told", .run = listening_run};
    const struct daemon_stage stages[] = {daemon_stage_log,
                                          daemon_stage_limits,
                                          daemon_stage_data_dir,
                                          daemon_stage_crew,
                                          module,
                                          daemon_stage_listeners,
                                          variant == VARIANT_FAILING ? failing : told};
    const char *const files[] = {conf};
    struct buf problems = BUF_INIT;
    struct buf warnings = BUF_INIT;
    struct daemon_config dc = {
        .input = {.files = files,
                  .file_count = 1,
                  .options = options,
                  .option_count = option_count,
                  .data_dir = data_dir,
                  .hostname = "h"},
        .stages = stages,
        .stage_count = LV_ARRAY_LEN(stages),
    };
    if (config_load(&dc.input, &dc.config, &problems, &warnings) != 0) {
        tell("configuration: %s", buf_cstr(&problems));
        _exit(DAEMON_CONFIG);
    }
    buf_fini(&problems);
    buf_fini(&warnings);
    exit(daemon_main(&dc));
}

static pid_t
start(const char *const *options, size_t option_count, enum variant variant)
{
    int pipe_fds[2];
    assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        tell_fd = pipe_fds[1];
        dup2(pipe_fds[1], STDERR_FILENO); // the log comes along
        child(options, option_count, variant);
    }
    close(pipe_fds[1]);
    line_fd = pipe_fds[0];
    return pid;
}

static bool
read_line(char *line, size_t size)
{
    size_t len = 0;
    for (;;) {
        struct pollfd p = {.fd = line_fd, .events = POLLIN};
        char c;
        if (poll(&p, 1, DEADLINE_MS) != 1)
            fail_msg("nothing was told for %d ms", DEADLINE_MS);
        if (read(line_fd, &c, 1) != 1)
            return false;
        if (c == '\n')
            break;
        if (len + 1 < size)
            line[len++] = c;
    }
    line[len] = '\0';
    return true;
}

// Waits for a line that holds the text; returns it.
static const char *
expect(const char *text)
{
    static char line[1024];
    while (read_line(line, sizeof line)) {
        if (strstr(line, text) != NULL)
            return line;
    }
    fail_msg("'%s' was not told", text);
    return NULL;
}

static int
wait_for(pid_t pid)
{
    int status;
    char line[1024];
    while (read_line(line, sizeof line)) // to its end; a sanitizer's report would be in it
        if (strstr(line, "Sanitizer") != NULL)
            fail_msg("%s", line);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    close(line_fd);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void
write_conf(const char *text)
{
    FILE *f = fopen(conf, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static uint16_t
free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    close(fd);
    return ntohs(address.sin_port);
}

static int
connect_to(uint16_t port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static uint16_t
write_default_conf(const char *more)
{
    char text[512];
    uint16_t port = free_port();
    snprintf(text, sizeof text,
             "listeners.tcp.default = 127.0.0.1:%u\nworkers = 2\nlog.console.level = info\n%s", port, more);
    write_conf(text);
    return port;
}

static int
setup(void **state)
{
    snprintf(dir, sizeof dir, "/tmp/leveret-test-XXXXXX");
    if (mkdtemp(dir) == NULL)
        return -1;
    snprintf(conf, sizeof conf, "%s/leveret.conf", dir);
    snprintf(data_dir, sizeof data_dir, "%s/data", dir);
    is_stubborn = false;
    return 0;
}

static int
teardown(void **state)
{
    char path[160];
    const char *const names[] = {"data/lock", "data", "leveret.conf", "notify", "x.log", "x.log.1"};
    for (size_t i = 0; i < LV_ARRAY_LEN(names); i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        remove(path);
    }
    return rmdir(dir);
}

// ---- Tests --------------------

static void
test_start_and_sigterm(void **state)
{
    struct stat st;
    uint16_t port = write_default_conf("");
    pid_t pid = start(NULL, 0, VARIANT_WHOLE);
    expect("start");
    expect("run");
    expect("port ");
    expect("node rabbit@h: started with 2 workers");
    assert_int_equal(stat(data_dir, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    int client = connect_to(port);
    assert_true(client >= 0);
    expect("delivered");
    kill(pid, SIGTERM);
    expect("received SIGTERM");
    expect("drain");
    expect("stop");
    assert_int_equal(wait_for(pid), 0);
    char byte;
    assert_int_equal(read(client, &byte, 1), 0);
    close(client);
    assert_int_equal(connect_to(port), -1);
}

static void
test_sigint_drains_too(void **state)
{
    write_default_conf("");
    pid_t pid = start(NULL, 0, VARIANT_WHOLE);
    expect("started with");
    kill(pid, SIGINT);
    expect("received SIGINT");
    expect("drain");
    assert_int_equal(wait_for(pid), 0);
}

static void
test_draining_is_bounded(void **state)
{
    uint16_t port = write_default_conf("shutdown_timeout = 100ms\n");
    is_stubborn = true;
    pid_t pid = start(NULL, 0, VARIANT_WHOLE);
    expect("started with");
    int client = connect_to(port);
    expect("delivered");
    kill(pid, SIGTERM);
    expect("clients did not close within 100 ms");
    expect("stop");
    assert_int_equal(wait_for(pid), 0);
    close(client);
}

static void
test_second_sigterm_exits_at_once(void **state)
{
    uint16_t port = write_default_conf("shutdown_timeout = 1h\n");
    is_stubborn = true;
    pid_t pid = start(NULL, 0, VARIANT_WHOLE);
    expect("started with");
    int client = connect_to(port);
    expect("delivered");
    kill(pid, SIGTERM);
    expect("drain");
    assert_int_equal(connect_to(port), -1); // nobody new is let in
    kill(pid, SIGTERM);
    expect("second signal, exiting at once");
    assert_int_equal(wait_for(pid), DAEMON_KILLED);
    close(client);
}

static void
test_port_in_use(void **state)
{
    char want[160];
    write_default_conf("");
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    char option[64];
    snprintf(option, sizeof option, "listeners.tcp.default=127.0.0.1:%u", ntohs(address.sin_port));
    pid_t pid = start((const char *const[]){option}, 1, VARIANT_WHOLE);
    snprintf(want, sizeof want,
             "leveretd: listeners.tcp.default: address 127.0.0.1:%u is in use by another process",
             ntohs(address.sin_port));
    expect(want);
    assert_int_equal(wait_for(pid), DAEMON_UNAVAILABLE);
    close(fd);
}

static void
test_data_directory_in_use(void **state)
{
    char want[160];
    write_default_conf("");
    pid_t first = start(NULL, 0, VARIANT_WHOLE);
    expect("started with");
    int first_line_fd = line_fd;
    write_default_conf(""); // another port
    pid_t second = start(NULL, 0, VARIANT_WHOLE);
    snprintf(want, sizeof want, "leveretd: data directory %s is in use by process %d", data_dir, (int)first);
    expect(want);
    assert_int_equal(wait_for(second), DAEMON_TEMPFAIL);
    line_fd = first_line_fd;
    kill(first, SIGTERM);
    assert_int_equal(wait_for(first), 0);
    // The file left behind locks nobody out.
    pid_t third = start(NULL, 0, VARIANT_WHOLE);
    expect("started with");
    kill(third, SIGTERM);
    assert_int_equal(wait_for(third), 0);
}

static void
test_data_directory_that_cannot_be(void **state)
{
    char want[160];
    write_default_conf("");
    FILE *f = fopen(data_dir, "w");
    fclose(f);
    pid_t pid = start(NULL, 0, VARIANT_WHOLE);
    snprintf(want, sizeof want, "leveretd: data directory %s is not a directory", data_dir);
    expect(want);
    assert_int_equal(wait_for(pid), DAEMON_CANTCREAT);
    remove(data_dir);
    pid = start((const char *const[]){"data_dir=/nowhere/at/all"}, 1, VARIANT_WHOLE);
    expect("leveretd: data directory /nowhere/at/all cannot be made: No such file or directory");
    assert_int_equal(wait_for(pid), DAEMON_CANTCREAT);
}

static void
test_data_directory_is_closed_to_others(void **state)
{
    struct stat st;
    write_default_conf("");
    assert_int_equal(mkdir(data_dir, 0755), 0);
    pid_t pid = start(NULL, 0, VARIANT_WHOLE);
    expect("was open to others (mode 0755), is 0700 now");
    expect("started with");
    kill(pid, SIGTERM);
    assert_int_equal(wait_for(pid), 0);
    assert_int_equal(stat(data_dir, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
}

static void
test_log_file_that_cannot_be_opened(void **state)
{
    write_default_conf("log.file = /nowhere/at/all/x.log\n");
    pid_t pid = start(NULL, 0, VARIANT_WHOLE);
    expect("leveretd: log.file: /nowhere/at/all/x.log cannot be opened");
    assert_int_equal(wait_for(pid), DAEMON_CANTCREAT);
}

static void
test_failing_module_stops_the_others(void **state)
{
    write_default_conf("");
    pid_t pid = start(NULL, 0, VARIANT_FAILING);
    expect("start");
    expect("leveretd: this module never starts");
    expect("stop");
    assert_int_equal(wait_for(pid), DAEMON_OSERR);
}

static void
test_reload(void **state)
{
    uint16_t port = write_default_conf("heartbeat = 60\n");
    pid_t pid = start((const char *const[]){"channel_max=77"}, 1, VARIANT_WHOLE);
    expect("started with");
    char text[256];
    snprintf(text, sizeof text,
             "listeners.tcp.default = 127.0.0.1:%u\nworkers = 9\nlog.console.level = info\nheartbeat = 30\n"
             "default_pass = hunter2\n",
             port);
    write_conf(text);
    kill(pid, SIGHUP);
    expect("reload 60 -> 30, workers 2");
    // In the order of the file.
    expect("'workers': 2 -> 9, which needs a restart");
    expect("'heartbeat': 60 -> 30");
    expect("'default_pass': default -> [redacted], which needs a restart");
    expect("reloaded");
    // A broken file changes nothing.
    write_conf("heartbeat = often\n");
    kill(pid, SIGHUP);
    expect("'heartbeat': 'often' is not an integer from 0 to 65535");
    expect("not reloaded");
    kill(pid, SIGTERM);
    assert_int_equal(wait_for(pid), 0);
}

static void
test_sighup_reopens_the_log(void **state)
{
    char path[128];
    char moved[128];
    char more[256];
    snprintf(path, sizeof path, "%s/x.log", dir);
    snprintf(moved, sizeof moved, "%s/x.log.1", dir);
    snprintf(more, sizeof more, "log.file = %s\nlog.console = true\n", path);
    write_default_conf(more);
    pid_t pid = start(NULL, 0, VARIANT_WHOLE);
    expect("started with");
    assert_int_equal(rename(path, moved), 0);
    kill(pid, SIGHUP);
    expect("configuration: reloaded");
    assert_int_equal(access(path, F_OK), 0);
    kill(pid, SIGTERM);
    assert_int_equal(wait_for(pid), 0);
}

static void
test_systemd_is_told(void **state)
{
#ifdef LV_HAVE_SYSTEMD
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char message[256];
    snprintf(address.sun_path, sizeof address.sun_path, "%s/notify", dir);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    setenv("NOTIFY_SOCKET", address.sun_path, 1);
    write_default_conf("");
    pid_t pid = start(NULL, 0, VARIANT_WHOLE);
    unsetenv("NOTIFY_SOCKET");
    static const char *const want[] = {"READY=1", "RELOADING=1", "READY=1", "STOPPING=1"};
    static const int then[] = {SIGHUP, 0, SIGTERM, 0};
    for (size_t i = 0; i < LV_ARRAY_LEN(want); i++) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        assert_int_equal(poll(&p, 1, DEADLINE_MS), 1);
        ssize_t n = recv(fd, message, sizeof message - 1, 0);
        assert_true(n > 0);
        message[n] = '\0';
        assert_true(strncmp(message, want[i], strlen(want[i])) == 0);
        if (then[i] != 0)
            kill(pid, then[i]);
    }
    assert_int_equal(wait_for(pid), 0);
    close(fd);
#else
    skip();
#endif
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_start_and_sigterm),
        TEST(test_sigint_drains_too),
        TEST(test_draining_is_bounded),
        TEST(test_second_sigterm_exits_at_once),
        TEST(test_port_in_use),
        TEST(test_data_directory_in_use),
        TEST(test_data_directory_that_cannot_be),
        TEST(test_data_directory_is_closed_to_others),
        TEST(test_log_file_that_cannot_be_opened),
        TEST(test_failing_module_stops_the_others),
        TEST(test_reload),
        TEST(test_sighup_reopens_the_log),
        TEST(test_systemd_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
