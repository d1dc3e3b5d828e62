// config_internal.h: what the files of this folder share. Nobody else includes it (unit tests and fuzzing
// do).
//
// A load has three steps: gather (config_gather.c) makes one list of settings out of files, environment and
// options; substitution (config_substitute.c) fills in $(…); apply (config_apply.c) types them into a struct
// config. All memory of a load is in the arena of the struct config being made and goes with it.
#pragma once

#include "src/config/config.h"
#include "src/config/config_file.h"
#include "src/config/config_keys.h"
#include "src/config/config_value.h"

struct config_chunk {
    struct config_chunk *next;
    size_t used;
    size_t size;
    uint8_t bytes[] __attribute__((aligned(16)));
};

// Text and arrays that live as long as the configuration; wiped at the end because there are secrets among
// them.
struct config_arena {
    struct config_chunk *chunks;
    bool failed; // an allocation failed: what was handed out is not usable, the load ends with -LE_NOMEM
};

void *config_arena_take(struct config_arena *a, size_t size);          // zeroed; NULL when out of memory
const char *config_arena_text(struct config_arena *a, struct slice s); // never NULL
const char *config_arena_printf(struct config_arena *a, const char *fmt, ...) LV_PRINTF(2, 3); // never NULL
void config_arena_fini(struct config_arena *a);

struct config_setting {
    const struct config_key *row;
    const char *key;
    const char *value;
    enum config_source_kind kind;
    const char *source;   // as in struct config_value
    const char *base_dir; // $(<FILE) is relative to it
    bool is_dropped;      // overridden by `none` or by the environment
};

// The public part comes first: a struct config is the start of one of these.
struct config_whole {
    struct config config;
    struct config_arena arena;
    const struct config_setting *settings; // as applied, for the next reload
    size_t setting_count;
};

struct config_loader {
    struct config *config;              // being made
    const struct config_whole *running; // reload: what must not change comes from here; else NULL
    struct buf *changes;                // reload: what is different
    struct config_arena *arena;
    const struct config_input *input;
    struct config_input own_input; // as it was given, with the file system filled in
    struct config_report report;
    struct config_setting *settings; // heap, setting_cap of them
    size_t setting_count;
    size_t setting_cap;
    const char *files[CONFIG_FILES_MAX];
    size_t file_count;
    unsigned substitution_count;
    const char *hostname; // short, or full with RABBITMQ_USE_LONGNAME
};

// Sets or replaces. Keys that are unknown or refused become problems.
void config_set(struct config_loader *l, struct slice key, struct slice value, enum config_source_kind kind,
                const char *source, const char *base_dir);
struct config_setting *config_setting_find(struct config_loader *l, const char *key);
void config_gather(struct config_loader *l);
void config_substitute(struct config_loader *l); // config_substitute.c
// A variable of the environment, or NULL.
const char *config_environment(const struct config_loader *l, const char *name);
// A path relative to a folder; in the arena.
const char *config_join(struct config_loader *l, const char *dir, const char *name);
void config_pin(struct config_loader *l); // config_reload.c
void config_apply(struct config_loader *l);

// The last part of a setting's key ("default" of listeners.tcp.default), in the arena.
const char *config_setting_name(struct config_loader *l, const struct config_setting *s);
void config_apply_policies(struct config_loader *l); // config_policies.c
