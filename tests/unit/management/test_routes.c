// test_routes.c: from a path to its handler, and what is kept for the control socket.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

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
    r->uri = mem_xstrdup(path);
    assert_int_equal(api_query_parse(r->uri, &r->query), 0);
    buf_append_str(&r->body, body);
    return r;
}

static void
run(struct api_request *r)
{
    if (api_find_route(r))
        api_dispatch(r);
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
    mem_free(r->uri);
    mem_free(r->allow);
    mem_free(r);
}

#define NOT_FOUND "{\"error\":\"Object Not Found\",\"reason\":\"Not Found\"}"
#define ONLY      "{\"error\":\"bad_request\",\"reason\":\"\\\"only\\\" is for the control socket\"}"

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
        {API_DELETE, "/api/connections", "", 405, ""},
        {API_PUT, "/api/users/a", "{\"only\":\"new\",\"tags\":\"\",\"password\":\"x\"}", 400, ONLY},
        {API_PUT, "/api/users/a", "{\"only\":\"nonsense\"}", 400, ONLY},
        {API_PUT, "/api/vhosts/a", "{\"only\":\"existing\"}", 400, ONLY},
    };
    for (size_t i = 0; i < LV_ARRAY_LEN(refused); i++) {
        struct api_request *r = request(refused[i].method, refused[i].path, refused[i].body);
        run(r);
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
    run(r);
    expect(r, 404, NOT_FOUND);
    r = request(API_PUT, "/api/control/stop", "");
    r->is_control = true;
    run(r);
    expect(r, 405, "");
    r = request(API_PUT, "/api/users/a", "[]");
    run(r);
    expect(r, 400, "{\"error\":\"bad_request\",\"reason\":\"not_json\"}");
    r = request(API_PUT, "/api/users/a", "\"{}\"");
    run(r);
    expect(r, 400,
           "{\"error\":\"bad_request\",\"reason\":\"invalid payload: the request body JSON-decoded to a "
           "string. Is the "
           "input doubly-JSON-encoded?\"}");
}

// What a row says is what is allowed; a row that says nothing is the administrators'.
static void
test_access(void **state)
{
    static const struct {
        enum api_method method;
        const char *path;
        enum api_access access;
        unsigned vhost_segment;
    } rows[] = {
        {API_GET, "/api/overview", API_FOR_MANAGEMENT, 0},
        {API_GET, "/api/nodes", API_FOR_MONITORING, 0},
        {API_GET, "/api/users", API_FOR_ADMINISTRATOR, 0},
        {API_PUT, "/api/users/a", API_FOR_ADMINISTRATOR, 0},
        {API_GET, "/api/vhosts", API_FOR_MANAGEMENT, 0},
        {API_GET, "/api/vhosts/v", API_FOR_ADMINISTRATOR, 0},
        {API_GET, "/api/queues/v/q", API_FOR_MANAGEMENT, 2},
        {API_POST, "/api/queues/v/q/actions", API_FOR_ADMINISTRATOR, 2},
        {API_POST, "/api/queues/v/q/get", API_FOR_MANAGEMENT, 2},
        {API_DELETE, "/api/queues/v/q/contents", API_FOR_MANAGEMENT, 2},
        {API_POST, "/api/exchanges/v/x/publish", API_FOR_MANAGEMENT, 2},
        {API_POST, "/api/bindings/v/e/x/q/q", API_FOR_MANAGEMENT, 2},
        {API_GET, "/api/bindings/v/e//q/q", API_FOR_MANAGEMENT, 2},
        {API_GET, "/api/parameters", API_FOR_POLICYMAKER, 0},
        {API_GET, "/api/parameters/c/v", API_FOR_POLICYMAKER, 3},
        {API_DELETE, "/api/connections/username/u", API_FOR_ADMINISTRATOR, 0},
        {API_GET, "/api/vhosts/v/connections", API_FOR_MANAGEMENT, 2},
        {API_GET, "/api/auth", API_FOR_ALL, 0},
        {API_GET, "/api/feature-flags", API_FOR_ADMINISTRATOR, 0},
        {API_PUT, "/api/cluster-name", API_FOR_ADMINISTRATOR, 0},
    };
    for (size_t i = 0; i < LV_ARRAY_LEN(rows); i++) {
        struct api_request *r = request(rows[i].method, rows[i].path, "");
        assert_true(api_find_route(r));
        assert_int_equal(r->route->access, rows[i].access);
        assert_int_equal(r->route->vhost_segment, rows[i].vhost_segment);
        api_not_found(r);
        expect(r, 404, NOT_FOUND);
    }
}

static void
test_allow(void **state)
{
    static const char *const cases[][2] = {
        {"/api/overview", "HEAD, GET, OPTIONS"},
        {"/api/queues/v/q", "HEAD, GET, PUT, DELETE, OPTIONS"},
        {"/api/queues/v/q/get", "POST, OPTIONS"},
        {"/api/queues/v/q/contents", "DELETE, OPTIONS"},
        {"/api/bindings/v/e/x/q/q", "HEAD, GET, POST, OPTIONS"},
        {"/api/bindings/v/e/x/q/q/k", "HEAD, GET, DELETE, OPTIONS"},
        {"/api/connections/c", "HEAD, GET, DELETE, OPTIONS"},
        {"/api/user-limits/u/max-channels", "PUT, DELETE, OPTIONS"},
    };
    for (size_t i = 0; i < LV_ARRAY_LEN(cases); i++) {
        struct api_request *r = request(API_OPTIONS_ASK, cases[i][0], "");
        assert_false(api_find_route(r));
        assert_string_equal(r->allow, cases[i][1]);
        expect(r, 200, "");
    }
}

// Every route that others than leveretctl may use is described, with each of its methods; nothing else is.
static void
test_description(void **state)
{
    static const struct {
        unsigned method;
        const char *name;
    } methods[] = {{API_GET, "get"}, {API_PUT, "put"}, {API_POST, "post"}, {API_DELETE, "delete"}};
    struct buf text = BUF_INIT;
    size_t count, described = 0, expected = 0;
    const struct api_route *const *tables = api_route_tables(&count);
    const char *path;
    json_t *operations;
    api_openapi_put(&text);
    json_t *all = json_loadb((const char *)text.ptr, text.len, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(all);
    json_object_foreach(json_object_get(all, "paths"), path, operations)
    {
        described += json_object_size(operations);
    }
    for (size_t t = 0; t < count; t++) {
        for (const struct api_route *route = tables[t]; route->pattern != NULL; route++) {
            for (size_t i = 0; i < LV_ARRAY_LEN(methods) && (route->methods & API_CONTROL) == 0; i++)
                expected += (route->methods & methods[i].method) != 0;
        }
    }
    assert_int_equal(described, expected);
    assert_non_null(json_object_get(
        json_object_get(json_object_get(all, "paths"), "/api/queues/{vhost}/{queue}"), "delete"));
    assert_null(json_object_get(json_object_get(all, "paths"), "/api/control/stop"));
    json_decref(all);
    buf_fini(&text);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_description), cmocka_unit_test(test_control_socket_only),
        cmocka_unit_test(test_only),        cmocka_unit_test(test_unknown),
        cmocka_unit_test(test_access),      cmocka_unit_test(test_allow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
