/*
 * test_sidechannels.c - core scheduling and speculation controls on a kernel that the test plays: its answers to prctl(), and what each task's
 * cookie is by then.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "sandbox/speculation.h"
#include "sandbox/warden.h"

#ifndef PR_SCHED_CORE
#define PR_SCHED_CORE 62
#endif

enum {
	GET,
	CREATE,
	SHARE_TO,
	SHARE_FROM
};
enum {
	NODE = 1000,
	WARDEN = 0,
	FIRST = 1,
	SECOND = 2,
	THIRD = 3
};

static struct adv_failure failure;
static int core_error; /* what PR_SCHED_CORE answers; 0: it works */
static int to_error;   /* what sharing with another answers */
static int nr_cpus = 8;
static uint64_t cookies[5]; /* of the warden, of the sandboxes, and of any other process */
static uint64_t next_cookie = 1, node_cookie;
static int state[8]; /* of each kind of speculation */
static int set_error;

/* ---- the kernel ---- */

pid_t getppid(void)
{
	return NODE;
}

int sched_getaffinity(pid_t pid, size_t size, cpu_set_t *set)
{
	(void)pid;
	memset(set, 0, size);
	for (int i = 0; i < nr_cpus; i++)
		CPU_SET(i, set);
	return 0;
}

static int fails(int error)
{
	errno = error;
	return -1;
}

static uint64_t *cookie_of(unsigned long pid)
{
	return &cookies[pid <= THIRD ? pid : THIRD + 1];
}

static int sched_core(unsigned long what, unsigned long pid, unsigned long scope, uint64_t *got)
{
	if (core_error != 0)
		return fails(core_error);
	if (what == CREATE) {
		cr_assert_eq(scope, 1, "all threads of the process");
		*cookie_of(pid) = next_cookie++;
	} else if (what == SHARE_FROM) {
		cookies[WARDEN] = pid == NODE ? node_cookie : *cookie_of(pid);
	} else if (what == SHARE_TO) {
		cr_assert_eq(scope, 1, "all threads of the process");
		if (to_error != 0)
			return fails(to_error);
		*cookie_of(pid) = cookies[WARDEN];
	} else {
		*got = cookies[WARDEN];
	}
	return 0;
}

int prctl(int option, ...)
{
	va_list args;
	va_start(args, option);
	unsigned long a = va_arg(args, unsigned long), b = va_arg(args, unsigned long),
		      c = va_arg(args, unsigned long);
	uint64_t *got = va_arg(args, uint64_t *);
	va_end(args);
	if (option == PR_SCHED_CORE)
		return sched_core(a & UINT32_MAX, b & UINT32_MAX, c & UINT32_MAX, got);
	cr_assert_lt(a, 8);
	if (option == PR_GET_SPECULATION_CTRL)
		return state[a];
	cr_assert_eq(option, PR_SET_SPECULATION_CTRL);
	cr_assert_eq(b, PR_SPEC_FORCE_DISABLE, "it cannot be switched on again");
	if (set_error != 0)
		return fails(set_error);
	state[a] = (int)b;
	return 0;
}

/* ---- core scheduling ---- */

static uint32_t decided(enum adv_wish wish, bool root)
{
	uint32_t what = 99;
	cr_assert_eq(adv_core_cookies_init(wish, root, &what, &failure), 0, "%s", failure.text);
	return what;
}

Test(sidechannels, where_the_kernel_has_core_scheduling)
{
	cr_assert_eq(decided(ADV_WISH_AUTO, true), ADV_CORE_SCHEDULING_ON);
	cr_assert_eq(decided(ADV_WISH_YES, true), ADV_CORE_SCHEDULING_ON);
	cr_assert_eq(decided(ADV_WISH_NO, true), ADV_CORE_SCHEDULING_OFF);
	cr_assert_eq(decided(ADV_WISH_AUTO, false), ADV_CORE_SCHEDULING_OFF);
}

/* On one core the node and its callers are on the thread next to the only worker. */
Test(sidechannels, one_core_is_shared_unless_told_otherwise)
{
	nr_cpus = 2;
	cr_assert_eq(decided(ADV_WISH_AUTO, true), ADV_CORE_SCHEDULING_OFF);
	cr_assert_eq(decided(ADV_WISH_YES, true), ADV_CORE_SCHEDULING_ON);
}

Test(sidechannels, cores_of_one_thread)
{
	core_error = ENODEV;
	cr_assert_eq(decided(ADV_WISH_AUTO, true), ADV_CORE_SCHEDULING_NO_SMT);
	cr_assert_eq(decided(ADV_WISH_YES, true), ADV_CORE_SCHEDULING_NO_SMT);
}

Test(sidechannels, a_kernel_without_it)
{
	uint32_t what;
	core_error = EINVAL;
	/* It says at least whether its cores have several threads. */
	what = decided(ADV_WISH_AUTO, true);
	cr_assert(what == ADV_CORE_SCHEDULING_MISSING || what == ADV_CORE_SCHEDULING_NO_SMT);
	int rc = adv_core_cookies_init(ADV_WISH_YES, true, &what, &failure);
	cr_assert_eq(rc < 0, what == ADV_CORE_SCHEDULING_MISSING);
	if (rc < 0)
		cr_assert_not_null(strstr(failure.text, "CONFIG_SCHED_CORE"), "%s", failure.text);
}

Test(sidechannels, a_user_who_insists)
{
	uint32_t what;
	cr_assert_eq(adv_core_cookies_init(ADV_WISH_YES, false, &what, &failure), -EPERM);
	cr_assert_not_null(strstr(failure.text, "needs root"), "%s", failure.text);
}

/* In a container, say, whose rules the kernel's own do not tell. */
Test(sidechannels, a_kernel_that_denies_a_part_of_it)
{
	uint32_t what;
	to_error = EPERM;
	cr_assert_eq(decided(ADV_WISH_AUTO, true), ADV_CORE_SCHEDULING_OFF);
	cr_assert_eq(adv_core_cookies_init(ADV_WISH_YES, true, &what, &failure), -EPERM);
	cr_assert_not_null(strstr(failure.text, "could not be used"), "%s", failure.text);
}

/* Whoever started it has put it aside: then the warden cannot become of no kind again. */
Test(sidechannels, a_node_with_a_cookie)
{
	node_cookie = 77;
	cr_assert_eq(decided(ADV_WISH_AUTO, true), ADV_CORE_SCHEDULING_OFF);
}

Test(sidechannels, the_warden_stays_of_no_kind)
{
	for (pid_t pid = FIRST; pid <= THIRD; pid++)
		cr_assert_eq(adv_core_cookies_new(pid), 0);
	cr_assert(cookies[FIRST] != cookies[SECOND] && cookies[SECOND] != cookies[THIRD]);
	cr_assert_eq(adv_core_cookies_share(FIRST, SECOND), 0);
	cr_assert_eq(cookies[SECOND], cookies[FIRST]);
	cr_assert_neq(cookies[THIRD], cookies[FIRST]);
	cr_assert_eq(cookies[WARDEN], 0);
}

/* The one that was to be joined is gone, or the one to join it. */
Test(sidechannels, what_cannot_be_shared)
{
	cr_assert_eq(adv_core_cookies_new(FIRST), 0);
	cr_assert_eq(adv_core_cookies_new(SECOND), 0);
	to_error = ESRCH;
	cr_assert_eq(adv_core_cookies_share(FIRST, SECOND), -ESRCH);
	cr_assert_eq(cookies[WARDEN], 0, "even then");
	core_error = ESRCH;
	cr_assert_eq(adv_core_cookies_share(FIRST, SECOND), -ESRCH);
	cr_assert_neq(cookies[SECOND], cookies[FIRST]);
}

/* ---- speculation ---- */

Test(sidechannels, what_can_be_switched_off_is)
{
	state[PR_SPEC_STORE_BYPASS] = PR_SPEC_PRCTL | PR_SPEC_ENABLE;
	state[PR_SPEC_INDIRECT_BRANCH] = PR_SPEC_PRCTL | PR_SPEC_ENABLE;
	uint32_t controls = adv_speculation_controls();
	cr_assert_eq(controls, ADV_SPECULATION_STORE_BYPASS | ADV_SPECULATION_INDIRECT_BRANCH);
	cr_assert_eq(adv_speculation_restrict(controls), 0);
	cr_assert_eq(state[PR_SPEC_STORE_BYPASS], PR_SPEC_FORCE_DISABLE);
	cr_assert_eq(state[PR_SPEC_INDIRECT_BRANCH], PR_SPEC_FORCE_DISABLE);
}

/* Decided by the kernel for all (on or off), not affected, or unknown: -1. */
Test(sidechannels, what_cannot_is_left)
{
	state[PR_SPEC_STORE_BYPASS] = PR_SPEC_ENABLE;
	state[PR_SPEC_INDIRECT_BRANCH] = PR_SPEC_NOT_AFFECTED;
	cr_assert_eq(adv_speculation_controls(), 0);
	state[PR_SPEC_STORE_BYPASS] = -1;
	cr_assert_eq(adv_speculation_controls(), 0);
	cr_assert_eq(adv_speculation_restrict(0), 0);
	cr_assert_eq(state[PR_SPEC_STORE_BYPASS], -1);
}

Test(sidechannels, a_refusal_is_told)
{
	set_error = EPERM;
	cr_assert_eq(adv_speculation_restrict(ADV_SPECULATION_INDIRECT_BRANCH), -EPERM);
}
