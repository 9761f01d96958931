/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opens flows of NAT: writes into a node's pinned tables what both ends' packets would have left there, for the flows
 * whose packets flows.bpf.c makes.
 *
 *   bench-open MAPS VIP PORT BACKEND BACKEND_PORT FLOWS
 *
 * MAPS is the directory of the pinned maps.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <bpf/bpf.h>

#include "flow_ports.h"
#include "lib/layout.h"

static void fail(const char *what)
{
	fprintf(stderr, "bench-open: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int map_of(const char *maps, const char *name)
{
	char path[4096];
	snprintf(path, sizeof(path), "%s/%s", maps, name);
	int fd = bpf_obj_get(path);
	if (fd < 0)
		fail(path);
	return fd;
}

static struct address address_of(const char *text)
{
	struct address address = {.word = {0, 0, htonl(0xffff), 0}};
	if (inet_pton(AF_INET, text, &address.word[3]) != 1)
		fail(text);
	return address;
}

static uint32_t backend_of(int backends, const struct address *address, struct backend *backend)
{
	for (uint32_t index = 1; index < BACKENDS_MAX; index++)
		if (!bpf_map_lookup_elem(backends, &index, backend) && (backend->flags & BACKEND_IN_USE) &&
		    !memcmp(&backend->address, address, sizeof(*address)))
			return index;
	errno = ENOENT;
	fail("the backend");
	return 0;
}

int main(int argc, char **argv)
{
	if (argc != 7) {
		fprintf(stderr, "usage: bench-open MAPS VIP PORT BACKEND BACKEND_PORT FLOWS\n");
		return 2;
	}
	const uint16_t port = htons((uint16_t)atoi(argv[3])), backend_port = htons((uint16_t)atoi(argv[5]));
	const struct address vip_address = address_of(argv[2]), to = address_of(argv[4]);
	const struct vip_key key = {.address = vip_address, .port = port, .protocol = IPPROTO_TCP};
	struct vip vip;
	struct backend backend;
	struct timespec now;
	int table = map_of(argv[1], "nat_flows_table");
	if (bpf_map_lookup_elem(map_of(argv[1], "vips"), &key, &vip))
		fail("the address");
	const uint32_t index = backend_of(map_of(argv[1], "backends"), &to, &backend);
	clock_gettime(CLOCK_MONOTONIC, &now);
	const uint32_t flows = (uint32_t)strtoul(argv[6], NULL, 10);
	for (uint32_t flow = 0; flow < flows; flow++) {
		const struct address client = {.word = {0, 0, htonl(0xffff), htonl(FLOW_CLIENT(flow))}};
		const struct flow_key from = {.source = client,
		                              .destination = vip_address,
		                              .source_port = htons(FLOW_PORT(flow)),
		                              .destination_port = port,
		                              .protocol = IPPROTO_TCP};
		const struct nat_flow entry = {
		        .source = client,
		        .destination = to,
		        .source_port = from.source_port,
		        .destination_port = backend_port,
		        .flags = NAT_ANSWERED | NAT_CONFIRMED,
		        .service = vip.service,
		        .backend = index,
		        .generation = backend.generation,
		        .seen = (uint32_t)(((uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec) >> 30)};
		if (bpf_map_update_elem(table, &from, &entry, BPF_ANY))
			fail("nat_flows");
	}
	return 0;
}
