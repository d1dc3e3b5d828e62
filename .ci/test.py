#!/usr/bin/python3
"""Every test in order, each with its time; `./dev test` calls it once the packages are there. Results are in build/results/.

    .ci/test.py               everything
    .ci/test.py unit spec     only the steps whose names begin so, and the builds they need
    .ci/test.py --list        the steps

The random seeds (where queues live, how mailboxes are delayed) come from LEVERET_SEED, and are printed; without it they are the same each time, so that a change is judged by what it changed.
The last line is "N passed, N failed" or "N passed, N failed, N skipped"; the status is 0 only when nothing failed.
"""

import os
import shlex
import subprocess
import sys
import time
import xml.etree.ElementTree

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
RESULTS = os.path.join(TOP, "build", "results")
SCRATCH = os.path.join(TOP, "build", "tmp")
PYTHON = "/usr/bin/python3"
SEED = int(os.environ.get("LEVERET_SEED") or 1) % 2**31
PYTEST = [PYTHON, "-m", "pytest", "-c", "tests/pytest.ini", "--rootdir", "tests", "-n", "3", "--dist", "loadgroup"]


class Step:
    """One command. Its results are a JUnit file (if it writes one), else it counts as a single test."""

    def __init__(self, name, argv, needs=None, env=None):
        self.name, self.argv, self.needs, self.env = name, argv, needs, env or {}
        self.file = name.replace(" ", "-").replace("=", "")
        self.junit = os.path.join(RESULTS, self.file + ".xml")


def unit(name, build, suite=()):
    argv = ["meson", "test", "-C", f"build/{build}", "--no-rebuild", "--print-errorlogs", "--timeout-multiplier", "10", "--logbase", name.replace(" ", "-"), *suite]
    step = Step(name, argv, needs=build)
    step.junit = os.path.join(TOP, "build", build, "meson-logs", name.replace(" ", "-") + ".junit.xml")
    return step


def daemon(build, arguments):
    """The environment that tells the harness which leveretd to start, and how."""
    tree = os.path.join(TOP, "build", build, "src")
    return {"LEVERETD": f"{tree}/leveretd", "LEVERETCTL": f"{tree}/cli/leveretctl", "LEVERETD_ARGS": shlex.join(arguments)}


def against(name, build, paths, *arguments, pytest=()):
    """pytest with the daemon of that build folder and these arguments of leveretd."""
    step = Step(name, [], needs=build, env=daemon(build, arguments))
    step.argv = [*PYTEST, f"--junitxml={step.junit}", *pytest, *paths]
    return step


def suite(name, build, *arguments):
    """The test suite of another project's Debian source package."""
    step = Step(f"suite {name} {build}", [], needs=build, env=daemon(build, arguments))
    step.argv = [PYTHON, "tests/suites/suite.py", name, "--junit", step.junit]
    return step


def faults():
    """Crashes, power cuts, broken disks: short counts, and planted bugs that have to be found."""
    step = Step("faults", [], needs="test", env=daemon("test", ()))
    step.argv = [PYTHON, "tests/fault/faults.py", "--short", "--seed", str(SEED), "--junit", step.junit]
    return step


def steps():
    both = ("tests/spec", "tests/e2e")
    yield Step("tidy", [PYTHON, "tests/tidy.py"])
    yield unit("unit asan", "asan", ("--suite", "unit"))
    yield unit("fuzz replay", "asan", ("--suite", "fuzz"))
    yield unit("unit release", "release", ("--suite", "unit"))
    yield against("spec e2e workers=1", "release", both, "-o", "workers=1")
    yield against("spec e2e workers=3", "release", both, "-o", "workers=3")
    yield against("console", "release", ("tests/console",))
    yield faults()
    yield suite("pika", "release", "-o", "workers=3")
    yield suite("rabbitmq-c", "release", "-o", "workers=3")
    yield against("spec e2e remote", "test", both, *hooks(SEED))
    yield against("spec e2e remote asan", "asan", both, *hooks(SEED + 1), pytest=("--quick",))
    yield suite("pika", "asan", *hooks(SEED + 2))
    yield unit("unit tsan", "tsan", ("--suite", "unit"))
    yield against("spec e2e tsan", "tsan", both, "-o", "workers=3", pytest=("--quick",))


def hooks(seed):
    """Queues away from their connections' workers, mailboxes delayed and bodies paged out at random."""
    return ["-o", "workers=3", "-o", "test.placement=remote", "-o", f"test.mailbox_delay_seed={seed}",
            "-o", f"test.page_out_seed={seed}"]


def run(name, argv, log, env=None):
    """(status, seconds) of a command, with its output in build/results."""
    started = time.monotonic()
    with open(log, "wb") as out:
        status = subprocess.run(argv, cwd=TOP, env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL, stdout=out,
                                stderr=subprocess.STDOUT, check=False).returncode
    seconds = time.monotonic() - started
    with open(log, errors="replace") as f:
        lines = f.read().splitlines()
    print("\n".join(lines[-400:] if status else lines[-3:]))
    print(f"--- {name}: {'ok' if status == 0 else f'FAILED ({status})'}, {seconds:.0f} s", flush=True)
    return status


def tally(step, status):
    """(passed, failed, skipped) of a step that was run."""
    passed = failed = skipped = 0
    if os.path.exists(step.junit):
        for suite in xml.etree.ElementTree.parse(step.junit).iter("testsuite"):
            count = {k: int(suite.get(k) or 0) for k in ("tests", "failures", "errors", "skipped", "disabled")}
            bad = count["failures"] + count["errors"]
            failed, skipped = failed + bad, skipped + count["skipped"]
            passed += max(0, count["tests"] - bad - count["skipped"])
    elif status == 0:
        passed = 1
    if status != 0 and failed == 0:
        failed = 1  # it broke before it could say what
    return passed, failed, skipped


def main(wanted):
    if wanted == ["--list"]:
        print("\n".join(s.name for s in steps()))
        return 0
    os.makedirs(RESULTS, exist_ok=True)
    os.makedirs(SCRATCH, exist_ok=True)
    os.environ.update(LEVERET_TEST_TMP=SCRATCH, PYTHONDONTWRITEBYTECODE="1")
    print(f"seed {SEED} (LEVERET_SEED={SEED} repeats it)")
    total, built, table = [0, 0, 0], {}, []
    for step in steps():
        if wanted and not any(step.name.startswith(w) for w in wanted):
            continue
        started = time.monotonic()
        if step.needs and step.needs not in built:
            print(f"\n=== build {step.needs}", flush=True)
            built[step.needs] = run(f"build {step.needs}", ["./dev", "compile", step.needs], f"{RESULTS}/build-{step.needs}.log")
        print(f"\n=== {step.name}", flush=True)
        if os.path.exists(step.junit):
            os.unlink(step.junit)
        if step.needs and built[step.needs]:
            print(f"not run: build {step.needs} failed")
            result = (0, 1, 0)
        else:
            result = tally(step, run(step.name, step.argv, f"{RESULTS}/{step.file}.log", step.env))
        total = [a + b for a, b in zip(total, result)]
        table.append((step.name, *result, time.monotonic() - started))
    print("\n%-24s %8s %8s %8s %8s" % ("step", "passed", "failed", "skipped", "seconds"))
    for row in table:
        print("%-24s %8d %8d %8d %8.0f" % row)
    passed, failed, skipped = total
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
