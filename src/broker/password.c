// password.c: RabbitMQ's password hashes, base-64, user tags (documentation: https://www.rabbitmq.com/passwords.html).
//
// A hash is 4 random bytes of salt followed by digest(salt + password). Comparison takes the same time wherever the bytes differ.
#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "src/base/mem.h"
#include "src/base/rng.h"
#include "src/broker/auth.h"

enum { SALT_LEN = 4 };

static const EVP_MD *
digest_of(struct slice hashing)
{
    if (hashing.len == 0 || slice_eq_str(hashing, "rabbit_password_hashing_sha256"))
        return EVP_sha256();
    if (slice_eq_str(hashing, "rabbit_password_hashing_sha512"))
        return EVP_sha512();
    return slice_eq_str(hashing, "rabbit_password_hashing_md5") ? EVP_md5() : NULL;
}

static int
digest_salted(const EVP_MD *md, const uint8_t salt[SALT_LEN], struct slice password, uint8_t *out,
              size_t *ret_len)
{
    unsigned len = 0;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    int ok = ctx != NULL && EVP_DigestInit_ex(ctx, md, NULL) == 1 &&
             EVP_DigestUpdate(ctx, salt, SALT_LEN) == 1 &&
             (password.len == 0 || EVP_DigestUpdate(ctx, password.ptr, password.len) == 1) &&
             EVP_DigestFinal_ex(ctx, out, &len) == 1;
    EVP_MD_CTX_free(ctx);
    *ret_len = len;
    return ok ? 0 : -LE_NOMEM;
}

int
password_hash_make(struct slice password, struct slice hashing, uint8_t ret_hash[PASSWORD_HASH_MAX],
                   size_t *ret_len)
{
    const EVP_MD *md = digest_of(hashing);
    size_t digest_len;
    if (md == NULL)
        return -LE_UNSUPPORTED;
    rng_secure(ret_hash, SALT_LEN);
    int err = digest_salted(md, ret_hash, password, ret_hash + SALT_LEN, &digest_len);
    *ret_len = SALT_LEN + digest_len;
    return err;
}

bool
password_matches(const struct user *u, struct slice password)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    size_t len;
    const EVP_MD *md = digest_of(u->hashing);
    // Users without a hash cannot log in; an empty password never matches, whatever the hash.
    if (md == NULL || u->password_hash.len <= SALT_LEN || password.len == 0)
        return false;
    if (digest_salted(md, u->password_hash.ptr, password, digest, &len) != 0)
        return false;
    bool is_same = len == u->password_hash.len - SALT_LEN &&
                   CRYPTO_memcmp(digest, u->password_hash.ptr + SALT_LEN, len) == 0;
    mem_wipe(digest, sizeof digest);
    return is_same;
}

int
base64_decode(struct slice text, uint8_t *out, size_t cap, size_t *ret_len)
{
    if (text.len % 4 != 0 || text.len / 4 * 3 > cap + 2)
        return -LE_SYNTAX;
    if (text.len == 0) {
        *ret_len = 0;
        return 0;
    }
    size_t padding = (text.ptr[text.len - 1] == '=' ? 1u : 0u) + (text.ptr[text.len - 2] == '=' ? 1u : 0u);
    size_t len = text.len / 4 * 3 - padding;
    uint8_t *whole = mem_alloc(text.len / 4 * 3 + 1);
    if (whole == NULL)
        return -LE_NOMEM;
    // It skips white space around the text, and would then give less than the length says.
    bool is_whole = len <= cap && EVP_DecodeBlock(whole, text.ptr, (int)text.len) == (int)(text.len / 4 * 3);
    int err = is_whole ? 0 : -LE_SYNTAX;
    if (err == 0) {
        memcpy(out, whole, len);
        *ret_len = len;
    }
    mem_free(whole);
    return err;
}

size_t
base64_encode(struct slice bytes, char *out, size_t cap)
{
    size_t len = (bytes.len + 2) / 3 * 4;
    if (len + 1 > cap)
        return 0;
    if (bytes.len > 0)
        EVP_EncodeBlock((unsigned char *)out, bytes.ptr, (int)bytes.len);
    out[len] = '\0';
    return len;
}

uint32_t
user_tags_parse(struct slice text)
{
    static const struct {
        const char *name;
        uint32_t flag;
    } known[] = {{"administrator", USER_TAG_ADMINISTRATOR},
                 {"monitoring", USER_TAG_MONITORING},
                 {"policymaker", USER_TAG_POLICYMAKER},
                 {"management", USER_TAG_MANAGEMENT},
                 {"impersonator", USER_TAG_IMPERSONATOR}};
    uint32_t flags = 0;
    if (text.len == 0)
        return 0;
    for (size_t start = 0; start <= text.len;) {
        size_t end = start;
        while (end < text.len && text.ptr[end] != ',')
            end++;
        struct slice tag = slice_of(text.ptr + start, end - start);
        while (tag.len > 0 && tag.ptr[0] == ' ')
            tag = slice_from(tag, 1);
        while (tag.len > 0 && tag.ptr[tag.len - 1] == ' ')
            tag.len--;
        for (size_t i = 0; i < LV_ARRAY_LEN(known); i++)
            flags |= slice_eq_str(tag, known[i].name) ? known[i].flag : 0;
        start = end + 1;
    }
    return flags;
}
