// leveretctl_top.c: a live view of what queues and connections do.
//
// The counters are read twice, an interval apart, and the differences are the rates: they are right from the first picture on, and the broker
// keeps no histories for them. On a terminal each picture replaces the last one; into a pipe they follow each other; --once shows one.
#include <inttypes.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "src/base/clock.h"
#include "src/base/mem.h"
#include "src/cli/leveretctl.h"
#include "src/cli/leveretctl_lists.h"

// LIMIT: rows without --limit, seconds between pictures.
enum { ROWS = 15, INTERVAL_S = 2, INTERVAL_MAX_S = 3600 };

// A counter that is shown as a rate.
struct rate_column {
    const char *name; // in the heading and for --sort
    const char *path; // of the counter in the API's object
};

struct subject {
    const char *collection, *title;
    const char *columns; // asked for
    struct rate_column rates[4];
    const char *levels[4]; // members that are shown as they are, before the rates
    const char *level_names[4];
};

static const struct subject subjects[] = {
    {"queues",
     "QUEUES",
     "name,vhost,messages_ready,messages_unacknowledged,consumers,message_stats.publish,message_stats."
     "deliver_get,"
     "message_stats.ack",
     {{"in/s", "message_stats.publish"},
      {"out/s", "message_stats.deliver_get"},
      {"ack/s", "message_stats.ack"}},
     {"messages_ready", "messages_unacknowledged", "consumers"},
     {"ready", "unacked", "consumers"}},
    {"connections",
     "CONNECTIONS",
     "name,user,vhost,state,channels,recv_oct,send_oct,recv_cnt,send_cnt",
     {{"recv B/s", "recv_oct"}, {"send B/s", "send_oct"}, {"recv/s", "recv_cnt"}, {"send/s", "send_cnt"}},
     {"user", "state", "channels"},
     {"user", "state", "channels"}},
};

struct sample {
    json_t *overview, *objects[LV_ARRAY_LEN(subjects)]; // references
    uint64_t taken_ns;
};

struct row {
    const json_t *object;
    double rates[4];
    double sum;
};

// --- sampling -------------------------------------------------------------------------------------------------------------------

static void
sample_free(struct sample *s)
{
    json_decref(s->overview);
    for (size_t i = 0; i < LV_ARRAY_LEN(subjects); i++)
        json_decref(s->objects[i]);
    *s = (struct sample){0};
}

static bool
is_wanted(const struct ctl *c, const struct subject *s)
{
    const char *what = ctl_arg(c, 0);
    return what == NULL || strcmp(what, s->collection) == 0;
}

static int
take(struct ctl *c, struct sample *ret)
{
    struct sample s = {.taken_ns = clock_mono_ns()};
    int status = ctl_get(c, "overview", NULL);
    if (status == CTL_OK)
        s.overview = json_incref(c->answer.json);
    for (size_t i = 0; i < LV_ARRAY_LEN(subjects) && status == CTL_OK; i++) {
        if (!is_wanted(c, &subjects[i]))
            continue;
        bool is_of_vhost = c->options.vhost != NULL && strcmp(subjects[i].collection, "queues") == 0;
        struct buf query = BUF_INIT;
        buf_printf(&query, "columns=%s", subjects[i].columns);
        c->query = buf_cstr(&query);
        status = is_of_vhost ? ctl_get(c, subjects[i].collection, c->options.vhost, NULL)
                             : ctl_get(c, subjects[i].collection, NULL);
        c->query = NULL;
        buf_fini(&query);
        if (status == CTL_OK)
            s.objects[i] = json_incref(c->answer.json);
    }
    if (status == CTL_OK)
        *ret = s;
    else
        sample_free(&s);
    return status;
}

// Objects by what names them, for finding them in the sample before.
static json_t *
index_of(const json_t *objects)
{
    json_t *index = json_object();
    for (size_t i = 0; i < json_array_size(objects); i++) {
        json_t *object = json_array_get(objects, i);
        const char *vhost = json_string_value(json_object_get(object, "vhost"));
        const char *name = json_string_value(json_object_get(object, "name"));
        struct buf key = BUF_INIT;
        buf_printf(&key, "%s\n%s", vhost != NULL ? vhost : "", name != NULL ? name : "");
        json_object_set(index, buf_cstr(&key), object);
        buf_fini(&key);
    }
    return index;
}

static double
rate_between(const json_t *now, const json_t *before, const char *path, double seconds)
{
    double difference = (double)json_integer_value(ctl_member(now, path)) -
                        (double)json_integer_value(ctl_member(before, path));
    return seconds > 0 && difference > 0 ? difference / seconds : 0;
}

// What --sort says: the rate of that name, or all of them.
static double
sort_value(const struct ctl *c, const struct subject *s, const struct row *row)
{
    const char *sort = c->options.sort;
    double sum = 0;
    for (size_t k = 0; k < LV_ARRAY_LEN(s->rates); k++) {
        if (sort != NULL && s->rates[k].name != NULL && strcmp(sort, s->rates[k].name) == 0)
            return row->rates[k];
        sum += row->rates[k];
    }
    for (size_t k = 0; k < LV_ARRAY_LEN(s->levels) && sort != NULL; k++) {
        if (s->levels[k] != NULL && strcmp(sort, s->level_names[k]) == 0)
            return (double)json_integer_value(json_object_get(row->object, s->levels[k]));
    }
    return sum;
}

static int
compare_rows(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    if (x->sum != y->sum)
        return x->sum < y->sum ? 1 : -1;
    const char *x_name = json_string_value(json_object_get(x->object, "name"));
    const char *y_name = json_string_value(json_object_get(y->object, "name"));
    return strcmp(x_name != NULL ? x_name : "", y_name != NULL ? y_name : "");
}

// Heap, as many as there are objects, the busiest first. An object that is new has no rates yet.
static struct row *
rows_between(const struct ctl *c, const struct subject *s, const json_t *now, const json_t *before,
             double seconds)
{
    size_t count = json_array_size(now);
    struct row *rows = mem_xcalloc(LV_MAX(count, (size_t)1), sizeof *rows);
    json_t *index = index_of(before);
    for (size_t i = 0; i < count; i++) {
        const json_t *object = json_array_get(now, i);
        const char *vhost = json_string_value(json_object_get(object, "vhost"));
        const char *name = json_string_value(json_object_get(object, "name"));
        struct buf key = BUF_INIT;
        buf_printf(&key, "%s\n%s", vhost != NULL ? vhost : "", name != NULL ? name : "");
        const json_t *old = json_object_get(index, buf_cstr(&key));
        buf_fini(&key);
        rows[i].object = object;
        for (size_t k = 0; k < LV_ARRAY_LEN(s->rates) && old != NULL; k++) {
            if (s->rates[k].path != NULL)
                rows[i].rates[k] = rate_between(object, old, s->rates[k].path, seconds);
        }
        rows[i].sum = sort_value(c, s, &rows[i]);
    }
    qsort(rows, count, sizeof *rows, compare_rows);
    json_decref(index);
    return rows;
}

// --- showing --------------------------------------------------------------------------------------------------------------------

// Five characters at most: 999, 12.3k, 4.56M.
static const char *
short_number(char text[16], double n)
{
    static const char units[] = " kMGTP";
    size_t unit = 0;
    while (n >= 999.5 && unit < sizeof units - 2) {
        n /= 1000;
        unit++;
    }
    if (unit == 0)
        snprintf(text, 16, "%.0f", n);
    else
        snprintf(text, 16, "%.*f%c", n < 9.995 ? 2 : n < 99.95 ? 1 : 0, n, units[unit]);
    return text;
}

static int64_t
int_at(const json_t *object, const char *path)
{
    return json_integer_value(ctl_member(object, path));
}

static void
print_head(struct ctl *c, const struct sample *now, const struct sample *before, double seconds)
{
    const json_t *o = now->overview;
    const char *node = json_string_value(json_object_get(o, "node"));
    const char *version = json_string_value(json_object_get(o, "leveret_version"));
    char time_text[32] = "", in[16], out[16], ack[16], ready[16], unacked[16];
    struct tm tm;
    time_t wall = time(NULL);
    if (localtime_r(&wall, &tm) != NULL)
        strftime(time_text, sizeof time_text, "%H:%M:%S", &tm);
    fprintf(c->out, "%s  Leveret %s  %s\n", node != NULL ? node : "", version != NULL ? version : "",
            time_text);
    fprintf(c->out,
            "connections %" PRId64 "  channels %" PRId64 "  queues %" PRId64 "  consumers %" PRId64 "\n",
            int_at(o, "object_totals.connections"), int_at(o, "object_totals.channels"),
            int_at(o, "object_totals.queues"), int_at(o, "object_totals.consumers"));
    fprintf(c->out, "messages ready %s  unacked %s   published/s %s  delivered/s %s  acked/s %s\n",
            short_number(ready, (double)int_at(o, "queue_totals.messages_ready")),
            short_number(unacked, (double)int_at(o, "queue_totals.messages_unacknowledged")),
            short_number(in, rate_between(o, before->overview, "message_stats.publish", seconds)),
            short_number(out, rate_between(o, before->overview, "message_stats.deliver_get", seconds)),
            short_number(ack, rate_between(o, before->overview, "message_stats.ack", seconds)));
}

// For a terminal, and in one line: control bytes are shown as '?', what is too long is cut.
static void
print_name(struct ctl *c, const json_t *object, int width)
{
    const char *name = json_string_value(json_object_get(object, "name"));
    int shown = 0;
    for (const char *at = name != NULL ? name : ""; *at != '\0' && shown < width;) {
        int bytes = 1;
        while ((at[bytes] & 0xc0) == 0x80)
            bytes++;
        if ((unsigned char)*at < 0x20 || *at == 0x7f)
            fputc('?', c->out);
        else
            fprintf(c->out, "%.*s", bytes, at);
        at += bytes;
        shown++;
    }
    fprintf(c->out, "%*s", width - shown, "");
}

enum { NAME_WIDTH = 44, CELL_WIDTH = 10 };

static void
print_rows(struct ctl *c, const struct subject *s, const struct row *rows, size_t count)
{
    char text[16];
    fprintf(c->out, "\n%-*s", NAME_WIDTH, s->title);
    for (size_t k = 0; k < LV_ARRAY_LEN(s->levels) && s->levels[k] != NULL; k++)
        fprintf(c->out, "%*s", CELL_WIDTH, s->level_names[k]);
    for (size_t k = 0; k < LV_ARRAY_LEN(s->rates) && s->rates[k].name != NULL; k++)
        fprintf(c->out, "%*s", CELL_WIDTH, s->rates[k].name);
    fputc('\n', c->out);
    for (size_t i = 0; i < count; i++) {
        print_name(c, rows[i].object, NAME_WIDTH);
        for (size_t k = 0; k < LV_ARRAY_LEN(s->levels) && s->levels[k] != NULL; k++) {
            const json_t *level = json_object_get(rows[i].object, s->levels[k]);
            if (json_is_string(level))
                fprintf(c->out, " %*.*s", CELL_WIDTH - 1, CELL_WIDTH - 1, json_string_value(level));
            else
                fprintf(c->out, "%*s", CELL_WIDTH, short_number(text, (double)json_integer_value(level)));
        }
        for (size_t k = 0; k < LV_ARRAY_LEN(s->rates) && s->rates[k].name != NULL; k++)
            fprintf(c->out, "%*s", CELL_WIDTH, short_number(text, rows[i].rates[k]));
        fputc('\n', c->out);
    }
}

static json_t *
rows_json(const struct subject *s, const struct row *rows, size_t count)
{
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        json_t *entry = json_object();
        json_object_set(entry, "name", json_object_get(rows[i].object, "name"));
        json_object_set(entry, "vhost", json_object_get(rows[i].object, "vhost"));
        for (size_t k = 0; k < LV_ARRAY_LEN(s->levels) && s->levels[k] != NULL; k++)
            json_object_set(entry, s->levels[k], json_object_get(rows[i].object, s->levels[k]));
        for (size_t k = 0; k < LV_ARRAY_LEN(s->rates) && s->rates[k].name != NULL; k++)
            json_object_set_new(entry, s->rates[k].name, json_real(rows[i].rates[k]));
        json_array_append_new(list, entry);
    }
    return list;
}

static void
show(struct ctl *c, const struct sample *now, const struct sample *before)
{
    double seconds = (double)(now->taken_ns - before->taken_ns) / 1e9;
    size_t limit = c->options.limit > 0 ? (size_t)c->options.limit : ROWS;
    json_t *all = json_object();
    if (!ctl_is_json(c)) {
        if (!c->options.is_once && isatty(fileno(c->out)))
            fputs("\033[H\033[J", c->out);
        print_head(c, now, before, seconds);
    }
    for (size_t i = 0; i < LV_ARRAY_LEN(subjects); i++) {
        if (now->objects[i] == NULL)
            continue;
        struct row *rows = rows_between(c, &subjects[i], now->objects[i], before->objects[i], seconds);
        size_t count = LV_MIN(limit, json_array_size(now->objects[i]));
        if (ctl_is_json(c))
            json_object_set_new(all, subjects[i].collection, rows_json(&subjects[i], rows, count));
        else
            print_rows(c, &subjects[i], rows, count);
        mem_free(rows);
    }
    if (ctl_is_json(c))
        ctl_print_json(c, c->out, json_incref(all));
    else if (!c->options.is_once)
        fputc('\n', c->out);
    json_decref(all);
    fflush(c->out);
}

// --- the command ------------------------------------------------------------------------------------------------------------------

static bool
is_sortable(const char *name)
{
    for (size_t i = 0; i < LV_ARRAY_LEN(subjects); i++) {
        for (size_t k = 0; k < LV_ARRAY_LEN(subjects[i].rates); k++) {
            if (subjects[i].rates[k].name != NULL && strcmp(name, subjects[i].rates[k].name) == 0)
                return true;
            if (subjects[i].level_names[k] != NULL && strcmp(name, subjects[i].level_names[k]) == 0)
                return true;
        }
    }
    return false;
}

static int
check_top(struct ctl *c)
{
    const struct ctl_options *o = &c->options;
    const char *what = ctl_arg(c, 0);
    if (what != NULL && strcmp(what, "queues") != 0 && strcmp(what, "connections") != 0)
        return ctl_bad_argument(c, "'%s' is neither queues nor connections", what);
    if (o->interval_s != -1 && (o->interval_s < 1 || o->interval_s > INTERVAL_MAX_S))
        return ctl_bad_argument(c, "--interval is a number of seconds from 1 to %d", (int)INTERVAL_MAX_S);
    if (o->sort != NULL && !is_sortable(o->sort))
        return ctl_bad_argument(c, "--sort '%s' is none of the columns", o->sort);
    return 0;
}

static int
run_top(struct ctl *c)
{
    struct sample before = {0}, now = {0};
    int64_t interval_s = c->options.interval_s > 0 ? c->options.interval_s
                         : c->options.is_once      ? 1
                                                   : INTERVAL_S;
    if (c->options.is_dry_run)
        return CTL_OK;
    int status = take(c, &before);
    while (status == CTL_OK) {
        struct timespec step = {.tv_sec = interval_s};
        while (nanosleep(&step, &step) != 0)
            ;
        status = take(c, &now);
        if (status != CTL_OK)
            break;
        show(c, &now, &before);
        sample_free(&before);
        before = now;
        now = (struct sample){0};
        if (c->options.is_once || ferror(c->out))
            break;
    }
    sample_free(&before);
    return status;
}

const struct ctl_command ctl_commands_top[] = {
    {"top", GROUP_MONITORING,
     "[queues | connections] [--vhost <vhost>] [--once] [--interval <seconds>] [--sort <column>] [--limit "
     "<rows>]",
     "Shows the busiest queues and connections, again and again",
     "queues, connections\n\tonly these\n\n--once\n\tone picture, then the end\n\n--interval "
     "<seconds>\n\ttime between pictures, over "
     "which rates are taken [2; 1 with --once]\n\n--sort <column>\n\ta column's name, as ready or in/s [all "
     "rates together]\n\n"
     "--limit <rows>\n\thow many of each [15]\n\n",
     0, 1, OPTION_TOP | OPTION_LIMIT, NULL, run_top, check_top},
    {.name = NULL},
};
