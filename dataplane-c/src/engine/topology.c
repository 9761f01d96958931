/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads what the kernel says about CPUs, cores and NUMA nodes (Documentation/admin-guide/cputopology.rst,
 * Documentation/ABI/stable/sysfs-devices-node). Containers often show only a part of sysfs, so whatever is missing
 * degrades to "one node, every CPU a core of its own" instead of keeping the engine from starting.
 */
#include "topology.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SYSFS_TEXT_MAX 8192 /* 1,024 CPUs as a list of single numbers take 4,010 bytes */

/* Reads a small text file below root into text, without its line end. Returns its length or -errno (text is empty). */
static int sysfs_read(const char *root, const char *path, char *text, size_t size)
{
	char name[4096];
	text[0] = '\0';
	int written = snprintf(name, sizeof(name), "%s/%s", root, path);
	if (written < 0 || (size_t)written >= sizeof(name))
		return -ENAMETOOLONG;
	int fd = open(name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	size_t length = 0;
	int error = 0;
	while (length < size - 1) {
		ssize_t n = read(fd, text + length, size - 1 - length);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			error = -errno;
		if (n <= 0)
			break;
		length += (size_t)n;
	}
	close(fd);
	if (error) {
		text[0] = '\0';
		return error;
	}
	while (length && (text[length - 1] == '\n' || text[length - 1] == ' '))
		length--;
	text[length] = '\0';
	return (int)length;
}

/* A list of numbers ("0-3,8"; empty: none) below limit, given to each. Returns 0, or -errno (-EINVAL: not a list). */
static int parse_list(const char *list, unsigned limit, bool strict, void (*each)(void *, unsigned), void *arg)
{
	const char *at = list;
	if (!*at)
		return 0;
	for (;;) {
		unsigned long range[2];
		for (unsigned i = 0; i < 2; i++) {
			if (*at < '0' || *at > '9')
				return -EINVAL;
			unsigned long value = 0;
			for (; *at >= '0' && *at <= '9'; at++) {
				if (value > 1000000)
					return -ERANGE;
				value = value * 10 + (unsigned long)(*at - '0');
			}
			range[i] = value;
			if (i == 0) {
				range[1] = value;
				if (*at != '-')
					break;
				at++;
			}
		}
		if (range[1] < range[0])
			return -EINVAL;
		if (strict && range[1] >= limit)
			return -ERANGE;
		for (unsigned long n = range[0]; n <= range[1] && n < limit; n++)
			each(arg, (unsigned)n);
		if (!*at)
			return 0;
		if (*at++ != ',')
			return -EINVAL;
	}
}

static void add_cpu(void *arg, unsigned cpu)
{
	CPU_SET(cpu, (cpu_set_t *)arg);
}

bool topology_parse_cpus(const char *list, cpu_set_t *set)
{
	CPU_ZERO(set);
	return list && *list && parse_list(list, TOPOLOGY_CPUS_MAX, true, add_cpu, set) == 0;
}

/* A CPU list from a file; CPUs above the limit are left out. Returns 0 or -errno. */
static int read_cpus(const char *root, const char *path, cpu_set_t *set)
{
	char text[SYSFS_TEXT_MAX];
	CPU_ZERO(set);
	int length = sysfs_read(root, path, text, sizeof(text));
	return length < 0 ? length : parse_list(text, TOPOLOGY_CPUS_MAX, false, add_cpu, set);
}

static int read_number(const char *root, const char *path, int absent)
{
	char text[64], *end;
	if (sysfs_read(root, path, text, sizeof(text)) <= 0)
		return absent;
	errno = 0;
	long value = strtol(text, &end, 10);
	return errno || *end || value < INT32_MIN || value > INT32_MAX ? absent : (int)value;
}

static void add_node(void *arg, unsigned node)
{
	*(uint64_t *)arg |= UINT64_C(1) << node;
}

/* Whether another CPU of kept with a lower number shares this one's core. A core whose first thread is not allowed
 * counts as whole: nobody of ours runs on its other half. */
static bool is_sibling(const char *root, const struct topology *topology, const struct topology_cpu *cpu,
                       const cpu_set_t *kept)
{
	char path[96];
	cpu_set_t threads;
	snprintf(path, sizeof(path), "devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu->cpu);
	if (read_cpus(root, path, &threads) == 0 && CPU_COUNT(&threads) > 0) {
		for (int other = 0; other < cpu->cpu; other++) {
			if (CPU_ISSET(other, &threads) && CPU_ISSET(other, kept))
				return true;
		}
		return false;
	}
	if (cpu->core < 0)
		return false;
	for (unsigned i = 0; i < topology->ncpus; i++) {
		const struct topology_cpu *other = &topology->cpus[i];
		if (other->cpu < cpu->cpu && other->core == cpu->core && other->package == cpu->package &&
		    other->node == cpu->node)
			return true;
	}
	return false;
}

int topology_read(const char *root, const cpu_set_t *allowed, struct topology *topology)
{
	char path[96];
	cpu_set_t kept, of_node;

	memset(topology, 0, sizeof(*topology));
	int error = read_cpus(root, "devices/system/cpu/online", &kept);
	if (error == -EINVAL || error == -ERANGE)
		return -EINVAL;
	if (error) /* no sysfs here: the affinity mask holds only CPUs that are online */
		kept = *allowed;
	else
		CPU_AND(&kept, &kept, allowed);

	int16_t node_of[TOPOLOGY_CPUS_MAX];
	memset(node_of, 0, sizeof(node_of));
	uint64_t nodes = 0;
	char text[SYSFS_TEXT_MAX];
	if (sysfs_read(root, "devices/system/node/online", text, sizeof(text)) > 0 &&
	    parse_list(text, TOPOLOGY_NODES_MAX, false, add_node, &nodes) != 0)
		return -EINVAL;
	for (int node = 0; node < TOPOLOGY_NODES_MAX; node++) {
		if (!(nodes >> node & 1))
			continue;
		snprintf(path, sizeof(path), "devices/system/node/node%d/cpulist", node);
		error = read_cpus(root, path, &of_node);
		if (error == -EINVAL || error == -ERANGE)
			return -EINVAL;
		if (error)
			continue;
		for (int cpu = 0; cpu < TOPOLOGY_CPUS_MAX; cpu++) {
			if (CPU_ISSET(cpu, &of_node))
				node_of[cpu] = (int16_t)node;
		}
	}

	uint64_t used = 0;
	for (int cpu = 0; cpu < TOPOLOGY_CPUS_MAX; cpu++) {
		if (!CPU_ISSET(cpu, &kept))
			continue;
		struct topology_cpu *entry = &topology->cpus[topology->ncpus];
		entry->cpu = cpu;
		entry->node = node_of[cpu];
		snprintf(path, sizeof(path), "devices/system/cpu/cpu%d/topology/core_id", cpu);
		entry->core = read_number(root, path, -1);
		snprintf(path, sizeof(path), "devices/system/cpu/cpu%d/topology/physical_package_id", cpu);
		entry->package = read_number(root, path, 0);
		entry->sibling = is_sibling(root, topology, entry, &kept);
		used |= UINT64_C(1) << entry->node;
		topology->ncpus++;
	}
	if (topology->ncpus == 0)
		return -ENODEV;
	for (int node = 0; node < TOPOLOGY_NODES_MAX; node++) {
		if (used >> node & 1)
			topology->nodes[topology->nnodes++] = node;
	}
	return 0;
}

/* The next free CPU of the node, cores before their siblings; -1: none is free. */
static int take_cpu(const struct topology *topology, int node, cpu_set_t *taken)
{
	for (int sibling = 0; sibling < 2; sibling++) {
		for (unsigned i = 0; i < topology->ncpus; i++) {
			const struct topology_cpu *cpu = &topology->cpus[i];
			if (cpu->node == node && cpu->sibling == (sibling == 1) && !CPU_ISSET(cpu->cpu, taken)) {
				CPU_SET(cpu->cpu, taken);
				return cpu->cpu;
			}
		}
	}
	return -1;
}

void topology_place(const struct topology *topology, unsigned workers, struct worker_place *places)
{
	cpu_set_t taken;
	unsigned ntaken = 0, turn = 0;

	CPU_ZERO(&taken);
	for (unsigned i = 0; i < workers; i++) {
		places[i] = (struct worker_place){.cpu = -1, .node = -1};
		if (topology->ncpus == 0)
			continue;
		if (ntaken == topology->ncpus) {
			CPU_ZERO(&taken);
			ntaken = 0;
			turn = 0;
		}
		/* Nodes may differ in size: one that is full is passed over, so no CPU gets its second worker while
		 * another has none. */
		do {
			int node = topology->nodes[turn++ % topology->nnodes];
			places[i].cpu = take_cpu(topology, node, &taken);
			places[i].node = node;
		} while (places[i].cpu < 0);
		ntaken++;
	}
}

int topology_pin(const struct worker_place *place)
{
	cpu_set_t set;
	if (place->cpu < 0)
		return 0;
	if (place->cpu >= CPU_SETSIZE)
		return -EINVAL;
	CPU_ZERO(&set);
	CPU_SET(place->cpu, &set);
	return -pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
}

int topology_bind_memory(const struct topology *topology, const struct worker_place *place)
{
	if (topology->nnodes < 2 || place->node < 0)
		return 0;
	if (place->node >= TOPOLOGY_NODES_MAX)
		return -EINVAL;
	/* Preferred, not bound: when the node is full, memory from the neighbour is slow and an allocation that fails
	 * is an outage. maxnode counts one bit more than the kernel uses (set_mempolicy(2), BUGS). */
	unsigned long mask[(TOPOLOGY_NODES_MAX + 8 * sizeof(long) - 1) / (8 * sizeof(long))] = {0};
	unsigned bits = 8 * sizeof(long);
	mask[(unsigned)place->node / bits] = 1ul << ((unsigned)place->node % bits);
	if (syscall(SYS_set_mempolicy, MPOL_PREFERRED, mask, (unsigned long)TOPOLOGY_NODES_MAX + 1) != 0)
		return errno == ENOSYS ? 0 : -errno; /* a kernel without NUMA */
	return 0;
}

void topology_save_memory(struct memory_policy *policy)
{
	memset(policy, 0, sizeof(*policy));
	if (syscall(SYS_get_mempolicy, &policy->mode, policy->nodes, 8 * sizeof(policy->nodes), NULL, 0ul) != 0)
		policy->mode = -1;
}

void topology_restore_memory(const struct memory_policy *policy)
{
	/* One bit more, as above; MPOL_DEFAULT takes no nodes. */
	if (policy->mode >= 0)
		syscall(SYS_set_mempolicy, policy->mode, policy->mode == MPOL_DEFAULT ? NULL : policy->nodes,
		        policy->mode == MPOL_DEFAULT ? 0ul : 8 * sizeof(policy->nodes) + 1);
}
