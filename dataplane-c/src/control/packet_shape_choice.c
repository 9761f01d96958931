/* SPDX-License-Identifier: Apache-2.0 */
#include "packet_shape.h"

#include <stdio.h>
#include <string.h>

#include "marcher.h"

bool packet_shape_is_fq(const struct qdisc_root *root)
{
	return !strcmp(root->kind, "fq") || (!strcmp(root->kind, "mq") && root->leaves && !strcmp(root->leaf, "fq"));
}

/* What its queues are: of the leaves, where it has some. */
static const char *queues_of(const struct qdisc_root *root)
{
	return root->leaves ? root->leaf : root->kind;
}

static bool is_default(const struct qdisc_root *root)
{
	return *root->kind && !root->handle && !root->own_leaf;
}

/* pfifo_fast and fq know priorities, where there is no queue there is no order, and whatever is somebody's own is as he
 * wants it. */
static bool helps_priorities(const struct qdisc_root *root)
{
	return is_default(root) && strcmp(queues_of(root), "pfifo_fast") != 0 &&
	       strcmp(queues_of(root), "noqueue") != 0 && !packet_shape_is_fq(root);
}

static enum packet_shape_choice of_ours(uint32_t mode, const struct qdisc_root *root)
{
	bool fq = packet_shape_is_fq(root), htb = !strcmp(root->kind, "htb");

	if (mode == MARCHER_SHAPING_FQ)
		return fq ? SHAPE_KEEP : SHAPE_MAKE;
	if (mode == MARCHER_SHAPING_HTB)
		return htb ? SHAPE_KEEP : SHAPE_MAKE;
	return fq || htb ? SHAPE_KEEP : SHAPE_MAKE;
}

enum packet_shape_choice packet_shape_choose(uint32_t mode, const struct packet_shape_sum *sum,
                                             const struct qdisc_root *root, char reason[SHAPE_REASON_SIZE])
{
	*reason = '\0';
	if (!*root->kind ||
	    (!sum->rates && !sum->flow_rates && !(sum->priorities && (qdisc_is_ours(root) || helps_priorities(root)))))
		return SHAPE_LEAVE;
	if (mode == MARCHER_SHAPING_OFF) {
		snprintf(reason, SHAPE_REASON_SIZE, "--egress-shaping off: what is over a rate is dropped");
		return SHAPE_LEAVE;
	}
	if (qdisc_is_ours(root))
		return of_ours(mode, root);
	if (root->others) {
		snprintf(reason, SHAPE_REASON_SIZE, "what is over a rate is dropped: the queueing discipline is ");
		return SHAPE_LEAVE;
	}
	/* The kernel's default keeps fewer packets of a flow than may wait, and loses the others uncounted. */
	if (packet_shape_is_fq(root) && !is_default(root) && mode != MARCHER_SHAPING_HTB)
		return SHAPE_USE_FQ;
	if (is_default(root))
		return SHAPE_MAKE;
	snprintf(reason, SHAPE_REASON_SIZE,
	         "what is over a rate is dropped: the queueing discipline %s %x: is not Marcher's and is left alone; "
	         "make it %s, or take it off (tc qdisc del dev DEV root)",
	         root->kind, root->handle >> 16, mode == MARCHER_SHAPING_HTB ? "the kernel's default" : "fq");
	return SHAPE_LEAVE;
}
