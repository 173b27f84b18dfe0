/* measure.c - what a sandbox costs: built from nothing, claimed hot and cold, at rest. Prints a table; no test. */
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cases.h"
#include "util/clock.h"

#define ROUNDS_MAX 10000
#define POOL	   8

struct samples {
	uint64_t ns[ROUNDS_MAX];
	unsigned nr;
};

static struct samples build, warden_part, cold, hot;

static int by_value(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;
	return (*x > *y) - (*x < *y);
}

static void print(const char *what, struct samples *s)
{
	if (s->nr == 0)
		return;
	qsort(s->ns, s->nr, sizeof(s->ns[0]), by_value);
	printf("%-44s p50 %8.1f µs   p90 %8.1f µs   p99 %8.1f µs\n", what,
	       (double)s->ns[s->nr / 2] / 1e3, (double)s->ns[s->nr * 9 / 10] / 1e3,
	       (double)s->ns[s->nr * 99 / 100] / 1e3);
}

static void add(struct samples *s, uint64_t since_ns)
{
	s->ns[s->nr++] = adv_clock_monotonic_ns() - since_ns;
}

/* The caller spins: on a CPU of its own, as a lease's worker has one. -1 where there is only one. */
static int worker_cpu(void)
{
	return sysconf(_SC_NPROCESSORS_ONLN) > 1 ? 1 : -1;
}

static void spin_apart(void)
{
	cpu_set_t first;
	CPU_ZERO(&first);
	CPU_SET(0, &first);
	if (worker_cpu() > 0)
		sched_setaffinity(0, sizeof(first), &first);
}

static bool first_call(struct box *b, struct lane_memory *l)
{
	return call(b, l, 1, "x", 1).status == ADV_OK;
}

/* Claimed from the cold pool: loads and serves. */
static bool measure_cold(struct adv_warden *warden)
{
	struct box b;
	struct lane_memory l;
	uint64_t begun_ns = adv_clock_monotonic_ns();
	bool ok = box_build(warden, 0, ADV_PROFILE_STRICT, &b);
	add(&build, begun_ns);
	warden_part.ns[warden_part.nr++] = b.build_ns;
	lane_create(&l, 4, 65536, 65536);
	begun_ns = adv_clock_monotonic_ns();
	struct adv_warden_request serve = serve_request(&l, 0, ADV_ORDER_LOAD_AND_SERVE);
	serve.cpu = worker_cpu();
	const int fds[5] = {module_fd("echo"), l.req_read_only, l.fds[ADV_LANE_CPL],
			    l.fds[ADV_LANE_SLOTS], l.event_fd};
	box_order(&b, &serve, fds, 5);
	ok = ok && first_call(&b, &l);
	add(&cold, begun_ns);
	box_release(&b);
	lane_destroy(&l);
	return ok;
}

/* Claimed from the hot pool: the module is loaded already. */
static bool measure_hot(struct adv_warden *warden)
{
	struct box b;
	struct lane_memory l;
	struct adv_sandbox_report r;
	int module = module_fd("echo");
	const struct adv_warden_request load = {
		.type = ADV_WARDEN_ORDER, .id = 0, .cpu = -1, .order.type = ADV_ORDER_LOAD};
	bool ok = box_build(warden, 0, ADV_PROFILE_STRICT, &b);
	box_order(&b, &load, &module, 1);
	ok = ok && box_report(&b, &r) && r.type == ADV_REPORT_LOADED;
	lane_create(&l, 4, 65536, 65536);
	struct adv_warden_request serve = serve_request(&l, 0, ADV_ORDER_SERVE);
	serve.cpu = worker_cpu();
	const int fds[4] = {l.req_read_only, l.fds[ADV_LANE_CPL], l.fds[ADV_LANE_SLOTS],
			    l.event_fd};
	uint64_t begun_ns = adv_clock_monotonic_ns();
	box_order(&b, &serve, fds, 4);
	ok = ok && first_call(&b, &l);
	add(&hot, begun_ns);
	box_release(&b);
	lane_destroy(&l);
	return ok;
}

/* Proportional set size at rest, in a pool of several. */
static void measure_memory(struct adv_warden *warden)
{
	struct box b[POOL];
	char text[4096];
	unsigned long total = 0, kib;
	for (uint32_t i = 0; i < POOL; i++)
		box_build(warden, i, ADV_PROFILE_STRICT, &b[i]);
	for (uint32_t i = 0; i < POOL; i++)
		if (proc_read(b[i].pid, "smaps_rollup", text, sizeof(text)) &&
		    sscanf(proc_field(text, "Pss"), "%lu", &kib) == 1)
			total += kib;
	printf("%-44s %lu KiB (mean of %d)\n", "PSS of an idle pooled sandbox", total / POOL, POOL);
	for (uint32_t i = 0; i < POOL; i++)
		box_release(&b[i]);
}

void measure(unsigned rounds)
{
	struct adv_warden warden = start_warden(NULL);
	spin_apart();
	if (rounds > ROUNDS_MAX)
		rounds = ROUNDS_MAX;
	for (unsigned i = 0; i < rounds; i++)
		if (!measure_cold(&warden) || !measure_hot(&warden))
			printf("round %u failed\n", i);
	print("built from nothing, until CONFINED", &build);
	print("  of it the warden's part", &warden_part);
	print("cold claim (dlopen) until the first result", &cold);
	print("hot claim until the first result", &hot);
	if (warden.facts.root)
		measure_memory(&warden);
	adv_warden_stop(&warden);
}
