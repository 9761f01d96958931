/* SPDX-License-Identifier: Apache-2.0 */
/* Guards put in force: which rule decides, what a second table changes, and what outlives the handle. */
#include "packet_rig.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <linux/if_ether.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define NEEDS_PRIVILEGE(state)  \
	do {                    \
		if (!*(state))  \
			skip(); \
	} while (0)

typedef Marcher__Packet__V1__Guard Guard;
typedef Marcher__Packet__V1__GuardRule Rule;
typedef Marcher__Packet__V1__Prefix Prefix;
typedef Marcher__Packet__V1__Ports Ports;

static int open_setup(void **state)
{
	int code = packet_rig_setup(state);

	if (code || !*state)
		return code;
	/* No packet but the test's. */
	packet_rig_run("ip link set v1 down");
	packet_rig_must_open(*state, "v0");
	return code;
}

static void *append(void *list, size_t *count, void *item)
{
	void **items = realloc(list, (*count + 1) * sizeof(void *));

	items[(*count)++] = item;
	return items;
}

static ProtobufCBinaryData bytes_of(const char *text)
{
	ProtobufCBinaryData data = {.len = strchr(text, ':') ? 16 : 4, .data = malloc(16)};

	if (inet_pton(data.len == 4 ? AF_INET : AF_INET6, text, data.data) != 1)
		fail_msg("no address: %s", text);
	return data;
}

static void add_source(Rule *rule, const char *text)
{
	char address[64];
	Prefix *prefix = calloc(1, sizeof(*prefix));
	const char *slash = strchr(text, '/');

	snprintf(address, sizeof(address), "%.*s", (int)(slash ? slash - text : (long)strlen(text)), text);
	marcher__packet__v1__prefix__init(prefix);
	prefix->address = bytes_of(address);
	prefix->length = slash ? (uint32_t)atoi(slash + 1) : (uint32_t)prefix->address.len * 8;
	rule->sources = append(rule->sources, &rule->n_sources, prefix);
}

/* Words: allow, deny, unlimited, tcp, udp, from PREFIX, port FIRST[-LAST], device NAME, via ADDRESS. */
static void add_rule(Guard *guard, const char *line)
{
	char *copy = strdup(line), *rest = copy, *word;
	Rule *rule = calloc(1, sizeof(*rule));

	marcher__packet__v1__guard_rule__init(rule);
	rule->guard = strdup("edge");
	rule->position = (uint32_t)guard->n_rules;
	while ((word = strsep(&rest, " "))) {
		if (!strcmp(word, "allow") || !strcmp(word, "unlimited")) {
			rule->action = MARCHER__PACKET__V1__GUARD_ACTION__GUARD_ACTION_ALLOW;
			rule->unlimited |= *word == 'u';
		} else if (!strcmp(word, "deny")) {
			rule->action = MARCHER__PACKET__V1__GUARD_ACTION__GUARD_ACTION_DENY;
		} else if (!strcmp(word, "tcp")) {
			rule->transport = MARCHER__PACKET__V1__TRANSPORT__TRANSPORT_TCP;
		} else if (!strcmp(word, "udp")) {
			rule->transport = MARCHER__PACKET__V1__TRANSPORT__TRANSPORT_UDP;
		} else if (!strcmp(word, "from")) {
			add_source(rule, strsep(&rest, " "));
		} else if (!strcmp(word, "port")) {
			Ports *ports = calloc(1, sizeof(*ports));
			marcher__packet__v1__ports__init(ports);
			int found = sscanf(strsep(&rest, " "), "%u-%u", &ports->first, &ports->last);
			ports->last = found == 2 ? ports->last : ports->first;
			rule->ports = append(rule->ports, &rule->n_ports, ports);
		} else if (!strcmp(word, "device")) {
			rule->action = MARCHER__PACKET__V1__GUARD_ACTION__GUARD_ACTION_REDIRECT;
			rule->redirect_device = strdup(strsep(&rest, " "));
		} else if (!strcmp(word, "via")) {
			rule->action = MARCHER__PACKET__V1__GUARD_ACTION__GUARD_ACTION_REDIRECT;
			rule->redirect_address = bytes_of(strsep(&rest, " "));
		} else {
			fail_msg("no word of a rule: %s", word);
		}
	}
	guard->rules = append(guard->rules, &guard->n_rules, rule);
	free(copy);
}

/* One rule per line. */
static PacketTable *guarded(const char *lines)
{
	PacketTable *table = packet_table("");
	char *copy = strdup(lines), *rest = copy, *line;

	table->guard = calloc(1, sizeof(*table->guard));
	marcher__packet__v1__guard__init(table->guard);
	while ((line = strsep(&rest, "\n")))
		if (*line)
			add_rule(table->guard, line);
	free(copy);
	return table;
}

static void apply(struct packet_rig *rig, PacketTable *table)
{
	ApplyReply *reply;
	int code = packet_rig_apply_table(rig, table, &reply);

	if (code)
		fail_msg("apply: %s: %s", marcher_error_name(code), marcher_packet_last_error(rig->packet));
	marcher__packet__v1__apply_reply__free_unpacked(reply, NULL);
	packet_table_free(table);
}

struct packet_facts {
	const char *source;
	uint8_t protocol;
	uint16_t port;
};

/* As if it had come by v0. */
static uint32_t verdict(const struct packet_rig *rig, const struct packet_facts *facts)
{
	struct {
		uint8_t unused[2]; /* so that what is behind the Ethernet header is aligned */
		struct ethhdr eth;
		uint8_t rest[100];
	} __attribute__((packed, aligned(8))) frame = {.eth = {.h_dest = {2}}}, out;
	bool v6 = strchr(facts->source, ':');
	size_t transport = v6 ? sizeof(struct ip6_hdr) : sizeof(struct iphdr),
	       length = facts->protocol == IPPROTO_TCP ? 20 : 8;
	struct iphdr *ip = (struct iphdr *)frame.rest;
	struct ip6_hdr *ip6 = (struct ip6_hdr *)frame.rest;
	struct tcphdr *tcp = (struct tcphdr *)(frame.rest + transport);
	struct udphdr *udp = (struct udphdr *)(frame.rest + transport);

	frame.eth.h_proto = htons(v6 ? ETH_P_IPV6 : ETH_P_IP);
	if (v6) {
		ip6->ip6_vfc = 6 << 4;
		ip6->ip6_plen = htons((uint16_t)length);
		ip6->ip6_nxt = facts->protocol;
		ip6->ip6_hlim = 64;
		inet_pton(AF_INET6, facts->source, &ip6->ip6_src);
		inet_pton(AF_INET6, "2001:db8:99::1", &ip6->ip6_dst);
	} else {
		ip->version = 4;
		ip->ihl = 5;
		ip->tot_len = htons((uint16_t)(transport + length));
		ip->ttl = 64;
		ip->protocol = facts->protocol;
		inet_pton(AF_INET, facts->source, &ip->saddr);
		inet_pton(AF_INET, "198.51.100.99", &ip->daddr);
	}
	tcp->source = htons(4000);
	tcp->dest = htons(facts->port);
	if (facts->protocol == IPPROTO_TCP) {
		tcp->doff = 5;
		tcp->ack = 1;
	} else {
		udp->len = htons(8);
	}
	struct xdp_md context = {.data_end = (uint32_t)(sizeof(frame.eth) + transport + length),
	                         .ingress_ifindex = if_nametoindex("v0")};
	LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = &frame.eth, .data_size_in = context.data_end,
	            .data_out = &out.eth, .data_size_out = sizeof(out) - sizeof(out.unused), .ctx_in = &context,
	            .ctx_size_in = sizeof(context), .repeat = 1);
	int fd = packet_pin(rig, "programs/xdp_root");
	assert_true(fd >= 0);
	assert_int_equal(bpf_prog_test_run_opts(fd, &run), 0);
	close(fd);
	return run.retval;
}

static uint64_t drops(struct packet_rig *rig, const char *reason)
{
	PacketStatus *status = packet_rig_status(rig);
	uint64_t packets = UINT64_MAX;

	for (size_t i = 0; i < status->n_drops; i++)
		if (!strcmp(status->drops[i]->reason, reason))
			packets = status->drops[i]->packets;
	packet_status_free(status);
	return packets;
}

/* Packets that each rule has decided about; [0] is the default. Returns their number. */
static size_t hits(struct packet_rig *rig, uint64_t *counts, size_t space)
{
	PacketStatus *status = packet_rig_status(rig);
	size_t count = 0;

	if (status->guard) {
		counts[count++] = status->guard->default_traffic->packets;
		for (size_t i = 0; i < status->guard->n_rules && count < space; i++) {
			assert_int_equal(status->guard->rules[i]->position, i);
			assert_string_equal(status->guard->rules[i]->guard, "edge");
			counts[count++] = status->guard->rules[i]->traffic->packets;
		}
	}
	packet_status_free(status);
	return count;
}

/* By the words of packet.proto: the index of the deciding rule counted from 1; 0: the default. */
static size_t decider(const Guard *guard, const struct packet_facts *facts)
{
	struct address source = packet_rig_address(facts->source);
	bool v6 = strchr(facts->source, ':');
	int best_length = -1, best_grade = -1;
	size_t best = 0;

	for (size_t i = 0; i < guard->n_rules; i++) {
		const Rule *rule = guard->rules[i];
		int length = rule->n_sources ? -1 : 0, grade = 0;
		for (size_t j = 0; j < rule->n_sources; j++) {
			const Prefix *prefix = rule->sources[j];
			const uint8_t *a = prefix->address.data, *b = (const uint8_t *)&source + (v6 ? 0 : 12);
			bool inside = (prefix->address.len == 16) == v6;
			for (uint32_t bit = 0; inside && bit < prefix->length; bit++)
				inside = !((a[bit / 8] ^ b[bit / 8]) & 0x80 >> bit % 8);
			if (inside && (int)prefix->length > length)
				length = (int)prefix->length;
		}
		if (rule->transport) {
			uint8_t protocol = rule->transport == 1 ? IPPROTO_TCP : IPPROTO_UDP;
			bool port = !rule->n_ports;
			for (size_t j = 0; j < rule->n_ports; j++)
				port |= facts->port >= rule->ports[j]->first && facts->port <= rule->ports[j]->last;
			grade = protocol != facts->protocol || !port ? -1 : rule->n_ports ? 2 : 1;
		}
		if (length < 0 || grade < 0 || length < best_length || (length == best_length && grade <= best_grade))
			continue;
		best_length = length;
		best_grade = grade;
		best = i + 1;
	}
	return best;
}

static uint32_t random_state = 42;

static uint32_t any(uint32_t below)
{
	random_state = random_state * 1664525 + 1013904223;
	return (random_state >> 8) % below;
}

static void random_source(char text[64])
{
	/* Of a small world, so that prefixes are in each other. */
	uint32_t length = (uint32_t[]){0, 1, 8, 15, 16, 17, 24, 31, 32}[any(9)];
	uint32_t address = (10u << 24 | any(2) << 16 | any(2) << 8 | any(4)) & (length ? ~0u << (32 - length) : 0);

	if (any(3))
		snprintf(text, 64, "%u.%u.%u.%u/%u", address >> 24, address >> 16 & 255, address >> 8 & 255,
		         address & 255, length);
	else
		snprintf(text, 64, "%s",
		         (const char *[]){"::/0", "2001:db8::/32", "2001:db8:1::/48", "2001:db8::1/128",
		                          "2001:db8::/127"}[any(5)]);
}

static void random_rules(char *lines)
{
	for (uint32_t i = 1 + any(12); i; i--) {
		char source[64];
		bool transport = any(3);
		lines += sprintf(lines, "%s", any(2) ? "allow" : "deny");
		for (uint32_t sources = any(4); sources; sources--) {
			random_source(source);
			lines += sprintf(lines, " from %s", source);
		}
		if (transport)
			lines += sprintf(lines, " %s", any(2) ? "tcp" : "udp");
		for (uint32_t ports = transport ? any(4) : 0; ports; ports--) {
			uint32_t first = 1 + any(10);
			lines += sprintf(lines, " port %u-%u", first, first + any(6));
		}
		lines += sprintf(lines, "\n");
	}
}

static void the_rule_that_decides_is_the_one_that_the_words_say(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	static const char *const sources[] = {"10.0.0.1",  "10.0.0.2", "10.0.1.3",    "10.1.0.1",     "10.1.1.2",
	                                      "138.0.0.1", "9.9.9.9",  "2001:db8::1", "2001:db8:1::", "2a00::1"};
	static const uint8_t protocols[] = {IPPROTO_TCP, IPPROTO_UDP, IPPROTO_ICMP};

	for (int round = 0; round < 25; round++) {
		char lines[4096] = "";
		uint64_t before[32] = {0}, after[32] = {0};
		random_rules(lines);
		PacketTable *kept = guarded(lines), *table = guarded(lines);
		table->guard->deny_by_default = kept->guard->deny_by_default = any(2);
		apply(rig, table);
		size_t count = hits(rig, before, 32);
		assert_int_equal(count, kept->guard->n_rules + 1);
		for (int packet = 0; packet < 40; packet++) {
			struct packet_facts facts = {sources[any(10)], protocols[any(3)], (uint16_t)(1 + any(18))};
			size_t rule = decider(kept->guard, &facts);
			bool denied = rule ? kept->guard->rules[rule - 1]->action == 2 : kept->guard->deny_by_default;
			uint32_t actual = verdict(rig, &facts);
			hits(rig, after, 32);
			for (size_t i = 0; i < count; i++)
				if (after[i] != before[i] + (i == rule && (rule || denied)))
					fail_msg("from %s, protocol %u, port %u: rule %zu was to decide, rule %zu "
					         "counts %llu packets more; rules:\n%s",
					         facts.source, facts.protocol, facts.port, rule, i,
					         (unsigned long long)(after[i] - before[i]), lines);
			assert_int_equal(actual, denied ? XDP_DROP : XDP_PASS);
			memcpy(before, after, sizeof(before));
		}
		packet_table_free(kept);
	}
}

static void a_rule_keeps_its_count_when_others_come_and_go(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	const struct packet_facts http = {"10.0.0.1", IPPROTO_TCP, 80}, dns = {"10.0.0.1", IPPROTO_UDP, 53};
	uint64_t counts[8];

	apply(rig, guarded("deny tcp port 80\ndeny udp port 53\n"));
	assert_int_equal(verdict(rig, &http), XDP_DROP);
	assert_int_equal(verdict(rig, &dns), XDP_DROP);
	assert_int_equal(verdict(rig, &dns), XDP_DROP);
	apply(rig, guarded("allow from 192.0.2.9\ndeny udp port 53\n"));
	assert_int_equal(hits(rig, counts, 8), 3);
	assert_int_equal(counts[1], 0);
	assert_int_equal(counts[2], 2);
	/* What comes back begins anew; so does what is another rule. */
	apply(rig, guarded("deny udp port 53\ndeny tcp port 80\n"));
	assert_int_equal(hits(rig, counts, 8), 3);
	assert_int_equal(counts[1], 2);
	assert_int_equal(counts[2], 0);
	assert_int_equal(packet_entries(rig, "guard_records"), 3);
	/* Two that are the same have a count each. */
	apply(rig, guarded("deny udp port 53\ndeny udp port 53\n"));
	assert_int_equal(verdict(rig, &dns), XDP_DROP);
	assert_int_equal(hits(rig, counts, 8), 3);
	assert_int_equal(counts[1], 3);
	assert_int_equal(counts[2], 0);
}

static uint32_t inner_id(const struct packet_rig *rig, const char *map, uint32_t place)
{
	char name[64];
	uint32_t id = 0;
	snprintf(name, sizeof(name), "maps/%s", map);
	int fd = packet_pin(rig, name);

	if (bpf_map_lookup_elem(fd, &place, &id))
		id = 0;
	close(fd);
	return id;
}

static struct guard in_force(const struct packet_rig *rig)
{
	struct guard guard = {0};
	uint32_t zero = 0;
	int fd = bpf_map_get_fd_by_id(inner_id(rig, "guard", 0));

	assert_int_equal(bpf_map_lookup_elem(fd, &zero, &guard), 0);
	close(fd);
	return guard;
}

/* Pins of tables that are in maps of maps. */
static int pins_of_tables(struct packet_rig *rig)
{
	char path[PATH_MAX];
	struct dirent *entry;
	int count = 0;

	snprintf(path, sizeof(path), "%s/v%d/maps", rig->pin_dir, LAYOUT_VERSION);
	DIR *directory = opendir(path);
	assert_non_null(directory);
	while ((entry = readdir(directory)))
		count += !!strstr(entry->d_name, "_table");
	closedir(directory);
	return count;
}

static PacketTable *with_everything(void)
{
	PacketTable *table = guarded("deny from 10.0.0.0/8 tcp port 80\nallow from 2001:db8::/32\n");
	Guard *guard = table->guard;

	guard->drop_malformed = guard->drop_bad_fragments = guard->drop_martians = true;
	guard->limits = calloc(1, sizeof(*guard->limits));
	marcher__packet__v1__source_limits__init(guard->limits);
	guard->limits->ipv4_prefix = 24;
	guard->limits->ipv6_prefix = 64;
	guard->limits->packets_per_second = 1000;
	guard->limits->connections_per_second = 10;
	guard->limits->burst_ms = 1000;
	guard->syn_cookies = calloc(1, sizeof(*guard->syn_cookies));
	marcher__packet__v1__syn_cookies__init(guard->syn_cookies);
	guard->syn_cookies->on_per_second = 10000;
	guard->syn_cookies->off_per_second = 5000;
	return table;
}

static void the_same_guard_touches_nothing_and_outlives_the_handle(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	const struct packet_facts http = {"10.0.0.1", IPPROTO_TCP, 80};
	uint64_t counts[8];

	apply(rig, with_everything());
	uint32_t guard = inner_id(rig, "guard", 0), rules = inner_id(rig, "guard_rules", 0);
	uint32_t debts = inner_id(rig, "guard_debts", 0);
	assert_int_not_equal(guard, 0);
	assert_int_not_equal(rules, 0);
	assert_int_not_equal(debts, 0);
	assert_int_equal(inner_id(rig, "guard_rules", 1), 0);
	assert_int_equal(verdict(rig, &http), XDP_DROP); /* the checksum is wrong */
	assert_int_equal(drops(rig, "bad-checksum"), 1);
	for (int i = 0; i < 2; i++) {
		apply(rig, with_everything());
		assert_int_equal(inner_id(rig, "guard", 0), guard);
		assert_int_equal(inner_id(rig, "guard_rules", 0), rules);
		assert_int_equal(inner_id(rig, "guard_debts", 0), debts);
		packet_rig_close(rig);
		packet_rig_must_open(rig, "v0");
		assert_int_equal(hits(rig, counts, 8), 3);
	}
	/* Another rule: the other place, and what sources owe stays. */
	PacketTable *table = with_everything();
	add_rule(table->guard, "deny udp");
	apply(rig, table);
	assert_int_not_equal(inner_id(rig, "guard", 0), guard);
	assert_int_equal(inner_id(rig, "guard_rules", 0), 0);
	assert_int_not_equal(inner_id(rig, "guard_rules", 1), 0);
	assert_int_equal(inner_id(rig, "guard_debts", 0), debts);
	/* One source is something else: what the old ones owe is of no use. */
	table = with_everything();
	table->guard->limits->ipv4_prefix = 32;
	apply(rig, table);
	assert_int_not_equal(inner_id(rig, "guard_debts", 0), debts);
	/* And none at all. */
	apply(rig, packet_table(""));
	assert_int_equal(inner_id(rig, "guard", 0), 0);
	for (uint32_t place = 0; place < 2; place++) {
		assert_int_equal(inner_id(rig, "guard_rules", place), 0);
		assert_int_equal(inner_id(rig, "guard_sources_v4", place), 0);
		assert_int_equal(inner_id(rig, "guard_classes", place), 0);
	}
	assert_int_equal(inner_id(rig, "guard_debts", 0), 0);
	assert_int_equal(inner_id(rig, "guard_datagrams", 0), 0);
	assert_int_equal(packet_entries(rig, "guard_records"), 0);
	PacketStatus *status = packet_rig_status(rig);
	assert_null(status->guard);
	packet_status_free(status);
}

static void a_guard_outlives_a_death_in_the_middle_of_an_exchange(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	char pin[PATH_MAX], half[PATH_MAX];
	uint64_t counts[8];

	apply(rig, with_everything());
	uint32_t guard = inner_id(rig, "guard", 0);
	packet_rig_close(rig);
	snprintf(pin, sizeof(pin), "%s/v%d/maps/guard_table", rig->pin_dir, LAYOUT_VERSION);
	snprintf(half, sizeof(half), "%s/v%d/maps/guard_table_new", rig->pin_dir, LAYOUT_VERSION);
	assert_int_equal(rename(pin, half), 0);
	packet_rig_must_open(rig, "v0");
	assert_int_equal(hits(rig, counts, 8), 3);
	apply(rig, with_everything());
	assert_int_equal(inner_id(rig, "guard", 0), guard);
	/* What is pinned goes with it. */
	apply(rig, packet_table(""));
	assert_int_equal(pins_of_tables(rig), 0);
}

static void this_nodes_addresses_and_devices_are_followed(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	struct address own = packet_rig_address("192.0.2.1"), other = packet_rig_address("192.0.2.77");
	PacketTable *table = guarded("device trap0 from 10.0.0.0/8\n");
	const struct packet_facts trapped = {"10.0.0.1", IPPROTO_UDP, 9};

	table->guard->drop_martians = true;
	apply(rig, table);
	assert_true(packet_has(rig, "own_addresses", &own));
	assert_false(packet_has(rig, "own_addresses", &other));
	PacketStatus *status = packet_rig_status(rig);
	assert_non_null(strstr(status->guard->rules[0]->problem, "no device trap0"));
	packet_status_free(status);
	assert_int_equal(verdict(rig, &trapped), XDP_DROP);
	assert_int_equal(drops(rig, "guard-redirect"), 1);
	packet_rig_run("ip link add trap0 type veth peer name trap1 && ip address add 192.0.2.77/32 dev v0 && "
	               "ip address del 192.0.2.1/24 dev v0");
	assert_int_equal(marcher_packet_tend(rig->packet), MARCHER_OK);
	assert_true(packet_has(rig, "own_addresses", &other));
	assert_false(packet_has(rig, "own_addresses", &own));
	status = packet_rig_status(rig);
	assert_string_equal(status->guard->rules[0]->problem, "");
	packet_status_free(status);
	assert_int_equal(verdict(rig, &trapped), XDP_REDIRECT);
	packet_rig_run("ip link delete trap0");
	assert_int_equal(marcher_packet_tend(rig->packet), MARCHER_OK);
	assert_int_equal(verdict(rig, &trapped), XDP_DROP);
}

static void this_nodes_addresses_are_known_without_a_guard(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	struct address own = packet_rig_address("192.0.2.1"), other = packet_rig_address("192.0.2.78");

	apply(rig, packet_table(""));
	assert_true(packet_has(rig, "own_addresses", &own));
	packet_rig_run("ip address add 192.0.2.78/32 dev v0");
	assert_int_equal(marcher_packet_tend(rig->packet), MARCHER_OK);
	assert_true(packet_has(rig, "own_addresses", &other));
	/* Nor does a guard that comes and goes take them away. */
	apply(rig, with_everything());
	apply(rig, packet_table(""));
	assert_true(packet_has(rig, "own_addresses", &own));
	packet_rig_run("ip address del 192.0.2.78/32 dev v0");
	apply(rig, packet_table(""));
	assert_false(packet_has(rig, "own_addresses", &other));
}

static void what_cookies_may_offer_follows_the_kernels_settings(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	PacketTable *table = guarded("");

	packet_rig_run("sysctl -qw net.ipv4.tcp_timestamps=1 net.ipv4.tcp_syncookies=1");
	table->guard->syn_cookies = calloc(1, sizeof(*table->guard->syn_cookies));
	marcher__packet__v1__syn_cookies__init(table->guard->syn_cookies);
	table->guard->syn_cookies->on_per_second = table->guard->syn_cookies->off_per_second = 1;
	apply(rig, table);
	PacketStatus *status = packet_rig_status(rig);
	assert_int_equal(status->guard->syn_cookies->n_limits, 2);
	assert_non_null(strstr(status->guard->syn_cookies->limits[0], "tcp_syncookies"));
	assert_non_null(strstr(status->guard->syn_cookies->limits[1], "tcp_timestamps"));
	assert_false(status->guard->syn_cookies->active);
	packet_status_free(status);
	packet_rig_run("sysctl -qw net.ipv4.tcp_timestamps=2 net.ipv4.tcp_syncookies=2");
	assert_int_equal(marcher_packet_tend(rig->packet), MARCHER_OK);
	status = packet_rig_status(rig);
	assert_int_equal(status->guard->syn_cookies->n_limits, 0);
	packet_status_free(status);
	packet_rig_run("sysctl -qw net.ipv4.tcp_timestamps=1 net.ipv4.tcp_syncookies=1");
}

static void a_hundred_thousand_prefixes_are_one_class(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	PacketTable *table = guarded("deny\nallow from 10.200.0.0/16 tcp port 80\n");
	const struct packet_facts listed = {"10.1.134.159", IPPROTO_TCP, 80}, port = {"10.200.0.1", IPPROTO_TCP, 80};

	table->guard->rules[0]->sources = calloc(100000, sizeof(Prefix *));
	for (uint32_t i = 0; i < 100000; i++) {
		Prefix *prefix = calloc(1, sizeof(*prefix));
		uint32_t address = htonl((10u << 24) + i);
		marcher__packet__v1__prefix__init(prefix);
		prefix->address = (ProtobufCBinaryData){.len = 4, .data = malloc(4)};
		memcpy(prefix->address.data, &address, 4);
		prefix->length = 32;
		table->guard->rules[0]->sources[i] = prefix;
	}
	table->guard->rules[0]->n_sources = 100000;
	apply(rig, table);
	PacketStatus *status = packet_rig_status(rig);
	assert_int_equal(status->guard->prefixes, 100001);
	assert_int_equal(status->guard->classes, 3);
	packet_status_free(status);
	assert_int_equal(verdict(rig, &listed), XDP_DROP);
	assert_int_equal(verdict(rig, &port), XDP_PASS);
}

#define PORT 4711
#define BULK (3u << 20)

/* A client in a network namespace of its own at the other end of v0. */
static pid_t start_client(const char *address, uint64_t connections)
{
	int gone[2];

	assert_int_equal(pipe(gone), 0);
	pid_t child = fork();
	assert_true(child >= 0);
	if (!child) {
		bool v6 = strchr(address, ':');
		struct sockaddr_in6 to6 = {.sin6_family = AF_INET6, .sin6_port = htons(PORT)};
		struct sockaddr_in to4 = {.sin_family = AF_INET, .sin_port = htons(PORT)};
		static char bytes[65536];
		if (unshare(CLONE_NEWNET) || write(gone[1], "", 1) != 1)
			_exit(1);
		close(gone[1]);
		/* Until v1 is here. */
		for (int i = 0; i < 100 && !if_nametoindex("v1"); i++)
			usleep(20000);
		if (system("sysctl -qw net.ipv6.conf.default.accept_dad=0 && ip link set lo up && ip link set v1 up && "
		           "ip address add 192.0.2.2/24 dev v1 && ip address add 2001:db8:5::2/64 dev v1 nodad") != 0)
			_exit(2);
		inet_pton(AF_INET6, address, &to6.sin6_addr);
		inet_pton(AF_INET, address, &to4.sin_addr);
		for (uint64_t i = 0; i < connections; i++) {
			int fd = socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM, 0);
			struct timeval patience = {.tv_sec = 5};
			setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
			setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
			if (connect(fd, v6 ? (struct sockaddr *)&to6 : (struct sockaddr *)&to4,
			            v6 ? sizeof(to6) : sizeof(to4)))
				_exit(3);
			size_t received = 0;
			ssize_t n;
			for (size_t sent = 0; sent < BULK; sent += (size_t)n)
				if ((n = send(fd, bytes, sizeof(bytes), 0)) <= 0)
					_exit(4);
			shutdown(fd, SHUT_WR);
			while ((n = recv(fd, bytes, sizeof(bytes), 0)) > 0)
				received += (size_t)n;
			if (received != BULK)
				_exit(5);
			close(fd);
		}
		_exit(0);
	}
	char byte;
	close(gone[1]);
	assert_int_equal(read(gone[0], &byte, 1), 1);
	close(gone[0]);
	packet_rig_run("ip link set v1 netns %d", (int)child);
	return child;
}

/* Takes what comes, and sends as much; what the connection is capable of. */
static struct tcp_info serve(int listener)
{
	static char bytes[65536];
	struct tcp_info info = {0};
	struct timeval patience = {.tv_sec = 5};
	socklen_t length = sizeof(info);
	size_t received = 0;
	ssize_t n;

	setsockopt(listener, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	int fd = accept(listener, NULL, NULL);
	assert_true(fd >= 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	while ((n = recv(fd, bytes, sizeof(bytes), 0)) > 0)
		received += (size_t)n;
	assert_int_equal(received, BULK);
	for (size_t sent = 0; sent < BULK; sent += (size_t)n) {
		n = send(fd, bytes, sizeof(bytes), 0);
		assert_true(n > 0);
	}
	assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length), 0);
	close(fd);
	return info;
}

/* The kernel takes the cookie, and has understood of the options what was put into the timestamp. */
static void connections_by_cookie(struct packet_rig *rig, const char *address, bool timestamps)
{
	struct sockaddr_in6 any_address = {.sin6_family = AF_INET6, .sin6_port = htons(PORT)};
	int listener = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1, status;
	PacketTable *table = guarded("");

	packet_rig_run("sysctl -qw net.ipv4.tcp_syncookies=2 net.ipv4.tcp_timestamps=%d net.ipv4.tcp_ecn=1",
	               timestamps ? 2 : 1);
	packet_rig_run("ip address add 2001:db8:5::1/64 dev v0 nodad");
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	assert_int_equal(bind(listener, (struct sockaddr *)&any_address, sizeof(any_address)), 0);
	assert_int_equal(listen(listener, 16), 0);
	table->guard->syn_cookies = calloc(1, sizeof(*table->guard->syn_cookies));
	marcher__packet__v1__syn_cookies__init(table->guard->syn_cookies);
	table->guard->syn_cookies->on_per_second = table->guard->syn_cookies->off_per_second = 1;
	table->guard->syn_cookies->always = true;
	/* By the stack's own way of sending: a veth pair passes what XDP sends only to another XDP program. */
	assert_int_equal(packet_rig_open(rig, "v0", MARCHER_XDP_GENERIC), MARCHER_OK);
	apply(rig, table);
	pid_t client = start_client(address, 3);
	for (int i = 0; i < 3; i++) {
		struct tcp_info info = serve(listener);
		const uint8_t all = TCPI_OPT_TIMESTAMPS | TCPI_OPT_SACK | TCPI_OPT_WSCALE;
		assert_int_equal(info.tcpi_options & all, timestamps ? all : 0);
		if (timestamps)
			assert_true(info.tcpi_snd_wscale > 0);
		/* The client was told the scale that the kernel uses. */
		if (timestamps)
			assert_int_equal(info.tcpi_rcv_wscale, in_force(rig).window_scale);
		assert_in_range(info.tcpi_rcv_mss + 0u, 1000, 1460);
	}
	assert_int_equal(waitpid(client, &status, 0), client);
	assert_int_equal(status, 0);
	PacketStatus *seen = packet_rig_status(rig);
	/* More on a slow machine, whose client asks again. */
	assert_in_range(seen->guard->syn_cookies->sent, 3, 30);
	assert_in_range(seen->guard->syn_cookies->valid, 3, 30);
	assert_int_equal(seen->guard->syn_cookies->left, 0);
	assert_true(seen->guard->syn_cookies->active);
	packet_status_free(seen);
	close(listener);
	packet_rig_run("sysctl -qw net.ipv4.tcp_syncookies=1 net.ipv4.tcp_timestamps=1 net.ipv4.tcp_ecn=2");
}

static void the_kernel_makes_connections_of_cookies_v4(void **state)
{
	NEEDS_PRIVILEGE(state);
	connections_by_cookie(*state, "192.0.2.1", true);
}

static void the_kernel_makes_connections_of_cookies_v6(void **state)
{
	NEEDS_PRIVILEGE(state);
	connections_by_cookie(*state, "2001:db8:5::1", true);
}

static void without_timestamps_there_are_no_options(void **state)
{
	NEEDS_PRIVILEGE(state);
	connections_by_cookie(*state, "192.0.2.1", false);
}

static void assert_refused(struct packet_rig *rig, PacketTable *table, const char *path, const char *text)
{
	ApplyReply *reply;

	assert_int_equal(packet_rig_apply_table(rig, table, &reply), MARCHER_E_REFUSED);
	assert_int_equal(reply->n_reasons, 1);
	assert_string_equal(reply->reasons[0]->path, path);
	if (!strstr(reply->reasons[0]->reason, text))
		fail_msg("the reason is: %s", reply->reasons[0]->reason);
	marcher__packet__v1__apply_reply__free_unpacked(reply, NULL);
	packet_table_free(table);
}

static void what_cannot_be_in_force_is_refused_with_its_place(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	const struct packet_facts http = {"10.0.0.1", IPPROTO_TCP, 80};
	static const struct {
		const char *lines, *path, *text;
	} table[] = {
	        {"allow\nfrom 10.0.0.1", "guard.rules[1].action", "allow (1)"},
	        {"deny from 10.0.0.1/8", "guard.rules[0].sources[0]", "behind the prefix"},
	        {"deny from 10.0.0.0/33", "guard.rules[0].sources[0]", "longer"},
	        {"deny from 2001:db8::/129", "guard.rules[0].sources[0]", "longer"},
	        {"deny from ::ffff:10.0.0.1", "guard.rules[0].sources[0]", "4 bytes"},
	        {"deny port 80", "guard.rules[0].ports", "need a transport"},
	        {"deny tcp port 0", "guard.rules[0].ports[0]", "1 to 65535"},
	        {"deny tcp port 90-80", "guard.rules[0].ports[0]", "in this order"},
	        {"deny tcp port 1-65536", "guard.rules[0].ports[0]", "1 to 65535"},
	        {"unlimited deny", "guard.rules[0].unlimited", "only what is allowed"},
	        {"device a via 10.0.0.1", "guard.rules[0].action", "one of"},
	        {"via 224.0.0.1", "guard.rules[0].redirect_address", "one host"},
	        {"via ff02::1", "guard.rules[0].redirect_address", "one host"},
	};

	apply(rig, guarded("deny tcp port 80\n"));
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		assert_refused(rig, guarded(table[i].lines), table[i].path, table[i].text);
	assert_refused(rig, guarded("device device-with-a-long-name"), "guard.rules[0].redirect_device", "15 bytes");
	PacketTable *many = guarded("deny tcp");
	for (uint32_t port = 1; port < 1100; port += 2) {
		Ports *ports = calloc(1, sizeof(*ports));
		marcher__packet__v1__ports__init(ports);
		ports->first = ports->last = port;
		many->guard->rules[0]->ports =
		        append(many->guard->rules[0]->ports, &many->guard->rules[0]->n_ports, ports);
	}
	assert_refused(rig, many, "guard.rules", "too many");
	PacketTable *limits = with_everything();
	limits->guard->limits->ipv4_prefix = 33;
	assert_refused(rig, limits, "guard.limits.ipv4_prefix", "1 to 32");
	PacketTable *cookies = with_everything();
	cookies->guard->syn_cookies->off_per_second = 10001;
	assert_refused(rig, cookies, "guard.syn_cookies", "no more than on");
	/* What was in force still is. */
	assert_int_equal(verdict(rig, &http), XDP_DROP);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(the_rule_that_decides_is_the_one_that_the_words_say, open_setup,
	                                        packet_rig_teardown),
	        cmocka_unit_test_setup_teardown(a_rule_keeps_its_count_when_others_come_and_go, open_setup,
	                                        packet_rig_teardown),
	        cmocka_unit_test_setup_teardown(the_same_guard_touches_nothing_and_outlives_the_handle, open_setup,
	                                        packet_rig_teardown),
	        cmocka_unit_test_setup_teardown(a_guard_outlives_a_death_in_the_middle_of_an_exchange, open_setup,
	                                        packet_rig_teardown),
	        cmocka_unit_test_setup_teardown(this_nodes_addresses_and_devices_are_followed, open_setup,
	                                        packet_rig_teardown),
	        cmocka_unit_test_setup_teardown(this_nodes_addresses_are_known_without_a_guard, open_setup,
	                                        packet_rig_teardown),
	        cmocka_unit_test_setup_teardown(what_cookies_may_offer_follows_the_kernels_settings, open_setup,
	                                        packet_rig_teardown),
	        cmocka_unit_test_setup_teardown(a_hundred_thousand_prefixes_are_one_class, open_setup,
	                                        packet_rig_teardown),
	        cmocka_unit_test_setup_teardown(what_cannot_be_in_force_is_refused_with_its_place, open_setup,
	                                        packet_rig_teardown),
	        cmocka_unit_test_setup_teardown(the_kernel_makes_connections_of_cookies_v4, packet_rig_setup,
	                                        packet_rig_teardown),
	        cmocka_unit_test_setup_teardown(the_kernel_makes_connections_of_cookies_v6, packet_rig_setup,
	                                        packet_rig_teardown),
	        cmocka_unit_test_setup_teardown(without_timestamps_there_are_no_options, packet_rig_setup,
	                                        packet_rig_teardown),
	};

	return cmocka_run_group_tests(tests, packet_rig_namespaces, NULL);
}
