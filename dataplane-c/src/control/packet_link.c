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
#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "packet_ethtool.h"
#include "packet_holder.h"
#include "packet_migrate.h"

#define PIN_PATH_MAX 4096

static const char root_program[] = "xdp_root";
static const char *const holder_pins[] = {"links/%lu_%u"};
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
static bool taken(const struct marcher_packet *handle, struct packet_interface *interface)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, query);
	struct bpf_prog_info info = {0};
	__u32 length = sizeof(info), id;

	if (bpf_xdp_query((int)interface->index, 0, &query))
		return false;
	id = query.prog_id ? query.prog_id : query.drv_prog_id ? query.drv_prog_id : query.skb_prog_id;
	if (!id)
		return false;
	int fd = bpf_prog_get_fd_by_id(id); /* takes CAP_SYS_ADMIN: without, the pins have to tell */
	bool seen = fd < 0 && packet_holder_seen(handle, interface->index, holder_pins, 1);
	if (fd >= 0) {
		if (bpf_obj_get_info_by_fd(fd, &info, &length))
			info.name[0] = '\0';
		close(fd);
	}
	if (seen || !strcmp(info.name, root_program)) {
		char whose[HOLDER_TEXT_SIZE];
		packet_holder_tell(handle, interface->index, holder_pins, 1, "", whose);
		set_reason(interface, "its XDP program (id %u) is %s", id, whose);
		return true;
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

/* What is left of a page for a frame where drivers keep the least of it free. Frames of several buffers are refused
 * (docs/operating.md): some drivers show programs nothing of them. */
#define NATIVE_MTU_MAX 3498

/* 0: it cannot be asked. */
static int mtu_of(const char *interface)
{
	struct ifreq ifr = {0};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%.15s", interface);
	int mtu = fd >= 0 && !ioctl(fd, SIOCGIFMTU, &ifr) ? ifr.ifr_mtu : 0;
	if (fd >= 0)
		close(fd);
	return mtu;
}

/* Why the driver has refused. Its own words do not come by a link's system call. */
static void set_refusal(struct packet_interface *interface, int error)
{
	int mtu = mtu_of(interface->name);

	if (mtu > NATIVE_MTU_MAX && error != EOPNOTSUPP)
		set_reason(interface,
		           "the driver does not take it natively: %s; with an MTU of %d probably for that: expected %d "
		           "or less "
		           "(ip link set dev %s mtu %d, then restart the agent)",
		           strerror(error), mtu, NATIVE_MTU_MAX, interface->name, NATIVE_MTU_MAX);
	else
		set_reason(interface, "the driver does not take it natively: %s", strerror(error));
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
		if (handle->xdp_mode == MARCHER_XDP_GENERIC)
			set_reason(interface, "generic was asked for");
		else
			set_refusal(interface, -fd);
		interface->mode = generic;
		fd = create(handle, interface, XDP_FLAGS_SKB_MODE);
	}
	if (fd < 0) {
		interface->mode = unattached;
		if (taken(handle, interface))
			return;
		if (handle->xdp_mode == MARCHER_XDP_NATIVE)
			set_refusal(interface, -fd);
		else
			set_reason(interface, "attaching the XDP program: %s", strerror(-fd));
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

static const char kept[] = "attached so before; the driver did not take it natively then, or generic was asked for";

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
			set_reason(interface, "%s", kept);
		return;
	}
	if (fd >= 0) {
		bpf_link_detach(fd);
		close(fd);
	}
	unlink(path);
}

/* A link of the layout that is migrated from: it stays as it is, until the first table is in force. One that nobody
 * wants any more goes with that layout's folder. */
static void adopt_old(struct marcher_packet *handle, const char *pin)
{
	char path[PIN_PATH_MAX];
	uint32_t program = 0;

	packet_migration_path(handle, path, "links", pin);
	int fd = bpf_obj_get(path);
	uint32_t index = fd < 0 ? 0 : attached_to(fd, &program);
	struct packet_interface *interface = wanted_by(handle, pin, index);
	if (!interface) {
		if (fd >= 0)
			close(fd);
		return;
	}
	interface->link_fd = fd;
	interface->old = true;
	interface->mode = mode_of(index, program);
	set_reason(interface, "the programs of layout v%d forward until the first table is in force",
	           handle->migration->version);
}

static int each_pin(struct marcher_packet *handle, const char *path,
                    void (*take)(struct marcher_packet *handle, const char *pin))
{
	struct dirent *entry;
	DIR *directory = opendir(path);

	if (!directory)
		return packet_fail_system(handle, errno, "reading %s", path);
	while ((entry = readdir(directory)))
		if (entry->d_name[0] != '.')
			take(handle, entry->d_name);
	closedir(directory);
	return MARCHER_OK;
}

int packet_links_attached(const char *directory_path, uint32_t program, bool *ours)
{
	struct dirent *entry;
	DIR *directory = opendir(directory_path);
	int attached = 0;

	if (!directory)
		return errno == ENOENT ? 0 : -errno;
	while (attached >= 0 && (entry = readdir(directory))) {
		char path[PIN_PATH_MAX];
		uint32_t has = 0;
		if (entry->d_name[0] == '.' ||
		    snprintf(path, sizeof(path), "%s/%s", directory_path, entry->d_name) >= (int)sizeof(path))
			continue;
		int fd = bpf_obj_get(path);
		if (fd < 0) {
			attached = errno == ENOENT ? attached : -errno;
			continue;
		}
		struct bpf_link_info info = {0};
		__u32 length = sizeof(info);
		/* What this build does not know may well be attached. */
		bool unknown = bpf_obj_get_info_by_fd(fd, &info, &length) || info.type != BPF_LINK_TYPE_XDP;
		if (unknown || attached_to(fd, &has)) {
			attached = 1;
			*ours |= program && has == program;
		}
		close(fd);
	}
	closedir(directory);
	return attached;
}

/* The new program on a link of the other layout. Where the mode is to be another, the link is made anew: the interface
 * is without a program for a moment. */
static int take_over(struct marcher_packet *handle, struct packet_interface *interface)
{
	struct packet_interface now = *interface;
	uint32_t program;

	if (!attached_to(now.link_fd, &program))
		return MARCHER_OK; /* its interface is gone: renewed by the next apply */
	if (mode_fits(handle, now.mode)) {
		if (bpf_link_update(now.link_fd, handle->root_fd, NULL))
			return packet_fail_system(handle, errno, "giving %s the programs of layout v%d", now.name,
			                          LAYOUT_VERSION);
		return MARCHER_OK;
	}
	bpf_link_detach(now.link_fd);
	now.link_fd = -1;
	now.old = false;
	attach(handle, &now);
	pthread_mutex_lock(&handle->table_lock);
	int old = interface->link_fd;
	*interface = now;
	pthread_mutex_unlock(&handle->table_lock);
	close(old);
	return now.link_fd >= 0 ? MARCHER_OK : packet_fail(handle, MARCHER_E_SYSTEM, "%s: %s", now.name, now.reason);
}

int packet_links_take_over(struct marcher_packet *handle)
{
	int code = MARCHER_OK;

	/* Each for itself: one that fails does not keep the others back. */
	for (uint32_t i = 0; i < handle->ninterfaces; i++)
		if (handle->interfaces[i].old) {
			int failed = take_over(handle, &handle->interfaces[i]);
			code = code ? code : failed;
		}
	return code;
}

int packet_links_move(struct marcher_packet *handle)
{
	for (uint32_t i = 0; i < handle->ninterfaces; i++) {
		struct packet_interface *interface = &handle->interfaces[i];
		char from[PIN_PATH_MAX], to[PIN_PATH_MAX], name[64];
		if (!interface->old)
			continue;
		snprintf(name, sizeof(name), "%lu_%u", packet_network_namespace(), interface->index);
		packet_migration_path(handle, from, "links", name);
		packet_dir_path(handle, to, "links", name);
		/* On bpffs a rename is atomic, too: there is always one pin. */
		if (rename(from, to) < 0 && errno != ENOENT)
			return packet_fail_system(handle, errno, "moving %s to %s", from, to);
		pthread_mutex_lock(&handle->table_lock);
		interface->old = false;
		set_reason(interface, "%s", interface->mode == generic ? kept : "");
		pthread_mutex_unlock(&handle->table_lock);
	}
	return MARCHER_OK;
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
	bool any = false;
	int code = parse(handle, names);

	if (code)
		return code;
	packet_dir_path(handle, path, "links", NULL);
	code = each_pin(handle, path, adopt);
	if (!code && handle->migration) {
		packet_migration_path(handle, path, "links", NULL);
		code = each_pin(handle, path, adopt_old);
	}
	if (code)
		return code;
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
		now.old = false;
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

/* Asking takes the kernel's lock of all interfaces, and with some drivers milliseconds. */
static void look_at_errors(struct packet_interface *interface)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	if (interface->link_fd < 0 || interface->send_errors_s == (uint64_t)now.tv_sec)
		return;
	interface->send_errors_s = (uint64_t)now.tv_sec;
	interface->send_errors = packet_ethtool_send_errors(interface->name);
}

void packet_links_look(struct marcher_packet *handle)
{
	for (uint32_t i = 0; i < handle->ninterfaces; i++) {
		struct packet_interface *interface = &handle->interfaces[i];
		uint32_t program;
		look_at_errors(interface);
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
