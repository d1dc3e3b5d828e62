// test_ctl_main.c: whole runs of leveretctl that need no broker: help, refusals, suggestions, nobody there.
#include "ctl_test.h"

#include <stdlib.h>

#include "src/cli/leveretctl.h"
#include "src/cli/leveretctl_similar.h"

struct run {
    int status;
    char *out, *err; // heap
};

// Runs words separated by single spaces, with these environment variables and nothing on standard input.
static struct run
run_in(const char *const *environment, const char *line)
{
    static char program[] = "/usr/bin/leveretctl";
    char *argv[32] = {program}, *save = NULL, words[512];
    int argc = 1;
    size_t out_size, err_size;
    struct run r = {0};
    snprintf(words, sizeof words, "%s", line);
    for (char *word = strtok_r(words, " ", &save); word != NULL; word = strtok_r(NULL, " ", &save))
        argv[argc++] = word;
    FILE *in = fopen("/dev/null", "re"), *out = open_memstream(&r.out, &out_size),
         *err = open_memstream(&r.err, &err_size);
    r.status = ctl_main(argc, argv, environment, in, out, err);
    fclose(in);
    fclose(out);
    fclose(err);
    return r;
}

static struct run
run(const char *line)
{
    static const char *const environment[] = {"LEVERET_SOCKET=/nonexistent/control.sock", NULL};
    return run_in(environment, line);
}

static void
run_free(struct run *r)
{
    free(r->out);
    free(r->err);
}

static void
check(const char *line, int status, const char *out, const char *err)
{
    struct run r = run(line);
    assert_int_equal(r.status, status);
    assert_string_equal(r.out, out);
    assert_string_equal(r.err, err);
    run_free(&r);
}

static void
wrong_use_is_told_in_rabbitmqctls_words(void **state)
{
    check("list_queue", 64, "", "\nCommand 'list_queue' not found. \nDid you mean 'list_queues'? \n\n");
    check("setpermissions", 64, "",
          "\nCommand 'setpermissions' not found. \nDid you mean 'set_permissions'? \n\n");
    check("-q add_user", 64, "",
          "Error (argument validation): not enough arguments.\nArguments given:\n\t-q "
          "add_user\n\n\033[1mUsage\033[0m\n\n"
          "leveretctl [--node <node>] [--longnames] [--quiet] add_user <username> [<password>]\n");
    check("list_users extra", 64, "",
          "Error (argument validation): too many arguments.\nArguments given:\n\tlist_users "
          "extra\n\n\033[1mUsage\033[0m\n\n"
          "leveretctl [--node <node>] [--longnames] [--quiet] list_users [--no-table-headers] [--timeout "
          "<timeout>]\n");
    check("list_queues nosuchcol other,name", 64, "",
          "Error (argument validation): Info key(s) nosuchcol,other are not supported\nArguments given:\n"
          "\tlist_queues nosuchcol other,name\n\n\033[1mUsage\033[0m\n\n"
          "leveretctl [--node <node>] [--longnames] [--quiet] list_queues [--vhost <vhost>] [--online] "
          "[--offline] [--local] "
          "[--no-table-headers] [<column>, ...] [--timeout <timeout>]\n");
    check(
        "ping --timeout abc", 64, "",
        "Error (argument validation): Invalid options for this command:\n--timeout : abc\nArguments given:\n"
        "\tping --timeout abc\n\n\033[1mUsage\033[0m\n\n"
        "leveretctl [--node <node>] [--longnames] [--quiet] ping [--timeout <timeout>]\n");
    check("check_port_listener abc", 65, "",
          "Error (argument validation): Bad argument: Argument must be a positive integer\nArguments given:\n"
          "\tcheck_port_listener abc\n\n\033[1mUsage\033[0m\n\n"
          "leveretctl [--node <node>] [--longnames] [--quiet] check_port_listener <port> [--timeout "
          "<timeout>]\n");
    check("help nosuch", 64, "", "Error:\n\nCommand 'nosuch' not found.\n");
    check("set_log_level nosuch", 69, "",
          "Error:\nlevel nosuch is not supported. Try one of debug, info, warning, error, critical, none\n");
    check("--formatter foo list_users", 1, "",
          "Error: unknown formatter 'foo'. Use one of table, json, csv, pretty_table, erlang\n");
    check("add_user \xff x", 65, "",
          "Error (argument validation): Bad argument: arguments must be UTF-8\nArguments given:\n\tadd_user "
          "\xff x\n\n"
          "\033[1mUsage\033[0m\n\nleveretctl [--node <node>] [--longnames] [--quiet] add_user <username> "
          "[<password>]\n");
}

static void
nothing_is_done_in_a_dry_run(void **state)
{
    check("--dry-run -n rabbit@h delete_vhost v", 0, "Deleting vhost \"v\" ...\n", "");
    check("list_queues --dry-run -p v", 0, "Timeout: 60.0 seconds ...\nListing queues for vhost v ...\n", "");
    check("list_queues --dry-run -q", 0, "", "");
    check("list_users --dry-run --formatter json", 0, "", "");
    check("list_users --dry-run --formatter csv", 0, "", "");
    check("list_users --dry-run --formatter erlang", 0, "Listing users ...\n", "");
    check("set_user_tags --dry-run u a b", 0, "Setting tags for user \"u\" to [a, b] ...\n", "");
    check("delete_queue --dry-run q -e -u", 0,
          "Deleting queue 'q' on vhost '/' if queue is empty and if queue is unused ...\n", "");
}

static void
help_comes_from_the_table(void **state)
{
    struct run r = run("help");
    assert_int_equal(r.status, 0);
    assert_non_null(strstr(r.out, "\n   list_queues "));
    assert_string_equal(r.err, "");
    run_free(&r);
    r = run("");
    assert_int_equal(r.status, 64);
    assert_string_equal(r.out, "");
    assert_non_null(strstr(r.err, "\n   list_queues "));
    run_free(&r);
    r = run("nosuchcommand");
    assert_int_equal(r.status, 64);
    assert_non_null(strstr(r.err, "\nCommand 'nosuchcommand' not found. \n\n\n\033[1mUsage"));
    run_free(&r);
    r = run("list_queues --help");
    assert_int_equal(r.status, 0);
    assert_non_null(strstr(r.out, "<column>\n\tmust be one of arguments, auto_delete, "));
    run_free(&r);
    check("version", 0, "3.10.8\n", "");
    check("--version", 0, "3.10.8\n", "");
    check("autocomplete list_q", 0, "list_queues\n", "");
}

static void
nobody_there(void **state)
{
    struct run r = run("list_users");
    assert_int_equal(r.status, 69);
    assert_string_equal(r.out, "Listing users ...\n");
    assert_memory_equal(r.err, "Error: unable to perform an operation on node '", 47);
    assert_non_null(strstr(r.err, "control socket: /nonexistent/control.sock\n"));
    assert_non_null(strstr(r.err, "the socket cannot be found: No such file or directory\n"));
    run_free(&r);
    r = run("-q -n rabbit@h check_running");
    assert_int_equal(r.status, 69);
    assert_string_equal(r.err, "Error:\nRabbitMQ on node rabbit@h is not running or has not fully booted yet "
                               "(check with is_booting)\n");
    run_free(&r);
    check("-n rabbit@h is_running", 0,
          "Asking node rabbit@h for its status ...\n"
          "RabbitMQ on node rabbit@h is not running or has not fully booted yet (check with is_booting)\n",
          "");
    check("-n rabbit@h stop --idempotent", 0, "Stopping and halting node rabbit@h ...\n", "");
    check("-n rabbit@h -t 0 wait --pid 999999999", 69,
          "Waiting for erlang distribution on node 'rabbit@h' while OS process '999999999' is running\n",
          "Error:\nprocess_not_running\n");
}

static void
the_socket_is_found(void **state)
{
    static const char *const by_dir[] = {"LEVERET_DATA_DIR=/nonexistent/dir", NULL};
    static const char *const both[] = {"LEVERET_DATA_DIR=/nonexistent/dir", "LEVERET_SOCKET=/nonexistent/s",
                                       NULL};
    struct run r = run_in(by_dir, "list_users");
    assert_non_null(strstr(r.err, "control socket: /nonexistent/dir/control.sock\n"));
    run_free(&r);
    r = run_in(both, "list_users");
    assert_non_null(strstr(r.err, "control socket: /nonexistent/s\n"));
    run_free(&r);
    r = run_in(both, "list_users --socket /nonexistent/o");
    assert_non_null(strstr(r.err, "control socket: /nonexistent/o\n"));
    run_free(&r);
}

static void
a_password_must_come_from_somewhere(void **state)
{
    check("add_user bob", 65, "Adding user \"bob\" ...\nPassword: \n",
          "Error:\nPassword is not provided via argument or stdin\n");
}

static void
similarity_is_jaros(void **state)
{
    assert_true(ctl_similarity("list_queues", "list_queues") > 0.999);
    // Textbook pairs.
    assert_true(ctl_similarity("MARTHA", "MARHTA") > 0.943 && ctl_similarity("MARTHA", "MARHTA") < 0.945);
    assert_true(ctl_similarity("DIXON", "DICKSONX") > 0.766 && ctl_similarity("DIXON", "DICKSONX") < 0.768);
    assert_true(ctl_similarity("abc", "xyz") < 0.001);
    assert_true(ctl_similarity("", "x") < 0.001);
    assert_string_equal(ctl_similar_command(TOOL_CTL, "add_vhosts"), "add_vhost");
    assert_null(ctl_similar_command(TOOL_CTL, "zzzzzz"));
}

// Every row of the tables is complete, and no name is there twice.
static void
check_row(const struct ctl_command *command, void *ctx)
{
    assert_non_null(command->run);
    assert_non_null(command->usage);
    assert_true(command->about[0] != '\0' && command->about[strlen(command->about) - 1] != '.');
    assert_true(command->args_min <= command->args_max);
    assert_ptr_equal(ctl_command_find(TOOL_CTL, slice_str(command->name)), command);
    ++*(int *)ctx;
}

static void
the_tables_are_sound(void **state)
{
    int count = 0;
    ctl_command_each(TOOL_CTL, check_row, &count);
    assert_true(count > 60);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_use_is_told_in_rabbitmqctls_words),
        cmocka_unit_test(nothing_is_done_in_a_dry_run),
        cmocka_unit_test(help_comes_from_the_table),
        cmocka_unit_test(nobody_there),
        cmocka_unit_test(the_socket_is_found),
        cmocka_unit_test(a_password_must_come_from_somewhere),
        cmocka_unit_test(similarity_is_jaros),
        cmocka_unit_test(the_tables_are_sound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
