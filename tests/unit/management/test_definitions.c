// test_definitions.c: the scanner of large objects, the elements of definitions files and their records, spools, rules of parameters.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "src/base/mem.h"
#include "src/management/definitions.h"
#include "src/management/definitions_spool.h"
#include "src/management/json_scan.h"
#include "src/management/parameter_rules.h"

// --- the scanner --------------------------------------------------------------------------------------------------------------------

static int
write_item(void *ctx, const struct json_scan_item *item)
{
    struct buf *out = ctx;
    char *text = item->value != NULL ? json_dumps(item->value, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    buf_printf(out, "%.*s%s%s;", SLICE_FMT(item->name),
               item->is_array_begin ? "["
               : item->is_in_array  ? "[]="
                                    : "=",
               text != NULL ? text : "");
    free(text);
    return 0;
}

static int
scan(const char *text, size_t part, struct buf *out)
{
    struct json_scan s;
    size_t len = strlen(text);
    int err = 0;
    json_scan_init(&s, write_item, out);
    for (size_t at = 0; at < len && err == 0; at += part)
        err = json_scan_feed(&s, slice_of(text + at, LV_MIN(part, len - at)));
    if (err == 0)
        err = json_scan_end(&s);
    json_scan_fini(&s);
    return err;
}

static void
test_scan(void **state)
{
    static const struct {
        const char *text;
        int err;
        const char *items; // of those that are right
    } cases[] = {
        {"{}", 0, ""},
        {" { \"a\" : 1 , \"b\":[ ] ,\"c\":[{\"x\":\"]}\\\"\"} , [1,[2]], -3.5 ,true]}\n", 0,
         "a=1;b[;c[;c[]={\"x\":\"]}\\\"\"};c[]=[1,[2]];c[]=-3.5;c[]=true;"},
        {"{\"a\\u0041\":{\"b\":[1]}}", 0, "aA={\"b\":[1]};"},
        {"{\"a\":\"x\"}", 0, "a=\"x\";"},
        {"", -LE_SYNTAX, NULL},
        {"{", -LE_SYNTAX, NULL},
        {"{\"a\":[1", -LE_SYNTAX, NULL},
        {"{\"a\":[1}", -LE_SYNTAX, NULL},
        {"{\"a\":[1,]}", -LE_SYNTAX, NULL},
        {"{\"a\":1,}", -LE_SYNTAX, NULL},
        {"{\"a\":}", -LE_SYNTAX, NULL},
        {"{\"a\" 1}", -LE_SYNTAX, NULL},
        {"{\"a\":1 2}", -LE_SYNTAX, NULL},
        {"{\"a\":[1 2]}", -LE_SYNTAX, NULL},
        {"{\"a\":[{]}]}", -LE_SYNTAX, NULL},
        {"{\"a\":1}x", -LE_SYNTAX, NULL},
        {"{\"a\":1}{}", -LE_SYNTAX, NULL},
        {"{\"a\":1,\"a\":2}", -LE_SYNTAX, NULL},
        {"{\"a\":[{\"b\":1,\"b\":2}]}", -LE_SYNTAX, NULL},
        {"{\"a\\u0000\":1}", -LE_SYNTAX, NULL},
        {"{a:1}", -LE_SYNTAX, NULL},
        {"[1]", -LE_SYNTAX, NULL},
        {"{\"a\":[\"\xff\"]}", -LE_SYNTAX, NULL},
        {"{\"a\":nul}", -LE_SYNTAX, NULL},
    };
    for (size_t i = 0; i < LV_ARRAY_LEN(cases); i++) {
        for (size_t part = 1; part < 40; part++) {
            struct buf out = BUF_INIT;
            assert_int_equal(scan(cases[i].text, part, &out), cases[i].err);
            if (cases[i].err == 0)
                assert_string_equal(buf_cstr(&out), cases[i].items);
            buf_fini(&out);
        }
    }
}

// A text of `count` times `part` between two others.
static char *
repeated(const char *before, const char *part, size_t count, const char *behind)
{
    struct buf text = BUF_INIT;
    buf_append_str(&text, before);
    for (size_t i = 0; i < count; i++)
        buf_append_str(&text, part);
    buf_append_str(&text, behind);
    char *copy = mem_xstrdup(buf_cstr(&text));
    buf_fini(&text);
    return copy;
}

static void
expect_scan(char *text, int err)
{
    struct buf out = BUF_INIT;
    assert_int_equal(scan(text, 1000, &out), err);
    buf_fini(&out);
    mem_free(text);
}

static void
test_scan_limits(void **state)
{
    expect_scan(repeated("{\"a\":[\"", "xxxxxxxx", JSON_SCAN_ELEMENT_MAX / 8 - 1, "\"]}"), 0);
    expect_scan(repeated("{\"a\":[\"", "xxxxxxxx", JSON_SCAN_ELEMENT_MAX / 8 + 1, "\"]}"), -LE_LIMIT);
    expect_scan(repeated("{\"a\":[\"", "xxxxxxxx", JSON_SCAN_ELEMENT_MAX, ""), -LE_LIMIT);
    expect_scan(repeated("{\"a\":[", "[", JSON_SCAN_DEPTH_MAX - 1, ""), -LE_SYNTAX);
    expect_scan(repeated("{\"a\":[", "[", JSON_SCAN_DEPTH_MAX + 1, ""), -LE_LIMIT);
    expect_scan(repeated("{\"", "k", JSON_SCAN_NAME_MAX + 1, "\":1}"), -LE_LIMIT);
    expect_scan(repeated("{\"a\":[0", ",1", 100000, "]}"), 0);
    struct buf many = BUF_INIT;
    buf_append_u8(&many, '{');
    for (int i = 0; i <= JSON_SCAN_MEMBERS_MAX; i++)
        buf_printf(&many, "%s\"%d\":1", i > 0 ? "," : "", i);
    buf_append_u8(&many, '}');
    expect_scan(mem_xstrdup(buf_cstr(&many)), -LE_LIMIT);
    buf_fini(&many);
}

static int
stop_at_two(void *ctx, const struct json_scan_item *item)
{
    return item->is_in_array && item->index == 2 ? -LE_STATE : 0;
}

static void
test_a_visitor_ends_the_scan(void **state)
{
    struct json_scan s;
    json_scan_init(&s, stop_at_two, NULL);
    assert_int_equal(json_scan_feed(&s, SLICE_LIT("{\"a\":[1,2")), 0);
    assert_int_equal(json_scan_feed(&s, SLICE_LIT(",3,4]}")), -LE_STATE);
    json_scan_fini(&s);
}

// --- elements -----------------------------------------------------------------------------------------------------------------------

static int
read_element(enum definitions_section section, const char *text, struct buf *out, char **ret_reason)
{
    json_t *element = json_loads(text, JSON_DECODE_ANY, NULL), *reason = NULL;
    struct definitions_args args = {.section = section, .index = 7};
    assert_non_null(element);
    int err = definitions_read(&args, element, out, &reason);
    *ret_reason = reason != NULL ? json_dumps(reason, JSON_ENCODE_ANY) : NULL;
    json_decref(reason);
    json_decref(element);
    return err;
}

static size_t
records_of(enum definitions_section section, const char *text, struct topology_request *first,
           struct buf *room)
{
    char *reason;
    uint32_t index;
    struct topology_request r;
    buf_reset(room);
    assert_int_equal(read_element(section, text, room, &reason), 0);
    struct slice left = buf_slice(room);
    size_t count = 0;
    for (size_t n; (n = definitions_record_read(left, count == 0 ? first : &r, &index)) > 0; count++) {
        assert_int_equal(index, 7);
        left = slice_from(left, n);
    }
    assert_int_equal(left.len, 0);
    return count;
}

static void
test_elements(void **state)
{
    struct topology_request r;
    struct buf room = BUF_INIT;
    assert_int_equal(
        records_of(DEFINITIONS_USERS,
                   "{\"name\":\"u\",\"password_hash\":\"AQIDBA==\",\"tags\":[\"a\",\"b\"],\"limits\":"
                   "{\"max-channels\":3,\"max-publish-rate\":5}}",
                   &r, &room),
        3);
    assert_int_equal(r.change, CHANGE_USER_PUT);
    assert_true(slice_eq_str(r.name, "u") && slice_eq_str(r.tags, "a,b"));
    assert_int_equal(r.password_hash.len, 4);
    assert_null(r.hashing.ptr); // by the file's version
    assert_int_equal(records_of(DEFINITIONS_VHOSTS, "{\"name\":\"v\"}", &r, &room), 1);
    assert_null(r.text.ptr);
    assert_int_equal(r.flags, 0);
    assert_int_equal(
        records_of(DEFINITIONS_VHOSTS,
                   "{\"name\":\"v\",\"description\":\"old\",\"metadata\":{\"description\":\"new\","
                   "\"tags\":[],\"default_queue_type\":\"undefined\"}}",
                   &r, &room),
        1);
    assert_true(slice_eq_str(r.text, "new") && r.tags.len == 0 && r.default_queue_type.ptr != NULL);
    assert_int_equal(r.flags, CHANGE_HAS_TAGS);
    assert_int_equal(
        records_of(DEFINITIONS_QUEUES,
                   "{\"name\":\"q\",\"vhost\":\"v\",\"durable\":true,\"auto_delete\":true,\"type\":"
                   "\"classic\",\"arguments\":{\"x-max-length\":1}}",
                   &r, &room),
        1);
    assert_int_equal(r.flags, CHANGE_DURABLE | CHANGE_AUTO_DELETE);
    assert_int_equal(
        records_of(DEFINITIONS_QUEUES, "{\"name\":\"amq.q\",\"vhost\":\"v\",\"durable\":true}", &r, &room),
        0);
    assert_int_equal(records_of(DEFINITIONS_EXCHANGES,
                                "{\"name\":\"\",\"vhost\":\"v\",\"type\":\"direct\",\"durable\":true}", &r,
                                &room),
                     0);
    assert_int_equal(
        records_of(DEFINITIONS_PARAMETERS,
                   "{\"component\":\"vhost-limits\",\"vhost\":\"v\",\"name\":\"limits\",\"value\":"
                   "{\"max-queues\":3}}",
                   &r, &room),
        3);
    assert_int_equal(r.number, -1); // what is not named has no limit
    assert_int_equal(r.number2, 3);
    buf_fini(&room);
}

static void
test_refused_elements(void **state)
{
    static const struct {
        enum definitions_section section;
        const char *text, *reason;
    } cases[] = {
        {DEFINITIONS_USERS, "5", "\"users[7]: not an object\""},
        {DEFINITIONS_USERS, "{\"tags\":\"\"}", "\"users[7]: 'name' is missing\""},
        {DEFINITIONS_USERS, "{\"name\":\"\",\"tags\":\"\"}", "\"users[7]: 'name' is empty\""},
        {DEFINITIONS_USERS, "{\"name\":\"u\"}", "\"tags_not_present\""},
        {DEFINITIONS_USERS, "{\"name\":\"u\",\"tags\":[5]}",
         "\"users[7]: 'tags' is not a string nor a list of strings\""},
        {DEFINITIONS_USERS, "{\"name\":\"u\",\"tags\":\"\",\"password_hash\":\"!!\"}",
         "[\"not_base64\", \"!!\"]"},
        {DEFINITIONS_QUEUES, "{\"name\":\"q\",\"vhost\":\"v\"}",
         "\"queues[7]: 'durable' is not true or false\""},
        {DEFINITIONS_QUEUES, "{\"name\":\"q\",\"vhost\":\"v\",\"durable\":true,\"arguments\":5}",
         "\"queues[7]: 'arguments' is not a table\""},
        {DEFINITIONS_EXCHANGES, "{\"name\":\"x\",\"vhost\":\"v\",\"type\":\"no\",\"durable\":true}",
         "\"invalid exchange type 'no'\""},
        {DEFINITIONS_BINDINGS,
         "{\"source\":\"x\",\"vhost\":\"v\",\"destination\":\"q\",\"destination_type\":\"foo\",\"routing_"
         "key\":\"\"}",
         "\"bindings[7]: 'destination_type' is neither queue nor exchange\""},
        {DEFINITIONS_PARAMETERS, "{\"component\":\"shovel\",\"vhost\":\"v\",\"name\":\"n\"}",
         "\"parameters[7]: 'value' is missing\""},
    };
    for (size_t i = 0; i < LV_ARRAY_LEN(cases); i++) {
        struct buf out = BUF_INIT;
        char *reason;
        assert_int_equal(read_element(cases[i].section, cases[i].text, &out, &reason), -LE_INVAL);
        assert_string_equal(reason, cases[i].reason);
        assert_int_equal(out.len, 0);
        free(reason);
        buf_fini(&out);
    }
}

static void
test_hashing_by_version(void **state)
{
    static const char *const old[] = {"3.5.9", "3.0.0", "2.8.7"}, *const later[] = {"3.6.0", "3.10.8",
                                                                                    "4.1.0", "", "x"};
    for (size_t i = 0; i < LV_ARRAY_LEN(old); i++)
        assert_true(
            slice_eq_str(definitions_default_hashing(slice_str(old[i])), "rabbit_password_hashing_md5"));
    for (size_t i = 0; i < LV_ARRAY_LEN(later); i++)
        assert_true(
            slice_eq_str(definitions_default_hashing(slice_str(later[i])), "rabbit_password_hashing_sha256"));
}

// --- spools -------------------------------------------------------------------------------------------------------------------------

static void
test_spool(void **state)
{
    struct definitions_spool s;
    char dir[] = "/tmp/spool.XXXXXX";
    assert_non_null(mkdtemp(dir));
    for (unsigned count = 1; count < 30000; count *= 7) { // in memory, then in the file
        struct buf record = BUF_INIT;
        definitions_spool_init(&s, io_system(), dir);
        for (unsigned i = 0; i < count; i++) {
            char name[40];
            snprintf(name, sizeof name, "queue-%u", i);
            buf_reset(&record);
            definitions_record_put(
                &record, &(struct topology_request){.change = CHANGE_QUEUE_DECLARE, .name = slice_str(name)},
                i);
            assert_int_equal(definitions_spool_put(&s, buf_slice(&record)), 0);
        }
        for (int again = 0; again < 2; again++) {
            struct definitions_cursor c = {0};
            struct topology_request r;
            uint32_t index;
            bool is_end = false;
            unsigned seen = 0;
            while (!is_end) {
                size_t n;
                while ((n = definitions_record_read(slice_from(buf_slice(&c.chunk), c.at), &r, &index)) > 0) {
                    assert_int_equal(index, seen++);
                    c.at += n;
                }
                assert_int_equal(definitions_spool_fill(&s, &c, &is_end), 0);
            }
            assert_int_equal(seen, count);
            definitions_cursor_fini(&c);
        }
        definitions_spool_fini(&s);
        buf_fini(&record);
    }
    assert_int_equal(remove(dir), 0); // nothing is left in it
}

static void
test_a_spool_that_cannot_be_written(void **state)
{
    struct definitions_spool s;
    char *bytes = mem_xalloc(SPOOL_MEMORY_BYTES + 1);
    memset(bytes, 0, SPOOL_MEMORY_BYTES + 1);
    definitions_spool_init(&s, io_system(), "/nonexistent");
    assert_int_equal(definitions_spool_put(&s, slice_of(bytes, 10)), 0);
    assert_int_equal(definitions_spool_put(&s, slice_of(bytes, SPOOL_MEMORY_BYTES + 1)), -LE_NOTFOUND);
    definitions_spool_fini(&s);
    mem_free(bytes);
}

// --- parameters -----------------------------------------------------------------------------------------------------------------------

static void
test_uris_are_not_shown(void **state)
{
    static const char *const values[] = {"{\"uri\":\"http://u:secret@h\"}", "{\"uri\":[\"secret\"]}",
                                         "{\"uri\":{\"a\":\"secret\"}}"};
    for (size_t i = 0; i < LV_ARRAY_LEN(values); i++) {
        struct buf reason = BUF_INIT;
        json_t *value = json_loads(values[i], 0, NULL);
        assert_false(parameter_is_valid(SLICE_LIT("federation-upstream"), SLICE_LIT("n"), value, &reason));
        assert_null(strstr(buf_cstr(&reason), "secret"));
        json_decref(value);
        buf_fini(&reason);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scan),
        cmocka_unit_test(test_scan_limits),
        cmocka_unit_test(test_a_visitor_ends_the_scan),
        cmocka_unit_test(test_elements),
        cmocka_unit_test(test_refused_elements),
        cmocka_unit_test(test_hashing_by_version),
        cmocka_unit_test(test_spool),
        cmocka_unit_test(test_a_spool_that_cannot_be_written),
        cmocka_unit_test(test_uris_are_not_shown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
