/* SPDX-License-Identifier: Apache-2.0 */
#include "packet_walk.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#define AT_ONCE 4096u /* more where a bucket of the hash has more */
#define AT_ONCE_MAX (1u << 20)

struct room {
	uint32_t entries;
	void *keys, *values;
};

static void let_go(struct room *room)
{
	free(room->keys);
	free(room->values);
	room->keys = room->values = NULL;
}

static int make(struct room *room, uint32_t entries, size_t key_size, size_t value_size)
{
	let_go(room);
	room->entries = entries;
	room->keys = calloc(entries, key_size);
	room->values = calloc(entries, value_size);
	return room->keys && room->values ? 0 : -ENOMEM;
}

int packet_walk(int map, size_t key_size, size_t value_size,
                int (*take)(void *argument, void *keys, void *values, uint32_t count), void *argument)
{
	LIBBPF_OPTS(bpf_map_batch_opts, options);
	struct room room = {0};
	uint32_t batch = 0;
	bool started = false, ended = false;
	int error = make(&room, AT_ONCE, key_size, value_size);

	while (!error && !ended) {
		uint32_t count = room.entries;
		int failed = bpf_map_lookup_batch(map, started ? &batch : NULL, &batch, room.keys, room.values, &count,
		                                  &options)
		                     ? errno
		                     : 0;
		if (failed == ENOSPC && room.entries < AT_ONCE_MAX) {
			error = make(&room, room.entries * 4, key_size, value_size);
			continue;
		}
		if (failed && failed != ENOENT) {
			error = -failed;
			break;
		}
		ended = failed == ENOENT;
		started = true;
		error = take(argument, room.keys, room.values, count);
	}
	let_go(&room);
	return error;
}
