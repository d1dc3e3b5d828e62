// api_list.c: see api_list.h.
//
// Happy path: parameters → collect → default order (vhost, name, source, extra) → with ?sort= a value for each key: all are
// fetched batch by batch, the value is caught, the object dropped → order → page → batches are fetched, put and sent. A list of
// one batch is an answer with a length; a longer one is a stream.
// Failure: anything before the first byte is an error answer; afterwards the stream is cut.
#include "src/management/api_list.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "src/base/clock.h"
#include "src/base/mem.h"
#include "src/management/http_server.h"

// LIMIT: bytes of the keys of all lists at once.
#define LIST_BYTES_MAX ((size_t)256 * 1024 * 1024)
enum { CHUNK_BYTES = 64 * 1024, REGEX_STEPS = 10000, REGEX_HEAP_KIB = 256, REGEX_LOOK = 64 };

struct chunk {
    struct chunk *next;
    size_t used, size;
    uint8_t bytes[];
};

enum stage { STAGE_COLLECT, STAGE_SORT, STAGE_SEND };

struct sorted {
    struct api_value value;
    uint32_t at; // in the default order
};

struct api_list_state {
    struct api_list list;
    enum stage stage;
    struct chunk *chunks;
    size_t *bytes_of_all; // the server's
    size_t bytes;         // of this list in it
    struct api_list_key *keys;
    size_t count, cap;
    size_t total;          // before ?name=
    struct sorted *sorted; // NULL: the default order
    struct slice last_vhost, last_source;
    // Parameters.
    bool has_page, is_reverse, is_one;
    uint64_t page, page_size;
    uint64_t limit;    // 0: none
    struct slice name; // lower case, in the arena; NULL ptr: no filter
    pcre2_code *regex;
    pcre2_match_data *match_data;
    pcre2_match_context *match;
    uint64_t regex_end_ns;
    struct api_columns sort, columns;
    // How far it is.
    size_t cursor, end; // of the keys that are asked for
    bool has_items, is_whole, is_full, is_slow;
    bool is_fetching; // inside source->fetch
    bool is_fetched;  // which has called back
    struct api_list_key batch[API_LIST_BATCH];
};

// --- memory -----------------------------------------------------------------------------------------------------------------------

static bool
take_bytes(struct api_list_state *s, size_t bytes)
{
    if (*s->bytes_of_all + bytes > LIST_BYTES_MAX) {
        s->is_full = true;
        return false;
    }
    *s->bytes_of_all += bytes;
    s->bytes += bytes;
    return true;
}

// Copies into the list's memory. False: there is none.
static bool
keep(struct api_list_state *s, struct slice text, struct slice *ret)
{
    struct chunk *c = s->chunks;
    if (c == NULL || c->size - c->used < text.len) {
        size_t size = LV_MAX((size_t)CHUNK_BYTES, text.len);
        if (!take_bytes(s, sizeof *c + size))
            return false;
        c = mem_alloc(sizeof *c + size);
        if (c == NULL) {
            s->is_full = true;
            return false;
        }
        *c = (struct chunk){.next = s->chunks, .size = size};
        s->chunks = c;
    }
    *ret = slice_of(c->bytes + c->used, text.len);
    if (text.len > 0)
        memcpy(c->bytes + c->used, text.ptr, text.len);
    c->used += text.len;
    return true;
}

static void
drop_batch(struct api_list_state *s)
{
    if (s->list.source->drop != NULL && s->list.batch_count > 0)
        s->list.source->drop(&s->list);
    memset(s->list.records, 0, sizeof s->list.records);
    s->list.batch_count = 0;
}

static void
state_free(void *state)
{
    struct api_list_state *s = state;
    drop_batch(s);
    for (struct chunk *c; (c = s->chunks) != NULL;) {
        s->chunks = c->next;
        mem_free(c);
    }
    pcre2_code_free(s->regex);
    pcre2_match_data_free(s->match_data);
    pcre2_match_context_free(s->match);
    *s->bytes_of_all -= s->bytes;
    mem_free(s->keys);
    mem_free(s->sorted);
    mem_free(s);
}

// --- parameters -------------------------------------------------------------------------------------------------------------------

static bool
parse_number(struct slice text, int64_t *ret)
{
    bool is_negative = text.len > 1 && text.ptr[0] == '-';
    int64_t n = 0;
    if (text.len == 0 || text.len > 12)
        return false;
    for (size_t i = is_negative; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9')
            return false;
        n = n * 10 + (text.ptr[i] - '0');
    }
    *ret = is_negative ? -n : n;
    return true;
}

static bool
invalid(struct api_request *r)
{
    api_error(r, 400, "bad_request", "Pagination parameters are invalid");
    return false;
}

static bool
compile(struct api_list_state *s, struct slice pattern)
{
    int error;
    PCRE2_SIZE offset;
    s->regex = pattern.len > 1024
                   ? NULL
                   : pcre2_compile(pattern.ptr, pattern.len, PCRE2_CASELESS | PCRE2_NEVER_BACKSLASH_C, &error,
                                   &offset, NULL);
    s->match_data = s->regex != NULL ? pcre2_match_data_create(1, NULL) : NULL;
    s->match = s->regex != NULL ? pcre2_match_context_create(NULL) : NULL;
    if (s->match_data == NULL || s->match == NULL)
        return false;
    pcre2_set_match_limit(s->match, REGEX_STEPS);
    pcre2_set_depth_limit(s->match, REGEX_STEPS);
    pcre2_set_heap_limit(s->match, REGEX_HEAP_KIB);
    s->regex_end_ns = clock_mono_ns() + API_REGEX_MS * UINT64_C(1000000);
    return true;
}

static bool
parse_name(struct api_list_state *s)
{
    const struct api_query *q = &s->list.request->query;
    struct slice name = api_query_find(q, "name");
    if (name.len == 0)
        return true;
    if (slice_eq_str(api_query_find(q, "use_regex"), "true"))
        return compile(s, name) || invalid(s->list.request);
    s->name = name;
    return true;
}

// ?limit= (ours), and with it ?name=, ?use_regex=: of a list that has no pages, or is asked for without. False after answering 400.
static bool
parse_limit(struct api_list_state *s)
{
    int64_t limit;
    struct slice text = api_query_find(&s->list.request->query, "limit");
    if (s->is_one || s->has_page || text.ptr == NULL)
        return true;
    if (!parse_number(text, &limit) || limit < 1)
        return invalid(s->list.request);
    s->limit = (uint64_t)limit;
    return parse_name(s);
}

// ?page=, and with it ?page_size=, ?name=, ?use_regex=. False after answering 400.
static bool
parse_page(struct api_list_state *s)
{
    struct api_request *r = s->list.request;
    const struct api_query *q = &r->query;
    struct slice page = api_query_find(q, "page"), size = api_query_find(q, "page_size");
    int64_t page_number, page_size = API_PAGE_SIZE_DEFAULT;
    if (s->is_one || !s->list.source->is_paged || page.ptr == NULL)
        return true;
    if (!parse_number(page, &page_number) || (size.ptr != NULL && !parse_number(size, &page_size)))
        return invalid(r);
    if (page_number < 1 || page_size < 1 || page_size > API_PAGE_SIZE_MAX) {
        api_error(r, 400, "invalid_pagination_parameters",
                  "Invalid pagination parameters: page number %lld, page size %lld", (long long)page_number,
                  (long long)page_size);
        return false;
    }
    s->has_page = true;
    s->page = (uint64_t)page_number;
    s->page_size = (uint64_t)page_size;
    return parse_name(s);
}

static bool
parse(struct api_list_state *s)
{
    struct api_request *r = s->list.request;
    const struct api_query *q = &r->query;
    if (api_columns_parse(api_query_find(q, "columns"), &s->columns) != 0 ||
        api_columns_parse(api_query_find(q, "sort"), &s->sort) != 0 || s->sort.count > 1) {
        api_error(r, 400, "bad_request", "columns or sort: too many, or too deep");
        return false;
    }
    s->is_reverse = slice_eq_str(api_query_find(q, "sort_reverse"), "true");
    return parse_page(s) && parse_limit(s);
}

// --- collecting -------------------------------------------------------------------------------------------------------------------

static uint8_t
lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c | 0x20) : c;
}

static bool
contains(struct slice text, struct slice part)
{
    for (size_t at = 0; at + part.len <= text.len; at++) {
        size_t i = 0;
        while (i < part.len && lower(text.ptr[at + i]) == lower(part.ptr[i]))
            i++;
        if (i == part.len)
            return true;
    }
    return false;
}

static bool
is_wanted(struct api_list_state *s, struct slice name)
{
    if (s->name.ptr != NULL)
        return contains(name, s->name);
    if (s->regex == NULL)
        return true;
    if (s->total % REGEX_LOOK == 0 && clock_mono_ns() > s->regex_end_ns)
        s->is_slow = true;
    return !s->is_slow && pcre2_match(s->regex, name.ptr != NULL ? name.ptr : (const uint8_t *)"", name.len,
                                      0, 0, s->match_data, s->match) >= 0;
}

static bool
keep_shared(struct api_list_state *s, struct slice *last, struct slice text, struct slice *ret)
{
    if ((last->ptr == NULL || !slice_eq(*last, text)) && !keep(s, text, last))
        return false;
    *ret = *last;
    return true;
}

void
api_list_add(struct api_list *l, const struct api_list_key *key)
{
    struct api_list_state *s = l->state;
    struct api_list_key copy = *key;
    s->total++;
    if (s->is_full || !is_wanted(s, key->name))
        return;
    if (s->count == s->cap) {
        size_t cap = s->cap == 0 ? 64 : 2 * s->cap;
        if (cap > UINT32_MAX || !take_bytes(s, (cap - s->cap) * sizeof *s->keys))
            return;
        struct api_list_key *keys = mem_realloc(s->keys, cap * sizeof *keys);
        if (keys == NULL) {
            s->is_full = true;
            return;
        }
        s->keys = keys;
        s->cap = cap;
    }
    if (keep_shared(s, &s->last_vhost, key->vhost, &copy.vhost) && keep(s, key->name, &copy.name) &&
        keep_shared(s, &s->last_source, key->source, &copy.source) && keep(s, key->extra, &copy.extra))
        s->keys[s->count++] = copy;
}

void
api_list_vhosts(struct api_list *l, void (*visit)(struct api_list *l, const struct vhost *v))
{
    struct api_request *r = l->request;
    struct pmap_iter it;
    if (r->route->vhost_segment > 0) {
        const struct vhost *v = topology_vhost(api_topology(r), api_segment(r, r->route->vhost_segment));
        if (v != NULL)
            visit(l, v);
        return;
    }
    pmap_iter_init(&it, &api_topology(r)->vhosts);
    for (const struct vhost *v; (v = pmap_iter_next(&it)) != NULL;) {
        if (api_may_see_vhost(r, v->name))
            visit(l, v);
    }
}

// --- order ------------------------------------------------------------------------------------------------------------------------

static int
compare_keys(const void *a, const void *b)
{
    const struct api_list_key *x = a, *y = b;
    int order = slice_cmp(x->vhost, y->vhost);
    if (order == 0)
        order = slice_cmp(x->source, y->source);
    if (order == 0)
        order = slice_cmp(x->name, y->name);
    if (order == 0)
        order = slice_cmp(x->extra, y->extra);
    if (order == 0)
        order = x->number < y->number ? -1 : x->number > y->number;
    return order != 0 ? order : x->id < y->id ? -1 : x->id > y->id;
}

static int
compare_sorted(const void *a, const void *b)
{
    const struct sorted *x = a, *y = b;
    int order = (x->value.kind > y->value.kind) - (x->value.kind < y->value.kind);
    if (order == 0)
        order = x->value.kind == API_VALUE_NUMBER
                    ? (x->value.number > y->value.number) - (x->value.number < y->value.number)
                    : slice_cmp(x->value.text, y->value.text);
    return order != 0 ? order : (x->at > y->at) - (x->at < y->at);
}

static const struct api_list_key *
key_at(const struct api_list_state *s, size_t at)
{
    if (s->stage == STAGE_SORT || s->sorted == NULL)
        return &s->keys[s->is_reverse && s->sort.count == 0 ? s->count - 1 - at : at];
    return &s->keys[s->sorted[s->is_reverse ? s->count - 1 - at : at].at];
}

// --- batches ----------------------------------------------------------------------------------------------------------------------

static void list_next(struct api_list_state *s);

static void
fetch(struct api_list_state *s)
{
    struct api_list *l = &s->list;
    size_t count = LV_MIN(s->end - s->cursor, (size_t)API_LIST_BATCH);
    for (size_t i = 0; i < count; i++)
        s->batch[i] = *key_at(s, s->cursor + i);
    l->batch = s->batch;
    l->batch_count = count;
    s->is_fetched = false;
    if (l->source->fetch == NULL) {
        s->is_fetched = true;
        return;
    }
    s->is_fetching = true;
    l->source->fetch(l, count);
    s->is_fetching = false;
}

static void
catch_values(struct api_list_state *s)
{
    struct api_out o;
    for (size_t i = 0; i < s->list.batch_count; i++) {
        struct sorted *sorted = &s->sorted[s->cursor + i];
        *sorted = (struct sorted){.at = (uint32_t)(s->cursor + i)};
        api_out_init_catch(&o, &s->sort, &sorted->value);
        (void)s->list.source->put(&s->list, i, &o);
        if (sorted->value.kind != API_VALUE_NUMBER && !keep(s, sorted->value.text, &sorted->value.text))
            sorted->value = (struct api_value){0};
    }
}

static void
put_batch(struct api_list_state *s)
{
    struct buf *out = &s->list.request->out;
    struct api_out o;
    for (size_t i = 0; i < s->list.batch_count; i++) {
        size_t before = out->len;
        if (s->has_items)
            buf_append_u8(out, ',');
        api_out_init(&o, out, &s->columns);
        if (s->list.source->put(&s->list, i, &o))
            s->has_items = true;
        else if (!out->failed)
            out->len = before;
    }
}

static void
put_end(struct api_list_state *s)
{
    struct buf *out = &s->list.request->out;
    buf_append_u8(out, ']');
    if (!s->has_page)
        return;
    buf_append_str(out, ",");
    json_put_member_int(out, "filtered_count", (int64_t)s->count);
    json_put_member_int(out, "item_count", (int64_t)(s->end - (s->page - 1) * s->page_size));
    json_put_member_int(out, "page", (int64_t)s->page);
    json_put_member_int(out, "page_count", (int64_t)((s->count + s->page_size - 1) / s->page_size));
    json_put_member_int(out, "page_size", (int64_t)s->page_size);
    json_put_member_int(out, "total_count", (int64_t)s->total);
    json_drop_comma(out);
    buf_append_u8(out, '}');
}

// What was fetched is used.
static void
use_batch(struct api_list_state *s)
{
    struct api_request *r = s->list.request;
    if (s->stage == STAGE_SORT)
        catch_values(s);
    else if (!r->has_failed)
        put_batch(s);
    s->cursor += s->list.batch_count;
    drop_batch(s);
}

void
api_list_fetched(struct api_list *l)
{
    struct api_list_state *s = l->state;
    s->is_fetched = true;
    if (!s->is_fetching) // otherwise the caller of fetch goes on
        list_next(s);
}

static void
one_done(struct api_list_state *s)
{
    struct api_request *r = s->list.request;
    struct api_out o;
    api_out_init(&o, &r->out, &s->columns);
    bool is_there = !r->has_failed && s->list.source->put(&s->list, 0, &o);
    if (r->has_failed)
        api_no_memory(r);
    else if (!is_there)
        api_not_found(r);
    else
        api_reply(r, 200);
}

static void
send_done(struct api_list_state *s)
{
    struct api_request *r = s->list.request;
    put_end(s);
    if (!s->is_whole) {
        r->produce = NULL;
        api_stream_ready(r);
    } else if (r->has_failed) {
        buf_reset(&r->out);
        api_no_memory(r);
    } else {
        api_reply(r, 200);
    }
}

// The stream's next part: one batch.
static void
produce(struct api_request *r)
{
    struct api_list_state *s = r->state;
    fetch(s);
    if (s->is_fetched)
        list_next(s);
}

static bool begin_sending(struct api_list_state *s);

// Goes on as far as it can: after a batch was fetched, or for the first.
static void
list_next(struct api_list_state *s)
{
    struct api_request *r = s->list.request;
    for (;;) {
        if (s->is_one) {
            one_done(s);
            return;
        }
        use_batch(s);
        if (s->stage == STAGE_SORT && s->cursor == s->end) {
            qsort(s->sorted, s->count, sizeof *s->sorted, compare_sorted);
            if (!begin_sending(s))
                return;
        }
        if (s->stage == STAGE_SEND && s->cursor == s->end) {
            send_done(s);
            return;
        }
        if (s->stage == STAGE_SEND && !s->is_whole) {
            api_stream_ready(r);
            return;
        }
        fetch(s);
        if (!s->is_fetched)
            return;
    }
}

// Finds the page and begins the answer. False: it was answered with an error, or goes on by the stream.
static bool
begin_sending(struct api_list_state *s)
{
    struct api_request *r = s->list.request;
    s->stage = STAGE_SEND;
    s->cursor = 0;
    s->end = s->count;
    if (s->has_page) {
        uint64_t pages = (s->count + s->page_size - 1) / s->page_size;
        if (s->page > LV_MAX(pages, UINT64_C(1))) {
            api_error(r, 400, "page_out_of_range", "Page out of range, page: %llu page size: %llu, len: %zu",
                      (unsigned long long)s->page, (unsigned long long)s->page_size, s->count);
            return false;
        }
        s->cursor = (s->page - 1) * s->page_size;
        s->end = LV_MIN(s->cursor + s->page_size, s->count);
    } else if (s->limit > 0) {
        r->total_count = (int64_t)s->count;
        s->end = LV_MIN(s->limit, s->count);
    }
    s->is_whole = s->end - s->cursor <= API_LIST_BATCH || s->has_page;
    if (!s->is_whole)
        api_stream(r, produce);
    buf_append_str(&r->out, s->has_page ? "{\"items\":[" : "[");
    return s->is_whole;
}

static bool
are_among(const struct api_columns *c, const char *const *names)
{
    for (size_t i = 0; i < c->count; i++) {
        const char *const *name = names;
        while (*name != NULL && !slice_eq_str(c->paths[i][0], *name))
            name++;
        if (*name == NULL)
            return false;
    }
    return true;
}

bool
api_list_wants_only(const struct api_list *l, const char *const *names)
{
    const struct api_list_state *s = l->state;
    if (s->stage == STAGE_SORT && !s->is_one) // a value alone is caught now
        return are_among(&s->sort, names);
    return s->columns.count > 0 && are_among(&s->columns, names);
}

// What the keys say themselves needs no question.
static bool
sort_by_key(struct api_list_state *s)
{
    struct slice path = s->sort.paths[0][0];
    bool is_name = slice_eq_str(path, "name");
    if (!s->list.source->is_paged || s->sort.depths[0] != 1 || (!is_name && !slice_eq_str(path, "vhost")))
        return false;
    for (size_t i = 0; i < s->count; i++)
        s->sorted[i] = (struct sorted){
            .value = {.kind = API_VALUE_TEXT, .text = is_name ? s->keys[i].name : s->keys[i].vhost},
            .at = (uint32_t)i};
    return true;
}

void
api_list_collected(struct api_list *l)
{
    struct api_list_state *s = l->state;
    struct api_request *r = l->request;
    if (s->is_slow) {
        api_error(r, 400, "bad_request", "the regular expression takes too long");
        return;
    }
    if (s->count > 0)
        qsort(s->keys, s->count, sizeof *s->keys, compare_keys);
    if (s->sort.count > 0 && s->count > 0 && !s->is_full && take_bytes(s, s->count * sizeof *s->sorted)) {
        s->sorted = mem_alloc(s->count * sizeof *s->sorted);
        s->is_full = s->sorted == NULL;
    }
    if (s->is_full || r->has_failed) {
        api_error(r, 503, "service_unavailable", "too many and too long lists are asked for at once");
        return;
    }
    if (s->sorted != NULL && sort_by_key(s)) {
        qsort(s->sorted, s->count, sizeof *s->sorted, compare_sorted);
        if (begin_sending(s))
            list_next(s);
    } else if (s->sorted != NULL) {
        s->stage = STAGE_SORT;
        s->end = s->count;
        list_next(s);
    } else if (begin_sending(s)) {
        list_next(s);
    }
}

static struct api_list_state *
state_new(struct api_request *r, const struct api_list_source *source, bool is_one)
{
    struct api_list_state *s = mem_calloc(1, sizeof *s);
    if (s == NULL) {
        api_no_memory(r);
        return NULL;
    }
    s->list.request = r;
    s->list.source = source;
    s->list.state = s;
    s->is_one = is_one;
    s->bytes_of_all = http_server_list_bytes(r->server);
    r->state = s;
    r->state_free = state_free;
    return parse(s) ? s : NULL;
}

void
api_list(struct api_request *r, const struct api_list_source *source)
{
    if (r->route->vhost_segment > 0 && api_vhost(r, r->route->vhost_segment) == NULL)
        return;
    struct api_list_state *s = state_new(r, source, false);
    if (s != NULL)
        source->collect(&s->list);
}

void
api_list_one(struct api_request *r, const struct api_list_source *source, const struct api_list_key *key)
{
    struct api_list_state *s = state_new(r, source, true);
    if (s == NULL)
        return;
    api_list_add(&s->list, key);
    if (s->is_full) {
        api_no_memory(r);
        return;
    }
    s->stage = STAGE_SORT; // the order of the keys
    s->end = 1;
    fetch(s);
    if (s->is_fetched)
        list_next(s);
}
