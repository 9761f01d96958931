/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The programs of traffic control on the interfaces, at ingress and egress. Two ways:
 *
 *   tcx     links, as those of XDP are (Linux 6.6): pinned as tc/<ns>_<if>_<hook>, beside others' programs
 *   clsact  filters of one priority and handle at a qdisc that others may use, too: the pin tc/<ns>_<if>_clsact, which
 * is a program's, says that they are ours, and with _own behind that the qdisc is: it goes when nobody else's filter is
 * left at it
 *
 * The pin tc/<ns>_<if>_root says that the root queueing discipline is ours (packet_shape.h).
 *
 * Either way another build's program is replaced by one operation, and packets meet the old one or the new one.
 */
#include "packet.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <errno.h>
#include <linux/pkt_sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "packet_holder.h"
#include "packet_migrate.h"
#include "packet_netlink.h"
#include "packet_qdisc.h"

#define PIN_PATH_MAX 4096
#define NAME_SIZE 64

/* Not in the headers of every distribution that this is built on: enum bpf_attach_type and enum bpf_link_type. */
#define ATTACH_TCX_INGRESS 46
#define ATTACH_TCX_EGRESS 47
#define LINK_TYPE_TCX 11

/* "MA": ours among others' filters. */
#define FILTER_HANDLE 0x4d41u
#define FILTER_PRIORITY 0x4d41u
#define FILTER_FOLLOWS (FILTER_PRIORITY + 1) /* behind another layout's, while that is migrated from */

#define PATIENCE_S 5
#define TCX_PROGRAMS_MAX 64 /* the kernel's own bound */

static const char tcx[] = "tcx", clsact[] = "clsact", unattached[] = "";
static const int attach_types[TC_HOOKS] = {ATTACH_TCX_INGRESS, ATTACH_TCX_EGRESS};
static const enum bpf_tc_attach_point attach_points[TC_HOOKS] = {BPF_TC_INGRESS, BPF_TC_EGRESS};
static const char *const hook_names[TC_HOOKS] = {"ingress", "egress"};
static const char ingress_program[] = "tc_ingress";
static const char clsact_shared[] = "clsact", clsact_own[] = "clsact_own", own_root[] = "root";

bool packet_tc_without_tcx;

static void set_reason(struct packet_tc *tc, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void set_reason(struct packet_tc *tc, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(tc->reason, sizeof(tc->reason), format, arguments);
	va_end(arguments);
}

static void old_pin_path(const struct marcher_packet *handle, char path[PIN_PATH_MAX], uint32_t index, const char *what)
{
	char name[NAME_SIZE];

	snprintf(name, sizeof(name), "%lu_%u_%s", packet_network_namespace(), index, what);
	packet_migration_path(handle, path, "tc", name);
}

static void pin_path(const struct marcher_packet *handle, char path[PIN_PATH_MAX], uint32_t index, const char *what)
{
	char name[NAME_SIZE];

	snprintf(name, sizeof(name), "%lu_%u_%s", packet_network_namespace(), index, what);
	packet_dir_path(handle, path, "tc", name);
}

/* What tcx links and filters are told apart by is the beginning of struct bpf_link_info, which older headers have
 * without tcx; its first number is the interface's index, as XDP's. */
static uint32_t link_attached_to(int fd, uint32_t *program)
{
	struct bpf_link_info info = {0};
	__u32 length = sizeof(info);

	if (bpf_obj_get_info_by_fd(fd, &info, &length) || (int)info.type != LINK_TYPE_TCX)
		return 0;
	*program = info.prog_id;
	return info.xdp.ifindex;
}

static uint32_t program_id(int fd)
{
	struct bpf_prog_info info = {0};
	__u32 length = sizeof(info);

	return bpf_obj_get_info_by_fd(fd, &info, &length) ? 0 : info.id;
}

static void close_links(struct packet_tc *tc)
{
	for (int hook = 0; hook < TC_HOOKS; hook++) {
		if (tc->link_fds[hook] >= 0)
			close(tc->link_fds[hook]);
		tc->link_fds[hook] = -1;
	}
	tc->mode = unattached;
}

void packet_tc_close(struct packet_interface *interface)
{
	close_links(&interface->tc);
}

/* Another program's place is taken by ours in the link that is pinned. -1: there is none that serves. */
static int adopt_link(const struct marcher_packet *handle, uint32_t index, int hook, const char *path)
{
	uint32_t program = 0;
	int fd = bpf_obj_get(path);

	if (fd < 0)
		return -1;
	if (link_attached_to(fd, &program) == index &&
	    (program == program_id(handle->tc_fds[hook]) || !bpf_link_update(fd, handle->tc_fds[hook], NULL)))
		return fd;
	bpf_link_detach(fd);
	close(fd);
	unlink(path);
	return -1;
}

/* 0, or -errno: -EINVAL of a kernel that does not know tcx. */
static int attach_link(const struct marcher_packet *handle, struct packet_interface *interface, int hook)
{
	char path[PIN_PATH_MAX];

	pin_path(handle, path, interface->index, hook_names[hook]);
	int fd = adopt_link(handle, interface->index, hook, path);
	if (fd < 0) {
		fd = bpf_link_create(handle->tc_fds[hook], (int)interface->index,
		                     (enum bpf_attach_type)attach_types[hook], NULL);
		if (fd < 0)
			return -errno;
		unlink(path);
		if (bpf_obj_pin(fd, path) < 0) {
			int error = errno;
			bpf_link_detach(fd);
			close(fd);
			return -error;
		}
	}
	interface->tc.link_fds[hook] = fd;
	return 0;
}

static void drop_link(const struct marcher_packet *handle, struct packet_interface *interface, int hook)
{
	char path[PIN_PATH_MAX];

	if (interface->tc.link_fds[hook] < 0)
		return;
	pin_path(handle, path, interface->index, hook_names[hook]);
	unlink(path);
	bpf_link_detach(interface->tc.link_fds[hook]);
	close(interface->tc.link_fds[hook]);
	interface->tc.link_fds[hook] = -1;
}

static void count_filter(const struct nlmsghdr *message, void *count)
{
	*(unsigned *)count += message->nlmsg_type == RTM_NEWTFILTER;
}

/* False also when filters cannot be counted. */
static bool qdisc_is_empty(uint32_t index)
{
	const uint32_t parents[] = {TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS), TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_EGRESS)};
	int fd = netlink_open(PATIENCE_S), error = fd < 0 ? fd : 0;
	unsigned count = 0;

	for (size_t i = 0; !error && i < 2; i++) {
		const struct tcmsg message = {.tcm_ifindex = (int)index, .tcm_parent = parents[i]};
		struct netlink_request request;
		netlink_begin(&request, RTM_GETTFILTER, 0, &message, sizeof(message));
		error = netlink_dump(fd, &request, count_filter, &count);
	}
	if (fd >= 0)
		close(fd);
	return !error && !count;
}

static void detach_filter(uint32_t index, int hook, uint32_t priority)
{
	LIBBPF_OPTS(bpf_tc_hook, at, .ifindex = (int)index, .attach_point = attach_points[hook]);
	LIBBPF_OPTS(bpf_tc_opts, filter, .handle = FILTER_HANDLE, .priority = priority);

	bpf_tc_detach(&at, &filter);
}

/* Our filters of an interface of this network namespace, and the qdisc when it is ours and no other's filter is left.
 */
static void detach_filters(uint32_t index, bool own)
{
	for (int hook = 0; hook < TC_HOOKS; hook++) {
		detach_filter(index, hook, FILTER_PRIORITY);
		detach_filter(index, hook, FILTER_FOLLOWS);
	}
	if (own && qdisc_is_empty(index)) {
		LIBBPF_OPTS(bpf_tc_hook, at, .ifindex = (int)index, .attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS);
		bpf_tc_hook_destroy(&at);
	}
}

static int attach_filter(const struct marcher_packet *handle, uint32_t index, int hook, uint32_t priority)
{
	LIBBPF_OPTS(bpf_tc_hook, at, .ifindex = (int)index, .attach_point = attach_points[hook]);
	LIBBPF_OPTS(bpf_tc_opts, filter, .handle = FILTER_HANDLE, .priority = priority, .prog_fd = handle->tc_fds[hook],
	            .flags = BPF_TC_F_REPLACE);

	return bpf_tc_attach(&at, &filter);
}

/* In the folder of the layout that is migrated from. */
static bool has_old_notes(const struct marcher_packet *handle, uint32_t index, const char *const *notes, size_t count)
{
	bool any = false;

	for (size_t i = 0; handle->migration && i < count; i++) {
		char path[PIN_PATH_MAX];
		old_pin_path(handle, path, index, notes[i]);
		any |= access(path, F_OK) == 0;
	}
	return any;
}

/* Notes of another layout's filters. */
static bool has_old_filters(const struct marcher_packet *handle, uint32_t index)
{
	const char *const notes[] = {clsact_shared, clsact_own};

	return has_old_notes(handle, index, notes, sizeof(notes) / sizeof(notes[0]));
}

/* Another Marcher's programs. */

static const char *const holder_pins[] = {"tc/%lu_%u_ingress", "tc/%lu_%u_clsact", "tc/%lu_%u_clsact_own"};
#define HOLDER_PINS (sizeof(holder_pins) / sizeof(holder_pins[0]))

/* To look at a program takes CAP_SYS_ADMIN: without, the pins have to tell. */
static bool is_tc_ingress(const struct marcher_packet *handle, uint32_t index, uint32_t program)
{
	struct bpf_prog_info info = {0};
	__u32 length = sizeof(info);
	int fd = bpf_prog_get_fd_by_id(program);

	if (fd < 0)
		return errno == EPERM && packet_holder_seen(handle, index, holder_pins, HOLDER_PINS);
	bool is = !bpf_obj_get_info_by_fd(fd, &info, &length) && !strcmp(info.name, ingress_program);
	close(fd);
	return is;
}

/* Is a link of this name pinned and attached? */
static bool has_link(const char *path)
{
	uint32_t program = 0;
	int fd = bpf_obj_get(path);

	if (fd < 0)
		return false;
	bool has = link_attached_to(fd, &program);
	close(fd);
	return has;
}

/* A program of our kind where no link of ours is, of this layout or the one before. */
static bool others_link(const struct marcher_packet *handle, uint32_t index)
{
	uint32_t programs[TCX_PROGRAMS_MAX], count = TCX_PROGRAMS_MAX;
	char path[PIN_PATH_MAX];

	if (bpf_prog_query((int)index, (enum bpf_attach_type)ATTACH_TCX_INGRESS, 0, NULL, programs, &count))
		return false;
	pin_path(handle, path, index, hook_names[TC_HOOK_INGRESS]);
	if (has_link(path))
		return false;
	if (handle->migration) {
		old_pin_path(handle, path, index, hook_names[TC_HOOK_INGRESS]);
		if (has_link(path))
			return false;
	}
	for (uint32_t i = 0; i < count; i++)
		if (is_tc_ingress(handle, index, programs[i]))
			return true;
	return false;
}

/* A filter at our place that no note of ours tells of: attaching would take it. */
static bool others_filter(const struct marcher_packet *handle, uint32_t index)
{
	LIBBPF_OPTS(bpf_tc_hook, at, .ifindex = (int)index, .attach_point = BPF_TC_INGRESS);
	LIBBPF_OPTS(bpf_tc_opts, filter, .handle = FILTER_HANDLE, .priority = FILTER_PRIORITY);
	char shared[PIN_PATH_MAX], own[PIN_PATH_MAX];

	if (bpf_tc_query(&at, &filter))
		return false;
	pin_path(handle, shared, index, clsact_shared);
	pin_path(handle, own, index, clsact_own);
	return access(shared, F_OK) < 0 && access(own, F_OK) < 0 && !has_old_filters(handle, index);
}

/* Two would take each other's packets, and time what leaves for different queues. */
static bool taken(const struct marcher_packet *handle, struct packet_interface *interface)
{
	char whose[HOLDER_TEXT_SIZE], command[64];
	bool filter = others_filter(handle, interface->index);

	if (!filter && !others_link(handle, interface->index))
		return false;
	snprintf(command, sizeof(command), "tc filter del dev %s ingress, and egress", interface->name);
	packet_holder_tell(handle, interface->index, holder_pins, HOLDER_PINS, filter ? command : "", whose);
	set_reason(&interface->tc, "its programs are %s", whose);
	return true;
}

/* 0, or -errno. */
static int attach_clsact(const struct marcher_packet *handle, const struct packet_interface *interface)
{
	LIBBPF_OPTS(bpf_tc_hook, at, .ifindex = (int)interface->index, .attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS);
	char shared[PIN_PATH_MAX], own[PIN_PATH_MAX];
	/* They have a table, and ours would take their place: see packet_tc_move. */
	if (has_old_filters(handle, interface->index))
		return 0;
	int error = bpf_tc_hook_create(&at);
	bool made = !error;

	if (error && error != -EEXIST)
		return error;
	pin_path(handle, shared, interface->index, clsact_shared);
	pin_path(handle, own, interface->index, clsact_own);
	if (made)
		unlink(shared);
	/* Before the filters: nothing is attached that no pin tells of. */
	if (access(own, F_OK) < 0 && access(shared, F_OK) < 0 &&
	    bpf_obj_pin(handle->tc_fds[TC_HOOK_INGRESS], made ? own : shared) < 0)
		error = -errno;
	else
		error = 0;
	for (int hook = 0; !error && hook < TC_HOOKS; hook++)
		error = attach_filter(handle, interface->index, hook, FILTER_PRIORITY);
	if (error) {
		detach_filters(interface->index, made);
		unlink(made ? own : shared);
	}
	return error;
}

static bool filters_attached(uint32_t index)
{
	for (int hook = 0; hook < TC_HOOKS; hook++) {
		LIBBPF_OPTS(bpf_tc_hook, at, .ifindex = (int)index, .attach_point = attach_points[hook]);
		LIBBPF_OPTS(bpf_tc_opts, filter, .handle = FILTER_HANDLE, .priority = FILTER_PRIORITY);
		if (bpf_tc_query(&at, &filter))
			return false;
	}
	return true;
}

static bool links_attached(const struct packet_interface *interface)
{
	uint32_t program = 0;

	for (int hook = 0; hook < TC_HOOKS; hook++)
		if (interface->tc.link_fds[hook] < 0 ||
		    link_attached_to(interface->tc.link_fds[hook], &program) != interface->index)
			return false;
	return true;
}

static bool attached(const struct packet_interface *interface)
{
	if (interface->tc.mode == tcx)
		return links_attached(interface);
	return interface->tc.mode == clsact && filters_attached(interface->index);
}

static void attach(const struct marcher_packet *handle, struct packet_interface *interface)
{
	interface->tc.reason[0] = '\0';
	interface->tc.mode = unattached;
	if (!interface->index) {
		set_reason(&interface->tc, "there is no such interface in this network namespace");
		return;
	}
	if (taken(handle, interface))
		return;
	int error = packet_tc_without_tcx ? -EINVAL : 0;
	for (int hook = 0; !error && hook < TC_HOOKS; hook++)
		error = attach_link(handle, interface, hook);
	if (!error) {
		interface->tc.mode = tcx;
		return;
	}
	for (int hook = 0; hook < TC_HOOKS; hook++)
		drop_link(handle, interface, hook);
	set_reason(&interface->tc, "tcx: %s",
	           error == -EINVAL ? "Linux 6.6 is the first to have it" : strerror(-error));
	error = attach_clsact(handle, interface);
	if (error)
		set_reason(&interface->tc, "attaching to clsact: %s", strerror(-error));
	else
		interface->tc.mode = clsact;
}

/* Has this interface's clsact only the other layout's filters, or had it? */
static bool clsact_in_change(const struct marcher_packet *handle, const struct packet_interface *interface)
{
	return interface->tc.mode == clsact && has_old_filters(handle, interface->index);
}

int packet_tc_follow(struct marcher_packet *handle)
{
	for (uint32_t i = 0; i < handle->ninterfaces; i++) {
		const struct packet_interface *interface = &handle->interfaces[i];
		for (int hook = 0; clsact_in_change(handle, interface) && hook < TC_HOOKS; hook++) {
			int error = attach_filter(handle, interface->index, hook, FILTER_FOLLOWS);
			if (error)
				return packet_fail_system(handle, -error, "%s: attaching to clsact", interface->name);
		}
	}
	return MARCHER_OK;
}

/* Descriptor of the other layout's link, or -1: it has none there. */
static int old_link(const struct marcher_packet *handle, uint32_t index, int hook)
{
	char path[PIN_PATH_MAX];
	uint32_t program;

	old_pin_path(handle, path, index, hook_names[hook]);
	int fd = bpf_obj_get(path);
	if (fd >= 0 && link_attached_to(fd, &program) == index)
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

bool packet_tc_follows(const struct marcher_packet *handle)
{
	bool all = true;

	for (uint32_t i = 0; i < handle->ninterfaces; i++) {
		const struct packet_interface *interface = &handle->interfaces[i];
		bool clsact_there = has_old_filters(handle, interface->index) && filters_attached(interface->index);
		for (int hook = 0; interface->tc.mode != unattached && hook < TC_HOOKS; hook++) {
			int fd = old_link(handle, interface->index, hook);
			/* Links come before filters: there this layout's would be first. */
			all &= fd >= 0 || (clsact_there && interface->tc.mode == clsact);
			if (fd >= 0)
				close(fd);
		}
	}
	return all;
}

static int move_note(struct marcher_packet *handle, uint32_t index, const char *what)
{
	char from[PIN_PATH_MAX], to[PIN_PATH_MAX];

	old_pin_path(handle, from, index, what);
	pin_path(handle, to, index, what);
	if (rename(from, to) < 0 && errno != ENOENT)
		return packet_fail_system(handle, errno, "moving %s to %s", from, to);
	return MARCHER_OK;
}

/* The new programs take the place of the old ones by one operation, and go from behind them. */
static int exchange_filters(struct marcher_packet *handle, const struct packet_interface *interface)
{
	for (int hook = 0; hook < TC_HOOKS; hook++) {
		int error = attach_filter(handle, interface->index, hook, FILTER_PRIORITY);
		if (error)
			return packet_fail_system(handle, -error, "%s: attaching to clsact", interface->name);
		detach_filter(interface->index, hook, FILTER_FOLLOWS);
	}
	int code = move_note(handle, interface->index, clsact_shared);
	return code ? code : move_note(handle, interface->index, clsact_own);
}

int packet_tc_move(struct marcher_packet *handle)
{
	int code = MARCHER_OK;

	for (uint32_t i = 0; !code && i < handle->ninterfaces; i++) {
		const struct packet_interface *interface = &handle->interfaces[i];
		for (int hook = 0; hook < TC_HOOKS; hook++) {
			int fd = old_link(handle, interface->index, hook);
			if (fd < 0)
				continue;
			bpf_link_detach(fd);
			close(fd);
		}
		if (clsact_in_change(handle, interface))
			code = exchange_filters(handle, interface);
		if (!code)
			code = move_note(handle, interface->index, own_root);
	}
	return code;
}

int packet_tc_try(int program, uint32_t index, const char **mode)
{
	LIBBPF_OPTS(bpf_tc_hook, at, .ifindex = (int)index, .attach_point = BPF_TC_INGRESS);
	LIBBPF_OPTS(bpf_tc_opts, filter, .handle = FILTER_HANDLE, .priority = FILTER_PRIORITY, .prog_fd = program);
	int link = packet_tc_without_tcx
	                   ? -1
	                   : bpf_link_create(program, (int)index, (enum bpf_attach_type)ATTACH_TCX_INGRESS, NULL);

	*mode = link >= 0 ? tcx : clsact;
	if (link >= 0)
		return link;
	int error = bpf_tc_hook_create(&at);
	return error && error != -EEXIST ? error : bpf_tc_attach(&at, &filter);
}

/* A pin's name in parts; false for one that is none of ours. */
static bool read_name(const char *name, unsigned long *ns, uint32_t *index, char what[16])
{
	return sscanf(name, "%lu_%u_%15s", ns, index, what) == 3;
}

uint32_t packet_tc_attached(const char *name, int pin, const char **hook, bool *here)
{
	unsigned long ns;
	uint32_t index, program = 0;
	char what[16];

	*hook = "";
	if (!read_name(name, &ns, &index, what))
		return 0;
	*here = ns == packet_network_namespace();
	if (!strncmp(what, clsact_shared, strlen(clsact_shared))) {
		*hook = clsact;
		return index;
	}
	if (!strcmp(what, own_root)) {
		*hook = "qdisc";
		return index;
	}
	*hook = tcx;
	return pin >= 0 ? link_attached_to(pin, &program) : 0;
}

int packet_tc_any(const char *directory_path)
{
	struct dirent *entry;
	DIR *directory = opendir(directory_path);
	int any = 0;

	if (!directory)
		return errno == ENOENT ? 0 : -errno;
	while (any >= 0 && (entry = readdir(directory))) {
		char path[PIN_PATH_MAX];
		const char *hook;
		bool here = false;
		if (entry->d_name[0] == '.' ||
		    snprintf(path, sizeof(path), "%s/%s", directory_path, entry->d_name) >= (int)sizeof(path))
			continue;
		int fd = bpf_obj_get(path);
		if (fd < 0) {
			any = errno == ENOENT ? any : -errno;
			continue;
		}
		uint32_t index = packet_tc_attached(entry->d_name, fd, &hook, &here);
		if (index && (hook == tcx || (hook == clsact && here && filters_attached(index))))
			any = 1;
		close(fd);
	}
	closedir(directory);
	return any;
}

static void restore_root(uint32_t index)
{
	int fd = netlink_open(PATIENCE_S);

	if (fd < 0)
		return;
	qdisc_restore(fd, index);
	close(fd);
}

void packet_tc_detach(const char *name, int pin)
{
	const char *hook;
	bool here = false;
	uint32_t index = packet_tc_attached(name, pin, &hook, &here);

	if (!index)
		return;
	if (hook == tcx)
		bpf_link_detach(pin);
	else if (here && strcmp(hook, clsact) != 0)
		restore_root(index);
	else if (here) /* filters cannot be reached from elsewhere; they go with their namespace */
		detach_filters(index, strstr(name, clsact_own) != NULL);
}

/* Detaches from interfaces that are not named any more, or are gone. */
static void detach_others(const struct marcher_packet *handle)
{
	char path[PIN_PATH_MAX], what[16];
	struct dirent *entry;

	packet_dir_path(handle, path, "tc", NULL);
	DIR *directory = opendir(path);
	while (directory && (entry = readdir(directory))) {
		unsigned long ns;
		uint32_t index;
		bool wanted = entry->d_name[0] == '.' || !read_name(entry->d_name, &ns, &index, what);
		for (uint32_t i = 0; !wanted && i < handle->ninterfaces; i++)
			wanted = ns == packet_network_namespace() && handle->interfaces[i].index == index;
		if (wanted)
			continue;
		packet_dir_path(handle, path, "tc", entry->d_name);
		int pin = bpf_obj_get(path);
		packet_tc_detach(entry->d_name, pin);
		if (pin >= 0)
			close(pin);
		unlink(path);
	}
	if (directory)
		closedir(directory);
}

int packet_tc_note_root(const struct marcher_packet *handle, uint32_t index)
{
	char path[PIN_PATH_MAX];

	pin_path(handle, path, index, own_root);
	/* A program's: what a pin is of does not matter, but it has to be of something. */
	return bpf_obj_pin(handle->tc_fds[TC_HOOK_INGRESS], path) < 0 && errno != EEXIST ? -errno : 0;
}

bool packet_tc_root_noted(const struct marcher_packet *handle, uint32_t index)
{
	const char *const notes[] = {own_root};
	char path[PIN_PATH_MAX];

	pin_path(handle, path, index, own_root);
	return access(path, F_OK) == 0 || has_old_notes(handle, index, notes, 1);
}

void packet_tc_forget_root(const struct marcher_packet *handle, uint32_t index)
{
	char path[PIN_PATH_MAX];

	pin_path(handle, path, index, own_root);
	unlink(path);
}

int packet_tc_open(struct marcher_packet *handle)
{
	char text[PACKET_ERROR_MAX] = "";
	bool any = false;

	detach_others(handle);
	for (uint32_t i = 0; i < handle->ninterfaces; i++) {
		struct packet_interface *interface = &handle->interfaces[i];
		attach(handle, interface);
		any |= interface->tc.mode != unattached;
		size_t length = strlen(text);
		snprintf(text + length, sizeof(text) - length, "%s%s: %s", length ? "; " : "", interface->name,
		         interface->tc.reason);
	}
	if (any || handle->xdp_mode != MARCHER_XDP_OFF)
		return MARCHER_OK;
	return packet_fail(handle, MARCHER_E_SYSTEM, "no interface could be attached to, and XDP is off: %s", text);
}

void packet_tc_renew(struct marcher_packet *handle)
{
	for (uint32_t i = 0; i < handle->ninterfaces; i++) {
		pthread_mutex_lock(&handle->table_lock);
		struct packet_interface now = handle->interfaces[i];
		pthread_mutex_unlock(&handle->table_lock);
		if (attached(&now))
			continue;
		/* The old descriptors are status's to look at until the new state is in place. */
		struct packet_tc old = now.tc;
		for (int hook = 0; hook < TC_HOOKS; hook++)
			now.tc.link_fds[hook] = -1;
		attach(handle, &now);
		pthread_mutex_lock(&handle->table_lock);
		handle->interfaces[i].tc = now.tc;
		pthread_mutex_unlock(&handle->table_lock);
		close_links(&old);
	}
	detach_others(handle);
}

void packet_tc_look(struct marcher_packet *handle)
{
	for (uint32_t i = 0; i < handle->ninterfaces; i++) {
		struct packet_interface *interface = &handle->interfaces[i];
		if (interface->tc.mode == unattached || attached(interface))
			continue;
		interface->tc.mode = unattached;
		set_reason(&interface->tc, "it was detached by somebody else, or the interface is gone; attached to "
		                           "again by the next apply");
	}
}
