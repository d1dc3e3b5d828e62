// fuzz_config.c: configuration from end to end: files, includes, substitution, environment, options, reload.
//
// Input: pieces separated by zero bytes: main file, conf.d file, included file, file for $(<…), a variable's
// value, an option; missing ones are empty. What must hold: an error comes with a problem a person can read,
// and no error with a configuration that keeps the promises of config.h; a reload of the same input changes
// nothing.
//
// A whole load fills in some hundred defaults before and after what the input says. So every input goes the
// short way, its main file alone: lines to settings, substitution, values typed; one in WHOLE_LOADS of them (by
// a hash, so that an input always does the same), and in a replay every one, is loaded as a whole too.
#include <fnmatch.h>
#include <stdlib.h>

#include "src/base/err.h"
#include "src/base/mem.h"
#include "src/base/worker.h"
#include "src/config/config.h"
#include "src/config/config_files.h"
#include "src/config/config_internal.h"

#ifdef FUZZ_REPLAY
enum { WHOLE_LOADS = 1 };
#else
enum { WHOLE_LOADS = 32 };
#endif
enum { PIECES = 6 };

struct pieces {
    struct slice piece[PIECES];
};

static const char *const paths[] = {"/f/leveret.conf", "/f/conf.d/x.conf", "/f/include.conf", "/f/secret"};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int
fuzz_read(void *ctx, const char *path, size_t max, struct buf *ret_text)
{
    const struct pieces *p = ctx;
    for (size_t i = 0; i < LV_ARRAY_LEN(paths); i++) {
        if (strcmp(path, paths[i]) != 0)
            continue;
        if (p->piece[i].len > max)
            return -LE_LIMIT;
        buf_append_slice(ret_text, p->piece[i]);
        return ret_text->failed ? -LE_NOMEM : 0;
    }
    return -LE_NOTFOUND;
}

static int
fuzz_list(void *ctx, const char *dir, const char *pattern, struct buf *ret_names)
{
    const char *name = strcmp(dir, "/f/conf.d") == 0 ? "x.conf"
                       : strcmp(dir, "/f") == 0      ? "include.conf"
                                                     : NULL;
    if (name == NULL)
        return -LE_NOTFOUND;
    if (fnmatch(pattern, name, FNM_PERIOD) == 0)
        buf_append(ret_names, name, strlen(name) + 1);
    return ret_names->failed ? -LE_NOMEM : 0;
}

static void
split(const uint8_t *data, size_t size, struct pieces *p)
{
    size_t at = 0;
    for (size_t i = 0; i < PIECES; i++) {
        const uint8_t *end = at < size && i + 1 < PIECES ? memchr(data + at, 0, size - at) : NULL;
        size_t len = end != NULL ? (size_t)(end - (data + at)) : size - at;
        p->piece[i] = slice_of(data + at, len);
        at = LV_MIN(size, at + len + 1);
    }
}

static void
check_strings(const struct config_strings *list)
{
    LV_ASSERT(list->count <= CONFIG_LIST_MAX);
    for (size_t i = 0; i < list->count; i++)
        LV_ASSERT(list->items[i] != NULL && list->items[i][0] != '\0');
}

static void
check_config(const struct config *c)
{
    LV_ASSERT(strchr(c->node_name, '@') != NULL && c->cluster_name[0] != '\0');
    LV_ASSERT(c->workers >= 1 && c->workers <= CREW_WORKERS_MAX);
    LV_ASSERT(c->data_dir[0] == '/' && c->control_socket[0] == '/' && strlen(c->control_socket) < 108);
    LV_ASSERT(c->frame_max_bytes >= 4096 && c->frame_max_bytes <= CONFIG_FRAME_BYTES_MAX);
    LV_ASSERT(c->initial_frame_max_bytes >= 4096 && c->heartbeat_s <= 65535);
    LV_ASSERT(c->max_message_bytes >= 1 && c->max_message_bytes <= 536870912);
    LV_ASSERT(c->memory_watermark_relative >= 0 && c->memory_watermark_relative <= 1);
    LV_ASSERT(c->default_user[0] != '\0' && c->default_pass[0] != '\0' && c->default_vhost[0] != '\0');
    LV_ASSERT(c->credential_validator != CREDENTIALS_REGEXP || c->credential_regexp[0] != '\0');
    LV_ASSERT(c->tcp_listener_count <= CONFIG_LISTENERS_MAX);
    for (size_t i = 0; i < c->tcp_listener_count; i++)
        LV_ASSERT(c->tcp_listeners[i].host != NULL && strlen(c->tcp_listeners[i].host) < 64);
    check_strings(&c->loopback_users);
    check_strings(&c->auth_mechanisms);
    check_strings(&c->default_user_tags);
    LV_ASSERT(c->auth_mechanisms.count >= 1);
    for (size_t i = 0; i < c->value_count; i++) {
        const struct config_value *v = &c->values[i];
        LV_ASSERT(v->key[0] != '\0' && v->value != NULL && v->source[0] != '\0');
        LV_ASSERT(!v->is_secret || strcmp(v->value, "[redacted]") == 0);
    }
}

static void
load_whole(const struct config_input *input)
{
    struct config *config = NULL;
    struct config *again = NULL;
    struct buf problems = BUF_INIT;
    struct buf warnings = BUF_INIT;
    struct buf changes = BUF_INIT;
    int error = config_load(input, &config, &problems, &warnings);
    LV_ASSERT((error != 0) == (problems.len > 0));
    if (error == 0) {
        check_config(config);
        LV_ASSERT(config_reload(config, input, &again, &problems, &changes) == 0);
        LV_ASSERT(changes.len == 0);
        config_unref(config);
        check_config(again);
        config_unref(again);
    }
    buf_fini(&problems);
    buf_fini(&warnings);
    buf_fini(&changes);
}

static int
on_line(void *ctx, const struct config_line *line)
{
    struct config_loader *l = ctx;
    LV_ASSERT(line->line >= 1 && (line->is_include || line->key.len > 0));
    if (!line->is_include)
        config_set(l, line->key, line->value, SOURCE_FILE, "f", "/f");
    return 0;
}

static void
check_value(const struct config_setting *s)
{
    struct config_datum datum;
    char why[256] = ""; // as in config_apply.c: what is expected is shown whole
    if (config_value_parse(s->row, slice_str(s->value), &datum, why, sizeof why) != 0) {
        LV_ASSERT(why[0] != '\0' && strlen(why) < sizeof why - 1);
        return;
    }
    if (s->row->store == STORE_U16)
        LV_ASSERT(datum.number <= UINT16_MAX);
    else if (s->row->store == STORE_U32)
        LV_ASSERT(datum.number <= UINT32_MAX);
    else if (s->row->store == STORE_INT)
        LV_ASSERT(datum.number <= INT32_MAX);
    else if (s->row->store == STORE_DOUBLE)
        LV_ASSERT(datum.fraction >= s->row->min && datum.fraction <= s->row->max);
}

// Looking for the key most like an unknown one would take half of the time: one line of an input gets to know.
enum { PROBLEMS_BEFORE = CONFIG_PROBLEMS_MAX - 1 };

static void
load_lines(const struct config_input *input, struct slice text)
{
    struct config_arena arena = {0};
    struct buf problems = BUF_INIT;
    struct buf warnings = BUF_INIT;
    struct config_loader l = {
        .arena = &arena,
        .input = input,
        .report = {.problems = &problems, .warnings = &warnings, .problem_count = PROBLEMS_BEFORE},
        .hostname = "h"};
    LV_ASSERT(config_text_read(text, "f", &l.report, on_line, &l) == 0);
    config_substitute(&l);
    for (size_t i = 0; i < l.setting_count; i++) {
        LV_ASSERT(l.settings[i].row != NULL && l.settings[i].key[0] != '\0');
        check_value(&l.settings[i]);
    }
    LV_ASSERT((l.report.problem_count > PROBLEMS_BEFORE) == (problems.len > 0));
    LV_ASSERT((l.report.warning_count > 0) == (warnings.len > 0));
    mem_free(l.settings);
    config_arena_fini(&arena);
    buf_fini(&problems);
    buf_fini(&warnings);
}

static uint32_t
hash(const uint8_t *data, size_t size)
{
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < size; i++)
        h = (h ^ data[i]) * 16777619u;
    return h >> 8;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const files[] = {"/f/leveret.conf"};
    struct pieces p;
    split(data, size, &p);
    char *value = mem_xslice_dup(p.piece[4]);
    char *option = mem_xslice_dup(p.piece[5]);
    struct buf variable = BUF_INIT;
    buf_printf(&variable, "NAME=%s", value);
    const char *environment[] = {buf_cstr(&variable), "RABBITMQ_NODENAME=hare", NULL};
    const char *options[] = {option};
    const struct config_fs fs = {.read = fuzz_read, .list = fuzz_list, .ctx = &p};
    const struct config_input input = {.files = files,
                                       .file_count = 1,
                                       .environment = environment,
                                       .hostname = "h",
                                       .options = options,
                                       .option_count = option[0] != '\0',
                                       .fs = &fs};
    load_lines(&input, p.piece[0]);
    if (hash(data, size) % WHOLE_LOADS == 0)
        load_whole(&input);
    buf_fini(&variable);
    mem_free(value);
    mem_free(option);
    return 0;
}
