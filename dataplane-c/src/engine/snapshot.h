/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A packed Snapshot, read without unpacking it whole: the outer message is scanned for its parts, and only services
 * that differ from what runs are unpacked, one at a time. So a change of one service among ten thousand costs a scan
 * and one service. Every check that needs nothing but the message itself is here; what depends on other services is
 * runtime.c's.
 */
#ifndef ENGINE_SNAPSHOT_H
#define ENGINE_SNAPSHOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "marcher/engine/v1/control.pb-c.h"
#include "marcher/engine/v1/snapshot.pb-c.h"

#define SNAPSHOT_SERVICES_MAX 262144u
#define SNAPSHOT_SERVICE_BYTES_MAX (16u * 1024 * 1024)
#define SNAPSHOT_BACKENDS_MAX 65536u  /* per service */
#define SNAPSHOT_LISTENERS_MAX 65536u /* entries per service */
#define SNAPSHOT_PORTS_MAX 131072u    /* sockets' worth of listeners over all services */
#define SNAPSHOT_REASONS_MAX 1000u
#define SNAPSHOT_BACKLOG_DEFAULT 4096u

struct slice {
	const uint8_t *data;
	size_t length;
};

/* Why a snapshot is refused: all reasons at once, with paths, at most SNAPSHOT_REASONS_MAX (then one says how many
 * more). */
struct reasons {
	Marcher__Engine__V1__Reason **items;
	size_t count, capacity;
	size_t omitted;
	bool no_memory;
};

/* service may be NULL. */
void reasons_add(struct reasons *reasons, const char *service, const char *path, const char *format, ...)
        __attribute__((format(printf, 4, 5)));
static inline bool reasons_any(const struct reasons *reasons)
{
	return reasons->count || reasons->no_memory;
}
/* Moves them into a repeated field, which marcher__..__free_unpacked or reasons_free_items frees. */
void reasons_take(struct reasons *reasons, Marcher__Engine__V1__Reason ***items, size_t *count);
void reasons_free_items(Marcher__Engine__V1__Reason **items, size_t count);
void reasons_free(struct reasons *reasons);

/* The parts of a packed snapshot; slices point into it. */
struct snapshot {
	uint64_t generation, base_generation;
	bool has_node;
	struct slice node;
	struct slice *services;
	size_t nservices;
	struct slice *removed; /* names, not terminated */
	size_t nremoved;
};

/* false: not a Snapshot, or over a limit; the reason says where. */
bool snapshot_scan(const void *packed, size_t length, struct snapshot *snapshot, struct reasons *reasons);
void snapshot_free(struct snapshot *snapshot);

/* The name of a packed Service, without unpacking it. Empty when it has none. */
struct slice snapshot_service_name(struct slice service);

/* 1 to 63 of [a-z0-9-], beginning and ending with a letter or digit. */
bool snapshot_name_valid(const char *name, size_t length);

/* Unpacks services[index] and checks it. NULL when it cannot be unpacked; else the message, also when reasons were
 * added: compare reasons->count. Free with marcher__engine__v1__service__free_unpacked(message, NULL). */
Marcher__Engine__V1__Service *snapshot_service(struct slice service, size_t index, struct reasons *reasons);

/* The same for the node. */
Marcher__Engine__V1__Node *snapshot_node(struct slice node, struct reasons *reasons);

#endif
