/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Steering by sk_lookup (bpf/sk_lookup.c): the program attached to this network namespace, and its maps kept in step
 * with the engine's list of listening sockets, of which the bank holds duplicates (bank.h); of a list that is too long
 * for it, those that are steered are enough. Everything is pinned below pin_dir/v<layout>/steer and goes on without
 * this process; what is found there is used again.
 *
 * The order of writing: sockets, then what leads to them; what is gone is taken away last.
 */
#ifndef CONTROL_STEER_H
#define CONTROL_STEER_H

#include <stddef.h>
#include <stdint.h>

#include "bank.h"

struct steer;

/* Loads, pins and attaches. NULL: *error is -errno and why says what failed and what to do. */
struct steer *steer_open(const char *pin_dir, int *error, char *why, size_t why_size);
/* Lets go; everything stays in force. */
void steer_close(struct steer *steer);
/* Takes away what is pinned, of every namespace: the kernel finds sockets by itself again. 0, also when nothing is
 * there, or -errno: -EWOULDBLOCK when another process fills it, whose it stays. */
int steer_remove(const char *pin_dir);
/* Has new connections go to the bank's sockets: also those that other listeners have within a prefix go where they
 * would. Returns 0, or -errno and why; then some of it may be in force, and a call again goes on. */
int steer_sync(struct steer *steer, const struct bank *bank, char *why, size_t why_size);
/* What steer_sync needs of the engine's listening socket of this key, as bank_choose() asks. */
enum bank_choice steer_needs(const char *key);
/* Targets in force. */
uint32_t steer_targets_count(const struct steer *steer);

#endif
