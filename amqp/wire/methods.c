// methods.c: the little of methods.h that is not generated.
#include "amqp/wire/methods.h"

// LIMIT: of a short string, and so of a reply text; AMQP 0-9-1 §4.2.5.3
enum { SHORTSTR_MAX = 255 };

const char *
amqp_method_name(uint32_t id)
{
    const struct amqp_method_info *info = amqp_method_info(id);
    return info != NULL ? info->name : "unknown";
}

bool
amqp_method_has_content(uint32_t id)
{
    return id == AMQP_BASIC_PUBLISH || id == AMQP_BASIC_DELIVER || id == AMQP_BASIC_GET_OK ||
           id == AMQP_BASIC_RETURN;
}

// At most len_max bytes, less when the last character would be cut: an UTF-8 character has at most three
// bytes after its first.
static struct slice
cut(struct slice text, size_t len_max)
{
    if (text.len <= len_max)
        return text;
    size_t len = len_max;
    for (unsigned i = 0; i < 3 && len > 0 && (text.ptr[len] & 0xC0) == 0x80; i++)
        len--;
    if ((text.ptr[len] & 0xC0) == 0x80) // not UTF-8 at all: cut where we like
        len = len_max;
    return slice_head(text, len);
}

struct slice
amqp_shortstr_cut(struct slice text)
{
    return cut(text, SHORTSTR_MAX);
}

void
amqp_reply_text_cut(struct slice text, struct buf *out)
{
    if (text.len <= SHORTSTR_MAX) {
        buf_append_slice(out, text);
        return;
    }
    buf_append_slice(out, cut(text, SHORTSTR_MAX - 3));
    buf_append_str(out, "...");
}
