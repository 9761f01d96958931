/* SPDX-License-Identifier: Apache-2.0 */
#include "packet_shape.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "packet.h"
#include "packet_holder.h"
#include "packet_netlink.h"
#include "qos/gcra.h"

#define PATIENCE_S 5
/* A kind that the kernel lacks may come with a module: asking has it look for one, which is a process. */
#define LACKING_S 60u

/* Classes of one interface: an operator's tc shows them all, and each is two requests to the kernel when it is made. */
#define CLASSES_MAX 1024u
/* What nobody needs any more goes when what waited in it has gone out. */
#define LINGER_S 2u

/* Packets that may wait in a class: as many small ones as its rate has within the horizon, within bounds. */
#define QUEUE_MIN 256u
#define QUEUE_MAX 10000u
#define QUEUE_OF_PRIORITY 1000u
#define SMALL_PACKET 256u
#define BURST_OF_PRIORITY 65536u

unsigned packet_shape_linger_s = LINGER_S;

struct held_class {
	struct qdisc_class class; /* bytes_per_second 0: made by an earlier process, to be written anew */
	bool wanted;
	uint64_t unwanted_s; /* since when not; CLOCK_MONOTONIC */
};

struct shaped {
	uint32_t index;
	uint32_t kind;              /* enum shape_kind, as it stands in the map; 0: none */
	bool ours;                  /* the root */
	uint64_t idle_s;            /* since when nobody needs it; 0: somebody does */
	struct held_class *classes; /* by number */
	uint32_t nclasses;
	char reason[SHAPE_REASON_SIZE];
};

struct packet_shaping {
	struct packet_shape_need *needs;
	uint32_t nneeds;
	struct qdisc_class *wanted; /* classes, by number */
	uint32_t nwanted;
	bool applied;                      /* by this process: until then what was found stays */
	uint64_t lacking_s[SHAPE_HTB + 1]; /* by kind: since when the kernel is known not to have it; 0: it may */
	struct shaped list[PACKET_INTERFACES_MAX];
	struct qdisc_root roots[PACKET_INTERFACES_MAX];
	/* For status. */
	struct {
		const char *kind;
		char reason[SHAPE_REASON_SIZE];
	} told[PACKET_INTERFACES_MAX];
};

static const char *const kind_names[] = {[0] = "", [SHAPE_FQ] = "fq", [SHAPE_HTB] = "htb"};

static uint64_t now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec;
}

const char *packet_shape_kind(const struct marcher_packet *handle, uint32_t interface)
{
	const struct packet_shaping *shaping = handle->shaping;

	return shaping && shaping->told[interface].kind ? shaping->told[interface].kind : "";
}

const char *packet_shape_reason(const struct marcher_packet *handle, uint32_t interface)
{
	return handle->shaping ? handle->shaping->told[interface].reason : "";
}

static void tell(struct marcher_packet *handle)
{
	struct packet_shaping *shaping = handle->shaping;

	pthread_mutex_lock(&handle->table_lock);
	for (uint32_t i = 0; i < handle->ninterfaces; i++) {
		shaping->told[i].kind = kind_names[shaping->list[i].kind];
		memcpy(shaping->told[i].reason, shaping->list[i].reason, SHAPE_REASON_SIZE);
	}
	pthread_mutex_unlock(&handle->table_lock);
}

/* What the programs are told about an interface. */
static int set_kind(const struct marcher_packet *handle, struct shaped *shaped, uint32_t kind)
{
	if (shaped->kind == kind)
		return 0;
	int error = kind ? packet_put(handle, MAP_SHAPE_DEVICES, &shaped->index, &kind)
	                 : packet_drop(handle, MAP_SHAPE_DEVICES, &shaped->index);
	if (!error)
		shaped->kind = kind;
	return error;
}

/* Classes. */

static int by_number(const void *a, const void *b)
{
	const struct qdisc_class *x = a, *y = b;

	return x->number < y->number ? -1 : x->number > y->number;
}

static bool same_class(const struct qdisc_class *a, const struct qdisc_class *b)
{
	return a->number == b->number && a->priority == b->priority && a->bytes_per_second == b->bytes_per_second &&
	       a->burst_bytes == b->burst_bytes && a->packets == b->packets;
}

static uint32_t queue_of(uint64_t bytes_per_second)
{
	uint64_t packets = bytes_per_second * (SHAPE_HORIZON_NS / 1000000) / 1000 / SMALL_PACKET;

	return packets < QUEUE_MIN ? QUEUE_MIN : packets > QUEUE_MAX ? QUEUE_MAX : (uint32_t)packets;
}

/* Those that every interface with HTB is to have, and in bits of each service which of them are its. */
static bool want_classes(struct packet_shaping *shaping)
{
	const uint32_t most = SHAPE_PRIORITIES + POLICY_DIRECTIONS * shaping->nneeds;

	free(shaping->wanted);
	shaping->nwanted = 0;
	shaping->wanted = calloc(most, sizeof(*shaping->wanted));
	if (!shaping->wanted)
		return false;
	for (uint32_t priority = 0; priority < SHAPE_PRIORITIES; priority++)
		shaping->wanted[shaping->nwanted++] =
		        (struct qdisc_class){.number = (uint16_t)SHAPE_PRIORITY_CLASS(priority),
		                             .priority = (uint8_t)priority,
		                             .bytes_per_second = QDISC_UNLIMITED,
		                             .burst_bytes = BURST_OF_PRIORITY,
		                             .packets = QUEUE_OF_PRIORITY};
	for (uint32_t i = 0; i < shaping->nneeds; i++) {
		const struct packet_shape_need *need = &shaping->needs[i];
		for (uint32_t d = 0; d < POLICY_DIRECTIONS; d++) {
			uint64_t rate = need->bytes_per_second[d];
			if (!rate || shaping->nwanted == CLASSES_MAX)
				continue;
			shaping->wanted[shaping->nwanted++] =
			        (struct qdisc_class){.number = (uint16_t)SHAPE_SERVICE_CLASS(need->service, d),
			                             .priority = (uint8_t)need->priority,
			                             .bytes_per_second = rate,
			                             .burst_bytes = need->burst_bytes[d],
			                             .packets = queue_of(rate)};
		}
	}
	qsort(shaping->wanted, shaping->nwanted, sizeof(*shaping->wanted), by_number);
	return true;
}

static struct qdisc_class *wanted_class(const struct packet_shaping *shaping, uint32_t number)
{
	const struct qdisc_class key = {.number = (uint16_t)number};

	return shaping->wanted ? bsearch(&key, shaping->wanted, shaping->nwanted, sizeof(key), by_number) : NULL;
}

/* The place of a class among those that an interface has, made when it is not there; NULL: no memory. */
static struct held_class *hold_class(struct shaped *shaped, uint16_t number)
{
	uint32_t at = 0;

	while (at < shaped->nclasses && shaped->classes[at].class.number < number)
		at++;
	if (at < shaped->nclasses && shaped->classes[at].class.number == number)
		return &shaped->classes[at];
	struct held_class *more = realloc(shaped->classes, (shaped->nclasses + 1) * sizeof(*more));
	if (!more)
		return NULL;
	shaped->classes = more;
	memmove(&more[at + 1], &more[at], (shaped->nclasses++ - at) * sizeof(*more));
	more[at] = (struct held_class){.class.number = number};
	return &more[at];
}

static void found_class(uint16_t number, void *argument)
{
	hold_class(argument, number);
}

static void forget_classes(struct shaped *shaped)
{
	free(shaped->classes);
	shaped->classes = NULL;
	shaped->nclasses = 0;
}

/* Makes and changes what is wanted. Others stay for a while: packets may wait in them. */
static int put_classes(const struct packet_shaping *shaping, struct shaped *shaped, int fd)
{
	for (uint32_t i = 0; i < shaping->nwanted; i++) {
		const struct qdisc_class *class = &shaping->wanted[i];
		struct held_class *held = hold_class(shaped, class->number);
		if (!held)
			return -ENOMEM;
		if (!same_class(&held->class, class)) {
			int error = qdisc_put_class(fd, shaped->index, class);
			if (error)
				return error;
			held->class = *class;
		}
	}
	for (uint32_t i = 0; i < shaped->nclasses; i++) {
		struct held_class *held = &shaped->classes[i];
		bool wanted = wanted_class(shaping, held->class.number) != NULL;
		if (!wanted && (held->wanted || !held->unwanted_s))
			held->unwanted_s = now_s();
		held->wanted = wanted;
	}
	return 0;
}

static void drop_classes(struct shaped *shaped, int fd)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < shaped->nclasses; i++) {
		const struct held_class *held = &shaped->classes[i];
		bool over = !held->wanted && held->unwanted_s && now_s() - held->unwanted_s >= packet_shape_linger_s;
		if (!over || qdisc_drop_class(fd, shaped->index, held->class.number))
			shaped->classes[kept++] = *held;
	}
	shaped->nclasses = kept;
}

static uint32_t bits_of(const struct packet_shaping *shaping, uint32_t service)
{
	uint32_t bits = 0;

	for (uint32_t d = 0; d < POLICY_DIRECTIONS; d++)
		bits |= wanted_class(shaping, SHAPE_SERVICE_CLASS(service, d)) ? 1u << d : 0;
	return bits;
}

/* Which services have classes, for the programs. */
static int put_services(const struct marcher_packet *handle)
{
	const struct packet_shaping *shaping = handle->shaping;

	for (uint32_t i = 0; i < shaping->nneeds; i++) {
		uint32_t index = shaping->needs[i].service, bits = bits_of(shaping, index);
		int error = packet_put(handle, MAP_SHAPE_SERVICES, &index, &bits);
		if (error)
			return error;
	}
	return 0;
}

/* Before their classes go. What an earlier process has left is not known: then all are looked at. */
static int drop_services(const struct marcher_packet *handle, const struct packet_shape_need *before, uint32_t count)
{
	const struct packet_shaping *shaping = handle->shaping;

	for (uint32_t i = 0; i < (shaping->applied ? count : SERVICES_MAX); i++) {
		uint32_t index = shaping->applied ? before[i].service : i, is = 0;
		if (bpf_map_lookup_elem(handle->maps[MAP_SHAPE_SERVICES], &index, &is))
			return -errno;
		uint32_t stay = is & bits_of(shaping, index);
		int error = stay == is ? 0 : packet_put(handle, MAP_SHAPE_SERVICES, &index, &stay);
		if (error)
			return error;
	}
	return 0;
}

/* Roots. */

static int make_fq(const struct marcher_packet *handle, struct shaped *shaped, const struct qdisc_root *root, int fd)
{
	int error = packet_tc_note_root(handle, shaped->index);

	return error ? error : qdisc_make_fq(fd, root);
}

static int make_htb(const struct marcher_packet *handle, struct shaped *shaped, int fd)
{
	int error = packet_tc_note_root(handle, shaped->index);

	forget_classes(shaped);
	return error ? error : qdisc_make_htb(fd, shaped->index, SHAPE_PRIORITY_CLASS(SHAPE_DEFAULT_PRIORITY));
}

static int give_back(const struct marcher_packet *handle, struct shaped *shaped, int fd)
{
	int error = set_kind(handle, shaped, 0);

	if (!error)
		error = qdisc_restore(fd, shaped->index);
	if (error)
		return error;
	forget_classes(shaped);
	shaped->ours = false;
	packet_tc_forget_root(handle, shaped->index);
	return 0;
}

static bool may_have(const struct packet_shaping *shaping, uint32_t kind)
{
	return !shaping->lacking_s[kind] || now_s() - shaping->lacking_s[kind] >= LACKING_S;
}

/* Makes the root of that kind, unless it is known not to be had. 0 or -errno; -ENOENT: the kernel does not have it. */
static int make_kind(const struct marcher_packet *handle, struct shaped *shaped, const struct qdisc_root *root, int fd,
                     uint32_t kind)
{
	struct packet_shaping *shaping = handle->shaping;

	if (!may_have(shaping, kind))
		return -ENOENT;
	int error = kind == SHAPE_FQ ? make_fq(handle, shaped, root, fd) : make_htb(handle, shaped, fd);
	shaping->lacking_s[kind] = error == -ENOENT ? now_s() : 0;
	return error;
}

static void lacks(struct shaped *shaped, const char *kind, const char *configuration)
{
	size_t length = strlen(shaped->reason);

	snprintf(shaped->reason + length, sizeof(shaped->reason) - length,
	         "%sthe kernel has no sch_%s (modprobe sch_%s, or one with %s)", length ? "; " : "", kind, kind,
	         configuration);
}

/* The first kind that the mode lets be and that the kernel has. */
static int make(const struct marcher_packet *handle, struct shaped *shaped, const struct qdisc_root *root, int fd,
                const struct packet_shape_sum *sum, uint32_t *kind)
{
	int error = -ENOENT;

	*kind = 0;
	if (handle->egress_shaping != MARCHER_SHAPING_HTB) {
		error = make_kind(handle, shaped, root, fd, SHAPE_FQ);
		if (!error)
			*kind = SHAPE_FQ;
		else if (error == -ENOENT)
			lacks(shaped, "fq", "CONFIG_NET_SCH_FQ");
	}
	if (error == -ENOENT && handle->egress_shaping != MARCHER_SHAPING_FQ && (sum->rates || sum->priorities)) {
		error = make_kind(handle, shaped, root, fd, SHAPE_HTB);
		if (!error)
			*kind = SHAPE_HTB;
		else if (error == -ENOENT)
			lacks(shaped, "htb", "CONFIG_NET_SCH_HTB");
	}
	if (error)
		packet_tc_forget_root(handle, shaped->index);
	shaped->ours = !error;
	return error == -ENOENT ? 0 : error;
}

static struct packet_shape_sum sum_of(const struct packet_shaping *shaping)
{
	struct packet_shape_sum sum = {.rates = false};

	for (uint32_t i = 0; i < shaping->nneeds; i++) {
		const struct packet_shape_need *need = &shaping->needs[i];
		for (uint32_t d = 0; d < POLICY_DIRECTIONS; d++)
			sum.rates |= need->bytes_per_second[d] != 0;
		sum.flow_rates |= need->flow_rates;
		sum.priorities |= need->priority != SHAPE_DEFAULT_PRIORITY;
	}
	return sum;
}

static void tell_whose(const struct marcher_packet *handle, struct shaped *shaped)
{
	const char *const pins[] = {"tc/%lu_%u_root"};
	const size_t length = strlen(shaped->reason);
	char whose[HOLDER_TEXT_SIZE], name[IF_NAMESIZE] = "DEV", command[48];

	if_indextoname(shaped->index, name);
	snprintf(command, sizeof(command), "tc qdisc del dev %s root", name);
	packet_holder_tell(handle, shaped->index, pins, 1, command, whose);
	snprintf(shaped->reason + length, sizeof(shaped->reason) - length, "%s", whose);
}

/* 0 or -errno. */
static int shape(const struct marcher_packet *handle, struct shaped *shaped, struct qdisc_root *root, int fd)
{
	const struct packet_shaping *shaping = handle->shaping;
	const struct packet_shape_sum sum = sum_of(shaping);
	uint32_t kind = 0;
	int error = 0;

	enum packet_shape_choice choice = packet_shape_choose(handle->egress_shaping, &sum, root, shaped->reason);
	if (root->others && *shaped->reason && handle->egress_shaping != MARCHER_SHAPING_OFF)
		tell_whose(handle, shaped);
	shaped->ours = qdisc_is_ours(root);
	if (choice == SHAPE_MAKE && shaped->ours) {
		error = give_back(handle, shaped, fd);
		if (!error)
			error = qdisc_look(fd, root, 1);
		if (error)
			return error;
	}
	if (choice == SHAPE_USE_FQ)
		kind = SHAPE_FQ;
	else if (choice == SHAPE_KEEP)
		kind = packet_shape_is_fq(root) ? SHAPE_FQ : SHAPE_HTB;
	else if (choice == SHAPE_MAKE)
		error = make(handle, shaped, root, fd, &sum, &kind);
	if (choice == SHAPE_KEEP && kind == SHAPE_HTB && handle->egress_shaping == MARCHER_SHAPING_AUTO &&
	    shaping->lacking_s[SHAPE_FQ])
		lacks(shaped, "fq", "CONFIG_NET_SCH_FQ");
	if (choice != SHAPE_LEAVE || !shaped->ours)
		shaped->idle_s = 0;
	else if (!shaped->idle_s)
		shaped->idle_s = now_s();
	if (!error && kind == SHAPE_HTB)
		error = put_classes(shaping, shaped, fd);
	if (!error && kind == SHAPE_HTB && shaping->nwanted == CLASSES_MAX)
		snprintf(shaped->reason, sizeof(shaped->reason),
		         "no more than %u classes: what further services have over their rate is dropped", CLASSES_MAX);
	int told = set_kind(handle, shaped, error ? 0 : kind);
	return error ? error : told;
}

static void not_shaped(struct shaped *shaped, int error)
{
	size_t length = strlen(shaped->reason);

	snprintf(shaped->reason + length, sizeof(shaped->reason) - length,
	         "%swhat is over a rate is dropped: setting the queueing discipline: %s", length ? "; " : "",
	         strerror(-error));
}

/* Every Marcher's root has the same handle, which the programs know: the note says whose it is. One of what is gone
 * would be taken for that of what another makes there. */
static void tell_apart(const struct marcher_packet *handle, struct qdisc_root *root)
{
	if (!root->index || !*root->kind)
		return;
	if (qdisc_is_ours(root))
		root->others = !packet_tc_root_noted(handle, root->index);
	else
		packet_tc_forget_root(handle, root->index);
}

/* Looks at all interfaces' roots. A descriptor for requests, or -errno. */
static int look(struct marcher_packet *handle)
{
	struct packet_shaping *shaping = handle->shaping;
	int fd = netlink_open(PATIENCE_S);

	if (fd < 0)
		return fd;
	for (uint32_t i = 0; i < handle->ninterfaces; i++) {
		struct shaped *shaped = &shaping->list[i];
		if (shaped->index != handle->interfaces[i].index) {
			/* Another one of the same name; of the old one the kernel has forgotten all but our entry. */
			if (shaped->index && set_kind(handle, shaped, 0))
				shaped->kind = 0;
			forget_classes(shaped);
			*shaped = (struct shaped){.index = handle->interfaces[i].index};
		}
		shaping->roots[i].index = shaped->index;
	}
	int error = qdisc_look(fd, shaping->roots, handle->ninterfaces);
	for (uint32_t i = 0; !error && i < handle->ninterfaces; i++)
		tell_apart(handle, &shaping->roots[i]);
	if (!error)
		return fd;
	close(fd);
	return error;
}

/* An entry of an interface that is not named any more. */
static void drop_others(const struct marcher_packet *handle)
{
	uint32_t index, next;
	const uint32_t *at = NULL;

	for (uint32_t n = 0; n < SHAPE_DEVICES_MAX; n++) {
		if (bpf_map_get_next_key(handle->maps[MAP_SHAPE_DEVICES], at, &next))
			return;
		index = next;
		at = &index;
		bool named = false;
		for (uint32_t i = 0; i < handle->ninterfaces; i++)
			named |= handle->interfaces[i].index == index;
		if (!named) {
			packet_drop(handle, MAP_SHAPE_DEVICES, &index);
			at = NULL;
		}
	}
}

int packet_shape_open(struct marcher_packet *handle)
{
	struct packet_shaping *shaping = handle->shaping = calloc(1, sizeof(*handle->shaping));

	if (!shaping)
		return packet_fail(handle, MARCHER_E_NO_MEMORY, "no memory");
	drop_others(handle);
	int fd = look(handle);
	if (fd < 0)
		return packet_fail_system(handle, -fd, "asking the kernel for queueing disciplines");
	for (uint32_t i = 0; i < handle->ninterfaces; i++) {
		struct shaped *shaped = &shaping->list[i];
		const struct qdisc_root *root = &shaping->roots[i];
		uint32_t kind = 0;
		bpf_map_lookup_elem(handle->maps[MAP_SHAPE_DEVICES], &shaped->index, &kind);
		shaped->kind = kind <= SHAPE_HTB ? kind : 0;
		shaped->ours = qdisc_is_ours(root);
		if (shaped->ours && !strcmp(root->kind, "htb"))
			qdisc_classes(fd, shaped->index, found_class, shaped);
		bool there = kind == SHAPE_FQ ? packet_shape_is_fq(root) : shaped->ours && !strcmp(root->kind, "htb");
		if (kind && !there)
			set_kind(handle, shaped, 0);
	}
	close(fd);
	tell(handle);
	return MARCHER_OK;
}

static int shape_all(struct marcher_packet *handle)
{
	struct packet_shaping *shaping = handle->shaping;
	int fd = look(handle);

	if (fd < 0)
		return packet_fail_system(handle, -fd, "asking the kernel for queueing disciplines");
	for (uint32_t i = 0; i < handle->ninterfaces; i++) {
		struct shaped *shaped = &shaping->list[i];
		int error = shaped->index ? shape(handle, shaped, &shaping->roots[i], fd) : 0;
		if (error)
			not_shaped(shaped, error);
		if (!error && shaped->ours && shaped->idle_s && now_s() - shaped->idle_s >= packet_shape_linger_s)
			give_back(handle, shaped, fd);
		else if (shaped->kind == SHAPE_HTB)
			drop_classes(shaped, fd);
	}
	close(fd);
	tell(handle);
	return MARCHER_OK;
}

static bool idle(const struct marcher_packet *handle)
{
	const struct packet_shaping *shaping = handle->shaping;

	if (shaping->nneeds)
		return false;
	for (uint32_t i = 0; i < handle->ninterfaces; i++)
		if (shaping->list[i].ours || shaping->list[i].kind)
			return false;
	return true;
}

int packet_shape_apply(struct marcher_packet *handle, const struct packet_shape_need *needs, uint32_t count)
{
	struct packet_shaping *shaping = handle->shaping;
	struct packet_shape_need *before = shaping->needs, *copy = calloc(count + 1, sizeof(*copy));
	uint32_t nbefore = shaping->nneeds;

	if (!copy)
		return packet_fail(handle, MARCHER_E_NO_MEMORY, "no memory");
	if (count)
		memcpy(copy, needs, count * sizeof(*copy));
	shaping->needs = copy;
	shaping->nneeds = count;
	int error = want_classes(shaping) ? drop_services(handle, before, nbefore) : -ENOMEM;
	shaping->applied |= !error;
	free(before);
	int code = error ? packet_fail_system(handle, -error, "writing the map shape_services") : MARCHER_OK;
	if (!code && !idle(handle))
		code = shape_all(handle);
	error = code ? 0 : put_services(handle);
	return error ? packet_fail_system(handle, -error, "writing the map shape_services") : code;
}

static uint32_t class_of_priority(uint32_t priority)
{
	/* By class, what the relay's sockets have as SO_PRIORITY: see packet_policy.c. */
	return priority == 6 ? 0 : priority == 4 ? 1 : priority == 2 ? 3 : SHAPE_DEFAULT_PRIORITY;
}

int packet_shape_services(struct marcher_packet *handle)
{
	const struct packet_state *state = &handle->state;
	struct packet_shape_need *needs = calloc(state->nservices + 1, sizeof(*needs));
	uint32_t count = 0;

	if (!needs)
		return packet_fail(handle, MARCHER_E_NO_MEMORY, "no memory");
	for (uint32_t i = 0; i < SERVICES_MAX; i++) {
		const struct packet_service *service = state->services[i];
		if (!service || !(service->entry.flags & SERVICE_POLICY) || service->entry.forwarding != FORWARDING_NAT)
			continue;
		struct packet_shape_need *need = &needs[count++];
		*need = (struct packet_shape_need){.service = i,
		                                   .priority = class_of_priority(service->policy.priority)};
		for (uint32_t d = 0; d < POLICY_DIRECTIONS; d++) {
			const struct gcra_rate *rate = &service->policy.service[d];
			need->bytes_per_second[d] = gcra_units_per_second(rate);
			need->burst_bytes[d] = gcra_burst_units(rate);
			need->flow_rates |= service->policy.flow[d].unit_cost != 0;
		}
	}
	int code = packet_shape_apply(handle, needs, count);
	free(needs);
	return code;
}

int packet_shape_tend(struct marcher_packet *handle)
{
	return handle->shaping->applied && !idle(handle) ? shape_all(handle) : MARCHER_OK;
}

void packet_shape_close(struct marcher_packet *handle)
{
	struct packet_shaping *shaping = handle->shaping;

	if (!shaping)
		return;
	for (uint32_t i = 0; i < PACKET_INTERFACES_MAX; i++)
		forget_classes(&shaping->list[i]);
	free(shaping->needs);
	free(shaping->wanted);
	free(shaping);
	handle->shaping = NULL;
}
