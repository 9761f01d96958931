/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the pins of another layout to this one's, while packets flow.
 *
 * The programs of the other layout stay on the interfaces while this build's are loaded beside, with maps of their own.
 * The first table that is applied fills those. Then flows are carried over, each link gets the new root program by one
 * write, flows that came in between are carried over, tc's programs are exchanged in the same manner
 * (packet_migrate_nat.h), and counters are carried over; the old pins go last. A death at any point leaves each
 * interface with programs that forward, and the next open goes on: as long as something is attached by the old folder's
 * pins there is something to migrate.
 */
#ifndef CONTROL_PACKET_MIGRATE_H
#define CONTROL_PACKET_MIGRATE_H

#include "packet.h"
#include "packet_layouts.h"

/* What an old index of a backend is now. */
struct packet_target {
	uint32_t before; /* generation */
	uint32_t index, generation;
};

struct packet_migration {
	int version;
	const struct packet_layout *layout;
	int maps[PACKET_MAPS];       /* those that are read; -1 */
	bool begun;                  /* a link has a program of this layout already: what that has decided counts */
	bool nat_unknown;            /* it has flows of NAT in a form that this build cannot read */
	bool other_tags;             /* flows are known by tags of another secret there, and cannot be told here */
	const struct flow_set *sets; /* FLOWS_IN_SETS: the old table; NULL: not mapped */
	uint32_t nsets, mask;
	struct packet_state state;
};

/* Before this layout's folders are made: looks for pins of other layouts. Those that nothing is attached by any more
 * are removed; one that forwards becomes handle->migration. MARCHER_E_PROTOCOL: it is of a layout that cannot be read.
 */
int packet_migration_find(struct marcher_packet *handle);

/* When this layout's maps are there, and before anything is attached. */
int packet_migration_prepare(struct marcher_packet *handle);

/* When the first table is in this layout's maps. Whatever fails: the next call goes on. lost: what could not be taken
 * over, and why. */
int packet_migration_finish(struct marcher_packet *handle, struct packet_reasons *lost);

/* Waits until each packet has left the program that it met. */
void packet_migration_leave(void);

void packet_migration_free(struct marcher_packet *handle);

/* Path of a pin of the other layout. */
void packet_migration_path(const struct marcher_packet *handle, char path[4096], const char *kind, const char *name);

#endif
