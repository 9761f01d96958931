/* SPDX-License-Identifier: Apache-2.0 */
/* Lawful snapshots for tests to spoil or apply. */
#ifndef TEST_SNAPSHOT_RIG_H
#define TEST_SNAPSHOT_RIG_H

#include <stdint.h>
#include <stdlib.h>

#include "marcher/engine/v1/snapshot.pb-c.h"

typedef Marcher__Engine__V1__Snapshot Snapshot;
typedef Marcher__Engine__V1__Service Service;
typedef Marcher__Engine__V1__Listener Listener;
typedef Marcher__Engine__V1__Backend Backend;
typedef Marcher__Engine__V1__IpTarget IpTarget;

#define RIG_BACKENDS 8
#define RIG_LISTENERS 4

/* A service with everything that it points to; good as long as it is not moved. */
struct rig_service {
	Service message;
	Listener listeners[RIG_LISTENERS];
	Listener *listener_list[RIG_LISTENERS];
	Backend backends[RIG_BACKENDS];
	Backend *backend_list[RIG_BACKENDS];
	IpTarget targets[RIG_BACKENDS];
	uint8_t addresses[RIG_BACKENDS][4];
	char names[RIG_BACKENDS][24];
};

static uint8_t rig_loopback[4] = {127, 0, 0, 1};

static inline void rig_add_backend(struct rig_service *rig, unsigned number, uint16_t port)
{
	size_t i = rig->message.n_backends++;
	marcher__engine__v1__backend__init(&rig->backends[i]);
	marcher__engine__v1__ip_target__init(&rig->targets[i]);
	rig->addresses[i][0] = 127;
	rig->addresses[i][3] = 1;
	rig->targets[i].address = (ProtobufCBinaryData){4, rig->addresses[i]};
	rig->targets[i].port = port;
	rig->backends[i].target_case = MARCHER__ENGINE__V1__BACKEND__TARGET_IP;
	rig->backends[i].ip = &rig->targets[i];
	rig->backends[i].weight = 1;
	rig->names[i][0] = 'b';
	rig->names[i][1] = (char)('0' + number);
	rig->backends[i].name = rig->names[i];
	rig->backend_list[i] = &rig->backends[i];
}

static inline void rig_add_listener(struct rig_service *rig, int transport, uint16_t port)
{
	size_t i = rig->message.n_listeners++;
	marcher__engine__v1__listener__init(&rig->listeners[i]);
	rig->listeners[i].transport = transport;
	rig->listeners[i].address = (ProtobufCBinaryData){4, rig_loopback};
	rig->listeners[i].port_first = rig->listeners[i].port_last = port;
	rig->listeners[i].backlog = 64;
	rig->listener_list[i] = &rig->listeners[i];
}

static inline void rig_service_init(struct rig_service *rig, const char *name)
{
	*rig = (struct rig_service){0};
	marcher__engine__v1__service__init(&rig->message);
	rig->message.name = (char *)(uintptr_t)name;
	rig->message.listeners = rig->listener_list;
	rig->message.backends = rig->backend_list;
	rig->message.algorithm = MARCHER__ENGINE__V1__ALGORITHM__ALGORITHM_ROUND_ROBIN;
	rig->message.connect_timeout_ms = 5000;
	rig->message.idle_timeout_ms = 300000;
	rig->message.udp_idle_timeout_ms = 60000;
	rig->message.half_closed_timeout_ms = 30000;
	rig->message.drain_timeout_ms = 2000;
	rig->message.source_ipv4_prefix = 32;
	rig->message.source_ipv6_prefix = 128;
	rig->message.udp_max_sessions = 1000;
	rig->message.dns_min_ttl_ms = 1000;
	rig->message.dns_max_ttl_ms = 60000;
}

static inline uint8_t *rig_pack(const Snapshot *snapshot, size_t *length)
{
	*length = marcher__engine__v1__snapshot__get_packed_size(snapshot);
	uint8_t *packed = malloc(*length ? *length : 1);
	marcher__engine__v1__snapshot__pack(snapshot, packed);
	return packed;
}

#endif
