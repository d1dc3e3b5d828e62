"""Client libraries of other languages against the broker: each runs the flows of clients/flows.md in a process of its own."""

import os
import shutil
import subprocess

import pytest

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "clients")
TOP = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
FLOWS = 5


def run(*argv, timeout=90, **env):
    done = subprocess.run(argv, env={**os.environ, **env}, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, f"{argv}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def needs(program, path=None):
    if shutil.which(program) is None or (path and not os.path.exists(path)):
        pytest.skip(f"no {program}" + (f" or no {path}" if path else ""))


def assert_all_flows(output):
    assert [line.split()[0] for line in output.splitlines()].count("ok") == FLOWS, output


def address(broker):
    return broker.host, str(broker.port), broker.user, broker.password


def test_node_amqplib(broker):
    modules = os.path.join(TOP, "build", "npm", "node_modules")
    needs("node", os.path.join(modules, "amqplib"))
    # Without a path of its own the URL means the vhost "/".
    assert_all_flows(run("node", f"{HERE}/amqplib.js", broker.url().rsplit("/", 1)[0], NODE_PATH=modules))


def test_ruby_bunny(broker):
    needs("ruby", "/usr/share/doc/ruby-bunny")
    assert_all_flows(run("/usr/bin/ruby", f"{HERE}/bunny.rb", broker.url()))


def test_php_amqplib(broker):
    needs("php", "/usr/share/php/PhpAmqpLib")
    assert_all_flows(run("php", f"{HERE}/php_amqplib.php", *address(broker)))


def test_java(broker):
    jars = [f"/usr/share/java/{jar}.jar" for jar in ("amqp-client", "slf4j-api", "slf4j-nop")]
    needs("javac", jars[0])
    assert_all_flows(run("java", "-XX:TieredStopAtLevel=1", "-cp", ":".join(jars), f"{HERE}/Client.java", broker.url()))


def test_go_amqp091(broker, tmp_path):
    packages = "/usr/share/gocode"
    needs("go", f"{packages}/src/github.com/rabbitmq/amqp091-go")
    build = os.path.join(TOP, "build", "go")
    program = str(tmp_path / "client")
    run("/usr/bin/go", "build", "-o", program, f"{HERE}/client.go", GO111MODULE="off", GOPATH=packages, GOCACHE=build, GOFLAGS="", timeout=300)
    assert_all_flows(run(program, broker.url()))


def test_rabbitmq_c(broker, tmp_path):
    needs("gcc")
    program = str(tmp_path / "client")
    run("gcc", "-std=gnu17", "-Wall", "-O1", "-o", program, f"{HERE}/client.c", "-lrabbitmq")
    assert_all_flows(run(program, *address(broker)))
