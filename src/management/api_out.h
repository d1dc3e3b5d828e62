// api_out.h: JSON out, piece by piece, through a filter: the columns that a request asked for, or one value to sort by.
//
// Every object of a listing is written by one function against this, so that ?columns=, ?sort= and the plain answer cannot differ.
// A column is a path of names ("message_stats.publish_details.rate"); it stands for all that is below it. Arrays have no name: the
// objects in them are filtered as if they stood in the array's place. An object of which nothing is left is left out, but for
// the outermost, which is {} then.
//
// Names (`key`) are NULL for items of an array and for the outermost value. One thread.
#pragma once

#include <jansson.h>

#include "src/base/buf.h"
#include "src/base/slice.h"

// LIMIT: columns of a request, names in the path of one; nesting of what is written, beyond which null stands.
enum { API_COLUMNS_MAX = 64, API_COLUMN_DEPTH = 8, API_OUT_DEPTH = 100 };

struct api_columns {
    struct slice paths[API_COLUMNS_MAX][API_COLUMN_DEPTH]; // into the request's query
    uint8_t depths[API_COLUMNS_MAX];
    size_t count; // 0: all
};

// "name,message_stats.publish_details.rate". -LE_LIMIT: too many.
LV_MUST_USE int api_columns_parse(struct slice text, struct api_columns *ret);

// A value caught for sorting. Ordered as RabbitMQ does: numbers, then true, false and null by name, then strings; what is missing
// is 0.
enum api_value_kind { API_VALUE_NUMBER, API_VALUE_ATOM, API_VALUE_TEXT };
struct api_value {
    enum api_value_kind kind;
    double number;
    struct slice text; // TEXT: as given to the writer, valid only as long as that
};

struct api_out_level {
    uint64_t mask; // columns that go on below this
    size_t start;  // where it starts in `out`, with its name
    bool is_array;
    bool is_whole; // everything below is wanted
};

struct api_out {
    struct buf *out;                   // NULL while a value is being caught
    const struct api_columns *columns; // NULL: all
    struct api_value *caught;          // out NULL: where the value goes
    struct api_out_level levels[API_OUT_DEPTH];
    unsigned depth;   // open objects and arrays
    unsigned skipped; // open ones that are not written
};

void api_out_init(struct api_out *o, struct buf *out, const struct api_columns *columns);
// For catching the value at that path (one column) instead of writing.
void api_out_init_catch(struct api_out *o, const struct api_columns *path, struct api_value *caught);

void api_out_object(struct api_out *o, const char *key);
void api_out_array(struct api_out *o, const char *key);
void api_out_end(struct api_out *o); // of the innermost open object or array
// Would anything below that name be written? For leaving out what is dear to find.
bool api_out_wants(const struct api_out *o, const char *key);
void api_out_int(struct api_out *o, const char *key, int64_t v);
void api_out_double(struct api_out *o, const char *key, double v); // always with a point
void api_out_bool(struct api_out *o, const char *key, bool v);
void api_out_null(struct api_out *o, const char *key);
void api_out_slice(struct api_out *o, const char *key, struct slice v);
void api_out_str(struct api_out *o, const char *key, const char *v);        // NULL: null
void api_out_table(struct api_out *o, const char *key, struct slice table); // a field table
void api_out_json(struct api_out *o, const char *key, const json_t *v);     // NULL: null
// The members of a JSON object, into the object that is open.
void api_out_members(struct api_out *o, const json_t *object);
