// fuzz_definitions: a definitions file from outside: the scanner that takes it apart, and the reading of each element.
//
// Input: a byte that says how it is cut into parts, then the file. Whatever the parts are the result is the same; what the scanner takes is
// what jansson takes as a whole (but for its limits); what is read of an element comes back from its records.
#include "src/base/mem.h"
#include "src/management/definitions.h"
#include "src/management/json_scan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct seen {
    uint64_t elements;
    struct buf records;
};

static int
take(void *ctx, const struct json_scan_item *item)
{
    struct seen *s = ctx;
    enum definitions_section section;
    json_t *reason = NULL;
    if (item->is_array_begin)
        return 0;
    s->elements++;
    LV_ASSERT(item->value != NULL);
    if (!item->is_in_array || definitions_section_parse(item->name, &section) != 0)
        return 0;
    struct definitions_args args = {.section = section, .index = (uint32_t)item->index};
    size_t before = s->records.len;
    int err = definitions_read(&args, item->value, &s->records, &reason);
    LV_ASSERT((err == -LE_INVAL) == (reason != NULL));
    if (err != 0)
        s->records.len = before;
    json_decref(reason);
    return 0; // the file is looked at to its end
}

static void
check_records(struct slice left)
{
    struct topology_request r;
    uint32_t index;
    struct buf again = BUF_INIT;
    for (size_t n; (n = definitions_record_read(left, &r, &index)) > 0; left = slice_from(left, n)) {
        buf_reset(&again);
        definitions_record_put(&again, &r, index);
        LV_ASSERT(slice_eq(buf_slice(&again), slice_head(left, n)));
    }
    LV_ASSERT(left.len == 0);
    buf_fini(&again);
}

// In blocks of their exact size.
static int
scan(struct slice text, size_t part, struct seen *seen)
{
    struct json_scan s;
    int err = 0;
    json_scan_init(&s, take, seen);
    for (size_t at = 0; at < text.len && err == 0; at += part) {
        size_t n = LV_MIN(part, text.len - at);
        uint8_t *block = mem_xalloc(n);
        memcpy(block, text.ptr + at, n);
        err = json_scan_feed(&s, slice_of(block, n));
        mem_free(block);
    }
    if (err == 0)
        err = json_scan_end(&s);
    LV_ASSERT(err == 0 || err == -LE_SYNTAX || err == -LE_LIMIT);
    LV_ASSERT(err == 0 || s.problem[0] != '\0');
    json_scan_fini(&s);
    return err;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct seen whole = {0}, cut = {0};
    if (size == 0 || size > 256 * 1024)
        return 0;
    struct slice text = slice_of(data + 1, size - 1);
    int err = scan(text, size, &whole);
    LV_ASSERT(scan(text, 1 + data[0] % 64, &cut) == err);
    LV_ASSERT(cut.elements == whole.elements);
    check_records(buf_slice(&whole.records));
    json_t *parsed =
        json_loadb((const char *)text.ptr, text.len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
    if (err == 0)
        LV_ASSERT(json_is_object(parsed));
    if (err == -LE_SYNTAX)
        LV_ASSERT(!json_is_object(parsed));
    json_decref(parsed);
    buf_fini(&whole.records);
    buf_fini(&cut.records);
    return 0;
}
