/* scratch.h - a directory for one test, the bytes of a module (ADVERB_TEST_MODULE), and memfds with them. */
#ifndef ADVERB_TESTS_UNIT_SCRATCH_H
#define ADVERB_TESTS_UNIT_SCRATCH_H

#include <criterion/criterion.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static char scratch_dir[64];

static inline void scratch_make(void)
{
	snprintf(scratch_dir, sizeof(scratch_dir), "/tmp/adverb-unit-XXXXXX");
	cr_assert_not_null(mkdtemp(scratch_dir));
}

static inline int scratch_remove_one(const char *path, const struct stat *st, int type,
				     struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static inline void scratch_remove(void)
{
	nftw(scratch_dir, scratch_remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* "DIR/name"; valid until the next call. */
static inline const char *scratch_path(const char *name)
{
	static char path[512];
	snprintf(path, sizeof(path), "%s/%s", scratch_dir, name);
	return path;
}

static inline void scratch_write(const char *name, const void *bytes, size_t size)
{
	int fd = open(scratch_path(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	cr_assert_geq(fd, 0, "%s", name);
	cr_assert_eq(write(fd, bytes, size), (ssize_t)size);
	close(fd);
}

static inline bool scratch_has(const char *name)
{
	struct stat st;
	return lstat(scratch_path(name), &st) == 0;
}

/* The whole file in a buffer that the caller frees. */
static inline uint8_t *bytes_of(const char *path, size_t *size)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	cr_assert_geq(fd, 0, "%s", path);
	cr_assert_eq(fstat(fd, &st), 0);
	uint8_t *bytes = malloc((size_t)st.st_size + 1);
	cr_assert_not_null(bytes);
	cr_assert_eq(read(fd, bytes, (size_t)st.st_size), (ssize_t)st.st_size);
	close(fd);
	*size = (size_t)st.st_size;
	return bytes;
}

static inline uint8_t *module_bytes(size_t *size)
{
	const char *path = getenv("ADVERB_TEST_MODULE");
	cr_assert_not_null(path, "ADVERB_TEST_MODULE names no file: run this by meson test");
	return bytes_of(path, size);
}

static inline int memfd_of(const void *bytes, size_t size)
{
	int fd = memfd_create("unit", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	cr_assert_geq(fd, 0);
	cr_assert_eq(write(fd, bytes, size), (ssize_t)size);
	return fd;
}

/* The test module with `version` behind it: a good shared object with a digest of its own. */
static inline int memfd_module(const char *version, size_t *size)
{
	uint8_t *bytes = module_bytes(size);
	int fd = memfd_of(bytes, *size);
	cr_assert_eq(write(fd, version, strlen(version)), (ssize_t)strlen(version));
	*size += strlen(version);
	free(bytes);
	return fd;
}

#endif
