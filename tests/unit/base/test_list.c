// The intrusive list.
#include "src/base/list.h"
#include "tests/unit/base/unit.h"

struct item {
    int value;
    struct list link;
};

static void
expect(struct list *head, const char *want)
{
    char got[32];
    size_t len = 0;
    LV_LIST_EACH (it, head) {
        assert_ptr_equal(it->next->prev, it);
        got[len++] = (char)LV_CONTAINER_OF(it, struct item, link)->value;
    }
    got[len] = '\0';
    assert_string_equal(got, want);
}

static void
test_all(void **state)
{
    struct list a;
    struct list b;
    struct item items[5];
    list_init(&a);
    list_init(&b);
    assert_true(list_is_empty(&a));
    assert_null(list_first(&a));
    assert_null(list_pop_front(&a));
    for (int i = 0; i < 5; i++) {
        items[i].value = 'a' + i;
        list_init(&items[i].link);
        assert_false(list_is_linked(&items[i].link));
    }
    list_push_back(&a, &items[0].link);
    list_push_back(&a, &items[1].link);
    list_push_front(&a, &items[2].link);
    expect(&a, "cab");
    list_insert_before(&items[1].link, &items[3].link);
    expect(&a, "cadb");
    list_splice_back(&b, &a);
    expect(&a, "");
    expect(&b, "cadb");
    list_push_back(&a, &items[4].link);
    list_splice_back(&a, &b);
    expect(&a, "ecadb");
    list_splice_back(&a, &b); // of nothing
    expect(&a, "ecadb");
    LV_LIST_EACH_SAFE (it, &a) {
        if (LV_CONTAINER_OF(it, struct item, link)->value < 'c')
            list_remove(it);
    }
    expect(&a, "ecd");
    list_remove(&items[0].link); // harmless: in no list
    assert_ptr_equal(list_pop_front(&a), &items[4].link);
    assert_false(list_is_linked(&items[4].link));
    expect(&a, "cd");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_all)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
