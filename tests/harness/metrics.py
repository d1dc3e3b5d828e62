"""What a scrape of the metrics says, taken apart as strictly as Prometheus does."""

import gzip
import http.client
import re

NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*$")
LINE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$')
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\["\\n])*)"(?:,|$)')
SUFFIXES = {"histogram": ("_bucket", "_sum", "_count"), "summary": ("", "_sum", "_count")}


class Metrics:
    """values[(name, labels as a sorted tuple of pairs)] = number; types[name]; every rule of the format asserted."""

    def __init__(self, text):
        self.values, self.types, self.helps = {}, {}, {}
        family, done = None, set()
        assert text.endswith("\n")
        for line in text[:-1].split("\n"):
            if line.startswith("# TYPE "):
                _, _, name, kind = line.split(" ")
                assert NAME.match(name) and name not in done, line
                assert kind in ("counter", "gauge", "untyped", "histogram", "summary"), line
                family, self.types[name] = name, kind
                done.add(name)
            elif line.startswith("# HELP "):
                _, _, name, text_of = line.split(" ", 3)
                assert name == family and text_of, line  # behind the TYPE of the same name
                self.helps[name] = text_of
            else:
                name, labels, value = LINE.match(line).groups()
                assert name in [family + s for s in SUFFIXES.get(self.types[family], ("",))], line
                pairs = LABEL.findall(labels or "")
                assert ",".join(f'{k}="{v}"' for k, v in pairs) == (labels or ""), line
                key = (name, tuple(sorted(pairs)))
                assert key not in self.values, line
                self.values[key] = float(value)

    def names(self):
        return {name for name, _ in self.values}

    def get(self, metric, **labels):
        return self.values[(metric, tuple(sorted(labels.items())))]

    def sum(self, metric, **labels):
        """Over all lines that have these labels."""
        wanted = set(labels.items())
        found = [v for (name, pairs), v in self.values.items() if name == metric and wanted <= set(pairs)]
        assert found, metric
        return sum(found)

    def labels(self, metric):
        return [dict(pairs) for name, pairs in self.values if name == metric]


def ask(broker, path, method="GET", headers=None):
    """(status, headers, body as it came)"""
    connection = http.client.HTTPConnection(broker.host, broker.options["prometheus.tcp.port"], timeout=60)
    try:
        connection.request(method, path, headers=headers or {})
        response = connection.getresponse()
        return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
    finally:
        connection.close()


def scrape(broker, path="/metrics", packed=False):
    status, headers, body = ask(broker, path, headers={"Accept-Encoding": "gzip"} if packed else None)
    assert status == 200 and headers["content-type"] == "text/plain; version=0.0.4"
    assert headers.get("content-encoding") == ("gzip" if packed else None)
    return Metrics((gzip.decompress(body) if packed else body).decode())
