"""Routing: the four exchange types, exchange-to-exchange bindings, alternate exchanges. AMQP 0-9-1 §3.1.3."""

import itertools
import random

import pytest
import wire


@pytest.fixture
def declare(ch, name):
    """declare(type, **values): an exchange that is deleted after the test."""
    made = []

    def one(kind, suffix=None, **values):
        x = name(suffix or f"x{len(made)}")
        ch.call("exchange.declare", exchange=x, type=kind, **values)
        made.append(x)
        return x

    yield one
    if ch.number and made:
        cleaner = ch.conn.channel(900)
        for x in made:
            cleaner.call("exchange.delete", exchange=x)


def bind(ch, queue, exchange, key="", **arguments):
    ch.call("queue.bind", queue=queue, exchange=exchange, routing_key=key, arguments=arguments)


def unbind(ch, queue, exchange, key="", **arguments):
    ch.call("queue.unbind", queue=queue, exchange=exchange, routing_key=key, arguments=arguments)


def arrived(ch, exchange, key, queues, **props):
    """The set of those queues that get exactly one copy of a message published now."""
    ch.publish(exchange, key, b"m", **props)
    counts = {q: ch.call("queue.purge", queue=q).message_count for q in queues}
    assert set(counts.values()) <= {0, 1}, counts
    return {q for q, n in counts.items() if n}


# --- direct, fanout -------------------------------------------------------------------------------------------------------


def test_direct(ch, declare):
    x, a, b = declare("direct"), ch.queue("", exclusive=True), ch.queue("", exclusive=True)
    bind(ch, a, x, "one")
    bind(ch, a, x, "two")
    bind(ch, b, x, "two")
    assert arrived(ch, x, "one", (a, b)) == {a}
    assert arrived(ch, x, "two", (a, b)) == {a, b}
    assert arrived(ch, x, "tw", (a, b)) == arrived(ch, x, "two.", (a, b)) == arrived(ch, x, "TWO", (a, b)) == set()
    unbind(ch, a, x, "two")
    assert arrived(ch, x, "two", (a, b)) == {b}


def test_fanout_ignores_keys(ch, declare):
    x, a, b = declare("fanout"), ch.queue("", exclusive=True), ch.queue("", exclusive=True)
    bind(ch, a, x, "one")
    bind(ch, a, x, "two")
    bind(ch, b, x)
    assert arrived(ch, x, "three", (a, b)) == {a, b}
    unbind(ch, a, x, "one")
    assert arrived(ch, x, "", (a, b)) == {a, b}
    unbind(ch, a, x, "two")
    assert arrived(ch, x, "", (a, b)) == {b}


def test_the_default_exchange_knows_every_queue_by_name(ch, name):
    q = ch.queue(name("with.dots *#"), exclusive=True)
    assert arrived(ch, "", q, (q,)) == {q}


def test_bindings_with_other_arguments_are_other_bindings(ch, declare):
    x, q = declare("direct"), ch.queue("", exclusive=True)
    bind(ch, q, x, "k", a=1)
    bind(ch, q, x, "k", a=2)
    assert arrived(ch, x, "k", (q,)) == {q}
    unbind(ch, q, x, "k", a=1)
    assert arrived(ch, x, "k", (q,)) == {q}
    unbind(ch, q, x, "k")
    assert arrived(ch, x, "k", (q,)) == {q}
    unbind(ch, q, x, "k", a=2)
    assert arrived(ch, x, "k", (q,)) == set()


def test_binary_routing_keys(ch, declare):
    x, q = declare("direct"), ch.queue("", exclusive=True)
    key = "".join(map(chr, range(1, 128)))
    bind(ch, q, x, key)
    assert arrived(ch, x, key, (q,)) == {q}


# --- topic ----------------------------------------------------------------------------------------------------------------

TOPICS = [
    ("#", ["", "a", "a.b.c", ".", "..", "..a"], []),
    ("*", ["a", "#", "*"], ["", "a.b", "."]),
    ("*.#", ["a", "a.b", "a.b.c", ".", "a."], [""]),
    ("#.*", ["a", "a.b", "."], [""]),
    ("#.#", ["", "a", "a.b"], []),
    ("*.*", ["a.b", "."], ["a", "", "a.b.c"]),
    ("a.*.c", ["a.b.c", "a..c"], ["a.c", "a.b.b.c", "a.b.d"]),
    ("a.#.c", ["a.c", "a.b.c", "a.b.b.c", "a..c"], ["a", "c", "a.b"]),
    ("#.a.#", ["a", "b.a", "a.b", "b.a.b", "a.a"], ["", "b", "aa", "b.b"]),
    ("#.a.#.b.#", ["a.b", "a.x.b", "x.a.y.b.z", "a.a.b"], ["b.a", "a", "b"]),
    ("*.a.#", ["x.a", ".a", "x.a.y.z"], ["a", "x.y.a"]),
    ("#.*.#", ["a", "a.b", "."], [""]),
    ("a", ["a"], ["", "a.", ".a", "A", "a.a"]),
    ("", [""], ["a", "."]),
    (".", ["."], ["", "a", ".."]),
    ("a..b", ["a..b"], ["a.b", "a.x.b"]),
    ("a.**", ["a.**"], ["a.x", "a", "a.x.y"]),
    ("a.##", ["a.##"], ["a.x", "a"]),
    ("*a", ["*a"], ["ba", "a"]),
    ("#a", ["#a"], ["a", "b.a"]),
]


@pytest.mark.parametrize("pattern,matching,others", TOPICS, ids=[t[0] or "empty" for t in TOPICS])
def test_topic_patterns(ch, declare, pattern, matching, others):
    """`*` is one word, `#` any number; words are what stands between dots, and may be empty. "" has none."""
    x, q = declare("topic"), ch.queue("", exclusive=True)
    bind(ch, q, x, pattern)
    for key in matching:
        assert arrived(ch, x, key, (q,)) == {q}, key
    for key in others:
        assert arrived(ch, x, key, (q,)) == set(), key


def naive_match(pattern, words):
    if not pattern:
        return not words
    if pattern[0] == "#":
        return any(naive_match(pattern[1:], words[i:]) for i in range(len(words) + 1))
    return bool(words) and pattern[0] in ("*", words[0]) and naive_match(pattern[1:], words[1:])


def split(text):
    return text.split(".") if text else []


def test_topic_against_a_naive_matcher(ch, declare):
    """100 random patterns over a tiny alphabet bound to 100 queues; every key goes exactly where the naive matcher says."""
    rng = random.Random(3)
    x = declare("topic")
    queues = {}
    for _ in range(100):
        pattern = ".".join(rng.choice(["a", "b", "*", "#", "#"]) for _ in range(rng.randint(1, 5)))
        if pattern in queues.values():
            continue
        q = ch.queue("", exclusive=True)
        queues[q] = pattern
        bind(ch, q, x, pattern)
    for round_ in range(2):
        for _ in range(30):
            words = [rng.choice("abc") for _ in range(rng.randint(1, 6))]
            expected = {q for q, pattern in queues.items() if naive_match(split(pattern), words)}
            assert arrived(ch, x, ".".join(words), queues) == expected, words
        if round_ == 0:
            for q in rng.sample(sorted(queues), len(queues) // 2):
                unbind(ch, q, x, queues.pop(q))


@pytest.mark.leveret_only("RabbitMQ's matcher tries every way and does not come back")
def test_topic_key_that_would_make_a_backtracker_explode(ch, declare):
    x, q = declare("topic"), ch.queue("", exclusive=True)
    bind(ch, q, x, ".".join(["#", "a"] * 12 + ["#", "b"]))
    ch.publish(x, ".".join("a" * 100), b"no")
    ch.publish(x, ".".join("a" * 100 + "b"), b"yes")
    assert ch.get(q).body == b"yes"


def test_overlapping_patterns_deliver_one_copy(ch, declare):
    x, q = declare("topic"), ch.queue("", exclusive=True)
    for pattern in ("#", "a.*", "*.b", "a.b", "a.#"):
        bind(ch, q, x, pattern)
    assert arrived(ch, x, "a.b", (q,)) == {q}
    for pattern in ("#", "a.*", "*.b", "a.b"):
        unbind(ch, q, x, pattern)
    assert arrived(ch, x, "a.b", (q,)) == {q}
    unbind(ch, q, x, "a.#")
    assert arrived(ch, x, "a.b", (q,)) == set()


# --- headers --------------------------------------------------------------------------------------------------------------

HEADERS = [
    ("all by default", {"a": 1, "b": "x"}, [{"a": 1, "b": "x"}, {"a": 1, "b": "x", "c": 2}], [{"a": 1}, {"a": 1, "b": "y"}, {}]),
    ("all", {"x-match": "all", "a": 1, "b": 2}, [{"a": 1, "b": 2}], [{"a": 1}, {"b": 2}, None]),
    ("any", {"x-match": "any", "a": 1, "b": 2}, [{"a": 1}, {"b": 2}, {"a": 9, "b": 2}], [{"a": 2}, {}, None]),
    ("all with nothing", {"x-match": "all"}, [{}, {"a": 1}, None], []),
    ("any with nothing", {"x-match": "any"}, [], [{}, {"a": 1}, None]),
    ("x- keys do not count: all", {"x-match": "all", "x-a": 1, "b": 2}, [{"b": 2}, {"x-a": 9, "b": 2}], [{"x-a": 1}]),
    ("x- keys do not count: any", {"x-match": "any", "x-a": 1, "b": 2}, [{"b": 2}], [{"x-a": 1}]),
    ("all-with-x", {"x-match": "all-with-x", "x-a": 1, "b": 2}, [{"x-a": 1, "b": 2}], [{"b": 2}, {"x-a": 1}]),
    ("any-with-x", {"x-match": "any-with-x", "x-a": 1, "b": 2}, [{"x-a": 1}, {"b": 2}], [{"x-a": 2}, {}]),
    ("void matches presence", {"x-match": "all", "a": None}, [{"a": 1}, {"a": "x"}, {"a": None}], [{"b": 1}, {}]),
    ("the width of integers does not count", {"a": 1}, [{"a": wire.T("l", 1)}, {"a": wire.T("b", 1)}, {"a": wire.T("s", 1)}],
     [{"a": 2}, {"a": "1"}, {"a": True}]),
    ("types count", {"a": "1"}, [{"a": "1"}], [{"a": 1}, {"a": None}]),
    ("booleans", {"a": True}, [{"a": True}], [{"a": False}, {"a": 1}]),
    ("tables and arrays", {"a": {"b": [1, 2]}}, [{"a": {"b": [1, 2]}}], [{"a": {"b": [1]}}, {"a": {}}]),
]


@pytest.mark.parametrize("arguments,matching,others", [h[1:] for h in HEADERS], ids=[h[0] for h in HEADERS])
def test_headers(ch, declare, arguments, matching, others):
    x, q = declare("headers"), ch.queue("", exclusive=True)
    bind(ch, q, x, "the key does not count", **arguments)
    for headers in matching:
        assert arrived(ch, x, "", (q,), headers=headers) == {q}, headers
    for headers in others:
        assert arrived(ch, x, "", (q,), headers=headers) == set(), headers


def test_headers_two_bindings_one_copy(ch, declare):
    x, q = declare("headers"), ch.queue("", exclusive=True)
    bind(ch, q, x, "", a=1)
    bind(ch, q, x, "", b=1)
    assert arrived(ch, x, "", (q,), headers={"a": 1, "b": 1}) == {q}
    unbind(ch, q, x, "", a=1)
    assert arrived(ch, x, "", (q,), headers={"a": 1}) == set()
    assert arrived(ch, x, "", (q,), headers={"b": 1}) == {q}


# --- exchange to exchange -------------------------------------------------------------------------------------------------


def link(ch, source, destination, key="", **arguments):
    ch.call("exchange.bind", source=source, destination=destination, routing_key=key, arguments=arguments)


def test_exchange_bindings_chain(ch, declare):
    a, b, c, q = declare("topic"), declare("direct"), declare("fanout"), ch.queue("", exclusive=True)
    link(ch, a, b, "x.#")
    link(ch, b, c, "x.y")
    bind(ch, q, c)
    assert arrived(ch, a, "x.y", (q,)) == {q}
    assert arrived(ch, a, "x.z", (q,)) == set()
    ch.call("exchange.unbind", source=b, destination=c, routing_key="x.y")
    assert arrived(ch, a, "x.y", (q,)) == set()


def test_exchange_bindings_may_form_a_cycle(ch, declare):
    xs = [declare("fanout") for _ in range(4)]
    qs = [ch.queue("", exclusive=True) for _ in xs]
    for x, q in zip(xs, qs):
        bind(ch, q, x)
    for x, y in itertools.permutations(xs, 2):
        link(ch, x, y)
    for x in xs:
        link(ch, x, x)
        assert arrived(ch, x, "", qs) == set(qs)


def test_many_ways_to_a_queue_deliver_one_copy(ch, declare):
    top, left, right, q = declare("fanout"), declare("fanout"), declare("fanout"), ch.queue("", exclusive=True)
    link(ch, top, left)
    link(ch, top, right)
    for x in (top, left, right):
        bind(ch, q, x)
    assert arrived(ch, top, "", (q,)) == {q}


def test_an_internal_exchange_is_reached_by_bindings_only(ch, declare):
    outer, inner, q = declare("fanout"), declare("fanout", internal=True), ch.queue("", exclusive=True)
    link(ch, outer, inner)
    bind(ch, q, inner)
    assert arrived(ch, outer, "", (q,)) == {q}


def test_delivery_names_the_exchange_published_to(ch, declare):
    a, b, q = declare("fanout"), declare("fanout"), ch.queue("", exclusive=True)
    link(ch, a, b)
    bind(ch, q, b)
    ch.publish(a, "key", b"x")
    got = ch.get(q)
    assert (got.exchange, got.routing_key) == (a, "key")


# --- alternate exchange ---------------------------------------------------------------------------------------------------


def test_alternate_exchange_takes_what_is_unroutable(ch, declare):
    ae = declare("fanout", "ae")
    x = declare("direct", arguments={"alternate-exchange": ae})
    hit, miss = ch.queue("", exclusive=True), ch.queue("", exclusive=True)
    bind(ch, hit, x, "k")
    bind(ch, miss, ae)
    assert arrived(ch, x, "k", (hit, miss)) == {hit}
    assert arrived(ch, x, "other", (hit, miss)) == {miss}
    ch.publish(x, "other", b"x")
    got = ch.get(miss)
    assert (got.exchange, got.routing_key) == (x, "other")


def test_alternate_exchanges_chain_and_may_form_a_cycle(ch, declare, name):
    a, b, c = name("a"), name("b"), name("c")
    for x, y in ((a, b), (b, c), (c, a)):
        ch.call("exchange.declare", exchange=x, type="direct", arguments={"alternate-exchange": y})
    q = ch.queue("", exclusive=True)
    bind(ch, q, c, "k")
    assert arrived(ch, a, "k", (q,)) == {q}
    assert arrived(ch, a, "nowhere", (q,)) == set()
    for x in (a, b, c):
        ch.call("exchange.delete", exchange=x)


def test_alternate_exchange_and_mandatory(ch, declare):
    """What the alternate exchange routes is not returned; what it does not, is."""
    ae = declare("direct", "ae")
    x = declare("direct", arguments={"alternate-exchange": ae})
    q = ch.queue("", exclusive=True)
    bind(ch, q, ae, "k")
    ch.publish(x, "k", b"routed", mandatory=True)
    ch.publish(x, "nowhere", b"returned", mandatory=True)
    returned = ch.expect("basic.return")
    assert (returned.body, returned.exchange, returned.routing_key) == (b"returned", x, "nowhere")
    assert ch.get(q).body == b"routed"


def test_a_missing_alternate_exchange_is_no_error(ch, declare):
    x = declare("direct", arguments={"alternate-exchange": "not-there"})
    ch.publish(x, "k", b"returned", mandatory=True)
    assert ch.expect("basic.return").reply_code == 312


def test_alternate_exchange_of_a_bound_exchange(ch, declare):
    """Each exchange on the way falls back on its own."""
    ae = declare("fanout", "ae")
    inner = declare("direct", arguments={"alternate-exchange": ae})
    outer, q = declare("fanout"), ch.queue("", exclusive=True)
    link(ch, outer, inner)
    bind(ch, q, ae)
    assert arrived(ch, outer, "unroutable inside", (q,)) == {q}


# --- one of the bindings --------------------------------------------------------------------------------------------------


def spread(ch, x, queues, publishes):
    """How many of the publishes, (key, properties) each, every queue got; all of them came."""
    for key, props in publishes:
        ch.publish(x, key, b"m", **props)
    counts = [ch.call("queue.purge", queue=q).message_count for q in queues]
    assert sum(counts) == len(publishes), counts
    return counts


def test_consistent_hash_by_key(ch, declare):
    x, queues = declare("x-consistent-hash"), [ch.queue("", exclusive=True) for _ in range(3)]
    for q, weight in zip(queues, ("10", "10", "20")):
        bind(ch, q, x, weight)
    counts = spread(ch, x, queues, [(f"key-{i}", {}) for i in range(2000)])
    assert all(300 < n < 1300 for n in counts) and counts[2] > max(counts[:2]), counts
    # one key, one queue; more keys in CC change nothing
    assert sorted(spread(ch, x, queues, [("same", {}) for _ in range(20)])) == [0, 0, 20]
    assert len(arrived(ch, x, "same", queues, headers={"CC": ["a", "b", "c"]})) == 1


@pytest.mark.leveret_only("jump hashing moves messages between the queues that stay")
def test_consistent_hash_moves_only_the_share_of_who_leaves(ch, declare):
    x, queues = declare("x-consistent-hash"), [ch.queue("", exclusive=True) for _ in range(4)]
    for q in queues:
        bind(ch, q, x, "3")
    keys = [f"k{i}" for i in range(100)]
    where = {key: arrived(ch, x, key, queues) for key in keys}
    unbind(ch, queues[1], x, "3")
    for key in keys:
        now = arrived(ch, x, key, queues)
        assert now != {queues[1]}
        assert now == where[key] or where[key] == {queues[1]}
    bind(ch, queues[1], x, "3")
    assert {key: arrived(ch, x, key, queues) for key in keys} == where


@pytest.mark.parametrize("argument, publish", [
    ({"hash-header": "h"}, lambda i: {"headers": {"h": f"value-{i}"}}),
    ({"hash-property": "message_id"}, lambda i: {"message_id": f"m{i}"}),
    ({"hash-property": "correlation_id"}, lambda i: {"correlation_id": f"c{i}"}),
    ({"hash-property": "timestamp"}, lambda i: {"timestamp": 1600000000 + i}),
])
def test_consistent_hash_by_header_or_property(ch, declare, argument, publish):
    x, queues = declare("x-consistent-hash", arguments=argument), [ch.queue("", exclusive=True) for _ in range(2)]
    for q in queues:
        bind(ch, q, x, "10")
    assert all(n > 0 for n in spread(ch, x, queues, [("one key", publish(i)) for i in range(100)]))
    assert sorted(spread(ch, x, queues, [(f"key-{i}", publish(7)) for i in range(50)])) == [0, 50]
    # without it all go one way
    assert sorted(spread(ch, x, queues, [(f"key-{i}", {}) for i in range(50)])) == [0, 50]


@pytest.mark.parametrize("kind", ["x-random", "x-modulus-hash", "x-consistent-hash"])
def test_picking_exchanges_bound_to_exchanges(ch, declare, kind):
    x, queues = declare(kind), [ch.queue("", exclusive=True) for _ in range(2)]
    for q in queues:
        fan = declare("fanout")
        bind(ch, q, fan)
        ch.call("exchange.bind", destination=fan, source=x, routing_key="1")
    counts = spread(ch, x, queues, [(f"key-{i}", {}) for i in range(200)])
    assert min(counts) > 0, counts
    front = declare("topic")
    ch.call("exchange.bind", destination=x, source=front, routing_key="to.#")
    assert len(arrived(ch, front, "to.any", queues)) == 1


@pytest.mark.parametrize("kind", ["x-random", "x-modulus-hash", "x-consistent-hash"])
def test_picking_exchanges_without_bindings(ch, declare, kind):
    lost, q = declare("fanout"), ch.queue("", exclusive=True)
    x, with_alternate = declare(kind), declare(kind, arguments={"alternate-exchange": lost})
    bind(ch, q, lost)
    assert arrived(ch, with_alternate, "k", (q,)) == {q}
    bind(ch, q, with_alternate, "1")
    assert arrived(ch, with_alternate, "k", (q,)) == {q}
    ch.publish(x, "k", b"m", mandatory=True)
    returned = ch.expect("basic.return")
    assert (returned.reply_code, returned.reply_text) == (312, "NO_ROUTE")


def test_random_takes_any_queue(ch, declare):
    x, queues = declare("x-random"), [ch.queue("", exclusive=True) for _ in range(4)]
    for q in queues:
        bind(ch, q, x, "whatever")
    counts = spread(ch, x, queues, [("same", {}) for _ in range(400)])
    assert all(40 < n < 200 for n in counts), counts


def test_modulus_hash_keeps_a_key_together(ch, declare):
    x, queues = declare("x-modulus-hash"), [ch.queue("", exclusive=True) for _ in range(4)]
    for q in queues:
        bind(ch, q, x)
    assert min(spread(ch, x, queues, [(f"k{i}", {}) for i in range(400)])) > 0
    assert sorted(spread(ch, x, queues, [("same", {}) for _ in range(20)])) == [0, 0, 0, 20]


@pytest.mark.leveret_only("RabbitMQ has it from 4.0 on")
def test_local_random(ch, declare):
    x, queues = declare("x-local-random"), [ch.queue("", exclusive=True) for _ in range(2)]
    for q in queues:
        bind(ch, q, x)
    assert min(spread(ch, x, queues, [("same", {}) for _ in range(100)])) > 0
