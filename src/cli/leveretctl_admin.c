// leveretctl_admin.c: see leveretctl_admin.h. Subcommands are a verb and an object; what an object needs is a row of a table.
//
// Differences from RabbitMQ's script: no configuration file (-c, -N), no help of the objects' options beyond the usage text.
#include "src/cli/leveretctl_admin.h"

#include <stdlib.h>

#include "src/base/mem.h"

// LIMIT: words of a subcommand, bytes of a payload or a file of definitions.
enum { WORDS_MAX = 64, INPUT_BYTES_MAX = 512 * 1024 * 1024 };

struct admin {
    struct ctl *c;
    const char *words[WORDS_MAX + 1]; // of the subcommand; NULL-terminated
    size_t word_count;
    const char *vhost; // -V; NULL: not given
    const char *format;
    int64_t depth;
    bool is_quiet;
};

// --- objects --------------------------------------------------------------------------------------------------------------------

struct object {
    const char *name;
    const char *path;     // words in braces are keys of the command line: "queues/{vhost}/{name}"
    const char *needed;   // of declare
    const char *optional; // "key=default"; without a default: left out when it is not given
    const char *deletion; // keys needed by delete
};

static const struct object objects[] = {
    {"exchange", "exchanges/{vhost}/{name}", "name type",
     "auto_delete=false durable=true internal=false arguments={}", "name"},
    {"queue", "queues/{vhost}/{name}", "name", "auto_delete=false durable=true arguments={} node queue_type",
     "name"},
    {"binding", "bindings/{vhost}/e/{source}/{destination_char}/{destination}", "source destination",
     "destination_type=queue routing_key= arguments={}", "source destination_type destination"},
    {"vhost", "vhosts/{name}", "name", "tracing description tags default_queue_type", "name"},
    {"user", "users/{name}", "name tags", "password password_hash hashing_algorithm", "name"},
    {"permission", "permissions/{vhost}/{user}", "vhost user configure write read", "", "vhost user"},
    {"parameter", "parameters/{component}/{vhost}/{name}", "component name value", "", "component name"},
    {"policy", "policies/{vhost}/{name}", "name pattern definition", "priority=0 apply-to=all", "name"},
    {"operator_policy", "operator-policies/{vhost}/{name}", "name pattern definition",
     "priority=0 apply-to=queues", "name"},
    {"vhost_limit", "vhost-limits/{vhost}/{name}", "vhost name value", "", "vhost name"},
};

struct list {
    const char *name, *collection;
    bool is_of_vhost;
    const char *columns[4]; // without any asked for; empty: all
};

static const struct list lists[] = {
    {"users", "users", false, {NULL}},
    {"vhosts", "vhosts", false, {"name", "messages"}},
    {"connections", "connections", false, {"name", "user", "channels"}},
    {"exchanges", "exchanges", true, {"name", "type"}},
    {"bindings", "bindings", true, {"source", "destination", "routing_key"}},
    {"permissions", "permissions", false, {NULL}},
    {"channels", "channels", false, {"name", "user"}},
    {"consumers", "consumers", true, {NULL}},
    {"queues", "queues", true, {"name", "messages"}},
    {"parameters", "parameters", false, {NULL}},
    {"policies", "policies", true, {NULL}},
    {"operator_policies", "operator-policies", true, {NULL}},
    {"vhost_limits", "vhost-limits", true, {NULL}},
    {"nodes", "nodes", false, {"name", "type", "mem_used"}},
};

// Arguments whose values are JSON.
static bool
is_json(const char *key)
{
    static const char *const keys[] = {"arguments", "definition", "value", "properties", "priority"};
    for (size_t i = 0; i < LV_ARRAY_LEN(keys); i++) {
        if (strcmp(key, keys[i]) == 0)
            return true;
    }
    return false;
}

// --- words ----------------------------------------------------------------------------------------------------------------------

static int
die(const struct admin *a, const char *text, const char *what)
{
    fflush(a->c->out);
    fprintf(a->c->err, "*** %s%s\n", text, what);
    return 1;
}

// The value of "key=…" among the words behind the subcommand; NULL.
static const char *
value_of(const struct admin *a, const char *key, size_t key_len)
{
    for (size_t i = 1; i < a->word_count; i++) {
        if (strncmp(a->words[i], key, key_len) == 0 && a->words[i][key_len] == '=')
            return a->words[i] + key_len + 1;
    }
    if (key_len == 5 && strncmp(key, "vhost", key_len) == 0)
        return a->vhost != NULL ? a->vhost : "/";
    if (key_len == 16 && strncmp(key, "destination_char", key_len) == 0) {
        const char *type = value_of(a, "destination_type", key_len);
        return type != NULL && type[0] == 'e' ? "e" : "q";
    }
    return NULL;
}

// The next of words separated by spaces; *ret_len 0 at the end.
static const char *
next_key(const char **text, size_t *ret_len)
{
    *text += strspn(*text, " ");
    const char *word = *text;
    *ret_len = strcspn(word, " ");
    *text += *ret_len;
    return word;
}

// Is there a value for each key? Told otherwise.
static bool
has_all(const struct admin *a, const char *needed)
{
    size_t len;
    for (const char *key = next_key(&needed, &len); len > 0; key = next_key(&needed, &len)) {
        if (value_of(a, key, len) != NULL)
            continue;
        struct buf text = BUF_INIT;
        buf_printf(&text, "mandatory argument '%.*s' required", (int)len, key);
        die(a, "ERROR: ", buf_cstr(&text));
        buf_fini(&text);
        return false;
    }
    return true;
}

// Puts "key": value into a body; false: a value that should be JSON is not (told).
static bool
put_argument(const struct admin *a, json_t *body, const char *key, const char *value)
{
    json_t *v =
        is_json(key) ? json_loads(value, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, NULL) : json_string(value);
    if (v == NULL) {
        die(a, "Could not parse JSON:\n  ", value);
        return false;
    }
    json_object_set_new(body, key, v);
    return true;
}

// --- requests -------------------------------------------------------------------------------------------------------------------

// 0: an answer of the 2xx kind is in c->answer; 1: told.
static int
finish(const struct admin *a, const char *path, int status)
{
    struct ctl *c = a->c;
    struct buf text = BUF_INIT;
    if (status != 0)
        return 1; // told by ctl_call
    if (c->answer.status >= 200 && c->answer.status < 300)
        return 0;
    buf_printf(&text, "/api/%s", path);
    if (c->answer.status == 401)
        die(a, "Access refused: ", buf_cstr(&text));
    else if (c->answer.status == 404)
        die(a, "Not found: ", buf_cstr(&text));
    else
        die(a, "", ctl_reason(c));
    buf_fini(&text);
    return 1;
}

// A path such as "queues/{vhost}/{name}" with the values of the words; takes the body over.
static int
send(const struct admin *a, const char *method, json_t *body, const char *path)
{
    const char *segments[12];
    char *copies[12];
    size_t count = 0;
    for (const char *at = path; *at != '\0' && count + 1 < LV_ARRAY_LEN(segments); at += *at == '/') {
        size_t len = strcspn(at, "/");
        const char *value = at[0] == '{' ? value_of(a, at + 1, len - 2) : NULL;
        copies[count] = mem_xslice_dup(value != NULL ? slice_str(value) : slice_of(at, len));
        segments[count] = copies[count];
        count++;
        at += len;
    }
    segments[count] = NULL;
    int status = finish(a, path, ctl_call_path(a->c, method, body, segments));
    for (size_t i = 0; i < count; i++)
        mem_free(copies[i]);
    return status;
}

static void
say(const struct admin *a, const char *text, const char *what)
{
    if (!a->is_quiet)
        fprintf(a->c->out, "%s%s\n", text, what);
}

static void
print(const struct admin *a, const char *const *columns, const json_t *rows)
{
    struct admin_view view = {.format = a->format, .columns = columns, .depth = (int)a->depth};
    admin_print(a->c->out, &view, rows);
}

// --- subcommands ------------------------------------------------------------------------------------------------------------------

static const struct object *
find_object(const char *name)
{
    for (size_t i = 0; i < LV_ARRAY_LEN(objects); i++) {
        if (strcmp(name, objects[i].name) == 0)
            return &objects[i];
    }
    return NULL;
}

static int
run_list(const struct admin *a)
{
    const char *what = a->words[1];
    if (strcmp(what, "overview") == 0) {
        static const char *const overview[] = {"rabbitmq_version", "cluster_name", "queue_totals.messages",
                                               "object_totals.queues", NULL};
        if (send(a, "GET", NULL, "overview") != 0)
            return 1;
        json_t *rows = json_pack("[O]", a->c->answer.json);
        print(a, a->word_count > 2 ? a->words + 2 : overview, rows);
        json_decref(rows);
        return 0;
    }
    for (size_t i = 0; i < LV_ARRAY_LEN(lists); i++) {
        struct buf path = BUF_INIT;
        if (strcmp(what, lists[i].name) != 0)
            continue;
        buf_printf(&path, "%s%s", lists[i].collection,
                   lists[i].is_of_vhost && a->vhost != NULL ? "/{vhost}" : "");
        int status = send(a, "GET", NULL, buf_cstr(&path));
        buf_fini(&path);
        bool is_json_text = strstr(a->format, "json") != NULL;
        // With columns asked for the JSON has these alone, which the broker does.
        if (status == 0)
            print(a,
                  a->word_count > 2 ? a->words + 2
                  : is_json_text    ? a->words + a->word_count
                                    : lists[i].columns,
                  a->c->answer.json);
        return status;
    }
    return die(a,
               "Item must be one of users, vhosts, connections, exchanges, bindings, permissions, channels, "
               "consumers, queues, "
               "parameters, policies, operator_policies, vhost_limits, nodes: ",
               what);
}

static int
run_declare(const struct admin *a)
{
    const struct object *o = find_object(a->words[1]);
    size_t len;
    if (o == NULL)
        return die(a, "there is nothing to declare that is called ", a->words[1]);
    if (!has_all(a, o->needed))
        return 1;
    json_t *body = json_object();
    for (size_t i = 2; i < a->word_count; i++) {
        const char *equals = strchr(a->words[i], '=');
        char *key =
            equals != NULL ? mem_xslice_dup(slice_of(a->words[i], (size_t)(equals - a->words[i]))) : NULL;
        bool is_good = key != NULL && put_argument(a, body, key, equals + 1);
        mem_free(key);
        if (!is_good) {
            json_decref(body);
            return equals != NULL ? 1 : die(a, "an argument has the form key=value: ", a->words[i]);
        }
    }
    const char *optional = o->optional;
    for (const char *key = next_key(&optional, &len); len > 0; key = next_key(&optional, &len)) {
        const char *equals = memchr(key, '=', len);
        if (equals == NULL)
            continue;
        char *name = mem_xslice_dup(slice_of(key, (size_t)(equals - key)));
        char *value = mem_xslice_dup(slice_of(equals + 1, len - (size_t)(equals + 1 - key)));
        if (json_object_get(body, name) == NULL)
            put_argument(a, body, name, value);
        mem_free(name);
        mem_free(value);
    }
    bool is_binding = strcmp(o->name, "binding") == 0;
    int status = send(a, is_binding ? "POST" : "PUT", body, o->path);
    if (status == 0)
        say(a, o->name, " declared");
    return status;
}

static int
run_delete(const struct admin *a)
{
    const struct object *o = find_object(a->words[1]);
    if (o == NULL)
        return die(a, "there is nothing to delete that is called ", a->words[1]);
    if (!has_all(a, o->deletion))
        return 1;
    struct buf path = BUF_INIT;
    buf_append_str(&path, o->path);
    if (strcmp(o->name, "binding") == 0)
        buf_append_str(&path, value_of(a, "properties_key", 14) != NULL ? "/{properties_key}" : "/~");
    int status = send(a, "DELETE", NULL, buf_cstr(&path));
    buf_fini(&path);
    if (status == 0)
        say(a, o->name, " deleted");
    return status;
}

static int
run_close(const struct admin *a)
{
    if (strcmp(a->words[1], "connection") != 0)
        return die(a, "only a connection can be closed, not ", a->words[1]);
    if (!has_all(a, "name"))
        return 1;
    int status = send(a, "DELETE", NULL, "connections/{name}");
    if (status == 0)
        say(a, "connection closed", "");
    return status;
}

static int
run_purge(const struct admin *a)
{
    if (strcmp(a->words[1], "queue") != 0)
        return die(a, "only a queue can be purged, not ", a->words[1]);
    if (!has_all(a, "name"))
        return 1;
    int status = send(a, "DELETE", NULL, "queues/{vhost}/{name}/contents");
    if (status == 0)
        say(a, "queue purged", "");
    return status;
}

// All of a stream; false: it is too long.
static bool
read_all(FILE *from, struct buf *to)
{
    char block[65536];
    size_t len;
    while ((len = fread(block, 1, sizeof block, from)) > 0 && to->len + len <= INPUT_BYTES_MAX)
        buf_append(to, block, len);
    return len == 0 && !to->failed;
}

static const char *
value_or(const struct admin *a, const char *key, const char *otherwise)
{
    const char *value = value_of(a, key, strlen(key));
    return value != NULL ? value : otherwise;
}

static int
run_publish(const struct admin *a)
{
    const char *payload = value_or(a, "payload", NULL), *exchange = value_or(a, "exchange", "amq.default");
    struct buf input = BUF_INIT;
    if (!has_all(a, "routing_key"))
        return 1;
    if (payload == NULL) {
        if (!read_all(a->c->in, &input)) {
            buf_fini(&input);
            return die(a, "the payload is too long", "");
        }
        payload = buf_cstr(&input);
    }
    json_t *body = json_pack("{s:s, s:s, s:s}", "routing_key", value_or(a, "routing_key", ""), "payload",
                             payload, "payload_encoding", value_or(a, "payload_encoding", "string"));
    int status =
        body == NULL
            ? die(a, "the payload is not text: ", "encode it in base64 and say payload_encoding=base64")
            : !put_argument(a, body, "properties", value_or(a, "properties", "{}"));
    buf_fini(&input);
    const char *const segments[] = {"exchanges", value_or(a, "vhost", "/"),
                                    exchange[0] != '\0' ? exchange : "amq.default", "publish", NULL};
    if (status != 0) {
        json_decref(body);
        return status;
    }
    status = finish(a, "exchanges/{vhost}/{name}/publish", ctl_call_path(a->c, "POST", body, segments));
    if (status == 0)
        say(a,
            json_is_true(json_object_get(a->c->answer.json, "routed")) ? "Message published"
                                                                       : "Message published but NOT routed",
            "");
    return status;
}

static int
run_get(const struct admin *a)
{
    static const char *const columns[] = {"routing_key",   "exchange",         "message_count", "payload",
                                          "payload_bytes", "payload_encoding", "redelivered",   NULL};
    const char *path = value_or(a, "payload_file", NULL);
    if (!has_all(a, "queue"))
        return 1;
    json_t *body = json_pack("{s:s, s:s, s:s, s:s}", "count", value_or(a, "count", "1"), "ackmode",
                             value_or(a, "ackmode", "ack_requeue_true"), "encoding",
                             value_or(a, "encoding", "auto"), "vhost", value_or(a, "vhost", "/"));
    int status = send(a, "POST", body, "queues/{vhost}/{queue}/get");
    if (status != 0)
        return status;
    if (path == NULL) {
        print(a, strstr(a->format, "json") != NULL ? columns + LV_ARRAY_LEN(columns) - 1 : columns,
              a->c->answer.json);
        return 0;
    }
    const json_t *payload = json_object_get(json_array_get(a->c->answer.json, 0), "payload");
    FILE *file = fopen(path, "we");
    bool is_written = file != NULL && fwrite(json_string_value(payload), 1, json_string_length(payload),
                                             file) == json_string_length(payload);
    if ((file != NULL && fclose(file) != 0) || !is_written)
        return die(a, "cannot write ", path);
    return 0;
}

static int
run_export(const struct admin *a)
{
    int status = send(a, "GET", NULL, a->vhost != NULL ? "definitions/{vhost}" : "definitions");
    if (status != 0)
        return status;
    FILE *file = fopen(a->words[1], "we");
    char *text = ctl_json_text(a->c->answer.json);
    bool is_written = file != NULL && text != NULL && fputs(text, file) >= 0;
    mem_free(text);
    if ((file != NULL && fclose(file) != 0) || !is_written)
        return die(a, "Could not write ", a->words[1]);
    say(a, "Exported definitions to ", a->words[1]);
    return 0;
}

static int
run_import(const struct admin *a)
{
    struct buf text = BUF_INIT;
    FILE *file = fopen(a->words[1], "re");
    bool is_read = file != NULL && read_all(file, &text);
    if (file != NULL)
        fclose(file);
    json_t *body =
        is_read ? json_loadb((const char *)text.ptr, text.len, JSON_REJECT_DUPLICATES, NULL) : NULL;
    buf_fini(&text);
    if (body == NULL)
        return die(a, is_read ? "Not a file of definitions: " : "Could not read ", a->words[1]);
    int status = send(a, "POST", body, a->vhost != NULL ? "definitions/{vhost}" : "definitions");
    if (status == 0)
        say(a, "Uploaded definitions from ", a->words[1]);
    return status;
}

struct verb {
    const char *name;
    size_t words_min; // with the verb
    int (*run)(const struct admin *a);
};

static const struct verb verbs[] = {
    {"list", 2, run_list},       {"show", 2, run_list},   {"declare", 2, run_declare},
    {"delete", 2, run_delete},   {"close", 2, run_close}, {"purge", 2, run_purge},
    {"publish", 1, run_publish}, {"get", 1, run_get},     {"export", 2, run_export},
    {"import", 2, run_import},
};

// --- the command line ---------------------------------------------------------------------------------------------------------------

static const char usage[] =
    "Usage: rabbitmqadmin [options] subcommand\n"
    "\n"
    "  list "
    "users|vhosts|connections|exchanges|bindings|permissions|channels|consumers|queues|parameters|policies|\n"
    "       operator_policies|vhost_limits|nodes [<column>...]\n"
    "  show overview [<column>...]\n"
    "  declare|delete "
    "exchange|queue|binding|vhost|user|permission|parameter|policy|operator_policy|vhost_limit "
    "<key>=<value>...\n"
    "  close connection name=...         purge queue name=...\n"
    "  publish routing_key=... [payload=... properties=... exchange=... payload_encoding=...]\n"
    "  get queue=... [count=... ackmode=... payload_file=... encoding=...]\n"
    "  export <file>                     import <file>\n"
    "\n"
    "  -H, --host HOST [localhost]       -P, --port PORT [15672]           -V, --vhost VHOST\n"
    "  -u, --username USER [guest]       -p, --password PASSWORD           -U, --base-uri URI\n"
    "  -f, --format table|tsv|long|kvp|raw_json|pretty_json|bash [table]   -d, --depth LEVELS [1]\n"
    "  -s, --ssl    -k, --ssl-insecure    --ssl-ca-cert-file, --ssl-cert-file, --ssl-key-file FILE\n"
    "  -S, --sort COLUMN    -R, --sort-reverse    -t, --request-timeout SECONDS    -q, --quiet\n"
    "  --help    --version\n";

struct flag {
    const char *name;
    char letter;
    const char **text;
    int64_t *number;
    bool *is_set;
};

// Takes one option at argv[i]; how many words it took, 0: there is none such.
static int
take_flag(const struct flag *flags, size_t count, char **argv, int i, int argc)
{
    const char *word = argv[i], *equals = strchr(word, '=');
    size_t len = equals != NULL ? (size_t)(equals - word) : strlen(word);
    for (size_t k = 0; k < count; k++) {
        const struct flag *f = &flags[k];
        bool is_long =
            word[1] == '-' && strlen(f->name) == len - 2 && strncmp(word + 2, f->name, len - 2) == 0;
        bool is_short = word[1] != '-' && word[1] == f->letter;
        if (!is_long && !is_short)
            continue;
        if (f->is_set != NULL) {
            *f->is_set = true;
            return 1;
        }
        const char *inside =
            is_long ? (equals != NULL ? equals + 1 : NULL) : (word[2] != '\0' ? word + 2 : NULL);
        const char *value = inside != NULL ? inside : i + 1 < argc ? argv[i + 1] : NULL;
        if (value == NULL)
            return 0;
        if (f->text != NULL)
            *f->text = value;
        else
            *f->number = strtoll(value, NULL, 10);
        return inside != NULL ? 1 : 2;
    }
    return 0;
}

// 0; 1: told.
static int
parse(struct admin *a, int argc, char **argv, struct buf *query)
{
    struct ctl_options *o = &a->c->options;
    const char *sort = NULL;
    bool is_reverse = false;
    const struct flag flags[] = {
        {"host", 'H', &o->host, NULL, NULL},
        {"port", 'P', NULL, &o->port, NULL},
        {"vhost", 'V', &a->vhost, NULL, NULL},
        {"username", 'u', &o->username, NULL, NULL},
        {"password", 'p', &o->password, NULL, NULL},
        {"base-uri", 'U', &o->node, NULL, NULL},
        {"format", 'f', &a->format, NULL, NULL},
        {"depth", 'd', NULL, &a->depth, NULL},
        {"ssl", 's', NULL, NULL, &o->is_tls},
        {"ssl-insecure", 'k', NULL, NULL, &o->is_insecure},
        {"ssl-ca-cert-file", 0, &o->ca_file, NULL, NULL},
        {"ssl-cert-file", 0, &o->certificate_file, NULL, NULL},
        {"ssl-key-file", 0, &o->key_file, NULL, NULL},
        {"sort", 'S', &sort, NULL, NULL},
        {"sort-reverse", 'R', NULL, NULL, &is_reverse},
        {"request-timeout", 't', NULL, &o->timeout_s, NULL},
        {"quiet", 'q', NULL, NULL, &a->is_quiet},
        {"help", '?', NULL, NULL, &o->is_help},
        {"version", 0, NULL, NULL, &o->is_version},
    };
    for (int i = 1; i < argc;) {
        int taken = argv[i][0] == '-' && argv[i][1] != '\0'
                        ? take_flag(flags, LV_ARRAY_LEN(flags), argv, i, argc)
                        : 1;
        if (taken == 0)
            return die(a, "no such option, or its value is missing: ", argv[i]);
        if (argv[i][0] != '-' && a->word_count < WORDS_MAX)
            a->words[a->word_count++] = argv[i];
        i += taken;
    }
    if (!admin_format_is_known(a->format))
        return die(a, "Format must be one of table, tsv, long, kvp, raw_json, pretty_json, bash, not ",
                   a->format);
    if (sort != NULL)
        buf_printf(query, "sort=%s&sort_reverse=%s", sort, is_reverse ? "true" : "false");
    bool has_columns =
        a->word_count > 2 && (strcmp(a->words[0], "list") == 0 || strcmp(a->words[0], "show") == 0);
    for (size_t i = 2; has_columns && i < a->word_count; i++)
        buf_printf(query, "%s%s", i == 2 ? (query->len > 0 ? "&columns=" : "columns=") : ",", a->words[i]);
    return 0;
}

static int
run(struct admin *a, const struct buf *query)
{
    for (size_t i = 0; i < LV_ARRAY_LEN(verbs); i++) {
        if (a->word_count < verbs[i].words_min || a->word_count == 0 ||
            strcmp(a->words[0], verbs[i].name) != 0)
            continue;
        a->c->query = query->len > 0 ? buf_cstr((struct buf *)(uintptr_t)query) : NULL;
        return verbs[i].run(a);
    }
    fputs(usage, a->c->err);
    return 1;
}

int
ctl_admin_main(struct ctl *c, int argc, char **argv, const char *const *environment)
{
    static const struct ctl_command command = {.name = "rabbitmqadmin", .usage = "", .about = ""};
    struct admin a = {.c = c, .format = "table", .depth = 1};
    struct buf query = BUF_INIT;
    c->options = (struct ctl_options){.timeout_s = -1, .port = -1, .host = "localhost"};
    c->command = &command;
    int status = parse(&a, argc, argv, &query);
    if (status == 0 && c->options.is_version) {
        fprintf(c->out, "rabbitmqadmin %s\n", CTL_VERSION);
    } else if (status == 0 && c->options.is_help) {
        fputs(usage, c->out);
    } else if (status == 0) {
        status = ctl_target_init(&c->target, &c->options, environment, &c->problem) == 0
                     ? run(&a, &query)
                     : die(&a, "", buf_cstr(&c->problem));
    }
    buf_fini(&query);
    return status;
}
