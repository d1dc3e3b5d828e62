// leveretctl_value.c: one cell in each format. The shapes were taken from rabbitmqctl's own output, see leveretctl_format.h.
#include "src/cli/leveretctl_value.h"

#include <ctype.h>

#include "amqp/wire/erl_text.h"
#include "src/base/mem.h"
#include "src/cli/leveretctl_format.h"
#include "src/cli/leveretctl_term.h"

struct slice
json_slice(const json_t *string)
{
    return json_is_string(string) ? slice_of(json_string_value(string), json_string_length(string))
                                  : SLICE_EMPTY;
}

// --- Erlang -------------------------------------------------------------------------------------------------------------------

void
erlang_put_atom(struct buf *out, struct slice name)
{
    bool is_plain = name.len > 0 && name.ptr[0] >= 'a' && name.ptr[0] <= 'z';
    for (size_t i = 0; is_plain && i < name.len; i++)
        is_plain = name.ptr[i] < 0x80 && (isalnum(name.ptr[i]) || name.ptr[i] == '_' || name.ptr[i] == '@');
    if (is_plain) {
        buf_append_slice(out, name);
        return;
    }
    buf_append_u8(out, '\'');
    for (size_t i = 0; i < name.len; i++) {
        if (name.ptr[i] == '\'' || name.ptr[i] == '\\')
            buf_append_u8(out, '\\');
        buf_append_u8(out, name.ptr[i]);
    }
    buf_append_u8(out, '\'');
}

// --- JSON ---------------------------------------------------------------------------------------------------------------------

void
json_text_put_string(struct buf *out, struct slice text)
{
    buf_append_u8(out, '"');
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.ptr[i];
        if (c == '"' || c == '\\')
            buf_printf(out, "\\%c", c);
        else if (c == '\n' || c == '\t' || c == '\r')
            buf_printf(out, "\\%c", c == '\n' ? 'n' : c == '\t' ? 't' : 'r');
        else if (c < 0x20)
            buf_printf(out, "\\u%04X", c);
        else
            buf_append_u8(out, c);
    }
    buf_append_u8(out, '"');
}

static void
put_number(struct buf *out, const json_t *value)
{
    if (json_is_real(value))
        wire_print_erlang_float(out, json_real_value(value)); // what it prints is JSON too
    else
        buf_printf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
}

void
json_text_put(struct buf *out, const json_t *value)
{
    const char *key, *separator = "";
    json_t *item;
    switch (value != NULL ? json_typeof(value) : JSON_NULL) {
    case JSON_OBJECT:
        buf_append_u8(out, '{');
        json_object_foreach((json_t *)(uintptr_t)value, key, item)
        {
            buf_append_str(out, separator);
            json_text_put_string(out, slice_str(key));
            buf_append_u8(out, ':');
            json_text_put(out, item);
            separator = ",";
        }
        buf_append_u8(out, '}');
        break;
    case JSON_ARRAY:
        buf_append_u8(out, '[');
        for (size_t i = 0; i < json_array_size(value); i++) {
            buf_append_str(out, i > 0 ? "," : "");
            json_text_put(out, json_array_get(value, i));
        }
        buf_append_u8(out, ']');
        break;
    case JSON_STRING: json_text_put_string(out, json_slice(value)); break;
    case JSON_INTEGER:
    case JSON_REAL: put_number(out, value); break;
    case JSON_TRUE: buf_append_str(out, "true"); break;
    case JSON_FALSE: buf_append_str(out, "false"); break;
    case JSON_NULL:
    default: buf_append_str(out, "null"); break;
    }
}

char *
ctl_json_text(const json_t *value)
{
    struct buf out = BUF_INIT;
    json_text_put(&out, value);
    char *text = out.failed ? NULL : mem_xslice_dup(buf_slice(&out));
    buf_fini(&out);
    return text;
}

// --- AMQP tables --------------------------------------------------------------------------------------------------------------

const char *
amqp_type_name(const json_t *value)
{
    switch (value != NULL ? json_typeof(value) : JSON_NULL) {
    case JSON_OBJECT: return "table";
    case JSON_ARRAY: return "array";
    case JSON_STRING: return "longstr";
    case JSON_INTEGER:
        return json_integer_value(value) == (int32_t)json_integer_value(value) ? "signedint" : "long";
    case JSON_REAL: return "double";
    case JSON_TRUE:
    case JSON_FALSE: return "bool";
    case JSON_NULL:
    default: return "void";
    }
}

// [{"x-max-length",100}]: without types, as in tables.
void
plain_table_put(struct buf *out, const json_t *value)
{
    const char *key, *separator = "";
    json_t *item;
    if (json_is_object(value)) {
        buf_append_u8(out, '[');
        json_object_foreach((json_t *)(uintptr_t)value, key, item)
        {
            buf_printf(out, "%s{", separator);
            json_text_put_string(out, slice_str(key));
            buf_append_u8(out, ',');
            plain_table_put(out, item);
            buf_append_u8(out, '}');
            separator = ",";
        }
        buf_append_u8(out, ']');
    } else if (json_is_array(value)) {
        buf_append_u8(out, '[');
        for (size_t i = 0; i < json_array_size(value); i++) {
            buf_append_str(out, i > 0 ? "," : "");
            plain_table_put(out, json_array_get(value, i));
        }
        buf_append_u8(out, ']');
    } else if (json_is_string(value)) {
        json_text_put_string(out, json_slice(value));
    } else if (json_is_null(value)) {
        buf_append_str(out, "undefined");
    } else {
        json_text_put(out, value);
    }
}

// [["x-max-length","signedint",100]]: with types, as in json.
void
typed_json_put(struct buf *out, const json_t *value)
{
    const char *key, *separator = "";
    json_t *item;
    if (json_is_object(value)) {
        buf_append_u8(out, '[');
        json_object_foreach((json_t *)(uintptr_t)value, key, item)
        {
            buf_printf(out, "%s[", separator);
            json_text_put_string(out, slice_str(key));
            buf_printf(out, ",\"%s\",", amqp_type_name(item));
            typed_json_put(out, item);
            buf_append_u8(out, ']');
            separator = ",";
        }
        buf_append_u8(out, ']');
    } else if (json_is_array(value)) {
        buf_append_u8(out, '[');
        for (size_t i = 0; i < json_array_size(value); i++) {
            item = json_array_get(value, i);
            buf_printf(out, "%s[\"%s\",", i > 0 ? "," : "", amqp_type_name(item));
            typed_json_put(out, item);
            buf_append_u8(out, ']');
        }
        buf_append_u8(out, ']');
    } else if (json_is_null(value)) {
        buf_append_str(out, "\"undefined\"");
    } else {
        json_text_put(out, value);
    }
}

static struct term *
typed_value(const json_t *value)
{
    if (json_is_object(value))
        return term_of_table(value);
    if (json_is_string(value))
        return term_binary(json_slice(value));
    if (json_is_array(value)) {
        struct term *list = term_list();
        for (size_t i = 0; i < json_array_size(value); i++) {
            struct term *pair = term_tuple();
            term_add(pair, term_atom(slice_str(amqp_type_name(json_array_get(value, i)))));
            term_add(pair, typed_value(json_array_get(value, i)));
            term_add(list, pair);
        }
        return list;
    }
    struct buf text = BUF_INIT;
    json_text_put(&text, value);
    struct term *leaf = json_is_null(value) ? term_atom(SLICE_LIT("undefined")) : term_leaf(buf_slice(&text));
    buf_fini(&text);
    return leaf;
}

struct term *
term_of_table(const json_t *object)
{
    const char *key;
    json_t *item;
    struct term *list = term_list();
    json_object_foreach((json_t *)(uintptr_t)object, key, item)
    {
        struct term *entry = term_tuple();
        term_add(entry, term_binary(slice_str(key)));
        term_add(entry, term_atom(slice_str(amqp_type_name(item))));
        term_add(entry, typed_value(item));
        term_add(list, entry);
    }
    return list;
}
