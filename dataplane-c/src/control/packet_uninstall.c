/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is pinned, found and taken away: links first, so that no packet comes to a program whose slots are empty.
 *
 * Below pin_dir only v<number> is ours: the pins in it, and those in its folders. The list is made first and then
 * worked off, so that what is announced is what goes. The directory may belong to another user than the one that
 * removes it (root, after an agent that was not), so no symbolic link in it is followed.
 */
#include "packet.h"

#include <bpf/bpf.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FOLDER_MAX 320 /* v<number>/<folder> */

typedef Marcher__Packet__V1__Installed Installed;
typedef Marcher__Packet__V1__InstalledLink InstalledLink;

enum kind {
	KIND_LINK,
	KIND_TC, /* a link, or a note of filters */
	KIND_PIN,
	KIND_FOLDER,
	KIND_OTHER, /* somebody else's */
	KINDS,
};

struct item {
	enum kind kind;
	char folder[FOLDER_MAX]; /* below pin_dir; "" is pin_dir itself */
	char name[NAME_MAX + 1];
};

/* In the order in which they are to go. */
struct found {
	struct item *list;
	size_t count, room;
};

/* A folder below pin_dir. Returns its descriptor or -errno. */
static int open_folder(const struct marcher_packet *handle, const char *folder)
{
	struct open_how how = {.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC,
	                       .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
	long fd = syscall(SYS_openat2, handle->dir_fd, *folder ? folder : ".", &how, sizeof(how));

	return fd < 0 ? -errno : (int)fd;
}

static int add(struct found *found, enum kind kind, const char *folder, const char *name)
{
	if (found->count == found->room) {
		size_t room = found->room ? found->room * 2 : 64;
		struct item *more = realloc(found->list, room * sizeof(*more));
		if (!more)
			return -ENOMEM;
		found->list = more;
		found->room = room;
	}
	struct item *item = &found->list[found->count++];
	item->kind = kind;
	snprintf(item->folder, sizeof(item->folder), "%s", folder);
	snprintf(item->name, sizeof(item->name), "%s", name);
	return 0;
}

/* Calls take for each entry of a folder, which may not be there. Returns 0 or -errno. */
static int each_entry(const struct marcher_packet *handle, const char *folder, struct found *found,
                      int (*take)(const struct marcher_packet *, const char *folder, const struct dirent *,
                                  struct found *))
{
	struct dirent *entry;
	int fd = open_folder(handle, folder), error = 0;

	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	DIR *directory = fdopendir(fd);
	if (!directory) {
		error = -errno;
		close(fd);
		return error;
	}
	while (!error && (entry = readdir(directory)))
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			error = take(handle, folder, entry, found);
	closedir(directory);
	return error;
}

static bool is_version(const char *name)
{
	return name[0] == 'v' && name[1] && strspn(name + 1, "0123456789") == strlen(name + 1);
}

static int join(char path[FOLDER_MAX], const char *folder, const char *name)
{
	return snprintf(path, FOLDER_MAX, "%s/%s", folder, name) < FOLDER_MAX ? 0 : -ENAMETOOLONG;
}

static int take_link(const struct marcher_packet *handle, const char *folder, const struct dirent *entry,
                     struct found *found)
{
	(void)handle;
	return add(found, KIND_LINK, folder, entry->d_name);
}

static int take_tc(const struct marcher_packet *handle, const char *folder, const struct dirent *entry,
                   struct found *found)
{
	(void)handle;
	return add(found, KIND_TC, folder, entry->d_name);
}

static int take_pin(const struct marcher_packet *handle, const char *folder, const struct dirent *entry,
                    struct found *found)
{
	(void)handle;
	/* sk_lookup's, beside its maps (steer.c). */
	bool link = strncmp(entry->d_name, "link_", 5) == 0;
	return add(found, link ? KIND_LINK : KIND_PIN, folder, entry->d_name);
}

/* What a version has besides links/. */
static int take_part(const struct marcher_packet *handle, const char *folder, const struct dirent *entry,
                     struct found *found)
{
	char below[FOLDER_MAX];

	if (entry->d_type != DT_DIR)
		return add(found, KIND_PIN, folder, entry->d_name);
	int error = join(below, folder, entry->d_name);
	if (!error && strcmp(entry->d_name, "links") != 0 && strcmp(entry->d_name, "tc") != 0)
		error = each_entry(handle, below, found, take_pin);
	return error ? error : add(found, KIND_FOLDER, folder, entry->d_name);
}

static int find_version(const struct marcher_packet *handle, const char *version, struct found *found)
{
	char links[FOLDER_MAX], tc[FOLDER_MAX];
	int error = join(links, version, "links");

	if (!error)
		error = join(tc, version, "tc");
	if (!error)
		error = each_entry(handle, links, found, take_link);
	if (!error)
		error = each_entry(handle, tc, found, take_tc);
	if (!error)
		error = each_entry(handle, version, found, take_part);
	return error ? error : add(found, KIND_FOLDER, "", version);
}

static int take_version(const struct marcher_packet *handle, const char *folder, const struct dirent *entry,
                        struct found *found)
{
	if (!is_version(entry->d_name) || entry->d_type != DT_DIR)
		return add(found, KIND_OTHER, folder, entry->d_name);
	return find_version(handle, entry->d_name, found);
}

/* The pinned link's descriptor, or -errno. */
static int open_link(const struct marcher_packet *handle, const struct item *item)
{
	char path[64 + NAME_MAX];
	int folder = open_folder(handle, item->folder);

	if (folder < 0)
		return folder;
	/* bpf(2) takes no directory descriptor before Linux 6.5. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", folder, item->name);
	int fd = bpf_obj_get(path), error = errno;
	close(folder);
	return fd < 0 ? -error : fd;
}

/* Takes its program off the interface, also in another network namespace and while somebody has the link open. A link
 * of a kind that cannot be detached goes with its pin. */
static void detach(const struct marcher_packet *handle, const struct item *item)
{
	int fd = open_link(handle, item);

	if (item->kind == KIND_TC)
		packet_tc_detach(item->name, fd);
	else if (fd >= 0)
		bpf_link_detach(fd);
	if (fd >= 0)
		close(fd);
}

static int remove_item(const struct marcher_packet *handle, const struct item *item)
{
	int error = 0;

	if (item->kind == KIND_OTHER)
		return 0;
	if (item->kind == KIND_LINK || item->kind == KIND_TC)
		detach(handle, item);
	int folder = open_folder(handle, item->folder);
	if (folder < 0)
		return folder == -ENOENT ? 0 : folder;
	if (unlinkat(folder, item->name, item->kind == KIND_FOLDER ? AT_REMOVEDIR : 0) < 0 && errno != ENOENT)
		error = -errno;
	close(folder);
	return error;
}

static int remove_found(struct marcher_packet *handle, const struct found *found)
{
	for (size_t i = 0; i < found->count; i++) {
		const struct item *item = &found->list[i];
		int error = remove_item(handle, item);
		if (error)
			return packet_fail_system(handle, -error, "removing %s/%s%s%s", handle->pin_dir, item->folder,
			                          *item->folder ? "/" : "", item->name);
	}
	return MARCHER_OK;
}

static int cannot_read(struct marcher_packet *handle, int error)
{
	return packet_fail_system(handle, -error, "reading the pin directory %s", handle->pin_dir);
}

/* What sk_lookup has in this layout's folder is steer.c's, and may be in force: it stays, and with it the folder. */
static void leave_steering(struct found *found, const char *version)
{
	char folder[FOLDER_MAX];
	bool any = false;

	snprintf(folder, sizeof(folder), "%s/steer", version);
	for (size_t i = 0; i < found->count; i++) {
		struct item *item = &found->list[i];
		bool own = !strcmp(item->folder, folder) ||
		           (!strcmp(item->folder, version) && !strcmp(item->name, "steer"));
		any |= own;
		if (own || (any && !*item->folder))
			item->kind = KIND_OTHER;
	}
}

int packet_uninstall_version(struct marcher_packet *handle, int version)
{
	struct found found = {.count = 0};
	char name[16];

	snprintf(name, sizeof(name), "v%d", version);
	int error = find_version(handle, name, &found);
	if (version == LAYOUT_VERSION)
		leave_steering(&found, name);
	int code = error ? cannot_read(handle, error) : remove_found(handle, &found);
	free(found.list);
	return code;
}

/* An agent without packet tiers holds no more than sk_lookup's folder (steer.c). */
static bool steering_held(const struct marcher_packet *handle, const struct found *found,
                          struct packet_dir_holder *holder)
{
	bool held = false;

	for (size_t i = 0; !held && i < found->count; i++) {
		char folder[FOLDER_MAX];
		const struct item *item = &found->list[i];
		if (item->kind != KIND_FOLDER || strcmp(item->name, "steer") != 0 ||
		    join(folder, item->folder, item->name))
			continue;
		int fd = open_folder(handle, folder);
		held = fd >= 0 && packet_dir_held(fd, holder);
		if (fd >= 0)
			close(fd);
	}
	return held;
}

int packet_uninstall(struct marcher_packet *handle)
{
	struct found found = {.count = 0};
	struct packet_dir_holder holder;
	int error = each_entry(handle, "", &found, take_version);
	int code = error                                    ? cannot_read(handle, error)
	           : steering_held(handle, &found, &holder) ? packet_dir_busy(handle, &holder)
	                                                    : remove_found(handle, &found);

	for (size_t i = 0; !code && i < found.count; i++)
		if (found.list[i].kind == KIND_OTHER)
			code = packet_fail(handle, MARCHER_E_SYSTEM,
			                   "nothing of Marcher's is left below %s, but %s/%s is not Marcher's: the "
			                   "directory stays",
			                   handle->pin_dir, handle->pin_dir, found.list[i].name);
	if (!code && rmdir(handle->pin_dir) < 0 && errno != ENOENT)
		code = packet_fail_system(handle, errno, "removing the pin directory %s", handle->pin_dir);
	free(found.list);
	return code;
}

/* What is attached by it, into *link, whose path is there. */
static void describe(const struct marcher_packet *handle, const struct item *item, InstalledLink *link,
                     char name[IF_NAMESIZE])
{
	struct bpf_link_info info = {0};
	__u32 length = sizeof(info);
	struct stat here;
	int fd = open_link(handle, item);

	if (item->kind == KIND_TC) {
		const char *hook;
		bool mine = false;
		link->index = packet_tc_attached(item->name, fd, &hook, &mine);
		link->hook = (char *)hook;
		if (mine && link->index && if_indextoname(link->index, name))
			link->interface = name;
	}
	if (fd < 0)
		return;
	if (item->kind == KIND_LINK && !bpf_obj_get_info_by_fd(fd, &info, &length) && info.type == BPF_LINK_TYPE_XDP) {
		link->hook = (char *)"xdp";
		link->index = info.xdp.ifindex;
		bool mine = !stat("/proc/thread-self/ns/net", &here) &&
		            strtoul(item->name, NULL, 10) == (unsigned long)here.st_ino;
		if (mine && link->index && if_indextoname(link->index, name))
			link->interface = name;
	}
	if (item->kind == KIND_LINK && info.type == BPF_LINK_TYPE_NETNS)
		link->hook = (char *)"sk_lookup";
	close(fd);
}

static int pack(struct marcher_packet *handle, const struct found *found, Installed *installed, uint8_t **reply,
                size_t *reply_length)
{
	size_t path_size = strlen(handle->pin_dir) + FOLDER_MAX + NAME_MAX + 3;
	char *paths = calloc(found->count + 1, path_size),
	     (*names)[IF_NAMESIZE] = calloc(found->count + 1, IF_NAMESIZE);
	InstalledLink *links = calloc(found->count + 1, sizeof(*links));
	void **pointers = calloc(KINDS * (found->count + 1), sizeof(void *));

	if (paths && names && links && pointers) {
		installed->links = (InstalledLink **)pointers;
		installed->pins = (char **)(pointers + found->count);
		installed->others = (char **)(pointers + 2 * found->count);
		for (size_t i = 0; i < found->count; i++) {
			const struct item *item = &found->list[i];
			char *path = paths + i * path_size;
			snprintf(path, path_size, "%s/%s%s%s", handle->pin_dir, item->folder, *item->folder ? "/" : "",
			         item->name);
			if (item->kind == KIND_LINK || item->kind == KIND_TC) {
				marcher__packet__v1__installed_link__init(&links[i]);
				links[i].path = path;
				describe(handle, item, &links[i], names[i]);
				installed->links[installed->n_links++] = &links[i];
			} else if (item->kind == KIND_PIN) {
				installed->pins[installed->n_pins++] = path;
			} else if (item->kind == KIND_OTHER) {
				installed->others[installed->n_others++] = path;
			}
		}
		*reply_length = marcher__packet__v1__installed__get_packed_size(installed);
		*reply = malloc(*reply_length ? *reply_length : 1);
		if (*reply)
			marcher__packet__v1__installed__pack(installed, *reply);
	}
	free(paths);
	free(names);
	free(links);
	free(pointers);
	return *reply ? MARCHER_OK : packet_fail(handle, MARCHER_E_NO_MEMORY, "no memory");
}

int packet_installed(struct marcher_packet *handle, const struct packet_dir_holder *holder, uint8_t **reply,
                     size_t *reply_length)
{
	Installed installed = MARCHER__PACKET__V1__INSTALLED__INIT;
	struct found found = {.count = 0};
	int error = handle->dir_fd < 0 ? 0 : each_entry(handle, "", &found, take_version);

	struct packet_dir_holder by = *holder;
	if (!error && !by.held)
		steering_held(handle, &found, &by);
	installed.pin_dir = handle->pin_dir;
	installed.held = by.held;
	installed.holder = (uint32_t)by.pid;
	int code = error ? cannot_read(handle, error) : pack(handle, &found, &installed, reply, reply_length);
	free(found.list);
	return code;
}
