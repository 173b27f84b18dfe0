/*
 * test_elf.c - the check of an uploaded file: a shared object of this machine passes, everything else is refused with a
 * sentence that says what it is, and no cut or damaged file is read beyond its end.
 */
#include <criterion/criterion.h>
#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "registry/internal.h"

#if defined(__x86_64__)
#define THIS_MACHINE  EM_X86_64
#define OTHER_MACHINE EM_AARCH64
#define OTHER_NAME    "AArch64"
#else
#define THIS_MACHINE  EM_AARCH64
#define OTHER_MACHINE EM_X86_64
#define OTHER_NAME    "x86-64"
#endif

/* The least that passes. */
struct image {
	Elf64_Ehdr h;
	Elf64_Phdr p[2];
	Elf64_Dyn d[3];
};

static struct image good(void)
{
	struct image i = {
		.h = {.e_type = ET_DYN,
		      .e_machine = THIS_MACHINE,
		      .e_version = EV_CURRENT,
		      .e_phoff = offsetof(struct image, p),
		      .e_ehsize = sizeof(Elf64_Ehdr),
		      .e_phentsize = sizeof(Elf64_Phdr),
		      .e_phnum = 2},
		.p = {{.p_type = PT_LOAD, .p_filesz = sizeof(i), .p_memsz = sizeof(i)},
		      {.p_type = PT_DYNAMIC,
		       .p_offset = offsetof(struct image, d),
		       .p_filesz = sizeof(i.d)}},
		.d = {{.d_tag = DT_FLAGS_1, .d_un.d_val = DF_1_NOW}, {.d_tag = DT_NULL}},
	};
	memcpy(i.h.e_ident, ELFMAG, SELFMAG);
	i.h.e_ident[EI_CLASS] = ELFCLASS64;
	i.h.e_ident[EI_DATA] = ELFDATA2LSB;
	i.h.e_ident[EI_VERSION] = EV_CURRENT;
	return i;
}

/* From memory of exactly that size, so that a sanitizer sees a byte too many. */
static int check(const void *bytes, size_t size, char reason[ADV_REASON_MAX])
{
	uint8_t *exact = malloc(size != 0 ? size : 1);
	cr_assert_not_null(exact);
	memcpy(exact, bytes, size);
	memset(reason, 0, ADV_REASON_MAX);
	int rc = adv_elf_check(size != 0 ? exact : NULL, size, reason, ADV_REASON_MAX);
	free(exact);
	cr_assert(rc == 0 || rc == -EINVAL, "%d", rc);
	if (rc != 0)
		cr_assert_eq(strncmp(reason, "the file ", 9), 0, "\"%s\"", reason);
	return rc;
}

static void refused(const void *bytes, size_t size, const char *why)
{
	char reason[ADV_REASON_MAX];
	cr_assert_eq(check(bytes, size, reason), -EINVAL, "not refused: %s", why);
	cr_assert_not_null(strstr(reason, why), "\"%s\" is not \"%s\"", reason, why);
}

static void image_refused(const struct image *i, const char *why)
{
	refused(i, sizeof(*i), why);
}

static uint8_t *slurp(const char *path, size_t *size)
{
	FILE *f = fopen(path, "rb");
	cr_assert_not_null(f, "%s", path);
	cr_assert_eq(fseek(f, 0, SEEK_END), 0);
	*size = (size_t)ftell(f);
	rewind(f);
	uint8_t *bytes = malloc(*size);
	cr_assert_not_null(bytes);
	cr_assert_eq(fread(bytes, 1, *size, f), *size);
	fclose(f);
	return bytes;
}

/* A module as the linker makes it. */
static uint8_t *module(size_t *size)
{
	const char *path = getenv("ADVERB_TEST_MODULE");
	if (path == NULL)
		cr_skip("ADVERB_TEST_MODULE names no module: run by meson test");
	return slurp(path, size);
}

Test(elf, accepts_the_least)
{
	char reason[ADV_REASON_MAX];
	struct image i = good();
	cr_assert_eq(check(&i, sizeof(i), reason), 0, "%s", reason);
}

Test(elf, accepts_a_linked_module)
{
	char reason[ADV_REASON_MAX];
	size_t size;
	uint8_t *bytes = module(&size);
	cr_assert_eq(check(bytes, size, reason), 0, "%s", reason);
	free(bytes);
}

Test(elf, names_what_is_not_elf)
{
	refused("", 0, "empty");
	refused("#!/bin/sh\nexit 0\n", 17, "script");
	refused("#!", 2, "script");
	refused("!<arch>\nlibm.o/", 15, "static library");
	refused("int main(void);\n", 16, "not ELF");
	refused("\177", 1, "not ELF");
	refused("\177EL", 3, "not ELF");
	refused("\177ELF", 4, "cut off");
}

/* This program, which is position-independent or not. */
Test(elf, refuses_an_executable)
{
	size_t size;
	uint8_t *bytes = slurp("/proc/self/exe", &size);
	refused(bytes, size, "is an executable");
	free(bytes);
}

Test(elf, refuses_other_types)
{
	struct image i = good();
	i.h.e_type = ET_EXEC;
	image_refused(&i, "is an executable");
	i.h.e_type = ET_REL;
	image_refused(&i, "object file");
	i.h.e_type = ET_CORE;
	image_refused(&i, "not a shared object");
	i.h.e_type = ET_NONE;
	image_refused(&i, "not a shared object");
	i.h.e_type = 0xffff;
	image_refused(&i, "not a shared object");
}

Test(elf, refuses_other_machines)
{
	static const struct {
		uint16_t machine;
		const char *name;
	} rows[] = {
		{OTHER_MACHINE, OTHER_NAME}, {EM_386, "32-bit x86"}, {EM_ARM, "32-bit ARM"},
		{EM_RISCV, "RISC-V"},	     {EM_PPC64, "POWER"},    {EM_S390, "another machine"},
	};
	for (size_t k = 0; k < sizeof(rows) / sizeof(rows[0]); k++) {
		struct image i = good();
		i.h.e_machine = rows[k].machine;
		image_refused(&i, rows[k].name);
	}
}

Test(elf, refuses_other_classes_and_orders)
{
	struct image i = good();
	i.h.e_ident[EI_CLASS] = ELFCLASS32;
	image_refused(&i, "32-bit");
	i = good();
	i.h.e_ident[EI_DATA] = ELFDATA2MSB;
	image_refused(&i, "big-endian");
	i = good();
	i.h.e_ident[EI_VERSION] = 2;
	image_refused(&i, "unknown ELF version");
}

Test(elf, refuses_a_pie)
{
	struct image i = good();
	i.d[0].d_un.d_val |= DF_1_PIE;
	image_refused(&i, "is an executable");
	i = good();
	i.d[1] = i.d[0];
	i.d[1].d_un.d_val |= DF_1_PIE;
	i.d[0] = (Elf64_Dyn){.d_tag = DT_NULL}; /* what follows the end does not count */
	char reason[ADV_REASON_MAX];
	cr_assert_eq(check(&i, sizeof(i), reason), 0, "%s", reason);
}

Test(elf, refuses_an_interpreter)
{
	struct {
		struct image i;
		Elf64_Phdr p[3];
	} f = {.i = good()};
	f.p[0] = f.i.p[0];
	f.p[1] = f.i.p[1];
	f.p[2] = (Elf64_Phdr){.p_type = PT_INTERP};
	f.i.h.e_phoff = sizeof(f.i);
	f.i.h.e_phnum = 3;
	refused(&f, sizeof(f), "is an executable");
	f.p[2].p_type = PT_NOTE;
	char reason[ADV_REASON_MAX];
	cr_assert_eq(check(&f, sizeof(f), reason), 0, "%s", reason);
}

Test(elf, refuses_what_has_nothing_to_load)
{
	struct image i = good();
	i.p[0].p_type = PT_NULL;
	image_refused(&i, "nothing to load");
	i = good();
	i.p[1].p_type = PT_NULL;
	image_refused(&i, "nothing to load");
}

Test(elf, refuses_program_headers_out_of_the_file)
{
	static const uint64_t offsets[] = {sizeof(struct image), sizeof(struct image) + 1,
					   UINT64_MAX, UINT64_MAX - 55, UINT64_C(1) << 63};
	for (size_t k = 0; k < sizeof(offsets) / sizeof(offsets[0]); k++) {
		struct image i = good();
		i.h.e_phoff = offsets[k];
		image_refused(&i, "program headers");
	}
	struct image i = good();
	i.h.e_phnum = 0;
	image_refused(&i, "program headers");
	i.h.e_phnum = 0xffff;
	image_refused(&i, "program headers");
	i = good();
	i.h.e_phentsize = sizeof(Elf64_Phdr) - 1;
	image_refused(&i, "program headers");
}

Test(elf, refuses_segments_out_of_the_file)
{
	static const uint64_t bad[][2] = {
		{0, sizeof(struct image) + 1},
		{1, sizeof(struct image)},
		{sizeof(struct image) + 1, 0},
		{UINT64_MAX, 1},
		{1, UINT64_MAX},
		{UINT64_MAX, UINT64_MAX},
	};
	for (size_t k = 0; k < sizeof(bad) / sizeof(bad[0]); k++)
		for (int n = 0; n < 2; n++) {
			struct image i = good();
			i.p[n].p_offset = bad[k][0];
			i.p[n].p_filesz = bad[k][1];
			image_refused(&i, "a segment lies beyond");
		}
}

/* A dynamic section that ends with the file, without DT_NULL, and one that is no multiple of an entry. */
Test(elf, dynamic_section_at_the_very_end)
{
	char reason[ADV_REASON_MAX];
	struct image i = good();
	i.d[1] = i.d[2] = i.d[0];
	cr_assert_eq(check(&i, sizeof(i), reason), 0, "%s", reason);
	i.p[1].p_offset = sizeof(i) - 5;
	i.p[1].p_filesz = 5;
	cr_assert_eq(check(&i, sizeof(i), reason), 0, "%s", reason);
}

/* Where the last byte of a segment is: whoever cuts before that has cut off something that is loaded. */
static size_t loaded_end(const uint8_t *bytes)
{
	Elf64_Ehdr h;
	size_t end = 0;
	memcpy(&h, bytes, sizeof(h));
	for (unsigned i = 0; i < h.e_phnum; i++) {
		Elf64_Phdr p;
		memcpy(&p, bytes + h.e_phoff + i * sizeof(p), sizeof(p));
		if (p.p_type == PT_LOAD && p.p_offset + p.p_filesz > end)
			end = p.p_offset + p.p_filesz;
	}
	return end;
}

Test(elf, every_truncation_is_refused)
{
	char reason[ADV_REASON_MAX];
	size_t size;
	uint8_t *bytes = module(&size);
	size_t end = loaded_end(bytes);
	cr_assert_gt(end, sizeof(Elf64_Ehdr));
	for (size_t cut = 0; cut <= size; cut++)
		cr_assert_eq(check(bytes, cut, reason), cut < end ? -EINVAL : 0,
			     "cut at %zu of %zu: %s", cut, size, reason);
	free(bytes);
}

/* Each byte of the file's and of the program headers, to every other value: an answer, and never a read beyond the end. */
Test(elf, corrupted_headers)
{
	char reason[ADV_REASON_MAX];
	size_t size, refusals = 0;
	uint8_t *bytes = module(&size);
	Elf64_Ehdr h;
	memcpy(&h, bytes, sizeof(h));
	size_t end = h.e_phoff + h.e_phnum * sizeof(Elf64_Phdr);
	for (size_t at = 0; at < end; at++)
		for (unsigned flip = 1; flip < 256; flip++) {
			bytes[at] ^= (uint8_t)flip;
			int rc = adv_elf_check(bytes, size, reason, sizeof(reason));
			cr_assert(rc == 0 || rc == -EINVAL);
			cr_assert(rc == -EINVAL || at >= EI_OSABI, "magic byte %zu", at);
			refusals += rc != 0;
			bytes[at] ^= (uint8_t)flip;
		}
	cr_assert_gt(refusals, 255 * EI_OSABI);
	cr_assert_eq(adv_elf_check(bytes, size, reason, sizeof(reason)), 0);
	free(bytes);
}

Test(elf, a_small_buffer_cuts_the_reason)
{
	char reason[9] = "xxxxxxxx";
	cr_assert_eq(adv_elf_check((const uint8_t *)"text", 4, reason, 5), -EINVAL);
	cr_assert_str_eq(reason, "the ");
	cr_assert_eq(reason[5], 'x');
}
