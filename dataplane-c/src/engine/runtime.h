/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The running configuration: turns snapshots into services, backends, endpoints and listeners, touching only what
 * differs, and rebuilds views. Main thread only.
 */
#ifndef ENGINE_RUNTIME_H
#define ENGINE_RUNTIME_H

#include <stddef.h>

#include "engine.h"
#include "marcher/engine/v1/control.pb-c.h"

struct runtime *runtime_new(struct engine *engine);
void runtime_free(struct runtime *runtime);

uint64_t runtime_generation(const struct runtime *runtime);

/* Applies a packed Snapshot. Fills reply (reasons are heap-allocated; free with runtime_reply_free). On refusal nothing
 * has changed. */
void runtime_apply(struct runtime *runtime, const void *packed, size_t length, bool tolerate_bind_errors,
                   Marcher__Engine__V1__ApplyReply *reply);
void runtime_reply_free(Marcher__Engine__V1__ApplyReply *reply);

/* Rebuilds and publishes the view of the service; called after health, ejection, DNS or drain changed an endpoint.
 * Cheap calls: several in one loop turn are done once, at its end. */
void runtime_service_changed(struct runtime *runtime, struct service *service);
void runtime_backend_changed(struct runtime *runtime, struct backend *backend);

/* The service that a backend belongs to in the current snapshot, or NULL. */
struct service *runtime_service_of(struct runtime *runtime, const struct backend *backend);

/* DNS: the addresses that the backend's name has now. Endpoints that stay keep their state; new ones are probed; ones
 * that are gone take no new connections. */
void runtime_backend_resolved(struct runtime *runtime, struct backend *backend, const struct addr *addrs, size_t count);

/* References that connections hold. Any thread. */
void service_ref(struct service *service);
void service_unref(struct service *service);
void endpoint_ref(struct endpoint *endpoint);
void endpoint_unref(struct endpoint *endpoint);
void listener_ref(struct listener *listener);
void listener_unref(struct listener *listener);

#endif
