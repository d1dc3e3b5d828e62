// bug.h: bugs that test builds carry along, asleep: a test that does not find them when they are switched on (test.bug) proves nothing.
//
// Each is one condition at the place it spoils: `if (LV_BUG(PARTIAL_PUBLISH)) …`; in other builds the condition is false and the code
// gone. Switched on before the threads start, constant from then on. The store has bugs of its own (store/log_ring.h, store/backlog_format.h).
#pragma once

#include "src/base/lv.h"

#define LV_BUG_MAP(X)                                                                                        \
    X(PARTIAL_PUBLISH, "partial-publish") /* a publish whose client died in the middle counts */             \
    X(TX_ON_CLOSE, "tx-on-close")         /* a transaction whose client died is committed */                 \
    X(CONFIRM_EARLY, "confirm-early")     /* a publish is confirmed when it goes to the log */               \
    X(UNMARKED, "unmarked")               /* what is recovered is not marked redelivered */                  \
    X(META_EARLY, "meta-early")           /* a change of metadata is answered before it is committed */      \
    X(REFUSED_COUNTS, "refused-counts")   /* a publish that a queue refused is confirmed */                  \
    X(META_UNSYNCED, "meta-unsynced")     /* SQLite does not sync its files */                               \
    X(ALARM_STAYS, "alarm-stays")         /* an alarm that has ended is not told to publishers */            \
    X(LEAK_CONTENT, "leak-content")       /* the memory of half a message is not given back */

enum lv_bug {
#define X(name, text) BUG_##name,
    LV_BUG_MAP(X)
#undef X
};

#ifdef LV_TEST_HOOKS
extern uint32_t lv_bugs; // bits of enum lv_bug
#define LV_BUG(name) LV_UNLIKELY((lv_bugs & (1u << BUG_##name)) != 0)
bool lv_bug_set(const char *name); // false: there is no such bug
#else
#define LV_BUG(name) false
#endif
