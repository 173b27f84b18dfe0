/* api_status.c - GET /v1/status: one object with everything that the node knows of itself. Control thread only. */
#include <unistd.h>

#include "control/control.h"
#include "lane/endings.h"
#include "sandbox/facts.h"
#include "util/clock.h"

static json_t *node_json(const struct adv_control *c)
{
	const struct adv_warden_facts *facts = &c->options.warden->facts;
	uint64_t up = adv_clock_boottime_ns() - c->started_ns;
	return json_pack("{s:s, s:s, s:i, s:i, s:i, s:I, s:s, s:s, s:s, s:b}", "id",
			 adv_registry_node_id(c->registry), "version", ADVERB_VERSION, "protocol",
			 ADV_PROTOCOL_VERSION, "pid", (int)getpid(), "warden_pid",
			 (int)c->options.warden->pid, "uptime_ms", (json_int_t)(up / ADV_MS),
			 "started", c->started, "mode", facts->root ? "root" : "user", "state_dir",
			 c->options.state_dir, "hostile_tenants", (int)facts->root);
}

/* What this machine does not give, in words, with what to do about it. */
static json_t *weaker_json(const struct adv_warden_facts *facts)
{
	json_t *weaker = json_array();
	const struct adv_wall *w;
	for (size_t i = 0; (w = adv_wall_at(i)) != NULL; i++)
		if (!w->stands(facts))
			json_array_append_new(weaker,
					      json_pack("{s:s, s:s, s:s}", "wall", w->name, "why",
							w->weak, "remedy", w->remedy));
	return weaker;
}

static json_t *speculation_json(const struct adv_warden_facts *facts)
{
	json_t *off = json_array();
	if (facts->speculation & ADV_SPECULATION_STORE_BYPASS)
		json_array_append_new(off, json_string("store_bypass"));
	if (facts->speculation & ADV_SPECULATION_INDIRECT_BRANCH)
		json_array_append_new(off, json_string("indirect_branch"));
	return off;
}

static json_t *sandbox_json(const struct adv_warden_facts *facts)
{
	return json_pack("{s:s, s:s, s:b, s:b, s:b, s:i, s:b, s:b, s:s, s:o, s:o}", "uids",
			 facts->root ? "each its own"
				     : "the user's own: for your own code, not for hostile "
				       "tenants",
			 "memory_limit", facts->cgroup_memory ? "cgroup" : "rlimit", "cpu_limit",
			 (int)facts->cgroup_cpu, "cpuset", (int)facts->cgroup_cpuset, "freezer",
			 (int)facts->cgroup_freeze, "landlock_abi", (int)facts->landlock_abi,
			 "extended_root", (int)facts->extended, "strict_net",
			 (int)facts->strict_net, "core_scheduling",
			 adv_core_scheduling_name(facts->core_scheduling), "speculation_off",
			 speculation_json(facts), "weaker", weaker_json(facts));
}

static json_t *pool_json(const struct adv_control *c)
{
	struct adv_pool_stats s;
	adv_sandboxes_stats(c->sandboxes, &s);
	return json_pack("{s:i, s:i, s:i, s:i, s:i, s:i, s:I, s:I, s:I, s:I, s:I, s:{s:I, s:I}}",
			 "cold", (int)s.cold, "hot", (int)s.hot, "building", (int)s.building,
			 "loading", (int)s.loading, "claimed", (int)s.claimed, "dying",
			 (int)s.dying, "hits_hot", (json_int_t)s.hits_hot, "hits_cold",
			 (json_int_t)s.hits_cold, "misses", (json_int_t)s.misses, "built",
			 (json_int_t)s.built, "failures", (json_int_t)s.failures, "build_us", "p50",
			 (json_int_t)(s.build_ns_p50 / ADV_US), "p99",
			 (json_int_t)(s.build_ns_p99 / ADV_US));
}

static json_t *leases_json(const struct adv_leases_stats *s, uint32_t waiting)
{
	return json_pack("{s:i, s:i, s:I, s:I, s:I, s:I, s:I, s:I}", "live", (int)s->live,
			 "waiting", (int)waiting, "granted", (json_int_t)s->granted, "refused",
			 (json_int_t)s->refused, "expired", (json_int_t)s->expired, "released",
			 (json_int_t)s->released, "revoked", (json_int_t)s->revoked, "failed",
			 (json_int_t)s->failed);
}

/* How calls ended that did not end well: those that some did. */
static json_t *endings_json(const struct adv_ledger_line *l)
{
	json_t *ended = json_object();
	for (unsigned i = 0; i < ADV_ENDINGS; i++)
		if (l->ended[i] > 0 && adv_ending_name(i) != NULL)
			json_object_set_new(ended, adv_ending_name(i),
					    json_integer((json_int_t)l->ended[i]));
	return ended;
}

json_t *adv_ledger_line_json(const struct adv_ledger_line *l)
{
	return json_pack("{s:I, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "tenant",
			 (json_int_t)l->tenant, "module", l->module, "leases",
			 (json_int_t)l->leases, "core_us", (json_int_t)l->allocated_core_us,
			 "mib_ms", (json_int_t)l->allocated_mib_ms, "executed_us",
			 (json_int_t)l->executed_us, "polled_us", (json_int_t)l->polled_us,
			 "cpu_us", (json_int_t)l->cpu_us, "calls", (json_int_t)l->calls, "failures",
			 (json_int_t)l->failures, "bytes", (json_int_t)l->bytes, "ended",
			 endings_json(l));
}

/* A tenant sees its own lines, root all of them. */
static json_t *usage_json(const struct adv_control *c, uint32_t tenant)
{
	json_t *usage = json_array();
	const struct adv_ledger_line *l;
	for (size_t i = 0; (l = adv_ledger_at(c->ledger, i)) != NULL; i++)
		if (l->tenant == tenant || tenant == 0)
			json_array_append_new(usage, adv_ledger_line_json(l));
	return usage;
}

static int count_modules(const struct adv_control *c)
{
	int n = 0;
	for (struct adv_module *m = adv_registry_next(c->registry, NULL); m != NULL;
	     m = adv_registry_next(c->registry, m))
		n++;
	return n;
}

json_t *adv_api_status(struct adv_control *c, uint32_t tenant)
{
	struct adv_leases_stats leases;
	struct adv_arena_stats arena;
	char workers[512];
	adv_leases_stats(c->leases, &leases);
	adv_arena_stats(&arena);
	json_t *status = json_pack(
		"{s:o, s:o, s:{s:i, s:i, s:s, s:s}, s:{s:I, s:I, s:I}, s:o, s:o, s:i, s:i, s:o}",
		"node", node_json(c), "sandbox", sandbox_json(&c->options.warden->facts), "cores",
		"total", (int)adv_cores_total(c->cores), "free", (int)adv_cores_free(c->cores),
		"workers", adv_cores_describe(c->cores, workers, sizeof(workers)), "oversubscribe",
		adv_oversubscribe_name(c->options.oversubscribe), "memory", "total_bytes",
		(json_int_t)leases.memory_total, "free_bytes", (json_int_t)leases.memory_free,
		"heap_bytes", (json_int_t)arena.process_bytes, "pool", pool_json(c), "leases",
		leases_json(&leases, c->queue.nr), "modules", count_modules(c), "connections",
		(int)adv_http_server_connections(c->http), "usage", usage_json(c, tenant));
	json_t *drain = adv_drain_json(c);
	if (drain != NULL)
		json_object_set_new(status, "drain", drain);
	json_t *accounting = adv_accounting_json(c);
	if (accounting != NULL)
		json_object_set_new(status, "accounting", accounting);
#if ADV_HAVE_VERBS
	if (c->remotes != NULL)
		json_object_set_new(status, "verbs", adv_remotes_status(c->remotes));
#endif
	return status;
}
