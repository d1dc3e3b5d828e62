#compdef leveretctl rabbitmqctl rabbitmq-diagnostics rabbitmq-queues rabbitmq-plugins
# leveretctl.zsh: completion of leveretctl and of RabbitMQ's tools by name in zsh. Written by docs/generate.py: do not edit.
# Installed as _leveretctl in a folder of $fpath.

local -a _leveretctl_commands=(
    'add_member:Succeeds for this node, which is a member already'
    'add_user:Creates a user, without permissions for any virtual host'
    'add_vhost:Creates a virtual host; one that exists is left as it is'
    'alarms:Lists resource alarms in effect'
    'authenticate_user:Checks a user'\''s password\: exit status 65 when it is not the one'
    'autocomplete:Lists the commands that begin with a word, for shells'
    'await_online_nodes:Succeeds for 1\: a cluster has one node so far'
    'await_online_quorum_plus_one:Succeeds\: a cluster has one node so far'
    'await_online_synchronized_mirror:Succeeds\: no queue is mirrored so far'
    'await_startup:Waits until the node is running, at most 300 seconds'
    'cancel_delayed_message:Takes a message that waits for its time at a delayed exchange out of it, for good'
    'change_password:Changes a user'\''s password'
    'check_alarms:Exits with 69 if there are resource alarms in the cluster'
    'check_certificate_expiration:Exits with 69 if certificates of the node expire soon'
    'check_if_node_is_mirror_sync_critical:Says that there is one node, and the check does not apply'
    'check_if_node_is_quorum_critical:Says that there is one node, and the check does not apply'
    'check_local_alarms:Exits with 69 if there are resource alarms on the node'
    'check_port_connectivity:Exits with 69 unless all listeners can be connected to'
    'check_port_listener:Exits with 69 unless the node listens on a port'
    'check_protocol_listener:Exits with 69 unless the node listens for a protocol'
    'check_running:Exits with 69 unless the node is fully booted and running'
    'check_virtual_hosts:Exits with 69 unless all virtual hosts are running'
    'clear_global_parameter:Clears a global runtime parameter'
    'clear_operator_policy:Clears an operator policy'
    'clear_parameter:Clears a runtime parameter'
    'clear_password:Removes a user'\''s password\: no login by password any more'
    'clear_permissions:Takes away a user'\''s permissions in a vhost'
    'clear_policy:Clears (removes) a policy'
    'clear_topic_permissions:Takes away a user'\''s topic permissions in a vhost, or those on one exchange'
    'clear_user_limits:Removes one limit of a user, or all'
    'clear_vhost_limits:Removes all limits of a virtual host'
    'close_all_connections:Closes all client connections of a virtual host, or of the node'
    'close_all_user_connections:Closes all connections of a user'
    'close_connection:Closes one client connection'
    'cluster_status:Displays the nodes of the cluster and their state'
    'definitions:Tells what an import would do, or does it; with --exact what the file does not have is deleted'
    'delete_member:Refuses\: a quorum queue has one member so far'
    'delete_queue:Deletes a queue'
    'delete_user:Deletes a user and all its permissions'
    'delete_vhost:Deletes a virtual host with everything in it'
    'discover_peers:Says that there are no other nodes'
    'enable_feature_flag:Does nothing\: those that are there are always on'
    'environment:Displays every configuration key, its value and where it came from'
    'erlang_version:Says that there is no Erlang'
    'export_definitions:Exports everything declared, but no messages, to a file; of one virtual host with --vhost'
    'forget_cluster_node:Refuses\: a cluster has one node so far'
    'grow:Succeeds for this node, where every quorum queue has its member'
    'hash_password:Prints a password'\''s hash; needs no broker'
    'help:Displays usage information for a command'
    'import_definitions:Imports definitions from a file or standard input\: makes and changes things, deletes nothing'
    'is_booting:Says whether the node is still booting'
    'is_running:Says whether the node is fully booted and running'
    'list_bindings:Lists all bindings of a virtual host'
    'list_channels:Lists all channels'
    'list_connections:Lists client connections'
    'list_consumers:Lists all consumers of a virtual host'
    'list_delayed_messages:Lists messages that wait for their time at a delayed exchange'
    'list_exchanges:Lists exchanges'
    'list_feature_flags:Lists feature flags'
    'list_global_parameters:Lists global runtime parameters'
    'list_operator_policies:Lists operator policies in a virtual host'
    'list_parameters:Lists runtime parameters for a virtual host'
    'list_permissions:Lists the permissions of users in a virtual host'
    'list_policies:Lists all policies in a virtual host'
    'list_queues:Lists queues and their properties'
    'list_topic_permissions:Lists topic permissions in a virtual host'
    'list_unresponsive_queues:Lists nothing\: no queue can hang alone'
    'list_user_limits:Displays the limits of users'
    'list_user_permissions:Lists a user'\''s permissions in all virtual hosts'
    'list_user_topic_permissions:Lists a user'\''s topic permissions in all virtual hosts'
    'list_users:Lists users and their tags'
    'list_vhost_limits:Displays the limits of virtual hosts'
    'list_vhosts:Lists virtual hosts'
    'listeners:Lists the listeners of the node'
    'log_location:Displays where the node'\''s log goes'
    'log_tail:Prints the last lines of the node'\''s log file'
    'memory_breakdown:Displays what the node'\''s memory is used for, the largest part first'
    'messages:Shows messages of a queue, or moves them'
    'node_health_check:Deprecated\: exits with 70 if there are resource alarms'
    'ping:Checks that the node answers'
    'plugins:Does what rabbitmq-plugins does'
    'policy:Shows what a queue lives by, and which policy or argument says so'
    'purge_queue:Removes all ready messages of a queue'
    'quorum_status:Displays the member of a quorum queue'
    'reasons:Displays why messages and clients were refused, returned, dropped or held'
    'rebalance:Displays where queues are led\: there is one node'
    'report:Prints the output of all status and list commands, for a support request'
    'restart_vhost:Says that the virtual host is running\: they do not fail one by one'
    'rotate_logs:Makes the node reopen its log files, after logrotate has moved them'
    'route:Tells where a message would go and why, without publishing it'
    'server_version:Displays the version of RabbitMQ the node stands for'
    'set_cluster_name:Sets the cluster name'
    'set_global_parameter:Sets a global runtime parameter'
    'set_log_level:Sets the log level of the running node, until it is restarted or reloaded'
    'set_operator_policy:Sets or updates an operator policy, which sets limits to what users'\'' policies and arguments say'
    'set_parameter:Sets a runtime parameter'
    'set_permissions:Sets a user'\''s permissions in a vhost'
    'set_policy:Sets or updates a policy'
    'set_topic_permissions:Sets a user'\''s permissions by routing key on a topic exchange'
    'set_user_limits:Sets the limits of a user'
    'set_user_tags:Sets a user'\''s tags'
    'set_vhost_limits:Sets the limits of a virtual host'
    'set_vhost_tags:Sets a virtual host'\''s tags'
    'shrink:Refuses for this node\: it has the only members'
    'shutdown:Stops the node and waits for its process to end'
    'start_app:Does nothing on a node that runs; the process itself is started as leveretd'
    'status:Displays the status of the node'
    'stop:Stops the node'
    'store:Reads the data directory of a stopped broker'
    'sync_queue:Refuses\: queues have no mirrors so far'
    'top:Shows the busiest queues and connections, again and again'
    'trace_off:Ends that'
    'trace_on:Copies what is published and delivered to amq.rabbitmq.trace'
    'version:Displays the version of this tool'
    'wait:Waits until the node with that process id is running, at most 10 seconds'
)
local -a _leveretctl_plugins=(
    'list:Lists plugins\: those that are built in, and those that are not there'
    'enable:Succeeds for plugins that are built in, fails for others; changes nothing'
    'disable:Changes nothing\: what is built in stays'
    'set:Succeeds for plugins that are built in, fails for others; changes nothing'
    'is_enabled:Exits with 69 unless all of them are built in'
    'directories:Says that there are no plugin directories'
)
local -a _leveretctl_options=(--node --longnames --quiet --silent --vhost --timeout --formatter --dry-run --help --version --no-table-headers --print-stacktrace
    --socket --host --port --username --password --password-file --tls --tls-ca-cert --tls-cert --tls-key --tls-insecure
    --erlang-cookie --script-name)
local -a _leveretctl_valued=(--node -n --vhost -p --timeout -t --formatter --socket --host --port --username --password --password-file --tls-ca-cert
    --tls-cert --tls-key --erlang-cookie --script-name --description --tags --default-queue-type --limit --per-connection-delay --user
    --pid -P --algorithm --data-dir -d --queue --seq --priority --apply-to --truncate --interval --sort --number -N --unit --within
    --examine --exchange --routing-key --vhost-pattern --queue-pattern --format)
local -A _leveretctl_own=(
    help '--list-commands'
    shutdown '--wait'
    stop '--idempotent'
    wait '--pid -P'
    hash_password '--algorithm'
    add_vhost '--description --tags --default-queue-type'
    list_vhost_limits '--global'
    list_user_limits '--global --user'
    set_policy '--priority --apply-to'
    set_operator_policy '--priority --apply-to'
    list_queues '--online --offline --local'
    delete_queue '--if-empty -e --if-unused -u'
    close_all_connections '--limit --global --per-connection-delay'
    log_tail '--number -N'
    check_certificate_expiration '--unit --within'
    forget_cluster_node '--offline'
    list_unresponsive_queues '--local'
    rebalance '--vhost-pattern --queue-pattern'
    grow '--vhost-pattern --queue-pattern'
    store '--limit --data-dir -d --json --queue --seq --lost-and-found --truncate'
    route '--user'
    top '--limit --once --interval --sort'
    export_definitions '--format --skip-if-unchanged --exact --force'
    import_definitions '--format --skip-if-unchanged --exact --force'
    definitions '--format --skip-if-unchanged --exact --force'
    messages '--limit --truncate --examine --exchange --routing-key'
    plugins_list '--if-empty -e --minimal -m --enabled -E --implicitly-enabled --verbose -v --all -a'
    plugins_enable '--online --offline --minimal -m --enabled -E --implicitly-enabled --verbose -v --all -a'
    plugins_disable '--online --offline --minimal -m --enabled -E --implicitly-enabled --verbose -v --all -a'
    plugins_set '--online --offline --minimal -m --enabled -E --implicitly-enabled --verbose -v --all -a'
    plugins_is_enabled '--online --offline'
    plugins_directories '--online --offline'
)
local -A _leveretctl_arguments=(
    add_user '@users'
    authenticate_user '@users'
    change_password '@users'
    clear_password '@users'
    delete_user '@users'
    set_user_tags '@users'
    set_permissions '@users'
    clear_permissions '@users'
    set_topic_permissions '@users'
    clear_topic_permissions '@users'
    add_vhost '@vhosts'
    delete_vhost '@vhosts'
    set_vhost_tags '@vhosts'
    set_user_limits '@users'
    clear_user_limits '@users'
    list_feature_flags 'desc doc_url name provided_by stability state'
    list_queues 'arguments auto_delete consumer_capacity consumer_utilisation consumers disk_reads disk_writes durable exclusive
    exclusive_consumer_pid exclusive_consumer_tag head_message_timestamp leader members memory message_bytes message_bytes_persistent
    message_bytes_ram message_bytes_ready message_bytes_unacknowledged messages messages_persistent messages_ram messages_ready
    messages_ready_ram messages_unacknowledged messages_unacknowledged_ram name online owner_pid pid policy slave_pids state
    synchronised_slave_pids type'
    list_exchanges 'arguments auto_delete durable internal name policy type'
    list_bindings 'arguments destination_kind destination_name routing_key source_kind source_name'
    list_connections 'auth_mechanism channel_max channels client_properties connected_at frame_max host name peer_cert_issuer peer_cert_subject
    peer_cert_validity peer_host peer_port pid port protocol recv_cnt recv_oct send_cnt send_oct send_pend ssl ssl_cipher ssl_hash
    ssl_key_exchange ssl_protocol state timeout user vhost'
    list_channels 'acks_uncommitted confirm connection consumer_count global_prefetch_count messages_unacknowledged messages_uncommitted
    messages_unconfirmed name number pid prefetch_count transactional user vhost'
    list_consumers 'ack_required active activity_status arguments channel_pid consumer_tag prefetch_count queue_name'
    list_vhosts 'cluster_state default_queue_type description name tags tracing'
    list_user_permissions '@users'
    list_user_topic_permissions '@users'
    purge_queue '@queues'
    delete_queue '@queues'
    close_all_user_connections '@users'
    sync_queue '@queues'
    quorum_status '@queues'
    add_member '@queues'
    delete_member '@queues'
    store 'verify stats dump'
    reasons 'recent totals'
    route '@exchanges'
    top 'queues connections'
    plugins 'list enable disable set is_enabled directories'
    list_delayed_messages '@exchanges'
    cancel_delayed_message '@exchanges'
    definitions 'plan apply'
    policy 'explain'
    messages 'find peek move replay'
)

_leveretctl_values() { # what
    local -a found
    case $1 in
    vhosts) found=(${(f)"$($service -s list_vhosts 2>/dev/null)"}) ;;
    users) found=(${(f)"$($service -s list_users 2>/dev/null | cut -f 1)"}) ;;
    queues) found=(${(f)"$($service -s list_queues name 2>/dev/null)"}) ;;
    exchanges) found=(${(f)"$($service -s list_exchanges name 2>/dev/null)"}) ;;
    esac
    compadd -a found
}

_leveretctl() {
    local command="" previous=$words[CURRENT-1] word i entry
    case $previous in
    --formatter) compadd table json csv pretty_table erlang; return ;;
    -d|--data-dir) _files -/; return ;;
    --socket|--password-file|--tls-ca-cert|--tls-cert|--tls-key) _files; return ;;
    -p|--vhost) _leveretctl_values vhosts; return ;;
    --user) _leveretctl_values users; return ;;
    esac
    (( ${_leveretctl_valued[(Ie)$previous]} )) && return
    for ((i = 2; i < CURRENT; i++)); do
        word=$words[i]
        if (( ${_leveretctl_valued[(Ie)$word]} )); then
            ((i++))
        elif [[ $word != -* ]]; then
            command=$word
            [[ $service == rabbitmq-plugins ]] && command=plugins_$word
            [[ $word == plugins && $i -lt $((CURRENT - 1)) ]] && command=plugins_$words[i+1]
            break
        fi
    done
    if [[ $words[CURRENT] == -* ]]; then
        compadd -- $_leveretctl_options ${=_leveretctl_own[$command]}
    elif [[ -z $command && $service == rabbitmq-plugins || $command == plugins ]]; then
        _describe -t commands command _leveretctl_plugins
    elif [[ -z $command || $command == help ]]; then
        _describe -t commands command _leveretctl_commands
    else
        entry=$_leveretctl_arguments[$command]
        case $entry in
        @*) _leveretctl_values ${entry#@} ;;
        ?*) compadd -- ${=entry} ;;
        esac
    fi
}

_leveretctl "$@"
