// test_api_tokens.c: tokens: whose they are, and when they end.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "src/base/mem.h"
#include "src/management/api_tokens.h"

enum { IDLE = 1000 };

static struct world {
    struct topology topology;
    struct pmap_edit edit;
    struct user users[3];
    struct api_tokens *tokens;
} z;

static bool
is_user(const void *value, const void *key)
{
    return slice_eq(((const struct user *)value)->name, *(const struct slice *)key);
}

static void
put(struct user *u)
{
    pmap_put(&z.topology.users, &z.edit, slice_hash(u->name), is_user, &u->name, u);
}

static void
take_away(struct user *u)
{
    (void)pmap_remove(&z.topology.users, &z.edit, slice_hash(u->name), is_user, &u->name);
}

static int
setup(void **state)
{
    memset(&z, 0, sizeof z);
    pmap_edit_begin(&z.edit);
    z.users[0] = (struct user){.name = SLICE_LIT("joe"), .password_hash = SLICE_LIT("salt and digest")};
    z.users[1] = (struct user){.name = SLICE_LIT("ann"), .password_hash = SLICE_LIT("salt and digest")};
    z.users[2] = (struct user){.name = SLICE_LIT("bob"), .password_hash = SLICE_LIT("another digest")};
    for (size_t i = 0; i < LV_ARRAY_LEN(z.users); i++)
        put(&z.users[i]);
    z.tokens = api_tokens_new();
    return 0;
}

static int
teardown(void **state)
{
    for (size_t i = 0; i < LV_ARRAY_LEN(z.users); i++)
        take_away(&z.users[i]);
    pmap_retired_free(pmap_edit_end(&z.edit));
    api_tokens_free(z.tokens);
    return 0;
}

struct text {
    char text[API_TOKEN_LEN + 1];
};

static struct text
make(const struct user *u, int64_t now_ms)
{
    struct text made;
    assert_int_equal(api_token_make(z.tokens, u, now_ms, made.text), 0);
    assert_int_equal(strlen(made.text), API_TOKEN_LEN);
    return made;
}

static const struct user *
whose(const char *token, int64_t now_ms)
{
    return api_token_user(z.tokens, &z.topology, slice_str(token), IDLE, now_ms);
}

static void
test_each_token_is_its_users(void **state)
{
    struct text joe = make(&z.users[0], 0), ann = make(&z.users[1], 0), again = make(&z.users[0], 0);
    assert_string_not_equal(joe.text, again.text);
    assert_ptr_equal(whose(joe.text, 1), &z.users[0]);
    assert_ptr_equal(whose(ann.text, 1), &z.users[1]);
    assert_ptr_equal(whose(again.text, 1), &z.users[0]);
}

static void
test_what_is_no_token_is_nobodys(void **state)
{
    struct text joe = make(&z.users[0], 0);
    char other[API_TOKEN_LEN + 2];
    assert_null(whose("", 1));
    assert_null(whose("joe", 1));
    for (size_t i = 0; i < API_TOKEN_LEN; i++) { // every character counts
        memcpy(other, joe.text, sizeof joe.text);
        other[i] = other[i] == 'A' ? 'B' : 'A';
        assert_null(whose(other, 1));
    }
    snprintf(other, sizeof other, "%sA", joe.text);
    assert_null(whose(other, 1));
    assert_ptr_equal(whose(joe.text, 1), &z.users[0]);
}

static void
test_a_token_that_is_not_used_ends(void **state)
{
    struct text joe = make(&z.users[0], 0);
    assert_non_null(whose(joe.text, IDLE));     // each use begins anew
    assert_non_null(whose(joe.text, 2 * IDLE)); // not longer than IDLE after the one before
    assert_null(whose(joe.text, 3 * IDLE + 1));
    assert_null(whose(joe.text, 3 * IDLE)); // an end is for good
    assert_int_equal(api_token_count(z.tokens), 0);
}

static void
test_logging_out_ends_one(void **state)
{
    struct text first = make(&z.users[0], 0), second = make(&z.users[0], 0);
    api_token_drop(z.tokens, slice_str(first.text));
    api_token_drop(z.tokens, slice_str("no such token"));
    assert_null(whose(first.text, 1));
    assert_non_null(whose(second.text, 1));
}

static void
test_another_password_ends_all_of_the_user(void **state)
{
    struct text joe = make(&z.users[0], 0), again = make(&z.users[0], 0), ann = make(&z.users[1], 0);
    z.users[0].password_hash = SLICE_LIT("new salt and digest");
    assert_null(whose(joe.text, 1));
    assert_null(whose(again.text, 1));
    assert_non_null(whose(ann.text, 1));
    z.users[1].password_hash = SLICE_EMPTY; // no log-in by password at all
    assert_null(whose(ann.text, 1));
}

static void
test_a_user_that_is_deleted_takes_them_along(void **state)
{
    struct text joe = make(&z.users[0], 0);
    take_away(&z.users[0]);
    assert_null(whose(joe.text, 1));
    put(&z.users[0]); // made again, and be it with the same password: a log-in is needed
    assert_null(whose(joe.text, 1));
}

static void
test_the_longest_unused_makes_room(void **state)
{
    struct text tokens[API_TOKENS_OF_USER_MAX], ann = make(&z.users[1], 0);
    for (int i = 0; i < API_TOKENS_OF_USER_MAX; i++)
        tokens[i] = make(&z.users[0], i);
    assert_non_null(whose(tokens[0].text, 100));
    struct text last = make(&z.users[0], 101);
    assert_non_null(whose(last.text, 102));
    assert_non_null(whose(tokens[0].text, 102));
    assert_null(whose(tokens[1].text, 102));
    assert_non_null(whose(tokens[2].text, 102));
    assert_non_null(whose(ann.text, 102)); // nobody else's
    assert_int_equal(api_token_count(z.tokens), API_TOKENS_OF_USER_MAX + 1);
}

static void
test_there_is_a_limit_for_all_users(void **state)
{
    char name[16];
    struct text first = make(&z.users[2], 0);
    for (int i = 0; i < API_TOKENS_MAX; i++) {
        snprintf(name, sizeof name, "u%d", i);
        struct user u = {.name = slice_str(name), .password_hash = SLICE_LIT("x")};
        (void)make(&u, 1);
    }
    assert_int_equal(api_token_count(z.tokens), API_TOKENS_MAX);
    assert_null(whose(first.text, 2));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_each_token_is_its_users, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_is_no_token_is_nobodys, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_token_that_is_not_used_ends, setup, teardown),
        cmocka_unit_test_setup_teardown(test_logging_out_ends_one, setup, teardown),
        cmocka_unit_test_setup_teardown(test_another_password_ends_all_of_the_user, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_user_that_is_deleted_takes_them_along, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_longest_unused_makes_room, setup, teardown),
        cmocka_unit_test_setup_teardown(test_there_is_a_limit_for_all_users, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
