// api_query.c: see api_query.h.
#include "src/management/api_query.h"

#include "src/base/err.h"

static int
hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// Decodes [start, end) in place. -LE_SYNTAX.
static int
decode(char *start, const char *end, bool is_query, struct slice *ret)
{
    char *out = start;
    for (const char *in = start; in < end; in++) {
        if (*in == '%') {
            if (end - in < 3 || hex_digit(in[1]) < 0 || hex_digit(in[2]) < 0)
                return -LE_SYNTAX;
            *out++ = (char)(hex_digit(in[1]) << 4 | hex_digit(in[2]));
            in += 2;
        } else if (is_query && *in == '+') {
            *out++ = ' ';
        } else {
            *out++ = *in;
        }
    }
    *ret = slice_of(start, (size_t)(out - start));
    return 0;
}

static int
parse_path(char *at, char *end, struct api_query *ret)
{
    while (at < end && *at == '/') {
        char *start = ++at;
        while (at < end && *at != '/')
            at++;
        if (start == end && at == end)
            break; // a slash at the end
        if (ret->segment_count == API_SEGMENTS_MAX)
            return -LE_LIMIT;
        int err = decode(start, at, false, &ret->segments[ret->segment_count]);
        if (err != 0)
            return err;
        ret->segment_count++;
    }
    return at == end ? 0 : -LE_SYNTAX;
}

static int
parse_parameters(char *at, char *end, struct api_query *ret)
{
    while (at < end) {
        char *start = at, *equals = NULL;
        for (; at < end && *at != '&'; at++)
            equals = equals == NULL && *at == '=' ? at : equals;
        char *stop = at++;
        if (start == stop)
            continue;
        if (ret->parameter_count == API_PARAMETERS_MAX)
            return -LE_LIMIT;
        char *key_end = equals != NULL ? equals : stop;
        struct slice value = SLICE_EMPTY;
        int err = decode(start, key_end, true, &ret->parameters[ret->parameter_count].key);
        if (err == 0)
            err = decode(equals != NULL ? equals + 1 : stop, stop, true, &value);
        if (err != 0)
            return err;
        ret->parameters[ret->parameter_count++].value = value;
    }
    return 0;
}

int
api_query_parse(char *text, struct api_query *ret)
{
    char *end = text + strlen(text), *question = strchr(text, '?');
    ret->segment_count = ret->parameter_count = 0;
    int err = parse_path(text, question != NULL ? question : end, ret);
    return err == 0 && question != NULL ? parse_parameters(question + 1, end, ret) : err;
}

struct slice
api_query_find(const struct api_query *q, const char *key)
{
    for (size_t i = 0; i < q->parameter_count; i++) {
        if (slice_eq_str(q->parameters[i].key, key))
            return q->parameters[i].value;
    }
    return SLICE_EMPTY;
}

void
api_put_escaped(struct buf *out, struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.ptr[i];
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
            c == '-' || c == '_')
            buf_append_u8(out, c);
        else if (c == ' ')
            buf_append_u8(out, '+');
        else
            buf_printf(out, "%%%02X", c);
    }
}
