// log_recover.c: from files to the chain of segments, from segments to groups, from groups to records.
//
// 1. Every file of the folder is opened and its header read. A header of a newer version ends recovery before anything is changed.
// 2. The newest valid header names its predecessor and how much of that is valid, and so on back to the first generation that is needed
//    (header, or a later CHECKPOINT). Segments outside this chain are void: their groups were written again elsewhere, or never counted.
//    A header that is unreadable is replaced by what the first group says of itself, a segment that is missing by a report: the chain goes on.
// 3. Each group says how much of its segment was durable when it was written, each header the same of the predecessor. Each segment of
//    the chain is read from its oldest to its newest group. Where no valid group is although it was durable there is damage: reported,
//    records with good checksums in it are used, and reading goes on at the next valid group. Where nothing says that it was durable a
//    power cut may have left any subset of the groups: what is not valid is passed over.
// 4. The groups that nobody says are durable are copied, as one group, to the head of the new segment and synced: a process that died
//    before its fdatasync, or after a failed one, left them in the page cache alone, and what recovery has seen must not be lost by the
//    next power cut. Not in place, unless there is no room: a torn write would spoil what was durable. As one group: half of them would be worse than none.
// The log goes on in a new segment, whose header says where the valid part ends; so the torn tail is void for ever.
#include "src/store/log_recover.h"
#include "src/base/crc.h"
#include "src/base/err.h"
#include "src/base/mem.h"

struct found { // a file with a valid header
    struct segment *segment;
    struct segment_header header;
    uint64_t limit;  // end of its valid part, as its successor in the chain says
    uint64_t synced; // of that, what was durable; without a limit its own groups say so
    uint64_t
        number_limit; // 0, or: a later segment begins with this number; groups with it or a higher one are void here
    bool is_guessed;      // the header is unreadable: generation and salt are those of the first group
    uint32_t first_group; // where that is
};

struct scan {
    struct core *c;
    struct replay replay;
    struct msglog_report *report;
    const struct recover_watch *watch;
    struct found found[RING_SLOTS_MAX];
    size_t count;
    uint8_t *bytes;       // of the segment being read
    uint64_t size, limit; // bytes there; end as its successor says, or size
    struct found *at;
    uint64_t unreadable, first_unreadable; // of these bytes
    uint64_t last_number;                  // of the last valid group
    bool has_last;
    bool is_damaged_behind;      // the last valid group
    uint64_t synced;             // of `at`
    struct recovered_tail *tail; // segment, end, groups
    uint32_t tail_crc;
    int error;
    void (*progress)(void *ctx, uint64_t done_bytes, uint64_t total_bytes);
    void *progress_ctx;
};

static void
tell(const struct scan *s, uint64_t offset, uint64_t bytes, const char *what)
{
    if (s->watch != NULL)
        s->watch->damage(s->watch->ctx, s->at->segment, s->at->header.generation, offset, bytes, what);
}

static void
bad_spot(struct scan *s, uint64_t offset, uint64_t bytes, const char *what)
{
    tell(s, offset, bytes, what);
    struct msglog_report *r = s->report;
    if (r->bad_spots++ == 0) {
        r->first_bad_generation = s->at->header.generation;
        r->first_bad_offset = offset;
    }
    r->bad_bytes += bytes;
}

// --- groups ---

// A group header that belongs where it stands, and whose payload fits.
static bool
group_here(const struct scan *s, uint64_t offset, struct group_header *ret)
{
    if (offset + GROUP_HEADER_BYTES > s->size || group_header_decode(s->bytes + offset, ret) != 0)
        return false;
    bool is_ours = (ret->generation == s->at->header.generation && ret->salt == s->at->header.salt) ||
                   LOG_BUG(BUG_NO_GENERATION);
    return is_ours && ret->offset == offset && offset + GROUP_HEADER_BYTES + ret->payload_bytes <= s->size;
}

// Whether all records are there and good.
static bool
are_records_good(const struct scan *s, const struct group_header *g)
{
    uint64_t at = g->offset + GROUP_HEADER_BYTES, end = at + g->payload_bytes;
    uint32_t crc = 0, count = 0;
    while (at + RECORD_HEADER_BYTES <= end) {
        struct record_header h;
        const uint8_t *from = s->bytes + at;
        if (record_header_decode(from, record_place(g->generation, (uint32_t)at), &h) != 0 ||
            at + RECORD_HEADER_BYTES + h.payload_bytes > end ||
            (crc32c(0, from + RECORD_HEADER_BYTES, h.payload_bytes) != h.payload_crc &&
             !LOG_BUG(BUG_NO_CHECKSUM)))
            return false;
        crc = crc32c(crc, from, RECORD_HEADER_BYTES);
        count++;
        at += align_up(RECORD_HEADER_BYTES + h.payload_bytes, RECORD_ALIGN_BYTES);
    }
    return at == end && count == g->record_count && crc == g->records_crc;
}

enum checked { CHECKED, UNCHECKED };

// Applies the records; of a group that is not CHECKED those that are good, as far as their headers lead. Returns whether all made sense.
static bool
replay_group(struct scan *s, const struct group_header *g, enum checked checked)
{
    uint64_t at = g->offset + GROUP_HEADER_BYTES, end = at + g->payload_bytes;
    bool is_good = true;
    while (at + RECORD_HEADER_BYTES <= end && s->error == 0) {
        struct record_header h;
        const uint8_t *from = s->bytes + at;
        record_header_parse(from, &h);
        if (checked == UNCHECKED &&
            (record_header_decode(from, record_place(g->generation, (uint32_t)at), &h) != 0 ||
             at + RECORD_HEADER_BYTES + h.payload_bytes > end))
            return false; // nothing tells where the next one begins
        struct slice payload = slice_of(from + RECORD_HEADER_BYTES, h.payload_bytes);
        struct msglog_place place = {g->generation, (uint32_t)at, RECORD_HEADER_BYTES + h.payload_bytes};
        bool is_record_good = checked == CHECKED || crc32c(0, payload.ptr, payload.len) == h.payload_crc;
        int err = is_record_good ? replay_record(&s->replay, &h, payload, &place) : 0;
        if (err == -LE_NOMEM)
            s->error = err;
        is_good &= is_record_good && err == 0;
        if (!is_record_good || err == -LE_CORRUPT)
            tell(s, at, place.len,
                 is_record_good ? "a record does not parse" : "a record fails its checksum");
        at += align_up(place.len, RECORD_ALIGN_BYTES);
    }
    return is_good;
}

// The next group at or behind `offset`; 0: none. What was durable need not be whole: there a valid header will do.
static uint64_t
next_group(struct scan *s, uint64_t offset, struct group_header *ret)
{
    for (uint64_t at = offset; at + GROUP_HEADER_BYTES <= s->limit; at += MSGLOG_SECTOR_BYTES)
        if (group_here(s, at, ret) && ret->number > s->last_number &&
            (at < s->synced || are_records_good(s, ret)))
            return at;
    return 0;
}

// The log ends in this segment, as far as is known.
static void
set_tail_segment(struct scan *s)
{
    struct recovered_tail *t = s->tail;
    if (t->segment == s->at->segment)
        return;
    t->segment = s->at->segment;
    t->start = t->synced = s->synced;
    t->count = 0;
}

// Groups that no sync is known to have covered are kept in mind, and if there are none the last one: that the log ends behind it has to
// become durable too, or what a failed write left there may count at the next start.
static void
note_for_tail(struct scan *s, const struct group_header *g)
{
    struct recovered_tail *t = s->tail;
    uint64_t end = (uint64_t)g->offset + group_padded(g->payload_bytes);
    bool is_synced = g->offset < s->synced;
    if (is_synced) // whatever said so meant whole groups
        s->synced = LV_MAX(s->synced, end);
    set_tail_segment(s);
    if (is_synced || LOG_BUG(BUG_SECURE_ONE_GROUP) || (t->count > 0 && t->groups[0].offset < s->synced))
        t->count = 0;
    t->start = is_synced || LOG_BUG(BUG_SECURE_ONE_GROUP) ? g->offset : s->synced;
    t->end = end;
    if (t->count == t->cap) {
        size_t cap = t->cap == 0 ? 64 : t->cap * 2;
        struct recovered_group *groups = mem_realloc(t->groups, cap * sizeof(*groups));
        if (groups == NULL) {
            s->error = -LE_NOMEM;
            return;
        }
        t->groups = groups;
        t->cap = cap;
    }
    t->groups[t->count++] = (struct recovered_group){g->offset, g->payload_bytes};
}

static void
accept(struct scan *s, const struct group_header *g)
{
    s->last_number = g->number;
    s->has_last = true;
    s->is_damaged_behind = false;
    s->report->groups++;
    s->tail_crc = g->crc;
    note_for_tail(s, g);
}

// What a sync had covered is not valid: uses what is good of it, and says so.
static void
damage(struct scan *s, const struct group_header *linked, uint64_t at, uint64_t end)
{
    s->is_damaged_behind = true;
    if (linked != NULL)
        (void)replay_group(s, linked, UNCHECKED);
    bad_spot(s, at, at < s->synced ? LV_MIN(end, s->synced) - at : 0,
             linked != NULL ? "a group is damaged" : "no valid group where one was written");
}

// The damaged groups behind the last valid one count too, as far as they are good: the log ends behind them, and they stay where they are.
static void
end_behind_damage(struct scan *s, uint64_t at)
{
    struct recovered_tail *t = s->tail;
    if (!s->is_damaged_behind)
        return;
    set_tail_segment(s);
    t->count = 0;
    t->start = t->end = LV_MAX(at, s->synced);
}

// No group that a later segment would have to follow is missing so far.
static bool
is_complete(const struct scan *s)
{
    return s->at->number_limit == 0 || s->last_number + 1 >= s->at->number_limit;
}

static void
scan_segment(struct scan *s)
{
    uint64_t at = SEGMENT_HEADER_BYTES;
    uint32_t prev = s->at->header.crc;
    bool is_chained = !s->at->is_guessed;
    while (at < s->limit && s->error == 0) {
        struct group_header g;
        bool is_here = group_here(s, at, &g) && g.offset + group_padded(g.payload_bytes) <= s->limit;
        if (is_here && s->at->number_limit != 0 && g.number >= s->at->number_limit)
            return; // refused: its writer went on elsewhere
        bool is_linked = is_here && (!is_chained || g.prev_crc == prev || LOG_BUG(BUG_NO_CHAIN));
        if (is_linked && are_records_good(s, &g)) {
            if (!replay_group(s, &g, CHECKED))
                bad_spot(s, at, 0,
                         "a record does not parse"); // as it was written, and yet: said, and left at that
            accept(s, &g);
            at += group_padded(g.payload_bytes);
            prev = g.crc;
            is_chained = true;
            continue;
        }
        struct group_header later;
        uint64_t next = next_group(s, at + MSGLOG_SECTOR_BYTES, &later);
        if (at >= s->synced && is_here && LOG_BUG(BUG_TORN_COUNTS))
            (void)replay_group(s, &g, UNCHECKED);
        if (at < s->synced || !is_complete(s))
            damage(s, is_linked ? &g : NULL, at, next != 0 ? next : s->limit);
        else // never durable; perhaps never written
            s->report->torn_bytes += next != 0 ? next - at
                                     : is_here
                                         ? LV_MIN((uint64_t)group_padded(g.payload_bytes), s->limit - at)
                                         : 0;
        if (next == 0) {
            end_behind_damage(s, at);
            return;
        }
        at = next;
        prev = later.prev_crc; // nothing to compare with
    }
}

// --- segments ---

static int
read_segment(struct scan *s, uint64_t bytes)
{
    const struct io *io = s->c->io;
    size_t n = 0;
    s->size = bytes;
    s->unreadable = 0;
    uint8_t *room = mem_realloc(s->bytes, LV_MAX(bytes, 1u));
    if (room == NULL)
        return -LE_NOMEM;
    s->bytes = room;
    int err = io_read_all(io, s->at->segment->fd, s->bytes, bytes, 0, &n);
    if (err == 0 && n == bytes)
        return 0;
    // Unreadable somewhere: the rest may be good. What cannot be read is zeros, which are not valid.
    memset(s->bytes, 0, bytes);
    for (uint64_t at = 0; at < bytes; at += 4096) {
        err = io_read_all(io, s->at->segment->fd, s->bytes + at, LV_MIN((uint64_t)4096, bytes - at), at, &n);
        if (err == 0)
            continue;
        memset(s->bytes + at, 0, LV_MIN((uint64_t)4096, bytes - at));
        s->first_unreadable = s->unreadable == 0 ? at : s->first_unreadable;
        s->unreadable += LV_MIN((uint64_t)4096, bytes - at);
    }
    return 0;
}

static struct found *
find_generation(struct scan *s, uint64_t generation)
{
    struct found *guessed = NULL;
    for (size_t i = 0; i < s->count; i++) {
        if (s->found[i].header.generation != generation)
            continue;
        if (!s->found[i].is_guessed)
            return &s->found[i];
        guessed = &s->found[i];
    }
    return guessed;
}

static struct found *
highest_below(struct scan *s, uint64_t generation)
{
    struct found *highest = NULL;
    for (size_t i = 0; i < s->count; i++)
        if (s->found[i].header.generation < generation &&
            (highest == NULL || s->found[i].header.generation > highest->header.generation ||
             (s->found[i].header.generation == highest->header.generation && highest->is_guessed)))
            highest = &s->found[i];
    return highest;
}

// How much its groups say was durable when the last of them was written.
static void
find_synced(struct scan *s)
{
    struct group_header g;
    s->synced = SEGMENT_HEADER_BYTES;
    for (uint64_t at = SEGMENT_HEADER_BYTES; at + GROUP_HEADER_BYTES <= s->limit; at += MSGLOG_SECTOR_BYTES)
        if (group_here(s, at, &g))
            s->synced = LV_MAX(s->synced, LV_MIN((uint64_t)g.synced, at));
}

// Reads the segment, and takes as last number the one before its first.
static int
begin_segment(struct scan *s, struct found *f)
{
    s->at = f;
    s->limit = s->size = 0;
    int err = read_segment(s, f->segment->bytes);
    if (err != 0)
        return err;
    s->limit = LOG_BUG(BUG_IGNORE_PREV_END) ? s->size : LV_MIN(f->limit, s->size);
    if (f->limit == UINT64_MAX)
        find_synced(s);
    else
        s->synced = LV_MIN(f->synced, s->limit);
    if (f->header.first_number != 0)
        s->last_number = f->header.first_number - 1;
    return 0;
}

static int
scan_one(struct scan *s, struct found *f)
{
    bool is_open_ended = f->limit == UINT64_MAX;
    int err = begin_segment(s, f);
    if (err != 0)
        return err;
    s->is_damaged_behind = false;
    s->report->segments++;
    if (f->is_guessed && s->limit > SEGMENT_HEADER_BYTES)
        bad_spot(s, 0, SEGMENT_HEADER_BYTES, "the header of the segment is not valid");
    if (is_open_ended && s->unreadable > 0) // nobody can say what was there
        bad_spot(s, s->first_unreadable, s->unreadable, "the disk cannot read it");
    scan_segment(s);
    f->segment->end = f->segment->synced = s->limit;
    if (!is_open_ended) {
        set_tail_segment(s);
        if (s->is_damaged_behind || s->tail->count == 0) {
            // It reaches as far as that by its successor's word, and what is good of the damaged is used: all stays where it is.
            s->tail->count = 0;
            s->tail->end = s->limit;
            s->tail->start = s->synced;
        }
    }
    return s->error;
}

// The predecessor of a segment whose header is unreadable: nothing says where it ends.
static void
follow_guess(struct scan *s, const struct found *f, struct segment_header *ret)
{
    const struct found *older = highest_below(s, f->header.generation);
    ret->base_generation = older != NULL ? older->header.generation : 0;
    ret->base_end = UINT64_MAX;
}

// The chain from `newest` back to the first that is needed: indices of `found` in `chain`, newest first. Where a segment is missing the next
// older one that is there is taken: its messages are not lost too.
static size_t
build_chain(struct scan *s, struct found *newest, bool has_group, uint64_t first, struct found **chain)
{
    size_t n = 0;
    uint64_t generation = newest->header.generation, limit = UINT64_MAX, synced = 0, number = 0;
    while (generation >= first && generation != 0) { // each lower than the one before: no more than s->count
        struct found *f = find_generation(s, generation);
        if (f == NULL) {
            s->report->missing_segments++;
            f = highest_below(s, generation);
            limit = UINT64_MAX;
        }
        if (f == NULL || f->header.generation < first)
            return n;
        struct segment_header h = f->header;
        if (f->is_guessed)
            follow_guess(s, f, &h);
        chain[n++] = f;
        f->limit = limit;
        f->synced = synced;
        f->number_limit = limit == UINT64_MAX ? number : 0;
        bool is_based = f != newest || has_group;
        limit = is_based ? h.base_end : h.prev_end;
        synced = is_based ? h.base_synced : h.prev_synced;
        generation = is_based ? h.base_generation : h.prev_generation;
        number = h.first_number;
        LV_ASSERT(generation < h.generation && n <= s->count); // read_header has looked
    }
    return n;
}

// The highest CHECKPOINT of a valid group.
static uint64_t
checkpoint_of(const struct scan *s, const struct group_header *g)
{
    uint64_t first = 0, at = g->offset + GROUP_HEADER_BYTES, end = at + g->payload_bytes;
    while (at < end) {
        struct record_header h;
        if (record_header_decode(s->bytes + at, record_place(g->generation, (uint32_t)at), &h) != 0)
            break;
        uint64_t number = h.type == RECORD_CHECKPOINT && h.payload_bytes == 16
                              ? get_u64(s->bytes + at + RECORD_HEADER_BYTES)
                              : 0;
        if (number <= g->generation) // else it says what it cannot
            first = LV_MAX(first, number);
        at += align_up(RECORD_HEADER_BYTES + h.payload_bytes, RECORD_ALIGN_BYTES);
    }
    return first;
}

// What the groups of a segment say about the log, before it is read in order: CHECKPOINTs, and whether there are any.
static int
survey(struct scan *s, struct found *f, uint64_t *ret_first, uint64_t *ret_groups)
{
    struct group_header g;
    uint64_t at = SEGMENT_HEADER_BYTES;
    f->limit = UINT64_MAX;
    int err = begin_segment(s, f);
    s->synced = 0; // whole groups alone
    *ret_groups = 0;
    while (err == 0 && (at = next_group(s, at, &g)) != 0) {
        *ret_first = LV_MAX(*ret_first, checkpoint_of(s, &g));
        ++*ret_groups;
        s->last_number = g.number;
        at += group_padded(g.payload_bytes);
    }
    s->last_number = 0;
    return err;
}

// The newest segment: by its header, or, where that is unreadable, by a group behind the first, which was only written once the first one
// and the header were durable. With the first alone it may be torn or refused: nothing in it was promised. The first generation needed is in
// its header or a CHECKPOINT; without the header in those of the one before.
static int
find_newest(struct scan *s, struct found **ret, uint64_t *ret_first, bool *ret_has_group)
{
    struct found *newest = NULL;
    *ret_first = 1;
    for (struct found *f = highest_below(s, UINT64_MAX); f != NULL;
         f = highest_below(s, f->header.generation)) {
        uint64_t first = f->header.first_generation, groups;
        int err = survey(s, f, &first, &groups);
        if (err != 0)
            return err;
        if (f->is_guessed && newest == NULL && groups + (f->first_group > SEGMENT_HEADER_BYTES) < 2)
            continue;
        if (newest == NULL) {
            newest = f;
            *ret_has_group = groups > 0;
        }
        *ret_first = LV_MAX(*ret_first, first);
        if (!f->is_guessed)
            break;
    }
    *ret = newest;
    return 0;
}

static int
scan_chain(struct scan *s, uint64_t *ret_first)
{
    struct found *newest, **chain = NULL;
    bool has_group = false;
    int err = find_newest(s, &newest, ret_first, &has_group);
    if (err != 0 || newest == NULL)
        return err;
    chain = mem_calloc(s->count, sizeof(*chain));
    if (chain == NULL)
        return -LE_NOMEM;
    size_t n = build_chain(s, newest, has_group, *ret_first, chain);
    uint64_t done = 0, total = 0;
    for (size_t i = 0; i < n; i++)
        total += chain[i]->segment->bytes;
    for (size_t i = n; i > 0 && err == 0; i--) {
        chain[i - 1]->segment->state = SEGMENT_SEALED;
        err = scan_one(s, chain[i - 1]);
        done += chain[i - 1]->segment->bytes;
        if (s->progress != NULL)
            s->progress(s->progress_ctx, done, total);
    }
    if (err == 0 &&
        s->tail->segment == NULL) { // not one valid group: the newest header says where the log ended
        s->c->ring.prev_generation = newest->header.prev_generation;
        s->c->ring.prev_end = newest->header.prev_end;
        s->c->ring.prev_synced = newest->header.prev_synced;
        s->c->ring.prev_crc = newest->header.prev_crc;
    }
    s->c->ring.next_number = LV_MAX(s->has_last ? s->last_number + 1 : 1, newest->header.first_number);
    mem_free(chain);
    return err;
}

// --- files ---

static int
add_file(void *ctx, const char *name)
{
    struct scan *s = ctx;
    struct ring *r = &s->c->ring;
    char path[IO_PATH_MAX], *end;
    unsigned long slot = strtoul(name, &end, 10);
    if (end == name || strcmp(end, ".seg") != 0 || slot > UINT32_MAX - 16)
        return 0; // not ours: left alone
    int fd;
    uint64_t size = 0;
    ring_path(r, (uint32_t)slot, path);
    int err = r->io->open(r->io->ctx, path, IO_WRITE, &fd);
    if (err != 0)
        return err;
    struct segment *seg = ring_add(r, (uint32_t)slot, fd, 0);
    if (seg == NULL) {
        (void)r->io->close(r->io->ctx, fd);
        return -LE_LIMIT;
    }
    seg->state = SEGMENT_FREE;
    err = r->io->size(r->io->ctx, fd, &size);
    seg->bytes = LV_MIN(size, (uint64_t)1 << 30);
    return err;
}

// LIMIT: how far into a file without a header its groups are looked for.
enum { GUESS_BYTES = 4 << 20 };

// The header is unreadable: the first group that is valid tells whose file it was. -LE_NOTFOUND: there is none.
static int
guess_header(struct scan *s, struct segment *seg, struct found *ret)
{
    size_t len = (size_t)LV_MIN(seg->bytes, (uint64_t)GUESS_BYTES), n = 0;
    struct group_header g;
    uint8_t *bytes = mem_alloc(len);
    if (bytes == NULL)
        return -LE_NOMEM;
    int found = -LE_NOTFOUND;
    if (io_read_all(s->c->io, seg->fd, bytes, len, 0, &n) != 0)
        n = 0;
    for (size_t at = SEGMENT_HEADER_BYTES; found != 0 && at + GROUP_HEADER_BYTES <= n;
         at += MSGLOG_SECTOR_BYTES) {
        if (group_header_decode(bytes + at, &g) != 0 || g.generation == 0 || g.offset != at)
            continue;
        found = 0;
        *ret = (struct found){.segment = seg, .is_guessed = true, .first_group = (uint32_t)at};
        ret->header =
            (struct segment_header){.generation = g.generation, .salt = g.salt, .first_number = g.number};
    }
    mem_free(bytes);
    return found;
}

static int
read_header(struct scan *s, struct segment *seg)
{
    uint8_t bytes[SEGMENT_HEADER_BYTES];
    struct found *f = &s->found[s->count];
    size_t n = 0;
    int err = io_read_all(s->c->io, seg->fd, bytes, sizeof bytes, 0, &n);
    if (err == -LE_NOMEM)
        return err;
    *f = (struct found){.segment = seg, .first_group = SEGMENT_HEADER_BYTES};
    if (err == 0)
        err = n == sizeof bytes ? segment_header_decode(bytes, &f->header) : -LE_NOTFOUND;
    if (err == -LE_UNSUPPORTED)
        return err;
    // A predecessor that is not older is none of ours, whatever the checksum.
    if (err == 0 && (f->header.base_generation >= f->header.generation ||
                     f->header.prev_generation >= f->header.generation))
        err = -LE_CORRUPT;
    if (err != 0)
        err = guess_header(s, seg, f);
    if (err != 0)
        return err == -LE_NOMEM ? err : 0;
    atomic_store_explicit(&seg->generation, f->header.generation, memory_order_relaxed);
    s->count++;
    return 0;
}

// Where the log goes on. What may not be on disk is taken out of the valid part when it can be copied (secure_tail): see 4 above.
static void
set_tail(struct scan *s)
{
    struct ring *r = &s->c->ring;
    struct recovered_tail *t = s->tail;
    if (t->segment == NULL)
        return;
    t->generation = t->segment->generation;
    t->start = LV_MIN(t->start, t->end);
    r->prev_generation = t->generation;
    r->prev_end = t->end;
    r->prev_synced = LV_MIN(t->synced, t->end);
    r->prev_crc = s->tail_crc;
    const struct found *f = find_generation(s, t->generation);
    if (f != NULL && !f->is_guessed && t->start == SEGMENT_HEADER_BYTES) {
        // Nothing else is in that segment: it is left out altogether, or each crash at start would use up one.
        t->prev_generation = f->header.base_generation;
        t->prev_end = f->header.base_end;
        t->prev_synced = f->header.base_synced;
        t->is_alone = true;
    } else {
        t->prev_generation = t->generation;
        t->prev_end = t->prev_synced = t->start;
    }
}

// Files of no use: never finished, or void and of another size than the ring has now. When a segment is missing, a file without a header
// may be what is left of it: it is kept, and not used.
static void
drop_odd_files(struct scan *s)
{
    struct ring *r = &s->c->ring;
    for (size_t i = 0; i < r->count; i++) {
        struct segment *seg = r->segments[i];
        if (seg->state != SEGMENT_FREE)
            continue;
        if (s->report->missing_segments > 0 && seg->generation == 0) {
            seg->state = SEGMENT_SEALED;
            seg->is_condemned = true;
        } else if (seg->bytes != r->segment_bytes) {
            ring_drop(r, seg);
        }
    }
}

int
recover_ring(struct core *c, const struct msglog_config *config, struct msglog_live *live,
             struct msglog_report *report, struct recovered_tail *tail)
{
    struct scan *s = mem_calloc(1, sizeof(*s));
    if (s == NULL)
        return -LE_NOMEM;
    s->c = c;
    s->report = report;
    s->progress = config->progress;
    s->progress_ctx = config->ctx;
    s->watch = c->watch;
    s->tail = tail;
    replay_init(&s->replay, live);
    uint64_t first = 1;
    int err = c->io->list(c->io->ctx, c->ring.dir, add_file, s);
    for (size_t i = 0; i < c->ring.count && err == 0; i++)
        err = read_header(s, c->ring.segments[i]);
    if (err == 0)
        err = scan_chain(s, &first);
    if (err == 0) {
        set_tail(s);
        for (size_t i = 0; i < s->count; i++)
            c->ring.next_generation = LV_MAX(c->ring.next_generation, s->found[i].header.generation + 1);
        report->messages = s->replay.messages;
        c->next_large = LV_MAX(c->next_large, s->replay.last_large + 1);
        c->next_tx = s->replay.last_tx + 1;
        c->checkpoint = first;
        if (s->watch == NULL) {
            drop_odd_files(s);
            ring_release(&c->ring, first);
        }
    }
    msglog_live_settle(live);
    report->void_parts = replay_fini(&s->replay);
    mem_free(s->bytes);
    mem_free(s);
    return err;
}
