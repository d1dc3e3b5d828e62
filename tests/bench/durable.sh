#!/usr/bin/env bash
# durable.sh: what it costs to confirm only what is on disk: persistent messages of 1 KiB with at most 1000 unconfirmed, into 1 queue and into
# 1,000, of a least-possible relay that syncs, Leveret, and RabbitMQ's durable classic queues. Prints markdown; progress goes to standard error.
#
#   tests/bench/durable.sh [--quick] [--no-rabbitmq] [--runs N] [--messages N] [--seconds S] [--workers N]
#
# Programs as in bench.sh. BENCH_DIR is where the data go (default: TMPDIR, or /tmp): it has to be on the disk that is to be measured. What the
# disk wrote is counted for the whole disk: other programs that write to it meanwhile are in the figures.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export LC_ALL=C
# shellcheck source=tests/bench/common.sh
. tests/bench/common.sh

rabbitmq=yes runs=3 messages=1000000 seconds=3 warmup=1 workers=1 queues=20000
rabbitmq_messages=100000 rabbitmq_queues=2000 ring_mib=256
while (($#)); do
    case $1 in
    --quick) runs=1 messages=200000 seconds=1 warmup=0.5 queues=5000 rabbitmq_messages=20000 rabbitmq_queues=500 ;;
    --no-rabbitmq) rabbitmq= ;;
    --runs) runs=$2 && shift ;;
    --messages) messages=$2 && shift ;;
    --seconds) seconds=$2 && shift ;;
    --workers) workers=$2 && shift ;;
    *) usage ;;
    esac
    shift
done

load_arguments="--persistent --durable --size 1KiB --confirm 1000 --queue-pattern durable-%d"
cases=(fill_1 fill_1000 flow_1 flow_1000)
declare -A arguments=(
    [fill_1]="--queues 1 --consumers 0"
    [fill_1000]="--queues 1000 --consumers 0"
    [flow_1]="--queues 1 --prefetch 1000 --multi-ack-every 100"
    [flow_1000]="--queues 1000 --prefetch 1000 --multi-ack-every 100"
)
declare -A titles=(
    [fill_1]="1 queue, no consumer"
    [fill_1000]="1,000 queues, no consumer"
    [flow_1]="1 queue, a consumer that acks"
    [flow_1000]="1,000 queues, a consumer that acks"
)
declare -A names=([relay]="relay with sync" [leveret]="Leveret" [rabbitmq]="RabbitMQ")
declare -A promises=(
    [relay]="fdatasync before each confirm, of all that gathered meanwhile"
    [leveret]="fdatasync before each confirm, of all that gathered meanwhile"
    [rabbitmq]="written to files before the confirm; synced in batches, at most every 200 ms"
)
declare -A result # BROKER.CASE.FIGURE
declare -A length # of a case, as leveret-perf's options

measure() { # BROKER MESSAGES
    local name run file
    for name in "${cases[@]}"; do
        case $name in
        fill_*) length[$name]="--messages $2" ;;
        flow_*) length[$name]="--warmup $warmup --duration $seconds" ;;
        esac
        file=$work/$1.$name
        for ((run = 1; run <= runs; run++)); do
            # shellcheck disable=SC2086
            "$LEVERET_PERF" run --uri "$uri" --pid "$pid" --disk "$work" --json --quiet ${length[$name]} $load_arguments \
                ${arguments[$name]} >"$file.$run" || { say "$1, ${titles[$name]}: failed" && continue 2; }
            say "$1, ${titles[$name]}: $(number "$file.$run" confirmed_per_s)/s"
        done
        for figure in confirmed_per_s broker_cpu_us_per_message disk_written_bytes_per_message; do
            result[$1.$name.$figure]=$(for ((run = 1; run <= runs; run++)); do number "$file.$run" $figure; done | median)
        done
        for figure in p50 p99; do
            result[$1.$name.$figure]=$(for ((run = 1; run <= runs; run++)); do percentile "$file.$run" confirm_latency_us $figure; done | median)
        done
    done
}

measure_declares() { # BROKER QUEUES
    say "$1: $2 durable queues over 100 channels"
    "$LEVERET_PERF" declare --uri "$uri" --json --durable --channels 100 --window 100 --queues "$2" >"$work/$1.declare"
    result[$1.declare]=$(number "$work/$1.declare" declared_per_s)
}

start_relay --sync "$work/ring" $ring_mib
measure relay "$messages"
stop_broker
rm -f "$work/ring"

start_leveret "$workers"
measure leveret "$messages"
[[ -d $work/data/log ]] || promises[leveret]="taken by every queue, in memory: this leveretd writes no messages"
stop_broker
start_leveret "$workers"
measure_declares leveret $queues
stop_broker

brokers=(relay leveret)
if have_rabbitmq; then
    brokers+=(rabbitmq)
    start_rabbitmq
    measure rabbitmq "$rabbitmq_messages"
    measure_declares rabbitmq $rabbitmq_queues
    stop_broker
else
    say "RabbitMQ is left out"
fi

echo "$(machine); medians of $runs runs; Leveret with $workers worker$([[ $workers == 1 ]] || echo s)."
echo
echo "| persistent, 1 KiB, at most 1000 unconfirmed | broker | confirmed, /s | CPU, µs a message | confirm p50, ms | p99 | disk, bytes a message |"
echo "| --- | --- | ---: | ---: | ---: | ---: | ---: |"
for name in "${cases[@]}"; do
    for broker in "${brokers[@]}"; do
        row=$broker.$name
        echo "| ${titles[$name]} | ${names[$broker]} | $(thousands "${result[$row.confirmed_per_s]:-}")" \
            "| ${result[$row.broker_cpu_us_per_message]:-–} | $(milliseconds "${result[$row.p50]:-}") | $(milliseconds "${result[$row.p99]:-}")" \
            "| $(thousands "${result[$row.disk_written_bytes_per_message]:-}") |"
    done
done
echo
echo "| ratio of confirmed, /s | Leveret / relay | Leveret / RabbitMQ | Leveret, 1,000 queues / 1 |"
echo "| --- | ---: | ---: | ---: |"
for kind in fill flow; do
    one=${result[leveret.${kind}_1.confirmed_per_s]:-} many=${result[leveret.${kind}_1000.confirmed_per_s]:-}
    for n in 1 1000; do
        own=${result[leveret.${kind}_$n.confirmed_per_s]:-}
        echo "| ${titles[${kind}_$n]} | $(ratio "$own" "${result[relay.${kind}_$n.confirmed_per_s]:-}")" \
            "| $(ratio "$own" "${result[rabbitmq.${kind}_$n.confirmed_per_s]:-}")" \
            "| $([[ $n == 1 ]] && echo – || ratio "$many" "$one") |"
    done
done
echo
echo "| broker | what a confirm means | durable queues declared, /s |"
echo "| --- | --- | ---: |"
for broker in "${brokers[@]}"; do
    echo "| ${names[$broker]} | ${promises[$broker]} | $(thousands "${result[$broker.declare]:-}") |"
done
echo
echo "| row | command (with \`--uri\`, \`--pid\`, \`--disk\`) |"
echo "| --- | --- |"
for name in "${cases[@]}"; do
    echo "| ${titles[$name]} | \`leveret-perf run ${arguments[$name]} ${length[$name]} $load_arguments\` |"
done
echo "| durable queues | \`leveret-perf declare --durable --channels 100 --window 100 --queues $queues\` |"
