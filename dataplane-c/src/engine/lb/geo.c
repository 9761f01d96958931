/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Countries and regions.
 *
 * Region names are the operator's own; they are compared whole and without regard to case. The built-in table puts
 * every country into one of seven regions by continent: eu (Europe, with Russia and Cyprus), na (North and Central
 * America and the Caribbean), sa (South America), as (Asia, with the Middle East, Turkey and the Caucasus), af
 * (Africa), oc (Oceania), an (Antarctica and its islands). So "same region as the client" works for backends whose
 * region is one of these or an alias of one (europe, north-america, south-america, asia, africa, oceania, antarctica);
 * finer names, such as eu-west, are compared with the node's own region only.
 */
#include "geo.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <maxminddb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define DATABASE_BYTES_MAX (1u << 30)
#define SAMPLE_RECORDS 256u /* looked at when a database is opened */
#define SAMPLE_NODES 8192u
#define REGIONS_MAX 1024u
#define REGION_NAME_MAX 32u

struct geoip {
	MMDB_s mmdb;
	bool flat; /* country_code at the top, not country.iso_code */
};

/* ---- the database ---- */

static uint16_t code_of(const MMDB_entry_data_s *data)
{
	if (!data->has_data || data->type != MMDB_DATA_TYPE_UTF8_STRING || data->data_size != 2)
		return 0;
	uint8_t first = (uint8_t)data->utf8_string[0], second = (uint8_t)data->utf8_string[1];
	if (first < 'A' || first > 'Z' || second < 'A' || second > 'Z')
		return 0;
	return (uint16_t)(first << 8 | second);
}

static uint16_t country_in(MMDB_entry_s *entry, bool flat)
{
	static const char *const flat_path[] = {"country_code", NULL};
	static const char *const nested_path[] = {"country", "iso_code", NULL};
	MMDB_entry_data_s data;
	if (MMDB_aget_value(entry, &data, flat ? flat_path : nested_path) != MMDB_SUCCESS)
		return 0;
	return code_of(&data);
}

/* Copies the file into memory of our own: libmaxminddb maps its file, and a mapped file that someone truncates and
 * writes anew in place, as cp does, would kill the process with SIGBUS. Returns a descriptor, or -errno. */
static int copy_to_memory(const char *path)
{
	int in = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (in < 0)
		return -errno;
	struct stat st;
	int out = -1, error = 0;
	if (fstat(in, &st) < 0)
		error = errno;
	else if (!S_ISREG(st.st_mode))
		error = EINVAL;
	else if (st.st_size > (off_t)DATABASE_BYTES_MAX)
		error = EFBIG;
	else if ((out = memfd_create("geoip", MFD_CLOEXEC)) < 0)
		error = errno;
	uint8_t block[65536];
	size_t total = 0;
	while (!error) {
		ssize_t n = read(in, block, sizeof(block));
		if (n <= 0) {
			if (n < 0 && errno == EINTR)
				continue;
			error = n < 0 ? errno : 0;
			break;
		}
		total += (size_t)n;
		if (total > DATABASE_BYTES_MAX)
			error = EFBIG;
		for (ssize_t done = 0; !error && done < n;) {
			ssize_t w = write(out, block + done, (size_t)(n - done));
			if (w < 0 && errno != EINTR)
				error = errno;
			else if (w > 0)
				done += w;
		}
	}
	close(in);
	if (error) {
		if (out >= 0)
			close(out);
		return -error;
	}
	return out;
}

/* Looks at the first records for countries, and notes where they stand. false: none has one. */
static bool find_countries(struct geoip *geoip)
{
	uint32_t stack[160];
	uint32_t depth = 0, nodes = 0, records = 0, flat = 0, nested = 0;
	stack[depth++] = 0;
	while (depth && nodes++ < SAMPLE_NODES && records < SAMPLE_RECORDS) {
		MMDB_search_node_s node;
		if (MMDB_read_node(&geoip->mmdb, stack[--depth], &node) != MMDB_SUCCESS)
			break;
		struct {
			uint64_t record;
			uint8_t type;
			MMDB_entry_s *entry;
		} sides[2] = {{node.right_record, node.right_record_type, &node.right_record_entry},
		              {node.left_record, node.left_record_type, &node.left_record_entry}};
		for (unsigned i = 0; i < 2; i++) {
			if (sides[i].type == MMDB_RECORD_TYPE_SEARCH_NODE && depth < sizeof(stack) / sizeof(stack[0])) {
				stack[depth++] = (uint32_t)sides[i].record;
			} else if (sides[i].type == MMDB_RECORD_TYPE_DATA) {
				records++;
				flat += country_in(sides[i].entry, true) != 0;
				nested += country_in(sides[i].entry, false) != 0;
			}
		}
	}
	geoip->flat = flat > nested;
	return flat || nested;
}

/* The database's content is copied; the file may change or go afterwards. */
struct geoip *geoip_open(const char *path, char *error, size_t error_size)
{
	int fd = copy_to_memory(path);
	if (fd < 0) {
		snprintf(error, error_size,
		         "cannot read the GeoIP database %s: %s; expected a MaxMind-format file (.mmdb)", path,
		         -fd == EINVAL ? "not a regular file" : strerror(-fd));
		return NULL;
	}
	struct geoip *geoip = calloc(1, sizeof(*geoip));
	if (!geoip) {
		close(fd);
		snprintf(error, error_size, "out of memory for the GeoIP database %s", path);
		return NULL;
	}
	char own[32];
	snprintf(own, sizeof(own), "/proc/self/fd/%d", fd);
	int status = MMDB_open(own, MMDB_MODE_MMAP, &geoip->mmdb);
	close(fd);
	if (status != MMDB_SUCCESS) {
		snprintf(error, error_size,
		         "%s is not a usable GeoIP database: %s; expected a MaxMind-format file (.mmdb)", path,
		         MMDB_strerror(status));
		free(geoip);
		return NULL;
	}
	if (!find_countries(geoip)) {
		snprintf(error, error_size,
		         "%s (type %s) holds no countries: expected country.iso_code or country_code in its records; "
		         "use a country or city database",
		         path, geoip->mmdb.metadata.database_type ? geoip->mmdb.metadata.database_type : "unknown");
		geoip_close(geoip);
		return NULL;
	}
	return geoip;
}

void geoip_close(struct geoip *geoip)
{
	if (!geoip)
		return;
	MMDB_close(&geoip->mmdb);
	free(geoip);
}

uint16_t geoip_country(const struct geoip *geoip, const struct addr *addr)
{
	union {
		struct sockaddr sa;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	} address = {.sa.sa_family = addr->family};
	if (addr->family == AF_INET)
		memcpy(&address.in.sin_addr, addr->ip, 4);
	else if (addr->family == AF_INET6)
		memcpy(&address.in6.sin6_addr, addr->ip, 16);
	else
		return 0;
	int error;
	MMDB_lookup_result_s result = MMDB_lookup_sockaddr(&geoip->mmdb, &address.sa, &error);
	if (error != MMDB_SUCCESS || !result.found_entry)
		return 0;
	uint16_t country = country_in(&result.entry, geoip->flat);
	return country ? country : country_in(&result.entry, !geoip->flat);
}

/* ---- regions ---- */

static char region_names[REGIONS_MAX][REGION_NAME_MAX]; /* [0] is "none" */
static uint16_t nregions = 1;
static uint16_t country_region[26 * 26];

static const struct {
	const char *alias, *name;
} aliases[] = {
        {"europe", "eu"},        {"north-america", "na"}, {"northamerica", "na"},
        {"south-america", "sa"}, {"southamerica", "sa"},  {"asia", "as"},
        {"africa", "af"},        {"oceania", "oc"},       {"antarctica", "an"},
};

/* ISO 3166-1 alpha-2, all 249, with XK (Kosovo, user-assigned) and EU (exceptionally reserved; some databases have it).
 */
static const struct {
	const char *name, *countries;
} continents[] = {
        {"eu",
         "AD AL AT AX BA BE BG BY CH CY CZ DE DK EE ES EU FI FO FR GB GG GI GR HR HU IE IM IS IT JE LI LT LU LV MC MD "
         "ME MK MT NL NO PL PT RO RS RU SE SI SJ SK SM UA VA XK"},
        {"na",
         "AG AI AW BB BL BM BQ BS BZ CA CR CU CW DM DO GD GL GP GT HN HT JM KN KY LC MF MQ MS MX NI PA PM PR SV SX TC "
         "TT US VC VG VI"},
        {"sa", "AR BO BR CL CO EC FK GF GY PE PY SR UY VE"},
        {"as",
         "AE AF AM AZ BD BH BN BT CC CN CX GE HK ID IL IN IO IQ IR JO JP KG KH KP KR KW KZ LA LB LK MM MN MO MV MY NP "
         "OM PH PK PS QA SA SG SY TH TJ TL TM TR TW UZ VN YE"},
        {"af",
         "AO BF BI BJ BW CD CF CG CI CM CV DJ DZ EG EH ER ET GA GH GM GN GQ GW KE KM LR LS LY MA MG ML MR MU MW MZ NA "
         "NE NG RE RW SC SD SH SL SN SO SS ST SZ TD TG TN TZ UG YT ZA ZM ZW"},
        {"oc", "AS AU CK FJ FM GU KI MH MP NC NF NR NU NZ PF PG PN PW SB TK TO TV UM VU WF WS"},
        {"an", "AQ BV GS HM TF"},
};

/* Names longer than 31 bytes count as unknown, as they cannot be in the configuration. */
uint16_t region_intern(const char *name)
{
	char lower[REGION_NAME_MAX];
	size_t length = name ? strlen(name) : 0;
	if (!length || length >= sizeof(lower))
		return 0;
	for (size_t i = 0; i <= length; i++)
		lower[i] = (char)tolower((unsigned char)name[i]);
	const char *canonical = lower;
	for (size_t i = 0; i < sizeof(aliases) / sizeof(aliases[0]); i++) {
		if (strcmp(lower, aliases[i].alias) == 0)
			canonical = aliases[i].name;
	}
	for (uint16_t i = 1; i < nregions; i++) {
		if (strcmp(region_names[i], canonical) == 0)
			return i;
	}
	if (nregions == REGIONS_MAX)
		return 0;
	memcpy(region_names[nregions], canonical, strlen(canonical) + 1);
	return nregions++;
}

static int country_index(uint16_t country)
{
	int first = (country >> 8) - 'A', second = (country & 0xff) - 'A';
	return first < 0 || first > 25 || second < 0 || second > 25 ? -1 : first * 26 + second;
}

void region_init(void)
{
	for (size_t i = 0; i < sizeof(continents) / sizeof(continents[0]); i++) {
		uint16_t region = region_intern(continents[i].name);
		for (const char *c = continents[i].countries; *c; c += c[2] ? 3 : 2)
			country_region[country_index((uint16_t)((uint8_t)c[0] << 8 | (uint8_t)c[1]))] = region;
	}
}

uint16_t region_of_country(uint16_t country)
{
	int index = country_index(country);
	return index < 0 ? 0 : country_region[index];
}
