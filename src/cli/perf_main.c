// perf_main.c: leveret-perf, the load generator: which command, its options, its help.
#include "src/base/err.h"
#include "src/base/mem.h"
#include "src/cli/perf_common.h"
#include "src/cli/perf_proc.h"

static const struct perf_command *const commands[] = {
    &perf_command_run, &perf_command_verify, &perf_command_idle, &perf_command_declare, &perf_command_churn,
};

static const char usage[] =
    "leveret-perf: loads, measures and checks an AMQP 0-9-1 broker\n\n"
    "  leveret-perf [COMMAND] [OPTIONS]      leveret-perf COMMAND --help says all of a command\n\nCommands\n";

static void
print_usage(FILE *to)
{
    fputs(usage, to);
    for (size_t i = 0; i < LV_ARRAY_LEN(commands); i++)
        fprintf(to, "  %-10s %s%s\n", commands[i]->name, commands[i]->summary,
                i == 0 ? " (when no command is given)" : "");
    fputs("\nA first run, against a broker on this machine:\n\n"
          "  leveret-perf --auto-ack --duration 5\n\n"
          "The exit status is 0 when all went well, 1 after a failure or when verify found something wrong, "
          "2 for\n"
          "wrong options.\n",
          to);
}

static int
run_command(const struct perf_command *command, int argc, char **argv)
{
    struct buf text = BUF_INIT;
    void *config = mem_xalloc(command->config_size);
    memcpy(config, command->defaults, command->config_size);
    int status = PERF_OK, rc = perf_options_parse(command, argc, argv, config, &text);
    if (rc == 1) {
        perf_options_help(command, &text);
        fputs(buf_cstr(&text), stdout);
    } else if (rc < 0) {
        perf_complain("%s (leveret-perf %s --help)", buf_cstr(&text), command->name);
        status = PERF_USAGE;
    } else {
        perf_raise_nofile();
        perf_stop_init();
        status = command->run(config);
    }
    perf_options_fini(command, config);
    mem_free(config);
    buf_fini(&text);
    return status;
}

int
main(int argc, char **argv)
{
    if (argc < 2)
        return run_command(&perf_command_run, 0, NULL);
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
        print_usage(stdout);
        return PERF_OK;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("leveret-perf %s\n", LEVERET_VERSION);
        return PERF_OK;
    }
    if (argv[1][0] == '-')
        return run_command(&perf_command_run, argc - 1, argv + 1);
    for (size_t i = 0; i < LV_ARRAY_LEN(commands); i++)
        if (strcmp(commands[i]->name, argv[1]) == 0)
            return run_command(commands[i], argc - 2, argv + 2);
    perf_complain("there is no command '%s'", argv[1]);
    print_usage(stderr);
    return PERF_USAGE;
}
