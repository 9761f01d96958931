/* SPDX-License-Identifier: Apache-2.0 */
/* What both benches begin with: a TCP segment of an open connection; programs fill in addresses and ports. */
#ifndef BENCH_PACKET_H
#define BENCH_PACKET_H

#include <arpa/inet.h>
#include <netinet/if_ether.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <string.h>

static inline void fill_packet(uint8_t *packet, size_t length)
{
	struct ether_header *eth = (struct ether_header *)packet;
	struct iphdr *ip = (struct iphdr *)(packet + sizeof(*eth));
	struct tcphdr *tcp = (struct tcphdr *)(ip + 1);

	memset(packet, 0, length);
	eth->ether_type = htons(ETHERTYPE_IP);
	ip->version = 4;
	ip->ihl = 5;
	ip->ttl = 64;
	ip->protocol = IPPROTO_TCP;
	ip->tot_len = htons((uint16_t)(length - sizeof(*eth)));
	tcp->doff = 5;
	tcp->ack = 1;
}

#endif
