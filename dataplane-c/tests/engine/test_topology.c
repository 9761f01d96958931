/* SPDX-License-Identifier: Apache-2.0 */
/* Topology against recorded machines: tests/data/sysfs/<machine>.txt, unpacked into a directory for each test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <ftw.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "topology.h"

#ifndef TEST_DATA
#define TEST_DATA "tests/data"
#endif

static char root[64];
static struct topology topology;
static struct worker_place places[2048];

static void write_file(const char *path, const char *content)
{
	char name[512];
	snprintf(name, sizeof(name), "%s/%s", root, path);
	for (char *slash = strchr(name + strlen(root) + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		mkdir(name, 0700);
		*slash = '/';
	}
	FILE *file = fopen(name, "w");
	assert_non_null(file);
	fprintf(file, "%s\n", content);
	fclose(file);
}

static void remove_file(const char *path)
{
	char name[512];
	snprintf(name, sizeof(name), "%s/%s", root, path);
	assert_int_equal(unlink(name), 0);
}

static void unpack(const char *machine)
{
	char name[512], line[1024];
	strcpy(root, "/tmp/marcher-topology-XXXXXX");
	assert_non_null(mkdtemp(root));
	if (!machine)
		return;
	snprintf(name, sizeof(name), "%s/sysfs/%s.txt", TEST_DATA, machine);
	FILE *file = fopen(name, "r");
	if (!file)
		fail_msg("%s: %s", name, strerror(errno));
	while (fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\n")] = '\0';
		char *equals = strstr(line, " = ");
		if (line[0] == '#' || !equals)
			continue;
		*equals = '\0';
		write_file(line, equals + 3);
	}
	fclose(file);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st;
	(void)type;
	(void)at;
	return remove(path);
}

static int tear_down(void **state)
{
	(void)state;
	if (root[0])
		nftw(root, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
	root[0] = '\0';
	return 0;
}

static cpu_set_t all_cpus(void)
{
	cpu_set_t set;
	memset(&set, 0xff, sizeof(set));
	return set;
}

static void read_machine(const char *allowed)
{
	cpu_set_t set = all_cpus();
	if (allowed)
		assert_true(topology_parse_cpus(allowed, &set));
	assert_int_equal(topology_read(root, &set, &topology), 0);
}

/* The CPUs in the order of the workers, as "0 4 1 5". */
static void expect_places(unsigned workers, const char *expected)
{
	char text[4096] = "";
	topology_place(&topology, workers, places);
	for (unsigned i = 0; i < workers; i++) {
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%d", i ? " " : "", places[i].cpu);
		for (unsigned k = 0; k < topology.ncpus; k++) {
			if (topology.cpus[k].cpu == places[i].cpu)
				assert_int_equal(topology.cpus[k].node, places[i].node);
		}
	}
	assert_string_equal(text, expected);
}

static void one_node_gives_whole_cores_before_siblings(void **state)
{
	(void)state;
	unpack("1-node");
	read_machine(NULL);
	assert_int_equal(topology.ncpus, 8);
	assert_int_equal(topology.nnodes, 1);
	assert_false(topology.cpus[3].sibling);
	assert_true(topology.cpus[4].sibling);
	expect_places(8, "0 1 2 3 4 5 6 7");
	expect_places(10, "0 1 2 3 4 5 6 7 0 1"); /* wraps around */
}

static void two_nodes_take_turns(void **state)
{
	(void)state;
	unpack("2-node");
	read_machine(NULL);
	assert_int_equal(topology.ncpus, 24);
	assert_int_equal(topology.nnodes, 2);
	expect_places(4, "0 6 1 7");
	expect_places(24, "0 6 1 7 2 8 3 9 4 10 5 11 12 18 13 19 14 20 15 21 16 22 17 23");
	assert_int_equal(topology.cpus[3].core, 5); /* numbers of cores have holes */
	assert_int_equal(topology.cpus[6].package, 1);
}

static void four_nodes_with_a_core_offline(void **state)
{
	(void)state;
	unpack("4-node");
	read_machine(NULL);
	assert_int_equal(topology.ncpus, 30);
	assert_int_equal(topology.nnodes, 4);
	/* Node 1 has three cores: the fourth round takes its first sibling; the last round passes over it. */
	expect_places(30, "0 4 8 12 1 6 9 13 2 7 10 14 3 20 11 15 16 22 24 28 17 23 25 29 18 26 30 19 27 31");
}

static void only_allowed_cpus_are_used(void **state)
{
	(void)state;
	unpack("2-node");
	read_machine(
	        "12-17,7,100"); /* node 0: only second threads, which are whole cores to us; CPU 100 is not there */
	assert_int_equal(topology.ncpus, 7);
	expect_places(7, "12 7 13 14 15 16 17");
	read_machine("0-5");
	assert_int_equal(topology.nnodes, 1);
	read_machine("6-8");
	assert_int_equal(topology.nnodes, 1);
	assert_int_equal(topology.nodes[0], 1);
}

static void numbers_of_nodes_may_have_holes(void **state)
{
	(void)state;
	unpack("2-node");
	write_file("devices/system/node/online", "0,8,62");
	write_file("devices/system/node/node8/cpulist", "6-11,18-23");
	write_file("devices/system/node/node62/cpulist", ""); /* memory only */
	read_machine(NULL);
	assert_int_equal(topology.nnodes, 2);
	assert_int_equal(topology.nodes[1], 8);
	expect_places(4, "0 6 1 7");
}

static void without_nodes_everything_is_on_node_0(void **state)
{
	(void)state;
	unpack("2-node");
	remove_file("devices/system/node/online");
	read_machine(NULL);
	assert_int_equal(topology.nnodes, 1);
	assert_int_equal(topology.nodes[0], 0);
	expect_places(3, "0 1 2");
}

static void a_node_without_a_directory_is_passed_over(void **state)
{
	(void)state;
	unpack("2-node");
	remove_file("devices/system/node/node1/cpulist");
	read_machine(NULL);
	assert_int_equal(topology.ncpus, 24);
	assert_int_equal(topology.nnodes, 1);
}

static void siblings_are_told_by_core_and_package_without_a_list(void **state)
{
	(void)state;
	char path[128];
	unpack("2-node");
	for (unsigned i = 0; i < 24; i++) {
		snprintf(path, sizeof(path), "devices/system/cpu/cpu%u/topology/thread_siblings_list", i);
		remove_file(path);
	}
	read_machine(NULL);
	expect_places(24, "0 6 1 7 2 8 3 9 4 10 5 11 12 18 13 19 14 20 15 21 16 22 17 23");
}

static void an_empty_sysfs_leaves_the_allowed_cpus(void **state)
{
	(void)state;
	unpack(NULL);
	read_machine("3,5");
	assert_int_equal(topology.ncpus, 2);
	expect_places(2, "3 5");
}

static void no_cpu_at_all_is_an_error(void **state)
{
	(void)state;
	cpu_set_t set;
	unpack("1-node");
	assert_true(topology_parse_cpus("500", &set));
	assert_int_equal(topology_read(root, &set, &topology), -ENODEV);
	set = all_cpus();
	write_file("devices/system/cpu/online", "0-3,x");
	assert_int_equal(topology_read(root, &set, &topology), -EINVAL);
}

static void lists_of_cpus_are_parsed_strictly(void **state)
{
	static const char *const bad[] = {"",
	                                  " ",
	                                  "a",
	                                  "1-",
	                                  "-1",
	                                  "3-1",
	                                  "1,",
	                                  ",1",
	                                  "1,,2",
	                                  "1 ,2",
	                                  "1024",
	                                  "0-1024",
	                                  "99999999999999999999",
	                                  "0x1",
	                                  "1-2-3",
	                                  "1;2"};
	(void)state;
	cpu_set_t set;
	assert_true(topology_parse_cpus("0-3,8,1000-1023", &set));
	assert_int_equal(CPU_COUNT(&set), 29);
	assert_true(CPU_ISSET(8, &set) && CPU_ISSET(1023, &set) && !CPU_ISSET(4, &set));
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		if (topology_parse_cpus(bad[i], &set))
			fail_msg("\"%s\" was taken for a list", bad[i]);
	}
	assert_false(topology_parse_cpus(NULL, &set));
}

static void every_cpu_has_a_worker_before_any_has_two(void **state)
{
	static const char *const machines[] = {"1-node", "2-node", "4-node"};
	(void)state;
	for (size_t m = 0; m < 3; m++) {
		unpack(machines[m]);
		read_machine(NULL);
		for (unsigned workers = 1; workers <= 2 * topology.ncpus; workers++) {
			unsigned count[TOPOLOGY_CPUS_MAX] = {0};
			topology_place(&topology, workers, places);
			for (unsigned i = 0; i < workers; i++)
				count[places[i].cpu]++;
			for (unsigned i = 0; i < topology.ncpus; i++) {
				assert_true(count[topology.cpus[i].cpu] >= workers / topology.ncpus);
				assert_true(count[topology.cpus[i].cpu] <=
				            (workers + topology.ncpus - 1) / topology.ncpus);
			}
		}
		tear_down(state);
	}
}

static void *pin_here(void *arg)
{
	cpu_set_t set;
	struct topology here;
	struct worker_place place;
	(void)arg;
	sched_getaffinity(0, sizeof(set), &set);
	if (topology_read("/sys", &set, &here) != 0)
		return (void *)1;
	topology_place(&here, 1, &place);
	if (topology_pin(&place) != 0 || topology_bind_memory(&here, &place) != 0)
		return (void *)2;
	sched_getaffinity(0, sizeof(set), &set);
	return (void *)(size_t)(CPU_COUNT(&set) == 1 && CPU_ISSET(place.cpu, &set) ? 0 : 3);
}

static void a_thread_is_pinned_on_this_machine(void **state)
{
	(void)state;
	pthread_t thread;
	void *result;
	assert_int_equal(pthread_create(&thread, NULL, pin_here, NULL), 0);
	pthread_join(thread, &result);
	assert_ptr_equal(result, NULL);
	struct worker_place nowhere = {.cpu = CPU_SETSIZE};
	assert_int_equal(topology_pin(&nowhere), -EINVAL);
}

static void a_memory_policy_is_put_back_as_it_was(void **state)
{
	(void)state;
	struct topology two = {.nnodes = 2, .nodes = {0, 1}};
	struct worker_place first = {.cpu = 0, .node = 0};
	struct memory_policy before, during, after;
	topology_save_memory(&before);
	if (before.mode < 0)
		skip(); /* a kernel without NUMA */
	assert_int_equal(topology_bind_memory(&two, &first), 0);
	topology_save_memory(&during);
	assert_int_equal(during.nodes[0], 1);
	topology_restore_memory(&before);
	topology_save_memory(&after);
	assert_memory_equal(&after, &before, sizeof(before));
	/* And one that has nodes. */
	topology_restore_memory(&during);
	topology_save_memory(&after);
	assert_memory_equal(&after, &during, sizeof(during));
	topology_restore_memory(&before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_teardown(one_node_gives_whole_cores_before_siblings, tear_down),
	        cmocka_unit_test_teardown(two_nodes_take_turns, tear_down),
	        cmocka_unit_test_teardown(four_nodes_with_a_core_offline, tear_down),
	        cmocka_unit_test_teardown(only_allowed_cpus_are_used, tear_down),
	        cmocka_unit_test_teardown(numbers_of_nodes_may_have_holes, tear_down),
	        cmocka_unit_test_teardown(without_nodes_everything_is_on_node_0, tear_down),
	        cmocka_unit_test_teardown(a_node_without_a_directory_is_passed_over, tear_down),
	        cmocka_unit_test_teardown(siblings_are_told_by_core_and_package_without_a_list, tear_down),
	        cmocka_unit_test_teardown(an_empty_sysfs_leaves_the_allowed_cpus, tear_down),
	        cmocka_unit_test_teardown(no_cpu_at_all_is_an_error, tear_down),
	        cmocka_unit_test(lists_of_cpus_are_parsed_strictly),
	        cmocka_unit_test_teardown(every_cpu_has_a_worker_before_any_has_two, tear_down),
	        cmocka_unit_test(a_thread_is_pinned_on_this_machine),
	        cmocka_unit_test(a_memory_policy_is_put_back_as_it_was),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
