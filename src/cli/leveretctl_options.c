// leveretctl_options.c: see leveretctl_options.h. The options are a table: names, what they take, where the value goes.
#include "src/cli/leveretctl_options.h"

#include <errno.h>
#include <stddef.h>

#include "src/base/err.h"

enum option_kind { TAKES_NOTHING, TAKES_TEXT, TAKES_NUMBER };

struct option {
    const char *name; // behind "--"
    char letter;      // behind "-"; 0: none
    enum option_kind kind;
    size_t offset; // in struct ctl_options: bool, const char * or int64_t
    uint64_t bit;  // enum ctl_option_bit; 0: every command has it
};

#define PLACE(member) offsetof(struct ctl_options, member)
#define NOWHERE       SIZE_MAX // accepted because rabbitmqctl has it; means nothing here

static const struct option options[] = {
    {"node", 'n', TAKES_TEXT, PLACE(node), 0},
    {"longnames", 'l', TAKES_NOTHING, PLACE(is_long_names), 0},
    {"quiet", 'q', TAKES_NOTHING, PLACE(is_quiet), 0},
    {"silent", 's', TAKES_NOTHING, PLACE(is_silent), 0},
    {"vhost", 'p', TAKES_TEXT, PLACE(vhost), 0},
    {"timeout", 't', TAKES_NUMBER, PLACE(timeout_s), 0},
    {"formatter", 0, TAKES_TEXT, PLACE(formatter), 0},
    {"dry-run", 0, TAKES_NOTHING, PLACE(is_dry_run), 0},
    {"help", '?', TAKES_NOTHING, PLACE(is_help), 0},
    {"version", 0, TAKES_NOTHING, PLACE(is_version), 0},
    {"table-headers", 0, TAKES_NOTHING, PLACE(has_headers), 0},
    {"print-stacktrace", 0, TAKES_NOTHING, PLACE(is_printing_stack), 0},
    {"socket", 0, TAKES_TEXT, PLACE(socket), 0},
    {"host", 0, TAKES_TEXT, PLACE(host), 0},
    {"port", 0, TAKES_NUMBER, PLACE(port), 0},
    {"username", 0, TAKES_TEXT, PLACE(username), 0},
    {"password", 0, TAKES_TEXT, PLACE(password), 0},
    {"password-file", 0, TAKES_TEXT, PLACE(password_file), 0},
    {"tls", 0, TAKES_NOTHING, PLACE(is_tls), 0},
    {"tls-ca-cert", 0, TAKES_TEXT, PLACE(ca_file), 0},
    {"tls-cert", 0, TAKES_TEXT, PLACE(certificate_file), 0},
    {"tls-key", 0, TAKES_TEXT, PLACE(key_file), 0},
    {"tls-insecure", 0, TAKES_NOTHING, PLACE(is_insecure), 0},
    {"erlang-cookie", 0, TAKES_TEXT, NOWHERE, 0},
    {"script-name", 0, TAKES_TEXT, NOWHERE, 0},
    {"online", 0, TAKES_NOTHING, PLACE(is_online), OPTION_ONLINE},
    {"offline", 0, TAKES_NOTHING, PLACE(is_offline), OPTION_OFFLINE},
    {"local", 0, TAKES_NOTHING, PLACE(is_local), OPTION_LOCAL},
    {"description", 0, TAKES_TEXT, PLACE(description), OPTION_DESCRIPTION},
    {"tags", 0, TAKES_TEXT, PLACE(tags), OPTION_TAGS},
    {"default-queue-type", 0, TAKES_TEXT, PLACE(queue_type), OPTION_QUEUE_TYPE},
    {"if-empty", 'e', TAKES_NOTHING, PLACE(is_if_empty), OPTION_IF_EMPTY},
    {"if-unused", 'u', TAKES_NOTHING, PLACE(is_if_unused), OPTION_IF_UNUSED},
    {"limit", 0, TAKES_NUMBER, PLACE(limit), OPTION_LIMIT},
    {"global", 0, TAKES_NOTHING, PLACE(is_global), OPTION_GLOBAL},
    {"per-connection-delay", 0, TAKES_NUMBER, PLACE(delay_ms), OPTION_DELAY},
    {"user", 0, TAKES_TEXT, PLACE(user), OPTION_USER},
    {"pid", 'P', TAKES_NUMBER, PLACE(pid), OPTION_PID},
    {"wait", 0, TAKES_NOTHING, PLACE(is_waiting), OPTION_WAIT},
    {"list-commands", 0, TAKES_NOTHING, PLACE(is_listing_commands), OPTION_LIST_COMMANDS},
    {"idempotent", 0, TAKES_NOTHING, PLACE(is_idempotent), OPTION_IDEMPOTENT},
    {"algorithm", 0, TAKES_TEXT, PLACE(algorithm), OPTION_ALGORITHM},
    {"data-dir", 'd', TAKES_TEXT, PLACE(data_dir), OPTION_DATA_DIR},
    {"json", 0, TAKES_NOTHING, PLACE(is_json), OPTION_JSON},
    {"queue", 0, TAKES_TEXT, PLACE(queue), OPTION_QUEUE},
    {"seq", 0, TAKES_TEXT, PLACE(seq), OPTION_SEQ},
    {"lost-and-found", 0, TAKES_NOTHING, PLACE(is_lost), OPTION_LOST},
    {"priority", 0, TAKES_TEXT, PLACE(priority), OPTION_PRIORITY},
    {"apply-to", 0, TAKES_TEXT, PLACE(apply_to), OPTION_APPLY_TO},
    {"truncate", 0, TAKES_NUMBER, PLACE(truncate), OPTION_TRUNCATE},
    {"once", 0, TAKES_NOTHING, PLACE(is_once), OPTION_TOP},
    {"interval", 0, TAKES_NUMBER, PLACE(interval_s), OPTION_TOP},
    {"sort", 0, TAKES_TEXT, PLACE(sort), OPTION_TOP},
    {"number", 'N', TAKES_NUMBER, PLACE(lines), OPTION_LINES},
    {"minimal", 'm', TAKES_NOTHING, PLACE(is_minimal), OPTION_PLUGINS},
    {"enabled", 'E', TAKES_NOTHING, PLACE(is_explicit_only), OPTION_PLUGINS},
    {"implicitly-enabled", 0, TAKES_NOTHING, PLACE(is_enabled_only), OPTION_PLUGINS}, // -e is --if-empty's
    {"verbose", 'v', TAKES_NOTHING, PLACE(is_verbose), OPTION_PLUGINS},
    {"all", 'a', TAKES_NOTHING, PLACE(is_all), OPTION_PLUGINS},
    {"unit", 0, TAKES_TEXT, PLACE(unit), OPTION_CERTIFICATES},
    {"within", 0, TAKES_NUMBER, PLACE(within), OPTION_CERTIFICATES},
    {"examine", 0, TAKES_NUMBER, PLACE(examine), OPTION_MESSAGES},
    {"exchange", 0, TAKES_TEXT, PLACE(exchange), OPTION_MESSAGES},
    {"routing-key", 0, TAKES_TEXT, PLACE(routing_key), OPTION_MESSAGES},
    {"vhost-pattern", 0, TAKES_TEXT, PLACE(vhost_pattern), OPTION_REBALANCE},
    {"queue-pattern", 0, TAKES_TEXT, PLACE(queue_pattern), OPTION_REBALANCE},
    {"format", 0, TAKES_TEXT, PLACE(file_format), OPTION_DEFINITIONS},
    {"skip-if-unchanged", 0, TAKES_NOTHING, PLACE(is_skipping_unchanged), OPTION_DEFINITIONS},
    {"exact", 0, TAKES_NOTHING, PLACE(is_exact), OPTION_DEFINITIONS},
    {"force", 0, TAKES_NOTHING, PLACE(is_forced), OPTION_DEFINITIONS},
};

static_assert(LV_ARRAY_LEN(options) <= CTL_OPTIONS_MAX, "struct ctl_options.given has one for each");

static void
add_invalid(struct ctl_options *o, struct slice word, const char *value)
{
    buf_printf(&o->invalid, "%.*s : %s\n", SLICE_FMT(word), value != NULL ? value : "");
}

// "-5" is an argument, "-" is one too.
static bool
is_option(const char *word)
{
    return word[0] == '-' && word[1] != '\0' && !(word[1] >= '0' && word[1] <= '9');
}

// The option named by a word without its value part; *ret_is_off for --no-NAME.
static const struct option *
find_option(struct slice word, bool *ret_is_off)
{
    static const struct slice no = {(const uint8_t *)"no-", 3};
    bool is_long = word.len > 2 && word.ptr[1] == '-';
    struct slice name = slice_from(word, is_long ? 2 : 1);
    *ret_is_off = false;
    for (size_t i = 0; i < LV_ARRAY_LEN(options); i++) {
        const struct option *option = &options[i];
        if (is_long ? slice_eq_str(name, option->name)
                    : name.len == 1 && name.ptr[0] == (uint8_t)option->letter)
            return option;
        if (is_long && option->kind == TAKES_NOTHING && slice_has_prefix(name, no) &&
            slice_eq_str(slice_from(name, no.len), option->name)) {
            *ret_is_off = true;
            return option;
        }
    }
    return NULL;
}

static bool
parse_number(const char *text, int64_t *ret)
{
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0')
        return false;
    *ret = value;
    return true;
}

// Stores a value; false: it is none of this option.
static bool
store(struct ctl_options *o, const struct option *option, const char *value, bool is_off)
{
    char *place = (char *)o + (option->offset == NOWHERE ? 0 : option->offset);
    switch (option->kind) {
    case TAKES_NOTHING:
        if (value != NULL && strcmp(value, "true") != 0 && strcmp(value, "false") != 0)
            return false;
        *(bool *)(void *)place = (value == NULL || value[0] == 't') != is_off;
        return true;
    case TAKES_NUMBER: return value != NULL && parse_number(value, (int64_t *)(void *)place);
    case TAKES_TEXT:
        if (value != NULL && option->offset != NOWHERE)
            *(const char **)(void *)place = value;
        return value != NULL;
    default: return false;
    }
}

// One word that begins with '-'; returns how many words it took.
static int
take_option(struct ctl_options *o, const char *word, const char *next)
{
    const char *equals = strchr(word, '=');
    struct slice name = slice_of(word, equals != NULL ? (size_t)(equals - word) : strlen(word));
    bool is_off;
    const struct option *option = find_option(name, &is_off);
    const char *value = equals != NULL ? equals + 1 : NULL;
    int taken = 1;
    if (option == NULL) {
        add_invalid(o, name, value);
        return 1;
    }
    if (value == NULL && option->kind != TAKES_NOTHING && next != NULL && !is_option(next)) {
        value = next;
        taken = 2;
    }
    if (store(o, option, value, is_off))
        o->given[option - options] = true;
    else
        add_invalid(o, name, value);
    return taken;
}

int
ctl_options_parse(int argc, char **argv, struct ctl_options *ret)
{
    bool is_ended = false;
    *ret = (struct ctl_options){.timeout_s = -1,
                                .limit = -1,
                                .pid = -1,
                                .truncate = -1,
                                .port = -1,
                                .interval_s = -1,
                                .lines = -1,
                                .within = -1,
                                .examine = -1,
                                .has_headers = true,
                                .is_waiting = true};
    for (int i = 1; i < argc;) {
        const char *word = argv[i];
        if (!is_ended && strcmp(word, "--") == 0) {
            is_ended = true;
            i++;
        } else if (!is_ended && is_option(word)) {
            i += take_option(ret, word, i + 1 < argc ? argv[i + 1] : NULL);
        } else if (ret->command == NULL) {
            ret->command = argv[i++];
        } else {
            if (ret->arg_count == CTL_ARGS_MAX)
                return -LE_LIMIT;
            ret->args[ret->arg_count++] = argv[i++];
        }
    }
    if (ret->formatter != NULL && ctl_format_parse(ret->formatter, &ret->format) == 0)
        ret->formatter = NULL;
    return 0;
}

void
ctl_options_fini(struct ctl_options *o)
{
    buf_fini(&o->invalid);
}

void
ctl_options_forbid(struct ctl_options *o, uint64_t allowed)
{
    for (size_t i = 0; i < LV_ARRAY_LEN(options); i++) {
        const struct option *option = &options[i];
        if (!o->given[i] || (option->bit & ~allowed) == 0)
            continue;
        buf_printf(&o->invalid, "--%s : ", option->name);
        const char *place = (const char *)o + option->offset;
        if (option->kind == TAKES_TEXT)
            buf_append_str(&o->invalid, *(const char *const *)(const void *)place);
        else if (option->kind == TAKES_NUMBER)
            buf_printf(&o->invalid, "%lld", (long long)*(const int64_t *)(const void *)place);
        buf_append_u8(&o->invalid, '\n');
    }
}

void
ctl_options_each(void (*visit)(const char *name, char letter, bool takes_value, uint64_t bit, void *ctx),
                 void *ctx)
{
    for (size_t i = 0; i < LV_ARRAY_LEN(options); i++)
        visit(options[i].name, options[i].letter, options[i].kind != TAKES_NOTHING, options[i].bit, ctx);
}
