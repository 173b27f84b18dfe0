/* latency.c - adverb latency: what is to be measured, row by row. Main thread. */
#include "cli/latency.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "util/limits.h"
#include "util/parse.h"

#define ECHO_HOT  "adverb-echo"
#define ECHO_COLD "adverb-echo-cold" /* the same bytes, never loaded ahead */

/* ---- lists ---- */

/* The next piece of a comma-separated list; false at its end. */
static bool piece(const char **list, char *out, size_t size)
{
	size_t n = strcspn(*list, ",");
	if (n == 0 && **list == '\0')
		return false;
	snprintf(out, size, "%.*s", (int)(n < size ? n : size - 1), *list);
	*list += n;
	*list += **list == ',';
	return true;
}

static int parse_modes(const char *list, struct latency_plan *plan)
{
	static const char *const names[] = {"hot", "warm", "cold"};
	char name[32];
	bool any = false;
	while (piece(&list, name, sizeof(name))) {
		int i = 0;
		while (i < 3 && strcmp(names[i], name) != 0)
			i++;
		if (i == 3)
			return cli_error("latency: --mode \"%s\" must be hot, warm or cold, or "
					 "several with commas",
					 name);
		plan->modes[i] = true;
		any = true;
	}
	return any ? EXIT_SUCCESS : cli_error("latency: --mode names no mode: hot, warm or cold");
}

static int parse_payloads(const char *list, struct latency_plan *plan)
{
	char text[32];
	uint64_t bytes;
	plan->nr_payloads = 0;
	while (piece(&list, text, sizeof(text))) {
		if (adv_parse_size(text, &bytes) < 0 || bytes > ADV_CAPACITY_MAX)
			return cli_error("latency: --payload \"%s\" must be a size of at most "
					 "64MiB, or several "
					 "with commas",
					 text);
		if (plan->nr_payloads == LATENCY_PAYLOADS_MAX)
			return cli_error("latency: --payload takes at most %d sizes",
					 LATENCY_PAYLOADS_MAX);
		plan->payloads[plan->nr_payloads++] = (uint32_t)bytes;
	}
	return EXIT_SUCCESS;
}

/* ---- rows ---- */

struct run {
	struct adv_node *node;
	struct latency_plan plan;
	bool json, head;
	json_t *results;
};

static int add_row(struct run *run, enum latency_mode mode, uint32_t payload, const char *pool)
{
	char reason[1024] = "";
	struct latency_row *row = calloc(1, sizeof(*row));
	if (row == NULL)
		return cli_error("latency: no memory for its samples");
	row->mode = mode;
	row->payload = payload;
	row->pool = pool;
	row->inflight = mode == LATENCY_COLD ? 1 : run->plan.inflight;
	row->workers = mode == LATENCY_COLD ? 1 : run->plan.workers;
	int rc = EXIT_SUCCESS;
	if (latency_measure(run->node, &run->plan, row, reason, sizeof(reason)) != ADV_OK) {
		rc = cli_error("latency: %s", reason);
	} else if (run->json) {
		json_array_append_new(run->results, latency_row_json(row));
	} else {
		if (!run->head)
			latency_print_head(run->plan.baseline);
		run->head = true;
		latency_print_row(row, run->plan.baseline);
	}
	free(row);
	return rc;
}

/* Cold rows: from the hot pool and from the cold one; a module of the user's own has one pool, whichever it is in. */
static int add_cold(struct run *run, uint32_t payload, bool own)
{
	if (own)
		return add_row(run, LATENCY_COLD, payload, "hot");
	run->plan.module = ECHO_HOT;
	int rc = add_row(run, LATENCY_COLD, payload, "hot");
	run->plan.module = ECHO_COLD;
	if (rc == EXIT_SUCCESS)
		rc = add_row(run, LATENCY_COLD, payload, "cold");
	run->plan.module = ECHO_HOT;
	return rc;
}

static int measure(struct run *run, bool own)
{
	char reason[1024] = "";
	struct latency_plan *plan = &run->plan;
	if (!own &&
	    (latency_deploy_echo(run->node, ECHO_HOT, 1, reason, sizeof(reason)) != ADV_OK ||
	     (plan->modes[LATENCY_COLD] &&
	      latency_deploy_echo(run->node, ECHO_COLD, 0, reason, sizeof(reason)) != ADV_OK)))
		return cli_error("latency: %s", reason);
	int rc = EXIT_SUCCESS;
	for (unsigned i = 0; i < plan->nr_payloads && rc == EXIT_SUCCESS; i++) {
		if (plan->modes[LATENCY_HOT])
			rc = add_row(run, LATENCY_HOT, plan->payloads[i], NULL);
		if (rc == EXIT_SUCCESS && plan->modes[LATENCY_WARM])
			rc = add_row(run, LATENCY_WARM, plan->payloads[i], NULL);
		if (rc == EXIT_SUCCESS && plan->modes[LATENCY_COLD])
			rc = add_cold(run, plan->payloads[i], own);
	}
	return rc;
}

static int prepare(struct latency_plan *plan, char *name, const char *modes, const char *payloads,
		   uint64_t inflight, uint64_t workers)
{
	if (parse_modes(modes != NULL ? modes : "hot", plan) != EXIT_SUCCESS ||
	    parse_payloads(payloads != NULL ? payloads : "8", plan) != EXIT_SUCCESS)
		return EXIT_FAILURE;
	if (plan->nr_payloads == 0)
		return cli_error("latency: --payload names no size");
	if (workers > ADV_LANES_MAX || inflight > workers * ADV_SLOTS_MAX)
		return cli_error("latency: at most %d workers and %d calls in flight for each",
				 ADV_LANES_MAX, ADV_SLOTS_MAX);
	plan->inflight = (uint32_t)inflight;
	plan->workers = (uint32_t)workers;
	plan->module = ECHO_HOT;
	plan->function = "echo";
	if (name == NULL)
		return EXIT_SUCCESS;
	char *slash = strrchr(name, '/');
	if (slash == NULL || slash == name || slash[1] == '\0')
		return cli_error("latency: \"%.80s\" must be MODULE/FUNCTION", name);
	*slash = '\0';
	plan->module = name;
	plan->function = slash + 1;
	return EXIT_SUCCESS;
}

int cli_latency(int argc, char **argv, const struct cli_command *self)
{
	struct cli_common common = {0};
	struct run run = {0};
	const char *modes = NULL, *payloads = NULL;
	uint64_t inflight = 1, workers = 1;
	const struct cli_option options[] = {
		{"mode", "LIST", CLI_TEXT, &modes, "hot, warm, cold; default hot"},
		{"payload", "LIST", CLI_TEXT, &payloads,
		 "bytes in and out, like 8,1KiB; default 8"},
		{"inflight", "N", CLI_COUNT, &inflight, "calls in flight; default 1"},
		{"workers", "N", CLI_COUNT, &workers, "workers of the lease; default 1"},
		{"count", "N", CLI_COUNT, &run.plan.count, "samples of each row"},
		{"baseline", NULL, CLI_FLAG, &run.plan.baseline,
		 "measure the bare hardware alongside"},
		{0},
	};
	int n = cli_parse(argc, argv, self, options, &common, 0, 1);
	if (n < 0)
		return n == -1 ? EXIT_SUCCESS : EXIT_FAILURE;
	if (prepare(&run.plan, n == 1 ? argv[0] : NULL, modes, payloads, inflight, workers) !=
	    EXIT_SUCCESS)
		return EXIT_FAILURE;
	run.json = common.json;
	run.results = json_array();
	json_t *machine = latency_machine_json();
	if (cli_connect(&common, &run.node) != EXIT_SUCCESS)
		return EXIT_FAILURE;
	int rc = measure(&run, n == 1);
	adv_disconnect(run.node);
	if (rc == EXIT_SUCCESS && run.json)
		return cli_print_json(
			json_pack("{s:o, s:o}", "results", run.results, "machine", machine));
	json_decref(run.results);
	json_decref(machine);
	return rc;
}
