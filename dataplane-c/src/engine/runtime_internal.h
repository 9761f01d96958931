/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between the files of the running configuration:
 *   runtime.c   what runs: turns, node state, draining, DNS answers, what others ask
 *   apply.c     from a snapshot to what runs, or to the reasons why not
 *   draft.c     one changed service of a snapshot, built beside the running one
 *   objects.c   making and freeing of services, backends and endpoints; references; what waits for a grace period
 *   claims.c    listeners as configured: who has which port, whether its sockets could be made
 *   view.c      which endpoints may be picked
 *   policies.c  traffic policies: publishing, telling workers
 *   elsewhere.c what other nodes have open to backends
 *   grace.c     grace periods without blocking the main thread
 */
#ifndef ENGINE_RUNTIME_INTERNAL_H
#define ENGINE_RUNTIME_INTERNAL_H

#include "runtime.h"
#include "snapshot.h"
#include "table.h"

/* A service name that is configured, or whose connections still drain. Its counts live here, so that they span all
 * generations of the service. */
struct service_entry {
	struct service_id id; /* first: backends point to it; refs: generations and backends */
	atomic_uint active;
	struct service_object *current;     /* NULL: removed */
	struct service_object *generations; /* all that live, newest first */
	struct draft *draft;                /* during an apply */
	uint64_t seen;                      /* the apply that last named it */
	bool removing;                      /* during an apply: it takes the service out */
	bool dirty;                         /* its view is to be rebuilt at the end of the turn */
	struct service_entry *next_dirty;
	struct timer ramp;           /* slow start: next rebuild */
	uint64_t elsewhere_until_ms; /* what other nodes have open counts until then; 0: nothing does */
	struct runtime *runtime;
};

/* A table that generations of a service share while its settings stay. Main thread. */
struct shared_affinity {
	struct affinity_table *table;
	struct shared_affinity *next, **pprev; /* all of them: for collection */
	uint32_t refs;
	uint32_t ttl_ms, max_entries;
};

struct shared_source_limit {
	struct source_limit_table *table;
	uint32_t refs;
};

/* Objects that references may bring to their end on any thread: then they are queued for the main thread. */
struct dead {
	struct dead *next;
	enum { DEAD_SERVICE, DEAD_ENDPOINT, DEAD_LISTENER } kind;
};

struct service_object {
	struct service pub; /* first */
	struct dead dead;
	struct service_entry *entry;
	struct service_object *older;
	struct shared_affinity *affinity;
	struct shared_source_limit *source_limit;
	Marcher__Engine__V1__HealthCheck *health;
	struct claim **claims;
	uint32_t nclaims;
	size_t packed_length;
	uint32_t bindings; /* that point to it and may still be read; main thread */
	bool leaving;      /* removed, but a worker may still accept for it */
};

struct backend_object {
	struct backend pub;             /* first */
	struct service_object *current; /* NULL: no snapshot has it */
	bool watched_dns;
};

struct endpoint_object {
	struct endpoint pub; /* first */
	struct dead dead;
	bool watched;
};

/* A configured (transport, address, port), with or without sockets. */
struct claim {
	enum transport transport;
	struct addr addr;
	bool steered;          /* one group of sockets for a range or a prefix: part of what it is, as addr is, */
	uint8_t prefix_length; /* and this; */
	uint16_t port_last;    /* this may change */
	uint64_t hash;
	struct service_entry *owner; /* NULL: to be removed */
	struct draft *draft;         /* during an apply: the draft that wants it */
	size_t draft_listener;       /* and which of its listeners */
	uint32_t max_connections, backlog;
	uint32_t slot;
	struct listener *listener; /* NULL: not bound */
	int error;                 /* why not; 0: was not tried (the node drains) */
	bool fresh;                /* during an apply: made by it */
	bool marked;               /* its sockets, by a traffic policy */
	uint16_t nprefixes;        /* for the next binding: retries need it */
	struct prefix *prefixes;
	struct claim *next_unbound, **pprev_unbound;
};

struct listener_object {
	struct listener pub; /* first */
	struct dead dead;
	bool owns_slot; /* closing: the claim has gone, the slot goes with the listener */
};

/* What can go when a grace period is over. */
enum reclaim_kind {
	RECLAIM_FREE,
	RECLAIM_VIEW,
	RECLAIM_BINDING,
	RECLAIM_SERVICE,
	RECLAIM_ENDPOINT,
	RECLAIM_LISTENER,
	RECLAIM_SLOT,
	RECLAIM_GEOIP,
};

struct reclaim_item {
	uint64_t ticket; /* 0: not asked for yet, runtime_collect does */
	void *object;
	enum reclaim_kind kind;
};

struct drain_order {
	struct service *service;   /* referenced; or */
	struct endpoint *endpoint; /* referenced */
	uint64_t deadline_ms;
};

struct runtime {
	struct engine *engine;
	uint64_t generation;
	uint64_t apply_serial;
	uint64_t view_version;

	struct table names;  /* struct service_entry */
	struct table claims; /* struct claim */
	struct claim *unbound;
	bool draining; /* the node: nothing listens */
	bool retired;  /* a successor listens */
	char *geoip_path;

	struct service_entry *dirty;
	struct shared_affinity *affinities;
	struct timer tick;

	uint32_t *free_indices; /* of service_id.index */
	uint32_t nfree_indices, indices_capacity, next_index;

	_Atomic(struct dead *) dead;
	/* A queue in a ring. */
	struct reclaim_item *reclaim;
	uint32_t reclaim_head, reclaim_count, reclaim_size;

	struct drain_order *drains; /* collected by an apply, sent after its grace period */
	size_t ndrains, drains_capacity;
	uint32_t nservices;
	uint32_t nelsewhere;   /* services with something open elsewhere */
	uint32_t nprioritised; /* services whose policy has a priority other than the default */
	bool policies_changed; /* since the workers were told */
};

/* grace.c */
int grace_start(struct engine *engine);
void grace_stop(void);
/* A grace period that begins now at the earliest; grace_done tells when it is over. Wakes the engine then. */
uint64_t grace_request(void);
bool grace_done(uint64_t ticket);
/* Waits for it at most so long. */
bool grace_wait(uint64_t ticket, unsigned timeout_ms);

/* objects.c */
void objects_init(struct runtime *runtime); /* one in a process; NULL: none any more */
/* object is given up after a grace period. Never fails: without memory it waits for the grace period here. */
void runtime_reclaim(struct runtime *runtime, enum reclaim_kind kind, void *object);
void runtime_reclaim_slot(struct runtime *runtime, uint32_t slot);
/* Frees what is due: items whose grace period is over, objects without references. */
void runtime_collect(struct runtime *runtime);
struct service_entry *runtime_entry(const struct runtime *runtime, const char *name, size_t length);
struct service_entry *runtime_entry_new(struct runtime *runtime, const char *name);
/* Frees it when nothing needs it any more. */
void runtime_entry_release(struct service_entry *entry);
void service_destroy(struct runtime *runtime, struct service_object *service);
void backend_unref(struct runtime *runtime, struct backend *backend);
/* With one reference, the backend's array's. NULL when out of memory. */
struct endpoint_object *endpoint_new(struct backend *backend, const struct addr *addr);
/* Workers count on them no more, or probes: no new connections; freed when the last reference is gone. */
void endpoint_retire(struct runtime *runtime, struct endpoint *endpoint);

/* draft.c: a service of a snapshot, built and not yet published. */
struct draft {
	struct service_object *service;
	struct backend_settings {
		uint32_t weight, soft_limit, hard_limit;
		uint16_t country;
		bool drain;
		char region[32];
	} * settings;              /* of service->pub.backends, in order */
	struct qos_policy *policy; /* NULL: none */
	size_t index;              /* in the snapshot */
	struct service_entry *entry;
	struct draft *next;
	/* Its listeners, expanded. */
	struct draft_listener {
		enum transport transport;
		struct addr addr; /* without port */
		bool steered;
		uint8_t prefix_length; /* steered */
		uint32_t port_first, port_last;
		uint32_t max_connections, backlog;
		uint16_t nprefixes;
		struct prefix *prefixes;
	} * listeners;
	size_t nlisteners;
};
/* NULL when out of memory. */
struct draft *draft_new(struct runtime *runtime, struct service_entry *entry, size_t index,
                        const Marcher__Engine__V1__Service *message, uint64_t hash, size_t packed_length);
void draft_free(struct runtime *runtime, struct draft *draft); /* what was not published goes too */
/* Publishes the service in place of what runs. Cannot fail. The draft is freed by draft_done. */
void draft_commit(struct runtime *runtime, struct draft *draft);
void draft_done(struct draft *draft);
/* Takes the service out; its backends follow when no worker can accept for it any more. */
void runtime_remove_service(struct runtime *runtime, struct service_entry *entry);
/* A binding to it has gone. */
void runtime_binding_gone(struct runtime *runtime, struct service_object *service);

/* policies.c: traffic policies of services */
/* Room for a policy of the service. false: out of memory. */
bool policies_reserve(struct runtime *runtime, struct service_entry *entry);
/* The service's policy from now on (NULL: none), taken over. Cannot fail. */
void policies_publish(struct runtime *runtime, struct service_entry *entry, struct qos_policy *policy);
/* Workers look at their connections and sessions again, if a policy has changed. */
void policies_tell(struct runtime *runtime);
/* The name goes, and no connection of it is left. */
void policies_forget(struct runtime *runtime, struct service_entry *entry);
/* What the kernel answers by itself, and what a UDP listener sends, is marked as the owner's policy has it. */
void policies_mark(struct claim *claim);

/* elsewhere.c */
/* What was not said again in time counts no more. */
void elsewhere_expire(struct runtime *runtime, uint64_t now_ms);

/* claims.c */
/* addr with its port; the listener says whether it is steered. */
struct claim *claim_find(const struct runtime *runtime, const struct draft_listener *listener, const struct addr *addr);
struct claim *claim_new(struct runtime *runtime, const struct draft_listener *listener, const struct addr *addr);
void claim_free(struct runtime *runtime, struct claim *claim);
/* "tcp:127.0.0.1:80", "udp:*:53": the listener's name in statistics and messages. */
#define CLAIM_TEXT_MAX (ADDR_TEXT_MAX + 20)
const char *claim_text(const struct claim *claim, char text[CLAIM_TEXT_MAX]);
/* Makes the sockets, without a service and not accepting. 0 or -errno; the claim's error is set. */
int claim_open(struct runtime *runtime, struct claim *claim, bool shared);
/* Points the listener to the owner's current service and starts it when it is new. 0 or -errno. */
int claim_bind(struct runtime *runtime, struct claim *claim);
/* Closes the sockets; what they have accepted drains until the deadline. leave: a successor holds them too. */
void claim_close(struct runtime *runtime, struct claim *claim, uint64_t deadline_ms, bool leave);
/* Closes sockets that were never started. */
void claim_discard(struct runtime *runtime, struct claim *claim);
void claim_mark_unbound(struct runtime *runtime, struct claim *claim);
void claims_retry(struct runtime *runtime); /* some of those without sockets */
void claims_open_all(struct runtime *runtime);
void claim_event(struct runtime *runtime, const struct claim *claim, int error);
/* listen.c tells: all workers have closed it. */
void runtime_listener_closed(struct runtime *runtime, struct listener *listener);

/* view.c */
/* Builds and publishes the view that all generations of the service share. Without memory an empty one is published
 * (the old one may name endpoints that go) and a rebuild tried again in a second. */
void view_rebuild(struct runtime *runtime, struct service_entry *entry);
/* The view of the service as its endpoints are now. *ramp_ms: when slow start wants the next rebuild; 0: never. NULL
 * when out of memory. */
struct view *view_build(const struct service *service, uint64_t now_ms, bool with_maglev, uint64_t *ramp_ms);
void view_free(struct view *view);

/* runtime.c */
/* The node's own settings; geoip is taken over when path differs from what runs. */
void runtime_set_node(struct runtime *runtime, const Marcher__Engine__V1__Node *node, struct geoip *geoip);
/* Stops listening everywhere and drains, or listens again. */
void runtime_set_draining(struct runtime *runtime, bool draining);
/* Sends what runtime_drain_later collected to the workers; after a grace period, when nothing new can begin on them. */
void runtime_send_drains(struct runtime *runtime);
/* End of each turn of the main loop: rebuilds views, frees what is due. */
void runtime_turn(struct runtime *runtime);
/* Every listener that has sockets. */
void runtime_each_listener(struct runtime *runtime, void (*visit)(struct listener *listener, void *context),
                           void *context);
/* A successor has the sockets: closes our copies, drains every connection. */
void runtime_retire(struct runtime *runtime, uint32_t drain_ms);
/* What other nodes have open to the backends of the named services, which counts for valid_ms from now. Returns how
 * many of them run. (elsewhere.c) */
uint32_t runtime_load_elsewhere(struct runtime *runtime, const Marcher__Engine__V1__LoadElsewhereRequest *request);
/* A BackendsReply's list for the named service, or all. 0 or -ENOMEM. */
int runtime_backends(struct runtime *runtime, const char *service, Marcher__Engine__V1__BackendsReply *reply);
void runtime_drain_later(struct runtime *runtime, struct service *service, struct endpoint *endpoint,
                         uint64_t deadline_ms);

#endif
