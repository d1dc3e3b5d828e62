// topology_writer_defaults.c: operator policies of the configuration, which each new vhost gets whose name matches.
//
// They are checked once at start, as if put in a vhost without a name. What a vhost got so is a policy like any other: it can be
// changed and cleared, and a later configuration does not change it.
#include "src/base/mem.h"
#include "src/broker/json.h"
#include "src/broker/topology_writer.h"

struct default_policy {
    void *vhost_code;        // compiled pattern of vhosts' names
    struct slice name, json; // bytes of `text`
    struct buf text;
};

static void
put_json(struct buf *out, const struct topology_default_policy *from)
{
    buf_append_u8(out, '{');
    json_put_member_string(out, "pattern", from->queue_pattern);
    buf_append_str(out, "\"definition\":");
    buf_append_slice(out, from->definition);
    buf_append_u8(out, '}');
}

// Takes it over; false with what is wrong.
static bool
init_one(struct default_policy *p, const struct topology_default_policy *from, struct buf *reason)
{
    struct policy *policy;
    *p = (struct default_policy){0};
    buf_append_slice(&p->text, from->name);
    put_json(&p->text, from);
    p->name = slice_head(buf_slice(&p->text), from->name.len);
    p->json = slice_from(buf_slice(&p->text), from->name.len);
    p->vhost_code = policy_regex_compile(from->vhost_pattern, 0, reason);
    if (p->vhost_code == NULL)
        return false;
    struct policy_args args = {.kind = POLICY_OPERATOR, .name = p->name, .json = p->json};
    if (policy_new(&args, &policy, reason) < 0)
        return false;
    policy_free(policy);
    return true;
}

int
default_policies_init(struct topology_writer *tw, const struct topology_config *config, char **ret_error)
{
    tw->default_policies = mem_xcalloc(config->default_policy_count + 1, sizeof *tw->default_policies);
    for (size_t i = 0; i < config->default_policy_count; i++) {
        const struct topology_default_policy *from = &config->default_policies[i];
        struct buf reason = BUF_INIT;
        tw->default_policy_count++;
        if (!init_one(&tw->default_policies[i], from, &reason)) {
            struct buf text = BUF_INIT;
            buf_printf(&text, "default_policies.operator.%.*s: %s", SLICE_FMT(from->name), buf_cstr(&reason));
            *ret_error = mem_xstrdup(buf_cstr(&text));
            buf_fini(&text);
            buf_fini(&reason);
            return -LE_INVAL;
        }
        buf_fini(&reason);
    }
    return 0;
}

void
default_policies_fini(struct topology_writer *tw)
{
    for (size_t i = 0; i < tw->default_policy_count; i++) {
        policy_regex_free(tw->default_policies[i].vhost_code);
        buf_fini(&tw->default_policies[i].text);
    }
    mem_free(tw->default_policies);
}

void
default_policies_apply(struct topology_writer *tw, struct vhost_entry *e)
{
    for (size_t i = 0; i < tw->default_policy_count; i++) {
        const struct default_policy *d = &tw->default_policies[i];
        struct policy_args args = {
            .kind = POLICY_OPERATOR, .vhost = e->name, .name = d->name, .json = d->json};
        struct buf reason = BUF_INIT;
        struct policy *p;
        if (!policy_regex_matches(tw->matcher, d->vhost_code, e->name))
            continue;
        int result = policy_new(&args, &p, &reason);
        LV_ASSERT(result == 0); // checked at start; topology objects: out of memory aborts (mem.h)
        policy_add(tw, e, p);
        buf_fini(&reason);
    }
}
