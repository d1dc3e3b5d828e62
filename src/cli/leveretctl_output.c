// leveretctl_output.c: what a person or a script sees: banners, results, errors.
#include <stdarg.h>

#include "src/base/mem.h"
#include "src/cli/leveretctl.h"
#include "src/cli/leveretctl_value.h"

bool
ctl_is_json(const struct ctl *c)
{
    return c->options.format == FORMAT_JSON;
}

void
ctl_banner(struct ctl *c, const char *fmt, ...)
{
    const struct ctl_options *o = &c->options;
    if (o->is_quiet || o->is_silent || o->format == FORMAT_JSON || o->format == FORMAT_CSV)
        return;
    va_list ap;
    va_start(ap, fmt);
    vfprintf(c->out, fmt, ap);
    va_end(ap);
    fputc('\n', c->out);
}

int
ctl_print_json(struct ctl *c, FILE *to, json_t *value)
{
    struct buf text = BUF_INIT;
    json_text_put(&text, value);
    fprintf(to, "%s\n", buf_cstr(&text));
    buf_fini(&text);
    json_decref(value);
    return CTL_OK;
}

int
ctl_say(struct ctl *c, const char *key, const char *fmt, ...)
{
    struct buf text = BUF_INIT;
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(&text, fmt, ap);
    va_end(ap);
    const char *line = buf_cstr(&text);
    if (!ctl_is_json(c))
        fprintf(c->out, "%s\n", line);
    else if (key != NULL)
        ctl_print_json(c, c->out, json_pack("{s:s, s:s}", "result", "ok", key, line));
    else
        ctl_print_json(c, c->out, json_pack("{s:s}", "message", line));
    buf_fini(&text);
    return CTL_OK;
}

int
ctl_done(struct ctl *c)
{
    if (ctl_is_json(c))
        ctl_print_json(c, c->out, json_pack("{s:s}", "result", "ok"));
    return CTL_OK;
}

static int fail(struct ctl *c, int status, const char *head, const char *fmt, va_list ap) LV_PRINTF(4, 0);

static int
fail(struct ctl *c, int status, const char *head, const char *fmt, va_list ap)
{
    fflush(c->out); // the banner comes first where both go to one terminal
    fputs(head, c->err);
    vfprintf(c->err, fmt, ap);
    fputc('\n', c->err);
    return status;
}

int
ctl_fail(struct ctl *c, int status, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fail(c, status, "Error:\n", fmt, ap);
    va_end(ap);
    return status;
}

int
ctl_fail_bare(struct ctl *c, int status, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fail(c, status, "", fmt, ap);
    va_end(ap);
    return status;
}

const char *
ctl_reason(const struct ctl *c)
{
    const char *reason = json_string_value(json_object_get(c->answer.json, "reason"));
    return reason != NULL ? reason : "";
}

int
ctl_refused(struct ctl *c)
{
    const char *reason = ctl_reason(c);
    int status = CTL_UNAVAILABLE;
    if (reason[0] == '\0')
        return ctl_fail(c, status, "the broker answered with HTTP status %ld", c->answer.status);
    if (c->answer.status == 404 && strncmp(reason, "User ", 5) == 0)
        status = CTL_NO_USER;
    else if (c->answer.status == 404 && strncmp(reason, "Virtual host \"", 14) == 0)
        status = CTL_DATA;
    else if (c->answer.status == 400 && strstr(reason, " already exists") != NULL)
        status = CTL_SOFTWARE;
    // With quotes of its own the text stands alone: "Virtual host 'v' does not exist".
    if (c->answer.status == 404 && strncmp(reason, "Virtual host '", 14) == 0)
        return ctl_fail_bare(c, CTL_DATA, "%s", reason);
    return ctl_fail(c, status, "%s", reason);
}

int
ctl_finish(struct ctl *c, int status)
{
    if (status != 0)
        return status;
    return c->answer.status >= 200 && c->answer.status < 300 ? ctl_done(c) : ctl_refused(c);
}

int
ctl_bad_argument(struct ctl *c, const char *fmt, ...)
{
    va_list ap;
    buf_append_str(&c->problem, "Bad argument: ");
    va_start(ap, fmt);
    buf_vprintf(&c->problem, fmt, ap);
    va_end(ap);
    return CTL_DATA;
}

const char *
ctl_arg(const struct ctl *c, size_t i)
{
    return i < c->options.arg_count ? c->options.args[i] : NULL;
}

int
ctl_print_table(struct ctl *c, const struct ctl_table *table)
{
    struct ctl_table t = *table;
    t.has_headings = t.has_headings && c->options.has_headers && !c->options.is_silent;
    ctl_format_table(c->out, c->options.format, &t);
    return CTL_OK;
}

int
ctl_fail_no_such_user(struct ctl *c, const char *user)
{
    struct buf quoted = BUF_INIT;
    json_text_put_string(&quoted, slice_str(user));
    int status = ctl_fail(c, CTL_UNAVAILABLE, "{:no_such_user, %s}", buf_cstr(&quoted));
    buf_fini(&quoted);
    return status;
}

void
ctl_words(struct buf *out, const struct ctl *c, size_t first, const char *separator)
{
    for (size_t i = first; i < c->options.arg_count; i++) {
        buf_append_str(out, i > first ? separator : "");
        buf_append_str(out, c->options.args[i]);
    }
}

int
ctl_fail_no_such_vhost(struct ctl *c, const char *vhost)
{
    return ctl_fail_bare(c, CTL_DATA, "Virtual host '%s' does not exist", vhost);
}

const char *
ctl_vhost(const struct ctl *c)
{
    return c->options.vhost != NULL ? c->options.vhost : "/";
}

int
ctl_timed_out(struct ctl *c, int64_t timeout_s)
{
    return ctl_fail_bare(c, CTL_TIMEOUT, "Error: operation %s on node %s timed out. Timeout value used: %lld",
                         c->command->name, ctl_node(c), (long long)timeout_s * 1000);
}
