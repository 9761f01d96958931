/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "lb/geo.h"
#include "model.h"

/* ---- a small database, written by the format's specification (MaxMind DB 2.0): 24-bit records, an IPv6 tree ---- */

struct network {
	const char *prefix;
	unsigned length; /* in the IPv6 tree: IPv4 networks are below ::/96 */
	const char *country;
};

struct writer {
	uint8_t data[65536];
	size_t length;
};

static void put(struct writer *w, const void *bytes, size_t length)
{
	memcpy(w->data + w->length, bytes, length);
	w->length += length;
}

static void put_string(struct writer *w, const char *text)
{
	uint8_t control = (uint8_t)(2 << 5 | strlen(text));
	put(w, &control, 1);
	put(w, text, strlen(text));
}

static void put_map(struct writer *w, uint8_t pairs)
{
	uint8_t control = (uint8_t)(7 << 5 | pairs);
	put(w, &control, 1);
}

static void put_u16(struct writer *w, uint16_t value)
{
	uint8_t bytes[3] = {5 << 5 | 2, (uint8_t)(value >> 8), (uint8_t)value};
	put(w, bytes, 3);
}

static void put_u32(struct writer *w, uint32_t value)
{
	uint8_t bytes[5] = {6 << 5 | 4, (uint8_t)(value >> 24), (uint8_t)(value >> 16), (uint8_t)(value >> 8),
	                    (uint8_t)value};
	put(w, bytes, 5);
}

enum shape { FLAT, NESTED, NO_COUNTRY };

static char directory[] = "/tmp/marcher-geo-XXXXXX";
static char path[64];

static void write_database(enum shape shape, const struct network *networks, unsigned count)
{
	enum { NODES = 4096, EMPTY = -1 };
	static int tree[NODES][2];
	int nodes = 1;
	tree[0][0] = tree[0][1] = EMPTY;
	struct writer data = {.length = 0};
	size_t offsets[16];
	for (unsigned i = 0; i < count; i++) {
		offsets[i] = data.length;
		put_map(&data, 1);
		if (shape == FLAT) {
			put_string(&data, "country_code");
			put_string(&data, networks[i].country);
		} else if (shape == NESTED) {
			put_string(&data, "country");
			put_map(&data, 2);
			put_string(&data, "geoname_id");
			put_u32(&data, 42);
			put_string(&data, "iso_code");
			put_string(&data, networks[i].country);
		} else {
			put_string(&data, "autonomous_system");
			put_string(&data, "AS64500");
		}
		uint8_t ip[16];
		assert_int_equal(inet_pton(AF_INET6, networks[i].prefix, ip), 1);
		int node = 0;
		for (unsigned bit = 0; bit < networks[i].length; bit++) {
			int side = ip[bit / 8] >> (7 - bit % 8) & 1;
			if (bit + 1 == networks[i].length) {
				tree[node][side] = -2 - (int)i;
			} else {
				if (tree[node][side] == EMPTY) {
					assert_true(nodes < NODES);
					tree[nodes][0] = tree[nodes][1] = EMPTY;
					tree[node][side] = nodes++;
				}
				node = tree[node][side];
			}
		}
	}
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	for (int node = 0; node < nodes; node++) {
		for (int side = 0; side < 2; side++) {
			int to = tree[node][side];
			uint32_t record = to == EMPTY ? (uint32_t)nodes
			                  : to >= 0   ? (uint32_t)to
			                              : (uint32_t)(nodes + 16) + (uint32_t)offsets[-2 - to];
			uint8_t bytes[3] = {(uint8_t)(record >> 16), (uint8_t)(record >> 8), (uint8_t)record};
			fwrite(bytes, 1, 3, file);
		}
	}
	const uint8_t separator[16] = {0};
	fwrite(separator, 1, 16, file);
	fwrite(data.data, 1, data.length, file);
	struct writer meta = {.length = 0};
	put(&meta, "\xab\xcd\xefMaxMind.com", 14);
	put_map(&meta, 9);
	put_string(&meta, "build_epoch");
	put(&meta, "\x04\x02\x60\x00\x00\x00", 6); /* a uint64 of four bytes */
	put_string(&meta, "description");
	put_map(&meta, 0);
	put_string(&meta, "languages");
	put(&meta, "\x00\x04", 2); /* an empty array */
	put_string(&meta, "binary_format_major_version");
	put_u16(&meta, 2);
	put_string(&meta, "binary_format_minor_version");
	put_u16(&meta, 0);
	put_string(&meta, "database_type");
	put_string(&meta, "Test");
	put_string(&meta, "ip_version");
	put_u16(&meta, 6);
	put_string(&meta, "node_count");
	put_u32(&meta, (uint32_t)nodes);
	put_string(&meta, "record_size");
	put_u16(&meta, 24);
	fwrite(meta.data, 1, meta.length, file);
	fclose(file);
}

static struct addr address(const char *text)
{
	struct addr addr = {.family = strchr(text, ':') ? AF_INET6 : AF_INET};
	assert_int_equal(inet_pton(addr.family, text, addr.ip), 1);
	return addr;
}

static const struct network sample[] = {
        {"::203.0.113.0", 96 + 24, "DE"}, {"::198.51.100.0", 96 + 24, "US"},
        {"2001:db8::", 32, "JP"},         {"2001:db9::", 32, "dE"}, /* not country codes */
        {"2001:dba::", 32, "D3"},         {"2001:dbb::", 32, "1D"},
};

static void both_forms_of_records_are_read(void **context)
{
	(void)context;
	for (enum shape shape = FLAT; shape <= NESTED; shape++) {
		char error[256] = "";
		write_database(shape, sample, 6);
		struct geoip *geoip = geoip_open(path, error, sizeof(error));
		assert_string_equal(error, "");
		assert_non_null(geoip);
		const struct {
			const char *ip, *country;
		} cases[] = {
		        {"203.0.113.9", "DE"}, {"198.51.100.255", "US"}, {"192.0.2.1", NULL},   {"2001:db8::1", "JP"},
		        {"2001:db9::1", NULL}, {"2001:dba::1", NULL},    {"2001:dbb::1", NULL}, {"::1", NULL},
		        {"0.0.0.0", NULL},     {"255.255.255.255", NULL}};
		for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
			struct addr addr = address(cases[i].ip);
			assert_int_equal(geoip_country(geoip, &addr), country_code(cases[i].country));
		}
		struct addr local = {.family = AF_UNIX}, none = {0};
		assert_int_equal(geoip_country(geoip, &local), 0);
		assert_int_equal(geoip_country(geoip, &none), 0);
		geoip_close(geoip);
	}
}

static void the_file_may_be_cut_short_under_an_open_database(void **context)
{
	(void)context;
	char error[256];
	write_database(FLAT, sample, 6);
	struct geoip *geoip = geoip_open(path, error, sizeof(error));
	assert_non_null(geoip);
	assert_int_equal(truncate(path, 0), 0); /* a mapping of the file would now raise SIGBUS */
	struct addr addr = address("203.0.113.9");
	assert_int_equal(geoip_country(geoip, &addr), country_code("DE"));
	geoip_close(geoip);
}

static void assert_refused(const char *file, const char *reason)
{
	char error[256] = "";
	assert_null(geoip_open(file, error, sizeof(error)));
	if (!strstr(error, reason) || !strstr(error, file))
		fail_msg("expected \"%s\" and the path in: %s", reason, error);
}

static void unusable_files_are_refused_with_the_reason(void **context)
{
	(void)context;
	char missing[96];
	snprintf(missing, sizeof(missing), "%s/none.mmdb", directory);
	assert_refused(missing, "No such file");
	assert_refused(directory, "not a regular file");
	char fifo[96];
	snprintf(fifo, sizeof(fifo), "%s/fifo", directory);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	assert_refused(fifo, "not a regular file"); /* and it does not wait for a writer */
	unlink(fifo);
	FILE *file = fopen(path, "w");
	fputs("this is no database", file);
	fclose(file);
	assert_refused(path, "not a usable GeoIP database");
	file = fopen(path, "w");
	fclose(file);
	assert_refused(path, "not a usable GeoIP database");
	write_database(NO_COUNTRY, sample, 6);
	assert_refused(path, "holds no countries");
}

/* Whatever bytes are broken, opening and looking up end, and give a country or none. */
static void broken_databases_do_no_harm(void **context)
{
	(void)context;
	write_database(NESTED, sample, 6);
	FILE *file = fopen(path, "r");
	static uint8_t whole[65536], broken[65536];
	size_t length = fread(whole, 1, sizeof(whole), file);
	fclose(file);
	uint64_t random = 1;
	for (unsigned round = 0; round < 300; round++) {
		memcpy(broken, whole, length);
		size_t size = length;
		for (unsigned i = 0; i < 1 + round % 4; i++) {
			random = random * 6364136223846793005ull + 1442695040888963407ull;
			if (round % 5 == 4)
				size = (random >> 33) % length;
			else
				broken[(random >> 33) % length] = (uint8_t)(random >> 25);
		}
		file = fopen(path, "w");
		fwrite(broken, 1, size, file);
		fclose(file);
		char error[256];
		struct geoip *geoip = geoip_open(path, error, sizeof(error));
		for (unsigned i = 0; geoip && i < 3; i++) {
			struct addr addr = address(i == 0 ? "203.0.113.9" : i == 1 ? "2001:db8::1" : "8.8.8.8");
			(void)geoip_country(geoip, &addr);
		}
		geoip_close(geoip);
	}
}

/* The database that the agent ships, when the build knows where it is. */
static void the_embedded_database_knows_well_known_networks(void **context)
{
	(void)context;
	const char *embedded = getenv("MARCHER_TEST_GEOIP");
	if (!embedded || access(embedded, F_OK))
		skip();
	char error[256] = "";
	struct geoip *geoip = geoip_open(embedded, error, sizeof(error));
	assert_string_equal(error, "");
	struct addr v4 = address("193.0.6.139"), v6 = address("2001:67c:2e8:22::c100:68b"); /* RIPE NCC, Amsterdam */
	assert_int_equal(geoip_country(geoip, &v4), country_code("NL"));
	assert_int_equal(geoip_country(geoip, &v6), country_code("NL"));
	struct addr private = address("10.1.2.3");
	assert_int_equal(geoip_country(geoip, &private), 0);
	geoip_close(geoip);
}

static void regions_are_interned_without_regard_to_case(void **context)
{
	(void)context;
	region_init();
	region_init(); /* twice does no harm */
	assert_int_equal(region_intern(""), 0);
	assert_int_equal(region_intern(NULL), 0);
	assert_int_equal(region_intern("EU"), region_intern("eu"));
	assert_int_equal(region_intern("Europe"), region_intern("eu"));
	assert_int_equal(region_intern("north-america"), region_of_country(country_code("CA")));
	uint16_t own = region_intern("frankfurt-2");
	assert_int_not_equal(own, 0);
	assert_int_equal(region_intern("Frankfurt-2"), own);
	assert_int_not_equal(own, region_intern("frankfurt-3"));
	assert_int_equal(region_intern("a name of more than thirty-one bytes"), 0);
}

static void every_country_has_a_region(void **context)
{
	(void)context;
	region_init();
	const struct {
		const char *country, *region;
	} known[] = {{"DE", "eu"}, {"GB", "eu"}, {"RU", "eu"}, {"TR", "as"}, {"US", "na"}, {"MX", "na"},
	             {"BR", "sa"}, {"JP", "as"}, {"IN", "as"}, {"AE", "as"}, {"ZA", "af"}, {"EG", "af"},
	             {"AU", "oc"}, {"NZ", "oc"}, {"AQ", "an"}, {"XK", "eu"}, {"ZW", "af"}, {"AD", "eu"}};
	for (unsigned i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		assert_int_equal(region_of_country(country_code(known[i].country)), region_intern(known[i].region));
	unsigned countries = 0;
	for (char a = 'A'; a <= 'Z'; a++) {
		for (char b = 'A'; b <= 'Z'; b++) {
			char code[3] = {a, b, 0};
			countries += region_of_country(country_code(code)) != 0;
		}
	}
	assert_int_equal(countries, 249 + 2); /* ISO 3166-1, XK and EU */
	assert_int_equal(region_of_country(0), 0);
	assert_int_equal(region_of_country(country_code("zz")), 0);
	assert_int_equal(region_of_country(0xffff), 0);
}

/* Last: it fills the table. */
static void a_full_table_gives_no_more_names(void **context)
{
	(void)context;
	char name[16];
	for (unsigned i = 0; i < 2000; i++) {
		snprintf(name, sizeof(name), "region-%u", i);
		uint16_t region = region_intern(name);
		assert_true(region < 1024);
		if (i > 1100)
			assert_int_equal(region, 0);
	}
	assert_int_not_equal(region_intern("eu"), 0);
	assert_int_not_equal(region_intern("region-5"), 0);
}

int main(void)
{
	if (!mkdtemp(directory))
		return 1;
	snprintf(path, sizeof(path), "%s/test.mmdb", directory);
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(both_forms_of_records_are_read),
	        cmocka_unit_test(the_file_may_be_cut_short_under_an_open_database),
	        cmocka_unit_test(unusable_files_are_refused_with_the_reason),
	        cmocka_unit_test(broken_databases_do_no_harm),
	        cmocka_unit_test(the_embedded_database_knows_well_known_networks),
	        cmocka_unit_test(regions_are_interned_without_regard_to_case),
	        cmocka_unit_test(every_country_has_a_region),
	        cmocka_unit_test(a_full_table_gives_no_more_names),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(path);
	rmdir(directory);
	return failed;
}
