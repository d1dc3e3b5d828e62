// definitions.c: see definitions.h.
//
// The form of a record: a head (struct record_head), then for each slice whose bit is set its length (32 bits) and its bytes, in the order of
// the table of slices. Records never leave the machine that wrote them, nor outlive the process.
#include "src/management/definitions.h"

#include <ctype.h>
#include <stdarg.h>
#include <stddef.h>

#include "amqp/wire/table.h"
#include "src/base/mem.h"
#include "src/broker/arguments.h"
#include "src/broker/auth.h"
#include "src/broker/policy.h"
#include "src/management/api.h"
#include "src/management/parameter_rules.h"

const char *const definitions_section_names[DEFINITIONS_ALL] = {
    [DEFINITIONS_USERS] = "users",
    [DEFINITIONS_VHOSTS] = "vhosts",
    [DEFINITIONS_PERMISSIONS] = "permissions",
    [DEFINITIONS_TOPIC_PERMISSIONS] = "topic_permissions",
    [DEFINITIONS_GLOBAL_PARAMETERS] = "global_parameters",
    [DEFINITIONS_POLICIES] = "policies",
    [DEFINITIONS_PARAMETERS] = "parameters",
    [DEFINITIONS_QUEUES] = "queues",
    [DEFINITIONS_EXCHANGES] = "exchanges",
    [DEFINITIONS_BINDINGS] = "bindings",
    [DEFINITIONS_DELETIONS] = "deletions",
};

int
definitions_section_parse(struct slice name, enum definitions_section *ret)
{
    for (int i = 0; i < DEFINITIONS_COUNT; i++) {
        if (slice_eq_str(name, definitions_section_names[i])) {
            *ret = (enum definitions_section)i;
            return 0;
        }
    }
    return -LE_NOTFOUND;
}

bool
definitions_section_is_of_vhost(enum definitions_section section)
{
    return section == DEFINITIONS_POLICIES || section >= DEFINITIONS_PARAMETERS;
}

struct slice
definitions_default_hashing(struct slice version)
{
    // 0.0 to 3.5
    bool is_old = version.len >= 4 && version.ptr[1] == '.' &&
                  (version.ptr[0] < '3' || (version.ptr[0] == '3' && version.ptr[2] < '6' &&
                                            isdigit(version.ptr[2]) && version.ptr[3] == '.'));
    return is_old ? SLICE_LIT("rabbit_password_hashing_md5") : SLICE_LIT("rabbit_password_hashing_sha256");
}

// --- records ----------------------------------------------------------------------------------------------------------------------

struct record_head {
    uint32_t len; // of all of it
    uint32_t index;
    uint32_t flags;
    uint16_t mask; // slices that are there
    uint16_t change;
    int64_t number, number2;
};

#define SLICE_AT(member) offsetof(struct topology_request, member)
static const size_t slice_offsets[] = {
    SLICE_AT(vhost),     SLICE_AT(name),      SLICE_AT(dest_name),     SLICE_AT(key),
    SLICE_AT(arguments), SLICE_AT(type),      SLICE_AT(user),          SLICE_AT(text),
    SLICE_AT(tags),      SLICE_AT(component), SLICE_AT(configure),     SLICE_AT(write),
    SLICE_AT(read),      SLICE_AT(hashing),   SLICE_AT(password_hash), SLICE_AT(default_queue_type),
};
static_assert(LV_ARRAY_LEN(slice_offsets) == 16, "a bit each");

static struct slice *
slice_of_request(const struct topology_request *r, size_t i)
{
    return (struct slice *)(void *)((uint8_t *)(uintptr_t)r + slice_offsets[i]);
}

void
definitions_record_put(struct buf *out, const struct topology_request *args, uint32_t index)
{
    struct record_head head = {.index = index,
                               .flags = args->flags,
                               .change = (uint16_t)args->change,
                               .number = args->number,
                               .number2 = args->number2};
    size_t start = out->len;
    buf_append(out, &head, sizeof head);
    for (size_t i = 0; i < LV_ARRAY_LEN(slice_offsets); i++) {
        const struct slice *s = slice_of_request(args, i);
        if (s->ptr == NULL)
            continue;
        uint32_t len = (uint32_t)s->len;
        head.mask = (uint16_t)(head.mask | 1u << i);
        buf_append(out, &len, sizeof len);
        buf_append_slice(out, *s);
    }
    head.len = (uint32_t)(out->len - start);
    if (out->failed || out->len - start > DEFINITIONS_RECORD_MAX)
        out->failed = true;
    else
        memcpy(out->ptr + start, &head, sizeof head);
}

size_t
definitions_record_read(struct slice bytes, struct topology_request *ret, uint32_t *ret_index)
{
    struct record_head head;
    if (bytes.len < sizeof head)
        return 0;
    memcpy(&head, bytes.ptr, sizeof head);
    LV_ASSERT(head.len >= sizeof head && head.len <= DEFINITIONS_RECORD_MAX);
    if (bytes.len < head.len)
        return 0;
    *ret = (struct topology_request){.change = (enum topology_change)head.change,
                                     .flags = head.flags,
                                     .number = head.number,
                                     .number2 = head.number2};
    size_t at = sizeof head;
    for (size_t i = 0; i < LV_ARRAY_LEN(slice_offsets); i++) {
        uint32_t len;
        if ((head.mask & 1u << i) == 0)
            continue;
        memcpy(&len, bytes.ptr + at, sizeof len);
        at += sizeof len;
        *slice_of_request(ret, i) = slice_of(bytes.ptr + at, len);
        at += len;
    }
    LV_ASSERT(at == head.len);
    *ret_index = head.index;
    return head.len;
}

// --- members of an element ----------------------------------------------------------------------------------------------------------

struct reader {
    const struct definitions_args *args;
    const json_t *element;
    struct buf *out;
    json_t *reason; // not NULL: the element is refused
};

// The first reason stands.
static void LV_PRINTF(2, 3) refuse(struct reader *r, const char *fmt, ...)
{
    struct buf text = BUF_INIT;
    va_list ap;
    if (r->reason != NULL)
        return;
    va_start(ap, fmt);
    buf_vprintf(&text, fmt, ap);
    va_end(ap);
    r->reason = json_stringn((const char *)text.ptr, text.len);
    if (r->reason == NULL) // not UTF-8
        r->reason = json_string("a value is not valid");
    buf_fini(&text);
}

static void
refuse_word(struct reader *r, const char *word, const json_t *value)
{
    if (r->reason == NULL)
        r->reason = json_pack("[s, O]", word, value);
}

static struct slice
text_of(const json_t *value)
{
    return json_is_string(value) ? slice_of(json_string_value(value), json_string_length(value))
                                 : SLICE_EMPTY;
}

// A string that has to be there. Never a NULL ptr.
static struct slice
take_text(struct reader *r, const char *key)
{
    const json_t *value = json_object_get(r->element, key);
    if (value == NULL)
        refuse(r, "%s[%u]: '%s' is missing", definitions_section_names[r->args->section], r->args->index,
               key);
    else if (!json_is_string(value))
        refuse(r, "%s[%u]: '%s' is not a string", definitions_section_names[r->args->section], r->args->index,
               key);
    struct slice text = text_of(value);
    return text.ptr != NULL ? text : SLICE_LIT("");
}

static struct slice
take_name(struct reader *r, const char *key)
{
    struct slice name = take_text(r, key);
    if (r->reason == NULL && name.len == 0)
        refuse(r, "%s[%u]: '%s' is empty", definitions_section_names[r->args->section], r->args->index, key);
    else if (name.len > 255)
        refuse(r, "%s[%u]: '%s' is longer than 255 bytes", definitions_section_names[r->args->section],
               r->args->index, key);
    return name;
}

static struct slice
take_vhost(struct reader *r)
{
    return r->args->vhost.ptr != NULL ? r->args->vhost : take_name(r, "vhost");
}

// A boolean; `fallback` < 0: it has to be there.
static bool
take_bool(struct reader *r, const char *key, int fallback)
{
    const json_t *value = json_object_get(r->element, key);
    if (value == NULL && fallback >= 0)
        return fallback > 0;
    if (!json_is_boolean(value))
        refuse(r, "%s[%u]: '%s' is not true or false", definitions_section_names[r->args->section],
               r->args->index, key);
    return json_is_true(value);
}

static void
take_arguments(struct reader *r, struct buf *table)
{
    const json_t *value = json_object_get(r->element, "arguments");
    bool is_empty_list =
        json_is_array(value) && json_array_size(value) == 0; // PROTOCOL: Erlang's empty object
    if (value != NULL && !is_empty_list && api_table(value, table) != 0)
        refuse(r, "%s[%u]: 'arguments' is not a table", definitions_section_names[r->args->section],
               r->args->index);
}

static void
put(struct reader *r, const struct topology_request *request)
{
    if (r->reason == NULL)
        definitions_record_put(r->out, request, r->args->index);
}

static int
append_text(const char *text, size_t len, void *ctx)
{
    struct buf *out = ctx;
    buf_append(out, text, len);
    return out->failed ? -1 : 0;
}

static bool
dump(struct reader *r, const json_t *value, struct buf *out)
{
    if (json_dump_callback(value, append_text, out, JSON_COMPACT | JSON_ENCODE_ANY) != 0)
        r->out->failed = true;
    return !r->out->failed;
}

// "a, b" or ["a", "b"]: comma separated. False when it is neither.
static bool
join_tags(const json_t *tags, struct buf *out)
{
    if (json_is_string(tags))
        buf_append_slice(out, text_of(tags));
    for (size_t i = 0; i < json_array_size(tags); i++) {
        if (!json_is_string(json_array_get(tags, i)))
            return false;
        buf_append_str(out, i > 0 ? "," : "");
        buf_append_slice(out, text_of(json_array_get(tags, i)));
    }
    return json_is_string(tags) || json_is_array(tags);
}

// --- users and vhosts ---------------------------------------------------------------------------------------------------------------

static void
put_two_limits(struct reader *r, struct topology_request *change, uint32_t which, int64_t first,
               int64_t second)
{
    change->flags = which;
    change->number = first;
    change->number2 = second;
    if (first != INT64_MIN || second != INT64_MIN)
        put(r, change);
}

// Those of a vhost's parameter are all it has; others stay where nothing is said.
static void
put_limits(struct reader *r, const json_t *value, struct slice name, bool is_user)
{
    bool is_all = r->args->section == DEFINITIONS_PARAMETERS;
    struct parameter_limits limits;
    struct buf reason = BUF_INIT;
    struct topology_request change = {.change = is_user ? CHANGE_USER_LIMITS : CHANGE_VHOST_LIMITS,
                                      .name = name};
    if (value == NULL)
        return;
    if (!parameter_limits_read(value, is_user, &limits, &reason))
        refuse(r, "%s", buf_cstr(&reason));
    buf_fini(&reason);
    if (is_all) {
        limits.max_connections = LV_MAX(limits.max_connections, INT64_C(-1));
        limits.max_others = LV_MAX(limits.max_others, INT64_C(-1));
        limits.rate = LV_MAX(limits.rate, INT64_C(-1));
        limits.bytes_rate = LV_MAX(limits.bytes_rate, INT64_C(-1));
        limits.messages = LV_MAX(limits.messages, INT64_C(-1));
        limits.memory_bytes = LV_MAX(limits.memory_bytes, INT64_C(-1));
    }
    put_two_limits(r, &change, 0, limits.max_connections, limits.max_others);
    put_two_limits(r, &change, CHANGE_RATE_LIMITS, limits.rate, limits.bytes_rate);
    if (!is_user)
        put_two_limits(r, &change, CHANGE_CONTENT_LIMITS, limits.messages, limits.memory_bytes);
}

// The bytes of the password's hash; `hashing` has a NULL ptr when the file does not say which.
static size_t
take_password(struct reader *r, struct slice hashing, uint8_t hash[static PASSWORD_HASH_MAX])
{
    const json_t *password = json_object_get(r->element, "password"),
                 *given = json_object_get(r->element, "password_hash");
    struct buf reason = BUF_INIT;
    size_t len = 0;
    struct slice text = text_of(password);
    if (password != NULL && given != NULL)
        refuse(r, "both_password_and_password_hash_are_provided");
    else if ((password != NULL && !json_is_string(password)) || (given != NULL && !json_is_string(given)))
        refuse(r, "users[%u]: password and password_hash are strings", r->args->index);
    else if (password != NULL && !password_rule_allows(r->args->rule, text, &reason))
        refuse(r, "%s", buf_cstr(&reason));
    else if (text.len > 0 &&
             password_hash_make(text,
                                hashing.ptr != NULL ? hashing : SLICE_LIT("rabbit_password_hashing_sha256"),
                                hash, &len) != 0)
        refuse(r, "users[%u]: unknown hashing algorithm '%.*s'", r->args->index, SLICE_FMT(hashing));
    else if (given != NULL && base64_decode(text_of(given), hash, PASSWORD_HASH_MAX, &len) != 0)
        refuse_word(r, "not_base64", given);
    buf_fini(&reason);
    return r->reason == NULL ? len : 0;
}

static void
read_user(struct reader *r)
{
    uint8_t hash[PASSWORD_HASH_MAX];
    struct buf tags = BUF_INIT;
    struct slice hashing = text_of(json_object_get(r->element, "hashing_algorithm"));
    struct slice name = take_name(r, "name");
    if (r->reason == NULL && json_object_get(r->element, "tags") == NULL)
        refuse(r, "tags_not_present");
    else if (!join_tags(json_object_get(r->element, "tags"), &tags))
        refuse(r, "users[%u]: 'tags' is not a string nor a list of strings", r->args->index);
    size_t len = take_password(r, hashing, hash);
    if (hashing.ptr == NULL && json_object_get(r->element, "password") != NULL)
        hashing = SLICE_LIT("rabbit_password_hashing_sha256");
    put(r, &(struct topology_request){.change = CHANGE_USER_PUT,
                                      .flags = CHANGE_HAS_PASSWORD | CHANGE_HAS_TAGS,
                                      .name = name,
                                      .tags = tags.len > 0 ? buf_slice(&tags) : SLICE_LIT(""),
                                      .hashing = hashing,
                                      .password_hash = slice_of(hash, len)});
    put_limits(r, json_object_get(r->element, "limits"), name, true);
    mem_wipe(hash, sizeof hash);
    buf_fini(&tags);
}

// A member of "metadata" (3.11 and later), or of the vhost itself.
static const json_t *
vhost_member(const struct reader *r, const char *key)
{
    const json_t *metadata = json_object_get(json_object_get(r->element, "metadata"), key);
    return metadata != NULL ? metadata : json_object_get(r->element, key);
}

static void
read_vhost(struct reader *r)
{
    struct buf tags = BUF_INIT;
    const json_t *tracing = json_object_get(r->element, "tracing"), *given = vhost_member(r, "tags");
    struct topology_request change = {.change = CHANGE_VHOST_PUT,
                                      .name = take_name(r, "name"),
                                      .text = text_of(vhost_member(r, "description")),
                                      .default_queue_type = text_of(vhost_member(r, "default_queue_type"))};
    if (slice_eq_str(change.default_queue_type, "undefined"))
        change.default_queue_type = SLICE_LIT("");
    if (given != NULL && !join_tags(given, &tags))
        refuse(r, "vhosts[%u]: 'tags' is not a string nor a list of strings", r->args->index);
    if (given != NULL) {
        change.flags |= CHANGE_HAS_TAGS;
        change.tags = tags.len > 0 ? buf_slice(&tags) : SLICE_LIT("");
    }
    if (json_is_boolean(tracing))
        change.flags |= json_is_true(tracing) ? (uint32_t)CHANGE_TRACING_ON : (uint32_t)CHANGE_TRACING_OFF;
    put(r, &change);
    put_limits(r, json_object_get(r->element, "limits"), change.name, false);
    buf_fini(&tags);
}

static void
check_patterns(struct reader *r, const struct topology_request *change)
{
    const struct slice patterns[3] = {
        [ACCESS_CONFIGURE] = change->configure, [ACCESS_WRITE] = change->write, [ACCESS_READ] = change->read};
    struct permission *p = NULL;
    struct topic_permission *t = NULL;
    char *error = NULL;
    int err = change->change == CHANGE_PERMISSION_SET
                  ? permission_new(change->user, change->vhost, patterns, &p, &error)
                  : topic_permission_new(change->user, change->vhost, change->name, patterns, &t, &error);
    if (err == -LE_INVAL)
        refuse(r, "%s[%u]: %s", definitions_section_names[r->args->section], r->args->index,
               error != NULL ? error : "invalid regular expression");
    else if (err != 0)
        r->out->failed = true;
    else if (p != NULL)
        permission_free(p);
    else
        topic_permission_free(t);
    mem_free(error);
}

static void
read_permission(struct reader *r)
{
    bool is_topic = r->args->section == DEFINITIONS_TOPIC_PERMISSIONS;
    struct topology_request change = {.change =
                                          is_topic ? CHANGE_TOPIC_PERMISSION_SET : CHANGE_PERMISSION_SET,
                                      .user = take_name(r, "user"),
                                      .vhost = take_name(r, "vhost"),
                                      .write = take_text(r, "write"),
                                      .read = take_text(r, "read")};
    if (is_topic)
        change.name = take_text(r, "exchange");
    else
        change.configure = take_text(r, "configure");
    if (r->reason == NULL)
        check_patterns(r, &change);
    put(r, &change);
}

// --- parameters and policies ----------------------------------------------------------------------------------------------------------

static void
read_global_parameter(struct reader *r)
{
    struct buf text = BUF_INIT;
    const json_t *value = json_object_get(r->element, "value");
    struct slice name = take_name(r, "name");
    if (value == NULL)
        refuse(r, "global_parameters[%u]: 'value' is missing", r->args->index);
    else if (r->reason == NULL && dump(r, value, &text))
        put(r, &(struct topology_request){.change = CHANGE_PARAMETER_PUT,
                                          .component = SLICE_LIT("global"),
                                          .name = name,
                                          .text = buf_slice(&text)});
    buf_fini(&text);
}

// `value` is what the parameter of a policy is.
static void
put_policy(struct reader *r, enum policy_kind kind, struct slice vhost, struct slice name,
           const json_t *value)
{
    struct buf text = BUF_INIT, reason = BUF_INIT;
    struct policy *p = NULL;
    if (r->reason == NULL && dump(r, value, &text)) {
        struct policy_args args = {.kind = kind, .vhost = vhost, .name = name, .json = buf_slice(&text)};
        int err = policy_new(&args, &p, &reason);
        policy_free(p);
        if (err == -LE_INVAL)
            refuse(r, "%s (%.*s/%.*s)", buf_cstr(&reason), SLICE_FMT(vhost), SLICE_FMT(name));
        else if (err != 0)
            r->out->failed = true;
        put(r, &(struct topology_request){.change = CHANGE_PARAMETER_PUT,
                                          .component = policy_component(kind),
                                          .vhost = vhost,
                                          .name = name,
                                          .text = args.json});
    }
    buf_fini(&text);
    buf_fini(&reason);
}

static void
read_policy(struct reader *r)
{
    static const char *const members[] = {"pattern", "definition", "priority", "apply-to"};
    struct slice vhost = take_vhost(r), name = take_name(r, "name");
    json_t *value = json_object();
    for (size_t i = 0; i < LV_ARRAY_LEN(members); i++) {
        json_t *member = json_object_get(r->element, members[i]);
        if (member == NULL && i < 2)
            refuse(r, "policies[%u]: '%s' is missing", r->args->index, members[i]);
        else if (member != NULL && json_object_set(value, members[i], member) != 0)
            r->out->failed = true;
    }
    if (value != NULL && !r->out->failed)
        put_policy(r, POLICY_USER, vhost, name, value);
    else
        r->out->failed = true;
    json_decref(value);
}

static void
read_parameter(struct reader *r)
{
    struct buf text = BUF_INIT, reason = BUF_INIT;
    const json_t *value = json_object_get(r->element, "value");
    struct slice component = take_text(r, "component"), vhost = take_vhost(r), name = take_name(r, "name");
    if (r->reason == NULL && value == NULL)
        refuse(r, "parameters[%u]: 'value' is missing", r->args->index);
    if (r->reason == NULL && !parameter_is_valid(component, name, value, &reason))
        refuse(r, "%s (%.*s/%.*s/%.*s)", buf_cstr(&reason), SLICE_FMT(vhost), SLICE_FMT(component),
               SLICE_FMT(name));
    else if (r->reason == NULL && parameter_component_of(component) == PARAMETER_VHOST_LIMITS)
        put_limits(r, value, vhost, false);
    else if (r->reason == NULL && parameter_component_of(component) == PARAMETER_OPERATOR_POLICY)
        put_policy(r, POLICY_OPERATOR, vhost, name, value);
    else if (r->reason == NULL && dump(r, value, &text))
        put(r, &(struct topology_request){.change = CHANGE_PARAMETER_PUT,
                                          .component = component,
                                          .vhost = vhost,
                                          .name = name,
                                          .text = buf_slice(&text)});
    buf_fini(&text);
    buf_fini(&reason);
}

// --- queues, exchanges, bindings ----------------------------------------------------------------------------------------------------

static bool
is_reserved(struct slice name)
{
    return slice_has_prefix(name, SLICE_LIT("amq."));
}

// An empty table, not one that was not given.
static struct slice
table_slice(const struct buf *table)
{
    return table->len > 0 ? buf_slice(table) : SLICE_LIT("");
}

bool
definitions_is_federation(struct slice type)
{
    return slice_eq_str(type, "x-federation-upstream");
}

bool
definitions_is_stream(struct slice arguments)
{
    struct slice type;
    return table_find_longstr(arguments, SLICE_LIT("x-queue-type"), &type) && slice_eq_str(type, "stream");
}

static void
refuse_fault(struct reader *r, const struct fault *f)
{
    const char *text = strstr(f->text, " - ");
    refuse(r, "%s", text != NULL ? text + 3 : f->text);
}

// What would be refused when it is declared is refused before anything is.
static void
check_queue(struct reader *r, const struct topology_request *change)
{
    const struct queue_properties p = {.is_durable = (change->flags & CHANGE_DURABLE) != 0,
                                       .is_auto_delete = (change->flags & CHANGE_AUTO_DELETE) != 0};
    enum queue_type type;
    uint32_t flags;
    struct fault f;
    if (!arguments_check_queue(change->vhost, change->name, change->arguments, &p, &type, &flags, &f))
        refuse_fault(r, &f);
}

static void
check_exchange(struct reader *r, const struct topology_request *change, enum exchange_type type)
{
    struct slice alternate;
    struct fault f;
    if (!arguments_check_exchange(change->vhost, change->name, change->arguments, &alternate, &f) ||
        !arguments_check_exchange_type(type, change->arguments, &f))
        refuse_fault(r, &f);
}

static void
read_queue(struct reader *r)
{
    struct buf table = BUF_INIT;
    struct topology_request change = {
        .change = CHANGE_QUEUE_DECLARE, .vhost = take_vhost(r), .name = take_name(r, "name")};
    if (take_bool(r, "durable", -1))
        change.flags |= CHANGE_DURABLE;
    if (take_bool(r, "auto_delete", 0))
        change.flags |= CHANGE_AUTO_DELETE;
    take_arguments(r, &table);
    change.arguments = table_slice(&table);
    if (r->reason == NULL && !is_reserved(change.name) && !definitions_is_stream(change.arguments))
        check_queue(r, &change);
    if (!is_reserved(change.name))
        put(r, &change);
    buf_fini(&table);
}

static void
read_exchange(struct reader *r)
{
    struct buf table = BUF_INIT;
    struct topology_request change = {.change = CHANGE_EXCHANGE_DECLARE,
                                      .vhost = take_vhost(r),
                                      .name = take_text(r, "name"),
                                      .type = take_name(r, "type")};
    enum exchange_type type = EXCHANGE_DIRECT;
    bool is_known = exchange_type_parse(change.type, &type) == 0;
    if (r->reason == NULL && !is_known && !definitions_is_federation(change.type))
        refuse(r, "invalid exchange type '%.*s'", SLICE_FMT(change.type));
    if (take_bool(r, "durable", -1))
        change.flags |= CHANGE_DURABLE;
    if (take_bool(r, "auto_delete", 0))
        change.flags |= CHANGE_AUTO_DELETE;
    if (take_bool(r, "internal", 0))
        change.flags |= CHANGE_INTERNAL;
    take_arguments(r, &table);
    change.arguments = table_slice(&table);
    if (change.name.len > 255)
        refuse(r, "exchanges[%u]: 'name' is longer than 255 bytes", r->args->index);
    if (r->reason == NULL && is_known && !is_reserved(change.name))
        check_exchange(r, &change, type);
    if (change.name.len > 0 && !is_reserved(change.name))
        put(r, &change);
    buf_fini(&table);
}

static void
read_binding(struct reader *r)
{
    struct buf table = BUF_INIT;
    struct slice kind = take_text(r, "destination_type");
    struct topology_request change = {.change = CHANGE_BIND,
                                      .vhost = take_vhost(r),
                                      .name = take_text(r, "source"),
                                      .dest_name = take_text(r, "destination"),
                                      .key = take_text(r, "routing_key")};
    bool is_queue = slice_eq_str(kind, "queue");
    if (r->reason == NULL && !is_queue && !slice_eq_str(kind, "exchange"))
        refuse(r, "bindings[%u]: 'destination_type' is neither queue nor exchange", r->args->index);
    if (is_queue)
        change.flags |= CHANGE_DEST_IS_QUEUE;
    take_arguments(r, &table);
    change.arguments = table_slice(&table);
    if (change.name.len > 255 || change.dest_name.len > 255 || change.key.len > 255)
        refuse(r, "bindings[%u]: a name or key is longer than 255 bytes", r->args->index);
    // Those of the default exchange are there with their queues.
    if (change.name.len > 0 && change.dest_name.len > 0)
        put(r, &change);
    buf_fini(&table);
}

int
definitions_read(const struct definitions_args *args, const json_t *element, struct buf *out,
                 json_t **ret_reason)
{
    static void (*const readers[DEFINITIONS_COUNT])(struct reader * r) = {
        [DEFINITIONS_USERS] = read_user,
        [DEFINITIONS_VHOSTS] = read_vhost,
        [DEFINITIONS_PERMISSIONS] = read_permission,
        [DEFINITIONS_TOPIC_PERMISSIONS] = read_permission,
        [DEFINITIONS_GLOBAL_PARAMETERS] = read_global_parameter,
        [DEFINITIONS_POLICIES] = read_policy,
        [DEFINITIONS_PARAMETERS] = read_parameter,
        [DEFINITIONS_QUEUES] = read_queue,
        [DEFINITIONS_EXCHANGES] = read_exchange,
        [DEFINITIONS_BINDINGS] = read_binding,
    };
    struct reader r = {.args = args, .element = element, .out = out};
    if (json_is_object(element))
        readers[args->section](&r);
    else
        refuse(&r, "%s[%u]: not an object", definitions_section_names[args->section], args->index);
    if (out->failed) {
        json_decref(r.reason);
        return -LE_NOMEM;
    }
    *ret_reason = r.reason;
    return r.reason != NULL ? -LE_INVAL : 0;
}
