// leveretctl_format.c: rows in the five formats. Single values are leveretctl_value.c's, Erlang's line breaking leveretctl_term.c's.
#include "src/cli/leveretctl_format.h"

#include "src/base/err.h"
#include "src/base/mem.h"
#include "src/cli/leveretctl_term.h"

int
ctl_format_parse(const char *name, enum ctl_format *ret)
{
    static const char *const names[] = {"table", "json", "csv", "pretty_table", "erlang"};
    for (size_t i = 0; i < LV_ARRAY_LEN(names); i++) {
        if (strcmp(name, names[i]) == 0) {
            *ret = (enum ctl_format)i;
            return 0;
        }
    }
    return -LE_INVAL;
}

static void
write_out(FILE *to, const struct buf *b)
{
    if (b->len > 0)
        fwrite(b->ptr, 1, b->len, to);
}

static void
put_csv(struct buf *out, struct slice text)
{
    buf_append_u8(out, '"');
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] == '"')
            buf_append_u8(out, '"');
        buf_append_u8(out, text.ptr[i]);
    }
    buf_append_u8(out, '"');
}

// One row of table or csv: cells of `row`, or the headings when it is NULL.
static void
put_row(struct buf *out, enum ctl_format format, const struct ctl_table *t, const json_t *row)
{
    struct buf cell = BUF_INIT;
    for (size_t i = 0; i < t->column_count; i++) {
        buf_reset(&cell);
        if (row == NULL)
            buf_append_str(&cell, t->headings[i].name);
        else
            ctl_format_cell(&cell, format, t->headings[i].kind, json_array_get(row, i));
        if (i > 0)
            buf_append_u8(out, format == FORMAT_CSV ? ',' : '\t');
        if (format == FORMAT_CSV)
            put_csv(out, buf_slice(&cell));
        else
            buf_append_slice(out, buf_slice(&cell));
    }
    buf_append_u8(out, '\n');
    buf_fini(&cell);
}

static void
print_plain(FILE *to, enum ctl_format format, const struct ctl_table *t)
{
    struct buf out = BUF_INIT;
    size_t count = json_array_size(t->rows);
    if (t->has_headings && count > 0)
        put_row(&out, format, t, NULL);
    for (size_t i = 0; i < count; i++) {
        put_row(&out, format, t, json_array_get(t->rows, i));
        write_out(to, &out);
        buf_reset(&out);
    }
    // rabbitmqctl shows a list that was not streamed and is empty as an empty line.
    if (count == 0 && !t->is_streamed && format == FORMAT_TABLE)
        buf_append_u8(&out, '\n');
    write_out(to, &out);
    buf_fini(&out);
}

static void
print_json(FILE *to, const struct ctl_table *t)
{
    struct buf out = BUF_INIT;
    size_t count = json_array_size(t->rows);
    fputs(count == 0 && !t->is_streamed ? "[" : "[\n", to);
    for (size_t i = 0; i < count; i++) {
        const json_t *row = json_array_get(t->rows, i);
        buf_append_str(&out, i > 0 ? ",{" : "{");
        for (size_t k = 0; k < t->column_count; k++) {
            buf_printf(&out, "%s\"%s\":", k > 0 ? "," : "", t->headings[k].name);
            ctl_format_cell(&out, FORMAT_JSON, t->headings[k].kind, json_array_get(row, k));
        }
        buf_append_str(&out, "}\n");
        write_out(to, &out);
        buf_reset(&out);
    }
    fputs("]\n", to);
    buf_fini(&out);
}

static void
print_erlang(FILE *to, const struct ctl_table *t)
{
    struct buf out = BUF_INIT;
    struct term *list = term_list();
    for (size_t i = 0; i < json_array_size(t->rows); i++) {
        struct term *row = term_list();
        for (size_t k = 0; k < t->column_count; k++) {
            struct term *pair = term_tuple();
            term_add(pair, term_atom(slice_str(t->headings[k].name)));
            term_add(pair, term_of_cell(t->headings[k].kind, json_array_get(json_array_get(t->rows, i), k)));
            term_add(row, pair);
        }
        if (t->is_nested) {
            struct term *outer = term_list();
            term_add(outer, row);
            row = outer;
        }
        term_add(list, row);
    }
    term_print(&out, list);
    term_free(list);
    buf_append_u8(&out, '\n');
    write_out(to, &out);
    buf_fini(&out);
}

// --- pretty_table: a box of VT100 line characters ------------------------------------------------------------------------------

// Columns a UTF-8 text takes on a terminal, near enough: its code points.
static size_t
text_width(struct slice text)
{
    size_t width = 0;
    for (size_t i = 0; i < text.len; i++)
        width += (text.ptr[i] & 0xc0) != 0x80;
    return width;
}

#define LINES_ON  "\033(0"
#define LINES_OFF "\033(B"

static void
put_rule(struct buf *out, const size_t *widths, size_t count, const char *ends)
{
    buf_append_str(out, LINES_ON);
    for (size_t i = 0; i < count; i++) {
        buf_append_u8(out, (uint8_t)(i == 0 ? ends[0] : ends[1]));
        for (size_t k = 0; k < widths[i] + 2; k++)
            buf_append_u8(out, 'q');
    }
    buf_printf(out, "%c" LINES_OFF "\n", ends[2]);
}

static void
put_box_cell(struct buf *out, struct slice text, size_t width, bool is_heading)
{
    buf_append_str(out, LINES_ON "x" LINES_OFF " ");
    if (is_heading)
        buf_printf(out, "\033[1m%.*s\033[0m", SLICE_FMT(text));
    else
        buf_append_slice(out, text);
    for (size_t used = text_width(text); used < width + 1; used++)
        buf_append_u8(out, ' ');
}

// All cells as text, row after row, the headings first; NULL when out of memory.
static struct buf *
make_cells(const struct ctl_table *t, size_t row_count, size_t *widths)
{
    struct buf *cells = mem_calloc((row_count + 1) * t->column_count, sizeof *cells);
    for (size_t i = 0; cells != NULL && i <= row_count; i++) {
        for (size_t k = 0; k < t->column_count; k++) {
            struct buf *cell = &cells[i * t->column_count + k];
            if (i == 0)
                buf_append_str(cell, t->headings[k].name);
            else
                ctl_format_cell(cell, FORMAT_PRETTY, t->headings[k].kind,
                                json_array_get(json_array_get(t->rows, i - 1), k));
            widths[k] = LV_MAX(widths[k], text_width(buf_slice(cell)));
        }
    }
    return cells;
}

static void
print_pretty(FILE *to, const struct ctl_table *t)
{
    struct buf out = BUF_INIT;
    size_t row_count = json_array_size(t->rows);
    size_t *widths = mem_calloc(t->column_count, sizeof *widths);
    struct buf *cells = widths != NULL && row_count > 0 ? make_cells(t, row_count, widths) : NULL;
    for (size_t i = 0; cells != NULL && i <= row_count; i++) {
        put_rule(&out, widths, t->column_count, i == 0 ? "lwk" : "tnu");
        for (size_t k = 0; k < t->column_count; k++) {
            put_box_cell(&out, buf_slice(&cells[i * t->column_count + k]), widths[k], i == 0);
            buf_fini(&cells[i * t->column_count + k]);
        }
        buf_append_str(&out, LINES_ON "x" LINES_OFF "\n");
    }
    if (cells != NULL)
        put_rule(&out, widths, t->column_count, "mvj");
    write_out(to, &out);
    mem_free(cells);
    mem_free(widths);
    buf_fini(&out);
}

void
ctl_format_table(FILE *to, enum ctl_format format, const struct ctl_table *table)
{
    switch (format) {
    case FORMAT_JSON: print_json(to, table); break;
    case FORMAT_PRETTY: print_pretty(to, table); break;
    case FORMAT_ERLANG: print_erlang(to, table); break;
    case FORMAT_TABLE:
    case FORMAT_CSV:
    default: print_plain(to, format, table); break;
    }
}
