/* SPDX-License-Identifier: Apache-2.0 */
/* The network that world.h describes. */
#ifndef TESTS_NAMESPACE_H
#define TESTS_NAMESPACE_H

#include <stdbool.h>

/* Moves this process into a network namespace of its own, which ends with it, and furnishes that. False with a reason
 * on stderr. */
bool namespace_enter(void);

bool write_setting(const char *path, const char *value);

#endif
