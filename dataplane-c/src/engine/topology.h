/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CPUs and NUMA nodes from sysfs, and the placing of workers on them. The root of sysfs is a parameter so that recorded
 * trees of other machines can be tested.
 */
#ifndef ENGINE_TOPOLOGY_H
#define ENGINE_TOPOLOGY_H

#include <sched.h>
#include <stdbool.h>
#include <stddef.h>

#define TOPOLOGY_CPUS_MAX 1024
#define TOPOLOGY_NODES_MAX 64
/* Nodes that a kernel may be built for (MAX_NUMNODES, 1,024): get_mempolicy(2) wants room for all of them. */
#define TOPOLOGY_POLICY_WORDS (1024 / (8 * sizeof(unsigned long)))

struct topology {
	unsigned ncpus;
	struct topology_cpu {
		int cpu;
		int node;
		int core; /* physical core id within its package */
		int package;
		bool sibling; /* not the first hyper-thread of its core */
	} cpus[TOPOLOGY_CPUS_MAX];
	unsigned nnodes;
	int nodes[TOPOLOGY_NODES_MAX];
};

struct worker_place {
	int cpu;
	int node; /* -1: unknown */
};

/* Reads the tree below root ("/sys"), keeping only CPUs in allowed. Without node directories all CPUs are on node 0.
 * Returns 0 or -errno. */
int topology_read(const char *root, const cpu_set_t *allowed, struct topology *topology);

/* "0-3,8" into a set. false: not a list, or a CPU above the limit. */
bool topology_parse_cpus(const char *list, cpu_set_t *set);

/* Places workers: round robin over nodes; inside a node whole cores first, then hyper-thread siblings; with more
 * workers than CPUs it wraps around. */
void topology_place(const struct topology *topology, unsigned workers, struct worker_place *places);

/* For the calling thread. Returns 0 or -errno; memory policy on a one-node machine is left alone. */
int topology_pin(const struct worker_place *place);
int topology_bind_memory(const struct topology *topology, const struct worker_place *place);

/* The calling thread's memory policy, to be put back after another one. */
struct memory_policy {
	int mode; /* -1: the kernel did not say, and nothing is put back */
	unsigned long nodes[TOPOLOGY_POLICY_WORDS];
};
void topology_save_memory(struct memory_policy *policy);
void topology_restore_memory(const struct memory_policy *policy);

#endif
