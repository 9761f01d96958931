/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rules to tables. A packet finds its class by the longest prefix alone, so a class holds what the rules of shorter
 * prefixes say, too, where its own say nothing: prefixes are walked from the shorter to the longer ones inside them.
 * Prefixes that have the same rules inside the same prefix share a class: a list of 100,000 addresses makes one.
 */
#include "packet_guard.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "packet_ring.h"

#define DEPTH_MAX 130 /* of prefixes inside each other: 0 to 128 bits */
#define NS_PER_SECOND 1000000000ull

typedef Marcher__Packet__V1__Guard Guard;
typedef Marcher__Packet__V1__GuardRule Rule;

/* One source of one rule. */
struct source {
	struct address address;
	uint32_t length, rule;
};

/* What a class says of one protocol. */
struct port_rules {
	struct guard_span spans[GUARD_CLASS_SPANS_MAX];
	uint32_t nspans, otherwise;
	bool decided; /* otherwise is one of the prefix itself: what shorter prefixes say does not matter */
	bool full;    /* there are more spans than fit */
};

struct known_class {
	uint64_t key; /* of parent and rules; 0: free */
	uint32_t class;
};

struct compiling {
	const Guard *guard;
	struct guard_tables *tables;
	struct packet_reasons *reasons;
	struct source *v4, *v6;
	uint32_t nv4, nv6;
	struct known_class *known; /* open addressing; a power of two, at most half full */
	uint32_t known_size;
	uint32_t classes_room, spans_room;
	bool no_memory;
};

static void refuse(struct packet_reasons *reasons, size_t rule, const char *what, const char *text)
{
	char path[80];

	snprintf(path, sizeof(path), "guard.rules[%zu].%s", rule, what);
	packet_reason(reasons, "", path, "%s", text);
}

/* Are the bits behind the prefix 0? */
static bool prefix_is_clean(const uint8_t *address, uint32_t bytes, uint32_t length)
{
	for (uint32_t bit = length; bit < bytes * 8; bit++)
		if (address[bit / 8] & 0x80 >> bit % 8)
			return false;
	return true;
}

static void check_sources(struct packet_reasons *reasons, const Rule *rule, size_t position)
{
	char what[32];

	for (size_t i = 0; i < rule->n_sources; i++) {
		const ProtobufCBinaryData *bytes = &rule->sources[i]->address;
		struct address address;
		snprintf(what, sizeof(what), "sources[%zu]", i);
		if (!packet_address(&address, bytes))
			refuse(reasons, position, what, "expected an address of 4 (IPv4) or 16 (IPv6) bytes");
		else if (bytes->len == 16 && packet_address_is_v4(&address))
			refuse(reasons, position, what, "an IPv4 address as IPv6; expected 4 bytes");
		else if (rule->sources[i]->length > bytes->len * 8)
			refuse(reasons, position, what, "a prefix longer than its address has bits");
		else if (!prefix_is_clean(bytes->data, (uint32_t)bytes->len, rule->sources[i]->length))
			refuse(reasons, position, what,
			       "the address has bits behind the prefix; expected them to be 0");
	}
}

static bool is_one_host(const ProtobufCBinaryData *bytes)
{
	struct address address;

	if (!packet_address(&address, bytes))
		return false;
	const uint8_t *b = (const uint8_t *)&address;
	if (packet_address_is_v4(&address))
		return address.word[3] && b[12] != 127 && b[12] < 224;
	return b[0] != 0xff && (address.word[0] || address.word[1] || address.word[2] || ntohl(address.word[3]) > 1);
}

static void check_action(struct packet_reasons *reasons, const Rule *rule, size_t position)
{
	size_t device = strlen(rule->redirect_device);
	bool redirect = rule->action == MARCHER__PACKET__V1__GUARD_ACTION__GUARD_ACTION_REDIRECT;

	if (rule->action != MARCHER__PACKET__V1__GUARD_ACTION__GUARD_ACTION_ALLOW &&
	    rule->action != MARCHER__PACKET__V1__GUARD_ACTION__GUARD_ACTION_DENY && !redirect)
		refuse(reasons, position, "action", "expected allow (1), deny (2) or redirect (3)");
	if (rule->unlimited && rule->action != MARCHER__PACKET__V1__GUARD_ACTION__GUARD_ACTION_ALLOW)
		refuse(reasons, position, "unlimited", "only what is allowed can be without limits");
	if (redirect && (device > 0) == (rule->redirect_address.len > 0))
		refuse(reasons, position, "action", "expected one of redirect_device and redirect_address");
	if (!redirect && (device || rule->redirect_address.len))
		refuse(reasons, position, "action", "it says where to redirect to, but does not redirect");
	if (device >= IF_NAMESIZE)
		refuse(reasons, position, "redirect_device", "expected a name of at most 15 bytes");
	if (rule->redirect_address.len && !is_one_host(&rule->redirect_address))
		refuse(reasons, position, "redirect_address", "expected the address of one host, of 4 or 16 bytes");
}

static void check_rule(struct packet_reasons *reasons, const Rule *rule, size_t position)
{
	size_t name = strnlen(rule->guard, PACKET_SERVICE_NAME_MAX + 1);
	bool tcp = rule->transport == MARCHER__PACKET__V1__TRANSPORT__TRANSPORT_TCP;
	bool udp = rule->transport == MARCHER__PACKET__V1__TRANSPORT__TRANSPORT_UDP;
	char what[32];

	if (!name || name > PACKET_SERVICE_NAME_MAX)
		refuse(reasons, position, "guard", "expected a name of 1 to 127 bytes");
	for (size_t i = 0; i < name; i++)
		if (rule->guard[i] <= ' ' || rule->guard[i] > '~') {
			refuse(reasons, position, "guard", "expected printable ASCII characters without spaces");
			break;
		}
	if (!tcp && !udp && rule->transport != MARCHER__PACKET__V1__TRANSPORT__TRANSPORT_UNSPECIFIED)
		refuse(reasons, position, "transport", "expected TCP (1), UDP (2) or none (0)");
	if (rule->n_ports && !tcp && !udp)
		refuse(reasons, position, "ports", "ports need a transport");
	for (size_t i = 0; i < rule->n_ports; i++) {
		snprintf(what, sizeof(what), "ports[%zu]", i);
		if (!rule->ports[i]->first || rule->ports[i]->last > 65535 ||
		    rule->ports[i]->first > rule->ports[i]->last)
			refuse(reasons, position, what, "expected first and last of 1 to 65535, in this order");
	}
	check_sources(reasons, rule, position);
	check_action(reasons, rule, position);
}

static void check_limits(struct packet_reasons *reasons, const Marcher__Packet__V1__SourceLimits *limits)
{
	const uint64_t rates[] = {limits->packets_per_second, limits->bytes_per_second, limits->connections_per_second};

	if (!limits->ipv4_prefix || limits->ipv4_prefix > 32)
		packet_reason(reasons, "", "guard.limits.ipv4_prefix", "%u bits; expected 1 to 32",
		              limits->ipv4_prefix);
	if (!limits->ipv6_prefix || limits->ipv6_prefix > 128)
		packet_reason(reasons, "", "guard.limits.ipv6_prefix", "%u bits; expected 1 to 128",
		              limits->ipv6_prefix);
	if (!limits->burst_ms || limits->burst_ms > GUARD_BURST_MS_MAX)
		packet_reason(reasons, "", "guard.limits.burst_ms", "%llu ms; expected 1 to %u",
		              (unsigned long long)limits->burst_ms, GUARD_BURST_MS_MAX);
	for (size_t i = 0; i < 3; i++)
		if (rates[i] > GUARD_RATE_MAX)
			packet_reason(reasons, "", "guard.limits", "%llu per second; at most %llu",
			              (unsigned long long)rates[i], GUARD_RATE_MAX);
}

/* Every reason, but for those that only show when the classes are made. */
static bool check(const Guard *guard, struct packet_reasons *reasons)
{
	size_t prefixes = 0;

	for (size_t i = 0; i < guard->n_rules; i++)
		prefixes += guard->rules[i]->n_sources ? guard->rules[i]->n_sources : 2;
	if (guard->n_rules >= GUARD_RULES_MAX)
		packet_reason(reasons, "", "guard.rules", "%zu rules; at most %u. One rule may have many sources",
		              guard->n_rules, GUARD_RULES_MAX - 1);
	if (prefixes > GUARD_PREFIXES_MAX)
		packet_reason(reasons, "", "guard.rules", "%zu source prefixes in all; at most %u", prefixes,
		              GUARD_PREFIXES_MAX);
	if (reasons->count)
		return false;
	for (size_t i = 0; i < guard->n_rules; i++)
		check_rule(reasons, guard->rules[i], i);
	if (guard->limits)
		check_limits(reasons, guard->limits);
	if (guard->syn_cookies && (!guard->syn_cookies->on_per_second || !guard->syn_cookies->off_per_second ||
	                           guard->syn_cookies->off_per_second > guard->syn_cookies->on_per_second))
		packet_reason(reasons, "", "guard.syn_cookies",
		              "on at %llu SYNs per second and off at %llu; expected off to be at least 1, and no more "
		              "than on",
		              (unsigned long long)guard->syn_cookies->on_per_second,
		              (unsigned long long)guard->syn_cookies->off_per_second);
	return !reasons->count;
}

/* Sources. */

static int source_compare(const void *a, const void *b)
{
	const struct source *x = a, *y = b;
	int order = memcmp(&x->address, &y->address, sizeof(x->address));

	if (order)
		return order;
	if (x->length != y->length)
		return x->length < y->length ? -1 : 1;
	return x->rule < y->rule ? -1 : x->rule > y->rule;
}

static bool same_prefix(const struct source *a, const struct source *b)
{
	return a->length == b->length && !memcmp(&a->address, &b->address, sizeof(a->address));
}

/* shift: bits of struct address before those of its family. */
static bool prefix_has(const struct guard_prefix *prefix, const struct source *source, uint32_t shift)
{
	const uint8_t *a = (const uint8_t *)&prefix->address, *b = (const uint8_t *)&source->address;
	uint32_t bits = prefix->length + shift;

	if (prefix->length > source->length || memcmp(a, b, bits / 8) != 0)
		return false;
	return bits % 8 == 0 || !((a[bits / 8] ^ b[bits / 8]) >> (8 - bits % 8));
}

static bool collect_sources(struct compiling *c)
{
	size_t v4 = 0, v6 = 0;
	const struct address every_v4 = {.word = {0, 0, htonl(0xffff), 0}};

	for (size_t i = 0; i < c->guard->n_rules; i++)
		for (size_t j = 0; j < c->guard->rules[i]->n_sources; j++)
			*(c->guard->rules[i]->sources[j]->address.len == 4 ? &v4 : &v6) += 1;
	c->v4 = calloc(v4 + c->guard->n_rules + 1, sizeof(*c->v4));
	c->v6 = calloc(v6 + c->guard->n_rules + 1, sizeof(*c->v6));
	if (!c->v4 || !c->v6)
		return false;
	for (size_t i = 0; i < c->guard->n_rules; i++) {
		const Rule *rule = c->guard->rules[i];
		uint32_t index = (uint32_t)i + 1;
		for (size_t j = 0; j < rule->n_sources; j++) {
			bool is_v4 = rule->sources[j]->address.len == 4;
			struct source *source = is_v4 ? &c->v4[c->nv4++] : &c->v6[c->nv6++];
			packet_address(&source->address, &rule->sources[j]->address);
			source->length = rule->sources[j]->length;
			source->rule = index;
		}
		if (!rule->n_sources) {
			c->v4[c->nv4++] = (struct source){.address = every_v4, .rule = index};
			c->v6[c->nv6++] = (struct source){.rule = index};
		}
	}
	qsort(c->v4, c->nv4, sizeof(*c->v4), source_compare);
	qsort(c->v6, c->nv6, sizeof(*c->v6), source_compare);
	return true;
}

/* Classes. */

static void add_piece(struct port_rules *to, uint32_t first, uint32_t last, uint32_t rule)
{
	if (first > last)
		return;
	if (to->nspans == GUARD_CLASS_SPANS_MAX) {
		to->full = true;
		return;
	}
	uint32_t at = to->nspans++;
	for (; at && to->spans[at - 1].first > first; at--)
		to->spans[at] = to->spans[at - 1];
	to->spans[at] = (struct guard_span){(uint16_t)first, (uint16_t)last, rule};
}

/* Those of the ports that no span has yet. */
static void add_ports(struct port_rules *to, uint32_t first, uint32_t last, uint32_t rule)
{
	for (uint32_t i = 0; i < to->nspans && first <= last; i++) {
		struct guard_span span = to->spans[i];
		if (span.last < first)
			continue;
		if (span.first > last)
			break;
		if (first < span.first) {
			add_piece(to, first, span.first - 1u, rule);
			i++; /* it stands before the span now */
		}
		first = span.last + 1u;
	}
	add_piece(to, first, last, rule);
}

/* What the rules of one prefix say of a protocol, and those around it where they say nothing. */
static void class_ports(const struct compiling *c, enum guard_protocol protocol, const struct source *sources,
                        uint32_t count, const struct guard_class *parent, struct port_rules *out)
{
	const Marcher__Packet__V1__Transport transport =
	        protocol == GUARD_TCP   ? MARCHER__PACKET__V1__TRANSPORT__TRANSPORT_TCP
	        : protocol == GUARD_UDP ? MARCHER__PACKET__V1__TRANSPORT__TRANSPORT_UDP
	                                : MARCHER__PACKET__V1__TRANSPORT__TRANSPORT_UNSPECIFIED;
	uint32_t named = 0, any = 0;

	memset(out, 0, sizeof(*out));
	for (uint32_t i = 0; i < count; i++) {
		const Rule *rule = c->guard->rules[sources[i].rule - 1];
		if (rule->transport == MARCHER__PACKET__V1__TRANSPORT__TRANSPORT_UNSPECIFIED)
			any = any ? any : sources[i].rule;
		if (protocol == GUARD_OTHER || rule->transport != transport)
			continue;
		for (size_t j = 0; j < rule->n_ports; j++)
			add_ports(out, rule->ports[j]->first, rule->ports[j]->last, sources[i].rule);
		if (!rule->n_ports)
			named = named ? named : sources[i].rule;
	}
	out->otherwise = named ? named : any;
	if (out->otherwise || !parent)
		return;
	out->otherwise = parent->rule[protocol];
	if (protocol == GUARD_OTHER)
		return;
	for (uint32_t i = 0; i < parent->nspans[protocol]; i++) {
		struct guard_span span = c->tables->spans[parent->spans[protocol] + i];
		add_ports(out, span.first, span.last, span.rule);
	}
}

static bool room_for(void **list, uint32_t *room, uint32_t needed, size_t size)
{
	uint32_t more = *room ? *room : 64;

	if (needed <= *room)
		return true;
	while (more < needed)
		more *= 2;
	void *grown = realloc(*list, more * size);
	if (!grown)
		return false;
	*list = grown;
	*room = more;
	return true;
}

static const char *prefix_text(const struct source *source, char text[64])
{
	char address[INET6_ADDRSTRLEN];
	bool v4 = packet_address_is_v4(&source->address);

	inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? (const void *)&source->address.word[3] : (const void *)&source->address,
	          address, sizeof(address));
	snprintf(text, 64, "%s/%u", address, source->length);
	return text;
}

/* Index of a new class; UINT32_MAX: it cannot be, with a reason or without memory. */
static uint32_t add_class(struct compiling *c, const struct source *sources, uint32_t count, uint32_t parent)
{
	struct guard_tables *t = c->tables;
	struct guard_class class, around;
	char text[64];

	memset(&class, 0, sizeof(class));
	memset(&around, 0, sizeof(around));
	if (parent != UINT32_MAX)
		around = t->classes[parent];
	for (int protocol = 0; protocol < GUARD_PROTOCOLS; protocol++) {
		struct port_rules ports;
		class_ports(c, (enum guard_protocol)protocol, sources, count, parent == UINT32_MAX ? NULL : &around,
		            &ports);
		class.rule[protocol] = ports.otherwise;
		if (ports.full || t->nspans + ports.nspans > GUARD_SPANS_MAX) {
			packet_reason(c->reasons, "", "guard.rules",
			              "the ports of the rules for %s %s: at most %u ranges of one source and protocol, "
			              "and %u of all",
			              count ? prefix_text(sources, text) : "every source",
			              ports.full ? "are too many" : "do not fit beside those of other sources",
			              GUARD_CLASS_SPANS_MAX, GUARD_SPANS_MAX);
			return UINT32_MAX;
		}
		if (protocol == GUARD_OTHER || !ports.nspans)
			continue;
		if (!room_for((void **)&t->spans, &c->spans_room, t->nspans + ports.nspans, sizeof(*t->spans))) {
			c->no_memory = true;
			return UINT32_MAX;
		}
		class.spans[protocol] = t->nspans;
		class.nspans[protocol] = (uint16_t)ports.nspans;
		memcpy(t->spans + t->nspans, ports.spans, ports.nspans * sizeof(*t->spans));
		t->nspans += ports.nspans;
	}
	if (t->nclasses == GUARD_CLASSES_MAX) {
		packet_reason(
		        c->reasons, "", "guard.rules",
		        "the sources have more than %u different sets of rules: give sources that are treated alike "
		        "one rule in common",
		        GUARD_CLASSES_MAX);
		return UINT32_MAX;
	}
	if (!room_for((void **)&t->classes, &c->classes_room, t->nclasses + 1, sizeof(*t->classes))) {
		c->no_memory = true;
		return UINT32_MAX;
	}
	t->classes[t->nclasses] = class;
	return t->nclasses++;
}

static uint64_t class_key(const struct source *sources, uint32_t count, uint32_t parent)
{
	uint64_t key = packet_fingerprint(&parent, sizeof(parent));

	for (uint32_t i = 0; i < count; i++) {
		uint64_t pair[2] = {key, sources[i].rule};
		key = packet_fingerprint(pair, sizeof(pair));
	}
	return key;
}

/* Of these rules inside that prefix: one that is there, or a new one. */
static uint32_t class_of(struct compiling *c, const struct source *sources, uint32_t count, uint32_t parent)
{
	uint64_t key = class_key(sources, count, parent);
	uint32_t at = (uint32_t)key & (c->known_size - 1);

	for (; c->known[at].key; at = (at + 1) & (c->known_size - 1))
		if (c->known[at].key == key)
			return c->known[at].class;
	uint32_t class = add_class(c, sources, count, parent);
	if (class != UINT32_MAX)
		c->known[at] = (struct known_class){key, class};
	return class;
}

/* The prefixes of one family with their classes. */
static bool walk_family(struct compiling *c, const struct source *sources, uint32_t count, uint32_t shift,
                        struct guard_prefix **out, uint32_t *nout)
{
	struct guard_prefix around[DEPTH_MAX];
	uint32_t depth = 0;

	*out = calloc((size_t)count + 1, sizeof(**out));
	if (!*out) {
		c->no_memory = true;
		return false;
	}
	for (uint32_t i = 0, next; i < count; i = next) {
		for (next = i + 1; next < count && same_prefix(&sources[i], &sources[next]);)
			next++;
		while (depth && !prefix_has(&around[depth - 1], &sources[i], shift))
			depth--;
		/* What is around all prefixes is the class of every source, unless a prefix of no bits says more: then
		 * both are of one length, and that one has the rules of the other, too. */
		uint32_t parent = depth ? around[depth - 1].class : sources[i].length ? 0 : UINT32_MAX;
		uint32_t class = class_of(c, sources + i, next - i, parent);
		if (class == UINT32_MAX)
			return false;
		struct guard_prefix prefix = {
		        .address = sources[i].address, .length = sources[i].length, .class = class};
		around[depth++] = prefix;
		if (class || prefix.length)
			(*out)[(*nout)++] = prefix;
	}
	return true;
}

/* Class 0: of the rules that name no source. */
static bool make_root(struct compiling *c)
{
	struct source *every = calloc(c->guard->n_rules + 1, sizeof(*every));
	uint32_t count = 0;

	if (!every) {
		c->no_memory = true;
		return false;
	}
	for (size_t i = 0; i < c->guard->n_rules; i++)
		if (!c->guard->rules[i]->n_sources)
			every[count++].rule = (uint32_t)i + 1;
	uint32_t class = class_of(c, every, count, UINT32_MAX);
	free(every);
	return class == 0;
}

static bool make_classes(struct compiling *c)
{
	c->known_size = 64;
	while (c->known_size < 2 * (c->nv4 + c->nv6 + 1))
		c->known_size *= 2;
	c->known = calloc(c->known_size, sizeof(*c->known));
	if (!c->known) {
		c->no_memory = true;
		return false;
	}
	return make_root(c) && walk_family(c, c->v4, c->nv4, 96, &c->tables->v4, &c->tables->nv4) &&
	       walk_family(c, c->v6, c->nv6, 0, &c->tables->v6, &c->tables->nv6);
}

/* Rules and settings. */

/* Of everything but its position: the rule that another one was put before is the same. */
static uint64_t rule_identity(const Rule *rule)
{
	Rule same = *rule;

	same.position = 0;
	size_t length = marcher__packet__v1__guard_rule__get_packed_size(&same);
	uint8_t *bytes = malloc(length + 1);
	if (!bytes)
		return 0;
	marcher__packet__v1__guard_rule__pack(&same, bytes);
	uint64_t identity = packet_fingerprint(bytes, length);
	free(bytes);
	return identity;
}

static bool make_rules(struct compiling *c)
{
	struct guard_tables *t = c->tables;

	t->nrules = (uint32_t)c->guard->n_rules + 1;
	t->rules = calloc(t->nrules, sizeof(*t->rules));
	t->facts = calloc(t->nrules, sizeof(*t->facts));
	if (!t->rules || !t->facts)
		return false;
	t->rules[0].action = c->guard->deny_by_default ? GUARD_DENY : GUARD_ALLOW;
	for (uint32_t i = 1; i < t->nrules; i++) {
		const Rule *from = c->guard->rules[i - 1];
		struct guard_rule *rule = &t->rules[i];
		struct guard_rule_facts *facts = &t->facts[i];
		switch (from->action) {
		case MARCHER__PACKET__V1__GUARD_ACTION__GUARD_ACTION_DENY:
			rule->action = GUARD_DENY;
			break;
		case MARCHER__PACKET__V1__GUARD_ACTION__GUARD_ACTION_REDIRECT:
			rule->action = *from->redirect_device ? GUARD_TO_DEVICE : GUARD_TO_NEXT_HOP;
			break;
		default:
			rule->action = GUARD_ALLOW;
		}
		rule->flags = from->unlimited ? GUARD_UNLIMITED : 0;
		if (from->redirect_address.len)
			packet_address(&rule->next_hop, &from->redirect_address);
		facts->identity = rule_identity(from);
		facts->position = from->position;
		snprintf(facts->guard, sizeof(facts->guard), "%s", from->guard);
		snprintf(facts->device, sizeof(facts->device), "%s", from->redirect_device);
		if (!facts->identity)
			return false;
	}
	return true;
}

/* The first length bits, of 128. */
static struct address mask_of(uint32_t length)
{
	struct address mask = {{0}};
	uint8_t *bytes = (uint8_t *)&mask;

	for (uint32_t bit = 0; bit < length; bit++)
		bytes[bit / 8] |= (uint8_t)(0x80 >> bit % 8);
	return mask;
}

static struct guard_limit limit_of(uint64_t per_second, uint64_t burst_ms)
{
	return (struct guard_limit){.cost = per_second ? (NS_PER_SECOND << GUARD_COST_SHIFT) / per_second : 0,
	                            .burst_ns = burst_ms * 1000000};
}

/* Bits of a filter: of every value that the byte at at may have in an address of the prefix. */
static void filter_prefixes(__u64 filter[4], const struct guard_prefix *prefixes, uint32_t count, uint32_t at,
                            uint32_t before)
{
	for (uint32_t i = 0; i < count; i++) {
		uint32_t known = prefixes[i].length > before ? prefixes[i].length - before : 0;
		uint32_t free_bits = known < 8 ? 8 - known : 0;
		uint32_t first = ((const uint8_t *)&prefixes[i].address)[at];
		for (uint32_t value = first; value < first + (1u << free_bits) && value < 256; value++)
			filter[value / 64] |= 1ull << value % 64;
	}
}

static void make_settings(const Guard *from, struct guard_tables *t)
{
	const Marcher__Packet__V1__SourceLimits *limits = from->limits;
	struct guard *guard = &t->guard;

	guard->flags = (from->drop_malformed ? GUARD_MALFORMED : 0) |
	               (from->drop_bad_fragments ? GUARD_BAD_FRAGMENTS : 0) |
	               (from->drop_martians ? GUARD_MARTIANS : 0) |
	               (from->n_rules || from->deny_by_default ? GUARD_RULES : 0) | (t->nv4 ? GUARD_SOURCES_V4 : 0) |
	               (t->nv6 ? GUARD_SOURCES_V6 : 0) | (from->deny_by_default ? GUARD_DEFAULT_DENIES : 0);
	guard->everyone = t->classes[0];
	for (int protocol = 0; protocol < 2; protocol++)
		if (guard->everyone.nspans[protocol] && guard->everyone.nspans[protocol] <= GUARD_NEAR_SPANS)
			memcpy(guard->near_spans[protocol], t->spans + guard->everyone.spans[protocol],
			       guard->everyone.nspans[protocol] * sizeof(*t->spans));
	filter_prefixes(guard->near_v4, t->v4, t->nv4, 12, 0);
	filter_prefixes(guard->near_v6, t->v6, t->nv6, 3, 24);
	if (limits) {
		guard->flags |= (limits->packets_per_second ? GUARD_LIMIT_PACKETS : 0) |
		                (limits->bytes_per_second ? GUARD_LIMIT_BYTES : 0) |
		                (limits->connections_per_second ? GUARD_LIMIT_CONNECTIONS : 0);
		guard->mask_v4 = mask_of(96 + limits->ipv4_prefix);
		guard->mask_v6 = mask_of(limits->ipv6_prefix);
		guard->limits[GUARD_PACKETS] = limit_of(limits->packets_per_second, limits->burst_ms);
		guard->limits[GUARD_BYTES] = limit_of(limits->bytes_per_second, limits->burst_ms);
		guard->limits[GUARD_CONNECTIONS] = limit_of(limits->connections_per_second, limits->burst_ms);
	}
	if (from->syn_cookies) {
		guard->flags |= GUARD_COOKIES | (from->syn_cookies->always ? GUARD_COOKIES_ALWAYS : 0);
		guard->cookies_on = from->syn_cookies->on_per_second;
		guard->cookies_off = from->syn_cookies->off_per_second;
	}
}

/* One after the other: each list by its bytes. No structure here has padding. */
static uint64_t fingerprint(const struct guard_tables *t)
{
	const struct {
		const void *bytes;
		size_t length;
	} lists[] = {
	        {&t->guard, sizeof(t->guard)},
	        {t->v4, t->nv4 * sizeof(*t->v4)},
	        {t->v6, t->nv6 * sizeof(*t->v6)},
	        {t->classes, t->nclasses * sizeof(*t->classes)},
	        {t->spans, t->nspans * sizeof(*t->spans)},
	        {t->rules, t->nrules * sizeof(*t->rules)},
	        {t->facts, t->nrules * sizeof(*t->facts)},
	};
	uint64_t parts[sizeof(lists) / sizeof(lists[0])];

	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
		parts[i] = lists[i].length ? packet_fingerprint(lists[i].bytes, lists[i].length) : 0;
	return packet_fingerprint(parts, sizeof(parts));
}

int packet_guard_check(const Guard *guard, struct guard_tables **out, struct packet_reasons *reasons)
{
	struct compiling c = {.guard = guard, .reasons = reasons};

	*out = NULL;
	if (!check(guard, reasons))
		return reasons->no_memory ? MARCHER_E_NO_MEMORY : MARCHER_OK;
	c.tables = calloc(1, sizeof(*c.tables));
	bool good = c.tables && collect_sources(&c) && make_rules(&c);
	c.no_memory = !good;
	if (good && make_classes(&c)) {
		make_settings(guard, c.tables);
		c.tables->fingerprint = fingerprint(c.tables);
		*out = c.tables;
	} else {
		packet_guard_tables_free(c.tables);
	}
	free(c.v4);
	free(c.v6);
	free(c.known);
	return c.no_memory || reasons->no_memory ? MARCHER_E_NO_MEMORY : MARCHER_OK;
}

void packet_guard_tables_free(struct guard_tables *tables)
{
	if (!tables)
		return;
	free(tables->v4);
	free(tables->v6);
	free(tables->classes);
	free(tables->spans);
	free(tables->rules);
	free(tables->facts);
	free(tables);
}
