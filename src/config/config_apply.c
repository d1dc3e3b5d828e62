// config_apply.c: settings to typed fields: defaults first, then what is set, then lists, then what follows
// from other values; last the checks of one value against another.
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/un.h>

#include "src/base/mem.h"
#include "src/base/worker.h"
#include "src/config/config_internal.h"

#define DEFAULT_LOG_DIR "/var/log/leveret"

static void
store(struct config_loader *l, const struct config_key *row, const char *text,
      const struct config_datum *datum)
{
    uint8_t *field = (uint8_t *)l->config + row->field;
    switch (row->store) {
    case STORE_NONE: break;
    case STORE_BOOL: *(bool *)field = datum->number != 0; break;
    case STORE_U16: *(uint16_t *)(void *)field = (uint16_t)datum->number; break;
    case STORE_U32: *(uint32_t *)(void *)field = (uint32_t)datum->number; break;
    case STORE_INT: *(int *)(void *)field = (int)datum->number; break;
    case STORE_U64: *(uint64_t *)(void *)field = datum->number; break;
    case STORE_DOUBLE: *(double *)(void *)field = datum->fraction; break;
    case STORE_TEXT: *(const char **)(void *)field = text; break;
    }
}

static void
apply_defaults(struct config_loader *l)
{
    const struct config_key *row;
    for (size_t i = 0; (row = config_key_at(i)) != NULL; i++) {
        struct config_datum datum;
        char why[128];
        if (row->store == STORE_TEXT)
            store(l, row, "", &(struct config_datum){0});
        if (row->store == STORE_NONE || row->fallback == NULL)
            continue;
        int error = config_value_parse(row, slice_str(row->fallback), &datum, why, sizeof why);
        LV_ASSERT(error == 0); // the table's own value
        store(l, row, row->fallback, &datum);
    }
}

// A node of the cluster that is this node is no cluster.
static bool
is_fine(const struct config_loader *l, const struct config_setting *s)
{
    if (config_choice_has(s->row->fine, slice_str(s->value), NULL))
        return true;
    return strncmp(s->key, "cluster_formation.classic_config.nodes.", 39) == 0 &&
           strcmp(s->value, l->config->node_name) == 0;
}

static void
apply_setting(struct config_loader *l, const struct config_setting *s)
{
    const struct config_key *row = s->row;
    struct config_datum datum;
    char why[256];
    char shown[80];
    bool fine = is_fine(l, s);
    if (row->status == STATUS_REFUSED && !fine) {
        config_problem(&l->report, "%s: '%s' cannot be accepted: %s", s->source, s->key, row->why);
        return;
    }
    if (config_value_parse(row, slice_str(s->value), &datum, why, sizeof why) != 0) {
        if (config_key_is_secret(row, slice_str(s->key)))
            config_problem(&l->report, "%s: the value of '%s' is not %s", s->source, s->key, why);
        else
            config_problem(&l->report, "%s: '%s': '%s' is not %s", s->source, s->key,
                           config_printable(slice_str(s->value), shown, sizeof shown), why);
        return;
    }
    if (row->status == STATUS_IGNORED && !fine)
        config_warning(&l->report, "%s: '%s' has no effect: %s", s->source, s->key, row->why);
    // An address is kept as it was checked, without brackets.
    store(l, row, row->type == TYPE_IP ? config_arena_text(l->arena, slice_str(datum.host)) : s->value,
          &datum);
}

static const struct config_setting *
find(struct config_loader *l, const char *key)
{
    return config_setting_find(l, key);
}

// The text of a key that was set, or NULL.
static const char *
text_of(struct config_loader *l, const char *key)
{
    const struct config_setting *s = config_setting_find(l, key);
    return s != NULL ? s->value : NULL;
}

// ---- Lists --------------------

typedef bool (*setting_fn)(const struct config_setting *s);

static bool
is_true(const struct config_setting *s)
{
    return strcmp(s->value, "true") == 0 || strcmp(s->value, "on") == 0;
}

// Numbers by value, before names; names by bytes.
static int
by_name(const void *a, const void *b)
{
    const char *x = *(const char *const *)a;
    const char *y = *(const char *const *)b;
    bool is_x_number = strspn(x, "0123456789") == strlen(x);
    bool is_y_number = strspn(y, "0123456789") == strlen(y);
    if (is_x_number != is_y_number)
        return is_x_number ? -1 : 1;
    if (is_x_number && strlen(x) != strlen(y))
        return strlen(x) < strlen(y) ? -1 : 1;
    return strcmp(x, y);
}

struct list_source {
    const char *pattern;
    bool is_name_value; // items are the names of keys that are true; otherwise the values, ordered by name
};

static void
collect(struct config_loader *l, const struct list_source *from, struct config_strings *ret_list)
{
    // Pairs of name and item, so that sorting by name moves the item along.
    const char *(*pairs)[2] = mem_calloc(CONFIG_LIST_MAX, sizeof *pairs);
    size_t count = 0;
    if (pairs == NULL) {
        l->arena->failed = true;
        return;
    }
    for (size_t i = 0; i < l->setting_count; i++) {
        const struct config_setting *s = &l->settings[i];
        if (s->is_dropped || strcmp(s->row->pattern, from->pattern) != 0 ||
            (from->is_name_value && !is_true(s)))
            continue;
        if (count == CONFIG_LIST_MAX) {
            config_problem(&l->report, "%s: more than %d entries of %s", s->source, CONFIG_LIST_MAX,
                           from->pattern);
            break;
        }
        pairs[count][0] = config_setting_name(l, s);
        pairs[count][1] = from->is_name_value ? pairs[count][0] : s->value;
        count++;
    }
    qsort(pairs, count, sizeof *pairs, by_name);
    const char **items = config_arena_take(l->arena, (count + 1) * sizeof *items);
    for (size_t i = 0; items != NULL && i < count; i++)
        items[i] = pairs[i][1];
    ret_list->items = items;
    ret_list->count = items != NULL ? count : 0;
    mem_free(pairs);
}

static void
drop_duplicates(struct config_strings *list)
{
    const char **items = (const char **)(uintptr_t)list->items;
    size_t kept = 0;
    for (size_t i = 0; i < list->count; i++) {
        bool is_new = true;
        for (size_t j = 0; j < kept; j++)
            is_new = is_new && strcmp(items[i], items[j]) != 0;
        if (is_new)
            items[kept++] = items[i];
    }
    list->count = kept;
}

static void
add_listener(struct config_loader *l, struct config_listener *all, const struct config_setting *s)
{
    struct config *c = l->config;
    struct config_datum datum;
    char why[128];
    if (config_value_parse(s->row, slice_str(s->value), &datum, why, sizeof why) != 0)
        return; // told already
    for (size_t i = 0; i < c->tcp_listener_count; i++) {
        if (datum.port != 0 && all[i].port == datum.port && strcmp(all[i].host, datum.host) == 0) {
            config_problem(&l->report, "%s: '%s' is the same address as listeners.tcp.%s", s->source, s->key,
                           all[i].name);
            return;
        }
    }
    if (c->tcp_listener_count == CONFIG_LISTENERS_MAX) {
        config_problem(&l->report, "%s: more than %d listeners", s->source, CONFIG_LISTENERS_MAX);
        return;
    }
    all[c->tcp_listener_count++] = (struct config_listener){
        .name = config_setting_name(l, s),
        .host = config_arena_text(l->arena, slice_str(datum.host)),
        .port = datum.port,
    };
}

static int64_t
number_of(const struct config_setting *s)
{
    struct config_datum datum;
    char why[128];
    return config_value_parse(s->row, slice_str(s->value), &datum, why, sizeof why) == 0
               ? (int64_t)datum.number
               : -1; // told already
}

static struct config_vhost_limits *
vhost_limits_named(struct config_loader *l, struct config_vhost_limits *all, const char *name)
{
    struct config *c = l->config;
    for (size_t i = 0; i < c->vhost_limits_count; i++) {
        if (strcmp(all[i].name, name) == 0)
            return &all[i];
    }
    if (c->vhost_limits_count == CONFIG_LIST_MAX)
        return NULL;
    struct config_vhost_limits *v = &all[c->vhost_limits_count++];
    *v = (struct config_vhost_limits){.name = name,
                                      .pattern = ".*",
                                      .max_connections = -1,
                                      .max_queues = -1,
                                      .max_publish_rate = -1,
                                      .max_publish_bytes_rate = -1};
    return v;
}

static int
by_limits_name(const void *a, const void *b)
{
    const struct config_vhost_limits *x = a, *y = b;
    return by_name(&x->name, &y->name);
}

static void
apply_vhost_limits(struct config_loader *l)
{
    static const char prefix[] = "default_limits.vhosts.$id.";
    static const struct {
        const char *name;
        size_t field;
    } numbers[] = {
        {"max_connections", offsetof(struct config_vhost_limits, max_connections)},
        {"max_queues", offsetof(struct config_vhost_limits, max_queues)},
        {"max_publish_rate", offsetof(struct config_vhost_limits, max_publish_rate)},
        {"max_publish_bytes_rate", offsetof(struct config_vhost_limits, max_publish_bytes_rate)},
    };
    struct config *c = l->config;
    struct config_vhost_limits *all = config_arena_take(l->arena, CONFIG_LIST_MAX * sizeof *all);
    for (size_t i = 0; all != NULL && i < l->setting_count; i++) {
        const struct config_setting *s = &l->settings[i];
        struct config_key_parts parts;
        if (s->is_dropped || strncmp(s->row->pattern, prefix, sizeof prefix - 1) != 0 ||
            config_key_split(slice_str(s->key), &parts) != 0)
            continue;
        struct config_vhost_limits *v =
            vhost_limits_named(l, all, config_arena_text(l->arena, parts.parts[2]));
        if (v == NULL) {
            config_problem(&l->report, "%s: more than %d default_limits.vhosts", s->source, CONFIG_LIST_MAX);
            break;
        }
        const char *what = s->row->pattern + sizeof prefix - 1;
        if (strcmp(what, "pattern") == 0)
            v->pattern = s->value;
        for (size_t j = 0; j < LV_ARRAY_LEN(numbers); j++) {
            if (strcmp(what, numbers[j].name) == 0)
                *(int64_t *)(void *)((char *)v + numbers[j].field) = number_of(s);
        }
    }
    if (all != NULL && c->vhost_limits_count > 0)
        qsort(all, c->vhost_limits_count, sizeof *all, by_limits_name);
    c->vhost_limits = all;
}

// KEY.overwrite alone switches the interceptor on too, as in RabbitMQ.
static enum config_interceptor
interceptor_of(struct config_loader *l, const char *key, const char *overwrite_key)
{
    const struct config_setting *on = config_setting_find(l, key);
    const struct config_setting *overwrite = config_setting_find(l, overwrite_key);
    if (on != NULL ? !is_true(on) : overwrite == NULL)
        return INTERCEPT_OFF;
    return overwrite != NULL && is_true(overwrite) ? INTERCEPT_OVERWRITE : INTERCEPT_KEEP;
}

static void
apply_server_properties(struct config_loader *l)
{
    struct config *c = l->config;
    struct config_pair *all = config_arena_take(l->arena, CONFIG_LIST_MAX * sizeof *all);
    for (size_t i = 0; all != NULL && i < l->setting_count; i++) {
        const struct config_setting *s = &l->settings[i];
        if (s->is_dropped || strcmp(s->row->pattern, "server_properties.$name") != 0)
            continue;
        if (c->server_property_count == CONFIG_LIST_MAX) {
            config_problem(&l->report, "%s: more than %d server_properties", s->source, CONFIG_LIST_MAX);
            break;
        }
        all[c->server_property_count++] =
            (struct config_pair){.name = config_setting_name(l, s), .value = s->value};
    }
    c->server_properties = all;
}

static void
apply_lists(struct config_loader *l)
{
    struct config *c = l->config;
    struct config_listener *listeners = config_arena_take(l->arena, CONFIG_LISTENERS_MAX * sizeof *listeners);
    c->tcp_listeners = listeners;
    for (size_t i = 0; listeners != NULL && i < l->setting_count; i++) {
        const struct config_setting *s = &l->settings[i];
        if (!s->is_dropped && strcmp(s->row->pattern, "listeners.tcp.$name") == 0)
            add_listener(l, listeners, s);
    }
    collect(l, &(struct list_source){"loopback_users.$user", true}, &c->loopback_users);
    collect(l, &(struct list_source){"management.cors.allow_origins.$name", false},
            &c->management_cors_origins);
    collect(l, &(struct list_source){"default_user_tags.$tag", true}, &c->default_user_tags);
    collect(l, &(struct list_source){"auth_mechanisms.$name", false}, &c->auth_mechanisms);
    drop_duplicates(&c->auth_mechanisms);
    apply_vhost_limits(l);
    apply_server_properties(l);
#define INTERCEPTOR(name)                                                                                    \
    "message_interceptors.incoming." name, "message_interceptors.incoming." name ".overwrite"
    c->intercept_timestamp = interceptor_of(l, INTERCEPTOR("set_header_timestamp"));
    c->intercept_routing_node = interceptor_of(l, INTERCEPTOR("set_header_routing_node"));
#undef INTERCEPTOR
    config_apply_policies(l);
}

// ---- What follows from other values --------------------

static int
count_cores(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) != 0)
        return 1;
    return LV_MAX(1, LV_MIN(CPU_COUNT(&set), (int)CREW_WORKERS_MAX));
}

static void
finish_node(struct config_loader *l)
{
    struct config *c = l->config;
    struct sockaddr_un address;
    const struct config *running = l->running != NULL ? &l->running->config : NULL;
    if (c->cluster_name[0] == '\0')
        c->cluster_name = c->node_name;
    // A machine may lose or gain cores while the daemon runs; the number of threads stays.
    if (c->workers == 0)
        c->workers = running != NULL ? running->workers : count_cores();
    if (c->control_socket[0] == '\0')
        c->control_socket = config_arena_printf(l->arena, "%s/control.sock", c->data_dir);
    if (strlen(c->control_socket) >= sizeof address.sun_path)
        config_problem(&l->report,
                       "control_socket: '%s' is longer than the %zu bytes a Unix socket's path can have",
                       c->control_socket, sizeof address.sun_path - 1);
}

static void
finish_limits(struct config_loader *l)
{
    struct config *c = l->config;
    const struct config_setting *frame = find(l, "frame_max");
    const struct config_setting *validator = find(l, "credential_validator.validation_backend");
    const struct config_setting *pass = find(l, "default_pass");
    if (c->frame_max_bytes != 0 && c->frame_max_bytes < 4096 && frame != NULL)
        config_problem(&l->report, "%s: 'frame_max': AMQP 0-9-1 does not allow less than 4096",
                       frame->source);
    if (c->frame_max_bytes == 0 || c->frame_max_bytes > CONFIG_FRAME_BYTES_MAX) {
        c->frame_max_bytes = CONFIG_FRAME_BYTES_MAX;
        if (frame != NULL)
            config_warning(&l->report, "%s: 'frame_max': taken as %d, the largest possible", frame->source,
                           CONFIG_FRAME_BYTES_MAX);
    }
    if (c->credential_validator == CREDENTIALS_REGEXP && c->credential_regexp[0] == '\0')
        config_problem(&l->report, "%s: '%s' needs credential_validator.regexp", validator->source,
                       validator->value);
    // RabbitMQ 4's secrets that its own key opens; taken literally one would become the password.
    if (pass != NULL && strncmp(pass->value, "encrypted:", 10) == 0)
        config_problem(&l->report, "%s: 'default_pass': encrypted values are not available; use $(<FILE)",
                       pass->source);
}

// Of a relative and an absolute limit the one from the stronger source is used; from equal ones the relative,
// as in RabbitMQ.
static bool
is_relative_used(struct config_loader *l, const char *relative_key, const char *absolute_key)
{
    const struct config_setting *relative = find(l, relative_key);
    const struct config_setting *absolute = find(l, absolute_key);
    return relative != NULL && (absolute == NULL || relative->kind >= absolute->kind);
}

static void
finish_resources(struct config_loader *l)
{
    struct config *c = l->config;
    if (is_relative_used(l, "vm_memory_high_watermark.relative", "vm_memory_high_watermark.absolute"))
        c->memory_watermark_absolute_bytes = 0;
    if (!is_relative_used(l, "disk_free_limit.relative", "disk_free_limit.absolute"))
        c->disk_free_relative = 0;
}

static void
finish_log(struct config_loader *l)
{
    struct config *c = l->config;
    const char *dir = text_of(l, "log.dir");
    const char *file = text_of(l, "log.file");
    const char *console_format = text_of(l, "log.console.formatter");
    const char *file_format = text_of(l, "log.file.formatter");
    bool has_file = file != NULL ? strcmp(file, "false") != 0 : dir != NULL;
    if (!has_file)
        c->log.file = NULL;
    else if (file == NULL)
        c->log.file = config_arena_printf(l->arena, "%s/%s.log", dir, c->node_name);
    else if (file[0] == '/')
        c->log.file = file;
    else
        c->log.file = config_arena_printf(l->arena, "%s/%s", dir != NULL ? dir : DEFAULT_LOG_DIR, file);
    if (find(l, "log.console") == NULL)
        c->log.is_console = c->log.file == NULL;
    if (console_format != NULL && file_format != NULL && strcmp(console_format, file_format) != 0 &&
        has_file && c->log.is_console)
        config_problem(&l->report, "%s: 'log.file.formatter' and 'log.console.formatter' must be the same",
                       find(l, "log.file.formatter")->source);
    const char *format = has_file && file_format != NULL ? file_format : console_format;
    if (format == NULL)
        format = file_format;
    c->log.is_json = format != NULL && strcmp(format, "json") == 0;
    enum log_level least = LOG_NONE;
    if (c->log.is_console)
        least = c->log.console_level;
    if (c->log.file != NULL)
        least = LV_MIN(least, c->log.file_level);
    const struct config_key *row;
    for (size_t i = 0; (row = config_key_at(i)) != NULL; i++) {
        if (row->type == TYPE_LEVEL && row->computed != NULL && find(l, row->pattern) == NULL)
            store(l, row, NULL, &(struct config_datum){.number = (uint64_t)least});
    }
}

// ---- The list of values in force --------------------

struct value_list {
    struct config_loader *loader;
    struct config_value *items;
    size_t count;
    size_t cap;
};

static void
add_value(struct value_list *v, const struct config_value *value)
{
    if (v->items != NULL && v->count < v->cap)
        v->items[v->count++] = *value;
}

static const char *
shown_value(const struct config_key *row, const char *key, const char *value)
{
    return config_key_is_secret(row, slice_str(key)) ? "[redacted]" : value;
}

static void
add_settings_of(struct value_list *v, const struct config_key *row)
{
    const struct config_loader *l = v->loader;
    for (size_t i = 0; i < l->setting_count; i++) {
        const struct config_setting *s = &l->settings[i];
        if (s->row != row || s->is_dropped)
            continue;
        add_value(v, &(struct config_value){
                         .key = s->key,
                         .value = shown_value(row, s->key, s->value),
                         .source_kind = s->kind,
                         .source = s->source,
                         .is_secret = config_key_is_secret(row, slice_str(s->key)),
                         .is_reloadable = (row->flags & KEY_RELOAD) != 0,
                         .is_ignored = row->status == STATUS_IGNORED,
                     });
    }
}

// What a computed default came to.
static const char *
computed_text(struct config_loader *l, const struct config_key *row)
{
    const uint8_t *field = (const uint8_t *)l->config + row->field;
    switch (row->store) {
    case STORE_TEXT: return *(const char *const *)(const void *)field;
    case STORE_BOOL: return *(const bool *)field ? "true" : "false";
    case STORE_INT: {
        int number = *(const int *)(const void *)field;
        return number == 0 ? NULL : config_arena_printf(l->arena, "%d", number);
    }
    case STORE_U32:
        return row->type == TYPE_LEVEL ? log_level_text(*(const enum log_level *)(const void *)field) : NULL;
    default: return NULL;
    }
}

static void
apply_values(struct config_loader *l)
{
    struct value_list v = {.loader = l,
                           .cap = l->setting_count + config_keys_honoured_count + config_keys_other_count};
    const struct config_key *row;
    v.items = config_arena_take(l->arena, v.cap * sizeof *v.items);
    for (size_t i = 0; (row = config_key_at(i)) != NULL; i++) {
        bool is_pattern = strpbrk(row->pattern, "$*") != NULL;
        if (is_pattern || find(l, row->pattern) != NULL || row->status != STATUS_HONOURED) {
            add_settings_of(&v, row);
            continue;
        }
        const char *value = row->fallback != NULL   ? row->fallback
                            : row->computed != NULL ? computed_text(l, row)
                                                    : NULL;
#ifndef LV_TEST_HOOKS
        if ((row->flags & KEY_TEST) != 0)
            value = NULL;
#endif
        if (value == NULL)
            continue;
        add_value(&v, &(struct config_value){
                          .key = row->pattern,
                          .value = shown_value(row, row->pattern, value),
                          .source_kind = SOURCE_DEFAULT,
                          .source = "default",
                          .is_secret = (row->flags & KEY_SECRET) != 0,
                          .is_reloadable = (row->flags & KEY_RELOAD) != 0,
                      });
    }
    l->config->values = v.items;
    l->config->value_count = v.count;
}

void
config_apply(struct config_loader *l)
{
    apply_defaults(l);
    // The node's name first: other values are judged by it.
    struct config_setting *node = config_setting_find(l, "node_name");
    if (node != NULL)
        apply_setting(l, node);
    // A new host name does not rename a running node.
    if (l->config->node_name[0] == '\0' && l->running != NULL)
        l->config->node_name = config_arena_text(l->arena, slice_str(l->running->config.node_name));
    else if (l->config->node_name[0] == '\0')
        l->config->node_name = config_arena_printf(l->arena, "rabbit@%s", l->hostname);
    for (size_t i = 0; i < l->setting_count; i++) {
        if (!l->settings[i].is_dropped && &l->settings[i] != node)
            apply_setting(l, &l->settings[i]);
    }
    apply_lists(l);
    finish_node(l);
    finish_limits(l);
    finish_resources(l);
    finish_log(l);
    apply_values(l);
}
