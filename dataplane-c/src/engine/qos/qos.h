/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The traffic policy of a service, and what its connections share.
 *
 *   service_id ──▶ qos (made with the first policy, lives as long as the name) ──▶ policy (RCU, immutable; NULL: none)
 *                   ├ buckets: bytes by direction, new connections (all workers, atomics)
 *                   └ lanes: connections that wait for the service's bytes, by worker (shaper.c)
 *
 * A changed policy is published in place of the old one; then each worker is told to look at its connections again
 * (qos_refresh), since sockets carry marks and some wait for what the old one allowed.
 */
#ifndef ENGINE_QOS_H
#define ENGINE_QOS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gcra.h"
#include "marcher/engine/v1/snapshot.pb-c.h"

struct shaper_lane; /* shaper.c */

enum qos_class { QOS_P0, QOS_P1, QOS_P2, QOS_P3, QOS_CLASSES };
#define QOS_CLASS_DEFAULT QOS_P2

/* Directions, as the relay numbers them: of bytes from the client, and to it. */
enum { QOS_INGRESS = 0, QOS_EGRESS = 1 };

/* A limit on bytes in one direction. */
struct qos_limit {
	struct gcra_rate rate; /* unit_cost 0: no limit */
	uint64_t bytes_per_second;
	uint32_t quantum; /* what a connection waits for, and moves at least, when it has to wait */
};

struct qos_policy {
	uint32_t version; /* differs for each, never 0 */
	struct qos_settings {
		struct qos_limit service[2], connection[2];
		/* What the kernel may send of one connection (SO_MAX_PACING_RATE), by the direction that is written;
		 * 0: no bound. */
		uint64_t pacing_bytes_per_second[2];
		struct gcra_rate connections;
		bool limits_bytes; /* one of service and connection is a limit */
		bool has_dscp, ecn_mark;
		uint8_t tos;      /* DSCP in its place */
		uint8_t priority; /* enum qos_class */
	} settings;
};

struct qos_bucket {
	_Alignas(64) _Atomic uint64_t tat;
	_Atomic uint64_t marks_tat; /* of what has been marked (gcra_marks) */
	atomic_uint waiting;        /* connections over all workers */
};

struct qos {
	struct qos_policy *policy;
	struct qos_bucket bytes[2];
	_Alignas(64) _Atomic uint64_t connections_tat;
	unsigned nworkers;
	struct shaper_lane *lanes[][2]; /* by worker, which alone touches its own */
};

/* Main thread. NULL when out of memory. */
struct qos *qos_new(unsigned nworkers);
/* When no connection of the service is left. */
void qos_free(struct qos *qos);
/* The policy of a checked message; NULL when out of memory. */
struct qos_policy *qos_policy_new(const Marcher__Engine__V1__TrafficPolicy *message);
bool qos_policy_same(const struct qos_policy *a, const struct qos_policy *b); /* either may be NULL */

/* Any thread. The policy may be kept until the thread is quiescent; qos may be NULL. */
static inline const struct qos_policy *qos_policy_of(const struct qos *qos)
{
	return qos ? __atomic_load_n(&qos->policy, __ATOMIC_ACQUIRE) : NULL;
}
static inline enum qos_class qos_class_of(const struct qos *qos)
{
	const struct qos_policy *policy = qos_policy_of(qos);
	return policy ? (enum qos_class)policy->settings.priority : QOS_CLASS_DEFAULT;
}
/* Whether the service may have one more connection now; takes it. */
bool qos_connection_allowed(struct qos *qos, uint64_t now_us);

#endif
