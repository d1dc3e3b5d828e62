// leveretctl_value.h: single values as text: Erlang's atoms and binaries, JSON, AMQP tables.
#pragma once

#include <jansson.h>

#include "src/base/buf.h"

void erlang_put_atom(struct buf *out, struct slice name); // 'quoted' unless it is a plain word
void json_text_put(struct buf *out, const json_t *value); // compact, members in their order
void json_text_put_string(struct buf *out, struct slice text);
// A JSON object as an AMQP table, without types ([{"k",1}]) and with them ([["k","signedint",1]]).
void plain_table_put(struct buf *out, const json_t *value);
void typed_json_put(struct buf *out, const json_t *value);
// The AMQP type that rabbitmqctl would name for a JSON value: longstr, signedint, long, bool, double, table, array, void.
const char *amqp_type_name(const json_t *value);
struct slice json_slice(const json_t *string);
