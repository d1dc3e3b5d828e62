// perf_verify.c: the command `verify`: its options.
#include "src/cli/perf_verify.h"

static const struct verify_config defaults = {
    .common = PERF_COMMON_DEFAULTS,
    .log = "leveret-verify.log",
    .producers = 2,
    .queues = 2,
    .queue_pattern = "leveret-verify-%d",
    .size = 200,
    .rate = 2000,
    .confirm = 200,
    .duration_s = 10,
    .wait_s = 30,
};

#define AT(member) offsetof(struct verify_config, member)

static const struct perf_option options[] = {
    PERF_COMMON_OPTIONS(struct verify_config),
    {OPTION_HEADING, 0, "Which step", 0, NULL, NULL, 0, 0},
    {OPTION_FLAG, 0, "check", AT(is_check), NULL,
     "The second step: take everything out of the queues and compare it with the log. Status 1 when "
     "something is wrong.",
     0, 0},
    {OPTION_TEXT, 'l', "log", AT(log), "FILE",
     "Where the first step writes what was sent and confirmed. What was received goes to FILE.received.", 0,
     0},
    {OPTION_HEADING, 0, "Publishing", 0, NULL, NULL, 0, 0},
    {OPTION_COUNT, 'x', "producers", AT(producers), "N", "Connections that publish.", 1, VERIFY_CLIENTS_MAX},
    {OPTION_COUNT, 0, "queues", AT(queues), "N",
     "Durable queues, over which each producer's messages go round.", 1, VERIFY_CLIENTS_MAX},
    {OPTION_TEXT, 0, "queue-pattern", AT(queue_pattern), "NAME",
     "Their names; %d is the number. They are DELETED before, and after the check.", 0, 0},
    {OPTION_FLAG, 0, "quorum", AT(is_quorum), NULL, "Quorum queues.", 0, 0},
    {OPTION_FLAG, 0, "transient", AT(is_transient), NULL,
     "Transient queues and messages: for trying this out, or for what must survive only as long as the "
     "broker runs.",
     0, 0},
    {OPTION_ARGS, 0, "queue-args", AT(queue_args), "K=V,...", "Arguments of the declares.", 0, 0},
    {OPTION_SIZE, 's', "size", AT(size), "BYTES", "Of each body.", VERIFY_BODY_MIN, 16 << 20},
    {OPTION_RATE, 'r', "rate", AT(rate), "PER_S",
     "Messages a second of each producer; 0 is as fast as it goes.", 0, 0},
    {OPTION_COUNT, 'c', "confirm", AT(confirm), "N", "Unconfirmed messages of a producer, at most.", 1,
     1000000},
    {OPTION_SECONDS, 'z', "duration", AT(duration_s), "TIME", "How long to publish.", 0.1, 31536000},
    {OPTION_COUNT, 'C', "messages", AT(messages), "N", "Instead: so many of each producer.", 0, 0},
    {OPTION_FLAG, 0, "consume-live", AT(is_consume_live), NULL,
     "Consume meanwhile too, with acknowledgements; the check then looks for the rest.", 0, 0},
    {OPTION_HEADING, 0, "Checking", 0, NULL, NULL, 0, 0},
    {OPTION_SECONDS, 0, "wait", AT(wait_s), "TIME", "How long to wait for the broker to come back.", 0,
     86400},
    {OPTION_FLAG, 0, "allow-reordering", AT(is_reorder_allowed), NULL,
     "Count what is out of order, but do not call it bad.", 0, 0},
    {OPTION_FLAG, 0, "keep", AT(is_keep), NULL, "Leave the empty queues behind.", 0, 0},
};

void
verify_received_path(const struct verify_config *c, char ret[static 4096])
{
    snprintf(ret, 4096, "%s.received", c->log);
}

static int
run(const void *config)
{
    const struct verify_config *c = config;
    if (strlen(c->log) > 4000 || strlen(c->queue_pattern) > 240 || strchr(c->queue_pattern, '\n') != NULL) {
        perf_complain("the log's or the queues' name cannot be used");
        return PERF_USAGE;
    }
    return c->is_check ? verify_check(c) : verify_publish(c);
}

const struct perf_command perf_command_verify = {
    .name = "verify",
    .summary = "crash test: is every confirmed message still there?",
    .about = "The first step publishes numbered messages with confirms and logs what was confirmed; "
             "meanwhile kill the broker,\n"
             "its machine or its network as you like: the producers come back by themselves. The second "
             "step, --check,\n"
             "empties the queues and looks for all of it:\n\n"
             "  lost           confirmed, and not there                                   bad\n"
             "  duplicated     came twice: allowed when the broker marked it redelivered  bad otherwise\n"
             "  corrupted      another checksum than was sent                             bad\n"
             "  unexpected     never sent in this run, or in the wrong queue              bad\n"
             "  out of order   behind a later message of its producer in the same queue   bad\n\n"
             "A message without a confirm may be there or not. What a producer was waiting for when its "
             "connection broke is\n"
             "not sent again, so every duplicate is the broker's. The log is written with write(2): it "
             "survives a crash of\n"
             "the broker, not of the machine that this program runs on.",
    .examples =
        "  leveret-perf verify -z 30 -x 4 &                       publish for 30 s\n"
        "  kill -9 $(pidof leveretd); leveretd ... &              and again, and again\n"
        "  leveret-perf verify --check                            the verdict\n"
        "  leveret-perf verify --consume-live -r 0 -u amqp://node1,amqp://node2,amqp://node3\n"
        "                                                         failover: nodes are tried in turn\n",
    .options = options,
    .option_count = LV_ARRAY_LEN(options),
    .config_size = sizeof(struct verify_config),
    .defaults = &defaults,
    .run = run,
};
