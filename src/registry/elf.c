/* elf.c - is this file a shared object for this machine? Reads bytes, loads nothing. Any thread. */
#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "registry/internal.h"

#if defined(__x86_64__)
#define THIS_MACHINE EM_X86_64
#define THIS_NAME    "x86-64"
#elif defined(__aarch64__)
#define THIS_MACHINE EM_AARCH64
#define THIS_NAME    "AArch64"
#else
#error "Adverb does not know this machine's ELF number"
#endif

static int no(char *reason, size_t size, const char *text)
{
	snprintf(reason, size, "%s", text);
	return -EINVAL;
}

static const char *machine_name(unsigned machine)
{
	switch (machine) {
	case EM_X86_64:
		return "x86-64";
	case EM_386:
		return "32-bit x86";
	case EM_AARCH64:
		return "AArch64";
	case EM_ARM:
		return "32-bit ARM";
	case EM_RISCV:
		return "RISC-V";
	case EM_PPC64:
		return "POWER";
	default:
		return "another machine";
	}
}

/* Files that people take for shared objects. */
static int name_it(const uint8_t *bytes, uint64_t size, char *reason, size_t n)
{
	if (size == 0)
		return no(reason, n, "the file is empty");
	if (size >= 2 && memcmp(bytes, "#!", 2) == 0)
		return no(reason, n,
			  "the file is a script: build a shared object with gcc -shared -fPIC");
	if (size >= 8 && memcmp(bytes, "!<arch>\n", 8) == 0)
		return no(reason, n,
			  "the file is a static library: link it with gcc -shared "
			  "-Wl,--whole-archive");
	return no(reason, n, "the file is not ELF: build a shared object with gcc -shared -fPIC");
}

static int check_ident(const Elf64_Ehdr *h, char *reason, size_t n)
{
	if (h->e_ident[EI_CLASS] != ELFCLASS64)
		return no(reason, n, "the file is 32-bit: build it for " THIS_NAME);
	if (h->e_ident[EI_DATA] != ELFDATA2LSB || h->e_machine != THIS_MACHINE) {
		snprintf(reason, n, "the file is for %s, this node is " THIS_NAME,
			 h->e_ident[EI_DATA] != ELFDATA2LSB ? "a big-endian machine"
							    : machine_name(h->e_machine));
		return -EINVAL;
	}
	if (h->e_ident[EI_VERSION] != EV_CURRENT)
		return no(reason, n, "the file has an unknown ELF version");
	if (h->e_type == ET_REL)
		return no(reason, n, "the file is an object file: link it with gcc -shared");
	if (h->e_type == ET_EXEC)
		return no(reason, n,
			  "the file is an executable, not a shared object: build it with -shared");
	if (h->e_type != ET_DYN)
		return no(reason, n, "the file is not a shared object: build it with -shared");
	return 0;
}

/* A position-independent executable is ET_DYN too; its interpreter or its flag gives it away. */
static bool is_executable(const uint8_t *bytes, const Elf64_Phdr *dynamic)
{
	for (uint64_t at = 0; at + sizeof(Elf64_Dyn) <= dynamic->p_filesz;
	     at += sizeof(Elf64_Dyn)) {
		Elf64_Dyn d;
		memcpy(&d, bytes + dynamic->p_offset + at, sizeof(d));
		if (d.d_tag == DT_NULL)
			break;
		if (d.d_tag == DT_FLAGS_1 && (d.d_un.d_val & DF_1_PIE))
			return true;
	}
	return false;
}

static int check_segments(const uint8_t *bytes, uint64_t size, const Elf64_Ehdr *h, char *reason,
			  size_t n)
{
	bool dynamic = false, load = false, executable = false;
	if (h->e_phentsize != sizeof(Elf64_Phdr) || h->e_phnum == 0 || h->e_phoff > size ||
	    (uint64_t)h->e_phnum * sizeof(Elf64_Phdr) > size - h->e_phoff)
		return no(reason, n,
			  "the file is cut off or damaged: its program headers are missing");
	for (unsigned i = 0; i < h->e_phnum; i++) {
		Elf64_Phdr p;
		memcpy(&p, bytes + h->e_phoff + i * sizeof(p), sizeof(p));
		if ((p.p_type == PT_LOAD || p.p_type == PT_DYNAMIC) &&
		    (p.p_offset > size || p.p_filesz > size - p.p_offset))
			return no(reason, n, "the file is cut off: a segment lies beyond its end");
		load |= p.p_type == PT_LOAD;
		executable |= p.p_type == PT_INTERP;
		if (p.p_type == PT_DYNAMIC) {
			dynamic = true;
			executable |= is_executable(bytes, &p);
		}
	}
	if (executable)
		return no(reason, n,
			  "the file is an executable, not a shared object: build it with -shared");
	if (!dynamic || !load)
		return no(reason, n,
			  "the file has nothing to load dynamically: build it with -shared");
	return 0;
}

int adv_elf_check(const uint8_t *bytes, uint64_t size, char *reason, size_t n)
{
	Elf64_Ehdr h;
	if (size < SELFMAG || memcmp(bytes, ELFMAG, SELFMAG) != 0)
		return name_it(bytes, size, reason, n);
	if (size < sizeof(h))
		return no(reason, n, "the file is cut off: it ends within its ELF header");
	memcpy(&h, bytes, sizeof(h));
	int rc = check_ident(&h, reason, n);
	return rc < 0 ? rc : check_segments(bytes, size, &h, reason, n);
}
