"""The web console in Chromium: scenarios.js does what people do, each scenario is a test here.

One browser and one broker for all of them; a browser that is not installed is a skip.
"""

import functools
import json
import os
import shutil
import subprocess

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
MODULES = os.path.join(TOP, "build", "npm", "node_modules")
SCENARIOS = os.path.join(HERE, "scenarios.js")
MANY_QUEUES = 100000

pytestmark = [pytest.mark.leveret_only("it is Leveret's console"), pytest.mark.needs_admin, pytest.mark.xdist_group("console"), pytest.mark.timeout(1800)]


def chromium():
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def names():
    if shutil.which("node") is None or not os.path.isdir(os.path.join(MODULES, "playwright-core")):
        return []
    listed = subprocess.run(["node", SCENARIOS, "--list"], env={**os.environ, "NPM_MODULES": MODULES}, capture_output=True, text=True, check=True)
    return listed.stdout.split()


@functools.cache
def results(console_url, amqp_url, scratch):
    """{scenario: what came of it}: all are run when the first is asked for."""
    perf = os.environ.get("LEVERET_PERF") or os.path.join(os.path.dirname(os.environ["LEVERETD"]), "cli", "leveret-perf")
    env = {**os.environ, "NPM_MODULES": MODULES, "CONSOLE_URL": console_url, "AMQP": amqp_url, "CHROMIUM": chromium(), "SCREENSHOTS": scratch, "LEVERET_PERF": perf,
           "MANY_QUEUES": str(MANY_QUEUES), "HOME": scratch}
    done = subprocess.run(["node", SCENARIOS], env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=1700, check=False)
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    for one in found:
        print("%6.1f s  %s" % (one["seconds"], one["name"]))
    return {one["name"]: one for one in found}, done.stderr


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return str(tmp_path_factory.mktemp("console"))


@pytest.mark.parametrize("name", names() or ["nothing"])
def test_scenario(broker, scratch, name):
    if name == "nothing" or chromium() is None:
        pytest.skip("no node, playwright-core or chromium")
    found, errors = results(f"http://{broker.host}:{broker.http_port}", broker.url(), scratch)
    assert name in found, f"it was not run\n{errors}"
    assert found[name]["ok"], found[name]["error"]
