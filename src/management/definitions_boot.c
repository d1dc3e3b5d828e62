// definitions_boot.c: see definitions_boot.h.
//
// Happy path, on the HTTP member: names of the files → their digest, compared with the last one → for each file: read and fed whole (nobody else
// wants this member yet), then carried out by the queue → the digest is kept.
#include "src/management/definitions_boot.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/management/definitions_import.h"

// LIMIT: files of a folder; bytes read at once.
enum { FILES_MAX = 1000, READ_BYTES = 256 * 1024, DIGEST_BYTES = 32 };

struct boot {
    struct definitions_boot_args args;
    struct definitions_queue *queue;
    const struct io *io;
    bool has_begun;
    char *paths[FILES_MAX]; // heap
    size_t count, at;
    uint8_t digest[DIGEST_BYTES];
    struct definitions_import *import;
};

static void
finish(struct boot *b, char *problem)
{
    for (size_t i = 0; i < b->count; i++)
        mem_free(b->paths[i]);
    definitions_import_free(b->import);
    void (*done)(char *) = b->args.done;
    b->count = b->at = 0;
    b->import = NULL;
    mem_free(b);
    done(problem);
}

static void LV_PRINTF(2, 3) fail(struct boot *b, const char *fmt, ...)
{
    struct buf text = BUF_INIT;
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(&text, fmt, ap);
    va_end(ap);
    for (size_t i = 0; i < text.len; i++) { // one line
        if (text.ptr[i] == '\n')
            text.ptr[i] = ' ';
    }
    finish(b, mem_xstrdup(buf_cstr(&text)));
    buf_fini(&text);
}

// --- names ------------------------------------------------------------------------------------------------------------------------

static int
take_name(void *ctx, const char *name)
{
    struct boot *b = ctx;
    char path[IO_PATH_MAX];
    size_t len = strlen(name);
    if (name[0] == '.' || len < 5 || strcmp(name + len - 5, ".json") != 0)
        return 0;
    int n = snprintf(path, sizeof path, "%s/%s", b->args.path, name);
    if (n < 0 || (size_t)n >= sizeof path || b->count == FILES_MAX)
        return -LE_LIMIT;
    b->paths[b->count++] = mem_xstrdup(path);
    return 0;
}

static int
compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int
find_files(struct boot *b)
{
    int err = b->io->list(b->io->ctx, b->args.path, take_name, b);
    if (err == 0) {
        if (b->count > 1)
            qsort((void *)b->paths, b->count, sizeof b->paths[0], compare_names);
        return 0;
    }
    if (err == -LE_LIMIT)
        return err;
    b->paths[b->count++] = mem_xstrdup(b->args.path); // no folder: a file, or nothing
    return 0;
}

// --- reading ----------------------------------------------------------------------------------------------------------------------

// Calls `take` with the file's bytes; other than 0 ends it.
static int
read_file(struct boot *b, const char *path, int (*take)(void *ctx, struct slice bytes), void *ctx)
{
    int fd = -1;
    uint8_t *bytes = mem_alloc(READ_BYTES);
    uint64_t offset = 0;
    size_t got = READ_BYTES;
    int err = bytes != NULL ? b->io->open(b->io->ctx, path, IO_READ, &fd) : -LE_NOMEM;
    while (err == 0 && got == READ_BYTES) {
        err = io_read_all(b->io, fd, bytes, READ_BYTES, offset, &got);
        offset += got;
        if (err == 0 && got > 0)
            err = take(ctx, slice_of(bytes, got));
    }
    if (fd >= 0)
        (void)b->io->close(b->io->ctx, fd);
    mem_free(bytes);
    return err;
}

static int
take_digest(void *ctx, struct slice bytes)
{
    return EVP_DigestUpdate(ctx, bytes.ptr, bytes.len) == 1 ? 0 : -LE_NOMEM;
}

// Of all files; -LE_xxx with the path that could not be read in *ret_path.
static int
digest_files(struct boot *b, const char **ret_path)
{
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    int err = md != NULL && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1 ? 0 : -LE_NOMEM;
    for (size_t i = 0; i < b->count && err == 0; i++) {
        *ret_path = b->paths[i];
        err = read_file(b, b->paths[i], take_digest, md);
    }
    if (err == 0 && EVP_DigestFinal_ex(md, b->digest, NULL) != 1)
        err = -LE_NOMEM;
    EVP_MD_CTX_free(md);
    return err;
}

static void
digest_path(const struct boot *b, const char *suffix, char *path, size_t size)
{
    snprintf(path, size, "%s/definitions.sha256%s", b->args.data_dir, suffix);
}

static bool
is_unchanged(struct boot *b)
{
    char path[IO_PATH_MAX];
    uint8_t last[DIGEST_BYTES];
    size_t got = 0;
    int fd;
    digest_path(b, "", path, sizeof path);
    if (b->io->open(b->io->ctx, path, IO_READ, &fd) != 0)
        return false;
    int err = io_read_all(b->io, fd, last, sizeof last, 0, &got);
    (void)b->io->close(b->io->ctx, fd);
    return err == 0 && got == sizeof last && memcmp(last, b->digest, sizeof last) == 0;
}

// A digest that is lost means one import more.
static void
keep_digest(struct boot *b)
{
    char path[IO_PATH_MAX], now[IO_PATH_MAX];
    struct iovec part = {.iov_base = b->digest, .iov_len = DIGEST_BYTES};
    int fd;
    digest_path(b, ".new", now, sizeof now);
    digest_path(b, "", path, sizeof path);
    (void)b->io->unlink(b->io->ctx, now);
    int err = b->io->open(b->io->ctx, now, IO_WRITE | IO_CREATE, &fd);
    if (err == 0) {
        err = io_write_all(b->io, fd, &part, 1, 0);
        (void)b->io->close(b->io->ctx, fd);
    }
    if (err == 0)
        err = b->io->rename(b->io->ctx, now, path);
    if (err != 0)
        log_warn(LOG_DEFAULT,
                 "definitions: cannot remember what was imported (%s); it is imported again at the "
                 "next start",
                 err_text(err));
}

// --- importing --------------------------------------------------------------------------------------------------------------------

static void begin_next(struct boot *b);

static int
append_text(const char *text, size_t len, void *ctx)
{
    struct buf *out = ctx;
    buf_append(out, text, len);
    return out->failed ? -1 : 0;
}

static void
fail_with(struct boot *b, const char *path, const struct definitions_import *i, int err)
{
    struct buf text = BUF_INIT;
    const json_t *reason = i != NULL ? i->reason : NULL;
    if (i != NULL && i->scan.problem[0] != '\0')
        buf_printf(&text, "malformed JSON: %s", i->scan.problem);
    else if (json_is_string(reason))
        buf_append_str(&text, json_string_value(reason));
    else if (reason == NULL || json_dump_callback(reason, append_text, &text, JSON_ENCODE_ANY) != 0)
        buf_append_str(&text, err_text(err));
    fail(b, "definitions file %s: %s", path, buf_cstr(&text));
    buf_fini(&text);
}

static void
imported(struct definitions_import *i)
{
    struct boot *b = i->ctx;
    if (i->is_refused) {
        fail_with(b, b->paths[b->at], i, -LE_NOMEM);
        return;
    }
    definitions_import_free(i);
    b->import = NULL;
    b->at++;
    begin_next(b);
}

static int
take_bytes(void *ctx, struct slice bytes)
{
    return definitions_import_feed(ctx, bytes);
}

static void
begin_next(struct boot *b)
{
    if (b->at == b->count) {
        keep_digest(b);
        finish(b, NULL);
        return;
    }
    const char *path = b->paths[b->at];
    b->import = definitions_import_new(
        b->queue, &(struct definitions_import_args){
                      .source = path, .data_dir = b->args.data_dir, .rule = b->args.rule});
    int err = b->import != NULL ? read_file(b, path, take_bytes, b->import) : -LE_NOMEM;
    if (err == 0)
        err = definitions_import_end(b->import);
    if (err != 0)
        fail_with(b, path, b->import, err);
    else
        definitions_import_run(b->import, imported, b);
}

static void
begin(struct boot *b)
{
    const char *path = b->args.path;
    int err = find_files(b);
    if (err == 0)
        err = digest_files(b, &path);
    if (err != 0) {
        fail(b, "definitions file %s: %s", path, err_text(err));
    } else if (b->args.is_skipped_if_unchanged && is_unchanged(b)) {
        log_info(LOG_DEFAULT, "definitions from %s: unchanged, not imported again", b->args.path);
        finish(b, NULL);
    } else {
        begin_next(b);
    }
}

static bool
first_turn(struct worker *w, void *ctx)
{
    struct boot **slot = ctx, *b = *slot;
    if (b == NULL)
        return false;
    *slot = NULL;
    begin(b);
    return false;
}

void
definitions_boot_start(struct worker *http, struct definitions_queue *q,
                       const struct definitions_boot_args *args)
{
    static struct boot *waiting; // until the first turn; a process boots once
    struct boot *b = mem_xcalloc(1, sizeof *b);
    b->args = *args;
    b->queue = q;
    b->io = io_system();
    waiting = b;
    worker_add_hook(http, PHASE_TIMERS, first_turn, &waiting);
}
