// fuzz_policy.c: the JSON of a policy, from the text to its effect on a queue.
//
// Input: one byte that says of which kind, then the JSON text. What must hold: a refusal has a text that begins as RabbitMQ's do; a
// policy that is taken is written as JSON that is taken again and then written the same; matched against some names and merged
// with itself it comes to itself.
#include <jansson.h>
#include <stdlib.h>

#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/broker/queue_settings.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check(bool is_good)
{
    if (!is_good)
        abort();
}

static struct policy *
again(enum policy_kind kind, struct slice json)
{
    struct policy *p = NULL;
    struct buf reason = BUF_INIT;
    struct policy_args args = {.kind = kind, .vhost = SLICE_LIT("v"), .name = SLICE_LIT("n"), .json = json};
    check(policy_new(&args, &p, &reason) == 0 && reason.len == 0);
    return p;
}

static void
check_written(const struct policy *p)
{
    struct buf first = BUF_INIT, second = BUF_INIT, whole = BUF_INIT;
    policy_put_value(&first, p);
    struct policy *copy = again(p->kind, buf_slice(&first));
    policy_put_value(&second, copy);
    check(slice_eq(buf_slice(&first), buf_slice(&second)));
    check(copy->targets == p->targets && copy->value_count == p->value_count && p->value_count > 0);
    policy_put_json(&whole, p);
    json_t *json = json_loadb((const char *)whole.ptr, whole.len, JSON_REJECT_DUPLICATES, NULL);
    check(json_is_object(json) && json_object_size(json) == 6);
    json_decref(json);
    policy_free(copy);
    buf_fini(&first);
    buf_fini(&second);
    buf_fini(&whole);
}

static void
check_effect(const struct policy *p)
{
    static const char *const names[] = {"", "a", "amq.topic", "orders.eu.1",
                                        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
    struct policy_list *l = policy_list_with(NULL, NULL, p);
    struct policy_matcher *m = policy_matcher_new();
    struct buf alone = BUF_INIT, merged = BUF_INIT;
    const struct policy_list *const once[] = {l, NULL}, *const twice[] = {l, l};
    for (size_t i = 0; i < LV_ARRAY_LEN(names) * 4; i++) {
        enum policy_object object = (enum policy_object)(i % 4);
        struct policy_pair pair = policy_match(once, m, object, slice_str(names[i / 4])),
                           both = policy_match(twice, m, object, slice_str(names[i / 4]));
        check(pair.of[0] == NULL || (pair.of[0] == p && (p->targets >> object & 1) != 0));
        check(both.of[0] == pair.of[0] && both.of[1] == pair.of[0] && pair.of[1] == NULL);
        buf_reset(&alone);
        buf_reset(&merged);
        policy_effective_put(&alone, &pair);
        policy_effective_put(&merged, &both);
        check(slice_eq(buf_slice(&alone), buf_slice(&merged)));
        struct queue_def def = {.type = (enum queue_type)(i % 3), .name = slice_str(names[i / 4])};
        mem_free(queue_settings_rules(&def, &both));
    }
    buf_fini(&alone);
    buf_fini(&merged);
    policy_matcher_free(m);
    mem_free(l);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool is_quiet;
    struct policy *p = NULL;
    struct buf reason = BUF_INIT;
    if (size == 0)
        return 0;
    if (!is_quiet) { // matches that are given up are told
        struct log_config quiet = {.console_level = LOG_NONE, .file_level = LOG_NONE};
        check(log_configure(&quiet) == 0);
        is_quiet = true;
    }
    // In a block of exactly its size, so that a byte too far is found.
    uint8_t *text = mem_xalloc(size);
    memcpy(text, data + 1, size - 1);
    struct policy_args args = {.kind = (enum policy_kind)(data[0] & 1),
                               .vhost = SLICE_LIT("v"),
                               .name = SLICE_LIT("n"),
                               .json = slice_of(text, size - 1)};
    int result = policy_new(&args, &p, &reason);
    check(result == 0 ? p != NULL && reason.len == 0 : result == -LE_INVAL && p == NULL);
    if (result < 0)
        check(strncmp(buf_cstr(&reason), "Validation failed\n\n", 19) == 0 ||
              strncmp(buf_cstr(&reason), "Could not parse JSON", 20) == 0);
    if (p != NULL) {
        check_written(p);
        check_effect(p);
    }
    policy_free(p);
    buf_fini(&reason);
    mem_free(text);
    return 0;
}
