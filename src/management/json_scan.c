// json_scan.c: see json_scan.h.
//
// States follow the outermost object and the arrays in it, byte by byte; inside an element only quotes, backslashes and brackets count.
// A scalar (number, true, false, null) has no end of its own: it ends with the ',' or bracket behind it, or a blank.
#include "src/management/json_scan.h"

#include <stdio.h>

#include "src/base/mem.h"

enum {
    AT_START,      // before the '{'
    AT_FIRST_NAME, // before a name, or '}'
    AT_NAME,       // before a name
    IN_NAME,
    AT_COLON,
    AT_VALUE,         // before a member's value
    AT_FIRST_ELEMENT, // behind '[': before an element, or ']'
    AT_ELEMENT,       // before an element
    IN_ELEMENT,       // or in a member's value
    BEHIND_ELEMENT,   // before ',' or ']'
    BEHIND_VALUE,     // before ',' or '}'
    AT_END,           // behind the '}'
};

void
json_scan_init(struct json_scan *s, json_scan_fn visit, void *ctx)
{
    *s = (struct json_scan){.visit = visit, .ctx = ctx};
}

void
json_scan_fini(struct json_scan *s)
{
    buf_fini(&s->text);
    buf_fini(&s->name);
    json_decref(s->names);
    s->names = NULL;
}

bool
json_scan_is_empty(const struct json_scan *s)
{
    return s->state == AT_START;
}

static int
refuse(struct json_scan *s, int error, const char *why)
{
    snprintf(s->problem, sizeof s->problem, "%s at byte %llu", why, (unsigned long long)s->offset);
    return error;
}

static bool
is_blank(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

// Parses s->text. -LE_SYNTAX.
static int
parse(struct json_scan *s, json_t **ret)
{
    json_error_t error;
    if (s->text.failed)
        return -LE_NOMEM;
    *ret = json_loadb((const char *)s->text.ptr, s->text.len,
                      JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_ANY, &error);
    if (*ret != NULL)
        return 0;
    // jansson's own text may quote the input, which may hold passwords.
    return refuse(s, -LE_SYNTAX, "malformed JSON before the element's end");
}

static int
end_name(struct json_scan *s)
{
    json_t *name = NULL;
    int err = parse(s, &name);
    if (err != 0)
        return err;
    buf_reset(&s->name);
    buf_append(&s->name, json_string_value(name), json_string_length(name));
    if (s->names == NULL)
        s->names = json_object();
    if (s->names == NULL || s->name.failed)
        err = -LE_NOMEM;
    else if (memchr(json_string_value(name), 0, json_string_length(name)) != NULL)
        err = refuse(s, -LE_SYNTAX, "a member's name with a NUL");
    else if (++s->member_count > JSON_SCAN_MEMBERS_MAX)
        err = refuse(s, -LE_LIMIT, "too many members");
    else if (json_object_get(s->names, json_string_value(name)) != NULL)
        err = refuse(s, -LE_SYNTAX, "a member that was there before");
    else if (json_object_set_new(s->names, json_string_value(name), json_true()) != 0)
        err = -LE_NOMEM;
    json_decref(name);
    s->state = AT_COLON;
    return err;
}

static int
visit(struct json_scan *s, json_t *value, bool is_array_begin)
{
    struct json_scan_item item = {.name = buf_slice(&s->name),
                                  .is_in_array = s->is_in_array,
                                  .is_array_begin = is_array_begin,
                                  .index = s->index,
                                  .value = value};
    return s->visit(s->ctx, &item);
}

static int
end_element(struct json_scan *s)
{
    json_t *value = NULL;
    int err = parse(s, &value);
    if (err == 0)
        err = visit(s, value, false);
    json_decref(value);
    s->index++;
    s->state = s->is_in_array ? BEHIND_ELEMENT : BEHIND_VALUE;
    return err;
}

// The first byte of an element or value.
static int
begin_element(struct json_scan *s, uint8_t c)
{
    if (c == ',' || c == ']' || c == '}' || c == ':')
        return refuse(s, -LE_SYNTAX, "a value is missing");
    buf_reset(&s->text);
    buf_append_u8(&s->text, c);
    s->state = IN_ELEMENT;
    s->is_escaped = false;
    s->is_in_string = c == '"';
    s->depth = c == '{' || c == '[' ? 1 : 0;
    s->is_scalar = s->depth == 0 && !s->is_in_string;
    return 0;
}

// One byte of an element. False: it does not belong to it any more (a scalar has ended).
static bool
is_in_element(struct json_scan *s, uint8_t c, bool *ret_has_ended, bool *ret_is_deep)
{
    if (s->is_in_string) {
        if (s->is_escaped)
            s->is_escaped = false;
        else if (c == '\\')
            s->is_escaped = true;
        else if (c == '"')
            s->is_in_string = false;
        *ret_has_ended = !s->is_in_string && s->depth == 0;
        return true;
    }
    if (s->is_scalar && (c == ',' || c == ']' || c == '}' || is_blank(c)))
        return false;
    if (c == '"')
        s->is_in_string = true;
    else if (c == '{' || c == '[')
        *ret_is_deep = ++s->depth > JSON_SCAN_DEPTH_MAX;
    else if ((c == '}' || c == ']') && s->depth > 0)
        *ret_has_ended = --s->depth == 0;
    return true;
}

// Takes what belongs to the element; how many bytes that were.
static int
take_element(struct json_scan *s, const uint8_t *bytes, size_t len, size_t *ret_taken)
{
    size_t n = 0;
    bool has_ended = false, is_deep = false, is_inside = true;
    while (n < len && !has_ended && !is_deep &&
           (is_inside = is_in_element(s, bytes[n], &has_ended, &is_deep)))
        n++;
    s->offset += n;
    *ret_taken = n;
    if (s->text.len + n > JSON_SCAN_ELEMENT_MAX)
        return refuse(s, -LE_LIMIT, "an element that is too large");
    buf_append(&s->text, bytes, n);
    if (is_deep)
        return refuse(s, -LE_LIMIT, "nested too deep");
    return has_ended || !is_inside ? end_element(s) : 0;
}

static int
take_name(struct json_scan *s, uint8_t c)
{
    buf_append_u8(&s->text, c);
    if (s->text.len > JSON_SCAN_NAME_MAX)
        return refuse(s, -LE_LIMIT, "a name that is too long");
    if (s->is_escaped)
        s->is_escaped = false;
    else if (c == '\\')
        s->is_escaped = true;
    else if (c == '"')
        return end_name(s);
    return 0;
}

static int
begin_value(struct json_scan *s, uint8_t c)
{
    s->index = 0;
    s->is_in_array = c == '[';
    if (c != '[')
        return begin_element(s, c);
    s->state = AT_FIRST_ELEMENT;
    return visit(s, NULL, true);
}

static int
begin_name(struct json_scan *s, uint8_t c)
{
    if (c != '"')
        return refuse(s, -LE_SYNTAX, "a name is missing");
    buf_reset(&s->text);
    buf_append_u8(&s->text, c);
    s->is_escaped = false;
    s->state = IN_NAME;
    return 0;
}

// A byte that is not blank, between names and values.
static int
take_between(struct json_scan *s, uint8_t c)
{
    switch (s->state) {
    case AT_START: s->state = AT_FIRST_NAME; return c == '{' ? 0 : refuse(s, -LE_SYNTAX, "no object");
    case AT_FIRST_NAME:
        if (c == '}') {
            s->state = AT_END;
            return 0;
        }
        return begin_name(s, c);
    case AT_NAME: return begin_name(s, c);
    case AT_COLON: s->state = AT_VALUE; return c == ':' ? 0 : refuse(s, -LE_SYNTAX, "a colon is missing");
    case AT_VALUE: return begin_value(s, c);
    case AT_FIRST_ELEMENT:
        if (c == ']') {
            s->state = BEHIND_VALUE;
            return 0;
        }
        return begin_element(s, c);
    case AT_ELEMENT: return begin_element(s, c);
    case BEHIND_ELEMENT:
        s->state = c == ',' ? AT_ELEMENT : BEHIND_VALUE;
        return c == ',' || c == ']' ? 0 : refuse(s, -LE_SYNTAX, "a comma or bracket is missing");
    case BEHIND_VALUE:
        s->state = c == ',' ? AT_NAME : AT_END;
        return c == ',' || c == '}' ? 0 : refuse(s, -LE_SYNTAX, "a comma or brace is missing");
    default: return refuse(s, -LE_SYNTAX, "something behind the end");
    }
}

int
json_scan_feed(struct json_scan *s, struct slice bytes)
{
    int err = 0;
    for (size_t i = 0; i < bytes.len && err == 0;) {
        if (s->state == IN_ELEMENT) {
            size_t taken = 0;
            err = take_element(s, bytes.ptr + i, bytes.len - i, &taken);
            i += taken;
            continue;
        }
        uint8_t c = bytes.ptr[i++];
        s->offset++;
        if (s->state == IN_NAME)
            err = take_name(s, c);
        else if (!is_blank(c))
            err = take_between(s, c);
    }
    return err;
}

int
json_scan_end(struct json_scan *s)
{
    return s->state == AT_END ? 0 : refuse(s, -LE_SYNTAX, "the text is cut off");
}
