// definitions_plan.h: what an import would do: compared with one version of the topology, nothing is changed.
//
// Merge (what RabbitMQ's import does): things are created and changed, never deleted. Exact: what the file does not have is deleted too, of
// the sections that the file has, and of its vhost when it is for one. Left alone in any case: exclusive queues, what is named "amq.…",
// the user who asks. Memory is 16 bytes for each element, twice.
//
// Pure but for the import's spools, which are read; any thread, as long as nobody else uses the import.
#pragma once

#include "src/management/definitions_import.h"

// LIMIT: elements of a file that is compared.
#define PLAN_ELEMENTS_MAX (UINT64_C(1) << 23)

enum plan_verb { PLAN_CREATE, PLAN_CHANGE, PLAN_CONFLICT, PLAN_SKIP, PLAN_DELETE, PLAN_SAME, PLAN_VERBS };
extern const char *const plan_verb_names[PLAN_VERBS]; // "create" …

struct plan_item {
    enum plan_verb verb;
    const struct topology_request *request; // of a deletion: the one that deletes
    const char *why;                        // of a conflict or skip; NULL
};

struct plan_args {
    struct definitions_import *import;
    const struct topology *topology;
    bool is_exact;
    bool is_deletions_only; // the others are not told
    bool is_forced;         // queues are deleted whatever is in them
};

// Calls `visit` for each; other than 0 ends it and is the result. -LE_LIMIT: too many elements.
LV_MUST_USE int definitions_plan(const struct plan_args *args,
                                 int (*visit)(void *ctx, const struct plan_item *item), void *ctx);

// One as JSON ({"action":"create","kind":"queue",…}) or as a line of text ("+ queue 'q' in vhost 'v'\n").
void plan_put_json(struct buf *out, const struct plan_item *item);
void plan_put_text(struct buf *out, const struct plan_item *item);
