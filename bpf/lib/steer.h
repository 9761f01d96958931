/* SPDX-License-Identifier: Dual BSD/GPL */
/*
 * What sk_lookup reads: the contract with libmarcher (control/steer.c), which fills it from the engine's list of
 * listening sockets. It outlives neither a change of its form nor needs to: whoever cannot use what is pinned makes it
 * anew.
 */
#ifndef BPF_STEER_H
#define BPF_STEER_H

#include <linux/types.h>

#include "layout.h"

#define STEER_SOCKETS_MAX 4096u
#define STEER_TARGETS_MAX 262144u

/* Another listener's, within one that is wider: the kernel finds its socket. */
#define STEER_LEFT 0xffffffffu

/* The port that a group of sockets is bound to, where nobody is served: refused. */
#define STEER_CLOSED 0xfffffffeu

/* Map steer_targets: LPM trie by struct vip_prefix_key, with the same order: the longest prefix, then the port before
 * port 0, which is every one. A length of 0 bits of the address: both families; of 96: IPv4. */
struct steer_target {
	__u32 socket; /* index into steer_sockets, STEER_LEFT or STEER_CLOSED */
	__u32 length; /* the key's */
};

/* Map steer_sockets: socket map, one member of each group. One write moves all new connections from the sockets of one
 * engine to another's. A socket that is closed leaves it. */

#ifdef __bpf__
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, STEER_TARGETS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct vip_prefix_key);
	__type(value, struct steer_target);
} steer_targets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, STEER_SOCKETS_MAX);
	__type(key, __u32);
	__type(value, __u64); /* of 8 bytes: user space reads cookies */
} steer_sockets SEC(".maps");
#endif

#endif
