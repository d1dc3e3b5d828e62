#!/usr/bin/env bash
# restart.sh: how long a start with a large backlog takes, after an orderly stop and after kill -9: until it listens, until the first message is
# delivered; what memory it has then, and how fast the backlog drains. Prints markdown; progress goes to standard error.
#
#   tests/bench/restart.sh [--messages N] [--queues N] [--size BYTES] [--workers N] [--deadline S]
#
# Default: 10 million messages of 100 B in 100 queues, about 3 GB of disk in BENCH_DIR (default: TMPDIR, or /tmp). A time ends at --deadline (600 s).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export LC_ALL=C
# shellcheck source=tests/bench/common.sh
. tests/bench/common.sh

messages=10000000 queues=100 size=100 workers=1 deadline=600
while (($#)); do
    case $1 in
    --messages) messages=$2 && shift ;;
    --queues) queues=$2 && shift ;;
    --size) size=$2 && shift ;;
    --workers) workers=$2 && shift ;;
    --deadline) deadline=$2 && shift ;;
    *) usage ;;
    esac
    shift
done
stop_deadline_s=$deadline

topology="--durable --queue-pattern restart-%d --queues $queues"
fill="--consumers 0 $topology --keep --persistent --size $size --confirm 10000 --messages $messages"
first="--producers 0 --consumers 1 $topology --hold --connect-within $deadline --messages 1"
drain="--producers 0 --consumers 4 $topology --prefetch 1000 --multi-ack-every 100 --messages $messages"
rows=()

perf() { # FILE OPTIONS…: JSON to the file, whatever became of it in time
    timeout -s INT "$deadline" "$LEVERET_PERF" run --uri "$uri" --pid "$pid" --disk "$work" --json --quiet "${@:2}" >"$1" || true
}

one() { # TITLE stop_broker|crash_broker
    local stopped_ms rss anon disk
    start_leveret "$workers"
    say "$1: $messages messages into $queues queues"
    # shellcheck disable=SC2086
    perf "$work/fill" $fill
    stopped_ms=$(date +%s%3N)
    $2
    stopped_ms=$(($(date +%s%3N) - stopped_ms))
    disk=$(disk_mib "$work/data")
    say "$1: starts with $disk MiB of data"
    launch_leveret "$workers"
    # shellcheck disable=SC2086
    perf "$work/first" $first
    rss=$(memory_mib "$pid" VmRSS) anon=$(memory_mib "$pid" RssAnon)
    say "$1: listening after $(number "$work/first" connected_ms) ms, first delivery after $(number "$work/first" first_delivery_ms) ms"
    # shellcheck disable=SC2086
    perf "$work/drain" $drain
    rows+=("| $1 | $(thousands "$(number "$work/fill" confirmed_per_s)") | $(thousands "$stopped_ms") | $(thousands "$disk") \
| $(thousands "$(number "$work/first" connected_ms)") | $(thousands "$(number "$work/first" first_delivery_ms)") \
| $rss | $anon | $(thousands "$(number "$work/drain" consumed)") | $(thousands "$(number "$work/drain" consumed_per_s)") |")
    stop_broker
}

one "orderly stop" stop_broker
one "kill -9" crash_broker

echo "$(machine); $(thousands "$messages") persistent messages of $size B in $queues queues, $workers worker$([[ $workers == 1 ]] || echo s)."
echo
echo "| | filled, /s | stopping, ms | data, MiB | listens after, ms | first delivery after, ms | memory then, MiB | of it heap | came back | drained, /s |"
echo "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
printf '%s\n' "${rows[@]}"
echo
echo "Both times from the start of the process. Commands: \`leveret-perf run $fill\`, then \`$first\`, then \`$drain\`."
