// stage_management.c: the control socket, and what it may ask of the process: stop, rotate logs, show the configuration.
//
// The HTTP member runs on its own thread: what concerns the process goes by mail to the main thread.
#include <stdio.h>

#include "src/acceptor.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/broker/json.h"
#include "src/management/http_server.h"
#include "src/stages.h"

static struct api_server *server;  // main thread only
static struct config *shown_config; // the configuration at start; a reference
static struct buf listeners_json;

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

static void
rotate_mail(struct worker *w, void *payload)
{
    struct daemon *d = ((struct daemon_mail *)payload)->daemon;
    if (log_configure(&d->config->log) != 0)
        log_error(LOG_DEFAULT, "log file cannot be reopened; logging goes on as before");
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
describe_listeners(const struct config *c)
{
    buf_append_u8(&listeners_json, '[');
    for (size_t i = 0; i < c->tcp_listener_count; i++) {
        const struct config_listener *l = &c->tcp_listeners[i];
        buf_append_u8(&listeners_json, '{');
        json_put_member_string(&listeners_json, "node", slice_str(c->node_name));
        json_put_member_string(&listeners_json, "protocol", SLICE_LIT("amqp"));
        json_put_member_string(&listeners_json, "ip_address", l->host[0] != '\0' ? slice_str(l->host) : SLICE_LIT("::"));
        json_put_member_int(&listeners_json, "port", l->port);
        json_drop_comma(&listeners_json);
        buf_append_str(&listeners_json, "},");
    }
    json_drop_comma(&listeners_json);
    buf_append_u8(&listeners_json, ']');
}

static int
management_start(struct daemon *d, struct buf *problem)
{
    char *error = NULL;
    shown_config = config_ref(d->config);
    describe_listeners(shown_config);
    struct api_node node = {
        .node_name = shown_config->node_name,
        .cluster_name = shown_config->cluster_name,
        .product_version = shown_config->product_version,
        .data_dir = shown_config->data_dir,
        .listeners = buf_cstr(&listeners_json),
        .environment = on_environment,
        .stop = on_stop,
        .rotate_logs = on_rotate_logs,
        .ctx = d,
    };
    int err = http_server_start(d->crew, shown_config->control_socket, &node, &server, &error);
    if (err == 0)
        return 0;
    buf_printf(problem, "%s", error != NULL ? error : err_text(err));
    mem_free(error);
    return err == -LE_ACCESS ? DAEMON_NOPERM : DAEMON_OSERR;
}

static void
management_stop(struct daemon *d)
{
    http_server_stop(server);
    server = NULL;
    buf_fini(&listeners_json);
    config_unref(shown_config);
    shown_config = NULL;
}

const struct daemon_stage stage_management = {.name = "management", .start = management_start, .stop = management_stop};
