// config_world.h: a world in memory for tests of the configuration: a few files, no system.
#pragma once

#include <fnmatch.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "src/base/err.h"
#include "src/config/config.h"
#include "src/config/config_files.h"

struct world_file {
    const char *path;
    const char *text;
};

struct world {
    const struct world_file *files; // sorted by path, ends with NULL
};

static int
world_read(void *ctx, const char *path, size_t max, struct buf *ret_text)
{
    const struct world *w = ctx;
    for (const struct world_file *f = w->files; f != NULL && f->path != NULL; f++) {
        if (strcmp(f->path, path) != 0)
            continue;
        if (strlen(f->text) > max)
            return -LE_LIMIT;
        buf_append_str(ret_text, f->text);
        return ret_text->failed ? -LE_NOMEM : 0;
    }
    return -LE_NOTFOUND;
}

static int
world_list(void *ctx, const char *dir, const char *pattern, struct buf *ret_names)
{
    const struct world *w = ctx;
    size_t len = strlen(dir);
    for (const struct world_file *f = w->files; f != NULL && f->path != NULL; f++) {
        if (strncmp(f->path, dir, len) != 0 || f->path[len] != '/' || strchr(f->path + len + 1, '/') != NULL)
            continue;
        if (fnmatch(pattern, f->path + len + 1, FNM_PERIOD) == 0)
            buf_append(ret_names, f->path + len + 1, strlen(f->path + len + 1) + 1);
    }
    return ret_names->failed ? -LE_NOMEM : 0;
}

// One load and what came of it.
struct outcome {
    int error;
    struct config *config; // NULL after an error
    struct buf problems;
    struct buf warnings;
};

static LV_UNUSED struct outcome
world_load(const struct world_file *files, const char *const *environment, const char *const *options,
           size_t option_count)
{
    static const char *const main_file[] = {"/etc/leveret/leveret.conf"};
    struct world w = {files};
    struct config_fs fs = {.read = world_read, .list = world_list, .ctx = &w};
    struct config_input input = {
        .files = main_file,
        .file_count = files != NULL ? 1 : 0,
        .environment = environment,
        .options = options,
        .option_count = option_count,
        .hostname = "hare.example.org",
        .fs = &fs,
    };
    struct outcome o = {0};
    o.error = config_load(&input, &o.config, &o.problems, &o.warnings);
    buf_cstr(&o.problems);
    buf_cstr(&o.warnings);
    return o;
}

static LV_UNUSED struct outcome
world_load_text(const char *text)
{
    struct world_file files[] = {{"/etc/leveret/leveret.conf", text}, {NULL, NULL}};
    return world_load(files, NULL, NULL, 0);
}

static LV_UNUSED void
outcome_fini(struct outcome *o)
{
    config_unref(o->config);
    buf_fini(&o->problems);
    buf_fini(&o->warnings);
}

static LV_UNUSED void
assert_problem(const char *text, const char *problem)
{
    struct outcome o = world_load_text(text);
    if (o.error == 0 || strstr(buf_cstr(&o.problems), problem) == NULL)
        fail_msg("expected the problem '%s' of:\n%s\nbut: '%s'", problem, text, buf_cstr(&o.problems));
    outcome_fini(&o);
}

static LV_UNUSED struct config *
load_good(struct outcome *o, const char *text)
{
    *o = world_load_text(text);
    if (o->error != 0)
        fail_msg("%s", buf_cstr(&o->problems));
    return o->config;
}
