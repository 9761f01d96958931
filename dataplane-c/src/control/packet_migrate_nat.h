/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flows of NAT from the tables of another layout to this one's, and tc's programs in the place of that one's.
 *
 * A packet of a flow that its programs do not know goes to whoever sent it, or to nobody, and ends the connection; two
 * flows under one source port towards a backend are mixed up for good. So:
 *
 *   1. fill      what the other layout's tables have is copied, while its programs forward
 *   2. follow    everywhere packets meet its programs first, then this layout's, which take what those let pass
 *   3. freeze    its VIPs are taken away: its programs go on with the flows that they know, and new ones begin by this
 *                layout's
 *   4. fill      again: now nothing is in the other tables only. A flow that began here meanwhile under a source port
 *                that one of them has gives way; its next packet finds that it has lost its port and gets another
 *   5. exchange  the other programs are taken off
 *   6. mend      what those have noted of flows since: ends, answers, confirmations
 *
 * Between 1 and 2 the programs of XDP are exchanged, and this layout's carry the flows that are there (xdp_nat.c): of
 * those both tables know something, and what they have noted is joined.
 *
 * Where somebody died in between, what this layout's programs have decided may count already: then nothing is put over
 * it in any of the steps.
 */
#ifndef CONTROL_PACKET_MIGRATE_NAT_H
#define CONTROL_PACKET_MIGRATE_NAT_H

#include "packet.h"
#include "packet_migrate.h"

/* nat_flows, or nat_new. */
struct packet_nat_part {
	int from, to;    /* -1: there is none */
	uint32_t size;   /* entries that to has */
	uint32_t room;   /* how many go into it where from has more */
	uint32_t oldest; /* then: what has been silent for longer has no room, */
	uint32_t last;   /* and how many that were silent for so long have */
};

struct packet_nat_carry {
	struct marcher_packet *handle;
	const struct packet_target *backends; /* [BACKENDS_MAX] by their old index; index 0: gone */
	const uint32_t *services;             /* [SERVICES_MAX]: new index + 1; 0: gone */
	struct packet_nat_part parts[2];
	struct packet_nat_part *part; /* that is walked through */
	uint32_t *ages;               /* entries by how long they have been silent */
	uint32_t *gone;               /* [BACKENDS_MAX]: flows whose backend is no more */
	uint32_t now, filled;         /* in units of struct nat_flow's seen; when the last step that fills began */
	bool over;                    /* a flow of this layout's gives way */
	bool beside;                  /* this layout's programs, of XDP, may have noted something of the same flows */
	bool again;                   /* filled before */
	bool mend;
	/* Of the last step that fills: flows carried, without room, with another's in their place; all that are
	 * lost. */
	uint64_t flows, full, taken, left;
};

/* backends and services stay the caller's. packet_nat_carry_end in any case. */
int packet_nat_carry_begin(struct packet_nat_carry *c, struct marcher_packet *handle,
                           const struct packet_target *backends, const uint32_t *services);
/* Step 1. live: packets may have met this layout's programs of XDP. */
int packet_nat_carry_fill(struct packet_nat_carry *c, bool live);
/* The others. Also where there was no NAT: tc's programs are exchanged. */
int packet_nat_carry_swap(struct packet_nat_carry *c);
/* What was lost, by name. */
void packet_nat_carry_tell(const struct packet_nat_carry *c, struct packet_reasons *lost);
void packet_nat_carry_end(struct packet_nat_carry *c);

#endif
