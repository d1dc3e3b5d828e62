// perf_verify_log.c: the logs. One fact a line, readable and greppable:
//
//   leveret-perf verify 1            head, of a run's log only
//   run 1f2e3d4c5b6a7988
//   producers 4
//   queues 2
//   pattern leveret-verify-%d
//   s 0 1000                         producer 0 has sent nothing above 1000
//   c 0 1 17                         its messages 1 to 17 are confirmed
//   n 0 18 18                        18 was refused
//   r 1 0 1 9 new                    queue 1 delivered 1 to 9 of producer 0 (new | again: marked redelivered)
//   x 1                              queue 1 delivered something damaged
//   u 1                              queue 1 delivered something that is not of this run
//   drain                            from here on received by --check
#include <errno.h>
#include <inttypes.h>
#include <unistd.h>

#include "src/base/err.h"
#include "src/cli/perf_verify.h"

static const char title[] = "leveret-perf verify 1";

static int
open_log(struct verify_log *log, const char *path, const char *mode)
{
    log->file = fopen(path, mode);
    if (log->file == NULL) {
        perf_complain("%s: %s", path, strerror(errno));
        return err_from_errno(errno);
    }
    pthread_mutex_init(&log->lock, NULL);
    return 0;
}

int
verify_log_create(struct verify_log *log, const char *path, const struct verify_head *head)
{
    int rc = open_log(log, path, "we");
    if (rc < 0)
        return rc;
    fprintf(log->file, "%s\nrun %016" PRIx64 "\nproducers %u\nqueues %u\npattern %s\n", title, head->run,
            head->producers, head->queues, head->pattern);
    fflush(log->file);
    return 0;
}

// A line that the last writer could not finish is ended, so that the next one is whole.
int
verify_log_append_to(struct verify_log *log, const char *path)
{
    bool is_cut = false;
    int rc = open_log(log, path, "a+e");
    if (rc < 0)
        return rc;
    if (fseek(log->file, -1, SEEK_END) == 0 && fgetc(log->file) != '\n')
        is_cut = true;
    // Between reading and writing C wants a move.
    if (fseek(log->file, 0, SEEK_END) == 0 && is_cut)
        fputc('\n', log->file);
    return 0;
}

static void
write_fact(FILE *file, const struct verify_fact *f)
{
    switch (f->kind) {
    case FACT_SENT: fprintf(file, "s %u %" PRIu64 "\n", f->producer, f->last); break;
    case FACT_CONFIRMED:
        fprintf(file, "c %u %" PRIu64 " %" PRIu64 "\n", f->producer, f->first, f->last);
        break;
    case FACT_NACKED: fprintf(file, "n %u %" PRIu64 " %" PRIu64 "\n", f->producer, f->first, f->last); break;
    case FACT_RECEIVED:
        fprintf(file, "r %u %u %" PRIu64 " %" PRIu64 " %s\n", f->queue, f->producer, f->first, f->last,
                f->is_redelivered ? "again" : "new");
        break;
    case FACT_CORRUPTED: fprintf(file, "x %u\n", f->queue); break;
    case FACT_UNEXPECTED: fprintf(file, "u %u\n", f->queue); break;
    case FACT_DRAIN: fputs("drain\n", file); break;
    }
}

void
verify_log_write(struct verify_log *log, const struct verify_fact *facts, size_t count)
{
    pthread_mutex_lock(&log->lock);
    for (size_t i = 0; i < count; i++)
        write_fact(log->file, &facts[i]);
    if (fflush(log->file) != 0)
        perf_complain("the log cannot be written: %s", strerror(errno));
    pthread_mutex_unlock(&log->lock);
}

void
verify_log_close(struct verify_log *log)
{
    if (log->file == NULL)
        return;
    fclose(log->file);
    log->file = NULL;
    pthread_mutex_destroy(&log->lock);
}

// NOLINTBEGIN(cert-err34-c): lines this program wrote; what a number too large becomes does not match the other side's.

static bool
parse_fact(const char *line, struct verify_fact *f)
{
    char word[8], extra;
    *f = (struct verify_fact){0};
    if (sscanf(line, "s %u %" SCNu64 " %c", &f->producer, &f->last, &extra) == 2) {
        f->kind = FACT_SENT;
    } else if (sscanf(line, "c %u %" SCNu64 " %" SCNu64 " %c", &f->producer, &f->first, &f->last, &extra) ==
               3) {
        f->kind = FACT_CONFIRMED;
    } else if (sscanf(line, "n %u %" SCNu64 " %" SCNu64 " %c", &f->producer, &f->first, &f->last, &extra) ==
               3) {
        f->kind = FACT_NACKED;
    } else if (sscanf(line, "r %u %u %" SCNu64 " %" SCNu64 " %7s %c", &f->queue, &f->producer, &f->first,
                      &f->last, word, &extra) == 5) {
        f->kind = FACT_RECEIVED;
        f->is_redelivered = strcmp(word, "again") == 0;
        return f->is_redelivered || strcmp(word, "new") == 0;
    } else if (sscanf(line, "x %u %c", &f->queue, &extra) == 1) {
        f->kind = FACT_CORRUPTED;
    } else if (sscanf(line, "u %u %c", &f->queue, &extra) == 1) {
        f->kind = FACT_UNEXPECTED;
    } else if (strcmp(line, "drain") == 0) {
        f->kind = FACT_DRAIN;
    } else {
        return false;
    }
    return true;
}

// Lines 1 to 5 of a run's log.
static bool
parse_head(const char *line, uint64_t number, struct verify_head *head)
{
    switch (number) {
    case 1: return strcmp(line, title) == 0;
    case 2: return sscanf(line, "run %" SCNx64, &head->run) == 1;
    case 3:
        return sscanf(line, "producers %u", &head->producers) == 1 && head->producers <= VERIFY_CLIENTS_MAX;
    case 4:
        return sscanf(line, "queues %u", &head->queues) == 1 && head->queues > 0 &&
               head->queues <= VERIFY_CLIENTS_MAX;
    default: return sscanf(line, "pattern %255[^\n]", head->pattern) == 1;
    }
}

// NOLINTEND(cert-err34-c)

int
verify_log_read(const char *path, struct verify_head *head, verify_fact_fn fact, void *ctx,
                uint64_t *ret_line)
{
    enum { HEAD_LINES = 5 };
    char line[512];
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return errno == ENOENT ? -LE_NOTFOUND : err_from_errno(errno);
    int rc = 0;
    uint64_t number = 0;
    while (rc == 0 && fgets(line, sizeof line, file) != NULL) {
        size_t len = strlen(line);
        number++;
        if (len == 0 || line[len - 1] != '\n') {
            rc = feof(file) ? 0 : -LE_SYNTAX; // what was being written at the end
            break;
        }
        line[len - 1] = '\0';
        struct verify_fact f;
        if (head != NULL && number <= HEAD_LINES)
            rc = parse_head(line, number, head) ? 0 : -LE_SYNTAX;
        else if (line[0] != '\0')
            rc = parse_fact(line, &f) ? fact(ctx, &f) : -LE_SYNTAX;
    }
    if (rc == 0 && head != NULL && number < HEAD_LINES)
        rc = -LE_SYNTAX;
    fclose(file);
    *ret_line = number;
    return rc;
}
