/* SPDX-License-Identifier: Apache-2.0 */
/* Services whose packets name their backend by QUIC connection IDs: which IDs there may be, and whose they are. */
#include "packet.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONFIG_ID_MAX 6u /* 7 says that an ID names nobody */

int packet_quic_compare(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct quic_server));
}

static uint32_t check_configs(struct packet_reasons *reasons, const char *name, size_t position,
                              const Marcher__Packet__V1__Quic *quic)
{
	char path[64];
	uint32_t configs = 0;

	snprintf(path, sizeof(path), "services[%zu].quic.config_ids", position);
	if (!quic->n_config_ids)
		packet_reason(reasons, name, path, "none; expected at least one of 0 to %u", CONFIG_ID_MAX);
	for (size_t i = 0; i < quic->n_config_ids; i++) {
		if (quic->config_ids[i] <= CONFIG_ID_MAX)
			configs |= 1u << quic->config_ids[i];
		else
			packet_reason(reasons, name, path, "%u; expected 0 to %u", quic->config_ids[i], CONFIG_ID_MAX);
	}
	return configs;
}

static int id_compare(const void *a, const void *b)
{
	const ProtobufCBinaryData *x = &(*(Marcher__Packet__V1__Backend *const *)a)->quic_server_id;
	const ProtobufCBinaryData *y = &(*(Marcher__Packet__V1__Backend *const *)b)->quic_server_id;
	size_t length = x->len < y->len ? x->len : y->len;
	int order = length ? memcmp(x->data, y->data, length) : 0;

	return order ? order : (x->len > y->len) - (x->len < y->len);
}

static void check_twice(struct packet_reasons *reasons, const char *name, size_t position,
                        const Marcher__Packet__V1__Service *service)
{
	Marcher__Packet__V1__Backend **sorted = calloc(service->n_backends + 1, sizeof(*sorted));
	char path[64];

	if (!sorted) {
		reasons->no_memory = true;
		return;
	}
	memcpy(sorted, service->backends, service->n_backends * sizeof(*sorted));
	qsort(sorted, service->n_backends, sizeof(*sorted), id_compare);
	snprintf(path, sizeof(path), "services[%zu].backends", position);
	for (size_t i = 1; i < service->n_backends; i++)
		if (sorted[i]->quic_server_id.len && !id_compare(&sorted[i - 1], &sorted[i]))
			packet_reason(reasons, name, path,
			              "two backends have the same QUIC server ID; expected another for each");
	free(sorted);
}

void packet_quic_check(struct packet_reasons *reasons, const char *name, size_t position,
                       const Marcher__Packet__V1__Service *service, struct packet_wanted_service *out)
{
	size_t length = service->n_backends ? service->backends[0]->quic_server_id.len : 0;
	char path[64];

	for (size_t i = 0; i < service->n_backends; i++) {
		size_t own = service->backends[i]->quic_server_id.len;
		snprintf(path, sizeof(path), "services[%zu].backends[%zu].quic_server_id", position, i);
		if (!service->quic && own)
			packet_reason(reasons, name, path, "%zu bytes in a service without quic; expected none", own);
		else if (service->quic && (!own || own > QUIC_SERVER_ID_MAX))
			packet_reason(reasons, name, path, "%zu bytes; expected 1 to %u", own, QUIC_SERVER_ID_MAX);
		else if (service->quic && own != length)
			packet_reason(reasons, name, path,
			              "%zu bytes, and %zu of the first backend; expected as many for all", own, length);
	}
	if (!service->quic)
		return;
	check_twice(reasons, name, position, service);
	uint32_t configs = check_configs(reasons, name, position, service->quic);
	/* Nobody can be named where there is nobody. */
	if (length && length <= QUIC_SERVER_ID_MAX)
		out->entry.flags |= SERVICE_QUIC_FLAGS(length, configs, service->quic->length_self_encoded);
}

int packet_quic_list(struct packet_wanted *wanted)
{
	wanted->quic = calloc(wanted->nbackends + 1, sizeof(*wanted->quic));
	if (!wanted->quic)
		return MARCHER_E_NO_MEMORY;
	for (uint32_t s = 0; s < wanted->nservices; s++) {
		const struct packet_wanted_service *service = &wanted->services[s];
		for (uint32_t i = 0; i < service->count; i++) {
			const struct packet_wanted_backend *backend = &wanted->backends[service->first + i];
			struct packet_quic *entry = &wanted->quic[wanted->nquic];
			if (!backend->quic_id.len)
				continue;
			entry->key.service = service->index;
			entry->key.length = (uint8_t)backend->quic_id.len;
			memcpy(entry->key.id, backend->quic_id.data, backend->quic_id.len);
			entry->backend = backend->index;
			wanted->nquic++;
		}
	}
	qsort(wanted->quic, wanted->nquic, sizeof(*wanted->quic), packet_quic_compare);
	return MARCHER_OK;
}
