#!/usr/bin/python3
"""How long a definitions file of many queues and bindings takes, in and out, and what memory the broker has then.

    tests/bench/definitions.py LEVERETD [QUEUES [BINDINGS]]

Prints a line of JSON: seconds of the import, seconds of the export, CPU seconds by thread, bytes of the file, peak and last resident memory. The daemon is one of its own, in a
temporary folder; the file is made by the way and sent as curl sends it.
"""

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time

LOGIN = {"Authorization": "Basic Z3Vlc3Q6Z3Vlc3Q=", "Content-Type": "application/json"}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def write_file(path, queues, bindings):
    element = ('{{"source":"exchange-{x}","vhost":"big","destination":"queue-{q}","destination_type":"queue","routing_key":"key.{k}.{i}",'
               '"arguments":{{}}}}')
    with open(path, "w", encoding="ascii") as f:
        f.write('{"rabbit_version":"3.10.8","users":[],"vhosts":[{"name":"big"}],"permissions":[{"user":"guest","vhost":"big","configure":".*",'
                '"write":".*","read":".*"}],"queues":[')
        f.write(",\n".join(f'{{"name":"queue-{i}","vhost":"big","durable":true,"auto_delete":false,"arguments":{{}}}}' for i in range(queues)))
        f.write('],"exchanges":[')
        f.write(",\n".join(f'{{"name":"exchange-{i}","vhost":"big","type":"{("topic", "direct", "fanout")[i % 3]}","durable":true,"auto_delete":false,'
                           '"internal":false,"arguments":{}}' for i in range(100)))
        f.write('],"bindings":[')
        for first in range(0, bindings, 1000):
            f.write((",\n" if first else "") + ",\n".join(
                element.format(x=i % 100, q=i % queues, k=i % 997, i=i) for i in range(first, min(bindings, first + 1000))))
        f.write("]}")


def memory(pid, key):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return [int(line.split()[1]) for line in f if line.startswith(key)][0] * 1024


def cpu_by_thread(pid):
    result = {}
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/stat", encoding="ascii") as f:
            name, rest = f.read().split("(", 1)[1].rsplit(")", 1)
        ticks = sum(int(n) for n in rest.split()[11:13])
        result[name] = round(result.get(name, 0) + ticks / os.sysconf("SC_CLK_TCK"), 2)
    return {name: seconds for name, seconds in result.items() if seconds >= 0.1}


def wait_until_up(port, daemon):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and daemon.poll() is None:
        try:
            link = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            link.request("GET", "/api/whoami", headers=LOGIN)
            if link.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.05)
    sys.exit("the daemon does not answer")


def ask(port, method, path, body=None, size=0):
    """Seconds until the answer has come whole, and its bytes."""
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=900)
    began = time.monotonic()
    link.request(method, path, body, {**LOGIN, **({"Content-Length": str(size)} if body else {})})
    answer = link.getresponse()
    length = 0
    while part := answer.read(1 << 20):
        length += len(part)
    if answer.status not in (200, 204):
        sys.exit(f"{method} {path}: {answer.status}")
    return round(time.monotonic() - began, 2), length


def main(leveretd, queues=100000, bindings=1000000):
    folder = tempfile.mkdtemp(prefix="leveret-definitions-")
    path, port = os.path.join(folder, "big.json"), free_port()
    write_file(path, int(queues), int(bindings))
    options = [f"data_dir={folder}/data", f"listeners.tcp.1=127.0.0.1:{free_port()}", "management.tcp.ip=127.0.0.1", f"management.tcp.port={port}",
               "prometheus.tcp.port=0"]
    with open(os.path.join(folder, "log"), "wb") as log, \
            subprocess.Popen([leveretd, *[word for option in options for word in ("-o", option)]], stdout=log, stderr=log) as daemon:
        try:
            wait_until_up(port, daemon)
            with open(path, "rb") as f:
                took_in, _ = ask(port, "POST", "/api/definitions", f, os.path.getsize(path))
            cpu = cpu_by_thread(daemon.pid)
            peak = memory(daemon.pid, "VmHWM")
            took_out, length = ask(port, "GET", "/api/definitions")
            print(json.dumps({"import_s": took_in, "export_s": took_out, "cpu_s": cpu, "file_bytes": os.path.getsize(path), "export_bytes": length,
                              "peak_bytes": peak, "resident_bytes": memory(daemon.pid, "VmRSS")}))
        finally:
            daemon.terminate()
            daemon.wait(60)
            shutil.rmtree(folder)


if __name__ == "__main__":
    main(*sys.argv[1:])
