/* SPDX-License-Identifier: Apache-2.0 */
/* Traffic policies: rates, marks, new flows. Include after cmocka.h. */
#ifndef TESTS_POLICY_TESTS_H
#define TESTS_POLICY_TESTS_H

#include <stddef.h>

extern const struct CMUnitTest policy_tests[];
extern const size_t policy_tests_count;

#endif
