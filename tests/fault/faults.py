#!/usr/bin/python3
"""The fault tests: ./dev faults [case [count]]; docs/reliability.md says what each promises.

    faults.py --list             the cases, with their counts
    faults.py                    every case with its nightly count
    faults.py p1                 one case with its nightly count
    faults.py p1 10000           as often as that
    faults.py --short            what ./dev test runs: short counts, and each planted bug, which has to be found
    faults.py --bug NAME CASE    one case with a planted bug: the status is 1 when it is found
    --seed N                     repeats a run: everything random follows from it (the timing of processes does not)
    --junit FILE, --verbose

The daemon comes from LEVERETD (default: build/test/src/leveretd), the programs of the in-process cases from that build folder.
"""

import argparse
import os
import subprocess
import sys
import time
import traceback
import xml.etree.ElementTree as ET

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [os.path.join(TOP, "tests"), os.path.join(TOP, "tests", "spec"), HERE]
os.environ.setdefault("LEVERETD", os.path.join(TOP, "build", "test", "src", "leveretd"))
BUILD = os.path.dirname(os.path.dirname(os.path.abspath(os.environ["LEVERETD"])))
os.environ.setdefault("LEVERETCTL", os.path.join(BUILD, "src", "cli", "leveretctl"))

import case_alarms  # noqa: E402  (the path has to be set first)
import case_client  # noqa: E402
import case_crash  # noqa: E402
import case_damage  # noqa: E402
import case_errors  # noqa: E402
import case_laps  # noqa: E402
import case_memory  # noqa: E402
import case_meta  # noqa: E402
import case_power  # noqa: E402
import test_ledger  # noqa: E402
from node import Context, Violation  # noqa: E402
from harness.broker import BrokerError  # noqa: E402


def program(name, *head):
    """A program of the test build: arguments made of the count, a seed, a planted bug; status 1 and a line when it finds something."""
    def run(ctx):
        argv = [os.path.join(BUILD, "tests", name), *(str(h(ctx.count)) for h in head), str(ctx.seed % 1000 + 1)]
        if ctx.bug:
            argv.append(ctx.bug.partition(":")[2])
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        lines = done.stdout.strip().splitlines() or [""]
        if done.returncode == 1:
            raise Violation(f"{' '.join(argv)}: " + "; ".join(lines))
        if done.returncode != 0:
            raise RuntimeError(f"{argv}: {done.returncode} {done.stdout}{done.stderr}")
        return lines[-1]
    return run


def simulator(ctx):
    """P2t: tests/sim/sim_log: a seed is a story of several lives."""
    name = os.path.join(BUILD, "tests", "sim", "sim_log")
    argv = [name, str(ctx.seed), str(ctx.count)] + ([ctx.bug.partition(":")[2]] if ctx.bug else [])
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    lines = done.stdout.strip().splitlines() or [done.stderr]
    if done.returncode == 1:
        raise Violation(f"{' '.join(argv[1:])}: {lines[0]}")
    if done.returncode != 0:
        raise RuntimeError(f"{argv}: {done.returncode} {done.stdout}{done.stderr}")
    return lines[-1]


class Case:
    """A case and its counts (short 0: left out of --short). `bugs` are planted bugs, each with a count at which it has to be found."""

    def __init__(self, name, text, run, short, nightly, bugs=()):
        self.name, self.text, self.run, self.short, self.nightly, self.bugs = name, text, run, short, nightly, dict(bugs)


BUG_TRIES = 5

CASES = [
    Case("checker", "the checker against stories, true and false", test_ledger.run, 1, 1),
    Case("p1", "kill -9 under load, at any time and at each I/O call", case_crash.run, 12, 1000,
         {"confirm-early": 40, "log:256": 20, "unmarked": 6}),
    Case("laps", "three publishers write the ring of the log full again and again, kill -9: laps", case_laps.run, 1, 20, {"queue:8": 1}),
    Case("p2", "power cuts: recorded, and of an ext4 and an xfs where they can be mounted", lambda ctx: case_power.run(ctx, BUILD), 5, 1000,
         {"log:1": 4, "backlog:1": 6, "meta-unsynced": 4}),
    Case("p2t", "torn and reordered writes, in process: seeds", simulator, 1000, 1000000,
         {"log:1": 3000, "log:8": 3000, "log:256": 3000, "log:0x800000": 3000}),
    Case("p3", "the newest segment cut at offsets of 64 KiB; files empty, gone, too many", program(
        "fault/fault_tail", lambda n: 0, lambda n: max(1, 65536 // n)), 300, 65536, {"log:0x200000": 500, "log:0x400000": 500}),
    Case("p4", "bit rot: bits of two regions of 8 KiB; random flips, swapped records, stale blocks", program(
        "fault/fault_rot", lambda n: max(1, 65536 // n), lambda n: max(300, n // 65)), 600, 65536, {"log:0x200000": 1000}),
    Case("p3d", "files of the log and the backlog cut, filled, empty, gone, too many, under the daemon",
         lambda ctx: case_damage.run(ctx, case_damage.cut), 2, 200, {"backlog:8": 6}),
    Case("p4d", "bits and blocks of the log and the backlog, under the daemon", lambda ctx: case_damage.run(ctx, case_damage.rot), 2, 1000,
         {"backlog:8": 6}),
    Case("p5", "I/O calls fail once, for good, for a while; short writes", case_errors.run, 7, 400, {"log:0x800000": 1, "confirm-early": 2}),
    Case("p7", "a client dies at every byte of a publish", case_client.run, 1, 20,
         {"partial-publish": 1, "tx-on-close": 1, "leak-content": 0}),
    Case("p8", "metadata churn, kill -9 each 200 ms", case_meta.run, 12, 2000, {"meta-early": 12}),
    Case("p9", "memory that cannot be had: the n-th allocation, and ulimit -v", case_memory.run, 10, 100000, {"refused-counts": 30}),
    Case("p27", "the disk is full, free space low, memory high", case_alarms.run, 3, 200, {"alarm-stays": 1}),
]
BY_NAME = {case.name: case for case in CASES}


def run_case(case, count, seed, bug, verbose):
    """(what it found or None, summary, seconds)."""
    started = time.monotonic()
    ctx = Context(case.name, count, seed, bug, verbose)
    try:
        found, summary = None, case.run(ctx)
        ctx.remove()
    except Violation as e:
        found, summary = str(e), f"files are in {ctx.dir}"
    except BrokerError as e:  # it did not start or ended badly: a failure, but not what a planted bug looks like
        found, summary = f"BROKER: {e}", f"files are in {ctx.dir}"
    except Exception:  # the harness itself: never a pass, and never a bug that was found
        found, summary = "HARNESS: " + traceback.format_exc(), f"files are in {ctx.dir}"
    return found, summary, time.monotonic() - started


def report(name, is_ok, text, seconds):
    print(f"{'ok  ' if is_ok else 'FAIL'} {name:28} {seconds:6.1f} s  {text}", flush=True)


def work(jobs, seed, verbose):
    """Runs (case, count, bug) one after the other; the results as (name, is_ok, text, seconds)."""
    results = []
    for case, count, bug in jobs:
        found, summary, seconds = run_case(case, count, seed, bug, verbose)
        # Whether a planted bug shows in so many lives is a matter of timing, too: it gets longer tries before it counts as not found.
        for more in range(1, BUG_TRIES if bug is not None else 1):
            if found is not None:
                break
            found, summary, added = run_case(case, count * 2**more, seed + more, bug, verbose)
            seconds += added
        if bug is None:
            name, is_ok, text = case.name, found is None, summary if found is None else f"{found}\n{summary}"
        else:
            is_ok = found is not None and not found.startswith(("HARNESS", "BROKER"))
            name = f"{case.name} bug {bug}"
            text = f"found: {found.splitlines()[0]}" if is_ok else f"the planted bug was not found: {found or summary}"
        report(name, is_ok, text, seconds)
        results.append((name, is_ok, text, seconds))
    return results


def write_junit(path, results):
    suite = ET.Element("testsuite", name="faults", tests=str(len(results)), failures=str(sum(not r[1] for r in results)))
    for name, is_ok, text, seconds in results:
        case = ET.SubElement(suite, "testcase", classname="faults", name=name, time=f"{seconds:.1f}")
        if not is_ok:
            ET.SubElement(case, "failure", message=text.splitlines()[0]).text = text
    ET.ElementTree(suite).write(path)


def arguments():
    parser = argparse.ArgumentParser(description="fault tests", usage=__doc__)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--bug")
    parser.add_argument("--seed", type=int, default=int(os.environ.get("LEVERET_SEED") or time.time()) % 2**31)
    parser.add_argument("--junit")
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("case", nargs="?", choices=sorted(BY_NAME))
    parser.add_argument("count", nargs="?", type=int)
    return parser.parse_args()


def main():
    a = arguments()
    if a.list:
        for case in CASES:
            print(f"{case.name:6} short {case.short:6}, nightly {case.nightly:8}  {case.text}; bugs: {', '.join(case.bugs) or '-'}")
        return 0
    chosen = [BY_NAME[a.case]] if a.case else CASES
    if a.short:
        jobs = [(c, a.count or c.short, None) for c in chosen if a.count or c.short] + [(c, n, b) for c in chosen for b, n in c.bugs.items()]
    elif a.bug:
        case = chosen[0]
        found, summary, seconds = run_case(case, a.count or case.bugs.get(a.bug, case.short), a.seed, a.bug, a.verbose)
        report(f"{case.name} bug {a.bug}", found is None, found or summary, seconds)
        return 0 if found is None else 1
    else:
        jobs = [(c, a.count or c.nightly, None) for c in chosen]
    print(f"seed {a.seed} (--seed {a.seed} repeats it), {subprocess.run(['git', 'describe', '--always', '--dirty'], cwd=TOP, capture_output=True, text=True, check=False).stdout.strip()}")
    results = work(jobs, a.seed, a.verbose)
    if a.junit:
        write_junit(a.junit, results)
    return 0 if all(r[1] for r in results) else 1


if __name__ == "__main__":
    sys.exit(main())
