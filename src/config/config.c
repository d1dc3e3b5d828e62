// config.c: a load from beginning to end, and the life of what it makes.
#include "src/config/config.h"

#include <stdio.h>

#include "src/base/mem.h"
#include "src/config/config_files.h"
#include "src/config/config_internal.h"

void *
config_arena_take(struct config_arena *a, size_t size)
{
    enum { CHUNK_BYTES = 16384 };
    size_t rounded = (size + 15) & ~(size_t)15;
    struct config_chunk *chunk = a->chunks;
    if (chunk == NULL || chunk->size - chunk->used < rounded) {
        size_t chunk_size = LV_MAX(rounded, (size_t)CHUNK_BYTES);
        chunk = mem_calloc(1, sizeof *chunk + chunk_size);
        if (chunk == NULL) {
            a->failed = true;
            return NULL;
        }
        chunk->size = chunk_size;
        chunk->next = a->chunks;
        a->chunks = chunk;
    }
    void *taken = chunk->bytes + chunk->used;
    chunk->used += rounded;
    return taken;
}

const char *
config_arena_text(struct config_arena *a, struct slice s)
{
    char *text = config_arena_take(a, s.len + 1);
    if (text == NULL)
        return "";
    if (s.len > 0)
        memcpy(text, s.ptr, s.len);
    return text;
}

const char *
config_arena_printf(struct config_arena *a, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int len = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    char *text = len < 0 ? NULL : config_arena_take(a, (size_t)len + 1);
    if (text == NULL)
        return "";
    va_start(ap, fmt);
    vsnprintf(text, (size_t)len + 1, fmt, ap);
    va_end(ap);
    return text;
}

void
config_arena_fini(struct config_arena *a)
{
    while (a->chunks != NULL) {
        struct config_chunk *chunk = a->chunks;
        a->chunks = chunk->next;
        mem_wipe(chunk->bytes, chunk->size);
        mem_free(chunk);
    }
}

static void
free_whole(struct config_whole *whole)
{
    config_arena_fini(&whole->arena);
    mem_free(whole);
}

// What the next reload compares with and takes from; the texts are in the arena.
static void
keep_settings(struct config_loader *l, struct config_whole *whole)
{
    size_t size = l->setting_count * sizeof *l->settings;
    struct config_setting *kept = config_arena_take(l->arena, size + 1);
    if (kept != NULL && size > 0)
        memcpy(kept, l->settings, size);
    whole->settings = kept;
    whole->setting_count = kept != NULL ? l->setting_count : 0;
}

static int
load(struct config_loader *l, struct config_whole *whole)
{
    struct config *c = l->config;
    config_gather(l);
    config_substitute(l);
    if (l->running != NULL)
        config_pin(l);
    if (l->arena->failed)
        return -LE_NOMEM;
    config_apply(l);
    keep_settings(l, whole);
    const char **files = config_arena_take(l->arena, (l->file_count + 1) * sizeof *files);
    if (files != NULL && l->file_count > 0)
        memcpy(files, l->files, l->file_count * sizeof *files);
    c->files = files;
    c->file_count = l->file_count;
    if (l->arena->failed || l->report.problems->failed || l->report.warnings->failed)
        return -LE_NOMEM;
    return l->report.problem_count > 0 ? -LE_INVAL : 0;
}

static int
load_whole(const struct config_input *input, struct config_loader *l, struct config **ret_config)
{
    struct config_whole *whole = mem_calloc(1, sizeof *whole);
    if (whole == NULL)
        return -LE_NOMEM;
    l->own_input = *input;
    if (input->fs == NULL)
        l->own_input.fs = &config_fs_system;
    l->config = &whole->config;
    l->arena = &whole->arena;
    l->input = &l->own_input;
    atomic_init(&whole->config.refs, 1);
    int error = load(l, whole);
    mem_free(l->settings);
    l->settings = NULL;
    if (error != 0) {
        free_whole(whole);
        return error;
    }
    *ret_config = &whole->config;
    return 0;
}

int
config_load(const struct config_input *input, struct config **ret_config, struct buf *problems,
            struct buf *warnings)
{
    struct config_loader *l = mem_calloc(1, sizeof *l);
    if (l == NULL)
        return -LE_NOMEM;
    l->report = (struct config_report){.problems = problems, .warnings = warnings};
    int error = load_whole(input, l, ret_config);
    mem_free(l);
    return error;
}

int
config_reload(const struct config *running, const struct config_input *input, struct config **ret_config,
              struct buf *problems, struct buf *changes)
{
    struct buf warnings = BUF_INIT; // the same as at start-up
    struct config_loader *l = mem_calloc(1, sizeof *l);
    if (l == NULL)
        return -LE_NOMEM;
    l->report = (struct config_report){.problems = problems, .warnings = &warnings};
    l->running = (const struct config_whole *)(const void *)running;
    l->changes = changes;
    int error = load_whole(input, l, ret_config);
    buf_fini(&warnings);
    mem_free(l);
    return error;
}

struct config *
config_ref(struct config *c)
{
    atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
    return c;
}

void
config_unref(struct config *c)
{
    // The last one sees what all others did before they let go.
    if (c != NULL && atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) == 1)
        free_whole((struct config_whole *)(void *)c);
}

const struct config_value *
config_find(const struct config *c, const char *key)
{
    for (size_t i = 0; i < c->value_count; i++) {
        if (strcmp(c->values[i].key, key) == 0)
            return &c->values[i];
    }
    return NULL;
}
