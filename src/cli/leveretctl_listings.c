// leveretctl_listings.c: the list_* commands: their columns and where the API keeps them. Columns are in alphabetical order.
#include <inttypes.h>

#include "src/cli/leveretctl.h"
#include "src/cli/leveretctl_lists.h"
#include "src/cli/leveretctl_value.h"

// --- made-up values -------------------------------------------------------------------------------------------------------------

// rabbitmqctl names connections, channels and queues by Erlang processes: <node.start.N.M>. Ours are named the same way, by the
// broker's start and the numbers it counts them with, so that close_connection finds them.
static json_t *
make_pid(struct ctl *c, int64_t number, int64_t part)
{
    if (number <= 0 || (c->overview == NULL && !ctl_is_reachable(c)))
        return NULL;
    int64_t start = json_integer_value(ctl_overview_member(c, "start_time"));
    return json_sprintf("<%s.%" PRId64 ".%" PRId64 ".%" PRId64 ">", ctl_node(c), start, number, part);
}

static int64_t
integer_of(const json_t *object, const char *path)
{
    return json_integer_value(ctl_member(object, path));
}

static json_t *
connection_pid(struct ctl *c, const json_t *object)
{
    return make_pid(c, integer_of(object, "connection_id"), 0);
}

static json_t *
channel_pid(struct ctl *c, const json_t *object)
{
    return make_pid(c, integer_of(object, "connection_id"), integer_of(object, "number"));
}

static json_t *
consumer_channel_pid(struct ctl *c, const json_t *object)
{
    return make_pid(c, integer_of(object, "channel_details.connection_id"),
                    integer_of(object, "channel_details.number"));
}

static json_t *
queue_pid(struct ctl *c, const json_t *object)
{
    return make_pid(c, integer_of(object, "queue_id"), 0);
}

static json_t *
queue_owner_pid(struct ctl *c, const json_t *object)
{
    return make_pid(c, integer_of(object, "owner_connection_id"), 0);
}

// In memory: everything, so far that is all there is.
static json_t *
zero(struct ctl *c, const json_t *object)
{
    return json_integer(0);
}

// vhost "/", queue "q": the exclusive consumer among all consumers, which list_queues asks for when its columns are wanted.
static const json_t *
exclusive_consumer(const struct ctl *c, const json_t *queue)
{
    for (size_t i = 0; i < json_array_size(c->consumers); i++) {
        const json_t *consumer = json_array_get(c->consumers, i);
        if (json_is_true(json_object_get(consumer, "exclusive")) &&
            slice_eq(json_slice(ctl_member(consumer, "queue.name")),
                     json_slice(json_object_get(queue, "name"))))
            return consumer;
    }
    return NULL;
}

static json_t *
exclusive_consumer_pid(struct ctl *c, const json_t *object)
{
    const json_t *consumer = exclusive_consumer(c, object);
    return consumer != NULL ? consumer_channel_pid(c, consumer) : NULL;
}

static json_t *
exclusive_consumer_tag(struct ctl *c, const json_t *object)
{
    return json_incref(json_object_get(exclusive_consumer(c, object), "consumer_tag"));
}

static json_t *
exchange_kind(struct ctl *c, const json_t *object)
{
    return json_string("exchange");
}

static json_t *
vhost_cluster_state(struct ctl *c, const json_t *object)
{
    return json_pack("{s:s}", ctl_node(c), "running");
}

// --- columns --------------------------------------------------------------------------------------------------------------------

static const struct ctl_column queue_columns[] = {
    {"arguments", "arguments", KIND_TABLE, NULL},
    {"auto_delete", "auto_delete", KIND_BOOL, NULL},
    {"consumer_capacity", "consumer_capacity", KIND_NUMBER, NULL},
    {"consumer_utilisation", "consumer_utilisation", KIND_NUMBER, NULL},
    {"consumers", "consumers", KIND_NUMBER, NULL},
    {"disk_reads", NULL, KIND_NUMBER, zero},
    {"disk_writes", NULL, KIND_NUMBER, zero},
    {"durable", "durable", KIND_BOOL, NULL},
    {"exclusive", "exclusive", KIND_BOOL, NULL},
    {"exclusive_consumer_pid", NULL, KIND_PID, exclusive_consumer_pid},
    {"exclusive_consumer_tag", NULL, KIND_TEXT, exclusive_consumer_tag},
    {"head_message_timestamp", "head_message_timestamp", KIND_NUMBER, NULL},
    {"leader", "leader", KIND_ATOM, NULL},
    {"members", "members", KIND_TAGS, NULL},
    {"memory", "memory", KIND_NUMBER, NULL},
    {"message_bytes", "message_bytes", KIND_NUMBER, NULL},
    {"message_bytes_persistent", "message_bytes_persistent", KIND_NUMBER, NULL},
    {"message_bytes_ram", "message_bytes_ram", KIND_NUMBER, NULL},
    {"message_bytes_ready", "message_bytes_ready", KIND_NUMBER, NULL},
    {"message_bytes_unacknowledged", "message_bytes_unacknowledged", KIND_NUMBER, NULL},
    {"messages", "messages", KIND_NUMBER, NULL},
    {"messages_persistent", "messages_persistent", KIND_NUMBER, NULL},
    {"messages_ram", "messages_ram", KIND_NUMBER, NULL},
    {"messages_ready", "messages_ready", KIND_NUMBER, NULL},
    {"messages_ready_ram", "messages_ready_ram", KIND_NUMBER, NULL},
    {"messages_unacknowledged", "messages_unacknowledged", KIND_NUMBER, NULL},
    {"messages_unacknowledged_ram", "messages_unacknowledged_ram", KIND_NUMBER, NULL},
    {"name", "name", KIND_TEXT, NULL},
    {"online", "online", KIND_TAGS, NULL},
    {"owner_pid", NULL, KIND_PID, queue_owner_pid},
    {"pid", NULL, KIND_PID, queue_pid},
    {"policy", "policy", KIND_TEXT, NULL},
    {"slave_pids", "slave_pids", KIND_TAGS, NULL},
    {"state", "state", KIND_ATOM, NULL},
    {"synchronised_slave_pids", "synchronised_slave_pids", KIND_TAGS, NULL},
    {"type", "type", KIND_ATOM, NULL},
    {NULL, NULL, KIND_TEXT, NULL},
};

static const struct ctl_column exchange_columns[] = {
    {"arguments", "arguments", KIND_TABLE, NULL},
    {"auto_delete", "auto_delete", KIND_BOOL, NULL},
    {"durable", "durable", KIND_BOOL, NULL},
    {"internal", "internal", KIND_BOOL, NULL},
    {"name", "name", KIND_TEXT, NULL},
    {"policy", "policy", KIND_TEXT, NULL},
    {"type", "type", KIND_ATOM, NULL},
    {NULL, NULL, KIND_TEXT, NULL},
};

static const struct ctl_column binding_columns[] = {
    {"arguments", "arguments", KIND_TABLE, NULL},
    {"destination_kind", "destination_type", KIND_ATOM, NULL},
    {"destination_name", "destination", KIND_TEXT, NULL},
    {"routing_key", "routing_key", KIND_TEXT, NULL},
    {"source_kind", NULL, KIND_ATOM, exchange_kind},
    {"source_name", "source", KIND_TEXT, NULL},
    {NULL, NULL, KIND_TEXT, NULL},
};

static const struct ctl_column connection_columns[] = {
    {"auth_mechanism", "auth_mechanism", KIND_TEXT, NULL},
    {"channel_max", "channel_max", KIND_NUMBER, NULL},
    {"channels", "channels", KIND_NUMBER, NULL},
    {"client_properties", "client_properties", KIND_TABLE, NULL},
    {"connected_at", "connected_at", KIND_NUMBER, NULL},
    {"frame_max", "frame_max", KIND_NUMBER, NULL},
    {"host", "host", KIND_ADDRESS, NULL},
    {"name", "name", KIND_TEXT, NULL},
    {"peer_cert_issuer", "peer_cert_issuer", KIND_TEXT, NULL},
    {"peer_cert_subject", "peer_cert_subject", KIND_TEXT, NULL},
    {"peer_cert_validity", "peer_cert_validity", KIND_TEXT, NULL},
    {"peer_host", "peer_host", KIND_ADDRESS, NULL},
    {"peer_port", "peer_port", KIND_NUMBER, NULL},
    {"pid", NULL, KIND_PID, connection_pid},
    {"port", "port", KIND_NUMBER, NULL},
    {"protocol", "protocol", KIND_PROTOCOL, NULL},
    {"recv_cnt", "recv_cnt", KIND_NUMBER, NULL},
    {"recv_oct", "recv_oct", KIND_NUMBER, NULL},
    {"send_cnt", "send_cnt", KIND_NUMBER, NULL},
    {"send_oct", "send_oct", KIND_NUMBER, NULL},
    {"send_pend", "send_pend", KIND_NUMBER, NULL},
    {"ssl", "ssl", KIND_BOOL, NULL},
    {"ssl_cipher", "ssl_cipher", KIND_ATOM, NULL},
    {"ssl_hash", "ssl_hash", KIND_ATOM, NULL},
    {"ssl_key_exchange", "ssl_key_exchange", KIND_ATOM, NULL},
    {"ssl_protocol", "ssl_protocol", KIND_ATOM, NULL},
    {"state", "state", KIND_ATOM, NULL},
    {"timeout", "timeout", KIND_NUMBER, NULL},
    {"user", "user", KIND_TEXT, NULL},
    {"vhost", "vhost", KIND_TEXT, NULL},
    {NULL, NULL, KIND_TEXT, NULL},
};

static const struct ctl_column channel_columns[] = {
    {"acks_uncommitted", "acks_uncommitted", KIND_NUMBER, NULL},
    {"confirm", "confirm", KIND_BOOL, NULL},
    {"connection", NULL, KIND_PID, connection_pid},
    {"consumer_count", "consumer_count", KIND_NUMBER, NULL},
    {"global_prefetch_count", "global_prefetch_count", KIND_NUMBER, NULL},
    {"messages_unacknowledged", "messages_unacknowledged", KIND_NUMBER, NULL},
    {"messages_uncommitted", "messages_uncommitted", KIND_NUMBER, NULL},
    {"messages_unconfirmed", "messages_unconfirmed", KIND_NUMBER, NULL},
    {"name", "name", KIND_TEXT, NULL},
    {"number", "number", KIND_NUMBER, NULL},
    {"pid", NULL, KIND_PID, channel_pid},
    {"prefetch_count", "prefetch_count", KIND_NUMBER, NULL},
    {"transactional", "transactional", KIND_BOOL, NULL},
    {"user", "user", KIND_TEXT, NULL},
    {"vhost", "vhost", KIND_TEXT, NULL},
    {NULL, NULL, KIND_TEXT, NULL},
};

static const struct ctl_column consumer_columns[] = {
    {"ack_required", "ack_required", KIND_BOOL, NULL},
    {"active", "active", KIND_BOOL, NULL},
    {"activity_status", "activity_status", KIND_ATOM, NULL},
    {"arguments", "arguments", KIND_TABLE, NULL},
    {"channel_pid", NULL, KIND_PID, consumer_channel_pid},
    {"consumer_tag", "consumer_tag", KIND_TEXT, NULL},
    {"prefetch_count", "prefetch_count", KIND_NUMBER, NULL},
    {"queue_name", "queue.name", KIND_TEXT, NULL},
    {NULL, NULL, KIND_TEXT, NULL},
};

static const struct ctl_column vhost_columns[] = {
    {"cluster_state", NULL, KIND_NODES, vhost_cluster_state},
    {"default_queue_type", "default_queue_type", KIND_TEXT, NULL},
    {"description", "description", KIND_TEXT, NULL},
    {"name", "name", KIND_TEXT, NULL},
    {"tags", "tags", KIND_TAGS, NULL},
    {"tracing", "tracing", KIND_BOOL, NULL},
    {NULL, NULL, KIND_TEXT, NULL},
};

static const struct ctl_column user_columns[] = {
    {"tags", "tags", KIND_TAGS, NULL},
    {"user", "name", KIND_TEXT, NULL},
    {NULL, NULL, KIND_TEXT, NULL},
};

// Permissions and topic permissions.
static const struct ctl_column permission_columns[] = {
    {"configure", "configure", KIND_TEXT, NULL},
    {"exchange", "exchange", KIND_TEXT, NULL},
    {"read", "read", KIND_TEXT, NULL},
    {"user", "user", KIND_TEXT, NULL},
    {"vhost", "vhost", KIND_TEXT, NULL},
    {"write", "write", KIND_TEXT, NULL},
    {NULL, NULL, KIND_TEXT, NULL},
};

static const struct ctl_listing queues = {
    .columns = queue_columns, .defaults = "name,messages", .is_streamed = true};
static const struct ctl_listing exchanges = {
    .columns = exchange_columns, .defaults = "name,type", .is_streamed = true};
static const struct ctl_listing bindings = {
    .columns = binding_columns,
    .defaults = "source_name,source_kind,destination_name,destination_kind,routing_key,arguments",
    .is_streamed = true,
};
static const struct ctl_listing connections = {
    .columns = connection_columns, .defaults = "user,peer_host,peer_port,state", .is_streamed = true};
static const struct ctl_listing channels = {.columns = channel_columns,
                                            .defaults = "pid,user,consumer_count,messages_unacknowledged",
                                            .is_streamed = true};
static const struct ctl_listing consumers = {
    .columns = consumer_columns,
    .defaults = "queue_name,channel_pid,consumer_tag,ack_required,prefetch_count,active,arguments",
    .is_streamed = true,
    .is_nested = true,
};
static const struct ctl_listing vhosts = {.columns = vhost_columns, .defaults = "name"};
static const struct ctl_listing users = {.columns = user_columns, .defaults = "user,tags"};
static const struct ctl_listing permissions = {.columns = permission_columns,
                                               .defaults = "user,configure,write,read"};
static const struct ctl_listing user_permissions = {.columns = permission_columns,
                                                    .defaults = "vhost,configure,write,read"};
static const struct ctl_listing topic_permissions = {.columns = permission_columns,
                                                     .defaults = "user,exchange,write,read"};
static const struct ctl_listing user_topic_permissions = {
    .columns = permission_columns, .defaults = "vhost,exchange,write,read", .has_no_headings = true};

// --- commands -------------------------------------------------------------------------------------------------------------------

// Lists of what is in a vhost: one that does not exist has nothing.
static int
list_in_vhost(struct ctl *c, const char *collection)
{
    int status = ctl_call(c, "GET", NULL, collection, ctl_vhost(c), NULL);
    if (status != 0)
        return status;
    if (c->answer.status == 404)
        return ctl_list(c, NULL);
    return c->answer.status == 200 ? ctl_list(c, c->answer.json) : ctl_refused(c);
}

static int
run_list_queues(struct ctl *c)
{
    const struct ctl_options *o = &c->options;
    if (o->timeout_s != 0)
        ctl_banner(c, "Timeout: %" PRId64 ".0 seconds ...", o->timeout_s > 0 ? o->timeout_s : 60);
    ctl_banner(c, "Listing queues for vhost %s ...", ctl_vhost(c));
    if (o->is_dry_run)
        return CTL_OK;
    if (ctl_has_column(c, "exclusive_consumer_pid") || ctl_has_column(c, "exclusive_consumer_tag")) {
        int status = ctl_call(c, "GET", NULL, "consumers", ctl_vhost(c), NULL);
        if (status != 0)
            return status;
        c->consumers = json_incref(c->answer.json);
    }
    // All queues are on this node: none is offline.
    if (o->is_offline && !o->is_online)
        return ctl_list(c, NULL);
    return list_in_vhost(c, "queues");
}

static int
run_list_exchanges(struct ctl *c)
{
    ctl_banner(c, "Listing exchanges for vhost %s ...", ctl_vhost(c));
    return c->options.is_dry_run ? CTL_OK : list_in_vhost(c, "exchanges");
}

static int
run_list_bindings(struct ctl *c)
{
    ctl_banner(c, "Listing bindings for vhost %s...", ctl_vhost(c));
    return c->options.is_dry_run ? CTL_OK : list_in_vhost(c, "bindings");
}

static int
run_list_consumers(struct ctl *c)
{
    ctl_banner(c, "Listing consumers in vhost %s ...", ctl_vhost(c));
    return c->options.is_dry_run ? CTL_OK : list_in_vhost(c, "consumers");
}

static int
list_all(struct ctl *c, const char *collection)
{
    ctl_banner(c, "Listing %s ...", collection);
    if (c->options.is_dry_run)
        return CTL_OK;
    int status = ctl_get(c, collection, NULL);
    return status != 0 ? status : ctl_list(c, c->answer.json);
}

static int
run_list_connections(struct ctl *c)
{
    return list_all(c, "connections");
}

static int
run_list_channels(struct ctl *c)
{
    return list_all(c, "channels");
}

static int
run_list_vhosts(struct ctl *c)
{
    return list_all(c, "vhosts");
}

static int
run_list_users(struct ctl *c)
{
    return list_all(c, "users");
}

static int
list_permissions_of(struct ctl *c, const char *collection, const char *name, const char *member)
{
    if (c->options.is_dry_run)
        return CTL_OK;
    int status = ctl_call(c, "GET", NULL, collection, name, member, NULL);
    if (status != 0)
        return status;
    if (c->answer.status == 404)
        return strcmp(collection, "users") == 0 ? ctl_fail_no_such_user(c, name)
                                                : ctl_fail_no_such_vhost(c, name);
    return c->answer.status == 200 ? ctl_list(c, c->answer.json) : ctl_refused(c);
}

static int
run_list_permissions(struct ctl *c)
{
    ctl_banner(c, "Listing permissions for vhost \"%s\" ...", ctl_vhost(c));
    return list_permissions_of(c, "vhosts", ctl_vhost(c), "permissions");
}

static int
run_list_topic_permissions(struct ctl *c)
{
    ctl_banner(c, "Listing topic permissions for vhost \"%s\" ...", ctl_vhost(c));
    return list_permissions_of(c, "vhosts", ctl_vhost(c), "topic-permissions");
}

static int
run_list_user_permissions(struct ctl *c)
{
    ctl_banner(c, "Listing permissions for user \"%s\" ...", ctl_arg(c, 0));
    return list_permissions_of(c, "users", ctl_arg(c, 0), "permissions");
}

static int
run_list_user_topic_permissions(struct ctl *c)
{
    ctl_banner(c, "Listing topic permissions for user \"%s\" ...", ctl_arg(c, 0));
    return list_permissions_of(c, "users", ctl_arg(c, 0), "topic-permissions");
}

#define COLUMNS     "[--no-table-headers] [<column> ...]"
#define USER_DETAIL "<username>\n\tname of the user\n\n"

const struct ctl_command ctl_commands_lists[] = {
    {"list_queues", GROUP_MONITORING,
     "[--vhost <vhost>] [--online] [--offline] [--local] [--no-table-headers] [<column>, ...]",
     "Lists queues and their properties",
     "--online\n\tlists only queues on online (reachable) nodes\n\n--offline\n\tlists only queues on offline "
     "(unreachable) nodes\n\n"
     "--local\n\tlists only queues of this node\n\n",
     0, CTL_ARGS_ANY, OPTION_ONLINE | OPTION_OFFLINE | OPTION_LOCAL, &queues, run_list_queues,
     ctl_columns_check},
    {"list_exchanges", GROUP_MONITORING, "[--vhost <vhost>] " COLUMNS, "Lists exchanges", NULL, 0,
     CTL_ARGS_ANY, 0, &exchanges, run_list_exchanges, ctl_columns_check},
    {"list_bindings", GROUP_MONITORING, "[--vhost <vhost>] " COLUMNS, "Lists all bindings of a virtual host",
     NULL, 0, CTL_ARGS_ANY, 0, &bindings, run_list_bindings, ctl_columns_check},
    {"list_connections", GROUP_MONITORING, COLUMNS, "Lists client connections", NULL, 0, CTL_ARGS_ANY, 0,
     &connections, run_list_connections, ctl_columns_check},
    {"list_channels", GROUP_MONITORING, COLUMNS, "Lists all channels", NULL, 0, CTL_ARGS_ANY, 0, &channels,
     run_list_channels, ctl_columns_check},
    {"list_consumers", GROUP_MONITORING, "[--vhost <vhost>] " COLUMNS,
     "Lists all consumers of a virtual host", NULL, 0, CTL_ARGS_ANY, 0, &consumers, run_list_consumers,
     ctl_columns_check},
    {"list_users", GROUP_USERS, "[--no-table-headers]", "Lists users and their tags", NULL, 0, 0, 0, &users,
     run_list_users, NULL},
    {"list_vhosts", GROUP_ACCESS, COLUMNS, "Lists virtual hosts", NULL, 0, CTL_ARGS_ANY, 0, &vhosts,
     run_list_vhosts, ctl_columns_check},
    {"list_permissions", GROUP_ACCESS, "[--vhost <vhost>] [--no-table-headers]",
     "Lists the permissions of users in a virtual host", NULL, 0, 0, 0, &permissions, run_list_permissions,
     NULL},
    {"list_topic_permissions", GROUP_ACCESS, "[--vhost <vhost>] [--no-table-headers]",
     "Lists topic permissions in a virtual host", NULL, 0, 0, 0, &topic_permissions,
     run_list_topic_permissions, NULL},
    {"list_user_permissions", GROUP_ACCESS, "[--no-table-headers] <username>",
     "Lists a user's permissions in all virtual hosts", USER_DETAIL, 1, 1, 0, &user_permissions,
     run_list_user_permissions, NULL},
    {"list_user_topic_permissions", GROUP_ACCESS, "[--no-table-headers] <username>",
     "Lists a user's topic permissions in all virtual hosts", USER_DETAIL, 1, 1, 0, &user_topic_permissions,
     run_list_user_topic_permissions, NULL},
    {.name = NULL},
};
