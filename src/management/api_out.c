// api_out.c: see api_out.h.
#include "src/management/api_out.h"

#include <inttypes.h>
#include <math.h>

#include "amqp/wire/table.h"
#include "src/base/err.h"
#include "src/broker/json.h"

static_assert(API_COLUMNS_MAX <= 64, "a mask has a bit for each column");

int
api_columns_parse(struct slice text, struct api_columns *ret)
{
    ret->count = 0;
    for (size_t start = 0; start < text.len;) {
        size_t end = start, depth = 0;
        if (ret->count == API_COLUMNS_MAX)
            return -LE_LIMIT;
        for (size_t from = start;; end++) {
            bool is_over = end == text.len || text.ptr[end] == ',';
            if (!is_over && text.ptr[end] != '.')
                continue;
            if (depth == API_COLUMN_DEPTH)
                return -LE_LIMIT;
            ret->paths[ret->count][depth++] = slice_of(text.ptr + from, end - from);
            from = end + 1;
            if (is_over)
                break;
        }
        ret->depths[ret->count] = (uint8_t)depth;
        ret->count += end > start; // ",," and a comma at the end are no columns
        start = end + 1;
    }
    return 0;
}

void
api_out_init(struct api_out *o, struct buf *out, const struct api_columns *columns)
{
    o->out = out;
    o->columns = columns != NULL && columns->count > 0 ? columns : NULL;
    o->caught = NULL;
    o->depth = o->skipped = 0;
}

void
api_out_init_catch(struct api_out *o, const struct api_columns *path, struct api_value *caught)
{
    api_out_init(o, NULL, path);
    o->caught = caught;
}

// --- the filter -----------------------------------------------------------------------------------------------------------------

enum match { MATCH_NONE, MATCH_BELOW, MATCH_WHOLE };

// Objects above this one that have names: how far into the paths we are.
static unsigned
path_depth(const struct api_out *o)
{
    unsigned depth = 0;
    for (unsigned i = 0; i < o->depth; i++)
        depth += !o->levels[i].is_array;
    return depth;
}

static enum match
match_key(const struct api_out *o, const char *key, uint64_t *ret_mask)
{
    const struct api_out_level *top = o->depth > 0 ? &o->levels[o->depth - 1] : NULL;
    *ret_mask = top != NULL ? top->mask : UINT64_MAX;
    if (o->columns == NULL || (top != NULL && top->is_whole))
        return MATCH_WHOLE;
    if (key == NULL)
        return MATCH_BELOW;
    unsigned at = path_depth(o) - 1;
    enum match match = MATCH_NONE;
    uint64_t mask = 0;
    for (size_t i = 0; i < o->columns->count; i++) {
        if ((*ret_mask >> i & 1) == 0 || at >= o->columns->depths[i] ||
            !slice_eq_str(o->columns->paths[i][at], key))
            continue;
        mask |= UINT64_C(1) << i;
        if (at + 1u == o->columns->depths[i])
            match = MATCH_WHOLE;
        else if (match == MATCH_NONE)
            match = MATCH_BELOW;
    }
    *ret_mask = mask;
    return match;
}

bool
api_out_wants(const struct api_out *o, const char *key)
{
    uint64_t mask;
    return o->skipped == 0 && match_key(o, key, &mask) != MATCH_NONE;
}

// Whether a value that is neither object nor array is to be written.
static bool
wants_scalar(const struct api_out *o, const char *key)
{
    uint64_t mask;
    if (o->skipped > 0)
        return false;
    enum match match = match_key(o, key, &mask);
    return match == MATCH_WHOLE || (match == MATCH_BELOW && key == NULL && o->depth == 0);
}

static void
put_key(struct api_out *o, const char *key)
{
    if (key == NULL)
        return;
    json_put_string(o->out, slice_str(key));
    buf_append_u8(o->out, ':');
}

static void
begin(struct api_out *o, const char *key, bool is_array)
{
    uint64_t mask;
    enum match match = o->skipped > 0 ? MATCH_NONE : match_key(o, key, &mask);
    if (match != MATCH_NONE && o->depth == API_OUT_DEPTH) {
        api_out_null(o, key);
        match = MATCH_NONE;
    }
    if (match == MATCH_NONE) {
        o->skipped++;
        return;
    }
    o->levels[o->depth++] = (struct api_out_level){.mask = mask,
                                                   .start = o->out != NULL ? o->out->len : 0,
                                                   .is_array = is_array,
                                                   .is_whole = match == MATCH_WHOLE};
    if (o->out == NULL)
        return;
    put_key(o, key);
    buf_append_u8(o->out, is_array ? '[' : '{');
}

void
api_out_object(struct api_out *o, const char *key)
{
    begin(o, key, false);
}

void
api_out_array(struct api_out *o, const char *key)
{
    begin(o, key, true);
}

void
api_out_end(struct api_out *o)
{
    if (o->skipped > 0) {
        o->skipped--;
        return;
    }
    LV_ASSERT(o->depth > 0);
    const struct api_out_level *level = &o->levels[--o->depth];
    if (o->out == NULL || o->out->failed)
        return;
    uint8_t last = o->out->ptr[o->out->len - 1];
    if (!level->is_whole && o->depth > 0 && (last == '{' || last == '[')) {
        o->out->len = level->start; // nothing of it was asked for
        return;
    }
    json_drop_comma(o->out);
    buf_append_u8(o->out, level->is_array ? ']' : '}');
    if (o->depth > 0)
        buf_append_u8(o->out, ',');
}

// --- values ---------------------------------------------------------------------------------------------------------------------

// True when the caller is to write the value and a comma (unless it is the outermost).
static bool
scalar(struct api_out *o, const char *key, const struct api_value *value)
{
    if (!wants_scalar(o, key))
        return false;
    if (o->out == NULL) {
        *o->caught = *value;
        return false;
    }
    put_key(o, key);
    return true;
}

static void
comma(struct api_out *o)
{
    if (o->depth > 0)
        buf_append_u8(o->out, ',');
}

void
api_out_int(struct api_out *o, const char *key, int64_t v)
{
    struct api_value value = {.kind = API_VALUE_NUMBER, .number = (double)v};
    if (!scalar(o, key, &value))
        return;
    buf_printf(o->out, "%" PRId64, v);
    comma(o);
}

void
api_out_double(struct api_out *o, const char *key, double v)
{
    struct api_value value = {.kind = API_VALUE_NUMBER, .number = v};
    char text[40];
    if (!isfinite(v)) {
        api_out_null(o, key); // JSON has no infinities
        return;
    }
    if (!scalar(o, key, &value))
        return;
    for (int digits = 1; digits <= 17; digits++) { // the shortest that reads back the same
        snprintf(text, sizeof text, "%.*g", digits, v);
        if (strtod(text, NULL) == v)
            break;
    }
    buf_append_str(o->out, text);
    if (strpbrk(text, ".e") == NULL)
        buf_append_str(o->out, ".0");
    comma(o);
}

static void
atom(struct api_out *o, const char *key, const char *text)
{
    struct api_value value = {.kind = API_VALUE_ATOM, .text = slice_str(text)};
    if (!scalar(o, key, &value))
        return;
    buf_append_str(o->out, text);
    comma(o);
}

void
api_out_bool(struct api_out *o, const char *key, bool v)
{
    atom(o, key, v ? "true" : "false");
}

void
api_out_null(struct api_out *o, const char *key)
{
    atom(o, key, "null");
}

void
api_out_slice(struct api_out *o, const char *key, struct slice v)
{
    struct api_value value = {.kind = API_VALUE_TEXT, .text = v};
    if (!scalar(o, key, &value))
        return;
    json_put_string(o->out, v);
    comma(o);
}

void
api_out_str(struct api_out *o, const char *key, const char *v)
{
    if (v != NULL)
        api_out_slice(o, key, slice_str(v));
    else
        api_out_null(o, key);
}

// --- field tables and JSON values -------------------------------------------------------------------------------------------------

static void put_field(struct api_out *o, const char *key, const struct field *f, unsigned depth);

static void
put_table_entries(struct api_out *o, struct slice table, unsigned depth)
{
    struct slice key;
    struct field f;
    char name[256];
    for (struct table_iter it = table_iter_of(table); table_iter_next(&it, &key, &f);) {
        size_t len = strnlen((const char *)key.ptr, LV_MIN(key.len, sizeof name - 1));
        memcpy(name, key.ptr, len);
        name[len] = '\0';
        put_field(o, name, &f, depth);
    }
}

static void
put_field(struct api_out *o, const char *key, const struct field *f, unsigned depth)
{
    struct field item;
    switch (f->type) {
    case FIELD_BOOL: api_out_bool(o, key, f->i64 != 0); break;
    case FIELD_FLOAT:
    case FIELD_DOUBLE: api_out_double(o, key, f->f64); break;
    case FIELD_DECIMAL: api_out_double(o, key, (double)f->decimal.value / pow(10, f->decimal.scale)); break;
    case FIELD_LONGSTR:
    case FIELD_BINARY: api_out_slice(o, key, f->bytes); break;
    case FIELD_VOID: api_out_null(o, key); break;
    case FIELD_TABLE:
        api_out_object(o, key);
        if (depth > 0)
            put_table_entries(o, f->table, depth - 1);
        api_out_end(o);
        break;
    case FIELD_ARRAY:
        api_out_array(o, key);
        for (struct array_iter it = array_iter_of(f->array); depth > 0 && array_iter_next(&it, &item);)
            put_field(o, NULL, &item, depth - 1);
        api_out_end(o);
        break;
    default: api_out_int(o, key, f->i64); break;
    }
}

void
api_out_table(struct api_out *o, const char *key, struct slice table)
{
    api_out_object(o, key);
    put_table_entries(o, table, TABLE_DEPTH_MAX);
    api_out_end(o);
}

static void
put_json(struct api_out *o, const char *key, const json_t *v, unsigned depth)
{
    switch (v == NULL ? JSON_NULL : json_typeof(v)) {
    case JSON_NULL: api_out_null(o, key); break;
    case JSON_TRUE:
    case JSON_FALSE: api_out_bool(o, key, json_is_true(v)); break;
    case JSON_INTEGER: api_out_int(o, key, json_integer_value(v)); break;
    case JSON_REAL: api_out_double(o, key, json_real_value(v)); break;
    case JSON_STRING: api_out_slice(o, key, slice_of(json_string_value(v), json_string_length(v))); break;
    case JSON_ARRAY:
        api_out_array(o, key);
        for (size_t i = 0; depth > 0 && i < json_array_size(v); i++)
            put_json(o, NULL, json_array_get(v, i), depth - 1);
        api_out_end(o);
        break;
    case JSON_OBJECT: {
        const char *name;
        json_t *member;
        api_out_object(o, key);
        if (depth > 0)
            json_object_foreach((json_t *)(uintptr_t)v, name, member)
            {
                put_json(o, name, member, depth - 1);
            }
        api_out_end(o);
        break;
    }
    }
}

void
api_out_json(struct api_out *o, const char *key, const json_t *v)
{
    put_json(o, key, v, API_OUT_DEPTH);
}

void
api_out_members(struct api_out *o, const json_t *object)
{
    const char *name;
    json_t *member;
    json_object_foreach((json_t *)(uintptr_t)object, name, member)
    {
        api_out_json(o, name, member);
    }
}
