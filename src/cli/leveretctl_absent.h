// leveretctl_absent.h: commands of RabbitMQ 3.10's tools that Leveret does not have, and why.
#pragma once

#include <stddef.h>

struct ctl_absent {
    const char *name;
    const char *why; // a sentence without its full stop
};

extern const struct ctl_absent ctl_absent_commands[]; // ended by one without name
// Why there is no such command; NULL: RabbitMQ has none of that name either.
const char *ctl_absent_reason(const char *name);
