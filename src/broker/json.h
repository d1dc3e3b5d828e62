// json.h: writing JSON text into a struct buf, piece by piece, and field tables as RabbitMQ's HTTP API shows them.
//
// Bytes that are not UTF-8 become U+FFFD, so that the output is always valid JSON. Reading JSON is jansson's.
#pragma once

#include "src/base/buf.h"
#include "src/base/slice.h"

void json_put_string(struct buf *out, struct slice text);                      // with its quotes
void json_put_member_string(struct buf *out, const char *key, struct slice v); // "key":"v",
void json_put_member_int(struct buf *out, const char *key, int64_t v);         // "key":1,
void json_put_member_bool(struct buf *out, const char *key, bool v);           // "key":true,
// The table as an object: integers as numbers, strings as strings, timestamps as numbers, binaries as strings, void as null.
void json_put_table(struct buf *out, struct slice table);
// Removes the comma that the last member left behind.
void json_drop_comma(struct buf *out);
