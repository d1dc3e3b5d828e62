// describe.c: addresses and names of connections, and what listings show of them (GET /api/connections).
#include <arpa/inet.h>
#include <inttypes.h>

#include "amqp/connection.h"
#include "amqp/wire/table.h"
#include "src/base/err.h"
#include "src/base/mem.h"
#include "src/broker/json.h"

static const uint8_t v4_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

static struct endpoint
endpoint_of(const struct sockaddr_storage *ss)
{
    struct endpoint e = {0};
    if (ss->ss_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, ss, sizeof in);
        memcpy(e.address, v4_prefix, sizeof v4_prefix);
        memcpy(e.address + sizeof v4_prefix, &in.sin_addr, sizeof in.sin_addr);
        e.port = ntohs(in.sin_port);
    } else if (ss->ss_family == AF_INET6) {
        struct sockaddr_in6 in6;
        memcpy(&in6, ss, sizeof in6);
        memcpy(e.address, &in6.sin6_addr, sizeof e.address);
        e.port = ntohs(in6.sin6_port);
    }
    // An IPv4 client of an IPv6 socket is an IPv4 client.
    e.is_v4 = memcmp(e.address, v4_prefix, sizeof v4_prefix) == 0;
    return e;
}

void
endpoint_host(const struct endpoint *e, char out[static INET6_ADDRSTRLEN])
{
    const void *address = e->is_v4 ? e->address + sizeof v4_prefix : e->address;
    if (inet_ntop(e->is_v4 ? AF_INET : AF_INET6, address, out, INET6_ADDRSTRLEN) == NULL)
        snprintf(out, INET6_ADDRSTRLEN, "?");
}

bool
endpoint_is_loopback(const struct endpoint *e)
{
    static const uint8_t v6_loopback[16] = {[15] = 1};
    if (e->is_v4)
        return e->address[sizeof v4_prefix] == 127;
    return memcmp(e->address, v6_loopback, sizeof v6_loopback) == 0;
}

static void
put_endpoint(struct buf *out, const struct endpoint *e)
{
    char host[INET6_ADDRSTRLEN];
    endpoint_host(e, host);
    buf_printf(out, e->is_v4 ? "%s:%u" : "[%s]:%u", host, e->port);
}

int
connection_make_name(struct connection *c, const struct sockaddr_storage *peer,
                     const struct sockaddr_storage *local)
{
    struct buf name = BUF_INIT;
    c->peer = endpoint_of(peer);
    c->local = endpoint_of(local);
    put_endpoint(&name, &c->peer);
    buf_append_str(&name, " -> ");
    put_endpoint(&name, &c->local);
    uint8_t *exact = name.failed ? NULL : mem_alloc(name.len);
    if (exact != NULL) {
        memcpy(exact, name.ptr, name.len);
        c->name = slice_of(exact, name.len);
    }
    buf_fini(&name);
    return exact == NULL ? -LE_NOMEM : 0;
}

void
connection_describe(void *ctx, struct buf *out)
{
    const struct connection *c = ctx;
    char host[INET6_ADDRSTRLEN], peer_host[INET6_ADDRSTRLEN];
    struct slice provided;
    endpoint_host(&c->local, host);
    endpoint_host(&c->peer, peer_host);
    json_put_member_string(out, "node", c->aw->config->node_name);
    json_put_member_string(out, "type", SLICE_LIT("network"));
    json_put_member_string(out, "host", slice_str(host));
    json_put_member_int(out, "port", c->local.port);
    json_put_member_string(out, "peer_host", slice_str(peer_host));
    json_put_member_int(out, "peer_port", c->peer.port);
    json_put_member_string(out, "auth_mechanism",
                           slice_str(sasl_mechanism_name((enum sasl_mechanism)c->mechanism)));
    json_put_member_bool(out, "ssl", false);
    buf_append_str(out,
                   "\"ssl_protocol\":null,\"ssl_key_exchange\":null,\"ssl_cipher\":null,\"ssl_hash\":null,"
                   "\"peer_cert_subject\":null,\"peer_cert_issuer\":null,\"peer_cert_validity\":null,");
    json_put_member_int(out, "channel_max", c->channel_max);
    json_put_member_int(out, "frame_max", c->frame_max);
    json_put_member_int(out, "timeout", c->heartbeat_s);
    buf_append_str(out, "\"client_properties\":");
    json_put_table(out, c->client_properties);
    buf_append_u8(out, ',');
    if (table_find_longstr(c->client_properties, SLICE_LIT("connection_name"), &provided))
        json_put_member_string(out, "user_provided_name", provided);
    json_put_member_int(out, "recv_oct", (int64_t)c->recv_oct);
    json_put_member_int(out, "recv_cnt", (int64_t)c->recv_cnt);
    json_put_member_int(out, "send_oct", (int64_t)c->send_oct);
    json_put_member_int(out, "send_cnt", (int64_t)c->send_cnt);
    json_put_member_int(out, "send_pend", (int64_t)output_size(&c->out));
}

void
connection_traffic(void *ctx, uint64_t *ret_received, uint64_t *ret_sent)
{
    const struct connection *c = ctx;
    *ret_received = c->recv_oct;
    *ret_sent = c->send_oct;
}
