/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guard: from rules as they are declared to the tables of xdp_guard (bpf/lib/layout.h), and these in force.
 *
 * The tables are whole: a change of one rule makes all of them anew, beside those in force, and one write to the map
 * guard replaces them. What follows from the host and not from the table (its addresses, devices' indices, the kernel's
 * TCP settings) is looked at again by packet_guard_tend().
 */
#ifndef CONTROL_PACKET_GUARD_H
#define CONTROL_PACKET_GUARD_H

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

#include "bpf/lib/layout.h"
#include "marcher.h"
#include "marcher/packet/v1/packet.pb-c.h"
#include "packet.h"

#define GUARD_RATE_MAX 1000000000000ull /* per second */
#define GUARD_BURST_MS_MAX 3600000u

struct guard_prefix {
	struct address address; /* as struct address has it: IPv4 in the last word */
	uint32_t length;        /* in bits, of its family */
	uint32_t class;
};

/* A rule as the agent knows it. The default is rule 0, of no guard. */
struct guard_rule_facts {
	uint64_t identity; /* of its contents: who has the same keeps its counter */
	uint32_t position;
	char guard[PACKET_SERVICE_NAME_MAX + 1];
	char device[IF_NAMESIZE]; /* GUARD_TO_DEVICE */
};

/* What tables a set of rules makes. */
struct guard_tables {
	uint64_t fingerprint; /* of all that follows from the table alone; never 0 */
	struct guard guard;   /* without generation, and without what follows from the host */
	struct guard_prefix *v4, *v6;
	struct guard_class *classes;
	struct guard_span *spans;
	struct guard_rule *rules; /* [nrules]; counter is not set */
	struct guard_rule_facts *facts;
	uint32_t nv4, nv6, nclasses, nspans, nrules;
};

/* The library's map guard_records, by counter. That of counter 0, the default's, says what is in force as a whole. */
struct guard_record {
	uint64_t identity; /* of the rule; [0]: fingerprint of the tables */
	uint32_t position; /* [0]: number of prefixes */
	uint32_t classes;  /* [0] */
	char guard[PACKET_SERVICE_NAME_MAX + 1];
	char device[IF_NAMESIZE];
};

/* What is in force; NULL in the handle: nothing. */
struct packet_guard {
	struct guard guard;   /* as the map has it */
	uint64_t fingerprint; /* 0: not known; to be made anew */
	struct guard_rule *rules;
	struct guard_rule_facts *facts;
	uint32_t nrules, nprefixes, nclasses;
};

/* Every reason against the guard; an empty list: *tables is made, to be freed. Returns MARCHER_OK also then, or
 * MARCHER_E_NO_MEMORY. */
int packet_guard_check(const Marcher__Packet__V1__Guard *guard, struct guard_tables **tables,
                       struct packet_reasons *reasons);
void packet_guard_tables_free(struct guard_tables *tables);

/* packet_guard_apply.c, under calls_lock. */
/* Reads back what is in force. */
int packet_guard_read(struct marcher_packet *handle);
/* Puts it in force; tables NULL: nothing is guarded. Follows this node's addresses in either case. */
int packet_guard_apply(struct marcher_packet *handle, const struct guard_tables *tables);
/* Follows the host; its addresses also where nothing is guarded. */
int packet_guard_tend(struct marcher_packet *handle);
void packet_guard_free(struct packet_guard *guard);

/* packet_guard_host.c */
/* What answers with a cookie may offer, as the kernel that checks them is set: window, window_scale and flags. */
void guard_cookie_settings(struct guard *guard);
/* What these settings take away, as sentences; at most GUARD_COOKIE_LIMITS_MAX. Returns their number. */
#define GUARD_COOKIE_LIMITS_MAX 2
uint32_t guard_cookie_limits(const struct guard *guard, const char *limits[GUARD_COOKIE_LIMITS_MAX]);

/* packet_guard_status.c */
struct guard_status;
/* What a status says about the guard, to be freed; NULL and errno 0: nothing is guarded. Under table_lock. */
struct guard_status *packet_guard_status(struct marcher_packet *handle, int cpus);
Marcher__Packet__V1__GuardStatus *packet_guard_status_message(struct guard_status *status);
void packet_guard_status_free(struct guard_status *status);

#endif
