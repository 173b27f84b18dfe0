/* status.c - adverb status and leases, for people. Main thread. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "util/parse.h"

/* ---- leases ---- */

static void print_leases(const json_t *answer)
{
	const json_t *leases = json_object_get(answer, "leases");
	size_t i;
	json_t *l;
	if (json_array_size(leases) == 0) {
		puts("no leases");
		return;
	}
	printf("%-6s %8s %-20s %-9s %7s %6s %10s %7s\n", "ID", "TENANT", "MODULE", "STATE",
	       "WORKERS", "SLOTS", "ENDS IN", "DEATHS");
	json_array_foreach (leases, i, l) {
		char ends[32];
		adv_format_duration((uint64_t)cli_number(l, "expires_in_ms") * 1000000, ends,
				    sizeof(ends));
		printf("%-6s %8lld %-20s %-9s %7lld %6lld %10s %7lld\n", cli_text(l, "id"),
		       cli_number(l, "tenant"), cli_text(l, "module"), cli_text(l, "state"),
		       cli_number(l, "workers"), cli_number(l, "slots"), ends,
		       cli_number(l, "deaths"));
	}
}

int cli_leases(int argc, char **argv, const struct cli_command *self)
{
	struct cli_common common = {0};
	const struct cli_option options[] = {{0}};
	int n = cli_parse(argc, argv, self, options, &common, 0, 0);
	if (n < 0)
		return n == -1 ? EXIT_SUCCESS : EXIT_FAILURE;
	return cli_ask_and_print(&common, "GET", "/v1/leases", print_leases);
}

/* ---- status ---- */

static void print_usage(const json_t *usage)
{
	size_t i;
	json_t *u;
	char allocated[32], executed[32], polled[32];
	if (json_array_size(usage) == 0)
		return;
	printf("\n%8s %-24s %7s %12s %9s %12s %12s %12s\n", "TENANT", "MODULE", "LEASES", "CALLS",
	       "FAILURES", "ALLOCATED", "EXECUTED", "POLLED");
	json_array_foreach (usage, i, u)
		printf("%8lld %-24s %7lld %12lld %9lld %12s %12s %12s\n", cli_number(u, "tenant"),
		       cli_text(u, "module"), cli_number(u, "leases"), cli_number(u, "calls"),
		       cli_number(u, "failures"),
		       adv_format_duration((uint64_t)cli_number(u, "core_us") * 1000, allocated,
					   sizeof(allocated)),
		       adv_format_duration((uint64_t)cli_number(u, "executed_us") * 1000, executed,
					   sizeof(executed)),
		       adv_format_duration((uint64_t)cli_number(u, "polled_us") * 1000, polled,
					   sizeof(polled)));
}

static void print_verbs(const json_t *v)
{
	if (v == NULL)
		return;
	printf("verbs      %s%s, listening on %s (GID %s); placement %s (%s)\n",
	       cli_text(v, "device"), json_is_true(json_object_get(v, "gone")) ? " (gone)" : "",
	       cli_text(v, "address"), cli_text(v, "gid"), cli_text(v, "placement"),
	       cli_text(v, "placement_why"));
	printf("           %lld queue pairs now; %lld accepted, %lld refused\n",
	       cli_number(v, "links"), cli_number(v, "accepted"), cli_number(v, "refused"));
}

/* Which walls of the sandboxes are lower than they could be. */
static void print_weaker(const json_t *sandbox)
{
	size_t i;
	json_t *w;
	json_array_foreach (json_object_get(sandbox, "weaker"), i, w)
		printf("%-10s %s: %s\n", i == 0 ? "weaker" : "", cli_text(w, "wall"),
		       cli_text(w, "why"));
}

static void print_drain(const json_t *drain)
{
	if (drain != NULL)
		printf("drained    %lld cores of leases are kept, %lld in use; `adverb resume` "
		       "ends it\n",
		       cli_number(drain, "keep"), cli_number(drain, "cores_used"));
}

static void print_accounting(const json_t *a)
{
	const json_t *collects = json_object_get(a, "collects"), *r = json_object_get(a, "reports");
	if (collects != NULL)
		printf("accounting collects from other nodes, %lld connected; `adverb bill "
		       "--nodes`\n",
		       cli_number(collects, "connected"));
	if (r != NULL && json_is_true(json_object_get(r, "connected")))
		printf("accounting reports to the accounting node, %lld lines so far%s\n",
		       cli_number(r, "lines"),
		       json_is_true(json_object_get(r, "settled")) ? "" : ", more on the way");
	else if (r != NULL)
		printf("accounting does not reach the accounting node: %s\n", cli_text(r, "why"));
}

static void print_status(const json_t *s)
{
	const json_t *node = json_object_get(s, "node"), *sandbox = json_object_get(s, "sandbox");
	const json_t *cores = json_object_get(s, "cores"), *memory = json_object_get(s, "memory");
	const json_t *pool = json_object_get(s, "pool"), *leases = json_object_get(s, "leases");
	const json_t *build = json_object_get(pool, "build_us");
	char up[32], free_bytes[32], total[32];
	printf("node       %s, version %s, pid %lld, up %s\n", cli_text(node, "id"),
	       cli_text(node, "version"), cli_number(node, "pid"),
	       adv_format_duration((uint64_t)cli_number(node, "uptime_ms") * 1000000, up,
				   sizeof(up)));
	printf("state      %s\n", cli_text(node, "state_dir"));
	printf("sandboxes  uids: %s; memory limit: %s; Landlock: %s\n", cli_text(sandbox, "uids"),
	       cli_text(sandbox, "memory_limit"),
	       cli_number(sandbox, "landlock_abi") > 0 ? "on" : "missing in this kernel");
	print_weaker(sandbox);
	printf("cores      %lld of %lld free for workers, oversubscribe %s; workers on CPUs %s\n",
	       cli_number(cores, "free"), cli_number(cores, "total"),
	       cli_text(cores, "oversubscribe"), cli_text(cores, "workers"));
	print_accounting(json_object_get(s, "accounting"));
	printf("memory     %s of %s free for leases\n",
	       adv_format_size((uint64_t)cli_number(memory, "free_bytes"), free_bytes,
			       sizeof(free_bytes)),
	       adv_format_size((uint64_t)cli_number(memory, "total_bytes"), total, sizeof(total)));
	printf("pool       %lld cold, %lld hot, %lld claimed; claims: %lld hot, %lld cold, %lld "
	       "built on "
	       "demand\n",
	       cli_number(pool, "cold"), cli_number(pool, "hot"), cli_number(pool, "claimed"),
	       cli_number(pool, "hits_hot"), cli_number(pool, "hits_cold"),
	       cli_number(pool, "misses"));
	printf("           a build takes %lld us (p99 %lld us); %lld failed\n",
	       cli_number(build, "p50"), cli_number(build, "p99"), cli_number(pool, "failures"));
	printf("leases     %lld now; %lld granted, %lld refused, %lld released, %lld expired, %lld "
	       "revoked\n",
	       cli_number(leases, "live"), cli_number(leases, "granted"),
	       cli_number(leases, "refused"), cli_number(leases, "released"),
	       cli_number(leases, "expired"), cli_number(leases, "revoked"));
	if (cli_number(leases, "waiting") > 0)
		printf("           %lld requests wait for room\n", cli_number(leases, "waiting"));
	print_drain(json_object_get(s, "drain"));
	printf("modules    %lld\n", cli_number(s, "modules"));
	print_verbs(json_object_get(s, "verbs"));
	print_usage(json_object_get(s, "usage"));
}

int cli_status(int argc, char **argv, const struct cli_command *self)
{
	struct cli_common common = {0};
	const struct cli_option options[] = {{0}};
	int n = cli_parse(argc, argv, self, options, &common, 0, 0);
	if (n < 0)
		return n == -1 ? EXIT_SUCCESS : EXIT_FAILURE;
	return cli_ask_and_print(&common, "GET", "/v1/status", print_status);
}
