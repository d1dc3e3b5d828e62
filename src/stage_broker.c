// stage_broker.c: starts topology (with the metadata store) and the broker's part of every worker and of the HTTP member.
//
// A vhost or user that is deleted closes its connections: the topology writer tells every worker.
#include <stdio.h>

#include "src/base/err.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/broker/auth.h"
#include "src/broker/dead_letter.h"
#include "src/broker/log_exchange.h"
#include "src/broker/session.h"
#include "src/broker/topology.h"
#include "src/broker/vhost_defaults.h"
#include "src/stages.h"

void
stages_post_workers(struct crew *crew, mail_fn fn, const void *payload, size_t len)
{
    for (int i = 0; i < crew->n_workers; i++)
        worker_post(crew->members[i], fn, payload, len, 0);
}

// --- deletions ----------------------------------------------------------------------------------------------------------------

struct close_mail {
    char *name; // heap copy, one for each worker
    size_t len;
    bool is_vhost;
};

static void
close_on_worker(struct worker *w, void *payload)
{
    struct close_mail *mail = payload;
    struct fault f;
    struct slice name = slice_of(mail->name, mail->len);
    if (mail->is_vhost)
        fault_set(&f, FAULT_CONNECTION_FORCED, "vhost '%.*s' is deleted", SLICE_FMT(name));
    else
        fault_set(&f, FAULT_CONNECTION_FORCED, "user '%.*s' is deleted", SLICE_FMT(name));
    broker_close_clients(w, mail->is_vhost ? name : SLICE_EMPTY, mail->is_vhost ? SLICE_EMPTY : name, 0, &f);
    mem_free(mail->name);
}

static void
close_everywhere(struct daemon *d, struct slice name, bool is_vhost)
{
    // The nameless vhost cannot exist, so an empty name would close everything: never sent.
    if (name.len == 0)
        return;
    for (int i = 0; i < d->crew->n_workers; i++) {
        struct close_mail mail = {.name = mem_xslice_dup(name), .len = name.len, .is_vhost = is_vhost};
        worker_post(d->crew->members[i], close_on_worker, &mail, sizeof mail, 0);
    }
}

static void
vhost_deleted(void *ctx, struct slice name)
{
    close_everywhere(ctx, name, true);
}

static void
user_deleted(void *ctx, struct slice name)
{
    close_everywhere(ctx, name, false);
}

// --- the stage ------------------------------------------------------------------------------------------------------------------

static enum queue_placement
placement_of(const struct config *c)
{
    return c->test_placement == PLACEMENT_REMOTE  ? PLACE_REMOTE
           : c->test_placement == PLACEMENT_LOCAL ? PLACE_LOCAL
                                                  : PLACE_BALANCED;
}

static char node_name[512];   // for the workers; never changes
static char event_vhost[256]; // likewise; empty: no events
static char log_vhost[256];   // likewise; empty: the log is not published

static struct password_rule *password_rule; // NULL: all are allowed

const struct password_rule *
stages_password_rule(void)
{
    return password_rule;
}

// 0, or DAEMON_CONFIG with the problem.
static int
password_rule_start(const struct config *c, struct buf *problem)
{
    bool is_regexp = c->credential_validator == CREDENTIALS_REGEXP;
    size_t min_bytes = c->credential_validator == CREDENTIALS_MIN_LENGTH ? c->credential_min_length : 0;
    char *error = NULL;
    if (c->credential_validator == CREDENTIALS_ACCEPT_ALL)
        return 0;
    if (password_rule_new(min_bytes, is_regexp ? slice_str(c->credential_regexp) : SLICE_EMPTY,
                          &password_rule, &error) == 0)
        return 0;
    buf_printf(problem, "credential_validator.regexp: %s", error);
    mem_free(error);
    return DAEMON_CONFIG;
}

static struct vhost_defaults *vhost_defaults; // NULL: none

// 0, or DAEMON_CONFIG with the problem.
static int
vhost_defaults_start(const struct config *c, struct buf *problem)
{
    struct vhost_default items[CONFIG_LIST_MAX];
    size_t bad = 0;
    char *error = NULL;
    for (size_t i = 0; i < c->vhost_limits_count; i++) {
        const struct config_vhost_limits *from = &c->vhost_limits[i];
        items[i] = (struct vhost_default){
            .pattern = slice_str(from->pattern),
            .max_connections = from->max_connections,
            .max_queues = from->max_queues,
            .rate = {from->max_publish_rate, from->max_publish_bytes_rate},
        };
    }
    int err = vhost_defaults_new(items, c->vhost_limits_count, &vhost_defaults, &bad, &error);
    if (err == -LE_INVAL)
        buf_printf(problem, "default_limits.vhosts.%s.pattern: %s", c->vhost_limits[bad].name, error);
    else if (err != 0)
        buf_printf(problem, "%s", err_text(err));
    mem_free(error);
    return err == 0 ? 0 : DAEMON_CONFIG;
}

static void
rules_stop(void)
{
    vhost_defaults_free(vhost_defaults);
    vhost_defaults = NULL;
    password_rule_free(password_rule);
    password_rule = NULL;
}

// Limits of the configuration are 32 bits with CONFIG_UNLIMITED, those of the topology -1 for none.
static struct topology_limits
limits_of(const struct config *c)
{
    return (struct topology_limits){
        .vhosts = c->vhost_max == CONFIG_UNLIMITED ? -1 : (int64_t)c->vhost_max,
        .queues = c->cluster_queue_limit == CONFIG_UNLIMITED ? -1 : (int64_t)c->cluster_queue_limit,
        .exchanges = c->cluster_exchange_limit == CONFIG_UNLIMITED ? -1 : (int64_t)c->cluster_exchange_limit,
    };
}

static int64_t
rate_of(uint32_t limit)
{
    return limit == CONFIG_UNLIMITED ? -1 : (int64_t)limit;
}

static void
rates_of(const struct config *c, struct rate_limit rates[static RATE_SCOPES])
{
    rates[RATE_VHOST] =
        (struct rate_limit){rate_of(c->vhost_max_publish_rate), rate_of(c->vhost_max_publish_bytes_rate)};
    rates[RATE_USER] =
        (struct rate_limit){rate_of(c->user_max_publish_rate), rate_of(c->user_max_publish_bytes_rate)};
    rates[RATE_CONNECTION] = (struct rate_limit){rate_of(c->connection_max_publish_rate),
                                                 rate_of(c->connection_max_publish_bytes_rate)};
}

static void
join_tags(const struct config *c, struct buf *out)
{
    for (size_t i = 0; i < c->default_user_tags.count; i++)
        buf_printf(out, "%s%s", i > 0 ? "," : "", c->default_user_tags.items[i]);
}

static struct topology_default_policy *
default_policies(const struct config *c)
{
    struct topology_default_policy *all = mem_xcalloc(c->default_policy_count + 1, sizeof *all);
    for (size_t i = 0; i < c->default_policy_count; i++) {
        const struct config_default_policy *p = &c->default_policies[i];
        all[i] = (struct topology_default_policy){
            .name = slice_str(p->name),
            .vhost_pattern = slice_str(p->vhost_pattern),
            .queue_pattern = slice_str(p->queue_pattern),
            .definition = slice_str(p->definition),
        };
    }
    return all;
}

static int
topology_stage_start(struct daemon *d, struct buf *problem)
{
    const struct config *c = d->config;
    bool has_definitions = c->load_definitions[0] != '\0'; // they bring vhosts and users
    struct topology_limits limits = limits_of(c);
    struct buf tags = BUF_INIT;
    char *error = NULL;
    join_tags(c, &tags);
    struct topology_default_policy *policies = default_policies(c);
    struct topology_config topology = {
        .data_dir = c->data_dir,
        .default_vhost = has_definitions ? SLICE_EMPTY : slice_str(c->default_vhost),
        .event_vhost = slice_str(event_vhost),
        .log_vhost = slice_str(log_vhost),
        .default_user = has_definitions ? SLICE_EMPTY : slice_str(c->default_user),
        .default_pass = slice_str(c->default_pass),
        .default_user_tags = slice_str(buf_cstr(&tags)),
        .default_user_permission =
            {
                [ACCESS_CONFIGURE] = slice_str(c->default_permission_configure),
                [ACCESS_WRITE] = slice_str(c->default_permission_write),
                [ACCESS_READ] = slice_str(c->default_permission_read),
            },
        .password_rule = password_rule,
        .limits = &limits,
        .vhost_defaults = vhost_defaults,
        .default_policies = policies,
        .default_policy_count = c->default_policy_count,
        .placement = placement_of(c),
        .vhost_deleted = vhost_deleted,
        .user_deleted = user_deleted,
        .ctx = d,
    };
    int err = topology_start(d->crew, &topology, &error);
    buf_fini(&tags);
    mem_free(policies);
    if (err < 0)
        buf_printf(problem, "%s", error != NULL ? error : err_text(err));
    mem_free(error);
    switch (err) {
    case 0: return 0;
    case -LE_INVAL: return DAEMON_CONFIG;
    case -LE_ACCESS: return DAEMON_NOPERM;
    default: return DAEMON_CANTCREAT;
    }
}

static void
members_fini(struct daemon *d)
{
    for (int i = 0; i < d->crew->n_workers; i++)
        broker_worker_fini(d->crew->members[i]);
    broker_worker_fini(crew_extra_member(d->crew, CREW_HTTP));
}

static int
broker_start(struct daemon *d, struct buf *problem)
{
    const struct config *c = d->config;
    bool is_quorum = strstr(c->default_queue_type, "quorum") != NULL; // both names of it
    struct broker_config broker = {
        .default_prefetch = c->default_consumer_prefetch,
        .is_redeclare_relaxed = c->is_redeclare_relaxed,
        .consumer_timeout_ms = c->consumer_timeout_ms == CONFIG_UNLIMITED ? 0 : c->consumer_timeout_ms,
        .default_queue_type = is_quorum ? SLICE_LIT("quorum") : SLICE_EMPTY,
        .durable = stage_store_config(),
        .sample_ms = c->rates_mode == RATES_NONE ? 0 : LV_MAX(c->statistics_interval_ms, UINT32_C(1000)),
        .rate_number = 1,
        .set_timestamp = (enum intercept)c->intercept_timestamp,
        .set_routing_node = (enum intercept)c->intercept_routing_node,
    };
    snprintf(node_name, sizeof node_name, "%s", c->node_name);
    if (c->has_event_exchange)
        snprintf(event_vhost, sizeof event_vhost, "%s",
                 c->event_vhost[0] != '\0' ? c->event_vhost : c->default_vhost);
    broker.event_vhost = slice_str(event_vhost);
    if (c->has_log_exchange)
        snprintf(log_vhost, sizeof log_vhost, "%s", c->default_vhost);
    broker.node_name = slice_str(node_name);
    rates_of(c, broker.rates);
    struct worker *http = crew_extra_member(d->crew, CREW_HTTP);
    int status = password_rule_start(c, problem);
    if (status == 0)
        status = vhost_defaults_start(c, problem);
    if (status != 0) {
        rules_stop();
        return status;
    }
    for (int i = 0; i < d->crew->n_workers; i++)
        broker_worker_init(d->crew->members[i], &broker);
    broker.durable = NULL;
    broker_worker_init(http, &broker);
    status = topology_stage_start(d, problem);
    if (status != 0) {
        members_fini(d);
        rules_stop();
        return status;
    }
    for (int i = 0; i < d->crew->n_workers; i++)
        topology_worker_init(d->crew->members[i]);
    topology_worker_init(http);
    if (c->has_log_exchange)
        log_exchange_start(d->crew->members[0], slice_str(log_vhost), c->log_exchange_level);
    return 0;
}

static void
broker_stop(struct daemon *d)
{
    log_exchange_stop();
    members_fini(d);
    topology_stop(d->crew);
    rules_stop();
}

struct rates_mail {
    struct rate_limit rates[RATE_SCOPES];
};
static_assert(sizeof(struct rates_mail) <= MAIL_PAYLOAD_BYTES, "one mail");

static void
rates_on_worker(struct worker *w, void *payload)
{
    broker_set_rates(w, ((struct rates_mail *)payload)->rates);
}

static void
broker_reload(struct daemon *d, const struct config *old)
{
    struct rates_mail mail;
    rates_of(d->config, mail.rates);
    stages_post_workers(d->crew, rates_on_worker, &mail, sizeof mail);
    struct topology_limits limits = limits_of(d->config);
    topology_set_limits(d->crew, &limits);
}

// --- draining: what is on its way to a dead-letter exchange arrives; what waits for that stays where it is -----------------------

static int draining; // workers that have not heard of it; main thread

struct drain_mail {
    struct worker *main;
};

static void
held_on_main(struct worker *w, void *payload)
{
    draining--;
}

static void
hold_on_worker(struct worker *w, void *payload)
{
    queue_worker_hold_dead(w);
    worker_post(((struct drain_mail *)payload)->main, held_on_main, NULL, 0, 0);
}

static void
broker_drain(struct daemon *d)
{
    struct drain_mail mail = {.main = d->main};
    draining = d->crew->n_workers;
    stages_post_workers(d->crew, hold_on_worker, &mail, sizeof mail);
}

static bool
broker_is_drained(struct daemon *d)
{
    for (int i = 0; draining == 0 && i < d->crew->n_workers; i++)
        if (dead_letters_open(d->crew->members[i]) > 0)
            return false;
    return draining == 0;
}

const struct daemon_stage stage_broker = {
    .name = "broker",
    .start = broker_start,
    .reload = broker_reload,
    .drain = broker_drain,
    .is_drained = broker_is_drained,
    .stop = broker_stop,
};
