// config_keys.c: finding the row of a key. The tables themselves: config_table.c, config_table_other.c.
//
// A few hundred rows are scanned; configuration is read at start-up and at SIGHUP only.
#include "src/config/config_keys.h"

#include <stdio.h>

const struct config_key *
config_key_at(size_t idx)
{
    if (idx < config_keys_honoured_count)
        return &config_keys_honoured[idx];
    idx -= config_keys_honoured_count;
    return idx < config_keys_other_count ? &config_keys_other[idx] : NULL;
}

static bool
is_key_char(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
}

int
config_key_split(struct slice key, struct config_key_parts *ret_parts)
{
    struct config_key_parts *p = ret_parts;
    size_t used = 0;
    size_t start = 0;
    p->count = 0;
    if (key.len > CONFIG_KEY_BYTES_MAX)
        return -LE_LIMIT;
    for (size_t i = 0; i <= key.len; i++) {
        if (i == key.len || key.ptr[i] == '.') {
            if (used == start)
                return -LE_SYNTAX;
            if (p->count == CONFIG_PARTS_MAX)
                return -LE_LIMIT;
            p->parts[p->count++] = slice_of(p->bytes + start, used - start);
            start = used;
        } else if (key.ptr[i] == '\\' && i + 1 < key.len && key.ptr[i + 1] == '.') {
            p->bytes[used++] = '.';
            i++;
        } else if (is_key_char(key.ptr[i])) {
            p->bytes[used++] = key.ptr[i];
        } else {
            return -LE_SYNTAX;
        }
    }
    return 0;
}

// Walks the parts of a pattern.
static bool
next_part(const char **cursor, struct slice *ret_part)
{
    if (**cursor == '\0')
        return false;
    size_t len = strcspn(*cursor, ".");
    *ret_part = slice_of(*cursor, len);
    *cursor += len;
    if (**cursor == '.')
        (*cursor)++;
    return true;
}

enum match { MATCH_NO, MATCH_FAMILY, MATCH_NAME, MATCH_EXACT };

static enum match
match_pattern(const char *pattern, const struct config_key_parts *parts)
{
    enum match best = MATCH_EXACT;
    struct slice part;
    size_t i = 0;
    for (; next_part(&pattern, &part); i++) {
        if (slice_eq_str(part, "**"))
            return i < parts->count ? MATCH_FAMILY : MATCH_NO;
        if (i >= parts->count)
            return MATCH_NO;
        if (part.ptr[0] == '$')
            best = MATCH_NAME;
        else if (!slice_eq(part, parts->parts[i]))
            return MATCH_NO;
    }
    return i == parts->count ? best : MATCH_NO;
}

const struct config_key *
config_key_match(const struct config_key_parts *parts)
{
    const struct config_key *found = NULL;
    enum match best = MATCH_NO;
    const struct config_key *row;
    for (size_t i = 0; (row = config_key_at(i)) != NULL; i++) {
        // No pattern starts with `$`: most rows end here.
        if (row->pattern[0] != (char)parts->parts[0].ptr[0])
            continue;
        enum match m = match_pattern(row->pattern, parts);
        if (m > best) {
            best = m;
            found = row;
        }
    }
    return found;
}

// What the fuzzer would learn from the comparisons inside is not worth their price.
#ifdef __clang__
#define NO_COVERAGE __attribute__((noinline, no_sanitize("coverage")))
#else
#define NO_COVERAGE
#endif

// The pattern as it would be written for this key: `$name` parts become the key's own, a family ends before
// its `**`.
NO_COVERAGE static size_t
pattern_text(const char *pattern, const struct config_key_parts *parts, char *text, size_t size)
{
    struct slice part;
    size_t len = 0;
    for (size_t i = 0; next_part(&pattern, &part); i++) {
        if (slice_eq_str(part, "**"))
            break;
        if (part.ptr[0] == '$' && i < parts->count)
            part = parts->parts[i];
        if (len + part.len + 2 > size)
            break;
        if (len > 0)
            text[len++] = '.';
        memcpy(text + len, part.ptr, part.len);
        len += part.len;
    }
    text[len] = '\0';
    return len;
}

enum { DISTANCE_TEXT_MAX = CONFIG_KEY_BYTES_MAX + 60 };

// Levenshtein's distance by rows, given up (and `limit` returned) as soon as it cannot be below `limit`.
NO_COVERAGE static size_t
edit_distance(struct slice a, struct slice b, size_t limit)
{
    uint16_t row[DISTANCE_TEXT_MAX + 1];
    LV_ASSERT(b.len <= DISTANCE_TEXT_MAX);
    for (size_t j = 0; j <= b.len; j++)
        row[j] = (uint16_t)j;
    for (size_t i = 1; i <= a.len; i++) {
        uint16_t diagonal = row[0];
        uint16_t least = (uint16_t)i;
        row[0] = (uint16_t)i;
        for (size_t j = 1; j <= b.len; j++) {
            uint16_t replace = (uint16_t)(diagonal + (a.ptr[i - 1] != b.ptr[j - 1]));
            uint16_t insert = (uint16_t)(LV_MIN(row[j], row[j - 1]) + 1);
            diagonal = row[j];
            row[j] = LV_MIN(replace, insert);
            least = LV_MIN(least, row[j]);
        }
        if (least >= limit)
            return limit;
    }
    return LV_MIN((size_t)row[b.len], limit);
}

NO_COVERAGE void
config_key_nearest(const struct config_key_parts *parts, char *ret_text, size_t size)
{
    char key[DISTANCE_TEXT_MAX];
    char candidate[DISTANCE_TEXT_MAX];
    size_t key_len = 0;
    for (size_t i = 0; i < parts->count; i++) {
        int n = snprintf(key + key_len, sizeof key - key_len, "%s%.*s", i == 0 ? "" : ".",
                         SLICE_FMT(parts->parts[i]));
        if (n < 0 || (size_t)n >= sizeof key - key_len)
            break;
        key_len += (size_t)n;
    }
    // A suggestion is worth making when about two thirds of the key are right.
    size_t best = LV_MAX(key_len / 3, (size_t)2) + 1;
    ret_text[0] = '\0';
    const struct config_key *row;
    for (size_t i = 0; (row = config_key_at(i)) != NULL; i++) {
        size_t pattern_len = strlen(row->pattern);
        // A pattern without names is its own text; the others may grow by the key's parts.
        if (strchr(row->pattern, '$') == NULL && pattern_len + best < key_len)
            continue;
        size_t len = pattern_text(row->pattern, parts, candidate, sizeof candidate);
        size_t gap = len > key_len ? len - key_len : key_len - len;
        if (gap >= best)
            continue;
        size_t distance = edit_distance(slice_of(key, key_len), slice_of(candidate, len), best);
        if (distance < best) {
            best = distance;
            snprintf(ret_text, size, "%s", candidate);
        }
    }
}

bool
config_choice_has(const char *choices, struct slice value, size_t *ret_idx)
{
    size_t idx = 0;
    if (choices == NULL || value.len == 0)
        return false;
    for (const char *p = choices; *p != '\0'; p++) {
        size_t len = strcspn(p, "|,");
        if (slice_eq(slice_of(p, len), value)) {
            if (ret_idx != NULL)
                *ret_idx = idx;
            return true;
        }
        p += len;
        if (*p == '\0')
            break;
        if (*p == '|')
            idx++;
    }
    return false;
}

bool
config_key_is_secret(const struct config_key *row, struct slice key)
{
    static const char *const words[] = {"pass",       "secret", "token", "private",
                                        "credential", "psk",    ".key",  "keyfile"};
    if (row != NULL && row->status == STATUS_HONOURED)
        return (row->flags & KEY_SECRET) != 0;
    if (row != NULL && (row->flags & KEY_SECRET) != 0)
        return true;
    for (size_t i = 0; i < LV_ARRAY_LEN(words); i++) {
        if (key.len > 0 && memmem(key.ptr, key.len, words[i], strlen(words[i])) != NULL)
            return true;
    }
    return false;
}
