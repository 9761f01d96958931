/* SPDX-License-Identifier: Apache-2.0 */
/* Snapshots: everything that runs on a packed one before the runtime acts on it. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "snapshot.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_reasons(const struct reasons *reasons)
{
	if (reasons->count > SNAPSHOT_REASONS_MAX)
		abort();
	for (size_t i = 0; i < reasons->count; i++) {
		if (!reasons->items[i]->reason || !*reasons->items[i]->reason || !reasons->items[i]->path)
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct snapshot snapshot;
	struct reasons reasons = {0};

	memset(&snapshot, 0, sizeof(snapshot));
	if (!snapshot_scan(data, size, &snapshot, &reasons)) {
		if (!reasons_any(&reasons)) /* a refusal always says why */
			abort();
	} else {
		for (size_t i = 0; i < snapshot.nservices; i++) {
			struct slice name = snapshot_service_name(snapshot.services[i]);
			snapshot_name_valid((const char *)name.data, name.length);
			size_t before = reasons.count + reasons.omitted;
			Marcher__Engine__V1__Service *service = snapshot_service(snapshot.services[i], i, &reasons);
			if (!service && reasons.count + reasons.omitted == before && !reasons.no_memory)
				abort();
			if (service)
				marcher__engine__v1__service__free_unpacked(service, NULL);
		}
		if (snapshot.has_node) {
			Marcher__Engine__V1__Node *node = snapshot_node(snapshot.node, &reasons);
			if (node)
				marcher__engine__v1__node__free_unpacked(node, NULL);
		}
	}
	check_reasons(&reasons);
	snapshot_free(&snapshot);
	reasons_free(&reasons);
	return 0;
}
