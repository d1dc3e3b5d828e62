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

// --- backlog files ---

struct numbers {
    uint64_t seqs[128];
    size_t count;
};

static int
note_number(void *ctx, const struct inspect_message *m)
{
    struct numbers *n = ctx;
    assert_int_equal(m->result, 0);
    assert_true(n->count < LV_ARRAY_LEN(n->seqs));
    n->seqs[n->count++] = m->seq;
    return 0;
}

static void
check_numbers(struct inspect *i, const struct inspect_queue *q, const uint64_t *expected, size_t count)
{
    struct numbers got = {.count = 0};
    assert_int_equal(inspect_each_message(i, q, 0, UINT64_MAX, note_number, &got), 0);
    assert_int_equal(got.count, count);
    for (size_t n = 0; n < count; n++)
        assert_int_equal(got.seqs[n], expected[n]);
}

// What is in the log and in a block too is one message; what the log says is gone from a block is gone; the order is that of the numbers.
static void
a_backlog_joins_what_is_in_the_log(void **state)
{
    struct dir d;
    struct inspect i;
    struct backlog b;
    uint64_t expected[128];
    size_t count = 0;
    dir_make(&d);
    assert_int_equal(backlog_prepare_dirs(io_system(), d.path), 0);
    backlog_init(&b);
    add_block(&d, &b, QUEUE_ORDERS, BACKLOG_CHAIN, MESSAGES - 3, MESSAGES + 10);
    add_block(&d, &b, QUEUE_ORDERS, BACKLOG_CHAIN, MESSAGES + 11, MESSAGES + 20);
    open_log(&d);
    struct msglog_entry ack = {.kind = MSGLOG_ACK, .queue = QUEUE_ORDERS, .seq = MESSAGES + 5, .count = 2};
    add(&d, &ack);
    assert_int_equal(core_flush(&d.core), 0);
    close_log(&d);
    look(&d, &i);
    assert_int_equal(i.damage, 0);
    const struct inspect_queue *q = queue_of(&i, QUEUE_ORDERS);
    for (uint64_t seq = 21; seq <= MESSAGES + 20; seq++)
        if (seq != MESSAGES + 5 && seq != MESSAGES + 6)
            expected[count++] = seq;
    assert_int_equal(q->live, count);
    assert_int_equal(q->ring.messages, MESSAGES - 20);
    assert_int_equal(q->backlog.messages, 18);
    assert_int_equal(q->backlog.bytes, 18 * BODY);
    assert_int_equal(q->unreadable, 0);
    check_numbers(&i, q, expected, count);
    inspect_close(&i);
    backlog_fini(&b);
    dir_remove(&d);
}

static void
write_state(struct dir *d, struct backlog *b, uint64_t cursor, const uint64_t *kept, size_t count)
{
    struct backlog_state s;
    b->cursor = cursor;
    assert_int_equal(backlog_snapshot(b, &s), 0);
    s.kept = kept;
    s.kept_count = count;
    assert_int_equal(backlog_write_state(io_system(), d->path, QUEUE_MAIL, &s), 0);
    mem_free(s.ends);
}

static void
what_state_keeps_is_found(void **state)
{
    static const uint64_t kept[] = {11, 13}, expected[] = {1, 11, 13, 15, 16, 17, 18, 19, 30, 31};
    struct dir d;
    struct inspect i;
    struct backlog b;
    dir_make(&d);
    assert_int_equal(backlog_prepare_dirs(io_system(), d.path), 0);
    backlog_init(&b);
    add_block(&d, &b, QUEUE_MAIL, BACKLOG_CHAIN, 10, 19);
    write_state(&d, &b, 15, kept, 2);
    add_block(&d, &b, QUEUE_MAIL, BACKLOG_LOOSE, 30, 31);
    look(&d, &i);
    assert_int_equal(i.damage, 0);
    const struct inspect_queue *q = queue_of(&i, QUEUE_MAIL);
    assert_int_equal(q->live, LV_ARRAY_LEN(expected));
    assert_int_equal(q->backlog.messages, 9);
    assert_int_equal(q->large.messages, 1);
    check_numbers(&i, q, expected, LV_ARRAY_LEN(expected));
    inspect_close(&i);
    backlog_fini(&b);
    dir_remove(&d);
}

// The zeros behind a record, up to the next multiple of 8: nothing depends on them.
static bool
is_padding(const struct dir *d, const struct backlog_block *block, uint32_t offset)
{
    struct backlog_record r;
    uint8_t *bytes;
    uint32_t at = 0;
    bool is_in_record = offset < block->offset + MSGLOG_SECTOR_BYTES;
    assert_int_equal(backlog_read_block(io_system(), d->path, QUEUE_MAIL, false, block, &bytes), 0);
    while (backlog_block_next(bytes, block, &at, &r) == 1)
        is_in_record |= offset >= r.offset && offset < r.offset + r.len;
    mem_free(bytes);
    return !is_in_record;
}

// Every byte of a block with two messages, one at a time: damage in that file, around that place, and no message lost beside the one.
static void
each_rotten_byte_of_a_backlog_is_found(void **state)
{
    static const char file[] = "queues/0000000000000066/00000001.blg";
    struct dir d;
    struct inspect i;
    struct backlog b;
    dir_make(&d);
    assert_int_equal(backlog_prepare_dirs(io_system(), d.path), 0);
    backlog_init(&b);
    add_block(&d, &b, QUEUE_MAIL, BACKLOG_CHAIN, 10, 11);
    const struct backlog_block block = b.chain[b.first];
    add_block(&d, &b, QUEUE_MAIL, BACKLOG_CHAIN, 12, 13);
    for (uint32_t at = block.offset; at < block.offset + block.bytes; at++) {
        bool is_hidden = is_padding(&d, &block, at);
        flip(&d, file, at);
        look(&d, &i);
        const struct inspect_finding *f = finding(&i, true, file, "");
        assert_true(is_hidden || f != NULL);
        assert_true(f == NULL || (f->offset <= at && at < f->offset + f->bytes));
        assert_true(queue_of(&i, QUEUE_MAIL)->live >= 3);
        inspect_close(&i);
        flip(&d, file, at);
    }
    look(&d, &i);
    assert_int_equal(i.damage, 0);
    inspect_close(&i);
    backlog_fini(&b);
    dir_remove(&d);
}

static void
a_rotten_state_is_found(void **state)
{
    static const char file[] = "queues/0000000000000066/state";
    static const uint64_t kept[] = {10};
    struct dir d;
    struct inspect i;
    struct backlog b;
    struct stat st;
    char path[256];
    dir_make(&d);
    assert_int_equal(backlog_prepare_dirs(io_system(), d.path), 0);
    backlog_init(&b);
    add_block(&d, &b, QUEUE_MAIL, BACKLOG_CHAIN, 10, 14);
    write_state(&d, &b, 14, kept, 1);
    entry_path(&d, file, path);
    assert_int_equal(stat(path, &st), 0);
    for (long at = 0; at < (long)st.st_size; at++) {
        flip(&d, file, at);
        look(&d, &i);
        assert_non_null(finding(&i, true, file, "cannot be trusted"));
        assert_int_equal(queue_of(&i, QUEUE_MAIL)->live, 6); // rather too many than too few
        inspect_close(&i);
        flip(&d, file, at);
    }
    backlog_fini(&b);
    dir_remove(&d);
}

static void
lost_and_found_is_read_where_it_lies(void **state)
{
    static const uint64_t expected[] = {40, 41, 42};
    struct dir d;
    struct inspect i;
    struct backlog b;
    struct buf path = BUF_INIT;
    dir_make(&d);
    assert_int_equal(backlog_prepare_dirs(io_system(), d.path), 0);
    for (int n = 0; n < 2; n++) {
        backlog_init(&b);
        add_block(&d, &b, 77, BACKLOG_CHAIN, 40, 42);
        assert_int_equal(backlog_set_aside(io_system(), d.path, 77, &path), 0);
        backlog_fini(&b);
    }
    look(&d, &i);
    assert_int_equal(i.damage, 0);
    assert_int_equal(i.queue_count, 3); // it is no queue
    assert_int_equal(i.backlog_count, 2);
    for (size_t n = 0; n < 2; n++) {
        assert_true(i.backlogs[n].is_lost);
        assert_int_equal(i.backlogs[n].lost.live, 3);
        assert_int_equal(i.backlogs[n].lost.backlog.messages, 3);
        check_numbers(&i, &i.backlogs[n].lost, expected, 3);
    }
    assert_string_equal(i.backlogs[1].folder, "lost+found/queue-000000000000004d-2");
    inspect_close(&i);
    flip(&d, "lost+found/queue-000000000000004d-2/00000001.blg", 1024 + 512 + 100);
    look(&d, &i);
    assert_non_null(finding(&i, true, "lost+found/queue-000000000000004d-2/00000001.blg", ""));
    inspect_close(&i);
    buf_fini(&path);
    dir_remove(&d);
}

static void
the_backlog_of_a_deleted_queue_does_not_count(void **state)
{
    struct dir d;
    struct inspect i;
    struct backlog b;
    dir_make(&d);
    assert_int_equal(backlog_prepare_dirs(io_system(), d.path), 0);
    backlog_init(&b);
    add_block(&d, &b, QUEUE_GONE, BACKLOG_CHAIN, 40, 42);
    open_log(&d);
    struct msglog_entry gone = {.kind = MSGLOG_DELETE, .queue = QUEUE_GONE};
    add(&d, &gone);
    assert_int_equal(core_flush(&d.core), 0);
    close_log(&d);
    look(&d, &i);
    assert_int_equal(i.damage, 0);
    assert_non_null(finding(&i, false, "queues/0000000000000067", "was deleted"));
    assert_int_equal(i.queue_count, 2);
    inspect_close(&i);
    backlog_fini(&b);
    dir_remove(&d);
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
        cmocka_unit_test(a_backlog_joins_what_is_in_the_log),
        cmocka_unit_test(what_state_keeps_is_found),
        cmocka_unit_test(each_rotten_byte_of_a_backlog_is_found),
        cmocka_unit_test(a_rotten_state_is_found),
        cmocka_unit_test(lost_and_found_is_read_where_it_lies),
        cmocka_unit_test(the_backlog_of_a_deleted_queue_does_not_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
