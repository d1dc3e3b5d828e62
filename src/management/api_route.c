// api_route.c: from a request's path to its handler.
#include <sys/socket.h>

#include "src/management/api.h"

static const struct api_route *const route_tables[] = {
    api_routes_access, api_routes_limits, api_routes_objects,  api_routes_policies, api_routes_dry_run,
    api_routes_live,   api_routes_node,   api_routes_counters, api_routes_health};

bool
api_is_unix_socket(int fd)
{
    int domain = 0;
    socklen_t size = sizeof domain;
    return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 && domain == AF_UNIX;
}

static int
hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool
api_split_path(struct api_request *r)
{
    char *in = r->path;
    while (*in != '\0') {
        if (*in == '/') {
            in++;
            continue;
        }
        if (r->segment_count == API_SEGMENTS_MAX)
            return false;
        char *start = in, *out = in;
        while (*in != '\0' && *in != '/') {
            if (in[0] == '%' && hex_digit(in[1]) >= 0 && hex_digit(in[2]) >= 0) {
                *out++ = (char)(hex_digit(in[1]) << 4 | hex_digit(in[2]));
                in += 3;
            } else {
                *out++ = *in++;
            }
        }
        r->segments[r->segment_count++] = slice_of(start, (size_t)(out - start));
    }
    return true;
}

static bool
route_matches(const struct api_request *r, const char *pattern)
{
    size_t segment = 0;
    while (*pattern == '/') {
        const char *end = strchrnul(++pattern, '/');
        struct slice part = slice_of(pattern, (size_t)(end - pattern));
        if (segment == r->segment_count ||
            (!slice_eq_str(part, "*") && !slice_eq(part, r->segments[segment])))
            return false;
        segment++;
        pattern = end;
    }
    return segment == r->segment_count;
}

static bool
parse_body(struct api_request *r)
{
    json_error_t error;
    if (r->body.len == 0)
        return true;
    r->json = json_loadb((const char *)r->body.ptr, r->body.len, JSON_REJECT_DUPLICATES, &error);
    if (json_is_object(r->json))
        return true;
    api_error(r, 400, "bad_request", "body is not a JSON object%s%s", r->json == NULL ? ": " : "",
              r->json == NULL ? error.text : "");
    return false;
}

void
api_dispatch(struct api_request *r)
{
    bool is_path_known = false;
    r->is_handled = true;
    if (!parse_body(r))
        return;
    for (size_t t = 0; t < LV_ARRAY_LEN(route_tables); t++) {
        for (const struct api_route *route = route_tables[t]; route->pattern != NULL; route++) {
            if (!route_matches(r, route->pattern) || ((route->methods & API_CONTROL) != 0 && !r->is_control))
                continue; // leveretctl's own are unknown to everybody else
            is_path_known = true;
            if ((route->methods & r->method) == 0)
                continue;
            route->handler(r);
            return;
        }
    }
    if (is_path_known)
        api_error(r, 405, "Method Not Allowed", "the method is not allowed for this path");
    else
        api_not_found(r);
}
