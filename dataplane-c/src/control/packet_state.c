/* SPDX-License-Identifier: Apache-2.0 */
/* What the maps hold, read back: an agent that starts anew, or whose last write failed, goes on from the maps. */
#include "packet.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

bool packet_address(struct address *out, const ProtobufCBinaryData *bytes)
{
	memset(out, 0, sizeof(*out));
	if (bytes->len == 4) {
		out->word[2] = htonl(0xffff);
		memcpy(&out->word[3], bytes->data, 4);
		return true;
	}
	if (bytes->len != 16)
		return false;
	memcpy(out, bytes->data, 16);
	return true;
}

bool packet_address_is_v4(const struct address *address)
{
	return !address->word[0] && !address->word[1] && address->word[2] == htonl(0xffff);
}

/* Addresses come first in what is compared. */
int packet_address_compare(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct address));
}

int packet_vip_compare(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct vip_key));
}

void packet_state_free_lists(struct packet_state *state)
{
	free(state->vips);
	free(state->vip_addresses);
	free(state->prefixes);
	free(state->decapsulated);
	free(state->quic);
	free(state->vlans);
}

void packet_state_free(struct packet_state *state)
{
	for (uint32_t i = 0; state->services && i < SERVICES_MAX; i++)
		free(state->services[i]);
	for (uint32_t i = 0; state->backends && i < BACKENDS_MAX; i++)
		free(state->backends[i]);
	free(state->services);
	free(state->backends);
	packet_state_free_lists(state);
	memset(state, 0, sizeof(*state));
}

static int failed(struct marcher_packet *handle, enum packet_map map, int error)
{
	return error == -ENOMEM ? packet_fail(handle, MARCHER_E_NO_MEMORY, "no memory")
	                        : packet_fail_system(handle, -error, "reading the map %s", packet_map_names[map]);
}

/* Every entry of a hash map or trie, each as key and value without a gap, in order; never NULL. Nobody else writes
 * these maps, so the walk sees each entry once. Returns 0 or -errno. */
static int read_hash(const struct marcher_packet *handle, enum packet_map map, size_t key_size, size_t value_size,
                     size_t limit, int (*compare)(const void *, const void *), void **out, uint32_t *count)
{
	size_t pair = key_size + value_size, room = 64;
	uint8_t key[64], next[64];
	uint8_t *list = malloc(room * pair);
	void *at = NULL;
	int error;

	*out = NULL;
	*count = 0;
	if (!list)
		return -ENOMEM;
	for (;;) {
		if (bpf_map_get_next_key(handle->maps[map], at, next)) {
			if (errno != ENOENT)
				goto failed;
			qsort(list, *count, pair, compare);
			*out = list;
			return 0;
		}
		memcpy(key, next, key_size);
		at = key;
		if (*count >= limit) {
			errno = E2BIG;
			goto failed;
		}
		if (*count == room) {
			room *= 2;
			uint8_t *more = realloc(list, room * pair);
			if (!more) {
				errno = ENOMEM;
				goto failed;
			}
			list = more;
		}
		uint8_t *entry = list + *count * pair;
		memcpy(entry, key, key_size);
		if (bpf_map_lookup_elem(handle->maps[map], key, entry + key_size))
			goto failed;
		++*count;
	}
failed:
	error = errno;
	free(list);
	return error ? -error : -EIO;
}

/* The entries lie as key and value without a gap: the structures must, too. */
_Static_assert(sizeof(struct packet_vip) == sizeof(struct vip_key) + sizeof(struct vip), "no padding");
_Static_assert(sizeof(struct packet_vip_address) == sizeof(struct address) + sizeof(uint32_t), "no padding");
_Static_assert(sizeof(struct packet_prefix) == sizeof(struct vip_prefix_key) + sizeof(struct vip_prefix), "no padding");
_Static_assert(sizeof(struct packet_decap) == sizeof(struct address) + sizeof(struct decap), "no padding");
_Static_assert(sizeof(struct packet_quic) == sizeof(struct quic_server) + sizeof(uint32_t), "no padding");
_Static_assert(sizeof(struct packet_vlan) == sizeof(uint32_t) + sizeof(struct vlan_device), "no padding");

static int read_services(struct marcher_packet *handle)
{
	struct packet_state *state = &handle->state;
	struct service_record record;
	uint32_t key, *at = NULL;

	for (; !bpf_map_get_next_key(handle->maps[MAP_SERVICE_RECORDS], at, &key); at = &key) {
		if (key >= SERVICES_MAX || state->services[key])
			continue;
		if (bpf_map_lookup_elem(handle->maps[MAP_SERVICE_RECORDS], &key, &record))
			return failed(handle, MAP_SERVICE_RECORDS, -errno);
		struct packet_service *service = calloc(1, sizeof(*service));
		if (!service)
			return failed(handle, MAP_SERVICE_RECORDS, -ENOMEM);
		state->services[key] = service;
		state->nservices++;
		service->index = key;
		service->record = record;
		service->record.name[PACKET_SERVICE_NAME_MAX] = '\0';
		if (bpf_map_lookup_elem(handle->maps[MAP_SERVICES], &key, &service->entry))
			return failed(handle, MAP_SERVICES, -errno);
		if (bpf_map_lookup_elem(handle->maps[MAP_POLICIES], &key, &service->policy))
			return failed(handle, MAP_POLICIES, -errno);
	}
	return errno == ENOENT ? MARCHER_OK : failed(handle, MAP_SERVICE_RECORDS, -errno);
}

static int read_backends(struct marcher_packet *handle)
{
	struct packet_state *state = &handle->state;
	struct backend_record record;
	uint32_t key, *at = NULL;

	for (; !bpf_map_get_next_key(handle->maps[MAP_BACKEND_RECORDS], at, &key); at = &key) {
		if (!key || key >= BACKENDS_MAX || state->backends[key])
			continue;
		if (bpf_map_lookup_elem(handle->maps[MAP_BACKEND_RECORDS], &key, &record))
			return failed(handle, MAP_BACKEND_RECORDS, -errno);
		size_t length = strnlen(record.name, PACKET_BACKEND_NAME_MAX);
		struct packet_backend *backend = calloc(1, sizeof(*backend) + length + 1);
		if (!backend)
			return failed(handle, MAP_BACKEND_RECORDS, -ENOMEM);
		state->backends[key] = backend;
		state->nbackends++;
		backend->index = key;
		backend->service = record.service;
		backend->carried = record.carried;
		memcpy(backend->name, record.name, length);
		if (bpf_map_lookup_elem(handle->maps[MAP_BACKENDS], &key, &backend->entry))
			return failed(handle, MAP_BACKENDS, -errno);
	}
	return errno == ENOENT ? MARCHER_OK : failed(handle, MAP_BACKEND_RECORDS, -errno);
}

static int read_all(struct marcher_packet *handle)
{
	struct packet_state *state = &handle->state;
	void *list;

	state->services = calloc(SERVICES_MAX, sizeof(struct packet_service *));
	state->backends = calloc(BACKENDS_MAX, sizeof(struct packet_backend *));
	if (!state->services || !state->backends)
		return packet_fail(handle, MARCHER_E_NO_MEMORY, "no memory");
	int code = read_services(handle);
	if (!code)
		code = read_backends(handle);
	if (code)
		return code;
	int error = read_hash(handle, MAP_VIPS, sizeof(struct vip_key), sizeof(struct vip), VIPS_MAX,
	                      packet_vip_compare, &list, &state->nvips);
	if (error)
		return failed(handle, MAP_VIPS, error);
	state->vips = list;
	error = read_hash(handle, MAP_VIP_ADDRESSES, sizeof(struct address), sizeof(uint32_t), VIPS_MAX,
	                  packet_address_compare, &list, &state->nvip_addresses);
	if (error)
		return failed(handle, MAP_VIP_ADDRESSES, error);
	state->vip_addresses = list;
	error = read_hash(handle, MAP_VIP_PREFIXES, sizeof(struct vip_prefix_key), sizeof(struct vip_prefix),
	                  2 * VIPS_MAX, packet_prefix_compare, &list, &state->nprefixes);
	if (error)
		return failed(handle, MAP_VIP_PREFIXES, error);
	state->prefixes = list;
	error = read_hash(handle, MAP_DECAP_ADDRESSES, sizeof(struct address), sizeof(struct decap),
	                  DECAP_ADDRESSES_MAX, packet_address_compare, &list, &state->ndecapsulated);
	if (error)
		return failed(handle, MAP_DECAP_ADDRESSES, error);
	state->decapsulated = list;
	error = read_hash(handle, MAP_QUIC_SERVERS, sizeof(struct quic_server), sizeof(uint32_t), BACKENDS_MAX,
	                  packet_quic_compare, &list, &state->nquic);
	if (error)
		return failed(handle, MAP_QUIC_SERVERS, error);
	state->quic = list;
	error = read_hash(handle, MAP_VLAN_DEVICES, sizeof(uint32_t), sizeof(struct vlan_device), VLAN_DEVICES_MAX,
	                  packet_vlan_compare, &list, &state->nvlans);
	if (error)
		return failed(handle, MAP_VLAN_DEVICES, error);
	state->vlans = list;
	return MARCHER_OK;
}

int packet_state_read(struct marcher_packet *handle)
{
	pthread_mutex_lock(&handle->table_lock);
	packet_state_free(&handle->state);
	int code = read_all(handle);
	if (code) {
		packet_state_free(&handle->state);
		handle->state.stale = true;
	}
	pthread_mutex_unlock(&handle->table_lock);
	return code;
}
