// config_reload.c: what may change while the daemon runs, and what keeps the value it has.
//
// Settings are compared as text, key by key. A key that can be reloaded takes the new setting; any other
// keeps the running one, so that a struct config never says what is not so.
#include "src/config/config_internal.h"

static bool
is_reloadable(const struct config_setting *s)
{
    return (s->row->flags & KEY_RELOAD) != 0;
}

static const struct config_setting *
find_running(const struct config_whole *running, const char *key)
{
    for (size_t i = 0; i < running->setting_count; i++) {
        if (!running->settings[i].is_dropped && strcmp(running->settings[i].key, key) == 0)
            return &running->settings[i];
    }
    return NULL;
}

static const char *
shown(const struct config_setting *s)
{
    if (s == NULL)
        return "default";
    return config_key_is_secret(s->row, slice_str(s->key)) ? "[redacted]" : s->value;
}

static void
tell_change(struct config_loader *l, const struct config_setting *from, const struct config_setting *to)
{
    const struct config_setting *any = to != NULL ? to : from;
    if (from != NULL && to != NULL && strcmp(from->value, to->value) == 0)
        return;
    // A key without effect has none after a restart either.
    if (any->row->status == STATUS_IGNORED)
        return;
    buf_printf(l->changes, "'%s': %s -> %s%s\n", any->key, shown(from), shown(to),
               is_reloadable(any) ? "" : ", which needs a restart");
}

static void
tell_changes(struct config_loader *l)
{
    for (size_t i = 0; i < l->setting_count; i++) {
        const struct config_setting *s = &l->settings[i];
        if (!s->is_dropped)
            tell_change(l, find_running(l->running, s->key), s);
    }
    for (size_t i = 0; i < l->running->setting_count; i++) {
        const struct config_setting *s = &l->running->settings[i];
        if (!s->is_dropped && config_setting_find(l, s->key) == NULL)
            tell_change(l, s, NULL);
    }
}

void
config_pin(struct config_loader *l)
{
    tell_changes(l);
    for (size_t i = 0; i < l->setting_count; i++)
        l->settings[i].is_dropped = l->settings[i].is_dropped || !is_reloadable(&l->settings[i]);
    for (size_t i = 0; i < l->running->setting_count; i++) {
        const struct config_setting *s = &l->running->settings[i];
        if (s->is_dropped || is_reloadable(s))
            continue;
        // The running configuration may go before this one: the texts move over.
        config_set(l, slice_str(s->key), slice_str(s->value), s->kind,
                   config_arena_text(l->arena, slice_str(s->source)), ".");
    }
}
