/* SPDX-License-Identifier: Apache-2.0 */
#include "packet_qdisc.h"

#include <errno.h>
#include <linux/pkt_sched.h>
#include <stdio.h>
#include <string.h>

#include "packet_netlink.h"

/* fq's own default of 100 packets per flow is less than what waits at 1 Gbit/s. */
#define FQ_PACKETS 20000u
#define FQ_FLOW_PACKETS 2000u

#define HTB_VERSION 3u
#define HTB_RATE_TO_QUANTUM 10u /* classes name theirs */
#define HTB_HEADERS 86          /* Ethernet 14, IPv6 40, TCP 32 */
#define HTB_QUANTUM_MIN 1514u
#define HTB_QUANTUM_MAX 60000u

#define NS_PER_S 1000000000ull
#define TICK_SHIFT 6 /* the kernel's PSCHED_SHIFT: its ticks are 64 ns */

static const uint32_t root_handle = QDISC_MAJOR << 16;
/* In place of the kernel's default alone: the kernel refuses where somebody has made one since it was looked. */
static const uint16_t new_root = NLM_F_CREATE | NLM_F_EXCL;

static void begin(struct netlink_request *request, uint16_t type, uint16_t flags, uint32_t index, uint32_t parent,
                  uint32_t handle)
{
	const struct tcmsg message = {.tcm_ifindex = (int)index, .tcm_parent = parent, .tcm_handle = handle};

	netlink_begin(request, type, flags, &message, sizeof(message));
}

static void begin_kind(struct netlink_request *request, uint16_t type, uint16_t flags, uint32_t index, uint32_t parent,
                       uint32_t handle, const char *kind)
{
	begin(request, type, flags, index, parent, handle);
	netlink_attribute(request, TCA_KIND, kind, strlen(kind) + 1);
}

/* What there is. */

struct looking {
	struct qdisc_root *roots;
	uint32_t count;
};

struct told {
	char kind[QDISC_KIND_SIZE];
};

static void take_kind(const struct rtattr *attribute, void *argument)
{
	struct told *told = argument;

	if (attribute->rta_type == TCA_KIND)
		snprintf(told->kind, sizeof(told->kind), "%.*s", (int)RTA_PAYLOAD(attribute),
		         (const char *)RTA_DATA(attribute));
}

static void take_leaf(struct qdisc_root *root, const char *kind, uint32_t handle)
{
	if (!root->leaves++)
		snprintf(root->leaf, sizeof(root->leaf), "%s", kind);
	else if (strcmp(root->leaf, kind) != 0)
		root->leaf[0] = '\0';
	root->own_leaf |= handle != 0;
}

static void take_qdisc(const struct nlmsghdr *message, void *argument)
{
	const struct looking *looking = argument;
	const struct tcmsg *qdisc = NLMSG_DATA(message);
	struct qdisc_root *root = NULL;
	struct told told = {.kind = ""};

	if (message->nlmsg_type != RTM_NEWQDISC || message->nlmsg_len < NLMSG_LENGTH(sizeof(*qdisc)))
		return;
	for (uint32_t i = 0; !root && i < looking->count; i++)
		if (looking->roots[i].index == (uint32_t)qdisc->tcm_ifindex)
			root = &looking->roots[i];
	if (!root || qdisc->tcm_parent == TC_H_INGRESS)
		return;
	netlink_attributes(TCA_RTA(qdisc), TCA_PAYLOAD(message), take_kind, &told);
	if (qdisc->tcm_parent == TC_H_ROOT) {
		root->handle = qdisc->tcm_handle;
		snprintf(root->kind, sizeof(root->kind), "%s", told.kind);
	} else if (!strcmp(root->kind, "mq") && TC_H_MAJ(qdisc->tcm_parent) == root->handle) {
		/* The root comes before what is below it. */
		take_leaf(root, told.kind, qdisc->tcm_handle);
	}
}

int qdisc_look(int fd, struct qdisc_root *roots, uint32_t count)
{
	struct looking looking = {roots, count};
	int error = -EINTR;

	for (int attempt = 0; attempt < 4 && error == -EINTR; attempt++) {
		const struct tcmsg all = {.tcm_family = 0};
		struct netlink_request request;
		for (uint32_t i = 0; i < count; i++)
			roots[i] = (struct qdisc_root){.index = roots[i].index};
		netlink_begin(&request, RTM_GETQDISC, 0, &all, sizeof(all));
		error = netlink_dump(fd, &request, take_qdisc, &looking);
	}
	return error;
}

bool qdisc_is_ours(const struct qdisc_root *root)
{
	return root->handle == root_handle && !root->others;
}

/* What is made. */

static int make_fq(int fd, uint32_t index, uint32_t parent)
{
	const uint32_t packets = FQ_PACKETS, flow_packets = FQ_FLOW_PACKETS;
	struct netlink_request request;

	begin_kind(&request, RTM_NEWQDISC, parent == TC_H_ROOT ? new_root : NLM_F_CREATE | NLM_F_REPLACE, index, parent,
	           parent == TC_H_ROOT ? root_handle : 0, "fq");
	struct rtattr *options = netlink_nest(&request, TCA_OPTIONS);
	netlink_attribute(&request, TCA_FQ_PLIMIT, &packets, sizeof(packets));
	netlink_attribute(&request, TCA_FQ_FLOW_PLIMIT, &flow_packets, sizeof(flow_packets));
	netlink_unnest(&request, options);
	return netlink_ask(fd, &request);
}

static int make_mq(int fd, uint32_t index)
{
	struct netlink_request request;

	begin_kind(&request, RTM_NEWQDISC, new_root, index, TC_H_ROOT, root_handle, "mq");
	return netlink_ask(fd, &request);
}

int qdisc_make_fq(int fd, const struct qdisc_root *root)
{
	if (!root->leaves)
		return make_fq(fd, root->index, TC_H_ROOT);
	int error = make_mq(fd, root->index);
	if (error)
		return error;
	for (uint32_t queue = 1; !error && queue <= root->leaves; queue++)
		error = make_fq(fd, root->index, TC_H_MAKE(root_handle, queue));
	if (error)
		qdisc_restore(fd, root->index);
	return error;
}

int qdisc_make_htb(int fd, uint32_t index, uint16_t default_class)
{
	const struct tc_htb_glob global = {
	        .version = HTB_VERSION, .rate2quantum = HTB_RATE_TO_QUANTUM, .defcls = default_class};
	const struct tc_sizespec sizes = {.overhead = -HTB_HEADERS, .linklayer = TC_LINKLAYER_ETHERNET};
	struct netlink_request request;

	begin_kind(&request, RTM_NEWQDISC, new_root, index, TC_H_ROOT, root_handle, "htb");
	struct rtattr *options = netlink_nest(&request, TCA_OPTIONS);
	netlink_attribute(&request, TCA_HTB_INIT, &global, sizeof(global));
	netlink_unnest(&request, options);
	struct rtattr *size_table = netlink_nest(&request, TCA_STAB);
	netlink_attribute(&request, TCA_STAB_BASE, &sizes, sizeof(sizes));
	netlink_unnest(&request, size_table);
	return netlink_ask(fd, &request);
}

/* In the kernel's ticks; the 4 bytes hold 274 s. */
static uint32_t ticks_of(uint64_t bytes, uint64_t bytes_per_second)
{
	long double ns = (long double)bytes * NS_PER_S / (long double)bytes_per_second;
	long double ticks = ns / (1u << TICK_SHIFT);

	return ticks < 1 ? 1 : ticks > UINT32_MAX ? UINT32_MAX : (uint32_t)ticks;
}

static int put_queue(int fd, uint32_t index, uint32_t parent, uint32_t packets)
{
	const struct tc_fifo_qopt options = {.limit = packets};
	struct netlink_request request;

	begin_kind(&request, RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE, index, parent, 0, "pfifo");
	netlink_attribute(&request, TCA_OPTIONS, &options, sizeof(options));
	return netlink_ask(fd, &request);
}

int qdisc_put_class(int fd, uint32_t index, const struct qdisc_class *class)
{
	const uint64_t rate = class->bytes_per_second;
	const uint64_t quantum = rate / 1000; /* what it sends in a millisecond */
	const struct tc_ratespec spec = {.rate = rate > UINT32_MAX ? UINT32_MAX : (uint32_t)rate,
	                                 .linklayer = TC_LINKLAYER_ETHERNET};
	const struct tc_htb_opt parameters = {
	        .rate = spec,
	        .ceil = spec,
	        .buffer = ticks_of(class->burst_bytes, rate),
	        .cbuffer = ticks_of(class->burst_bytes, rate),
	        .quantum = quantum < HTB_QUANTUM_MIN   ? HTB_QUANTUM_MIN
	                   : quantum > HTB_QUANTUM_MAX ? HTB_QUANTUM_MAX
	                                               : (uint32_t)quantum,
	        .prio = class->priority,
	};
	const uint32_t handle = TC_H_MAKE(root_handle, class->number);
	struct netlink_request request;

	begin_kind(&request, RTM_NEWTCLASS, NLM_F_CREATE, index, root_handle, handle, "htb");
	struct rtattr *options = netlink_nest(&request, TCA_OPTIONS);
	if (rate > UINT32_MAX) {
		netlink_attribute(&request, TCA_HTB_RATE64, &rate, sizeof(rate));
		netlink_attribute(&request, TCA_HTB_CEIL64, &rate, sizeof(rate));
	}
	netlink_attribute(&request, TCA_HTB_PARMS, &parameters, sizeof(parameters));
	netlink_unnest(&request, options);
	int error = netlink_ask(fd, &request);
	return error ? error : put_queue(fd, index, handle, class->packets);
}

int qdisc_drop_class(int fd, uint32_t index, uint16_t number)
{
	struct netlink_request request;

	begin(&request, RTM_DELTCLASS, 0, index, 0, TC_H_MAKE(root_handle, number));
	int error = netlink_ask(fd, &request);
	return error == -ENOENT ? 0 : error;
}

struct listing {
	void (*take)(uint16_t number, void *argument);
	void *argument;
};

static void take_class(const struct nlmsghdr *message, void *argument)
{
	const struct listing *listing = argument;
	const struct tcmsg *class = NLMSG_DATA(message);

	if (message->nlmsg_type == RTM_NEWTCLASS && message->nlmsg_len >= NLMSG_LENGTH(sizeof(*class)) &&
	    TC_H_MAJ(class->tcm_handle) == root_handle)
		listing->take((uint16_t)TC_H_MIN(class->tcm_handle), listing->argument);
}

int qdisc_classes(int fd, uint32_t index, void (*take)(uint16_t number, void *argument), void *argument)
{
	struct listing listing = {take, argument};
	struct netlink_request request;

	begin(&request, RTM_GETTCLASS, 0, index, root_handle, 0);
	return netlink_dump(fd, &request, take_class, &listing);
}

int qdisc_restore(int fd, uint32_t index)
{
	struct netlink_request request;

	begin(&request, RTM_DELQDISC, 0, index, TC_H_ROOT, root_handle);
	int error = netlink_ask(fd, &request);
	/* -EINVAL: the root has another handle. */
	return error == -ENOENT || error == -EINVAL || error == -ENODEV ? 0 : error;
}
