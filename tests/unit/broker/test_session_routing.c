// test_session_routing.c: where messages of a session go: direct replies, CC and BCC, alternate exchanges, exchanges bound to each
// other, returns and confirms.
#include "tests/unit/broker/session_fixture.h"

// A headers table with arrays of long strings: pairs of name and NULL-terminated values.
static void
put_keys(struct table_writer *w, const char *name, const char *const *keys, size_t count)
{
    table_begin_array(w, slice_str(name));
    for (size_t i = 0; i < count; i++)
        array_put_longstr(w, slice_str(keys[i]));
    table_writer_end(w);
}

static void
declare_exchange(struct sf_session *s, const char *name, const char *type, const char *alternate)
{
    struct buf arguments = BUF_INIT;
    struct table_writer w = table_writer_of(&arguments);
    if (alternate != NULL)
        table_put_str(&w, SLICE_LIT("alternate-exchange"), alternate);
    struct session_exchange_args a = {
        .exchange = slice_str(name), .type = slice_str(type), .arguments = buf_slice(&arguments)};
    assert_int_equal(SF_DO(s, session_exchange_declare(s->session, &a)), 0);
    buf_fini(&arguments);
}

static void
bind_exchange(struct sf_session *s, const char *source, const char *destination, const char *key)
{
    struct session_bind_args a = {
        .source = slice_str(source), .destination = slice_str(destination), .key = slice_str(key)};
    assert_int_equal(SF_DO(s, session_bind(s->session, &a)), 0);
}

static uint64_t
count_of(struct sf_session *s, const char *queue)
{
    sf_rounds(20);
    assert_int_equal(sf_passive(s, queue), 0);
    return s->message_count;
}

static bool
publish_headers(struct sf_session *s, const char *exchange, const char *key, bool is_mandatory,
                struct slice headers)
{
    struct amqp_basic_props p = {.flags = AMQP_PROP_HEADERS, .headers = headers};
    return sf_publish_props(s, exchange, key, "m", is_mandatory, &p);
}

// --- direct reply-to ----------------------------------------------------------------------------------------------------------

// A call and its answer between two workers, by the address that the broker put into the question.
static void
test_reply_through_token(void **state)
{
    sf_open(world);
    struct sf_session *asker = sf_session(0), *server = sf_session(1);
    struct amqp_basic_props p = {.flags = AMQP_PROP_REPLY_TO, .reply_to = SLICE_LIT("amq.rabbitmq.reply-to")};
    assert_int_equal(sf_queue(server, "rpc", false), 0);
    assert_int_equal(sf_consume(server, "rpc", "calls", true), 0);
    assert_int_equal(sf_consume(asker, "amq.rabbitmq.reply-to", "replies", true), 0);
    assert_true(sf_publish_props(asker, "", "rpc", "?", false, &p));
    sf_expect(server, 1);
    char token[80];
    snprintf(token, sizeof token, "%s", server->events[0].reply_to);
    assert_memory_equal(token, "amq.rabbitmq.reply-to.", 22);
    assert_int_equal(sf_passive(server, token), 0);
    assert_int_equal(server->consumer_count, 1);
    assert_string_equal(server->name, token);
    assert_true(sf_publish(server, "", token, "!", true));
    sf_expect(asker, 1);
    assert_string_equal(asker->events[0].text, "!");
    assert_string_equal(asker->events[0].consumer, "replies");
    assert_int_equal(asker->events[0].tag, 1);
    // Each reply once, also of a transaction, and beside queues; a token of nobody leads nowhere and is returned.
    const char *const keys[] = {token, token};
    struct buf headers = BUF_INIT;
    struct table_writer w = table_writer_of(&headers);
    put_keys(&w, "CC", keys, 2);
    assert_int_equal(sf_queue(server, "copy", false), 0);
    assert_true(publish_headers(server, "", "copy", true, buf_slice(&headers)));
    assert_true(publish_headers(server, "", token, true, buf_slice(&headers)));
    sf_expect(asker, 3);
    assert_int_equal(count_of(server, "copy"), 1);
    sf_forget(server);
    struct fault f;
    SF_AS(server, assert_true(session_tx_select(server->session, &f)));
    assert_true(sf_publish(server, "", token, "tx", true));
    sf_expect(asker, 3);
    assert_int_equal(SF_DO(server, session_tx_commit(server->session)), 0);
    sf_expect(asker, 4);
    assert_string_equal(asker->events[3].text, "tx");
    sf_expect(server, 0);
    assert_true(sf_publish(server, "", "amq.rabbitmq.reply-to.nonsense", "x", true));
    assert_int_equal(SF_DO(server, session_tx_commit(server->session)), 0);
    sf_expect(server, 1);
    assert_int_equal(server->events[0].kind, 'r');
    // Somebody else's guess.
    token[strlen(token) - 1] = token[strlen(token) - 1] == '0' ? '1' : '0';
    assert_int_equal(sf_passive(server, token), 404);
    assert_true(sf_publish(server, "", token, "guess", false));
    assert_int_equal(SF_DO(server, session_tx_commit(server->session)), 0);
    sf_expect(asker, 4);
    buf_fini(&headers);
    sf_end(server);
    sf_end(asker);
    sf_close();
}

// The question is made anew with the token in it: nothing may be left that points into the old one.
static void
test_reply_to_with_headers(void **state)
{
    sf_open(world);
    struct sf_session *asker = sf_session(0), *server = sf_session(1);
    const char *const keys[] = {"copy"}, *const hidden[] = {"hidden"};
    struct buf headers = BUF_INIT;
    struct table_writer w = table_writer_of(&headers);
    put_keys(&w, "CC", keys, 1);
    put_keys(&w, "BCC", hidden, 1);
    struct amqp_basic_props p = {.flags = AMQP_PROP_REPLY_TO | AMQP_PROP_HEADERS | AMQP_PROP_EXPIRATION,
                                 .reply_to = SLICE_LIT("amq.rabbitmq.reply-to"),
                                 .expiration = SLICE_LIT("60000"),
                                 .headers = buf_slice(&headers)};
    assert_int_equal(sf_queue(server, "rpc", false), 0);
    assert_int_equal(sf_queue(server, "copy", false), 0);
    assert_int_equal(sf_queue(server, "hidden", false), 0);
    assert_int_equal(sf_consume(asker, "amq.rabbitmq.reply-to", "", true), 0);
    assert_true(sf_publish_props(asker, "", "rpc", "?", false, &p));
    sf_rounds(20);
    const char *const queues[] = {"rpc", "copy", "hidden"};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(sf_get(server, queues[i], true), 0);
        assert_string_equal(server->body, "?");
        assert_memory_equal(server->reply_to, "amq.rabbitmq.reply-to.", 22);
        assert_string_equal(server->headers, "CC ");
    }
    buf_fini(&headers);
    sf_end(server);
    sf_end(asker);
    sf_close();
}

static void
test_replies_end(void **state)
{
    sf_open(world);
    struct sf_session *asker = sf_session(0), *server = sf_session(1);
    struct amqp_basic_props p = {.flags = AMQP_PROP_REPLY_TO, .reply_to = SLICE_LIT("amq.rabbitmq.reply-to")};
    assert_int_equal(sf_queue(server, "rpc", false), 0);
    assert_int_equal(sf_queue(asker, "amq.rabbitmq.reply-to", false), 0); // there; and the last one declared
    assert_int_equal(sf_consume(asker, "", "replies", true), 0);
    assert_int_equal(sf_queue(server, "amq.rabbitmq.reply-tonic", false), 404);
    assert_true(sf_publish_props(asker, "", "rpc", "?", false, &p));
    sf_rounds(20);
    assert_int_equal(sf_get(server, "rpc", true), 0);
    char token[80];
    snprintf(token, sizeof token, "%s", server->reply_to);
    // An asker that does not read costs only so much: what does not fit is dropped.
    asker->unsent = SIZE_MAX;
    assert_true(sf_publish(server, "", token, "dropped", true));
    sf_expect(asker, 0);
    asker->unsent = 0;
    assert_true(sf_publish(server, "", token, "kept", true));
    sf_expect(asker, 1);
    assert_string_equal(asker->events[0].text, "kept");
    struct buf list = BUF_INIT;
    SF_AS(asker, broker_list(asker->worker, LIST_CONSUMERS, &list));
    assert_int_equal(list.len, 0);
    buf_fini(&list);
    assert_int_equal(SF_DO(asker, session_cancel(asker->session, SLICE_LIT("replies"))), 0);
    assert_int_equal(sf_passive(server, token), 404);
    assert_true(sf_publish(server, "", token, "late", false));
    sf_expect(asker, 1);
    assert_false(sf_publish_props(asker, "", "rpc", "?", false, &p));
    sf_end(server);
    sf_end(asker);
    sf_close();
}

// --- keys and exchanges -------------------------------------------------------------------------------------------------------

static void
test_bcc_is_not_seen(void **state)
{
    sf_open(world);
    struct sf_session *s = sf_session(0);
    const char *const cc[] = {"b"}, *const bcc[] = {"c"};
    struct buf headers = BUF_INIT;
    struct table_writer w = table_writer_of(&headers);
    struct fault f;
    table_put_str(&w, SLICE_LIT("first"), "1");
    put_keys(&w, "BCC", bcc, 1);
    put_keys(&w, "CC", cc, 1);
    const char *const queues[] = {"a", "b", "c"};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(sf_queue(s, queues[i], false), 0);
        assert_int_equal(sf_consume(s, queues[i], queues[i], true), 0);
    }
    for (int round = 0; round < 2; round++) { // the second in a transaction
        assert_true(publish_headers(s, "", "a", true, buf_slice(&headers)));
        if (round == 1)
            assert_int_equal(SF_DO(s, session_tx_commit(s->session)), 0);
        sf_expect(s, 3);
        for (size_t i = 0; i < 3; i++)
            assert_string_equal(s->events[i].headers, "first CC ");
        sf_forget(s);
        if (round == 0)
            SF_AS(s, assert_true(session_tx_select(s->session, &f)));
    }
    buf_fini(&headers);
    // Nobody gets it: the return does not tell either.
    headers = (struct buf)BUF_INIT;
    w = table_writer_of(&headers);
    const char *const nobody[] = {"nobody"};
    put_keys(&w, "BCC", nobody, 1);
    assert_true(publish_headers(s, "", "nowhere", true, buf_slice(&headers)));
    assert_int_equal(SF_DO(s, session_tx_commit(s->session)), 0);
    sf_expect(s, 1);
    assert_int_equal(s->events[0].kind, 'r');
    assert_string_equal(s->events[0].headers, "");
    buf_fini(&headers);
    sf_end(s);
    sf_close();
}

static void
test_mandatory_with_alternate(void **state)
{
    sf_open(world);
    struct sf_session *s = sf_session(0);
    declare_exchange(s, "main", "direct", "alt");
    assert_true(sf_publish(s, "main", "k", "no alternate", true));
    sf_expect(s, 1);
    declare_exchange(s, "alt", "fanout", "last");
    assert_true(sf_publish(s, "main", "k", "leads nowhere", true));
    sf_expect(s, 2);
    assert_int_equal(s->events[0].kind, 'r');
    assert_int_equal(s->events[1].kind, 'r');
    assert_int_equal(s->events[1].tag, 312);
    declare_exchange(s, "last", "fanout", "main"); // a circle
    assert_true(sf_publish(s, "main", "k", "round and round", true));
    sf_expect(s, 3);
    assert_int_equal(sf_queue(s, "q", false), 0);
    assert_int_equal(sf_bind(s, "last", "q", ""), 0);
    for (int i = 0; i < 3; i++) // the first looks the way up, the others remember it
        assert_true(sf_publish(s, "main", "k", "caught", true));
    sf_expect(s, 3);
    assert_int_equal(count_of(s, "q"), 3);
    assert_int_equal(sf_queue(s, "direct", false), 0);
    assert_int_equal(sf_bind(s, "main", "direct", "k"), 0);
    assert_true(sf_publish(s, "main", "k", "not the alternate", true));
    assert_int_equal(count_of(s, "q"), 3);
    assert_int_equal(count_of(s, "direct"), 1);
    sf_end(s);
    sf_close();
}

// Exchanges in a circle, and two ways to the same queue: one copy each.
static void
test_exchange_cycles(void **state)
{
    sf_open(world);
    struct sf_session *s = sf_session(0);
    const char *const names[] = {"x", "y", "z"};
    for (size_t i = 0; i < 3; i++)
        declare_exchange(s, names[i], "fanout", NULL);
    for (size_t i = 0; i < 3; i++)
        bind_exchange(s, names[i], names[(i + 1) % 3], "");
    bind_exchange(s, "x", "x", "");
    assert_int_equal(sf_queue(s, "q", false), 0);
    assert_true(sf_publish(s, "x", "", "nobody", true));
    sf_expect(s, 1);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(sf_bind(s, names[i], "q", "k"), 0);
    for (int i = 0; i < 4; i++)
        assert_true(sf_publish(s, names[i % 3], "any", "m", true));
    sf_expect(s, 1);
    assert_int_equal(count_of(s, "q"), 4);
    sf_end(s);
    sf_close();
}

// The way through a headers exchange is not remembered for messages with other headers.
static void
test_memo_minds_headers(void **state)
{
    sf_open(world);
    struct sf_session *s = sf_session(0);
    struct buf one = BUF_INIT, other = BUF_INIT;
    struct table_writer w = table_writer_of(&one);
    table_put_str(&w, SLICE_LIT("a"), "1");
    w = table_writer_of(&other);
    table_put_str(&w, SLICE_LIT("a"), "2");
    declare_exchange(s, "front", "direct", NULL);
    bind_exchange(s, "front", "amq.headers", "k");
    assert_int_equal(sf_queue(s, "q", false), 0);
    struct session_bind_args bind = {.source = SLICE_LIT("amq.headers"),
                                     .destination = SLICE_LIT("q"),
                                     .is_dest_queue = true,
                                     .arguments = buf_slice(&one)};
    assert_int_equal(SF_DO(s, session_bind(s->session, &bind)), 0);
    assert_true(publish_headers(s, "front", "k", true, buf_slice(&one)));
    assert_true(sf_publish(s, "front", "k", "no headers", true));
    assert_true(publish_headers(s, "front", "k", true, buf_slice(&other)));
    assert_true(publish_headers(s, "front", "k", true, buf_slice(&one)));
    sf_expect(s, 2);
    assert_string_equal(s->events[0].text, "no headers");
    assert_int_equal(count_of(s, "q"), 2);
    // Where headers do not count, CC does: the remembered way is that of the key alone.
    const char *const cc[] = {"r"};
    struct buf more = BUF_INIT;
    w = table_writer_of(&more);
    put_keys(&w, "CC", cc, 1);
    assert_int_equal(sf_queue(s, "r", false), 0);
    assert_true(publish_headers(s, "", "q", true, buf_slice(&one)));
    assert_true(publish_headers(s, "", "q", true, buf_slice(&more)));
    assert_true(publish_headers(s, "", "q", true, buf_slice(&one)));
    assert_int_equal(count_of(s, "q"), 5);
    assert_int_equal(count_of(s, "r"), 1);
    buf_fini(&one);
    buf_fini(&other);
    buf_fini(&more);
    sf_end(s);
    sf_close();
}

// More queues than fit on the stack, on all workers: one confirm.
static void
test_wide_fanout(void **state)
{
    enum { QUEUES = 150 };
    sf_open(world);
    struct sf_session *s = sf_session(0);
    struct fault f;
    char name[16];
    for (int i = 0; i < QUEUES; i++) {
        snprintf(name, sizeof name, "q%d", i);
        assert_int_equal(sf_queue(s, name, false), 0);
        assert_int_equal(sf_bind(s, "amq.fanout", name, ""), 0);
    }
    SF_AS(s, assert_true(session_confirm_select(s->session, &f)));
    assert_true(sf_publish(s, "amq.fanout", "", "m", true));
    sf_expect(s, 1);
    assert_int_equal(s->events[0].kind, 'a');
    for (int i = 0; i < QUEUES; i++) {
        snprintf(name, sizeof name, "q%d", i);
        assert_int_equal(sf_passive(s, name), 0);
        assert_int_equal(s->message_count, 1);
    }
    sf_end(s);
    sf_close();
}

// --- events that lead to more -------------------------------------------------------------------------------------------------

// Every return is published again elsewhere, and every confirm brings another publish, from within the events.
static void
publish_again(struct sf_session *s, const struct sf_event *e)
{
    struct fault f;
    struct amqp_basic_props none = {0};
    const char *key = e->kind == 'r' ? "q" : "nowhere";
    if ((e->kind != 'r' && e->kind != 'a') || s->event_count > 200)
        return;
    struct message *msg = message_new(SLICE_EMPTY, slice_str(key), SLICE_LIT("\0\0"), 0);
    assert_non_null(msg);
    assert_true(session_publish(s->session, msg, &none, true, &f));
}

static void
test_publish_in_events(void **state)
{
    sf_open(world);
    struct sf_session *s = sf_session(0);
    struct fault f;
    assert_int_equal(sf_queue(s, "q", false), 0);
    SF_AS(s, assert_true(session_confirm_select(s->session, &f)));
    s->hook = publish_again;
    for (int i = 0; i < 5; i++)
        assert_true(sf_publish(s, "", "nowhere", "m", true));
    sf_rounds(2000);
    assert_true(s->event_count > 200);
    uint64_t returned = 0, confirmed = 0;
    for (size_t i = 0; i < s->event_count; i++) {
        returned += s->events[i].kind == 'r';
        if (s->events[i].kind == 'a' && s->events[i].is_multiple)
            confirmed = s->events[i].tag;
        else if (s->events[i].kind == 'a' && s->events[i].tag == confirmed + 1)
            confirmed++;
    }
    // All numbers given have been confirmed: the next one is the next.
    s->hook = NULL;
    sf_forget(s);
    assert_true(sf_publish(s, "", "q", "last", false));
    sf_expect(s, 1);
    assert_int_equal(s->events[0].kind, 'a');
    assert_false(s->events[0].is_multiple);
    assert_true(s->events[0].tag > confirmed && returned > 50);
    sf_end(s);
    sf_close();
}

static void
close_on_return(struct sf_session *s, const struct sf_event *e)
{
    if (e->kind == 'r')
        session_close(s->session);
}

// Closed from inside its own return: of a publish, and in the middle of a commit.
static void
test_close_in_events(void **state)
{
    sf_open(world);
    for (int is_tx = 0; is_tx < 2; is_tx++) {
        struct sf_session *s = sf_session(0), *other = sf_session(1);
        struct fault f;
        assert_int_equal(sf_queue(other, "q", false), 0);
        s->hook = close_on_return;
        if (is_tx == 1)
            SF_AS(s, assert_true(session_tx_select(s->session, &f)));
        else
            SF_AS(s, assert_true(session_confirm_select(s->session, &f)));
        assert_true(sf_publish(s, "", "q", "m", true));
        assert_true(sf_publish(s, "", "nowhere", "m", true));
        if (is_tx == 1) {
            assert_true(sf_publish(s, "", "q", "m", true));
            SF_AS(s, session_tx_commit(s->session));
        }
        sf_expect(s, 1);
        // A transaction that was being committed is taken back as a whole.
        assert_int_equal(count_of(other, "q"), is_tx == 1 ? 0 : 1);
        assert_int_equal(SF_DO(other, session_queue_delete(other->session, SLICE_LIT("q"), false, false)), 0);
        sf_end(s);
        sf_end(other);
    }
    sf_close();
}

// What was published before a commit went to an exchange that has gone by then.
static void
test_commit_to_missing_exchange(void **state)
{
    sf_open(world);
    struct sf_session *s = sf_session(0), *other = sf_session(1);
    struct fault f;
    declare_exchange(other, "x", "fanout", NULL);
    sf_rounds(5);
    SF_AS(s, assert_true(session_tx_select(s->session, &f)));
    assert_true(sf_publish(s, "x", "", "m", true));
    assert_true(sf_publish(s, "x", "", "m", false));
    assert_int_equal(SF_DO(other, session_exchange_delete(other->session, SLICE_LIT("x"), false)), 0);
    sf_rounds(5);
    assert_int_equal(SF_DO(s, session_tx_commit(s->session)), 0);
    sf_expect(s, 1);
    assert_int_equal(s->events[0].kind, 'r');
    sf_end(s);
    sf_end(other);
    sf_close();
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reply_through_token),
        cmocka_unit_test(test_reply_to_with_headers),
        cmocka_unit_test(test_replies_end),
        cmocka_unit_test(test_bcc_is_not_seen),
        cmocka_unit_test(test_mandatory_with_alternate),
        cmocka_unit_test(test_exchange_cycles),
        cmocka_unit_test(test_memo_minds_headers),
        cmocka_unit_test(test_wide_fanout),
        cmocka_unit_test(test_publish_in_events),
        cmocka_unit_test(test_close_in_events),
        cmocka_unit_test(test_commit_to_missing_exchange),
    };
    return sf_run_worlds("session routing", tests, LV_ARRAY_LEN(tests));
}
