// leveretctl_format.h: how values and rows look: table, json, csv, pretty_table, erlang; as rabbitmqctl writes them.
//
// A cell is a JSON value and a kind: the JSON says what, the kind how it is shown (a text is raw in a table, "quoted" in json,
// <<"quoted">> as an Erlang term). JSON null is "no value" and empty everywhere.
#pragma once

#include <jansson.h>
#include <stdio.h>

#include "src/base/buf.h"

enum ctl_format { FORMAT_TABLE, FORMAT_JSON, FORMAT_CSV, FORMAT_PRETTY, FORMAT_ERLANG };

// "table", "json", "csv", "pretty_table", "erlang"; -LE_INVAL for others.
LV_MUST_USE int ctl_format_parse(const char *name, enum ctl_format *ret);

enum ctl_kind {
    KIND_TEXT,   // string
    KIND_ATOM,   // string that is a word of the broker's own: running, classic
    KIND_NUMBER, // integer or real
    KIND_BOOL,
    KIND_TAGS,     // array of strings that are atoms
    KIND_TABLE,    // object: arguments, client properties
    KIND_PID,      // string "<node.1.2.3>"
    KIND_ADDRESS,  // string "127.0.0.1"
    KIND_PROTOCOL, // string "AMQP 0-9-1"
    KIND_JSON,     // any value, shown as JSON text
    KIND_NODES,    // object: node → state
};

// Appends one value in a format: without quotes of CSV.
void ctl_format_cell(struct buf *out, enum ctl_format format, enum ctl_kind kind, const json_t *value);

struct ctl_heading {
    const char *name;
    enum ctl_kind kind;
};

struct ctl_table {
    const struct ctl_heading *headings;
    size_t column_count;
    const json_t *rows; // array of arrays of column_count values
    bool has_headings;  // prints the row of names (table, csv)
    bool is_streamed;   // an empty one is "[\n]" in json, and its headings are left out
    bool is_nested;     // erlang: each row is in a list of its own once more (list_consumers)
};

void ctl_format_table(FILE *to, enum ctl_format format, const struct ctl_table *table);

// JSON text as jansson writes it without spaces, members in the order given; heap (free), NULL when out of memory.
char *ctl_json_text(const json_t *value);
