// leveretctl_target.h: where requests go: the control socket of the broker on this machine, or the HTTP API of any.
//
// The HTTP API it is with a URL (-n http://…, LEVERET_URL) or with --host, --port or --tls; otherwise the socket. A password comes from a file,
// the environment, the terminal or the command line, where it is overwritten as soon as it was read. Nothing here prints it.
#pragma once

#include "src/base/buf.h"
#include "src/cli/leveretctl_options.h"

struct ctl_target {
    bool is_http;
    char *base;            // "http://host:15672", "http://localhost" with the socket; heap
    char *user, *password; // heap; NULL: the socket
};

// Finds out. Takes the password (and a URL's) out of argv. 0; -LE_INVAL with one line in `problem`; a password that has to be asked for
// stays NULL.
LV_MUST_USE int ctl_target_init(struct ctl_target *t, struct ctl_options *o, const char *const *environment,
                                struct buf *problem);
void ctl_target_fini(struct ctl_target *t);
// The value of a variable that is not empty; NULL.
const char *ctl_variable(const char *const *environment, const char *name);
