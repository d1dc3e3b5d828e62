// powercut.c: nodes (files and folders), each with what is seen, what is durable, and what happened in between.
//
// A file keeps for each sector written since the last sync a list of versions: the sector as it was after each of the writes. A
// cut takes one of them, the durable one, or a mixture. A folder keeps its changes in order; a cut takes a subset of them (or only a
// first part, as a journal would), and carries those out on the durable names. A rename is one change: it happened or it
// did not. Nodes live until the simulator ends: a file whose name is gone may come back with it.
#include <string.h>

#include "src/base/err.h"
#include "src/base/mem.h"
#include "src/base/rng.h"
#include "tests/sim/powercut.h"

enum { SECTOR_BYTES = 512, NAME_BYTES = 64, FAULTS_MAX = 8 };

struct version { // a sector as it was after one write
    uint64_t sector;
    uint8_t bytes[SECTOR_BYTES];
};

struct name {
    char text[NAME_BYTES];
    struct node *node;
};

struct names {
    struct name *items;
    size_t count, cap;
};

enum change_kind { CHANGE_ADD, CHANGE_REMOVE, CHANGE_RENAME };

struct change { // of a folder
    enum change_kind kind;
    char from[NAME_BYTES]; // ADD, REMOVE: the name
    char to[NAME_BYTES];   // RENAME
    struct node *node;
};

struct node {
    struct node *next; // of all
    bool is_dir;
    uint8_t *seen, *durable; // file: cap bytes each, zeros behind the size
    uint64_t cap, seen_size, durable_size;
    struct version *versions; // file: since the last sync, oldest first
    size_t version_count, version_cap;
    struct names names, durable_names; // folder
    struct change *changes;            // folder: since the last sync
    size_t change_count, change_cap;
};

struct handle {
    struct node *node; // NULL: free
    bool is_writable;
};

struct powercut {
    struct io io;
    struct rng rng;
    struct node *root, *all;
    struct handle *handles;
    size_t handle_count;
    struct powercut_fault faults[FAULTS_MAX];
    size_t fault_count;
    uint64_t capacity, used, calls;
    bool is_off;
};

static void
grow(void *items, size_t *cap, size_t count, size_t size)
{
    if (count < *cap)
        return;
    void *old;
    memcpy(&old, items, sizeof old);
    *cap = *cap == 0 ? 8 : *cap * 2;
    old = mem_xrealloc(old, *cap * size);
    memcpy(items, &old, sizeof old);
}

// --- faults ---

// Counts a call; the error it has to fail with, 1 when it has to do less than asked, or 0.
static int
begin(struct powercut *p, unsigned call)
{
    p->calls++;
    if (p->is_off)
        return -LE_IO;
    int err = 0;
    for (size_t i = 0; i < p->fault_count; i++) {
        struct powercut_fault *f = &p->faults[i];
        if ((f->calls & call) == 0)
            continue;
        if (f->at > 1) {
            f->at--;
            continue;
        }
        if (f->is_off) {
            p->is_off = true;
            return -LE_IO;
        }
        if (err == 0)
            err = f->error != 0 ? f->error : 1;
        if (f->count > 0 && --f->count == 0)
            *f = p->faults[--p->fault_count], i--;
    }
    return err;
}

void
powercut_plan(struct powercut *p, const struct powercut_fault *fault)
{
    LV_ASSERT(p->fault_count < FAULTS_MAX && fault->at > 0);
    p->faults[p->fault_count++] = *fault;
}

void
powercut_clear_plan(struct powercut *p)
{
    p->fault_count = 0;
}

// --- names ---

static struct name *
names_find(const struct names *n, const char *text)
{
    for (size_t i = 0; i < n->count; i++)
        if (strcmp(n->items[i].text, text) == 0)
            return &n->items[i];
    return NULL;
}

static void
names_remove(struct names *n, const char *text)
{
    struct name *it = names_find(n, text);
    if (it != NULL)
        *it = n->items[--n->count];
}

static void
names_set(struct names *n, const char *text, struct node *node)
{
    struct name *it = names_find(n, text);
    if (it == NULL) {
        grow(&n->items, &n->cap, n->count, sizeof(*n->items));
        it = &n->items[n->count++];
        snprintf(it->text, sizeof it->text, "%s", text);
    }
    it->node = node;
}

static void
names_apply(struct names *n, const struct change *c)
{
    const struct name *it = names_find(n, c->from);
    bool is_there = it != NULL && it->node == c->node;
    if (c->kind == CHANGE_ADD) {
        names_set(n, c->from, c->node);
    } else if (is_there) { // a change whose premise was dropped cannot happen
        names_remove(n, c->from);
        if (c->kind == CHANGE_RENAME)
            names_set(n, c->to, c->node);
    }
}

static void
names_copy(struct names *to, const struct names *from)
{
    to->count = 0;
    for (size_t i = 0; i < from->count; i++)
        names_set(to, from->items[i].text, from->items[i].node);
}

static void
dir_change(struct node *dir, enum change_kind kind, const char *from, const char *to, struct node *node)
{
    grow(&dir->changes, &dir->change_cap, dir->change_count, sizeof(*dir->changes));
    struct change *c = &dir->changes[dir->change_count++];
    c->kind = kind;
    c->node = node;
    snprintf(c->from, sizeof c->from, "%s", from);
    snprintf(c->to, sizeof c->to, "%s", to);
    names_apply(&dir->names, c);
}

// The folder of a path and the last part of its name; NULL when there is no such folder.
static struct node *
walk(struct powercut *p, const char *path, char last[NAME_BYTES])
{
    struct node *dir = p->root;
    last[0] = '\0';
    while (*path != '\0') {
        const char *end = strchrnul(path, '/');
        size_t len = (size_t)(end - path);
        LV_ASSERT(len < NAME_BYTES);
        if (len > 0) {
            if (last[0] != '\0') {
                const struct name *it = names_find(&dir->names, last);
                if (it == NULL || !it->node->is_dir)
                    return NULL;
                dir = it->node;
            }
            memcpy(last, path, len);
            last[len] = '\0';
        }
        path = *end == '/' ? end + 1 : end;
    }
    return dir;
}

static struct node *
find(struct powercut *p, const char *path)
{
    char last[NAME_BYTES];
    struct node *dir = walk(p, path, last);
    if (dir == NULL || last[0] == '\0')
        return dir;
    const struct name *it = names_find(&dir->names, last);
    return it != NULL ? it->node : NULL;
}

static struct node *
node_new(struct powercut *p, bool is_dir)
{
    struct node *n = mem_xcalloc(1, sizeof(*n));
    n->is_dir = is_dir;
    n->next = p->all;
    p->all = n;
    return n;
}

// --- files ---

static void
file_reserve(struct node *n, uint64_t size)
{
    if (size <= n->cap)
        return;
    uint64_t cap = (LV_MAX(size, n->cap * 2) + SECTOR_BYTES - 1) / SECTOR_BYTES * SECTOR_BYTES;
    n->seen = mem_xrealloc(n->seen, cap);
    n->durable = mem_xrealloc(n->durable, cap);
    memset(n->seen + n->cap, 0, cap - n->cap);
    memset(n->durable + n->cap, 0, cap - n->cap);
    n->cap = cap;
}

static int
file_resize(struct powercut *p, struct node *n, uint64_t size)
{
    if (size > n->seen_size && size - n->seen_size > p->capacity - LV_MIN(p->capacity, p->used))
        return -LE_NOSPACE;
    file_reserve(n, size);
    if (size < n->seen_size)
        memset(n->seen + size, 0, n->seen_size - size);
    p->used = p->used + size - n->seen_size;
    n->seen_size = size;
    return 0;
}

static void
file_remember(struct node *n, uint64_t offset, uint64_t len)
{
    for (uint64_t s = offset / SECTOR_BYTES; len > 0 && s <= (offset + len - 1) / SECTOR_BYTES; s++) {
        grow(&n->versions, &n->version_cap, n->version_count, sizeof(*n->versions));
        struct version *v = &n->versions[n->version_count++];
        v->sector = s;
        memcpy(v->bytes, n->seen + s * SECTOR_BYTES, SECTOR_BYTES);
    }
}

static void
file_sync(struct node *n)
{
    for (size_t i = 0; i < n->version_count; i++)
        memcpy(n->durable + n->versions[i].sector * SECTOR_BYTES, n->versions[i].bytes, SECTOR_BYTES);
    n->version_count = 0;
    n->durable_size = n->seen_size;
}

// The device refused: some sectors made it, none is tried again.
static void
file_sync_fails(struct powercut *p, struct node *n)
{
    for (size_t i = 0; i < n->version_count; i++)
        if (rng_below(&p->rng, 2) == 0)
            memcpy(n->durable + n->versions[i].sector * SECTOR_BYTES, n->versions[i].bytes, SECTOR_BYTES);
    n->version_count = 0;
}

enum mood { MOOD_NOTHING, MOOD_ALL, MOOD_ANY, MOOD_FIRST, MOOD_COUNT };

static void
file_cut(struct powercut *p, struct node *n, enum mood mood)
{
    size_t first = n->version_count > 0 ? rng_below(&p->rng, n->version_count) : 0;
    for (size_t i = 0; i < n->version_count; i++) {
        uint8_t *to = n->durable + n->versions[i].sector * SECTOR_BYTES;
        bool is_kept = mood == MOOD_ALL || (mood == MOOD_ANY && rng_below(&p->rng, 2) == 0) ||
                       (mood == MOOD_FIRST && i < first);
        uint64_t torn =
            mood == MOOD_ANY && rng_below(&p->rng, 16) == 0 ? rng_below(&p->rng, SECTOR_BYTES) : SECTOR_BYTES;
        if (is_kept)
            memcpy(to, n->versions[i].bytes, torn);
        if (is_kept && torn < SECTOR_BYTES &&
            rng_below(&p->rng, 2) == 0) // power fell while the sector was written
            for (uint64_t b = torn; b < SECTOR_BYTES; b++)
                to[b] = (uint8_t)rng_next(&p->rng);
    }
    n->version_count = 0;
    if (mood == MOOD_ALL || (mood != MOOD_NOTHING && rng_below(&p->rng, 2) == 0))
        n->durable_size = n->seen_size;
    if (n->cap > n->durable_size)
        memset(n->durable + n->durable_size, 0, n->cap - n->durable_size);
    if (n->cap > 0)
        memcpy(n->seen, n->durable, n->cap);
    n->seen_size = n->durable_size;
}

static void
dir_cut(struct powercut *p, struct node *n, enum mood mood)
{
    size_t first = rng_below(&p->rng, n->change_count + 1);
    for (size_t i = 0; i < n->change_count; i++)
        if (mood == MOOD_ALL || (mood == MOOD_ANY && rng_below(&p->rng, 2) == 0) ||
            (mood == MOOD_FIRST && i < first))
            names_apply(&n->durable_names, &n->changes[i]);
    n->change_count = 0;
    names_copy(&n->names, &n->durable_names);
}

// --- the table ---

static int
fd_node(struct powercut *p, int fd, struct node **ret_node)
{
    LV_ASSERT(fd >= 0 && (size_t)fd < p->handle_count && p->handles[fd].node != NULL);
    *ret_node = p->handles[fd].node;
    return 0;
}

static int
sim_open(void *ctx, const char *path, unsigned flags, int *ret_fd)
{
    struct powercut *p = ctx;
    char last[NAME_BYTES];
    int err = begin(p, CUT_OPEN);
    if (err < 0)
        return err;
    struct node *dir = walk(p, path, last), *node = find(p, path);
    if (dir == NULL || (node == NULL && (flags & IO_CREATE) == 0))
        return -LE_NOTFOUND;
    if (node != NULL && ((flags & IO_CREATE) != 0 || node->is_dir))
        return -LE_EXISTS;
    if (node == NULL) {
        node = node_new(p, false);
        dir_change(dir, CHANGE_ADD, last, "", node);
    }
    size_t fd = 0;
    while (fd < p->handle_count && p->handles[fd].node != NULL)
        fd++;
    if (fd == p->handle_count)
        p->handles = mem_xrealloc(p->handles, ++p->handle_count * sizeof(*p->handles));
    p->handles[fd] = (struct handle){node, (flags & IO_WRITE) != 0};
    *ret_fd = (int)fd;
    return 0;
}

static int
sim_close(void *ctx, int fd)
{
    struct powercut *p = ctx;
    struct node *node;
    int err = fd_node(p, fd, &node);
    p->handles[fd].node = NULL;
    int fault = begin(p, CUT_OTHER);
    return err != 0 ? err : LV_MIN(fault, 0);
}

static int
sim_read(void *ctx, int fd, void *to, size_t len, uint64_t offset, size_t *ret_len)
{
    struct powercut *p = ctx;
    struct node *node;
    int err = begin(p, CUT_READ);
    if (err < 0)
        return err;
    err = err == 1 ? 1 : 0;
    (void)fd_node(p, fd, &node);
    uint64_t there = offset < node->seen_size ? node->seen_size - offset : 0;
    size_t n = (size_t)LV_MIN((uint64_t)len, there);
    if (err == 1 && n > 1)
        n = 1 + rng_below(&p->rng, n - 1);
    if (n > 0)
        memcpy(to, node->seen + offset, n);
    *ret_len = n;
    return 0;
}

static int
sim_write(void *ctx, int fd, const struct iovec *parts, int count, uint64_t offset, size_t *ret_len)
{
    struct powercut *p = ctx;
    struct node *node;
    size_t total = 0, done = 0;
    int fault = begin(p, CUT_WRITE);
    if (fault < 0 && p->is_off)
        return fault;
    (void)fd_node(p, fd, &node);
    LV_ASSERT(p->handles[fd].is_writable);
    for (int i = 0; i < count; i++)
        total += parts[i].iov_len;
    if (total == 0)
        return *ret_len = 0, 0;
    // A write that fails may have written a part all the same; one that is short has.
    size_t limit = fault == 0   ? total
                   : fault == 1 ? 1 + rng_below(&p->rng, total)
                                : rng_below(&p->rng, total);
    if (offset + limit > node->seen_size && file_resize(p, node, offset + limit) != 0)
        return -LE_NOSPACE;
    for (int i = 0; i < count && done < limit; i++) {
        size_t n = LV_MIN(parts[i].iov_len, limit - done);
        if (n > 0)
            memcpy(node->seen + offset + done, parts[i].iov_base, n);
        done += n;
    }
    file_remember(node, offset, done);
    if (fault < 0)
        return fault;
    *ret_len = done;
    return 0;
}

static int
sync_node(struct powercut *p, unsigned call, int fd)
{
    struct node *node;
    int err = begin(p, call);
    (void)fd_node(p, fd, &node);
    if (err >= 0)
        file_sync(node);
    else if (!p->is_off)
        file_sync_fails(p, node);
    return LV_MIN(err, 0);
}

static int
sim_fdatasync(void *ctx, int fd)
{
    return sync_node(ctx, CUT_FDATASYNC, fd);
}

static int
sim_fsync(void *ctx, int fd)
{
    return sync_node(ctx, CUT_FSYNC, fd);
}

static int
sim_truncate(void *ctx, int fd, uint64_t size)
{
    struct powercut *p = ctx;
    struct node *node;
    int err = begin(p, CUT_TRUNCATE);
    (void)fd_node(p, fd, &node);
    return err < 0 ? err : file_resize(p, node, size);
}

static int
sim_allocate(void *ctx, int fd, uint64_t offset, uint64_t len)
{
    struct powercut *p = ctx;
    struct node *node;
    int err = begin(p, CUT_ALLOCATE);
    (void)fd_node(p, fd, &node);
    if (err < 0)
        return err;
    return offset + len > node->seen_size ? file_resize(p, node, offset + len) : 0;
}

static int
sim_size(void *ctx, int fd, uint64_t *ret_size)
{
    struct node *node;
    int err = begin(ctx, CUT_OTHER);
    (void)fd_node(ctx, fd, &node);
    if (err < 0)
        return err;
    *ret_size = node->seen_size;
    return 0;
}

static void
dir_sync(struct node *dir)
{
    names_copy(&dir->durable_names, &dir->names);
    dir->change_count = 0;
}

static int
sim_rename(void *ctx, const char *from, const char *to)
{
    struct powercut *p = ctx;
    char a[NAME_BYTES], b[NAME_BYTES];
    int err = begin(p, CUT_RENAME);
    if (err < 0)
        return err;
    struct node *dir = walk(p, from, a), *node = find(p, from);
    if (node == NULL || dir == NULL)
        return -LE_NOTFOUND;
    struct node *other = walk(p, to, b);
    if (other == NULL)
        return -LE_NOTFOUND;
    if (other == dir) {
        dir_change(dir, CHANGE_RENAME, a, b, node);
        return 0;
    }
    // From one folder to another: as one step of a journal, which takes both folders with it.
    dir_change(dir, CHANGE_REMOVE, a, "", node);
    dir_change(other, CHANGE_ADD, b, "", node);
    dir_sync(dir);
    dir_sync(other);
    return 0;
}

static int
sim_unlink(void *ctx, const char *path)
{
    struct powercut *p = ctx;
    char last[NAME_BYTES];
    int err = begin(p, CUT_UNLINK);
    if (err < 0)
        return err;
    struct node *dir = walk(p, path, last), *node = find(p, path);
    if (node == NULL)
        return -LE_NOTFOUND;
    dir_change(dir, CHANGE_REMOVE, last, "", node);
    p->used -= LV_MIN(p->used, node->seen_size);
    return 0;
}

static int
sim_mkdir(void *ctx, const char *path)
{
    struct powercut *p = ctx;
    char last[NAME_BYTES];
    int err = begin(p, CUT_MKDIR);
    if (err < 0)
        return err;
    struct node *dir = walk(p, path, last);
    if (dir == NULL)
        return -LE_NOTFOUND;
    if (find(p, path) != NULL)
        return -LE_EXISTS;
    dir_change(dir, CHANGE_ADD, last, "", node_new(p, true));
    return 0;
}

static int
sim_sync_dir(void *ctx, const char *path)
{
    struct powercut *p = ctx;
    int err = begin(p, CUT_SYNC_DIR);
    if (err < 0)
        return err;
    struct node *dir = find(p, path);
    if (dir == NULL || !dir->is_dir)
        return -LE_NOTFOUND;
    dir_sync(dir);
    return 0;
}

// A failure is told of one file: what else is dirty stays so, and its own sync will tell.
static int
sim_sync_all(void *ctx, int fd)
{
    struct powercut *p = ctx;
    struct node *node;
    int err = begin(p, CUT_SYNC_ALL);
    (void)fd_node(p, fd, &node);
    if (err < 0) {
        if (!p->is_off)
            file_sync_fails(p, node);
        return err;
    }
    for (struct node *n = p->all; n != NULL; n = n->next) {
        if (n->is_dir)
            dir_sync(n);
        else
            file_sync(n);
    }
    return 0;
}

static int
sim_list(void *ctx, const char *path, io_name_fn fn, void *fn_ctx)
{
    struct powercut *p = ctx;
    int err = begin(p, CUT_LIST);
    if (err < 0)
        return err;
    const struct node *dir = find(p, path);
    if (dir == NULL || !dir->is_dir)
        return -LE_NOTFOUND;
    for (size_t i = 0; i < dir->names.count; i++) {
        err = fn(fn_ctx, dir->names.items[i].text);
        if (err != 0)
            return err;
    }
    return 0;
}

static int
sim_space(void *ctx, const char *path, struct io_space *ret_space)
{
    struct powercut *p = ctx;
    int err = begin(p, CUT_OTHER);
    if (err < 0)
        return err;
    ret_space->total_bytes = p->capacity;
    ret_space->free_bytes = p->capacity - LV_MIN(p->capacity, p->used);
    return 0;
}

// --- the plug ---

struct powercut *
powercut_new(uint64_t seed)
{
    struct powercut *p = mem_xcalloc(1, sizeof(*p));
    rng_init(&p->rng, seed);
    p->capacity = UINT64_MAX / 2;
    p->root = node_new(p, true);
    p->io = (struct io){
        .ctx = p,
        .open = sim_open,
        .close = sim_close,
        .read = sim_read,
        .write = sim_write,
        .fdatasync = sim_fdatasync,
        .fsync = sim_fsync,
        .sync_all = sim_sync_all,
        .truncate = sim_truncate,
        .allocate = sim_allocate,
        .size = sim_size,
        .rename = sim_rename,
        .unlink = sim_unlink,
        .mkdir = sim_mkdir,
        .sync_dir = sim_sync_dir,
        .list = sim_list,
        .space = sim_space,
    };
    return p;
}

void
powercut_free(struct powercut *p)
{
    for (struct node *n = p->all, *next; n != NULL; n = next) {
        next = n->next;
        mem_free(n->seen);
        mem_free(n->durable);
        mem_free(n->versions);
        mem_free(n->names.items);
        mem_free(n->durable_names.items);
        mem_free(n->changes);
        mem_free(n);
    }
    mem_free(p->handles);
    mem_free(p);
}

const struct io *
powercut_io(struct powercut *p)
{
    return &p->io;
}

void
powercut_set_capacity(struct powercut *p, uint64_t bytes)
{
    p->capacity = bytes;
}

bool
powercut_is_off(const struct powercut *p)
{
    return p->is_off;
}

// What files with a name take, after names may have come back or gone.
static uint64_t
used_below(const struct node *dir)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < dir->names.count; i++) {
        const struct node *n = dir->names.items[i].node;
        sum += n->is_dir ? used_below(n) : n->seen_size;
    }
    return sum;
}

void
powercut_kill(struct powercut *p)
{
    for (size_t i = 0; i < p->handle_count; i++)
        p->handles[i].node = NULL;
    p->fault_count = 0;
    p->is_off = false;
    p->used = used_below(p->root);
}

void
powercut_cut(struct powercut *p)
{
    enum mood mood = (enum mood)rng_below(&p->rng, MOOD_COUNT);
    for (struct node *n = p->all; n != NULL; n = n->next) {
        // Half of the cuts have one mood for all, half another one for each file.
        enum mood own = rng_below(&p->rng, 2) == 0 ? mood : (enum mood)rng_below(&p->rng, MOOD_COUNT);
        if (n->is_dir)
            dir_cut(p, n, own);
        else
            file_cut(p, n, own);
    }
    powercut_kill(p);
}

uint64_t
powercut_calls(const struct powercut *p)
{
    return p->calls;
}

size_t
powercut_open_count(const struct powercut *p)
{
    size_t count = 0;
    for (size_t i = 0; i < p->handle_count; i++)
        count += p->handles[i].node != NULL;
    return count;
}

bool
powercut_rot(struct powercut *p, const char *path, uint64_t offset, uint8_t mask)
{
    struct node *n = find(p, path);
    if (n == NULL || n->is_dir || offset >= n->seen_size)
        return false;
    n->seen[offset] ^= mask;
    n->durable[offset] ^= mask;
    return true;
}
