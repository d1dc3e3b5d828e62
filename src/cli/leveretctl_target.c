// leveretctl_target.c: see leveretctl_target.h.
//
// User and password: --username, --password, --password-file, then those in the URL, then LEVERET_USERNAME, LEVERET_PASSWORD_FILE and
// LEVERET_PASSWORD, then guest and guest, which is what a new broker lets in from its own machine. A user without a password is asked for one.
#include "src/cli/leveretctl_target.h"

#include <stdio.h>

#include "src/base/err.h"
#include "src/base/mem.h"

// LIMIT: bytes of a file with a password.
enum { PASSWORD_FILE_MAX = 4096 };

const char *
ctl_variable(const char *const *environment, const char *name)
{
    size_t len = strlen(name);
    for (; environment != NULL && *environment != NULL; environment++) {
        if (strncmp(*environment, name, len) == 0 && (*environment)[len] == '=' &&
            (*environment)[len + 1] != '\0')
            return *environment + len + 1;
    }
    return NULL;
}

// The words of a command line can be seen by everybody on the machine; the process' own copy is what `ps` shows.
static void
hide(const char *word, size_t len)
{
    memset((char *)(uintptr_t)word, '*', len);
}

static int
hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// A part of a URL without its percent encoding; heap.
static char *
decoded(struct slice text)
{
    struct buf out = BUF_INIT;
    for (size_t i = 0; i < text.len; i++) {
        int high = i + 2 < text.len && text.ptr[i] == '%' ? hex_value((char)text.ptr[i + 1]) : -1;
        int low = high >= 0 ? hex_value((char)text.ptr[i + 2]) : -1;
        buf_append_u8(&out, low >= 0 ? (uint8_t)(high * 16 + low) : text.ptr[i]);
        i += low >= 0 ? 2 : 0;
    }
    char *copy = mem_xslice_dup(buf_slice(&out));
    buf_fini(&out);
    return copy;
}

static void
set(char **place, char *value)
{
    if (*place != NULL)
        mem_wipe(*place, strlen(*place));
    mem_free(*place);
    *place = value;
}

// http[s]://[USER[:PASSWORD]@]HOST[:PORT][/PREFIX]
static int
take_url(struct ctl_target *t, const char *url, bool is_of_argv, struct buf *problem)
{
    bool is_tls = strncmp(url, "https://", 8) == 0;
    if (!is_tls && strncmp(url, "http://", 7) != 0) {
        buf_append_str(problem, "a URL begins with http:// or https://");
        return -LE_INVAL;
    }
    const char *rest = url + (is_tls ? 8 : 7);
    size_t authority_len = strcspn(rest, "/?#");
    const char *at = memrchr(rest, '@', authority_len), *host = at != NULL ? at + 1 : rest;
    size_t host_len = authority_len - (size_t)(host - rest), path_len = strcspn(rest + authority_len, "?#");
    struct slice path = slice_of(rest + authority_len, path_len);
    while (path.len > 0 && path.ptr[path.len - 1] == '/')
        path.len--;
    if (host_len == 0) {
        buf_append_str(problem, "the URL has no host");
        return -LE_INVAL;
    }
    const char *bracket = memchr(host, ']', host_len);
    bool has_port = memchr(bracket != NULL ? bracket : host, ':',
                           host_len - (size_t)((bracket != NULL ? bracket : host) - host)) != NULL;
    struct buf base = BUF_INIT;
    buf_printf(&base, "%s://%.*s%s%.*s", is_tls ? "https" : "http", (int)host_len, host,
               has_port ? "" : (is_tls ? ":15671" : ":15672"), SLICE_FMT(path));
    set(&t->base, mem_xstrdup(buf_cstr(&base)));
    buf_fini(&base);
    if (at == NULL)
        return 0;
    size_t info_len = (size_t)(at - rest);
    const char *colon = memchr(rest, ':', info_len);
    set(&t->user, decoded(slice_of(rest, colon != NULL ? (size_t)(colon - rest) : info_len)));
    if (colon != NULL) {
        set(&t->password, decoded(slice_of(colon + 1, (size_t)(at - colon - 1))));
        if (is_of_argv)
            hide(colon + 1, (size_t)(at - colon - 1));
    }
    return 0;
}

static int
take_password_file(struct ctl_target *t, const char *path, struct buf *problem)
{
    char text[PASSWORD_FILE_MAX];
    FILE *file = fopen(path, "re");
    size_t len = file != NULL ? fread(text, 1, sizeof text, file) : 0;
    bool is_read = file != NULL && ferror(file) == 0 && len < sizeof text;
    if (file != NULL)
        fclose(file);
    if (!is_read) {
        buf_printf(problem, "the file with the password, %s, cannot be read", path);
        return -LE_INVAL;
    }
    struct slice line = slice_of(text, len);
    for (size_t i = 0; i < line.len; i++) {
        if (line.ptr[i] == '\n' || line.ptr[i] == '\r')
            line.len = i;
    }
    set(&t->password, mem_xslice_dup(line));
    mem_wipe(text, sizeof text);
    return 0;
}

static int
take_credentials(struct ctl_target *t, const struct ctl_options *o, const char *const *environment,
                 struct buf *problem)
{
    const char *user = ctl_variable(environment, "LEVERET_USERNAME");
    const char *password = ctl_variable(environment, "LEVERET_PASSWORD");
    const char *file = ctl_variable(environment, "LEVERET_PASSWORD_FILE");
    if (o->username != NULL)
        set(&t->user, mem_xstrdup(o->username));
    else if (t->user == NULL)
        set(&t->user, mem_xstrdup(user != NULL ? user : "guest"));
    if (o->password != NULL) {
        set(&t->password, mem_xstrdup(o->password));
        hide(o->password, strlen(o->password));
    }
    if (o->password_file != NULL)
        return take_password_file(t, o->password_file, problem);
    if (t->password == NULL && file != NULL)
        return take_password_file(t, file, problem);
    if (t->password == NULL && password != NULL)
        set(&t->password, mem_xstrdup(password));
    if (t->password == NULL && strcmp(t->user, "guest") == 0)
        set(&t->password, mem_xstrdup("guest"));
    return 0;
}

int
ctl_target_init(struct ctl_target *t, struct ctl_options *o, const char *const *environment,
                struct buf *problem)
{
    bool has_url = o->node != NULL && strstr(o->node, "://") != NULL;
    bool has_host = o->host != NULL || o->port >= 0 || o->is_tls;
    const char *url = has_url ? o->node : ctl_variable(environment, "LEVERET_URL");
    int err = 0;
    *t = (struct ctl_target){0};
    if (o->port > UINT16_MAX || o->port == 0) {
        buf_append_str(problem, "a port is a number from 1 to 65535");
        err = -LE_INVAL;
    } else if (has_host && !has_url) {
        const char *host = o->host != NULL ? o->host : "localhost";
        bool is_bare_v6 = strchr(host, ':') != NULL && host[0] != '[';
        struct buf base = BUF_INIT;
        buf_printf(&base, is_bare_v6 ? "%s://[%s]:%d" : "%s://%s:%d", o->is_tls ? "https" : "http", host,
                   o->port > 0 ? (int)o->port : (o->is_tls ? 15671 : 15672));
        set(&t->base, mem_xstrdup(buf_cstr(&base)));
        buf_fini(&base);
        t->is_http = true;
    } else if (has_url || (url != NULL && o->socket == NULL && o->node == NULL)) {
        err = take_url(t, url, has_url, problem);
        t->is_http = true;
    } else {
        set(&t->base, mem_xstrdup("http://localhost"));
    }
    if (has_url)
        o->node = NULL; // it was no node's name
    else if (o->node == NULL && !t->is_http)
        o->node = ctl_variable(environment, "RABBITMQ_NODENAME");
    if (err == 0 && t->is_http)
        err = take_credentials(t, o, environment, problem);
    return err;
}

void
ctl_target_fini(struct ctl_target *t)
{
    set(&t->base, NULL);
    set(&t->user, NULL);
    set(&t->password, NULL);
}
