// json_erlang.c: see json_erlang.h.
#include "src/broker/json_erlang.h"

#include <stdlib.h>

#include "amqp/wire/erl_text.h"
#include "src/base/mem.h"

// LIMIT: bytes of one string, nested values, members of one list or object.
enum { TEXT_MAX = 512, DEPTH_MAX = 8, MEMBERS_MAX = 64 };

static int
compare_keys(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

// The keys of an object as Erlang orders them; heap, NULL when there are none or no memory is left.
static const char **
sorted_keys(const json_t *object)
{
    const char *key, **keys = NULL;
    json_t *value;
    size_t count = 0;
    if (json_object_size(object) > 0)
        keys = mem_alloc(json_object_size(object) * sizeof(char *));
    if (keys == NULL)
        return NULL;
    json_object_foreach((json_t *)(uintptr_t)object, key, value) keys[count++] = key;
    qsort(keys, count, sizeof(char *), compare_keys);
    return keys;
}

static void put_term(struct buf *out, const json_t *value, unsigned depth);

static bool
is_printable(const json_t *array)
{
    for (size_t i = 0; i < json_array_size(array); i++) {
        const json_t *item = json_array_get(array, i);
        json_int_t c = json_integer_value(item);
        bool is_space = c >= '\b' && c <= '\r';
        if (!json_is_integer(item) || !(is_space || c == 27 || (c >= ' ' && c <= '~')))
            return false;
    }
    return json_array_size(array) > 0;
}

static void
put_characters(struct buf *out, const json_t *array)
{
    static const char letters[] = "btnvfr"; // 8 … 13
    buf_append_u8(out, '"');
    for (size_t i = 0; i < json_array_size(array) && i < TEXT_MAX; i++) {
        uint8_t c = (uint8_t)json_integer_value(json_array_get(array, i));
        bool is_named = c >= '\b' && c <= '\r';
        if (c == '"' || c == '\\' || c == 27 || is_named)
            buf_append_u8(out, '\\');
        buf_append_u8(out, c == 27 ? 'e' : is_named ? (uint8_t)letters[c - '\b'] : c);
    }
    buf_append_u8(out, '"');
}

static void
put_list(struct buf *out, const json_t *array, unsigned depth)
{
    if (is_printable(array)) {
        put_characters(out, array);
        return;
    }
    buf_append_u8(out, '[');
    for (size_t i = 0; i < json_array_size(array); i++) {
        if (i == MEMBERS_MAX) {
            buf_append_str(out, "|...");
            break;
        }
        if (i > 0)
            buf_append_u8(out, ',');
        put_term(out, json_array_get(array, i), depth);
    }
    buf_append_u8(out, ']');
}

static void
put_binary(struct buf *out, const char *text, size_t len)
{
    wire_print_erlang_binary(out, slice_of(text, len), TEXT_MAX);
}

static void
put_map(struct buf *out, const json_t *object, unsigned depth)
{
    const char **keys = sorted_keys(object);
    buf_append_str(out, "#{");
    for (size_t i = 0; keys != NULL && i < json_object_size(object); i++) {
        if (i == MEMBERS_MAX) {
            buf_append_str(out, ",...");
            break;
        }
        if (i > 0)
            buf_append_u8(out, ',');
        put_binary(out, keys[i], strlen(keys[i]));
        buf_append_str(out, " => ");
        put_term(out, json_object_get(object, keys[i]), depth);
    }
    buf_append_u8(out, '}');
    mem_free(keys);
}

static void
put_term(struct buf *out, const json_t *value, unsigned depth)
{
    if (depth == 0 || value == NULL) {
        buf_append_str(out, "...");
        return;
    }
    switch (json_typeof(value)) {
    case JSON_OBJECT: put_map(out, value, depth - 1); break;
    case JSON_ARRAY: put_list(out, value, depth - 1); break;
    case JSON_STRING: put_binary(out, json_string_value(value), json_string_length(value)); break;
    case JSON_INTEGER: buf_printf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(value)); break;
    case JSON_REAL: wire_print_erlang_float(out, json_real_value(value)); break;
    case JSON_TRUE: buf_append_str(out, "true"); break;
    case JSON_FALSE: buf_append_str(out, "false"); break;
    case JSON_NULL: buf_append_str(out, "null"); break;
    }
}

void
json_put_erlang(struct buf *out, const json_t *value)
{
    put_term(out, value, DEPTH_MAX);
}

size_t
json_put_erlang_pairs(struct buf *out, const json_t *object, bool (*wanted)(const char *key, void *ctx),
                      void *ctx)
{
    const char **keys = sorted_keys(object);
    size_t count = 0;
    buf_append_u8(out, '[');
    for (size_t i = 0; keys != NULL && i < json_object_size(object); i++) {
        if (!wanted(keys[i], ctx))
            continue;
        if (count < MEMBERS_MAX) {
            buf_append_str(out, count > 0 ? ",{" : "{");
            put_binary(out, keys[i], strlen(keys[i]));
            buf_append_u8(out, ',');
            put_term(out, json_object_get(object, keys[i]), DEPTH_MAX - 1);
            buf_append_u8(out, '}');
        }
        count++;
    }
    buf_append_str(out, count > MEMBERS_MAX ? "|...]" : "]");
    mem_free(keys);
    return keys == NULL ? json_object_size(object) : count; // without memory none was asked about
}
