// policy_match.c: which policies are for an object, and what they come to.
//
// Patterns come from people who may set policies, names from any client: limits of steps and depth bound each match.
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "src/base/clock.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/broker/policy.h"
#include "src/broker/policy_keys.h"

// LIMIT: steps of one match, as for permissions (auth.c).
enum { MATCH_LIMIT = 100000, DEPTH_LIMIT = 1000 };

struct policy_matcher {
    pcre2_match_data *data;
    pcre2_match_context *context;
    uint64_t tries;
    int64_t warned_ms; // when a match that was given up was last told: once a second
};

struct policy_matcher *
policy_matcher_new(void)
{
    struct policy_matcher *m = mem_calloc(1, sizeof *m);
    if (m == NULL)
        return NULL;
    m->data = pcre2_match_data_create(1, NULL);
    m->context = pcre2_match_context_create(NULL);
    if (m->data == NULL || m->context == NULL) {
        policy_matcher_free(m);
        return NULL;
    }
    pcre2_set_match_limit(m->context, MATCH_LIMIT);
    pcre2_set_depth_limit(m->context, DEPTH_LIMIT);
    return m;
}

void
policy_matcher_free(struct policy_matcher *m)
{
    if (m == NULL)
        return;
    pcre2_match_data_free(m->data);
    pcre2_match_context_free(m->context);
    mem_free(m);
}

uint64_t
policy_matcher_tries(const struct policy_matcher *m)
{
    return m->tries;
}

// --- lists --------------------------------------------------------------------------------------------------------------------

static bool
is_stronger(const struct policy *a, const struct policy *b)
{
    return a->priority != b->priority ? a->priority > b->priority : slice_cmp(a->name, b->name) < 0;
}

struct policy_list *
policy_list_with(const struct policy_list *l, const struct policy *without, const struct policy *with)
{
    size_t count = l != NULL ? l->count : 0;
    struct policy_list *copy = mem_xalloc(sizeof *copy + (count + 1) * sizeof(struct policy *));
    copy->count = 0;
    for (size_t i = 0; i < count; i++) {
        if (with != NULL && is_stronger(with, l->items[i])) {
            copy->items[copy->count++] = with;
            with = NULL;
        }
        if (l->items[i] != without)
            copy->items[copy->count++] = l->items[i];
    }
    if (with != NULL)
        copy->items[copy->count++] = with;
    if (copy->count > 0)
        return copy;
    mem_free(copy);
    return NULL;
}

const struct policy *
policy_list_find(const struct policy_list *l, struct slice name)
{
    for (size_t i = 0; l != NULL && i < l->count; i++) {
        if (slice_eq(l->items[i]->name, name))
            return l->items[i];
    }
    return NULL;
}

// --- matching -----------------------------------------------------------------------------------------------------------------

static void
warn(struct policy_matcher *m, const struct policy *p, struct slice name, int rc)
{
    int64_t now_ms = clock_wall_ms();
    if (now_ms - m->warned_ms < 1000 && now_ms >= m->warned_ms)
        return;
    m->warned_ms = now_ms;
    log_warn(LOG_DEFAULT,
             "policy '%.*s' in vhost '%.*s': the match of its pattern on '%.*s' was given up (%d): it does "
             "not apply",
             SLICE_FMT(p->name), SLICE_FMT(p->vhost), SLICE_FMT(name), rc);
}

static int
match(struct policy_matcher *m, const void *code, struct slice text)
{
    const uint8_t *ptr = text.ptr != NULL ? text.ptr : (const uint8_t *)"";
    m->tries++;
    return pcre2_match(code, ptr, text.len, 0, PCRE2_NO_UTF_CHECK, m->data, m->context);
}

bool
policy_regex_matches(struct policy_matcher *m, const void *code, struct slice text)
{
    return match(m, code, text) >= 0;
}

static bool
matches(struct policy_matcher *m, const struct policy *p, struct slice name)
{
    int rc = match(m, p->code, name);
    if (LV_UNLIKELY(rc < 0 && rc != PCRE2_ERROR_NOMATCH))
        warn(m, p, name, rc);
    return rc >= 0; // 0: matched, more groups than the match data has room for
}

struct policy_pair
policy_match(const struct policy_list *const lists[POLICY_KINDS], struct policy_matcher *m,
             enum policy_object object, struct slice name)
{
    struct policy_pair pair = {{NULL, NULL}};
    for (int kind = 0; kind < POLICY_KINDS; kind++) {
        const struct policy_list *l = lists[kind];
        for (size_t i = 0; l != NULL && i < l->count && pair.of[kind] == NULL; i++) {
            if ((l->items[i]->targets >> object & 1) != 0 && matches(m, l->items[i], name))
                pair.of[kind] = l->items[i];
        }
    }
    return pair;
}

// --- effect -------------------------------------------------------------------------------------------------------------------

const struct policy_value *
policy_value_of(const struct policy *p, enum policy_key key)
{
    for (size_t i = 0; p != NULL && i < p->value_count && p->values[i].key <= key; i++) {
        if (p->values[i].key == key)
            return &p->values[i];
    }
    return NULL;
}

// How strong a ha-mode is: "all" over "exactly" over "nodes".
static int
ha_strength(const struct policy_value *v)
{
    return slice_eq_str(v->text, "all") ? 2 : slice_eq_str(v->text, "exactly") ? 1 : 0;
}

static const struct policy_value *
merge_ha_params(const struct policy_value *user, const struct policy_value *operator)
{
    if (user->kind != operator->kind)
        return user->kind == POLICY_NUMBER ? user : operator;
    return user->number > operator->number ? user : operator;
}

static const struct policy_value *
merge(enum policy_key key, const struct policy_value *user, const struct policy_value *operator)
{
    bool is_user_smaller = user->number < operator->number;
    switch (policy_keys[key].merge) {
    case MERGE_OPERATOR: break;
    case MERGE_MIN: return is_user_smaller ? user : operator;
    case MERGE_MAX: return is_user_smaller ? operator: user;
    case MERGE_DELIVERY_LIMIT:
        return is_user_smaller != (LV_MIN(user->number, operator->number) < 0) ? user : operator;
    case MERGE_HA_MODE: return ha_strength(user) > ha_strength(operator) ? user : operator;
    case MERGE_HA_PARAMS: return merge_ha_params(user, operator);
    }
    return operator;
}

const struct policy_value *
policy_effective(const struct policy_pair *pair, enum policy_key key)
{
    const struct policy_value *user = policy_value_of(pair->of[POLICY_USER], key),
                              *operator= policy_value_of(pair->of[POLICY_OPERATOR], key);
    return user == NULL ? operator: operator== NULL ? user : merge(key, user, operator);
}

struct slice
policy_name(const struct policy_pair *pair, enum policy_kind kind)
{
    return pair->of[kind] != NULL ? pair->of[kind]->name : SLICE_EMPTY;
}
