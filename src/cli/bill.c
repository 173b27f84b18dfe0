/* bill.c - adverb bill: what tenants have used, and what it costs. Main thread. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"
#include "util/limits.h"
#include "util/parse.h"

/* "12.345678": exact, as it came. */
static const char *amount(long long millionths, char *out, size_t size)
{
	snprintf(out, size, "%lld.%06lld", millionths / 1000000, millionths % 1000000);
	return out;
}

/* What both kinds of lines end on. */
static void print_use(const json_t *l)
{
	char core[32], executed[32], polled[32], bytes[32];
	printf(" %12s %14lld %12s %12s %12lld %10s",
	       adv_format_duration((uint64_t)cli_number(l, "core_us") * 1000, core, sizeof(core)),
	       cli_number(l, "mib_ms") / 1000,
	       adv_format_duration((uint64_t)cli_number(l, "executed_us") * 1000, executed,
				   sizeof(executed)),
	       adv_format_duration((uint64_t)cli_number(l, "polled_us") * 1000, polled,
				   sizeof(polled)),
	       cli_number(l, "calls"),
	       adv_format_size((uint64_t)cli_number(l, "bytes"), bytes, sizeof(bytes)));
}

static void print_line(const json_t *l, bool costs)
{
	char cost[40], tenant[80];
	const char *name = json_string_value(json_object_get(l, "tenant_name"));
	snprintf(tenant, sizeof(tenant), "%lld", cli_number(l, "tenant"));
	printf("%-12s %-24s %7lld", name != NULL ? name : tenant, cli_text(l, "module"),
	       cli_number(l, "leases"));
	print_use(l);
	printf(" %12s\n",
	       costs ? amount(cli_number(l, "cost_millionths"), cost, sizeof(cost)) : "");
}

/* "           calls that failed: 3 timeout, 1 crashed" */
static void print_endings(const json_t *l)
{
	json_t *ended = json_object_get(l, "ended"), *n;
	const char *name, *before = "             calls that failed: ";
	json_object_foreach (ended, name, n) {
		printf("%s%lld %s", before, (long long)json_integer_value(n), name);
		before = ", ";
	}
	if (json_object_size(ended) > 0)
		putchar('\n');
}

static void print_bill(const json_t *bill)
{
	const json_t *lines = json_object_get(bill, "lines");
	const char *currency = cli_text(bill, "currency");
	bool costs = currency[0] != '\0' || cli_number(bill, "total_millionths") > 0;
	size_t i;
	json_t *l;
	char total[40];
	if (json_array_size(lines) == 0) {
		puts("nothing was used");
		return;
	}
	printf("%-12s %-24s %7s %12s %14s %12s %12s %12s %10s %12s\n", "TENANT", "MODULE", "LEASES",
	       "CORES", "MIB SECONDS", "EXECUTED", "POLLED", "CALLS", "BYTES", costs ? "COST" : "");
	json_array_foreach (lines, i, l) {
		print_line(l, costs);
		print_endings(l);
	}
	if (costs)
		printf("\ntotal %s%s%s\n",
		       amount(cli_number(bill, "total_millionths"), total, sizeof(total)),
		       currency[0] != '\0' ? " " : "", currency);
	else
		puts("\nno prices are set: see [prices] in adverb(1)");
}

static void print_node_line(const json_t *l)
{
	printf("%-32s %10lld %-6s", cli_text(l, "node"), cli_number(l, "tenant"),
	       cli_text(l, "by"));
	print_use(l);
	putchar('\n');
}

/* What other nodes have told this one. */
static void print_nodes(const json_t *accounts)
{
	const json_t *lines = json_object_get(accounts, "lines");
	size_t i;
	json_t *l;
	if (json_array_size(lines) > 0)
		printf("%-32s %10s %-6s %12s %14s %12s %12s %12s %10s\n", "NODE", "TENANT", "BY",
		       "CORES", "MIB SECONDS", "EXECUTED", "POLLED", "CALLS", "BYTES");
	json_array_foreach (lines, i, l)
		print_node_line(l);
	printf("%s%lld nodes are connected\n", json_array_size(lines) > 0 ? "\n" : "",
	       cli_number(accounts, "connected"));
}

/* "2026-11-25", "2026-11-25T21:08", both in UTC; or a duration: so long ago. In milliseconds since 1970. */
static int parse_since(const char *text, uint64_t *ms)
{
	static const char *const forms[] = {"%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"};
	uint64_t ago_ns;
	if (adv_parse_duration(text, &ago_ns) == 0) {
		uint64_t now = (uint64_t)time(NULL) * 1000;
		*ms = now > ago_ns / ADV_MS ? now - ago_ns / ADV_MS : 0;
		return 0;
	}
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		struct tm tm = {0};
		const char *end = strptime(text, forms[i], &tm);
		time_t t = end != NULL && *end == '\0' ? timegm(&tm) : -1;
		if (t >= 0) {
			*ms = (uint64_t)t * 1000;
			return 0;
		}
	}
	return -EINVAL;
}

int cli_bill(int argc, char **argv, const struct cli_command *self)
{
	const char *since = NULL, *tenant = NULL;
	struct cli_common common = {0};
	bool nodes = false;
	const struct cli_option options[] = {
		{"since", "WHEN", CLI_TEXT, &since,
		 "a date like 2026-11-25, with T21:08 behind it, in UTC; or 24h: so long ago"},
		{"tenant", "UID", CLI_TEXT, &tenant, "this one alone; root sees all without it"},
		{"nodes", NULL, CLI_FLAG, &nodes,
		 "what other nodes have told this one, in all, by node and tenant"},
		{0},
	};
	char path[128];
	uint64_t since_ms = 0, uid = 0;
	int n = cli_parse(argc, argv, self, options, &common, 0, 0);
	if (n < 0)
		return n == -1 ? EXIT_SUCCESS : EXIT_FAILURE;
	if (nodes && (since != NULL || tenant != NULL))
		return cli_error("bill: --nodes goes with neither --since nor --tenant");
	if (nodes)
		return cli_ask_and_print(&common, "GET", "/v1/accounts", print_nodes);
	if (since != NULL && parse_since(since, &since_ms) < 0)
		return cli_error("bill: --since %.40s: a date like 2026-11-25 or 2026-11-25T21:08, "
				 "or a duration like 24h",
				 since);
	if (tenant != NULL && adv_parse_u64(tenant, &uid) < 0)
		return cli_error("bill: --tenant %.40s: must be the number of a tenant", tenant);
	int used = snprintf(path, sizeof(path), "/v1/bill?since_ms=%" PRIu64, since_ms);
	if (tenant != NULL)
		snprintf(path + used, sizeof(path) - (size_t)used, "&tenant=%" PRIu64, uid);
	return cli_ask_and_print(&common, "GET", path, print_bill);
}
