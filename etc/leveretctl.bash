# leveretctl.bash: completion of leveretctl's commands, options and columns in bash. Sourced, or installed as
# /usr/share/bash-completion/completions/leveretctl. The tool itself knows its commands (leveretctl autocomplete) and columns (help).

_leveretctl() {
    local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} command="" columns i
    COMPREPLY=()
    case $previous in
    --formatter) mapfile -t COMPREPLY < <(compgen -W 'table json csv pretty_table erlang' -- "$word") && return ;;
    -d | --data-dir) mapfile -t COMPREPLY < <(compgen -d -- "$word") && return ;;
    --socket) mapfile -t COMPREPLY < <(compgen -f -- "$word") && return ;;
    -n | --node | -t | --timeout) return ;;
    -p | --vhost) mapfile -t COMPREPLY < <(compgen -W "$("$1" -s list_vhosts 2>/dev/null)" -- "$word") && return ;;
    esac
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
        -n | --node | -t | --timeout | -p | --vhost | --formatter | --socket | -d | --data-dir) ((i++)) ;;
        -*) ;;
        *) command=${COMP_WORDS[i]} && break ;;
        esac
    done
    if [[ $word == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W '--node --vhost --quiet --silent --timeout --formatter --no-table-headers --dry-run --socket
            --help' -- "$word")
    elif [[ -z $command ]]; then
        mapfile -t COMPREPLY < <("$1" autocomplete "$word" 2>/dev/null)
    elif [[ $command == store ]]; then
        mapfile -t COMPREPLY < <(compgen -W 'verify stats dump' -- "$word")
    elif [[ $command == help ]]; then
        mapfile -t COMPREPLY < <("$1" autocomplete "$word" 2>/dev/null)
    elif [[ $command == list_* ]]; then
        columns=$("$1" help "$command" 2>/dev/null | sed -n 's/^\tmust be one of //p' | tr -d ,)
        mapfile -t COMPREPLY < <(compgen -W "$columns" -- "$word")
    elif [[ $command == @(purge|delete)_queue ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$("$1" -s list_queues name 2>/dev/null)" -- "$word")
    elif [[ $command == @(delete_user|change_password|clear_password|authenticate_user|set_user_tags|set_permissions|clear_permissions|list_user_permissions) ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$("$1" -s list_users 2>/dev/null | cut -f 1)" -- "$word")
    elif [[ $command == @(delete_vhost|set_vhost_tags) ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$("$1" -s list_vhosts 2>/dev/null)" -- "$word")
    fi
}

complete -F _leveretctl leveretctl
