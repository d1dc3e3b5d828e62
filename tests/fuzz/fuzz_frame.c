// fuzz_frame.c: a stream of frames as a peer sends it. First byte: what the limit on payloads is.
//
// Checked: a frame is found at the same place whether all or only just enough bytes are there; fewer are
// never enough; what frames hold goes through the decoders of methods, content headers and properties; a
// frame written again is the same bytes.
#include <stdlib.h>

#include "amqp/wire/bytes.h"
#include "amqp/wire/erl_text.h"
#include "amqp/wire/frame.h"
#include "amqp/wire/methods.h"
#include "amqp/wire/props.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
look_into(const struct frame *f)
{
    union amqp_method method;
    struct content_header header;
    struct amqp_basic_props props;
    if (f->type == FRAME_METHOD && f->payload.len >= 4)
        (void)!amqp_method_decode(wire_get_u32(f->payload.ptr), slice_from(f->payload, 4), &method);
    if (f->type == FRAME_HEADER && content_header_decode(f->payload, &header) == 0)
        (void)!amqp_props_decode(header.props, &props);
}

static void
check_again(const uint8_t *at, const struct frame *f)
{
    uint8_t *exact = malloc(f->size); // so that reading past the frame is seen
    LV_ASSERT(exact != NULL);
    memcpy(exact, at, f->size);
    struct frame g;
    LV_ASSERT(frame_parse(exact, f->size - 1, UINT32_MAX, &g) == FRAME_MORE && g.size == f->size);
    LV_ASSERT(frame_parse(exact, f->size, UINT32_MAX, &g) == FRAME_OK && g.size == f->size);
    look_into(&g);
    struct buf b = BUF_INIT;
    size_t begin = frame_begin(&b, g.type, g.channel);
    buf_append_slice(&b, g.payload);
    frame_end(&b, begin);
    LV_ASSERT(slice_eq(buf_slice(&b), slice_of(exact, f->size)));
    buf_fini(&b);
    free(exact);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    uint32_t payload_max = data[0] == 0 ? UINT32_MAX : (uint32_t)data[0] * 16;
    const uint8_t *at = data + 1;
    size_t left = size - 1;
    enum protocol_version version = protocol_header_parse(at, left);
    LV_ASSERT(version != PROTOCOL_MORE || left < PROTOCOL_HEADER_SIZE);
    struct frame f;
    enum frame_result result;
    while ((result = frame_parse(at, left, payload_max, &f)) == FRAME_OK) {
        LV_ASSERT(f.size <= left && f.payload.len == f.payload_len && f.payload_len <= payload_max);
        check_again(at, &f);
        at += f.size;
        left -= f.size;
    }
    LV_ASSERT(result != FRAME_MORE || (f.size == 0 ? left < FRAME_HEADER_SIZE : left < f.size));
    struct buf text = BUF_INIT;
    wire_print_payload_snippet(&text, slice_of(at, left));
    LV_ASSERT(!text.failed && text.len < 200);
    buf_fini(&text);
    return 0;
}
