/* SPDX-License-Identifier: Apache-2.0 */
/* The packet tiers' API: handle, locks, errors. */
#include "packet.h"
#include "packet_guard.h"
#include "packet_shape.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "packet_migrate.h"

/* Of calls without a handle. */
static pthread_mutex_t open_error_lock = PTHREAD_MUTEX_INITIALIZER;
static char open_error[PACKET_ERROR_MAX];

static void set_error(struct marcher_packet *handle, const char *text)
{
	pthread_mutex_t *lock = handle ? &handle->error_lock : &open_error_lock;

	pthread_mutex_lock(lock);
	snprintf(handle ? handle->error : open_error, PACKET_ERROR_MAX, "%s", text);
	pthread_mutex_unlock(lock);
}

int packet_fail(struct marcher_packet *handle, int code, const char *format, ...)
{
	char text[PACKET_ERROR_MAX];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	set_error(handle, text);
	return code;
}

static const struct {
	int number;
	const char *name;
	bool admin_too; /* CAP_SYS_ADMIN stands for it */
} capabilities[] = {
        {CAP_BPF, "CAP_BPF", true}, {CAP_NET_ADMIN, "CAP_NET_ADMIN", false}, {CAP_PERFMON, "CAP_PERFMON", true}};

static bool has_capability(const struct __user_cap_data_struct *data, int number)
{
	return data[number / 32].effective & 1u << (number % 32);
}

void packet_missing_capabilities(char *out, size_t size)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {0};
	size_t length = 0;

	*out = '\0';
	if (syscall(SYS_capget, &header, data))
		return;
	for (size_t i = 0; i < sizeof(capabilities) / sizeof(capabilities[0]); i++) {
		if (has_capability(data, capabilities[i].number) ||
		    (capabilities[i].admin_too && has_capability(data, CAP_SYS_ADMIN)))
			continue;
		length +=
		        (size_t)snprintf(out + length, size - length, "%s%s", length ? ", " : "", capabilities[i].name);
	}
}

int packet_check_capabilities(struct marcher_packet *handle)
{
	char missing[64];

	packet_missing_capabilities(missing, sizeof(missing));
	if (!*missing)
		return MARCHER_OK;
	return packet_fail(
	        handle, MARCHER_E_SYSTEM,
	        "the packet tiers need CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON; this process lacks %s: give it "
	        "those (systemd: AmbientCapabilities=) or run it as root",
	        missing);
}

int packet_fail_system(struct marcher_packet *handle, int error, const char *format, ...)
{
	char text[PACKET_ERROR_MAX], missing[64], why[160] = "";
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	if (error == EPERM || error == EACCES) {
		packet_missing_capabilities(missing, sizeof(missing));
		if (*missing)
			snprintf(why, sizeof(why), "; this process lacks %s", missing);
		else if (error == EPERM) /* EACCES is a file's owner and mode, or the verifier */
			snprintf(
			        why, sizeof(why),
			        "; this process has the capabilities, but perhaps only inside a user namespace, or the "
			        "kernel is locked down");
	}
	return packet_fail(handle, error == ENOMEM ? MARCHER_E_NO_MEMORY : MARCHER_E_SYSTEM, "%s: %s%s", text,
	                   strerror(error), why);
}

const char *marcher_packet_last_error(struct marcher_packet *handle)
{
	/* Per thread, so that another thread's failure does not change the text while it is read. */
	static _Thread_local char text[PACKET_ERROR_MAX];
	pthread_mutex_t *lock = handle ? &handle->error_lock : &open_error_lock;

	pthread_mutex_lock(lock);
	memcpy(text, handle ? handle->error : open_error, sizeof(text));
	pthread_mutex_unlock(lock);
	return text;
}

static struct marcher_packet *new_handle(void)
{
	struct marcher_packet *handle = calloc(1, sizeof(*handle));

	if (!handle)
		return NULL;
	pthread_mutex_init(&handle->calls_lock, NULL);
	pthread_mutex_init(&handle->table_lock, NULL);
	pthread_mutex_init(&handle->error_lock, NULL);
	handle->dir_fd = handle->root_fd = handle->nat_fast.program = -1;
	for (int i = 0; i < TC_HOOKS; i++)
		handle->tc_fds[i] = -1;
	for (int i = 0; i < PACKET_MAPS; i++)
		handle->maps[i] = -1;
	return handle;
}

static void close_if_open(int fd)
{
	if (fd >= 0)
		close(fd);
}

static void free_handle(struct marcher_packet *handle)
{
	packet_links_close(handle);
	packet_flows_close(handle);
	packet_migration_free(handle);
	packet_state_free(&handle->state);
	packet_guard_free(handle->guard);
	packet_shape_close(handle);
	for (int i = 0; i < PACKET_MAPS; i++)
		close_if_open(handle->maps[i]);
	close_if_open(handle->root_fd);
	close_if_open(handle->nat_fast.program);
	for (int i = 0; i < TC_HOOKS; i++)
		close_if_open(handle->tc_fds[i]);
	close_if_open(handle->dir_fd);
	free(handle->pin_dir);
	pthread_mutex_destroy(&handle->calls_lock);
	pthread_mutex_destroy(&handle->table_lock);
	pthread_mutex_destroy(&handle->error_lock);
	free(handle);
}

static int check_options(const struct marcher_packet_options *options)
{
	if (options->size != sizeof(*options))
		return packet_fail(
		        NULL, MARCHER_E_INVALID,
		        "marcher_packet_open: options have %u bytes, not %zu: the caller was built for another "
		        "library",
		        options->size, sizeof(*options));
	if (options->xdp_mode > MARCHER_XDP_OFF)
		return packet_fail(
		        NULL, MARCHER_E_INVALID,
		        "marcher_packet_open: xdp_mode is %u; expected 0 (auto), 1 (native), 2 (generic) or 3 (off)",
		        options->xdp_mode);
	if (options->egress_shaping > MARCHER_SHAPING_OFF)
		return packet_fail(
		        NULL, MARCHER_E_INVALID,
		        "marcher_packet_open: egress_shaping is %u; expected 0 (auto), 1 (fq), 2 (htb) or 3 (off)",
		        options->egress_shaping);
	if (options->flows > PACKET_FLOWS_MAX)
		return packet_fail(NULL, MARCHER_E_INVALID,
		                   "marcher_packet_open: a flow table of %u entries; at most %u are possible",
		                   options->flows, PACKET_FLOWS_MAX);
	if (options->nat_flows > PACKET_NAT_FLOWS_MAX)
		return packet_fail(NULL, MARCHER_E_INVALID,
		                   "marcher_packet_open: room for %u translated flows; at most %u are possible",
		                   options->nat_flows, PACKET_NAT_FLOWS_MAX);
	if (!options->pin_dir || !*options->pin_dir || !options->interfaces)
		return packet_fail(NULL, MARCHER_E_INVALID, "marcher_packet_open: pin_dir and interfaces are needed");
	return MARCHER_OK;
}

static int open_handle(struct marcher_packet *handle, const struct marcher_packet_options *options)
{
	int code = packet_check_capabilities(handle);

	handle->xdp_mode = options->xdp_mode;
	handle->nat_flows = options->nat_flows ? options->nat_flows : packet_nat_flows_default();
	handle->egress_shaping = options->egress_shaping;
	if (!code)
		code = packet_dir_open(handle, options->pin_dir, true);
	if (code)
		return code;
	code = packet_load(handle, options->flows ? options->flows : FLOWS_DEFAULT);
	if (!code)
		code = packet_state_read(handle);
	if (!code)
		code = packet_guard_read(handle);
	if (!code)
		code = packet_links_open(handle, options->interfaces);
	if (!code)
		code = packet_tc_open(handle);
	if (!code)
		code = packet_shape_open(handle);
	if (code && handle->fresh) {
		/* Nobody would ever use what was made: the flow table alone has many megabytes. */
		char text[PACKET_ERROR_MAX];
		snprintf(text, sizeof(text), "%s", handle->error);
		packet_uninstall_version(handle, LAYOUT_VERSION);
		rmdir(handle->pin_dir); /* when nothing else is in it */
		set_error(handle, text);
	}
	return code;
}

int marcher_packet_open(const struct marcher_packet_options *options, struct marcher_packet **out)
{
	if (!options || !out)
		return packet_fail(NULL, MARCHER_E_INVALID, "marcher_packet_open: an argument is NULL");
	*out = NULL;
	int code = check_options(options);
	if (code)
		return code;
	struct marcher_packet *handle = new_handle();
	if (!handle)
		return packet_fail(NULL, MARCHER_E_NO_MEMORY, "no memory");
	code = open_handle(handle, options);
	if (code) {
		set_error(NULL, handle->error);
		free_handle(handle);
	} else {
		*out = handle;
	}
	return code;
}

void marcher_packet_close(struct marcher_packet *handle)
{
	if (!handle)
		return;
	/* A caller that is inside a call leaves it first; the FFI lets nobody call after close. */
	pthread_mutex_lock(&handle->calls_lock);
	pthread_mutex_unlock(&handle->calls_lock);
	free_handle(handle);
}

static int pack_reply(struct marcher_packet *handle, const struct packet_wanted *wanted, struct packet_reasons *reasons,
                      struct packet_reasons *left, struct packet_reasons *lost, uint64_t apply_us, uint8_t **out,
                      size_t *length)
{
	Marcher__Packet__V1__ApplyReply reply = MARCHER__PACKET__V1__APPLY_REPLY__INIT;

	reply.accepted = !reasons->count;
	reply.reasons = reasons->list;
	reply.n_reasons = reasons->count;
	reply.left_out = left->list;
	reply.n_left_out = left->count;
	reply.services = wanted->nservices;
	reply.backends = wanted->nbackends;
	reply.apply_us = apply_us;
	reply.migrated_from = handle->migrated.version;
	reply.migrated_flows = handle->migrated.flows;
	reply.migrated_nat_flows = handle->migrated.nat_flows;
	reply.lost_nat_flows = handle->migrated.nat_left;
	reply.lost = lost->list;
	reply.n_lost = lost->count;
	*length = marcher__packet__v1__apply_reply__get_packed_size(&reply);
	*out = malloc(*length ? *length : 1);
	if (!*out)
		return packet_fail(handle, MARCHER_E_NO_MEMORY, "no memory");
	marcher__packet__v1__apply_reply__pack(&reply, *out);
	return MARCHER_OK;
}

static uint64_t now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static int apply_table(struct marcher_packet *handle, Marcher__Packet__V1__Table *table, uint8_t **reply,
                       size_t *reply_length)
{
	struct packet_reasons reasons = {.count = 0}, left = {.count = 0}, lost = {.count = 0};
	struct packet_wanted wanted = {.services = NULL};
	uint64_t started = now_us();

	handle->migrated = (struct packet_migrated){.version = 0};
	packet_links_renew(handle);
	packet_tc_renew(handle);
	int error = packet_ways_leave_out(handle, table, &left), code = MARCHER_OK;
	if (error)
		code = packet_fail_system(handle, -error, "asking the kernel for the routes to backends");
	if (!code)
		code = packet_table_check(table, &wanted, &reasons);
	if (code == MARCHER_E_NO_MEMORY)
		packet_fail(handle, code, "no memory");
	if (!code && !reasons.count)
		code = packet_apply(handle, &wanted, &reasons);
	if (!code && !reasons.count && handle->migration)
		code = packet_migration_finish(handle, &lost);
	/* Last: a migration has both layouts' programs of tc at work until then. */
	if (!code && !reasons.count)
		code = packet_nat_fast_apply(handle, table);
	if (!code)
		code = pack_reply(handle, &wanted, &reasons, &left, &lost, now_us() - started, reply, reply_length);
	if (!code && reasons.count)
		code = packet_fail(handle, MARCHER_E_REFUSED, "the table was refused for %zu reason%s, first: %s: %s",
		                   reasons.count, reasons.count == 1 ? "" : "s", reasons.list[0]->path,
		                   reasons.list[0]->reason);
	packet_wanted_free(&wanted);
	packet_reasons_free(&reasons);
	packet_reasons_free(&left);
	packet_reasons_free(&lost);
	return code;
}

int marcher_packet_apply(struct marcher_packet *handle, const uint8_t *bytes, size_t length, uint8_t **reply,
                         size_t *reply_length)
{
	if (!handle || (!bytes && length) || !reply || !reply_length)
		return packet_fail(handle, MARCHER_E_INVALID, "marcher_packet_apply: an argument is NULL");
	*reply = NULL;
	*reply_length = 0;
	if (length > PACKET_TABLE_BYTES_MAX)
		return packet_fail(handle, MARCHER_E_INVALID, "the table has %zu bytes; at most %u are possible",
		                   length, PACKET_TABLE_BYTES_MAX);
	Marcher__Packet__V1__Table *table = marcher__packet__v1__table__unpack(NULL, length, bytes);
	if (!table)
		return packet_fail(handle, MARCHER_E_INVALID,
		                   "the %zu bytes are not a serialised marcher.packet.v1.Table", length);
	pthread_mutex_lock(&handle->calls_lock);
	int code = apply_table(handle, table, reply, reply_length);
	pthread_mutex_unlock(&handle->calls_lock);
	marcher__packet__v1__table__free_unpacked(table, NULL);
	return code;
}

int marcher_packet_status(struct marcher_packet *handle, uint8_t **reply, size_t *reply_length)
{
	if (!handle || !reply || !reply_length)
		return packet_fail(handle, MARCHER_E_INVALID, "marcher_packet_status: an argument is NULL");
	*reply = NULL;
	*reply_length = 0;
	pthread_mutex_lock(&handle->table_lock);
	packet_links_look(handle);
	packet_tc_look(handle);
	int code = packet_status(handle, reply, reply_length);
	pthread_mutex_unlock(&handle->table_lock);
	return code;
}

int marcher_packet_tend(struct marcher_packet *handle)
{
	if (!handle)
		return packet_fail(handle, MARCHER_E_INVALID, "marcher_packet_tend: no handle");
	pthread_mutex_lock(&handle->calls_lock);
	int code = packet_flows_tend(handle);
	if (!code)
		code = packet_guard_tend(handle);
	if (!code)
		code = packet_shape_tend(handle);
	if (!code)
		code = packet_nat_fast_tend(handle);
	pthread_mutex_unlock(&handle->calls_lock);
	return code;
}

int marcher_packet_uninstall(const char *pin_dir)
{
	if (!pin_dir || !*pin_dir)
		return packet_fail(NULL, MARCHER_E_INVALID, "marcher_packet_uninstall: pin_dir is needed");
	struct marcher_packet *handle = new_handle();
	if (!handle)
		return packet_fail(NULL, MARCHER_E_NO_MEMORY, "no memory");
	int code = packet_check_capabilities(handle);
	if (!code)
		code = packet_dir_open(handle, pin_dir, false);
	if (!code && handle->dir_fd >= 0)
		code = packet_uninstall(handle);
	if (code)
		set_error(NULL, handle->error);
	free_handle(handle);
	return code;
}

int marcher_packet_installed(const char *pin_dir, uint8_t **reply, size_t *reply_length)
{
	struct packet_dir_holder holder;

	if (!pin_dir || !*pin_dir || !reply || !reply_length)
		return packet_fail(NULL, MARCHER_E_INVALID, "marcher_packet_installed: an argument is missing");
	*reply = NULL;
	*reply_length = 0;
	struct marcher_packet *handle = new_handle();
	if (!handle)
		return packet_fail(NULL, MARCHER_E_NO_MEMORY, "no memory");
	int code = packet_check_capabilities(handle);
	if (!code)
		code = packet_dir_look(handle, pin_dir, &holder);
	if (!code)
		code = packet_installed(handle, &holder, reply, reply_length);
	if (code)
		set_error(NULL, handle->error);
	free_handle(handle);
	return code;
}

int marcher_packet_probe(uint8_t **reply, size_t *reply_length)
{
	if (!reply || !reply_length)
		return packet_fail(NULL, MARCHER_E_INVALID, "marcher_packet_probe: an argument is NULL");
	*reply = NULL;
	*reply_length = 0;
	int code = packet_probe(reply, reply_length);
	return code ? packet_fail(NULL, code, "no memory") : code;
}
