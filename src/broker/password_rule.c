// password_rule.c: which passwords users may be given: RabbitMQ's credential validators and their texts.
//
// Passwords are bytes, and so is what the regular expression sees. A match that hits PCRE2's limits is a refusal.
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "src/base/mem.h"
#include "src/broker/auth.h"

// LIMIT: steps of one match.
enum { RULE_MATCH_LIMIT = 100000, RULE_DEPTH_LIMIT = 1000 };

struct password_rule {
    size_t min_bytes;
    pcre2_code *code; // NULL: any
};

int
password_rule_new(size_t min_bytes, struct slice regexp, struct password_rule **ret, char **ret_error)
{
    PCRE2_UCHAR text[160] = "";
    struct buf sentence = BUF_INIT;
    struct password_rule *r = mem_xcalloc(1, sizeof *r);
    PCRE2_SIZE offset;
    int code;
    r->min_bytes = min_bytes;
    if (regexp.len > 0)
        r->code = pcre2_compile(regexp.ptr, regexp.len, PCRE2_NEVER_BACKSLASH_C, &code, &offset, NULL);
    if (regexp.len == 0 || r->code != NULL) {
        *ret = r;
        return 0;
    }
    (void)pcre2_get_error_message(code, text, sizeof text); // what does not fit is cut
    buf_printf(&sentence, "invalid regular expression: %s at offset %zu", (const char *)text, (size_t)offset);
    *ret_error = mem_xstrdup(buf_cstr(&sentence));
    buf_fini(&sentence);
    password_rule_free(r);
    return -LE_INVAL;
}

void
password_rule_free(struct password_rule *r)
{
    if (r == NULL)
        return;
    pcre2_code_free(r->code);
    mem_free(r);
}

static bool
is_match(const pcre2_code *code, struct slice password)
{
    static const uint8_t nothing[1];
    pcre2_match_data *data = pcre2_match_data_create(1, NULL);
    pcre2_match_context *context = pcre2_match_context_create(NULL);
    bool is_good = false;
    if (data != NULL && context != NULL) {
        pcre2_set_match_limit(context, RULE_MATCH_LIMIT);
        pcre2_set_depth_limit(context, RULE_DEPTH_LIMIT);
        const uint8_t *bytes = password.len > 0 ? password.ptr : nothing;
        is_good = pcre2_match(code, bytes, password.len, 0, 0, data, context) >= 0;
    }
    pcre2_match_data_free(data);
    pcre2_match_context_free(context);
    return is_good;
}

bool
password_rule_allows(const struct password_rule *r, struct slice password, struct buf *reason)
{
    if (r == NULL)
        return true;
    if (password.len < r->min_bytes) {
        buf_printf(reason, "minimum required password length is %zu", r->min_bytes);
        return false;
    }
    if (r->code != NULL && !is_match(r->code, password)) {
        buf_append_str(reason, "provided password does not match the validator regular expression");
        return false;
    }
    return true;
}
