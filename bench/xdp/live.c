/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sends frames into a device for some seconds, as fast as all CPUs can, and counts those that come out of it again:
 *
 *   bench-live OBJECT INTERFACE MAC SOURCE DESTINATION PORT FLOWS SECONDS
 *
 * Runs in the network namespace of the interface, whose XDP program it replaces. Prints {"sent":N,"returned":N,
 * "seconds":S}. One second before it counts, so that all flows are known.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <netinet/ether.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "packet.h"

#define CPUS_MAX 1024
#define FRAMES_AT_ONCE 65536

struct live {
	uint32_t flows;
	uint32_t ifindex;
	uint32_t source, destination;
	uint16_t port;
	uint8_t to[ETH_ALEN];
};

static void fail(const char *what)
{
	fprintf(stderr, "bench-live: %s: %s\n", what, strerror(errno));
	exit(1);
}

static double seconds_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

struct counts {
	uint64_t generated, sunk;
};

static struct counts count(int map)
{
	struct counts values[CPUS_MAX] = {0}, sum = {0};
	uint32_t zero = 0;

	if (bpf_map_lookup_elem(map, &zero, values))
		fail("reading the counts");
	for (int i = 0; i < libbpf_num_possible_cpus(); i++) {
		sum.generated += values[i].generated;
		sum.sunk += values[i].sunk;
	}
	return sum;
}

static int generate;
static atomic_bool over;

/* One for each CPU. */
static void *send_frames(void *cpu)
{
	cpu_set_t set;
	uint8_t packet[64];

	CPU_ZERO(&set);
	CPU_SET((size_t)(intptr_t)cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		fail("sched_setaffinity");
	fill_packet(packet, sizeof(packet));
	while (!atomic_load(&over)) {
		struct xdp_md context = {.data_end = sizeof(packet)};
		LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = packet, .data_size_in = sizeof(packet),
		            .ctx_in = &context, .ctx_size_in = sizeof(context), .repeat = FRAMES_AT_ONCE,
		            .flags = BPF_F_TEST_XDP_LIVE_FRAMES, .batch_size = 64);
		if (bpf_prog_test_run_opts(generate, &options))
			fail("BPF_PROG_TEST_RUN with live frames");
	}
	return NULL;
}

static void pause_for(double seconds)
{
	struct timespec length = {.tv_sec = (time_t)seconds,
	                          .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9)};

	nanosleep(&length, NULL);
}

int main(int argc, char **argv)
{
	if (argc != 9) {
		fprintf(stderr, "usage: bench-live OBJECT INTERFACE MAC SOURCE DESTINATION PORT FLOWS SECONDS\n");
		return 2;
	}
	struct bpf_object *object = bpf_object__open_file(argv[1], NULL);
	if (!object || bpf_object__load(object))
		fail(argv[1]);
	generate = bpf_program__fd(bpf_object__find_program_by_name(object, "generate"));
	int sink = bpf_program__fd(bpf_object__find_program_by_name(object, "sink"));
	int state = bpf_object__find_map_fd_by_name(object, "live");
	int counts = bpf_object__find_map_fd_by_name(object, "counts");
	struct live live = {.ifindex = if_nametoindex(argv[2]),
	                    .port = htons((uint16_t)atoi(argv[6])),
	                    .flows = (uint32_t)strtoul(argv[7], NULL, 10)};
	const struct ether_addr *to = ether_aton(argv[3]);
	double seconds = strtod(argv[8], NULL);
	uint32_t zero = 0;
	if (!live.ifindex)
		fail(argv[2]);
	if (!to || inet_pton(AF_INET, argv[4], &live.source) != 1 ||
	    inet_pton(AF_INET, argv[5], &live.destination) != 1)
		fail("an address");
	memcpy(live.to, to, sizeof(live.to));
	if (bpf_map_update_elem(state, &zero, &live, BPF_ANY))
		fail("filling the map");
	bpf_xdp_detach((int)live.ifindex, XDP_FLAGS_DRV_MODE, NULL);
	int error = bpf_xdp_attach((int)live.ifindex, sink, XDP_FLAGS_DRV_MODE, NULL);
	if (error) {
		errno = -error;
		fail("attaching the sink");
	}
	pthread_t threads[CPUS_MAX];
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	for (long i = 0; i < cpus; i++)
		if ((errno = pthread_create(&threads[i], NULL, send_frames, (void *)(intptr_t)i)))
			fail("starting a thread");
	pause_for(1);
	struct counts before = count(counts);
	double started = seconds_now();
	pause_for(seconds);
	struct counts after = count(counts);
	double elapsed = seconds_now() - started;
	atomic_store(&over, true);
	for (long i = 0; i < cpus; i++)
		pthread_join(threads[i], NULL);
	printf("{\"sent\":%llu,\"returned\":%llu,\"seconds\":%.6f}\n",
	       (unsigned long long)(after.generated - before.generated), (unsigned long long)(after.sunk - before.sunk),
	       elapsed);
	return 0;
}
