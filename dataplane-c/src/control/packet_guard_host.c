/* SPDX-License-Identifier: Apache-2.0 */
/* What the guard has to know of the host: how its TCP is set. */
#include "packet_guard.h"

#include <stdio.h>

#define WINDOW_MAX 65535u
#define WINDOW_SCALE_MAX 14u
#define RMEM_DEFAULT 131072u /* the kernel's own */
#define RMEM_MAX_DEFAULT 6291456u

/* The number at a place of a setting of this network namespace. */
static uint64_t setting(const char *path, unsigned place, uint64_t otherwise)
{
	unsigned long long values[3];
	FILE *file = fopen(path, "re");
	int found = file ? fscanf(file, "%llu %llu %llu", &values[0], &values[1], &values[2]) : 0;

	if (file)
		fclose(file);
	return found > (int)place ? values[place] : otherwise;
}

/* Of an initial window: tcp_select_initial_window() of the kernel scales by what a receive buffer may grow to. */
static uint8_t window_scale(uint64_t space)
{
	uint8_t scale = 0;

	while (scale < WINDOW_SCALE_MAX && space > WINDOW_MAX) {
		space >>= 1;
		scale++;
	}
	return scale;
}

void guard_cookie_settings(struct guard *guard)
{
	uint64_t buffer = setting("/proc/sys/net/ipv4/tcp_rmem", 1, RMEM_DEFAULT);
	uint64_t largest = setting("/proc/sys/net/ipv4/tcp_rmem", 2, RMEM_MAX_DEFAULT);
	uint64_t by_option = setting("/proc/sys/net/core/rmem_max", 0, 0);

	if (!(guard->flags & GUARD_COOKIES))
		return;
	/* Half of a buffer is for what is not payload: at least the kernel's rule of thumb before it has seen any. */
	guard->window = (uint16_t)(buffer / 2 < WINDOW_MAX ? buffer / 2 : WINDOW_MAX);
	guard->window_scale = window_scale(largest > by_option ? largest : by_option);
	guard->flags |= (setting("/proc/sys/net/ipv4/tcp_timestamps", 0, 1) == 2 ? GUARD_COOKIE_TIMESTAMPS : 0) |
	                (setting("/proc/sys/net/ipv4/tcp_sack", 0, 1) ? GUARD_COOKIE_SACK : 0) |
	                (setting("/proc/sys/net/ipv4/tcp_window_scaling", 0, 1) ? GUARD_COOKIE_SCALE : 0) |
	                (setting("/proc/sys/net/ipv4/tcp_ecn", 0, 2) ? GUARD_COOKIE_ECN : 0);
}

uint32_t guard_cookie_limits(const struct guard *guard, const char *limits[GUARD_COOKIE_LIMITS_MAX])
{
	uint64_t cookies = setting("/proc/sys/net/ipv4/tcp_syncookies", 0, 1);
	uint32_t count = 0;

	if (!cookies)
		limits[count++] =
		        "net.ipv4.tcp_syncookies is 0: the kernel takes no cookies, and none are sent; sysctl "
		        "-w net.ipv4.tcp_syncookies=1, or 2";
	else if (cookies == 1)
		limits[count++] = "net.ipv4.tcp_syncookies is 1: SYNs go to the kernel's stack until the listener's "
		                  "queue is full, and only then get cookies from XDP; with sysctl -w "
		                  "net.ipv4.tcp_syncookies=2 all do, as long as the flood lasts";
	if (!(guard->flags & GUARD_COOKIE_TIMESTAMPS))
		limits[count++] =
		        "net.ipv4.tcp_timestamps is not 2: connections made by cookie have no window scale, no "
		        "SACK and no ECN; sysctl -w net.ipv4.tcp_timestamps=2 (the clock of this host shows "
		        "in timestamps then)";
	return count;
}
