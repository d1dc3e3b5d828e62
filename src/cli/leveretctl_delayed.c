// leveretctl_delayed.c: the messages that wait at a delayed exchange: a page of them, and taking one out. Both are ours.
#include <inttypes.h>
#include <time.h>

#include "src/base/mem.h"
#include "src/cli/leveretctl.h"
#include "src/cli/leveretctl_lists.h"

enum { PAGE_SIZE = 500 };

static json_t *
due_text(struct ctl *c, const json_t *object)
{
    char seconds[32] = "";
    struct tm tm;
    int64_t ms = json_integer_value(json_object_get(object, "due"));
    time_t whole = (time_t)(ms / 1000);
    if (localtime_r(&whole, &tm) != NULL)
        strftime(seconds, sizeof seconds, "%Y-%m-%d %H:%M:%S", &tm);
    return json_sprintf("%s.%03d", seconds, (int)(ms % 1000));
}

static const struct ctl_column delayed_columns[] = {
    {"due", "due", KIND_TEXT, due_text},
    {"id", "id", KIND_NUMBER, NULL},
    {"payload_bytes", "payload_bytes", KIND_NUMBER, NULL},
    {"routing_key", "routing_key", KIND_TEXT, NULL},
    {"state", "state", KIND_TEXT, NULL},
    {NULL, NULL, KIND_TEXT, NULL},
};

static const struct ctl_listing delayed_listing = {.columns = delayed_columns,
                                                   .defaults = "id,due,state,routing_key,payload_bytes"};

static bool
is_number(const char *text)
{
    return text[0] != '\0' && strspn(text, "0123456789") == strlen(text);
}

static int
check_number(struct ctl *c)
{
    const char *text = ctl_arg(c, 1);
    if (text == NULL || is_number(text))
        return 0;
    return ctl_bad_argument(c, "'%s' is not a number", text);
}

static int
run_list(struct ctl *c)
{
    const char *exchange = ctl_arg(c, 0), *page = ctl_arg(c, 1) != NULL ? ctl_arg(c, 1) : "1";
    const char *vhost = ctl_vhost(c);
    ctl_banner(c, "Listing delayed messages of exchange \"%s\" in vhost \"%s\", page %s ...", exchange, vhost,
               page);
    if (c->options.is_dry_run)
        return CTL_OK;
    LV_CLEANUP(buf_fini) struct buf query = BUF_INIT;
    buf_printf(&query, "page=%s&page_size=%d", page, PAGE_SIZE);
    c->query = buf_cstr(&query);
    int status = ctl_call(c, "GET", NULL, "exchanges", vhost, exchange, "delayed", NULL);
    if (status != 0)
        return status;
    return c->answer.status == 200 ? ctl_list(c, json_object_get(c->answer.json, "items")) : ctl_refused(c);
}

static int
run_cancel(struct ctl *c)
{
    const char *exchange = ctl_arg(c, 0), *id = ctl_arg(c, 1), *vhost = ctl_vhost(c);
    ctl_banner(c, "Cancelling delayed message %s of exchange \"%s\" in vhost \"%s\" ...", id, exchange,
               vhost);
    if (c->options.is_dry_run)
        return CTL_OK;
    return ctl_finish(c, ctl_call(c, "DELETE", NULL, "exchanges", vhost, exchange, "delayed", id, NULL));
}

const struct ctl_command ctl_commands_delayed[] = {
    {"list_delayed_messages", GROUP_QUEUES, "[--vhost <vhost>] <exchange> [<page>]",
     "Lists messages that wait for their time at a delayed exchange",
     "<exchange>\n\tname of the exchange\n\n<page>\n\twhich 500 of them, in the order of their publishes "
     "[1]\n\n",
     1, 2, 0, &delayed_listing, run_list, check_number},
    {"cancel_delayed_message", GROUP_QUEUES, "[--vhost <vhost>] <exchange> <id>",
     "Takes a message that waits for its time at a delayed exchange out of it, for good",
     "<exchange>\n\tname of the exchange\n\n<id>\n\tof the message, as list_delayed_messages shows it\n\n", 2,
     2, 0, NULL, run_cancel, check_number},
    {.name = NULL},
};
