// ctl_store.c: the command `store`: the lock, opening, `verify`, and what the three have in common.
//
// Happy path: is it a data directory → lock → inspect_open → the subcommand prints → all is closed. The lock is the daemon's (flock on
// DATADIR/lock), taken shared: several looks at a time, but no broker meanwhile. No file is made: a directory without one has no broker yet.
#include "src/cli/ctl_store.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/base/err.h"
#include "src/base/utf8.h"

// --- texts ----------------------------------------------------------------------------------------------------------------------

json_t *
ctl_store_text(struct slice bytes)
{
    struct buf text = BUF_INIT;
    for (size_t n = 0; n < bytes.len;) {
        size_t len = utf8_sequence_len(bytes.ptr + n, bytes.len - n);
        if (len > 0)
            buf_append(&text, bytes.ptr + n, len);
        else
            buf_append_str(&text, "\xef\xbf\xbd");
        n += LV_MAX(len, (size_t)1);
    }
    json_t *value = json_stringn(text.len > 0 ? (const char *)text.ptr : "", text.len);
    buf_fini(&text);
    return value;
}

json_t *
ctl_store_number(uint64_t n)
{
    return json_integer((json_int_t)n);
}

void
ctl_store_put_count(struct buf *out, uint64_t n, const char *noun)
{
    buf_printf(out, "%llu %s%s", (unsigned long long)n, noun, n == 1 ? "" : "s");
}

// For a terminal: control bytes as \xNN.
static void
put_visible(struct buf *out, struct slice s)
{
    for (size_t n = 0; n < s.len; n++) {
        if (s.ptr[n] < 0x20 || s.ptr[n] == 0x7f)
            buf_printf(out, "\\x%02x", s.ptr[n]);
        else
            buf_append_u8(out, s.ptr[n]);
    }
}

void
ctl_store_put_queue(struct buf *out, const struct inspect_queue *q)
{
    if (q->lost_folder != NULL) {
        buf_printf(out, "queue %llu (in %s)", (unsigned long long)q->id, q->lost_folder);
        return;
    }
    if (!q->is_known) {
        buf_printf(out, "queue %llu (not in the metadata)", (unsigned long long)q->id);
        return;
    }
    buf_append_str(out, "queue '");
    put_visible(out, q->name);
    buf_append_str(out, "' in vhost '");
    put_visible(out, q->vhost);
    buf_append_str(out, "'");
}

// The options --vhost and --queue: is it one of those asked for?
static bool
is_chosen(const struct ctl_store *s, const struct inspect_queue *q)
{
    const struct ctl_options *o = &s->c->options;
    char id[32];
    snprintf(id, sizeof id, "%llu", (unsigned long long)q->id);
    if (o->vhost != NULL && (!q->is_known || !slice_eq_str(q->vhost, o->vhost)))
        return false;
    if (o->queue == NULL)
        return true;
    return q->is_known ? slice_eq_str(q->name, o->queue) : strcmp(id, o->queue) == 0;
}

const struct inspect_queue *
ctl_store_next(const struct ctl_store *s, size_t *n)
{
    const struct inspect *i = &s->inspect;
    size_t count = s->c->options.is_lost ? i->backlog_count : i->queue_count;
    while (*n < count) {
        size_t at = (*n)++;
        const struct inspect_queue *q = s->c->options.is_lost ? &i->backlogs[at].lost : &i->queues[at];
        if ((!s->c->options.is_lost || q->lost_folder != NULL) && is_chosen(s, q))
            return q;
    }
    return NULL;
}

int
ctl_store_failed(struct ctl_store *s, int err)
{
    return ctl_fail(s->c, CTL_SOFTWARE, "data directory %s: %s", s->c->data_dir, err_text(err));
}

// --- findings -------------------------------------------------------------------------------------------------------------------

json_t *
ctl_store_findings(const struct inspect *i)
{
    json_t *all = json_array();
    for (size_t n = 0; n < i->finding_count; n++) {
        const struct inspect_finding *f = &i->findings[n];
        json_array_append_new(all, json_pack("{s:s, s:s, s:I, s:I, s:o}", "severity",
                                             f->is_damage ? "damage" : "note", "file", f->file, "offset",
                                             (json_int_t)f->offset, "bytes", (json_int_t)f->bytes, "text",
                                             ctl_store_text(slice_str(f->text))));
    }
    return all;
}

void
ctl_store_print_findings(struct ctl_store *s)
{
    const struct inspect *i = &s->inspect;
    struct buf line = BUF_INIT;
    for (size_t n = 0; n < i->finding_count; n++) {
        const struct inspect_finding *f = &i->findings[n];
        buf_reset(&line);
        buf_printf(&line, "%s: %s", f->is_damage ? "damage" : "note", f->file);
        if (f->bytes > 0)
            buf_printf(&line, " at %llu, %llu bytes", (unsigned long long)f->offset,
                       (unsigned long long)f->bytes);
        else if (f->offset > 0)
            buf_printf(&line, " at %llu", (unsigned long long)f->offset);
        buf_append_str(&line, ": ");
        put_visible(&line, slice_str(f->text));
        fprintf(s->c->out, "%s\n", buf_cstr(&line));
    }
    if (i->damage + i->notes > i->finding_count)
        fprintf(s->c->out, "(%llu more)\n", (unsigned long long)(i->damage + i->notes - i->finding_count));
    buf_fini(&line);
}

json_t *
ctl_store_log(const struct inspect *i)
{
    const struct msglog_report *r = &i->log;
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "segments_read", (json_int_t)r->segments,
                     "groups", (json_int_t)r->groups, "messages_written", (json_int_t)r->messages,
                     "bad_spots", (json_int_t)r->bad_spots, "bad_bytes", (json_int_t)r->bad_bytes,
                     "torn_bytes", (json_int_t)r->torn_bytes, "void_parts", (json_int_t)r->void_parts,
                     "missing_segments", (json_int_t)r->missing_segments);
}

// --- verify ---------------------------------------------------------------------------------------------------------------------

int
ctl_store_verify(struct ctl_store *s)
{
    struct inspect *i = &s->inspect;
    struct buf line = BUF_INIT;
    int err = inspect_check_contents(i);
    if (err != 0)
        return ctl_store_failed(s, err);
    bool is_damaged = i->damage > 0;
    uint64_t messages = 0;
    for (size_t n = 0; n < i->queue_count; n++)
        messages += i->queues[n].live;
    if (s->is_json) {
        ctl_print_json(s->c, s->c->out,
                       json_pack("{s:o, s:s, s:I, s:I, s:I, s:o, s:o}", "data_dir",
                                 ctl_store_text(slice_str(s->c->data_dir)), "result",
                                 is_damaged ? "damaged" : "clean", "damage", (json_int_t)i->damage, "notes",
                                 (json_int_t)i->notes, "messages", (json_int_t)messages, "log",
                                 ctl_store_log(i), "findings", ctl_store_findings(i)));
        return is_damaged ? CTL_DAMAGED : CTL_OK;
    }
    ctl_store_print_findings(s);
    if (is_damaged)
        ctl_store_put_count(&line, i->damage, "place");
    else
        buf_append_str(&line, "no");
    buf_append_str(&line, is_damaged ? " of damage in " : " damage in ");
    ctl_store_put_count(&line, i->log.groups, "group");
    buf_append_str(&line, " of ");
    ctl_store_put_count(&line, i->log.segments, "segment");
    if (i->backlog.blocks > 0) {
        buf_append_str(&line, ", ");
        ctl_store_put_count(&line, i->backlog.blocks, "backlog block");
    }
    buf_append_str(&line, ", ");
    ctl_store_put_count(&line, messages, "live message");
    buf_append_str(&line, " of ");
    ctl_store_put_count(&line, i->queue_count, "queue");
    fprintf(s->c->out, "%s\n", buf_cstr(&line));
    buf_fini(&line);
    return is_damaged ? CTL_DAMAGED : CTL_OK;
}

// --- the directory --------------------------------------------------------------------------------------------------------------

static bool
has_entry(const char *dir, const char *name)
{
    char path[IO_PATH_MAX];
    struct stat st;
    int n = snprintf(path, sizeof path, "%s/%s", dir, name);
    return n < IO_PATH_MAX && lstat(path, &st) == 0;
}

static int
in_use(struct ctl *c, int fd)
{
    char text[32] = "";
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    long pid = n > 0 ? strtol(text, NULL, 10) : 0;
    if (pid > 0)
        return ctl_fail(c, CTL_UNAVAILABLE,
                        "data directory %s is in use by process %ld: stop the broker first", c->data_dir,
                        pid);
    return ctl_fail(c, CTL_UNAVAILABLE,
                    "data directory %s is in use by another process: stop the broker first", c->data_dir);
}

static int
cannot_open(struct ctl *c, const char *what, int errno_value)
{
    return ctl_fail(c, CTL_UNAVAILABLE, "%s %s cannot be read: %s", what, c->data_dir,
                    err_text(err_from_errno(errno_value)));
}

// 0, or the exit status, told.
static int
take_lock(struct ctl_store *s)
{
    char path[IO_PATH_MAX];
    struct ctl *c = s->c;
    struct stat st;
    if (strlen(c->data_dir) > IO_PATH_MAX - 64)
        return ctl_fail(c, CTL_DATA, "the path of the data directory is too long");
    if (stat(c->data_dir, &st) != 0)
        return cannot_open(c, "data directory", errno);
    if (!S_ISDIR(st.st_mode) || (!has_entry(c->data_dir, "meta.sqlite") && !has_entry(c->data_dir, "log")))
        return ctl_fail(c, CTL_DATA, "%s is not a data directory of Leveret", c->data_dir);
    snprintf(path, sizeof path, "%s/lock", c->data_dir);
    s->lock_fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (s->lock_fd < 0)
        return errno == ENOENT ? 0 : cannot_open(c, "the lock of", errno);
    if (flock(s->lock_fd, LOCK_SH | LOCK_NB) != 0)
        return errno == EWOULDBLOCK ? in_use(c, s->lock_fd) : cannot_open(c, "the lock of", errno);
    return 0;
}

// --- the command ----------------------------------------------------------------------------------------------------------------

static const struct {
    const char *name;
    int (*run)(struct ctl_store *s);
} subcommands[] = {{"verify", ctl_store_verify}, {"stats", ctl_store_stats}, {"dump", ctl_store_dump}};

static int
check_store(struct ctl *c)
{
    for (size_t n = 0; n < LV_ARRAY_LEN(subcommands); n++)
        if (strcmp(ctl_arg(c, 0), subcommands[n].name) == 0)
            return 0;
    ctl_bad_argument(c, "%s is none of verify, stats, dump", ctl_arg(c, 0));
    return CTL_USAGE;
}

static int
run_store(struct ctl *c)
{
    struct ctl_store s = {.c = c, .lock_fd = -1, .is_json = c->options.is_json || ctl_is_json(c)};
    struct buf problem = BUF_INIT;
    int status = take_lock(&s);
    if (status != 0) {
        if (s.lock_fd >= 0)
            close(s.lock_fd);
        return status;
    }
    int err = inspect_open(&s.inspect, io_system(), c->data_dir, &problem);
    if (err != 0)
        status = ctl_fail(c, err == -LE_UNSUPPORTED ? CTL_DATA : CTL_UNAVAILABLE, "%s", buf_cstr(&problem));
    for (size_t n = 0; n < LV_ARRAY_LEN(subcommands) && err == 0; n++)
        if (strcmp(ctl_arg(c, 0), subcommands[n].name) == 0)
            status = subcommands[n].run(&s);
    inspect_close(&s.inspect);
    buf_fini(&problem);
    if (s.lock_fd >= 0)
        close(s.lock_fd);
    return status;
}

const struct ctl_command ctl_commands_store[] = {
    {.name = "store",
     .group = GROUP_OPERATIONS,
     .usage = "(verify | stats | dump) [-d <directory>] [--json] [--vhost <vhost>] [--queue <queue>] [--seq "
              "<n>[-<m>]] [--lost-and-found] [--limit <n>] [--truncate <n>]",
     .about = "Reads the data directory of a stopped broker",
     .details =
         "verify\n\tchecks every checksum and says what is damaged: exit status 0, or 1 when something is\n\n"
         "stats\n\twhat is in it: by queue, by segment, and what a start would do\n\n"
         "dump\n\tmessages, by queue and sequence number\n\n"
         "-d <directory>, --data-dir <directory>\n\tthe data directory [LEVERET_DATA_DIR, else "
         "/var/lib/leveret]\n\n"
         "--json\n\tas --formatter json\n\n"
         "--vhost <vhost>, --queue <queue>, --seq <n>[-<m>]\n\tstats, dump: only these; a queue that the "
         "metadata does not know goes by its number\n\n"
         "--lost-and-found\n\tstats, dump: instead of queues what earlier starts put into lost+found, by "
         "number\n\n"
         "--limit <n>\n\tdump: at most so many messages [100]; 0: all\n\n"
         "--truncate <n>\n\tdump: bytes of each body that are shown [50000]\n\n",
     .args_min = 1,
     .args_max = 1,
     .options = OPTION_DATA_DIR | OPTION_JSON | OPTION_QUEUE | OPTION_SEQ | OPTION_LIMIT | OPTION_TRUNCATE |
                OPTION_LOST,
     .run = run_store,
     .check = check_store},
    {.name = NULL},
};
