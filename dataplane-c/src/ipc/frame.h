/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The framing between libmarcher and marcher-engine: one protobuf message (Request or Reply of control.proto) per
 * SOCK_SEQPACKET packet, with file descriptors as SCM_RIGHTS. Shared by both sides so that neither can drift.
 */
#ifndef MARCHER_IPC_FRAME_H
#define MARCHER_IPC_FRAME_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define IPC_PROTOCOL_VERSION 1u
#define IPC_PACKET_MAX 65536u
#define IPC_FDS_MAX 200u
#define IPC_SOCKET_NAME "engine.sock" /* in the run directory; a successor listens on engine.<pid>.sock first */
#define IPC_SNAPSHOT_MAX (512u * 1024 * 1024)

/* Sends one packet with nfds descriptors. Returns 0, or -errno. Descriptors stay the caller's. */
int ipc_send(int sock, const void *data, size_t length, const int *fds, size_t nfds);

/* Receives one packet. Returns its length, 0 when the peer has closed, or -errno (-EMSGSIZE: longer than capacity,
 * dropped whole). *nfds in: capacity of fds; out: received. Descriptors are close-on-exec and the caller's. */
ssize_t ipc_receive(int sock, void *data, size_t capacity, int *fds, size_t *nfds);

/* A memfd with these bytes, sealed against every change. Returns the descriptor or -errno. */
int ipc_memfd_sealed(const char *name, const void *data, size_t length);

/* Maps a memfd read-only after checking that it is fully sealed and at most max bytes. Returns 0 or -errno;
 * *length may be 0, then *data is NULL. Unmap with munmap. */
int ipc_memfd_map(int fd, size_t max, const void **data, size_t *length);

#endif
