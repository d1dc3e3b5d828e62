// leveretctl_cluster.c: what rabbitmqctl and rabbitmq-queues ask of clusters and of queues with replicas, answered for what there is: a
// cluster of one node, whose queues have one member each. Nothing here pretends: what would need a second node is refused.
#include <inttypes.h>
#include <stdlib.h>

#include "src/base/mem.h"
#include "src/cli/leveretctl.h"

// --- nodes ----------------------------------------------------------------------------------------------------------------------

static int
check_count(struct ctl *c)
{
    const char *text = ctl_arg(c, 0);
    size_t digits = strspn(text, "0123456789");
    bool is_good = digits > 0 && digits <= 9 && text[digits] == '\0' && strtol(text, NULL, 10) > 0;
    return is_good ? 0 : ctl_bad_argument(c, "Argument count must be a positive integer");
}

// A second node will not come however long one waits: that is said at once.
static int
run_await_online_nodes(struct ctl *c)
{
    int64_t timeout_s = c->options.timeout_s >= 0 ? c->options.timeout_s : 300;
    ctl_banner(c, "Will wait for at least %s nodes to join the cluster of %s. Timeout: %" PRId64 " seconds.",
               ctl_arg(c, 0), ctl_node(c), timeout_s);
    if (c->options.is_dry_run)
        return CTL_OK;
    int status = ctl_overview(c);
    if (status != 0)
        return status;
    if (strtol(ctl_arg(c, 0), NULL, 10) > 1)
        return ctl_fail(c, CTL_SOFTWARE,
                        "Error: timed out while waiting. Not enough nodes joined %s's cluster.", ctl_node(c));
    return ctl_done(c);
}

static int
run_forget_cluster_node(struct ctl *c)
{
    const char *node = ctl_arg(c, 0);
    ctl_banner(c, "Removing node %s from the cluster", node);
    if (c->options.is_dry_run)
        return CTL_OK;
    int status = ctl_overview(c);
    if (status != 0)
        return status;
    if (strcmp(node, ctl_node(c)) == 0)
        return ctl_fail(
            c, CTL_UNAVAILABLE,
            "RabbitMQ on node %s must be stopped with 'rabbitmqctl -n %s stop_app' before it can be removed",
            node, node);
    return ctl_fail(c, CTL_UNAVAILABLE, "{:not_a_cluster_node, 'The node selected is not in the cluster.'}");
}

// rabbitmqctl's succeeds when the application runs already.
static int
run_start_app(struct ctl *c)
{
    ctl_banner(c, "Starting node %s ...", ctl_node(c));
    if (c->options.is_dry_run)
        return CTL_OK;
    int status = ctl_overview(c);
    return status != 0 ? status : ctl_done(c);
}

static int
run_discover_peers(struct ctl *c)
{
    ctl_banner(c, "Discovering peers nodes ...");
    if (c->options.is_dry_run)
        return CTL_OK;
    int status = ctl_overview(c);
    return status != 0 ? status : ctl_say(c, NULL, "No peers discovered");
}

static int
run_restart_vhost(struct ctl *c)
{
    const char *vhost = ctl_vhost(c);
    ctl_banner(c, "Trying to restart vhost '%s' on node '%s' ...", vhost, ctl_node(c));
    if (c->options.is_dry_run)
        return CTL_OK;
    int status = ctl_call(c, "POST", NULL, "vhosts", vhost, "start", ctl_node(c), NULL);
    if (status != 0 || c->answer.status >= 300)
        return status == 0 && c->answer.status == 404 ? ctl_fail_no_such_vhost(c, vhost)
                                                      : ctl_finish(c, status);
    return ctl_say(c, NULL, "Vhost '%s' is already running on node '%s'", vhost, ctl_node(c));
}

// --- queues ---------------------------------------------------------------------------------------------------------------------

// The queue in c->answer; "not_found" is told otherwise.
static int
get_queue(struct ctl *c, const char *queue)
{
    int status = ctl_call(c, "GET", NULL, "queues", ctl_vhost(c), queue, NULL);
    if (status == 0 && c->answer.status == 404)
        return ctl_fail(c, CTL_UNAVAILABLE, "not_found");
    return status != 0 || c->answer.status == 200 ? status : ctl_refused(c);
}

static int
run_sync_queue(struct ctl *c)
{
    ctl_banner(c, "Synchronising queue '%s' in vhost '%s' ...", ctl_arg(c, 0), ctl_vhost(c));
    if (c->options.is_dry_run)
        return CTL_OK;
    int status = get_queue(c, ctl_arg(c, 0));
    return status != 0 ? status : ctl_fail(c, CTL_UNAVAILABLE, "not_mirrored");
}

static const struct ctl_heading unresponsive[] = {{"name", KIND_TEXT}};

// A queue has no process of its own that could hang: that the broker answers says it of all.
static int
run_list_unresponsive_queues(struct ctl *c)
{
    ctl_banner(c, "Listing unresponsive queues for vhost %s ...", ctl_vhost(c));
    if (c->options.is_dry_run)
        return CTL_OK;
    int status = ctl_overview(c);
    if (status != 0)
        return status;
    json_t *rows = json_array();
    struct ctl_table table = {
        .headings = unresponsive, .column_count = 1, .rows = rows, .has_headings = true, .is_streamed = true};
    ctl_print_table(c, &table);
    json_decref(rows);
    return CTL_OK;
}

// --- replicas -------------------------------------------------------------------------------------------------------------------

static int
say_single(struct ctl *c, const char *check)
{
    ctl_banner(c, "Checking if node %s is critical for %s ...", ctl_node(c), check);
    if (c->options.is_dry_run)
        return CTL_OK;
    int status = ctl_overview(c);
    return status != 0
               ? status
               : ctl_say(
                     c, NULL,
                     "Node %s seems to be the only one in a single node cluster, the check does not apply",
                     ctl_node(c));
}

static int
run_quorum_critical(struct ctl *c)
{
    return say_single(c, "quorum of any quorum queues");
}

static int
run_mirror_critical(struct ctl *c)
{
    return say_single(c, "data safety of any classic mirrored queues");
}

static const struct ctl_heading quorum_headings[] = {
    {"Node Name", KIND_ATOM},        {"Raft State", KIND_ATOM},       {"Log Index", KIND_NUMBER},
    {"Commit Index", KIND_NUMBER},   {"Snapshot Index", KIND_NUMBER}, {"Term", KIND_NUMBER},
    {"Machine Version", KIND_NUMBER}};

// One member, which leads; there are no log indexes to show.
static int
run_quorum_status(struct ctl *c)
{
    ctl_banner(c, "Status of quorum queue %s on node %s ...", ctl_arg(c, 0), ctl_node(c));
    if (c->options.is_dry_run)
        return CTL_OK;
    int status = get_queue(c, ctl_arg(c, 0));
    if (status != 0)
        return status;
    const char *type = json_string_value(json_object_get(c->answer.json, "type"));
    if (type == NULL || strcmp(type, "quorum") != 0)
        return ctl_fail(c, CTL_UNAVAILABLE, "Cannot get quorum status of a classic queue");
    json_t *rows = json_pack("[[s, s, n, n, n, n, n]]", ctl_node(c), "leader");
    struct ctl_table table = {.headings = quorum_headings,
                              .column_count = LV_ARRAY_LEN(quorum_headings),
                              .rows = rows,
                              .has_headings = true};
    ctl_print_table(c, &table);
    json_decref(rows);
    return CTL_OK;
}

static const struct ctl_heading balance_headings[] = {{"Node name", KIND_ATOM},
                                                      {"Number of quorum queues", KIND_NUMBER},
                                                      {"Number of replicated classic queues", KIND_NUMBER}};

static int
check_rebalance(struct ctl *c)
{
    const char *type = ctl_arg(c, 0);
    if (strcmp(type, "all") == 0 || strcmp(type, "classic") == 0 || strcmp(type, "quorum") == 0)
        return 0;
    return ctl_bad_argument(c, "type '%s' is none of all, classic, quorum", type);
}

// All leaders are where they can be.
static int
run_rebalance(struct ctl *c)
{
    bool is_all = strcmp(ctl_arg(c, 0), "all") == 0;
    ctl_banner(c, is_all ? "Re-balancing leaders of all queues..." : "Re-balancing leaders of %s queues...",
               ctl_arg(c, 0));
    if (c->options.is_dry_run)
        return CTL_OK;
    int status = ctl_call(c, "POST", NULL, "rebalance", "queues", NULL);
    if (status != 0 || c->answer.status >= 300)
        return ctl_finish(c, status);
    status = ctl_get(c, "queues", NULL);
    if (status != 0)
        return status;
    json_int_t quorum = 0;
    for (size_t i = 0; i < json_array_size(c->answer.json); i++) {
        const char *type = json_string_value(json_object_get(json_array_get(c->answer.json, i), "type"));
        quorum += type != NULL && strcmp(type, "quorum") == 0;
    }
    json_t *rows = quorum > 0 ? json_pack("[[s, I, i]]", ctl_node(c), quorum, 0) : json_array();
    struct ctl_table table = {
        .headings = balance_headings, .column_count = 3, .rows = rows, .has_headings = true};
    ctl_print_table(c, &table);
    json_decref(rows);
    return CTL_OK;
}

// add_member, delete_member: the node must be this one, which is a member already and the only one.
static int
change_member(struct ctl *c, bool is_added)
{
    const char *queue = ctl_arg(c, 0), *node = ctl_arg(c, 1);
    ctl_banner(c,
               is_added ? "Adding a replica for queue %s on node %s..."
                        : "Removing a replica of queue %s on node %s...",
               queue, node);
    if (c->options.is_dry_run)
        return CTL_OK;
    int status = get_queue(c, queue);
    if (status != 0)
        return status;
    const char *type = json_string_value(json_object_get(c->answer.json, "type"));
    if (type == NULL || strcmp(type, "quorum") != 0)
        return ctl_fail(c, CTL_UNAVAILABLE,
                        is_added ? "Cannot add members to a classic queue"
                                 : "Cannot delete members from a classic queue");
    status = ctl_overview(c);
    if (status != 0)
        return status;
    if (strcmp(node, ctl_node(c)) != 0)
        return ctl_fail(c, CTL_UNAVAILABLE, "node_not_running");
    return is_added ? ctl_done(c) : ctl_fail(c, CTL_UNAVAILABLE, "last_node");
}

static int
run_add_member(struct ctl *c)
{
    return change_member(c, true);
}

static int
run_delete_member(struct ctl *c)
{
    return change_member(c, false);
}

static int
check_grow(struct ctl *c)
{
    const char *strategy = ctl_arg(c, 1);
    if (strcmp(strategy, "all") == 0 || strcmp(strategy, "even") == 0)
        return 0;
    return ctl_bad_argument(c, "strategy '%s' is none of all, even", strategy);
}

static int
run_grow(struct ctl *c)
{
    ctl_banner(c, "Growing all quorum queues on %s...", ctl_arg(c, 0));
    if (c->options.is_dry_run)
        return CTL_OK;
    int status = ctl_overview(c);
    if (status == 0 && strcmp(ctl_arg(c, 0), ctl_node(c)) != 0)
        return ctl_fail(c, CTL_UNAVAILABLE, "node_not_running");
    return status != 0 ? status : ctl_done(c);
}

static int
run_shrink(struct ctl *c)
{
    ctl_banner(c, "Shrinking quorum queues on %s...", ctl_arg(c, 0));
    if (c->options.is_dry_run)
        return CTL_OK;
    int status = ctl_overview(c);
    if (status == 0 && strcmp(ctl_arg(c, 0), ctl_node(c)) == 0)
        return ctl_fail(c, CTL_UNAVAILABLE, "last_node");
    return status != 0 ? status : ctl_done(c);
}

static int
run_await_online_quorum(struct ctl *c)
{
    int64_t timeout_s = c->options.timeout_s >= 0 ? c->options.timeout_s : 120;
    ctl_banner(c,
               "Will wait for a quorum + 1 of nodes to be online for all quorum queues for %" PRId64
               " seconds...",
               timeout_s);
    if (c->options.is_dry_run)
        return CTL_OK;
    int status = ctl_overview(c);
    return status != 0 ? status : ctl_done(c); // in a cluster of one node RabbitMQ's succeeds too
}

static int
run_await_mirror(struct ctl *c)
{
    int64_t timeout_s = c->options.timeout_s >= 0 ? c->options.timeout_s : 120;
    ctl_banner(c,
               "Will wait for a synchronised mirror be online for all classic mirrored queues for %" PRId64
               " seconds...",
               timeout_s);
    if (c->options.is_dry_run)
        return CTL_OK;
    int status = ctl_overview(c);
    return status != 0 ? status : ctl_done(c); // no queue is mirrored
}

#define QUEUE_DETAIL "<queue>\n\tname of the queue\n\n"
#define NODE_DETAIL  "<node>\n\tname of the node\n\n"

const struct ctl_command ctl_commands_cluster[] = {
    {"await_online_nodes", GROUP_CLUSTER, "<count>", "Succeeds for 1: a cluster has one node so far",
     "<count>\n\thow many nodes are to be online\n\n", 1, 1, 0, NULL, run_await_online_nodes, check_count},
    {"forget_cluster_node", GROUP_CLUSTER, "[--offline] <node>", "Refuses: a cluster has one node so far",
     NODE_DETAIL, 1, 1, OPTION_OFFLINE, NULL, run_forget_cluster_node, NULL},
    {"start_app", GROUP_NODES, "",
     "Does nothing on a node that runs; the process itself is started as leveretd", NULL, 0, 0, 0, NULL,
     run_start_app, NULL},
    {"discover_peers", GROUP_CLUSTER, "", "Says that there are no other nodes", NULL, 0, 0, 0, NULL,
     run_discover_peers, NULL},
    {"restart_vhost", GROUP_VHOSTS, "[--vhost <vhost>]",
     "Says that the virtual host is running: they do not fail one by one", NULL, 0, 0, 0, NULL,
     run_restart_vhost, NULL},
    {"sync_queue", GROUP_QUEUES, "[--vhost <vhost>] <queue>", "Refuses: queues have no mirrors so far",
     QUEUE_DETAIL, 1, 1, 0, NULL, run_sync_queue, NULL},
    {"list_unresponsive_queues", GROUP_MONITORING, "[--vhost <vhost>] [--local] [--no-table-headers]",
     "Lists nothing: no queue can hang alone", NULL, 0, 1, OPTION_LOCAL, NULL, run_list_unresponsive_queues,
     NULL},
    {"check_if_node_is_quorum_critical", GROUP_MONITORING, "",
     "Says that there is one node, and the check does not apply", NULL, 0, 0, 0, NULL, run_quorum_critical,
     NULL},
    {"check_if_node_is_mirror_sync_critical", GROUP_MONITORING, "",
     "Says that there is one node, and the check does not apply", NULL, 0, 0, 0, NULL, run_mirror_critical,
     NULL},
    {"quorum_status", GROUP_QUEUES, "[--vhost <vhost>] <queue>", "Displays the member of a quorum queue",
     QUEUE_DETAIL, 1, 1, 0, NULL, run_quorum_status, NULL},
    {"rebalance", GROUP_QUEUES, "<type> [--vhost-pattern <pattern>] [--queue-pattern <pattern>]",
     "Displays where queues are led: there is one node",
     "<type>\n\tall, classic or quorum\n\n--vhost-pattern, --queue-pattern\n\ttaken, and without effect\n\n",
     1, 1, OPTION_REBALANCE, NULL, run_rebalance, check_rebalance},
    {"add_member", GROUP_QUEUES, "[--vhost <vhost>] <queue> <node>",
     "Succeeds for this node, which is a member already", QUEUE_DETAIL NODE_DETAIL, 2, 2, 0, NULL,
     run_add_member, NULL},
    {"delete_member", GROUP_QUEUES, "[--vhost <vhost>] <queue> <node>",
     "Refuses: a quorum queue has one member so far", QUEUE_DETAIL NODE_DETAIL, 2, 2, 0, NULL,
     run_delete_member, NULL},
    {"grow", GROUP_QUEUES, "<node> <strategy> [--vhost-pattern <pattern>] [--queue-pattern <pattern>]",
     "Succeeds for this node, where every quorum queue has its member",
     NODE_DETAIL "<strategy>\n\tall or even\n\n", 2, 2, OPTION_REBALANCE, NULL, run_grow, check_grow},
    {"shrink", GROUP_QUEUES, "<node>", "Refuses for this node: it has the only members", NODE_DETAIL, 1, 1, 0,
     NULL, run_shrink, NULL},
    {"await_online_quorum_plus_one", GROUP_NODES, "", "Succeeds: a cluster has one node so far", NULL, 0, 0,
     0, NULL, run_await_online_quorum, NULL},
    {"await_online_synchronized_mirror", GROUP_NODES, "", "Succeeds: no queue is mirrored so far", NULL, 0, 0,
     0, NULL, run_await_mirror, NULL},
    {.name = NULL},
};
