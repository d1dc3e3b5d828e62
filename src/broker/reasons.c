// reasons.c: see reasons.h.
//
// An entry is found by the hash of its kind, code, vhost and object among at most REASONS_KEPT hashes side by side: a flood of one
// reason finds its entry at the first look (`latest`). A new one takes the place of the one that has been quiet longest.
#include "src/broker/reasons.h"

#include "src/base/mem.h"
#include "src/broker/json.h"
#include "src/broker/session_impl.h"

struct entry {
    enum reason_kind kind;
    uint16_t code;
    const char *object_kind;
    uint64_t count;
    uint64_t logged_count;            // of them told in the log so far
    uint64_t logged_ns, pause_ns;     // monotonic time of the last line, and how long it is quiet after it
    uint64_t used;                    // number of the last occasion
    int64_t first_ms, last_ms;        // wall clock
    struct slice vhost, object, text; // bytes behind this struct
};

// LIMIT: while a reason goes on, its lines come after 1, 2, 4 … seconds, up to this.
#define SECOND_NS    UINT64_C(1000000000)
#define PAUSE_MAX_NS (3600 * SECOND_NS)
// Reply codes are between these.
enum { CODE_FIRST = 300, CODES = 256 };

struct reasons {
    uint64_t counts[REASON_COUNT];
    uint64_t channel_errors[CODES], connection_errors[CODES]; // by code - CODE_FIRST
    uint64_t hashes[REASONS_KEPT];                            // 0: free
    struct entry *entries[REASONS_KEPT];
    size_t latest;         // the entry found last
    uint64_t used;         // occasions so far
    uint64_t lines_second; // in which `lines` were logged
    unsigned lines;
};

static const struct {
    const char *name, *text;
    enum log_level level;
    enum log_category category;
} kinds[REASON_COUNT] = {[REASON_NONE] = {"none", "", LOG_NONE, LOG_DEFAULT},
#define X(upper, lower, at_level, in_category, words)                                                        \
    [REASON_##upper] = {#lower, words, at_level, in_category},
                         REASON_KINDS(X)
#undef X
};

struct reasons *
reasons_new(void)
{
    return mem_calloc(1, sizeof(struct reasons));
}

void
reasons_free(struct reasons *r)
{
    if (r == NULL)
        return;
    for (size_t i = 0; i < REASONS_KEPT; i++)
        mem_free(r->entries[i]);
    mem_free(r);
}

const char *
reason_name(enum reason_kind kind)
{
    return kinds[kind].name;
}

const char *
reason_rule(enum reason_kind kind)
{
    return kinds[kind].text;
}

uint64_t
reasons_count(const struct reasons *r, enum reason_kind kind)
{
    return r->counts[kind];
}

// --- entries --------------------------------------------------------------------------------------------------------------

static uint64_t
hash_of(const struct reason *reason)
{
    uint64_t h = slice_hash(reason->vhost) * 31 + slice_hash(reason->object);
    h = (h ^ ((uint64_t)reason->kind << 16 | reason->code)) * UINT64_C(0x9e3779b97f4a7c15);
    return h | 1; // never 0
}

static bool
is_entry_of(const struct entry *e, const struct reason *reason)
{
    return e->kind == reason->kind && e->code == reason->code && slice_eq(e->vhost, reason->vhost) &&
           slice_eq(e->object, reason->object);
}

static struct slice
place(uint8_t **at, struct slice from)
{
    uint8_t *to = *at;
    if (from.len > 0)
        memcpy(to, from.ptr, from.len);
    *at += from.len;
    return slice_of(to, from.len);
}

static struct slice
cut(struct slice s)
{
    return slice_of(s.ptr, LV_MIN(s.len, (size_t)REASON_TEXT_MAX));
}

static size_t
quietest(const struct reasons *r)
{
    size_t best = 0;
    for (size_t i = 0; i < REASONS_KEPT; i++) {
        if (r->entries[i] == NULL)
            return i;
        if (r->entries[i]->used < r->entries[best]->used)
            best = i;
    }
    return best;
}

// NULL: out of memory.
static struct entry *
entry_add(struct reasons *r, const struct worker *w, const struct reason *reason, uint64_t hash)
{
    struct slice text = reason->text.len > 0 ? cut(reason->text) : slice_str(kinds[reason->kind].text);
    struct slice vhost = cut(reason->vhost), object = cut(reason->object);
    struct entry *e = mem_calloc(1, sizeof *e + text.len + vhost.len + object.len);
    if (e == NULL)
        return NULL;
    uint8_t *at = (uint8_t *)(e + 1);
    e->kind = reason->kind;
    e->code = reason->code;
    e->object_kind = reason->object_kind;
    e->vhost = place(&at, vhost);
    e->object = place(&at, object);
    e->text = place(&at, text);
    e->first_ms = w->now_ms;
    size_t i = quietest(r);
    mem_free(r->entries[i]);
    r->entries[i] = e;
    r->hashes[i] = hash;
    r->latest = i;
    return e;
}

static struct entry *
entry_of(struct reasons *r, const struct worker *w, const struct reason *reason)
{
    uint64_t hash = hash_of(reason);
    if (r->hashes[r->latest] == hash && is_entry_of(r->entries[r->latest], reason))
        return r->entries[r->latest];
    for (size_t i = 0; i < REASONS_KEPT; i++) {
        if (r->hashes[i] == hash && is_entry_of(r->entries[i], reason)) {
            r->latest = i;
            return r->entries[i];
        }
    }
    return entry_add(r, w, reason, hash);
}

// --- the log ----------------------------------------------------------------------------------------------------------------

static bool
may_log(struct reasons *r, struct entry *e, uint64_t now_ns)
{
    if (e->logged_count > 0 && now_ns < e->logged_ns + e->pause_ns)
        return false;
    if (r->lines_second != now_ns / SECOND_NS) {
        r->lines_second = now_ns / SECOND_NS;
        r->lines = 0;
    }
    if (r->lines >= REASON_LINES_MAX)
        return false;
    r->lines++;
    // Quiet for long enough: it begins anew.
    bool goes_on = e->logged_count > 0 && now_ns < e->logged_ns + 4 * e->pause_ns;
    e->pause_ns = goes_on ? LV_MIN(2 * e->pause_ns, PAUSE_MAX_NS) : SECOND_NS;
    e->logged_ns = now_ns;
    return true;
}

static void
log_entry(struct reasons *r, struct entry *e, uint64_t now_ns)
{
    enum log_level level = kinds[e->kind].level;
    enum log_category category = kinds[e->kind].category;
    char more[64] = "";
    if (level == LOG_NONE || !log_is_on(category, level) || !may_log(r, e, now_ns))
        return;
    uint64_t left_out = e->count - e->logged_count - 1;
    if (left_out > 0)
        snprintf(more, sizeof more, " (and %llu more since the last such line)",
                 (unsigned long long)left_out);
    e->logged_count = e->count;
    if (e->vhost.len == 0) // not known any more
        log_at(category, level, "%s '%.*s': %.*s%s", e->object_kind, SLICE_FMT(e->object), SLICE_FMT(e->text),
               more);
    else
        log_at(category, level, "%s '%.*s' in vhost '%.*s': %.*s%s", e->object_kind, SLICE_FMT(e->object),
               SLICE_FMT(e->vhost), SLICE_FMT(e->text), more);
}

// --- counting ---------------------------------------------------------------------------------------------------------------

static void
count_code(uint64_t counts[static CODES], uint16_t code, uint64_t count)
{
    if (code >= CODE_FIRST && code < CODE_FIRST + CODES)
        counts[code - CODE_FIRST] += count;
}

void
reasons_add(struct reasons *r, const struct worker *w, const struct reason *reason, uint64_t count)
{
    LV_ASSERT(reason->kind > REASON_NONE && reason->kind < REASON_COUNT && reason->object_kind != NULL);
    r->counts[reason->kind] += count;
    if (reason->kind == REASON_CHANNEL_ERROR)
        count_code(r->channel_errors, reason->code, count);
    else if (reason->kind == REASON_CONNECTION_ERROR)
        count_code(r->connection_errors, reason->code, count);
    struct entry *e = entry_of(r, w, reason);
    if (e == NULL)
        return;
    e->count += count;
    e->used = ++r->used;
    e->last_ms = w->now_ms;
    log_entry(r, e, w->now_ns);
}

void
reason_note(struct worker *w, const struct reason *reason)
{
    struct broker_worker *b = broker_of(w);
    reasons_add(b->reasons, w, reason, 1);
}

void
reason_note_fault(struct worker *w, const struct fault *f, struct slice vhost, struct slice user)
{
    if (f->reason == REASON_NOTED)
        return;
    struct reason reason = {
        .kind = (enum reason_kind)f->reason,
        .code = f->code,
        .object_kind = "user",
        .object = user,
        .vhost = vhost,
        .text = slice_str(f->text),
    };
    if (reason.kind == REASON_NONE)
        reason.kind = f->is_connection ? REASON_CONNECTION_ERROR : REASON_CHANNEL_ERROR;
    reason_note(w, &reason);
}

// --- listings ---------------------------------------------------------------------------------------------------------------

static void
put_codes(struct buf *out, const char *key, const uint64_t counts[static CODES])
{
    buf_printf(out, "\"%s\":{", key);
    for (unsigned i = 0; i < CODES; i++) {
        if (counts[i] > 0)
            buf_printf(out, "\"%u\":%llu,", CODE_FIRST + i, (unsigned long long)counts[i]);
    }
    json_drop_comma(out);
    buf_append_str(out, "},");
}

void
reasons_put_counts(const struct reasons *r, struct buf *out)
{
    buf_append_str(out, "\"reasons\":{");
    for (int kind = REASON_NONE + 1; kind < REASON_COUNT; kind++)
        json_put_member_int(out, kinds[kind].name, (int64_t)r->counts[kind]);
    json_drop_comma(out);
    buf_append_str(out, "},");
    put_codes(out, "channel_errors", r->channel_errors);
    put_codes(out, "connection_errors", r->connection_errors);
}

static void
put_entry(const struct entry *e, struct buf *out)
{
    buf_append_u8(out, '{');
    json_put_member_int(out, "time", e->last_ms);
    json_put_member_int(out, "first_time", e->first_ms);
    json_put_member_int(out, "count", (int64_t)e->count);
    json_put_member_string(out, "kind", slice_str(kinds[e->kind].name));
    json_put_member_string(out, "rule", slice_str(kinds[e->kind].text));
    if (e->code != 0)
        json_put_member_int(out, "code", e->code);
    json_put_member_string(out, "vhost", e->vhost);
    json_put_member_string(out, "object_kind", slice_str(e->object_kind));
    json_put_member_string(out, "object", e->object);
    json_put_member_string(out, "text", e->text);
    json_drop_comma(out);
    buf_append_str(out, "},");
}

void
reasons_put_recent(const struct reasons *r, struct buf *out)
{
    uint64_t after = 0;
    for (;;) {
        const struct entry *next = NULL;
        for (size_t i = 0; i < REASONS_KEPT; i++) {
            const struct entry *e = r->entries[i];
            if (e != NULL && e->used > after && (next == NULL || e->used < next->used))
                next = e;
        }
        if (next == NULL)
            return;
        put_entry(next, out);
        after = next->used;
    }
}
