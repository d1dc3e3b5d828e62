#include "src/cli/leveretctl.h"

const struct ctl_command ctl_commands_status[] = {
    {.name = NULL},
};
