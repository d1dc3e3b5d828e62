// fuzz_http: what comes from outside to the HTTP API, before anybody knows who it is and after: path and query, columns, bodies
// that become field tables, log-in headers, and the records that workers send.
//
// Input: a byte that says which, then its text.
#include <stdlib.h>

#include "amqp/wire/table.h"
#include "src/base/mem.h"
#include "src/management/api.h"
#include "src/management/api_auth.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// In a block of its exact size, with a NUL behind it.
static char *
text_of(const uint8_t *data, size_t size)
{
    char *text = mem_xalloc(size + 1);
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    return text;
}

static void
fuzz_query(const uint8_t *data, size_t size)
{
    static struct api_query q;
    struct buf out = BUF_INIT;
    char *text = text_of(data, size);
    size_t len = strlen(text);
    if (api_query_parse(text, &q) == 0) {
        for (size_t i = 0; i < q.segment_count; i++) {
            LV_ASSERT(q.segments[i].len <= len);
            api_put_escaped(&out, q.segments[i]);
        }
        for (size_t i = 0; i < q.parameter_count; i++)
            LV_ASSERT(q.parameters[i].key.len + q.parameters[i].value.len <= len);
        struct api_request r = {.query = q, .method = API_GET};
        list_init(&r.node);
        bool is_found = api_find_route(&r);
        LV_ASSERT(is_found != r.is_answered);
        buf_fini(&r.out);
        mem_free(r.allow);
    }
    buf_fini(&out);
    mem_free(text);
}

// Columns up to a newline, then JSON: what comes out is JSON too, and nothing more than went in.
static void
fuzz_columns(const uint8_t *data, size_t size)
{
    static struct api_columns columns;
    static struct api_out o;
    const uint8_t *line = size > 0 ? memchr(data, '\n', size) : NULL;
    size_t len = line != NULL ? (size_t)(line - data) : size;
    struct buf out = BUF_INIT;
    struct api_value value = {0};
    json_t *body = line == NULL ? NULL
                                : json_loadb((const char *)line + 1, size - len - 1,
                                             JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    if (body != NULL && api_columns_parse(slice_of(data, len), &columns) == 0) {
        api_out_init(&o, &out, &columns);
        api_out_json(&o, NULL, body);
        LV_ASSERT(o.depth == 0 && o.skipped == 0 && !out.failed);
        json_t *back = json_loadb((const char *)out.ptr, out.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        LV_ASSERT(back != NULL);
        json_decref(back);
        api_out_init_catch(&o, &columns, &value);
        api_out_json(&o, NULL, body);
    }
    json_decref(body);
    buf_fini(&out);
}

// A body's arguments as a field table: one that is well-formed, or none.
static void
fuzz_table(const uint8_t *data, size_t size)
{
    struct buf table = BUF_INIT, out = BUF_INIT;
    json_t *body = json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
    if (body != NULL && api_table(body, &table) == 0 && table.len > 0) {
        LV_ASSERT(table_validate(buf_slice(&table), TABLE_DEPTH_MAX) == 0);
        json_put_table(&out, buf_slice(&table));
    }
    json_decref(body);
    buf_fini(&table);
    buf_fini(&out);
}

static void
fuzz_login(const uint8_t *data, size_t size)
{
    struct buf room = BUF_INIT;
    struct slice user, password;
    char *text = text_of(data, size);
    if (api_auth_parse_basic(text, &room, &user, &password) == 0)
        LV_ASSERT(user.len + password.len + 1 == room.len &&
                  (user.len == 0 || memchr(user.ptr, 0, user.len) == NULL));
    buf_fini(&room);
    mem_free(text);
}

static void
fuzz_records(const uint8_t *data, size_t size)
{
    struct slice keys = slice_of(data, size), totals = keys, name;
    struct broker_key key;
    uint64_t values[TOTAL_COUNT];
    while (broker_key_next(&keys, &key))
        LV_ASSERT(key.name.len + key.vhost.len + key.user.len < size);
    while (broker_total_next(&totals, &name, values))
        LV_ASSERT(name.len < size);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    switch (data[0] % 5) {
    case 0: fuzz_query(data + 1, size - 1); break;
    case 1: fuzz_columns(data + 1, size - 1); break;
    case 2: fuzz_table(data + 1, size - 1); break;
    case 3: fuzz_login(data + 1, size - 1); break;
    default: fuzz_records(data + 1, size - 1); break;
    }
    return 0;
}
