/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "addr.h"
#include "lb/lb.h"
#include "marcher.h"
#include "model.h"
#include "qos/qos.h"
#include "table.h"

#define REGION_MAX (sizeof(((struct backend *)0)->region) - 1)
#define UNIX_PATH_MAX_BYTES 107u
#define TIMEOUT_MAX_MS (7u * 24 * 3600 * 1000)
#define UDP_PAYLOAD_MAX 65507u
#define CONNECTIONS_PER_SECOND_MAX 1000000000ull

/* Reasons */

static char *format_text(const char *format, va_list args)
{
	char *text = NULL;
	if (vasprintf(&text, format, args) < 0)
		return NULL;
	/* Replies are UTF-8 for their readers; names that were refused may be anything. */
	for (char *c = text; *c; c++) {
		if ((unsigned char)*c < 0x20 || (unsigned char)*c > 0x7e)
			*c = '?';
	}
	return text;
}

void reasons_add(struct reasons *reasons, const char *service, const char *path, const char *format, ...)
{
	if (reasons->count >= SNAPSHOT_REASONS_MAX - 1) {
		reasons->omitted++;
		return;
	}
	if (reasons->count == reasons->capacity) {
		size_t capacity = reasons->capacity ? reasons->capacity * 2 : 8;
		void *items = realloc(reasons->items, capacity * sizeof(reasons->items[0]));
		if (!items) {
			reasons->no_memory = true;
			return;
		}
		reasons->items = items;
		reasons->capacity = capacity;
	}
	Marcher__Engine__V1__Reason *reason = malloc(sizeof(*reason));
	if (!reason) {
		reasons->no_memory = true;
		return;
	}
	marcher__engine__v1__reason__init(reason);
	va_list args;
	va_start(args, format);
	reason->reason = format_text(format, args);
	va_end(args);
	reason->path = strdup(path);
	reason->service = strdup(service ? service : "");
	reasons->items[reasons->count++] = reason;
	if (!reason->reason || !reason->path || !reason->service) {
		reasons->count--;
		free(reason->reason);
		free(reason->path);
		free(reason->service);
		free(reason);
		reasons->no_memory = true;
	}
}

void reasons_take(struct reasons *reasons, Marcher__Engine__V1__Reason ***items, size_t *count)
{
	if (reasons->omitted) {
		size_t omitted = reasons->omitted;
		/* One place was kept for this. */
		if (reasons->count == reasons->capacity) {
			void *grown = realloc(reasons->items, (reasons->capacity + 1) * sizeof(reasons->items[0]));
			if (grown) {
				reasons->items = grown;
				reasons->capacity++;
			}
		}
		Marcher__Engine__V1__Reason *reason = malloc(sizeof(*reason));
		char *text = NULL, *path = strdup(""), *service = strdup("");
		if (asprintf(&text, "and %zu more", omitted) < 0)
			text = NULL;
		if (reason && text && path && service && reasons->count < reasons->capacity) {
			marcher__engine__v1__reason__init(reason);
			reason->path = path;
			reason->service = service;
			reason->reason = text;
			reasons->items[reasons->count++] = reason;
		} else {
			free(reason);
			free(text);
			free(path);
			free(service);
		}
	}
	*items = reasons->items;
	*count = reasons->count;
	memset(reasons, 0, sizeof(*reasons));
}

void reasons_free_items(Marcher__Engine__V1__Reason **items, size_t count)
{
	for (size_t i = 0; i < count; i++)
		marcher__engine__v1__reason__free_unpacked(items[i], NULL);
	free(items);
}

void reasons_free(struct reasons *reasons)
{
	reasons_free_items(reasons->items, reasons->count);
	memset(reasons, 0, sizeof(*reasons));
}

/* Wire format (protobuf.dev/programming-guides/encoding) */

struct cursor {
	const uint8_t *at, *end;
};

static bool read_varint(struct cursor *cursor, uint64_t *value)
{
	uint64_t result = 0;
	for (unsigned shift = 0; shift < 64; shift += 7) {
		if (cursor->at == cursor->end)
			return false;
		uint8_t byte = *cursor->at++;
		result |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80)) {
			*value = result;
			return true;
		}
	}
	return false;
}

struct field {
	uint32_t number;
	uint32_t wire; /* 0 varint, 1 64-bit, 2 bytes, 5 32-bit */
	uint64_t value;
	struct slice bytes;
};

/* 1: a field; 0: the end; -1: malformed. */
static int read_field(struct cursor *cursor, struct field *field)
{
	uint64_t tag, length;
	if (cursor->at == cursor->end)
		return 0;
	if (!read_varint(cursor, &tag) || tag >> 3 == 0 || tag >> 3 > 0x1fffffff)
		return -1;
	field->number = (uint32_t)(tag >> 3);
	field->wire = tag & 7;
	field->value = 0;
	field->bytes = (struct slice){cursor->at, 0};
	size_t left = (size_t)(cursor->end - cursor->at);
	switch (field->wire) {
	case 0:
		return read_varint(cursor, &field->value) ? 1 : -1;
	case 1:
		if (left < 8)
			return -1;
		cursor->at += 8;
		return 1;
	case 2:
		if (!read_varint(cursor, &length) || length > (uint64_t)(cursor->end - cursor->at))
			return -1;
		field->bytes = (struct slice){cursor->at, (size_t)length};
		cursor->at += length;
		return 1;
	case 5:
		if (left < 4)
			return -1;
		cursor->at += 4;
		return 1;
	default:
		return -1;
	}
}

enum { SNAPSHOT_GENERATION = 1, SNAPSHOT_BASE = 2, SNAPSHOT_NODE = 3, SNAPSHOT_SERVICES = 4, SNAPSHOT_REMOVED = 5 };
enum { SERVICE_NAME = 1, SERVICE_LISTENERS = 2, SERVICE_BACKENDS = 3 };

bool snapshot_scan(const void *packed, size_t length, struct snapshot *snapshot, struct reasons *reasons)
{
	struct cursor cursor;
	struct field field;
	int got;
	memset(snapshot, 0, sizeof(*snapshot));
	size_t services = 0, removed = 0;
	for (cursor = (struct cursor){packed, (const uint8_t *)packed + length};
	     (got = read_field(&cursor, &field)) > 0;) {
		bool bytes = field.number == SNAPSHOT_NODE || field.number == SNAPSHOT_SERVICES ||
		             field.number == SNAPSHOT_REMOVED;
		bool varint = field.number == SNAPSHOT_GENERATION || field.number == SNAPSHOT_BASE;
		if ((bytes && field.wire != 2) || (varint && field.wire != 0)) {
			got = -1;
			break;
		}
		services += field.number == SNAPSHOT_SERVICES;
		removed += field.number == SNAPSHOT_REMOVED;
		if (field.number == SNAPSHOT_GENERATION)
			snapshot->generation = field.value;
		else if (field.number == SNAPSHOT_BASE)
			snapshot->base_generation = field.value;
		else if (field.number == SNAPSHOT_NODE) {
			snapshot->has_node = true;
			snapshot->node = field.bytes;
		}
	}
	if (got < 0) {
		reasons_add(reasons, NULL, "", "not a marcher.engine.v1.Snapshot: malformed at byte %zu of %zu",
		            (size_t)(cursor.at - (const uint8_t *)packed), length);
		return false;
	}
	if (services > SNAPSHOT_SERVICES_MAX || removed > SNAPSHOT_SERVICES_MAX) {
		reasons_add(reasons, NULL, services > SNAPSHOT_SERVICES_MAX ? "services" : "removed_services",
		            "%zu entries; one node carries at most %u services",
		            services > SNAPSHOT_SERVICES_MAX ? services : removed, SNAPSHOT_SERVICES_MAX);
		return false;
	}
	snapshot->services = malloc((services + 1) * sizeof(struct slice));
	snapshot->removed = malloc((removed + 1) * sizeof(struct slice));
	if (!snapshot->services || !snapshot->removed) {
		snapshot_free(snapshot);
		reasons->no_memory = true;
		return false;
	}
	for (cursor = (struct cursor){packed, (const uint8_t *)packed + length}; read_field(&cursor, &field) > 0;) {
		if (field.number == SNAPSHOT_SERVICES)
			snapshot->services[snapshot->nservices++] = field.bytes;
		else if (field.number == SNAPSHOT_REMOVED)
			snapshot->removed[snapshot->nremoved++] = field.bytes;
	}
	return true;
}

void snapshot_free(struct snapshot *snapshot)
{
	free(snapshot->services);
	free(snapshot->removed);
	snapshot->services = snapshot->removed = NULL;
}

struct slice snapshot_service_name(struct slice service)
{
	struct cursor cursor = {service.data, service.data + service.length};
	struct slice name = {service.data, 0};
	struct field field;
	while (read_field(&cursor, &field) > 0) {
		if (field.number == SERVICE_NAME && field.wire == 2)
			name = field.bytes; /* of several the last counts, as for any decoder */
	}
	return name;
}

bool snapshot_name_valid(const char *name, size_t length)
{
	if (length < 1 || length > 63 || name[0] == '-' || name[length - 1] == '-')
		return false;
	for (size_t i = 0; i < length; i++) {
		char c = name[i];
		if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'))
			return false;
	}
	return true;
}

/* Checks of one service. They say what is wrong, where, and what was expected. */

struct check {
	struct reasons *reasons;
	size_t index;
	const char *name; /* NULL while it is not known to be a lawful one */
};

/* Path: services[index].field, or services[index].list[at].field. */
static void fail(const struct check *check, const char *list, size_t at, const char *field, const char *format, ...)
        __attribute__((format(printf, 5, 6)));
static void fail(const struct check *check, const char *list, size_t at, const char *field, const char *format, ...)
{
	char path[160], text[512];
	if (list)
		snprintf(path, sizeof(path), "services[%zu].%s[%zu]%s%s", check->index, list, at, *field ? "." : "",
		         field);
	else
		snprintf(path, sizeof(path), "services[%zu].%s", check->index, field);
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	reasons_add(check->reasons, check->name, path, "%s", text);
}

static void check_range(const struct check *check, const char *field, uint32_t value, uint32_t min, uint32_t max)
{
	if (value < min || value > max)
		fail(check, NULL, 0, field, "is %u; expected %u to %u", value, min, max);
}

static bool is_ip(const ProtobufCBinaryData *bytes)
{
	return bytes->len == 4 || bytes->len == 16;
}

static void check_listener(const struct check *check, size_t i, const Marcher__Engine__V1__Listener *listener)
{
	if (listener->transport != MARCHER__ENGINE__V1__TRANSPORT__TRANSPORT_TCP &&
	    listener->transport != MARCHER__ENGINE__V1__TRANSPORT__TRANSPORT_UDP)
		fail(check, "listeners", i, "transport", "is %d; expected 1 (TCP) or 2 (UDP)",
		     (int)listener->transport);
	if (listener->address.len != 0 && !is_ip(&listener->address))
		fail(check, "listeners", i, "address", "has %zu bytes; expected 4, 16 or none", listener->address.len);
	if (listener->port_first < 1 || listener->port_first > 65535)
		fail(check, "listeners", i, "port_first", "is %u; expected 1 to 65535", listener->port_first);
	if (listener->port_last < listener->port_first || listener->port_last > 65535)
		fail(check, "listeners", i, "port_last", "is %u; expected port_first (%u) to 65535",
		     listener->port_last, listener->port_first);
	if (listener->prefix_length &&
	    (!listener->steered || listener->prefix_length > listener->address.len * 8 || listener->address.len == 0))
		fail(check, "listeners", i, "prefix_length",
		     "is %u; expected 0, or 1 to the address's bits and steered", listener->prefix_length);
	if (listener->backlog > INT32_MAX)
		fail(check, "listeners", i, "backlog", "is %u; expected at most %d", listener->backlog, INT32_MAX);
	if (listener->n_accept_proxy_from && listener->transport != MARCHER__ENGINE__V1__TRANSPORT__TRANSPORT_TCP)
		fail(check, "listeners", i, "accept_proxy_from",
		     "PROXY protocol headers are read on TCP listeners only");
	for (size_t k = 0; k < listener->n_accept_proxy_from; k++) {
		const Marcher__Engine__V1__Prefix *prefix = listener->accept_proxy_from[k];
		char field[64];
		snprintf(field, sizeof(field), "accept_proxy_from[%zu]", k);
		if (!is_ip(&prefix->address))
			fail(check, "listeners", i, field, "address has %zu bytes; expected 4 or 16",
			     prefix->address.len);
		else if (prefix->length > prefix->address.len * 8)
			fail(check, "listeners", i, field, "length is %u; expected 0 to %zu", prefix->length,
			     prefix->address.len * 8);
	}
}

static bool printable(const char *text)
{
	for (; *text; text++) {
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			return false;
	}
	return true;
}

static bool host_valid(const char *host)
{
	size_t length = strlen(host);
	if (length < 1 || length > 253)
		return false;
	for (size_t i = 0; i < length; i++) {
		char c = host[i];
		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
		      c == '.' || c == '_'))
			return false;
	}
	return host[0] != '.';
}

static bool country_valid(const char *country)
{
	return country[0] == '\0' ||
	       (country[0] >= 'A' && country[0] <= 'Z' && country[1] >= 'A' && country[1] <= 'Z' && country[2] == '\0');
}

static void check_target(const struct check *check, size_t i, const Marcher__Engine__V1__Backend *backend, bool has_udp)
{
	switch (backend->target_case) {
	case MARCHER__ENGINE__V1__BACKEND__TARGET_IP:
		if (!is_ip(&backend->ip->address))
			fail(check, "backends", i, "ip.address", "has %zu bytes; expected 4 or 16",
			     backend->ip->address.len);
		if (backend->ip->port > 65535)
			fail(check, "backends", i, "ip.port", "is %u; expected 0 (the listener's) to 65535",
			     backend->ip->port);
		break;
	case MARCHER__ENGINE__V1__BACKEND__TARGET_DNS:
		if (!host_valid(backend->dns->host))
			fail(check, "backends", i, "dns.host",
			     "\"%.64s\" is not a host name; expected 1 to 253 of letters, digits, '-', '_' and '.'",
			     backend->dns->host);
		if (backend->dns->port > 65535)
			fail(check, "backends", i, "dns.port", "is %u; expected 0 (the listener's) to 65535",
			     backend->dns->port);
		break;
	case MARCHER__ENGINE__V1__BACKEND__TARGET_UNIX_PATH:
		if (backend->unix_path[0] != '/' || strlen(backend->unix_path) > UNIX_PATH_MAX_BYTES)
			fail(check, "backends", i, "unix_path",
			     "\"%.120s\" is not an absolute path of at most %u bytes", backend->unix_path,
			     UNIX_PATH_MAX_BYTES);
		if (has_udp)
			fail(check, "backends", i, "unix_path",
			     "a Unix socket cannot serve a UDP listener; expected an address, or TCP listeners only");
		break;
	default:
		fail(check, "backends", i, "target", "is missing; expected ip, dns or unix_path");
		break;
	}
}

static void check_backend(const struct check *check, size_t i, const Marcher__Engine__V1__Backend *backend,
                          bool has_udp)
{
	size_t length = strlen(backend->name);
	if (length < 1 || length >= MARCHER_NAME_MAX || !printable(backend->name))
		fail(check, "backends", i, "name", "has %zu bytes; expected 1 to %d, none of them a control character",
		     length, MARCHER_NAME_MAX - 1);
	check_target(check, i, backend, has_udp);
	if (backend->weight > 256)
		fail(check, "backends", i, "weight", "is %u; expected 0 to 256", backend->weight);
	if (strlen(backend->region) > REGION_MAX)
		fail(check, "backends", i, "region", "has %zu bytes; expected at most %zu", strlen(backend->region),
		     REGION_MAX);
	if (!country_valid(backend->country))
		fail(check, "backends", i, "country", "\"%.8s\" is not an ISO 3166-1 alpha-2 code such as DE",
		     backend->country);
	if ((unsigned)backend->send_proxy > 2)
		fail(check, "backends", i, "send_proxy", "is %d; expected 0 (none), 1 or 2", (int)backend->send_proxy);
	if (backend->source_address.len != 0 && !is_ip(&backend->source_address)) {
		fail(check, "backends", i, "source_address", "has %zu bytes; expected 4, 16 or none",
		     backend->source_address.len);
	} else if (backend->source_address.len != 0 &&
	           backend->target_case == MARCHER__ENGINE__V1__BACKEND__TARGET_IP && is_ip(&backend->ip->address)) {
		struct addr source, target;
		addr_from_bytes(&source, backend->source_address.data, backend->source_address.len, 0);
		addr_from_bytes(&target, backend->ip->address.data, backend->ip->address.len, 0);
		if (source.family != target.family)
			fail(check, "backends", i, "source_address",
			     "is of another family than the backend's address; expected both IPv4 or both IPv6");
	}
}

struct named_backend {
	const char *name;
	size_t index;
};

static bool named_equal(const void *value, const void *key)
{
	return strcmp(((const struct named_backend *)value)->name, key) == 0;
}

static void check_backend_names(const struct check *check, const Marcher__Engine__V1__Service *service)
{
	struct table names = {0};
	struct named_backend *named = malloc((service->n_backends + 1) * sizeof(*named));
	if (!named || !table_reserve(&names, (uint32_t)service->n_backends)) {
		check->reasons->no_memory = true;
		free(named);
		return;
	}
	for (size_t i = 0; i < service->n_backends; i++) {
		const char *name = service->backends[i]->name;
		uint64_t hash = table_hash(name, strlen(name));
		const struct named_backend *first = table_find(&names, hash, named_equal, name);
		if (first) {
			fail(check, "backends", i, "name",
			     "\"%.127s\" is also the name of backends[%zu]; names are unique", name, first->index);
			continue;
		}
		named[i] = (struct named_backend){name, i};
		table_insert(&names, hash, &named[i]);
	}
	table_free(&names);
	free(named);
}

/* A token or path that is put into a request line: no space, nothing that ends a line. */
static bool request_text(const char *text)
{
	for (; *text; text++) {
		if ((unsigned char)*text <= 0x20 || *text == 0x7f)
			return false;
	}
	return true;
}

static void check_health(const struct check *check, const Marcher__Engine__V1__HealthCheck *health)
{
	if ((unsigned)health->type > 3) {
		fail(check, NULL, 0, "health.type", "is %d; expected 0 (none), 1 (TCP), 2 (HTTP) or 3 (UDP)",
		     (int)health->type);
		return;
	}
	if (health->type == MARCHER__ENGINE__V1__PROBE_TYPE__PROBE_TYPE_UNSPECIFIED)
		return;
	check_range(check, "health.interval_ms", health->interval_ms, 10, TIMEOUT_MAX_MS);
	check_range(check, "health.timeout_ms", health->timeout_ms, 1, TIMEOUT_MAX_MS);
	check_range(check, "health.fall", health->fall, 1, 10000);
	check_range(check, "health.rise", health->rise, 1, 10000);
	check_range(check, "health.jitter_percent", health->jitter_percent, 0, 100);
	check_range(check, "health.port", health->port, 0, 65535);
	if (health->type == MARCHER__ENGINE__V1__PROBE_TYPE__PROBE_TYPE_HTTP) {
		if (!health->http_method[0] || strlen(health->http_method) > 32 || !request_text(health->http_method))
			fail(check, NULL, 0, "health.http_method", "is not a method of 1 to 32 bytes, such as GET");
		if (health->http_path[0] != '/' || strlen(health->http_path) > 4096 || !request_text(health->http_path))
			fail(check, NULL, 0, "health.http_path",
			     "is not a path: expected '/' first, at most 4096 bytes, no spaces");
		if (strlen(health->http_host) > 255 || !request_text(health->http_host))
			fail(check, NULL, 0, "health.http_host",
			     "is not a host: expected at most 255 bytes, no spaces");
		if (strlen(health->http_expect_body) > 65536)
			fail(check, NULL, 0, "health.http_expect_body", "has %zu bytes; expected at most 65536",
			     strlen(health->http_expect_body));
		if (health->n_http_expect_status > 64)
			fail(check, NULL, 0, "health.http_expect_status", "has %zu ranges; expected at most 64",
			     health->n_http_expect_status);
		for (size_t i = 0; i < health->n_http_expect_status && i < 64; i++) {
			const Marcher__Engine__V1__StatusRange *range = health->http_expect_status[i];
			if (range->first < 100 || range->last > 999 || range->first > range->last)
				fail(check, "health.http_expect_status", i, "",
				     "is %u-%u; expected first <= last, both 100 to 999", range->first, range->last);
		}
	}
	if (health->udp_payload.len > UDP_PAYLOAD_MAX || health->udp_expect.len > UDP_PAYLOAD_MAX)
		fail(check, NULL, 0, "health.udp_payload", "payload and expected reply have at most %u bytes",
		     UDP_PAYLOAD_MAX);
}

static void check_balance(const struct check *check, const Marcher__Engine__V1__Service *service)
{
	if (service->algorithm < 1 || service->algorithm > 6)
		fail(check, NULL, 0, "algorithm", "is %d; expected 1 to 6", (int)service->algorithm);
	if (service->affinity) {
		check_range(check, "affinity.ttl_ms", service->affinity->ttl_ms, 1, UINT32_MAX);
		check_range(check, "affinity.ipv4_prefix", service->affinity->ipv4_prefix, 0, 32);
		check_range(check, "affinity.ipv6_prefix", service->affinity->ipv6_prefix, 0, 128);
		check_range(check, "affinity.max_entries", service->affinity->max_entries, 1, 1u << 24);
	}
	check_range(check, "panic_threshold_percent", service->panic_threshold_percent, 0, 100);
	check_range(check, "slow_start_ms", service->slow_start_ms, 0, TIMEOUT_MAX_MS);
	if (service->algorithm == MARCHER__ENGINE__V1__ALGORITHM__ALGORITHM_MAGLEV && service->maglev_table_size) {
		if (service->maglev_table_size > 5000011 || service->maglev_table_size < service->n_backends ||
		    !maglev_is_prime(service->maglev_table_size))
			fail(check, NULL, 0, "maglev_table_size",
			     "is %u; expected 0, or a prime from the number of backends (%zu) to 5000011",
			     service->maglev_table_size, service->n_backends);
	}
}

static void check_bandwidth(const struct check *check, const char *name, const Marcher__Engine__V1__Bandwidth *limit)
{
	char field[64];
	if (!limit)
		return;
	snprintf(field, sizeof(field), "traffic_policy.%s.bits_per_second", name);
	if (limit->bits_per_second < GCRA_BITS_PER_SECOND_MIN || limit->bits_per_second > GCRA_BITS_PER_SECOND_MAX)
		fail(check, NULL, 0, field, "is %llu; expected %llu to %llu",
		     (unsigned long long)limit->bits_per_second, GCRA_BITS_PER_SECOND_MIN, GCRA_BITS_PER_SECOND_MAX);
}

static void check_policy(const struct check *check, const Marcher__Engine__V1__TrafficPolicy *policy)
{
	check_range(check, "traffic_policy.priority", policy->priority, 0, QOS_CLASSES - 1);
	check_bandwidth(check, "ingress", policy->ingress);
	check_bandwidth(check, "egress", policy->egress);
	check_bandwidth(check, "connection_ingress", policy->connection_ingress);
	check_bandwidth(check, "connection_egress", policy->connection_egress);
	if (policy->connections &&
	    (policy->connections->per_second < 1 || policy->connections->per_second > CONNECTIONS_PER_SECOND_MAX))
		fail(check, NULL, 0, "traffic_policy.connections.per_second", "is %llu; expected 1 to %llu",
		     (unsigned long long)policy->connections->per_second, CONNECTIONS_PER_SECOND_MAX);
	if (policy->connections && policy->connections->burst < 1)
		fail(check, NULL, 0, "traffic_policy.connections.burst", "is 0; expected at least 1");
	if (policy->set_dscp)
		check_range(check, "traffic_policy.dscp", policy->dscp, 0, 63);
}

static void check_service(const struct check *check, const Marcher__Engine__V1__Service *service)
{
	bool has_udp = false, has_tcp = false, has_dns = false;
	size_t before = check->reasons->count;
	if (!check->name)
		fail(check, NULL, 0, "name",
		     "\"%.80s\" is not a name: expected 1 to 63 of a-z, 0-9 and '-', a letter or digit first and last",
		     service->name);
	for (size_t i = 0; i < service->n_listeners; i++) {
		has_udp |= service->listeners[i]->transport == MARCHER__ENGINE__V1__TRANSPORT__TRANSPORT_UDP;
		has_tcp |= service->listeners[i]->transport == MARCHER__ENGINE__V1__TRANSPORT__TRANSPORT_TCP;
		check_listener(check, i, service->listeners[i]);
	}
	for (size_t i = 0; i < service->n_backends; i++) {
		has_dns |= service->backends[i]->target_case == MARCHER__ENGINE__V1__BACKEND__TARGET_DNS;
		check_backend(check, i, service->backends[i], has_udp);
	}
	if (check->reasons->count == before)
		check_backend_names(check, service);
	check_balance(check, service);
	if (service->health)
		check_health(check, service->health);
	if (service->outlier) {
		check_range(check, "outlier.consecutive_failures", service->outlier->consecutive_failures, 1,
		            UINT32_MAX);
		check_range(check, "outlier.base_ejection_ms", service->outlier->base_ejection_ms, 1, TIMEOUT_MAX_MS);
		check_range(check, "outlier.max_ejection_ms", service->outlier->max_ejection_ms,
		            service->outlier->base_ejection_ms, TIMEOUT_MAX_MS);
		check_range(check, "outlier.max_ejected_percent", service->outlier->max_ejected_percent, 0, 100);
	}
	if (has_tcp) {
		check_range(check, "connect_timeout_ms", service->connect_timeout_ms, 1, TIMEOUT_MAX_MS);
		check_range(check, "idle_timeout_ms", service->idle_timeout_ms, 1, TIMEOUT_MAX_MS);
		check_range(check, "half_closed_timeout_ms", service->half_closed_timeout_ms, 1, TIMEOUT_MAX_MS);
	}
	if (has_udp) {
		check_range(check, "udp_idle_timeout_ms", service->udp_idle_timeout_ms, 1, TIMEOUT_MAX_MS);
		check_range(check, "udp_max_sessions", service->udp_max_sessions, 1, 1u << 24);
	}
	check_range(check, "drain_timeout_ms", service->drain_timeout_ms, 0, TIMEOUT_MAX_MS);
	check_range(check, "source_ipv4_prefix", service->source_ipv4_prefix, 0, 32);
	check_range(check, "source_ipv6_prefix", service->source_ipv6_prefix, 0, 128);
	if (service->traffic_policy)
		check_policy(check, service->traffic_policy);
	if (has_dns) {
		check_range(check, "dns_min_ttl_ms", service->dns_min_ttl_ms, 1, TIMEOUT_MAX_MS);
		check_range(check, "dns_max_ttl_ms", service->dns_max_ttl_ms, service->dns_min_ttl_ms, TIMEOUT_MAX_MS);
	}
}

/* Before unpacking, which makes an object of each part: two bytes of input can become a hundred of memory. */
static bool within_limits(struct slice service, size_t index, struct reasons *reasons)
{
	char path[64];
	size_t backends = 0, listeners = 0;
	snprintf(path, sizeof(path), "services[%zu]", index);
	if (service.length > SNAPSHOT_SERVICE_BYTES_MAX) {
		reasons_add(reasons, NULL, path, "has %zu bytes; expected at most %u", service.length,
		            SNAPSHOT_SERVICE_BYTES_MAX);
		return false;
	}
	struct cursor cursor = {service.data, service.data + service.length};
	struct field field;
	while (read_field(&cursor, &field) > 0) {
		backends += field.number == SERVICE_BACKENDS;
		listeners += field.number == SERVICE_LISTENERS;
	}
	if (backends > SNAPSHOT_BACKENDS_MAX || listeners > SNAPSHOT_LISTENERS_MAX) {
		reasons_add(reasons, NULL, path, "has %zu backends and %zu listeners; expected at most %u of each",
		            backends, listeners, SNAPSHOT_BACKENDS_MAX);
		return false;
	}
	return true;
}

Marcher__Engine__V1__Service *snapshot_service(struct slice service, size_t index, struct reasons *reasons)
{
	char path[64];
	if (!within_limits(service, index, reasons))
		return NULL;
	Marcher__Engine__V1__Service *message =
	        marcher__engine__v1__service__unpack(NULL, service.length, service.data);
	if (!message) {
		snprintf(path, sizeof(path), "services[%zu]", index);
		reasons_add(reasons, NULL, path, "is not a marcher.engine.v1.Service: malformed");
		return NULL;
	}
	struct check check = {reasons, index,
	                      snapshot_name_valid(message->name, strlen(message->name)) ? message->name : NULL};
	check_service(&check, message);
	return message;
}

Marcher__Engine__V1__Node *snapshot_node(struct slice node, struct reasons *reasons)
{
	Marcher__Engine__V1__Node *message = marcher__engine__v1__node__unpack(NULL, node.length, node.data);
	if (!message) {
		reasons_add(reasons, NULL, "node", "is not a marcher.engine.v1.Node: malformed");
		return NULL;
	}
	if (strlen(message->region) > REGION_MAX)
		reasons_add(reasons, NULL, "node.region", "has %zu bytes; expected at most %zu",
		            strlen(message->region), REGION_MAX);
	if (!country_valid(message->country))
		reasons_add(reasons, NULL, "node.country", "\"%.8s\" is not an ISO 3166-1 alpha-2 code such as DE",
		            message->country);
	if (strlen(message->geoip_path) > 4095)
		reasons_add(reasons, NULL, "node.geoip_path", "has %zu bytes; expected at most 4095",
		            strlen(message->geoip_path));
	return message;
}
