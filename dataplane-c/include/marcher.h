/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libmarcher: what the agent drives the data plane with. The only header that the agent's FFI binds.
 *
 * Contract
 *  - Every function returns MARCHER_OK (0) or a negative enum marcher_error; marcher_error_name() names it and
 *    marcher_last_error() has the sentence with the details (what, where, expected, what to do).
 *  - No callbacks: the caller polls. Functions marked [blocks] may wait for the engine up to the handle's
 *    request_timeout_ms, so call them off the JavaScript thread; they may be called from any one thread at a time per
 *    handle (calls are serialised inside). All others return at once.
 *  - Buffers that the library hands out are released with marcher_buffer_free().
 *  - Only symbols in libmarcher.map are exported; a symbol never changes its meaning, a new meaning gets a new name.
 *  - The library links neither a TLS nor an HTTP library.
 */
#ifndef MARCHER_H
#define MARCHER_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The library is built with hidden visibility; what this header declares is not. */
#pragma GCC visibility push(default)

#define MARCHER_ABI_VERSION 1u

enum marcher_error {
	MARCHER_OK = 0,
	MARCHER_E_INVALID = -1,   /* an argument or option is impossible */
	MARCHER_E_SYSTEM = -2,    /* a system call failed; the message has errno's text */
	MARCHER_E_NO_ENGINE = -3, /* no engine is running and none could be started */
	MARCHER_E_TIMEOUT = -4,   /* the engine did not answer in time */
	MARCHER_E_PROTOCOL = -5,  /* engine and library do not understand each other */
	MARCHER_E_REFUSED = -6,   /* the engine refused the snapshot: the reply has the reasons */
	MARCHER_E_BUSY = -7,      /* another agent holds the control lease of this run directory */
	MARCHER_E_NO_MEMORY = -8,
	MARCHER_E_CLOSED = -9, /* the handle is closing */
};

struct marcher; /* opaque handle */

/* All strings are UTF-8, copied, and may be NULL where a default is named. size = sizeof(struct marcher_options). */
struct marcher_options {
	uint32_t size;
	uint32_t workers;            /* engine worker threads; 0: one per allowed core */
	uint32_t request_timeout_ms; /* 0: 10,000 */
	uint32_t heartbeat_ms; /* ping interval; 0: 1,000. Three unanswered in a row: the engine is killed and restarted
	                        */
	const char *engine_path; /* marcher-engine executable */
	const char *run_dir;     /* socket, lock and last good snapshot live here; created 0700 */
	const char *cpus;        /* cores for the workers, such as "0-3,8"; NULL: all allowed */
	const char *log_level;   /* error, warn, info, debug; NULL: info */
};

/* State of the engine as the supervisor last saw it. */
struct marcher_engine_status {
	int32_t running; /* 1: connected and answering */
	int32_t pid;
	uint32_t workers;
	uint32_t restarts; /* by this handle, after crashes or hangs */
	int32_t adopted;   /* 1: was running before this handle */
	uint32_t retiring; /* older engines still draining */
	uint64_t generation;
	uint64_t started_unix_ms;
	uint64_t memory_bytes;         /* resident set */
	uint64_t events_dropped;       /* since the handle was opened */
	uint64_t saved_generation;     /* last good snapshot, what the engine is restarted on; 0: none */
	uint64_t set_aside_generation; /* the last snapshot that kept ending the engine and was set aside; 0: none */
	uint32_t listening_sockets;    /* the engine's; 0 until they were asked for */
	uint32_t banked_sockets;       /* of these kept open here, so that a crash refuses nobody: all or none */
	char version[32];
	char build_id[72];
	char last_error[256]; /* of the supervision: crash, hang, disk full, snapshot set aside; empty: none */
};

/* Counters of one slot, summed over workers. See enum marcher_counter for the indices. They restart at 0 with every
 * new engine. A slot number is unique over the engines that one handle has seen: it stays what it was for events that
 * are read after a restart, until 10 s after the last event of its engine was read. */
#define MARCHER_COUNTERS 32
#define MARCHER_HISTOGRAM_BUCKETS 32
#define MARCHER_NAME_MAX 128
struct marcher_slot_stats {
	uint32_t slot;
	uint32_t kind; /* enum marcher_slot_kind */
	char service[64];
	char name[MARCHER_NAME_MAX]; /* backend or listener name, empty for a service */
	uint64_t counters[MARCHER_COUNTERS];
	uint64_t connect_us[MARCHER_HISTOGRAM_BUCKETS]; /* bucket i: [2^i, 2^(i+1)) µs; the first from 0, the last open
	                                                 */
};

enum marcher_slot_kind {
	MARCHER_SLOT_FREE = 0,
	MARCHER_SLOT_SERVICE = 1,
	MARCHER_SLOT_BACKEND = 2,
	MARCHER_SLOT_LISTENER = 3,
};

enum marcher_counter {
	MARCHER_CONNECTIONS_OPENED = 0, /* UDP: sessions */
	MARCHER_CONNECTIONS_CLOSED = 1,
	MARCHER_BYTES_RECEIVED = 2, /* from clients */
	MARCHER_BYTES_SENT = 3,     /* to clients */
	MARCHER_CONNECT_FAILURES = 4,
	MARCHER_CONNECT_RETRIES = 5,
	MARCHER_REJECTED = 6, /* by a limit */
	MARCHER_NO_BACKEND = 7,
	MARCHER_RESETS_CLIENT = 8,
	MARCHER_RESETS_BACKEND = 9,
	MARCHER_IDLE_TIMEOUTS = 10,
	MARCHER_UDP_PACKETS_RECEIVED = 11,
	MARCHER_UDP_PACKETS_SENT = 12,
	MARCHER_UDP_DROPPED = 13,
	MARCHER_HEALTH_PASSED = 14,
	MARCHER_HEALTH_FAILED = 15,
	MARCHER_EJECTIONS = 16,
	MARCHER_SPLICED_BYTES = 17,
	MARCHER_CONNECT_US_SUM = 18,
	MARCHER_PROXY_HEADER_ERRORS = 19,
	MARCHER_HALF_CLOSED_TIMEOUTS = 20,
	MARCHER_DRAIN_CLOSED = 21, /* closed because the drain time was over */
	/* By a traffic policy: */
	MARCHER_THROTTLED_US = 22,    /* that directions of TCP connections waited for their rate */
	MARCHER_THROTTLED_BYTES = 23, /* that waited */
	MARCHER_RATE_DROPPED = 24,    /* datagrams over the rate; they count as UDP_DROPPED, too */
	MARCHER_RATE_REFUSED = 25,    /* connections and sessions over the rate; they count as REJECTED, too */
	MARCHER_ECN_MARKED = 26,      /* datagrams over the rate that went on, marked CE */
};

/* One event, fixed size, as it stands in the engine's rings. Text fields are NUL-terminated. */
enum marcher_event_kind {
	MARCHER_EVENT_CONNECTION_OPENED = 1,
	MARCHER_EVENT_CONNECTION_CLOSED = 2,
	MARCHER_EVENT_HEALTH_CHANGED = 3,
	MARCHER_EVENT_LISTENER_CHANGED = 4,
	MARCHER_EVENT_BACKEND_EJECTED = 5,
	MARCHER_EVENT_DNS_CHANGED = 6,
	MARCHER_EVENT_ENGINE = 7,
};

enum marcher_close_reason {
	MARCHER_CLOSE_NORMAL = 0,
	MARCHER_CLOSE_CLIENT_RESET = 1,
	MARCHER_CLOSE_BACKEND_RESET = 2,
	MARCHER_CLOSE_IDLE_TIMEOUT = 3,
	MARCHER_CLOSE_HALF_CLOSED_TIMEOUT = 4,
	MARCHER_CLOSE_CONNECT_TIMEOUT = 5,
	MARCHER_CLOSE_CONNECT_FAILED = 6,
	MARCHER_CLOSE_NO_BACKEND = 7,
	MARCHER_CLOSE_LIMIT = 8,
	MARCHER_CLOSE_PROXY_HEADER = 9,
	MARCHER_CLOSE_DRAINED = 10,
	MARCHER_CLOSE_NO_MEMORY = 11,
	MARCHER_CLOSE_ENGINE_STOP = 12,
	MARCHER_CLOSE_RATE = 13, /* refused: more new ones per second than the traffic policy allows */
};

/* An address in an event: family AF_INET (2), AF_INET6 (10), AF_UNIX (1: no address shown) or 0. */
struct marcher_event_address {
	uint8_t address[16];
	uint16_t port; /* host order */
	uint16_t family;
	uint32_t reserved;
};

struct marcher_event {
	uint64_t time_unix_us;
	uint64_t connection_id;
	uint32_t service_slot;
	uint32_t backend_slot; /* 0: none */
	uint16_t kind;         /* enum marcher_event_kind */
	uint16_t reason;   /* enum marcher_close_reason; for health: 0 unhealthy, 1 healthy; for listeners: 1 bound */
	uint8_t transport; /* 6 tcp, 17 udp */
	uint8_t worker;    /* 255: the main thread */
	uint16_t retries;
	struct marcher_event_address client, local, upstream;
	uint64_t bytes_received;
	uint64_t bytes_sent;
	uint64_t duration_us;
	uint32_t connect_us;
	uint32_t reserved;
	char message[120]; /* health: why; listener: address and errno's text; dns: the name; ejection: how long */
};                         /* 256 bytes */

uint32_t marcher_abi_version(void);
const char *marcher_library_version(void);
const char *marcher_error_name(int error);

/* Opens a handle on run_dir: takes its lock (MARCHER_E_BUSY when another agent has it), starts the supervisor thread,
 * adopts the engine that runs there or starts one (on the last good snapshot in run_dir, when there is one). [blocks]
 */
int marcher_open(const struct marcher_options *options, struct marcher **handle);

/* Lets go of the engine, which carries on; releases the lock. */
void marcher_close(struct marcher *handle);

/* Text of the last error of this handle; for a failed marcher_open pass NULL. Valid until the next call. */
const char *marcher_last_error(struct marcher *handle);

/* flags for marcher_apply */
#define MARCHER_APPLY_TOLERATE_BIND_ERRORS 1u

/* Hands a snapshot (marcher.engine.v1.Snapshot, serialised) to the engine. *reply is a serialised ApplyReply also
 * when the result is MARCHER_E_REFUSED. Accepted snapshots are what the engine restarts on after a crash. [blocks] */
int marcher_apply(struct marcher *handle, const uint8_t *snapshot, size_t length, uint32_t flags, uint8_t **reply,
                  size_t *reply_length);

/* Any other request (marcher.engine.v1.Request without id, serialised) and its Reply, with memfd payloads already
 * put in place. Hello, Apply, Listeners and Retire are the library's own and refused. [blocks] */
int marcher_request(struct marcher *handle, const uint8_t *request, size_t length, uint8_t **reply,
                    size_t *reply_length);

void marcher_buffer_free(uint8_t *buffer);

int marcher_engine_status(struct marcher *handle, struct marcher_engine_status *status);

/* Copies up to max used slots into out, beginning at *cursor (0 at first); only slots that ever counted anything when
 * active_only is set. Returns the number copied and moves *cursor; 0 at the end. */
int marcher_stats_read(struct marcher *handle, uint32_t *cursor, uint32_t active_only, struct marcher_slot_stats *out,
                       uint32_t max);

/* Name of a slot, for events. MARCHER_E_INVALID when the slot is free. */
int marcher_slot_name(struct marcher *handle, uint32_t slot, struct marcher_slot_stats *out);

/* Moves up to max events out of the rings; returns how many. *dropped: events lost since the handle was opened. */
int marcher_events_read(struct marcher *handle, struct marcher_event *out, uint32_t max, uint64_t *dropped);

/* Replaces the engine by the executable at engine_path (NULL: the handle's own): the new one gets the listening
 * sockets and the snapshot, then the old one drains for drain_ms. On failure the old one stays. [blocks] */
int marcher_upgrade(struct marcher *handle, const char *engine_path, uint32_t drain_ms);

/* Stops the engine after connections ended or drain_ms passed. [blocks until it has been told] */
int marcher_stop(struct marcher *handle, uint32_t drain_ms);

/* Has the kernel steer connections and datagrams by sk_lookup to listeners of the engine that are marked steered in the
 * snapshot: ranges of ports and prefixes with one group of sockets each. Program, link and maps are pinned below
 * pin_dir, as those of marcher_packet_open are, and go on without the agent; from here on they follow the engine's
 * sockets. Needs CAP_BPF and CAP_NET_ADMIN. Again: nothing. [blocks] */
int marcher_steer(struct marcher *handle, const char *pin_dir);

/* Takes it away, also what an earlier process has left pinned there: sockets that it led to would be missed. Fails when
 * another process has it in use. [blocks] */
int marcher_unsteer(struct marcher *handle, const char *pin_dir);

/* Proves which libraries this library's symbols resolve to: writes a JSON object {"ok":bool,"libraries":[{"symbol",
 * "expected","resolved","ok"}],"forbidden":[...]} into out. Returns MARCHER_OK when everything resolves as built. */
int marcher_self_check(char *out, size_t length);

/* Path of the executable on the other end of a connected Unix socket is not told by the kernel; its credentials are:
 * pid, uid, gid of the peer and whether it is a member of the named group (0/1), for the API's local socket. */
int marcher_peer_credentials(int fd, const char *group, int32_t *pid, uint32_t *uid, uint32_t *gid, int32_t *member);

/*
 * The packet tiers: XDP programs that forward without user space. A handle of its own, since they work without an
 * engine. Programs, links and maps are pinned under pin_dir/v<layout> and go on without the agent; the next
 * marcher_packet_open adopts them. Needs CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON.
 */
struct marcher_packet; /* opaque handle */

enum marcher_xdp_mode {
	MARCHER_XDP_AUTO = 0, /* native, else generic */
	MARCHER_XDP_NATIVE = 1,
	MARCHER_XDP_GENERIC = 2,
	MARCHER_XDP_OFF = 3, /* tc alone: NAT, and no other forwarding */
};

/* How packets over a rate of their service are made to wait; where they cannot, they are dropped. Queueing disciplines
 * that are neither the kernel's default nor fq are left alone, whichever it is. */
enum marcher_egress_shaping {
	MARCHER_SHAPING_AUTO = 0, /* by fq, else by HTB */
	MARCHER_SHAPING_FQ = 1,
	MARCHER_SHAPING_HTB = 2,
	MARCHER_SHAPING_OFF = 3, /* they are dropped */
};

/* size = sizeof(struct marcher_packet_options). */
struct marcher_packet_options {
	uint32_t size;
	uint32_t xdp_mode;   /* enum marcher_xdp_mode */
	uint32_t flows;      /* room in the flow table, 16 bytes each; 0: 4,194,304. Only for maps that are made now */
	const char *pin_dir; /* below a bpffs that is mounted, such as /sys/fs/bpf/marcher; created 0700 */
	const char *interfaces;  /* names separated by commas */
	uint32_t egress_shaping; /* enum marcher_egress_shaping; of services that a policy holds to rates */
	uint32_t nat_flows;      /* room for flows that NAT translates, 370 bytes each, made with the first service that
	                          * needs it; 0: by this host's memory */
};

/* Tries what the packet tiers need on real packets, in a network namespace that is gone afterwards: a serialised
 * marcher.packet.v1.Probe with one result for each way of forwarding, and how to give what is missing. Touches no
 * interface of this host and pins nothing. Takes less than a second. Fails only without memory. [blocks] */
int marcher_packet_probe(uint8_t **reply, size_t *reply_length);

/* Loads the programs or adopts those that are pinned, and attaches them to the interfaces; from others that this
 * pin_dir was attached to they are taken off. MARCHER_E_BUSY: another process has pin_dir open. An interface that
 * cannot be attached to fails the call only when none can: marcher_packet_status tells. [blocks] */
int marcher_packet_open(const struct marcher_packet_options *options, struct marcher_packet **handle);

/* Lets go; everything stays in force. */
void marcher_packet_close(struct marcher_packet *handle);

/* As marcher_last_error. */
const char *marcher_packet_last_error(struct marcher_packet *handle);

/* Puts a table (marcher.packet.v1.Table, serialised) in force: services one after the other, each at once. *reply is a
 * serialised ApplyReply also when the result is MARCHER_E_REFUSED; then nothing has changed. [blocks] */
int marcher_packet_apply(struct marcher_packet *handle, const uint8_t *table, size_t length, uint8_t **reply,
                         size_t *reply_length);

/* A serialised marcher.packet.v1.Status. */
int marcher_packet_status(struct marcher_packet *handle, uint8_t **reply, size_t *reply_length);

/* Upkeep that needs doing now and then, such as every second: has the flow table grow with its flows, the guard follow
 * this node's addresses, devices and TCP settings, and shaping follow the interfaces' queueing disciplines. [blocks] */
int marcher_packet_tend(struct marcher_packet *handle);

/* What marcher_packet_uninstall would take away, and which process holds pin_dir: a serialised
 * marcher.packet.v1.Installed. Changes nothing, and needs nobody to end. */
int marcher_packet_installed(const char *pin_dir, uint8_t **reply, size_t *reply_length);

/* Takes the programs off every interface and removes every pin of this library, of whichever layout, and pin_dir
 * itself. Anything else below pin_dir stays, and fails the call with its name. [blocks] */
int marcher_packet_uninstall(const char *pin_dir);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif
#endif
