// api_tokens.c: see api_tokens.h.
//
// Tokens are found by the digest of their text. Each remembers a digest of its user's name and stored password, which is salted anew
// with every change: when the user of today has another one, the token is void. The table is in the order of the last use.
#include "src/management/api_tokens.h"

#include <openssl/evp.h>
#include <openssl/rand.h>
#include <uthash.h>

#include "src/base/mem.h"

enum { DIGEST = 32, RANDOM = 32 };
static_assert((RANDOM * 8 + 5) / 6 == API_TOKEN_LEN, "six bits a character");

struct token {
    UT_hash_handle hh; // in the order of the last use, the longest unused first
    uint8_t digest[DIGEST];
    uint8_t of_user[DIGEST]; // name and stored password
    int64_t used_ms;
    size_t name_len;
    char name[];
};

struct api_tokens {
    struct token *all;
};

struct api_tokens *
api_tokens_new(void)
{
    return mem_calloc(1, sizeof(struct api_tokens));
}

static void
drop(struct api_tokens *t, struct token *at)
{
    HASH_DEL(t->all, at);
    mem_wipe(at, sizeof *at);
    mem_free(at);
}

void
api_tokens_free(struct api_tokens *t)
{
    if (t == NULL)
        return;
    while (t->all != NULL)
        drop(t, t->all);
    mem_free(t);
}

size_t
api_token_count(const struct api_tokens *t)
{
    return HASH_COUNT(t->all);
}

static bool
digest_of(struct slice text, uint8_t out[static DIGEST])
{
    unsigned len = 0;
    return EVP_Digest(text.ptr, text.len, out, &len, EVP_sha256(), NULL) == 1 && len == DIGEST;
}

static bool
digest_of_user(const struct user *u, uint8_t out[static DIGEST])
{
    struct buf text = BUF_INIT;
    buf_append_u32be(&text, (uint32_t)u->name.len);
    buf_append_slice(&text, u->name);
    buf_append_slice(&text, u->password_hash);
    bool is_made = !text.failed && digest_of(buf_slice(&text), out);
    buf_fini(&text);
    return is_made;
}

static struct token *
find(struct api_tokens *t, struct slice text)
{
    struct token *at = NULL;
    uint8_t digest[DIGEST];
    if (text.len == API_TOKEN_LEN && digest_of(text, digest))
        HASH_FIND(hh, t->all, digest, DIGEST, at);
    return at;
}

// Makes room for one more of that user.
static void
make_room(struct api_tokens *t, struct slice user)
{
    struct token *oldest = NULL;
    size_t count = 0;
    for (struct token *at = t->all; at != NULL; at = at->hh.next) {
        if (!slice_eq(slice_of(at->name, at->name_len), user))
            continue;
        oldest = oldest == NULL ? at : oldest;
        count++;
    }
    if (count >= API_TOKENS_OF_USER_MAX)
        drop(t, oldest);
    else if (HASH_COUNT(t->all) >= API_TOKENS_MAX)
        drop(t, t->all);
}

// RFC 4648 §5, without padding.
static void
put_text(const uint8_t bytes[static RANDOM], char out[static API_TOKEN_LEN + 1])
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    for (size_t i = 0; i < API_TOKEN_LEN; i++) {
        size_t bit = 6 * i;
        unsigned next = bit / 8 + 1 < RANDOM ? bytes[bit / 8 + 1] : 0;
        unsigned window = (unsigned)bytes[bit / 8] << 8 | next;
        out[i] = letters[window >> (10 - bit % 8) & 63];
    }
    out[API_TOKEN_LEN] = '\0';
}

int
api_token_make(struct api_tokens *t, const struct user *u, int64_t now_ms, char ret[static API_TOKEN_LEN + 1])
{
    uint8_t bytes[RANDOM];
    char text[API_TOKEN_LEN + 1];
    struct token *at = mem_calloc(1, sizeof *at + u->name.len);
    if (at == NULL)
        return -LE_NOMEM;
    bool is_made = RAND_bytes(bytes, sizeof bytes) == 1;
    if (is_made) {
        put_text(bytes, text);
        is_made = digest_of(slice_str(text), at->digest) && digest_of_user(u, at->of_user);
    }
    if (!is_made) {
        mem_free(at);
        return -LE_NOMEM; // the library's only reason
    }
    make_room(t, u->name);
    at->used_ms = now_ms;
    at->name_len = u->name.len;
    memcpy(at->name, u->name.ptr, u->name.len);
    HASH_ADD(hh, t->all, digest, DIGEST, at);
    memcpy(ret, text, sizeof text);
    mem_wipe(bytes, sizeof bytes);
    mem_wipe(text, sizeof text);
    return 0;
}

const struct user *
api_token_user(struct api_tokens *t, const struct topology *topology, struct slice token, int64_t idle_ms,
               int64_t now_ms)
{
    uint8_t of_user[DIGEST];
    struct token *at = find(t, token);
    if (at == NULL)
        return NULL;
    const struct user *u = topology_user(topology, slice_of(at->name, at->name_len));
    if (u == NULL || now_ms - at->used_ms > idle_ms || !digest_of_user(u, of_user) ||
        memcmp(of_user, at->of_user, DIGEST) != 0) {
        drop(t, at);
        return NULL;
    }
    at->used_ms = now_ms;
    HASH_DEL(t->all, at); // to the end
    HASH_ADD(hh, t->all, digest, DIGEST, at);
    return u;
}

void
api_token_drop(struct api_tokens *t, struct slice token)
{
    struct token *at = find(t, token);
    if (at != NULL)
        drop(t, at);
}
