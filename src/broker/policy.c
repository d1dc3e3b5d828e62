// policy.c: from the JSON of a policy to struct policy, and back.
//
// Happy path: parse, collect what is wrong (all four members are looked at, in RabbitMQ's order), compile the pattern, measure the
// values, copy everything into one block. Texts: "Validation failed", an empty line, then a line for each member that is wrong.
#define PCRE2_CODE_UNIT_WIDTH 8
#include "src/broker/policy.h"

#include <pcre2.h>
#include <stdlib.h>

#include "src/base/mem.h"
#include "src/broker/json.h"
#include "src/broker/json_erlang.h"
#include "src/broker/policy_keys.h"

#define ALL_QUEUES (1u << POLICY_CLASSIC | 1u << POLICY_QUORUM | 1u << POLICY_STREAM)

static const struct {
    const char *name;
    unsigned targets;
} apply_tos[] = {
    {"all", 1u << POLICY_EXCHANGE | ALL_QUEUES}, {"queues", ALL_QUEUES},
    {"exchanges", 1u << POLICY_EXCHANGE},        {"classic_queues", 1u << POLICY_CLASSIC},
    {"quorum_queues", 1u << POLICY_QUORUM},      {"streams", 1u << POLICY_STREAM},
};

static const char *const components[POLICY_KINDS] = {"policy", "operator_policy"};

bool
policy_kind_parse(struct slice component, enum policy_kind *ret_kind)
{
    for (enum policy_kind kind = 0; kind < POLICY_KINDS; kind++) {
        if (!slice_eq_str(component, components[kind]))
            continue;
        *ret_kind = kind;
        return true;
    }
    return false;
}

struct slice
policy_component(enum policy_kind kind)
{
    return slice_str(components[kind]);
}

// --- parsing ------------------------------------------------------------------------------------------------------------------

// What is taken out of the JSON; slices point into it.
struct draft {
    const json_t *definition;
    struct slice pattern, apply_to;
    unsigned apply_targets;
    const json_t *priority; // NULL: 0
    void *code;
};

static struct slice
text_of(const json_t *string)
{
    return slice_of(json_string_value(string), json_string_length(string));
}

void *
policy_regex_compile(struct slice pattern, unsigned column, struct buf *reason)
{
    int error;
    PCRE2_SIZE offset;
    PCRE2_UCHAR text[160] = "";
    struct buf why = BUF_INIT;
    const uint8_t *ptr = pattern.ptr != NULL ? pattern.ptr : (const uint8_t *)"";
    if (pattern.len > POLICY_PATTERN_MAX) {
        buf_printf(reason, "{\"longer than %d bytes\",%d}", POLICY_PATTERN_MAX, POLICY_PATTERN_MAX);
        return NULL;
    }
    void *code = pcre2_compile(ptr, pattern.len, PCRE2_NEVER_BACKSLASH_C, &error, &offset, NULL);
    if (code != NULL)
        return code;
    (void)pcre2_get_error_message(error, text, sizeof text);
    buf_printf(&why, "{\"%s\",", (const char *)text);
    buf_append_slice(reason, buf_slice(&why));
    // Erlang breaks a tuple that does not fit into 80 columns, and aligns its parts.
    if (column + why.len + 4 > 80)
        buf_printf(reason, "\n%*s", (int)column + 1, "");
    buf_printf(reason, "%zu}", (size_t)offset);
    buf_fini(&why);
    return NULL;
}

void
policy_regex_free(void *code)
{
    pcre2_code_free(code);
}

static void
check_apply_to(const json_t *value, struct draft *d, struct buf *reason)
{
    d->apply_to = value == NULL ? slice_str(apply_tos[0].name) : text_of(value);
    for (size_t i = 0; i < LV_ARRAY_LEN(apply_tos); i++) {
        if ((value == NULL || json_is_string(value)) && slice_eq_str(d->apply_to, apply_tos[i].name)) {
            d->apply_targets = apply_tos[i].targets;
            return;
        }
    }
    buf_append_str(reason, "apply-to '");
    if (json_is_string(value))
        buf_append_slice(reason,
                         slice_head(d->apply_to, LV_MIN(d->apply_to.len, (size_t)POLICY_PATTERN_MAX)));
    else
        json_put_erlang(reason, value);
    buf_append_str(
        reason, "' unrecognised; should be one of: 'queues', 'classic_queues',  'quorum_queues', 'streams', "
                "'exchanges', or 'all'\n");
}

static void
check_pattern(const json_t *value, struct draft *d, struct buf *reason)
{
    static const char head[] = "pattern should be regular expression but is invalid: ";
    struct buf why = BUF_INIT;
    if (!json_is_string(value)) {
        buf_append_str(reason, "pattern should be a binary but was ");
        json_put_erlang(reason, value);
        buf_append_u8(reason, '\n');
        return;
    }
    d->pattern = text_of(value);
    d->code = policy_regex_compile(d->pattern, sizeof head - 1, &why);
    if (d->code == NULL)
        buf_printf(reason, "%s%s\n", head, buf_cstr(&why));
    buf_fini(&why);
}

static bool
is_member(const char *name)
{
    static const char *const members[] = {"pattern", "definition", "priority", "apply-to"};
    for (size_t i = 0; i < LV_ARRAY_LEN(members); i++) {
        if (strcmp(name, members[i]) == 0)
            return true;
    }
    return false;
}

static bool
is_no_member(const char *name, void *ctx)
{
    return !is_member(name);
}

static void
check_members(const struct policy_args *args, const json_t *object, struct buf *reason)
{
    static const char *const needed[] = {"definition", "pattern"};
    struct buf unknown = BUF_INIT;
    if (json_put_erlang_pairs(&unknown, object, is_no_member, NULL) > 0)
        buf_printf(reason, "Unrecognised terms %s in %.*s\n", buf_cstr(&unknown), SLICE_FMT(args->name));
    buf_fini(&unknown);
    for (size_t i = 0; i < LV_ARRAY_LEN(needed); i++) {
        if (json_object_get(object, needed[i]) == NULL)
            buf_printf(reason, "Key \"%s\" not found in %.*s\n", needed[i], SLICE_FMT(args->name));
    }
}

// Everything that may be wrong. False with the text.
static bool
check_all(const struct policy_args *args, const json_t *object, struct draft *d, struct buf *reason)
{
    struct buf wrong = BUF_INIT, definition = BUF_INIT;
    const json_t *pattern = json_object_get(object, "pattern");
    d->definition = json_object_get(object, "definition");
    d->priority = json_object_get(object, "priority");
    check_members(args, object, &wrong);
    if (d->definition != NULL &&
        !policy_check_definition(args->kind, args->name, d->definition, &definition)) {
        buf_append_slice(&wrong, buf_slice(&definition));
        buf_append_u8(&wrong, '\n');
    }
    check_apply_to(json_object_get(object, "apply-to"), d, &wrong);
    if (pattern != NULL)
        check_pattern(pattern, d, &wrong);
    if (d->priority != NULL && !json_is_number(d->priority)) {
        buf_append_str(&wrong, "priority should be a number, actually was ");
        json_put_erlang(&wrong, d->priority);
        buf_append_u8(&wrong, '\n');
    }
    bool is_good = wrong.len == 0;
    if (!is_good) {
        buf_append_str(reason, "Validation failed\n\n");
        buf_append_slice(reason, buf_slice(&wrong));
    }
    buf_fini(&wrong);
    buf_fini(&definition);
    return is_good;
}

// --- making -------------------------------------------------------------------------------------------------------------------

// The types of queues that know all keys, and exchanges, which know none but their own and mind no others. A policy that names
// classic queues alone may use what only other types have in RabbitMQ and all have here.
static unsigned
targets_of(const struct draft *d)
{
    bool is_classic_alone = d->apply_targets == 1u << POLICY_CLASSIC;
    unsigned targets = d->apply_targets;
    for (enum policy_key key = 0; key < POLICY_KEY_COUNT; key++) {
        bool is_ours =
            is_classic_alone && (key == POLICY_DELIVERY_LIMIT || key == POLICY_DEAD_LETTER_STRATEGY);
        if (!is_ours && json_object_get(d->definition, policy_keys[key].name) != NULL)
            targets &= ~policy_keys[key].not_for;
    }
    return targets;
}

static int
append_text(const char *text, size_t len, void *ctx)
{
    struct buf *out = ctx;
    buf_append(out, text, len);
    return out->failed ? -1 : 0;
}

// The value; `text` gets its bytes.
static struct policy_value
value_of(enum policy_key key, const json_t *json, struct buf *text)
{
    struct policy_value v = {.key = key};
    size_t from = text->len;
    if (json_is_string(json)) {
        v.kind = POLICY_TEXT;
        buf_append_slice(text, text_of(json));
    } else {
        v.kind = json_is_boolean(json) ? POLICY_BOOL : json_is_array(json) ? POLICY_LIST : POLICY_NUMBER;
        v.number = json_is_boolean(json)   ? json_is_true(json)
                   : json_is_array(json)   ? (int64_t)json_array_size(json)
                   : json_is_integer(json) ? json_integer_value(json)
                                           : (int64_t)LV_MIN(json_real_value(json), 9e18);
        if (json_dump_callback(json, append_text, text, JSON_COMPACT | JSON_ENCODE_ANY) != 0)
            text->failed = true;
    }
    v.text.len = text->len - from;
    return v;
}

static long double
priority_of(const json_t *priority)
{
    return json_is_integer(priority) ? (long double)json_integer_value(priority)
           : json_is_real(priority)  ? (long double)json_real_value(priority)
                                     : 0;
}

static struct policy *
make(const struct policy_args *args, struct draft *d)
{
    struct policy_value values[POLICY_KEY_COUNT];
    struct buf texts = BUF_INIT, priority = BUF_INIT;
    size_t count = 0;
    for (enum policy_key key = 0; key < POLICY_KEY_COUNT; key++) {
        const json_t *json = json_object_get(d->definition, policy_keys[key].name);
        if (json != NULL)
            values[count++] = value_of(key, json, &texts);
    }
    if (d->priority == NULL)
        buf_append_u8(&priority, '0');
    else if (json_dump_callback(d->priority, append_text, &priority, JSON_ENCODE_ANY) != 0)
        priority.failed = true;
    struct policy *p = NULL;
    if (!texts.failed && !priority.failed)
        p = mem_alloc(sizeof *p + count * sizeof *values + texts.len + priority.len + args->vhost.len +
                      args->name.len + d->pattern.len + d->apply_to.len);
    if (p != NULL) {
        *p = (struct policy){
            .kind = args->kind, .targets = targets_of(d), .priority = priority_of(d->priority)};
        p->value_count = count;
        uint8_t *at = (uint8_t *)&p->values[count];
        const uint8_t *from = texts.ptr;
        for (size_t i = 0; i < count; i++) {
            p->values[i] = values[i];
            p->values[i].text = slice_place(&at, slice_of(from, values[i].text.len));
            from += values[i].text.len;
        }
        p->priority_json = slice_place(&at, buf_slice(&priority));
        p->vhost = slice_place(&at, args->vhost);
        p->name = slice_place(&at, args->name);
        p->pattern = slice_place(&at, d->pattern);
        p->apply_to = slice_place(&at, d->apply_to);
        p->code = d->code;
        d->code = NULL;
    }
    buf_fini(&texts);
    buf_fini(&priority);
    return p;
}

int
policy_new(const struct policy_args *args, struct policy **ret, struct buf *reason)
{
    json_error_t error;
    if (args->json.len > POLICY_JSON_MAX) {
        buf_printf(reason, "Validation failed\n\na policy has at most %d bytes\n", POLICY_JSON_MAX);
        return -LE_INVAL;
    }
    json_t *object = json_loadb((const char *)args->json.ptr, args->json.len, JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(object)) {
        buf_printf(reason, "Could not parse JSON document: %s",
                   object == NULL ? error.text : "not an object");
        json_decref(object);
        return -LE_INVAL;
    }
    struct draft d = {0};
    struct policy *p = NULL;
    int result = check_all(args, object, &d, reason) ? 0 : -LE_INVAL;
    if (result == 0) {
        p = make(args, &d);
        result = p != NULL ? 0 : -LE_NOMEM;
    }
    policy_regex_free(d.code);
    json_decref(object);
    if (result == 0)
        *ret = p;
    return result;
}

void
policy_free(struct policy *p)
{
    if (p == NULL)
        return;
    policy_regex_free(p->code);
    mem_free(p);
}

// --- writing ------------------------------------------------------------------------------------------------------------------

static void
put_value(struct buf *out, const struct policy_value *v)
{
    buf_printf(out, "\"%s\":", policy_keys[v->key].name);
    if (v->kind == POLICY_TEXT)
        json_put_string(out, v->text);
    else
        buf_append_slice(out, v->text);
    buf_append_u8(out, ',');
}

void
policy_put_definition(struct buf *out, const struct policy *p)
{
    buf_append_u8(out, '{');
    for (size_t i = 0; i < p->value_count; i++)
        put_value(out, &p->values[i]);
    json_drop_comma(out);
    buf_append_u8(out, '}');
}

void
policy_put_value(struct buf *out, const struct policy *p)
{
    buf_append_u8(out, '{');
    json_put_member_string(out, "pattern", p->pattern);
    buf_append_str(out, "\"definition\":");
    policy_put_definition(out, p);
    buf_append_str(out, ",\"priority\":");
    buf_append_slice(out, p->priority_json);
    buf_append_u8(out, ',');
    json_put_member_string(out, "apply-to", p->apply_to);
    json_drop_comma(out);
    buf_append_u8(out, '}');
}

void
policy_put_json(struct buf *out, const struct policy *p)
{
    buf_append_u8(out, '{');
    json_put_member_string(out, "vhost", p->vhost);
    json_put_member_string(out, "name", p->name);
    json_put_member_string(out, "pattern", p->pattern);
    json_put_member_string(out, "apply-to", p->apply_to);
    buf_append_str(out, "\"definition\":");
    policy_put_definition(out, p);
    buf_append_str(out, ",\"priority\":");
    buf_append_slice(out, p->priority_json);
    buf_append_u8(out, '}');
}

void
policy_effective_put(struct buf *out, const struct policy_pair *pair)
{
    buf_append_u8(out, '{');
    for (enum policy_key key = 0; key < POLICY_KEY_COUNT; key++) {
        const struct policy_value *v = policy_effective(pair, key);
        if (v != NULL)
            put_value(out, v);
    }
    json_drop_comma(out);
    buf_append_u8(out, '}');
}
