"""The checker's own test: stories that cannot be true, each of which it has to see, and true ones that it has to accept."""

from types import SimpleNamespace

from ledger import Ledger
from node import Violation


class Story:
    """A ledger with two queues and short words for what happens."""

    def __init__(self):
        self.l = Ledger()
        self.q, self.r = (self.l.declare(name) for name in ("q", "r"))
        self.l.declared(self.q)
        self.l.declared(self.r)

    def publish(self, *queues, confirm=True, tx=None, mode=2, publisher="p"):
        m = self.l.publish(publisher, "", "k", queues or (self.q,), 40, {"delivery_mode": mode}, tx)
        if confirm and tx is None:
            self.l.confirmed(m)
        return m

    def got(self, m, redelivered=False, **changes):
        return SimpleNamespace(**{"exchange": m.exchange, "routing_key": m.key, "props": m.props, "body": m.body(),
                                  "redelivered": redelivered, **changes})

    def deliver(self, m, queue=None, **changes):
        return self.l.delivered("c", queue or self.q, self.got(m, **changes))

    def restart(self, in_q=(), in_r=(), redelivered=True):
        self.l.died()
        present = set()
        for queue, messages in ((self.q, in_q), (self.r, in_r)):
            present |= set(self.l.audit(queue, [m if isinstance(m, SimpleNamespace) else self.got(m, redelivered) for m in messages]))
        self.l.audited(present)

    def tx(self, *publishes, acks=(), state="committing"):
        tx = self.l.begin()
        messages = [self.publish(q, tx=tx) for q in publishes]
        for copy in acks:
            self.l.ack_in(tx, copy)
        if state in ("committing", "committed"):
            self.l.committing(tx)
        if state == "committed":
            self.l.committed(tx)
        if state == "void":
            self.l.rolled_back(tx)
        return messages


def true_everything_kept(s):
    a, b = s.publish(s.q, s.r), s.publish()
    s.restart([a, b], [a])
    s.restart([a, b], [a])


def true_unconfirmed_either_way(s):
    a, b = s.publish(confirm=False), s.publish(confirm=False)
    s.restart([b])
    s.restart([b])
    return a


def true_acked_may_come_back_marked(s):
    a, b = s.publish(), s.publish()
    s.l.ack(s.deliver(a))
    s.l.ack(s.deliver(b))
    s.restart([a])


def true_requeued_comes_again(s):
    a = s.publish()
    s.l.requeue(s.deliver(a))
    s.deliver(a, redelivered=True)


def true_undecided_transaction_whole(s):
    a = s.publish()
    x, y = s.tx(s.q, s.r, acks=[s.deliver(a)])
    s.restart([x], [y])
    s.restart([x], [y])


def true_undecided_transaction_acked_and_back(s):
    x, y = s.tx(s.q, s.r)
    s.l.ack(s.deliver(x))
    s.restart([x], [y])
    s.restart([x], [y])


def false_half_a_transaction_acked_and_back(s):
    x, _ = s.tx(s.q, s.r)
    s.l.ack(s.deliver(x))
    s.restart([x], [])


def true_undecided_transaction_void(s):
    a = s.publish()
    s.tx(s.q, s.r, acks=[s.deliver(a)])
    s.restart([a])


def true_transient_gone(s):
    s.publish(mode=1)
    s.restart([])


def true_purge_on_its_way(s):
    a, b = s.publish(), s.publish()
    s.l.drop(s.q, False)
    s.restart([a, b], redelivered=False)


def true_read_late_while_ending(s):
    a, b = s.publish(), s.publish()
    s.l.is_closing = True
    s.l.ack(s.deliver(a, redelivered=True))  # the connection that had it first has been closed, and what it holds is read now
    s.l.requeue(s.deliver(a))
    s.deliver(b, redelivered=True)
    s.restart([a, b])


def false_unmarked_twice_while_ending(s):
    a = s.publish()
    s.l.is_closing = True
    s.deliver(a, redelivered=True)
    s.deliver(a)
    s.deliver(a)


def false_unmarked_after_an_audit_while_ending(s):
    a = s.publish()
    s.restart([a])
    s.l.is_closing = True
    s.deliver(a, redelivered=True)
    s.deliver(a)


def false_unmarked_after_the_end(s):
    a = s.publish()
    s.l.is_closing = True
    s.deliver(a, redelivered=True)
    s.restart([a], redelivered=False)


def false_lost(s):
    a, _ = s.publish(), s.publish()
    s.restart([a])


def false_lost_in_one_queue(s):
    a = s.publish(s.q, s.r)
    s.restart([a], [])


def false_twice(s):
    a = s.publish()
    s.restart([a, a])


def false_out_of_order(s):
    a, b = s.publish(), s.publish()
    s.restart([b, a])


def false_damaged(s):
    a = s.publish()
    s.restart([s.got(a, True, body=a.body()[:-1] + b"?")])


def false_cut_short(s):
    a = s.publish()
    s.restart([s.got(a, True, body=a.body()[:-1])])


def false_other_properties(s):
    a = s.publish()
    s.restart([s.got(a, True, props={**a.props, "priority": 1})])


def false_other_route(s):
    a = s.publish()
    s.restart([s.got(a, True, routing_key="z")])


def false_unknown(s):
    a = s.publish()
    s.restart([a, s.got(a, props={**a.props, "message_id": "nobody:1"})])


def false_in_the_wrong_queue(s):
    a = s.publish()
    s.restart([a], [a])


def false_lost_later(s):
    """A message nobody confirmed was seen after a restart: it has to stay."""
    a = s.publish(confirm=False)
    s.restart([a])
    s.restart([])


def false_risen_later(s):
    a = s.publish(confirm=False)
    s.restart([])
    s.restart([a])


def false_acked_comes_back_unmarked(s):
    a = s.publish()
    s.l.ack(s.deliver(a))
    s.restart([a], redelivered=False)


def false_acked_comes_back_without_a_crash(s):
    a = s.publish()
    s.l.ack(s.deliver(a))
    s.deliver(a, redelivered=True)


def false_redelivered_unmarked(s):
    a = s.publish()
    s.l.requeue(s.deliver(a))
    s.deliver(a)


def false_delivered_to_two(s):
    a = s.publish()
    s.deliver(a)
    s.deliver(a, redelivered=True)


def false_delivered_out_of_order(s):
    a, b = s.publish(), s.publish()
    s.deliver(b)
    s.deliver(a)


def false_half_a_transaction(s):
    x, _ = s.tx(s.q, s.r)
    s.restart([x], [])


def false_transaction_without_its_ack(s):
    a = s.publish()
    x, y = s.tx(s.q, s.r, acks=[s.deliver(a)])
    s.restart([a, x], [y])


def false_committed_transaction_lost(s):
    x, _ = s.tx(s.q, s.r, state="committed")
    s.restart([x], [])


def false_committed_ack_comes_back(s):
    a = s.publish()
    s.tx(acks=[s.deliver(a)], state="committed")
    s.restart([a])


def false_open_transaction_appears(s):
    x, y = s.tx(s.q, s.r, state="open")
    s.restart([x], [y])


def false_rolled_back_appears(s):
    x, = s.tx(s.q, state="void")
    s.deliver(x)


def false_open_transaction_acks(s):
    a = s.publish()
    s.tx(acks=[s.deliver(a)], state="open")
    s.restart([])


def false_transient_survives(s):
    a = s.publish(mode=1)
    s.restart([a])


def false_deleted_comes_back(s):
    a = s.publish()
    s.l.drop(s.q, True)
    s.l.dropped(s.q, True)
    s.restart([a])


def false_purged_comes_back_without_a_crash(s):
    a = s.publish()
    s.l.drop(s.q, False)
    s.l.dropped(s.q, False)
    s.deliver(a)


def run(ctx):
    stories = [(name, story) for name, story in sorted(globals().items()) if name.startswith(("true_", "false_"))]
    for name, story in stories:
        try:
            story(Story())
            is_seen = False
        except Violation as e:
            is_seen, text = True, e
        if is_seen and name.startswith("true_"):
            raise RuntimeError(f"{name}: a story that is true is called false: {text}")
        if not is_seen and name.startswith("false_"):
            raise RuntimeError(f"{name}: the checker does not see it")
    return f"{len(stories)} stories told right"
