// config_substitute.c: $(NAME) and $(<FILE) in values.
//
// A value is looked at once, after all sources are gathered: other keys are seen as they were written and are
// substituted in turn, variables of the environment and files are taken literally. Depth and number are
// bounded, so that keys which name each other neither loop nor explode.
#include "src/base/mem.h"
#include "src/config/config_files.h"
#include "src/config/config_internal.h"

struct substitution {
    struct config_loader *loader;
    const struct config_setting *setting;
    unsigned depth;
};

// $(<FILE): the whole value is the content of a file, without the line end behind it.
static bool
substitute_file(struct substitution *s, struct slice name, struct buf *out)
{
    struct config_loader *l = s->loader;
    struct buf text = BUF_INIT;
    name = config_trim(name);
    const char *path = config_join(l, s->setting->base_dir, config_arena_text(l->arena, name));
    int error = l->input->fs->read(l->input->fs->ctx, path, CONFIG_VALUE_BYTES_MAX, &text);
    if (error == 0) {
        struct slice content = buf_slice(&text);
        while (content.len > 0 &&
               (content.ptr[content.len - 1] == '\n' || content.ptr[content.len - 1] == '\r'))
            content = slice_head(content, content.len - 1);
        buf_append_slice(out, content);
        mem_wipe(text.ptr, text.len);
    } else {
        config_problem(&l->report, "%s: '%s': %s cannot be read: %s", s->setting->source, s->setting->key,
                       path, err_text(error));
    }
    buf_fini(&text);
    return error == 0;
}

static bool substitute_text(struct substitution *s, struct slice text, struct buf *out);

// $(NAME): another key's value, itself substituted, or else a variable of the environment as it is.
static bool
substitute_name(struct substitution *s, struct slice name, struct buf *out)
{
    struct config_loader *l = s->loader;
    char shown[80];
    const char *text = config_arena_text(l->arena, config_trim(name));
    const struct config_setting *other = config_setting_find(l, text);
    const char *variable = config_environment(l, text);
    if (l->substitution_count++ >= CONFIG_SUBSTITUTIONS_MAX) {
        config_problem(&l->report, "%s: more than %d substitutions", s->setting->source,
                       CONFIG_SUBSTITUTIONS_MAX);
        return false;
    }
    if (other != NULL) {
        if (s->depth == CONFIG_INCLUDE_DEPTH_MAX) {
            config_problem(&l->report, "%s: '%s': $(%s) goes round in a circle", s->setting->source,
                           s->setting->key, config_printable(name, shown, sizeof shown));
            return false;
        }
        s->depth++;
        bool is_good = substitute_text(s, slice_str(other->value), out);
        s->depth--;
        return is_good;
    }
    if (variable == NULL) {
        config_problem(&l->report, "%s: '%s': $(%s) is neither a key nor a variable of the environment",
                       s->setting->source, s->setting->key, config_printable(name, shown, sizeof shown));
        return false;
    }
    buf_append_str(out, variable);
    return true;
}

static bool
substitute_text(struct substitution *s, struct slice text, struct buf *out)
{
    while (text.len > 0) {
        const uint8_t *open = memmem(text.ptr, text.len, "$(", 2);
        const uint8_t *close = open != NULL ? memchr(open, ')', text.len - (size_t)(open - text.ptr)) : NULL;
        if (close == NULL)
            break;
        size_t front = (size_t)(open - text.ptr);
        struct slice name = slice_of(open + 2, (size_t)(close - open) - 2);
        buf_append_slice(out, slice_head(text, front));
        bool is_good = name.len > 0 && name.ptr[0] == '<' ? substitute_file(s, slice_from(name, 1), out)
                                                          : substitute_name(s, name, out);
        if (!is_good)
            return false;
        if (out->len > CONFIG_VALUE_BYTES_MAX)
            return true; // the caller tells
        text = slice_from(text, (size_t)(close - text.ptr) + 1);
    }
    buf_append_slice(out, text);
    return true;
}

// What comes from a variable or a file was not checked as a line was.
static bool
is_clean(struct slice value)
{
    for (size_t i = 0; i < value.len; i++) {
        if (value.ptr[i] < 0x20 || value.ptr[i] == 0x7F)
            return false;
    }
    return true;
}

void
config_substitute(struct config_loader *l)
{
    const char **values = mem_calloc(l->setting_count + 1, sizeof *values);
    struct buf out = BUF_INIT;
    if (values == NULL) {
        l->arena->failed = true;
        return;
    }
    for (size_t i = 0; i < l->setting_count; i++) {
        const struct config_setting *setting = &l->settings[i];
        struct substitution s = {.loader = l, .setting = setting};
        if (setting->is_dropped || strstr(setting->value, "$(") == NULL)
            continue;
        buf_reset(&out);
        if (!substitute_text(&s, slice_str(setting->value), &out))
            continue;
        if (out.len > CONFIG_VALUE_BYTES_MAX || out.failed)
            config_problem(&l->report, "%s: the value of '%s' is longer than %d bytes", setting->source,
                           setting->key, CONFIG_VALUE_BYTES_MAX);
        else if (out.len == 0)
            config_problem(&l->report, "%s: the value of '%s' is empty", setting->source, setting->key);
        else if (!is_clean(buf_slice(&out)))
            config_problem(&l->report, "%s: the value of '%s' holds a control character", setting->source,
                           setting->key);
        else
            values[i] = config_arena_text(l->arena, buf_slice(&out));
    }
    // Only now: while substituting, other keys are seen as they were written.
    for (size_t i = 0; i < l->setting_count; i++) {
        if (values[i] != NULL)
            l->settings[i].value = values[i];
    }
    if (out.cap > 0)
        mem_wipe(out.ptr, out.cap);
    buf_fini(&out);
    mem_free(values);
}
