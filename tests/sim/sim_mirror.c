// sim_mirror.c: clusters with one mirrored queue under partitions, crashes, power cuts, pauses, slow disks, drifting clocks and a coordinator that answers late or never.
//
//     sim_mirror [first seed] [count] [when-synced|always] [planted bugs, as a number]
//
// A seed is a story of one cluster of three or five nodes. Publishers send, and send again what is open when they lose contact; consumers take and settle, some of it late, to
// whoever serves, be it a master that was deposed and does not know. In the end everything heals; then the queue must come to serve, all members must be in sync, all that was
// sent must be confirmed, and be drained. What was confirmed and never delivered is lost (Jepsen's total queue). Under `always` losses are counted, not failed.
// The status is 1 at the first seed that fails, which is printed.
#include "tests/sim/sim_cluster.h"

#include <stdio.h>
#include <stdlib.h>

#include "src/base/mem.h"

enum { REFS_MAX = 1500, TAGS_MAX = 4000, STEP_MS = 10 };

enum ref_state { REF_OPEN, REF_SENT };

struct ref {
    int node; // REF_SENT
    enum ref_state state;
    bool is_confirmed;
    uint32_t delivered;
};

struct tag {
    int64_t at;
    int node;
    uint64_t epoch, seq;
};

static struct ref refs[REFS_MAX + 1];
static uint64_t ref_count, confirmed_count;
static struct tag tags[TAGS_MAX];
static int tag_count;
static uint64_t out[SIM_NODES_MAX][SIM_SEQ_MAX]; // epoch in which it was handed out
static uint64_t total_refs, total_lost, total_again, total_events;

static void
on_confirmed(uint64_t ref)
{
    confirmed_count += !refs[ref].is_confirmed;
    refs[ref].is_confirmed = true;
}

static bool
is_confirmed(uint64_t ref)
{
    return refs[ref].is_confirmed;
}

static void
on_lost_contact(int node)
{
    for (uint64_t i = 1; i <= ref_count; i++)
        if (!refs[i].is_confirmed && refs[i].state == REF_SENT && refs[i].node == node)
            refs[i].state = REF_OPEN;
    memset(out[node], 0, sizeof(out[node]));
}

static int
some_server(void)
{
    int serving[SIM_NODES_MAX], count = 0;
    for (int i = 0; i < sim_node_count; i++)
        if (sim_nodes[i].is_up && sim_nodes[i].is_serving && sim_nodes[i].paused_until <= sim_now)
            serving[count++] = i;
    return count == 0 ? -1 : serving[sim_dice((uint64_t)count)];
}

static struct sim_node *
newest_server(void)
{
    struct sim_node *newest = NULL;
    for (int i = 0; i < sim_node_count; i++)
        if (sim_nodes[i].is_up && sim_nodes[i].is_serving &&
            (newest == NULL || sim_nodes[i].r.epoch > newest->r.epoch))
            newest = &sim_nodes[i];
    return newest;
}

static void
send(uint64_t ref, int node)
{
    struct sim_node *n = &sim_nodes[node];
    refs[ref].state = REF_SENT;
    refs[ref].node = node;
    for (uint64_t seq = 1; seq <= n->top; seq++)
        if (n->items[seq].is_known && n->items[seq].ref == ref) { // it is here already
            total_again++;
            if (replica_is_open(&n->r) &&
                seq <=
                    LV_MAX(n->r.confirmed, REPLICA_BUG(REPLICA_BUG_CONFIRM_INHERITED) ? n->r.inherited : 0)) {
                on_confirmed(ref);
                return;
            }
            n->pending[seq] = ref;
            n->asked_to = LV_MAX(n->asked_to, seq);
            return;
        }
    uint64_t seq = replica_publish(&n->r, ref);
    if (seq == 0) {
        refs[ref].state = REF_OPEN;
        return;
    }
    // With nobody to wait for, it may be confirmed by now: then the next confirm says so.
    n->pending[seq] = ref;
    n->asked_to = LV_MAX(n->asked_to, seq);
}

static void
publish(uint64_t limit)
{
    int node = some_server();
    if (node < 0)
        return;
    for (uint64_t i = 1; i <= ref_count; i++)
        if (!refs[i].is_confirmed && refs[i].state == REF_OPEN && sim_dice(4) == 0)
            send(i, node);
    if (ref_count < limit && sim_dice(3) != 0 && sim_nodes[node].is_serving) {
        refs[++ref_count] = (struct ref){0};
        send(ref_count, node);
    }
}

static void
settle(void)
{
    for (int i = 0; i < tag_count;) {
        struct tag t = tags[i];
        // Its consumer's session lives on some node and speaks to the one that serves now.
        struct sim_node *n = &sim_nodes[t.node];
        if (!n->is_up || !n->is_serving || n->r.epoch != t.epoch)
            n = newest_server();
        if (t.at > sim_now || n == NULL || n->paused_until > sim_now) {
            i++;
            continue;
        }
        tags[i] = tags[--tag_count];
        (void)replica_settle(&n->r, t.epoch, t.seq);
    }
}

static void
consume(bool is_late)
{
    int node = some_server();
    if (node < 0)
        return;
    struct sim_node *n = &sim_nodes[node];
    for (uint64_t seq = 1; seq <= n->top && tag_count < TAGS_MAX; seq++)
        if (n->items[seq].is_live && out[node][seq] != n->r.epoch) {
            out[node][seq] = n->r.epoch;
            refs[n->items[seq].ref].delivered++;
            int64_t wait = is_late ? (int64_t)sim_dice(sim_dice(5) == 0 ? 8000 : 100) : 1;
            tags[tag_count++] = (struct tag){sim_now + wait, node, n->r.epoch, seq};
            return;
        }
}

// --- what goes wrong ---

static int64_t chase_ends; // while the master is kept from the others
static int chased;

static void
chase(bool is_blocked)
{
    for (int b = 0; b < sim_node_count; b++)
        if (b != chased) {
            sim_block(chased, b, is_blocked);
            sim_block(b, chased, is_blocked);
        }
    chase_ends = is_blocked ? sim_now + 100 + (int64_t)sim_dice(2000) : 0;
}

static void
partition(void)
{
    switch (sim_dice(4)) {
    case 0: { // one direction
        int a = (int)sim_dice((uint64_t)sim_node_count), b = (int)sim_dice((uint64_t)sim_node_count);
        if (a != b)
            sim_block(a, b, true);
        break;
    }
    case 1: { // one node alone, from the coordinator too perhaps
        int a = (int)sim_dice((uint64_t)sim_node_count);
        for (int b = 0; b < sim_node_count; b++)
            if (a != b) {
                sim_block(a, b, true);
                sim_block(b, a, true);
            }
        sim_cut_off(a, sim_dice(2) == 0);
        break;
    }
    default: { // two sides, or a bridge between them
        uint64_t side = sim_dice(1u << sim_node_count);
        int bridge = sim_dice(3) == 0 ? (int)sim_dice((uint64_t)sim_node_count) : -1;
        for (int a = 0; a < sim_node_count; a++)
            for (int b = 0; b < sim_node_count; b++)
                if (a != b && a != bridge && b != bridge)
                    sim_block(a, b, ((side >> a) & 1) != ((side >> b) & 1));
        break;
    }
    }
}

static void
heal_some(void)
{
    for (int a = 0; a < sim_node_count; a++) {
        for (int b = 0; b < sim_node_count; b++)
            if (a != b && sim_dice(3) != 0)
                sim_block(a, b, false);
        if (sim_dice(3) != 0)
            sim_cut_off(a, false);
        if (sim_dice(2) == 0)
            sim_start(a);
    }
    if (sim_dice(2) == 0)
        sim_coordinator_down(false);
}

static void
place(void)
{
    int nodes[SIM_NODES_MAX], count = 0;
    for (int i = 0; i < sim_node_count; i++)
        if (sim_dice(4) != 0)
            nodes[count++] = i;
    for (int i = 0; i < sim_node_count && count > 0; i++)
        sim_place(i, nodes, count);
}

static void
nemesis(void)
{
    int node = (int)sim_dice((uint64_t)sim_node_count);
    switch (sim_dice(16)) {
    case 0:
    case 1: sim_crash(node, true); break;
    case 2: sim_crash(node, false); break;
    case 3: // everybody at once
        for (int i = 0; sim_dice(3) == 0 && i < sim_node_count; i++)
            sim_crash(i, sim_dice(2) == 0);
        break;
    case 4:
    case 5: partition(); break;
    case 6: sim_pause(node, (int64_t)sim_dice(4000)); break;
    case 7: sim_slow_disk(node, (int64_t)sim_dice(5000)); break;
    case 8: sim_clock(node, 0.3 + 2.0 * (double)sim_dice(1000) / 1000); break;
    case 9: sim_cut_off(node, true); break;
    case 10: sim_coordinator_down(sim_dice(3) == 0); break;
    case 11: place(); break;
    case 12:
    case 13:
        if (chase_ends == 0 && (chased = some_server()) >= 0)
            chase(true);
        break;
    default: heal_some(); break;
    }
}

// --- a story ---

static bool
is_whole(void)
{
    for (int i = 0; i < sim_node_count; i++)
        if (!record_is_in_sync(&sim_record, sim_nodes[i].store) || replica_has_hole(&sim_nodes[i].r.saved))
            return false;
    int node = some_server();
    return node >= 0 && replica_is_open(&sim_nodes[node].r);
}

static bool
is_drained(void)
{
    if (confirmed_count < ref_count || tag_count > 0)
        return false;
    for (int i = 0; i < sim_node_count; i++)
        for (uint64_t seq = 1; seq <= sim_nodes[i].top; seq++)
            if (sim_nodes[i].items[seq].is_live)
                return false;
    return true;
}

static void
run_to(int64_t until)
{
    while (sim_run_one(until))
        total_events++;
}

static bool
story(uint64_t seed, bool is_when_synced)
{
    const struct sim_hooks hooks = {on_confirmed, is_confirmed, on_lost_contact};
    struct rng first;
    rng_init(&first, seed);
    struct replica_config config = {.is_when_synced = is_when_synced,
                                    .is_manual = rng_below(&first, 5) == 0,
                                    .range_items = 1 + (uint32_t)rng_below(&first, 8),
                                    .suspect_ms = 300,
                                    .stagger_ms = 50,
                                    .defer_ms = 400,
                                    .cas_wait_ms = 50,
                                    .always_after_ms = 1000};
    ref_count = confirmed_count = 0;
    tag_count = 0;
    chase_ends = 0;
    memset(out, 0, sizeof(out));
    sim_begin(seed, rng_below(&first, 3) == 0 ? 5 : 3, &config, &hooks);
    int64_t end = 5000 + (int64_t)rng_below(&first, 25000);
    uint64_t pace = 20 + rng_below(&first, 150); // steps between two of what goes wrong
    bool is_slow = rng_below(&first, 2) == 0;    // a backlog grows
    while (sim_now < end) {
        run_to(sim_now + STEP_MS);
        publish(REFS_MAX * 2 / 3);
        settle();
        if (!is_slow || sim_dice(6) == 0)
            consume(true);
        if (chase_ends != 0 && sim_now >= chase_ends)
            chase(false);
        if (sim_now > 1000 && sim_dice(pace) == 0)
            nemesis();
    }
    sim_heal();
    int all[SIM_NODES_MAX] = {0, 1, 2, 3, 4};
    bool is_good = false;
    int64_t limit = sim_now + 300000;
    while (sim_now < limit && !(is_good = is_whole() && is_drained())) {
        run_to(sim_now + STEP_MS);
        for (int i = 0; i < sim_node_count; i++)
            sim_place(i, all, sim_node_count);
        publish(0);
        settle();
        for (int i = 0; i < 4; i++)
            consume(false);
        int node = some_server();
        if (node >= 0)
            replica_synchronise(&sim_nodes[node].r);
    }
    uint64_t lost = 0;
    for (uint64_t i = 1; i <= ref_count; i++)
        lost += refs[i].is_confirmed && refs[i].delivered == 0;
    total_refs += ref_count;
    total_lost += lost;
    if (!is_good)
        printf("seed %llu: after all has healed it does not come to rest: %llu of %llu confirmed, %d tags, "
               "whole %d\n",
               (unsigned long long)seed, (unsigned long long)confirmed_count, (unsigned long long)ref_count,
               tag_count, is_whole());
    if (lost > 0 && is_when_synced)
        printf("seed %llu: %llu confirmed messages lost\n", (unsigned long long)seed,
               (unsigned long long)lost);
    if (sim_broken > 0 && is_when_synced)
        printf("seed %llu: stores in sync put %llu confirmed messages aside\n", (unsigned long long)seed,
               (unsigned long long)sim_broken);
    sim_end();
    return is_good && ((lost == 0 && sim_broken == 0) || !is_when_synced);
}

int
main(int argc, char **argv)
{
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    uint64_t count = argc > 2 ? strtoull(argv[2], NULL, 10) : 1000;
    bool is_when_synced = argc < 4 || strcmp(argv[3], "always") != 0;
#ifdef LV_PLANTED_BUGS
    replica_bugs = argc > 4 ? (uint32_t)strtoul(argv[4], NULL, 10) : 0;
#endif
    uint64_t promotions = 0, messages = 0;
    for (uint64_t i = 0; i < count; i++) {
        if (!story(seed + i, is_when_synced))
            return 1;
        promotions += sim_promotions;
        messages += sim_messages;
    }
    printf("%llu clusters, %llu messages sent (%llu asked for again), %llu promotions, %llu messages between "
           "nodes: %llu lost\n",
           (unsigned long long)count, (unsigned long long)total_refs, (unsigned long long)total_again,
           (unsigned long long)promotions, (unsigned long long)messages, (unsigned long long)total_lost);
    return 0;
}
