// test_config_values.c: values and what follows from them, configurations as people have them, reload.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/unit/main/config_world.h"

// ---- Values --------------------

static void
test_listeners(void **state)
{
    struct outcome o;
    const struct config *c = load_good(&o, "listeners.tcp.a = 127.0.0.1:5672\nlisteners.tcp.b = ::1:5673\n"
                                           "listeners.tcp.c = [::]:5674\nlisteners.tcp.d = 5675\n");
    static const struct {
        const char *name;
        const char *host;
        uint16_t port;
    } want[] = {{"a", "127.0.0.1", 5672}, {"b", "::1", 5673}, {"c", "::", 5674}, {"d", "", 5675}};
    assert_int_equal(c->tcp_listener_count, 4);
    for (size_t i = 0; i < 4; i++) {
        assert_string_equal(c->tcp_listeners[i].name, want[i].name);
        assert_string_equal(c->tcp_listeners[i].host, want[i].host);
        assert_int_equal(c->tcp_listeners[i].port, want[i].port);
    }
    outcome_fini(&o);
    c = load_good(&o, "listeners.tcp.a = 5672\nlisteners.tcp = none\n");
    assert_int_equal(c->tcp_listener_count, 0);
    outcome_fini(&o);
    c = load_good(&o, "");
    assert_int_equal(c->tcp_listener_count, 1);
    assert_int_equal(c->tcp_listeners[0].port, 5672);
    outcome_fini(&o);
    assert_problem("listeners.tcp.a = 5672\nlisteners.tcp.b = 5672\n",
                   "is the same address as listeners.tcp.a");
    assert_problem("listeners.tcp.a = [127.0.0.1]:5672\n", "numeric address");
    assert_problem("listeners.tcp.a = 127.0.0.1:\n", "numeric address");
    assert_problem("listeners.tcp.a = 127.0.0.1:70000\n", "numeric address");
}

static void
test_default_policies(void **state)
{
    struct outcome o;
    const struct config *c = load_good(
        &o, "default_policies.operator.a.vhost_pattern = ^v\ndefault_policies.operator.b.max_length = 5\n"
            "default_policies.operator.a.message_ttl = 1m30s\ndefault_policies.operator.a.max_length_bytes = "
            "1KB\n"
            "default_policies.operator.b.queue_pattern = ^q\\.\n"
            "default_policies.operator.b.classic_queues.ha_mode = nodes\n"
            "default_policies.operator.b.classic_queues.ha_params = rabbit@a , rabbit@b\n"
            "default_policies.operator.c.classic_queues.ha_params = 12\n"
            "management.restrictions.operator_policy_changes.disabled = true\n");
    static const struct config_default_policy want[] = {
        {"a", "^v", ".*", "{\"message-ttl\":90000,\"max-length-bytes\":1024}"},
        {"b", ".*", "^q\\.",
         "{\"max-length\":5,\"ha-mode\":\"nodes\",\"ha-params\":[\"rabbit@a\",\"rabbit@b\"]}"},
        {"c", ".*", ".*", "{\"ha-params\":12}"},
    };
    assert_int_equal(c->default_policy_count, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_string_equal(c->default_policies[i].name, want[i].name);
        assert_string_equal(c->default_policies[i].vhost_pattern, want[i].vhost_pattern);
        assert_string_equal(c->default_policies[i].queue_pattern, want[i].queue_pattern);
        assert_string_equal(c->default_policies[i].definition, want[i].definition);
    }
    assert_true(c->is_operator_policy_frozen);
    outcome_fini(&o);
    assert_problem("default_policies.operator.a.max_length = 0\n", "integer");
    assert_problem("default_policies.operator.a.classic_queues.ha_mode = some\n", "all");
    assert_problem("default_policies.operator.a.classic_queues.ha_params = a\"b\n",
                   "names of nodes have no quotes");
    assert_problem("default_policies.operator.a.queue_mode = lazy\n",
                   "no such key of an operator policy is known");
    struct buf many = BUF_INIT;
    for (int i = 0; i <= CONFIG_LIST_MAX; i++)
        buf_printf(&many, "default_policies.operator.p%d.max_length = 5\n", i);
    assert_problem(buf_cstr(&many), "more than 64 default operator policies");
    buf_fini(&many);
}

static void
test_none_is_weaker_than_an_option(void **state)
{
    static const struct world_file files[] = {{"/etc/leveret/leveret.conf", "listeners.tcp = none\n"},
                                              {NULL, NULL}};
    const char *options[] = {"listeners.tcp.mine=5999"};
    struct outcome o = world_load(files, NULL, options, 1);
    assert_int_equal(o.config->tcp_listener_count, 1);
    assert_int_equal(o.config->tcp_listeners[0].port, 5999);
    outcome_fini(&o);
}

static void
test_sizes(void **state)
{
    static const struct {
        const char *text;
        uint64_t bytes;
    } sizes[] = {{"1000", 1000},        {"1kB", 1000},
                 {"1KB", 1000},         {"2MB", 2000000},
                 {"1GB", 1000000000},   {"1k", 1024},
                 {"512MiB", 536870912}, {"1GiB", 1073741824},
                 {"1G", 1073741824},    {"1TiB", UINT64_C(1099511627776)}};
    char line[128];
    struct outcome o;
    for (size_t i = 0; i < LV_ARRAY_LEN(sizes); i++) {
        snprintf(line, sizeof line, "vm_memory_high_watermark.absolute = %s\n", sizes[i].text);
        assert_int_equal(load_good(&o, line)->memory_watermark_absolute_bytes, sizes[i].bytes);
        outcome_fini(&o);
    }
    // In the other convention KB is 1024.
    assert_int_equal(load_good(&o, "frame_max = 64KB\n")->frame_max_bytes, 65536);
    outcome_fini(&o);
    assert_problem("vm_memory_high_watermark.absolute = 1 GB\n", "is not a size");
    assert_problem("vm_memory_high_watermark.absolute = 99999999999GB\n", "is not a size");
    assert_problem("vm_memory_high_watermark.absolute = 99999999999999999999999\n", "is not a size");
    assert_problem("frame_max = 64KiB\n", "is not a size");
}

static void
test_durations(void **state)
{
    static const struct {
        const char *text;
        uint32_t ms;
    } durations[] = {{"1500", 1500}, {"10s", 10000}, {"1m30s", 90000}, {"250ms", 250}, {"1h", 3600000}};
    char line[128];
    struct outcome o;
    for (size_t i = 0; i < LV_ARRAY_LEN(durations); i++) {
        snprintf(line, sizeof line, "shutdown_timeout = %s\n", durations[i].text);
        assert_int_equal(load_good(&o, line)->shutdown_timeout_ms, durations[i].ms);
        outcome_fini(&o);
    }
    assert_problem("shutdown_timeout = s\n", "is not milliseconds, or a duration");
    assert_problem("shutdown_timeout = 1s5\n", "is not milliseconds, or a duration");
    assert_problem("shutdown_timeout = 2h\n", "from 0 to 3600000");
}

static void
test_watermarks(void **state)
{
    struct outcome o;
    const struct config *c =
        load_good(&o, "vm_memory_high_watermark.relative = 0.6\nvm_memory_high_watermark.absolute = 1GB\n"
                      "disk_free_limit.relative = 2.0\ndisk_free_limit.absolute = 1GB\n");
    assert_int_equal(c->memory_watermark_absolute_bytes, 0); // as in RabbitMQ the relative one wins
    assert_true(c->memory_watermark_relative > 0.59 && c->memory_watermark_relative < 0.61);
    assert_true(c->disk_free_relative > 1.99);
    outcome_fini(&o);
    static const struct world_file files[] = {
        {"/etc/leveret/leveret.conf",
         "vm_memory_high_watermark.relative = 0.6\ndisk_free_limit.relative = 2.0\n"},
        {NULL, NULL}};
    const char *options[] = {"vm_memory_high_watermark.absolute=1GB", "disk_free_limit.absolute=1GB"};
    o = world_load(files, NULL, options, 2);
    assert_int_equal(o.config->memory_watermark_absolute_bytes, 1000000000);
    assert_true(o.config->disk_free_relative == 0);
    outcome_fini(&o);
    c = load_good(&o, "");
    assert_int_equal(c->disk_free_absolute_bytes, 50000000);
    outcome_fini(&o);
}

static void
test_loopback_users(void **state)
{
    struct outcome o;
    const struct config *c = load_good(&o, "");
    assert_int_equal(c->loopback_users.count, 1);
    assert_string_equal(c->loopback_users.items[0], "guest");
    outcome_fini(&o);
    assert_int_equal(load_good(&o, "loopback_users.guest = false\n")->loopback_users.count, 0);
    outcome_fini(&o);
    assert_int_equal(load_good(&o, "loopback_users = none\n")->loopback_users.count, 0);
    outcome_fini(&o);
    // Naming another one does not open the door for guest.
    c = load_good(&o, "loopback_users.guest2 = true\nloopback_users.dotted\\.name = true\n");
    assert_int_equal(c->loopback_users.count, 3);
    assert_string_equal(c->loopback_users.items[0], "dotted.name");
    outcome_fini(&o);
}

static void
test_mechanisms_and_tags(void **state)
{
    struct outcome o;
    const struct config *c = load_good(&o, "");
    assert_int_equal(c->auth_mechanisms.count, 2);
    assert_string_equal(c->auth_mechanisms.items[0], "PLAIN");
    assert_int_equal(c->default_user_tags.count, 1);
    outcome_fini(&o);
    c = load_good(&o, "auth_mechanisms.10 = PLAIN\nauth_mechanisms.9 = AMQPLAIN\nauth_mechanisms.11 = PLAIN\n"
                      "default_user_tags.monitoring = on\ndefault_user_tags.administrator = false\n");
    assert_int_equal(c->auth_mechanisms.count, 2);
    assert_string_equal(c->auth_mechanisms.items[0], "AMQPLAIN");
    assert_int_equal(c->default_user_tags.count, 1);
    assert_string_equal(c->default_user_tags.items[0], "monitoring");
    outcome_fini(&o);
}

static void
test_frame_max(void **state)
{
    struct outcome o;
    assert_int_equal(load_good(&o, "frame_max = 0\n")->frame_max_bytes, CONFIG_FRAME_BYTES_MAX);
    assert_non_null(strstr(buf_cstr(&o.warnings), "taken as 16777216"));
    outcome_fini(&o);
    assert_problem("frame_max = 4095\n", "does not allow less than 4096");
}

static void
test_log_settings(void **state)
{
    struct outcome o;
    const struct config *c = load_good(&o, "");
    assert_true(c->log.is_console);
    assert_null(c->log.file);
    assert_false(c->log.is_json);
    assert_int_equal(c->log.category_level[LOG_QUEUE], LOG_INFO);
    outcome_fini(&o);
    c = load_good(&o, "log.dir = /var/log/x\nlog.file.level = debug\nlog.connection.level = error\n");
    assert_false(c->log.is_console);
    assert_string_equal(c->log.file, "/var/log/x/rabbit@hare.log");
    assert_int_equal(c->log.file_level, LOG_DEBUG);
    assert_int_equal(c->log.category_level[LOG_CONNECTION], LOG_ERROR);
    assert_int_equal(c->log.category_level[LOG_QUEUE], LOG_DEBUG);
    outcome_fini(&o);
    c = load_good(
        &o,
        "log.file = x.log\nlog.console = true\nlog.console.formatter = json\nlog.console.stdio = stdout\n");
    assert_true(c->log.is_console && c->log.is_json && c->log.is_console_stdout);
    assert_string_equal(c->log.file, "/var/log/leveret/x.log");
    outcome_fini(&o);
    c = load_good(&o, "log.file = false\nlog.dir = /var/log/x\n");
    assert_null(c->log.file);
    assert_true(c->log.is_console);
    outcome_fini(&o);
    assert_problem(
        "log.file = x\nlog.console = on\nlog.file.formatter = json\nlog.console.formatter = plaintext\n",
        "must be the same");
}

static void
test_values_that_need_others(void **state)
{
    assert_problem("credential_validator.validation_backend = rabbit_credential_validator_password_regexp\n",
                   "needs credential_validator.regexp");
    assert_problem("control_socket = /0123456789012345678901234567890123456789012345678901234567890123456789"
                   "0123456789012345678901234567890123456789\n",
                   "Unix socket");
    struct outcome o;
    const struct config *c = load_good(&o, "data_dir = /srv/leveret\n");
    assert_string_equal(c->control_socket, "/srv/leveret/control.sock");
    assert_true(c->workers >= 1);
    outcome_fini(&o);
    c = load_good(&o, "cluster_formation.classic_config.nodes.1 = rabbit@hare\n");
    assert_string_equal(c->node_name, "rabbit@hare");
    outcome_fini(&o);
}

static void
test_options(void **state)
{
    const char *bad[] = {"heartbeat", "heartbeat=x", "nonsense=1"};
    struct outcome o = world_load(NULL, NULL, bad, 3);
    const char *problems = buf_cstr(&o.problems);
    assert_int_not_equal(o.error, 0);
    assert_non_null(strstr(problems, "-o heartbeat: expected KEY=VALUE"));
    assert_non_null(strstr(problems, "-o: 'heartbeat': 'x' is not an integer"));
    assert_non_null(strstr(problems, "-o: unknown key 'nonsense'"));
    outcome_fini(&o);
}

// ---- Configurations as people have them --------------------

static const char docker_compose[] = "loopback_users.guest = false\n"
                                     "listeners.tcp.default = 5672\n"
                                     "management.tcp.port = 15672\n"
                                     "default_user = shop\n"
                                     "default_pass = $(SHOP_PASSWORD)\n"
                                     "default_vhost = shop\n"
                                     "vm_memory_high_watermark.absolute = 1536MB\n"
                                     "disk_free_limit.absolute = 2GB\n"
                                     "log.console = true\n"
                                     "log.console.level = warning\n"
                                     "log.file = false\n"
                                     "consumer_timeout = 7200000\n";

static void
test_sample_container(void **state)
{
    struct world_file files[] = {{"/etc/leveret/leveret.conf", docker_compose}, {NULL, NULL}};
    struct outcome o = world_load(files, (const char *const[]){"SHOP_PASSWORD=s3cret#1", NULL}, NULL, 0);
    assert_string_equal(buf_cstr(&o.problems), "");
    assert_string_equal(o.config->default_pass, "s3cret#1");
    assert_int_equal(o.config->loopback_users.count, 0);
    assert_int_equal(o.config->memory_watermark_absolute_bytes, 1536000000);
    assert_int_equal(o.config->log.console_level, LOG_WARNING);
    assert_int_equal(o.config->consumer_timeout_ms, 7200000);
    outcome_fini(&o);
}

static const char tuned_server[] = "# tuned for many connections\n"
                                   "listeners.tcp.1 = 10.1.2.3:5672\n"
                                   "listeners.tcp.2 = ::1:5672\n"
                                   "num_acceptors.tcp = 50\n"
                                   "handshake_timeout = 20000\n"
                                   "reverse_dns_lookups = false\n"
                                   "tcp_listen_options.backlog = 4096\n"
                                   "tcp_listen_options.nodelay = true\n"
                                   "tcp_listen_options.linger.on = true\n"
                                   "tcp_listen_options.linger.timeout = 0\n"
                                   "tcp_listen_options.sndbuf = 32768\n"
                                   "tcp_listen_options.recbuf = 32768\n"
                                   "tcp_listen_options.exit_on_close = false\n"
                                   "auth_backends.1 = internal\n"
                                   "auth_mechanisms.1 = PLAIN\n"
                                   "auth_mechanisms.2 = AMQPLAIN\n"
                                   "password_hashing_module = rabbit_password_hashing_sha256\n"
                                   "heartbeat = 30\n"
                                   "channel_max = 256\n"
                                   "connection_max = 20000\n"
                                   "vm_memory_high_watermark.relative = 0.6\n"
                                   "vm_memory_high_watermark_paging_ratio = 0.75\n"
                                   "vm_memory_calculation_strategy = rss\n"
                                   "disk_free_limit.relative = 1.5\n"
                                   "cluster_partition_handling = pause_minority\n"
                                   "mirroring_sync_batch_size = 4096\n"
                                   "queue_master_locator = min-masters\n"
                                   "queue_index_embed_msgs_below = 4kb\n"
                                   "collect_statistics_interval = 30000\n"
                                   "log.dir = /var/log/rabbitmq\n"
                                   "log.file = rabbit.log\n"
                                   "log.file.level = info\n"
                                   "log.file.rotation.date = $D0\n"
                                   "log.file.rotation.size = 0\n"
                                   "log.connection.level = error\n"
                                   "management.rates_mode = basic\n"
                                   "management.tcp.ip = 127.0.0.1\n"
                                   "management.sample_retention_policies.global.minute = 5\n"
                                   "stomp.listeners.tcp.1 = 61613\n"
                                   "mqtt.allow_anonymous = false\n"
                                   "prometheus.return_per_object_metrics = false\n";

static void
test_sample_tuned_server(void **state)
{
    struct outcome o;
    const struct config *c = load_good(&o, tuned_server);
    assert_int_equal(c->tcp_listener_count, 2);
    assert_int_equal(c->tcp.backlog, 4096);
    assert_int_equal(c->tcp.sndbuf_bytes, 32768);
    assert_int_equal(c->connection_max, 20000);
    assert_int_equal(c->statistics_interval_ms, 30000);
    assert_string_equal(c->log.file, "/var/log/rabbitmq/rabbit.log");
    // What has no effect is told, each with its line; what is carried out is not.
    const char *warnings = buf_cstr(&o.warnings);
    assert_non_null(strstr(warnings, "leveret.conf:4: 'num_acceptors.tcp' has no effect: one acceptor"));
    assert_non_null(strstr(warnings, "'cluster_partition_handling' has no effect"));
    assert_non_null(strstr(warnings, "'stomp.listeners.tcp.1' has no effect"));
    assert_null(strstr(warnings, "'heartbeat'"));
    assert_null(strstr(warnings, "'auth_backends.1'"));
    outcome_fini(&o);
}

// What would weaken security or durability is refused, all of it at once.
static void
test_sample_tls_ldap_cluster(void **state)
{
    struct outcome o =
        world_load_text("listeners.tcp = none\n"
                        "listeners.ssl.default = 5671\n"
                        "ssl_options.cacertfile = /etc/ssl/ca.pem\n"
                        "ssl_options.verify = verify_peer\n"
                        "auth_backends.1 = ldap\n"
                        "auth_ldap.servers.1 = ldap.example.org\n"
                        "auth_mechanisms.1 = EXTERNAL\n"
                        "cluster_formation.peer_discovery_backend = rabbit_peer_discovery_k8s\n"
                        "cluster_formation.k8s.host = kubernetes.default.svc.cluster.local\n"
                        "default_queue_type = stream\n"
                        "proxy_protocol = true\n"
                        "definitions.https.url = https://example.org/definitions.json\n");
    const char *problems = buf_cstr(&o.problems);
    assert_int_not_equal(o.error, 0);
    static const char *const want[] = {
        ":2: 'listeners.ssl.default' cannot be accepted: TLS is not available in this version",
        ":3: 'ssl_options.cacertfile' cannot be accepted",
        ":5: 'auth_backends.1' cannot be accepted: only the internal authentication back-end",
        ":7: 'auth_mechanisms.1' cannot be accepted",
        ":8: 'cluster_formation.peer_discovery_backend' cannot be accepted",
        ":10: 'default_queue_type'",
        ":11: 'proxy_protocol' cannot be accepted",
        ":12: 'definitions.https.url' cannot be accepted",
    };
    for (size_t i = 0; i < LV_ARRAY_LEN(want); i++) {
        if (strstr(problems, want[i]) == NULL)
            fail_msg("'%s' is missing in: %s", want[i], problems);
    }
    assert_null(strstr(problems, "auth_ldap"));
    assert_null(strstr(problems, "k8s.host"));
    outcome_fini(&o);
}

// ---- Reload --------------------

static struct config *
reload(const struct config *running, const char *text, struct buf *problems, struct buf *changes)
{
    const struct world_file files[] = {{"/etc/leveret/leveret.conf", text}, {NULL, NULL}};
    const char *const main_file[] = {"/etc/leveret/leveret.conf"};
    struct world w = {files};
    struct config_fs fs = {.read = world_read, .list = world_list, .ctx = &w};
    struct config_input input = {.files = main_file, .file_count = 1, .hostname = "renamed", .fs = &fs};
    struct config *c = NULL;
    int error = config_reload(running, &input, &c, problems, changes);
    assert_int_equal(error != 0, c == NULL);
    buf_cstr(problems);
    buf_cstr(changes);
    return c;
}

static void
test_reload_takes_over_what_it_can(void **state)
{
    struct outcome o;
    struct buf problems = BUF_INIT;
    struct buf changes = BUF_INIT;
    struct config *c =
        load_good(&o, "heartbeat = 60\nworkers = 2\nlisteners.tcp.a = 1111\ndefault_pass = old\n"
                      "connection_max = 5\nlisteners.tcp.gone = 2222\n");
    struct config *next =
        reload(c,
               "heartbeat = 30\nworkers = 3\nlisteners.tcp.a = 1112\ndefault_pass = hunter2\n"
               "loopback_users.guest = false\nnum_acceptors.tcp = 3\n",
               &problems, &changes);
    outcome_fini(&o); // the new one does not need the old one
    assert_non_null(next);
    assert_int_equal(next->heartbeat_s, 30);
    assert_int_equal(next->workers, 2);
    assert_int_equal(next->tcp_listener_count, 2);
    assert_int_equal(next->tcp_listeners[0].port, 1111);
    assert_string_equal(next->default_pass, "old");
    assert_string_equal(next->node_name, "rabbit@hare");
    assert_int_equal(next->connection_max, CONFIG_UNLIMITED);
    assert_int_equal(next->loopback_users.count, 0);
    assert_string_equal(buf_cstr(&changes),
                        "'heartbeat': 60 -> 30\n"
                        "'workers': 2 -> 3, which needs a restart\n"
                        "'listeners.tcp.a': 1111 -> 1112, which needs a restart\n"
                        "'default_pass': [redacted] -> [redacted], which needs a restart\n"
                        "'loopback_users.guest': true -> false\n"
                        "'connection_max': 5 -> default\n"
                        "'listeners.tcp.gone': 2222 -> default, which needs a restart\n");
    // The same again: nothing to do, but what still needs a restart is told again.
    struct buf second_changes = BUF_INIT;
    struct config *second =
        reload(next, "heartbeat = 30\nloopback_users.guest = false\n", &problems, &second_changes);
    assert_int_equal(second->tcp_listener_count, 2);
    assert_null(strstr(buf_cstr(&second_changes), "heartbeat"));
    assert_non_null(strstr(buf_cstr(&second_changes), "'workers': 2 -> default, which needs a restart"));
    config_unref(next);
    config_unref(second);
    buf_fini(&problems);
    buf_fini(&changes);
    buf_fini(&second_changes);
}

static void
test_reload_of_a_bad_file(void **state)
{
    struct outcome o;
    struct buf problems = BUF_INIT;
    struct buf changes = BUF_INIT;
    struct config *c = load_good(&o, "heartbeat = 60\n");
    assert_null(reload(c, "heartbeat = 1\nheartbeet = 30\n", &problems, &changes));
    assert_non_null(strstr(buf_cstr(&problems), "leveret.conf:2: unknown key 'heartbeet'"));
    assert_int_equal(c->heartbeat_s, 60);
    outcome_fini(&o);
    buf_fini(&problems);
    buf_fini(&changes);
}

static void
test_references(void **state)
{
    struct outcome o;
    struct config *c = load_good(&o, "heartbeat = 9\n");
    struct config *second = config_ref(c);
    config_unref(c);
    assert_int_equal(second->heartbeat_s, 9);
    assert_null(config_find(second, "no.such.key"));
    assert_string_equal(config_find(second, "heartbeat")->value, "9");
    outcome_fini(&o);
    config_unref(NULL);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_listeners),
        cmocka_unit_test(test_default_policies),
        cmocka_unit_test(test_none_is_weaker_than_an_option),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_durations),
        cmocka_unit_test(test_watermarks),
        cmocka_unit_test(test_loopback_users),
        cmocka_unit_test(test_mechanisms_and_tags),
        cmocka_unit_test(test_frame_max),
        cmocka_unit_test(test_log_settings),
        cmocka_unit_test(test_values_that_need_others),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_sample_container),
        cmocka_unit_test(test_sample_tuned_server),
        cmocka_unit_test(test_sample_tls_ldap_cluster),
        cmocka_unit_test(test_reload_takes_over_what_it_can),
        cmocka_unit_test(test_reload_of_a_bad_file),
        cmocka_unit_test(test_references),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
