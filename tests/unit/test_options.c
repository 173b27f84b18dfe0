/* test_options.c - the command line's table of options: every kind of value, what is refused and how, the plain arguments. */
#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/options.h"

static bool flag;
static const char *text;
static uint64_t count, number, size, duration;
static struct cli_common common;

static const struct cli_option options[] = {
	{"flag", NULL, CLI_FLAG, &flag, "a flag"},
	{"text", "TEXT", CLI_TEXT, &text, "a text"},
	{"count", "N", CLI_COUNT, &count, "a count"},
	{"number", "N", CLI_NUMBER, &number, "a number"},
	{"size", "SIZE", CLI_SIZE, &size, "a size"},
	{"duration", "DURATION", CLI_DURATION, &duration, "a duration"},
	{0},
};
static const struct cli_command command = {
	.name = "try", .arguments = "NAME [FILE]", .summary = "Tries", .details = "More."};

/* Of a line of words. */
static char *words[16];
static char line[256];

static int parse(const char *of)
{
	int n = 0;
	snprintf(line, sizeof(line), "try %s", of);
	for (char *word = strtok(line, " "); word != NULL; word = strtok(NULL, " "))
		words[n++] = word;
	return cli_parse(n, words, &command, options, &common, 1, 2);
}

static void capture(void)
{
	cr_redirect_stdout();
	cr_redirect_stderr();
}

TestSuite(options, .init = capture);

static char *read_all(FILE *f)
{
	static char all[4096];
	fflush(stdout);
	fflush(stderr);
	size_t n = fread(all, 1, sizeof(all) - 1, f);
	all[n] = '\0';
	return all;
}

Test(options, values)
{
	cr_assert_eq(parse("--flag --text some --count 3 --number 0 --size 4KiB --duration 5ms a"),
		     1);
	cr_assert(flag && count == 3 && number == 0 && size == 4096 && duration == 5000000);
	cr_assert_str_eq(text, "some");
	cr_assert_str_eq(words[0], "a");
	cr_assert_not(common.json);
}

Test(options, what_every_command_has)
{
	cr_assert_eq(parse("a --host unix:/x b --json"), 2);
	cr_assert(common.json);
	cr_assert_str_eq(common.host, "unix:/x");
	cr_assert(strcmp(words[0], "a") == 0 && strcmp(words[1], "b") == 0);
}

Test(options, what_is_not_given_is_left_alone)
{
	number = 77;
	cr_assert_eq(parse("a"), 1);
	cr_assert(number == 77 && !flag && text == NULL);
}

static void refused(const char *of, const char *word)
{
	cr_assert_eq(parse(of), -2, "\"%s\" was taken", of);
	char *said = read_all(cr_get_redirected_stderr());
	cr_assert(strncmp(said, "adverb: try", 11) == 0, "%s", said);
	cr_assert_not_null(strstr(said, word), "\"%s\": %s", of, said);
	cr_assert_eq(strchr(said, '\n'), said + strlen(said) - 1, "one line: %s", said);
}

Test(options, a_count_of_none)
{
	refused("--count 0 a", "at least 1");
}

Test(options, a_number_that_is_none)
{
	refused("--number 4KiB a", "--number \"4KiB\" must be a number");
}

Test(options, a_size_that_is_none)
{
	refused("--size big a", "like 64KiB");
}

Test(options, a_duration_that_is_none)
{
	refused("--duration 5 a", "like 500ms");
}

Test(options, an_option_that_is_none)
{
	refused("--nothing a", "--nothing is unknown");
}

Test(options, a_value_that_is_missing)
{
	refused("a --text", "needs a value");
}

Test(options, too_few)
{
	refused("--flag", "needs more arguments: adverb try NAME [FILE]");
}

Test(options, too_many)
{
	refused("a b c", "takes fewer arguments");
}

Test(options, help)
{
	cr_assert_eq(parse("--help --text"), -1);
	const char *const wanted[] = {"Usage: adverb try [OPTION]... NAME [FILE]",
				      "Tries.",
				      "--flag",
				      "--duration DURATION",
				      "--host",
				      "--json",
				      "More."};
	const char *said = read_all(cr_get_redirected_stdout());
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
		cr_assert_not_null(strstr(said, wanted[i]), "%s: %s", wanted[i], said);
}

Test(options, an_error_is_one_line)
{
	cr_assert_eq(cli_error("what\nfailed %d", 7), EXIT_FAILURE);
	cr_assert_str_eq(read_all(cr_get_redirected_stderr()), "adverb: what failed 7\n");
}

/* The redirection of the suite is given up for a device that is always full. */
Test(options, standard_output_is_seen_written)
{
	cr_assert_eq(cli_flush(), EXIT_SUCCESS);
	cr_assert_not_null(freopen("/dev/full", "w", stdout));
	fputs("lost", stdout);
	cr_assert_eq(cli_flush(), EXIT_FAILURE);
	cr_assert_not_null(strstr(read_all(cr_get_redirected_stderr()), "standard output"));
}
