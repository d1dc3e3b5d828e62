# common.sh: what the benchmarks share: programs, ports, brokers as processes, numbers of leveret-perf's JSON. To be sourced, from the top of the
# checkout; everything that is started is stopped at the end, each process by its id.
# shellcheck shell=bash disable=SC2034

LEVERETD=${LEVERETD:-build/release/src/leveretd}
LEVERET_PERF=${LEVERET_PERF:-build/release/src/cli/leveret-perf}
RELAY=${RELAY:-build/release/tests/bench/relay}
LEVERETCTL=${LEVERETCTL:-build/release/src/cli/leveretctl}
ulimit -n "$(ulimit -Hn)" 2>/dev/null || true

for program in "$LEVERETD" "$LEVERET_PERF" "$LEVERETCTL" "$RELAY"; do
    [[ -x $program ]] || { echo "bench: $program is not there; ./dev build makes it" >&2 && exit 1; }
done

free_port() { # below the ephemeral ports, so that no client takes it meanwhile
    local port
    while port=$((10000 + RANDOM % 20000)) && (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do :; done
    echo "$port"
}
usage() { # of the script that sources this: its head comment
    sed -n '2,/^set /s/^# \{0,1\}//p' "$0" >&2
    exit 64
}

port_relay=$(free_port) port_leveret=$(free_port) port_rabbitmq=$(free_port) port_epmd=$(free_port) port_dist=$(free_port)

load=$(cut -d' ' -f1 /proc/loadavg)
work=$(mktemp -d "${BENCH_DIR:-${TMPDIR:-/tmp}}/leveret-bench.XXXXXX") # the data directories are in it: on a disk
pids=() epmd_started=
say() { echo "bench: $*" >&2; }

finish() {
    local pid
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    [[ -z $epmd_started ]] || ERL_EPMD_PORT=$port_epmd epmd -kill >/dev/null 2>&1 || true
    for pid in "${pids[@]}"; do wait_gone "$pid" || kill -9 "$pid" 2>/dev/null || true; done
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM

is_gone() { # PID; one that ended and was not waited for is gone too
    local state
    state=$(sed -n 's/^State:[[:space:]]*//p' "/proc/$1/status" 2>/dev/null) || true
    [[ -z $state || $state == Z* ]]
}

wait_gone() { # PID [SECONDS]: true once it is gone, false after 20 s
    local i
    for ((i = 0; i < 100 * ${2:-20}; i++)); do
        is_gone "$1" && return 0
        sleep 0.01
    done
    return 1
}

wait_port() { # PORT PID LOG
    local i
    for ((i = 0; i < 600; i++)); do
        if (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; then return 0; fi
        kill -0 "$2" 2>/dev/null || break
        sleep 0.1
    done
    say "nothing listens on port $1" && tail -n 20 "$3" >&2
    return 1
}

# --- brokers: each start_* sets `pid` and `uri` ---------------------------------------------------------------------------

start_relay() { # [--sync FILE MIB]
    "$RELAY" $port_relay "$@" >"$work/relay.log" 2>&1 &
    pid=$! uri=amqp://127.0.0.1:$port_relay
    pids+=("$pid")
    wait_port $port_relay "$pid" "$work/relay.log"
}

launch_leveret() { # WORKERS; with the data that is there, and without waiting for it
    # shellcheck disable=SC2086
    "$LEVERETD" -d "$work/data" -o listeners.tcp.1=127.0.0.1:$port_leveret -o management.tcp.port=0 -o prometheus.tcp.port=${METRICS_PORT:-0} -o workers="$1" ${LEVERETD_ARGS:-} \
        >"$work/leveret.log" 2>&1 &
    pid=$! uri=amqp://127.0.0.1:$port_leveret
    pids+=("$pid")
}

start_leveret() { # WORKERS; fresh data each time
    rm -rf "$work/data"
    launch_leveret "$1"
    wait_port $port_leveret "$pid" "$work/leveret.log"
}

start_rabbitmq() {
    local dir=$work/rabbitmq home
    home=$(find /usr/lib/rabbitmq/lib -maxdepth 1 -name 'rabbitmq_server-*' | sort | tail -n 1)
    mkdir -p "$dir"
    printf 'listeners.tcp.1 = 127.0.0.1:%s\n' $port_rabbitmq >"$dir/rabbitmq.conf"
    printf '[].\n' >"$dir/enabled_plugins"
    : >"$dir/rabbitmq-env.conf"
    epmd_started=yes
    env -i PATH="$PATH" HOME="$dir" LANG=C.UTF-8 RABBITMQ_NODENAME="bench$port_rabbitmq@localhost" RABBITMQ_BASE="$dir" \
        RABBITMQ_MNESIA_BASE="$dir/mnesia" RABBITMQ_LOG_BASE="$dir" RABBITMQ_CONFIG_FILE="$dir/rabbitmq.conf" \
        RABBITMQ_CONF_ENV_FILE="$dir/rabbitmq-env.conf" RABBITMQ_PID_FILE="$dir/pid" \
        RABBITMQ_ENABLED_PLUGINS_FILE="$dir/enabled_plugins" RABBITMQ_DIST_PORT=$port_dist \
        ERL_EPMD_PORT="$port_epmd" ERL_EPMD_ADDRESS=127.0.0.1 ERL_CRASH_DUMP="$dir/erl_crash.dump" \
        RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1}" \
        "$home/sbin/rabbitmq-server" >"$work/rabbitmq.log" 2>&1 &
    local script=$!
    pids+=("$script")
    uri=amqp://127.0.0.1:$port_rabbitmq
    wait_port $port_rabbitmq "$script" "$work/rabbitmq.log"
    pid=$(cat "$dir/pid")
    [[ $pid == "$script" ]] || pids+=("$pid")
}

stop_broker() { # orderly, however long it takes: it may have much to write
    local i
    kill "$pid" 2>/dev/null || true
    for ((i = 0; i < ${stop_deadline_s:-20}; i++)); do
        wait_gone "$pid" 1 && break
    done
    kill -9 "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
}

crash_broker() {
    kill -9 "$pid"
    wait "$pid" 2>/dev/null || true
}

memory_mib() { # PID NAME: a line of /proc/PID/status, in MiB
    awk -v name="$2:" '$1 == name { printf "%.0f\n", $2 / 1024 }' "/proc/$1/status"
}

disk_mib() { # DIR
    du -sm "$1" | cut -f1
}

# --- numbers ------------------------------------------------------------------------------------------------------------

number() { # FILE KEY: a number of leveret-perf's JSON
    sed -n "s/^ \"$2\": \(-\{0,1\}[0-9.]*\),\{0,1\}\$/\1/p" "$1"
}

percentile() { # FILE KEY PERCENTILE, microseconds
    sed -n "s/^ \"$2\": {.*\"$3\": \([0-9.]*\).*/\1/p" "$1"
}

median() { # of the numbers on standard input
    sort -g | awk '{ v[NR] = $1 } END { print NR ? v[int((NR + 1) / 2)] : "" }'
}

thousands() { awk -v v="${1:-}" 'BEGIN { if (v == "") { print "–"; exit } s = sprintf("%d", v); o = ""; while (length(s) > 3) {
    o = "," substr(s, length(s) - 2) o; s = substr(s, 1, length(s) - 3) } print s o }'; }
ratio() { awk -v a="${1:-}" -v b="${2:-}" 'BEGIN { if (a == "" || b == "" || b == 0) print "–"; else printf "%.2f\n", a / b }'; }
milliseconds() { awk -v v="${1:-}" 'BEGIN { if (v == "") print "–"; else printf "%.2f\n", v / 1000 }'; }
have_rabbitmq() { [[ -n ${rabbitmq:-} ]] && compgen -G '/usr/lib/rabbitmq/lib/rabbitmq_server-*' >/dev/null; }

machine() { # one line: where the figures come from
    echo "$(nproc) cores ($(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)), Linux $(uname -r), $(stat -f -c %T "$work"), load average before:" \
        "$load"
}
