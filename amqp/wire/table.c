// table.c: checking, walking and searching tables and arrays. What they look like is in table.h.
//
// Checking walks all levels with an array of ends instead of recursion: when the position reaches the end of
// the innermost level, that level is done; a value that goes past the end of its level is an error, whatever
// lies behind.
#include "amqp/wire/table.h"

#include "amqp/wire/table_impl.h"
#include "src/base/err.h"

struct walk {
    const uint8_t *pos;
    unsigned depth;     // index of the innermost open level
    unsigned depth_max; // of levels
    struct {
        const uint8_t *end;
        bool is_array;
    } levels[TABLE_DEPTH_MAX];
};

// One value, whose type is at the position and whose level ends at `end`.
static int
walk_value(struct walk *w, const uint8_t *end)
{
    uint8_t type = *w->pos++;
    size_t left = (size_t)(end - w->pos);
    uint8_t size = field_sizes[type];
    if (size >= SIZE_FIXED) {
        if (left < size - (size_t)SIZE_FIXED)
            return -LE_SYNTAX;
        w->pos += size - SIZE_FIXED;
        return 0;
    }
    if (size == SIZE_UNKNOWN || left < sizeof(uint32_t))
        return -LE_SYNTAX;
    uint32_t len = wire_get_u32(w->pos);
    w->pos += sizeof len;
    if (left - sizeof len < len)
        return -LE_SYNTAX;
    if (type != FIELD_TABLE && type != FIELD_ARRAY) {
        w->pos += len;
        return 0;
    }
    if (++w->depth == w->depth_max)
        return -LE_LIMIT;
    w->levels[w->depth].end = w->pos + len;
    w->levels[w->depth].is_array = type == FIELD_ARRAY;
    return 0;
}

static int
validate(struct slice content, unsigned depth_max, bool is_array)
{
    if (content.len == 0)
        return 0;
    struct walk w; // not all set to zero: that would cost more than checking a small table
    w.pos = content.ptr;
    w.depth = 0;
    w.depth_max = LV_MIN(depth_max, TABLE_DEPTH_MAX);
    if (w.depth_max == 0)
        return -LE_LIMIT;
    w.levels[0].end = content.ptr + content.len;
    w.levels[0].is_array = is_array;
    while (true) {
        const uint8_t *end = w.levels[w.depth].end;
        LV_ASSERT_HOT(w.pos <= end);
        if (w.pos == end) {
            if (w.depth-- == 0)
                return 0;
            continue;
        }
        if (!w.levels[w.depth].is_array) {
            size_t key_size = 1 + (size_t)*w.pos; // with its length
            if ((size_t)(end - w.pos) <= key_size)
                return -LE_SYNTAX;
            w.pos += key_size;
        }
        int rc = walk_value(&w, end);
        if (LV_UNLIKELY(rc != 0))
            return rc;
    }
}

int
table_validate(struct slice table, unsigned depth_max)
{
    return validate(table, depth_max, false);
}

int
array_validate(struct slice array, unsigned depth_max)
{
    return validate(array, depth_max, true);
}

bool
table_iter_next(struct table_iter *it, struct slice *ret_key, struct field *ret_field)
{
    if (it->left.len == 0)
        return false;
    struct wire_reader r = wire_reader_of(it->left);
    struct slice key = wire_read_shortstr(&r);
    if (!field_read(&r, ret_field))
        return false;
    *ret_key = key;
    it->item = slice_head(it->left, (size_t)(r.pos - it->left.ptr));
    it->left = slice_from(it->left, it->item.len);
    return true;
}

bool
array_iter_next(struct array_iter *it, struct field *ret_field)
{
    if (it->left.len == 0)
        return false;
    struct wire_reader r = wire_reader_of(it->left);
    if (!field_read(&r, ret_field))
        return false;
    it->item = slice_head(it->left, (size_t)(r.pos - it->left.ptr));
    it->left = slice_from(it->left, it->item.len);
    return true;
}

bool
table_find(struct slice table, struct slice wanted, struct field *ret_field)
{
    struct slice key;
    struct field field;
    for (struct table_iter it = table_iter_of(table); table_iter_next(&it, &key, &field);) {
        if (slice_eq(key, wanted)) {
            if (ret_field != NULL)
                *ret_field = field;
            return true;
        }
    }
    return false;
}

bool
table_find_longstr(struct slice table, struct slice key, struct slice *ret_value)
{
    struct field field;
    if (!table_find(table, key, &field) || field.type != FIELD_LONGSTR)
        return false;
    *ret_value = field.bytes;
    return true;
}

bool
table_find_integer(struct slice table, struct slice key, int64_t *ret_value)
{
    struct field field;
    if (!table_find(table, key, &field) || !field_is_integer(&field))
        return false;
    *ret_value = field.i64;
    return true;
}

bool
table_find_bool(struct slice table, struct slice key, bool *ret_value)
{
    struct field field;
    if (!table_find(table, key, &field) || field.type != FIELD_BOOL)
        return false;
    *ret_value = field.i64 != 0;
    return true;
}

size_t
table_count(struct slice table)
{
    struct slice key;
    struct field field;
    size_t count = 0;
    for (struct table_iter it = table_iter_of(table); table_iter_next(&it, &key, &field);)
        count++;
    return count;
}

size_t
array_count(struct slice array)
{
    struct field field;
    size_t count = 0;
    for (struct array_iter it = array_iter_of(array); array_iter_next(&it, &field);)
        count++;
    return count;
}
