// One ring: order through spill, publication, weights, draining from inside a handler, and two threads at
// full speed.
#include <pthread.h>
#include <sched.h>

#include "src/base/mailbox.h"
#include "src/base/rng.h"
#include "tests/unit/base/unit.h"

static uint64_t got[5000];
static size_t got_count;

static void
note(struct worker *to, void *payload)
{
    memcpy(&got[got_count++], payload, sizeof got[0]);
    for (size_t i = sizeof got[0]; i < MAIL_PAYLOAD_BYTES; i++)
        assert_int_equal(((uint8_t *)payload)[i], 0);
}

static void
push_number(struct mailbox *mb, uint64_t number)
{
    mailbox_push(mb, note, &number, sizeof number, 0);
}

static void
expect_got(uint64_t first, size_t count)
{
    assert_int_equal(got_count, count);
    for (size_t i = 0; i < count; i++)
        assert_true(got[i] == first + i);
    got_count = 0;
}

static void
test_nothing_is_seen_before_publish(void **state)
{
    struct mailbox *mb = mailbox_new(8);
    assert_false(mailbox_publish(mb));
    push_number(mb, 1);
    push_number(mb, 2);
    assert_false(mailbox_has_mail(mb));
    assert_int_equal(mailbox_drain(mb, NULL, 100), 0);
    assert_true(mailbox_can_progress(mb)); // unpublished mail
    assert_true(mailbox_publish(mb));      // it had nothing to read: wake
    assert_false(mailbox_can_progress(mb));
    assert_true(mailbox_has_mail(mb));
    push_number(mb, 3);
    assert_false(mailbox_publish(mb)); // it has mail already
    assert_int_equal(mailbox_drain(mb, NULL, 1), 1);
    assert_int_equal(mailbox_drain(mb, NULL, 100), 2);
    expect_got(1, 3);
    assert_false(mailbox_has_mail(mb));
    push_number(mb, 4);
    assert_true(mailbox_publish(mb));
    assert_int_equal(mailbox_drain(mb, NULL, 100), 1);
    expect_got(4, 1);
    mailbox_free(mb);
    mailbox_free(NULL);
}

static void
test_spill_keeps_order(void **state)
{
    struct mailbox *mb = mailbox_new(8);
    for (uint64_t i = 0; i < 3000; i++)
        push_number(mb, i);
    assert_int_equal(mailbox_spill_count(mb), 3000 - 8);
    assert_true(mailbox_is_congested(mb));
    assert_true(mailbox_publish(mb));
    assert_true(mailbox_is_sender_waiting(mb));
    assert_false(mailbox_can_progress(mb));
    uint64_t next = 3000;
    for (size_t done = 0; done < 3000 + 100;) {
        size_t n = mailbox_drain(mb, NULL, 3);
        done += n;
        assert_true(n > 0);
        assert_true(mailbox_can_progress(mb) || mailbox_spill_count(mb) == 0);
        if (next < 3100) // new ones line up behind the spill
            push_number(mb, next++);
        mailbox_publish(mb);
    }
    expect_got(0, 3100);
    assert_int_equal(mailbox_spill_count(mb), 0);
    assert_false(mailbox_is_congested(mb));
    assert_false(mailbox_is_sender_waiting(mb));
    // With the spill gone the ring is used again, and a spill left behind is freed with the box.
    for (uint64_t i = 0; i < 1000; i++)
        push_number(mb, i);
    assert_int_equal(mailbox_spill_count(mb), 992);
    mailbox_free(mb);
}

static void
test_spill_of_every_length(void **state)
{
    // Around the sizes of ring and block, filled and emptied again and again.
    struct mailbox *mb = mailbox_new(8);
    for (uint64_t count = 1; count < 600; count += count % 50 == 0 ? 7 : 1) {
        for (uint64_t i = 0; i < count; i++)
            push_number(mb, i);
        for (size_t done = 0; done < count;) {
            mailbox_publish(mb);
            done += mailbox_drain(mb, NULL, 8);
        }
        expect_got(0, count);
        mailbox_publish(mb);
        assert_int_equal(mailbox_spill_count(mb), 0);
    }
    mailbox_free(mb);
}

static void
test_weight_congests(void **state)
{
    struct mailbox *mb = mailbox_new(64);
    uint64_t number = 0;
    mailbox_push(mb, note, &number, sizeof number, MAILBOX_WEIGHT_MAX);
    assert_false(mailbox_is_congested(mb)); // as much as may be
    number = 1;
    mailbox_push(mb, note, &number, sizeof number, 1);
    assert_true(mailbox_is_congested(mb));
    mailbox_publish(mb);
    assert_true(mailbox_is_congested(mb));
    assert_true(mailbox_is_sender_waiting(mb));
    assert_false(mailbox_can_progress(mb));
    assert_int_equal(mailbox_drain(mb, NULL, 1), 1);
    assert_true(mailbox_can_progress(mb)); // the congestion has ended, publishers may be read
    assert_false(mailbox_is_congested(mb));
    mailbox_publish(mb);
    assert_false(mailbox_is_sender_waiting(mb));
    assert_int_equal(mailbox_drain(mb, NULL, 1), 1);
    expect_got(0, 2);
    mailbox_free(mb);
}

static struct mailbox *nested_box;

static void
note_and_drain(struct worker *to, void *payload)
{
    uint8_t copy[MAIL_PAYLOAD_BYTES];
    memcpy(copy, payload, sizeof copy);
    note(to, payload);
    assert_int_equal(mailbox_drain(nested_box, to, SIZE_MAX), 7);
    // The sender fills all the room there is: the slot in use must not be part of it.
    for (uint64_t i = 100; i < 108; i++)
        push_number(nested_box, i);
    mailbox_publish(nested_box);
    assert_memory_equal(copy, payload, sizeof copy);
}

static void
test_drain_inside_a_handler(void **state)
{
    struct mailbox *mb = mailbox_new(8);
    nested_box = mb;
    uint64_t number = 0;
    mailbox_push(mb, note_and_drain, &number, sizeof number, 0);
    for (uint64_t i = 1; i < 8; i++)
        push_number(mb, i);
    mailbox_publish(mb);
    assert_int_equal(mailbox_drain(mb, NULL, SIZE_MAX), 1); // and seven inside
    expect_got(0, 8);
    mailbox_publish(mb);
    assert_int_equal(mailbox_drain(mb, NULL, SIZE_MAX), 8);
    expect_got(100, 8);
    mailbox_free(mb);
}

enum { STREAM_MAILS = 300000 };

static struct mailbox *stream_box;
static uint64_t stream_next; // receiver

static void
check_stream(struct worker *to, void *payload)
{
    uint64_t numbers[6];
    memcpy(numbers, payload, sizeof numbers);
    for (int i = 0; i < 6; i++)
        assert_true(numbers[i] == stream_next + (uint64_t)i);
    stream_next++;
}

static void *
send_stream(void *arg)
{
    struct rng r;
    rng_init(&r, 3);
    for (uint64_t i = 0; i < STREAM_MAILS;) {
        if (mailbox_spill_count(stream_box) > 100) { // back-pressure, as a worker's
            mailbox_publish(stream_box);
            sched_yield();
            continue;
        }
        for (uint64_t batch = 1 + rng_below(&r, 40); batch > 0 && i < STREAM_MAILS; batch--, i++) {
            uint64_t numbers[6] = {i, i + 1, i + 2, i + 3, i + 4, i + 5};
            mailbox_push(stream_box, check_stream, numbers, sizeof numbers, i % 1000);
        }
        mailbox_publish(stream_box);
    }
    while (mailbox_spill_count(stream_box) > 0) {
        mailbox_publish(stream_box);
        sched_yield();
    }
    return NULL;
}

static void
test_two_threads(void **state)
{
    for (size_t capacity = 1; capacity <= 256; capacity *= 16) {
        stream_box = mailbox_new(capacity);
        stream_next = 0;
        pthread_t sender;
        assert_int_equal(pthread_create(&sender, NULL, send_stream, NULL), 0);
        while (stream_next < STREAM_MAILS) {
            if (mailbox_drain(stream_box, NULL, 100) == 0)
                sched_yield();
        }
        pthread_join(sender, NULL);
        assert_false(mailbox_is_congested(stream_box));
        mailbox_free(stream_box);
    }
}

static void
other(struct worker *to, void *payload)
{
    note(to, payload);
}

static void
drop(void *payload)
{
    note(NULL, payload);
}

// Mails of one kind are dropped wherever they are: handled up to some, published, not published, spilled over several blocks.
static void
test_discard(void **state)
{
    static const size_t counts[] = {0, 1, 5, 8, 9, 100, 262, 263, 264, 600};
    for (size_t n = 0; n < LV_ARRAY_LEN(counts); n++) {
        struct mailbox *mb = mailbox_new(8);
        uint64_t pushed = 0;
        for (size_t i = 0; i < counts[n]; i++) {
            if (i == 4) { // some are gone, and the ring has come round
                assert_true(mailbox_publish(mb));
                assert_int_equal(mailbox_drain(mb, NULL, 3), 3);
                got_count = 0;
            }
            bool is_other = i % 3 == 1;
            mailbox_push(mb, is_other ? other : note, &pushed, sizeof pushed, 0);
            pushed++;
        }
        size_t handled = counts[n] > 4 ? 3 : 0, dropped = 0, others = 0;
        mailbox_discard(mb, note, drop);
        for (uint64_t i = handled; i < pushed; i++)
            if (i % 3 != 1)
                assert_true(got[dropped++] == i);
        assert_int_equal(got_count, dropped);
        got_count = 0;
        mailbox_discard(mb, note, drop); // once
        assert_int_equal(got_count, 0);
        do {
            (void)mailbox_publish(mb);
            (void)mailbox_drain(mb, NULL, 1000);
        } while (mailbox_spill_count(mb) > 0 || mailbox_has_mail(mb));
        for (uint64_t i = handled; i < pushed; i++)
            if (i % 3 == 1)
                assert_true(got[others++] == i);
        assert_int_equal(got_count, others);
        got_count = 0;
        mailbox_free(mb);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_is_seen_before_publish),
        cmocka_unit_test(test_spill_keeps_order),
        cmocka_unit_test(test_spill_of_every_length),
        cmocka_unit_test(test_weight_congests),
        cmocka_unit_test(test_drain_inside_a_handler),
        cmocka_unit_test(test_two_threads),
        cmocka_unit_test(test_discard),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
