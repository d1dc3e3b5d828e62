// console.c: see console.h.
#include "src/management/console.h"

const char console_csp[] =
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
    "trusted-types 'none'";

const struct console_file *
console_find(struct slice path)
{
    for (size_t i = 0; i < console_file_count; i++) {
        if (slice_eq_str(path, console_files[i].path))
            return &console_files[i];
    }
    return NULL;
}
