// fuzz_props.c: flags and list of a message's properties. First byte: bit 0 asks for the decoder that skips
// the headers.
//
// Checked: what decodes encodes to the very same bytes.
#include <stdlib.h>

#include "amqp/wire/props.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    uint8_t *exact = size > 1 ? malloc(size - 1) : NULL;
    LV_ASSERT(exact != NULL || size == 1);
    if (exact != NULL)
        memcpy(exact, data + 1, size - 1);
    struct slice bytes = slice_of(exact, size - 1);
    struct amqp_basic_props props;
    int rc = (data[0] & 1) != 0 ? amqp_props_decode_trusted(bytes, &props) : amqp_props_decode(bytes, &props);
    LV_ASSERT(rc <= 0);
    if (rc == 0) {
        struct buf b = BUF_INIT;
        amqp_props_encode(&b, &props);
        LV_ASSERT(!b.failed && slice_eq(buf_slice(&b), bytes));
        buf_fini(&b);
    }
    free(exact);
    return 0;
}
