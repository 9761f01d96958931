/* SPDX-License-Identifier: Apache-2.0 */
#include "packet_holder.h"

#include <dirent.h>
#include <mntent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIN_PATH_MAX 4096
#define DEPTH_MAX 5
#define ENTRIES_MAX 4096
#define PINS_MAX 4
#define PIN_NAME_SIZE 96

struct search {
	struct stat own; /* our pin directory, which may be mounted at several places */
	char pins[PINS_MAX][PIN_NAME_SIZE];
	uint32_t npins;
	unsigned entries; /* looked at */
	char found[PIN_PATH_MAX];
};

/* Of any layout: v1, v2 and so on. */
static bool is_layout(const char *name)
{
	return name[0] == 'v' && name[1] && strspn(name + 1, "0123456789") == strlen(name + 1);
}

static bool has_pin(const struct search *search, const char *path, const char *layout)
{
	char pin[PIN_PATH_MAX];

	for (uint32_t i = 0; i < search->npins; i++)
		if (snprintf(pin, sizeof(pin), "%s/%s/%s", path, layout, search->pins[i]) < (int)sizeof(pin) &&
		    access(pin, F_OK) == 0)
			return true;
	return false;
}

/* path is of PIN_PATH_MAX bytes, and as before afterwards. Symbolic links are not followed. */
static void look_into(struct search *search, char *path, unsigned depth)
{
	const size_t length = strlen(path);
	struct dirent *entry;
	struct stat st;
	DIR *directory = opendir(path);

	if (!directory || fstat(dirfd(directory), &st) < 0 ||
	    (st.st_dev == search->own.st_dev && st.st_ino == search->own.st_ino)) {
		if (directory)
			closedir(directory);
		return;
	}
	while (!*search->found && search->entries < ENTRIES_MAX && (entry = readdir(directory))) {
		search->entries++;
		if (entry->d_name[0] == '.' || entry->d_type != DT_DIR)
			continue;
		if (is_layout(entry->d_name)) {
			if (has_pin(search, path, entry->d_name))
				memcpy(search->found, path, length + 1);
		} else if (depth < DEPTH_MAX && snprintf(path + length, PIN_PATH_MAX - length, "/%s", entry->d_name) <
		                                        (int)(PIN_PATH_MAX - length)) {
			look_into(search, path, depth + 1);
		}
		path[length] = '\0';
	}
	closedir(directory);
}

static void look_everywhere(struct search *search)
{
	char path[PIN_PATH_MAX], strings[2 * PIN_PATH_MAX];
	struct mntent mount;
	FILE *mounts = setmntent("/proc/thread-self/mounts", "re");

	if (!mounts)
		return;
	while (!*search->found && getmntent_r(mounts, &mount, strings, sizeof(strings)))
		if (!strcmp(mount.mnt_type, "bpf") &&
		    snprintf(path, sizeof(path), "%s", mount.mnt_dir) < (int)sizeof(path))
			look_into(search, path, 0);
	endmntent(mounts);
}

static void find(struct search *search, const struct marcher_packet *handle, uint32_t index, const char *const *pins,
                 uint32_t npins)
{
	*search = (struct search){.npins = npins < PINS_MAX ? npins : PINS_MAX};
	for (uint32_t i = 0; i < search->npins; i++)
		snprintf(search->pins[i], PIN_NAME_SIZE, pins[i], packet_network_namespace(), index);
	if (stat(handle->pin_dir, &search->own) == 0)
		look_everywhere(search);
}

bool packet_holder_seen(const struct marcher_packet *handle, uint32_t index, const char *const *pins, uint32_t npins)
{
	struct search search;

	find(&search, handle, index, pins, npins);
	return *search.found;
}

void packet_holder_tell(const struct marcher_packet *handle, uint32_t index, const char *const *pins, uint32_t npins,
                        const char *left_over, char text[HOLDER_TEXT_SIZE])
{
	struct search search;

	find(&search, handle, index, pins, npins);
	if (*search.found)
		snprintf(text, HOLDER_TEXT_SIZE,
		         "another Marcher's, of --bpf-dir %.80s: end that one (marcher uninstall-dataplane), or leave "
		         "the interface out",
		         search.found);
	else
		snprintf(text, HOLDER_TEXT_SIZE,
		         "another Marcher's, whose pins are not seen from here: end that one, or leave the interface "
		         "out%s%.70s",
		         *left_over ? "; if there is none: " : "", left_over);
}
