/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of libmarcher share: a run directory, snapshots, an engine (fake, or the one named in the environment
 * by MARCHER_TEST_ENGINE), and waiting for something to become true. */
#ifndef TESTS_CONTROL_RIG_H
#define TESTS_CONTROL_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "marcher.h"

struct rig {
	char dir[64]; /* empty run directory */
	struct marcher *marcher;
	uint16_t ports[2]; /* free on loopback when the rig was made */
};

/* cmocka setup and teardown: state is a struct rig. Teardown stops whatever engine is left. */
int rig_setup(void **state);
int rig_teardown(void **state);

/* Path of the fake engine: MARCHER_FAKE_ENGINE, set by the build. */
const char *rig_engine(void);

int rig_open(struct rig *rig, struct marcher **out);
void rig_reopen(struct rig *rig);

/* Applies services (space-separated names; "web" listens on ports[0], "api" on ports[1]). base 0:
 * complete. */
int rig_apply(struct rig *rig, uint64_t generation, uint64_t base, const char *services);
/* A complete snapshot of one service "web" with so many listeners: the first on ports[0], the others on any port. */
int rig_apply_listeners(struct rig *rig, uint64_t generation, size_t listeners);
struct marcher_engine_status rig_status(struct rig *rig);

/* The inodes of the TCP sockets on which the process listens, each once and in order. Returns how many. */
size_t rig_listening(int pid, unsigned long *inodes, size_t max);
/* Has the process ended? Also when nobody has reaped it yet. */
bool rig_ended(int pid);
/* The whole engine.log of the run directory; free it. */
char *rig_log(const struct rig *rig);
/* Appends to engine.log, as an engine does. */
void rig_log_append(const struct rig *rig, const char *text);

/* Connects to the port and reads "<pid> <generation>". Returns the pid, 0 when refused or reset. Blocks up to 30 s. */
int rig_ask(uint16_t port, uint64_t *generation);

uint64_t rig_now_ms(void);
/* For what must happen, on a machine that may be busy. */
#define RIG_PATIENCE_MS 30000
/* Evaluates the condition every 2 ms until it is true or ms have passed. */
#define rig_eventually(condition, ms)                         \
	({                                                    \
		uint64_t until_ = rig_now_ms() + (ms);        \
		while (!(condition) && rig_now_ms() < until_) \
			rig_pause();                          \
		(condition);                                  \
	})
void rig_pause(void);

#endif
