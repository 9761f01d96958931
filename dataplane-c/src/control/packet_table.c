/* SPDX-License-Identifier: Apache-2.0 */
/* Is a table one that can be in force? Every reason against it at once, each with its path. Touches no map. */
#include "packet.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "packet_guard.h"
#include "packet_policy.h"
#include "packet_ring.h"

#define GUE_PORT_DEFAULT 6080u /* IANA's */
#define MTU_MIN 1280u          /* every IPv6 link's; what is left beside an outer header carries IPv4 */

typedef Marcher__Packet__V1__Table Table;
typedef Marcher__Packet__V1__Service Service;
typedef Marcher__Packet__V1__Backend Backend;
typedef Marcher__Packet__V1__Vip Vip;

void packet_reason(struct packet_reasons *reasons, const char *service, const char *path, const char *format, ...)
{
	char text[512];
	va_list arguments;

	if (reasons->count == PACKET_REASONS_MAX || reasons->no_memory)
		return;
	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	Marcher__Packet__V1__Reason *reason = calloc(1, sizeof(*reason));
	if (reason) {
		marcher__packet__v1__reason__init(reason);
		reason->path = strdup(path);
		reason->reason = strdup(text);
		reason->service = strdup(service);
		reasons->list[reasons->count++] = reason;
	}
	reasons->no_memory = !reason || !reason->path || !reason->reason || !reason->service;
}

void packet_reasons_free(struct packet_reasons *reasons)
{
	for (size_t i = 0; i < reasons->count; i++) {
		free(reasons->list[i]->path);
		free(reasons->list[i]->reason);
		free(reasons->list[i]->service);
		free(reasons->list[i]);
	}
	reasons->count = 0;
}

void packet_wanted_free(struct packet_wanted *wanted)
{
	free(wanted->services);
	free(wanted->backends);
	free(wanted->vips);
	free(wanted->vip_addresses);
	free(wanted->prefixes);
	free(wanted->decapsulated);
	free(wanted->quic);
	free(wanted->vlans);
	packet_guard_tables_free(wanted->guard);
	memset(wanted, 0, sizeof(*wanted));
}

/* Where in the message something stands, and what is needed to say so. */
struct place {
	struct packet_reasons *reasons;
	const char *service; /* "" while its name is not known to be text */
	char path[64];
};

/* Also of text that is no UTF-8: a reason has to be. */
static bool name_is_text(const char *name, size_t max)
{
	size_t length = strnlen(name, max + 1);

	if (!length || length > max)
		return false;
	for (size_t i = 0; i < length; i++)
		if ((unsigned char)name[i] <= ' ' || (unsigned char)name[i] > '~')
			return false;
	return true;
}

static void check_name(const struct place *at, const char *name, size_t max)
{
	if (!name_is_text(name, max))
		packet_reason(at->reasons, at->service, at->path,
		              "the name has %zu bytes; expected 1 to %zu printable ASCII characters without spaces",
		              strlen(name), max);
}

static const char *address_text(const struct address *address, char text[INET6_ADDRSTRLEN])
{
	bool v4 = packet_address_is_v4(address);

	return inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? (const void *)&address->word[3] : (const void *)address, text,
	                 INET6_ADDRSTRLEN);
}

static bool check_address(const struct place *at, const ProtobufCBinaryData *bytes, struct address *out)
{
	char text[INET6_ADDRSTRLEN];

	if (!packet_address(out, bytes)) {
		packet_reason(at->reasons, at->service, at->path,
		              "an address of %zu bytes; expected 4 (IPv4) or 16 (IPv6) in network order", bytes->len);
		return false;
	}
	const uint8_t *b = (const uint8_t *)out;
	bool v4 = packet_address_is_v4(out);
	bool none = v4 ? !out->word[3] : !out->word[0] && !out->word[1] && !out->word[2] && !out->word[3];
	bool many = v4 ? b[12] >= 224 : b[0] == 0xff;
	if (none || many)
		packet_reason(at->reasons, at->service, at->path, "%s is %s; expected the address of one host",
		              address_text(out, text), none ? "no address" : "a multicast or reserved address");
	return !none && !many;
}

/* A whole address goes to vips, a prefix to prefixes. */
static void check_vip(struct place *at, const Vip *vip, uint32_t service, struct packet_wanted *wanted)
{
	struct packet_vip out = {.vip.service = service};
	bool good = check_address(at, &vip->address, &out.key.address);
	uint32_t bits = (uint32_t)vip->address.len * 8;

	if (vip->transport != MARCHER__PACKET__V1__TRANSPORT__TRANSPORT_TCP &&
	    vip->transport != MARCHER__PACKET__V1__TRANSPORT__TRANSPORT_UDP)
		packet_reason(at->reasons, at->service, at->path, "transport %d; expected TCP (1) or UDP (2)",
		              (int)vip->transport);
	if (vip->port > 65535)
		packet_reason(at->reasons, at->service, at->path, "port %u; expected 1 to 65535, or 0 for every port",
		              vip->port);
	out.key.port = htons((uint16_t)vip->port);
	out.key.protocol = vip->transport == MARCHER__PACKET__V1__TRANSPORT__TRANSPORT_TCP ? IPPROTO_TCP : IPPROTO_UDP;
	if (good && vip->prefix_length > bits)
		packet_reason(at->reasons, at->service, at->path,
		              "a prefix of %u bits; expected 1 to %u, or 0 for a whole address", vip->prefix_length,
		              bits);
	if (!good || !vip->prefix_length || vip->prefix_length >= bits) {
		wanted->vips[wanted->nvips++] = out;
		return;
	}
	struct packet_prefix *prefix = &wanted->prefixes[wanted->nprefixes++];
	if (!packet_prefix_key(&out.key, vip->prefix_length, &prefix->key))
		packet_reason(at->reasons, at->service, at->path,
		              "bits of the address are set behind the %u of the prefix; expected its first address",
		              vip->prefix_length);
	prefix->prefix = (struct vip_prefix){.vip = out.vip, .length = prefix->key.length};
}

static bool has_v6_vip(const Service *service)
{
	struct address address;

	for (size_t i = 0; i < service->n_vips; i++)
		if (packet_address(&address, &service->vips[i]->address) && !packet_address_is_v4(&address))
			return true;
	return false;
}

static void check_backend(struct place *at, const Backend *backend, bool v6_in_ipip, struct packet_wanted_backend *out)
{
	check_name(at, backend->name, PACKET_BACKEND_NAME_MAX);
	if (check_address(at, &backend->address, &out->address) && v6_in_ipip && packet_address_is_v4(&out->address))
		packet_reason(at->reasons, at->service, at->path,
		              "the service has an IPv6 VIP, and IPIP carries no IPv6 in IPv4: give this backend's IPv6 "
		              "address, or forward by GUE");
	if (backend->weight > PACKET_WEIGHT_MAX)
		packet_reason(at->reasons, at->service, at->path, "weight %u; at most %u", backend->weight,
		              PACKET_WEIGHT_MAX);
	out->name = backend->name;
	out->weight = backend->weight;
	out->dead = backend->dead;
	if (backend->port > 65535)
		packet_reason(at->reasons, at->service, at->path,
		              "port %u; expected 1 to 65535, or 0 for the one that packets come to", backend->port);
	out->port = htons((uint16_t)backend->port);
	out->quic_id = backend->quic_server_id;
	out->in_ring = backend->usable && !backend->dead && backend->weight;
}

static int backend_compare(const void *a, const void *b)
{
	const struct packet_wanted_backend *x = a, *y = b;
	int order = strcmp(x->name, y->name);

	return order ? order : packet_address_compare(&x->address, &y->address);
}

static void check_backends(struct place *at, const Service *service, bool v6_in_ipip, size_t position,
                           struct packet_wanted *wanted, struct packet_wanted_service *out)
{
	char text[INET6_ADDRSTRLEN];

	out->first = wanted->nbackends;
	out->count = (uint32_t)service->n_backends;
	for (size_t i = 0; i < service->n_backends; i++) {
		snprintf(at->path, sizeof(at->path), "services[%zu].backends[%zu]", position, i);
		check_backend(at, service->backends[i], v6_in_ipip, &wanted->backends[wanted->nbackends++]);
	}
	struct packet_wanted_backend *first = wanted->backends + out->first;
	qsort(first, out->count, sizeof(*first), backend_compare);
	snprintf(at->path, sizeof(at->path), "services[%zu].backends", position);
	for (uint32_t i = 1; i < out->count; i++)
		if (!backend_compare(&first[i - 1], &first[i]) && name_is_text(first[i].name, PACKET_BACKEND_NAME_MAX))
			packet_reason(at->reasons, at->service, at->path, "%.*s with the address %s is there twice",
			              PACKET_BACKEND_NAME_MAX, first[i].name, address_text(&first[i].address, text));
}

/* What only NAT can do, and what it cannot. */
static void check_nat(struct place *at, const Service *service, size_t position)
{
	bool nat = service->forwarding == MARCHER__PACKET__V1__FORWARDING__FORWARDING_NAT;
	bool v4 = false, v6 = false;
	struct address address;

	for (size_t i = 0; i < service->n_vips; i++)
		if (packet_address(&address, &service->vips[i]->address))
			*(packet_address_is_v4(&address) ? &v4 : &v6) = true;
	for (size_t i = 0; i < service->n_backends; i++) {
		snprintf(at->path, sizeof(at->path), "services[%zu].backends[%zu]", position, i);
		if (!nat && service->backends[i]->port)
			packet_reason(at->reasons, at->service, at->path,
			              "a port of its own, which only NAT can send packets to; expected 0");
		if (nat && packet_address(&address, &service->backends[i]->address) &&
		    (packet_address_is_v4(&address) ? v6 : v4))
			packet_reason(at->reasons, at->service, at->path,
			              "the service has a VIP of the other address family, and NAT translates within "
			              "one: give each family a service of its own");
	}
	if (!nat && service->source_nat) {
		snprintf(at->path, sizeof(at->path), "services[%zu].source_nat", position);
		packet_reason(at->reasons, at->service, at->path, "only with NAT (4)");
	}
}

static void check_service(struct packet_reasons *reasons, const Service *service, size_t position,
                          struct packet_wanted *wanted)
{
	struct packet_wanted_service *out = &wanted->services[wanted->nservices++];
	struct place at = {.reasons = reasons,
	                   .service = name_is_text(service->name, PACKET_SERVICE_NAME_MAX) ? service->name : ""};
	bool v6_in_ipip = false;

	snprintf(at.path, sizeof(at.path), "services[%zu].name", position);
	check_name(&at, service->name, PACKET_SERVICE_NAME_MAX);
	out->name = service->name;
	out->index = UINT32_MAX;
	out->ring_size = service->ring_size;
	out->entry.flags = service->source_only ? SERVICE_SOURCE_ONLY : 0;
	switch (service->forwarding) {
	case MARCHER__PACKET__V1__FORWARDING__FORWARDING_IPIP:
		out->entry.forwarding = FORWARDING_IPIP;
		v6_in_ipip = has_v6_vip(service);
		break;
	case MARCHER__PACKET__V1__FORWARDING__FORWARDING_GUE:
		out->entry.forwarding = FORWARDING_GUE;
		out->entry.port = htons((uint16_t)service->gue_port);
		snprintf(at.path, sizeof(at.path), "services[%zu].gue_port", position);
		if (!service->gue_port || service->gue_port > 65535)
			packet_reason(reasons, at.service, at.path,
			              "port %u; expected 1 to 65535 (IANA's for GUE is %u)", service->gue_port,
			              GUE_PORT_DEFAULT);
		break;
	case MARCHER__PACKET__V1__FORWARDING__FORWARDING_L2:
		out->entry.forwarding = FORWARDING_L2;
		break;
	case MARCHER__PACKET__V1__FORWARDING__FORWARDING_NAT:
		out->entry.forwarding = FORWARDING_NAT;
		out->entry.flags |= service->source_nat ? SERVICE_SOURCE_NAT : 0;
		break;
	default:
		snprintf(at.path, sizeof(at.path), "services[%zu].forwarding", position);
		packet_reason(reasons, at.service, at.path,
		              "forwarding %d; expected IPIP (1), GUE (2), L2 (3) or NAT (4)", (int)service->forwarding);
	}
	snprintf(at.path, sizeof(at.path), "services[%zu].ring_size", position);
	if (service->ring_size > RING_SLOTS_MAX || !packet_ring_size_is_prime(service->ring_size))
		packet_reason(reasons, at.service, at.path, "%u slots; expected a prime number up to %u, such as 65537",
		              service->ring_size, RING_SLOTS_MAX);
	else if (service->ring_size < service->n_backends)
		packet_reason(
		        reasons, at.service, at.path,
		        "%u slots for %zu backends; expected at least as many, and 100 times as many for an even share",
		        service->ring_size, service->n_backends);
	for (size_t i = 0; i < service->n_vips; i++) {
		snprintf(at.path, sizeof(at.path), "services[%zu].vips[%zu]", position, i);
		check_vip(&at, service->vips[i], (uint32_t)position, wanted);
	}
	check_backends(&at, service, v6_in_ipip, position, wanted, out);
	check_nat(&at, service, position);
	packet_policy_check(reasons, at.service, position, service, out);
	packet_quic_check(reasons, at.service, position, service, out);
}

static bool check_counts(const Table *table, struct packet_reasons *reasons, size_t *vips, size_t *backends)
{
	*vips = table->n_left;
	*backends = 0;
	for (size_t i = 0; i < table->n_services; i++) {
		*vips += table->services[i]->n_vips;
		*backends += table->services[i]->n_backends;
	}
	if (table->n_services > SERVICES_MAX)
		packet_reason(reasons, "", "services", "%zu services; at most %u", table->n_services, SERVICES_MAX);
	if (*vips > VIPS_MAX)
		packet_reason(reasons, "", "services", "%zu VIPs in all; at most %u", *vips, VIPS_MAX);
	if (*backends >= BACKENDS_MAX)
		packet_reason(reasons, "", "services", "%zu backends in all; at most %u", *backends, BACKENDS_MAX - 1);
	if (table->n_decapsulated > DECAP_ADDRESSES_MAX)
		packet_reason(reasons, "", "decapsulated", "%zu addresses; at most %u", table->n_decapsulated,
		              DECAP_ADDRESSES_MAX);
	return !reasons->count;
}

static int service_compare(const void *a, const void *b)
{
	return strcmp(((const struct packet_wanted_service *)a)->name, ((const struct packet_wanted_service *)b)->name);
}

/* Of two VIPs that are the same; either may be one that is left to the stack. */
static void twice(const Table *table, uint32_t one, uint32_t two, const struct vip_key *key, uint32_t length,
                  struct packet_reasons *reasons)
{
	/* qsort keeps no order among equals; VIP_LEFT is the highest. */
	uint32_t later = one > two ? one : two, earlier = one > two ? two : one;
	const char *name = earlier == VIP_LEFT ? "" : table->services[earlier]->name;
	const char *mine = later == VIP_LEFT ? "" : table->services[later]->name;
	bool other = earlier != later && name_is_text(name, PACKET_SERVICE_NAME_MAX);
	char path[64], text[INET6_ADDRSTRLEN], prefix[16] = "";

	snprintf(path, sizeof(path), later == VIP_LEFT ? "left" : "services[%u].vips", later);
	if (length)
		snprintf(prefix, sizeof(prefix), "/%u", length);
	packet_reason(reasons, name_is_text(mine, PACKET_SERVICE_NAME_MAX) ? mine : "", path,
	              "%s %s%s port %u is there twice, %s%.*s; a VIP belongs to one service, once",
	              key->protocol == IPPROTO_TCP ? "TCP" : "UDP", address_text(&key->address, text), prefix,
	              ntohs(key->port), other ? "also in service " : "in this service", PACKET_SERVICE_NAME_MAX,
	              other ? name : "");
}

static void check_vips_once(const Table *table, struct packet_wanted *wanted, struct packet_reasons *reasons)
{
	qsort(wanted->vips, wanted->nvips, sizeof(*wanted->vips), packet_vip_compare);
	for (uint32_t i = 1; i < wanted->nvips; i++) {
		const struct packet_vip *one = &wanted->vips[i - 1], *two = &wanted->vips[i];
		if (!packet_vip_compare(one, two))
			twice(table, one->vip.service, two->vip.service, &two->key, 0, reasons);
	}
	qsort(wanted->prefixes, wanted->nprefixes, sizeof(*wanted->prefixes), packet_prefix_compare);
	for (uint32_t i = 1; i < wanted->nprefixes; i++) {
		const struct packet_prefix *one = &wanted->prefixes[i - 1], *two = &wanted->prefixes[i];
		struct vip_key key = {two->key.address, two->key.port, two->key.protocol, 0};
		uint32_t length = two->key.length - VIP_PREFIX_BITS;
		if (packet_address_is_v4(&key.address))
			length -= 96;
		if (!packet_prefix_compare(one, two))
			twice(table, one->prefix.vip.service, two->prefix.vip.service, &key, length, reasons);
	}
}

static void check_left(const Table *table, struct packet_wanted *wanted, struct packet_reasons *reasons)
{
	struct place at = {.reasons = reasons, .service = ""};

	for (size_t i = 0; i < table->n_left; i++) {
		snprintf(at.path, sizeof(at.path), "left[%zu]", i);
		check_vip(&at, table->left[i], VIP_LEFT, wanted);
	}
}

static void check_decapsulated(const Table *table, struct packet_wanted *wanted, struct packet_reasons *reasons)
{
	struct place at = {.reasons = reasons, .service = ""};
	uint32_t port = table->decapsulated_gue_port ? table->decapsulated_gue_port : GUE_PORT_DEFAULT;
	char text[INET6_ADDRSTRLEN];

	if (port > 65535)
		packet_reason(reasons, "", "decapsulated_gue_port", "port %u; expected 1 to 65535, or 0 for %u", port,
		              GUE_PORT_DEFAULT);
	if (table->decapsulated_mtu && (table->decapsulated_mtu < MTU_MIN || table->decapsulated_mtu > 65535))
		packet_reason(reasons, "", "decapsulated_mtu",
		              "%u bytes; expected %u to 65535, or 0 for that of the interface", table->decapsulated_mtu,
		              MTU_MIN);
	for (size_t i = 0; i < table->n_decapsulated; i++) {
		struct packet_decap *out = &wanted->decapsulated[wanted->ndecapsulated++];
		snprintf(at.path, sizeof(at.path), "decapsulated[%zu]", i);
		check_address(&at, &table->decapsulated[i], &out->address);
		out->decap.gue_port = htons((uint16_t)port);
		out->decap.mtu = (uint16_t)table->decapsulated_mtu;
	}
	qsort(wanted->decapsulated, wanted->ndecapsulated, sizeof(*wanted->decapsulated), packet_address_compare);
	for (uint32_t i = 1; i < wanted->ndecapsulated; i++)
		if (!packet_address_compare(&wanted->decapsulated[i - 1], &wanted->decapsulated[i]))
			packet_reason(reasons, "", "decapsulated", "%s is there twice",
			              address_text(&wanted->decapsulated[i].address, text));
}

/* Services in order of their names; the VIPs, which have positions in the message, follow. */
static bool sort_services(const Table *table, struct packet_wanted *wanted, struct packet_reasons *reasons)
{
	uint32_t *positions = calloc(table->n_services + 1, sizeof(*positions));

	if (!positions)
		return false;
	/* Names are distinct but for a table that is refused. index holds the position in the message meanwhile. */
	for (uint32_t i = 0; i < wanted->nservices; i++)
		wanted->services[i].index = i;
	qsort(wanted->services, wanted->nservices, sizeof(*wanted->services), service_compare);
	for (uint32_t i = 0; i < wanted->nservices; i++) {
		struct packet_wanted_service *service = &wanted->services[i];
		if (i && !service_compare(service - 1, service) && name_is_text(service->name, PACKET_SERVICE_NAME_MAX))
			packet_reason(reasons, service->name, "services", "two services have the name %s",
			              service->name);
		positions[service->index] = i;
	}
	for (uint32_t i = 0; i < wanted->nservices; i++)
		wanted->services[i].index = UINT32_MAX;
	for (uint32_t i = 0; i < wanted->nvips; i++)
		if (wanted->vips[i].vip.service != VIP_LEFT)
			wanted->vips[i].vip.service = positions[wanted->vips[i].vip.service];
	for (uint32_t i = 0; i < wanted->nprefixes; i++)
		if (wanted->prefixes[i].prefix.vip.service != VIP_LEFT)
			wanted->prefixes[i].prefix.vip.service = positions[wanted->prefixes[i].prefix.vip.service];
	free(positions);
	return true;
}

static void count_vip_addresses(struct packet_wanted *wanted)
{
	for (uint32_t i = 0; i < wanted->nvips; i++) {
		const struct address *address = &wanted->vips[i].key.address;
		uint32_t n = wanted->nvip_addresses;
		if (!n || packet_address_compare(&wanted->vip_addresses[n - 1], address))
			wanted->vip_addresses[wanted->nvip_addresses++] = (struct packet_vip_address){*address, 1};
		else
			wanted->vip_addresses[n - 1].vips++;
	}
}

int packet_table_check(const Table *table, struct packet_wanted *wanted, struct packet_reasons *reasons)
{
	size_t vips, backends;

	if (!check_counts(table, reasons, &vips, &backends))
		return reasons->no_memory ? MARCHER_E_NO_MEMORY : MARCHER_OK;
	wanted->services = calloc(table->n_services + 1, sizeof(*wanted->services));
	wanted->backends = calloc(backends + 1, sizeof(*wanted->backends));
	wanted->vips = calloc(vips + 1, sizeof(*wanted->vips));
	wanted->vip_addresses = calloc(vips + 1, sizeof(*wanted->vip_addresses));
	wanted->prefixes = calloc(2 * vips + 1, sizeof(*wanted->prefixes));
	wanted->decapsulated = calloc(table->n_decapsulated + 1, sizeof(*wanted->decapsulated));
	if (!wanted->services || !wanted->backends || !wanted->vips || !wanted->vip_addresses || !wanted->prefixes ||
	    !wanted->decapsulated)
		return MARCHER_E_NO_MEMORY;
	for (size_t i = 0; i < table->n_services; i++)
		check_service(reasons, table->services[i], i, wanted);
	check_left(table, wanted, reasons);
	check_vips_once(table, wanted, reasons);
	check_decapsulated(table, wanted, reasons);
	if (table->guard && packet_guard_check(table->guard, &wanted->guard, reasons))
		return MARCHER_E_NO_MEMORY;
	if (!sort_services(table, wanted, reasons) || reasons->no_memory)
		return MARCHER_E_NO_MEMORY;
	count_vip_addresses(wanted);
	packet_prefix_count(wanted);
	return MARCHER_OK;
}
