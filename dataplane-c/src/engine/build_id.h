/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-256 (FIPS 180-4) of a file: how a newer build of the engine is told from the one that runs. Not for secrets. */
#ifndef ENGINE_BUILD_ID_H
#define ENGINE_BUILD_ID_H

#include <stddef.h>
#include <stdint.h>

#define BUILD_ID_MAX 65

/* Lower-case hex of the digest. Returns 0 or -errno (text is empty then). */
int build_id_of(const char *path, char text[BUILD_ID_MAX]);

void sha256(const void *data, size_t length, uint8_t digest[32]);

#endif
