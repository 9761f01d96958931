/* SPDX-License-Identifier: Apache-2.0 */
#include "ipc/frame.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

union rights {
	struct cmsghdr header; /* aligns the buffer */
	char space[CMSG_SPACE(IPC_FDS_MAX * sizeof(int))];
};

int ipc_send(int sock, const void *data, size_t length, const int *fds, size_t nfds)
{
	if (length > IPC_PACKET_MAX)
		return -EMSGSIZE;
	if (nfds > IPC_FDS_MAX)
		return -EINVAL;

	struct iovec part = {.iov_base = (void *)data, .iov_len = length};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
	union rights rights;
	if (nfds) {
		memset(&rights, 0, sizeof(rights));
		message.msg_control = rights.space;
		message.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
		struct cmsghdr *header = CMSG_FIRSTHDR(&message);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(nfds * sizeof(int));
		memcpy(CMSG_DATA(header), fds, nfds * sizeof(int));
	}
	ssize_t n;
	do
		n = sendmsg(sock, &message, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

/* Takes the descriptors out of the message; those above the capacity are closed. Returns whether all had room. */
static bool take_descriptors(struct msghdr *message, int *fds, size_t capacity, size_t *count)
{
	bool complete = true;
	*count = 0;
	for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header; header = CMSG_NXTHDR(message, header)) {
		if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
			continue;
		size_t n = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n; i++) {
			int fd;
			memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof(int));
			if (*count < capacity) {
				fds[(*count)++] = fd;
			} else {
				close(fd);
				complete = false;
			}
		}
	}
	return complete;
}

ssize_t ipc_receive(int sock, void *data, size_t capacity, int *fds, size_t *nfds)
{
	size_t room = nfds ? *nfds : 0, taken = 0;
	struct iovec part = {.iov_base = data, .iov_len = capacity};
	union rights rights;
	struct msghdr message = {
	        .msg_iov = &part, .msg_iovlen = 1, .msg_control = rights.space, .msg_controllen = sizeof(rights.space)};
	ssize_t n;
	do
		n = recvmsg(sock, &message, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (nfds)
		*nfds = 0;
	if (n < 0)
		return -errno;

	bool complete = take_descriptors(&message, fds, room, &taken);
	int error = 0;
	if (message.msg_flags & MSG_TRUNC)
		error = -EMSGSIZE;
	else if (!complete || message.msg_flags & MSG_CTRUNC)
		error = -EMFILE; /* descriptors were lost: the packet cannot be acted on */
	if (error) {
		for (size_t i = 0; i < taken; i++)
			close(fds[i]);
		return error;
	}
	if (nfds)
		*nfds = taken;
	return n;
}

int ipc_memfd_sealed(const char *name, const void *data, size_t length)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	const char *p = data;
	size_t left = length;
	while (left) {
		ssize_t n = write(fd, p, left);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			int error = n < 0 ? -errno : -EIO;
			close(fd);
			return error;
		}
		p += n;
		left -= (size_t)n;
	}
	if (fcntl(fd, F_ADD_SEALS, SEALS) < 0) {
		int error = -errno;
		close(fd);
		return error;
	}
	return fd;
}

int ipc_memfd_map(int fd, size_t max, const void **data, size_t *length)
{
	struct stat st;
	*data = NULL;
	*length = 0;
	int seals = fcntl(fd, F_GET_SEALS);
	if (seals < 0)
		return -errno; /* EINVAL: not a memfd */
	/* Without these three the sender could change or truncate it under the reader. */
	if ((seals & (SEALS & ~F_SEAL_SEAL)) != (SEALS & ~F_SEAL_SEAL))
		return -EPERM;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_size < 0 || (uint64_t)st.st_size > max)
		return -EFBIG;
	if (st.st_size == 0)
		return 0;
	void *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (map == MAP_FAILED)
		return -errno;
	*data = map;
	*length = (size_t)st.st_size;
	return 0;
}
