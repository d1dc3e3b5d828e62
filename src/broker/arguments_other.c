// arguments_other.c: arguments of exchanges, bindings and consumers, and properties of messages that the broker looks at.
#include <inttypes.h>
#include <stdio.h>

#include "amqp/wire/table.h"
#include "exchange/binding.h"
#include "exchange/hash_on.h"
#include "queue/queue_rules.h"
#include "src/broker/arguments.h"

bool
arguments_check_exchange(struct slice vhost, struct slice exchange, struct slice arguments,
                         struct slice *ret_alternate, struct fault *ret_fault)
{
    struct field f;
    *ret_alternate = SLICE_EMPTY;
    if (!table_find(arguments, SLICE_LIT("alternate-exchange"), &f))
        return true;
    if (f.type == FIELD_LONGSTR) {
        *ret_alternate = f.bytes;
        return true;
    }
    fault_set(ret_fault, FAULT_PRECONDITION_FAILED,
              "invalid type '%s' for arg 'alternate-exchange' in exchange '%.*s' in vhost '%.*s'",
              field_type_name(f.type), SLICE_FMT(exchange), SLICE_FMT(vhost));
    return false;
}

static bool
check_headers_binding(struct slice arguments, struct fault *ret_fault)
{
    static const char *const choices[] = {"all", "any", "all-with-x", "any-with-x"};
    struct field f;
    if (!table_find(arguments, SLICE_LIT("x-match"), &f))
        return true;
    if (f.type != FIELD_LONGSTR) {
        if (field_is_integer(&f) || f.type == FIELD_TIMESTAMP)
            fault_set(ret_fault, FAULT_PRECONDITION_FAILED,
                      "Invalid x-match field type %s (value %" PRId64 "); expected longstr",
                      field_type_name(f.type), f.i64);
        else if (f.type == FIELD_BOOL)
            fault_set(ret_fault, FAULT_PRECONDITION_FAILED,
                      "Invalid x-match field type bool (value %s); expected longstr",
                      f.i64 != 0 ? "true" : "false");
        else
            fault_set(ret_fault, FAULT_PRECONDITION_FAILED, "Invalid x-match field type %s; expected longstr",
                      field_type_name(f.type));
        return false;
    }
    for (size_t i = 0; i < LV_ARRAY_LEN(choices); i++) {
        if (slice_eq_str(f.bytes, choices[i]))
            return true;
    }
    fault_set(ret_fault, FAULT_PRECONDITION_FAILED,
              "Invalid x-match field value <<\"%.*s\">>; expected all, any, all-with-x, or any-with-x",
              SLICE_FMT(f.bytes));
    return false;
}

// A key as Erlang's ~p prints a binary: quoted when all of it is printable, otherwise as numbers.
static void
print_binary(struct slice s, struct buf *out)
{
    static const char escapes[] = "\bb\tt\nn\vv\ff\rr\033e\"\"\\\\";
    bool is_text = true;
    for (size_t i = 0; i < s.len; i++)
        is_text &= (s.ptr[i] >= 0x20 && s.ptr[i] < 0x7f) || s.ptr[i] >= 0xa0 ||
                   (s.ptr[i] != 0 && memchr(escapes, s.ptr[i], sizeof escapes - 1) != NULL);
    buf_append_str(out, s.len > 0 && is_text ? "<<\"" : "<<");
    for (size_t i = 0; i < s.len; i++) {
        const char *escape = NULL;
        for (size_t k = 0; is_text && k + 1 < sizeof escapes; k += 2) {
            if ((uint8_t)escapes[k] == s.ptr[i])
                escape = escapes + k;
        }
        if (!is_text)
            buf_printf(out, "%s%u", i > 0 ? "," : "", s.ptr[i]);
        else if (escape != NULL)
            buf_printf(out, "\\%c", escape[1]);
        else
            buf_append(out, s.ptr + i, 1);
    }
    buf_append_str(out, s.len > 0 && is_text ? "\">>" : ">>");
}

static bool
check_weight(struct slice key, struct fault *f)
{
    double weight;
    if (!binding_weight(key, &weight)) {
        LV_CLEANUP(buf_fini) struct buf text = BUF_INIT;
        print_binary(key, &text);
        fault_set(f, FAULT_PRECONDITION_FAILED, "The binding key must be an integer: %.*s",
                  SLICE_FMT(buf_slice(&text)));
        return false;
    }
    if (weight < 1) {
        fault_set(f, FAULT_PRECONDITION_FAILED, "The binding key must be greater than 0");
        return false;
    }
    return true;
}

bool
arguments_check_binding(enum exchange_type type, struct slice key, struct slice arguments,
                        struct fault *ret_fault)
{
    return type == EXCHANGE_HEADERS           ? check_headers_binding(arguments, ret_fault)
           : type == EXCHANGE_CONSISTENT_HASH ? check_weight(key, ret_fault)
                                              : true;
}

// RabbitMQ closes the connection with 541 when a value is no string; we say what is wrong.
static bool
check_hash_on(struct slice arguments, struct fault *f)
{
    struct hash_on on;
    switch (hash_on_parse(arguments, &on)) {
    case HASH_ON_FINE: return true;
    case HASH_ON_BOTH:
        fault_set(f, FAULT_PRECONDITION_FAILED, "hash-header and hash-property are mutually exclusive");
        break;
    case HASH_ON_UNKNOWN_PROPERTY:
        fault_set(f, FAULT_PRECONDITION_FAILED, "Unsupported property: %.*s", SLICE_FMT(on.header));
        break;
    case HASH_ON_BAD_HEADER_TYPE:
        fault_set(f, FAULT_PRECONDITION_FAILED, "hash-header must be a string");
        break;
    case HASH_ON_BAD_PROPERTY_TYPE:
        fault_set(f, FAULT_PRECONDITION_FAILED, "hash-property must be a string");
        break;
    }
    return false;
}

// RabbitMQ's plugin takes itself for an inner type, and does not come back.
static bool
check_delayed_type(struct slice arguments, enum exchange_type *ret_type, struct fault *f)
{
    struct slice name;
    bool is_there = table_find_longstr(arguments, SLICE_LIT("x-delayed-type"), &name);
    if (is_there && exchange_type_parse(name, ret_type) != 0) {
        fault_set(f, FAULT_COMMAND_INVALID,
                  name.len == 0 ? "invalid exchange type '%.*s'" : "unknown exchange type '%.*s'",
                  SLICE_FMT(name));
        return false;
    }
    if (is_there && *ret_type != EXCHANGE_DELAYED)
        return true;
    fault_set(f, FAULT_PRECONDITION_FAILED,
              "Invalid argument, 'x-delayed-type' must be an existing exchange type");
    return false;
}

enum exchange_type
arguments_router_type(enum exchange_type type, struct slice arguments)
{
    struct slice name;
    if (type != EXCHANGE_DELAYED)
        return type;
    if (table_find_longstr(arguments, SLICE_LIT("x-delayed-type"), &name) &&
        exchange_type_parse(name, &type) == 0 && type != EXCHANGE_DELAYED)
        return type;
    return EXCHANGE_DIRECT;
}

bool
arguments_check_exchange_type(enum exchange_type type, struct slice arguments, struct fault *ret_fault)
{
    if (type == EXCHANGE_DELAYED && !check_delayed_type(arguments, &type, ret_fault))
        return false;
    return type != EXCHANGE_CONSISTENT_HASH || check_hash_on(arguments, ret_fault);
}

static bool
bad_consumer_argument(const struct queue_def *q, const char *name, const char *why, struct fault *f)
{
    fault_set(f, FAULT_PRECONDITION_FAILED, "invalid arg '%s' for queue '%.*s' in vhost '%.*s'%s", name,
              SLICE_FMT(q->name), SLICE_FMT(q->vhost), why);
    return false;
}

// An integer argument of a consumer, zero when it is not there. False: it is something else.
static bool
consumer_integer(const struct queue_def *q, struct slice arguments, const char *name, struct field *ret,
                 struct fault *f)
{
    char why[64];
    *ret = (struct field){0};
    if (!table_find(arguments, slice_str(name), ret) || field_is_integer(ret))
        return true;
    snprintf(why, sizeof why, ": \"expected integer, got %s\"", field_type_name(ret->type));
    return bad_consumer_argument(q, name, why, f);
}

bool
arguments_check_consumer(const struct queue_def *q, struct slice arguments, struct consumer_arguments *ret,
                         struct fault *ret_fault)
{
    static const char failover[] = "x-cancel-on-ha-failover", late[] = "x-consumer-timeout";
    struct field f, priority, timeout;
    char why[64];
    bool has_failover = table_find(arguments, slice_str(failover), &f);
    if (has_failover && q->type != QUEUE_CLASSIC) {
        snprintf(why, sizeof why, " of queue type %s", arguments_type_modules[q->type]);
        return bad_consumer_argument(q, failover, why, ret_fault);
    }
    if (!consumer_integer(q, arguments, "x-priority", &priority, ret_fault) ||
        !consumer_integer(q, arguments, late, &timeout, ret_fault))
        return false;
    if (timeout.i64 < 0) {
        snprintf(why, sizeof why, ": {value_negative,%" PRId64 "}", timeout.i64);
        return bad_consumer_argument(q, late, why, ret_fault);
    }
    if (has_failover && f.type != FIELD_BOOL) {
        snprintf(why, sizeof why, ": {unacceptable_type,%s}", field_type_name(f.type));
        return bad_consumer_argument(q, failover, why, ret_fault);
    }
    ret->priority = (int32_t)LV_MAX((int64_t)INT32_MIN, LV_MIN((int64_t)INT32_MAX, priority.i64));
    ret->timeout_ms = field_is_integer(&timeout) ? (uint64_t)timeout.i64 : RULE_NONE;
    return true;
}

static bool
bad_expiration(struct slice text, const char *why, struct fault *f)
{
    fault_set(f, FAULT_PRECONDITION_FAILED, "invalid expiration '%.*s': %s", SLICE_FMT(text), why);
    return false;
}

bool
arguments_parse_expiration(struct slice text, uint32_t *ret_ms, struct fault *ret_fault)
{
    size_t at = text.len > 0 && (text.ptr[0] == '-' || text.ptr[0] == '+') ? 1 : 0;
    size_t first = at;
    uint64_t value = 0;
    bool is_negative = at == 1 && text.ptr[0] == '-';
    for (; at < text.len && text.ptr[at] >= '0' && text.ptr[at] <= '9'; at++)
        value = LV_MIN(value * 10 + (uint64_t)(text.ptr[at] - '0'), (uint64_t)1 << 40);
    char why[320];
    if (at == first)
        return bad_expiration(text, "no_integer", ret_fault);
    if (at < text.len) {
        snprintf(why, sizeof why, "{leftover_string,\"%.*s\"}", SLICE_FMT(slice_from(text, at)));
        return bad_expiration(text, why, ret_fault);
    }
    if (is_negative && value > 0) {
        snprintf(why, sizeof why, "{value_negative,-%" PRIu64 "}", value);
        return bad_expiration(text, why, ret_fault);
    }
    *ret_ms = (uint32_t)LV_MIN(value, (uint64_t)UINT32_MAX);
    return true;
}

static bool
selected_keys(struct slice headers, const char *name, struct slice *keys, size_t cap, size_t *count,
              bool *ret_is_there, struct fault *f)
{
    struct field field, item;
    *ret_is_there = table_find(headers, slice_str(name), &field);
    if (!*ret_is_there)
        return true;
    if (field.type != FIELD_ARRAY) {
        fault_set(f, FAULT_PRECONDITION_FAILED, "invalid message: {unacceptable_type_in_header,\"%s\",%s}",
                  name, field_type_name(field.type));
        return false;
    }
    for (struct array_iter it = array_iter_of(field.array); array_iter_next(&it, &item);) {
        if (item.type != FIELD_LONGSTR)
            continue; // as RabbitMQ: only strings are keys
        if (*count == cap) {
            fault_set(f, FAULT_PRECONDITION_FAILED, "invalid message: more than %zu keys in CC and BCC", cap);
            return false;
        }
        if (item.bytes.len > 255) {
            fault_set(f, FAULT_PRECONDITION_FAILED, "invalid message: a key in %s is longer than 255 bytes",
                      name);
            return false;
        }
        keys[(*count)++] = item.bytes;
    }
    return true;
}

bool
arguments_sender_selected(struct slice headers, struct slice *keys, size_t cap, size_t *ret_count,
                          bool *ret_has_bcc, struct fault *ret_fault)
{
    bool has_cc;
    *ret_count = 0;
    return selected_keys(headers, "CC", keys, cap, ret_count, &has_cc, ret_fault) &&
           selected_keys(headers, "BCC", keys, cap, ret_count, ret_has_bcc, ret_fault);
}
