/*
 * libraries.c - further libraries that the operator allows in sandboxes, and what they need: copied without loading any.
 * The warden's only thread, at start. What it loaded itself would be in every tenant's process.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sandbox/warden.h"
#include "util/fd.h"

#if defined(__x86_64__)
#define TRIPLET "x86_64-linux-gnu"
#elif defined(__aarch64__)
#define TRIPLET "aarch64-linux-gnu"
#else
#error "add this architecture's multiarch triplet"
#endif

static const char *const library_dirs[] = {
	"/lib/" TRIPLET, "/usr/lib/" TRIPLET, "/lib64",		"/usr/lib64",
	"/lib",		 "/usr/lib",	      "/usr/local/lib",
};

/* In the warden's own link map: every sandbox has them without a file. */
static const char *const linked[] = {
	"libc.so.6",	   "libm.so.6",	 "libgcc_s.so.1", "libstdc++.so.6",
	"libpthread.so.0", "libdl.so.2", "librt.so.1",	  "libmvec.so.1",
};

/* ---- names ---- */

static bool known(const struct adv_libraries *l, const char *name)
{
	for (size_t i = 0; i < sizeof(linked) / sizeof(linked[0]); i++)
		if (strcmp(linked[i], name) == 0)
			return true;
	for (unsigned i = 0; i < l->nr; i++)
		if (strcmp(l->names[i], name) == 0)
			return true;
	return strncmp(name, "ld-linux", 8) == 0;
}

int adv_libraries_add(struct adv_libraries *l, const char *name, struct adv_failure *failure)
{
	if (known(l, name))
		return 0;
	if (strchr(name, '/') != NULL || name[0] == '.' || strlen(name) >= ADV_LIBRARY_NAME_MAX)
		return adv_failure_set(failure, EINVAL, "give a plain name such as libjpeg.so.62",
				       "[sandbox] libraries= names \"%.80s\"", name);
	if (l->nr == ADV_LIBRARIES_MAX)
		return adv_failure_set(failure, E2BIG, NULL,
				       "[sandbox] libraries= and what they need are more than %d",
				       ADV_LIBRARIES_MAX);
	snprintf(l->names[l->nr++], ADV_LIBRARY_NAME_MAX, "%s", name);
	return 0;
}

/* ---- what a library needs ---- */

struct image {
	const uint8_t *bytes;
	size_t size;
};

/* `size` bytes at `offset`, or NULL beyond the end. */
static const void *at(const struct image *image, uint64_t offset, uint64_t size)
{
	if (offset > image->size || size > image->size - offset || offset % 8 != 0)
		return NULL;
	return image->bytes + offset;
}

/* The file offset of an address, by the program headers; UINT64_MAX when there is none. */
static uint64_t to_offset(const ElfW(Phdr) * headers, unsigned nr, uint64_t address)
{
	for (unsigned i = 0; i < nr; i++)
		if (headers[i].p_type == PT_LOAD && address >= headers[i].p_vaddr &&
		    address - headers[i].p_vaddr < headers[i].p_filesz)
			return headers[i].p_offset + (address - headers[i].p_vaddr);
	return UINT64_MAX;
}

static int add_needed(struct adv_libraries *l, const struct image *image, const ElfW(Dyn) * dynamic,
		      size_t nr, uint64_t strings, struct adv_failure *failure)
{
	for (size_t i = 0; i < nr && dynamic[i].d_tag != DT_NULL; i++) {
		if (dynamic[i].d_tag != DT_NEEDED)
			continue;
		uint64_t offset = strings + dynamic[i].d_un.d_val;
		if (offset < strings || offset >= image->size)
			return -ENOEXEC;
		const char *name = (const char *)image->bytes + offset;
		if (strnlen(name, image->size - offset) == image->size - offset)
			return -ENOEXEC;
		int rc = adv_libraries_add(l, name, failure);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* Reads DT_NEEDED; every offset is checked against the file. -ENOEXEC: not a shared object for this machine. */
static int read_needed(struct adv_libraries *l, const struct image *image,
		       struct adv_failure *failure)
{
	const ElfW(Ehdr) *header = at(image, 0, sizeof(*header));
	if (header == NULL || memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 ||
	    header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_type != ET_DYN)
		return -ENOEXEC;
	unsigned nr = header->e_phnum;
	const ElfW(Phdr) *headers = at(image, header->e_phoff, (uint64_t)nr * sizeof(*headers));
	if (headers == NULL)
		return -ENOEXEC;
	for (unsigned i = 0; i < nr; i++) {
		if (headers[i].p_type != PT_DYNAMIC)
			continue;
		size_t entries = headers[i].p_filesz / sizeof(ElfW(Dyn));
		const ElfW(Dyn) *dynamic =
			at(image, headers[i].p_offset, entries * sizeof(*dynamic));
		uint64_t strings = UINT64_MAX;
		for (size_t k = 0; dynamic != NULL && k < entries; k++)
			if (dynamic[k].d_tag == DT_STRTAB)
				strings = to_offset(headers, nr, dynamic[k].d_un.d_ptr);
		if (strings == UINT64_MAX)
			return -ENOEXEC;
		return add_needed(l, image, dynamic, entries, strings, failure);
	}
	return -ENOEXEC;
}

static int needs_of(struct adv_libraries *l, int fd, size_t size, struct adv_failure *failure)
{
	void *bytes = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (bytes == MAP_FAILED)
		return -errno;
	const struct image image = {.bytes = bytes, .size = size};
	int rc = read_needed(l, &image, failure);
	munmap(bytes, size);
	return rc;
}

/* ---- copying ---- */

static int find_library(const char *name, struct stat *st)
{
	for (size_t i = 0; i < sizeof(library_dirs) / sizeof(library_dirs[0]); i++) {
		char path[ADV_LIBRARY_NAME_MAX + 64];
		snprintf(path, sizeof(path), "%s/%s", library_dirs[i], name);
		ADV_CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
		if (fd >= 0 && fstat(fd, st) == 0 && S_ISREG(st->st_mode))
			return adv_fd_steal(&fd);
	}
	return -ENOENT;
}

static int copy_file(int from, off_t size, int dir, const char *name)
{
	ADV_CLEANUP_FD int to =
		openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0444);
	if (to < 0)
		return -errno;
	while (size > 0) {
		ssize_t n = sendfile(to, from, NULL, (size_t)size);
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		size -= n;
	}
	return fchmod(to, 0444) < 0 ? -errno : 0;
}

/* The list grows while it is walked: needed libraries are added at its end. */
int adv_libraries_copy(struct adv_libraries *l, int dir, struct adv_failure *failure)
{
	uint64_t total = 0;
	for (unsigned i = 0; i < l->nr; i++) {
		struct stat st;
		ADV_CLEANUP_FD int fd = find_library(l->names[i], &st);
		if (fd < 0)
			return adv_failure_set(failure, ENOENT,
					       "install it, or take it out of [sandbox] libraries=",
					       "the library %s is in no system library directory",
					       l->names[i]);
		total += (uint64_t)st.st_size;
		if (total > ADV_LIBRARY_BYTES_MAX)
			return adv_failure_set(
				failure, EFBIG, NULL,
				"the libraries of [sandbox] libraries= take more than "
				"256 MiB");
		failure->text[0] = '\0';
		int rc = needs_of(l, fd, (size_t)st.st_size, failure);
		if (rc < 0 && failure->text[0] != '\0')
			return rc;
		if (rc == 0)
			rc = copy_file(fd, st.st_size, dir, l->names[i]);
		if (rc < 0)
			return adv_failure_set(failure, -rc, NULL, "could not copy the library %s",
					       l->names[i]);
	}
	return 0;
}
