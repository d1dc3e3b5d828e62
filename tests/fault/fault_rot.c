// fault_rot.c: P4: bit rot: every bit of a region, random flips, records swapped, stale copies of a block.
//
//     fault_rot [step] [random rounds] [seed]       every step-th bit of the first 8 KiB of the newest segment and of a sealed one
//
// The log starts. A message whose record is damaged is detected, and reported, or gone with a report; it never comes with other
// content. A message whose record and group header are whole is there. Status 1 at the first failure.
#include <stdio.h>
#include <stdlib.h>

#include "src/base/err.h"
#include "src/base/mem.h"
#include "tests/fault/store_fixture.h"

enum { SEGMENT = 64 * 1024, REGION = 8 * 1024, BLOCK = 4096 };

struct span { // of a file: bytes from, to
    uint64_t generation, from, to;
};

static struct fixture_verdict v;
static uint64_t starts, detected, lost;

static bool
overlaps(const struct span *s, uint64_t generation, uint64_t from, uint64_t to)
{
    return s->generation == generation && s->from < to && from < s->to;
}

// What may be lost with these bytes: the record they lie in; those behind its header in the group, as nothing tells any more where they
// begin; and the group with its header.
static bool
may_be_lost(const struct fixture *f, const struct fixture_message *m, const struct span *s)
{
    if (overlaps(s, m->generation, m->group_at, m->group_at + GROUP_HEADER_BYTES))
        return true;
    if (overlaps(s, m->generation, m->at, m->end))
        return true;
    for (size_t i = 0; i < f->message_count; i++) { // a record header before it in the group
        const struct fixture_message *o = &f->messages[i];
        if (o->group_number == m->group_number && o->at < m->at &&
            overlaps(s, m->generation, o->at, o->at + RECORD_HEADER_BYTES))
            return true;
    }
    return false;
}

// An ack that may be lost brings its message back. Its record is somewhere in the group: the group tells.
static bool
may_come_back(const struct fixture *f, const struct fixture_message *m, const struct span *s)
{
    for (size_t i = 0; i < f->message_count; i++)
        if (f->messages[i].group_number == m->acked_in_group)
            return overlaps(s, f->messages[i].generation, f->messages[i].group_at, f->messages[i].group_end);
    return true;
}

// Something that is left says that the group had been durable: a later header. Without it a damaged group looks torn, and goes as a whole.
static bool
is_known(const struct fixture *f, const struct fixture_message *m, const struct span *spans, size_t count)
{
    for (size_t i = 0; i < f->message_count; i++) {
        const struct fixture_message *o = &f->messages[i];
        bool is_hit = o->group_number <= m->group_number;
        for (size_t k = 0; k < count && !is_hit; k++)
            is_hit = overlaps(&spans[k], o->generation, o->group_at, o->group_at + GROUP_HEADER_BYTES);
        if (!is_hit)
            return true;
    }
    return false;
}

static const char *
check(const struct fixture *f, const struct span *spans, size_t count)
{
    bool is_any_gone = false;
    if (v.error != 0)
        return "the log does not start";
    if (v.wrong != NULL)
        return v.wrong;
    for (size_t i = 0; i < f->message_count; i++) {
        const struct fixture_message *m = &f->messages[i];
        bool may_go = false, may_come = false, is_group_known = is_known(f, m, spans, count);
        for (size_t k = 0; k < count; k++) {
            may_go |= may_be_lost(f, m, &spans[k]) ||
                      (!is_group_known && overlaps(&spans[k], m->generation, m->group_at, m->group_end));
            may_come |= m->is_acked && may_come_back(f, m, &spans[k]);
        }
        if (m->is_acked ? v.fates[i] == FATE_KEPT && !may_come : v.fates[i] != FATE_KEPT && !may_go)
            return m->is_acked ? "an acknowledged message came back" : "a message that is whole is lost";
        lost += !m->is_acked && v.fates[i] == FATE_LOST;
        is_any_gone |= !m->is_acked && v.fates[i] == FATE_LOST && is_group_known;
    }
    if (is_any_gone && v.report.bad_spots == 0)
        return "a message is gone, and nothing is reported";
    detected += v.detected;
    return NULL;
}

static int
judge(const struct fixture *f, struct powercut *p, const struct span *spans, size_t count, const char *what)
{
    fixture_judge(f, p, &v);
    powercut_free(p);
    starts++;
    const char *problem = check(f, spans, count);
    if (problem == NULL)
        return 0;
    printf("%s, generation %llu, bytes %llu to %llu: %s (%s; kept %llu, lost %llu, detected %llu, bad spots "
           "%llu)\n",
           what, (unsigned long long)spans[0].generation, (unsigned long long)spans[0].from,
           (unsigned long long)spans[0].to, problem, err_text(v.error), (unsigned long long)v.kept,
           (unsigned long long)v.lost, (unsigned long long)v.detected,
           (unsigned long long)v.report.bad_spots);
    return 1;
}

static void
rot(struct powercut *p, const struct fixture_file *file, uint64_t at, uint8_t mask)
{
    char path[64];
    snprintf(path, sizeof path, "/d/log/%s", file->name);
    if (!powercut_rot(p, path, at, mask))
        abort();
}

static int
each_bit(const struct fixture *f, const struct fixture_file *file, uint64_t step)
{
    for (uint64_t bit = 0; bit < REGION * 8; bit += step) {
        struct powercut *p = fixture_disk(f, bit);
        struct span s = {file->generation, bit / 8, bit / 8 + 1};
        rot(p, file, s.from, (uint8_t)(1u << (bit % 8)));
        if (judge(f, p, &s, 1, "one bit") != 0)
            return 1;
    }
    return 0;
}

static int
random_flips(const struct fixture *f, struct rng *r, uint64_t rounds)
{
    for (uint64_t n = 0; n < rounds; n++) {
        struct powercut *p = fixture_disk(f, n);
        struct span spans[8];
        size_t count = 1 + rng_below(r, LV_ARRAY_LEN(spans));
        for (size_t i = 0; i < count; i++) {
            const struct fixture_file *file;
            do
                file = &f->files[rng_below(r, f->file_count)];
            while (file->generation == 0);
            uint64_t at = rng_below(r, file->size);
            spans[i] = (struct span){file->generation, at, at + 1};
            rot(p, file, at, (uint8_t)(1 + rng_below(r, 255)));
        }
        if (judge(f, p, spans, count, "random bytes") != 0)
            return 1;
    }
    return 0;
}

static void
overwrite(struct powercut *p, const struct fixture_file *file, uint64_t at, const uint8_t *bytes,
          uint64_t len)
{
    const struct io *io = powercut_io(p);
    struct iovec part = {(uint8_t *)(uintptr_t)bytes, len};
    char path[64];
    int fd;
    snprintf(path, sizeof path, "/d/log/%s", file->name);
    if (io->open(io->ctx, path, IO_WRITE, &fd) != 0 || io_write_all(io, fd, &part, 1, at) != 0 ||
        io->fsync(io->ctx, fd) != 0 || io->close(io->ctx, fd) != 0)
        abort();
}

// Two records of one group of the same length change places: each would be whole where the other was.
static int
swapped_records(const struct fixture *f)
{
    for (size_t i = 1; i < f->message_count; i++) {
        const struct fixture_message *a = &f->messages[i - 1], *b = &f->messages[i];
        uint64_t len = LV_MIN(a->end - a->at, b->end - b->at);
        if (a->generation != b->generation || a->group_number == f->last_group ||
            b->group_number == f->last_group)
            continue;
        const struct fixture_file *file = NULL;
        for (size_t k = 0; k < f->file_count; k++)
            if (f->files[k].generation == a->generation)
                file = &f->files[k];
        struct powercut *p = fixture_disk(f, i);
        struct span spans[2] = {{a->generation, a->at, a->at + len}, {b->generation, b->at, b->at + len}};
        overwrite(p, file, a->at, file->bytes + b->at, len);
        overwrite(p, file, b->at, file->bytes + a->at, len);
        if (judge(f, p, spans, 2, "records swapped") != 0)
            return 1;
    }
    return 0;
}

// A block comes back as it was in another place, or in another use of a file: a misdirected or a lost write.
static int
stale_blocks(const struct fixture *f, struct rng *r, uint64_t rounds)
{
    for (uint64_t n = 0; n < rounds; n++) {
        const struct fixture_file *to, *from;
        do
            to = &f->files[rng_below(r, f->file_count)];
        while (to->generation == 0);
        do
            from = &f->files[rng_below(r, f->file_count)];
        while (from->generation == 0);
        uint64_t at = rng_below(r, to->size / BLOCK) * BLOCK;
        uint64_t other = rng_below(r, 2) == 0 ? at : rng_below(r, from->size / BLOCK) * BLOCK;
        if (at == 0 && other == 0)
            continue; // the header of another segment, whole: that file then is that segment, twice
        static const uint8_t zeros[BLOCK];
        bool is_zero = rng_below(r, 3) == 0; // a write that never happened
        struct span s = {to->generation, at, at + BLOCK};
        struct powercut *p = fixture_disk(f, n);
        overwrite(p, to, at, is_zero ? zeros : from->bytes + other, BLOCK);
        if (judge(f, p, &s, 1, is_zero ? "block zeroed" : "stale block") != 0)
            return 1;
    }
    return 0;
}

int
main(int argc, char **argv)
{
    uint64_t step = argc > 1 ? strtoull(argv[1], NULL, 10) : 1,
             rounds = argc > 2 ? strtoull(argv[2], NULL, 10) : 1000,
             seed = argc > 3 ? strtoull(argv[3], NULL, 10) : 1;
#ifdef LV_PLANTED_BUGS
    msglog_planted_bugs = argc > 4 ? (unsigned)strtoul(argv[4], NULL, 0) : 0;
#endif
    struct fixture *f = fixture_new(seed, SEGMENT, 120);
    struct rng r;
    rng_init(&r, seed);
    step = LV_MAX(step, (uint64_t)1);
    int status = each_bit(f, fixture_newest(f), step);
    if (status == 0)
        status = each_bit(f, fixture_by_generation(f, 1), step);
    if (status == 0)
        status = random_flips(f, &r, rounds);
    if (status == 0)
        status = swapped_records(f);
    if (status == 0)
        status = stale_blocks(f, &r, rounds);
    printf("%llu starts on rotten files, %llu messages lost with their record, %llu detected when read\n",
           (unsigned long long)starts, (unsigned long long)lost, (unsigned long long)detected);
    fixture_free(f);
    return status;
}
