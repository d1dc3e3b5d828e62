// dry_run.h: where would this message go, and why: a publish that is only thought through, for the HTTP API and leveretctl.
//
// It goes the way session_publish and route_resolve go (permission, exchange, CC and BCC, bindings, exchange-to-exchange bindings,
// alternate exchanges, each exchange and queue once), and writes down every step, in words and for programs. A unit test compares its
// queues with those of route_resolve. Nothing is published, counted or changed; what the queues would say is not looked at here.
//
// Any crew member that reads topology and has broker state (its cache of permissions is used). The result holds no pointers into the
// topology.
#pragma once

#include "amqp/wire/props.h"
#include "queue/queue_def.h"
#include "src/base/buf.h"
#include "src/base/worker.h"

// LIMIT: steps written down, queues listed; what is beyond is counted.
enum { DRY_RUN_STEPS_MAX = 1000, DRY_RUN_QUEUES_MAX = 1000 };

struct dry_run_args {
    struct slice vhost, exchange, key; // exchange: empty: the default one
    struct amqp_basic_props props;     // headers validated; what hash exchanges look at besides
    struct slice user;                 // whose permissions are looked at; empty: nobody's
    bool is_mandatory;
};

enum dry_run_outcome { DRY_RUN_ROUTED, DRY_RUN_UNROUTABLE, DRY_RUN_REFUSED };

struct dry_run_queue {
    lv_handle handle;
    size_t step; // the one that led to it first
    char *name;  // heap
    size_t name_len;
    char *path; // heap: "exchange 'a' -> exchange 'b' -> queue 'q'"
};

struct dry_run {
    enum dry_run_outcome outcome;
    struct buf
        steps; // JSON objects, each followed by a comma: step, from (a step, or null), kind, exchange, …, text
    size_t step_count;
    struct dry_run_queue *queues;
    size_t queue_count; // in `queues`
    size_t found_count; // all that were found
    bool is_truncated;  // there were more steps or queues
    struct buf text;    // the outcome in words
};

// -LE_NOTFOUND: no such vhost. -LE_NOMEM. *ret: heap, dry_run_free.
LV_MUST_USE int dry_run(struct worker *w, const struct dry_run_args *a, struct dry_run **ret);
void dry_run_free(struct dry_run *d); // accepts NULL
