/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What this host's kernel does with the programs, seen on real packets before anybody relies on it: they are loaded
 * with small maps of their own (packet_probe_maps.h), attached to one end of a veth pair in a scratch namespace
 * (packet_scratch.h), and sent packets (packet_probe_frame.h) for each thing that they do, over IPv4 and IPv6. All of
 * it belongs to one thread and is gone with it; nothing is pinned.
 */
#include "packet.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
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
#include "packet_probe_frame.h"
#include "packet_probe_maps.h"
#include "packet_scratch.h"

#define RESULTS_MAX 64
#define WAIT_MS 60           /* for one packet, which takes microseconds */
#define TRIES 2              /* the first may be lost while the device starts */
#define ALL_MS 700           /* for all packets */
#define OLDEST_KERNEL "5.18" /* bpf_xdp_load_bytes, bpf_skb_set_tstamp */

typedef Marcher__Packet__V1__Probe Probe;
typedef Marcher__Packet__V1__ProbeResult Result;
typedef Marcher__Packet__V1__ProbeOutcome Outcome;

#define PASSED MARCHER__PACKET__V1__PROBE_OUTCOME__PROBE_OUTCOME_PASSED
#define FAILED MARCHER__PACKET__V1__PROBE_OUTCOME__PROBE_OUTCOME_FAILED
#define NOT_RUN MARCHER__PACKET__V1__PROBE_OUTCOME__PROBE_OUTCOME_NOT_RUN

static const char *const family_names[SCRATCH_FAMILIES] = {"ipv4", "ipv6"};

struct result {
	Result message;
	char reason[768], remedy[256];
};

struct probing {
	struct result results[RESULTS_MAX];
	size_t count;
	struct probe_objects objects;
	struct packet_scratch scratch;
	uint64_t until_ms;
	bool guarded; /* the guard's rules are in force */
};

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static struct result *add(struct probing *p, const char *what, const char *mode, const char *family, Outcome outcome)
{
	struct result *result = &p->results[p->count < RESULTS_MAX - 1 ? p->count++ : p->count];

	marcher__packet__v1__probe_result__init(&result->message);
	result->message.what = (char *)what;
	result->message.mode = (char *)mode;
	result->message.family = (char *)family;
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
	       (major < 5 || (major == 5 && minor < 18));
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

static bool load(struct probing *p)
{
	const char *name = "";

	packet_complaints_begin();
	int error = probe_objects_load(&p->objects, &name);
	if (error) {
		const char *said = packet_complaint();
		explain(add(p, "load", "", "", FAILED), -error, "the kernel refuses the BPF object %s%s%.300s%s", name,
		        *said ? " (" : "", said, *said ? ")" : "");
		return false;
	}
	add(p, "load", "", "", PASSED);
	return true;
}

/* What comes out. */

struct sight {
	enum scratch_family family;
	const uint8_t *frame;
	size_t length;
	struct probe_packet packet; /* the outermost */
};

static bool same(const struct address *a, const struct address *b)
{
	return !memcmp(a, b, sizeof(*a));
}

static bool is_to_backend(const struct sight *s)
{
	return same(&s->packet.source, &scratch_inside[s->family]) &&
	       same(&s->packet.destination, &scratch_backend[s->family]);
}

static bool is_inside(const struct sight *s)
{
	struct probe_packet inner;

	return probe_packet_read(s->frame, s->length, s->packet.payload, &inner) &&
	       probe_is_request(&inner, s->family, PROBE_PORT, PROBE_TTL);
}

static bool is_ipip(const struct sight *s)
{
	return is_to_backend(s) && s->packet.protocol == (s->family == SCRATCH_V4 ? IPPROTO_IPIP : IPPROTO_IPV6) &&
	       is_inside(s);
}

static bool is_gue(const struct sight *s)
{
	return is_to_backend(s) && s->packet.protocol == IPPROTO_UDP && s->packet.destination_port == PROBE_GUE_PORT &&
	       is_inside(s);
}

static bool is_l2(const struct sight *s)
{
	return !memcmp(s->frame, SCRATCH_WIRE_MAC, ETH_ALEN) &&
	       probe_is_request(&s->packet, s->family, PROBE_PORT, PROBE_TTL - 1);
}

static bool is_decapsulated(const struct sight *s)
{
	return probe_is_request(&s->packet, s->family, PROBE_PORT, PROBE_TTL);
}

static bool is_translated(const struct sight *s)
{
	return is_to_backend(s) && s->packet.protocol == IPPROTO_UDP && s->packet.source_port &&
	       s->packet.destination_port == PROBE_PORT && s->packet.ttl == PROBE_TTL - 1;
}

static bool is_answer(const struct sight *s)
{
	return s->packet.protocol == IPPROTO_UDP && same(&s->packet.source, &probe_vip[s->family]) &&
	       same(&s->packet.destination, &scratch_client[s->family]) && s->packet.source_port == PROBE_PORT &&
	       s->packet.destination_port == PROBE_CLIENT_PORT && s->packet.ttl == PROBE_TTL - 1;
}

/* Reads what comes until it is the one, or time is up. */
static bool await(int fd, uint64_t until_ms, enum scratch_family family, bool (*is_it)(const struct sight *s),
                  struct probe_packet *found)
{
	uint8_t frame[PROBE_FRAME_MAX];
	struct sight sight = {.family = family, .frame = frame};

	for (;;) {
		ssize_t length = recv(fd, frame, sizeof(frame), 0);
		if (length >= 0) {
			sight.length = (size_t)length;
			if (probe_packet_read(frame, sight.length, sizeof(struct ethhdr), &sight.packet) &&
			    is_it(&sight)) {
				*found = sight.packet;
				return true;
			}
			continue;
		}
		uint64_t now = now_ms();
		if ((errno != EAGAIN && errno != EINTR) || now >= until_ms)
			return false;
		struct pollfd waiting = {.fd = fd, .events = POLLIN};
		poll(&waiting, 1, (int)(until_ms - now));
	}
}

/* Trials. */

/* Why the programs have dropped something, as far as they have. */
static const char *drop_reason(const struct probing *p)
{
	for (uint32_t reason = 1; reason < DROP_REASONS; reason++)
		if (reason != DROP_GUARD_RULE && probe_objects_drops(&p->objects, reason))
			return drop_reason_names[reason];
	return NULL;
}

/* Sends the packet until it comes out as it should. 1, 0: it did not, -ETIME: there was no time to send it, or -errno.
 */
static int pass(const struct probing *p, const struct probe_packet *packet, bool outer, int fd,
                bool (*is_it)(const struct sight *s), struct probe_packet *found)
{
	uint8_t frame[PROBE_FRAME_MAX];
	size_t length = probe_frame_write(frame, packet, outer);
	int result = -ETIME;

	for (int attempt = 0; result <= 0 && attempt < TRIES && now_ms() < p->until_ms; attempt++) {
		uint64_t until_ms = now_ms() + WAIT_MS;
		if (send(p->scratch.wire_fd, frame, length, 0) < 0)
			return -errno;
		result = await(fd, until_ms < p->until_ms ? until_ms : p->until_ms, packet->family, is_it, found);
	}
	return result;
}

/* passed: as pass() says. */
static void conclude(struct probing *p, const char *what, const char *mode, enum scratch_family family, int passed)
{
	const char *of = family_names[family];

	if (passed > 0) {
		add(p, what, mode, of, PASSED);
	} else if (passed == -ETIME) {
		struct result *result = add(p, what, mode, of, NOT_RUN);
		snprintf(result->reason, sizeof(result->reason),
		         "not tried on a real packet: other trials took all of the %d ms", ALL_MS);
	} else if (passed < 0) {
		explain(add(p, what, mode, of, FAILED), -passed, "sending a packet in a scratch namespace");
	} else {
		struct result *result = add(p, what, mode, of, FAILED);
		const char *dropped = drop_reason(p);
		snprintf(result->reason, sizeof(result->reason),
		         "a packet that was sent through the programs in a scratch namespace did not come out as it "
		         "should%s%s",
		         dropped ? "; they dropped one: " : "", dropped ? dropped : "");
	}
}

struct trial {
	const char *what;
	uint16_t forwarding; /* enum forwarding; 0: none */
	bool (*is_it)(const struct sight *s);
};

static const struct trial trials[] = {
        {"ipip", FORWARDING_IPIP, is_ipip},
        {"gue", FORWARDING_GUE, is_gue},
        {"l2", FORWARDING_L2, is_l2},
        {"decap", 0, is_decapsulated},
};

#define TRIALS (sizeof(trials) / sizeof(trials[0]))
#define GUARD_TRIAL "guard"
#define NAT_TRIAL "nat"
#define FAST_TRIAL "nat-fast"

static void try_one(struct probing *p, const struct trial *trial, const char *mode, enum scratch_family family)
{
	const struct probe_packet request = probe_request(family, PROBE_PORT);
	struct probe_packet found;
	int passed = probe_objects_forward(&p->objects, family, trial->forwarding);

	if (!passed)
		passed = pass(p, &request, !trial->forwarding,
		              trial->forwarding ? p->scratch.wire_fd : p->scratch.inside_fd, trial->is_it, &found);
	conclude(p, trial->what, mode, family, passed);
}

/* What the rules deny is dropped by them, and what they do not goes on. */
static void try_guard(struct probing *p, const char *mode, enum scratch_family family)
{
	const struct probe_packet denied = probe_request(family, PROBE_DENIED_PORT);
	const struct probe_packet permitted = probe_request(family, PROBE_PORT);
	uint8_t frame[PROBE_FRAME_MAX];
	struct probe_packet found;
	uint64_t before = probe_objects_drops(&p->objects, DROP_GUARD_RULE);
	int passed = probe_objects_forward(&p->objects, family, FORWARDING_L2);

	if (!passed && send(p->scratch.wire_fd, frame, probe_frame_write(frame, &denied, false), 0) < 0)
		passed = -errno;
	/* In order, so that the first one has been judged when the second one is here. */
	if (!passed)
		passed = pass(p, &permitted, false, p->scratch.wire_fd, is_l2, &found);
	if (passed > 0)
		passed = probe_objects_drops(&p->objects, DROP_GUARD_RULE) > before;
	conclude(p, GUARD_TRIAL, mode, family, passed);
}

/* To the backend under this node's address, and its answer back to the client. As pass(). */
static int there_and_back(const struct probing *p, enum scratch_family family)
{
	const struct probe_packet request = probe_request(family, PROBE_PORT);
	struct probe_packet there = {0}, back;
	int passed = probe_objects_forward(&p->objects, family, FORWARDING_NAT);

	if (!passed)
		passed = pass(p, &request, false, p->scratch.wire_fd, is_translated, &there);
	if (passed > 0) {
		const struct probe_packet answer = {.family = family,
		                                    .source = there.destination,
		                                    .destination = there.source,
		                                    .source_port = there.destination_port,
		                                    .destination_port = there.source_port};
		passed = pass(p, &answer, false, p->scratch.wire_fd, is_answer, &back);
	}
	return passed;
}

static void try_nat(struct probing *p, const char *mode, enum scratch_family family)
{
	conclude(p, NAT_TRIAL, mode, family, there_and_back(p, family));
}

/* The same of a flow that is open, while there is nothing but XDP. */
static void try_fast(struct probing *p, const char *mode, enum scratch_family family)
{
	int passed = probe_objects_open_flow(&p->objects, family, p->scratch.inside, true);

	conclude(p, FAST_TRIAL, mode, family, passed ? passed : there_and_back(p, family));
	probe_objects_open_flow(&p->objects, family, p->scratch.inside, false);
}

static bool has_family(struct probing *p, enum scratch_family family)
{
	return family == SCRATCH_V4 || !p->scratch.v6_error;
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

static void try_forwarding(struct probing *p, const char *mode)
{
	for (enum scratch_family family = 0; family < SCRATCH_FAMILIES; family++)
		for (size_t i = 0; has_family(p, family) && i < TRIALS; i++)
			try_one(p, &trials[i], mode, family);
}

/* Natively alone: elsewhere tc carries open flows. */
static void try_fast_path(struct probing *p, const char *mode)
{
	for (enum scratch_family family = 0; family < SCRATCH_FAMILIES; family++)
		if (has_family(p, family))
			try_fast(p, mode, family);
}

static void try_guards(struct probing *p, const char *mode)
{
	for (enum scratch_family family = 0; family < SCRATCH_FAMILIES; family++)
		if (has_family(p, family))
			try_guard(p, mode, family);
}

/* The guard is there for its own trials alone: it comes after the native ones, and goes before the generic ones. Each
 * time the kernel waits for its readers, which takes longer than all packets. */
static void try_xdp(struct probing *p, const char *mode, uint32_t flags)
{
	LIBBPF_OPTS(bpf_link_create_opts, options, .flags = flags);
	int wire = flags == XDP_FLAGS_DRV_MODE ? attach_wire(p) : -1;
	int link = bpf_link_create(p->objects.root_fd, (int)p->scratch.inside, BPF_XDP, &options), error = errno;

	if (link < 0) {
		explain(add(p, "attach", mode, "", FAILED), error, "attaching to a veth in a scratch namespace");
	} else {
		add(p, "attach", mode, "", PASSED);
		if (!p->guarded)
			try_forwarding(p, mode);
		if (flags == XDP_FLAGS_DRV_MODE)
			try_fast_path(p, mode);
		bool guarded = p->guarded;
		int said = guarded ? 0 : probe_objects_guard(&p->objects, true);
		if (said)
			explain(add(p, GUARD_TRIAL, mode, "", FAILED), -said, "filling the guard's maps");
		else
			try_guards(p, mode);
		p->guarded = !said && !guarded;
		if (guarded) {
			probe_objects_guard(&p->objects, false);
			try_forwarding(p, mode);
		}
		close(link);
	}
	if (wire >= 0)
		close(wire);
}

/* One of the two ways: tcx, and where the kernel does not have that, clsact. */
static void try_tc(struct probing *p)
{
	const char *mode;
	int attached = packet_tc_try(p->objects.tc_ingress_fd, p->scratch.inside, &mode);

	if (attached < 0) {
		explain(add(p, "attach", mode, "", FAILED), -attached,
		        "attaching to tc of a veth in a scratch namespace");
		return;
	}
	add(p, "attach", mode, "", PASSED);
	for (enum scratch_family family = 0; family < SCRATCH_FAMILIES; family++)
		if (has_family(p, family))
			try_nat(p, mode, family);
	/* A filter goes with the namespace. */
	if (attached > 0)
		close(attached);
}

static void not_run(struct probing *p, int error, const char *what, enum scratch_family family, const char *remedy)
{
	static const char *const others[] = {GUARD_TRIAL, NAT_TRIAL, FAST_TRIAL};

	for (size_t i = 0; i < TRIALS + sizeof(others) / sizeof(others[0]); i++) {
		const char *trial = i < TRIALS ? trials[i].what : others[i - TRIALS];
		struct result *result = add(p, trial, "", family_names[family], NOT_RUN);
		snprintf(result->reason, sizeof(result->reason), "not tried on a real packet: %s: %s", what,
		         strerror(error));
		snprintf(result->remedy, sizeof(result->remedy), "%s", remedy);
	}
}

static void nothing_run(struct probing *p, int error, const char *what)
{
	for (enum scratch_family family = 0; family < SCRATCH_FAMILIES; family++)
		not_run(p, error, what, family,
		        "trying takes CAP_SYS_ADMIN and CAP_NET_RAW besides, which forwarding does not");
}

static void *run(void *argument)
{
	struct probing *p = argument;
	const char *what = "filling maps";

	if (!load(p))
		return NULL;
	int error = probe_objects_fill(&p->objects);
	if (!error)
		error = packet_scratch_enter(&p->scratch, &what);
	if (error) {
		nothing_run(p, -error, what);
	} else {
		p->until_ms = now_ms() + ALL_MS;
		try_xdp(p, "native", XDP_FLAGS_DRV_MODE);
		try_xdp(p, "generic", XDP_FLAGS_SKB_MODE);
		try_tc(p);
		if (p->scratch.v6_error)
			not_run(p, p->scratch.v6_error, "IPv6 in a scratch namespace", SCRATCH_V6,
			        "trying takes IPv6 in the kernel and a /proc/sys that can be written to");
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
	p->objects.root_fd = p->objects.tc_ingress_fd = p->objects.nat_flows_fd = -1;
	p->scratch.inside_fd = p->scratch.wire_fd = -1;
	clock_gettime(CLOCK_MONOTONIC, &from);
	/* A thread of its own: what it does to its namespace ends with it. */
	int error = pthread_create(&thread, NULL, run, p);
	if (error)
		nothing_run(p, error, "starting a thread");
	else
		pthread_join(thread, NULL);
	clock_gettime(CLOCK_MONOTONIC, &to);
	probe_objects_close(&p->objects);
	int64_t took_us = (to.tv_sec - from.tv_sec) * 1000000 + (to.tv_nsec - from.tv_nsec) / 1000;
	int code = pack(p, (uint64_t)took_us, reply, reply_length);
	free(p);
	return code;
}
