/* SPDX-License-Identifier: Apache-2.0 */
/* The probe on what a host may have and lack. Each lack is made for a child process alone. */
#include "packet_rig.h"

#include <dirent.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "control/packet.h"

typedef Marcher__Packet__V1__Probe Probe;
typedef Marcher__Packet__V1__ProbeResult Result;

#define PASSED MARCHER__PACKET__V1__PROBE_OUTCOME__PROBE_OUTCOME_PASSED
#define FAILED MARCHER__PACKET__V1__PROBE_OUTCOME__PROBE_OUTCOME_FAILED
#define NOT_RUN MARCHER__PACKET__V1__PROBE_OUTCOME__PROBE_OUTCOME_NOT_RUN

static Probe *probe(void)
{
	uint8_t *bytes;
	size_t length;

	if (marcher_packet_probe(&bytes, &length))
		return NULL;
	Probe *probe = marcher__packet__v1__probe__unpack(NULL, length, bytes);
	marcher_buffer_free(bytes);
	return probe;
}

static const Result *result_of(const Probe *probe, const char *what, const char *mode, const char *family)
{
	for (size_t i = 0; i < probe->n_results; i++) {
		const Result *result = probe->results[i];
		if (!strcmp(result->what, what) && !strcmp(result->mode, mode) && !strcmp(result->family, family))
			return result;
	}
	return NULL;
}

static unsigned open_files(void)
{
	unsigned count = 0;
	DIR *directory = opendir("/proc/self/fd");

	while (readdir(directory))
		count++;
	closedir(directory);
	return count;
}

static void assert_passed(const Probe *probe, const char *what, const char *mode, const char *family)
{
	const Result *result = result_of(probe, what, mode, family);

	if (!result || result->outcome != PASSED)
		fail_msg("%s %s %s: %s", what, mode, family, result ? result->reason : "not there");
}

/* Which of its two ways was taken. */
static const char *tc_mode(const Probe *probe)
{
	const Result *tcx = result_of(probe, "attach", "tcx", ""), *clsact = result_of(probe, "attach", "clsact", "");

	assert_true(!tcx != !clsact);
	assert_int_equal((tcx ? tcx : clsact)->outcome, PASSED);
	return tcx ? "tcx" : "clsact";
}

/* On an emulated machine, or a busy one: some trial had no time left. */
static bool was_cut_short(const Probe *found)
{
	for (size_t i = 0; found && i < found->n_results; i++)
		if (strstr(found->results[i]->reason, "other trials took all"))
			return true;
	return false;
}

static Probe *probe_to_the_end(void)
{
	Probe *found = probe();

	for (int again = 0; again < 5 && was_cut_short(found); again++) {
		marcher__packet__v1__probe__free_unpacked(found, NULL);
		found = probe();
	}
	return found;
}

static void a_packet_passes_each_way_of_forwarding(void **state)
{
	NEEDS_PRIVILEGE(state);
	const char *whats[] = {"ipip", "gue", "l2", "decap", "guard"}, *modes[] = {"native", "generic"};
	const char *families[] = {"ipv4", "ipv6"};
	unsigned before = open_files();

	Probe *found = probe_to_the_end();
	assert_non_null(found);
	assert_int_equal(result_of(found, "load", "", "")->outcome, PASSED);
	for (size_t m = 0; m < 2; m++)
		assert_int_equal(result_of(found, "attach", modes[m], "")->outcome, PASSED);
	for (size_t f = 0; f < 2; f++)
		for (size_t m = 0; m < 2; m++)
			for (size_t w = 0; w < 5; w++)
				assert_passed(found, whats[w], modes[m], families[f]);
	for (size_t f = 0; f < 2; f++)
		assert_passed(found, "nat-fast", "native", families[f]);
	const char *tc = tc_mode(found);
	for (size_t f = 0; f < 2; f++)
		assert_passed(found, "nat", tc, families[f]);
	print_message("%u us\n", (unsigned)found->probe_us); /* half a second where nothing else runs */
	marcher__packet__v1__probe__free_unpacked(found, NULL);
	/* Nothing of it is here. */
	assert_int_equal(open_files(), before);
	assert_int_equal(if_nametoindex("inside"), 0);
	assert_int_equal(if_nametoindex("wire"), 0);
}

/* Runs prepare and then the probe in a child; check's answer is the child's. */
static void in_a_child(bool (*prepare)(void), const char *(*check)(const Probe *probe))
{
	int status, words[2];
	char said[1200] = "";

	assert_int_equal(pipe(words), 0);
	pid_t child = fork();
	if (!child) {
		const char *wrong = prepare() ? NULL : "the child could not be prepared";
		Probe *found = wrong ? NULL : probe_to_the_end();
		if (!wrong)
			wrong = found ? check(found) : "no answer";
		if (wrong && write(words[1], wrong, strlen(wrong)) < 0)
			_exit(2);
		_exit(wrong ? 1 : 0);
	}
	close(words[1]);
	ssize_t length = read(words[0], said, sizeof(said) - 1);
	close(words[0]);
	assert_int_equal(waitpid(child, &status, 0), child);
	if (status)
		fail_msg("%s (%zd)", said, length);
}

static const char *expect_of(const Probe *probe, const char *what, const char *mode, const char *family, int outcome,
                             const char *reason, const char *remedy)
{
	static char wrong[1200];
	const Result *result = result_of(probe, what, mode, family);

	if (!result)
		snprintf(wrong, sizeof(wrong), "no result of %s %s %s", what, mode, family);
	else if ((int)result->outcome != outcome || !strstr(result->reason, reason) || !strstr(result->remedy, remedy))
		snprintf(wrong, sizeof(wrong), "%s %s %s: outcome %d, %s; %s", what, mode, family, (int)result->outcome,
		         result->reason, result->remedy);
	else
		return NULL;
	return wrong;
}

/* Of IPv4, where it has a family. */
static const char *expect(const Probe *probe, const char *what, const char *mode, int outcome, const char *reason,
                          const char *remedy)
{
	bool any = !strcmp(what, "load") || !strcmp(what, "attach");

	return expect_of(probe, what, mode, any ? "" : "ipv4", outcome, reason, remedy);
}

static bool keep(uint64_t capabilities)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {
	        {.effective = (uint32_t)capabilities, .permitted = (uint32_t)capabilities},
	        {.effective = (uint32_t)(capabilities >> 32), .permitted = (uint32_t)(capabilities >> 32)}};

	return !syscall(SYS_capset, &header, data);
}

static bool nothing(void)
{
	return keep(0);
}

static const char *is_told_what_lacks(const Probe *probe)
{
	return expect(probe, "load", "", FAILED, "Operation not permitted",
	              "give the process CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON (systemd: AmbientCapabilities=)");
}

static bool what_the_unit_gives(void)
{
	return keep(1ull << CAP_BPF | 1ull << CAP_NET_ADMIN | 1ull << CAP_PERFMON);
}

static const char *is_loaded_and_not_tried(const Probe *probe)
{
	const char *wrong = expect(probe, "load", "", PASSED, "", "");

	return wrong ? wrong : expect(probe, "ipip", "", NOT_RUN, "making a network namespace", "CAP_SYS_ADMIN");
}

static void without_capabilities_it_says_which(void **state)
{
	NEEDS_PRIVILEGE(state);
	in_a_child(nothing, is_told_what_lacks);
	in_a_child(what_the_unit_gives, is_loaded_and_not_tried);
}

/* bpf(2) fails so for whoever the system-call filter of a unit or a container forbids it. */
static bool refuse_bpf(int error)
{
	struct sock_filter code[] = {
	        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_bpf, 0, 1),
	        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error),
	        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = 4, .filter = code};

	return !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) && !prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

static bool forbidden(void)
{
	return refuse_bpf(EPERM);
}

static bool unknown(void)
{
	return refuse_bpf(ENOSYS);
}

static const char *is_told_of_the_filter(const Probe *probe)
{
	return expect(probe, "load", "", FAILED, "Operation not permitted", "SystemCallFilter=bpf");
}

static const char *is_told_of_the_kernel(const Probe *probe)
{
	return expect(probe, "load", "", FAILED, "Function not implemented", "CONFIG_BPF_SYSCALL");
}

static void a_kernel_that_refuses_bpf_is_told_of(void **state)
{
	NEEDS_PRIVILEGE(state);
	in_a_child(forbidden, is_told_of_the_filter);
	in_a_child(unknown, is_told_of_the_kernel);
}

static bool without_btf(void)
{
	return !unshare(CLONE_NEWNS) && !mount("none", "/sys/kernel/btf", "tmpfs", MS_RDONLY, NULL) &&
	       access("/sys/kernel/btf/vmlinux", F_OK) < 0;
}

static bool without_locked_memory(void)
{
	const struct rlimit none = {0, 0};

	/* No CAP_IPC_LOCK and CAP_SYS_RESOURCE, which would pass the limit by. */
	return !setrlimit(RLIMIT_MEMLOCK, &none) && keep(1ull << CAP_BPF | 1ull << CAP_NET_ADMIN | 1ull << CAP_PERFMON |
	                                                 1ull << CAP_SYS_ADMIN | 1ull << CAP_NET_RAW);
}

static const char *passes(const Probe *probe)
{
	const char *wrong = expect(probe, "ipip", "native", PASSED, "", "");

	if (!wrong)
		wrong = expect(probe, "decap", "generic", PASSED, "", "");
	return wrong;
}

static void neither_btf_nor_locked_memory_is_needed(void **state)
{
	NEEDS_PRIVILEGE(state);
	in_a_child(without_btf, passes);
	in_a_child(without_locked_memory, passes);
}

static bool read_only_sysctls(void)
{
	return !unshare(CLONE_NEWNS) && !mount("/proc/sys", "/proc/sys", NULL, MS_BIND, NULL) &&
	       !mount(NULL, "/proc/sys", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL);
}

static const char *passes_but_for_ipv6(const Probe *probe)
{
	const char *wrong = passes(probe);

	for (size_t w = 0; !wrong && w < 3; w++) {
		static const char *const whats[] = {"ipip", "guard", "nat"};
		wrong = expect_of(probe, whats[w], "", "ipv6", NOT_RUN, "IPv6 in a scratch namespace: Read-only file",
		                  "/proc/sys that can be written to");
	}
	return wrong;
}

static void sysctls_may_be_read_only(void **state)
{
	NEEDS_PRIVILEGE(state);
	in_a_child(read_only_sysctls, passes_but_for_ipv6);
}

static bool without_tcx(void)
{
	packet_tc_without_tcx = true;
	return true;
}

static const char *passes_by_clsact(const Probe *probe)
{
	const char *wrong = expect(probe, "attach", "clsact", PASSED, "", "");

	if (!wrong)
		wrong = expect_of(probe, "nat", "clsact", "ipv4", PASSED, "", "");
	return wrong ? wrong : expect_of(probe, "nat", "clsact", "ipv6", PASSED, "", "");
}

static void a_kernel_without_tcx_is_tried_by_clsact(void **state)
{
	NEEDS_PRIVILEGE(state);
	in_a_child(without_tcx, passes_by_clsact);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, packet_rig_setup, packet_rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(a_packet_passes_each_way_of_forwarding),
	        TEST(without_capabilities_it_says_which),
	        TEST(a_kernel_that_refuses_bpf_is_told_of),
	        TEST(neither_btf_nor_locked_memory_is_needed),
	        TEST(sysctls_may_be_read_only),
	        TEST(a_kernel_without_tcx_is_tried_by_clsact),
	};
	return cmocka_run_group_tests_name("packet_probe", tests, packet_rig_namespaces, NULL);
}
