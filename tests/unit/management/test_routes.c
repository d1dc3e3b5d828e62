// test_routes.c: from a path to its handler, and what is kept for the control socket.
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "src/base/mem.h"
#include "src/management/api.h"

// A request as the listener makes it. Refused ones are answered without a server.
static struct api_request *
request(enum api_method method, const char *path, const char *body)
{
    struct api_request *r = mem_xcalloc(1, sizeof *r);
    list_init(&r->node);
    r->method = method;
    r->path = mem_xstrdup(path);
    assert_true(api_split_path(r));
    buf_append_str(&r->body, body);
    return r;
}

static void
expect(struct api_request *r, unsigned status, const char *text)
{
    assert_true(r->is_answered);
    assert_int_equal(r->status, status);
    assert_string_equal(buf_cstr(&r->out), text);
    json_decref(r->json);
    buf_fini(&r->body);
    buf_fini(&r->out);
    mem_free(r->path);
    mem_free(r);
}

#define NOT_FOUND "{\"error\":\"Object Not Found\",\"reason\":\"Not Found\"}"
#define NOT_ALLOWED                                                                                          \
    "{\"error\":\"Method Not Allowed\",\"reason\":\"the method is not allowed for this path\"}"
#define ONLY "{\"error\":\"bad_request\",\"reason\":\"\\\"only\\\" is for the control socket\"}"

static void
test_control_socket_only(void **state)
{
    static const struct {
        enum api_method method;
        const char *path, *body;
        unsigned status;
        const char *answer;
    } refused[] = {
        {API_GET, "/api/environment", "", 404, NOT_FOUND},
        {API_POST, "/api/control/stop", "", 404, NOT_FOUND},
        {API_POST, "/api/control/rotate-logs", "", 404, NOT_FOUND},
        {API_POST, "/api/control/log-level", "{\"level\":\"debug\"}", 404, NOT_FOUND},
        {API_POST, "//api//control/%73top", "", 404, NOT_FOUND},
        {API_PUT, "/api/control/stop", "", 404, NOT_FOUND},
        {API_POST, "/api/users/guest/authenticate", "{\"password\":\"guest\"}", 404, NOT_FOUND},
        {API_DELETE, "/api/connections", "", 405, NOT_ALLOWED},
        {API_PUT, "/api/users/a", "{\"only\":\"new\",\"tags\":\"\",\"password\":\"x\"}", 400, ONLY},
        {API_PUT, "/api/users/a", "{\"only\":\"nonsense\"}", 400, ONLY},
        {API_PUT, "/api/vhosts/a", "{\"only\":\"existing\"}", 400, ONLY},
    };
    for (size_t i = 0; i < LV_ARRAY_LEN(refused); i++) {
        struct api_request *r = request(refused[i].method, refused[i].path, refused[i].body);
        api_dispatch(r);
        expect(r, refused[i].status, refused[i].answer);
    }
}

static void
test_only(void **state)
{
    static const struct {
        const char *body;
        uint32_t flags;
    } cases[] = {{"{\"only\":\"new\"}", CHANGE_ONLY_NEW},
                 {"{\"only\":\"existing\"}", CHANGE_ONLY_EXISTING},
                 {"{\"only\":\"x\"}", 0},
                 {"{\"only\":1}", 0},
                 {"{}", 0}};
    for (size_t i = 0; i < LV_ARRAY_LEN(cases); i++) {
        uint32_t flags = 77;
        struct api_request *r = request(API_PUT, "/", cases[i].body);
        r->is_control = true;
        r->json = json_loads(cases[i].body, 0, NULL);
        assert_true(api_only(r, &flags));
        assert_int_equal(flags, cases[i].flags);
        api_not_found(r);
        expect(r, 404, NOT_FOUND);
    }
}

static void
test_unknown(void **state)
{
    struct api_request *r = request(API_GET, "/api/nothing", "");
    r->is_control = true;
    api_dispatch(r);
    expect(r, 404, NOT_FOUND);
    r = request(API_PUT, "/api/control/stop", "");
    r->is_control = true;
    api_dispatch(r);
    expect(r, 405, NOT_ALLOWED);
    r = request(API_GET, "/api/users", "[]");
    api_dispatch(r);
    expect(r, 400, "{\"error\":\"bad_request\",\"reason\":\"body is not a JSON object\"}");
}

static void
test_socket_kinds(void **state)
{
    int pair[2], tcp = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(tcp >= 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    assert_true(api_is_unix_socket(pair[0]));
    assert_false(api_is_unix_socket(tcp));
    assert_false(api_is_unix_socket(-1));
    close(tcp);
    close(pair[0]);
    close(pair[1]);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_control_socket_only),
        cmocka_unit_test(test_only),
        cmocka_unit_test(test_unknown),
        cmocka_unit_test(test_socket_kinds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
