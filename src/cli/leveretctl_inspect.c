// leveretctl_inspect.c: memory, log files and certificates of the node.
#include <inttypes.h>
#include <stdlib.h>

#include "src/base/mem.h"
#include "src/cli/leveretctl.h"
#include "src/cli/leveretctl_node.h"

// --- memory ---------------------------------------------------------------------------------------------------------------------

struct part {
    const char *name;
    json_int_t bytes;
};

static int
compare_parts(const void *a, const void *b)
{
    const struct part *x = a, *y = b;
    return (x->bytes < y->bytes) - (x->bytes > y->bytes);
}

// LIMIT: parts of memory that are shown.
enum { PARTS_MAX = 32 };

static int
run_memory_breakdown(struct ctl *c)
{
    struct part parts[PARTS_MAX];
    size_t count = 0;
    int status = CTL_OK;
    const char *name;
    json_t *bytes;
    double total = 0;
    ctl_banner(c, "Reporting memory breakdown on node %s...", ctl_node(c));
    if (c->options.is_dry_run)
        return CTL_OK;
    json_t *node = node_details(c, &status);
    if (node == NULL)
        return status;
    json_object_foreach(json_object_get(node, "memory"), name, bytes)
    {
        if (json_is_integer(bytes) && count < PARTS_MAX)
            parts[count++] = (struct part){name, json_integer_value(bytes)};
    }
    for (size_t i = 0; i < count; i++)
        total += (double)parts[i].bytes;
    qsort(parts, count, sizeof parts[0], compare_parts);
    json_t *all = json_object();
    for (size_t i = 0; i < count; i++) {
        double percent = total > 0 ? 100.0 * (double)parts[i].bytes / total : 0;
        if (ctl_is_json(c))
            json_object_set_new(all, parts[i].name,
                                json_pack("{s:I, s:f}", "bytes", parts[i].bytes, "percentage", percent));
        else
            fprintf(c->out, "%s: %.4f gb (%.2f%%)\n", parts[i].name, (double)parts[i].bytes / 1e9, percent);
    }
    if (ctl_is_json(c))
        ctl_print_json(c, c->out, json_incref(all));
    json_decref(all);
    json_decref(node);
    return CTL_OK;
}

// --- the log --------------------------------------------------------------------------------------------------------------------

static int
run_log_location(struct ctl *c)
{
    int status = CTL_OK;
    ctl_banner(c, "Log file location(s) on node %s ...", ctl_node(c));
    if (c->options.is_dry_run)
        return CTL_OK;
    json_t *node = node_details(c, &status);
    if (node == NULL)
        return status;
    json_t *files = json_object_get(node, "log_files");
    if (ctl_is_json(c))
        ctl_print_json(c, c->out, json_incref(files));
    for (size_t i = 0; i < json_array_size(files) && !ctl_is_json(c); i++)
        fprintf(c->out, "%s\n", json_string_value(json_array_get(files, i)));
    json_decref(node);
    return CTL_OK;
}

// LIMIT: lines and bytes at the end of a log file that are looked at.
enum { TAIL_LINES_MAX = 100000, TAIL_BYTES_MAX = 16 * 1024 * 1024, TAIL_LINES = 50 };

static int
check_tail(struct ctl *c)
{
    int64_t lines = c->options.lines;
    return lines == -1 || (lines > 0 && lines <= TAIL_LINES_MAX)
               ? 0
               : ctl_bad_argument(c, "--number is a number of lines from 1 to %d", (int)TAIL_LINES_MAX);
}

// The last lines of a text; the first of them may be cut off at the front.
static const char *
last_lines(const char *text, size_t len, int64_t lines)
{
    const char *at = text + len;
    if (at > text && at[-1] == '\n')
        at--;
    while (at > text && (at[-1] != '\n' || --lines > 0))
        at--;
    return at;
}

static int
tail(struct ctl *c, const char *path, int64_t lines)
{
    FILE *file = fopen(path, "re");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0) {
        if (file != NULL)
            fclose(file);
        return ctl_fail(c, CTL_UNAVAILABLE,
                        "the log file %s cannot be read: is it on this machine, and yours to read?", path);
    }
    long size = ftell(file);
    size_t want = (size_t)LV_MIN(LV_MAX(size, 0L), (long)TAIL_BYTES_MAX);
    char *text = mem_xalloc(want + 1);
    fseek(file, size - (long)want, SEEK_SET);
    size_t len = fread(text, 1, want, file);
    fclose(file);
    const char *from = last_lines(text, len, lines);
    fwrite(from, 1, (size_t)(text + len - from), c->out);
    if (len > 0 && text[len - 1] != '\n')
        fputc('\n', c->out);
    mem_free(text);
    return CTL_OK;
}

static int
run_log_tail(struct ctl *c)
{
    int64_t lines = c->options.lines > 0 ? c->options.lines : TAIL_LINES;
    int status = CTL_OK;
    ctl_banner(c, "Last %" PRId64 " log lines on node %s ...", lines, ctl_node(c));
    if (c->options.is_dry_run)
        return CTL_OK;
    json_t *node = node_details(c, &status);
    if (node == NULL)
        return status;
    const char *path = NULL;
    json_t *files = json_object_get(node, "log_files");
    for (size_t i = 0; i < json_array_size(files) && path == NULL; i++) {
        const char *name = json_string_value(json_array_get(files, i));
        path = name != NULL && name[0] == '/' ? name : NULL;
    }
    status = path != NULL
                 ? tail(c, path, lines)
                 : ctl_fail(c, CTL_UNAVAILABLE,
                            "the node logs to no file (log.file): what it writes to standard output or "
                            "standard error is "
                            "where its service manager puts it, `journalctl -u leveretd` with systemd");
    json_decref(node);
    return status;
}

// --- the runtime ----------------------------------------------------------------------------------------------------------------

static int
run_erlang_version(struct ctl *c)
{
    int status = CTL_OK;
    ctl_banner(c, "Asking node %s for its Erlang/OTP version...", ctl_node(c));
    if (c->options.is_dry_run)
        return CTL_OK;
    json_t *node = node_details(c, &status);
    if (node == NULL)
        return status;
    const char *version = json_string_value(json_object_get(node, "leveret_version"));
    status = ctl_say(c, "value", "none: this is Leveret %s", version != NULL ? version : "");
    json_decref(node);
    return status;
}

// --- health ---------------------------------------------------------------------------------------------------------------------

static int
run_node_health_check(struct ctl *c)
{
    int status = CTL_OK;
    ctl_banner(c, "This command is DEPRECATED and will be removed in a future version.\nIt is replaced by "
                  "check_running, "
                  "check_local_alarms, check_port_connectivity and others.\n");
    if (c->options.timeout_s != 0)
        ctl_banner(c, "Timeout: %" PRId64 " seconds ...",
                   c->options.timeout_s > 0 ? c->options.timeout_s : 70);
    ctl_banner(c, "Checking health of node %s ...", ctl_node(c));
    if (c->options.is_dry_run)
        return CTL_OK;
    json_t *alarms = node_alarms(c, &status);
    if (alarms == NULL)
        return status;
    struct buf list = BUF_INIT;
    for (size_t i = 0; i < json_array_size(alarms); i++)
        buf_printf(&list, "%s%s", i > 0 ? ", " : "", json_string_value(json_array_get(alarms, i)));
    if (list.len > 0)
        status =
            ctl_fail(c, CTL_SOFTWARE, "Error: health check failed. Message: resource alarm(s) in effect:[%s]",
                     buf_cstr(&list));
    else
        status = ctl_say(c, NULL, "Health check passed");
    buf_fini(&list);
    json_decref(alarms);
    return status;
}

// --- certificates ---------------------------------------------------------------------------------------------------------------

static int
check_expiration(struct ctl *c)
{
    static const char *const units[] = {"days", "weeks", "months", "years"};
    const char *unit = c->options.unit != NULL ? c->options.unit : "weeks";
    bool is_known = false;
    for (size_t i = 0; i < LV_ARRAY_LEN(units); i++)
        is_known |= strcmp(unit, units[i]) == 0;
    if (!is_known)
        return ctl_bad_argument(c, "unit '%s' is none of days, weeks, months, years", unit);
    return c->options.within == -1 || c->options.within > 0
               ? 0
               : ctl_bad_argument(c, "--within is a positive number");
}

static int
run_check_certificate_expiration(struct ctl *c)
{
    const char *unit = c->options.unit != NULL ? c->options.unit : "weeks";
    int64_t within = c->options.within > 0 ? c->options.within : 4;
    char number[32];
    snprintf(number, sizeof number, "%" PRId64, within);
    ctl_banner(c, "Checking certificate expiration on node %s ...", ctl_node(c));
    if (c->options.is_dry_run)
        return CTL_OK;
    int status = ctl_call(c, "GET", NULL, "health", "checks", "certificate-expiration", number, unit, NULL);
    if (status != 0)
        return status;
    if (c->answer.status != 200)
        return ctl_refused(c);
    int unit_len = (int)strlen(unit) - (within == 1);
    return ctl_say(c, NULL, "No certificates are expiring within %s %.*s.", number, unit_len, unit);
}

const struct ctl_command ctl_commands_inspect[] = {
    {"memory_breakdown", GROUP_MONITORING, "",
     "Displays what the node's memory is used for, the largest part first", NULL, 0, 0, 0, NULL,
     run_memory_breakdown, NULL},
    {"log_location", GROUP_MONITORING, "", "Displays where the node's log goes", NULL, 0, 0, 0, NULL,
     run_log_location, NULL},
    {"log_tail", GROUP_MONITORING, "[--number|-N <lines>]", "Prints the last lines of the node's log file",
     "--number <lines>\n\thow many [50]\n\n", 0, 0, OPTION_LINES | NEEDS_SOCKET, NULL, run_log_tail,
     check_tail},
    {"erlang_version", GROUP_MONITORING, "", "Says that there is no Erlang", NULL, 0, 0, 0, NULL,
     run_erlang_version, NULL},
    {"node_health_check", GROUP_MONITORING, "", "Deprecated: exits with 70 if there are resource alarms",
     NULL, 0, 0, 0, NULL, run_node_health_check, NULL},
    {"check_certificate_expiration", GROUP_MONITORING, "[--within <period>] [--unit <unit>]",
     "Exits with 69 if certificates of the node expire soon",
     "--within <period>\n\thow many units [4]\n\n--unit <unit>\n\tdays, weeks, "
     "months or years [weeks]\n\n",
     0, 0, OPTION_CERTIFICATES, NULL, run_check_certificate_expiration, check_expiration},
    {.name = NULL},
};
