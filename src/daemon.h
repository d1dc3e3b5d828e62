// daemon.h: the life of the process: start-up in a fixed order, running, reload, draining, shutdown in
// reverse order.
//
//   configuration → log → file descriptors → data directory and its lock → crew made, addresses bound
//   → modules started → threads run → listening → systemd told "ready" → … → SIGTERM: systemd told
//   "stopping", listeners closed, modules drain (connections closed with 320) until all are done or
//   shutdown_timeout → threads end → modules stopped, last first.
//
// Each part is a stage: a table of functions. daemon.c has the stages of the process itself, main.c puts
// those of the modules behind them. All functions of stages run on the main thread, which is crew member
// CREW_MAIN.
//
// Signals: SIGTERM and SIGINT drain, a second one exits at once; SIGHUP reloads (log files are reopened,
// changed keys taken over or reported as needing a restart); SIGPIPE is ignored.
#pragma once

#include "src/acceptor.h"
#include "src/base/buf.h"
#include "src/base/worker.h"
#include "src/config/config.h"

// Exit statuses, those of sysexits.h.
enum daemon_exit {
    DAEMON_OK = 0,
    DAEMON_KILLED = 1,       // a second SIGTERM
    DAEMON_USAGE = 64,       // the command line
    DAEMON_UNAVAILABLE = 69, // an address is in use
    DAEMON_SOFTWARE = 70,    // out of memory, a thread cannot be started
    DAEMON_OSERR = 71,       // the system refuses something
    DAEMON_CANTCREAT = 73,   // data directory or log file cannot be made
    DAEMON_IOERR = 74,       // the disk does not take or give what it should
    DAEMON_TEMPFAIL = 75,    // the data directory is in use by another process
    DAEMON_NOPERM = 77,      // permissions
    DAEMON_CONFIG = 78,      // the configuration
};

struct daemon;

// Stages start in the order of the table; when one fails, those before it are stopped in reverse order and
// the process ends. Every function but `name` may be NULL.
struct daemon_stage {
    const char *name;
    // Before the threads run (they may be set up: hooks, state slots). 0, or a status of enum daemon_exit
    // with one line in `problem`.
    int (*start)(struct daemon *d, struct buf *problem);
    // The threads run, the main loop is about to. As start.
    int (*run)(struct daemon *d, struct buf *problem);
    // SIGHUP: d->config is the new configuration, `old` the one before; keys that need a restart have not
    // changed.
    void (*reload)(struct daemon *d, const struct config *old);
    // SIGTERM: begin to end. is_drained is asked until it says true for every stage (NULL: at once).
    void (*drain)(struct daemon *d);
    bool (*is_drained)(struct daemon *d);
    // The threads have ended (or never ran). Only for stages whose start was called and succeeded.
    void (*stop)(struct daemon *d);
};

struct daemon_config {
    struct config_input input; // kept for reloads: all of it must live as long as the daemon
    struct config *config;     // loaded from it; the daemon takes over this reference
    const char *warnings;      // of the configuration, a line each, for the log; or NULL
    const struct daemon_stage *stages;
    size_t stage_count; // ≤ DAEMON_STAGES_MAX
};

enum { DAEMON_STAGES_MAX = 32 };

struct daemon {
    struct config *config; // in force; changes at reload (main thread)
    struct config_input input;
    const char *warnings; // during start-up
    const struct daemon_stage *stages;
    size_t stage_count;
    size_t started;                   // stages that must be stopped
    struct crew *crew;                // from the stage "crew" on
    struct worker *main;              // crew member CREW_MAIN
    struct acceptor *acceptor;        // from the stage "listeners" on
    const struct acceptor_sink *sink; // set by the start of the AMQP module's stage
    int lock_fd;                      // -1: not locked
    bool is_running;                  // threads run
    bool is_draining;
    int exit_status;
    uint64_t drain_until_ns;
    ev_signal signal_term;
    ev_signal signal_int;
    ev_signal signal_hup;
    ev_timer drain_timer;
    void *module_state[DAEMON_STAGES_MAX]; // for stages that need a place; by agreement of main.c
};

// The stages of the process, to be put in front of the modules' (main.c).
extern const struct daemon_stage daemon_stage_log;
extern const struct daemon_stage daemon_stage_limits;
extern const struct daemon_stage daemon_stage_data_dir;
extern const struct daemon_stage daemon_stage_crew;
extern const struct daemon_stage daemon_stage_listeners; // binds at start, listens at run; behind the modules

// The whole life; returns the exit status. A failed start has been told on standard error, in one line.
int daemon_main(const struct daemon_config *config);

// As SIGTERM does, with this exit status at the end. Main thread.
void daemon_request_stop(struct daemon *d, int exit_status);
// Logs each line of a text.
void daemon_log_lines(enum log_level level, const char *lines, const char *prefix);
// As SIGHUP does. 0, or -LE_xxx with the problems, a line each. Main thread.
LV_MUST_USE int daemon_reload(struct daemon *d, struct buf *problems);
