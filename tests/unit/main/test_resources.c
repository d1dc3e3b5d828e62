// test_resources.c: limits of control groups of both versions, from files made here; and the answers for this process.
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "src/base/err.h"
#include "src/resources.h"

static char mount[128]; // stands for /sys/fs/cgroup

static void
put(const char *path, const char *text)
{
    char full[512];
    snprintf(full, sizeof full, "%s/%s", mount, path);
    for (char *slash = full + strlen(mount) + 1; (slash = strchr(slash, '/')) != NULL; slash++) {
        *slash = '\0';
        (void)mkdir(full, 0700); // may be there
        *slash = '/';
    }
    FILE *f = fopen(full, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static int
setup(void **state)
{
    snprintf(mount, sizeof mount, "%s/leveret-resources-XXXXXX",
             getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp");
    return mkdtemp(mount) == NULL;
}

static int
teardown(void **state)
{
    char command[256];
    snprintf(command, sizeof command, "rm -rf '%s'", mount);
    return system(command);
}

static void
test_no_limit(void **state)
{
    assert_true(resources_cgroup_limit("", mount) == UINT64_MAX);
    assert_true(resources_cgroup_limit("0::/\n", mount) == UINT64_MAX);
    assert_true(resources_cgroup_limit("nonsense\n7:\n:::\n4:memory:relative\n", mount) == UINT64_MAX);
    put("memory.max", "max\n");
    assert_true(resources_cgroup_limit("0::/\n", mount) == UINT64_MAX);
    put("memory.max", "garbage\n");
    assert_true(resources_cgroup_limit("0::/\n", mount) == UINT64_MAX);
}

// A container sees its own group as the root.
static void
test_version_2(void **state)
{
    put("memory.max", "3000000\n");
    assert_int_equal(resources_cgroup_limit("0::/\n", mount), 3000000);
    assert_int_equal(resources_cgroup_limit("0::/not/mounted/here\n", mount), 3000000);
    put("system.slice/leveret.service/memory.max", "max\n");
    put("system.slice/memory.max", "2000000\n");
    assert_int_equal(resources_cgroup_limit("0::/system.slice/leveret.service\n", mount), 2000000);
    put("system.slice/leveret.service/memory.max", "1000000\n");
    assert_int_equal(resources_cgroup_limit("0::/system.slice/leveret.service\n", mount), 1000000);
    assert_int_equal(resources_cgroup_limit("0::/system.slice/leveret.service", mount),
                     1000000); // no newline
    assert_int_equal(resources_cgroup_limit("0::/system.slice/other\n", mount), 2000000);
}

static void
test_version_1(void **state)
{
    static const char table[] =
        "9:name=systemd:/\n4:cpu,memory:/docker/abc\n3:memory_not:/x\n1:cpu:/docker/abc\n0::/\n";
    put("memory/memory.limit_in_bytes", "9223372036854771712\n"); // version 1's "none"
    assert_true(resources_cgroup_limit(table, mount) == UINT64_C(9223372036854771712));
    put("memory/docker/abc/memory.limit_in_bytes", "500000\n");
    assert_int_equal(resources_cgroup_limit(table, mount), 500000);
    put("unified/memory.max", "400000\n");
    assert_int_equal(resources_cgroup_limit(table, mount), 400000);
}

static void
test_long_names(void **state)
{
    char table[8192];
    memset(table, 'a', sizeof table);
    memcpy(table, "0::/", 4);
    table[sizeof table - 1] = '\0';
    assert_true(resources_cgroup_limit(table, mount) == UINT64_MAX);
    memset(table + 4, '/', sizeof table - 5);
    assert_true(resources_cgroup_limit(table, mount) == UINT64_MAX);
}

static void
test_this_process(void **state)
{
    uint64_t free_bytes = 0;
    assert_true(resources_total_bytes() > 1000000);
    assert_true(resources_resident_bytes() > 100000);
    assert_int_equal(resources_disk_free("/", &free_bytes), 0);
    assert_int_equal(resources_disk_free("/no/such/place", &free_bytes), -LE_NOTFOUND);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_no_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_version_2, setup, teardown),
        cmocka_unit_test_setup_teardown(test_version_1, setup, teardown),
        cmocka_unit_test_setup_teardown(test_long_names, setup, teardown),
        cmocka_unit_test(test_this_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
