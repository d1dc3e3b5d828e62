"""The wanted differences: what Leveret does otherwise than RabbitMQ 3.10 on purpose. docs/compatibility.md tells them to users.

MASKS change an observation before it is compared: the same in both brokers, but for what is known to differ. The case goes on.
ALLOWED explain the first difference of a case; from there on the brokers have different messages in their queues, and the rest of the case is
not compared. An entry looks as closely as it can: at this step, at these queues; what it does not explain is a finding.
"""

import collections
import re

import wire

LAST_DEATHS = ("x-last-death-exchange", "x-last-death-queue", "x-last-death-reason")


# -- masks ---------------------------------------------------------------------------------------------------------------


def mask_time(headers):
    """Deaths happen at different times."""
    for death in headers.get("x-death", ()):
        if isinstance(death.get("time"), wire.T) and death["time"].code == "T":
            death["time"] = "a time"


def mask_last_deaths(headers):
    """RabbitMQ has x-last-death-* since 3.13, Leveret has it."""
    for name in LAST_DEATHS:
        headers.pop(name, None)


def mask_order_of_old_deaths(headers):
    """With three entries and more 3.10 turns the older ones round at each death; Leveret has the newest first, as 3.13."""
    deaths = headers.get("x-death", [])
    headers.update({"x-death": deaths[:1] + sorted(deaths[1:], key=repr)} if len(deaths) > 2 else {})


def mask_order_beside_a_count(headers):
    """RabbitMQ sorts the headers when it adds x-delivery-count to them; Leveret leaves them in the publisher's order."""
    if "x-delivery-count" in headers:
        kept = sorted(headers.items())
        headers.clear()
        headers.update(kept)


MASKS = (mask_time, mask_last_deaths, mask_order_of_old_deaths, mask_order_beside_a_count)


def masked(observation, case=()):
    """A copy to compare."""
    quorum = {step["values"]["queue"] for step in case if step.get("values", {}).get("arguments", {}).get("x-queue-type") == "quorum"}
    what = copied(observation, lambda what: mask_message(what) if "props" in what else what)
    return mask_consumers_of_quorum_queues(what, quorum) if quorum else what


def mask_consumers_of_quorum_queues(observation, quorum):
    """RabbitMQ counts a channel that has messages of basic.get as a consumer of a quorum queue."""
    for queue in quorum & set(observation["queues"]):
        observation["queues"][queue] = observation["queues"][queue] and observation["queues"][queue][:1]
    reply = observation["reply"]
    if isinstance(reply, dict) and reply.get("name") == "queue.declare-ok" and reply["queue"] in quorum:
        reply["consumer_count"] = "not compared"
    return observation


def copied(what, change):
    if isinstance(what, wire.T):
        return what
    if isinstance(what, dict):
        return change({k: copied(v, change) for k, v in what.items()})
    return [copied(v, change) for v in what] if isinstance(what, (list, tuple)) else what


def mask_message(message):
    headers = message["props"].get("headers")
    if headers and message["name"] != "basic.return":
        for mask in MASKS:
            mask(headers)
    return message


# -- explanations --------------------------------------------------------------------------------------------------------


Allowed = collections.namedtuple("Allowed", "name reason explains")  # explains(case[:n], what theirs showed, what ours showed)


def declares(case):
    """The arguments of queues that the steps have declared, and with what policies say, by name; a name may have had several."""
    arguments = collections.defaultdict(list)
    for step in case:
        if step.get("method") == "queue.declare":
            arguments[step["values"]["queue"]].append(step["values"].get("arguments", {}))
    policies = [s["body"] for s in case if s["op"] == "policy" and s["body"] and s["body"]["apply-to"] != "exchanges"]
    for queue, own in arguments.items():
        said = [{"x-" + key: value for key, value in p["definition"].items()} for p in policies if re.search(p["pattern"], queue)]
        arguments[queue] = own + [{**policy, **mine} for policy in said for mine in own]
    return arguments


def drops_head(arguments):
    return ("x-max-length" in arguments or "x-max-length-bytes" in arguments) and \
        not str(arguments.get("x-overflow", "")).startswith("reject")


def was_full(queue, arguments, theirs):
    """As many messages were in the queue as there may be, or it has a limit of bytes and was not empty: it may have dropped."""
    most = max((o["queues"][queue][0] for o in theirs if o["queues"].get(queue)), default=0)
    return most >= arguments.get("x-max-length", most + 1) or ("x-max-length-bytes" in arguments and most > 0) or arguments.get("x-max-length-bytes") == 0


def drops_by_priority(case, theirs, ours):
    return any("x-max-priority" in a and drops_head(a) and was_full(q, a, theirs) for q, variants in declares(case).items() for a in variants)


def dead_letter_to_bcc(case, theirs, ours):
    with_bcc = any(step.get("props", {}).get("headers", {}).get("BCC") for step in case)
    without_key = any("x-dead-letter-exchange" in a and "x-dead-letter-routing-key" not in a for v in declares(case).values() for a in v)
    return with_bcc and without_key and case[-1]["op"] in ("publish", "settle", "tx_end", "policy", "get", "consume", "cancel", "reopen")


def back_in_a_quorum_queue(case, theirs, ours):
    """Something was given back, there is a quorum queue, and the queues are equally long: only which message it is differs."""
    gives_back = any(step.get("requeue") or step["op"] in ("reopen", "cancel") or step.get("method") == "basic.recover" for step in case)
    has_quorum = any(a.get("x-queue-type") == "quorum" for variants in declares(case).values() for a in variants)
    ready = [{q: count and count[0] for q, count in o[-1]["queues"].items()} for o in (theirs, ours)]
    return gives_back and has_quorum and ready[0] == ready[1]


def routed_at_commit(case, theirs, ours):
    """The ways of a message were changed between its publish in the transaction and this commit."""
    if case[-1].get("method") != "tx.commit":
        return False
    ends = [n for n, step in enumerate(case[:-1]) if step["op"] == "tx_end"]
    inside = case[ends[-1] + 1 if ends else 0:-1]
    first = next((n for n, step in enumerate(inside) if step["op"] == "tx_publish"), len(inside))
    changes = ("queue.bind", "queue.unbind", "exchange.bind", "exchange.unbind", "queue.declare", "queue.delete", "exchange.declare", "exchange.delete")
    return any(step.get("method") in changes or step["op"] in ("policy", "cancel", "reopen") for step in inside[first:])


def refused_commit(case, theirs, ours):
    """Of this very commit: both refuse it."""
    ends = [o[-1]["reply"] for o in (theirs, ours)]
    return case[-1].get("method") == "tx.commit" and ends[0] == ends[1] and isinstance(ends[0], dict) and \
        "partial tx completion" in ends[0].get("text", "")


def cycle_by_order(case, theirs, ours):
    """A message that had died was rejected: with its next death it has three entries."""
    return any(isinstance(o["reply"], dict) and o["reply"].get("has died before") for o in theirs)


def many_at_once(case, theirs, ours):
    """Several dead letters of one step come to a queue that drops and has a consumer."""
    arguments = declares(case)
    several = case[-1]["op"] != "publish" or any("x-max-length-bytes" in a for variants in arguments.values() for a in variants)
    consumed = [q for o in theirs[-2:] for q, count in o["queues"].items() if count and count[1]]
    dying = any("x-dead-letter-exchange" in a for variants in arguments.values() for a in variants)
    return several and dying and any(drops_head(a) for q in consumed for a in arguments[q])


def limited_with_gets(case, theirs, ours):
    return any(isinstance(o["reply"], dict) and o["reply"].get("limited with gets") for o in theirs)


def rejected_by_level(case, theirs, ours):
    together = any(step.get("method") == "basic.nack" and step["op"] == "settle" and not step["requeue"]
                   and isinstance(o["reply"], dict) and o["reply"].get("messages", 0) > 1 for step, o in zip(case, theirs))
    return together and any("x-max-priority" in a and "x-dead-letter-exchange" in a for variants in declares(case).values() for a in variants)


def lost_to_a_dying_consumer(case, theirs, ours):
    ends = [o[-1]["reply"] for o in (theirs, ours)]
    without_ack = any(step["op"] == "consume" and step["no_ack"] for step in case)
    return without_ack and ends[0] == ends[1] and isinstance(ends[0], dict) and ends[0].get("closed") == "connection"


def copies_meet(case, theirs, ours):
    """The same message, but for the way it came: other queues are in its deaths. What only says something else of the same way differs."""
    ways = []

    def strip(message):
        headers = dict(message["props"].get("headers") or {})
        ways.append([headers.get("x-first-death-queue"), *(d.get("queue") for d in headers.pop("x-death", []) if isinstance(d, dict))])
        headers = {k: v for k, v in headers.items() if not k.startswith(("x-first-death-", "x-last-death-"))}
        kept = {k: v for k, v in message.items() if k not in ("exchange", "routing_key")}
        return {**kept, "props": {**message["props"], "headers": headers}}

    stripped = []
    for observation in (theirs[-1], ours[-1]):
        stripped.append(copied(observation, lambda what: strip(what) if "props" in what else what))
    half = len(ways) // 2
    return repr(stripped[0]) == repr(stripped[1]) and ways[:half] != ways[half:]


ALLOWED = (
    Allowed("lowest priority first", "max-length with drop-head on a queue with priorities: RabbitMQ drops from the highest level first, so "
            "that what matters most is lost for what does not; Leveret drops the oldest of the lowest level", drops_by_priority),
    Allowed("BCC of dead letters", "a dead letter without a key of its own goes to the keys of BCC too in RabbitMQ; Leveret takes BCC out at the "
            "publish, as nobody shall see it", dead_letter_to_bcc),
    Allowed("circles by the order of deaths", "whether a dead letter goes in a circle is told from the deaths since the last one in that queue; with three "
            "entries 3.10 has turned them round, and takes a circle for none or none for one", cycle_by_order),
    Allowed("many at once to a consumer", "messages that come at once to a queue with max-length and a consumer that has room for some: with RabbitMQ "
            "the first go to the consumer and those behind them are dropped, with Leveret the oldest are dropped", many_at_once),
    Allowed("a channel's prefetch and gets", "messages of basic.get that are unacknowledged when a channel's own prefetch is set: RabbitMQ counts them, and does "
            "not give their places back when they are acknowledged; Leveret counts what consumers hold", limited_with_gets),
    Allowed("what comes back to a quorum queue", "RabbitMQ's quorum queues hand out what was given back in an order of their own; with Leveret it returns to its place, as in "
            "any queue", back_in_a_quorum_queue),
    Allowed("a transaction is routed at its commit", "what is published in a transaction is routed at its publish in RabbitMQ, at the commit in Leveret: bindings made or "
            "gone in between count", routed_at_commit),
    Allowed("transactions are whole", "a commit into a queue that refuses: both answer 406; with RabbitMQ what found room stays, with Leveret nothing of the "
            "transaction happens", refused_commit),
    Allowed("rejected together out of priorities", "messages of a queue with priorities that are rejected by one basic.nack: RabbitMQ dead-letters them level by level, "
            "Leveret in the order in which they were delivered, as of any queue", rejected_by_level),
    Allowed("the end of a connection", "what one channel of a connection that ends gives back may still go to a no-ack consumer on another of its channels, and be "
            "lost: which channel ends first is nobody's promise", lost_to_a_dying_consumer),
    Allowed("copies that meet", "two copies of a message that come as dead letters to one queue by different ways do so in any order", copies_meet),
)


def explanation(case, theirs, ours):
    """The Allowed that explains why the last of these observations differ, or None. `case` has as many steps."""
    return next((a for a in ALLOWED if a.explains(case, theirs, ours)), None)
