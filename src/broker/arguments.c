// arguments.c: arguments of queues (declare, redeclare): which exist, what values they take, for which queue types.
//
// One table: name, check, and the queue types that know it. An argument outside the table is kept and ignored, as in RabbitMQ.
// Checks run in the table's order; the first that fails makes the fault.
#include "src/broker/arguments.h"

#include <inttypes.h>
#include <stdio.h>

#include "amqp/wire/table.h"
#include "exchange/route.h"

enum {
    CLASSIC = 1u << QUEUE_CLASSIC,
    QUORUM = 1u << QUEUE_QUORUM,
    STREAM = 1u << QUEUE_STREAM,
    ANY = CLASSIC | QUORUM | STREAM
};

// Fills `why` when the value is not good.
typedef bool (*check_fn)(const struct field *f, struct slice arguments, char *why, size_t why_len);

struct argument_rule {
    const char *name;
    check_fn check;
    unsigned types;
};

static bool
bad_type(const struct field *f, char *why, size_t len)
{
    snprintf(why, len, "{unacceptable_type,%s}", field_type_name(f->type));
    return false;
}

static bool
check_integer(const struct field *f, char *why, size_t len)
{
    if (field_is_integer(f))
        return true;
    snprintf(why, len, "\"expected integer, got %s\"", field_type_name(f->type));
    return false;
}

static bool
check_not_negative(const struct field *f, struct slice arguments, char *why, size_t len)
{
    if (!check_integer(f, why, len))
        return false;
    if (f->i64 >= 0)
        return true;
    snprintf(why, len, "{value_negative,%" PRId64 "}", f->i64);
    return false;
}

static bool
check_positive(const struct field *f, struct slice arguments, char *why, size_t len)
{
    if (!check_not_negative(f, arguments, why, len))
        return false;
    if (f->i64 > 0)
        return true;
    snprintf(why, len, "{value_zero,0}");
    return false;
}

static bool
check_any_integer(const struct field *f, struct slice arguments, char *why, size_t len)
{
    return check_integer(f, why, len);
}

static bool
check_max_priority(const struct field *f, struct slice arguments, char *why, size_t len)
{
    if (!check_not_negative(f, arguments, why, len))
        return false;
    if (f->i64 <= 255)
        return true;
    snprintf(why, len, "{max_value_exceeded,%" PRId64 "}", f->i64);
    return false;
}

static bool
check_bool(const struct field *f, struct slice arguments, char *why, size_t len)
{
    return f->type == FIELD_BOOL || bad_type(f, why, len);
}

static bool
check_string(const struct field *f, struct slice arguments, char *why, size_t len)
{
    return f->type == FIELD_LONGSTR || bad_type(f, why, len);
}

static bool
is_one_of(struct slice value, const char *const *choices, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (slice_eq_str(value, choices[i]))
            return true;
    }
    return false;
}

static bool
check_overflow(const struct field *f, struct slice arguments, char *why, size_t len)
{
    static const char *const choices[] = {"drop-head", "reject-publish", "reject-publish-dlx"};
    if (f->type != FIELD_LONGSTR)
        return bad_type(f, why, len);
    if (is_one_of(f->bytes, choices, LV_ARRAY_LEN(choices)))
        return true;
    snprintf(why, len, "invalid_overflow");
    return false;
}

static bool
check_queue_mode(const struct field *f, struct slice arguments, char *why, size_t len)
{
    static const char *const choices[] = {"default", "lazy"};
    if (f->type != FIELD_LONGSTR)
        return bad_type(f, why, len);
    if (is_one_of(f->bytes, choices, LV_ARRAY_LEN(choices)))
        return true;
    snprintf(why, len, "\"unsupported queue mode '%.*s'\"", SLICE_FMT(f->bytes));
    return false;
}

// Leveret's own: what a confirm of a durable queue means (docs/compatibility.md).
static bool
check_durability(const struct field *f, struct slice arguments, char *why, size_t len)
{
    static const char *const choices[] = {"fsync", "os", "memory"};
    if (f->type != FIELD_LONGSTR)
        return bad_type(f, why, len);
    if (is_one_of(f->bytes, choices, LV_ARRAY_LEN(choices)))
        return true;
    snprintf(why, len, "\"unsupported durability '%.*s'\"", SLICE_FMT(f->bytes));
    return false;
}

static bool
check_queue_version(const struct field *f, struct slice arguments, char *why, size_t len)
{
    if (!check_integer(f, why, len))
        return false;
    if (f->i64 == 1 || f->i64 == 2)
        return true;
    snprintf(why, len, "\"unsupported queue version '%" PRId64 "'\"", f->i64);
    return false;
}

bool
arguments_is_queue_type(struct slice name)
{
    static const char *const choices[] = {"classic", "quorum", "stream"};
    return is_one_of(name, choices, LV_ARRAY_LEN(choices));
}

static bool
check_queue_type(const struct field *f, struct slice arguments, char *why, size_t len)
{
    if (f->type != FIELD_LONGSTR)
        return bad_type(f, why, len);
    if (arguments_is_queue_type(f->bytes))
        return true;
    snprintf(why, len, "\"unsupported queue type '%.*s'\"", SLICE_FMT(f->bytes));
    return false;
}

static bool
check_dead_letter_key(const struct field *f, struct slice arguments, char *why, size_t len)
{
    if (f->type != FIELD_LONGSTR)
        return bad_type(f, why, len);
    if (table_find(arguments, SLICE_LIT("x-dead-letter-exchange"), NULL))
        return true;
    snprintf(why, len, "routing_key_but_no_dlx_defined");
    return false;
}

static bool
check_dead_letter_strategy(const struct field *f, struct slice arguments, char *why, size_t len)
{
    static const char *const choices[] = {"at-most-once", "at-least-once"};
    if (f->type != FIELD_LONGSTR)
        return bad_type(f, why, len);
    if (is_one_of(f->bytes, choices, LV_ARRAY_LEN(choices)))
        return true;
    snprintf(why, len, "invalid_dlx_strategy");
    return false;
}

// RabbitMQ closes the connection with 541 on an unknown locator; we say what is wrong.
static bool
check_locator(const struct field *f, struct slice arguments, char *why, size_t len)
{
    static const char *const choices[] = {"min-masters", "client-local", "random", "balanced",
                                          "least-leaders"};
    if (f->type != FIELD_LONGSTR)
        return bad_type(f, why, len);
    if (is_one_of(f->bytes, choices, LV_ARRAY_LEN(choices)))
        return true;
    snprintf(why, len, "\"unknown locator '%.*s'\"", SLICE_FMT(f->bytes));
    return false;
}

static bool
check_leader_locator(const struct field *f, struct slice arguments, char *why, size_t len)
{
    bool is_good = check_locator(f, arguments, why, len);
    if (!is_good && f->type == FIELD_LONGSTR)
        snprintf(why, len, "invalid_queue_locator_arg");
    return is_good;
}

static bool
check_max_age(const struct field *f, struct slice arguments, char *why, size_t len)
{
    if (f->type != FIELD_LONGSTR)
        return bad_type(f, why, len);
    size_t digits = 0;
    while (digits < f->bytes.len && f->bytes.ptr[digits] >= '0' && f->bytes.ptr[digits] <= '9')
        digits++;
    // NOLINTNEXTLINE(bugprone-not-null-terminated-result): a zero byte is no unit
    if (digits > 0 && digits + 1 == f->bytes.len && memchr("YMDhms", f->bytes.ptr[digits], 6) != NULL)
        return true;
    snprintf(why, len, "invalid_max_age");
    return false;
}

static const struct argument_rule queue_rules[] = {
    {"x-expires", check_positive, CLASSIC | QUORUM},
    {"x-message-ttl", check_not_negative, CLASSIC | QUORUM},
    {"x-dead-letter-exchange", check_string, CLASSIC | QUORUM},
    {"x-dead-letter-routing-key", check_dead_letter_key, CLASSIC | QUORUM},
    {"x-dead-letter-strategy", check_dead_letter_strategy, QUORUM},
    {"x-max-length", check_not_negative, CLASSIC | QUORUM},
    {"x-max-length-bytes", check_not_negative, ANY},
    {"x-max-in-memory-length", check_not_negative, QUORUM},
    {"x-max-in-memory-bytes", check_not_negative, QUORUM},
    {"x-max-priority", check_max_priority, CLASSIC},
    {"x-overflow", check_overflow, CLASSIC | QUORUM},
    {"x-queue-mode", check_queue_mode, CLASSIC},
    {"x-queue-version", check_queue_version, CLASSIC},
    {"x-durability", check_durability, CLASSIC | QUORUM},
    {"x-single-active-consumer", check_bool, CLASSIC | QUORUM},
    {"x-queue-type", check_queue_type, ANY},
    {"x-queue-master-locator", check_locator, CLASSIC},
    {"x-queue-leader-locator", check_leader_locator, ANY},
    {"x-quorum-initial-group-size", check_positive, QUORUM},
    {"x-delivery-limit", check_any_integer, CLASSIC | QUORUM}, // RabbitMQ: of quorum queues only
    {"x-consumer-timeout", check_not_negative, CLASSIC | QUORUM},
    {"x-max-age", check_max_age, STREAM},
    {"x-stream-max-segment-size-bytes", check_not_negative, STREAM},
    {"x-initial-cluster-size", check_positive, STREAM},
};

const char *const arguments_type_modules[] = {"rabbit_classic_queue", "rabbit_quorum_queue",
                                              "rabbit_stream_queue"};

static enum queue_type
queue_type_of(struct slice arguments)
{
    struct slice type;
    if (!table_find_longstr(arguments, SLICE_LIT("x-queue-type"), &type))
        return QUEUE_CLASSIC;
    return slice_eq_str(type, "quorum")   ? QUEUE_QUORUM
           : slice_eq_str(type, "stream") ? QUEUE_STREAM
                                          : QUEUE_CLASSIC;
}

static void
fault_bad_value(struct slice vhost, struct slice queue, const char *argument, const char *why,
                struct fault *f)
{
    fault_set(f, FAULT_PRECONDITION_FAILED, "invalid arg '%s' for queue '%.*s' in vhost '%.*s': %s", argument,
              SLICE_FMT(queue), SLICE_FMT(vhost), why);
}

// RabbitMQ's order: the type itself, then whether it knows each argument, then the values.
static bool
check_known(struct slice vhost, struct slice queue, struct slice arguments, struct fault *f)
{
    struct field field;
    char why[160];
    if (table_find(arguments, SLICE_LIT("x-queue-type"), &field) &&
        !check_queue_type(&field, arguments, why, sizeof why)) {
        fault_bad_value(vhost, queue, "x-queue-type", why, f);
        return false;
    }
    enum queue_type type = queue_type_of(arguments);
    for (size_t i = 0; i < LV_ARRAY_LEN(queue_rules); i++) {
        const struct argument_rule *rule = &queue_rules[i];
        if ((rule->types & 1u << type) != 0 || !table_find(arguments, slice_str(rule->name), NULL))
            continue;
        fault_set(f, FAULT_PRECONDITION_FAILED,
                  "invalid arg '%s' for queue '%.*s' in vhost '%.*s' of queue type %s", rule->name,
                  SLICE_FMT(queue), SLICE_FMT(vhost), arguments_type_modules[type]);
        return false;
    }
    return true;
}

static bool
check_values(struct slice vhost, struct slice queue, struct slice arguments, struct fault *f)
{
    struct field field;
    char why[160];
    for (size_t i = 0; i < LV_ARRAY_LEN(queue_rules); i++) {
        const struct argument_rule *rule = &queue_rules[i];
        if (!table_find(arguments, slice_str(rule->name), &field) ||
            rule->check(&field, arguments, why, sizeof why))
            continue;
        if (field.type != FIELD_LONGSTR && slice_eq_str(SLICE_LIT("x-dead-letter-exchange"), rule->name))
            fault_set(f, FAULT_PRECONDITION_FAILED,
                      "invalid type '%s' for arg '%s' in queue '%.*s' in vhost '%.*s'",
                      field_type_name(field.type), rule->name, SLICE_FMT(queue), SLICE_FMT(vhost));
        else
            fault_bad_value(vhost, queue, rule->name, why, f);
        return false;
    }
    return true;
}

static bool
check_type(struct slice vhost, struct slice queue, enum queue_type type, const struct queue_properties *p,
           struct fault *f)
{
    const char *bad = NULL;
    if (type != QUEUE_CLASSIC)
        bad = p->is_auto_delete ? "auto-delete"
              : p->is_exclusive ? "exclusive-owner"
              : !p->is_durable  ? "non-durable"
                                : NULL;
    if (bad != NULL) {
        fault_set(f, FAULT_PRECONDITION_FAILED, "invalid property '%s' for queue '%.*s' in vhost '%.*s'", bad,
                  SLICE_FMT(queue), SLICE_FMT(vhost));
        return false;
    }
    if (type == QUEUE_STREAM) {
        fault_set(f, FAULT_PRECONDITION_FAILED,
                  "queue type 'stream' of queue '%.*s' in vhost '%.*s' is not supported by this broker",
                  SLICE_FMT(queue), SLICE_FMT(vhost));
        return false;
    }
    return true;
}

bool
arguments_check_queue(struct slice vhost, struct slice queue, struct slice arguments,
                      const struct queue_properties *p, enum queue_type *ret_type, uint32_t *ret_flags,
                      struct fault *ret_fault)
{
    if (!check_known(vhost, queue, arguments, ret_fault) || !check_values(vhost, queue, arguments, ret_fault))
        return false;
    enum queue_type type = queue_type_of(arguments);
    if (!check_type(vhost, queue, type, p, ret_fault))
        return false;
    bool is_single_active = false;
    table_find_bool(arguments, SLICE_LIT("x-single-active-consumer"), &is_single_active);
    *ret_type = type;
    *ret_flags = is_single_active ? QUEUE_SINGLE_ACTIVE : 0;
    struct slice durability;
    if (table_find_longstr(arguments, SLICE_LIT("x-durability"), &durability))
        *ret_flags |= slice_eq_str(durability, "os")       ? QUEUE_RELAXED_OS
                      : slice_eq_str(durability, "memory") ? QUEUE_RELAXED_MEMORY
                                                           : 0u;
    return true;
}

// --- equivalence ------------------------------------------------------------------------------------------------------------

// What the texts about inequivalence name.
struct subject {
    const char *kind; // "queue" or "exchange"
    struct slice name, vhost;
};

static bool
inequivalent(const struct subject *s, const char *arg, const char *received, const char *current,
             struct fault *f)
{
    fault_set(f, FAULT_PRECONDITION_FAILED,
              "inequivalent arg '%s' for %s '%.*s' in vhost '%.*s': received %s but current is %s", arg,
              s->kind, SLICE_FMT(s->name), SLICE_FMT(s->vhost), received, current);
    return false;
}

static bool
same_flag(const struct subject *s, const char *arg, bool received, bool current, struct fault *f)
{
    return received == current ||
           inequivalent(s, arg, received ? "'true'" : "'false'", current ? "'true'" : "'false'", f);
}

// The value as RabbitMQ prints it: numbers in Erlang's way, strings bare.
static void
print_value(const struct field *f, char *out, size_t len)
{
    if (f->type == FIELD_LONGSTR || f->type == FIELD_BINARY) {
        snprintf(out, len, "%.*s", (int)LV_MIN(f->bytes.len, (size_t)80), (const char *)f->bytes.ptr);
    } else if (f->type == FIELD_BOOL) {
        snprintf(out, len, "%s", f->i64 != 0 ? "true" : "false");
    } else if (f->type == FIELD_FLOAT || f->type == FIELD_DOUBLE) {
        // Erlang's shortest form: 1.0e3, 2.5, 1.5e-7. Close enough where the exponent is small.
        char digits[40];
        snprintf(digits, sizeof digits, "%.16g", f->f64);
        double magnitude = f->f64 < 0 ? -f->f64 : f->f64;
        if (magnitude >= 1000 && strchr(digits, 'e') == NULL && strchr(digits, '.') == NULL) {
            size_t first = digits[0] == '-' ? 1 : 0, count = strlen(digits) - first, last = count;
            while (last > 1 && digits[first + last - 1] == '0')
                last--;
            snprintf(out, len, "%.*s%c.%.*s%se%zu", (int)first, digits, digits[first], (int)(last - 1),
                     digits + first + 1, last == 1 ? "0" : "", count - 1);
        } else {
            snprintf(out, len, "%s%s", digits, strpbrk(digits, ".e") == NULL ? ".0" : "");
        }
    } else if (f->type == FIELD_TABLE || f->type == FIELD_ARRAY || f->type == FIELD_VOID ||
               f->type == FIELD_DECIMAL) {
        snprintf(out, len, "%s", field_type_name(f->type));
    } else {
        snprintf(out, len, "%" PRId64, f->i64);
    }
}

static bool
is_number_type(const struct field *f)
{
    return field_is_integer(f) || f->type == FIELD_TIMESTAMP;
}

// Equal: integers and timestamps by value, the rest by type and value.
static bool
same_field(const struct field *a, const struct field *b)
{
    return is_number_type(a) && is_number_type(b) ? a->i64 == b->i64 : field_eq(a, b);
}

static bool
same_argument(const struct subject *s, const char *name, struct slice received, struct slice current,
              struct fault *f)
{
    struct field got, has;
    char got_text[128], has_text[128], got_value[96], has_value[96];
    bool is_got = table_find(received, slice_str(name), &got),
         is_there = table_find(current, slice_str(name), &has);
    if (!is_got && !is_there)
        return true;
    if (is_got && is_there && same_field(&got, &has))
        return true;
    if (is_got)
        print_value(&got, got_value, sizeof got_value);
    if (is_there)
        print_value(&has, has_value, sizeof has_value);
    if (is_got && is_there) {
        snprintf(got_text, sizeof got_text, "'%s'", got_value);
        snprintf(has_text, sizeof has_text, "'%s'", has_value);
    } else if (is_got) {
        snprintf(got_text, sizeof got_text, "the value '%s' of type '%s'", got_value,
                 field_type_name(got.type));
        snprintf(has_text, sizeof has_text, "none");
    } else {
        snprintf(got_text, sizeof got_text, "none");
        snprintf(has_text, sizeof has_text, "the value '%s' of type '%s'", has_value,
                 field_type_name(has.type));
    }
    return inequivalent(s, name, got_text, has_text, f);
}

int
arguments_with_default_type(struct slice default_type, const struct queue_properties *p,
                            struct slice arguments, struct buf *room, struct slice *ret_arguments)
{
    // Quorum queues and streams are durable, shared, and stay. Any x-queue-type is the client's word, also a malformed one.
    bool is_compatible =
        slice_eq_str(default_type, "classic") || (p->is_durable && !p->is_exclusive && !p->is_auto_delete);
    if (default_type.len == 0 || !is_compatible || table_find(arguments, SLICE_LIT("x-queue-type"), NULL)) {
        *ret_arguments = arguments;
        return 0;
    }
    struct table_writer w = table_writer_of(room);
    buf_append_slice(room, arguments);
    table_put_longstr(&w, SLICE_LIT("x-queue-type"), default_type);
    if (room->failed)
        return -LE_NOMEM;
    *ret_arguments = buf_slice(room);
    return 0;
}

static bool
is_same_type(const struct queue_def *existing, const struct queue_properties *p, struct slice arguments)
{
    if (queue_type_of(arguments) != QUEUE_CLASSIC)
        return false; // compared like other arguments
    enum queue_type type = queue_type_of(existing->arguments);
    // "classic" and no type are the same.
    return type == QUEUE_CLASSIC ||
           (p->is_relaxed && type == QUEUE_QUORUM && table_find(arguments, SLICE_LIT("x-queue-type"), NULL));
}

bool
arguments_same_queue(const struct queue_def *existing, const struct queue_properties *p,
                     struct slice arguments, struct fault *ret_fault)
{
    struct subject s = {.kind = "queue", .name = existing->name, .vhost = existing->vhost};
    if (!same_flag(&s, "durable", p->is_durable, (existing->flags & QUEUE_DURABLE) != 0, ret_fault) ||
        !same_flag(&s, "auto_delete", p->is_auto_delete, (existing->flags & QUEUE_AUTO_DELETE) != 0,
                   ret_fault))
        return false;
    for (size_t i = 0; i < LV_ARRAY_LEN(queue_rules); i++) {
        const char *name = queue_rules[i].name;
        bool is_type = slice_eq_str(SLICE_LIT("x-queue-type"), name);
        if (is_type && is_same_type(existing, p, arguments))
            continue;
        if (!same_argument(&s, name, arguments, existing->arguments, ret_fault))
            return false;
    }
    return true;
}

bool
arguments_same_exchange(const struct exchange *existing, const struct exchange_properties *p,
                        struct slice arguments, struct fault *ret_fault)
{
    struct subject s = {.kind = "exchange", .name = existing->name, .vhost = existing->vhost};
    const char *type = exchange_type_name(existing->type);
    if (!slice_eq_str(p->type, type)) {
        char received[80], current[80];
        snprintf(received, sizeof received, "'%.*s'", (int)LV_MIN(p->type.len, (size_t)70),
                 (const char *)p->type.ptr);
        snprintf(current, sizeof current, "'%s'", type);
        return inequivalent(&s, "type", received, current, ret_fault);
    }
    return same_flag(&s, "durable", p->is_durable, existing->is_durable, ret_fault) &&
           same_flag(&s, "auto_delete", p->is_auto_delete, existing->is_auto_delete, ret_fault) &&
           same_flag(&s, "internal", p->is_internal, existing->is_internal, ret_fault) &&
           same_argument(&s, "alternate-exchange", arguments, existing->arguments, ret_fault);
}
