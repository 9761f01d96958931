/* SPDX-License-Identifier: Apache-2.0 */
/* Connection IDs that name backends: QUIC-LB. */
#ifndef TESTS_QUIC_TESTS_H
#define TESTS_QUIC_TESTS_H

#include <stddef.h>

struct CMUnitTest;
extern const struct CMUnitTest *const quic_tests;
extern const size_t quic_tests_count;

#endif
