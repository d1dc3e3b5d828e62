// auth.h: who may log in, and who may do what: password hashes, permissions as PCRE2 regexes with match limits, topic permissions.
//
// Semantics and texts are RabbitMQ's (access control). struct permission and struct topic_permission are immutable parts of the
// topology, compiled once by the writer; matching is safe on any thread with the caller's own cache.
#pragma once

#include "src/base/buf.h"
#include "src/broker/fault.h"
#include "src/broker/topology.h"

enum access { ACCESS_CONFIGURE, ACCESS_WRITE, ACCESS_READ };

struct permission {
    struct slice user, vhost;
    struct slice pattern[3]; // by enum access; text as given
    void *code[3]; // pcre2_code; NULL for the empty pattern, which matches only the empty name ("^$")
};

struct topic_permission {
    struct slice user, vhost, exchange;
    struct slice pattern[3]; // [ACCESS_WRITE], [ACCESS_READ]; may hold {username}, {vhost}, {client_id}
    void *code[3];           // NULL where a variable has to be filled in first
};

// Compile; -LE_INVAL with a sentence for people when a regex is bad (heap, mem_free). *ret owns copies of everything.
LV_MUST_USE int permission_new(struct slice user, struct slice vhost, const struct slice pattern[3],
                               struct permission **ret, char **ret_error);
void permission_free(struct permission *p);
LV_MUST_USE int topic_permission_new(struct slice user, struct slice vhost, struct slice exchange,
                                     const struct slice pattern[3], struct topic_permission **ret,
                                     char **ret_error);
void topic_permission_free(struct topic_permission *p);

// RabbitMQ's salted hash: 4 random bytes of salt + digest(salt + password). "rabbit_password_hashing_sha256", _sha512 and _md5.
enum { PASSWORD_HASH_MAX = 4 + 64 };
LV_MUST_USE int password_hash_make(struct slice password, struct slice hashing,
                                   uint8_t ret_hash[PASSWORD_HASH_MAX], size_t *ret_len);
bool password_matches(const struct user *u, struct slice password); // constant time in the digest
// Which passwords users may be given: at least `min_bytes` long and, unless `regexp` is empty, matching it. -LE_INVAL with a
// sentence (heap) when the regexp is bad.
struct password_rule;
LV_MUST_USE int password_rule_new(size_t min_bytes, struct slice regexp, struct password_rule **ret,
                                  char **ret_error);
void password_rule_free(struct password_rule *r); // accepts NULL
// False: `reason` gets RabbitMQ's sentence. A NULL rule allows everything. Any thread.
bool password_rule_allows(const struct password_rule *r, struct slice password, struct buf *reason);
LV_MUST_USE int base64_decode(struct slice text, uint8_t *out, size_t cap, size_t *ret_len);
size_t base64_encode(struct slice bytes, char *out, size_t cap); // NUL-terminated; 0 when it does not fit
uint32_t user_tags_parse(struct slice comma_separated);          // enum user_tag flags

// What a client may not do twice the slow way: results of the last checks, dropped when topology.auth_version changes.
struct auth_cache;
LV_MUST_USE struct auth_cache *auth_cache_new(void); // about 1 KiB
void auth_cache_free(struct auth_cache *c);

// May `user` access the resource? The name of the default exchange is checked as "amq.default". Fills 403
// "ACCESS_REFUSED - access to queue 'q' in vhost 'v' refused for user 'u'" on false. kind: "queue" or "exchange".
bool auth_check(struct auth_cache *c, const struct topology *t, struct slice user, struct slice vhost,
                const char *kind, struct slice name, enum access access, struct fault *ret_fault);
// Topic exchanges only: without a topic_permission for that exchange everything is allowed.
bool auth_check_topic(struct auth_cache *c, const struct topology *t, struct slice user, struct slice vhost,
                      struct slice exchange, struct slice routing_key, enum access access,
                      struct fault *ret_fault);
