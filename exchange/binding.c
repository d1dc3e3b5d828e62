// binding.c: see binding.h. One block: the struct, then key, arguments, canonical arguments (when they
// differ), names.
#include "exchange/binding.h"

#include "amqp/wire/bytes.h"
#include "amqp/wire/table.h"
#include "src/base/buf.h"
#include "src/base/err.h"
#include "src/base/mem.h"

static uint64_t
binding_hash(const struct binding *b)
{
    uint64_t numbers[3] = {b->source_id, b->dest_id, (uint64_t)b->dest};
    uint64_t hash = slice_hash(slice_of(numbers, sizeof numbers));
    hash = slice_hash_more(b->key, hash);
    return b->canonical.len == 0 ? hash : slice_hash_more(b->canonical, hash);
}

// Copies to *pos and moves it on.
static struct slice
place(uint8_t **pos, struct slice s)
{
    struct slice copy = slice_of(*pos, s.len);
    *pos = wire_put_bytes(*pos, s);
    return copy;
}

static struct binding *
binding_build(const struct binding_args *args, struct slice canonical)
{
    bool is_shared = slice_eq(canonical, args->arguments);
    size_t size = sizeof(struct binding) + args->key.len + args->arguments.len +
                  (is_shared ? 0 : canonical.len) + args->source_name.len + args->dest_name.len;
    struct binding *b = mem_alloc(size);
    if (b == NULL)
        return NULL;
    *b = (struct binding){
        .source_id = args->source_id,
        .dest_id = args->dest_id,
        .dest = args->dest,
        .is_durable = args->is_durable,
        .queue = args->queue,
    };
    uint8_t *pos = (uint8_t *)(b + 1);
    b->key = place(&pos, args->key);
    b->arguments = place(&pos, args->arguments);
    b->canonical = is_shared ? b->arguments : place(&pos, canonical);
    b->source_name = place(&pos, args->source_name);
    b->dest_name = place(&pos, args->dest_name);
    LV_ASSERT(pos == (uint8_t *)b + size);
    b->hash = binding_hash(b);
    return b;
}

struct binding *
binding_new(const struct binding_args *args)
{
    LV_ASSERT((args->queue != NULL) == (args->dest == BINDING_TO_QUEUE));
    // LIMIT: lengths that the wire cannot carry (shortstr; table). Whoever takes keys from elsewhere refuses
    // them with words.
    if (args->key.len > BINDING_KEY_MAX || args->arguments.len > UINT32_MAX)
        return NULL;
    if (args->arguments.len == 0)
        return binding_build(args, SLICE_EMPTY);
    LV_CLEANUP(buf_fini) struct buf canonical = BUF_INIT;
    int r = table_canonical(args->arguments, &canonical);
    if (r == -LE_NOMEM)
        return NULL;
    // Tables are validated where they come in; one that is not well-formed is compared as the bytes it is.
    return binding_build(args, r < 0 ? args->arguments : buf_slice(&canonical));
}

void
binding_free(struct binding *b)
{
    mem_free(b);
}

bool
binding_same(const struct binding *a, const struct binding *b)
{
    return a == b || (a->hash == b->hash && a->source_id == b->source_id && a->dest_id == b->dest_id &&
                      a->dest == b->dest && slice_eq(a->key, b->key) && slice_eq(a->canonical, b->canonical));
}

bool
binding_weight(struct slice key, double *ret_weight)
{
    bool has_sign = key.len > 0 && (key.ptr[0] == '+' || key.ptr[0] == '-');
    double value = 0;
    for (size_t i = has_sign; i < key.len; i++) {
        if (key.ptr[i] < '0' || key.ptr[i] > '9')
            return false;
        value = value * 10 + (key.ptr[i] - '0');
    }
    if (key.len == (size_t)has_sign)
        return false;
    *ret_weight = has_sign && key.ptr[0] == '-' ? -value : value;
    return true;
}
