/* test_orders.c - orders and requests, right and wrong: hot claims, lanes that do not match, records that make no sense. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "cases.h"
#include "util/fd.h"
#include "util/passing.h"

/* ---- orders ---- */

static void test_hot_claim(struct adv_warden *warden)
{
	struct box b;
	struct lane_memory l;
	struct adv_sandbox_report r;
	char status[8192];
	int module = module_fd("echo");
	const struct adv_warden_request load = {
		.type = ADV_WARDEN_ORDER, .id = 5, .cpu = -1, .order.type = ADV_ORDER_LOAD};
	lane_create(&l, 4, 4096, 4096);
	check(box_build(warden, 5, ADV_PROFILE_STRICT, &b), "a sandbox for the hot pool");
	box_order(&b, &load, &module, 1);
	check(box_report(&b, &r) && r.type == ADV_REPORT_LOADED && r.nr_functions == 3,
	      "it loads ahead: %s", r.text);
	struct adv_warden_request serve = serve_request(&l, 5, ADV_ORDER_SERVE);
	serve.cpu = 0;
	const int fds[4] = {l.req_read_only, l.fds[ADV_LANE_CPL], l.fds[ADV_LANE_SLOTS],
			    l.event_fd};
	box_order(&b, &serve, fds, 4);
	struct adv_result result = call(&b, &l, 1, "hot", 3);
	check(result.status == ADV_OK && memcmp(result.payload, "hot", 3) == 0,
	      "a hot claim serves: %s", adv_status_text(result.status));
	check(!box_report(&b, &r), "its socket is closed once it serves");
	check(proc_read(b.pid, "status", status, sizeof(status)) &&
		      strcmp(proc_field(status, "Cpus_allowed_list"), "0") == 0,
	      "it is pinned to CPU 0");
	box_release(&b);
	lane_destroy(&l);
}

/* What the node does where nothing is left to limit: the order from itself, and only the CPU from the warden. */
static void test_hot_claim_by_the_node(struct adv_warden *warden)
{
	struct box b;
	struct lane_memory l;
	struct adv_sandbox_report r;
	char text[8192];
	int module = module_fd("echo");
	struct adv_warden_request load = {.type = ADV_WARDEN_ORDER,
					  .id = 5,
					  .cpu = -1,
					  .memory_bytes = 64 * ADV_MIB,
					  .order.type = ADV_ORDER_LOAD};
	const struct adv_warden_request pin = {.type = ADV_WARDEN_PIN, .id = 5, .cpu = 0};
	lane_create(&l, 4, 4096, 4096);
	check(box_build(warden, 5, ADV_PROFILE_STRICT, &b), "a sandbox for the hot pool");
	box_order(&b, &load, &module, 1);
	check(box_report(&b, &r) && r.type == ADV_REPORT_LOADED, "it loads, limited: %s", r.text);
	unsigned long limit = 0;
	const char *line = proc_read(b.pid, "limits", text, sizeof(text))
				   ? strstr(text, "Max data size")
				   : NULL;
	check(line != NULL && sscanf(line, "Max data size %lu", &limit) == 1 &&
		      limit >= 64 * ADV_MIB && limit < 96 * ADV_MIB,
	      "before the module's constructors: %lu bytes", limit);
	const struct adv_warden_request serve = serve_request(&l, 5, ADV_ORDER_SERVE);
	const int fds[4] = {l.req_read_only, l.fds[ADV_LANE_CPL], l.fds[ADV_LANE_SLOTS],
			    l.event_fd};
	check(adv_send_fds(b.report, &serve.order, sizeof(serve.order), fds, 4, MSG_NOSIGNAL) ==
		      (ssize_t)sizeof(serve.order),
	      "the node gives it its order");
	warden_send(warden, &pin, sizeof(pin), NULL, 0);
	struct adv_result result = call(&b, &l, 1, "hot", 3);
	check(result.status == ADV_OK && memcmp(result.payload, "hot", 3) == 0, "it serves: %s",
	      adv_status_text(result.status));
	/* Behind a request that is answered, the one before it has been carried out. */
	warden_send(warden, &(char){0}, 1, NULL, 0);
	struct adv_warden_event event;
	check(warden_event(warden, &event, NULL) && event.type == ADV_EVENT_REFUSED &&
		      proc_read(b.pid, "status", text, sizeof(text)) &&
		      strcmp(proc_field(text, "Cpus_allowed_list"), "0") == 0,
	      "and is pinned to CPU 0");
	box_release(&b);
	lane_destroy(&l);
}

/* What a function sees of its own process once it serves. */
static void test_inside(struct adv_warden *warden)
{
	struct box b;
	struct lane_memory l;
	uint64_t seen[5] = {0};
	int32_t errors[8] = {0};
	bool blind = true;
	lane_create(&l, 2, 4096, 4096);
	if (check(box_build(warden, 5, ADV_PROFILE_STRICT, &b) && box_serve(&b, "acts", &l),
		  "a sandbox to look around in: %s", b.reason)) {
		int number = function_number(warden, "acts", "describes_itself");
		struct adv_result r = call(&b, &l, (uint16_t)number, NULL, 0);
		memcpy(seen, adv_caller_out(&l.caller, 0), sizeof(seen));
		check(r.status == ADV_OK && seen[0] == 0xf,
		      "stdin, log, log and the eventfd are all it has: %#llx",
		      (unsigned long long)seen[0]);
		check(seen[1] == 0 && seen[2] == 0 && seen[3] == 1 && seen[4] == 1,
		      "it thinks it is uid 0, pid 1, and sees no environment");
		number = function_number(warden, "acts", "looks_around");
		r = call(&b, &l, (uint16_t)number, NULL, 0);
		memcpy(errors, r.length > ADV_INLINE_MAX ? adv_caller_out(&l.caller, 0) : r.payload,
		       sizeof(errors));
		for (int i = 0; i < 8; i++)
			blind &= errors[i] == ENOENT || errors[i] == EACCES;
		check(r.status == ADV_OK && blind, "there is no file that it can open");
	}
	box_release(&b);
	lane_destroy(&l);
}

/* A worker that is given a lane which does not match must not serve it. */
static void test_mismatch(struct adv_warden *warden, const char *what,
			  const struct adv_warden_request *request, const int *fds, unsigned nr_fds)
{
	struct box b;
	struct adv_sandbox_report r = {0};
	uint32_t detail;
	if (!check(box_build(warden, request->id, ADV_PROFILE_STRICT, &b), "a sandbox"))
		return;
	box_order(&b, request, fds, nr_fds);
	while (box_report(&b, &r) && r.type != ADV_REPORT_FAILED)
		;
	check(r.type == ADV_REPORT_FAILED && r.status == ADV_SYSTEM && r.text[0] != '\0', "%s: %s",
	      what, r.text);
	check(box_wait_death(&b) && adv_death_status(&b.death, &detail) == ADV_LOAD_FAILED,
	      "and it ends as %d", b.death.status);
	box_release(&b);
}

static void test_mismatches(struct adv_warden *warden)
{
	struct lane_memory l;
	lane_create(&l, 2, 4096, 4096);
	int fds[5] = {module_fd("echo"), l.req_read_only, l.fds[ADV_LANE_CPL],
		      l.fds[ADV_LANE_SLOTS], l.event_fd};
	const struct adv_warden_request good = serve_request(&l, 5, ADV_ORDER_LOAD_AND_SERVE);
	struct adv_warden_request bad = good;
	bad.order.nr_slots = 64;
	test_mismatch(warden, "another number of slots", &bad, fds, 5);
	bad = good;
	bad.order.lane = 1;
	test_mismatch(warden, "a lane beyond the last", &bad, fds, 5);
	bad = good;
	bad.order.nr_slots = 0;
	test_mismatch(warden, "no slots", &bad, fds, 5);
	bad = good;
	bad.order.type = ADV_ORDER_SERVE;
	test_mismatch(warden, "serving before a module is loaded", &bad, fds + 1, 4);
	fds[3] = l.fds[ADV_LANE_CPL];
	test_mismatch(warden, "the wrong memory", &good, fds, 5);
	fds[3] = l.event_fd;
	test_mismatch(warden, "no memory at all", &good, fds, 5);
	lane_destroy(&l);
}

/* The registry knows another number of functions than the module has. */
static void test_other_module(struct adv_warden *warden)
{
	struct box b;
	struct adv_sandbox_report r;
	int module = module_fd("echo");
	const struct adv_warden_request load = {
		.type = ADV_WARDEN_ORDER,
		.id = 5,
		.cpu = -1,
		.order = {.type = ADV_ORDER_LOAD, .nr_functions = 9},
	};
	if (check(box_build(warden, 5, ADV_PROFILE_STRICT, &b), "a sandbox")) {
		box_order(&b, &load, &module, 1);
		check(box_report(&b, &r) && r.type == ADV_REPORT_FAILED &&
			      r.status == ADV_BAD_MODULE && strstr(r.text, "had 9") != NULL,
		      "a module with other functions than were deployed: %s", r.text);
	}
	box_release(&b);
}

void test_orders(struct adv_warden *warden)
{
	test_hot_claim(warden);
	test_hot_claim_by_the_node(warden);
	test_inside(warden);
	test_mismatches(warden);
	test_other_module(warden);
}

/* ---- requests ---- */

static void expect_refused(struct adv_warden *warden, const char *what, const void *record,
			   size_t size, const int *fds, unsigned nr_fds)
{
	struct adv_warden_event event;
	warden_send(warden, record, size, fds, nr_fds);
	check(warden_event(warden, &event, NULL) && event.type == ADV_EVENT_REFUSED &&
		      event.text[0] != '\0',
	      "%s is refused: %s", what, event.text);
}

static void test_bad_requests(struct adv_warden *warden, struct box *b)
{
	const int fds[6] = {0, 0, 0, 0, 0, 0};
	struct adv_warden_request r = {.type = ADV_WARDEN_BUILD, .id = b->id, .cpu = -1};
	expect_refused(warden, "a short record", &r, 7, NULL, 0);
	expect_refused(warden, "a short record with descriptors", &r, 7, fds, 5);
	expect_refused(warden, "a long record", &(char[4096]){0}, 4096, NULL, 0);
	expect_refused(warden, "a build of an id in use", &r, sizeof(r), NULL, 0);
	r.id = ADV_SANDBOXES_MAX;
	expect_refused(warden, "an id out of range", &r, sizeof(r), NULL, 0);
	r.id = 100;
	r.profile = 9;
	expect_refused(warden, "a library set that is none", &r, sizeof(r), NULL, 0);
	r.profile = 0;
	expect_refused(warden, "a build with descriptors", &r, sizeof(r), fds, 1);
	r.type = 77;
	expect_refused(warden, "an unknown type", &r, sizeof(r), NULL, 0);
	r.type = ADV_WARDEN_KILL;
	expect_refused(warden, "killing what never was", &r, sizeof(r), NULL, 0);
	r.type = ADV_WARDEN_PIN;
	expect_refused(warden, "pinning what never was", &r, sizeof(r), NULL, 0);
	r.id = ADV_WARDEN_ITSELF;
	r.cpu = 1000;
	expect_refused(warden, "pinning the warden to a CPU that is not there", &r, sizeof(r), NULL,
		       0);
	r.id = b->id;
	r.cpu = 100000;
	expect_refused(warden, "pinning to a CPU out of range", &r, sizeof(r), NULL, 0);
	r.cpu = 1000;
	expect_refused(warden, "pinning to a CPU that is not there", &r, sizeof(r), NULL, 0);
	r.cpu = -1;
	r.type = ADV_WARDEN_ORDER;
	r.id = b->id;
	r.order.type = ADV_ORDER_LOAD;
	expect_refused(warden, "an order without its module", &r, sizeof(r), NULL, 0);
	expect_refused(warden, "an order with too many descriptors", &r, sizeof(r), fds, 2);
	r.cpu = 100000;
	expect_refused(warden, "a CPU out of range", &r, sizeof(r), fds, 1);
	r.cpu = -2;
	expect_refused(warden, "a CPU below -1", &r, sizeof(r), fds, 1);
	r.cpu = 1000;
	expect_refused(warden, "a CPU that is not there", &r, sizeof(r), fds, 1);
	r.cpu = -1;
	r.memory_bytes = UINT64_MAX;
	expect_refused(warden, "more memory than there can be", &r, sizeof(r), fds, 1);
	r.memory_bytes = 0;
	r.order.type = 0;
	expect_refused(warden, "an order of no type", &r, sizeof(r), fds, 1);
	r.order.type = ADV_ORDER_LOAD;
	expect_refused(warden, "six descriptors", &r, sizeof(r), fds, 6);
}

/* A request that crosses with DIED on the way is no bug of the node's. */
static void test_late_requests(struct adv_warden *warden, struct box *b)
{
	struct adv_warden_event event;
	int module = module_fd("echo");
	struct adv_warden_request r = {
		.type = ADV_WARDEN_ORDER, .id = b->id, .cpu = -1, .order.type = ADV_ORDER_LOAD};
	box_kill(b);
	warden_send(warden, &r, sizeof(r), &module, 1);
	r.type = ADV_WARDEN_KILL;
	warden_send(warden, &r, sizeof(r), NULL, 0);
	r.type = 77;
	warden_send(warden, &r, sizeof(r), NULL, 0);
	check(warden_event(warden, &event, NULL) && strstr(event.text, "type 77") != NULL,
	      "requests for one that has died are dropped: %s", event.text);
}

/* Last: it stays there. What it builds from then on is where it is, away from workers' cores. */
/* What nobody waits for is made at low priority, and is an ordinary process again before it is claimed. An ordinary user could not undo it. */
static void test_background(struct adv_warden *warden)
{
	const struct adv_warden_request build = {
		.type = ADV_WARDEN_BUILD, .id = 5, .cpu = -1, .background = 1};
	const struct adv_warden_request load = {.type = ADV_WARDEN_ORDER,
						.id = 5,
						.cpu = -1,
						.memory_bytes = ADV_LEASE_MEMORY_DEFAULT,
						.order.type = ADV_ORDER_LOAD};
	const struct adv_warden_request park = {.type = ADV_WARDEN_PARK, .id = 5, .cpu = 0};
	const int low = warden->facts.root ? 10 : 0;
	struct adv_sandbox_report r;
	struct box b;
	int module = module_fd("echo");
	if (!check(box_build_as(warden, &build, &b), "one is built in the background: %s",
		   b.reason))
		return;
	check(getpriority(PRIO_PROCESS, (id_t)b.pid) == low, "at low priority");
	check(getpriority(PRIO_PROCESS, (id_t)warden->pid) == 0, "which is not the warden's");
	box_order(&b, &load, &module, 1);
	check(box_report(&b, &r) && r.type == ADV_REPORT_LOADED &&
		      getpriority(PRIO_PROCESS, (id_t)b.pid) == low,
	      "constructors run at low priority too");
	box_order(&b, &park, NULL, 0);
	/* The next answer of the warden is after that. */
	struct box second;
	check(box_build(warden, 6, ADV_PROFILE_STRICT, &second) &&
		      getpriority(PRIO_PROCESS, (id_t)second.pid) == 0,
	      "one that is waited for is built at the usual one");
	cpu_set_t set;
	check(getpriority(PRIO_PROCESS, (id_t)b.pid) == 0, "parked, it has the usual one again");
	check(sched_getaffinity(b.pid, sizeof(set), &set) == 0 && CPU_COUNT(&set) == 1 &&
		      CPU_ISSET(0, &set),
	      "and waits where it was told to");
	box_release(&second);
	box_release(&b);
}

static void test_the_warden_stays(struct adv_warden *warden)
{
	struct box b;
	char status[8192];
	const struct adv_warden_request stay = {
		.type = ADV_WARDEN_PIN, .id = ADV_WARDEN_ITSELF, .cpu = 0};
	warden_send(warden, &stay, sizeof(stay), NULL, 0);
	if (!check(box_build(warden, 10, ADV_PROFILE_STRICT, &b), "one more sandbox"))
		return;
	check(proc_read(warden->pid, "status", status, sizeof(status)) &&
		      strcmp(proc_field(status, "Cpus_allowed_list"), "0") == 0,
	      "the warden is pinned to CPU 0");
	check(proc_read(b.pid, "status", status, sizeof(status)) &&
		      strcmp(proc_field(status, "Cpus_allowed_list"), "0") == 0,
	      "and so is what it builds");
	box_release(&b);
}

void test_requests(struct adv_warden *warden)
{
	test_background(warden);
	struct box b;
	if (!check(box_build(warden, 9, ADV_PROFILE_STRICT, &b), "a sandbox"))
		return;
	test_bad_requests(warden, &b);
	check(b.death.code == 0, "it lives on");
	test_late_requests(warden, &b);
	box_release(&b);
	if (warden->facts.root)
		check(warden_descriptors(warden) <= 10,
		      "the warden has no descriptor left over: %u", warden_descriptors(warden));
	test_the_warden_stays(warden);
}
