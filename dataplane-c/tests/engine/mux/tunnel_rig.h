/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker of its own thread with one listener, one service and hand-built endpoints, and real sockets on loopback:
 * what the test_tunnel*.c test the relay with. Balancing, limits, timers and polling are the engine's own; what belongs
 * to the main thread (references, outlier detection) is counted here.
 */
#ifndef TUNNEL_RIG_H
#define TUNNEL_RIG_H

#include <pthread.h>
#include <semaphore.h>

#include "engine.h"
#include "lb/lb.h"
#include "mux/tunnel.h"

#define RIG_ENDPOINTS_MAX 8

struct rig {
	struct engine engine;
	struct worker worker;
	struct listener listener;
	struct binding binding;
	struct service service;
	struct service_id service_id;
	atomic_uint service_active;
	struct backend backends[RIG_ENDPOINTS_MAX];
	struct endpoint endpoints[RIG_ENDPOINTS_MAX];
	struct view *view;
	struct poll_source accepting;
	int relay_buffer;   /* SO_SNDBUF and SO_RCVBUF of accepted sockets; 0: the system's */
	int client_segment; /* TCP_MAXSEG of rig_client's sockets; 0: the system's */
	uint16_t port;
	void (*each_turn)(
	        struct rig *); /* on the worker's thread, between a turn's timers and the next wait; or NULL */
	pthread_t thread;
	atomic_bool stop;
	_Atomic(void (*)(struct rig *, void *)) call;
	void *call_context;
	sem_t called;
	atomic_uint reports_ok[RIG_ENDPOINTS_MAX], reports_failed[RIG_ENDPOINTS_MAX];
};

/* Prepares; then add endpoints and change rig->service or rig->binding; then start. */
void rig_init(struct rig *rig);
/* An endpoint at 127.0.0.1:port (or wherever addr says), one backend each. Returns its index. */
unsigned rig_add(struct rig *rig, const struct addr *addr);
unsigned rig_add_port(struct rig *rig, uint16_t port);
void rig_start(struct rig *rig);
/* Runs on the worker's thread and waits for it. */
void rig_call(struct rig *rig, void (*function)(struct rig *, void *), void *context);
/* Ends the worker; asserts that every reference, count and object was given back. */
void rig_stop(struct rig *rig);

uint64_t rig_counter(struct rig *rig, uint32_t slot, enum marcher_counter counter);
/* Waits until the relay has no connection left (at most 30 s). */
void rig_wait_idle(struct rig *rig);
/* Takes the next CONNECTION_CLOSED event out of the worker's ring, waiting for at most 30 s. */
struct marcher_event rig_closed_event(struct rig *rig);

/* Sockets of the test itself, all blocking with a 30 s limit. */
int rig_client(struct rig *rig); /* connected to the relay */
int rig_listen(uint16_t *port);  /* on 127.0.0.1, any port */
int rig_accept(int listening);
void rig_say(int fd, const char *text);
void rig_hear(int fd, const char *text); /* exactly that comes */
void rig_hear_end(int fd);
void rig_hear_reset(int fd);
void rig_reset(int fd); /* closes with RST */
uint64_t rig_now_ms(void);
uint16_t rig_refusing_port(void);                  /* nobody listens there */
int rig_blackhole(uint16_t *port, int fillers[2]); /* a full backlog: SYNs are dropped */

#endif
