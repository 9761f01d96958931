/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Floods a device with frames from forged sources for some seconds, as fast as one CPU can:
 *
 *   flood OBJECT INTERFACE MAC syn|udp|fragment SOURCE/BITS DESTINATION PORT CPU SECONDS
 *
 * Runs in the network namespace of the interface, whose XDP program it replaces. Sources are chosen from the prefix by
 * chance. Prints {"sent":N,"returned":N,"seconds":S}.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <netinet/ether.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#define CPUS_MAX 1024
#define FRAMES_AT_ONCE 16384
#define FRAME_BYTES 82 /* 14 + 20 + 48: what is behind the IP header is a multiple of eight */

struct flood {
	uint32_t kind, ifindex, destination, source, spread;
	uint16_t port;
	uint8_t to[ETH_ALEN];
};

struct counts {
	uint64_t sent, returned;
};

static void fail(const char *what)
{
	fprintf(stderr, "flood: %s: %s\n", what, strerror(errno));
	exit(1);
}

static double seconds_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static struct counts count(int map)
{
	struct counts values[CPUS_MAX] = {0}, sum = {0};
	uint32_t zero = 0;

	if (bpf_map_lookup_elem(map, &zero, values))
		fail("reading the counts");
	for (int i = 0; i < libbpf_num_possible_cpus(); i++) {
		sum.sent += values[i].sent;
		sum.returned += values[i].returned;
	}
	return sum;
}

static void read_arguments(char **argv, struct flood *flood)
{
	static const char *const kinds[] = {"syn", "udp", "fragment"};
	char source[32] = "";
	unsigned bits;
	struct in_addr address;
	const struct ether_addr *to = ether_aton(argv[3]);

	flood->ifindex = if_nametoindex(argv[2]);
	if (!flood->ifindex)
		fail(argv[2]);
	while (flood->kind < 3 && strcmp(kinds[flood->kind], argv[4]) != 0)
		flood->kind++;
	errno = EINVAL;
	if (!to || flood->kind == 3 || sscanf(argv[5], "%31[0-9.]/%u", source, &bits) != 2 || bits < 1 || bits > 32 ||
	    inet_pton(AF_INET, source, &address) != 1 || inet_pton(AF_INET, argv[6], &flood->destination) != 1)
		fail("arguments");
	flood->source = ntohl(address.s_addr);
	flood->spread = bits == 32 ? 0 : ~0u >> bits;
	flood->port = htons((uint16_t)atoi(argv[7]));
	memcpy(flood->to, to, sizeof(flood->to));
}

int main(int argc, char **argv)
{
	if (argc != 10) {
		fprintf(stderr, "usage: flood OBJECT INTERFACE MAC syn|udp|fragment SOURCE/BITS DESTINATION PORT CPU "
		                "SECONDS\n");
		return 2;
	}
	struct flood flood = {0};
	cpu_set_t set;
	uint32_t zero = 0;
	uint8_t frame[FRAME_BYTES] = {0};
	read_arguments(argv, &flood);
	double seconds = strtod(argv[9], NULL);
	CPU_ZERO(&set);
	CPU_SET((size_t)atoi(argv[8]), &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		fail("sched_setaffinity");
	struct bpf_object *object = bpf_object__open_file(argv[1], NULL);
	if (!object || bpf_object__load(object))
		fail(argv[1]);
	int generate = bpf_program__fd(bpf_object__find_program_by_name(object, "generate"));
	int sink = bpf_program__fd(bpf_object__find_program_by_name(object, "sink"));
	int counts = bpf_object__find_map_fd_by_name(object, "counts");
	if (bpf_map_update_elem(bpf_object__find_map_fd_by_name(object, "flood"), &zero, &flood, BPF_ANY))
		fail("filling the map");
	bpf_xdp_detach((int)flood.ifindex, XDP_FLAGS_DRV_MODE, NULL);
	int error = bpf_xdp_attach((int)flood.ifindex, sink, XDP_FLAGS_DRV_MODE, NULL);
	if (error) {
		errno = -error;
		fail("attaching the sink");
	}
	struct xdp_md context = {.data_end = sizeof(frame)};
	double started = seconds_now(), elapsed;
	do {
		LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame, .data_size_in = sizeof(frame),
		            .ctx_in = &context, .ctx_size_in = sizeof(context), .repeat = FRAMES_AT_ONCE,
		            .flags = BPF_F_TEST_XDP_LIVE_FRAMES, .batch_size = 64);
		if (bpf_prog_test_run_opts(generate, &options))
			fail("BPF_PROG_TEST_RUN with live frames");
		elapsed = seconds_now() - started;
	} while (elapsed < seconds);
	struct counts all = count(counts);
	printf("{\"sent\":%llu,\"returned\":%llu,\"seconds\":%.6f}\n", (unsigned long long)all.sent,
	       (unsigned long long)all.returned, elapsed);
	return 0;
}
