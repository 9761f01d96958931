/* SPDX-License-Identifier: Apache-2.0 */
#include "packet_rig.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SETS_FIRST 65536u
#define SETS (2 * SETS_FIRST)
#define NOW 5000u

struct table {
	struct packet_rig *rig;
	struct flow_set *sets;
};

static struct table open_table(struct packet_rig *rig)
{
	struct marcher_packet_options options = {
	        .size = sizeof(options), .flows = SETS * FLOW_WAYS, .pin_dir = rig->pin_dir, .interfaces = "v0"};

	if (marcher_packet_open(&options, &rig->packet))
		fail_msg("open: %s", marcher_packet_last_error(NULL));
	int fd = packet_pin(rig, "maps/flows");
	struct flow_set *sets = mmap(NULL, SETS * sizeof(*sets), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(sets, MAP_FAILED);
	close(fd);
	return (struct table){rig, sets};
}

static uint32_t mask_of(const struct packet_rig *rig)
{
	struct flow_settings settings;
	uint32_t zero = 0;

	packet_lookup(rig, "flow_settings", &zero, &settings);
	return settings.mask;
}

/* A tag whose flow stands in this set, and in the set `sets` further when the table grows and bit is 1. */
static uint64_t tag_of(uint32_t set, uint32_t way, uint32_t bit)
{
	return (uint64_t)(way + 1) << 40 | (uint64_t)bit * SETS_FIRST | set;
}

/* So many ways of every set hold flows; every other of them moves when the table grows. */
static void fill(const struct table *table, uint32_t ways, uint64_t again, uint32_t stamp)
{
	for (uint32_t set = 0; set < SETS_FIRST; set++)
		for (uint32_t way = 0; way < ways; way++)
			table->sets[set].way[way] =
			        (struct flow){.tag = tag_of(set, way, way & 1),
			                      .state = FLOW_STATE(set % 60000 + way, 7, stamp) | again};
}

static void tend(const struct table *table)
{
	if (marcher_packet_tend(table->rig->packet))
		fail_msg("tend: %s", marcher_packet_last_error(table->rig->packet));
}

static void close_table(const struct table *table)
{
	munmap(table->sets, SETS * sizeof(*table->sets));
}

static void a_new_table_uses_its_first_sets(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct table table = open_table(*state);

	assert_int_equal(mask_of(*state), SETS_FIRST - 1);
	tend(&table);
	assert_int_equal(mask_of(*state), SETS_FIRST - 1);
	close_table(&table);
}

static void full_sets_have_it_grow_and_every_flow_is_found_again(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct table table = open_table(*state);

	fill(&table, FLOW_WAYS, FLOW_AGAIN, NOW);
	tend(&table);
	assert_int_equal(mask_of(*state), SETS - 1);
	for (uint32_t set = 0; set < SETS_FIRST; set++)
		for (uint32_t way = 0; way < FLOW_WAYS; way++) {
			uint64_t tag = tag_of(set, way, way & 1), found = 0;
			const struct flow_set *now = &table.sets[tag & (SETS - 1)];
			for (uint32_t i = 0; i < FLOW_WAYS; i++)
				if (now->way[i].tag == tag)
					found = now->way[i].state;
			if (found != (FLOW_STATE(set % 60000 + way, 7, NOW) | FLOW_AGAIN))
				fail_msg("set %u, way %u: state %llx", set, way, (unsigned long long)found);
		}
	/* That is all there is. */
	for (uint32_t set = SETS_FIRST; set < SETS; set++)
		memcpy(&table.sets[set], &table.sets[set - SETS_FIRST], sizeof(table.sets[set]));
	tend(&table);
	assert_int_equal(mask_of(*state), SETS - 1);
	close_table(&table);
}

static void a_flow_that_came_to_its_new_place_meanwhile_stays_as_it_is(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct table table = open_table(*state);
	uint64_t tag = tag_of(9, 1, 1), newer = FLOW_STATE(11, 8, NOW + 1);

	fill(&table, FLOW_WAYS, FLOW_AGAIN, NOW);
	table.sets[9 + SETS_FIRST].way[3] = (struct flow){.tag = tag, .state = newer};
	tend(&table);
	for (uint32_t way = 0; way < 3; way++)
		assert_true(table.sets[9 + SETS_FIRST].way[way].tag != tag);
	assert_true(table.sets[9 + SETS_FIRST].way[3].state == newer);
	close_table(&table);
}

static void room_floods_and_quiet_flows_do_not_have_it_grow(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct table table = open_table(*state);

	fill(&table, 2, FLOW_AGAIN, NOW);
	tend(&table);
	assert_int_equal(mask_of(*state), SETS_FIRST - 1);
	fill(&table, FLOW_WAYS, 0, NOW);
	tend(&table);
	assert_int_equal(mask_of(*state), SETS_FIRST - 1);
	fill(&table, FLOW_WAYS, FLOW_AGAIN, NOW);
	table.sets[0].way[0].state = FLOW_STATE(1, 7, NOW + 1000) | FLOW_AGAIN; /* all others are long ago */
	tend(&table);
	assert_int_equal(mask_of(*state), SETS_FIRST - 1);
	close_table(&table);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, packet_rig_setup, packet_rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(a_new_table_uses_its_first_sets),
	        TEST(full_sets_have_it_grow_and_every_flow_is_found_again),
	        TEST(a_flow_that_came_to_its_new_place_meanwhile_stays_as_it_is),
	        TEST(room_floods_and_quiet_flows_do_not_have_it_grow),
	};
	return cmocka_run_group_tests_name("packet_flows", tests, packet_rig_namespaces, NULL);
}
