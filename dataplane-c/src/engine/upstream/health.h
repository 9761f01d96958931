/* SPDX-License-Identifier: Apache-2.0 */
/* Active health probes: one prober in the main thread for the whole node. */
#ifndef ENGINE_HEALTH_H
#define ENGINE_HEALTH_H

#include "../engine.h"

struct prober *prober_new(struct engine *engine);
void prober_free(struct prober *prober);

/* Begins to probe (or goes on with changed settings, keeping the state). Without a probe an endpoint is HEALTH_UNKNOWN,
 * which counts as usable; so does a probed one until its first result is in. First probes are spread over an
 * interval when there are many. Several endpoints with the same address and the same probe share one. */
void prober_watch(struct prober *prober, struct endpoint *endpoint, struct service *service);
void prober_unwatch(struct prober *prober, struct endpoint *endpoint);

#endif
