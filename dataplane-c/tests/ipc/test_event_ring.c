/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ipc/event_ring.h"

#define CAPACITY 8u

static struct event_ring *new_ring(uint32_t capacity)
{
	size_t bytes = (event_ring_bytes(capacity) + 63) / 64 * 64;
	struct event_ring *ring = aligned_alloc(64, bytes);
	memset(ring, 0, bytes);
	return ring;
}

static bool put(struct event_ring *ring, uint32_t capacity, uint64_t id)
{
	struct marcher_event *event = event_ring_reserve(ring, capacity);
	if (!event)
		return false;
	event->connection_id = id;
	event->duration_us = ~id;
	event_ring_push(ring);
	return true;
}

static void events_come_out_in_order(void **state)
{
	(void)state;
	struct event_ring *ring = new_ring(CAPACITY);
	struct marcher_event out[CAPACITY];
	for (uint64_t round = 0; round < 10; round++) {
		for (uint64_t i = 0; i < 5; i++)
			assert_true(put(ring, CAPACITY, round * 5 + i));
		assert_int_equal(event_ring_read(ring, CAPACITY, out, 2), 2);
		assert_int_equal(event_ring_read(ring, CAPACITY, out + 2, CAPACITY), 3);
		for (uint64_t i = 0; i < 5; i++)
			assert_int_equal(out[i].connection_id, round * 5 + i);
	}
	assert_int_equal(event_ring_read(ring, CAPACITY, out, CAPACITY), 0);
	free(ring);
}

static void what_is_reserved_is_not_seen_before_it_is_pushed(void **state)
{
	(void)state;
	struct event_ring *ring = new_ring(CAPACITY);
	struct marcher_event out[CAPACITY];
	assert_non_null(event_ring_reserve(ring, CAPACITY));
	assert_int_equal(event_ring_read(ring, CAPACITY, out, CAPACITY), 0);
	event_ring_push(ring);
	assert_int_equal(event_ring_read(ring, CAPACITY, out, CAPACITY), 1);
	free(ring);
}

static void a_full_ring_refuses_until_it_is_read(void **state)
{
	(void)state;
	struct event_ring *ring = new_ring(CAPACITY);
	struct marcher_event out[1];
	for (uint64_t i = 0; i < CAPACITY; i++)
		assert_true(put(ring, CAPACITY, i));
	assert_false(put(ring, CAPACITY, 99));
	assert_int_equal(event_ring_read(ring, CAPACITY, out, 1), 1);
	assert_int_equal(out[0].connection_id, 0);
	assert_true(put(ring, CAPACITY, CAPACITY));
	assert_false(put(ring, CAPACITY, 99));
	free(ring);
}

static void an_impossible_consumer_index_cannot_make_the_producer_overrun(void **state)
{
	(void)state;
	struct event_ring *ring = new_ring(CAPACITY);
	struct marcher_event out[CAPACITY];
	assert_true(put(ring, CAPACITY, 1));
	ring->tail = 1000; /* ahead of the producer */
	assert_false(put(ring, CAPACITY, 2));
	assert_int_equal(event_ring_read(ring, CAPACITY, out, CAPACITY), 0); /* the consumer begins again */
	assert_true(put(ring, CAPACITY, 3));
	assert_int_equal(event_ring_read(ring, CAPACITY, out, CAPACITY), 1);
	assert_int_equal(out[0].connection_id, 3);
	free(ring);
}

static void rings_of_a_file_do_not_overlap(void **state)
{
	(void)state;
	size_t bytes = (4096 + 3 * event_ring_bytes(CAPACITY) + 63) / 64 * 64;
	struct event_file_header *header = aligned_alloc(64, bytes);
	memset(header, 0, bytes);
	header->capacity = CAPACITY;
	for (uint32_t i = 0; i < 3; i++)
		for (uint64_t k = 0; k < CAPACITY; k++)
			assert_true(put(event_ring_at(header, i), CAPACITY, i * 100 + k));
	for (uint32_t i = 0; i < 3; i++) {
		char *begin = (char *)event_ring_at(header, i);
		assert_true(begin + event_ring_bytes(CAPACITY) <=
		            (i < 2 ? (char *)event_ring_at(header, i + 1) : (char *)header + bytes));
		struct marcher_event out[CAPACITY];
		assert_int_equal(event_ring_read(event_ring_at(header, i), CAPACITY, out, CAPACITY), CAPACITY);
		for (uint64_t k = 0; k < CAPACITY; k++)
			assert_int_equal(out[k].connection_id, i * 100 + k);
	}
	free(header);
}

#define MANY 200000u

static void *produce(void *context)
{
	for (uint64_t i = 0; i < MANY;)
		i += put(context, 64, i);
	return NULL;
}

static void nothing_is_lost_or_torn_between_threads(void **state)
{
	(void)state;
	struct event_ring *ring = new_ring(64);
	pthread_t producer;
	uint64_t expected = 0;
	assert_int_equal(pthread_create(&producer, NULL, produce, ring), 0);
	while (expected < MANY) {
		struct marcher_event out[16];
		uint32_t n = event_ring_read(ring, 64, out, 16);
		for (uint32_t i = 0; i < n; i++, expected++) {
			assert_int_equal(out[i].connection_id, expected);
			assert_int_equal(out[i].duration_us, ~expected);
		}
	}
	pthread_join(producer, NULL);
	free(ring);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(events_come_out_in_order),
	        cmocka_unit_test(what_is_reserved_is_not_seen_before_it_is_pushed),
	        cmocka_unit_test(a_full_ring_refuses_until_it_is_read),
	        cmocka_unit_test(an_impossible_consumer_index_cannot_make_the_producer_overrun),
	        cmocka_unit_test(rings_of_a_file_do_not_overlap),
	        cmocka_unit_test(nothing_is_lost_or_torn_between_threads),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
