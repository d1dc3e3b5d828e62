// config_value.c: parsers of single values. Units follow RabbitMQ 3.10: its memory and disk sizes count kB as
// 1000 bytes and KiB, k as 1024, while sizes in other keys (frame_max) count KB as 1024.
#include "src/config/config_value.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

// Decimal digits only; no sign, no space. False for anything else and for what does not fit.
static bool
parse_digits(struct slice text, uint64_t *ret_number)
{
    uint64_t number = 0;
    if (text.len == 0 || text.len > 20)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9')
            return false;
        if (__builtin_mul_overflow(number, 10u, &number) ||
            __builtin_add_overflow(number, (uint64_t)(text.ptr[i] - '0'), &number))
            return false;
    }
    *ret_number = number;
    return true;
}

// The digits in front, and the rest as unit.
static bool
split_unit(struct slice text, uint64_t *ret_number, struct slice *ret_unit)
{
    size_t digits = 0;
    while (digits < text.len && text.ptr[digits] >= '0' && text.ptr[digits] <= '9')
        digits++;
    *ret_unit = slice_from(text, digits);
    return parse_digits(slice_head(text, digits), ret_number);
}

struct unit {
    const char *names; // "a|b"
    uint64_t factor;
};

static bool
parse_with_units(struct slice text, const struct unit *units, size_t unit_count, uint64_t *ret_number)
{
    uint64_t number;
    struct slice unit;
    if (!split_unit(text, &number, &unit))
        return false;
    if (unit.len == 0) {
        *ret_number = number;
        return true;
    }
    for (size_t i = 0; i < unit_count; i++) {
        if (config_choice_has(units[i].names, unit, NULL))
            return !__builtin_mul_overflow(number, units[i].factor, ret_number);
    }
    return false;
}

static bool
parse_bytes(struct slice text, uint64_t *ret_number)
{
    static const struct unit units[] = {
        {"kb|KB", 1024},
        {"mb|MB", 1024 * 1024},
        {"gb|GB", 1024 * 1024 * 1024},
    };
    return parse_with_units(text, units, LV_ARRAY_LEN(units), ret_number);
}

static bool
parse_size(struct slice text, uint64_t *ret_number)
{
    static const struct unit units[] = {
        {"kB|KB|kb|Kb", 1000},
        {"MB|mb|Mb", 1000 * 1000},
        {"GB|gb|Gb", 1000 * 1000 * 1000},
        {"TB|tb|Tb", UINT64_C(1000) * 1000 * 1000 * 1000},
        {"k|K|kiB|KiB|kib|KIB|Ki|ki", 1024},
        {"m|M|MiB|mib|MIB|Mi|mi", 1024 * 1024},
        {"g|G|GiB|gib|GIB|Gi|gi", 1024 * 1024 * 1024},
        {"t|T|TiB|tib|TIB|Ti|ti", UINT64_C(1024) * 1024 * 1024 * 1024},
    };
    return parse_with_units(text, units, LV_ARRAY_LEN(units), ret_number);
}

// "1500" (milliseconds) or parts with units, each once at most by length of text: "1h30m", "10s500ms".
static bool
parse_duration(struct slice text, uint64_t *ret_ms)
{
    static const struct unit units[] = {
        {"ms", 1},          {"s", 1000},         {"m", 60 * 1000},
        {"h", 3600 * 1000}, {"d", 86400 * 1000}, {"w", UINT64_C(7) * 86400 * 1000},
    };
    uint64_t total = 0;
    if (parse_digits(text, ret_ms))
        return true;
    while (text.len > 0) {
        size_t end = 0;
        uint64_t ms;
        while (end < text.len && text.ptr[end] >= '0' && text.ptr[end] <= '9')
            end++;
        size_t unit_start = end;
        while (end < text.len && (text.ptr[end] < '0' || text.ptr[end] > '9'))
            end++;
        if (unit_start == end || !parse_with_units(slice_head(text, end), units, LV_ARRAY_LEN(units), &ms) ||
            __builtin_add_overflow(total, ms, &total))
            return false;
        text = slice_from(text, end);
    }
    *ret_ms = total;
    return true;
}

// Digits with at most one point, as Erlang's floats without exponent, and integers too.
static bool
parse_fraction(struct slice text, double *ret_fraction)
{
    char copy[32];
    unsigned points = 0;
    if (text.len == 0 || text.len >= sizeof copy || text.ptr[0] == '.' || text.ptr[text.len - 1] == '.')
        return false;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] == '.')
            points++;
        else if (text.ptr[i] < '0' || text.ptr[i] > '9')
            return false;
        copy[i] = (char)text.ptr[i];
    }
    copy[text.len] = '\0';
    if (points > 1)
        return false;
    *ret_fraction = strtod(copy, NULL); // the process stays in the C locale: the point is a point
    return isfinite(*ret_fraction);
}

// Checks and normalises; brackets around an IPv6 address are taken off.
static bool
parse_ip(struct slice text, char host[64])
{
    unsigned char address[sizeof(struct in6_addr)];
    if (text.len >= 2 && text.ptr[0] == '[' && text.ptr[text.len - 1] == ']')
        text = slice_head(slice_from(text, 1), text.len - 2);
    if (text.len == 0 || text.len >= 64 || memchr(text.ptr, '\0', text.len) != NULL)
        return false;
    memcpy(host, text.ptr, text.len);
    host[text.len] = '\0';
    return inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1;
}

static bool
parse_port(struct slice text, uint16_t *ret_port)
{
#ifdef LV_TEST_HOOKS
    const uint64_t least = 0; // any free port, for tests that run side by side
#else
    const uint64_t least = 1;
#endif
    uint64_t port;
    if (!parse_digits(text, &port) || port < least || port > UINT16_MAX)
        return false;
    *ret_port = (uint16_t)port;
    return true;
}

static bool
parse_listener(struct slice text, struct config_datum *datum)
{
    size_t colon = text.len;
    while (colon > 0 && text.ptr[colon - 1] != ':')
        colon--;
    if (colon == 0) {
        datum->host[0] = '\0';
        return parse_port(text, &datum->port);
    }
    struct slice host = slice_head(text, colon - 1);
    if (slice_eq_str(host, "auto")) {
        datum->host[0] = '\0';
        return parse_port(slice_from(text, colon), &datum->port);
    }
    // An IPv4 address has no brackets; [127.0.0.1] is nothing.
    if (host.len > 0 && host.ptr[0] == '[' && memchr(host.ptr, ':', host.len) == NULL)
        return false;
    return parse_ip(host, datum->host) && parse_port(slice_from(text, colon), &datum->port);
}

static bool
is_node_name(struct slice text)
{
    const uint8_t *at = text.len > 0 ? memchr(text.ptr, '@', text.len) : NULL;
    // LIMIT: Erlang's atoms, and so RabbitMQ's node names, have at most 255 characters.
    if (at == NULL || at == text.ptr || at == text.ptr + text.len - 1 || text.len > 255)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.ptr[i];
        bool is_word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!is_word && c != '-' && c != '_' && c != '.' && &text.ptr[i] != at)
            return false;
    }
    return true;
}

static bool
parse_level(struct slice text, uint64_t *ret_level)
{
    enum log_level level;
    // Syslog's two levels above critical, which RabbitMQ has and nothing uses.
    if (slice_eq_str(text, "alert") || slice_eq_str(text, "emergency"))
        level = LOG_CRITICAL;
    else if (log_level_parse(text, &level) != 0)
        return false;
    *ret_level = (uint64_t)level;
    return true;
}

static bool
parse_bool(struct slice text, uint64_t *ret_flag)
{
    size_t idx;
    if (!config_choice_has("false,off|true,on", text, &idx))
        return false;
    *ret_flag = idx;
    return true;
}

static bool
is_in_range(const struct config_key *row, double number)
{
    return (row->min == 0 && row->max == 0) || (number >= row->min && number <= row->max);
}

static void
explain_range(const struct config_key *row, const char *what, char *why, size_t why_size)
{
    if (row->min == 0 && row->max == 0)
        snprintf(why, why_size, "%s", what);
    else
        snprintf(why, why_size, "%s from %.15g to %.15g", what, row->min, row->max);
}

static void
explain(const struct config_key *row, char *why, size_t why_size)
{
    static const char *const texts[] = {
        [TYPE_ANY] = "a text",
        [TYPE_BOOL] = "true, on, false or off",
        [TYPE_LISTENER] = "a port, or a numeric address and port such as 127.0.0.1:5672 or [::1]:5672",
        [TYPE_PORT] = "a port from 1 to 65535",
        [TYPE_IP] = "a numeric IP address",
        [TYPE_PATH] = "an absolute path",
        [TYPE_NODE] = "a node name such as rabbit@host",
        [TYPE_LEVEL] = "debug, info, notice, warning, error, critical or none",
        [TYPE_NONE] = "the word none",
    };
    switch (row->type) {
    case TYPE_TEXT: explain_range(row, "a text, its bytes being", why, why_size); break;
    case TYPE_INT: explain_range(row, "an integer", why, why_size); break;
    case TYPE_COUNT: explain_range(row, "infinity or an integer", why, why_size); break;
    case TYPE_FRACTION: explain_range(row, "a number", why, why_size); break;
    case TYPE_BYTES:
        explain_range(row, "a size in bytes, or with KB, MB or GB (powers of 1024),", why, why_size);
        break;
    case TYPE_SIZE:
        explain_range(row, "a size in bytes, or with kB, MB, GB, KiB, MiB or GiB,", why, why_size);
        break;
    case TYPE_DURATION:
        explain_range(row, "milliseconds, or a duration such as 10s or 1h30m,", why, why_size);
        break;
    case TYPE_CHOICE: snprintf(why, why_size, "one of %s", row->choices); break;
    default: snprintf(why, why_size, "%s", texts[row->type]); break;
    }
}

static bool
parse_number(const struct config_key *row, struct slice text, struct config_datum *datum)
{
    bool is_good;
    if (row->type == TYPE_COUNT && slice_eq_str(text, "infinity")) {
        datum->number = CONFIG_UNLIMITED;
        return true;
    }
    switch (row->type) {
    case TYPE_BYTES: is_good = parse_bytes(text, &datum->number); break;
    case TYPE_SIZE: is_good = parse_size(text, &datum->number); break;
    case TYPE_DURATION: is_good = parse_duration(text, &datum->number); break;
    case TYPE_FRACTION:
        is_good = parse_fraction(text, &datum->fraction);
        return is_good && is_in_range(row, datum->fraction);
    default: is_good = parse_digits(text, &datum->number); break;
    }
    // Integers above 2^53 are not exact as double; no limit lies there, and 2^53 is above every limit.
    return is_good && is_in_range(row, (double)datum->number);
}

static bool
parse_any(const struct config_key *row, struct slice text, struct config_datum *datum)
{
    size_t idx;
    switch (row->type) {
    case TYPE_TEXT: return text.len > 0 && is_in_range(row, (double)text.len);
    case TYPE_ANY: return true;
    case TYPE_BOOL: return parse_bool(text, &datum->number);
    case TYPE_CHOICE:
        if (!config_choice_has(row->choices, text, &idx))
            return false;
        datum->number = idx;
        return true;
    case TYPE_LISTENER: return parse_listener(text, datum);
    case TYPE_PORT:
        if (!parse_port(text, &datum->port))
            return false;
        datum->number = datum->port;
        return true;
    case TYPE_IP: return parse_ip(text, datum->host);
    case TYPE_PATH: return text.len > 0 && text.len < 4096 && text.ptr[0] == '/';
    case TYPE_NODE: return is_node_name(text);
    case TYPE_LEVEL: return parse_level(text, &datum->number);
    case TYPE_NONE: return slice_eq_str(text, "none");
    case TYPE_INT:
    case TYPE_COUNT:
    case TYPE_FRACTION:
    case TYPE_BYTES:
    case TYPE_SIZE:
    case TYPE_DURATION: return parse_number(row, text, datum);
    }
    return false;
}

int
config_value_parse(const struct config_key *row, struct slice text, struct config_datum *ret_datum, char *why,
                   size_t why_size)
{
    struct config_datum datum = {0};
    if (!parse_any(row, text, &datum)) {
        explain(row, why, why_size);
        return -LE_INVAL;
    }
    *ret_datum = datum;
    return 0;
}
