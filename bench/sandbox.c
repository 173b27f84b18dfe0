/*
 * sandbox.c - what sandboxes cost, driven by a node in miniature: claims, builds, refilling, memory, a long churn. One line of JSON.
 *
 *	bench_sandbox MODULES_DIR claims ROUNDS     hot, cold and empty to the first result, beside a bare eventfd wake-up
 *	bench_sandbox MODULES_DIR build ROUNDS      from the request until CONFINED, then killed and reaped
 *	bench_sandbox MODULES_DIR refill SECONDS    sandboxes a second, several on their way, on one CPU, while others serve
 *	bench_sandbox MODULES_DIR memory COUNT      of COUNT sandboxes at rest: MemAvailable's share, and PSS
 *	bench_sandbox MODULES_DIR churn COUNT       builds and kills COUNT: what is left afterwards
 *	bench_sandbox MODULES_DIR confinement BLOCKS hot calls of a confined worker and of a bare one, in alternating blocks
 *	bench_sandbox MODULES_DIR namespaces ROUNDS  a process made, ended and reaped, with and without namespaces of its own
 *
 * bench/sandbox.py runs them all and prints the table. One thread.
 */
#include <dirent.h>
#include <errno.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lane/lane_worker.h"
#include "tests/sandbox/harness.h"
#include "util/clock.h"
#include "util/fd.h"
#include "util/histogram.h"
#include "util/passing.h"

#define DEPTH	  8  /* builds on their way at a time */
#define SERVE_ONE 64 /* while refilling: each so many-th sandbox serves a call */
#define BLOCK_NS  (10 * ADV_MS)
#define HOT_US	  2000 /* asleep soon after its block */
#define REST_NS	  (4 * ADV_MS)

static struct adv_warden warden;

static void die(const char *what, const char *why)
{
	fprintf(stderr, "bench_sandbox: %s: %s\n", what, why);
	exit(1);
}

static void pin_to(pid_t pid, int cpu)
{
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(pid, sizeof(set), &set) < 0)
		die("sched_setaffinity", strerror(errno));
}

static void print_quantiles(const char *name, const struct adv_histogram *h)
{
	printf("\"%s\": {\"count\": %llu, \"p50\": %llu, \"p90\": %llu, \"p99\": %llu}", name,
	       (unsigned long long)h->count, (unsigned long long)adv_histogram_quantile(h, 0.5),
	       (unsigned long long)adv_histogram_quantile(h, 0.9),
	       (unsigned long long)adv_histogram_quantile(h, 0.99));
}

/* ---- claims ---- */

static uint16_t echo_number;

/* As the node does: pinned and limited before, then one order straight to the sandbox. */
static void serve_now(struct box *b, struct lane_memory *l)
{
	struct adv_warden_request r = serve_request(l, b->id, ADV_ORDER_SERVE);
	r.order.yield = 0;
	const int fds[4] = {l->req_read_only, l->fds[ADV_LANE_CPL], l->fds[ADV_LANE_SLOTS],
			    l->event_fd};
	if (adv_send_fds(b->report, &r.order, sizeof(r.order), fds, 4, MSG_NOSIGNAL) < 0)
		die("an order", strerror(errno));
}

static void load_and_serve(struct box *b, struct lane_memory *l)
{
	const struct adv_warden_request r = serve_request(l, b->id, ADV_ORDER_LOAD_AND_SERVE);
	const int fds[5] = {module_fd("echo"), l->req_read_only, l->fds[ADV_LANE_CPL],
			    l->fds[ADV_LANE_SLOTS], l->event_fd};
	if (adv_send_fds(b->report, &r.order, sizeof(r.order), fds, 5, MSG_NOSIGNAL) < 0)
		die("an order", strerror(errno));
}

/* Spins for it; what goes wrong in a sandbox shows as time that runs out. */
static void first_result(struct lane_memory *l, uint64_t begun_ns, struct adv_histogram *h)
{
	struct adv_result r;
	if (adv_caller_submit(&l->caller, 0, echo_number, "x", 1, ++l->next_id, 0, 0, UINT64_MAX) !=
	    ADV_OK)
		die("the first call", "it was refused");
	while (!adv_caller_poll(&l->caller, &r)) {
		if (adv_clock_monotonic_ns() - begun_ns > 10 * ADV_SEC)
			die("the first call", "there was no answer in 10 s");
		adv_pause();
	}
	if (r.status != ADV_OK)
		die("the first call", adv_status_text(r.status));
	adv_histogram_add(h, adv_clock_monotonic_ns() - begun_ns);
}

static void build(struct box *b, uint32_t id)
{
	if (!box_build(&warden, id, ADV_PROFILE_STRICT, b))
		die("a sandbox", b->reason);
}

static void pin_box(uint32_t id, int cpu)
{
	const struct adv_warden_request r = {.type = ADV_WARDEN_PIN, .id = id, .cpu = cpu};
	warden_send(&warden, &r, sizeof(r), NULL, 0);
}

static void settle(uint64_t ns)
{
	const struct timespec t = {.tv_nsec = (long)ns};
	nanosleep(&t, NULL);
}

static void hot_claim(struct adv_histogram *h)
{
	struct box b;
	struct lane_memory l;
	struct adv_sandbox_report r;
	int module = module_fd("echo");
	const struct adv_warden_request load = {.type = ADV_WARDEN_ORDER,
						.cpu = -1,
						.memory_bytes = ADV_LEASE_MEMORY_DEFAULT,
						.order.type = ADV_ORDER_LOAD};
	build(&b, 0);
	box_order(&b, &load, &module, 1);
	if (!box_report(&b, &r) || r.type != ADV_REPORT_LOADED)
		die("loading", b.reason);
	pin_box(0, 1);
	lane_create(&l, 4, 65536, 65536);
	settle(REST_NS);
	uint64_t begun_ns = adv_clock_monotonic_ns();
	serve_now(&b, &l);
	first_result(&l, begun_ns, h);
	box_release(&b);
	lane_destroy(&l);
}

static void cold_claim(struct adv_histogram *h, bool empty)
{
	struct box b;
	struct lane_memory l;
	lane_create(&l, 4, 65536, 65536);
	uint64_t begun_ns = adv_clock_monotonic_ns();
	build(&b, 0);
	if (!empty) {
		pin_box(0, 1);
		settle(REST_NS);
		begun_ns = adv_clock_monotonic_ns();
	}
	load_and_serve(&b, &l);
	first_result(&l, begun_ns, h);
	box_release(&b);
	lane_destroy(&l);
}

/* A bare process on the worker's CPU, asleep in read(2) of an eventfd: until what it does first is seen here. */
static struct {
	pid_t pid;
	int fd;
	_Atomic uint64_t *seen;
} sleeper;

static void start_sleeper(void)
{
	sleeper.fd = eventfd(0, EFD_CLOEXEC);
	sleeper.seen =
		mmap(NULL, ADV_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (sleeper.fd < 0 || sleeper.seen == MAP_FAILED)
		die("an eventfd", strerror(errno));
	sleeper.pid = fork();
	if (sleeper.pid != 0)
		return;
	pin_to(0, 1);
	uint64_t n;
	while (read(sleeper.fd, &n, sizeof(n)) == sizeof(n))
		atomic_fetch_add_explicit(sleeper.seen, n, memory_order_release);
	_exit(0);
}

static void stop_sleeper(void)
{
	kill(sleeper.pid, SIGKILL);
	waitpid(sleeper.pid, NULL, 0);
}

static void bare_wake(struct adv_histogram *h)
{
	const uint64_t one = 1;
	uint64_t before = atomic_load_explicit(sleeper.seen, memory_order_acquire);
	settle(REST_NS);
	uint64_t begun_ns = adv_clock_monotonic_ns();
	if (write(sleeper.fd, &one, sizeof(one)) != sizeof(one))
		die("an eventfd", strerror(errno));
	while (atomic_load_explicit(sleeper.seen, memory_order_acquire) == before)
		adv_pause();
	adv_histogram_add(h, adv_clock_monotonic_ns() - begun_ns);
}

static void claims(unsigned long rounds)
{
	static struct adv_histogram hot, cold, empty, bare;
	start_sleeper();
	for (unsigned long i = 0; i < rounds; i++) {
		hot_claim(&hot);
		bare_wake(&bare);
		cold_claim(&cold, false);
		cold_claim(&empty, true);
	}
	stop_sleeper();
	printf("{");
	print_quantiles("hot", &hot);
	printf(", ");
	print_quantiles("cold", &cold);
	printf(", ");
	print_quantiles("empty", &empty);
	printf(", ");
	print_quantiles("bare", &bare);
	printf("}\n");
}

static void builds(unsigned long rounds)
{
	static struct adv_histogram built, warden_part, whole;
	for (unsigned long i = 0; i < rounds; i++) {
		struct box b;
		uint64_t begun_ns = adv_clock_monotonic_ns();
		build(&b, 0);
		adv_histogram_add(&built, adv_clock_monotonic_ns() - begun_ns);
		adv_histogram_add(&warden_part, b.build_ns);
		box_release(&b);
		adv_histogram_add(&whole, adv_clock_monotonic_ns() - begun_ns);
	}
	printf("{");
	print_quantiles("built", &built);
	printf(", ");
	print_quantiles("warden", &warden_part);
	printf(", ");
	print_quantiles("until_reaped", &whole);
	printf("}\n");
}

/* ---- many at a time ---- */

static void ask_build(uint32_t id)
{
	const struct adv_warden_request r = {.type = ADV_WARDEN_BUILD, .id = id, .cpu = -1};
	warden_send(&warden, &r, sizeof(r), NULL, 0);
}

static void ask_kill(uint32_t id)
{
	const struct adv_warden_request r = {.type = ADV_WARDEN_KILL, .id = id, .cpu = -1};
	warden_send(&warden, &r, sizeof(r), NULL, 0);
}

/* One that was just built: confined, and now and then it serves a call. Then it goes. */
static void use_and_kill(const struct adv_warden_event *event, int *fds, uint64_t number)
{
	struct adv_sandbox_report r;
	struct box b = {.warden = &warden,
			.id = event->id,
			.pid = event->pid,
			.report = fds[0],
			.log = fds[1]};
	if (!box_report(&b, &r) || r.type != ADV_REPORT_CONFINED)
		die("a sandbox", b.reason);
	if (number % SERVE_ONE == 0) {
		struct lane_memory l;
		static struct adv_histogram served;
		lane_create(&l, 1, 4096, 4096);
		load_and_serve(&b, &l);
		first_result(&l, adv_clock_monotonic_ns(), &served);
		lane_destroy(&l);
	}
	ask_kill(b.id);
	adv_fd_close(&b.report);
	adv_fd_close(&b.log);
}

/* Builds and kills until `more` says no; DEPTH are on their way. Returns how many were built. */
static uint64_t run_through(bool (*more)(uint64_t built))
{
	uint64_t built = 0;
	uint32_t alive = 0;
	for (uint32_t id = 0; id < DEPTH; id++, alive++)
		ask_build(id);
	while (alive > 0) {
		struct adv_warden_event event;
		int fds[2] = {-1, -1};
		if (!warden_event(&warden, &event, fds))
			die("the warden", "it says nothing");
		if (event.type == ADV_EVENT_FAILED || event.type == ADV_EVENT_REFUSED)
			die("a sandbox", event.text);
		if (event.type == ADV_EVENT_BUILT)
			use_and_kill(&event, fds, built++);
		if (event.type != ADV_EVENT_DIED)
			continue;
		if (more(built))
			ask_build(event.id);
		else
			alive--;
	}
	return built;
}

static uint64_t end_ns, wanted;

static bool until_time(uint64_t built)
{
	(void)built;
	return adv_clock_monotonic_ns() < end_ns;
}

static bool until_number(uint64_t built)
{
	return built + DEPTH <= wanted;
}

static void refill(unsigned long seconds)
{
	const struct adv_warden_request r = {
		.type = ADV_WARDEN_PIN, .id = ADV_WARDEN_ITSELF, .cpu = 0};
	warden_send(&warden, &r, sizeof(r), NULL, 0);
	pin_to(0, 1);
	uint64_t begun_ns = adv_clock_monotonic_ns();
	end_ns = begun_ns + seconds * ADV_SEC;
	uint64_t built = run_through(until_time);
	double took_s = (double)(adv_clock_monotonic_ns() - begun_ns) / 1e9;
	printf("{\"built\": %llu, \"seconds\": %.2f, \"per_second\": %.1f}\n",
	       (unsigned long long)built, took_s, (double)built / took_s);
}

/* ---- what is left ---- */

static long entries(const char *path)
{
	DIR *dir = opendir(path);
	long n = 0;
	if (dir == NULL)
		return -1;
	while (readdir(dir) != NULL)
		n++;
	closedir(dir);
	return n;
}

static long meminfo_kib(const char *key)
{
	char line[256];
	long kib = -1;
	FILE *f = fopen("/proc/meminfo", "re");
	size_t n = strlen(key);
	while (f != NULL && fgets(line, sizeof(line), f) != NULL)
		if (strncmp(line, key, n) == 0)
			kib = strtol(line + n, NULL, 10);
	if (f != NULL)
		fclose(f);
	return kib;
}

static long lines_of(int pid, const char *file)
{
	static char text[1 << 20];
	long n = 0;
	if (!proc_read(pid, file, text, sizeof(text)))
		return -1;
	for (const char *p = text; *p != '\0'; p++)
		n += *p == '\n';
	return n;
}

static void print_left(const char *name)
{
	char fds[64];
	snprintf(fds, sizeof(fds), "/proc/%d/fd", warden.pid);
	printf("\"%s\": {\"available_kib\": %ld, \"slab_kib\": %ld, \"descriptors\": %ld, "
	       "\"warden_mounts\": %ld, \"mounts\": %ld, \"processes\": %ld}",
	       name, meminfo_kib("MemAvailable:"), meminfo_kib("Slab:"), entries(fds),
	       lines_of(warden.pid, "mountinfo"), lines_of(getpid(), "mountinfo"),
	       entries("/proc"));
}

/* The kernel frees some things later. */
static void calm(void)
{
	for (int i = 0; i < 20; i++)
		settle(100 * ADV_MS);
}

static void churn(unsigned long count)
{
	wanted = DEPTH * 4;
	run_through(until_number);
	calm();
	printf("{");
	print_left("before");
	fflush(stdout);
	wanted = count;
	uint64_t begun_ns = adv_clock_monotonic_ns();
	uint64_t built = run_through(until_number);
	double took_s = (double)(adv_clock_monotonic_ns() - begun_ns) / 1e9;
	calm();
	printf(", ");
	print_left("after");
	printf(", \"built\": %llu, \"seconds\": %.1f}\n", (unsigned long long)built, took_s);
}

static void memory(unsigned long count)
{
	struct box *boxes = calloc(count, sizeof(*boxes));
	char text[4096];
	unsigned long pss = 0, kib;
	if (boxes == NULL || count == 0 || count > ADV_SANDBOXES_MAX)
		die("memory", "a number from 1 to 8192");
	build(&boxes[0], 0);
	calm();
	long before = meminfo_kib("MemAvailable:");
	for (unsigned long i = 1; i < count; i++)
		build(&boxes[i], (uint32_t)i);
	calm();
	long after = meminfo_kib("MemAvailable:");
	for (unsigned long i = 0; i < count; i++)
		if (proc_read(boxes[i].pid, "smaps_rollup", text, sizeof(text)) &&
		    sscanf(proc_field(text, "Pss"), "%lu", &kib) == 1)
			pss += kib;
	printf("{\"count\": %lu, \"available_kib_each\": %.1f, \"pss_kib_each\": %.1f}\n", count,
	       (double)(before - after) / (double)(count - 1), (double)pss / (double)count);
	for (unsigned long i = 0; i < count; i++)
		box_release(&boxes[i]);
	free(boxes);
}

/* ---- what namespaces are of it ---- */

#define WALLS (CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP)

/* Of this process, which is larger than a warden: what is compared is the difference. */
static void namespaces(unsigned long rounds)
{
	static const struct {
		const char *name;
		uint64_t flags;
	} kinds[] = {
		{"none", 0},
		{"user_pid", CLONE_NEWUSER | CLONE_NEWPID}, /* no zygote could share these */
		{"as_a_sandbox", CLONE_NEWUSER | CLONE_NEWPID | WALLS},
		{"with_net", CLONE_NEWUSER | CLONE_NEWPID | WALLS | CLONE_NEWNET},
	};
	enum {
		NR = sizeof(kinds) / sizeof(kinds[0])
	};
	static struct adv_histogram cloned[NR], reaped[NR];
	for (unsigned long i = 0; i < rounds * NR; i++) {
		unsigned k = i % NR;
		struct clone_args args = {.flags = kinds[k].flags, .exit_signal = SIGCHLD};
		uint64_t begun_ns = adv_clock_monotonic_ns();
		pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
		if (pid == 0)
			_exit(0);
		if (pid < 0)
			die("clone3", strerror(errno));
		adv_histogram_add(&cloned[k], adv_clock_monotonic_ns() - begun_ns);
		waitpid(pid, NULL, 0);
		adv_histogram_add(&reaped[k], adv_clock_monotonic_ns() - begun_ns);
	}
	for (unsigned k = 0; k < NR; k++) {
		printf("%s\"%s\": {", k == 0 ? "{" : ", ", kinds[k].name);
		print_quantiles("cloned", &cloned[k]);
		printf(", ");
		print_quantiles("reaped", &reaped[k]);
		printf("}");
	}
	printf("}\n");
}

/* ---- confinement on and off ---- */

/* The same worker's loop and the same work, in a process that nothing confines. */
static void __attribute__((noreturn)) serve_bare(const struct lane_memory *l)
{
	static uint8_t *outputs[ADV_SLOTS_MAX];
	struct adv_worker_lane lane;
	struct adv_work work;
	const struct adv_geometry *g = &l->geometry;
	struct adv_worker_lane_options options = {
		.req = l->map[ADV_LANE_REQ] + adv_geometry_req(g, 0),
		.cpl = l->map[ADV_LANE_CPL] + adv_geometry_cpl(g, 0),
		.inputs = l->map[ADV_LANE_SLOTS] + adv_geometry_in(g, 0, 0),
		.outputs = outputs,
		.generation = l->supervisor.generation,
		.hot_us = HOT_US,
		.nr_functions = 3,
		.event_fd = l->event_fd,
	};
	for (uint32_t i = 0; i < g->nr_slots; i++)
		outputs[i] = l->map[ADV_LANE_SLOTS] + adv_geometry_out(g, 0, i);
	pin_to(0, 1);
	adv_ticks_init(&options.ticks);
	adv_worker_lane_init(&lane, g, &options);
	for (;;) {
		adv_worker_next(&lane, &work);
		memcpy(work.out, work.in, work.length);
		adv_worker_complete(&lane, &work, ADV_OK, work.length);
	}
}

/* Calls of 8 bytes for one block; the other side's worker is asleep by then. Its median. */
static uint64_t call_block(struct lane_memory *l)
{
	static struct adv_histogram h;
	struct adv_result r;
	adv_histogram_reset(&h);
	uint64_t start_ns = adv_clock_monotonic_ns(), begun_ns = start_ns, now_ns = start_ns;
	for (unsigned i = 0; now_ns - start_ns < BLOCK_NS; i++) {
		if (adv_caller_submit(&l->caller, 0, echo_number, "12345678", 8, ++l->next_id, 0, 0,
				      UINT64_MAX) != ADV_OK)
			die("a call", "it was refused");
		while (!adv_caller_poll(&l->caller, &r))
			adv_pause();
		if (r.status != ADV_OK)
			die("a call", adv_status_text(r.status));
		now_ns = adv_clock_monotonic_ns();
		if (i >= 64)
			adv_histogram_add(&h, now_ns - begun_ns);
		begun_ns = now_ns;
	}
	settle(REST_NS);
	return adv_histogram_quantile(&h, 0.5);
}

static int by_value(const void *a, const void *b)
{
	const double *x = a, *y = b;
	return (*x > *y) - (*x < *y);
}

static void confinement(unsigned long blocks)
{
	struct box b;
	struct lane_memory confined, bare;
	double *ratios = calloc(blocks, sizeof(*ratios));
	uint64_t last[2] = {0, 0};
	if (ratios == NULL)
		die("memory", "none");
	lane_create(&confined, 1, 4096, 4096);
	lane_create(&bare, 1, 4096, 4096);
	build(&b, 0);
	pin_box(0, 1);
	struct adv_warden_request r = serve_request(&confined, 0, ADV_ORDER_LOAD_AND_SERVE);
	const int fds[5] = {module_fd("echo"), confined.req_read_only, confined.fds[ADV_LANE_CPL],
			    confined.fds[ADV_LANE_SLOTS], confined.event_fd};
	r.order.hot_us = HOT_US;
	r.order.yield = 0; /* it has a core of its own */
	r.cpu = 1;
	box_order(&b, &r, fds, 5);
	pid_t pid = fork();
	if (pid == 0)
		serve_bare(&bare);
	call_block(&confined);
	call_block(&bare);
	for (unsigned long i = 0; i < blocks; i++) {
		last[0] = call_block(&confined);
		last[1] = call_block(&bare);
		ratios[i] = (double)last[0] / (double)last[1];
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	box_release(&b);
	qsort(ratios, blocks, sizeof(*ratios), by_value);
	printf("{\"blocks\": %lu, \"ratio\": %.3f, \"ratio_p10\": %.3f, \"ratio_p90\": %.3f, "
	       "\"confined_ns\": %llu, \"bare_ns\": %llu}\n",
	       blocks, ratios[blocks / 2], ratios[blocks / 10], ratios[blocks * 9 / 10],
	       (unsigned long long)last[0], (unsigned long long)last[1]);
	free(ratios);
	lane_destroy(&confined);
	lane_destroy(&bare);
}

/* Two descriptors of each sandbox are here, one is the warden's. As many as there are to be had. */
static void raise_files(void)
{
	struct rlimit files = {.rlim_cur = 4 * ADV_SANDBOXES_MAX,
			       .rlim_max = 4 * ADV_SANDBOXES_MAX};
	if (setrlimit(RLIMIT_NOFILE, &files) == 0 || getrlimit(RLIMIT_NOFILE, &files) < 0)
		return;
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(unsigned long n);
	} modes[] = {{"claims", claims},	{"build", builds}, {"refill", refill},
		     {"memory", memory},	{"churn", churn},  {"confinement", confinement},
		     {"namespaces", namespaces}};
	unsigned long n = argc == 4 ? strtoul(argv[3], NULL, 10) : 0;
	if (n == 0 || n > 10000000)
		die("usage", "bench_sandbox MODULES_DIR "
			     "claims|build|refill|memory|churn|confinement|namespaces NUMBER");
	modules_open_all(argv[1]);
	if (module_fd("echo") < 0)
		die(argv[1], "there is no module hostile_echo.so");
	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		die("this machine", "two CPUs are needed");
	raise_files();
	warden = start_warden(NULL);
	int number = function_number(&warden, "echo", "echo");
	if (number < 0)
		die("hostile_echo.so", "it has no function echo");
	echo_number = (uint16_t)number;
	pin_to(0, 0);
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
		if (strcmp(argv[2], modes[i].name) == 0) {
			modes[i].run(n);
			adv_warden_stop(&warden);
			return 0;
		}
	die(argv[2], "no such measurement");
}
