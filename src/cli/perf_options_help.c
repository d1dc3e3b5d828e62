// perf_options_help.c: --help, made of the table of options and the defaults.
#include "src/cli/perf_options.h"

enum { HELP_COLUMNS = 100, NAME_COLUMN = 30 };

// Appends words from column `at` on, breaking lines and indenting the later ones by NAME_COLUMN.
static void
wrap(struct buf *out, const char *text, size_t at)
{
    bool is_first = true;
    while (*text != '\0') {
        size_t len = strcspn(text, " ");
        if (!is_first && at + 1 + len > HELP_COLUMNS) {
            buf_printf(out, "\n%*s", NAME_COLUMN, "");
            at = NAME_COLUMN;
        } else if (!is_first) {
            buf_append_u8(out, ' ');
            at++;
        }
        buf_append(out, text, len);
        at += len;
        text += len + (text[len] == ' ');
        is_first = false;
    }
    buf_append_u8(out, '\n');
}

static void
append_whole(struct buf *out, uint64_t value, const char *const units[3], uint64_t step)
{
    size_t unit = 0;
    while (unit < 3 && value >= step && value % step == 0) {
        value /= step;
        unit++;
    }
    buf_printf(out, "%llu%s", (unsigned long long)value, unit == 0 ? "" : units[unit - 1]);
}

static void
append_default(struct buf *out, const struct perf_option *o, const void *defaults)
{
    const void *value = (const char *)defaults + o->offset;
    struct buf text = BUF_INIT;
    switch (o->kind) {
    case OPTION_FLAG:
        if (*(const bool *)value)
            buf_printf(&text, "on; --no-%s", o->name);
        break;
    case OPTION_TEXT:
        if (*(const char *const *)value != NULL && **(const char *const *)value != '\0')
            buf_append_str(&text, *(const char *const *)value);
        break;
    case OPTION_COUNT:
        if (*(const uint64_t *)value != 0)
            append_whole(&text, *(const uint64_t *)value, (const char *const[]){"k", "M", "G"}, 1000);
        break;
    case OPTION_SIZE:
        if (*(const uint64_t *)value != 0)
            append_whole(&text, *(const uint64_t *)value, (const char *const[]){"KiB", "MiB", "GiB"}, 1024);
        break;
    case OPTION_SECONDS:
        if (*(const double *)value > 0)
            buf_printf(&text, "%gs", *(const double *)value);
        break;
    case OPTION_RATE:
        if (*(const double *)value > 0)
            buf_printf(&text, "%g", *(const double *)value);
        break;
    default: break;
    }
    if (text.len > 0)
        buf_printf(out, " [%s]", buf_cstr(&text));
    buf_fini(&text);
}

static void
append_option(struct buf *out, const struct perf_option *o, const void *defaults)
{
    size_t start = out->len;
    if (o->letter != 0)
        buf_printf(out, "  -%c, --%s", o->letter, o->name);
    else
        buf_printf(out, "      --%s", o->name);
    if (o->argument != NULL)
        buf_printf(out, " %s", o->argument);
    size_t width = out->len - start;
    if (width + 2 > NAME_COLUMN) {
        buf_append_u8(out, '\n');
        width = 0;
    }
    buf_printf(out, "%*s", (int)(NAME_COLUMN - width), "");
    struct buf text = BUF_INIT;
    buf_append_str(&text, o->help);
    append_default(&text, o, defaults);
    wrap(out, buf_cstr(&text), NAME_COLUMN);
    buf_fini(&text);
}

void
perf_options_help(const struct perf_command *command, struct buf *out)
{
    buf_printf(out, "leveret-perf %s: %s\n\n%s\n", command->name, command->summary, command->about);
    buf_printf(out, "\nExamples\n%s", command->examples);
    for (size_t i = 0; i < command->option_count; i++) {
        const struct perf_option *o = &command->options[i];
        if (o->kind == OPTION_HEADING)
            buf_printf(out, "\n%s\n", o->name);
        else
            append_option(out, o, command->defaults);
    }
    buf_append_str(out, "\nCounts and rates take k, M, G (thousands); sizes KiB, MiB, GiB; times ms, s, m, "
                        "h. Defaults are in\n"
                        "brackets. Ctrl-C ends a run with the results so far, a second one at once.\n");
}
