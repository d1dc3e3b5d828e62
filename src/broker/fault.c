// fault.c: see fault.h. Texts are cut at 255 bytes, where a short string ends, and never inside a UTF-8 sequence.
#include "src/broker/fault.h"

#include <stdarg.h>
#include <stdio.h>

static const struct {
    uint16_t code;
    bool is_connection;
    const char *name;
} fault_table[] = {
    {FAULT_CONTENT_TOO_LARGE, false, "CONTENT_TOO_LARGE"},
    {FAULT_NO_ROUTE, false, "NO_ROUTE"},
    {FAULT_NO_CONSUMERS, false, "NO_CONSUMERS"},
    {FAULT_CONNECTION_FORCED, true, "CONNECTION_FORCED"},
    {FAULT_INVALID_PATH, true, "INVALID_PATH"},
    {FAULT_ACCESS_REFUSED, false, "ACCESS_REFUSED"},
    {FAULT_NOT_FOUND, false, "NOT_FOUND"},
    {FAULT_RESOURCE_LOCKED, false, "RESOURCE_LOCKED"},
    {FAULT_PRECONDITION_FAILED, false, "PRECONDITION_FAILED"},
    {FAULT_FRAME_ERROR, true, "FRAME_ERROR"},
    {FAULT_SYNTAX_ERROR, true, "SYNTAX_ERROR"},
    {FAULT_COMMAND_INVALID, true, "COMMAND_INVALID"},
    {FAULT_CHANNEL_ERROR, true, "CHANNEL_ERROR"},
    {FAULT_UNEXPECTED_FRAME, true, "UNEXPECTED_FRAME"},
    {FAULT_RESOURCE_ERROR, true, "RESOURCE_ERROR"},
    {FAULT_NOT_ALLOWED, true, "NOT_ALLOWED"},
    {FAULT_NOT_IMPLEMENTED, true, "NOT_IMPLEMENTED"},
    {FAULT_INTERNAL_ERROR, true, "INTERNAL_ERROR"},
};

const char *
fault_code_name(uint16_t code)
{
    for (size_t i = 0; i < LV_ARRAY_LEN(fault_table); i++) {
        if (fault_table[i].code == code)
            return fault_table[i].name;
    }
    return "UNKNOWN";
}

void
fault_set(struct fault *f, uint16_t code, const char *fmt, ...)
{
    f->code = code;
    f->is_connection = false;
    f->reason = 0;
    for (size_t i = 0; i < LV_ARRAY_LEN(fault_table); i++) {
        if (fault_table[i].code == code)
            f->is_connection = fault_table[i].is_connection;
    }
    char whole[1024]; // longer than any text that can be shown, so that the cut is ours
    int at = snprintf(whole, sizeof whole, "%s - ", fault_code_name(code));
    LV_ASSERT(at > 0 && (size_t)at < sizeof whole);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(whole + at, sizeof whole - (size_t)at, fmt, ap);
    va_end(ap);
    size_t len = strlen(whole);
    if (len > sizeof f->text - 1) {
        len = sizeof f->text - 1;
        while (len > 0 && ((uint8_t)whole[len] & 0xc0) == 0x80)
            len--;
    }
    memcpy(f->text, whole, len);
    f->text[len] = '\0';
}
