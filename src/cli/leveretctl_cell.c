// leveretctl_cell.c: one value of a row, by kind and format.
#include <arpa/inet.h>
#include <stdio.h>

#include "src/cli/leveretctl_format.h"
#include "src/cli/leveretctl_term.h"
#include "src/cli/leveretctl_value.h"

// --- values that Erlang sees as tuples ------------------------------------------------------------------------------------------

// LIMIT: numbers of an address or a version.
enum { PARTS_MAX = 8 };

// 127.0.0.1 → 127 0 0 1; ::1 → eight groups; "AMQP 0-9-1" → 0 9 1. Returns how many; 0: it is none of these.
static size_t
numeric_parts(enum ctl_kind kind, const json_t *value, unsigned parts[PARTS_MAX])
{
    const char *text = json_is_string(value) ? json_string_value(value) : "";
    uint8_t bytes[16];
    if (kind == KIND_PROTOCOL)
        // NOLINTNEXTLINE(cert-err34-c): for sorting; any number will do
        return sscanf(text, "AMQP %u-%u-%u", &parts[0], &parts[1], &parts[2]) == 3 ? 3 : 0;
    if (inet_pton(AF_INET, text, bytes) == 1) {
        for (size_t i = 0; i < 4; i++)
            parts[i] = bytes[i];
        return 4;
    }
    if (inet_pton(AF_INET6, text, bytes) == 1) {
        for (size_t i = 0; i < 8; i++)
            parts[i] = (unsigned)bytes[2 * i] << 8 | bytes[2 * i + 1];
        return 8;
    }
    return 0;
}

static void
put_parts(struct buf *out, enum ctl_kind kind, const json_t *value, const char *brackets)
{
    unsigned parts[PARTS_MAX];
    size_t count = numeric_parts(kind, value, parts);
    if (count == 0) {
        if (brackets[0] == '[')
            json_text_put_string(out, json_slice(value));
        else
            buf_append_slice(out, json_slice(value));
        return;
    }
    for (size_t i = 0; i < count; i++)
        buf_printf(out, "%c%u", i == 0 ? brackets[0] : ',', parts[i]);
    buf_append_u8(out, (uint8_t)brackets[1]);
}

// "<rabbit@host.1795262831.684.0>" → "684.0": what is behind the node and its start.
static struct slice
pid_tail(const json_t *value)
{
    struct slice pid = json_slice(value);
    int dots = 0;
    if (pid.len > 0 && pid.ptr[pid.len - 1] == '>')
        pid.len--;
    for (size_t i = pid.len; i > 0; i--) {
        if (pid.ptr[i - 1] == '.' && ++dots == 2)
            return slice_from(pid, i);
    }
    return pid;
}

// --- text -----------------------------------------------------------------------------------------------------------------------

static void
put_tags(struct buf *out, const json_t *tags, const char *open, const char *separator, const char *close)
{
    buf_append_str(out, open);
    for (size_t i = 0; i < json_array_size(tags); i++) {
        buf_append_str(out, i > 0 ? separator : "");
        buf_append_slice(out, json_slice(json_array_get(tags, i)));
    }
    buf_append_str(out, close);
}

static void
put_nodes(struct buf *out, const json_t *nodes)
{
    const char *key, *separator = "";
    json_t *state;
    buf_append_u8(out, '[');
    json_object_foreach((json_t *)(uintptr_t)nodes, key, state)
    {
        buf_printf(out, "%s{%s, %s}", separator, key, json_string_value(state));
        separator = ", ";
    }
    buf_append_u8(out, ']');
}

static void
put_term(struct buf *out, enum ctl_kind kind, const json_t *value)
{
    struct term *term = term_of_cell(kind, value);
    term_print_flat(out, term);
    term_free(term);
}

static void
put_plain(struct buf *out, enum ctl_kind kind, const json_t *value)
{
    switch (kind) {
    case KIND_TAGS: put_tags(out, value, "[", ", ", "]"); break;
    case KIND_TABLE: plain_table_put(out, value); break;
    case KIND_PROTOCOL: put_parts(out, kind, value, "{}"); break;
    case KIND_NODES: put_nodes(out, value); break;
    case KIND_JSON:
    case KIND_NUMBER:
    case KIND_BOOL: json_text_put(out, value); break;
    case KIND_TEXT:
    case KIND_ATOM:
    case KIND_PID:
    case KIND_ADDRESS:
    default: buf_append_slice(out, json_slice(value)); break;
    }
}

// A list loses its brackets and commas: rabbitmqctl prints it as the iolist it takes it for.
static void
put_pretty(struct buf *out, enum ctl_kind kind, const json_t *value)
{
    struct buf flat = BUF_INIT;
    switch (kind) {
    case KIND_TAGS: put_tags(out, value, "", "", ""); break;
    case KIND_PID: buf_printf(out, "<1.%.*s>", SLICE_FMT(pid_tail(value))); break;
    case KIND_ADDRESS: put_parts(out, kind, value, "{}"); break;
    case KIND_TABLE:
        put_term(&flat, kind, value);
        for (size_t i = 1; i + 1 < flat.len; i++) {
            if (flat.ptr[i] != ',' || flat.ptr[i - 1] != '}' || flat.ptr[i + 1] != '{')
                buf_append_u8(out, flat.ptr[i]);
        }
        break;
    default: put_plain(out, kind, value); break;
    }
    buf_fini(&flat);
}

// --- JSON -----------------------------------------------------------------------------------------------------------------------

static void
put_json(struct buf *out, enum ctl_kind kind, const json_t *value)
{
    struct buf text = BUF_INIT;
    switch (kind) {
    case KIND_TABLE: typed_json_put(out, value); break;
    case KIND_PID: buf_printf(out, "\"#PID<1.%.*s>\"", SLICE_FMT(pid_tail(value))); break;
    case KIND_ADDRESS:
    case KIND_PROTOCOL: put_parts(out, kind, value, "[]"); break;
    case KIND_JSON:
        json_text_put(&text, value);
        json_text_put_string(out, buf_slice(&text));
        break;
    default: json_text_put(out, value); break;
    }
    buf_fini(&text);
}

void
ctl_format_cell(struct buf *out, enum ctl_format format, enum ctl_kind kind, const json_t *value)
{
    bool is_empty = value == NULL || json_is_null(value);
    if (is_empty && format == FORMAT_JSON)
        buf_append_str(out, "\"\"");
    else if (format == FORMAT_ERLANG)
        put_term(out, kind, value);
    else if (is_empty)
        return;
    else if (format == FORMAT_JSON)
        put_json(out, kind, value);
    else if (format == FORMAT_PRETTY)
        put_pretty(out, kind, value);
    else
        put_plain(out, kind, value);
}

// --- terms ----------------------------------------------------------------------------------------------------------------------

static struct term *
leaf_of(struct buf *text)
{
    struct term *leaf = term_leaf(buf_slice(text));
    buf_fini(text);
    return leaf;
}

static struct term *
term_of_nodes(const json_t *nodes)
{
    const char *key;
    json_t *state;
    struct term *list = term_list();
    json_object_foreach((json_t *)(uintptr_t)nodes, key, state)
    {
        struct term *pair = term_tuple();
        term_add(pair, term_atom(slice_str(key)));
        term_add(pair, term_atom(json_slice(state)));
        term_add(list, pair);
    }
    return list;
}

struct term *
term_of_cell(enum ctl_kind kind, const json_t *value)
{
    struct buf text = BUF_INIT;
    if (value == NULL || json_is_null(value))
        return term_atom(SLICE_EMPTY);
    switch (kind) {
    case KIND_TEXT: return term_binary(json_slice(value));
    case KIND_ATOM: return term_atom(json_slice(value));
    case KIND_TABLE: return term_of_table(value);
    case KIND_NODES: return term_of_nodes(value);
    case KIND_JSON:
        json_text_put(&text, value);
        struct term *binary = term_binary(buf_slice(&text));
        buf_fini(&text);
        return binary;
    case KIND_TAGS: {
        struct term *list = term_list();
        for (size_t i = 0; i < json_array_size(value); i++)
            term_add(list, term_atom(json_slice(json_array_get(value, i))));
        return list;
    }
    case KIND_PID: buf_printf(&text, "<1.%.*s>", SLICE_FMT(pid_tail(value))); return leaf_of(&text);
    case KIND_ADDRESS:
    case KIND_PROTOCOL: put_parts(&text, kind, value, "{}"); return leaf_of(&text);
    case KIND_NUMBER:
    case KIND_BOOL:
    default: json_text_put(&text, value); return leaf_of(&text);
    }
}
