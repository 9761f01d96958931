/* SPDX-License-Identifier: Apache-2.0 */
#include "steer.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "bpf/lib/steer.h"
#include "packet.h"
#include "sk_lookup.skel.h"

#define PATH_BYTES 4096
#define ANY_PORTS 65535u
#define LOCK_ATTEMPTS 3
#define LOCK_PAUSE_NS 20000000

struct target {
	struct vip_prefix_key key;
	struct steer_target value;
};

struct steer {
	int targets_fd, sockets_fd;
	int folder_fd; /* holds a flock: one process fills the maps */
	char folder[PATH_BYTES - 64];
	/* What is in force, in order of keys; read from the map at first. */
	struct target *targets;
	uint32_t ntargets;
};

_Static_assert(sizeof(struct target) == sizeof(struct vip_prefix_key) + sizeof(struct steer_target), "no padding");

__attribute__((format(printf, 4, 5))) static int fail(char *why, size_t size, int error, const char *format, ...)
{
	char text[256], missing[128];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	packet_missing_capabilities(missing, sizeof(missing));
	bool privilege = (error == -EPERM || error == -EACCES) && *missing;
	snprintf(why, size, "%s: %s%s%s", text, strerror(-error), privilege ? "; this process lacks " : "",
	         privilege ? missing : "");
	return error;
}

static int target_compare(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct vip_prefix_key));
}

/* Pins. */

static void path_of(const struct steer *steer, char path[PATH_BYTES], const char *name)
{
	snprintf(path, PATH_BYTES, "%s/%.60s", steer->folder, name);
}

static int make_folder(struct steer *steer, const char *pin_dir, char *why, size_t size)
{
	int length = snprintf(steer->folder, sizeof(steer->folder), "%s/v%d/steer", pin_dir, LAYOUT_VERSION);

	if (pin_dir[0] != '/' || length >= (int)sizeof(steer->folder))
		return fail(why, size, -EINVAL, "the pin directory %.200s", pin_dir);
	for (char *slash = strchr(steer->folder + 1, '/');; slash = strchr(slash + 1, '/')) {
		if (slash)
			*slash = '\0';
		int error = mkdir(steer->folder, 0700) < 0 && errno != EEXIST ? -errno : 0;
		if (error)
			return fail(why, size, error, "creating %.200s (is a BPF file system mounted above it?)",
			            steer->folder);
		if (!slash)
			return 0;
		*slash = '/';
	}
}

static int lock_folder(struct steer *steer, char *why, size_t size)
{
	steer->folder_fd = open(steer->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (steer->folder_fd < 0)
		return fail(why, size, -errno, "opening %.200s", steer->folder);
	/* Whoever looks what is installed has it for a moment. */
	const struct timespec pause = {.tv_nsec = LOCK_PAUSE_NS};
	int error = -EWOULDBLOCK;
	for (int attempt = 0; error == -EWOULDBLOCK && attempt < LOCK_ATTEMPTS; attempt++) {
		if (attempt)
			nanosleep(&pause, NULL);
		error = flock(steer->folder_fd, LOCK_EX | LOCK_NB) < 0 ? -errno : 0;
	}
	if (error)
		return fail(why, size, error,
		            "%.200s is another agent's: end that one, or give this one a --bpf-dir of its own",
		            steer->folder);
	return 0;
}

/* A map that is pinned and has this form is used again. One that has another form is taken away. */
static int adopt_map(const struct steer *steer, struct bpf_map *map)
{
	char path[PATH_BYTES];
	struct bpf_map_info info;

	path_of(steer, path, bpf_map__name(map));
	int fd = bpf_obj_get(path);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	bool same = !packet_map_info(fd, &info) && info.type == bpf_map__type(map) &&
	            info.key_size == bpf_map__key_size(map) && info.value_size == bpf_map__value_size(map) &&
	            info.max_entries == bpf_map__max_entries(map);
	int error = same ? bpf_map__reuse_fd(map, fd) : unlink(path) < 0 ? -errno : 0;
	close(fd);
	return error;
}

static int keep_map(const struct steer *steer, struct bpf_map *map, int *out)
{
	char path[PATH_BYTES];

	path_of(steer, path, bpf_map__name(map));
	if (bpf_obj_pin(bpf_map__fd(map), path) < 0 && errno != EEXIST)
		return -errno;
	*out = fcntl(bpf_map__fd(map), F_DUPFD_CLOEXEC, 0);
	return *out < 0 ? -errno : 0;
}

/* The link of this namespace gets the program, or is made. One of a namespace that is gone attaches nothing. It is held
 * by its pin alone: whoever takes that away detaches it. */
static int attach(const struct steer *steer, int program, char *why, size_t size)
{
	char path[PATH_BYTES], name[64];

	snprintf(name, sizeof(name), "link_%lu", packet_network_namespace());
	path_of(steer, path, name);
	int link = bpf_obj_get(path);
	if (link >= 0) {
		struct bpf_link_info info = {0};
		__u32 length = sizeof(info);
		bool ours = !bpf_obj_get_info_by_fd(link, &info, &length) &&
		            info.netns.netns_ino == packet_network_namespace();
		bool done = ours && !bpf_link_update(link, program, NULL);
		close(link);
		if (done)
			return 0;
		if (unlink(path) < 0)
			return fail(why, size, -errno, "removing %.200s", path);
	}
	int space = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	if (space < 0)
		return fail(why, size, -errno, "opening the network namespace");
	link = bpf_link_create(program, space, BPF_SK_LOOKUP, NULL);
	int error = link < 0 ? -errno : 0;
	close(space);
	if (error)
		return fail(why, size, error, "attaching sk_lookup to the network namespace");
	if (bpf_obj_pin(link, path) < 0)
		error = fail(why, size, -errno, "pinning %.200s", path);
	close(link);
	return error;
}

static int load(struct steer *steer, char *why, size_t size)
{
	LIBBPF_OPTS(bpf_object_open_opts, options, .object_name = "sk_lookup");
	size_t length;
	const void *bytes = sk_lookup_bpf__elf_bytes(&length);

	packet_complaints_begin();
	struct bpf_object *object = bpf_object__open_mem(bytes, length, &options);
	if (!object)
		return fail(why, size, -errno, "opening the BPF object sk_lookup");
	struct bpf_map *targets = bpf_object__find_map_by_name(object, "steer_targets");
	struct bpf_map *sockets = bpf_object__find_map_by_name(object, "steer_sockets");
	int error = adopt_map(steer, targets);
	if (!error)
		error = adopt_map(steer, sockets);
	if (!error)
		error = bpf_object__load(object);
	if (!error)
		error = keep_map(steer, targets, &steer->targets_fd);
	if (!error)
		error = keep_map(steer, sockets, &steer->sockets_fd);
	if (error)
		fail(why, size, error, "loading sk_lookup%s%.120s", *packet_complaint() ? ": " : "",
		     packet_complaint());
	else
		error = attach(steer, bpf_program__fd(bpf_object__next_program(object, NULL)), why, size);
	bpf_object__close(object);
	return error;
}

static int read_targets(struct steer *steer)
{
	struct vip_prefix_key at, next;
	uint32_t room = 0;

	for (void *from = NULL; !bpf_map_get_next_key(steer->targets_fd, from, &next); from = &at) {
		at = next;
		if (steer->ntargets == STEER_TARGETS_MAX)
			return -E2BIG;
		if (steer->ntargets == room) {
			room = room ? room * 2 : 256;
			struct target *more = realloc(steer->targets, room * sizeof(*more));
			if (!more)
				return -ENOMEM;
			steer->targets = more;
		}
		struct target *target = &steer->targets[steer->ntargets++];
		target->key = at;
		if (bpf_map_lookup_elem(steer->targets_fd, &at, &target->value))
			return -errno;
	}
	if (errno != ENOENT)
		return -errno;
	if (steer->ntargets)
		qsort(steer->targets, steer->ntargets, sizeof(*steer->targets), target_compare);
	return 0;
}

struct steer *steer_open(const char *pin_dir, int *error, char *why, size_t why_size)
{
	struct steer *steer = calloc(1, sizeof(*steer));

	if (!steer) {
		*error = fail(why, why_size, -ENOMEM, "sk_lookup");
		return NULL;
	}
	steer->targets_fd = steer->sockets_fd = steer->folder_fd = -1;
	*error = make_folder(steer, pin_dir, why, why_size);
	if (!*error)
		*error = lock_folder(steer, why, why_size);
	if (!*error)
		*error = load(steer, why, why_size);
	if (!*error) {
		*error = read_targets(steer);
		if (*error)
			fail(why, why_size, *error, "reading the map steer_targets");
	}
	if (!*error)
		return steer;
	steer_close(steer);
	return NULL;
}

void steer_close(struct steer *steer)
{
	if (!steer)
		return;
	int fds[] = {steer->targets_fd, steer->sockets_fd, steer->folder_fd};
	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		if (fds[i] >= 0)
			close(fds[i]);
	free(steer->targets);
	free(steer);
}

int steer_remove(const char *pin_dir)
{
	struct steer steer = {.folder_fd = -1};
	char path[PATH_BYTES];
	struct dirent *entry;
	int error = 0;

	snprintf(steer.folder, sizeof(steer.folder), "%s/v%d/steer", pin_dir, LAYOUT_VERSION);
	DIR *folder = opendir(steer.folder);
	if (!folder)
		return errno == ENOENT ? 0 : -errno;
	/* Another agent's, which goes on. */
	if (flock(dirfd(folder), LOCK_EX | LOCK_NB) < 0) {
		error = -errno;
		closedir(folder);
		return error;
	}
	/* Links first: a program whose maps are gone refuses nothing. */
	for (int links = 1; links >= 0; links--) {
		rewinddir(folder);
		while ((entry = readdir(folder)))
			if (entry->d_name[0] != '.' && (strncmp(entry->d_name, "link_", 5) == 0) == links) {
				path_of(&steer, path, entry->d_name);
				/* At once: what is unlinked lives until the kernel comes to it. */
				int fd = links ? bpf_obj_get(path) : -1;
				if (fd >= 0) {
					bpf_link_detach(fd);
					close(fd);
				}
				if (unlink(path) < 0)
					error = -errno;
			}
	}
	closedir(folder);
	return rmdir(steer.folder) < 0 && !error ? -errno : error;
}

uint32_t steer_targets_count(const struct steer *steer)
{
	return steer->ntargets;
}

/* The engine's list: keys of listening sockets (listen.h). */

struct entry {
	struct vip_prefix_key key; /* of its first port */
	uint16_t first, last;
	bool steered;
	int fd;
	uint32_t socket;
};

/* Of the first socket of a listener; false for others, and for what is none. */
static bool parse(const char *text, struct entry *out)
{
	char transport[4], where[40];
	unsigned first, last, index, bits;
	int end = 0;

	*out = (struct entry){.fd = -1};
	if (sscanf(text, "%3[a-z]|%39[^|/]/%u|%u-%u|%u%n", transport, where, &bits, &first, &last, &index, &end) == 6 &&
	    !text[end]) {
		out->steered = true;
	} else if (sscanf(text, "%3[a-z]|%39[^|]|%u|%u%n", transport, where, &first, &index, &end) == 4 && !text[end]) {
		last = first;
		bits = (unsigned)strlen(where) * 4;
	} else {
		return false;
	}
	size_t digits = strlen(where);
	uint8_t *bytes = (uint8_t *)&out->key.address;
	bool any = !strcmp(where, "*");
	if (index || first < 1 || last > ANY_PORTS || last < first || (!any && digits != 8 && digits != 32))
		return false;
	if (any) {
		bits = 0;
	} else {
		size_t at = digits == 8 ? 12 : 0;
		if (digits == 8) {
			out->key.address.word[2] = htonl(0xffff);
			bits += 96;
		}
		for (size_t i = 0; i < digits / 2; i++)
			if (sscanf(where + 2 * i, "%2hhx", &bytes[at + i]) != 1)
				return false;
	}
	if (bits > 128)
		return false;
	out->key.length = VIP_PREFIX_BITS + bits;
	out->key.protocol = !strcmp(transport, "tcp") ? IPPROTO_TCP : IPPROTO_UDP;
	out->first = (uint16_t)first;
	out->last = (uint16_t)last;
	return true;
}

enum bank_choice steer_needs(const char *key)
{
	struct entry entry;

	return !parse(key, &entry) ? BANK_NEITHER : entry.steered ? BANK_SOCKET : BANK_KEY;
}

static bool every_port(const struct entry *entry)
{
	return entry->first == 1 && entry->last == ANY_PORTS;
}

/* Is one within the other's prefix, ports aside? */
static bool within(const struct entry *inner, const struct entry *outer)
{
	const uint8_t *a = (const uint8_t *)&inner->key.address, *b = (const uint8_t *)&outer->key.address;
	uint32_t bits = outer->key.length - VIP_PREFIX_BITS;

	if (inner->key.protocol != outer->key.protocol || inner->key.length < outer->key.length)
		return false;
	if (memcmp(a, b, bits / 8) != 0)
		return false;
	return !(bits % 8) || !((a[bits / 8] ^ b[bits / 8]) >> (8 - bits % 8));
}

struct wanted {
	struct entry *entries;
	uint32_t nentries;
	struct target *targets;
	uint32_t ntargets;
};

static uint32_t targets_of(const struct entry *entry)
{
	return every_port(entry) ? 1 : (uint32_t)entry->last - entry->first + 1;
}

static void add_targets(struct wanted *wanted, const struct entry *entry)
{
	for (uint32_t i = 0; i < targets_of(entry); i++) {
		struct target *target = &wanted->targets[wanted->ntargets++];
		target->key = entry->key;
		target->key.port = every_port(entry) ? 0 : htons((uint16_t)(entry->first + i));
		target->value = (struct steer_target){.socket = entry->steered ? entry->socket : STEER_LEFT,
		                                      .length = entry->key.length};
	}
}

/* What the group of sockets is bound to is no way in. */
static void close_own_port(struct wanted *wanted, const struct entry *entry)
{
	struct sockaddr_storage sa = {0};
	socklen_t length = sizeof(sa);
	const struct sockaddr_in *in = (const struct sockaddr_in *)&sa;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&sa;
	struct target *target = &wanted->targets[wanted->ntargets];

	if (getsockname(entry->fd, (struct sockaddr *)&sa, &length) < 0)
		return;
	*target = (struct target){.key = {.protocol = entry->key.protocol}, .value = {.socket = STEER_CLOSED}};
	if (sa.ss_family == AF_INET) {
		target->key.length = VIP_PREFIX_BITS + 128;
		target->key.port = in->sin_port;
		target->key.address.word[2] = htonl(0xffff);
		target->key.address.word[3] = in->sin_addr.s_addr;
	} else if (sa.ss_family == AF_INET6) {
		bool any = IN6_IS_ADDR_UNSPECIFIED(&in6->sin6_addr);
		target->key.length = VIP_PREFIX_BITS + (any ? 0 : 128);
		target->key.port = in6->sin6_port;
		memcpy(&target->key.address, &in6->sin6_addr, 16);
	} else {
		return;
	}
	target->value.length = target->key.length;
	wanted->ntargets++;
}

/* In order of keys; where a group's own port is somebody's target, it is that. */
static int order_targets(struct wanted *wanted)
{
	struct target *list = wanted->targets;
	uint32_t kept = 0;

	qsort(list, wanted->ntargets, sizeof(*list), target_compare);
	for (uint32_t i = 0; i < wanted->ntargets; i++) {
		if (!kept || target_compare(&list[kept - 1], &list[i]))
			list[kept++] = list[i];
		else if (list[kept - 1].value.socket == STEER_CLOSED)
			list[kept - 1] = list[i];
		else if (list[i].value.socket != STEER_CLOSED)
			return -EEXIST;
	}
	wanted->ntargets = kept;
	return 0;
}

/* The index that the listener had: its first port leads there. */
static uint32_t index_before(const struct steer *steer, const struct entry *entry)
{
	struct target want = {.key = entry->key};

	want.key.port = every_port(entry) ? 0 : htons(entry->first);
	const struct target *found = steer->ntargets ? bsearch(&want, steer->targets, steer->ntargets,
	                                                       sizeof(*steer->targets), target_compare)
	                                             : NULL;
	return found && found->value.socket < STEER_SOCKETS_MAX ? found->value.socket : UINT32_MAX;
}

static int give_indices(const struct steer *steer, struct wanted *wanted)
{
	uint8_t used[STEER_SOCKETS_MAX] = {0};
	uint32_t next = 0;

	/* Not one that anybody has now: what leads there is deleted last. */
	for (uint32_t i = 0; i < steer->ntargets; i++)
		if (steer->targets[i].value.socket < STEER_SOCKETS_MAX)
			used[steer->targets[i].value.socket] = 1;
	for (uint32_t i = 0; i < wanted->nentries; i++) {
		struct entry *entry = &wanted->entries[i];
		entry->socket = entry->steered ? index_before(steer, entry) : UINT32_MAX;
		for (uint32_t k = 0; k < i && entry->socket != UINT32_MAX; k++)
			if (wanted->entries[k].steered && wanted->entries[k].socket == entry->socket)
				entry->socket = UINT32_MAX;
		if (!entry->steered || entry->socket != UINT32_MAX)
			continue;
		while (next < STEER_SOCKETS_MAX && used[next])
			next++;
		if (next == STEER_SOCKETS_MAX)
			return -ENOSPC;
		entry->socket = next;
		used[next] = 1;
	}
	return 0;
}

/* Steered listeners first; of the others those that lie within one of them. */
static int collect(const struct bank *bank, struct wanted *wanted)
{
	uint32_t steered = 0;

	wanted->entries = calloc(bank->count + 1, sizeof(*wanted->entries));
	if (!wanted->entries)
		return -ENOMEM;
	for (size_t i = 0; i < bank->count; i++) {
		struct entry *entry = &wanted->entries[wanted->nentries];
		if (parse(bank->keys[i], entry) && entry->steered) {
			entry->fd = bank->fds[i];
			wanted->nentries++;
		}
	}
	steered = wanted->nentries;
	for (size_t i = 0; steered && i < bank->count; i++) {
		struct entry *entry = &wanted->entries[wanted->nentries];
		if (!parse(bank->keys[i], entry) || entry->steered)
			continue;
		for (uint32_t k = 0; k < steered; k++) {
			const struct entry *outer = &wanted->entries[k];
			if (within(entry, outer) && entry->first >= outer->first && entry->last <= outer->last) {
				wanted->nentries++;
				break;
			}
		}
	}
	return 0;
}

static int make_targets(struct wanted *wanted)
{
	uint64_t count = 0;

	for (uint32_t i = 0; i < wanted->nentries; i++)
		count += targets_of(&wanted->entries[i]) + 1;
	if (count > STEER_TARGETS_MAX)
		return -E2BIG;
	wanted->targets = calloc(count + 1, sizeof(*wanted->targets));
	if (!wanted->targets)
		return -ENOMEM;
	for (uint32_t i = 0; i < wanted->nentries; i++) {
		add_targets(wanted, &wanted->entries[i]);
		if (wanted->entries[i].steered)
			close_own_port(wanted, &wanted->entries[i]);
	}
	return order_targets(wanted);
}

static int put_socket(const struct steer *steer, uint32_t index, int fd)
{
	uint64_t there = 0, cookie = 0, value = (uint64_t)fd;
	socklen_t length = sizeof(cookie);

	if (!getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &length) &&
	    !bpf_map_lookup_elem(steer->sockets_fd, &index, &there) && there == cookie)
		return 0;
	return bpf_map_update_elem(steer->sockets_fd, &index, &value, BPF_ANY) ? -errno : 0;
}

/* Both lists are in order: one walk. Writes what is new or another (gone false), or deletes what is gone. */
static int walk(struct steer *steer, const struct wanted *wanted, bool gone)
{
	uint32_t at = 0;

	for (uint32_t i = 0; i < wanted->ntargets || at < steer->ntargets;) {
		int order = i == wanted->ntargets   ? 1
		            : at == steer->ntargets ? -1
		                                    : target_compare(&wanted->targets[i], &steer->targets[at]);
		const struct target *new = &wanted->targets[i], *old = &steer->targets[at];
		int error = 0;
		if (gone && order > 0)
			error = bpf_map_delete_elem(steer->targets_fd, &old->key) && errno != ENOENT ? -errno : 0;
		else if (!gone && (order < 0 || (!order && memcmp(&new->value, &old->value, sizeof(new->value)) != 0)))
			error = bpf_map_update_elem(steer->targets_fd, &new->key, &new->value, BPF_ANY) ? -errno : 0;
		if (error)
			return error;
		i += order <= 0;
		at += order >= 0;
	}
	return 0;
}

static int drop_sockets(const struct steer *steer, const struct wanted *wanted)
{
	uint8_t used[STEER_SOCKETS_MAX] = {0};

	for (uint32_t i = 0; i < wanted->nentries; i++)
		if (wanted->entries[i].steered)
			used[wanted->entries[i].socket] = 1;
	for (uint32_t i = 0; i < steer->ntargets; i++) {
		uint32_t index = steer->targets[i].value.socket;
		if (index >= STEER_SOCKETS_MAX || used[index])
			continue;
		used[index] = 1;
		/* EINVAL: it is closed, and has left. */
		if (bpf_map_delete_elem(steer->sockets_fd, &index) && errno != ENOENT && errno != EINVAL)
			return -errno;
	}
	return 0;
}

int steer_sync(struct steer *steer, const struct bank *bank, char *why, size_t why_size)
{
	struct wanted wanted = {0};
	const char *what = "sorting the listening sockets";

	int error = collect(bank, &wanted);
	if (!error)
		error = give_indices(steer, &wanted);
	if (!error)
		error = make_targets(&wanted);
	if (!error)
		what = "writing the map steer_sockets";
	for (uint32_t i = 0; !error && i < wanted.nentries; i++)
		if (wanted.entries[i].steered)
			error = put_socket(steer, wanted.entries[i].socket, wanted.entries[i].fd);
	if (!error) {
		what = "writing the map steer_targets";
		error = walk(steer, &wanted, false);
	}
	if (!error)
		error = walk(steer, &wanted, true);
	if (!error)
		error = drop_sockets(steer, &wanted);
	if (!error) {
		free(steer->targets);
		steer->targets = wanted.targets;
		steer->ntargets = wanted.ntargets;
		wanted.targets = NULL;
	} else {
		fail(why, why_size, error, "%s", what);
		/* Somewhere on the way: the map knows. */
		free(steer->targets);
		steer->targets = NULL;
		steer->ntargets = 0;
		read_targets(steer);
	}
	free(wanted.entries);
	free(wanted.targets);
	return error;
}
