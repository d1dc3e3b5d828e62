// perf_uri.c: scheme, then authority up to the first slash, in it the log-in up to the last at-sign, then the vhost.
#include "src/cli/perf_uri.h"

#include "src/base/err.h"
#include "src/base/slice.h"

static int
hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// Percent-decodes into one of the parts of struct perf_uri.
static bool
decode(struct slice text, char ret[static PERF_URI_TEXT_MAX + 1])
{
    size_t len = 0;
    for (size_t i = 0; i < text.len; i++) {
        int c = text.ptr[i];
        if (c == '%') {
            bool is_whole = text.len - i > 2;
            int high = is_whole ? hex_digit(text.ptr[i + 1]) : -1;
            int low = is_whole ? hex_digit(text.ptr[i + 2]) : -1;
            if (high < 0 || low < 0)
                return false;
            c = high * 16 + low;
            i += 2;
        }
        if (len == PERF_URI_TEXT_MAX || c == 0)
            return false;
        ret[len++] = (char)c;
    }
    ret[len] = '\0';
    return true;
}

// Cuts text at the first of a byte; false when there is none.
static bool
cut(struct slice *text, uint8_t at, struct slice *ret_rest)
{
    const uint8_t *p = text->len > 0 ? memchr(text->ptr, at, text->len) : NULL;
    if (p == NULL)
        return false;
    size_t before = (size_t)(p - text->ptr);
    *ret_rest = slice_from(*text, before + 1);
    text->len = before;
    return true;
}

static const char *
parse_login(struct slice login, struct perf_uri *u)
{
    struct slice password;
    if (cut(&login, ':', &password) && !decode(password, u->password))
        return "the password is too long, or has a bad percent sign";
    if (!decode(login, u->user))
        return "the user name is too long, or has a bad percent sign";
    return NULL;
}

static const char *
parse_address(struct slice address, struct perf_uri *u)
{
    struct slice host = address, port = SLICE_EMPTY;
    if (address.len > 0 && address.ptr[0] == '[') {
        host = slice_from(address, 1);
        if (!cut(&host, ']', &port) || (port.len > 0 && port.ptr[0] != ':'))
            return "an address in brackets does not end";
        port = port.len > 0 ? slice_from(port, 1) : port;
    } else {
        cut(&host, ':', &port);
    }
    unsigned long number = 0;
    for (size_t i = 0; i < port.len; i++) {
        if (port.ptr[i] < '0' || port.ptr[i] > '9' || number > UINT16_MAX)
            return "the port is not a number up to 65535";
        number = number * 10 + port.ptr[i] - '0';
    }
    if (number > UINT16_MAX)
        return "the port is not a number up to 65535";
    if (number > 0)
        snprintf(u->port, sizeof u->port, "%lu", number);
    if (host.len > 0 && !decode(host, u->host))
        return "the host's name is too long";
    return NULL;
}

static const char *
parse_one(struct slice text, struct perf_uri *u)
{
    *u = (struct perf_uri){
        .host = "localhost", .port = "5672", .user = "guest", .password = "guest", .vhost = "/"};
    if (slice_has_prefix(text, SLICE_LIT("amqps://")))
        return "TLS is not spoken here; use amqp:// and measure TLS with another tool";
    if (!slice_has_prefix(text, SLICE_LIT("amqp://")))
        return "it does not begin with amqp://";
    struct slice authority = slice_from(text, strlen("amqp://")), path, query;
    if (cut(&authority, '/', &path)) {
        cut(&path, '?', &query);
        if (!decode(path, u->vhost))
            return "the vhost is too long, or has a bad percent sign (a slash in it is %2F)";
    }
    // A password may hold at-signs that nobody encoded: the last one counts.
    struct slice address = authority;
    for (size_t i = authority.len; i > 0; i--) {
        if (authority.ptr[i - 1] == '@') {
            address = slice_from(authority, i);
            const char *why = parse_login(slice_head(authority, i - 1), u);
            if (why != NULL)
                return why;
            break;
        }
    }
    return parse_address(address, u);
}

int
perf_uris_parse(const char *text, struct perf_uris *ret, struct buf *error)
{
    struct slice rest = slice_str(text), one;
    bool has_more = true;
    ret->count = 0;
    while (has_more) {
        one = rest;
        has_more = cut(&one, ',', &rest);
        if (ret->count == PERF_URIS_MAX) {
            buf_printf(error, "more than %d URIs", PERF_URIS_MAX);
            return -LE_INVAL;
        }
        const char *why = parse_one(one, &ret->items[ret->count]);
        if (why != NULL) {
            buf_printf(error, "URI %zu: %s (amqp://user:password@host:port/vhost)", ret->count + 1, why);
            return -LE_INVAL;
        }
        ret->count++;
    }
    return 0;
}
