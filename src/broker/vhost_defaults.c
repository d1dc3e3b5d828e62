// vhost_defaults.c: see vhost_defaults.h.
#include "src/broker/vhost_defaults.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdio.h>

#include "src/base/log.h"
#include "src/base/mem.h"

// LIMIT: steps of one match: a pattern that backtracks without end does not match.
enum { MATCH_LIMIT = 100000 };

struct vhost_defaults {
    size_t count;
    struct compiled {
        struct vhost_default what; // without its pattern
        pcre2_code *code;
    } items[];
};

void
vhost_defaults_free(struct vhost_defaults *d)
{
    for (size_t i = 0; d != NULL && i < d->count; i++)
        pcre2_code_free(d->items[i].code);
    mem_free(d);
}

int
vhost_defaults_new(const struct vhost_default *items, size_t count, struct vhost_defaults **ret,
                   size_t *ret_bad, char **ret_error)
{
    struct vhost_defaults *d = mem_calloc(1, sizeof *d + count * sizeof d->items[0]);
    if (d == NULL)
        return -LE_NOMEM;
    for (size_t i = 0; i < count; i++) {
        int error;
        PCRE2_SIZE offset;
        d->items[i].what = items[i];
        d->items[i].what.pattern = SLICE_EMPTY;
        d->items[i].code =
            pcre2_compile(items[i].pattern.ptr, items[i].pattern.len, PCRE2_UTF, &error, &offset, NULL);
        if (d->items[i].code == NULL) {
            char text[256] = "";
            pcre2_get_error_message(error, (PCRE2_UCHAR *)text, sizeof text);
            *ret_error = mem_xstrdup(text);
            *ret_bad = i;
            vhost_defaults_free(d);
            return -LE_INVAL;
        }
        d->count = i + 1;
    }
    *ret = d;
    return 0;
}

const struct vhost_default *
vhost_defaults_find(const struct vhost_defaults *d, struct slice name)
{
    const struct vhost_default *found = NULL;
    if (d == NULL || d->count == 0)
        return NULL;
    pcre2_match_context *context = pcre2_match_context_create(NULL);
    pcre2_match_data *data = pcre2_match_data_create(1, NULL);
    if (context != NULL)
        pcre2_set_match_limit(context, MATCH_LIMIT);
    for (size_t i = 0; i < d->count && found == NULL && context != NULL && data != NULL; i++) {
        int rc = pcre2_match(d->items[i].code, name.ptr, name.len, 0, 0, data, context);
        if (rc >= 0)
            found = &d->items[i].what;
        else if (rc != PCRE2_ERROR_NOMATCH)
            log_warn(LOG_DEFAULT,
                     "default_limits.vhosts: pattern %zu cannot be matched with '%.*s' (%d), passed over",
                     i + 1, SLICE_FMT(name), rc);
    }
    pcre2_match_data_free(data);
    pcre2_match_context_free(context);
    return found;
}
