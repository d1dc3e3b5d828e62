// test_inspect.c: a look at directories that the log and the metadata store really wrote: it finds what was written, every planted damage and
// where it is, and leaves every byte, name and time as they were.
#include "inspect_dir.h"

#include "src/store/inspect.h"

static void
look(struct dir *d, struct inspect *i)
{
    struct buf problem = BUF_INIT;
    uint32_t before = trace_dir(d);
    assert_int_equal(inspect_open(i, io_system(), d->path, &problem), 0);
    assert_int_equal(problem.len, 0);
    assert_int_equal(inspect_measure(i), 0);
    assert_int_equal(inspect_check_contents(i), 0);
    assert_int_equal(trace_dir(d), before);
}

static const struct inspect_queue *
queue_of(const struct inspect *i, uint64_t id)
{
    for (size_t n = 0; n < i->queue_count; n++)
        if (i->queues[n].id == id)
            return &i->queues[n];
    fail_msg("no such queue");
    return NULL;
}

// A finding of that kind in a file whose name begins so; NULL.
static const struct inspect_finding *
finding(const struct inspect *i, bool is_damage, const char *file, const char *text)
{
    for (size_t n = 0; n < i->finding_count; n++)
        if (i->findings[n].is_damage == is_damage && strncmp(i->findings[n].file, file, strlen(file)) == 0 &&
            strstr(i->findings[n].text, text) != NULL)
            return &i->findings[n];
    return NULL;
}

// --- the tests ---

static void
what_was_written_is_found(void **state)
{
    struct dir d;
    struct inspect i;
    dir_make(&d);
    look(&d, &i);
    assert_int_equal(i.damage, 0);
    assert_int_equal(i.live.count, MESSAGES - 20 + 2);
    assert_int_equal(i.queue_count, 3);
    const struct inspect_queue *orders = queue_of(&i, QUEUE_ORDERS);
    assert_true(orders->is_known);
    assert_true(slice_eq_str(orders->name, "orders"));
    assert_int_equal(orders->live, MESSAGES - 20);
    assert_int_equal(orders->first_seq, 21);
    assert_int_equal(orders->last_seq, MESSAGES);
    assert_int_equal(orders->ring.messages, MESSAGES - 20);
    assert_int_equal(orders->ring.bytes, (MESSAGES - 20) * BODY);
    assert_int_equal(orders->unreadable, 0);
    assert_true(orders->oldest_ms == 1700000000000);
    const struct inspect_queue *mail = queue_of(&i, QUEUE_MAIL);
    assert_int_equal(mail->large.messages, 1);
    assert_int_equal(mail->large.bytes, LARGE_BYTES);
    assert_int_equal(mail->ring.messages, 0);
    assert_int_equal(i.large_files, 1);
    assert_int_equal(i.large_unused, 0);
    assert_false(queue_of(&i, QUEUE_GONE)->is_known);
    assert_non_null(finding(&i, false, "meta.sqlite", "queue 103 is not in the metadata"));
    uint64_t live_records = 0;
    for (size_t n = 0; n < i.segment_count; n++)
        live_records += i.segments[n].live_records;
    assert_int_equal(live_records, MESSAGES - 20 + 2);
    inspect_close(&i);
    dir_remove(&d);
}

struct seen {
    uint64_t next, count;
};

static int
see(void *ctx, const struct inspect_message *m)
{
    struct seen *s = ctx;
    assert_int_equal(m->result, 0);
    assert_int_equal(m->seq, s->next++);
    assert_true(slice_eq_str(m->content.exchange, "amq.topic"));
    assert_true(slice_eq_str(m->content.routing_key, "order.new"));
    assert_int_equal(m->content.properties.len, 3);
    assert_int_equal(m->content.body.len, BODY);
    assert_memory_equal(m->content.body.ptr, "abcdef", 6);
    s->count++;
    return m->seq == 44 ? 7 : 0;
}

static void
messages_come_by_number_and_stop_when_told(void **state)
{
    struct dir d;
    struct inspect i;
    dir_make(&d);
    look(&d, &i);
    struct seen s = {.next = 30};
    assert_int_equal(inspect_each_message(&i, queue_of(&i, QUEUE_ORDERS), 30, 41, see, &s), 0);
    assert_int_equal(s.count, 12);
    assert_int_equal(inspect_each_message(&i, queue_of(&i, QUEUE_ORDERS), 42, UINT64_MAX, see, &s), 7);
    assert_int_equal(s.count, 15);
    inspect_close(&i);
    dir_remove(&d);
}

static int
place_of(void *ctx, uint64_t queue, struct msglog_live_entry *e)
{
    struct msglog_live_entry *want = ctx;
    if (queue == QUEUE_ORDERS && e->seq == 40)
        *want = *e;
    return 0;
}

// Every byte of a message's record and of its group's header, one at a time: damage in that file, at or around that place.
static void
each_rotten_byte_of_a_record_is_found(void **state)
{
    struct dir d;
    struct inspect i;
    struct msglog_live_entry e = {0};
    char name[64];
    dir_make(&d);
    look(&d, &i);
    assert_int_equal(msglog_live_each(&i.live, UINT64_MAX, place_of, &e), 0);
    const struct segment *s = ring_find(&i.core->ring, e.place.file);
    snprintf(name, sizeof name, "log/%05u.seg", s->slot);
    inspect_close(&i);
    for (uint32_t at = e.place.offset - GROUP_HEADER_BYTES; at < e.place.offset + e.place.len; at++) {
        if (at >= e.place.offset - 12 && at < e.place.offset)
            continue; // reserved bytes of the group's header: covered by its checksum all the same, but one is enough
        flip(&d, name, at);
        look(&d, &i);
        const struct inspect_finding *f = finding(&i, true, name, "");
        assert_non_null(f);
        assert_true(f->offset <= at && (f->bytes == 0 || at < f->offset + f->bytes));
        inspect_close(&i);
        flip(&d, name, at);
    }
    look(&d, &i);
    assert_int_equal(i.damage, 0);
    inspect_close(&i);
    dir_remove(&d);
}

static void
a_large_body_that_rots_or_goes_is_found(void **state)
{
    static const char body[] = "large/0000000000000001.body";
    struct dir d;
    struct inspect i;
    char path[256];
    dir_make(&d);
    flip(&d, body, 5000);
    look(&d, &i);
    assert_non_null(
        finding(&i, true, body, "message 1 of queue 102 cannot be read: it is not what was written"));
    inspect_close(&i);
    flip(&d, body, 5000);
    entry_path(&d, body, path);
    assert_int_equal(truncate(path, 100), 0);
    look(&d, &i);
    assert_non_null(finding(&i, true, body, "it is not what was written"));
    inspect_close(&i);
    assert_int_equal(unlink(path), 0);
    look(&d, &i);
    assert_non_null(finding(&i, true, body, "it is not there"));
    inspect_close(&i);
    dir_remove(&d);
}

static void
a_segment_that_is_gone_is_missed(void **state)
{
    struct dir d;
    struct inspect i;
    char path[256], name[64];
    dir_make(&d);
    look(&d, &i);
    uint32_t slot = 0;
    for (size_t n = 0; n < i.segment_count; n++)
        if (i.segments[n].use == INSPECT_NEEDED) {
            slot = i.segments[n].slot;
            break; // the oldest
        }
    inspect_close(&i);
    snprintf(name, sizeof name, "log/%05u.seg", slot);
    entry_path(&d, name, path);
    assert_int_equal(unlink(path), 0);
    look(&d, &i);
    assert_non_null(finding(&i, true, "log", "missing"));
    inspect_close(&i);
    dir_remove(&d);
}

// A header that cannot be read is damage when what follows proves that it had been durable once.
static void
the_header_of_any_segment_is_missed(void **state)
{
    struct dir d;
    struct inspect i;
    uint32_t slots[SEGMENTS];
    size_t count = 0;
    dir_make(&d);
    look(&d, &i);
    for (size_t n = 0; n < i.segment_count; n++)
        if (i.segments[n].use == INSPECT_NEEDED)
            slots[count++] = i.segments[n].slot;
    inspect_close(&i);
    assert_true(count > 1);
    for (size_t n = 0; n < count; n++) {
        char name[64];
        snprintf(name, sizeof name, "log/%05u.seg", slots[n]);
        flip(&d, name, 100);
        look(&d, &i);
        assert_non_null(finding(&i, true, name, "header of the segment is not valid"));
        inspect_close(&i);
        flip(&d, name, 100);
    }
    dir_remove(&d);
}

static void
a_torn_end_is_no_damage(void **state)
{
    struct dir d;
    struct inspect i;
    char name[64];
    dir_make(&d);
    look(&d, &i);
    uint64_t end = 0;
    for (size_t n = 0; n < i.segment_count; n++)
        if (i.segments[n].use == INSPECT_NEEDED && i.segments[n].generation == i.core->ring.prev_generation) {
            snprintf(name, sizeof name, "log/%05u.seg", i.segments[n].slot);
            end = i.segments[n].end;
        }
    inspect_close(&i);
    flip(&d, name, (long)end - 400); // in the last group
    look(&d, &i);
    assert_int_equal(i.damage, 0);
    assert_non_null(finding(&i, false, "log", "were being written"));
    inspect_close(&i);
    dir_remove(&d);
}

static void
damaged_metadata_is_found(void **state)
{
    struct dir d;
    struct inspect i;
    dir_make(&d);
    for (long at = 4096; at < 4096 + 64; at += 8)
        flip(&d, "meta.sqlite", at); // the head of a page
    look(&d, &i);
    assert_non_null(finding(&i, true, "meta.sqlite", ""));
    inspect_close(&i);
    dir_remove(&d);
}

static void
ids_above_the_ceiling_are_damage(void **state)
{
    struct dir d;
    struct inspect i;
    dir_make(&d);
    open_log(&d);
    publish(&d, 900, 1, "k", 10);
    close_log(&d);
    look(&d, &i);
    assert_non_null(finding(&i, true, "meta.sqlite", "queue 900 lies above the highest id"));
    inspect_close(&i);
    dir_remove(&d);
}

// The last transactions of a store that was not closed are in its journal.
static void
the_journal_of_the_metadata_is_read(void **state)
{
    struct dir d;
    struct inspect i;
    struct meta *m;
    char *problem;
    dir_make(&d);
    assert_int_equal(meta_open(d.path, &m, &problem), 0);
    assert_int_equal(meta_begin(m), 0);
    put_queue(m, QUEUE_GONE, "not gone");
    assert_int_equal(meta_commit(m), 0);
    look(&d, &i);
    assert_true(queue_of(&i, QUEUE_GONE)->is_known);
    assert_int_equal(i.damage + i.notes, 0);
    inspect_close(&i);
    meta_close(m);
    dir_remove(&d);
}

static void
a_newer_log_is_refused(void **state)
{
    struct dir d;
    struct inspect i;
    struct buf problem = BUF_INIT;
    uint8_t header[SEGMENT_HEADER_BYTES];
    char path[256];
    dir_make(&d);
    entry_path(&d, "log/00000.seg", path);
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    assert_int_equal(fread(header, 1, sizeof header, f), sizeof header);
    put_u32(header + 8, MSGLOG_FORMAT_VERSION + 1);
    put_u32(header + SEGMENT_HEADER_BYTES - 4, crc32c(0, header, SEGMENT_HEADER_BYTES - 4));
    rewind(f);
    fwrite(header, 1, sizeof header, f);
    fclose(f);
    uint32_t before = trace_dir(&d);
    assert_int_equal(inspect_open(&i, io_system(), d.path, &problem), -LE_UNSUPPORTED);
    assert_non_null(strstr(buf_cstr(&problem), "newer version"));
    inspect_close(&i);
    assert_int_equal(trace_dir(&d), before);
    buf_fini(&problem);
    dir_remove(&d);
}

static void
contents_that_do_not_parse_are_refused(void **state)
{
    struct buf bytes = BUF_INIT;
    struct msglog_content c = {0};
    struct inspect_content parsed;
    make_content(&bytes, &c, "key", "\x00\x00", 2, 12);
    assert_int_equal(inspect_content_parse(&c, &parsed), 0);
    assert_int_equal(parsed.body.len, 12);
    for (uint32_t at = 0; at < c.route_bytes + c.header_bytes; at++) { // no byte of it may crash the reader
        bytes.ptr[at] ^= 0xff;
        (void)!inspect_content_parse(&c, &parsed);
        bytes.ptr[at] ^= 0xff;
    }
    c.header_bytes = 11;
    assert_int_equal(inspect_content_parse(&c, &parsed), -LE_CORRUPT);
    buf_fini(&bytes);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_written_is_found),
        cmocka_unit_test(messages_come_by_number_and_stop_when_told),
        cmocka_unit_test(each_rotten_byte_of_a_record_is_found),
        cmocka_unit_test(a_large_body_that_rots_or_goes_is_found),
        cmocka_unit_test(a_segment_that_is_gone_is_missed),
        cmocka_unit_test(the_header_of_any_segment_is_missed),
        cmocka_unit_test(a_torn_end_is_no_damage),
        cmocka_unit_test(damaged_metadata_is_found),
        cmocka_unit_test(ids_above_the_ceiling_are_damage),
        cmocka_unit_test(the_journal_of_the_metadata_is_read),
        cmocka_unit_test(a_newer_log_is_refused),
        cmocka_unit_test(contents_that_do_not_parse_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
