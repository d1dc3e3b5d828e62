// powercut.h: files and folders in memory behind the table of src/base/io.h, with a plug to pull.
//
// It remembers apart what programs see (as in the page cache) and what is durable: file bytes by sector of 512, sizes, and names.
// A power cut keeps of each unsynced sector the durable bytes, those of any write since, or a torn mixture; any size between
// the durable and the seen one; and any subset of the creations, renames and unlinks since the last sync_dir. All by seed, so
// every cut can be repeated. Faults come from a plan: the n-th call of a kind fails, once or for ever, or does less than it was
// asked; a failed sync loses the pages and calls them clean, as Linux does. One thread.
#pragma once

#include "src/base/io.h"

enum powercut_call { // bits, so that a fault may mean several
    CUT_OPEN = 1u << 0,
    CUT_READ = 1u << 1,
    CUT_WRITE = 1u << 2,
    CUT_FDATASYNC = 1u << 3,
    CUT_FSYNC = 1u << 4,
    CUT_TRUNCATE = 1u << 5,
    CUT_ALLOCATE = 1u << 6,
    CUT_RENAME = 1u << 7,
    CUT_UNLINK = 1u << 8,
    CUT_MKDIR = 1u << 9,
    CUT_SYNC_DIR = 1u << 10,
    CUT_LIST = 1u << 11,
    CUT_OTHER = 1u << 12, // close, size, space
    CUT_SYNC_ALL = 1u << 13,
    CUT_ANY = (1u << 14) - 1,
    CUT_CHANGES = CUT_WRITE | CUT_FDATASYNC | CUT_FSYNC | CUT_TRUNCATE | CUT_ALLOCATE | CUT_RENAME |
                  CUT_UNLINK | CUT_MKDIR | CUT_SYNC_DIR | CUT_SYNC_ALL, // what a device can refuse
};

struct powercut_fault {
    unsigned calls; // enum powercut_call
    uint64_t at;    // the n-th of these calls from now on, from 1
    uint64_t count; // how many of them in a row; 0: for ever
    int error;      // -LE_xxx; 0: no error, but a write takes only a part
    bool is_off;    // instead of an error: the power goes off at this call, which is not carried out
};

struct powercut;

struct powercut *powercut_new(uint64_t seed); // aborts when out of memory
void powercut_free(struct powercut *p);
const struct io *powercut_io(struct powercut *p);

// LIMIT: faults planned at a time: 8.
void powercut_plan(struct powercut *p, const struct powercut_fault *fault);
void powercut_clear_plan(struct powercut *p);
// Bytes of all files together; beyond it writes and allocations fail with -LE_NOSPACE.
void powercut_set_capacity(struct powercut *p, uint64_t bytes);

// The power is off: by plan, every call fails. powercut_cut ends it too.
bool powercut_is_off(const struct powercut *p);
// The process dies and the power goes off: only what is durable, and what chance kept, is there afterwards. Descriptors are closed.
void powercut_cut(struct powercut *p);
// The process alone dies (kill -9): everything written stays seen. Descriptors are closed, the power is on again.
void powercut_kill(struct powercut *p);

uint64_t powercut_calls(const struct powercut *p); // made so far
size_t powercut_open_count(const struct powercut *p);
// Flips bits of the durable and the seen byte alike: bit rot. False when there is no such byte.
bool powercut_rot(struct powercut *p, const char *path, uint64_t offset, uint8_t mask);
