// stage_definitions.c: definitions files of the configuration, imported before the listeners open.
//
// The HTTP member does it; the main thread waits. A file that is refused ends the start: a broker without its users, limits and queues is not
// what was asked for.
#include <semaphore.h>

#include "src/base/mem.h"
#include "src/management/definitions_boot.h"
#include "src/management/http_server.h"
#include "src/stages.h"

static sem_t ended;
static char *boot_problem; // heap; written by the HTTP member before `ended`
static bool is_asked;      // main thread

static void
boot_done(char *text)
{
    boot_problem = text;
    sem_post(&ended);
}

static int
definitions_start(struct daemon *d, struct buf *problem)
{
    const struct config *c = d->config;
    is_asked = c->load_definitions[0] != '\0';
    if (!is_asked)
        return 0;
    sem_init(&ended, 0, 0);
    // Its strings live until `run` has waited: no reload comes before that.
    struct definitions_boot_args args = {.path = c->load_definitions,
                                         .data_dir = c->data_dir,
                                         .is_skipped_if_unchanged = c->is_definitions_skipped_if_unchanged,
                                         .rule = stages_password_rule(),
                                         .done = boot_done};
    definitions_boot_start(crew_extra_member(d->crew, CREW_HTTP), stage_management_definitions(), &args);
    return 0;
}

static int
definitions_run(struct daemon *d, struct buf *problem)
{
    if (!is_asked)
        return 0;
    while (sem_wait(&ended) != 0) {
    }
    if (boot_problem == NULL)
        return 0;
    buf_append_str(problem, boot_problem);
    mem_free(boot_problem);
    boot_problem = NULL;
    return DAEMON_CONFIG;
}

const struct daemon_stage stage_definitions = {
    .name = "definitions", .start = definitions_start, .run = definitions_run};
