/* test_registry.c - jobs of one name that queue up: the table, the rows and the files say the same when all of them have ended. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <poll.h>
#include <string.h>

#include "registry/registry.h"
#include "scratch.h"

#define ALICE 1000

static struct adv_registry *r;
static char reason[ADV_REASON_MAX];
static struct adv_module *gone[4]; /* references, in the order in which they went */
static unsigned nr_gone;

static void note_gone(void *user, struct adv_module *m)
{
	cr_assert_eq(user, &nr_gone);
	cr_assert_lt(nr_gone, 4);
	cr_assert_not(m->current);
	gone[nr_gone++] = adv_module_get(m);
}

static void open_it(void)
{
	int rc = adv_registry_open(scratch_dir, &r, reason, sizeof(reason));
	cr_assert_eq(rc, 0, "%d: %s", rc, reason);
	adv_registry_watch(r, note_gone, &nr_gone);
}

static void set_up(void)
{
	scratch_make();
	open_it();
}

static void tear_down(void)
{
	while (nr_gone > 0)
		adv_module_put(gone[--nr_gone]);
	adv_registry_close(r);
	scratch_remove();
}

TestSuite(registry, .init = set_up, .fini = tear_down);

/* ---- jobs ---- */

/* One module on its way into the table. */
struct deploy {
	char digest[2 * ADV_DIGEST_BYTES + 1];
	size_t size;
	int memfd;
	struct adv_module *module;
	bool done;
	enum adv_status status;
};

static void ended(void *user, enum adv_status status, const char *text)
{
	struct deploy *d = user;
	d->done = true;
	d->status = status;
	snprintf(reason, sizeof(reason), "%s", text != NULL ? text : "");
}

static void await(struct deploy *d)
{
	struct pollfd p = {.fd = adv_registry_fd(r), .events = POLLIN};
	while (!d->done) {
		cr_assert_eq(poll(&p, 1, 60000), 1, "the job never ended");
		adv_registry_poll(r);
	}
	cr_assert_eq(d->status, ADV_OK, "%s", reason);
	d->done = false;
}

static void check(struct deploy *d, const char *version)
{
	d->memfd = memfd_module(version, &d->size);
	cr_assert_eq(adv_registry_check(r, d->memfd, d->digest, ended, d), 0);
	await(d);
}

static void commit(struct deploy *d, const char *name)
{
	static struct adv_module_function f = {.name = "f", .description = ""};
	const struct adv_module_new n = {.owner = ALICE,
					 .name = name,
					 .digest = d->digest,
					 .size_bytes = d->size,
					 .hot = -1,
					 .nr_functions = 1,
					 .functions = &f,
					 .memfd = d->memfd};
	cr_assert_eq(adv_registry_commit(r, &n, &d->module, ended, d), 0);
}

static unsigned nr_files(void)
{
	unsigned n = 0;
	DIR *d = opendir(scratch_path("modules"));
	cr_assert_not_null(d);
	for (const struct dirent *e; (e = readdir(d)) != NULL;)
		n += e->d_name[0] != '.';
	closedir(d);
	return n;
}

static const char *digest_of(const char *name)
{
	const struct adv_module *m = adv_registry_find(r, ALICE, name);
	return m != NULL ? m->digest : NULL;
}

/* ---- tests ---- */

Test(registry, who_is_replaced_or_removed_is_told_of)
{
	struct deploy one = {0}, two = {0};
	check(&one, "one");
	commit(&one, "m");
	await(&one);
	cr_assert_eq(nr_gone, 0);
	check(&two, "two");
	commit(&two, "m");
	await(&two);
	cr_assert(nr_gone == 1 && gone[0] == one.module);
	cr_assert_eq(adv_registry_remove(r, two.module, ended, &two), 0);
	await(&two);
	cr_assert(nr_gone == 2 && gone[1] == two.module);
	cr_assert_eq(nr_files(), 0);
}

Test(registry, two_deploys_at_once)
{
	struct deploy old = {0}, one = {0}, two = {0};
	check(&old, "old");
	commit(&old, "m");
	await(&old);
	check(&one, "one");
	check(&two, "two");
	commit(&one, "m");
	commit(&two, "m");
	await(&one);
	await(&two);
	cr_assert(nr_gone == 2 && gone[0] == old.module && gone[1] == one.module);
	cr_assert_str_eq(digest_of("m"), two.digest);
	cr_assert_eq(nr_files(), 1, "the one in between left its file");
}

Test(registry, a_removal_behind_a_deploy_removes_what_is_there)
{
	struct deploy old = {0}, new = {0}, other = {0};
	check(&old, "old");
	commit(&old, "m");
	await(&old);
	check(&other, "other");
	commit(&other, "n");
	await(&other);
	check(&new, "new");
	commit(&new, "m");
	cr_assert_eq(adv_registry_remove(r, old.module, ended, &old), 0);
	await(&new);
	await(&old);
	cr_assert(nr_gone == 2 && gone[0] == old.module && gone[1] == new.module);
	cr_assert_null(digest_of("m"));
	cr_assert_str_eq(digest_of("n"), other.digest);
	cr_assert_eq(nr_files(), 1);
	adv_registry_close(r);
	open_it();
	cr_assert_null(digest_of("m"), "and after a restart too");
	cr_assert_not_null(digest_of("n"));
}

Test(registry, a_removal_before_a_deploy_leaves_the_new_one)
{
	struct deploy old = {0}, new = {0};
	check(&old, "same");
	commit(&old, "m");
	await(&old);
	check(&new, "same");
	cr_assert_eq(adv_registry_remove(r, old.module, ended, &old), 0);
	commit(&new, "m");
	await(&old);
	await(&new);
	cr_assert_str_eq(digest_of("m"), new.digest);
	cr_assert_eq(nr_files(), 1, "its bytes are there again");
}
