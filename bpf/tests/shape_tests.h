/* SPDX-License-Identifier: Apache-2.0 */
/* Shaping: when packets over a rate may leave, and by which class. Include after cmocka.h. */
#ifndef TESTS_SHAPE_TESTS_H
#define TESTS_SHAPE_TESTS_H

#include <stddef.h>

extern const struct CMUnitTest shape_tests[];
extern const size_t shape_tests_count;

#endif
