/* SPDX-License-Identifier: Apache-2.0 */
/*
 * VIPs that are prefixes, from the table to the map vip_prefixes (layout.h). Each stands there under its protocol and
 * port, and each prefix once more by itself, with the number of VIPs that have it: in one list, in order of their keys,
 * like the lists of whole addresses.
 */
#include "packet.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

int packet_prefix_compare(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct vip_prefix_key));
}

bool packet_prefix_key(const struct vip_key *vip, uint32_t length, struct vip_prefix_key *out)
{
	const uint8_t *bytes = (const uint8_t *)&vip->address;
	uint32_t bits = length + (packet_address_is_v4(&vip->address) ? 96 : 0);

	*out = (struct vip_prefix_key){.length = VIP_PREFIX_BITS + bits,
	                               .port = vip->port,
	                               .protocol = vip->protocol,
	                               .address = vip->address};
	for (uint32_t bit = bits; bit < 128; bit++)
		if (bytes[bit / 8] >> (7 - bit % 8) & 1)
			return false;
	return true;
}

void packet_prefix_count(struct packet_wanted *wanted)
{
	uint32_t vips = wanted->nprefixes, n = vips;
	struct packet_prefix *list = wanted->prefixes;

	/* In the order of their keys without protocol and port the same ones stand together. */
	for (uint32_t i = 0; i < vips; i++) {
		list[n] = list[i];
		list[n].key.port = 0;
		list[n].key.protocol = 0;
		list[n++].prefix.vip.service = 1;
	}
	qsort(list + vips, n - vips, sizeof(*list), packet_prefix_compare);
	uint32_t last = vips;
	for (uint32_t i = vips + 1; i < n; i++) {
		if (packet_prefix_compare(&list[last], &list[i]))
			list[++last] = list[i];
		else
			list[last].prefix.vip.service++;
	}
	wanted->nprefixes = vips ? last + 1 : 0;
	qsort(list, wanted->nprefixes, sizeof(*list), packet_prefix_compare);
}

void packet_prefix_indices(struct packet_wanted *wanted)
{
	for (uint32_t i = 0; i < wanted->nprefixes; i++) {
		struct packet_prefix *prefix = &wanted->prefixes[i];
		if (prefix->key.protocol && prefix->prefix.vip.service != VIP_LEFT)
			prefix->prefix.vip.service = wanted->services[prefix->prefix.vip.service].index;
	}
}

static int read_settings(struct marcher_packet *handle, struct vip_settings *settings)
{
	const uint32_t index = 0;

	if (bpf_map_lookup_elem(handle->maps[MAP_VIP_SETTINGS], &index, settings))
		return packet_fail_system(handle, errno, "reading the map vip_settings");
	return MARCHER_OK;
}

static int write_settings(struct marcher_packet *handle, const struct vip_settings *settings)
{
	const uint32_t index = 0;
	int error = packet_put(handle, MAP_VIP_SETTINGS, &index, settings);

	return error ? packet_fail_system(handle, -error, "writing the map vip_settings") : MARCHER_OK;
}

int packet_prefix_setting(struct marcher_packet *handle, uint32_t prefixes)
{
	struct vip_settings settings;
	int code = read_settings(handle, &settings);

	settings.prefixes = prefixes;
	return code ? code : write_settings(handle, &settings);
}

int packet_vips_changed(struct marcher_packet *handle)
{
	struct vip_settings settings;
	int code = read_settings(handle, &settings);

	settings.changes++;
	return code ? code : write_settings(handle, &settings);
}
