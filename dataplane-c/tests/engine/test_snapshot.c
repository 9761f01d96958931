/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "snapshot.h"
#include "snapshot_rig.h"

static struct rig_service rig;

static int setup(void **state)
{
	(void)state;
	rig_service_init(&rig, "web");
	rig_add_listener(&rig, 1, 8080);
	rig_add_listener(&rig, 2, 8080);
	rig_add_backend(&rig, 0, 9000);
	rig_add_backend(&rig, 1, 9001);
	return 0;
}

static void check(struct reasons *reasons)
{
	size_t length = marcher__engine__v1__service__get_packed_size(&rig.message);
	uint8_t *packed = malloc(length);
	marcher__engine__v1__service__pack(&rig.message, packed);
	Service *message = snapshot_service((struct slice){packed, length}, 3, reasons);
	assert_non_null(message);
	marcher__engine__v1__service__free_unpacked(message, NULL);
	free(packed);
}

/* Exactly this path is complained of. */
static void expect(const char *path)
{
	struct reasons reasons = {0};
	check(&reasons);
	if (reasons.count != 1 || strcmp(reasons.items[0]->path, path) != 0) {
		for (size_t i = 0; i < reasons.count; i++)
			print_error("%s: %s\n", reasons.items[i]->path, reasons.items[i]->reason);
		fail_msg("expected one reason at %s", path);
	}
	assert_true(strlen(reasons.items[0]->reason) > 10);
	reasons_free(&reasons);
}

static void a_lawful_service_passes(void **state)
{
	(void)state;
	struct reasons reasons = {0};
	check(&reasons);
	assert_int_equal(reasons.count, 0);
}

static void numbers_out_of_range_are_told_with_their_path(void **state)
{
	(void)state;
	struct {
		uint32_t *field;
		uint32_t bad;
		const char *path;
	} cases[] = {
	        {&rig.listeners[1].port_first, 0, "services[3].listeners[1].port_first"},
	        {&rig.listeners[0].port_last, 65536, "services[3].listeners[0].port_last"},
	        {&rig.listeners[0].port_last, 8079, "services[3].listeners[0].port_last"},
	        {&rig.backends[1].weight, 257, "services[3].backends[1].weight"},
	        {&rig.targets[0].port, 65536, "services[3].backends[0].ip.port"},
	        {&rig.message.connect_timeout_ms, 0, "services[3].connect_timeout_ms"},
	        {&rig.message.idle_timeout_ms, 0, "services[3].idle_timeout_ms"},
	        {&rig.message.udp_idle_timeout_ms, 0, "services[3].udp_idle_timeout_ms"},
	        {&rig.message.half_closed_timeout_ms, 0, "services[3].half_closed_timeout_ms"},
	        {&rig.message.drain_timeout_ms, UINT32_MAX, "services[3].drain_timeout_ms"},
	        {&rig.message.udp_max_sessions, 0, "services[3].udp_max_sessions"},
	        {&rig.message.panic_threshold_percent, 101, "services[3].panic_threshold_percent"},
	        {&rig.message.source_ipv4_prefix, 33, "services[3].source_ipv4_prefix"},
	        {&rig.message.source_ipv6_prefix, 129, "services[3].source_ipv6_prefix"},
	        {(uint32_t *)&rig.message.algorithm, 0, "services[3].algorithm"},
	        {(uint32_t *)&rig.message.algorithm, 7, "services[3].algorithm"},
	        {(uint32_t *)&rig.listeners[0].transport, 3, "services[3].listeners[0].transport"},
	        {(uint32_t *)&rig.backends[0].send_proxy, 3, "services[3].backends[0].send_proxy"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint32_t good = *cases[i].field;
		*cases[i].field = cases[i].bad;
		expect(cases[i].path);
		*cases[i].field = good;
	}
}

static void names_are_checked(void **state)
{
	(void)state;
	static const char *const bad[] = {
	        "", "-a", "a-", "A", "a_b", "a.b", "0123456789012345678901234567890123456789012345678901234567890123"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		rig.message.name = (char *)(uintptr_t)bad[i];
		expect("services[3].name");
	}
	static const char *const good[] = {"a", "0", "a-b",
	                                   "012345678901234567890123456789012345678901234567890123456789012"};
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_true(snapshot_name_valid(good[i], strlen(good[i])));
}

static void two_backends_of_one_name_are_told(void **state)
{
	(void)state;
	strcpy(rig.names[1], rig.names[0]);
	expect("services[3].backends[1].name");
}

static void a_target_has_to_be_one(void **state)
{
	(void)state;
	rig.backends[0].target_case = MARCHER__ENGINE__V1__BACKEND__TARGET__NOT_SET;
	expect("services[3].backends[0].target");
	rig.backends[0].target_case = MARCHER__ENGINE__V1__BACKEND__TARGET_IP;
	rig.targets[0].address.len = 3;
	expect("services[3].backends[0].ip.address");
	rig.targets[0].address.len = 4;
	rig.backends[0].target_case = MARCHER__ENGINE__V1__BACKEND__TARGET_UNIX_PATH;
	rig.backends[0].unix_path = (char *)(uintptr_t) "/run/a.sock";
	expect("services[3].backends[0].unix_path"); /* the service has a UDP listener */
	rig.message.n_listeners = 1;
	rig.backends[0].unix_path = (char *)(uintptr_t) "relative";
	expect("services[3].backends[0].unix_path");
	Marcher__Engine__V1__DnsTarget dns = MARCHER__ENGINE__V1__DNS_TARGET__INIT;
	rig.backends[0].target_case = MARCHER__ENGINE__V1__BACKEND__TARGET_DNS;
	rig.backends[0].dns = &dns;
	static const char *const hosts[] = {"", "a b", ".a", "a/b", "\xff"};
	for (size_t i = 0; i < 5; i++) {
		dns.host = (char *)(uintptr_t)hosts[i];
		expect("services[3].backends[0].dns.host");
	}
	dns.host = (char *)(uintptr_t) "app.internal";
	rig.message.dns_max_ttl_ms = 10;
	expect("services[3].dns_max_ttl_ms");
}

static void a_source_address_is_of_the_targets_family(void **state)
{
	(void)state;
	uint8_t six[16] = {0x20, 1};
	rig.backends[1].source_address = (ProtobufCBinaryData){16, six};
	expect("services[3].backends[1].source_address");
	rig.backends[1].source_address.len = 5;
	expect("services[3].backends[1].source_address");
}

static void proxy_prefixes_are_for_tcp_and_within_their_family(void **state)
{
	(void)state;
	Marcher__Engine__V1__Prefix prefix = MARCHER__ENGINE__V1__PREFIX__INIT, *list[1] = {&prefix};
	prefix.address = (ProtobufCBinaryData){4, rig_loopback};
	prefix.length = 8;
	rig.listeners[1].accept_proxy_from = list;
	rig.listeners[1].n_accept_proxy_from = 1;
	expect("services[3].listeners[1].accept_proxy_from");
	rig.listeners[1].n_accept_proxy_from = 0;
	rig.listeners[0].accept_proxy_from = list;
	rig.listeners[0].n_accept_proxy_from = 1;
	prefix.length = 33;
	expect("services[3].listeners[0].accept_proxy_from[0]");
}

static void health_checks_are_checked_as_far_as_they_matter(void **state)
{
	(void)state;
	Marcher__Engine__V1__HealthCheck health = MARCHER__ENGINE__V1__HEALTH_CHECK__INIT;
	struct reasons reasons = {0};
	rig.message.health = &health;
	check(&reasons); /* type none: nothing else counts */
	assert_int_equal(reasons.count, 0);
	health.type = MARCHER__ENGINE__V1__PROBE_TYPE__PROBE_TYPE_HTTP;
	health.interval_ms = 1000;
	health.timeout_ms = 500;
	health.fall = health.rise = 2;
	health.http_method = (char *)(uintptr_t) "GET";
	health.http_path = (char *)(uintptr_t) "/ok";
	check(&reasons);
	assert_int_equal(reasons.count, 0);
	health.http_path = (char *)(uintptr_t) "/a\r\nX: y";
	expect("services[3].health.http_path");
	health.http_path = (char *)(uintptr_t) "/";
	health.http_host = (char *)(uintptr_t) "a\nb";
	expect("services[3].health.http_host");
	health.http_host = (char *)(uintptr_t) "";
	health.fall = 0;
	expect("services[3].health.fall");
	health.fall = 1;
	Marcher__Engine__V1__StatusRange range = MARCHER__ENGINE__V1__STATUS_RANGE__INIT, *list[1] = {&range};
	range.first = 300;
	range.last = 200;
	health.http_expect_status = list;
	health.n_http_expect_status = 1;
	expect("services[3].health.http_expect_status[0]");
	rig.message.health = NULL;
}

static void a_maglev_table_is_prime_and_large_enough(void **state)
{
	(void)state;
	rig.message.algorithm = MARCHER__ENGINE__V1__ALGORITHM__ALGORITHM_MAGLEV;
	static const uint32_t bad[] = {4, 1, 65536, 5000013};
	for (size_t i = 0; i < 4; i++) {
		rig.message.maglev_table_size = bad[i];
		expect("services[3].maglev_table_size");
	}
	struct reasons reasons = {0};
	rig.message.maglev_table_size = 65537;
	check(&reasons);
	assert_int_equal(reasons.count, 0);
}

static void all_reasons_come_at_once_and_are_bounded(void **state)
{
	(void)state;
	struct reasons reasons = {0};
	rig.backends[0].weight = rig.backends[1].weight = 1000;
	rig.listeners[0].port_first = 0;
	rig.message.algorithm = 0;
	check(&reasons);
	assert_int_equal(reasons.count, 4);
	for (unsigned i = 0; i < 1000; i++)
		check(&reasons);
	Marcher__Engine__V1__Reason **items;
	size_t count;
	reasons_take(&reasons, &items, &count);
	assert_int_equal(count, SNAPSHOT_REASONS_MAX);
	assert_string_equal(items[count - 1]->reason, "and 3005 more");
	reasons_free_items(items, count);
}

static void reasons_are_printable_whatever_the_input(void **state)
{
	(void)state;
	struct reasons reasons = {0};
	rig.message.name = (char *)(uintptr_t) "a\xff\x01\n";
	check(&reasons);
	assert_int_equal(reasons.count, 1);
	for (const char *c = reasons.items[0]->reason; *c; c++)
		assert_true((unsigned char)*c >= 0x20 && (unsigned char)*c < 0x7f);
	assert_string_equal(reasons.items[0]->service, "");
	reasons_free(&reasons);
}

static void a_scan_finds_the_parts(void **state)
{
	(void)state;
	Snapshot message = MARCHER__ENGINE__V1__SNAPSHOT__INIT;
	Marcher__Engine__V1__Node node = MARCHER__ENGINE__V1__NODE__INIT;
	Service *services[2] = {&rig.message, &rig.message};
	char *removed[1] = {(char *)(uintptr_t) "gone"};
	struct reasons reasons = {0};
	struct snapshot snapshot;
	size_t length;
	node.draining = 1;
	message.generation = 1ull << 40;
	message.base_generation = 7;
	message.node = &node;
	message.services = services;
	message.n_services = 2;
	message.removed_services = removed;
	message.n_removed_services = 1;
	uint8_t *packed = rig_pack(&message, &length);
	assert_true(snapshot_scan(packed, length, &snapshot, &reasons));
	assert_true(snapshot.generation == 1ull << 40);
	assert_int_equal(snapshot.base_generation, 7);
	assert_true(snapshot.has_node);
	assert_int_equal(snapshot.nservices, 2);
	assert_int_equal(snapshot.nremoved, 1);
	assert_memory_equal(snapshot.removed[0].data, "gone", 4);
	struct slice name = snapshot_service_name(snapshot.services[1]);
	assert_int_equal(name.length, 3);
	assert_memory_equal(name.data, "web", 3);
	snapshot_free(&snapshot);
	free(packed);
}

/* Every prefix of a snapshot, and every byte of it changed, is read or refused, never overrun. */
static void truncated_and_damaged_snapshots_are_harmless(void **state)
{
	(void)state;
	Snapshot message = MARCHER__ENGINE__V1__SNAPSHOT__INIT;
	Service *services[1] = {&rig.message};
	size_t length, refused = 0;
	message.generation = 1;
	message.services = services;
	message.n_services = 1;
	uint8_t *packed = rig_pack(&message, &length);
	for (size_t cut = 0; cut < length * 256; cut++) {
		size_t at = cut / 256, used = cut % 256 == 0 ? at : length;
		uint8_t *copy = malloc(used ? used : 1); /* of this very size: a sanitizer sees one byte too many */
		memcpy(copy, packed, used);
		if (at < used)
			copy[at] ^= (uint8_t)cut;
		struct snapshot snapshot;
		struct reasons reasons = {0};
		if (snapshot_scan(copy, used, &snapshot, &reasons)) {
			for (size_t i = 0; i < snapshot.nservices; i++) {
				snapshot_service_name(snapshot.services[i]);
				Service *service = snapshot_service(snapshot.services[i], i, &reasons);
				if (service)
					marcher__engine__v1__service__free_unpacked(service, NULL);
				else
					assert_true(reasons.count > 0);
			}
			snapshot_free(&snapshot);
		} else {
			assert_true(reasons.count > 0);
		}
		refused += reasons.count > 0;
		reasons_free(&reasons);
		free(copy);
	}
	assert_true(refused > length);
	free(packed);
}

static void more_parts_than_allowed_are_refused_before_they_cost_memory(void **state)
{
	(void)state;
	struct reasons reasons = {0};
	size_t length = 2 * (SNAPSHOT_BACKENDS_MAX + 1);
	uint8_t *packed = malloc(length);
	for (size_t i = 0; i < length; i += 2) {
		packed[i] = 3 << 3 | 2; /* an empty backend */
		packed[i + 1] = 0;
	}
	assert_null(snapshot_service((struct slice){packed, length}, 0, &reasons));
	assert_int_equal(reasons.count, 1);
	reasons_free(&reasons);
	free(packed);
	struct snapshot snapshot;
	length = 2 * (SNAPSHOT_SERVICES_MAX + 1);
	packed = malloc(length);
	for (size_t i = 0; i < length; i += 2) {
		packed[i] = 4 << 3 | 2;
		packed[i + 1] = 0;
	}
	assert_false(snapshot_scan(packed, length, &snapshot, &reasons));
	assert_int_equal(reasons.count, 1);
	reasons_free(&reasons);
	free(packed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup(a_lawful_service_passes, setup),
	        cmocka_unit_test_setup(numbers_out_of_range_are_told_with_their_path, setup),
	        cmocka_unit_test_setup(names_are_checked, setup),
	        cmocka_unit_test_setup(two_backends_of_one_name_are_told, setup),
	        cmocka_unit_test_setup(a_target_has_to_be_one, setup),
	        cmocka_unit_test_setup(a_source_address_is_of_the_targets_family, setup),
	        cmocka_unit_test_setup(proxy_prefixes_are_for_tcp_and_within_their_family, setup),
	        cmocka_unit_test_setup(health_checks_are_checked_as_far_as_they_matter, setup),
	        cmocka_unit_test_setup(a_maglev_table_is_prime_and_large_enough, setup),
	        cmocka_unit_test_setup(all_reasons_come_at_once_and_are_bounded, setup),
	        cmocka_unit_test_setup(reasons_are_printable_whatever_the_input, setup),
	        cmocka_unit_test_setup(a_scan_finds_the_parts, setup),
	        cmocka_unit_test_setup(truncated_and_damaged_snapshots_are_harmless, setup),
	        cmocka_unit_test_setup(more_parts_than_allowed_are_refused_before_they_cost_memory, setup),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
