/* SPDX-License-Identifier: Apache-2.0 */
/* A library that exports a function of libprotobuf-c's name: loaded before libmarcher, it takes that one's place. */
#include <stddef.h>

void protobuf_c_message_free_unpacked(void *message, void *allocator);

void protobuf_c_message_free_unpacked(void *message, void *allocator)
{
	(void)message;
	(void)allocator;
}
