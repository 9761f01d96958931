/* SPDX-License-Identifier: Apache-2.0 */
/* The self-check of the shared library, MARCHER_TEST_LIBRARY, as a process that loads it sees it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ctype.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "marcher.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

static int (*self_check)(char *, size_t);
static const char *(*last_error)(struct marcher *);

static void load(void)
{
	const char *path = getenv("MARCHER_TEST_LIBRARY");
	void *library = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
	if (!library)
		fail_msg("MARCHER_TEST_LIBRARY: %s", path ? dlerror() : "not set: run the tests by meson");
	*(void **)&self_check = dlsym(library, "marcher_self_check");
	*(void **)&last_error = dlsym(library, "marcher_last_error");
	assert_non_null(self_check);
	assert_non_null(last_error);
}

/* A strict reader of JSON: returns what follows the value, NULL when there is none. */
static const char *json_value(const char *at, int depth);

static const char *json_string(const char *at)
{
	if (*at++ != '"')
		return NULL;
	for (; *at != '"'; at++) {
		if ((unsigned char)*at < ' ')
			return NULL;
		if (*at == '\\' && !strchr("\"\\/bfnrt", *++at))
			return NULL;
	}
	return at + 1;
}

static const char *json_members(const char *at, bool named, char end, int depth)
{
	if (*++at == end)
		return at + 1;
	for (;; at++) {
		if (named && (!(at = json_string(at)) || *at++ != ':'))
			return NULL;
		at = json_value(at, depth + 1);
		if (!at || *at == end)
			return at ? at + 1 : NULL;
		if (*at != ',')
			return NULL;
	}
}

static const char *json_value(const char *at, int depth)
{
	if (depth > 8)
		return NULL;
	if (*at == '{' || *at == '[')
		return json_members(at, *at == '{', *at == '{' ? '}' : ']', depth);
	if (!strncmp(at, "true", 4))
		return at + 4;
	if (!strncmp(at, "false", 5))
		return at + 5;
	return json_string(at);
}

static bool is_json(const char *text)
{
	const char *end = json_value(text, 0);
	return end && !*end;
}

static void the_reader_of_json_knows_what_is_none(void **state)
{
	static const char *const bad[] = {"",        "{",       "{\"a\":}",     "{\"a\":true,}", "[true",
	                                  "\"\\x\"", "[true]]", "{\"a\" true}", "\"a\nb\"",      "tru"};
	(void)state;
	assert_true(is_json("{\"ok\":true,\"a\":[{\"b\":\"c\\\\\"},\"d\"],\"e\":[]}"));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(is_json(bad[i]));
}

static void every_symbol_comes_from_where_it_was_linked_from(void **state)
{
	static char report[1 << 18];
	(void)state;
	int code = self_check(report, sizeof(report));
	assert_true(is_json(report));
	assert_non_null(strstr(report, "\"symbol\":\"protobuf_c_message_unpack\",\"expected\":\"libprotobuf-c.so.1\""));
	assert_non_null(strstr(report, "\"forbidden\":[]"));
	if (!SANITIZED) {
		if (code)
			fail_msg("%s: %s", last_error(NULL), report);
		assert_ptr_equal(strstr(report, "{\"ok\":true,\"libraries\":["), report);
		assert_null(strstr(report, "\"ok\":false"));
		return;
	}
	/* A sanitizer takes the place of the C library's functions, and of no others. */
	for (char *entry = report; (entry = strstr(entry, "\"expected\":\"")); entry++) {
		char *end = strchr(entry, '}');
		*end = '\0';
		if (strstr(entry, "\"ok\":false")) {
			assert_non_null(strstr(entry, "\"expected\":\"libc.so.6\""));
			if (!strstr(entry, "san") && !strstr(entry, "test-control-self_check"))
				fail_msg("%s", entry);
		}
		*end = '}';
	}
}

static void a_buffer_that_is_too_small_stays_empty_and_the_size_is_told(void **state)
{
	static char whole[1 << 18], part[1 << 18];
	unsigned long need = 0;
	(void)state;
	int code = self_check(whole, sizeof(whole));
	size_t length = strlen(whole);
	assert_true(length > 100);
	for (size_t size = 1; size <= length; size = size < length && size * 3 > length ? length : size * 3) {
		memset(part, '#', sizeof(part));
		assert_int_equal(self_check(part, size), MARCHER_E_INVALID);
		assert_int_equal(part[0], '\0');
		for (size_t i = size; i < sizeof(part); i++)
			assert_int_equal(part[i], '#');
		const char *told = strstr(last_error(NULL), "needs ");
		assert_non_null(told);
		assert_int_equal(sscanf(told, "needs %lu bytes", &need), 1);
		assert_int_equal(need, length + 1);
		if (size == length)
			break;
	}
	memset(part, '#', sizeof(part));
	assert_int_equal(self_check(part, need), code);
	assert_string_equal(part, whole);
	assert_int_equal(part[need], '#');
	assert_int_equal(self_check(NULL, 100), MARCHER_E_INVALID);
	assert_int_equal(self_check(part, 0), MARCHER_E_INVALID);
}

/* In a process of its own, before this one has loaded the library. Returns 0 or the line that was not so. */
static int behind_an_impostor(void)
{
	static char report[1 << 18];
	const char *path = getenv("MARCHER_TEST_IMPOSTOR");

	if (!path || !dlopen(path, RTLD_NOW | RTLD_GLOBAL))
		return __LINE__;
	load();
	if (self_check(report, sizeof(report)) != MARCHER_E_SYSTEM)
		return __LINE__;
	if (!is_json(report) || strncmp(report, "{\"ok\":false,", 12) != 0)
		return __LINE__;
	char *entry = strstr(report, "\"symbol\":\"protobuf_c_message_free_unpacked\"");
	if (!entry)
		return __LINE__;
	*strchr(entry, '}') = '\0';
	if (!strstr(entry, "libimpostor.so") || !strstr(entry, "\"ok\":false"))
		return __LINE__;
	return strstr(last_error(NULL), "resolve") ? 0 : __LINE__;
}

static int impostor_status;

static void a_symbol_that_another_library_took_over_is_found(void **state)
{
	(void)state;
	assert_true(WIFEXITED(impostor_status));
	assert_int_equal(WEXITSTATUS(impostor_status), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(the_reader_of_json_knows_what_is_none),
	        cmocka_unit_test(every_symbol_comes_from_where_it_was_linked_from),
	        cmocka_unit_test(a_buffer_that_is_too_small_stays_empty_and_the_size_is_told),
	        cmocka_unit_test(a_symbol_that_another_library_took_over_is_found),
	};
	pid_t child = fork();
	if (!child)
		_exit(behind_an_impostor());
	if (child < 0 || waitpid(child, &impostor_status, 0) != child)
		return 1;
	load();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
