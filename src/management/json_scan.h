// json_scan.h: one large JSON object, taken apart as it comes: its members, and of members that are arrays one element after the other.
//
// The scanner finds where elements begin and end (strings, nesting); what is between is parsed by jansson, element by element, so that
// memory is bounded by the largest element and not by the text. The whole text is checked: what the scanner accepts to the end is valid
// JSON, but for bytes that are not UTF-8, which are refused too.
//
// Not in the text: a member's name twice, at the top or in an element (jansson's JSON_REJECT_DUPLICATES). One thread.
#pragma once

#include <jansson.h>

#include "src/base/buf.h"
#include "src/base/err.h"
#include "src/base/slice.h"

// LIMIT: bytes of one element, of a member's name; nesting inside an element; members of the outermost object.
enum {
    JSON_SCAN_ELEMENT_MAX = 1024 * 1024,
    JSON_SCAN_NAME_MAX = 256,
    JSON_SCAN_DEPTH_MAX = 64,
    JSON_SCAN_MEMBERS_MAX = 256,
};

struct json_scan_item {
    struct slice name;    // of the member
    bool is_in_array;     // an element of the array that the member is; otherwise `value` is the member
    bool is_array_begin;  // the array begins (value NULL): it is there even if it is empty
    uint64_t index;       // of the element
    struct json_t *value; // the scanner's
};
// 0, or what ends the scan and is its result.
typedef int (*json_scan_fn)(void *ctx, const struct json_scan_item *item);

struct json_scan {
    int state;
    bool is_in_array, is_in_string, is_escaped, has_element, is_scalar;
    unsigned depth;      // open brackets of the element
    uint64_t index;      // of the element in its array
    struct buf text;     // of the element or name, as far as it has come
    struct buf name;     // of the member at hand
    json_t *names;       // those seen, as members of an object
    size_t member_count; // of them
    uint64_t offset;     // bytes taken
    json_scan_fn visit;
    void *ctx;
    char problem[160]; // why the text was refused
};

void json_scan_init(struct json_scan *s, json_scan_fn visit, void *ctx);
void json_scan_fini(struct json_scan *s);
// -LE_SYNTAX: no such JSON, -LE_LIMIT: larger than allowed (s->problem says where), -LE_NOMEM, or the visitor's. After an error nothing
// more may be fed.
LV_MUST_USE int json_scan_feed(struct json_scan *s, struct slice bytes);
// The text has ended. -LE_SYNTAX when it is cut off; a text without anything is one (json_scan_is_empty tells it).
LV_MUST_USE int json_scan_end(struct json_scan *s);
bool json_scan_is_empty(const struct json_scan *s); // nothing but blanks so far
