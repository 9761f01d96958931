/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Queueing disciplines at the roots of interfaces: which ones there are, and those that are ours. Ours have the handle
 * QDISC_MAJOR; those that the kernel gives to every interface have none; all others are somebody's own.
 */
#ifndef CONTROL_PACKET_QDISC_H
#define CONTROL_PACKET_QDISC_H

#include <stdbool.h>
#include <stdint.h>

#include "bpf/lib/layout.h"

#define QDISC_MAJOR SHAPE_MAJOR
#define QDISC_KIND_SIZE 16

struct qdisc_root {
	uint32_t index;             /* of the interface */
	char kind[QDISC_KIND_SIZE]; /* ""; none is told, as of an interface that is gone */
	uint32_t handle;            /* 0: the kernel's default */
	/* Of one that has a queue discipline per transmit queue (mq): */
	char leaf[QDISC_KIND_SIZE]; /* what they all are; "": not all are the same */
	uint32_t leaves;
	bool own_leaf; /* some are not defaults */
	bool others;   /* it has our handle, but another Marcher has made it; not looked for here */
};

/* Fills in all but the indices; roots that are not found keep an empty kind. 0 or -errno. */
int qdisc_look(int fd, struct qdisc_root *roots, uint32_t count);

bool qdisc_is_ours(const struct qdisc_root *root);

/* fq, at an interface whose root is a default one: below mq where that has leaves, at the root itself otherwise.
 * -ENOENT: the kernel has no such queue discipline, and nothing has changed. */
int qdisc_make_fq(int fd, const struct qdisc_root *root);

/*
 * HTB, whose classes are known by QDISC_MAJOR and a number: packets choose one by their priority. Others go to
 * default_class. What it counts of a frame is its length without the longest headers that are usual (Ethernet, IPv6,
 * TCP with timestamps), since rates are of payload: see docs/qos.md.
 */
int qdisc_make_htb(int fd, uint32_t index, uint16_t default_class);

struct qdisc_class {
	uint16_t number;
	uint8_t priority;          /* 0 first */
	uint64_t bytes_per_second; /* QDISC_UNLIMITED: as fast as the interface is */
	uint64_t burst_bytes;
	uint32_t packets; /* that may wait */
};

/* What no interface is as fast as: 8 Tbit/s. */
#define QDISC_UNLIMITED 1000000000000ull

/* Makes the class, or changes it in place: what waits in it stays. */
int qdisc_put_class(int fd, uint32_t index, const struct qdisc_class *class);
/* With what waits in it. Its absence is not an error. */
int qdisc_drop_class(int fd, uint32_t index, uint16_t number);
/* Calls take for the number of each class. */
int qdisc_classes(int fd, uint32_t index, void (*take)(uint16_t number, void *argument), void *argument);

/* Gives the interface the kernel's default in place of what is ours; what waits is dropped. Nothing of ours there, or
 * no such interface, is not an error. */
int qdisc_restore(int fd, uint32_t index);

#endif
