// http_gzip.c: see http_gzip.h.
#include "src/management/http_gzip.h"

#include <isa-l/igzip_lib.h>
#include <string.h>
#include <strings.h>

#include "src/base/mem.h"

// LIMIT: bytes of packed text made at once; bytes given to the library at once.
enum { ROOM = 32 * 1024, PIECE_MAX = 1024 * 1024 };

struct http_gzip {
    struct isal_zstream stream;
    uint8_t level_buffer[ISAL_DEF_LVL1_DEFAULT];
};

struct http_gzip *
http_gzip_new(void)
{
    struct http_gzip *g = mem_calloc(1, sizeof *g);
    if (g == NULL)
        return NULL;
    isal_deflate_init(&g->stream);
    g->stream.level = 1;
    g->stream.level_buf = g->level_buffer;
    g->stream.level_buf_size = sizeof g->level_buffer;
    g->stream.gzip_flag = IGZIP_GZIP;
    return g;
}

void
http_gzip_free(struct http_gzip *g)
{
    mem_free(g);
}

static void
pack(struct http_gzip *g, struct buf *out)
{
    struct isal_zstream *z = &g->stream;
    do {
        if (!buf_reserve(out, ROOM))
            return;
        z->next_out = out->ptr + out->len;
        z->avail_out = ROOM;
        if (isal_deflate(z) != COMP_OK) {
            out->failed = true;
            return;
        }
        out->len += ROOM - z->avail_out;
    } while (z->avail_out == 0 || z->avail_in > 0);
}

void
http_gzip_add(struct http_gzip *g, struct slice piece, enum http_gzip_end end, struct buf *out)
{
    do {
        struct slice now = slice_head(piece, LV_MIN(piece.len, (size_t)PIECE_MAX));
        piece = slice_from(piece, now.len);
        g->stream.next_in = (uint8_t *)(uintptr_t)now.ptr;
        g->stream.avail_in = (uint32_t)now.len;
        g->stream.end_of_stream = end == HTTP_GZIP_LAST && piece.len == 0;
        pack(g, out);
    } while (piece.len > 0 && !out->failed);
}

bool
http_gzip_is_accepted(const char *header)
{
    const char *at = header;
    while (at != NULL && *at != '\0') {
        at += strspn(at, " \t,");
        size_t len = strcspn(at, ",");
        struct slice item = slice_of(at, len);
        size_t name = 0;
        while (name < len && at[name] != ';' && at[name] != ' ')
            name++;
        bool is_gzip = (name == 4 && strncasecmp(at, "gzip", 4) == 0) || (name == 1 && at[0] == '*');
        const char *q = memmem(item.ptr, item.len, "q=0", 3);
        // q=0, q=0.0, q=0.000: no; q=0.5: yes.
        bool is_none = q != NULL && strspn(q + 2, "0.") >= (size_t)(at + len - (q + 2));
        if (is_gzip)
            return !is_none;
        at += len;
    }
    return false;
}
