#!/usr/bin/python3
"""Runs the test suite that a Debian source package ships, against a broker of the harness.

    suite.py pika|rabbitmq-c [--junit FILE]

The source comes by `apt-get source` from the mirror this machine uses, with lists and cache under build/suites (nothing in
/etc is touched, nothing is committed). A tree that is already unpacked there is used as it is. When the mirror does not have
the source, one skipped test says so. What cannot run, or fails on RabbitMQ 3.10 too, is listed with its reason in NAME.skip.
"""

import argparse
import glob
import os
import re
import subprocess
import sys
import xml.sax.saxutils

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
WORK = os.path.join(TOP, "build", "suites")
sys.path.insert(0, os.path.dirname(HERE))

from harness.broker import broker_class  # noqa: E402  (the path has to be set first)


class NoSource(Exception):
    """The mirror does not have the source package, or there is no network."""


def run(argv, **options):
    print("+", " ".join(argv), flush=True)
    return subprocess.run(argv, stdin=subprocess.DEVNULL, check=False, **options)


def mirror():
    """(address, release) of the mirror the Debian packages of this machine come from."""
    done = subprocess.run(["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Identifier: Packages"],
                          capture_output=True, text=True, check=True)
    release = re.search(r"VERSION_CODENAME=(\w+)", open("/etc/os-release").read()).group(1)
    for line in done.stdout.splitlines():
        uri, of_release, component = line.split()
        if (of_release, component) == (release, "main"):
            return uri, release
    raise NoSource("apt knows no mirror with this release's main section")


def apt_options():
    sources, lists, cache = (os.path.join(WORK, "apt", name) for name in ("sources.list", "lists", "cache"))
    for folder in (f"{lists}/partial", f"{cache}/archives/partial"):
        os.makedirs(folder, exist_ok=True)
    uri, release = mirror()
    with open(sources, "w") as f:
        f.write(f"deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {uri} {release} main\n")
    return ["-q", "-o", f"Dir::Etc::sourcelist={sources}", "-o", "Dir::Etc::sourceparts=-", "-o", f"Dir::State::lists={lists}",
            "-o", f"Dir::Cache={cache}", "-o", "APT::Sandbox::User=root"]


def source_tree(package, pattern):
    """The unpacked source package, fetched at most once."""
    os.makedirs(WORK, exist_ok=True)
    found = glob.glob(os.path.join(WORK, pattern))
    if not found:
        options = apt_options()
        run(["apt-get", *options, "update"], cwd=WORK)
        if run(["apt-get", *options, "source", package], cwd=WORK).returncode != 0:
            raise NoSource(f"apt-get source {package} failed (is it on this mirror?)")
        found = glob.glob(os.path.join(WORK, pattern))
    return found[0]


def skip_list(name):
    """{test: reason} from NAME.skip: lines of `TEST  # REASON`."""
    skips = {}
    for line in open(os.path.join(HERE, name + ".skip")):
        test, _, reason = line.partition("#")
        if test.strip():
            if not reason.strip():
                raise ValueError(f"{name}.skip: no reason for {test.strip()}")
            skips[test.strip()] = reason.strip()
    return skips


def replace_in(paths, old, new):
    for path in paths:
        text = open(path).read()
        if re.search(old, text):
            with open(path, "w") as f:
                f.write(re.sub(old, new, text))


def copy_of(tree, name):
    """A fresh copy of the tree in which the port can be changed."""
    copy = os.path.join(WORK, name + "-run")
    run(["rm", "-rf", copy])
    run(["cp", "-a", tree, copy])
    return copy


# --- pika -----------------------------------------------------------------------------------------------------------------


def pika(broker, junit):
    tree = copy_of(source_tree("python-pika", "python-pika-*[0-9]"), "pika")
    # the tests know one address: port 5672 of this machine
    replace_in(glob.glob(f"{tree}/tests/acceptance/*.py") + [f"{tree}/tests/base/async_test_base.py"], r"\b5672\b", str(broker.port))
    deselected = [argument for test in skip_list("pika") for argument in ("--deselect", test)]
    return run([sys.executable, "-m", "pytest", "-q", "-ra", "-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir", tree,
                "-o", "python_files=*_test.py *_tests.py", "--timeout", "120", f"--junitxml={junit}", *deselected,
                "tests/unit", "tests/acceptance"],
               cwd=tree, env={**os.environ, "PYTHONPATH": tree, "PYTHONDONTWRITEBYTECODE": "1"}).returncode


# --- rabbitmq-c -----------------------------------------------------------------------------------------------------------


def rabbitmq_c(broker, junit):
    """ctest with the system tests on, and the example programs that come with the library, as its own CI runs them."""
    tree = copy_of(source_tree("librabbitmq", "librabbitmq-*[0-9]"), "rabbitmq-c")
    replace_in([f"{tree}/tests/test_basic.c"], r"\bAMQP_PROTOCOL_PORT\b", str(broker.port))
    replace_in([f"{tree}/tests/CMakeLists.txt"], r"#add_test\(basic", "add_test(basic")  # Debian's build has no broker
    build = f"{tree}/build"
    for argv in (["cmake", "-S", tree, "-B", build, "-DRUN_SYSTEM_TESTS=ON", "-DBUILD_TOOLS_DOCS=OFF", "-DBUILD_API_DOCS=OFF",
                  "-DENABLE_SSL_SUPPORT=OFF", "-DCMAKE_BUILD_TYPE=Release", "-DCMAKE_POLICY_VERSION_MINIMUM=3.5"],
                 ["cmake", "--build", build, "-j2"]):
        if run(argv, stdout=subprocess.DEVNULL).returncode != 0:
            return 1
    status = run(["ctest", "--output-on-failure", "--output-junit", junit], cwd=build).returncode
    return examples(broker, f"{build}/examples", junit) or status


def examples(broker, folder, junit):
    """The example programs that end by themselves; results are added to the JUnit file."""
    at, results = [broker.host, str(broker.port)], {}
    for program, *arguments in (("amqp_producer", "1000", "500"), ("amqp_sendstring", "amq.direct", "nowhere", "hello"),
                                ("amqp_exchange_declare", "suite.x", "direct"), ("amqp_connect_timeout", "5")):
        if os.path.exists(f"{folder}/{program}"):
            results[program] = run([f"{folder}/{program}", *at, *arguments], stdout=subprocess.DEVNULL).returncode == 0
    add_cases(junit, results)
    return 0 if all(results.values()) else 1


def add_cases(junit, results):
    """Appends test cases to a JUnit file."""
    text = open(junit).read()
    cases = "".join(f'<testcase name="example {name}" classname="examples">{"" if ok else "<failure/>"}</testcase>' for name, ok in results.items())
    failed = sum(not ok for ok in results.values())
    suite = f'<testsuite name="examples" tests="{len(results)}" failures="{failed}" errors="0" skipped="0">{cases}</testsuite>'
    with open(junit, "w") as f:
        f.write(re.sub(r"\s*(<\?xml[^>]*\?>)\s*(.*)", rf"\1<testsuites>\2{suite}</testsuites>", text, flags=re.S))


def skipped(junit, name, reason):
    with open(junit, "w") as f:
        f.write(f'<testsuite name="{name}" tests="1" failures="0" errors="0" skipped="1"><testcase name="{name}">'
                f'<skipped message={xml.sax.saxutils.quoteattr(reason)}/></testcase></testsuite>')


def main():
    suites = {"pika": pika, "rabbitmq-c": rabbitmq_c}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("suite", choices=suites)
    parser.add_argument("--junit")
    arguments = parser.parse_args()
    os.makedirs(WORK, exist_ok=True)
    junit = os.path.abspath(arguments.junit or os.path.join(WORK, arguments.suite + ".xml"))
    broker = broker_class()().start()
    try:
        status = suites[arguments.suite](broker, junit)
        broker.assert_alive()
    except NoSource as e:
        print(f"SKIPPED: {e}")
        skipped(junit, arguments.suite, str(e))
        status = 0
    finally:
        if sys.exc_info()[0]:
            print(broker.log_tail())
        broker.stop()
        broker.remove()
    return status


if __name__ == "__main__":
    sys.exit(main())
