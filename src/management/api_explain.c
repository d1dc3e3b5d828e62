// api_explain.c: why a queue is as it is: which policies match it, which of them win, and where each of its settings comes from.
//
// GET /api/queues/VHOST/QUEUE/policy: {"policy": name, "operator_policy": name, "effective": {…}, "settings": [{"key", "value", "from"}],
// "matching": [{"name", "kind", "pattern", "apply-to", "priority", "wins"}]}; "from": "policy NAME", "operator policy NAME". All in the
// order in which policies count: the strongest first. What the queue's own arguments say beside them is in "arguments".
#include "src/broker/policy.h"
#include "src/broker/policy_keys.h"
#include "src/broker/queue_settings.h"
#include "src/management/api.h"
#include "src/management/http_server.h"

// LIMIT: policies shown of each kind.
enum { MATCHING_MAX = 1000 };

static const char *const kinds[] = {[POLICY_USER] = "policy", [POLICY_OPERATOR] = "operator_policy"};

static void
put_json_text(struct api_out *o, const char *key, struct slice text)
{
    json_t *value = json_loadb((const char *)text.ptr, text.len, JSON_DECODE_ANY, NULL);
    api_out_json(o, key, value);
    json_decref(value);
}

// The policies of one kind that are for this queue by kind and pattern.
static void
put_matching(struct api_request *r, const struct vhost *v, const struct queue_def *def,
             const struct policy_pair *pair, enum policy_kind kind, struct api_out *o)
{
    const struct policy_list *all = v->policies[kind];
    // A list of one, without asking for memory: its array lies behind it.
    _Alignas(struct policy_list) uint8_t room[sizeof(struct policy_list) + sizeof(const struct policy *)];
    struct policy_list *one = (struct policy_list *)(void *)room;
    one->count = 1;
    for (size_t i = 0; all != NULL && i < LV_MIN(all->count, (size_t)MATCHING_MAX); i++) {
        const struct policy *p = all->items[i];
        const struct policy_list *lists[POLICY_KINDS] = {NULL};
        one->items[0] = p;
        lists[kind] = one;
        struct policy_pair found =
            policy_match(lists, http_server_matcher(r->server), queue_settings_object(def), def->name);
        if (found.of[kind] == NULL)
            continue;
        api_out_object(o, NULL);
        api_out_slice(o, "name", p->name);
        api_out_str(o, "kind", kinds[kind]);
        api_out_slice(o, "pattern", p->pattern);
        api_out_slice(o, "apply-to", p->apply_to);
        put_json_text(o, "priority", p->priority_json);
        api_out_bool(o, "wins", pair->of[kind] == p);
        api_out_end(o);
    }
}

static void
put_settings(const struct policy_pair *pair, const json_t *effective, struct api_out *o)
{
    const char *key;
    json_t *value;
    api_out_array(o, "settings");
    json_object_foreach((json_t *)(uintptr_t)effective, key, value)
    {
        bool is_operators = false;
        for (int k = 0; pair->of[POLICY_OPERATOR] != NULL && k < POLICY_KEY_COUNT; k++) {
            const struct policy_value *won = policy_effective(pair, (enum policy_key)k);
            if (won != NULL && strcmp(policy_keys[k].name, key) == 0)
                is_operators = won == policy_value_of(pair->of[POLICY_OPERATOR], (enum policy_key)k);
        }
        const struct policy *from = pair->of[is_operators ? POLICY_OPERATOR : POLICY_USER];
        struct buf text = BUF_INIT;
        buf_printf(&text, "%s %.*s", is_operators ? "operator policy" : "policy",
                   SLICE_FMT(from != NULL ? from->name : SLICE_EMPTY));
        api_out_object(o, NULL);
        api_out_str(o, "key", key);
        api_out_json(o, "value", value);
        api_out_slice(o, "from", buf_slice(&text));
        api_out_end(o);
        buf_fini(&text);
    }
    api_out_end(o);
}

static void
get_policy(struct api_request *r)
{
    const struct vhost *v = api_vhost(r, 2);
    const struct queue_def *def = v != NULL ? vhost_queue(v, api_segment(r, 3)) : NULL;
    struct api_answer a;
    struct buf text = BUF_INIT;
    if (v != NULL && def == NULL)
        api_not_found(r);
    if (def == NULL || !api_answer_begin(r, &a))
        return;
    struct policy_pair pair = vhost_queue_policies(v, http_server_matcher(r->server), def);
    policy_effective_put(&text, &pair);
    json_t *effective = json_loadb((const char *)text.ptr, text.len, 0, NULL);
    api_out_object(&a.out, NULL);
    api_out_slice(&a.out, "queue", def->name);
    api_out_slice(&a.out, "vhost", def->vhost);
    for (int k = 0; k < POLICY_KINDS; k++) {
        if (pair.of[k] != NULL)
            api_out_slice(&a.out, kinds[k], pair.of[k]->name);
        else
            api_out_null(&a.out, kinds[k]);
    }
    api_out_json(&a.out, "effective", effective);
    put_settings(&pair, effective, &a.out);
    api_out_table(&a.out, "arguments", def->arguments);
    api_out_array(&a.out, "matching");
    for (int k = 0; k < POLICY_KINDS; k++)
        put_matching(r, v, def, &pair, (enum policy_kind)k, &a.out);
    api_out_end(&a.out);
    api_out_end(&a.out);
    json_decref(effective);
    buf_fini(&text);
    api_reply(r, 200);
}

const struct api_route api_routes_explain[] = {
    {API_GET, "/api/queues/*/*/policy", get_policy, API_FOR_MANAGEMENT, 2},
    {0, NULL, NULL, 0, 0},
};
