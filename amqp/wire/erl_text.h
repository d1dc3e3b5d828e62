// erl_text.h: values as Erlang prints them, because RabbitMQ's error texts hold them and clients and tests
// compare those.
//
// ~w of a binary is <<0,20,97>>; ~p is the same, or <<"abc">> when all bytes are printable. Bytes above 126
// count as not printable here (Erlang takes Latin-1), so that every text stays ASCII. All output is bounded
// by the caller's `max`, in bytes of the value (of the text for whole fields); what is cut ends in "...". Any
// thread; errors stick in buf->failed.
#pragma once

#include "amqp/wire/table.h"
#include "src/base/buf.h"
#include "src/base/lv.h"
#include "src/base/slice.h"

// ~p of a binary: <<"abc">>, <<0,20>>, <<>>.
void wire_print_erlang_binary(struct buf *buf, struct slice bytes, size_t max);
// ~w of a binary: always numbers. "cannot decode <<0,0,32,97,98>>".
void wire_print_erlang_octets(struct buf *buf, struct slice bytes, size_t max);
// What frame errors say of a payload: "all octets = <<…>>" up to 16 bytes, else "first 16 octets = <<…>>".
void wire_print_payload_snippet(struct buf *buf, struct slice payload);
// ~p of a float: shortest digits that read back the same, always with a point: 1.0, 0.001, 1.0e22.
void wire_print_erlang_float(struct buf *buf, double value);
// ~p of a field's value: 5, true, <<"abc">>, undefined, {2,314}, [{<<"key">>,signedint,1}],
// [{longstr,<<"a">>}].
void wire_print_erlang_field(struct buf *buf, const struct field *field, size_t text_max);
// The same, but longstr and binary as they are: "the value 'abc' of type 'longstr'" is made of this and
// field_type_name.
void wire_print_field_value(struct buf *buf, const struct field *field, size_t text_max);
