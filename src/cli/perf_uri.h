// perf_uri.h: amqp://user:password@host:port/vhost, as RabbitMQ's clients take it; one, or several separated by commas.
#pragma once

#include "src/base/buf.h"
#include "src/base/lv.h"

enum {
    PERF_URI_TEXT_MAX = 255, // LIMIT: bytes of each part; vhosts are short strings
    PERF_URIS_MAX = 16,      // LIMIT: nodes of a list
};

struct perf_uri {
    char host[PERF_URI_TEXT_MAX + 1]; // name or address, without brackets
    char port[6];
    char user[PERF_URI_TEXT_MAX + 1];
    char password[PERF_URI_TEXT_MAX + 1];
    char vhost[PERF_URI_TEXT_MAX + 1];
};

struct perf_uris {
    struct perf_uri items[PERF_URIS_MAX];
    size_t count; // at least 1 after parsing
};

// What is missing is guest:guest@localhost:5672 and vhost "/"; a path of "/" alone is the vhost "", as everywhere. Percent
// signs decode. 0, or -LE_INVAL with a line for a person, without the password, in `error`.
LV_MUST_USE int perf_uris_parse(const char *text, struct perf_uris *ret, struct buf *error);
