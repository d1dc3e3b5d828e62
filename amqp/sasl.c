// sasl.c: PLAIN is NUL user NUL password (RabbitMQ takes no authorisation id in front, nor do we); AMQPLAIN
// is the content of a field table with long strings LOGIN and PASSWORD.
#include "amqp/sasl.h"

#include "amqp/wire/table.h"
#include "src/base/err.h"

static const char *const names[] = {[SASL_NONE] = "", [SASL_PLAIN] = "PLAIN", [SASL_AMQPLAIN] = "AMQPLAIN"};

enum sasl_mechanism
sasl_mechanism_of(struct slice name)
{
    for (size_t i = SASL_PLAIN; i < LV_ARRAY_LEN(names); i++) {
        if (slice_eq_str(name, names[i]))
            return (enum sasl_mechanism)i;
    }
    return SASL_NONE;
}

const char *
sasl_mechanism_name(enum sasl_mechanism mechanism)
{
    LV_ASSERT((size_t)mechanism < LV_ARRAY_LEN(names));
    return names[mechanism];
}

static int
parse_plain(struct slice r, struct slice *ret_user, struct slice *ret_password)
{
    if (r.len < 2 || r.ptr[0] != 0)
        return -LE_SYNTAX;
    r = slice_from(r, 1);
    const uint8_t *nul = memchr(r.ptr, 0, r.len);
    if (nul == NULL)
        return -LE_SYNTAX;
    struct slice user = slice_head(r, (size_t)(nul - r.ptr));
    struct slice password = slice_from(r, user.len + 1);
    if (password.len > 0 && memchr(password.ptr, 0, password.len) != NULL)
        return -LE_SYNTAX;
    *ret_user = user;
    *ret_password = password;
    return 0;
}

static int
parse_amqplain(struct slice r, struct slice *ret_user, struct slice *ret_password)
{
    struct slice user, password;
    if (table_validate(r, TABLE_DEPTH_MAX) != 0 || !table_find_longstr(r, SLICE_LIT("LOGIN"), &user) ||
        !table_find_longstr(r, SLICE_LIT("PASSWORD"), &password))
        return -LE_SYNTAX;
    *ret_user = user;
    *ret_password = password;
    return 0;
}

int
sasl_parse(enum sasl_mechanism mechanism, struct slice response, struct slice *ret_user,
           struct slice *ret_password)
{
    switch (mechanism) {
    case SASL_PLAIN: return parse_plain(response, ret_user, ret_password);
    case SASL_AMQPLAIN: return parse_amqplain(response, ret_user, ret_password);
    case SASL_NONE: break;
    }
    return -LE_SYNTAX;
}

bool
sasl_is_offered(struct slice mechanisms, struct slice name)
{
    while (mechanisms.len > 0) {
        const uint8_t *space = memchr(mechanisms.ptr, ' ', mechanisms.len);
        size_t len = space != NULL ? (size_t)(space - mechanisms.ptr) : mechanisms.len;
        if (len > 0 && slice_eq(slice_head(mechanisms, len), name))
            return true;
        mechanisms = slice_from(mechanisms, LV_MIN(len + 1, mechanisms.len));
    }
    return false;
}
