/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cases_nat.h"

static const struct CMUnitTest tests[] = {};
const struct CMUnitTest *const nat_flow_tests = tests;
const size_t nat_flow_tests_count = sizeof(tests) / sizeof(tests[0]);
