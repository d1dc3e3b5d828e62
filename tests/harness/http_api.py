"""A small client of the HTTP API: what comes back, as it came."""

import base64
import http.client
import json
import urllib.parse


def quote(name):
    return urllib.parse.quote(name, safe="")


class Answer:
    def __init__(self, response):
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.body = response.read()

    @property
    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"{self.status} {self.body[:500]!r}"


class HttpApi:
    """api = HttpApi(broker); api.get("/queues").json. `user` None: no log-in."""

    def __init__(self, broker, user="guest", password="guest"):
        self.host, self.port = broker.host, broker.http_port
        self.user, self.password = user, password

    def ask(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection(self.host, self.port, timeout=60)
        sent = dict(headers or {})
        if self.user is not None and "Authorization" not in sent:
            sent["Authorization"] = "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        if body is not None and not isinstance(body, (str, bytes)):
            body = json.dumps(body)
        try:
            connection.request(method, "/api" + path, body=body, headers=sent)
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def get(self, path):
        answer = self.ask("GET", path)
        assert answer.status == 200, (path, answer)
        return answer.json

    def put(self, path, body=None):
        return self.ask("PUT", path, {} if body is None else body)

    def post(self, path, body=None):
        return self.ask("POST", path, {} if body is None else body)

    def delete(self, path):
        return self.ask("DELETE", path)
