// api_auth.h: who asks: HTTP basic authentication by the broker's own users, with the rules that AMQP log-ins have.
//
// A log-in is refused for an unknown user, a wrong password, an account without a password, and a loopback user that comes from
// elsewhere; the answer does not tell which. Comparing takes the same time for all of them. An address with many refusals in a short
// time is told to wait (429), but not those of its users whose password was right a moment ago. One thread.
#pragma once

#include "src/base/buf.h"
#include "src/broker/topology.h"

struct api_request;
struct api_auth;

LV_MUST_USE struct api_auth *api_auth_new(void); // NULL: out of memory
void api_auth_free(struct api_auth *a);          // accepts NULL

// Logs the request's user in, by password or by token (api_tokens.h): r->user and r->tags. False after answering: 401, 429, or 403
// to what a page of another origin made a browser send (a password that the browser knows goes along without being asked for; a token
// never does).
LV_MUST_USE bool api_log_in(struct api_request *r);
// Is it of a page that logs in by itself, and wants no "WWW-Authenticate"?
bool api_is_of_console(const struct api_request *r);

enum api_login { API_LOGIN_OK, API_LOGIN_REFUSED, API_LOGIN_WAIT };
struct api_credentials {
    struct slice user, password;
    const char *address;            // of the peer, as text
    bool is_from_elsewhere_refused; // the user may only come from a loopback address, and this is none
};
// Checks name and password, and counts. now_ms: wall clock.
enum api_login api_auth_check(struct api_auth *a, const struct topology *t, const struct api_credentials *c,
                              int64_t now_ms);
// "Basic BASE64" to user and password in `room`. -LE_SYNTAX: no such text.
LV_MUST_USE int api_auth_parse_basic(const char *header, struct buf *room, struct slice *ret_user,
                                     struct slice *ret_password);

struct api_auth_attempts {
    uint64_t attempts, refused;
};
void api_auth_attempts(const struct api_auth *a, struct api_auth_attempts *ret);
void api_auth_forget_attempts(struct api_auth *a);
