// Headers exchanges: RabbitMQ 3.10.8's rules case by case, and random tables against the naive matcher.
#include "tests/unit/exchange/naive.h"
#include "tests/unit/exchange/support.h"

enum { BINDINGS_MAX = 80 };

static struct queue_def *queue;

static int
setup(void **state)
{
    queue = queue_make(1, 0, "q");
    return 0;
}

static int
teardown(void **state)
{
    mem_free(queue);
    return 0;
}

static bool
matches(const struct buf *arguments, const struct buf *headers)
{
    struct router r;
    router_init(&r, EXCHANGE_HEADERS);
    struct binding *b = binding_make(1, queue, SLICE_EMPTY, buf_slice(arguments));
    assert_true(bind_now(&r, b));
    struct router_scratch *scratch = router_scratch_new();
    LV_CLEANUP(binding_set_fini) struct binding_set found = {0};
    assert_int_equal(router_match(&r, scratch, SLICE_LIT("ignored"), buf_slice(headers), &found), 0);
    assert_true(found.count <= 1);
    assert_int_equal(found.count == 1, naive_headers(buf_slice(arguments), buf_slice(headers)));
    router_scratch_free(scratch);
    assert_ptr_equal(unbind_now(&r, b), b);
    assert_null(r.by_key.root);
    binding_free(b);
    return found.count == 1;
}

// Text to a table: "k=5 k=-2L k='text' k=void k=1.5d k=true", separated by spaces; good enough for these
// tests.
static struct buf
table_of(const char *text)
{
    struct buf buf = BUF_INIT;
    struct table_writer w = table_writer_of(&buf);
    while (*text != 0) {
        size_t len = strcspn(text, " ");
        const char *eq = memchr(text, '=', len);
        struct slice key = slice_of(text, (size_t)(eq - text)),
                     value = slice_of(eq + 1, len - (size_t)(eq + 1 - text));
        char last = value.len != 0 ? (char)value.ptr[value.len - 1] : 0;
        struct field f = {.type = FIELD_VOID};
        if (slice_eq_str(value, "void"))
            f.type = FIELD_VOID;
        else if (slice_eq_str(value, "true") || slice_eq_str(value, "false"))
            f = field_bool(value.ptr[0] == 't');
        else if (last == '\'')
            f = field_longstr(slice_of(value.ptr + 1, value.len - 2));
        else if (last == 'd')
            f = (struct field){.type = FIELD_DOUBLE, .f64 = strtod(eq + 1, NULL)};
        else if (last == 'f')
            f = (struct field){.type = FIELD_FLOAT, .f64 = strtod(eq + 1, NULL)};
        else if (last == 'T')
            f = field_timestamp(strtoull(eq + 1, NULL, 10));
        else if (last == 'x')
            f = (struct field){.type = FIELD_BINARY, .bytes = slice_of(value.ptr, value.len - 1)};
        else
            f = (struct field){.type = last == 'l' || last == 'b' || last == 's' ? (uint8_t)last : FIELD_I32,
                               .i64 = strtoll(eq + 1, NULL, 10)};
        table_put(&w, key, &f);
        text += len + (text[len] == ' ');
    }
    assert_false(buf.failed);
    return buf;
}

struct header_case {
    const char *arguments, *headers;
    bool is_match;
};

static void
run_cases(const struct header_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        LV_CLEANUP(buf_fini) struct buf arguments = table_of(cases[i].arguments);
        LV_CLEANUP(buf_fini) struct buf headers = table_of(cases[i].headers);
        if (matches(&arguments, &headers) != cases[i].is_match)
            fail_msg("[%s] and [%s]: expected %d", cases[i].arguments, cases[i].headers, cases[i].is_match);
    }
}

static void
four_modes(void **state)
{
    static const struct header_case cases[] = {
        {"x-match='all' a=1 b=2", "a=1 b=2 c=3", true},
        {"x-match='all' a=1 b=2", "a=1", false},
        {"x-match='all' a=1 b=2", "a=1 b=3", false},
        {"a=1 b=2", "b=2 a=1", true}, // absent is all
        {"a=1 b=2", "b=2", false},
        {"x-match='any' a=1 b=2", "b=2", true},
        {"x-match='any' a=1 b=2", "a=2 b=1", false},
        {"x-match='any' a=1 b=2", "a=1 b=2", true},
        {"x-match='any' a=1 b=2 c=3 d=4 e=5 f=6", "f=6", true},
        {"x-match='any' a=1 b=2 c=3 d=4 e=5 f=6", "f=5", false},
        {"x-match='all' a=1 b=2 c=3 d=4 e=5 f=6", "a=1 b=2 c=3 d=4 e=5 f=6", true},
        {"x-match='all' a=1 b=2 c=3 d=4 e=5 f=6", "a=1 b=2 c=3 d=4 e=5 f=7", false},
        {"x-match='all' a=1 x-b=2", "a=1", true}, // x- is not looked at
        {"x-match='any' x-b=2", "x-b=2", false},
        {"x-match='any' a=1 x-b=2", "x-b=2", false},
        {"x-match='all-with-x' a=1 x-b=2", "a=1", false},
        {"x-match='all-with-x' a=1 x-b=2", "a=1 x-b=2", true},
        {"x-match='any-with-x' a=1 x-b=2", "x-b=2", true},
        {"x-match='any-with-x' a=1 x-b=2", "x-b=3", false},
        {"x-match='any-with-x'", "x-match='any-with-x'", false}, // never itself compared
        {"x-match='all-with-x'", "a=1", true},
        {"x-match='nonsense' a=1 b=1", "a=1", false}, // taken for all
        {"x-match=5 a=1", "a=1", true},
    };
    run_cases(cases, LV_ARRAY_LEN(cases));
}

static void
empty_rules(void **state)
{
    static const struct header_case cases[] = {
        {"", "", true},
        {"", "a=1", true},
        {"x-match='all'", "", true},
        {"x-match='all' x-a=1", "", true},
        {"x-match='any'", "", false},
        {"x-match='any'", "a=1", false},
        {"x-match='any-with-x'", "a=1", false},
        {"a=1", "", false},
        {"x-match='any' a=1", "", false},
    };
    run_cases(cases, LV_ARRAY_LEN(cases));
}

static void
values(void **state)
{
    static const struct header_case cases[] = {
        {"a=void", "a=1", true}, // presence
        {"a=void", "a=void", true},
        {"a=void", "b=1", false},
        {"x-match='any' a=void b=1", "a='z'", true},
        {"a=1", "a=void", false},
        {"a=5", "a=5l", true}, // any width
        {"a=5b", "a=5s", true},
        {"a=-5b", "a=-5l", true},
        {"a=5", "a=6l", false},
        {"a=5", "a=5T", true}, // Erlang's == does not see the type
        {"a=5", "a=5.0d", true},
        {"a=5.0f", "a=5l", true},
        {"a=5.5d", "a=5.5f", true},
        {"a=0", "a=-0.0d", true},
        {"a=9007199254740993l", "a=9007199254740992d", false}, // 2^53 + 1, exactly
        {"a=9223372036854775807l", "a=9223372036854775808d", false},
        {"a=-1l", "a=18446744073709551615T", false},
        {"a=18446744073709551615T", "a=18446744073709551616d", false},
        {"a=9223372036854775808T", "a=9223372036854775808d", true},
        {"a='t'", "a=tx", true}, // longstr and binary
        {"a='t'", "a='T'", false},
        {"a=''", "a=''", true},
        {"a=1", "a='1'", false},
        {"a=true", "a=true", true},
        {"a=true", "a=false", false},
        {"a=true", "a=1", false},
        {"a=1 a=2", "a=1 a=2", true}, // the n-th with the n-th
        {"a=1 a=2", "a=1", false},
        {"a=1 a=2", "a=2 a=1", false},
        {"a=1", "a=1 a=2", true},
        {"a=1", "a=2 a=1", false},
        {"x-match='any' a=1 a=2", "a=2", false},
        {"x-match='any' a=1 a=2", "a=5 a=2", true},
        {"x-match='any' a=1 a=1", "a=1 a=1 a=1", true},
        {"A=1", "a=1", false},
    };
    run_cases(cases, LV_ARRAY_LEN(cases));
}

static void
tables_and_arrays(void **state)
{
    LV_CLEANUP(buf_fini) struct buf inner = table_of("p=1 q='two'");
    LV_CLEANUP(buf_fini) struct buf inner_other = table_of("p=1 q='three'");
    LV_CLEANUP(buf_fini) struct buf arguments = BUF_INIT;
    LV_CLEANUP(buf_fini) struct buf same = BUF_INIT;
    LV_CLEANUP(buf_fini) struct buf other = BUF_INIT;
    struct table_writer w = table_writer_of(&arguments);
    table_put_table(&w, SLICE_LIT("t"), buf_slice(&inner));
    w = table_writer_of(&same);
    table_put_table(&w, SLICE_LIT("t"), buf_slice(&inner));
    w = table_writer_of(&other);
    table_put_table(&w, SLICE_LIT("t"), buf_slice(&inner_other));
    assert_true(matches(&arguments, &same));
    assert_false(matches(&arguments, &other));
    struct field decimal = {.type = FIELD_DECIMAL, .decimal = {2, 314}};
    w = table_writer_of(&arguments);
    table_put(&w, SLICE_LIT("d"), &decimal);
    w = table_writer_of(&same);
    table_put(&w, SLICE_LIT("d"), &decimal);
    assert_true(matches(&arguments, &same));
    decimal.decimal.scale = 1;
    w = table_writer_of(&other);
    table_put(&w, SLICE_LIT("d"), &decimal);
    assert_false(matches(&arguments, &other));
}

static struct slice
random_table(struct rng *rng, struct buf *buf, bool is_rule)
{
    static const char *const modes[] = {"all", "any", "all-with-x", "any-with-x", "other"};
    static const char *const keys[] = {"a", "b", "c", "d", "e", "x-a", "x-b", "x-match2", "aa", ""};
    buf_reset(buf);
    struct table_writer w = table_writer_of(buf);
    uint64_t mode_at = rng_below(rng, 4), entries = rng_below(rng, rng_below(rng, 10) == 0 ? 40 : 7);
    for (uint64_t n = 0; n < entries; n++) {
        if (is_rule && n == mode_at)
            table_put_str(&w, SLICE_LIT("x-match"), modes[rng_below(rng, LV_ARRAY_LEN(modes))]);
        struct slice key = slice_str(keys[rng_below(rng, LV_ARRAY_LEN(keys))]);
        struct field f = {.type = FIELD_VOID};
        switch (rng_below(rng, 7)) {
        case 0: f = field_i32((int32_t)rng_below(rng, 2)); break;
        case 1: f = field_i64((int64_t)rng_below(rng, 2)); break;
        case 2: f = field_longstr(slice_of("ab", rng_below(rng, 3))); break;
        case 3: f = (struct field){.type = FIELD_DOUBLE, .f64 = (double)rng_below(rng, 3) / 2}; break;
        case 4: f = field_timestamp(rng_below(rng, 2)); break;
        case 5: f = field_bool(rng_below(rng, 2)); break;
        default: break;
        }
        table_put(&w, key, &f);
    }
    assert_false(buf->failed);
    return buf_slice(buf);
}

static void
compare(const struct router *r, struct binding **bs, size_t count, struct slice headers,
        struct router_scratch *scratch)
{
    LV_CLEANUP(binding_set_fini) struct binding_set found = {0};
    assert_int_equal(router_match(r, scratch, SLICE_EMPTY, headers, &found), 0);
    size_t expected = 0;
    for (size_t i = 0; i < count; i++) {
        bool is_match = bs[i] != NULL && naive_headers(bs[i]->arguments, headers);
        expected += is_match;
        if (bs[i] != NULL)
            assert_int_equal(set_has(&found, bs[i]), is_match);
    }
    assert_int_equal(found.count, expected); // each once
}

static void
random_tables_against_naive(void **state)
{
    struct router_scratch *scratch = router_scratch_new();
    LV_CLEANUP(buf_fini) struct buf buf = BUF_INIT;
    for (uint64_t seed = 1; seed <= 100; seed++) {
        struct rng rng;
        rng_init(&rng, seed);
        struct router r;
        router_init(&r, EXCHANGE_HEADERS);
        struct binding *bs[BINDINGS_MAX] = {0};
        size_t count = 0;
        for (uint64_t n = 1 + rng_below(&rng, BINDINGS_MAX - 1); n > 0; n--) {
            struct binding *b = binding_make(1, queue, SLICE_EMPTY, random_table(&rng, &buf, true));
            if (bind_now(&r, b))
                bs[count++] = b;
            else
                binding_free(b);
        }
        for (int round = 0; round < 2; round++) {
            for (int n = 0; n < 40; n++)
                compare(&r, bs, count, random_table(&rng, &buf, false), scratch);
            for (size_t i = 0; i < count; i++) {
                if (bs[i] == NULL || rng_below(&rng, 2) == 0)
                    continue;
                assert_ptr_equal(unbind_now(&r, bs[i]), bs[i]);
                binding_free(bs[i]);
                bs[i] = NULL;
            }
        }
        clear_now(&r);
        for (size_t i = 0; i < count; i++)
            binding_free(bs[i]);
    }
    router_scratch_free(scratch);
}

// Among many "all" rules a message is compared with those of its own value only; the group is chosen as
// bindings come.
static void
large_sets_are_grouped(void **state)
{
    enum { CUSTOMERS = 3000 };
    struct router r;
    router_init(&r, EXCHANGE_HEADERS);
    struct binding **bs = mem_xcalloc(CUSTOMERS, sizeof *bs);
    LV_CLEANUP(buf_fini) struct buf buf = BUF_INIT;
    for (int32_t i = 0; i < CUSTOMERS; i++) {
        buf_reset(&buf);
        struct table_writer w = table_writer_of(&buf);
        table_put_str(&w, SLICE_LIT("a-type"), "order");
        table_put_i32(&w, SLICE_LIT("customer"), i);
        bs[i] = binding_make(1, queue, SLICE_EMPTY, buf_slice(&buf));
        assert_true(bind_now(&r, bs[i]));
    }
    assert_true(r.by_key.count > CUSTOMERS * 9 / 10); // groups
    struct router_scratch *scratch = router_scratch_new();
    for (int32_t i = 0; i < CUSTOMERS; i += 100) {
        buf_reset(&buf);
        struct table_writer w = table_writer_of(&buf);
        table_put_i64(&w, SLICE_LIT("customer"), i);
        table_put_str(&w, SLICE_LIT("a-type"), "order");
        LV_CLEANUP(binding_set_fini) struct binding_set found = {0};
        assert_int_equal(router_match(&r, scratch, SLICE_EMPTY, buf_slice(&buf), &found), 0);
        assert_int_equal(found.count, 1);
        assert_ptr_equal(found.items[0], bs[i]);
    }
    router_scratch_free(scratch);
    clear_now(&r);
    for (int32_t i = 0; i < CUSTOMERS; i++)
        binding_free(bs[i]);
    mem_free(bs);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(four_modes),
        cmocka_unit_test(empty_rules),
        cmocka_unit_test(values),
        cmocka_unit_test(tables_and_arrays),
        cmocka_unit_test(random_tables_against_naive),
        cmocka_unit_test(large_sets_are_grouped),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
