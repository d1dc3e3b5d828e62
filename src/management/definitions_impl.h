// definitions_impl.h: what definitions_import.c and definitions_run.c share. Nobody else includes it.
#pragma once

#include "src/base/worker.h"
#include "src/broker/json.h"
#include "src/management/definitions_import.h"

struct definitions_queue {
    struct worker *worker;
    struct list imports;   // struct definitions_import.node: the first is being carried out
    unsigned import_count; // all that were made
    bool has_ended;
    struct buf last; // the one that ended last, as JSON; empty: none yet
};

int definitions_take_item(void *ctx, const struct json_scan_item *item);
// The next record of a section; -LE_NOTFOUND at the end.
LV_MUST_USE int definitions_next(struct definitions_import *i, enum definitions_section section,
                                 struct definitions_cursor *c, struct topology_request *ret,
                                 uint32_t *ret_index);
