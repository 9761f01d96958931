/* SPDX-License-Identifier: Apache-2.0 */
#include "bank.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "control.h"
#include "ipc/frame.h"

void bank_clear(struct bank *bank)
{
	for (size_t i = 0; i < bank->count; i++) {
		if (bank->fds[i] >= 0)
			close(bank->fds[i]);
		free(bank->keys[i]);
	}
	free(bank->fds);
	free(bank->keys);
	*bank = (struct bank){0};
}

static int bank_reserve(struct bank *bank, size_t capacity)
{
	if (capacity <= bank->capacity)
		return 0;
	int *fds = realloc(bank->fds, capacity * sizeof(*fds));
	if (fds)
		bank->fds = fds;
	char **keys = realloc(bank->keys, capacity * sizeof(*keys));
	if (keys)
		bank->keys = keys;
	if (!fds || !keys)
		return -ENOMEM;
	bank->capacity = capacity;
	return 0;
}

static int fetch_packet(struct link *link, uint32_t offset, uint64_t known, unsigned timeout_ms, EngineReply **reply,
                        int *fds, size_t *nfds)
{
	Marcher__Engine__V1__ListenersRequest listeners = MARCHER__ENGINE__V1__LISTENERS_REQUEST__INIT;
	EngineRequest request = MARCHER__ENGINE__V1__REQUEST__INIT;

	listeners.offset = offset;
	listeners.known_version = known;
	request.kind_case = MARCHER__ENGINE__V1__REQUEST__KIND_LISTENERS;
	request.listeners = &listeners;
	int error = link_call(link, &request, NULL, 0, timeout_ms, reply, fds, nfds);
	if (error)
		return error;
	if ((*reply)->kind_case == MARCHER__ENGINE__V1__REPLY__KIND_LISTENERS && (*reply)->listeners->n_keys == *nfds)
		return 0;
	for (size_t i = 0; i < *nfds; i++)
		close(fds[i]);
	link_reply_free(*reply);
	*reply = NULL;
	return -EPROTO;
}

/* Takes the descriptors of one packet. Those that cannot be taken are closed. */
static int bank_take(struct bank *bank, const Marcher__Engine__V1__ListenersReply *reply, const int *fds, size_t nfds)
{
	int error = bank_reserve(bank, bank->count + nfds);
	size_t i = 0;

	for (; i < nfds && !error; i++) {
		char *key = strdup(reply->keys[i]);
		if (!key) {
			error = -ENOMEM;
			break;
		}
		bank->keys[bank->count] = key;
		bank->fds[bank->count++] = fds[i];
	}
	for (; i < nfds; i++)
		close(fds[i]);
	return error;
}

int bank_fetch(struct bank *bank, struct link *link, unsigned timeout_ms, size_t limit, bool (*yield)(void *arg),
               void *arg)
{
	struct bank next = {0};
	int error = 0;
	bool unchanged = false, done = false;

	for (unsigned restarts = 0; !done && !error;) {
		int fds[IPC_FDS_MAX];
		size_t nfds = IPC_FDS_MAX;
		EngineReply *reply = NULL;
		uint64_t known = next.count || restarts ? 0 : bank->version;
		error = fetch_packet(link, (uint32_t)next.count, known, timeout_ms, &reply, fds, &nfds);
		if (error)
			break;
		const Marcher__Engine__V1__ListenersReply *list = reply->listeners;
		unchanged = known && list->version == known && !nfds;
		if (next.count && (list->version != next.version || list->total != next.wanted)) {
			/* Changed between two packets: begin again, a few times. */
			for (size_t i = 0; i < nfds; i++)
				close(fds[i]);
			bank_clear(&next);
			error = ++restarts > 3 ? -EAGAIN : 0;
			link_reply_free(reply);
			continue;
		}
		next.version = list->version;
		next.wanted = list->total;
		if (unchanged) {
			done = true;
		} else if (list->total > limit) {
			for (size_t i = 0; i < nfds; i++)
				close(fds[i]);
			bank_clear(&next);
			next.wanted = list->total;
			next.version = list->version;
			done = true;
		} else {
			/* Both at once would be twice the limit: then those that were kept go first. */
			if (bank->count + list->total > limit)
				bank_clear(bank);
			error = bank_take(&next, list, fds, nfds);
			done = next.count >= next.wanted || !nfds;
		}
		link_reply_free(reply);
		if (!done && !error && yield && yield(arg))
			error = -EAGAIN;
	}
	if (!error && !unchanged && next.wanted <= limit && next.count < next.wanted)
		error = -EPROTO;
	if (error || unchanged) {
		bank_clear(&next);
		return error;
	}
	bank_clear(bank);
	*bank = next;
	return 0;
}

/* Takes of one packet what is chosen, and closes the rest. sockets: how many have been taken. */
static int take_chosen(struct bank *bank, const Marcher__Engine__V1__ListenersReply *reply, const int *fds, size_t nfds,
                       size_t limit, size_t *sockets, enum bank_choice (*choose)(const char *key))
{
	int error = bank_reserve(bank, bank->count + nfds);

	for (size_t i = 0; i < nfds; i++) {
		enum bank_choice choice = error ? BANK_NEITHER : choose(reply->keys[i]);
		char *key = choice == BANK_NEITHER ? NULL : strdup(reply->keys[i]);
		if (choice == BANK_SOCKET && ++*sockets > limit)
			error = -EMFILE;
		else if (choice != BANK_NEITHER && !key)
			error = -ENOMEM;
		if (error || choice != BANK_SOCKET)
			close(fds[i]);
		if (error || !key) {
			free(key);
			continue;
		}
		bank->keys[bank->count] = key;
		bank->fds[bank->count++] = choice == BANK_SOCKET ? fds[i] : -1;
	}
	return error;
}

int bank_choose(struct bank *bank, struct link *link, unsigned timeout_ms, size_t limit,
                enum bank_choice (*choose)(const char *key), bool (*yield)(void *arg), void *arg)
{
	size_t seen = 0, sockets = 0;
	bool done = false;
	int error = 0;

	*bank = (struct bank){0};
	for (unsigned restarts = 0; !done && !error;) {
		int fds[IPC_FDS_MAX];
		size_t nfds = IPC_FDS_MAX;
		EngineReply *reply = NULL;
		error = fetch_packet(link, (uint32_t)seen, 0, timeout_ms, &reply, fds, &nfds);
		if (error)
			break;
		const Marcher__Engine__V1__ListenersReply *list = reply->listeners;
		if (seen && (list->version != bank->version || list->total != bank->wanted)) {
			/* Changed between two packets: begin again, a few times. */
			for (size_t i = 0; i < nfds; i++)
				close(fds[i]);
			bank_clear(bank);
			seen = sockets = 0;
			error = ++restarts > 3 ? -EAGAIN : 0;
		} else {
			bank->version = list->version;
			bank->wanted = list->total;
			seen += nfds;
			error = take_chosen(bank, list, fds, nfds, limit, &sockets, choose);
			done = seen >= bank->wanted || !nfds;
		}
		link_reply_free(reply);
		if (!done && !error && yield && yield(arg))
			error = -EAGAIN;
	}
	if (!error && seen < bank->wanted)
		error = -EPROTO;
	if (error)
		bank_clear(bank);
	return error;
}

static int send_when_ready(int sock, int gone_fd, uint64_t deadline, const void *data, size_t length, const int *fds,
                           size_t nfds)
{
	for (;;) {
		struct pollfd ready[2] = {{.fd = sock, .events = POLLOUT}, {.fd = gone_fd, .events = POLLIN}};
		uint64_t now = control_now_ms();
		if (now >= deadline)
			return -ETIMEDOUT;
		int n = poll(ready, 2, (int)(deadline - now));
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0 && ready[1].revents)
			return -EPIPE;
		if (n > 0 && ready[0].revents) {
			int error = ipc_send(sock, data, length, fds, nfds);
			if (error != -EAGAIN && error != -EINTR)
				return error;
		}
	}
}

/* Keys and descriptors [at, at + n) of the bank, as offset of total. */
static int send_part(const struct bank *bank, size_t at, size_t n, uint32_t total, uint32_t offset, int sock,
                     int gone_fd, uint64_t deadline)
{
	Marcher__Engine__V1__ListenersReply list = MARCHER__ENGINE__V1__LISTENERS_REPLY__INIT;

	list.total = total;
	list.offset = offset;
	list.keys = bank->keys + at;
	list.n_keys = n;
	size_t size = marcher__engine__v1__listeners_reply__get_packed_size(&list);
	if (size > IPC_PACKET_MAX)
		return -EMSGSIZE;
	uint8_t *packet = malloc(size);
	if (!packet)
		return -ENOMEM;
	marcher__engine__v1__listeners_reply__pack(&list, packet);
	int error = send_when_ready(sock, gone_fd, deadline, packet, size, bank->fds + at, n);
	free(packet);
	return error;
}

int bank_send(const struct bank *bank, int sock, int gone_fd, unsigned timeout_ms)
{
	uint64_t deadline = control_now_ms() + timeout_ms;
	int error = 0;

	for (size_t at = 0; !error && at < bank->count; at += IPC_FDS_MAX) {
		size_t n = bank->count - at < IPC_FDS_MAX ? bank->count - at : IPC_FDS_MAX;
		error = send_part(bank, at, n, (uint32_t)bank->count, (uint32_t)at, sock, gone_fd, deadline);
	}
	return error;
}

int bank_send_packet(const struct bank *packet, uint32_t total, uint32_t offset, int sock, int gone_fd,
                     unsigned timeout_ms)
{
	return send_part(packet, 0, packet->count, total, offset, sock, gone_fd, control_now_ms() + timeout_ms);
}

int bank_fetch_packet(struct bank *packet, struct link *link, uint32_t offset, unsigned timeout_ms)
{
	int fds[IPC_FDS_MAX];
	size_t nfds = IPC_FDS_MAX;
	EngineReply *reply = NULL;

	*packet = (struct bank){0};
	int error = fetch_packet(link, offset, 0, timeout_ms, &reply, fds, &nfds);
	if (error)
		return error;
	packet->wanted = reply->listeners->total;
	packet->version = reply->listeners->version;
	error = bank_take(packet, reply->listeners, fds, nfds);
	link_reply_free(reply);
	if (error)
		bank_clear(packet);
	return error;
}

size_t bank_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return 0;
	if (limit.rlim_cur < limit.rlim_max) {
		struct rlimit raised = {.rlim_cur = limit.rlim_max, .rlim_max = limit.rlim_max};
		if (!setrlimit(RLIMIT_NOFILE, &raised))
			limit = raised;
	}
	return limit.rlim_cur > 1u << 20 ? 1u << 19 : (size_t)limit.rlim_cur / 2;
}
