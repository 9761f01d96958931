/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The socket bank: duplicates of the engine's listening sockets. When the engine is killed they stay open, so new
 * connections wait in the accept queues (and datagrams in the socket buffers) instead of being refused, until the next
 * engine gets them. All sockets or none: with half of a reuseport group kept, the other half's share would be refused.
 */
#ifndef CONTROL_BANK_H
#define CONTROL_BANK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "link.h"

struct bank {
	int *fds;
	char **keys;
	size_t count, capacity;
	uint32_t wanted;  /* sockets that the engine has; 0: not asked yet */
	uint64_t version; /* of the engine's list; 0: unknown */
};

void bank_clear(struct bank *bank);

/* Fetches the engine's sockets and replaces the bank by them; nothing when the engine says that the version is
 * unchanged. yield: asked between packets; true gives up with -EAGAIN. limit: how many may be kept; above it the bank
 * is emptied and only wanted is set. Returns 0, -EAGAIN or -errno of link_call. */
int bank_fetch(struct bank *bank, struct link *link, unsigned timeout_ms, size_t limit, bool (*yield)(void *arg),
               void *arg);

/* What somebody needs of a listening socket: neither, its key, or the socket with its key. */
enum bank_choice { BANK_NEITHER, BANK_KEY, BANK_SOCKET };

/* Fetches the engine's list for somebody who needs few of its sockets, however many there are: into an empty bank,
 * whose descriptors are -1 where the key alone was chosen. limit: how many sockets may be chosen; more: -EMFILE.
 * Returns 0, -EAGAIN as bank_fetch, or -errno of link_call. */
int bank_choose(struct bank *bank, struct link *link, unsigned timeout_ms, size_t limit,
                enum bank_choice (*choose)(const char *key), bool (*yield)(void *arg), void *arg);

/* Passes the bank on to a new engine over the SEQPACKET socket that it inherited. gone_fd: readable when that engine
 * has ended. Returns 0 or -errno. */
int bank_send(const struct bank *bank, int sock, int gone_fd, unsigned timeout_ms);

/* One packet: what the engine has from offset on, into an empty bank (wanted: all that it has); and passing it on. For
 * an upgrade, where more sockets than this process may hold go from one engine to the other. */
int bank_fetch_packet(struct bank *packet, struct link *link, uint32_t offset, unsigned timeout_ms);
int bank_send_packet(const struct bank *packet, uint32_t total, uint32_t offset, int sock, int gone_fd,
                     unsigned timeout_ms);

/* How many sockets may be kept without bringing the process near its descriptor limit. Raises the soft limit first. */
size_t bank_limit(void);

#endif
