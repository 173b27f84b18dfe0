/* doctor.c - adverb doctor: can a node run on this machine, how well, and what to do about it. Main thread. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"
#include "doctor/doctor.h"
#include "util/log.h"

static void print_one(const char *name, const struct adv_finding *f)
{
	printf("%-4s  %-16s %s\n", adv_verdict_name(f->verdict), name, f->text);
	if (f->remedy[0] != '\0')
		printf("%-22s to mend it: %s\n", "", f->remedy);
}

static json_t *one_json(const char *name, const struct adv_finding *f)
{
	return json_pack("{s:s, s:s, s:s, s:s*}", "check", name, "verdict",
			 adv_verdict_name(f->verdict), "text", f->text, "remedy",
			 f->remedy[0] != '\0' ? f->remedy : NULL);
}

static void print_sum(const unsigned counts[3])
{
	if (counts[ADV_CHECK_BAD] > 0)
		printf("\nA node will not do here what it should: %u bad, %u weak, %u ok.\n",
		       counts[ADV_CHECK_BAD], counts[ADV_CHECK_WEAK], counts[ADV_CHECK_OK]);
	else if (counts[ADV_CHECK_WEAK] > 0)
		printf("\nA node runs here, less well than it could: %u weak, %u ok.\n",
		       counts[ADV_CHECK_WEAK], counts[ADV_CHECK_OK]);
	else
		printf("\nA node runs here as well as it can: %u ok.\n", counts[ADV_CHECK_OK]);
}

/* Each as it is made: one that takes a while must not look like a program that hangs. */
static int examine(struct adv_patient *patient, bool json)
{
	unsigned counts[3] = {0};
	json_t *all = json_array();
	const struct adv_check *check;
	for (size_t i = 0; (check = adv_check_at(i)) != NULL; i++) {
		struct adv_finding finding = {0};
		if (check->tries && patient->root[0] != '\0')
			continue;
		adv_check_make(check, patient, &finding);
		counts[finding.verdict]++;
		json_array_append_new(all, one_json(check->name, &finding));
		if (!json)
			print_one(check->name, &finding);
		fflush(stdout);
	}
	int rc = EXIT_SUCCESS;
	if (json) {
		rc = cli_print_json(json_pack(
			"{s:o, s:i, s:i, s:i}", "checks", all, "ok", (int)counts[ADV_CHECK_OK],
			"weak", (int)counts[ADV_CHECK_WEAK], "bad", (int)counts[ADV_CHECK_BAD]));
	} else {
		print_sum(counts);
		json_decref(all);
		rc = cli_flush();
	}
	return counts[ADV_CHECK_BAD] > 0 ? EXIT_FAILURE : rc;
}

/* With a slash in front, and none behind. */
static int root_of(const char *text, char *root, size_t size)
{
	struct stat st;
	if (stat(text, &st) < 0 || !S_ISDIR(st.st_mode))
		return cli_error("doctor: --root %s is no directory", text);
	if ((size_t)snprintf(root, size, "%s", text) >= size)
		return cli_error("doctor: --root is too long");
	for (size_t n = strlen(root); n > 0 && root[n - 1] == '/'; n--)
		root[n - 1] = '\0';
	return EXIT_SUCCESS;
}

int cli_doctor(int argc, char **argv, const struct cli_command *self)
{
	static char root[512];
	const char *root_text = NULL, *config_text = NULL;
	struct cli_common common = {0};
	const struct cli_option options[] = {
		{"config", "FILE", CLI_TEXT, &config_text,
		 "the configuration that the node would read"},
		{"root", "DIR", CLI_TEXT, &root_text,
		 "look at a copy of another machine's /proc and /sys; tries nothing"},
		{0},
	};
	int n = cli_parse(argc, argv, self, options, &common, 0, 0);
	if (n < 0)
		return n == -1 ? EXIT_SUCCESS : EXIT_FAILURE;
	if (root_text != NULL && root_of(root_text, root, sizeof(root)) != EXIT_SUCCESS)
		return EXIT_FAILURE;
	adv_log_init("adverb", ADV_LOG_ERROR);
	struct adv_patient patient = {
		.root = root, .config_file = config_text, .host = common.host, .uid = geteuid()};
	return examine(&patient, common.json);
}
