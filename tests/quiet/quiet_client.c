/*
 * quiet_client.c - libadverb's calls to a hot worker, under a seal: adv_invoke(), many in flight, payloads in place. They allocate
 * nothing, and ask nothing of the kernel as long as this thread has a CPU of its own. Arguments: MODULE FUNCTION, which echoes.
 */
#include <sched.h>
#include <stdbool.h>
#include <string.h>

#include "adverb/client.h"
#include "quiet.h"

#define CALLS	   20000
#define SLOTS	   4
#define TIMEOUT_US (60 * 1000 * 1000)

static struct adv_lease *lease;
static uint32_t function;

static bool fail(const char *what)
{
	printf("# %s: %s\n", what, adv_error());
	return false;
}

/* Not where the worker is pinned: there it would sleep instead of spinning. False: there is no other CPU. */
static bool move_away(int cpu)
{
	cpu_set_t set;
	if (cpu < 0 || sched_getaffinity(0, sizeof(set), &set) < 0)
		return false;
	CPU_CLR(cpu, &set);
	return CPU_COUNT(&set) > 0 && sched_setaffinity(0, sizeof(set), &set) == 0;
}

static bool invoke(void)
{
	char in[64] = "in", out[64];
	bool ok = true;
	for (int i = 0; i < CALLS && ok; i++)
		ok = adv_invoke(lease, function, in, i % 2 == 0 ? 8 : 64, out, sizeof(out), NULL,
				TIMEOUT_US) == ADV_OK;
	return ok;
}

static bool flood(void)
{
	struct adv_completion done[SLOTS];
	char in[8] = "in", out[SLOTS][8];
	unsigned submitted = 0, completed = 0;
	while (completed < CALLS) {
		struct adv_request request = {.size = sizeof(request),
					      .function = function,
					      .worker = ADV_ANY_WORKER,
					      .in = in,
					      .in_size = sizeof(in),
					      .out = out[submitted % SLOTS],
					      .out_capacity = sizeof(out[0]),
					      .timeout_us = TIMEOUT_US};
		while (submitted < CALLS && submitted - completed < SLOTS &&
		       adv_submit(lease, &request, NULL) == ADV_OK)
			submitted++;
		unsigned n = adv_wait(lease, done, SLOTS, TIMEOUT_US);
		for (unsigned i = 0; i < n; i++)
			if (done[i].status != ADV_OK)
				return false;
		completed += n;
	}
	return true;
}

static bool in_place(void)
{
	struct adv_completion done;
	struct adv_slot slot;
	if (adv_slot_get(lease, ADV_ANY_WORKER, &slot) != ADV_OK)
		return false;
	const struct adv_request request = {.size = sizeof(request),
					    .function = function,
					    .in_size = 4096,
					    .slot = &slot,
					    .timeout_us = TIMEOUT_US};
	bool ok = true;
	for (int i = 0; i < CALLS && ok; i++) {
		memset(slot.in, i, 4096);
		ok = adv_submit(lease, &request, NULL) == ADV_OK &&
		     adv_wait(lease, &done, 1, TIMEOUT_US) == 1 && done.status == ADV_OK;
	}
	adv_slot_put(lease, &slot);
	return ok;
}

static int sealed(unsigned number, const char *what, bool (*run)(void), bool alone)
{
	struct seal s = {0};
	bool ok = run(); /* pages and lines that are used for the first time */
	seal = &s;
	ok = ok && run();
	seal = NULL;
	if (!alone)
		s.calls = 0;
	if (!ok) {
		printf("not ok %u - %s: a call failed: %s\n", number, what, adv_error());
		return 0;
	}
	return quiet(number, what, &s);
}

static bool start(const char *module, const char *name)
{
	struct adv_lease_options options;
	struct adv_node *node;
	if (adv_connect(NULL, &node) != ADV_OK)
		return fail("connect");
	adv_lease_options_init(&options);
	options.hot_us = ADV_HOT_ALWAYS;
	options.slots = SLOTS;
	options.spin_us = UINT64_MAX;
	enum adv_status status = adv_lease_open(node, module, &options, &lease);
	adv_disconnect(node);
	if (status != ADV_OK)
		return fail("lease");
	return adv_function_find(lease, name, &function) == ADV_OK || fail("find");
}

int main(int argc, char **argv)
{
	struct adv_lease_info info = {.size = sizeof(info)};
	if (argc != 3 || !start(argv[1], argv[2])) {
		printf("1..1\nnot ok 1 - a lease of MODULE with FUNCTION\n");
		return 1;
	}
	bool alone = adv_lease_info(lease, &info) == ADV_OK && info.shared_cores == 0 &&
		     move_away(adv_lease_cpu(lease, 0));
	printf("# %s\n", alone ? "a CPU for each side" : "one CPU: system calls are not judged");
	int ok = sealed(1, "adv_invoke()", invoke, alone);
	ok &= sealed(2, "adv_submit() and adv_wait()", flood, alone);
	ok &= sealed(3, "on a slot", in_place, alone);
	printf("1..3\n");
	adv_lease_close(lease);
	return ok ? 0 : 1;
}
