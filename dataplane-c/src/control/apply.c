/* SPDX-License-Identifier: Apache-2.0 */
/* Snapshots and other requests on their way to the engine. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "control.h"
#include "ipc/frame.h"

static void accepted(struct marcher *handle, const struct snapshot_head *head, const uint8_t *snapshot, size_t length)
{
	int error = journal_accept(&handle->journal, head, snapshot, length);

	if (error == -ESTALE)
		control_notice(
		        handle,
		        "generation %llu runs but cannot be saved: it continues generation %llu and the last good "
		        "snapshot is another; apply a complete one",
		        (unsigned long long)head->generation, (unsigned long long)head->base_generation);
	else if (error)
		control_notice(handle, "generation %llu runs but could be saved neither to disk nor in memory",
		               (unsigned long long)head->generation);
	handle->generation = head->generation;
	handle->watch.snapshot_since_ms = control_now_ms();
	pthread_mutex_lock(&handle->state_lock);
	handle->status.generation = head->generation;
	pthread_mutex_unlock(&handle->state_lock);
	control_publish_journal(handle);
	if (!handle->bank_stale) {
		handle->bank_stale = true;
		handle->bank_stale_since_ms = control_now_ms();
	}
	supervisor_wake(handle);
}

void apply_forget_late(struct marcher *handle)
{
	if (!handle->late.request_id)
		return;
	handle->late.request_id = 0;
	close(handle->late.fd);
}

void apply_late_reply(void *arg, const EngineReply *reply)
{
	struct marcher *handle = arg;
	const void *snapshot;
	size_t length;

	if (!handle->late.request_id || reply->id != handle->late.request_id)
		return;
	if (reply->kind_case == MARCHER__ENGINE__V1__REPLY__KIND_APPLY && reply->apply->accepted &&
	    !ipc_memfd_map(handle->late.fd, IPC_SNAPSHOT_MAX, &snapshot, &length)) {
		accepted(handle, &handle->late.head, snapshot, length);
		if (length)
			munmap((void *)(uintptr_t)snapshot, length);
	}
	apply_forget_late(handle);
}

/* Gives the packed message to the caller. */
static int hand_out(struct marcher *handle, const ProtobufCMessage *message, uint8_t **out, size_t *out_length)
{
	size_t length = protobuf_c_message_get_packed_size(message);

	*out = malloc(length ? length : 1);
	if (!*out)
		return control_fail(handle, MARCHER_E_NO_MEMORY, "no memory for a reply of %zu bytes", length);
	*out_length = protobuf_c_message_pack(message, *out);
	return MARCHER_OK;
}

/* The failure as marcher_error, reported; a closed connection is opened again when the engine lives. */
static int call_failed(struct marcher *handle, int error, const char *what)
{
	int code = control_call_failed(handle, error, what);

	if (error == -EPIPE && !lifecycle_disconnected(handle))
		control_fail(handle, code,
		             "%s: engine %d closed the connection before it answered and was connected again; it runs "
		             "generation %llu",
		             what, (int)handle->link.pid, (unsigned long long)handle->generation);
	return code;
}

static int apply(struct marcher *handle, const uint8_t *snapshot, size_t length, uint32_t flags,
                 const struct snapshot_head *head, int fd, uint8_t **out, size_t *out_length)
{
	Marcher__Engine__V1__ApplyRequest message = MARCHER__ENGINE__V1__APPLY_REQUEST__INIT;
	EngineRequest request = MARCHER__ENGINE__V1__REQUEST__INIT;
	EngineReply *reply = NULL;
	int code = control_await_engine(handle);

	if (code)
		return code;
	message.tolerate_bind_errors = flags & MARCHER_APPLY_TOLERATE_BIND_ERRORS;
	request.kind_case = MARCHER__ENGINE__V1__REQUEST__KIND_APPLY;
	request.apply = &message;
	/* What came in late stays booked for: its answer comes before this one's. */
	int error = link_call(&handle->link, &request, &fd, 1, handle->request_timeout_ms, &reply, NULL, NULL);
	if (error == -ETIMEDOUT) {
		int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
		apply_forget_late(handle); /* one is kept track of: the latest */
		if (copy >= 0) {
			handle->late.request_id = request.id;
			handle->late.fd = copy;
			handle->late.head = *head;
		}
		/* Either it is still at it, or it hangs: the supervisor asks now. */
		handle->watch.next_ping_ms = 0;
		supervisor_wake(handle);
	}
	if (error)
		return call_failed(handle, error, "applying a snapshot");
	apply_forget_late(handle); /* answers come in the order of the requests */
	if (reply->kind_case != MARCHER__ENGINE__V1__REPLY__KIND_APPLY) {
		code = control_fail(handle, MARCHER_E_PROTOCOL, "the engine did not apply generation %llu: %s",
		                    (unsigned long long)head->generation,
		                    reply->error && *reply->error ? reply->error : "its reply has no answer in it");
	} else {
		code = hand_out(handle, &reply->apply->base, out, out_length);
		if (reply->apply->accepted) {
			accepted(handle, head, snapshot, length);
		} else if (!code) {
			const Marcher__Engine__V1__ApplyReply *no = reply->apply;
			code = control_fail(handle, MARCHER_E_REFUSED,
			                    "the engine refused generation %llu and keeps %llu: %s%s%s (%zu reasons)",
			                    (unsigned long long)head->generation, (unsigned long long)no->generation,
			                    no->n_reasons ? no->reasons[0]->path : "", no->n_reasons ? ": " : "",
			                    no->n_reasons ? no->reasons[0]->reason : "no reason given", no->n_reasons);
		}
	}
	link_reply_free(reply);
	return code;
}

int marcher_apply(struct marcher *handle, const uint8_t *snapshot, size_t length, uint32_t flags, uint8_t **reply,
                  size_t *reply_length)
{
	struct snapshot_head head;

	if (!handle || !snapshot || !reply || !reply_length)
		return control_fail(handle, MARCHER_E_INVALID, "marcher_apply: an argument is NULL");
	*reply = NULL;
	*reply_length = 0;
	if (flags & ~MARCHER_APPLY_TOLERATE_BIND_ERRORS)
		return control_fail(handle, MARCHER_E_INVALID, "marcher_apply: unknown flags 0x%x", flags);
	if (length > IPC_SNAPSHOT_MAX)
		return control_fail(handle, MARCHER_E_INVALID, "the snapshot has %zu bytes; at most %u are possible",
		                    length, IPC_SNAPSHOT_MAX);
	if (snapshot_head_read(snapshot, length, &head) || !head.generation)
		return control_fail(handle, MARCHER_E_INVALID,
		                    "the snapshot is no marcher.engine.v1.Snapshot with a generation");
	int fd = ipc_memfd_sealed("marcher-snapshot", snapshot, length);
	if (fd < 0)
		return control_fail(handle, MARCHER_E_SYSTEM, "putting the snapshot (%zu bytes) into a memfd: %s",
		                    length, strerror(-fd));
	control_lock(handle);
	int code = apply(handle, snapshot, length, flags, &head, fd, reply, reply_length);
	control_unlock(handle);
	close(fd);
	return code;
}

/* Puts a payload that came as a memfd where it belongs in the reply. */
static int unfold(EngineReply *reply, int fd)
{
	const void *data;
	size_t length;

	if (ipc_memfd_map(fd, IPC_SNAPSHOT_MAX, &data, &length))
		return -EPROTO;
	int error = -EPROTO;
	if (reply->kind_case == MARCHER__ENGINE__V1__REPLY__KIND_CONNECTIONS) {
		Marcher__Engine__V1__ConnectionList *list =
		        marcher__engine__v1__connection_list__unpack(NULL, length, data);
		if (list) {
			if (reply->connections->list)
				marcher__engine__v1__connection_list__free_unpacked(reply->connections->list, NULL);
			reply->connections->list = list;
			reply->connections->in_memfd = false;
			error = 0;
		}
	} else if (reply->kind_case == MARCHER__ENGINE__V1__REPLY__KIND_BACKENDS) {
		Marcher__Engine__V1__BackendsReply *backends =
		        marcher__engine__v1__backends_reply__unpack(NULL, length, data);
		if (backends) {
			marcher__engine__v1__backends_reply__free_unpacked(reply->backends, NULL);
			reply->backends = backends;
			reply->backends->in_memfd = false;
			error = 0;
		}
	}
	if (length)
		munmap((void *)(uintptr_t)data, length);
	return error;
}

static bool wants_memfd(const EngineReply *reply)
{
	return (reply->kind_case == MARCHER__ENGINE__V1__REPLY__KIND_CONNECTIONS && reply->connections->in_memfd) ||
	       (reply->kind_case == MARCHER__ENGINE__V1__REPLY__KIND_BACKENDS && reply->backends->in_memfd);
}

static int request_answer(struct marcher *handle, EngineRequest *message, uint8_t **out, size_t *out_length)
{
	EngineReply *reply = NULL;
	int fds[1];
	size_t nfds = 1;
	int code = control_await_engine(handle);

	if (code)
		return code;
	int error = link_call(&handle->link, message, NULL, 0, handle->request_timeout_ms, &reply, fds, &nfds);
	if (error)
		return call_failed(handle, error, "a request");
	if (wants_memfd(reply) && (!nfds || unfold(reply, fds[0])))
		code = control_fail(handle, MARCHER_E_PROTOCOL,
		                    "the engine's reply names a memfd that is missing or unreadable");
	else
		code = hand_out(handle, &reply->base, out, out_length);
	if (nfds)
		close(fds[0]);
	link_reply_free(reply);
	return code;
}

int marcher_request(struct marcher *handle, const uint8_t *request, size_t length, uint8_t **reply,
                    size_t *reply_length)
{
	if (!handle || (!request && length) || !reply || !reply_length)
		return control_fail(handle, MARCHER_E_INVALID, "marcher_request: an argument is NULL");
	*reply = NULL;
	*reply_length = 0;
	EngineRequest *message =
	        length <= IPC_PACKET_MAX ? marcher__engine__v1__request__unpack(NULL, length, request) : NULL;
	if (!message)
		return control_fail(handle, MARCHER_E_INVALID, "the request is no marcher.engine.v1.Request");
	int code;
	switch (message->kind_case) {
	case MARCHER__ENGINE__V1__REQUEST__KIND_CONNECTIONS:
	case MARCHER__ENGINE__V1__REQUEST__KIND_BACKENDS:
	case MARCHER__ENGINE__V1__REQUEST__KIND_PING:
	case MARCHER__ENGINE__V1__REQUEST__KIND_LOAD_ELSEWHERE:
		control_lock(handle);
		code = request_answer(handle, message, reply, reply_length);
		control_unlock(handle);
		break;
	case MARCHER__ENGINE__V1__REQUEST__KIND__NOT_SET:
		code = control_fail(handle, MARCHER_E_INVALID, "the request has no kind that this library knows");
		break;
	default:
		code = control_fail(handle, MARCHER_E_INVALID,
		                    "Hello, Apply, Listeners and Retire are the library's own: use marcher_open, "
		                    "marcher_apply, marcher_upgrade, marcher_stop");
	}
	marcher__engine__v1__request__free_unpacked(message, NULL);
	return code;
}

void marcher_buffer_free(uint8_t *buffer)
{
	free(buffer);
}
