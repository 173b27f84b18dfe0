/*
 * test_store.c - the registry on a disk: what is put is found, listed, loaded and there again after a restart; what fails (a full,
 * read-only, damaged or occupied directory) says so and leaves what was there before.
 */
#include <criterion/criterion.h>
#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <openssl/evp.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "registry/internal.h"
#include "util/fd.h"

#define NOBODY 65534
#define ALICE  1000
#define BOB    1001

static char top[64], state[128], reason[ADV_REASON_MAX];
static struct adv_registry *r;

/* ---- a directory of the test's own ---- */

static int delete_it(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

static void set_up(void)
{
	snprintf(top, sizeof(top), "/tmp/adverb-store-XXXXXX");
	cr_assert_not_null(mkdtemp(top));
	snprintf(state, sizeof(state), "%s/state", top);
}

static void close_it(void)
{
	adv_registry_close(r);
	r = NULL;
}

static void tear_down(void)
{
	close_it();
	nftw(top, delete_it, 8, FTW_DEPTH | FTW_PHYS);
}

static void open_it(void)
{
	int rc = adv_registry_open(state, &r, reason, sizeof(reason));
	cr_assert_eq(rc, 0, "%d: %s", rc, reason);
}

static void reopen(void)
{
	adv_registry_close(r);
	open_it();
}

static void open_fails(int rc, const char *why)
{
	struct adv_registry *none = NULL;
	int got = adv_registry_open(state, &none, reason, sizeof(reason));
	cr_assert_eq(got, rc, "%d: %s", got, reason);
	cr_assert_null(none);
	cr_assert_not_null(strstr(reason, why), "\"%s\" has no \"%s\"", reason, why);
}

static const char *in_state(const char *name)
{
	static char path[256];
	snprintf(path, sizeof(path), "%s/%s", state, name);
	return path;
}

static void create(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");
	cr_assert_not_null(f, "%s", path);
	fputs(text, f);
	fclose(f);
}

static bool has_file(const char *digest)
{
	char name[128];
	snprintf(name, sizeof(name), "modules/%s.so", digest);
	return access(in_state(name), F_OK) == 0;
}

static unsigned files(void)
{
	unsigned n = 0;
	DIR *d = opendir(in_state("modules"));
	cr_assert_not_null(d);
	for (struct dirent *e; (e = readdir(d)) != NULL;)
		n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
	closedir(d);
	return n;
}

/* ---- jobs ---- */

struct end {
	unsigned times;
	enum adv_status status;
	char reason[ADV_REASON_MAX];
};

static void ended(void *user, enum adv_status status, const char *text)
{
	struct end *e = user;
	e->times++;
	e->status = status;
	snprintf(e->reason, sizeof(e->reason), "%s", text);
}

/* Until its end has been delivered, once. */
static enum adv_status await(struct end *e)
{
	struct pollfd p = {.fd = adv_registry_fd(r), .events = POLLIN};
	while (e->times == 0) {
		cr_assert_eq(poll(&p, 1, 60000), 1, "the job never ended");
		adv_registry_poll(r);
	}
	cr_assert_eq(e->times, 1);
	return e->status;
}

/* ---- modules ---- */

/* The least that is a module, and `salt` to tell it from others. */
struct image {
	Elf64_Ehdr h;
	Elf64_Phdr p[2];
	char salt[64];
};

static struct image image_of(const char *salt)
{
	struct image i = {
		.h = {.e_type = ET_DYN,
#ifdef __aarch64__
		      .e_machine = EM_AARCH64,
#else
		      .e_machine = EM_X86_64,
#endif
		      .e_phoff = offsetof(struct image, p),
		      .e_phentsize = sizeof(Elf64_Phdr),
		      .e_phnum = 2},
		.p = {{.p_type = PT_LOAD}, {.p_type = PT_DYNAMIC}},
	};
	memcpy(i.h.e_ident, ELFMAG "\2\1\1", 7);
	snprintf(i.salt, sizeof(i.salt), "%s", salt);
	return i;
}

static int memfd_of(const void *bytes, size_t size)
{
	int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	cr_assert_geq(fd, 0);
	cr_assert_eq(write(fd, bytes, size), (ssize_t)size);
	return fd;
}

static struct adv_module_function functions[] = {
	{.name = "f", .description = "", .described = false},
	{.name = "g", .description = "says \"g\"", .described = true},
};

static struct adv_module_new new_of(uint32_t owner, const char *name, const char *digest, int memfd)
{
	return (struct adv_module_new){.owner = owner,
				       .name = name,
				       .digest = digest,
				       .size_bytes = sizeof(struct image),
				       .hot = -1,
				       .nr_functions = 2,
				       .functions = functions,
				       .memfd = memfd};
}

static int checked(const char *salt, char *digest)
{
	struct image i = image_of(salt);
	struct end e = {0};
	int fd = memfd_of(&i, sizeof(i));
	cr_assert_eq(adv_registry_check(r, fd, digest, ended, &e), 0);
	cr_assert_eq(await(&e), ADV_OK, "%s", e.reason);
	return fd;
}

/* Deploys; NULL with `reason` when the registry could not. */
static struct adv_module *put(uint32_t owner, const char *name, const char *salt, bool public)
{
	char digest[2 * ADV_DIGEST_BYTES + 1];
	struct adv_module *m = NULL;
	struct end e = {0};
	int fd = checked(salt, digest);
	struct adv_module_new n = new_of(owner, name, digest, fd);
	n.is_public = public;
	cr_assert_eq(adv_registry_commit(r, &n, &m, ended, &e), 0);
	if (await(&e) == ADV_OK)
		return m;
	cr_assert_eq(e.status, ADV_STORAGE);
	cr_assert_null(m);
	snprintf(reason, sizeof(reason), "%s", e.reason);
	close(fd);
	return NULL;
}

static enum adv_status remove_it(struct adv_module *m)
{
	struct end e = {0};
	cr_assert_eq(adv_registry_remove(r, m, ended, &e), 0);
	return await(&e);
}

static enum adv_status load(struct adv_module *m)
{
	struct end e = {0};
	cr_assert_eq(adv_registry_load(r, m, ended, &e), 0);
	enum adv_status status = await(&e);
	snprintf(reason, sizeof(reason), "%s", e.reason);
	return status;
}

static bool holds(int memfd, const char *salt)
{
	struct image found, want = image_of(salt);
	return pread(memfd, &found, sizeof(found), 0) == (ssize_t)sizeof(found) &&
	       memcmp(&found, &want, sizeof(want)) == 0;
}

TestSuite(store, .init = set_up, .fini = tear_down);

/* ---- names ---- */

Test(store, module_names)
{
	char longest[ADV_NAME_MAX + 1];
	static const char *const good[] = {"a", "A9", "a.b", "a-b_c", "_x", "9", "x.", "a..b"};
	static const char *const bad[] = {"",	 ".",  ".a",	"-a",	"a/b", "a b",
					  "a\n", "..", "a\303", "a\\b", "a:b", "a%"};
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		cr_assert(adv_module_name_ok(good[i]), "%s", good[i]);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_assert_not(adv_module_name_ok(bad[i]), "%s", bad[i]);
	memset(longest, 'x', sizeof(longest));
	longest[ADV_NAME_MAX - 1] = '\0';
	cr_assert(adv_module_name_ok(longest));
	longest[ADV_NAME_MAX - 1] = 'x';
	longest[ADV_NAME_MAX] = '\0';
	cr_assert_not(adv_module_name_ok(longest));
}

/* ---- check ---- */

Test(store, check_hashes_and_seals)
{
	char digest[2 * ADV_DIGEST_BYTES + 1], hex[2 * ADV_DIGEST_BYTES + 1];
	unsigned char raw[ADV_DIGEST_BYTES];
	struct image i = image_of("one");
	open_it();
	int fd = checked("one", digest);
	cr_assert_eq(EVP_Digest(&i, sizeof(i), raw, NULL, EVP_sha256(), NULL), 1);
	for (size_t k = 0; k < sizeof(raw); k++)
		snprintf(hex + 2 * k, 3, "%02x", raw[k]);
	cr_assert_str_eq(digest, hex);
	cr_assert_eq(pwrite(fd, "x", 1, 0), -1);
	cr_assert_eq(ftruncate(fd, 0), -1);
	cr_assert_eq(ftruncate(fd, 4096), -1);
	cr_assert_eq(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
	cr_assert(holds(fd, "one"));
	close(fd);
}

Test(store, check_refuses)
{
	char digest[2 * ADV_DIGEST_BYTES + 1] = "untouched";
	open_it();
	for (size_t size = 0; size <= 4; size += 4) {
		struct end e = {0};
		int fd = memfd_of("text", size);
		cr_assert_eq(adv_registry_check(r, fd, digest, ended, &e), 0);
		cr_assert_eq(await(&e), ADV_BAD_MODULE);
		cr_assert_not_null(strstr(e.reason, size == 0 ? "empty" : "not ELF"), "%s",
				   e.reason);
		cr_assert_str_eq(digest, "untouched");
		close(fd);
	}
	cr_assert_eq(files(), 0);
}

/* ---- put, get, list, remove ---- */

Test(store, put_and_get)
{
	open_it();
	cr_assert_null(adv_registry_find(r, ALICE, "m"));
	struct adv_module *m = put(ALICE, "m", "one", false);
	cr_assert_not_null(m);
	cr_assert_eq(adv_registry_find(r, ALICE, "m"), m);
	cr_assert_eq(m->owner, ALICE);
	cr_assert_str_eq(m->name, "m");
	cr_assert_eq(m->refs, 1);
	cr_assert(m->current);
	cr_assert(has_file(m->digest));
	cr_assert_eq(m->nr_functions, 2);
	cr_assert_str_eq(m->functions[1].description, "says \"g\"");
	cr_assert(holds(m->memfd, "one"));
	cr_assert_null(adv_registry_find(r, BOB, "m"));
	cr_assert_null(adv_registry_find(r, ALICE, "M"));
}

Test(store, list_is_in_order)
{
	static const struct {
		uint32_t owner;
		const char *name;
	} rows[] = {{0, "z"}, {ALICE, "a"}, {ALICE, "aa"}, {ALICE, "b"}, {BOB, "a"}};
	static const unsigned put_order[] = {3, 0, 4, 2, 1};
	open_it();
	cr_assert_null(adv_registry_next(r, NULL));
	for (size_t i = 0; i < 5; i++)
		cr_assert_not_null(
			put(rows[put_order[i]].owner, rows[put_order[i]].name, "same", false));
	for (int round = 0; round < 2; round++) {
		struct adv_module *m = NULL;
		for (size_t i = 0; i < 5; i++) {
			m = adv_registry_next(r, m);
			cr_assert_not_null(m);
			cr_assert_eq(m->owner, rows[i].owner);
			cr_assert_str_eq(m->name, rows[i].name);
		}
		cr_assert_null(adv_registry_next(r, m));
		reopen();
	}
	cr_assert_eq(files(), 1); /* the same bytes are stored once */
}

Test(store, a_newer_version_replaces)
{
	open_it();
	struct adv_module *old = adv_module_get(put(ALICE, "m", "one", false));
	uint64_t key = old->key;
	struct adv_module *m = put(ALICE, "m", "two", true);
	cr_assert_neq(m, old);
	cr_assert_neq(m->key, key);
	cr_assert_eq(adv_registry_find(r, ALICE, "m"), m);
	cr_assert_eq(adv_registry_next(r, m), NULL);
	cr_assert_not(old->current);
	cr_assert_eq(old->refs, 1);
	cr_assert(holds(old->memfd, "one")); /* whoever leases it goes on */
	cr_assert_not(has_file(old->digest));
	cr_assert(has_file(m->digest));
	adv_module_put(old);
}

Test(store, remove_leaves_others)
{
	open_it();
	struct adv_module *a = put(ALICE, "m", "same", false);
	struct adv_module *b = put(BOB, "m", "same", false);
	char digest[2 * ADV_DIGEST_BYTES + 1];
	memcpy(digest, a->digest, sizeof(digest));
	cr_assert_str_eq(b->digest, digest);
	adv_module_get(a);
	cr_assert_eq(remove_it(a), ADV_OK);
	cr_assert_not(a->current);
	cr_assert_eq(a->refs, 1);
	adv_module_put(a);
	cr_assert_null(adv_registry_find(r, ALICE, "m"));
	cr_assert(has_file(digest));
	cr_assert_eq(remove_it(b), ADV_OK);
	cr_assert_not(has_file(digest));
	reopen();
	cr_assert_null(adv_registry_next(r, NULL));
}

/* ---- names as tenants give them ---- */

static struct adv_module *resolve(uint32_t tenant, const char *name)
{
	enum adv_status status = ADV_OK;
	struct adv_module *m =
		adv_registry_resolve(r, tenant, name, &status, reason, sizeof(reason));
	if (m == NULL)
		cr_assert(status == ADV_NO_MODULE || status == ADV_FORBIDDEN, "%d", (int)status);
	return m;
}

Test(store, tenants_and_public_modules)
{
	open_it();
	struct adv_module *mine = put(ALICE, "m", "one", false);
	struct adv_module *public = put(BOB, "p", "two", true);
	struct adv_module *shadow = put(BOB, "m", "two", true);
	cr_assert_eq(resolve(ALICE, "m"), mine); /* one's own before a public one */
	cr_assert_eq(resolve(1002, "m"), shadow);
	cr_assert_eq(resolve(ALICE, "p"), public);
	cr_assert_eq(resolve(ALICE, "1001/m"), shadow);
	cr_assert_eq(resolve(ALICE, "1000/m"), mine);
	cr_assert_null(resolve(BOB, "1000/m"), "another tenant's private module");
	cr_assert_eq(resolve(0, "1000/m"), mine);
	cr_assert_null(resolve(ALICE, "none"));
	cr_assert_null(resolve(ALICE, "1000/none"));
	cr_assert_null(resolve(ALICE, "4294968296/m")); /* 1000 + 2^32 */
	cr_assert_null(resolve(ALICE, "99999999999999999999999/m"));
	cr_assert_null(resolve(ALICE, "alice/m"));
	cr_assert_null(resolve(ALICE, "1000/m/"));
}

Test(store, several_public_modules_must_be_told_apart)
{
	open_it();
	cr_assert_not_null(put(ALICE, "p", "one", true));
	cr_assert_not_null(put(BOB, "p", "two", true));
	cr_assert_null(resolve(1002, "p"));
	cr_assert_not_null(strstr(reason, "OWNER/p"), "%s", reason);
	cr_assert_not_null(resolve(1002, "1001/p"));
	cr_assert_not_null(put(1003, "p", "three", true));
	cr_assert_null(resolve(1002, "p"));
}

/* strtoul() takes no digits for 0, a sign and blanks, so "/p" is root's module and "+1000/p" is 1000's. */
Test(store, an_owner_is_digits)
{
	open_it();
	cr_assert_not_null(put(0, "p", "one", true));
	cr_assert_null(resolve(ALICE, "/p"));
	cr_assert_null(resolve(ALICE, "+0/p"));
	cr_assert_null(resolve(ALICE, " 0/p"));
}

/* ---- again after a restart ---- */

Test(store, everything_is_there_after_reopening)
{
	char digest[2 * ADV_DIGEST_BYTES + 1], id[64];
	struct adv_module *m = NULL;
	struct end e = {0};
	open_it();
	snprintf(id, sizeof(id), "%s", adv_registry_node_id(r));
	cr_assert_eq(strlen(id), 32);
	struct adv_module_new n = new_of(4294967295u, "m", digest, checked("one", digest));
	n.is_public = n.poolable = true;
	n.hot = 7;
	n.profile = 2;
	n.profile_why = "it uses pthread_create";
	cr_assert_eq(adv_registry_commit(r, &n, &m, ended, &e), 0);
	cr_assert_eq(await(&e), ADV_OK, "%s", e.reason);
	int64_t deployed_at = m->deployed_at;
	reopen();
	cr_assert_str_eq(adv_registry_node_id(r), id);
	m = adv_registry_find(r, 4294967295u, "m");
	cr_assert_not_null(m);
	cr_assert_str_eq(m->digest, digest);
	cr_assert_eq(m->size_bytes, sizeof(struct image));
	cr_assert_eq(m->deployed_at, deployed_at);
	cr_assert(m->is_public && m->poolable && m->current);
	cr_assert_eq(m->hot, 7);
	cr_assert_eq(m->profile, 2);
	cr_assert_str_eq(m->profile_why, "it uses pthread_create");
	cr_assert_eq(m->memfd, -1);
	cr_assert_eq(m->nr_functions, 2);
	for (size_t i = 0; i < 2; i++) {
		cr_assert_str_eq(m->functions[i].name, functions[i].name);
		cr_assert_str_eq(m->functions[i].description, functions[i].description);
		cr_assert_eq(m->functions[i].described, functions[i].described);
	}
}

Test(store, load_brings_the_bytes)
{
	open_it();
	cr_assert_not_null(put(ALICE, "m", "one", false));
	reopen();
	struct adv_module *m = adv_registry_find(r, ALICE, "m");
	cr_assert_eq(load(m), ADV_OK, "%s", reason);
	cr_assert_geq(m->memfd, 0);
	cr_assert(holds(m->memfd, "one"));
	cr_assert_eq(pwrite(m->memfd, "x", 1, 0), -1);
	cr_assert_eq(adv_registry_load(r, m, ended, NULL), 1); /* it is there */
	cr_assert_eq(m->refs, 1);
}

Test(store, two_loads_at_once)
{
	struct end one = {0}, two = {0};
	open_it();
	cr_assert_not_null(put(ALICE, "m", "one", false));
	reopen();
	struct adv_module *m = adv_registry_find(r, ALICE, "m");
	cr_assert_eq(adv_registry_load(r, m, ended, &one), 0);
	cr_assert_eq(adv_registry_load(r, m, ended, &two), 0);
	cr_assert_eq(await(&one), ADV_OK);
	cr_assert_eq(await(&two), ADV_OK);
	cr_assert(holds(m->memfd, "one"));
	cr_assert_eq(m->refs, 1);
}

Test(store, a_damaged_file_is_not_loaded)
{
	char path[300];
	open_it();
	cr_assert_not_null(put(ALICE, "m", "one", false));
	reopen();
	struct adv_module *m = adv_registry_find(r, ALICE, "m");
	snprintf(path, sizeof(path), "%s/modules/%s.so", state, m->digest);
	cr_assert_eq(chmod(path, 0600), 0);
	create(path, "damaged");
	cr_assert_eq(load(m), ADV_STORAGE);
	cr_assert_not_null(strstr(reason, "damaged"), "%s", reason);
	cr_assert_eq(truncate(path, 0), 0);
	cr_assert_eq(load(m), ADV_STORAGE);
	cr_assert_eq(unlink(path), 0);
	cr_assert_eq(load(m), ADV_STORAGE);
	cr_assert_eq(m->memfd, -1);
	cr_assert(m->current);
}

Test(store, leftovers_are_swept)
{
	open_it();
	struct adv_module *m = put(ALICE, "m", "one", false);
	char orphan[128] = "modules/";
	memset(orphan + 8, 'a', 64);
	strcat(orphan, ".so");
	create(in_state("modules/.tmp-1-0"), "torn");
	create(in_state(orphan), "no row names it");
	create(in_state("modules/README"), "somebody's");
	cr_assert_eq(files(), 4);
	reopen();
	m = adv_registry_find(r, ALICE, "m");
	cr_assert(has_file(m->digest));
	cr_assert_eq(access(in_state("modules/README"), F_OK), 0);
	cr_assert_eq(files(), 2);
}

/* Nobody polls: the row is stored all the same, and the bytes stay the caller's. */
Test(store, closing_finishes_what_is_under_way)
{
	char digest[2 * ADV_DIGEST_BYTES + 1];
	struct adv_module *m = NULL;
	struct end e = {0};
	open_it();
	int fd = checked("one", digest);
	struct adv_module_new n = new_of(ALICE, "m", digest, fd);
	cr_assert_eq(adv_registry_commit(r, &n, &m, ended, &e), 0);
	reopen();
	cr_assert_eq(e.times, 0);
	cr_assert_null(m);
	cr_assert(holds(fd, "one"));
	close(fd);
	cr_assert_not_null(adv_registry_find(r, ALICE, "m"));
}

/* ---- directories that will not do ---- */

static void sql(const char *text)
{
	sqlite3 *db;
	cr_assert_eq(sqlite3_open(in_state("registry.db"), &db), SQLITE_OK);
	cr_assert_eq(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK, "%s", sqlite3_errmsg(db));
	sqlite3_close(db);
}

Test(store, one_node_at_a_time)
{
	open_it();
	cr_assert_not_null(put(ALICE, "m", "one", false));
	open_fails(-EBUSY, "another node");
	cr_assert_not_null(put(ALICE, "m", "two", false));
}

Test(store, a_damaged_database)
{
	open_it();
	close_it();
	create(in_state("registry.db"),
	       "This has never been a database, whatever its name may say.");
	open_fails(-EUCLEAN, "damaged");
}

Test(store, an_older_database)
{
	open_it();
	cr_assert_not_null(put(ALICE, "m", "one", false));
	close_it();
	sql("UPDATE module SET profile = 1; ALTER TABLE module DROP COLUMN profile_why; UPDATE "
	    "meta SET value = '1'; ALTER TABLE module RENAME COLUMN profile TO libraries");
	open_it();
	cr_assert_eq(adv_registry_find(r, ALICE, "m")->profile, 1);
}

Test(store, a_newer_database)
{
	open_it();
	close_it();
	sql("UPDATE meta SET value = '99' WHERE key = 'schema'");
	open_fails(-EUCLEAN, "newer Adverb");
}

Test(store, no_directory_above)
{
	snprintf(state, sizeof(state), "%s/none/state", top);
	open_fails(-ENOENT, "none/state");
	snprintf(state, sizeof(state), "%s/file", top);
	create(state, "");
	open_fails(-ENOTDIR, "file");
}

Test(store, no_more_than_the_maximum)
{
	char digest[2 * ADV_DIGEST_BYTES + 1];
	struct adv_module *m = NULL;
	open_it();
	adv_registry_close(r);
	sql("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4096) "
	    "INSERT INTO module SELECT i, 1000, 'm' || i, 'x', 0, 0, 0, 0, 0, 0, '' FROM n");
	cr_assert_eq(ADV_MODULES_MAX, 4096);
	open_it();
	int fd = checked("one", digest);
	struct adv_module_new n = new_of(ALICE, "one-more", digest, fd);
	cr_assert_eq(adv_registry_commit(r, &n, &m, ended, NULL), -ENOSPC);
	close(fd);
	cr_assert_not_null(put(ALICE, "m77", "one", false), "replacing needs no room");
}

/* As somebody whom permissions bind. */
Test(store, a_directory_without_permission)
{
	if (geteuid() == 0) {
		cr_assert_eq(chown(top, NOBODY, NOBODY), 0);
		cr_assert_eq(setegid(NOBODY), 0);
		cr_assert_eq(seteuid(NOBODY), 0);
	}
	open_it();
	cr_assert_not_null(put(ALICE, "m", "one", false));
	cr_assert_eq(chmod(in_state("modules"), 0500), 0);
	cr_assert_null(put(ALICE, "m", "two", false));
	cr_assert_not_null(strstr(reason, "Permission denied"), "%s", reason);
	cr_assert_null(put(ALICE, "other", "three", false));
	cr_assert(holds(adv_registry_find(r, ALICE, "m")->memfd, "one"));
	cr_assert_eq(files(), 1);
	close_it();
	open_fails(-EACCES, "modules");
	cr_assert_eq(chmod(in_state("modules"), 0700), 0);
	open_it();
	cr_assert_not_null(adv_registry_find(r, ALICE, "m"));
	cr_assert_null(adv_registry_find(r, ALICE, "other"));
	cr_assert_eq(load(adv_registry_find(r, ALICE, "m")), ADV_OK, "%s", reason);
	/* LeakSanitizer attaches to this process when it ends: it must be one user's, and dumpable. */
	if (getuid() == 0) {
		cr_assert_eq(seteuid(0), 0);
		cr_assert_eq(setegid(0), 0);
		cr_assert_eq(prctl(PR_SET_DUMPABLE, 1), 0);
	}
}

/* A file system of the test's own, which goes away with it. */
static void mount_small(void)
{
	if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
	    mount("tmpfs", top, "tmpfs", 0, "size=1m") != 0)
		cr_skip("mounting a file system needs root");
}

static void unmount(void)
{
	close_it();
	umount2(top, MNT_DETACH);
}

static void fill_disk(const char *path)
{
	static const char zeros[4096];
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	cr_assert_geq(fd, 0);
	while (write(fd, zeros, sizeof(zeros)) > 0)
		;
	cr_assert_eq(errno, ENOSPC);
	close(fd);
}

Test(store, a_full_disk)
{
	mount_small();
	open_it();
	cr_assert_not_null(put(ALICE, "m", "one", false));
	fill_disk(in_state("filler"));
	cr_assert_null(put(ALICE, "m", "two", false));
	cr_assert_not_null(strstr(reason, "No space"), "%s", reason);
	cr_assert_eq(files(), 1);
	cr_assert(holds(adv_registry_find(r, ALICE, "m")->memfd, "one"));
	adv_registry_close(r);
	cr_assert_eq(unlink(in_state("filler")), 0);
	open_it();
	struct adv_module *m = adv_registry_find(r, ALICE, "m");
	cr_assert_eq(load(m), ADV_OK, "%s", reason);
	cr_assert(holds(m->memfd, "one"));
	cr_assert_not_null(put(ALICE, "m", "two", false));
	unmount();
}

/* Room for the file, none for the row: the same bytes under another name. */
Test(store, a_full_disk_at_the_row)
{
	static char description[200 * 1024];
	char digest[2 * ADV_DIGEST_BYTES + 1];
	struct adv_module *m = NULL;
	struct end e = {0};
	mount_small();
	open_it();
	cr_assert_not_null(put(ALICE, "m", "one", false));
	fill_disk(in_state("filler"));
	memset(description, 'd', sizeof(description) - 1);
	const struct adv_module_function big = {.name = "f", .description = description};
	int fd = checked("one", digest);
	struct adv_module_new n = new_of(ALICE, "n", digest, fd);
	n.nr_functions = 1;
	n.functions = &big;
	cr_assert_eq(adv_registry_commit(r, &n, &m, ended, &e), 0);
	cr_assert_eq(await(&e), ADV_STORAGE);
	cr_assert_not_null(strstr(e.reason, "registry.db"), "%s", e.reason);
	close(fd);
	cr_assert_null(adv_registry_find(r, ALICE, "n"));
	cr_assert(has_file(digest), "the other row still names it");
	cr_assert_eq(unlink(in_state("filler")), 0);
	cr_assert_not_null(put(ALICE, "n", "one", false), "it works again: %s", reason);
	reopen();
	cr_assert_not_null(adv_registry_find(r, ALICE, "m"));
	unmount();
}

Test(store, a_read_only_file_system)
{
	mount_small();
	open_it();
	cr_assert_not_null(put(ALICE, "m", "one", false));
	close_it();
	cr_assert_eq(mount(NULL, top, NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
	open_fails(-EROFS, "modules");
	cr_assert_eq(mount(NULL, top, NULL, MS_REMOUNT, NULL), 0);
	open_it();
	cr_assert_not_null(adv_registry_find(r, ALICE, "m"));
	unmount();
}
