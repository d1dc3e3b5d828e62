// leveretctl_admin.h: rabbitmqadmin: its options, objects, formats and texts, over the HTTP API. leveretctl is it when it is called by that name.
#pragma once

#include "src/cli/leveretctl.h"

// The whole run: parses argv, connects, does it. Returns the exit status: 0 or 1. `c` has its streams; everything in it is freed by the caller.
int ctl_admin_main(struct ctl *c, int argc, char **argv, const char *const *environment);

// How lists are shown (leveretctl_admin_format.c): "table", "tsv", "long", "kvp", "raw_json", "pretty_json", "bash".
struct admin_view {
    const char *format;
    const char *const *columns; // asked for; NULL-terminated; an empty list: all that there are
    int depth;                  // levels of objects inside objects whose members are columns
};

bool admin_format_is_known(const char *name);
// Prints an array of objects.
void admin_print(FILE *to, const struct admin_view *view, const json_t *objects);
