/* options.c - parsing and help from one table. Main thread. */
#include "cli/options.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/parse.h"

#define OPTIONS_MAX 24

int cli_error(const char *format, ...)
{
	char text[2048];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	for (char *p = text; *p != '\0'; p++)
		if (*p == '\n')
			*p = ' ';
	fprintf(stderr, "adverb: %s\n", text);
	return EXIT_FAILURE;
}

int cli_flush(void)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return EXIT_SUCCESS;
	return cli_error("standard output could not be written: %m");
}

static void print_option(const struct cli_option *o)
{
	char left[64];
	snprintf(left, sizeof(left), "--%s%s%s", o->name, o->argument != NULL ? " " : "",
		 o->argument != NULL ? o->argument : "");
	printf("  %-24s %s\n", left, o->help);
}

static void print_help(const struct cli_command *c, const struct cli_option *options,
		       const struct cli_option *common)
{
	printf("Usage: adverb %s [OPTION]...%s%s\n\n%s.\n\n", c->name,
	       c->arguments[0] != '\0' ? " " : "", c->arguments, c->summary);
	for (const struct cli_option *o = options; o->name != NULL; o++)
		print_option(o);
	for (const struct cli_option *o = common; o->name != NULL; o++)
		print_option(o);
	printf("  %-24s %s\n", "--help", "show this");
	if (c->details != NULL)
		printf("\n%s\n", c->details);
}

static int set(const struct cli_command *c, const struct cli_option *o, const char *value)
{
	uint64_t n;
	switch (o->kind) {
	case CLI_FLAG:
		*(bool *)o->to = true;
		return 0;
	case CLI_TEXT:
		*(const char **)o->to = value;
		return 0;
	case CLI_COUNT:
		if (adv_parse_u64(value, &n) < 0 || n == 0) {
			cli_error("%s: --%s \"%.80s\" must be a number, at least 1", c->name,
				  o->name, value);
			return -2;
		}
		break;
	case CLI_NUMBER:
		if (adv_parse_u64(value, &n) < 0) {
			cli_error("%s: --%s \"%.80s\" must be a number", c->name, o->name, value);
			return -2;
		}
		break;
	case CLI_SIZE:
		if (adv_parse_size(value, &n) < 0) {
			cli_error("%s: --%s \"%.80s\" must be a size, like 64KiB", c->name, o->name,
				  value);
			return -2;
		}
		break;
	case CLI_DURATION:
		if (adv_parse_duration(value, &n) < 0) {
			cli_error("%s: --%s \"%.80s\" must be a duration, like 500ms", c->name,
				  o->name, value);
			return -2;
		}
		break;
	default:
		return -2;
	}
	*(uint64_t *)o->to = n;
	return 0;
}

static int usage(const struct cli_command *c, const char *what)
{
	cli_error("%s %s: adverb %s%s%s (see adverb %s --help)", c->name, what, c->name,
		  c->arguments[0] != '\0' ? " " : "", c->arguments, c->name);
	return -2;
}

int cli_parse(int argc, char **argv, const struct cli_command *c, const struct cli_option *options,
	      struct cli_common *common, int min, int max)
{
	const struct cli_option both[] = {
		{"host", "unix:PATH", CLI_TEXT, &common->host,
		 "the node's socket; default $ADVERB_HOST, then the usual places"},
		{"json", NULL, CLI_FLAG, &common->json, "print JSON"},
		{0},
	};
	const struct cli_option *shared = c->local ? both + 1 : both;
	const struct cli_option *all[OPTIONS_MAX];
	struct option longs[OPTIONS_MAX + 2] = {{0}};
	int n = 0;
	for (const struct cli_option *o = options; o->name != NULL && n < OPTIONS_MAX; o++)
		all[n++] = o;
	for (const struct cli_option *o = shared; o->name != NULL && n < OPTIONS_MAX; o++)
		all[n++] = o;
	for (int i = 0; i < n; i++)
		longs[i] = (struct option){
			all[i]->name, all[i]->argument != NULL ? required_argument : no_argument,
			NULL, 256 + i};
	longs[n] = (struct option){"help", no_argument, NULL, 'h'};
	optind = 1;
	opterr = 0;
	int k;
	while ((k = getopt_long(argc, argv, ":h", longs, NULL)) != -1) {
		if (k == 'h') {
			print_help(c, options, shared);
			return cli_flush() == EXIT_SUCCESS ? -1 : -2;
		}
		if (k == '?' || k == ':') {
			cli_error("%s: option %.80s %s: see adverb %s --help", c->name,
				  argv[optind - 1], k == ':' ? "needs a value" : "is unknown",
				  c->name);
			return -2;
		}
		if (set(c, all[k - 256], optarg) < 0)
			return -2;
	}
	int plain = argc - optind;
	memmove(argv, argv + optind, (size_t)plain * sizeof(*argv));
	if (plain < min)
		return usage(c, "needs more arguments");
	if (plain > max)
		return usage(c, "takes fewer arguments");
	return plain;
}
