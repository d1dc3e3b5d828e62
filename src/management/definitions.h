// definitions.h: what a definitions file says: its sections, and each element as the topology changes that it comes to.
//
// Files of RabbitMQ 3.8 to 4.x: one object whose members are arrays ("users", "queues" …); what is not known is passed over. An element is
// checked for its shape here (types, names, patterns, policies, parameters); whether vhosts, users and exchanges are there is a matter of
// when it is carried out. Sections are carried out in the order of the enum, which is RabbitMQ's, whatever their order in the file.
//
// A *record* is one topology request in bytes, for a spool (definitions_spool.h). Everything here is pure; any thread.
#pragma once

#include <jansson.h>

#include "src/base/buf.h"
#include "src/broker/topology.h"

struct password_rule;

enum definitions_section {
    DEFINITIONS_USERS,
    DEFINITIONS_VHOSTS,
    DEFINITIONS_PERMISSIONS,
    DEFINITIONS_TOPIC_PERMISSIONS,
    DEFINITIONS_GLOBAL_PARAMETERS,
    DEFINITIONS_POLICIES,
    DEFINITIONS_PARAMETERS,
    DEFINITIONS_QUEUES,
    DEFINITIONS_EXCHANGES,
    DEFINITIONS_BINDINGS,
    DEFINITIONS_COUNT,
    DEFINITIONS_DELETIONS =
        DEFINITIONS_COUNT, // of no file: what an exact import deletes (definitions_plan.h)
    DEFINITIONS_ALL,
};

extern const char *const definitions_section_names[DEFINITIONS_ALL]; // "users" … "deletions"
// -LE_NOTFOUND: no section of that name.
LV_MUST_USE int definitions_section_parse(struct slice name, enum definitions_section *ret);
// Those that a file for one vhost has; the others are passed over there.
bool definitions_section_is_of_vhost(enum definitions_section section);

struct definitions_args {
    enum definitions_section section;
    struct slice vhost;               // the one that the file is for; NULL ptr: elements name theirs
    const struct password_rule *rule; // for passwords in clear; NULL: all are allowed
    uint32_t index;                   // of the element, for its records
};

// Appends the records of an element to `out`: none for what is left out on purpose (names that begin with "amq.", the default exchange).
// -LE_INVAL: `reason` is why, as a JSON value; -LE_NOMEM.
LV_MUST_USE int definitions_read(const struct definitions_args *args, const json_t *element, struct buf *out,
                                 json_t **ret_reason);

// LIMIT: bytes of a record.
enum { DEFINITIONS_RECORD_MAX = 4 * 1024 * 1024 };

// The first record of `bytes`: its request, whose slices point into them, and the index of its element. Returns its size; 0: there is no
// whole record.
size_t definitions_record_read(struct slice bytes, struct topology_request *ret, uint32_t *ret_index);
void definitions_record_put(struct buf *out, const struct topology_request *args, uint32_t index);

// A queue's arguments ask for a stream, which this broker does not have: left out with a note, and its bindings with it.
bool definitions_is_stream(struct slice arguments);
// An exchange's type is that of a federation link's own, at the upstream: left out, the link makes it anew.
bool definitions_is_federation(struct slice type);

// A user whose file names no algorithm: by the version of the broker that wrote it (before 3.6: MD5).
struct slice definitions_default_hashing(struct slice rabbitmq_version);
