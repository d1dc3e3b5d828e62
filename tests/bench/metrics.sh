#!/usr/bin/env bash
# metrics.sh: what being watched costs: CPU of the broker for a message, in turns with nobody looking and with scrapes of /metrics and
# /metrics/per-object at an interval; the CPU of a scrape and the share of a core that it takes at that interval (which other load does not
# disturb); how long a scrape with many queues takes. Prints markdown; progress goes to standard error.
#
#   tests/bench/metrics.sh [--rounds N] [--seconds S] [--interval S] [--rate N] [--queues N] [--workers N]
#
# Default: 10 rounds of 10 s each way, a scrape every 5 s, 50,000 messages/s published and consumed, 170,000 queues.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export LC_ALL=C
# shellcheck source=tests/bench/common.sh
. tests/bench/common.sh

rounds=10 seconds=10 interval=5 rate=50000 queues=170000 workers=1
while (($#)); do
    case $1 in
    --rounds) rounds=$2 && shift ;;
    --seconds) seconds=$2 && shift ;;
    --interval) interval=$2 && shift ;;
    --rate) rate=$2 && shift ;;
    --queues) queues=$2 && shift ;;
    --workers) workers=$2 && shift ;;
    *) usage ;;
    esac
    shift
done
METRICS_PORT=$(free_port)
url=http://127.0.0.1:$METRICS_PORT/metrics

watch_it() {
    while :; do
        curl -s -H 'Accept-Encoding: gzip' -o /dev/null "$url" && curl -s -H 'Accept-Encoding: gzip' -o /dev/null "$url/per-object"
        sleep "$interval"
    done
}

one() { # FILE: appends the CPU of a message in µs
    timeout -s INT $((seconds + 60)) "$LEVERET_PERF" run --uri "$uri" --pid "$pid" --json --quiet --rate "$rate" --duration "${seconds}s" \
        --prefetch 1000 --multi-ack-every 50 >"$work/round" || true
    number "$work/round" broker_cpu_us_per_message >>"$1"
}

median() { sort -n "$1" | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }

start_leveret "$workers"
: >"$work/alone"
: >"$work/watched"
for ((i = 1; i <= rounds; i++)); do
    say "round $i of $rounds"
    one "$work/alone"
    watch_it &
    watcher=$!
    pids+=("$watcher")
    one "$work/watched"
    kill "$watcher" 2>/dev/null || true
    wait "$watcher" 2>/dev/null || true
done
alone=$(median "$work/alone") watched=$(median "$work/watched")
echo "CPU of the broker for a message at $rate/s, median of $rounds rounds in turns, load $load:"
echo
echo "| nobody looks | scraped every $interval s | more |"
echo "| ---: | ---: | ---: |"
awk -v a="$alone" -v w="$watched" 'BEGIN { printf "| %.3f µs | %.3f µs | %.1f %% |\n", a, w, 100 * (w - a) / a }'

cpu_ms() { # of the broker so far, user and system
    awk -v hz="$(getconf CLK_TCK)" '{ sub(/.*\) /, ""); printf "%.0f\n", ($12 + $13) * 1000 / hz }' "/proc/$pid/stat"
}

share() { # PATH TIMES: a row: CPU of a scrape, and its share of a core at the interval; what an idle broker uses meanwhile taken off
    local before after started ended idle i
    before=$(cpu_ms) started=$(date +%s%3N)
    for ((i = 0; i < $2; i++)); do
        curl -s -o /dev/null -H 'Accept-Encoding: gzip' "$url$1"
    done
    after=$(cpu_ms) ended=$(date +%s%3N)
    sleep "$(awk -v ms=$((ended - started)) 'BEGIN { print ms / 1000 }')"
    idle=$(($(cpu_ms) - after))
    awk -v path="$1" -v queues="$3" -v ms=$((after - before - idle)) -v n="$2" -v s="$interval" \
        'BEGIN { printf "| `/metrics%s` | %s | %.2f ms | %.3f %% |\n", path, queues, ms / n, ms / n / s / 10 }'
}

echo
echo "| answer, packed | queues | CPU of a scrape | share of a core, one every $interval s |"
echo "| --- | ---: | ---: | ---: |"
share "" 300 0
share "/per-object" 300 0
"$LEVERET_PERF" declare --uri "$uri" --queues "$queues" --durable --keep >/dev/null 2>&1
share "" 50 "$queues"
share "/per-object" 5 "$queues"
echo
echo "| answer | time | bytes |"
echo "| --- | ---: | ---: |"
for path in "" "/per-object" "/detailed?family=queue_coarse_metrics"; do
    for packing in identity gzip; do
        curl -s -o /dev/null -H "Accept-Encoding: $packing" -w "| \`/metrics$path\`, $packing | %{time_total} s | %{size_download} |\n" "$url$path"
    done
done
