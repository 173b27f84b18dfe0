/* test_core_lines.c - the pages of shared cores, and workers that write there what they please. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "control/core_lines.h"
#include "util/limits.h"

static struct adv_core_lines *lines;

static void setup(void)
{
	cr_assert_eq(adv_core_lines_create(&lines), 0);
}

static void teardown(void)
{
	adv_core_lines_destroy(lines);
}

TestSuite(core_lines, .init = setup, .fini = teardown);

/* What a worker has: the page as it maps it. */
static struct adv_core_line *sit(int cpu)
{
	int fd = adv_core_lines_sit(lines, cpu);
	cr_assert_geq(fd, 0);
	void *page = mmap(NULL, ADV_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	cr_assert_neq(page, MAP_FAILED);
	return page;
}

Test(core_lines, one_page_for_each_core)
{
	struct adv_core_line *a = sit(3), *b = sit(4);
	cr_assert_not(adv_core_line_shared(a));
	struct adv_core_line *c = sit(3);
	cr_assert(adv_core_line_shared(a));
	cr_assert_not(adv_core_line_shared(b));
	cr_assert(adv_core_line_take(a, 1));
	cr_assert_not(adv_core_line_take(c, 2));
	cr_assert(adv_core_line_take(b, 3), "another core is another matter");
	adv_core_lines_rise(lines, 3, 2);
	cr_assert(adv_core_line_taken(a));
	cr_assert_not(adv_core_line_shared(a));
}

Test(core_lines, its_size_stays)
{
	int fd = adv_core_lines_sit(lines, 0);
	cr_assert_lt(ftruncate(fd, 0), 0, "its neighbours would die of it");
}

Test(core_lines, who_dies_holds_nothing)
{
	struct adv_core_line *a = sit(0);
	cr_assert(adv_core_line_take(a, 1));
	adv_core_lines_rise(lines, 0, 1);
	cr_assert_not(adv_core_line_taken(a));
	adv_core_lines_rise(lines, 0, 1); /* more than sat there */
	adv_core_lines_rise(lines, 9, 1); /* where nobody ever sat */
	cr_assert_not(adv_core_line_shared(sit(0)));
}

Test(core_lines, who_runs_keeps_it)
{
	struct adv_core_line *a = sit(0);
	cr_assert(adv_core_line_take(a, 1));
	for (int i = 0; i < 10; i++) {
		adv_core_lines_runs(lines, 0, 1);
		adv_core_lines_sweep(lines);
		cr_assert(adv_core_line_taken(a));
	}
}

/* One that says that somebody runs there who does not. */
Test(core_lines, who_does_not_run_loses_it)
{
	struct adv_core_line *a = sit(0);
	atomic_store(&a->holder, 77);
	atomic_store(&a->workers, 1000);
	adv_core_lines_runs(lines, 0, 1);
	adv_core_lines_sweep(lines);
	cr_assert(adv_core_line_taken(a), "it may only just have begun");
	cr_assert_not(adv_core_line_shared(a), "and what the node knows is put right at once");
	adv_core_lines_sweep(lines);
	cr_assert_not(adv_core_line_taken(a));
}

/* Each look is one at another holder: none of them stays for two. */
Test(core_lines, a_suspect_is_one_worker)
{
	struct adv_core_line *a = sit(0);
	atomic_store(&a->holder, 1);
	adv_core_lines_sweep(lines);
	atomic_store(&a->holder, 2);
	adv_core_lines_sweep(lines);
	cr_assert(adv_core_line_taken(a));
	adv_core_lines_sweep(lines);
	cr_assert_not(adv_core_line_taken(a));
}

Test(core_lines, many_cores)
{
	struct adv_core_line *pages[100];
	for (int cpu = 0; cpu < 100; cpu++)
		pages[cpu] = sit(cpu);
	for (int cpu = 0; cpu < 100; cpu++) {
		cr_assert(adv_core_line_take(pages[cpu], 1));
		adv_core_lines_rise(lines, cpu, 1);
		cr_assert_not(adv_core_line_taken(pages[cpu]));
	}
}
