// ctl_test.h: what the tests of leveretctl share: cmocka, and comparing texts.
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka wants those before it.
#include <cmocka.h>

#include "src/base/buf.h"

#define assert_text(b, text) assert_string_equal(buf_cstr(b), (text))
