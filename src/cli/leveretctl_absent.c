// leveretctl_absent.c: see leveretctl_absent.h. Reasons are told to whoever calls one of these (exit status 69), and stand in the table of
// docs/compatibility.md.
#include "src/cli/leveretctl_absent.h"

#include <string.h>

#define ONE_NODE "a cluster has one node so far"
#define ERLANG   "it looks into Erlang's runtime, and there is none"
#define PROCESS  "broker and process are one: `stop` ends it, leveretd starts it"
#define STREAMS  "there are no streams"
#define TLS      "there is no TLS so far"
#define ATTEMPTS "log-ins are not counted by source; `reasons` shows those that were refused"
#define SECRETS  "values in the configuration are not encrypted: a value may be read from a file, $(<FILE)"

const struct ctl_absent ctl_absent_commands[] = {
    {"cancel_sync_queue", ONE_NODE},
    {"certificates", TLS},
    {"change_cluster_node_type", ONE_NODE},
    {"cipher_suites", TLS},
    {"command_line_arguments", "the configuration in force, with its sources, is shown by `environment`"},
    {"consume_event_stream", "events come from the exchange amq.rabbitmq.event (event_exchange.enabled)"},
    {"decode", SECRETS},
    {"disable_auth_attempt_source_tracking", ATTEMPTS},
    {"drain", ONE_NODE ": its clients have nowhere to go"},
    {"enable_auth_attempt_source_tracking", ATTEMPTS},
    {"encode", SECRETS},
    {"erlang_cookie_hash", "there is no cookie: the control socket's permissions say who may use it"},
    {"erlang_cookie_sources", "there is no cookie: the control socket's permissions say who may use it"},
    {"eval", ERLANG},
    {"eval_file", ERLANG},
    {"exec", ERLANG},
    {"force_boot", ONE_NODE},
    {"force_gc", "there is no garbage collector"},
    {"force_reset", PROCESS ", and a data directory is emptied by hand"},
    {"hipe_compile", ERLANG},
    {"join_cluster", ONE_NODE},
    {"list_ciphers", SECRETS},
    {"list_hashes", SECRETS},
    {"list_network_interfaces", "`ip address` shows them"},
    {"list_node_auth_attempt_stats", ATTEMPTS},
    {"log_tail_stream",
     "`tail -f` and journalctl -f follow a log; over AMQP the exchange amq.rabbitmq.log (log.exchange)"},
    {"maybe_stuck", ERLANG},
    {"observer", ERLANG "; `top` shows what is going on"},
    {"os_env", "the configuration in force, with its sources, is shown by `environment`"},
    {"peek", "`messages peek` does it, for queues of every type"},
    {"post_upgrade", ONE_NODE},
    {"reclaim_quorum_memory", "a quorum queue keeps no log in memory that could be given back"},
    {"remote_shell", ERLANG},
    {"rename_cluster_node", ONE_NODE},
    {"reset", PROCESS ", and a data directory is emptied by hand"},
    {"reset_node_auth_attempt_metrics", ATTEMPTS},
    {"resolve_hostname", "`getent hosts` does it"},
    {"resolver_info", "names are looked up by the C library"},
    {"resume_listeners", "listeners cannot be suspended"},
    {"revive", ONE_NODE ": it is never drained"},
    {"runtime_thread_stats", ERLANG "; `top -H` shows the threads by name"},
    {"schema_info", "metadata is in SQLite, without a schema to be replicated"},
    {"set_disk_free_limit", "set disk_free_limit.* and reload (SIGHUP)"},
    {"set_vm_memory_high_watermark", "set vm_memory_high_watermark.* and reload (SIGHUP)"},
    {"stop_app", PROCESS},
    {"stream_status", STREAMS},
    {"suspend_listeners", "listeners cannot be suspended"},
    {"tls_versions", TLS},
    {"update_cluster_nodes", ONE_NODE},
    {NULL, NULL},
};

const char *
ctl_absent_reason(const char *name)
{
    for (const struct ctl_absent *a = ctl_absent_commands; a->name != NULL; a++) {
        if (strcmp(a->name, name) == 0)
            return a->why;
    }
    return NULL;
}
