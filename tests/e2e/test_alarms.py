"""Memory and disk alarms: publishers are blocked and told, consumers go on, and SIGHUP lifts them."""

import threading
import time

import pika
import pytest
import wire

pytestmark = [pytest.mark.needs_restart, pytest.mark.leveret_only("limits are changed by SIGHUP")]

QUICK = "memory_monitor_interval = 100\n"
ROOMY = QUICK + "vm_memory_high_watermark.absolute = 1TB\ndisk_free_limit.absolute = 0\n"
ALARMS = {
    "memory": (QUICK + "vm_memory_high_watermark.absolute = 1MB\ndisk_free_limit.absolute = 0\n", "low on memory"),
    "memory, relative": (QUICK + "vm_memory_high_watermark.relative = 0\ndisk_free_limit.absolute = 0\n", "low on memory"),
    "disk": (QUICK + "vm_memory_high_watermark.absolute = 1TB\ndisk_free_limit.absolute = 1000000TB\n", "low on disk"),
    "disk, relative": (QUICK + "vm_memory_high_watermark.absolute = 1TB\ndisk_free_limit.relative = 900\n"
                       "total_memory_available_override_value = 1000TB\n", "low on disk"),
    "both": (QUICK + "vm_memory_high_watermark.absolute = 1MB\ndisk_free_limit.absolute = 1000000TB\n", "low on memory & low on disk"),
}


@pytest.mark.parametrize("kind", ALARMS)
def test_publishers_are_blocked_and_consumers_go_on(configured, kind):
    alarm, reason = ALARMS[kind]
    broker = configured(ROOMY)
    consumer = wire.Conn.open(broker)
    inbound = consumer.channel(1)
    inbound.queue("q")
    publisher = wire.Conn.open(broker)
    outbound = publisher.channel(1)
    outbound.publish("", "q", b"before")
    outbound.sync()
    broker.reload(alarm)
    assert publisher.expect(0, "connection.blocked").reason == reason
    outbound.publish("", "q", b"held")
    # The consumer's connection has not published: it is not told, and works.
    inbound.consume("q", no_ack=False)
    got = inbound.deliver()
    assert got.body == b"before"
    inbound.send("basic.ack", delivery_tag=got.delivery_tag)
    inbound.sync()
    inbound.expect_silence(0.5)
    assert not consumer.inbox[0]
    broker.reload(ROOMY)
    publisher.expect(0, "connection.unblocked")
    assert inbound.deliver().body == b"held"
    outbound.publish("", "q", b"after")
    assert inbound.deliver().body == b"after"
    publisher.close()
    consumer.close()


def test_a_client_without_the_capability_is_held_silently(configured):
    broker = configured(ALARMS["memory"][0])
    conn = wire.Conn.open(broker, capabilities={})
    ch = conn.channel(1)
    ch.queue("q")
    ch.publish("", "q", b"passes")
    ch.publish("", "q", b"held")
    conn.expect_silence(0, 0.5)
    broker.reload(ROOMY)
    assert [ch.get_soon("q").body, ch.get_soon("q").body] == [b"passes", b"held"]
    conn.close()


def test_an_alarm_that_is_there_at_start(configured):
    """It holds from the first publish on, not from the first look of a timer."""
    broker = configured("memory_monitor_interval = 3600000\nvm_memory_high_watermark.absolute = 1MB\n")
    conn = wire.Conn.open(broker)
    ch = conn.channel(1)
    ch.queue("q")
    conn.expect_silence(0, 0.2)
    ch.publish("", "q", b"tells")  # as in RabbitMQ: the first publish blocks the connection, and is the last that passes
    assert conn.expect(0, "connection.blocked").reason == "low on memory"
    ch.publish("", "q", b"held")
    with wire.Conn.open(broker) as other:
        watch = other.channel(1)
        time.sleep(0.3)
        assert watch.count("q") == (1, 0)
    broker.reload("vm_memory_high_watermark.absolute = 1TB\n")
    conn.expect(0, "connection.unblocked")
    ch.sync()
    assert [ch.get("q").body, ch.get_soon("q").body] == [b"tells", b"held"]
    conn.close()


def test_a_blocked_client_lives_and_can_close(configured):
    """Heartbeats go on while it is blocked, and connection.close is answered."""
    broker = configured(ALARMS["memory"][0] + "heartbeat = 1\n")
    conn = wire.Conn.open(broker, heartbeat=1)
    ch = conn.channel(1)
    ch.publish("amq.fanout", "", b"x")
    conn.expect(0, "connection.blocked")
    end = time.monotonic() + 4
    while time.monotonic() < end:
        conn.send_frame(wire.FRAME_HEARTBEAT, 0, b"")
        conn.expect_silence(0, 0.5)
    assert conn.heartbeats >= 3
    other = conn.channel(2)
    other.queue("q2")
    conn.close()
    broker.reload(ROOMY)


def test_pika_is_told(configured):
    broker = configured(ROOMY)
    events = []
    parameters = pika.ConnectionParameters(broker.host, broker.port, heartbeat=0, blocked_connection_timeout=60)
    connection = pika.BlockingConnection(parameters)
    connection.add_on_connection_blocked_callback(lambda _, frame: events.append(frame.method.reason))
    connection.add_on_connection_unblocked_callback(lambda *_: events.append("unblocked"))
    channel = connection.channel()
    channel.queue_declare("q")
    channel.confirm_delivery()
    channel.basic_publish("", "q", b"one")
    broker.reload(ALARMS["memory"][0])
    deadline = time.monotonic() + 20
    while not events and time.monotonic() < deadline:
        connection.process_data_events(0.1)
    assert events == ["low on memory"]
    lift = threading.Timer(1, broker.reload, [ROOMY])
    lift.start()
    channel.basic_publish("", "q", b"two")  # waits for its confirm, that is, for the end of the alarm
    lift.join()
    while len(events) < 2 and time.monotonic() < deadline:
        connection.process_data_events(0.1)
    assert events == ["low on memory", "unblocked"]
    assert channel.queue_declare("q", passive=True).method.message_count == 2
    connection.close()


def test_the_alarm_is_shown(configured):
    broker = configured(ALARMS["both"][0])
    assert "watermark" in broker.log() and "free disk limit" in broker.log()
    broker.reload(ROOMY)
    log = broker.log()
    assert "under the watermark" in log and "over the limit" in log and "none is left" in log
