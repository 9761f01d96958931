/* SPDX-License-Identifier: Apache-2.0 */
/* Another Marcher at an interface: one of another pin directory (--bpf-dir). An interface has one at a time; what that
 * has attached is told from ours by the pins, which each keeps in its own directory. */
#ifndef CONTROL_PACKET_HOLDER_H
#define CONTROL_PACKET_HOLDER_H

#include <stdbool.h>
#include <stdint.h>

#include "packet.h"

#define HOLDER_TEXT_SIZE 192

/* Is one of these pinned for the interface by somebody else? Pins are such as "tc/%lu_%u_ingress" (network namespace
 * and index). Only BPF file systems that this process sees are searched, up to a bound. */
bool packet_holder_seen(const struct marcher_packet *handle, uint32_t index, const char *const *pins, uint32_t npins);
/* A sentence's end: whose it is, and what to do. left_over: the command that takes it off where nobody's pins are seen;
 * "": there is none. */
void packet_holder_tell(const struct marcher_packet *handle, uint32_t index, const char *const *pins, uint32_t npins,
                        const char *left_over, char text[HOLDER_TEXT_SIZE]);

#endif
