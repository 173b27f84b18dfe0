/* quiet_lane.c - both sides of a hot lane, each on a thread of its own under a seal: neither allocates, neither asks the kernel. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>

#include "lane/caller.h"
#include "lane/lane_worker.h"
#include "lane/supervisor.h"
#include "quiet.h"

#define SLOTS 8
#define CALLS 20000

static struct adv_geometry g;
static uint8_t *memory[ADV_LANE_FILES], *outputs[SLOTS];
static struct adv_supervisor node;
static struct adv_caller caller;
static struct adv_caller_call calls[SLOTS];
static struct adv_worker_lane worker;
static struct seal of_worker, of_caller;
static _Atomic bool ready;

static void make_lane(void)
{
	adv_geometry_init(&g, 1, SLOTS, ADV_PAGE, ADV_PAGE);
	for (int i = 0; i < ADV_LANE_FILES; i++)
		memory[i] = mmap(NULL, g.size[i], PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	for (uint32_t i = 0; i < SLOTS; i++)
		outputs[i] = memory[ADV_LANE_SLOTS] + adv_geometry_out(&g, 0, i);
	adv_supervisor_format(memory[0], memory[1], memory[2], &g);
	adv_supervisor_init(&node, &g, 0, memory[ADV_LANE_REQ], memory[ADV_LANE_CPL]);
	adv_caller_init(&caller, &g, 0, memory[ADV_LANE_REQ], memory[ADV_LANE_CPL],
			memory[ADV_LANE_SLOTS], calls);
}

/* Function 1 is the last call. */
static void *serve(void *argument)
{
	struct adv_worker_lane_options options = {
		.req = memory[ADV_LANE_REQ] + adv_geometry_req(&g, 0),
		.cpl = memory[ADV_LANE_CPL] + adv_geometry_cpl(&g, 0),
		.inputs = memory[ADV_LANE_SLOTS] + adv_geometry_in(&g, 0, 0),
		.outputs = outputs,
		.generation = node.generation,
		.hot_us = UINT64_MAX,
		.nr_functions = 2,
		.event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC),
	};
	adv_ticks_init(&options.ticks);
	adv_worker_lane_init(&worker, &g, &options);
	atomic_store(&ready, true);
	seal = &of_worker;
	for (bool last = false; !last;) {
		struct adv_work work;
		adv_worker_next(&worker, &work);
		last = work.function == 1;
		memcpy(work.out, work.in, work.length);
		adv_worker_complete(&worker, &work, ADV_OK, work.length);
	}
	seal = NULL;
	close(options.event_fd);
	return argument;
}

static unsigned take(void)
{
	struct adv_result r;
	unsigned n = 0;
	while (adv_caller_poll(&caller, &r))
		n++;
	return n;
}

static bool submit(uint32_t slot, uint16_t function, uint32_t length, uint64_t id)
{
	return adv_caller_slot_free(&caller, slot) &&
	       adv_caller_submit(&caller, slot, function, adv_caller_in(&caller, slot), length, id,
				 0, 0, UINT64_MAX) == ADV_OK;
}

/* Small ones and large ones, as many in flight as there are slots. */
static uint64_t call_many(void)
{
	uint64_t submitted = 0, completed = 0;
	while (completed < CALLS) {
		for (uint32_t slot = 0; slot < SLOTS && submitted < CALLS; slot++)
			submitted +=
				submit(slot, 0, submitted % 3 == 0 ? ADV_PAGE : 8, submitted + 1);
		completed += take();
	}
	return completed;
}

int main(void)
{
	pthread_t thread;
	make_lane();
	pthread_create(&thread, NULL, serve, NULL);
	while (!atomic_load(&ready))
		;
	seal = &of_caller;
	uint64_t n = call_many();
	seal = NULL;
	while (!submit(0, 1, 0, CALLS + 1))
		take();
	pthread_join(thread, NULL);
	printf("1..3\n%sok 1 - %d calls\n", n == CALLS ? "" : "not ", CALLS);
	int ok = quiet(2, "the caller", &of_caller) & quiet(3, "the worker", &of_worker);
	return ok && n == CALLS ? 0 : 1;
}
