/* SPDX-License-Identifier: Apache-2.0 */
/* The backend's end of tunnels: in tc, and what clients are told whose packets came by one. */
#ifndef TESTS_DECAP_TESTS_H
#define TESTS_DECAP_TESTS_H

#include <stddef.h>

/* A cmocka test of one case of cases_decap, which is *state, by tc_ingress and tc_decap. */
void decap_run_case_by_tc(void **state);

struct CMUnitTest;
extern const struct CMUnitTest *const decap_tests;
extern const size_t decap_tests_count;

#endif
