/* logs.c - adverb logs: what a module's functions printed, and what they print next. Main thread. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"
#include "util/limits.h"

#define PATH_MAX_BYTES 256

/* In the reader's own time zone, to the millisecond. */
static void print_line(const json_t *line)
{
	long long ns = cli_number(line, "time_ns");
	time_t seconds = (time_t)(ns / 1000000000);
	struct tm t;
	char when[32];
	localtime_r(&seconds, &t);
	strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", &t);
	printf("%s.%03lld sandbox %lld: %s\n", when, ns / 1000000 % 1000,
	       cli_number(line, "sandbox"), cli_text(line, "text"));
}

static int print_lines(const json_t *answer, bool as_json, bool first)
{
	size_t i;
	json_t *line;
	if (json_is_true(json_object_get(answer, "lost")) && !as_json)
		fprintf(stderr, "adverb: %s\n",
			first ? "older lines have made room"
			      : "some lines came too fast to follow");
	json_array_foreach (json_object_get(answer, "lines"), i, line) {
		if (as_json && cli_print_json(json_incref(line)) != EXIT_SUCCESS)
			return EXIT_FAILURE;
		if (!as_json)
			print_line(line);
	}
	return cli_flush();
}

/* Until there are no more, or for ever. */
static int read_lines(struct adv_node *node, const char *path, uint64_t since, bool follow,
		      bool as_json)
{
	char asked[PATH_MAX_BYTES + 64];
	for (bool first = true;; first = false) {
		snprintf(asked, sizeof(asked), "%s/logs?since=%llu&wait=%d", path,
			 (unsigned long long)since, follow && !first ? ADV_LOG_WAIT_MAX_S : 0);
		json_t *answer = cli_ask(node, "GET", asked);
		if (answer == NULL)
			return EXIT_FAILURE;
		size_t nr = json_array_size(json_object_get(answer, "lines"));
		int rc = print_lines(answer, as_json, first);
		since = (uint64_t)cli_number(answer, "next");
		json_decref(answer);
		if (rc != EXIT_SUCCESS || (!follow && nr < ADV_LOG_ANSWER_MAX))
			return rc;
	}
}

int cli_logs(int argc, char **argv, const struct cli_command *self)
{
	struct cli_common common = {0};
	bool follow = false;
	uint64_t since = 0;
	const struct cli_option options[] = {
		{"follow", NULL, CLI_FLAG, &follow, "go on with what is printed from now on"},
		{"since", "SEQ", CLI_NUMBER, &since, "only lines after this one (see --json)"},
		{0},
	};
	char path[PATH_MAX_BYTES];
	struct adv_node *node;
	int n = cli_parse(argc, argv, self, options, &common, 1, 1);
	if (n < 0)
		return n == -1 ? EXIT_SUCCESS : EXIT_FAILURE;
	if (cli_module_path(self, argv[0], path, sizeof(path)) != EXIT_SUCCESS ||
	    cli_connect(&common, &node) != EXIT_SUCCESS)
		return EXIT_FAILURE;
	int rc = read_lines(node, path, since, follow, common.json);
	adv_disconnect(node);
	return rc;
}
