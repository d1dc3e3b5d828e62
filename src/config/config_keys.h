// config_keys.h: the table of all configuration keys: RabbitMQ's (3.10 and those of later versions that
// people use) and ours.
//
// One row a key or family of keys. A pattern is a key whose parts may be `$name` (any one part) or, last,
// `**` (one or more parts). A setting belongs to the row that equals it, else to the first `$` row, else to
// the first `**` row that matches. Unit tests take one case from each row; etc/leveret.conf is generated from
// the table and checked against it. Pure and constant: any thread.
#pragma once

#include "src/base/buf.h"
#include "src/config/config.h"

enum config_type {
    TYPE_TEXT,     // any text that is not empty
    TYPE_ANY,      // any text: keys whose values nobody looks at
    TYPE_INT,      // integer, min … max
    TYPE_COUNT,    // integer, min … max, or "infinity" (CONFIG_UNLIMITED)
    TYPE_BOOL,     // true, on / false, off
    TYPE_CHOICE,   // one of `choices`; stored as its index
    TYPE_FRACTION, // decimal number, min … max
    TYPE_BYTES,    // cuttlefish's byte size: KB, MB, GB are powers of 1024
    TYPE_SIZE,     // RabbitMQ's memory and disk sizes: kB, MB, GB powers of 1000; k, KiB, M, MiB … of 1024
    TYPE_DURATION, // milliseconds, or with units: "1h30m", "10s", "500ms"
    TYPE_LISTENER, // "5672", "127.0.0.1:5672", "::1:5672", "[::1]:5672"
    TYPE_PORT,     // 1 … 65535
    TYPE_IP,       // numeric address
    TYPE_PATH,     // text, absolute path
    TYPE_NODE,     // name@host
    TYPE_LEVEL,    // log level; stored as enum log_level
    TYPE_NONE,     // only the word none
};

enum config_status {
    STATUS_HONOURED, // carried out
    STATUS_IGNORED,  // accepted without effect, a warning gives `why`; none for values in `fine`
    STATUS_REFUSED,  // an error that gives `why`; values in `fine` are accepted
};

enum config_section {
    SECTION_LISTENERS,
    SECTION_CONNECTIONS,
    SECTION_USERS,
    SECTION_OBJECTS,
    SECTION_RESOURCES,
    SECTION_LOG,
    SECTION_NODE,
    SECTION_MANAGEMENT,
    SECTION_TEST,
    SECTION_OTHER,
    SECTION_COUNT
};

enum config_key_flags {
    KEY_SECRET = 1, // the value is never shown
    KEY_RELOAD = 2, // taken over at SIGHUP
    KEY_OURS = 4,   // not a key of RabbitMQ
    KEY_TEST = 8,   // refused unless built with LV_TEST_HOOKS
};

enum config_store {
    STORE_NONE,
    STORE_BOOL,
    STORE_U16,
    STORE_U32,
    STORE_INT,
    STORE_U64,
    STORE_DOUBLE,
    STORE_TEXT
};

struct config_key {
    const char *pattern;
    enum config_type type;
    enum config_status status;
    enum config_section section;
    unsigned flags;          // enum config_key_flags
    enum config_store store; // type of the field
    size_t field;            // its offset in struct config
    double min;              // of numbers; exact for all integers used
    double max;
    const char *choices;  // of TYPE_CHOICE: "a|b,synonym of b|c"
    const char *fallback; // default as it would be written; NULL: unset
    const char *computed; // what the default is, in words, when it is not a constant
    const char *fine;     // "a|b": values that an ignored or refused key may have
    const char *why;      // why ignored or refused
    const char *help;     // what it means, with unit and consequence
    const char *example;  // a valid value, for keys without default
};

extern const struct config_key config_keys_honoured[];
extern const size_t config_keys_honoured_count;
extern const struct config_key config_keys_other[]; // ignored and refused
extern const size_t config_keys_other_count;

// Row by number over both tables; NULL behind the last.
const struct config_key *config_key_at(size_t idx);

// A key split at its dots, `\.` unescaped. LIMIT: parts of a key and bytes of a key.
enum { CONFIG_PARTS_MAX = 12, CONFIG_KEY_BYTES_MAX = 200 };
struct config_key_parts {
    size_t count;
    struct slice parts[CONFIG_PARTS_MAX];
    uint8_t bytes[CONFIG_KEY_BYTES_MAX];
};

// 0; -LE_SYNTAX for an empty part or a character that keys cannot have; -LE_LIMIT.
LV_MUST_USE int config_key_split(struct slice key, struct config_key_parts *ret_parts);
// The row of a key, or NULL.
const struct config_key *config_key_match(const struct config_key_parts *parts);
// The known key most like an unknown one ("" when none is like it).
void config_key_nearest(const struct config_key_parts *parts, char *ret_text, size_t size);
// The value is in the list "a|b,c"; ret_idx (may be NULL) counts the parts between '|'.
bool config_choice_has(const char *choices, struct slice value, size_t *ret_idx);
// Values of this key are never shown: flagged, or of a family and named like a secret.
bool config_key_is_secret(const struct config_key *row, struct slice key);
