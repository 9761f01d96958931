/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Listeners that sk_lookup steers to (bpf/sk_lookup.c): one group of sockets for a range of ports, a prefix, or both.
 * They are bound to a port of the kernel's choice, which says nothing, on loopback where they are of one family: what
 * a client came to is told by each connection and each datagram. Who else comes to that port is turned away.
 */
#ifndef ENGINE_STEERED_H
#define ENGINE_STEERED_H

#include <netinet/in.h>
#include <stdbool.h>

#include "addr.h"
#include "model.h"

/* Of an address: every bit. */
uint8_t steered_whole(const struct addr *addr);
/* Could its ports be listened on, as if socket by socket? 0, or -errno: a foreign socket has one; the prefix is not
 * this node's. */
int steered_check(const struct listener *listener, bool tcp);
/* Binds a socket of the group; first: the first of it, -1 when this is. 0 or -errno. */
int steered_bind(int fd, int family, bool dual_stack, int first);
/* Is this what clients of the listener come to? */
bool steered_has(const struct listener *listener, const struct addr *local);
/* A UDP socket that sends from there and receives nothing, or -errno. local is what the listening socket has told. */
int steered_reply_socket(const struct sockaddr_storage *local, socklen_t length);

#endif
