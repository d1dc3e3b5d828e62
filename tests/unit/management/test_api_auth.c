// test_api_auth.c: log-ins over HTTP: who gets in, who has to wait, who is remembered.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "src/base/mem.h"
#include "src/broker/auth.h"
#include "src/management/api_auth.h"

enum { BURST = 20, FORGIVE_MS = 10000 }; // api_auth.c

static struct world {
    struct topology topology;
    struct pmap_edit edit;
    struct user joe, empty;
    uint8_t hash[PASSWORD_HASH_MAX];
    struct api_auth *auth;
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
set_password(const char *password)
{
    size_t len;
    assert_int_equal(
        password_hash_make(slice_str(password), SLICE_LIT("rabbit_password_hashing_sha256"), z.hash, &len),
        0);
    z.joe.password_hash = slice_of(z.hash, len);
}

static int
setup(void **state)
{
    memset(&z, 0, sizeof z);
    pmap_edit_begin(&z.edit);
    z.joe = (struct user){.name = SLICE_LIT("joe"), .hashing = SLICE_LIT("rabbit_password_hashing_sha256")};
    z.empty =
        (struct user){.name = SLICE_LIT("empty"), .hashing = SLICE_LIT("rabbit_password_hashing_sha256")};
    set_password("right");
    put(&z.joe);
    put(&z.empty);
    z.auth = api_auth_new();
    return 0;
}

static int
teardown(void **state)
{
    struct slice names[2] = {z.joe.name, z.empty.name};
    for (int i = 0; i < 2; i++)
        assert_non_null(pmap_remove(&z.topology.users, &z.edit, slice_hash(names[i]), is_user, &names[i]));
    pmap_retired_free(pmap_edit_end(&z.edit));
    api_auth_free(z.auth);
    return 0;
}

static enum api_login
check(const char *user, const char *password, const char *address, int64_t now_ms)
{
    struct api_credentials c = {.user = slice_str(user), .password = slice_str(password), .address = address};
    return api_auth_check(z.auth, &z.topology, &c, now_ms);
}

static void
test_passwords(void **state)
{
    assert_int_equal(check("joe", "right", "a", 0), API_LOGIN_OK);
    assert_int_equal(check("joe", "wrong", "a", 0), API_LOGIN_REFUSED);
    assert_int_equal(check("joe", "", "a", 0), API_LOGIN_REFUSED);
    assert_int_equal(check("nobody", "right", "a", 0), API_LOGIN_REFUSED);
    assert_int_equal(check("empty", "", "a", 0), API_LOGIN_REFUSED); // no password is no log-in
    assert_int_equal(check("", "", "a", 0), API_LOGIN_REFUSED);
    struct api_auth_attempts n;
    api_auth_attempts(z.auth, &n);
    assert_int_equal(n.attempts, 6);
    assert_int_equal(n.refused, 5);
}

static void
test_from_elsewhere(void **state)
{
    struct api_credentials c = {.user = SLICE_LIT("joe"),
                                .password = SLICE_LIT("right"),
                                .address = "a",
                                .is_from_elsewhere_refused = true};
    assert_int_equal(api_auth_check(z.auth, &z.topology, &c, 0), API_LOGIN_REFUSED);
    c.is_from_elsewhere_refused = false;
    assert_int_equal(api_auth_check(z.auth, &z.topology, &c, 0), API_LOGIN_OK);
    c.is_from_elsewhere_refused = true; // that it is remembered does not let it in
    assert_int_equal(api_auth_check(z.auth, &z.topology, &c, 0), API_LOGIN_REFUSED);
}

static void
test_waiting(void **state)
{
    for (int i = 0; i < BURST; i++)
        assert_int_equal(check("joe", "wrong", "a", 0), API_LOGIN_REFUSED);
    assert_int_equal(check("joe", "wrong", "a", 0), API_LOGIN_WAIT);
    assert_int_equal(check("joe", "right", "a", 0), API_LOGIN_WAIT); // it was never seen to be right
    assert_int_equal(check("joe", "right", "b", 0), API_LOGIN_OK);   // another address
    assert_int_equal(check("joe", "right", "a", 0), API_LOGIN_OK);   // now it was
    assert_int_equal(check("joe", "wrong", "a", FORGIVE_MS), API_LOGIN_REFUSED);
    assert_int_equal(check("joe", "wrong", "a", FORGIVE_MS), API_LOGIN_WAIT);
    assert_int_equal(check("joe", "wrong", "a", 0), API_LOGIN_WAIT); // a clock that goes back
    for (int i = 0; i < BURST; i++)
        assert_int_equal(check("joe", "wrong", "a", 1000 * FORGIVE_MS), API_LOGIN_REFUSED);
}

// A new password ends what was remembered of the old one.
static void
test_changed_password(void **state)
{
    assert_int_equal(check("joe", "right", "a", 0), API_LOGIN_OK);
    set_password("other");
    assert_int_equal(check("joe", "right", "a", 0), API_LOGIN_REFUSED);
    assert_int_equal(check("joe", "other", "a", 0), API_LOGIN_OK);
}

// More addresses than are remembered: memory stays, and the youngest are kept.
static void
test_many_addresses(void **state)
{
    char address[32];
    for (int i = 0; i < 5000; i++) {
        snprintf(address, sizeof address, "10.0.%d.%d", i / 256, i % 256);
        assert_int_equal(check("joe", "wrong", address, i), API_LOGIN_REFUSED);
    }
    for (int i = 0; i < BURST - 1; i++)
        assert_int_equal(check("joe", "wrong", address, 5000), API_LOGIN_REFUSED);
    assert_int_equal(check("joe", "wrong", address, 5000), API_LOGIN_WAIT);
}

static void
test_headers(void **state)
{
    static const struct {
        const char *header, *user, *password; // user NULL: none
    } cases[] = {
        {"Basic am9lOnJpZ2h0", "joe", "right"},
        {"basic am9lOnJpZ2h0", "joe", "right"},
        {"Basic am9lOmE6Yg==", "joe", "a:b"},
        {"Basic Og==", "", ""},
        {"Basic am9l", NULL, NULL},
        {"Basic", NULL, NULL},
        {"Basic ", NULL, NULL},
        {"Basic ???", NULL, NULL},
        {"Bearer am9lOnJpZ2h0", NULL, NULL},
        {"Basic am8AZTpyaWdodA==", NULL, NULL}, // a NUL in the name
    };
    for (size_t i = 0; i < LV_ARRAY_LEN(cases); i++) {
        struct buf room = BUF_INIT;
        struct slice user, password;
        int err = api_auth_parse_basic(cases[i].header, &room, &user, &password);
        assert_int_equal(err == 0, cases[i].user != NULL);
        if (err == 0) {
            assert_true(slice_eq_str(user, cases[i].user));
            assert_true(slice_eq_str(password, cases[i].password));
        }
        buf_fini(&room);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_passwords, setup, teardown),
        cmocka_unit_test_setup_teardown(test_from_elsewhere, setup, teardown),
        cmocka_unit_test_setup_teardown(test_waiting, setup, teardown),
        cmocka_unit_test_setup_teardown(test_changed_password, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_addresses, setup, teardown),
        cmocka_unit_test(test_headers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
