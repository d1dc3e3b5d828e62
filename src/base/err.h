// err.h: the one list of internal error numbers and their texts.
//
// Fallible functions return 0 or a negative -LE_xxx; errno is turned into one at the syscall wrapper
// (err_from_errno) and read nowhere else. Protocol errors seen by clients are not these numbers but values
// (struct fault, broker/fault.h).
#pragma once

#include "src/base/lv.h"

#define LE_MAP(X)                                                                                            \
    X(LE_NOMEM, 1, "out of memory")                                                                          \
    X(LE_INVAL, 2, "invalid argument or value")                                                              \
    X(LE_SYNTAX, 3, "malformed data")                                                                        \
    X(LE_LIMIT, 4, "a limit is exceeded")                                                                    \
    X(LE_NOTFOUND, 5, "not found")                                                                           \
    X(LE_EXISTS, 6, "exists already")                                                                        \
    X(LE_AGAIN, 7, "not now")                                                                                \
    X(LE_CLOSED, 8, "closed")                                                                                \
    X(LE_IO, 9, "input/output error")                                                                        \
    X(LE_NOSPACE, 10, "no space left")                                                                       \
    X(LE_ACCESS, 11, "permission denied")                                                                    \
    X(LE_INUSE, 12, "in use")                                                                                \
    X(LE_TIMEOUT, 13, "timed out")                                                                           \
    X(LE_UNSUPPORTED, 14, "not supported")                                                                   \
    X(LE_NETWORK, 15, "network error")                                                                       \
    X(LE_STATE, 16, "wrong state")                                                                           \
    X(LE_CORRUPT, 17, "corrupt data")

enum le_code {
#define X(name, number, text) name = number,
    LE_MAP(X)
#undef X
};

// The text of an error, whichever its sign; never NULL. Any thread.
const char *err_text(int error);

// Negative LE_xxx for an errno value (EIO, ENOSPC, EDQUOT, EACCES, EAGAIN … have their own; the rest are
// LE_IO).
int err_from_errno(int errno_value);
