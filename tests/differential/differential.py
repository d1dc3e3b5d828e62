#!/usr/bin/python3
"""Random cases played on RabbitMQ 3.10 and on Leveret; what they show must be the same, but for what allow.py has a reason for.

    differential.py [SEED] [COUNT]     COUNT cases (default 100) from SEED on (default 1); each seed is one case
    differential.py --replay FILE      a case that was written down, with everything the brokers showed from the difference on
    --seconds N                        no further case after that time
    --junit FILE                       the result as JUnit

A difference is one only when it is there again: a case that differs is played once more on both, and no run of the one may equal a run of the
other. Then the case is cut down step by step while it still differs, printed, and kept in build/differential/ (--keep DIR).
LEVERETD says which daemon, LEVERETD_ARGS its arguments; RabbitMQ is Debian's package. Both are started privately.
"""

import argparse
import collections
import json
import os
import sys
import time
from xml.sax.saxutils import quoteattr

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [os.path.dirname(os.path.abspath(__file__)), TESTS, os.path.join(TESTS, "spec")]

from allow import explanation, masked  # noqa: E402  (the path has to be set first)
from generate import generate  # noqa: E402
from harness.broker import Leveret, RabbitMQ  # noqa: E402
from play import play  # noqa: E402

SHRINK_RUNS_MAX = 120
SHRINK_SECONDS_MAX = 40

Difference = collections.namedtuple("Difference", "number theirs ours allowed")


def compare(case, theirs, ours):
    """The first Difference, or None."""
    for number, (a, b) in enumerate(zip(theirs, ours)):
        a, b = masked(a, case), masked(b, case)
        if repr(a) != repr(b):  # of Python's numbers 1, 1.0 and True are equal, on the wire they are not
            return Difference(number, a, b, explanation(case[:number + 1], theirs[:number + 1], ours[:number + 1]))
    return None


class Reference(RabbitMQ):
    """With the HTTP API, for policies."""

    plugins = RabbitMQ.plugins + ",rabbitmq_management"

    def __init__(self):
        super().__init__({"management.tcp.ip": "127.0.0.1"})
        with open(os.path.join(self.dir, "rabbitmq.conf"), "a") as f:
            f.write(f"management.tcp.port = {self.http_port}\n")


class Pair:
    """Both brokers."""

    def __init__(self):
        self.rabbit, self.leveret, self.played = Reference(), Leveret(), 0

    def __enter__(self):
        self.rabbit.start()
        self.leveret.start()
        return self

    def __exit__(self, kind, *_):
        for broker in (self.rabbit, self.leveret):
            try:
                broker.stop()
            finally:
                if kind is None:
                    broker.remove()

    def once(self, case):
        self.played += 1
        return compare(case, play(self.rabbit, case), play(self.leveret, case))

    def difference(self, case):
        """A difference that no second run explains away."""
        theirs, ours = [play(self.rabbit, case)], [play(self.leveret, case)]
        found = compare(case, theirs[0], ours[0])
        if found is None or found.allowed:
            return found
        theirs.append(play(self.rabbit, case))
        ours.append(play(self.leveret, case))
        all_pairs = [compare(case, a, b) for a in theirs for b in ours]
        return found if all(d and not d.allowed for d in all_pairs) else None


def shrink(pair, case, number):
    """Drops steps, then what is inside of them, while the case still differs."""
    deadline, runs = time.monotonic() + SHRINK_SECONDS_MAX, 0
    case = case[:number + 1]

    def differs(candidate):
        nonlocal runs
        runs += 1
        found = pair.once(candidate)
        return found is not None and not found.allowed

    def may_go_on():
        return runs < SHRINK_RUNS_MAX and time.monotonic() < deadline

    size = len(case) // 2
    while size and may_go_on():
        at = 0
        while at < len(case) and may_go_on():
            candidate = case[:at] + case[at + size:]
            if candidate and differs(candidate):
                case = candidate
            else:
                at += size
        size = size // 2
    at = 0
    while at < len(case) and may_go_on():
        for smaller in without_arguments(case[at]):
            candidate = case[:at] + [smaller] + case[at + 1:]
            if may_go_on() and differs(candidate):
                case = candidate
        at += 1
    return case


def without_arguments(step):
    """The step without one of its arguments, properties or headers, for each of them. A dead letter's key stays: without it they may meet."""
    for path in (("values", "arguments"), ("props", "headers"), ("props",)):
        inner = step
        for name in path:
            inner = inner.get(name) if isinstance(inner, dict) else None
        for key in [k for k in inner or () if k != "x-dead-letter-routing-key"]:
            smaller = json.loads(json.dumps(step))
            inside = smaller
            for name in path:
                inside = inside[name]
            del inside[key]
            yield smaller


def show(case, found):
    for number, step in enumerate(case[:found.number + 1]):
        print(f"  {number}: {json.dumps(step)}")
    print_difference(found)


def print_difference(found):
    """Only what differs, broken into parts."""
    for part in ("reply", "queues"):
        if repr(found.theirs[part]) != repr(found.ours[part]):
            print(f"    {part}\n      RabbitMQ {found.theirs[part]}\n      Leveret  {found.ours[part]}")
    for channel in sorted({*found.theirs["events"], *found.ours["events"]}):
        theirs, ours = found.theirs["events"].get(channel), found.ours["events"].get(channel)
        if repr(theirs) != repr(ours):
            print(f"    channel {channel}\n      RabbitMQ {theirs}\n      Leveret  {ours}")


def report(pair, name, case, found, keep):
    """Cuts a failing case down and writes it down."""
    print(f"\n{name} differs at step {found.number}; cutting it down", flush=True)
    smaller = shrink(pair, case, found.number)
    again = pair.once(smaller)
    if again is None or again.allowed:
        smaller, again = case, found
    os.makedirs(keep, exist_ok=True)
    path = os.path.join(keep, f"{name.replace(' ', '-')}.json")
    with open(path, "w") as f:
        json.dump(smaller, f, indent=1)
        f.write("\n")
    print(f"{name}, {again.number + 1} steps, in {path}:")
    show(smaller, again)
    sys.stdout.flush()


def run(arguments):
    """(cases played, allowed differences by name, names of cases that differ)"""
    allowed, failed, count = collections.Counter(), [], 0
    started = time.monotonic()
    with Pair() as pair:
        for seed in range(arguments.seed, arguments.seed + arguments.count):
            if arguments.seconds and time.monotonic() - started > arguments.seconds:
                break
            count += 1
            case = generate(seed)
            found = pair.difference(case)
            if found is None:
                continue
            if found.allowed:
                allowed[found.allowed.name] += 1
                continue
            failed.append(f"seed {seed}")
            report(pair, failed[-1], case, found, arguments.keep)
    return count, allowed, failed


def replay(arguments):
    with open(arguments.replay) as f:
        case = json.load(f)
    with Pair() as pair:
        found = pair.once(case)
    if found is None:
        print("no difference")
        return 0
    show(case, found)
    print(f"allowed: {found.allowed.reason}" if found.allowed else "not allowed")
    return 0 if found.allowed else 1


def write_junit(path, count, failed):
    cases = "".join(f'<testcase classname="differential" name={quoteattr(name)}><failure message="differs"/></testcase>' for name in failed)
    cases += '<testcase classname="differential" name="equal"/>' * (count - len(failed))
    with open(path, "w") as f:
        f.write(f'<testsuite name="differential" tests="{count}" failures="{len(failed)}" errors="0" skipped="0">{cases}</testsuite>\n')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seed", nargs="?", type=int, default=1)
    parser.add_argument("count", nargs="?", type=int, default=100)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--replay")
    parser.add_argument("--junit")
    parser.add_argument("--keep", default=os.path.join(os.path.dirname(TESTS), "build", "differential"))
    arguments = parser.parse_args()
    if arguments.replay:
        return replay(arguments)
    count, allowed, failed = run(arguments)
    for name, times in sorted(allowed.items()):
        print(f"allowed, {times} cases: {name}")
    print(f"{count} cases, {count - len(failed)} equal or allowed, {len(failed)} different" + "".join(f"; {name}" for name in failed))
    if arguments.junit:
        write_junit(arguments.junit, count, failed)
    return 1 if failed or not count else 0


if __name__ == "__main__":
    sys.exit(main())
