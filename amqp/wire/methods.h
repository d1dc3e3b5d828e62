// methods.h: all methods of AMQP 0-9-1 with RabbitMQ's extensions, both directions.
//
// methods.txt describes them; gen_methods.py turns it into methods_gen.h and methods_gen.c at build time. For
// a method queue.declare there are:
//
//   AMQP_QUEUE_DECLARE            its id: class << 16 | method; first in the payload of a method frame
//   struct amqp_queue_declare     its arguments: strings and tables are slices, bits are bool. Reserved ones
//                                 have no member: zero when sent, ignored when received. No struct when there
//                                 are no arguments
//   int amqp_decode_queue_declare(struct slice args, struct amqp_queue_declare *ret)
//                                 args: the payload after the id; slices point into it. ret is untouched on
//                                 failure
//   void amqp_encode_queue_declare(struct buf *buf, const struct amqp_queue_declare *m)
//                                 appends the arguments alone
//   void amqp_frame_queue_declare(struct buf *buf, uint16_t channel, const struct amqp_queue_declare *m)
//                                 appends a whole method frame
//
// Without arguments, decode has no `ret` and encode and frame have no `m`.
//
// Decoding fails with -LE_SYNTAX (truncated, or bytes left over: RabbitMQ's "cannot decode <<…>>"), -LE_INVAL
// (a short string is not UTF-8; not asked of methods with content, as in RabbitMQ: "Malformed UTF-8 in
// shortstr"), -LE_CORRUPT (a malformed table), -LE_LIMIT (a table nested deeper than TABLE_DEPTH_MAX), in
// this order. Encoding a short string above 255 bytes sets buf->failed and appends nothing; shorten what a
// person reads with amqp_shortstr_cut. Any thread.
#pragma once

#include "amqp/wire/methods_gen.h"

enum amqp_side {
    AMQP_FROM_CLIENT = 1,
    AMQP_FROM_SERVER = 2,
    AMQP_FROM_BOTH = 3,
};

enum amqp_arg_kind {
    AMQP_ARG_BIT, // bool
    AMQP_ARG_OCTET,
    AMQP_ARG_SHORT,
    AMQP_ARG_LONG,
    AMQP_ARG_LONGLONG,
    AMQP_ARG_SHORTSTR, // struct slice
    AMQP_ARG_LONGSTR,  // struct slice
    AMQP_ARG_TABLE,    // struct slice
};

struct amqp_arg_info {
    const char *name;        // "routing_key", as the member
    enum amqp_arg_kind kind; // type on the wire and in the struct
    size_t offset;           // of the member in the method's struct
};

struct amqp_method_info {
    uint32_t id;                      // class << 16 | method
    const char *name;                 // "queue.declare"
    enum amqp_side side;              // who may send it
    bool is_sync;                     // the sender waits for an answer, unless nowait
    bool has_nowait;                  // has a bit that asks for no answer
    bool has_content;                 // a content header and body frames follow
    uint32_t answers[2];              // ids of what may answer it; 0 where there is none
    const struct amqp_arg_info *args; // in order of the wire, without the reserved ones
    size_t arg_count;
};

// NULL for an id that is no method.
const struct amqp_method_info *amqp_method_info(uint32_t id);
// All of them in order of their ids, for tests and listings.
const struct amqp_method_info *amqp_method_list(size_t *ret_count);

// "queue.declare"; "unknown" for an id that is no method. Never NULL.
const char *amqp_method_name(uint32_t id);
bool amqp_method_has_content(uint32_t id);

// By id, for those who treat all alike (traces, tests). Decoding: as above, and -LE_NOTFOUND for an id that
// is no method.
LV_MUST_USE int amqp_method_decode(uint32_t id, struct slice args, union amqp_method *ret);
// LV_ASSERTs that the id is a method.
void amqp_method_encode(struct buf *buf, uint32_t id, const union amqp_method *m);
void amqp_method_frame(struct buf *buf, uint16_t channel, uint32_t id, const union amqp_method *m);

static inline uint16_t
amqp_class_of(uint32_t id)
{
    return (uint16_t)(id >> 16);
}

static inline uint16_t
amqp_method_of(uint32_t id)
{
    return (uint16_t)(id & 0xFFFF);
}

// The longest front of a text that is a short string (255 bytes) and does not end within a UTF-8 character.
struct slice amqp_shortstr_cut(struct slice text);
// A reply text as RabbitMQ cuts it: at most 255 bytes; a longer one is cut and ends in "...". Appended to
// out.
void amqp_reply_text_cut(struct slice text, struct buf *out);
