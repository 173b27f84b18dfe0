/*
 * fuzz_reports.c - what sandboxes say to the node: reports on their sockets, bytes in their log pipes, deaths at any time (sandboxes.c,
 * log_pipe.c, pool.c). Proves: what passes the checks is bounded, terminated and printable; each sandbox that was claimed ends once for its
 * claim; the pool's books stay right. The warden is honest. Input: operations, each a byte and what it takes.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "control/sandboxes.h"
#include "fuzz.h"
#include "util/fd.h"
#include "util/log.h"
#include "util/passing.h"

#define MAX_BOXES 4
#define NR_IDS	  (2 * MAX_BOXES)

/* ---- a loop that is driven by hand ---- */

static struct adv_watch *watches[64];
static struct adv_timer *timers[8];
static unsigned nr_timers;

void adv_timer_init(struct adv_timer *timer, struct adv_loop *loop,
		    void (*fire)(struct adv_timer *timer), void *user)
{
	*timer = (struct adv_timer){
		.fire = fire, .user = user, .loop = loop, .deadline_ns = UINT64_MAX};
	timers[nr_timers++ % 8] = timer;
}

int adv_timer_set(struct adv_timer *timer, uint64_t deadline_ns)
{
	timer->deadline_ns = deadline_ns;
	return 0;
}

void adv_watch_start(struct adv_watch *watch, struct adv_loop *loop, int fd,
		     void (*ready)(struct adv_watch *watch), void *user)
{
	size_t i = 0;
	*watch = (struct adv_watch){
		.ready = ready, .user = user, .loop = loop, .fd = fd, .active = true};
	while (watches[i] != NULL && watches[i] != watch)
		i++;
	FUZZ_CHECK(i < sizeof(watches) / sizeof(watches[0]));
	watches[i] = watch;
}

void adv_watch_pause(struct adv_watch *watch)
{
	watch->active = false;
}

void adv_watch_stop(struct adv_watch *watch)
{
	watch->active = false;
	for (size_t i = 0; i < sizeof(watches) / sizeof(watches[0]); i++)
		if (watches[i] == watch)
			watches[i] = NULL;
}

static void run_watches(void)
{
	for (size_t i = 0; i < sizeof(watches) / sizeof(watches[0]); i++)
		if (watches[i] != NULL && watches[i]->active)
			watches[i]->ready(watches[i]);
}

static void run_timers(void)
{
	for (unsigned i = 0; i < nr_timers && i < 8; i++)
		if (timers[i]->deadline_ns != UINT64_MAX) {
			timers[i]->deadline_ns = UINT64_MAX;
			timers[i]->fire(timers[i]);
		}
}

/* ---- what the registry and the log would do ---- */

struct adv_module *adv_module_get(struct adv_module *module)
{
	module->refs++;
	return module;
}

void adv_module_put(struct adv_module *module)
{
	if (module != NULL)
		FUZZ_CHECK(module->refs-- > 0);
}

void adv_log_line(enum adv_log_level level, const char *format, ...)
{
	(void)level;
	(void)format;
}

/* ---- the warden, and what sandboxes are to it ---- */

static struct adv_sandboxes *sandboxes;
static struct adv_warden warden;
static int warden_end;
static struct adv_module module;

static struct {
	int socket, log; /* the sandbox's ends; -1: it is not */
} boxes[NR_IDS];

static struct adv_claim claim;
static bool claimed;

static void build(uint32_t id)
{
	int pair[2], log[2];
	FUZZ_CHECK(id < NR_IDS && boxes[id].socket < 0);
	FUZZ_CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) ==
		   0);
	FUZZ_CHECK(pipe2(log, O_CLOEXEC | O_NONBLOCK) == 0);
	const struct adv_warden_event built = {.type = ADV_EVENT_BUILT, .id = id, .pid = 77};
	const int fds[2] = {pair[0], log[0]};
	adv_send_fds(warden_end, &built, sizeof(built), fds, 2, MSG_DONTWAIT);
	close(pair[0]);
	close(log[0]);
	boxes[id].socket = pair[1];
	boxes[id].log = log[1];
}

static void die(uint32_t id, int code, int status)
{
	if (boxes[id].socket < 0)
		return;
	adv_fd_close(&boxes[id].socket);
	adv_fd_close(&boxes[id].log);
	const struct adv_warden_event died = {
		.type = ADV_EVENT_DIED, .id = id, .death = {.code = code, .status = status}};
	adv_send_fds(warden_end, &died, sizeof(died), NULL, 0, MSG_DONTWAIT);
}

/* What the node asks is done; orders reach nobody. */
static void obey(void)
{
	struct adv_warden_request r;
	while (recv(warden_end, &r, sizeof(r), MSG_DONTWAIT) == (ssize_t)sizeof(r)) {
		if (r.type == ADV_WARDEN_BUILD)
			build(r.id);
		if (r.type == ADV_WARDEN_KILL)
			die(r.id, 2, 9);
	}
}

/* ---- what comes through ---- */

static void printable(const char *text, size_t size)
{
	size_t n = strnlen(text, size);
	FUZZ_CHECK(n < size);
	for (size_t i = 0; i < n; i++)
		FUZZ_CHECK((unsigned char)text[i] >= ' ' && text[i] != 0x7f);
}

static void reported(struct adv_claim *c, const struct adv_sandbox_report *r)
{
	FUZZ_CHECK(c == &claim && claimed);
	FUZZ_CHECK(r->type >= ADV_REPORT_CONFINED && r->type <= ADV_REPORT_FAILED);
	FUZZ_CHECK(r->nr_functions <= ADV_FUNCTIONS_MAX && r->needs < ADV_PROFILES);
	FUZZ_CHECK(r->described <= 1);
	printable(r->name, sizeof(r->name));
	printable(r->text, sizeof(r->text));
}

static void died(struct adv_claim *c, const struct adv_death *death, const char *reason)
{
	(void)death;
	FUZZ_CHECK(c == &claim && claimed && c->id == ADV_NO_SANDBOX);
	if (reason != NULL)
		printable(reason, ADV_REASON_MAX);
	claimed = false;
}

static void printed(void *user, const struct adv_module *m, uint32_t tenant, uint32_t sandbox,
		    const char *text)
{
	(void)user;
	FUZZ_CHECK(m == &module && tenant == module.owner && sandbox < NR_IDS);
	printable(text, ADV_LOG_LINE_BYTES + 1);
}

static void warden_gone(void *user)
{
	(void)user;
	FUZZ_CHECK(!"the warden is there");
}

static int next_cpu(void *user, uint32_t tenant)
{
	(void)user, (void)tenant;
	return 0;
}

/* ---- operations ---- */

static void take_claim(bool scratch)
{
	if (claimed)
		return;
	claim = (struct adv_claim){
		.id = ADV_NO_SANDBOX, .tenant = module.owner, .reported = reported, .died = died};
	claimed = true;
	if (adv_sandboxes_claim(sandboxes, scratch ? NULL : &module, ADV_PROFILE_STRICT, &claim) !=
	    ADV_OK)
		claimed = false;
}

/* Mostly a report whose type and numbers make sense: else nothing gets further than the first check. */
static void say(struct fuzz_input *in, uint32_t id)
{
	struct adv_sandbox_report r;
	uint8_t shape = fuzz_u8(in), text[32];
	memset(&r, 0, sizeof(r));
	fuzz_take(in, text, sizeof(text));
	r.type = shape & 7;
	r.nr_functions = shape & 8 ? fuzz_u32(in) : shape >> 4;
	r.needs = shape & 16 ? fuzz_u8(in) : 0;
	r.threads = fuzz_u8(in);
	r.described = fuzz_u8(in);
	r.status = fuzz_u8(in);
	memcpy(shape & 32 ? r.name : r.text, text, sizeof(text));
	if (shape & 64)
		memset(r.text, 'x', sizeof(r.text)); /* no end */
	size_t size = shape & 128 ? fuzz_u16(in) % (sizeof(r) + 1) : sizeof(r);
	if (boxes[id].socket >= 0)
		send(boxes[id].socket, &r, size, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void print(struct fuzz_input *in, uint32_t id)
{
	uint8_t bytes[64];
	size_t times = 1 + fuzz_u8(in);
	fuzz_take(in, bytes, sizeof(bytes));
	for (size_t i = 0; i < times && boxes[id].log >= 0; i++)
		if (write(boxes[id].log, bytes, sizeof(bytes)) < 0)
			break;
}

static void check_books(void)
{
	struct adv_pool_stats s;
	adv_sandboxes_stats(sandboxes, &s);
	FUZZ_CHECK(s.cold + s.hot + s.building + s.loading + s.claimed + s.dying <= NR_IDS);
	FUZZ_CHECK(s.claimed <= 1);
}

static void step(struct fuzz_input *in)
{
	uint8_t op = fuzz_u8(in);
	uint32_t id = op >> 4 & (NR_IDS - 1);
	switch (op & 7) {
	case 0:
		say(in, id);
		break;
	case 1:
		print(in, id);
		break;
	case 2:
		die(id, 1 + (op >> 3 & 1), fuzz_u8(in));
		break;
	case 3:
		take_claim(op & 8);
		break;
	case 4:
		if (claimed)
			adv_sandboxes_kill(sandboxes, &claim);
		break;
	case 5:
		run_timers();
		break;
	default:
		adv_sandboxes_module_used(sandboxes, &module);
		break;
	}
	run_watches();
	obey();
	check_books();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {.at = data, .left = size};
	int pair[2];
	FUZZ_CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
	warden = (struct adv_warden){.pid = -1, .pidfd = -1, .socket = pair[0]};
	warden_end = pair[1];
	memset(watches, 0, sizeof(watches));
	nr_timers = 0;
	claimed = false;
	for (uint32_t i = 0; i < NR_IDS; i++)
		boxes[i].socket = boxes[i].log = -1;
	module = (struct adv_module){.key = 5,
				     .owner = 1000,
				     .name = "m",
				     .hot = -1,
				     .poolable = true,
				     .nr_functions = 2,
				     .memfd = 0,
				     .refs = 1};
	const struct adv_sandboxes_options options = {
		.warden = &warden,
		.pool = {.cold = 1,
			 .hot = 1,
			 .hot_modules = 2,
			 .max_sandboxes = MAX_BOXES,
			 .max_parallel = 2,
			 .retry_ns = 1},
		.cpu = -1,
		.warden_gone = warden_gone,
		.printed = printed,
		.next_cpu = next_cpu,
	};
	FUZZ_CHECK(adv_sandboxes_create(&options, &sandboxes) == 0);
	for (unsigned i = 0; i < 200 && in.left > 0; i++)
		step(&in);
	adv_sandboxes_destroy(sandboxes);
	FUZZ_CHECK(module.refs == 1);
	for (uint32_t i = 0; i < NR_IDS; i++) {
		adv_fd_close(&boxes[i].socket);
		adv_fd_close(&boxes[i].log);
	}
	close(pair[0]);
	close(pair[1]);
	return 0;
}
