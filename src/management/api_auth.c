// api_auth.c: see api_auth.h.
//
// Refusals are counted by address in a small table: each ten seconds take one off; beyond BURST the address waits. When the table is
// full the address that was refused longest ago makes room, so that an attacker with many addresses costs no more memory.
// Passwords that were right are remembered as a keyed digest of user, stored hash and password: a change of the password forgets it.
#include "src/management/api_auth.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <uthash.h>

#include "src/base/clock.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/broker/auth.h"
#include "src/management/api.h"
#include "src/management/api_tokens.h"
#include "src/management/http_server.h"

// LIMIT: addresses that are remembered, log-ins that are, bytes of a header with credentials.
enum { ADDRESSES_MAX = 1024, KNOWN_MAX = 256, HEADER_MAX = 4096 };
enum { BURST = 20, FORGIVE_MS = 10 * 1000, KNOWN_MS = 10 * 60 * 1000 };

struct address {
    UT_hash_handle hh; // in the order of insertion
    int64_t last_ms;   // when `refusals` was right
    unsigned refusals;
    char text[64];
};

struct known {
    uint8_t digest[32];
    int64_t until_ms; // 0: empty
};

struct api_auth {
    struct address *addresses;
    uint8_t key[32];
    struct known known[KNOWN_MAX];
    struct api_auth_attempts attempts;
    int64_t logged_ms; // when the last refusal was logged: one line a second
};

struct api_auth *
api_auth_new(void)
{
    struct api_auth *a = mem_calloc(1, sizeof *a);
    if (a != NULL && RAND_bytes(a->key, sizeof a->key) != 1) {
        mem_free(a);
        return NULL;
    }
    return a;
}

void
api_auth_free(struct api_auth *a)
{
    struct address *at, *next;
    if (a == NULL)
        return;
    HASH_ITER(hh, a->addresses, at, next)
    {
        HASH_DEL(a->addresses, at);
        mem_free(at);
    }
    mem_wipe(a, sizeof *a);
    mem_free(a);
}

void
api_auth_attempts(const struct api_auth *a, struct api_auth_attempts *ret)
{
    *ret = a->attempts;
}

void
api_auth_forget_attempts(struct api_auth *a)
{
    a->attempts = (struct api_auth_attempts){0};
}

int
api_auth_parse_basic(const char *header, struct buf *room, struct slice *ret_user, struct slice *ret_password)
{
    size_t len = strnlen(header, HEADER_MAX), out = 0;
    if (len == HEADER_MAX || len < 6 || strncasecmp(header, "Basic ", 6) != 0)
        return -LE_SYNTAX;
    struct slice text = slice_of(header + 6, len - 6);
    while (text.len > 0 && text.ptr[text.len - 1] == ' ')
        text.len--;
    if (!buf_reserve(room, text.len) || base64_decode(text, room->ptr, room->cap, &out) != 0)
        return -LE_SYNTAX;
    room->len = out;
    const uint8_t *colon = out > 0 ? memchr(room->ptr, ':', out) : NULL;
    // A name with a NUL in it would be another one as soon as it is a C string.
    if (colon == NULL || memchr(room->ptr, 0, (size_t)(colon - room->ptr)) != NULL)
        return -LE_SYNTAX;
    *ret_user = slice_of(room->ptr, (size_t)(colon - room->ptr));
    *ret_password = slice_from(buf_slice(room), ret_user->len + 1);
    return 0;
}

// --- log-ins that were right ------------------------------------------------------------------------------------------------------

// Keyed digest; false when the library fails (then nothing is remembered).
static bool
digest_of(const struct api_auth *a, const struct user *u, struct slice password, uint8_t out[static 32])
{
    struct buf text = BUF_INIT;
    unsigned len = 0;
    buf_append_u32be(&text, (uint32_t)u->name.len);
    buf_append_slice(&text, u->name);
    buf_append_u32be(&text, (uint32_t)u->password_hash.len);
    buf_append_slice(&text, u->password_hash);
    buf_append_slice(&text, password);
    bool is_made = !text.failed &&
                   HMAC(EVP_sha256(), a->key, sizeof a->key, text.ptr, text.len, out, &len) != NULL &&
                   len == 32;
    if (text.ptr != NULL)
        mem_wipe(text.ptr, text.cap);
    buf_fini(&text);
    return is_made;
}

static struct known *
slot_of(struct api_auth *a, const uint8_t digest[static 32])
{
    return &a->known[digest[0] % KNOWN_MAX];
}

static bool
is_known(struct api_auth *a, const uint8_t digest[static 32], int64_t now_ms)
{
    const struct known *k = slot_of(a, digest);
    return k->until_ms > now_ms && CRYPTO_memcmp(k->digest, digest, sizeof k->digest) == 0;
}

static void
remember(struct api_auth *a, const uint8_t digest[static 32], int64_t now_ms)
{
    struct known *k = slot_of(a, digest);
    memcpy(k->digest, digest, sizeof k->digest);
    k->until_ms = now_ms + KNOWN_MS;
}

// --- refusals ---------------------------------------------------------------------------------------------------------------------

static struct address *
address_find(struct api_auth *a, const char *text, int64_t now_ms)
{
    struct address *at;
    HASH_FIND_STR(a->addresses, text, at);
    if (at == NULL || now_ms < at->last_ms)
        return at;
    uint64_t forgiven = (uint64_t)(now_ms - at->last_ms) / FORGIVE_MS;
    at->refusals -= (unsigned)LV_MIN(forgiven, (uint64_t)at->refusals);
    at->last_ms += (int64_t)forgiven * FORGIVE_MS;
    return at;
}

static void
note_refusal(struct api_auth *a, const char *text, int64_t now_ms)
{
    struct address *at = address_find(a, text, now_ms);
    if (at != NULL) {
        HASH_DEL(a->addresses, at); // to the end: it is the youngest now
        HASH_ADD_STR(a->addresses, text, at);
    } else {
        if (HASH_COUNT(a->addresses) >= ADDRESSES_MAX) {
            struct address *oldest = a->addresses;
            HASH_DEL(a->addresses, oldest);
            mem_free(oldest);
        }
        at = mem_calloc(1, sizeof *at);
        if (at == NULL)
            return;
        snprintf(at->text, sizeof at->text, "%s", text);
        at->last_ms = now_ms;
        HASH_ADD_STR(a->addresses, text, at);
    }
    if (at->refusals < 2 * BURST)
        at->refusals++;
}

static bool
must_wait(struct api_auth *a, const char *text, int64_t now_ms)
{
    const struct address *at = address_find(a, text, now_ms);
    return at != NULL && at->refusals >= BURST;
}

// --- checking -----------------------------------------------------------------------------------------------------------------------

// What an unknown user's password is compared with, so that it takes as long.
static bool
matches_nobody(struct slice password)
{
    static const uint8_t hash[4 + 32];
    const struct user nobody = {.password_hash = slice_of(hash, sizeof hash),
                                .hashing = SLICE_LIT("rabbit_password_hashing_sha256")};
    return password_matches(&nobody, password) && false;
}

enum api_login
api_auth_check(struct api_auth *a, const struct topology *t, const struct api_credentials *c, int64_t now_ms)
{
    uint8_t digest[32];
    const struct user *u = topology_user(t, c->user);
    bool has_password = u != NULL && u->password_hash.len > 0;
    bool has_digest = has_password && digest_of(a, u, c->password, digest);
    bool is_right = has_digest && is_known(a, digest, now_ms);
    if (!is_right && must_wait(a, c->address, now_ms))
        return API_LOGIN_WAIT;
    if (!is_right)
        is_right = has_password ? password_matches(u, c->password) : matches_nobody(c->password);
    a->attempts.attempts++;
    if (!is_right || c->is_from_elsewhere_refused) {
        a->attempts.refused++;
        note_refusal(a, c->address, now_ms);
        return API_LOGIN_REFUSED;
    }
    if (has_digest)
        remember(a, digest, now_ms);
    return API_LOGIN_OK;
}

static bool
refuse(struct api_request *r, enum api_login result, struct slice user, const char *address)
{
    struct api_auth *a = http_server_auth(r->server);
    int64_t now_ms = clock_wall_ms();
    if (now_ms - a->logged_ms >= 1000 || now_ms < a->logged_ms) {
        log_warn(LOG_HTTP, "HTTP access denied: user '%.*s' from %s - %s", SLICE_FMT(user), address,
                 result == API_LOGIN_WAIT ? "too many refused log-ins" : "invalid credentials");
        a->logged_ms = now_ms;
    }
    if (result == API_LOGIN_WAIT)
        api_error(r, 429, "too_many_requests", "too many refused log-ins from this address");
    else
        api_error(r, 401, "not_authorized", "Login failed");
    return false;
}

// --- tokens -----------------------------------------------------------------------------------------------------------------------

// The token of "Bearer TOKEN"; NULL ptr: it is something else.
static struct slice
token_of(const struct api_request *r)
{
    const char *header = http_header(r, "Authorization");
    if (header == NULL || strncasecmp(header, "Bearer ", 7) != 0)
        return SLICE_EMPTY;
    return slice_of(header + 7, strnlen(header + 7, API_TOKEN_LEN + 1));
}

bool
api_is_of_console(const struct api_request *r)
{
    return token_of(r).ptr != NULL || slice_eq_str(api_segment(r, 1), "session");
}

static bool
is_from_elsewhere_refused(const struct api_request *r, const char *name, bool is_loopback)
{
    const struct api_node *n = http_server_node(r->server);
    return !is_loopback && n->is_loopback_user != NULL && n->is_loopback_user(n->ctx, name);
}

static bool
log_in_by_token(struct api_request *r, struct slice token, bool is_loopback)
{
    int64_t idle_ms = (int64_t)http_server_config(r->server)->session_minutes * 60 * 1000;
    const struct user *u = api_token_user(http_server_tokens(r->server), api_topology(r), token, idle_ms,
                                          (int64_t)(clock_mono_ns() / 1000000));
    char *name = u != NULL ? mem_xslice_dup(u->name) : NULL;
    if (u == NULL || is_from_elsewhere_refused(r, name, is_loopback)) {
        mem_free(name);
        api_error(r, 401, "not_authorized", "The log-in has ended");
        return false;
    }
    r->user = name;
    r->tags = u->tag_flags;
    r->has_token = true;
    return true;
}

// --- pages of other origins ---------------------------------------------------------------------------------------------------------

static bool
is_json(const struct api_request *r)
{
    const char *type = http_header(r, "Content-Type");
    return type != NULL && strncasecmp(type, "application/json", 16) == 0;
}

// Does the configuration let pages of that origin change things? "*" does, but never with a log-in that the browser adds by itself:
// what is sent without the browser's having asked first is not JSON.
static bool
is_allowed_origin(const struct api_request *r, const char *origin)
{
    const struct http_config *config = http_server_config(r->server);
    for (size_t i = 0; i < config->cors_origin_count; i++) {
        if (strcmp(config->cors_origins[i], origin) == 0 ||
            (strcmp(config->cors_origins[i], "*") == 0 && (r->method != API_POST || is_json(r))))
            return true;
    }
    return false;
}

// Would it change something, and did a page of another origin make a browser send it? Only browsers say where a request comes from.
static bool
is_forged(const struct api_request *r)
{
    const char *site = http_header(r, "Sec-Fetch-Site"), *origin = http_header(r, "Origin"),
               *host = http_header(r, "Host");
    if ((r->method & (API_PUT | API_POST | API_DELETE)) == 0)
        return false;
    if (site != NULL && (strcmp(site, "same-origin") == 0 || strcmp(site, "none") == 0))
        return false;
    if (origin == NULL)
        return site != NULL;
    const char *authority = strstr(origin, "://");
    bool is_own = site == NULL && host != NULL && authority != NULL && strcasecmp(authority + 3, host) == 0;
    return !is_own && !is_allowed_origin(r, origin);
}

bool
api_log_in(struct api_request *r)
{
    struct buf room = BUF_INIT;
    char address[64];
    uint16_t port;
    bool is_loopback, is_in = false;
    struct api_credentials c = {.address = address};
    const char *header = http_header(r, "Authorization");
    struct slice token = token_of(r);
    http_peer(r, address, sizeof address, &port, &is_loopback);
    if (header == NULL) {
        api_reply(r, 401);
        return false;
    }
    if (token.ptr != NULL)
        return log_in_by_token(r, token, is_loopback);
    if (is_forged(r)) {
        api_error(r, 403, "forbidden", "a page of another origin may not do this");
        return false;
    }
    if (api_auth_parse_basic(header, &room, &c.user, &c.password) != 0) {
        is_in = refuse(r, API_LOGIN_REFUSED, SLICE_LIT(""), address);
    } else {
        char *name = mem_xslice_dup(c.user);
        c.is_from_elsewhere_refused = is_from_elsewhere_refused(r, name, is_loopback);
        const struct topology *t = api_topology(r);
        enum api_login result = api_auth_check(http_server_auth(r->server), t, &c, clock_wall_ms());
        is_in = result == API_LOGIN_OK;
        if (is_in) {
            r->user = name;
            r->tags = topology_user(t, c.user)->tag_flags;
        } else {
            is_in = refuse(r, result, c.user, address);
            mem_free(name);
        }
    }
    if (room.ptr != NULL)
        mem_wipe(room.ptr, room.cap);
    buf_fini(&room);
    return is_in;
}
