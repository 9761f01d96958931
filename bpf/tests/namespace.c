/* SPDX-License-Identifier: Apache-2.0 */
#include "namespace.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const settings[] = {
        "/proc/sys/net/ipv6/conf/default/accept_dad",
        "0",
        "/proc/sys/net/ipv6/conf/all/accept_dad",
        "0",
        "/proc/sys/net/ipv4/ip_forward",
        "1",
        "/proc/sys/net/ipv6/conf/all/forwarding",
        "1",
        NULL,
};

/* in1 and the like are the far ends: a device whose peer is down has no carrier, and its IPv6 routes are dead. */
static const char setup[] = "link set lo up\n"
                            "link add in0 address 02:00:00:00:00:01 type veth peer name in1\n"
                            "link add out0 address 02:00:00:00:00:02 type veth peer name out0p\n"
                            "link add out1 address 02:00:00:00:00:03 type veth peer name out1p\n"
                            "link set in0 up\nlink set in1 up\n"
                            "link set out0 up\nlink set out0p up\n"
                            "link set out1 up\nlink set out1p up\n"
                            "addr add 192.0.2.1/24 dev in0\n"
                            "addr add 2001:db8:1::1/64 dev in0 nodad\n"
                            "addr add 10.1.0.1/24 dev out0\n"
                            "addr add fd00:1::1/64 dev out0 nodad\n"
                            "addr add 10.3.0.1/24 dev out1\n"
                            "addr add fd00:3::1/64 dev out1 nodad\n"
                            "neigh add 192.0.2.11 lladdr 02:00:00:00:02:0b dev in0 nud permanent\n"
                            "neigh add 2001:db8:1::11 lladdr 02:00:00:00:06:0b dev in0 nud permanent\n"
                            "neigh add 10.1.0.11 lladdr 02:00:00:00:01:0b dev out0 nud permanent\n"
                            "neigh add fd00:1::11 lladdr 02:00:00:00:01:6b dev out0 nud permanent\n"
                            "neigh add 10.1.0.254 lladdr 02:00:00:00:01:fe dev out0 nud permanent\n"
                            "neigh add fd00:1::fe lladdr 02:00:00:00:01:6e dev out0 nud permanent\n"
                            "neigh add 10.3.0.11 lladdr 02:00:00:00:03:0b dev out1 nud permanent\n"
                            "neigh add fd00:3::11 lladdr 02:00:00:00:03:6b dev out1 nud permanent\n"
                            "route add 10.2.0.0/24 via 10.1.0.254\n"
                            "route add fd00:2::/64 via fd00:1::fe\n"
                            "route add 10.9.0.0/24 via 10.1.0.254 mtu lock 1400\n"
                            "route add fd00:9::/64 via fd00:1::fe mtu lock 1400\n"
                            "route add 203.0.113.0/24 via 10.1.0.254\n"
                            "route add 2001:db8:7::/64 via fd00:1::fe\n"
                            "route add 203.0.114.0/24 via 10.1.0.254 mtu lock 1400\n"
                            "route add 2001:db8:8::/64 via fd00:1::fe mtu lock 1400\n"
                            "route add unreachable 172.30.0.0/16\n"
                            "route add blackhole 172.29.0.0/16\n";

bool write_setting(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, value, strlen(value)) < 0) {
		fprintf(stderr, "%s: cannot write %s: %s\n", path, value, strerror(errno));
		if (fd >= 0)
			close(fd);
		return false;
	}
	close(fd);
	return true;
}

bool namespace_enter(void)
{
	if (unshare(CLONE_NEWNET) < 0) {
		fprintf(stderr, "no network namespace of its own: %s; run as root\n", strerror(errno));
		return false;
	}
	for (const char *const *setting = settings; *setting; setting += 2)
		if (!write_setting(setting[0], setting[1]))
			return false;
	FILE *ip = popen("ip -batch -", "w");
	if (!ip)
		return false;
	fputs(setup, ip);
	for (int i = 1; i <= 8; i++)
		fprintf(ip, "neigh add 10.1.0.%d lladdr 02:00:00:00:04:%02x dev out0 nud permanent\n", 100 + i, i);
	int status = pclose(ip);
	if (status) {
		fprintf(stderr, "ip -batch failed (status %d): is iproute2 installed, does the kernel have veth?\n",
		        status);
		return false;
	}
	return true;
}
