/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot_wire.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Field numbers of marcher.engine.v1.Snapshot and of Service.name. */
enum {
	FIELD_GENERATION = 1,
	FIELD_BASE = 2,
	FIELD_NODE = 3,
	FIELD_SERVICE = 4,
	FIELD_REMOVED = 5,
	FIELD_SERVICE_NAME = 1
};
enum { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_LENGTH = 2, WIRE_FIXED32 = 5 };

struct field {
	uint32_t number;
	uint32_t type;
	uint64_t value;     /* varint */
	struct bytes body;  /* length-delimited */
	struct bytes whole; /* with its key */
};

static bool varint_read(const uint8_t **at, const uint8_t *end, uint64_t *value)
{
	uint64_t v = 0;

	for (unsigned shift = 0; shift < 64; shift += 7) {
		if (*at == end)
			return false;
		uint8_t byte = *(*at)++;
		v |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80)) {
			*value = v;
			return true;
		}
	}
	return false;
}

/* The next field of [*at, end). Returns 1, 0 at the end, -EBADMSG. */
static int field_next(const uint8_t **at, const uint8_t *end, struct field *field)
{
	const uint8_t *start = *at;
	uint64_t key, length;

	if (start == end)
		return 0;
	if (!varint_read(at, end, &key) || key >> 3 == 0 || key >> 32)
		return -EBADMSG;
	field->number = (uint32_t)(key >> 3);
	field->type = (uint32_t)(key & 7);
	field->value = 0;
	field->body = (struct bytes){0};
	switch (field->type) {
	case WIRE_VARINT:
		if (!varint_read(at, end, &field->value))
			return -EBADMSG;
		break;
	case WIRE_FIXED64:
	case WIRE_FIXED32:
		length = field->type == WIRE_FIXED64 ? 8 : 4;
		if ((uint64_t)(end - *at) < length)
			return -EBADMSG;
		*at += length;
		break;
	case WIRE_LENGTH:
		if (!varint_read(at, end, &length) || length > (uint64_t)(end - *at))
			return -EBADMSG;
		field->body = (struct bytes){*at, length};
		*at += length;
		break;
	default:
		return -EBADMSG;
	}
	field->whole = (struct bytes){start, (size_t)(*at - start)};
	return 1;
}

int snapshot_head_read(const uint8_t *data, size_t length, struct snapshot_head *head)
{
	const uint8_t *at = data, *end = data + length;
	struct field field;
	int more;

	*head = (struct snapshot_head){0};
	while ((more = field_next(&at, end, &field)) > 0) {
		if (field.number == FIELD_GENERATION && field.type == WIRE_VARINT)
			head->generation = field.value;
		else if (field.number == FIELD_BASE && field.type == WIRE_VARINT)
			head->base_generation = field.value;
	}
	return more;
}

/* Services by name: open addressing over an array that keeps their order. */
struct service {
	struct bytes name;
	struct bytes whole; /* data NULL: removed */
};

struct service_set {
	struct service *items;
	size_t count, capacity;
	uint32_t *table; /* index + 1; 0: free */
	size_t table_size;
};

static uint64_t name_hash(struct bytes name)
{
	uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a */

	for (size_t i = 0; i < name.length; i++)
		hash = (hash ^ name.data[i]) * 0x100000001b3u;
	return hash ^ hash >> 32;
}

static uint32_t *set_place(const struct service_set *set, struct bytes name)
{
	size_t at = name_hash(name) & (set->table_size - 1);

	while (set->table[at]) {
		const struct bytes *other = &set->items[set->table[at] - 1].name;
		if (other->length == name.length && (!name.length || !memcmp(other->data, name.data, name.length)))
			break;
		at = (at + 1) & (set->table_size - 1);
	}
	return &set->table[at];
}

static int set_grow(struct service_set *set)
{
	size_t capacity = set->capacity ? set->capacity * 2 : 256;
	struct service *items = realloc(set->items, capacity * sizeof(*items));

	if (!items)
		return -ENOMEM;
	set->items = items;
	uint32_t *table = calloc(capacity * 2, sizeof(*table));
	if (!table)
		return -ENOMEM;
	free(set->table);
	set->table = table;
	set->table_size = capacity * 2;
	set->capacity = capacity;
	for (size_t i = 0; i < set->count; i++)
		*set_place(set, set->items[i].name) = (uint32_t)i + 1;
	return 0;
}

static int set_put(struct service_set *set, struct bytes name, struct bytes whole)
{
	if (set->count == set->capacity) {
		int error = set_grow(set);
		if (error)
			return error;
	}
	uint32_t *place = set_place(set, name);
	if (!*place) {
		if (!whole.data)
			return 0;
		set->items[set->count].name = name;
		*place = (uint32_t)++set->count;
	}
	set->items[*place - 1].whole = whole;
	return 0;
}

static int service_name(struct bytes service, struct bytes *name)
{
	const uint8_t *at = service.data, *end = at + service.length;
	struct field field;
	int more;

	*name = (struct bytes){0};
	while ((more = field_next(&at, end, &field)) > 0)
		if (field.number == FIELD_SERVICE_NAME && field.type == WIRE_LENGTH) {
			*name = field.body;
			return 0; /* it comes first: the rest need not be walked */
		}
	return more;
}

static int merge_frame(struct service_set *set, struct bytes frame, struct bytes *node, uint64_t *generation)
{
	struct bytes name;
	struct field field;
	int more, error = 0;

	/* Removals first: a service that is removed and given in one delta is given. */
	for (int pass = 0; pass < 2; pass++) {
		const uint8_t *at = frame.data, *end = at + frame.length;
		while ((more = field_next(&at, end, &field)) > 0) {
			if (pass == 0) {
				if (field.number == FIELD_REMOVED && field.type == WIRE_LENGTH)
					error = set_put(set, field.body, (struct bytes){0});
			} else if (field.number == FIELD_SERVICE && field.type == WIRE_LENGTH) {
				error = service_name(field.body, &name);
				if (!error)
					error = set_put(set, name, field.whole);
			} else if (field.number == FIELD_NODE && field.type == WIRE_LENGTH) {
				*node = field.whole;
			} else if (field.number == FIELD_GENERATION && field.type == WIRE_VARINT) {
				*generation = field.value;
			}
			if (error)
				return error;
		}
		if (more < 0)
			return more;
	}
	return 0;
}

int snapshot_merge(const struct bytes *frames, size_t count, uint8_t **merged, size_t *length)
{
	struct service_set set = {0};
	struct bytes node = {0};
	uint64_t generation = 0;
	int error = 0;

	for (size_t i = 0; i < count && !error; i++)
		error = merge_frame(&set, frames[i], &node, &generation);

	size_t size = 16 + node.length;
	for (size_t i = 0; i < set.count; i++)
		size += set.items[i].whole.length;
	uint8_t *out = error ? NULL : malloc(size);
	if (!error && !out)
		error = -ENOMEM;
	if (!error) {
		uint8_t *at = out;
		*at++ = FIELD_GENERATION << 3 | WIRE_VARINT;
		for (; generation >= 0x80; generation >>= 7)
			*at++ = (uint8_t)generation | 0x80;
		*at++ = (uint8_t)generation;
		if (node.length)
			at = (uint8_t *)memcpy(at, node.data, node.length) + node.length;
		for (size_t i = 0; i < set.count; i++) {
			struct bytes whole = set.items[i].whole;
			if (whole.length)
				at = (uint8_t *)memcpy(at, whole.data, whole.length) + whole.length;
		}
		*merged = out;
		*length = (size_t)(at - out);
	}
	free(set.items);
	free(set.table);
	return error;
}
