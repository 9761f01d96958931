/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"

static const size_t sizes[] = {1, 8, 24, 63, 64, 65, 300, 320, 4096, 16384, 70000};
#define SIZES (sizeof(sizes) / sizeof(sizes[0]))

static void objects_are_zeroed_aligned_and_apart(void **state)
{
	(void)state;
	enum { N = 400 };
	for (unsigned s = 0; s < SIZES; s++) {
		struct slab *slab = slab_new(sizes[s]);
		uint8_t *objects[N];
		for (unsigned round = 0; round < 2; round++) {
			for (unsigned i = 0; i < N; i++) {
				objects[i] = slab_alloc(slab);
				assert_non_null(objects[i]);
				assert_int_equal((uintptr_t)objects[i] % (sizes[s] >= 64 ? 64 : 8), 0);
				for (size_t at = 0; at < sizes[s]; at++)
					assert_int_equal(objects[i][at], 0);
				memset(objects[i], (int)(i & 0x7f) + 1, sizes[s]);
			}
			for (unsigned i = 0; i < N; i++) {
				assert_int_equal(objects[i][0], (i & 0x7f) + 1);
				assert_int_equal(objects[i][sizes[s] - 1], (i & 0x7f) + 1);
				slab_free(slab, objects[i]);
			}
		}
		slab_delete(slab);
	}
}

static void empty_chunks_go_back_but_for_a_reserve(void **state)
{
	(void)state;
	enum { N = 20000 };
	struct slab *slab = slab_new(320);
	struct slab_stats stats;
	void **objects = calloc(N, sizeof(*objects));
	for (unsigned i = 0; i < N; i++)
		objects[i] = slab_alloc(slab);
	slab_stats(slab, &stats);
	assert_int_equal(stats.objects_used, N);
	assert_true(stats.bytes_reserved >= N * 320ull && stats.bytes_reserved < N * 340ull + 131072);
	for (unsigned i = 0; i < N; i++)
		slab_free(slab, objects[(i * 7919u) % N]);
	slab_stats(slab, &stats);
	assert_int_equal(stats.objects_used, 0);
	assert_true(stats.bytes_reserved <= 2 * 65536);
	free(objects);
	slab_delete(slab);
}

static void random_use_never_hands_out_an_object_twice(void **state)
{
	(void)state;
	enum { N = 2000 };
	struct slab *slab = slab_new(48);
	uint64_t *objects[N] = {0};
	uint64_t random = 88172645463325252ull;
	size_t used = 0;
	for (unsigned step = 0; step < 200000; step++) {
		random ^= random << 13;
		random ^= random >> 7;
		random ^= random << 17;
		unsigned i = (unsigned)(random % N);
		if (objects[i]) {
			assert_int_equal(objects[i][0], i + 1);
			assert_int_equal(objects[i][5], i + 1);
			slab_free(slab, objects[i]);
			objects[i] = NULL;
			used--;
		} else {
			objects[i] = slab_alloc(slab);
			assert_non_null(objects[i]);
			assert_int_equal(objects[i][0], 0);
			objects[i][0] = objects[i][5] = i + 1;
			used++;
		}
	}
	struct slab_stats stats;
	slab_stats(slab, &stats);
	assert_int_equal(stats.objects_used, used);
	slab_delete(slab);
}

static void impossible_sizes_are_refused(void **state)
{
	(void)state;
	assert_null(slab_new(0));
	assert_null(slab_new(SIZE_MAX));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(objects_are_zeroed_aligned_and_apart),
	        cmocka_unit_test(empty_chunks_go_back_but_for_a_reserve),
	        cmocka_unit_test(random_use_never_hands_out_an_object_twice),
	        cmocka_unit_test(impossible_sizes_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
