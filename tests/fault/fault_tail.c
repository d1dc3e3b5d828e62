// fault_tail.c: P3: the newest segment is cut, zeroed or filled with garbage from a byte on; and files that are empty, gone or too many.
//
//     fault_tail [first offset] [step] [seed]       every step-th offset of a 64 KiB segment, three ways each
//
// Whatever is damaged, the log starts. Every message whose group lies before the damage is there with its content, everything behind it is
// not, or is detected; nothing else is there; a message that is published afterwards is kept. Status 1 at the first failure.
#include <stdio.h>
#include <stdlib.h>

#include "src/base/err.h"
#include "src/base/mem.h"
#include "tests/fault/store_fixture.h"

enum { SEGMENT = 64 * 1024 };
enum way { CUT, ZEROS, GARBAGE, WAYS };
static const char *const way_names[WAYS] = {"cut", "zeroed", "filled with garbage"};

static struct fixture_verdict v;
static uint64_t starts;

static void
path_of(const struct fixture_file *file, char to[64])
{
    snprintf(to, 64, "/d/log/%s", file->name);
}

static void
damage(struct powercut *p, const struct fixture_file *file, uint64_t from, enum way way, uint64_t seed)
{
    const struct io *io = powercut_io(p);
    struct rng r;
    char path[64];
    int fd;
    path_of(file, path);
    if (io->open(io->ctx, path, IO_WRITE, &fd) != 0 || io->truncate(io->ctx, fd, from) != 0)
        abort();
    if (way == ZEROS && io->truncate(io->ctx, fd, file->size) != 0)
        abort();
    if (way == GARBAGE && from < file->size) {
        static uint8_t junk[SEGMENT];
        struct iovec part = {junk, file->size - from};
        rng_init(&r, seed ^ from);
        for (uint64_t i = from; i < file->size; i++) // never the byte that was there
            junk[i - from] = file->bytes[i] ^ (uint8_t)(1 + rng_below(&r, 255));
        if (io_write_all(io, fd, &part, 1, from) != 0)
            abort();
    }
    if (io->fsync(io->ctx, fd) != 0 || io->close(io->ctx, fd) != 0)
        abort();
}

// The first byte that is another one, or is not there.
static uint64_t
first_changed(const struct fixture_file *file, uint64_t from, enum way way)
{
    while (way == ZEROS && from < file->size && file->bytes[from] == 0)
        from++;
    return from;
}

static const char *
check(const struct fixture *f, const struct fixture_file *file, uint64_t changed, bool is_cut)
{
    if (v.error != 0)
        return "the log does not start";
    if (v.wrong != NULL)
        return v.wrong;
    for (size_t i = 0; i < f->message_count; i++) {
        const struct fixture_message *m = &f->messages[i];
        bool is_hit = m->generation == file->generation && m->group_end > changed;
        bool is_touched =
            m->generation == file->generation && m->padded_end > changed; // padding alone: either
        // An ack that was cut off brings the message back.
        bool is_ack_safe = true;
        for (size_t k = 0; k < f->message_count && m->is_acked; k++)
            if (f->messages[k].group_number == m->acked_in_group)
                is_ack_safe =
                    f->messages[k].generation != file->generation || f->messages[k].padded_end <= changed;
        if (m->is_acked) {
            if (is_ack_safe && v.fates[i] == FATE_KEPT)
                return "an acknowledged message came back";
        } else if (!is_touched && v.fates[i] != FATE_KEPT) {
            return "a message before the damage is lost";
        }
        if (is_hit && is_cut && v.fates[i] == FATE_KEPT)
            return "a message behind the cut is there";
    }
    return NULL;
}

static int
report(const struct fixture *f, const char *what, uint64_t at, const char *problem)
{
    if (problem == NULL)
        return 0;
    printf(
        "newest segment %s from byte %llu of %llu on: %s (start: %s, kept %llu, lost %llu, detected %llu)\n",
        what, (unsigned long long)at, (unsigned long long)f->newest_end, problem, err_text(v.error),
        (unsigned long long)v.kept, (unsigned long long)v.lost, (unsigned long long)v.detected);
    return 1;
}

static int
each_offset(struct fixture *f, uint64_t first, uint64_t step, uint64_t seed)
{
    struct fixture_file *file = fixture_newest(f);
    for (uint64_t at = first; at < SEGMENT; at += step)
        for (enum way way = CUT; way < WAYS; way++) {
            struct powercut *p = fixture_disk(f, seed);
            damage(p, file, at, way, seed);
            fixture_judge(f, p, &v);
            powercut_free(p);
            starts++;
            if (report(f, way_names[way], at, check(f, file, first_changed(file, at, way), way != GARBAGE)) !=
                0)
                return 1;
        }
    return 0;
}

// --- whole files ---

static void
make_file(struct powercut *p, const char *path, const uint8_t *bytes, uint64_t size)
{
    const struct io *io = powercut_io(p);
    struct iovec part = {(uint8_t *)(uintptr_t)bytes, size};
    int fd;
    if (io->open(io->ctx, path, IO_WRITE | IO_CREATE, &fd) != 0 ||
        (size > 0 && io_write_all(io, fd, &part, 1, 0) != 0) || io->fsync(io->ctx, fd) != 0 ||
        io->close(io->ctx, fd) != 0 || io->sync_dir(io->ctx, "/d/log") != 0)
        abort();
}

// What is not of that generation has to be there.
static const char *
check_others(const struct fixture *f, uint64_t generation)
{
    if (v.error != 0)
        return "the log does not start";
    if (v.wrong != NULL)
        return v.wrong;
    for (size_t i = 0; i < f->message_count; i++)
        if (f->messages[i].generation != generation && !f->messages[i].is_acked && v.fates[i] != FATE_KEPT)
            return "a message of another file is lost";
    return NULL;
}

static int
each_file(struct fixture *f, uint64_t seed)
{
    char path[64];
    for (size_t i = 0; i < f->file_count; i++)
        for (int is_gone = 0; is_gone < 2; is_gone++) {
            struct fixture_file *file = &f->files[i];
            struct powercut *p = fixture_disk(f, seed);
            const struct io *io = powercut_io(p);
            path_of(file, path);
            damage(p, file, 0, CUT, seed);
            if (is_gone != 0 && (io->unlink(io->ctx, path) != 0 || io->sync_dir(io->ctx, "/d/log") != 0))
                abort();
            fixture_judge(f, p, &v);
            powercut_free(p);
            starts++;
            const char *problem = check_others(f, file->generation);
            bool has_messages = false;
            for (size_t k = 0; k < f->message_count; k++)
                has_messages |= f->messages[k].generation == file->generation;
            // The newest may never have been written; any other one is known to its successor.
            if (problem == NULL && has_messages && file->generation != f->newest &&
                v.report.missing_segments + v.report.bad_spots == 0)
                problem = "nothing is reported";
            if (problem != NULL) {
                printf("segment %s (generation %llu of %llu) %s: %s; kept %llu, lost %llu, %llu missing, "
                       "%llu bad spots\n",
                       file->name, (unsigned long long)file->generation, (unsigned long long)f->newest,
                       is_gone != 0 ? "is gone" : "is empty", problem, (unsigned long long)v.kept,
                       (unsigned long long)v.lost, (unsigned long long)v.report.missing_segments,
                       (unsigned long long)v.report.bad_spots);
                return 1;
            }
        }
    return 0;
}

static int
extra_files(struct fixture *f, uint64_t seed)
{
    static uint8_t junk[SEGMENT];
    static const char *const names[] = {"/d/log/00777.seg", "/d/log/notes.txt", "/d/log/99999999999.seg",
                                        "/d/log/-1.seg",    "/d/log/.seg",      "/d/log/00000.seg.tmp",
                                        "/d/large/notes"};
    struct rng r;
    rng_init(&r, seed);
    for (size_t i = 0; i < sizeof junk; i++)
        junk[i] = (uint8_t)rng_next(&r);
    // Garbage of several sizes, and a copy of each segment under another name: the same generation twice.
    for (size_t i = 0; i < LV_ARRAY_LEN(names) * 3 + f->file_count; i++) {
        struct powercut *p = fixture_disk(f, seed);
        const char *name = i < LV_ARRAY_LEN(names) * 3 ? names[i / 3] : "/d/log/00500.seg";
        static const uint64_t sizes[] = {0, 700, SEGMENT};
        if (i < LV_ARRAY_LEN(names) * 3)
            make_file(p, name, junk, sizes[i % 3]);
        else
            make_file(p, name, f->files[i - LV_ARRAY_LEN(names) * 3].bytes,
                      f->files[i - LV_ARRAY_LEN(names) * 3].size);
        fixture_judge(f, p, &v);
        powercut_free(p);
        starts++;
        const char *problem = check_others(f, UINT64_MAX);
        if (problem != NULL) {
            printf("extra file %s (%zu): %s\n", name, i, problem);
            return 1;
        }
    }
    return 0;
}

int
main(int argc, char **argv)
{
    uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 10) : 0,
             step = argc > 2 ? strtoull(argv[2], NULL, 10) : 1,
             seed = argc > 3 ? strtoull(argv[3], NULL, 10) : 1;
#ifdef LV_PLANTED_BUGS
    msglog_planted_bugs = argc > 4 ? (unsigned)strtoul(argv[4], NULL, 0) : 0;
#endif
    struct fixture *f = fixture_new(seed, SEGMENT, 120);
    int status = each_offset(f, first, LV_MAX(step, (uint64_t)1), seed);
    if (status == 0)
        status = each_file(f, seed);
    if (status == 0)
        status = extra_files(f, seed);
    printf("%llu starts on damaged files\n", (unsigned long long)starts);
    fixture_free(f);
    return status;
}
