/* control.c - puts the control thread together, runs it, and ends it. */
#include "control/control.h"

#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "util/clock.h"
#include "util/log.h"

#define LOOP_ENTRIES 1024

static void registry_ready(struct adv_watch *watch)
{
	struct adv_control *c = watch->user;
	adv_registry_poll(c->registry);
}

static void warden_gone(void *user)
{
	struct adv_control *c = user;
	c->failed = true;
}

static void restore_line(void *user, const struct adv_ledger_line *line)
{
	struct adv_control *c = user;
	adv_ledger_restore(c->ledger, line);
}

static void note_start(struct adv_control *c)
{
	struct timespec now;
	struct tm utc;
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &utc);
	size_t n = strftime(c->started, sizeof(c->started), "%Y-%m-%dT%H:%M:%S", &utc);
	snprintf(c->started + n, sizeof(c->started) - n, ".%06ldZ", now.tv_nsec / 1000);
	c->started_ns = adv_clock_boottime_ns();
}

/* ---- start: a table of named steps ---- */

static int start_loop(struct adv_control *c, char *reason, size_t size)
{
	int rc = adv_loop_create(LOOP_ENTRIES, &c->loop);
	if (rc == -EPERM || rc == -EACCES)
		snprintf(reason, size,
			 "io_uring is disabled on this machine: set kernel.io_uring_disabled=0, or "
			 "1 with the "
			 "node's group in kernel.io_uring_group");
	else if (rc == -ENOMEM)
		snprintf(reason, size, "io_uring: not enough locked memory: raise RLIMIT_MEMLOCK");
	return rc;
}

/* All threads there are, and those that they start: pollers are put elsewhere. The warden is told likewise. */
static void leave_workers_alone(int cpu)
{
	struct dirent *entry;
	cpu_set_t set;
	DIR *tasks = cpu >= 0 ? opendir("/proc/self/task") : NULL;
	if (tasks == NULL)
		return;
	CPU_ZERO(&set);
	CPU_SET((unsigned)cpu, &set);
	while ((entry = readdir(tasks)) != NULL)
		if (entry->d_name[0] != '.')
			(void)sched_setaffinity(atoi(entry->d_name), sizeof(set), &set);
	closedir(tasks);
}

static int start_cores(struct adv_control *c, char *reason, size_t size)
{
	const struct adv_cores_options options = {
		.worker_cpus = c->options.worker_cpus,
		.poller_cpus = c->options.poller_cpus,
		.nr_pollers = c->options.verbs != NULL ? c->options.nr_pollers : 0,
		.near_numa_node = c->options.near_numa_node,
		.oversubscribe = c->options.oversubscribe};
	int rc = adv_cores_create(&options, &c->cores, reason, size);
	if (rc == 0)
		leave_workers_alone(adv_cores_housekeeping(c->cores));
	return rc;
}

/* What each tenant may have, by the configuration. */
static int start_shares(struct adv_control *c, char *reason, size_t size)
{
	static struct adv_share_own own[ADV_TENANTS_MAX];
	const struct adv_tenants *tenants = c->options.tenants;
	struct adv_shares_options options = {.own = own};
	(void)reason;
	(void)size;
	if (tenants != NULL)
		options.each = tenants->each;
	for (unsigned i = 0; tenants != NULL && i < tenants->nr; i++)
		if (tenants->list[i].has_limits)
			own[options.nr_own++] =
				(struct adv_share_own){.tenant = tenants->list[i].number,
						       .limits = tenants->list[i].limits};
	return adv_shares_create(&options, &c->shares);
}

static int start_leases(struct adv_control *c, char *reason, size_t size)
{
	const struct adv_leases_options options = {.max_leases = c->options.max_leases,
						   .memory_bytes = c->options.memory_bytes,
						   .cores = c->cores,
						   .shares = c->shares};
	(void)reason;
	(void)size;
	return adv_leases_create(&options, &c->leases);
}

static int start_ledger(struct adv_control *c, char *reason, size_t size)
{
	int rc = adv_ledger_create(&c->ledger);
	if (rc == 0)
		rc = adv_registry_read_ledger(c->registry, restore_line, c);
	if (rc < 0)
		snprintf(reason, size, "the ledger could not be read: %s", strerror(-rc));
	return rc;
}

static int next_cpu(void *user, uint32_t tenant)
{
	const struct adv_control *c = user;
	return adv_cores_guess(c->cores, tenant);
}

static void module_gone(void *user, struct adv_module *module)
{
	struct adv_control *c = user;
	adv_sandboxes_module_gone(c->sandboxes, module);
	if (adv_registry_find(c->registry, module->owner, module->name) == NULL)
		adv_logs_forget(c->logs, module->owner, module->name);
}

static void printed(void *user, const struct adv_module *module, uint32_t tenant, uint32_t sandbox,
		    const char *text)
{
	adv_api_logs_printed(user, module, tenant, sandbox, text);
}

static int start_logs(struct adv_control *c, char *reason, size_t size)
{
	(void)reason;
	(void)size;
	return adv_logs_create(&c->logs);
}

static int start_sandboxes(struct adv_control *c, char *reason, size_t size)
{
	const struct adv_sandboxes_options options = {.loop = c->loop,
						      .warden = c->options.warden,
						      .pool = c->options.pool,
						      .cpu = adv_cores_housekeeping(c->cores),
						      .warden_gone = warden_gone,
						      .next_cpu = next_cpu,
						      .printed = printed,
						      .spent = adv_billing_spent,
						      .user = c};
	int rc = adv_sandboxes_create(&options, &c->sandboxes);
	if (rc == 0)
		adv_registry_watch(c->registry, module_gone, c);
	if (rc == -EINVAL)
		snprintf(reason, size, "the pool's numbers do not fit together");
	return rc;
}

static int start_lanes(struct adv_control *c, char *reason, size_t size)
{
	(void)reason;
	(void)size;
	int rc = adv_core_lines_create(&c->core_lines);
	return rc < 0 ? rc : adv_lanes_create(c->loop, &c->lanes);
}

/* Pollers take the CPUs that are named for them, or share the housekeeping's with whoever is there. */
static int start_remotes(struct adv_control *c, char *reason, size_t size)
{
#if ADV_HAVE_VERBS
	const struct adv_control_options *o = &c->options;
	if (o->verbs == NULL)
		return 0;
	struct adv_remotes_options options = {.loop = c->loop,
					      .address = *o->verbs,
					      .placement = o->placement,
					      .nr_pollers = o->nr_pollers};
	for (uint32_t i = 0; i < o->nr_pollers; i++) {
		struct adv_core place = adv_cores_poller(c->cores, i);
		options.pollers[i].cpu = place.cpu;
		/* Where the poller is the worker, too, nobody shares. */
		options.pollers[i].shared = place.shared && !ADV_TRANSPORT_BENCH;
	}
	return adv_remotes_create(&options, &c->remotes, reason, size);
#else
	if (c->options.verbs == NULL)
		return 0;
	snprintf(reason, size, "this adverb was built without libibverbs and librdmacm");
	return -ENOTSUP;
#endif
}

static int start_timers(struct adv_control *c, char *reason, size_t size)
{
	(void)reason;
	(void)size;
	adv_workers_timers_init(c);
	adv_billing_init(c);
	adv_admission_init(c);
	adv_held_schedule(c);
	adv_watch_start(&c->registry_watch, c->loop, adv_registry_fd(c->registry), registry_ready,
			c);
	return 0;
}

static int start_http(struct adv_control *c, char *reason, size_t size)
{
	struct adv_http_handlers handlers = adv_api_handlers(c);
	(void)reason;
	(void)size;
	int rc = adv_http_server_start(c->loop, c->options.listen_fd, &handlers, &c->http);
	if (rc < 0 || c->options.remote_fd < 0)
		return rc;
	handlers = adv_api_remote_handlers(c);
	return adv_http_server_start(c->loop, c->options.remote_fd, &handlers, &c->remote_http);
}

static const struct {
	const char *name;
	int (*start)(struct adv_control *c, char *reason, size_t size);
} steps[] = {
	{"event loop", start_loop},	{"core map", start_cores},
	{"shares", start_shares},	{"lease table", start_leases},
	{"ledger", start_ledger},	{"logs", start_logs},
	{"sandboxes", start_sandboxes}, {"lane memory", start_lanes},
	{"verbs", start_remotes},	{"accounting", adv_accounting_start},
	{"timers", start_timers},	{"control socket", start_http},
};

int adv_control_create(const struct adv_control_options *options, struct adv_control **out,
		       char *reason, size_t size)
{
	struct adv_control *c = calloc(1, sizeof(*c));
	if (c == NULL)
		return -ENOMEM;
	c->options = *options;
	c->registry = options->registry;
	note_start(c);
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		reason[0] = '\0';
		int rc = steps[i].start(c, reason, size);
		if (rc == 0)
			continue;
		if (reason[0] == '\0')
			snprintf(reason, size, "%s: %s", steps[i].name, strerror(-rc));
		adv_control_destroy(c);
		return rc;
	}
	*out = c;
	return 0;
}

static void end_all(struct adv_control *c, enum adv_status status)
{
	struct adv_lease_entry *e = adv_leases_next(c->leases, NULL);
	while (e != NULL) {
		/* Ending may forget the entry: find the next one first. */
		struct adv_lease_entry *next = adv_leases_next(c->leases, e);
		if (e->user != NULL)
			adv_held_end(e->user, status);
		e = next;
	}
}

static bool any_busy(struct adv_control *c)
{
	for (struct adv_lease_entry *e = adv_leases_next(c->leases, NULL); e != NULL;
	     e = adv_leases_next(c->leases, e))
		if (e->user != NULL && adv_workers_busy(e->user))
			return true;
	return false;
}

static bool any_lease(struct adv_control *c)
{
	return adv_leases_next(c->leases, NULL) != NULL;
}

void adv_control_stop(struct adv_control *c)
{
	if (c->stopping)
		return;
	c->stopping = true;
	adv_admission_refuse_all(c, "the node is stopping");
	for (struct adv_lease_entry *e = adv_leases_next(c->leases, NULL); e != NULL;
	     e = adv_leases_next(c->leases, e))
		if (e->user != NULL && e->state != ADV_LEASE_ENDING)
			adv_held_revoke(e->user, c->options.stop_grace_ms);
}

/* The grace is over early when nothing is in flight any more; what is left a second later is left to the warden. */
static void wind_up(struct adv_control *c)
{
	uint64_t begun = adv_clock_monotonic_ns();
	uint64_t grace = begun + c->options.stop_grace_ms * ADV_MS;
	while (any_lease(c) && any_busy(c) && adv_clock_monotonic_ns() < grace && !c->failed)
		adv_loop_run_once(c->loop, 5 * ADV_MS);
	end_all(c, ADV_REVOKED);
	uint64_t last = adv_clock_monotonic_ns() + ADV_STOP_LINGER_MS / 2 * ADV_MS;
	while (any_lease(c) && adv_clock_monotonic_ns() < last && !c->failed)
		adv_loop_run_once(c->loop, 5 * ADV_MS);
	adv_http_server_stop(c->http);
	if (c->remote_http != NULL)
		adv_http_server_stop(c->remote_http);
	/* Answers that are under way leave; bounded, peers may not read. */
	for (int i = 0; i < 10; i++)
		adv_loop_run_once(c->loop, ADV_MS);
}

int adv_control_run(struct adv_control *c)
{
	while (!c->stopping && !c->failed) {
		int rc = adv_loop_run_once(c->loop, UINT64_MAX);
		if (rc < 0) {
			adv_log_error("the event loop failed: %s", strerror(-rc));
			c->failed = true;
		}
	}
	wind_up(c);
	return c->failed ? -EIO : 0;
}

static void forget_all(struct adv_control *c)
{
	struct adv_lease_entry *e;
	while ((e = adv_leases_next(c->leases, NULL)) != NULL) {
		struct adv_held *h = e->user;
		if (h == NULL) {
			adv_leases_forget(c->leases, e);
			continue;
		}
		/* The warden kills what is left as soon as its socket closes. */
		h->nr_live = 0;
		adv_held_end(h, ADV_REVOKED);
	}
}

/* After that no device reaches lane memory: it can be freed at once. */
static void stop_remotes(struct adv_control *c)
{
#if ADV_HAVE_VERBS
	if (c->remotes == NULL)
		return;
	adv_remotes_destroy(c->remotes);
	for (struct adv_lease_entry *e = adv_leases_next(c->leases, NULL); e != NULL;
	     e = adv_leases_next(c->leases, e)) {
		struct adv_held *h = e->user;
		if (h == NULL || h->remote == NULL)
			continue;
		h->remote = NULL;
		h->finishing = false;
	}
#else
	(void)c;
#endif
}

void adv_control_destroy(struct adv_control *c)
{
	if (c == NULL)
		return;
	stop_remotes(c);
	if (c->leases != NULL && c->http != NULL) {
		forget_all(c);
		adv_billing_store(c); /* the registry's thread finishes its jobs before it ends */
	}
	if (c->ledger != NULL)
		adv_accounting_report(c);
	adv_accounting_stop(c);
	adv_http_server_destroy(c->http);
	adv_http_server_destroy(c->remote_http);
	adv_registry_watch(c->registry, NULL, NULL);
	if (c->sandboxes != NULL)
		adv_sandboxes_destroy(c->sandboxes);
	adv_lanes_destroy(c->lanes);
	adv_core_lines_destroy(c->core_lines);
	adv_api_logs_end(c);
	adv_logs_destroy(c->logs);
	if (c->registry_watch.active)
		adv_watch_stop(&c->registry_watch);
	adv_leases_destroy(c->leases);
	adv_shares_destroy(c->shares);
	adv_ledger_destroy(c->ledger);
	adv_cores_destroy(c->cores);
	if (c->loop != NULL)
		adv_loop_destroy(c->loop);
	free(c);
}
