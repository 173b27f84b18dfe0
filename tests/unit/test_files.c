/*
 * test_files.c - module files: sealed and hashed, stored whole, read back only when the bytes are those of the digest,
 * and what the sweep at the start takes away.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <openssl/sha.h>
#include <signal.h>
#include <sys/resource.h>

#include "registry/internal.h"
#include "scratch.h"

static int dir;
static char reason[ADV_REASON_MAX];

static void setup(void)
{
	scratch_make();
	dir = open(scratch_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cr_assert_geq(dir, 0);
}

static void teardown(void)
{
	close(dir);
	scratch_remove();
}

TestSuite(files, .init = setup, .fini = teardown);

static void digest_of(const void *bytes, size_t size, char *digest)
{
	unsigned char raw[SHA256_DIGEST_LENGTH];
	SHA256(bytes, size, raw);
	for (int i = 0; i < SHA256_DIGEST_LENGTH; i++)
		sprintf(digest + 2 * i, "%02x", raw[i]);
}

static const char *file_of(const char *digest)
{
	static char name[2 * ADV_DIGEST_BYTES + 4];
	snprintf(name, sizeof(name), "%.64s.so", digest);
	return name;
}

/* Some bytes, not ELF: only adv_file_check() looks at that. */
static const char *store(const char *text)
{
	static char digest[2 * ADV_DIGEST_BYTES + 1];
	int fd = memfd_of(text, strlen(text));
	digest_of(text, strlen(text), digest);
	cr_assert_eq(adv_file_store(dir, fd, digest, strlen(text), reason, sizeof(reason)), ADV_OK,
		     "%s", reason);
	close(fd);
	return digest;
}

Test(files, check_seals_and_hashes)
{
	size_t size;
	char digest[2 * ADV_DIGEST_BYTES + 1] = "", wanted[2 * ADV_DIGEST_BYTES + 1];
	uint8_t *bytes = module_bytes(&size);
	int fd = memfd_of(bytes, size);
	cr_assert_eq(adv_file_check(fd, digest, reason, sizeof(reason)), ADV_OK, "%s", reason);
	digest_of(bytes, size, wanted);
	cr_assert_str_eq(digest, wanted);
	cr_assert_eq(pwrite(fd, "x", 1, 0), -1);
	cr_assert_eq(errno, EPERM);
	cr_assert_eq(ftruncate(fd, 1), -1);
	cr_assert_eq(fcntl(fd, F_GET_SEALS) & 15,
		     F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
	free(bytes);
	close(fd);
}

Test(files, check_refuses_what_is_no_module)
{
	char digest[2 * ADV_DIGEST_BYTES + 1] = "untouched";
	int empty = memfd_of("", 0), text = memfd_of("hello", 5);
	cr_assert_eq(adv_file_check(empty, digest, reason, sizeof(reason)), ADV_BAD_MODULE);
	cr_assert_not_null(strstr(reason, "empty"), "%s", reason);
	cr_assert_eq(adv_file_check(text, digest, reason, sizeof(reason)), ADV_BAD_MODULE);
	cr_assert_not_null(strstr(reason, "not ELF"), "%s", reason);
	cr_assert_str_eq(digest, "untouched");
	close(empty);
	close(text);
}

/* What someone may still be writing to is not hashed. */
Test(files, check_refuses_what_cannot_be_sealed)
{
	size_t size;
	char digest[2 * ADV_DIGEST_BYTES + 1];
	uint8_t *bytes = module_bytes(&size);
	int fd = memfd_of(bytes, size);
	void *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	cr_assert_neq(map, MAP_FAILED);
	cr_assert_eq(adv_file_check(fd, digest, reason, sizeof(reason)), ADV_SYSTEM);
	cr_assert_eq(adv_file_check(-1, digest, reason, sizeof(reason)), ADV_SYSTEM);
	munmap(map, size);
	free(bytes);
	close(fd);
}

Test(files, stored_and_loaded)
{
	const char *digest = store("some bytes");
	struct stat st;
	int fd = -1;
	char back[32] = "";
	cr_assert_eq(fstatat(dir, file_of(digest), &st, 0), 0);
	cr_assert_eq(st.st_mode & 07777, 0400);
	cr_assert_eq(adv_file_load(dir, digest, &fd, reason, sizeof(reason)), ADV_OK, "%s", reason);
	cr_assert_eq(pread(fd, back, sizeof(back), 0), 10);
	cr_assert_str_eq(back, "some bytes");
	cr_assert_eq(pwrite(fd, "x", 1, 0), -1, "sealed");
	close(fd);
}

/* The descriptor's position does not count, and stays. */
Test(files, stored_from_the_start)
{
	char digest[2 * ADV_DIGEST_BYTES + 1];
	int fd = memfd_of("0123456789", 10), back = -1;
	digest_of("0123456789", 10, digest);
	lseek(fd, 7, SEEK_SET);
	cr_assert_eq(adv_file_store(dir, fd, digest, 10, reason, sizeof(reason)), ADV_OK);
	cr_assert_eq(lseek(fd, 0, SEEK_CUR), 7);
	cr_assert_eq(adv_file_load(dir, digest, &back, reason, sizeof(reason)), ADV_OK, "%s",
		     reason);
	close(fd);
	close(back);
}

Test(files, stored_twice_is_kept)
{
	struct stat first, second;
	const char *digest = store("some bytes");
	cr_assert_eq(fstatat(dir, file_of(digest), &first, 0), 0);
	store("some bytes");
	cr_assert_eq(fstatat(dir, file_of(digest), &second, 0), 0);
	cr_assert_eq(first.st_ino, second.st_ino);
}

static void not_loaded(const char *digest, const char *word)
{
	int fd = -77;
	cr_assert_eq(adv_file_load(dir, digest, &fd, reason, sizeof(reason)), ADV_STORAGE);
	cr_assert_eq(fd, -77, "untouched on failure");
	cr_assert_not_null(strstr(reason, word), "no \"%s\" in: %s", word, reason);
}

Test(files, damage_is_found)
{
	const char *digest = store("some bytes");
	scratch_write(file_of(digest), "some bytez", 10);
	not_loaded(digest, "damaged");
	scratch_write(file_of(digest), "some", 4);
	not_loaded(digest, "damaged");
	scratch_write(file_of(digest), "", 0);
	not_loaded(digest, "damaged");
	adv_file_remove(dir, digest);
	not_loaded(digest, "cannot read");
	adv_file_remove(dir, digest); /* is gone already */
}

Test(files, links_are_not_followed)
{
	char digest[2 * ADV_DIGEST_BYTES + 1];
	digest_of("secret", 6, digest);
	scratch_write("elsewhere", "secret", 6);
	cr_assert_eq(symlinkat("elsewhere", dir, file_of(digest)), 0);
	not_loaded(digest, "cannot read");
	store("secret"); /* replaces the link */
	int fd;
	cr_assert_eq(adv_file_load(dir, digest, &fd, reason, sizeof(reason)), ADV_OK, "%s", reason);
	close(fd);
}

/* A file that was cut by a crash of the machine is written anew. */
Test(files, a_cut_file_is_replaced)
{
	char digest[2 * ADV_DIGEST_BYTES + 1];
	int fd;
	digest_of("some bytes", 10, digest);
	scratch_write(file_of(digest), "some", 4);
	store("some bytes");
	cr_assert_eq(adv_file_load(dir, digest, &fd, reason, sizeof(reason)), ADV_OK, "%s", reason);
	close(fd);
}

/* "deploy the module again", says adv_file_load(): that must help. */
Test(files, a_damaged_file_is_replaced)
{
	int fd;
	const char *digest = store("some bytes");
	scratch_write(file_of(digest), "some bytez", 10);
	not_loaded(digest, "deploy the module again");
	store("some bytes");
	cr_assert_eq(adv_file_load(dir, digest, &fd, reason, sizeof(reason)), ADV_OK, "%s", reason);
	close(fd);
}

/* A full disk, played by a limit: refused, and nothing is left behind. */
Test(files, no_space)
{
	struct rlimit old, small = {.rlim_cur = 4, .rlim_max = RLIM_INFINITY};
	char digest[2 * ADV_DIGEST_BYTES + 1];
	int fd = memfd_of("some bytes", 10);
	digest_of("some bytes", 10, digest);
	signal(SIGXFSZ, SIG_IGN);
	cr_assert_eq(getrlimit(RLIMIT_FSIZE, &old), 0);
	small.rlim_max = old.rlim_max;
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
	enum adv_status status = adv_file_store(dir, fd, digest, 10, reason, sizeof(reason));
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &old), 0);
	cr_assert_eq(status, ADV_STORAGE, "%s", reason);
	cr_assert_not(scratch_has(file_of(digest)));
	cr_assert_eq(rmdir(scratch_dir), 0, "a temporary file is left");
	close(fd);
}

static bool only_a(void *user, const char *digest)
{
	(*(int *)user)++;
	return digest[0] == 'a';
}

Test(files, swept)
{
	char a[80], b[80];
	int asked = 0;
	snprintf(a, sizeof(a), "%064d.so", 0);
	snprintf(b, sizeof(b), "%064d.so", 0);
	memset(a, 'a', 64);
	memset(b, 'b', 64);
	const char *const others[] = {"notes.txt", "short.so", "tmp-1", "a.so.tmp"};
	scratch_write(a, "x", 1);
	scratch_write(b, "x", 1);
	scratch_write(".tmp-1-2", "x", 1);
	scratch_write(".tmp-", "x", 1);
	for (size_t i = 0; i < 4; i++)
		scratch_write(others[i], "x", 1);
	adv_file_sweep(dir, only_a, &asked);
	cr_assert_eq(asked, 2);
	cr_assert(scratch_has(a));
	cr_assert_not(scratch_has(b));
	cr_assert_not(scratch_has(".tmp-1-2"));
	cr_assert_not(scratch_has(".tmp-"));
	for (size_t i = 0; i < 4; i++)
		cr_assert(scratch_has(others[i]), "%s is not the registry's", others[i]);
	adv_file_sweep(dir, only_a, &asked); /* the directory can be read again */
	cr_assert_eq(asked, 3);
}
