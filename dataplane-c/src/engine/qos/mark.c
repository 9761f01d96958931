/* SPDX-License-Identifier: Apache-2.0 */
#include "mark.h"

#include <netinet/in.h>
#include <sys/socket.h>

/* SO_PRIORITY by class: what pfifo_fast, prio and mqprio put into their first band, the middle one (twice) and the last
 * (tc-prio(8)). Up to 6 needs no privilege. */
static const int socket_priority[QOS_CLASSES] = {6, 4, 0, 2};

static void set_int(int fd, int level, int name, int value)
{
	setsockopt(fd, level, name, &value, sizeof(value));
}

void qos_mark(int fd, int family, int written, const struct qos_policy *policy, bool fresh)
{
	static const struct qos_settings none = {.priority = QOS_CLASS_DEFAULT};
	const struct qos_settings *settings = policy ? &policy->settings : &none;
	bool tos = settings->has_dscp || !fresh;

	if (tos && family != AF_INET6)
		set_int(fd, IPPROTO_IP, IP_TOS, settings->tos);
	if (tos && family != AF_INET)
		set_int(fd, IPPROTO_IPV6, IPV6_TCLASS, settings->tos);
	/* After IP_TOS, which sets it as well. */
	if (tos || settings->priority != QOS_CLASS_DEFAULT)
		set_int(fd, SOL_SOCKET, SO_PRIORITY, socket_priority[settings->priority]);
	if (written < 0)
		return;
	uint64_t pacing = settings->pacing_bytes_per_second[written];
	if (!pacing && fresh)
		return;
	if (!pacing)
		pacing = UINT64_MAX;
	setsockopt(fd, SOL_SOCKET, SO_MAX_PACING_RATE, &pacing, sizeof(pacing));
}

void qos_tell_ecn(int fd, int family)
{
	if (family != AF_INET6)
		set_int(fd, IPPROTO_IP, IP_RECVTOS, 1);
	if (family != AF_INET)
		set_int(fd, IPPROTO_IPV6, IPV6_RECVTCLASS, 1);
}
