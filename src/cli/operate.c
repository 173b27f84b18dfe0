/* operate.c - adverb drain, resume and release: for who operates a node. Main thread. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"
#include "util/limits.h"
#include "util/parse.h"

#define ANSWER_MS 10000 /* beyond the grace */

static void print_drained(const json_t *answer)
{
	const json_t *drain = json_object_get(answer, "drain");
	long long used = cli_number(drain, "cores_used"), keep = cli_number(drain, "keep");
	if (keep == 0)
		puts("drained: no core is leased, and none will be until `adverb resume`");
	else
		printf("drained: leases have %lld of the %lld cores that they may keep, until "
		       "`adverb resume`\n",
		       used, keep);
}

int cli_drain(int argc, char **argv, const struct cli_command *self)
{
	uint64_t grace_ns = ADV_DRAIN_GRACE_MS_DEFAULT * ADV_MS, keep = 0;
	struct cli_common common = {0};
	const struct cli_option options[] = {
		{"grace", "DURATION", CLI_DURATION, &grace_ns,
		 "for calls in flight of the leases that go (default 5s)"},
		{"keep", "N", CLI_NUMBER, &keep, "cores that leases may go on with (default 0)"},
		{0},
	};
	int n = cli_parse(argc, argv, self, options, &common, 0, 0);
	if (n < 0)
		return n == -1 ? EXIT_SUCCESS : EXIT_FAILURE;
	if (grace_ns / ADV_MS > ADV_DRAIN_GRACE_MS_MAX || keep > UINT32_MAX)
		return cli_error("drain: --grace is at most 1h, --keep a number of cores");
	return cli_post_and_print(&common, "/v1/drain",
				  json_pack("{s:I, s:I}", "grace_ms",
					    (json_int_t)(grace_ns / ADV_MS), "keep",
					    (json_int_t)keep),
				  (uint32_t)(grace_ns / ADV_MS) + ANSWER_MS, print_drained);
}

static void print_resumed(const json_t *answer)
{
	puts(json_is_true(json_object_get(answer, "resumed")) ? "resumed: leases are granted again"
							      : "the node was not drained");
}

int cli_resume(int argc, char **argv, const struct cli_command *self)
{
	struct cli_common common = {0};
	const struct cli_option options[] = {{0}};
	int n = cli_parse(argc, argv, self, options, &common, 0, 0);
	if (n < 0)
		return n == -1 ? EXIT_SUCCESS : EXIT_FAILURE;
	return cli_post_and_print(&common, "/v1/resume", json_object(), ANSWER_MS, print_resumed);
}

static void print_released(const json_t *answer)
{
	printf("released lease %s\n", cli_text(answer, "ended"));
}

int cli_release(int argc, char **argv, const struct cli_command *self)
{
	struct cli_common common = {0};
	const struct cli_option options[] = {{0}};
	char path[64];
	uint64_t id;
	int n = cli_parse(argc, argv, self, options, &common, 1, 1);
	if (n < 0)
		return n == -1 ? EXIT_SUCCESS : EXIT_FAILURE;
	if (adv_parse_u64(argv[0], &id) < 0)
		return cli_error(
			"release: \"%.32s\" is not the number of a lease: see adverb leases",
			argv[0]);
	snprintf(path, sizeof(path), "/v1/leases/%" PRIu64, id);
	return cli_ask_and_print(&common, "DELETE", path, print_released);
}
