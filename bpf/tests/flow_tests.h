/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of more than one packet: flows, rings, slots. Include after cmocka.h. */
#ifndef TESTS_FLOW_TESTS_H
#define TESTS_FLOW_TESTS_H

extern const struct CMUnitTest flow_tests[];
extern const size_t flow_tests_count;

#endif
