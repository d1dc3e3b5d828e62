// leveretctl_term.c: Erlang terms: building, and breaking lines as Erlang's own printer (~p) does.
//
// The rule of that printer: what fits into 80 columns stands on one line. Otherwise a list or tuple puts its elements below each
// other, aligned behind its bracket; leaves in a row share a line as long as there is room; a tuple that begins with an atom keeps
// it and its second element on one line and aligns the others below that.
#include "src/cli/leveretctl_term.h"

#include "amqp/wire/erl_text.h"
#include "src/base/mem.h"
#include "src/cli/leveretctl_value.h"

enum { LINE_COLUMNS = 80 };

enum term_type { TERM_LEAF, TERM_LIST, TERM_TUPLE };

struct term {
    enum term_type type;
    bool is_atom;
    struct term *next;         // sibling
    struct term *first, *last; // of a list or tuple
    size_t count;
    struct buf text; // of a leaf
};

static struct term *
term_new(enum term_type type)
{
    struct term *t = mem_calloc(1, sizeof *t);
    if (t != NULL)
        t->type = type;
    return t;
}

struct term *
term_list(void)
{
    return term_new(TERM_LIST);
}

struct term *
term_tuple(void)
{
    return term_new(TERM_TUPLE);
}

struct term *
term_leaf(struct slice text)
{
    struct term *t = term_new(TERM_LEAF);
    if (t != NULL)
        buf_append_slice(&t->text, text);
    return t;
}

struct term *
term_atom(struct slice name)
{
    struct term *t = term_new(TERM_LEAF);
    if (t == NULL)
        return NULL;
    t->is_atom = true;
    erlang_put_atom(&t->text, name);
    return t;
}

struct term *
term_binary(struct slice text)
{
    struct term *t = term_new(TERM_LEAF);
    if (t != NULL)
        wire_print_erlang_binary(&t->text, text, text.len);
    return t;
}

void
term_add(struct term *parent, struct term *child)
{
    if (parent == NULL) {
        term_free(child);
        return;
    }
    if (child == NULL)
        return;
    LV_ASSERT(parent->type != TERM_LEAF && child->next == NULL);
    if (parent->last != NULL)
        parent->last->next = child;
    else
        parent->first = child;
    parent->last = child;
    parent->count++;
}

void
term_free(struct term *t)
{
    if (t == NULL)
        return;
    for (struct term *child = t->first; child != NULL;) {
        struct term *next = child->next;
        term_free(child);
        child = next;
    }
    buf_fini(&t->text);
    mem_free(t);
}

void
term_print_flat(struct buf *out, const struct term *t)
{
    if (t == NULL)
        return;
    if (t->type == TERM_LEAF) {
        buf_append_slice(out, buf_slice(&t->text));
        return;
    }
    buf_append_u8(out, t->type == TERM_LIST ? '[' : '{');
    for (const struct term *child = t->first; child != NULL; child = child->next) {
        if (child != t->first)
            buf_append_u8(out, ',');
        term_print_flat(out, child);
    }
    buf_append_u8(out, t->type == TERM_LIST ? ']' : '}');
}

// Characters of a term on one line; counting stops beyond a line.
static size_t
flat_length(const struct term *t)
{
    if (t->type == TERM_LEAF)
        return t->text.len;
    size_t length = 2 + (t->count > 0 ? t->count - 1 : 0);
    for (const struct term *child = t->first; child != NULL && length <= LINE_COLUMNS; child = child->next)
        length += flat_length(child);
    return length;
}

static void
break_line(struct buf *out, size_t column)
{
    buf_append_u8(out, '\n');
    for (size_t i = 1; i < column; i++)
        buf_append_u8(out, ' ');
}

static void print_at(struct buf *out, const struct term *t, size_t column, size_t closers);

// Elements from `child` on, aligned at `column`; the first is written at `at`. `closers`: brackets behind the last one.
static void
print_elements(struct buf *out, const struct term *child, size_t column, size_t at, size_t closers)
{
    bool is_first = true;
    for (; child != NULL; child = child->next, is_first = false) {
        size_t behind = child->next == NULL ? closers : 0;
        size_t length = flat_length(child);
        bool fits = child->type == TERM_LEAF && at + length + 1 + LV_MAX(behind, 1) < LINE_COLUMNS;
        if (!is_first) {
            buf_append_u8(out, ',');
            if (fits) {
                at++;
            } else {
                break_line(out, column);
                at = column;
            }
        }
        print_at(out, child, at, behind);
        at += length;
    }
}

static void
print_at(struct buf *out, const struct term *t, size_t column, size_t closers)
{
    size_t length = flat_length(t);
    if (t->type == TERM_LEAF || t->count == 0 || length + column + closers < LINE_COLUMNS) {
        term_print_flat(out, t);
        return;
    }
    buf_append_u8(out, t->type == TERM_LIST ? '[' : '{');
    if (t->type == TERM_TUPLE && t->first->is_atom && t->count > 1) {
        size_t behind_tag = column + t->first->text.len + 2;
        term_print_flat(out, t->first);
        buf_append_u8(out, ',');
        print_elements(out, t->first->next, behind_tag, behind_tag, closers + 1);
    } else {
        print_elements(out, t->first, column + 1, column + 1, closers + 1);
    }
    buf_append_u8(out, t->type == TERM_LIST ? ']' : '}');
}

void
term_print(struct buf *out, const struct term *t)
{
    if (t != NULL)
        print_at(out, t, 1, 0);
}
