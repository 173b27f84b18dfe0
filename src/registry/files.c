/* files.c - module files: sealed, hashed, stored durably, read back verified. The registry's thread. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "registry/internal.h"
#include "util/fd.h"

#define ALL_SEALS (F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

static enum adv_status failed(enum adv_status status, char *reason, size_t size, const char *what,
			      const char *path, int error)
{
	snprintf(reason, size, "%s %s: %s", what, path, strerror(error));
	return status;
}

static enum adv_status disk_failed(char *reason, size_t size, const char *what, const char *name,
				   int error)
{
	snprintf(reason, size, "%s modules/%s: %s: %s", what, name, strerror(error),
		 adv_storage_remedy(-error));
	return ADV_STORAGE;
}

/* ---- hashes ---- */

static int hash(const void *bytes, size_t size, char *digest)
{
	unsigned char raw[ADV_DIGEST_BYTES];
	unsigned length = 0;
	if (EVP_Digest(bytes, size, raw, &length, EVP_sha256(), NULL) != 1 || length != sizeof(raw))
		return -EIO;
	for (size_t i = 0; i < sizeof(raw); i++)
		snprintf(digest + 2 * i, 3, "%02x", raw[i]);
	return 0;
}

/* The memfd's bytes, mapped read-only. */
static void *map_file(int fd, size_t *size)
{
	struct stat st;
	if (fstat(fd, &st) < 0 || st.st_size <= 0)
		return NULL;
	void *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	*size = (size_t)st.st_size;
	return map == MAP_FAILED ? NULL : map;
}

enum adv_status adv_file_check(int memfd, char *digest, char *reason, size_t size)
{
	struct stat st;
	if (fcntl(memfd, F_ADD_SEALS, ALL_SEALS) < 0)
		return failed(ADV_SYSTEM, reason, size, "cannot seal", "the module's bytes", errno);
	if (fstat(memfd, &st) < 0)
		return failed(ADV_SYSTEM, reason, size, "cannot look at", "the module's bytes",
			      errno);
	if (st.st_size == 0) {
		adv_elf_check(NULL, 0, reason, size);
		return ADV_BAD_MODULE;
	}
	size_t bytes;
	void *map = map_file(memfd, &bytes);
	if (map == NULL)
		return failed(ADV_SYSTEM, reason, size, "cannot map", "the module's bytes", errno);
	enum adv_status status = ADV_OK;
	if (adv_elf_check(map, bytes, reason, size) < 0)
		status = ADV_BAD_MODULE;
	else if (hash(map, bytes, digest) < 0)
		status = failed(ADV_SYSTEM, reason, size, "cannot hash", "the module's bytes", EIO);
	munmap(map, bytes);
	return status;
}

/* ---- storing ---- */

static void file_name(char *out, size_t size, const char *digest)
{
	snprintf(out, size, "%s.so", digest);
}

static int copy(int to, int from, uint64_t bytes)
{
	off_t at = 0;
	while ((uint64_t)at < bytes) {
		ssize_t n = sendfile(to, from, &at, bytes - (uint64_t)at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
	}
	return 0;
}

/* A name that no other job of this process has, and no other process writes here. */
static int open_temporary(int dir, char *name, size_t size)
{
	static unsigned counter;
	for (int i = 0; i < 1000; i++) {
		snprintf(name, size, ".tmp-%d-%u", (int)getpid(), counter++);
		int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
				0400);
		if (fd >= 0 || errno != EEXIST)
			return fd;
	}
	return -1;
}

/* Is the file there with these bytes? */
static bool is_intact(int dir, const char *name, const char *digest, uint64_t bytes)
{
	char found[2 * ADV_DIGEST_BYTES + 1];
	size_t size;
	int fd ADV_CLEANUP_FD = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	void *map = fd >= 0 ? map_file(fd, &size) : NULL;
	if (map == NULL)
		return false;
	bool intact = size == bytes && hash(map, size, found) == 0 && strcmp(found, digest) == 0;
	munmap(map, size);
	return intact;
}

enum adv_status adv_file_store(int dir, int memfd, const char *digest, uint64_t bytes, char *reason,
			       size_t size)
{
	char name[2 * ADV_DIGEST_BYTES + 8], temporary[64];
	file_name(name, sizeof(name), digest);
	/* Content-addressed: it was written and synced whole, but disks forget. */
	if (is_intact(dir, name, digest, bytes))
		return ADV_OK;
	int fd ADV_CLEANUP_FD = open_temporary(dir, temporary, sizeof(temporary));
	if (fd < 0)
		return disk_failed(reason, size, "cannot create a file in", "", errno);
	int rc = copy(fd, memfd, bytes);
	if (rc == 0 && fsync(fd) < 0)
		rc = -errno;
	if (rc == 0 && renameat(dir, temporary, dir, name) < 0)
		rc = -errno;
	if (rc < 0) {
		unlinkat(dir, temporary, 0);
		return disk_failed(reason, size, "cannot write", name, -rc);
	}
	if (fsync(dir) < 0)
		return disk_failed(reason, size, "cannot sync", "", errno);
	return ADV_OK;
}

void adv_file_remove(int dir, const char *digest)
{
	char name[2 * ADV_DIGEST_BYTES + 8];
	file_name(name, sizeof(name), digest);
	unlinkat(dir, name, 0);
}

/* ---- reading back ---- */

static enum adv_status damaged(char *reason, size_t size, const char *name)
{
	snprintf(reason, size, "modules/%s is damaged on the disk: deploy the module again", name);
	return ADV_STORAGE;
}

static enum adv_status verify(int memfd, const char *digest, const char *name, char *reason,
			      size_t size)
{
	char found[2 * ADV_DIGEST_BYTES + 1];
	size_t bytes;
	void *map = map_file(memfd, &bytes);
	if (map == NULL)
		return damaged(reason, size, name);
	int rc = hash(map, bytes, found);
	munmap(map, bytes);
	return rc < 0 || strcmp(found, digest) != 0 ? damaged(reason, size, name) : ADV_OK;
}

enum adv_status adv_file_load(int dir, const char *digest, int *memfd, char *reason, size_t size)
{
	char name[2 * ADV_DIGEST_BYTES + 8];
	struct stat st;
	file_name(name, sizeof(name), digest);
	int file ADV_CLEANUP_FD = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (file < 0 || fstat(file, &st) < 0)
		return disk_failed(reason, size, "cannot read", name, errno);
	int fd ADV_CLEANUP_FD = memfd_create("adverb-module", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return failed(ADV_SYSTEM, reason, size, "cannot make memory for", name, errno);
	int rc = copy(fd, file, (uint64_t)st.st_size);
	if (rc < 0)
		return disk_failed(reason, size, "cannot read", name, -rc);
	if (fcntl(fd, F_ADD_SEALS, ALL_SEALS) < 0)
		return failed(ADV_SYSTEM, reason, size, "cannot seal", name, errno);
	enum adv_status status = verify(fd, digest, name, reason, size);
	if (status == ADV_OK)
		*memfd = adv_fd_steal(&fd);
	return status;
}

/* ---- sweeping ---- */

static bool is_leftover(const char *name, bool (*wanted)(void *user, const char *digest),
			void *user)
{
	char digest[2 * ADV_DIGEST_BYTES + 1];
	if (strncmp(name, ".tmp-", 5) == 0)
		return true;
	if (strlen(name) != 2 * ADV_DIGEST_BYTES + 3 ||
	    strcmp(name + 2 * ADV_DIGEST_BYTES, ".so") != 0)
		return false;
	memcpy(digest, name, sizeof(digest) - 1);
	digest[sizeof(digest) - 1] = '\0';
	return !wanted(user, digest);
}

void adv_file_sweep(int dir, bool (*wanted)(void *user, const char *digest), void *user)
{
	int copy_fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = copy_fd >= 0 ? fdopendir(copy_fd) : NULL;
	struct dirent *e;
	if (d == NULL) {
		adv_fd_close(&copy_fd);
		return;
	}
	while ((e = readdir(d)) != NULL)
		if (is_leftover(e->d_name, wanted, user))
			unlinkat(dir, e->d_name, 0);
	closedir(d);
}
