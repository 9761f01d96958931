/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The packet tiers as the library sees them: what is pinned, and what is in it.
 *
 *   pin_dir/v<LAYOUT_VERSION>/maps/<map>        every map that programs share, and some of the library's own
 *                             programs/<name>   the program that runs now
 *                             links/<ns>_<if>   XDP links, by the inode of the network namespace and the interface's
 * index
 *                             tc/<ns>_<if>_...  what is attached to tc: see packet_tc.c
 *
 * The maps are the truth: what the library has in memory (struct packet_state) is read from them when the handle is
 * opened, and again after a failure in the middle of an apply. Names are not needed by the programs, so they are in
 * maps of the library's own; a record is written before the index it names is used and removed after.
 *
 * Locks: calls_lock is held for a whole open, apply or close; table_lock, inside it, guards what status reads and is
 * let go while rings are built, which takes long; error_lock is innermost. A process holds pin_dir itself by a flock on
 * the directory (files on bpffs cannot be opened for that, its directories can); it ends with the process.
 */
#ifndef CONTROL_PACKET_H
#define CONTROL_PACKET_H

#include <linux/bpf.h>
#include <net/if.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bpf/lib/layout.h"
#include "marcher.h"
#include "marcher/packet/v1/packet.pb-c.h"
#include "packet_vlan.h"

#define PACKET_ERROR_MAX 1024
#define PACKET_INTERFACES_MAX 64
#define PACKET_REASONS_MAX 100
#define PACKET_TABLE_BYTES_MAX (64u << 20)
#define PACKET_FLOWS_MAX (64u << 20)
#define PACKET_NAT_FLOWS_MAX (8u << 20)
#define PACKET_SERVICE_NAME_MAX 127
#define PACKET_BACKEND_NAME_MAX 255
#define PACKET_WEIGHT_MAX 65536u

/* The library's own maps. A change here is a new LAYOUT_VERSION, too, and see packet_layouts.h. */
struct service_record {
	uint64_t ring;          /* fingerprint of what the ring was built from; 0: unknown */
	struct traffic carried; /* by programs of earlier layouts, which did not count where these do */
	char name[PACKET_SERVICE_NAME_MAX + 1];
};

struct backend_record {
	struct traffic carried;
	uint32_t service;
	char name[PACKET_BACKEND_NAME_MAX + 1];
};

struct build_record {
	uint64_t fingerprint; /* of the object that the pinned program came from */
};

/* By the name of a drop's reason, as names outlive numbers. */
struct drop_record {
	uint64_t carried;
};

/* By the name of a part of the layout. The form of this map is the same in every layout. */
struct layout_record {
	uint32_t since; /* the layout that first had this part as it is here */
};

#define PACKET_RECORD_KEY 32 /* bytes of a name that is a key */

enum packet_map {
	MAP_VIPS,
	MAP_VIP_ADDRESSES,
	MAP_VIP_PREFIXES,
	MAP_VIP_SETTINGS,
	MAP_SERVICES,
	MAP_RINGS,
	MAP_BACKENDS,
	MAP_FLOWS,
	MAP_FLOW_SETTINGS,
	MAP_SERVICE_COUNTERS,
	MAP_SERVICE_FAILURES,
	MAP_BACKEND_COUNTERS,
	MAP_DROPS,
	MAP_XDP_SLOTS,
	MAP_TC_SLOTS,
	MAP_DECAP_ADDRESSES,
	MAP_DECAP_SERVICES,
	MAP_VLAN_DEVICES,
	MAP_NAT_FLOWS,
	MAP_NAT_NEW,
	MAP_NAT_SETTINGS,
	MAP_NAT_DEVICES,
	MAP_NAT_COUNTERS,
	MAP_POLICIES,
	MAP_POLICY_BUCKETS,
	MAP_POLICY_COUNTERS,
	MAP_POLICY_FLOWS,
	MAP_SHAPE_DEVICES,
	MAP_SHAPE_SERVICES,
	MAP_QUIC_SERVERS,
	MAP_GUARD,
	MAP_GUARD_SOURCES_V4,
	MAP_GUARD_SOURCES_V6,
	MAP_GUARD_CLASSES,
	MAP_GUARD_SPANS,
	MAP_GUARD_RULES,
	MAP_GUARD_COUNTERS,
	MAP_GUARD_DEBTS,
	MAP_GUARD_DATAGRAMS,
	MAP_GUARD_SYNS,
	MAP_GUARD_COOKIES,
	MAP_OWN_ADDRESSES,
	MAP_GUARD_RECORDS,
	MAP_SERVICE_RECORDS,
	MAP_BACKEND_RECORDS,
	MAP_BUILD_RECORDS,
	MAP_DROP_RECORDS,
	MAP_LAYOUT_RECORDS,
	PACKET_MAPS,
};

extern const char *const packet_map_names[PACKET_MAPS];

enum packet_tc_hook {
	TC_HOOK_INGRESS,
	TC_HOOK_EGRESS,
	TC_HOOKS,
};

struct packet_tc {
	const char *mode;       /* "tcx", "clsact", "" */
	int link_fds[TC_HOOKS]; /* tcx; -1 */
	char reason[256];       /* why not tcx, or not at all */
};

struct packet_interface {
	char name[IF_NAMESIZE];
	uint32_t index;
	int link_fd;                         /* -1: not attached */
	bool old;                            /* the link is pinned in the folder of the layout that is migrated from */
	const char *mode;                    /* "native", "generic", "off", "" */
	uint64_t send_errors, send_errors_s; /* and when they were read; CLOCK_MONOTONIC */
	char reason[256];
	struct packet_tc tc;
	char nat_reason[256]; /* why packets of open translated flows are not XDP's */
};

struct packet_service {
	uint32_t index;
	bool wanted; /* by the table that is being applied */
	struct service entry;
	struct policy policy; /* where entry says that there is one */
	struct service_record record;
};

struct packet_backend {
	uint32_t index;
	uint32_t service;
	bool wanted; /* as above */
	struct backend entry;
	struct traffic carried;
	uint32_t path_mtu; /* of the way to it, by the last apply; 0: unknown */
	char name[];       /* NUL-terminated */
};

struct packet_vip {
	struct vip_key key;
	struct vip vip;
};

struct packet_vip_address {
	struct address address;
	uint32_t vips; /* that have it */
};

struct packet_prefix {
	struct vip_prefix_key key;
	struct vip_prefix prefix;
};

struct packet_decap {
	struct address address;
	struct decap decap;
};

struct packet_quic {
	struct quic_server key;
	uint32_t backend;
};

/* What the maps hold. */
struct packet_state {
	bool stale;                       /* a write has failed: to be read anew before the next apply */
	struct packet_service **services; /* [SERVICES_MAX], NULL: free */
	struct packet_backend **backends; /* [BACKENDS_MAX], NULL: free */
	uint32_t nservices, nbackends;
	struct packet_vip *vips; /* by key */
	uint32_t nvips;
	struct packet_vip_address *vip_addresses; /* by address */
	uint32_t nvip_addresses;
	struct packet_prefix *prefixes; /* by key */
	uint32_t nprefixes;
	struct packet_decap *decapsulated; /* by address */
	uint32_t ndecapsulated;
	struct packet_quic *quic; /* by key */
	uint32_t nquic;
	struct packet_vlan *vlans;
	uint32_t nvlans;
};

/* xdp_nat: see packet_nat_fast.c. */
struct packet_nat_fast {
	int program; /* -1 */
	bool known;  /* a table has said what follows */
	bool wanted; /* some service is forwarded by NAT, */
	bool by_tc;  /* and tc is to carry all of it */
};

struct packet_migrated {
	uint32_t version; /* 0: nothing */
	uint64_t flows;
	uint64_t nat_flows, nat_left; /* carried, and lost */
};

struct marcher_packet {
	pthread_mutex_t calls_lock, table_lock, error_lock;
	char error[PACKET_ERROR_MAX];
	char *pin_dir; /* absolute */
	int dir_fd;    /* holds the lock */
	bool fresh;    /* nothing was pinned before */
	bool adopted;
	int maps[PACKET_MAPS];
	uint32_t ring_flags; /* of the maps in MAP_RINGS */
	int root_fd;
	uint32_t root_id;
	int tc_fds[TC_HOOKS]; /* programs */
	uint32_t xdp_mode;
	struct packet_interface *interfaces;
	uint32_t ninterfaces;
	struct packet_state state;
	struct packet_guard *guard;     /* packet_guard.h; NULL: nothing is guarded */
	uint32_t egress_shaping;        /* enum marcher_egress_shaping */
	struct packet_shaping *shaping; /* packet_shape.c */
	struct flow_set *flows;         /* the map of that name itself; NULL: not mapped */
	uint32_t nflow_sets;
	struct packet_nat_fast nat_fast;
	uint32_t nat_flows;                 /* that NAT's tables are to hold when they are made */
	struct packet_migration *migration; /* NULL: none is under way. Under table_lock, as the state is */
	struct packet_migrated migrated;    /* by this apply */
};

/* The sentence for marcher_packet_last_error; returns code. handle NULL: of calls without one. */
int packet_fail(struct marcher_packet *handle, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* A failed BPF or network call: adds what is missing when it was a matter of privilege. error is positive. */
int packet_fail_system(struct marcher_packet *handle, int error, const char *format, ...)
        __attribute__((format(printf, 3, 4)));
/* Of what the packet tiers need, what the thread lacks: names separated by commas, or "". */
void packet_missing_capabilities(char *out, size_t size);
/* MARCHER_OK, or which capabilities the thread lacks. */
int packet_check_capabilities(struct marcher_packet *handle);

/* packet_dir.c */
/* Checks and makes pin_dir, takes its lock. make false: MARCHER_OK and dir_fd -1 when there is none. */
int packet_dir_open(struct marcher_packet *handle, const char *pin_dir, bool make);
/* Path of a pin: pin_dir/v<layout>[/kind[/name]]; kind and name may be NULL. */
void packet_dir_path(const struct marcher_packet *handle, char path[4096], const char *kind, const char *name);
struct packet_dir_holder {
	bool held;
	int pid; /* 0: not told */
};

/* Opens pin_dir for reading, without its lock; dir_fd -1 when there is none. */
int packet_dir_look(struct marcher_packet *handle, const char *pin_dir, struct packet_dir_holder *holder);
/* Has somebody locked the directory that fd is of? */
bool packet_dir_held(int fd, struct packet_dir_holder *holder);
/* MARCHER_E_BUSY, and says whom to end. */
int packet_dir_busy(struct marcher_packet *handle, const struct packet_dir_holder *holder);

/* packet_uninstall.c */
/* Detaches every link and removes every pin and folder of every version, and pin_dir. */
int packet_uninstall(struct marcher_packet *handle);
/* The same for one version, without pin_dir. Of this build's own, what sk_lookup has there stays (steer.h). */
int packet_uninstall_version(struct marcher_packet *handle, int version);
/* A serialised marcher.packet.v1.Installed: what packet_uninstall would take away. */
int packet_installed(struct marcher_packet *handle, const struct packet_dir_holder *holder, uint8_t **reply,
                     size_t *reply_length);

/* packet_load.c */
/* Adopts or makes the maps, loads the programs that are not the pinned ones, puts them in their slots. */
int packet_load(struct marcher_packet *handle, uint32_t flows);
/* An element of a map of any kind written; 0 or -errno. Hash maps report a race with a deletion as -EBUSY: retried. */
int packet_put(const struct marcher_packet *handle, enum packet_map map, const void *key, const void *value);
/* Its absence is not an error. 0 or -errno. */
int packet_drop(const struct marcher_packet *handle, enum packet_map map, const void *key);

/* What libbpf last complained about on this thread, among others the verifier; "" when it did not. */
const char *packet_complaint(void);
void packet_complaints_begin(void);

/* Identity of a program; 0: it cannot be told. */
uint32_t packet_program_id(int fd);

/* 0, or -1 and errno. */
int packet_map_info(int fd, struct bpf_map_info *info);

/* packet_flows.c */
/* Of the map flows, for so many flows: a power of two. */
uint32_t packet_flow_sets(uint32_t flows);
/* Maps the table into memory, and gives it its secret when it has just been made. */
int packet_flows_open(struct marcher_packet *handle);
void packet_flows_close(struct marcher_packet *handle);
/* Has more of the table used when its sets are full of flows in use; takes milliseconds, rarely tens of them. */
int packet_flows_tend(struct marcher_packet *handle);
int packet_flows_settings(struct marcher_packet *handle, struct flow_settings *settings);
/* Writes the settings of a table that no program uses yet, with room for so many flows. */
int packet_flows_begin(struct marcher_packet *handle, struct flow_settings *settings, uint64_t flows);
/* A flow from elsewhere, unless it is there, or over it. False: it is not put. */
bool packet_flows_put(struct marcher_packet *handle, const struct flow_settings *settings, uint64_t tag, uint64_t state,
                      bool over);

/* packet_link.c */
/* Attaches to the interfaces and detaches from others. Fails only when no interface could be attached to. */
int packet_links_open(struct marcher_packet *handle, const char *interfaces);
/* Attaches to those that are not attached any more (deleted and made anew), as far as it is possible. */
void packet_links_renew(struct marcher_packet *handle);
/* Notes which interfaces are gone. */
void packet_links_look(struct marcher_packet *handle);
void packet_links_close(struct marcher_packet *handle);
/* Gives the links of the layout that is migrated from this layout's program. */
int packet_links_take_over(struct marcher_packet *handle);
/* Then: pins them in this layout's folder. */
int packet_links_move(struct marcher_packet *handle);
/* Is any link pinned there that is attached? Sets *ours when one has this program. -errno when it cannot be told. */
int packet_links_attached(const char *directory, uint32_t program, bool *ours);

/* Inode of the caller's network namespace, 0 when it is not told. */
unsigned long packet_network_namespace(void);

/* packet_tc.c */
/* Has the interfaces' tc be as it is to: attaches, adopts, detaches from others. What fails is in packet_interface.
 * Fails only when XDP is off and no interface could be attached to. */
int packet_tc_open(struct marcher_packet *handle);
/* Attaches where the interface is another one now, or somebody has detached us. */
void packet_tc_renew(struct marcher_packet *handle);
/* Is anything attached to tc by what is pinned in the folder? -errno when it cannot be told. */
int packet_tc_any(const char *directory);
/* While another layout is migrated from, packets meet its programs first, and then this layout's what those let pass:
 * by tcx since the handle was opened, by clsact after this. */
int packet_tc_follow(struct marcher_packet *handle);
/* Do they at every interface that this layout is attached to? */
bool packet_tc_follows(const struct marcher_packet *handle);
/* Takes the other layout's programs off the interfaces, and takes over the notes that it has pinned. */
int packet_tc_move(struct marcher_packet *handle);
/* Notes what is gone. Under table_lock. */
void packet_tc_look(struct marcher_packet *handle);
void packet_tc_close(struct packet_interface *interface);
/* Index of the interface that a pin in the folder tc stands for, by its name and its descriptor (-1: it cannot be had);
 * 0: none any more. *hook: "tcx", "clsact". *here: in this network namespace. */
uint32_t packet_tc_attached(const char *name, int pin, const char **hook, bool *here);
/* Detaches what the pin stands for, as far as it can be done from this network namespace. */
void packet_tc_detach(const char *name, int pin);
/* The root queueing discipline of an interface is ours, or no longer: a pin tells. Noted before it is. 0 or -errno. */
int packet_tc_note_root(const struct marcher_packet *handle, uint32_t index);
void packet_tc_forget_root(const struct marcher_packet *handle, uint32_t index);
bool packet_tc_root_noted(const struct marcher_packet *handle, uint32_t index);
/* Attaches the program to ingress of an interface in a scratch namespace, which is all that takes it away again where
 * it is by clsact. A link by tcx, 0, or -errno; *mode: which way it was, or failed last. */
int packet_tc_try(int program, uint32_t index, const char **mode);
/* Tests: as on a kernel that has no tcx. */
extern bool packet_tc_without_tcx;

/* packet_nat.c */
/* What the programs of tc are to know: ports, whether any backend is this node, whether packets are decapsulated here.
 * Writes it when it has changed. */
int packet_nat_settings(struct marcher_packet *handle);
/* Room for translated flows by this host's memory: 1/64 of it at most. */
uint32_t packet_nat_flows_default(void);
/* The tables of translated flows are there when they are wanted, and else gone with what is in them. */
int packet_nat_tables(struct marcher_packet *handle, bool wanted);
/* The table in a map of maps, whose pin has the path; in layout 2 the map was the table itself. A descriptor, or
 * -errno; -ENOENT: there is none. */
int packet_nat_table(int outer, const char *pin);

/* packet_nat_fast.c */
/* Has XDP carry packets of open translated flows where it can, or no longer, as the table says that is in force now. */
int packet_nat_fast_apply(struct marcher_packet *handle, const Marcher__Packet__V1__Table *table);
/* Later: interfaces and their addresses may be others. */
int packet_nat_fast_tend(struct marcher_packet *handle);
/* "xdp", "tc", "". Under table_lock. */
const char *packet_nat_fast_kind(const struct marcher_packet *handle, const struct packet_interface *interface);

/* packet_state.c */
int packet_state_read(struct marcher_packet *handle);
void packet_state_free(struct packet_state *state);
/* The lists alone, which are then to be set. */
void packet_state_free_lists(struct packet_state *state);
int packet_vip_compare(const void *a, const void *b);
int packet_address_compare(const void *a, const void *b);
/* 4 or 16 bytes; false for any other length. */
bool packet_address(struct address *out, const ProtobufCBinaryData *bytes);
bool packet_address_is_v4(const struct address *address);

/* packet_table.c */
struct packet_wanted_backend {
	const char *name;
	struct address address;
	uint32_t weight;
	uint16_t port; /* network order */
	bool in_ring, dead;
	uint32_t index;              /* 0: to be allocated */
	ProtobufCBinaryData quic_id; /* of QUIC, in the message */
};

struct packet_wanted_service {
	const char *name;
	struct service entry;
	struct policy policy; /* where entry says that there is one */
	uint32_t ring_size;
	uint32_t index;        /* UINT32_MAX: to be allocated */
	uint32_t first, count; /* in the table's backends; in order of name and address */
};

/* A table that has been found valid. Names belong to the message. */
struct packet_wanted {
	struct packet_wanted_service *services; /* by name */
	struct packet_wanted_backend *backends;
	struct packet_vip *vips;                  /* by key; vip.service is a position in services, or VIP_LEFT */
	struct packet_vip_address *vip_addresses; /* by address */
	struct packet_prefix *prefixes;           /* by key; services as in vips */
	struct packet_decap *decapsulated;        /* by address */
	struct packet_quic *quic;                 /* by key; once indices are known */
	struct packet_vlan *vlans;                /* of this namespace, now; not of the message */
	struct guard_tables *guard;               /* packet_guard.h; NULL: nothing is guarded */
	uint32_t nservices, nbackends, nvips, nvip_addresses, nprefixes, ndecapsulated, nquic, nvlans;
};

struct packet_reasons {
	Marcher__Packet__V1__Reason *list[PACKET_REASONS_MAX];
	size_t count;
	bool no_memory;
};

/* Every reason why the table cannot be in force; an empty list: *wanted is filled. Returns MARCHER_OK also then, or
 * MARCHER_E_NO_MEMORY. */
int packet_table_check(const Marcher__Packet__V1__Table *table, struct packet_wanted *wanted,
                       struct packet_reasons *reasons);
void packet_wanted_free(struct packet_wanted *wanted);
void packet_reason(struct packet_reasons *reasons, const char *service, const char *path, const char *format, ...)
        __attribute__((format(printf, 4, 5)));
void packet_reasons_free(struct packet_reasons *reasons);

/* packet_prefix.c */
int packet_prefix_compare(const void *a, const void *b);
/* The key of a prefix VIP. False when bits behind its length are set; the length is possible. */
bool packet_prefix_key(const struct vip_key *vip, uint32_t length, struct vip_prefix_key *out);
/* Adds the prefixes themselves to the list of those with protocol and port, which has room for twice as many; orders
 * it.
 */
void packet_prefix_count(struct packet_wanted *wanted);
/* Positions of services become indices. */
void packet_prefix_indices(struct packet_wanted *wanted);
/* Has the programs look for prefixes, or not. */
int packet_prefix_setting(struct marcher_packet *handle, uint32_t prefixes);
/* After every change of the maps vips and vip_prefixes: the programs look anew for what they have kept. */
int packet_vips_changed(struct marcher_packet *handle);

/* packet_ways.c */
/* Takes those services out of the table that the relay listens for as well, and whose backends are not all reached by
 * an interface that tc is attached to; left gets why. Of those that stay, backends without a route get no new
 * flows. What the others listen on is left to the stack where there are wider VIPs. 0 or -errno. */
int packet_ways_leave_out(const struct marcher_packet *handle, Marcher__Packet__V1__Table *table,
                          struct packet_reasons *left);

/* packet_quic.c */
/* Of a service whose backends have been checked: adds reasons, or sets *out's flags. */
void packet_quic_check(struct packet_reasons *reasons, const char *name, size_t position,
                       const Marcher__Packet__V1__Service *service, struct packet_wanted_service *out);
/* wanted->quic from the backends, whose indices are known now. MARCHER_OK or MARCHER_E_NO_MEMORY. */
int packet_quic_list(struct packet_wanted *wanted);
int packet_quic_compare(const void *a, const void *b);

/* packet_apply.c, under calls_lock. */
/* Puts it in force. May add reasons (no index is free), and then has changed nothing. */
int packet_apply(struct marcher_packet *handle, struct packet_wanted *wanted, struct packet_reasons *reasons);

/* packet_probe.c */
/* A serialised marcher.packet.v1.Probe. */
int packet_probe(uint8_t **reply, size_t *reply_length);

/* packet_status.c */
int packet_status(struct marcher_packet *handle, uint8_t **reply, size_t *reply_length);

#endif
