// leveretctl_lists.h: what a listing shows: its columns, where their values are in the API's objects, what it calls itself.
#pragma once

#include <jansson.h>
#include <stdio.h>

#include "src/cli/leveretctl_format.h"

struct ctl;

struct ctl_column {
    const char *name;
    const char *path; // in the API's object: "state", "channel_details.name"; NULL: see `value`
    enum ctl_kind kind;
    // A new reference, for what is not simply there; may be NULL.
    json_t *(*value)(struct ctl *c, const json_t *object);
};

struct ctl_listing {
    const struct ctl_column *columns; // in alphabetical order, ended by one without name
    const char *defaults;             // "name,messages"
    bool is_streamed, is_nested;      // struct ctl_table
    bool has_no_headings;
};

// Calls visit for each column's name.
void ctl_listing_each_column(const struct ctl_listing *listing, void (*visit)(const char *name, void *ctx),
                             void *ctx);
void ctl_listing_print_columns(FILE *to, const struct ctl_listing *listing);
bool ctl_has_column(const struct ctl *c, const char *name); // asked for, or shown by default
// "a.b.c" in nested objects; NULL when there is no such member.
const json_t *ctl_member(const json_t *object, const char *path);
