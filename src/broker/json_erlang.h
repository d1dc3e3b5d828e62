// json_erlang.h: JSON values as Erlang prints the terms they come to (~p), for texts that RabbitMQ makes of them.
//
// Strings are binaries, objects maps (keys in order), arrays lists; a list of printable characters is a "string", as Erlang cannot tell them apart.
// All on one line. Output is bounded: what is cut ends in "...".
#pragma once

#include <jansson.h>

#include "src/base/buf.h"

void json_put_erlang(struct buf *out, const json_t *value);
// An object as a list of pairs, [{<<"key">>,1}], of the members for which `wanted` says yes; returns their number.
size_t json_put_erlang_pairs(struct buf *out, const json_t *object,
                             bool (*wanted)(const char *key, void *ctx), void *ctx);
