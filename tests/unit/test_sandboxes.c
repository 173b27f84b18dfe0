/*
 * test_sandboxes.c - the control thread's hands on the warden, which the test plays, and so the sandboxes: what is asked of whom,
 * when a claim needs the warden and when not, whose reports are awaited, and what is told of a death.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "control/sandboxes.h"
#include "util/clock.h"
#include "util/fd.h"
#include "util/passing.h"

#define NEXT_CPU 3
#define LANE_FDS 4

static struct adv_loop *loop;
static struct adv_sandboxes *sandboxes;
static struct adv_warden warden;
static int warden_end; /* the test's */
static struct adv_module *module;
static int lane_fds[LANE_FDS];
static int nr_gone;

/* What came to the warden or to a sandbox. */
static struct {
	struct adv_warden_request request;
	struct adv_sandbox_order order;
	int fds[ADV_ORDER_FDS_MAX];
	unsigned nr_fds;
} got;

static void gone(void *user)
{
	(void)user;
	nr_gone++;
}

static int next_cpu(void *user, uint32_t tenant)
{
	cr_assert_null(user);
	cr_assert_eq(tenant, 1000);
	return NEXT_CPU;
}

static uint64_t spent_ns;

static void spent(void *user, const struct adv_module *of, uint64_t cpu_ns)
{
	(void)user;
	cr_assert_eq(of, module);
	spent_ns += cpu_ns;
}

static int some_file(void)
{
	int fd = memfd_create("test", MFD_CLOEXEC);
	cr_assert_geq(fd, 0);
	return fd;
}

static void start(uint32_t cold)
{
	int pair[2];
	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	warden = (struct adv_warden){.pid = -1, .pidfd = -1, .socket = pair[0]};
	warden_end = pair[1];
	cr_assert_eq(adv_loop_create(64, &loop), 0);
	const struct adv_sandboxes_options options = {
		.loop = loop,
		.warden = &warden,
		.pool = {.cold = cold,
			 .hot = 1,
			 .hot_modules = 2,
			 .max_sandboxes = 8,
			 .max_parallel = 2,
			 .retry_ns = ADV_MS},
		.cpu = -1,
		.warden_gone = gone,
		.next_cpu = next_cpu,
		.spent = spent,
	};
	cr_assert_eq(adv_sandboxes_create(&options, &sandboxes), 0);
	module = calloc(1, sizeof(*module));
	*module = (struct adv_module){.key = 5,
				      .owner = 1000,
				      .name = "m",
				      .hot = -1,
				      .poolable = true,
				      .nr_functions = 2,
				      .memfd = some_file(),
				      .refs = 1,
				      .current = true};
	module->functions = calloc(module->nr_functions, sizeof(*module->functions));
	for (int i = 0; i < LANE_FDS; i++)
		lane_fds[i] = some_file();
}

static void tear_down(void)
{
	adv_sandboxes_destroy(sandboxes);
	adv_loop_destroy(loop);
	adv_module_put(module);
	for (int i = 0; i < LANE_FDS; i++)
		close(lane_fds[i]);
	close(warden.socket);
	adv_fd_close(&warden_end);
}

TestSuite(sandboxes, .fini = tear_down);

/* ---- the warden's side ---- */

static void drop_fds(void)
{
	for (unsigned i = 0; i < got.nr_fds; i++)
		close(got.fds[i]);
	got.nr_fds = 0;
}

/* Is there a record of `size` bytes by now? */
static bool receive(int socket, void *record, size_t size)
{
	union adv_passing control;
	struct iovec iov = {.iov_base = record, .iov_len = size};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.bytes,
			     .msg_controllen = sizeof(control.bytes)};
	drop_fds();
	ssize_t n = recvmsg(socket, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n < 0)
		return false;
	cr_assert_eq((size_t)n, size);
	got.nr_fds = adv_received_fds(&msg, got.fds, ADV_ORDER_FDS_MAX);
	return true;
}

static void run(void)
{
	adv_loop_run_once(loop, ADV_MS);
}

/* The next request to the warden, which is of this type. */
static void asked(uint32_t type)
{
	for (int i = 0; !receive(warden_end, &got.request, sizeof(got.request)); i++) {
		cr_assert_lt(i, 60000, "no request of type %u", type);
		run();
	}
	cr_assert_eq(got.request.type, type, "%u instead of %u", got.request.type, type);
}

/* Nothing more is asked, whatever timers there are. */
static void not_asked(void)
{
	for (int i = 0; i < 10; i++)
		run();
	cr_assert_not(receive(warden_end, &got.request, sizeof(got.request)),
		      "a request of type %u", got.request.type);
}

static void told(const struct adv_warden_event *event, const int *fds, unsigned nr_fds)
{
	cr_assert_eq(adv_send_fds(warden_end, event, sizeof(*event), fds, nr_fds, 0),
		     sizeof(*event));
	run();
}

struct sandbox {
	uint32_t id;
	int socket; /* its end */
	int log;
};

static void report(const struct sandbox *s, uint32_t type)
{
	struct adv_sandbox_report r = {
		.type = type, .nr_functions = 2, .threads = 1, .cpu_ns = 40 * ADV_MS};
	if (type == ADV_REPORT_FAILED)
		snprintf(r.text, sizeof(r.text), "something failed");
	cr_assert_eq(send(s->socket, &r, sizeof(r), 0), sizeof(r));
	run();
}

/* As asked: a process that says that it is confined. */
static struct sandbox build(void)
{
	int pair[2], log[2];
	asked(ADV_WARDEN_BUILD);
	struct sandbox s = {.id = got.request.id};
	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	cr_assert_eq(pipe2(log, O_CLOEXEC), 0);
	const struct adv_warden_event built = {.type = ADV_EVENT_BUILT, .id = s.id, .pid = 77};
	const int fds[2] = {pair[0], log[0]};
	told(&built, fds, 2);
	close(pair[0]);
	close(log[0]);
	s.socket = pair[1];
	s.log = log[1];
	report(&s, ADV_REPORT_CONFINED);
	return s;
}

static uint64_t used_ns; /* as the kernel counts it */

static void die(struct sandbox *s, int32_t signal_number)
{
	const struct adv_warden_event died = {
		.type = ADV_EVENT_DIED,
		.id = s->id,
		.death = {.code = 2, .status = signal_number, .cpu_ns = used_ns}};
	adv_fd_close(&s->socket);
	adv_fd_close(&s->log);
	told(&died, NULL, 0);
}

static struct sandbox hot_sandbox(void)
{
	start(0);
	adv_sandboxes_module_used(sandboxes, module);
	struct sandbox s = build();
	asked(ADV_WARDEN_ORDER);
	cr_assert_eq(got.request.order.type, ADV_ORDER_LOAD);
	cr_assert_eq(got.request.id, s.id);
	cr_assert_eq(got.nr_fds, 1);
	return s;
}

/* ---- claims ---- */

static int nr_reports, nr_deaths;
static struct adv_death death;
static char last_words[ADV_REASON_MAX];

static void reported(struct adv_claim *claim, const struct adv_sandbox_report *r)
{
	(void)claim, (void)r;
	nr_reports++;
}

static void died(struct adv_claim *claim, const struct adv_death *how, const char *reason)
{
	cr_assert_eq(claim->id, ADV_NO_SANDBOX);
	nr_deaths++;
	death = *how;
	snprintf(last_words, sizeof(last_words), "%s", reason != NULL ? reason : "");
}

static struct adv_claim claim = {.id = ADV_NO_SANDBOX, .died = died};

static const struct adv_sandbox_order serve = {.type = ADV_ORDER_SERVE,
					       .nr_lanes = 1,
					       .nr_slots = ADV_SLOTS_DEFAULT,
					       .in_capacity = ADV_CAPACITY_DEFAULT,
					       .out_capacity = ADV_CAPACITY_DEFAULT,
					       .nr_functions = 2,
					       .generation = 9};

static void claim_hot(void)
{
	cr_assert_eq(adv_sandboxes_claim(sandboxes, module, 0, &claim), ADV_OK);
	cr_assert_eq(claim.hit, ADV_POOL_HIT_HOT);
}

static void order(int cpu, uint64_t memory_bytes, const struct adv_sandbox_order *what)
{
	cr_assert_eq(
		adv_sandboxes_order(sandboxes, &claim, cpu, memory_bytes, what, lane_fds, LANE_FDS),
		0);
}

/* The order has come to the sandbox from the node. */
static void ordered(const struct sandbox *s)
{
	cr_assert(receive(s->socket, &got.order, sizeof(got.order)), "no order");
	cr_assert_eq(got.order.type, ADV_ORDER_SERVE);
	cr_assert_eq(got.order.generation, 9);
	cr_assert_eq(got.nr_fds, LANE_FDS);
	drop_fds();
}

Test(sandboxes, a_hot_one_is_limited_and_waits_on_the_next_cpu)
{
	struct sandbox s = hot_sandbox();
	cr_assert_eq(got.request.memory_bytes, ADV_LEASE_MEMORY_DEFAULT, "before it loads");
	cr_assert_eq(got.request.cpu, -1, "constructors run elsewhere");
	report(&s, ADV_REPORT_LOADED);
	asked(ADV_WARDEN_PARK);
	cr_assert_eq(got.request.cpu, NEXT_CPU);
	cr_assert_eq(got.request.id, s.id);
	cr_assert_eq(got.request.freeze, 0, "it has one thread, which waits");
	not_asked();
	die(&s, 9);
}

/* What nobody waits for is made at low priority, what a lease waits for is not. */
Test(sandboxes, a_claim_that_finds_nothing_is_built_in_the_foreground)
{
	start(1);
	struct sandbox s = build();
	cr_assert_eq(got.request.background, 1);
	cr_assert_eq(adv_sandboxes_claim(sandboxes, NULL, 0, &claim), ADV_OK);
	cr_assert_eq(claim.hit, ADV_POOL_HIT_COLD);
	struct adv_claim second = {.id = ADV_NO_SANDBOX, .died = died};
	cr_assert_eq(adv_sandboxes_claim(sandboxes, NULL, 0, &second), ADV_OK);
	cr_assert_eq(second.hit, ADV_POOL_MISS);
	asked(ADV_WARDEN_BUILD);
	cr_assert_eq(got.request.background, 0);
	die(&s, 9);
}

/* Threads that its constructors have started would go on: they are frozen, where that can be done, and the warden lets them go. */
Test(sandboxes, a_module_with_threads)
{
	start(0);
	module->poolable = false;
	adv_sandboxes_module_used(sandboxes, module);
	not_asked();
	warden.facts.cgroup_freeze = 1;
	adv_sandboxes_module_used(sandboxes, module);
	struct sandbox s = build();
	asked(ADV_WARDEN_ORDER);
	report(&s, ADV_REPORT_LOADED);
	asked(ADV_WARDEN_PARK);
	cr_assert_eq(got.request.freeze, 1);
	claim_hot();
	order(NEXT_CPU, ADV_LEASE_MEMORY_DEFAULT, &serve);
	cr_assert(receive(warden_end, &got.request, sizeof(got.request)));
	cr_assert_eq(got.request.type, ADV_WARDEN_ORDER, "it would not hear its order");
	die(&s, 9);
}

/* Whose core it may share is settled by the warden. */
Test(sandboxes, core_scheduling)
{
	struct sandbox s = hot_sandbox();
	warden.facts.core_scheduling = ADV_CORE_SCHEDULING_ON;
	report(&s, ADV_REPORT_LOADED);
	asked(ADV_WARDEN_PARK);
	claim.core_group = 1001;
	claim_hot();
	order(NEXT_CPU, ADV_LEASE_MEMORY_DEFAULT, &serve);
	cr_assert(receive(warden_end, &got.request, sizeof(got.request)));
	cr_assert_eq(got.request.type, ADV_WARDEN_ORDER);
	cr_assert_eq(got.request.core_group, 1001);
	die(&s, 9);
}

Test(sandboxes, then_a_claim_needs_no_warden)
{
	struct sandbox s = hot_sandbox();
	report(&s, ADV_REPORT_LOADED);
	asked(ADV_WARDEN_PARK);
	claim_hot();
	order(NEXT_CPU, ADV_LEASE_MEMORY_DEFAULT, &serve);
	ordered(&s);
	asked(ADV_WARDEN_BUILD); /* its successor */
	die(&s, 11);
	cr_assert_eq(nr_deaths, 1);
	cr_assert_eq(death.status, 11);
}

Test(sandboxes, another_cpu_is_asked_for_behind_the_order)
{
	struct sandbox s = hot_sandbox();
	report(&s, ADV_REPORT_LOADED);
	asked(ADV_WARDEN_PARK);
	claim_hot();
	order(NEXT_CPU + 1, ADV_LEASE_MEMORY_DEFAULT, &serve);
	ordered(&s);
	asked(ADV_WARDEN_PIN);
	cr_assert_eq(got.request.cpu, NEXT_CPU + 1);
	die(&s, 9);
}

Test(sandboxes, another_limit_comes_first)
{
	struct sandbox s = hot_sandbox();
	report(&s, ADV_REPORT_LOADED);
	asked(ADV_WARDEN_PARK);
	claim_hot();
	order(NEXT_CPU, ADV_LEASE_MEMORY_MIN, &serve);
	asked(ADV_WARDEN_ORDER);
	cr_assert_eq(got.request.memory_bytes, ADV_LEASE_MEMORY_MIN);
	cr_assert_eq(got.request.cpu, NEXT_CPU);
	cr_assert_eq(got.nr_fds, LANE_FDS);
	cr_assert_not(receive(s.socket, &got.order, sizeof(got.order)));
	die(&s, 9);
}

/* A cgroup counts the pages of the lane too. */
Test(sandboxes, a_larger_lane_comes_first_where_a_cgroup_counts_it)
{
	struct sandbox s = hot_sandbox();
	struct adv_sandbox_order larger = serve;
	larger.nr_slots = 64;
	report(&s, ADV_REPORT_LOADED);
	asked(ADV_WARDEN_PARK);
	claim_hot();
	order(NEXT_CPU, ADV_LEASE_MEMORY_DEFAULT, &larger);
	ordered(&s);
	warden.facts.cgroup_memory = 1;
	order(NEXT_CPU, ADV_LEASE_MEMORY_DEFAULT, &larger);
	cr_assert(receive(warden_end, &got.request, sizeof(got.request)));
	cr_assert_eq(got.request.type, ADV_WARDEN_ORDER);
	die(&s, 9);
}

Test(sandboxes, one_that_has_died_meanwhile)
{
	struct sandbox s = hot_sandbox();
	report(&s, ADV_REPORT_LOADED);
	asked(ADV_WARDEN_PARK);
	claim_hot();
	adv_fd_close(&s.socket);
	order(NEXT_CPU, ADV_LEASE_MEMORY_DEFAULT, &serve);
	asked(ADV_WARDEN_ORDER); /* who knows by now */
	die(&s, 9);
	cr_assert_eq(nr_deaths, 1);
}

/* ---- who pays ---- */

/* Constructors of what is loaded ahead: the owner of the module. What the lease used: whoever leased. */
Test(sandboxes, constructors_are_the_owners)
{
	struct sandbox s = hot_sandbox();
	report(&s, ADV_REPORT_LOADED);
	asked(ADV_WARDEN_PARK);
	claim_hot();
	order(NEXT_CPU, ADV_LEASE_MEMORY_DEFAULT, &serve);
	used_ns = 100 * ADV_MS;
	die(&s, 9);
	cr_assert_eq(spent_ns, 40 * ADV_MS);
	cr_assert_eq(death.cpu_ns, 60 * ADV_MS);
}

/* By its own word only as far as the kernel's goes. */
Test(sandboxes, more_than_there_was_is_not_believed)
{
	struct sandbox s = hot_sandbox();
	report(&s, ADV_REPORT_LOADED);
	asked(ADV_WARDEN_PARK);
	claim_hot();
	order(NEXT_CPU, ADV_LEASE_MEMORY_DEFAULT, &serve);
	used_ns = 30 * ADV_MS;
	die(&s, 9);
	cr_assert_eq(spent_ns, 30 * ADV_MS);
	cr_assert_eq(death.cpu_ns, 0);
}

Test(sandboxes, what_was_never_claimed_is_the_owners)
{
	struct sandbox s = hot_sandbox();
	report(&s, ADV_REPORT_LOADED);
	asked(ADV_WARDEN_PARK);
	used_ns = 70 * ADV_MS;
	die(&s, 9);
	cr_assert_eq(spent_ns, 70 * ADV_MS);
	cr_assert_eq(nr_deaths, 0);
}

/* ---- reports ---- */

/* A worker that serves closes its socket: that wakes nobody, and its last words are read when it is dead. */
Test(sandboxes, last_words)
{
	struct sandbox s = hot_sandbox();
	report(&s, ADV_REPORT_LOADED);
	asked(ADV_WARDEN_PARK);
	claim_hot();
	order(NEXT_CPU, ADV_LEASE_MEMORY_DEFAULT, &serve);
	ordered(&s);
	report(&s, ADV_REPORT_FAILED);
	cr_assert_eq(nr_deaths, 0);
	die(&s, 9);
	cr_assert_eq(nr_deaths, 1);
	cr_assert_str_eq(last_words, "something failed");
}

Test(sandboxes, a_deploy_hears_what_is_reported)
{
	start(1);
	struct sandbox s = build();
	claim.reported = reported;
	cr_assert_eq(adv_sandboxes_claim(sandboxes, NULL, 0, &claim), ADV_OK);
	cr_assert_eq(claim.hit, ADV_POOL_HIT_COLD);
	report(&s, ADV_REPORT_FUNCTION);
	cr_assert_eq(nr_reports, 0, "a function without a name breaks the protocol");
	asked(ADV_WARDEN_KILL);
	die(&s, 9);
	cr_assert_eq(nr_deaths, 1);
	s = build();
	cr_assert_eq(adv_sandboxes_claim(sandboxes, NULL, 0, &claim), ADV_OK);
	report(&s, ADV_REPORT_LOADED);
	cr_assert_eq(nr_reports, 1);
	die(&s, 9);
}

Test(sandboxes, one_that_could_not_be_built)
{
	start(0);
	cr_assert_eq(adv_sandboxes_claim(sandboxes, NULL, 0, &claim), ADV_OK);
	cr_assert_eq(claim.hit, ADV_POOL_MISS);
	asked(ADV_WARDEN_BUILD);
	struct adv_warden_event failed = {.type = ADV_EVENT_FAILED, .id = got.request.id};
	snprintf(failed.text, sizeof(failed.text), "no namespaces here");
	told(&failed, NULL, 0);
	cr_assert_eq(nr_deaths, 1);
	cr_assert_eq(death.code, 0);
	cr_assert_str_eq(last_words, "no namespaces here");
}

Test(sandboxes, a_warden_that_is_gone)
{
	start(0);
	adv_fd_close(&warden_end);
	while (nr_gone == 0)
		cr_assert_geq(adv_loop_run_once(loop, UINT64_MAX), 0);
	cr_assert_eq(nr_gone, 1);
}
