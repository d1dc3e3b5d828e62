// bench_route: nanoseconds a message for the ways through route_resolve. Built, not run as a test.
//
// Usage: bench_route [rounds]
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "amqp/wire/table.h"
#include "exchange/route.h"
#include "src/base/mem.h"

enum { QUEUES = 1000, BINDINGS = 10000 };

// A vhost of one exchange: [0] is the default one, [1] the one that is measured.
struct world {
    struct exchange exchanges[2];
    struct queue_def *queues[QUEUES];
    struct pmap by_name;
    struct binding *bindings[BINDINGS];
    size_t binding_count;
};

static bool
queue_eq(const void *value, const void *key)
{
    return slice_eq(((const struct queue_def *)value)->name, *(const struct slice *)key);
}

static const struct queue_def *
queue_by_name(const void *graph, struct slice name)
{
    return pmap_find(&((const struct world *)graph)->by_name, slice_hash(name), queue_eq, &name);
}

static const struct exchange *
exchange_by_id(const void *graph, uint64_t id)
{
    return &((const struct world *)graph)->exchanges[id];
}

static const struct exchange *
exchange_by_name(const void *graph, struct slice name)
{
    return NULL;
}

static double
now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

static void
world_init(struct world *w)
{
    struct pmap_edit e;
    *w = (struct world){0};
    w->exchanges[0] = (struct exchange){.id = 1, .is_default = true, .type = EXCHANGE_DIRECT};
    router_init(&w->exchanges[0].router, EXCHANGE_DIRECT);
    pmap_edit_begin(&e);
    for (uint32_t i = 0; i < QUEUES; i++) {
        char name[16];
        size_t len = (size_t)snprintf(name, sizeof name, "queue-%u", i);
        struct queue_def *q = mem_xcalloc(1, sizeof *q + len);
        memcpy(q + 1, name, len);
        *q = (struct queue_def){
            .id = i + 1, .slot = i, .handle = handle_make(i % 4, 1, i), .name = slice_of(q + 1, len)};
        w->queues[i] = q;
        pmap_put(&w->by_name, &e, slice_hash(q->name), queue_eq, &q->name, q);
    }
    pmap_retired_free(pmap_edit_end(&e));
}

static void
world_bind(struct world *w, const char *key, struct slice arguments)
{
    struct queue_def *q = w->queues[w->binding_count % QUEUES];
    struct binding *b = binding_new(&(struct binding_args){.source_id = 2,
                                                           .dest_id = q->id,
                                                           .dest = BINDING_TO_QUEUE,
                                                           .queue = q,
                                                           .key = slice_str(key),
                                                           .arguments = arguments});
    struct pmap_edit e;
    pmap_edit_begin(&e);
    if (b == NULL || w->binding_count == BINDINGS || !router_bind(&w->exchanges[1].router, &e, b))
        abort();
    pmap_retired_free(pmap_edit_end(&e));
    w->bindings[w->binding_count++] = b;
}

static void
world_reset(struct world *w, enum exchange_type type)
{
    struct pmap_edit e;
    pmap_edit_begin(&e);
    router_clear(&w->exchanges[1].router, &e);
    pmap_retired_free(pmap_edit_end(&e));
    while (w->binding_count > 0)
        binding_free(w->bindings[--w->binding_count]);
    w->exchanges[1] = (struct exchange){.id = 2, .type = type};
    router_init(&w->exchanges[1].router, type);
}

static void
measure(struct world *w, const char *what, size_t exchange, const char *key, struct slice headers,
        long rounds)
{
    struct route_graph graph = {w, exchange_by_id, exchange_by_name, queue_by_name};
    struct slice keys[1] = {slice_str(key)};
    struct route_request request = {
        .exchange = &w->exchanges[exchange], .keys = keys, .key_count = 1, .headers = headers};
    struct route_result result = {0};
    struct route_ctx *ctx = route_ctx_new();
    if (ctx == NULL)
        abort();
    double start = 0;
    for (long i = -rounds / 10; i < rounds; i++) {
        if (i == 0)
            start = now_ns();
        if (route_resolve(ctx, &graph, &request, &result) != 0)
            abort();
    }
    printf("%-44s %8.1f ns, %zu queues\n", what, (now_ns() - start) / (double)rounds, result.count);
    route_ctx_free(ctx);
}

static void
measure_headers(struct world *w, long rounds)
{
    struct buf buf = BUF_INIT;
    world_reset(w, EXCHANGE_HEADERS);
    for (int32_t i = 0; i < QUEUES; i++) {
        buf_reset(&buf);
        struct table_writer t = table_writer_of(&buf);
        table_put_str(&t, SLICE_LIT("type"), "order");
        table_put_i32(&t, SLICE_LIT("customer"), i);
        world_bind(w, "", buf_slice(&buf));
    }
    struct table_writer t = table_writer_of(&buf);
    table_put_str(&t, SLICE_LIT("trace"), "0123456789abcdef");
    measure(w, "headers, 1,000 all rules, 3 headers", 1, "", buf_slice(&buf), rounds / 10);
    buf_fini(&buf);
}

static void
measure_topic(struct world *w, long rounds)
{
    world_reset(w, EXCHANGE_TOPIC);
    char key[60];
    for (int i = 0; i < 5000; i++) {
        snprintf(key, sizeof key, "device.%d.*.status", i);
        world_bind(w, key, SLICE_EMPTY);
    }
    measure(w, "topic, 5,000 patterns, 4 words", 1, "device.77.room.status", SLICE_EMPTY, rounds / 2);
    world_bind(w, "#", SLICE_EMPTY);
    world_bind(w, "#.status", SLICE_EMPTY);
    world_bind(w, "*.77.#", SLICE_EMPTY);
    measure(w, "the same with three #", 1, "device.77.room.status", SLICE_EMPTY, rounds / 2);
}

int
main(int argc, char **argv)
{
    long rounds = argc > 1 ? strtol(argv[1], NULL, 10) : 5000000;
    static struct world w;
    world_init(&w);
    world_reset(&w, EXCHANGE_DIRECT);
    measure(&w, "default exchange, 1,000 queues", 0, "queue-77", SLICE_EMPTY, rounds);
    char key[32];
    for (int i = 0; i < 5000; i++) {
        snprintf(key, sizeof key, "key.%d", i);
        world_bind(&w, key, SLICE_EMPTY);
    }
    measure(&w, "direct, 5,000 keys, one queue", 1, "key.77", SLICE_EMPTY, rounds);
    measure(&w, "direct, no match", 1, "nosuch", SLICE_EMPTY, rounds);
    for (int i = 0; i < 3; i++)
        world_bind(&w, "three", SLICE_EMPTY);
    measure(&w, "direct, three queues", 1, "three", SLICE_EMPTY, rounds);
    world_reset(&w, EXCHANGE_FANOUT);
    for (int i = 0; i < 10; i++)
        world_bind(&w, "", SLICE_EMPTY);
    measure(&w, "fanout, 10 queues", 1, "", SLICE_EMPTY, rounds / 5);
    for (int i = 10; i < QUEUES; i++)
        world_bind(&w, "", SLICE_EMPTY);
    measure(&w, "fanout, 1,000 queues", 1, "", SLICE_EMPTY, rounds / 100);
    measure_topic(&w, rounds);
    measure_headers(&w, rounds);
    world_reset(&w, EXCHANGE_DIRECT);
    struct pmap_edit e;
    pmap_edit_begin(&e);
    pmap_clear(&w.by_name, &e);
    pmap_retired_free(pmap_edit_end(&e));
    for (size_t i = 0; i < QUEUES; i++)
        mem_free(w.queues[i]);
    return 0;
}
