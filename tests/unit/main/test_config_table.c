// test_config_table.c: one case from each row of the key table, and etc/leveret.conf against it.
//
// For each row a key is made of its pattern and a value of its default, example, choices or type. Honoured
// rows take it without a word, ignored ones with a warning that gives the reason, refused ones not at all;
// every row with a type refuses a value of another type, with file and line.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "src/config/config_keys.h"
#include "src/config/config_value.h"
#include "tests/unit/main/config_world.h"

static void
key_of(const struct config_key *row, char *key, size_t size)
{
    size_t len = 0;
    const char *p = row->pattern;
    while (*p != '\0' && len + 10 < size) {
        size_t part = strcspn(p, ".");
        const char *text = p;
        size_t text_len = part;
        if (p[0] == '$' || p[0] == '*') {
            text = "1";
            text_len = 1;
        }
        memcpy(key + len, text, text_len);
        len += text_len;
        p += part;
        if (*p == '.')
            key[len++] = *p++;
    }
    key[len] = '\0';
}

static void
first_choice(const char *choices, char *value, size_t size)
{
    snprintf(value, size, "%.*s", (int)strcspn(choices, "|,"), choices);
}

static void
good_value_of(const struct config_key *row, char *value, size_t size)
{
    static const char *const by_type[] = {
        [TYPE_TEXT] = "text",
        [TYPE_ANY] = "anything; at all",
        [TYPE_INT] = "",
        [TYPE_COUNT] = "infinity",
        [TYPE_BOOL] = "on",
        [TYPE_FRACTION] = "0.5",
        [TYPE_BYTES] = "4096",
        [TYPE_SIZE] = "1GB",
        [TYPE_DURATION] = "5s",
        [TYPE_LISTENER] = "[::1]:5671",
        [TYPE_PORT] = "15672",
        [TYPE_IP] = "127.0.0.1",
        [TYPE_PATH] = "/some/where",
        [TYPE_NODE] = "rabbit@elsewhere",
        [TYPE_LEVEL] = "warning",
        [TYPE_NONE] = "none",
    };
    if (row->fallback != NULL)
        snprintf(value, size, "%s", row->fallback);
    else if (row->example != NULL)
        snprintf(value, size, "%s", row->example);
    else if (row->type == TYPE_CHOICE)
        first_choice(row->choices, value, size);
    else if (row->type == TYPE_INT)
        snprintf(value, size, "%.0f", row->max == 0 ? 7 : row->min + 1);
    else
        snprintf(value, size, "%s", by_type[row->type]);
}

static const char *
bad_value_of(const struct config_key *row)
{
    static const char *const by_type[] = {
        [TYPE_INT] = "12x",
        [TYPE_COUNT] = "never",
        [TYPE_BOOL] = "maybe",
        [TYPE_CHOICE] = "no-such-choice",
        [TYPE_FRACTION] = "0.5.5",
        [TYPE_BYTES] = "1 GB",
        [TYPE_SIZE] = "1XB",
        [TYPE_DURATION] = "10 parsecs",
        [TYPE_LISTENER] = "host:5672",
        [TYPE_PORT] = "65536",
        [TYPE_IP] = "localhost",
        [TYPE_PATH] = "relative/path",
        [TYPE_NODE] = "no-at-sign",
        [TYPE_LEVEL] = "loud",
        [TYPE_NONE] = "some",
    };
    return (size_t)row->type < LV_ARRAY_LEN(by_type) ? by_type[row->type] : NULL;
}

static struct outcome
load_line(const char *key, const char *value)
{
    char text[1024];
    snprintf(text, sizeof text, "# first line\n%s = %s\n", key, value);
    return world_load_text(text);
}

static void
check_good(const struct config_key *row, const char *key, const char *value)
{
    struct outcome o = load_line(key, value);
    bool is_fine = config_choice_has(row->fine, slice_str(value), NULL);
    const char *problems = buf_cstr(&o.problems);
    const char *warnings = buf_cstr(&o.warnings);
    if (row->status == STATUS_REFUSED && !is_fine) {
        if (o.error == 0 || strstr(problems, row->why) == NULL ||
            strstr(problems, "leveret.conf:2: ") == NULL)
            fail_msg("'%s = %s' should be refused with its reason, but: %s", key, value, problems);
    } else if (o.error != 0) {
        fail_msg("'%s = %s' should be accepted, but: %s", key, value, problems);
    } else if (row->status == STATUS_IGNORED && !is_fine) {
        if (strstr(warnings, row->why) == NULL || strstr(warnings, "leveret.conf:2: ") == NULL)
            fail_msg("'%s = %s' should be accepted with a warning and its reason, but: '%s'", key, value,
                     warnings);
    } else if (o.warnings.len != 0) {
        fail_msg("'%s = %s' should be accepted silently, but: %s", key, value, warnings);
    }
    if (o.error == 0) {
        const struct config_value *v = config_find(o.config, key);
        assert_non_null(v);
        assert_int_equal(v->source_kind, SOURCE_FILE);
        assert_string_equal(v->source, "/etc/leveret/leveret.conf:2");
        assert_string_equal(v->value, v->is_secret ? "[redacted]" : value);
        assert_int_equal(v->is_reloadable, (row->flags & KEY_RELOAD) != 0);
        assert_int_equal(v->is_ignored, row->status == STATUS_IGNORED);
    }
    outcome_fini(&o);
}

static void
check_bad(const struct config_key *row, const char *key)
{
    const char *value = bad_value_of(row);
    if (value == NULL)
        return;
    struct outcome o = load_line(key, value);
    const char *problems = buf_cstr(&o.problems);
    if (o.error == 0 || strstr(problems, "leveret.conf:2: ") == NULL || strstr(problems, key) == NULL)
        fail_msg("'%s = %s' should be refused with file, line and key, but: '%s'", key, value, problems);
    outcome_fini(&o);
}

static void
check_below_and_above(const struct config_key *row, const char *key)
{
    char value[64];
    if (row->max == 0 || row->status == STATUS_REFUSED || row->type == TYPE_TEXT)
        return;
    snprintf(value, sizeof value, row->type == TYPE_FRACTION ? "%.3f" : "%.0f", row->max * 2 + 1);
    struct outcome above = load_line(key, value);
    if (above.error == 0)
        fail_msg("'%s = %s' is above the range and should be refused", key, value);
    outcome_fini(&above);
    if (row->min < 1)
        return;
    snprintf(value, sizeof value, "%.0f", row->min - 1);
    struct outcome below = load_line(key, value);
    if (below.error == 0)
        fail_msg("'%s = %s' is below the range and should be refused", key, value);
    outcome_fini(&below);
}

static void
test_each_row(void **state)
{
    const struct config_key *row;
    char key[256];
    char value[256];
    size_t rows = 0;
    for (size_t i = 0; (row = config_key_at(i)) != NULL; i++) {
#ifndef LV_TEST_HOOKS
        if ((row->flags & KEY_TEST) != 0)
            continue;
#endif
        key_of(row, key, sizeof key);
        good_value_of(row, value, sizeof value);
        check_good(row, key, value);
        check_bad(row, key);
        check_below_and_above(row, key);
        for (const char *fine = row->fine; fine != NULL && *fine != '\0';) {
            first_choice(fine, value, sizeof value);
            check_good(row, key, value);
            fine += strcspn(fine, "|,");
            fine += *fine != '\0';
        }
        rows++;
    }
    assert_true(rows > 200);
}

static void
test_rows_are_well_formed(void **state)
{
    const struct config_key *row;
    for (size_t i = 0; (row = config_key_at(i)) != NULL; i++) {
        struct config_key_parts parts;
        char key[256];
        key_of(row, key, sizeof key);
        assert_int_equal(config_key_split(slice_str(key), &parts), 0);
        assert_true(row->pattern[0] != '$' && row->pattern[0] != '*'); // config_key_match counts on it
        // The row is found by a key of its own: no earlier row swallows it.
        const struct config_key *found = config_key_match(&parts);
        if (found != row)
            fail_msg("'%s' belongs to row '%s', not to '%s'", key, found->pattern, row->pattern);
        assert_int_equal(row->status != STATUS_HONOURED, row->why != NULL);
        assert_int_equal(row->status == STATUS_HONOURED, row->help != NULL);
        assert_int_equal(row->type == TYPE_CHOICE, row->choices != NULL);
        if (row->status == STATUS_HONOURED)
            assert_true(row->fallback != NULL || row->example != NULL);
    }
}

static void
test_key_that_only_test_builds_have(void **state)
{
    struct outcome o = world_load_text("test.placement = remote\n");
#ifdef LV_TEST_HOOKS
    assert_int_equal(o.error, 0);
    assert_int_equal(o.config->test_placement, PLACEMENT_REMOTE);
#else
    assert_int_not_equal(o.error, 0);
    assert_non_null(strstr(buf_cstr(&o.problems), "test builds only"));
#endif
    outcome_fini(&o);
}

// ---- etc/leveret.conf --------------------

static void
wrap(struct buf *out, const char *prefix, const char *text)
{
    enum { WIDTH = 100 };
    size_t column = 0;
    while (*text != '\0') {
        size_t word = strcspn(text, " ");
        if (column > 0 && column + 1 + word > WIDTH) {
            buf_append_str(out, "\n");
            column = 0;
        }
        if (column == 0) {
            buf_append_str(out, prefix);
            column = strlen(prefix);
        } else {
            buf_append_str(out, " ");
            column++;
        }
        buf_append(out, text, word);
        column += word;
        text += word;
        while (*text == ' ')
            text++;
    }
    buf_append_str(out, "\n");
}

static void
describe(struct buf *out, const struct config_key *row)
{
    static const char *const examples[][2] = {
        {"listeners.tcp.$name", "listeners.tcp.default"},
        {"loopback_users.$user", "loopback_users.guest"},
        {"default_limits.vhosts.$id.pattern", "default_limits.vhosts.1.pattern"},
        {"default_limits.vhosts.$id.max_connections", "default_limits.vhosts.1.max_connections"},
        {"default_limits.vhosts.$id.max_queues", "default_limits.vhosts.1.max_queues"},
        {"default_limits.vhosts.$id.max_publish_rate", "default_limits.vhosts.1.max_publish_rate"},
        {"default_limits.vhosts.$id.max_publish_bytes_rate",
         "default_limits.vhosts.1.max_publish_bytes_rate"},
        {"server_properties.$name", "server_properties.region"},
        {"default_user_tags.$tag", "default_user_tags.administrator"},
        {"management.cors.allow_origins.$name", "management.cors.allow_origins.1"},
    };
    const char *key = row->pattern;
    for (size_t i = 0; i < LV_ARRAY_LEN(examples); i++) {
        if (strcmp(examples[i][0], row->pattern) == 0)
            key = examples[i][1];
    }
    static const char family[] = "default_policies.operator.$id";
    char member[CONFIG_KEY_BYTES_MAX];
    if (strncmp(key, family, sizeof family - 1) == 0) {
        snprintf(member, sizeof member, "default_policies.operator.limits%s", key + sizeof family - 1);
        key = member;
    }
    buf_append_str(out, "\n");
    wrap(out, "## ", row->help);
    if (row->computed != NULL)
        buf_printf(out, "## Default: %s.\n", row->computed);
    else if (row->fallback == NULL)
        buf_append_str(out, "## Default: not set.\n");
    if (row->type == TYPE_CHOICE)
        buf_printf(out, "## Values: %s.\n", row->choices);
    if ((row->flags & KEY_RELOAD) != 0)
        buf_append_str(out, "## Taken over at SIGHUP.\n");
    buf_printf(out, "# %s = %s\n", key, row->fallback != NULL ? row->fallback : row->example);
}

static void
describe_others(struct buf *out)
{
    static const char *const headings[] = {
        [STATUS_IGNORED] = "Keys of RabbitMQ that are accepted without effect; a warning says so",
        [STATUS_REFUSED] = "Keys of RabbitMQ that are refused, except with the values named",
    };
    for (int status = STATUS_IGNORED; status <= STATUS_REFUSED; status++) {
        buf_printf(out, "\n\n## ==== %s ====\n##\n", headings[status]);
        for (size_t i = 0; i < config_keys_other_count; i++) {
            const struct config_key *row = &config_keys_other[i];
            char line[512];
            if ((int)row->status != status)
                continue;
            snprintf(line, sizeof line, "%s: %s.%s%s%s", row->pattern, row->why,
                     row->fine != NULL ? " (No matter: " : "", row->fine != NULL ? row->fine : "",
                     row->fine != NULL ? ".)" : "");
            wrap(out, "##   ", line);
        }
    }
}

static void
render_example(struct buf *out)
{
    static const char *const titles[SECTION_COUNT] = {
        [SECTION_LISTENERS] = "Listeners",
        [SECTION_CONNECTIONS] = "Connections and channels",
        [SECTION_USERS] = "Users",
        [SECTION_OBJECTS] = "Virtual hosts, queues, exchanges",
        [SECTION_RESOURCES] = "Memory and disk",
        [SECTION_LOG] = "Log",
        [SECTION_NODE] = "The node",
        [SECTION_MANAGEMENT] = "The HTTP API",
    };
    buf_append_str(
        out,
        "## leveret.conf: configuration of leveretd. Each key is shown with its default.\n"
        "##\n"
        "## The syntax and most keys are those of rabbitmq.conf: `key = value`, a line each; `#` starts a "
        "comment\n"
        "## wherever it stands. After this file conf.d/*.conf beside it are read, in the order of their "
        "names; later\n"
        "## lines win. RABBITMQ_NODENAME, RABBITMQ_NODE_PORT, RABBITMQ_NODE_IP_ADDRESS and "
        "RABBITMQ_DEFAULT_USER,\n"
        "## _PASS, _VHOST win over files, and `leveretd -o KEY=VALUE` over all.\n"
        "##\n"
        "## $(NAME) in a value is replaced by another key's value or a variable of the environment; a value "
        "that is\n"
        "## $(<FILE) by the content of a file. `include PATTERN` reads other files in its place.\n"
        "##\n"
        "## leveretd --check-config [-c FILE] tells what is wrong with a file without starting anything.\n");
    for (int section = 0; section < SECTION_COUNT; section++) {
        if (titles[section] == NULL)
            continue;
        buf_printf(out, "\n\n## ==== %s ====\n", titles[section]);
        for (size_t i = 0; i < config_keys_honoured_count; i++) {
            if ((int)config_keys_honoured[i].section == section)
                describe(out, &config_keys_honoured[i]);
        }
    }
    describe_others(out);
}

static void
read_whole(const char *path, struct buf *out)
{
    int error = config_fs_system.read(NULL, path, 1 << 20, out);
    if (error != 0)
        fail_msg("%s: %s", path, err_text(error));
}

// The file is what the table says. LV_UPDATE=1 writes it anew.
static void
test_example_file_is_the_table(void **state)
{
    struct buf want = BUF_INIT;
    struct buf have = BUF_INIT;
    render_example(&want);
    if (getenv("LV_UPDATE") != NULL) {
        FILE *f = fopen(LV_EXAMPLE_CONF, "w");
        assert_non_null(f);
        assert_int_equal(fwrite(want.ptr, 1, want.len, f), want.len);
        fclose(f);
    }
    read_whole(LV_EXAMPLE_CONF, &have);
    if (!slice_eq(buf_slice(&want), buf_slice(&have)))
        fail_msg("%s differs from the key table; run this test with LV_UPDATE=1", LV_EXAMPLE_CONF);
    buf_fini(&want);
    buf_fini(&have);
}

// With every key that has a constant default uncommented nothing changes, and nobody complains.
static void
test_example_file_holds_the_defaults(void **state)
{
    struct buf have = BUF_INIT;
    struct buf open = BUF_INIT;
    const struct config_key *row;
    read_whole(LV_EXAMPLE_CONF, &have);
    char *save = NULL;
    buf_cstr(&have);
    for (char *line = strtok_r((char *)have.ptr, "\n", &save); line != NULL;
         line = strtok_r(NULL, "\n", &save)) {
        if (strncmp(line, "# ", 2) != 0)
            continue;
        struct config_key_parts parts;
        size_t key_len = strcspn(line + 2, " ");
        assert_int_equal(config_key_split(slice_of(line + 2, key_len), &parts), 0);
        row = config_key_match(&parts);
        assert_non_null(row);
        if (row->fallback != NULL)
            buf_printf(&open, "%s\n", line + 2);
    }
    struct outcome o = world_load_text(buf_cstr(&open));
    assert_string_equal(buf_cstr(&o.problems), "");
    assert_string_equal(buf_cstr(&o.warnings), "");
    struct outcome bare = world_load_text("");
    assert_int_equal(o.config->value_count, bare.config->value_count);
    for (size_t i = 0; i < o.config->value_count; i++) {
        const struct config_value *v = &o.config->values[i];
        const struct config_value *b = config_find(bare.config, v->key);
        assert_non_null(b);
        if (strcmp(b->value, v->value) != 0)
            fail_msg("%s: default '%s', in the file '%s'", v->key, b->value, v->value);
    }
    outcome_fini(&o);
    outcome_fini(&bare);
    buf_fini(&have);
    buf_fini(&open);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_are_well_formed),
        cmocka_unit_test(test_each_row),
        cmocka_unit_test(test_key_that_only_test_builds_have),
        cmocka_unit_test(test_example_file_is_the_table),
        cmocka_unit_test(test_example_file_holds_the_defaults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
