// console.h: the web console: one page and its files, which are part of the program (console/embed.py makes them a C file).
//
// The page is at "/", its files under "/console/" with a digest in their names: those never change and may be cached for ever, the page
// is asked for again each time. Files are public: what they show comes from the API, with a log-in. Any thread.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/slice.h"

struct console_file {
    const char *path, *content_type, *tag; // tag: with its quotes
    const uint8_t *plain, *gzip;           // the same, compressed
    size_t plain_size, gzip_size;
    bool is_immutable;
};

// Made at build time, ordered by nothing in particular.
extern const struct console_file console_files[];
extern const size_t console_file_count;

// NULL: there is none of that path ("/", "/console/app.0123456789abcdef.js").
const struct console_file *console_find(struct slice path);
// What a page of ours may do: load and ask this server alone, run no text as a program, be framed by nobody.
extern const char console_csp[];
