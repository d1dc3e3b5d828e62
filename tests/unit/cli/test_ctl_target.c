// test_ctl_target.c: which broker is asked, and with which password: URLs, options, the environment, files.
#include "ctl_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "src/cli/leveretctl_target.h"

static const char *const nothing[] = {NULL};

struct found {
    struct ctl_options options;
    struct ctl_target target;
    struct buf problem;
    int err;
    char *words[16]; // heap: what argv has become
};

// Words ended by NULL behind the environment.
static struct found
find(const char *const *environment, ...)
{
    static char program[] = "leveretctl";
    struct found f = {0};
    char *argv[17] = {program};
    int argc = 1;
    va_list ap;
    va_start(ap, environment);
    for (const char *word; (word = va_arg(ap, const char *)) != NULL; argc++)
        argv[argc] = f.words[argc - 1] = strdup(word);
    va_end(ap);
    assert_int_equal(ctl_options_parse(argc, argv, &f.options), 0);
    f.err = ctl_target_init(&f.target, &f.options, environment, &f.problem);
    return f;
}

static void
found_free(struct found *f)
{
    ctl_target_fini(&f->target);
    ctl_options_fini(&f->options);
    buf_fini(&f->problem);
    for (size_t i = 0; i < LV_ARRAY_LEN(f->words); i++)
        free(f->words[i]);
}

static void
expect(struct found f, const char *base, const char *user, const char *password)
{
    assert_int_equal(f.err, 0);
    assert_true(f.target.is_http);
    assert_string_equal(f.target.base, base);
    assert_string_equal(f.target.user, user);
    if (password == NULL)
        assert_null(f.target.password);
    else
        assert_string_equal(f.target.password, password);
    assert_null(f.options.node);
    found_free(&f);
}

static void
without_anything_it_is_the_socket(void **state)
{
    struct found f = find(nothing, "ping", NULL);
    assert_int_equal(f.err, 0);
    assert_false(f.target.is_http);
    assert_null(f.target.user);
    found_free(&f);
    f = find(nothing, "-n", "rabbit@host", "ping", NULL);
    assert_false(f.target.is_http);
    assert_string_equal(f.options.node, "rabbit@host");
    found_free(&f);
    const char *const named[] = {"RABBITMQ_NODENAME=rabbit@other", NULL};
    f = find(named, "ping", NULL);
    assert_false(f.target.is_http);
    assert_string_equal(f.options.node, "rabbit@other");
    found_free(&f);
}

static void
urls_and_parts_of_them(void **state)
{
    expect(find(nothing, "-n", "http://h", "ping", NULL), "http://h:15672", "guest", "guest");
    expect(find(nothing, "-n", "https://h/", "ping", NULL), "https://h:15671", "guest", "guest");
    expect(find(nothing, "--node=http://h:80/prefix/?x#y", "ping", NULL), "http://h:80/prefix", "guest",
           "guest");
    expect(find(nothing, "-n", "http://[::1]", "ping", NULL), "http://[::1]:15672", "guest", "guest");
    expect(find(nothing, "-n", "http://[::1]:1", "ping", NULL), "http://[::1]:1", "guest", "guest");
    expect(find(nothing, "--host", "h", "ping", NULL), "http://h:15672", "guest", "guest");
    expect(find(nothing, "--host", "::1", "--tls", "ping", NULL), "https://[::1]:15671", "guest", "guest");
    expect(find(nothing, "--port", "99", "ping", NULL), "http://localhost:99", "guest", "guest");
    expect(find(nothing, "--port", "99", "--username", "u", "ping", NULL), "http://localhost:99", "u", NULL);
}

static void
a_url_may_hold_user_and_password(void **state)
{
    expect(find(nothing, "-n", "http://a%40b:p%3A%2f%zz@h:1", "ping", NULL), "http://h:1", "a@b", "p:/%zz");
    expect(find(nothing, "-n", "http://u@h", "ping", NULL), "http://h:15672", "u", NULL);
    expect(find(nothing, "-n", "http://u:@h", "ping", NULL), "http://h:15672", "u", "");
    expect(find(nothing, "-n", "http://u:p@h", "--username", "v", "ping", NULL), "http://h:15672", "v", "p");
}

static void
passwords_leave_the_command_line(void **state)
{
    struct found f = find(nothing, "-n", "http://u:secret@h", "ping", NULL);
    assert_string_equal(f.words[1], "http://u:******@h");
    found_free(&f);
    f = find(nothing, "--port", "1", "--password", "secret", "ping", NULL);
    assert_string_equal(f.words[3], "******");
    assert_string_equal(f.target.password, "secret");
    found_free(&f);
}

static void
passwords_of_files_and_the_environment(void **state)
{
    char path[] = "/tmp/test_ctl_target.XXXXXX", variable[128];
    int fd = mkstemp(path);
    assert_int_equal(write(fd, "of a file\nmore", 14), 14);
    close(fd);
    snprintf(variable, sizeof variable, "LEVERET_PASSWORD_FILE=%s", path);
    const char *const all[] = {"LEVERET_URL=http://h", "LEVERET_USERNAME=u", "LEVERET_PASSWORD=p", NULL};
    const char *const file[] = {"LEVERET_USERNAME=u", "LEVERET_PASSWORD=p", variable, NULL};
    expect(find(all, "ping", NULL), "http://h:15672", "u", "p");
    expect(find(all, "--port", "1", "ping", NULL), "http://localhost:1", "u", "p");
    expect(find(all, "-n", "http://v:q@k", "ping", NULL), "http://k:15672", "v", "q");
    expect(find(all, "--password-file", path, "ping", NULL), "http://h:15672", "u", "of a file");
    expect(find(file, "--port", "1", "ping", NULL), "http://localhost:1", "u", "of a file");
    // Who names a socket or a node means this machine.
    struct found f = find(all, "--socket", "/s", "ping", NULL);
    assert_false(f.target.is_http);
    found_free(&f);
    f = find(all, "-n", "rabbit@h", "ping", NULL);
    assert_false(f.target.is_http);
    found_free(&f);
    unlink(path);
}

static void
what_cannot_be_used_is_refused(void **state)
{
    static const char *const words[][3] = {{"-n", "amqp://h", "a URL begins with http:// or https://"},
                                           {"-n", "http://", "the URL has no host"},
                                           {"-n", "http://u:p@/x", "the URL has no host"},
                                           {"--port", "0", "a port is a number from 1 to 65535"},
                                           {"--port", "65536", "a port is a number from 1 to 65535"}};
    for (size_t i = 0; i < LV_ARRAY_LEN(words); i++) {
        struct found f = find(nothing, words[i][0], words[i][1], "ping", NULL);
        assert_int_not_equal(f.err, 0);
        assert_text(&f.problem, words[i][2]);
        found_free(&f);
    }
    struct found f = find(nothing, "--port", "1", "--password-file", "/nonexistent", "ping", NULL);
    assert_text(&f.problem, "the file with the password, /nonexistent, cannot be read");
    found_free(&f);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_anything_it_is_the_socket),
        cmocka_unit_test(urls_and_parts_of_them),
        cmocka_unit_test(a_url_may_hold_user_and_password),
        cmocka_unit_test(passwords_leave_the_command_line),
        cmocka_unit_test(passwords_of_files_and_the_environment),
        cmocka_unit_test(what_cannot_be_used_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
