"""Fixtures of the spec and end-to-end tests: one broker a test process, looked after between the tests.

After every test the broker must still be running and answer a handshake. At the end it gets SIGTERM: an unclean exit, or a
report of a sanitizer in its log, fails the run. When a test fails, the end of the broker's log is part of its report.
"""

import itertools
import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "spec"))

from harness.broker import BrokerError, broker_class  # noqa: E402  (the path has to be set first)

counter = itertools.count(1)
running = []  # brokers whose log is worth showing when a test fails


def pytest_addoption(parser):
    parser.addoption("--quick", action="store_true", help="leave out the tests marked slow")


def pytest_collection_modifyitems(config, items):
    kind = broker_class()
    for item in items:
        if item.get_closest_marker("slow") and config.getoption("--quick"):
            item.add_marker(pytest.mark.skip(reason="slow, and --quick was given"))
        only = item.get_closest_marker("leveret_only")
        if only and kind.kind == "rabbitmq":
            item.add_marker(pytest.mark.skip(reason="Leveret only: " + str(only.args[0] if only.args else "")))
        if item.get_closest_marker("needs_admin") and not kind.can_admin:
            item.add_marker(pytest.mark.skip(reason="administers the broker"))
        if item.get_closest_marker("needs_restart") and not kind.can_restart:
            item.add_marker(pytest.mark.skip(reason="starts brokers of its own"))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        for broker in running:
            report.sections.append((f"log of {broker.kind} on port {broker.port}", broker.log_tail()))


@pytest.fixture(scope="session")
def shared_broker():
    """The broker that all tests of this process use."""
    broker = broker_class()().start()
    running.append(broker)
    yield broker
    running.remove(broker)
    broker.stop()
    broker.remove()


@pytest.fixture
def broker(shared_broker):
    """The shared broker; it must have survived the test."""
    yield shared_broker
    try:
        shared_broker.assert_alive()
    except BrokerError as e:
        pytest.exit(f"the broker did not survive the test: {e}", returncode=1)


@pytest.fixture
def start_broker():
    """start_broker(opts): a broker of the test's own with those configuration keys, stopped (cleanly) after it."""
    started = []

    def start(opts=None):
        broker = broker_class()(opts).start()
        started.append(broker)
        running.append(broker)
        return broker

    yield start
    for broker in started:
        running.remove(broker)
        try:
            broker.stop()
        finally:
            broker.remove()


@pytest.fixture
def name():
    """A name nothing else uses, for queues and exchanges: name() or name('suffix')."""
    base = f"t{os.getpid()}.{next(counter)}"
    return lambda suffix="q": f"{base}.{suffix}"
