// store_fixture.h: a commit log in memory with known content, to be damaged: which bytes hold which message, and what a start makes of it.
//
// The log has several sealed segments and a newest one, groups of one to four messages with one or several queues, a few acks, and one
// large body. fixture_disk gives a fresh disk with those files; fixture_judge starts a log on it and says how each message fared.
#pragma once

#include "src/store/log_core.h"
#include "tests/sim/powercut.h"

enum { FIXTURE_FILES_MAX = 16, FIXTURE_MESSAGES_MAX = 4096, FIXTURE_QUEUES = 5 };

struct fixture_file { // of the folder log, as it was when the process died
    char name[32];
    uint8_t *bytes;
    uint64_t size;
    uint64_t generation; // 0: never used
};

struct fixture_message { // one name: (queue, seq)
    uint64_t queue, seq;
    bool is_acked;
    uint64_t generation;     // where its record lies
    uint64_t group_at;       // the group's first byte
    uint64_t group_end;      // and behind its last record, without the padding
    uint64_t padded_end;     // and with it
    uint64_t at, end;        // the record
    uint64_t group_number;   // ascending
    uint64_t acked_in_group; // 0: not acked
    bool is_large;
};

struct fixture {
    uint32_t segment_bytes;
    struct fixture_file files[FIXTURE_FILES_MAX];
    size_t file_count;
    struct fixture_message messages[FIXTURE_MESSAGES_MAX];
    size_t message_count;
    uint64_t newest;     // generation
    uint64_t newest_end; // bytes of it that are used
    uint64_t last_group; // number
    uint8_t *large;      // the one file of the folder large
    uint64_t large_size;
    char large_name[64];
};

// `groups` groups; a log that has lapped its ring once when `is_lapped`.
struct fixture *fixture_new(uint64_t seed, uint32_t segment_bytes, unsigned groups);
void fixture_free(struct fixture *f);

// All files as they were.
struct powercut *fixture_disk(const struct fixture *f, uint64_t seed);
struct fixture_file *fixture_newest(struct fixture *f);
struct fixture_file *fixture_by_generation(struct fixture *f, uint64_t generation);

enum fate {
    FATE_KEPT,
    FATE_LOST,
    FATE_DETECTED
}; // DETECTED: listed, but reading it back says that it is damaged

struct fixture_verdict {
    int error; // of the start
    struct msglog_report report;
    const char *wrong;                     // what no damage excuses; NULL: nothing
    enum fate fates[FIXTURE_MESSAGES_MAX]; // acked ones: KEPT means that it came back
    uint64_t kept, lost, detected;
};

// Starts a log on the disk, looks at every message, publishes one more, and starts again. `wrong`: content that is not what was written,
// messages that nobody wrote, a log that takes no new message or loses it, another outcome at the second start.
void fixture_judge(const struct fixture *f, struct powercut *disk, struct fixture_verdict *ret);
