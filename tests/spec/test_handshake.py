"""Protocol header, SASL, tune and open: AMQP 0-9-1 §2.2.4, §4.2.2, and the bounds before log-in."""

import socket
import time

import pytest
import wire

LOGIN_REFUSED = ("ACCESS_REFUSED - Login was refused using authentication mechanism {}. "
                 "For details see the broker logfile.")


def refused(conn, *codes):
    """The broker ends the connection, with connection.close and one of the codes or without a word."""
    try:
        closed = conn.drain_close()
    except wire.SocketClosed:
        return None
    assert closed.scope == "connection" and closed.code in codes
    conn.expect_end()
    return closed


def greet(conn):
    conn.send_bytes(wire.HEADER)
    conn.start = conn.expect(0, "connection.start")
    return conn


def to_tune(conn, broker):
    greet(conn).send_start_ok(broker.user, broker.password)
    conn.tune = conn.expect(0, "connection.tune")
    return conn


# --- protocol header (§4.2.2) ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", [b"AMQP\x00\x00\x09\x00", b"AMQP\x01\x01\x00\x0a", b"AMQP\x00\x01\x00\x00",
                                    b"AMQP\x00\x00\x0a\x01", b"AMQP\x03\x01\x00\x00", b"GET / HTTP/1.1\r\n\r\n",
                                    b"\x16\x03\x01\x00\xf4\x01\x00\x00", b"XMQP\x00\x00\x09\x01"])
def test_another_header_is_answered_with_ours_and_the_end(dial, header):
    """The server MUST respond with a protocol header of a version it supports and close the socket."""
    conn = dial()
    conn.send_bytes(header)
    got = b""
    while True:
        try:
            data = conn.sock.recv(100)
        except OSError:
            break
        if not data:
            break
        got += data
    assert got == wire.HEADER


@pytest.mark.parametrize("header", [b"AMQP\x01\x01\x09\x01", b"AMQP\x01\x01\x08\x00"])
def test_headers_of_0_9_and_0_8_are_accepted(dial, header):
    """Old clients send them; the answer calls itself 8-0 and offers no capabilities."""
    conn = dial()
    conn.send_bytes(header)
    start = conn.expect(0, "connection.start")
    assert (start.version_major, start.version_minor, start.server_properties["capabilities"]) == (8, 0, {})


def test_the_header_may_come_byte_by_byte(dial):
    conn = dial()
    for byte in wire.HEADER:
        conn.send_bytes(bytes([byte]))
        time.sleep(0.01)
    conn.expect(0, "connection.start")


def test_everything_up_to_open_may_come_in_one_packet(dial, broker):
    """Clients may pipeline: nothing in the handshake depends on reading the answers first."""
    conn = dial()
    start_ok = wire.encode_method("connection.start-ok", client_properties={}, mechanism="PLAIN",
                                  response=f"\0{broker.user}\0{broker.password}", locale="en_US")
    tune_ok = wire.encode_method("connection.tune-ok", channel_max=100, frame_max=8192, heartbeat=0)
    open_ = wire.encode_method("connection.open", virtual_host="/")
    conn.send_bytes(wire.HEADER + b"".join(wire.frame(1, 0, m) for m in (start_ok, tune_ok, open_)))
    for name in ("connection.start", "connection.tune", "connection.open-ok"):
        conn.expect(0, name)


# --- SASL -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("user,password", [("guest", "wrong"), ("nobody", "guest"), ("", ""), ("guest", "")])
def test_a_wrong_password_is_told_to_clients_that_understand_it(dial, user, password):
    conn = greet(dial())
    conn.send_start_ok(user, password)
    closed = conn.drain_close()
    assert (closed.scope, closed.code, closed.ids) == ("connection", 403, (0, 0))
    assert closed.text == LOGIN_REFUSED.format("PLAIN")
    conn.expect_end()


@pytest.mark.parametrize("capabilities", [None, {}, {"authentication_failure_close": False}])
def test_a_wrong_password_just_ends_the_connection_of_others(dial, capabilities):
    conn = greet(dial())
    conn.send_start_ok("guest", "wrong", capabilities=capabilities)
    with pytest.raises(wire.SocketClosed):
        conn.next(0)


def amqplain(user, password):
    """The table without its length, as AMQPLAIN wants it."""
    return wire.encode_table({"LOGIN": user, "PASSWORD": password})[4:]


def test_amqplain(dial, broker):
    conn = greet(dial())
    conn.send_start_ok(None, None, mechanism="AMQPLAIN", response=amqplain(broker.user, broker.password))
    conn.expect(0, "connection.tune")


def test_amqplain_with_a_wrong_password(dial, broker):
    conn = greet(dial())
    conn.send_start_ok(None, None, mechanism="AMQPLAIN", response=amqplain(broker.user, "wrong"))
    closed = conn.drain_close()
    assert (closed.code, closed.text) == (403, LOGIN_REFUSED.format("AMQPLAIN"))


@pytest.mark.parametrize("mechanism,response", [("PLAIN", b"guest"), ("PLAIN", b""), ("PLAIN", b"\0guest"),
                                                ("AMQPLAIN", b"\xff\xff"), ("AMQPLAIN", b""), ("NOSUCH", b""),
                                                ("EXTERNAL", b""), ("", b"")])
def test_malformed_responses_and_unknown_mechanisms_are_refused(dial, mechanism, response):
    conn = greet(dial())
    conn.send_start_ok(None, None, mechanism=mechanism, response=response)
    refused(conn, 403, 501, 502, 503, 504, 530, 541)


def test_any_locale_is_accepted(dial, broker):
    conn = greet(dial())
    conn.send(0, "connection.start-ok", client_properties={}, mechanism="PLAIN",
              response=f"\0{broker.user}\0{broker.password}", locale="fr_FR")
    conn.expect(0, "connection.tune")


def test_client_properties_of_every_type(connect):
    connect(properties={"connection_name": "me", "t": True, "b": wire.T("b", -1), "B": wire.T("B", 1), "s": wire.T("s", -2),
                        "u": wire.T("u", 2), "I": -3, "i": wire.T("i", 3), "l": 2**40, "f": wire.T("f", 0.5), "d": 0.25,
                        "D": wire.T("D", (2, 314)), "S": "text", "A": [1, [2, {"three": 3}]], "T": wire.T("T", 1700000000),
                        "F": {"inner": {"more": None}}, "V": None, "x": b"\x00\xff"}).channel(1)


# --- order of the handshake (§2.2.4) --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name,values", [("connection.open", {"virtual_host": "/"}), ("channel.open", {}),
                                         ("connection.tune-ok", {"frame_max": 131072, "channel_max": 2047}),
                                         ("connection.secure-ok", {"response": b"x"})])
def test_a_method_before_start_ok_is_refused(dial, name, values):
    conn = greet(dial())
    conn.send(0 if name.startswith("connection") else 1, name, **values)
    refused(conn, 501, 503, 504, 505)


@pytest.mark.parametrize("name,values", [("connection.open", {"virtual_host": "/"}),
                                         ("connection.start-ok", {"mechanism": "PLAIN", "response": b"\0guest\0guest"})])
def test_a_method_before_tune_ok_is_refused(dial, broker, name, values):
    conn = to_tune(dial(), broker)
    conn.send(0, name, **values)
    refused(conn, 501, 503, 504, 505)


def test_a_channel_before_open_is_refused(dial, broker):
    conn = to_tune(dial(), broker)
    conn.send_tune_ok()
    conn.send(1, "channel.open")
    refused(conn, 501, 503, 504, 505)


def test_close_instead_of_open_ends_the_connection(dial, broker):
    """§2.2.4: after tune-ok either side may close. RabbitMQ calls it an error of its own, but ends as well."""
    conn = to_tune(dial(), broker)
    conn.send_tune_ok()
    conn.send(0, "connection.close", reply_code=200, reply_text="changed my mind")
    try:
        conn.expect(0, "connection.close-ok")
    except wire.Closed as closed:
        assert closed.code == 504
    except wire.SocketClosed:
        pass


# --- tune (§4.2.2, §4.2.3) ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field,value", [("frame_max", 4095), ("frame_max", 200000), ("frame_max", 0), ("frame_max", 131073),
                                         ("channel_max", 4000), ("channel_max", 2048), ("channel_max", 0)])
def test_values_beyond_what_was_offered_are_refused(dial, broker, field, value):
    conn = to_tune(dial(), broker)
    conn.send_tune_ok(**{field: value})
    conn.send(0, "connection.open", virtual_host="/")
    refused(conn, 501, 502, 503, 530)


def test_the_smallest_frame_size_works(connect, name):
    conn = connect(frame_max=4096)
    ch = conn.channel(1)
    q = ch.queue(name(), exclusive=True)
    body = bytes(range(256)) * 64
    ch.publish("", q, body)
    assert ch.get(q).body == body  # Conn refuses frames above 4096 from the broker


def test_the_negotiated_frame_size_is_enforced(connect):
    conn = connect(frame_max=4096)
    conn.channel(1)
    conn.send_frame(3, 1, bytes(5000))
    closed = conn.drain_close()
    assert (closed.code, closed.ids) == (501, (0, 0))
    assert closed.text == "FRAME_ERROR - type 3, all octets = <<>>: {frame_too_large,5000,4088}"
    conn.expect_end()


# --- open -----------------------------------------------------------------------------------------------------------------


def opened(dial, broker, vhost, user=None):
    conn = greet(dial())
    conn.send_start_ok(user or broker.user, user or broker.password)
    conn.tune = conn.expect(0, "connection.tune")
    conn.send_tune_ok()
    conn.send(0, "connection.open", virtual_host=vhost)
    return conn


def test_an_unknown_vhost(dial, broker):
    conn = opened(dial, broker, "nosuch")
    closed = conn.drain_close()
    assert (closed.code, closed.ids, closed.text) == (530, (10, 40), "NOT_ALLOWED - vhost nosuch not found")
    conn.expect_end()


@pytest.mark.needs_admin
def test_a_vhost_without_permission(dial, broker):
    broker.ctl("add_user", "noperm", "noperm")
    conn = opened(dial, broker, "/", "noperm")
    closed = conn.drain_close()
    assert (closed.code, closed.ids) == (530, (10, 40))
    assert closed.text == "NOT_ALLOWED - access to vhost '/' refused for user 'noperm'"
    broker.ctl("delete_user", "noperm")


def test_open_ok_is_empty(dial, broker):
    assert opened(dial, broker, "/").expect(0, "connection.open-ok").known_hosts == ""


# --- close (§1.4.2.8) -----------------------------------------------------------------------------------------------------


def test_close_is_answered_and_nothing_follows(conn):
    ch = conn.channel(1)
    conn.send(0, "connection.close", reply_code=200, reply_text="goodbye")
    ch.send("queue.declare", queue="late", exclusive=True)
    conn.expect(0, "connection.close-ok")
    try:
        conn.expect_silence(1, 0.3)
    except wire.SocketClosed:
        pass  # RabbitMQ leaves it to the client to end the TCP connection


def test_close_with_channels_and_consumers_open(conn, name):
    ch = conn.channel(1)
    q = ch.queue(name(), exclusive=True)
    ch.consume(q)
    for i in range(100):
        ch.publish("", q, b"%d" % i)
    conn.close()


def test_nothing_but_close_ok_counts_after_a_connection_error(conn, name):
    """§1.4.2.8: after sending close, all methods but close and close-ok MUST be discarded."""
    ch = conn.channel(1)
    conn.send_frame(9, 1, b"abc")
    victim = name()
    for _ in range(50):
        ch.send("queue.declare", queue=victim, durable=True)
    assert conn.drain_close().code == 501
    conn.expect_end()


def test_a_client_that_never_sends_close_ok_is_dropped(broker, dial):
    conn = wire.Conn.open(broker)
    conn.send_frame(9, 1, b"abc")
    frame = conn.read_frame()
    assert wire.decode_method(frame.payload).name == "connection.close"
    conn.abort()


def test_update_secret(conn):
    """An extension: with passwords there is nothing to renew, so it is accepted."""
    conn.send(0, "connection.update-secret", new_secret=b"secret", reason="renewal")
    conn.expect(0, "connection.update-secret-ok")
    conn.channel(1)


# --- bounds before log-in -------------------------------------------------------------------------------------------------


def test_a_frame_above_4096_before_login_is_refused(dial):
    conn = greet(dial())
    conn.send_start_ok("guest", "guest", properties={"big": "x" * 5000})
    refused(conn, 501, 530)


def test_a_frame_header_announcing_gigabytes_before_login_is_refused(dial):
    conn = greet(dial())
    conn.send_bytes(b"\x01\x00\x00\xff\xff\xff\xff")
    refused(conn, 501, 530)


def test_garbage_after_the_header_is_refused(dial):
    conn = greet(dial())
    conn.send_bytes(bytes(range(256)) * 8)
    refused(conn, 501, 503, 504, 505, 541)


@pytest.mark.needs_restart
def test_handshake_timeout(start_broker):
    broker = start_broker({"handshake_timeout": "1000"})

    def silent_after(sent):
        conn = wire.Conn(broker.host, broker.port)
        conn.send_bytes(sent)
        started = time.monotonic()
        conn.expect_end(8)
        conn.abort()
        return time.monotonic() - started

    for sent in (b"", b"AMQ", wire.HEADER):
        assert 0.5 < silent_after(sent) < 5
    # one byte at a time does not buy more time
    conn = wire.Conn(broker.host, broker.port)
    conn.send_bytes(wire.HEADER)
    conn.expect(0, "connection.start")
    started, ended = time.monotonic(), None
    for byte in wire.frame(1, 0, bytes(2000)):
        try:
            conn.sock.sendall(bytes([byte]))
            conn.sock.settimeout(0.1)
            if not conn.sock.recv(1):
                ended = time.monotonic()
        except socket.timeout:
            pass
        except OSError:
            ended = time.monotonic()
        if ended or time.monotonic() - started > 8:
            break
    assert ended and ended - started < 6
    conn.abort()
    # an open connection does not care
    with wire.Conn.open(broker) as conn:
        time.sleep(2.5)
        conn.channel(1)
