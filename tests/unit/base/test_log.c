// The log: formats, escapes, levels by category, the bound on a line, reopening, many threads.
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>

#include "src/base/clock.h"
#include "src/base/log.h"
#include "tests/unit/base/unit.h"

static char path[] = "/tmp/lv_log_XXXXXX";
static char content[1 << 20];

static uint64_t
fixed_mono(void *ctx)
{
    return 0;
}

static int64_t
fixed_wall(void *ctx)
{
    return INT64_C(1795255200123); // 2026-11-21 10:00:00.123 UTC
}

static struct log_config
file_config(void)
{
    return (struct log_config){
        .file = path, .file_level = LOG_DEBUG, .console_level = LOG_NONE, .category_level = {LOG_INFO}};
}

// What was logged since the last call.
static const char *
take_content(void)
{
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    ssize_t len = read(fd, content, sizeof content - 1);
    assert_true(len >= 0);
    content[len] = '\0';
    assert_int_equal(ftruncate(fd, 0), 0);
    close(fd);
    return content;
}

static int
setup(void **state)
{
    static const struct clock_source source = {fixed_mono, fixed_wall, NULL};
    setenv("TZ", "UTC", 1);
    clock_set_source(&source);
    int fd = mkstemp(path);
    if (fd < 0)
        return -1;
    close(fd);
    return 0;
}

static int
teardown(void **state)
{
    unlink(path);
    return log_configure(&(struct log_config){0});
}

static void
test_text_line(void **state)
{
    struct log_config config = file_config();
    assert_int_equal(log_configure(&config), 0);
    errno = ENOENT;
    log_info(LOG_QUEUE, "queue '%s': %d messages", "a", 3);
    assert_int_equal(errno, ENOENT);
    assert_string_equal(take_content(), "2026-11-21 10:00:00.123 [info] <queue> queue 'a': 3 messages\n");
    log_at(LOG_DEFAULT, LOG_CRITICAL, "%s", "");
    assert_string_equal(take_content(), "2026-11-21 10:00:00.123 [critical] <default> \n");
}

static void
test_text_escapes(void **state)
{
    struct log_config config = file_config();
    assert_int_equal(log_configure(&config), 0);
    const char *head = "2026-11-21 10:00:00.123 [warning] <http> ";
    log_warn(LOG_HTTP, "a\nb\r\tc\x1b[31m\x7f \xc3\xbc \xff\xc3( \xc2\x9b \"q\" \\d \xed\xa0\x80 %.*s", 2,
             "\0x");
    const char *text = take_content();
    assert_memory_equal(text, head, strlen(head));
    assert_string_equal(
        text + strlen(head),
        "a\\nb\\r\\tc\\x1b[31m\\x7f \xc3\xbc \\xff\\xc3( \\xc2\\x9b \"q\" \\d \\xed\\xa0\\x80 \n");
}

static void
test_json_line(void **state)
{
    struct log_config config = file_config();
    config.is_json = true;
    assert_int_equal(log_configure(&config), 0);
    log_error(LOG_STORE, "a\n\x01\"\\\xff\xc2\x9b\xc3\xbc");
    char want[256];
    snprintf(want, sizeof want,
             "{\"time\":\"2026-11-21T10:00:00.123+00:00\",\"level\":\"error\",\"category\":\"store\","
             "\"msg\":\"a\\n\\u0001\\\"\\\\\\\\xff\\u009b\xc3\xbc\",\"pid\":%d}\n",
             (int)getpid());
    assert_string_equal(take_content(), want);
}

static void
test_levels(void **state)
{
    struct log_config config = file_config();
    config.category_level[LOG_QUEUE] = LOG_ERROR;
    config.category_level[LOG_HTTP] = LOG_DEBUG;
    config.category_level[LOG_STORE] = LOG_NONE;
    config.file_level = LOG_INFO;
    assert_int_equal(log_configure(&config), 0);
    assert_false(log_is_on(LOG_QUEUE, LOG_WARNING));
    assert_true(log_is_on(LOG_QUEUE, LOG_ERROR));
    assert_false(log_is_on(LOG_HTTP, LOG_DEBUG)); // no sink takes it
    assert_false(log_is_on(LOG_STORE, LOG_CRITICAL));
    log_warn(LOG_QUEUE, "no");
    log_debug(LOG_HTTP, "no");
    log_critical(LOG_STORE, "no");
    assert_string_equal(take_content(), "");
    log_info(LOG_HTTP, "yes");
    assert_non_null(strstr(take_content(), "yes"));
    assert_int_equal(log_configure(&(struct log_config){0}), 0); // no sink at all
    for (int level = LOG_DEBUG; level < LOG_NONE; level++)
        assert_false(log_is_on(LOG_DEFAULT, (enum log_level)level));
}

static void
test_level_names(void **state)
{
    enum log_level level = LOG_CRITICAL;
    for (int i = LOG_DEBUG; i <= LOG_NONE; i++) {
        assert_int_equal(log_level_parse(slice_str(log_level_text((enum log_level)i)), &level), 0);
        assert_int_equal(level, i);
    }
    assert_int_equal(log_level_parse(SLICE_LIT("infos"), &level), -LE_INVAL);
    assert_int_equal(log_level_parse(SLICE_EMPTY, &level), -LE_INVAL);
    assert_int_equal(level, LOG_NONE);
}

static void
test_long_lines_are_cut(void **state)
{
    static char text[20000];
    struct log_config config = file_config();
    for (int json = 0; json < 2; json++) {
        for (int shape = 0; shape < 3; shape++) {
            config.is_json = json != 0;
            assert_int_equal(log_configure(&config), 0);
            // Plain, all to be escaped, and characters of three bytes that do not end at the bound.
            for (size_t i = 0; i < sizeof text - 1; i++)
                text[i] = shape == 0 ? 'x' : shape == 1 ? '\x01' : "\xe2\x82\xac"[i % 3];
            log_info(LOG_DEFAULT, "%s", text);
            const char *got = take_content();
            size_t len = strlen(got);
            assert_true(len <= 8192 && len > 8000);
            assert_int_equal(got[len - 1], '\n');
            assert_ptr_equal(strchr(got, '\n'), got + len - 1);
            char *dots = strstr(got, "...");
            assert_non_null(dots);
            assert_memory_equal(dots, json ? "...\",\"pid\":" : "...\n", 4);
        }
    }
}

static void
test_reopen_and_failure(void **state)
{
    struct log_config config = file_config();
    assert_int_equal(log_configure(&config), 0);
    char moved[64];
    snprintf(moved, sizeof moved, "%s.1", path);
    assert_int_equal(rename(path, moved), 0);
    log_info(LOG_DEFAULT, "to the old file");
    assert_int_equal(log_configure(&config), 0);
    log_info(LOG_DEFAULT, "to the new file");
    assert_non_null(strstr(take_content(), "to the new file"));
    struct stat st;
    assert_int_equal(stat(moved, &st), 0);
    assert_int_equal(st.st_size, strlen("2026-11-21 10:00:00.123 [info] <default> to the old file\n"));
    unlink(moved);
    struct log_config bad = config;
    bad.file = "/nonexistent/folder/log";
    bad.category_level[LOG_DEFAULT] = LOG_NONE;
    assert_int_equal(log_configure(&bad), -LE_NOTFOUND);
    log_info(LOG_DEFAULT, "still here");
    assert_non_null(strstr(take_content(), "still here"));
}

// Standard error of the process goes to a file while fn runs.
static const char *
stderr_of(void (*fn)(void))
{
    int saved = dup(STDERR_FILENO);
    char temp[] = "/tmp/lv_err_XXXXXX";
    int fd = mkstemp(temp);
    assert_true(fd >= 0 && saved >= 0);
    unlink(temp);
    dup2(fd, STDERR_FILENO);
    fn();
    dup2(saved, STDERR_FILENO);
    close(saved);
    ssize_t len = pread(fd, content, sizeof content - 1, 0);
    close(fd);
    content[LV_MAX(len, 0)] = '\0';
    return content;
}

static void
log_two(void)
{
    log_info(LOG_DEFAULT, "one");
    log_warn(LOG_DEFAULT, "two");
}

// The first test: nothing is configured yet.
static void
test_before_configuration_warnings_go_to_stderr(void **state)
{
    const char *text = stderr_of(log_two);
    assert_null(strstr(text, "one"));
    assert_non_null(strstr(text, "[warning] <default> two\n"));
}

static void
test_console_and_full_disk(void **state)
{
    struct log_config config = file_config();
    config.file = NULL;
    config.is_console = true;
    config.console_level = LOG_WARNING;
    assert_int_equal(log_configure(&config), 0);
    const char *text = stderr_of(log_two);
    assert_null(strstr(text, "one"));
    assert_non_null(strstr(text, "two\n"));
    config = file_config();
    config.file = "/dev/full"; // every write says that the disk is full
    assert_int_equal(log_configure(&config), 0);
    text = stderr_of(log_two);
    assert_non_null(strstr(text, "one\n"));
    assert_non_null(strstr(text, "two\n"));
}

static void *
log_many(void *arg)
{
    for (int i = 0; i < 500; i++)
        log_info(LOG_DEFAULT, "%s", (const char *)arg);
    return NULL;
}

static void
test_lines_of_many_threads_stay_whole(void **state)
{
    static char texts[4][101];
    struct log_config config = file_config();
    assert_int_equal(log_configure(&config), 0);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        memset(texts[i], 'a' + i, 100);
        assert_int_equal(pthread_create(&threads[i], NULL, log_many, texts[i]), 0);
    }
    for (int i = 0; i < 10; i++)
        assert_int_equal(log_configure(&config), 0); // meanwhile
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    const char *text = take_content();
    size_t head = strlen("2026-11-21 10:00:00.123 [info] <default> ");
    int lines = 0;
    for (; *text != '\0'; text += head + 101, lines++) {
        assert_true(strlen(text) >= head + 101);
        assert_memory_equal(text + head, texts[text[head] - 'a'], 100);
        assert_int_equal(text[head + 100], '\n');
    }
    assert_int_equal(lines, 2000);
}

// A pipe nobody reads takes 64 KiB; what comes then is dropped without waiting, and counted once it is read again.
static void
test_console_that_takes_nothing(void **state)
{
    int pipe_fds[2], saved = dup(STDERR_FILENO);
    assert_int_equal(pipe(pipe_fds), 0);
    struct log_config config = {
        .is_console = true, .console_level = LOG_DEBUG, .file_level = LOG_NONE, .category_level = {LOG_INFO}};
    assert_int_equal(log_configure(&config), 0);
    static char text[6000]; // in two parts
    memset(text, 'x', sizeof text - 1);
    dup2(pipe_fds[1], STDERR_FILENO);
    for (int i = 0; i < 1000; i++)
        log_info(LOG_DEFAULT, "%s", text);
    dup2(saved, STDERR_FILENO);
    ssize_t len = read(pipe_fds[0], content, sizeof content - 1);
    assert_in_range(len, 32 * 1024, 64 * 1024);
    dup2(pipe_fds[1], STDERR_FILENO);
    log_info(LOG_DEFAULT, "again");
    dup2(saved, STDERR_FILENO);
    close(saved);
    content[len] = '\0';
    int whole = 0;
    for (const char *at = content; (at = strchr(at, '\n')) != NULL; at++)
        whole++;
    bool is_torn = content[len - 1] != '\n';
    len = read(pipe_fds[0], content, sizeof content - 1);
    assert_true(len > 0);
    content[len] = '\0';
    char want[256];
    snprintf(want, sizeof want,
             "%s2026-11-21 10:00:00.123 [warning] <default> log: %d lines are missing here, the console did "
             "not take them\n"
             "2026-11-21 10:00:00.123 [info] <default> again\n",
             is_torn ? "\n" : "", 1000 - whole);
    assert_string_equal(content, want);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_before_configuration_warnings_go_to_stderr),
        cmocka_unit_test(test_text_line),
        cmocka_unit_test(test_text_escapes),
        cmocka_unit_test(test_json_line),
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_level_names),
        cmocka_unit_test(test_long_lines_are_cut),
        cmocka_unit_test(test_reopen_and_failure),
        cmocka_unit_test(test_console_and_full_disk),
        cmocka_unit_test(test_console_that_takes_nothing),
        cmocka_unit_test(test_lines_of_many_threads_stay_whole),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
