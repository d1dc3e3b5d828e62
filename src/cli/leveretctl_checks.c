// leveretctl_checks.c: questions with a yes or no for an answer, and an exit status for scripts: 0, or 69.
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "src/cli/leveretctl.h"
#include "src/cli/leveretctl_node.h"

// --- is it there ----------------------------------------------------------------------------------------------------------------

static int
run_ping(struct ctl *c)
{
    int64_t timeout_ms = (c->options.timeout_s >= 0 ? LV_MIN(c->options.timeout_s, INT32_MAX) : 60) * 1000;
    ctl_banner(c,
               "Will ping %s. This only checks if the OS process is running and registered with epmd. "
               "Timeout: %" PRId64 " ms.",
               ctl_node(c), timeout_ms);
    if (c->options.is_dry_run)
        return CTL_OK;
    if (!ctl_is_reachable(c) || !ctl_is_right_node(c))
        return ctl_fail(c, CTL_UNAVAILABLE, "Failed to connect and authenticate to %s in %" PRId64 " ms",
                        ctl_node(c), timeout_ms);
    return ctl_say(c, NULL, "Ping succeeded");
}

// Behind "RabbitMQ on node NAME".
static const char booted[] = "is fully booted and running";
static const char not_booted[] = "is not running or has not fully booted yet (check with is_booting)";

static int
run_check_running(struct ctl *c)
{
    ctl_banner(c, "Checking if RabbitMQ is running on node %s ...", ctl_node(c));
    if (c->options.is_dry_run)
        return CTL_OK;
    if (!ctl_is_running(c) || !ctl_is_right_node(c))
        return ctl_fail(c, CTL_UNAVAILABLE, "RabbitMQ on node %s %s", ctl_node(c), not_booted);
    return ctl_say(c, NULL, "RabbitMQ on node %s %s", ctl_node(c), booted);
}

// The answer in words; with json as {"message":…,"result":true}.
static int
say_answer(struct ctl *c, bool answer, const char *words)
{
    if (!ctl_is_json(c))
        return ctl_say(c, NULL, "RabbitMQ on node %s %s", ctl_node(c), words);
    struct buf text = BUF_INIT;
    buf_printf(&text, "RabbitMQ on node %s %s", ctl_node(c), words);
    ctl_print_json(c, c->out, json_pack("{s:s, s:b}", "message", buf_cstr(&text), "result", (int)answer));
    buf_fini(&text);
    return CTL_OK;
}

static int
run_is_running(struct ctl *c)
{
    ctl_banner(c, "Asking node %s for its status ...", ctl_node(c));
    if (c->options.is_dry_run)
        return CTL_OK;
    bool is_running = ctl_is_running(c) && ctl_is_right_node(c);
    return say_answer(c, is_running, is_running ? booted : not_booted);
}

static int
run_is_booting(struct ctl *c)
{
    ctl_banner(c, "Asking node %s for its boot status ...", ctl_node(c));
    if (c->options.is_dry_run)
        return CTL_OK;
    int status = ctl_overview(c);
    if (status != 0)
        return status;
    bool is_booting = json_is_false(ctl_overview_member(c, "running"));
    return say_answer(
        c, is_booting,
        is_booting ? "is booting"
                   : "is fully booted (check with is_running), stopped or has not started booting yet");
}

// --- alarms ---------------------------------------------------------------------------------------------------------------------

// Tells the alarms on a stream, a line each (json: one object); returns `status`.
static int
tell_alarms(struct ctl *c, FILE *to, const json_t *alarms, int status)
{
    if (ctl_is_json(c)) {
        json_t *message = json_sprintf("Node %s reported alarms", ctl_node(c));
        ctl_print_json(c, to,
                       json_pack("{s:[], s:O, s:o, s:s}", "global", "local", alarms, "message", message,
                                 "result", status == CTL_OK ? "ok" : "error"));
        return status;
    }
    fflush(c->out);
    for (size_t i = 0; i < json_array_size(alarms); i++)
        fprintf(to, "%s\n", json_string_value(json_array_get(alarms, i)));
    return status;
}

static int
run_alarms(struct ctl *c)
{
    ctl_banner(c, "Asking node %s to report any known resource alarms ...", ctl_node(c));
    if (c->options.is_dry_run)
        return CTL_OK;
    int status = CTL_OK;
    json_t *alarms = node_alarms(c, &status);
    if (alarms == NULL)
        return status;
    if (json_array_size(alarms) > 0)
        tell_alarms(c, c->out, alarms, CTL_OK);
    else if (ctl_is_json(c))
        ctl_print_json(c, c->out,
                       json_pack("{s:[], s:s, s:s}", "alarms", "node", ctl_node(c), "result", "ok"));
    else
        ctl_say(c, NULL, "Node %s reported no alarms, local or clusterwide", ctl_node(c));
    json_decref(alarms);
    return CTL_OK;
}

static int
check_alarms(struct ctl *c, const char *none, bool has_error_line)
{
    ctl_banner(c, "Asking node %s to report any local resource alarms ...", ctl_node(c));
    if (c->options.is_dry_run)
        return CTL_OK;
    int status = CTL_OK;
    json_t *alarms = node_alarms(c, &status);
    if (alarms == NULL)
        return status;
    if (json_array_size(alarms) > 0) {
        fflush(c->out);
        if (has_error_line && !ctl_is_json(c))
            fputs("Error:\n", c->err);
        status = tell_alarms(c, c->err, alarms, CTL_UNAVAILABLE);
    } else {
        status = ctl_is_json(c) ? ctl_done(c) : ctl_say(c, NULL, "Node %s reported %s", ctl_node(c), none);
    }
    json_decref(alarms);
    return status;
}

static int
run_check_local_alarms(struct ctl *c)
{
    return check_alarms(c, "no local alarms", true);
}

static int
run_check_alarms(struct ctl *c)
{
    return check_alarms(c, "no alarms, local or clusterwide", false);
}

// --- listeners ------------------------------------------------------------------------------------------------------------------

static int
run_listeners(struct ctl *c)
{
    ctl_banner(c, "Asking node %s to report its protocol listeners ...", ctl_node(c));
    if (c->options.is_dry_run)
        return CTL_OK;
    int status = ctl_overview(c);
    if (status != 0)
        return status;
    json_t *listeners = node_listeners(c);
    if (ctl_is_json(c)) {
        ctl_print_json(
            c, c->out,
            json_pack("{s:O, s:s, s:s}", "listeners", listeners, "node", ctl_node(c), "result", "ok"));
    } else {
        struct buf line = BUF_INIT;
        for (size_t i = 0; i < json_array_size(listeners); i++) {
            node_put_listener(&line, json_array_get(listeners, i));
            buf_append_u8(&line, '\n');
        }
        fputs(buf_cstr(&line), c->out);
        buf_fini(&line);
    }
    json_decref(listeners);
    return CTL_OK;
}

// The values of one member, in the order of the listeners, each once.
static json_t *
distinct(const json_t *listeners, const char *key)
{
    json_t *found = json_array();
    for (size_t i = 0; i < json_array_size(listeners); i++) {
        json_t *value = json_object_get(json_array_get(listeners, i), key);
        bool is_new = true;
        for (size_t k = 0; k < json_array_size(found); k++)
            is_new &= json_equal(value, json_array_get(found, k)) == 0;
        if (is_new)
            json_array_append(found, value);
    }
    return found;
}

static void
put_joined(struct buf *out, const json_t *values)
{
    for (size_t i = 0; i < json_array_size(values); i++) {
        const json_t *value = json_array_get(values, i);
        buf_append_str(out, i > 0 ? ", " : "");
        if (json_is_integer(value))
            buf_printf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        else
            buf_append_str(out, json_string_value(value));
    }
}

struct listener_question {
    const char *key, *plural; // "port", "ports"
    const char *missing;      // as it was asked for
    json_t *wanted;           // a reference that passes
};

// 0 with a listener found; otherwise told.
static int
ask_listener(struct ctl *c, const struct listener_question *q)
{
    bool is_port = json_is_integer(q->wanted);
    struct buf all = BUF_INIT;
    int status = ctl_overview(c);
    if (status != 0) {
        json_decref(q->wanted);
        return status;
    }
    json_t *listeners = node_listeners(c), *found = distinct(listeners, q->key);
    bool is_there = false;
    for (size_t i = 0; i < json_array_size(found); i++)
        is_there |= json_equal(json_array_get(found, i), q->wanted) != 0;
    put_joined(&all, found);
    if (is_there) {
        if (ctl_is_json(c))
            ctl_done(c);
        else if (is_port)
            ctl_say(c, NULL, "A listener for port %s is running on node %s.", q->missing, ctl_node(c));
        else
            ctl_say(c, NULL, "A listener for protocol %s is running on node %s.",
                    json_string_value(q->wanted), ctl_node(c));
    } else if (ctl_is_json(c)) {
        ctl_print_json(c, c->err,
                       json_pack("{s:O, s:s, s:O, s:s}", "listeners", listeners, "missing", q->missing,
                                 q->plural, found, "result", "error"));
        status = CTL_UNAVAILABLE;
    } else if (is_port) {
        status = ctl_fail_bare(
            c, CTL_UNAVAILABLE,
            "No listener for port %s is active on node %s. Found listeners that use the following ports: %s",
            q->missing, ctl_node(c), buf_cstr(&all));
    } else {
        status = ctl_fail(c, CTL_UNAVAILABLE,
                          "No listener for protocol %s is active on node %s. Found listeners for the "
                          "following protocols: %s",
                          q->missing, ctl_node(c), buf_cstr(&all));
    }
    json_decref(found);
    json_decref(listeners);
    json_decref(q->wanted);
    buf_fini(&all);
    return status;
}

static int
check_port(struct ctl *c)
{
    const char *text = ctl_arg(c, 0);
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || text[digits] != '\0' || digits > 9)
        return ctl_bad_argument(c, "Argument must be a positive integer");
    return 0;
}

static int
run_check_port_listener(struct ctl *c)
{
    const char *port = ctl_arg(c, 0);
    ctl_banner(c, "Asking node %s if there's an active listener on port %s ...", ctl_node(c), port);
    if (c->options.is_dry_run)
        return CTL_OK;
    struct listener_question q = {"port", "ports", port, json_integer(strtol(port, NULL, 10))};
    return ask_listener(c, &q);
}

static int
run_check_protocol_listener(struct ctl *c)
{
    const char *protocol = ctl_arg(c, 0);
    ctl_banner(c, "Asking node %s if there's an active listener for protocol %s ...", ctl_node(c), protocol);
    if (c->options.is_dry_run)
        return CTL_OK;
    bool is_amqp = strcmp(protocol, "amqp091") == 0 || strcmp(protocol, "amqp10") == 0;
    struct listener_question q = {"protocol", "protocols", protocol,
                                  json_string(is_amqp ? "amqp" : protocol)};
    return ask_listener(c, &q);
}

// --- connectivity ---------------------------------------------------------------------------------------------------------------

// LIMIT: time to connect to one listener.
enum { CONNECT_MS = 30000 };

// "[::]" and "0.0.0.0" stand for every address of the machine: loopback is one of them.
static int
open_socket(const json_t *listener, struct sockaddr_storage *ret, socklen_t *ret_len)
{
    const char *interface = json_string_value(json_object_get(listener, "interface"));
    char address[64] = "";
    in_port_t port = htons((uint16_t)json_integer_value(json_object_get(listener, "port")));
    size_t len = interface != NULL ? strlen(interface) : 0;
    bool is_v6 = len > 2 && interface[0] == '[';
    if (interface != NULL && len < sizeof address)
        memcpy(address, is_v6 ? interface + 1 : interface, is_v6 ? len - 2 : len);
    *ret = (struct sockaddr_storage){0};
    if (is_v6) {
        struct sockaddr_in6 *sa = (struct sockaddr_in6 *)ret;
        *sa = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = port};
        inet_pton(AF_INET6, strcmp(address, "::") == 0 ? "::1" : address, &sa->sin6_addr);
        *ret_len = sizeof *sa;
    } else {
        struct sockaddr_in *sa = (struct sockaddr_in *)ret;
        *sa = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = port};
        inet_pton(AF_INET, strcmp(address, "0.0.0.0") == 0 ? "127.0.0.1" : address, &sa->sin_addr);
        *ret_len = sizeof *sa;
    }
    return socket(ret->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

static bool
can_connect(const json_t *listener)
{
    struct sockaddr_storage address;
    socklen_t len;
    int fd = open_socket(listener, &address, &len), error = 0;
    if (fd < 0)
        return false;
    if (connect(fd, (struct sockaddr *)&address, len) != 0)
        error = errno;
    struct pollfd wait = {.fd = fd, .events = POLLOUT};
    if (error == EINPROGRESS) {
        socklen_t size = sizeof error;
        if (poll(&wait, 1, CONNECT_MS) != 1 || getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0)
            error = ETIMEDOUT;
    }
    close(fd);
    return error == 0;
}

static int
run_check_port_connectivity(struct ctl *c)
{
    struct buf failed = BUF_INIT, ports = BUF_INIT;
    ctl_banner(c, "Testing TCP connections to all active listeners on node %s ...", ctl_node(c));
    if (c->options.is_dry_run)
        return CTL_OK;
    int status = ctl_overview(c);
    if (status != 0)
        return status;
    json_t *listeners = node_listeners(c), *found = distinct(listeners, "port"), *lost = json_array();
    for (size_t i = 0; i < json_array_size(listeners); i++) {
        json_t *listener = json_array_get(listeners, i);
        if (can_connect(listener))
            continue;
        json_array_append(lost, listener);
        buf_append_u8(&failed, '\n');
        node_put_listener(&failed, listener);
    }
    put_joined(&ports, found);
    bool is_good = json_array_size(lost) == 0;
    if (ctl_is_json(c))
        ctl_print_json(c, is_good ? c->out : c->err,
                       json_pack("{s:O, s:s, s:s}", is_good ? "listeners" : "failures",
                                 is_good ? listeners : lost, "node", ctl_node(c), "result",
                                 is_good ? "ok" : "error"));
    else if (is_good)
        ctl_say(c, NULL, "Successfully connected to ports %s on node %s.", buf_cstr(&ports), ctl_node(c));
    else
        ctl_fail(c, CTL_UNAVAILABLE, "Connection to ports of the following listeners on node %s failed: %s",
                 ctl_node(c), buf_cstr(&failed));
    json_decref(lost);
    json_decref(found);
    json_decref(listeners);
    buf_fini(&failed);
    buf_fini(&ports);
    return is_good ? CTL_OK : CTL_UNAVAILABLE;
}

// --- the rest -------------------------------------------------------------------------------------------------------------------

static int
run_check_virtual_hosts(struct ctl *c)
{
    ctl_banner(c, "Checking if all vhosts are running on node %s ...", ctl_node(c));
    if (c->options.is_dry_run)
        return CTL_OK;
    int status = ctl_call(c, "GET", NULL, "health", "checks", "virtual-hosts", NULL);
    if (status != 0)
        return status;
    if (c->answer.status != 200)
        return ctl_fail(c, CTL_UNAVAILABLE, "Some virtual hosts on node %s are down: %s", ctl_node(c),
                        ctl_reason(c));
    return ctl_is_json(c) ? ctl_done(c)
                          : ctl_say(c, NULL, "Node %s reported all vhosts as running", ctl_node(c));
}

static int
run_server_version(struct ctl *c)
{
    ctl_banner(c, "Asking node %s for its RabbitMQ version...", ctl_node(c));
    if (c->options.is_dry_run)
        return CTL_OK;
    int status = ctl_overview(c);
    const char *version = status == 0 ? json_string_value(ctl_overview_member(c, "rabbitmq_version")) : NULL;
    return status != 0 ? status : ctl_say(c, "value", "%s", version != NULL ? version : "");
}

const struct ctl_command ctl_commands_checks[] = {
    {"ping", GROUP_MONITORING, "", "Checks that the node answers", NULL, 0, 0, 0, NULL, run_ping, NULL},
    {"check_running", GROUP_MONITORING, "", "Exits with 69 unless the node is fully booted and running", NULL,
     0, 0, 0, NULL, run_check_running, NULL},
    {"is_running", GROUP_MONITORING, "", "Says whether the node is fully booted and running", NULL, 0, 0, 0,
     NULL, run_is_running, NULL},
    {"is_booting", GROUP_MONITORING, "", "Says whether the node is still booting", NULL, 0, 0, 0, NULL,
     run_is_booting, NULL},
    {"alarms", GROUP_MONITORING, "", "Lists resource alarms in effect", NULL, 0, 0, 0, NULL, run_alarms,
     NULL},
    {"check_alarms", GROUP_MONITORING, "", "Exits with 69 if there are resource alarms in the cluster", NULL,
     0, 0, 0, NULL, run_check_alarms, NULL},
    {"check_local_alarms", GROUP_MONITORING, "", "Exits with 69 if there are resource alarms on the node",
     NULL, 0, 0, 0, NULL, run_check_local_alarms, NULL},
    {"listeners", GROUP_MONITORING, "", "Lists the listeners of the node", NULL, 0, 0, 0, NULL, run_listeners,
     NULL},
    {"check_port_listener", GROUP_MONITORING, "<port>", "Exits with 69 unless the node listens on a port",
     "<port>\n\tport number\n\n", 1, 1, 0, NULL, run_check_port_listener, check_port},
    {"check_protocol_listener", GROUP_MONITORING, "<protocol>",
     "Exits with 69 unless the node listens for a protocol",
     "<protocol>\n\tamqp (amqp091), http, http/prometheus\n\n", 1, 1, 0, NULL, run_check_protocol_listener,
     NULL},
    {"check_port_connectivity", GROUP_MONITORING, "",
     "Exits with 69 unless all listeners can be connected to", NULL, 0, 0, 0, NULL,
     run_check_port_connectivity, NULL},
    {"check_virtual_hosts", GROUP_MONITORING, "", "Exits with 69 unless all virtual hosts are running", NULL,
     0, 0, 0, NULL, run_check_virtual_hosts, NULL},
    {"server_version", GROUP_MONITORING, "", "Displays the version of RabbitMQ the node stands for", NULL, 0,
     0, 0, NULL, run_server_version, NULL},
    {.name = NULL},
};
