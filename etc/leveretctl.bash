# leveretctl.bash: completion of leveretctl and of RabbitMQ's tools by name in bash. Written by docs/generate.py: do not edit.
# Sourced, or installed as /usr/share/bash-completion/completions/leveretctl.
_leveretctl_commands='add_member add_user add_vhost alarms authenticate_user autocomplete await_online_nodes await_online_quorum_plus_one
    await_online_synchronized_mirror await_startup cancel_delayed_message change_password check_alarms check_certificate_expiration
    check_if_node_is_mirror_sync_critical check_if_node_is_quorum_critical check_local_alarms check_port_connectivity
    check_port_listener check_protocol_listener check_running check_virtual_hosts clear_global_parameter clear_operator_policy
    clear_parameter clear_password clear_permissions clear_policy clear_topic_permissions clear_user_limits clear_vhost_limits
    close_all_connections close_all_user_connections close_connection cluster_status definitions delete_member delete_queue
    delete_user delete_vhost discover_peers enable_feature_flag environment erlang_version export_definitions forget_cluster_node grow
    hash_password help import_definitions is_booting is_running list_bindings list_channels list_connections list_consumers
    list_delayed_messages list_exchanges list_feature_flags list_global_parameters list_operator_policies list_parameters
    list_permissions list_policies list_queues list_topic_permissions list_unresponsive_queues list_user_limits list_user_permissions
    list_user_topic_permissions list_users list_vhost_limits list_vhosts listeners log_location log_tail memory_breakdown messages
    node_health_check ping plugins policy purge_queue quorum_status reasons rebalance report restart_vhost rotate_logs route
    server_version set_cluster_name set_global_parameter set_log_level set_operator_policy set_parameter set_permissions set_policy
    set_topic_permissions set_user_limits set_user_tags set_vhost_limits set_vhost_tags shrink shutdown start_app status stop store
    sync_queue top trace_off trace_on version wait'
_leveretctl_plugins='directories disable enable is_enabled list set'
_leveretctl_options='--node --longnames --quiet --silent --vhost --timeout --formatter --dry-run --help --version --no-table-headers --print-stacktrace
    --socket --host --port --username --password --password-file --tls --tls-ca-cert --tls-cert --tls-key --tls-insecure
    --erlang-cookie --script-name'
_leveretctl_valued='--node -n --vhost -p --timeout -t --formatter --socket --host --port --username --password --password-file --tls-ca-cert
    --tls-cert --tls-key --erlang-cookie --script-name --description --tags --default-queue-type --limit --per-connection-delay --user
    --pid -P --algorithm --data-dir -d --queue --seq --priority --apply-to --truncate --interval --sort --number -N --unit --within
    --examine --exchange --routing-key --vhost-pattern --queue-pattern --format'
declare -gA _leveretctl_own=(
    [help]='--list-commands'
    [shutdown]='--wait'
    [stop]='--idempotent'
    [wait]='--pid -P'
    [hash_password]='--algorithm'
    [add_vhost]='--description --tags --default-queue-type'
    [list_vhost_limits]='--global'
    [list_user_limits]='--global --user'
    [set_policy]='--priority --apply-to'
    [set_operator_policy]='--priority --apply-to'
    [list_queues]='--online --offline --local'
    [delete_queue]='--if-empty -e --if-unused -u'
    [close_all_connections]='--limit --global --per-connection-delay'
    [log_tail]='--number -N'
    [check_certificate_expiration]='--unit --within'
    [forget_cluster_node]='--offline'
    [list_unresponsive_queues]='--local'
    [rebalance]='--vhost-pattern --queue-pattern'
    [grow]='--vhost-pattern --queue-pattern'
    [store]='--limit --data-dir -d --json --queue --seq --lost-and-found --truncate'
    [route]='--user'
    [top]='--limit --once --interval --sort'
    [export_definitions]='--format --skip-if-unchanged --exact --force'
    [import_definitions]='--format --skip-if-unchanged --exact --force'
    [definitions]='--format --skip-if-unchanged --exact --force'
    [messages]='--limit --truncate --examine --exchange --routing-key'
    [plugins_list]='--if-empty -e --minimal -m --enabled -E --implicitly-enabled --verbose -v --all -a'
    [plugins_enable]='--online --offline --minimal -m --enabled -E --implicitly-enabled --verbose -v --all -a'
    [plugins_disable]='--online --offline --minimal -m --enabled -E --implicitly-enabled --verbose -v --all -a'
    [plugins_set]='--online --offline --minimal -m --enabled -E --implicitly-enabled --verbose -v --all -a'
    [plugins_is_enabled]='--online --offline'
    [plugins_directories]='--online --offline'
)
declare -gA _leveretctl_arguments=(
    [add_user]='@users'
    [authenticate_user]='@users'
    [change_password]='@users'
    [clear_password]='@users'
    [delete_user]='@users'
    [set_user_tags]='@users'
    [set_permissions]='@users'
    [clear_permissions]='@users'
    [set_topic_permissions]='@users'
    [clear_topic_permissions]='@users'
    [add_vhost]='@vhosts'
    [delete_vhost]='@vhosts'
    [set_vhost_tags]='@vhosts'
    [set_user_limits]='@users'
    [clear_user_limits]='@users'
    [list_feature_flags]='desc doc_url name provided_by stability state'
    [list_queues]='arguments auto_delete consumer_capacity consumer_utilisation consumers disk_reads disk_writes durable exclusive
    exclusive_consumer_pid exclusive_consumer_tag head_message_timestamp leader members memory message_bytes message_bytes_persistent
    message_bytes_ram message_bytes_ready message_bytes_unacknowledged messages messages_persistent messages_ram messages_ready
    messages_ready_ram messages_unacknowledged messages_unacknowledged_ram name online owner_pid pid policy slave_pids state
    synchronised_slave_pids type'
    [list_exchanges]='arguments auto_delete durable internal name policy type'
    [list_bindings]='arguments destination_kind destination_name routing_key source_kind source_name'
    [list_connections]='auth_mechanism channel_max channels client_properties connected_at frame_max host name peer_cert_issuer peer_cert_subject
    peer_cert_validity peer_host peer_port pid port protocol recv_cnt recv_oct send_cnt send_oct send_pend ssl ssl_cipher ssl_hash
    ssl_key_exchange ssl_protocol state timeout user vhost'
    [list_channels]='acks_uncommitted confirm connection consumer_count global_prefetch_count messages_unacknowledged messages_uncommitted
    messages_unconfirmed name number pid prefetch_count transactional user vhost'
    [list_consumers]='ack_required active activity_status arguments channel_pid consumer_tag prefetch_count queue_name'
    [list_vhosts]='cluster_state default_queue_type description name tags tracing'
    [list_user_permissions]='@users'
    [list_user_topic_permissions]='@users'
    [purge_queue]='@queues'
    [delete_queue]='@queues'
    [close_all_user_connections]='@users'
    [sync_queue]='@queues'
    [quorum_status]='@queues'
    [add_member]='@queues'
    [delete_member]='@queues'
    [store]='verify stats dump'
    [reasons]='recent totals'
    [route]='@exchanges'
    [top]='queues connections'
    [plugins]='list enable disable set is_enabled directories'
    [list_delayed_messages]='@exchanges'
    [cancel_delayed_message]='@exchanges'
    [definitions]='plan apply'
    [policy]='explain'
    [messages]='find peek move replay'
)

# What the broker knows; nothing when it does not answer.
_leveretctl_values() { # program, what
    case $2 in
    vhosts) "$1" -s list_vhosts ;;
    users) "$1" -s list_users | cut -f 1 ;;
    queues) "$1" -s list_queues name ;;
    exchanges) "$1" -s list_exchanges name ;;
    esac 2>/dev/null
}

_leveretctl() {
    local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} command="" i entry
    COMPREPLY=()
    case $previous in
    --formatter) mapfile -t COMPREPLY < <(compgen -W 'table json csv pretty_table erlang' -- "$word") && return ;;
    -d | --data-dir) mapfile -t COMPREPLY < <(compgen -d -- "$word") && return ;;
    --socket | --password-file | --tls-ca-cert | --tls-cert | --tls-key) mapfile -t COMPREPLY < <(compgen -f -- "$word") && return ;;
    -p | --vhost) mapfile -t COMPREPLY < <(compgen -W "$(_leveretctl_values "$1" vhosts)" -- "$word") && return ;;
    --user) mapfile -t COMPREPLY < <(compgen -W "$(_leveretctl_values "$1" users)" -- "$word") && return ;;
    esac
    [[ " $_leveretctl_valued " == *" $previous "* ]] && return
    for ((i = 1; i < COMP_CWORD; i++)); do
        if [[ " $_leveretctl_valued " == *" ${COMP_WORDS[i]} "* ]]; then
            ((i++))
        elif [[ ${COMP_WORDS[i]} != -* ]]; then
            command=${COMP_WORDS[i]}
            [[ ${1##*/} == rabbitmq-plugins ]] && command="plugins_$command"
            [[ $command == plugins && $i -lt $((COMP_CWORD - 1)) ]] && command="plugins_${COMP_WORDS[i + 1]}"
            break
        fi
    done
    if [[ $word == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$_leveretctl_options ${_leveretctl_own[$command]-}" -- "$word")
    elif [[ -z $command && ${1##*/} == rabbitmq-plugins ]] || [[ $command == plugins ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$_leveretctl_plugins" -- "$word")
    elif [[ -z $command || $command == help ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$_leveretctl_commands" -- "$word")
    else
        entry=${_leveretctl_arguments[$command]-}
        case $entry in
        @*) mapfile -t COMPREPLY < <(compgen -W "$(_leveretctl_values "$1" "${entry#@}")" -- "$word") ;;
        ?*) mapfile -t COMPREPLY < <(compgen -W "$entry" -- "$word") ;;
        esac
    fi
}

complete -F _leveretctl leveretctl rabbitmqctl rabbitmq-diagnostics rabbitmq-queues rabbitmq-plugins
