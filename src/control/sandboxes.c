/* sandboxes.c - warden, pool and claims, brought together on the control thread. Nothing here blocks. */
#include "control/sandboxes.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "control/asks.h"
#include "control/log_pipe.h"
#include "util/clock.h"
#include "util/fd.h"
#include "util/log.h"
#include "util/passing.h"

/* Refill only when requests have had the machine for so long: builds must not compete with the claim that caused them. */
#define REFILL_DELAY_NS (2 * ADV_MS)
#define COLLECT_NS	(10 * ADV_MS)

/* One sandbox that the warden was asked for. */
struct box {
	uint32_t id;
	int pid;
	int report_fd;
	struct adv_watch report_watch;
	struct adv_log_pipe log;
	struct adv_claim *claim;   /* NULL: the pool's */
	struct adv_module *module; /* that a hot one has loaded or loads; a reference */
	int cpu;		   /* that it is pinned to, or soon is; -1: none */
	uint64_t asked_ns;
	uint64_t ahead_ns;	     /* of processor time: by its own word, before a lease had it */
	char reason[ADV_REASON_MAX]; /* what it said went wrong */
	struct adv_sandboxes *owner;
	struct box *next_retired;
};

struct adv_sandboxes {
	struct adv_loop *loop;
	struct adv_warden *warden;
	struct adv_pool *pool;
	struct adv_watch warden_watch;
	struct adv_timer refill;
	struct adv_timer collect;
	struct adv_asks asks;
	struct box **boxes; /* by id; freed after the loop has let go of the watches */
	uint32_t nr_boxes;
	struct box *retired, *retired_before;
	struct adv_module
		*known[2 * ADV_POOL_HOT_MODULES_MAX + 1]; /* that the pool may ask to load */
	void (*warden_gone)(void *user);
	int (*next_cpu)(void *user, uint32_t tenant);
	void (*spent)(void *user, const struct adv_module *module, uint64_t cpu_ns);
	void (*printed)(void *user, const struct adv_module *module, uint32_t tenant,
			uint32_t sandbox, const char *text);
	void *user;
};

/* ---- to the warden ---- */

static int ask(struct adv_sandboxes *s, const struct adv_warden_request *request, const int *fds,
	       unsigned nr_fds)
{
	return adv_asks_send(&s->asks, request, fds, nr_fds);
}

/* A CPU of -1 leaves it where it is. */
static int pin(struct adv_sandboxes *s, struct box *b, int cpu)
{
	struct adv_warden_request request = {.type = ADV_WARDEN_PIN, .id = b->id, .cpu = cpu};
	if (cpu < 0 || b->cpu == cpu)
		return 0;
	b->cpu = cpu;
	return ask(s, &request, NULL, 0);
}

/* ---- the function's log ---- */

/* To whoever reads the node's log, and to whoever reads the module's. */
static void printed(void *user, const char *text)
{
	const struct box *b = user;
	const struct adv_sandboxes *s = b->owner;
	adv_log_info("module %s, sandbox %u: %s", b->module != NULL ? b->module->name : "(deploy)",
		     b->id, text);
	if (s->printed != NULL && b->module != NULL)
		s->printed(s->user, b->module,
			   b->claim != NULL ? b->claim->tenant : b->module->owner, b->id, text);
}

/* ---- boxes ---- */

static struct box *box_create(struct adv_sandboxes *s, uint32_t id)
{
	struct box *b = calloc(1, sizeof(*b));
	if (b == NULL)
		return NULL;
	b->id = id;
	b->report_fd = b->cpu = -1;
	b->owner = s;
	adv_log_pipe_init(&b->log, printed, b);
	b->asked_ns = adv_clock_monotonic_ns();
	s->boxes[id] = b;
	return b;
}

static void box_list_free(struct box *b)
{
	while (b != NULL) {
		struct box *next = b->next_retired;
		free(b);
		b = next;
	}
}

/* Completions of a stopped watch may still point at its box for one loop round: boxes wait for two timer rounds. */
static void collect_fire(struct adv_timer *timer)
{
	struct adv_sandboxes *s = timer->user;
	box_list_free(s->retired_before);
	s->retired_before = s->retired;
	s->retired = NULL;
	if (s->retired_before != NULL)
		adv_timer_set(&s->collect, adv_clock_monotonic_ns() + COLLECT_NS);
}

static void box_retire(struct box *b)
{
	struct adv_sandboxes *s = b->owner;
	b->next_retired = s->retired;
	s->retired = b;
	if (s->collect.deadline_ns == UINT64_MAX)
		adv_timer_set(&s->collect, adv_clock_monotonic_ns() + COLLECT_NS);
}

static void box_close(struct box *b)
{
	if (b->report_fd >= 0)
		adv_watch_stop(&b->report_watch);
	adv_fd_close(&b->report_fd);
	adv_log_pipe_close(&b->log);
	adv_module_put(b->module);
	b->module = NULL;
	b->owner->boxes[b->id] = NULL;
	box_retire(b);
}

static int build(struct adv_sandboxes *s, uint32_t id, uint32_t profile, bool background)
{
	struct adv_warden_request request = {.type = ADV_WARDEN_BUILD,
					     .id = id,
					     .profile = profile,
					     .cpu = -1,
					     .background = background};
	if (box_create(s, id) == NULL)
		return -ENOMEM;
	int rc = ask(s, &request, NULL, 0);
	if (rc < 0) {
		free(s->boxes[id]);
		s->boxes[id] = NULL;
	}
	return rc;
}

static void kill_box(struct adv_sandboxes *s, uint32_t id)
{
	struct adv_warden_request request = {.type = ADV_WARDEN_KILL, .id = id, .cpu = -1};
	if (adv_pool_killed(s->pool, id) < 0)
		return;
	int rc = ask(s, &request, NULL, 0);
	if (rc < 0)
		adv_log_error("could not ask the warden to kill sandbox %u: %s", id, strerror(-rc));
}

/* The pool's own. Failed, not merely killed: a module that cannot be loaded ahead is not tried again until it is used anew. */
static void fail_box(struct box *b)
{
	struct adv_sandboxes *s = b->owner;
	struct adv_warden_request request = {.type = ADV_WARDEN_KILL, .id = b->id, .cpu = -1};
	if (adv_pool_failed(s->pool, b->id, adv_clock_monotonic_ns()) < 0)
		return;
	int rc = ask(s, &request, NULL, 0);
	if (rc < 0)
		adv_log_error("could not ask the warden to kill sandbox %u: %s", b->id,
			      strerror(-rc));
}

/* ---- reports ---- */

static bool printable(const char *text, size_t size)
{
	size_t n = strnlen(text, size);
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)text[i] < ' ' || text[i] == 0x7f)
			return false;
	return n < size;
}

/* What a tenant's process wrote is worth nothing until it has passed here. */
static bool report_ok(struct adv_sandbox_report *r)
{
	if (r->type < ADV_REPORT_CONFINED || r->type > ADV_REPORT_FAILED)
		return false;
	if (r->nr_functions > ADV_FUNCTIONS_MAX || r->needs >= ADV_PROFILES)
		return false;
	r->described = r->described != 0;
	if (r->type == ADV_REPORT_FUNCTION && r->name[0] == '\0')
		return false;
	return printable(r->name, sizeof(r->name)) && printable(r->text, sizeof(r->text));
}

/* What it may still say is not heard: words that came before its death are read after it, and would count again. */
static void hear_no_more(struct box *b)
{
	adv_watch_stop(&b->report_watch);
	adv_fd_close(&b->report_fd);
}

/*
 * It has loaded ahead what it is for, and waits on the CPU of the next lease. One whose module has threads could go on meanwhile: it
 * is frozen until it is claimed.
 */
static void park(struct box *b, const struct adv_sandbox_report *r)
{
	struct adv_sandboxes *s = b->owner;
	if (b->module == NULL || adv_pool_loaded(s->pool, b->id) < 0)
		return;
	b->cpu = s->next_cpu(s->user, b->module->owner);
	b->ahead_ns = r->cpu_ns;
	const struct adv_warden_request request = {.type = ADV_WARDEN_PARK,
						   .id = b->id,
						   .cpu = b->cpu,
						   .freeze = !b->module->poolable};
	if (ask(s, &request, NULL, 0) < 0)
		kill_box(s, b->id);
}

static void take_report(struct box *b, const struct adv_sandbox_report *r)
{
	struct adv_sandboxes *s = b->owner;
	if (r->type == ADV_REPORT_CONFINED)
		adv_pool_confined(s->pool, b->id, adv_clock_monotonic_ns() - b->asked_ns);
	if (r->type == ADV_REPORT_LOADED && b->claim == NULL)
		park(b, r);
	if (r->type == ADV_REPORT_FAILED) {
		memcpy(b->reason, r->text, sizeof(b->reason));
		if (b->claim == NULL)
			adv_log_warning("a sandbox for the pool failed: %s", r->text);
	}
	if (b->claim != NULL && b->claim->reported != NULL)
		b->claim->reported(b->claim, r);
	else
		adv_timer_set(&s->refill, adv_clock_monotonic_ns() + REFILL_DELAY_NS);
}

static void read_reports(struct box *b)
{
	for (unsigned i = 0; i < ADV_FUNCTIONS_MAX + 8 && b->report_fd >= 0; i++) {
		struct adv_sandbox_report r;
		ssize_t n = recv(b->report_fd, &r, sizeof(r), MSG_DONTWAIT | MSG_TRUNC);
		if (n < 0)
			return;
		if (n == 0) {
			adv_watch_stop(&b->report_watch);
			return;
		}
		if (n != (ssize_t)sizeof(r) || !report_ok(&r)) {
			adv_log_warning("sandbox %u broke the protocol and is killed", b->id);
			hear_no_more(b);
			kill_box(b->owner, b->id);
			return;
		}
		take_report(b, &r);
		/* An honest one exits after that; constructors might go on, line after line into the log. */
		if (r.type == ADV_REPORT_FAILED) {
			hear_no_more(b);
			if (b->claim == NULL)
				fail_box(b);
		}
	}
}

/* Else nobody is woken: a worker that serves closes its socket, and what it said before it died is read then. */
static bool expects_report(const struct box *b)
{
	enum adv_pool_state state = adv_pool_state(b->owner->pool, b->id);
	return (b->claim != NULL && b->claim->reported != NULL) || state == ADV_POOL_BUILDING ||
	       state == ADV_POOL_LOADING;
}

static void report_ready(struct adv_watch *watch)
{
	struct box *b = watch->user;
	read_reports(b);
	if (watch->active && !expects_report(b))
		adv_watch_pause(watch);
}

static void listen_to(struct box *b)
{
	if (b->report_fd >= 0 && !b->report_watch.active)
		adv_watch_start(&b->report_watch, b->owner->loop, b->report_fd, report_ready, b);
}

/* ---- from the warden ---- */

static void built(struct box *b, const struct adv_warden_event *event, int *fds)
{
	b->pid = event->pid;
	b->report_fd = adv_fd_steal(&fds[0]);
	listen_to(b);
	adv_log_pipe_start(&b->log, b->owner->loop, adv_fd_steal(&fds[1]));
}

/* What was used before any lease had it is for the module's owner to pay. The rest is left in `death`. */
static void charge_owner(const struct box *b, struct adv_death *death)
{
	const struct adv_sandboxes *s = b->owner;
	uint64_t ahead_ns =
		b->claim == NULL || b->ahead_ns > death->cpu_ns ? death->cpu_ns : b->ahead_ns;
	if (b->module == NULL || ahead_ns == 0 || s->spent == NULL)
		return;
	s->spent(s->user, b->module, ahead_ns);
	death->cpu_ns -= ahead_ns;
}

/* The sandbox is no more: last words first, then the pool, then whoever had it. */
static void gone(struct box *b, const struct adv_death *how, const char *reason)
{
	struct adv_death death = *how;
	struct adv_sandboxes *s = b->owner;
	if (b->report_fd >= 0)
		read_reports(b);
	adv_log_pipe_finish(&b->log);
	if (death.code == 0 || adv_pool_state(s->pool, b->id) == ADV_POOL_BUILDING ||
	    adv_pool_state(s->pool, b->id) == ADV_POOL_LOADING)
		adv_pool_failed(s->pool, b->id, adv_clock_monotonic_ns());
	adv_pool_died(s->pool, b->id);
	struct adv_claim *claim = b->claim;
	char text[ADV_REASON_MAX];
	memcpy(text, reason != NULL ? reason : b->reason, sizeof(text));
	text[sizeof(text) - 1] = '\0';
	charge_owner(b, &death);
	box_close(b);
	adv_timer_set(&s->refill, adv_clock_monotonic_ns() + REFILL_DELAY_NS);
	if (claim == NULL)
		return;
	claim->id = ADV_NO_SANDBOX;
	claim->died(claim, &death, text[0] != '\0' ? text : NULL);
}

static void take_event(struct adv_sandboxes *s, struct adv_warden_event *event, int *fds,
		       unsigned nr_fds)
{
	event->text[sizeof(event->text) - 1] = '\0';
	struct box *b = event->id < s->nr_boxes ? s->boxes[event->id] : NULL;
	if (b == NULL) {
		adv_log_debug("the warden speaks of sandbox %u, which is nobody's: %s", event->id,
			      event->text);
		return;
	}
	switch (event->type) {
	case ADV_EVENT_BUILT:
		if (nr_fds == 2 && b->report_fd < 0)
			built(b, event, fds);
		break;
	case ADV_EVENT_FAILED: {
		static const struct adv_death none;
		if (b->claim == NULL)
			adv_log_warning("a sandbox could not be built: %s", event->text);
		gone(b, &none, event->text);
		break;
	}
	case ADV_EVENT_DIED:
		gone(b, &event->death, NULL);
		break;
	case ADV_EVENT_REFUSED:
		adv_log_error("the warden refused a request for sandbox %u: %s", event->id,
			      event->text);
		kill_box(s, event->id);
		break;
	default:
		break;
	}
}

/* Returns false when there is nothing more to read. */
static bool read_event(struct adv_sandboxes *s)
{
	struct adv_warden_event event;
	union {
		char bytes[CMSG_SPACE(sizeof(int) * 2)];
		struct cmsghdr align;
	} control;
	struct iovec iov = {.iov_base = &event, .iov_len = sizeof(event)};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.bytes,
			     .msg_controllen = sizeof(control.bytes)};
	ssize_t n = recvmsg(s->warden->socket, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n < 0)
		return errno == EINTR;
	if (n != (ssize_t)sizeof(event)) {
		adv_watch_stop(&s->warden_watch);
		adv_log_error("the warden has gone away");
		s->warden_gone(s->user);
		return false;
	}
	int fds[2] = {-1, -1};
	unsigned nr_fds = adv_received_fds(&msg, fds, 2);
	take_event(s, &event, fds, nr_fds);
	adv_fd_close(&fds[0]);
	adv_fd_close(&fds[1]);
	return true;
}

static void warden_ready(struct adv_watch *watch)
{
	for (int i = 0; i < 64; i++)
		if (!read_event(watch->user))
			return;
}

/* ---- the pool's wishes ---- */

static struct adv_module *known_module(struct adv_sandboxes *s, uint64_t key)
{
	for (size_t i = 0; i < sizeof(s->known) / sizeof(s->known[0]); i++)
		if (s->known[i] != NULL && s->known[i]->key == key)
			return s->known[i];
	return NULL;
}

static int load_ahead(struct adv_sandboxes *s, uint32_t id, uint64_t key)
{
	struct adv_module *module = known_module(s, key);
	struct box *b = s->boxes[id];
	if (module == NULL || module->memfd < 0 || b == NULL)
		return -ENOENT;
	/* Limited as most leases want it, so that a claim need not be. Where its worker will sit is not for constructors. */
	struct adv_warden_request request = {
		.type = ADV_WARDEN_ORDER,
		.id = id,
		.cpu = -1,
		.memory_bytes = ADV_LEASE_MEMORY_DEFAULT,
		.order = {.type = ADV_ORDER_LOAD,
			  .nr_slots = ADV_SLOTS_DEFAULT,
			  .in_capacity = ADV_CAPACITY_DEFAULT,
			  .out_capacity = ADV_CAPACITY_DEFAULT,
			  .nr_functions = module->nr_functions},
	};
	b->module = adv_module_get(module);
	listen_to(b);
	return ask(s, &request, &module->memfd, 1);
}

static void carry_out(struct adv_sandboxes *s, const struct adv_pool_order *order)
{
	int rc = 0;
	switch (order->act) {
	case ADV_POOL_BUILD:
		rc = build(s, order->id, order->profile, true);
		if (rc < 0) {
			adv_pool_failed(s->pool, order->id, adv_clock_monotonic_ns());
			adv_pool_died(s->pool, order->id);
		}
		break;
	case ADV_POOL_LOAD:
		rc = load_ahead(s, order->id, order->key);
		if (rc < 0)
			kill_box(s, order->id);
		break;
	case ADV_POOL_KILL:
		kill_box(s, order->id);
		break;
	case ADV_POOL_IDLE:
		break;
	}
	if (rc < 0)
		adv_log_warning("the pool could not be filled: %s", strerror(-rc));
}

/* Hot sandboxes wait on the CPU of the next lease. */
static void pin_ahead(struct adv_sandboxes *s)
{
	for (uint32_t id = 0; id < s->nr_boxes; id++) {
		struct box *b = s->boxes[id];
		if (b != NULL && b->claim == NULL && adv_pool_state(s->pool, id) == ADV_POOL_HOT &&
		    pin(s, b, s->next_cpu(s->user, b->module->owner)) < 0)
			return;
	}
}

static void refill_fire(struct adv_timer *timer)
{
	struct adv_sandboxes *s = timer->user;
	/* Bounded: a pool that asks for ever must not hold the thread. */
	for (uint32_t i = 0; i < s->nr_boxes; i++) {
		struct adv_pool_order order = adv_pool_next(s->pool, adv_clock_monotonic_ns());
		if (order.act == ADV_POOL_IDLE) {
			if (s->refill.deadline_ns == UINT64_MAX && order.when_ns != UINT64_MAX)
				adv_timer_set(&s->refill, order.when_ns);
			break;
		}
		carry_out(s, &order);
	}
	pin_ahead(s);
}

/* ---- for claims ---- */

static struct adv_pool_module pool_module(const struct adv_sandboxes *s,
					  const struct adv_module *module, uint32_t profile)
{
	struct adv_pool_module m = {.profile = profile};
	if (module != NULL) {
		m.key = module->key;
		m.profile = module->profile;
		m.poolable = module->poolable || s->warden->facts.cgroup_freeze != 0;
		m.size_bytes = module->size_bytes;
	}
	return m;
}

enum adv_status adv_sandboxes_claim(struct adv_sandboxes *s, const struct adv_module *module,
				    uint32_t profile, struct adv_claim *claim)
{
	struct adv_pool_module m = pool_module(s, module, profile);
	uint32_t id;
	enum adv_pool_hit hit = adv_pool_claim(s->pool, &m, &id);
	if (hit == ADV_POOL_EXHAUSTED)
		return ADV_NO_CAPACITY;
	if (hit == ADV_POOL_MISS && build(s, id, m.profile, false) < 0) {
		adv_pool_failed(s->pool, id, adv_clock_monotonic_ns());
		adv_pool_died(s->pool, id);
		return ADV_NO_CAPACITY;
	}
	struct box *b = s->boxes[id];
	b->claim = claim;
	if (module != NULL && b->module == NULL)
		b->module = adv_module_get((struct adv_module *)module);
	claim->id = id;
	claim->hit = hit;
	if (claim->reported != NULL)
		listen_to(b);
	adv_timer_set(&s->refill, adv_clock_monotonic_ns() + REFILL_DELAY_NS);
	return ADV_OK;
}

static uint64_t lane_bytes(const struct adv_sandbox_order *order)
{
	return (uint64_t)order->nr_slots * (order->in_capacity + (uint64_t)order->out_capacity);
}

/* Is it limited already as the lease wants it? Then the warden need not come between: that would be one more process to wake. */
static bool is_limited(const struct adv_sandboxes *s, const struct adv_claim *claim,
		       uint64_t memory_bytes, const struct adv_sandbox_order *order)
{
	return claim->hit == ADV_POOL_HIT_HOT && order->type == ADV_ORDER_SERVE &&
	       s->boxes[claim->id]->module->poolable &&
	       s->warden->facts.core_scheduling != ADV_CORE_SCHEDULING_ON &&
	       memory_bytes == ADV_LEASE_MEMORY_DEFAULT &&
	       (!s->warden->facts.cgroup_memory ||
		(claim->lease == 0 &&
		 lane_bytes(order) <= ADV_SLOTS_DEFAULT * 2 * ADV_CAPACITY_DEFAULT));
}

int adv_sandboxes_order(struct adv_sandboxes *s, const struct adv_claim *claim, int cpu,
			uint64_t memory_bytes, const struct adv_sandbox_order *order,
			const int *fds, unsigned nr_fds)
{
	struct box *b = s->boxes[claim->id];
	/* One that has just died takes no order: DIED is on the way, whoever asks. */
	if (is_limited(s, claim, memory_bytes, order) &&
	    adv_send_fds(b->report_fd, order, sizeof(*order), fds, nr_fds,
			 MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
		return pin(s, b, cpu);
	b->cpu = cpu >= 0 ? cpu : b->cpu;
	struct adv_warden_request request = {
		.type = ADV_WARDEN_ORDER,
		.id = claim->id,
		.cpu = cpu,
		.memory_bytes = memory_bytes,
		.lease = claim->lease,
		.core_group = claim->core_group,
		.order = *order,
	};
	return ask(s, &request, fds, nr_fds);
}

void adv_sandboxes_kill(struct adv_sandboxes *s, struct adv_claim *claim)
{
	if (claim->id != ADV_NO_SANDBOX)
		kill_box(s, claim->id);
}

/* The references follow the pool's own list of modules used of late: the oldest makes room. */
void adv_sandboxes_module_used(struct adv_sandboxes *s, struct adv_module *module)
{
	const size_t n = sizeof(s->known) / sizeof(s->known[0]);
	size_t at = 0;
	while (at < n - 1 && s->known[at] != module)
		at++;
	if (s->known[at] != module) {
		adv_module_put(s->known[at]);
		adv_module_get(module);
	}
	memmove(s->known + 1, s->known, at * sizeof(s->known[0]));
	s->known[0] = module;
	struct adv_pool_module m = pool_module(s, module, 0);
	adv_pool_module_used(s->pool, &m, module->hot);
	adv_timer_set(&s->refill, adv_clock_monotonic_ns() + REFILL_DELAY_NS);
}

void adv_sandboxes_module_gone(struct adv_sandboxes *s, struct adv_module *module)
{
	adv_pool_module_gone(s->pool, module->key);
	for (size_t i = 0; i < sizeof(s->known) / sizeof(s->known[0]); i++) {
		if (s->known[i] != module)
			continue;
		s->known[i] = NULL;
		adv_module_put(module);
	}
	adv_timer_set(&s->refill, adv_clock_monotonic_ns() + REFILL_DELAY_NS);
}

void adv_sandboxes_stats(const struct adv_sandboxes *s, struct adv_pool_stats *stats)
{
	adv_pool_stats(s->pool, stats);
}

/* ---- life ---- */

int adv_sandboxes_create(const struct adv_sandboxes_options *options, struct adv_sandboxes **out)
{
	struct adv_sandboxes *s = calloc(1, sizeof(*s));
	if (s == NULL)
		return -ENOMEM;
	s->loop = options->loop;
	s->warden = options->warden;
	s->warden_gone = options->warden_gone;
	s->next_cpu = options->next_cpu;
	s->printed = options->printed;
	s->spent = options->spent;
	s->user = options->user;
	s->nr_boxes = adv_pool_ids(options->pool.max_sandboxes);
	s->boxes = calloc(s->nr_boxes, sizeof(*s->boxes));
	int rc = s->boxes == NULL ? -ENOMEM : adv_pool_create(&options->pool, &s->pool);
	if (rc < 0) {
		free(s->boxes);
		free(s);
		return rc;
	}
	adv_timer_init(&s->refill, s->loop, refill_fire, s);
	adv_asks_init(&s->asks, s->loop, s->warden->socket);
	adv_timer_init(&s->collect, s->loop, collect_fire, s);
	adv_watch_start(&s->warden_watch, s->loop, s->warden->socket, warden_ready, s);
	adv_timer_set(&s->refill, adv_clock_monotonic_ns());
	const struct adv_warden_request stay = {
		.type = ADV_WARDEN_PIN, .id = ADV_WARDEN_ITSELF, .cpu = options->cpu};
	rc = options->cpu >= 0 ? ask(s, &stay, NULL, 0) : 0;
	if (rc < 0) {
		adv_sandboxes_destroy(s);
		return rc;
	}
	*out = s;
	return 0;
}

/* The loop must not run again: what its completions point at is freed. */
void adv_sandboxes_destroy(struct adv_sandboxes *s)
{
	if (s == NULL)
		return;
	for (uint32_t i = 0; i < s->nr_boxes; i++)
		if (s->boxes[i] != NULL)
			box_close(s->boxes[i]);
	box_list_free(s->retired);
	box_list_free(s->retired_before);
	adv_asks_end(&s->asks);
	for (size_t i = 0; i < sizeof(s->known) / sizeof(s->known[0]); i++)
		adv_module_put(s->known[i]);
	adv_timer_set(&s->refill, UINT64_MAX);
	adv_timer_set(&s->collect, UINT64_MAX);
	adv_watch_stop(&s->warden_watch);
	adv_pool_destroy(s->pool);
	free(s->boxes);
	free(s);
}
