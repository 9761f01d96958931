/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What this host's kernel does with the programs, seen on real packets before anybody relies on it: they are loaded
 * with small maps of their own, attached to one end of a veth pair in a scratch namespace, and sent a packet for each
 * way of forwarding. All of it belongs to one thread and is gone with it; nothing is pinned.
 */
#include "packet.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/ip.h>
#include <linux/udp.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "bpf/lib/layout_names.h"
#include "packet_objects.h"
#include "packet_scratch.h"

#define RESULTS_MAX 16
#define OBJECTS_MAX 16
#define ENTRIES_MAX 256u /* of each map; the real ones have up to millions */
#define WAIT_MS 60       /* for one packet, which takes microseconds */
#define TRIES 2          /* the first may be lost while the device starts */
#define ALL_MS 700       /* for all packets */
#define PROBE_GUE_PORT 6080
#define PROBE_VIP 0xc6336401u    /* 198.51.100.1 */
#define PROBE_CLIENT 0xc0000209u /* 192.0.2.9 */
#define PROBE_BACKEND_INDEX 1u
#define FRAME_MAX 256
#define OLDEST_KERNEL "5.17" /* bpf_loop */

typedef Marcher__Packet__V1__Probe Probe;
typedef Marcher__Packet__V1__ProbeResult Result;
typedef Marcher__Packet__V1__ProbeOutcome Outcome;

#define PASSED MARCHER__PACKET__V1__PROBE_OUTCOME__PROBE_OUTCOME_PASSED
#define FAILED MARCHER__PACKET__V1__PROBE_OUTCOME__PROBE_OUTCOME_FAILED
#define NOT_RUN MARCHER__PACKET__V1__PROBE_OUTCOME__PROBE_OUTCOME_NOT_RUN

struct result {
	Result message;
	char reason[768], remedy[256];
};

struct probing {
	struct result results[RESULTS_MAX];
	size_t count;
	struct bpf_object *objects[OBJECTS_MAX]; /* in order of packet_objects */
	int root_fd;                             /* of objects */
	struct packet_scratch scratch;
	uint64_t until_ms;
};

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static struct result *add(struct probing *p, const char *what, const char *mode, Outcome outcome)
{
	struct result *result = &p->results[p->count < RESULTS_MAX - 1 ? p->count++ : p->count];

	marcher__packet__v1__probe_result__init(&result->message);
	result->message.what = (char *)what;
	result->message.mode = (char *)mode;
	result->message.outcome = outcome;
	result->message.reason = result->reason;
	result->message.remedy = result->remedy;
	result->reason[0] = result->remedy[0] = '\0';
	return result;
}

/* What to do. */

/* The kernel's own word on whether it is locked down; "" when it is not, or does not tell. */
static void lockdown(char *out, size_t size)
{
	FILE *file = fopen("/sys/kernel/security/lockdown", "re");
	char line[128] = "";

	*out = '\0';
	if (file && fgets(line, sizeof(line), file)) {
		/* none [integrity] confidentiality */
		char *from = strchr(line, '['), *to = from ? strchr(from, ']') : NULL;
		if (to && strncmp(from, "[none]", 6) != 0)
			snprintf(out, size, "%.*s", (int)(to - from - 1), from + 1);
	}
	if (file)
		fclose(file);
}

static bool kernel_is_old(struct utsname *name)
{
	unsigned major = 0, minor = 0;

	return !uname(name) && sscanf(name->release, "%u.%u", &major, &minor) == 2 &&
	       (major < 5 || (major == 5 && minor < 15));
}

static void remedy_of(struct result *result, int error)
{
	char missing[128], locked[32];
	struct utsname kernel;
	size_t size = sizeof(result->remedy);

	packet_missing_capabilities(missing, sizeof(missing));
	lockdown(locked, sizeof(locked));
	if (error == ENOSYS)
		snprintf(result->remedy, size,
		         "the kernel has no BPF: take one with CONFIG_BPF_SYSCALL and CONFIG_BPF_JIT");
	else if (*missing)
		snprintf(result->remedy, size, "give the process %s (systemd: AmbientCapabilities=), or run it as root",
		         missing);
	else if (error == EPERM && *locked)
		snprintf(result->remedy, size,
		         "the kernel is locked down (%s), which Secure Boot or lockdown= on its command line asks for",
		         locked);
	else if (error == EPERM)
		snprintf(result->remedy, size,
		         "the capabilities are there, but perhaps only inside a user namespace, or a filter of system "
		         "calls refuses bpf (systemd: SystemCallFilter=bpf)");
	else if (error == ENOMEM)
		snprintf(result->remedy, size,
		         "raise the memory limit of the control group (systemd: MemoryMax=) or of locked memory "
		         "(LimitMEMLOCK=)");
	else if (kernel_is_old(&kernel))
		snprintf(result->remedy, size, "the kernel is %.60s; " OLDEST_KERNEL " or later is needed",
		         kernel.release);
}

static void explain(struct result *result, int error, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void explain(struct result *result, int error, const char *format, ...)
{
	char text[512];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	snprintf(result->reason, sizeof(result->reason), "%s: %s", text, strerror(error));
	remedy_of(result, error);
}

/* Loading. */

static struct bpf_map *map_of(const struct probing *p, const char *name)
{
	for (size_t i = 0; i < OBJECTS_MAX; i++) {
		struct bpf_map *map = p->objects[i] ? bpf_object__find_map_by_name(p->objects[i], name) : NULL;
		if (map && bpf_map__fd(map) >= 0)
			return map;
	}
	return NULL;
}

/* As the library has it with pins: what objects share by name is one map. */
static int share_maps(const struct probing *p, struct bpf_object *object)
{
	struct bpf_map *map;

	bpf_object__for_each_map(map, object)
	{
		if (bpf_map__is_internal(map))
			continue;
		bpf_map__set_pin_path(map, NULL);
		struct bpf_map *same = map_of(p, bpf_map__name(map));
		int error = same ? bpf_map__reuse_fd(map, bpf_map__fd(same)) : 0;
		if (!same && bpf_map__max_entries(map) > ENTRIES_MAX)
			error = bpf_map__set_max_entries(map, ENTRIES_MAX);
		if (error)
			return error;
	}
	return 0;
}

static int load_object(struct probing *p, size_t i)
{
	const struct packet_object *from = &packet_objects[i];
	LIBBPF_OPTS(bpf_object_open_opts, options, .object_name = from->name);
	size_t size;
	const void *bytes = from->bytes(&size);
	struct bpf_object *object = bpf_object__open_mem(bytes, size, &options);

	if (!object)
		return -errno;
	p->objects[i] = object;
	int error = share_maps(p, object);
	if (!error)
		error = bpf_object__load(object);
	if (error)
		return error;
	struct bpf_program *program = bpf_object__next_program(object, NULL);
	if (!program || bpf_program__type(program) != BPF_PROG_TYPE_XDP)
		return 0;
	int fd = bpf_program__fd(program);
	uint32_t slot = (uint32_t)from->slot;
	if (from->slot == PACKET_OBJECT_ROOT) {
		p->root_fd = fd;
		return 0;
	}
	struct bpf_map *slots = map_of(p, packet_map_names[MAP_XDP_SLOTS]);
	return slots && !bpf_map_update_elem(bpf_map__fd(slots), &slot, &fd, BPF_ANY) ? 0 : -errno;
}

static bool load(struct probing *p)
{
	packet_complaints_begin();
	for (size_t i = 0; i < packet_objects_count && i < OBJECTS_MAX; i++) {
		int error = load_object(p, i);
		if (error) {
			const char *said = packet_complaint();
			explain(add(p, "load", "", FAILED), -error, "the kernel refuses the BPF object %s%s%.300s%s",
			        packet_objects[i].name, *said ? " (" : "", said, *said ? ")" : "");
			return false;
		}
	}
	add(p, "load", "", PASSED);
	return true;
}

static struct address address_of(uint32_t ipv4)
{
	struct address address = {.word = {0, 0, htonl(0xffff), htonl(ipv4)}};

	return address;
}

static int put(const struct probing *p, enum packet_map map, const void *key, const void *value)
{
	struct bpf_map *found = map_of(p, packet_map_names[map]);

	if (!found)
		return -ENOENT;
	return bpf_map_update_elem(bpf_map__fd(found), key, value, BPF_ANY) ? -errno : 0;
}

/* One service with one backend, on the wire; this end takes encapsulated packets. */
static int fill_maps(const struct probing *p)
{
	LIBBPF_OPTS(bpf_map_create_opts, inner, .map_flags = BPF_F_INNER_MAP);
	const struct vip_key key = {.address = address_of(PROBE_VIP), .protocol = IPPROTO_UDP};
	const struct address vip_address = key.address, here = address_of(SCRATCH_INSIDE);
	const struct vip vip = {.service = 0};
	const struct backend backend = {
	        .address = address_of(SCRATCH_BACKEND), .source = here, .generation = 1, .flags = BACKEND_IN_USE};
	const struct decap decap = {.gue_port = htons(PROBE_GUE_PORT)};
	const uint32_t zero = 0, one = 1, index = PROBE_BACKEND_INDEX;

	int ring = bpf_map_create(BPF_MAP_TYPE_ARRAY, "ring", sizeof(uint32_t), sizeof(uint32_t), 2, &inner);
	if (ring < 0)
		return -errno;
	int error = bpf_map_update_elem(ring, &zero, &one, BPF_ANY) || bpf_map_update_elem(ring, &one, &index, BPF_ANY)
	                    ? -errno
	                    : 0;
	if (!error)
		error = put(p, MAP_RINGS, &zero, &ring);
	close(ring);
	if (!error)
		error = put(p, MAP_BACKENDS, &index, &backend);
	if (!error)
		error = put(p, MAP_VIP_ADDRESSES, &vip_address, &one);
	if (!error)
		error = put(p, MAP_VIPS, &key, &vip);
	return error ? error : put(p, MAP_DECAP_ADDRESSES, &here, &decap);
}

/* Packets. */

/* Of a header without options, in network order; 0 of one whose checksum is right. */
static uint16_t checksum(const struct iphdr *ip)
{
	uint16_t words[sizeof(*ip) / sizeof(uint16_t)];
	uint32_t sum = 0;

	memcpy(words, ip, sizeof(words));
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		sum += words[i];
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t) ~(sum + (sum >> 16));
}

static size_t write_ip(uint8_t *at, uint8_t protocol, uint32_t source, uint32_t destination, size_t payload)
{
	struct iphdr ip = {.version = 4,
	                   .ihl = 5,
	                   .tot_len = htons((uint16_t)(sizeof(ip) + payload)),
	                   .ttl = 64,
	                   .protocol = protocol,
	                   .saddr = htonl(source),
	                   .daddr = htonl(destination)};

	ip.check = checksum(&ip);
	memcpy(at, &ip, sizeof(ip));
	return sizeof(ip);
}

/* A datagram to the VIP; encapsulated: inside another IP header, to the address here. */
static size_t write_frame(uint8_t frame[FRAME_MAX], bool encapsulated)
{
	const struct ethhdr ethernet = {
	        .h_dest = SCRATCH_INSIDE_MAC, .h_source = SCRATCH_WIRE_MAC, .h_proto = htons(ETH_P_IP)};
	/* A checksum of 0 is none. */
	const struct udphdr udp = {.source = htons(40000), .dest = htons(9), .len = htons(sizeof(udp) + 4)};
	const size_t payload = sizeof(udp) + 4;
	size_t at = sizeof(ethernet);

	memset(frame, 0, FRAME_MAX);
	memcpy(frame, &ethernet, sizeof(ethernet));
	if (encapsulated)
		at += write_ip(frame + at, IPPROTO_IPIP, PROBE_CLIENT, SCRATCH_INSIDE, sizeof(struct iphdr) + payload);
	at += write_ip(frame + at, IPPROTO_UDP, PROBE_CLIENT, PROBE_VIP, payload);
	memcpy(frame + at, &udp, sizeof(udp));
	return at + payload;
}

static bool ip_at(const uint8_t *frame, size_t length, size_t at, struct iphdr *ip)
{
	if (at + sizeof(*ip) > length)
		return false;
	memcpy(ip, frame + at, sizeof(*ip));
	return ip->version == 4 && ip->ihl == 5;
}

static bool is_the_datagram(const uint8_t *frame, size_t length, size_t at, uint8_t ttl)
{
	struct iphdr ip;

	return ip_at(frame, length, at, &ip) && ip.protocol == IPPROTO_UDP && ip.daddr == htonl(PROBE_VIP) &&
	       ip.saddr == htonl(PROBE_CLIENT) && ip.ttl == ttl && !checksum(&ip);
}

static bool is_to_backend(const uint8_t *frame, size_t length, uint8_t protocol)
{
	struct iphdr ip;

	return ip_at(frame, length, sizeof(struct ethhdr), &ip) && ip.protocol == protocol &&
	       ip.daddr == htonl(SCRATCH_BACKEND) && ip.saddr == htonl(SCRATCH_INSIDE) && !checksum(&ip);
}

static bool is_ipip(const uint8_t *frame, size_t length)
{
	const size_t inner = sizeof(struct ethhdr) + sizeof(struct iphdr);

	return is_to_backend(frame, length, IPPROTO_IPIP) && is_the_datagram(frame, length, inner, 64);
}

static bool is_gue(const uint8_t *frame, size_t length)
{
	const size_t outer = sizeof(struct ethhdr) + sizeof(struct iphdr), inner = outer + sizeof(struct udphdr);
	struct udphdr udp;

	if (!is_to_backend(frame, length, IPPROTO_UDP) || inner > length)
		return false;
	memcpy(&udp, frame + outer, sizeof(udp));
	return udp.dest == htons(PROBE_GUE_PORT) && is_the_datagram(frame, length, inner, 64);
}

static bool is_l2(const uint8_t *frame, size_t length)
{
	return length > ETH_ALEN && !memcmp(frame, SCRATCH_WIRE_MAC, ETH_ALEN) &&
	       is_the_datagram(frame, length, sizeof(struct ethhdr), 63);
}

static bool is_decapsulated(const uint8_t *frame, size_t length)
{
	return is_the_datagram(frame, length, sizeof(struct ethhdr), 64);
}

/* Reads what comes until it is the one, or time is up. */
static bool await(int fd, uint64_t until_ms, bool (*is_it)(const uint8_t *frame, size_t length))
{
	uint8_t frame[FRAME_MAX];

	for (;;) {
		ssize_t length = recv(fd, frame, sizeof(frame), 0);
		if (length >= 0) {
			if (is_it(frame, (size_t)length))
				return true;
			continue;
		}
		uint64_t now = now_ms();
		if ((errno != EAGAIN && errno != EINTR) || now >= until_ms)
			return false;
		struct pollfd waiting = {.fd = fd, .events = POLLIN};
		poll(&waiting, 1, (int)(until_ms - now));
	}
}

struct trial {
	const char *what;
	uint16_t forwarding; /* enum forwarding; 0: none */
	bool (*is_it)(const uint8_t *frame, size_t length);
};

static const struct trial trials[] = {
        {"ipip", FORWARDING_IPIP, is_ipip},
        {"gue", FORWARDING_GUE, is_gue},
        {"l2", FORWARDING_L2, is_l2},
        {"decap", 0, is_decapsulated},
};

#define TRIALS (sizeof(trials) / sizeof(trials[0]))

/* Why the programs have dropped something, as far as they have. */
static const char *drop_reason(const struct probing *p)
{
	int cpus = libbpf_num_possible_cpus();
	uint64_t *values = cpus > 0 ? calloc((size_t)cpus, sizeof(*values)) : NULL;
	struct bpf_map *drops = map_of(p, packet_map_names[MAP_DROPS]);
	const char *found = NULL;

	for (uint32_t reason = 1; values && drops && !found && reason < DROP_REASONS; reason++)
		for (int cpu = 0; !bpf_map_lookup_elem(bpf_map__fd(drops), &reason, values) && cpu < cpus; cpu++)
			if (values[cpu])
				found = drop_reason_names[reason];
	free(values);
	return found;
}

static void try_one(struct probing *p, const struct trial *trial, const char *mode)
{
	uint8_t frame[FRAME_MAX];
	const uint32_t zero = 0;
	const struct service service = {.forwarding = trial->forwarding,
	                                .port = trial->forwarding == FORWARDING_GUE ? htons(PROBE_GUE_PORT) : 0};
	size_t length = write_frame(frame, !trial->forwarding);
	int error = put(p, MAP_SERVICES, &zero, &service);

	for (int attempt = 0; !error && attempt < TRIES && now_ms() < p->until_ms; attempt++) {
		uint64_t until_ms = now_ms() + WAIT_MS;
		if (send(p->scratch.wire_fd, frame, length, 0) < 0)
			error = -errno;
		else if (await(trial->forwarding ? p->scratch.wire_fd : p->scratch.inside_fd,
		               until_ms < p->until_ms ? until_ms : p->until_ms, trial->is_it)) {
			add(p, trial->what, mode, PASSED);
			return;
		}
	}
	struct result *result = add(p, trial->what, mode, FAILED);
	const char *dropped = drop_reason(p);
	if (error)
		explain(result, -error, "sending a packet in a scratch namespace");
	else
		snprintf(result->reason, sizeof(result->reason),
		         "a packet that was sent through the programs in a scratch namespace did not come out as it "
		         "should%s%s",
		         dropped ? "; they dropped one: " : "", dropped ? dropped : "");
}

/* XDP sends by a veth only when the other end takes frames as XDP does. */
static int attach_wire(const struct probing *p)
{
	const struct bpf_insn pass[] = {{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = XDP_PASS},
	                                {.code = BPF_JMP | BPF_EXIT}};
	LIBBPF_OPTS(bpf_prog_load_opts, load_options, .expected_attach_type = BPF_XDP);
	LIBBPF_OPTS(bpf_link_create_opts, options, .flags = XDP_FLAGS_DRV_MODE);
	int program = bpf_prog_load(BPF_PROG_TYPE_XDP, "pass", "Dual BSD/GPL", pass, 2, &load_options);

	if (program < 0)
		return -errno;
	int link = bpf_link_create(program, (int)p->scratch.wire, BPF_XDP, &options), error = errno;
	close(program);
	return link < 0 ? -error : link;
}

static void try_mode(struct probing *p, const char *mode, uint32_t flags)
{
	LIBBPF_OPTS(bpf_link_create_opts, options, .flags = flags);
	int wire = flags == XDP_FLAGS_DRV_MODE ? attach_wire(p) : -1;
	int link = bpf_link_create(p->root_fd, (int)p->scratch.inside, BPF_XDP, &options), error = errno;

	if (link < 0) {
		explain(add(p, "attach", mode, FAILED), error, "attaching to a veth in a scratch namespace");
	} else {
		add(p, "attach", mode, PASSED);
		for (size_t i = 0; i < TRIALS; i++)
			try_one(p, &trials[i], mode);
		close(link);
	}
	if (wire >= 0)
		close(wire);
}

static void not_run(struct probing *p, int error, const char *what)
{
	for (size_t i = 0; i < TRIALS; i++) {
		struct result *result = add(p, trials[i].what, "", NOT_RUN);
		snprintf(result->reason, sizeof(result->reason), "not tried on a real packet: %s: %s", what,
		         strerror(error));
		snprintf(result->remedy, sizeof(result->remedy),
		         "trying takes CAP_SYS_ADMIN and CAP_NET_RAW besides, which forwarding does not");
	}
}

static void *run(void *argument)
{
	struct probing *p = argument;
	const char *what = "filling maps";

	if (!load(p))
		return NULL;
	int error = fill_maps(p);
	if (!error)
		error = packet_scratch_enter(&p->scratch, &what);
	if (error) {
		not_run(p, -error, what);
	} else {
		p->until_ms = now_ms() + ALL_MS;
		try_mode(p, "native", XDP_FLAGS_DRV_MODE);
		try_mode(p, "generic", XDP_FLAGS_SKB_MODE);
	}
	packet_scratch_close(&p->scratch);
	return NULL;
}

static int pack(struct probing *p, uint64_t took_us, uint8_t **reply, size_t *reply_length)
{
	Probe probe = MARCHER__PACKET__V1__PROBE__INIT;
	Result *results[RESULTS_MAX];

	for (size_t i = 0; i < p->count; i++)
		results[i] = &p->results[i].message;
	probe.results = results;
	probe.n_results = p->count;
	probe.probe_us = took_us;
	*reply_length = marcher__packet__v1__probe__get_packed_size(&probe);
	*reply = malloc(*reply_length ? *reply_length : 1);
	if (!*reply)
		return MARCHER_E_NO_MEMORY;
	marcher__packet__v1__probe__pack(&probe, *reply);
	return MARCHER_OK;
}

int packet_probe(uint8_t **reply, size_t *reply_length)
{
	struct probing *p = calloc(1, sizeof(*p));
	struct timespec from, to;
	pthread_t thread;

	if (!p)
		return MARCHER_E_NO_MEMORY;
	p->root_fd = p->scratch.inside_fd = p->scratch.wire_fd = -1;
	clock_gettime(CLOCK_MONOTONIC, &from);
	/* A thread of its own: what it does to its namespace ends with it. */
	int error = pthread_create(&thread, NULL, run, p);
	if (error)
		not_run(p, error, "starting a thread");
	else
		pthread_join(thread, NULL);
	clock_gettime(CLOCK_MONOTONIC, &to);
	for (size_t i = 0; i < OBJECTS_MAX; i++)
		bpf_object__close(p->objects[i]);
	int64_t took_us = (to.tv_sec - from.tv_sec) * 1000000 + (to.tv_nsec - from.tv_nsec) / 1000;
	int code = pack(p, (uint64_t)took_us, reply, reply_length);
	free(p);
	return code;
}
