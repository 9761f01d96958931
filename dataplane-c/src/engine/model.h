/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the engine runs on, in memory.
 *
 *   snapshot ──▶ service (immutable configuration, shared by snapshots while it does not change)
 *                   │ backends[] ──▶ backend (lives while (service name, backend name) is configured or in use)
 *                   │                   └ endpoints ──▶ endpoint (one address of a backend; health and load)
 *                   └ view (RCU): which endpoints may be picked now, with which weights; replaced by the main
 *                                 thread whenever configuration, DNS, health, ejection, drain or slow start change it
 *   listener (lives while its transport, address and port are configured) ──▶ service (RCU)
 *
 * Threads. The main thread alone creates, changes and frees all of these. Workers read: listener->binding and
 * service->view under QSBR (a worker is quiescent once per loop turn, worker.c), fields that never change after
 * publication, and the atomics. A worker that keeps a pointer beyond the loop turn (a connection does, to its service,
 * endpoint and listener) takes a reference; objects are freed by the main thread when they are unpublished, a grace
 * period has passed, and no reference is left.
 */
#ifndef ENGINE_MODEL_H
#define ENGINE_MODEL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "addr.h"
#include "marcher/engine/v1/snapshot.pb-c.h"

struct affinity_table;
struct maglev_table;
struct source_limit_table;
struct health_probe; /* upstream/health.c */
struct dns_name;     /* upstream/dns.c */
struct qos;          /* qos/qos.h */

enum transport { TRANSPORT_TCP = 6, TRANSPORT_UDP = 17 };

enum algorithm {
	ALGORITHM_ROUND_ROBIN = 1,
	ALGORITHM_WEIGHTED_ROUND_ROBIN,
	ALGORITHM_LEAST_CONNECTIONS,
	ALGORITHM_RANDOM,
	ALGORITHM_MAGLEV,
	ALGORITHM_GEO,
};

enum health { HEALTH_UNKNOWN = 0, HEALTH_HEALTHY = 1, HEALTH_UNHEALTHY = 2 };

/* "DE" -> a small number; 0 is unknown. */
static inline uint16_t country_code(const char *iso)
{
	return iso && iso[0] && iso[1] ? (uint16_t)((uint8_t)iso[0] << 8 | (uint8_t)iso[1]) : 0;
}

/* One configured backend of one service. */
struct backend {
	atomic_uint refs;
	atomic_uint active; /* connections over all endpoints; what hard_limit is held against */
	uint32_t slot;      /* statistics */
	char *name;
	struct service_id *id; /* interned service name */

	/* Configuration; changed by the main thread only, read by workers through view entries, except send_proxy and
	 * source, which are fixed: a backend that changes in them, or in its address, is a new backend. */
	enum { TARGET_IP, TARGET_DNS, TARGET_UNIX } target;
	struct addr target_addr; /* TARGET_IP, TARGET_UNIX */
	char *dns_host;
	uint16_t dns_port;
	uint8_t send_proxy; /* 0, 1, 2 */
	struct addr source; /* AF_UNSPEC: the kernel's choice */
	uint32_t weight, soft_limit, hard_limit;
	uint16_t country;
	char region[32];
	bool drain;

	struct endpoint **endpoints; /* main thread */
	uint32_t nendpoints;
	struct dns_name *dns;
};

/* One address of a backend. */
struct endpoint {
	atomic_uint refs;
	atomic_uint active;
	atomic_uint elsewhere; /* open at other nodes, as the agent was told; main thread writes */
	atomic_uint failures;  /* passive: connect failures in a row (workers add, success zeroes) */
	atomic_uint health;    /* enum health, by active probes */
	atomic_bool ejected;   /* by outlier detection */
	struct backend *backend;
	struct addr addr;          /* port 0: the port that the client came to */
	char *path;                /* owns addr.path for Unix */
	uint64_t healthy_since_ms; /* slow start; 0: was never unhealthy */
	uint32_t ejections;
	uint64_t ejected_until_ms;
	char health_reason[96];
	struct health_probe *probe;
	bool gone; /* DNS no longer answers with it, or its backend was removed */
};

/* What a pick sees: immutable. */
struct view_entry {
	struct endpoint *endpoint;
	uint32_t weight;     /* effective: slow start and scale applied, never 0 */
	uint32_t soft_limit; /* 0: none */
	uint32_t hard_limit; /* 0: none */
	uint16_t country;
	uint16_t region; /* index in the engine's table of region names; 0: none */
};

struct view {
	uint64_t version; /* differs for each view of a service */
	uint32_t count;
	uint32_t weight_scale; /* what the operator's weights were multiplied by */
	bool panic;            /* unhealthy ones are in it */
	struct maglev_table *maglev;
	struct view_entry entries[];
};

struct service_id {
	char *name;
	uint32_t refs;            /* main thread */
	uint32_t index;           /* small, dense: workers keep per-service balancing state under it */
	atomic_uint udp_sessions; /* over all workers and generations of the service; for udp_max_sessions */
	struct qos *qos;          /* of all generations; NULL: there never was a traffic policy */
};

struct service {
	atomic_uint refs;
	atomic_uint *active; /* for max_connections; one count for all generations of the service */
	struct service_id *id;
	uint32_t slot;
	struct view *view; /* RCU: read by service_view() */
	enum algorithm algorithm;

	struct affinity_table *affinity; /* NULL: none; kept across snapshots while the settings stay */
	uint8_t affinity_v4_bits, affinity_v6_bits;

	struct source_limit_table *source_limit; /* NULL: none */
	uint32_t max_connections_per_source;
	uint8_t source_v4_bits, source_v6_bits;

	uint32_t max_connections;
	uint32_t connect_timeout_ms, idle_timeout_ms, udp_idle_timeout_ms, half_closed_timeout_ms, drain_timeout_ms;
	uint32_t panic_threshold_percent, slow_start_ms, maglev_table_size;
	uint32_t udp_max_sessions;
	uint32_t dns_min_ttl_ms, dns_max_ttl_ms;
	bool has_health, has_outlier;
	uint32_t outlier_failures, outlier_base_ms, outlier_max_ms, outlier_max_percent;
	const Marcher__Engine__V1__HealthCheck *health; /* owned (packed copy) */

	struct backend **backends;
	uint32_t nbackends;

	uint64_t config_hash;         /* of the packed message: tells whether a new snapshot changes the service */
	atomic_bool removed;          /* no snapshot has it: its connections drain */
	atomic_ullong drain_until_ms; /* 0: not draining */
};

/* Listener settings that may change while the socket stays. */
struct binding {
	struct service *service;
	uint32_t max_connections; /* 0: none */
	uint32_t naccept_proxy;
	struct prefix *accept_proxy;
};

struct listener {
	atomic_uint refs;
	atomic_uint active;
	enum transport transport;
	struct addr addr;        /* AF_UNSPEC address = dual-stack any, with the port set */
	bool steered;            /* steered.h: the port is the first of several, the address that of a prefix */
	uint8_t prefix_length;   /* steered: bits; of every address 0 */
	uint16_t port_last;      /* steered; the main thread changes it */
	_Atomic uint32_t slot;   /* another one when the listener goes to another service */
	struct binding *binding; /* RCU; NULL: closing */
	int *fds;                /* one per worker, or one shared by all */
	uint32_t nfds;
	struct listen_source *sources; /* listen.c */
	int bind_error;                /* errno of the last failed bind; 0: bound */
	atomic_bool closing;
	atomic_ullong drain_until_ms; /* 0: not draining; its connections end by then although the service stays */
};

/* rcu_dereference(), spelt as an acquire load so that ThreadSanitizer sees what orders it after the publication. */
static inline struct view *service_view(struct service *service)
{
	return __atomic_load_n(&service->view, __ATOMIC_ACQUIRE);
}
static inline struct qos *service_qos(const struct service *service)
{
	return __atomic_load_n(&service->id->qos, __ATOMIC_ACQUIRE);
}
static inline struct binding *listener_binding(struct listener *listener)
{
	return __atomic_load_n(&listener->binding, __ATOMIC_ACQUIRE);
}

/* Takes one of at most limit (0: no limit). Exact under concurrency. */
static inline bool limit_take(atomic_uint *active, uint32_t limit)
{
	uint32_t before = atomic_fetch_add_explicit(active, 1, memory_order_relaxed);
	if (limit && before >= limit) {
		atomic_fetch_sub_explicit(active, 1, memory_order_relaxed);
		return false;
	}
	return true;
}
static inline void limit_give(atomic_uint *active)
{
	atomic_fetch_sub_explicit(active, 1, memory_order_relaxed);
}

#endif
