// api_counters.c: what the workers count (src/broker/counters.h, reasons.h), summed: /api/reasons.
//
// Happy path: every worker lists its counters (LIST_COUNTERS) → their objects are added up, member by member → what asked for them
// goes on. Nothing is kept between requests.
#include <stdio.h>
#include <stdlib.h>

#include "src/base/mem.h"
#include "src/management/api.h"
#include "src/management/api_stats.h"
#include "src/management/http_server.h"

static void
add_number(json_t *sums, const char *key, const json_t *value)
{
    json_t *there = json_object_get(sums, key);
    if (there == NULL)
        json_object_set_new(sums, key, json_integer(json_integer_value(value)));
    else
        json_integer_set(there, json_integer_value(there) + json_integer_value(value));
}

// Adds the numbers of one object to those of the same names in another.
static void
add_numbers(json_t *sums, const json_t *object)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        if (json_is_integer(value))
            add_number(sums, key, value);
    }
}

// One object of the same shape out of those of all workers.
static json_t *
sum_members(const json_t *parts, const char *member)
{
    json_t *sums = json_object();
    for (size_t i = 0; i < json_array_size(parts); i++)
        add_numbers(sums, json_object_get(json_array_get(parts, i), member));
    return sums;
}

// --- reasons --------------------------------------------------------------------------------------------------------------------

static int
compare_times(const void *a, const void *b)
{
    json_int_t x = json_integer_value(json_object_get(*(json_t *const *)a, "time")),
               y = json_integer_value(json_object_get(*(json_t *const *)b, "time"));
    return x < y ? 1 : x > y ? -1 : 0; // newest first
}

// Adds an entry of another worker about the same thing.
static void
merge_entry(json_t *there, const json_t *entry)
{
    json_t *count = json_object_get(there, "count"), *first = json_object_get(there, "first_time");
    json_int_t more = json_integer_value(json_object_get(entry, "count"));
    json_int_t since = json_integer_value(json_object_get(entry, "first_time"));
    json_integer_set(count, json_integer_value(count) + more);
    if (since < json_integer_value(first))
        json_integer_set(first, since);
    if (compare_times(&there, &entry) > 0) { // that one is newer
        json_object_set(there, "time", json_object_get(entry, "time"));
        json_object_set(there, "text", json_object_get(entry, "text"));
    }
}

// One entry for each kind, code, vhost and object.
static json_t *
merged(const json_t *entries)
{
    json_t *by_key = json_object(), *list = json_array();
    for (size_t i = 0; i < json_array_size(entries); i++) {
        struct buf key = BUF_INIT;
        json_t *entry = json_array_get(entries, i);
        buf_printf(&key, "%s %lld %s\n%s", json_string_value(json_object_get(entry, "kind")),
                   (long long)json_integer_value(json_object_get(entry, "code")),
                   json_string_value(json_object_get(entry, "vhost")),
                   json_string_value(json_object_get(entry, "object")));
        json_t *there = json_object_get(by_key, buf_cstr(&key));
        if (there != NULL) {
            merge_entry(there, entry);
        } else {
            json_object_set(by_key, buf_cstr(&key), entry);
            json_array_append(list, entry);
        }
        buf_fini(&key);
    }
    json_decref(by_key);
    return list;
}

// Newest first.
static json_t *
sorted_by_time(const json_t *entries)
{
    size_t count = json_array_size(entries);
    json_t **all = mem_alloc((count + 1) * sizeof(json_t *)), *sorted = json_array();
    for (size_t i = 0; i < count && all != NULL; i++)
        all[i] = json_array_get(entries, i);
    if (all != NULL && count > 0)
        qsort(all, count, sizeof(json_t *), compare_times);
    for (size_t i = 0; i < count && all != NULL; i++)
        json_array_append(sorted, all[i]);
    mem_free(all);
    return sorted;
}

static bool
is_wanted(const json_t *entry, const char *key, struct slice value)
{
    const char *text = json_string_value(json_object_get(entry, key));
    return value.ptr == NULL || (text != NULL && slice_eq_str(value, text));
}

// ?vhost=V&kind=K narrow it down.
static void
drop_unwanted(struct api_request *r, json_t *entries)
{
    struct slice vhost = api_query_find(&r->query, "vhost"), kind = api_query_find(&r->query, "kind");
    for (size_t i = json_array_size(entries); i-- > 0;) {
        const json_t *entry = json_array_get(entries, i);
        if (!is_wanted(entry, "vhost", vhost) || !is_wanted(entry, "kind", kind))
            json_array_remove(entries, i);
    }
}

static void
reasons_listed(struct api_request *r)
{
    json_t *counted = r->kept, *all = merged(r->parsed), *recent = sorted_by_time(all);
    json_decref(all);
    drop_unwanted(r, recent);
    json_t *answer = json_pack("{s:o, s:o, s:o, s:o, s:o}", "totals", sum_members(counted, "reasons"),
                               "channel_errors", sum_members(counted, "channel_errors"), "connection_errors",
                               sum_members(counted, "connection_errors"), "global",
                               sum_members(counted, "global"), "recent", recent);
    if (answer == NULL)
        api_error(r, 500, "internal_error", "out of memory");
    else
        api_reply_json(r, 200, answer);
    json_decref(answer);
}

static void
counters_listed(struct api_request *r)
{
    r->kept = r->parsed;
    r->parsed = NULL;
    api_gather_workers(r, LIST_REASONS, &(struct broker_listed){0}, reasons_listed);
}

// GET /api/reasons (ours): {"totals":{kind: n}, "channel_errors":{code: n}, "connection_errors":{code: n}, "global":{…},
// "recent":[…]}.
static void
get_reasons(struct api_request *r)
{
    api_gather_workers(r, LIST_COUNTERS, &(struct broker_listed){0}, counters_listed);
}

const struct api_route api_routes_counters[] = {
    {API_GET, "/api/reasons", get_reasons, API_FOR_MONITORING, 0},
    {0, NULL, NULL, 0, 0},
};
