// auth.c: permissions as regular expressions, checked through a small cache.
//
// Patterns come from administrators but run on names that clients choose, so PCRE2's match and depth limits bound the time; a match
// that hits a limit is a refusal. A compiled pattern is immutable and used by all threads, each with its own match data (in the
// cache object). The cache holds the last answers, direct-mapped by a hash of (user, vhost, kind, name, access), and is dropped
// whole when the topology's auth_version changes.
#define PCRE2_CODE_UNIT_WIDTH 8
#include "src/broker/auth.h"

#include <pcre2.h>
#include <stdio.h>

#include "src/base/buf.h"
#include "src/base/log.h"
#include "src/base/mem.h"

// LIMIT: steps of one regex match; RabbitMQ has none of its own. Names are at most 255 bytes.
enum { MATCH_LIMIT = 100000, DEPTH_LIMIT = 1000, PATTERN_MAX = 4096, CACHE_SLOTS = 64 };

struct cached_answer {
    uint64_t hash; // 0: empty
    bool is_allowed;
};

struct auth_cache {
    uint64_t auth_version;
    pcre2_match_data *match_data;
    pcre2_match_context *match_context;
    struct cached_answer slots[CACHE_SLOTS];
};

struct auth_cache *
auth_cache_new(void)
{
    struct auth_cache *c = mem_calloc(1, sizeof(*c));
    if (c == NULL)
        return NULL;
    c->match_data = pcre2_match_data_create(1, NULL);
    c->match_context = pcre2_match_context_create(NULL);
    if (c->match_data == NULL || c->match_context == NULL) {
        auth_cache_free(c);
        return NULL;
    }
    pcre2_set_match_limit(c->match_context, MATCH_LIMIT);
    pcre2_set_depth_limit(c->match_context, DEPTH_LIMIT);
    return c;
}

void
auth_cache_free(struct auth_cache *c)
{
    if (c == NULL)
        return;
    pcre2_match_data_free(c->match_data);
    pcre2_match_context_free(c->match_context);
    mem_free(c);
}

// --- compiling ----------------------------------------------------------------------------------------------------------------

static char *
format_error(struct slice pattern, int code, size_t offset)
{
    PCRE2_UCHAR text[160];
    char *sentence = mem_alloc(512);
    if (pcre2_get_error_message(code, text, sizeof text) < 0)
        text[0] = '\0';
    if (sentence != NULL)
        snprintf(sentence, 512, "invalid regular expression '%.*s': %s at offset %zu",
                 (int)LV_MIN(pattern.len, (size_t)200), (const char *)pattern.ptr, (const char *)text,
                 offset);
    return sentence;
}

// The empty pattern matches only the empty name, as in RabbitMQ.
static int
compile(struct slice pattern, void **ret_code, char **ret_error)
{
    int code;
    PCRE2_SIZE offset;
    struct slice effective = pattern.len == 0 ? SLICE_LIT("^$") : pattern;
    if (pattern.len > PATTERN_MAX) {
        *ret_error = mem_xstrdup("the regular expression is longer than 4096 bytes");
        return -LE_LIMIT;
    }
    pcre2_code *compiled =
        pcre2_compile(effective.ptr, effective.len, PCRE2_NEVER_BACKSLASH_C, &code, &offset, NULL);
    if (compiled == NULL) {
        *ret_error = format_error(pattern, code, offset);
        return -LE_INVAL;
    }
    *ret_code = compiled;
    return 0;
}

static uint8_t *
copy_to(uint8_t *at, struct slice from, struct slice *to)
{
    if (from.len > 0)
        memcpy(at, from.ptr, from.len);
    *to = slice_of(at, from.len);
    return at + from.len;
}

int
permission_new(struct slice user, struct slice vhost, const struct slice pattern[3], struct permission **ret,
               char **ret_error)
{
    struct permission *p = mem_xcalloc(1, sizeof(*p) + user.len + vhost.len + pattern[0].len +
                                              pattern[1].len + pattern[2].len + 1);
    uint8_t *at = (uint8_t *)(p + 1);
    at = copy_to(at, user, &p->user);
    at = copy_to(at, vhost, &p->vhost);
    for (int i = 0; i < 3; i++) {
        at = copy_to(at, pattern[i], &p->pattern[i]);
        int err = compile(pattern[i], &p->code[i], ret_error);
        if (err != 0) {
            permission_free(p);
            return err;
        }
    }
    *ret = p;
    return 0;
}

void
permission_free(struct permission *p)
{
    if (p == NULL)
        return;
    for (int i = 0; i < 3; i++)
        pcre2_code_free(p->code[i]);
    mem_free(p);
}

static bool
has_variable(struct slice pattern)
{
    static const char *const variables[] = {"{username}", "{vhost}", "{client_id}"};
    for (size_t i = 0; i < LV_ARRAY_LEN(variables); i++) {
        if (pattern.len > 0 && memmem(pattern.ptr, pattern.len, variables[i], strlen(variables[i])) != NULL)
            return true;
    }
    return false;
}

int
topic_permission_new(struct slice user, struct slice vhost, struct slice exchange,
                     const struct slice pattern[3], struct topic_permission **ret, char **ret_error)
{
    size_t extra = user.len + vhost.len + exchange.len + pattern[0].len + pattern[1].len + pattern[2].len + 1;
    struct topic_permission *p = mem_xcalloc(1, sizeof(*p) + extra);
    uint8_t *at = (uint8_t *)(p + 1);
    at = copy_to(at, user, &p->user);
    at = copy_to(at, vhost, &p->vhost);
    at = copy_to(at, exchange, &p->exchange);
    for (int i = 0; i < 3; i++) {
        at = copy_to(at, pattern[i], &p->pattern[i]);
        int err = compile(pattern[i], &p->code[i], ret_error);
        if (err != 0) {
            topic_permission_free(p);
            return err;
        }
        if (has_variable(pattern[i])) {
            pcre2_code_free(p->code[i]);
            p->code[i] = NULL;
        }
    }
    *ret = p;
    return 0;
}

void
topic_permission_free(struct topic_permission *p)
{
    if (p == NULL)
        return;
    for (int i = 0; i < 3; i++)
        pcre2_code_free(p->code[i]);
    mem_free(p);
}

// --- checking -----------------------------------------------------------------------------------------------------------------

static bool
matches(struct auth_cache *c, const void *code, struct slice subject, struct slice pattern)
{
    const uint8_t *text = subject.ptr != NULL ? subject.ptr : (const uint8_t *)"";
    int rc = pcre2_match(code, text, subject.len, 0, PCRE2_NO_UTF_CHECK, c->match_data, c->match_context);
    if (rc < 0 && rc != PCRE2_ERROR_NOMATCH)
        log_warn(LOG_CONNECTION,
                 "permission pattern '%.*s' on '%.*s': the match was given up (%d); access is refused",
                 SLICE_FMT(pattern), SLICE_FMT(subject), rc);
    return rc >= 0; // 0: matched, more groups than the match data has room for
}

static struct cached_answer *
cache_slot(struct auth_cache *c, const struct topology *t, uint64_t hash)
{
    if (c->auth_version != t->auth_version) {
        memset(c->slots, 0, sizeof c->slots);
        c->auth_version = t->auth_version;
    }
    return &c->slots[hash % CACHE_SLOTS];
}

static uint64_t
answer_hash(struct slice user, struct slice vhost, const char *kind, struct slice name, enum access access)
{
    uint8_t tag[2] = {(uint8_t)kind[0], (uint8_t)access};
    uint64_t hash =
        slice_hash_more(name, slice_hash_more(vhost, slice_hash_more(user, slice_hash(slice_of(tag, 2)))));
    return hash == 0 ? 1 : hash;
}

bool
auth_check(struct auth_cache *c, const struct topology *t, struct slice user, struct slice vhost,
           const char *kind, struct slice name, enum access access, struct fault *ret_fault)
{
    if (name.len == 0 && kind[0] == 'e')
        name = SLICE_LIT("amq.default");
    uint64_t hash = answer_hash(user, vhost, kind, name, access);
    struct cached_answer *slot = cache_slot(c, t, hash);
    if (slot->hash != hash) {
        const struct permission *p = topology_permission(t, user, vhost);
        slot->is_allowed = p != NULL && matches(c, p->code[access], name, p->pattern[access]);
        slot->hash = hash;
    }
    if (!slot->is_allowed)
        fault_set(ret_fault, FAULT_ACCESS_REFUSED,
                  "access to %s '%.*s' in vhost '%.*s' refused for user '%.*s'", kind, SLICE_FMT(name),
                  SLICE_FMT(vhost), SLICE_FMT(user));
    return slot->is_allowed;
}

// Puts the user's and vhost's names in place of the variables, quoted, so that a name cannot be a pattern.
static void
expand(struct buf *out, struct slice pattern, struct slice user, struct slice vhost)
{
    for (size_t i = 0; i < pattern.len;) {
        struct slice rest = slice_from(pattern, i);
        struct slice value;
        if (slice_has_prefix(rest, SLICE_LIT("{username}"))) {
            value = user;
            i += 10;
        } else if (slice_has_prefix(rest, SLICE_LIT("{vhost}"))) {
            value = vhost;
            i += 7;
        } else {
            buf_append_u8(out, pattern.ptr[i++]);
            continue;
        }
        for (size_t k = 0; k < value.len; k++) {
            bool is_plain =
                value.ptr[k] >= 0x80 || value.ptr[k] == '_' || (value.ptr[k] >= '0' && value.ptr[k] <= '9') ||
                (value.ptr[k] >= 'a' && value.ptr[k] <= 'z') || (value.ptr[k] >= 'A' && value.ptr[k] <= 'Z');
            if (!is_plain)
                buf_append_u8(out, '\\');
            buf_append_u8(out, value.ptr[k]);
        }
    }
}

static bool
topic_matches(struct auth_cache *c, const struct topic_permission *p, enum access access, struct slice key,
              struct slice user, struct slice vhost)
{
    if (p->code[access] != NULL)
        return matches(c, p->code[access], key, p->pattern[access]);
    struct buf expanded = BUF_INIT;
    void *code = NULL;
    char *error = NULL;
    expand(&expanded, p->pattern[access], user, vhost);
    bool is_match = !expanded.failed && compile(buf_slice(&expanded), &code, &error) == 0 &&
                    matches(c, code, key, buf_slice(&expanded));
    pcre2_code_free(code);
    mem_free(error);
    buf_fini(&expanded);
    return is_match;
}

bool
auth_check_topic(struct auth_cache *c, const struct topology *t, struct slice user, struct slice vhost,
                 struct slice exchange, struct slice routing_key, enum access access, struct fault *ret_fault)
{
    if (t->topic_permissions.count == 0)
        return true;
    const struct topic_permission *p = topology_topic_permission(t, user, vhost, exchange);
    if (p == NULL || topic_matches(c, p, access, routing_key, user, vhost))
        return true;
    fault_set(ret_fault, FAULT_ACCESS_REFUSED,
              "access to topic '%.*s' in exchange '%.*s' in vhost '%.*s' refused for user '%.*s'",
              SLICE_FMT(routing_key), SLICE_FMT(exchange), SLICE_FMT(vhost), SLICE_FMT(user));
    return false;
}
