#!/usr/bin/env bash
# bench.sh: throughput and CPU a message of a least-possible relay, Leveret and RabbitMQ side by side, and what idle connections
# and declared queues cost. Prints markdown (docs/performance.md holds such a run); progress goes to standard error.
#
#   tests/bench/bench.sh [--quick] [--no-rabbitmq] [--runs N] [--seconds S]
#   tests/bench/bench.sh durable | restart | backlog [...]    another one: durable.sh, restart.sh, backlog.sh
#
# LEVERETD, LEVERET_PERF, RELAY name the programs (default: those of build/release), LEVERETD_ARGS adds arguments of leveretd.
# RabbitMQ runs when the package rabbitmq-server is installed: a node of its own on the loopback, its data in a temporary folder.
# Everything that is started is stopped at the end, each process by its id. About 4 minutes; --quick less than one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export LC_ALL=C

case ${1:-} in
durable | restart | backlog) exec "tests/bench/$1.sh" "${@:2}" ;;
esac

quick= rabbitmq=yes runs=3 seconds=2 warmup=1
connections=10000 queues=100000 rabbitmq_connections=2000 rabbitmq_queues=2000
while (($#)); do
    case $1 in
    --quick) quick=yes runs=1 seconds=1 warmup=0.5 connections=2000 queues=20000 ;;
    --no-rabbitmq) rabbitmq= ;;
    --runs) runs=$2 && shift ;;
    --seconds) seconds=$2 && shift ;;
    *) sed -n '2,11s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2 && exit 64 ;;
    esac
    shift
done

# shellcheck source=tests/bench/common.sh
. tests/bench/common.sh

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
