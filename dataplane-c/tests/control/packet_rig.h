/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the packet tiers share: a network and a mount namespace of the test's own with a bpffs in it,
 * tables as text, and a look at what is pinned. */
#ifndef TESTS_CONTROL_PACKET_RIG_H
#define TESTS_CONTROL_PACKET_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bpf/lib/layout.h"
#include "marcher.h"
#include "marcher/packet/v1/packet.pb-c.h"

typedef Marcher__Packet__V1__ApplyReply ApplyReply;
typedef Marcher__Packet__V1__Status PacketStatus;
typedef Marcher__Packet__V1__Table PacketTable;

/* First in each test. */
#define NEEDS_PRIVILEGE(state)  \
	do {                    \
		if (!*(state))  \
			skip(); \
	} while (0)

struct packet_rig {
	char mount[64];     /* of the bpffs */
	char pin_dir[96];   /* below it; not there yet */
	uint32_t flows;     /* of a table that is made; 0: 1024 */
	uint32_t nat_flows; /* the same of NAT */
	bool sys_admin;     /* the library is called with CAP_SYS_ADMIN, which an agent has not by its unit */
	struct marcher_packet *packet;
};

/* cmocka group setup: into namespaces of their own, which end with the process. Without the privilege every test is
 * skipped by packet_rig_setup, by name. */
int packet_rig_namespaces(void **state);
/* cmocka setup and teardown: a fresh bpffs, and the interfaces v0 and v1 (both ends of one veth), 192.0.2.1/24 on v0.
 */
int packet_rig_setup(void **state);
int packet_rig_teardown(void **state);

/* Runs a command of iproute2 or the like; fails the test when it fails. */
void packet_rig_run(const char *format, ...) __attribute__((format(printf, 1, 2)));

int packet_rig_open(struct packet_rig *rig, const char *interfaces, uint32_t mode);
/* As above, and it has to work. */
void packet_rig_must_open(struct packet_rig *rig, const char *interfaces);
void packet_rig_close(struct packet_rig *rig);
/* Another agent of this host, with a pin directory of its own beside the rig's. Ends with packet_rig_end_other. */
struct marcher_packet *packet_rig_other(const struct packet_rig *rig, const char *interfaces, char pin_dir[96]);
void packet_rig_end_other(struct marcher_packet *other, const char *pin_dir);

/* A table out of lines:
 *   service NAME FORWARDING(ipip|gue|l2|nat|snat|autonat) RING [quic]
 *   vip ADDRESS PORT(/udp)
 *   backend NAME ADDRESS WEIGHT [drained|dead|:PORT|#SERVER_ID]
 *   decap ADDRESS
 * Free with packet_table_free. */
PacketTable *packet_table(const char *lines);
void packet_table_free(PacketTable *table);

/* Free the reply with marcher__packet__v1__apply_reply__free_unpacked(reply, NULL). */
int packet_rig_apply_table(struct packet_rig *rig, const PacketTable *table, ApplyReply **reply);
/* Applies what has to be accepted. */
void packet_rig_apply(struct packet_rig *rig, const char *lines);

PacketStatus *packet_rig_status(struct packet_rig *rig);
void packet_status_free(PacketStatus *status);

/* Descriptor of what is pinned below the layout's folder, such as "maps/vips"; -1. */
int packet_pin(const struct packet_rig *rig, const char *name);
void packet_lookup(const struct packet_rig *rig, const char *map, const void *key, void *value);
bool packet_has(const struct packet_rig *rig, const char *map, const void *key);
void packet_write(const struct packet_rig *rig, const char *map, const void *key, const void *value);
/* How many entries a hash map has. */
unsigned packet_entries(const struct packet_rig *rig, const char *map);

struct address packet_rig_address(const char *text);
struct vip_key packet_vip_key(const char *address, uint16_t port, uint8_t protocol);
/* Index of the service that a VIP leads to. */
uint32_t packet_service_of(const struct packet_rig *rig, const char *address, uint16_t port);
/* Index of the backend in use that has the address; 0: none. */
uint32_t packet_backend_of(const struct packet_rig *rig, const char *address);
/* The ring's slots; *count of them. Free them. */
uint32_t *packet_ring(const struct packet_rig *rig, uint32_t service, uint32_t *count);
/* Identity of the map that is the ring. */
uint32_t packet_ring_id(const struct packet_rig *rig, uint32_t service);
/* The XDP program on an interface; 0: none. */
uint32_t packet_xdp_on(const char *interface);

#endif
