// config_gather.c: files, environment and options to one list of settings, later ones replacing earlier ones.
//
// Order: the first main file, then conf.d/*.conf beside it (or what RABBITMQ_CONFIG_FILES names) sorted by
// name, then the other main files; then the environment; then -d and -o. An include stands for the lines of
// its files.
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "src/base/mem.h"
#include "src/config/config_files.h"
#include "src/config/config_internal.h"

#define DEFAULT_DIR "/etc/leveret"

struct config_setting *
config_setting_find(struct config_loader *l, const char *key)
{
    for (size_t i = 0; i < l->setting_count; i++) {
        if (strcmp(l->settings[i].key, key) == 0 && !l->settings[i].is_dropped)
            return &l->settings[i];
    }
    return NULL;
}

static struct config_setting *
new_setting(struct config_loader *l)
{
    if (l->setting_count == l->setting_cap) {
        size_t cap = l->setting_cap == 0 ? 64 : l->setting_cap * 2;
        struct config_setting *grown = mem_realloc(l->settings, cap * sizeof *grown);
        if (grown == NULL) {
            l->arena->failed = true;
            return NULL;
        }
        l->settings = grown;
        l->setting_cap = cap;
    }
    return &l->settings[l->setting_count++];
}

static void
refuse_unknown(struct config_loader *l, const struct config_key_parts *parts, struct slice key,
               const char *source)
{
    char shown[80];
    char nearest[CONFIG_KEY_BYTES_MAX] = "";
    config_printable(key, shown, sizeof shown);
    // The search costs; what is not shown needs no suggestion.
    if (l->report.problem_count < CONFIG_PROBLEMS_MAX)
        config_key_nearest(parts, nearest, sizeof nearest);
    if (nearest[0] != '\0')
        config_problem(&l->report, "%s: unknown key '%s'; the nearest known key is '%s'", source, shown,
                       nearest);
    else
        config_problem(&l->report, "%s: unknown key '%s'", source, shown);
}

void
config_set(struct config_loader *l, struct slice key, struct slice value, enum config_source_kind kind,
           const char *source, const char *base_dir)
{
    struct config_key_parts parts;
    char shown[80];
    if (config_key_split(key, &parts) != 0) {
        config_problem(&l->report, "%s: '%s' is not a key", source,
                       config_printable(key, shown, sizeof shown));
        return;
    }
    const struct config_key *row = config_key_match(&parts);
    if (row == NULL) {
        refuse_unknown(l, &parts, key, source);
        return;
    }
#ifndef LV_TEST_HOOKS
    if ((row->flags & KEY_TEST) != 0) {
        config_problem(&l->report, "%s: '%s' exists in test builds only", source, row->pattern);
        return;
    }
#endif
    const char *text = config_arena_text(l->arena, key);
    struct config_setting *s = config_setting_find(l, text);
    // A reload holds the running settings too.
    size_t count_max = l->running != NULL ? 2 * CONFIG_SETTINGS_MAX : CONFIG_SETTINGS_MAX;
    if (s == NULL && l->setting_count >= count_max) {
        config_problem(&l->report, "%s: more than %d keys are set", source, CONFIG_SETTINGS_MAX);
        return;
    }
    if (s == NULL)
        s = new_setting(l);
    if (s == NULL)
        return;
    *s = (struct config_setting){.row = row,
                                 .key = text,
                                 .value = config_arena_text(l->arena, value),
                                 .kind = kind,
                                 .source = source,
                                 .base_dir = base_dir};
}

const char *
config_setting_name(struct config_loader *l, const struct config_setting *s)
{
    struct config_key_parts parts;
    if (config_key_split(slice_str(s->key), &parts) != 0)
        return "";
    return config_arena_text(l->arena, parts.parts[parts.count - 1]);
}

const char *
config_environment(const struct config_loader *l, const char *name)
{
    size_t len = strlen(name);
    for (const char *const *e = l->input->environment; e != NULL && *e != NULL; e++) {
        if (strncmp(*e, name, len) == 0 && (*e)[len] == '=')
            return *e + len + 1;
    }
    return NULL;
}

// Set and not empty: an empty variable counts as unset, as in RabbitMQ.
static const char *
environment_text(const struct config_loader *l, const char *name)
{
    const char *value = config_environment(l, name);
    return value != NULL && value[0] != '\0' ? value : NULL;
}

static const char *
dir_of(struct config_loader *l, const char *path)
{
    const char *slash = strrchr(path, '/');
    if (slash == NULL)
        return ".";
    return slash == path ? "/" : config_arena_text(l->arena, slice_of(path, (size_t)(slash - path)));
}

const char *
config_join(struct config_loader *l, const char *dir, const char *name)
{
    if (name[0] == '/' || strcmp(dir, ".") == 0)
        return name;
    return config_arena_printf(l->arena, "%s%s%s", dir, dir[strlen(dir) - 1] == '/' ? "" : "/", name);
}

struct file_reading {
    struct config_loader *loader;
    const char *path;
    const char *dir;
    unsigned depth;
};

enum missing { MISSING_IS_PROBLEM, MISSING_IS_FINE };

static bool read_file(struct config_loader *l, const char *path, unsigned depth, enum missing missing);

// All files of a folder that match, in the order of their names.
static void
read_matching(struct config_loader *l, const char *pattern, unsigned depth)
{
    struct buf names = BUF_INIT;
    const char *slash = strrchr(pattern, '/');
    const char *dir = dir_of(l, pattern);
    int error = l->input->fs->list(l->input->fs->ctx, dir, slash != NULL ? slash + 1 : pattern, &names);
    if (error != 0 && error != -LE_NOTFOUND)
        config_problem(&l->report, "%s: %s", pattern, err_text(error));
    for (size_t at = 0; error == 0 && at < names.len;) {
        const char *name = (const char *)names.ptr + at;
        at += strlen(name) + 1;
        read_file(l, config_join(l, dir, config_arena_text(l->arena, slice_str(name))), depth,
                  MISSING_IS_PROBLEM);
    }
    buf_fini(&names);
}

static void
read_include(struct file_reading *r, const struct config_line *line)
{
    struct config_loader *l = r->loader;
    const char *pattern = config_join(l, r->dir, config_arena_text(l->arena, line->value));
    if (r->depth + 1 > CONFIG_INCLUDE_DEPTH_MAX) {
        config_problem(&l->report, "%s:%u: includes are nested more than %d deep", r->path, line->line,
                       CONFIG_INCLUDE_DEPTH_MAX);
        return;
    }
    if (strpbrk(pattern, "*?[") != NULL)
        read_matching(l, pattern, r->depth + 1);
    else
        read_file(l, pattern, r->depth + 1, MISSING_IS_PROBLEM);
}

static int
on_line(void *ctx, const struct config_line *line)
{
    struct file_reading *r = ctx;
    struct config_loader *l = r->loader;
    if (l->arena->failed)
        return -LE_NOMEM;
    if (line->is_include) {
        read_include(r, line);
        return 0;
    }
    config_set(l, line->key, line->value, SOURCE_FILE,
               config_arena_printf(l->arena, "%s:%u", r->path, line->line), r->dir);
    return 0;
}

// False when there is no such file.
static bool
read_file(struct config_loader *l, const char *path, unsigned depth, enum missing missing)
{
    struct buf text = BUF_INIT;
    struct file_reading r = {.loader = l, .path = path, .dir = dir_of(l, path), .depth = depth};
    size_t len = strlen(path);
    if (l->file_count == CONFIG_FILES_MAX) {
        config_problem(&l->report, "%s: more than %d files", path, CONFIG_FILES_MAX);
        return true;
    }
    if (len > 7 && strcmp(path + len - 7, ".config") == 0) {
        config_problem(&l->report, "%s: files of Erlang terms are not read; write it as key = value", path);
        return true;
    }
    int error = l->input->fs->read(l->input->fs->ctx, path, CONFIG_FILE_BYTES_MAX, &text);
    if (error == -LE_NOTFOUND && missing == MISSING_IS_FINE) {
        buf_fini(&text);
        return false;
    }
    if (error == -LE_LIMIT)
        config_problem(&l->report, "%s: larger than %d bytes", path, CONFIG_FILE_BYTES_MAX);
    else if (error != 0)
        config_problem(&l->report, "%s: cannot be read: %s", path, err_text(error));
    if (error == 0) {
        l->files[l->file_count++] = path;
        // Only out of memory stops the reading, and the arena remembers it.
        error = config_text_read(buf_slice(&text), path, &l->report, on_line, &r);
    }
    if (text.len > 0)
        mem_wipe(text.ptr, text.len);
    buf_fini(&text);
    return error != -LE_NOTFOUND;
}

// An advanced.config of Erlang terms may hold anything; that it is not read must not go unnoticed.
static void
look_for_advanced(struct config_loader *l, const char *dir)
{
    struct buf text = BUF_INIT;
    const char *named = environment_text(l, "RABBITMQ_ADVANCED_CONFIG_FILE");
    const char *path = named != NULL ? named : config_join(l, dir, "advanced.config");
    if (l->input->fs->read(l->input->fs->ctx, path, CONFIG_FILE_BYTES_MAX, &text) == 0 && text.len > 0) {
        struct slice s = buf_slice(&text);
        while (s.len > 0 && (s.ptr[s.len - 1] == '\n' || s.ptr[s.len - 1] == ' '))
            s = slice_head(s, s.len - 1);
        if (named != NULL)
            config_problem(&l->report,
                           "RABBITMQ_ADVANCED_CONFIG_FILE: %s: files of Erlang terms are not read", path);
        else if (s.len > 0 && !slice_eq_str(s, "[]."))
            config_warning(&l->report, "%s: files of Erlang terms are not read", path);
    }
    if (text.len > 0)
        mem_wipe(text.ptr, text.len);
    buf_fini(&text);
}

static void
read_extra(struct config_loader *l, const char *dir)
{
    const char *pattern = environment_text(l, "RABBITMQ_CONFIG_FILES");
    if (pattern == NULL)
        read_matching(l, config_join(l, dir, "conf.d/*.conf"), 0);
    else if (strpbrk(pattern, "*?[") != NULL)
        read_matching(l, pattern, 0);
    else // a folder: all its files
        read_matching(l, config_arena_printf(l->arena, "%s/*", pattern), 0);
    look_for_advanced(l, dir);
}

static void
gather_files(struct config_loader *l)
{
    const struct config_input *in = l->input;
    const char *variable = environment_text(l, "RABBITMQ_CONFIG_FILE");
    if (in->file_count > 0) {
        read_file(l, in->files[0], 0, MISSING_IS_PROBLEM);
        read_extra(l, dir_of(l, in->files[0]));
        for (size_t i = 1; i < in->file_count; i++)
            read_file(l, in->files[i], 0, MISSING_IS_PROBLEM);
    } else if (variable != NULL) {
        // The extension may be left out, and the file may be missing, as with RabbitMQ.
        if (!read_file(l, variable, 0, MISSING_IS_FINE) &&
            !read_file(l, config_arena_printf(l->arena, "%s.conf", variable), 0, MISSING_IS_FINE))
            config_warning(&l->report, "RABBITMQ_CONFIG_FILE: there is no file %s", variable);
        read_extra(l, dir_of(l, variable));
    } else {
        read_file(l, DEFAULT_DIR "/leveret.conf", 0, MISSING_IS_FINE);
        read_extra(l, DEFAULT_DIR);
    }
}

static void
set_text(struct config_loader *l, const char *key, const char *value, enum config_source_kind kind,
         const char *source)
{
    config_set(l, slice_str(key), slice_str(value), kind, source, ".");
}

static void
gather_listener(struct config_loader *l)
{
    const char *port = environment_text(l, "RABBITMQ_NODE_PORT");
    const char *ip = environment_text(l, "RABBITMQ_NODE_IP_ADDRESS");
    if (port == NULL && ip == NULL)
        return;
    // As in RabbitMQ they replace all TCP listeners of the files.
    for (size_t i = 0; i < l->setting_count; i++) {
        if (strncmp(l->settings[i].key, "listeners.tcp", strlen("listeners.tcp")) == 0)
            l->settings[i].is_dropped = true;
    }
    const char *source = port != NULL ? "RABBITMQ_NODE_PORT" : "RABBITMQ_NODE_IP_ADDRESS";
    const char *value = port != NULL ? port : "5672";
    if (ip != NULL)
        value = config_arena_printf(l->arena, "%s:%s", ip, value);
    set_text(l, "listeners.tcp.default", value, SOURCE_ENV, source);
}

static void
gather_environment(struct config_loader *l)
{
    static const struct {
        const char *variable;
        const char *key;
    } known[] = {
        {"RABBITMQ_DEFAULT_USER", "default_user"},
        {"RABBITMQ_DEFAULT_PASS", "default_pass"},
        {"RABBITMQ_DEFAULT_VHOST", "default_vhost"},
    };
    static const char *const unread[] = {
        "RABBITMQ_CONF_ENV_FILE",
        "RABBITMQ_MNESIA_BASE",
        "RABBITMQ_MNESIA_DIR",
        "RABBITMQ_LOG_BASE",
        "RABBITMQ_LOGS",
        "RABBITMQ_LOG",
        "RABBITMQ_PID_FILE",
        "RABBITMQ_DIST_PORT",
        "RABBITMQ_PLUGINS_DIR",
        "RABBITMQ_ENABLED_PLUGINS",
        "RABBITMQ_ENABLED_PLUGINS_FILE",
        "RABBITMQ_FEATURE_FLAGS",
        "RABBITMQ_ERLANG_COOKIE",
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
    };
    const char *node = environment_text(l, "RABBITMQ_NODENAME");
    if (node != NULL) {
        if (strchr(node, '@') == NULL)
            node = config_arena_printf(l->arena, "%s@%s", node, l->hostname);
        set_text(l, "node_name", node, SOURCE_ENV, "RABBITMQ_NODENAME");
    }
    for (size_t i = 0; i < LV_ARRAY_LEN(known); i++) {
        const char *value = environment_text(l, known[i].variable);
        if (value != NULL)
            set_text(l, known[i].key, value, SOURCE_ENV, known[i].variable);
    }
    gather_listener(l);
    for (size_t i = 0; i < LV_ARRAY_LEN(unread); i++) {
        if (environment_text(l, unread[i]) != NULL)
            config_warning(&l->report, "environment: %s has no effect here", unread[i]);
    }
}

static void
gather_options(struct config_loader *l)
{
    const struct config_input *in = l->input;
    char shown[80];
    if (in->data_dir != NULL)
        set_text(l, "data_dir", in->data_dir, SOURCE_OPTION, "-d");
    for (size_t i = 0; i < in->option_count; i++) {
        struct slice text = slice_str(in->options[i]);
        const uint8_t *equals = text.len > 0 ? memchr(text.ptr, '=', text.len) : NULL;
        if (equals == NULL) {
            config_problem(&l->report, "-o %s: expected KEY=VALUE",
                           config_printable(text, shown, sizeof shown));
            continue;
        }
        size_t at = (size_t)(equals - text.ptr);
        config_set(l, config_trim(slice_head(text, at)), config_trim(slice_from(text, at + 1)), SOURCE_OPTION,
                   "-o", ".");
    }
}

// `listeners.tcp = none` removes the listeners named by the same or a weaker source; loopback_users likewise.
static void
apply_none(struct config_loader *l, const char *key)
{
    const struct config_setting *none = config_setting_find(l, key);
    size_t len = strlen(key);
    if (none == NULL || strcmp(none->value, "none") != 0)
        return;
    for (size_t i = 0; i < l->setting_count; i++) {
        struct config_setting *s = &l->settings[i];
        if (strncmp(s->key, key, len) == 0 && s->key[len] == '.' && s->kind <= none->kind)
            s->is_dropped = true;
    }
}

static bool
is_default_replaced(const char *key, const char *unless)
{
    size_t len = strlen(unless);
    return unless[len - 1] == '.' ? strncmp(key, unless, len) == 0 : strcmp(key, unless) == 0;
}

// The defaults of lists, unless the list is set.
static void
gather_list_defaults(struct config_loader *l)
{
    static const struct {
        const char *key;
        const char *value;
        const char *unless; // this key, or with a dot at the end any key that starts so, is set
    } defaults[] = {
        {"listeners.tcp.default", "5672", "listeners.tcp."},
        {"auth_mechanisms.1", "PLAIN", "auth_mechanisms."},
        {"auth_mechanisms.2", "AMQPLAIN", "auth_mechanisms."},
        {"default_user_tags.administrator", "true", "default_user_tags."},
        // Naming another user does not let guest in from everywhere (RabbitMQ would).
        {"loopback_users.guest", "true", "loopback_users.guest"},
    };
    bool is_set[LV_ARRAY_LEN(defaults)] = {false};
    for (size_t d = 0; d < LV_ARRAY_LEN(defaults); d++) {
        for (size_t i = 0; i < l->setting_count; i++) {
            const struct config_setting *s = &l->settings[i];
            if (!s->is_dropped && is_default_replaced(s->key, defaults[d].unless))
                is_set[d] = true;
        }
    }
    for (size_t d = 0; d < LV_ARRAY_LEN(defaults); d++) {
        if (!is_set[d])
            set_text(l, defaults[d].key, defaults[d].value, SOURCE_DEFAULT, "default");
    }
}

void
config_gather(struct config_loader *l)
{
    char full[256] = "";
    if (l->input->hostname != NULL)
        snprintf(full, sizeof full, "%s", l->input->hostname);
    else if (gethostname(full, sizeof full - 1) != 0 || full[0] == '\0')
        snprintf(full, sizeof full, "localhost");
    const char *long_names = environment_text(l, "RABBITMQ_USE_LONGNAME");
    bool is_long = long_names != NULL && config_choice_has("1|yes|true|on", slice_str(long_names), NULL);
    size_t len = is_long ? strlen(full) : strcspn(full, ".");
    l->hostname = config_arena_text(l->arena, slice_of(full, len));
    gather_files(l);
    gather_environment(l);
    gather_options(l);
    gather_list_defaults(l);
    apply_none(l, "listeners.tcp");
    apply_none(l, "loopback_users");
    apply_none(l, "management.cors.allow_origins");
}
