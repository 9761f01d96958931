/* SPDX-License-Identifier: Apache-2.0 */
/* Views made by hand, for tests of balancing: one backend and endpoint per entry. */
#ifndef TEST_VIEW_FIXTURE_H
#define TEST_VIEW_FIXTURE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lb/lb.h"

struct fixture {
	uint32_t count;
	struct backend *backends;
	struct endpoint *endpoints;
	struct service_id id;
	struct service service;
	struct view *view;
};

/* Backends "b<number>" at 10.0.x.y:80, numbers from first on. weights NULL: all 1. */
static inline void fixture_init(struct fixture *f, enum algorithm algorithm, uint32_t first, uint32_t count,
                                const uint32_t *weights)
{
	static uint64_t versions;
	memset(f, 0, sizeof(*f));
	f->count = count;
	f->backends = calloc(count, sizeof(*f->backends));
	f->endpoints = calloc(count, sizeof(*f->endpoints));
	f->view = calloc(1, sizeof(*f->view) + count * sizeof(struct view_entry));
	f->service.algorithm = algorithm;
	f->service.id = &f->id;
	f->service.view = f->view;
	f->view->version = ++versions;
	f->view->count = count;
	f->view->weight_scale = 1;
	for (uint32_t i = 0; i < count; i++) {
		uint32_t number = first + i;
		char name[32];
		snprintf(name, sizeof(name), "b%u", number);
		f->backends[i].name = strdup(name);
		f->endpoints[i].backend = &f->backends[i];
		f->endpoints[i].addr = (struct addr){.family = AF_INET, .port = 80};
		f->endpoints[i].addr.ip[0] = 10;
		f->endpoints[i].addr.ip[2] = (uint8_t)(number >> 8);
		f->endpoints[i].addr.ip[3] = (uint8_t)number;
		f->view->entries[i] =
		        (struct view_entry){.endpoint = &f->endpoints[i], .weight = weights ? weights[i] : 1};
	}
}

static inline void fixture_free(struct fixture *f)
{
	for (uint32_t i = 0; i < f->count; i++)
		free(f->backends[i].name);
	maglev_free(f->view->maglev);
	free(f->backends);
	free(f->endpoints);
	free(f->view);
}

/* A fixed sequence: tests have the same outcome each time. */
static inline uint64_t fixture_random(uint64_t *state)
{
	uint64_t x = (*state += 0x9e3779b97f4a7c15ull);
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

static inline struct addr fixture_client(uint32_t number)
{
	struct addr client = {.family = AF_INET, .port = (uint16_t)(number * 7919u)};
	client.ip[0] = 198;
	client.ip[1] = (uint8_t)(number >> 16);
	client.ip[2] = (uint8_t)(number >> 8);
	client.ip[3] = (uint8_t)number;
	return client;
}

#endif
