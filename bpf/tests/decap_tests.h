/* SPDX-License-Identifier: Apache-2.0 */
/* What nodes of backends tell clients whose packets came encapsulated: several packets each. */
#ifndef TESTS_DECAP_TESTS_H
#define TESTS_DECAP_TESTS_H

#include <stddef.h>

struct CMUnitTest;
extern const struct CMUnitTest *const decap_tests;
extern const size_t decap_tests_count;

#endif
