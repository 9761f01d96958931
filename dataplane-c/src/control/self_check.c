/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where this library's symbols really come from. Inside Node a shared library that needs SSL_*, nghttp2_* or ares_*
 * gets Node's own exported copies instead of the system's, since the executable comes first in the search order. So:
 * every symbol that this library imports is read from its own relocations, the address that the dynamic linker has put
 * there is looked up (dladdr), and the object has to be one that this library was linked with (DT_NEEDED).
 */
#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control.h"

#define NEEDED_MAX 32

struct object {
	ElfW(Addr) base;
	const ElfW(Sym) * symbols;
	const char *strings;
	const ElfW(Rela) * rela, *jmprel;
	size_t nrela, njmprel;
	const char *needed[NEEDED_MAX];
	size_t nneeded;
	const char *path;
	const ElfW(Dyn) * dynamic;
};

static int find_self(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct object *self = arg;
	ElfW(Addr) here = (ElfW(Addr))(uintptr_t)&marcher_self_check;
	bool mine = false;

	(void)size;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *header = &info->dlpi_phdr[i];
		ElfW(Addr) start = info->dlpi_addr + header->p_vaddr;
		if (header->p_type == PT_LOAD && here >= start && here < start + header->p_memsz)
			mine = true;
		if (header->p_type == PT_DYNAMIC)
			self->dynamic = (const ElfW(Dyn) *)start;
	}
	self->base = info->dlpi_addr;
	self->path = info->dlpi_name;
	return mine;
}

static void read_dynamic(struct object *self)
{
	for (const ElfW(Dyn) *entry = self->dynamic; entry->d_tag != DT_NULL; entry++) {
		switch (entry->d_tag) {
		case DT_SYMTAB:
			self->symbols = (const void *)entry->d_un.d_ptr;
			break;
		case DT_STRTAB:
			self->strings = (const void *)entry->d_un.d_ptr;
			break;
		case DT_RELA:
			self->rela = (const void *)entry->d_un.d_ptr;
			break;
		case DT_RELASZ:
			self->nrela = entry->d_un.d_val / sizeof(ElfW(Rela));
			break;
		case DT_JMPREL:
			self->jmprel = (const void *)entry->d_un.d_ptr;
			break;
		case DT_PLTRELSZ:
			self->njmprel = entry->d_un.d_val / sizeof(ElfW(Rela));
			break;
		default:
			break;
		}
	}
	for (const ElfW(Dyn) *entry = self->dynamic; entry->d_tag != DT_NULL; entry++)
		if (entry->d_tag == DT_NEEDED && self->nneeded < NEEDED_MAX)
			self->needed[self->nneeded++] = self->strings + entry->d_un.d_val;
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static bool starts_with(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

static bool forbidden_symbol(const char *name)
{
	static const char *const prefixes[] = {"SSL_",     "OPENSSL_", "EVP_",    "X509_",
	                                       "nghttp2_", "ares_",    "gnutls_", "http_parser_"};

	for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++)
		if (starts_with(name, prefixes[i]))
			return true;
	return false;
}

static bool forbidden_library(const char *name)
{
	static const char *const prefixes[] = {"libssl",   "libcrypto", "libgnutls", "libnghttp2",
	                                       "libcares", "libcurl",   "libnettle"};

	for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++)
		if (starts_with(name, prefixes[i]))
			return true;
	return false;
}

/* What it should come from, in words: the one library whose prefix we know, else any that is needed. libbpf brings
 * libelf and libz along, whose symbols this library does not use itself. */
static const char *expected_library(const struct object *self, const char *symbol)
{
	static const struct {
		const char *symbols, *library;
	} known[] = {{"protobuf_c_", "libprotobuf-c"}, {"bpf_", "libbpf"}, {"libbpf_", "libbpf"}};

	for (size_t k = 0; k < sizeof(known) / sizeof(known[0]); k++)
		for (size_t i = 0; starts_with(symbol, known[k].symbols) && i < self->nneeded; i++)
			if (starts_with(self->needed[i], known[k].library))
				return self->needed[i];
	return "libc.so.6";
}

struct report {
	FILE *out;
	bool ok, any;
};

static void check_symbol(const struct object *self, const ElfW(Rela) * relocation, struct report *report)
{
	const ElfW(Sym) *symbol = &self->symbols[ELF64_R_SYM(relocation->r_info)];
	const char *name = self->strings + symbol->st_name;
	unsigned long type = ELF64_R_TYPE(relocation->r_info);
	void *address;
	Dl_info info = {0};

#if defined(__x86_64__)
	if (type != R_X86_64_JUMP_SLOT && type != R_X86_64_GLOB_DAT && type != R_X86_64_64)
		return;
#elif defined(__aarch64__)
	if (type != R_AARCH64_JUMP_SLOT && type != R_AARCH64_GLOB_DAT && type != R_AARCH64_ABS64)
		return;
#else
#error "name the relocations of this architecture"
#endif
	if (!ELF64_R_SYM(relocation->r_info) || symbol->st_shndx != SHN_UNDEF)
		return;
	memcpy(&address, (const void *)(self->base + relocation->r_offset), sizeof(address));
	if (!address)
		return; /* weak, and nowhere: the compiler's hooks */
	const char *from = dladdr(address, &info) && info.dli_fname ? info.dli_fname : "nowhere";
	const char *expected = expected_library(self, name);
	bool ok = !strcmp(base_name(from), expected) ||
	          /* The C library's dynamic linker has some of its functions. */
	          (!strcmp(expected, "libc.so.6") && starts_with(base_name(from), "ld-linux")) ||
	          /* Data of the C library that the executable uses too lives in the executable (a copy relocation). */
	          (ELF64_ST_TYPE(symbol->st_info) == STT_OBJECT && !strcmp(expected, "libc.so.6"));
	report->ok &= ok;
	fprintf(report->out, "%s{\"symbol\":\"%s\",\"expected\":\"%s\",\"resolved\":\"", report->any ? "," : "", name,
	        expected);
	for (const char *c = from; *c; c++)
		if (*c != '"' && *c != '\\' && (unsigned char)*c >= ' ')
			fputc(*c, report->out);
	fprintf(report->out, "\",\"ok\":%s}", ok ? "true" : "false");
	report->any = true;
}

static void write_forbidden(const struct object *self, struct report *report)
{
	bool any = false;

	for (size_t i = 0; i < self->nneeded; i++)
		if (forbidden_library(self->needed[i])) {
			fprintf(report->out, "%s\"%s\"", any ? "," : "", self->needed[i]);
			any = true;
		}
	const ElfW(Rela) * tables[] = {self->rela, self->jmprel};
	const size_t counts[] = {self->nrela, self->njmprel};
	for (int t = 0; t < 2; t++)
		for (size_t i = 0; i < counts[t]; i++) {
			size_t index = ELF64_R_SYM(tables[t][i].r_info);
			const char *name = self->strings + self->symbols[index].st_name;
			if (index && self->symbols[index].st_shndx == SHN_UNDEF && forbidden_symbol(name)) {
				fprintf(report->out, "%s\"%s\"", any ? "," : "", name);
				any = true;
			}
		}
	report->ok &= !any;
}

int marcher_self_check(char *out, size_t length)
{
	struct object self = {0};
	struct report report = {.ok = true};
	char *text = NULL, *forbidden = NULL;
	size_t size = 0, forbidden_size = 0;

	if (!out || !length)
		return control_fail(NULL, MARCHER_E_INVALID, "marcher_self_check: no buffer");
	*out = '\0';
	if (!dl_iterate_phdr(find_self, &self) || !self.dynamic)
		return control_fail(NULL, MARCHER_E_SYSTEM,
		                    "the library does not find itself among the loaded objects");
	read_dynamic(&self);
	report.out = open_memstream(&text, &size);
	if (!report.out)
		return control_fail(NULL, MARCHER_E_NO_MEMORY, "no memory");
	for (size_t i = 0; i < self.nrela; i++)
		check_symbol(&self, &self.rela[i], &report);
	for (size_t i = 0; i < self.njmprel; i++)
		check_symbol(&self, &self.jmprel[i], &report);
	fclose(report.out);
	report.out = open_memstream(&forbidden, &forbidden_size);
	if (report.out) {
		write_forbidden(&self, &report);
		fclose(report.out);
	}
	int need = text && forbidden ? snprintf(out, length, "{\"ok\":%s,\"libraries\":[%s],\"forbidden\":[%s]}",
	                                        report.ok ? "true" : "false", text, forbidden)
	                             : -1;
	free(text);
	free(forbidden);
	if (need < 0)
		return control_fail(NULL, MARCHER_E_NO_MEMORY, "no memory");
	if ((size_t)need >= length) {
		*out = '\0';
		return control_fail(NULL, MARCHER_E_INVALID,
		                    "marcher_self_check: the report needs %d bytes, the buffer has %zu", need + 1,
		                    length);
	}
	return report.ok ? MARCHER_OK
	                 : control_fail(NULL, MARCHER_E_SYSTEM,
	                                "symbols of libmarcher resolve to libraries that it was not linked with; the "
	                                "report has "
	                                "them");
}
