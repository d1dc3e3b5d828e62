// test_leveretd.c: the program's command line: what it prints and with which status it ends. Nothing is started but what ends
// by itself.
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "src/base/lv.h"

enum { ARGUMENTS_MAX = 80, OUTPUT_MAX = 64 * 1024 };

static char output[OUTPUT_MAX]; // of the last run, both streams

// Runs leveretd to its end; a run that does not end is killed by the alarm of the test runner.
static int
run(const char *const *arguments, size_t count)
{
    char *argv[ARGUMENTS_MAX + 2] = {(char *)(uintptr_t) "leveretd"};
    char *const environment[] = {(char *)(uintptr_t) "PATH=/usr/bin:/bin", NULL};
    int fds[2];
    pid_t pid;
    posix_spawn_file_actions_t actions;
    assert_true(count <= ARGUMENTS_MAX);
    for (size_t i = 0; i < count; i++)
        argv[i + 1] = (char *)(uintptr_t)arguments[i];
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fds[1], 1);
    posix_spawn_file_actions_adddup2(&actions, fds[1], 2);
    assert_int_equal(posix_spawn(&pid, LEVERETD_PATH, &actions, NULL, argv, environment), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(fds[1]);
    size_t len = 0;
    for (ssize_t n; (n = read(fds[0], output + len, sizeof output - 1 - len)) > 0;)
        len += (size_t)n;
    output[len] = '\0';
    close(fds[0]);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

#define RUN(...) run((const char *const[]){__VA_ARGS__}, LV_ARRAY_LEN(((const char *const[]){__VA_ARGS__})))

static void
assert_output(const char *text)
{
    if (strstr(output, text) == NULL)
        fail_msg("'%s' is not in the output:\n%s", text, output);
}

static void
test_version_and_help(void **state)
{
    assert_int_equal(RUN("--version"), 0);
    assert_string_equal(output, "leveretd " LEVERET_VERSION "\n");
    assert_int_equal(RUN("--help"), 0);
    assert_output("Usage: leveretd [-c FILE]... [-d DATADIR] [-o KEY=VALUE]... [--check-config]");
    assert_int_equal(RUN("-h"), 0);
}

static void
test_bad_command_lines(void **state)
{
    const char *many[66];
    assert_int_equal(RUN("--no-such-option"), 64);
    assert_int_equal(RUN("-c"), 64);
    assert_int_equal(RUN("start"), 64);
    assert_output("unexpected argument: start");
    assert_int_equal(RUN("-d", ""), 64);
    for (size_t i = 0; i < LV_ARRAY_LEN(many); i += 2) {
        many[i] = "-c";
        many[i + 1] = "/dev/null";
    }
    assert_int_equal(run(many, LV_ARRAY_LEN(many)), 64);
    assert_output("too many -c");
}

static void
test_check_config(void **state)
{
    assert_int_equal(RUN("--check-config", "-c", "/dev/null"), 0);
    assert_string_equal(output, "configuration is valid\n");
    assert_int_equal(RUN("--check-config", "-c", LV_EXAMPLE_CONF), 0);
    assert_int_equal(RUN("--check-config", "-c", "/dev/null", "-o", "num_acceptors.tcp=7"), 0);
    assert_output(
        "leveretd: warning: -o: 'num_acceptors.tcp' has no effect: one acceptor serves all listeners\n");
    assert_output("configuration is valid\n");
    assert_int_equal(RUN("--check-config", "-c", "/dev/null", "-o", "heartbeet=7"), 78);
    assert_string_equal(output,
                        "leveretd: -o: unknown key 'heartbeet'; the nearest known key is 'heartbeat'\n");
    assert_int_equal(RUN("--check-config", "-c", "/no/such/file"), 78);
    assert_string_equal(output, "leveretd: /no/such/file: cannot be read: not found\n");
    assert_int_equal(RUN("--check-config", "-c", "/"), 78);
}

// A relative -d counts from the present folder; later options win over it.
static void
test_data_dir_option(void **state)
{
    assert_int_equal(RUN("--check-config", "-c", "/dev/null", "-d", "some/where"), 0);
    assert_int_equal(RUN("--check-config", "-c", "/dev/null", "-o", "data_dir=some/where"), 78);
    assert_output("is not an absolute path");
}

static void
test_start_with_a_bad_configuration(void **state)
{
    assert_int_equal(RUN("-c", "/dev/null", "-o", "listeners.ssl.default=5671"), 78);
    assert_string_equal(output,
                        "leveretd: -o: 'listeners.ssl.default' cannot be accepted: TLS is not available in "
                        "this version\n");
}

static void
test_start_without_a_place_for_data(void **state)
{
    assert_int_equal(RUN("-c", "/dev/null", "-d", "/nowhere/at/all"), 73);
    assert_output("leveretd: data directory /nowhere/at/all cannot be made: No such file or directory\n");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_version_and_help),
        cmocka_unit_test(test_bad_command_lines),
        cmocka_unit_test(test_check_config),
        cmocka_unit_test(test_data_dir_option),
        cmocka_unit_test(test_start_with_a_bad_configuration),
        cmocka_unit_test(test_start_without_a_place_for_data),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
