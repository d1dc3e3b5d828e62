// definitions_import.c: see definitions_import.h. Here: the file coming in, what it names, and the walk over its records. Carrying out:
// definitions_run.c.
#include "src/base/mem.h"
#include "src/management/definitions_impl.h"

struct definitions_import *
definitions_import_new(struct definitions_queue *q, const struct definitions_import_args *args)
{
    struct definitions_import *i =
        q->import_count < DEFINITIONS_IMPORTS_MAX ? mem_calloc(1, sizeof *i) : NULL;
    if (i == NULL)
        return NULL;
    q->import_count++;
    list_init(&i->node);
    i->queue = q;
    i->rule = args->rule;
    i->vhost = args->vhost.ptr != NULL ? mem_xslice_dup(args->vhost) : NULL;
    i->user = args->user.ptr != NULL ? mem_xslice_dup(args->user) : NULL;
    i->source = mem_xstrdup(args->source);
    i->users = json_object();
    i->vhosts = json_object();
    i->notes = json_array();
    i->failed_section = -1;
    json_scan_init(&i->scan, definitions_take_item, i);
    for (int s = 0; s < DEFINITIONS_ALL; s++)
        definitions_spool_init(&i->spools[s], io_system(), args->data_dir);
    return i;
}

void
definitions_import_free(struct definitions_import *i)
{
    if (i == NULL)
        return;
    LV_ASSERT(!i->is_running || i->queue->has_ended);
    LV_ASSERT(i->queue->import_count > 0);
    i->queue->import_count--;
    list_remove(&i->node);
    json_scan_fini(&i->scan);
    for (int s = 0; s < DEFINITIONS_ALL; s++)
        definitions_spool_fini(&i->spools[s]);
    definitions_cursor_fini(&i->cursor);
    buf_fini(&i->record);
    buf_fini(&i->version);
    buf_fini(&i->last_vhost);
    json_decref(i->users);
    json_decref(i->vhosts);
    json_decref(i->notes);
    json_decref(i->reason);
    mem_free(i->vhost);
    mem_free(i->user);
    mem_free(i->source);
    mem_free(i);
}

// --- what the file names ----------------------------------------------------------------------------------------------------------

// True in the set: the file brings it; false: it has to be there.
static int
note_name(json_t *set, struct slice name, bool is_brought)
{
    char text[256];
    if (name.len == 0 || name.len >= sizeof text || memchr(name.ptr, 0, name.len) != NULL)
        return 0; // the writer's to refuse
    memcpy(text, name.ptr, name.len);
    text[name.len] = '\0';
    const json_t *there = json_object_get(set, text);
    if (there != NULL && (!is_brought || json_is_true(there)))
        return 0;
    return json_object_set_new(set, text, json_boolean(is_brought)) == 0 ? 0 : -LE_NOMEM;
}

static int
note_names(struct definitions_import *i, const struct topology_request *r)
{
    int err = 0;
    switch (r->change) {
    case CHANGE_USER_PUT: return note_name(i->users, r->name, true);
    case CHANGE_VHOST_PUT: return note_name(i->vhosts, r->name, true);
    case CHANGE_VHOST_LIMITS: return note_name(i->vhosts, r->name, false);
    case CHANGE_PERMISSION_SET:
    case CHANGE_TOPIC_PERMISSION_SET: err = note_name(i->users, r->user, false); break;
    case CHANGE_BIND: return 0; // one of a vhost that is not there is left out
    default: break;
    }
    if (err != 0 || r->vhost.ptr == NULL || slice_eq(r->vhost, buf_slice(&i->last_vhost)))
        return err;
    buf_reset(&i->last_vhost);
    buf_append_slice(&i->last_vhost, r->vhost);
    return note_name(i->vhosts, r->vhost, false);
}

static int
refuse_missing(struct definitions_import *i, const char *word, const char *name)
{
    i->reason = json_pack("[s, s]", word, name);
    return i->reason != NULL ? -LE_INVAL : -LE_NOMEM;
}

static int
check_names(struct definitions_import *i)
{
    const struct topology *t = topology_of(i->queue->worker);
    const char *name;
    json_t *brought;
    json_object_foreach(i->vhosts, name, brought)
    {
        if (!json_is_true(brought) && topology_vhost(t, slice_str(name)) == NULL)
            return refuse_missing(i, "no_such_vhost", name);
    }
    json_object_foreach(i->users, name, brought)
    {
        if (!json_is_true(brought) && topology_user(t, slice_str(name)) == NULL)
            return refuse_missing(i, "no_such_user", name);
    }
    return 0;
}

// --- feeding ------------------------------------------------------------------------------------------------------------------------

static int
put_records(struct definitions_import *i, enum definitions_section section)
{
    struct definitions_spool *spool = &i->spools[section];
    struct slice left = buf_slice(&i->record);
    struct topology_request r;
    uint32_t index;
    int err = 0;
    for (size_t n; err == 0 && (n = definitions_record_read(left, &r, &index)) > 0;
         left = slice_from(left, n)) {
        err = note_names(i, &r);
        spool->count++;
        i->counts[section].total++;
    }
    return err == 0 ? definitions_spool_put(spool, buf_slice(&i->record)) : err;
}

static int
take_element(struct definitions_import *i, enum definitions_section section,
             const struct json_scan_item *item)
{
    struct definitions_args args = {.section = section,
                                    .vhost = i->vhost != NULL ? slice_str(i->vhost) : SLICE_EMPTY,
                                    .rule = i->rule,
                                    .index = (uint32_t)item->index};
    if (item->index >= UINT32_MAX)
        return -LE_LIMIT;
    buf_reset(&i->record);
    i->counts[section].elements++;
    int err = definitions_read(&args, item->value, &i->record, &i->reason);
    return err == 0 && i->record.len > 0 ? put_records(i, section) : err;
}

int
definitions_import_add_deletion(struct definitions_import *i, const struct topology_request *r)
{
    struct definitions_spool *spool = &i->spools[DEFINITIONS_DELETIONS];
    struct definitions_counts *n = &i->counts[DEFINITIONS_DELETIONS];
    buf_reset(&i->record);
    definitions_record_put(&i->record, r, (uint32_t)n->total);
    spool->count++;
    n->elements++;
    n->total++;
    return i->record.failed ? -LE_NOMEM : definitions_spool_put(spool, buf_slice(&i->record));
}

int
definitions_take_item(void *ctx, const struct json_scan_item *item)
{
    struct definitions_import *i = ctx;
    enum definitions_section section;
    if (definitions_section_parse(item->name, &section) != 0) {
        bool is_version = slice_eq_str(item->name, "rabbitmq_version") ||
                          (slice_eq_str(item->name, "rabbit_version") && i->version.len == 0);
        if (is_version && json_is_string(item->value)) {
            buf_reset(&i->version);
            buf_append(&i->version, json_string_value(item->value), json_string_length(item->value));
        }
        return 0;
    }
    if (i->vhost != NULL && !definitions_section_is_of_vhost(section))
        return 0;
    if (item->is_array_begin || item->is_in_array)
        i->present |= 1u << section;
    if (item->is_array_begin)
        return 0;
    if (item->is_in_array)
        return take_element(i, section, item);
    i->reason = json_sprintf("'%s' is not a list", definitions_section_names[section]);
    return -LE_INVAL;
}

// RabbitMQ's word for a text that is no JSON; i->scan.problem says where.
static int
note_error(struct definitions_import *i, int err)
{
    i->is_refused = true;
    if (i->reason == NULL && (err == -LE_SYNTAX || err == -LE_LIMIT))
        i->reason = json_string("failed_to_parse_json");
    if (i->reason != NULL)
        return -LE_INVAL;
    return err;
}

int
definitions_import_feed(struct definitions_import *i, struct slice bytes)
{
    if (i->is_refused)
        return i->reason != NULL ? -LE_INVAL : -LE_STATE;
    int err = json_scan_feed(&i->scan, bytes);
    return err == 0 ? 0 : note_error(i, err);
}

int
definitions_import_end(struct definitions_import *i)
{
    if (i->is_refused)
        return i->reason != NULL ? -LE_INVAL : -LE_STATE;
    int err = json_scan_end(&i->scan);
    if (err == 0)
        err = check_names(i);
    return err == 0 ? 0 : note_error(i, err);
}

// --- walking ------------------------------------------------------------------------------------------------------------------------

int
definitions_next(struct definitions_import *i, enum definitions_section section, struct definitions_cursor *c,
                 struct topology_request *ret, uint32_t *ret_index)
{
    for (;;) {
        size_t n = definitions_record_read(slice_from(buf_slice(&c->chunk), c->at), ret, ret_index);
        c->at += n;
        if (n > 0)
            return 0;
        bool is_end = false;
        int err = definitions_spool_fill(&i->spools[section], c, &is_end);
        if (err != 0)
            return err;
        if (is_end)
            return -LE_NOTFOUND;
    }
}

int
definitions_import_each(struct definitions_import *i, enum definitions_section section,
                        int (*visit)(void *ctx, const struct topology_request *record, uint32_t index),
                        void *ctx)
{
    struct definitions_cursor c = {0};
    struct topology_request r;
    uint32_t index;
    int err;
    while ((err = definitions_next(i, section, &c, &r, &index)) == 0 && (err = visit(ctx, &r, index)) == 0) {
    }
    definitions_cursor_fini(&c);
    return err == -LE_NOTFOUND ? 0 : err;
}

void
definitions_import_put_applied(const struct definitions_import *i, struct buf *out)
{
    buf_append_u8(out, '{');
    for (int s = 0; s < DEFINITIONS_ALL; s++) {
        if (i->counts[s].done > 0)
            json_put_member_int(out, definitions_section_names[s], (int64_t)i->counts[s].done);
    }
    json_drop_comma(out);
    buf_append_u8(out, '}');
}
