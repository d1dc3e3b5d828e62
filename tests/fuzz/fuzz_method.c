// fuzz_method.c: the arguments of a method. First byte: which method.
//
// Checked: what decodes can be encoded and decodes to the same; the bytes differ from the first ones in
// reserved arguments and unused bits at most, so that encoding once more gives the same bytes; the frame
// holds just these bytes.
#include <stdlib.h>

#include "amqp/wire/frame.h"
#include "amqp/wire/methods.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const void *
member(const union amqp_method *m, const struct amqp_arg_info *arg)
{
    return (const uint8_t *)m + arg->offset;
}

static void
check_same(const union amqp_method *a, const union amqp_method *b, const struct amqp_method_info *info)
{
    for (size_t i = 0; i < info->arg_count; i++) {
        const void *x = member(a, &info->args[i]);
        const void *y = member(b, &info->args[i]);
        switch (info->args[i].kind) {
        case AMQP_ARG_BIT: LV_ASSERT(*(const bool *)x == *(const bool *)y); break;
        case AMQP_ARG_OCTET: LV_ASSERT(*(const uint8_t *)x == *(const uint8_t *)y); break;
        case AMQP_ARG_SHORT: LV_ASSERT(*(const uint16_t *)x == *(const uint16_t *)y); break;
        case AMQP_ARG_LONG: LV_ASSERT(*(const uint32_t *)x == *(const uint32_t *)y); break;
        case AMQP_ARG_LONGLONG: LV_ASSERT(*(const uint64_t *)x == *(const uint64_t *)y); break;
        default: LV_ASSERT(slice_eq(*(const struct slice *)x, *(const struct slice *)y)); break;
        }
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    size_t count;
    const struct amqp_method_info *info = &amqp_method_list(&count)[data[0] % AMQP_METHOD_COUNT];
    uint8_t *exact = size > 1 ? malloc(size - 1) : NULL;
    LV_ASSERT(exact != NULL || size == 1);
    if (exact != NULL)
        memcpy(exact, data + 1, size - 1);

    union amqp_method first, second;
    struct buf once = BUF_INIT, twice = BUF_INIT;
    if (amqp_method_decode(info->id, slice_of(exact, size - 1), &first) == 0) {
        amqp_method_encode(&once, info->id, &first);
        LV_ASSERT(!once.failed && once.len <= size - 1);
        LV_ASSERT(amqp_method_decode(info->id, buf_slice(&once), &second) == 0);
        check_same(&first, &second, info);
        amqp_method_frame(&twice, 7, info->id, &second);
        struct frame f;
        LV_ASSERT(frame_parse(twice.ptr, twice.len, UINT32_MAX, &f) == FRAME_OK && f.size == twice.len);
        LV_ASSERT(slice_eq(slice_from(f.payload, 4), buf_slice(&once)));
    }
    buf_fini(&once);
    buf_fini(&twice);
    free(exact);
    return 0;
}
