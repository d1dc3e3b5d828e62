// fuzz_topic: sets of topic patterns that change, and keys matched against them, compared with the naive
// matcher; one older version is kept and has to go on matching as it did.
//
// Input: operations, each a byte of kind, a byte of length and that many bytes of text ("abc*#." by the low
// bits, or raw).
#include "exchange/router.h"
#include "src/base/mem.h"
#include "tests/unit/exchange/naive.h"

enum { PATTERNS_MAX = 48, RETIRED_MAX = 512, OPERATIONS_MAX = 400 };

struct fuzz {
    struct router router, kept;
    struct binding *bindings[PATTERNS_MAX]; // all ever made
    bool is_bound[PATTERNS_MAX], was_bound[PATTERNS_MAX];
    size_t count;
    struct pmap_retired *retired[RETIRED_MAX]; // since `kept`
    size_t retired_count;
    struct router_scratch *scratch;
    struct queue_def queue;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
compare(struct fuzz *f, const struct router *r, const bool *is_bound, struct slice key)
{
    struct binding_set found = {0};
    LV_ASSERT(router_match(r, f->scratch, key, SLICE_EMPTY, &found) == 0);
    size_t expected = 0;
    for (size_t i = 0; i < f->count; i++) {
        bool is_match = is_bound[i] && naive_topic(f->bindings[i]->key, key);
        size_t times = 0;
        for (size_t k = 0; k < found.count; k++)
            times += found.items[k] == f->bindings[i];
        LV_ASSERT(times == is_match);
        expected += is_match;
    }
    LV_ASSERT(found.count == expected);
    binding_set_fini(&found);
}

static void
keep(struct fuzz *f)
{
    for (size_t i = 0; i < f->retired_count; i++)
        pmap_retired_free(f->retired[i]);
    f->retired_count = 0;
    f->kept = f->router;
    memcpy(f->was_bound, f->is_bound, sizeof f->is_bound);
}

static void
change(struct fuzz *f, size_t idx, bool is_bind)
{
    if (f->retired_count == RETIRED_MAX)
        keep(f);
    struct pmap_edit e;
    pmap_edit_begin(&e);
    if (is_bind)
        LV_ASSERT(router_bind(&f->router, &e, f->bindings[idx]) == !f->is_bound[idx]);
    else
        LV_ASSERT(router_unbind(&f->router, &e, f->bindings[idx]) ==
                  (f->is_bound[idx] ? f->bindings[idx] : NULL));
    f->is_bound[idx] = is_bind;
    f->retired[f->retired_count++] = pmap_edit_end(&e);
}

static void
bind_pattern(struct fuzz *f, struct slice pattern)
{
    size_t idx = 0;
    while (idx < f->count && !slice_eq(f->bindings[idx]->key, pattern))
        idx++;
    if (idx == PATTERNS_MAX)
        return;
    if (idx == f->count) {
        f->bindings[idx] = binding_new(
            &(struct binding_args){.source_id = 1, .dest_id = 1, .queue = &f->queue, .key = pattern});
        LV_ASSERT(f->bindings[idx] != NULL);
        f->count++;
    }
    change(f, idx, true);
}

static void
operate(struct fuzz *f, uint8_t kind, struct slice text)
{
    switch (kind % 8) {
    case 0:
    case 1:
    case 2: bind_pattern(f, text); break;
    case 3:
        if (f->count > 0 && text.len > 0)
            change(f, text.ptr[0] % f->count, false);
        break;
    case 4: keep(f); break;
    case 5: compare(f, &f->kept, f->was_bound, text); break;
    default: compare(f, &f->router, f->is_bound, text); break;
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char alphabet[] = "a.b.#.*."; // dots often, so that there are words
    struct fuzz f = {.queue = {.id = 1}, .scratch = router_scratch_new()};
    LV_ASSERT(f.scratch != NULL);
    router_init(&f.router, EXCHANGE_TOPIC);
    f.kept = f.router;
    uint8_t text[255];
    for (unsigned n = 0; size >= 2 && n < OPERATIONS_MAX; n++) {
        uint8_t kind = data[0];
        size_t len = LV_MIN((size_t)data[1], size - 2);
        for (size_t i = 0; i < len; i++)
            text[i] = (kind & 0x80) != 0 ? data[2 + i] : (uint8_t)alphabet[data[2 + i] % 8];
        operate(&f, kind, slice_of(text, len));
        data += 2 + len;
        size -= 2 + len;
    }
    keep(&f);
    struct pmap_edit e;
    pmap_edit_begin(&e);
    router_clear(&f.router, &e);
    pmap_retired_free(pmap_edit_end(&e));
    for (size_t i = 0; i < f.count; i++)
        binding_free(f.bindings[i]);
    router_scratch_free(f.scratch);
    return 0;
}
