// api_list.h: listings: which objects, in which order, which page, which columns; collected, asked for and sent in parts.
//
// A *source* knows one kind of object. It *collects* a key for each (names, copied), *fetches* what is known of some of them
// (perhaps by asking workers), and *puts* each as JSON. The list does the rest: ?page= and ?page_size=, ?name= and ?use_regex=,
// ?sort= and ?sort_reverse=, ?columns=, ?limit= (ours: so many of a list without
// pages; X-Total-Count says how many there are). Never more than one batch of objects is in memory, but for the keys; what all lists of the
// server together hold is bounded (LIST_BYTES_MAX, 503 beyond it). Objects that go meanwhile are left out.
//
// Everything on the HTTP member. A list belongs to its request (r->state).
#pragma once

#include "src/management/api.h"

// LIMIT: objects asked for at once; objects of a page; time that matching names may take in all.
enum { API_LIST_BATCH = 128, API_PAGE_SIZE_MAX = 500, API_PAGE_SIZE_DEFAULT = 100, API_REGEX_MS = 1000 };

struct api_list_key {
    struct slice vhost, name;   // copied by api_list_add; the default order
    struct slice source, extra; // the source's own
    uint64_t id;
    uint32_t worker, number;
};

struct api_list_source {
    bool is_paged;                       // ?page= counts, as in RabbitMQ for some lists
    void (*collect)(struct api_list *l); // api_list_add …, api_list_collected; now or later
    void (*fetch)(struct api_list *l,
                  size_t count); // of l->batch; api_list_fetched; now or later. NULL: nothing to do
    bool (*put)(struct api_list *l, size_t i,
                struct api_out *o);   // batch[i]; false: it has gone, nothing was written
    void (*drop)(struct api_list *l); // frees what fetch made. May be NULL
};

struct api_list {
    struct api_request *request;
    const struct api_list_source *source;
    const struct api_list_key *batch; // fetch, put, drop
    size_t batch_count;
    void *records[API_LIST_BATCH]; // the source's own, of the batch
    struct api_list_state *state;  // api_list.c
};

// Starts the listing; it answers the request.
void api_list(struct api_request *r, const struct api_list_source *source);
// For a source: adds a key, unless ?name= says otherwise. Names may lie anywhere; equal vhosts and sources are kept once.
void api_list_add(struct api_list *l, const struct api_list_key *key);
void api_list_collected(struct api_list *l);
void api_list_fetched(struct api_list *l);
// Is nothing asked for but these members (a NULL ends them), as columns and to sort by? For leaving out what is dear to find.
bool api_list_wants_only(const struct api_list *l, const char *const *names);
// Calls `visit` for each vhost that who asks may see, or the one that r->route names.
void api_list_vhosts(struct api_list *l, void (*visit)(struct api_list *l, const struct vhost *v));
// Puts one object as the whole answer: the same source, one key, no list. 404 when it has gone.
void api_list_one(struct api_request *r, const struct api_list_source *source,
                  const struct api_list_key *key);
