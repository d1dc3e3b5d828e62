// test_perf_verify_check.c: the checker says what is lost, doubled, foreign or out of order, and nothing else; messages know
// themselves.
#include "perf_test.h"

#include "src/cli/perf_verify.h"

static struct verify_checker *checker;
static const struct verify_head head = {.run = 7, .producers = 2, .queues = 1, .pattern = "q"};

static int
setup(void **state)
{
    checker = verify_checker_new(&head);
    return 0;
}

static int
teardown(void **state)
{
    verify_checker_free(checker);
    return 0;
}

static int
add(enum verify_fact_kind kind, uint32_t producer, uint64_t first, uint64_t last)
{
    return verify_checker_add(
        checker, &(struct verify_fact){.kind = kind, .producer = producer, .first = first, .last = last});
}

static void
sent(uint32_t producer, uint64_t last)
{
    assert_int_equal(add(FACT_SENT, producer, 0, last), 0);
}

static void
received(uint32_t producer, uint64_t first, uint64_t last)
{
    assert_int_equal(add(FACT_RECEIVED, producer, first, last), 0);
}

static void
received_again(uint32_t producer, uint64_t first, uint64_t last)
{
    struct verify_fact f = {
        .kind = FACT_RECEIVED, .producer = producer, .first = first, .last = last, .is_redelivered = true};
    assert_int_equal(verify_checker_add(checker, &f), 0);
}

static struct verify_found
finish(const char *example)
{
    struct verify_found found;
    struct buf examples = BUF_INIT;
    verify_checker_finish(checker, &found, &examples);
    if (example == NULL)
        assert_string_equal(buf_cstr(&examples), "");
    else if (strstr(buf_cstr(&examples), example) == NULL)
        fail_msg("'%s' does not contain '%s'", buf_cstr(&examples), example);
    buf_fini(&examples);
    return found;
}

static bool
is_good(const struct verify_found *f)
{
    return f->lost + f->duplicated_unexplained + f->corrupted + f->unexpected + f->out_of_order == 0;
}

static void
all_there(void **state)
{
    sent(0, 10);
    sent(1, 5);
    assert_int_equal(add(FACT_CONFIRMED, 0, 1, 10), 0);
    assert_int_equal(add(FACT_CONFIRMED, 1, 1, 5), 0);
    received(1, 1, 2);
    received(0, 1, 10);
    received(1, 3, 5);
    struct verify_found f = finish(NULL);
    assert_true(is_good(&f));
    assert_true(f.sent == 15 && f.confirmed == 15 && f.received == 15 && f.in_doubt_received == 0);
}

static void
a_confirmed_one_that_never_comes_is_lost(void **state)
{
    sent(0, 10);
    assert_int_equal(add(FACT_CONFIRMED, 0, 1, 9), 0);
    received(0, 1, 4);
    received(0, 6, 9);
    struct verify_found f = finish("LOST, it was confirmed: message 5 of producer 0");
    assert_true(f.lost == 1 && f.out_of_order == 0 && f.received == 8);
}

static void
one_in_doubt_may_come_or_not(void **state)
{
    sent(0, 4);
    assert_int_equal(add(FACT_CONFIRMED, 0, 1, 2), 0);
    assert_int_equal(add(FACT_NACKED, 0, 3, 3), 0);
    received(0, 1, 3);
    struct verify_found f = finish(NULL);
    assert_true(is_good(&f));
    assert_true(f.in_doubt_received == 1 && f.nacked == 1 && f.confirmed == 2);
}

static void
duplicates_are_explained_by_the_flag(void **state)
{
    sent(0, 3);
    received(0, 1, 3);
    received_again(0, 2, 3);
    struct verify_found f = finish(NULL);
    assert_true(is_good(&f) && f.duplicated_redelivered == 2);
}

static void
duplicates_as_if_new_are_bad(void **state)
{
    sent(0, 3);
    received(0, 1, 3);
    received(0, 2, 2);
    struct verify_found f = finish("came again as if new: message 2 of producer 0");
    assert_true(f.duplicated_unexplained == 1 && f.duplicated_redelivered == 0 && f.out_of_order == 0);
}

static void
what_was_never_sent_is_unexpected(void **state)
{
    sent(0, 3);
    received(0, 4, 4);
    received(1, 1, 1);
    received(9, 1, 1); // no such producer
    assert_int_equal(add(FACT_UNEXPECTED, 0, 0, 0), 0);
    struct verify_found f = finish("was never sent: message 4 of producer 0");
    assert_true(f.unexpected == 4 && f.received == 0);
}

static void
what_is_damaged_is_counted(void **state)
{
    assert_int_equal(add(FACT_CORRUPTED, 0, 0, 0), 0);
    struct verify_found f = finish(NULL);
    assert_int_equal(f.corrupted, 1);
}

static void
each_number_has_one_queue(void **state)
{
    struct verify_head two = {.producers = 1, .queues = 2};
    verify_checker_free(checker);
    checker = verify_checker_new(&two);
    sent(0, 4);
    // Of producer 0 the even ones go to queue 0, the odd ones to queue 1.
    struct verify_fact f = {.kind = FACT_RECEIVED, .queue = 0, .first = 2, .last = 2};
    assert_int_equal(verify_checker_add(checker, &f), 0);
    f.first = f.last = 1;
    assert_int_equal(verify_checker_add(checker, &f), 0);
    struct verify_found found = finish("came out of the wrong queue: message 1 of producer 0");
    assert_true(found.unexpected == 1 && found.received == 1);
}

static void
order_is_that_of_first_receptions(void **state)
{
    sent(0, 6);
    received(0, 2, 2);
    received(0, 1, 1);
    received(0, 3, 3);
    struct verify_found f = finish("came behind a later one: message 1 of producer 0");
    assert_int_equal(f.out_of_order, 1);
}

static void
a_redelivered_one_may_come_late_while_others_consume(void **state)
{
    sent(0, 6);
    received(0, 3, 4);
    received_again(0, 1, 2); // their first delivery went to a connection that broke
    received(0, 5, 5);
    struct verify_found f = finish(NULL);
    assert_true(is_good(&f));
}

static void
while_draining_all_are_in_order(void **state)
{
    sent(0, 6);
    received(0, 5, 5); // live
    struct verify_fact drain = {.kind = FACT_DRAIN};
    assert_int_equal(verify_checker_add(checker, &drain), 0);
    received_again(0, 1, 2); // may be older than what came live
    received_again(0, 4, 4);
    received_again(0, 3, 3);
    struct verify_found f = finish("came behind a later one: message 3 of producer 0");
    assert_int_equal(f.out_of_order, 1);
}

static void
impossible_facts_are_refused(void **state)
{
    sent(0, 3);
    assert_int_equal(add(FACT_SENT, 2, 0, 1), -LE_LIMIT);
    assert_int_equal(add(FACT_SENT, 0, 0, VERIFY_SEQUENCE_MAX + 1), -LE_LIMIT);
    assert_int_equal(add(FACT_CONFIRMED, 0, 1, 4), -LE_LIMIT); // more than was sent
    assert_int_equal(add(FACT_CONFIRMED, 0, 0, 1), -LE_LIMIT);
    assert_int_equal(add(FACT_CONFIRMED, 0, 3, 2), -LE_LIMIT);
    assert_int_equal(add(FACT_RECEIVED, 0, 0, 1), -LE_LIMIT);
    assert_int_equal(add(FACT_RECEIVED, 0, 1, UINT64_MAX), -LE_LIMIT);
    struct verify_fact f = {.kind = FACT_CORRUPTED, .queue = 1};
    assert_int_equal(verify_checker_add(checker, &f), -LE_LIMIT);
    sent(0, 2); // says less than is known
    struct verify_found found = finish(NULL);
    assert_int_equal(found.sent, 3);
}

static void
examples_end_somewhere(void **state)
{
    sent(0, 1000);
    assert_int_equal(add(FACT_CONFIRMED, 0, 1, 1000), 0);
    struct verify_found found;
    struct buf examples = BUF_INIT;
    verify_checker_finish(checker, &found, &examples);
    assert_int_equal(found.lost, 1000);
    size_t lines = 0;
    for (size_t i = 0; i < examples.len; i++)
        lines += examples.ptr[i] == '\n';
    assert_int_equal(lines, VERIFY_EXAMPLES_MAX);
    buf_fini(&examples);
}

static void
messages_know_themselves(void **state)
{
    struct verify_message m = {.run = 1, .producer = 2, .queue = 3, .sequence = 4}, got;
    uint8_t *body = malloc(100);
    verify_message_encode(&m, body, 100);
    assert_int_equal(verify_message_decode(slice_of(body, 100), &got), 0);
    assert_memory_equal(&m, &got, sizeof m);
    // Each bit counts, and so does the length.
    for (size_t bit = 0; bit < 800; bit++) {
        body[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(verify_message_decode(slice_of(body, 100), &got), -LE_CORRUPT);
        body[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    for (size_t len = 8; len < 100; len++)
        assert_int_equal(verify_message_decode(slice_of(body, len), &got), -LE_CORRUPT);
    assert_int_equal(verify_message_decode(SLICE_EMPTY, &got), -LE_NOTFOUND);
    assert_int_equal(
        verify_message_decode(SLICE_LIT("somebody else's message, longer than forty bytes"), &got),
        -LE_NOTFOUND);
    free(body);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(all_there, setup, teardown),
        cmocka_unit_test_setup_teardown(a_confirmed_one_that_never_comes_is_lost, setup, teardown),
        cmocka_unit_test_setup_teardown(one_in_doubt_may_come_or_not, setup, teardown),
        cmocka_unit_test_setup_teardown(duplicates_are_explained_by_the_flag, setup, teardown),
        cmocka_unit_test_setup_teardown(duplicates_as_if_new_are_bad, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_never_sent_is_unexpected, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_damaged_is_counted, setup, teardown),
        cmocka_unit_test_setup_teardown(each_number_has_one_queue, setup, teardown),
        cmocka_unit_test_setup_teardown(order_is_that_of_first_receptions, setup, teardown),
        cmocka_unit_test_setup_teardown(a_redelivered_one_may_come_late_while_others_consume, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(while_draining_all_are_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(impossible_facts_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(examples_end_somewhere, setup, teardown),
        cmocka_unit_test(messages_know_themselves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
