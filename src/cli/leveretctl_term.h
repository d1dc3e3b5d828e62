// leveretctl_term.h: Erlang terms, for the erlang formatter and for texts that rabbitmqctl shows as terms.
//
// A term is a tree: lists and tuples of terms, and leaves with their text. A node that could not be allocated is NULL; adding to
// NULL or adding NULL does nothing, so that a caller need not check. term_free frees the whole tree.
#pragma once

#include <jansson.h>

#include "src/base/buf.h"
#include "src/cli/leveretctl_format.h"

struct term;

struct term *term_list(void);
struct term *term_tuple(void);
struct term *term_leaf(struct slice text);              // text as it is
struct term *term_atom(struct slice name);              // quoted where Erlang wants it
struct term *term_binary(struct slice text);            // <<"text">>, or <<1,2,3>> when it is not printable
void term_add(struct term *parent, struct term *child); // takes it over
void term_free(struct term *t);

// A cell as the erlang formatter shows it.
struct term *term_of_cell(enum ctl_kind kind, const json_t *value);
// A JSON object as a typed AMQP table: [{<<"key">>,signedint,1}].
struct term *term_of_table(const json_t *object);

// Breaks lines as io_lib's ~p does at 80 columns.
void term_print(struct buf *out, const struct term *t);
// On one line.
void term_print_flat(struct buf *out, const struct term *t);
