/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What load and backend say to each other.
 * TCP: a request is 64 bytes, its first 8 the length of the reply wanted (host
 * order); the reply is so many bytes. UDP: the datagram comes back as it is;
 * its first 8 bytes are the sender's serial number.
 */
#ifndef BENCH_WIRE_H
#define BENCH_WIRE_H

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REQUEST_BYTES = 64, CHUNK_BYTES = 256 * 1024, DATAGRAM_MAX = 2048 };

static inline void die(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

#endif
