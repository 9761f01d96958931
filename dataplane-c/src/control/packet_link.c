/* SPDX-License-Identifier: Apache-2.0 */
/*
 * XDP links: one per interface, pinned by the network namespace and the interface's index. A link outlives this process
 * by its pin, and its interface's end by that, too: then it is attached to nothing, and dropped.
 */
#include "packet.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <errno.h>
#include <linux/if_link.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIN_PATH_MAX 4096

static const char native[] = "native", generic[] = "generic", off[] = "off", unattached[] = "";

unsigned long packet_network_namespace(void)
{
	struct stat st;

	return stat("/proc/thread-self/ns/net", &st) < 0 ? 0 : (unsigned long)st.st_ino;
}

static void link_path(const struct marcher_packet *handle, char path[PIN_PATH_MAX], uint32_t index)
{
	char name[64];

	snprintf(name, sizeof(name), "%lu_%u", packet_network_namespace(), index);
	packet_dir_path(handle, path, "links", name);
}

/* Index of the interface that the link is attached to; 0: none, it is gone. */
static uint32_t attached_to(int fd, uint32_t *program)
{
	struct bpf_link_info info = {0};
	__u32 length = sizeof(info);

	if (bpf_obj_get_info_by_fd(fd, &info, &length) || info.type != BPF_LINK_TYPE_XDP)
		return 0;
	*program = info.prog_id;
	return info.xdp.ifindex;
}

static const char *mode_of(uint32_t index, uint32_t program)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, query);

	if (!bpf_xdp_query((int)index, 0, &query) && query.skb_prog_id == program)
		return generic;
	return native;
}

static void set_reason(struct packet_interface *interface, const char *format, ...)
        __attribute__((format(printf, 2, 3)));
static void set_reason(struct packet_interface *interface, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(interface->reason, sizeof(interface->reason), format, arguments);
	va_end(arguments);
}

static void detached(struct packet_interface *interface)
{
	if (interface->link_fd >= 0)
		close(interface->link_fd);
	interface->link_fd = -1;
	interface->mode = unattached;
}

/* Somebody else's program is there. */
static bool taken(struct packet_interface *interface)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, query);
	struct bpf_prog_info info = {0};
	__u32 length = sizeof(info), id;

	if (bpf_xdp_query((int)interface->index, 0, &query))
		return false;
	id = query.prog_id ? query.prog_id : query.drv_prog_id ? query.drv_prog_id : query.skb_prog_id;
	if (!id)
		return false;
	int fd = bpf_prog_get_fd_by_id(id);
	if (fd >= 0) {
		if (bpf_obj_get_info_by_fd(fd, &info, &length))
			info.name[0] = '\0';
		close(fd);
	}
	set_reason(
	        interface,
	        "it has another XDP program already (id %u%s%s): take that off (ip link set dev %s xdp off, or end its "
	        "owner) or leave the interface out",
	        id, *info.name ? ", " : "", info.name, interface->name);
	return true;
}

static int create(const struct marcher_packet *handle, const struct packet_interface *interface, uint32_t flags)
{
	LIBBPF_OPTS(bpf_link_create_opts, options, .flags = flags);
	int fd = bpf_link_create(handle->root_fd, (int)interface->index, BPF_XDP, &options);

	return fd < 0 ? -errno : fd;
}

/* Attaches a program to an interface that has none of ours, and pins the link. The outcome is in *interface. */
static void attach(const struct marcher_packet *handle, struct packet_interface *interface)
{
	char path[PIN_PATH_MAX];

	interface->index = if_nametoindex(interface->name);
	interface->reason[0] = '\0';
	detached(interface);
	if (!interface->index) {
		set_reason(interface, "there is no such interface in this network namespace");
		return;
	}
	if (handle->xdp_mode == MARCHER_XDP_OFF) {
		interface->mode = off;
		return;
	}
	int fd = handle->xdp_mode == MARCHER_XDP_GENERIC ? -EOPNOTSUPP : create(handle, interface, XDP_FLAGS_DRV_MODE);
	interface->mode = native;
	if (fd < 0 && handle->xdp_mode != MARCHER_XDP_NATIVE) {
		set_reason(interface,
		           handle->xdp_mode == MARCHER_XDP_GENERIC ? "generic was asked for"
		                                                   : "the driver does not take it natively: %s",
		           strerror(-fd));
		interface->mode = generic;
		fd = create(handle, interface, XDP_FLAGS_SKB_MODE);
	}
	if (fd < 0) {
		interface->mode = unattached;
		if (!taken(interface))
			set_reason(interface, "attaching the XDP program%s: %s",
			           handle->xdp_mode == MARCHER_XDP_NATIVE ? " natively" : "", strerror(-fd));
		return;
	}
	interface->link_fd = fd;
	link_path(handle, path, interface->index);
	/* A pin of that name is of an interface that is gone; its index was given out again. */
	unlink(path);
	if (bpf_obj_pin(fd, path) < 0) {
		set_reason(interface, "pinning %.100s: %s", path, strerror(errno));
		bpf_link_detach(fd);
		detached(interface);
	}
}

static bool mode_fits(const struct marcher_packet *handle, const char *mode)
{
	if (handle->xdp_mode == MARCHER_XDP_OFF)
		return false;
	return handle->xdp_mode == MARCHER_XDP_AUTO || (handle->xdp_mode == MARCHER_XDP_NATIVE) == (mode == native);
}

/* The interface that a pinned link serves, when it still does and is to. */
static struct packet_interface *wanted_by(struct marcher_packet *handle, const char *pin, uint32_t index)
{
	char name[64];

	for (uint32_t i = 0; index && i < handle->ninterfaces; i++) {
		struct packet_interface *interface = &handle->interfaces[i];
		snprintf(name, sizeof(name), "%lu_%u", packet_network_namespace(), interface->index);
		if (interface->link_fd < 0 && interface->index == index && !strcmp(name, pin))
			return interface;
	}
	return NULL;
}

/* Adopts a pinned link, or takes it off. */
static void adopt(struct marcher_packet *handle, const char *pin)
{
	char path[PIN_PATH_MAX];
	uint32_t program = 0;

	packet_dir_path(handle, path, "links", pin);
	int fd = bpf_obj_get(path);
	uint32_t index = fd < 0 ? 0 : attached_to(fd, &program);
	struct packet_interface *interface = wanted_by(handle, pin, index);
	const char *mode = interface ? mode_of(index, program) : unattached;
	if (interface && mode_fits(handle, mode) &&
	    (program == handle->root_id || !bpf_link_update(fd, handle->root_fd, NULL))) {
		interface->link_fd = fd;
		interface->mode = mode;
		if (mode == generic)
			set_reason(interface,
			           "attached so before; the driver did not take it natively then, or generic was "
			           "asked for");
		return;
	}
	if (fd >= 0) {
		bpf_link_detach(fd);
		close(fd);
	}
	unlink(path);
}

static int parse(struct marcher_packet *handle, const char *names)
{
	handle->interfaces = calloc(PACKET_INTERFACES_MAX, sizeof(*handle->interfaces));
	if (!handle->interfaces)
		return packet_fail(handle, MARCHER_E_NO_MEMORY, "no memory");
	for (const char *at = names; *at;) {
		size_t length = strcspn(at, ",");
		if (!length || length >= IF_NAMESIZE)
			return packet_fail(
			        handle, MARCHER_E_INVALID,
			        "interfaces \"%.200s\": expected names of 1 to %d characters, separated by commas",
			        names, IF_NAMESIZE - 1);
		if (handle->ninterfaces == PACKET_INTERFACES_MAX)
			return packet_fail(handle, MARCHER_E_INVALID, "interfaces: at most %d are possible",
			                   PACKET_INTERFACES_MAX);
		struct packet_interface *interface = &handle->interfaces[handle->ninterfaces];
		memset(interface, 0, sizeof(*interface));
		memcpy(interface->name, at, length);
		interface->index = if_nametoindex(interface->name);
		interface->link_fd = -1;
		interface->mode = unattached;
		interface->tc = (struct packet_tc){.mode = unattached, .link_fds = {-1, -1}};
		for (uint32_t i = 0; i < handle->ninterfaces; i++)
			if (!strcmp(handle->interfaces[i].name, interface->name) ||
			    (interface->index && handle->interfaces[i].index == interface->index))
				return packet_fail(handle, MARCHER_E_INVALID,
				                   "interfaces \"%.200s\": %s is named twice", names, interface->name);
		handle->ninterfaces++;
		at += length;
		if (*at == ',' && !at[1])
			return packet_fail(handle, MARCHER_E_INVALID, "interfaces \"%.200s\" end in a comma", names);
		at += *at == ',';
	}
	return handle->ninterfaces ? MARCHER_OK
	                           : packet_fail(handle, MARCHER_E_INVALID,
	                                         "marcher_packet_open: interfaces is empty; name at least one");
}

int packet_links_open(struct marcher_packet *handle, const char *names)
{
	char path[PIN_PATH_MAX], text[PACKET_ERROR_MAX] = "";
	struct dirent *entry;
	bool any = false;
	int code = parse(handle, names);

	if (code)
		return code;
	packet_dir_path(handle, path, "links", NULL);
	DIR *directory = opendir(path);
	if (!directory)
		return packet_fail_system(handle, errno, "reading %s", path);
	while ((entry = readdir(directory)))
		if (entry->d_name[0] != '.')
			adopt(handle, entry->d_name);
	closedir(directory);
	for (uint32_t i = 0; i < handle->ninterfaces; i++) {
		if (handle->interfaces[i].link_fd < 0)
			attach(handle, &handle->interfaces[i]);
		any |= handle->interfaces[i].link_fd >= 0 || handle->interfaces[i].mode == off;
		size_t length = strlen(text);
		snprintf(text + length, sizeof(text) - length, "%s%s: %s", length ? "; " : "",
		         handle->interfaces[i].name, handle->interfaces[i].reason);
	}
	return any ? MARCHER_OK : packet_fail(handle, MARCHER_E_SYSTEM, "no interface could be attached to: %s", text);
}

void packet_links_renew(struct marcher_packet *handle)
{
	for (uint32_t i = 0; i < handle->ninterfaces; i++) {
		uint32_t program;
		pthread_mutex_lock(&handle->table_lock);
		struct packet_interface now = handle->interfaces[i];
		pthread_mutex_unlock(&handle->table_lock);
		if (now.link_fd >= 0 && attached_to(now.link_fd, &program))
			continue;
		if (now.link_fd >= 0) {
			char path[PIN_PATH_MAX];
			link_path(handle, path, now.index);
			unlink(path);
		}
		/* The old descriptor is status's to look at until the new state is in place. */
		int old = now.link_fd;
		now.link_fd = -1;
		attach(handle, &now);
		pthread_mutex_lock(&handle->table_lock);
		handle->interfaces[i] = now;
		pthread_mutex_unlock(&handle->table_lock);
		if (old >= 0)
			close(old);
	}
}

void packet_links_look(struct marcher_packet *handle)
{
	for (uint32_t i = 0; i < handle->ninterfaces; i++) {
		struct packet_interface *interface = &handle->interfaces[i];
		uint32_t program;
		if (interface->link_fd < 0 || attached_to(interface->link_fd, &program))
			continue;
		interface->mode = unattached;
		set_reason(interface, "the interface is gone; one of this name is attached to by the next apply");
	}
}

void packet_links_close(struct marcher_packet *handle)
{
	for (uint32_t i = 0; i < handle->ninterfaces; i++) {
		detached(&handle->interfaces[i]);
		packet_tc_close(&handle->interfaces[i]);
	}
	free(handle->interfaces);
	handle->interfaces = NULL;
	handle->ninterfaces = 0;
}
