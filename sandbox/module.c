/* module.c - dlopen and the module's symbol table. Runs in the sandbox, confined; the module is hostile until proved dead. */
#include "sandbox/module.h"

#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEGMENTS_MAX 16

#if defined(__x86_64__)
#define MACHINE EM_X86_64
#elif defined(__aarch64__)
#define MACHINE EM_AARCH64
#else
#error "add this architecture's ELF machine number"
#endif

/* The module's own memory: what its tables point at must lie in it. */
struct segments {
	uintptr_t base;
	const char *path;
	unsigned nr;
	struct {
		uintptr_t start, end;
		bool executable;
	} of[SEGMENTS_MAX];
};

struct symbols {
	const ElfW(Sym) * table;
	const char *strings;
	size_t strings_size;
	uint32_t nr;
};

/* ---- reasons ---- */

/* Cuts `text` at `end` and fills in what a user can do about it. */
static int missing_library(struct adv_failure *failure, const char *text, const char *end)
{
	return adv_failure_set(failure, 0,
			       "link it statically, or ask the operator to list it under [sandbox] "
			       "libraries=",
			       "the module needs %.*s, which the sandbox does not have",
			       (int)(end - text), text);
}

/* dlerror() speaks to programmers and names a path that means nothing outside; this speaks to who deploys. */
static int explain(struct adv_failure *failure, const char *error)
{
	const char *text = error != NULL ? error : "unknown reason";
	const char *found = strstr(text, ": cannot open shared object file");
	if (found != NULL && text[0] != '.')
		return missing_library(failure, text, found);
	if (text[0] == '.') {
		const char *rest = strstr(text, ": ");
		text = rest != NULL ? rest + 2 : text;
	}
	found = strstr(text, "undefined symbol: ");
	if (found != NULL)
		return adv_failure_set(failure, 0, "link the library or the object that defines it",
				       "the module uses %s, which nothing defines", found + 18);
	found = strstr(text, "version `");
	if (found != NULL && strstr(text, "' not found") != NULL)
		return adv_failure_set(failure, 0, "build it on this system, or link statically",
				       "the module was built against newer libraries: %s", found);
	if (strstr(text, "executable stack") != NULL)
		return adv_failure_set(failure, 0, "link it with -z noexecstack",
				       "the module asks for an executable stack");
	if (strstr(text, "static TLS") != NULL)
		return adv_failure_set(failure, 0,
				       "build it with -fPIC and without -ftls-model=initial-exec",
				       "the module needs more static TLS than there is");
	return adv_failure_set(failure, 0, NULL, "the module cannot be loaded: %s", text);
}

/* ---- where the module lies ---- */

static int note_segments(struct dl_phdr_info *info, size_t size, void *data)
{
	struct segments *s = data;
	(void)size;
	if (info->dlpi_addr != s->base || strcmp(info->dlpi_name, s->path) != 0)
		return 0;
	for (unsigned i = 0; i < info->dlpi_phnum && s->nr < SEGMENTS_MAX; i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];
		if (p->p_type != PT_LOAD || !(p->p_flags & PF_R))
			continue;
		s->of[s->nr].start = s->base + p->p_vaddr;
		s->of[s->nr].end = s->base + p->p_vaddr + p->p_memsz;
		s->of[s->nr++].executable = p->p_flags & PF_X;
	}
	return 1;
}

/* Bytes from `address` to the end of its segment; 0 when it is not in the module. */
static size_t room(const struct segments *s, const void *address, bool executable)
{
	uintptr_t a = (uintptr_t)address;
	for (unsigned i = 0; i < s->nr; i++)
		if (a >= s->of[i].start && a < s->of[i].end && (!executable || s->of[i].executable))
			return s->of[i].end - a;
	return 0;
}

/* A string that ends within the module, of printable characters; else NULL. */
static const char *checked_string(const struct segments *s, const char *text, size_t size)
{
	size_t limit = room(s, text, false);
	if (limit > size)
		limit = size;
	size_t length = strnlen(text, limit);
	if (length == 0 || length == limit)
		return NULL;
	for (size_t i = 0; i < length; i++)
		if ((unsigned char)text[i] < ' ' || text[i] == 0x7f)
			return NULL;
	return text;
}

/* ---- its symbols ---- */

/* DT_GNU_HASH does not say how many symbols there are: the last of the highest chain is the last of all. */
static uint32_t gnu_hash_count(const struct segments *s, const uint32_t *hash)
{
	if (room(s, hash, false) < 4 * sizeof(uint32_t))
		return 0;
	uint32_t nr_buckets = hash[0], first = hash[1], bloom = hash[2];
	const uint32_t *buckets = hash + 4 + (size_t)bloom * (sizeof(ElfW(Addr)) / 4);
	if (room(s, buckets, false) / sizeof(uint32_t) < nr_buckets)
		return 0;
	uint32_t last = 0;
	for (uint32_t i = 0; i < nr_buckets; i++)
		if (buckets[i] > last)
			last = buckets[i];
	if (last < first)
		return first;
	const uint32_t *chains = buckets + nr_buckets;
	for (;; last++) {
		const uint32_t *link = chains + (last - first);
		if (room(s, link, false) < sizeof(*link))
			return 0;
		if (*link & 1)
			return last + 1;
	}
}

/* Some loaders leave addresses relative to the base. */
static const void *absolute(const struct segments *s, ElfW(Addr) value)
{
	return (const void *)(value < s->base ? value + s->base : value);
}

static int find_symbols(const struct segments *s, const ElfW(Dyn) * dynamic, struct symbols *out)
{
	const uint32_t *hash = NULL, *gnu_hash = NULL;
	memset(out, 0, sizeof(*out));
	for (; dynamic->d_tag != DT_NULL; dynamic++) {
		if (room(s, dynamic + 1, false) < sizeof(*dynamic))
			return -EINVAL;
		if (dynamic->d_tag == DT_SYMTAB)
			out->table = absolute(s, dynamic->d_un.d_ptr);
		else if (dynamic->d_tag == DT_STRTAB)
			out->strings = absolute(s, dynamic->d_un.d_ptr);
		else if (dynamic->d_tag == DT_STRSZ)
			out->strings_size = dynamic->d_un.d_val;
		else if (dynamic->d_tag == DT_HASH)
			hash = absolute(s, dynamic->d_un.d_ptr);
		else if (dynamic->d_tag == DT_GNU_HASH)
			gnu_hash = absolute(s, dynamic->d_un.d_ptr);
	}
	if (hash != NULL && room(s, hash, false) >= 2 * sizeof(uint32_t))
		out->nr = hash[1];
	else if (gnu_hash != NULL)
		out->nr = gnu_hash_count(s, gnu_hash);
	if (out->table == NULL || out->strings == NULL ||
	    room(s, out->table, false) / sizeof(*out->table) < out->nr ||
	    room(s, out->strings, false) < out->strings_size)
		return -EINVAL;
	return 0;
}

/* The name of an exported symbol of this type that the module itself defines; else NULL. */
static const char *exported_name(const struct segments *s, const struct symbols *symbols,
				 const ElfW(Sym) * symbol, unsigned type)
{
	unsigned bind = ELF64_ST_BIND(symbol->st_info);
	if (ELF64_ST_TYPE(symbol->st_info) != type || symbol->st_shndx == SHN_UNDEF ||
	    ELF64_ST_VISIBILITY(symbol->st_other) != STV_DEFAULT ||
	    (bind != STB_GLOBAL && bind != STB_WEAK && bind != STB_GNU_UNIQUE) ||
	    symbol->st_name >= symbols->strings_size)
		return NULL;
	return checked_string(s, symbols->strings + symbol->st_name, ADV_FUNCTION_NAME_MAX);
}

/* What templates and inline functions of C++ leave behind: weak, with a mangled name. Nobody means to export them. */
static bool is_by_the_way(const ElfW(Sym) * symbol, const char *name)
{
	return ELF64_ST_BIND(symbol->st_info) != STB_GLOBAL && strncmp(name, "_Z", 2) == 0;
}

/* ---- what it needs ---- */

/* Imports that mean nothing under a narrower profile. C++'s, mangled, by their beginning. */
static const struct {
	enum adv_profile profile;
	bool prefix;
	const char *name;
} telling[] = {
	{ADV_PROFILE_THREADS, false, "pthread_create"},
	{ADV_PROFILE_THREADS, false, "thrd_create"},
	{ADV_PROFILE_THREADS, true, "_ZNSt6thread15_M_start_thread"},
	{ADV_PROFILE_LIBC, false, "fopen"},
	{ADV_PROFILE_LIBC, false, "fopen64"},
	{ADV_PROFILE_LIBC, false, "open"},
	{ADV_PROFILE_LIBC, false, "open64"},
	{ADV_PROFILE_LIBC, false, "openat"},
	{ADV_PROFILE_LIBC, false, "openat64"},
	{ADV_PROFILE_LIBC, false, "opendir"},
	{ADV_PROFILE_LIBC, true, "_ZNSt14basic_ifstream"},
	{ADV_PROFILE_LIBC, true, "_ZNSt13basic_filebuf"},
};

static enum adv_profile told_by(const char *name)
{
	for (size_t i = 0; i < sizeof(telling) / sizeof(telling[0]); i++)
		if (telling[i].prefix ? strncmp(name, telling[i].name, strlen(telling[i].name)) == 0
				      : strcmp(name, telling[i].name) == 0)
			return telling[i].profile;
	return ADV_PROFILE_STRICT;
}

/* A hint for whoever deploys it. What it may do is decided by the filter that is there already. */
static void find_needs(struct adv_loaded *module, const struct segments *s,
		       const struct symbols *symbols)
{
	module->needs = ADV_PROFILE_STRICT;
	module->needs_why = "";
	for (uint32_t i = 0; i < symbols->nr; i++) {
		const ElfW(Sym) *symbol = &symbols->table[i];
		if (symbol->st_shndx != SHN_UNDEF || symbol->st_name >= symbols->strings_size)
			continue;
		const char *name = checked_string(s, symbols->strings + symbol->st_name,
						  ADV_FUNCTION_NAME_MAX);
		enum adv_profile needs = name != NULL ? told_by(name) : ADV_PROFILE_STRICT;
		if (needs > module->needs) {
			module->needs = needs;
			module->needs_why = name;
		}
	}
}

/* ---- its functions ---- */

static int add_function(struct adv_loaded *module, const struct adv_loaded_function *function,
			struct adv_failure *failure)
{
	if (module->nr_functions == ADV_FUNCTIONS_MAX)
		return adv_failure_set(
			failure, 0,
			"declare those to be called with ADV_FUNCTION(), or build with "
			"-fvisibility=hidden",
			"the module exports more than %d functions", ADV_FUNCTIONS_MAX);
	module->functions[module->nr_functions++] = *function;
	return 0;
}

static int add_described(struct adv_loaded *module, const struct segments *s,
			 const struct adv_function *table, const char *symbol,
			 struct adv_failure *failure)
{
	const size_t least = sizeof(struct adv_function);
	size_t there = room(s, table, false);
	if (there < least || (uintptr_t)table % _Alignof(struct adv_function) != 0)
		return adv_failure_set(failure, 0, NULL, "%s is not a table of ADV_FUNCTION()",
				       symbol);
	if (table->abi > ADV_FUNCTION_ABI)
		return adv_failure_set(failure, 0, "update the node, or build with its function.h",
				       "%s was built for version %u of the function ABI, and this "
				       "node has version %u",
				       symbol, table->abi, ADV_FUNCTION_ABI);
	if (table->abi == 0 || table->size < least || table->size > there)
		return adv_failure_set(failure, 0, NULL,
				       "%s is not a table of ADV_FUNCTION(): size %u, abi %u",
				       symbol, table->size, table->abi);
	struct adv_loaded_function f = {
		.run.described = table->run,
		.name = checked_string(s, table->name, ADV_FUNCTION_NAME_MAX),
		.description = "",
	};
	if (f.name == NULL)
		return adv_failure_set(failure, 0, "a name is 1 to 255 printable characters",
				       "%s has no proper name", symbol);
	if (room(s, f.run.address, true) == 0)
		return adv_failure_set(failure, 0, NULL,
				       "the function of %s does not lie in the module", symbol);
	if (table->description != NULL && room(s, table->description, false) > 0 &&
	    strnlen(table->description, room(s, table->description, false)) <
		    room(s, table->description, false))
		f.description = table->description;
	return add_function(module, &f, failure);
}

static int list_described(struct adv_loaded *module, const struct segments *s,
			  const struct symbols *symbols, struct adv_failure *failure)
{
	for (uint32_t i = 0; i < symbols->nr; i++) {
		const ElfW(Sym) *symbol = &symbols->table[i];
		const char *name = exported_name(s, symbols, symbol, STT_OBJECT);
		if (name == NULL ||
		    strncmp(name, ADV_FUNCTION_PREFIX, sizeof(ADV_FUNCTION_PREFIX) - 1) != 0)
			continue;
		int rc = add_described(module, s, absolute(s, s->base + symbol->st_value), name,
				       failure);
		if (rc < 0)
			return rc;
	}
	module->described = module->nr_functions > 0;
	return 0;
}

static int list_classic(struct adv_loaded *module, const struct segments *s,
			const struct symbols *symbols, struct adv_failure *failure)
{
	for (uint32_t i = 0; i < symbols->nr; i++) {
		const ElfW(Sym) *symbol = &symbols->table[i];
		struct adv_loaded_function f = {
			.run.address = (void *)(s->base + symbol->st_value),
			.name = exported_name(s, symbols, symbol, STT_FUNC),
		};
		if (f.name == NULL || is_by_the_way(symbol, f.name) ||
		    room(s, f.run.address, true) == 0 || strcmp(f.name, "_init") == 0 ||
		    strcmp(f.name, "_fini") == 0)
			continue;
		int rc = add_function(module, &f, failure);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int by_name(const void *a, const void *b)
{
	const struct adv_loaded_function *x = a, *y = b;
	return strcmp(x->name, y->name);
}

/* The place in the sorted list is the function's number, the same in every sandbox that loads this file. */
static void sort(struct adv_loaded *module)
{
	qsort(module->functions, module->nr_functions, sizeof(module->functions[0]), by_name);
	uint32_t kept = 0;
	for (uint32_t i = 0; i < module->nr_functions; i++)
		if (kept == 0 ||
		    strcmp(module->functions[kept - 1].name, module->functions[i].name) != 0)
			module->functions[kept++] = module->functions[i];
	module->nr_functions = kept;
}

static int list_functions(struct adv_loaded *module, void *handle, struct adv_failure *failure)
{
	struct link_map *map;
	struct symbols symbols;
	if (dlinfo(handle, RTLD_DI_LINKMAP, &map) != 0)
		return explain(failure, dlerror());
	struct segments s = {.base = map->l_addr, .path = map->l_name};
	dl_iterate_phdr(note_segments, &s);
	if (find_symbols(&s, map->l_ld, &symbols) < 0)
		return adv_failure_set(failure, 0, NULL, "the module's symbol table is damaged");
	find_needs(module, &s, &symbols);
	int rc = list_described(module, &s, &symbols, failure);
	if (rc == 0 && !module->described)
		rc = list_classic(module, &s, &symbols, failure);
	if (rc < 0)
		return rc;
	sort(module);
	if (module->nr_functions == 0)
		return adv_failure_set(
			failure, 0,
			"declare one with ADV_FUNCTION(), or export one of the signature uint32_t "
			"f(void *, uint32_t, void *) with default visibility",
			"the module exports no function");
	return 0;
}

/* What the dynamic loader believes unseen: a file that ends before its segments do would be a SIGBUS in it. */
static int check_file(int fd, struct adv_failure *failure)
{
	ElfW(Ehdr) header;
	struct stat st;
	const char *wrong = NULL;
	if (fstat(fd, &st) < 0 || pread(fd, &header, sizeof(header), 0) != sizeof(header) ||
	    memcmp(header.e_ident, ELFMAG, SELFMAG) != 0)
		wrong = "it is not an ELF file";
	else if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_machine != MACHINE)
		wrong = "it is for another machine";
	else if (header.e_type != ET_DYN)
		wrong = "it is not a shared object: link it with -shared";
	for (unsigned i = 0; wrong == NULL && i < header.e_phnum; i++) {
		ElfW(Phdr) p;
		uint64_t size = (uint64_t)st.st_size;
		if (pread(fd, &p, sizeof(p), (off_t)(header.e_phoff + i * sizeof(p))) !=
			    sizeof(p) ||
		    (p.p_type == PT_LOAD && (p.p_offset > size || p.p_filesz > size - p.p_offset)))
			wrong = "its end is missing";
	}
	return wrong == NULL ? 0
			     : adv_failure_set(failure, 0, NULL, "the module cannot be loaded: %s",
					       wrong);
}

int adv_module_load(struct adv_loaded *module, int fd, struct adv_failure *failure)
{
	char path[16];
	if (check_file(fd, failure) < 0)
		return -EINVAL;
	snprintf(path, sizeof(path), "./%d", fd);
	module->described = false;
	module->nr_functions = 0;
	void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (handle == NULL)
		return explain(failure, dlerror());
	return list_functions(module, handle, failure);
}
