// stage_amqp.c: AMQP connections of every worker: their configuration, hand-over from the acceptor, draining.
//
// What connections read of the configuration is a struct amqp_config of its own; a reload makes a new one and frees the old one
// when every worker has taken the new one.
#include <stdatomic.h>
#include <stdio.h>
#include <sys/utsname.h>

#include "amqp/listener.h"
#include "amqp/wire/table.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/stages.h"

// One version of what connections are told, with the configuration its strings belong to.
struct amqp_settings {
    struct amqp_config amqp;
    struct config *config; // a reference
    char mechanisms[64];
    char platform[256];
    char copyright[64];
    char information[96];
    struct slice loopback_users[CONFIG_LIST_MAX];
    struct buf server_properties; // a field table's content
    int users;                    // workers that have not taken its successor yet; main thread
};

static struct amqp_settings *settings; // in force; main thread
static int draining;                   // workers that are not drained yet; main thread

static void
settings_free(struct amqp_settings *s)
{
    config_unref(s->config);
    buf_fini(&s->server_properties);
    mem_free(s);
}

static void
copy_mechanisms(struct amqp_settings *s, const struct config *c)
{
    size_t at = 0;
    for (size_t i = 0; i < c->auth_mechanisms.count; i++) {
        int len = snprintf(s->mechanisms + at, sizeof s->mechanisms - at, "%s%s", at > 0 ? " " : "",
                           c->auth_mechanisms.items[i]);
        if (len > 0 && (size_t)len < sizeof s->mechanisms - at)
            at += (size_t)len;
    }
    s->amqp.mechanisms = slice_of(s->mechanisms, at);
}

// Without memory there are none.
static void
make_server_properties(struct amqp_settings *s, const struct config *c)
{
    struct table_writer w = table_writer_of(&s->server_properties);
    for (size_t i = 0; i < c->server_property_count; i++)
        table_put_str(&w, slice_str(c->server_properties[i].name), c->server_properties[i].value);
    if (!s->server_properties.failed)
        s->amqp.server_properties = buf_slice(&s->server_properties);
}

static struct amqp_settings *
settings_new(struct config *c, int n_workers)
{
    struct amqp_settings *s = mem_xcalloc(1, sizeof(*s));
    struct utsname host = {0};
    s->config = config_ref(c);
    s->users = n_workers;
    (void)uname(&host);
    snprintf(s->platform, sizeof s->platform, "%s %s", host.sysname, host.machine);
    snprintf(s->copyright, sizeof s->copyright, "Copyright (c) 2026 the Leveret authors");
    snprintf(s->information, sizeof s->information, "Leveret %s, an AMQP 0-9-1 broker", LEVERET_VERSION);
    copy_mechanisms(s, c);
    make_server_properties(s, c);
    for (size_t i = 0; i < c->loopback_users.count && i < CONFIG_LIST_MAX; i++)
        s->loopback_users[s->amqp.loopback_user_count++] = slice_str(c->loopback_users.items[i]);
    s->amqp.loopback_users = s->loopback_users;
    s->amqp.heartbeat_s = (uint16_t)LV_MIN(c->heartbeat_s, (uint32_t)UINT16_MAX);
    s->amqp.channel_max = c->channel_max;
    s->amqp.frame_max = c->frame_max_bytes;
    s->amqp.initial_frame_max = c->initial_frame_max_bytes;
    s->amqp.max_message_size = c->max_message_bytes;
    s->amqp.handshake_timeout_ms = c->handshake_timeout_ms;
    s->amqp.max_unauthenticated = c->max_unauthenticated_connections;
    s->amqp.connection_max = c->connection_max;
    s->amqp.channel_max_per_node = c->channel_max_per_node;
    s->amqp.consumer_max_per_channel = c->consumer_max_per_channel;
    s->amqp.cluster_name = slice_str(c->cluster_name);
    s->amqp.copyright = slice_str(s->copyright);
    s->amqp.information = slice_str(s->information);
    s->amqp.platform = slice_str(s->platform);
    s->amqp.product = slice_str(c->product_name);
    s->amqp.version = slice_str(c->product_version);
    s->amqp.leveret_version = slice_str(LEVERET_VERSION);
    s->amqp.node_name = slice_str(c->node_name);
    return s;
}

static uint32_t
load_of(struct worker *w)
{
    return amqp_worker_load(w);
}

static const struct acceptor_sink sink = {.deliver = amqp_accept, .load = load_of};

static int
amqp_start(struct daemon *d, struct buf *problem)
{
    settings = settings_new(d->config, d->crew->n_workers);
    for (int i = 0; i < d->crew->n_workers; i++)
        amqp_worker_init(d->crew->members[i], &settings->amqp);
    d->sink = &sink;
    return 0;
}

// --- reload -------------------------------------------------------------------------------------------------------------------

struct settings_mail {
    struct amqp_settings *fresh, *old;
    struct worker *main;
};

static void
settings_taken(struct worker *w, void *payload)
{
    struct settings_mail *mail = payload;
    if (--mail->old->users == 0)
        settings_free(mail->old);
}

static void
settings_on_worker(struct worker *w, void *payload)
{
    struct settings_mail mail = *(struct settings_mail *)payload;
    amqp_worker_set_config(w, &mail.fresh->amqp);
    worker_post(mail.main, settings_taken, &mail, sizeof mail, 0);
}

static void
amqp_reload(struct daemon *d, const struct config *old)
{
    struct settings_mail mail = {
        .fresh = settings_new(d->config, d->crew->n_workers), .old = settings, .main = d->main};
    settings = mail.fresh;
    stages_post_workers(d->crew, settings_on_worker, &mail, sizeof mail);
}

// --- draining -----------------------------------------------------------------------------------------------------------------

struct drain_mail {
    struct worker *main;
};

static void
drained_on_main(struct worker *w, void *payload)
{
    draining--;
}

static void
worker_drained(void *ctx)
{
    worker_post(ctx, drained_on_main, NULL, 0, 0);
}

static void
drain_on_worker(struct worker *w, void *payload)
{
    struct fault f;
    fault_set(&f, FAULT_CONNECTION_FORCED, "broker forced connection closure with reason 'shutdown'");
    amqp_worker_drain(w, &f, worker_drained, ((struct drain_mail *)payload)->main);
}

static void
amqp_drain(struct daemon *d)
{
    struct drain_mail mail = {.main = d->main};
    draining = d->crew->n_workers;
    stages_post_workers(d->crew, drain_on_worker, &mail, sizeof mail);
}

static bool
amqp_is_drained(struct daemon *d)
{
    return draining == 0;
}

static void
amqp_stop(struct daemon *d)
{
    for (int i = 0; i < d->crew->n_workers; i++)
        amqp_worker_fini(d->crew->members[i]);
    settings_free(settings);
    settings = NULL;
}

const struct daemon_stage stage_amqp = {
    .name = "amqp",
    .start = amqp_start,
    .reload = amqp_reload,
    .drain = amqp_drain,
    .is_drained = amqp_is_drained,
    .stop = amqp_stop,
};
