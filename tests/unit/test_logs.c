/* test_logs.c - rings of lines: what is kept, for whom, and what makes room. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "control/logs.h"

#define ALICE 1000u
#define BOB   1001u
#define NOON  UINT64_C(1790000000000000000)

static struct adv_logs *logs;
static char seen[1 << 17];
static uint64_t next, nr_seen;
static bool lost;

static void setup(void)
{
	cr_assert_eq(adv_logs_create(&logs), 0);
}

static void teardown(void)
{
	adv_logs_destroy(logs);
}

TestSuite(logs, .init = setup, .fini = teardown);

static void add_at(const char *module, uint32_t tenant, const char *text, uint64_t time_ns)
{
	const struct adv_log_line line = {
		.time_ns = time_ns, .tenant = tenant, .sandbox = 7, .text = text};
	adv_logs_add(logs, ALICE, module, &line);
}

static void add(const char *module, uint32_t tenant, const char *text)
{
	add_at(module, tenant, text, NOON);
}

static void note(void *user, const struct adv_log_line *line)
{
	(void)user;
	cr_assert_eq(line->sandbox, 7);
	cr_assert_gt(line->number, 0);
	strcat(seen, line->text);
	strcat(seen, ";");
	nr_seen++;
}

static const char *read_max(const char *module, uint32_t reader, uint64_t since, uint32_t max)
{
	seen[0] = '\0';
	nr_seen = 0;
	next = adv_logs_read(logs, ALICE, module, reader, since, max, &lost, note, NULL);
	return seen;
}

static const char *read_all(const char *module, uint32_t reader, uint64_t since)
{
	return read_max(module, reader, since, UINT32_MAX);
}

Test(logs, nothing)
{
	cr_assert_str_eq(read_all("m", ALICE, 0), "");
	cr_assert_eq(next, 0);
	cr_assert_not(lost);
}

Test(logs, in_order_and_once)
{
	add("m", ALICE, "one");
	add("m", ALICE, "two");
	cr_assert_str_eq(read_all("m", ALICE, 0), "one;two;");
	uint64_t two = next;
	cr_assert_str_eq(read_all("m", ALICE, two), "");
	cr_assert_eq(next, two);
	add("m", ALICE, "three");
	cr_assert_str_eq(read_all("m", ALICE, two), "three;");
	cr_assert_not(lost);
}

Test(logs, some_at_a_time)
{
	for (int i = 0; i < 10; i++)
		add("m", ALICE, i % 2 ? "odd" : "even");
	cr_assert_str_eq(read_max("m", ALICE, 0, 3), "even;odd;even;");
	cr_assert_str_eq(read_max("m", ALICE, next, 3), "odd;even;odd;");
	cr_assert_str_eq(read_max("m", ALICE, next, 30), "even;odd;even;odd;");
}

Test(logs, each_tenant_its_own)
{
	add("m", ALICE, "alice");
	add("m", BOB, "bob");
	cr_assert_str_eq(read_all("m", ALICE, 0), "alice;");
	uint64_t after = next;
	cr_assert_str_eq(read_all("m", BOB, 0), "bob;");
	cr_assert_str_eq(read_all("m", 0, 0), "alice;bob;");
	cr_assert_str_eq(read_all("m", ALICE, after), "", "bob's is passed over, and not lost");
	cr_assert_not(lost);
	cr_assert_str_eq(read_all("other", ALICE, 0), "");
}

Test(logs, the_oldest_make_room)
{
	char text[ADV_LOG_LINE_BYTES];
	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	add("m", ALICE, "first");
	read_all("m", ALICE, 0);
	uint64_t first = next;
	for (unsigned i = 0; i < 3 * ADV_LOG_RING_BYTES / sizeof(text); i++)
		add("m", ALICE, text);
	add("m", ALICE, "last");
	read_all("m", ALICE, first);
	cr_assert(lost);
	cr_assert_leq(strlen(seen), ADV_LOG_RING_BYTES + nr_seen);
	cr_assert_gt(nr_seen, 60);
	cr_assert_not_null(strstr(seen, "last;"));
	cr_assert_null(strstr(seen, "first"));
	read_all("m", ALICE, next - 1);
	cr_assert_not(lost, "what is asked for is there");
	cr_assert_str_eq(seen, "last;");
}

Test(logs, forgotten_and_back)
{
	add("m", ALICE, "before");
	read_all("m", ALICE, 0);
	uint64_t before = next;
	adv_logs_forget(logs, ALICE, "m");
	adv_logs_forget(logs, ALICE, "m");
	adv_logs_forget(logs, BOB, "m");
	cr_assert_str_eq(read_all("m", ALICE, 0), "");
	add_at("m", ALICE, "after", NOON + 5000000);
	cr_assert_str_eq(read_all("m", ALICE, before), "after;");
	cr_assert(lost, "there may have been more");
}

Test(logs, modules_are_bounded)
{
	char name[ADV_NAME_MAX];
	for (int i = 0; i <= ADV_LOG_MODULES; i++) {
		snprintf(name, sizeof(name), "m%d", i);
		add(name, ALICE, "x");
		if (i == ADV_LOG_MODULES - 1)
			add("m0", ALICE, "y"); /* used of late */
	}
	cr_assert_str_eq(read_all("m0", ALICE, 0), "x;y;");
	cr_assert_str_eq(read_all("m1", ALICE, 0), "");
	cr_assert_str_eq(read_all("m2", ALICE, 0), "x;");
	cr_assert_str_eq(read_all(name, ALICE, 0), "x;");
}
