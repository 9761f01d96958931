/* SPDX-License-Identifier: Apache-2.0 */
#include "rig.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "marcher/engine/v1/snapshot.pb-c.h"

uint64_t rig_now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

void rig_pause(void)
{
	nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
}

const char *rig_engine(void)
{
	const char *path = getenv("MARCHER_FAKE_ENGINE");
	if (!path)
		fail_msg("MARCHER_FAKE_ENGINE is not set: run the tests by meson, or set it to the built fake-engine");
	return path;
}

static int bound(uint16_t *port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&address, size), 0);
	getsockname(fd, (struct sockaddr *)&address, &size);
	*port = ntohs(address.sin_port);
	return fd;
}

static void forget_demands(void)
{
	unsetenv("FAKE_ENGINE_FAIL");
	unsetenv("FAKE_ENGINE_NO_LOAD");
	unsetenv("FAKE_ENGINE_HANG");
	unsetenv("FAKE_ENGINE_GARBAGE");
	unsetenv("FAKE_ENGINE_TORN_LISTENERS");
	unsetenv("FAKE_ENGINE_RESTLESS");
}

int rig_setup(void **state)
{
	struct rig *rig = calloc(1, sizeof(*rig));
	strcpy(rig->dir, "/tmp/marcher-test-XXXXXX");
	assert_non_null(mkdtemp(rig->dir));
	int first = bound(&rig->ports[0]), second = bound(&rig->ports[1]);
	close(first);
	close(second);
	forget_demands();
	*state = rig;
	return 0;
}

static void remove_tree(const char *dir)
{
	DIR *open = opendir(dir);
	struct dirent *entry;
	while (open && (entry = readdir(open)))
		unlinkat(dirfd(open), entry->d_name, 0);
	if (open)
		closedir(open);
	rmdir(dir);
}

int rig_teardown(void **state)
{
	struct rig *rig = *state;
	forget_demands();
	if (rig->marcher) {
		struct marcher_engine_status status = rig_status(rig);
		marcher_stop(rig->marcher, 0);
		marcher_close(rig->marcher);
		if (status.running && status.pid > 0)
			kill(status.pid, SIGKILL);
	}
	remove_tree(rig->dir);
	free(rig);
	return 0;
}

int rig_open(struct rig *rig, struct marcher **out)
{
	struct marcher_options options = {
	        .size = sizeof(options),
	        .engine_path = rig_engine(),
	        .run_dir = rig->dir,
	        .heartbeat_ms = 250, /* three without an answer are a hang: a busy machine is none */
	        .request_timeout_ms = 3000,
	};
	return marcher_open(&options, out);
}

void rig_reopen(struct rig *rig)
{
	if (rig->marcher)
		marcher_close(rig->marcher);
	rig->marcher = NULL;
	if (rig_open(rig, &rig->marcher))
		fail_msg("marcher_open: %s", marcher_last_error(NULL));
}

static int apply_packed(struct rig *rig, const Marcher__Engine__V1__Snapshot *snapshot)
{
	size_t length = marcher__engine__v1__snapshot__get_packed_size(snapshot), reply_length = 0;
	uint8_t *packed = malloc(length), *reply = NULL;

	marcher__engine__v1__snapshot__pack(snapshot, packed);
	int code = marcher_apply(rig->marcher, packed, length, 0, &reply, &reply_length);
	marcher_buffer_free(reply);
	free(packed);
	return code;
}

int rig_apply(struct rig *rig, uint64_t generation, uint64_t base, const char *services)
{
	Marcher__Engine__V1__Snapshot snapshot = MARCHER__ENGINE__V1__SNAPSHOT__INIT;
	Marcher__Engine__V1__Service service[8], *pointers[8];
	Marcher__Engine__V1__Listener listener[8], *lpointers[8];
	char names[256], *save = NULL;
	size_t n = 0;

	snprintf(names, sizeof(names), "%s", services);
	for (char *name = strtok_r(names, " ", &save); name && n < 8; name = strtok_r(NULL, " ", &save), n++) {
		marcher__engine__v1__service__init(&service[n]);
		marcher__engine__v1__listener__init(&listener[n]);
		service[n].name = name;
		pointers[n] = &service[n];
		lpointers[n] = &listener[n];
		int index = !strcmp(name, "web") ? 0 : !strcmp(name, "api") ? 1 : -1;
		if (index >= 0) {
			listener[n].transport = MARCHER__ENGINE__V1__TRANSPORT__TRANSPORT_TCP;
			listener[n].port_first = listener[n].port_last = rig->ports[index];
			service[n].listeners = &lpointers[n];
			service[n].n_listeners = 1;
		}
	}
	snapshot.generation = generation;
	snapshot.base_generation = base;
	snapshot.services = pointers;
	snapshot.n_services = n;
	return apply_packed(rig, &snapshot);
}

int rig_apply_listeners(struct rig *rig, uint64_t generation, size_t listeners)
{
	Marcher__Engine__V1__Snapshot snapshot = MARCHER__ENGINE__V1__SNAPSHOT__INIT;
	Marcher__Engine__V1__Service service = MARCHER__ENGINE__V1__SERVICE__INIT, *services[] = {&service};
	Marcher__Engine__V1__Listener *all = calloc(listeners, sizeof(*all)),
	                              **pointers = calloc(listeners, sizeof(*pointers));

	for (size_t i = 0; i < listeners; i++) {
		marcher__engine__v1__listener__init(&all[i]);
		all[i].transport = MARCHER__ENGINE__V1__TRANSPORT__TRANSPORT_TCP;
		all[i].port_first = all[i].port_last = i ? 0 : rig->ports[0];
		pointers[i] = &all[i];
	}
	service.name = (char *)"web";
	service.listeners = pointers;
	service.n_listeners = listeners;
	snapshot.generation = generation;
	snapshot.services = services;
	snapshot.n_services = 1;
	int code = apply_packed(rig, &snapshot);
	free(pointers);
	free(all);
	return code;
}

struct marcher_engine_status rig_status(struct rig *rig)
{
	struct marcher_engine_status status;
	assert_int_equal(marcher_engine_status(rig->marcher, &status), MARCHER_OK);
	return status;
}

static int by_size(const void *a, const void *b)
{
	unsigned long x = *(const unsigned long *)a, y = *(const unsigned long *)b;
	return x < y ? -1 : x > y;
}

/* The inodes of all TCP sockets that listen. Read once for all descriptors, and only as far as they go (the kernel
 * prints those that listen first): with thousands in TIME_WAIT, reading it for each took longer than what is looked at
 * stays as it is. */
static size_t all_listening(unsigned long *inodes, size_t max)
{
	char line[512];
	size_t n = 0;
	FILE *table = fopen("/proc/net/tcp", "r");

	assert_non_null(table);
	assert_non_null(fgets(line, sizeof(line), table)); /* the heading */
	while (n < max && fgets(line, sizeof(line), table)) {
		unsigned state;
		if (sscanf(line, " %*u: %*s %*s %x %*s %*s %*s %*u %*d %lu", &state, &inodes[n]) != 2 ||
		    state != TCP_LISTEN)
			break;
		n++;
	}
	fclose(table);
	assert_true(n < max);
	qsort(inodes, n, sizeof(inodes[0]), by_size);
	return n;
}

size_t rig_listening(int pid, unsigned long *inodes, size_t max)
{
	char path[64], target[64];
	struct dirent *entry;
	static unsigned long all[4096];
	size_t n = 0, distinct = 0, nall = all_listening(all, 4096);

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	DIR *fds = opendir(path);
	while (fds && n < max && (entry = readdir(fds))) {
		unsigned long inode;
		ssize_t length = readlinkat(dirfd(fds), entry->d_name, target, sizeof(target) - 1);
		target[length > 0 ? length : 0] = '\0';
		if (sscanf(target, "socket:[%lu]", &inode) == 1 && bsearch(&inode, all, nall, sizeof(all[0]), by_size))
			inodes[n++] = inode;
	}
	if (fds)
		closedir(fds);
	qsort(inodes, n, sizeof(inodes[0]), by_size);
	for (size_t i = 0; i < n; i++)
		if (!distinct || inodes[distinct - 1] != inodes[i])
			inodes[distinct++] = inodes[i];
	return distinct;
}

bool rig_ended(int pid)
{
	char path[64], state = 'X';

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	FILE *file = fopen(path, "r");
	if (!file)
		return true;
	if (fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
		state = 'X';
	fclose(file);
	return state == 'Z' || state == 'X';
}

char *rig_log(const struct rig *rig)
{
	char path[128], *text = calloc(1, 1 << 16);

	snprintf(path, sizeof(path), "%s/engine.log", rig->dir);
	FILE *file = fopen(path, "r");
	assert_non_null(file);
	text[fread(text, 1, (1 << 16) - 1, file)] = '\0';
	fclose(file);
	return text;
}

void rig_log_append(const struct rig *rig, const char *text)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/engine.log", rig->dir);
	FILE *file = fopen(path, "a");
	assert_non_null(file);
	fputs(text, file);
	assert_int_equal(fclose(file), 0);
}

int rig_ask(uint16_t port, uint64_t *generation)
{
	struct sockaddr_in address = {
	        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct timeval patience = {.tv_sec = 30};
	char text[64] = "";
	int pid = 0, fd = socket(AF_INET, SOCK_STREAM, 0);
	unsigned long long value = 0;

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (!connect(fd, (struct sockaddr *)&address, sizeof(address)) && read(fd, text, sizeof(text) - 1) > 0 &&
	    sscanf(text, "%d %llu", &pid, &value) != 2)
		pid = 0;
	close(fd);
	if (generation)
		*generation = value;
	return pid;
}
