/* SPDX-License-Identifier: Apache-2.0 */
/* Rings out of names and addresses: the engine's own, and the same everywhere. Needs no privilege. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "control/packet_ring.h"
#include "engine/lb/maglev_walk.h"

#define SIZE 1009u
#define GOLDEN 0x1704d69e12a50693ull

static const struct {
	const char *name, *address;
	uint32_t weight;
} backends[] = {{"a", "192.0.2.21", 1}, {"b", "192.0.2.22", 5}, {"b", "2001:db8::22", 5}, {"c", "2001:db8::23", 2}};
#define COUNT 4u

static uint8_t addresses[COUNT][16];

static void make_members(struct ring_member members[COUNT])
{
	for (uint32_t i = 0; i < COUNT; i++) {
		memset(addresses[i], 0, sizeof(addresses[i]));
		if (strchr(backends[i].address, ':')) {
			inet_pton(AF_INET6, backends[i].address, addresses[i]);
		} else {
			addresses[i][10] = addresses[i][11] = 0xff;
			inet_pton(AF_INET, backends[i].address, addresses[i] + 12);
		}
		members[i] = (struct ring_member){.name = backends[i].name,
		                                  .address = addresses[i],
		                                  .weight = backends[i].weight,
		                                  .index = 100 + i};
	}
}

/* As the engine has them: from its own reading of the addresses. */
static void the_ring_is_the_engines(void **state)
{
	struct ring_member members[COUNT];
	struct backend engine_backends[COUNT] = {0};
	struct endpoint endpoints[COUNT] = {0};
	struct view_entry entries[COUNT] = {0};
	uint32_t slots[SIZE];

	(void)state;
	make_members(members);
	for (uint32_t i = 0; i < COUNT; i++) {
		bool v6 = strchr(backends[i].address, ':');
		engine_backends[i].name = (char *)backends[i].name;
		endpoints[i].backend = &engine_backends[i];
		endpoints[i].addr.family = v6 ? AF_INET6 : AF_INET;
		inet_pton(endpoints[i].addr.family, backends[i].address, endpoints[i].addr.ip);
		entries[i] = (struct view_entry){.endpoint = &endpoints[i], .weight = backends[i].weight};
	}
	struct maglev_table *table = maglev_build(entries, COUNT, SIZE);
	assert_non_null(table);
	assert_int_equal(packet_ring_fill(members, COUNT, SIZE, slots), 0);
	for (uint32_t i = 0; i < SIZE; i++)
		assert_int_equal(slots[i], 100 + maglev_at(table, i));
	maglev_free(table);
}

/* Every director, of whatever version, has to build this one: a change moves flows between backends. */
static void the_ring_never_changes(void **state)
{
	struct ring_member members[COUNT];
	uint32_t slots[SIZE], shares[COUNT] = {0};
	uint64_t sum = 14695981039346656037ull; /* FNV-1a over the slots' bytes */

	(void)state;
	make_members(members);
	assert_int_equal(packet_ring_fill(members, COUNT, SIZE, slots), 0);
	for (uint32_t i = 0; i < SIZE; i++) {
		shares[slots[i] - 100]++;
		sum = (sum ^ (slots[i] - 100)) * 1099511628211ull;
	}
	assert_in_range(shares[0], SIZE / 13 - 2, SIZE / 13 + 2);
	assert_in_range(shares[1], SIZE * 5 / 13 - 2, SIZE * 5 / 13 + 2);
	assert_in_range(shares[2], SIZE * 5 / 13 - 2, SIZE * 5 / 13 + 2);
	assert_in_range(shares[3], SIZE * 2 / 13 - 2, SIZE * 2 / 13 + 2);
	if (sum != GOLDEN)
		fail_msg("the ring has become another one: 0x%llx", (unsigned long long)sum);
}

static void the_order_of_members_does_not_matter(void **state)
{
	struct ring_member members[COUNT], reversed[COUNT];
	uint32_t slots[SIZE], others[SIZE];

	(void)state;
	make_members(members);
	for (uint32_t i = 0; i < COUNT; i++)
		reversed[i] = members[COUNT - 1 - i];
	assert_int_equal(packet_ring_fill(members, COUNT, SIZE, slots), 0);
	assert_int_equal(packet_ring_fill(reversed, COUNT, SIZE, others), 0);
	assert_memory_equal(slots, others, sizeof(slots));
}

static void an_impossible_size_is_refused(void **state)
{
	struct ring_member members[COUNT];
	uint32_t slots[SIZE];

	(void)state;
	make_members(members);
	assert_int_equal(packet_ring_fill(members, COUNT, 1008, slots), -EINVAL);
	assert_int_equal(packet_ring_fill(members, COUNT, 3, slots), -EINVAL);
}

static void a_fingerprint_tells_every_difference(void **state)
{
	struct ring_member members[COUNT];

	(void)state;
	make_members(members);
	uint64_t whole = packet_ring_fingerprint(members, COUNT, SIZE);
	assert_true(whole == packet_ring_fingerprint(members, COUNT, SIZE));
	assert_true(whole != packet_ring_fingerprint(members, COUNT - 1, SIZE));
	assert_true(whole != packet_ring_fingerprint(members, COUNT, 1013));
	assert_true(packet_ring_fingerprint(members, 0, SIZE) != packet_ring_fingerprint(members, 0, 1013));
	members[1].weight++;
	uint64_t heavier = packet_ring_fingerprint(members, COUNT, SIZE);
	members[1].weight--;
	members[1].index++;
	uint64_t moved = packet_ring_fingerprint(members, COUNT, SIZE);
	members[1].index--;
	addresses[1][15]++;
	uint64_t readdressed = packet_ring_fingerprint(members, COUNT, SIZE);
	addresses[1][15]--;
	members[1].name = "x";
	uint64_t renamed = packet_ring_fingerprint(members, COUNT, SIZE);
	assert_true(whole != heavier && whole != moved && whole != readdressed && whole != renamed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(the_ring_is_the_engines),
	        cmocka_unit_test(the_ring_never_changes),
	        cmocka_unit_test(the_order_of_members_does_not_matter),
	        cmocka_unit_test(an_impossible_size_is_refused),
	        cmocka_unit_test(a_fingerprint_tells_every_difference),
	};
	return cmocka_run_group_tests_name("packet_ring", tests, NULL, NULL);
}
