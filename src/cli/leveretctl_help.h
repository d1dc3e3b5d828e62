// leveretctl_help.h: usage, help and version.
#pragma once

#include "src/cli/leveretctl.h"

const char *ctl_help_program(const char *argv0); // the last part of the path
enum ctl_tool ctl_help_tool(const char *program);
void ctl_help_usage_line(const struct ctl *c, FILE *to, const struct ctl_command *command);
void ctl_help_all(const struct ctl *c, FILE *to); // every command with one line
int ctl_help_command(const struct ctl *c, const struct ctl_command *command);
int ctl_help_version(const struct ctl *c);
