// config_policies.c: default_policies.operator.ID.*: settings that share an ID become one operator policy.
//
// A key's last part is the policy's key with '_' for '-'; `classic_queues` before it says nothing more. Values were typed by their
// rows. The definition is written as JSON, as the broker takes it; whether the patterns are any and the values go together is the
// broker's to say, at start.
#include <inttypes.h>
#include <stdio.h>

#include "src/config/config_internal.h"

static const char prefix[] = "default_policies.operator.$id.";

static bool
is_of_policies(const struct config_setting *s)
{
    return !s->is_dropped && s->row->status == STATUS_HONOURED &&
           strncmp(s->row->pattern, prefix, sizeof prefix - 1) == 0;
}

// The ID of a setting: the third part of its key.
static const char *
id_of(struct config_loader *l, const struct config_setting *s)
{
    struct config_key_parts parts;
    if (config_key_split(slice_str(s->key), &parts) != 0 || parts.count < 3)
        return "";
    return config_arena_text(l->arena, parts.parts[2]);
}

static struct config_default_policy *
find_or_add(struct config_loader *l, struct config_default_policy *all, const struct config_setting *s)
{
    struct config *c = l->config;
    const char *id = id_of(l, s);
    for (size_t i = 0; i < c->default_policy_count; i++) {
        if (strcmp(all[i].name, id) == 0)
            return &all[i];
    }
    if (c->default_policy_count == CONFIG_LIST_MAX) {
        config_problem(&l->report, "%s: more than %d default operator policies", s->source, CONFIG_LIST_MAX);
        return NULL;
    }
    struct config_default_policy *p = &all[c->default_policy_count++];
    *p = (struct config_default_policy){
        .name = id, .vhost_pattern = ".*", .queue_pattern = ".*", .definition = ""};
    return p;
}

// Names of nodes, and words out of lists of choices.
static bool
is_plain(const char *text)
{
    return strcspn(text, "\"\\") == strlen(text);
}

// "a@x, b@y" to ["a@x","b@y"]; a number stays one.
static const char *
list_or_number(struct config_loader *l, const char *text)
{
    const char *json = "[";
    if (text[strspn(text, "0123456789")] == '\0')
        return text;
    for (const char *at = text; *at != '\0';) {
        at += strspn(at, ", \t");
        size_t len = strcspn(at, ","), used = len;
        while (used > 0 && (at[used - 1] == ' ' || at[used - 1] == '\t'))
            used--;
        if (used > 0)
            json = config_arena_printf(l->arena, "%s%s\"%.*s\"", json, json[1] != '\0' ? "," : "", (int)used,
                                       at);
        at += len;
    }
    return config_arena_printf(l->arena, "%s]", json);
}

static const char *
json_value(struct config_loader *l, const struct config_setting *s, const struct config_datum *datum)
{
    if (s->row->type == TYPE_CHOICE)
        return config_arena_printf(l->arena, "\"%s\"", s->value);
    if (s->row->type == TYPE_TEXT)
        return list_or_number(l, s->value);
    return config_arena_printf(l->arena, "%" PRIu64, datum->number);
}

static void
add_value(struct config_loader *l, struct config_default_policy *p, const struct config_setting *s)
{
    struct config_datum datum;
    char why[128], key[64];
    if (config_value_parse(s->row, slice_str(s->value), &datum, why, sizeof why) != 0)
        return; // told already
    snprintf(key, sizeof key, "%s", config_setting_name(l, s));
    for (char *c = key; *c != '\0'; c++) {
        if (*c == '_')
            *c = '-';
    }
    if (!is_plain(s->value)) {
        config_problem(&l->report, "%s: '%s': names of nodes have no quotes", s->source, s->key);
        return;
    }
    p->definition = config_arena_printf(l->arena, "%s%s\"%s\":%s", p->definition,
                                        p->definition[0] != '\0' ? "," : "", key, json_value(l, s, &datum));
}

void
config_apply_policies(struct config_loader *l)
{
    struct config *c = l->config;
    struct config_default_policy *all = config_arena_take(l->arena, CONFIG_LIST_MAX * sizeof *all);
    c->default_policies = all;
    for (size_t i = 0; all != NULL && i < l->setting_count; i++) {
        const struct config_setting *s = &l->settings[i];
        struct config_default_policy *p = is_of_policies(s) ? find_or_add(l, all, s) : NULL;
        if (p == NULL)
            continue;
        if (strcmp(config_setting_name(l, s), "vhost_pattern") == 0)
            p->vhost_pattern = s->value;
        else if (strcmp(config_setting_name(l, s), "queue_pattern") == 0)
            p->queue_pattern = s->value;
        else
            add_value(l, p, s);
    }
    for (size_t i = 0; all != NULL && i < c->default_policy_count; i++)
        all[i].definition = config_arena_printf(l->arena, "{%s}", all[i].definition);
}
