// fuzz_headers: rules of a headers exchange that come and go, and headers matched against them, compared with
// the naive matcher; tables of arbitrary bytes are only to do no harm.
//
// Input: operations, each a byte of kind, a byte of length and that many bytes: three for each entry of a
// table, or the table.
#include "exchange/router.h"
#include "src/base/mem.h"
#include "tests/unit/exchange/naive.h"

enum { RULES_MAX = 48, OPERATIONS_MAX = 400 };

struct fuzz {
    struct router router;
    struct binding *bindings[RULES_MAX];
    size_t count;
    struct router_scratch *scratch;
    struct queue_def queue;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct field
some_field(uint8_t type, uint8_t value)
{
    static const uint8_t types[] = {'t', 'b', 'B', 's', 'u', 'I', 'i', 'l',
                                    'L', 'f', 'd', 'D', 'T', 'S', 'x', 'V'};
    struct field f = {.type = types[type % 16]};
    if (f.type == FIELD_BOOL)
        f.i64 = value & 1;
    else if (f.type == FIELD_FLOAT || f.type == FIELD_DOUBLE)
        f.f64 = value % 8 == 7 ? 0x1p63 : (double)(value % 8) / 2;
    else if (f.type == FIELD_DECIMAL)
        f.decimal.value = value % 4;
    else if (f.type == FIELD_LONGSTR || f.type == FIELD_BINARY)
        f.bytes = slice_of("aab", value % 4);
    else if (f.type == FIELD_TIMESTAMP || f.type == FIELD_I64 || f.type == FIELD_I64_ALT)
        f.i64 = value % 8 == 7 ? INT64_MIN : value % 8 == 6 ? INT64_MAX : value % 8 == 5 ? -1 : value % 8;
    else
        f.i64 = value % 4;
    return f;
}

static void
some_table(struct buf *buf, struct slice bytes)
{
    static const char *const keys[] = {"a", "b", "c", "aa", "", "x-a", "x-", "d"};
    static const char *const modes[] = {"all", "any", "all-with-x", "any-with-x"};
    struct table_writer w = table_writer_of(buf);
    for (; bytes.len >= 3; bytes = slice_from(bytes, 3)) {
        if (bytes.ptr[0] >= 0xe0) {
            table_put_str(&w, SLICE_LIT("x-match"), modes[bytes.ptr[1] % 4]);
            continue;
        }
        struct field f = some_field(bytes.ptr[1], bytes.ptr[2]);
        table_put(&w, slice_str(keys[bytes.ptr[0] % 8]), &f);
    }
    LV_ASSERT(!buf->failed);
}

static struct binding *
rule_new(struct fuzz *f, struct slice arguments)
{
    struct binding *b = binding_new(
        &(struct binding_args){.source_id = 1, .dest_id = 1, .queue = &f->queue, .arguments = arguments});
    LV_ASSERT(b != NULL);
    return b;
}

static void
change(struct router *r, const struct binding *b, bool is_bind, const struct binding *expected)
{
    struct pmap_edit e;
    pmap_edit_begin(&e);
    if (is_bind)
        LV_ASSERT(router_bind(r, &e, b) == (expected != NULL));
    else
        LV_ASSERT(router_unbind(r, &e, b) == expected);
    pmap_retired_free(pmap_edit_end(&e));
}

static void
bind_rule(struct fuzz *f, struct slice arguments)
{
    struct binding *b = rule_new(f, arguments);
    bool is_new = f->count < RULES_MAX;
    for (size_t i = 0; i < f->count; i++)
        is_new = is_new && !binding_same(f->bindings[i], b);
    if (f->count < RULES_MAX)
        change(&f->router, b, true, is_new ? b : NULL);
    if (is_new)
        f->bindings[f->count++] = b;
    else
        binding_free(b);
}

static void
unbind_rule(struct fuzz *f, size_t idx)
{
    change(&f->router, f->bindings[idx], false, f->bindings[idx]);
    change(&f->router, f->bindings[idx], false, NULL);
    binding_free(f->bindings[idx]);
    f->bindings[idx] = f->bindings[--f->count];
}

static void
compare(struct fuzz *f, struct slice headers)
{
    struct binding_set found = {0};
    LV_ASSERT(router_match(&f->router, f->scratch, SLICE_EMPTY, headers, &found) == 0);
    bool is_valid = table_validate(headers, TABLE_DEPTH_MAX) == 0;
    size_t expected = 0;
    for (size_t i = 0; i < f->count && is_valid; i++) {
        bool is_match = naive_headers(f->bindings[i]->arguments, headers);
        size_t times = 0;
        for (size_t k = 0; k < found.count; k++)
            times += found.items[k] == f->bindings[i];
        LV_ASSERT(times == is_match);
        expected += is_match;
    }
    LV_ASSERT(!is_valid || found.count == expected);
    binding_set_fini(&found);
}

// A rule that nobody has checked, matched with itself and taken out again.
static void
try_raw_rule(struct fuzz *f, struct slice bytes)
{
    struct binding *b = rule_new(f, bytes);
    struct router r;
    struct binding_set found = {0};
    router_init(&r, EXCHANGE_HEADERS);
    change(&r, b, true, b);
    LV_ASSERT(router_match(&r, f->scratch, SLICE_EMPTY, bytes, &found) == 0 && found.count <= 1);
    change(&r, b, false, b);
    binding_set_fini(&found);
    binding_free(b);
}

static void
operate(struct fuzz *f, uint8_t kind, struct slice bytes)
{
    struct buf buf = BUF_INIT;
    some_table(&buf, bytes);
    switch (kind % 8) {
    case 0:
    case 1:
    case 2: bind_rule(f, buf_slice(&buf)); break;
    case 3:
        if (f->count > 0 && bytes.len > 0)
            unbind_rule(f, bytes.ptr[0] % f->count);
        break;
    case 4: try_raw_rule(f, bytes); break;
    case 5: compare(f, bytes); break;
    default: compare(f, buf_slice(&buf)); break;
    }
    buf_fini(&buf);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz f = {.queue = {.id = 1}, .scratch = router_scratch_new()};
    LV_ASSERT(f.scratch != NULL);
    router_init(&f.router, EXCHANGE_HEADERS);
    for (unsigned n = 0; size >= 2 && n < OPERATIONS_MAX; n++) {
        size_t len = LV_MIN((size_t)data[1], size - 2);
        operate(&f, data[0], slice_of(data + 2, len));
        data += 2 + len;
        size -= 2 + len;
    }
    while (f.count > 0)
        unbind_rule(&f, f.count - 1);
    LV_ASSERT(f.router.by_key.root == NULL);
    router_scratch_free(f.scratch);
    return 0;
}
