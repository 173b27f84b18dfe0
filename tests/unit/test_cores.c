/*
 * test_cores.c - who sits on which CPU, on machines that hwloc makes up (HWLOC_SYNTHETIC): housekeeping set apart, whole
 * cores before siblings, one NUMA node where it fits, no core shared by tenants, all or nothing, and giving back.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "allocator/cores.h"

/* CPU n is thread n % 2 of core n / 2; CPUs 0-7 are on NUMA node 0. */
#define TWO_NODES "numa:2 core:4 pu:2"
#define NR_CPUS	  16
#define FLAT	  "core:9 pu:1"

static char reason[256];

static struct adv_cores *make(const char *machine, const char *worker_cpus,
			      enum adv_oversubscribe oversubscribe)
{
	const struct adv_cores_options options = {.worker_cpus = worker_cpus,
						  .oversubscribe = oversubscribe};
	struct adv_cores *cores = NULL;
	setenv("HWLOC_SYNTHETIC", machine, 1);
	int rc = adv_cores_create(&options, &cores, reason, sizeof(reason));
	cr_assert_eq(rc, 0, "%s", reason);
	return cores;
}

static void refused(const char *worker_cpus, const char *word)
{
	const struct adv_cores_options options = {.worker_cpus = worker_cpus};
	struct adv_cores *cores = (void *)&options;
	setenv("HWLOC_SYNTHETIC", FLAT, 1);
	cr_assert_eq(adv_cores_create(&options, &cores, reason, sizeof(reason)), -EINVAL, "\"%s\"",
		     worker_cpus);
	cr_assert_not_null(strstr(reason, word), "\"%s\": %s", worker_cpus, reason);
	cr_assert_eq(cores, (void *)&options, "untouched on failure");
}

static bool has(const struct adv_core *places, uint32_t n, int cpu)
{
	for (uint32_t i = 0; i < n; i++)
		if (places[i].cpu == cpu)
			return true;
	return false;
}

static void distinct(const struct adv_core *places, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		cr_assert_not(has(places, i, places[i].cpu), "CPU %d twice", places[i].cpu);
}

Test(cores, this_machine)
{
	const struct adv_cores_options options = {.oversubscribe = ADV_OVERSUBSCRIBE_TURNS};
	struct adv_cores *cores;
	struct adv_core place;
	cr_assert_eq(adv_cores_create(&options, &cores, reason, sizeof(reason)), 0, "%s", reason);
	cr_assert_geq(adv_cores_total(cores), 1);
	cr_assert_eq(adv_cores_free(cores), adv_cores_total(cores));
	cr_assert_eq(adv_cores_take(cores, 1, 1, &place), 0);
	cr_assert_eq(adv_cores_role(cores, place.cpu), ADV_CORE_WORKER);
	adv_cores_give(cores, 1, 1, &place);
	adv_cores_destroy(cores);
	adv_cores_destroy(NULL);
}

Test(cores, a_guess_is_where_the_next_one_sits)
{
	struct adv_core place;
	struct adv_cores *cores = make("core:3 pu:1", NULL, ADV_OVERSUBSCRIBE_NO);
	for (int i = 0; i < 2; i++) {
		int guess = adv_cores_guess(cores, 7);
		cr_assert_eq(adv_cores_guess(cores, 7), guess, "it takes nothing");
		cr_assert_eq(adv_cores_take(cores, 7, 1, &place), 0);
		cr_assert_eq(place.cpu, guess);
	}
	cr_assert_eq(adv_cores_guess(cores, 7), -1);
	adv_cores_destroy(cores);
	cores = make("core:3 pu:1", NULL, ADV_OVERSUBSCRIBE_TURNS);
	for (int i = 0; i < 5; i++) {
		int guess = adv_cores_guess(cores, 7);
		cr_assert_eq(adv_cores_take(cores, 7, 1, &place), 0);
		cr_assert_eq(place.cpu, guess, "shared or not");
	}
	adv_cores_destroy(cores);
}

static void listed(const char *machine, const char *worker_cpus, const char *expected)
{
	char text[64];
	struct adv_cores *cores = make(machine, worker_cpus, ADV_OVERSUBSCRIBE_TURNS);
	cr_assert_str_eq(adv_cores_list(cores, text, sizeof(text)), expected);
	adv_cores_destroy(cores);
}

Test(cores, they_are_listed)
{
	char text[4];
	listed(TWO_NODES, NULL, "2-15");
	listed(TWO_NODES, "3", "3");
	listed(TWO_NODES, "0,1,2,7,9-15", "0-2,7,9-15");
	listed("core:1 pu:1", NULL, "0");
	struct adv_cores *cores = make(TWO_NODES, "0,2,4,6", ADV_OVERSUBSCRIBE_TURNS);
	cr_assert_str_eq(adv_cores_list(cores, text, sizeof(text)), "0,2");
	adv_cores_destroy(cores);
}

Test(cores, the_first_core_keeps_house)
{
	struct adv_cores *cores = make(TWO_NODES, NULL, ADV_OVERSUBSCRIBE_NO);
	cr_assert_eq(adv_cores_total(cores), NR_CPUS - 2);
	cr_assert_eq(adv_cores_free(cores), NR_CPUS - 2);
	cr_assert_eq(adv_cores_housekeeping(cores), 0);
	for (int cpu = 0; cpu < NR_CPUS; cpu++)
		cr_assert_eq(adv_cores_role(cores, cpu),
			     cpu < 2 ? ADV_CORE_HOUSEKEEPING : ADV_CORE_WORKER, "CPU %d", cpu);
	cr_assert_eq(adv_cores_role(cores, NR_CPUS), ADV_CORE_HOUSEKEEPING, "no such CPU");
	cr_assert_eq(adv_cores_load(cores, NR_CPUS), 0);
	adv_cores_destroy(cores);
}

Test(cores, two_cpus_are_shared_with_housekeeping)
{
	struct adv_cores *cores = make("core:2 pu:1", NULL, ADV_OVERSUBSCRIBE_NO);
	struct adv_core places[2];
	cr_assert_eq(adv_cores_total(cores), 2);
	cr_assert_eq(adv_cores_housekeeping(cores), -1);
	cr_assert_eq(adv_cores_take(cores, 1, 2, places), 0);
	cr_assert_eq(places[0].cpu, 1, "the CPU without housekeeping first");
	cr_assert_not(places[0].shared);
	cr_assert_eq(places[1].cpu, 0);
	cr_assert(places[1].shared);
	adv_cores_destroy(cores);
}

Test(cores, one_core_with_many_threads)
{
	struct adv_cores *cores = make("core:1 pu:4", NULL, ADV_OVERSUBSCRIBE_NO);
	struct adv_core places[4];
	cr_assert_eq(adv_cores_total(cores), 4, "there is nothing to set apart");
	cr_assert_eq(adv_cores_take(cores, 1, 4, places), 0);
	distinct(places, 4);
	adv_cores_destroy(cores);
}

Test(cores, lists)
{
	struct adv_cores *cores = make(FLAT, "2-4,8", ADV_OVERSUBSCRIBE_NO);
	cr_assert_eq(adv_cores_total(cores), 4);
	for (int cpu = 0; cpu < 9; cpu++)
		cr_assert_eq(adv_cores_role(cores, cpu) == ADV_CORE_WORKER,
			     (cpu >= 2 && cpu <= 4) || cpu == 8, "CPU %d", cpu);
	cr_assert_eq(adv_cores_housekeeping(cores), 0);
	adv_cores_destroy(cores);
}

Test(cores, bad_lists)
{
	const char *const malformed[] = {"",	"x",   "1,",   ",1",   "1-",	"-1",  "3-2",
					 "1 2", "1;2", "1--2", "1,,2", "1-2-3", "0x1", "1.5"};
	for (size_t i = 0; i < sizeof(malformed) / sizeof(malformed[0]); i++)
		refused(malformed[i], "list");
	refused("9", "CPU 9");
	refused("0-9", "CPU 9");
	refused("1,2147483647", "CPU 2147483647");
	refused("99999999999999999999", "99999999999999999999");
}

Test(cores, nothing_for_nobody)
{
	struct adv_cores *cores = make(FLAT, NULL, ADV_OVERSUBSCRIBE_NO);
	struct adv_core place;
	cr_assert_eq(adv_cores_take(cores, 1, 0, &place), -EINVAL);
	cr_assert_eq(adv_cores_free(cores), 8);
	adv_cores_destroy(cores);
}

Test(cores, whole_cores_before_siblings)
{
	struct adv_cores *cores = make(TWO_NODES, NULL, ADV_OVERSUBSCRIBE_NO);
	struct adv_core places[14];
	cr_assert_eq(adv_cores_take(cores, 1, 7, places), 0);
	distinct(places, 7);
	for (int i = 0; i < 7; i++) {
		cr_assert_eq(places[i].cpu % 2, 0, "CPU %d is a sibling", places[i].cpu);
		cr_assert_not(places[i].shared);
		cr_assert_eq(adv_cores_load(cores, places[i].cpu), 1);
	}
	cr_assert_eq(adv_cores_take(cores, 1, 7, places + 7), 0, "siblings of the same tenant");
	distinct(places, 14);
	cr_assert_eq(adv_cores_free(cores), 0);
	adv_cores_destroy(cores);
}

Test(cores, one_numa_node_where_it_fits)
{
	struct adv_cores *cores = make(TWO_NODES, NULL, ADV_OVERSUBSCRIBE_NO);
	struct adv_core first[4], second[3];
	cr_assert_eq(adv_cores_take(cores, 1, 4, first), 0);
	for (int i = 0; i < 4; i++)
		cr_assert_geq(first[i].cpu, 8, "the node with the most free CPUs");
	cr_assert_eq(adv_cores_take(cores, 2, 3, second), 0);
	for (int i = 0; i < 3; i++)
		cr_assert(second[i].cpu >= 2 && second[i].cpu < 8);
	adv_cores_destroy(cores);
}

Test(cores, siblings_are_never_another_tenants)
{
	struct adv_cores *cores = make(TWO_NODES, NULL, ADV_OVERSUBSCRIBE_NO);
	struct adv_core places[8];
	for (uint32_t tenant = 0; tenant < 7; tenant++)
		cr_assert_eq(adv_cores_take(cores, tenant, 1, &places[tenant]), 0);
	for (int i = 0; i < 7; i++)
		for (int k = 0; k < i; k++)
			cr_assert_neq(places[i].cpu / 2, places[k].cpu / 2);
	cr_assert_eq(adv_cores_free(cores), 7);
	cr_assert_eq(adv_cores_take(cores, 7, 1, &places[7]), -EBUSY, "only siblings are free");
	cr_assert_eq(adv_cores_take(cores, 3, 1, &places[7]), 0);
	cr_assert_eq(places[7].cpu / 2, places[3].cpu / 2, "to its own core's sibling");
	adv_cores_destroy(cores);
}

Test(cores, all_or_nothing)
{
	struct adv_cores *cores = make(FLAT, NULL, ADV_OVERSUBSCRIBE_NO);
	struct adv_core places[9];
	cr_assert_eq(adv_cores_take(cores, 1, 9, places), -EBUSY);
	cr_assert_eq(adv_cores_free(cores), 8);
	cr_assert_eq(adv_cores_take(cores, 1, 5, places), 0);
	cr_assert_eq(adv_cores_take(cores, 2, 4, places + 5), -EBUSY);
	cr_assert_eq(adv_cores_free(cores), 3);
	cr_assert_eq(adv_cores_take(cores, 2, 3, places + 5), 0);
	distinct(places, 8);
	adv_cores_destroy(cores);
}

Test(cores, given_back)
{
	struct adv_cores *cores = make(TWO_NODES, NULL, ADV_OVERSUBSCRIBE_NO);
	struct adv_core places[14], again[14];
	cr_assert_eq(adv_cores_take(cores, 1, 14, places), 0);
	adv_cores_give(cores, 1, 14, places);
	cr_assert_eq(adv_cores_free(cores), 14);
	for (int cpu = 0; cpu < NR_CPUS; cpu++)
		cr_assert_eq(adv_cores_load(cores, cpu), 0);
	cr_assert_eq(adv_cores_take(cores, 2, 14, again), 0, "to another tenant");
	adv_cores_give(cores, 2, 14, again);
	/* Given back twice, or never taken: nothing goes below zero. */
	adv_cores_give(cores, 2, 14, again);
	cr_assert_eq(adv_cores_free(cores), 14);
	cr_assert_eq(adv_cores_load(cores, 2), 0);
	adv_cores_destroy(cores);
}

Test(cores, shared_when_all_are_taken)
{
	struct adv_cores *cores = make(FLAT, NULL, ADV_OVERSUBSCRIBE_TURNS);
	struct adv_core first[8], second[8], third;
	cr_assert_eq(adv_cores_take(cores, 1, 8, first), 0);
	for (int i = 0; i < 8; i++)
		cr_assert_not(first[i].shared);
	cr_assert_eq(adv_cores_take(cores, 2, 8, second), 0);
	distinct(second, 8);
	for (int i = 0; i < 8; i++) {
		cr_assert(second[i].shared);
		cr_assert_eq(adv_cores_role(cores, second[i].cpu), ADV_CORE_WORKER);
		cr_assert_eq(adv_cores_load(cores, second[i].cpu), 2);
	}
	adv_cores_give(cores, 1, 1, &first[3]);
	cr_assert_eq(adv_cores_take(cores, 3, 1, &third), 0);
	cr_assert_eq(third.cpu, first[3].cpu, "the least loaded");
	cr_assert(third.shared);
	adv_cores_destroy(cores);
}

/* More than there are CPUs in one lease, and back to an empty machine. */
Test(cores, one_lease_over_all)
{
	struct adv_cores *cores = make(FLAT, NULL, ADV_OVERSUBSCRIBE_TURNS);
	struct adv_core places[256];
	cr_assert_eq(adv_cores_take(cores, 1, 256, places), 0);
	for (int cpu = 1; cpu < 9; cpu++)
		cr_assert_eq(adv_cores_load(cores, cpu), 32, "evenly");
	cr_assert_eq(adv_cores_load(cores, 0), 0);
	adv_cores_give(cores, 1, 256, places);
	cr_assert_eq(adv_cores_free(cores), 8);
	adv_cores_destroy(cores);
}

/* ---- what the kernel keeps free ---- */

/* Like /sys/devices/system/cpu. */
static const char *kernel(const char *isolated, const char *tickless, const char *offline)
{
	static char directory[64];
	const char *const files[][2] = {
		{"isolated", isolated}, {"nohz_full", tickless}, {"offline", offline}};
	if (access(directory, F_OK) < 0) {
		snprintf(directory, sizeof(directory), "/tmp/adverb-cores-XXXXXX");
		cr_assert_not_null(mkdtemp(directory));
	}
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		char path[128];
		snprintf(path, sizeof(path), "%s/%s", directory, files[i][0]);
		FILE *file = fopen(path, "w");
		cr_assert_not_null(file);
		fprintf(file, "%s\n", files[i][1]);
		fclose(file);
	}
	return directory;
}

static void forget_kernel(const char *directory)
{
	static const char *const names[] = {"isolated", "nohz_full", "offline", ""};
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char path[128];
		snprintf(path, sizeof(path), "%s/%s", directory, names[i]);
		remove(path);
	}
}

static void chosen(const char *machine, const char *isolated, const char *tickless,
		   const char *list, const char *expected)
{
	char text[256];
	struct adv_cores *cores;
	const char *directory = kernel(isolated, tickless, "");
	const struct adv_cores_options options = {.worker_cpus = list, .sysfs = directory};
	setenv("HWLOC_SYNTHETIC", machine, 1);
	cr_assert_eq(adv_cores_create(&options, &cores, reason, sizeof(reason)), 0, "%s", reason);
	cr_assert_str_eq(adv_cores_describe(cores, text, sizeof(text)), expected);
	adv_cores_destroy(cores);
	forget_kernel(directory);
}

Test(cores, isolated_cpus_are_for_workers)
{
	chosen(FLAT, "4-6", "", NULL, "4-6 (isolated at boot)");
	chosen(FLAT, "4-6", "5", NULL, "4-6 (isolated at boot)");
	chosen(FLAT, "", "2-8", NULL, "2-8 (nohz_full)");
	chosen(FLAT, "", "(null)", NULL, "1-8");
	chosen(FLAT, "4-6", "", "1,2", "1-2 (as configured)");
	chosen("core:2 pu:1", "1", "", NULL, "1 (isolated at boot)");
	chosen("core:2 pu:1", "", "", NULL, "0-1; CPU 0 is shared with the node");
	/* All of them, or what is not there: that says nothing. */
	chosen(FLAT, "0-8", "", NULL, "1-8");
	chosen(FLAT, "100", "", NULL, "1-8");
}

Test(cores, a_cpu_that_is_offline_is_told_so)
{
	const char *directory = kernel("", "", "9-11");
	const struct adv_cores_options options = {.worker_cpus = "3,10", .sysfs = directory};
	struct adv_cores *cores;
	setenv("HWLOC_SYNTHETIC", FLAT, 1);
	cr_assert_eq(adv_cores_create(&options, &cores, reason, sizeof(reason)), -EINVAL);
	cr_assert_str_eq(reason, "worker CPUs: CPU 10 is offline");
	forget_kernel(directory);
}

/* This process's own mask, on the real machine. */
Test(cores, a_mask_is_kept)
{
	struct adv_cores *cores;
	const struct adv_cores_options options = {.worker_cpus = "1"}, any = {0};
	cpu_set_t one;
	CPU_ZERO(&one);
	CPU_SET(0, &one);
	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		cr_skip_test("one CPU only");
	cr_assert_eq(sched_setaffinity(0, sizeof(one), &one), 0);
	cr_assert_eq(adv_cores_create(&options, &cores, reason, sizeof(reason)), -EINVAL);
	cr_assert_not_null(strstr(reason, "mask"), "%s", reason);
	cr_assert_eq(adv_cores_create(&any, &cores, reason, sizeof(reason)), 0, "%s", reason);
	cr_assert_eq(adv_cores_total(cores), 1);
	adv_cores_destroy(cores);
}

/* Isolated CPUs are in nobody's mask; that is no reason not to use them. A mask that was set by hand is. */
Test(cores, isolated_cpus_need_no_mask)
{
	struct adv_cores *cores;
	char text[256];
	cpu_set_t one;
	if (sysconf(_SC_NPROCESSORS_ONLN) != 2)
		cr_skip_test("made for two CPUs");
	CPU_ZERO(&one);
	CPU_SET(0, &one);
	cr_assert_eq(sched_setaffinity(0, sizeof(one), &one), 0);
	const char *directory = kernel("1", "", "");
	const struct adv_cores_options options = {.sysfs = directory};
	cr_assert_eq(adv_cores_create(&options, &cores, reason, sizeof(reason)), 0, "%s", reason);
	cr_assert_str_eq(adv_cores_describe(cores, text, sizeof(text)), "1 (isolated at boot)");
	adv_cores_destroy(cores);
	kernel("0", "", "");
	cr_assert_eq(adv_cores_create(&options, &cores, reason, sizeof(reason)), 0, "%s", reason);
	cr_assert_eq(adv_cores_total(cores), 1, "the mask says CPU 0 and no other");
	adv_cores_destroy(cores);
	forget_kernel(directory);
}

/* ---- near the network device ---- */

Test(cores, near_the_device_where_they_fit)
{
	struct adv_cores *cores;
	struct adv_core places[8];
	const struct adv_cores_options options = {.near_numa_node = 0 + 1, .nr_pollers = 1};
	setenv("HWLOC_SYNTHETIC", TWO_NODES, 1);
	cr_assert_eq(adv_cores_create(&options, &cores, reason, sizeof(reason)), 0, "%s", reason);
	cr_assert_lt(adv_cores_poller(cores, 0).cpu, 8);
	cr_assert_eq(adv_cores_take(cores, 1, 2, places), 0);
	for (int i = 0; i < 2; i++) {
		cr_assert_lt(places[i].cpu, 8, "though the other node has more room");
		cr_assert_eq(adv_cores_numa_node(cores, places[i].cpu), 0);
	}
	adv_cores_give(cores, 1, 2, places);
	cr_assert_eq(adv_cores_take(cores, 1, 6, places), 0);
	cr_assert_geq(places[0].cpu, 8,
		      "where there is room for most, if not for all near the device");
	adv_cores_destroy(cores);
	const struct adv_cores_options far = {.near_numa_node = 1 + 1, .nr_pollers = 1};
	cr_assert_eq(adv_cores_create(&far, &cores, reason, sizeof(reason)), 0, "%s", reason);
	cr_assert_geq(adv_cores_poller(cores, 0).cpu, 8, "the poller is near it too");
	adv_cores_destroy(cores);
	cores = make(FLAT, NULL, ADV_OVERSUBSCRIBE_NO);
	cr_assert_eq(adv_cores_numa_node(cores, 3), -1, "there is one only");
	adv_cores_destroy(cores);
}
