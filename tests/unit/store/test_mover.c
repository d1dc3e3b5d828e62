// test_mover.c: jobs of two workers on the real threads and a real file system: each comes back once, on its port, write jobs in order;
// reads are answered from blocks, records and what is not there; stopping finishes what was submitted.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>
#include <pthread.h>

#include "src/base/err.h"
#include "src/base/mem.h"
#include "src/store/mover.h"

enum { WORKERS = 2, ROUNDS = 40, PER_ROUND = 20, BODY = 300 };

struct worker_side {
    struct mover_port *port;
    uint64_t queue;
    struct backlog picture;
    pthread_mutex_t lock;
    pthread_cond_t is_woken;
    bool wake;
    unsigned done;    // jobs that came back
    unsigned last_no; // of the write jobs
    uint64_t read;    // messages seen
    uint8_t body[BODY];
};

struct job {
    struct mover_job j;
    struct worker_side *side;
    unsigned no; // of the write jobs
    struct backlog_item items[PER_ROUND];
    struct msglog_content content;
    struct mover_read reads[PER_ROUND];
};

static void
side_wake(void *ctx)
{
    struct worker_side *s = ctx;
    pthread_mutex_lock(&s->lock);
    s->wake = true;
    pthread_cond_signal(&s->is_woken);
    pthread_mutex_unlock(&s->lock);
}

static void
wait_for(struct worker_side *s, unsigned done)
{
    while (s->done < done) {
        pthread_mutex_lock(&s->lock);
        while (!s->wake)
            pthread_cond_wait(&s->is_woken, &s->lock);
        s->wake = false;
        pthread_mutex_unlock(&s->lock);
        (void)mover_port_poll(s->port);
    }
}

static struct job *
job_new(struct worker_side *s, enum mover_kind kind, void (*done)(struct mover_job *j))
{
    struct job *job = mem_xcalloc(1, sizeof(*job));
    job->j.kind = (uint8_t)kind;
    job->j.queue = s->queue;
    job->j.done = done;
    job->side = s;
    return job;
}

static void
in_order(struct job *job)
{
    if (job->no != ++job->side->last_no)
        abort();
    job->side->done++;
}

static void
append_done(struct mover_job *j)
{
    struct job *job = (struct job *)j;
    struct backlog_wait wait = {PER_ROUND, PER_ROUND * BODY, PER_ROUND};
    in_order(job);
    if (j->result != 0 || backlog_appended(&job->side->picture, j->append.blocks, j->append.block_count,
                                           job->items[0].seq, &wait) != 0)
        abort();
    mem_free(j->append.blocks);
    mem_free(job);
}

static void
plain_done(struct mover_job *j)
{
    struct job *job = (struct job *)j;
    in_order(job);
    if (j->result != 0)
        abort();
    if (j->kind == MOVER_STATE)
        mem_free(j->state.ends);
    mem_free(job);
}

static void
block_done(struct mover_job *j)
{
    struct job *job = (struct job *)j;
    struct backlog_record r;
    uint32_t at = 0;
    job->side->done++;
    if (j->result != 0)
        abort();
    while (backlog_block_next(j->block.bytes, &j->block.block, &at, &r) == 1)
        job->side->read += memcmp(r.content.bytes, job->side->body, BODY) == 0;
    mem_free(j->block.bytes);
    mem_free(job);
}

static void
read_done(struct mover_job *j)
{
    struct job *job = (struct job *)j;
    job->side->done++;
    for (size_t i = 0; i < j->reads.count; i++) {
        struct mover_read *r = &j->reads.items[i];
        if (r->result != (i == 3 ? -LE_NOTFOUND : i == 5 ? -LE_CORRUPT : 0))
            abort();
        if (r->result == 0 && memcmp(r->record.content.bytes, job->side->body, BODY) == 0)
            job->side->read++;
        if (r->result == 0)
            mem_free(r->record.buffer);
    }
    mem_free(job);
}

static void
submit_reads(struct worker_side *s, const struct msglog_place *places)
{
    struct job *job = job_new(s, MOVER_READ, read_done);
    job->j.reads.items = job->reads;
    job->j.reads.count = PER_ROUND;
    for (int i = 0; i < PER_ROUND; i++) {
        job->reads[i].place = places[i];
        job->reads[i].is_from_backlog = i != 3; // there is no log
        job->reads[i].place.offset += i == 5 ? 8 : 0;
    }
    mover_submit(s->port, &job->j);
}

static void *
side_run(void *arg)
{
    struct worker_side *s = arg;
    unsigned submitted = 0, no = 0;
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct job *job = job_new(s, MOVER_APPEND, append_done);
        struct msglog_place places[PER_ROUND];
        struct backlog_append *a = &job->j.append;
        *a = (struct backlog_append){
            .queue = s->queue, .items = job->items, .count = PER_ROUND, .kind = BACKLOG_CHAIN};
        if (backlog_begin_append(&s->picture, a) != 0)
            abort();
        job->content = (struct msglog_content){.flags = 1, .body_bytes = BODY, .bytes = s->body};
        for (unsigned i = 0; i < PER_ROUND; i++) {
            job->items[i] = (struct backlog_item){.seq = round * PER_ROUND + i + 1, .content = &job->content};
            // Where they will be: the records have one size, and make one block.
            places[i] = (struct msglog_place){
                .file = a->file, .offset = a->offset + 512 + i * 408, .len = 16 + 56 + 32 + BODY};
        }
        job->no = ++no;
        mover_submit(s->port, &job->j);
        if (round % 8 == 5) { // write jobs behind it
            struct job *state = job_new(s, MOVER_STATE, plain_done);
            state->no = ++no;
            if (backlog_snapshot(&s->picture, &state->j.state) != 0)
                abort();
            mover_submit(s->port, &state->j);
            struct job *unneeded = job_new(s, MOVER_UNLINK, plain_done);
            unneeded->no = ++no;
            unneeded->j.file = 4000000;
            mover_submit(s->port, &unneeded->j);
            submitted += 2;
        }
        wait_for(s, ++submitted);
        submit_reads(s, places);
        submitted++;
        struct job *block = job_new(s, MOVER_BLOCK, block_done);
        block->j.block.block = s->picture.chain[s->picture.end - 1];
        mover_submit(s->port, &block->j);
        submitted++;
    }
    wait_for(s, submitted);
    struct job *remove = job_new(s, MOVER_REMOVE, plain_done);
    remove->no = ++no;
    mover_submit(s->port, &remove->j);
    return NULL; // it is polled after the stop
}

static void
test_two_workers(void **state)
{
    char dir[] = "/tmp/leveret-mover-XXXXXX", path[64];
    struct worker_side *sides = mem_xcalloc(WORKERS, sizeof(*sides));
    pthread_t threads[WORKERS];
    assert_non_null(mkdtemp(dir));
    assert_int_equal(backlog_prepare_dirs(io_system(), dir), 0);
    struct mover_config config = {.io = io_system(), .data_dir = dir, .port_count = WORKERS};
    struct mover *m = mover_new(&config);
    for (unsigned i = 0; i < WORKERS; i++) {
        struct worker_side *s = &sides[i];
        s->queue = i + 1;
        memset(s->body, (int)i + 1, BODY);
        backlog_init(&s->picture);
        pthread_mutex_init(&s->lock, NULL);
        pthread_cond_init(&s->is_woken, NULL);
        s->port = mover_port_new(m, side_wake, s);
    }
    assert_int_equal(mover_start(m), 0);
    for (unsigned i = 0; i < WORKERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, side_run, &sides[i]), 0);
    for (unsigned i = 0; i < WORKERS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    mover_stop(m);
    for (unsigned i = 0; i < WORKERS; i++) {
        struct worker_side *s = &sides[i];
        assert_int_equal(mover_port_open(s->port), 1);
        assert_int_equal(mover_port_poll(s->port), 1);
        assert_int_equal(mover_port_open(s->port), 0);
        assert_int_equal(s->read, ROUNDS * (PER_ROUND + PER_ROUND - 2));
        assert_int_equal(s->picture.count, ROUNDS * PER_ROUND);
        backlog_fini(&s->picture);
    }
    mover_free(m);
    mem_free(sides);
    snprintf(path, sizeof path, "%s/queues", dir); // the queues' folders were removed
    assert_int_equal(rmdir(path), 0);
    snprintf(path, sizeof path, "%s/transient", dir);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(rmdir(dir), 0);
}

static void
count_done(struct mover_job *j)
{
    ++*(unsigned *)j->ctx;
    assert_int_equal(j->result, j->kind == MOVER_UNLINK ? 0 : -LE_NOTFOUND);
}

static void
no_wake(void *ctx)
{
}

static void
test_step_by_step(void **state)
{
    char dir[] = "/tmp/leveret-mover-XXXXXX";
    unsigned count = 0;
    assert_non_null(mkdtemp(dir));
    struct mover_config config = {.io = io_system(), .data_dir = dir, .port_count = 1};
    struct mover *m = mover_new(&config);
    struct mover_port *p = mover_port_new(m, no_wake, NULL);
    struct mover_job jobs[2] = {
        {.kind = MOVER_UNLINK, .queue = 1, .file = 1, .done = count_done, .ctx = &count},
        {.kind = MOVER_BLOCK,
         .queue = 1,
         .done = count_done,
         .ctx = &count,
         .block.block = {.file = 1, .bytes = 1024}}};
    mover_submit(p, &jobs[0]);
    mover_submit(p, &jobs[1]);
    assert_int_equal(mover_port_poll(p), 0);
    assert_int_equal(mover_step(m), 2);
    assert_int_equal(mover_step(m), 0);
    assert_int_equal(mover_port_poll(p), 2);
    assert_int_equal(count, 2);
    mover_free(m);
    mover_free(NULL);
    assert_int_equal(rmdir(dir), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_two_workers),
        cmocka_unit_test(test_step_by_step),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
