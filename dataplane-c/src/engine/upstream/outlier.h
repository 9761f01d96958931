/* SPDX-License-Identifier: Apache-2.0 */
/* Passive ejection. Workers report what connecting to an endpoint gave; the main thread ejects and brings back. */
#ifndef ENGINE_OUTLIER_H
#define ENGINE_OUTLIER_H

#include "../engine.h"

/* Any worker, after each connect (or ICMP error or reply for UDP). A plain load when all is well. */
void outlier_report(struct worker *worker, struct service *service, struct endpoint *endpoint, bool ok);

/* Main thread: takes what workers flagged, ejects within the service's maximum share, with back-off, and brings back.
 * Called on the engine's wake-up and by its own timers. */
void outlier_process(struct engine *engine);

/* Once, in the main thread, before workers start: makes the wake-up (an eventfd in the engine's poller whose handler is
 * outlier_process). Returns 0 or -errno. */
int outlier_start(struct engine *engine);
/* After the workers have ended and before the engine's timers and runtime go. */
void outlier_stop(void);

#endif
