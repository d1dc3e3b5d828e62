// leveretctl_similar.c: Jaro similarity: letters in common near the same place, less half of those out of order.
#include "src/cli/leveretctl_similar.h"

// LIMIT: letters compared; longer words are like nothing.
enum { WORD_MAX = 64 };

double
ctl_similarity(const char *a, const char *b)
{
    size_t a_len = strlen(a), b_len = strlen(b);
    bool a_hit[WORD_MAX] = {false}, b_hit[WORD_MAX] = {false};
    if (a_len == 0 || b_len == 0 || a_len > WORD_MAX || b_len > WORD_MAX)
        return 0;
    size_t longest = LV_MAX(a_len, b_len), reach = longest / 2 > 0 ? longest / 2 - 1 : 0;
    size_t common = 0, moved = 0;
    for (size_t i = 0; i < a_len; i++) {
        size_t end = LV_MIN(b_len, i + reach + 1);
        for (size_t k = i > reach ? i - reach : 0; k < end; k++) {
            if (b_hit[k] || a[i] != b[k])
                continue;
            a_hit[i] = b_hit[k] = true;
            common++;
            break;
        }
    }
    if (common == 0)
        return 0;
    for (size_t i = 0, k = 0; i < a_len; i++) {
        if (!a_hit[i])
            continue;
        while (!b_hit[k])
            k++;
        moved += a[i] != b[k++];
    }
    double m = (double)common;
    return (m / (double)a_len + m / (double)b_len + (m - (double)moved / 2) / m) / 3;
}

struct search {
    const char *word, *best;
    double similarity;
};

static void
compare(const struct ctl_command *command, void *ctx)
{
    struct search *s = ctx;
    double similarity = ctl_similarity(s->word, command->name);
    if (similarity > s->similarity) {
        s->similarity = similarity;
        s->best = command->name;
    }
}

const char *
ctl_similar_command(enum ctl_tool tool, const char *word)
{
    struct search s = {.word = word, .similarity = 0.8};
    ctl_command_each(tool, compare, &s);
    return s.best;
}
