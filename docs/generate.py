#!/usr/bin/python3
"""Writes what documents have in common with tables in the code, so that none of it can go stale:

  docs/man/leveretctl.1      the part COMMANDS, of leveretctl's table of commands
  docs/man/leveret.conf.5    all of it, of etc/leveret.conf, which is made of the table of keys
  docs/compatibility.md      the table of RabbitMQ's command line tools
  etc/leveretctl.bash, etc/leveretctl.zsh   completion, of the table of commands

docs/generate.py LEVERETCTL writes them; with --check it only says which are not current (exit status 1). A test runs that.
"""

import json
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# The commands of RabbitMQ 3.10's rabbitmqctl, rabbitmq-diagnostics, rabbitmq-queues and rabbitmq-upgrade.
RABBITMQ = """
autocomplete help version await_startup reset rotate_logs shutdown start_app stop stop_app wait await_online_nodes change_cluster_node_type
cluster_status force_boot force_reset forget_cluster_node join_cluster rename_cluster_node update_cluster_nodes cancel_sync_queue sync_queue
add_user authenticate_user change_password clear_password clear_user_limits delete_user list_user_limits list_users set_user_limits
set_user_tags clear_permissions clear_topic_permissions list_permissions list_topic_permissions list_user_permissions
list_user_topic_permissions list_vhosts set_permissions set_topic_permissions list_bindings list_channels list_ciphers list_connections
list_consumers list_exchanges list_hashes list_node_auth_attempt_stats list_queues list_unresponsive_queues ping report schema_info status
clear_global_parameter clear_parameter list_global_parameters list_parameters set_global_parameter set_parameter clear_operator_policy
clear_policy list_operator_policies list_policies set_operator_policy set_policy add_vhost clear_vhost_limits delete_vhost list_vhost_limits
restart_vhost set_vhost_limits set_vhost_tags trace_off trace_on decode encode environment set_cluster_name set_disk_free_limit set_log_level
set_vm_memory_high_watermark export_definitions import_definitions enable_feature_flag list_feature_flags close_all_connections
close_all_user_connections close_connection eval eval_file exec force_gc resume_listeners suspend_listeners delete_queue purge_queue
hipe_compile node_health_check
alarms certificates check_alarms check_certificate_expiration check_if_node_is_mirror_sync_critical check_if_node_is_quorum_critical
check_local_alarms check_port_connectivity check_port_listener check_protocol_listener check_running check_virtual_hosts cipher_suites
command_line_arguments consume_event_stream disable_auth_attempt_source_tracking discover_peers enable_auth_attempt_source_tracking
erlang_cookie_hash erlang_cookie_sources erlang_version is_booting is_running list_network_interfaces listeners log_location log_tail
log_tail_stream maybe_stuck memory_breakdown observer os_env quorum_status reclaim_quorum_memory remote_shell
reset_node_auth_attempt_metrics resolve_hostname resolver_info runtime_thread_stats server_version stream_status tls_versions
grow rebalance shrink add_member delete_member peek
await_online_quorum_plus_one await_online_synchronized_mirror drain post_upgrade revive
""".split()

# What completion offers for an argument, by what the usage calls it.
VALUES = {"username": "users", "vhost": "vhosts", "queue": "queues", "exchange": "exchanges"}


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as f:
        return f.read()


def between(text, begin, end, new):
    head, _, rest = text.partition(begin)
    _, found, tail = rest.partition(end)
    if not found:
        sys.exit(f"{begin} ... {end}: not there")
    return head + begin + new + end + tail


# --- roff -------------------------------------------------------------------------------------------------------------------------


def roff(text):
    """Text for a line of a manual page; <words> are italic."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    text = re.sub(r"<([^<>]+)>", r"\\fI\1\\fR", text)
    return "\\&" + text if text.startswith(".") else text


def details_of(command):
    """[(term, meaning)] of "<argument>\\n\\tmeaning\\n\\n..."."""
    found = []
    for paragraph in command["details"].split("\n\n"):
        term, _, meaning = paragraph.partition("\n\t")
        if term.strip():
            found.append((term.strip(), " ".join(meaning.split())))
    return found


def manual_commands(table):
    out = []
    groups = []
    for command in table["commands"] + [{**c, "name": "plugins " + c["name"]} for c in table["plugins"] if c["group"] == "Plugins"]:
        if command["group"] not in groups:
            groups.append(command["group"])
    everything = table["commands"] + [{**c, "name": "plugins " + c["name"]} for c in table["plugins"] if c["group"] == "Plugins"]
    for group in groups:
        out.append(f".SS {group}")
        for command in everything:
            if command["group"] != group:
                continue
            out += [".TP", f"\\fB{roff(command['name'])}\\fR {roff(command['usage'])}".rstrip(), roff(command["about"]) + "."]
            if command["needs_socket"]:
                out.append("Over the control socket only.")
            if command["columns"]:
                out.append("Columns: " + roff(", ".join(command["columns"])) + ".")
            details = details_of(command)
            if details:
                out.append(".RS")
                for term, meaning in details:
                    out += [".TP", roff(term), roff(meaning[0].upper() + meaning[1:]) + "." if meaning else "\\&"]
                out.append(".RE")
    return "\n" + "\n".join(out) + "\n"


def manual_configuration():
    lines = read("etc/leveret.conf").splitlines()
    out = ['.TH LEVERET.CONF 5 "" "Leveret" "Leveret"', ".SH NAME", "leveret.conf \\- configuration of leveretd", ".SH SYNOPSIS",
           ".I /etc/leveret/leveret.conf", ".br", ".I /etc/leveret/conf.d/*.conf", ".SH DESCRIPTION"]
    first = next(i for i, line in enumerate(lines) if line.startswith("## ===="))
    paragraph = []
    for line in lines[:first] + [""]:  # the first paragraph stands right behind its heading
        text = line.lstrip("#").strip()
        if text:
            paragraph.append(text)
        elif paragraph:
            words = " ".join(paragraph)
            if not words.startswith("leveret.conf:"):
                out += [".PP", roff(words.replace("<FILE", "\0")).replace("\0", "<FILE")]
            else:
                out.append(roff(words.partition(": ")[2][0].upper() + words.partition(": ")[2][1:]))
            paragraph = []
    comment = []
    for line in lines[first:]:
        section = re.match(r"## ==== (.*) ====", line)
        key = re.match(r"# ?([a-z][^=]*?) = (.*)", line) or re.match(r"([a-z][^=]*?) = (.*)", line)
        entry = re.match(r"##   (\S+): (.*)", line)
        if section:
            out.append(f".SH {roff(section[1]).upper()}")
            comment = []
        elif key:
            out += [".TP", f"\\fB{roff(key[1])}\\fR = {roff(key[2])}"] + [roff_plain(text) for text in comment]
            comment = []
        elif entry:
            out += [".TP", f"\\fB{roff(entry[1])}\\fR", roff_plain(entry[2])]
        elif line.startswith("##   "):
            out.append(roff_plain(line[5:].strip()))
        elif line.startswith("## "):
            comment.append(line[3:].strip())
        elif not line.strip():
            comment = []
    out += [".SH SEE ALSO", ".BR leveretd (8),", ".BR leveretctl (1)"]
    return "\n".join(out) + "\n"


def roff_plain(text):
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("`", "\\(ga")
    return "\\&" + text if text.startswith(".") else text


# --- completion ---------------------------------------------------------------------------------------------------------------------

BASH_HEAD = """# leveretctl.bash: completion of leveretctl and of RabbitMQ's tools by name in bash. Written by docs/generate.py: do not edit.
# Sourced, or installed as /usr/share/bash-completion/completions/leveretctl.

"""

BASH_TAIL = """
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
"""


def arguments_of(command):
    """What may stand behind a command: words, or @vhosts, @users ..., or nothing that is known."""
    if command["columns"]:
        return " ".join(command["columns"])
    usage = re.sub(r"\[-[^\]]*\]", "", command["usage"])
    first = re.match(r"\s*[\[(]*\s*([^\s\])]+(?:\s*\|\s*[^\s\])]+)*)", usage)
    if not first:
        return ""
    named = re.match(r"<(\w+)>", first[1])
    if named:
        return "@" + VALUES[named[1]] if named[1] in VALUES else ""
    words = [word for word in re.split(r"[|\s]+", first[1]) if re.fullmatch(r"[a-z_]+", word)]
    return " ".join(words)


def own_options(table, command):
    names = []
    for option in table["options"]:
        if option["bit"] & command["options"]:
            names += ["--" + option["name"]] + (["-" + option["letter"]] if option["letter"] else [])
    return names


def with_plugins(table):
    return table["commands"] + [{**c, "name": "plugins_" + c["name"]} for c in table["plugins"] if c["group"] == "Plugins"]


def wrapped(words, width=130):
    lines, line = [], ""
    for word in words:
        if line and len(line) + len(word) + 1 > width:
            lines.append(line)
            line = ""
        line += (" " if line else "") + word
    return "\n    ".join(lines + [line])


def bash(table):
    everywhere = [o for o in table["options"] if o["bit"] == 0]
    out = [BASH_HEAD.rstrip("\n")]
    out.append(f"_leveretctl_commands='{wrapped(sorted(c['name'] for c in table['commands']))}'")
    out.append(f"_leveretctl_plugins='{wrapped(sorted(c['name'] for c in table['plugins'] if c['group'] == 'Plugins'))}'")
    out.append(f"_leveretctl_options='{wrapped(['--' + ('no-table-headers' if o['name'] == 'table-headers' else o['name']) for o in everywhere])}'")
    valued = [w for o in table["options"] if o["takes_value"] for w in ["--" + o["name"]] + (["-" + o["letter"]] if o["letter"] else [])]
    out.append(f"_leveretctl_valued='{wrapped(valued)}'")
    out.append("declare -gA _leveretctl_own=(")
    out += [f"    [{c['name']}]='{' '.join(own_options(table, c))}'" for c in with_plugins(table) if own_options(table, c)]
    out += [")", "declare -gA _leveretctl_arguments=("]
    out += [f"    [{c['name']}]='{wrapped(arguments_of(c).split())}'" for c in with_plugins(table) if arguments_of(c)]
    out.append(")")
    return "\n".join(out) + "\n" + BASH_TAIL


ZSH_TAIL = """
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
"""


def zsh(table):
    def quoted(text):
        return "'" + text.replace("'", "'\\''") + "'"

    def described(c):
        return "    " + quoted(c["name"] + ":" + c["about"].replace(":", "\\:"))

    everywhere = ["--" + ("no-table-headers" if o["name"] == "table-headers" else o["name"]) for o in table["options"] if o["bit"] == 0]
    valued = [w for o in table["options"] if o["takes_value"] for w in ["--" + o["name"]] + (["-" + o["letter"]] if o["letter"] else [])]
    out = ["#compdef leveretctl rabbitmqctl rabbitmq-diagnostics rabbitmq-queues rabbitmq-plugins",
           "# leveretctl.zsh: completion of leveretctl and of RabbitMQ's tools by name in zsh. Written by docs/generate.py: do not edit.",
           "# Installed as _leveretctl in a folder of $fpath.", "", "local -a _leveretctl_commands=("]
    out += [described(c) for c in sorted(table["commands"], key=lambda c: c["name"])]
    out += [")", "local -a _leveretctl_plugins=("]
    out += [described(c) for c in table["plugins"] if c["group"] == "Plugins"]
    out += [")", f"local -a _leveretctl_options=({wrapped(everywhere)})", f"local -a _leveretctl_valued=({wrapped(valued)})",
            "local -A _leveretctl_own=("]
    out += [f"    {c['name']} '{' '.join(own_options(table, c))}'" for c in with_plugins(table) if own_options(table, c)]
    out += [")", "local -A _leveretctl_arguments=("]
    out += [f"    {c['name']} '{wrapped(arguments_of(c).split())}'" for c in with_plugins(table) if arguments_of(c)]
    out.append(")")
    return "\n".join(out) + "\n" + ZSH_TAIL


# --- docs/compatibility.md ------------------------------------------------------------------------------------------------------------


def compatibility(table):
    have = {c["name"]: c for c in table["commands"]}
    absent = {a["name"]: a["why"] for a in table["absent"]}
    unknown = [name for name in RABBITMQ if name not in have and name not in absent]
    if unknown:
        sys.exit("neither there nor explained in leveretctl_absent.c: " + ", ".join(unknown))
    superfluous = [name for name in absent if name not in RABBITMQ]
    if superfluous:
        sys.exit("leveretctl_absent.c explains what RabbitMQ does not have: " + ", ".join(superfluous))
    out = ["", "| commands | |", "| --- | --- |"]
    there = [f"`{name}`" for name in RABBITMQ if name in have]
    out.append(f"| there, of RabbitMQ's ({len(there)}) | {', '.join(there)} |")
    out.append(f"| there, over the control socket only | {', '.join('`' + n + '`' for n in sorted(have) if have[n]['needs_socket'])} |")
    out.append(f"| Leveret's own | {', '.join('`' + n + '`' for n in sorted(have) if n not in RABBITMQ)} |")
    reasons = {}
    for name in RABBITMQ:
        if name not in have:
            reasons.setdefault(absent[name], []).append(f"`{name}`")
    for why, names in reasons.items():
        out.append(f"| not there: {', '.join(names)} | {why} |")
    return "\n".join(out) + "\n"


def main():
    is_check = "--check" in sys.argv
    (tool,) = [word for word in sys.argv[1:] if word != "--check"]
    shown = subprocess.run([tool, "help", "--list-commands", "--formatter", "json"], capture_output=True, check=True)
    table = json.loads(shown.stdout)
    wanted = {
        "docs/man/leveretctl.1": between(read("docs/man/leveretctl.1"), '.\\" commands: written by docs/generate.py',
                                         '.\\" end of commands', manual_commands(table)),
        "docs/man/leveret.conf.5": manual_configuration(),
        "docs/compatibility.md": between(read("docs/compatibility.md"), "<!-- commands: written by docs/generate.py -->\n",
                                         "<!-- end of commands -->", compatibility(table)),
        "etc/leveretctl.bash": bash(table),
        "etc/leveretctl.zsh": zsh(table),
    }
    stale = []
    for path, text in wanted.items():
        if os.path.exists(os.path.join(ROOT, path)) and read(path) == text:
            continue
        stale.append(path)
        if not is_check:
            with open(os.path.join(ROOT, path), "w", encoding="utf-8") as f:
                f.write(text)
    for path in stale:
        print(f"{path}: {'not current: run docs/generate.py' if is_check else 'written'}")
    return 1 if is_check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
