// perf_options.c: values and their parsing; the help is in perf_options_help.c.
#include "src/cli/perf_options.h"

#include <math.h>
#include <stdlib.h>

#include "amqp/wire/table.h"
#include "src/base/err.h"

struct unit {
    const char *name;
    double factor;
};

static const struct unit count_units[] = {{"k", 1e3}, {"K", 1e3}, {"M", 1e6}, {"G", 1e9}};
static const struct unit size_units[] = {
    {"B", 1},          {"k", 1024},         {"K", 1024}, {"KiB", 1024}, {"M", 1048576}, {"MiB", 1048576},
    {"G", 1073741824}, {"GiB", 1073741824}, {"kB", 1e3}, {"KB", 1e3},   {"MB", 1e6},    {"GB", 1e9}};
static const struct unit time_units[] = {{"ms", 1e-3}, {"s", 1}, {"m", 60}, {"min", 60}, {"h", 3600}};
static const struct unit rate_units[] = {{"k", 1e3}, {"K", 1e3}, {"M", 1e6}, {"/s", 1}};

// A number that is not negative, and perhaps a unit.
static bool
parse_number(const char *text, const struct unit *units, size_t unit_count, double *ret)
{
    // strtod also takes "inf", "nan", "0x10" and leading blanks, which nobody means.
    if (text[strspn(text, "0123456789.")] != '\0' && text[0] == '0' && (text[1] == 'x' || text[1] == 'X'))
        return false;
    if (strspn(text, "0123456789.") == 0)
        return false;
    char *end;
    double value = strtod(text, &end);
    if (end == text || !isfinite(value))
        return false;
    if (*end == '\0') {
        *ret = value;
        return true;
    }
    for (size_t i = 0; i < unit_count; i++) {
        if (strcmp(end, units[i].name) == 0) {
            *ret = value * units[i].factor;
            return true;
        }
    }
    return false;
}

static bool
parse_whole(const char *text, const struct unit *units, size_t unit_count, uint64_t *ret)
{
    double value;
    // Beyond 2^53 a double no longer holds each integer.
    if (!parse_number(text, units, unit_count, &value) || value > 9007199254740992.0 || value != floor(value))
        return false;
    *ret = (uint64_t)value;
    return true;
}

bool
perf_parse_count(const char *text, uint64_t *ret)
{
    return parse_whole(text, count_units, LV_ARRAY_LEN(count_units), ret);
}

bool
perf_parse_size(const char *text, uint64_t *ret)
{
    return parse_whole(text, size_units, LV_ARRAY_LEN(size_units), ret);
}

bool
perf_parse_seconds(const char *text, double *ret)
{
    return parse_number(text, time_units, LV_ARRAY_LEN(time_units), ret);
}

bool
perf_parse_rate(const char *text, double *ret)
{
    return parse_number(text, rate_units, LV_ARRAY_LEN(rate_units), ret);
}

static void
put_argument(struct table_writer *w, struct slice key, struct slice value)
{
    char number[32];
    if (value.len >= 2 && value.ptr[0] == '\'' && value.ptr[value.len - 1] == '\'') {
        table_put_longstr(w, key, slice_of(value.ptr + 1, value.len - 2));
        return;
    }
    if (slice_eq_str(value, "true") || slice_eq_str(value, "false")) {
        table_put_bool(w, key, slice_eq_str(value, "true"));
        return;
    }
    if (value.len > 0 && value.len < sizeof number) {
        memcpy(number, value.ptr, value.len);
        number[value.len] = '\0';
        char *end;
        long long parsed = strtoll(number, &end, 10);
        if (*end == '\0' && end != number) {
            table_put_i64(w, key, parsed);
            return;
        }
    }
    table_put_longstr(w, key, value);
}

bool
perf_parse_args(const char *text, struct buf *table)
{
    struct table_writer w = table_writer_of(table);
    for (;;) {
        size_t len = strcspn(text, ",");
        const char *equals = memchr(text, '=', len);
        if (equals == NULL || equals == text || (size_t)(equals - text) > UINT8_MAX)
            return false;
        put_argument(&w, slice_of(text, (size_t)(equals - text)),
                     slice_of(equals + 1, len - (size_t)(equals - text) - 1));
        if (text[len] == '\0')
            return !table->failed;
        text += len + 1;
    }
}

static const struct perf_option *
find(const struct perf_command *command, const char *name, size_t name_len)
{
    for (size_t i = 0; i < command->option_count; i++) {
        const struct perf_option *o = &command->options[i];
        if (o->kind != OPTION_HEADING && strlen(o->name) == name_len && memcmp(o->name, name, name_len) == 0)
            return o;
    }
    return NULL;
}

static const struct perf_option *
find_letter(const struct perf_command *command, char letter)
{
    for (size_t i = 0; i < command->option_count; i++)
        if (command->options[i].letter == letter)
            return &command->options[i];
    return NULL;
}

// How many letters have to be added, removed or replaced; more than a few is as good as many.
static unsigned
distance(const char *a, size_t a_len, const char *b)
{
    enum { WORD_MAX = 32 };
    size_t b_len = strlen(b);
    unsigned row[WORD_MAX + 1];
    if (a_len > WORD_MAX || b_len > WORD_MAX)
        return WORD_MAX;
    for (size_t k = 0; k <= b_len; k++)
        row[k] = (unsigned)k;
    for (size_t i = 0; i < a_len; i++) {
        unsigned diagonal = row[0];
        row[0] = (unsigned)i + 1;
        for (size_t k = 0; k < b_len; k++) {
            unsigned replaced = diagonal + (a[i] != b[k]);
            diagonal = row[k + 1];
            row[k + 1] = LV_MIN(replaced, LV_MIN(row[k], row[k + 1]) + 1);
        }
    }
    return row[b_len];
}

static int
unknown(const struct perf_command *command, const char *word, size_t name_len, struct buf *error)
{
    const char *best = NULL;
    unsigned best_distance = 4;
    for (size_t i = 0; i < command->option_count && word[1] == '-'; i++) {
        const struct perf_option *o = &command->options[i];
        unsigned d = o->kind == OPTION_HEADING ? best_distance : distance(word + 2, name_len, o->name);
        if (d < best_distance) {
            best = o->name;
            best_distance = d;
        }
    }
    buf_printf(error, "there is no option %s", word);
    if (best != NULL)
        buf_printf(error, "; did you mean --%s?", best);
    return -LE_INVAL;
}

static const char *
expected(enum perf_option_kind kind)
{
    switch (kind) {
    case OPTION_COUNT: return "a number such as 1000, 10k or 2M";
    case OPTION_SIZE: return "a size such as 16, 4KiB or 1MiB";
    case OPTION_SECONDS: return "a time such as 10, 500ms or 2m";
    case OPTION_RATE: return "a rate such as 2000, 10k or 0.5";
    case OPTION_ARGS: return "key=value,key=value";
    default: return "a text";
    }
}

static int
set_value(const struct perf_option *o, const char *value, void *config, struct buf *error)
{
    void *target = (char *)config + o->offset;
    uint64_t whole = 0;
    double number = 0;
    bool is_good = true;
    switch (o->kind) {
    case OPTION_TEXT: *(const char **)target = value; break;
    case OPTION_COUNT: is_good = perf_parse_count(value, &whole); break;
    case OPTION_SIZE: is_good = perf_parse_size(value, &whole); break;
    case OPTION_SECONDS: is_good = perf_parse_seconds(value, &number); break;
    case OPTION_RATE: is_good = perf_parse_rate(value, &number); break;
    case OPTION_ARGS: is_good = perf_parse_args(value, target); break;
    default: LV_ASSERT(false);
    }
    if (!is_good) {
        buf_printf(error, "--%s: '%s' is not %s", o->name, value, expected(o->kind));
        return -LE_INVAL;
    }
    bool is_whole = o->kind == OPTION_COUNT || o->kind == OPTION_SIZE;
    if (is_whole)
        number = (double)whole;
    if (o->max > 0 && (number < o->min || number > o->max)) {
        buf_printf(error, "--%s: %s is not between %.15g and %.15g", o->name, value, o->min, o->max);
        return -LE_INVAL;
    }
    if (is_whole)
        *(uint64_t *)target = whole;
    else if (o->kind == OPTION_SECONDS || o->kind == OPTION_RATE)
        *(double *)target = number;
    return 0;
}

// One word of the command line; *ret_used: it took the next one as its value.
static int
parse_word(const struct perf_command *command, const char *word, const char *next, void *config,
           bool *ret_used, struct buf *error)
{
    const struct perf_option *o = NULL;
    const char *value = NULL;
    bool is_on = true;
    size_t name_len = 0;
    *ret_used = false;
    if (word[0] == '-' && word[1] == '-') {
        name_len = strcspn(word + 2, "=");
        value = word[2 + name_len] == '=' ? word + 2 + name_len + 1 : NULL;
        o = find(command, word + 2, name_len);
        if (o == NULL && strncmp(word, "--no-", 5) == 0) {
            o = find(command, word + 5, strlen(word + 5));
            o = o != NULL && o->kind == OPTION_FLAG ? o : NULL;
            is_on = false;
        }
    } else if (word[0] == '-' && word[1] != '\0') {
        o = find_letter(command, word[1]);
        value = word[2] != '\0' ? word + 2 + (word[2] == '=') : NULL;
    } else {
        buf_printf(error, "'%s' is not an option; all begin with a dash", word);
        return -LE_INVAL;
    }
    if (o == NULL)
        return unknown(command, word, name_len, error);
    if (o->kind == OPTION_FLAG) {
        if (value != NULL) {
            buf_printf(error, "--%s takes no value", o->name);
            return -LE_INVAL;
        }
        *(bool *)((char *)config + o->offset) = is_on;
        return 0;
    }
    if (value == NULL) {
        *ret_used = true;
        value = next;
    }
    if (value == NULL) {
        buf_printf(error, "--%s needs a value: %s", o->name, expected(o->kind));
        return -LE_INVAL;
    }
    return set_value(o, value, config, error);
}

int
perf_options_parse(const struct perf_command *command, int argc, char **argv, void *config, struct buf *error)
{
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return 1;
        bool is_used = false;
        int rc = parse_word(command, argv[i], i + 1 < argc ? argv[i + 1] : NULL, config, &is_used, error);
        if (rc < 0)
            return rc;
        i += is_used;
    }
    return 0;
}

void
perf_options_fini(const struct perf_command *command, void *config)
{
    for (size_t i = 0; i < command->option_count; i++)
        if (command->options[i].kind == OPTION_ARGS)
            buf_fini((struct buf *)(void *)((char *)config + command->options[i].offset));
}
