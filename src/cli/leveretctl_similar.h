// leveretctl_similar.h: "Did you mean": the command whose name is nearest to a word.
#pragma once

#include "src/cli/leveretctl.h"

// Jaro's similarity of two texts, 0 … 1.
double ctl_similarity(const char *a, const char *b);
// The most similar command's name if it is similar enough (above 0.8, as rabbitmqctl has it), or NULL.
const char *ctl_similar_command(enum ctl_tool tool, const char *word);
