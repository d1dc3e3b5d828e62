// test_perf_uri.c: URIs as RabbitMQ's clients take them.
#include "perf_test.h"

#include "src/cli/perf_uri.h"

static struct perf_uris uris;
static struct buf error;

static int
setup(void **state)
{
    error = BUF_INIT;
    return 0;
}

static int
teardown(void **state)
{
    buf_fini(&error);
    return 0;
}

static void
is(const char *text, const char *host, const char *port, const char *user, const char *password,
   const char *vhost)
{
    if (perf_uris_parse(text, &uris, &error) != 0)
        fail_msg("%s: %s", text, buf_cstr(&error));
    const struct perf_uri *u = &uris.items[uris.count - 1];
    assert_string_equal(u->host, host);
    assert_string_equal(u->port, port);
    assert_string_equal(u->user, user);
    assert_string_equal(u->password, password);
    assert_string_equal(u->vhost, vhost);
}

static void
parts_and_defaults(void **state)
{
    is("amqp://", "localhost", "5672", "guest", "guest", "/");
    is("amqp://host", "host", "5672", "guest", "guest", "/");
    is("amqp://:10000", "localhost", "10000", "guest", "guest", "/");
    is("amqp://user:pass@host:10000/vhost", "host", "10000", "user", "pass", "vhost");
    is("amqp://user@host", "host", "5672", "user", "guest", "/");
    is("amqp://user:@host", "host", "5672", "user", "", "/");
    is("amqp://host/", "host", "5672", "guest", "guest", "");
    is("amqp://host/%2f", "host", "5672", "guest", "guest", "/");
    is("amqp://host/v?heartbeat=5", "host", "5672", "guest", "guest", "v");
    is("amqp://u%61:p%40ss@h%6Fst/v%20h", "host", "5672", "ua", "p@ss", "v h");
    is("amqp://u:p@ss@host", "host", "5672", "u", "p@ss", "/");
    is("amqp://[::1]:5673/x", "::1", "5673", "guest", "guest", "x");
    is("amqp://[::1]", "::1", "5672", "guest", "guest", "/");
}

static void
several(void **state)
{
    is("amqp://a,amqp://b:1,amqp://u:p@c/v", "c", "5672", "u", "p", "v");
    assert_int_equal(uris.count, 3);
    assert_string_equal(uris.items[0].host, "a");
    assert_string_equal(uris.items[1].port, "1");
}

static void
refused(const char *text, const char *why)
{
    buf_reset(&error);
    // In a block of exactly its size, so that AddressSanitizer sees a look behind the end.
    char *exact = malloc(strlen(text) + 1);
    memcpy(exact, text, strlen(text) + 1);
    int rc = perf_uris_parse(exact, &uris, &error);
    free(exact);
    if (rc != -LE_INVAL)
        fail_msg("'%s' was taken", text);
    if (strstr(buf_cstr(&error), why) == NULL)
        fail_msg("'%s' does not contain '%s'", buf_cstr(&error), why);
    assert_null(strstr(buf_cstr(&error), "secret"));
}

static void
refusals_without_the_password(void **state)
{
    refused("", "does not begin with amqp://");
    refused("http://u:secret@host", "does not begin with amqp://");
    refused("amqps://u:secret@host", "TLS");
    refused("amqp://u:secret@host:x", "port");
    refused("amqp://u:secret@host:65536", "port");
    refused("amqp://u:secret@host:99999999999999999999999", "port");
    refused("amqp://u:secret%4@host", "password");
    refused("amqp://u:secret%", "port"); // no at-sign: it is a host and a port
    refused("amqp://h/%zz", "vhost");
    refused("amqp://h/%4", "vhost");
    refused("amqp://h/%", "vhost");
    refused("amqp://h/%00", "vhost");
    refused("amqp://[::1", "brackets");
    refused("amqp://[::1]x", "brackets");
    refused("amqp://a,", "URI 2");
    char text[400] = "amqp://h/";
    memset(text + strlen(text), 'v', 300);
    refused(text, "too long");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(parts_and_defaults, setup, teardown),
        cmocka_unit_test_setup_teardown(several, setup, teardown),
        cmocka_unit_test_setup_teardown(refusals_without_the_password, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
