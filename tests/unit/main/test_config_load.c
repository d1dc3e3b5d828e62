// test_config_load.c: the reader's syntax, the order of sources, substitution, limits.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "src/base/mem.h"
#include "src/config/config_file.h"
#include "src/config/config_keys.h"
#include "tests/unit/main/config_world.h"

// ---- Syntax --------------------

static void
test_spaces_and_line_ends(void **state)
{
    struct outcome o;
    const struct config *c =
        load_good(&o, "\xEF\xBB\xBF\theartbeat=7\r\n\r\n  channel_max \t=\t 12 \t\r\n   # comment\n"
                      "default_user = two words\ncluster_name = last line has no end");
    assert_int_equal(c->heartbeat_s, 7);
    assert_int_equal(c->channel_max, 12);
    assert_string_equal(c->default_user, "two words");
    assert_string_equal(c->cluster_name, "last line has no end");
    assert_int_equal(o.warnings.len, 0);
    outcome_fini(&o);
}

// RabbitMQ 3.10: '#' starts a comment wherever it stands; ';' and '=' do not end a value.
static void
test_comment_characters_in_values(void **state)
{
    struct outcome o;
    const struct config *c = load_good(&o, "default_pass = a;b ;c=d\ndefault_user = first # comment\n");
    assert_string_equal(c->default_pass, "a;b ;c=d");
    assert_string_equal(c->default_user, "first");
    assert_int_equal(o.warnings.len, 0);
    outcome_fini(&o);
    c = load_good(&o, "default_pass = sec#ret\n");
    assert_string_equal(c->default_pass, "sec");
    assert_non_null(strstr(buf_cstr(&o.warnings), "leveret.conf:1: the value of 'default_pass' ends at '#'"));
    outcome_fini(&o);
}

static void
test_quotes(void **state)
{
    struct outcome o;
    const struct config *c = load_good(&o, "default_pass = 'quoted'\ndefault_user = \"double\"\n");
    assert_string_equal(c->default_pass, "'quoted'");
    assert_string_equal(c->default_user, "\"double\"");
    assert_non_null(strstr(buf_cstr(&o.warnings), "leveret.conf:1: the quotes are part of the value"));
    outcome_fini(&o);
    assert_problem("default_pass = 'a#b'\n",
                   "leveret.conf:1: the value of 'default_pass' is quoted and holds '#'");
}

static void
test_malformed_lines(void **state)
{
    assert_problem("\nheartbeat 60\n", "leveret.conf:2: expected 'key = value'");
    assert_problem("heartbeat =\n", "leveret.conf:1: 'heartbeat' has no value");
    assert_problem("heartbeat = # nothing\n", "leveret.conf:1: 'heartbeat' has no value");
    assert_problem("= 60\n", "leveret.conf:1: '' is not a key");
    assert_problem("heart beat = 60\n", "leveret.conf:1: 'heart beat' is not a key");
    assert_problem("listeners..tcp = 1\n", "'listeners..tcp' is not a key");
    assert_problem("default_user = \x01\n", "leveret.conf:1: the line holds a control character");
    assert_problem("default_user = \xFF\n", "or is not UTF-8");
    assert_problem("[{rabbit, []}].\n", "expected 'key = value'");
}

// One bad line does not hide the next.
static void
test_all_problems_are_told(void **state)
{
    struct outcome o = world_load_text("nonsense\nheartbeat = x\nheartbeet = 3\n");
    const char *problems = buf_cstr(&o.problems);
    assert_int_not_equal(o.error, 0);
    assert_null(o.config);
    assert_non_null(strstr(problems, ":1: "));
    assert_non_null(strstr(problems, ":2: 'heartbeat': 'x' is not an integer from 0 to 65535"));
    assert_non_null(strstr(problems, ":3: unknown key 'heartbeet'; the nearest known key is 'heartbeat'"));
    outcome_fini(&o);
}

static void
test_nearest_key(void **state)
{
    assert_problem("listener.tcp.default = 5672\n", "the nearest known key is 'listeners.tcp.default'");
    assert_problem("vm_memory_high_watermark.relativ = 0.4\n", "'vm_memory_high_watermark.relative'");
    assert_problem("managment.tcp.port = 15672\n", "'management.tcp.port'");
    assert_problem("tcp_listen_options.nodelays = true\n", "'tcp_listen_options.nodelay'");
    struct outcome o = world_load_text("qqqqqqqqqqqqqqqq.zzzzzzzzzzz = 1\n");
    assert_non_null(strstr(buf_cstr(&o.problems), "unknown key"));
    assert_null(strstr(buf_cstr(&o.problems), "nearest"));
    outcome_fini(&o);
}

static void
test_secrets_are_not_told(void **state)
{
    const char *options[] = {"default_pass=hunter2hunter2"};
    struct outcome o = world_load(NULL, NULL, options, 1);
    assert_int_equal(o.error, 0);
    assert_string_equal(config_find(o.config, "default_pass")->value, "[redacted]");
    outcome_fini(&o);
    o = world_load_text("auth_ldap.dn_lookup_bind.password = hunter2\nanonymous_login_pass = hunter2\n");
    assert_null(strstr(buf_cstr(&o.warnings), "hunter2"));
    assert_string_equal(config_find(o.config, "auth_ldap.dn_lookup_bind.password")->value, "[redacted]");
    outcome_fini(&o);
    o = world_load_text("default_pass = encrypted:hunter2\n");
    assert_int_not_equal(o.error, 0);
    assert_null(strstr(buf_cstr(&o.problems), "hunter2"));
    outcome_fini(&o);
}

// ---- Limits --------------------

static void
test_limits_of_size(void **state)
{
    struct buf text = BUF_INIT;
    buf_append_str(&text, "default_user = ");
    for (int i = 0; i < CONFIG_LINE_BYTES_MAX; i++)
        buf_append_str(&text, "x");
    assert_problem(buf_cstr(&text), "leveret.conf:1: the line is longer than 8192 bytes");
    buf_reset(&text);
    for (int i = 0; i < CONFIG_FILE_BYTES_MAX / 8 + 1; i++)
        buf_append_str(&text, "# 45678\n");
    assert_problem(buf_cstr(&text), "leveret.conf: larger than 1048576 bytes");
    buf_reset(&text);
    for (int i = 0; i < CONFIG_SETTINGS_MAX + 1; i++)
        buf_printf(&text, "mqtt.key%d = 1\n", i);
    assert_problem(buf_cstr(&text), "more than 2048 keys are set");
    buf_reset(&text);
    for (int i = 0; i < 200; i++)
        buf_printf(&text, "unknown_key_%d = 1\n", i);
    struct outcome o = world_load_text(buf_cstr(&text));
    assert_non_null(strstr(buf_cstr(&o.problems), "more of the same kind is not shown"));
    assert_true(o.problems.len < 4096);
    outcome_fini(&o);
    buf_fini(&text);
}

static void
test_limit_of_files(void **state)
{
    struct buf text = BUF_INIT;
    for (int i = 0; i < CONFIG_FILES_MAX; i++)
        buf_append_str(&text, "include a.conf\n");
    struct world_file files[] = {{"/etc/leveret/a.conf", "heartbeat = 3\n"},
                                 {"/etc/leveret/leveret.conf", buf_cstr(&text)},
                                 {NULL, NULL}};
    struct outcome o = world_load(files, NULL, NULL, 0);
    assert_non_null(strstr(buf_cstr(&o.problems), "/etc/leveret/a.conf: more than 256 files"));
    outcome_fini(&o);
    buf_fini(&text);
}

static void
test_limits_of_lists(void **state)
{
    struct buf text = BUF_INIT;
    for (int i = 0; i < CONFIG_LISTENERS_MAX + 1; i++)
        buf_printf(&text, "listeners.tcp.l%d = %d\n", i, 10000 + i);
    assert_problem(buf_cstr(&text), "more than 32 listeners");
    buf_reset(&text);
    for (int i = 0; i < CONFIG_LIST_MAX + 1; i++)
        buf_printf(&text, "loopback_users.u%d = true\n", i);
    assert_problem(buf_cstr(&text), "more than 64 entries");
    buf_fini(&text);
}

// Every allocation may fail: the load ends with an error, loses nothing, and does not fall over.
static void
test_out_of_memory(void **state)
{
    static const struct world_file files[] = {
        {"/etc/leveret/conf.d/a.conf", "heartbeat = $(channel_max)\n"},
        {"/etc/leveret/leveret.conf", "channel_max = 5\nlisteners.tcp.1 = 5672\n"},
        {NULL, NULL},
    };
    bool has_failed = false;
    for (uint64_t n = 1; n < 400; n++) {
        mem_test_fail_after(n);
        struct outcome o = {0};
        struct world w = {files};
        struct config_fs fs = {.read = world_read, .list = world_list, .ctx = &w};
        const char *const main_file[] = {"/etc/leveret/leveret.conf"};
        struct config_input input = {.files = main_file, .file_count = 1, .hostname = "h", .fs = &fs};
        o.error = config_load(&input, &o.config, &o.problems, &o.warnings);
        mem_test_fail_after(0);
        has_failed = has_failed || o.error == -LE_NOMEM;
        if (o.error == 0)
            assert_int_equal(o.config->heartbeat_s, 5);
        outcome_fini(&o);
    }
    assert_true(has_failed);
}

// ---- Order of sources --------------------

static void
test_precedence(void **state)
{
    static const struct world_file files[] = {
        {"/etc/leveret/conf.d/10-first.conf", "heartbeat = 11\nchannel_max = 11\ndefault_vhost = eleven\n"},
        {"/etc/leveret/conf.d/20-second.conf", "channel_max = 22\n"},
        {"/etc/leveret/conf.d/readme.txt", "not a configuration\n"},
        {"/etc/leveret/leveret.conf",
         "heartbeat = 1\nchannel_max = 1\nframe_max = 8192\ndefault_user = file\n"},
        {NULL, NULL},
    };
    static const char *const environment[] = {"RABBITMQ_DEFAULT_USER=env", "RABBITMQ_DEFAULT_PASS=secret",
                                              "RABBITMQ_DEFAULT_VHOST=env", NULL};
    const char *options[] = {"default_vhost = option", "workers=3"};
    struct outcome o = world_load(files, environment, options, 2);
    assert_string_equal(buf_cstr(&o.problems), "");
    const struct config *c = o.config;
    assert_int_equal(c->frame_max_bytes, 8192);
    assert_int_equal(c->heartbeat_s, 11);
    assert_int_equal(c->channel_max, 22);
    assert_string_equal(c->default_user, "env");
    assert_string_equal(c->default_pass, "secret");
    assert_string_equal(c->default_vhost, "option");
    assert_int_equal(c->workers, 3);
    assert_string_equal(config_find(c, "channel_max")->source, "/etc/leveret/conf.d/20-second.conf:1");
    assert_string_equal(config_find(c, "default_user")->source, "RABBITMQ_DEFAULT_USER");
    assert_string_equal(config_find(c, "default_vhost")->source, "-o");
    assert_int_equal(config_find(c, "max_message_size")->source_kind, SOURCE_DEFAULT);
    assert_int_equal(c->file_count, 3);
    outcome_fini(&o);
}

static void
test_several_files_and_variables_for_them(void **state)
{
    static const struct world_file files[] = {
        {"/a/conf.d/x.conf", "heartbeat = 2\nchannel_max = 2\n"},
        {"/a/main.conf", "heartbeat = 1\n"},
        {"/b/conf.d/x.conf", "nonsense: never read\n"},
        {"/b/other.conf", "heartbeat = 3\n"},
        {"/extra/z", "heartbeat = 4\n"},
        {NULL, NULL},
    };
    const char *const both[] = {"/a/main.conf", "/b/other.conf"};
    struct world w = {files};
    struct config_fs fs = {.read = world_read, .list = world_list, .ctx = &w};
    struct config_input input = {.files = both, .file_count = 2, .hostname = "h", .fs = &fs};
    struct outcome o = {0};
    assert_int_equal(config_load(&input, &o.config, &o.problems, &o.warnings), 0);
    assert_int_equal(o.config->heartbeat_s, 3);
    assert_int_equal(o.config->channel_max, 2);
    outcome_fini(&o);
    // The variable names the file without its extension, and other additional files.
    const char *const environment[] = {"RABBITMQ_CONFIG_FILE=/a/main", "RABBITMQ_CONFIG_FILES=/extra", NULL};
    input = (struct config_input){.environment = environment, .hostname = "h", .fs = &fs};
    o = (struct outcome){0};
    assert_int_equal(config_load(&input, &o.config, &o.problems, &o.warnings), 0);
    assert_int_equal(o.config->heartbeat_s, 4);
    assert_int_equal(o.config->channel_max, 2047);
    outcome_fini(&o);
}

static void
test_missing_files(void **state)
{
    struct outcome o = world_load((const struct world_file[]){{NULL, NULL}}, NULL, NULL, 0);
    assert_int_not_equal(o.error, 0);
    assert_non_null(strstr(buf_cstr(&o.problems), "/etc/leveret/leveret.conf: cannot be read: not found"));
    outcome_fini(&o);
    const char *const environment[] = {"RABBITMQ_CONFIG_FILE=/nowhere", NULL};
    o = world_load(NULL, environment, NULL, 0);
    assert_int_equal(o.error, 0);
    assert_non_null(strstr(buf_cstr(&o.warnings), "there is no file /nowhere"));
    outcome_fini(&o);
}

static void
test_erlang_terms_are_not_read(void **state)
{
    static const struct world_file files[] = {
        {"/etc/leveret/advanced.config", "[{rabbit, [{tcp_listeners, []}]}].\n"},
        {"/etc/leveret/leveret.conf", "heartbeat = 3\n"},
        {NULL, NULL},
    };
    struct outcome o = world_load(files, NULL, NULL, 0);
    assert_int_equal(o.error, 0);
    assert_non_null(
        strstr(buf_cstr(&o.warnings), "/etc/leveret/advanced.config: files of Erlang terms are not read"));
    outcome_fini(&o);
    const char *const environment[] = {"RABBITMQ_ADVANCED_CONFIG_FILE=/etc/leveret/advanced.config", NULL};
    o = world_load(files, environment, NULL, 0);
    assert_int_not_equal(o.error, 0);
    outcome_fini(&o);
    assert_problem("include /etc/rabbitmq/rabbitmq.config\n", "files of Erlang terms are not read");
}

static void
test_include(void **state)
{
    static const struct world_file files[] = {
        {"/etc/leveret/leveret.conf",
         "heartbeat = 1\ninclude more/*.conf # all\ninclude one.cfg\nchannel_max = 9\n"},
        {"/etc/leveret/more/a.conf", "heartbeat = 2\nchannel_max = 2\n"},
        {"/etc/leveret/one.cfg", "default_user = included\n"},
        {NULL, NULL},
    };
    struct outcome o = world_load(files, NULL, NULL, 0);
    assert_string_equal(buf_cstr(&o.problems), "");
    assert_int_equal(o.config->heartbeat_s, 2);
    assert_int_equal(o.config->channel_max, 9);
    assert_string_equal(o.config->default_user, "included");
    outcome_fini(&o);
    assert_problem("include leveret.conf\n", "nested more than 8 deep");
    assert_problem("include nothing.conf\n", "nothing.conf: cannot be read");
}

// ---- Environment --------------------

static void
test_node_name(void **state)
{
    struct outcome o = world_load(NULL, NULL, NULL, 0);
    assert_string_equal(o.config->node_name, "rabbit@hare");
    assert_string_equal(o.config->cluster_name, "rabbit@hare");
    outcome_fini(&o);
    o = world_load(NULL, (const char *const[]){"RABBITMQ_NODENAME=brown", "RABBITMQ_USE_LONGNAME=true", NULL},
                   NULL, 0);
    assert_string_equal(o.config->node_name, "brown@hare.example.org");
    outcome_fini(&o);
    o = world_load(NULL, (const char *const[]){"RABBITMQ_NODENAME=a@b", NULL}, NULL, 0);
    assert_string_equal(o.config->node_name, "a@b");
    assert_string_equal(config_find(o.config, "node_name")->source, "RABBITMQ_NODENAME");
    outcome_fini(&o);
    o = world_load(NULL, (const char *const[]){"RABBITMQ_NODENAME=a b@c", NULL}, NULL, 0);
    assert_non_null(
        strstr(buf_cstr(&o.problems), "RABBITMQ_NODENAME: 'node_name': 'a b@c' is not a node name"));
    outcome_fini(&o);
}

static void
test_listeners_from_the_environment(void **state)
{
    static const struct world_file files[] = {
        {"/etc/leveret/leveret.conf", "listeners.tcp.1 = 1111\nlisteners.tcp.2 = 2222\n"}, {NULL, NULL}};
    struct outcome o = world_load(files, (const char *const[]){"RABBITMQ_NODE_PORT=5673", NULL}, NULL, 0);
    assert_int_equal(o.config->tcp_listener_count, 1);
    assert_int_equal(o.config->tcp_listeners[0].port, 5673);
    assert_string_equal(o.config->tcp_listeners[0].host, "");
    outcome_fini(&o);
    o = world_load(files, (const char *const[]){"RABBITMQ_NODE_IP_ADDRESS=::1", NULL}, NULL, 0);
    assert_int_equal(o.config->tcp_listener_count, 1);
    assert_string_equal(o.config->tcp_listeners[0].host, "::1");
    assert_int_equal(o.config->tcp_listeners[0].port, 5672);
    outcome_fini(&o);
    const char *options[] = {"listeners.tcp.more=7777"};
    o = world_load(files, (const char *const[]){"RABBITMQ_NODE_PORT=5673", NULL}, options, 1);
    assert_int_equal(o.config->tcp_listener_count, 2);
    outcome_fini(&o);
    o = world_load(files, (const char *const[]){"RABBITMQ_NODE_PORT=high", NULL}, NULL, 0);
    assert_non_null(strstr(buf_cstr(&o.problems), "RABBITMQ_NODE_PORT: "));
    outcome_fini(&o);
}

static void
test_variables_without_effect_are_told(void **state)
{
    struct outcome o =
        world_load(NULL, (const char *const[]){"RABBITMQ_LOGS=-", "RABBITMQ_HOME=/opt", NULL}, NULL, 0);
    assert_int_equal(o.error, 0);
    assert_non_null(strstr(buf_cstr(&o.warnings), "RABBITMQ_LOGS has no effect"));
    assert_null(strstr(buf_cstr(&o.warnings), "RABBITMQ_HOME"));
    outcome_fini(&o);
}

// ---- Substitution --------------------

static void
test_substitution(void **state)
{
    static const struct world_file files[] = {
        {"/etc/leveret/leveret.conf", "default_pass = $(SECRET)\ndefault_user = a$(NAME)b$( NAME )c\n"
                                      "cluster_name = $(default_vhost)-x\ndefault_vhost = v$(NAME)\n"
                                      "product.name = $(<name.txt)\nproduct.version = $(unclosed\n"},
        {"/etc/leveret/name.txt", "Hare\n"},
        {NULL, NULL},
    };
    static const char *const environment[] = {"SECRET=p#w;d'$(NAME)", "NAME=n", NULL};
    struct outcome o = world_load(files, environment, NULL, 0);
    assert_string_equal(buf_cstr(&o.problems), "");
    // A variable is taken as it is: '#', quotes and $( in it mean nothing.
    assert_string_equal(o.config->default_pass, "p#w;d'$(NAME)");
    assert_string_equal(o.config->default_user, "anbnc");
    assert_string_equal(o.config->cluster_name, "vn-x");
    assert_string_equal(o.config->product_name, "Hare");
    assert_string_equal(o.config->product_version, "$(unclosed");
    outcome_fini(&o);
}

static void
test_substitution_through_other_keys(void **state)
{
    struct outcome o = world_load_text("default_user = $(mqtt.a)\nmqtt.a = $(mqtt.b)\nmqtt.b = $(mqtt.c)\n"
                                       "mqtt.c = $(mqtt.d)\nmqtt.d = $(mqtt.e)\nmqtt.e = deep\n");
    assert_string_equal(buf_cstr(&o.problems), "");
    assert_string_equal(o.config->default_user, "deep");
    outcome_fini(&o);
}

static void
test_bad_substitution(void **state)
{
    assert_problem(
        "default_pass = $(NOT_SET)\n",
        "leveret.conf:1: 'default_pass': $(NOT_SET) is neither a key nor a variable of the environment");
    assert_problem("default_pass = $(<missing)\n", "/etc/leveret/missing cannot be read");
    assert_problem("default_user = $(default_vhost)\ndefault_vhost = $(default_user)\n",
                   "goes round in a circle");
    static const struct world_file files[] = {{"/etc/leveret/leveret.conf", "default_pass = $(EMPTY)\n"},
                                              {NULL, NULL}};
    struct outcome o = world_load(files, (const char *const[]){"EMPTY=", NULL}, NULL, 0);
    assert_non_null(strstr(buf_cstr(&o.problems), "the value of 'default_pass' is empty"));
    outcome_fini(&o);
    o = world_load(files, (const char *const[]){"EMPTY=two\nlines", NULL}, NULL, 0);
    assert_non_null(strstr(buf_cstr(&o.problems), "control character"));
    outcome_fini(&o);
}

// Keys that name each other many times must not explode.
static void
test_substitution_is_bounded(void **state)
{
    struct buf text = BUF_INIT;
    static const char *const keys[] = {"mqtt.a", "mqtt.b", "mqtt.c", "mqtt.d", "mqtt.e", "mqtt.f"};
    for (size_t k = 0; k + 1 < LV_ARRAY_LEN(keys); k++) {
        buf_printf(&text, "%s = ", keys[k]);
        for (int i = 0; i < 500; i++)
            buf_printf(&text, "$(%s)", keys[k + 1]);
        buf_append_str(&text, "\n");
    }
    buf_append_str(&text, "mqtt.f = $(EMPTY)\n");
    struct world_file files[] = {{"/etc/leveret/leveret.conf", buf_cstr(&text)}, {NULL, NULL}};
    struct outcome o = world_load(files, (const char *const[]){"EMPTY=", NULL}, NULL, 0);
    assert_non_null(strstr(buf_cstr(&o.problems), "more than 10000 substitutions"));
    outcome_fini(&o);
    buf_fini(&text);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spaces_and_line_ends),
        cmocka_unit_test(test_comment_characters_in_values),
        cmocka_unit_test(test_quotes),
        cmocka_unit_test(test_malformed_lines),
        cmocka_unit_test(test_all_problems_are_told),
        cmocka_unit_test(test_nearest_key),
        cmocka_unit_test(test_secrets_are_not_told),
        cmocka_unit_test(test_limits_of_size),
        cmocka_unit_test(test_limit_of_files),
        cmocka_unit_test(test_limits_of_lists),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_precedence),
        cmocka_unit_test(test_several_files_and_variables_for_them),
        cmocka_unit_test(test_missing_files),
        cmocka_unit_test(test_erlang_terms_are_not_read),
        cmocka_unit_test(test_include),
        cmocka_unit_test(test_node_name),
        cmocka_unit_test(test_listeners_from_the_environment),
        cmocka_unit_test(test_variables_without_effect_are_told),
        cmocka_unit_test(test_substitution),
        cmocka_unit_test(test_substitution_through_other_keys),
        cmocka_unit_test(test_bad_substitution),
        cmocka_unit_test(test_substitution_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
