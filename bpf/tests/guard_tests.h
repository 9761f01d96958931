/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_GUARD_TESTS_H
#define TESTS_GUARD_TESTS_H

#include <stddef.h>

extern const struct CMUnitTest guard_tests[];
extern const size_t guard_tests_count;

#endif
