/*
 * test_verbs_counts.c - what a hot call over verbs takes: one doorbell each way, one work request or two, at most one receive; no system
 * call, no allocation, no lock. Exact: bench/verbs_count.py has the instructions.
 */
#include <criterion/criterion.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "verbs_hot.h"

#define CALLS 4096 /* every queue goes round, every batch is posted */
#define SENDS \
	1024 /* of a link, at the node and at the client; a quarter of them is signalled at a time */

TestSuite(verbs_counts, .timeout = 60);

static struct hot hot;

/* In a child: when it has counted it cannot make system calls any more. */
static struct hot_counts count(uint32_t size, bool hand_over, bool one_pass)
{
	const struct hot_options o = {.size = size, .hand_over = hand_over, .one_pass = one_pass};
	struct hot_counts counts, *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
						 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int status;
	cr_assert_neq(shared, MAP_FAILED);
	hot_make(&hot, &o);
	hot_calls(&hot, CALLS);
	pid_t child = fork();
	cr_assert_geq(child, 0);
	if (child == 0) {
		hot_count(&hot, CALLS, true, shared);
		_exit(0);
	}
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert_eq(status, 0, "%u bytes: status %x", size, status);
	hot_unmake(&hot);
	counts = *shared;
	munmap(shared, sizeof(*shared));
	cr_assert_eq(counts.calls, CALLS);
	cr_assert(counts.echoed);
	return counts;
}

/* Of CALLS calls. `receives`: one for each; they are posted in batches. */
static void is(const struct fake_counts *c, uint64_t requests, bool receives, const char *who)
{
	cr_assert_eq(c->doorbells, CALLS, "%s: %lu doorbells", who, c->doorbells);
	cr_assert_eq(c->requests, requests * CALLS, "%s: %lu requests", who, c->requests);
	cr_assert_eq(c->signalled, requests * CALLS / (SENDS / 4), "%s: %lu completions of sends",
		     who, c->signalled);
	cr_assert_eq(c->receives, receives ? CALLS : 0, "%s: %lu receives", who, c->receives);
	cr_assert_eq(c->receive_doorbells, receives ? CALLS / ADV_LINK_RECV_POST : 0,
		     "%s: %lu doorbells of receives", who, c->receive_doorbells);
	cr_assert_eq(c->waited, 0);
}

static void is_frugal(uint32_t size, bool hand_over, bool one_pass)
{
	const struct hot_counts c = count(size, hand_over, one_pass);
	uint64_t requests = size <= ADV_INLINE_MAX ? 1 : 2;
	is(&c.client, requests, hand_over, "client");
	is(&c.node, requests, true, "node");
	cr_assert_eq(c.sealed.allocations, 0);
	cr_assert_eq(c.sealed.locks, 0);
	if (c.seccomp)
		cr_assert_eq(c.sealed.system_calls, 0, "%u bytes: %lu system calls, the first %d",
			     size, c.sealed.system_calls, c.sealed.first_system_call);
	else
		cr_log_warn("system calls were not counted: there is no seccomp here");
}

Test(verbs_counts, placed_in_order)
{
	const uint32_t sizes[] = {0, 8, 32, 33, 1024, ADV_PAGE};
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		is_frugal(sizes[i], false, false);
		is_frugal(sizes[i], false, true);
	}
}

Test(verbs_counts, handed_over)
{
	const uint32_t sizes[] = {0, 8, 32, 33, 1024, ADV_PAGE};
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		is_frugal(sizes[i], true, false);
}

/* ---- the counting itself ---- */

static struct seal_counts broken_seal(bool sealed_calls)
{
	static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
	if (sealed_calls)
		(void)seal_system_calls();
	seal_begin();
	void *volatile p = malloc(8);
	free(p);
	pthread_mutex_lock(&mutex);
	pthread_mutex_unlock(&mutex);
	(void)getppid();
	(void)getppid();
	return seal_end();
}

Test(verbs_counts, a_broken_seal_is_noticed)
{
	struct seal_counts c = broken_seal(false), *shared;
	cr_assert_eq(c.allocations, 2);
	cr_assert_eq(c.locks, 1);
	cr_assert_eq(c.system_calls, 0, "not counted");
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	pid_t child = fork();
	if (child == 0) {
		*shared = broken_seal(true);
		_exit(0);
	}
	int status;
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert_eq(status, 0);
	if (shared->system_calls != 0)
		cr_assert_eq(shared->system_calls, 2);
	else
		cr_log_warn("system calls cannot be counted: there is no seccomp here");
}
