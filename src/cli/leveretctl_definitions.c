// leveretctl_definitions.c: definitions files: export, import, and (ours) what an import would do, and making the broker exactly so.
//
// Files go through as they are: nothing of them is kept in memory.
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/base/mem.h"
#include "src/cli/leveretctl.h"

// /api/definitions, or that of the vhost of -p. The array has room for three.
static void
set_path(struct ctl *c, const char **path)
{
    path[0] = "definitions";
    path[1] = c->options.vhost; // NULL: the whole broker
    path[2] = NULL;
}

static bool
is_stream(const char *file)
{
    return file == NULL || strcmp(file, "-") == 0;
}

static int
check_format(struct ctl *c)
{
    const char *format = c->options.file_format;
    return format == NULL || strcmp(format, "json") == 0 || strcmp(format, "JSON") == 0
               ? 0
               : ctl_bad_argument(c, "the format of definitions is json, not \"%s\"", format);
}

// --- export -----------------------------------------------------------------------------------------------------------------------

// The file appears when it is whole; only its owner may read it, for it holds password hashes.
static int
export_to_file(struct ctl *c, const char *file, const char *const *path)
{
    struct buf part = BUF_INIT;
    buf_printf(&part, "%s.part", file);
    const char *name = buf_cstr(&part);
    mode_t before = umask(0077);
    FILE *f = fopen(name, "w");
    umask(before);
    if (f == NULL) {
        int saved = errno;
        buf_fini(&part);
        return ctl_fail(c, CTL_UNAVAILABLE, "cannot write %s: %s", file, strerror(saved));
    }
    c->download = f;
    int status = ctl_call_path(c, "GET", NULL, path);
    bool is_written = fclose(f) == 0;
    bool is_whole = status == 0 && c->answer.status == 200 && is_written;
    if (is_whole && rename(name, file) != 0)
        is_whole = is_written = false;
    if (!is_whole)
        (void)unlink(name);
    if (status == 0 && c->answer.status == 200 && !is_written)
        status = ctl_fail(c, CTL_UNAVAILABLE, "cannot write %s", file);
    else if (status == 0 && c->answer.status != 200)
        status = ctl_refused(c);
    buf_fini(&part);
    return status;
}

static int
run_export(struct ctl *c)
{
    const char *file = ctl_arg(c, 0), *path[3];
    set_path(c, path);
    if (!is_stream(file))
        ctl_banner(c, "Exporting definitions in JSON to a file at \"%s\" ...", file);
    if (c->options.is_dry_run)
        return CTL_OK;
    if (!is_stream(file))
        return export_to_file(c, file, path);
    c->download = c->out;
    int status = ctl_call_path(c, "GET", NULL, path);
    return status == 0 && c->answer.status != 200 ? ctl_refused(c) : status;
}

// --- import -----------------------------------------------------------------------------------------------------------------------

// The file opened; NULL after the text.
static FILE *
open_file(struct ctl *c, const char *file, int *ret_status)
{
    if (is_stream(file))
        return c->in;
    FILE *f = fopen(file, "r");
    if (f == NULL && errno == ENOENT)
        *ret_status = ctl_fail_bare(c, CTL_DATA, "Bad argument: File %s does not exist", file);
    else if (f == NULL)
        *ret_status =
            ctl_fail_bare(c, CTL_DATA, "Bad argument: File %s cannot be read: %s", file, strerror(errno));
    return f;
}

// What was refused, and what was done before it.
static int
fail_import(struct ctl *c)
{
    const json_t *applied = json_object_get(c->answer.json, "applied");
    const char *detail = json_string_value(json_object_get(c->answer.json, "detail"));
    if (strcmp(ctl_reason(c), "failed_to_parse_json") == 0)
        return ctl_fail(c, CTL_DATA, "Failed to deserialise input (format: JSON) (error: %s)",
                        detail != NULL ? detail : "malformed");
    if (applied == NULL)
        return ctl_refused(c);
    const json_t *reason = json_object_get(c->answer.json, "reason");
    char *text = ctl_json_text(reason), *done = ctl_json_text(applied);
    int status = ctl_fail(c, CTL_UNAVAILABLE, "%s[%lld]: %s. Carried out before it: %s",
                          json_string_value(json_object_get(c->answer.json, "section")),
                          (long long)json_integer_value(json_object_get(c->answer.json, "element")),
                          text != NULL ? text : "", done != NULL ? done : "");
    mem_free(text);
    mem_free(done);
    return status;
}

// POSTs the file; `download`: where an answer of 200 goes, or NULL. 0: an answer of 2xx.
static int
post_file(struct ctl *c, const char *file, const char *query, FILE *download)
{
    const char *path[3];
    int status = CTL_DATA;
    FILE *f = open_file(c, file, &status);
    if (f == NULL)
        return status;
    set_path(c, path);
    c->upload = f;
    c->download = download;
    c->query = query;
    status = ctl_call_path(c, "POST", NULL, path);
    if (f != c->in)
        (void)fclose(f);
    if (status == 0 && c->answer.status == 404)
        return ctl_fail_no_such_vhost(c, ctl_vhost(c));
    return status == 0 && c->answer.status >= 300 ? fail_import(c) : status;
}

static int
run_import(struct ctl *c)
{
    const char *file = ctl_arg(c, 0);
    if (is_stream(file))
        ctl_banner(c, "Importing definitions in JSON from standard input ...");
    else
        ctl_banner(c, "Importing definitions in JSON from a file at \"%s\" ...", file);
    if (c->options.is_dry_run)
        return CTL_OK;
    int status = post_file(c, file, NULL, NULL);
    return status == 0 ? ctl_say(c, "definitions", "Successfully imported the definitions.") : status;
}

// --- plan and apply (ours) ----------------------------------------------------------------------------------------------------------

static int
check_definitions(struct ctl *c)
{
    const char *verb = ctl_arg(c, 0);
    return strcmp(verb, "plan") == 0 || strcmp(verb, "apply") == 0
               ? 0
               : ctl_bad_argument(c, "definitions plan or definitions apply, not \"%s\"", verb);
}

static int
plan(struct ctl *c, const char *file)
{
    struct buf query = BUF_INIT;
    buf_printf(&query, "dry_run=true%s%s%s", c->options.is_exact ? "&mode=exact" : "",
               c->options.is_forced ? "&force=true" : "", ctl_is_json(c) ? "" : "&format=text");
    int status = post_file(c, file, buf_cstr(&query), c->out);
    if (status == 0 && ctl_is_json(c))
        fputc('\n', c->out);
    buf_fini(&query);
    return status;
}

static int
print_notes(struct ctl *c)
{
    const json_t *notes = json_object_get(c->answer.json, "notes");
    for (size_t i = 0; i < json_array_size(notes); i++)
        fprintf(c->err, "Left as it is: %s\n", json_string_value(json_array_get(notes, i)));
    return ctl_say(c, "definitions", "Applied.");
}

static int
run_definitions(struct ctl *c)
{
    const char *file = ctl_arg(c, 1);
    if (strcmp(ctl_arg(c, 0), "plan") == 0 || c->options.is_dry_run)
        return plan(c, file);
    ctl_banner(c, "Applying definitions from \"%s\"%s ...", file,
               c->options.is_exact ? ", deleting what they do not have" : "");
    int status = post_file(c, file,
                           !c->options.is_exact   ? NULL
                           : c->options.is_forced ? "mode=exact&force=true"
                                                  : "mode=exact",
                           NULL);
    return status == 0 ? print_notes(c) : status;
}

#define FILE_DETAIL "<file>\n\tdefinitions in JSON; - is standard input or output\n\n"

const struct ctl_command ctl_commands_definitions[] = {
    {"export_definitions", GROUP_CONFIGURATION, "[--vhost <vhost>] <file> [--format json]",
     "Exports everything declared, but no messages, to a file; of one virtual host with --vhost",
     FILE_DETAIL "The file holds password hashes and the passwords in URIs: only its owner may read it.\n\n",
     1, 1, OPTION_DEFINITIONS, NULL, run_export, check_format},
    {"import_definitions", GROUP_CONFIGURATION,
     "[--vhost <vhost>] [<file>] [--format json] [--skip-if-unchanged]",
     "Imports definitions from a file or standard input: makes and changes things, deletes nothing",
     FILE_DETAIL "--skip-if-unchanged\n\taccepted; what is there already is left alone in any case\n\n", 0, 1,
     OPTION_DEFINITIONS, NULL, run_import, check_format},
    {"definitions", GROUP_CONFIGURATION, "plan|apply [--vhost <vhost>] <file> [--exact] [--force]",
     "Tells what an import would do, or does it; with --exact what the file does not have is deleted",
     FILE_DETAIL "plan\n\ttells what would be made (+), changed (~), deleted (-), left out (?), and what is "
                 "there with other "
                 "properties (!)\n\napply\n\tdoes it\n\n--exact\n\tof the file's sections, what it does not "
                 "have is deleted; "
                 "queues only when they are empty and not in use\n\n--force\n\tdeletes these too\n\n",
     2, 2, OPTION_DEFINITIONS, NULL, run_definitions, check_definitions},
    {.name = NULL},
};
