// leveretctl_admin_format.c: how rabbitmqadmin shows lists: columns are the members of objects, and of the objects in them as "a.b".
#include <stdlib.h>

#include "src/base/mem.h"
#include "src/cli/leveretctl_admin.h"
#include "src/cli/leveretctl_value.h"

// LIMIT: columns of a table.
enum { COLUMNS_MAX = 256 };

static const char *const formats[] = {"table", "tsv", "long", "kvp", "raw_json", "pretty_json", "bash"};

bool
admin_format_is_known(const char *name)
{
    for (size_t i = 0; i < LV_ARRAY_LEN(formats); i++) {
        if (strcmp(name, formats[i]) == 0)
            return true;
    }
    return false;
}

// --- columns --------------------------------------------------------------------------------------------------------------------

// Members of an object as "a" and "a.b" down to a depth: path → value.
static void
flatten(json_t *to, const json_t *object, const char *prefix, int depth)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        struct buf path = BUF_INIT;
        buf_printf(&path, "%s%s%s", prefix, prefix[0] != '\0' ? "." : "", key);
        if (json_is_object(value) && depth > 0)
            flatten(to, value, buf_cstr(&path), depth - 1);
        else
            json_object_set(to, buf_cstr(&path), value);
        buf_fini(&path);
    }
}

static int
compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

// The columns asked for, or all there are: "name" and "vhost" first, the others by name. The names live as long as `rows`.
static size_t
choose(const struct admin_view *view, const json_t *rows, const char *names[COLUMNS_MAX])
{
    size_t count = 0;
    for (; count < COLUMNS_MAX && view->columns[count] != NULL; count++)
        names[count] = view->columns[count];
    if (count > 0)
        return count;
    json_t *seen = json_object();
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const char *key;
        json_t *value;
        json_object_foreach(json_array_get(rows, i), key, value)
        {
            if (json_object_get(seen, key) == NULL && count < COLUMNS_MAX) {
                json_object_set_new(seen, key, json_null());
                names[count++] = key;
            }
        }
    }
    json_decref(seen);
    qsort(names, count, sizeof names[0], compare_names);
    static const char *const first[] = {"name", "vhost"}; // moved to the front, the last of them first
    for (size_t i = 0; i < LV_ARRAY_LEN(first); i++) {
        for (size_t k = 0; k < count; k++) {
            if (strcmp(names[k], first[i]) != 0)
                continue;
            const char *name = names[k];
            memmove(names + 1, names, k * sizeof names[0]);
            names[0] = name;
        }
    }
    return count;
}

// A value in one line: texts as they are but for control bytes, booleans as Python writes them, the rest as JSON.
static void
put_value(struct buf *out, const json_t *value)
{
    if (json_is_string(value)) {
        struct slice text = json_slice(value);
        for (size_t i = 0; i < text.len; i++)
            buf_append_u8(out, text.ptr[i] < 0x20 || text.ptr[i] == 0x7f ? ' ' : text.ptr[i]);
    } else if (json_is_boolean(value)) {
        buf_append_str(out, json_is_true(value) ? "True" : "False");
    } else if (json_is_array(value)) {
        for (size_t i = 0; i < json_array_size(value); i++) {
            buf_append_str(out, i > 0 ? " " : "");
            put_value(out, json_array_get(value, i));
        }
    } else if (value != NULL && !json_is_null(value)) {
        json_text_put(out, value);
    }
}

// Characters of a text in UTF-8.
static size_t
width_of(struct slice text)
{
    size_t width = 0;
    for (size_t i = 0; i < text.len; i++)
        width += (text.ptr[i] & 0xc0) != 0x80;
    return width;
}

// --- table ----------------------------------------------------------------------------------------------------------------------

static void
put_cell(struct buf *out, const json_t *row, const char *name)
{
    put_value(out, json_object_get(row, name));
}

static void
print_rule(FILE *to, const size_t *widths, size_t count)
{
    for (size_t k = 0; k < count; k++) {
        fputc('+', to);
        for (size_t i = 0; i < widths[k] + 2; i++)
            fputc('-', to);
    }
    fputs("+\n", to);
}

static void
print_table(FILE *to, const json_t *rows, const char *const *names, size_t count)
{
    size_t widths[COLUMNS_MAX];
    for (size_t k = 0; k < count; k++) {
        widths[k] = width_of(slice_str(names[k]));
        for (size_t i = 0; i < json_array_size(rows); i++) {
            struct buf cell = BUF_INIT;
            put_cell(&cell, json_array_get(rows, i), names[k]);
            widths[k] = LV_MAX(widths[k], width_of(buf_slice(&cell)));
            buf_fini(&cell);
        }
    }
    print_rule(to, widths, count);
    for (size_t k = 0; k < count; k++) { // in the middle
        size_t room = widths[k] - width_of(slice_str(names[k]));
        fprintf(to, "| %*s%s%*s ", (int)(room / 2), "", names[k], (int)(room - room / 2), "");
    }
    fputs("|\n", to);
    print_rule(to, widths, count);
    for (size_t i = 0; i < json_array_size(rows); i++) {
        for (size_t k = 0; k < count; k++) {
            struct buf cell = BUF_INIT;
            put_cell(&cell, json_array_get(rows, i), names[k]);
            fprintf(to, "| %s%*s ", buf_cstr(&cell), (int)(widths[k] - width_of(buf_slice(&cell))), "");
            buf_fini(&cell);
        }
        fputs("|\n", to);
    }
    print_rule(to, widths, count);
}

// --- the others -----------------------------------------------------------------------------------------------------------------

static void
print_lines(FILE *to, const json_t *rows, const char *const *names, size_t count, const char *format)
{
    bool is_tsv = strcmp(format, "tsv") == 0, is_long = strcmp(format, "long") == 0;
    size_t width = 0;
    for (size_t k = 0; k < count; k++) {
        width = LV_MAX(width, strlen(names[k]));
        if (is_tsv)
            fprintf(to, "%s%s", names[k], k + 1 < count ? "\t" : "\n");
    }
    for (size_t i = 0; i < json_array_size(rows); i++) {
        if (is_long)
            fputs("\n--------------------------------------------------------------------------------\n\n",
                  to);
        for (size_t k = 0; k < count; k++) {
            struct buf cell = BUF_INIT;
            put_cell(&cell, json_array_get(rows, i), names[k]);
            if (is_long)
                fprintf(to, "%*s: %s\n", (int)width, names[k], buf_cstr(&cell));
            else if (is_tsv)
                fprintf(to, "%s%s", buf_cstr(&cell), k + 1 < count ? "\t" : "\n");
            else
                fprintf(to, "%s=\"%s\"%s", names[k], buf_cstr(&cell), k + 1 < count ? " " : "\n");
            buf_fini(&cell);
        }
    }
    if (is_long)
        fputs("\n--------------------------------------------------------------------------------\n\n", to);
}

static void
print_json(FILE *to, const json_t *objects, bool is_pretty)
{
    if (is_pretty) {
        json_dumpf(objects, to, JSON_INDENT(2) | JSON_SORT_KEYS | JSON_ENCODE_ANY);
        fputc('\n', to);
        return;
    }
    char *text = ctl_json_text(objects);
    fprintf(to, "%s\n", text != NULL ? text : "");
    mem_free(text);
}

void
admin_print(FILE *to, const struct admin_view *view, const json_t *objects)
{
    const char *names[COLUMNS_MAX];
    const char *format = view->format;
    if (strcmp(format, "raw_json") == 0 || strcmp(format, "pretty_json") == 0) {
        print_json(to, objects, format[0] == 'p');
        return;
    }
    json_t *rows = json_array();
    for (size_t i = 0; i < json_array_size(objects); i++) {
        json_t *row = json_object();
        flatten(row, json_array_get(objects, i), "", view->depth);
        json_array_append_new(rows, row);
    }
    size_t count = choose(view, rows, names);
    if (strcmp(format, "bash") == 0) {
        struct buf line = BUF_INIT;
        for (size_t i = 0; i < json_array_size(rows); i++) {
            buf_append_str(&line, i > 0 ? " " : "");
            put_cell(&line, json_array_get(rows, i), "name");
        }
        if (json_object_get(json_array_get(rows, 0), "name") != NULL) // what has no name is not told at all
            fprintf(to, "%s\n", buf_cstr(&line));
        buf_fini(&line);
    } else if (json_array_size(rows) == 0) {
        fputs("No items\n", to);
    } else if (strcmp(format, "table") == 0) {
        print_table(to, rows, names, count);
    } else {
        print_lines(to, rows, names, count, format);
    }
    json_decref(rows);
}
