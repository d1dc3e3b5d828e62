// leveretctl_lists.c: the machinery of the list_* commands: which columns, where their values are, the rows. What there is to list
// is in leveretctl_listings.c.
#include "src/cli/leveretctl_lists.h"

#include <stdlib.h>

#include "src/base/mem.h"
#include "src/cli/leveretctl.h"

// LIMIT: columns of one listing.
enum { COLUMNS_MAX = 64 };

void
ctl_listing_each_column(const struct ctl_listing *listing, void (*visit)(const char *name, void *ctx),
                        void *ctx)
{
    for (const struct ctl_column *column = listing->columns; column->name != NULL; column++)
        visit(column->name, ctx);
}

void
ctl_listing_print_columns(FILE *to, const struct ctl_listing *listing)
{
    for (const struct ctl_column *column = listing->columns; column->name != NULL; column++)
        fprintf(to, "%s%s", column == listing->columns ? "" : ", ", column->name);
}

static const struct ctl_column *
find_column(const struct ctl_listing *listing, struct slice name)
{
    for (const struct ctl_column *column = listing->columns; column->name != NULL; column++) {
        if (slice_eq_str(name, column->name))
            return column;
    }
    return NULL;
}

// The next of words separated by commas and spaces; false at the end.
static bool
next_word(struct slice *text, struct slice *ret)
{
    while (text->len > 0 && (text->ptr[0] == ',' || text->ptr[0] == ' '))
        *text = slice_from(*text, 1);
    size_t len = 0;
    while (len < text->len && text->ptr[len] != ',' && text->ptr[len] != ' ')
        len++;
    *ret = slice_head(*text, len);
    *text = slice_from(*text, len);
    return len > 0;
}

int
ctl_columns_check(struct ctl *c)
{
    struct buf unknown = BUF_INIT;
    size_t count = 0;
    for (size_t i = 0; i < c->options.arg_count; i++) {
        struct slice text = slice_str(c->options.args[i]), word;
        while (next_word(&text, &word)) {
            if (find_column(c->command->listing, word) == NULL)
                buf_printf(&unknown, "%s%.*s", unknown.len > 0 ? "," : "", SLICE_FMT(word));
            count++;
        }
    }
    bool is_bad = unknown.len > 0 || count > COLUMNS_MAX;
    if (unknown.len > 0)
        buf_printf(&c->problem, "Info key(s) %s are not supported", buf_cstr(&unknown));
    else if (is_bad)
        buf_printf(&c->problem, "too many columns");
    buf_fini(&unknown);
    return is_bad ? CTL_USAGE : 0;
}

// The columns asked for, or the default ones. Returns how many.
static size_t
choose_columns(const struct ctl *c, const struct ctl_listing *listing,
               const struct ctl_column *chosen[COLUMNS_MAX])
{
    size_t count = 0;
    struct slice word;
    for (size_t i = 0; c->command->check == ctl_columns_check && i < c->options.arg_count; i++) {
        for (struct slice text = slice_str(c->options.args[i]);
             next_word(&text, &word) && count < COLUMNS_MAX;)
            chosen[count++] = find_column(listing, word);
    }
    if (count == 0) {
        for (struct slice text = slice_str(listing->defaults); next_word(&text, &word);)
            chosen[count++] = find_column(listing, word);
    }
    return count;
}

bool
ctl_has_column(const struct ctl *c, const char *name)
{
    const struct ctl_column *chosen[COLUMNS_MAX];
    size_t count = choose_columns(c, c->command->listing, chosen);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(chosen[i]->name, name) == 0)
            return true;
    }
    return false;
}

const json_t *
ctl_member(const json_t *object, const char *path)
{
    char key[64];
    while (object != NULL) {
        size_t len = strcspn(path, ".");
        LV_ASSERT(len < sizeof key);
        memcpy(key, path, len);
        key[len] = '\0';
        object = json_object_get(object, key);
        if (path[len] == '\0')
            return object;
        path += len + 1;
    }
    return NULL;
}

static json_t *
cell_of(struct ctl *c, const struct ctl_column *column, const json_t *object)
{
    if (column->value != NULL) {
        json_t *value = column->value(c, object);
        return value != NULL ? value : json_null();
    }
    const json_t *value = column->path != NULL ? ctl_member(object, column->path) : NULL;
    return value != NULL ? json_incref((json_t *)(uintptr_t)value) : json_null();
}

int
ctl_list(struct ctl *c, const json_t *objects)
{
    const struct ctl_listing *listing = c->command->listing;
    const struct ctl_column *chosen[COLUMNS_MAX];
    struct ctl_heading headings[COLUMNS_MAX];
    size_t count = choose_columns(c, listing, chosen);
    json_t *rows = json_array(),
           *held = json_incref((json_t *)(uintptr_t)objects); // a cell may need another request
    for (size_t k = 0; k < count; k++)
        headings[k] = (struct ctl_heading){chosen[k]->name, chosen[k]->kind};
    size_t row_count = json_array_size(objects);
    if (c->row_limit > 0)
        row_count = LV_MIN(row_count, c->row_limit);
    for (size_t i = 0; i < row_count; i++) {
        json_t *row = json_array();
        for (size_t k = 0; k < count; k++)
            json_array_append_new(row, cell_of(c, chosen[k], json_array_get(objects, i)));
        json_array_append_new(rows, row);
    }
    struct ctl_table table = {
        .headings = headings,
        .column_count = count,
        .rows = rows,
        .has_headings = !listing->has_no_headings,
        .is_streamed = listing->is_streamed,
        .is_nested = listing->is_nested,
    };
    ctl_print_table(c, &table);
    if (row_count < json_array_size(objects))
        fprintf(c->out, "(%zu more rows)\n", json_array_size(objects) - row_count);
    json_decref(rows);
    json_decref(held);
    return CTL_OK;
}
