"""A small AMQP 0-9-1 client that hides nothing: frames, methods and tables as they are on the wire.

Every frame that comes from the broker is taken apart and put together again; if the bytes differ the broker did not encode
it canonically, and the test fails (`WireError`). Nothing is answered behind the test's back: no heartbeats, no close-ok,
unless a method of `Conn` says so.

    with Conn.open(broker) as conn:
        ch = conn.channel(1)
        ok = ch.call("queue.declare", queue="q", durable=True)
        ch.publish("", "q", b"body", delivery_mode=2)

Field tables are dicts. Python values choose the wire type (bool t, int I or l, float d, str S, bytes x, dict F, list A,
None V); `T(code, value)` forces one, and is what decoding yields for a type that Python's value would not choose itself.
"""

import collections
import socket
import struct
import time

HEADER = b"AMQP\x00\x00\x09\x01"
FRAME_METHOD, FRAME_HEADER, FRAME_BODY, FRAME_HEARTBEAT, FRAME_END = 1, 2, 3, 8, 0xCE
DEFAULT_TIMEOUT = 10.0

# class.method name(fields); `bits` are packed in the order written. The numbers are those of the AMQP 0-9-1 grammar.
METHOD_TABLE = """
10.10 connection.start        octet:version_major octet:version_minor table:server_properties longstr:mechanisms longstr:locales
10.11 connection.start-ok     table:client_properties shortstr:mechanism longstr:response shortstr:locale
10.20 connection.secure       longstr:challenge
10.21 connection.secure-ok    longstr:response
10.30 connection.tune         short:channel_max long:frame_max short:heartbeat
10.31 connection.tune-ok      short:channel_max long:frame_max short:heartbeat
10.40 connection.open         shortstr:virtual_host shortstr:capabilities bit:insist
10.41 connection.open-ok      shortstr:known_hosts
10.50 connection.close        short:reply_code shortstr:reply_text short:class_id short:method_id
10.51 connection.close-ok
10.60 connection.blocked      shortstr:reason
10.61 connection.unblocked
10.70 connection.update-secret    longstr:new_secret shortstr:reason
10.71 connection.update-secret-ok
20.10 channel.open            shortstr:out_of_band
20.11 channel.open-ok         longstr:channel_id
20.20 channel.flow            bit:active
20.21 channel.flow-ok         bit:active
20.40 channel.close           short:reply_code shortstr:reply_text short:class_id short:method_id
20.41 channel.close-ok
30.10 access.request          shortstr:realm bit:exclusive bit:passive bit:active bit:write bit:read
30.11 access.request-ok       short:ticket
40.10 exchange.declare        short:ticket shortstr:exchange shortstr:type bit:passive bit:durable bit:auto_delete bit:internal bit:nowait table:arguments
40.11 exchange.declare-ok
40.20 exchange.delete         short:ticket shortstr:exchange bit:if_unused bit:nowait
40.21 exchange.delete-ok
40.30 exchange.bind           short:ticket shortstr:destination shortstr:source shortstr:routing_key bit:nowait table:arguments
40.31 exchange.bind-ok
40.40 exchange.unbind         short:ticket shortstr:destination shortstr:source shortstr:routing_key bit:nowait table:arguments
40.51 exchange.unbind-ok
50.10 queue.declare           short:ticket shortstr:queue bit:passive bit:durable bit:exclusive bit:auto_delete bit:nowait table:arguments
50.11 queue.declare-ok        shortstr:queue long:message_count long:consumer_count
50.20 queue.bind              short:ticket shortstr:queue shortstr:exchange shortstr:routing_key bit:nowait table:arguments
50.21 queue.bind-ok
50.30 queue.purge             short:ticket shortstr:queue bit:nowait
50.31 queue.purge-ok          long:message_count
50.40 queue.delete            short:ticket shortstr:queue bit:if_unused bit:if_empty bit:nowait
50.41 queue.delete-ok         long:message_count
50.50 queue.unbind            short:ticket shortstr:queue shortstr:exchange shortstr:routing_key table:arguments
50.51 queue.unbind-ok
60.10 basic.qos               long:prefetch_size short:prefetch_count bit:global
60.11 basic.qos-ok
60.20 basic.consume           short:ticket shortstr:queue shortstr:consumer_tag bit:no_local bit:no_ack bit:exclusive bit:nowait table:arguments
60.21 basic.consume-ok        shortstr:consumer_tag
60.30 basic.cancel            shortstr:consumer_tag bit:nowait
60.31 basic.cancel-ok         shortstr:consumer_tag
60.40 basic.publish           short:ticket shortstr:exchange shortstr:routing_key bit:mandatory bit:immediate
60.50 basic.return            short:reply_code shortstr:reply_text shortstr:exchange shortstr:routing_key
60.60 basic.deliver           shortstr:consumer_tag longlong:delivery_tag bit:redelivered shortstr:exchange shortstr:routing_key
60.70 basic.get               short:ticket shortstr:queue bit:no_ack
60.71 basic.get-ok            longlong:delivery_tag bit:redelivered shortstr:exchange shortstr:routing_key long:message_count
60.72 basic.get-empty         shortstr:cluster_id
60.80 basic.ack               longlong:delivery_tag bit:multiple
60.90 basic.reject            longlong:delivery_tag bit:requeue
60.100 basic.recover-async    bit:requeue
60.110 basic.recover          bit:requeue
60.111 basic.recover-ok
60.120 basic.nack             longlong:delivery_tag bit:multiple bit:requeue
85.10 confirm.select          bit:nowait
85.11 confirm.select-ok
90.10 tx.select
90.11 tx.select-ok
90.20 tx.commit
90.21 tx.commit-ok
90.30 tx.rollback
90.31 tx.rollback-ok
"""

PROPERTIES = (("content_type", "shortstr", 15), ("content_encoding", "shortstr", 14), ("headers", "table", 13),
              ("delivery_mode", "octet", 12), ("priority", "octet", 11), ("correlation_id", "shortstr", 10),
              ("reply_to", "shortstr", 9), ("expiration", "shortstr", 8), ("message_id", "shortstr", 7),
              ("timestamp", "longlong", 6), ("type", "shortstr", 5), ("user_id", "shortstr", 4), ("app_id", "shortstr", 3),
              ("cluster_id", "shortstr", 2))

CONTENT_METHODS = ("basic.deliver", "basic.return", "basic.get-ok")
# What a synchronous method waits for; everything else is name + "-ok".
REPLIES = {"basic.get": ("basic.get-ok", "basic.get-empty"), "connection.start-ok": ("connection.tune", "connection.secure")}

CAPABILITIES = {"publisher_confirms": True, "exchange_exchange_bindings": True, "basic.nack": True,
                "consumer_cancel_notify": True, "connection.blocked": True, "authentication_failure_close": True}


class WireError(AssertionError):
    """The broker sent something that is not canonical AMQP 0-9-1, or not what the test is waiting for."""


class Closed(Exception):
    """The broker closed the channel or the connection. `scope` is 'channel' or 'connection'."""

    def __init__(self, scope, channel, code, text, class_id, method_id):
        super().__init__(f"{scope}.close {code} {text!r} ({class_id},{method_id})")
        self.scope, self.channel, self.code, self.text, self.ids = scope, channel, code, text, (class_id, method_id)


class SocketClosed(Exception):
    """The TCP connection ended (or was reset) without a close method."""


class NothingCame(Exception):
    """The time limit passed."""


# -- types ---------------------------------------------------------------------------------------------------------------


class T(collections.namedtuple("T", "code value")):
    """A table value with its wire type given by hand, e.g. T('b', -1)."""


FIXED = {"b": ">b", "B": ">B", "s": ">h", "u": ">H", "I": ">i", "i": ">I", "l": ">q", "T": ">Q", "f": ">f", "d": ">d"}


def encode_value(value):
    if isinstance(value, T):
        code, value = value
    else:
        code = natural_code(value)
    if code in FIXED:
        return code.encode() + struct.pack(FIXED[code], value)
    if code == "t":
        return b"t" + bytes([1 if value else 0])
    if code == "D":
        return b"D" + struct.pack(">Bi", *value)
    if code in "Sx":
        data = value.encode() if isinstance(value, str) else value
        return code.encode() + struct.pack(">I", len(data)) + data
    if code == "F":
        return b"F" + encode_table(value)
    if code == "A":
        items = b"".join(encode_value(v) for v in value)
        return b"A" + struct.pack(">I", len(items)) + items
    if code == "V":
        return b"V"
    raise ValueError(f"no table type {code!r}")


def natural_code(value):
    if value is None:
        return "V"
    if isinstance(value, bool):
        return "t"
    if isinstance(value, int):
        return "I" if -2**31 <= value < 2**31 else "l"
    return {float: "d", str: "S", bytes: "x", dict: "F", list: "A"}[type(value)]


def encode_table(table):
    items = b"".join(shortstr(k) + encode_value(v) for k, v in table.items())
    return struct.pack(">I", len(items)) + items


def shortstr(value):
    data = value.encode() if isinstance(value, str) else value
    if len(data) > 255:
        raise ValueError("a short string holds at most 255 bytes")
    return bytes([len(data)]) + data


def longstr(value):
    data = value.encode() if isinstance(value, str) else value
    return struct.pack(">I", len(data)) + data


class Reader:
    """Takes values off a byte string; every short read is a WireError."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        if self.at + count > len(self.data):
            raise WireError(f"truncated: {count} bytes wanted at {self.at} of {self.data!r}")
        self.at += count
        return self.data[self.at - count:self.at]

    def unpack(self, fmt):
        return struct.unpack(fmt, self.take(struct.calcsize(fmt)))[0]

    def shortstr(self):
        data = self.take(self.unpack(">B"))
        try:
            return data.decode()
        except UnicodeDecodeError:
            return data

    def longstr(self):
        return self.take(self.unpack(">I"))

    def table(self):
        inner, table = Reader(self.longstr()), {}
        while inner.at < len(inner.data):
            key = inner.shortstr()
            table[key] = inner.value()
        return table

    def value(self):
        code = self.take(1).decode("latin1")
        if code in FIXED:
            value = self.unpack(FIXED[code])
        elif code == "t":
            value = self.unpack(">B") != 0
        elif code == "D":
            value = (self.unpack(">B"), self.unpack(">i"))
        elif code == "S":
            data = self.longstr()
            try:
                return data.decode()
            except UnicodeDecodeError:
                return T("S", data)
        elif code == "x":
            return self.longstr()
        elif code == "F":
            return self.table()
        elif code == "A":
            inner, value = Reader(self.longstr()), []
            while inner.at < len(inner.data):
                value.append(inner.value())
            return value
        elif code == "V":
            return None
        else:
            raise WireError(f"unknown table type {code!r}")
        return value if code != "D" and natural_code(value) == code else T(code, value)


# -- methods -------------------------------------------------------------------------------------------------------------

Spec = collections.namedtuple("Spec", "name class_id method_id fields")


def parse_method_table():
    by_name, by_id = {}, {}
    for line in METHOD_TABLE.strip().splitlines():
        numbers, name, *fields = line.split()
        class_id, method_id = map(int, numbers.split("."))
        spec = Spec(name, class_id, method_id, tuple(tuple(f.split(":")) for f in fields))
        by_name[name] = by_id[class_id, method_id] = spec
    return by_name, by_id


BY_NAME, BY_ID = parse_method_table()
SCALARS = {"octet": ">B", "short": ">H", "long": ">I", "longlong": ">Q"}


def encode_fields(fields, values):
    out, bits, count = bytearray(), 0, 0

    def flush():
        nonlocal bits, count
        if count:
            out.append(bits)
            bits = count = 0

    for kind, name in fields:
        value = values.get(name)
        if kind == "bit":
            bits |= (1 if value else 0) << count
            count += 1
            continue
        flush()
        if kind in SCALARS:
            out += struct.pack(SCALARS[kind], value or 0)
        elif kind == "shortstr":
            out += shortstr(value or "")
        elif kind == "longstr":
            out += longstr(value or b"")
        else:
            out += value if isinstance(value, bytes) else encode_table(value or {})
    flush()
    return bytes(out)


def encode_method(name, **values):
    spec = BY_NAME[name]
    unknown = set(values) - {n for _, n in spec.fields}
    if unknown:
        raise ValueError(f"{name} has no {unknown}")
    return struct.pack(">HH", spec.class_id, spec.method_id) + encode_fields(spec.fields, values)


def decode_method(payload):
    r = Reader(payload)
    class_id, method_id = r.unpack(">H"), r.unpack(">H")
    spec = BY_ID.get((class_id, method_id))
    if spec is None:
        raise WireError(f"unknown method {class_id},{method_id}")
    values, bits, count = {}, 0, 8
    for kind, name in spec.fields:
        if kind == "bit":
            if count == 8:
                bits, count = r.unpack(">B"), 0
            values[name] = bool(bits >> count & 1)
            count += 1
            continue
        count = 8
        values[name] = r.unpack(SCALARS[kind]) if kind in SCALARS else getattr(r, kind)()
    method = Method(spec.name, values)
    again = encode_method(spec.name, **values)
    if again != payload:
        raise WireError(f"{method} is not encoded canonically: {payload!r}, expected {again!r}")
    return method


class Method:
    """A decoded method; fields are attributes. Content methods also have `props` (dict) and `body`."""

    def __init__(self, name, values):
        self.name, self.values, self.props, self.body = name, values, None, None

    def __getattr__(self, field):
        try:
            return self.__dict__["values"][field]
        except KeyError:
            raise AttributeError(f"{self.name} has no field {field}") from None

    def __repr__(self):
        body = "" if self.body is None else f" props={self.props} body={self.body[:64]!r}({len(self.body)})"
        return f"<{self.name} {self.values}{body}>"


def encode_header(body_size, props, class_id=60, weight=0):
    flags, out = 0, bytearray()
    unknown = set(props) - {name for name, _, _ in PROPERTIES}
    if unknown:
        raise ValueError(f"no such properties: {unknown}")
    for name, kind, bit in PROPERTIES:
        if props.get(name) is None:
            continue
        flags |= 1 << bit
        out += encode_fields(((kind, name),), props)
    return struct.pack(">HHQH", class_id, weight, body_size, flags) + bytes(out)


def decode_header(payload):
    r = Reader(payload)
    class_id, weight, size, flags = r.unpack(">H"), r.unpack(">H"), r.unpack(">Q"), r.unpack(">H")
    props = {}
    for name, kind, bit in PROPERTIES:
        if flags >> bit & 1:
            props[name] = r.unpack(SCALARS[kind]) if kind in SCALARS else getattr(r, kind)()
    again = encode_header(size, props, class_id, weight)
    if again != payload:
        raise WireError(f"content header is not canonical: {payload!r}, expected {again!r}")
    return size, props


def frame(kind, channel, payload, end=FRAME_END):
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + bytes([end])


Frame = collections.namedtuple("Frame", "kind channel payload")


# -- connection ----------------------------------------------------------------------------------------------------------


class Conn:
    """One TCP connection. `inbox[channel]` holds what was read while the test waited for another channel."""

    def __init__(self, host, port, timeout=DEFAULT_TIMEOUT):
        self.sock = socket.create_connection((host, port), timeout=timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.timeout = timeout
        self.buffer = bytearray()
        self.inbox = collections.defaultdict(collections.deque)
        self.contents = {}       # channel -> [method, announced size or None, body]
        self.frame_max = 131072  # as negotiated; what the broker sends is held against it
        self.heartbeats = 0      # received
        self.tune = None
        self.start = None
        self.bytes_in = 0

    @classmethod
    def open(cls, broker, vhost="/", user=None, password=None, timeout=DEFAULT_TIMEOUT, **options):
        """Connects and goes through the handshake to open-ok. Options: see handshake()."""
        conn = cls(broker.host, broker.port, timeout)
        try:
            conn.handshake(vhost, user or broker.user, password or broker.password, **options)
        except BaseException:
            conn.sock.close()
            raise
        return conn

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.abort()

    def abort(self):
        self.sock.close()

    def handshake(self, vhost, user, password, capabilities=CAPABILITIES, channel_max=None, frame_max=None, heartbeat=0,
                  properties=None, mechanism="PLAIN", response=None):
        self.send_bytes(HEADER)
        self.start = self.expect(0, "connection.start")
        self.send_start_ok(user, password, capabilities, properties, mechanism, response)
        self.tune = self.expect(0, "connection.tune")
        self.send_tune_ok(channel_max, frame_max, heartbeat)
        self.send(0, "connection.open", virtual_host=vhost)
        self.expect(0, "connection.open-ok")

    def send_start_ok(self, user, password, capabilities=CAPABILITIES, properties=None, mechanism="PLAIN", response=None):
        client = {"product": "spec test", **(properties or {})}
        if capabilities is not None:
            client["capabilities"] = dict(capabilities)
        if response is None:
            response = f"\0{user}\0{password}".encode()
        self.send(0, "connection.start-ok", client_properties=client, mechanism=mechanism, response=response, locale="en_US")

    def send_tune_ok(self, channel_max=None, frame_max=None, heartbeat=0):
        self.frame_max = self.tune.frame_max if frame_max is None else frame_max
        self.send(0, "connection.tune-ok", channel_max=self.tune.channel_max if channel_max is None else channel_max,
                  frame_max=self.frame_max, heartbeat=heartbeat)

    # sending

    def send_bytes(self, data):
        try:
            self.sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError) as e:
            # What the broker said before it closed may still be there to be read; the next read tells.
            self.send_error = e

    def send_frame(self, kind, channel, payload, end=FRAME_END):
        self.send_bytes(frame(kind, channel, payload, end))

    def send(self, channel, name, **values):
        self.send_frame(FRAME_METHOD, channel, encode_method(name, **values))

    # receiving

    def read_frame(self, timeout=None):
        """The next frame, whatever it is. SocketClosed at the end, NothingCame after the time limit."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while True:
            if len(self.buffer) >= 7:
                kind, channel, size = struct.unpack_from(">BHI", self.buffer)
                if kind not in (1, 2, 3, 8):
                    raise WireError(f"not a frame: {bytes(self.buffer[:32])!r}")
                if self.frame_max and size + 8 > self.frame_max:
                    raise WireError(f"frame of {size + 8} bytes, frame_max is {self.frame_max}")
                if len(self.buffer) >= size + 8:
                    payload, end = bytes(self.buffer[7:7 + size]), self.buffer[7 + size]
                    del self.buffer[:size + 8]
                    if end != FRAME_END:
                        raise WireError(f"frame end is {end}")
                    return Frame(kind, channel, payload)
            self.fill(deadline)

    def fill(self, deadline):
        left = deadline - time.monotonic()
        if left <= 0:
            raise NothingCame()
        self.sock.settimeout(left)
        try:
            data = self.sock.recv(1 << 20)
        except socket.timeout:
            raise NothingCame() from None
        except OSError as e:
            raise SocketClosed(str(e)) from None
        if not data:
            raise SocketClosed("end of stream")
        self.bytes_in += len(data)
        self.buffer += data

    def pump(self, timeout=None):
        """Reads one frame and files it: methods (with their content, once whole) into the channel's inbox."""
        f = self.read_frame(timeout)
        if f.kind == FRAME_HEARTBEAT:
            if f.channel != 0 or f.payload:
                raise WireError(f"bad heartbeat {f}")
            self.heartbeats += 1
            return
        pending = self.contents.get(f.channel)
        if f.kind == FRAME_METHOD:
            if pending is not None:
                raise WireError(f"method frame inside the content of {pending[0]}")
            method = decode_method(f.payload)
            if method.name in CONTENT_METHODS:
                self.contents[f.channel] = [method, None, bytearray()]
            else:
                self.inbox[f.channel].append(method)
            return
        if pending is None:
            raise WireError(f"content frame without a method: {f}")
        method, size, body = pending
        if f.kind == FRAME_HEADER:
            if size is not None:
                raise WireError("second content header")
            pending[1], method.props = decode_header(f.payload)
        else:
            if size is None or not f.payload or len(body) + len(f.payload) > size:
                raise WireError(f"body frame of {len(f.payload)} bytes where {size} in all were announced")
            body += f.payload
        if len(pending[2]) == pending[1]:
            method.body = bytes(pending[2])
            del self.contents[f.channel]
            self.inbox[f.channel].append(method)

    def next(self, channel=0, timeout=None):
        """The next method on the channel. A close by the broker is raised as Closed (and answered with close-ok)."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while True:
            if channel != 0 and self.inbox[0]:
                self.check_close(0, self.inbox[0][0])
            if self.inbox[channel]:
                method = self.inbox[channel].popleft()
                self.check_close(channel, method)
                return method
            self.pump(max(0.0, deadline - time.monotonic()))

    def check_close(self, channel, method):
        if method.name not in ("connection.close", "channel.close"):
            return
        scope = method.name.split(".")[0]
        if scope == "channel":
            self.send(channel, "channel.close-ok")
        else:
            self.send(0, "connection.close-ok")
        raise Closed(scope, channel, method.reply_code, method.reply_text, method.class_id, method.method_id)

    def expect(self, channel, *names, timeout=None):
        """The next method on the channel, which must be one of `names`."""
        method = self.next(channel, timeout)
        if method.name not in names:
            raise WireError(f"expected {' or '.join(names)}, got {method}")
        return method

    def expect_silence(self, channel=0, seconds=0.2):
        try:
            method = self.next(channel, seconds)
        except NothingCame:
            return
        raise WireError(f"expected nothing, got {method}")

    def expect_end(self, timeout=None):
        """The broker closes the TCP connection; frames before that are dropped."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while True:
            try:
                self.read_frame(deadline - time.monotonic())
            except SocketClosed:
                return

    # whole exchanges

    def channel(self, number=1):
        self.send(number, "channel.open")
        self.expect(number, "channel.open-ok")
        return Channel(self, number)

    def close(self):
        """connection.close from our side, to its close-ok."""
        self.send(0, "connection.close", reply_code=200, reply_text="bye")
        while True:
            method = self.next(0)
            if method.name == "connection.close-ok":
                break
        self.sock.close()

    def drain_close(self, timeout=None):
        """Waits for the broker's connection.close or channel.close on any channel; returns the Closed."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while True:
            for channel, box in list(self.inbox.items()):
                for method in box:
                    try:
                        self.check_close(channel, method)
                    except Closed as closed:
                        box.remove(method)
                        return closed
            self.pump(max(0.0, deadline - time.monotonic()))


class Channel:
    """One open channel."""

    def __init__(self, conn, number):
        self.conn, self.number = conn, number

    def send(self, name, **values):
        self.conn.send(self.number, name, **values)

    def next(self, timeout=None):
        return self.conn.next(self.number, timeout)

    def expect(self, *names, timeout=None):
        return self.conn.expect(self.number, *names, timeout=timeout)

    def expect_silence(self, seconds=0.2):
        self.conn.expect_silence(self.number, seconds)

    def call(self, name, **values):
        """A synchronous method and its reply. Deliveries that come in between stay in the inbox, in order."""
        self.send(name, **values)
        wanted = REPLIES.get(name, (name + "-ok",))
        aside = []
        try:
            while True:
                method = self.next()
                if method.name in wanted:
                    return method
                aside.append(method)
        finally:
            self.conn.inbox[self.number].extendleft(reversed(aside))

    def publish(self, exchange, routing_key, body=b"", mandatory=False, immediate=False, **props):
        self.conn.send_bytes(self.publish_bytes(exchange, routing_key, body, mandatory, immediate, **props))

    def publish_bytes(self, exchange, routing_key, body=b"", mandatory=False, immediate=False, **props):
        body = body.encode() if isinstance(body, str) else body
        out = frame(FRAME_METHOD, self.number, encode_method("basic.publish", exchange=exchange, routing_key=routing_key,
                                                             mandatory=mandatory, immediate=immediate))
        out += frame(FRAME_HEADER, self.number, encode_header(len(body), props))
        step = self.conn.frame_max - 8 if self.conn.frame_max else max(len(body), 1)
        return out + b"".join(frame(FRAME_BODY, self.number, body[at:at + step]) for at in range(0, len(body), step))

    def get(self, queue, no_ack=True):
        """basic.get: the message, or None when the queue is empty."""
        got = self.call("basic.get", queue=queue, no_ack=no_ack)
        return got if got.name == "basic.get-ok" else None

    def get_soon(self, queue, no_ack=True):
        """basic.get of a message that somebody else published: it may still be on its way to the queue."""
        deadline = time.monotonic() + self.conn.timeout
        while time.monotonic() < deadline:
            got = self.get(queue, no_ack)
            if got is not None:
                return got
            time.sleep(0.002)
        raise NothingCame()

    def consume(self, queue, tag="", **values):
        return self.call("basic.consume", queue=queue, consumer_tag=tag, **values).consumer_tag

    def deliver(self, timeout=None):
        return self.expect("basic.deliver", timeout=timeout)

    def queue(self, name="", **values):
        return self.call("queue.declare", queue=name, **values).queue

    def count(self, queue):
        """(ready messages, consumers) by a passive declare."""
        ok = self.call("queue.declare", queue=queue, passive=True)
        return ok.message_count, ok.consumer_count

    def sync(self):
        """Everything sent before has been dealt with, or is on its way to its queue, when this returns."""
        self.call("channel.flow", active=True)

    def close(self):
        self.send("channel.close", reply_code=200, reply_text="bye")
        while self.next().name != "channel.close-ok":
            pass
