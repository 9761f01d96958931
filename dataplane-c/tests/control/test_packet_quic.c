/* SPDX-License-Identifier: Apache-2.0 */
/* Server IDs of QUIC: from the table to the maps, over changes, and what is refused. */
#include "packet_rig.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control/packet.h"

#define VIP "198.51.100.1"

static const char web[] = "service web ipip 251 quic\n"
                          "vip " VIP " 443/udp\n"
                          "backend one 192.0.2.11 1 #aa\n"
                          "backend two 192.0.2.12 1 #ab\n";

static uint32_t web_service(const struct packet_rig *rig)
{
	const struct vip_key key = packet_vip_key(VIP, 443, 17);
	struct vip vip;

	packet_lookup(rig, "vips", &key, &vip);
	return vip.service;
}

/* The backend that an ID names; 0: none. */
static uint32_t named(const struct packet_rig *rig, const char *id)
{
	struct quic_server key = {.service = web_service(rig), .length = (uint8_t)strlen(id)};
	uint32_t backend;

	memcpy(key.id, id, strlen(id));
	if (!packet_has(rig, "quic_servers", &key))
		return 0;
	packet_lookup(rig, "quic_servers", &key, &backend);
	return backend;
}

static uint32_t flags(const struct packet_rig *rig)
{
	struct service service;
	uint32_t index = web_service(rig);

	packet_lookup(rig, "services", &index, &service);
	return service.flags;
}

static void ids_follow_the_table(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;

	packet_rig_must_open(rig, "v0");
	packet_rig_apply(rig, web);
	uint32_t one = packet_backend_of(rig, "192.0.2.11"), two = packet_backend_of(rig, "192.0.2.12");
	assert_int_equal(named(rig, "aa"), one);
	assert_int_equal(named(rig, "ab"), two);
	assert_int_equal(flags(rig), SERVICE_QUIC_FLAGS(2, 1, false));

	/* Another agent finds them, and an ID may go from one backend to another. */
	packet_rig_close(rig);
	packet_rig_must_open(rig, "v0");
	packet_rig_apply(rig, "service web ipip 251 quic\n"
	                      "vip " VIP " 443/udp\n"
	                      "backend one 192.0.2.11 1 #ab\n"
	                      "backend three 192.0.2.13 1 #aa\n");
	assert_int_equal(named(rig, "ab"), one);
	assert_int_equal(named(rig, "aa"), packet_backend_of(rig, "192.0.2.13"));
	assert_int_equal(packet_entries(rig, "quic_servers"), 2);

	/* A length of its own; configurations; a length that IDs tell. */
	PacketTable *table = packet_table("service web ipip 251 quic\n"
	                                  "vip " VIP " 443/udp\n"
	                                  "backend one 192.0.2.11 1 #fifteen-letters\n");
	ApplyReply *reply;
	table->services[0]->quic->config_ids[0] = 6;
	table->services[0]->quic->length_self_encoded = true;
	assert_int_equal(packet_rig_apply_table(rig, table, &reply), MARCHER_OK);
	marcher__packet__v1__apply_reply__free_unpacked(reply, NULL);
	packet_table_free(table);
	assert_int_equal(flags(rig), SERVICE_QUIC_FLAGS(15, 64, true));
	assert_int_equal(named(rig, "fifteen-letters"), one);
	assert_int_equal(packet_entries(rig, "quic_servers"), 1);

	packet_rig_apply(rig, "service web ipip 251\nvip " VIP " 443/udp\nbackend one 192.0.2.11 1\n");
	assert_int_equal(flags(rig), 0);
	assert_int_equal(packet_entries(rig, "quic_servers"), 0);
}

static void services_do_not_share_ids(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;

	packet_rig_must_open(rig, "v0");
	packet_rig_apply(rig, "service web ipip 251 quic\n"
	                      "vip " VIP " 443/udp\n"
	                      "backend one 192.0.2.11 1 #aa\n"
	                      "service other gue 251 quic\n"
	                      "vip 198.51.100.2 443/udp\n"
	                      "backend one 192.0.2.12 1 #aa\n");
	assert_int_equal(named(rig, "aa"), packet_backend_of(rig, "192.0.2.11"));
	assert_int_equal(packet_entries(rig, "quic_servers"), 2);
	packet_rig_apply(rig, "");
	assert_int_equal(packet_entries(rig, "quic_servers"), 0);
}

static void what_cannot_be_told_apart_is_refused(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	static const struct {
		const char *table, *path, *reason;
	} wrong[] = {
	        {"service a ipip 251 quic\nvip " VIP " 443/udp\nbackend x 192.0.2.11 1 #aa\nbackend y 192.0.2.12 1\n",
	         "services[0].backends[1].quic_server_id", "0 bytes; expected 1 to 15"},
	        {"service a ipip 251 quic\nvip " VIP
	         " 443/udp\nbackend x 192.0.2.11 1 #aa\nbackend y 192.0.2.12 1 #aaa\n",
	         "services[0].backends[1].quic_server_id", "3 bytes, and 2 of the first"},
	        {"service a ipip 251 quic\nvip " VIP
	         " 443/udp\nbackend x 192.0.2.11 1 #aa\nbackend y 192.0.2.12 1 #aa\n",
	         "services[0].backends", "two backends have the same"},
	        {"service a ipip 251\nvip " VIP " 443/udp\nbackend x 192.0.2.11 1 #aa\n",
	         "services[0].backends[0].quic_server_id", "2 bytes in a service without quic"},
	};

	packet_rig_must_open(rig, "v0");
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]) + 2; i++) {
		bool configs = i >= sizeof(wrong) / sizeof(wrong[0]);
		PacketTable *table = packet_table(configs ? web : wrong[i].table);
		ApplyReply *reply;
		const char *path = configs ? "services[0].quic.config_ids" : wrong[i].path;
		if (configs && i & 1)
			table->services[0]->quic->config_ids[0] = 7;
		else if (configs)
			table->services[0]->quic->n_config_ids = 0;
		assert_int_equal(packet_rig_apply_table(rig, table, &reply), MARCHER_E_REFUSED);
		assert_int_equal(reply->n_reasons, 1);
		assert_string_equal(reply->reasons[0]->path, path);
		if (!configs && !strstr(reply->reasons[0]->reason, wrong[i].reason))
			fail_msg("expected \"%s\" in: %s", wrong[i].reason, reply->reasons[0]->reason);
		marcher__packet__v1__apply_reply__free_unpacked(reply, NULL);
		packet_table_free(table);
	}
	assert_int_equal(packet_entries(rig, "quic_servers"), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, packet_rig_setup, packet_rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(ids_follow_the_table),
	        TEST(services_do_not_share_ids),
	        TEST(what_cannot_be_told_apart_is_refused),
	};

	return cmocka_run_group_tests(tests, packet_rig_namespaces, NULL);
}
