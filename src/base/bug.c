// bug.c: see bug.h.
#include "src/base/bug.h"

uint32_t lv_bugs;

bool
lv_bug_set(const char *name)
{
    static const char *const names[] = {
#define X(name, text) [BUG_##name] = (text),
        LV_BUG_MAP(X)
#undef X
    };
    for (size_t i = 0; i < LV_ARRAY_LEN(names); i++)
        if (strcmp(names[i], name) == 0) {
            lv_bugs |= 1u << i;
            return true;
        }
    return false;
}
