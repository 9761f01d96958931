/* SPDX-License-Identifier: Apache-2.0 */
/* Maps whose whole contents are known as sorted lists: both are walked through beside each other. */
#include "packet_apply.h"

#include <stdlib.h>
#include <string.h>

struct entries {
	enum packet_map map;
	size_t key_size, size;
	int (*compare)(const void *, const void *);
};

static const struct entries vip_entries = {MAP_VIPS, sizeof(struct vip_key), sizeof(struct packet_vip),
                                           packet_vip_compare};
static const struct entries address_entries = {MAP_VIP_ADDRESSES, sizeof(struct address),
                                               sizeof(struct packet_vip_address), packet_address_compare};
static const struct entries prefix_entries = {MAP_VIP_PREFIXES, sizeof(struct vip_prefix_key),
                                              sizeof(struct packet_prefix), packet_prefix_compare};
static const struct entries decap_entries = {MAP_DECAP_ADDRESSES, sizeof(struct address), sizeof(struct packet_decap),
                                             packet_address_compare};

static const struct entries vlan_entries = {MAP_VLAN_DEVICES, sizeof(uint32_t), sizeof(struct packet_vlan),
                                            packet_vlan_compare};

static const struct entries quic_entries = {MAP_QUIC_SERVERS, sizeof(struct quic_server), sizeof(struct packet_quic),
                                            packet_quic_compare};

/* Writes those of the new list that differ from the old one. */
static int put_new(struct marcher_packet *handle, const struct entries *kind, const void *old, uint32_t nold,
                   const void *new, uint32_t nnew)
{
	for (uint32_t i = 0, at = 0; i < nnew; i++) {
		const char *entry = (const char *)new + i * kind->size;
		while (at < nold && kind->compare((const char *)old + at * kind->size, entry) < 0)
			at++;
		if (at < nold && !memcmp((const char *)old + at * kind->size, entry, kind->size))
			continue;
		int code = packet_apply_put(handle, kind->map, entry, entry + kind->key_size);
		if (code)
			return code;
	}
	return MARCHER_OK;
}

static int drop_old(struct marcher_packet *handle, const struct entries *kind, const void *old, uint32_t nold,
                    const void *new, uint32_t nnew)
{
	for (uint32_t i = 0, at = 0; i < nold; i++) {
		const char *entry = (const char *)old + i * kind->size;
		while (at < nnew && kind->compare((const char *)new + at * kind->size, entry) < 0)
			at++;
		if (at < nnew && !kind->compare((const char *)new + at * kind->size, entry))
			continue;
		int code = packet_apply_drop(handle, kind->map, entry);
		if (code)
			return code;
	}
	return MARCHER_OK;
}

/* What the programs have kept of VIPs is void from now on, also where only a part could be written, and where another
 * agent was killed before it came to say so. */
static int vips_changed(struct marcher_packet *handle, int code)
{
	int said = packet_vips_changed(handle);

	return code ? code : said;
}

int packet_apply_put_vips(struct marcher_packet *handle, const struct packet_wanted *w)
{
	const struct packet_state *s = &handle->state;
	int code = put_new(handle, &vlan_entries, s->vlans, s->nvlans, w->vlans, w->nvlans);

	if (!code)
		code = put_new(handle, &address_entries, s->vip_addresses, s->nvip_addresses, w->vip_addresses,
		               w->nvip_addresses);
	if (!code)
		code = put_new(handle, &vip_entries, s->vips, s->nvips, w->vips, w->nvips);
	if (!code && w->nprefixes)
		code = packet_prefix_setting(handle, w->nprefixes);
	if (!code)
		code = put_new(handle, &prefix_entries, s->prefixes, s->nprefixes, w->prefixes, w->nprefixes);
	code = vips_changed(handle, code);
	return code ? code
	            : put_new(handle, &decap_entries, s->decapsulated, s->ndecapsulated, w->decapsulated,
	                      w->ndecapsulated);
}

int packet_apply_drop_vips(struct marcher_packet *handle, const struct packet_wanted *w)
{
	const struct packet_state *s = &handle->state;
	int code = drop_old(handle, &prefix_entries, s->prefixes, s->nprefixes, w->prefixes, w->nprefixes);

	if (!code && !w->nprefixes)
		code = packet_prefix_setting(handle, 0);
	if (!code)
		code = drop_old(handle, &vip_entries, s->vips, s->nvips, w->vips, w->nvips);
	code = vips_changed(handle, code);
	if (!code)
		code = drop_old(handle, &address_entries, s->vip_addresses, s->nvip_addresses, w->vip_addresses,
		                w->nvip_addresses);
	if (!code)
		code = drop_old(handle, &vlan_entries, s->vlans, s->nvlans, w->vlans, w->nvlans);
	return code ? code
	            : drop_old(handle, &decap_entries, s->decapsulated, s->ndecapsulated, w->decapsulated,
	                       w->ndecapsulated);
}

int packet_apply_put_quic(struct marcher_packet *handle, struct packet_wanted *w)
{
	const struct packet_state *s = &handle->state;
	int code = packet_quic_list(w);

	if (code)
		return packet_fail(handle, MARCHER_E_NO_MEMORY, "no memory");
	code = put_new(handle, &quic_entries, s->quic, s->nquic, w->quic, w->nquic);
	return code ? code : drop_old(handle, &quic_entries, s->quic, s->nquic, w->quic, w->nquic);
}

void packet_apply_take_lists(struct packet_state *state, struct packet_wanted *wanted)
{
	packet_state_free_lists(state);
	state->vips = wanted->vips;
	state->nvips = wanted->nvips;
	state->vip_addresses = wanted->vip_addresses;
	state->nvip_addresses = wanted->nvip_addresses;
	state->prefixes = wanted->prefixes;
	state->nprefixes = wanted->nprefixes;
	state->decapsulated = wanted->decapsulated;
	state->ndecapsulated = wanted->ndecapsulated;
	wanted->vips = NULL;
	wanted->vip_addresses = NULL;
	wanted->prefixes = NULL;
	wanted->decapsulated = NULL;
	state->quic = wanted->quic;
	state->nquic = wanted->nquic;
	wanted->quic = NULL;
	state->vlans = wanted->vlans;
	state->nvlans = wanted->nvlans;
	wanted->vlans = NULL;
}
