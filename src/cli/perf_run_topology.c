// perf_run_topology.c: exchange, queues and bindings of a run. What is there already is used as it is and stays.
#include "src/base/err.h"
#include "src/base/mem.h"
#include "src/cli/perf_run.h"

// --queue is a name as it is, whatever is in it; --queue-pattern has a place for the number.
void
run_queue_name(const struct run_config *c, uint64_t index, char ret[static 256])
{
    if (c->queue == NULL)
        perf_queue_name(c->queue_pattern, index + 1, c->queues, ret);
    else if (c->queues == 1)
        snprintf(ret, 256, "%s", c->queue);
    else
        snprintf(ret, 256, "%s-%llu", c->queue, (unsigned long long)index + 1);
}

void
run_route(const struct run_config *c, uint64_t index, struct slice *ret_exchange, struct slice *ret_key,
          char buf[static 256])
{
    *ret_exchange = slice_str(c->exchange);
    if (c->routing_key != NULL) {
        *ret_key = slice_str(c->routing_key);
        return;
    }
    run_queue_name(c, index, buf);
    *ret_key = slice_str(buf);
}

static int
declare_exchange(struct run *r)
{
    const struct run_config *c = r->config;
    // RabbitMQ's own names are always there, and may not be declared.
    if (*c->exchange == '\0' || strncmp(c->exchange, "amq.", 4) == 0)
        return 0;
    struct perf_conn *admin = &r->admin;
    union amqp_method m = {.exchange_declare = {.exchange = slice_str(c->exchange), .passive = true}};
    int rc = perf_conn_call(admin, 1, AMQP_EXCHANGE_DECLARE, &m, NULL);
    if (rc != -LE_CLOSED || admin->closed_channel != 1 || admin->closed_code != 404)
        return rc;
    amqp_frame_channel_close_ok(&admin->out, 1);
    rc = perf_conn_open_channel(admin, 1);
    if (rc < 0)
        return rc;
    m.exchange_declare = (struct amqp_exchange_declare){
        .exchange = slice_str(c->exchange), .type = slice_str(c->type), .durable = c->is_durable};
    rc = perf_conn_call(admin, 1, AMQP_EXCHANGE_DECLARE, &m, NULL);
    r->is_exchange_created = rc == 0;
    return rc;
}

static int
bind_queue(struct run *r, uint64_t index, const char *queue)
{
    const struct run_config *c = r->config;
    char buf[256];
    struct slice exchange, key;
    if (*c->exchange == '\0')
        return 0;
    run_route(c, index, &exchange, &key, buf);
    if (c->binding_key != NULL)
        key = slice_str(c->binding_key);
    union amqp_method m = {
        .queue_bind = {.queue = slice_str(queue), .exchange = exchange, .routing_key = key}};
    return perf_conn_call(&r->admin, 1, AMQP_QUEUE_BIND, &m, NULL);
}

int
run_declare(struct run *r)
{
    const struct run_config *c = r->config;
    r->is_created = mem_xcalloc(c->queues, sizeof *r->is_created);
    int rc = declare_exchange(r);
    for (uint64_t i = 0; rc == 0 && i < c->queues && !perf_stop_wait(0); i++) {
        char name[256];
        bool existed;
        run_queue_name(c, i, name);
        // Under the default name only an earlier run can have left it, perhaps killed in the middle of its messages.
        if (c->queue == NULL && strcmp(c->queue_pattern, RUN_QUEUE_PATTERN) == 0)
            rc = perf_delete_queue(&r->admin, 1, name);
        if (rc < 0)
            break;
        struct perf_queue_options q = {.name = name,
                                       .is_durable = c->is_durable,
                                       .is_quorum = c->is_quorum,
                                       .arguments = buf_slice(&c->queue_args)};
        rc = perf_declare_queue(&r->admin, 1, &q, &existed);
        if (rc == 0) {
            r->is_created[i] = !existed;
            rc = bind_queue(r, i, name);
        }
    }
    return rc;
}

void
run_delete(struct run *r)
{
    const struct run_config *c = r->config;
    int rc = 0;
    for (uint64_t i = 0; !c->is_keep && rc == 0 && r->is_created != NULL && i < c->queues; i++) {
        char name[256];
        run_queue_name(c, i, name);
        if (r->is_created[i])
            rc = perf_delete_queue(&r->admin, 1, name);
    }
    if (rc == 0 && !c->is_keep && r->is_exchange_created) {
        union amqp_method m = {.exchange_delete = {.exchange = slice_str(c->exchange)}};
        rc = perf_conn_call(&r->admin, 1, AMQP_EXCHANGE_DELETE, &m, NULL);
    }
    if (rc < 0 && !atomic_load_explicit(&r->is_failed, memory_order_acquire))
        perf_complain("deleting the queues: %s", r->admin.error);
    mem_free(r->is_created);
    r->is_created = NULL;
}
