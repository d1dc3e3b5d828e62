// fault.h: a protocol error as a value: AMQP reply code, scope and text, built where it is found (AMQP 0-9-1 §4.10).
//
// `text` is the whole reply-text as RabbitMQ writes it ("NOT_FOUND - no queue 'q' in vhost '/'"), at most 255 bytes. class and
// method ids are filled in by the wire layer from the method being carried out.
#pragma once

#include "src/base/lv.h"
#include "src/base/slice.h"

enum fault_code {
    FAULT_NONE = 0,
    FAULT_CONTENT_TOO_LARGE = 311,
    FAULT_NO_ROUTE = 312,
    FAULT_NO_CONSUMERS = 313,
    FAULT_CONNECTION_FORCED = 320,
    FAULT_INVALID_PATH = 402,
    FAULT_ACCESS_REFUSED = 403,
    FAULT_NOT_FOUND = 404,
    FAULT_RESOURCE_LOCKED = 405,
    FAULT_PRECONDITION_FAILED = 406,
    FAULT_FRAME_ERROR = 501,
    FAULT_SYNTAX_ERROR = 502,
    FAULT_COMMAND_INVALID = 503,
    FAULT_CHANNEL_ERROR = 504,
    FAULT_UNEXPECTED_FRAME = 505,
    FAULT_RESOURCE_ERROR = 506,
    FAULT_NOT_ALLOWED = 530,
    FAULT_NOT_IMPLEMENTED = 540,
    FAULT_INTERNAL_ERROR = 541,
};

struct fault {
    uint16_t code;      // enum fault_code; FAULT_NONE: no fault
    bool is_connection; // closes the connection, not only the channel
    uint8_t reason; // enum reason_kind (reasons.h) when a limit or the like is the cause; 0: the code says it
    char text[256]; // NUL-terminated, at most 255 bytes, valid UTF-8 as far as its parts are
};

// "ACCESS_REFUSED" for 403 and so on; "UNKNOWN" otherwise.
const char *fault_code_name(uint16_t code);

// Sets code, the scope RabbitMQ gives that code (501-506, 530, 540, 541 and 320 close the connection) and
// "CODE_NAME - " followed by the formatted detail, cut at 255 bytes on a UTF-8 boundary.
void fault_set(struct fault *f, uint16_t code, const char *fmt, ...) LV_PRINTF(3, 4);
