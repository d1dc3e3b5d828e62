// main.c: leveretd, the daemon: the command line, and the order in which the parts of the broker start.
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "src/base/mem.h"
#include "src/config/config.h"
#include "src/daemon.h"
#include "src/stages.h"

// LIMIT: -c and -o on one command line.
enum { FILES_MAX = 32, OPTIONS_MAX = 256 };

struct arguments {
    const char *files[FILES_MAX];
    size_t file_count;
    const char *options[OPTIONS_MAX];
    size_t option_count;
    char *data_dir; // absolute; heap
    bool is_check;
};

// clang-format off
static const char usage[] =
    "Usage: leveretd [-c FILE]... [-d DATADIR] [-o KEY=VALUE]... [--check-config]\n"
    "\n"
    "  -c, --config FILE       read this configuration (the syntax of rabbitmq.conf); several are\n"
    "                          read in order, later lines win; conf.d/*.conf beside the first one\n"
    "                          too. Without -c: RABBITMQ_CONFIG_FILE, or /etc/leveret/leveret.conf\n"
    "  -d, --data-dir DIR      folder of everything durable; default /var/lib/leveret\n"
    "  -o, --option KEY=VALUE  set a key; wins over files and environment\n"
    "      --check-config      tell what is wrong with the configuration, start nothing\n"
    "      --version           print the version\n"
    "  -h, --help              print this\n"
    "\n"
    "Signals: SIGTERM and SIGINT close all connections and exit, a second one exits at once.\n"
    "SIGHUP reloads the configuration and reopens the log file.\n"
    "\n"
    "Exit status: 0 after a shutdown; 64 command line; 69 address in use; 70 out of memory; 71 the\n"
    "system refused something; 73 data directory or log file cannot be made; 74 the disk does not\n"
    "take what is written; 75 data directory in use; 77 permissions; 78 configuration.\n";
// clang-format on

// The modules put their stages between crew and listeners, in the order in which they need each other.
static const struct daemon_stage *const stage_order[] = {
#ifdef LV_TEST_HOOKS
    &stage_hooks,
#endif
    &daemon_stage_log, &daemon_stage_limits, &daemon_stage_data_dir, &daemon_stage_crew,
    &stage_store,      &stage_broker,        &stage_store_ready,     &stage_amqp,
    &stage_management, &stage_definitions,   &stage_alarms,          &daemon_stage_listeners,
};

static int
complain(const char *what, const char *about)
{
    fprintf(stderr, "leveretd: %s%s; try leveretd --help\n", what, about);
    return DAEMON_USAGE;
}

// The daemon does not change its folder, but SQLite, logs and errors want one name for it.
static int
set_data_dir(struct arguments *a, const char *dir)
{
    char *cwd = dir[0] != '/' ? getcwd(NULL, 0) : NULL;
    if (dir[0] == '\0' || (dir[0] != '/' && cwd == NULL)) {
        free(cwd); // getcwd's own memory
        return complain("not a folder: -d ", dir);
    }
    size_t size = strlen(dir) + (cwd != NULL ? strlen(cwd) : 0) + 2;
    mem_free(a->data_dir);
    a->data_dir = mem_xalloc(size);
    if (cwd != NULL)
        snprintf(a->data_dir, size, "%s/%s", cwd, dir);
    else
        snprintf(a->data_dir, size, "%s", dir);
    free(cwd);
    return 0;
}

enum { OPTION_CHECK = 256, OPTION_VERSION };

static const struct option long_options[] = {
    {"config", required_argument, NULL, 'c'},
    {"data-dir", required_argument, NULL, 'd'},
    {"option", required_argument, NULL, 'o'},
    {"check-config", no_argument, NULL, OPTION_CHECK},
    {"version", no_argument, NULL, OPTION_VERSION},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

// 0: go on; 1: done, exit with 0; DAEMON_USAGE.
static int
parse_arguments(int argc, char **argv, struct arguments *a)
{
    int letter;
    while ((letter = getopt_long(argc, argv, "c:d:o:h", long_options, NULL)) != -1) {
        switch (letter) {
        case 'c':
            if (a->file_count == FILES_MAX)
                return complain("too many -c", "");
            a->files[a->file_count++] = optarg;
            break;
        case 'd':
            if (set_data_dir(a, optarg) != 0)
                return DAEMON_USAGE;
            break;
        case 'o':
            if (a->option_count == OPTIONS_MAX)
                return complain("too many -o", "");
            a->options[a->option_count++] = optarg;
            break;
        case OPTION_CHECK: a->is_check = true; break;
        case OPTION_VERSION: printf("leveretd %s\n", LEVERET_VERSION); return 1;
        case 'h': fputs(usage, stdout); return 1;
        default: return DAEMON_USAGE; // getopt has told
        }
    }
    return optind < argc ? complain("unexpected argument: ", argv[optind]) : 0;
}

static void
print_lines(struct buf *lines, const char *prefix)
{
    char *save = NULL;
    char *text = (char *)(uintptr_t)buf_cstr(lines);
    for (char *line = lines->len > 0 ? strtok_r(text, "\n", &save) : NULL; line != NULL;
         line = strtok_r(NULL, "\n", &save))
        fprintf(stderr, "%s%s\n", prefix, line);
}

static int
start(const struct arguments *a, const struct config_input *input)
{
    struct buf problems = BUF_INIT;
    struct buf warnings = BUF_INIT;
    struct config *config = NULL;
    struct daemon_stage stages[LV_ARRAY_LEN(stage_order)];
    int error = config_load(input, &config, &problems, &warnings);
    if (error != 0 && problems.len == 0)
        buf_printf(&problems, "configuration: %s\n", err_text(error));
    if (a->is_check || error != 0)
        print_lines(&warnings, "leveretd: warning: ");
    print_lines(&problems, "leveretd: ");
    int status = error != 0 ? (int)DAEMON_CONFIG : (int)DAEMON_OK;
    if (a->is_check && error == 0)
        puts("configuration is valid");
    for (size_t i = 0; i < LV_ARRAY_LEN(stage_order); i++)
        stages[i] = *stage_order[i];
    if (a->is_check || error != 0)
        config_unref(config);
    else
        status = daemon_main(&(struct daemon_config){.input = *input,
                                                     .config = config,
                                                     .warnings = buf_cstr(&warnings),
                                                     .stages = stages,
                                                     .stage_count = LV_ARRAY_LEN(stages)});
    buf_fini(&problems);
    buf_fini(&warnings);
    return status;
}

int
main(int argc, char **argv)
{
    struct arguments a = {0};
    // It has no children, but as process 1 of a container it is given orphans: the kernel buries them.
    signal(SIGCHLD, SIG_IGN);
    int status = parse_arguments(argc, argv, &a);
    if (status == 0) {
        const struct config_input input = {
            .files = a.files,
            .file_count = a.file_count,
            .options = a.options,
            .option_count = a.option_count,
            .data_dir = a.data_dir,
            .environment = (const char *const *)environ,
        };
        status = start(&a, &input);
    } else if (status == 1) {
        status = DAEMON_OK;
    }
    mem_free(a.data_dir);
    return status;
}
