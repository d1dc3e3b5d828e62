// fuzz_table.c: the content of a field table. First byte: how deep it may nest.
//
// Checked: everything is memory-safe on any bytes; what validates can be walked to its end; its normal form
// validates, is the normal form of itself, and is equivalent; entries written again from their values are as
// long as they were; texts are bounded.
#include <stdlib.h>

#include "amqp/wire/erl_text.h"
#include "amqp/wire/table.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_valid(struct slice table, const struct table_iter *walked)
{
    LV_ASSERT(walked->left.len == 0);
    struct buf once = BUF_INIT, twice = BUF_INIT;
    LV_ASSERT(table_canonical(table, &once) == 0);
    LV_ASSERT(once.len == table.len);
    LV_ASSERT(table_validate(buf_slice(&once), TABLE_DEPTH_MAX) == 0);
    LV_ASSERT(table_canonical(buf_slice(&once), &twice) == 0);
    LV_ASSERT(slice_eq(buf_slice(&once), buf_slice(&twice)));
    LV_ASSERT(table_equivalent(table, buf_slice(&once)));
    buf_fini(&once);
    buf_fini(&twice);
}

static void
check_entry(struct slice key, const struct field *field, struct slice item)
{
    struct field found;
    struct buf b = BUF_INIT;
    struct table_writer w = table_writer_of(&b);
    table_put(&w, key, field);
    LV_ASSERT(!b.failed && b.len == item.len);
    LV_ASSERT(table_find(buf_slice(&b), key, &found) && found.type == field->type);
    buf_reset(&b);
    wire_print_field_value(&b, field, 100);
    LV_ASSERT(b.len <= 103);
    buf_fini(&b);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    unsigned depth_max = data[0];
    uint8_t *exact = size > 1 ? malloc(size - 1) : NULL;
    LV_ASSERT(exact != NULL || size == 1);
    if (exact != NULL)
        memcpy(exact, data + 1, size - 1);
    struct slice table = slice_of(exact, size - 1);

    struct table_iter it = table_iter_of(table);
    struct slice key = SLICE_EMPTY;
    struct field field;
    unsigned count = 0;
    while (table_iter_next(&it, &key, &field)) {
        if (count++ < 64) // each makes a copy
            check_entry(key, &field, it.item);
    }
    int rc = table_validate(table, depth_max);
    LV_ASSERT(rc <= 0);
    if (rc == 0) {
        check_valid(table, &it);
    } else {
        struct buf b = BUF_INIT;
        (void)!table_canonical(table, &b);
        table_copy_without(table, key, &b);
        buf_fini(&b);
        (void)table_equivalent(table, table);
    }
    (void)!array_validate(table, depth_max);
    (void)array_count(table);
    free(exact);
    return 0;
}
