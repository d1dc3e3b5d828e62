// leveretctl_options.h: the command line of leveretctl: options before or behind the command and its arguments.
//
// The grammar is rabbitmqctl's: `--name value`, `--name=value`, `-n value`, `-n=value`, `--no-name` for switches; `--` ends the
// options. A value is never taken from a word that looks like an option. Nothing is printed here.
#pragma once

#include "src/base/buf.h"
#include "src/cli/leveretctl_format.h"

// LIMIT: words of a command behind its name.
enum { CTL_ARGS_MAX = 256, CTL_OPTIONS_MAX = 96 };

// Options that only some commands have.
enum ctl_option_bit {
    OPTION_ONLINE = 1u << 0,
    OPTION_OFFLINE = 1u << 1,
    OPTION_LOCAL = 1u << 2,
    OPTION_DESCRIPTION = 1u << 3,
    OPTION_TAGS = 1u << 4,
    OPTION_QUEUE_TYPE = 1u << 5,
    OPTION_IF_EMPTY = 1u << 6,
    OPTION_IF_UNUSED = 1u << 7,
    OPTION_LIMIT = 1u << 8,
    OPTION_GLOBAL = 1u << 9,
    OPTION_DELAY = 1u << 10,
    OPTION_USER = 1u << 11,
    OPTION_PID = 1u << 12,
    OPTION_WAIT = 1u << 13,
    OPTION_LIST_COMMANDS = 1u << 14,
    OPTION_ALGORITHM = 1u << 15,
    OPTION_IDEMPOTENT = 1u << 16,
    OPTION_DATA_DIR = 1u << 17,
    OPTION_JSON = 1u << 18,
    OPTION_QUEUE = 1u << 19,
    OPTION_SEQ = 1u << 20,
    OPTION_TRUNCATE = 1u << 21,
    OPTION_LOST = 1u << 22,
    OPTION_PRIORITY = 1u << 23,
    OPTION_APPLY_TO = 1u << 24,
    OPTION_TOP = 1u << 25,               // --once, --interval, --sort
    OPTION_LINES = 1u << 26,             // --number
    OPTION_PLUGINS = 1u << 27,           // --minimal, --enabled, --implicitly-enabled, --verbose, --all
    OPTION_CERTIFICATES = 1u << 28,      // --unit, --within
    OPTION_REBALANCE = 1u << 29,         // --vhost-pattern, --queue-pattern
    OPTION_DEFINITIONS = 1u << 30,       // --format, --skip-if-unchanged, --exact, --force
    OPTION_MESSAGES = UINT64_C(1) << 32, // --examine, --exchange, --routing-key
    NEEDS_SOCKET = 1u << 31,             // of commands, no option: the HTTP API cannot do it
};

struct ctl_options {
    const char *node, *vhost, *formatter, *socket; // -n, -p, --formatter, --socket; NULL: not given
    // Of the HTTP API (leveretctl_target.h); port -1: not given.
    const char *host, *username, *password, *password_file, *ca_file, *certificate_file, *key_file;
    int64_t port;
    bool is_tls, is_insecure;
    const char *description, *tags, *queue_type, *user, *algorithm;
    int64_t timeout_s;                  // -t; -1: not given
    int64_t limit;                      // --limit; -1: not given
    int64_t delay_ms;                   // --per-connection-delay
    int64_t pid;                        // --pid; -1: not given
    const char *data_dir, *queue, *seq; // -d, --queue, --seq
    const char *priority, *apply_to;    // of policies
    int64_t truncate;                   // --truncate; -1: not given
    int64_t interval_s, lines;          // --interval, --lines; -1: not given
    const char *sort, *unit;            // of top, of check_certificate_expiration
    const char *vhost_pattern, *queue_pattern;
    const char *file_format;            // --format: of a definitions file
    int64_t within;                     // --within; -1: not given
    const char *exchange, *routing_key; // of messages
    int64_t examine;                    // --examine; -1: not given
    bool is_quiet, is_silent, is_dry_run, is_help, is_version, is_long_names, is_printing_stack;
    bool has_headers; // --no-table-headers: false
    bool is_online, is_offline, is_local, is_if_empty, is_if_unused, is_global, is_waiting,
        is_listing_commands, is_idempotent, is_json, is_lost, is_once, is_minimal, is_enabled_only,
        is_explicit_only, is_verbose, is_all, is_skipping_unchanged, is_exact, is_forced;
    enum ctl_format format;
    bool given[CTL_OPTIONS_MAX]; // in the order of the table
    const char *command;         // NULL: none
    const char *args[CTL_ARGS_MAX];
    size_t arg_count;
    struct buf invalid; // "--flag : value\n" of each option that is unknown or has a bad value
};

// Strings point into argv. Returns 0 or -LE_LIMIT (more than CTL_ARGS_MAX arguments); what is wrong with single options is in
// `invalid`. An unknown formatter leaves `format` as it is and is in `formatter`: see ctl_format_parse.
LV_MUST_USE int ctl_options_parse(int argc, char **argv, struct ctl_options *ret);
void ctl_options_fini(struct ctl_options *o);
// Calls visit for each option: its long name, its letter (0: none), what it takes (NULL: nothing), its bit (0: every command has it).
void ctl_options_each(void (*visit)(const char *name, char letter, bool takes_value, uint64_t bit, void *ctx),
                      void *ctx);
// Adds to `invalid` the options given that are not among `allowed` (enum ctl_option_bit).
void ctl_options_forbid(struct ctl_options *o, uint64_t allowed);
