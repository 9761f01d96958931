/* SPDX-License-Identifier: Apache-2.0 */
/* Where a client is: country by a MaxMind-format database, region by country. */
#ifndef ENGINE_GEO_H
#define ENGINE_GEO_H

#include "../addr.h"

struct geoip;

/* Maps the database at path. NULL with a sentence in error. */
struct geoip *geoip_open(const char *path, char *error, size_t error_size);
void geoip_close(struct geoip *geoip);
/* 0: unknown. Reads country.iso_code, or country_code (the flat form of ip-location-db). */
uint16_t geoip_country(const struct geoip *geoip, const struct addr *addr);

/* Interned region names: small numbers to compare. 0 for an empty name or when the table (1,024) is full. Main thread.
 */
uint16_t region_intern(const char *name);
/* The region of a country by a fixed table ("eu", "na", "sa", "as", "af", "oc"), interned; 0: unknown. Any thread,
 * after region_init(). */
void region_init(void);
uint16_t region_of_country(uint16_t country);

#endif
