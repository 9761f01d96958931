/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The programs' stack by the rules of Linux 6.1, which later kernels have eased: a program that takes more loads here
 * and not there, and then no packet tier opens. The kernel of this machine tells how much each function takes
 * (BPF_LOG_STATS); which calls which is in the instructions.
 */
#include "packet_rig.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/packet_objects.h"

/* check_max_stack_depth() of kernel/bpf/verifier.c. */
#define STACK_MAX 512u
#define ROUNDED_TO 32u
#define FRAMES_MAX 8u

#define LOG_STATS 4u
#define LOG_SIZE (1u << 20)
#define FUNCTIONS_MAX 64u

struct function {
	size_t start; /* instruction */
	unsigned stack;
};

struct program {
	const struct bpf_insn *insns;
	size_t ninsns;
	struct function functions[FUNCTIONS_MAX];
	size_t nfunctions;
};

static int by_start(const void *a, const void *b)
{
	const struct function *one = a, *other = b;

	return one->start < other->start ? -1 : one->start > other->start;
}

/* The instruction that this one calls, or hands over to be called; 0: none. */
static size_t callee(const struct program *program, size_t at)
{
	const struct bpf_insn *insn = &program->insns[at];
	bool calls = insn->code == (BPF_JMP | BPF_CALL) && insn->src_reg == BPF_PSEUDO_CALL;
	bool hands_over = insn->code == (BPF_LD | BPF_IMM | BPF_DW) && insn->src_reg == BPF_PSEUDO_FUNC;

	return calls || hands_over ? (size_t)((long)at + insn->imm + 1) : 0;
}

static void find_functions(struct program *program)
{
	program->nfunctions = 1;
	for (size_t at = 0; at < program->ninsns; at++) {
		size_t start = callee(program, at);
		bool known = !start;
		for (size_t i = 0; !known && i < program->nfunctions; i++)
			known = program->functions[i].start == start;
		if (known)
			continue;
		assert_true(program->nfunctions < FUNCTIONS_MAX);
		program->functions[program->nfunctions++].start = start;
	}
	qsort(program->functions, program->nfunctions, sizeof(program->functions[0]), by_start);
}

/* "stack depth 96+0+272": of each function, in order. */
static void read_stacks(struct program *program, const char *log)
{
	static const char label[] = "stack depth ";
	const char *at = strstr(log, label);
	size_t count = 0;

	assert_non_null(at);
	at += sizeof(label) - 1;
	for (;;) {
		char *end;
		unsigned long stack = strtoul(at, &end, 10);
		assert_ptr_not_equal(at, end);
		assert_true(count < program->nfunctions);
		program->functions[count++].stack = (unsigned)stack;
		if (*end != '+')
			break;
		at = end + 1;
	}
	assert_int_equal(count, program->nfunctions);
}

static unsigned rounded(unsigned stack)
{
	return ((stack ? stack : 1) + ROUNDED_TO - 1) / ROUNDED_TO * ROUNDED_TO;
}

/* Bytes that a function takes with what it calls. */
static unsigned deepest(const struct program *program, size_t function, unsigned frames)
{
	size_t end = function + 1 < program->nfunctions ? program->functions[function + 1].start : program->ninsns;
	unsigned most = 0;

	assert_true(frames <= FRAMES_MAX);
	for (size_t at = program->functions[function].start; at < end; at++) {
		size_t start = callee(program, at);
		for (size_t i = 0; start && i < program->nfunctions; i++) {
			unsigned below = program->functions[i].start == start ? deepest(program, i, frames + 1) : 0;
			most = below > most ? below : most;
		}
	}
	return rounded(program->functions[function].stack) + most;
}

static unsigned stack_of(const struct packet_object *object, char *log)
{
	LIBBPF_OPTS(bpf_object_open_opts, options, .kernel_log_buf = log, .kernel_log_size = LOG_SIZE,
	            .kernel_log_level = LOG_STATS);
	struct program program = {.nfunctions = 0};
	size_t size;
	const void *bytes = object->bytes(&size);

	*log = '\0';
	struct bpf_object *bpf = bpf_object__open_mem(bytes, size, &options);
	assert_non_null(bpf);
	struct bpf_map *flows = bpf_object__find_map_by_name(bpf, "flows");
	/* Its size is the library's to choose. */
	if (flows)
		assert_int_equal(bpf_map__set_max_entries(flows, 256), 0);
	assert_int_equal(bpf_object__load(bpf), 0);
	struct bpf_program *entry = bpf_object__find_program_by_name(bpf, object->name);
	assert_non_null(entry);
	program.insns = bpf_program__insns(entry);
	program.ninsns = bpf_program__insn_cnt(entry);
	find_functions(&program);
	read_stacks(&program, log);
	unsigned stack = deepest(&program, 0, 1);
	bpf_object__close(bpf);
	return stack;
}

static void every_chain_of_calls_fits_into_the_stack_of_linux_6_1(void **state)
{
	if (!*state)
		skip();
	char *log = malloc(LOG_SIZE);
	unsigned most = 0;

	assert_non_null(log);
	for (size_t i = 0; i < packet_objects_count; i++) {
		unsigned stack = stack_of(&packet_objects[i], log);
		print_message("%s: %u of %u bytes of stack\n", packet_objects[i].name, stack, STACK_MAX);
		most = stack > most ? stack : most;
	}
	free(log);
	/* After all of them: whoever has to trim one wants to know of the others. */
	assert_in_range(most, 1, STACK_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(every_chain_of_calls_fits_into_the_stack_of_linux_6_1, packet_rig_setup,
	                                        packet_rig_teardown),
	};
	return cmocka_run_group_tests_name("packet_stack", tests, packet_rig_namespaces, NULL);
}
