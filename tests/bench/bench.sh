#!/usr/bin/env bash
# bench.sh: throughput and CPU a message of a least-possible relay, Leveret and RabbitMQ side by side, and what idle connections
# and declared queues cost. Prints markdown (docs/performance.md holds such a run); progress goes to standard error.
#
#   tests/bench/bench.sh [--quick] [--no-rabbitmq] [--runs N] [--seconds S]
#
# LEVERETD, LEVERET_PERF, RELAY name the programs (default: those of build/release), LEVERETD_ARGS adds arguments of leveretd.
# RabbitMQ runs when the package rabbitmq-server is installed: a node of its own on the loopback, its data in a temporary folder.
# Everything that is started is stopped at the end, each process by its id. About 4 minutes; --quick less than one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export LC_ALL=C

quick= rabbitmq=yes runs=3 seconds=2 warmup=1
connections=10000 queues=100000 rabbitmq_connections=2000 rabbitmq_queues=2000
while (($#)); do
    case $1 in
    --quick) quick=yes runs=1 seconds=1 warmup=0.5 connections=2000 queues=20000 ;;
    --no-rabbitmq) rabbitmq= ;;
    --runs) runs=$2 && shift ;;
    --seconds) seconds=$2 && shift ;;
    *) sed -n '2,10s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2 && exit 64 ;;
    esac
    shift
done

LEVERETD=${LEVERETD:-build/release/src/leveretd}
LEVERET_PERF=${LEVERET_PERF:-build/release/src/cli/leveret-perf}
RELAY=${RELAY:-build/release/tests/bench/relay}
ulimit -n "$(ulimit -Hn)" 2>/dev/null || true

for program in "$LEVERETD" "$LEVERET_PERF" "$RELAY"; do
    [[ -x $program ]] || { echo "bench: $program is not there; ./dev build makes it" >&2 && exit 1; }
done

free_port() { # below the ephemeral ports, so that no client takes it meanwhile
    local port
    while port=$((10000 + RANDOM % 20000)) && (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do :; done
    echo "$port"
}
port_relay=$(free_port) port_leveret=$(free_port) port_rabbitmq=$(free_port) port_epmd=$(free_port) port_dist=$(free_port)

load=$(cut -d' ' -f1 /proc/loadavg)
work=$(mktemp -d "${TMPDIR:-/tmp}/leveret-bench.XXXXXX")
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

wait_gone() { # PID: true once it is gone, false after 20 s
    local i
    for ((i = 0; i < 200; i++)); do
        kill -0 "$1" 2>/dev/null || return 0
        sleep 0.1
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

start_relay() {
    "$RELAY" $port_relay >"$work/relay.log" 2>&1 &
    pid=$! uri=amqp://127.0.0.1:$port_relay
    pids+=("$pid")
    wait_port $port_relay "$pid" "$work/relay.log"
}

start_leveret() { # WORKERS; fresh data each time
    rm -rf "$work/data"
    # shellcheck disable=SC2086
    "$LEVERETD" -d "$work/data" -o listeners.tcp.1=127.0.0.1:$port_leveret -o workers="$1" ${LEVERETD_ARGS:-} \
        >"$work/leveret.log" 2>&1 &
    pid=$! uri=amqp://127.0.0.1:$port_leveret
    pids+=("$pid")
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

stop_broker() {
    kill "$pid" 2>/dev/null || true
    wait_gone "$pid" || kill -9 "$pid"
    wait "$pid" 2>/dev/null || true
}

# --- measuring ------------------------------------------------------------------------------------------------------------

number() { # FILE KEY: a number of leveret-perf's JSON
    sed -n "s/^ \"$2\": \(-\{0,1\}[0-9.]*\),\{0,1\}\$/\1/p" "$1"
}

percentile() { # FILE KEY PERCENTILE, microseconds
    sed -n "s/^ \"$2\": {.*\"$3\": \([0-9.]*\).*/\1/p" "$1"
}

median() { # of the numbers on standard input
    sort -g | awk '{ v[NR] = $1 } END { print NR ? v[int((NR + 1) / 2)] : "" }'
}

cases=(auto_ack acks kib confirms)
declare -A arguments=(
    [auto_ack]="--auto-ack"
    [acks]="--prefetch 500"
    [kib]="--size 1KiB --auto-ack"
    [confirms]="--confirm 1000 --auto-ack"
)
declare -A titles=(
    [auto_ack]="16 B, automatic acks"
    [acks]="16 B, each message acked, prefetch 500"
    [kib]="1 KiB, automatic acks"
    [confirms]="16 B, confirms, 1000 outstanding, automatic acks"
)
declare -A result # BROKER.CASE.FIGURE

measure_cases() { # BROKER
    local name run
    for name in "${cases[@]}"; do
        local file=$work/$1.$name
        for ((run = 1; run <= runs; run++)); do
            # shellcheck disable=SC2086
            "$LEVERET_PERF" run --uri "$uri" --pid "$pid" --json --quiet --warmup $warmup --duration "$seconds" \
                ${arguments[$name]} >"$file.$run"
            say "$1, ${titles[$name]}: $(number "$file.$run" consumed_per_s)/s, $(number "$file.$run" broker_cpu_us_per_message) us"
        done
        result[$1.$name.rate]=$(for ((run = 1; run <= runs; run++)); do number "$file.$run" consumed_per_s; done | median)
        result[$1.$name.cpu]=$(for ((run = 1; run <= runs; run++)); do number "$file.$run" broker_cpu_us_per_message; done | median)
        result[$1.$name.p50]=$(for ((run = 1; run <= runs; run++)); do percentile "$file.$run" delivery_latency_us p50; done | median)
        result[$1.$name.p99]=$(for ((run = 1; run <= runs; run++)); do percentile "$file.$run" delivery_latency_us p99; done | median)
    done
}

measure_idle() { # BROKER CONNECTIONS
    say "$1: $2 idle connections"
    "$LEVERET_PERF" idle --uri "$uri" --pid "$pid" --json --connections "$2" --hold 2 >"$work/$1.idle" 2>>"$work/idle.log" ||
        { tail -n 3 "$work/idle.log" >&2 && return 0; }
    result[$1.idle.bytes]=$(number "$work/$1.idle" broker_bytes_per_connection)
    result[$1.idle.rate]=$(number "$work/$1.idle" opened_per_s)
    result[$1.idle.count]=$2
}

measure_queues() { # BROKER KIND QUEUES ARGUMENTS...
    local broker=$1 kind=$2 count=$3
    shift 3
    say "$broker: $count $kind queues"
    "$LEVERET_PERF" declare --uri "$uri" --pid "$pid" --json --queues "$count" "$@" >"$work/$broker.$kind" 2>>"$work/declare.log" ||
        { tail -n 3 "$work/declare.log" >&2 && return 0; }
    result[$broker.$kind.bytes]=$(number "$work/$broker.$kind" broker_bytes_per_queue)
    result[$broker.$kind.rate]=$(number "$work/$broker.$kind" declared_per_s)
    result[$broker.$kind.count]=$count
}

# --- the table ------------------------------------------------------------------------------------------------------------

thousands() { awk -v v="${1:-}" 'BEGIN { if (v == "") { print "–"; exit } s = sprintf("%d", v); o = ""; while (length(s) > 3) {
    o = "," substr(s, length(s) - 2) o; s = substr(s, 1, length(s) - 3) } print s o }'; }
ratio() { awk -v a="${1:-}" -v b="${2:-}" 'BEGIN { if (a == "" || b == "" || b == 0) print "–"; else printf "%.2f\n", a / b }'; }
milliseconds() { awk -v v="${1:-}" 'BEGIN { if (v == "") print "–"; else printf "%.2f\n", v / 1000 }'; }

print_throughput() {
    local name
    echo "| 1 producer, 1 consumer | relay | | Leveret, 1 worker | | RabbitMQ | | Leveret / relay | Leveret / RabbitMQ |"
    echo "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    echo "| | msg/s | µs | msg/s | µs | msg/s | µs | | |"
    for name in "${cases[@]}"; do
        echo "| ${titles[$name]} | $(thousands "${result[relay.$name.rate]:-}") | ${result[relay.$name.cpu]:-–}" \
            "| $(thousands "${result[leveret.$name.rate]:-}") | ${result[leveret.$name.cpu]:-–}" \
            "| $(thousands "${result[rabbitmq.$name.rate]:-}") | ${result[rabbitmq.$name.cpu]:-–}" \
            "| $(ratio "${result[leveret.$name.rate]:-}" "${result[relay.$name.rate]:-}")" \
            "| $(ratio "${result[leveret.$name.rate]:-}" "${result[rabbitmq.$name.rate]:-}") |"
    done
    echo
    echo "µs: CPU time of the broker (user and system) for each message published or consumed, whichever are more."
    echo
    echo "| latency from publish to delivery under that load, ms | relay p50 | p99 | Leveret p50 | p99 | RabbitMQ p50 | p99 |"
    echo "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    for name in "${cases[@]}"; do
        echo "| ${titles[$name]} | $(milliseconds "${result[relay.$name.p50]:-}") | $(milliseconds "${result[relay.$name.p99]:-}")" \
            "| $(milliseconds "${result[leveret.$name.p50]:-}") | $(milliseconds "${result[leveret.$name.p99]:-}")" \
            "| $(milliseconds "${result[rabbitmq.$name.p50]:-}") | $(milliseconds "${result[rabbitmq.$name.p99]:-}") |"
    done
}

print_objects() {
    local broker row label
    echo "| object | broker | how many | broker memory, bytes each | made, /s |"
    echo "| --- | --- | ---: | ---: | ---: |"
    for row in idle transient durable; do
        case $row in
        idle) label="idle connection with a channel" ;;
        *) label="$row queue, empty" ;;
        esac
        for broker in leveret rabbitmq; do
            [[ -n ${result[$broker.$row.bytes]:-} ]] || continue
            echo "| $label | $([[ $broker == leveret ]] && echo Leveret || echo RabbitMQ)" \
                "| $(thousands "${result[$broker.$row.count]}") | $(thousands "${result[$broker.$row.bytes]}")" \
                "| $(thousands "${result[$broker.$row.rate]}") |"
        done
    done
}

# --- all of it ------------------------------------------------------------------------------------------------------------

have_rabbitmq() { [[ -n $rabbitmq ]] && compgen -G '/usr/lib/rabbitmq/lib/rabbitmq_server-*' >/dev/null; }

start_relay
measure_cases relay
stop_broker

start_leveret 1
measure_cases leveret
stop_broker
start_leveret 1
measure_idle leveret $connections
stop_broker
for kind in transient durable; do
    start_leveret 1
    measure_queues leveret $kind $queues $([[ $kind == durable ]] && echo --durable)
    stop_broker
done

if have_rabbitmq; then
    start_rabbitmq
    measure_cases rabbitmq
    if [[ -z $quick ]]; then
        measure_idle rabbitmq $rabbitmq_connections
        measure_queues rabbitmq transient $rabbitmq_queues
        measure_queues rabbitmq durable $rabbitmq_queues --durable
    fi
    stop_broker
else
    say "RabbitMQ is left out"
fi

echo "$(nproc) cores ($(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)), Linux $(uname -r), load average before: $load;" \
    "medians of $runs runs of $seconds s.$([[ -z $quick ]] || echo ' A quick run.')"
echo
print_throughput
echo
print_objects
