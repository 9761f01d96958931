/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Time per packet of a pinned XDP program, by BPF_PROG_TEST_RUN: packets of so many flows, as the network namespace
 * that this runs in would receive them on the interface.
 *
 *   bench-xdp OBJECT PROGRAM INTERFACE VIP PORT REPEAT FLOWS...
 *
 * Prints one JSON object per number of flows: {"flows":N,"program_ns":X,"empty_ns":Y}. program_ns is the time of the
 * program and of what makes the packets, empty_ns that of an empty program and the same.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/if_ether.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "packet.h"

#define WARM_UP_SECONDS 8

struct bench {
	uint64_t runs;
	uint32_t flows;
	uint32_t vip;
	uint16_t port;
	uint16_t reserved[3];
};

static void fail(const char *what)
{
	fprintf(stderr, "bench-xdp: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* Average ns per run. */
static double run(int program, uint32_t ifindex, uint32_t repeat, int *verdict)
{
	uint8_t packet[64], out[256];
	struct xdp_md context = {.data_end = sizeof(packet), .ingress_ifindex = ifindex};
	LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = packet, .data_size_in = sizeof(packet), .data_out = out,
	            .data_size_out = sizeof(out), .ctx_in = &context, .ctx_size_in = sizeof(context),
	            .repeat = (int)repeat);

	fill_packet(packet, sizeof(packet));
	if (bpf_prog_test_run_opts(program, &options))
		fail("BPF_PROG_TEST_RUN");
	*verdict = (int)options.retval;
	return options.duration;
}

static void aim(int state, int target, int program, const struct bench *bench)
{
	uint32_t zero = 0, fd = (uint32_t)program;

	if (bpf_map_update_elem(target, &zero, &fd, BPF_ANY) || bpf_map_update_elem(state, &zero, bench, BPF_ANY))
		fail("filling the maps");
}

int main(int argc, char **argv)
{
	if (argc < 8) {
		fprintf(stderr, "usage: bench-xdp OBJECT PROGRAM INTERFACE VIP PORT REPEAT FLOWS...\n");
		return 2;
	}
	struct bpf_object *object = bpf_object__open_file(argv[1], NULL);
	if (!object || bpf_object__load(object))
		fail(argv[1]);
	int flows = bpf_program__fd(bpf_object__find_program_by_name(object, "flows"));
	int nothing = bpf_program__fd(bpf_object__find_program_by_name(object, "nothing"));
	int state = bpf_object__find_map_fd_by_name(object, "bench");
	int target = bpf_object__find_map_fd_by_name(object, "target");
	int measured = bpf_obj_get(argv[2]);
	uint32_t ifindex = if_nametoindex(argv[3]);
	if (measured < 0)
		fail(argv[2]);
	if (!ifindex)
		fail(argv[3]);
	struct bench bench = {.port = htons((uint16_t)atoi(argv[5]))};
	if (inet_pton(AF_INET, argv[4], &bench.vip) != 1)
		fail(argv[4]);
	uint32_t repeat = (uint32_t)strtoul(argv[6], NULL, 10);
	for (int i = 7; i < argc; i++) {
		double program_ns[3], empty_ns[3];
		int verdict, ignored;
		bench.flows = (uint32_t)strtoul(argv[i], NULL, 10);
		/* Through all flows first, so that they are in the table then, and for as long as the agent takes to
		 * have it grow: it doubles once a second at most, four times to its default size. */
		aim(state, target, measured, &bench);
		for (time_t until = time(NULL) + WARM_UP_SECONDS; time(NULL) < until;)
			run(flows, ifindex, bench.flows < 1000000 ? 1000000 : bench.flows, &verdict);
		for (unsigned round = 0; round < 3; round++) {
			aim(state, target, nothing, &bench);
			empty_ns[round] = run(flows, ifindex, repeat, &ignored);
			aim(state, target, measured, &bench);
			program_ns[round] = run(flows, ifindex, repeat, &verdict);
		}
		printf("{\"flows\":%u,\"verdict\":%d,\"program_ns\":[%g,%g,%g],\"empty_ns\":[%g,%g,%g]}\n", bench.flows,
		       verdict, program_ns[0], program_ns[1], program_ns[2], empty_ns[0], empty_ns[1], empty_ns[2]);
		fflush(stdout);
	}
	return 0;
}
