// api_query.h: the path and the query of a request: split, percent-decoded in place, bounded. Pure; any thread.
//
// A path is cut at '/'; each segment is decoded after that, so that %2F is a byte of a name. Empty segments in the middle are kept
// (the default exchange has no name), one at the end is not. A query is key=value pairs; '+' is a space there.
#pragma once

#include "src/base/buf.h"
#include "src/base/slice.h"

// LIMIT: path segments of a request; parameters of its query.
enum { API_SEGMENTS_MAX = 12, API_PARAMETERS_MAX = 64 };

struct api_query {
    struct slice segments[API_SEGMENTS_MAX]; // decoded; into the text
    size_t segment_count;
    struct {
        struct slice key, value;
    } parameters[API_PARAMETERS_MAX];
    size_t parameter_count;
};

// Takes "/api/queues/%2F?page=1" apart; `text` is changed and must live as long as *ret. -LE_SYNTAX: a '%' without two digits;
// -LE_LIMIT: more segments or parameters than there may be.
LV_MUST_USE int api_query_parse(char *text, struct api_query *ret);
// The first parameter of that name; NULL ptr when there is none.
struct slice api_query_find(const struct api_query *q, const char *key);
// Appends the text with every byte but letters, digits, '.', '-' and '_' as %XX, a space as '+'.
void api_put_escaped(struct buf *out, struct slice text);
