/* SPDX-License-Identifier: Apache-2.0 */
/* VLAN devices out of the kernel's answers. Not every kernel has such devices, so the answers are made up here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>

#include "control/packet_vlan.h"

struct answer {
	_Alignas(8) uint8_t bytes[4096];
	size_t length;
};

static void *append(struct answer *answer, const void *data, size_t size)
{
	uint8_t *at = answer->bytes + answer->length;

	if (size)
		memcpy(at, data, size);
	answer->length += NLMSG_ALIGN(size);
	return at;
}

static size_t begin(struct answer *answer, uint16_t type, int32_t index)
{
	struct {
		struct nlmsghdr header;
		struct ifinfomsg link;
	} message = {.header.nlmsg_type = type, .link.ifi_index = index};
	size_t at = answer->length;

	append(answer, &message, sizeof(message));
	return at;
}

static void end(struct answer *answer, size_t at)
{
	struct nlmsghdr *header = (struct nlmsghdr *)(answer->bytes + at);

	header->nlmsg_len = (uint32_t)(answer->length - at);
}

static size_t nest(struct answer *answer, uint16_t type)
{
	struct rtattr attribute = {.rta_type = type};
	size_t at = answer->length;

	append(answer, &attribute, sizeof(attribute));
	return at;
}

static void unnest(struct answer *answer, size_t at)
{
	struct rtattr *attribute = (struct rtattr *)(answer->bytes + at);

	attribute->rta_len = (uint16_t)(answer->length - at);
}

static void attribute(struct answer *answer, uint16_t type, const void *data, size_t size)
{
	struct rtattr header = {.rta_type = type, .rta_len = (uint16_t)RTA_LENGTH(size)};

	append(answer, &header, sizeof(header));
	append(answer, data, size);
}

static void add_vlan(struct answer *answer, int32_t index, uint32_t lower, uint16_t id, const char *kind,
                     bool elsewhere)
{
	uint16_t protocol = htons(0x88a8);
	int32_t namespace = 3;
	size_t message = begin(answer, RTM_NEWLINK, index);

	attribute(answer, IFLA_IFNAME, "eth0.5", 7);
	attribute(answer, IFLA_LINK, &lower, sizeof(lower));
	if (elsewhere)
		attribute(answer, IFLA_LINK_NETNSID, &namespace, sizeof(namespace));
	size_t info = nest(answer, IFLA_LINKINFO);
	attribute(answer, IFLA_INFO_KIND, kind, strlen(kind) + 1);
	size_t data = nest(answer, IFLA_INFO_DATA);
	attribute(answer, IFLA_VLAN_ID, &id, sizeof(id));
	if (id != 1)
		attribute(answer, IFLA_VLAN_PROTOCOL, &protocol, sizeof(protocol));
	unnest(answer, data);
	unnest(answer, info);
	end(answer, message);
}

static void devices_are_read_and_others_are_not(void **state)
{
	struct answer answer = {.length = 0};
	struct packet_vlan *list = calloc(VLAN_DEVICES_MAX, sizeof(*list));
	uint32_t count = 0;

	(void)state;
	end(&answer, begin(&answer, RTM_NEWLINK, 1)); /* the loopback device */
	add_vlan(&answer, 7, 2, 5, "vlan", false);
	add_vlan(&answer, 8, 2, 1, "vlan", false);
	add_vlan(&answer, 9, 2, 6, "vlan", true); /* its lower device is in another namespace */
	add_vlan(&answer, 10, 2, 6, "vlanx", false);
	add_vlan(&answer, 11, 0, 6, "vlan", false);
	assert_int_equal(packet_vlan_parse(answer.bytes, answer.length, list, &count), 0);
	assert_int_equal(count, 2);
	assert_int_equal(list[0].index, 7);
	assert_int_equal(list[0].device.lower, 2);
	assert_int_equal(ntohs(list[0].device.id), 5);
	assert_int_equal(ntohs(list[0].device.protocol), 0x88a8);
	assert_int_equal(list[1].index, 8);
	assert_int_equal(ntohs(list[1].device.protocol), 0x8100);
	free(list);
}

static void the_end_and_errors_are_told(void **state)
{
	struct answer done = {.length = 0}, failed = {.length = 0}, torn = {.length = 0};
	struct packet_vlan list[1];
	uint32_t count = 0;
	struct {
		struct nlmsghdr header;
		struct nlmsgerr error;
	} refusal = {.header = {.nlmsg_len = sizeof(refusal), .nlmsg_type = NLMSG_ERROR}, .error.error = -EPERM};

	(void)state;
	end(&done, begin(&done, NLMSG_DONE, 0));
	assert_int_equal(packet_vlan_parse(done.bytes, done.length, list, &count), 1);
	append(&failed, &refusal, sizeof(refusal));
	assert_int_equal(packet_vlan_parse(failed.bytes, failed.length, list, &count), -EPERM);
	end(&torn, begin(&torn, RTM_NEWLINK, 1));
	((struct nlmsghdr *)torn.bytes)->nlmsg_flags = NLM_F_DUMP_INTR;
	assert_int_equal(packet_vlan_parse(torn.bytes, torn.length, list, &count), -EINTR);
}

/* The last message need not fill its last four bytes: what lies behind them is not looked at. */
static void nothing_is_read_behind_an_odd_end(void **state)
{
	struct answer answer = {.length = 0};
	struct packet_vlan list[1];
	uint32_t count = 0;

	(void)state;
	end(&answer, begin(&answer, RTM_NEWLINK, 1));
	size_t odd = answer.length - 3;
	((struct nlmsghdr *)answer.bytes)->nlmsg_len = (uint32_t)odd;
	add_vlan(&answer, 7, 2, 5, "vlan", false);
	assert_int_equal(packet_vlan_parse(answer.bytes, odd, list, &count), 0);
	assert_int_equal(count, 0);
}

/* Every cut of an answer, and every length in it that lies. */
static void lying_lengths_are_survived(void **state)
{
	struct packet_vlan *list = calloc(VLAN_DEVICES_MAX, sizeof(*list));

	(void)state;
	struct answer answer = {.length = 0};
	add_vlan(&answer, 7, 2, 5, "vlan", false);
	for (size_t cut = 0; cut <= answer.length; cut++) {
		/* On the heap, where a sanitizer sees a read beyond the end. */
		uint8_t *copy = malloc(cut + 1);
		uint32_t count = 0;
		memcpy(copy, answer.bytes, cut);
		packet_vlan_parse(copy, cut, list, &count);
		assert_true(count <= 1);
		free(copy);
	}
	for (size_t at = 0; at < answer.length; at++)
		for (unsigned value = 0; value < 256; value += 5) {
			uint8_t *copy = malloc(answer.length);
			uint32_t count = 0;
			memcpy(copy, answer.bytes, answer.length);
			copy[at] = (uint8_t)value;
			packet_vlan_parse(copy, answer.length, list, &count);
			assert_true(count <= 1);
			free(copy);
		}
	free(list);
}

static void the_kernel_answers(void **state)
{
	struct packet_vlan *list = NULL;
	uint32_t count = UINT32_MAX;

	(void)state;
	assert_int_equal(packet_vlans(&list, &count), 0);
	assert_non_null(list);
	assert_true(count <= VLAN_DEVICES_MAX);
	free(list);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(devices_are_read_and_others_are_not),
	        cmocka_unit_test(the_end_and_errors_are_told),
	        cmocka_unit_test(nothing_is_read_behind_an_odd_end),
	        cmocka_unit_test(lying_lengths_are_survived),
	        cmocka_unit_test(the_kernel_answers),
	};
	return cmocka_run_group_tests_name("packet_vlan", tests, NULL, NULL);
}
