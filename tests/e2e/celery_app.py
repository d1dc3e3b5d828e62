"""The tasks of test_celery_worker_on_two_queues."""

import os

import celery
import kombu

app = celery.Celery("e2e", broker=os.environ["E2E_BROKER"], backend="rpc://")
app.conf.update(task_queues=[kombu.Queue(q, durable=True) for q in os.environ["E2E_QUEUES"].split(",")], task_acks_late=True,
                worker_prefetch_multiplier=1, broker_heartbeat=2, worker_hijack_root_logger=False)


@app.task
def add(x, y):
    return x + y


@app.task(bind=True, default_retry_delay=0.2)
def flaky(self):
    if self.request.retries < 2:
        raise self.retry(countdown=0.2)
    return "third time"
