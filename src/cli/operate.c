/* operate.c - adverb drain, resume and release: for who operates a node. Main thread. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "util/limits.h"
#include "util/parse.h"

#define ANSWER_MS 10000 /* beyond the grace */

/* Sends an object and prints the answer, by `print` or as JSON. An exit status. */
static int post(const struct cli_common *common, const char *path, json_t *body, uint64_t wait_ms,
		void (*print)(const json_t *answer))
{
	struct adv_node *node;
	struct adv_control_reply reply = {0};
	json_t *answer = NULL;
	char *text = json_dumps(body, JSON_COMPACT);
	json_decref(body);
	if (text == NULL)
		return cli_error("out of memory");
	if (cli_connect(common, &node) != EXIT_SUCCESS) {
		free(text);
		return EXIT_FAILURE;
	}
	if (adv_control(node, "POST", path, text, strlen(text), (uint32_t)(wait_ms + ANSWER_MS),
			&reply) != ADV_OK)
		cli_error("%s", adv_error());
	else
		answer = json_loadb(reply.body, reply.body_size, 0, NULL);
	adv_control_reply_free(&reply);
	adv_disconnect(node);
	free(text);
	if (answer == NULL)
		return EXIT_FAILURE;
	if (common->json)
		return cli_print_json(answer);
	print(answer);
	json_decref(answer);
	return cli_flush();
}

static void print_drained(const json_t *answer)
{
	const json_t *drain = json_object_get(answer, "drain");
	long long used = cli_number(drain, "cores_used"), keep = cli_number(drain, "keep");
	if (keep == 0)
		puts("drained: no core is leased, and none will be until `adverb resume`");
	else
		printf("drained: leases have %lld of the %lld cores that they may keep, until "
		       "`adverb "
		       "resume`\n",
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
	return post(&common, "/v1/drain",
		    json_pack("{s:I, s:I}", "grace_ms", (json_int_t)(grace_ns / ADV_MS), "keep",
			      (json_int_t)keep),
		    grace_ns / ADV_MS, print_drained);
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
	return post(&common, "/v1/resume", json_object(), 0, print_resumed);
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
