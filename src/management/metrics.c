// metrics.c: a scrape, from its path to the last byte of its text.
//
// Happy path: which registry and families → every worker is asked part by part, and this member, whose sessions publish for the HTTP API →
// sums and tables → the node's own numbers → the text as a stream, made while the client takes it.
// Failure modes: no memory, or more than METRICS_BYTES_MAX of objects in all scrapes: 503 before the first byte.
#include "src/management/metrics.h"
#include "src/base/clock.h"
#include "src/base/mem.h"
#include "src/management/api_auth.h"
#include "src/management/http_server.h"
#include "src/management/node_use.h"

// --- the node's numbers -----------------------------------------------------------------------------------------------------------------

static void
add_amqp(struct amqp_stats *to, const struct worker *w)
{
    struct amqp_stats s;
    amqp_worker_stats(w, &s);
    to->opened += s.opened;
    to->ended += s.ended;
    to->refused += s.refused;
    to->authenticated += s.authenticated;
    to->channels_opened += s.channels_opened;
    to->channels_closed += s.channels_closed;
    to->received_bytes += s.received_bytes;
    to->sent_bytes += s.sent_bytes;
}

static void
add_dead(struct dead_totals *to, const struct worker *w)
{
    struct dead_totals d;
    static_assert(sizeof d % sizeof(uint64_t) == 0, "numbers alone");
    queue_worker_dead_totals(w, &d);
    for (size_t i = 0; i < sizeof d / sizeof(uint64_t); i++)
        ((uint64_t *)to)[i] += ((const uint64_t *)&d)[i];
}

static void
fill_workers(struct metrics_node *n, const struct crew *crew)
{
    for (int i = 0; i < crew->n_workers; i++) {
        const struct worker *w = crew->members[i];
        add_amqp(&n->amqp, w);
        add_dead(&n->dead, w);
        worker_turns(w, &n->turns);
        n->mail_depth += worker_mail_depth(w);
        n->message_bytes += queue_worker_message_bytes(w);
        n->sockets += amqp_worker_load(w);
    }
    n->amqp_attempts = n->amqp.authenticated + n->amqp.refused;
    topology_queue_churn(crew, &n->queues_made, &n->queues_gone);
}

static void
fill_machine(struct metrics_node *n, const struct api_node *node)
{
    struct node_use use;
    struct api_resources resources = {0};
    node_use_look(node->data_dir, &use);
    n->resident_bytes = use.resident_bytes;
    n->fd_used = use.fd_used;
    n->fd_max = n->sockets_max = use.fd_max;
    n->disk_free = use.disk_free_bytes;
    n->threads = use.threads;
    n->threads_max = use.threads_max;
    if (node->resources != NULL)
        node->resources(node->ctx, &resources);
    n->memory_limit = resources.memory_limit_bytes;
    n->disk_limit = resources.disk_limit_bytes;
    n->memory_alarm = resources.has_memory_alarm;
    n->disk_alarm = resources.has_disk_alarm;
    io_system_stats(&n->io);
    if (node->log_stats != NULL)
        node->log_stats(node->ctx, &n->log);
}

static void
fill_node(struct metrics_scrape *s)
{
    struct api_server *server = s->request->server;
    struct metrics_node *n = &s->node;
    struct api_auth_attempts http;
    struct pmap_iter it;
    const struct topology *t = api_topology(s->request);
    int64_t now_ms = clock_wall_ms(), oldest_ms = (int64_t)s->sums.queues[MQ_OLDEST_MS];
    fill_workers(n, http_server_worker(server)->crew);
    fill_machine(n, http_server_node(server));
    api_auth_attempts(http_server_auth(server), &http);
    n->http_attempts = http.attempts;
    n->http_refused = http.refused;
    n->http_succeeded = http.attempts - LV_MIN(http.refused, http.attempts);
    n->started_ms = (uint64_t)http_server_started_ms(server);
    n->uptime_ms = (uint64_t)LV_MAX(now_ms - http_server_started_ms(server), INT64_C(0));
    n->oldest_age_ms = oldest_ms == 0 ? UINT64_MAX : (uint64_t)LV_MAX(now_ms - oldest_ms, INT64_C(0));
    n->vhosts = t->vhosts.count;
    pmap_iter_init(&it, &t->vhosts);
    for (const struct vhost *v; (v = pmap_iter_next(&it)) != NULL;) {
        n->queues += v->queues.count;
        n->exchanges += v->exchanges.count;
    }
}

// --- gathering --------------------------------------------------------------------------------------------------------------------------

struct scrape_mail {
    struct metrics_scrape *scrape; // it waits
    struct worker *back, *worker;
    struct metrics_cursor cursor;
    struct metrics_part *part; // heap; NULL: no memory
};

static void gathered(struct metrics_scrape *s);
static void part_asked(struct worker *w, void *payload);

// Appends the objects of a part; counts their bytes before they come.
static void
take_tables(struct metrics_scrape *s, const struct metrics_part *part)
{
    size_t bytes = 0;
    for (size_t i = 0; i < METRICS_OBJECTS_COUNT; i++) {
        bytes += metrics_table_bytes(&part->tables[i]);
        s->has_failed |= metrics_table_failed(&part->tables[i]);
    }
    if (bytes > METRICS_BYTES_MAX - LV_MIN(*s->bytes_of_all, (size_t)METRICS_BYTES_MAX))
        s->has_failed = true;
    if (s->has_failed)
        return;
    s->bytes += bytes;
    *s->bytes_of_all += bytes;
    for (size_t i = 0; i < METRICS_OBJECTS_COUNT; i++) {
        struct metrics_table *to = &s->tables[i];
        const struct metrics_table *from = &part->tables[i];
        to->count += from->count;
        buf_append_slice(&to->labels, buf_slice(&from->labels));
        for (size_t c = 0; c < METRICS_COLUMNS_MAX; c++)
            buf_append_slice(&to->columns[c], buf_slice(&from->columns[c]));
        s->has_failed |= metrics_table_failed(to);
    }
}

static void
part_answered(struct worker *w, void *payload)
{
    struct scrape_mail *mail = payload;
    struct metrics_scrape *s = mail->scrape;
    bool is_over = mail->part == NULL || mail->cursor.stage == METRICS_STAGE_END;
    s->has_failed |= mail->part == NULL;
    if (mail->part != NULL) {
        // Sessions of this member are requests under way, no clients' channels.
        if (mail->worker == mail->back)
            mail->part->sums.broker.connections = mail->part->sums.broker.channels = 0;
        metrics_sums_add(&s->sums, &mail->part->sums);
        take_tables(s, mail->part);
    }
    metrics_part_free(mail->part);
    mail->part = NULL;
    if (!is_over && !s->has_failed)
        worker_post(mail->worker, part_asked, mail, sizeof *mail, 0);
    else if (--s->parts == 0)
        gathered(s);
}

static void
part_asked(struct worker *w, void *payload)
{
    struct scrape_mail mail = *(struct scrape_mail *)payload;
    mail.part = mem_calloc(1, sizeof *mail.part);
    if (mail.part != NULL)
        metrics_part_fill(w, &mail.scrape->wish, &mail.cursor, mail.part);
    worker_post(mail.back, part_answered, &mail, sizeof mail, 0);
}

static void
gather(struct metrics_scrape *s)
{
    struct worker *back = http_server_worker(s->request->server);
    static_assert(sizeof(struct scrape_mail) <= MAIL_PAYLOAD_BYTES, "a mail");
    s->parts = (unsigned)back->crew->n_workers + 1;
    for (int i = 0; i <= back->crew->n_workers; i++) {
        struct worker *w = i < back->crew->n_workers ? back->crew->members[i] : back;
        struct scrape_mail mail = {.scrape = s, .back = back, .worker = w};
        worker_post(w, part_asked, &mail, sizeof mail, 0);
    }
}

// --- the text ---------------------------------------------------------------------------------------------------------------------------

static void
produce(struct api_request *r)
{
    struct metrics_scrape *s = r->state;
    if (!metrics_text_next(s, &r->out)) {
        r->produce = NULL;
        s->memory->scrapes[s->registry].count++;
        s->memory->scrapes[s->registry].duration_ns += clock_mono_ns() - s->begun_ns;
        s->memory->scrapes[s->registry].bytes += s->text_bytes + r->out.len;
        s->memory->scrapes[s->registry].encoded_bytes += r->packed_bytes;
    }
    s->text_bytes += r->out.len;
    r->has_failed |= r->out.failed;
    api_stream_ready(r);
}

// Times are kept as moments, and told as ages.
static void
age_oldest(struct metrics_scrape *s)
{
    struct metrics_table *t = &s->tables[METRICS_QUEUES];
    struct slice column = buf_slice(&t->columns[MQ_OLDEST_MS]);
    struct buf ages = BUF_INIT;
    int64_t now_ms = clock_wall_ms();
    for (uint64_t i = 0; i < t->count; i++) {
        uint64_t at;
        bool is_known = metrics_column_next(&column, &at);
        metrics_column_put(&ages, is_known ? (uint64_t)LV_MAX(now_ms - (int64_t)at, INT64_C(0)) : UINT64_MAX);
    }
    s->has_failed |= ages.failed;
    buf_fini(&t->columns[MQ_OLDEST_MS]);
    t->columns[MQ_OLDEST_MS] = ages;
}

static void
gathered(struct metrics_scrape *s)
{
    struct api_request *r = s->request;
    age_oldest(s);
    if (s->has_failed) {
        api_error(r, 503, "service_unavailable", "too many objects are asked for at once");
        return;
    }
    fill_node(s);
    r->content_type = "text/plain; version=0.0.4";
    api_stream(r, produce);
}

// --- requests ---------------------------------------------------------------------------------------------------------------------------

static void
scrape_free(void *state)
{
    struct metrics_scrape *s = state;
    for (size_t i = 0; i < METRICS_OBJECTS_COUNT; i++)
        metrics_table_fini(&s->tables[i]);
    *s->bytes_of_all -= s->bytes;
    mem_free(s);
}

static void
take_parameters(struct metrics_scrape *s)
{
    const struct api_query *q = &s->request->query;
    for (size_t i = 0; i < q->parameter_count; i++) {
        if (slice_eq_str(q->parameters[i].key, "family"))
            s->families[s->family_count++] = q->parameters[i].value;
        else if (slice_eq_str(q->parameters[i].key, "vhost"))
            s->vhosts[s->wish.vhost_count++] = q->parameters[i].value;
    }
    s->wish.vhosts = s->vhosts;
}

static void
set_wish(struct metrics_scrape *s)
{
    bool is_all = s->registry == METRICS_PER_OBJECT;
    for (int i = 0; i < METRICS_OBJECTS_COUNT; i++)
        s->wish.is_per_object[i] = is_all;
    if (s->registry != METRICS_DETAILED)
        return;
    take_parameters(s);
    for (const struct metric *m = metrics_table; m->name != NULL; m++) {
        if (m->objects < METRICS_OBJECTS_COUNT && m->family != NULL && metrics_has_family(s, m->family))
            s->wish.is_per_object[m->objects] = true;
    }
    s->wish.is_without_queues = !s->wish.is_per_object[METRICS_QUEUES];
}

static void
start(struct api_request *r, enum metrics_registry registry)
{
    struct metrics_scrape *s = mem_calloc(1, sizeof *s);
    if (s == NULL) {
        api_no_memory(r);
        return;
    }
    s->request = r;
    s->registry = registry;
    s->memory = http_server_metrics(r->server, &s->bytes_of_all);
    s->begun_ns = clock_mono_ns();
    r->state = s;
    r->state_free = scrape_free;
    set_wish(s);
    gather(s);
}

// Behind the path that is configured.
static void
get_metrics(struct api_request *r)
{
    bool is_per_object = http_server_config(r->server)->is_metrics_per_object;
    struct slice name = api_segment(r, api_segment_count(r) - 1);
    if (r->is_head) {
        r->content_type = "text/plain; version=0.0.4";
        api_reply(r, 200);
    } else if (r->detail == 0 || slice_eq_str(name, "default")) {
        start(r, r->detail == 0 && is_per_object ? METRICS_PER_OBJECT : METRICS_DEFAULT);
    } else if (slice_eq_str(name, "per-object")) {
        start(r, METRICS_PER_OBJECT);
    } else if (slice_eq_str(name, "detailed")) {
        start(r, METRICS_DETAILED);
    } else {
        r->content_type = "text/plain";
        buf_append_str(&r->out, "Unknown Registry");
        api_reply(r, 404);
    }
}

static const struct api_route route = {API_GET, "", get_metrics, API_FOR_ALL, 0};

// Is it the path, or a name below it? The path has no '%'; segments are decoded.
static bool
path_matches(struct api_request *r)
{
    const char *path = http_server_config(r->server)->metrics_path;
    size_t segment = 0;
    while (*path == '/') {
        const char *end = strchrnul(++path, '/');
        if (end > path && !slice_eq(api_segment(r, segment++), slice_of(path, (size_t)(end - path))))
            return false;
        path = end;
    }
    r->detail = api_segment_count(r) > segment;
    return segment > 0 && api_segment_count(r) <= segment + 1;
}

void
metrics_let_in(struct api_request *r, const char *method)
{
    if (api_query_parse(r->uri, &r->query) != 0)
        api_error(r, 400, "bad_request", "the path or the query is malformed or has too many parts");
    else if (!path_matches(r))
        api_not_found(r);
    else if (r->method == API_GET)
        r->route = &route;
    else {
        r->allow = mem_xstrdup("GET, HEAD");
        api_reply(r, 405);
    }
}
