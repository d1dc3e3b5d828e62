// api_tokens.h: log-ins that last for a while: random tokens, each of which stands for a user, so that the console need not keep a
// password.
//
// A token is for who holds it, in an Authorization header ("Bearer TOKEN"): no cookie, so that no other page can make a browser send it.
// It ends when it was not used for some time, when its user logs out, is deleted or gets another password, and with the process. What
// the user may do is looked up at each request, as with a password. Only digests are kept. One thread.
#pragma once

#include "src/broker/topology.h"

// LIMIT: tokens in all and of one user; one more ends the one that was not used for longest. Characters of a token.
enum { API_TOKENS_MAX = 1024, API_TOKENS_OF_USER_MAX = 32, API_TOKEN_LEN = 43 };

struct api_tokens;

LV_MUST_USE struct api_tokens *api_tokens_new(void); // NULL: out of memory
void api_tokens_free(struct api_tokens *t);          // accepts NULL

// A new token for that user, NUL-terminated. now_ms: monotonic, here and below. -LE_xxx: no memory, no random bytes.
LV_MUST_USE int api_token_make(struct api_tokens *t, const struct user *u, int64_t now_ms,
                               char ret[static API_TOKEN_LEN + 1]);
// Whose token is it? NULL: nobody's (any more); otherwise it is used now. idle_ms: how long one may be unused.
const struct user *api_token_user(struct api_tokens *t, const struct topology *topology, struct slice token,
                                  int64_t idle_ms, int64_t now_ms);
void api_token_drop(struct api_tokens *t, struct slice token); // harmless when it is none
size_t api_token_count(const struct api_tokens *t);
