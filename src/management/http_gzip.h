// http_gzip.h: answers packed as gzip (RFC 1952), piece by piece, for clients that take it. One thread.
//
// ISA-L's fastest level: text of metrics or JSON shrinks to about a tenth, at about a gigabyte a second.
#pragma once

#include "src/base/buf.h"

struct http_gzip;

LV_MUST_USE struct http_gzip *http_gzip_new(void); // NULL: out of memory
void http_gzip_free(struct http_gzip *g);          // accepts NULL
enum http_gzip_end { HTTP_GZIP_MORE, HTTP_GZIP_LAST };
// Packs a piece behind `out`; what is held back for the next one comes at the last. out->failed: out of memory.
void http_gzip_add(struct http_gzip *g, struct slice piece, enum http_gzip_end end, struct buf *out);
// Does an Accept-Encoding header (NULL: none) name gzip, not with q=0?
bool http_gzip_is_accepted(const char *header);
