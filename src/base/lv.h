// lv.h: what every file of Leveret includes first: attributes, assertions, the list of banned functions.
//
// LV_ASSERT stays on in release builds; LV_ASSERT_HOT only in debug, sanitizer, fuzz and test builds
// (-DLV_HOT_ASSERTS). Neither is ever applied to input from a socket, a file or another node: that is an
// error path.
#pragma once

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
// These declare the banned names below: once they are in, the order of the includes does not matter any more.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LV_MUST_USE                        __attribute__((warn_unused_result))
#define LV_PRINTF(fmt, args)               __attribute__((format(printf, fmt, args)))
#define LV_CLEANUP(fn)                     __attribute__((cleanup(fn)))
#define LV_UNUSED                          __attribute__((unused))
#define LV_NORETURN                        __attribute__((noreturn))
#define LV_LIKELY(x)                       __builtin_expect(!!(x), 1)
#define LV_UNLIKELY(x)                     __builtin_expect(!!(x), 0)
#define LV_CACHE_LINE                      64
#define LV_ARRAY_LEN(a)                    (sizeof(a) / sizeof((a)[0]))
#define LV_CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))
// Arguments are evaluated twice: never one with a side effect, nor an atomic load.
#define LV_MIN(a, b) ((a) < (b) ? (a) : (b))
#define LV_MAX(a, b) ((a) > (b) ? (a) : (b))

// Prints the expression, its place and a stack trace to standard error, then aborts.
LV_NORETURN void lv_assert_failed(const char *expression, const char *file, int line, const char *function);

#define LV_ASSERT(x) (LV_LIKELY(x) ? (void)0 : lv_assert_failed(#x, __FILE__, __LINE__, __func__))
#ifdef LV_HOT_ASSERTS
#define LV_ASSERT_HOT(x) LV_ASSERT(x)
#else
#define LV_ASSERT_HOT(x) ((void)sizeof(!!(x)))
#endif

// Functions that cannot be used safely with bytes from outside.
#ifndef LV_NO_BAN
#undef alloca
#pragma GCC poison strcpy strcat sprintf vsprintf strncpy strncat strtok gets alloca atoi atol
#endif
