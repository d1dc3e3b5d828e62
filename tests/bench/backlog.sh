#!/usr/bin/env bash
# backlog.sh: what a backlog costs: memory with 1, 10 and 50 million messages in one queue, also with one unacknowledged message at its very front;
# bytes written for each message; how fast it drains after a restart, with nothing of it in the page cache. Prints markdown; progress goes to standard error.
#
#   tests/bench/backlog.sh [--size BYTES] [--workers N] [--deadline S] [MESSAGES...]
#
# Default: 1000000 10000000 50000000 messages of 100 B, up to 15 GB of disk in BENCH_DIR (default: TMPDIR, or /tmp). What the disk wrote is counted
# for the whole disk. A drain ends at --deadline (900 s).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export LC_ALL=C
# shellcheck source=tests/bench/common.sh
. tests/bench/common.sh

size=100 workers=1 deadline=900 counts=()
while (($#)); do
    case $1 in
    --size) size=$2 && shift ;;
    --workers) workers=$2 && shift ;;
    --deadline) deadline=$2 && shift ;;
    [0-9]*) counts+=("$1") ;;
    *) usage ;;
    esac
    shift
done
((${#counts[@]})) || counts=(1000000 10000000 50000000)

topology="--durable --queue backlog"
fill="--consumers 0 $topology --keep --persistent --size $size --confirm 10000"
hold="--producers 0 --consumers 1 $topology --hold --prefetch 1 --duration 0"
drain="--producers 0 --consumers 1 $topology --prefetch 1000 --multi-ack-every 100 --connect-within $deadline"
stop_deadline_s=$deadline
rows=()

perf() { # FILE OPTIONS…
    timeout -s INT "$deadline" "$LEVERET_PERF" run --uri "$uri" --pid "$pid" --disk "$work" --json --quiet "${@:2}" >"$1" || true
}

settle() { # until the heap has not changed for a second, at most 30
    local last=-1 now i
    for ((i = 0; i < 30; i++)); do
        now=$(memory_mib "$pid" RssAnon)
        ((now != last)) || return 0
        last=$now
        sleep 1
    done
}

forget_pages() { # of the data: as if they had been written long ago
    sync -f "$work"
    find "$work/data" -type f -size +0 -exec dd if={} iflag=nocache count=0 status=none \;
}

start_holder() { # one message, which a consumer takes and keeps
    # shellcheck disable=SC2086
    perf "$work/front" $fill --messages 1
    # shellcheck disable=SC2086
    "$LEVERET_PERF" run --uri "$uri" --quiet $hold >"$work/hold.log" 2>&1 &
    holder=$!
    pids+=("$holder")
    wait_log "$work/data" "$holder"
}

wait_log() { # until the message at the front is out
    local i
    for ((i = 0; i < 100; i++)); do
        "$LEVERETCTL" --socket "$1/control.sock" -q --no-table-headers list_queues messages_unacknowledged 2>/dev/null | grep -qx 1 && return 0
        sleep 0.1
    done
    say "the message at the front was not taken" && return 1
}

one() { # MESSAGES held|free
    local title rss anon disk before
    title=$([[ $2 == held ]] && echo "one unacked at the front" || echo "none unacked")
    start_leveret "$workers"
    before=$(memory_mib "$pid" RssAnon)
    holder=
    [[ $2 != held ]] || start_holder
    say "$1 messages, $title"
    # shellcheck disable=SC2086
    perf "$work/fill" $fill --messages "$1"
    settle
    rss=$(memory_mib "$pid" VmRSS) anon=$(memory_mib "$pid" RssAnon) disk=$(disk_mib "$work/data")
    say "$1 messages, $title: $anon MiB of heap"
    if [[ -n $holder ]]; then
        kill -INT "$holder"
        wait "$holder" || true
    fi
    # What is still in the broker's own memory would be delivered from there: a start leaves none.
    stop_broker
    forget_pages
    launch_leveret "$workers"
    # shellcheck disable=SC2086
    perf "$work/drain" $drain --messages "$1"
    rows+=("| $(thousands "$1") | $title | $(thousands "$(number "$work/fill" confirmed_per_s)") | $before | $(thousands "$anon") \
| $(thousands "$rss") | $(thousands "$disk") | $(thousands "$(number "$work/fill" disk_written_bytes_per_message)") \
| $(thousands "$(number "$work/drain" consumed)") | $(thousands "$(number "$work/drain" consumed_per_s)") | $(disk_mib "$work/data") |")
    stop_broker
}

for count in "${counts[@]}"; do
    one "$count" free
    one "$count" held
done

echo "$(machine); persistent messages of $size B in one queue, $workers worker$([[ $workers == 1 ]] || echo s)."
echo
echo "| messages | | filled, /s | heap of an empty broker, MiB | heap then | resident memory | data, MiB | disk, bytes written a message | drained | drained, /s | data after, MiB |"
echo "| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
printf '%s\n' "${rows[@]}"
echo
echo "Commands: \`leveret-perf run $fill --messages N\`, meanwhile in every second row \`leveret-perf run $hold\`, then \`leveret-perf run $drain" \
    "--messages N\` after a restart, with no page of the data in the page cache."
