/* SPDX-License-Identifier: Apache-2.0 */
#include "packet_inner.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#define PIN_PATH_MAX 4096

/* Of what is about to take the place of another. */
static const char fresh[] = "_new";

void packet_inner_name(enum packet_map outer, uint32_t place, char name[PACKET_RECORD_KEY])
{
	if (place)
		snprintf(name, PACKET_RECORD_KEY, "%s_table%u", packet_map_names[outer], place);
	else
		snprintf(name, PACKET_RECORD_KEY, "%s_table", packet_map_names[outer]);
}

static void pin_path(const struct marcher_packet *handle, enum packet_map outer, uint32_t place,
                     char path[PIN_PATH_MAX])
{
	char name[PACKET_RECORD_KEY];

	packet_inner_name(outer, place, name);
	packet_dir_path(handle, path, "maps", name);
}

/* The map that is pinned there, when it has that number; or -1. */
static int pinned_as(const char *path, uint32_t id)
{
	struct bpf_map_info info;
	int fd = bpf_obj_get(path);

	if (fd >= 0 && (packet_map_info(fd, &info) || info.id != id)) {
		close(fd);
		fd = -1;
	}
	return fd;
}

int packet_inner_open(int outer, uint32_t place, const char *pin)
{
	char path[PIN_PATH_MAX];
	uint32_t id;

	if (bpf_map_lookup_elem(outer, &place, &id))
		return -errno;
	int fd = pinned_as(pin, id);
	/* Somebody died before it got its name. */
	if (fd < 0 && snprintf(path, sizeof(path), "%s%s", pin, fresh) < (int)sizeof(path))
		fd = pinned_as(path, id);
	if (fd < 0)
		fd = bpf_map_get_fd_by_id(id);
	return fd < 0 ? -errno : fd;
}

int packet_inner_own(const struct marcher_packet *handle, enum packet_map outer, uint32_t place)
{
	char path[PIN_PATH_MAX];

	pin_path(handle, outer, place, path);
	return packet_inner_open(handle->maps[outer], place, path);
}

int packet_inner_put(const struct marcher_packet *handle, enum packet_map outer, uint32_t place, int inner)
{
	char path[PIN_PATH_MAX], before[PIN_PATH_MAX];

	pin_path(handle, outer, place, path);
	if (snprintf(before, sizeof(before), "%s%s", path, fresh) >= (int)sizeof(before))
		return -ENAMETOOLONG;
	/* The one that is in force stays pinned until this one is. */
	unlink(before);
	if (bpf_obj_pin(inner, before) < 0)
		return -errno;
	int error = packet_put(handle, outer, &place, &inner);
	if (error) {
		unlink(before);
		return error;
	}
	return rename(before, path) < 0 ? -errno : 0;
}

static int unpin(const char *path)
{
	return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
}

int packet_inner_drop(const struct marcher_packet *handle, enum packet_map outer, uint32_t place)
{
	char path[PIN_PATH_MAX], before[PIN_PATH_MAX];
	int error = packet_drop(handle, outer, &place);

	pin_path(handle, outer, place, path);
	if (!error)
		error = unpin(path);
	if (!error && snprintf(before, sizeof(before), "%s%s", path, fresh) < (int)sizeof(before))
		error = unpin(before);
	return error;
}
