// stage_management.c: the HTTP API on the control socket and on its TCP port, and what the former may ask of the process: stop,
// rotate logs, show the configuration.
//
// The HTTP member runs on its own thread: what concerns the process goes by mail to the main thread; a reloaded configuration
// comes by mail from there.
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "queue/durable.h"
#include "src/acceptor.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/broker/json.h"
#include "src/management/http_server.h"
#include "src/stages.h"

static struct api_server *server;   // main thread only
static struct config *start_config; // the configuration at start, whose strings the server shows; a reference
static struct config *shown_config; // the one in force; a reference. HTTP member's while the threads run
static struct buf listeners_json, contexts_json, config_files_json, log_files_json;
static bool has_log_level; // main thread: set_log_level was asked for
static enum log_level log_level;
// Main thread's; partner: the HTTP member's relaxed load, which shows it.
static _Atomic bool is_running;

struct daemon_mail {
    struct daemon *daemon;
};

static void
stop_mail(struct worker *w, void *payload)
{
    log_notice(LOG_DEFAULT, "control socket: asked to stop");
    daemon_request_stop(((struct daemon_mail *)payload)->daemon, DAEMON_OK);
}

static void
on_stop(void *ctx)
{
    struct daemon_mail mail = {.daemon = ctx};
    worker_post(mail.daemon->main, stop_mail, &mail, sizeof mail, 0);
}

// The log as configured, with the level that was asked for since; the file is opened again.
static void
configure_log(struct daemon *d)
{
    struct log_config log = d->config->log;
    if (has_log_level) {
        log.file_level = log.console_level = log_level;
        for (size_t i = 0; i < LV_ARRAY_LEN(log.category_level); i++)
            log.category_level[i] = log_level;
    }
    if (log_configure(&log) != 0)
        log_error(LOG_DEFAULT, "log file cannot be opened; logging goes on as before");
}

static void
rotate_mail(struct worker *w, void *payload)
{
    configure_log(((struct daemon_mail *)payload)->daemon);
}

struct level_mail {
    struct daemon *daemon;
    enum log_level level;
};

static void
level_mail(struct worker *w, void *payload)
{
    const struct level_mail *mail = payload;
    log_notice(LOG_DEFAULT, "control socket: log level is %s from now on", log_level_text(mail->level));
    has_log_level = true;
    log_level = mail->level;
    configure_log(mail->daemon);
}

static void
on_set_log_level(void *ctx, enum log_level level)
{
    struct level_mail mail = {.daemon = ctx, .level = level};
    worker_post(mail.daemon->main, level_mail, &mail, sizeof mail, 0);
}

static void
on_resources(void *ctx, struct api_resources *ret)
{
    const struct config *c = shown_config;
    ret->is_running = atomic_load_explicit(&is_running, memory_order_relaxed);
    ret->has_memory_alarm = (stage_alarms_now() & STAGE_ALARM_MEMORY) != 0;
    ret->has_disk_alarm = (stage_alarms_now() & STAGE_ALARM_DISK) != 0;
    ret->memory_limit_bytes = stage_alarms_watermark_bytes();
    ret->memory_relative = c->memory_watermark_absolute_bytes > 0 ? 0 : c->memory_watermark_relative;
    ret->disk_limit_bytes = stage_alarms_disk_limit_bytes();
}

static void
on_log_stats(void *ctx, struct msglog_stats *ret)
{
    const struct durable_config *store = stage_store_config();
    if (store != NULL)
        msglog_stats(store->log, ret);
}

// The configuration in force: a reload may change the list.
static bool
on_is_loopback_user(void *ctx, const char *user)
{
    const struct config_strings *users = &shown_config->loopback_users;
    for (size_t i = 0; i < users->count; i++) {
        if (strcmp(users->items[i], user) == 0)
            return true;
    }
    return false;
}

static void
on_rotate_logs(void *ctx)
{
    struct daemon_mail mail = {.daemon = ctx};
    worker_post(mail.daemon->main, rotate_mail, &mail, sizeof mail, 0);
}

static void
on_environment(void *ctx, void *out)
{
    for (size_t i = 0; i < shown_config->value_count; i++) {
        const struct config_value *v = &shown_config->values[i];
        json_put_string(out, slice_str(v->key));
        buf_append_str(out, ":{");
        json_put_member_string(out, "value", slice_str(v->value));
        json_put_member_string(out, "source", slice_str(v->source));
        json_put_member_bool(out, "reloadable", v->is_reloadable);
        json_drop_comma(out);
        buf_append_str(out, "},");
    }
}

static void
describe_listener(const struct config *c, const char *protocol, const char *host, uint16_t port)
{
    buf_append_u8(&listeners_json, '{');
    json_put_member_string(&listeners_json, "node", slice_str(c->node_name));
    json_put_member_string(&listeners_json, "protocol", slice_str(protocol));
    json_put_member_string(&listeners_json, "ip_address",
                           host != NULL && host[0] != '\0' ? slice_str(host) : SLICE_LIT("::"));
    json_put_member_int(&listeners_json, "port", port);
    buf_append_str(&listeners_json, "\"socket_opts\":{}},");
}

static void
describe_listeners(const struct config *c)
{
    buf_append_u8(&listeners_json, '[');
    for (size_t i = 0; i < c->tcp_listener_count; i++)
        describe_listener(c, "amqp", c->tcp_listeners[i].host, c->tcp_listeners[i].port);
    if (c->management_port > 0)
        describe_listener(c, "http", c->management_ip, c->management_port);
    if (c->prometheus_port > 0)
        describe_listener(c, "http/prometheus", c->prometheus_ip, c->prometheus_port);
    json_drop_comma(&listeners_json);
    buf_append_u8(&listeners_json, ']');
}

static void
describe_contexts(const struct config *c)
{
    bool has_ip = c->management_ip != NULL && c->management_ip[0] != '\0';
    buf_append_u8(&contexts_json, '[');
    if (c->management_port > 0) {
        buf_append_str(&contexts_json, "{\"ssl_opts\":[],");
        json_put_member_string(&contexts_json, "node", slice_str(c->node_name));
        json_put_member_string(&contexts_json, "description", SLICE_LIT("RabbitMQ Management"));
        json_put_member_string(&contexts_json, "path", SLICE_LIT("/"));
        json_put_member_string(&contexts_json, "ip",
                               has_ip ? slice_str(c->management_ip) : SLICE_LIT("0.0.0.0"));
        buf_printf(&contexts_json, "\"port\":\"%u\"}", c->management_port);
    }
    buf_append_u8(&contexts_json, ']');
}

static void
describe_files(const struct config *c)
{
    buf_append_u8(&config_files_json, '[');
    for (size_t i = 0; i < c->file_count; i++) {
        json_put_string(&config_files_json, slice_str(c->files[i]));
        buf_append_str(&config_files_json, i + 1 < c->file_count ? "," : "");
    }
    buf_append_u8(&config_files_json, ']');
    buf_append_u8(&log_files_json, '[');
    if (c->log.file != NULL)
        json_put_string(&log_files_json, slice_str(c->log.file));
    if (c->log.is_console)
        buf_printf(&log_files_json, "%s\"<%s>\"", c->log.file != NULL ? "," : "",
                   c->log.is_console_stdout ? "stdout" : "stderr");
    buf_append_u8(&log_files_json, ']');
}

static void
forget(void)
{
    buf_fini(&listeners_json);
    buf_fini(&contexts_json);
    buf_fini(&config_files_json);
    buf_fini(&log_files_json);
    config_unref(shown_config);
    config_unref(start_config);
    shown_config = start_config = NULL;
}

static struct http_config
http_config_of(const struct config *c)
{
    return (struct http_config){
        .control_socket = c->control_socket,
        .ip = c->management_ip,
        .port = c->management_port,
        .path_prefix = c->management_path_prefix,
        .body_bytes_max = c->management_body_bytes_max,
        .session_minutes = c->management_session_minutes,
        .is_without_stats = c->management_is_without_stats,
        .has_queue_totals = c->management_has_queue_totals,
        .has_rates = c->rates_mode != RATES_NONE,
        .statistics_interval_ms = c->statistics_interval_ms,
        .metrics_ip = c->prometheus_ip,
        .metrics_port = c->prometheus_port,
        .metrics_path = c->prometheus_path,
        .is_metrics_per_object = c->prometheus_is_per_object,
        .cors_origins = c->management_cors_origins.items,
        .cors_origin_count = c->management_cors_origins.count,
        .cors_max_age_s = c->management_cors_max_age_s,
    };
}

static int
management_start(struct daemon *d, struct buf *problem)
{
    char *error = NULL;
    start_config = config_ref(d->config);
    shown_config = config_ref(d->config);
    describe_listeners(start_config);
    describe_contexts(start_config);
    describe_files(start_config);
    struct api_node node = {
        .node_name = start_config->node_name,
        .cluster_name = start_config->cluster_name,
        .product_name = start_config->product_name,
        .product_version = start_config->product_version,
        .data_dir = start_config->data_dir,
        .listeners = buf_cstr(&listeners_json),
        .contexts = buf_cstr(&contexts_json),
        .config_files = buf_cstr(&config_files_json),
        .log_files = buf_cstr(&log_files_json),
        .environment = on_environment,
        .stop = on_stop,
        .rotate_logs = on_rotate_logs,
        .set_log_level = on_set_log_level,
        .resources = on_resources,
        .log_stats = on_log_stats,
        .is_operator_policy_frozen = d->config->is_operator_policy_frozen,
        .is_loopback_user = on_is_loopback_user,
        .password_rule = stages_password_rule(),
        .ctx = d,
    };
    struct http_config http = http_config_of(start_config);
    int err = http_server_start(d->crew, &http, &node, &server, &error);
    if (err == 0)
        return 0;
    buf_printf(problem, "%s", error != NULL ? error : err_text(err));
    mem_free(error);
    forget();
    return err == -LE_ACCESS ? DAEMON_NOPERM : DAEMON_OSERR;
}

// The main loop's first turn comes when every stage runs: then the node is up.
static void
running_mail(struct worker *w, void *payload)
{
    atomic_store_explicit(&is_running, true, memory_order_relaxed);
}

static int
management_run(struct daemon *d, struct buf *problem)
{
    struct daemon_mail mail = {.daemon = d};
    worker_post(d->main, running_mail, &mail, sizeof mail, 0);
    return 0;
}

static void
management_drain(struct daemon *d)
{
    atomic_store_explicit(&is_running, false, memory_order_relaxed);
}

struct config_mail {
    struct config *config; // a reference that passes
};

static void
config_mail(struct worker *w, void *payload)
{
    config_unref(shown_config);
    shown_config = ((struct config_mail *)payload)->config;
}

static void
management_reload(struct daemon *d, const struct config *old)
{
    struct config_mail mail = {.config = config_ref(d->config)};
    has_log_level = false;
    worker_post(crew_extra_member(d->crew, CREW_HTTP), config_mail, &mail, sizeof mail, 0);
}

struct definitions_queue *
stage_management_definitions(void)
{
    return http_server_definitions(server);
}

static void
management_stop(struct daemon *d)
{
    http_server_stop(server);
    server = NULL;
    forget();
}

const struct daemon_stage stage_management = {
    .name = "management",
    .start = management_start,
    .run = management_run,
    .reload = management_reload,
    .drain = management_drain,
    .stop = management_stop,
};
